"""What is known of the data at a URI: columns, files, bytes and rows.

Looks at listings, sizes and Parquet footers through an `ObjectReader`, never at the
data itself. Nothing is invented: a count that would cover only a part is left out,
and what could not be looked at becomes a problem instead of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from flytelineage.entities import Profile, Schema, Storage
from flytelineage.errors import ReadError
from flytelineage.objects import Footer, ObjectReader


class Description(NamedTuple):
    """What is known of the data at a URI.

    Attributes:
        profile: `None` when neither rows nor bytes are known.
        problems: What could not be looked at, one line each.
    """

    schema: Schema | None
    storage: Storage
    profile: Profile | None
    problems: tuple[str, ...]


def describe_data(
    reader: ObjectReader,
    uri: str,
    *,
    format: str | None = None,
    folder: bool | None = None,
    declared: Schema | None = None,
) -> Description:
    """Look at the data at a URI; never raises.

    Args:
        reader: Opens what it is allowed to open.
        uri: An object or a prefix; one of a store that is not read at all, such as a
            table in a warehouse, is described by what the literal says alone.
        format: As the literal spells it; empty or `None` is found out.
        folder: Whether the URI is a prefix; `None` is found out.
        declared: Columns that the task declares; they win over the footer's.
    """
    said = (format or "").lower() or None
    unseen = Storage(uri=uri, format=said, folder=folder)
    if not reader.opens(uri):
        return Description(declared, unseen, None, ())
    try:
        found = _find(reader, uri, folder)
    except ReadError as exc:
        # What the operator keeps closed is no problem that somebody should solve.
        problems = () if exc.reason == "not allowed" else (str(exc),)
        return Description(declared, unseen, None, problems)
    return _describe(reader, uri, said, declared, found)


class _Found(NamedTuple):
    """The files at a URI.

    Attributes:
        files: As (URI, bytes), without those that are not data.
        complete: False when there may be more.
        table: `delta`, `hudi` or `iceberg` where a log says which files count.
        problem: Why there may be more.
    """

    files: tuple[tuple[str, int], ...]
    complete: bool
    folder: bool
    table: str | None = None
    problem: str = ""

    def because(self, refused: ReadError) -> _Found:
        """The same, with the reason why there may be more files."""
        return self._replace(problem=str(refused))


def _describe(
    reader: ObjectReader, uri: str, said: str | None, declared: Schema | None, found: _Found
) -> Description:
    format = found.table or said or _extension(found.files)
    footers, problems = _parquet(reader, found, format)
    if footers and not format:
        format = "parquet"
    whole = found.complete and found.table is None
    size = sum(size for _, size in found.files) if whole else None
    files = len(found.files) if whole else None
    rows = sum(footer.rows for footer in footers) if len(footers) == files else None
    return Description(
        schema=declared or (footers[0].schema if footers else None),
        storage=Storage(uri=uri, format=format, files=files, bytes=size, folder=found.folder),
        profile=Profile(rows=rows, bytes=size) if whole else None,
        problems=(found.problem, *problems) if found.problem else tuple(problems),
    )


def _parquet(
    reader: ObjectReader, found: _Found, format: str | None
) -> tuple[list[Footer], list[str]]:
    """The footers of Parquet files: of all, or of one where there are too many."""
    if format not in ("parquet", None):
        return [], []
    few = len(found.files) <= reader.max_footers
    footers, problems = _footers(reader, [file for file, _ in found.files[: None if few else 1]])
    if format is None and problems:
        return [], []  # files of no known format, or of several
    return footers, problems


def _footers(reader: ObjectReader, files: list[str]) -> tuple[list[Footer], list[str]]:
    """The footers that could be read, in the files' order, and why others could not."""

    def read(file: str) -> Footer | ReadError:
        try:
            return reader.parquet(file)
        except ReadError as exc:
            return exc

    with ThreadPoolExecutor(min(len(files), reader.concurrency)) as threads:
        results = list(threads.map(read, files))
    return (
        [result for result in results if isinstance(result, Footer)],
        [str(result) for result in results if isinstance(result, ReadError)],
    )


# ------------------------------------------------------------------ finding files


def _find(reader: ObjectReader, uri: str, folder: bool | None) -> _Found:
    """The files at a URI, at least one.

    Raises:
        ReadError: There are none, or they may not be looked at.
    """
    refusals: list[ReadError] = []
    for look in _LOOKS[folder]:
        try:
            found = look(reader, uri)
        except ReadError as exc:
            refusals.append(exc)
            if exc.reason not in ("missing", "denied"):
                break
        else:
            return found if found.complete or not refusals else found.because(refusals[0])
    raise next((exc for exc in refusals if exc.reason != "missing"), refusals[0])


def _single(reader: ObjectReader, uri: str) -> _Found:
    return _Found(((uri, reader.stat(uri).bytes),), complete=True, folder=False)


def _below(reader: ObjectReader, uri: str) -> _Found:
    listing = reader.list(uri)
    names = [file.removeprefix(listing.prefix) for file, _ in listing.objects]
    files = [found for found, name in zip(listing.objects, names, strict=True) if _is_data(name)]
    if not files:
        raise ReadError("missing", f"{uri}: there is no such object, and none below it")
    return _Found(tuple(files), listing.complete, folder=True, table=_table(names))


def _unlisted(reader: ObjectReader, uri: str) -> _Found:
    """The first file of a folder as flytekit names it, where listing is denied."""
    file = f"{uri.rstrip('/')}/00000"
    return _Found(((file, reader.stat(file).bytes),), complete=False, folder=True)


_LOOKS: dict[bool | None, tuple[Callable[[ObjectReader, str], _Found], ...]] = {
    True: (_below, _unlisted),
    False: (_single,),
    None: (_below, _single, _unlisted),
}
"""Where to look, one after the other, at what is a folder, a file, or either."""


def _is_data(name: str) -> bool:
    """Whether a file below a prefix is data, not bookkeeping of the job that wrote it."""
    *folders, file = name.split("/")
    # flytekit calls the file of a CSV dataset just `.csv`.
    return file == ".csv" or not any(map(_is_hidden, (*folders, file)))


def _is_hidden(part: str) -> bool:
    """As Spark and Hive see it; `_day=1` is a partition."""
    return part.startswith(".") or (part.startswith("_") and "=" not in part)


_LOGS = {
    "delta": re.compile(r"_delta_log/"),
    "hudi": re.compile(r"\.hoodie/"),
    "iceberg": re.compile(r"metadata/[^/]+\.metadata\.json"),
}


def _table(names: list[str]) -> str | None:
    """The table format whose log lies among the files."""
    found = (table for table, log in _LOGS.items() if any(map(log.match, names)))
    return next(found, None)


_EXTENSION = re.compile(r"\.([a-z][a-z0-9]{0,9})(?:\.(?:gz|bz2|xz|zst|zip|snappy|lz4))?$")


def _extension(files: tuple[tuple[str, int], ...]) -> str | None:
    """The format that all files' names tell, compression left out."""
    names = {file.rpartition("/")[2].lower() for file, _ in files}
    found = {match and match[1] for match in map(_EXTENSION.search, names)}
    return found.pop() if len(found) == 1 else None
