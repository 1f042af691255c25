"""`build_lineage()`: from facts and what was collected for them to lineage; pure.

An edge is told when something shows it, and says what: that the same URI was written by
one task and read by another, or that the compiled workflow has it so. What could not be
read, or has no name yet, leaves an edge out and marks the task's io as incomplete; it
never makes an edge up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from urllib.parse import quote

from flytelineage import naming
from flytelineage.console import NO_CONSOLE, Console
from flytelineage.dataset_names import Names
from flytelineage.definitions import TaskDefinition, descriptions
from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Edge,
    Evidence,
    Lineage,
    Link,
    Logic,
    Operation,
    Owner,
    Ownership,
    Pipeline,
    PipelineId,
    Properties,
    Task,
    TaskEdge,
    TaskId,
    TaskList,
    Version,
)
from flytelineage.facts import Facts, Identifier, NodeFacts
from flytelineage.flow import Collected, DataFlow, Use
from flytelineage.literals import Reference
from flytelineage.runs import Runs
from flytelineage.structure import Structure, outcome

MAX_PROBLEMS = 50
"""Lines kept of what could not be read."""


MAX_LISTED = 20
"""Nodes of a task that are named."""

SINGLE_TASK = ".flytegen."
"""Begins the name of the workflow that FlyteAdmin makes of a task that is run alone.

