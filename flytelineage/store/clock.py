"""The time of a machine, made fit for leases: it goes on evenly, whatever is set.

Clocks of machines are put forward and back, by people and by what corrects them. A lease
that ends because of that is only built twice; but while a clock that was put back catches
up, nothing would be due, and nothing would ever seem late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DAY = 86_400_000_000
"""Microseconds. A clock that was further ahead than that was wrong."""


def _wall() -> int:
    return time.time_ns() // 1000


def _monotonic() -> int:
    return time.monotonic_ns() // 1000


class SteadyClock:
    """Microseconds since 1970 that never stand still and never go back.

    Args:
        wall: The machine's time, in microseconds since 1970.
        monotonic: Microseconds since any moment, which nobody sets.
    """

    def __init__(
        self, wall: Callable[[], int] = _wall, monotonic: Callable[[], int] = _monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last, self._read_at = wall(), monotonic()

    def now(self) -> int:
        """The machine's time, or what has passed since the last look where that is more."""
        with self._lock:
            read_at = self._monotonic()
            self._last = max(self._wall(), self._last + read_at - self._read_at)
            self._read_at = read_at
            return self._last

    def catch_up(self, written: int) -> bool:
        """Go on where an earlier process stopped, unless it was wrong by more than a day.

        Returns:
            Whether it was: then what it wrote lies in a future that is far away.
        """
        ahead = written - self.now()
        if ahead > DAY:
            return True
        with self._lock:
            self._last = max(self._last, written)
        return False
