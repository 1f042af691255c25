"""Compiled workflows: what stands at which node, and what each node waits for; pure.

FlyteAdmin keeps the compiled closure of every workflow version, and a dynamic node sends
the one that it made. Both are read here into a few plain values. Ids are those of the
closure (spec node ids); `dependencies` puts them together with what ran.

Source: flyteidl core/compiler.proto, core/workflow.proto, core/tasks.proto.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from flytelineage.errors import ReadError
from flytelineage.facts import Identifier

if TYPE_CHECKING:
    from flyteidl.core.compiler_pb2 import CompiledWorkflow, CompiledWorkflowClosure
    from flyteidl.core.identifier_pb2 import Identifier as IdentifierMessage
    from flyteidl.core.literals_pb2 import Binding, BindingData
    from flyteidl.core.tasks_pb2 import TaskTemplate
    from flyteidl.core.types_pb2 import PromiseAttribute
    from flyteidl.core.workflow_pb2 import IfElseBlock
    from flyteidl.core.workflow_pb2 import Node as NodeMessage

START = "start-node"
END = "end-node"

MAX_NESTING = 50
"""Sub-workflows inside each other; whoever needs more made a mistake, or is one."""

MAX_PLACES = 1_000
"""Places of one task that are listed. Sub-workflows that are used over and over multiply."""

Kind = Literal["task", "sub-workflow", "launch plan", "branch", "approval", "gate", "other"]
"""What stands at a node. An array node is the task that it maps, an approval a gate that
hands its inputs on."""


Steps: TypeAlias = "tuple[str | int, ...]"
"""Keys and positions from a value down to a part of it."""


class Promise(NamedTuple):
    """The output of another node of the same graph, or a part of it.

    Attributes:
        path: To the part of the output that is needed; empty for all of it.
        at: Where in the binding it stands: a list or map may need several promises.
    """

    node: str
    variable: str
    path: Steps = ()
    at: Steps = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a graph.

    Attributes:
        inputs: What each input variable needs; nothing for a constant.
        chained: Ids of nodes that must be over first although no value comes from them.
        task, workflow: What it runs, where that is a task or a sub-workflow.
        arm_of: The branch node of which it is an arm; empty for all others.
    """

    id: str
    kind: Kind
    inputs: Mapping[str, tuple[Promise, ...]] = field(default_factory=dict)
    chained: tuple[str, ...] = ()
    task: Identifier | None = None
    workflow: Identifier | None = None
    arm_of: str = ""

    @property
    def promises(self) -> Iterator[Promise]:
        """All values of other nodes that its inputs need."""
        for promises in self.inputs.values():
            yield from promises

    @property
    def enters(self) -> bool:
        """Whether it waits for no other node of its graph."""
        return not self.chained and all(promise.node == START for promise in self.promises)


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow's graph; start-node and end-node are not among its nodes.

    Attributes:
        nodes: By id, arms of branches included, each after those that it waits for.
        outputs: What each output variable needs.
        failure: Id of the node that runs when the workflow fails; empty without one.
    """

    nodes: Mapping[str, Node] = field(default_factory=dict)
    outputs: Mapping[str, tuple[Promise, ...]] = field(default_factory=dict)
    failure: str = ""

    def sinks(self, seen: Container[str]) -> tuple[str, ...]:
        """Ids of the nodes for which no other node waits that was seen.

        What only an arm needs that was not taken is the last of its row.
        """
        waiting = [node for node in self.nodes.values() if node.id in seen]
        awaited = {promise.node for node in waiting for promise in node.promises}
        awaited.update(id for node in waiting for id in node.chained)
        return tuple(node.id for node in self.always() if node.id not in awaited)

    def always(self) -> Iterator[Node]:
        """The nodes that run whenever the workflow succeeds."""
        for node in self.nodes.values():
            if not node.arm_of and node.id != self.failure:
                yield node


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A registered task.

    Attributes:
        interface: A serialised `TypedInterface`.
        sql: The statement that it runs; empty for other tasks.
    """

    id: Identifier
    type: str = ""
    interface: bytes = b""
    sql: str = ""
    image: str = ""
    entry_point: str = ""


_Places: TypeAlias = "Mapping[str, frozenset[str]]"


