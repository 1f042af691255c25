"""What a picture shows: a card for each task, with what it writes, and arrows between.

Nearly every dataset has one task that writes it, so it stands on that task's card, and
the picture needs half as many columns. What nobody writes has a card of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flytelineage.demo import letters
from flytelineage.demo.found import Found, io_of, number, short
from flytelineage.entities import Dataset, DatasetId, Evidence, PipelineId, Task, TaskId

CARD = 144
"""How wide each card is; all measures are pixels."""

TEXT, SMALL = 11.5, 9.5
"""Sizes of letters: names, and what is said about them."""

HEADER, INDENT = 26, 26
_ROW, _LINE, _PAD = 19, 12, 5
_MOST_ROWS, _MOST_LINES = 6, 2
_ROOM = CARD - INDENT - 8

Key = TaskId | DatasetId
"""What names a card: the task, or the dataset that nobody writes."""


@dataclass(frozen=True)
class Row:
    """A dataset on a card, or the number of those that found no room.

    Attributes:
        note: How much it is, e.g. `50 rows`.
        small: Lines in small print: where it lies, and its columns.
        full: Everything about it that may have been cut.
    """

    name: str
    platform: str = ""
    note: str = ""
    small: tuple[str, ...] = ()
    columns: bool = False
    full: str = ""

    @property
    def height(self) -> int:
        """Its share of the card's height."""
        return _ROW + _LINE * len(self.small)


@dataclass(frozen=True)
class Card:
    """A task with the datasets that it writes; or a dataset, without a title.

    Attributes:
        pipeline: The task's; `None` for a dataset.
    """

    key: Key
    rows: tuple[Row, ...]
    pipeline: PipelineId | None = None
    title: str = ""
    full: str = ""

    @property
    def height(self) -> int:
        """How high it is."""
        return self.top(len(self.rows)) + (_PAD if self.rows else 0)

    def top(self, row: int) -> int:
        """Where a row begins, below the card's top."""
        header = HEADER if self.title else _PAD
        return header + sum(one.height for one in self.rows[:row])

    def port(self, row: int | None) -> float:
        """Where arrows of a row end, below the card's top; without a row, those of the task."""
        return HEADER / 2 if row is None else self.top(row) + _ROW / 2


@dataclass(frozen=True)
class End:
    """Where an arrow begins or ends: at a row of a card, or at its task."""

    card: Key
    row: int | None = None


@dataclass(frozen=True)
class Arrow:
    """From what is read to its reader; from a second writer; or from a task to a later one.

    Attributes:
        full: Both ends and the evidence, in words.
    """

    tail: End
    head: End
    evidence: tuple[Evidence, ...]
    full: str


class Deck:
    """All cards and arrows of what was found.

    Attributes:
        cards: By their keys; tasks first, each after those that it waits for.
        datasets: How many stand on them.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self._tasks = {
            task.id: task for pipeline in found.pipelines.values() for task in pipeline.in_order()
        }
        self._homes = self._find_homes()
        cards = [*map(self._task_card, self._tasks.values()), *self._foreign_cards()]
        self.cards = {card.key: card for card in cards}
        self.datasets = len(self._homes)
        self.arrows = list(self._arrows())

    def is_between_pipelines(self, arrow: Arrow) -> bool:
        """Whether it leads from one pipeline into another."""
        ends = {self.cards[end.card].pipeline for end in (arrow.tail, arrow.head)}
        return len(ends - {None}) > 1

    def _find_homes(self) -> dict[DatasetId, End]:
        """The row of each dataset: with its first writer, else alone."""
        homes: dict[DatasetId, End] = {}
        for task in self._tasks.values():
            for row, id in enumerate(_written(task, homes)):
                homes[id] = End(task.id, min(row, _MOST_ROWS))
        edges = (edge for task in self._tasks.values() for edge in io_of(task).inputs)
        for id in (*(edge.dataset for edge in edges), *self._found.datasets):
            homes.setdefault(id, End(id, 0))
        return homes

    # ---------------------------------------------------------------------- cards

    def _task_card(self, task: Task) -> Card:
        rows = [self._row(id) for id, end in self._homes.items() if end.card == task.id]
        more = len(rows) - _MOST_ROWS
        if more > 1:
            full = "\n".join(row.name for row in rows[_MOST_ROWS:])
            rows[_MOST_ROWS:] = [Row(f"and {more} more", full=full)]
        kind = f", {task.kind}" if task.kind else ""
        return Card(
            task.id, tuple(rows), task.pipeline, short(task.id.local), f"{task.id.local}{kind}"
        )

    def _foreign_cards(self) -> Iterator[Card]:
        for id, end in self._homes.items():
            if end.card == id:
                yield Card(id, (self._row(id),))

    def _row(self, id: DatasetId) -> Row:
        data = self._found.datasets.get(id) or Dataset.of(id)
        columns = [field.name for field in data.schema_.fields] if data.schema_ else []
        small = letters.listed(columns, _ROOM, SMALL, _MOST_LINES)
        name = self._found.name(id, self._found.owner(id)).partition(".")[2]
        if not self._found.owner(id):
            folder, name = _split(id.name)
            start = f"{id.platform} · " if folder else id.platform
            room = _ROOM - letters.width(start, SMALL)
            small = [start + letters.fit(folder, room, SMALL, keep_end=True), *small]
        full = "\n".join(filter(None, (str(id), _amount(data), ", ".join(columns))))
        return Row(name, id.platform, _amount(data), tuple(small), bool(columns), full)

    # --------------------------------------------------------------------- arrows

    def _arrows(self) -> Iterator[Arrow]:
        for task in self._tasks.values():
            me, io = End(task.id), io_of(task)
            for edge in io.inputs:
                yield _arrow(self._homes[edge.dataset], me, edge.evidence)
            for edge in io.outputs:
                home = self._homes[edge.dataset]
                if home.card != task.id:
                    yield _arrow(me, home, edge.evidence)
            given = {self._homes[edge.dataset].card for edge in io.inputs}
            for after in io.upstream:  # else their dataset joins them
                if after.task in self._tasks and after.task not in given:
                    yield _arrow(End(after.task), me, after.evidence)


def _arrow(tail: End, head: End, evidence: tuple[Evidence, ...]) -> Arrow:
    words = ", ".join(one.value for one in evidence)
    return Arrow(tail, head, evidence, f"{tail.card} -> {head.card}: {words}")


def _written(task: Task, homes: Iterable[DatasetId]) -> list[DatasetId]:
    return [edge.dataset for edge in io_of(task).outputs if edge.dataset not in homes]


def _split(name: str) -> tuple[str, str]:
    """The folder or database of a dataset, and its last name."""
    folder, _, last = name.rstrip("/").rpartition("/" if "/" in name else ".")
    return folder, last


def _amount(data: Dataset) -> str:
    if data.profile and data.profile.rows is not None:
        return number(data.profile.rows, "row")
    if data.storage and (data.storage.files or 0) > 1:
        return number(data.storage.files or 0, "file")
    return ""
