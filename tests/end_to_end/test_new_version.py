"""A new version with one task, column and edge fewer leaves none of them behind in DataHub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flytelineage.daemon import Daemon
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.objects import ObjectReader
from flytelineage.store import Store
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.testing.datahub import GmsDouble
from flytelineage.testing.doubles import MemorySource
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import (
    FolderStorage,
    Frame,
    Node,
    Output,
    Task,
    Workflow,
    simulate,
)

pytestmark = pytest.mark.skipif(
    not find_spec("flytekit"), reason="flytekit has no release for this version of Python"
)

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=5)
FLOW = "urn:li:dataFlow:(flyte,flytesnacks.development.app.pipelines.nightly,PROD)"
BY_HAND = "urn:li:dataset:(urn:li:dataPlatform:s3,lake/by-hand,PROD)"


def workflow(version: str) -> Workflow:
    """`load` -> `clean` -> `report`; the second version has no `report`, `clean` reads nothing."""
    first = version == "v1"
    columns = {"id": "int", "price": "float"} if first else {"id": "int"}
    load = Task("app.etl.load", {"o0": Frame(columns, 2)}, version=version)
    clean = Task("app.etl.clean", {"o0": Frame({"id": "int"}, 2)}, version=version)
    report = Task("app.etl.report", {"o0": Frame({"id": "int"}, 2)}, version=version)
    nodes = [
        Node("n0", load),
        Node("n1", clean, {"df": Output("n0", "o0")} if first else {}),
        *([Node("n2", report, {"df": Output("n1", "o0")})] if first else []),
    ]
    return replace(Workflow("app.pipelines.nightly", tuple(nodes)), version=version)


class Clock:
    now = START + timedelta(hours=4)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, GmsDouble]]:
    """Runs a version of the workflow and tells DataHub of it."""
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody's flytekit configuration
    clock = Clock()
    store = Store(path=str(tmp_path / "store.sqlite3"), clock=clock)
    store.open(exclusive=True)
    with GmsDouble() as gms, FlyteAdminDouble([]) as double:
        admin = FlyteAdmin(endpoint=double.endpoint, insecure=True, requests_per_second=1e6)
        source, target = MemorySource(), DataHubTarget(server=gms.url)
        daemon = Daemon(
            source=source,
            store=store,
            targets={"datahub": target},
            reader=ObjectReader(allow=["file:///*"]),
            admin=admin,
        )

        def play(version: str, name: str, hours: int) -> None:
            storage = FolderStorage(tmp_path / "bucket")
            start = START + timedelta(hours=hours)
            stream = simulate(workflow(version), name, storage, start=start, seed=hours, fast=True)
            double.add(stream)
            source.send(stream.bodies())
            while source.visible:
                daemon.intake()
            clock.now += timedelta(seconds=11)
            while daemon.build() or daemon.deliver("datahub"):
                pass

        yield play, gms
        target.close()
        admin.close()
    store.close()


def job(task: str) -> str:
    return f"urn:li:dataJob:({FLOW},app.etl.{task})"


def dataset(task: str) -> str:
    name = f"flytesnacks.development.app.pipelines.nightly.app.etl.{task}.o0"
    return f"urn:li:dataset:(urn:li:dataPlatform:flyte,{name},PROD)"


def ends(gms: GmsDouble, task: str, edges: str) -> list[str]:
    io = gms.aspects[job(task), "dataJobInputOutput"]
    return [edge["destinationUrn"] for edge in io.get(edges) or []]


def columns(gms: GmsDouble, task: str) -> list[str]:
    fields = gms.aspects[dataset(task), "schemaMetadata"]["fields"]
    return [field["fieldPath"] for field in fields]


def test_a_new_version_leaves_nothing_of_the_old_one(
    run: tuple[Callable[[str, str, int], None], GmsDouble],
) -> None:
    """The task that is gone is removed, the edges go, the column goes; people's edge stays."""
    play, gms = run
    play("v1", "first", 0)
    before = [ends(gms, "clean", "inputDatasetEdges"), ends(gms, "report", "inputDatajobEdges")]
    gms.aspects[job("clean"), "dataJobInputOutput"]["inputDatasetEdges"].append(
        {"destinationUrn": BY_HAND}
    )

    play("v2", "second", 1)

    assert before == [[dataset("load")], [job("clean")]]
    assert ends(gms, "clean", "inputDatasetEdges") == [BY_HAND]
    assert ends(gms, "clean", "inputDatajobEdges") == []
    assert gms.aspects[job("report"), "status"] == {"removed": True}
    assert ends(gms, "report", "inputDatasetEdges") == []
    assert columns(gms, "load") == ["id"]


def test_a_version_that_comes_back_brings_its_task_back(
    run: tuple[Callable[[str, str, int], None], GmsDouble],
) -> None:
    """Although all that it says was told before."""
    play, gms = run
    play("v1", "first", 0)
    play("v2", "second", 1)

    play("v1", "third", 2)

    assert gms.aspects[job("report"), "status"] == {"removed": False}
    assert ends(gms, "report", "inputDatajobEdges") == [job("clean")]
    assert ends(gms, "clean", "inputDatasetEdges") == [dataset("load")]


def test_an_older_execution_brings_nothing_back(
    run: tuple[Callable[[str, str, int], None], GmsDouble],
) -> None:
    """It ran before the new version and arrives after it."""
    play, gms = run
    play("v1", "first", 0)
    play("v2", "second", 2)

    play("v1", "late", 1)

    assert gms.aspects[job("report"), "status"] == {"removed": True}
    assert ends(gms, "clean", "inputDatasetEdges") == []
