"""The daemon with a FlyteAdmin on loopback: what was lost comes back, outages delay nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flytelineage import consultant
from flytelineage.daemon import Daemon
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.objects import ObjectReader
from flytelineage.store import Store
from flytelineage.testing.doubles import MemorySource, MemoryTarget
from flytelineage.testing.flyteadmin import Fault, FlyteAdminDouble
from flytelineage.testing.simulator import (
    FolderStorage,
    Frame,
    Node,
    Output,
    Stream,
    Task,
    Workflow,
    simulate,
)

pytestmark = pytest.mark.skipif(
    not find_spec("flytekit"), reason="flytekit has no release for this version of Python"
)

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=5)
ROWS = Frame({"id": "int"}, 2)
INNER = Workflow("app.etl.inner", (Node("n0", Task("app.etl.clean", {"o0": ROWS})),))
WORKFLOW = Workflow(
    "app.pipelines.nightly",
    (
        Node("n0", Task("app.etl.load", {"o0": ROWS})),
        Node("n1", INNER, after=("n0",)),
        Node("n2", Task("app.etl.report", {"o0": ROWS}), {"df": Output("n0", "o0")}),
    ),
)


class Clock:
    now = START + timedelta(hours=4)

    def __call__(self) -> datetime:
        return self.now


class Deployment:
    """A daemon whose loops are driven by hand, its store and its FlyteAdmin."""

    def __init__(self, folder: Path, double: FlyteAdminDouble, **traits: Any) -> None:
        self.clock, self.target, self.source = Clock(), MemoryTarget(), MemorySource()
        self.store = Store(path=str(folder / "store.sqlite3"), clock=self.clock)
        self.store.open(exclusive=True)
        self.admin = FlyteAdmin(
            endpoint=double.endpoint, insecure=True, requests_per_second=1e6, timeout_seconds=1
        )
        self.daemon = Daemon(
            source=self.source,
            store=self.store,
            targets={"memory": self.target},
            reader=ObjectReader(allow=["file:///*"]),
            admin=self.admin,
            **traits,
        )

    def close(self) -> None:
        self.admin.close()
        self.store.close()

    def take(self, stream: Stream) -> None:
        self.source.send(stream.bodies())
        while self.source.visible:
            self.daemon.intake()

    def work(self, seconds: float = 11) -> None:
        """Let time pass, then build and deliver all that is due, once."""
        self.clock.now += timedelta(seconds=seconds)
        while self.daemon.build():
            pass
        while self.daemon.deliver("memory"):
            pass

    @property
    def pipelines(self) -> list[str]:
        return [one.name for lineage in self.target.emitted for one in lineage.pipelines]


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    storage = FolderStorage(tmp_path / "bucket")
    return simulate(WORKFLOW, "a1b2c3", storage, start=START, fast=True)


@pytest.fixture
def double(stream: Stream) -> Iterator[FlyteAdminDouble]:
    with FlyteAdminDouble([stream]) as double:
        yield double


@pytest.fixture
def deploy(
    tmp_path: Path, double: FlyteAdminDouble, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Deployment]]:
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody's flytekit configuration
    monkeypatch.setattr(consultant, "SHORTEST_PAUSE_SECONDS", 0)
    made: list[Deployment] = []

    def deploy(**traits: Any) -> Deployment:
        (tmp_path / str(len(made))).mkdir()
        made.append(Deployment(tmp_path / str(len(made)), double, **traits))
        return made[-1]

    yield deploy
    for deployment in made:
        deployment.close()


def test_an_execution_costs_three_calls_and_the_next_one_one(
    deploy: Any, double: FlyteAdminDouble, stream: Stream, tmp_path: Path
) -> None:
    """Definitions are kept by version."""
    deployment = deploy()
    deployment.take(stream)
    deployment.work()
    first = dict(double.calls)
    storage = FolderStorage(tmp_path / "bucket")
    second = simulate(WORKFLOW, "b2", storage, start=START + timedelta(hours=1), fast=True)
    double.add(second)

    deployment.take(second)
    deployment.work()

    assert first == {"GetExecution": 1, "GetWorkflow": 1, "GetLaunchPlan": 1}
    assert dict(double.calls) == {**first, "GetExecution": 2}
    assert deployment.pipelines[:1] == ["app.pipelines.nightly"]


def test_control_edges_are_told(deploy: Any, stream: Stream) -> None:
    """Only the definition knows them: no data went that way."""
    deployment = deploy()
    deployment.take(stream)

    deployment.work()

    (lineage,) = deployment.target.emitted
    (clean,) = [task for task in lineage.tasks if task.name == "app.etl.clean"]
    assert [(e.task.name, [x.value for x in e.evidence]) for e in clean.io.upstream] == [
        ("app.etl.load", ["definition"])
    ]


def test_whatever_was_lost_comes_back(deploy: Any, stream: Stream) -> None:
    """The end, nodes inside of others, a task at the top: the lineage is the same."""
    whole, lossy = deploy(), deploy()
    whole.take(stream)
    whole.work()
    lost = stream.without(
        lambda event: (
            hasattr(event, "execution_id")
            or (hasattr(event, "id") and event.id.node_id not in ("n0", "start-node"))
            or hasattr(event, "task_id")
        )
    )
    assert 0 < len(lost.requests) < 6

    lossy.take(lost)
    lossy.work(lossy.store.idle + 1)

    (expected,), (found,) = whole.target.emitted, lossy.target.emitted
    assert found.tasks == expected.tasks
    assert [one.id for one in found.datasets] == [one.id for one in expected.datasets]
    assert (found.phase, found.partial) == ("SUCCEEDED", False)


def test_a_node_of_which_nothing_was_seen_is_fetched(deploy: Any, stream: Stream) -> None:
    """The definition shows that it must have run."""
    deployment = deploy()
    unseen = stream.without(
        lambda event: "n2" in (node_of(event), getattr(event, "spec_node_id", ""))
    )

    deployment.take(unseen)
    deployment.work()

    (lineage,) = deployment.target.emitted
    assert "app.etl.report" in {task.name for task in lineage.tasks}
    assert not lineage.partial


def node_of(event: Any) -> str:
    if hasattr(event, "parent_node_execution_id"):
        return str(event.parent_node_execution_id.node_id)
    return str(event.id.node_id) if hasattr(event, "id") else ""


@pytest.mark.parametrize(
    "fault",
    [
        Fault("UNAVAILABLE"),
        Fault("UNAUTHENTICATED"),
        Fault("PERMISSION_DENIED"),
        Fault("RESOURCE_EXHAUSTED"),
        Fault("INTERNAL"),
    ],
)
def test_a_name_outlasts_any_outage(
    deploy: Any, double: FlyteAdminDouble, stream: Stream, fault: Fault
) -> None:
    """Whatever it is, an operator can repair it within the hour."""
    deployment = deploy()
    deployment.take(stream)
    double.always = fault

    for _ in range(5):
        deployment.work(300)
    assert deployment.target.emitted == []
    double.always = None
    deployment.work(300)

    assert deployment.pipelines == ["app.pipelines.nightly"]


def test_a_guess_is_told_when_patience_is_over(
    deploy: Any, double: FlyteAdminDouble, stream: Stream
) -> None:
    """And stays."""
    deployment = deploy(admin_patience=600)
    deployment.take(stream)
    double.always = Fault("UNAVAILABLE")

    for _ in range(4):
        deployment.work(300)
    guessed = list(deployment.pipelines)
    double.always = None
    deployment.store.rebuild(deployment.target.emitted[0].execution)
    deployment.work()

    assert guessed == ["app.etl"]
    assert set(deployment.pipelines) == {"app.etl"}


def test_what_flyteadmin_has_purged_is_built_at_once(
    deploy: Any, double: FlyteAdminDouble, stream: Stream
) -> None:
    """And not asked for at each build."""
    double.database.executions.clear()
    deployment = deploy()
    deployment.take(stream)

    deployment.work()
    deployment.store.rebuild(deployment.target.emitted[0].execution)
    deployment.work()

    assert deployment.pipelines[:1] == ["app.etl"]
    assert double.calls["GetExecution"] == 1


def test_intake_never_waits_for_flyteadmin(
    deploy: Any, double: FlyteAdminDouble, stream: Stream
) -> None:
    """Messages are taken while a build hangs in an answer."""
    deployment = deploy()
    deployment.take(stream)
    double.script("GetExecution", [Fault(delay_seconds=60)])
    building = threading.Thread(target=deployment.work)

    building.start()
    while not double.calls["GetExecution"]:
        threading.Event().wait(0.01)
    deployment.take(stream.duplicated(1))
    hung = building.is_alive()
    building.join()

    assert hung
    assert deployment.target.emitted == []
    deployment.work(300)
    assert deployment.pipelines == ["app.pipelines.nightly"]
