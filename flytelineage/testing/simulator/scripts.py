"""What FlytePropeller does at a node, construct by construct.

Each script says, step by step, which events it sends, which files it writes, what it
waits for. A script that fails raises `NodeFailed`; whoever runs it tells the rest.

Source: flyteorg/flyte v1.16.8, flytepropeller pkg/controller/nodes/{task, array, dynamic,
subworkflow, branch, gate}.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flyteidl.event import event_pb2

from flytelineage.testing.simulator.arrays import map_node
from flytelineage.testing.simulator.attempts import (
    failing_attempts,
    graph_of,
    hand_on,
    looked_up,
    stored,
    succeed,
    task_node,
)
from flytelineage.testing.simulator.compiled import (
    named_arm,
)
from flytelineage.testing.simulator.reports import (
    Data,
    error_of,
)
from flytelineage.testing.simulator.steps import Job, NodeFailed, Scope, Steps
from flytelineage.testing.simulator.values import Literals
from flytelineage.testing.simulator.workflows import (
    Branch,
    Dynamic,
    Gate,
    LaunchPlan,
    MapTask,
    Task,
    Workflow,
)

if TYPE_CHECKING:
    from flytelineage.testing.simulator.execution import Execution


def script(run: Execution, job: Job) -> Steps:
    """The steps of what stands at a node."""
    target = job.node.target
    if isinstance(target, Task):
        return task_node(run, job, target)
    if isinstance(target, MapTask):
        return map_node(run, job, target)
    if isinstance(target, Dynamic):
        return _dynamic(run, job, target)
    if isinstance(target, Workflow):
        return _sub_workflow(run, job, target)
    if isinstance(target, LaunchPlan):
        return _launch(run, job, target)
    if isinstance(target, Branch):
        return _branch(run, job, target)
    return _gate(run, job, target)


# --------------------------------------------------------------------- dynamic nodes


def _dynamic(run: Execution, job: Job, target: Dynamic) -> Steps:
    place, task, outcome = job.place, target.task, job.outcome
    place.task = task
    run.reports.node(place, "RUNNING", **looked_up(task, outcome))
    yield from failing_attempts(run, place, task, outcome.failed_attempts)
    for body in outcome.retried:
        yield from _dynamic_in_vain(run, job, body)
    yield from run.attempt(place, task)
    run.interrupt(place, outcome)
    if target.body is None:
        outputs = run.make_outputs(task, place, job.inputs)
        yield from succeed(run, job, task, outputs)
        return outputs
    given = yield from _dynamic_graph(run, job, target.body)
    return hand_on(run, place, given, **stored(run, place, task, outcome))


def _dynamic_in_vain(run: Execution, job: Job, body: Workflow) -> Steps:
    """An attempt that made a graph and failed after all; the node goes round again."""
    place = job.place
    yield from run.attempt(place, place.task or Task(""))
    try:
        yield from _dynamic_graph(run, job, body, abandoned=True)
    except NodeFailed:
        yield run.wait(20, 200)
    place.attempt += 1
    place.is_dynamic = False
    run.reports.node(place, "RUNNING")
    return {}


def _dynamic_graph(run: Execution, job: Job, body: Workflow, *, abandoned: bool = False) -> Steps:
    """What follows once the task's code is through: the graph it made."""
    place, task = job.place, job.place.task or Task("")
    # The file does not exist yet; the event names it all the same.
    run.reports.task(place, task, "SUCCEEDED", output=Data(place.output_uri, None))
    run.record(place, "SUCCEEDED")
    yield run.wait(100, 300)
    body = run.values.write_own(body, run.reports.generated_name(place))
    _report_graph(run, job, body, lost=job.outcome.closure_lost)
    scope = Scope(body, job.inputs, place, dynamic=True, abandoned=abandoned)
    try:
        return (yield from run.graph(scope))
    except NodeFailed as failure:
        raise (yield from run.clean_up(scope, failure)) from failure


