"""The entity model: what lineage says, in words that every target understands.

An entity is an id and the aspects that are known of it. An aspect that is `None` is
*not known*: merging keeps the other side's, emitting leaves the catalogue alone. So
nothing here can erase what people wrote in a catalogue.

All values are frozen pydantic models that refuse unknown fields and naive datetimes.
Values of primitives and statistics of columns are never part of an entity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value: equal by content, hashable, written as JSON by alias."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", serialize_by_alias=True, validate_by_alias=True
    )


def _utc(value: datetime) -> datetime:
    return value.astimezone(timezone.utc)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A datetime with a zone, turned to UTC; a naive one is refused."""

Custom = Mapping[str, str]
"""Free properties: names to texts."""


# --------------------------------------------------------------------------- ids


class ExecutionId(Value):
    """One workflow execution, unique in its Flyte deployment.

    Source: flyteidl core/identifier.proto, WorkflowExecutionIdentifier.
    """

    project: str
    domain: str
    name: str
    instance: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.instance, self.project, self.domain, self.name)))


class PipelineId(Value):
    """A workflow by its name, without a version: all of its executions share it.

    `instance` names the Flyte deployment where there are several. For jobs of other
    orchestrators `project` and `domain` may be empty.
    """

    project: str
    domain: str
    name: str
    instance: str = ""
    orchestrator: str = "flyte"

    def __str__(self) -> str:
        return ".".join(filter(None, (self.instance, self.project, self.domain, self.name)))


class TaskId(Value):
    """A task of a pipeline: Flyte's task name, and `@<spec node path>` where needed.

    `place` is the path of spec node ids from the top, joined by `/`. It is empty
    unless the task stands at several nodes of its pipeline.
    """

    pipeline: PipelineId
    name: str
    place: str = ""

    @property
    def local(self) -> str:
        """The task's name inside its pipeline, with its place."""
        return f"{self.name}@{self.place}" if self.place else self.name

    def __str__(self) -> str:
        return f"{self.pipeline}.{self.local}"


class DatasetId(Value):
    """A dataset as its own platform names it; spelled as DataHub's sources spell it."""

    platform: str
    name: str
    instance: str = ""

    def __str__(self) -> str:
        return f"{self.platform}:{'.'.join(filter(None, (self.instance, self.name)))}"


class RunId(Value):
    """An execution, or one attempt at one node of it."""

    execution: ExecutionId
    node: str | None = None
    attempt: int | None = None

    def __str__(self) -> str:
        parts = (str(self.execution), self.node, self.attempt)
        return "/".join(str(part) for part in parts if part is not None)


# ----------------------------------------------------------------------- aspects


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
    """

    version: str
    registered_at: UtcDatetime | None = None


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
    """What a task runs.

    Attributes:
        source: Where its source code is, a URL.
    """

    sql: str | None = None
    image: str | None = None
    entry_point: str | None = None
    source: str | None = None


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
    """

    dataset: DatasetId
    uri: str


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


# ---------------------------------------------------------------------- entities

E = TypeVar("E", bound="Entity")

_FIELDS = {"schema": "schema_"}
"""Aspects whose attribute has another name: pydantic owns `schema`."""


class Entity(Value):
    """An id and the aspects that are known of it.

    Attributes:
        as_of: When this was true. A catalogue keeps the aspects of the newest.

    Every entity but a run may also have `terms`, a `domain_name` (the business domain; Flyte's
    own is `domain`) and `structured` properties. Nothing in Flyte says them: transforms do.
    """

    ASPECTS: ClassVar[tuple[str, ...]] = ()
    """Names of the aspects, as they are written in JSON."""

    as_of: UtcDatetime | None = None

    @property
    def id(self) -> PipelineId | TaskId | DatasetId | RunId:
        """What names the entity; the same in every target."""
        raise NotImplementedError

    @property
    def urn(self) -> str:
        """The id with its kind in front: unique over all entities."""
        return f"{type(self).__name__.lower()}:{self.id}"

    def aspects(self) -> Iterator[tuple[str, Any]]:
        """The aspects that are known, by name."""
        for name in self.ASPECTS:
            value = getattr(self, _FIELDS.get(name, name))
            if value is not None:
                yield name, value

    def only(self: E, names: Iterable[str]) -> E:
        """A copy that knows just these aspects."""
        forgotten = set(self.ASPECTS).difference(names)
        return self.model_copy(update={_FIELDS.get(name, name): None for name in forgotten})

    def merged(self: E, newer: E) -> E:
        """A copy that knows what either side knows; `newer` wins where both do.

        Raises:
            ValueError: The two have different ids.
        """
        if self.urn != newer.urn:
            raise ValueError(f"{self.urn} and {newer.urn} are different entities")
        known = {_FIELDS.get(name, name): value for name, value in newer.aspects()}
        return self.model_copy(update={**known, "as_of": newer.as_of or self.as_of})


