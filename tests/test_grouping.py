"""Calls that come together become one; nobody gets what is not theirs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from flytelineage.grouping import Grouped

PATIENCE = 10.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=16) as threads:
        yield threads


class Gate:
    """A function that stays at work, the first time, until it is opened."""

    def __init__(self, act: Callable[[list[str]], list[str] | None] = lambda _: None) -> None:
        self.lists: list[list[str]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()
        self._act = act

    def __call__(self, items: list[str]) -> list[str] | None:
        self.lists.append(items)
        if not self.entered.is_set():
            self.entered.set()
            assert self.opened.wait(PATIENCE)
        return self._act(items)


def crowd(
    grouped: Grouped[str], gate: Gate, pool: ThreadPoolExecutor, *calls: list[str]
) -> list[Future[list[str]]]:
    """Let the first call work while the others, one after the other, come to wait."""
    futures = [pool.submit(grouped, calls[0])]
    assert gate.entered.wait(PATIENCE)
    for call in calls[1:]:
        expected = grouped.waiting + len(call)
        futures.append(pool.submit(grouped, call))
        while grouped.waiting < expected:
            threading.Event().wait(0.001)
    gate.opened.set()
    return futures


def test_a_caller_that_is_alone_is_served_at_once() -> None:
    """Nobody waits for company."""
    lists: list[list[str]] = []
    grouped = Grouped(lists.append)

    left = grouped(["a", "b"])

    assert (lists, left) == ([["a", "b"]], [])


def test_callers_that_wait_are_served_together(pool: ThreadPoolExecutor) -> None:
    """Who comes while the function works is in its next list, in order."""
    gate = Gate()
    grouped = Grouped(gate)

    for future in crowd(grouped, gate, pool, ["a"], ["b", "c"], ["d"], ["e"]):
        future.result(PATIENCE)

    assert gate.lists == [["a"], ["b", "c", "d", "e"]]


def test_a_list_is_never_longer_than_allowed(pool: ThreadPoolExecutor) -> None:
    """A call that does not fit is split."""
    gate = Gate()
    grouped = Grouped(gate, max_items=2)

    for future in crowd(grouped, gate, pool, ["a"], ["b", "c", "d"], ["e"]):
        future.result(PATIENCE)

    assert gate.lists == [["a"], ["b", "c"], ["d", "e"]]


def test_an_error_reaches_those_it_concerns_and_nobody_else(pool: ThreadPoolExecutor) -> None:
    """Callers before and after the list that failed see nothing of it."""

    def refuse_c(items: list[str]) -> None:
        if "c" in items:
            raise ValueError("no c")

    gate = Gate(refuse_c)
    grouped = Grouped(gate, max_items=2)

    futures = crowd(grouped, gate, pool, ["a"], ["b"], ["c"], ["d"])

    errors = [type(future.exception(PATIENCE)) for future in futures]
    assert errors == [type(None), ValueError, ValueError, type(None)]


def test_a_call_that_is_split_fails_if_one_half_does() -> None:
    """The caller cannot know which half, so all of it counts as not done."""

    def refuse_a(items: list[str]) -> None:
        if "a" in items:
            raise ValueError("no a")

    grouped = Grouped(refuse_a, max_items=1)

    with pytest.raises(ValueError, match="no a"):
        grouped(["a", "b"])


def test_what_was_not_done_goes_back_to_its_caller(pool: ThreadPoolExecutor) -> None:
    """Each caller gets those of its own items, even when others sent equal ones."""
    gate = Gate(lambda items: [item for item in items[2:] if item.startswith("bad")])
    grouped = Grouped(gate)
    one, other = "".join(["bad", "1"]), "".join(["bad", "1"])

    futures = crowd(grouped, gate, pool, ["a"], [one], ["good", other])

    assert [future.result(PATIENCE) for future in futures] == [[], [], [other]]


def test_after_an_error_the_next_call_is_served() -> None:
    """A failure ends the list, not the service."""
    lists: list[list[str]] = []

    def fail_once(items: list[str]) -> None:
        lists.append(items)
        if len(lists) == 1:
            raise OSError("once")

    grouped = Grouped(fail_once)
    with pytest.raises(OSError, match="once"):
        grouped(["a"])

    grouped(["b"])

    assert lists == [["a"], ["b"]]


def test_an_interrupt_leaves_nobody_waiting(pool: ThreadPoolExecutor) -> None:
    """Also what is no `Exception` is passed on to those who waited."""

    def interrupt(items: list[str]) -> None:
        if "b" in items:
            raise KeyboardInterrupt

    gate = Gate(interrupt)
    grouped = Grouped(gate)

    futures = crowd(grouped, gate, pool, ["a"], ["b"], ["c"])

    assert futures[0].exception(PATIENCE) is None
    assert isinstance(futures[1].exception(PATIENCE), KeyboardInterrupt)
    assert isinstance(futures[2].exception(PATIENCE), KeyboardInterrupt)


def test_who_has_nothing_waits_for_nothing(pool: ThreadPoolExecutor) -> None:
    """An empty call returns although the function is at work."""
    gate = Gate()
    grouped = Grouped(gate)
    busy = pool.submit(grouped, ["a"])
    assert gate.entered.wait(PATIENCE)

    assert grouped([]) == []

    gate.opened.set()
    busy.result(PATIENCE)
    assert gate.lists == [["a"]]


def test_a_full_list_may_go_beside_another(pool: ThreadPoolExecutor) -> None:
    """With `parallel`, waiting would not make it fuller, so it does not wait."""
    gate = Gate()
    grouped = Grouped(gate, max_items=2, parallel=True)
    busy = pool.submit(grouped, ["a"])
    assert gate.entered.wait(PATIENCE)

    grouped(["b", "c"])

    assert not busy.done()
    gate.opened.set()
    busy.result(PATIENCE)


@pytest.mark.parametrize("parallel", [False, True])
def test_every_item_is_served_exactly_once(pool: ThreadPoolExecutor, parallel: bool) -> None:
    """Whatever the threads do: each item once, and one list at a time unless parallel."""
    served: list[int] = []
    guard = threading.Lock()
    at_work = most_at_work = 0

    def work(items: list[int]) -> list[int]:
        nonlocal at_work, most_at_work
        with guard:
            at_work += 1
            most_at_work = max(most_at_work, at_work)
        assert len(items) <= 10
        with guard:
            served.extend(items)
            at_work -= 1
        return [item for item in items if item % 7 == 0]

    grouped = Grouped(work, max_items=10, parallel=parallel)
    chance = random.Random(1)
    items = list(range(1000, 6000))
    calls = []
    while items:
        size = chance.randint(1, 14)
        calls.append(items[:size])
        items = items[size:]

    left = list(pool.map(grouped, calls))

    assert sorted(served) == list(range(1000, 6000))
    assert left == [[item for item in call if item % 7 == 0] for call in calls]
    assert parallel or most_at_work == 1
