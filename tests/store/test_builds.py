"""Executions are leased, built once at a time, and learn from each other."""

from __future__ import annotations

from functools import partial

import pytest

from flytelineage.entities import DatasetId, Lineage, PipelineId, Task, TaskId
from flytelineage.errors import RefusedByStoreError
from flytelineage.store import BuildLease, Store
from tests.store.conftest import (
    LEASE,
    PIPELINE,
    TARGET,
    Clock,
    OpenStore,
    Pause,
    Story,
    at_once,
    built,
    deadlocks,
    event,
    execution,
    lineage,
    overlapping,
)

KEY = "s3://bucket/data/ab/" + "0123456789abcdef" * 2
DATASET = DatasetId(platform="flyte", name="shop.production.app.etl.load.o0")


def due(store: Store) -> list[str]:
    """Names of executions that could be built; looking changes nothing."""
    leases = store.claim_build(100, lease_seconds=LEASE)
    for lease in leases:
        store.postpone_build(lease, 0, counted=False)
    return sorted(lease.execution.name for lease in leases)


def claims(story: Story, *names: str) -> list[BuildLease]:
    """Executions that ended and are leased, in this order."""
    story.end(*names)
    leases = {one.execution.name: one for one in story.store.claim_build(9, lease_seconds=LEASE)}
    return [leases[name] for name in names]


# ------------------------------------------------------------------------ leases


def test_the_oldest_due_comes_first(store: Store, clock: Clock) -> None:
    """Nobody is overtaken for ever."""
    for name in "cab":
        store.record([event(name, terminal=True)])
        clock.advance(1)
    clock.advance(store.min_settle)

    first = store.claim_build(2, lease_seconds=LEASE)
    rest = store.claim_build(2, lease_seconds=LEASE)

    assert [[lease.execution.name for lease in some] for some in (first, rest)] == [
        ["c", "a"],
        ["b"],
    ]


def test_replicas_never_claim_the_same(open_store: OpenStore, clock: Clock) -> None:
    """Four replicas share what is due, and each execution is leased once."""
    stores = [open_store() for _ in range(4)]
    stores[0].record([event(f"e{number}", terminal=True) for number in range(40)])
    clock.advance(60)

    def claim_all(store: Store) -> list[str]:
        names = []
        while leases := store.claim_build(3, lease_seconds=LEASE):
            names += [lease.execution.name for lease in leases]
        return names

    shares = at_once(*(partial(claim_all, store) for store in stores))
    shares.append(claim_all(stores[0]))  # a row that was locked is skipped, not lost

    assert sorted(name for share in shares for name in share) == sorted(
        f"e{number}" for number in range(40)
    )


def test_a_crash_after_the_claim_only_costs_time(story: Story, store: Store, clock: Clock) -> None:
    """When the lease has ended somebody else gets the execution, and sees it was tried."""
    story.end("a")
    dead = story.claim_build()

    clock.advance(LEASE - 1)
    early = store.claim_build(1, lease_seconds=LEASE)
    clock.advance(1)
    again = story.claim_build()

    assert early == []
    assert (dead.attempts, again.attempts) == (1, 2)
    assert again.token != dead.token


def test_a_late_finisher_changes_nothing(story: Story, store: Store, clock: Clock) -> None:
    """Whoever lost the lease is told so, and leaves no trace."""
    story.end("a")
    late = story.claim_build()
    clock.advance(LEASE)
    present = story.claim_build()
    traces = {
        "locations": {KEY: DATASET},
        "pipeline": PIPELINE,
        "places": {"t": False},
        "waiting": frozenset({"s3://elsewhere"}),
    }

    assert not store.finish_build(late, built(late, "late", **traces), [TARGET])
    assert not store.postpone_build(late, 0, counted=True)

    assert store.locations([KEY]) == {}
    assert store.places(PIPELINE).bare == frozenset()
    assert store.status()["executions"]["waiting"] == 0
    assert not store.claim_delivery(TARGET, 1, lease_seconds=LEASE)
    assert store.finish_build(present, built(present), [TARGET])
    assert story.claim().lineage == lineage(present)


def test_a_lease_that_ran_out_unnoticed_still_holds(
    story: Story, store: Store, clock: Clock
) -> None:
    """As long as nobody else has been given it, the work is not thrown away."""
    story.end("a")
    lease = story.claim_build()
    clock.advance(10 * LEASE)

    assert store.finish_build(lease, built(lease), [])


def test_an_event_during_the_build_leads_to_another(
    story: Story, store: Store, clock: Clock
) -> None:
    """The build saw only what the revision of its lease says."""
    story.end("a")
    lease = story.claim_build()
    store.record([event("a")])

    assert store.finish_build(lease, built(lease), [])

    assert due(store) == []
    clock.advance(store.min_settle)
    assert story.claim_build().revision == lease.revision + 1


