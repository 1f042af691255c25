"""`build_lineage()`: from facts and what was collected for them to lineage; pure.

An edge is told when something shows it: here, that the same URI was written by one
task and read by another. What could not be read, or has no name yet, leaves an edge
out and marks the task's io as incomplete; it never makes an edge up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import NamedTuple

from flytelineage import naming
from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Edge,
    Evidence,
    ExecutionId,
    Lineage,
    Operation,
    Pipeline,
    PipelineId,
    Properties,
    Run,
    RunId,
    Task,
    TaskEdge,
    TaskId,
    Version,
)
from flytelineage.facts import AttemptFacts, Facts, NodeFacts
from flytelineage.literals import Reference

MAX_PROBLEMS = 50
"""Lines kept of what could not be read."""

CACHE_HIT = "CACHE_HIT"


@dataclass(frozen=True, slots=True)
class Read:
    """What a literal map refers to, as far as it could be read.

    Attributes:
        problems: Why there may be more; empty when all is known.
    """

    references: tuple[Reference, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """What had to be fetched to understand the facts of one execution.

    Attributes:
        pipeline: The pipeline's id; `None` when nothing names it.
        pipeline_known: Whether a successful execution has made the pipeline known.
        inputs, outputs: By node id, of the nodes whose literals count.
        workflow_outputs: What the workflow returned.
        locations: Raw-output keys that somebody registered, with the dataset.
        seen: Executions of which the store has events.
        multiple: Tasks known to stand at several nodes.
        retire: Tasks whose bare id this execution has to tell once more, empty; or,
            once it shows them at several nodes, would have to.
    """

    pipeline: PipelineId | None = None
    name_source: naming.NameSource | None = None
    pipeline_known: bool = False
    inputs: Mapping[str, Read] = field(default_factory=dict)
    outputs: Mapping[str, Read] = field(default_factory=dict)
    workflow_outputs: Read = Read()
    locations: Mapping[str, DatasetId | None] = field(default_factory=dict)
    seen: frozenset[ExecutionId] = frozenset()
    multiple: frozenset[str] = frozenset()
    retire: frozenset[str] = frozenset()


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


def build_lineage(facts: Facts, collected: Collected) -> Build:
    """All that one execution tells.

    An unsuccessful execution whose pipeline is only guessed tells nothing until a
    successful one has made that pipeline known, and waits for it.
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
    return _Builder(facts, collected, collected.pipeline, phase).build()


def pipeline_key(pipeline: PipelineId) -> str:
    """The key under which the store knows that a pipeline exists."""
    return f"pipeline:{pipeline}"


def outcome(facts: Facts) -> str:
    """The execution's phase, where its terminal event may have been lost.

    SUCCEEDING, or the success of the end-node at the top, says as much.
    """
    if facts.ended_at is not None:
        return facts.phase
    ended = any(
        node.succeeded and not node.parent and "end-node" in (node.spec_id, node.id)
        for node in facts.nodes.values()
    )
    return "SUCCEEDED" if ended or facts.phase == "SUCCEEDING" else "RUNNING"


def missing_events(facts: Facts) -> list[str]:
    """What must have happened although no event of it was seen; empty when complete."""
    lacking = [
        f"node {node.id} has no terminal event"
        for node in facts.nodes.values()
        if not node.terminal
    ]
    starts = (node.spec_id or node.id for node in facts.nodes.values() if not node.parent)
    if "start-node" not in starts:
        lacking.append("no event of start-node")
    return lacking


def task_nodes(facts: Facts) -> Iterator[NodeFacts]:
    """The nodes that ran a task: only they read data."""
    for node in facts.nodes.values():
        if naming.task_of(node) is not None and node.launch_plan is None:
            yield node


def wrappers(facts: Facts) -> frozenset[str]:
    """Ids of the nodes that hand on what others wrote.

    Start, end, sub-workflow, branch, gate and launch plan run no task; a dynamic node
    runs one, but its outputs are those of its children.
    """
    parents = {node.parent for node in facts.nodes.values()}
    return frozenset(n.id for n in facts.nodes.values() if n.id in parents or n.is_parent)


