"""SQS fails, repeats and shuffles: nothing is lost, and nothing told twice."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from flytelineage.testing.sqs import Fault
from tests.end_to_end.checks import check
from tests.end_to_end.corpus import RUBBISH, Corpus
from tests.end_to_end.deployment import Deployment, page
from tests.end_to_end.points import some_long
from tests.end_to_end.test_store_fails import hurry

pytestmark = pytest.mark.processes

ERRORS = {
    "RequestThrottled": 400,
    "KmsThrottled": 400,
    "OverLimit": 403,
    "ServiceUnavailable": 503,
    "ExpiredToken": 403,
    "AccessDenied": 403,
    "QueueDoesNotExist": 400,
}


@pytest.mark.parametrize("code", some_long([*ERRORS], kept=[4]))
def test_receives_and_deletes_fail_for_a_while(
    code: str, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """They are tried again ever more seldom, and no daemon ends for it."""
    hurry(on_sqlite)
    daemon = on_sqlite.start()
    on_sqlite.wait_for(lambda: on_sqlite.sqs.calls["ReceiveMessage"] > 1)
    for operation in ("ReceiveMessage", "DeleteMessageBatch"):
        faults = repeat(Fault(code=code, status=ERRORS[code]), 50)
        on_sqlite.sqs.script(operation, chain([None], faults))

    before = on_sqlite.sqs.calls["ReceiveMessage"]
    on_sqlite.queue.send(messages.calm)
    on_sqlite.let_pass(1)
    receives = on_sqlite.sqs.calls["ReceiveMessage"] - before
    for operation in ("ReceiveMessage", "DeleteMessageBatch"):
        on_sqlite.sqs.script(operation, [])
    on_sqlite.drain()

    # Two pollers with pauses of 0.1 s and more, each asking SQS up to three times.
    assert receives <= 70
    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


def test_queue_duplicates_and_shuffles(
    seed: int, on_postgresql: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """As standard queues may, to two replicas of which each sees a part."""
    numbers = random.Random(seed)
    (bodies,) = messages.wild(seed, parts=1, copies=numbers.randint(1, 4))
    on_postgresql.sqs.script("ReceiveMessage", _disorder(numbers))
    daemons = [on_postgresql.start(), on_postgresql.start()]
    on_postgresql.queue.send(bodies)
    on_postgresql.drain()

    assert [on_postgresql.end(one) for one in daemons] == [0, 0]
    check(on_postgresql, messages, calm_state)


def _disorder(numbers: random.Random) -> Iterator[Fault]:
    while True:
        yield Fault(duplicate=numbers.random() < 0.3, shuffle=True)


@pytest.mark.long
def test_redrive_tells_nobody_anything(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """All that was dealt with comes again, under new message ids."""
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()
    told = len(on_sqlite.gms.requests)

    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert len(on_sqlite.gms.requests) == told
    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


def test_deletes_fail_in_part(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """What stays in the queue comes again and changes nothing."""
    numbers = random.Random(seed)
    parts = [Fault(fail_entries=tuple(numbers.sample(range(10), 3))) for _ in range(60)]
    on_sqlite.sqs.script("DeleteMessageBatch", parts)
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_answers_are_lost_on_the_way(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Messages were handed out to nobody, deletes done and not confirmed."""
    hurry(on_sqlite)
    numbers = random.Random(seed)
    for operation in ("ReceiveMessage", "DeleteMessageBatch"):
        faults = [Fault(drop=True) if numbers.random() < 0.5 else None for _ in range(20)]
        on_sqlite.sqs.script(operation, [None, *faults])
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_connection_is_lost_in_the_middle_of_polls(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Again and again, and once nobody listens at all."""
    hurry(on_sqlite)
    numbers = random.Random(seed)
    gate = on_sqlite.gate("sqs")
    daemon = on_sqlite.start()
    (bodies,) = messages.wild(seed, parts=1)

    for number in range(6):
        on_sqlite.queue.send(bodies[number::6])
        on_sqlite.let_pass(numbers.uniform(0, 0.2))
        gate.cut()
    gate.shut()
    on_sqlite.let_pass(0.5)
    gate.open()
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


def test_queue_is_deleted_and_made_anew(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """What was in it is gone with it; what is sent to the new one is taken in."""
    hurry(on_sqlite)
    daemon = on_sqlite.start()
    first, *others = messages.executions
    on_sqlite.queue.send(first)
    on_sqlite.drain()

    on_sqlite.sqs.delete_queue("events")
    on_sqlite.wait_for(lambda: "does not exist" in daemon.log)
    on_sqlite.make_queues()
    on_sqlite.queue.send([*RUBBISH, *(body for bodies in others for body in bodies)])
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_messages_stay_hidden_while_the_store_is_slow(
    on_sqlite: Deployment, tmp_path: Path, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """For three times as long as the queue hides them: each is handed out once."""
    on_sqlite.queue.attributes["VisibilityTimeout"] = "4"
    url = on_sqlite.serve()
    daemon = on_sqlite.start()
    on_sqlite.wait_for(lambda: on_sqlite.sqs.calls["ReceiveMessage"] > 1)

    with closing(sqlite3.connect(tmp_path / "store.sqlite3", timeout=30)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        on_sqlite.queue.send(messages.calm)
        on_sqlite.let_pass(12, pace=0)
        other.execute("ROLLBACK")
    on_sqlite.wait_for(on_sqlite.drained, pace=0)

    received = f"flytelineage_messages_received_total {len(messages.calm)}.0"
    assert received in page(f"{url}/metrics")[1]
    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)
