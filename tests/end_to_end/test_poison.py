"""Messages that nobody can read, or that kill who reads them: others do not wait for them."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.checks import check
from tests.end_to_end.corpus import RUBBISH, Corpus
from tests.end_to_end.deployment import ROOT, Deployment
from tests.end_to_end.poison import poison

pytestmark = pytest.mark.processes

MARK = "whoever reads this dies of it"

DEADLY = f"""
import json, os, signal

def loads(text, *, loads=json.loads, **options):
    if {MARK!r} in str(text)[:1000]:
        os.kill(os.getpid(), signal.SIGKILL)
    return loads(text, **options)

json.loads = loads
"""
"""What Python runs as it starts, in the daemon and in its children."""


def _flood(deployment: Deployment, messages: Corpus, seed: int, number: int) -> list[str]:
    """Send so much poison among sound messages; the poison."""
    sound = [body for bodies in messages.executions for body in bodies]
    bad = poison(sound, seed, number)
    bodies = [*bad, *messages.calm]
    random.Random(seed).shuffle(bodies)
    deployment.queue.send(bodies)
    return bad


def test_poison_stops_nobody(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Each is in quarantine with its reason; what came among it is told."""
    daemon = on_sqlite.start()
    bad = _flood(on_sqlite, messages, seed, 500)
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state, rubbish=[*bad, *RUBBISH])
    reasons = [reason for (reason,) in on_sqlite.rows("SELECT reason FROM quarantine")]
    assert all(reasons)
    assert len(set(reasons)) > 5


@pytest.mark.long
def test_flood_of_poison_is_bounded(
    seed: int, on_postgresql: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """10,000 bodies: the latest are kept, and nothing else suffers."""
    on_postgresql.options["Store.max_quarantine"] = 1000
    daemon = on_postgresql.start()
    _flood(on_postgresql, messages, seed, 10_000)
    on_postgresql.drain()

    assert on_postgresql.end(daemon) == 0
    rows = on_postgresql.rows("SELECT reason FROM quarantine")
    assert 900 <= len(rows) <= 1100  # it is looked now and then
    assert all(reason for (reason,) in rows)
    assert on_postgresql.told() == calm_state


@pytest.mark.long
def test_message_that_kills_the_process_is_quarantined_undecoded(
    on_sqlite: Deployment, tmp_path: Path, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Whoever starts the process again and again, the fourth life goes on."""
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    deadly = f'{{"Type": "Notification", "Message": "{MARK}"}}'
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    # The queue's clock runs fast, and children are slow: nobody shall be hidden too briefly.
    on_sqlite.queue.attributes["VisibilityTimeout"] = "200"
    on_sqlite.queue.send([deadly, *messages.calm])

    statuses = []
    for _ in range(3):
        killed = on_sqlite.start(real=True, environment=environment)
        statuses.append(on_sqlite.wait_for_end(killed))
    survivor = on_sqlite.start(real=True, environment=environment)
    on_sqlite.drain()

    assert statuses == [-signal.SIGKILL] * 3
    assert on_sqlite.end(survivor) == 0
    reasons = [reason for (reason,) in on_sqlite.rows("SELECT reason FROM quarantine")]
    assert sum("kills the process (Killed)" in reason for reason in reasons) == 1
    check(on_sqlite, messages, calm_state, rubbish=[deadly, *RUBBISH])
