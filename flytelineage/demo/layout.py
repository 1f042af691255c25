"""Where everything stands in a picture, and which way the arrows run: numbers alone.

Blocks are packed onto shelves. Between columns there are gutters, and above each shelf a
corridor; no card stands there. What does not lead to the next column, or over the cards
of its own block, runs through them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from flytelineage.demo.blocks import MOST_COLUMNS, VIA, Block, blocks_of
from flytelineage.demo.cards import CARD, Arrow, Deck, End, Key
from flytelineage.entities import PipelineId

MARGIN, GUTTER, FRAME = 30, 40, 12
_PITCH = CARD + GUTTER
_GAP, _LANE = 18, 7


@dataclass(frozen=True)
class Point:
    """A place, in pixels from the upper left; arrows pass it to the right (1) or left (-1)."""

    x: float
    y: float
    heading: int = 1


@dataclass(frozen=True)
class Frame:
    """The rectangle around the tasks of a pipeline, in one line of the picture."""

    pipeline: PipelineId
    continued: bool
    x: float
    y: float
    width: float
    height: float


@dataclass(eq=False)
class _Shelf:
    """Blocks beside each other, or below a lower one where there is room.

    Attributes:
        tops: How far below the shelf's own top each block begins.
    """

    height: float
    tops: dict[Block, float] = field(default_factory=dict)
    lanes: dict[End, int] = field(default_factory=dict)
    top: float = 0

    def takes(self, block: Block) -> bool:
        """Place the block if there is room, if need be further to the right."""
        for by in range(MOST_COLUMNS - block.span.stop + 1 if block.loose else 1):
            top = self._free_below(range(block.span.start + by, block.span.stop + by))
            if top + block.height <= self.height:
                block.move(by)
                self.tops[block] = top
                return True
        return False

    def _free_below(self, span: range) -> float:
        above = [
            one for one in self.tops if one.span.start < span.stop and span.start < one.span.stop
        ]
        return max((self.tops[one] + one.height + _GAP for one in above), default=0)


class Layout:
    """The places of a deck's cards, and the ways of its arrows.

    Attributes:
        cards: The upper left of each card.
        frames: Those of all pipelines.
        ways: The points that each arrow passes, in the order of the deck's arrows.
    """

    def __init__(self, deck: Deck) -> None:
        self._deck = deck
        self._blocks = blocks_of(deck)
        self._shelves = self._related(self._packed())
        self._of = {block: shelf for shelf in self._shelves for block in shelf.tops}
        self._tops: dict[Block, float] = {}
        columns = max((block.span.stop for block in self._blocks.values()), default=1)
        self.width = 2 * MARGIN + columns * _PITCH - GUTTER
        self.height = self._pile()
        self.cards = {key: Point(self._x(key), self._y(key)) for key in deck.cards}
        self.frames = list(self._frames())
        self.ways = [self._way(arrow) for arrow in deck.arrows]

    # -------------------------------------------------------------------- shelves

    def _packed(self) -> list[_Shelf]:
        """Every block on the first shelf that has room; no shelf has blocks of two lines."""
        shelves: dict[int, list[_Shelf]] = {}
        blocks = dict.fromkeys(self._blocks.values())
        for block in sorted(blocks, key=lambda one: (one.line, -one.height)):
            line = shelves.setdefault(block.line, [])
            if not any(shelf.takes(block) for shelf in line):
                line.append(_Shelf(block.height, {block: 0}))
        return [shelf for line in shelves.values() for shelf in line]

    def _related(self, shelves: Sequence[_Shelf]) -> list[_Shelf]:
        """The shelves such that those which arrows join are neighbours, line by line."""
        of = {block: shelf for shelf in shelves for block in shelf.tops}
        joined: dict[_Shelf, dict[_Shelf, None]] = {}
        for block in self._blocks.values():  # in the order of the pipelines
            joined.setdefault(of[block], {})
        for arrow in self._deck.arrows:
            ends = [of[self._blocks[end.card]] for end in (arrow.tail, arrow.head)]
            joined[ends[0]][ends[1]] = joined[ends[1]][ends[0]] = None
        found: dict[_Shelf, None] = {}

        def visit(shelf: _Shelf) -> None:
            if shelf not in found:
                found[shelf] = None
                for other in joined[shelf]:
                    visit(other)

        for shelf in joined:
            visit(shelf)
        return sorted(found, key=lambda one: min(block.line for block in one.tops))

    def _pile(self) -> float:
        """Put the shelves below each other, each below its corridor; the height of all."""
        for arrow in self._deck.arrows:
            if not self._is_direct(arrow):
                lanes = self._of[self._blocks[arrow.head.card]].lanes
                lanes.setdefault(arrow.tail, len(lanes))
        bottom = 0.0
        for shelf in self._shelves:
            top = bottom + (_GAP + _LANE * len(shelf.lanes) if shelf.lanes or bottom else 0)
            self._tops |= {block: top + below for block, below in shelf.tops.items()}
            shelf.top, bottom = top, top + shelf.height
        return bottom

    # --------------------------------------------------------------------- places

    def _x(self, thing: Key) -> float:
        return MARGIN + self._blocks[thing].things[thing] * _PITCH

    def _y(self, thing: Key) -> float:
        block = self._blocks[thing]
        return round(self._tops[block] + block.tops[thing], 1)

    def _frames(self) -> Iterator[Frame]:
        begun = set()
        for block in dict.fromkeys(self._blocks.values()):
            tasks = [key for key in self._deck.cards if key in block.things]
            left = [self._x(key) for key in tasks if self._deck.cards[key].pipeline]
            if left and block.pipeline:
                x, width = min(left) - FRAME, max(left) - min(left) + CARD + 2 * FRAME
                continued = block.pipeline in begun
                yield Frame(block.pipeline, continued, x, self._tops[block], width, block.height)
                begun.add(block.pipeline)

    # ----------------------------------------------------------------------- ways

    def _way(self, arrow: Arrow) -> list[Point]:
        first = self._port(arrow.tail, CARD)
        last = self._port(arrow.head, 0)
        if self._is_direct(arrow):
            return [first, *self._over_cards(arrow), last]
        return [first, *self._through_corridor(arrow, first, last), last]

    def _port(self, end: End, right: float) -> Point:
        card = self._deck.cards[end.card]
        return Point(self._x(end.card) + right, self._y(end.card) + card.port(end.row))

    def _over_cards(self, arrow: Arrow) -> Iterator[Point]:
        block = self._blocks[arrow.tail.card]
        for step in range(1, self._steps(arrow)):
            x = self._x(arrow.tail.card) + step * _PITCH
            y = round(self._tops[block] + block.tops[arrow.tail, step] + VIA / 2, 1)
            yield from (Point(x, y), Point(x + CARD, y))

    def _through_corridor(self, arrow: Arrow, first: Point, last: Point) -> Iterator[Point]:
        """Down (or up) the gutter at its tail, along the corridor, and the other gutter."""
        shelf = self._of[self._blocks[arrow.head.card]]
        y = shelf.top - _GAP / 2 - _LANE * shelf.lanes[arrow.tail]
        heading = 1 if first.x < last.x else -1
        aside = GUTTER if heading > 0 else 0
        yield Point(first.x + aside, y, heading)
        yield Point(last.x - aside, y, heading)

    def _steps(self, arrow: Arrow) -> int:
        tail, head = arrow.tail.card, arrow.head.card
        return self._blocks[head].things[head] - self._blocks[tail].things[tail]

    def _is_direct(self, arrow: Arrow) -> bool:
        """Whether gutters are all it needs, and passages in its own block."""
        tail, head = (self._blocks[end.card] for end in (arrow.tail, arrow.head))
        return tail.holds(arrow) or (tail.line == head.line and self._steps(arrow) == 1)
