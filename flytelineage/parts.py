"""Tasks' edges and pipelines' tasks, one part at a time; pure.

A catalogue to which people add edges cannot be told a task's edges as a whole: whoever
writes the whole takes away what people added. So it is remembered which edges it was told,
as texts that compare by what an edge joins and not by what is said of it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from flytelineage.entities import (
    IO,
    ColumnEdge,
    DatasetId,
    Edge,
    FormerEdges,
    PipelineId,
    TaskEdge,
    TaskId,
    TaskList,
)

_INPUT, _OUTPUT, _UPSTREAM, _COLUMN = "input", "output", "upstream", "column"

# ------------------------------------------------------------------------- edges


def edges(io: IO) -> dict[str, Edge | TaskEdge | ColumnEdge]:
    """The edges by what they join; a column that is made of several has one for each."""
    return {
        **{_part(_INPUT, *_dataset(edge.dataset)): edge for edge in io.inputs},
        **{_part(_OUTPUT, *_dataset(edge.dataset)): edge for edge in io.outputs},
        **{_part(_UPSTREAM, edge.task.name, edge.task.place): edge for edge in io.upstream},
        **dict(_columns(io.columns)),
    }


def _columns(columns: Iterable[ColumnEdge]) -> Iterator[tuple[str, ColumnEdge]]:
    for edge in columns:
        for dataset, column in edge.sources:
            ends = (*_dataset(edge.dataset), edge.column, *_dataset(dataset), column)
            yield (
                _part(_COLUMN, *ends),
                edge.model_copy(update={"sources": ((dataset, column),)}),
            )


def _part(kind: str, *ends: str) -> str:
    return json.dumps([kind, *ends], separators=(",", ":"), ensure_ascii=False)


def _dataset(id: DatasetId) -> tuple[str, str, str]:
    return id.platform, id.name, id.instance


def _dataset_id(platform: str, name: str, instance: str) -> DatasetId:
    return DatasetId(platform=platform, name=name, instance=instance)


def former_edges(parts: Iterable[str], pipeline: PipelineId) -> FormerEdges | None:
    """What is left of edges that are there no more; `None` when there is none."""
    found: dict[str, list[list[str]]] = defaultdict(list)
    for part in sorted(parts):
        kind, *ends = json.loads(part)
        found[kind].append(ends)
    if not found:
        return None
    return FormerEdges(
        inputs=tuple(_dataset_id(*ends) for ends in found[_INPUT]),
        outputs=tuple(_dataset_id(*ends) for ends in found[_OUTPUT]),
        upstream=tuple(
            TaskId(pipeline=pipeline, name=name, place=place) for name, place in found[_UPSTREAM]
        ),
        columns=tuple(
            (_dataset_id(*ends[:3]), ends[3], _dataset_id(*ends[4:7]), ends[7])
            for ends in found[_COLUMN]
        ),
    )


# ------------------------------------------------------------- edges of other runs


def written(io: IO) -> dict[str, str]:
    """The edges by what they join, each as text that `united` reads."""
    return {
        part: json.dumps([part, edge.model_dump(mode="json")]) for part, edge in edges(io).items()
    }


def united(io: IO, others: Iterable[str]) -> IO:
    """The io with the edges that other executions showed, which `written` wrote."""
    known = {part: _read(part, edge) for part, edge in map(json.loads, others)} | edges(io)
    ordered = [(json.loads(part)[0], known[part]) for part in sorted(known)]

    def of(kind: str) -> tuple[Edge | TaskEdge | ColumnEdge, ...]:
        return tuple(edge for its, edge in ordered if its == kind)

    return io.model_copy(
        update={
            "inputs": of(_INPUT),
            "outputs": of(_OUTPUT),
            "upstream": of(_UPSTREAM),
            "columns": _joined(edge for edge in of(_COLUMN) if isinstance(edge, ColumnEdge)),
        }
    )


def _read(part: str, edge: Any) -> Edge | TaskEdge | ColumnEdge:
    return _MODELS[json.loads(part)[0]].model_validate(edge)


_MODELS: dict[str, type[Edge] | type[TaskEdge] | type[ColumnEdge]] = {
    _INPUT: Edge,
    _OUTPUT: Edge,
    _UPSTREAM: TaskEdge,
    _COLUMN: ColumnEdge,
}


def _joined(edges: Iterable[ColumnEdge]) -> tuple[ColumnEdge, ...]:
    """One edge for each column again."""
    by_column: dict[tuple[DatasetId, str], ColumnEdge] = {}
    for edge in edges:
        known = by_column.get((edge.dataset, edge.column))
        by_column[edge.dataset, edge.column] = edge if known is None else _both(known, edge)
    return tuple(by_column.values())


def _both(one: ColumnEdge, other: ColumnEdge) -> ColumnEdge:
    return one.model_copy(
        update={
            "sources": (*one.sources, *other.sources),
            "evidence": tuple(sorted({*one.evidence, *other.evidence})),
        }
    )


# ------------------------------------------------------------------------- tasks


def tasks(listed: TaskList) -> dict[str, str]:
    """The tasks of a pipeline, each with its `urn`: it ends when it is listed no more."""
    return {id.model_dump_json(): f"task:{id}" for id in listed.ids}


def task(part: str) -> TaskId:
    """The task that is a part of a pipeline."""
    return TaskId.model_validate_json(part)
