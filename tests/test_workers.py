"""Threads that repeat a unit of work: when they end, and what that means."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from flytelineage import workers as module
from flytelineage.errors import FlyteLineageError, StoreError
from flytelineage.workers import Fatal, Workers


def workers(**how: Any) -> Workers:
    how = {"rest_seconds": 60, "pause": lambda failures: 0.0, **how}
    return Workers(logging.getLogger(__name__), **how)


class StopsJustThen(threading.Event):
    """A stop that comes right after the main thread saw that none had come."""

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def wait(self, timeout: float | None = None) -> bool:
        seen = self.is_set()
        if threading.current_thread() is not threading.main_thread():
            return super().wait(timeout)
        self.set()
        for worker in self._workers._workers:
            assert worker.thread is not None
            worker.thread.join()
        return seen


def test_a_stop_is_no_failure() -> None:
    """All threads end after a stop, however late it is seen."""
    stopped = workers()
    stopped.add("rests", lambda: False)
    stopped._stopping = StopsJustThen(stopped)

    stopped.run(shutdown_timeout=5)

    assert stopped.stopping


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after threads all the time."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_replaced(quick: None) -> None:
    """Its part of the work would stop in silence."""
    lives: list[int] = []
    restarted: list[str] = []
    mortal = workers(restarted=restarted.append)

    def die_once() -> bool:
        lives.append(1)
        if len(lives) == 1:
            raise SystemExit
        mortal.stop()
        return False

    mortal.add("dies", die_once)
    mortal.run(shutdown_timeout=5)

    assert len(lives) == 2
    assert restarted == ["dies"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_again_and_again_is_a_failure(quick: None) -> None:
    """Then a new process may do better."""
    lives: list[int] = []

    def die() -> bool:
        lives.append(1)
        raise SystemExit

    ended = workers()
    ended.add("ends", die)

    with pytest.raises(FlyteLineageError, match="ends ended by itself"):
        ended.run(shutdown_timeout=5)
    assert len(lives) == 1 + module.MAX_RESTARTS


def test_a_unit_of_work_that_takes_too_long_is_seen_and_ends_all(quick: None) -> None:
    """First whoever watches is told, then the process ends."""
    now = 0.0
    let_go = threading.Event()
    began = threading.Event()

    def hang() -> bool:
        began.set()
        let_go.wait(timeout=10)
        return False

    hanging = workers(clock=lambda: now)
    hanging.add("hangs", hang, limit=30)
    hanging.add("may take long", hang)
    ending = threading.Thread(target=lambda: failures.append(ended(hanging)))
    failures: list[str] = []
    ending.start()
    assert began.wait(timeout=10)

    now = 31.0
    assert hanging.stalled() == ["hangs"]
    assert set(hanging.slower_than(20)) == {"hangs", "may take long"}
    now = 61.0
    ending.join(timeout=10)
    let_go.set()

    assert failures == ["Stuck, and nothing helps: hangs"]


def test_who_was_frozen_is_not_stuck(quick: None) -> None:
    """After SIGCONT all units have taken long, and none of them is to blame."""
    now = 0.0
    let_go = threading.Event()
    began = threading.Event()

    def poll() -> bool:
        began.set()
        let_go.wait(timeout=10)
        return False

    frozen = workers(clock=lambda: now)
    frozen.add("polls", poll, limit=30)
    for worker in frozen._workers:
        frozen._start(worker)
    assert began.wait(timeout=10)

    now = 1000.0
    frozen._look_after()
    assert not frozen.stopping
    assert frozen.stalled() == []
    frozen.stop()
    let_go.set()


def ended(hanging: Workers) -> str:
    with pytest.raises(FlyteLineageError) as failure:
        hanging.run(shutdown_timeout=0)
    return str(failure.value)


def test_a_pause_is_no_sign_of_being_stuck() -> None:
    """However long it is: the thread lives, and waits for the store."""
    now = 0.0
    pausing = workers(clock=lambda: now, pause=lambda failures: 600.0)
    tried = threading.Event()

    def fail() -> bool:
        tried.set()
        raise StoreError

    pausing.add("pauses", fail, limit=30)
    running = threading.Thread(target=lambda: pausing.run(shutdown_timeout=5))
    running.start()
    assert tried.wait(timeout=10)
    while pausing._workers[0].beat < 600:
        assert running.is_alive()

    now = 599.0
    assert pausing.stalled() == []
    pausing.stop()
    running.join(timeout=10)


def test_a_long_unit_that_goes_on_is_not_stuck() -> None:
    """It waits for a queue that hangs, then for the store, then for the queue again."""
    now = 0.0
    seen: list[list[str]] = []
    busy = workers(clock=lambda: now)

    def work() -> bool:
        nonlocal now
        for _ in range(3):
            now += 60
            seen.append(busy.stalled())
            busy.alive()
        now += 101
        seen.append(busy.stalled())
        busy.stop()
        return False

    busy.add("works", work, limit=100)
    busy.run(shutdown_timeout=5)

    assert seen == [[], [], [], ["works"]]


def test_who_does_not_end_in_time_is_left() -> None:
    """And named, so that what it has in hand can be given back."""
    let_go = threading.Event()
    began = threading.Event()

    def hang() -> bool:
        began.set()
        let_go.wait(timeout=10)
        return False

    leaving = workers()
    leaving.add("hangs", hang)
    leaving.add("rests", lambda: False)
    stopping = threading.Thread(target=lambda: began.wait(timeout=10) and leaving.stop())
    stopping.start()

    left = leaving.run(shutdown_timeout=0.1)
    let_go.set()
    stopping.join()

    assert left == ["hangs"]


def test_a_fatal_failure_ends_all() -> None:
    """Its cause is what the caller gets."""

    def fail() -> bool:
        raise Fatal from LookupError("no queue")

    failed = workers()
    failed.add("fails", fail)
    failed.add("rests", lambda: False)

    with pytest.raises(LookupError, match="no queue"):
        failed.run(shutdown_timeout=5)