def _report_graph(run: Execution, job: Job, body: Workflow, *, lost: bool) -> None:
    """DYNAMIC_RUNNING: the only event that tells a graph, and that it is a parent."""
    place = job.place
    metadata = event_pb2.TaskNodeMetadata(dynamic_workflow=graph_of(run, job, body))
    place.is_dynamic = place.is_parent = True
    run.reports.node(place, "DYNAMIC_RUNNING", task_node_metadata=metadata, lost=lost)
    place.is_parent = False
    if not lost:
        run.told.add(place.path)


# -------------------------------------------------------------------------- wrappers


def _sub_workflow(run: Execution, job: Job, target: Workflow) -> Steps:
    place, outcome = job.place, job.outcome
    run.reports.node(place, "RUNNING")
    run.interrupt(place, outcome)
    for _ in range(outcome.failed_attempts):
        yield from _sub_workflow_in_vain(run, job, target)
        place.attempt += 1
    scope = Scope(target, job.inputs, place)
    try:
        outputs = yield from run.graph(scope)
    except NodeFailed as failure:
        raise (yield from run.clean_up(scope, failure)) from failure
    return hand_on(run, place, outputs)


def _sub_workflow_in_vain(run: Execution, job: Job, target: Workflow) -> Steps:
    """An attempt whose graph failed, or whose outputs could not be copied."""
    scope = Scope(target, job.inputs, job.place, abandoned=True)
    try:
        yield from run.graph(scope)
    except NodeFailed as failure:
        yield from run.clean_up(scope, failure)
    yield run.wait(20, 200)
    return {}


def _launch(run: Execution, job: Job, target: LaunchPlan) -> Steps:
    place, outcome = job.place, job.outcome
    for attempt in range(outcome.failed_attempts):
        place.attempt = attempt
        child = run.launch(target, job, f"{place.path}#{attempt}", "FAILED")
        _report_launch(run, job, child)
        yield child.kernel.now + run.wait(50, 300)
    place.attempt = outcome.failed_attempts
    child = run.launch(target, job, place.path, "SUCCEEDED")
    _report_launch(run, job, child)
    yield child.kernel.now + run.wait(50, 300)
    told = _child_metadata(run, child)
    if child.phase != "SUCCEEDED":
        raise NodeFailed(place, "FAILED", error_of("USER:Unknown", "The child failed"), **told)
    return hand_on(run, place, child.outputs, **told)


def _report_launch(run: Execution, job: Job, child: Execution) -> None:
    """RUNNING, once: Admin refuses a phase that it already knows."""
    if job.place.attempt == 0:
        run.reports.node(job.place, "RUNNING", **_child_metadata(run, child))
        run.interrupt(job.place, job.outcome)


def _child_metadata(run: Execution, child: Execution) -> dict[str, Any]:
    id = run.identifier(child.name)
    return {"workflow_node_metadata": event_pb2.WorkflowNodeMetadata(execution_id=id)}


def _branch(run: Execution, job: Job, target: Branch) -> Steps:
    place, scope = job.place, job.scope
    run.reports.node(place, "RUNNING")
    run.interrupt(place, job.outcome)
    yield run.wait(20, 200)
    if target.taken_arm is None:
        raise NodeFailed(place, "FAILED", error_of("UserProvidedError", "No case matched"))
    arm = named_arm(job.node, target.taken_arm)
    yield [scope.processes[id] for id in arm.upstream()]
    outputs = yield from run.node(replace(scope, parent=place, abandoned=False), arm)
    return hand_on(run, place, outputs)


def _gate(run: Execution, job: Job, gate: Gate) -> Steps:
    place = job.place
    run.reports.node(place, "RUNNING")
    run.interrupt(place, job.outcome)
    yield run.wait(2000, 20000)
    if gate.kind == "sleep":
        run.reports.node(place, "SUCCEEDED")
        return {}
    signal: Literals = {} if gate.kind == "approve" else {"o0": run.values.literal(gate.signal)}
    return hand_on(run, place, signal or job.inputs)
