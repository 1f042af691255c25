"""Spares a target that is down: when it is asked again, and by how many threads at once.

A target that failed several times in a row is left alone. After a pause one try finds out
whether it is back; while it is not, the pauses grow. Then the number of threads that tell it
grows by one with each success, so that what has gathered meanwhile does not fall upon it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "half open", "open"]

FAILURES = 5
"""So many in a row and the target is taken to be down."""


class Breaker:
    """Guards one target; all methods may be called by several threads.

    Each `enter` that says yes is followed by one of `worked`, `failed` and `left`.

    Args:
        max_parallel: Tries that may be under way at once.
        pause: Seconds until a target is tried again that was found down so many times.
        clock: Seconds that only go forward.

    Attributes:
        reason: What the target said when it was last found down; empty when it is not.
        opened: How often it went from well to down.
    """

    def __init__(
        self,
        *,
        max_parallel: int = 1,
        pause: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reason = ""
        self.opened = 0
        self._max_parallel = max_parallel
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way = 0
        self._allowed = 1
        self._failures = 0
        self._found_down = 0  # since it was well
        self._until = 0.0

    @property
    def state(self) -> State:
        """`open` while it is left alone, `half open` while a try may find it well."""
        with self._lock:
            return self._state()

    @property
    def seconds_left(self) -> float:
        """How long it is still left alone; 0 unless it is open."""
        with self._lock:
            return max(0.0, self._until - self._clock()) if self._found_down else 0.0

    def enter(self) -> bool:
        """Whether a try may begin now."""
        with self._lock:
            allowed = {"closed": self._allowed, "half open": 1, "open": 0}[self._state()]
            if self._under_way >= allowed:
                return False
            self._under_way += 1
            return True

    def left(self) -> None:
        """Nothing was tried after all: there was nothing to tell, so one thread less looks."""
        with self._lock:
            self._under_way -= 1
            self._allowed = max(1, self._allowed - 1)

    def worked(self) -> bool:
        """The target took what it was told, or said what is wrong with it.

        Returns:
            Whether it was taken to be down before.
        """
        with self._lock:
            self._under_way -= 1
            if self._state() == "open":  # a try that began earlier: the pause is later news
                return False
            was_down = bool(self._found_down)
            self._failures = self._found_down = 0
            self.reason = ""
            self._allowed = 1 if was_down else min(self._allowed + 1, self._max_parallel)
            return was_down

    def failed(self, reason: str, *, lasting: bool, retry_after: float = 0.0) -> bool:
        """The target did not answer, or not in a way that says anything of what it was told.

        Args:
            reason: For people.
            lasting: It will not take anything until somebody acts, so it is down at once.
            retry_after: Seconds for which it asks to be left alone; 0 when it does not.

        Returns:
            Whether it is left alone now and was not before.
        """
        with self._lock:
            self._under_way -= 1
            self._failures += 1
            self._allowed = max(1, self._allowed // 2)
            was = self._state()
            if was == "open":  # a try that began earlier ends: that is no news
                return False
            if was == "closed" and not (lasting or retry_after or self._failures >= FAILURES):
                return False
            first = not self._found_down
            self._found_down += 1
            self.opened += first
            self.reason = reason
            self._until = self._clock() + max(self._pause(self._found_down), retry_after)
            return first

    def _state(self) -> State:
        if not self._found_down:
            return "closed"
        return "open" if self._clock() < self._until else "half open"
