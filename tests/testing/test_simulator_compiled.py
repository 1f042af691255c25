"""Compiled workflows of the simulator, against what flytekit makes of the same code."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec

import pytest
from flyteidl.core import literals_pb2
from flyteidl.core.identifier_pb2 import Identifier
from flyteidl.core.interface_pb2 import TypedInterface
from flyteidl.core.literals_pb2 import Literal, Scalar

from flytelineage.testing.simulator import (
    Branch,
    Gate,
    Input,
    ListOf,
    MapTask,
    Node,
    Output,
    Primitive,
    Task,
    Workflow,
    compile_workflow,
)
from flytelineage.testing.simulator.compiled import compile_dynamic
from flytelineage.testing.simulator.literals import collection

pytestmark = pytest.mark.skipif(
    find_spec("flytekit") is None, reason="flytekit has no release for this version of Python"
)

ONE, TWO = Task("one", {"o0": Primitive(1)}), Task("two", {"o0": Primitive(1)})
MANY, NONE = Task("many", {"o0": ListOf(Primitive(1))}), Task("none")
INNER = Workflow(
    "inner",
    (Node("n0", ONE, {"a": Input("x")}),),
    inputs={"x": Primitive(1)},
    outputs={"o0": Output("n0")},
)


def ours() -> Workflow:
    """The same as `theirs`, in our own words."""
    nested = Branch(
        (Node("n0", ONE, {"a": Output("n1")}), Node("n1", INNER, {"x": Output("n1")})), "n0"
    )
    arms = (
        Node("n0", TWO, {"a": Output("n1"), "b": Input("x")}),
        Node("n1", nested, {"n0.o0": Output("n0")}),
    )
    return Workflow(
        "outer",
        (
            Node("n0", ONE, {"a": Input("x")}),
            Node("n1", ONE, {"a": Output("n0")}),
            Node("n2", ONE, {"a": Primitive(3)}),
            Node("n3", Branch(arms, "n0", or_fails=True), {"n0.o0": Output("n0")}),
            Node("n4", MANY),
            Node("n5", MapTask(ONE, ("a",)), {"a": Output("n4")}),
            Node("n7", NONE),
            Node("n6", INNER, {"x": Output("n3")}, after=("n7",)),
            Node("n8", Gate("approve"), {"o0": Output("n6")}),
            Node("n9", Gate("signal", Primitive(1))),
            Node("n10", Gate("sleep")),
            Node("n11", TWO, {"a": Output("n8"), "b": Output("n9")}, after=("n10",)),
        ),
        inputs={"x": Primitive(1)},
        outputs={"o0": Output("n11")},
    )


def theirs():
    """The template that flytekit serialises of a workflow of everything."""
    from flytekit import approve, conditional, map_task, sleep, task, wait_for_input, workflow
    from flytekit.tools.translator import get_serializable

    @task
    def one(a: int) -> int:
        return a

    @task
    def two(a: int, b: int) -> int:
        return a + b

    @task
    def many() -> list[int]:
        return [1]

    @task
    def none() -> None:
        """Nothing."""

    @workflow
    def inner(x: int) -> int:
        return one(a=x)

    @workflow
    def outer(x: int) -> int:
        first = one(a=x)
        second = one(a=first)
        one(a=3)
        taken = (
            conditional("taken")
            .if_(first > 1)
            .then(two(a=second, b=x))
            .elif_(first < 0)
            .then(
                conditional("nested")
                .if_(first == 2)
                .then(one(a=second))
                .else_()
                .then(inner(x=second))
            )
            .else_()
            .fail("no")
        )
        map_task(one)(a=many())
        sub, nothing = inner(x=taken), none()
        nothing >> sub
        said = approve(sub, "said", timeout=timedelta(hours=1))
        given = wait_for_input("given", timeout=timedelta(hours=1), expected_type=int)
        slept = sleep(timedelta(seconds=3))
        both = two(a=said, b=given)
        slept >> both
        return both

    return get_serializable(OrderedDict(), _settings(), outer).to_flyte_idl().template


def shape(nodes) -> dict[str, object]:
    """What waits for what, by what: of each node and of each arm."""
    return {
        node.id.rpartition("-")[2]: (
            node.WhichOneof("target"),
            sorted(node.upstream_node_ids),
            {binding.var: _bound(binding.binding) for binding in node.inputs},
            shape(_arms(node)),
        )
        for node in nodes
        if node.id not in ("start-node", "end-node")
    }


def _bound(binding) -> object:
    if binding.WhichOneof("value") == "promise":
        return binding.promise.node_id.replace("start-node", ""), binding.promise.var
    return binding.scalar.primitive.integer


def _arms(node) -> Iterator:
    if node.WhichOneof("target") == "branch_node":
        block = node.branch_node.if_else
        yield from (one.then_node for one in (block.case, *block.other))
        yield from [block.else_node] if block.HasField("else_node") else []


def test_a_graph_is_shaped_as_flytekit_shapes_it() -> None:
    """Targets, bindings, upstream ids and arms, before propeller compiles them."""
    template = compile_workflow(ours()).primary.template

    assert shape(template.nodes) == shape(theirs().nodes)


def test_connections_are_those_of_propellers_compiler() -> None:
    """Start and end are in; nobody is downstream of what an arm waits for."""
    connections = compile_workflow(ours()).primary.connections

    upstream = {id: list(ids.ids) for id, ids in connections.upstream.items()}
    downstream = {id: list(ids.ids) for id, ids in connections.downstream.items()}
    assert upstream["n0"] == upstream["n2"] == upstream["n9"] == ["start-node"]
    assert upstream["n3"] == ["n0"]
    assert upstream["n3-n0"] == ["n1", "start-node"]
    assert upstream["n3-n1"] == ["n0"]
    assert upstream["n3-n1-n0"] == ["n1"]
    assert upstream["n6"] == ["n3", "n7"]
    assert upstream["end-node"] == ["n1", "n11", "n2", "n5"]
    assert downstream["n0"] == ["n1", "n3"]
    assert downstream["start-node"] == ["n0", "n10", "n2", "n4", "n7", "n9"]
    assert not downstream.keys() & {"n3-n0", "n3-n1", "end-node"}


def test_arms_that_wait_for_nothing_have_no_connections() -> None:
    """Unlike nodes at the top, which get the start-node."""
    arms = Node("n0", ONE, {"a": Primitive(1)}), Node("n1", ONE, {"a": Primitive(2)})
    workflow = Workflow(
        "outer", (Node("n0", Branch(arms, "n0"), {"c": Input("c")}),), {"c": Primitive(1)}
    )

    connections = compile_workflow(workflow).primary.connections
    assert set(connections.upstream) == {"n0", "end-node"}


def test_the_graph_of_a_dynamic_task_is_the_one_that_flytekit_makes() -> None:
    """What the task was given, whole or in part, stands there as constants."""
    inputs = {"a": Primitive(7), "many": ListOf(Primitive(1))}
    body = Workflow(
        "each",
        (
            Node("dn0", ONE, {"a": Input("a")}),
            Node("dn1", ONE, {"a": Input("many", (1,))}),
            Node("dn2", ONE, {"a": Output("dn0")}),
        ),
        inputs=inputs,
    )
    given = {"a": _literal(7), "many": collection([_literal(1), _literal(2)])}

    graph = compile_dynamic(body, given, Identifier(name="dynamic_n0"), TypedInterface()).primary
    assert shape(graph.template.nodes) == shape(_futures()) != {}
    assert list(graph.connections.upstream["dn0"].ids) == ["start-node"]


def _literal(number: int) -> Literal:
    return Literal(scalar=Scalar(primitive=literals_pb2.Primitive(integer=number)))


def _futures():
    """The nodes in what a dynamic task hands to propeller."""
    from flytekit import dynamic, task
    from flytekit.core.context_manager import ExecutionState, FlyteContextManager
    from flytekit.core.type_engine import TypeEngine
    from flytekit.models.literals import LiteralMap

    @task
    def one(a: int) -> int:
        return a

    @dynamic
    def each(a: int, many: list[int]) -> int:
        first = one(a=a)
        one(a=many[1])
        return one(a=first)

    builder = FlyteContextManager.current_context().with_serialization_settings(_settings())
    with FlyteContextManager.with_context(builder) as context:
        state = context.execution_state.with_params(mode=ExecutionState.Mode.TASK_EXECUTION)
        with FlyteContextManager.with_context(context.with_execution_state(state)) as running:
            types = {"a": int, "many": list[int]}
            given = {
                name: TypeEngine.to_literal(
                    running, value, types[name], TypeEngine.to_literal_type(types[name])
                )
                for name, value in {"a": 7, "many": [1, 2]}.items()
            }
            return each.dispatch_execute(running, LiteralMap(given)).to_flyte_idl().nodes


def _settings():
    from flytekit.configuration import ImageConfig, SerializationSettings

    image = ImageConfig.auto(img_name="x:y")
    return SerializationSettings(project="p", domain="d", version="v", image_config=image)
