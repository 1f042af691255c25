"""Where all data of an execution comes from and goes to, told from workflow objects.

Values are followed as symbols through bindings and kinds. No URI, no literal and no
event is looked at, and nothing of flytelineage's own builder is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, Union

from flytelineage.testing.simulator.compiled import named_arm, task_of
from flytelineage.testing.simulator.kinds import (
    File,
    Folder,
    Frame,
    Kind,
    ListOf,
    MapOf,
    Offloaded,
    OptionalOf,
    Produced,
    Record,
    Same,
)
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
    Taken,
    Task,
    Workflow,
    Written,
    written_in,
)

_ATTEMPT = re.compile(r"#\d+")


@dataclass(frozen=True)
class Made:
    """What a task wrote under Flyte's raw-output prefix, at one node of one execution."""

    story: Story = field(compare=False, repr=False)
    execution: str
    path: str
    variable: str


@dataclass(frozen=True)
class Outside:
    """Data with a URI of its own."""

    uri: str


Symbol: TypeAlias = Made | Outside
Value: TypeAlias = Union[  # noqa: UP007 - Python 3.10 cannot join forward references with |
    frozenset[Symbol], list["Value"], dict[str, "Value"]
]
"""The data in a value: symbols, or those of its parts."""

NOTHING: frozenset[Symbol] = frozenset()


