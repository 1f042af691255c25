"""Kills the process at a named step, as a power cut would: no handler runs.

Switched on by `FLYTELINEAGE_CRASH_AT=STEP[:COUNT[:SIGNAL]]`: at the COUNT-th pass of the
step the process sends itself SIGKILL, or another signal: SIGSTOP freezes it there. The
steps are those that `daemon.Daemon` reports.
"""

from __future__ import annotations

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
        setting: E.g. `recorded`, `recorded:5`, `emitted:1:SIGSTOP`.
    """
    step, _, rest = setting.partition(":")
    count, _, name = rest.partition(":")
    number = signal.Signals[name or "SIGKILL"]
    left = int(count or 1)
    lock = threading.Lock()

    def reached(passed: str) -> None:
        nonlocal left
        if passed != step:
            return
        with lock:
            left -= 1
            if left == 0:
                # The process stops as a whole, but only this thread stops right here.
                signal.pthread_kill(threading.get_ident(), number)

    return reached
