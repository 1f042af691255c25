"""Threads that repeat a unit of work until they are told to stop.

A unit says whether there was anything to do; without, the thread rests. A unit that
fails is tried again after a pause that grows. A thread that ends all the same is replaced,
a few times: one that was not would stop its part of the work in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flytelineage.errors import FlyteLineageError, StuckError

MAX_RESTARTS = 3
"""So often a thread is replaced within `RESTART_SECONDS`; then the process ends."""

RESTART_SECONDS = 3600.0

LOOK_SECONDS = 0.5
"""How often the threads are looked after."""

FROZEN_SECONDS = 90.0
"""Where nobody looked for so long, the process itself stood still: SIGSTOP, a paused machine."""

LAST_SECONDS = 2.0
"""Of a stop that takes too long, these are left for giving back what is in hand."""


class Fatal(Exception):
    """Raised by a unit of work to end all workers; the cause says why."""


@dataclass
class _Worker:
    """One unit of work and the thread that repeats it.

    Attributes:
        limit: Seconds without a sign of life after which a unit counts as stuck; `None` is
            any time.
        beat: When the thread last showed that it lives, or until when it pauses.
    """

    name: str
    work: Callable[[], bool]
    rest_seconds: float
    limit: float | None
    beat: float
    thread: threading.Thread | None = None
    restarts: deque[float] = field(default_factory=deque)


class Workers:
    """Runs units of work, each in a thread of its own.

    Args:
        log: Where pauses and failures are told.
        rest_seconds: How long a thread rests when there was nothing to do.
        pause: Seconds to wait after so many failures in a row.
        restarted: Called with the name of a worker whose thread was replaced.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        log: logging.Logger,
        *,
        rest_seconds: float,
        pause: Callable[[int], float],
        restarted: Callable[[str], None] = lambda name: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._rest_seconds = rest_seconds
        self._pause = pause
        self._restarted = restarted
        self._clock = clock
        self._workers: list[_Worker] = []
        self._own = threading.local()  # the worker of each thread
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._looked_at = 0.0

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def add(
        self,
        name: str,
        work: Callable[[], bool],
        *,
        rest_seconds: float | None = None,
        limit: float | None = None,
    ) -> None:
        """Repeat `work` in a thread, once `run` is called.

        Args:
            name: Of the thread.
            work: Says whether there was anything to do.
            rest_seconds: Instead of those that hold for all.
            limit: Seconds after which one unit counts as stuck, see `alive`.
        """
        rest = self._rest_seconds if rest_seconds is None else rest_seconds
        self._workers.append(_Worker(name, work, rest, limit, self._clock()))

    def alive(self) -> None:
        """Show that the unit of work that runs in this thread goes on: a limit begins anew."""
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is not None:
            worker.beat = self._clock()

    def stalled(self, *, times: float = 1.0) -> list[str]:
        """The workers of which a unit takes longer than so many times its limit."""
        now = self._clock()
        return [
            worker.name
            for worker in self._workers
            if worker.limit is not None and now - worker.beat > worker.limit * times
        ]

    def slower_than(self, seconds: float) -> list[str]:
        """The workers of which a unit takes longer than this, whatever its limit."""
        now = self._clock()
        return [worker.name for worker in self._workers if now - worker.beat > seconds]

    def run(self, *, shutdown_timeout: float) -> list[str]:
        """Run until `stop`; then wait for the units in hand, up to the time-out.

        Returns:
            The workers that were still at work in the end, and were left.

        Raises:
            Exception: What ended the workers.
        """
        self._looked_at = self._clock()
        for worker in self._workers:
            self._start(worker)
        while not self._stopping.wait(LOOK_SECONDS):
            self._look_after()
        left = self._join(shutdown_timeout)
        if self._failure is not None:
            raise self._failure
        return left

    def stop(self) -> None:
        """Begin no new unit of work; may be called twice, and from a signal handler."""
        self._stopping.set()

    def wait(self, seconds: float) -> None:
        """Rest, but not beyond a stop; for use within a unit of work."""
        self._stopping.wait(seconds)

    def _start(self, worker: _Worker) -> None:
        worker.beat = self._clock()
        worker.thread = threading.Thread(
            target=self._repeat, args=(worker,), name=worker.name, daemon=True
        )
        worker.thread.start()

    def _look_after(self) -> None:
        """Replace threads that ended; end everything where that does not help."""
        self._forgive()
        for worker in self._workers:
            # Asked in this order: a stop may come just now, and then they may all end.
            ended = worker.thread is not None and not worker.thread.is_alive()
            if ended and not self._stopping.is_set():
                self._replace(worker)
        # Twice the limit: whoever asks `stalled` shall see it before the process ends.
        if stalled := self.stalled(times=2):
            self._end(StuckError(f"Stuck, and nothing helps: {', '.join(stalled)}"))

    def _forgive(self) -> None:
        """Count no time against a unit in which the whole process stood still."""
        before, self._looked_at = self._looked_at, self._clock()
        if self._looked_at - before > FROZEN_SECONDS:
            for worker in self._workers:
                worker.beat = max(worker.beat, self._looked_at)

    def _replace(self, worker: _Worker) -> None:
        now = self._clock()
        while worker.restarts and now - worker.restarts[0] > RESTART_SECONDS:
            worker.restarts.popleft()
        if len(worker.restarts) >= MAX_RESTARTS:
            self._end(FlyteLineageError(f"The worker thread {worker.name} ended by itself"))
            return
        worker.restarts.append(now)
        self._log.error("The worker thread %s ended by itself; starting another one", worker.name)
        self._restarted(worker.name)
        self._start(worker)

    def _join(self, shutdown_timeout: float) -> list[str]:
        deadline = self._clock() + shutdown_timeout - min(LAST_SECONDS, shutdown_timeout / 2)
        left = []
        for worker in self._workers:
            if worker.thread is None:
                continue
            worker.thread.join(max(0.0, deadline - self._clock()))
            if worker.thread.is_alive():
                self._log.warning("%s is still at work; leaving it", worker.name)
                left.append(worker.name)
        return left

    def _end(self, failure: BaseException) -> None:
        self._failure = failure
        self.stop()

    def _repeat(self, worker: _Worker) -> None:
        failures = 0
        self._own.worker = worker
        while not self._stopping.is_set():
            worker.beat = self._clock()
            try:
                busy = worker.work()
            except Fatal as exc:
                self._end(exc.__cause__ or exc)
            except FlyteLineageError as exc:
                failures += 1
                self._pause_after(worker, failures, str(exc))
            except Exception:
                failures += 1
                self._log.exception("%s: an error that should not happen", worker.name)
                self._pause_after(worker, failures, "see the traceback above")
            else:
                failures = 0
                if not busy:
                    worker.beat = self._clock() + worker.rest_seconds
                    self._stopping.wait(worker.rest_seconds)

    def _pause_after(self, worker: _Worker, failures: int, why: str) -> None:
        seconds = self._pause(failures)
        self._log.warning("%s: pausing for %.0f s: %s", worker.name, seconds, why)
        worker.beat = self._clock() + seconds
        self._stopping.wait(seconds)
