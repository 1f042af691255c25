"""What is wanted of a table, and how it is merged into what Glue has; pure.

What is not known leaves Glue's as it is. So do parameters, comments and an owner that
people or other programs wrote: we replace only what we wrote ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from flytelineage.entities import Dataset, Schema, Storage, Task
from flytelineage.errors import PermanentTargetError
from flytelineage.targets.glue.formats import (
    CSV,
    DELIMITER,
    FORMATS,
    HEADER_LINES,
    JSON,
    PARQUET,
    Format,
    format_of,
    serde,
)
from flytelineage.targets.glue.names import FLYTE, Origin, distinguished
from flytelineage.targets.glue.text import Fitter, fingerprint, fitting
from flytelineage.targets.glue.types import (
    ORIGINAL_NAME,
    OUR_COMMENT,
    Column,
    Columns,
    columns,
    names_in_files,
)

TableInput = dict[str, Any]
"""A table in the form in which Glue takes it."""

MANAGED = "flytelineage.managed"
DATASET = "flytelineage.dataset"
SCHEMA_HASH = "flytelineage.schema_hash"
OUR_DESCRIPTION = "flytelineage.description"
LEFT_OUT = "flytelineage.columns_left_out"
UPSTREAM = "lineage.upstream"
PRODUCER = "lineage.producer"
EXECUTION = "flyte.execution"
AS_OF = "flytelineage.as_of"
"""When the data was written, by the clock of events."""
COPIED_FROM = "flytelineage.copied_from"
HIDDEN = "flytelineage.hidden"
"""Why a query finds no rows."""

_PASSING = (EXECUTION, AS_OF)
"""Parameters that alone are no reason for an update: they differ with every run."""

_WRITABLE = (
    "Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention",
    "StorageDescriptor", "PartitionKeys", "ViewOriginalText", "ViewExpandedText", "TableType",
    "Parameters",
)  # fmt: skip
"""What GetTable answers and UpdateTable takes; the rest is Glue's own."""

_DESCRIPTION_BYTES, _LOCATION_BYTES, _OWNER_BYTES = 2048, 2056, 255
_VALUE_BYTES = 512_000
_LINEAGE_BYTES = 16_000
"""Of all names in one parameter: what people read, and no load on those who list tables."""


@dataclass(frozen=True)
class Wanted:
    """What is known of a table; `None` is not known.

    Attributes:
        name: The plain name; `other_name` is for when another dataset has that.
        location: A folder, with a slash at its end.
        format: Of the files.
        header: Whether the first line of each file holds the names of the columns.
        outdated: Whether the data was written again and could not be counted whole.
        parameters: Of the table; those that are `gone` are known to hold no longer.
        cut: What of all this Glue does not take, one phrase each.
    """

    dataset: str
    database: str
    name: str
    schema: Schema | None = None
    location: str | None = None
    format: Format | None = None
    header: bool = False
    outdated: bool = False
    description: str | None = None
    owner: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    cut: tuple[str, ...] = ()

    @property
    def other_name(self) -> str:
        """The name with a digest of the dataset."""
        return distinguished(self.name, self.dataset)

    @cached_property
    def columns(self) -> Columns | None:
        """At least one; `None` while the format is not known, which decides on types."""
        found = columns(self.schema, self.format) if self.schema and self.format else None
        return found if found and found.columns else None

    @property
    def complete(self) -> bool:
        """Whether enough is known to create the table."""
        return bool(self.location and self.columns)

    def of(self, theirs: Mapping[str, Any]) -> Wanted:
        """The same for this table, whose format holds where no other is known."""
        if self.format is not None:
            return self
        return replace(self, format=format_of(theirs.get("Parameters") or {}))


