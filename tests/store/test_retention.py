"""What is old goes, in small steps; what somebody still needs stays."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import delete, func, select, update

from flytelineage.entities import DatasetId
from flytelineage.errors import StoreError
from flytelineage.store import Cleaned, DeliveryLease, Refused, SeenEdges, Store, retention
from flytelineage.store import schema as tables
from flytelineage.store.clock import SteadyClock
from flytelineage.store.watermark import Watermark
from tests.store.conftest import (
    LEASE,
    TARGET,
    Clock,
    OpenStore,
    Story,
    at_once,
    claim,
    event,
    execution,
)

DAY = 86_400.0


def passed(store: Store) -> Cleaned:
    """A whole pass: everything that its steps did."""
    removed: dict[str, int] = {}
    unsettled: tuple[Any, ...] = ()
    for _ in range(1000):
        cleaned = store.clean()
        for what, count in cleaned.removed.items():
            removed[what] = removed.get(what, 0) + count
        unsettled += cleaned.unsettled
        if not cleaned.more:
            return Cleaned(removed, unsettled)
    raise AssertionError("the pass does not end")


def rows(store: Store, table: Any) -> int:
    count = select(func.count()).select_from(table)
    return int(store._rooms.database.read(lambda c: c.scalar(count)) or 0)


def told(story: Story, name: str, *claims: Any) -> None:
    """An execution that is built and told."""
    story.build(name)
    assert story.deliver(*claims) == name


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_clock_that_is_set_forward_makes_nothing_old(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be wrong: what is removed for it does not come back."""
    store = open_store()
    wall, passed_by = 1_800_000_000.0, 1000.0
    database = store._rooms.database
    monkeypatch.setattr(database, "_clock", None)
    database.steady = SteadyClock(lambda: to_us_of(wall), lambda: to_us_of(passed_by))
    monkeypatch.setattr(database, "elapsed", lambda: passed_by)
    store.record([event("a", terminal=True)], [Refused("x", "bad")])
    assert passed(store) == Cleaned()

    wall += 400 * DAY
    for moment in (1001.0, 5000.0, 1001.0 + DAY - 1):
        passed_by = moment
        assert passed(store) == Cleaned()
    assert rows(store, tables.quarantine) == 1
    assert caplog.text.count("was set forward by 9600 hours") == 1

    passed_by = 1001.0 + DAY
    assert passed(store).removed["quarantine"] == 1


def to_us_of(seconds: float) -> int:
    return int(seconds * 1_000_000)


