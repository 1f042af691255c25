"""kill -9 at every step: nothing is lost, and the catalogues end as after a calm run."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest

from flytelineage.testing import crash
from tests.end_to_end.checks import check
from tests.end_to_end.corpus import RUBBISH, Corpus
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.points import Point
from tests.end_to_end.worker import WRITTEN

pytestmark = pytest.mark.processes

KILLED = -signal.SIGKILL
LIVES = 12
KILLS = 40


def test_one_process_is_killed_and_started_again(
    point: Point, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """What the dead one had in hand is taken up by its successor, and changes nothing."""
    first, second = messages.wild(seed=point.seed + len(point.place), parts=2)
    on_sqlite.queue.send(first)

    killed = on_sqlite.start(point.setting)
    on_sqlite.wait_for(lambda: killed.exitcode is not None or on_sqlite.drained())
    status = on_sqlite.end(killed) if killed.exitcode is None else killed.exitcode
    on_sqlite.queue.send(second)
    successor = on_sqlite.start()
    on_sqlite.drain()

    assert status == KILLED or point.passes > 1, killed.log
    assert on_sqlite.end(successor) == 0
    check(on_sqlite, messages, calm_state)


def test_two_processes_are_killed_one_after_the_other(
    pair: tuple[int, str, str],
    on_postgresql: Deployment,
    messages: Corpus,
    calm_state: dict[str, Any],
) -> None:
    """The other one goes on, and a third one takes up what both had in hand."""
    seed, place, another = pair
    settings = [Point(seed, place).setting, another if ":" in another else f"{another}:2"]
    killed = [on_postgresql.start(setting) for setting in settings]

    # Each leaves work to the other, until it has its share.
    for part in messages.wild(seed=seed + len(place), parts=4):
        on_postgresql.queue.send(part)
        on_postgresql.wait_for(lambda: not on_postgresql.some_live() or on_postgresql.drained())
    third = on_postgresql.start()
    on_postgresql.drain()

    statuses = {one.exitcode for one in killed}
    assert statuses == {KILLED} or (seed and statuses <= {KILLED, None})
    assert on_postgresql.end(third) == 0
    for one in killed:
        assert one.exitcode is not None or on_postgresql.end(one) == 0
    check(on_postgresql, messages, calm_state)


@pytest.mark.long
def test_replicas_are_killed_again_and_again_under_load(
    seed: int, on_postgresql: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """There are always two, each is killed somewhere, and messages keep coming."""
    numbers = random.Random(seed)
    places = [*crash.STEPS, *WRITTEN]
    parts = messages.wild(seed, parts=LIVES, copies=4)

    for part in parts:
        on_postgresql.queue.send(part)
        while len(on_postgresql.living) < 2:
            setting = f"{numbers.choice(places)}:{numbers.randint(1, 6)}"
            on_postgresql.start(setting)
        # An execution is drained at the end alone: its events come with several parts.
        on_postgresql.wait_for(lambda: len(on_postgresql.living) < 2 or on_postgresql.rests())
    last = on_postgresql.start()
    on_postgresql.drain()

    assert on_postgresql.end(last) == 0
    for one in on_postgresql.living:
        assert on_postgresql.end(one) == 0
    check(on_postgresql, messages, calm_state)


@pytest.mark.long
def test_acknowledged_commits_survive_forty_kills(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """At moments of the clock: whatever was deleted from the queue is in the store."""
    numbers = random.Random(seed)
    parts = messages.wild(seed, parts=KILLS, copies=4)

    for part in parts:
        on_sqlite.queue.send(part)
        daemon = on_sqlite.start()
        on_sqlite.wait_for(lambda daemon=daemon: daemon.log != "")
        on_sqlite.let_pass(numbers.uniform(0, 0.5))
        daemon.signal(signal.SIGKILL)
        assert on_sqlite.wait_for_end(daemon) == KILLED
    last = on_sqlite.start()
    on_sqlite.drain()

    assert on_sqlite.end(last) == 0
    assert "damaged" not in last.log
    check(on_sqlite, messages, calm_state)


@pytest.mark.parametrize("step", ["built", "batch emitted", "emitted"])
def test_a_process_wakes_up_after_its_lease(
    step: str, on_postgresql: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Meanwhile newer executions were told, over which it now tells what it had in hand."""
    older, *newer = messages.executions
    on_postgresql.queue.send(older)

    frozen = on_postgresql.start(f"{step}:1:SIGSTOP")
    on_postgresql.wait_for(lambda: frozen.frozen)
    on_postgresql.end_transactions()
    other = on_postgresql.start()
    on_postgresql.queue.send([*RUBBISH, *(body for bodies in newer for body in bodies)])
    on_postgresql.drain()
    frozen.signal(signal.SIGCONT)
    assert on_postgresql.end(frozen) == 0, frozen.log
    on_postgresql.drain()

    assert "ran out" in frozen.log, frozen.log
    assert on_postgresql.end(other) == 0
    check(on_postgresql, messages, calm_state)


def test_the_command_itself_is_killed(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """`python -m flytelineage` keeps the promise too, and says who holds the store."""
    on_sqlite.queue.send(messages.calm)

    killed = on_sqlite.start("settled:3", real=True)
    assert on_sqlite.wait_for_end(killed) == KILLED, killed.log
    successor = on_sqlite.start(real=True)
    on_sqlite.drain()
    second = on_sqlite.start(real=True)

    assert on_sqlite.wait_for_end(second) == 1
    assert "is in use by process" in second.log.strip().splitlines()[-1]
    assert on_sqlite.end(successor) == 0
    check(on_sqlite, messages, calm_state)