def abandoned(facts: Facts) -> frozenset[str]:
    """Ids of the nodes below an attempt of their parent that was not its last.

    Each attempt makes its children anew, under ids of their own. Source: flyteidl
    event.proto, NodeExecutionEvent.retry_group.
    """
    last: dict[str, int] = {}
    for node in facts.nodes.values():
        last[node.parent] = max(_group(node), last.get(node.parent, 0))
    found = {node.id for node in facts.nodes.values() if _group(node) < last[node.parent]}
    while below := {n.id for n in facts.nodes.values() if n.parent in found} - found:
        found |= below
    return frozenset(found)


def _group(node: NodeFacts) -> int:
    return int(node.retry_group) if node.retry_group.isdecimal() else 0


def start_node(facts: Facts) -> NodeFacts | None:
    """The node whose outputs are the workflow's inputs."""
    for node in facts.nodes.values():
        if not node.parent and "start-node" in (node.spec_id, node.id):
            return node
    return None


def _heading(facts: Facts, collected: Collected, phase: str) -> Lineage:
    return Lineage.model_validate(
        {
            "execution": facts.execution,
            "phase": phase,
            "started_at": facts.started_at,
            "name_source": collected.name_source,
        }
    )


class _Use(NamedTuple):
    """A piece of data in the hands of a task."""

    reference: Reference
    key: str
    dataset: DatasetId | None


