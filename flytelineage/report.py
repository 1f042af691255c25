"""Counts what the three loops did, and for a replay which executions are not in order."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flytelineage.entities import ExecutionId, Lineage

if TYPE_CHECKING:
    from flytelineage.metrics import Metrics

_METRICS = {
    "messages": "messages_received",
    "events": "events_stored",
    "duplicates": "events_duplicate",
    "ignored": "events_ignored",
}
"""What is counted here -> the metric that counts the same for whoever watches."""


@dataclass
class Report:
    """What was done; lists hold executions, and deliveries as `EXECUTION to TARGET`.

    `given_up` holds both: an execution that could not be built is delivered nowhere.

    Attributes:
        listing: Whether executions are listed. A replay ends; the lists of a daemon
            would grow for ever.
        ignored: Events of projects and domains that are not included.
        metrics: Count the same, for whoever watches; `None` where nobody does.
    """

    listing: bool = False
    messages: int = 0
    events: int = 0
    duplicates: int = 0
    ignored: int = 0
    quarantined: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    built: set[str] = field(default_factory=set)
    given_up: list[str] = field(default_factory=list)
    undelivered: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    unbuilt: list[str] = field(default_factory=list)
    builds: int = 0
    metrics: Metrics | None = field(default=None, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def executions(self) -> int:
        """How many executions were built, each counted once."""
        return len(self.built)

    @property
    def failed(self) -> bool:
        """Whether something was quarantined, given up or not delivered."""
        return bool(self.quarantined or self.given_up or self.undelivered)

    def count(self, what: str, by: int = 1) -> None:
        """Add to one of the numbers."""
        with self._lock:
            setattr(self, what, getattr(self, what) + by)
        if self.metrics is not None and what in _METRICS:
            getattr(self.metrics, _METRICS[what]).inc(by)

    def note_build(self, lineage: Lineage, *, waiting: bool) -> None:
        """List an execution where it belongs after its newest build."""
        execution = str(lineage.execution)
        self.count("builds")
        if self.listing:
            self.built.add(execution)
        self._list(self.partial, execution, lineage.partial)
        self._list(self.waiting, execution, waiting)
        self._list(self.incomplete, execution, bool(lineage.incomplete))

    def note_unbuildable(self, execution: ExecutionId) -> None:
        """List an execution whose build was given up: no target hears of it."""
        self._list(self.given_up, str(execution), belongs=True)

    def note_unbuilt(self, executions: Iterable[ExecutionId]) -> None:
        """List the executions that were never due."""
        self.unbuilt = [str(one) for one in executions if str(one) not in self.given_up]

    def note_delivery(self, delivery: str, target: str, outcome: str) -> None:
        """Count what was `delivered`, list what was `given up` or comes `later`."""
        self._list(self.given_up, delivery, outcome == "given up")
        self._list(self.undelivered, delivery, outcome == "later")
        if outcome == "delivered":
            with self._lock:
                self.delivered[target] = self.delivered.get(target, 0) + 1

    def _list(self, where: list[str], entry: str, belongs: bool) -> None:
        with self._lock:
            if entry in where:
                where.remove(entry)
            if belongs and self.listing:
                where.append(entry)