def wanted(
    dataset: Dataset,
    origin: Origin,
    writer: Task | None,
    *,
    database: str,
    name: str,
    fit: Fitter | None = None,
) -> Wanted:
    """All that is known of the dataset's table.

    Args:
        dataset: The dataset, with any of its aspects.
        origin: Who wrote it.
        writer: That task, where the lineage tells of it.
        database: The table's database.
        name: The table's plain name.
        fit: Notes what is cut.

    Raises:
        PermanentTargetError: Glue takes no location of such a length.
    """
    fit = fit or Fitter()
    properties, owners = dataset.properties, dataset.ownership
    description = properties.description if properties else None
    return Wanted(
        dataset=str(dataset.id),
        database=database,
        name=name,
        schema=dataset.schema_,
        location=_short_enough(location(dataset.storage)) if dataset.storage else None,
        description=fit("the description", description, _DESCRIPTION_BYTES)
        if description
        else None,
        owner=fit("the owner", owners.owners[0].id, _OWNER_BYTES) if owners else None,
        format=_format(dataset),
        header=_has_header(dataset),
        outdated=bool(dataset.profile and dataset.profile.partial),
        parameters=_parameters(dataset, origin, writer, fit),
        gone=_gone(writer),
        cut=tuple(fit.cut),
    )


# -------------------------------------------------------------------- aspects


_S3 = re.compile(r"s3[an]?://([^/]+/.*)")
_RANDOM_FOLDER = re.compile(r"[0-9a-f]{32}")


def location(storage: Storage) -> str | None:
    """The folder that holds the dataset and nothing else; `None` when there is none.

    Athena reads every object below a location, so a file can only be registered where
    it lies alone: in the random folder that Flyte makes for each output.
    """
    match = _S3.fullmatch(storage.uri)
    if match is None:
        return None
    path = match[1].rstrip("/")
    parent, _, last = path.rpartition("/")
    if storage.folder or storage.uri.endswith("/"):
        return f"s3://{path}/"
    if storage.folder is None and _RANDOM_FOLDER.fullmatch(last):
        return f"s3://{path}/"
    if _RANDOM_FOLDER.fullmatch(parent.rpartition("/")[2]):
        return f"s3://{parent}/"
    return None


def _short_enough(location: str | None) -> str | None:
    if location and len(location.encode()) > _LOCATION_BYTES:
        raise PermanentTargetError(
            f"Glue: the location {location[:80]}... is longer than the {_LOCATION_BYTES} bytes "
            "that Glue takes, and a shorter one would be another place"
        )
    return location


def _format(dataset: Dataset) -> Format | None:
    """What the data says it is; a schema shows where it was read."""
    if dataset.storage and dataset.storage.format:
        return FORMATS.get(dataset.storage.format)
    return _READ_FROM.get(dataset.schema_.source) if dataset.schema_ else None


_READ_FROM: dict[str | None, Format] = {"footer": PARQUET, "header": CSV}


def _has_header(dataset: Dataset) -> bool:
    """Whether CSV begins with names: as seen, or because flytekit itself wrote it.

    Source: flytekit types/structured/basic_dfs.py, `PandasToCSVEncodingHandler`.
    """
    source = dataset.schema_.source if dataset.schema_ else None
    return source == "header" or (source == "declared" and dataset.platform == FLYTE)


def is_hidden(dataset: Dataset) -> bool:
    """Whether flytekit wrote CSV: it calls the file `.csv`, and Athena skips such names."""
    storage = dataset.storage
    if storage is None or _format(dataset) is not CSV or not _has_header(dataset):
        return False
    return storage.folder is not False or storage.uri.endswith("/.csv")


def _parameters(
    dataset: Dataset, origin: Origin, writer: Task | None, fit: Fitter
) -> dict[str, str]:
    """What is known, in the words that crawlers and Athena use where they have any."""
    pipeline = origin.task.pipeline
    known = {
        DATASET: str(dataset.id),
        "flyte.project": pipeline.project,
        "flyte.domain": pipeline.domain,
        "flyte.workflow": pipeline.name,
        "flyte.task": origin.task.local,
        "flyte.variable": origin.variable,
        EXECUTION: _writing_execution(dataset),
        "flyte.url": dataset.properties.url if dataset.properties else None,
        "flytelineage.tags": ",".join(dataset.tags.names) if dataset.tags else None,
        PRODUCER: str(origin.task),
        **_compression(dataset.storage),
        **_sizes(dataset),
        **_task_parameters(writer),
    }
    texts = {
        key: fit(f"the parameter {key}", str(value), _VALUE_BYTES)
        for key, value in known.items()
        if value is not None
    }
    return {key: text for key, text in texts.items() if text}


