"""The lineage as a picture: an SVG that any browser shows, on light and dark pages.

It needs no font, no script and no other file, and equal lineage gives equal bytes. What
had to be cut is told whole where the pointer rests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from xml.sax.saxutils import escape

from flytelineage.demo import ink, letters
from flytelineage.demo.cards import CARD, HEADER, INDENT, SMALL, TEXT, Arrow, Card, Deck, Row
from flytelineage.demo.found import Found, number
from flytelineage.demo.layout import FRAME, GUTTER, MARGIN, Frame, Layout, Point
from flytelineage.entities import Evidence

_TOP, _LEGEND_LINE, _LEGEND_GAP = 58, 24, 22
_LEAST_WIDTH = 620
_HEADLINE, _TITLE = 15, 12.5
_BOLD = 1.1
"""How much wider strong letters are."""
_BEND = GUTTER * 0.6
"""How far an arrow keeps its heading before and after a bend."""

_EVIDENCE = {
    "data": "seen in the data",
    "definition": "known from the definition",
    "order": "inferred from the order",
}


def draw(found: Found) -> str:
    """The text of the picture."""
    return "\n".join(_Picture(found).lines()) + "\n"


class _Picture:
    def __init__(self, found: Found) -> None:
        self._found = found
        self._deck = Deck(found)
        self._layout = Layout(self._deck)
        self._width = max(self._layout.width, _LEAST_WIDTH)
        self._rows = [row for card in self._deck.cards.values() for row in card.rows]
        self._colours = ink.colours({row.platform for row in self._rows if row.platform})
        self._icons = {name: f"icon-{at}" for at, name in enumerate(self._colours)}

    def lines(self) -> Iterator[str]:
        """Every element, from the back to the front."""
        bottom = _TOP + self._layout.height + MARGIN
        *legend, (_, lowest) = self._legend()
        yield from self._page(bottom + lowest + MARGIN)
        yield f'<g transform="translate(0 {_TOP})">'
        for frame in self._layout.frames:
            yield _rectangle("frame", frame.x, frame.y, frame.width, frame.height, 10)
        for arrow, way in zip(self._deck.arrows, self._layout.ways, strict=True):
            yield self._way(arrow, way)
        for frame in self._layout.frames:
            yield from self._name(frame)
        for card in self._deck.cards.values():
            yield from self._card(card)
        yield f'</g>\n<g transform="translate({MARGIN} {_number(bottom)})">'
        yield from (element for element, _ in legend)
        yield "</g>\n</svg>"

    def _page(self, height: float) -> Iterator[str]:
        size = f'width="{_number(self._width)}" height="{_number(height)}"'
        box = f"0 0 {_number(self._width)} {_number(height)}"
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="{box}" role="img">'
        yield f"<title>{_escaped(self._headline())}</title>"
        yield ink.style({self._icons[name]: colour for name, colour in self._colours.items()})
        yield ink.SHAPES
        yield _rectangle("page", 0.5, 0.5, self._width - 1, height - 1, 10)
        yield _text(MARGIN - FRAME, 36, self._headline(), _HEADLINE, "strong")

    def _headline(self) -> str:
        runs = sum(len(pipeline.runs) for pipeline in self._found.pipelines.values())
        owners = [card.pipeline for card in self._deck.cards.values() if card.pipeline]
        pipelines, tasks = number(len(set(owners)), "pipeline"), number(len(owners), "task")
        datasets = number(self._deck.datasets, "dataset")
        told = f": what the events of {number(runs, 'execution')} tell" if runs else ""
        return f"{pipelines}, {tasks}, {datasets}{told}"

    # ------------------------------------------------------------------- pipelines

    def _name(self, frame: Frame) -> Iterator[str]:
        name = frame.pipeline.name + (" (continued)" if frame.continued else "")
        room = frame.width - 2 * FRAME
        about = self._about(frame)
        yield f"<g><title>{_escaped(str(frame.pipeline))}, {_escaped(about)}</title>"
        x, shown = frame.x + FRAME, letters.fit(name, room, _TITLE * _BOLD, keep_end=True)
        yield _text(x, frame.y + 21, shown, _TITLE, "strong over")
        yield _text(x, frame.y + 36, letters.fit(about, room, SMALL), SMALL, "dim over")
        yield "</g>"

    def _about(self, frame: Frame) -> str:
        pipeline = self._found.pipelines[frame.pipeline]
        phases = Counter(run.phase.lower() for run in pipeline.runs)
        guessed = ["name guessed"] if pipeline.name_source == "guessed" else []
        words = [f"{frame.pipeline.project}/{frame.pipeline.domain}"]
        return " · ".join(words + [f"{many} {phase}" for phase, many in phases.items()] + guessed)

    # ----------------------------------------------------------------------- cards

    def _card(self, card: Card) -> Iterator[str]:
        place = self._layout.cards[card.key]
        yield f'<g transform="translate({_number(place.x)} {_number(place.y)})">'
        yield _rectangle("card", 0, 0, CARD, card.height, 6)
        if card.title:
            yield from _header(card)
        for at, row in enumerate(card.rows):
            yield from self._row(row, card.top(at))
        yield "</g>"

    def _row(self, row: Row, top: float) -> Iterator[str]:
        yield f"<g><title>{_escaped(row.full or row.name)}</title>"
        if row.platform:
            yield _icon(self._icons[row.platform], 8, top + 4, columns=row.columns)
        room, needed = CARD - INDENT - 8, letters.width(row.name, TEXT)
        yield _text(INDENT, top + 14, letters.fit(row.name, room, TEXT), TEXT)
        if row.note and needed + 6 + letters.width(row.note, SMALL) <= room:
            yield _text(CARD - 8, top + 14, row.note, SMALL, "dim end")
        for at, line in enumerate(row.small):
            yield _text(INDENT, top + 26 + 12 * at, line, SMALL, "dim")
        yield "</g>"

    # ---------------------------------------------------------------------- arrows

    def _way(self, arrow: Arrow, way: list[Point]) -> str:
        between = self._deck.is_between_pipelines(arrow)
        steps = "".join(_step(one, two) for one, two in pairwise(way))
        path = f"M{_number(way[0].x)} {_number(way[0].y)}{steps}"
        return _line(path, _kind(arrow), between=between, full=arrow.full)

    # ---------------------------------------------------------------------- legend

    def _legend(self) -> Iterator[tuple[str, float]]:
        """Its elements with their heights, in as many lines as they need; the last is empty."""
        x = y = 0.0
        for mark, room, label in self._signs():
            needed = room + 6 + letters.width(label, TEXT)
            if x and x + needed > self._width - 2 * MARGIN:
                x, y = 0.0, y + _LEGEND_LINE
            words = _text(room + 6, 4, label, TEXT, "dim")
            yield f'<g transform="translate({_number(x)} {_number(y)})">{mark}{words}</g>', y
            x += needed + _LEGEND_GAP
        yield "", y

    def _signs(self) -> Iterator[tuple[str, float, str]]:
        """What needs to be told: a sign, its width, and what it means."""
        if any(card.pipeline for card in self._deck.cards.values()):
            yield (
                _rectangle("card", 0, -7, 24, 14, 3) + _header_shape(24, 7, -7, 3),
                24,
                "task, with what it writes",
            )
        for platform, icon in self._icons.items():
            yield _icon(icon, 0, -6, columns=True), 12, f"data in {platform}"
        if not all(row.columns for row in self._rows):
            yield _icon("unknown", 0, -6, columns=False), 12, "columns not known"
        kinds = {_kind(arrow) for arrow in self._deck.arrows}
        for kind, words in _EVIDENCE.items():
            if kind in kinds:
                yield _line("M0 0H32", kind), 32, words
        if any(map(self._deck.is_between_pipelines, self._deck.arrows)):
            yield _line("M0 0H32", "data", between=True), 32, "between pipelines"


def _kind(arrow: Arrow) -> str:
    """The strongest of what an arrow rests on, as it is drawn."""
    if arrow.evidence == (Evidence.ORDER,):
        return "order"
    weak = {Evidence.DEFINITION, Evidence.ORDER}
    return "definition" if weak.issuperset(arrow.evidence) else "data"


# ---------------------------------------------------------------------------- elements


def _header(card: Card) -> Iterator[str]:
    yield f"<g><title>{_escaped(card.full)}</title>"
    yield _header_shape(CARD, HEADER - 3 if card.rows else HEADER, 0, 6)
    yield _text(8, 16, letters.fit(card.title, CARD - 16, TEXT * _BOLD), TEXT, "strong")
    yield "</g>"


def _header_shape(width: float, height: float, top: float, radius: float) -> str:
    """A filled rectangle whose upper corners are round."""
    side = f"v{_number(height - radius)}"
    corner = f"a{radius} {radius} 0 0 1 {radius}"
    path = f"M0.5 {_number(top + height)}v-{side[1:]}{corner} -{radius}h{width - 2 * radius - 1}"
    return f'<path class="task" d="{path}{corner} {radius}{side}z"/>'


def _icon(name: str, x: float, y: float, *, columns: bool) -> str:
    shape = "table" if columns else "file"
    return f'<use class="icon {name}" href="#{shape}" x="{_number(x)}" y="{_number(y)}"/>'


def _line(path: str, kind: str, *, between: bool = False, full: str = "") -> str:
    also, tip = (" between", "tip-between") if between else ("", "tip")
    title = f"<title>{_escaped(full)}</title>" if full else ""
    return f'<path class="way {kind}{also}" marker-end="url(#{tip})" d="{path}">{title}</path>'


def _step(one: Point, two: Point) -> str:
    """The line from one point of a way to the next."""
    if one.y == two.y and one.heading == two.heading:
        return f"H{_number(two.x)}"
    bends = (one.x + one.heading * _BEND, one.y, two.x - two.heading * _BEND, two.y)
    return "C" + " ".join(map(_number, (*bends, two.x, two.y)))


def _rectangle(name: str, x: float, y: float, width: float, height: float, radius: int) -> str:
    places = zip(("x", "y", "width", "height"), (x, y, width, height), strict=True)
    numbers = " ".join(f'{side}="{_number(value)}"' for side, value in places)
    return f'<rect class="{name}" {numbers} rx="{radius}"/>'


def _text(x: float, y: float, text: str, size: float, name: str = "") -> str:
    known = f'class="{name}" ' if name else ""
    return (
        f'<text {known}x="{_number(x)}" y="{_number(y)}" font-size="{size}">{_escaped(text)}</text>'
    )


def _escaped(text: str) -> str:
    """The text for XML, which takes no control characters, and no half of a pair."""
    return escape(re.sub(r"[^\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))


def _number(value: float) -> str:
    return f"{round(value, 1):g}"
