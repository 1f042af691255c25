"""Compiled workflows: the definitions that FlyteAdmin keeps and dynamic nodes send.

Source: flyteidl core/compiler.proto, core/workflow.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

from flytelineage.testing.simulator.literals import FastLiterals, HexNames, typed_interface
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
    Produced,
    Task,
    Workflow,
    kind_of,
    output_kinds,
)


def compile_workflow(workflow: Workflow) -> Any:
    """The `CompiledWorkflowClosure`: the graph, its sub-workflows, and every task.

    As in Flyte, the graph of a dynamic node is not part of it: only its task is.
    """
    parts = [workflow, *_sub_workflows(workflow)]
    tasks = {
        (task.name, task.version): _compiled_task(task, node, part)
        for part in parts
        for node in _nodes(part)
        if (task := task_of(node))
    }
    compiled = [_compiled(part) for part in parts]
    return compiler_pb2.CompiledWorkflowClosure(
        primary=compiled[0], sub_workflows=compiled[1:], tasks=tasks.values()
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
    return typed_interface(workflow.inputs, outputs)


def node_interface(node: Node, workflow: Workflow) -> Any:
    """The `TypedInterface` of what stands at a node."""
    inputs = {name: kind_of(binding, workflow) for name, binding in node.inputs.items()}
    return typed_interface(inputs, output_kinds(node, workflow))


def _nodes(workflow: Workflow) -> Iterator[Node]:
    """The nodes of a graph, arms of branches included, under their compiled ids."""
    for node in workflow.nodes:
        yield node
        if isinstance(node.target, Branch):
            yield from (named_arm(node, arm) for arm in node.target.arms)


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
    plain = Node(node.id, task, node.inputs)
    template = tasks_pb2.TaskTemplate(
        id=identifier_pb2.Identifier(
            resource_type="TASK",
            project=workflow.project,
            domain=workflow.domain,
            name=task.name,
            version=task.version,
        ),
        type=task.task_type,
        metadata=tasks_pb2.TaskMetadata(discoverable=task.cacheable),
        interface=node_interface(plain, workflow),
    )
    return compiler_pb2.CompiledTask(template=template)


def _compiled(workflow: Workflow) -> Any:
    template = workflow_pb2.WorkflowTemplate(
        id=workflow_identifier(workflow),
        interface=workflow_interface(workflow),
        nodes=[
            workflow_pb2.Node(id="start-node"),
            *(_node(node, workflow) for node in workflow.nodes),
            workflow_pb2.Node(id="end-node", inputs=_bindings(workflow.outputs)),
        ],
        outputs=_bindings(workflow.outputs),
    )
    return compiler_pb2.CompiledWorkflow(template=template, connections=_connections(workflow))


def _node(node: Node, workflow: Workflow) -> Any:
    found = workflow_pb2.Node(
        id=node.id,
        metadata=workflow_pb2.NodeMetadata(name=short_name(node)),
        inputs=_bindings(node.inputs),
        upstream_node_ids=node.upstream(),
    )
    target = node.target
    if isinstance(target, Workflow):
        found.workflow_node.sub_workflow_ref.CopyFrom(workflow_identifier(target))
    elif isinstance(target, LaunchPlan):
        found.workflow_node.launchplan_ref.CopyFrom(launch_plan_identifier(target))
    elif isinstance(target, Branch):
        found.branch_node.CopyFrom(_branch(node, target, workflow))
    elif isinstance(target, MapTask):
        inner = Node(node.id, target.task, node.inputs)
        found.array_node.node.CopyFrom(_node(inner, workflow))
    elif isinstance(target, Gate):
        found.gate_node.CopyFrom(_gate(node, target))
    else:
        _set_task(found, target, workflow)
    return found


def _set_task(found: Any, target: Task | Dynamic, workflow: Workflow) -> None:
    task = target.task if isinstance(target, Dynamic) else target
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
    return target.name.rpartition(".")[2] if isinstance(target, Workflow) else ""


def launch_plan_identifier(plan: LaunchPlan) -> Any:
    """The `Identifier` of a launch plan; the default one has the workflow's name."""
    name = plan.name or plan.workflow.launch_plan or plan.workflow.name
    return workflow_identifier(plan.workflow, "LAUNCH_PLAN", name)


