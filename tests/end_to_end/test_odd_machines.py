"""Clocks that are wrong, threads that end, schemas of another release: the work goes on."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.end_to_end.checks import check
from tests.end_to_end.corpus import Corpus
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.test_store_fails import hurry
from tests.end_to_end.worker import CLOCK, END_THREAD

pytestmark = pytest.mark.processes

HOUR = 3600


@pytest.mark.long
def test_clocks_of_two_replicas_are_wrong(
    seed: int, on_postgresql: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """One is an hour ahead, the other one behind; the database's clock decides on leases."""
    first, second = messages.wild(seed, parts=2)
    daemons = []
    for hours in (1, -1):
        clock = on_postgresql.folder / f"clock{hours}"
        clock.write_text(str(hours * HOUR))
        daemons.append(on_postgresql.start(environment={CLOCK: str(clock)}))
    on_postgresql.queue.send(first)
    on_postgresql.drain()
    on_postgresql.queue.send(second)
    on_postgresql.drain()

    assert [on_postgresql.end(one) for one in daemons] == [0, 0]
    check(on_postgresql, messages, calm_state)


def test_clock_jumps_while_the_daemon_runs(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Back and forth by hours, as after a pause of the machine or a wrong time server."""
    numbers = random.Random(seed)
    clock = on_sqlite.folder / "clock"
    clock.write_text("0")
    daemon = on_sqlite.start(environment={CLOCK: str(clock)})
    for part in messages.wild(seed, parts=4):
        clock.write_text(str(numbers.uniform(-3, 3) * HOUR))
        on_sqlite.queue.send(part)
        on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


def test_poller_that_ends_is_replaced(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """And the log says so."""
    daemon = on_sqlite.start(environment={END_THREAD: "1,2"})
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert daemon.log.count("ended by itself; starting another one") == 2
    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_poller_that_ends_again_and_again_ends_the_process(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Rather that than a process that only seems to live; whoever starts it again wins."""
    hurry(on_sqlite)
    on_sqlite.queue.send(messages.calm)
    daemon = on_sqlite.start(environment={END_THREAD: ",".join(map(str, range(1, 50)))})

    status = on_sqlite.wait_for_end(daemon)
    successor = on_sqlite.start()
    on_sqlite.drain()

    assert status == 1, daemon.log
    assert on_sqlite.end(successor) == 0
    check(on_sqlite, messages, calm_state)
