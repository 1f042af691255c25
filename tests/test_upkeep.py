"""What a daemon does besides its work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flytelineage.breaker import Breaker
from flytelineage.entities import ExecutionId
from flytelineage.errors import ConfigError, SourceError, StoreError
from flytelineage.inhand import InHand
from flytelineage.metrics import Metrics
from flytelineage.report import Report
from flytelineage.sources import Backlog
from flytelineage.store import Store
from flytelineage.store.values import Cleaned, Unsettled
from flytelineage.testing.doubles import MemorySource
from flytelineage.upkeep import SAMPLE_SECONDS, SHARE, SUMMARY_SECONDS, Upkeep

LOG = "flytelineage.test"


class Waiting(MemorySource):
    """Says how much waits, or that it does not know."""

    checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.failures:
            raise self.failures[0]

    def backlog(self) -> Backlog:
        return Backlog(visible=12, in_flight=3)


class Slowed:
    """Stands for the loop that receives."""

    far_behind = ""


class Scene:
    """Upkeep and what it works on."""

    def __init__(self, store: Store, source: MemorySource, **how: Any) -> None:
        self.now = 0.0
        self.report = Report(metrics=Metrics(["glue"]))
        assert self.report.metrics is not None
        self.metrics = self.report.metrics
        self.intake = Slowed()
        self.breaker = Breaker(pause=lambda times: 60.0, clock=lambda: self.now)
        self.upkeep = Upkeep(
            source,
            store,
            self.intake,  # type: ignore[arg-type]
            InHand(1),
            breakers={"glue": self.breaker},
            report=self.report,
            metrics=self.metrics,
            log=logging.getLogger(LOG),
            clock=lambda: self.now,
            **{"max_backlog": 0, **how},
        )

    def value(self, name: str, **labels: str) -> float:
        found = self.metrics.registry.get_sample_value(f"flytelineage_{name}", labels)
        assert found is not None, name
        return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(path=str(tmp_path / "store.sqlite3"))
    found.open(exclusive=True)
    yield found
    found.close()


def pretend(store: Store, monkeypatch: pytest.MonkeyPatch, *, due: int = 0, glue: int = 0) -> None:
    """Let the store say that so much waits."""
    status = store.status()
    status["executions"]["due"] = due
    counts = dict.fromkeys(("delivered", "later", "telling", "held", "given_up", "rejected"), 0)
    status["deliveries"] = {
        "glue": {**counts, "due": glue, "oldest_seconds": 7.0 if glue else None}
    }
    monkeypatch.setattr(store, "status", lambda: status)
    monkeypatch.setattr(store, "counts", lambda: {**status, "quarantine": {"rows": 2, "bytes": 9}})


def test_what_waits_is_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the queue, in the store, and at each target."""
    pretend(store, monkeypatch, due=4, glue=5)
    scene = Scene(store, Waiting())

    scene.upkeep.run()

    assert scene.value("queue_visible") == 12
    assert scene.value("queue_in_flight") == 3
    assert scene.value("executions", state="due") == 4
    assert scene.value("deliveries", target="glue", state="due") == 5
    assert scene.value("delivery_oldest_seconds", target="glue") == 7
    assert scene.value("store_bytes") > 0
    assert scene.upkeep.status["executions"]["due"] == 4


