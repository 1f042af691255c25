"""Map tasks: one task that runs once per item, told of in three ways.

Source: flyteorg/flyte v1.16.8, flytepropeller pkg/controller/nodes/array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flyteidl.event import event_pb2

from flytelineage.testing.simulator.attempts import hand_on, succeed, take_over
from flytelineage.testing.simulator.literals import NOTHING, collection
from flytelineage.testing.simulator.reports import Place, array_resources, error_of, unique_id
from flytelineage.testing.simulator.steps import Job, NodeFailed, Steps
from flytelineage.testing.simulator.values import Literals
from flytelineage.testing.simulator.workflows import MapTask, Node, Outcome, Task

if TYPE_CHECKING:
    from flytelineage.testing.simulator.execution import Execution


def map_node(run: Execution, job: Job, target: MapTask) -> Steps:
    """Run all items, and tell of them as flytekit's and propeller's versions have it."""
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
    yield from succeed(run, job, replace(task, cacheable=False), outputs, metadata=metadata)
    return outputs


def _map_apart(run: Execution, job: Job, target: MapTask, items: Sequence[Job]) -> Steps:
    """The items have events of their own, and the node none of any task."""
    place, task = job.place, target.task
    place.task = task
    for index in range(len(items)):
        run.reports.fake_item(place, task, index, "QUEUED")
    run.reports.node(place, "RUNNING")
    made: dict[str, Literals] = {}
    processes = [run.kernel.spawn(_item_alone(run, item, made)) for item in items]
    yield run.wait(600, 900)
    run.interrupt(place, job.outcome)
    yield processes
    _check(run, job, target, items)
    run.record(place, "SUCCEEDED")
    return hand_on(run, place, _gathered(task, [made.get(id, {}) for id in _ids(items)]))


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
    yield from succeed(run, job, task, outputs, metadata=metadata)
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
