"""What `explain` asks of the store: where things stand, and who said so."""

from __future__ import annotations

from datetime import timedelta

from flytelineage.entities import DatasetId
from flytelineage.store import Awaited, Paused, Registration, Standing, Store, Told
from flytelineage.targets import Rejection
from tests.store.conftest import (
    LEASE,
    PIPELINE,
    T0,
    Clock,
    Story,
    built,
    claim,
    event,
    execution,
    lineage,
)

KEY = "s3://bucket/data/ab/a-n0-0/0123456789abcdef0123456789abcdef"
DATASET = DatasetId(platform="flyte", name="shop.production.app.etl.load.o0")


class TestStanding:
    """How far the store has come with an execution."""

    def test_unknown(self, store: Store) -> None:
        """Of what was never heard of there is nothing to say."""
        assert store.standing(execution()) is None

    def test_collecting(self, store: Store) -> None:
        """Before its first build nothing is pinned."""
        store.record([event(terminal=True)])

        assert store.standing(execution()) == Standing(
            at=T0, terminal_at=T0, due_at=T0 + timedelta(seconds=store.min_settle)
        )

    def test_built(self, story: Story, store: Store, clock: Clock) -> None:
        """With its name, and with what each target heard."""
        story.build("a", pipeline=PIPELINE, targets=("datahub", "glue"))
        at = clock.now
        story.deliver(claim())
        story.store.give_up(story.claim("glue"), "No such table")

        assert store.standing(execution()) == Standing(
            at=at,
            pipeline=PIPELINE,
            name_source=None,
            terminal_at=T0,
            phase="SUCCEEDED",
            built_at=at,
            current=True,
            deliveries=(
                Told("datahub", "delivered", settled_at=at),
                Told(
                    "glue",
                    "given_up",
                    attempts=1,
                    settled_at=at,
                    error="No such table",
                    error_at=at,
                ),
            ),
        )

    def test_in_hand(self, story: Story, store: Store, clock: Clock) -> None:
        """Until when, and how many had it in hand before and said nothing any more."""
        story.end("a")
        story.claim_build()
        clock.advance(LEASE)
        story.claim_build()

        found = store.standing(execution())

        assert found is not None
        assert (found.lease_until, found.lost) == (clock.now + timedelta(seconds=LEASE), 1)

    def test_what_a_lineage_lacks(self, story: Story, store: Store) -> None:
        """Events, what could not be read, and what nobody registered."""
        story.end("a")
        lease = story.claim_build()
        found = lineage(lease, partial=True, incomplete=("s3://b/o.pb: denied",))
        store.finish_build(lease, built(lease, lineage=found, waiting=frozenset({KEY})), [])

        standing = store.standing(execution())

        assert standing is not None
        assert (standing.partial, standing.incomplete, standing.awaits) == (
            True,
            ("s3://b/o.pb: denied",),
            (KEY,),
        )

    def test_a_paused_target(self, story: Story, store: Store, clock: Clock) -> None:
        """Its deliveries say why they wait."""
        story.build("a", targets=("datahub", "glue"))
        store.note_pause("glue", "401", 60)

        standing = store.standing(execution())

        assert standing is not None
        until = clock.now + timedelta(seconds=60)
        assert [one.paused for one in standing.deliveries] == [
            None,
            Paused("401", clock.now, until),
        ]

    def test_what_newer_executions_told_over(self, story: Story, store: Store) -> None:
        """Nothing of it is left in the catalogue then, but its runs."""
        for at, name in enumerate("ab"):
            story.build(name, at=at)
            story.deliver(claim(at, name))

        standings = [store.standing(execution(name)) for name in "ab"]

        assert [one.deliveries[0].overtaken for one in standings if one] == [True, False]

    def test_who_only_writes_down_is_never_overtaken(self, story: Story, store: Store) -> None:
        """A file of every execution has no newest one."""
        story.build("a")
        store.settle(story.claim(), [], [])

        standing = store.standing(execution())

        assert standing is not None
        assert not standing.deliveries[0].overtaken

    def test_a_refusal(self, story: Story, store: Store) -> None:
        """What a target refused of it is named."""
        story.build("a")
        store.settle(story.claim(), [], [Rejection(entity="task:t", reason="too long")])

        found = store.standing(execution())

        assert found is not None
        assert found.deliveries[0].rejections == ("task:t: too long",)

    def test_many_refusals(self, story: Story, store: Store) -> None:
        """Those of one entity for one reason are one, with what was refused of it."""
        story.build("a")
        refused = [Rejection(entity="task:t", aspect=one, reason="no") for one in ("io", "kind")]
        store.settle(story.claim(), [], [*refused, Rejection(entity="run:r", reason="no")])

        found = store.standing(execution())

        assert found is not None
        assert found.deliveries[0].rejections == ("task:t (io, kind): no", "run:r: no")

    def test_what_is_refused_was_not_told_over(self, story: Story, store: Store) -> None:
        """Whoever else the catalogue heard of, it is not why this one is missing."""
        story.build("a", at=1)
        story.deliver(claim(1, entity="task:other"))
        story.build("b")
        lease = story.claim()
        story.prepare(lease, claim())
        store.settle(lease, [claim()], [Rejection(entity="task:t", reason="no")])

        found = store.standing(execution("b"))

        assert found is not None
        assert not found.deliveries[0].overtaken

    def test_dropped(self, story: Story, store: Store) -> None:
        """An operator's rule left nothing to tell, so nobody newer told it instead."""
        story.build("a", at=1)
        story.deliver(claim(1))
        story.build("b")
        store.settle(story.claim(), [], [], dropped=True)

        found = store.standing(execution("b"))

        assert found is not None
        told = found.deliveries[0]
        assert (told.state, told.dropped, told.overtaken) == ("delivered", True, False)

    def test_dropped_no_more(self, story: Story, store: Store) -> None:
        """What is told once the rules allow it counts as told."""
        story.build("a")
        store.settle(story.claim(), [], [], dropped=True)
        store.retry(targets=["datahub"], states=["delivered"])
        store.settle(story.claim(), [], [])

        found = store.standing(execution())

        assert found is not None
        assert not found.deliveries[0].dropped

    def test_waiting(self, story: Story, store: Store) -> None:
        """For what, and how often it was begun."""
        story.end("a")
        store.postpone_build(story.claim_build(), 5, counted=True, waits_for="FlyteAdmin: away")

        found = store.standing(execution())

        assert found is not None
        assert (found.attempts, found.waits_for) == (1, "FlyteAdmin: away")

    def test_an_event_after_the_build(self, story: Story, store: Store) -> None:
        """It makes the build one of yesterday."""
        story.build("a")
        store.record([event("a")])

        found = store.standing(execution())

        assert found is not None
        assert (found.built_at is not None, found.current) == (True, False)

    def test_a_build_that_is_to_be_repeated(self, story: Story, store: Store, clock: Clock) -> None:
        """It has seen every event all the same."""
        story.end("a")
        clock.advance(store.min_settle)
        lease = story.claim_build()
        store.finish_build(lease, built(lease, retry_in=300.0), [])

        found = store.standing(execution())

        assert found is not None
        assert (found.current, found.due_at) == (True, clock.now + timedelta(seconds=300))


