"""What FlyteAdmin keeps: the last state of each execution, node and attempt.

The events that FlytePropeller sends are taken in as Admin takes them, quirks included;
so also those count that were never published. Definitions are kept by identifier.

Source: flyteorg/flyte v1.16, flyteadmin pkg/repositories/transformers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from flyteidl.admin import (
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    task_execution_pb2,
    task_pb2,
    workflow_pb2,
)
from flyteidl.core import execution_pb2 as core_pb2
from flyteidl.core import literals_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from flytelineage.testing.simulator import Stream, compile_workflow
from flytelineage.testing.simulator.compiled import task_of, workflow_identifier
from flytelineage.testing.simulator.reports import task_identifier

_NODE, _TASK, _WORKFLOW = core_pb2.NodeExecution, core_pb2.TaskExecution, core_pb2.WorkflowExecution
_NODE_ENDS = frozenset(
    {_NODE.SUCCEEDED, _NODE.FAILED, _NODE.ABORTED, _NODE.SKIPPED, _NODE.TIMED_OUT, _NODE.RECOVERED}
)
_TASK_PHASES = frozenset(_TASK.Phase.keys())
_TASK_ENDS = frozenset({_TASK.SUCCEEDED, _TASK.FAILED, _TASK.ABORTED})
_WORKFLOW_ENDS = frozenset(
    {_WORKFLOW.SUCCEEDED, _WORKFLOW.FAILED, _WORKFLOW.ABORTED, _WORKFLOW.TIMED_OUT}
)

Key = tuple[str, ...]


def key_of(identifier: Any) -> Key:
    """Project, domain, name, and the version where there is one."""
    return tuple(
        getattr(identifier, field)
        for field in ("project", "domain", "name", "version")
        if hasattr(identifier, field)
    )


class Kept:
    """The rows of one execution.

    Attributes:
        execution: The `admin.Execution`.
        storage: Where its files are.
        nodes: `admin.NodeExecution` by node id.
        parents: Node id of what a node is inside of; empty at the top.
        attempts: `admin.TaskExecution` by node id, task and number.
        graphs: `CompiledWorkflowClosure` of dynamic nodes.
    """

    def __init__(self, execution: Any, storage: Any) -> None:
        self.execution, self.storage = execution, storage
        self.nodes: dict[str, Any] = {}
        self.parents: dict[str, str] = {}
        self.attempts: dict[tuple[str, Key, int], Any] = {}
        self.graphs: dict[str, Any] = {}

    def children(self, parent: str) -> list[Any]:
        """The nodes inside of one, or at the top, as lists show them.

        There a node with others inside is a parent, also a branch, which never said so.
        Source: flyteadmin pkg/repositories/transformers/node_execution.go,
        FromNodeExecutionModel.
        """
        parents = set(self.parents.values())
        return [
            _as_parent(node) if id in parents else node
            for id, node in self.nodes.items()
            if self.parents[id] == parent
        ]

    def tasks(self, node_id: str) -> list[Any]:
        """The attempts at a node."""
        return [task for (id, _, _), task in self.attempts.items() if id == node_id]


class Database:
    """All rows; a `LookupError` is what Admin answers as NOT_FOUND."""

    def __init__(self) -> None:
        self.executions: dict[Key, Kept] = {}
        self.workflows: dict[Key, Any] = {}
        self.launch_plans: dict[Key, Any] = {}
        self.tasks: dict[Key, Any] = {}

    def add(self, stream: Stream, parent: Any = None) -> None:
        """Take in what an execution reported, and those that it launched.

        Args:
            stream: Lost events count too, where the stream knows them.
            parent: The `NodeExecutionIdentifier` that launched it.
        """
        self._define(stream.execution.workflow)
        kept = Kept(_new_execution(stream, parent), stream.execution.settings.storage)
        self.executions[key_of(kept.execution.id)] = kept
        requests = _all_requests(stream)
        for request in requests:
            _Intake(kept).take(request)
        _add_unreported(kept, stream)
        for child in stream.children:
            self.add(child, _launcher(child, requests))

    def kept(self, id: Any) -> Kept:
        """What is kept of an execution."""
        return self.executions[key_of(id)]

    def node(self, id: Any) -> Any:
        """A node."""
        return self.kept(id.execution_id).nodes[id.node_id]

    def _define(self, workflow: Any) -> None:
        id, closure = workflow_identifier(workflow), compile_workflow(workflow)
        self.workflows[key_of(id)] = workflow_pb2.Workflow(
            id=id, closure=workflow_pb2.WorkflowClosure(compiled_workflow=closure)
        )
        plan = workflow_identifier(workflow, "LAUNCH_PLAN", workflow.launch_plan)
        self.launch_plans[key_of(plan)] = launch_plan_pb2.LaunchPlan(
            id=plan, spec=launch_plan_pb2.LaunchPlanSpec(workflow_id=id)
        )
        for task in closure.tasks:
            self.tasks[key_of(task.template.id)] = task_pb2.Task(
                id=task.template.id,
                closure=task_pb2.TaskClosure(compiled_task=task),
            )


def _as_parent(node: Any) -> Any:
    shown = node_execution_pb2.NodeExecution()
    shown.CopyFrom(node)
    shown.metadata.is_parent_node = True
    return shown


def _new_execution(stream: Stream, parent: Any) -> Any:
    workflow = stream.execution.workflow
    launched = execution_pb2.ExecutionMetadata(
        mode="CHILD_WORKFLOW" if parent else "MANUAL",
        principal=stream.principal,
        parent_node_execution=parent,
    )
    created_at = Timestamp()
    created_at.FromDatetime(stream.execution.start)
    found = execution_pb2.Execution(
        id=stream.execution.reports.execution,
        spec=execution_pb2.ExecutionSpec(
            launch_plan=workflow_identifier(workflow, "LAUNCH_PLAN", workflow.launch_plan),
            metadata=launched,
        ),
        closure=execution_pb2.ExecutionClosure(
            phase="QUEUED",
            created_at=created_at,
            updated_at=created_at,
            workflow_id=workflow_identifier(workflow),
        ),
    )
    found.spec.labels.values.update(stream.labels)
    return found


def _all_requests(stream: Stream) -> list[Any]:
    """Everything that propeller sent, in its order; what got lost has its time too."""
    reports = stream.execution.reports
    sent = [*reports.published, *getattr(reports, "lost", ())]
    return sorted(sent, key=_sent_at)


def _sent_at(request: Any) -> int:
    nanoseconds: int = _reported_at(request.event).ToNanoseconds()
    return nanoseconds


def _launcher(child: Stream, requests: Iterable[Any]) -> Any | None:
    """The node that launched an execution, as its own events say."""
    for request in requests:
        event = request.event
        if event.DESCRIPTOR.name != "NodeExecutionEvent":
            continue
        if event.workflow_node_metadata.execution_id == child.execution.reports.execution:
            return event.id
    return None


def _add_unreported(kept: Kept, stream: Stream) -> None:
    """Attempts of which Admin had one event, the one that it never publishes."""
    reported = {(node_id, number) for node_id, _, number in kept.attempts}
    for attempt in stream.execution.attempts:
        ran = not attempt.cached and attempt.phase in _TASK_PHASES
        if not ran or (attempt.node_id, attempt.number) in reported:
            continue
        if attempt.node_id in kept.nodes and attempt.node_id in stream.execution.interfaces:
            _add_attempt(kept, stream, attempt)


def _add_attempt(kept: Kept, stream: Stream, attempt: Any) -> None:
    node, workflow = stream.execution.interfaces[attempt.node_id]
    task, state = task_of(node), kept.nodes[attempt.node_id]
    if task is None:
        return
    id = task_identifier(task, workflow.project, workflow.domain)
    told = task_execution_pb2.TaskExecution(input_uri=state.input_uri)
    told.id.task_id.CopyFrom(id)
    told.id.node_execution_id.CopyFrom(state.id)
    told.id.retry_attempt = attempt.number
    told.closure.phase = _TASK.Phase.Value(attempt.phase)
    told.closure.task_type = task.task_type
    told.closure.created_at.CopyFrom(state.closure.started_at)
    told.closure.updated_at.CopyFrom(state.closure.updated_at)
    if attempt.phase == "SUCCEEDED":
        told.closure.output_uri = state.closure.output_uri
    kept.attempts[attempt.node_id, key_of(id), attempt.number] = told


# ------------------------------------------------------------------------ intake


class _Intake:
    """Takes events in as Admin does; what it refuses changes nothing."""

    def __init__(self, kept: Kept) -> None:
        self._kept, self._storage = kept, kept.storage

    def take(self, request: Any) -> None:
        """One request of propeller."""
        event = request.event
        kind = event.DESCRIPTOR.name
        if kind == "WorkflowExecutionEvent":
            self._workflow(event)
        elif kind == "NodeExecutionEvent":
            self._node(event)
        else:
            self._task(event)

    def _workflow(self, event: Any) -> None:
        closure = self._kept.execution.closure
        closure.phase = event.phase
        closure.updated_at.CopyFrom(event.occurred_at)
        if event.phase == _WORKFLOW.RUNNING:
            closure.started_at.CopyFrom(event.occurred_at)
        elif event.phase in _WORKFLOW_ENDS:
            _measure(closure, event)
        if event.phase == _WORKFLOW.ABORTED:
            closure.abort_metadata.cause = "somebody stopped it"
        result = event.WhichOneof("output_result")
        if result == "error":
            closure.error.CopyFrom(event.error)
        elif result:
            closure.outputs.uri = self._offloaded(event, "outputs")

    def _node(self, event: Any) -> None:
        id = event.id.node_id
        known = self._kept.nodes.get(id)
        if known is None:
            known = self._new_node(event)
        elif known.closure.phase == event.phase or known.closure.phase in _NODE_ENDS:
            return
        elif event.HasField("workflow_node_metadata"):
            # Only an update stores it: what was recovered forgets its child.
            child = event.workflow_node_metadata.execution_id
            known.closure.workflow_node_metadata.executionId.CopyFrom(child)
        self._update_node(known, event)

    def _new_node(self, event: Any) -> Any:
        id = event.id.node_id
        known = node_execution_pb2.NodeExecution(id=event.id)
        known.closure.created_at.CopyFrom(event.occurred_at)
        known.metadata.retry_group = event.retry_group
        known.metadata.spec_node_id = event.spec_node_id
        self._kept.nodes[id] = known
        self._kept.parents[id] = event.parent_node_metadata.node_id
        return known

    def _update_node(self, known: Any, event: Any) -> None:
        closure = known.closure
        closure.phase = event.phase
        closure.updated_at.CopyFrom(_reported_at(event))
        known.input_uri = known.input_uri or self._input(event)
        known.metadata.is_parent_node |= event.is_parent
        known.metadata.is_dynamic |= event.is_dynamic
        known.metadata.is_array |= event.is_array
        if event.phase == _NODE.RUNNING:
            closure.started_at.CopyFrom(event.occurred_at)
        if event.phase in _NODE_ENDS:
            _measure(closure, event)
            closure.deck_uri = event.deck_uri
            self._result(closure, event)
        if event.HasField("task_node_metadata"):
            self._cache(known, event.task_node_metadata)

    def _cache(self, known: Any, told: Any) -> None:
        """The last word replaces all before; a status without a key is not kept."""
        metadata = node_execution_pb2.TaskNodeMetadata(checkpoint_uri=told.checkpoint_uri)
        if told.HasField("catalog_key"):
            metadata.cache_status = told.cache_status
            metadata.catalog_key.CopyFrom(told.catalog_key)
        known.closure.task_node_metadata.CopyFrom(metadata)
        if told.HasField("dynamic_workflow"):
            graph = told.dynamic_workflow
            known.closure.dynamic_job_spec_uri = graph.dynamic_job_spec_uri
            self._kept.graphs[known.id.node_id] = graph.compiled_workflow

    def _task(self, event: Any) -> None:
        node_id = event.parent_node_execution_id.node_id
        place = (node_id, key_of(event.task_id), event.retry_attempt)
        known = self._kept.attempts.get(place)
        if known is None:
            known = self._kept.attempts[place] = _new_task(event)
        elif known.closure.phase in _TASK_ENDS:
            return
        closure = known.closure
        closure.phase = event.phase
        closure.updated_at.CopyFrom(_reported_at(event))
        closure.task_type = event.task_type
        known.input_uri = known.input_uri or self._input(event)
        _merge_logs(closure.logs, event.logs)
        _merge_metadata(closure.metadata, event.metadata)
        if event.phase == _TASK.RUNNING and not closure.HasField("started_at"):
            closure.started_at.CopyFrom(event.occurred_at)
        if event.phase in _TASK_ENDS:
            _measure(closure, event)
            self._result(closure, event)

    def _result(self, closure: Any, event: Any) -> None:
        if event.WhichOneof("output_result") == "error":
            closure.error.CopyFrom(event.error)
        elif event.WhichOneof("output_result"):
            closure.output_uri = self._offloaded(event, "outputs")

    def _input(self, event: Any) -> str:
        return self._offloaded(event, "inputs") if event.WhichOneof("input_value") else ""

    def _offloaded(self, event: Any, side: str) -> str:
        """The URI of literals; those that came inline Admin stores under its own."""
        given = side.removesuffix("s")
        data, uri = getattr(event, f"{given}_data"), getattr(event, f"{given}_uri")
        if not event.HasField(f"{given}_data"):
            return str(uri)
        id = self._kept.execution.id
        parts = (id.project, id.domain, id.name, *_own_folder(event), f"offloaded_{side}")
        uri = "/".join((self._storage.root, "metadata/admin", *parts))
        self._storage.write(uri, data.SerializeToString(deterministic=True))
        return uri


def _own_folder(event: Any) -> Iterator[str]:
    if event.DESCRIPTOR.name == "NodeExecutionEvent":
        yield event.id.node_id
    elif event.DESCRIPTOR.name == "TaskExecutionEvent":
        yield event.parent_node_execution_id.node_id
        yield from key_of(event.task_id)
        yield str(event.retry_attempt)


def _new_task(event: Any) -> Any:
    known = task_execution_pb2.TaskExecution()
    known.id.task_id.CopyFrom(event.task_id)
    known.id.node_execution_id.CopyFrom(event.parent_node_execution_id)
    known.id.retry_attempt = event.retry_attempt
    known.closure.created_at.CopyFrom(event.occurred_at)
    return known


def _reported_at(event: Any) -> Any:
    """When it was sent; of workflow events only the time that they are about is known."""
    if "reported_at" in event.DESCRIPTOR.fields_by_name and event.reported_at.ToNanoseconds():
        return event.reported_at
    return event.occurred_at


def _measure(closure: Any, event: Any) -> None:
    if closure.HasField("started_at"):
        took = event.occurred_at.ToNanoseconds() - closure.started_at.ToNanoseconds()
        duration = Duration()
        duration.FromNanoseconds(took)
        closure.duration.CopyFrom(duration)


def _merge_logs(known: Any, latest: Any) -> None:
    """New links first; an older one of the same name or address is gone."""
    uris, names = {log.uri for log in latest}, {log.name for log in latest}
    older = [log for log in known if log.uri not in uris and log.name not in names]
    merged = [copy.deepcopy(log) for log in (*latest, *older)]
    del known[:]
    known.extend(merged)


def _merge_metadata(known: Any, latest: Any) -> None:
    items = {(item.index, item.retry_attempt): item for item in known.external_resources}
    for item in latest.external_resources:
        place = (item.index, item.retry_attempt)
        if place in items:
            items[place].phase = item.phase
            _merge_logs(items[place].logs, item.logs)
        else:
            known.external_resources.append(item)
    known.generated_name = latest.generated_name or known.generated_name
    known.plugin_identifier = latest.plugin_identifier or known.plugin_identifier


def literals(storage: Any, uri: str) -> Any:
    """The `LiteralMap` at a URI; an empty one where there is none."""
    try:
        return literals_pb2.LiteralMap.FromString(storage.read(uri))
    except KeyError:
        return literals_pb2.LiteralMap()