class TestEvents:
    """They go once everybody was told of their execution."""

    def test_of_a_settled_execution(self, story: Story, clock: Clock) -> None:
        """They go when they are old; the lineage stays."""
        told(story, "a")
        clock.advance(29 * DAY)
        early = passed(story.store)
        clock.advance(2 * DAY)

        late = passed(story.store)

        assert (early.removed, late.removed, late.unsettled) == ({}, {"events": 1}, ())
        assert list(story.store.events(execution("a"))) == []
        assert rows(story.store, tables.lineage) == 1

    def test_for_ever(self, open_store: OpenStore, clock: Clock) -> None:
        """0 keeps them, and all else."""
        store = open_store(
            keep_events=0, keep_lineage=0, keep_deliveries=0, keep_runs=0, keep_quarantine=0
        )
        story = Story(store, clock)
        told(story, "a")
        story.build("b")
        store.record([], [Refused("x", "bad")])
        clock.advance(10_000 * DAY)

        assert passed(store) == Cleaned()

    def test_with_young_ones(self, story: Story, clock: Clock) -> None:
        """All of them stay until the last one is old."""
        told(story, "a")
        clock.advance(29 * DAY)
        story.build("a", "later")
        story.deliver()
        clock.advance(2 * DAY)

        assert passed(story.store).removed == {}
        assert len(list(story.store.events(execution("a")))) == 2

    def test_of_an_execution_that_runs(self, story: Story, clock: Clock) -> None:
        """They stay for as long as anything is known of it: it may still end."""
        story.store.record([event("a")])
        clock.advance(300 * DAY)
        early = passed(story.store)
        clock.advance(100 * DAY)

        late = passed(story.store)

        assert early == Cleaned()
        assert late.removed == {"events": 1, "runs": 1}
        assert [(one.execution, one.reason) for one in late.unsettled] == [
            (execution("a"), "given up: the event that ends it never came")
        ]
        assert story.store.claim_build(1, lease_seconds=LEASE) == []

    def test_of_an_execution_that_is_due(self, story: Story, clock: Clock) -> None:
        """Nothing that was not built goes silently."""
        story.end("a")
        clock.advance(40 * DAY)

        assert passed(story.store) == Cleaned()
        clock.advance(400 * DAY)
        (lost,) = passed(story.store).unsettled
        assert lost.reason == "given up: it could not be built"

    def test_in_small_steps(
        self, story: Story, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A million events are no long transaction."""
        monkeypatch.setattr(retention, "STEP_ROWS", 3)
        story.store.record([event("a") for _ in range(10)])
        story.store.record([event("b")])
        told(story, "a")
        clock.advance(31 * DAY)

        steps = [story.store.clean().removed.get("events") for _ in range(6)]

        assert steps == [None, 3, 3, 3, 2, None]
        assert len(list(story.store.events(execution("b")))) == 1

    def test_late_ones(self, story: Story, clock: Clock) -> None:
        """They are stored, and never make due what would be built of them alone."""
        told(story, "a")
        clock.advance(31 * DAY)
        passed(story.store)

        assert story.store.record([event("a", terminal=True)]) == 1

        clock.advance(DAY)
        assert story.store.claim_build(9, lease_seconds=LEASE) == []
        assert not story.store.rebuild(execution("a"))
        clock.advance(31 * DAY)
        assert passed(story.store).removed == {"events": 1}

    def test_of_who_waits(self, story: Story, clock: Clock) -> None:
        """A location that appears later wakes nobody whose events are gone."""
        story.build("a", waiting=frozenset({"s3://b/x"}))
        story.deliver()
        clock.advance(31 * DAY)
        passed(story.store)

        story.build("b", locations={"s3://b/x": DatasetId(platform="s3", name="b/x")})

        assert rows(story.store, tables.waiting) == 0
        assert story.store.claim_build(9, lease_seconds=LEASE) == []


class TestUndelivered:
    """What nobody took is given up, and people hear of it."""

    def test_after_the_events_are_old(self, story: Story, clock: Clock) -> None:
        """With the last error."""
        story.build("a")
        story.store.settle_later(story.claim(), 0, "503 from the catalogue")
        clock.advance(31 * DAY)

        cleaned = passed(story.store)

        why = "given up: it could not be told for 31 days; the last error: 503 from the catalogue"
        assert [(one.execution, one.target, one.reason) for one in cleaned.unsettled] == [
            (execution("a"), TARGET, why)
        ]
        status = story.store.status()
        assert status["deliveries"][TARGET]["given_up"] == 1
        assert status["errors"][0]["error"] == why
        assert cleaned.removed == {"events": 1}

    def test_when_the_store_fails_in_between(
        self, story: Story, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those before are named, and the others come later."""
        story.build("a")
        story.build("b")
        clock.advance(31 * DAY)
        works = Watermark.give_up

        def fails(mark: Watermark, lease: DeliveryLease, error: str) -> bool:
            if lease.execution == execution("b"):
                raise StoreError("gone")
            return works(mark, lease, error)

        with monkeypatch.context() as failing:
            failing.setattr(Watermark, "give_up", fails)
            (first,) = passed(story.store).unsettled
        clock.advance(DAY)

        (second,) = passed(story.store).unsettled

        assert [first.execution, second.execution] == [execution("a"), execution("b")]

    def test_told_by_hand_after_all(self, story: Story, clock: Clock) -> None:
        """The lineage is there for longer than the events."""
        story.build("a")
        clock.advance(31 * DAY)
        passed(story.store)

        assert story.store.retry(execution=execution("a")) == 1

        clock.advance(DAY)
        assert passed(story.store).unsettled == ()
        assert story.deliver(claim()) == "a"

    def test_while_somebody_tells_it(self, story: Story, clock: Clock) -> None:
        """Who holds the lease may settle it."""
        story.build("a")
        clock.advance(31 * DAY)
        lease = story.claim()

        assert passed(story.store) == Cleaned()
        assert story.store.settle(lease, [], [])

    def test_held(self, story: Story, clock: Clock) -> None:
        """It waits for somebody who asks, for as long as lineage is kept."""
        story.build("a", held=True)
        clock.advance(60 * DAY)
        early = passed(story.store)
        clock.advance(31 * DAY)

        (lost,) = passed(story.store).unsettled

        assert early == Cleaned()
        assert lost.reason == "given up: it was held for 91 days"

    def test_what_it_displaced(self, story: Story, clock: Clock) -> None:
        """It is told again by whom it was taken from."""
        told(story, "a", claim())
        story.build("b", at=1)
        lease = story.claim()
        story.prepare(lease, claim(1, "B"))
        story.store.settle_later(lease, 0, "reset")
        clock.advance(31 * DAY)

        (lost,) = passed(story.store).unsettled

        assert lost.execution == execution("b")
        assert story.due() == ["a"]


class TestLineage:
    """What is built stays for longer than the events."""

    def test_that_holds_nothing(self, story: Story, clock: Clock) -> None:
        """It goes with its deliveries, at last the execution itself."""
        told(story, "a")
        clock.advance(91 * DAY)
        passed(story.store)
        assert (rows(story.store, tables.lineage), rows(story.store, tables.delivery)) == (0, 0)
        assert story.store.seen([execution("a")])
        clock.advance(300 * DAY)

        assert passed(story.store).removed == {"runs": 1}
        assert not story.store.seen([execution("a")])

    def test_that_holds_a_watermark(self, story: Story, clock: Clock) -> None:
        """It may have to be told again, whatever its age."""
        told(story, "old", claim())
        told(story, "new", claim(1, "B"))
        clock.advance(1000 * DAY)

        assert passed(story.store).removed == {
            "events": 2, "lineage": 1, "deliveries": 1, "runs": 1,
        }  # fmt: skip
        late = told_over(story)
        assert late == ["new"]

    def test_that_is_next_in_line(self, story: Story, clock: Clock) -> None:
        """If a newer execution gives up, it is told again."""
        told(story, "a", claim())
        clock.advance(200 * DAY)
        story.build("b", at=1)
        lease = story.claim()
        story.prepare(lease, claim(1, "B"))

        assert passed(story.store).removed == {"events": 1}
        assert story.store.give_up(lease, "no")
        assert story.due() == ["a"]

    def test_that_is_due(self, story: Story, clock: Clock) -> None:
        """It was asked for again."""
        told(story, "a")
        clock.advance(91 * DAY)
        assert story.store.retry(execution=execution("a"), states=("delivered",)) == 1

        assert passed(story.store) == Cleaned()
        assert story.deliver() == "a"

    def test_that_goes_while_it_is_asked_for(
        self, story: Story, open_store: OpenStore, clock: Clock
    ) -> None:
        """Either it is told, or nothing is due."""
        for name in "abcdefgh":
            told(story, name)
        clock.advance(91 * DAY)
        stores = [open_store() for _ in range(3)]

        at_once(
            *(lambda store=store: passed(store) for store in stores[:2]),
            lambda: stores[2].retry(states=("delivered",)),
        )

        due = story.store.claim_delivery(TARGET, 100, lease_seconds=LEASE)
        assert len(due) == rows(story.store, tables.lineage)


class TestWithoutContent:
    """A delivery of which there is nothing to tell holds up no other."""

    def test_lineage_that_is_gone(self, story: Story) -> None:
        """Whoever took it, the others are told."""
        story.build("a")
        story.build("b")
        gone = delete(tables.lineage).where(tables.lineage.c.execution.endswith("/a"))
        story.store._rooms.database.write(lambda connection: connection.execute(gone))

        assert [lease.execution.name for lease in story.claim_all()] == ["b"]

        (error,) = story.store.status()["errors"]
        assert (error["state"], error["error"]) == ("given_up", "given up: its lineage is gone")

    def test_lineage_that_cannot_be_read(self, story: Story, clock: Clock) -> None:
        """It is built anew as long as there are events to build it of."""
        told(story, "a")
        clock.advance(31 * DAY)
        passed(story.store)
        story.store.retry(states=("delivered",))
        broken = update(tables.lineage).values(body="[]")
        story.store._rooms.database.write(lambda connection: connection.execute(broken))

        assert story.claim_all() == []

        (error,) = story.store.status()["errors"]
        assert error["error"] == "given up: its lineage cannot be read, and its events are gone"
        assert not story.store.work_left()


def told_over(story: Story) -> list[str]:
    """Who is due after an older execution told something over a newer one."""
    story.build("late", at=0.5)
    lease = story.claim()
    assert story.store.settle(lease, [claim(0.5, "C")], [])
    return story.due()


class TestOthers:
    """Tables that would grow for ever."""

    def test_quarantine(self, story: Story, clock: Clock) -> None:
        """What came again lately stays."""
        story.store.record([], [Refused("a", "bad"), Refused("b", "bad")])
        clock.advance(20 * DAY)
        story.store.record([], [Refused("a", "bad")])
        clock.advance(11 * DAY)

        assert passed(story.store).removed == {"quarantine": 1}
        assert len(story.store.quarantined(9)) == 1

    def test_questions(self, story: Story, clock: Clock) -> None:
        """FlyteAdmin may be asked again after so long."""
        story.store.note_asked(["identity:x"])
        clock.advance(31 * DAY)

        passed(story.store)

        assert story.store.asked(["identity:x"]) == {}

    @pytest.mark.parametrize(
        ("days", "left"), [(0, {"s3://b/x", "pipeline:p"}), (9, {"pipeline:p"})]
    )
    def test_locations(
        self, open_store: OpenStore, clock: Clock, days: float, left: set[str]
    ) -> None:
        """They are kept for ever unless somebody says otherwise; a known pipeline always."""
        story = Story(open_store(keep_locations=days), clock)
        named = DatasetId(platform="s3", name="b/x")
        story.build("a", locations={"s3://b/x": named, "pipeline:p": None})
        story.deliver()
        clock.advance(10 * DAY)

        passed(story.store)

        assert story.store.locations(["s3://b/x", "pipeline:p"]).keys() == left


class TestPasses:
    """When it is done, and by whom."""

    def test_rest(self, story: Story, clock: Clock) -> None:
        """After a pass nothing is looked at for an hour."""
        passed(story.store)
        story.store.record([], [Refused("a", "bad")])
        clock.advance(3000)
        assert not story.store.clean().more
        clock.advance(601)

        assert story.store.clean().more

    def test_two_processes(self, story: Story, open_store: OpenStore, clock: Clock) -> None:
        """Everything goes once."""
        for name in "abcdef":
            told(story, name)
        clock.advance(91 * DAY)
        stores = [open_store() for _ in range(3)]

        found = at_once(*(lambda store=store: passed(store) for store in stores))

        found.append(passed(open_store()))  # what one had, another one passed over
        assert sum(one.removed.get("events", 0) for one in found) == 6
        assert sum(one.removed.get("lineage", 0) for one in found) == 6
        assert rows(story.store, tables.event) == 0

    @pytest.mark.parametrize("url", ["sqlite"], indirect=True)
    def test_large_stores(self, story: Story, clock: Clock) -> None:
        """What goes is found by its key: looking through a table at each step takes for ever."""
        told(story, "a", claim())
        told(story, "b", claim(1, "B"))
        edges = SeenEdges("task:t", "v1", clock.now, {"x": "{}"})
        story.build("c")
        story.store.widen(story.claim(), [edges], window_seconds=60)
        clock.advance(400 * DAY)
        changes: list[tuple[str, Any]] = []
        database = story.store._rooms.database

        def note(_c: Any, _u: Any, text: str, given: Any, _x: Any, many: bool) -> None:
            if text.startswith(("DELETE", "UPDATE")):
                changes.append((text, given[0] if many else given))

        sqlalchemy.event.listen(database.engine, "before_cursor_execute", note)
        passed(story.store)
        sqlalchemy.event.remove(database.engine, "before_cursor_execute", note)

        plans = {
            row.detail
            for text, given in changes
            for row in database.read(
                lambda c, text=text, given=given: c.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {text}", given
                ).all()
            )
        }
        assert {text.split()[2] for text, _ in changes if text.startswith("DELETE")} >= {
            "delivery", "event", "lineage", "seen_edge",
        }  # fmt: skip
        assert not [plan for plan in plans if plan.startswith("SCAN") and "CONSTANT" not in plan]

    def test_dry_run(self, story: Story, clock: Clock) -> None:
        """What would go is counted, and nothing goes."""
        told(story, "a")
        story.build("b")
        story.store.record([], [Refused("x", "bad")])
        clock.advance(91 * DAY)

        found = story.store.old()

        assert found == {
            "undelivered": 1, "events": 1, "lineage": 1, "deliveries": 1, "quarantine": 1,
        }  # fmt: skip
        assert rows(story.store, tables.event) == 2

    def test_vacuum(self, story: Story) -> None:
        """What is left is there afterwards."""
        told(story, "a", claim())
        story.store.quarantine_release([])

        story.store.vacuum()

        told(story, "b", claim(1, "B"))
        assert rows(story.store, tables.lineage) == 2
