"""Texts that strangers wrote: no database stumbles over a NUL or half a character."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flytelineage.entities import Copy, DatasetId
from flytelineage.store import Backfill, Claim, Refused, SeenEdges, Store
from flytelineage.targets import Rejection
from tests.store.conftest import T0, Story

TEXTS = {
    "NUL": "a\0b",
    "half a character": "a\ud800b",
    "beyond": "a\U0001f40d\u2028b",
    "long": "x" * 9000,
}


@pytest.fixture(params=TEXTS.values(), ids=TEXTS)
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_reasons_and_errors(story: Story, store: Store, text: str) -> None:
    """What a target said, what was wrong with a body, why something waits."""
    store.record([], [Refused(text, text, text, text)])
    store.note_pause(text, text, 60)
    story.build("a")
    store.settle_later(story.claim(), 0, text)
    store.give_up(story.claim(), text)
    story.end("b")
    assert store.postpone_build(story.claim_build(), 0, counted=True, waits_for=text)

    assert len(store.status()["errors"]) == 1
    assert len(store.status()["paused"]) == 1
    (kept,) = store.quarantined(9)
    assert store.quarantine_body(kept.id) == text


def test_entities(story: Story, store: Store, text: str) -> None:
    """Their names, their parts, and what a target refused of them."""
    story.build("a")
    lease = story.claim()
    one = Claim(f"task:{text}", "io", T0, "digest", parts={text: text})

    told = store.prepare(lease, [one], raises=True, refresh_seconds=0)
    settled = store.settle(lease, [*told.values()], [Rejection(entity="task:x", reason="no")])

    assert ([found.entity for found in told.values()], settled) == ([one.entity], True)


def test_a_part_is_found_again(story: Story, store: Store, text: str) -> None:
    """Under the very name that it had: else it would never be taken away."""
    for at, parts in enumerate(({text: ""}, {})):
        story.build("ab"[at], at=at)
        lease = story.claim()
        one = Claim("task:t", "io", T0 + timedelta(seconds=at), str(at), parts=parts)
        told = store.prepare(lease, [one], raises=True, refresh_seconds=0)
        store.settle(lease, [*told.values()], [])

    assert [one.former for one in told.values()] == [{text}]


def test_edges_in_a_window(story: Story, store: Store, text: str) -> None:
    """What an execution showed of a task."""
    story.build("a")
    lease = story.claim()
    seen = SeenEdges(f"task:{text}", text, T0, {text: "{}"})

    assert store.widen(lease, [seen], window_seconds=60) == {seen.entity: ["{}"]}


def test_questions_and_answers(store: Store, text: str) -> None:
    """What FlyteAdmin was asked, and what it said."""
    store.note_asked([text])
    store.note_asked([text])
    first, again = store.keep_definition(text, b"body"), store.keep_definition(text, b"other")
    since = T0 - timedelta(days=1)
    state = Backfill(text, "shop", "production", since=since, until=T0, reached=since)
    store.note_backfill(state)

    assert (first, again) == (True, False)
    assert list(store.asked([text])) == [text]
    assert store.definitions([text]) == {text: b"body"}
    found = store.backfill(text)
    assert found is not None
    assert found.reached == since


def test_names_of_copies(story: Story, store: Store) -> None:
    """A name that another catalogue gave."""
    story.build("a")
    dataset = DatasetId(platform="s3", name="b/a\0b")
    copy = Copy(dataset=dataset, uri="arn:a\0b")

    assert store.settle(story.claim(), [], [], copies={dataset: copy})

    assert store.copies([dataset], besides="openlineage") == {dataset: [copy]}