def test_what_is_incomplete_is_built_again_later(story: Story, store: Store, clock: Clock) -> None:
    """Something that could not be read is looked for once more, with a new revision."""
    story.end("a")
    lease = story.claim_build()
    store.finish_build(lease, built(lease, retry_in=300), [])

    clock.advance(299)
    early = due(store)
    clock.advance(1)

    again = story.claim_build()
    assert early == []
    assert (again.revision, again.attempts) == (lease.revision + 1, 1)


def test_waiting_is_no_attempt(story: Story, store: Store, clock: Clock) -> None:
    """Attempts count failures, so that backing off goes by them."""
    story.end("a")
    seen = []
    for counted in (False, True, True):
        lease = story.claim_build()
        seen.append(lease.attempts)
        assert store.postpone_build(lease, 30, counted=counted)
        clock.advance(30)

    assert [*seen, story.claim_build().attempts] == [1, 1, 2, 3]


def test_an_event_ends_a_postponement(story: Story, store: Store, clock: Clock) -> None:
    """What was waited for may just have come."""
    story.end("a")
    lease = story.claim_build()
    store.record([event("a")])

    store.postpone_build(lease, 600, counted=False)

    clock.advance(store.min_settle)
    assert due(store) == ["a"]


def test_an_execution_can_be_built_by_hand(story: Story, store: Store) -> None:
    """Nothing new came, but somebody asks."""
    story.build("a")

    assert store.rebuild(execution("a"))
    assert not store.rebuild(execution("unknown"))

    assert due(store) == ["a"]


# ------------------------------------------------------------------------- names


def test_the_first_build_pins_the_name(story: Story, store: Store) -> None:
    """What was emitted under one name is never emitted under another."""
    story.end("a")
    lease = story.claim_build()
    guessed = lineage(lease, name_source="guessed")
    store.finish_build(lease, built(lease, lineage=guessed, pipeline=PIPELINE), [])

    for _ in range(2):
        store.rebuild(execution("a"))
        again = story.claim_build()
        assert (again.pipeline, again.name_source) == (PIPELINE, "guessed")
        better = lineage(again, name_source="admin")
        other = PIPELINE.model_copy(update={"name": "other"})
        store.finish_build(again, built(again, lineage=better, pipeline=other), [])


def test_nothing_is_pinned_without_a_name(story: Story, store: Store) -> None:
    """An execution that nobody can name may get one later."""
    story.build("a")
    store.rebuild(execution("a"))

    lease = story.claim_build()

    assert (lease.pipeline, lease.name_source) == (None, None)


def test_lineage_that_json_cannot_hold_is_refused(story: Story, store: Store) -> None:
    """It says so by its class, and changes nothing."""
    story.end("a")
    lease = story.claim_build()
    odd = Lineage(execution=lease.execution, incomplete=("\ud800",))

    with pytest.raises(RefusedByStoreError):
        store.finish_build(lease, built(lease, lineage=odd), [TARGET])

    assert store.finish_build(lease, built(lease), [])


def test_text_with_a_nul_is_stored(story: Story, store: Store) -> None:
    """Error messages and URIs may hold anything; they must not stop a build."""
    story.end("a")
    lease = story.claim_build()
    odd = lineage(lease, incomplete=("s3://a\0b is missing",))
    key = "s3://a\0b/" + "x" * 5000

    assert store.finish_build(
        lease,
        built(lease, lineage=odd, locations={key: DATASET}, waiting=frozenset({"\0"})),
        [TARGET],
    )

    assert story.claim().lineage == odd
    assert store.locations([key]) == {key: DATASET}


# --------------------------------------------------------------------- locations


def test_the_first_writer_of_a_location_wins(story: Story, store: Store) -> None:
    """A name that was given does not change."""
    other = DATASET.model_copy(update={"name": "other"})

    story.build("a", locations={KEY: DATASET})
    story.build("b", locations={KEY: other, "s3://b": other})

    assert store.locations([KEY, "s3://b", "s3://unknown"]) == {KEY: DATASET, "s3://b": other}


def test_who_registers_second_looks_again(story: Story, store: Store) -> None:
    """It told the data under a name of its own; the first writer's is the one to use."""
    other = DATASET.model_copy(update={"name": "other"})
    first, second = claims(story, "first", "second")
    store.finish_build(first, built(first, locations={KEY: DATASET}), [])

    store.finish_build(second, built(second, locations={KEY: other}), [])

    assert due(store) == ["second"]
    assert store.locations([KEY]) == {KEY: DATASET}


