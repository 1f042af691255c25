"""kill -9 at every step: nothing is lost, and the catalogues end as after a calm run."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from flytelineage.testing import crash
from tests.end_to_end.checks import check
from tests.end_to_end.corpus import RUBBISH, Corpus
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.worker import INNER, WRITTEN

pytestmark = pytest.mark.processes

SHARED = (*crash.STEPS, *WRITTEN)
"""Where two processes on one store could harm each other."""

PAIRS = list(zip(SHARED[::2], SHARED[1::2], strict=True))


@pytest.mark.parametrize("step", [*crash.STEPS, *INNER])
def test_one_process_is_killed_and_started_again(
    step: str, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """What the dead one had in hand is taken up by its successor, and changes nothing."""
    first, second = messages.wild(seed=len(step), parts=2)
    on_sqlite.queue.send(first)

    killed = on_sqlite.start(step)
    assert on_sqlite.wait_for_end(killed) == -signal.SIGKILL, killed.log
    on_sqlite.queue.send(second)
    successor = on_sqlite.start()
    on_sqlite.drain()

    assert on_sqlite.end(successor) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.parametrize(("step", "another"), PAIRS)
def test_two_processes_are_killed_one_after_the_other(
    step: str,
    another: str,
    on_postgresql: Deployment,
    messages: Corpus,
    calm_state: dict[str, Any],
) -> None:
    """The other one goes on, and a third one takes up what both had in hand."""
    parts = messages.wild(seed=len(step), parts=4)

    killed = [on_postgresql.start(step), on_postgresql.start(f"{another}:2")]
    while on_postgresql.some_live():  # each leaves work to the other, until it has its share
        on_postgresql.queue.send(parts.pop(0))
        on_postgresql.wait_for(lambda: not on_postgresql.some_live() or on_postgresql.drained())
    for part in parts:
        on_postgresql.queue.send(part)
    third = on_postgresql.start()
    on_postgresql.drain()

    assert [one.exitcode for one in killed] == [-signal.SIGKILL] * 2
    assert on_postgresql.end(third) == 0
    check(on_postgresql, messages, calm_state)


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
    assert on_sqlite.wait_for_end(killed) == -signal.SIGKILL, killed.log
    successor = on_sqlite.start(real=True)
    on_sqlite.drain()
    second = on_sqlite.start(real=True)

    assert on_sqlite.wait_for_end(second) == 1
    assert "is in use by process" in second.log.strip().splitlines()[-1]
    assert on_sqlite.end(successor) == 0
    check(on_sqlite, messages, calm_state)
