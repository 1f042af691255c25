"""Compiled workflows: the definitions that FlyteAdmin keeps and dynamic nodes send.

Source: flyteidl core/compiler.proto, core/workflow.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flyteidl.core import (
    compiler_pb2,
    condition_pb2,
    identifier_pb2,
    literals_pb2,
    tasks_pb2,
    types_pb2,
    workflow_pb2,
)

from flytelineage.testing.simulator.kinds import (
    Kind,
    ListOf,
    Offloaded,
    Produced,
)
from flytelineage.testing.simulator.literals import (
    FastLiterals,
    HexNames,
    literal_type,
    part,
    typed_interface,
)
from flytelineage.testing.simulator.storage import MemoryStorage
from flytelineage.testing.simulator.workflows import (
    Binding,
    Branch,
    Dynamic,
    Gate,
    Input,
    LaunchPlan,
    MapTask,
    Node,
    Output,
    Task,
    Workflow,
    kind_of,
    output_kinds,
)


def compile_workflow(workflow: Workflow) -> Any:
    """The `CompiledWorkflowClosure`: the graph, its sub-workflows, and every task.

    As in Flyte, the graph of a dynamic node is not part of it: only its task is.
    """
    return _closure(workflow, None)


def compile_dynamic(body: Workflow, given: Mapping[str, Any], id: Any, interface: Any) -> Any:
    """The closure of a dynamic node's graph, as DYNAMIC_RUNNING carries it.

    The task's code saw values where a workflow sees promises. So what it was given
    stands in its graph as constants, and nothing is bound to start-node.
    Source: flytepropeller pkg/controller/nodes/dynamic/dynamic_workflow.go.

    Args:
        body: The graph.
        given: Literals by input.
        id: The `Identifier` that propeller makes up for it.
        interface: That of the dynamic task.
    """
    closure = _closure(body, given)
    closure.primary.template.id.CopyFrom(id)
    closure.primary.template.interface.CopyFrom(interface)
    return closure


def _closure(workflow: Workflow, given: Mapping[str, Any] | None) -> Any:
    parts = list({part.name: part for part in [workflow, *_sub_workflows(workflow)]}.values())
    tasks = {
        (task.name, task.version): _compiled_task(task, node, part)
        for part in parts
        for node in _nodes(part)
        if (task := task_of(node))
    }
    primary, *others = [_compiled(part, given if part is workflow else None) for part in parts]
    return compiler_pb2.CompiledWorkflowClosure(
        primary=primary, sub_workflows=others, tasks=tasks.values()
    )


def task_of(node: Node) -> Task | None:
    """The task that a node runs by itself."""
    target = node.target
    if isinstance(target, (MapTask, Dynamic)):
        return target.task
    return target if isinstance(target, Task) else None


def workflow_identifier(workflow: Workflow, kind: str = "WORKFLOW", name: str = "") -> Any:
    """The `Identifier` of a workflow, or of a launch plan of it."""
    return identifier_pb2.Identifier(
        resource_type=kind,
        project=workflow.project,
        domain=workflow.domain,
        name=name or workflow.name,
        version=workflow.version,
    )


def workflow_interface(workflow: Workflow) -> Any:
    """The `TypedInterface` of a workflow."""
    outputs = {name: kind_of(binding, workflow) for name, binding in workflow.outputs.items()}
    return typed_interface(workflow.inputs, outputs, docs=workflow.docs)


def task_interface(node: Node, workflow: Workflow) -> Any:
    """The `TypedInterface` of the task at a node; of a map task, that of its items."""
    task, target = task_of(node), node.target
    inputs = {name: kind_of(binding, workflow) for name, binding in node.inputs.items()}
    if isinstance(target, MapTask) and not target.legacy:
        node = Node(node.id, target.task, node.inputs)
        inputs |= {name: _item(inputs[name]) for name in target.over}
    return typed_interface(
        inputs,
        output_kinds(node, workflow),
        docs=task.docs if task else {},
        artifacts=task.artifacts if task else {},
    )


def _item(kind: Kind) -> Kind:
    if isinstance(kind, Offloaded):
        return _item(kind.item)
    return kind.item if isinstance(kind, ListOf) else kind


def _nodes(workflow: Workflow) -> Iterator[Node]:
    """The nodes of a graph, arms of branches included, under their compiled ids."""
    for node in (*workflow.nodes, *filter(None, [workflow.on_failure])):
        yield from _with_arms(node)


def _with_arms(node: Node) -> Iterator[Node]:
    yield node
    for arm in _arms(node):
        yield from _with_arms(arm)


def _arms(node: Node) -> list[Node]:
    branch = node.target
    return [named_arm(node, arm) for arm in branch.arms] if isinstance(branch, Branch) else []


def named_arm(branch: Node, arm: Node) -> Node:
    """An arm under the id that the compiler gives it.

    Source: flytepropeller pkg/compiler/validators/node.go.
    """
    return Node(f"{branch.id}-{arm.id}", arm.target, arm.inputs, arm.after)


def _sub_workflows(workflow: Workflow) -> Iterator[Workflow]:
    for node in _nodes(workflow):
        if isinstance(node.target, Workflow):
            yield node.target
            yield from _sub_workflows(node.target)


def _compiled_task(task: Task, node: Node, workflow: Workflow) -> Any:
    return compiler_pb2.CompiledTask(template=task_template(task, node, workflow))


def task_template(task: Task, node: Node, workflow: Workflow) -> Any:
    """The `TaskTemplate` that was registered for the task at a node."""
    template = tasks_pb2.TaskTemplate(
        id=identifier_pb2.Identifier(
            resource_type="TASK",
            project=workflow.project,
            domain=workflow.domain,
            name=task.name,
            version=task.version,
        ),
        type=task.task_type,
        metadata=tasks_pb2.TaskMetadata(
            discoverable=task.cacheable, cache_serializable=task.cache_serialize
        ),
        interface=task_interface(node, workflow),
    )
    if task.sql:
        template.sql.CopyFrom(tasks_pb2.Sql(statement=task.sql, dialect="ANSI"))
    elif task.image:
        template.container.CopyFrom(tasks_pb2.Container(image=task.image, args=task.args))
    return template


def _compiled(workflow: Workflow, given: Mapping[str, Any] | None) -> Any:
    outputs = _bindings(workflow.outputs, given)
    template = workflow_pb2.WorkflowTemplate(
        id=workflow_identifier(workflow),
        interface=workflow_interface(workflow),
        nodes=[
            workflow_pb2.Node(id="start-node"),
            workflow_pb2.Node(id="end-node", inputs=outputs),
            *(_node(node, workflow, given) for node in workflow.nodes),
        ],
        outputs=outputs,
    )
    if workflow.fails_late:
        policy = workflow_pb2.WorkflowMetadata.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
        template.metadata.on_failure = policy
    if workflow.on_failure:
        template.failure_node.CopyFrom(_node(workflow.on_failure, workflow, given))
    connections = _connections(workflow, constants=given is not None)
    return compiler_pb2.CompiledWorkflow(template=template, connections=connections)


def _node(node: Node, workflow: Workflow, given: Mapping[str, Any] | None) -> Any:
    found = workflow_pb2.Node(
        id=node.id,
        metadata=workflow_pb2.NodeMetadata(name=short_name(node)),
        inputs=_bindings(node.inputs, given),
        upstream_node_ids=node.upstream(),
    )
    target = node.target
    if isinstance(target, Workflow):
        found.workflow_node.sub_workflow_ref.CopyFrom(workflow_identifier(target))
    elif isinstance(target, LaunchPlan):
        found.workflow_node.launchplan_ref.CopyFrom(launch_plan_identifier(target))
    elif isinstance(target, Branch):
        found.branch_node.CopyFrom(_branch(node, target, workflow, given))
    elif isinstance(target, MapTask) and not target.legacy:
        found.array_node.node.CopyFrom(
            _node(Node(node.id, target.task, node.inputs), workflow, given)
        )
        found.array_node.min_success_ratio = target.min_success_ratio
    elif isinstance(target, Gate):
        found.gate_node.CopyFrom(_gate(node, target))
    else:
        _set_task(found, target, workflow)
    return found


def _set_task(found: Any, target: Task | Dynamic | MapTask, workflow: Workflow) -> None:
    task = target if isinstance(target, Task) else target.task
    reference = found.task_node.reference_id
    reference.resource_type = identifier_pb2.TASK
    reference.project, reference.domain = workflow.project, workflow.domain
    reference.name, reference.version = task.name, task.version


def short_name(node: Node) -> str:
    """The name that flytekit gives a node: the function's, without its module."""
    target = node.target
    task = task_of(node)
    if task:
        return task.name.rpartition(".")[2]
    if isinstance(target, LaunchPlan):
        return target.workflow.name.rpartition(".")[2]
    if isinstance(target, (Workflow, Gate)):
        return target.name.rpartition(".")[2]
    return node.id


