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
from openlineage.client.facet_v2 import DatasetFacet

from flytelineage.entities import (
    Dataset,
    DatasetId,
    Lineage,
    Pipeline,
    PipelineId,
    Run,
    Task,
    TaskId,
)
from flytelineage.targets import Rejection
from flytelineage.targets.openlineage.dataset_facets import (
    OVERWRITTEN,
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
from flytelineage.targets.openlineage.graph import Graph, Io, job_of
from flytelineage.targets.openlineage.names import FLYTE, Name, run_id

Event = RunEvent | JobEvent | DatasetEvent

MAX_EVENT_BYTES = 900_000
"""About how large an event may get: some consumers refuse more than a megabyte."""


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


class _Begun(NamedTuple):
    """The facets of a run that are known from its beginning."""

    execution: FlyteExecutionRunFacet
    others: RunFacets

    @property
    def all(self) -> RunFacets:
        return {**self.others, "flyte_execution": self.execution}


class _Story:
    """One lineage while it is told; each facet is made once."""

    def __init__(self, facets: Facets, graph: Graph, emit_running: bool) -> None:
        self.facets = facets
        self.describer = Describer(facets.names)
        self.graph = graph
        self.emit_running = emit_running
        self._described: dict[DatasetId, Described] = {}
        self._jobs: dict[PipelineId | TaskId, tuple[Name, JobFacets]] = {}
        self._explained: set[DatasetId] = set()

    def tell(self) -> Iterator[Message]:
        """The events; those of no run first."""
        yield from self._datasets_alone()
        yield from self._jobs_alone()
        begun = [(run, self._begun(run)) for run in self.graph.executions]
        for run, facets in begun:
            yield from self._start(run, facets)
        for run in self.graph.attempts:
            facets = self._begun(run)
            yield from self._start(run, facets)
            yield from self._end(run, facets)
        for run, facets in begun:
            yield from self._end(run, facets)

    # -------------------------------------------------------------- jobs, datasets

    def _job(self, id: PipelineId | TaskId) -> tuple[Name, JobFacets]:
        if id not in self._jobs:
            facets = (
                self.facets.task(id, self.graph.tasks.get(id))
                if isinstance(id, TaskId)
                else self.facets.pipeline(id, self.graph.pipelines.get(id))
            )
            self._jobs[id] = self.facets.names.job(id), facets
        return self._jobs[id]

    def _describe(self, id: DatasetId) -> Described:
        if id not in self._described:
            known = self.graph.datasets.get(id) or Dataset.of(id)
            self._described[id] = self.describer.describe(known)
        return self._described[id]

    @cached_property
    def _columns(self) -> Mapping[TaskId, Mapping[DatasetId, DatasetFacet]]:
        """What columns are made of, by the task that shows it."""
        return {
            id: self.describer.columns(task.io.columns)
            for id, task in self.graph.tasks.items()
            if task.io and task.io.columns
        }

    # ----------------------------------------------------------- without any run

    def _datasets_alone(self) -> Iterator[Message]:
        """Datasets that no run reads or writes."""
        for dataset in self.graph.lineage.datasets:
            if dataset.id not in self.graph.touched:
                yield self._dataset_alone(dataset.id, {})

    def _dataset_alone(self, id: DatasetId, columns: Mapping[DatasetId, DatasetFacet]) -> Message:
        known, described = self.graph.datasets.get(id), self._describe(id)
        made_of = {"columnLineage": columns[id]} if id in columns else {}
        event = DatasetEvent(
            eventTime=stamp((known.as_of if known else None) or self.graph.at),
            producer=PRODUCER,
            dataset=event_v2.StaticDataset(*described.name, facets={**described.facets, **made_of}),
        )
        return Message(f"dataset:{id}", event)

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

    def _job_alone(
        self, known: Pipeline | Task, io: Io, columns: Mapping[DatasetId, DatasetFacet]
    ) -> Message:
        name, facets = self._job(known.id)
        event = JobEvent(
            eventTime=stamp(known.as_of or self.graph.at),
            producer=PRODUCER,
            job=Job(*name, facets={**facets}),
            inputs=[InputDataset(*self.facets.names.dataset(id)) for id in io.inputs],
            outputs=[
                OutputDataset(
                    *self.facets.names.dataset(id),
                    facets={"columnLineage": columns[id]} if id in columns else {},
                )
                for id in io.outputs
            ],
        )
        return Message(known.urn, event)

    # ---------------------------------------------------------------------- runs

    def _begun(self, run: Run) -> _Begun:
        known = self.graph.tasks.get(run.task) if run.task else None
        about = known or (self.graph.pipelines.get(run.pipeline) if run.pipeline else None)
        others: RunFacets = {**self.facets.engine}
        if parent := self.graph.parent(run):
            others["parent"] = self.facets.parent(parent, self.graph.root(parent))
        if run.scheduled_at:
            others["nominalTime"] = nominal_time(run.scheduled_at)
        return _Begun(self.facets.began(run, about), others)

    def _start(self, run: Run, begun: _Begun) -> Iterator[Message]:
        if self.graph.state(run) or (self.emit_running and run.started_at):
            event = self._event(run, "START", self.graph.began(run), begun.all, {})
            yield Message(run.urn, event)

    def _end(self, run: Run, begun: _Begun) -> Iterator[Message]:
        state = self.graph.state(run)
        if state is None:
            return
        facets = {**begun.others, **self.facets.ended(run, begun.execution)}
        if dependencies := self.facets.dependencies(self.graph.upstream(run)):
            facets["jobDependencies"] = dependencies
        io = self.graph.io(run)
        columns = self._columns_of(run, io)
        explained = self._explain(io)
        alone = self._too_large(explained, columns)
        for id in alone:
            yield self._dataset_alone(id, columns)
        told = explained.difference(alone)
        edges = self.facets.true_edges(self.graph.edges) if run.node is None else {}
        event = self._event(run, state, self.graph.ended(run), facets, edges)
        event.inputs = [self._input(id, told) for id in io.inputs]
        event.outputs = [self._output(run, id, told, columns) for id in io.outputs]
        yield Message(run.urn, event)

    def _event(
        self, run: Run, state: str, at: datetime, facets: RunFacets, of_job: JobFacets
    ) -> RunEvent:
        name, about = self._job(_job_id(run))
        return RunEvent(
            eventTime=stamp(at),
            producer=PRODUCER,
            eventType=RunState(state),
            run=event_v2.Run(run_id(run.id), facets={**facets}),
            job=Job(*name, facets={**about, **of_job}),
        )

    # -------------------------------------------------- what runs read and wrote

    def _columns_of(self, run: Run, io: Io) -> Mapping[DatasetId, DatasetFacet]:
        """What the columns of a run's outputs are made of; of an execution's by any task."""
        if run.task:
            return self._columns.get(run.task, {})
        written = set(io.outputs) if self._columns else set()
        ios = [task.io for task in self.graph.tasks.values() if task.io and written]
        edges = (edge for each in ios for edge in each.columns if edge.dataset in written)
        return self.describer.columns(edges)

    def _explain(self, io: Io) -> set[DatasetId]:
        """What is described in a run's event, and not only named.

        Consumers keep a version of a dataset for each run that wrote it, so outputs always
        are. What is only read is described once.
        """
        read = {id for id in io.inputs if id not in self.graph.written}
        explained = {*read.difference(self._explained), *io.outputs}
        self._explained |= read
        return explained

    def _too_large(
        self, explained: Iterable[DatasetId], columns: Mapping[DatasetId, DatasetFacet]
    ) -> list[DatasetId]:
        """What must be described in events of its own, the largest first."""
        weights = {id: self._describe(id).weight + weight(columns.get(id)) for id in explained}
        total, alone = sum(weights.values()), []
        for id in sorted(weights, key=lambda id: (-weights[id], str(id))):
            if total <= MAX_EVENT_BYTES:
                break
            alone.append(id)
            total -= weights[id]
        return alone

    def _input(self, id: DatasetId, told: set[DatasetId]) -> InputDataset:
        described = self._describe(id)
        return InputDataset(
            *described.name, None, facets={**described.facets} if id in told else {}
        )

    def _output(
        self,
        run: Run,
        id: DatasetId,
        told: set[DatasetId],
        columns: Mapping[DatasetId, DatasetFacet],
    ) -> OutputDataset:
        described = self._describe(id)
        facets: dict[str, DatasetFacet] = {}
        if id in told:
            facets = {**described.facets}
            if id in columns:
                facets["columnLineage"] = columns[id]
        if id.platform == FLYTE and self.graph.wrote_anew(run, id):
            facets["lifecycleStateChange"] = OVERWRITTEN
        known = self.graph.datasets.get(id)
        counts = statistics(known) if known and self.graph.is_counted(run, id) else {}
        return OutputDataset(*described.name, counts, facets=facets)


def _job_id(run: Run) -> PipelineId | TaskId:
    id = job_of(run)
    if id is None:
        raise ValueError(f"{run.urn} is a run of nothing")
    return id
