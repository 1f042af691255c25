"""A lineage as events, in the order in which consumers must learn them; pure.

Each execution and each attempt at a task is a run with a START and one of COMPLETE, FAIL
and ABORT. Consumers differ in how they add up the events of a run, so everything is on the
last one. Times are those of Flyte's events: told again, each event is the same.

A run's inputs and outputs are read as if each output were made of each input. What the
tasks really show is in the facet `lineage` of the execution's last event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from openlineage.client import event_v2
from openlineage.client.event_v2 import (
    DatasetEvent,
    InputDataset,
    Job,
    JobEvent,
    OutputDataset,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import RunFacet

from flytelineage.entities import (
    Dataset,
    DatasetId,
    Lineage,
    Pipeline,
    PipelineId,
    Run,
    RunId,
    Task,
    TaskId,
)
from flytelineage.targets import Rejection
from flytelineage.targets.openlineage.dataset_facets import (
    MAX_DESCRIBED_BYTES,
    OVERWRITTEN,
    Columns,
    Described,
    Describer,
    statistics,
    weight,
)
from flytelineage.targets.openlineage.facets import (
    Facets,
    JobFacets,
    RunFacets,
    nominal_time,
    stamp,
)
from flytelineage.targets.openlineage.flyte_execution import PRODUCER, FlyteExecutionRunFacet
from flytelineage.targets.openlineage.graph import (
    Graph,
    Io,
    Part,
    is_counted,
    job_of,
    wrote_anew,
)
from flytelineage.targets.openlineage.names import FLYTE, Name, run_id

Event = RunEvent | JobEvent | DatasetEvent


class Message(NamedTuple):
    """An event, and the `urn` of the entity that it is about."""

    entity: str
    event: Event


@dataclass(frozen=True)
class Conversion:
    """What is told of a lineage.

    Attributes:
        facets: How entities are described.
        emit_running: Whether the START of what still runs is told.
    """

    facets: Facets
    emit_running: bool = False

    def messages(self, lineage: Lineage, now: datetime) -> Iterator[Message]:
        """Every event: of an execution its START first and its end last.

        Args:
            lineage: What to tell.
            now: When it is true, where the lineage does not say.
        """
        graph = Graph(lineage, lineage.started_at or now)
        return _Story(self.facets, graph, self.emit_running).tell()

    def nameless(self, lineage: Lineage) -> list[Rejection]:
        """The runs of which nothing says what they are runs of, so that no event can be made."""
        return [
            Rejection(entity=run.urn, reason="nothing says which pipeline or task it is a run of")
            for run in lineage.runs
            if job_of(run) is None and run.phase not in ("UNDEFINED", "SKIPPED")
        ]


@dataclass(frozen=True)
class _Told:
    """A run, with what is the same in each of its events."""

    run: Run
    id: RunId
    job: Name
    about_job: JobFacets
    execution: FlyteExecutionRunFacet
    others: RunFacets


class _Story:
    """One lineage while it is told; each facet is made once."""

    def __init__(self, facets: Facets, graph: Graph, emit_running: bool) -> None:
        self.facets = facets
        self.names = facets.names
        self.describer = Describer(facets.names)
        self.graph = graph
        self.emit_running = emit_running
        self._described: dict[DatasetId, Described] = {}
        self._jobs: dict[PipelineId | TaskId, tuple[Name, JobFacets]] = {}
        self._parents: dict[Part, RunFacet] = {}
        self._explained: set[Name] = set()

    def tell(self) -> Iterator[Message]:
        """The events; those of no run first."""
        yield from self._datasets_alone()
        yield from self._jobs_alone()
        around = [self._told(run) for run in self.graph.executions]
        for told in around:
            yield from self._start(told)
        for run in self.graph.attempts:
            told = self._told(run)
            yield from self._start(told)
            yield from self._end(told)
        for told in around:
            yield from self._end(told)

    # -------------------------------------------------------------- jobs, datasets

    def _job(self, id: PipelineId | TaskId) -> tuple[Name, JobFacets]:
        if id not in self._jobs:
            facets = (
                self.facets.task(id, self.graph.tasks.get(id))
                if isinstance(id, TaskId)
                else self.facets.pipeline(id, self.graph.pipelines.get(id))
            )
            self._jobs[id] = self.names.job(id), facets
        return self._jobs[id]

    def _describe(self, id: DatasetId) -> Described:
        if id not in self._described:
            known = self.graph.datasets.get(id) or Dataset.of(id)
            self._described[id] = self.describer.describe(known)
        return self._described[id]

    @cached_property
    def _columns(self) -> Mapping[TaskId, Columns]:
        """What columns are made of, by the task that shows it."""
        return {
            id: self.describer.columns(task.io.columns)
            for id, task in self.graph.tasks.items()
            if task.io and task.io.columns
        }

    @cached_property
    def _written(self) -> set[Name]:
        """What is explained where it is written, and so need not be where it is read."""
        return set(map(self.names.dataset, self.graph.written))

    # ----------------------------------------------------------- without any run

    def _datasets_alone(self) -> Iterator[Message]:
        """Datasets that no run reads or writes."""
        for dataset in self.graph.lineage.datasets:
            if dataset.id not in self.graph.touched:
                yield self._dataset_alone(self._describe(dataset.id), {})

    def _dataset_alone(self, described: Described, columns: Columns) -> Message:
        dataset, name = described.dataset, described.name
        made_of = {"columnLineage": columns[name]} if name in columns else {}
        event = DatasetEvent(
            eventTime=stamp(dataset.as_of or self.graph.at),
            producer=PRODUCER,
            dataset=event_v2.StaticDataset(*name, facets={**described.facets, **made_of}),
        )
        return Message(dataset.urn, event)

    def _jobs_alone(self) -> Iterator[Message]:
        """Jobs of which no run is known."""
        of_runs = {job_of(run) for run in self.graph.lineage.runs}
        of_runs |= {id.pipeline for id in of_runs if isinstance(id, TaskId)}
        for pipeline in self.graph.pipelines.values():
            if pipeline.id not in of_runs:
                yield self._job_alone(pipeline, Io(), {})
        for id, task in self.graph.tasks.items():
            if id not in of_runs:
                io = self.graph.io_of_task(task)
                yield self._job_alone(task, io, self._columns.get(id, {}))

    def _job_alone(self, known: Pipeline | Task, io: Io, columns: Columns) -> Message:
        name, facets = self._job(known.id)
        outputs = map(self.names.dataset, io.outputs)
        event = JobEvent(
            eventTime=stamp(known.as_of or self.graph.at),
            producer=PRODUCER,
            job=Job(*name, facets={**facets}),
            inputs=[InputDataset(*self.names.dataset(id)) for id in io.inputs],
            outputs=[
                OutputDataset(
                    *output,
                    facets={"columnLineage": columns[output]} if output in columns else {},
                )
                for output in outputs
            ],
        )
        return Message(known.urn, event)

    # ---------------------------------------------------------------------- runs

    def _told(self, run: Run) -> _Told:
        known = self.graph.tasks.get(run.task) if run.task else None
        about = known or (self.graph.pipelines.get(run.pipeline) if run.pipeline else None)
        others: RunFacets = {**self.facets.engine}
        if parent := self.graph.parent(run):
            others["parent"] = self._parent(parent)
        if run.scheduled_at:
            others["nominalTime"] = nominal_time(run.scheduled_at)
        execution = self.facets.began(run, about)
        return _Told(run, run.id, *self._job(_job_id(run)), execution, others)

    def _parent(self, parent: Part) -> RunFacet:
        if parent not in self._parents:
            self._parents[parent] = self.facets.parent(parent, self.graph.root(parent))
        return self._parents[parent]

    def _start(self, told: _Told) -> Iterator[Message]:
        run = told.run
        if self.graph.state(run) or (self.emit_running and run.started_at):
            facets = {**told.others, "flyte_execution": told.execution}
            yield self._message(told, self._event(told, "START", self.graph.began(run), facets))

    def _end(self, told: _Told) -> Iterator[Message]:
        run, state = told.run, self.graph.state(told.run)
        if state is None:
            return
        facets = {**told.others, **self.facets.ended(run, told.execution)}
        if dependencies := self.facets.dependencies(self.graph.upstream(run)):
            facets["jobDependencies"] = dependencies
        event = self._event(told, state, self.graph.ended(run), facets)
        if run.node is None:
            event.job.facets = {**told.about_job, **self.facets.true_edges(self.graph.edges)}
        yield from self._with_datasets(told, event)
        yield self._message(told, event)

    def _event(self, told: _Told, state: str, at: datetime, facets: RunFacets) -> RunEvent:
        return RunEvent(
            eventTime=stamp(at),
            producer=PRODUCER,
            eventType=RunState(state),
            run=event_v2.Run(run_id(told.id), facets=facets),
            job=Job(*told.job, facets={**told.about_job}),
        )

    def _message(self, told: _Told, event: RunEvent) -> Message:
        return Message(f"run:{told.id}", event)

    # -------------------------------------------------- what runs read and wrote

    def _with_datasets(self, told: _Told, event: RunEvent) -> Iterator[Message]:
        """Put into an event what the run read and wrote; gives what does not fit into it.

        Consumers keep a version of a dataset for each run that wrote it, so outputs always
        are described. What is only read is described once.
        """
        io = self.graph.io(told.run)
        read, written = map(self._describe, io.inputs), list(map(self._describe, io.outputs))
        columns = self._columns_of(told.run, io)
        inputs = [(each, each.name not in self._written | self._explained) for each in read]
        self._explained.update(each.name for each, _ in inputs)
        alone = self._too_large([*(each for each, new in inputs if new), *written], columns)
        event.inputs = [_input(each, full=new and each.name not in alone) for each, new in inputs]
        event.outputs = [
            self._output(told, each, columns, full=each.name not in alone) for each in written
        ]
        for each in alone.values():
            yield self._dataset_alone(each, columns)

    def _columns_of(self, run: Run, io: Io) -> Columns:
        """What the columns of a run's outputs are made of; of an execution's by any task."""
        if run.task or not self._columns:
            return self._columns.get(run.task, {}) if run.task else {}
        written = set(io.outputs)
        ios = [task.io for task in self.graph.tasks.values() if task.io]
        edges = (edge for each in ios for edge in each.columns if edge.dataset in written)
        return self.describer.columns(edges)

    def _too_large(self, described: Iterable[Described], columns: Columns) -> dict[Name, Described]:
        """What must be described in events of its own, the largest first."""
        weights = [(each.weight + weight(columns.get(each.name)), each) for each in described]
        total, alone = sum(bytes for bytes, _ in weights), {}
        if total > MAX_DESCRIBED_BYTES:
            for bytes, each in sorted(weights, key=lambda one: (-one[0], one[1].name)):
                if total <= MAX_DESCRIBED_BYTES:
                    break
                alone[each.name] = each
                total -= bytes
        return alone

    def _output(
        self, told: _Told, described: Described, columns: Columns, *, full: bool
    ) -> OutputDataset:
        dataset, name = described.dataset, described.name
        facets = {**described.facets} if full else {}
        if full and name in columns:
            facets["columnLineage"] = columns[name]
        anew = wrote_anew(told.id, dataset)
        if anew and dataset.platform == FLYTE:
            facets["lifecycleStateChange"] = OVERWRITTEN
        counts = statistics(dataset) if anew or is_counted(told.run, dataset) else {}
        return OutputDataset(*name, counts, facets=facets)


def _input(described: Described, *, full: bool) -> InputDataset:
    return InputDataset(*described.name, None, facets={**described.facets} if full else {})


def _job_id(run: Run) -> PipelineId | TaskId:
    id = job_of(run)
    if id is None:
        raise ValueError(f"{run.urn} is a run of nothing")
    return id
