"""Which task waits for which by the graph alone: the truth of definition edges.

The workflow objects are walked once, from the first node to the last. Every value carries
the tasks that give it, every node the tasks that are over once it is. Nothing is looked
up backwards, no compiled graph and no event is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, Union

from flytelineage.testing.simulator.compiled import named_arm
from flytelineage.testing.simulator.workflows import (
    Binding,
    Branch,
    Dynamic,
    Gate,
    Input,
    LaunchPlan,
    MapTask,
    Node,
    Outcome,
    Output,
    Task,
    Workflow,
)

Tasks: TypeAlias = frozenset[str]
"""Tasks by the paths of their nodes."""

Given: TypeAlias = Union[  # noqa: UP007 - Python 3.10 cannot join forward references with |
    Tasks, list["Given"], dict[str, "Given"]
]
"""The tasks that give a value, or those of its parts where they differ."""

NONE: Tasks = frozenset()


@dataclass(frozen=True)
class Flow:
    """What comes out of a node, or of a graph.

    Attributes:
        values: By variable the tasks that give it.
        over: The tasks that are over once it is, and that nothing inside waits for.
    """

    values: Mapping[str, Given] = field(default_factory=dict)
    over: Tasks = NONE


@dataclass(frozen=True)
class _Graph:
    """A graph on the way.

    Attributes:
        given: By input the tasks that give it.
        held: What its first nodes wait for, since the node around it does.
        known: Whether its edges can be told.
    """

    path: str
    given: Mapping[str, Given]
    held: Tasks
    known: bool
    flows: dict[str, Flow] = field(default_factory=dict)

    def inside(self, path: str) -> _Graph:
        """The same nodes, seen from within a branch."""
        return _Graph(path, self.given, NONE, self.known, self.flows)

    def value(self, binding: Binding) -> Given:
        """The tasks that give what is bound, whole or in part."""
        if isinstance(binding, Input):
            return _part(self.given.get(binding.name, NONE), binding.path)
        if isinstance(binding, Output):
            given = self.flows[binding.node].values.get(binding.variable, NONE)
            return _part(given, binding.path)
        if isinstance(binding, dict):
            return {key: self.value(item) for key, item in binding.items()}
        return [self.value(item) for item in binding] if isinstance(binding, list) else NONE

    def over(self, ids: Iterable[str]) -> Tasks:
        """The tasks that are over once these nodes are."""
        return _united(self.flows[id].over for id in ids)


class Walk:
    """Finds the definition edges of one execution.

    Args:
        outcomes: By path; what was taken over did not make its graph again.
        told: Paths of the dynamic nodes whose graphs are known, and no other graph is.
            `None`: all that FlyteAdmin keeps is known.
    """

    def __init__(self, outcomes: Mapping[str, Outcome], told: Collection[str] | None) -> None:
        self._outcomes, self._told = outcomes, told
        self._edges: set[tuple[str, str]] = set()

    def edges_of(self, workflow: Workflow) -> set[tuple[str, str]]:
        """Pairs of paths, whether or not the nodes were seen."""
        self._walk(workflow, _Graph("", {}, NONE, known=self._told is None))
        return self._edges

    def _walk(self, workflow: Workflow, graph: _Graph) -> Flow:
        for node in workflow.nodes:
            pure = graph.over(set(node.after) - set(node.bound()))
            held = pure if node.upstream() else graph.held
            graph.flows[node.id] = self._node(node, graph, held)
        ran = (part for node in workflow.nodes for part in _with_taken_arms(node))
        waited = {id for part in ran for id in part.upstream()}
        last = [node.id for node in workflow.nodes if node.id not in waited]
        values = {name: graph.value(binding) for name, binding in workflow.outputs.items()}
        return Flow(values, graph.over(last))

    def _node(self, node: Node, graph: _Graph, control: Tasks) -> Flow:
        """Follow a node that waits for `control` besides what it reads."""
        path = f"{graph.path}/{node.id}" if graph.path else node.id
        own = {name: graph.value(binding) for name, binding in node.inputs.items()}
        target = node.target
        if isinstance(target, (Task, MapTask, Dynamic)):
            return self._task(target, path, graph, _tasks(own) | control)
        if isinstance(target, Workflow):
            return self._walk(target, _Graph(path, own, control, graph.known))
        if isinstance(target, Branch):
            return self._branch(node, target, path, graph, _tasks(own) | control)
        return _through(target, own, graph.over(node.upstream()) | control, control)

    def _task(
        self, target: Task | MapTask | Dynamic, path: str, graph: _Graph, upstream: Tasks
    ) -> Flow:
        if graph.known:
            self._edges |= {(above, path) for above in upstream}
        own = frozenset([path])
        if not isinstance(target, Dynamic):
            return Flow(dict.fromkeys(_outputs(target), own), own)
        inner = self._made(target, path)
        names = (*target.task.outputs, *inner.values)
        return Flow({name: own | _tasks(inner.values.get(name, NONE)) for name in names}, own)

    def _made(self, target: Dynamic, path: str) -> Flow:
        """Follow the graph that a dynamic node made, where it is known.

        To it what the node was given is constants, and it has its own first nodes.
        """
        outcome = self._outcomes.get(path, Outcome())
        told = path in self._told if self._told is not None else not outcome.hit
        if target.body is None or not told:
            return Flow()
        return self._walk(target.body, _Graph(path, {}, NONE, known=True))

    def _branch(self, node: Node, branch: Branch, path: str, graph: _Graph, control: Tasks) -> Flow:
        if branch.taken_arm is None:
            return Flow()
        arm = named_arm(node, branch.taken_arm)
        pure = graph.over(set(arm.after) - set(arm.bound()))
        return self._node(arm, graph.inside(path), control | pure)


def _through(
    target: Gate | LaunchPlan, own: Mapping[str, Given], waits: Tasks, control: Tasks
) -> Flow:
    """What no task of this execution gives comes from all that was waited for.

    What is approved comes from who gave it, and after what the gate was chained to.
    """
    if isinstance(target, LaunchPlan):
        return Flow(dict.fromkeys(target.workflow.outputs, waits), waits)
    if target.kind != "approve":
        return Flow({"o0": waits}, waits)
    return Flow({name: _tasks(given) | control for name, given in own.items()}, waits)


def _with_taken_arms(node: Node) -> Iterator[Node]:
    """The node, and the arm that ran inside of it, at any depth."""
    yield node
    if isinstance(node.target, Branch) and node.target.taken_arm is not None:
        yield from _with_taken_arms(node.target.taken_arm)


def _part(given: Given, path: Iterable[str | int]) -> Given:
    """Who gives a part of a value; everybody where its parts are not told apart."""
    for step in path:
        if isinstance(given, list) and isinstance(step, int) and step < len(given):
            given = given[step]
        elif isinstance(given, dict) and step in given:
            given = given[str(step)]
        else:
            break
    return given


def _tasks(given: Given | Mapping[str, Given]) -> Tasks:
    if isinstance(given, frozenset):
        return given
    return _united(map(_tasks, given.values() if isinstance(given, Mapping) else given))


def _outputs(target: Task | MapTask) -> Iterable[str]:
    return (target.task if isinstance(target, MapTask) else target).outputs


def _united(tasks: Iterable[Tasks]) -> Tasks:
    return frozenset().union(*tasks)
