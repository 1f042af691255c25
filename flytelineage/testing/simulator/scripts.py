"""What FlytePropeller does at a node, construct by construct.

Each script says, step by step, which events it sends, which files it writes, what it
waits for. A script that fails raises `NodeFailed`; whoever runs it tells the rest.

Source: flyteorg/flyte v1.16.8, flytepropeller pkg/controller/nodes/{task, array, dynamic,
subworkflow, branch, gate}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2

from flytelineage.testing.simulator.compiled import (
    compile_dynamic,
    named_arm,
    task_interface,
    task_of,
)
from flytelineage.testing.simulator.execution import Execution, Job, NodeFailed, Scope, Steps
from flytelineage.testing.simulator.literals import NOTHING, collection, seeded
from flytelineage.testing.simulator.reports import (
    Data,
    Place,
    array_resources,
    cache_metadata,
    child_name,
    error_of,
    unique_id,
)
from flytelineage.testing.simulator.values import Literals
from flytelineage.testing.simulator.workflows import (
    Branch,
    Dynamic,
    Gate,
    LaunchPlan,
    MapTask,
    Node,
    Outcome,
    Taken,
    Task,
    Workflow,
)

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Of random versions. Source: k8s.io/apimachinery pkg/util/rand."""


def script(run: Execution, job: Job) -> Steps:
    """The steps of what stands at a node."""
    target = job.node.target
    if isinstance(target, Task):
        return _task(run, job, target)
    if isinstance(target, MapTask):
        return _map(run, job, target)
    if isinstance(target, Dynamic):
        return _dynamic(run, job, target)
    if isinstance(target, Workflow):
        return _sub_workflow(run, job, target)
    if isinstance(target, LaunchPlan):
        return _launch(run, job, target)
    if isinstance(target, Branch):
        return _branch(run, job, target)
    return _gate(run, job, target)


# --------------------------------------------------------------------------- tasks


def _task(run: Execution, job: Job, task: Task) -> Steps:
    place, outcome = job.place, job.outcome
    place.task = task
    run.reports.node(place, "RUNNING", **_looked_up(task, outcome))
    failing = max(outcome.failed_attempts, outcome.phase == "FAILED")
    yield from _failing_attempts(run, place, task, failing)
    if outcome.phase == "FAILED":
        place.attempt = failing - 1
        raise NodeFailed(place, "FAILED", _node_error(failing))
    yield from run.attempt(place, task)
    run.interrupt(place, outcome)
    outputs = run.make_outputs(task, place, job.inputs)
    yield from _succeed(run, job, task, outputs)
    return outputs


def _failing_attempts(run: Execution, place: Place, task: Task, count: int) -> Steps:
    """Attempts that fail in their pods; the place moves on to the one after them."""
    for _ in range(count):
        yield from run.attempt(place, task)
        run.fail_attempt(place)
        place.attempt += 1
    return {}


def _succeed(run: Execution, job: Job, task: Task, outputs: Literals, **more: Any) -> Steps:
    """The end of an attempt that went well, and of its node."""
    place = job.place
    data = Data(place.output_uri, outputs if task.sends_outputs else None)
    if task.sends_outputs:
        run.values.write(place.output_uri, outputs)
    if not task.synchronous:
        more = {**more, **run.logs(place)}
        run.reports.task(place, task, "SUCCEEDED", output=data, **more)
    run.record(place, "SUCCEEDED")
    yield run.wait(20, 200)
    told: dict[str, Any] = {"deck_uri": place.deck_uri} if task.deck else {}
    told |= _stored(run, place, task, job.outcome)
    run.reports.node(place, "SUCCEEDED", output=data, **told)
    return outputs


def _looked_up(task: Task, outcome: Outcome) -> dict[str, Any]:
    """What an event on the way says of the cache: only of a task that is serialised."""
    if not task.cache_serialize:
        return {}
    trouble = outcome.cache if outcome.cache in ("LOOKUP_FAILURE", "SKIPPED") else "MISS"
    found = event_pb2.TaskNodeMetadata(
        cache_status=f"CACHE_{trouble}", reservation_status="RESERVATION_ACQUIRED"
    )
    return {"task_node_metadata": found}