def _writing_execution(dataset: Dataset) -> str | None:
    """The execution's name; one that took the data from the cache did not write it."""
    operation = dataset.operation
    return operation.run.execution.name if operation and operation.kind == "write" else None


def _compression(storage: Storage | None) -> dict[str, str]:
    """How files of text are compressed, where a name says so; Parquet does that inside."""
    ending = storage.uri.rpartition(".")[2].lower() if storage else ""
    return {"compressionType": _COMPRESSIONS[ending]} if ending in _COMPRESSIONS else {}


_COMPRESSIONS = {"gz": "gzip", "bz2": "bzip2", "zst": "zstd", "snappy": "snappy", "lz4": "lz4"}


def _sizes(dataset: Dataset) -> dict[str, int | None]:
    rows = dataset.profile.rows if dataset.profile else None
    size = dataset.storage.bytes if dataset.storage else None
    if size is None and dataset.profile:
        size = dataset.profile.bytes
    average = size // rows if size is not None and rows else None
    files = dataset.storage.files if dataset.storage else None
    return dict(zip(SIZES, (rows, files, size, average), strict=True))


SIZES = ("recordCount", "objectCount", "sizeKey", "averageRecordSize")


def _task_parameters(task: Task | None) -> dict[str, str | None]:
    """The version of the task that wrote, and what it read."""
    version = task.version.version if task and task.version else None
    io = task.io if task and task.io and task.io.complete else None
    read = _listed(str(edge.dataset) for edge in io.inputs) if io else None
    return {"flyte.version": version, UPSTREAM: read}


def _gone(task: Task | None) -> frozenset[str]:
    """A task that is known to read nothing any more."""
    io = task.io if task else None
    return frozenset({UPSTREAM}) if io and io.complete and not io.inputs else frozenset()


def _listed(names: Iterable[str]) -> str | None:
    """Whole names as far as there is room for them, and how many there are beside."""
    every, kept, room = list(names), list[str](), _LINEAGE_BYTES
    for name in every:
        room -= len(name.encode()) + 2
        if room < 0:
            return ", ".join([*kept, f"and {len(every) - len(kept)} more"])
        kept.append(name)
    return ", ".join(kept) or None


# -------------------------------------------------------------------- merging


def merged(theirs: Mapping[str, Any], wanted: Wanted, name: str) -> TableInput:
    """The table as it should be, from what Glue has; nothing at all for a new one."""
    wanted = wanted.of(theirs)
    table: TableInput = {key: theirs[key] for key in _WRITABLE if key in theirs}
    stored = table.get("StorageDescriptor") or {}
    storage = _storage(theirs, stored, wanted)
    moved = storage.get("Location") != stored.get("Location")
    parameters = _merged_parameters(theirs, wanted, moved=moved)
    table |= {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        # Athena fails on tables that lack the list.
        "PartitionKeys": table.get("PartitionKeys") or [],
        "StorageDescriptor": storage,
        "Parameters": parameters,
    }
    if wanted.owner and not table.get("Owner"):
        table["Owner"] = wanted.owner
    if wanted.description and _ours(table.get("Description"), parameters.get(OUR_DESCRIPTION)):
        table["Description"] = wanted.description
        parameters[OUR_DESCRIPTION] = fingerprint(wanted.description)
    return table


