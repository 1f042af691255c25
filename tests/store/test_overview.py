"""What `status` says: every execution and delivery is counted where it stands."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy

from flytelineage.store import Refused, Store
from tests.store.conftest import (
    LEASE,
    PIPELINE,
    Clock,
    Story,
    built,
    event,
    lineage,
)


def executions(store: Store) -> dict[str, int]:
    return {name: count for name, count in store.status()["executions"].items() if count}


def test_an_empty_store_has_nothing_to_say(store: Store) -> None:
    """All counts are there, and are zero."""
    assert store.status() == {
        "executions": dict.fromkeys(
            (
                "collecting", "due", "building", "built", "partial", "incomplete", "guessed",
                "unnamed", "waiting", "unanswered",
            ),
            0,
        ),
        "deliveries": {},
        "paused": {},
        "quarantine": {},
        "errors": [],
        "problems": [],
        "definitions": 0,
        "backfills": [],
    }  # fmt: skip


def test_each_execution_stands_somewhere(story: Story, store: Store, clock: Clock) -> None:
    """From its first event to its build."""
    seen = []
    store.record([event("a", terminal=True)])
    seen.append(executions(store))
    clock.advance(store.min_settle)
    seen.append(executions(store))
    lease = story.claim_build()
    seen.append(executions(store))
    clock.advance(LEASE)
    seen.append(executions(store))
    lease = story.claim_build()
    store.finish_build(lease, built(lease, pipeline=PIPELINE), [])
    seen.append(executions(store))

    assert seen == [{"collecting": 1}, {"due": 1}, {"building": 1}, {"due": 1}, {"built": 1}]


def test_what_waits_for_flyteadmin_is_shown(story: Story, store: Store) -> None:
    """Until it is built, with or without an answer."""
    story.end("a")
    store.postpone_build(story.claim_build(), 0, counted=False, waits_for="FlyteAdmin")

    assert executions(store) == {"due": 1, "unanswered": 1}
    (problem,) = store.status()["problems"]
    assert problem["reasons"] == ["not built yet: waits for FlyteAdmin"]
    lease = story.claim_build()
    store.finish_build(lease, built(lease, pipeline=PIPELINE), [])
    assert executions(store) == {"built": 1}


def test_what_was_put_off_for_another_reason_waits_for_nobody(story: Story, store: Store) -> None:
    """It is not counted as FlyteAdmin's, and the reason is named."""
    story.end("a")
    store.postpone_build(story.claim_build(), 0, counted=True, waits_for="S3 does not answer")

    assert executions(store) == {"due": 1}
    (problem,) = store.status()["problems"]
    assert problem["reasons"] == ["put off: S3 does not answer"]


def test_a_guessed_name_that_waits_for_a_success_is_shown(story: Story, store: Store) -> None:
    """In words: the key of a pipeline is nothing that people know."""
    story.build("a", pipeline=PIPELINE, waiting=frozenset({"pipeline:shop.production.etl"}))

    (problem,) = store.status()["problems"]

    assert problem["reasons"] == [
        "its name is a guess that waits for a success: shop.production.etl"
    ]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_lineage_is_read_for_what_lacks_nothing(store: Store) -> None:
    """They are large, and `status` is asked again and again by who watches."""
    database = store._rooms.database
    asked: list[tuple[str, Any]] = []
    sqlalchemy.event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _c, _u, text, given, *_: asked.append((text, given)),
    )
    store.status()

    ((query, given),) = [one for one in asked if "lineage.incomplete," in one[0]]
    plan = [
        row.detail
        for row in database.read(
            lambda c: c.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", given).all()
        )
    ]
    assert any(step.startswith("SEARCH execution") for step in plan)
    assert any(step.startswith("SCAN lineage") and "ix_lineage_lacks" in step for step in plan)


def test_what_a_lineage_lacks_is_shown(story: Story, store: Store) -> None:
    """With the reasons, one line each."""
    story.end("a")
    lease = story.claim_build()
    found = lineage(
        lease,
        name_source="guessed",
        partial=True,
        incomplete=("s3://b/outputs.pb: denied, grant s3:GetObject",),
    )
    store.finish_build(
        lease, built(lease, lineage=found, pipeline=PIPELINE, waiting=frozenset({"s3://x"})), []
    )

    assert executions(store) == {
        "built": 1,
        "partial": 1,
        "incomplete": 1,
        "guessed": 1,
        "waiting": 1,
    }
    assert store.status()["problems"] == [
        {
            "execution": "shop/production/a",
            "reasons": [
                "s3://b/outputs.pb: denied, grant s3:GetObject",
                "events are missing",
                "waits for s3://x",
            ],
        }
    ]


