"""What the events of one execution say together: `fold()` and the rules of merging.

Events come in any order, more than once, and perhaps in two encodings at the same
time. Each says some fields of the execution, of a node or of an attempt. A field that
is said twice goes to the event with the greater stamp: how far the phase had come,
then the times, then the hash. Flags are OR-ed, links united, earliest times kept.
All of these are joins, so any permutation of the same messages, with any number of
repeats, gives the same `Facts`. Memory grows with nodes and attempts, not with events.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from flytelineage.entities import ErrorInfo, ExecutionId, Link
from flytelineage.events import Event, message
from flytelineage.facts import (
    Answer,
    AttemptFacts,
    Closure,
    Facts,
    Identifier,
    Literals,
    NodeFacts,
    Origin,
)

MAX_LINKS = 100
"""Links kept of one attempt: a map task can have thousands of pods."""

_ERROR_CHARACTERS = 4096


_RANK = {
    "UNDEFINED": 0, "QUEUED": 1, "WAITING_FOR_RESOURCES": 2, "INITIALIZING": 3, "RUNNING": 4,
    "RETRYABLE_FAILED": 5, "DYNAMIC_RUNNING": 5, "SUCCEEDING": 5, "FAILING": 5, "ABORTING": 5,
}  # fmt: skip
_TERMINAL_RANK, _CARRIED_RANK = 9, 10


def fold(execution: ExecutionId, events: Iterable[Event]) -> Facts:
    """Fold a stream of events of one execution, in any order, into its facts."""
    workflow = _Slot()
    nodes: dict[str, _Slot] = {}
    attempts: dict[str, dict[tuple[int, Identifier], _Slot]] = {}
    for event in events:
        said, around = message(event)
        if event.kind == "execution":
            _fold_answer(workflow, said, event)
            continue
        stamp = _stamp(event, said)
        workflow.earliest("first_at", event.occurred_at)
        if event.kind == "workflow":
            _fold_workflow(workflow, said, around, event, stamp)
        elif event.kind == "node":
            slot = nodes.setdefault(said.id.node_id, _Slot())
            _fold_node(slot, said, around, event, stamp)
            _fold_launch(workflow, around, stamp)
        elif not _stands_for_nothing(said):
            node_id = said.parent_node_execution_id.node_id
            nodes.setdefault(node_id, _Slot())
            key = said.retry_attempt, _identifier(said.task_id)
            slot = attempts.setdefault(node_id, {}).setdefault(key, _Slot())
            _fold_attempt(slot, said, event, stamp)
    return _facts(execution, workflow, nodes, attempts)


def _stands_for_nothing(said: Any) -> bool:
    """Whether a task event is about a task and a node that do not exist.

    Array nodes of event version 1 make up ids for the elements that they queue or abort.
    Source: flytepropeller pkg/controller/nodes/array, handler.go and event_recorder.go.
    """
    made_up = f"{said.parent_node_execution_id.node_id}-{said.retry_attempt}"
    return bool(said.task_id.name == made_up and said.task_type == "k8s-array")


# --------------------------------------------------------------------- the joins


class _Stamp(NamedTuple):
    """Orders what two events say of one field; equal only for the same event."""

    rank: int
    occurred_at: int
    reported_at: int
    hash: bytes


class _Slot:
    """Fields under construction.

    Every way to change one is a join: the order of calls and repeats do not matter.
    """

    __slots__ = ("_latest", "_values")

    def __init__(self) -> None:
        self._latest: dict[str, tuple[_Stamp, Any]] = {}
        self._values: dict[str, Any] = {}

    def latest(self, name: str, value: Any, stamp: _Stamp) -> None:
        """Keep the value of the greatest stamp; what is empty was not said."""
        if value and (name not in self._latest or self._latest[name][0] < stamp):
            self._latest[name] = stamp, value

    def earliest(self, name: str, at: datetime) -> None:
        """Keep the earliest time."""
        self._values[name] = min(at, self._values.get(name, at))

    def any(self, name: str, flag: bool) -> None:
        """Keep whether it was ever true."""
        self._values[name] = self._values.get(name, False) or flag

    def unite(self, name: str, items: Iterable[Any]) -> None:
        """Keep all items, of more than `MAX_LINKS` the least."""
        known = self._values.setdefault(name, set())
        known.update(items)
        if len(known) > MAX_LINKS:
            self._values[name] = set(sorted(known)[:MAX_LINKS])

    def get(self, name: str, default: Any = None) -> Any:
        """What is known of a field."""
        if name in self._latest:
            return self._latest[name][1]
        return self._values.get(name, default)


def _stamp(event: Event, said: Any) -> _Stamp:
    terminal = event.terminal if event.kind == "workflow" else event.phase not in _RANK
    rank = _TERMINAL_RANK if terminal else _RANK[event.phase]
    occurred, reported = said.occurred_at, None
    if event.kind != "workflow":
        reported = said.reported_at
    return _Stamp(
        rank,
        occurred.seconds * 1_000_000_000 + occurred.nanos,
        reported.seconds * 1_000_000_000 + reported.nanos if reported else 0,
        event.hash,
    )


# --------------------------------------------------------------- what events say


def _fold_workflow(slot: _Slot, said: Any, around: Any, event: Event, stamp: _Stamp) -> None:
    slot.latest("phase", event.phase, stamp)
    if event.terminal:
        slot.latest("ended_at", event.occurred_at, stamp)
    slot.latest("error", _error(said), stamp)
    slot.latest("outputs", _literals(said, "output"), stamp)
    _fold_launch(slot, around, stamp)


def _fold_launch(slot: _Slot, around: Any, stamp: _Stamp) -> None:
    """What a CloudEvent of version 2 says of the execution, whatever its kind."""
    if around is None or not around.launch_plan_id.name:
        return
    slot.latest("launch_plan", _identifier(around.launch_plan_id), stamp)
    slot.latest("principal", around.principal, stamp)
    slot.latest("labels", dict(sorted(around.labels.items())), stamp)


def _fold_answer(slot: _Slot, said: Any, event: Event) -> None:
    """What FlyteAdmin knows of the execution; it goes before what events say of it.

    Source: flyteidl admin/execution.proto, Execution.
    """
    stamp = _Stamp(_TERMINAL_RANK + 1, int(event.occurred_at.timestamp() * 1e6), 0, event.hash)
    metadata, plan = said.spec.metadata, said.spec.launch_plan
    slot.latest("launch_plan", plan.name and _identifier(plan), stamp)
    slot.latest("principal", metadata.principal, stamp)
    slot.latest("labels", dict(sorted(said.spec.labels.values.items())), stamp)
    parent, scheduled = metadata.parent_node_execution, metadata.scheduled_at
    started = _execution(parent.execution_id)
    answer = Answer(
        workflow=_identifier(said.closure.workflow_id) if said.closure.workflow_id.name else None,
        mode=_mode(metadata),
        scheduled_at=_moment(scheduled) if metadata.HasField("scheduled_at") else None,
        parent=Origin(started, parent.node_id) if started else None,
        reference=_execution(metadata.reference_execution),
    )
    slot.latest("answer", answer, stamp)


def _moment(found: Any) -> datetime | None:
    try:
        at: datetime = found.ToDatetime(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        return None
    return at


def _mode(metadata: Any) -> str:
    names = metadata.DESCRIPTOR.fields_by_name["mode"].enum_type.values_by_number
    return str(names[metadata.mode].name) if metadata.mode in names else ""


def _fold_node(slot: _Slot, said: Any, around: Any, event: Event, stamp: _Stamp) -> None:
    """Source: flyteidl event.proto, NodeExecutionEvent."""
    if stamp.rank < _TERMINAL_RANK or _took_over(said, event):
        slot.earliest("queued_at", event.occurred_at)
    if event.phase == "RUNNING":
        slot.earliest("started_at", event.occurred_at)
    if stamp.rank == _TERMINAL_RANK:
        slot.latest("ended_at", event.occurred_at, stamp)
    slot.latest("phase", event.phase, stamp)
    slot.latest("spec_id", said.spec_node_id, stamp)
    slot.latest("name", said.node_name, stamp)
    slot.latest("parent", _parent(said), stamp)
    slot.latest("retry_group", said.retry_group, stamp)
    slot.latest("error", _error(said), stamp)
    outputs = _literals(said, "output")
    slot.latest("outputs", outputs, _carried(outputs, stamp))
    if outputs is not None and (attempt := _attempt_in(outputs.uri)) is not None:
        slot.latest("attempt", (attempt,), stamp)
    _fold_inputs(slot, said, event, stamp)
    for flag in ("is_parent", "is_dynamic", "is_array"):
        slot.any(flag, getattr(said, flag))
    _fold_target(slot, said, stamp)
    if around is not None and around.HasField("output_interface"):
        interface = around.output_interface.SerializeToString(deterministic=True)
        slot.latest("interface", interface, stamp)


def _parent(said: Any) -> str:
    """The node around it; before event version 1 only dynamic nodes are named, by their task."""
    task = said.parent_task_metadata.id.node_execution_id
    return str(said.parent_node_metadata.node_id or task.node_id)


def _fold_inputs(slot: _Slot, said: Any, event: Event, stamp: _Stamp) -> None:
    """Keep the inputs; inline, only two phases carry them and others an empty map.

    Source: flytepropeller pkg/controller/nodes/transformers.go, ToNodeExecutionEvent.
    """
    inputs = _literals(said, "input")
    if inputs != Literals():
        slot.latest("inputs", inputs, _carried(inputs, stamp))
    elif event.phase in ("QUEUED", "RECOVERED"):
        slot.any("no_inputs", True)


def _took_over(said: Any, event: Event) -> bool:
    """Whether its only event says that it never ran, so that it began when it ended."""
    from flyteidl.core import catalog_pb2

    status = said.task_node_metadata.cache_status
    return event.phase == "RECOVERED" or bool(status == catalog_pb2.CACHE_HIT)


def _carried(found: Literals | None, stamp: _Stamp) -> _Stamp:
    """The stamp of literals: those that an event carried go before any place to read them.

    FlyteAdmin names places of its own also for what was published inline, perhaps
    because nobody else may read them.
    """
    return stamp._replace(rank=_CARRIED_RANK) if found and found.inline else stamp


def _fold_target(slot: _Slot, said: Any, stamp: _Stamp) -> None:
    """What the node runs, and what became of it."""
    from flyteidl.core import catalog_pb2, identifier_pb2

    kind = said.target_entity.resource_type
    if kind == identifier_pb2.TASK:
        slot.latest("task", _identifier(said.target_entity), stamp)
    elif kind == identifier_pb2.LAUNCH_PLAN:
        slot.latest("launch_plan", _identifier(said.target_entity), stamp)
    if said.HasField("workflow_node_metadata"):
        slot.latest("child", _execution(said.workflow_node_metadata.execution_id), stamp)
    if not said.HasField("task_node_metadata"):
        return
    metadata = said.task_node_metadata
    if metadata.cache_status:
        status = catalog_pb2.CatalogCacheStatus.Name(metadata.cache_status)
        slot.latest("cache_status", status, stamp)
    source = metadata.catalog_key.source_task_execution
    if execution := _execution(source.node_execution_id.execution_id):
        slot.latest("origin", Origin(execution, source.node_execution_id.node_id), stamp)
    if source.task_id.name:
        slot.latest("catalogued", _identifier(source.task_id), stamp)
    if metadata.HasField("dynamic_workflow"):
        _fold_closure(slot, metadata.dynamic_workflow, stamp)


def _fold_closure(slot: _Slot, graph: Any, stamp: _Stamp) -> None:
    """Keep the graph of the last attempt, whatever order the attempts arrive in.

    Source: flyteidl event.proto, DynamicWorkflowNodeMetadata; the attempt is the number
    before `futures.pb`.
    """
    slot.any("is_dynamic", True)
    if not graph.HasField("compiled_workflow"):
        return
    attempt = _attempt_in(graph.dynamic_job_spec_uri) or 0
    compiled = graph.compiled_workflow.SerializeToString(deterministic=True)
    slot.latest("closure", Closure(attempt, compiled), stamp._replace(rank=attempt))


_ATTEMPT = re.compile(r".*/(\d{1,9})/[^/]+")


def _attempt_in(uri: str) -> int | None:
    """The attempt whose folder this is: `.../data/<attempt>/outputs.pb`.

    Source: flytepropeller pkg/controller/nodes/common, output directories.
    """
    found = _ATTEMPT.fullmatch(uri)
    return int(found[1]) if found else None


def _fold_attempt(slot: _Slot, said: Any, event: Event, stamp: _Stamp) -> None:
    """Source: flyteidl event.proto, TaskExecutionEvent."""
    slot.earliest("first_at", event.occurred_at)
    if event.phase == "RUNNING":
        slot.earliest("started_at", event.occurred_at)
    if stamp.rank == _TERMINAL_RANK:
        slot.latest("ended_at", event.occurred_at, stamp)
    slot.latest("phase", event.phase, stamp)
    slot.latest("task_type", said.task_type, stamp)
    slot.latest("error", _error(said), stamp)
    slot.latest("outputs", _literals(said, "output"), stamp)
    logs = [*said.logs, *(log for r in said.metadata.external_resources for log in r.logs)]
    slot.unite("links", ((log.name, log.uri) for log in logs if log.uri))


# --------------------------------------------------------------- pieces of events


def _identifier(found: Any) -> Identifier:
    return Identifier(found.project, found.domain, found.name, found.version)


def _execution(found: Any) -> ExecutionId | None:
    if not found.name:
        return None
    return ExecutionId(project=found.project, domain=found.domain, name=found.name)


def _error(said: Any) -> ErrorInfo | None:
    if said.WhichOneof("output_result") != "error":
        return None
    kinds = said.error.DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number
    kind = kinds[said.error.kind].name.lower() if said.error.kind in kinds else "unknown"
    return ErrorInfo(
        kind=kind if kind in ("user", "system") else "unknown",
        code=said.error.code[:_ERROR_CHARACTERS],
        message=said.error.message[:_ERROR_CHARACTERS],
    )


def _literals(said: Any, side: str) -> Literals | None:
    """One side's literal map, by URI or inline; `None` where nothing was said of it."""
    chosen = said.WhichOneof("output_result" if side == "output" else "input_value")
    if chosen == f"{side}_uri":
        return Literals(uri=getattr(said, chosen)) if getattr(said, chosen) else None
    if chosen == f"{side}_data":
        return Literals(inline=getattr(said, chosen).SerializeToString(deterministic=True))
    return None