def test_who_registers_the_same_name_is_content(story: Story, store: Store) -> None:
    first, second = claims(story, "first", "second")
    store.finish_build(first, built(first, locations={KEY: DATASET, "pipeline:p": None}), [])

    store.finish_build(second, built(second, locations={KEY: DATASET, "pipeline:p": None}), [])

    assert due(store) == []


def test_a_pipeline_can_be_known_without_a_dataset(story: Story, store: Store) -> None:
    """Such a key says only that it is there."""
    story.build("a", locations={"pipeline:shop.production.app.etl": None})

    assert store.locations(["pipeline:shop.production.app.etl", "pipeline:x"]) == {
        "pipeline:shop.production.app.etl": None
    }


@pytest.mark.parametrize("dataset", [DATASET, None])
def test_who_waits_first_is_woken(story: Story, store: Store, dataset: DatasetId | None) -> None:
    """Registering makes the waiting executions due, once."""
    reader, writer = claims(story, "reader", "writer")
    store.finish_build(reader, built(reader, waiting=frozenset({KEY})), [])
    before = due(store)

    store.finish_build(writer, built(writer, locations={KEY: dataset}), [])

    assert (before, due(store)) == ([], ["reader"])
    again = story.claim_build()
    assert again.revision == reader.revision + 1
    store.finish_build(again, built(again), [])
    story.build("second-writer", locations={KEY: dataset})
    assert due(store) == []


def test_who_waits_too_late_looks_again(story: Story, store: Store) -> None:
    """It was registered after the reader had looked, before it finished."""
    reader, writer = claims(story, "reader", "writer")
    store.finish_build(writer, built(writer, locations={KEY: DATASET}), [])

    store.finish_build(reader, built(reader, waiting=frozenset({KEY})), [])

    assert due(store) == ["reader"]
    assert store.status()["executions"]["waiting"] == 0


@pytest.mark.parametrize("known", [False, True], ids=["fresh row", "row of another waiter"])
@pytest.mark.parametrize("first", ["reader", "writer"])
def test_nobody_waits_for_what_is_just_registered(
    story: Story, open_store: OpenStore, first: str, known: bool
) -> None:
    """The two transactions overlap; whichever is ahead, the reader is built again."""
    if known:
        story.build("other-reader", waiting=frozenset({KEY}))
    reader, writer = claims(story, "reader", "writer")
    one, two = open_store(), open_store()
    works = {
        "reader": lambda store: store.finish_build(
            reader, built(reader, waiting=frozenset({KEY})), []
        ),
        "writer": lambda store: store.finish_build(
            writer, built(writer, locations={KEY: DATASET}), []
        ),
    }
    last = "writer" if first == "reader" else "reader"

    done = overlapping(
        partial(works[first], one),
        Pause(one, "DELETE FROM waiting"),
        partial(works[last], two),
    )

    assert done == (True, True)
    assert due(story.store) == (["other-reader", "reader"] if known else ["reader"])


def test_executions_that_wait_for_each_other_do_not_lock_each_other(
    story: Story, open_store: OpenStore
) -> None:
    """Each registers what the other waits for, at once, many times."""
    stores = [open_store(), open_store()]
    locked = deadlocks(stores)
    for number in range(10):
        keys = [f"s3://{number}/0", f"s3://{number}/1"]
        leases = claims(story, f"x{number}", f"y{number}")
        finished = at_once(
            *(
                partial(
                    stores[one].finish_build,
                    leases[one],
                    built(
                        leases[one],
                        locations={keys[one]: DATASET},
                        waiting=frozenset({keys[1 - one]}),
                    ),
                    [],
                )
                for one in (0, 1)
            )
        )

        assert finished == [True, True]
        # The first to finish waited; the last found what it wanted registered.
        assert due(story.store) == [f"x{number}", f"y{number}"]
        for lease in story.store.claim_build(9, lease_seconds=LEASE):
            story.store.finish_build(lease, built(lease), [])
    assert story.store.status()["executions"]["waiting"] == 0
    assert locked == []


def test_what_an_execution_waits_for_is_replaced(story: Story, store: Store) -> None:
    """A later build that no longer waits is not woken."""
    story.build("reader", waiting=frozenset({KEY}))
    story.build("reader")

    story.build("writer", locations={KEY: DATASET})

    assert due(store) == []


def test_an_execution_does_not_wait_for_itself(story: Story, store: Store) -> None:
    """What it registers itself is known."""
    story.build("a", waiting=frozenset({KEY}), locations={KEY: DATASET})

    assert due(store) == []


