"""Where a target says that it may be told by several threads, the end is that of one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flytelineage.entities import Copy, DatasetId, Lineage
from flytelineage.targets import Target
from tests.factories import EXECUTION
from tests.targets.contract.entities import TASKS, lineage, run
from tests.targets.contract.place import Place

EXECUTIONS = 6
PATIENCE = 60.0


@pytest.fixture
def target(place: Place) -> Target:
    target = place.open()
    if not target.parallel:
        pytest.skip("it is told by one thread at a time")
    return target


def execution(number: int) -> Lineage:
    """One of several executions of a workflow, of which all found the same."""
    id = EXECUTION.model_copy(update={"name": f"e{number}"})
    runs = (run(execution=id), *(run(name, execution=id) for name in TASKS))
    return lineage(execution=id, runs=runs)


def at_once(*works: Callable[[], object]) -> list[object]:
    """What each gives; none begins before all can."""
    start = threading.Barrier(len(works))

    def after_the_others(work: Callable[[], object]) -> object:
        start.wait(PATIENCE)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(after_the_others, works))


def test_threads_leave_what_one_would(place: Place, target: Target) -> None:
    """Nothing is lost, and nothing is told of another's execution."""
    executions = [execution(number) for number in range(EXECUTIONS)]
    calm = place.calm(*executions)
    target = place.open()

    rejections = at_once(*(lambda each=each: target.emit(each) for each in executions))  # type: ignore[misc]

    assert rejections == [[]] * EXECUTIONS
    assert place.told() == calm
    assert place.dangling() == set()


def test_each_thread_is_told_of_its_own_copies(place: Place, target: Target) -> None:
    """What another thread told meanwhile is the other's."""
    told = threading.Barrier(2)

    def copies_of(task: str) -> dict[DatasetId, Copy]:
        assert target.emit(lineage([task])) == []
        told.wait(PATIENCE)
        return dict(target.copies())

    first, second = at_once(*(lambda task=task: copies_of(task) for task in TASKS))  # type: ignore[misc]

    alone = place.open()
    expected = []
    for task in TASKS:
        alone.emit(lineage([task]))
        expected.append(dict(alone.copies()))
    assert [first, second] == expected
