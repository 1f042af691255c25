"""Simulated time: scripts that wait, run side by side in one thread.

A script is a generator. It yields the milliseconds it wants to wait, or the processes
it waits for. Whatever is due at the same moment runs in the order in which it was
asked for, so a run depends on nothing but its scripts.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable
from typing import Any, TypeAlias

Script: TypeAlias = "Generator[int | Iterable[Process], None, Any]"


class Process:
    """A script that was started; `done` once it is over."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.done = False
        self.waiters: list[Process] = []
        self.missing = 0


class Kernel:
    """Runs scripts; `now` is in milliseconds since the start."""

    def __init__(self) -> None:
        self.now = 0
        self._due: list[tuple[int, int, Process]] = []
        self._turn = 0

    def spawn(self, script: Script) -> Process:
        """Start a script at the present moment."""
        process = Process(script)
        self._schedule(process, 0)
        return process

    def run(self) -> None:
        """Run until nothing is due; what a script raises comes out here."""
        while self._due:
            self.now, _, process = heapq.heappop(self._due)
            self._step(process)

    def _schedule(self, process: Process, wait: int) -> None:
        self._turn += 1
        heapq.heappush(self._due, (self.now + wait, self._turn, process))

    def _step(self, process: Process) -> None:
        try:
            wait = next(process.script)
        except StopIteration:
            self._finish(process)
            return
        if isinstance(wait, int):
            self._schedule(process, wait)
        else:
            self._await(process, wait)

    def _await(self, process: Process, others: Iterable[Process]) -> None:
        pending = [other for other in others if not other.done]
        process.missing = len(pending)
        for other in pending:
            other.waiters.append(process)
        if not pending:
            self._schedule(process, 0)

    def _finish(self, process: Process) -> None:
        process.done = True
        for waiter in process.waiters:
            waiter.missing -= 1
            if not waiter.missing:
                self._schedule(waiter, 0)