def unready(theirs: Mapping[str, Any] | None, wanted: Wanted) -> str | None:
    """What is still missing to describe the data; `None` when nothing is.

    Args:
        theirs: The table as Glue has it, `None` where there is none.
        wanted: What is known.
    """
    if theirs is None:
        return None if wanted.complete else "not all is known"
    has = format_of(theirs.get("Parameters") or {})
    ours = wanted.of(theirs).format
    if ours is None:
        return "its format is not known"
    if ours != has and not wanted.complete:
        # What its columns are in another format than the table's, nobody has said.
        return f"not all is known of it as {ours.name}"
    return None


def changed(theirs: Mapping[str, Any], table: TableInput) -> bool:
    """Whether the table says anything that Glue's does not."""
    return _lasting({"PartitionKeys": [], **theirs}) != _lasting(table)


def _lasting(table: Mapping[str, Any]) -> dict[str, Any]:
    lasting = {key: table[key] for key in _WRITABLE if key in table}
    parameters = table.get("Parameters") or {}
    lasting["Parameters"] = {k: v for k, v in parameters.items() if k not in _PASSING}
    return lasting


def _is_new(theirs: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether the table is to be told its columns and how they are read.

    Compared by hash: Glue may spell a type otherwise, and people may repair one.
    """
    if wanted.columns is None:
        return False
    parameters = theirs.get("Parameters") or {}
    known = parameters.get(SCHEMA_HASH) == schema_hash(wanted.columns)
    return not known or format_of(parameters) != wanted.format


def columns_of(table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The columns of a table, each by its name in the files and by that in Glue."""
    found = (table.get("StorageDescriptor") or {}).get("Columns") or []
    return tuple(
        ((column.get("Parameters") or {}).get(ORIGINAL_NAME, column["Name"]), column["Name"])
        for column in found
    )


def schema_hash(columns: Columns) -> str:
    """Equal when the schema gives the same columns."""
    return fingerprint(columns.columns)


def _storage(
    theirs: Mapping[str, Any], stored: Mapping[str, Any], wanted: Wanted
) -> dict[str, Any]:
    storage = dict(stored)
    if wanted.columns and _is_new(theirs, wanted):
        storage["Columns"] = _merged_columns(theirs, wanted.columns)
    if wanted.format and (_is_new(theirs, wanted) or not stored):
        storage |= _reader(stored.get("SerdeInfo") or {}, wanted, wanted.format)
    if wanted.location:
        storage["Location"] = wanted.location
    return storage


def _reader(theirs: Mapping[str, Any], wanted: Wanted, format: Format) -> dict[str, Any]:
    names: Mapping[str, str] = {}
    if format is JSON and wanted.schema and wanted.columns:
        names = names_in_files(wanted.schema, wanted.columns)
    return {
        "InputFormat": format.input_format,
        "OutputFormat": format.output_format,
        "SerdeInfo": serde(theirs, format, names),
    }


def _merged_columns(theirs: Mapping[str, Any], ours: Columns) -> list[Column]:
    """Our columns with what people said of them."""
    storage = theirs.get("StorageDescriptor") or {}
    known = {column["Name"]: column for column in storage.get("Columns") or []}
    # A table that was adopted may be partitioned; a name must not stand in both lists.
    partitions = {column["Name"] for column in theirs.get("PartitionKeys") or []}
    return [
        _merged_column(known.get(column["Name"], {}), column)
        for column in ours.columns
        if column["Name"] not in partitions
    ]


def _merged_column(theirs: Column, ours: Column) -> Column:
    column = {**theirs, **ours}
    parameters = {**(theirs.get("Parameters") or {}), **ours.get("Parameters", {})}
    comment = theirs.get("Comment")
    if comment and not _ours(comment, (theirs.get("Parameters") or {}).get(OUR_COMMENT)):
        column["Comment"] = comment
        parameters.pop(OUR_COMMENT, None)
    return {**column, "Parameters": parameters} if parameters else column


def _ours(text: str | None, mark: str | None) -> bool:
    """Whether we may replace a text: there is none, or we wrote it."""
    return not text or fingerprint(text) == mark


def _merged_parameters(theirs: Mapping[str, Any], wanted: Wanted, *, moved: bool) -> dict[str, str]:
    stored: Mapping[str, str] = theirs.get("Parameters") or {}
    # Counts of older data, or of data at the old place, say nothing about the new one.
    lost = {*wanted.gone, *(SIZES if moved or wanted.outdated else ())}
    if moved:
        lost |= {COPIED_FROM, AS_OF}
    kept = {key: value for key, value in stored.items() if key not in lost}
    if wanted.format and _is_new(theirs, wanted):
        kept = _of_format(kept, wanted, wanted.format)
    parameters = {**kept, **_CONSTANT, **wanted.parameters}
    if wanted.columns:
        parameters[SCHEMA_HASH] = schema_hash(wanted.columns)
        parameters.pop(LEFT_OUT, None)
        if wanted.columns.left_out:
            parameters[LEFT_OUT] = fitting(", ".join(wanted.columns.left_out), _VALUE_BYTES)
    return parameters


def _of_format(stored: Mapping[str, str], wanted: Wanted, format: Format) -> dict[str, str]:
    """Parameters that say how the files are to be read; those of another format go."""
    same = format_of(stored) == format
    kept = {key: value for key, value in stored.items() if same or key not in _OF_FORMATS}
    parameters = {**format.parameters, **kept, "classification": format.name}
    parameters.pop(HEADER_LINES, None)
    if format is CSV and wanted.header:
        parameters[HEADER_LINES] = "1"
    return parameters


_OF_FORMATS = (DELIMITER, "compressionType", "areColumnsQuoted", "columnsOrdered")

_CONSTANT = {
    "EXTERNAL": "TRUE",
    "typeOfData": "file",
    MANAGED: "true",
}


# ------------------------------------------------------------------- ownership


def is_anothers(theirs: Mapping[str, Any], dataset: str) -> bool:
    """Whether we registered another dataset under this table's name."""
    parameters = theirs.get("Parameters") or {}
    return parameters.get(MANAGED) == "true" and parameters.get(DATASET, dataset) != dataset


def protection(theirs: Mapping[str, Any], *, adopt: bool) -> str | None:
    """Why the table must not be touched; `None` when it may be.

    Args:
        theirs: The table as Glue has it.
        adopt: Whether the operator allows to take over what others made.
    """
    parameters = theirs.get("Parameters") or {}
    table_format = _other_format(theirs)
    if theirs.get("TargetTable"):
        return "it is a resource link to another table"
    if theirs.get("FederatedTable"):
        return "it belongs to a federated catalogue"
    if theirs.get("TableType") in _VIEWS or any(map(theirs.get, _OF_VIEWS)):
        return "it is a view"
    if table_format:
        return f"it is a table of {table_format}, which keeps its own description"
    if parameters.get(MANAGED) != "true" and not adopt:
        return (
            "somebody else made it: set GlueCatalogTarget.adopt_existing = True to take over "
            "tables that flytelineage did not make, or change GlueCatalogTarget.table_name"
        )
    return None


_VIEWS = ("VIRTUAL_VIEW", "MATERIALIZED_VIEW")
_OF_VIEWS = ("ViewOriginalText", "ViewDefinition", "IsMultiDialectView", "IsMaterializedView")


def _other_format(theirs: Mapping[str, Any]) -> str | None:
    """The table format whose own log or metadata says what belongs to the table."""
    parameters = theirs.get("Parameters") or {}
    reader = (theirs.get("StorageDescriptor") or {}).get("InputFormat") or ""
    said = [str(parameters.get(key, "")).lower() for key in _NAMES_FORMAT]
    return next((name for name in _OTHER_FORMATS if name in said or name in reader.lower()), None)


_NAMES_FORMAT = ("table_type", "spark.sql.sources.provider", "classification")
_OTHER_FORMATS = ("iceberg", "delta", "hudi")