class Story:
    """Where all data of one execution comes from and goes to.

    Attributes:
        seen: Paths of the nodes that were seen. It decides which places a task has,
            and grows no more once the truth is told.
        told: Paths of the dynamic nodes whose graphs were published.
        results: Value by variable, by path.
        children: Stories of executions that launch-plan nodes started, by path.
    """

    def __init__(
        self,
        workflow: Workflow,
        execution: str,
        *,
        inputs: Mapping[str, Value],
        outcomes: Mapping[str, Outcome],
        seen: Iterable[str] = (),
        told: Iterable[str] = (),
        inline: bool = False,
        items_apart: bool = False,
    ) -> None:
        self.workflow, self.execution, self.outcomes = workflow, execution, outcomes
        self.seen, self.told = set(seen), set(told)
        self.results: dict[str, dict[str, Value]] = {}
        self.children: dict[str, Story] = {}
        self.inputs = dict(inputs)
        self.inline, self.items_apart = inline, items_apart
        self.tasks: dict[str, Task] = {}
        self.places: dict[str, str] = {}
        self.graphs: dict[str, str] = {}
        self.taken_over: set[str] = set()
        self.reads: dict[str, frozenset[Symbol]] = {}
        self.writes: dict[str, frozenset[Symbol]] = {}
        self.outputs = self._graph(workflow, self.inputs)

    # ------------------------------------------------------------------ the walk

    def _graph(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Value],
        path: str = "",
        cut: str = "",
        graph: str = "",
        own: Mapping[str, Value] | None = None,
    ) -> dict[str, Value]:
        """Follow a graph; `cut` is the dynamic node around it, where places end.

        Args:
            workflow: The graph.
            inputs: What it is given.
            path: Of the node around it.
            cut: Where the places of tasks end: the outermost dynamic node around it.
            graph: The innermost one, whose event tells of this graph.
            own: What that one wrote itself, by name.
        """
        scope = _Known(inputs, own or {})
        for node in workflow.nodes:
            scope.results[node.id] = self._node(node, scope, path, cut, graph)
        if workflow.on_failure:
            self._node(workflow.on_failure, scope, path, cut, graph, counts=False)
        return {name: scope.value(binding) for name, binding in workflow.outputs.items()}

    def _node(
        self, node: Node, scope: _Known, above: str, cut: str, graph: str, *, counts: bool = True
    ) -> dict[str, Value]:
        path = f"{above}/{node.id}" if above else node.id
        inputs = {name: scope.value(binding) for name, binding in node.inputs.items()}
        task = task_of(node)
        if task:
            self.tasks[path], self.graphs[path] = task, graph
            self.places[path] = cut or _ATTEMPT.sub("", path)
        outcome = self.outcomes.get(path, Outcome())
        taken = outcome.hit or outcome.recovered
        if taken:
            outputs = self._taken(path, task, inputs, outcome, taken)
        else:
            outputs = self._target(node, inputs, scope, path, cut, graph)
        if not counts or "#" in path:
            self.reads.pop(path, None)
            self.writes.pop(path, None)
        self.results[path] = outputs
        return outputs

    def _target(
        self,
        node: Node,
        inputs: dict[str, Value],
        scope: _Known,
        path: str,
        cut: str,
        graph: str,
    ) -> dict[str, Value]:
        target = node.target
        if isinstance(target, Task):
            return self._ran(path, inputs, self._made(target, path, inputs))
        if isinstance(target, MapTask):
            return self._ran(path, inputs, self._mapped(target, path, inputs))
        if isinstance(target, Dynamic):
            return self._dynamic(target, path, inputs, cut)
        if isinstance(target, Workflow):
            return self._sub_workflow(target, path, inputs, cut, graph)
        if isinstance(target, LaunchPlan):
            return self._launched(target, path, inputs)
        if isinstance(target, Branch):
            # Where none is taken the execution fails, and what came out does not matter.
            arm = named_arm(node, target.taken_arm or target.arms[0])
            return self._node(arm, scope, path, cut, graph)
        return self._passed(target, inputs)

    def _dynamic(
        self, target: Dynamic, path: str, inputs: dict[str, Value], cut: str
    ) -> dict[str, Value]:
        outcome = self.outcomes.get(path, Outcome())
        place = cut or _ATTEMPT.sub("", path)
        for number, body in enumerate(outcome.retried, start=outcome.failed_attempts):
            self._graph(body, inputs, f"{path}#{number}", place, path)
        if target.body is None:
            return self._ran(path, inputs, self._made(target.task, path, inputs))
        self.reads[path] = flat(list(inputs.values()))
        own = self._own_data(target.body, path)
        self.writes[path] = flat(list(own.values()))
        return self._graph(target.body, inputs, path, place, path, own)

    def _own_data(self, body: Workflow, path: str) -> dict[str, Value]:
        """What a dynamic task wrote before it made its graph, by its name.

        No output variable names it, so it goes by the first input that it became.
        """
        found: dict[str, Value] = {}
        for node in body.nodes:
            for variable, binding in node.inputs.items():
                for written in written_in(binding):
                    made = Made(self, self.execution, path, variable)
                    found.setdefault(written.name, _value(written.kind, made, {}))
        return found

    def _sub_workflow(
        self, target: Workflow, path: str, inputs: dict[str, Value], cut: str, graph: str
    ) -> dict[str, Value]:
        for number in range(self.outcomes.get(path, Outcome()).failed_attempts):
            self._graph(target, inputs, f"{path}#{number}", cut, graph)
        return self._graph(target, inputs, path, cut, graph)

    def _passed(self, gate: Gate, inputs: dict[str, Value]) -> dict[str, Value]:
        if gate.kind == "approve":
            return inputs
        return {"o0": given(gate.signal)} if gate.kind == "signal" else {}

    def _launched(
        self, plan: LaunchPlan, path: str, inputs: Mapping[str, Value]
    ) -> dict[str, Value]:
        for number in range(self.outcomes.get(path, Outcome()).failed_attempts):
            self._child(plan, f"{path}#{number}", inputs)
        return self._child(plan, path, inputs)

    def _child(self, plan: LaunchPlan, path: str, inputs: Mapping[str, Value]) -> dict[str, Value]:
        defaults = {name: given(kind) for name, kind in plan.workflow.inputs.items()}
        inside = f"{path}/"
        story = Story(
            plan.workflow,
            f"{self.execution}/{path}",
            inputs={**defaults, **inputs},
            outcomes={
                key.removeprefix(inside): outcome
                for key, outcome in self.outcomes.items()
                if key.startswith(inside)
            },
            inline=self.inline,
            items_apart=self.items_apart,
        )
        self.children[path] = story
        return story.outputs

    def _ran(
        self, path: str, inputs: Mapping[str, Value], outputs: dict[str, Value]
    ) -> dict[str, Value]:
        """A leaf: it reads its inputs, and writes what did not come in."""
        self.reads[path] = flat(list(inputs.values()))
        self.writes[path] = flat(list(outputs.values())) - self.reads[path]
        return outputs

    def _taken(
        self,
        path: str,
        task: Task | None,
        inputs: Mapping[str, Value],
        outcome: Outcome,
        taken: Taken,
    ) -> dict[str, Value]:
        """Taken over: under the names of the maker, or its own where nobody knows him."""
        self.taken_over.add(path)
        found: dict[str, Value] = {name: made.told for name, made in taken.outputs.items()}
        found |= self.results.get(taken.own, {})
        if task is None:
            return found
        outputs = found or self._made(task, path, inputs)
        # With inline data the only event of a cache hit carries no inputs.
        if not self.inline or not outcome.hit or task.cache_serialize:
            return self._ran(path, inputs, outputs)
        self.reads[path] = NOTHING
        self.writes[path] = frozenset(s for s in flat(list(outputs.values())) if _shown(s, taken))
        return outputs

    def _mapped(self, target: MapTask, path: str, inputs: Mapping[str, Value]) -> dict[str, Value]:
        lists = [inputs[name] for name in target.over]
        items = [
            self._item(target, path, {**inputs, **dict(zip(target.over, own, strict=True))}, index)
            for index, own in enumerate(zip(*lists, strict=True))
        ]
        return {name: [item[name] for item in items] for name in target.task.outputs}

    def _item(
        self, target: MapTask, path: str, inputs: Mapping[str, Value], index: int
    ) -> dict[str, Value]:
        outcome = self.outcomes.get(path, Outcome())
        if index in outcome.failed_items:
            return dict.fromkeys(target.task.outputs, NOTHING)
        if hit := outcome.item_hits.get(index):
            return {name: made.told for name, made in hit.outputs.items()}
        return self._made(target.task, path, inputs)

    def _made(self, task: Task, path: str, inputs: Mapping[str, Value]) -> dict[str, Value]:
        return {
            name: _value(kind, Made(self, self.execution, path, name), inputs)
            for name, kind in task.outputs.items()
        }


