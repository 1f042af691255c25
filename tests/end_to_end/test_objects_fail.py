"""An object store that does not answer: what it holds is waited for, then done without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.checks import check, check_store
from tests.end_to_end.corpus import Corpus
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.gate import Gate
from tests.end_to_end.points import some_long
from tests.end_to_end.test_store_fails import hurry

pytestmark = pytest.mark.processes


def _shut(gate: Gate) -> Callable[[], None]:
    gate.shut()
    return gate.open


def _cut_off(gate: Gate) -> Callable[[], None]:
    gate.answer_bytes = 700
    return lambda: setattr(gate, "answer_bytes", None)


def _hanging(gate: Gate) -> Callable[[], None]:
    gate.hanging = True
    return lambda: setattr(gate, "hanging", False)


def _slow(gate: Gate) -> Callable[[], None]:
    gate.delay_seconds = 0.1
    return lambda: setattr(gate, "delay_seconds", 0.0)


@pytest.mark.parametrize("fault", some_long([_shut, _cut_off, _hanging, _slow], kept=[2]))
def test_object_store_comes_back(
    fault: Callable[[Gate], Callable[[], None]],
    on_sqlite: Deployment,
    messages: Corpus,
    calm_state: dict[str, Any],
) -> None:
    """Within the patience of builds: then lineage is whole, and messages never waited."""
    hurry(on_sqlite)
    on_sqlite.options |= {"Daemon.patience": 1000, "ObjectReader.read_seconds": 0.5}
    mend = fault(on_sqlite.gate("s3"))
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)

    on_sqlite.wait_for(lambda: on_sqlite.queue.deleted >= len(messages.calm))
    on_sqlite.let_pass(1)
    mend()
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_object_store_stays_away(on_sqlite: Deployment, messages: Corpus) -> None:
    """Runs and pipelines are told all the same, and the store says what is not known."""
    hurry(on_sqlite)
    on_sqlite.options["Daemon.patience"] = 1
    on_sqlite.gate("s3").shut()
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)

    on_sqlite.wait_for(lambda: on_sqlite.queue.deleted >= len(messages.calm))
    on_sqlite.wait_for(
        lambda: len(on_sqlite.rows("SELECT 1 FROM delivery WHERE state = 'delivered'")) == 12
    )

    unknown = on_sqlite.rows("SELECT incomplete FROM lineage WHERE phase = 'SUCCEEDED'")
    runs = [key for key in on_sqlite.gms.aspects if key[1] == "dataProcessInstanceProperties"]
    assert len(unknown) == 3
    assert all("s3://" in lines for (lines,) in unknown)
    assert len(runs) == 4
    assert on_sqlite.end(daemon) == 0
    check_store(on_sqlite, messages, drained=False)
