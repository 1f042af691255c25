"""What the file target was told, put together over executions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Edge,
    Lineage,
    Pipeline,
    PipelineId,
    Run,
    Task,
    TaskEdge,
)

E = TypeVar("E", Edge, TaskEdge)


class LineageFile:
    """The lines of a file that grows, as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def new(self) -> Iterator[Lineage]:
        """What was added since the last call; a line that is not whole yet comes later."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield Lineage.model_validate_json(line)


@dataclass
class PipelineFound:
    """A pipeline with what the newest executions tell of it.

    Attributes:
        tasks: By local name.
        runs: Those of whole executions, oldest first.
    """

    pipeline: Pipeline
    name_source: str = ""
    tasks: dict[str, Task] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def in_order(self) -> list[Task]:
        """The tasks, each after those that it waits for."""
        ordered: dict[str, Task] = {}

        def visit(name: str) -> None:
            task = self.tasks.get(name)
            if task is None or name in ordered:
                return
            for edge in io_of(task).upstream:
                visit(edge.task.local)
            ordered.setdefault(name, task)

        for name in self.tasks:
            visit(name)
        return list(ordered.values())


class Found:
    """All pipelines, tasks and datasets, from the newest lineage of each execution."""

    def __init__(self, lineages: Iterable[Lineage]) -> None:
        self.pipelines: dict[PipelineId, PipelineFound] = {}
        self.datasets: dict[DatasetId, Dataset] = {}
        self._names: dict[DatasetId, tuple[PipelineId, str]] = {}
        for lineage in sorted(lineages, key=lambda one: (str(one.started_at), str(one.execution))):
            self._add(lineage)

    def name(self, dataset: DatasetId, seen_from: PipelineId | None = None) -> str:
        """A dataset in short: the task that wrote it and the variable, where one did."""
        if dataset not in self._names:
            return str(dataset)
        pipeline, name = self._names[dataset]
        return name if pipeline == seen_from else f"{short(pipeline.name)}: {name}"

    def owner(self, dataset: DatasetId) -> PipelineId | None:
        """The pipeline whose task wrote it under Flyte's own layout."""
        return self._names[dataset][0] if dataset in self._names else None

    def _add(self, lineage: Lineage) -> None:
        for pipeline in lineage.pipelines:
            known = self.pipelines.setdefault(pipeline.id, PipelineFound(pipeline))
            known.name_source = lineage.name_source or known.name_source
            known.runs += [run for run in lineage.runs if run.node is None]
        for task in lineage.tasks:
            if lineage.succeeded and not task.retired:
                self.pipelines[task.pipeline].tasks[task.id.local] = task
                self._name_outputs(task)
        for dataset in lineage.datasets:
            older = self.datasets.get(dataset.id)
            self.datasets[dataset.id] = older.merged(dataset) if older else dataset

    def _name_outputs(self, task: Task) -> None:
        for edge in io_of(task).outputs:
            if edge.dataset.platform == "flyte":
                variable = edge.dataset.name.removeprefix(f"{task.id}.")
                self._names[edge.dataset] = (task.pipeline, f"{short(task.id.local)}.{variable}")


def io_of(task: Task) -> IO:
    """What a task reads and writes; nothing where that is not known."""
    return task.io or IO()


def by_evidence(edges: Iterable[E]) -> dict[str, list[E]]:
    """Edges under the words for what they rest on."""
    groups: dict[str, list[E]] = {}
    for edge in edges:
        words = ", ".join(evidence.value for evidence in edge.evidence)
        groups.setdefault(words, []).append(edge)
    return groups


def short(name: str) -> str:
    """The last part of a dotted name, with its place: `load@n0` for `app.etl.load@n0`."""
    path, at, place = name.partition("@")
    return f"{path.rpartition('.')[2]}{at}{place}"


def number(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
