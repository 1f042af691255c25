"""Executions of workflows with every construct, and their ids as ours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from flytelineage.entities import ExecutionId
from flytelineage.testing.simulator import (
    Branch,
    Dynamic,
    File,
    Frame,
    Gate,
    Input,
    LaunchPlan,
    ListOf,
    MapTask,
    Node,
    Outcome,
    Output,
    Storage,
    Stream,
    Task,
    Workflow,
    simulate,
)

START = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone.utc)


def task(name: str, **more: object) -> Task:
    return Task(f"app.etl.{name}", **{"outputs": {"o0": Frame()}, **more})


def takes(id: str, target: object, *upstream: str) -> Node:
    return Node(id, target, {f"i{n}": Output(node) for n, node in enumerate(upstream)})


def inner(name: str) -> Workflow:
    """A graph of two tasks that takes a frame and gives one."""
    return Workflow(
        f"app.etl.{name}",
        (
            Node("n0", task(f"{name}_first"), {"a": Input("i0")}),
            takes("n1", task(f"{name}_second"), "n0"),
        ),
        inputs={"i0": Frame()},
        outputs={"o0": Output("n1")},
    )


def everything() -> Workflow:
    """Every construct, one after the other."""
    arms = (takes("n0", task("large"), "n3"), takes("n1", task("small"), "n3"))
    items = Task("app.etl.item", {"o0": File()})
    return Workflow(
        "app.etl.everything",
        (
            Node("n0", task("load"), {"source": Input("source")}),
            takes("n1", task("fill", cacheable=True), "n0"),
            takes("n2", inner("part"), "n1"),
            takes("n3", task("query", synchronous=True), "n2"),
            takes("n4", Branch(arms, "n1"), "n3"),
            takes("n5", Dynamic(task("loop", task_type="dynamic-task"), inner("looped")), "n4"),
            takes("n6", LaunchPlan(inner("child")), "n5"),
            takes("n7", Gate("approve"), "n6"),
            Node("n8", task("split", outputs={"o0": ListOf(File(), 3)})),
            takes("n9", MapTask(items, over=("i0",)), "n8"),
        ),
        inputs={"source": Frame(uri="s3://lake/orders/")},
        outputs={"o0": Output("n6")},
    )


def play(
    name: str, storage: Storage, outcomes: Mapping[str, Outcome] | None = None, **more: object
) -> Stream:
    """One execution of `everything`, or of `workflow=`."""
    return simulate(
        more.pop("workflow", None) or everything(),
        name,
        storage,
        start=more.pop("start", START),
        outcomes=outcomes,
        fast=True,
        principal="ada",
        labels={"team": "data"},
        **more,
    )


def id_of(stream: Stream, instance: str = "") -> ExecutionId:
    found = stream.execution.reports.execution
    return ExecutionId(
        project=found.project, domain=found.domain, name=found.name, instance=instance
    )
