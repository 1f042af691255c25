"""Threads that repeat a unit of work: when they end, and what that means."""

from __future__ import annotations

import logging
import threading

import pytest

from flytelineage.errors import FlyteLineageError
from flytelineage.workers import Fatal, Workers


def workers() -> Workers:
    return Workers(logging.getLogger(__name__), rest_seconds=60, pause=lambda failures: 0.0)


class StopsJustThen(threading.Event):
    """A stop that comes right after the main thread saw that none had come."""

    def __init__(self, threads: list[threading.Thread]) -> None:
        super().__init__()
        self._threads = threads

    def wait(self, timeout: float | None = None) -> bool:
        seen = self.is_set()
        if threading.current_thread() is not threading.main_thread():
            return super().wait(timeout)
        self.set()
        for thread in self._threads:
            thread.join()
        return seen


def test_a_stop_is_no_failure() -> None:
    """All threads end after a stop, however late it is seen."""
    stopped = workers()
    stopped.add("rests", lambda: False)
    stopped._stopping = StopsJustThen(stopped._threads)

    stopped.run(shutdown_timeout=5)

    assert stopped.stopping


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_itself_is_a_failure() -> None:
    """Its part of the work would stop in silence."""

    def end() -> bool:
        raise SystemExit

    ended = workers()
    ended.add("ends", end)

    with pytest.raises(FlyteLineageError, match="ended by itself"):
        ended.run(shutdown_timeout=5)


def test_a_fatal_failure_ends_all() -> None:
    """Its cause is what the caller gets."""

    def fail() -> bool:
        raise Fatal from LookupError("no queue")

    failed = workers()
    failed.add("fails", fail)
    failed.add("rests", lambda: False)

    with pytest.raises(LookupError, match="no queue"):
        failed.run(shutdown_timeout=5)
