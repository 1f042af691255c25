"""What is counted and measured, under the names that dashboards and alarms go by.

Every metric is an attribute of `Metrics`, named as in `/metrics` but without the
prefix and, for counters, without `_total`. Every value of a label is there from the
start, at 0: a rate over a counter that appears with its first error misses that error.
No label holds the name of an execution, since there is no end of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Protocol, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from flytelineage import __version__
from flytelineage.events import TERMINAL_PHASES, Kind

PREFIX = "flytelineage"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What every Prometheus reads; the library's newest would be for version 3 alone."""

SOURCE_OPERATIONS = ("receive", "delete", "hide")
QUARANTINE_REASONS = ("undecodable", "topic", "decoder", "lethal", "store")
EXECUTION_STATES = ("collecting", "due", "building", "built")
"""An execution is in one of them."""
EXECUTION_GAPS = ("partial", "incomplete", "waiting", "guessed", "unnamed", "unanswered")
"""What may be said of an execution besides; several of them may be."""
POSTPONEMENTS = ("object_store", "refused", "failed", "flyteadmin", "events", "lethal")
LEASES = ("build", "delivery")
DELIVERY_STATES = ("due", "later", "telling", "held", "delivered", "given_up")
"""A delivery is in one of them."""
EMIT_RESULTS = ("delivered", "dropped", "later", "given_up")
RETRY_REASONS = ("transient", "unavailable", "unexplained", "lost")
READ_RESULTS = (
    "value", "missing", "denied", "too_large", "over_budget", "not_allowed", "unreadable",
    "unavailable",
)  # fmt: skip
PAUSE_REASONS = ("store", "targets", "disk", "backlog")
WORKERS = ("intake", "build", "deliver", "keep", "upkeep")
REMOVABLE = ("events", "lineage", "deliveries", "runs", "quarantine", "locations")

CLOSED, HALF_OPEN, OPEN = 0, 1, 2
"""What `breaker_state` says."""

# Upper bounds in seconds, unless it says rows.
_LAG = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
_COMMIT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_COMMIT_ROWS = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640)
_BUILD = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_EMIT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_SETTLE = (1, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 14_400, 86_400)

_M = TypeVar("_M", bound=MetricWrapperBase)


class Size(Protocol):
    """How large a store is; see `Store.size`."""

    @property
    def bytes(self) -> int:
        """What the store takes up."""

    @property
    def free_bytes(self) -> int | None:
        """What is left on its disk; `None` where a server keeps that to itself."""


