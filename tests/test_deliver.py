"""The third loop: what becomes of deliveries when their target, or they, fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flytelineage.breaker import FAILURES, Breaker
from flytelineage.deliver import LEFT_SECONDS, MAX_LOST, Deliver, DeliverLimits
from flytelineage.entities import Lineage, Run
from flytelineage.errors import (
    PermanentTargetError,
    RefusedByStoreError,
    StoreError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.metrics import CLOSED, HALF_OPEN, OPEN, Metrics
from flytelineage.pace import Pace
from flytelineage.report import Report
from flytelineage.store import Built, Store
from flytelineage.targets import Rejection
from flytelineage.testing.doubles import MemoryTarget
from tests.store.conftest import Clock, event, execution

GLUE = "glue"
LEASE = 300.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    found = Store(path=str(tmp_path / "store.sqlite3"), clock=clock)
    found.open(exclusive=True)
    yield found
    found.close()


class Scene:
    """A store with executions that are to be told, and the loop that tells them."""

    def __init__(self, store: Store, clock: Clock, target: MemoryTarget, **how: Any) -> None:
        self.store = store
        self.clock = clock
        self.target = target
        self.metrics = Metrics([GLUE])
        self.report = Report(metrics=self.metrics)
        self.breaker = Breaker(
            pause=lambda times: 10.0 * times, clock=lambda: clock().timestamp(), **how
        )
        self.loop = Deliver(
            GLUE,
            target,
            store,
            transforms=[],
            breaker=self.breaker,
            limits=DeliverLimits(LEASE, 0.0),
            pace=Pace(5.0, 300.0),
            report=self.report,
            metrics=self.metrics,
            log=logging.getLogger("flytelineage.test"),
            reached=lambda step: None,
        )

    def build(self, *names: str) -> None:
        """Let executions end, and build them."""
        self.store.record([event(name, terminal=True) for name in names])
        self.clock.advance(60)
        for lease in self.store.claim_build(len(names), lease_seconds=LEASE):
            run = Run(execution=lease.execution, phase="SUCCEEDED")
            content = Lineage(
                execution=lease.execution, phase="SUCCEEDED", started_at=lease.started_at,
                revision=lease.revision, runs=(run,),
            )  # fmt: skip
            assert self.store.finish_build(lease, Built(lineage=content), [GLUE])

    def value(self, name: str, **labels: str) -> float:
        found = self.metrics.registry.get_sample_value(f"flytelineage_{name}", labels)
        assert found is not None, name
        return found

    @property
    def state(self) -> float:
        return self.value("breaker_state", target=GLUE)

    @property
    def paused(self) -> dict[str, Any]:
        return dict(self.store.status()["paused"])


def many(count: int) -> list[str]:
    return [f"e{number:02}" for number in range(count)]


def test_a_target_that_is_down_is_not_asked_for_each_execution(store: Store, clock: Clock) -> None:
    """Of hundreds that wait, one try in a while finds out whether it is back."""
    target = MemoryTarget(failures=[TransientTargetError("503")] * 100)
    scene = Scene(store, clock, target)
    scene.build(*many(20))

    for _ in range(50):
        scene.loop.run()

    assert 100 - len(target.failures) == FAILURES
    assert scene.state == OPEN
    assert scene.value("breaker_opened_total", target=GLUE) == 1
    assert "503" in scene.paused[GLUE]["reason"]
    clock.advance(11)
    for _ in range(50):
        scene.loop.run()
    assert 100 - len(target.failures) == FAILURES + 1


def test_what_waited_is_told_when_the_target_is_back(store: Store, clock: Clock) -> None:
    """All of it, and whoever looks no longer sees a pause."""
    target = MemoryTarget(failures=[TargetUnavailable("401")])
    scene = Scene(store, clock, target)
    scene.build(*many(3))
    assert scene.loop.run()
    assert not scene.loop.run()
    assert "401" in scene.paused[GLUE]["reason"]

    clock.advance(11)
    while scene.loop.run():
        pass

    assert len(target.emitted) == 3
    assert scene.state == CLOSED
    assert scene.paused == {}
    assert scene.value("emits_total", target=GLUE, result="delivered") == 3
    assert scene.value("retries_total", target=GLUE, reason="unavailable") == 1


def test_a_target_that_throttles_is_left_alone_as_long_as_it_asks(
    store: Store, clock: Clock
) -> None:
    """By all deliveries, and not only by the one that was told so."""
    target = MemoryTarget(failures=[TransientTargetError("429", retry_after=120)])
    scene = Scene(store, clock, target)
    scene.build(*many(2))
    scene.loop.run()

    clock.advance(119)
    assert not scene.loop.run()
    clock.advance(2)
    assert scene.loop.run()


def test_a_refusal_says_nothing_of_the_target(store: Store, clock: Clock) -> None:
    """It answered: the others are told."""
    target = MemoryTarget(failures=[PermanentTargetError("no")] * (FAILURES + 1))
    scene = Scene(store, clock, target)
    scene.build(*many(FAILURES + 2))

    while scene.loop.run():
        pass

    assert len(target.emitted) == 1
    assert scene.value("emits_total", target=GLUE, result="given_up") == FAILURES + 1
    assert scene.state == CLOSED


def test_refused_entities_are_counted(store: Store, clock: Clock) -> None:
    target = MemoryTarget(refuse=[f"run:{execution('e00')}"])
    scene = Scene(store, clock, target)
    scene.build("e00")

    scene.loop.run()

    assert scene.value("entities_rejected_total", target=GLUE) == 1


def test_seconds_from_the_end_to_the_catalogue_are_measured_once(
    store: Store, clock: Clock
) -> None:
    """A later telling of the same execution would make it look slow."""
    scene = Scene(store, clock, MemoryTarget())
    scene.build("a")
    clock.advance(30)
    scene.loop.run()

    store.retry(states=("delivered",))
    clock.advance(1000)
    assert scene.loop.run()

    assert scene.value("settle_seconds_count", target=GLUE) == 1
    assert 90 <= scene.value("settle_seconds_sum", target=GLUE) < 91


def test_what_may_end_the_process_is_left_alone(store: Store, clock: Clock) -> None:
    """Else it would be tried first at each start, and nobody else would be told."""
    scene = Scene(store, clock, MemoryTarget())
    scene.build("lethal")
    for _ in range(MAX_LOST):  # the process dies each time
        assert store.claim_delivery(GLUE, 1, lease_seconds=LEASE)
        clock.advance(LEASE + 1)
    scene.build("other")

    assert scene.loop.run()
    assert scene.loop.run()
    assert not scene.loop.run()

    assert [one.execution.name for one in scene.target.emitted if one.execution] == ["other"]
    assert scene.value("retries_total", target=GLUE, reason="lost") == 1
    (error,) = store.status()["errors"]
    assert "never came to an end" in error["error"]
    clock.advance(3601)
    assert scene.loop.run()
    assert len(scene.target.emitted) == 2


class Slow(MemoryTarget):
    """Takes longer than a lease holds; meanwhile another replica looks for work."""

    clock: Clock
    scene: Scene
    other: Deliver

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        for _ in range(4):
            self.clock.advance(LEASE / 3)
            self.scene.loop.keep_leases()
        self.other.run()
        return list(super().emit_lineage(lineage))


def test_a_target_that_takes_longer_than_a_lease_is_told_once(store: Store, clock: Clock) -> None:
    """Two replicas would take it from each other again and again, and never come to an end."""
    target = Slow()
    scene = Scene(store, clock, target)
    target.clock, target.scene = clock, scene
    target.other = Scene(store, clock, MemoryTarget()).loop
    scene.loop._leases._clock = lambda: clock().timestamp()
    scene.build("a")

    assert scene.loop.run()

    assert scene.value("leases_lost_total", kind="delivery") == 0
    assert len(target.emitted) == 1
    assert not target.other.run()


class Overtaken(MemoryTarget):
    """Fails only after another replica has taken over what it was told."""

    clock: Clock
    store: Store

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        self.clock.advance(LEASE)
        assert self.store.claim_delivery(GLUE, 1, lease_seconds=LEASE, in_order=False)
        return list(super().emit_lineage(lineage))


@pytest.mark.parametrize("failure", [TransientTargetError("503"), PermanentTargetError("400")])
def test_who_lost_the_lease_neither_gives_up_nor_tries_again(
    store: Store, clock: Clock, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """That is up to who has it now; else one delivery would be told to have ended twice."""
    target = Overtaken(failures=[failure])
    target.clock, target.store = clock, store
    scene = Scene(store, clock, target)
    scene.build("a")

    assert scene.loop.run()

    assert scene.value("leases_lost_total", kind="delivery") == 1
    assert scene.value("emits_total", target=GLUE, result="later") == 0
    assert scene.value("emits_total", target=GLUE, result="given_up") == 0
    assert "Gave up" not in caplog.text
    assert "again in" not in caplog.text


class Stopped(MemoryTarget):
    """The process is stopped while it is told."""

    loop: Deliver

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        self.loop.give_back()
        raise SystemExit


def test_what_stops_leave_behind_does_not_look_like_the_end_of_a_process(
    store: Store, clock: Clock
) -> None:
    """A target that is slow during a rolling upgrade would be left alone for an hour."""
    target = Stopped()
    scene = Scene(store, clock, target)
    target.loop = scene.loop
    scene.build("a")

    for _ in range(MAX_LOST + 1):
        with pytest.raises(SystemExit):
            scene.loop.run()
        clock.advance(LEFT_SECONDS)
    (lease,) = store.claim_delivery(GLUE, 1, lease_seconds=LEASE, in_order=False)

    assert lease.lost == 0
    assert lease.attempts == 1


class Meeting(MemoryTarget):
    """Returns only when as many threads tell it as there should be."""

    parallel = True

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._all_there = threading.Barrier(threads, timeout=10)

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        self._all_there.wait()
        return super().emit_lineage(lineage)


def test_several_threads_tell_a_target_that_can_stand_it(store: Store, clock: Clock) -> None:
    scene = Scene(store, clock, Meeting(2), max_parallel=2)
    assert scene.breaker.enter()
    scene.breaker.worked()  # it has shown that it is well
    scene.build(*many(2))

    threads = [threading.Thread(target=scene.loop.run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(scene.target.emitted) == 2


@pytest.mark.parametrize("method", ["claim_delivery", "copies", "settle"])
def test_a_store_that_fails_delays_a_delivery_and_no_more(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """It says nothing of the target, and does not look like the end of a process."""
    scene = Scene(store, clock, MemoryTarget())
    scene.build(*many(1))

    def fail(*args: Any, **how: Any) -> Any:
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, method, fail)
        for _ in range(FAILURES + MAX_LOST):
            with pytest.raises(StoreError):
                scene.loop.run()

    assert scene.state == CLOSED
    assert scene.loop.run()
    assert scene.value("emits_total", target=GLUE, result="delivered") == 1


@pytest.mark.parametrize("method", ["copies", "settle"])
def test_what_the_database_can_never_hold_is_given_up(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A transform may give it; trying again would not help."""
    scene = Scene(store, clock, MemoryTarget())
    scene.build(*many(1))

    def refuse(*args: Any, **how: Any) -> Any:
        raise RefusedByStoreError("a key that no index can hold")

    with monkeypatch.context() as patched:
        patched.setattr(store, method, refuse)
        assert scene.loop.run()

    (error,) = store.status()["errors"]
    assert (error["state"], error["error"]) == ("given_up", "a key that no index can hold")
    assert scene.state == CLOSED
    assert not scene.loop.run()


def test_the_state_of_a_target_is_shown_before_it_is_tried(store: Store, clock: Clock) -> None:
    """Half open: a try is under way that decides."""
    states: list[float] = []

    class Looks(MemoryTarget):
        def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
            states.append(scene.state)
            return super().emit_lineage(lineage)

    scene = Scene(store, clock, Looks())
    scene.build(*many(1))
    assert scene.breaker.enter()
    scene.breaker.failed("401", lasting=True)
    clock.advance(11)

    scene.loop.run()

    assert states == [HALF_OPEN]
    assert scene.state == CLOSED
