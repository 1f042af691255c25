"""An older execution never stays on top of a newer one, whatever overlaps or dies.

A catalogue that believes the last one who told it stands beside the store.
"""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial

import pytest

from flytelineage.store import Claim, DeliveryLease, Store
from flytelineage.targets import Rejection
from tests.store.conftest import (
    LEASE,
    TARGET,
    Clock,
    OpenStore,
    Story,
    at_once,
    claim,
    deadlocks,
    in_any_order,
)

OLD, NEW = claim(at=10, digest="old"), claim(at=20, digest="new")


@pytest.fixture
def leases(story: Story) -> dict[str, DeliveryLease]:
    """Deliveries of two executions of one pipeline, both leased."""
    for name in ("old", "new"):
        story.build(name)
    return {name: story.claim() for name in ("old", "new")}


def refused(reason: str = "no", aspect: str | None = None) -> Rejection:
    return Rejection(entity="task:t", aspect=aspect, reason=reason)


# ------------------------------------------------------------------------- order


def test_what_a_newer_execution_told_is_left_out(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """The old one comes second and has nothing to say."""
    told = story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])

    late = story.prepare(leases["old"], OLD)

    assert (told, late) == ({"io"}, set())


def test_a_newer_execution_tells_over_an_older_one(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """In their natural order both are told, and nothing is due afterwards."""
    story.prepare(leases["old"], OLD)
    store.settle(leases["old"], [OLD], [])

    assert story.prepare(leases["new"], NEW) == {"io"}
    store.settle(leases["new"], [NEW], [])

    assert story.due() == []


def test_each_aspect_has_its_own_watermark(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """What the newer execution did not know, the older one may tell."""
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])
    tags = claim(at=10, aspect="tags")
    other = claim(at=10, entity="task:u")

    told = store.prepare(leases["old"], [OLD, tags, other], raises=True, refresh_seconds=3600)

    assert set(told) == {("task:t", "tags"), ("task:u", "io")}


def test_each_target_has_its_own_watermark(story: Story, store: Store) -> None:
    """What one catalogue was told says nothing about another."""
    story.build("new", targets=("datahub", "glue"))
    story.build("old", targets=("datahub", "glue"))
    story.deliver(NEW, target="datahub")

    assert story.prepare(story.claim("datahub"), OLD) == set()
    store.settle(story.claim("glue"), [], [])
    assert story.prepare(story.claim("glue"), OLD) == {"io"}


@pytest.mark.parametrize(("first", "second"), [("new", "old"), ("old", "new")])
def test_the_same_moment_is_decided_by_the_id(
    story: Story, store: Store, leases: dict[str, DeliveryLease], first: str, second: str
) -> None:
    """Any order of deliveries ends in the same state: `old` sorts after `new`."""
    story.prepare(leases[first], claim(digest=first))
    store.settle(leases[first], [claim(digest=first)], [])

    told = story.prepare(leases[second], claim(digest=second))

    assert told == ({"io"} if second == "old" else set())


