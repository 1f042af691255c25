"""Deliveries are leased per target, settled once, and told again only with a reason."""

from __future__ import annotations

from functools import partial

import pytest
import sqlalchemy

from flytelineage.store import Store
from flytelineage.targets import Rejection
from tests.store.conftest import (
    LEASE,
    TARGET,
    Clock,
    OpenStore,
    Story,
    at_once,
    built,
    claim,
    event,
    execution,
)


def counts(store: Store, target: str = TARGET) -> dict[str, int]:
    """States of a target's deliveries that are not zero."""
    found = store.status()["deliveries"].get(target, {})
    return {name: count for name, count in found.items() if name != "oldest_seconds" and count}


# ------------------------------------------------------------------------ leases


def test_a_build_is_due_at_every_target(story: Story, store: Store) -> None:
    """Each target is told for itself, whatever becomes of the others."""
    story.build("a", targets=("datahub", "glue"))

    lease = story.claim("glue")

    assert (lease.execution, lease.target, lease.revision) == (execution("a"), "glue", 1)
    assert (lease.attempts, lease.takeover) == (1, False)
    assert lease.lineage.execution == execution("a")
    assert story.due("datahub") == ["a"]
    assert not store.claim_delivery("glue", 1, lease_seconds=LEASE)


def test_deliveries_are_held_unless_asked_for(story: Story, store: Store) -> None:
    """Neither a claim in hand nor an operator's wish is taken back."""
    for name in ("claimed", "asked", "due"):
        story.build(name)
    lease = story.claim(TARGET)
    held = store.hold_deliveries()
    store.retry(states=("held",), execution=execution("asked"))

    again = store.hold_deliveries()

    assert (held, again) == (2, 0)
    assert lease.execution == execution("claimed")
    assert story.due(TARGET) == ["asked"]
    assert store.status()["deliveries"][TARGET]["held"] == 1


def test_the_oldest_delivery_comes_first(story: Story, store: Store) -> None:
    """In the order in which they were built."""
    for name in "cab":
        story.build(name)

    assert [one.execution.name for one in store.claim_delivery(TARGET, 2, lease_seconds=LEASE)] == [
        "c",
        "a",
    ]


def test_replicas_never_claim_the_same_delivery(open_store: OpenStore, clock: Clock) -> None:
    """Four replicas share what is due."""
    stores = [open_store() for _ in range(4)]
    stores[0].record([event(f"e{number}", terminal=True) for number in range(20)])
    clock.advance(60)
    for lease in stores[0].claim_build(20, lease_seconds=LEASE):
        stores[0].finish_build(lease, built(lease), [TARGET])

    def claim_all(store: Store) -> list[str]:
        names = []
        while leases := store.claim_delivery(TARGET, 2, lease_seconds=LEASE):
            names += [lease.execution.name for lease in leases]
        return names

    shares = at_once(*(partial(claim_all, store) for store in stores))
    shares.append(claim_all(stores[0]))

    assert sorted(name for share in shares for name in share) == sorted(
        f"e{number}" for number in range(20)
    )


def test_a_settled_delivery_is_not_due(story: Story, store: Store) -> None:
    """Once is enough."""
    story.build("a")

    story.deliver()

    assert story.due() == []
    assert counts(store) == {"delivered": 1}
    assert not store.work_left()


def test_a_crash_while_telling_is_a_takeover(story: Story, clock: Clock) -> None:
    """When the lease has ended somebody else tells it, and knows that it may be told."""
    story.build("a")
    story.claim()

    clock.advance(LEASE)
    again = story.claim()

    assert (again.attempts, again.takeover) == (2, True)


def test_a_late_settler_changes_nothing(story: Story, store: Store, clock: Clock) -> None:
    """It is told so, and the present lease goes on."""
    story.build("a")
    late = story.claim()
    clock.advance(LEASE)
    story.claim()

    assert not store.settle(late, [], [Rejection(entity="x", reason="no")])

    assert counts(store) == {"telling": 1}


@pytest.mark.parametrize("how", ["settle", "settle_later", "give_up"])
def test_a_late_end_leaves_the_delivery_to_the_next(
    story: Story, store: Store, clock: Clock, how: str
) -> None:
    """Nobody knows what it told, so the delivery is told once more, as after a crash.

    A late success told runs of an old build, which no watermark guards.
    """
    story.build("a")
    late = story.claim()
    clock.advance(LEASE)
    present = story.claim()

    if how == "give_up":
        assert not store.give_up(late, "refused")
    elif how == "settle_later":
        assert not store.settle_later(late, 3600, "slow")
    else:
        assert not store.settle(late, [], [])

    assert store.settle(present, [], [])
    assert story.claim().takeover


# ---------------------------------------------------------------------- failures


