"""The lineage as a Mermaid graph: pipelines around their tasks, datasets between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flytelineage.demo.found import Found, by_evidence, io_of
from flytelineage.entities import DatasetId, PipelineId, Task


def graph(found: Found) -> str:
    """The text of the graph, as GitHub and mermaid.live show it."""
    return "\n".join(_Graph(found).lines()) + "\n"


class _Graph:
    """Numbers what it draws, since names hold characters that Mermaid does not take."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._tasks = [
            task for pipeline in found.pipelines.values() for task in pipeline.in_order()
        ]
        self._ids = {str(task.id): f"t{at}" for at, task in enumerate(self._tasks)}
        self._ids |= {str(data): f"d{at}" for at, data in enumerate(found.datasets)}

    def lines(self) -> Iterator[str]:
        """Every line, without its end."""
        yield "flowchart LR"
        for at, id in enumerate(self._found.pipelines):
            yield f'  subgraph p{at}["{_text(id.name)}"]'
            for task in self._tasks:
                if task.pipeline == id:
                    yield f'    {self._id(task.id)}["{_text(task.id.local)}"]'
            yield from self._boxes(id, "    ")
            yield "  end"
        yield from self._boxes(None, "  ")
        for task in self._tasks:
            yield from self._edges(task)

    def _boxes(self, owner: PipelineId | None, indent: str) -> Iterator[str]:
        for data in self._found.datasets:
            if self._found.owner(data) == owner:
                yield f'{indent}{self._id(data)}[("{_text(self._name(data))}")]'

    def _name(self, dataset: DatasetId) -> str:
        return self._found.name(dataset, self._found.owner(dataset))

    def _edges(self, task: Task) -> Iterator[str]:
        me, io = self._id(task.id), io_of(task)
        for evidence, read in by_evidence(io.inputs).items():
            yield f"  {self._all(edge.dataset for edge in read)} -->|{evidence}| {me}"
        for evidence, written in by_evidence(io.outputs).items():
            yield f"  {me} -->|{evidence}| {self._all(edge.dataset for edge in written)}"
        for evidence, tasks in by_evidence(io.upstream).items():
            if evidence != "data":  # else their dataset joins them
                yield f"  {self._all(edge.task for edge in tasks)} -.->|{evidence}| {me}"

    def _all(self, ids: Iterable[object]) -> str:
        return " & ".join(map(self._id, ids))

    def _id(self, id: object) -> str:
        return self._ids[str(id)]


def _text(name: str) -> str:
    return name.replace('"', "#quot;")