def test_many_locations_fit_into_one_build(story: Story, store: Store) -> None:
    """More keys than a statement can bind."""
    keys = [f"s3://bucket/{number}" for number in range(3000)]
    story.build("a", locations=dict.fromkeys(keys, DATASET))
    story.build("b", waiting=frozenset(f"{key}/" for key in keys))

    assert len(store.locations(keys)) == 3000


# ------------------------------------------------------------------------ places


def retiring(lease: BuildLease) -> Lineage:
    """Lineage that tells the bare id once more."""
    return lineage(lease, tasks=(Task.of(TaskId(pipeline=PIPELINE, name="t"), retired=True),))


def test_places_are_remembered_per_pipeline(story: Story, store: Store) -> None:
    """Another pipeline's task of the same name stands where it stands."""
    other = PipelineId(project="shop", domain="production", name="other")
    story.build("a", pipeline=PIPELINE, places={"t": True, "u": False})

    places = store.places(PIPELINE)

    assert (places.multiple, places.bare, places.retired_by) == ({"t"}, {"u"}, {})
    assert store.places(other).multiple == frozenset()


def test_who_shows_a_second_place_retires_the_bare_id(story: Story, store: Store) -> None:
    """It told so itself, because it saw that the bare id had been told."""
    story.build("a", pipeline=PIPELINE, places={"t": False})
    story.end("b")
    lease = story.claim_build()

    store.finish_build(
        lease, built(lease, lineage=retiring(lease), pipeline=PIPELINE, places={"t": True}), []
    )

    assert store.places(PIPELINE).retired_by == {"t": execution("b")}
    assert due(store) == []


def test_a_bare_id_that_was_told_meanwhile_is_retired_after_all(story: Story, store: Store) -> None:
    """The build did not know of it, so it is due again."""
    several, bare = claims(story, "several", "bare")
    store.finish_build(bare, built(bare, pipeline=PIPELINE, places={"t": False}), [])

    store.finish_build(several, built(several, pipeline=PIPELINE, places={"t": True}), [])

    assert due(store) == ["several"]
    assert store.places(PIPELINE).retired_by == {"t": execution("several")}


def test_a_bare_id_is_not_told_once_it_has_places(story: Story, store: Store) -> None:
    """The build is overtaken: nothing of it is told, and it is done again."""
    several, bare = claims(story, "several", "bare")
    store.finish_build(several, built(several, pipeline=PIPELINE, places={"t": True}), [])

    assert store.finish_build(bare, built(bare, pipeline=PIPELINE, places={"t": False}), [TARGET])

    assert due(store) == ["bare"]
    assert not store.claim_delivery(TARGET, 1, lease_seconds=LEASE)
    assert store.places(PIPELINE).bare == frozenset()


@pytest.mark.parametrize("first", ["several", "bare"])
def test_places_that_are_found_at_once_are_reconciled(
    story: Story, open_store: OpenStore, first: str
) -> None:
    """The two transactions overlap; whichever is ahead, one of them is built again."""
    leases = dict(zip(("several", "bare"), claims(story, "several", "bare"), strict=True))
    last = "bare" if first == "several" else "several"
    one, two = open_store(), open_store()

    def finish(store: Store, name: str) -> bool:
        found = built(leases[name], pipeline=PIPELINE, places={"t": name == "several"})
        return store.finish_build(leases[name], found, [])

    overlapping(
        partial(finish, one, first), Pause(one, "DELETE FROM waiting"), partial(finish, two, last)
    )

    assert due(story.store) == [last]


def test_due_since_is_kept_over_a_crash(story: Story, clock: Clock) -> None:
    """How long an execution has been due does not begin anew with each claim."""
    story.end("a")
    since = story.claim_build().due_since
    clock.advance(LEASE)

    assert story.claim_build().due_since == since


# ------------------------------------------------------------------------ keeping


def test_a_lease_that_is_kept_does_not_run_out(story: Story, store: Store, clock: Clock) -> None:
    """FlyteAdmin may be asked about thousands of nodes meanwhile."""
    story.end("a")
    lease = story.claim_build()

    for _ in range(5):
        clock.advance(LEASE - 1)
        assert store.keep_build(lease, lease_seconds=LEASE)

    assert store.claim_build(1, lease_seconds=LEASE) == []
    assert store.finish_build(lease, built(lease), [])


def test_a_lease_that_somebody_else_has_is_not_kept(
    story: Story, store: Store, clock: Clock
) -> None:
    story.end("a")
    lease = story.claim_build()
    clock.advance(LEASE)
    (other,) = store.claim_build(1, lease_seconds=LEASE)

    assert not store.keep_build(lease, lease_seconds=LEASE)
    assert store.finish_build(other, built(other), [])
