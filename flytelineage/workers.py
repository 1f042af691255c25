"""Threads that repeat a unit of work until they are told to stop.

A unit says whether there was anything to do; without, the thread rests. A unit that
fails is tried again after a pause that grows. No thread ends by itself: one that did
would stop its part of the work in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from flytelineage.errors import FlyteLineageError


class Fatal(Exception):
    """Raised by a unit of work to end all workers; the cause says why."""


class Workers:
    """Runs units of work, each in a thread of its own.

    Args:
        log: Where pauses and failures are told.
        rest_seconds: How long a thread rests when there was nothing to do.
        pause: Seconds to wait after so many failures in a row.
    """

    def __init__(
        self, log: logging.Logger, *, rest_seconds: float, pause: Callable[[int], float]
    ) -> None:
        self._log = log
        self._rest_seconds = rest_seconds
        self._pause = pause
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._failure: BaseException | None = None

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def add(self, name: str, work: Callable[[], bool]) -> None:
        """Repeat `work` in a thread, once `run` is called."""
        thread = threading.Thread(target=self._repeat, args=(name, work), name=name, daemon=True)
        self._threads.append(thread)

    def run(self, *, shutdown_timeout: float) -> None:
        """Run until `stop`; then wait for the units in hand, up to the time-out.

        Raises:
            Exception: What ended the workers.
        """
        for thread in self._threads:
            thread.start()
        while not self._stopping.wait(0.5):
            # Asked in this order: a stop may come just now, and then they may all end.
            if self._any_ended() and not self._stopping.is_set():
                self._end(FlyteLineageError("A worker thread ended by itself"))
        deadline = time.monotonic() + shutdown_timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._log.warning("%s is still at work; leaving it", thread.name)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin no new unit of work; may be called twice, and from a signal handler."""
        self._stopping.set()

    def _any_ended(self) -> bool:
        return not all(thread.is_alive() for thread in self._threads)

    def _end(self, failure: BaseException) -> None:
        self._failure = failure
        self.stop()

    def _repeat(self, name: str, work: Callable[[], bool]) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                busy = work()
            except Fatal as exc:
                self._end(exc.__cause__ or exc)
            except FlyteLineageError as exc:
                failures += 1
                self._wait(name, failures, str(exc))
            except Exception:
                failures += 1
                self._log.exception("%s: an error that should not happen", name)
                self._wait(name, failures, "see the traceback above")
            else:
                failures = 0
                if not busy:
                    self._stopping.wait(self._rest_seconds)

    def _wait(self, name: str, failures: int, why: str) -> None:
        seconds = self._pause(failures)
        self._log.warning("%s: pausing for %.0f s: %s", name, seconds, why)
        self._stopping.wait(seconds)
