"""How wide a text is, nearly, where no font can be asked: in a picture that others show.

Widths are those of common sans-serif fonts, rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from unicodedata import east_asian_width

_NARROW, _SLIM, _WIDE = frozenset("ijl.,:;'|!"), frozenset("frtI()[]{}/- "), frozenset("mwMW@%")


def width(text: str, size: float) -> float:
    """The width of a text in letters of `size` pixels, in pixels."""
    return size * sum(map(_em, text))


def fit(text: str, room: float, size: float, *, keep_end: bool = False) -> str:
    """The text, or as much of its start (or end) as there is room for, with an ellipsis."""
    if width(text, size) <= room:
        return text
    while text and width(f"{text}…", size) > room:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text}" if keep_end else f"{text}…"


def listed(words: Sequence[str], room: float, size: float, lines: int) -> list[str]:
    """Words with commas in at most so many lines; `+3` for three that found no room."""
    for left_out in range(len(words)):
        shown = list(words[: len(words) - left_out])
        rest = [f"+{left_out}"] if left_out else []
        found = _filled([f"{word}," for word in shown[:-1]] + [shown[-1], *rest], room, size)
        if len(found) <= lines or len(shown) == 1:
            return [fit(line, room, size) for line in found[:lines]]
    return []


def _filled(words: Iterable[str], room: float, size: float) -> list[str]:
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _em(letter: str) -> float:
    if letter in _NARROW:
        return 0.31
    if letter in _SLIM:
        return 0.39
    if letter in _WIDE:
        return 0.88
    if east_asian_width(letter) in "WF":
        return 1.0
    return 0.7 if letter.isupper() else 0.58