@dataclass(frozen=True)
class Definition:
    """A compiled workflow with all that it refers to.

    Attributes:
        sub_workflows: Graphs by the workflow's identifier.
        tasks: By identifier.
        description: What its author wrote about it.
        registered_at: When this version was registered; `None` is not known.
    """

    id: Identifier
    primary: Graph = Graph()
    sub_workflows: Mapping[Identifier, Graph] = field(default_factory=dict)
    tasks: Mapping[Identifier, TaskDefinition] = field(default_factory=dict)
    description: str = ""
    registered_at: datetime | None = None

    @cached_property
    def places(self) -> _Places:
        """Paths of the nodes at which each task stands, by name; two of them at most.

        More would say no more: a task stands at one node, or at several.
        """
        return self._places(self.primary, {}, 0, most=2)

    @cached_property
    def all_places(self) -> _Places | None:
        """As `places`, but all of them; `None` where a task has too many to be listed."""
        found = self._places(self.primary, {}, 0, most=MAX_PLACES + 1)
        return None if any(len(paths) > MAX_PLACES for paths in found.values()) else found

    def _places(
        self, graph: Graph, known: dict[Identifier, _Places], depth: int, *, most: int
    ) -> _Places:
        found: dict[str, set[str]] = defaultdict(set)
        paths: dict[str, str] = {}
        for node in graph.nodes.values():
            above = f"{paths[node.arm_of]}/" if node.arm_of in paths else ""
            path = paths[node.id] = f"{above}{node.id}"
            if node.task:
                found[node.task.name].add(path)
            inner = self.sub_workflows.get(node.workflow) if node.workflow else None
            if inner is None or node.workflow is None or depth > MAX_NESTING:
                continue
            if node.workflow not in known:
                known[node.workflow] = self._places(inner, known, depth + 1, most=most)
            for name, below in known[node.workflow].items():
                found[name].update(f"{path}/{place}" for place in below)
        return {name: frozenset(sorted(places)[:most]) for name, places in found.items()}


def read_closure(data: bytes) -> Definition:
    """Read a serialised `CompiledWorkflowClosure`.

    Raises:
        ReadError: It is none (`unreadable`).
    """
    from flyteidl.core.compiler_pb2 import CompiledWorkflowClosure
    from google.protobuf.message import DecodeError

    try:
        return _definition(CompiledWorkflowClosure.FromString(data))
    except (DecodeError, RecursionError) as exc:
        raise ReadError("unreadable", f"This is not a compiled workflow: {exc}") from exc


def read_workflow(data: bytes) -> Definition:
    """Read a serialised `admin.Workflow`: FlyteAdmin's answer to GetWorkflow.

    Raises:
        ReadError: It is none (`unreadable`).
    """
    from flyteidl.admin.workflow_pb2 import Workflow
    from google.protobuf.message import DecodeError

    try:
        found = Workflow.FromString(data)
        definition = _definition(found.closure.compiled_workflow, found.short_description)
        if not found.closure.HasField("created_at"):
            return definition
        registered_at = found.closure.created_at.ToDatetime(tzinfo=timezone.utc)
        return replace(definition, registered_at=registered_at)
    except (DecodeError, RecursionError, ValueError, OverflowError) as exc:
        raise ReadError("unreadable", f"This is not a workflow: {exc}") from exc


def read_schedule(data: bytes) -> str:
    """When a launch plan runs by itself, from a serialised `admin.LaunchPlan`; or nothing.

    Source: flyteidl admin/schedule.proto.

    Raises:
        ReadError: It is none (`unreadable`).
    """
    from flyteidl.admin.launch_plan_pb2 import LaunchPlan
    from flyteidl.admin.schedule_pb2 import FixedRateUnit
    from google.protobuf.message import DecodeError

    try:
        schedule = LaunchPlan.FromString(data).spec.entity_metadata.schedule
    except (DecodeError, RecursionError) as exc:
        raise ReadError("unreadable", f"This is not a launch plan: {exc}") from exc
    match schedule.WhichOneof("ScheduleExpression"):
        case "cron_schedule":
            return f"cron: {schedule.cron_schedule.schedule}"
        case "cron_expression":
            return f"cron: {schedule.cron_expression}"
        case "rate":
            unit = schedule.rate.unit
            known = FixedRateUnit.Name(unit).lower() if unit in FixedRateUnit.values() else "?"
            return f"every {schedule.rate.value} {known}"
    return ""


def _definition(closure: CompiledWorkflowClosure, description: str = "") -> Definition:
    tasks = (_task(compiled.template) for compiled in closure.tasks)
    return Definition(
        id=_identifier(closure.primary.template.id),
        primary=_graph(closure.primary),
        sub_workflows={_identifier(w.template.id): _graph(w) for w in closure.sub_workflows},
        tasks={task.id: task for task in tasks},
        description=description,
    )


def _identifier(found: IdentifierMessage) -> Identifier:
    return Identifier(found.project, found.domain, found.name, found.version)


def _task(template: TaskTemplate) -> TaskDefinition:
    container = template.container
    return TaskDefinition(
        id=_identifier(template.id),
        type=template.type,
        interface=template.interface.SerializeToString(deterministic=True),
        sql=template.sql.statement,
        image=container.image,
        entry_point=" ".join([*container.command, *container.args]),
    )


# ------------------------------------------------------------------------- graphs


def _graph(compiled: CompiledWorkflow) -> Graph:
    template = compiled.template
    upstream = {id: tuple(ids.ids) for id, ids in compiled.connections.upstream.items()}
    found = [
        node
        for message in template.nodes
        if message.id not in (START, END)
        for node in _nodes(message, upstream)
    ]
    failure = template.failure_node
    if template.HasField("failure_node"):
        found.extend(_nodes(failure, upstream))
    return Graph(
        nodes={node.id: node for node in _in_order({node.id: node for node in found})},
        outputs=_needs(template.outputs),
        failure=failure.id,
    )