def _branch(node: Node, branch: Branch, workflow: Workflow) -> Any:
    """All arms, each under a condition of which only the shape is real."""
    always = condition_pb2.BooleanExpression(
        comparison=condition_pb2.ComparisonExpression(
            operator="EQ",
            left_value=condition_pb2.Operand(var="condition"),
            right_value=condition_pb2.Operand(var="condition"),
        )
    )
    blocks = [
        workflow_pb2.IfBlock(condition=always, then_node=_node(named_arm(node, arm), workflow))
        for arm in branch.arms
    ]
    return workflow_pb2.BranchNode(
        if_else=workflow_pb2.IfElseBlock(case=blocks[0], other=blocks[1:])
    )


def _gate(node: Node, gate: Gate) -> Any:
    if gate.kind == "approve":
        return workflow_pb2.GateNode(approve=workflow_pb2.ApproveCondition(signal_id=node.id))
    if gate.kind == "signal":
        return workflow_pb2.GateNode(signal=workflow_pb2.SignalCondition(signal_id=node.id))
    return workflow_pb2.GateNode(sleep=workflow_pb2.SleepCondition())


def _bindings(inputs: Mapping[str, Binding]) -> list[Any]:
    return [
        literals_pb2.Binding(var=name, binding=_binding(binding))
        for name, binding in sorted(inputs.items())
    ]


def _binding(binding: Binding) -> Any:
    make = literals_pb2.BindingData
    if isinstance(binding, Input):
        # After compilation the workflow's inputs are the outputs of its start-node.
        return make(promise=types_pb2.OutputReference(node_id="start-node", var=binding.name))
    if isinstance(binding, Output):
        path = [_step(step) for step in binding.path]
        return make(
            promise=types_pb2.OutputReference(
                node_id=binding.node, var=binding.variable, attr_path=path
            )
        )
    if isinstance(binding, list):
        items = [_binding(item) for item in binding]
        return make(collection=literals_pb2.BindingDataCollection(bindings=items))
    if isinstance(binding, dict):
        named = {key: _binding(item) for key, item in binding.items()}
        return make(map=literals_pb2.BindingDataMap(bindings=named))
    return make(scalar=_constant(binding).scalar)


def _step(step: str | int) -> Any:
    if isinstance(step, int):
        return types_pb2.PromiseAttribute(int_value=step)
    return types_pb2.PromiseAttribute(string_value=step)


def _constant(kind: Any) -> Any:
    if isinstance(kind, Produced):
        return kind.literal
    return FastLiterals(MemoryStorage(), HexNames("constant")).make(kind, None)


def _upstream(workflow: Workflow) -> dict[str, tuple[str, ...]]:
    """Ids of the nodes upstream of each node, start and end included."""
    upstream = {node.id: node.upstream() or ("start-node",) for node in workflow.nodes}
    inner = {id for ids in upstream.values() for id in ids}
    upstream["end-node"] = tuple(id for id in upstream if id not in inner) or ("start-node",)
    return upstream


def _connections(workflow: Workflow) -> Any:
    upstream = _upstream(workflow)
    downstream: dict[str, list[str]] = {}
    for id, ids in upstream.items():
        for above in ids:
            downstream.setdefault(above, []).append(id)
    ids_of = compiler_pb2.ConnectionSet.IdList
    return compiler_pb2.ConnectionSet(
        upstream={id: ids_of(ids=ids) for id, ids in upstream.items()},
        downstream={id: ids_of(ids=ids) for id, ids in downstream.items()},
    )