def _stored(run: Execution, place: Place, task: Task, outcome: Outcome) -> dict[str, Any]:
    """What the last event says of the cache."""
    if not task.cacheable:
        return {}
    failed = outcome.cache == "PUT_FAILURE"
    status = "CACHE_PUT_FAILURE" if failed else "CACHE_POPULATED"
    source = None if failed else run.reports.task_execution_id(place, task)
    return {"task_node_metadata": cache_metadata(status, run.workflow, place, source)}


def _node_error(attempts: int) -> Any:
    if attempts == 1:
        return error_of("USER:Unknown", "ValueError in attempt 0")
    message = f"[{attempts}/{attempts}] currentAttempt done. Last Error: USER::ValueError"
    return error_of("RetriesExhausted|USER:Unknown", message)


# ------------------------------------------------------------------------ taken over


def take_over(run: Execution, job: Job, taken: Taken) -> Literals:
    """A cache hit or a recovered node: no attempt, and but one event.

    Of a task whose equal attempts are serialised there are two: it was queued first.
    """
    place, hit = job.place, job.outcome.hit is not None
    place.task = task_of(job.node)
    outputs = {name: produced.literal for name, produced in taken.outputs.items()}
    if not outputs and place.task:
        name = f"{_unseen(run)}-{place.id}-0"
        outputs = run.make_outputs(place.task, place, job.inputs, name)
    run.values.write(place.output_uri, outputs)
    if hit and place.task and place.task.cache_serialize:
        run.reports.node(place, "QUEUED", inputs=job.inputs)
    phase = "SUCCEEDED" if hit else "RECOVERED"
    data = Data(place.output_uri, outputs)
    known = None if hit else job.inputs
    run.reports.node(place, phase, inputs=known, output=data, **_taken_from(run, job, taken))
    run.record(place, phase, cached=hit)
    return outputs


def _taken_from(run: Execution, job: Job, taken: Taken) -> dict[str, Any]:
    """What the event says of where the outputs come from."""
    place, target = job.place, job.node.target
    if isinstance(target, LaunchPlan):
        id = run.identifier(taken.child or child_name(_unseen(run), place.id, "0"))
        return {"workflow_node_metadata": event_pb2.WorkflowNodeMetadata(execution_id=id)}
    if place.task is None:
        return {}
    status = "CACHE_HIT" if job.outcome.hit else "CACHE_DISABLED"
    metadata = cache_metadata(status, run.workflow, place, _source(run, place, taken))
    if isinstance(target, Dynamic) and target.body and not job.outcome.hit:
        metadata.dynamic_workflow.CopyFrom(_graph_of(run, job, target.body))
        run.told.add(place.path)
    return {"task_node_metadata": metadata}


def _source(run: Execution, place: Place, taken: Taken) -> Any | None:
    """The attempt that made what is taken over, as the catalogue says it."""
    if place.task is None or (taken.outputs and taken.source is None):
        return None
    name, node_id, attempt = taken.source or (_unseen(run), place.id, 0)
    return identifier_pb2.TaskExecutionIdentifier(
        task_id=run.task_identifier(place.task),
        node_execution_id=identifier_pb2.NodeExecutionIdentifier(
            node_id=node_id, execution_id=run.identifier(name)
        ),
        retry_attempt=attempt,
    )


def _unseen(run: Execution) -> str:
    """The name of an execution whose events nobody published."""
    return child_name("before", run.name)


# ------------------------------------------------------------------------- map tasks


def _map(run: Execution, job: Job, target: MapTask) -> Steps:
    items = _items(run, job, target)
    if target.legacy:
        return _map_of_old(run, job, target, items)
    if run.settings.array_event_version == 1:
        return _map_apart(run, job, target, items)
    return _map_together(run, job, target, items)


def _items(run: Execution, job: Job, target: MapTask) -> list[Job]:
    """A job for each item: a node of one task, which reads the inputs of them all."""
    size = len(job.inputs[target.over[0]].collection.literals)
    return [_item(run, job, target, index) for index in range(size)]