class Pipeline(Entity):
    """A workflow; `kind` is `workflow`, `launch plan` or `single task`.

    Attributes:
        tasks: Those that its definition names; `None` where that is not known. Only this
            says that a task which was told before is there no more.
    """

    ASPECTS = (
        "properties", "version", "ownership", "tags", "terms", "domain_name", "structured",
        "kind", "tasks",
    )  # fmt: skip

    project: str
    domain: str
    name: str
    instance: str = ""
    orchestrator: str = "flyte"
    properties: Properties | None = None
    version: Version | None = None
    ownership: Ownership | None = None
    tags: Tags | None = None
    terms: Terms | None = None
    domain_name: str | None = None
    structured: Custom | None = None
    kind: str | None = None
    tasks: TaskList | None = None

    @classmethod
    def of(cls, id: PipelineId, **aspects: Any) -> Pipeline:
        """The pipeline with this id."""
        return cls(**dict(id), **aspects)

    @property
    def id(self) -> PipelineId:
        """What names the pipeline."""
        return PipelineId(
            project=self.project,
            domain=self.domain,
            name=self.name,
            instance=self.instance,
            orchestrator=self.orchestrator,
        )


class Task(Entity):
    """A task of a pipeline; `kind` is Flyte's task type, e.g. `python-task`.

    Attributes:
        retired: The bare id of a task that now is told per place: told once more,
            with empty io, so that its old edges go away.
        removed: Its pipeline's definition has no such task any more.
        former: Edges that were told of it and hold no longer; a target that adds edges
            to what its catalogue has takes these away. Nothing else is known by it.
    """

    ASPECTS = (
        "properties", "version", "ownership", "tags", "terms", "domain_name", "structured",
        "kind", "io", "logic",
    )  # fmt: skip

    pipeline: PipelineId
    name: str
    place: str = ""
    retired: bool = False
    removed: bool = False
    former: FormerEdges | None = None
    properties: Properties | None = None
    version: Version | None = None
    ownership: Ownership | None = None
    tags: Tags | None = None
    terms: Terms | None = None
    domain_name: str | None = None
    structured: Custom | None = None
    kind: str | None = None
    io: IO | None = None
    logic: Logic | None = None

    @classmethod
    def of(cls, id: TaskId, **aspects: Any) -> Task:
        """The task with this id."""
        return cls(**dict(id), **aspects)

    @property
    def id(self) -> TaskId:
        """What names the task."""
        return TaskId(pipeline=self.pipeline, name=self.name, place=self.place)


class Dataset(Entity):
    """Data with a name: a table, a file, a folder, the output of a task."""

    ASPECTS = (
        "properties", "schema", "storage", "profile", "ownership", "tags", "terms",
        "domain_name", "structured", "operation", "copies",
    )  # fmt: skip

    platform: str
    name: str
    instance: str = ""
    properties: Properties | None = None
    schema_: Schema | None = pydantic.Field(default=None, alias="schema")
    storage: Storage | None = None
    profile: Profile | None = None
    ownership: Ownership | None = None
    tags: Tags | None = None
    terms: Terms | None = None
    domain_name: str | None = None
    structured: Custom | None = None
    operation: Operation | None = None
    copies: Copies | None = None

    @classmethod
    def of(cls, id: DatasetId, **aspects: Any) -> Dataset:
        """The dataset with this id."""
        return cls(**dict(id), **aspects)

    @property
    def id(self) -> DatasetId:
        """What names the dataset."""
        return DatasetId(platform=self.platform, name=self.name, instance=self.instance)