class _Known:
    """The values of a graph: its inputs, and what its nodes gave so far."""

    def __init__(self, inputs: Mapping[str, Value], own: Mapping[str, Value]) -> None:
        self.inputs, self.own = inputs, own
        self.results: dict[str, dict[str, Value]] = {}

    def value(self, binding: Binding) -> Value:
        """What a binding gives."""
        if isinstance(binding, Input):
            return _part(self.inputs[binding.name], binding.path)
        if isinstance(binding, Output):
            return _part(self.results[binding.node][binding.variable], binding.path)
        if isinstance(binding, list):
            return [self.value(item) for item in binding]
        if isinstance(binding, dict):
            return {key: self.value(item) for key, item in binding.items()}
        if isinstance(binding, Written):
            return self.own.get(binding.name, NOTHING)
        return given(binding)


def given(kind: Kind) -> Value:
    """The data in a value that was there before."""
    return _value(kind, None, {})


def _shown(symbol: Symbol, taken: Taken) -> bool:
    """Whether the path of data names its maker as the catalogue does.

    Without its inputs nothing else shows that a task did not just hand it on.
    """
    if not taken.outputs:
        return True
    source = taken.source[:2] if taken.source else None
    return isinstance(symbol, Made) and (symbol.execution, symbol.path) == source


def _value(kind: Kind, made: Made | None, inputs: Mapping[str, Value]) -> Value:
    if isinstance(kind, Same):
        return inputs[kind.input]
    if isinstance(kind, Produced):
        told: Value = kind.told
        return told
    if isinstance(kind, ListOf):
        return [_value(kind.item, made, inputs) for _ in range(kind.size)]
    if isinstance(kind, MapOf):
        return {key: _value(kind.item, made, inputs) for key in kind.keys}
    if isinstance(kind, Record):
        return {name: _value(part, made, inputs) for name, part in kind.fields.items()}
    if isinstance(kind, OptionalOf):
        return _value(kind.item, made, inputs) if kind.given else NOTHING
    if isinstance(kind, Offloaded):
        return _value(kind.item, made, inputs)
    return _leaf(kind, made)


def _leaf(kind: Kind, made: Made | None) -> frozenset[Symbol]:
    if not isinstance(kind, (Frame, File, Folder)):
        return NOTHING
    if kind.uri:
        return frozenset([Outside(kind.uri)])
    return frozenset([made]) if made else NOTHING


def _part(value: Value, path: Iterable[str | int]) -> Value:
    for step in path:
        if isinstance(value, list):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value[str(step)]
    return value


def flat(value: Value) -> frozenset[Symbol]:
    """All data in a value."""
    return frozenset(_symbols(value))


def _symbols(value: Value) -> Iterator[Symbol]:
    if isinstance(value, frozenset):
        yield from value
    else:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _symbols(part)
