"""What is measured and what it is compared with must be the same thing."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.openlineage import OpenLineageTarget
from flytelineage.testing.datahub import GmsDouble

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A script of `benchmarks/`, by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def imported(name: str) -> Any:
        # The clients that are measured warn about each other when they are imported.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)

    return imported


@pytest.fixture
def doubles() -> Iterator[tuple[GmsDouble, GmsDouble]]:
    with GmsDouble() as ours, GmsDouble() as theirs:
        yield ours, theirs


@pytest.mark.parametrize("tasks", [1, 10, 50])
def test_the_airflow_plugin_tells_each_task_of_all_tasks(
    benchmark: Callable[[str], Any], tasks: int
) -> None:
    """Which is why its requests grow with the square of them."""
    plugin = benchmark("airflow_plugin")

    assert sum(1 for _ in plugin.proposals(tasks)) == tasks * tasks + 30 * tasks


@pytest.mark.parametrize("patches", [True, False])
def test_datahub_is_measured_by_a_floor_that_tells_it_the_same(
    benchmark: Callable[[str], Any], doubles: tuple[GmsDouble, GmsDouble], patches: bool
) -> None:
    delivery = benchmark("delivery")
    ours, theirs = doubles
    lineage = delivery.lineage_of(delivery.chain(2, outputs=2))

    target = DataHubTarget(server=ours.url, create_platform=False, patches=patches)
    assert target.emit(lineage) == []
    target.close()
    emitter = delivery.datahub_emitter(theirs.url)
    emitter.emit_mcps(delivery.datahub_floor(lineage, patches=patches)())
    emitter.close()

    assert told(theirs) == told(ours)
    assert theirs.state == ours.state


def test_openlineage_is_measured_by_a_floor_that_tells_it_the_same(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    delivery = benchmark("delivery")
    lineage = delivery.lineage_of(delivery.chain(2, outputs=2))
    ours, theirs = tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl"

    target = OpenLineageTarget(transport={"type": "file", "log_file_path": str(ours)})
    assert target.emit(lineage) == []
    target.close()
    emitter = delivery.openlineage_emitter(theirs)
    for event in delivery.openlineage_floor(lineage)():
        emitter.emit(event)

    assert theirs.read_text() == ours.read_text()


def told(gms: GmsDouble) -> list[tuple[str, str]]:
    return sorted(key for request in gms.requests for key in request.proposals)
