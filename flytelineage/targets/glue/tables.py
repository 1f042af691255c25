"""What is wanted of a table, and how it is merged into what Glue has; pure.

What is not known leaves Glue's as it is. So do parameters, comments and an owner that
people or other programs wrote: we replace only what we wrote ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flytelineage.entities import Dataset, Storage, Task
from flytelineage.targets.glue.names import Origin, distinguished
from flytelineage.targets.glue.text import fingerprint, fitting
from flytelineage.targets.glue.types import OUR_COMMENT, Column, Columns, columns

TableInput = dict[str, Any]
"""A table in the form in which Glue takes it."""

MANAGED = "flytelineage.managed"
DATASET = "flytelineage.dataset"
SCHEMA_HASH = "flytelineage.schema_hash"
OUR_DESCRIPTION = "flytelineage.description"
LEFT_OUT = "flytelineage.columns_left_out"
EXECUTION = "flyte.execution"
AS_OF = "flytelineage.as_of"
"""When the data was written, by the clock of events."""

_PASSING = (EXECUTION, AS_OF)
"""Parameters that alone are no reason for an update: they differ with every run."""

_PARQUET_PACKAGE = "org.apache.hadoop.hive.ql.io.parquet"
_FORMAT = {
    "InputFormat": f"{_PARQUET_PACKAGE}.MapredParquetInputFormat",
    "OutputFormat": f"{_PARQUET_PACKAGE}.MapredParquetOutputFormat",
}
_SERDE = f"{_PARQUET_PACKAGE}.serde.ParquetHiveSerDe"

_WRITABLE = (
    "Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention",
    "StorageDescriptor", "PartitionKeys", "ViewOriginalText", "ViewExpandedText", "TableType",
    "Parameters",
)  # fmt: skip
"""What GetTable answers and UpdateTable takes; the rest is Glue's own."""

_MAX_UPSTREAM = 100


@dataclass(frozen=True)
class Wanted:
    """What is known of a table; `None` is not known.

    Attributes:
        name: The plain name; `other_name` is for when another dataset has that.
        columns: At least one.
        location: A folder, with a slash at its end.
        parquet: Whether the format is known to be Parquet.
        outdated: Whether the data was written again and could not be counted whole.
    """

    dataset: str
    database: str
    name: str
    columns: Columns | None = None
    location: str | None = None
    parquet: bool = False
    outdated: bool = False
    description: str | None = None
    owner: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def other_name(self) -> str:
        """The name with a digest of the dataset."""
        return distinguished(self.name, self.dataset)

    @property
    def complete(self) -> bool:
        """Whether enough is known to create the table."""
        return bool(self.parquet and self.location and self.columns)


def wanted(
    dataset: Dataset, origin: Origin, writer: Task | None, *, database: str, name: str
) -> Wanted:
    """All that is known of the dataset's table.

    Args:
        dataset: The dataset, with any of its aspects.
        origin: Who wrote it.
        writer: That task, where the lineage tells of it.
        database: The table's database.
        name: The table's plain name.
    """
    properties, owners = dataset.properties, dataset.ownership
    found = columns(dataset.schema_) if dataset.schema_ else None
    return Wanted(
        dataset=str(dataset.id),
        database=database,
        name=name,
        columns=found if found and found.columns else None,
        location=location(dataset.storage) if dataset.storage else None,
        description=fitting(properties.description or "", 2048) if properties else None,
        owner=fitting(owners.owners[0].id, 255) if owners else None,
        parquet=_is_parquet(dataset),
        outdated=bool(dataset.profile and dataset.profile.partial),
        parameters=_parameters(dataset, origin, writer),
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


def _is_parquet(dataset: Dataset) -> bool:
    """A schema from a footer shows it too."""
    says = dataset.storage.format if dataset.storage else None
    return says == "parquet" or bool(dataset.schema_ and dataset.schema_.source == "footer")


def _parameters(dataset: Dataset, origin: Origin, writer: Task | None) -> dict[str, str]:
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
        **_sizes(dataset),
        **_task_parameters(writer),
    }
    texts = {key: fitting(str(value), 512_000) for key, value in known.items() if value is not None}
    return {key: text for key, text in texts.items() if text}


