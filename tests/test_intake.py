"""The first loop: what becomes of messages, and when none are taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter

from flytelineage import intake as module
from flytelineage.errors import SourceError, StoreError
from flytelineage.inhand import InHand
from flytelineage.intake import Intake
from flytelineage.metrics import Metrics
from flytelineage.report import Report
from flytelineage.scope import Scope
from flytelineage.sources import Message
from flytelineage.store import Store
from flytelineage.testing.doubles import MemorySource
from tests.factories import TOPIC, node_request, raw_body, sns_body

MB = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(path=str(tmp_path / "store.sqlite3"))
    found.open(exclusive=True)
    yield found
    found.close()


def body(name: str = "a1b2") -> str:
    return sns_body(raw_body(node_request(execution=name)))


class Loop(Intake):
    """With its parts at hand, and a record of how long it rested."""

    def __init__(self, source: MemorySource, store: Store, **how: Any) -> None:
        self.metrics = Metrics()
        self.rests: list[float] = []
        self.now = 0.0
        self.in_hand = InHand(96 * MB, clock=lambda: self.now)
        given = {
            "scope": Scope(),
            "instance": "",
            "topics": (),
            "in_hand": self.in_hand,
            "wait": self.rests.append,
            "stopping": lambda: False,
            "report": Report(metrics=self.metrics),
            "metrics": self.metrics,
            "log": logging.getLogger("flytelineage.test"),
            "reached": lambda step: None,
        }
        super().__init__(source, store, **{**given, **how})

    def value(self, name: str, **labels: str) -> float:
        found = self.metrics.registry.get_sample_value(f"flytelineage_{name}", labels)
        assert found is not None, name
        return found


def refuse(store: Store, monkeypatch: pytest.MonkeyPatch, method: str) -> Callable[[], None]:
    """Let a method of the store fail until the answer is called."""
    failing = True
    real = getattr(store, method)

    def fail(*args: Any, **kwargs: Any) -> Any:
        if failing:
            raise StoreError("It is away")
        return real(*args, **kwargs)

    def mend() -> None:
        nonlocal failing
        failing = False

    monkeypatch.setattr(store, method, fail)
    return mend


def test_what_was_taken_is_counted(store: Store) -> None:
    """By what it is, so that an operator sees whether anything is amiss."""
    loop = Loop(MemorySource([body(), body(), "rubbish"]), store)

    assert loop.run()

    assert loop.value("messages_received_total") == 3
    assert loop.value("messages_deleted_total") == 3
    assert loop.value("events_decoded_total", kind="node") == 2
    assert loop.value("events_stored_total") == 1
    assert loop.value("events_duplicate_total") == 1
    assert loop.value("messages_quarantined_total", reason="undecodable") == 1
    assert loop.value("store_commit_rows_count") == 1


def test_a_message_that_kills_the_process_is_not_decoded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who came back several times is looked at by a child first."""
    asked: list[list[str]] = []

    def kills(bodies: Sequence[str], **how: Any) -> list[str | None]:
        asked.append(list(bodies))
        return [
            "Not decoded, since that kills the process" if "deadly" in one else None
            for one in bodies
        ]

    def decode(body: str, **how: Any) -> Any:
        assert "deadly" not in body
        return real(body, **how)

    real = module.decode
    monkeypatch.setattr(module, "lethal", kills)
    monkeypatch.setattr(module, "decode", decode)
    source = MemorySource()
    source.visible = [
        Message("deadly", "1", receive_count=4),
        Message(body(), "2", receive_count=4),
        Message("new and not looked at", "3", receive_count=module.SUSPECT_RECEIVES),
    ]
    loop = Loop(source, store)

    assert loop.run()

    assert len(asked) == 1
    assert len(asked[0]) == 2
    assert loop.value("messages_quarantined_total", reason="lethal") == 1
    assert loop.value("events_stored_total") == 1
    reasons = "\n".join(one.reason for one in store.quarantined(9))
    assert "kills the process" in reasons
    assert source.exhausted