def test_a_failure_comes_again_later(story: Story, store: Store, clock: Clock) -> None:
    """Nobody else gets it before, and its attempts count."""
    story.build("a")
    first = story.claim()
    assert store.settle_later(first, 30, "503 \0 from http://gms")

    early = story.due()
    clock.advance(30)
    again = story.claim()

    assert early == []
    assert (again.attempts, again.takeover) == (2, False)
    (error,) = store.status()["errors"]
    assert (error["execution"], error["target"]) == ("shop/production/a", TARGET)
    assert error["error"] == "503 \ufffd from http://gms"


def test_a_target_that_is_away_costs_no_attempt(story: Story, store: Store, clock: Clock) -> None:
    """It is not this delivery's fault."""
    story.build("a")
    for _ in range(3):
        assert store.settle_later(story.claim(), 30, "401", counted=False)
        clock.advance(30)

    assert story.claim().attempts == 1


def test_success_forgets_the_error(story: Story, store: Store, clock: Clock) -> None:
    """What is in order is not shown as a problem."""
    story.build("a")
    store.settle_later(story.claim(), 0, "503")

    story.deliver()

    assert store.status()["errors"] == []


def test_what_is_given_up_stays_so(story: Story, store: Store) -> None:
    """It is shown, and nothing is left to do."""
    story.build("a")

    assert store.give_up(story.claim(), "400: no such platform")

    assert counts(store) == {"given_up": 1}
    assert not store.work_left()
    assert store.status()["errors"][0]["error"] == "400: no such platform"


def test_rejections_are_shown(story: Story, store: Store) -> None:
    """A delivery may succeed in part."""
    story.build("a")
    refused = Rejection(entity="dataset:x", aspect="schema", reason="too large")

    assert store.settle(story.claim(), [], [refused])

    assert counts(store) == {"delivered": 1, "rejected": 1}
    assert store.status()["errors"][0]["rejections"] == [refused.model_dump()]


# ------------------------------------------------------------------- later builds


def test_an_unchanged_build_is_not_delivered_again(story: Story, store: Store) -> None:
    """A late event that says nothing new costs the targets nothing."""
    story.build("a")
    story.deliver()

    story.build("a")

    assert story.due() == []
    assert counts(store) == {"delivered": 1}


def test_a_changed_build_is_delivered_again(story: Story) -> None:
    """With its own revision."""
    story.build("a")
    story.deliver()

    story.build("a", "changed")

    assert story.claim().revision == 2


def test_an_unchanged_build_does_not_try_again_what_was_refused(story: Story, store: Store) -> None:
    """What the target refused for good it would refuse again; a change may help."""
    story.build("a")
    store.give_up(story.claim(), "400")

    story.build("a")
    unchanged = story.due()
    story.build("a", "changed")

    assert (unchanged, story.due()) == ([], ["a"])


def test_a_build_during_a_delivery_leaves_it_due(story: Story, store: Store) -> None:
    """The lease holds, but what was told is not the last word."""
    story.build("a")
    lease = story.claim()
    story.build("a", "changed")
    meanwhile = store.claim_delivery(TARGET, 1, lease_seconds=LEASE)

    assert store.settle(lease, [], [])

    again = story.claim()
    assert meanwhile == []
    assert (again.revision, again.takeover) == (2, False)
    assert [pipeline.kind for pipeline in again.lineage.pipelines] == ["workflowchanged"]


def test_giving_up_an_old_build_leaves_the_new_one_due(story: Story, store: Store) -> None:
    """The new one may be accepted."""
    story.build("a")
    lease = story.claim()
    story.build("a", "changed")

    assert store.give_up(lease, "400")

    assert story.claim().revision == 2


def test_a_new_build_does_not_hurry_a_target_that_fails(
    story: Story, store: Store, clock: Clock
) -> None:
    """Backing off goes on at its own pace."""
    story.build("a")
    store.settle_later(story.claim(), 3600, "503")

    story.build("a", "changed")

    assert story.due() == []
    clock.advance(3600)
    assert story.claim().revision == 2


@pytest.mark.parametrize("settled_first", [True, False])
def test_a_build_and_a_settling_may_meet(
    story: Story, open_store: OpenStore, settled_first: bool
) -> None:
    """Whichever comes first, the new build is delivered."""
    story.build("a")
    delivery = story.claim()
    story.end("a")
    lease = story.claim_build()
    one, two = open_store(), open_store()
    works = [
        partial(one.settle, delivery, [], []),
        partial(two.finish_build, lease, built(lease, "changed"), [TARGET]),
    ]

    assert at_once(*(works if settled_first else reversed(works))) == [True, True]

    assert story.claim().revision == 2