class Metrics:
    """The metrics of one process; all may be changed by several threads at once.

    Args:
        targets: By their names in the configuration, for the labels.
    """

    def __init__(self, targets: Collection[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._targets = set(targets)
        self._add_intake()
        self._add_store()
        self._add_builds()
        self._add_deliveries(targets)
        self._add_reads()
        self._add_process()

    # ------------------------------------------------------------ what there is

    def _add_intake(self) -> None:
        self.receives = self._counter("receives", "Requests for messages that were answered")
        self.messages_received = self._counter("messages_received", "Messages taken, also again")
        self.messages_deleted = self._counter(
            "messages_deleted", "Messages deleted from the source once they were stored"
        )
        self.delete_failures = self._counter(
            "delete_failures", "Deletions that failed; the message comes again"
        )
        self.source_errors = self._counter(
            "source_errors", "Requests to the source that failed", op=SOURCE_OPERATIONS
        )
        self.queue_lag_seconds = self._histogram(
            "queue_lag_seconds", "From sent to stored, of messages received the first time", _LAG
        )
        self.queue_visible = self._gauge("queue_visible", "Messages that wait in the queue")
        self.queue_in_flight = self._gauge(
            "queue_in_flight", "Messages received by somebody and not deleted yet"
        )
        self.last_poll_timestamp_seconds = self._gauge(
            "last_poll_timestamp_seconds", "When the source answered last, since 1970"
        )
        self.in_hand_bytes = self._gauge("in_hand_bytes", "Bodies received and not stored yet")
        self.intake_paused = self._gauge(
            "intake_paused", "1 while nothing is received, by reason", reason=PAUSE_REASONS
        )
        for unknown in (self.queue_visible, self.queue_in_flight, self.last_poll_timestamp_seconds):
            unknown.set(math.nan)  # 0 would say something

    def _add_store(self) -> None:
        self.events_decoded = self._counter(
            "events_decoded", "Events that could be read, by kind", kind=get_args(Kind)
        )
        self.events_stored = self._counter("events_stored", "Events that were new")
        self.events_duplicate = self._counter("events_duplicate", "Events that were stored before")
        self.events_ignored = self._counter(
            "events_ignored", "Events of projects and domains that are not included"
        )
        self.messages_quarantined = self._counter(
            "messages_quarantined", "Messages put aside, by reason", reason=QUARANTINE_REASONS
        )
        self.quarantine_messages = self._gauge("quarantine_messages", "Messages in quarantine")
        self.quarantine_bytes = self._gauge("quarantine_bytes", "Their bodies, as kept")
        self.store_commit_seconds = self._histogram(
            "store_commit_seconds", "Of groups of events", _COMMIT
        )
        self.store_commit_rows = self._histogram(
            "store_commit_rows", "Events and refused bodies in one commit", _COMMIT_ROWS
        )
        self.store_errors = self._counter("store_errors", "Times the store did not answer")
        self.store_bytes = self._gauge("store_bytes", "What the store takes up")
        self.store_free_bytes = self._gauge(
            "store_free_bytes", "What is left on its disk; NaN where a server knows"
        )
        self.store_free_bytes.set(math.nan)  # 0 would be an alarm
        self.removed = self._counter(
            "removed", "Rows that were removed for their age or for room", what=REMOVABLE
        )

    def _add_builds(self) -> None:
        self.executions = self._gauge(
            "executions", "Executions in the store, by state", state=EXECUTION_STATES
        )
        self.executions_lacking = self._gauge(
            "executions_lacking", "Executions by what they lack", what=EXECUTION_GAPS
        )
        self.executions_finished = self._counter(
            "executions_finished", "Executions built, by how they ended", phase=TERMINAL_PHASES
        )
        self.build_seconds = self._histogram("build_seconds", "Of one execution", _BUILD)
        self.builds_postponed = self._counter(
            "builds_postponed", "Builds that were put off, by reason", reason=POSTPONEMENTS
        )
        self.leases_lost = self._counter(
            "leases_lost", "Work that took longer than its lease, and was lost", kind=LEASES
        )

    def _add_deliveries(self, targets: Collection[str]) -> None:
        self.deliveries = self._gauge(
            "deliveries", "Deliveries, by state", target=targets, state=DELIVERY_STATES
        )
        self.delivery_oldest_seconds = self._gauge(
            "delivery_oldest_seconds", "Age of the oldest that is not settled; 0: none",
            target=targets,
        )  # fmt: skip
        self.emits = self._counter(
            "emits", "Tries to deliver, by result", target=targets, result=EMIT_RESULTS
        )
        self.emit_seconds = self._histogram("emit_seconds", "Of one try", _EMIT, target=targets)
        self.settle_seconds = self._histogram(
            "settle_seconds", "From the event that ended an execution to its first delivery",
            _SETTLE, target=targets,
        )  # fmt: skip
        self.retries = self._counter(
            "retries", "Deliveries put off, by reason", target=targets, reason=RETRY_REASONS
        )
        self.entities_rejected = self._counter(
            "entities_rejected", "Entities that a target refused", target=targets
        )
        self.breaker_state = self._gauge(
            "breaker_state", "0: told; 1: one delivery is tried; 2: paused", target=targets
        )
        self.breaker_opened = self._counter(
            "breaker_opened", "Times a target was paused", target=targets
        )

    def _add_reads(self) -> None:
        self.objects_read = self._counter(
            "objects_read", "Objects asked for, by result", result=READ_RESULTS
        )
        self.object_requests = self._counter("object_requests", "Requests to object stores")
        self.object_bytes = self._counter("object_bytes", "Bytes that object stores sent")

    def _add_process(self) -> None:
        self.worker_restarts = self._counter(
            "worker_restarts", "Threads that died and were replaced", worker=WORKERS
        )
        self.build_info = Info(f"{PREFIX}_build", "What runs here", registry=self.registry)
        self.build_info.info({"version": __version__})
        ProcessCollector(registry=self.registry)  # memory, open files, processor time

    # -------------------------------------------------------------- set and show

    def set_counts(self, counts: Mapping[str, Any], size: Size) -> None:
        """Take over what the store counts, see `Store.counts`, and how large it is."""
        executions = counts["executions"]
        for state in EXECUTION_STATES:
            self.executions.labels(state).set(executions.get(state, 0))
        for what in EXECUTION_GAPS:
            self.executions_lacking.labels(what).set(executions.get(what, 0))
        # Also of targets that are configured no more: what was due there waits for ever.
        self._targets.update(counts["deliveries"])
        for target in self._targets:
            self._set_target(target, counts["deliveries"].get(target, {}))
        self.quarantine_messages.set(counts["quarantine"]["rows"])
        self.quarantine_bytes.set(counts["quarantine"]["bytes"])
        self.store_bytes.set(size.bytes)
        self.store_free_bytes.set(math.nan if size.free_bytes is None else size.free_bytes)

    def _set_target(self, target: str, counts: Mapping[str, Any]) -> None:
        for state in DELIVERY_STATES:
            self.deliveries.labels(target, state).set(counts.get(state, 0))
        self.delivery_oldest_seconds.labels(target).set(counts.get("oldest_seconds") or 0)

    def render(self) -> tuple[bytes, str]:
        """All of them as Prometheus reads it, and the type of this text."""
        return generate_latest(_WithoutBirthdays(self.registry)), CONTENT_TYPE

    # -------------------------------------------------------------- how they are made

    def _counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        made = Counter(f"{PREFIX}_{name}", text, tuple(labels), registry=self.registry)
        return _from_the_start(made, labels)

    def _gauge(self, name: str, text: str, **labels: Iterable[str]) -> Gauge:
        made = Gauge(f"{PREFIX}_{name}", text, tuple(labels), registry=self.registry)
        return _from_the_start(made, labels)

    def _histogram(
        self, name: str, text: str, bounds: tuple[float, ...], **labels: Iterable[str]
    ) -> Histogram:
        made = Histogram(
            f"{PREFIX}_{name}", text, tuple(labels), registry=self.registry, buckets=bounds
        )
        return _from_the_start(made, labels)


class _WithoutBirthdays:
    """Leaves out when each series was created: a third of all lines, which nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric


def _from_the_start(metric: _M, labels: Mapping[str, Iterable[str]]) -> _M:
    """Make the series of all values that the labels can have."""
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)
    return metric
