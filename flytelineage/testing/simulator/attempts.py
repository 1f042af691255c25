"""Nodes that run a task, and nodes that take over what ran before.

Source: flyteorg/flyte v1.16.8, flytepropeller pkg/controller/nodes/{task, cache.go}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2

from flytelineage.testing.simulator.compiled import compile_dynamic, task_interface, task_of
from flytelineage.testing.simulator.literals import seeded
from flytelineage.testing.simulator.reports import Data, Place, cache_metadata, child_name, error_of
from flytelineage.testing.simulator.steps import Job, NodeFailed, Steps
from flytelineage.testing.simulator.values import Literals
from flytelineage.testing.simulator.workflows import (
    Dynamic,
    LaunchPlan,
    Outcome,
    Taken,
    Task,
    Workflow,
)

if TYPE_CHECKING:
    from flytelineage.testing.simulator.execution import Execution

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Of random versions. Source: k8s.io/apimachinery pkg/util/rand."""


def task_node(run: Execution, job: Job, task: Task) -> Steps:
    """Run a plain task, attempt by attempt."""
    place, outcome = job.place, job.outcome
    place.task = task
    run.reports.node(place, "RUNNING", **looked_up(task, outcome))
    failing = max(outcome.failed_attempts, outcome.phase == "FAILED")
    yield from failing_attempts(run, place, task, failing)
    if outcome.phase == "FAILED":
        place.attempt = failing - 1
        raise NodeFailed(place, "FAILED", _node_error(failing))
    yield from run.attempt(place, task)
    run.interrupt(place, outcome)
    outputs = run.make_outputs(task, place, job.inputs)
    yield from succeed(run, job, task, outputs)
    return outputs


def failing_attempts(run: Execution, place: Place, task: Task, count: int) -> Steps:
    """Attempts that fail in their pods; the place moves on to the one after them."""
    for _ in range(count):
        yield from run.attempt(place, task)
        run.fail_attempt(place)
        place.attempt += 1
    return {}


def succeed(run: Execution, job: Job, task: Task, outputs: Literals, **more: Any) -> Steps:
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
    told |= stored(run, place, task, job.outcome)
    run.reports.node(place, "SUCCEEDED", output=data, **told)
    return outputs


def looked_up(task: Task, outcome: Outcome) -> dict[str, Any]:
    """What an event on the way says of the cache: only of a task that is serialised."""
    if not task.cache_serialize:
        return {}
    trouble = outcome.cache if outcome.cache in ("LOOKUP_FAILURE", "SKIPPED") else "MISS"
    found = event_pb2.TaskNodeMetadata(
        cache_status=f"CACHE_{trouble}", reservation_status="RESERVATION_ACQUIRED"
    )
    return {"task_node_metadata": found}


def stored(run: Execution, place: Place, task: Task, outcome: Outcome) -> dict[str, Any]:
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


def hand_on(run: Execution, place: Place, outputs: Literals, **more: Any) -> Literals:
    """The end of a wrapper: a copy of what the nodes inside of it gave."""
    run.values.write(place.output_uri, outputs)
    data = Data(place.output_uri, outputs)
    run.reports.node(place, "SUCCEEDED", output=data, **more)
    return outputs


# ------------------------------------------------------------------------ taken over


def take_over(run: Execution, job: Job, taken: Taken) -> Literals:
    """A cache hit or a recovered node: no attempt, and but one event.

    Of a task whose equal attempts are serialised there are two: it was queued first.
    """
    place, hit = job.place, job.outcome.hit is not None
    place.task = task_of(job.node)
    outputs = {name: produced.literal for name, produced in taken.outputs.items()}
    outputs |= run.results.get(taken.own, {})
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
        metadata.dynamic_workflow.CopyFrom(graph_of(run, job, target.body))
        run.told.add(place.path)
    return {"task_node_metadata": metadata}


def _source(run: Execution, place: Place, taken: Taken) -> Any | None:
    """The attempt that made what is taken over, as the catalogue says it."""
    if place.task is None or (taken.outputs and taken.source is None):
        return None
    maker = run.places.get(taken.own)
    known = (run.name, maker.id, maker.attempt) if maker else taken.source
    name, node_id, attempt = known or (_unseen(run), place.id, 0)
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


def graph_of(run: Execution, job: Job, body: Workflow) -> Any:
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