def test_lineage_of_a_newer_release_is_built_anew(story: Story, store: Store) -> None:
    """After a release was put back, what it cannot read does not stop the queue."""
    story.build("a")
    story.build("b")
    newer = sqlalchemy.text("UPDATE lineage SET body = :body WHERE execution LIKE '%a'")
    store._rooms.database.write(
        lambda connection: connection.execute(newer, {"body": '{"colour": "blue"}'})
    )

    leases = store.claim_delivery(TARGET, 5, lease_seconds=LEASE)

    assert [lease.execution.name for lease in leases] == ["b"]
    assert story.claim_build().execution == execution("a")


# ------------------------------------------------------------------ held, by hand


def test_what_is_held_waits_until_it_is_asked_for(story: Story, store: Store) -> None:
    """With emitting switched off nothing is lost, and nothing is told."""
    story.build("a", held=True)

    before = (story.due(), counts(store), store.work_left())
    released = store.retry(states=("held",))

    assert before == ([], {"held": 1}, False)
    assert (released, story.due()) == (1, ["a"])


def test_emitting_is_switched_off_during_a_delivery(story: Story, store: Store) -> None:
    """The delivery in hand is settled, the newer build is held."""
    story.build("a")
    lease = story.claim()
    story.build("a", "changed", held=True)

    assert store.settle(lease, [], [])

    assert counts(store) == {"held": 1}


def test_a_retry_is_told_even_if_unchanged(story: Story, store: Store) -> None:
    """Somebody may have emptied the catalogue."""
    story.build("a")
    story.deliver(claim())
    assert store.retry(states=("delivered",)) == 1

    lease = story.claim()

    assert story.prepare(lease, claim()) == {"io"}
    store.settle(lease, [claim()], [])
    assert story.due() == []


def test_a_retry_takes_only_what_is_meant(story: Story, store: Store, clock: Clock) -> None:
    """By target, execution, state and time of the build."""
    times = {}
    for name in "abc":
        story.build(name, targets=("datahub", "glue"))
        times[name] = clock.now
        for target in ("datahub", "glue"):
            store.give_up(story.claim(target), "400")

    assert store.retry(dry_run=True) == 6
    assert store.retry(targets=["glue"], dry_run=True) == 3
    assert store.retry(execution=execution("b"), dry_run=True) == 2
    assert store.retry(since=times["b"], dry_run=True) == 4
    assert store.retry(until=times["b"], dry_run=True) == 2
    assert store.retry(states=("held",), dry_run=True) == 0
    assert not store.work_left()

    assert store.retry(targets=["glue"], since=times["b"], until=times["c"]) == 1

    assert (story.due("glue"), story.due("datahub")) == (["b"], [])
    assert story.claim("glue").attempts == 1


def test_a_new_target_can_be_told_of_history(story: Story, store: Store, clock: Clock) -> None:
    """A target starts with what is built after it appeared, unless somebody asks."""
    story.build("before")
    clock.advance(60)
    since = clock.now
    story.build("after")
    story.build("known", targets=("datahub", "glue"))

    assert store.retry(targets=["glue"], dry_run=True) == 0
    assert store.retry(targets=["glue"], since=since, dry_run=True) == 1
    assert store.retry(targets=["glue"], since=since) == 1

    assert sorted(story.due("glue")) == ["after", "known"]


# -------------------------------------------------------------------------- when


def test_the_store_says_when_to_look_again(story: Story, store: Store, clock: Clock) -> None:
    """Loops sleep until something can be claimed."""
    seen = [store.next_due_in()]
    store.record([event("a", terminal=True)])
    seen.append(store.next_due_in())
    clock.advance(store.min_settle + 5)
    seen.append(store.next_due_in())
    lease = story.claim_build()
    seen.append(store.next_due_in())
    store.finish_build(lease, built(lease), [TARGET])
    seen.append(store.next_due_in())
    store.settle_later(story.claim(), 7, "503")
    seen.append(store.next_due_in())
    clock.advance(7)
    story.deliver()
    seen.append(store.next_due_in())

    assert seen == [None, store.min_settle, 0.0, LEASE, 0.0, 7.0, None]


def test_work_is_left_while_anything_is_under_way(story: Story, store: Store) -> None:
    """A replay ends only when all that can be told was told."""
    left = [store.work_left()]
    story.end("a")
    left.append(store.work_left())
    lease = story.claim_build()
    left.append(store.work_left())
    store.finish_build(lease, built(lease, retry_in=60), [TARGET])
    left.append(store.work_left())
    delivery = story.claim()
    left.append(store.work_left())
    store.settle_later(delivery, 60, "503")
    left.append(store.work_left())
    store.retry(states=("due",))
    story.deliver()
    left.append(store.work_left())

    assert left == [False, True, True, True, True, True, False]
