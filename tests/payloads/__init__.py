"""Message bodies as they lie in SQS, one per file, made by the simulator.

`<encoding>-<kind>.json` came through SNS, `<encoding>-<kind>.txt` with raw delivery; the
other files are single events that are easily misread. After a change of the simulator
write them anew: `python -m tests.payloads`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from flytelineage.testing.simulator import (
    DELIVERIES,
    ENCODINGS,
    Dynamic,
    File,
    Frame,
    Input,
    LaunchPlan,
    ListOf,
    MapTask,
    MemoryStorage,
    Node,
    Outcome,
    Output,
    Stream,
    Taken,
    Task,
    Workflow,
    simulate,
)

FOLDER = Path(__file__).parent
START = datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc)

_LOAD = Task("app.etl.load", {"o0": Frame(declared=True)})
_CLEAN = Task("app.etl.clean", {"o0": Frame()}, cacheable=True)


def payload(name: str) -> str:
    """The body in this file."""
    return (FOLDER / name).read_text(encoding="utf-8").removesuffix("\n")


def made() -> Iterator[tuple[str, str]]:
    """File name and body of each payload, as the simulator makes it now."""
    stream = _simulate(_chain(), "a1b2c3")
    for encoding in ENCODINGS:
        for delivery in DELIVERIES:
            ending = "json" if delivery == "sns" else "txt"
            bodies = stream.bodies(encoding, delivery)
            for kind in ("workflow", "node", "task"):
                yield f"{encoding}-{kind}.{ending}", bodies[_last(stream, kind)]
    yield from _special(stream)


def _special(first: Stream) -> Iterator[tuple[str, str]]:
    hit = Outcome(hit=Taken(first.outputs("n1"), first.source("n1")))
    cached = _simulate(_chain(), "d4e5f6", {"n1": hit})
    yield "node-cache-hit.json", _body(cached, "node", "n1")
    failed = _simulate(_chain(), "failed", {"n1": Outcome("FAILED", failed_attempts=2)})
    yield "task-failed.json", _body(failed, "task", "n1")
    yield "workflow-failed.json", _body(failed, "workflow")
    aborted = _simulate(_chain(), "aborted", {"n1": Outcome("ABORTED")})
    yield "node-aborted.json", _body(aborted, "node", "n1")
    wide = _simulate(_wide(), "wide")
    yield "task-map.json", _body(wide, "task", "n1")
    yield "node-dynamic-running.json", _body(wide, "node", "n2", phase=9)
    yield "node-launch-plan.json", _body(wide, "node", "n3")
    yield "node-inside-dynamic.json", _body(wide, "node", "n2-0-dn0")


def _simulate(workflow: Workflow, name: str, outcomes: dict[str, Outcome] | None = None) -> Stream:
    return simulate(
        workflow,
        name,
        MemoryStorage(),
        start=START,
        outcomes=outcomes,
        fast=True,
        principal="ada",
        labels={"team": "etl"},
    )


def _chain() -> Workflow:
    return Workflow(
        "app.etl.wf",
        (
            Node("n0", _LOAD, {"source": Input("source")}),
            Node("n1", _CLEAN, {"table": Output("n0")}),
        ),
        inputs={"source": File(uri="s3://lake/orders.csv", format="csv")},
        outputs={"o0": Output("n1")},
    )


def _wide() -> Workflow:
    """A map task, a dynamic node and a launch plan."""
    body = Workflow(
        "app.etl.each",
        (Node("dn0", _CLEAN, {"table": Input("table")}),),
        inputs={"table": Frame()},
        outputs={"o0": Output("dn0")},
    )
    child = Workflow(
        "app.report.wf",
        (Node("n0", Task("app.report.render", {"o0": File()}), {"table": Input("table")}),),
        inputs={"table": Frame()},
        outputs={"o0": Output("n0")},
    )
    each = Dynamic(Task("app.etl.each", {"o0": Frame()}, task_type="dynamic-task"), body)
    tables = Task("app.etl.load_all", {"o0": ListOf(Frame())})
    return Workflow(
        "app.etl.wide",
        (
            Node("n0", tables),
            Node("n1", MapTask(_CLEAN, ("table",)), {"table": Output("n0")}),
            Node("n2", each, {"table": Output("n1", "o0", (0,))}),
            Node("n3", LaunchPlan(child), {"table": Output("n2")}),
        ),
    )


def _last(stream: Stream, kind: str, node: str = "n1", phase: int = 0) -> int:
    """Where the last event of a kind is; of a node, unless it is the workflow's."""
    return max(
        at
        for at, request in enumerate(stream.requests)
        if request.DESCRIPTOR.name.lower().startswith(kind)
        and (kind == "workflow" or _node(request.event) == node)
        and phase in (0, request.event.phase)
    )


def _node(event: object) -> str:
    holder = event.id if hasattr(event, "spec_node_id") else event.parent_node_execution_id  # type: ignore[attr-defined]
    return str(holder.node_id)


def _body(stream: Stream, kind: str, node: str = "", *, phase: int = 0) -> str:
    return stream.bodies("raw", "sns")[_last(stream, kind, node, phase)]
