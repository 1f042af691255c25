"""What can be known of an entity, aspect by aspect.

An aspect that is `None` on an entity is not known; one that is there is whole.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

import pydantic

from flytelineage.entities.ids import Custom, DatasetId, RunId, TaskId, UtcDatetime, Value


class Properties(Value):
    """How an entity is shown; `custom` names must not collide over sources."""

    name: str | None = None
    description: str | None = None
    url: str | None = None
    custom: Custom | None = None


class Version(Value):
    """The registered version: an opaque string such as a git hash, not a number.

    Attributes:
        registered_at: When it was registered; `None` is not known.
        source: Where its source code is, a URL.
    """

    version: str
    registered_at: UtcDatetime | None = None
    source: str | None = None


class Owner(Value):
    """A person or a group; `type` is the field's word, e.g. `technical`."""

    id: str
    kind: Literal["user", "group"] = "user"
    type: str = "technical"


class Ownership(Value):
    """The owners that are known; at least one, since none would mean unknown."""

    owners: tuple[Owner, ...] = pydantic.Field(min_length=1)


class Tags(Value):
    """The tags that are known; at least one, since none would mean unknown."""

    names: tuple[str, ...] = pydantic.Field(min_length=1)


class Terms(Value):
    """Terms of a glossary; at least one, since none would mean unknown."""

    names: tuple[str, ...] = pydantic.Field(min_length=1)


class Evidence(str, Enum):
    """What an edge rests on."""

    DEFINITION = "definition"
    """The compiled workflow says so."""
    DATA = "data"
    """The same URI was written and read."""
    SQL = "sql"
    """A statement that ran in the task names the table."""
    FILE = "file"
    """The task noted that it opened the file."""
    ORDER = "order"
    """Inferred from the order of events."""


class Edge(Value):
    """A dataset that a task reads or writes.

    Attributes:
        evidence: What says so; sorted, at least one.
        variables: Names of the task's inputs or outputs that held it; sorted.
    """

    dataset: DatasetId
    evidence: tuple[Evidence, ...] = pydantic.Field(min_length=1)
    variables: tuple[str, ...] = ()


class TaskEdge(Value):
    """A task of the same pipeline that must run before this one."""

    task: TaskId
    evidence: tuple[Evidence, ...] = pydantic.Field(min_length=1)


class ColumnEdge(Value):
    """A column that is made of others."""

    dataset: DatasetId
    column: str
    sources: tuple[tuple[DatasetId, str], ...]
    evidence: tuple[Evidence, ...] = pydantic.Field(min_length=1)


class IO(Value):
    """What a task reads, writes and waits for; each tuple sorted by id.

    Attributes:
        complete: False when something could not be read or has no name yet. Then
            these edges are true, but there may be more: a target that replaces
            lineage must unite instead.
    """

    inputs: tuple[Edge, ...] = ()
    outputs: tuple[Edge, ...] = ()
    upstream: tuple[TaskEdge, ...] = ()
    columns: tuple[ColumnEdge, ...] = ()
    complete: bool = True


class FormerEdges(Value):
    """Edges that a catalogue was told of a task and that hold no longer.

    Attributes:
        columns: Dataset and column, then the dataset and column that it was made of.
    """

    inputs: tuple[DatasetId, ...] = ()
    outputs: tuple[DatasetId, ...] = ()
    upstream: tuple[TaskId, ...] = ()
    columns: tuple[tuple[DatasetId, str, DatasetId, str], ...] = ()


class TaskList(Value):
    """The tasks that the definition of a pipeline names; sorted.

    Those that a dynamic task makes are not among them.
    """

    ids: tuple[TaskId, ...] = ()


class Logic(Value):
    """What a task runs."""

    sql: str | None = None
    image: str | None = None
    entry_point: str | None = None


TypeKind = Literal[
    "null", "bool", "int", "uint", "float", "decimal", "string", "binary", "date", "time",
    "timestamp", "duration", "interval", "list", "map", "struct", "union", "unknown",
]  # fmt: skip


class DataType(Value):
    """A column's type, modelled on Apache Arrow.

    Attributes:
        bits: Width of int, uint, float, time, date and decimal.
        precision: Digits of a decimal; `scale` of them after the point.
        unit: `s`, `ms`, `us` or `ns` of time, timestamp and duration; `day` of date.
        zone: Time zone of a timestamp; `None` is a local one.
        native: The spelling of the system that stores it.
    """

    kind: TypeKind
    bits: int | None = None
    precision: int | None = None
    scale: int | None = None
    unit: Literal["s", "ms", "us", "ns", "day"] | None = None
    zone: str | None = None
    native: str | None = None


class Field(Value):
    """A column or a part of one.

    `children`: a list has one, named `item`; a map two, `key` and `value`; a struct
    its members; a union its alternatives.
    """

    name: str
    type: DataType
    nullable: bool = True
    description: str | None = None
    children: tuple[Field, ...] = ()


class Schema(Value):
    """Columns in their own order.

    Attributes:
        source: `declared` in the task's interface, `footer` of the Parquet files, or
            `header`, the first line of the CSV files.
    """

    fields: tuple[Field, ...]
    source: Literal["declared", "footer", "header"] | None = None


class Storage(Value):
    """Where the newest data of a dataset lies.

    Attributes:
        format: Lower case: `parquet`, `csv`, ...
        files: How many objects; `bytes` their size together.
        folder: True when `uri` is a prefix with objects below it.
    """

    uri: str
    format: str | None = None
    files: int | None = None
    bytes: int | None = None
    folder: bool | None = None


class Partial(Value):
    """What was counted of a dataset that was not looked at whole.

    Attributes:
        files: How many files were opened; `Storage.files` says of how many, if known.
        rows: Rows in those files; `None` where none was counted.
    """

    files: int = 0
    rows: int | None = None


class Profile(Value):
    """Counts over the whole dataset.

    Attributes:
        rows, bytes: `None` when not known; never those of a part.
        partial: What was counted when there was more to count than could be looked at.
    """

    rows: int | None = None
    bytes: int | None = None
    partial: Partial | None = None


class Copy(Value):
    """The same data under the name that another catalogue has for it.

    Attributes:
        dataset: The name, spelled as DataHub's source of that catalogue spells it.
        uri: What names it world-wide, e.g. the ARN of a Glue table.
        columns: Its columns, each by its name in the data and by that in the catalogue;
            empty is not known. Where they are known once, they are known always.
    """

    dataset: DatasetId
    uri: str
    columns: tuple[tuple[str, str], ...] = ()


class Copies(Value):
    """All names that other catalogues have for a dataset, sorted; at least one."""

    known: tuple[Copy, ...] = pydantic.Field(min_length=1)


class Operation(Value):
    """The newest write, or a confirmation that the data is still good.

    Attributes:
        kind: `write`, or `confirm` when the data came from the cache.
    """

    kind: Literal["write", "confirm"]
    at: UtcDatetime
    run: RunId
    task: TaskId | None = None


class ErrorInfo(Value):
    """Why a run failed. Source: flyteidl core/execution.proto, ExecutionError."""

    kind: Literal["user", "system", "unknown"] = "unknown"
    code: str = ""
    message: str = ""


class Link(Value):
    """A page about a run, e.g. the logs of its pod."""

    name: str
    url: str
