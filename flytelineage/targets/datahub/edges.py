"""Edges of tasks, and of datasets to their copies; pure.

People draw edges by hand, so ours are added to theirs, and those that hold no longer are
taken away one by one. Written whole, an aspect holds ours and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import datahub.metadata.schema_classes as m

from flytelineage.entities import (
    IO,
    ColumnEdge,
    Copy,
    Dataset,
    DatasetId,
    Edge,
    FormerEdges,
    TaskEdge,
)
from flytelineage.targets.datahub.proposals import (
    PatchOperation,
    Proposal,
    Subject,
    add,
    take_away,
)
from flytelineage.targets.datahub.urns import Urns

_INPUTS, _OUTPUTS, _UPSTREAM = "inputDatasetEdges", "outputDatasetEdges", "inputDatajobEdges"
_COLUMNS = "fineGrainedLineages"

# A column's edge lies under its operation, its downstream, its query and its upstream.
# Source: FineGrainedLineageTemplateHelper.java
_NO_OPERATION = _NO_QUERY = "NONE"
_SURE = {"confidenceScore": 1.0}

# Ours alone, so that all columns of a copy can be replaced and nobody else's.
_COPY = "FLYTE_COPY"


@dataclass(frozen=True)
class Edges:
    """Says what is made of what.

    Attributes:
        urns: How entities are named.
        patches: Whether edges are added to those that are there; else they replace them.
    """

    urns: Urns
    patches: bool = True

    def io(self, about: Subject, io: IO | None, former: FormerEdges | None) -> Iterator[Proposal]:
        """What a task reads, writes and waits for, and what it does no longer.

        Args:
            about: The task.
            io: Its edges; empty for a task that has none any more, `None` is not known.
            former: Edges that were told of it and hold no longer.
        """
        if not self.patches:
            if io is not None:
                yield about.upsert(self._whole(io, about.at), "io")
            return
        operations = [
            *(self._taken(former) if former else ()),
            *(self._added(io, about.at) if io else ()),
        ]
        yield from about.patch("dataJobInputOutput", operations, "io")

    # ---------------------------------------------------------------------- tasks

    def _whole(self, io: IO, at: datetime) -> m.DataJobInputOutputClass:
        return m.DataJobInputOutputClass(
            # Required; an entry here could not be patched away later.
            inputDatasets=[],
            outputDatasets=[],
            inputDatasetEdges=[self._edge(edge, at) for edge in io.inputs],
            outputDatasetEdges=[self._edge(edge, at) for edge in io.outputs],
            inputDatajobEdges=[self._edge(edge, at) for edge in io.upstream],
            fineGrainedLineages=[self._column(edge) for edge in io.columns] or None,
        )

    def _edge(self, edge: Edge | TaskEdge, at: datetime) -> m.EdgeClass:
        # The time is a property and not the edge's own: DataHub hides edges by their
        # time, and that of a workflow that runs once a month would be gone by default.
        properties = {
            "evidence": ",".join(evidence.value for evidence in edge.evidence),
            "observed_at": at.isoformat(timespec="milliseconds"),
        }
        if isinstance(edge, TaskEdge):
            return m.EdgeClass(destinationUrn=self.urns.job(edge.task), properties=properties)
        if edge.variables:
            properties["variables"] = ",".join(edge.variables)
        return m.EdgeClass(destinationUrn=self.urns.dataset(edge.dataset), properties=properties)

    def _column(self, edge: ColumnEdge) -> m.FineGrainedLineageClass:
        # Exactly one downstream each: others cannot be patched.
        return _fine_grained(
            [self.urns.column(dataset, path) for dataset, path in edge.sources],
            self.urns.column(edge.dataset, edge.column),
        )

    def _added(self, io: IO, at: datetime) -> Iterator[PatchOperation]:
        for field, edges in ((_INPUTS, io.inputs), (_OUTPUTS, io.outputs)):
            for edge in edges:
                yield add(self._edge(edge, at), field, self.urns.dataset(edge.dataset))
        for upstream in io.upstream:
            job = self.urns.job(upstream.task)
            yield add(self._edge(upstream, at), _UPSTREAM, job)
        for column in io.columns:
            for source in column.sources:
                yield add(_SURE, *self._column_path((column.dataset, column.column), source))

    def _taken(self, former: FormerEdges) -> Iterator[PatchOperation]:
        ends = (
            *((_INPUTS, self.urns.dataset(id)) for id in former.inputs),
            *((_OUTPUTS, self.urns.dataset(id)) for id in former.outputs),
            *((_UPSTREAM, self.urns.job(id)) for id in former.upstream),
        )
        for field, urn in ends:
            yield from take_away({"destinationUrn": urn}, field, urn)
        for dataset, column, source, source_column in former.columns:
            path = self._column_path((dataset, column), (source, source_column))
            yield from take_away(_SURE, *path)

    def _column_path(
        self, made: tuple[DatasetId, str], source: tuple[DatasetId, str]
    ) -> tuple[str, ...]:
        downstream, upstream = self.urns.column(*made), self.urns.column(*source)
        return _COLUMNS, _NO_OPERATION, downstream, _NO_QUERY, upstream

    # --------------------------------------------------------------------- copies

    def copy(self, about: Subject, dataset: Dataset, copy: Copy) -> Iterator[Proposal]:
        """That a dataset is known to another catalogue, under a name of its own.

        Args:
            about: The copy.
            dataset: What it is a copy of.
            copy: How the other catalogue names it.
        """
        upstream = m.UpstreamClass(
            dataset=self.urns.dataset(dataset.id),
            type=m.DatasetLineageTypeClass.COPY,
            properties={"uri": copy.uri},
        )
        columns = self._copied_columns(dataset, copy)
        if not self.patches:
            fine_grained = [_fine_grained(of, made, _COPY) for made, of in columns.items()]
            value = m.UpstreamLineageClass([upstream], fineGrainedLineages=fine_grained or None)
            yield about.upsert(value, "copies")
            return
        operations = [add(upstream, "upstreams", upstream.dataset)]
        if columns:
            # All at once, so that columns which are no more go with them.
            known = {
                made: {_NO_QUERY: dict.fromkeys(sources, _SURE)}
                for made, sources in columns.items()
            }
            operations.append(add(known, _COLUMNS, _COPY))
        yield from about.patch("upstreamLineage", operations, "copies")

    def _copied_columns(self, dataset: Dataset, copy: Copy) -> dict[str, list[str]]:
        """Each column of the copy with those that it is made of."""
        found: dict[str, list[str]] = {}
        for column, copied in copy.columns:
            sources = found.setdefault(self.urns.column(copy.dataset, copied), [])
            sources.append(self.urns.column(dataset.id, column))
        return found


def _fine_grained(
    upstreams: list[str], downstream: str, operation: str | None = None
) -> m.FineGrainedLineageClass:
    return m.FineGrainedLineageClass(
        upstreamType=m.FineGrainedLineageUpstreamTypeClass.FIELD_SET,
        upstreams=upstreams,
        downstreamType=m.FineGrainedLineageDownstreamTypeClass.FIELD,
        downstreams=[downstream],
        transformOperation=operation,
    )
