"""What is told of data that nobody downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flytelineage.describe import Description, describe_data
from flytelineage.entities import DataType, Field, Profile, Schema, Storage
from flytelineage.errors import ReadError
from flytelineage.objects import Listing, ObjectReader

DECLARED = Schema(fields=(Field(name="id", type=DataType(kind="int")),), source="declared")


@pytest.fixture
def reader(tmp_path: Path) -> ObjectReader:
    return ObjectReader(allow=[f"file://{tmp_path}"])


class Unlistable(ObjectReader):
    """A reader whose role lacks s3:ListBucket."""

    def list(self, prefix_uri: str, *, limit: int | None = None) -> Listing:
        raise ReadError("denied", f"{prefix_uri}: the role needs s3:ListBucket")


def write(path: Path, rows: int = 1, column: str = "id") -> int:
    """A Parquet file; its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: pa.array(range(rows), pa.int64())}), path)
    return path.stat().st_size


def columns(found: Description) -> list[str]:
    assert found.schema is not None
    return [column.name for column in found.schema.fields]


# ----------------------------------------------------------------------- parquet


def test_a_folder_of_parquet(reader: ObjectReader, tmp_path: Path) -> None:
    """Rows, files and bytes add up; columns come from a footer."""
    size = write(tmp_path / "t" / "00000", rows=2) + write(tmp_path / "t" / "00001", rows=3)
    uri = f"file://{tmp_path}/t"

    found = describe_data(reader, uri, format="parquet")

    assert columns(found) == ["id"]
    assert found.storage == Storage(uri=uri, format="parquet", files=2, bytes=size, folder=True)
    assert found.profile == Profile(rows=5, bytes=size)
    assert found.problems == ()


def test_bookkeeping_is_not_data(reader: ObjectReader, tmp_path: Path) -> None:
    """Spark leaves marks and checksums; a partition may begin with an underscore."""
    write(tmp_path / "t" / "_day=1" / "part-0.snappy.parquet", rows=2)
    for name in ("_SUCCESS", ".part-0.crc", "_temporary/0/part-1.parquet"):
        write(tmp_path / "t" / name)

    found = describe_data(reader, f"file://{tmp_path}/t")

    assert (found.storage.format, found.storage.files) == ("parquet", 1)
    assert found.profile is not None
    assert found.profile.rows == 2


def test_declared_columns_win(reader: ObjectReader, tmp_path: Path) -> None:
    """The footer still tells the rows."""
    write(tmp_path / "t" / "00000", rows=2, column="other")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet", declared=DECLARED)

    assert found.schema == DECLARED
    assert found.profile is not None
    assert found.profile.rows == 2


@pytest.mark.parametrize("folder", [None, False])
def test_a_single_file(reader: ObjectReader, tmp_path: Path, folder: bool | None) -> None:
    """Whether the literal says so or not."""
    size = write(tmp_path / "orders.parquet", rows=2)

    found = describe_data(reader, f"{tmp_path}/orders.parquet", format="", folder=folder)

    assert found.storage.folder is False
    assert found.storage.format == "parquet"
    assert found.profile == Profile(rows=2, bytes=size)


def test_rows_are_unknown_when_one_file_is_damaged(reader: ObjectReader, tmp_path: Path) -> None:
    """A sum over a part would be wrong; the columns are still true."""
    write(tmp_path / "t" / "00000", rows=2)
    (tmp_path / "t" / "00001").write_bytes(b"not parquet")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert columns(found) == ["id"]
    assert found.profile is not None
    assert found.profile.rows is None
    assert len(found.problems) == 1
    assert "00001" in found.problems[0]


def test_of_many_files_only_one_is_opened(reader: ObjectReader, tmp_path: Path) -> None:
    """The columns are worth a request, a count that would cost hundreds is not."""
    reader.max_footers = 2
    for number in range(3):
        write(tmp_path / "t" / f"{number:05}", rows=2)

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert columns(found) == ["id"]
    assert found.storage.files == 3
    assert found.profile is not None
    assert found.profile.rows is None
    assert reader.requests == 2


def test_of_a_huge_folder_the_counts_are_unknown(reader: ObjectReader, tmp_path: Path) -> None:
    """What was listed is only a part of it."""
    reader.max_listed = 2
    for number in range(3):
        write(tmp_path / "t" / f"{number:05}")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert columns(found) == ["id"]
    assert (found.storage.files, found.storage.bytes, found.profile) == (None, None, None)


@pytest.mark.parametrize(
    ("log", "table"),
    [
        ("_delta_log/0.json", "delta"),
        (".hoodie/hoodie.properties", "hudi"),
        ("metadata/v1.metadata.json", "iceberg"),
    ],
)
def test_a_table_with_a_log_is_not_counted(
    reader: ObjectReader, tmp_path: Path, log: str, table: str
) -> None:
    """Only its log knows which of the files still belong to it."""
    write(tmp_path / "t" / "part-0.parquet")
    write(tmp_path / "t" / log)

    found = describe_data(reader, f"{tmp_path}/t", declared=DECLARED)

    assert found.storage == Storage(uri=f"{tmp_path}/t", format=table, folder=True)
    assert (found.schema, found.profile, found.problems) == (DECLARED, None, ())


