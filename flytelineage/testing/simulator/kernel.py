"""Simulated time: scripts that wait, run side by side in one thread.

A script is a generator. It yields the milliseconds it wants to wait, or the processes
it waits for. Whatever is due at the same moment runs in the order in which it was
asked for, so a run depends on nothing but its scripts.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Script: TypeAlias = "Generator[int | Sequence[Process] | Watch, None, Any]"


class Failure(Exception):
    """A script failed; whoever waits for it finds this in its process."""


class Process:
    """A script that was started.

    Attributes:
        done: Whether it is over, was stopped, or failed.
        failure: Why it failed, if it did.
        started: What it started itself; stopping it stops those.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.done = False
        self.failure: Failure | None = None
        self.started: list[Process] = []
        self.waiters: list[Process] = []
        self.missing = 0
        self.watches = False


@dataclass(frozen=True)
class Watch:
    """What to yield to wait for all processes, but only until one of them fails."""

    processes: Sequence[Process]


class Kernel:
    """Runs scripts; `now` is in milliseconds since the start."""

    def __init__(self) -> None:
        self.now = 0
        self._due: list[tuple[int, int, Process]] = []
        self._turn = 0
        self._current: Process | None = None

    def spawn(self, script: Script) -> Process:
        """Start a script at the present moment."""
        process = Process(script)
        if self._current is not None:
            self._current.started.append(process)
        self._schedule(process, 0)
        return process

    def stop(self, process: Process) -> None:
        """Stop a script that waits, and all that it started; nobody is told."""
        for other in process.started:
            self.stop(other)
        if not process.done:
            process.done = True
            process.script.close()

    def run(self) -> None:
        """Run until nothing is due; whatever but a `Failure` a script raises comes out."""
        while self._due:
            self.now, _, process = heapq.heappop(self._due)
            if not process.done:
                self._step(process)

    def _schedule(self, process: Process, wait: int) -> None:
        self._turn += 1
        heapq.heappush(self._due, (self.now + wait, self._turn, process))

    def _step(self, process: Process) -> None:
        self._current = process
        try:
            wait = next(process.script)
        except StopIteration:
            self._finish(process)
        except Failure as failure:
            process.failure = failure
            self._finish(process)
        else:
            self._wait(process, wait)

    def _wait(self, process: Process, wait: int | Sequence[Process] | Watch) -> None:
        if isinstance(wait, int):
            self._schedule(process, wait)
            return
        process.watches = isinstance(wait, Watch)
        others = wait.processes if isinstance(wait, Watch) else wait
        pending = [other for other in others if not other.done]
        process.missing = len(pending)
        for other in pending:
            other.waiters.append(process)
        if not pending or (process.watches and any(other.failure for other in others)):
            self._wake(process)

    def _finish(self, process: Process) -> None:
        process.done = True
        for waiter in process.waiters:
            waiter.missing -= 1
            if not waiter.missing or (waiter.watches and process.failure):
                self._wake(waiter)

    def _wake(self, process: Process) -> None:
        process.watches, process.missing = False, 0
        self._schedule(process, 0)