def launch_plan_identifier(plan: LaunchPlan) -> Any:
    """The `Identifier` of a launch plan; the default one has the workflow's name."""
    name = plan.name or plan.workflow.launch_plan or plan.workflow.name
    return workflow_identifier(plan.workflow, "LAUNCH_PLAN", name)


def _branch(node: Node, branch: Branch, workflow: Workflow, given: Mapping[str, Any] | None) -> Any:
    """All arms; of the conditions only what they compare is real.

    The last arm is the one that `else` leads to, unless that is an error.
    """
    arms = [_node(arm, workflow, given) for arm in _arms(node)]
    last = [] if branch.or_fails or len(arms) == 1 else [arms.pop()]
    blocks = [workflow_pb2.IfBlock(condition=_condition(node), then_node=arm) for arm in arms]
    found = workflow_pb2.IfElseBlock(case=blocks[0], other=blocks[1:])
    if last:
        found.else_node.CopyFrom(last[0])
    else:
        found.error.failed_node_id, found.error.message = node.id, "no case matched"
    return workflow_pb2.BranchNode(if_else=found)


def _condition(node: Node) -> Any:
    """An input of the branch is compared with a constant."""
    one = literals_pb2.Primitive(integer=1)
    left = condition_pb2.Operand(var=next(iter(sorted(node.inputs)), ""))
    if not node.inputs:
        left = condition_pb2.Operand(primitive=one)
    return condition_pb2.BooleanExpression(
        comparison=condition_pb2.ComparisonExpression(
            operator="EQ", left_value=left, right_value=condition_pb2.Operand(primitive=one)
        )
    )


