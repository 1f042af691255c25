"""What is known of the data at one or many URIs: columns, files, bytes and rows.

Looks at listings, sizes, Parquet footers and the header line of flytekit's own CSV,
never at the data itself. Nothing is invented: a count that would cover only a part is
told as partial, and what could not be looked at becomes a problem instead of an error.

In three steps, so that the caller can run many at once: `look` for the files of each
piece, `open_file` what `Lot.wanted` names, and `Lot.described` what came of it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from flytelineage.entities import DataType, Field, Partial, Profile, Schema, Storage
from flytelineage.errors import ReadError
from flytelineage.literals import Reference
from flytelineage.objects import Reading, Tail
from flytelineage.schemas import united
from flytelineage.uris import without_secrets

HEADER_BYTES = 64 << 10
"""Read from the beginning of a CSV file for its first line."""

MAX_COLUMNS = 10_000


class Description(NamedTuple):
    """What is known of a dataset.

    Attributes:
        profile: `None` when neither rows nor bytes are known.
        problems: What could not be looked at, one line each.
    """

    schema: Schema | None
    storage: Storage
    profile: Profile | None
    problems: tuple[str, ...] = ()


class Opened(NamedTuple):
    """What a file says of itself; `None` where it does not tell."""

    schema: Schema | None
    rows: int | None


@dataclass(frozen=True)
class Found:
    """The files of one piece of a dataset.

    Attributes:
        files: As (URI, bytes), without those that are not data.
        complete: False when there may be more.
        table: `delta`, `hudi` or `iceberg` where a log says which files count.
        problem: Why there may be more.
    """

    files: tuple[tuple[str, int], ...] = ()
    complete: bool = False
    folder: bool | None = None
    table: str | None = None
    problem: str = ""


def describe_data(reading: Reading, references: Sequence[Reference]) -> Description:
    """Look at one dataset, one request after the other; never raises."""
    lot = Lot(tuple(references), tuple(look(reading, each) for each in references))
    opened: dict[str, Opened | ReadError] = {}
    while wanted := lot.wanted(opened, reading.reader.max_footers):
        opened |= {file: open_file(reading, lot.format, file) for file in wanted}
    return lot.described(opened)


# ------------------------------------------------------------------ finding files


def look(reading: Reading, reference: Reference) -> Found:
    """The files of a piece; never raises.

    None are found in a store that is not read at all, such as a warehouse's, nor in
    what the operator keeps closed; neither is a problem that somebody should solve.
    """
    if not reading.opens(reference.uri):
        return Found()
    try:
        return _find(reading, reference.uri, reference.folder)
    except ReadError as exc:
        return Found(problem="" if exc.reason == "not allowed" else str(exc))


def _find(reading: Reading, uri: str, folder: bool | None) -> Found:
    """The files at a URI, at least one.

    Raises:
        ReadError: There are none, or they may not be looked at.
    """
    refusals: list[ReadError] = []
    for way in _WAYS[folder]:
        try:
            found = way(reading, uri)
        except ReadError as exc:
            refusals.append(exc)
            if exc.reason not in ("missing", "denied"):
                break
        else:
            known = found.complete or not refusals
            return found if known else Found(found.files, folder=True, problem=str(refusals[0]))
    raise next((exc for exc in refusals if exc.reason != "missing"), refusals[0])


def _single(reading: Reading, uri: str) -> Found:
    return Found(((uri, reading.stat(uri).bytes),), complete=True, folder=False)


def _below(reading: Reading, uri: str) -> Found:
    listing = reading.list(uri)
    names = [file.removeprefix(listing.prefix) for file, _ in listing.objects]
    files = [found for found, name in zip(listing.objects, names, strict=True) if _is_data(name)]
    if not files:
        raise ReadError("missing", f"{uri}: there is no such object, and none below it")
    return Found(tuple(files), listing.complete, folder=True, table=_table(names))


def _unlisted(reading: Reading, uri: str) -> Found:
    """The first file of a folder as flytekit names it, where listing is denied."""
    file = f"{uri.rstrip('/')}/00000"
    return Found(((file, reading.stat(file).bytes),), complete=False, folder=True)


_WAYS: dict[bool | None, tuple[Callable[[Reading, str], Found], ...]] = {
    True: (_below, _unlisted),
    False: (_single,),
    None: (_below, _single, _unlisted),
}
"""Where to look, one after the other, at what is a folder, a file, or either."""


def _is_data(name: str) -> bool:
    """Whether a file below a prefix is data, not bookkeeping of the job that wrote it."""
    *folders, file = name.split("/")
    if file.endswith("_$folder$"):  # how Hadoop marks a folder on S3
        return False
    return file == _CSV_FILE or not any(map(_is_hidden, (*folders, file)))


_CSV_FILE = ".csv"
"""All of the name. Source: flytekit types/structured/basic_dfs.py,
`PandasToCSVEncodingHandler`."""


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


# ------------------------------------------------------------------ opening files


def open_file(reading: Reading, format: str | None, file: str) -> Opened | ReadError:
    """Columns and rows of a file; one of unknown format is tried as Parquet."""
    try:
        if format == "csv":
            return Opened(_header(reading.head(file, HEADER_BYTES)), None)
        footer = reading.parquet(file)
    except ReadError as exc:
        return exc
    return Opened(footer.schema if footer.schema.fields else None, footer.rows)


def _header(beginning: Tail) -> Schema | None:
    """The columns that the first line of a CSV file names: texts, all of them.

    `None` where there is no whole line of names: a table may have no columns.
    """
    try:
        # The end of what was read may cut a character, so this must not decode at once.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(beginning.data)
        lines = io.StringIO(text, newline="")
        names = next(csv.reader(lines, strict=True), [])
    except (csv.Error, ValueError):
        return None
    all_read = len(beginning.data) == beginning.size
    goes_on = lines.tell() == len(text) and not (all_read or text.endswith("\n"))
    if goes_on or not any(names) or len(names) > MAX_COLUMNS:
        return None
    kind = DataType(kind="string")
    return Schema(fields=tuple(Field(name=name, type=kind) for name in names), source="header")


# ------------------------------------------------------------------ adding it up


@dataclass(frozen=True)
class Lot:
    """A dataset in its pieces: one, or as many as a task returned in a list or a map.

    Attributes:
        references: All pieces.
        found: The files of those that were looked at, in the same order; may be fewer.
    """

    references: tuple[Reference, ...]
    found: tuple[Found, ...]

    @cached_property
    def files(self) -> tuple[tuple[str, int], ...]:
        """The files of all pieces."""
        return tuple(file for piece in self.found for file in piece.files)

    @cached_property
    def table(self) -> str | None:
        """The table format whose log alone knows which files count."""
        return next((piece.table for piece in self.found if piece.table), None)

    @cached_property
    def format(self) -> str | None:
        """As the literals spell it, else as the names of the files do."""
        said = {(reference.format or "").lower() for reference in self.references}
        only = said.pop() if len(said) == 1 else ""
        return self.table or only or _extension(self.files)

    @property
    def whole(self) -> bool:
        """Whether all files of all pieces are known, and all of them count."""
        looked = len(self.found) == len(self.references)
        return looked and self.table is None and all(piece.complete for piece in self.found)

    def wanted(self, opened: Mapping[str, Opened | ReadError], limit: int) -> tuple[str, ...]:
        """The files to open next, given those that were; at most `limit` altogether."""
        wanted = _spread(self._tellable, limit)
        if self.format is None and not opened:
            return wanted[:1]  # what is no Parquet costs one request
        if self.format is None and any(isinstance(each, ReadError) for each in opened.values()):
            return ()
        return tuple(file for file in wanted if file not in opened)

    @cached_property
    def _tellable(self) -> tuple[str, ...]:
        """The files that say of themselves what they hold; empty ones do not."""
        files = tuple(file for file, size in self.files if size)
        if self.format == "csv":
            return files if self._has_headers else ()
        return files if self.format in ("parquet", None) else ()

    @property
    def _has_headers(self) -> bool:
        """Whether flytekit itself wrote the CSV, which puts names on the first line.

        In anybody else's file the first line may be data, which is not for catalogues.
        """
        kinds = {reference.kind for reference in self.references}
        declared = any(reference.schema for reference in self.references)
        ours = all(file.rpartition("/")[2] == _CSV_FILE for file, _ in self.files)
        return kinds == {"structured dataset"} and ours and not declared

    def described(self, opened: Mapping[str, Opened | ReadError]) -> Description:
        """All that is known, given what the files said that were opened."""
        refused = [each for each in opened.values() if isinstance(each, ReadError)]
        told = [each for each in opened.values() if isinstance(each, Opened)]
        unknown = self.format is None and bool(refused)
        told, refused = ([], []) if unknown else (told, refused)
        known = self.whole and bool(self.files)
        size = sum(size for _, size in self.files) if known else None
        format = self.format or ("parquet" if told else None)
        storage = Storage(
            uri=without_secrets(_parent([reference.uri for reference in self.references])),
            format=format,
            files=len(self.files) if known else None,
            bytes=size,
            folder=self._folder,
        )
        problems = (*(piece.problem for piece in self.found), *map(str, refused))
        return Description(
            schema=self._declared or united(each.schema for each in told if each.schema),
            storage=storage,
            profile=self._profile(format, size, told),
            problems=tuple(dict.fromkeys(filter(None, problems))),
        )

    @property
    def _declared(self) -> Schema | None:
        return next((each.schema for each in self.references if each.schema), None)

    @property
    def _folder(self) -> bool | None:
        if len(self.references) > 1:
            return None  # other data may lie below the folder that they share
        return self.found[0].folder if self.found[0].files else self.references[0].folder

    def _profile(
        self, format: str | None, size: int | None, told: Sequence[Opened]
    ) -> Profile | None:
        if self.table is not None or not self.files:
            return None
        counts = [each.rows for each in told if each.rows is not None]
        filled = sum(size > 0 for _, size in self.files)
        if self.whole and counts and len(counts) == filled:
            return Profile(rows=sum(counts), bytes=size)
        if self.whole and format != "parquet":
            return Profile(bytes=size)
        return Profile(
            bytes=size, partial=Partial(files=len(told), rows=sum(counts) if counts else None)
        )


_EXTENSION = re.compile(r"\.([a-z][a-z0-9]{0,9})(?:\.(?:gz|bz2|xz|zst|zip|snappy|lz4))?$")


def _extension(files: Sequence[tuple[str, int]]) -> str | None:
    """The format that all files' names tell, compression left out."""
    names = {file.rpartition("/")[2].lower() for file, _ in files}
    found = {match and match[1] for match in map(_EXTENSION.search, names)}
    return found.pop() if len(found) == 1 else None


def _spread(files: Sequence[str], limit: int) -> tuple[str, ...]:
    """Up to `limit` files from the first to the last: the columns of later ones may differ."""
    if len(files) <= limit:
        return tuple(files)
    step = (len(files) - 1) / max(1, limit - 1)
    return tuple(files[round(at * step)] for at in range(limit))


def _parent(uris: Sequence[str]) -> str:
    """The URI itself, or the longest folder that all lie below."""
    if len(uris) == 1:
        return uris[0]
    common = []
    for parts in zip(*(uri.rstrip("/").split("/") for uri in uris), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common)
