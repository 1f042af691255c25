"""Compiled workflows in a few words, as the protobufs that Flyte makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flyteidl.core import (
    compiler_pb2,
    condition_pb2,
    identifier_pb2,
    literals_pb2,
    types_pb2,
    workflow_pb2,
)


def promise(node: str, variable: str = "o0") -> literals_pb2.BindingData:
    """The output of another node."""
    return literals_pb2.BindingData(promise=types_pb2.OutputReference(node_id=node, var=variable))


def given(variable: str = "x") -> literals_pb2.BindingData:
    """An input of the workflow, as it is after compilation."""
    return promise("start-node", variable)


def bindings(named: Mapping[str, literals_pb2.BindingData]) -> list[literals_pb2.Binding]:
    return [literals_pb2.Binding(var=name, binding=data) for name, data in named.items()]


def node(id: str, upstream: Sequence[str] = (), **inputs) -> workflow_pb2.Node:
    """A node of which nothing is known but what it waits for."""
    return workflow_pb2.Node(id=id, upstream_node_ids=upstream, inputs=bindings(inputs))


def identifier(name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(name=name, version="v1")


def task(id: str, upstream: Sequence[str] = (), *, name: str = "", **inputs) -> workflow_pb2.Node:
    """A node that runs a task; of its own, unless a name is given."""
    found = node(id, upstream, **inputs)
    found.task_node.reference_id.CopyFrom(identifier(name or f"app.{id}"))
    return found


def sub(id: str, workflow: str, upstream: Sequence[str] = (), **inputs) -> workflow_pb2.Node:
    """A node that runs a sub-workflow."""
    found = node(id, upstream, **inputs)
    found.workflow_node.sub_workflow_ref.CopyFrom(identifier(workflow))
    return found


def launch(id: str, upstream: Sequence[str] = (), **inputs) -> workflow_pb2.Node:
    """A node that runs a launch plan."""
    found = node(id, upstream, **inputs)
    found.workflow_node.launchplan_ref.CopyFrom(identifier("app.plan"))
    return found


def branch(
    id: str, arms: Sequence[workflow_pb2.Node], upstream: Sequence[str] = (), **condition
) -> workflow_pb2.Node:
    """A branch; the last arm is its else."""
    found = node(id, upstream, **condition)
    block = found.branch_node.if_else
    always = condition_pb2.BooleanExpression()
    block.case.CopyFrom(workflow_pb2.IfBlock(condition=always, then_node=arms[0]))
    block.other.extend(workflow_pb2.IfBlock(condition=always, then_node=arm) for arm in arms[1:-1])
    if len(arms) > 1:
        block.else_node.CopyFrom(arms[-1])
    return found


def gate(id: str, kind: str, upstream: Sequence[str] = (), **inputs) -> workflow_pb2.Node:
    """A gate that approves, waits for a signal, or sleeps."""
    found = node(id, upstream, **inputs)
    if kind == "approve":
        found.gate_node.approve.signal_id = id
    elif kind == "signal":
        found.gate_node.signal.signal_id = id
    else:
        found.gate_node.sleep.duration.seconds = 1
    return found


def compiled(
    *nodes: workflow_pb2.Node,
    outputs: Mapping[str, literals_pb2.BindingData] | None = None,
    upstream: Mapping[str, Sequence[str]] | None = None,
    failure: workflow_pb2.Node | None = None,
    subs: Mapping[str, Sequence[workflow_pb2.Node]] | None = None,
    sub_outputs: Mapping[str, Mapping[str, literals_pb2.BindingData]] | None = None,
) -> bytes:
    """A serialised closure.

    Args:
        nodes: Start-node and end-node come by themselves.
        outputs: Of the workflow.
        upstream: Connections besides what the nodes say themselves.
        failure: The failure node.
        subs: Nodes of sub-workflows by name.
        sub_outputs: What those give, by name.
    """
    closure = compiler_pb2.CompiledWorkflowClosure()
    closure.primary.CopyFrom(_workflow("app.wf", nodes, outputs or {}, upstream or {}, failure))
    for name, inner in (subs or {}).items():
        given_out = (sub_outputs or {}).get(name, {})
        closure.sub_workflows.append(_workflow(name, inner, given_out, {}, None))
    return closure.SerializeToString()


def _workflow(name, nodes, outputs, upstream, failure) -> compiler_pb2.CompiledWorkflow:
    template = workflow_pb2.WorkflowTemplate(
        id=identifier(name),
        nodes=[node("start-node"), *nodes, node("end-node", **outputs)],
        outputs=bindings(outputs),
    )
    if failure is not None:
        template.failure_node.CopyFrom(failure)
    ids = {id: compiler_pb2.ConnectionSet.IdList(ids=above) for id, above in upstream.items()}
    return compiler_pb2.CompiledWorkflow(
        template=template, connections=compiler_pb2.ConnectionSet(upstream=ids)
    )