# ----------------------------------------------------------------- out of the slots


def _facts(
    execution: ExecutionId,
    workflow: _Slot,
    nodes: Mapping[str, _Slot],
    attempts: Mapping[str, Mapping[tuple[int, Identifier], _Slot]],
) -> Facts:
    arrays = {
        name
        for id, slot in nodes.items()
        if slot.get("is_array")
        for name in (id, slot.get("spec_id"))
    }
    return Facts(
        execution=execution,
        phase=workflow.get("phase", "UNDEFINED"),
        started_at=workflow.get("first_at"),
        ended_at=workflow.get("ended_at"),
        error=workflow.get("error"),
        outputs=workflow.get("outputs"),
        answer=_answer(workflow.get("answer"), execution),
        launch_plan=workflow.get("launch_plan"),
        principal=workflow.get("principal", ""),
        labels=workflow.get("labels", {}),
        nodes={
            node_id: _node(execution, node_id, nodes[node_id], attempts.get(node_id, {}))
            for node_id in sorted(nodes)
            if not _is_made_up(node_id, nodes[node_id], arrays)
        },
    )


def _is_made_up(node_id: str, slot: _Slot, arrays: Container[str]) -> bool:
    """Whether the node stands for an element that the array node queues or aborts.

    See `_stands_for_nothing`; the element's own events name another id. Inside of a
    sub-workflow the array goes by its spec id there, as if it stood at the top.

    Args:
        node_id: The node in question.
        slot: What its events say.
        arrays: Ids and spec ids of the array nodes.
    """
    array, _, index = node_id.rpartition("-n")
    return array in arrays and index.isdecimal() and not slot.get("spec_id")