# ------------------------------------------------------------------ other formats


def test_a_csv_dataset_is_one_hidden_file(reader: ObjectReader, tmp_path: Path) -> None:
    """Its name is `.csv` and nothing else; its content is not read."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / ".csv").write_text("id\n1\n")

    found = describe_data(reader, f"{tmp_path}/t", format="csv")

    assert found.schema is None
    assert (found.storage.format, found.storage.files, found.storage.bytes) == ("csv", 1, 5)
    assert found.profile == Profile(bytes=5)
    assert reader.bytes_read == 0


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("orders.csv.gz", "", "csv"),
        ("model.pt", "PyTorchModule", "pytorchmodule"),
        ("orders.JSONL", None, "jsonl"),
        ("orders", None, None),
        ("v1.2", None, None),
    ],
)
def test_formats_come_from_the_literal_or_the_name(
    reader: ObjectReader, tmp_path: Path, name: str, said: str | None, told: str | None
) -> None:
    """A file of no known format has none, and that is no problem."""
    (tmp_path / name).write_text("content")

    found = describe_data(reader, f"{tmp_path}/{name}", format=said, folder=False)

    assert found.storage.format == told
    assert found.problems == ()


def test_a_parquet_file_is_known_without_a_name(reader: ObjectReader, tmp_path: Path) -> None:
    """Its footer says what it is."""
    write(tmp_path / "t" / "00000", rows=2)

    assert describe_data(reader, f"{tmp_path}/t").storage.format == "parquet"


def test_a_folder_of_many_kinds_has_no_format(reader: ObjectReader, tmp_path: Path) -> None:
    """One of its files does not speak for the others."""
    write(tmp_path / "t" / "a.parquet")
    (tmp_path / "t" / "README.md").write_text("text")

    found = describe_data(reader, f"{tmp_path}/t", folder=True)

    assert (found.storage.format, found.storage.files, found.schema) == (None, 2, None)
    assert found.problems == ()


# ----------------------------------------------------------------------- failures


def test_a_table_in_a_warehouse_is_described_by_the_literal(reader: ObjectReader) -> None:
    """There is nothing to open, so nothing went wrong."""
    uri = "bq://project:dataset.table"

    assert describe_data(reader, uri, format="", declared=DECLARED) == Description(
        DECLARED, Storage(uri=uri), None, ()
    )


def test_what_the_operator_keeps_closed_is_no_problem(reader: ObjectReader) -> None:
    """Nobody should be asked to solve it; what the literal says is told."""
    found = describe_data(reader, "s3://bucket/t", declared=DECLARED)

    assert (found.schema, found.problems) == (DECLARED, ())


def test_what_cannot_be_looked_at_is_a_problem(reader: ObjectReader, tmp_path: Path) -> None:
    """What the literal says is told all the same."""
    uri = f"{tmp_path}/nothing"

    found = describe_data(reader, uri, format="Parquet", folder=None, declared=DECLARED)

    assert found.schema == DECLARED
    assert found.storage == Storage(uri=uri, format="parquet")
    assert found.profile is None
    assert len(found.problems) == 1
    assert "none below it" in found.problems[0]


def test_where_listing_is_denied_the_first_file_tells_the_columns(tmp_path: Path) -> None:
    """Tasks name it 00000; how many more there are stays unknown."""
    write(tmp_path / "t" / "00000", rows=2)
    reader = Unlistable(allow=[f"file://{tmp_path}"])

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert columns(found) == ["id"]
    assert (found.storage.files, found.profile) == (None, None)
    assert found.storage.folder is True
    assert found.problems == (f"{tmp_path}/t: the role needs s3:ListBucket",)


@pytest.mark.parametrize(("folder", "problems"), [(None, 0), (True, 1)])
def test_where_listing_is_denied_a_file_is_still_a_file(
    tmp_path: Path, folder: bool | None, problems: int
) -> None:
    """It needs no listing; what was called a folder is not taken for one."""
    write(tmp_path / "orders.parquet", rows=2)
    reader = Unlistable(allow=[f"file://{tmp_path}"])

    found = describe_data(reader, f"{tmp_path}/orders.parquet", folder=folder)

    assert len(found.problems) == problems


def test_a_store_that_is_away_is_asked_once(
    reader: ObjectReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking elsewhere in it would only wait again."""
    asked = []

    def away(uri: str, **_: Any) -> None:
        asked.append(uri)
        raise ReadError("unavailable", f"{uri}: time-out")

    for name in ("list", "stat"):
        monkeypatch.setattr(reader, name, away)

    assert describe_data(reader, f"{tmp_path}/t").problems == (f"{tmp_path}/t: time-out",)
    assert len(asked) == 1
