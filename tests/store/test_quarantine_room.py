"""A flood of messages that nobody can read fills no disk."""

from __future__ import annotations

import pytest

from flytelineage.errors import StoreError
from flytelineage.store import Refused, Store, room
from tests.store.conftest import Clock, OpenStore, at_once

MB = 1 << 20


def flood(store: Store, clock: Clock, count: int, *, body_bytes: int = 20, start: int = 0) -> None:
    """Messages that come in tens, one ten a second."""
    for first in range(start, start + count, 10):
        store.record(
            [],
            [
                Refused(f"{number:<{body_bytes}}", "Not base64", message_id=f"m{number}")
                for number in range(first, min(first + 10, start + count))
            ],
        )
        clock.advance(1)


def test_below_the_bounds(open_store: OpenStore, clock: Clock) -> None:
    """Everything stays."""
    store = open_store(max_quarantine=100)

    flood(store, clock, 100)

    kept = store.quarantined(1000)
    assert len(kept) == 100
    assert not any(one.emptied for one in kept)
    assert store.clean().removed == {}


def test_too_many(open_store: OpenStore, clock: Clock) -> None:
    """The oldest go, and are counted."""
    store = open_store(max_quarantine=100)

    flood(store, clock, 1000)

    kept = store.quarantined(1000)
    removed = store.clean().removed["quarantine"]
    assert 80 <= len(kept) <= 110
    assert len(kept) + removed == 1000
    assert min(int(one.message_id[1:]) for one in kept) >= 1000 - len(kept) - 10


def test_too_large(open_store: OpenStore, clock: Clock) -> None:
    """The oldest lose their bodies; what they were and why stays."""
    store = open_store(max_quarantine_mb=1)

    flood(store, clock, 300, body_bytes=10_000)

    kept = store.quarantined(1000)
    whole = [one for one in kept if not one.emptied]
    assert len(kept) == 300
    assert 0.8 * MB < sum(one.body_bytes for one in whole) < 1.2 * MB
    assert {one.body_bytes for one in kept} == {10_000}
    assert {one.reason for one in kept} == {"Not base64"}
    assert min(int(one.message_id[1:]) for one in whole) >= 300 - len(whole) - 10


def test_a_body_that_is_gone(open_store: OpenStore, clock: Clock) -> None:
    """Whoever asks for it hears why."""
    store = open_store(max_quarantine_mb=1)
    flood(store, clock, 300, body_bytes=10_000)
    gone = next(one.id for one in store.quarantined(1000) if one.emptied)

    with pytest.raises(StoreError, match=r"no room to keep .* Store\.max_quarantine_mb"):
        store.quarantine_body(gone)


def test_one_that_comes_again(open_store: OpenStore, clock: Clock) -> None:
    """It counts as young, and stays."""
    store = open_store(max_quarantine=200)
    flood(store, clock, 10)

    for start in range(100, 1000, 100):
        flood(store, clock, 90, start=start)
        flood(store, clock, 10)

    kept = {one.message_id: one.count for one in store.quarantined(1000)}
    assert kept["m0"] == 10


def test_looks_are_few(
    open_store: OpenStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look costs as much as there is, so most messages come without one."""
    looks: list[int] = []
    monkeypatch.setattr(room, "_remove", lambda _connection, count: looks.append(count) or 0)
    store = open_store(max_quarantine=1600)

    flood(store, clock, 3000)

    assert 0 < len(looks) <= 1 + (3000 - 1600) // 100


def test_floods_at_once(open_store: OpenStore, clock: Clock) -> None:
    """Several processes keep to the bound together."""
    stores = [open_store(max_quarantine=200) for _ in range(3)]

    at_once(
        *(
            lambda store=store, start=start: flood(store, clock, 500, start=start)
            for start, store in zip((0, 1000, 2000), stores, strict=True)
        )
    )

    assert len(stores[0].quarantined(10_000)) <= 200 + 3 * 20
