"""The first signal stops cleanly, the second one at once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from flytelineage.signals import StopSignals

LOG = logging.getLogger("flytelineage.tests")
BOTH = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", BOTH)
def test_signal_calls_stop(number: signal.Signals) -> None:
    """In a thread of its own, so that `stop` may take locks."""
    stopped = threading.Event()

    with StopSignals(LOG) as signals:
        signals.on_stop(stopped.set)
        os.kill(os.getpid(), number)

        assert stopped.wait(10)
        assert signals.received is number


def test_signal_before_there_is_something_to_stop() -> None:
    """It is not forgotten while parts are still being built."""
    stopped = threading.Event()

    with StopSignals(LOG) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        signals.on_stop(stopped.set)

        assert stopped.wait(10)


def test_handlers_are_put_back() -> None:
    """What comes after the block is not affected."""
    before = [signal.getsignal(number) for number in BOTH]

    with StopSignals(LOG):
        within = [signal.getsignal(number) for number in BOTH]

    assert [signal.getsignal(number) for number in BOTH] == before
    assert within != before


@pytest.mark.parametrize("number", BOTH)
def test_second_signal_ends_the_process(number: signal.Signals) -> None:
    """Whatever it was doing; the exit code tells the signal."""
    script = f"""
import logging, os, threading
from flytelineage.signals import StopSignals
with StopSignals(logging.getLogger()):
    os.kill(os.getpid(), {int(number)})
    os.kill(os.getpid(), {int(number)})
    threading.Event().wait()
"""

    ended = subprocess.run([sys.executable, "-c", script], check=False, timeout=30)

    assert ended.returncode == 128 + number
