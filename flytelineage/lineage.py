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

from flytelineage import naming
from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Edge,
    Evidence,
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
from flytelineage.flow import Collected, DataFlow, Use, missing_events, outcome
from flytelineage.literals import Reference

MAX_PROBLEMS = 50
"""Lines kept of what could not be read."""


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
    builder = _Builder(facts, collected, collected.pipeline, phase)
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

    def __init__(self, facts: Facts, known: Collected, pipeline: PipelineId, phase: str) -> None:
        self.facts = facts
        self.known = known
        self.pipeline = pipeline
        self.phase = phase
        self.flow = DataFlow(facts, known, pipeline)

    def build(self) -> Build:
        """The entities first: what has no name is known once they were made."""
        tasks, datasets = self._tasks(), self._datasets()
        runs = (self._execution_run(), *self._task_runs())
        lineage = _heading(self.facts, self.known, self.phase).model_copy(
            update={
                "partial": bool(missing_events(self.facts) or self.flow.orphans),
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
            places={name: self.flow.is_multiple(name) for name in self.flow.paths},
            written=self._written() if self.succeeded else {},
        )

    def build_running(self) -> Build:
        """The execution's run and its pipeline alone."""
        return Build(
            _heading(self.facts, self.known, self.phase).model_copy(
                update={
                    "partial": True,
                    "pipelines": (self._pipeline(),),
                    "runs": (self._execution_run(),),
                }
            )
        )

    @property
    def succeeded(self) -> bool:
        """Only successful executions tell edges."""
        return self.phase == "SUCCEEDED"

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
            if self.succeeded and name in self.flow.paths and self.flow.is_multiple(name)
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
        ran = [node for node in nodes if node.id in self.flow.reads]
        if not ran:
            return None
        own = self.flow.task_id(ran[0])
        upstream = {
            self.flow.task_id(producer) for node in ran for producer in self.flow.upstream(node)
        }
        return IO(
            inputs=_edges(use for node in ran for use in self.flow.reads[node.id]),
            outputs=_edges(use for node in ran for use in self.flow.writes[node.id]),
            upstream=tuple(
                TaskEdge(task=task, evidence=(Evidence.DATA,))
                for task in sorted(upstream - {own}, key=str)
            ),
            complete=all(self.flow.complete(node) for node in ran),
        )

    def _datasets(self) -> tuple[Dataset, ...]:
        """Every dataset that a task or the workflow touched."""
        if not self.succeeded:
            return ()
        found: dict[DatasetId, Dataset] = {}
        touched: dict[DatasetId, datetime] = {}
        for node in sorted(self.flow.nodes, key=_end):  # of several writes, the newest is told
            written = {use.dataset: use for use in self.flow.writes[node.id] if use.dataset}
            read = {use.dataset for use in self.flow.reads.get(node.id, ()) if use.dataset}
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
                run=self._run_id(node),
                task=self.flow.task_id(node),
            ),
        )

    def _dataset_properties(self, use: Use, node: NodeFacts) -> Properties:
        task = naming.task_of(node)
        name = f"{naming.short(task.name)}.{use.reference.variable}" if task else None
        return Properties(name=name, custom={"kind": use.reference.kind})

    def _written(self) -> dict[DatasetId, tuple[Reference, ...]]:
        """What this execution wrote or recovered, by dataset, in the order of variables.

        Each piece once, or its rows would be counted twice: a task may return it in two
        variables, and two tasks may write one path.
        """
        written: dict[DatasetId, dict[str, Reference]] = defaultdict(dict)
        for node in self.flow.nodes:
            if not self.flow.cached(node):
                for use in self.flow.writes[node.id]:
                    if use.dataset is not None:
                        piece = naming.normalised(use.reference.uri)
                        written[use.dataset].setdefault(piece, use.reference)
        return {id: tuple(pieces.values()) for id, pieces in written.items()}

    # ------------------------------------------------------------------------- runs

    def _workflow_inputs(self) -> tuple[DatasetId, ...]:
        return self._ids(self.flow.inputs())

    def _workflow_outputs(self) -> tuple[DatasetId, ...]:
        return self._ids(self.known.workflow_outputs.references)

    def _ids(self, references: Iterable[Reference]) -> tuple[DatasetId, ...]:
        ids = {self.flow.name(reference.uri) for reference in references}
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
        for node in self.flow.nodes:
            *earlier, final = _attempts(node)
            for attempt in earlier:
                yield self._run(node, attempt)
            yield self._final_run(node, final)

    def _run_id(self, node: NodeFacts) -> RunId:
        """The run of the node's last attempt."""
        number = _attempts(node)[-1].number
        return RunId(execution=self.facts.execution, node=node.id, attempt=number)

    def _run(self, node: NodeFacts, attempt: AttemptFacts) -> Run:
        return Run.model_validate(
            {
                "as_of": attempt.started_at or node.queued_at,
                "execution": self.facts.execution,
                "node": node.id,
                "attempt": attempt.number,
                "task": self.flow.task_id(node),
                "parent": RunId(execution=self.facts.execution),
                "phase": attempt.phase,
                "started_at": attempt.started_at,
                "ended_at": attempt.ended_at,
                "error": attempt.error,
                "links": attempt.links,
            }
        )

    def _final_run(self, node: NodeFacts, attempt: AttemptFacts) -> Run:
        """The attempt that decided: what its node says goes before task events."""
        run = self._run(node, attempt)
        upstream = (self._run_id(producer) for producer in self.flow.upstream(node))
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
                "inputs": _ids(self.flow.reads.get(node.id, ())) if self.succeeded else (),
                "outputs": _ids(self.flow.writes[node.id]) if self.succeeded else (),
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
        lines.extend(f"no task is known to have written {key}" for key in sorted(self.flow.orphans))
        return tuple(lines[:MAX_PROBLEMS])


def _attempts(node: NodeFacts) -> tuple[AttemptFacts, ...]:
    """The attempts at a task node, at least one; the last is the one that decided.

    FlyteAdmin never publishes the first event of an attempt, so one that ended with it was
    not seen: a node that succeeded had another attempt after one that failed.
    """
    task, last = naming.task_of(node), node.attempts[-1] if node.attempts else None
    if last is not None and not (node.succeeded and last.phase in ("FAILED", "ABORTED")):
        return node.attempts
    if task is None:
        raise ValueError(f"Node {node.id} runs no task")
    number, began = (last.number + 1, last.ended_at) if last else (0, None)
    return (*node.attempts, AttemptFacts(number=number, task=task, started_at=began))


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


def _ids(uses: Iterable[Use]) -> tuple[DatasetId, ...]:
    return tuple(sorted({use.dataset for use in uses if use.dataset is not None}, key=str))