def _writing_execution(dataset: Dataset) -> str | None:
    """The execution's name; one that took the data from the cache did not write it."""
    operation = dataset.operation
    return operation.run.execution.name if operation and operation.kind == "write" else None


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
    read = [str(edge.dataset) for edge in io.inputs[:_MAX_UPSTREAM]] if io else []
    return {"flyte.version": version, "lineage.upstream": ", ".join(read) or None}


# -------------------------------------------------------------------- merging


def merged(theirs: Mapping[str, Any], wanted: Wanted, name: str) -> TableInput:
    """The table as it should be, from what Glue has; nothing at all for a new one."""
    table: TableInput = {key: theirs[key] for key in _WRITABLE if key in theirs}
    stored = table.get("StorageDescriptor") or {}
    storage = _storage(stored, wanted)
    if wanted.columns and _schema_is_new(theirs, wanted.columns):
        storage["Columns"] = _merged_columns(theirs, wanted.columns)
    moved = storage.get("Location") != stored.get("Location")
    parameters = _merged_parameters(table.get("Parameters", {}), wanted, moved=moved)
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


def changed(theirs: Mapping[str, Any], table: TableInput) -> bool:
    """Whether the table says anything that Glue's does not."""
    return _lasting({"PartitionKeys": [], **theirs}) != _lasting(table)


def _lasting(table: Mapping[str, Any]) -> dict[str, Any]:
    lasting = {key: table[key] for key in _WRITABLE if key in table}
    parameters = table.get("Parameters") or {}
    lasting["Parameters"] = {k: v for k, v in parameters.items() if k not in _PASSING}
    return lasting


def _schema_is_new(theirs: Mapping[str, Any], ours: Columns) -> bool:
    """Compared by hash: Glue may spell a type otherwise, and people may repair one."""
    return (theirs.get("Parameters") or {}).get(SCHEMA_HASH) != schema_hash(ours)


def schema_hash(columns: Columns) -> str:
    """Equal when the schema gives the same columns."""
    return fingerprint(columns.columns)


def _storage(theirs: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    serde = theirs.get("SerdeInfo") or {}
    storage = {
        **theirs,
        **_FORMAT,
        "SerdeInfo": {
            **serde,
            "SerializationLibrary": _SERDE,
            "Parameters": {**(serde.get("Parameters") or {}), "serialization.format": "1"},
        },
    }
    if wanted.location:
        storage["Location"] = wanted.location
    return storage


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


def _merged_parameters(theirs: Mapping[str, str], wanted: Wanted, *, moved: bool) -> dict[str, str]:
    # Counts of older data, or of data at the old place, say nothing about the new one.
    lost = SIZES if moved or wanted.outdated else ()
    kept = {key: value for key, value in theirs.items() if key not in lost}
    parameters = {"compressionType": "none", **kept, **_CONSTANT, **wanted.parameters}
    if wanted.columns:
        parameters[SCHEMA_HASH] = schema_hash(wanted.columns)
        parameters.pop(LEFT_OUT, None)
        if wanted.columns.left_out:
            parameters[LEFT_OUT] = fitting(", ".join(wanted.columns.left_out), 512_000)
    return parameters


_CONSTANT = {
    "EXTERNAL": "TRUE",
    "classification": "parquet",
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
    table_format = parameters.get("table_type") or parameters.get("spark.sql.sources.provider")
    if theirs.get("TargetTable"):
        return "it is a resource link to another table"
    if theirs.get("FederatedTable"):
        return "it belongs to a federated catalogue"
    if theirs.get("TableType") == "VIRTUAL_VIEW" or theirs.get("ViewOriginalText"):
        return "it is a view"
    if str(table_format).lower() in _OTHER_FORMATS:
        return f"it is a table of {table_format}, which keeps its own description"
    if parameters.get(MANAGED) != "true" and not adopt:
        return (
            "somebody else made it: set GlueCatalogTarget.adopt_existing = True to take over "
            "tables that flytelineage did not make, or change GlueCatalogTarget.table_name"
        )
    return None


_OTHER_FORMATS = ("iceberg", "delta", "hudi")
