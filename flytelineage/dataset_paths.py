"""What of a path names a dataset, and what only tells one of its files from another; pure.

A table in an object store is a folder. Whoever writes it adds folders for partitions, part
files and books of its own; whoever reads it may name any of them. All of that is left out,
so that writer and reader mean one dataset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple


class Trimmed(NamedTuple):
    """A path without what names no dataset.

    Attributes:
        parts: What is left; the first part always is.
        left_out: What was left out and why, in words.
    """

    parts: tuple[str, ...]
    left_out: tuple[str, ...]


def trimmed(parts: Sequence[str], *, dates: bool = False) -> Trimmed:
    """Leave out of a path what names no dataset.

    Partitions are cut out and what lies below them stays, so that `dt=2026-01-01/train` and
    `dt=2026-01-01/test` are two datasets. A file below a partition stays if it has a name
    of its own and no format of tables: `orders.csv` is one, `part-0.csv` and `x.parquet`
    are the table itself.

    Args:
        parts: The path; its first part, such as a bucket, is never left out.
        dates: Whether folders that are dates count as partitions.
    """
    left_out: list[str] = []
    kept = _without_books(parts, left_out)
    kept, partitioned = _without_partitions(kept, dates, left_out)
    while len(kept) > 1 and (why := _why_only_a_file(kept, partitioned, dates)):
        left_out.append(f"left out {kept.pop()}: {why}")
    return Trimmed(tuple(kept), tuple(left_out))


# ------------------------------------------------------------- books and partitions

_BOOKS = re.compile(
    r"_(?:SUCCESS|temporary|delta_log|change_data|spark_metadata|symlink_format_manifest"
    r"|metadata|common_metadata)|_(?:committed|started)_.*|\.hoodie|\.spark-staging.*"
)


def _without_books(parts: Sequence[str], left_out: list[str]) -> list[str]:
    """What stands before the books of a writer: of Spark, Delta Lake, Hudi, Hive."""
    for index, part in enumerate(parts):
        if index and _BOOKS.fullmatch(part):
            left_out.append(f"left out {'/'.join(parts[index:])}: books of the writer")
            return list(parts[:index])
    return list(parts)


_PARTITION = re.compile(r"[^\W0-9][\w.\- ]*=.*")


def _without_partitions(
    parts: Sequence[str], dates: bool, left_out: list[str]
) -> tuple[list[str], int]:
    """The parts that are no partitions, and how many stood before the first partition."""
    kept, before, index = list(parts[:1]), len(parts), 1
    while index < len(parts):
        length, kind = _partition_at(parts, index, dates)
        if length:
            before = min(before, len(kept))
            left_out.append(f"left out {'/'.join(parts[index : index + length])}: {kind}")
        else:
            kept.append(parts[index])
        index += length or 1
    return kept, before


def _partition_at(parts: Sequence[str], index: int, dates: bool) -> tuple[int, str]:
    """How many parts a partition takes here, 0 for none, and what it is."""
    if _PARTITION.fullmatch(parts[index]):
        return 1, "a hive partition"
    return (_date_at(parts, index), "a date") if dates else (0, "")


# ---------------------------------------------------------------------------- dates

_DATE = re.compile(
    r"(?P<year>(?:19|20|21)[0-9]{2})(?P<separator>[-_.]?)(?P<month>[0-9]{2})"
    r"(?P=separator)(?P<day>[0-9]{2})(?:[T_\- ][0-9TZ:._+\-]*)?"
)
_MONTH = re.compile(r"(?P<year>(?:19|20|21)[0-9]{2})[-_.](?P<month>[0-9]{2})")
_YEAR = re.compile(r"(?:19|20|21)[0-9]{2}")
_NUMBER = re.compile(r"[0-9]{1,2}")


def _date_at(parts: Sequence[str], index: int) -> int:
    """How many parts a date takes here: `2026-01-31` takes 1, `2026/01/31/23` takes 4."""
    if _is_date(parts[index]):
        return 1
    if not _YEAR.fullmatch(parts[index]):
        return 0
    numbers = list(_numbers(parts[index + 1 : index + 5]))
    year, length = int(parts[index]), 0
    for count in range(1, len(numbers) + 1):
        if not _is_time(year, *numbers[:count]):
            break
        length = count + 1
    return length


def _numbers(parts: Sequence[str]) -> Iterator[int]:
    for part in parts:
        if not _NUMBER.fullmatch(part):
            return
        yield int(part)


def _is_date(part: str) -> bool:
    if match := _DATE.fullmatch(part):
        return _is_time(int(match["year"]), int(match["month"]), int(match["day"]))
    if match := _MONTH.fullmatch(part):
        return _is_time(int(match["year"]), int(match["month"]))
    return False


def _is_time(year: int, month: int, day: int = 1, hour: int = 0, minute: int = 0) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return hour < 24 and minute < 60


# ---------------------------------------------------------------------------- files

_PART = re.compile(
    r"part[-._](?:[mr]-)?[0-9]+.*"  # Spark, Hadoop, dask, pyarrow
    r"|part-[0-9a-f]{8}-.*"
    r"|[0-9]{5}|0[0-9]{4,}(?:[_\-].*)?(?:\..*)?"  # flytekit, Hive, Iceberg, BigQuery's exports
    r"|[0-9]{4}_part_[0-9]{2}.*"  # Redshift's UNLOAD
    r"|data_[0-9]+_[0-9]+_[0-9]+\..*"  # Snowflake's COPY INTO
    r"|(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:[-_][0-9]+)*"
    r"(?:\.[a-z0-9]+)?\.(?:parquet|orc|avro)"  # awswrangler, pyarrow, Athena
    r"|\.csv|\..+\.crc"  # flytekit's CSV in a folder, Hadoop's checksums
)
_TABLE_FORMAT = re.compile(r".+\.(?:parquet|pq|orc|avro|arrow|feather)(?:\.[a-z0-9]{2,6})?", re.I)
_COUNTED = re.compile(r".*[0-9]{3}.*|.*[-_][0-9]+|[\W0-9_]*")
_ANY_NAME = frozenset(
    {"part", "data", "file", "out", "output", "result", "results", "export", "dump", "batch",
     "chunk"}
)  # fmt: skip


def _why_only_a_file(parts: Sequence[str], before: int, dates: bool) -> str:
    """Why the last part is one file of many; empty when it is none.

    Args:
        parts: What is left of the path.
        before: How many parts stood before the first partition.
        dates: Whether a date is a name.
    """
    last = parts[-1]
    stem = last.partition(".")[0]
    if "*" in last:
        return "a pattern"
    if _PART.fullmatch(last):
        return "a part file"
    if dates and _is_date(stem):
        return "a date"
    if len(parts) <= before:
        return ""
    if _TABLE_FORMAT.fullmatch(last):
        return "a file of the partitioned table"
    nameless = _COUNTED.fullmatch(stem) or stem.lower() in {*_ANY_NAME, parts[before - 1].lower()}
    if nameless and "." in last:
        return "a part file of the partition"
    return ""
