"""What constructs are made of: a registry, some tasks, and shapes that occur often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from flytelineage.testing.simulator.kinds import (
    File,
    Frame,
    Kind,
    ListOf,
    Primitive,
)
from flytelineage.testing.simulator.simulate import simulate
from flytelineage.testing.simulator.storage import Storage
from flytelineage.testing.simulator.stream import Stream
from flytelineage.testing.simulator.workflows import (
    Binding,
    Dynamic,
    Input,
    MapTask,
    Node,
    Outcome,
    Output,
    Task,
    Workflow,
)

START = datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc)


class Play:
    """Simulates the executions of a construct, an hour after each other."""

    def __init__(self, storage: Storage, start: datetime, **how: Any) -> None:
        self.streams: list[Stream] = []
        self._storage, self._start, self._how = storage, start, how

    def __call__(self, workflow: Workflow, name: str, **how: Any) -> Stream:
        """Simulate one execution; `how` are more arguments of `simulate`."""
        start = self._start + timedelta(hours=len(self.streams))
        stream = simulate(workflow, name, self._storage, start=start, **{**self._how, **how})
        self.streams.append(stream)
        return stream


class Construct(Protocol):
    """Plays a construct; give `simulate` the same `storage`, and more if you like."""

    def __call__(self, storage: Storage, *, start: datetime = START, **how: Any) -> list[Stream]:
        """The streams of its executions in the order of time.

        Executions that launch plans started are in `Stream.children`.
        """


CONSTRUCTS: dict[str, Construct] = {}
"""The constructs by name."""


def construct(play: Callable[[Play], Any]) -> Callable[[Play], Any]:
    """Enter a construct under the name of the function that plays it."""

    def played(storage: Storage, *, start: datetime = START, **how: Any) -> list[Stream]:
        player = Play(storage, start, **{"fast": True, **how})
        play(player)
        return player.streams

    CONSTRUCTS[play.__name__] = played
    return play


# ---------------------------------------------------------------------- the material


def make(name: str, kind: Kind | None = None, **more: Any) -> Task:
    """A task with one output."""
    return Task(f"app.etl.{name}", {"o0": kind or Frame()}, **more)


LOAD, CLEAN, JOIN, REPORT = make("load"), make("clean"), make("join"), make("report", File())
COUNT = make("count", Primitive(3))
SPLIT = make("split", ListOf(Frame(), 3))
NOTIFY = Task("app.etl.notify")


def build(*nodes: Node, **more: Any) -> Workflow:
    """A workflow of these nodes."""
    return Workflow(more.pop("name", "app.etl.wf"), nodes, **more)


def at(id: str, target: Any, *after: str, **inputs: Binding) -> Node:
    """A node that waits for what it reads, and for those that it comes `after`."""
    return Node(id, target, inputs, after)


def in_a_row(*tasks: Task, **more: Any) -> Workflow:
    """Each task reads what the one before gave."""
    first, *others = tasks
    nodes = [at("n0", first)]
    for number, task in enumerate(others):
        nodes.append(at(f"n{number + 1}", task, x=Output(f"n{number}")))
    return build(*nodes, outputs={"o0": Output(nodes[-1].id)}, **more)


def around(target: Any, **inputs: Binding) -> Workflow:
    """A task before and a task after something, with data between them."""
    return build(
        at("n0", LOAD),
        at("n1", target, **{"x": Output("n0"), **inputs}),
        at("n2", REPORT, x=Output("n1")),
        outputs={"o0": Output("n2")},
    )


def inner_graph(name: str, *nodes: Node, **outputs: Binding) -> Workflow:
    """A sub-workflow or a dynamic body with the input `x`."""
    return Workflow(name, nodes, inputs={"x": Frame()}, outputs=outputs)


def two_inside(name: str = "app.etl.inner") -> Workflow:
    """Two tasks in a row, the second of which gives what comes out."""
    return inner_graph(
        name,
        at("n0", CLEAN, x=Input("x")),
        at("n1", JOIN, x=Output("n0")),
        o0=Output("n1"),
    )


def each_of(*nodes: Node, o0: Binding, name: str = "each", kind: Kind | None = None) -> Dynamic:
    """A dynamic node of these nodes."""
    whole = make(name, kind, task_type="dynamic-task")
    return Dynamic(whole, inner_graph(f"app.etl.{name}", *nodes, o0=o0))


def two_made(name: str = "each") -> Dynamic:
    """Two tasks in a row inside a dynamic node."""
    return each_of(
        at("dn0", CLEAN, x=Input("x")),
        at("dn1", JOIN, x=Output("dn0")),
        o0=Output("dn1"),
        name=name,
    )


def child(name: str = "app.child.wf", **more: Any) -> Workflow:
    """A workflow that launch plans start."""
    first = Task("app.child.render", {"o0": Frame()})
    last = Task("app.child.publish", {"o0": Frame()})
    return Workflow(
        name,
        (at("n0", first, x=Input("x")), at("n1", last, x=Output("n0"))),
        inputs={"x": Frame()},
        outputs={"o0": Output("n1")},
        **more,
    )


def mapped(over: Kind | None = None, **more: Any) -> Workflow:
    """A task that runs once per item of a list."""
    clean = make("map_clean_6b3bd0353da5de6e84d7982921ead2b3-arraynode")
    splits = make("split", over) if over else SPLIT
    return build(
        at("n0", splits),
        at("n1", MapTask(clean, ("x",), **more), x=Output("n0"), depth=Primitive(3)),
        at("n2", REPORT, x=Output("n1")),
        outputs={"o0": Output("n2")},
    )


def after_success(
    play: Play, workflow: Workflow, outcomes: Mapping[str, Outcome], **how: Any
) -> Stream:
    """An execution that goes wrong, after one that made the pipeline known."""
    play(workflow, "monday", **how)
    return play(workflow, "tuesday", outcomes=outcomes, **how)
