"""What FlyteAdmin said is kept, and no question is asked for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from flytelineage.errors import RefusedByStoreError
from flytelineage.store import Backfill, Store
from flytelineage.store import definitions as room
from tests.store.conftest import T0, Clock, OpenStore, at_once

KEY = "workflow:shop/production/app.etl.main/v1"
STATE = Backfill(
    key="shop/production/2026-01-01/",
    project="shop",
    domain="production",
    since=T0 - timedelta(days=30),
    until=T0,
    reached=T0 - timedelta(days=20, microseconds=1),
    recorded=7,
    known=2,
    gone=1,
)

# ------------------------------------------------------------------- definitions


def test_a_definition_is_kept(store: Store) -> None:
    """As bytes, whatever they are; of others nothing is known."""
    body = bytes(range(256))

    assert store.keep_definition(KEY, body)

    assert store.definitions([KEY, "workflow:other"]) == {KEY: body}
    assert store.kept([KEY, "workflow:other"]) == {KEY}
    assert store.status()["definitions"] == 1


def test_the_first_writer_wins(store: Store) -> None:
    """A version does not change, so the second one says nothing new."""
    store.keep_definition(KEY, b"one")

    assert not store.keep_definition(KEY, b"two")

    assert store.definitions([KEY]) == {KEY: b"one"}


def test_an_empty_definition_is_one(store: Store) -> None:
    """A protobuf without fields has no bytes."""
    store.keep_definition(KEY, b"")

    assert store.definitions([KEY]) == {KEY: b""}


def test_a_definition_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger is refused as it is, and says how large it was."""
    monkeypatch.setattr(room, "MAX_BODY_BYTES", 10)

    with pytest.raises(RefusedByStoreError, match=r"app\.etl\.main/v1 has 11 bytes"):
        store.keep_definition(KEY, b"x" * 11)

    assert store.definitions([KEY]) == {}


def test_a_key_of_any_length(store: Store) -> None:
    """Versions are free text, longer than an index of PostgreSQL takes."""
    key = f"workflow:{'v' * 5000}"
    store.keep_definition(key, b"one")
    store.keep_definition(f"{key}w", b"two")

    assert store.definitions([key, f"{key}w"]) == {key: b"one", f"{key}w": b"two"}


def test_replicas_keep_one_definition_at_once(open_store: OpenStore) -> None:
    """One of them is first."""
    stores = [open_store() for _ in range(4)]

    news = at_once(*(partial(one.keep_definition, KEY, b"body") for one in stores))

    assert sorted(news) == [False, False, False, True]


def test_of_nothing_nothing_is_known(store: Store) -> None:
    """No keys, no question to the database."""
    assert (store.definitions([]), store.asked([])) == ({}, {})
    store.note_asked([])


# --------------------------------------------------------------------- questions


def test_a_question_is_remembered_with_its_time(store: Store, clock: Clock) -> None:
    """The last one, by the store's own clock."""
    store.note_asked(["execution:a", "execution:b"])
    clock.advance(60)

    store.note_asked(["execution:b", "execution:b"])

    assert store.asked(["execution:a", "execution:b", "execution:c"]) == {
        "execution:a": T0,
        "execution:b": T0 + timedelta(seconds=60),
    }


# --------------------------------------------------------------------- backfills


def test_a_backfill_is_found_again(store: Store) -> None:
    """To the microsecond; nobody else's."""
    store.note_backfill(STATE)

    assert store.backfill(STATE.key) == STATE
    assert store.backfill("shop/production/2026-01-02/") is None


def test_a_backfill_moves_on(store: Store) -> None:
    """What was written last counts."""
    store.note_backfill(STATE)

    store.note_backfill(replace(STATE, reached=STATE.until, recorded=9, finished=True))

    found = store.backfill(STATE.key)
    assert found is not None
    assert (found.recorded, found.reached, found.finished) == (9, STATE.until, True)


def test_an_unfinished_backfill_is_shown(store: Store) -> None:
    """Somebody may have forgotten it."""
    store.note_backfill(STATE)
    store.note_backfill(replace(STATE, key="other", finished=True))

    assert store.status()["backfills"] == [
        {
            "project": "shop",
            "domain": "production",
            "since": STATE.since.isoformat(),
            "until": STATE.until.isoformat(),
            "reached": STATE.reached.isoformat(),
            "recorded": 7,
            "known": 2,
            "gone": 1,
        }
    ]