class _Builder:
    """Builds the lineage of one execution; each property is computed once."""

    def __init__(self, facts: Facts, known: Collected, pipeline: PipelineId, phase: str) -> None:
        self.facts = facts
        self.known = known
        self.pipeline = pipeline
        self.phase = phase
        self.locations: dict[str, DatasetId | None] = {}
        self.waiting: set[str] = set()
        self.orphans: set[str] = set()

    def build(self) -> Build:
        """Register what was written first: naming what was read needs it."""
        self._register()
        tasks = self._tasks()
        runs = (self._execution_run(), *self._task_runs())
        lineage = _heading(self.facts, self.known, self.phase).model_copy(
            update={
                "partial": bool(missing_events(self.facts) or self.orphans),
                "incomplete": self._problems(),
                "pipelines": (self._pipeline(),),
                "tasks": tasks,
                "datasets": self._datasets(),
                "runs": runs,
            }
        )
        if self.succeeded:
            self.locations[pipeline_key(self.pipeline)] = None
        return Build(
            lineage=lineage,
            locations=self.locations,
            waiting=frozenset(self.waiting),
            places={name: self._is_multiple(name) for name in self._paths},
            written=self._written() if self.succeeded else {},
        )

    @property
    def succeeded(self) -> bool:
        """Only successful executions tell edges."""
        return self.phase == "SUCCEEDED"

    # ------------------------------------------------------------ nodes and tasks

    @cached_property
    def nodes(self) -> tuple[NodeFacts, ...]:
        """The nodes that ran a task, in node order."""
        return tuple(sorted(task_nodes(self.facts), key=lambda node: naming.natural(node.id)))

    @cached_property
    def _wrappers(self) -> frozenset[str]:
        return wrappers(self.facts)

    @cached_property
    def _abandoned(self) -> frozenset[str]:
        return abandoned(self.facts)

    @cached_property
    def _nodes_by_task(self) -> dict[TaskId, list[NodeFacts]]:
        """The nodes of each task."""
        found: dict[TaskId, list[NodeFacts]] = defaultdict(list)
        for node in self.nodes:
            found[self._task_id(node)].append(node)
        return found

    @cached_property
    def _paths(self) -> dict[str, set[str]]:
        """The places of each task in this execution, by its Flyte name."""
        paths: dict[str, set[str]] = defaultdict(set)
        for node in self.facts.nodes.values():
            if task := naming.task_of(node):
                paths[task.name].add(self._path(node))
        return paths

    def _path(self, node: NodeFacts) -> str:
        """Spec node ids from the top; below a dynamic node or an array it ends at that."""
        parts: list[str] = []
        seen: set[str] = set()
        current: NodeFacts | None = node
        while current is not None and current.id not in seen:
            seen.add(current.id)
            if current is not node and (current.is_dynamic or current.is_array):
                parts.clear()
            parts.append(current.spec_id or current.id)
            current = self.facts.nodes.get(current.parent)
        return "/".join(reversed(parts))

    def _is_multiple(self, name: str) -> bool:
        return name in self.known.multiple or len(self._paths[name]) > 1

    def _task_id(self, node: NodeFacts) -> TaskId:
        task = naming.task_of(node)
        if task is None:
            raise ValueError(f"Node {node.id} runs no task")
        place = self._path(node) if self._is_multiple(task.name) else ""
        return TaskId(pipeline=self.pipeline, name=task.name, place=place)

    # ------------------------------------------------------------------ who wrote

    def _references(self, reads: Mapping[str, Read], node: NodeFacts) -> tuple[Reference, ...]:
        read = reads.get(node.id)
        return read.references if read else ()

    def _known_whole(self, reads: Mapping[str, Read], node: NodeFacts) -> bool:
        read = reads.get(node.id)
        return read is not None and not read.problems

    def _held(self, node: NodeFacts) -> Iterator[tuple[Reference, str]]:
        """What a succeeded task's outputs hold and its inputs do not, by key.

        A task may return what it was given: that it did not write. While its inputs are
        not known, only a path that names the node shows that it wrote.
        """
        if not node.succeeded or node.id in self._wrappers or node.id in self._abandoned:
            return
        given = {_key(reference.uri) for reference in self._references(self.known.inputs, node)}
        sure = self._known_whole(self.known.inputs, node)
        for reference in self._references(self.known.outputs, node):
            key = _key(reference.uri)
            if key not in given and (sure or self._owns(node, reference.uri)):
                yield reference, key

    def _owns(self, node: NodeFacts, uri: str) -> bool:
        raw = naming.raw_output(uri)
        return raw is not None and naming.written_by(raw.owner, self.facts.execution.name, node.id)

    def _fetched(self, node: NodeFacts) -> bool:
        """Whether the outputs were written by another execution."""
        return self._cached(node) or node.phase == "RECOVERED"

    def _cached(self, node: NodeFacts) -> bool:
        """Whether a successful execution described the outputs before.

        What was recovered was not: its origin failed, and told only that it had run.
        """
        return node.cache_status == CACHE_HIT

    def _register(self) -> None:
        """Give a name to all raw output that this execution is the first to have."""
        for node in self.nodes:
            artifacts = naming.artifacts(node.interface, self.pipeline)
            task = self._task_id(node).local
            for reference, key in self._held(node):
                if naming.raw_output(reference.uri) is None or key in self.known.locations:
                    continue
                if self._fetched(node) and node.origin and node.origin.execution in self.known.seen:
                    continue
                default = naming.task_output(self.pipeline, task, reference.variable)
                self.locations.setdefault(key, artifacts.get(reference.variable, default))

    def _name(self, uri: str) -> DatasetId | None:
        """The dataset at a URI; `None` while nobody has registered it."""
        raw = naming.raw_output(uri)
        if raw is None:
            return naming.dataset_id(uri)
        dataset = self.known.locations.get(raw.key) or self.locations.get(raw.key)
        if dataset is None:
            self.waiting.add(raw.key)
            if naming.written_by(raw.owner, self.facts.execution.name):
                self.orphans.add(raw.key)
        return dataset

    @cached_property
    def _reads(self) -> dict[str, tuple[_Use, ...]]:
        """What each succeeded task was given, by node id."""
        return {
            node.id: tuple(
                _Use(reference, _key(reference.uri), self._name(reference.uri))
                for reference in self._references(self.known.inputs, node)
            )
            for node in self.nodes
            if node.succeeded and node.id not in self._abandoned
        }

    @cached_property
    def _writes(self) -> dict[str, tuple[_Use, ...]]:
        """What each succeeded task produced or took from the cache, by node id."""
        return {
            node.id: tuple(
                _Use(reference, key, self._name(reference.uri))
                for reference, key in self._held(node)
            )
            for node in self.nodes
        }

    @cached_property
    def _producers(self) -> dict[str, list[NodeFacts]]:
        """The nodes that produced each piece of data, by key."""
        producers: dict[str, list[NodeFacts]] = defaultdict(list)
        for node in self.nodes:
            for key in sorted({use.key for use in self._writes[node.id]}):
                producers[key].append(node)
        return producers

    def _upstream(self, node: NodeFacts) -> Iterator[NodeFacts]:
        """The nodes that produced what this one read, each once."""
        found = {}
        for use in self._reads.get(node.id, ()):
            producers = self._producers.get(use.key, [])
            done = [producer for producer in producers if _before(producer, node)]
            # Raw output is written once; any other URI may have been there before, and
            # only who was done when it was read can have written what was read.
            if not done and naming.raw_output(use.reference.uri) is not None:
                done = producers
            found.update({producer.id: producer for producer in done})
        found.pop(node.id, None)
        yield from found.values()

    # --------------------------------------------------------------------- entities

    def _pipeline(self) -> Pipeline:
        launch_plan = self.facts.launch_plan
        custom = {"name_source": str(self.known.name_source)}
        if launch_plan is not None:
            custom["launch_plan"] = launch_plan.name
        return Pipeline.of(
            self.pipeline,
            as_of=self.facts.started_at,
            properties=Properties(name=self.pipeline.name, custom=custom),
            kind="workflow",
        )

    def _tasks(self) -> tuple[Task, ...]:
        tasks = [self._task(id, nodes) for id, nodes in self._nodes_by_task.items()]
        tasks.extend(
            Task.of(
                TaskId(pipeline=self.pipeline, name=name),
                as_of=self.facts.started_at,
                retired=True,
                io=IO(),
            )
            for name in self.known.retire
            # The word of a failed execution could not take back a success's edges.
            if self.succeeded and name in self._paths and self._is_multiple(name)
        )
        return tuple(sorted(tasks, key=lambda task: task.urn))

    def _task(self, id: TaskId, nodes: list[NodeFacts]) -> Task:
        task = naming.task_of(nodes[-1])
        attempts = [attempt for node in nodes for attempt in node.attempts]
        types = [attempt.task_type for attempt in attempts if attempt.task_type]
        links = [link for attempt in attempts for link in attempt.links]
        spec_ids = sorted({node.spec_id or node.id for node in nodes}, key=naming.natural)
        return Task.of(
            id,
            as_of=self.facts.started_at,
            properties=Properties(
                name=naming.short(id.name) + (f"@{id.place}" if id.place else ""),
                url=links[-1].url if links else None,
                custom={"node": ", ".join(spec_ids)},
            ),
            version=Version(version=task.version) if task and task.version else None,
            kind=types[-1] if types else None,
            io=self._io(nodes) if self.succeeded else None,
        )

    def _io(self, nodes: list[NodeFacts]) -> IO | None:
        """The union of what the nodes of one task read, wrote and waited for.

        `None`, that is unknown, when none of them succeeded in running a task itself.
        """
        ran = [node for node in nodes if node.id in self._reads]
        if not ran:
            return None
        own = self._task_id(ran[0])
        upstream = {self._task_id(producer) for node in ran for producer in self._upstream(node)}
        return IO(
            inputs=_edges(use for node in ran for use in self._reads[node.id]),
            outputs=_edges(use for node in ran for use in self._writes[node.id]),
            upstream=tuple(
                TaskEdge(task=task, evidence=(Evidence.DATA,))
                for task in sorted(upstream - {own}, key=str)
            ),
            complete=all(self._complete(node) for node in ran),
        )

    def _complete(self, node: NodeFacts) -> bool:
        uses = (*self._reads[node.id], *self._writes[node.id])
        return (
            self._known_whole(self.known.inputs, node)
            and (node.id in self._wrappers or self._known_whole(self.known.outputs, node))
            and all(use.dataset is not None for use in uses)
        )

    def _datasets(self) -> tuple[Dataset, ...]:
        """Every dataset that a task or the workflow touched."""
        if not self.succeeded:
            return ()
        found: dict[DatasetId, Dataset] = {}
        touched: dict[DatasetId, datetime] = {}
        for node in sorted(self.nodes, key=_end):  # of several writes, the newest is told
            written = {use.dataset: use for use in self._writes[node.id] if use.dataset}
            read = {use.dataset for use in self._reads.get(node.id, ()) if use.dataset}
            for id in read | written.keys():
                if node.ended_at is not None:
                    touched[id] = max(node.ended_at, touched.get(id, node.ended_at))
                found.setdefault(id, Dataset.of(id))
            for id, use in written.items():
                found[id] = found[id].merged(self._written_dataset(id, use, node))
        for id in (*self._workflow_inputs(), *self._workflow_outputs()):
            found.setdefault(id, Dataset.of(id))
        return tuple(
            found[id].model_copy(update={"as_of": touched.get(id, self.facts.started_at)})
            for id in sorted(found, key=str)
        )

    def _written_dataset(self, id: DatasetId, use: _Use, node: NodeFacts) -> Dataset:
        """What the execution itself says of a dataset that one of its nodes produced.

        From the cache only the confirmation: its origin describes the data. Of data
        outside Flyte, others say what it is called.
        """
        ours = id.platform == naming.FLYTE and not self._cached(node)
        return Dataset.of(
            id,
            properties=self._dataset_properties(use, node) if ours else None,
            operation=None
            if node.ended_at is None
            else Operation(
                kind="confirm" if self._fetched(node) else "write",
                at=node.ended_at,
                run=self._run_id(node),
                task=self._task_id(node),
            ),
        )

    def _dataset_properties(self, use: _Use, node: NodeFacts) -> Properties:
        task = naming.task_of(node)
        name = f"{naming.short(task.name)}.{use.reference.variable}" if task else None
        return Properties(name=name, custom={"kind": use.reference.kind})

    def _written(self) -> dict[DatasetId, tuple[Reference, ...]]:
        """What this execution wrote or recovered, by dataset, in the order of variables.

        Each piece once, or its rows would be counted twice: a task may return it in two
        variables, and two tasks may write one path.
        """
        written: dict[DatasetId, dict[str, Reference]] = defaultdict(dict)
        for node in self.nodes:
            if not self._cached(node):
                for use in self._writes[node.id]:
                    if use.dataset is not None:
                        piece = naming.normalised(use.reference.uri)
                        written[use.dataset].setdefault(piece, use.reference)
        return {id: tuple(pieces.values()) for id, pieces in written.items()}

    # ------------------------------------------------------------------------- runs

    def _workflow_inputs(self) -> tuple[DatasetId, ...]:
        start = start_node(self.facts)
        return self._ids(self._references(self.known.outputs, start) if start else ())

    def _workflow_outputs(self) -> tuple[DatasetId, ...]:
        return self._ids(self.known.workflow_outputs.references)

    def _ids(self, references: Iterable[Reference]) -> tuple[DatasetId, ...]:
        ids = {self._name(reference.uri) for reference in references}
        return tuple(sorted((id for id in ids if id is not None), key=str))

    def _execution_run(self) -> Run:
        facts = self.facts
        custom = {
            "principal": facts.principal,
            "launch_plan": facts.launch_plan.name if facts.launch_plan else "",
            "launch_plan_version": facts.launch_plan.version if facts.launch_plan else "",
            **{f"label.{name}": value for name, value in facts.labels.items()},
        }
        return Run.model_validate(
            {
                "as_of": facts.started_at,
                "execution": facts.execution,
                "pipeline": self.pipeline,
                "phase": self.phase,
                "started_at": facts.started_at,
                "ended_at": facts.ended_at or self._last_end(),
                "error": facts.error,
                "inputs": self._workflow_inputs() if self.succeeded else (),
                "outputs": self._workflow_outputs() if self.succeeded else (),
                "custom": {name: value for name, value in custom.items() if value} or None,
            }
        )

    def _last_end(self) -> datetime | None:
        if self.phase == "RUNNING":
            return None
        return max((n.ended_at for n in self.facts.nodes.values() if n.ended_at), default=None)

    def _task_runs(self) -> Iterator[Run]:
        """A run for each attempt; a node without task events had one all the same."""
        for node in self.nodes:
            *earlier, final = node.attempts or (None,)
            for attempt in earlier:
                if attempt is not None:
                    yield self._run(node, attempt)
            yield self._final_run(node, final)

    def _run_id(self, node: NodeFacts) -> RunId:
        """The run of the node's last attempt."""
        number = node.attempts[-1].number if node.attempts else 0
        return RunId(execution=self.facts.execution, node=node.id, attempt=number)

    def _run(self, node: NodeFacts, attempt: AttemptFacts) -> Run:
        return Run.model_validate(
            {
                "as_of": attempt.started_at or node.queued_at,
                "execution": self.facts.execution,
                "node": node.id,
                "attempt": attempt.number,
                "task": self._task_id(node),
                "parent": RunId(execution=self.facts.execution),
                "phase": attempt.phase,
                "started_at": attempt.started_at,
                "ended_at": attempt.ended_at,
                "error": attempt.error,
                "links": attempt.links,
            }
        )

    def _final_run(self, node: NodeFacts, attempt: AttemptFacts | None) -> Run:
        """The attempt that decided: what its node says goes before task events."""
        task = naming.task_of(node)
        if attempt is None and task is not None:
            attempt = AttemptFacts(number=0, task=task)
        if attempt is None:
            raise ValueError(f"Node {node.id} runs no task")
        run = self._run(node, attempt)
        upstream = (self._run_id(producer) for producer in self._upstream(node))
        started = run.started_at or node.started_at or node.queued_at
        return run.model_copy(
            update={
                "phase": node.phase if node.terminal else run.phase,
                "started_at": started,
                "as_of": run.as_of or started,
                "ended_at": run.ended_at or node.ended_at,
                "error": run.error or node.error,
                "cache_status": node.cache_status or None,
                "upstream": tuple(sorted(upstream, key=str)) if self.succeeded else (),
                "inputs": _ids(self._reads.get(node.id, ())) if self.succeeded else (),
                "outputs": _ids(self._writes[node.id]) if self.succeeded else (),
            }
        )

    def _problems(self) -> tuple[str, ...]:
        """What could not be read or named, one line each."""
        lines = [
            f"{what} of {node_id}: {problem}"
            for what, reads in (("inputs", self.known.inputs), ("outputs", self.known.outputs))
            for node_id, read in sorted(reads.items())
            for problem in read.problems
        ]
        lines.extend(f"workflow outputs: {p}" for p in self.known.workflow_outputs.problems)
        lines.extend(f"no task is known to have written {key}" for key in sorted(self.orphans))
        return tuple(lines[:MAX_PROBLEMS])


def _key(uri: str) -> str:
    """What two URIs of one piece of data have in common."""
    raw = naming.raw_output(uri)
    return raw.key if raw else naming.normalised(uri)


def _end(node: NodeFacts) -> datetime:
    return node.ended_at or datetime.min.replace(tzinfo=timezone.utc)


def _before(producer: NodeFacts, consumer: NodeFacts) -> bool:
    return (
        producer.ended_at is not None
        and consumer.queued_at is not None
        and producer.ended_at <= consumer.queued_at
    )


def _edges(uses: Iterable[_Use]) -> tuple[Edge, ...]:
    """One edge for each dataset that has a name, with all variables that held it."""
    variables: dict[DatasetId, set[str]] = defaultdict(set)
    for use in uses:
        if use.dataset is not None:
            variables[use.dataset].add(use.reference.variable)
    return tuple(
        Edge(dataset=id, evidence=(Evidence.DATA,), variables=tuple(sorted(variables[id])))
        for id in sorted(variables, key=str)
    )


def _ids(uses: Iterable[_Use]) -> tuple[DatasetId, ...]:
    return tuple(sorted({use.dataset for use in uses if use.dataset is not None}, key=str))
