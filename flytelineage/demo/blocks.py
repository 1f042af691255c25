"""What stands together in a picture: the cards of a pipeline, column by column.

Columns are the layers of the graph over all pipelines, so arrows run to the right. A
picture that would become too wide is broken into lines, as a text is; a pipeline then
has a block in several of them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil

from flytelineage.demo.cards import Arrow, Deck, Key
from flytelineage.demo.stacks import Link, ordered, tops
from flytelineage.entities import PipelineId

HEAD, FOOT = 48, 12
"""The room in a block above its cards and below."""

VIA = 10
"""How high a passage between cards is."""

MOST_COLUMNS = 6
_GAP = 14


@dataclass(eq=False)
class Block:
    """Cards of one pipeline, and the datasets that nobody wrote before their readers.

    Attributes:
        line: The line of the picture that it belongs to.
        pipeline: Whose tasks these are; `None` for datasets that no task reads.
        things: The column of each card, and of each passage of arrows that lead over
            cards: (where they begin, how many columns further).
        tops: How far below the block's own top each of them stands.
        loose: Nothing leads to another block, so that it may be moved sideways.
    """

    line: int
    pipeline: PipelineId | None
    things: dict[Hashable, int] = field(default_factory=dict)
    tops: dict[Hashable, float] = field(default_factory=dict)
    height: float = 0
    loose: bool = True

    @property
    def span(self) -> range:
        """All of its columns."""
        return range(min(self.things.values()), max(self.things.values()) + 1)

    def holds(self, arrow: Arrow) -> bool:
        """Whether the arrow runs to the right between two of its cards."""
        tail, head = (self.things.get(end.card) for end in (arrow.tail, arrow.head))
        return tail is not None and head is not None and tail < head

    def move(self, columns: int) -> None:
        """Move it to the right."""
        self.things = {thing: at + columns for thing, at in self.things.items()}


def blocks_of(deck: Deck) -> dict[Key, Block]:
    """The block of each card, in the order of the deck."""
    layers = layered(deck)
    owners = _owners(deck, layers)
    columns = _columns(max(layers.values(), default=0) + 1)
    made: dict[tuple[int, PipelineId | None], Block] = {}
    blocks = {}
    for key in deck.cards:
        line, column = divmod(layers[key], columns)
        block = blocks[key] = made.setdefault((line, owners[key]), Block(line, owners[key]))
        block.things[key] = column
    for arrow in deck.arrows:
        tail, head = blocks[arrow.tail.card], blocks[arrow.head.card]
        tail.loose, head.loose = tail.loose and tail is head, head.loose and tail is head
    for block in made.values():
        _stack(block, deck)
    return blocks


# ------------------------------------------------------------------------- columns


def _columns(layers: int) -> int:
    """How many of the layers make a line, such that all lines are nearly equal."""
    return ceil(layers / ceil(layers / MOST_COLUMNS))


def layered(deck: Deck) -> dict[Key, int]:
    """The layer of each card, from 0: the longest path to it, circles left out.

    What nobody wrote stands right before the pipeline that reads it first, since it is
    no part of it.
    """
    layers = _longest_paths(_before(deck))
    for key, owner in _owners(deck, layers).items():
        if deck.cards[key].pipeline is None and owner:
            tasks = [one.key for one in deck.cards.values() if one.pipeline == owner]
            layers[key] = min(layers[task] for task in tasks) - 1
    return layers


def _before(deck: Deck) -> dict[Key, list[Key]]:
    """What each card comes after; a dataset is followed by all tasks of its readers."""
    before: dict[Key, list[Key]] = {key: [] for key in deck.cards}
    for arrow in deck.arrows:
        tail, head = deck.cards[arrow.tail.card], deck.cards[arrow.head.card]
        before[head.key].append(tail.key)
        if tail.pipeline is None:
            mates = [one.key for one in deck.cards.values() if one.pipeline == head.pipeline]
            for mate in mates:
                before[mate].append(tail.key)
    return before


def _longest_paths(before: dict[Key, list[Key]]) -> dict[Key, int]:
    layers: dict[Key, int] = {}

    def layer(key: Key) -> int:
        if key not in layers:
            layers[key] = -1  # until it is known; who comes round in a circle counts it as none
            layers[key] = 1 + max(map(layer, before[key]), default=-1)
        return layers[key]

    for key in before:
        layer(key)
    return layers


def _owners(deck: Deck, layers: dict[Key, int]) -> dict[Key, PipelineId | None]:
    """Whose block each card belongs to: a dataset's, that of its first reader."""
    owners = {key: card.pipeline for key, card in deck.cards.items()}
    firsts: dict[PipelineId | None, int] = {}
    for key, pipeline in owners.items():
        firsts[pipeline] = min(layers[key], firsts.get(pipeline, layers[key]))
    for arrow in sorted(deck.arrows, key=lambda one: firsts[owners[one.head.card]]):
        if owners[arrow.tail.card] is None:
            owners[arrow.tail.card] = owners[arrow.head.card]
    return owners


# -------------------------------------------------------------------------- stacks


def _stack(block: Block, deck: Deck) -> None:
    """Give everything in the block its order and its top, with passages where needed."""
    inside = [arrow for arrow in deck.arrows if block.holds(arrow)]
    links = [link for arrow in inside for link in _links(arrow, block, deck)]
    columns: dict[int, list[Hashable]] = {at: [] for at in sorted(block.things.values())}
    heights: dict[Hashable, float] = dict.fromkeys(block.things, VIA)
    for thing, at in block.things.items():
        columns[at].append(thing)
    heights |= {key: card.height for key, card in deck.cards.items() if key in block.things}
    found = tops(ordered(list(columns.values()), links), links, heights, _GAP)
    block.tops = {thing: HEAD + top for thing, top in found.items()}
    block.height = FOOT + max(block.tops[thing] + heights[thing] for thing in block.things)


def _links(arrow: Arrow, block: Block, deck: Deck) -> list[Link]:
    """The arrow, from column to column."""
    tail, head = deck.cards[arrow.tail.card], deck.cards[arrow.head.card]
    port, goal = tail.port(arrow.tail.row), head.port(arrow.head.row)
    first, last = block.things[tail.key], block.things[head.key]
    if last == first + 1:
        return [Link(tail.key, head.key, port, 0)]
    vias = [(arrow.tail, step) for step in range(1, last - first)]
    for step, via in enumerate(vias, 1):
        block.things[via] = first + step
    return [
        Link(tail.key, vias[0], port, port - VIA / 2),
        *(Link(one, two, 0, 0) for one, two in pairwise(vias)),
        Link(vias[-1], head.key, 0, VIA / 2 - goal),
    ]
