"""How an explanation is laid out: sections of labelled lines, as wide as a terminal.

Most of what is shown was written by others. Whatever it holds, each line is one line,
and nothing in it reaches the terminal as a command.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from flytelineage.options import escaped
from flytelineage.store import FLYTEADMIN

WIDTH = 100
"""Columns; what must be copied whole, such as a URI, may be longer."""

LONGEST = 1000
"""Characters that are shown of one text."""

NOT_KNOWN = "nothing that is known of"
"""What is said where there may be more."""

_LABEL = 12


class Line(NamedTuple):
    """One thing that is said.

    Attributes:
        depth: How far below another line it belongs.
        label: What it is about; empty where the line above says so.
        whole: Whether it is never broken, so that it can be copied.
    """

    text: str
    depth: int = 0
    label: str = ""
    whole: bool = False


class Section(NamedTuple):
    """Lines under a title; the first section's title is that of the page."""

    title: str
    lines: Iterable[Line] = ()


def rendered(sections: Iterable[Section]) -> Iterator[str]:
    """The page, line by line."""
    for number, section in enumerate(sections):
        if number:
            yield ""
        yield from _wrapped(section.title, "")
        lines = list(section.lines)
        labels = [len(safe(line.label)) + 1 for line in lines if line.label]
        column = min(max([_LABEL, *labels]), WIDTH // 3) if labels else 0
        for line in lines:
            label = f"{safe(line.label)} ".ljust(column) if column else ""
            first = f"  {label}{'  ' * line.depth}"
            yield from [f"{first}{safe(line.text)}"] if line.whole else _wrapped(line.text, first)


def _wrapped(text: str, first: str) -> list[str]:
    """A text in lines; those after the first stand a little further to the right."""
    return textwrap.wrap(
        safe(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * (len(first) + 2),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def safe(text: str) -> str:
    """A text without anything but visible characters and spaces, and not endless."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text)} characters in all)"
    return escaped(text)


def labelled(label: str, lines: Iterable[Line], empty: str = "nothing") -> list[Line]:
    """Lines of which the first one carries the label."""
    first, *rest = list(lines) or [Line(empty)]
    return [first._replace(label=label), *rest]


def some(blocks: Iterable[Iterable[Line]], limit: int) -> Iterator[Line]:
    """The lines of the first blocks, and how many blocks are left out; 0 leaves out none."""
    left = 0
    for number, block in enumerate(blocks):
        if limit and number >= limit:
            left += 1
        else:
            yield from block
    if left:
        yield Line(f"and {left} more: --limit=0 shows all")


def moment(at: datetime | None, timespec: str = "seconds") -> str:
    """A time as people read it."""
    if at is None:
        return "a time that nobody told"
    utc = at.astimezone(timezone.utc).replace(tzinfo=None)
    return f"{utc.isoformat(sep=' ', timespec=timespec)} UTC"


def put_off(why: str) -> str:
    """Why a build waits, from the store's note of it."""
    return f"it waits for {why}" if why.startswith(FLYTEADMIN) else f"it was put off: {why}"


def number(count: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{count} {noun if count == 1 else f'{noun}s'}"