def _node(
    execution: ExecutionId,
    node_id: str,
    slot: _Slot,
    attempts: Mapping[tuple[int, Identifier], _Slot],
) -> NodeFacts:
    origin, child = slot.get("origin"), slot.get("child")
    return NodeFacts(
        id=node_id,
        spec_id=slot.get("spec_id", ""),
        parent=slot.get("parent", ""),
        retry_group=slot.get("retry_group", ""),
        name=slot.get("name", ""),
        phase=slot.get("phase", "UNDEFINED"),
        queued_at=slot.get("queued_at"),
        started_at=slot.get("started_at"),
        ended_at=slot.get("ended_at"),
        error=slot.get("error"),
        task=slot.get("task"),
        launch_plan=slot.get("launch_plan"),
        child=child and _here(child, execution),
        is_parent=slot.get("is_parent", False),
        is_dynamic=slot.get("is_dynamic", False),
        is_array=slot.get("is_array", False),
        attempt=slot.get("attempt", (None,))[0],
        closure=slot.get("closure"),
        cache_status=slot.get("cache_status", ""),
        catalogued=slot.get("catalogued"),
        origin=origin and origin._replace(execution=_here(origin.execution, execution)),
        inputs=slot.get("inputs", Literals() if slot.get("no_inputs") else None),
        outputs=slot.get("outputs"),
        interface=slot.get("interface", b""),
        # Of two tasks that claim one attempt the greater stays: there was only one.
        attempts=tuple(
            _attempt(*key, attempts[key])
            for key in {key[0]: key for key in sorted(attempts)}.values()
        ),
    )


def _answer(found: Answer | None, execution: ExecutionId) -> Answer | None:
    if found is None:
        return None
    parent, reference = found.parent, found.reference
    return found._replace(
        parent=parent and parent._replace(execution=_here(parent.execution, execution)),
        reference=reference and _here(reference, execution),
    )


def _here(other: ExecutionId, execution: ExecutionId) -> ExecutionId:
    """Another execution of the same Flyte deployment."""
    return other.model_copy(update={"instance": execution.instance})


def _attempt(number: int, task: Identifier, slot: _Slot) -> AttemptFacts:
    return AttemptFacts(
        number=number,
        task=task,
        phase=slot.get("phase", "UNDEFINED"),
        started_at=slot.get("started_at", slot.get("first_at")),
        ended_at=slot.get("ended_at"),
        error=slot.get("error"),
        task_type=slot.get("task_type", ""),
        links=tuple(Link(name=name, url=url) for name, url in sorted(slot.get("links", ()))),
        outputs=slot.get("outputs"),
    )
