"""What FlyteAdmin kept of an execution tells the same as what was published of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flytelineage.events import Event, body, decode
from flytelineage.facts import AttemptFacts, Facts, NodeFacts
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.fold import fold
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import FolderStorage, Outcome, Storage, Stream, Taken
from tests.flyteadmin.conftest import Client
from tests.flyteadmin.workflows import START, id_of, play
from tests.found import comparable, replay, told

RECEIVED_AT = START + timedelta(days=1)


def executions(storage: Storage) -> Iterator[Stream]:
    """One of each way in which `everything` can go."""
    whole = play("whole", storage)
    taken = Taken(whole.outputs("n1"), whole.source("n1"))
    recovered = Taken(whole.outputs("n8"), whole.source("n8"))
    yield whole
    yield play("inline", storage, inline=True)
    yield play("items", storage, array_event_version=1)
    yield play("taken", storage, {"n1": Outcome(hit=taken), "n8": Outcome(recovered=recovered)})
    yield play("retried", storage, {"n0": Outcome(failed_attempts=1)})
    yield play("lost", storage, {"n5": Outcome(closure_lost=True)})
    yield play("exhausted", storage, {"n1": Outcome("FAILED", failed_attempts=2)})
    yield play("refused", storage, {"n3": Outcome("FAILED")})
    yield play("inside", storage, {"n5/n1": Outcome("FAILED")})
    yield play("aborted", storage, {"n4": Outcome("ABORTED")})
    yield play("late", storage, {"n1": Outcome("TIMED_OUT")})


NAMES = (
    "whole", "inline", "items", "taken", "retried", "lost", "exhausted", "refused", "inside",
    "aborted", "late",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def streams(folder: Path) -> dict[str, Stream]:
    return {stream.execution.name: stream for stream in executions(FolderStorage(folder))}


@pytest.fixture(scope="module")
def known(streams: dict[str, Stream]) -> Iterator[FlyteAdminDouble]:
    with FlyteAdminDouble(streams.values()) as double:
        yield double


@pytest.fixture
def admin(known: FlyteAdminDouble, client: Client) -> FlyteAdmin:
    return client(known, page_size=3)


def published(stream: Stream) -> list[Event]:
    return [decode(text, received_at=RECEIVED_AT) for text in stream.bodies()]


def test_all_ways_are_told(streams: dict[str, Stream]) -> None:
    """The names below are those of the executions above."""
    assert tuple(streams) == NAMES


# ------------------------------------------------------------------------- facts


def comparable_facts(facts: Facts) -> dict[str, Any]:
    """Facts without what nobody keeps, or what Admin knows better.

    Left out are names of nodes, interfaces and the answer itself; whether literals came
    inline; attempts without an event, which Admin alone knows; and the milliseconds
    between an event and its report. A branch never says that it is a parent.
    """
    parents = {node.parent for node in facts.nodes.values()}
    nodes = {
        id: plain(replace(node, is_parent=node.is_parent or id in parents))
        for id, node in facts.nodes.items()
    }
    return {"phase": facts.phase, "ended_at": facts.ended_at, "error": facts.error, **nodes}


def plain(node: NodeFacts) -> dict[str, Any]:
    rough = replace(
        node,
        inputs=None,
        outputs=None,
        ended_at=whole_seconds(node.ended_at),
        task=node.task or node.catalogued,
        attempts=tuple(attempt(one) for one in node.attempts if one.links),
    )
    left_out = ("name", "interface")
    return {
        field.name: getattr(rough, field.name)
        for field in fields(rough)
        if field.name not in left_out
    }


def attempt(facts: AttemptFacts) -> AttemptFacts:
    # A link replaces others to the same place, as in FlyteAdmin.
    return replace(
        facts, outputs=None, links=facts.links[-1:], ended_at=whole_seconds(facts.ended_at)
    )


def whole_seconds(at: Any) -> Any:
    return at and at.replace(microsecond=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lost"])
def test_the_record_gives_the_same_facts(
    admin: FlyteAdmin, streams: dict[str, Stream], name: str
) -> None:
    """Nodes, parents, attempts, errors, caches and times as the events told them."""
    stream = streams[name]

    record = fold(id_of(stream), admin.record_of(id_of(stream)))

    assert comparable_facts(record) == comparable_facts(fold(id_of(stream), published(stream)))


@pytest.mark.parametrize("name", NAMES)
def test_the_record_adds_nothing_to_the_events(
    admin: FlyteAdmin, streams: dict[str, Stream], name: str
) -> None:
    """Events of both kinds unite: nothing that was published is overruled."""
    stream = streams[name]
    events = published(stream)
    record = list(admin.record_of(id_of(stream)))

    both = fold(id_of(stream), [*record, *events])

    told_names = {id: node.name for id, node in fold(id_of(stream), events).nodes.items()}
    assert {id: node.name for id, node in both.nodes.items()} == told_names
    assert comparable_facts(both) == comparable_facts(fold(id_of(stream), record))


def test_a_lost_graph_is_in_the_record(admin: FlyteAdmin, streams: dict[str, Stream]) -> None:
    """What was too large for the queue is not too large for the database."""
    stream = streams["lost"]
    assert fold(id_of(stream), published(stream)).nodes["n5"].closure is None

    record = fold(id_of(stream), admin.record_of(id_of(stream)))

    assert record.nodes["n5"].closure is not None


def test_an_attempt_without_an_event_is_in_the_record(
    admin: FlyteAdmin, streams: dict[str, Stream]
) -> None:
    """The first event of an attempt is never published; of some there is no other."""
    stream = streams["whole"]
    assert fold(id_of(stream), published(stream)).nodes["n3"].attempts == ()

    record = fold(id_of(stream), admin.record_of(id_of(stream)))

    assert [one.phase for one in record.nodes["n3"].attempts] == ["SUCCEEDED"]


def test_a_child_knows_who_launched_it(admin: FlyteAdmin, streams: dict[str, Stream]) -> None:
    """No event of a child names its parent; and none of the parent's node its plan."""
    stream = streams["whole"]
    child = stream.children[0]

    facts = fold(id_of(child), admin.record_of(id_of(child)))
    launcher = fold(id_of(stream), admin.record_of(id_of(stream))).nodes["n6"]

    assert facts.answer is not None
    assert (facts.answer.mode, facts.answer.parent) == ("CHILD_WORKFLOW", (id_of(stream), "n6"))
    assert (launcher.child, launcher.launch_plan.name) == (id_of(child), "app.etl.child")


# ----------------------------------------------------------------------- lineage


@pytest.mark.parametrize("name", NAMES)
def test_the_record_gives_the_same_lineage(
    admin: FlyteAdmin, streams: dict[str, Stream], tmp_path: Path, name: str
) -> None:
    """Backfilling an execution tells what listening to it would have told."""
    needed = [streams["whole"], streams[name]] if name == "taken" else [streams[name]]
    every = [one for stream in needed for one in (stream, *stream.children)]

    record = [body(event) for one in every for event in admin.record_of(id_of(one))]
    events = [text for one in every for text in (*one.bodies(), body(admin.execution(id_of(one))))]

    expected = lineage(events, tmp_path / "events")
    assert expected[name]["runs"]
    assert lineage(record, tmp_path / "record") == expected


def lineage(bodies: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """What is told of each execution, by its name."""
    report, found = replay(bodies, folder)
    assert not report.quarantined
    return {one.execution.name: without_unreported(comparable(told(one))) for one in found}


def without_unreported(truth: dict[str, Any]) -> dict[str, Any]:
    """Without runs of attempts that have no event; `query` is a task of such a kind."""
    return {**truth, "runs": [run for run in truth["runs"] if "query" not in run["task"]]}