def test_an_event_that_the_database_refuses_is_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in quarantine, and is neither new nor seen before."""
    real = module.decode

    def absurd(text: str, **how: Any) -> Any:
        event = real(text, **how)
        return replace(event, kind="\udcff") if event.execution.name == "odd" else event

    monkeypatch.setattr(module, "decode", absurd)
    loop = Loop(MemorySource([body(), body("odd"), body("even")]), store)
    loop.metrics.events_decoded = Counter("any", "", ["kind"], registry=None)

    assert loop.run()

    assert loop.value("events_stored_total") == 2
    assert loop.value("events_duplicate_total") == 0
    assert loop.value("messages_quarantined_total", reason="store") == 1
    assert len(store.quarantined(9)) == 1


def test_only_topics_that_are_named_are_read(store: Store) -> None:
    """What comes from elsewhere is put aside, and counted as that."""
    loop = Loop(MemorySource([body(), raw_body(node_request())]), store, topics=[TOPIC])

    loop.run()

    assert loop.value("events_stored_total") == 1
    assert loop.value("messages_quarantined_total", reason="topic") == 1


def test_nothing_is_received_while_the_disk_is_full(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each receive in vain brings a message nearer to the dead-letter queue."""
    source = MemorySource([body()])
    loop = Loop(source, store)
    make_room = refuse(store, monkeypatch, "check_room")

    with pytest.raises(StoreError):
        loop.run()
    assert len(source.visible) == 1
    assert loop.value("intake_paused", reason="disk") == 1
    assert loop.troubles == ["the disk is nearly full"]

    make_room()
    assert loop.run()
    assert loop.value("intake_paused", reason="disk") == 0
    assert loop.troubles == []


def test_nothing_is_received_while_the_store_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is deleted that it did not take."""
    source = MemorySource([body(), *["x"] * 10])
    loop = Loop(source, store)
    mend = refuse(store, monkeypatch, "record")

    for _ in range(3):
        with pytest.raises(StoreError):
            loop.run()

    assert len(source.in_flight) == 10
    assert len(source.visible) == 1
    assert loop.value("intake_paused", reason="store") == 1
    assert loop.value("store_errors_total") == 3
    mend()
    source.again()
    while not source.exhausted:
        loop.run()
    assert loop.value("intake_paused", reason="store") == 0
    assert loop.value("events_stored_total") == 1


def test_a_source_that_stays_away_is_a_trouble_after_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short one is nobody's concern: it is tried again."""
    loop = Loop(MemorySource(failures=[SourceError("no route")] * 2), store)
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)

    with pytest.raises(SourceError):
        loop.run()
    assert loop.troubles == []
    now += module.SILENT_SECONDS + 1
    with pytest.raises(SourceError):
        loop.run()

    assert "no route" in loop.troubles[0]
    assert loop.value("source_errors_total", op="receive") == 2
    loop.run()
    assert loop.troubles == []


def test_messages_are_taken_slowly_while_the_others_are_far_behind(store: Store) -> None:
    """The queue keeps what comes: that is what it is for."""
    loop = Loop(MemorySource([body()]), store)

    loop.run()
    assert loop.rests == []
    loop.far_behind = "100,001 executions are to be built"
    loop.run()

    assert loop.rests == [module.SLOWED_SECONDS]


def test_what_takes_long_to_store_stays_hidden(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would come again, and again, while it is being stored."""
    source = MemorySource([body()])
    source.visibility_seconds = 30.0
    loop = Loop(source, store)
    real = store.record

    def take_long(*args: Any) -> int:
        for loop.now in (14.0, 16.0, 20.0, 32.0):
            loop.keep_hidden()
        return real(*args)

    monkeypatch.setattr(store, "record", take_long)
    loop.run()
    loop.now = 100.0
    loop.keep_hidden()

    assert source.hidden == [(1, 30.0), (1, 30.0)]


def test_what_will_not_be_stored_is_given_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica then need not wait until it is visible again."""
    source = MemorySource([body(), body("other")])
    loop = Loop(source, store)

    def stop_meanwhile(*args: Any) -> int:
        loop.give_back()
        raise StoreError

    monkeypatch.setattr(store, "record", stop_meanwhile)
    with pytest.raises(StoreError):
        loop.run()
    loop.give_back()

    assert source.hidden == [(2, 0)]


def test_a_delete_that_fails_is_counted_and_comes_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MemorySource([body()])
    loop = Loop(source, store)

    def fail(messages: Sequence[Message]) -> None:
        raise SourceError("throttled")

    with monkeypatch.context() as patched:
        patched.setattr(source, "delete", fail)
        with pytest.raises(SourceError):
            loop.run()

    assert loop.value("source_errors_total", op="delete") == 1
    assert loop.in_hand.messages == []
    source.again()
    loop.run()
    assert loop.value("events_duplicate_total") == 1
    assert source.exhausted
