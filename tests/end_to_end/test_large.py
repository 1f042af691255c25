"""Much of everything: memory stays the same, and what is sound is told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from itertools import islice
from typing import Any

import pytest

from flytelineage.events import Event, decode
from flytelineage.store import Store
from tests.end_to_end.checks import MEMORY_BYTES, check, differences
from tests.end_to_end.corpus import Corpus
from tests.end_to_end.deployment import Deployment

pytestmark = pytest.mark.processes

EVENTS = 1_000_000
GROUP = 1_000
CONTAINER_BYTES = 512 * 1024 * 1024
"""What the manifests let the container have."""

LARGE_BYTES = 900_000
LARGE_MESSAGES = 300


def test_execution_that_falls_silent_is_told_and_corrected(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """As running at first, and as it ended once its last event is there after all."""
    on_sqlite.options["Store.idle"] = 1
    ends = [body for bodies in messages.executions for body in bodies if _decoded(body).terminal]
    daemon = on_sqlite.start()

    on_sqlite.queue.send([body for body in messages.calm if body not in ends])
    on_sqlite.wait_for(lambda: len(on_sqlite.told()["file"]) == len(messages.executions))
    silent = {line["phase"] for line in on_sqlite.told()["file"].values()}
    on_sqlite.queue.send(ends)
    on_sqlite.drain()

    assert "RUNNING" in silent
    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_execution_of_a_million_events_is_told(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Of one task that reported itself again and again; memory does not know it."""
    more = _reports(messages, EVENTS)
    store = Store()
    store.url = on_sqlite.store_url
    store.open(exclusive=True)
    while group := list(islice(more, GROUP)):
        store.record(group)
    store.close()

    daemon = on_sqlite.start(real=True)
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain(patience=600)

    assert on_sqlite.end(daemon) == 0
    assert on_sqlite.rows("SELECT count(*) > 1000000 FROM event") == [(1,)]
    assert on_sqlite.peak_bytes < MEMORY_BYTES
    assert differences(calm_state, on_sqlite.told()) == []


def _decoded(body: str) -> Event:
    return decode(body, received_at=datetime.now(timezone.utc))


def _reports(messages: Corpus, number: int) -> Iterator[Event]:
    """What a task that runs says of itself, at one moment after the other."""
    from flyteidl.admin import event_pb2

    told = next(
        event
        for event in map(_decoded, messages.executions[0])
        if event.kind == "task" and event.phase == "RUNNING" and event.encoding == "raw"
    )
    request = event_pb2.TaskExecutionEventRequest.FromString(told.payload)
    for count in range(1, number + 1):
        request.event.reported_at.FromDatetime(told.occurred_at + timedelta(microseconds=count))
        payload = request.SerializeToString()
        yield replace(told, payload=payload, hash=sha256(payload).digest())


@pytest.mark.long
@pytest.mark.parametrize(("pollers", "in_hand_mb"), [(4, 96), (16, 32)])
def test_backlog_of_large_messages_needs_no_more_memory(
    pollers: int,
    in_hand_mb: int,
    seed: int,
    on_sqlite: Deployment,
    messages: Corpus,
    calm_state: dict[str, Any],
) -> None:
    """As large as SQS carries them, which they never are: more than ever, less than there is."""
    numbers = random.Random(seed)
    on_sqlite.options |= {
        "Daemon.pollers": pollers,
        "Daemon.max_in_hand_mb": in_hand_mb,
        "Store.max_quarantine_mb": 16,
    }
    large = [f"{number} " + "x" * LARGE_BYTES for number in range(LARGE_MESSAGES)]
    bodies = [*large, *messages.calm]
    numbers.shuffle(bodies)
    on_sqlite.queue.send(bodies)
    daemon = on_sqlite.start(real=True)
    on_sqlite.drain(patience=300)

    assert on_sqlite.end(daemon) == 0
    assert on_sqlite.peak_bytes < CONTAINER_BYTES
    assert differences(calm_state, on_sqlite.told()) == []