def test_an_execution_without_a_name_is_shown(story: Story, store: Store) -> None:
    """Nothing is told of its pipeline, so somebody should know."""
    story.build("a")

    assert executions(store) == {"built": 1, "unnamed": 1}
    (problem,) = store.status()["problems"]
    assert "no name" in problem["reasons"][0]


def test_a_build_that_keeps_failing_is_shown(story: Story, store: Store) -> None:
    """A crash in it would otherwise go unseen."""
    story.end("a")
    store.postpone_build(story.claim_build(), 0, counted=True)
    store.postpone_build(story.claim_build(), 60, counted=True)

    (problem,) = store.status()["problems"]

    assert problem["reasons"] == ["begun to be built 2 times"]


def test_deliveries_are_counted_by_target_and_state(
    story: Story, store: Store, clock: Clock
) -> None:
    """And the oldest that is not settled shows how far behind a target is."""
    for name in "abcde":
        story.build(name)
    story.deliver()
    store.give_up(story.claim(), "400")
    store.settle_later(story.claim(), 3600, "503")
    story.claim()
    clock.advance(20)

    (counts,) = store.status()["deliveries"].values()

    assert counts == {
        "due": 1,
        "later": 1,
        "telling": 1,
        "held": 0,
        "delivered": 1,
        "given_up": 1,
        "rejected": 0,
        "oldest_seconds": 20 + 2 * store.min_settle,
    }


def test_a_settled_target_has_no_oldest(story: Story, store: Store) -> None:
    """Nothing is behind."""
    story.build("a")
    story.deliver()

    assert store.status()["deliveries"]["datahub"]["oldest_seconds"] is None


def test_quarantine_is_counted_by_reason(store: Store) -> None:
    """The most frequent first."""
    store.record([], [Refused("a", "rare"), Refused("b", "often"), Refused("c", "often")])

    assert list(store.status()["quarantine"].items()) == [("often", 2), ("rare", 1)]


def test_gauges_get_the_same_numbers(story: Story, store: Store) -> None:
    """And of what is in quarantine its size."""
    story.build("a")
    store.record([], [Refused("b", "often"), Refused("cc", "often"), Refused("cc", "often")])

    counts, status = store.counts(), store.status()

    assert counts["executions"] == status["executions"]
    assert counts["deliveries"] == status["deliveries"]
    assert counts["quarantine"] == {"rows": 2, "bytes": 3}


def test_status_can_be_written_as_json(story: Story, store: Store) -> None:
    """For scripts."""
    story.build("a")
    store.give_up(story.claim(), "400")
    store.note_pause("datahub", "401", 60)

    assert json.loads(json.dumps(store.status())) == store.status()


# ------------------------------------------------------------------------ pauses


def test_a_paused_target_is_shown(store: Store, clock: Clock) -> None:
    """With what it said, and until when nothing is told."""
    store.note_pause("datahub", "401 \0 Unauthorized", 60)

    assert store.status()["paused"] == {
        "datahub": {
            "reason": "401 \ufffd Unauthorized",
            "since": clock.now.isoformat(),
            "until": (clock.now + timedelta(seconds=60)).isoformat(),
        }
    }


def test_a_pause_that_goes_on_began_once(store: Store, clock: Clock) -> None:
    """Each try in vain puts off its end."""
    began = clock.now
    for _ in range(3):
        store.note_pause("datahub", "503", 60)
        clock.advance(60)

    (shown,) = store.status()["paused"].values()

    assert (shown["since"], shown["until"]) == (began.isoformat(), clock.now.isoformat())


def test_a_target_that_is_back_is_not_shown(store: Store) -> None:
    """Whoever noticed it; a second time does nothing."""
    store.note_pause("datahub", "503", 60)
    store.note_pause("glue", "expired", 60)

    store.note_resumed("datahub")
    store.note_resumed("datahub")

    assert list(store.status()["paused"]) == ["glue"]


def test_the_pause_of_a_process_that_died_is_forgotten(store: Store, clock: Clock) -> None:
    """The next one is another pause."""
    store.note_pause("datahub", "503", 60)
    clock.advance(3600)
    forgotten = store.status()["paused"]

    store.note_pause("datahub", "401", 60)

    assert forgotten == {}
    assert store.status()["paused"]["datahub"]["since"] == clock.now.isoformat()
