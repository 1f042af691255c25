"""Executions of any size to measure with: their events, their objects, and where both are.

Everything is made by the simulator of `flytelineage.testing`, so it is what Flyte would
send and write. An execution is made once, into a folder; whoever measures opens that in a
process of its own, which then holds nothing but what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from flytelineage.definition_keys import definition_key
from flytelineage.entities import ExecutionId
from flytelineage.events import Event, event_of
from flytelineage.facts import Identifier
from flytelineage.store import Store
from flytelineage.testing.simulator import (
    Branch,
    Dynamic,
    File,
    FolderStorage,
    Frame,
    Input,
    ListOf,
    MapTask,
    Node,
    Output,
    Stream,
    Task,
    Workflow,
    compile_workflow,
    simulate,
)

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=1)
"""Metadata that is young, as in production."""

EXECUTION = ExecutionId(project="flytesnacks", domain="development", name="a1b2c3d4e5f6g7h8i9j0")

# ------------------------------------------------------------------------ shapes


def task(name: str) -> Task:
    return Task(f"app.workflows.etl.{name}", {"o0": Frame()})


def chain(size: int) -> Workflow:
    """Each task reads what the one before it wrote."""
    nodes = [Node("n0", task("t0"))]
    nodes += [Node(f"n{i}", task(f"t{i}"), {"df": Output(f"n{i - 1}")}) for i in range(1, size)]
    return Workflow("app.workflows.etl.chain", tuple(nodes))


def same(size: int) -> Workflow:
    """A chain of one task, which is told apart by its places."""
    step = task("step")
    nodes = [Node("n0", step)]
    nodes += [Node(f"n{i}", step, {"df": Output(f"n{i - 1}")}) for i in range(1, size)]
    return Workflow("app.workflows.etl.same", tuple(nodes))


def fan(size: int) -> Workflow:
    """All but the last side by side; the last one reads them all."""
    wide = range(size - 1)
    nodes = [Node(f"n{i}", task(f"t{i}")) for i in wide]
    nodes.append(Node(f"n{size - 1}", task("join"), {"dfs": [Output(f"n{i}") for i in wide]}))
    return Workflow("app.workflows.etl.fan", tuple(nodes))


def dynamic(size: int) -> Workflow:
    """A dynamic node that loops over one task, and joins what came of it."""
    wide = range(size - 2)
    each = task("each")
    nodes = [Node(f"n{i}", each, {"df": Input("df")}) for i in wide]
    nodes.append(Node(f"n{size - 2}", task("join"), {"dfs": [Output(f"n{i}") for i in wide]}))
    body = Workflow(
        "app.workflows.etl.loop",
        tuple(nodes),
        inputs={"df": Frame()},
        outputs={"o0": Output(f"n{size - 2}")},
    )
    return Workflow(
        "app.workflows.etl.dynamic",
        (
            Node("n0", task("first")),
            Node("n1", Dynamic(task("loop"), body), {"df": Output("n0")}),
        ),
    )


def dynamics(size: int) -> Workflow:
    """Many dynamic nodes, each with a graph and a task of its own."""
    nodes = []
    for i in range(size // 2):
        body = Workflow(
            f"app.workflows.etl.body{i}", (Node("n0", task(f"t{i}")),), outputs={"o0": Output("n0")}
        )
        nodes.append(Node(f"n{i}", Dynamic(task(f"loop{i}"), body)))
    return Workflow("app.workflows.etl.dynamics", tuple(nodes))


def branches(size: int) -> Workflow:
    """Many branches, of each of which one of two arms is taken."""
    nodes = [Node("n0", task("t0"))]
    for i in range(1, size):
        arms = (Node("n0", task(f"t{i}"), FIRST), Node("n1", task(f"u{i}"), FIRST))
        nodes.append(Node(f"n{i}", Branch(arms, "n0"), FIRST))
    return Workflow("app.workflows.etl.branches", tuple(nodes))


FIRST = {"df": Output("n0")}


def mapped(size: int) -> Workflow:
    """A task that is mapped over a list, whose items have events of their own."""
    many = Task("app.workflows.etl.many", {"o0": ListOf(Frame(), size)})
    return Workflow(
        "app.workflows.etl.mapped",
        (
            Node("n0", many),
            Node("n1", MapTask(task("each"), ("df",)), {"df": Output("n0")}),
            Node("n2", task("join"), {"dfs": Output("n1")}),
        ),
    )


def crowd(size: int) -> Workflow:
    """As many edges: half of the tasks write one place, and the other half reads it."""
    side = math.isqrt(size)
    place = File(uri="s3://lake/shared/table.csv")
    wide = range(side)
    nodes = [Node(f"w{i}", Task(f"app.workflows.etl.write{i}", {"o0": place})) for i in wide]
    given = [Output(f"w{i}") for i in wide]
    nodes += [Node(f"r{i}", Task(f"app.workflows.etl.read{i}"), {"files": given}) for i in wide]
    return Workflow("app.workflows.etl.crowd", tuple(nodes))


SHAPES: dict[str, Callable[[int], Workflow]] = {
    "chain": chain,
    "same": same,
    "fan": fan,
    "dynamic": dynamic,
    "dynamics": dynamics,
    "branches": branches,
    "mapped": mapped,
    "crowd": crowd,
}

# -------------------------------------------------------------------- executions


def play(shape: str, size: int, folder: Path) -> Stream:
    """Let an execution run: its objects go into the folder, its events come back."""
    return simulate(
        SHAPES[shape](size),
        EXECUTION.name,
        FolderStorage(folder / "bucket"),
        start=START,
        fast=True,
        array_event_version=1,
    )


def event(request: Any) -> Event:
    """What the store takes; a graph that no message could carry comes from FlyteAdmin."""
    kind = request.event.DESCRIPTOR.name.removesuffix("ExecutionEvent").lower()
    payload = request.SerializeToString(deterministic=True)
    return event_of(kind, "raw", payload, received_at=datetime.now(timezone.utc))


def answer(
    workflow: Workflow, execution: ExecutionId = EXECUTION, start: datetime = START
) -> Event:
    """What FlyteAdmin says of an execution: which workflow ran."""
    from flyteidl.admin import execution_pb2

    said = execution_pb2.Execution()
    for part in ("project", "domain", "name"):
        setattr(said.id, part, getattr(execution, part))
    for part in ("project", "domain", "name", "version"):
        setattr(said.closure.workflow_id, part, getattr(workflow, part))
    said.closure.created_at.FromDatetime(start)
    now = datetime.now(timezone.utc)
    return event_of("execution", "raw", said.SerializeToString(), received_at=now)


def definition(workflow: Workflow) -> tuple[str, bytes]:
    """The compiled workflow as the store keeps it: its key and its body."""
    from flyteidl.admin import workflow_pb2

    registered = workflow_pb2.Workflow()
    registered.closure.compiled_workflow.CopyFrom(compile_workflow(workflow))
    named = Identifier(workflow.project, workflow.domain, workflow.name, workflow.version)
    return definition_key("workflow", named), registered.SerializeToString()


def prepare(shape: str, size: int, folder: Path, *, defined: bool) -> None:
    """Leave an execution in a folder: its objects, and a store with its events.

    Where it is `defined`, FlyteAdmin told the workflow's definition.
    """
    stream = play(shape, size, folder)
    workflow = stream.execution.workflow
    store = open_store(folder)
    record(store, (event(request) for request in stream.requests))
    if defined:
        store.record([answer(workflow)])
        store.keep_definition(*definition(workflow))
    store.close()


def open_store(folder: Path) -> Store:
    store = Store(path=str(folder / "store.sqlite3"), min_settle=0)
    store.open(exclusive=True)
    return store


def record(store: Store, events: Iterable[Event]) -> None:
    """Record events in groups, as busy pollers do."""
    every: Iterator[Event] = iter(events)
    while group := list(islice(every, 1000)):
        store.record(group)
