"""A backlog of deliveries: the newest of a pipeline first, and what keeps being lost."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import sqlalchemy

from flytelineage.entities import PipelineId
from flytelineage.store import Store
from flytelineage.store.deliveries import _newest
from tests.store.conftest import (
    LEASE,
    PIPELINE,
    T0,
    TARGET,
    Clock,
    OpenStore,
    Pause,
    Story,
    at_once,
    claim,
    overlapping,
)

OTHER = PipelineId(project="shop", domain="production", name="app.other")


@pytest.fixture
def backlog(story: Story) -> Story:
    """Four executions of one pipeline and one of another, none of them told."""
    for at, name in enumerate("abcd"):
        story.build(name, at=at, pipeline=PIPELINE)
    story.build("x", pipeline=OTHER)
    return story


def names(store: Store, limit: int) -> list[str]:
    leases = store.claim_delivery(TARGET, limit, lease_seconds=LEASE)
    return [lease.execution.name for lease in leases]


# ------------------------------------------------------------------------- order


def test_the_newest_of_a_pipeline_comes_first(backlog: Story, store: Store) -> None:
    """Its turn is that of the oldest, so that nobody is overtaken for ever."""
    assert [names(store, 1) for _ in range(5)] == [["d"], ["c"], ["b"], ["a"], ["x"]]


def test_a_busy_pipeline_leaves_the_others_their_turn(
    backlog: Story, store: Store, clock: Clock
) -> None:
    """As much of it comes as is told, and all of that is newer than what it has to tell."""
    turns = []
    for at in range(10, 18):
        clock.advance(1)
        backlog.build(f"n{at}", at=at, pipeline=PIPELINE)
        (lease,) = store.claim_delivery(TARGET, 1, lease_seconds=LEASE)
        store.settle(lease, [], [])
        turns.append(lease.execution.name)

    assert turns == ["n10", "n11", "n12", "n13", "x", "n15", "n16", "n17"]


def test_who_wants_order_gets_it(backlog: Story, store: Store) -> None:
    """A journal is read from its beginning, and its last line is taken for the newest."""
    turns = []
    for _ in range(5):
        (lease,) = store.claim_delivery(TARGET, 1, lease_seconds=LEASE, in_order=True)
        store.settle(lease, [], [])
        turns.append(lease.execution.name)

    assert turns == ["a", "b", "c", "d", "x"]


def test_who_wants_order_waits_for_the_one_before(
    backlog: Story, store: Store, clock: Clock
) -> None:
    """Or two threads would write in any order; other pipelines need not wait."""

    def names_in_order() -> list[str]:
        leases = store.claim_delivery(TARGET, 1, lease_seconds=LEASE, in_order=True)
        return [lease.execution.name for lease in leases]

    at_work = [names_in_order() for _ in range(3)]
    clock.advance(LEASE + 1)

    assert at_work == [["a"], ["x"], []]
    assert names_in_order() == ["a"]  # whoever had it is gone


def test_several_at_once_are_the_newest_of_each_pipeline(backlog: Story, store: Store) -> None:
    """Every pipeline has as many turns as it would have had by age."""
    assert names(store, 3) == ["d", "c", "b"]
    assert names(store, 9) == ["a", "x"]


def test_started_later_is_newer_whatever_was_built_first(story: Story, store: Store) -> None:
    """A late build of an old execution tells nothing before the newer one does."""
    story.build("new", at=9, pipeline=PIPELINE)
    story.build("old", at=1, pipeline=PIPELINE)

    assert [names(store, 1), names(store, 1)] == [["new"], ["old"]]


def test_what_backs_off_is_not_hurried(backlog: Story, store: Store, clock: Clock) -> None:
    """The newest that is due comes first, not the newest that there is."""
    store.settle_later(backlog.claim(), 60, "503")

    assert names(store, 1) == ["c"]
    clock.advance(60)
    assert names(store, 1) == ["d"]


def test_a_backlog_tells_the_edges_of_a_pipeline_once(backlog: Story) -> None:
    """Those that give way tell no more than their runs."""
    told = []
    for _ in range(4):
        lease = backlog.claim()
        at = (lease.lineage.started_at or T0) - T0
        told.append(backlog.prepare(lease, claim(at.total_seconds(), lease.execution.name)))
        backlog.store.settle(lease, [], [])

    assert told == [{"io"}, set(), set(), set()]


def test_history_is_told_the_newest_first(backlog: Story, store: Store) -> None:
    """A new target needs the newest edges before all others."""
    assert store.retry(targets=["glue"], since=T0) == 5

    leases = store.claim_delivery("glue", 9, lease_seconds=LEASE)

    assert [lease.execution.name for lease in leases] == ["d", "c", "b", "a", "x"]


def test_deliveries_of_the_release_before_are_claimed_too(backlog: Story, store: Store) -> None:
    """They know no pipeline, and come in the order of their age."""
    forget = sqlalchemy.text("UPDATE delivery SET pipeline = NULL, started_at = NULL")
    store._rooms.database.write(lambda connection: connection.execute(forget))

    assert names(store, 9) == ["a", "b", "c", "d", "x"]


@pytest.mark.parametrize("limit", [1, 3])
def test_replicas_share_a_backlog_of_one_pipeline(
    story: Story, open_store: OpenStore, limit: int
) -> None:
    """The one looks for the newest among what the other has locked, and skips it."""
    everything = [f"e{number:02}" for number in range(12)]
    for at, name in enumerate(everything):
        story.build(name, at=at, pipeline=PIPELINE)

    def claim_all(store: Store) -> list[str]:
        claimed = []
        while some := names(store, limit):
            claimed += some
        return claimed

    shares = at_once(*(partial(claim_all, open_store()) for _ in range(4)))
    shares.append(claim_all(open_store()))

    assert sorted(name for share in shares for name in share) == everything


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_two_claims_that_overlap_share_nothing(backlog: Story, open_store: OpenStore) -> None:
    """The first has chosen and not written yet when the second chooses."""
    first, second = open_store(), open_store()
    pause = Pause(first, "UPDATE delivery")

    claimed = overlapping(partial(names, first, 2), pause, partial(names, second, 2))

    assert claimed[0] == ["d", "c"]
    assert not set(claimed[0]) & set(claimed[1])


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backlog_is_not_sorted_whole(store: Store) -> None:
    """The newest is found by an index, however many wait: each claim asks for it."""
    asked: list[tuple[str, Any]] = []
    engine = store._rooms.database.engine
    sqlalchemy.event.listen(
        engine, "before_cursor_execute", lambda _c, _u, text, given, *_: asked.append((text, given))
    )
    store._rooms.database.read(
        lambda connection: connection.execute(_newest(TARGET, "pipeline", 0)).all()
    )
    ((query, given),) = [one for one in asked if one[0].startswith("SELECT delivery")]

    plan = store._rooms.database.read(
        lambda connection: connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", given).all()
    )

    assert "ix_delivery_target_pipeline_started_at" in plan[0].detail


# -------------------------------------------------------------------------- lost


def test_a_claim_that_never_came_back_is_lost(story: Story, store: Store, clock: Clock) -> None:
    """It may be what kills the process; whoever claims it next is told how often."""
    story.build("a")
    lost = []
    for _ in range(3):
        lost.append(story.claim().lost)
        clock.advance(LEASE)

    assert lost == [0, 1, 2]


@pytest.mark.parametrize("end", ["settle", "settle_later", "give_up"])
def test_a_claim_that_came_back_forgives_the_lost_ones(
    story: Story, store: Store, clock: Clock, end: str
) -> None:
    """They count in a row only, whatever became of it."""
    story.build("a")
    story.claim()
    clock.advance(LEASE)
    lease = story.claim()
    ends = {
        "settle": partial(store.settle, lease, [], []),
        "settle_later": partial(store.settle_later, lease, 0, "503"),
        "give_up": partial(store.give_up, lease, "400"),
    }
    ends[end]()
    store.retry(states=("due", "given_up", "delivered"))

    again = story.claim()

    assert (lease.lost, again.lost) == (1, 0)


def test_builds_are_lost_and_forgiven_likewise(story: Story, store: Store, clock: Clock) -> None:
    """Also by a postponement that counts as no attempt."""
    story.end("a")
    lost = []
    for _ in range(3):
        lost.append(story.claim_build().lost)
        clock.advance(LEASE)
    lease = story.claim_build()
    store.postpone_build(lease, 0, counted=False)

    assert (lost, lease.lost, story.claim_build().lost) == ([0, 1, 2], 3, 0)


def test_the_release_before_leaves_no_lost_claims_behind(story: Story, store: Store) -> None:
    """It takes leases back and knows nothing of the count."""
    story.build("a")
    count = sqlalchemy.text("UPDATE delivery SET lost = 2")
    store._rooms.database.write(lambda connection: connection.execute(count))

    assert story.claim().lost == 0


# ------------------------------------------------------------------------- times


def test_a_lease_says_since_when_somebody_waits(story: Story, clock: Clock) -> None:
    """By one clock: when the last event was stored, when it was claimed, and if ever told."""
    ended = clock.now
    story.build("a")
    clock.advance(5)

    first = story.claim()
    story.store.settle(first, [], [])
    story.store.retry(states=("delivered",))
    again = story.claim()

    assert (first.terminal_at, first.claimed_at, first.first) == (ended, clock.now, True)
    assert not again.first
