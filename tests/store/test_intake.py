"""Events are stored once, and say when their execution is due."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy

from flytelineage.entities import ExecutionId
from flytelineage.events import Event, body
from flytelineage.store import Refused, Store
from flytelineage.store.intake import PAGE, PAGE_BYTES
from tests.store.conftest import (
    LEASE,
    T0,
    Clock,
    OpenStore,
    Story,
    at_once,
    built,
    deadlocks,
    event,
    execution,
)


def names(store: Store, limit: int = 100) -> list[str]:
    return [lease.execution.name for lease in store.claim_build(limit, lease_seconds=LEASE)]


# ------------------------------------------------------------------------ events


def test_an_event_comes_out_as_it_went_in(store: Store) -> None:
    """Nothing of an event is lost, its bytes least of all."""
    one = event(payload=bytes(range(256)), at=0.123456, terminal=True)

    store.record([one])

    assert list(store.events(execution())) == [one]


def test_large_events_are_read_a_few_at_a_time(store: Store) -> None:
    """A hundred of the largest would fill a process's memory."""
    small = [event(at=second) for second in range(PAGE)]
    large = [event(at=second, payload=bytes([second]) * PAGE_BYTES) for second in range(3)]
    for some in (small, large, [event()]):
        store.record(some)
    pages: list[int] = []

    read = store._rooms.intake._page
    with pytest.MonkeyPatch.context() as watched:
        watched.setattr(
            store._rooms.intake,
            "_page",
            lambda *of: (page := read(*of), pages.append(len(page)))[0],
        )
        found = list(store.events(execution()))

    assert pages == [PAGE, 1, 1, 1, 1, 0]
    assert len({one.hash for one in found}) == PAGE + 4


def test_an_event_seen_twice_is_stored_once(store: Store) -> None:
    """A duplicate vanishes, in the same group and in a later one."""
    one = event()

    counts = [store.record([one, one]), store.record([one, event()])]

    assert counts == [1, 1]
    assert len(list(store.events(execution()))) == 2


def test_duplicates_among_what_is_new_are_told_apart(store: Store) -> None:
    """Also where most is new, again and again, in groups with and without duplicates."""
    first, second, third = event(), event(), event()
    groups = [[first], [first, second], [second, third], [event()], [third, event()], []]

    counts = [store.record(group) for group in groups]

    assert counts == [1, 1, 1, 1, 1, 0]
    assert len(list(store.events(execution()))) == 5


def test_a_duplicate_does_not_raise_the_revision(store: Store, clock: Clock) -> None:
    """What is known already does not lead to another build."""
    one = event(terminal=True)
    store.record([one])

    store.record([one])

    clock.advance(store.min_settle)
    assert [lease.revision for lease in store.claim_build(5, lease_seconds=LEASE)] == [1]


