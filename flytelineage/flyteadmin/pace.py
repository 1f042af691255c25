"""Keeps calls to a rate: a token bucket that holds one second's worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Lets callers go at a rate, from any number of threads.

    Args:
        per_second: On average. Those of one second may go at once.
        clock, sleep: In seconds.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._interval = 1 / per_second
        self._burst = max(1.0, self._interval)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        # The bucket as a time: when it will be full again.
        self._full_at = clock()

    def wait(self) -> None:
        """Wait for this caller's turn."""
        with self._lock:
            now = self._clock()
            self._full_at = max(self._full_at, now) + self._interval
            delay = self._full_at - now - self._burst
        if delay > 0:
            self._sleep(delay)