def _in_order(nodes: Mapping[str, Node]) -> Iterator[Node]:
    """Each node after those that it waits for; a branch before its arms.

    A branch comes after what its arms are given, too: who needs its output needs that.
    """
    waits = _waits(nodes)
    left: dict[str, int] = {}
    next_to: dict[str, list[str]] = {}
    for node in nodes.values():
        known = waits[node.id] & nodes.keys()
        left[node.id] = len(known)
        for id in known:
            next_to.setdefault(id, []).append(node.id)
    ready = [id for id in nodes if not left[id]]
    for id in ready:  # grows on the way
        yield nodes[id]
        for after in next_to.get(id, ()):
            left[after] -= 1
            if not left[after]:
                ready.append(after)
    yield from (nodes[id] for id in nodes if left[id])  # a circle, which Flyte refuses


def _waits(nodes: Mapping[str, Node]) -> Mapping[str, set[str]]:
    waits = {id: {*node.chained, *(p.node for p in node.promises)} for id, node in nodes.items()}
    for node in nodes.values():
        branch = nodes.get(node.arm_of)
        while branch is not None:
            waits[branch.id] |= waits[node.id] - {branch.id}
            branch = nodes.get(branch.arm_of)
    for node in nodes.values():
        if node.arm_of:
            waits[node.id].add(node.arm_of)
    return waits


def _nodes(
    message: NodeMessage, upstream: Mapping[str, tuple[str, ...]], arm_of: str = ""
) -> Iterator[Node]:
    """A node, and the arms that stand inside of it, at any depth."""
    arms = [
        node
        for arm in _arms(message.branch_node.if_else)
        for node in _nodes(arm, upstream, message.id)
    ]
    inputs = _needs(message.inputs)
    bound = {promise.node for promises in inputs.values() for promise in promises}
    waits = dict.fromkeys((*message.upstream_node_ids, *upstream.get(message.id, ())))
    target = _target(message)
    yield Node(
        id=message.id,
        kind=target.kind,
        inputs=inputs,
        chained=tuple(id for id in waits if id != START and id not in bound),
        task=target.task,
        workflow=target.workflow,
        arm_of=arm_of,
    )
    yield from arms


def _arms(block: IfElseBlock) -> Iterator[NodeMessage]:
    if block.HasField("case"):
        yield block.case.then_node
    yield from (other.then_node for other in block.other)
    if block.HasField("else_node"):
        yield block.else_node


class _Target(NamedTuple):
    kind: Kind
    task: Identifier | None = None
    workflow: Identifier | None = None


def _target(message: NodeMessage) -> _Target:
    match message.WhichOneof("target"):
        case "task_node":
            return _Target("task", task=_identifier(message.task_node.reference_id))
        case "array_node":
            return _target(message.array_node.node)
        case "workflow_node":
            if message.workflow_node.WhichOneof("reference") == "launchplan_ref":
                return _Target("launch plan")
            return _Target(
                "sub-workflow", workflow=_identifier(message.workflow_node.sub_workflow_ref)
            )
        case "branch_node":
            return _Target("branch")
        case "gate_node":
            approves = message.gate_node.WhichOneof("condition") == "approve"
            return _Target("approval" if approves else "gate")
    return _Target("other")


def _needs(bindings: Iterable[Binding]) -> dict[str, tuple[Promise, ...]]:
    """The outputs of other nodes that each variable needs, each once."""
    return {binding.var: tuple(dict.fromkeys(_promises(binding.binding))) for binding in bindings}


def _promises(data: BindingData, at: Steps = ()) -> Iterator[Promise]:
    match data.WhichOneof("value"):
        case "promise":
            path = tuple(_step(attribute) for attribute in data.promise.attr_path)
            yield Promise(data.promise.node_id or START, data.promise.var, path, at)
        case "collection":
            for position, item in enumerate(data.collection.bindings):
                yield from _promises(item, (*at, position))
        case "map":
            for key in sorted(data.map.bindings):
                yield from _promises(data.map.bindings[key], (*at, key))


def _step(attribute: PromiseAttribute) -> str | int:
    if attribute.WhichOneof("value") == "int_value":
        return int(attribute.int_value)
    return str(attribute.string_value)


def parts(promises: Iterable[Promise], path: Steps) -> Iterator[Promise]:
    """The promises that give a part of a value, each down to that part.

    Args:
        promises: Of one binding.
        path: To the part; where nothing of the binding stands on it, all of them count.
    """
    found = []
    for promise in promises:
        shorter = min(len(promise.at), len(path))
        if promise.at[:shorter] == path[:shorter]:
            below = path[len(promise.at) :]
            found.append(promise._replace(path=(*promise.path, *below)))
    yield from found or promises


def descriptions(interface: bytes) -> dict[str, str]:
    """What the author of a task wrote about its outputs, by variable.

    flytekit repeats the variable's name where the author wrote nothing.
    Source: flyteidl core/interface.proto, Variable.description.
    """
    if not interface:
        return {}
    from flyteidl.core.interface_pb2 import TypedInterface

    declared = TypedInterface.FromString(interface).outputs.variables
    written = {name: found.description for name, found in declared.items()}
    return {name: text for name, text in written.items() if text not in ("", name)}
