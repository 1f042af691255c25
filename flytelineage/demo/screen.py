"""What a watcher sees: a line for each step, with the time since the start."""

from __future__ import annotations

import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Sequence

_NARROW, _WIDE = 80, 120


class Screen:
    """Writes plain lines to stdout, the same ones for a terminal and for a pipe.

    May be used by several threads. Once it was closed nothing more is written.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._closed = False
        self.width = min(max(shutil.get_terminal_size().columns, _NARROW), _WIDE)

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self._began

    def step(self, verb: str, text: str) -> None:
        """Say what was just done, or is now."""
        self.show(f"{self.seconds:5.1f} s  {verb:<9}  {text}")

    def show(self, text: str = "") -> None:
        """Write some lines."""
        with self._lock:
            if not self._closed:
                sys.stdout.write(f"{text}\n")
                sys.stdout.flush()

    def close(self, last_words: str) -> None:
        """Say why nothing more follows, on stderr."""
        with self._lock:
            if not self._closed:
                self._closed = True
                # A terminal shows ^C at the start of the line.
                start = "\n" if sys.stderr.isatty() else ""
                sys.stderr.write(f"{start}{last_words}\n")
                sys.stderr.flush()


def columns(rows: Sequence[Sequence[str]], *, width: int, indent: str = "  ") -> list[str]:
    """Lines of a table: all columns as wide as their widest cell, the last one wrapped."""
    if not rows:
        return []
    sizes = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    return [line for row in rows for line in _lines(row, sizes, width, indent)]


def _lines(row: Sequence[str], sizes: Iterable[int], width: int, indent: str) -> list[str]:
    cells = [cell.ljust(size) for cell, size in zip(row, sizes, strict=False)]
    start = indent + "".join(f"{cell}  " for cell in cells)
    wrapped = textwrap.wrap(
        row[-1],
        max(width, len(start) + 24),
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.rstrip() for line in wrapped or [start]]