def _item(run: Execution, job: Job, target: MapTask, index: int) -> Job:
    array, id = job.place, f"n{index}"
    place = Place(
        id=unique_id(array.id, str(array.attempt), id),
        spec_id=id,
        path=array.path,
        folder=f"{array.output_folder}/{index}",
        name=id,
        parent=array,
        target=run.task_identifier(target.task),
        in_dynamic=array.in_dynamic,
        inputs_at=array.input_uri,
        item=index,
    )
    own = {name: job.inputs[name].collection.literals[index] for name in target.over}
    outcome = Outcome(
        "FAILED" if index in job.outcome.failed_items else "SUCCEEDED",
        hit=job.outcome.item_hits.get(index),
    )
    node = Node(id, target.task, job.node.inputs)
    return Job(job.scope, place, node, {**job.inputs, **own}, outcome)


def _map_together(run: Execution, job: Job, target: MapTask, items: Sequence[Job]) -> Steps:
    """The node speaks for its items, in task events without inputs or a pod."""
    place, task = job.place, target.task
    place.task = task
    run.reports.node(place, "RUNNING")
    place.started = True
    for version in range(2):
        yield run.wait(500, 4000)
        metadata = _resources(run, items, dict.fromkeys(_ids(items), "RUNNING"))
        run.reports.task(place, task, "RUNNING", version=version, metadata=metadata)
    run.interrupt(place, job.outcome)
    _check(run, job, target, items)
    outputs = _gathered(task, [_item_outputs(run, item, task) for item in items])
    metadata = _resources(run, items, {item.place.id: item.outcome.phase for item in items})
    yield from _succeed(run, job, replace(task, cacheable=False), outputs, metadata=metadata)
    return outputs


def _map_apart(run: Execution, job: Job, target: MapTask, items: Sequence[Job]) -> Steps:
    """The items have events of their own, and the node none of any task."""
    place, task = job.place, target.task
    for index in range(len(items)):
        run.reports.fake_item(place, task, index, "QUEUED")
    run.reports.node(place, "RUNNING")
    made: dict[str, Literals] = {}
    processes = [run.kernel.spawn(_item_alone(run, item, made)) for item in items]
    yield run.wait(600, 900)
    run.interrupt(place, job.outcome)
    yield processes
    _check(run, job, target, items)
    outputs = _gathered(task, [made.get(id, {}) for id in _ids(items)])
    return _hand_on(run, place, outputs)


def _item_alone(run: Execution, item: Job, made: dict[str, Literals]) -> Steps:
    run.interfaces[item.place.id] = (item.node, item.scope.workflow)
    hit = item.outcome.hit
    outputs = take_over(run, item, hit) if hit else (yield from run.play(item))
    made[item.place.id] = outputs
    return outputs


def _map_of_old(run: Execution, job: Job, target: MapTask, items: Sequence[Job]) -> Steps:
    """One node of one task, whose plugin runs the items."""
    place, task = job.place, replace(target.task, task_type="container_array")
    place.task = task
    run.reports.node(place, "RUNNING")
    running = _resources(run, items, dict.fromkeys(_ids(items), "RUNNING"))
    yield from run.attempt(place, task, metadata=running)
    run.interrupt(place, job.outcome)
    pod = run.reports.generated_name(place)
    made = [
        run.make_outputs(task, place, item.inputs, f"{pod}-{index}")
        for index, item in enumerate(items)
    ]
    outputs = _gathered(task, made)
    metadata = _resources(run, items, dict.fromkeys(_ids(items), "SUCCEEDED"))
    yield from _succeed(run, job, task, outputs, metadata=metadata)
    return outputs


def _ids(items: Sequence[Job]) -> list[str]:
    return [item.place.id for item in items]


def _resources(run: Execution, items: Sequence[Job], phases: Mapping[str, str]) -> Any:
    """What a task event of an array tells of its items."""
    places = [item.place for item in items]
    return event_pb2.TaskExecutionMetadata(
        external_resources=array_resources(run.reports, places, phases),
        plugin_identifier="k8s-array",
    )