def test_an_execution_is_read_as_a_stream(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of events comes out page by page, and no other execution's."""
    monkeypatch.setattr("flytelineage.store.intake.PAGE", 7)
    mine = [event("a") for _ in range(20)]
    store.record([*mine, *(event("b") for _ in range(20))])

    read = list(store.events(execution("a")))

    assert sorted(one.hash for one in read) == sorted(one.hash for one in mine)


def test_export_gives_what_was_recorded(store: Store) -> None:
    """What is exported can be replayed."""
    one = event()
    store.record([one])

    assert [body(event) for event in store.export(execution())] == [body(one)]


def test_an_instance_is_part_of_the_key(store: Store) -> None:
    """The same name in two deployments is two executions, whatever the instance holds."""
    here = ExecutionId(project="p", domain="d", name="n", instance="eu/west")

    one = event(terminal=True)
    store.record(
        [Event(**{name: getattr(one, name) for name in one.__slots__} | {"execution": here})]
    )

    assert store.seen([here, ExecutionId(project="p", domain="d", name="n")]) == {here}
    assert store.unbuilt() == [here]


def test_only_executions_with_events_were_seen(store: Store) -> None:
    """An execution that others mention is not one that is stored."""
    store.record([event("a")])

    assert store.seen([execution("a"), execution("b")]) == {execution("a")}
    assert store.seen([]) == set()


def test_replicas_record_the_same_duplicates_at_once(open_store: OpenStore) -> None:
    """Shuffled groups of the same events: no deadlock, each event stored once."""
    events = [event(name, terminal=True) for name in "abcdefgh" for _ in range(25)]
    stores = [open_store() for _ in range(4)]
    locked = deadlocks(stores)

    def record(number: int) -> int:
        mine = random.Random(number).sample(events, len(events))
        groups = (mine[at : at + 50] for at in range(0, len(mine), 50))
        return sum(stores[number].record(group) for group in groups)

    counts = at_once(*(partial(record, number) for number in range(len(stores))))

    assert sum(counts) == len(events)
    assert locked == []
    assert {len(list(stores[0].events(execution(name)))) for name in "abcdefgh"} == {25}


# --------------------------------------------------------------------------- due


def test_an_ended_execution_is_due_after_it_settled(store: Store, clock: Clock) -> None:
    """Stragglers get some time."""
    store.record([event(terminal=True)])

    clock.advance(store.min_settle - 1)
    early = names(store)
    clock.advance(1)

    assert (early, names(store)) == ([], ["a"])


def test_a_straggler_is_waited_for_anew(store: Store, clock: Clock) -> None:
    """Whatever comes after the end puts the build off by the settle time."""
    store.record([event(terminal=True)])
    clock.advance(store.min_settle - 1)

    store.record([event()])

    clock.advance(store.min_settle - 1)
    early = names(store)
    clock.advance(1)
    assert (early, names(store)) == ([], ["a"])


def test_an_execution_that_never_ends_is_due_after_it_idled(store: Store, clock: Clock) -> None:
    """Without a terminal event somebody has to look one day."""
    store.record([event()])

    clock.advance(store.idle - 1)
    early = names(store)
    clock.advance(1)

    (lease,) = store.claim_build(1, lease_seconds=LEASE)
    assert early == []
    assert lease.terminal_at is None


def test_a_lease_says_when_it_began_and_ended(store: Store, clock: Clock) -> None:
    """The start is the earliest event, the end when its event came, by the store's clock."""
    store.record([event(at=-30)])
    clock.advance(5)
    store.record([event(at=-60), event(at=-1, terminal=True)])
    clock.advance(store.min_settle)

    (lease,) = store.claim_build(1, lease_seconds=LEASE)

    assert lease.started_at == T0 - timedelta(seconds=60)
    assert lease.terminal_at == T0 + timedelta(seconds=5)
    assert lease.due_since == lease.claimed_at == clock.now


def test_a_second_end_does_not_move_the_first(store: Store, clock: Clock) -> None:
    """The same end in another encoding is no news about when it came."""
    store.record([event(terminal=True)])
    clock.advance(5)
    store.record([event(terminal=True)])
    clock.advance(store.min_settle)

    (lease,) = store.claim_build(1, lease_seconds=LEASE)

    assert lease.terminal_at == T0


def test_a_replay_builds_the_oldest_first(store: Store) -> None:
    """Nothing settles in a replay, and what never ended is not built."""
    store.replaying = True
    store.record([event("new", at=-10, terminal=True), event("open", at=-99)])
    store.record([event("old", at=-20, terminal=True)])
    store.record([event("new", at=-30)])

    assert store.work_left()
    assert names(store) == ["new", "old"]
    assert execution("open") in store.unbuilt()


def test_what_did_not_end_leaves_no_work_to_a_replay(store: Store, clock: Clock) -> None:
    """A replay ends although executions stay unbuilt."""
    store.replaying = True
    store.record([event("open")])
    clock.advance(store.idle)

    assert not store.work_left()
    assert store.next_due_in() is None


def test_a_start_in_the_future_is_due_now_in_a_replay(store: Store) -> None:
    """Another machine's clock may run ahead; that is no reason to wait."""
    store.replaying = True

    store.record([event(at=3600, terminal=True)])
    store.record([event(at=1800)])

    assert names(store) == ["a"]


def test_swarms_of_duplicates_are_looked_at_before_anything_is_inserted(store: Store) -> None:
    """A group that was stored in the hope that it is new is stored twice when it is not."""
    known = [event(), event()]
    store.record(known)
    store.record(known)
    inserts: list[str] = []

    def note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        inserts.extend([statement] if statement.startswith("INSERT INTO event") else [])

    sqlalchemy.event.listen(store._rooms.database.engine, "before_cursor_execute", note)
    store.record(known)
    store.record(known)

    assert inserts == []
    store.record([event()])
    store.record([event()])
    assert len(inserts) == 2


# -------------------------------------------------------------------- quarantine


def test_a_refused_body_is_kept_with_its_reason(store: Store, clock: Clock) -> None:
    """What could not be read is not lost, whatever is in it."""
    hostile = Refused("a\0b\ud800", reason="no JSON\0", message_id="m1", source="sqs")

    assert store.record([], [hostile]) == 0

    (kept,) = store.quarantined(10)
    assert (kept.reason, kept.message_id, kept.source) == ("no JSON\ufffd", "m1", "sqs")
    assert (kept.count, kept.first_seen) == (1, clock.now)
    assert store.quarantine_body(kept.id) == hostile.body


def test_a_body_that_comes_again_is_counted(store: Store, clock: Clock) -> None:
    """The same body is kept once."""
    store.record([], [Refused("x", "why"), Refused("x", "why")])
    clock.advance(60)
    store.record([], [Refused("x", "why now"), Refused("y", "why")])

    kept = {store.quarantine_body(one.id): one for one in store.quarantined(10)}

    assert {body: one.count for body, one in kept.items()} == {"x": 3, "y": 1}
    assert kept["x"].last_seen - kept["x"].first_seen == timedelta(seconds=60)
    assert kept["x"].reason == "why now"


def test_a_replayed_body_leaves_quarantine(store: Store) -> None:
    """Only what is named goes."""
    store.record([], [Refused("x", "why"), Refused("y", "why")])
    (gone,) = [one.id for one in store.quarantined(10) if store.quarantine_body(one.id) == "x"]

    assert store.quarantine_release([gone]) == 1

    assert [store.quarantine_body(one.id) for one in store.quarantined(10)] == ["y"]


@pytest.mark.parametrize("place", range(5))
def test_one_event_that_is_refused_does_not_sink_the_others(store: Store, place: int) -> None:
    """The group is taken apart, and the culprit ends in quarantine with its body."""
    events = [event() for _ in range(4)]
    odd = event("lone-\ud800-surrogate")
    events.insert(place, odd)

    new = store.record(events, [Refused("z", "unreadable")])

    bodies = {store.quarantine_body(one.id): one for one in store.quarantined(10)}
    assert new == 4
    assert len(list(store.events(execution()))) == 4
    assert set(bodies) == {body(odd), "z"}
    assert "refuses" in bodies[body(odd)].reason
    assert {one.count for one in bodies.values()} == {1}


def test_refused_events_are_counted_for_good(store: Store) -> None:
    """Neither duplicates nor what is new after them makes anybody forget the count."""
    known = event()
    store.record([known, event("lone-\ud800-surrogate")])
    store.record([known])

    store.record([event()])

    assert store.culprits == 1


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_postgresql_refuses_a_nul_and_nothing_else_is_lost(store: Store) -> None:
    """A text with NUL is data that one database cannot hold."""
    store.record([event(), event("n\0ul"), event()])

    assert len(list(store.events(execution()))) == 2
    assert len(store.quarantined(10)) == 1


def test_a_late_event_leads_to_another_build(story: Story, store: Store, clock: Clock) -> None:
    """A build that is finished is not the last word."""
    story.build("a")
    store.record([event("a")])
    clock.advance(store.min_settle)

    lease = story.claim_build()

    assert lease.revision == 2
    assert store.finish_build(lease, built(lease), [])
    assert not store.claim_build(1, lease_seconds=LEASE)


# --------------------------------------------------------- answers of FlyteAdmin


def test_an_answer_leads_to_a_build_like_an_event(store: Store, clock: Clock) -> None:
    """What was built without it is built again."""
    store.record([event(terminal=True)])
    clock.advance(store.min_settle)
    (lease,) = store.claim_build(1, lease_seconds=LEASE)
    store.finish_build(lease, built(lease), [])

    store.record([event(kind="execution")])

    assert names(store) == []
    clock.advance(store.min_settle)
    assert names(store) == ["a"]


@pytest.mark.parametrize("order", [1, -1])
def test_an_answer_is_no_start(store: Store, clock: Clock, order: int) -> None:
    """An execution began with its first event, whenever FlyteAdmin was asked."""
    store.record([event(at=30, terminal=True), event(at=5, kind="execution")][::order])

    clock.advance(store.min_settle)
    (lease,) = store.claim_build(1, lease_seconds=LEASE)
    assert lease.started_at == T0 + timedelta(seconds=30)


def test_a_start_that_comes_after_the_answer_counts(store: Store, clock: Clock) -> None:
    """Also where the answer came in a group of its own."""
    store.record([event(at=5, kind="execution")])

    store.record([event(at=30, terminal=True)])

    clock.advance(store.min_settle)
    (lease,) = store.claim_build(1, lease_seconds=LEASE)
    assert lease.started_at == T0 + timedelta(seconds=30)


def test_an_answer_alone_is_no_execution_that_was_seen(store: Store, clock: Clock) -> None:
    """Nobody waits for what it wrote; it is looked at when it has been idle."""
    store.record([event(kind="execution")])

    assert store.seen([execution()]) == set()
    assert store.unbuilt() == [execution()]
    assert names(store) == []
    clock.advance(store.idle)
    (lease,) = store.claim_build(1, lease_seconds=LEASE)
    assert lease.terminal_at is None


def test_an_answer_alone_is_never_due_in_a_replay(open_store: OpenStore, clock: Clock) -> None:
    """It does not say that the execution ended, even if it did."""
    store = open_store(replaying=True)

    store.record([event(kind="execution")])

    clock.advance(store.idle)
    assert names(store) == []
    assert store.next_due_in() is None


def test_executions_that_ended(store: Store) -> None:
    """What a backfill need not ask for again."""
    store.record([event("a", terminal=True), event("b"), event("c", kind="execution")])

    assert store.ended([execution(name) for name in "abcd"]) == {execution("a")}