def test_a_key_of_any_length_has_a_watermark(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """Names of datasets come from outside; the answer speaks of them as they are."""
    long = [claim(at=20, entity="dataset:" + "x" * 5000 + end) for end in "ab"]

    told = store.prepare(leases["new"], long, raises=True, refresh_seconds=3600)
    store.settle(leases["new"], long, [])

    assert set(told) == {(one.entity, "io") for one in long}
    assert story.prepare(leases["old"], *[one_older(one) for one in long]) == set()


def one_older(one: Claim) -> Claim:
    return Claim(one.entity, one.aspect, one.stamp - timedelta(seconds=1), "old")


# --------------------------------------------------------------------- unchanged


def test_what_is_unchanged_is_left_out(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """The next execution of a pipeline mostly says the same."""
    same = claim(at=20, digest="old")
    story.prepare(leases["old"], OLD)
    store.settle(leases["old"], [OLD], [])

    assert story.prepare(leases["new"], same) == set()


def test_what_is_unchanged_still_raises_the_watermark(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """An execution in between must not tell over what the newest one confirmed."""
    story.prepare(leases["old"], OLD)
    store.settle(leases["old"], [OLD], [])
    story.prepare(leases["new"], claim(at=20, digest="old"))
    story.build("middle")

    assert story.prepare(story.claim(), claim(at=15, digest="middle")) == set()


def test_what_is_unchanged_is_refreshed(
    story: Story, store: Store, leases: dict[str, DeliveryLease], clock: Clock
) -> None:
    """Somebody may have changed the catalogue by hand."""
    story.prepare(leases["old"], OLD)
    store.settle(leases["old"], [OLD], [])

    clock.advance(3600)

    assert story.prepare(leases["new"], claim(at=20, digest="old")) == {"io"}


def test_what_is_being_told_is_not_known_to_be_there(
    story: Story, leases: dict[str, DeliveryLease]
) -> None:
    """The same content under way elsewhere may still fail."""
    story.prepare(leases["old"], OLD)

    assert story.prepare(leases["new"], claim(at=20, digest="old")) == {"io"}


# ------------------------------------------------------------------- overlapping


def test_an_older_telling_under_way_makes_the_newer_one_tell_again(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """The old one had begun before the new one, and ends after it: on top."""
    story.prepare(leases["old"], OLD)
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])

    store.settle(leases["old"], [OLD], [])

    assert story.due() == ["new"]
    again = story.claim()
    assert story.prepare(again, NEW) == {"io"}
    store.settle(again, [NEW], [])
    assert story.due() == []


def test_the_newer_one_is_told_over_before_it_settles(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """Its own settling does not hide that it must tell again."""
    story.prepare(leases["old"], OLD)
    story.prepare(leases["new"], NEW)
    store.settle(leases["old"], [OLD], [])

    store.settle(leases["new"], [NEW], [])

    assert story.due() == ["new"]
    assert story.prepare(story.claim(), NEW) == {"io"}


def test_nobody_takes_for_unchanged_what_was_told_over(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """A third execution that says the same as the second tells it."""
    story.prepare(leases["old"], OLD)
    story.prepare(leases["new"], NEW)
    store.settle(leases["old"], [OLD], [])
    store.settle(leases["new"], [NEW], [])
    story.build("newest")
    (newest,) = [
        one
        for one in store.claim_delivery(TARGET, 9, lease_seconds=LEASE)
        if one.execution.name == "newest"
    ]

    assert story.prepare(newest, claim(at=30, digest="new")) == {"io"}


def test_a_lost_lease_makes_the_holders_tell_again(
    story: Story, store: Store, leases: dict[str, DeliveryLease], clock: Clock
) -> None:
    """A process that slept told an old thing long after; it says so as it wakes."""
    story.prepare(leases["old"], OLD)
    clock.advance(LEASE)
    again = {one.execution.name: one for one in story.claim_all()}
    story.prepare(again["new"], NEW)
    store.settle(again["new"], [NEW], [])
    assert story.prepare(again["old"], OLD) == set()
    store.settle(again["old"], [], [])
    assert story.deliver(NEW) == "new"  # the takeover asked for that

    assert not store.settle(leases["old"], [OLD], [])

    last = {one.execution.name: one for one in story.claim_all()}
    assert story.prepare(last["new"], NEW) == {"io"}
    assert story.prepare(last["old"], OLD) == set()  # only its runs are told anew


def test_a_lost_lease_makes_the_own_successor_tell_again(
    story: Story, store: Store, clock: Clock
) -> None:
    """A slow claim of the same execution tells its first build over the second."""
    story.build("a")
    slow = story.claim()
    story.prepare(slow, claim(digest="first"))
    clock.advance(LEASE)
    story.build("a", "changed")
    story.deliver(claim(digest="second"))

    assert not store.settle(slow, [claim(digest="first")], [])

    assert story.due() == ["a"]
    assert story.prepare(story.claim(), claim(digest="second")) == {"io"}


def test_a_lost_lease_prepares_nothing(
    story: Story, leases: dict[str, DeliveryLease], clock: Clock
) -> None:
    """Who slept before telling anything tells nothing."""
    clock.advance(LEASE)
    story.claim_all()

    assert story.prepare(leases["new"], NEW) == set()


# -------------------------------------------------------------------- takeovers


def test_a_takeover_makes_the_newer_holder_tell_again(
    story: Story, store: Store, leases: dict[str, DeliveryLease], clock: Clock
) -> None:
    """The claim that died may have told over it, and nobody will ever know."""
    story.prepare(leases["old"], OLD)
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])
    clock.advance(LEASE)
    taken = story.claim()
    assert taken.takeover

    assert story.prepare(taken, OLD) == set()
    store.settle(taken, [], [])

    assert story.due() == ["new"]
    assert story.prepare(story.claim(), NEW) == {"io"}


def test_a_failure_in_the_middle_is_taken_for_a_takeover(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """A part may have been accepted, over what a newer one told."""
    story.prepare(leases["old"], OLD)
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])
    store.settle_later(leases["old"], 0, "connection reset")

    again = story.claim()
    assert again.takeover
    assert story.prepare(again, OLD) == set()
    store.settle(again, [], [])

    assert story.due() == ["new"]


def test_a_takeover_disturbs_only_once(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """While the target is away, an old delivery does not stir up newer ones for ever."""
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])
    for _ in range(3):
        story.prepare(leases["old"], OLD)
        store.settle_later(leases["old"], 0, "503")
        leases["old"] = story.claim()

    assert not leases["old"].takeover
    store.settle(leases["old"], [], [])
    assert story.due() == []