Source: flyteadmin pkg/manager/impl/util/single_task_execution.go."""


SOURCE_KEYS = ("version", "project", "domain", "name", "module")
"""What may stand in `Rules.source_url`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator decides about lineage; see `LineageBuilder`.

    Attributes:
        infer_order: Whether the order of events is told where nothing better is known.
        owner_label: The label of executions that names owners; empty for none.
        owner_principal: Whether who started an execution is an owner.
        source_url: A template of `SOURCE_KEYS`: where a version's source code is.
        console: FlyteConsole, where its address is known.
    """

    names: Names = field(default_factory=Names)
    infer_order: bool = False
    owner_label: str = ""
    owner_principal: bool = False
    source_url: str = ""
    console: Console = NO_CONSOLE


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Build:
    """A lineage, and what the store must remember of it.

    Attributes:
        locations: Raw-output keys that this execution registers; also the key under
            which a successful execution makes its pipeline known.
        waiting: Keys that nobody registered yet.
        places: Tasks that were told: whether each stands at several nodes.
        written: What this execution wrote or recovered, to be described.
    """

    lineage: Lineage
    locations: Mapping[str, DatasetId | None] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    places: Mapping[str, bool] = field(default_factory=dict)
    written: Mapping[DatasetId, tuple[Reference, ...]] = field(default_factory=dict)


def build_lineage(facts: Facts, collected: Collected, rules: Rules = Rules()) -> Build:
    """All that one execution tells.

    An unsuccessful execution whose pipeline is only guessed tells nothing until a
    successful one has made that pipeline known, and waits for it. One that seems to run
    still tells only that, and names nothing: it has not shown all of its tasks.
    """
    phase = outcome(facts)
    if collected.pipeline is None:
        return Build(_heading(facts, collected, phase))
    guessed = collected.name_source == "guessed" and not collected.pipeline_known
    if phase != "SUCCEEDED" and guessed:
        return Build(
            _heading(facts, collected, phase),
            waiting=frozenset({pipeline_key(collected.pipeline)}),
        )
    builder = _Builder(facts, collected, collected.pipeline, rules, phase)
    return builder.build_running() if phase == "RUNNING" else builder.build()


def pipeline_key(pipeline: PipelineId) -> str:
    """The key under which the store knows that a pipeline exists."""
    return f"pipeline:{pipeline}"


def _heading(facts: Facts, collected: Collected, phase: str) -> Lineage:
    return Lineage.model_validate(
        {
            "execution": facts.execution,
            "phase": phase,
            "started_at": facts.started_at,
            "name_source": collected.name_source,
        }
    )


class _Builder:
    """Builds the lineage of one execution; each property is computed once."""

    def __init__(
        self, facts: Facts, known: Collected, pipeline: PipelineId, rules: Rules, phase: str
    ) -> None:
        self.facts = facts
        self.known = known
        self.pipeline = pipeline
        self.rules = rules
        self.phase = phase
        self.structure = Structure(facts, known.definition)
        self._task_edges: dict[tuple[str, frozenset[Evidence]], TaskEdge] = {}
        self.flow = DataFlow(
            self.structure, known, pipeline, names=rules.names, infer_order=rules.infer_order
        )
        self.runs = Runs(self.flow, phase, rules.console)

    def build(self) -> Build:
        """The entities first: what has no name is known once they were made."""
        tasks, datasets = self._tasks(), self._datasets()
        runs = (self.runs.of_execution(), *self.runs.of_tasks())
        lineage = _heading(self.facts, self.known, self.phase).model_copy(
            update={
                "partial": bool(self.flow.orphans or self.structure.partial),
                "incomplete": self._problems(),
                "pipelines": (self._pipeline(),),
                "tasks": tasks,
                "datasets": datasets,
                "runs": runs,
            }
        )
        known = {pipeline_key(self.pipeline): None} if self.succeeded else {}
        return Build(
            lineage=lineage,
            locations={**self.flow.locations, **known},
            waiting=frozenset(self.flow.waiting),
            places={name: self.flow.is_multiple(name) for name in self.flow.task_names},
            written=self._written() if self.succeeded else {},
        )

    def build_running(self) -> Build:
        """The execution's run and its pipeline alone."""
        return Build(
            _heading(self.facts, self.known, self.phase).model_copy(
                update={
                    "partial": True,
                    "pipelines": (self._pipeline(),),
                    "runs": (self.runs.of_execution(),),
                }
            )
        )

    @property
    def succeeded(self) -> bool:
        """Only successful executions tell edges."""
        return self.phase == "SUCCEEDED"

    # --------------------------------------------------------------------- entities

    def _pipeline(self) -> Pipeline:
        launch_plan, workflow = self.facts.launch_plan, self.facts.workflow
        custom = {
            "name_source": str(self.known.name_source),
            "launch_plan": launch_plan.name if launch_plan else "",
            "schedule": self.known.schedule,
            "source": (workflow and self._source(workflow)) or "",
        }
        definition = self.known.definition
        return Pipeline.of(
            self.pipeline,
            as_of=self.facts.started_at,
            properties=Properties(
                name=self.pipeline.name,
                description=(definition.description if definition else "") or None,
                url=self._workflow_url(),
                custom={name: value for name, value in custom.items() if value},
            ),
            version=self._version(workflow) if workflow else None,
            ownership=self._ownership,
            tasks=self._task_list(),
            kind="single task" if self.pipeline.name.startswith(SINGLE_TASK) else "workflow",
        )

    def _workflow_url(self) -> str | None:
        """The workflow's page; a guessed name is a module's, and has none."""
        if self.known.name_source == "guessed":
            return None
        id = self.pipeline
        return self.rules.console.workflow(id.project, id.domain, id.name)

    def _task_url(self, task: Identifier | None, links: Sequence[Link]) -> str | None:
        """The task's page; without a console its newest logs."""
        page = task and self.rules.console.task(task.project, task.domain, task.name)
        return page or (links[-1].url if links else None)

    def _version(self, of: Identifier) -> Version | None:
        """A version; tasks are mostly registered together with their workflow."""
        if not of.version:
            return None
        definition = self.known.definition
        known = definition is not None and definition.id.version == of.version
        return Version(
            version=of.version,
            registered_at=definition.registered_at if definition and known else None,
            source=self._source(of),
        )

    def _source(self, of: Identifier) -> str | None:
        if not of.version:
            return None
        values = {
            "version": of.version,
            "project": of.project,
            "domain": of.domain,
            "name": of.name,
            "module": of.name.rpartition(".")[0].replace(".", "/"),
        }
        quoted = {key: quote(value) for key, value in values.items()}
        return self.rules.source_url.format(**quoted) or None

    def _task_list(self) -> TaskList | None:
        """The tasks that the workflow has, if its definition is known."""
        places = self.known.definition.all_places if self.known.definition else None
        if places is None:
            return None
        ids = (
            TaskId(pipeline=self.pipeline, name=name, place=place)
            for name, paths in places.items()
            for place in (paths if self.flow.is_multiple(name) else ("",))
        )
        return TaskList(ids=tuple(sorted(ids, key=str)))

    @cached_property
    def _ownership(self) -> Ownership | None:
        """The owners, as far as the operator says where they stand."""
        named = self.facts.labels.get(self.rules.owner_label, "") if self.rules.owner_label else ""
        ids = [id.strip() for id in named.split(",")]
        if self.rules.owner_principal:
            ids.append(self.facts.principal)
        owners = tuple(Owner(id=id) for id in dict.fromkeys(ids) if id)
        return Ownership(owners=owners) if owners else None

    def _tasks(self) -> tuple[Task, ...]:
        tasks = [self._task(id, nodes) for id, nodes in self.flow.nodes_by_task.items()]
        tasks.extend(
            Task.of(
                TaskId(pipeline=self.pipeline, name=name),
                as_of=self.facts.started_at,
                retired=True,
                io=IO(),
            )
            for name in self.known.retire
            # The word of a failed execution could not take back a success's edges.
            if self.succeeded and name in self.flow.task_names and self.flow.is_multiple(name)
        )
        return tuple(sorted(tasks, key=lambda task: task.urn))

    def _task(self, id: TaskId, nodes: list[NodeFacts]) -> Task:
        task = naming.task_of(nodes[-1])
        template = self._template(task)
        attempts = [attempt for node in nodes for attempt in node.attempts]
        types = [attempt.task_type for attempt in attempts if attempt.task_type]
        if template and template.type:
            types.append(template.type)
        links = [link for attempt in attempts for link in attempt.links]
        spec_ids = sorted({node.spec_id or node.id for node in nodes}, key=naming.natural)
        return Task.of(
            id,
            as_of=self.facts.started_at,
            properties=Properties(
                name=naming.short(id.name) + (f"@{id.place}" if id.place else ""),
                url=self._task_url(task, links),
                custom={
                    "node": _listed(spec_ids),
                    **({"source": source} if task and (source := self._source(task)) else {}),
                },
            ),
            version=self._version(task) if task else None,
            ownership=self._ownership,
            kind=types[-1] if types else None,
            io=self._io(nodes) if self.succeeded else None,
            logic=_logic(template) if template else None,
        )

    def _template(self, task: Identifier | None) -> TaskDefinition | None:
        return self.structure.template(task) if task else None

    def _io(self, nodes: list[NodeFacts]) -> IO | None:
        """The union of what the nodes of one task read, wrote and waited for.

        `None`, that is unknown, when none of them succeeded in running a task itself.
        """
        ran = [node for node in nodes if node.id in self.flow.reads]
        if not ran:
            return None
        upstream: dict[str, frozenset[Evidence]] = {}
        for node in ran:
            for id, evidence in self.flow.upstream[node.id].items():
                task = self._locals[id]
                upstream[task] = evidence | upstream[task] if task in upstream else evidence
        upstream.pop(self._locals[ran[0].id], None)
        return IO(
            inputs=_edges(use for node in ran for use in self.flow.reads[node.id]),
            outputs=_edges(use for node in ran for use in self.flow.writes[node.id]),
            upstream=tuple(self._task_edge(task, upstream[task]) for task in sorted(upstream)),
            complete=all(self.flow.complete(node) for node in ran),
        )

    @cached_property
    def _locals(self) -> dict[str, str]:
        """The tasks inside their pipeline, by node id: these sort as the ids do, and faster."""
        return {node.id: self.flow.task_id(node).local for node in self.flow.nodes}

    def _task_edge(self, task: str, evidence: frozenset[Evidence]) -> TaskEdge:
        """The edge to a task, shared by all that wait for it: many and many have few."""
        known = self._task_edges.get((task, evidence))
        if known is None:
            known = TaskEdge(task=self._task_ids[task], evidence=tuple(sorted(evidence)))
            self._task_edges[task, evidence] = known
        return known

    @cached_property
    def _task_ids(self) -> dict[str, TaskId]:
        return {id.local: id for id in self.flow.nodes_by_task}

    def _datasets(self) -> tuple[Dataset, ...]:
        """Every dataset that a task or the workflow touched."""
        if not self.succeeded:
            return ()
        found: dict[DatasetId, Dataset] = {}
        touched: dict[DatasetId, datetime] = {}
        for node in sorted(self.flow.nodes, key=_end):  # of several writes, the newest is told
            written = {use.dataset: use for use in self.flow.writes.get(node.id, ()) if use.dataset}
            read = {use.dataset for use in self.flow.reads.get(node.id, ()) if use.dataset}
            for id in read | written.keys():
                if node.ended_at is not None:
                    touched[id] = max(node.ended_at, touched.get(id, node.ended_at))
            for id, use in written.items():
                told = self._written_dataset(id, use, node)
                found[id] = found[id].merged(told) if id in found else told
            for id in read:
                if id not in found:
                    found[id] = Dataset.of(id)
        for id in (*self.runs.inputs(), *self.runs.outputs()):
            found.setdefault(id, Dataset.of(id))
        return tuple(
            found[id].model_copy(update={"as_of": touched.get(id, self.facts.started_at)})
            for id in sorted(found, key=str)
        )

    def _written_dataset(self, id: DatasetId, use: Use, node: NodeFacts) -> Dataset:
        """What the execution itself says of a dataset that one of its nodes produced.

        From the cache only the confirmation: its origin describes the data. Of data
        outside Flyte, others say what it is called.
        """
        ours = id.platform == naming.FLYTE and not self.flow.cached(node)
        return Dataset.of(
            id,
            properties=self._dataset_properties(use, node) if ours else None,
            operation=None
            if node.ended_at is None
            else Operation(
                kind="confirm" if self.flow.fetched(node) else "write",
                at=node.ended_at,
                run=self.runs.ids[node.id],
                task=self.flow.task_id(node),
            ),
        )

    def _dataset_properties(self, use: Use, node: NodeFacts) -> Properties:
        task, variable = naming.task_of(node), use.reference.variable
        return Properties(
            name=f"{naming.short(task.name)}.{variable}" if task else None,
            description=descriptions(self.structure.interface(node)).get(variable),
            custom=_noted(use.reference),
        )

    def _written(self) -> dict[DatasetId, tuple[Reference, ...]]:
        """What this execution wrote or recovered, by dataset, in the order of variables.

        Each piece once, or its rows would be counted twice: a task may return it in two
        variables, and two tasks may write one path.
        """
        written: dict[DatasetId, dict[str, Reference]] = defaultdict(dict)
        for node in self.flow.nodes:
            if not self.flow.cached(node):
                for use in self.flow.writes.get(node.id, ()):
                    if use.dataset is not None:
                        piece = naming.normalised(use.reference.uri)
                        written[use.dataset].setdefault(piece, use.reference)
        return {id: tuple(pieces.values()) for id, pieces in written.items()}

    def _problems(self) -> tuple[str, ...]:
        """What could not be read or named, one line each."""
        lines = [
            f"{what} of {node_id}: {problem}"
            for what, reads in (("inputs", self.known.inputs), ("outputs", self.known.outputs))
            for node_id, read in sorted(reads.items())
            for problem in read.problems
        ]
        lines.extend(f"workflow outputs: {p}" for p in self.known.workflow_outputs.problems)
        lines.extend(f"no task is known to have written {key}" for key in sorted(self.flow.orphans))
        lines.extend(sorted(self.flow.mistakes))
        if self.flow.too_many:
            lines.append("more tasks wrote and read the same data than can be told")
        if self.structure.unread:
            lines.append("the compiled workflow is not known, although its version is")
        if self.structure.dependencies.too_many:
            lines.append("the compiled workflow has more dependencies than can be told")
        return tuple(lines[:MAX_PROBLEMS])


