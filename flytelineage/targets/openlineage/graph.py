"""What a lineage shows of runs, of what they read and wrote, and of how they hang together.

Pure, and in our own words: `events` turns it into OpenLineage's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal, NamedTuple

from flytelineage.entities import (
    Dataset,
    DatasetId,
    Evidence,
    Lineage,
    Pipeline,
    PipelineId,
    Run,
    RunId,
    Task,
    TaskId,
)

State = Literal["COMPLETE", "FAIL", "ABORT"]

_STATES: Mapping[str, State] = {
    "SUCCEEDED": "COMPLETE",
    "RECOVERED": "COMPLETE",
    "FAILED": "FAIL",
    "TIMED_OUT": "FAIL",
    "RETRYABLE_FAILED": "FAIL",
    "ABORTED": "ABORT",
}
_UNSUCCESSFUL = {"FAILED", "ABORTED", "TIMED_OUT", "FAILING", "ABORTING"}
MAX_EDGES = 2_000
"""Ends of edges that one event tells."""


class Io(NamedTuple):
    """What a run, or a job without a run, reads and writes."""

    inputs: tuple[DatasetId, ...] = ()
    outputs: tuple[DatasetId, ...] = ()


class Upstream(NamedTuple):
    """A task that had to run before; `run` is unknown where no run shows it."""

    task: TaskId
    run: RunId | None
    evidence: tuple[Evidence, ...]


class Part(NamedTuple):
    """A run and the pipeline that it is one of."""

    run: RunId
    pipeline: PipelineId


@dataclass(frozen=True)
class Edges:
    """What the tasks of an execution show, all together.

    Attributes:
        datasets: What each written dataset was made of; empty is nothing that is known to
            Flyte, and a dataset of which that is not sure is left out.
        jobs: The tasks whose results each task was promised, where no dataset shows it.
    """

    datasets: Mapping[DatasetId, tuple[DatasetId, ...]]
    jobs: Mapping[TaskId, tuple[TaskId, ...]]

    def __len__(self) -> int:
        return sum(1 + len(ends) for ends in (*self.datasets.values(), *self.jobs.values()))


_Evidence = Mapping[TaskId, tuple[Evidence, ...]]


class Graph:
    """One lineage; each property is computed once.

    Args:
        lineage: What to look at.
        at: When things were true, where the lineage does not say.
    """

    def __init__(self, lineage: Lineage, at: datetime) -> None:
        self.lineage = lineage
        self.at = at
        # An execution that failed half-way saw only some of its edges.
        self.tells_datasets = lineage.phase not in _UNSUCCESSFUL
        self.pipelines: dict[PipelineId, Pipeline] = {each.id: each for each in lineage.pipelines}
        # A task that is told per place now, or is there no more, is no job any longer.
        self.tasks: dict[TaskId, Task] = {
            task.id: task for task in lineage.tasks if not task.retired and not task.removed
        }
        self.datasets: dict[DatasetId, Dataset] = {each.id: each for each in lineage.datasets}

    # --------------------------------------------------------------------- runs

    @cached_property
    def executions(self) -> list[Run]:
        """The runs of whole executions that can be told."""
        return [run for run in self.lineage.runs if run.node is None and run.pipeline]

    @cached_property
    def attempts(self) -> list[Run]:
        """The attempts at tasks that can be told, in the order in which they began."""
        told = (run for run in self.lineage.runs if run.node is not None and run.task)
        return sorted(
            (run for run in told if run.phase != "SKIPPED"),
            key=lambda run: (self.began(run), run.node or "", run.attempt or 0),
        )

    def began(self, run: Run) -> datetime:
        """When the run began, as well as it is known."""
        return run.started_at or run.ended_at or run.as_of or self.at

    def ended(self, run: Run) -> datetime:
        """When the run ended, as well as it is known."""
        if run.ended_at or run.phase in _STATES or self.state(run) != "ABORT":
            return run.ended_at or self.began(run)
        around = self._by_id.get(RunId(execution=run.execution))
        return (around.ended_at if around else None) or self.began(run)

    def state(self, run: Run) -> State | None:
        """How the run ended; `None` while it runs, and where nobody knows."""
        if run.phase in _STATES:
            return _STATES[run.phase]
        if run.node is None:
            return None
        if (run.attempt or 0) < self._last_attempts[run.execution, run.node]:
            return "FAIL"  # or there would have been no other attempt
        # Nothing of an execution runs on when that is over.
        return "ABORT" if self.lineage.phase in ("FAILED", "ABORTED", "TIMED_OUT") else None

    @cached_property
    def _last_attempts(self) -> Mapping[tuple[object, str | None], int]:
        last: dict[tuple[object, str | None], int] = defaultdict(int)
        for run in self.lineage.runs:
            key = run.execution, run.node
            last[key] = max(last[key], run.attempt or 0)
        return last

    @cached_property
    def _by_id(self) -> dict[RunId, Run]:
        return {run.id: run for run in self.lineage.runs}

    def parent(self, run: Run) -> Part | None:
        """What the run is a part of; `None` where there is none or its pipeline is not known."""
        if run.node is None:
            return self._part(run.parent) if run.parent else None
        parent = run.parent or RunId(execution=run.execution)
        of_task = Part(parent, run.task.pipeline) if run.task and parent.node is None else None
        return self._part(parent) or of_task

    def _part(self, id: RunId) -> Part | None:
        known = self._by_id.get(id)
        return Part(id, known.pipeline) if known and known.pipeline else None

    def root(self, part: Part) -> Part:
        """What is at the top of all, as far up as the lineage shows."""
        seen = {part.run}
        while (run := self._by_id.get(part.run)) and (above := self.parent(run)):
            if above.run in seen:
                break
            seen.add(above.run)
            part = above
        return part

    # ---------------------------------------------------------- inputs and outputs

    @cached_property
    def _ios(self) -> dict[int, Io]:
        """By the identity of the run: hashing its name costs more than all the rest."""
        runs = [*self.executions, *self.attempts] if self.tells_datasets else []
        completed = [run for run in runs if self.state(run) == "COMPLETE"]
        of_tasks = {
            id: _TaskIo.of(self.tasks[id], shown)
            for id, shown in _by_task(completed).items()
            if id in self.tasks
        }
        return {
            id(run): _io(run, of_tasks.get(run.task) if run.task else None) for run in completed
        }

    def io(self, run: Run) -> Io:
        """What the run read and wrote; nothing unless it completed.

        What its task has and no run shows, such as an edge that a transform added, is each
        run's; what a transform took from the task is nobody's.
        """
        return self._ios.get(id(run), Io())

    def io_of_task(self, task: Task) -> Io:
        """What a task reads and writes of which no run is known."""
        if task.io is None or not self.tells_datasets:
            return Io()
        return Io(
            tuple(edge.dataset for edge in task.io.inputs),
            tuple(edge.dataset for edge in task.io.outputs),
        )

    @cached_property
    def written(self) -> set[DatasetId]:
        """What a run wrote."""
        return {id for io in self._ios.values() for id in io.outputs}

    @cached_property
    def touched(self) -> set[DatasetId]:
        """What a run read or wrote."""
        return self.written | {id for io in self._ios.values() for id in io.inputs}

    # -------------------------------------------------------------- dependencies

    def upstream(self, run: Run) -> Iterator[Upstream]:
        """What had to run before a run; last what its task has and no run of it shows."""
        evidence, unseen = self._waits.get(run.task, ({}, ()))
        for id in run.upstream:
            if before := self._task_of(id):
                yield Upstream(before, id, evidence.get(before, ()))
        yield from unseen

    def _task_of(self, id: RunId) -> TaskId | None:
        run = self._by_id.get(id)
        return run.task if run else None

    @cached_property
    def _waits(self) -> dict[TaskId | None, tuple[_Evidence, tuple[Upstream, ...]]]:
        """By task, what says for what it waits, and what none of its runs waited for."""
        found: dict[TaskId | None, tuple[_Evidence, tuple[Upstream, ...]]] = {}
        for id, runs in _by_task(self.attempts).items():
            task = self.tasks.get(id)
            edges = task.io.upstream if task and task.io else ()
            seen = {self._task_of(before) for run in runs for before in run.upstream}
            found[id] = (
                {edge.task: edge.evidence for edge in edges},
                tuple(Upstream(e.task, None, e.evidence) for e in edges if e.task not in seen),
            )
        return found

    @cached_property
    def edges(self) -> Edges:
        """What the tasks show, all together.

        Nothing where that is more than `MAX_EDGES`: a part would mislead, since consumers
        believe it before all else.
        """
        ios = [(run, self.io(run)) for run in self.attempts]
        if sum(len(io.inputs) * len(io.outputs) for _, io in ios) > MAX_EDGES:
            return Edges({}, {})
        made: dict[DatasetId, dict[DatasetId, None]] = {}
        for run, io in ios:
            for output in io.outputs if io.inputs or self._is_complete(run) else ():
                made.setdefault(output, {}).update(dict.fromkeys(io.inputs))
        edges = Edges(
            {output: tuple(id for id in inputs if id != output) for output, inputs in made.items()},
            dict(self._promises()),
        )
        return edges if len(edges) <= MAX_EDGES else Edges({}, {})

    def _is_complete(self, run: Run) -> bool:
        task = self.tasks.get(run.task) if run.task else None
        return task is not None and task.io is not None and task.io.complete

    def _promises(self) -> Iterator[tuple[TaskId, tuple[TaskId, ...]]]:
        """Tasks by those whose results they were promised without any data."""
        if not self.tells_datasets:
            return
        for id, task in self.tasks.items():
            found = tuple(
                edge.task
                for edge in (task.io.upstream if task.io else ())
                if Evidence.DEFINITION in edge.evidence and Evidence.DATA not in edge.evidence
            )
            if found:
                yield id, found


def job_of(run: Run) -> PipelineId | TaskId | None:
    """What a run is one of; `None` where nothing says it."""
    return run.pipeline if run.node is None else run.task


def wrote_anew(run: RunId, dataset: Dataset) -> bool:
    """Whether a run is known to have written the data that the dataset has now."""
    written = dataset.operation
    return written is not None and written.kind == "write" and written.run == run


def is_counted(run: Run, dataset: Dataset) -> bool:
    """Whether what is counted of a dataset seems to be what a run wrote.

    It is, where nothing says that another one did.
    """
    return run.node is not None and dataset.operation is None and run.cache_status != "CACHE_HIT"


class _TaskIo(NamedTuple):
    """What a task reads and writes, over all of its runs.

    Attributes:
        unseen: What none of the runs shows.
    """

    inputs: frozenset[DatasetId]
    outputs: frozenset[DatasetId]
    unseen: Io

    @classmethod
    def of(cls, task: Task, runs: Iterable[Run]) -> _TaskIo | None:
        """The io of a task; `None` where it is not known."""
        if task.io is None:
            return None
        inputs = dict.fromkeys(edge.dataset for edge in task.io.inputs)
        outputs = dict.fromkeys(edge.dataset for edge in task.io.outputs)
        read = {id for run in runs for id in run.inputs}
        written = {id for run in runs for id in run.outputs}
        unseen = Io(
            tuple(id for id in inputs if id not in read),
            tuple(id for id in outputs if id not in written),
        )
        return cls(frozenset(inputs), frozenset(outputs), unseen)


def _io(run: Run, of_task: _TaskIo | None) -> Io:
    if of_task is None:
        return Io(run.inputs, run.outputs)
    return Io(
        (*(id for id in run.inputs if id in of_task.inputs), *of_task.unseen.inputs),
        (*(id for id in run.outputs if id in of_task.outputs), *of_task.unseen.outputs),
    )


def _by_task(runs: Iterable[Run]) -> dict[TaskId, list[Run]]:
    found: dict[TaskId, list[Run]] = defaultdict(list)
    for run in runs:
        if run.task:
            found[run.task].append(run)
    return found
