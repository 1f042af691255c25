"""SIGTERM and SIGINT at any moment: the process ends well and in time, and nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flytelineage.testing.datahub import Fault
from tests.end_to_end.checks import check
from tests.end_to_end.corpus import Corpus
from tests.end_to_end.deployment import Daemon, Deployment
from tests.end_to_end.points import some_long

pytestmark = pytest.mark.processes

LIVES = 5
IN_TIME = 4.0
"""Seconds that a stop may take here: the polls in hand end when the queue's clock goes on."""

NAMESPACE = ("unshare", "--fork", "--pid", "--kill-child")


def _may_be_process_1() -> bool:
    if shutil.which(NAMESPACE[0]) is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


def test_every_life_ends_well_and_the_next_goes_on(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Daemons that are stopped again and again do together what one does in peace."""
    numbers = random.Random(seed)
    (bodies,) = messages.wild(seed, parts=1)
    ends = []

    for life in range(LIVES):
        on_sqlite.queue.send(bodies[life::LIVES])
        daemon = on_sqlite.start()
        on_sqlite.wait_for_calls(numbers.randint(1, 20))
        ends.append(_end(on_sqlite, daemon, numbers.choice([signal.SIGTERM, signal.SIGINT])))
    last = on_sqlite.start()
    on_sqlite.drain()
    ends.append(_end(on_sqlite, last, signal.SIGINT))

    assert [status for status, _ in ends] == [0] * (LIVES + 1)
    assert max(seconds for _, seconds in ends) < IN_TIME
    check(on_sqlite, messages, calm_state)


def _end(deployment: Deployment, daemon: Daemon, number: signal.Signals) -> tuple[int, float]:
    """Stop a daemon: its status, and how many seconds that took."""
    began = time.monotonic()
    return deployment.end(daemon, number), time.monotonic() - began


@pytest.mark.long
def test_many_lives_end_at_moments_of_the_clock(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Also before anything is set up, and while half of it is."""
    numbers = random.Random(seed)
    lives = 40
    (bodies,) = messages.wild(seed, parts=1, copies=3)
    ends = []

    for life in range(lives):
        on_sqlite.queue.send(bodies[life::lives])
        daemon = on_sqlite.start()
        on_sqlite.wait_for(lambda daemon=daemon: daemon.log != "")
        time.sleep(numbers.uniform(0, 0.3))
        ends.append(_end(on_sqlite, daemon, numbers.choice([signal.SIGTERM, signal.SIGINT])))
    last = on_sqlite.start()
    on_sqlite.drain()
    ends.append(_end(on_sqlite, last, signal.SIGTERM))

    assert [status for status, _ in ends] == [0] * (lives + 1)
    assert max(seconds for _, seconds in ends) < IN_TIME
    check(on_sqlite, messages, calm_state)


def _hang_datahub(deployment: Deployment) -> Callable[[], None]:
    deployment.gate("datahub").hanging = True
    return lambda: setattr(deployment.gate("datahub"), "hanging", False)


def _break_datahub(deployment: Deployment) -> Callable[[], None]:
    deployment.gms.break_down(Fault(503))
    return deployment.gms.mend


def _hang_objects(deployment: Deployment) -> Callable[[], None]:
    deployment.gate("s3").hanging = True
    return lambda: setattr(deployment.gate("s3"), "hanging", False)


@pytest.mark.parametrize(
    "trouble", some_long([_hang_datahub, _break_datahub, _hang_objects], kept=[0])
)
def test_stop_waits_no_longer_than_it_may(
    trouble: Callable[[Deployment], Callable[[], None]],
    on_sqlite: Deployment,
    messages: Corpus,
    calm_state: dict[str, Any],
) -> None:
    """Also where a server never answers: what was in hand is done by who comes next."""
    on_sqlite.options |= {"Daemon.shutdown_timeout": 2, "Daemon.patience": 1000}
    mend = trouble(on_sqlite)
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.wait_for(lambda: on_sqlite.queue.deleted >= len(messages.calm))
    on_sqlite.wait_for_calls(2)

    status, seconds = _end(on_sqlite, daemon, signal.SIGTERM)
    mend()
    successor = on_sqlite.start()
    on_sqlite.drain()

    assert status == 0
    assert seconds < IN_TIME
    assert on_sqlite.end(successor) == 0
    check(on_sqlite, messages, calm_state)


def test_stop_before_the_database_has_answered(tmp_path: Path) -> None:
    """Nothing is in hand yet, so nobody waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/lineage"
        options = ["--sqs-queue=events", "--FlyteLineage.http_port=0", f"--Store.url={url}"]
        command = [sys.executable, "-m", "flytelineage", "--config=", *options]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as daemon:
            silent.settimeout(30)
            connection, _ = silent.accept()

            began = time.monotonic()
            daemon.terminate()
            _, log = daemon.communicate(timeout=30)
            seconds = time.monotonic() - began
            connection.close()

    assert daemon.returncode == 0
    assert log.rstrip().endswith("Stopped")
    assert seconds < IN_TIME


def test_second_signal_stops_at_once(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Whatever is in hand, and however long a stop might wait for it."""
    mend = _hang_datahub(on_sqlite)
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.wait_for(lambda: on_sqlite.gate("datahub").connections > 0)

    daemon.signal(signal.SIGTERM)
    on_sqlite.wait_for(lambda: "Stopping" in daemon.log)
    began = time.monotonic()
    status, _ = _end(on_sqlite, daemon, signal.SIGINT)
    seconds = time.monotonic() - began
    mend()
    successor = on_sqlite.start()
    on_sqlite.drain()

    assert status != 0
    assert seconds < 1
    assert on_sqlite.end(successor) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.skipif(not _may_be_process_1(), reason="no right to make a namespace of processes")
def test_process_1_stops_when_it_is_told_to(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """As in a container, where the kernel ignores signals that have no handler."""
    daemon = on_sqlite.start(real=True, launcher=NAMESPACE)
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    (inner,) = _children(daemon.pid)
    assert Path(f"/proc/{inner}/status").read_text().split("NSpid:")[1].split()[1] == "1"
    os.kill(inner, signal.SIGTERM)

    assert on_sqlite.wait_for_end(daemon) == 0
    assert "Stopped" in daemon.log
    check(on_sqlite, messages, calm_state)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