class TestRegistry:
    """Who registered what, and who waits for it."""

    def test_registered(self, story: Story, store: Store, clock: Clock) -> None:
        """With the execution that did, the moment and the dataset."""
        story.build("a", locations={KEY: DATASET, "pipeline:p": None})

        assert store.registrations([KEY, "pipeline:p", "other"]) == {
            KEY: Registration(DATASET, execution("a"), clock.now),
            "pipeline:p": Registration(None, execution("a"), clock.now),
        }

    def test_a_key_that_is_too_long_for_an_index(self, story: Story, store: Store) -> None:
        """It is found by the name that was asked for."""
        long = KEY + "/x" * 1000
        story.build("a", locations={long: DATASET})

        assert set(store.registrations([long])) == {long}

    def test_awaited(self, story: Story, store: Store) -> None:
        """All are counted, some are named; who is only waited for is not registered."""
        for name in ("c", "a", "b"):
            story.build(name, waiting=frozenset({KEY}))

        assert store.awaited(KEY, 2) == Awaited(3, (execution("a"), execution("b")))
        assert store.awaited("other", 2) == Awaited(0, ())
        assert store.registrations([KEY]) == {}


def test_executions_by_their_bare_names(store: Store) -> None:
    """A name is neither a pattern nor the end of another one."""
    store.record([event(name) for name in ("a1", "ba1", "A1", "a_", "ax", "a%")])

    assert store.named(["a1", "a_"], 10) == [execution("a1"), execution("a_")]
    assert store.named([], 10) == []