def _gate(node: Node, gate: Gate) -> Any:
    if gate.kind == "approve":
        return workflow_pb2.GateNode(approve=workflow_pb2.ApproveCondition(signal_id=gate.name))
    if gate.kind == "sleep":
        return workflow_pb2.GateNode(sleep=workflow_pb2.SleepCondition())
    condition = workflow_pb2.SignalCondition(
        signal_id=gate.name, type=literal_type(gate.signal), output_variable_name="o0"
    )
    return workflow_pb2.GateNode(signal=condition)


def _bindings(inputs: Mapping[str, Binding], given: Mapping[str, Any] | None) -> list[Any]:
    return [
        literals_pb2.Binding(var=name, binding=_binding(binding, given))
        for name, binding in sorted(inputs.items())
    ]


def _binding(binding: Binding, given: Mapping[str, Any] | None) -> Any:
    make = literals_pb2.BindingData
    if isinstance(binding, Input):
        if given is not None:
            return _bound(part(given[binding.name], binding.path))
        # After compilation the workflow's inputs are the outputs of its start-node.
        return make(promise=_promise("start-node", binding.name, binding.path))
    if isinstance(binding, Output):
        return make(promise=_promise(binding.node, binding.variable, binding.path))
    if isinstance(binding, list):
        items = [_binding(item, given) for item in binding]
        return make(collection=literals_pb2.BindingDataCollection(bindings=items))
    if isinstance(binding, dict):
        named = {key: _binding(item, given) for key, item in binding.items()}
        return make(map=literals_pb2.BindingDataMap(bindings=named))
    return _bound(_constant(binding))


def _bound(literal: Any) -> Any:
    """A literal as the constant that a binding holds."""
    make = literals_pb2.BindingData
    if literal.HasField("collection"):
        items = [_bound(item) for item in literal.collection.literals]
        return make(collection=literals_pb2.BindingDataCollection(bindings=items))
    if literal.HasField("map"):
        named = {key: _bound(item) for key, item in literal.map.literals.items()}
        return make(map=literals_pb2.BindingDataMap(bindings=named))
    return make(scalar=literal.scalar)


def _promise(node: str, variable: str, path: Sequence[str | int]) -> Any:
    steps = [_step(step) for step in path]
    return types_pb2.OutputReference(node_id=node, var=variable, attr_path=steps)


def _step(step: str | int) -> Any:
    if isinstance(step, int):
        return types_pb2.PromiseAttribute(int_value=step)
    return types_pb2.PromiseAttribute(string_value=step)


def _constant(kind: Any) -> Any:
    if isinstance(kind, Produced):
        return kind.literal
    return FastLiterals(MemoryStorage(), HexNames("constant")).make(kind, None)


def _connections(workflow: Workflow, *, constants: bool) -> Any:
    """Who waits for whom, start and end included; only the arms are not waited for.

    Source: flytepropeller pkg/compiler/workflow_compiler.go, ValidateWorkflow.
    """
    upstream = {
        node.id: _waits_for(node, constants=constants) or {"start-node"} for node in workflow.nodes
    }
    waited = {id for ids in upstream.values() for id in ids}
    downstream: dict[str, set[str]] = {}
    end = Node("end-node", Task(""), workflow.outputs)
    upstream["end-node"] = _waits_for(end, constants=constants) | (upstream.keys() - waited)
    for id, ids in upstream.items():
        for above in ids:
            downstream.setdefault(above, set()).add(id)
    for node in workflow.nodes:
        for arm in list(_with_arms(node))[1:]:
            upstream[arm.id] = _waits_for(arm, constants=constants)
    return compiler_pb2.ConnectionSet(
        upstream=_id_lists(upstream), downstream=_id_lists(downstream)
    )


def _waits_for(node: Node, *, constants: bool) -> set[str]:
    """The nodes upstream, start-node among them if an input of the workflow is taken."""
    takes = not constants and any(map(_takes_input, node.inputs.values()))
    return {*node.upstream(), *(["start-node"] if takes else [])}


def _takes_input(binding: Binding) -> bool:
    if isinstance(binding, (list, dict)):
        return any(map(_takes_input, binding.values() if isinstance(binding, dict) else binding))
    return isinstance(binding, Input)


def _id_lists(ids: Mapping[str, set[str]]) -> dict[str, Any]:
    make = compiler_pb2.ConnectionSet.IdList
    return {id: make(ids=sorted(others)) for id, others in ids.items() if others}
