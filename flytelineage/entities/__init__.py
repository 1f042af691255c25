"""The entity model: what lineage says, in words that every target understands.

An entity is an id and the aspects that are known of it. An aspect that is `None` is
*not known*: merging keeps the other side's, emitting leaves the catalogue alone. So
nothing here can erase what people wrote in a catalogue.

All values are frozen pydantic models that refuse unknown fields and naive datetimes.
Values of primitives and statistics of columns are never part of an entity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal, TypeVar

import pydantic

from flytelineage.entities.aspects import (
    IO,
    ColumnEdge,
    Copies,
    Copy,
    DataType,
    Edge,
    ErrorInfo,
    Evidence,
    Field,
    FormerEdges,
    Link,
    Logic,
    Operation,
    Owner,
    Ownership,
    Partial,
    Profile,
    Properties,
    Schema,
    Storage,
    Tags,
    TaskEdge,
    TaskList,
    Terms,
    TypeKind,
    Version,
)
from flytelineage.entities.ids import (
    Custom,
    DatasetId,
    ExecutionId,
    PipelineId,
    RunId,
    TaskId,
    UtcDatetime,
    Value,
    digest,
)

__all__ = [
    "IO",
    "ColumnEdge",
    "Copies",
    "Copy",
    "Custom",
    "DataType",
    "Dataset",
    "DatasetId",
    "Edge",
    "Entity",
    "ErrorInfo",
    "Evidence",
    "ExecutionId",
    "Field",
    "FormerEdges",
    "Lineage",
    "Link",
    "Logic",
    "Operation",
    "Owner",
    "Ownership",
    "Partial",
    "Phase",
    "Pipeline",
    "PipelineId",
    "Profile",
    "Properties",
    "Run",
    "RunId",
    "Schema",
    "Storage",
    "Tags",
    "Task",
    "TaskEdge",
    "TaskId",
    "TaskList",
    "Terms",
    "TypeKind",
    "UtcDatetime",
    "Value",
    "Version",
    "digest",
]

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
