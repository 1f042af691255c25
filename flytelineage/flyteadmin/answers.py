"""FlyteAdmin's answers, as the events that would have told the same; pure.

Admin keeps the last state of each execution, node and attempt, with the times at which
it was created, began and ended. Out of these come the events of which that state was
made, as far as they can be known: so they are folded by the same rules, and united
with those that were published. They name `flyteadmin` as their producer. What nobody
kept stays unsaid: the times between, names of nodes, data sent inline.

Source: flyteorg/flyte v1.16, flyteadmin pkg/repositories/transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from flytelineage.events import TERMINAL_PHASES, Event, Kind, event_of
from flytelineage.facts import TERMINAL_NODE_PHASES

PRODUCER = "flyteadmin"

_KINDS: dict[str, Kind] = {
    "Execution": "execution",
    "WorkflowExecutionEventRequest": "workflow",
    "NodeExecutionEventRequest": "node",
    "TaskExecutionEventRequest": "task",
}
_TERMINAL_TASK_PHASES = frozenset({"SUCCEEDED", "FAILED", "ABORTED"})
_TAKEN_OVER = frozenset({"RECOVERED", "SKIPPED"})
_FRAME_NODES = frozenset({"start-node", "end-node"})
_TRIMMED_BYTES = range(97, 101)


def event(message: Any, *, received_at: datetime, instance: str = "") -> Event:
    """An `admin.Execution`, or one of the requests below, as an event.

    Raises:
        DecodeError: It is none that makes sense.
    """
    kind = _KINDS[message.DESCRIPTOR.name]
    payload = message.SerializeToString(deterministic=True)
    return event_of(kind, "raw", payload, received_at=received_at, instance=instance)


# ---------------------------------------------------------------------- workflow


def workflow_start(execution: Any) -> Iterator[Any]:
    """The `WorkflowExecutionEventRequest` of its start, once it has started."""
    if execution.closure.HasField("started_at"):
        yield _workflow(execution, "RUNNING", execution.closure.started_at)


def workflow_end(execution: Any) -> Iterator[Any]:
    """The request of its end, or of the phase before; none while it runs.

    QUEUED and ABORTING are phases of Admin's own, of which there are no events.
    """
    phase = phase_of(execution.closure)
    if phase not in TERMINAL_PHASES | {"SUCCEEDING", "FAILING"}:
        return
    ended_at = _ended_at(execution.closure, phase in TERMINAL_PHASES)
    request = _workflow(execution, phase, ended_at)
    closure, result = execution.closure, execution.closure.WhichOneof("output_result")
    if result == "error":
        request.event.error.CopyFrom(closure.error)
    elif result == "output_data":
        request.event.output_data.CopyFrom(closure.output_data)
    elif result == "outputs" and closure.outputs.uri:
        request.event.output_uri = closure.outputs.uri
    elif result == "outputs":
        request.event.output_data.CopyFrom(closure.outputs.values)
    yield request


def _workflow(execution: Any, phase: str, at: Any) -> Any:
    from flyteidl.admin import event_pb2 as admin_pb2
    from flyteidl.event import event_pb2

    return admin_pb2.WorkflowExecutionEventRequest(
        event=event_pb2.WorkflowExecutionEvent(
            execution_id=execution.id, producer_id=PRODUCER, phase=phase, occurred_at=at
        )
    )


# ------------------------------------------------------------------------- nodes


def node_requests(node: Any, *, parent: str = "", target: Any = None) -> Iterator[Any]:
    """The `NodeExecutionEventRequest`s of an `admin.NodeExecution`, oldest first.

    Args:
        node: As it was listed.
        parent: The id of the node that it is inside of: the list's `unique_parent_id`.
        target: The `Identifier` of what it runs, which is not part of it.
    """
    closure, phase = node.closure, phase_of(node.closure)
    if not _single_event(node):
        yield _node(node, "QUEUED", closure.created_at, parent, target)
    if closure.HasField("started_at"):
        yield _node(node, "RUNNING", closure.started_at, parent, target)
    if phase not in ("UNDEFINED", "QUEUED", "RUNNING"):
        request = _node(node, phase, _node_ended_at(node), parent, target)
        request.event.reported_at.CopyFrom(closure.updated_at)
        request.event.deck_uri = closure.deck_uri
        _copy_result(closure, request.event)
        _copy_cache(closure, request.event)
        yield request


def dynamic_request(node: Any, closure: Any, *, parent: str = "") -> Any:
    """The DYNAMIC_RUNNING request of a dynamic node, with its graph.

    Args:
        node: An `admin.NodeExecution`.
        closure: The `CompiledWorkflowClosure` that `GetDynamicNodeWorkflow` answers.
        parent: The id of the node that it is inside of, where that is known.
    """
    started = node.closure.HasField("started_at")
    at = node.closure.started_at if started else node.closure.created_at
    request = _node(node, "DYNAMIC_RUNNING", at, parent, None)
    request.event.is_parent = request.event.is_dynamic = True
    graph = request.event.task_node_metadata.dynamic_workflow
    graph.id.CopyFrom(closure.primary.template.id)
    graph.compiled_workflow.CopyFrom(closure)
    graph.dynamic_job_spec_uri = node.closure.dynamic_job_spec_uri
    return request


def task_of(node: Any, tasks: Iterable[Any]) -> Any | None:
    """The `Identifier` of the task of which there were attempts; array nodes tell none.

    Of a node that the cache answered for there were none: what is known of its task
    stands in the catalogue's entry.
    """
    last = max(tasks, key=lambda task: task.id.retry_attempt, default=None)
    return last.id.task_id if last is not None and not node.metadata.is_array else None


def child_of(node: Any) -> Any | None:
    """The identifier of the execution that a launch-plan node started."""
    if node.closure.WhichOneof("target_metadata") != "workflow_node_metadata":
        return None
    return node.closure.workflow_node_metadata.executionId


def may_have_tasks(node: Any) -> bool:
    """Whether a node can have had attempts: those taken over and most wrappers cannot."""
    metadata = node.metadata
    wrapper = metadata.is_parent_node and not (metadata.is_dynamic or metadata.is_array)
    return not (wrapper or _childless(node))


def may_have_children(node: Any, tasks: Iterable[Any]) -> bool:
    """Whether there can be nodes inside of it.

    Nothing tells a branch from a gate, or from a node that waits for its first attempt:
    none says that it is a parent, so all that ran no task are asked.
    """
    if node.metadata.is_parent_node or node.metadata.is_dynamic:
        return True
    return not (_childless(node) or any(True for _ in tasks))


def trimmed(answer: Any) -> bool:
    """Whether its error's message may have been cut, which Admin does in lists.

    Source: flyteadmin pkg/repositories/transformers/execution.go, TrimErrorMessage: to
    100 bytes, without a character that this cuts in two.
    """
    closure = answer.closure
    if closure.WhichOneof("output_result") != "error":
        return False
    return len(closure.error.message.encode()) in _TRIMMED_BYTES


def _node(node: Any, phase: str, at: Any, parent: str, target: Any | None) -> Any:
    from flyteidl.admin import event_pb2 as admin_pb2
    from flyteidl.event import event_pb2

    metadata = node.metadata
    told = event_pb2.NodeExecutionEvent(
        id=node.id,
        producer_id=PRODUCER,
        phase=phase,
        occurred_at=at,
        input_uri=node.input_uri or None,
        spec_node_id=metadata.spec_node_id,
        retry_group=metadata.retry_group,
        is_parent=metadata.is_parent_node,
        is_dynamic=metadata.is_dynamic,
        is_array=metadata.is_array,
        target_entity=target,
        event_version=1,
    )
    if parent:
        told.parent_node_metadata.node_id = parent
    if (child := child_of(node)) is not None:
        told.workflow_node_metadata.execution_id.CopyFrom(child)
    return admin_pb2.NodeExecutionEventRequest(event=told)


def _copy_cache(closure: Any, told: Any) -> None:
    if closure.WhichOneof("target_metadata") != "task_node_metadata":
        return
    kept, metadata = closure.task_node_metadata, told.task_node_metadata
    metadata.cache_status = kept.cache_status
    metadata.checkpoint_uri = kept.checkpoint_uri
    if kept.HasField("catalog_key"):
        metadata.catalog_key.CopyFrom(kept.catalog_key)


def _childless(node: Any) -> bool:
    return (
        (node.metadata.spec_node_id or node.id.node_id) in _FRAME_NODES
        or _taken_over(node)
        or child_of(node) is not None
    )


def _taken_over(node: Any) -> bool:
    """Whether it never ran: its outputs came from the cache or another execution."""
    from flyteidl.core import catalog_pb2

    status = node.closure.task_node_metadata.cache_status
    return phase_of(node.closure) in _TAKEN_OVER or status == catalog_pb2.CACHE_HIT


def _single_event(node: Any) -> bool:
    """Whether its first event was its last one, and `created_at` the time of that."""
    if node.closure.HasField("started_at"):
        return False
    return _taken_over(node) or node.metadata.spec_node_id == "start-node"


def _node_ended_at(node: Any) -> Any:
    if _single_event(node):
        return node.closure.created_at
    return _ended_at(node.closure, phase_of(node.closure) in TERMINAL_NODE_PHASES)


# ------------------------------------------------------------------------- tasks


def task_requests(task: Any) -> Iterator[Any]:
    """The `TaskExecutionEventRequest`s of an `admin.TaskExecution`, oldest first."""
    closure, phase = task.closure, phase_of(task.closure)
    if closure.HasField("started_at"):
        yield _task(task, "RUNNING", closure.started_at)
    else:
        yield _task(task, "QUEUED", closure.created_at)
    if phase in ("UNDEFINED", "QUEUED", "RUNNING"):
        return
    request = _task(task, phase, _ended_at(closure, phase in _TERMINAL_TASK_PHASES))
    request.event.reported_at.CopyFrom(closure.updated_at)
    request.event.logs.extend(closure.logs)
    request.event.metadata.CopyFrom(closure.metadata)
    _copy_result(closure, request.event)
    yield request


def stands_in(task: Any) -> bool:
    """Whether it is no task: array nodes report the start of their items under made-up ids.

    Source: flytepropeller pkg/controller/nodes/array/event_recorder.go.
    """
    return bool(task.closure.task_type == "k8s-array" and task.id.task_id.version == "v1")


def _task(task: Any, phase: str, at: Any) -> Any:
    from flyteidl.admin import event_pb2 as admin_pb2
    from flyteidl.event import event_pb2

    return admin_pb2.TaskExecutionEventRequest(
        event=event_pb2.TaskExecutionEvent(
            task_id=task.id.task_id,
            parent_node_execution_id=task.id.node_execution_id,
            retry_attempt=task.id.retry_attempt,
            phase=phase,
            producer_id=PRODUCER,
            occurred_at=at,
            input_uri=task.input_uri or None,
            task_type=task.closure.task_type,
            event_version=1,
        )
    )


# ------------------------------------------------------------------ what all share


def phase_of(closure: Any) -> str:
    """The name of the phase in a closure; `UNDEFINED` for one that is not known."""
    phases = closure.DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_number
    return str(phases[closure.phase].name) if closure.phase in phases else "UNDEFINED"


def _ended_at(closure: Any, terminal: bool) -> Any:
    """When its last phase began: exactly for an end after a start.

    `updated_at` is when the last event was reported, a little after it occurred.
    """
    from google.protobuf.timestamp_pb2 import Timestamp

    if not (terminal and closure.HasField("started_at") and closure.HasField("duration")):
        return closure.updated_at
    ended_at = Timestamp()
    ended_at.FromNanoseconds(closure.started_at.ToNanoseconds() + closure.duration.ToNanoseconds())
    return ended_at


def _copy_result(closure: Any, told: Any) -> None:
    """The outputs, by URI or inline, or the error; whichever Admin kept."""
    result = closure.WhichOneof("output_result")
    if result == "output_uri":
        told.output_uri = closure.output_uri
    elif result is not None:
        getattr(told, result).CopyFrom(getattr(closure, result))
