"""The whole program and OpenLineage's own client, against a backend on loopback."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flytelineage.testing.openlineage import Fault, MarquezGraph, OpenLineageDouble, marquez_graph
from flytelineage.testing.simulator import FolderStorage, Stream, Truth, simulate
from flytelineage.testing.simulator.__main__ import line
from tests.commands.conftest import START, WORKFLOW
from tests.conftest import Ended, Run
from tests.openlineage_names import dataset, job
from tests.openlineage_spec import SPEC, findings, official_findings

Replay = Callable[..., Ended]


@pytest.fixture
def backend() -> Iterator[OpenLineageDouble]:
    with OpenLineageDouble(token="let me in") as double:
        yield double


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """What FlyteAdmin publishes of an execution of two tasks."""
    return simulate(WORKFLOW, "a1b2c3", FolderStorage(tmp_path / "bucket"), start=START, fast=True)


@pytest.fixture
def truth(stream: Stream) -> Truth:
    return stream.truth


@pytest.fixture
def replay(run: Run, stream: Stream, tmp_path: Path) -> Replay:
    """Replay all messages of the execution to a transport."""
    bodies = stream.bodies("v2")
    messages = tmp_path / "messages.jsonl"
    messages.write_text("".join(f"{line(body)}\n" for body in bodies))

    def replay(transport: dict[str, Any], *words: str) -> Ended:
        config = [
            'c.FlyteLineage.targets = ["openlineage"]',
            'c.ObjectReader.allow = ["file:///*"]',
            f"c.OpenLineageTarget.transport = {transport!r}",
        ]
        (tmp_path / "flytelineage_config.py").write_text("\n".join(config))
        return run("replay", messages.name, *words)

    return replay


def to(backend: OpenLineageDouble, **more: Any) -> dict[str, Any]:
    auth = {"type": "api_key", "apiKey": backend.token}
    return {"type": "http", "url": backend.url, "auth": auth, **more}


def assert_true(graph: MarquezGraph, truth: Truth) -> None:
    """It has the edges of all tasks and of the workflow, and every run."""
    assert graph.reads == {
        (dataset(id), job(truth, task))
        for task, ids in {**truth.reads, "": truth.inputs}.items()
        for id in ids
    }
    assert graph.writes == {
        (job(truth, task), dataset(id))
        for task, ids in {**truth.writes, "": truth.outputs}.items()
        for id in ids
    }
    assert list(graph.states.values()) == ["COMPLETED"] * (1 + len(truth.runs))


def test_backend_has_the_true_graph(
    replay: Replay, truth: Truth, backend: OpenLineageDouble
) -> None:
    """Told by the real client over HTTP, each event once, over one connection."""
    ended = replay(to(backend), "--live")

    assert ended.code == 0
    assert_true(marquez_graph(backend.events), truth)
    assert {request.status for request in backend.requests} == {201}
    assert set(Counter(map(_key, backend.events)).values()) == {1}
    assert backend.connections == 1


def test_what_arrives_follows_the_schemas(replay: Replay, backend: OpenLineageDouble) -> None:
    """Also what the client adds to events by itself."""
    replay(to(backend), "--live")

    assert findings(backend.events) == []
    assert not SPEC.is_dir() or official_findings(backend.events) == []


def test_compressed_events_are_the_same(
    replay: Replay, truth: Truth, backend: OpenLineageDouble
) -> None:
    """The backend need only know gzip."""
    replay(to(backend, compression="gzip"), "--live")

    assert all(request.compressed for request in backend.requests)
    assert_true(marquez_graph(backend.events), truth)


@pytest.mark.parametrize("fault", [Fault(503), Fault(429, retry_after="0")])
def test_failure_on_the_way_is_made_good(
    replay: Replay, truth: Truth, backend: OpenLineageDouble, fault: Fault
) -> None:
    """The delivery is tried again from the start; its events are the same ones."""
    backend.script(Fault(drop=True), fault)

    ended = replay(to(backend), "--live")

    assert ended.code == 0
    assert_true(marquez_graph(backend.events), truth)
    told = {json.dumps(event, sort_keys=True) for event in backend.events}
    assert len(told) == len(set(map(_key, backend.events)))


def test_refused_event_costs_no_other(
    replay: Replay, truth: Truth, backend: OpenLineageDouble
) -> None:
    """One job is refused; the other has its edges, and the report names the one."""
    refused, accepted = (job(truth, task) for task in sorted(truth.writes))
    backend.refuse(refused.name)

    ended = replay(to(backend), "--live")

    assert {event["job"]["name"] for event in backend.events} == {job(truth).name, accepted.name}
    assert f"refused: {refused.name}" in ended.out + ended.err


def test_backend_that_is_locked_is_no_executions_fault(
    replay: Replay, backend: OpenLineageDouble
) -> None:
    """Nothing was delivered: exit 1, and the token is nowhere."""
    transport = to(backend)
    transport["auth"]["apiKey"] = "wrong-secret"

    ended = replay(transport, "--live")

    assert ended.code == 1
    assert backend.requests == []
    assert "401" in ended.out + ended.err
    assert "wrong-secret" not in ended.out + ended.err


def test_backend_is_told_of_no_rehearsal(replay: Replay, backend: OpenLineageDouble) -> None:
    """A replay tells other machines only with --live."""
    ended = replay(to(backend))

    assert ended.code != 0
    assert "--live" in ended.err
    assert backend.connections == 0


def test_file_has_what_the_backend_has(
    replay: Replay, backend: OpenLineageDouble, tmp_path: Path
) -> None:
    """Event by event; a file needs no --live."""
    replay(to(backend), "--live")
    ended = replay({"type": "file", "log_file_path": str(tmp_path / "events.jsonl")})

    assert ended.code == 0
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(each) for each in lines] == backend.events


def test_check_reaches_the_backend_and_tells_nothing(
    run: Run, backend: OpenLineageDouble, tmp_path: Path
) -> None:
    """What is wrong with the way there is known before the first event."""
    words = ["--FlyteLineage.targets=openlineage", "--FlyteLineage.sqs_queue="]
    config = tmp_path / "flytelineage_config.py"
    config.write_text(f"c.OpenLineageTarget.transport = {to(backend)!r}")
    reached = run("check", "--connect", *words)
    config.write_text(f"c.OpenLineageTarget.transport = {to(backend, auth={})!r}")
    locked = run("check", "--connect", *words)

    assert "401" not in reached.out + reached.err
    assert "401" in locked.out + locked.err
    assert backend.requests == []


def _key(event: Any) -> tuple[str, str]:
    return event["run"]["runId"], event["eventType"]