Phase = Literal[
    "UNDEFINED", "QUEUED", "RUNNING", "SUCCEEDING", "SUCCEEDED", "FAILING", "FAILED", "ABORTED",
    "ABORTING", "TIMED_OUT", "SKIPPED", "RECOVERED", "DYNAMIC_RUNNING", "INITIALIZING",
    "WAITING_FOR_RESOURCES", "RETRYABLE_FAILED",
]  # fmt: skip


class Run(Entity):
    """One execution of a pipeline, or one attempt of a task in it.

    A run is a fact about one moment: it has no aspects that another run could
    overwrite, so it is emitted whole.

    Attributes:
        parent: Of an attempt its execution; of an execution the one that launched it.
        upstream: Runs of the same execution that this one waited for.
        inputs, outputs: Datasets of this run; for an execution those of the workflow.
        cache_status: As Flyte says it, e.g. `CACHE_HIT`; `None` without a cache.
        scheduled_at: The time that a schedule started it for; only of an execution.
    """

    execution: ExecutionId
    node: str | None = None
    attempt: int | None = None
    pipeline: PipelineId | None = None
    task: TaskId | None = None
    parent: RunId | None = None
    upstream: tuple[RunId, ...] = ()
    phase: Phase = "UNDEFINED"
    scheduled_at: UtcDatetime | None = None
    started_at: UtcDatetime | None = None
    ended_at: UtcDatetime | None = None
    error: ErrorInfo | None = None
    cache_status: str | None = None
    links: tuple[Link, ...] = ()
    inputs: tuple[DatasetId, ...] = ()
    outputs: tuple[DatasetId, ...] = ()
    custom: Custom | None = None

    @property
    def id(self) -> RunId:
        """What names the run."""
        return RunId(execution=self.execution, node=self.node, attempt=self.attempt)

    def merged(self, newer: Run) -> Run:
        """The newer one, which is whole."""
        super().merged(newer)  # refuses another run
        return newer


class Lineage(Value):
    """All that one execution tells; or entities alone, without an execution.

    Attributes:
        execution: Whose lineage this is; `None` for entities that a library user emits.
        revision: Grows with every build of the execution.
        phase: The execution's phase.
        started_at: The earliest event of the execution.
        name_source: What named the pipeline: `admin`, `launch plan` or `guessed`.
        partial: Events are missing, so edges may be.
        incomplete: What could not be read or named, one line each, with bucket and
            permission where one is missing.
    """

    execution: ExecutionId | None = None
    revision: int = 0
    phase: Phase = "UNDEFINED"
    started_at: UtcDatetime | None = None
    name_source: Literal["admin", "launch plan", "guessed"] | None = None
    partial: bool = False
    incomplete: tuple[str, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    tasks: tuple[Task, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    runs: tuple[Run, ...] = ()

    @classmethod
    def of(cls, entities: Iterable[Entity]) -> Lineage:
        """Entities without an execution; two with one id are merged, the later wins."""
        merged: dict[str, Entity] = {}
        for entity in entities:
            known = merged.get(entity.urn)
            merged[entity.urn] = entity if known is None else known.merged(entity)
        found = tuple(merged.values())
        return cls(
            pipelines=tuple(e for e in found if isinstance(e, Pipeline)),
            tasks=tuple(e for e in found if isinstance(e, Task)),
            datasets=tuple(e for e in found if isinstance(e, Dataset)),
            runs=tuple(e for e in found if isinstance(e, Run)),
        )

    @property
    def succeeded(self) -> bool:
        """Whether the execution may tell edges."""
        return self.phase == "SUCCEEDED"

    def entities(self) -> Iterator[Pipeline | Task | Dataset | Run]:
        """Every entity, such that what is referred to comes first."""
        yield from self.pipelines
        yield from self.tasks
        yield from self.datasets
        yield from self.runs

    def digest(self) -> str:
        """A hash of the content, the revision left out: equal means nothing new."""
        return digest(self.model_copy(update={"revision": 0}))


def digest(value: Value) -> str:
    """A stable hash of a value: 32 hex digits."""
    return hashlib.blake2b(value.model_dump_json().encode(), digest_size=16).hexdigest()