def _item_outputs(run: Execution, item: Job, task: Task) -> Literals:
    if item.outcome.phase == "FAILED":
        return {}
    if item.outcome.hit:
        return {name: made.literal for name, made in item.outcome.hit.outputs.items()}
    return run.make_outputs(task, item.place, item.inputs)


def _gathered(task: Task, made: Sequence[Literals]) -> Literals:
    """Lists of what the items gave; an item that failed gave nothing."""
    return {name: collection([own.get(name, NOTHING) for own in made]) for name in task.outputs}


def _check(run: Execution, job: Job, target: MapTask, items: Sequence[Job]) -> None:
    """See whether enough of the items succeeded.

    Raises:
        NodeFailed: Too few.
    """
    failed = len(job.outcome.failed_items)
    if len(items) - failed < math.ceil(target.min_success_ratio * len(items)):
        run.abort_attempt(job.place, "ArrayNodeFailing")
        raise NodeFailed(job.place, "FAILED", error_of("USER:Unknown", f"{failed} items failed"))


# --------------------------------------------------------------------- dynamic nodes


def _dynamic(run: Execution, job: Job, target: Dynamic) -> Steps:
    place, task, outcome = job.place, target.task, job.outcome
    place.task = task
    run.reports.node(place, "RUNNING", **_looked_up(task, outcome))
    yield from _failing_attempts(run, place, task, outcome.failed_attempts)
    for body in outcome.retried:
        yield from _dynamic_in_vain(run, job, body)
    yield from run.attempt(place, task)
    run.interrupt(place, outcome)
    if target.body is None:
        outputs = run.make_outputs(task, place, job.inputs)
        yield from _succeed(run, job, task, outputs)
        return outputs
    given = yield from _dynamic_graph(run, job, target.body)
    return _hand_on(run, place, given, **_stored(run, place, task, outcome))


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
    metadata = event_pb2.TaskNodeMetadata(dynamic_workflow=_graph_of(run, job, body))
    place.is_dynamic = place.is_parent = True
    run.reports.node(place, "DYNAMIC_RUNNING", task_node_metadata=metadata, lost=lost)
    place.is_parent = False
    if not lost:
        run.told.add(place.path)


def _graph_of(run: Execution, job: Job, body: Workflow) -> Any:
    """A dynamic node's graph as events carry it."""
    place = job.place
    letters = seeded(run.settings.seed, run.name, place.id, place.attempt).choices(_LETTERS, k=10)
    id = identifier_pb2.Identifier(
        resource_type="WORKFLOW",
        project=run.workflow.project,
        domain=run.workflow.domain,
        name=f"dynamic_{place.id}",
        version="".join(letters),
    )
    interface = task_interface(job.node, job.scope.workflow)
    closure = run.closures[place.id] = compile_dynamic(body, job.inputs, id, interface)
    return event_pb2.DynamicWorkflowNodeMetadata(
        id=id,
        compiled_workflow=closure,
        dynamic_job_spec_uri=f"{place.output_folder}/futures.pb",
    )


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
    return _hand_on(run, place, outputs)


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
    return _hand_on(run, place, child.outputs, **told)


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
    return _hand_on(run, place, outputs)


def _gate(run: Execution, job: Job, gate: Gate) -> Steps:
    place = job.place
    run.reports.node(place, "RUNNING")
    run.interrupt(place, job.outcome)
    yield run.wait(2000, 20000)
    if gate.kind == "sleep":
        run.reports.node(place, "SUCCEEDED")
        return {}
    signal: Literals = {} if gate.kind == "approve" else {"o0": run.values.literal(gate.signal)}
    return _hand_on(run, place, signal or job.inputs)


def _hand_on(run: Execution, place: Place, outputs: Literals, **more: Any) -> Literals:
    """The end of a wrapper: a copy of what the nodes inside of it gave."""
    run.values.write(place.output_uri, outputs)
    data = Data(place.output_uri, outputs)
    run.reports.node(place, "SUCCEEDED", output=data, **more)
    return outputs