# ------------------------------------------------------- rejected and given up


def test_a_rejection_gives_back_what_was_displaced(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """Better the older truth than none: its delivery is due, even if unchanged."""
    story.prepare(leases["old"], OLD)
    store.settle(leases["old"], [OLD], [])
    story.prepare(leases["new"], NEW)

    store.settle(leases["new"], [NEW], [refused()])

    assert story.due() == ["old"]
    assert story.prepare(story.claim(), OLD) == {"io"}


def test_a_rejection_concerns_only_its_aspect(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """The others were accepted, and are known to be there."""
    both = [claim(at=20, digest="new"), claim(at=20, digest="new", aspect="tags")]
    story.prepare(leases["new"], *both)

    store.settle(leases["new"], both, [refused(aspect="tags")])

    same = [claim(at=30, digest="new"), claim(at=30, digest="new", aspect="tags")]
    assert story.prepare(leases["old"], *same) == {"tags"}


def test_a_rejection_of_the_first_leaves_no_mark(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """Nothing was displaced, so an older execution may tell it."""
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [refused()])

    assert story.prepare(leases["old"], OLD) == {"io"}


def test_who_was_left_out_meanwhile_tells_what_the_newer_one_could_not(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """It was settled without the aspect, which then would have been told by nobody."""
    story.prepare(leases["new"], NEW)
    assert story.prepare(leases["old"], OLD) == set()
    store.settle(leases["old"], [], [])

    store.settle(leases["new"], [NEW], [refused()])

    assert story.due() == ["old"]
    assert story.prepare(story.claim(), OLD) == {"io"}


def test_what_a_new_build_no_longer_claims_goes_to_who_was_left_out(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """Of what was accepted meanwhile nothing is taken back."""
    tags = claim(at=20, digest="new", aspect="tags")
    story.prepare(leases["new"], NEW, tags)
    store.settle_later(leases["new"], 0, "503")
    older = claim(at=10, digest="old", aspect="tags")
    assert story.prepare(leases["old"], OLD, older) == set()
    store.settle(leases["old"], [], [])

    again = story.claim()
    assert story.prepare(again, NEW) == {"io"}
    store.settle(again, [NEW], [])

    assert story.due() == ["old"]
    assert story.prepare(story.claim(), OLD, older) == {"tags"}


def test_a_rejection_is_not_tried_again_and_again(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """Both are refused; it comes to rest."""
    story.prepare(leases["old"], OLD)
    store.settle(leases["old"], [OLD], [])
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [refused()])
    again = story.claim()
    story.prepare(again, OLD)

    store.settle(again, [OLD], [refused()])

    assert story.due() == []


def test_a_rejection_does_not_touch_what_a_newer_one_holds(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """What was refused was not told over anything."""
    story.prepare(leases["old"], OLD)
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])

    store.settle(leases["old"], [OLD], [refused()])

    assert story.due() == []


def test_giving_up_gives_back_what_was_displaced(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """A permanent refusal leaves the older truth, told once more."""
    story.prepare(leases["old"], OLD)
    store.settle(leases["old"], [OLD], [])
    story.prepare(leases["new"], NEW, claim(at=20, aspect="tags"))

    assert store.give_up(leases["new"], "400")

    assert story.due() == ["old"]
    again = story.claim()
    assert story.prepare(again, OLD, claim(at=10, aspect="tags")) == {"io", "tags"}


def test_giving_up_keeps_what_was_accepted_before(story: Story, store: Store) -> None:
    """The first build was told; that the second is refused does not undo it."""
    story.build("old")
    story.deliver(OLD)
    story.build("new")
    story.deliver(NEW)
    story.build("new", "changed")
    lease = story.claim()
    story.prepare(lease, NEW, claim(at=20, aspect="tags"))

    store.give_up(lease, "400")

    assert story.due() == []


@pytest.mark.parametrize("expired", [False, True])
def test_what_was_told_over_a_newer_one_before_a_refusal_is_told_again(
    story: Story, store: Store, clock: Clock, leases: dict[str, DeliveryLease], expired: bool
) -> None:
    """A target may take some entities and refuse the rest, and nobody knows which."""
    story.prepare(leases["old"], OLD)
    story.prepare(leases["new"], NEW)
    store.settle(leases["new"], [NEW], [])
    if expired:
        clock.advance(LEASE)
        story.claim()

    store.give_up(leases["old"], "400", [OLD])

    assert "new" in story.due()
    assert story.prepare(story.claim(), NEW) == {"io"}


@pytest.mark.parametrize("how", ["rejected", "given up"])
def test_a_refused_change_brings_nothing_older_back(story: Story, store: Store, how: str) -> None:
    """What the first build told was accepted, and is newer than what it displaced."""
    changed = claim(at=20, digest="changed")
    story.build("old")
    story.deliver(OLD)
    story.build("new")
    story.deliver(NEW)
    story.build("new", "changed")
    lease = story.claim()
    story.prepare(lease, changed)

    if how == "rejected":
        store.settle(lease, [changed], [refused()])
    else:
        store.give_up(lease, "400")

    assert story.due() == []
    story.build("old", "late")
    assert story.prepare(story.claim(), claim(at=10, digest="late")) == set()


@pytest.mark.parametrize("how", ["rejected", "given up"])
def test_a_refused_change_lets_nobody_in_who_stood_by_meanwhile(
    story: Story, store: Store, how: str
) -> None:
    """What was accepted before is newer than who would be next in line."""
    changed = claim(at=20, digest="changed")
    story.build("new")
    story.deliver(NEW)
    story.build("new", "changed")
    lease = story.claim()
    story.prepare(lease, changed)
    story.build("old")
    assert story.deliver(OLD) == "old"

    if how == "rejected":
        store.settle(lease, [changed], [refused()])
    else:
        store.give_up(lease, "400", [changed])

    assert story.due() == []
    story.build("old", "late")
    assert story.prepare(story.claim(), claim(at=10, digest="late")) == set()


# ------------------------------------------------------------- failed executions


def test_a_failed_execution_tells_what_nobody_told(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """And stands in nobody's way: an older one that succeeded tells it too."""
    assert story.prepare(leases["new"], NEW, raises=False) == {"io"}
    store.settle(leases["new"], [NEW], [])

    assert story.prepare(leases["old"], OLD) == {"io"}


def test_a_failed_execution_leaves_out_what_is_newer_or_the_same(
    story: Story, store: Store, leases: dict[str, DeliveryLease]
) -> None:
    """It neither repeats nor goes back."""
    tags = claim(at=20, digest="same", aspect="tags")
    story.prepare(leases["new"], NEW, tags)
    store.settle(leases["new"], [NEW, tags], [])
    newer = claim(at=30, digest="same", aspect="tags")

    assert story.prepare(leases["old"], OLD, newer, raises=False) == set()


@pytest.mark.parametrize("failed_first", [True, False])
def test_success_has_the_last_word_over_failure(
    story: Story, store: Store, leases: dict[str, DeliveryLease], failed_first: bool
) -> None:
    """The newer execution failed; in either order the successful one ends on top."""
    catalogue = Catalogue(story, store)
    order = [("new", NEW, False), ("old", OLD, True)]
    for name, one, raises in order if failed_first else reversed(order):
        catalogue.tell(leases[name], one, raises=raises)

    catalogue.drain({"new": (NEW, False), "old": (OLD, True)})

    assert catalogue.holds == {"task:t": "old"}


# --------------------------------------------------------------------- all at once


class Catalogue:
    """Believes who told it last."""

    def __init__(self, story: Story, store: Store) -> None:
        self.holds: dict[str, str] = {}
        self._story = story
        self._store = store

    def tell(self, lease: DeliveryLease, one: Claim, *, raises: bool) -> None:
        for _ in self._story.prepare(lease, one, raises=raises):
            self.holds[one.entity] = one.digest
        self._store.settle(lease, [one] if self.holds else [], [])

    def drain(self, claims: dict[str, tuple[Claim, bool]]) -> None:
        for _ in range(20):
            for lease in self._store.claim_delivery(TARGET, 9, lease_seconds=LEASE):
                one, raises = claims[lease.execution.name]
                self.tell(lease, one, raises=raises)
        assert not self._store.work_left()


@pytest.mark.parametrize("seed", range(12))
def test_any_interleaving_ends_with_the_newest_on_top(
    story: Story, store: Store, clock: Clock, seed: int
) -> None:
    """Deliveries are prepared, told, settled, refused, put off and killed in any order."""
    claims = {name: claim(at=at, digest=name) for at, name in enumerate("abcd")}
    for name in claims:
        story.build(name)
    holds: dict[str, str] = {}

    def prepare(lease: DeliveryLease) -> list[Claim]:
        one = claims[lease.execution.name]
        return [one] if story.prepare(lease, one) else []

    def tell(told: list[Claim]) -> None:
        holds.update({one.entity: one.digest for one in told})

    in_any_order(store, clock, seed, prepare=prepare, tell=tell, rounds=300)

    assert holds == {"task:t": "d"}


def test_replicas_that_tell_at_once_do_not_lock_each_other(
    story: Story, open_store: OpenStore
) -> None:
    """Four executions tell the same many entities, in different orders, at once."""
    entities = [f"task:{number}" for number in range(30)]
    for name in "abcd":
        story.build(name)
    leases = story.claim_all()
    stores = [open_store() for _ in leases]
    locked = deadlocks(stores)

    def tell(number: int) -> bool:
        claims = [claim(at=number, digest=str(number), entity=one) for one in entities]
        random.Random(number).shuffle(claims)
        told = stores[number].prepare(leases[number], claims, raises=True, refresh_seconds=60)
        mine = [one for one in claims if (one.entity, one.aspect) in told]
        return stores[number].settle(leases[number], mine, [])

    assert at_once(*(partial(tell, number) for number in range(4))) == [True] * 4
    assert locked == []
