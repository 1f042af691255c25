"""A lineage as proposals, in the order in which DataHub must learn them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import datetime

import datahub.metadata.schema_classes as m

from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Lineage,
    PipelineId,
    TaskId,
)
from flytelineage.targets.datahub.aspects import Describer
from flytelineage.targets.datahub.proposals import Proposal, Subject
from flytelineage.targets.datahub.runs import History

_UNSUCCESSFUL = {"FAILING", "FAILED", "ABORTING", "ABORTED", "TIMED_OUT"}


@dataclass(frozen=True)
class Conversion:
    """What is told of a lineage.

    Attributes:
        describer: How entities become aspects.
        history: Which runs are told, and what of them.
        datasets_only: Tell no pipelines, tasks and runs.
    """

    describer: Describer
    history: History
    datasets_only: bool = False

    def proposals(self, lineage: Lineage, now: datetime) -> list[Proposal]:
        """Everything that is told: flows before their jobs, jobs before their runs.

        Args:
            lineage: What to tell.
            now: When it is true, where the lineage does not say.
        """
        at = lineage.started_at or now
        if self.datasets_only:
            return [*self._datasets(lineage.datasets, frozenset(), at)]
        told = lineage.model_copy(update={"runs": tuple(self.history.kept(lineage.runs))})
        mentioned = _Mentioned.by(told, edges=_tells_edges(lineage))
        return [
            *self._pipelines(told, mentioned, at),
            *self._tasks(told, mentioned, at),
            *self._datasets(told.datasets, mentioned.all_datasets, at),
            *self._exist(mentioned.datasets, at),
            *self.history.proposals(told.runs, at),
        ]

    def platform(self, logo_url: str, now: datetime) -> Proposal:
        """What DataHub is to call the platform; it does not know Flyte by itself."""
        about = Subject("platform", f"urn:li:dataPlatform:{self.describer.urns.platform}", now)
        return about.upsert(
            m.DataPlatformInfoClass(
                name=self.describer.urns.platform,
                displayName="Flyte",
                type=m.PlatformTypeClass.OTHERS,
                datasetNameDelimiter=".",
                logoUrl=logo_url or None,
            )
        )

    def _pipelines(
        self, lineage: Lineage, mentioned: _Mentioned, at: datetime
    ) -> Iterator[Proposal]:
        for pipeline in lineage.pipelines:
            yield from self.describer.pipeline(pipeline, at)
        yield from self._exist(mentioned.pipelines, at)

    def _tasks(self, lineage: Lineage, mentioned: _Mentioned, at: datetime) -> Iterator[Proposal]:
        for task in lineage.tasks:
            yield from self.describer.task(task, at, edges=_tells_edges(lineage))
        yield from self._exist(mentioned.tasks, at)

    def _datasets(
        self, datasets: Iterable[Dataset], mentioned: Set[DatasetId], at: datetime
    ) -> Iterator[Proposal]:
        for dataset in datasets:
            yield from self.describer.dataset(dataset, at, mentioned=dataset.id in mentioned)

    def _exist(
        self, ids: Iterable[PipelineId | TaskId | DatasetId], at: datetime
    ) -> Iterator[Proposal]:
        """Make what is only referred to exist, if it is Flyte's.

        DataHub shows neither a job without its flow nor an edge to nothing.
        """
        urns = self.describer.urns
        for id in ids:
            if isinstance(id, PipelineId):
                ours, entity, urn = urns.is_ours(id), "pipeline", urns.flow(id)
            elif isinstance(id, TaskId):
                ours, entity, urn = urns.is_ours(id.pipeline), "task", urns.job(id)
            else:
                ours, entity, urn = urns.is_ours(id), "dataset", urns.dataset(id)
            if ours:
                yield from self.describer.exists(Subject(f"{entity}:{id}", urn, at), id)


def _tells_edges(lineage: Lineage) -> bool:
    # An execution that failed half-way saw only some of its edges.
    return lineage.phase not in _UNSUCCESSFUL


@dataclass(frozen=True)
class _Mentioned:
    """What a lineage refers to and does not contain; each sorted by id.

    Attributes:
        all_datasets: Also those that it contains.
    """

    pipelines: list[PipelineId]
    tasks: list[TaskId]
    datasets: list[DatasetId]
    all_datasets: frozenset[DatasetId]

    @classmethod
    def by(cls, lineage: Lineage, *, edges: bool) -> _Mentioned:
        there = [task for task in lineage.tasks if not (task.retired or task.removed)]
        ios = [task.io for task in there if task.io and edges]
        tasks = {
            *(edge.task for io in ios for edge in io.upstream),
            *(run.task for run in lineage.runs if run.task),
        }
        pipelines = {
            *(task.pipeline for task in there),
            *(task.pipeline for task in tasks),
            *(run.pipeline for run in lineage.runs if run.pipeline),
        }
        datasets = {
            *(id for io in ios for id in _datasets(io)),
            *(id for run in lineage.runs for id in (*run.inputs, *run.outputs)),
        }
        return cls(
            sorted(pipelines.difference(each.id for each in lineage.pipelines), key=str),
            sorted(tasks.difference(each.id for each in lineage.tasks), key=str),
            sorted(datasets.difference(each.id for each in lineage.datasets), key=str),
            frozenset(datasets),
        )


def _datasets(io: IO) -> Iterator[DatasetId]:
    yield from (edge.dataset for edge in (*io.inputs, *io.outputs))
    for column in io.columns:
        yield column.dataset
        yield from (dataset for dataset, _ in column.sources)