def _listed(ids: list[str]) -> str:
    """Ids for people to read: a task inside of a loop stands at thousands of nodes."""
    more = len(ids) - MAX_LISTED
    return ", ".join(ids[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _noted(reference: Reference) -> dict[str, str]:
    """What the literal says of the data besides where it is."""
    return {
        "kind": reference.kind,
        **{f"metadata.{key}": text for key, text in sorted(reference.metadata.items())},
        **{f"partition.{key}": text for key, text in sorted(reference.partitions.items())},
    }


def _logic(template: TaskDefinition) -> Logic | None:
    """What the task runs; `None` where its definition does not say."""
    known = Logic(
        sql=template.sql or None,
        image=template.image or None,
        entry_point=template.entry_point or None,
    )
    return known if known != Logic() else None


def _end(node: NodeFacts) -> datetime:
    return node.ended_at or datetime.min.replace(tzinfo=timezone.utc)


def _edges(uses: Iterable[Use]) -> tuple[Edge, ...]:
    """One edge for each dataset that has a name, with all variables that held it."""
    variables: dict[DatasetId, set[str]] = defaultdict(set)
    for use in uses:
        if use.dataset is not None:
            variables[use.dataset].add(use.reference.variable)
    return tuple(
        Edge(dataset=id, evidence=(Evidence.DATA,), variables=tuple(sorted(variables[id])))
        for id in sorted(variables, key=str)
    )
