"""Dashboards and alarms find what they look for, from the first second on."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from flytelineage import __version__
from flytelineage.metrics import DELIVERY_STATES, OPEN, PREFIX, Metrics
from flytelineage.store import Size

COUNTS: dict[str, Any] = {
    "executions": {"collecting": 2, "due": 1, "building": 0, "built": 5, "partial": 3},
    "deliveries": {"glue": {"due": 4, "delivered": 1, "rejected": 1, "oldest_seconds": 12.5}},
    "quarantine": {"rows": 7, "bytes": 900},
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(targets=["datahub", "glue"])


def samples(metrics: Metrics) -> Iterator[Sample]:
    """What Prometheus makes of it."""
    text, _ = metrics.render()
    for family in text_string_to_metric_families(text.decode()):
        yield from family.samples


def value(metrics: Metrics, name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for sample in samples(metrics)
        if sample.name == f"{PREFIX}_{name}" and sample.labels == labels
    ]
    return found


def attributes(metrics: Metrics) -> dict[str, Any]:
    return {
        name: made
        for name, made in vars(metrics).items()
        if name != "registry" and not name.startswith("_")
    }


class TestNames:
    """They are a contract with dashboards that others wrote."""

    def test_attributes(self, metrics: Metrics) -> None:
        """Each is named as what `/metrics` shows, without the prefix and `_total`."""
        shown = {family.name.removeprefix(f"{PREFIX}_") for family in metrics.registry.collect()}
        ours = {name for name in shown if not name.startswith("process_")}

        assert {name.removesuffix("_info") for name in attributes(metrics)} == ours

    def test_units(self, metrics: Metrics) -> None:
        """Base units alone, and no label could hold the name of an execution."""
        names = [sample.name for sample in samples(metrics)]
        labels = {label for sample in samples(metrics) for label in sample.labels}

        assert not [name for name in names if re.search(r"_(ms|minutes|hours|kb|mb)\b", name)]
        assert labels == {
            "kind", "le", "op", "phase", "reason", "result", "state", "target", "version", "what",
            "worker",
        }  # fmt: skip

    def test_help(self, metrics: Metrics) -> None:
        """Each says what it counts."""
        for family in metrics.registry.collect():
            assert len(family.documentation) > 8, family.name

    def test_no_birthdays(self, metrics: Metrics) -> None:
        """When a series was created nobody wants to know."""
        metrics.receives.inc()

        assert not [one for one in samples(metrics) if one.name.endswith("_created")]

    def test_version(self, metrics: Metrics) -> None:
        """Which release runs is a label of a constant."""
        assert value(metrics, "build_info", version=__version__) == 1


class TestFromTheStart:
    """A counter that appears with its first error hides this error from `rate`."""

    def test_every_series(self, metrics: Metrics) -> None:
        """Each metric has its series, with every value of its labels, before any work."""
        series = {(one.name, *sorted(one.labels.items())) for one in samples(metrics)}

        assert [one.name for one in metrics.registry.collect() if not one.samples] == []
        assert ("flytelineage_retries_total", ("reason", "lost"), ("target", "glue")) in series
        assert ("flytelineage_events_decoded_total", ("kind", "node")) in series

    @pytest.mark.parametrize("name", ["store_free_bytes", "queue_visible", "queue_in_flight"])
    def test_what_is_not_known(self, metrics: Metrics, name: str) -> None:
        """Is no number: 0 bytes free would be an alarm."""
        assert math.isnan(value(metrics, name))

    def test_without_targets(self) -> None:
        """Nobody is told, and all else is counted."""
        assert value(Metrics(), "messages_received_total") == 0


class TestCounts:
    """What the store counts."""

    def test_states(self, metrics: Metrics) -> None:
        """Executions and deliveries, the quarantine and the size."""
        metrics.set_counts(COUNTS, Size(bytes=10, free_bytes=20))

        assert value(metrics, "executions", state="collecting") == 2
        assert value(metrics, "executions_lacking", what="partial") == 3
        assert value(metrics, "deliveries", target="glue", state="due") == 4
        assert value(metrics, "delivery_oldest_seconds", target="glue") == 12.5
        assert value(metrics, "quarantine_messages") == 7
        assert value(metrics, "quarantine_bytes") == 900
        assert value(metrics, "store_bytes") == 10
        assert value(metrics, "store_free_bytes") == 20

    def test_states_add_up(self, metrics: Metrics) -> None:
        """Who sums over the label counts each execution and each delivery once."""
        metrics.set_counts(COUNTS, Size(bytes=10))

        executions = [
            one.value for one in samples(metrics) if one.name == "flytelineage_executions"
        ]
        deliveries = [
            one.value for one in samples(metrics) if one.name == "flytelineage_deliveries"
        ]
        assert (sum(executions), sum(deliveries)) == (8, 5)

    def test_nothing_waits(self, metrics: Metrics) -> None:
        """Then the oldest has no age."""
        counts = {**COUNTS, "deliveries": {"glue": {"delivered": 1, "oldest_seconds": None}}}

        metrics.set_counts(counts, Size(bytes=10))

        assert value(metrics, "delivery_oldest_seconds", target="glue") == 0

    def test_target_of_the_past(self, metrics: Metrics) -> None:
        """What is due at a target that is configured no more is shown until it is gone."""
        counts = {**COUNTS, "deliveries": {"old": {"due": 2}}}

        metrics.set_counts(counts, Size(bytes=10))
        shown = value(metrics, "deliveries", target="old", state="due")
        metrics.set_counts({**COUNTS, "deliveries": {}}, Size(bytes=10))

        assert shown == 2
        assert {value(metrics, "deliveries", target="old", state=s) for s in DELIVERY_STATES} == {0}

    def test_server_keeps_its_disk_to_itself(self, metrics: Metrics) -> None:
        """What is free there is not known, and no alarm."""
        metrics.set_counts(COUNTS, Size(bytes=10, free_bytes=None))

        assert math.isnan(value(metrics, "store_free_bytes"))


class TestProcess:
    """Several in one process, several threads in one."""

    def test_own_registry(self, metrics: Metrics) -> None:
        """What one counts another does not show."""
        metrics.breaker_state.labels("glue").set(OPEN)

        assert value(Metrics(targets=["glue"]), "breaker_state", target="glue") == 0

    def test_threads(self, metrics: Metrics) -> None:
        """Nothing is lost where several count at once."""
        together = threading.Barrier(4)

        def count() -> None:
            together.wait(10)
            for _ in range(500):
                metrics.emits.labels("glue", "delivered").inc()

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert value(metrics, "emits_total", target="glue", result="delivered") == 2000

    def test_memory(self, metrics: Metrics) -> None:
        """The process's own numbers are there, too."""
        names = {sample.name for sample in samples(metrics)}

        assert {"process_resident_memory_bytes", "process_open_fds"} <= names
