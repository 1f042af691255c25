"""Kills the process at a named step, as a power cut would: no handler runs.

Switched on by `FLYTELINEAGE_CRASH_AT=STEP:COUNT`: at the COUNT-th pass of the step the
process sends itself SIGKILL. The steps are those that `daemon.Daemon` reports.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

VARIABLE = "FLYTELINEAGE_CRASH_AT"

STEPS = (
    "received",
    "decoded",
    "recorded",
    "deleted",
    "claimed build",
    "built",
    "finished build",
    "claimed delivery",
    "prepared",
    "emitted",
    "settled",
)
"""The steps of the three loops, in order."""


def crash_at(setting: str) -> Callable[[str], None]:
    """A function to be called at each step, which kills at the one that was asked for.

    Args:
        setting: `STEP:COUNT`, e.g. `recorded:5`; the count is 1 where it is left out.
    """
    step, _, count = setting.partition(":")
    left = int(count or 1)
    lock = threading.Lock()

    def reached(name: str) -> None:
        nonlocal left
        if name != step:
            return
        with lock:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