def test_it_is_looked_at_every_so_often(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting has its price."""
    scene = Scene(store, Waiting())
    scene.upkeep.run()
    pretend(store, monkeypatch, due=4)

    scene.now = SAMPLE_SECONDS - 1
    scene.upkeep.run()
    assert scene.value("executions", state="due") == 0
    scene.now = SAMPLE_SECONDS
    scene.upkeep.run()
    assert scene.value("executions", state="due") == 4


def test_a_source_that_cannot_say_how_much_waits_stops_nothing(store: Store) -> None:
    source = Waiting(failures=[SourceError("it is away")])
    scene = Scene(store, source)

    scene.upkeep.run()

    assert scene.upkeep.source_failed == "it is away"
    assert scene.value("store_bytes") > 0
    source.failures.clear()
    scene.now = SAMPLE_SECONDS
    scene.upkeep.run()
    assert scene.upkeep.source_failed == ""


def test_what_failed_slowly_is_looked_at_again_soon(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody shall be unready for half an hour because a queue hung for two minutes."""
    source = Waiting()
    scene = Scene(store, source)

    def hang(what: Exception) -> Backlog:
        scene.now += 100
        raise what

    with monkeypatch.context() as patched:
        patched.setattr(source, "backlog", lambda: hang(SourceError("it is away")))
        patched.setattr(store, "status", lambda: hang(StoreError("it is away, too")))
        with pytest.raises(StoreError):
            scene.upkeep.run()
    assert scene.upkeep.source_failed
    assert scene.upkeep.store_failed

    scene.now += SAMPLE_SECONDS
    scene.upkeep.run()
    assert scene.upkeep.source_failed == ""
    assert scene.upkeep.store_failed == ""


def test_counting_takes_a_small_part_of_the_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a store that is only being counted has not failed."""
    scene = Scene(store, Waiting())
    real, said = store.status, []

    def count() -> Any:
        scene.now += 10
        said.append(scene.upkeep.store_failed)
        return real()

    monkeypatch.setattr(store, "status", count)
    for scene.now in (0.0, 10 + 10 * SHARE - 1, 10 + 10 * SHARE):
        scene.upkeep.run()

    assert said == ["", ""]


def test_who_may_not_ask_how_much_waits_says_so_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It is nothing that the work depends on."""
    scene = Scene(store, Waiting(failures=[ConfigError("grant sqs:GetQueueAttributes")]))

    for scene.now in (0.0, SAMPLE_SECONDS, 2 * SAMPLE_SECONDS):
        scene.upkeep.run()

    assert caplog.text.count("grant sqs:GetQueueAttributes") == 1
    assert scene.upkeep.source_failed == ""


def test_a_source_is_checked_once_it_answers(store: Store) -> None:
    """What will make trouble later is said at the start."""
    source = Waiting(failures=[SourceError("it is away")])
    scene = Scene(store, source)

    for scene.now in (0.0, SAMPLE_SECONDS, 2 * SAMPLE_SECONDS, 3 * SAMPLE_SECONDS):
        scene.upkeep.run()
        source.failures.clear()

    assert source.checks == 2


@pytest.mark.parametrize(
    ("waits", "reason"), [({"due": 11}, "backlog"), ({"glue": 11}, "targets"), ({"glue": 10}, "")]
)
def test_messages_are_taken_slowly_where_too_much_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch, waits: dict[str, int], reason: str
) -> None:
    """And fast again when it has become less."""
    scene = Scene(store, Waiting(), max_backlog=10)
    with monkeypatch.context() as patched:
        pretend(store, patched, **waits)
        scene.upkeep.run()

        assert bool(scene.intake.far_behind) == bool(reason)
        if reason:
            assert scene.value("intake_paused", reason=reason) == 1

    scene.now = SAMPLE_SECONDS
    scene.upkeep.run()
    assert scene.intake.far_behind == ""
    assert scene.value("intake_paused", reason="backlog") == 0
    assert scene.value("intake_paused", reason="targets") == 0


def test_a_line_each_minute_says_what_was_done(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only since the last one, and what waits for whom and why."""
    caplog.set_level(logging.INFO, LOG)
    pretend(store, monkeypatch, due=2, glue=3)
    scene = Scene(store, Waiting())
    scene.report.count("messages", 7)
    assert scene.breaker.enter()
    scene.breaker.failed("401 Unauthorized", lasting=True)

    scene.now = SUMMARY_SECONDS
    scene.upkeep.run()
    scene.now += SUMMARY_SECONDS
    scene.upkeep.run()

    first, second = [one for one in caplog.records if one.action == "summary"]  # type: ignore[attr-defined]
    assert first.getMessage() == (
        "In the last minute: 7 messages received. Waiting: 0 executions that run or settle, "
        "2 to be built, 3 to be told to glue (paused: 401 Unauthorized)"
    )
    assert "In the last minute: nothing." in second.getMessage()


def test_what_is_given_up_for_its_age_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that somebody wanted goes in silence; but nobody reads thousands of lines."""
    lost = ExecutionId(project="shop", domain="production", name="f1")
    unsettled = (Unsettled(lost, "glue", "not delivered within 30 days"),) * 25
    cleaned = Cleaned(removed={"events": 40}, unsettled=unsettled, more=True)
    monkeypatch.setattr(store, "clean", lambda: cleaned)
    scene = Scene(store, Waiting())

    assert scene.upkeep.run()

    assert "Gave up shop/production/f1 for glue for its age" in caplog.text
    assert "Gave up 15 more" in caplog.text
    assert scene.value("removed_total", what="events") == 40
