"""The true lineage of an execution, told from the workflow objects alone.

This is what flytelineage must find out from the stream. It is computed a second time,
in another way: values are followed as symbols through bindings and kinds. No URI, no
literal and no event is looked at, and nothing of flytelineage's own builder is used.

The rules of naming are those of the design: the output of a task is named by pipeline,
task (with its place, where it stands at several nodes) and variable; data with a URI of
its own by the platform that owns it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, Union

from flytelineage.testing.simulator.compiled import named_arm, task_of
from flytelineage.testing.simulator.definition import Walk
from flytelineage.testing.simulator.workflows import (
    Binding,
    Branch,
    Dynamic,
    File,
    Folder,
    Frame,
    Gate,
    Input,
    Kind,
    LaunchPlan,
    ListOf,
    MapOf,
    MapTask,
    Node,
    Offloaded,
    OptionalOf,
    Outcome,
    Output,
    Produced,
    Record,
    Same,
    Taken,
    Task,
    Workflow,
    Written,
)

_SCHEMES = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gcs", "bq": "bigquery"}
_PARTITION = re.compile(r"/[^/=]+=[^/]*$")
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

Knowledge: TypeAlias = Literal["guessed", "named", "admin"]
"""From where the truth can be known: from events alone, from CloudEvents of version 2, which
name the workflow and tell interfaces of tasks that ran, or from FlyteAdmin."""


@dataclass(frozen=True)
class RunTruth:
    """One attempt: its node's id in the events, its number, its task, how it ended."""

    node: str
    attempt: int
    task: str
    phase: str
    cached: bool = False


@dataclass(frozen=True)
class Truth:
    """What is true of one execution; datasets and tasks by their ids as text.

    Only an execution that succeeded says anything of reads, writes and edges.

    Attributes:
        pipeline: `<project>.<domain>.<workflow>`; empty when it cannot be known.
        tasks: Local names: the task's, with `@<place>` where it stands at several.
        reads, writes: Dataset ids, `<platform>:<name>`, by task.
        edges: Pairs of tasks: the second reads what the first gave.
        definition_edges: Pairs of tasks: by the graph the second waits for the first.
        inputs, outputs: Datasets of the workflow itself.
    """

    pipeline: str
    execution: str
    phase: str
    tasks: tuple[str, ...] = ()
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    writes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()
    definition_edges: tuple[tuple[str, str], ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    runs: tuple[RunTruth, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


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
        self._inline, self._items_apart = inline, items_apart
        self._tasks: dict[str, Task] = {}
        self._places: dict[str, str] = {}
        self._graphs: dict[str, str] = {}
        self._taken_over: set[str] = set()
        self._reads: dict[str, frozenset[Symbol]] = {}
        self._writes: dict[str, frozenset[Symbol]] = {}
        self.outputs = self._graph(workflow, self.inputs)

    # -------------------------------------------------------------------- names

    def pipeline(self, known: Knowledge = "admin") -> str:
        """The pipeline's id; without FlyteAdmin its name may have to be guessed."""
        name = self._guess() if known == "guessed" else self.workflow.name
        parts = (self.workflow.project, self.workflow.domain, name)
        return ".".join(parts) if name else ""

    def _guess(self) -> str:
        """The module that most top-level task nodes share, the first of several.

        Without such a node: the same of tasks further down, then of launch plans.
        """
        nodes = (*self.workflow.nodes, *filter(None, [self.workflow.on_failure]))
        top = [self._own_task(node) for node in nodes if node.id in self.seen]
        names = [task.name for task in top if task]
        names = names or [task.name for path, task in self._tasks.items() if self._is_leaf(path)]
        names = names or [
            story.workflow.launch_plan or story.workflow.name for story in self.children.values()
        ]
        modules = Counter(name.rpartition(".")[0] or name for name in names)
        return modules.most_common(1)[0][0] if modules else ""

    def _own_task(self, node: Node) -> Task | None:
        """The task that the node's own events tell; items may speak for themselves."""
        told_by_items = isinstance(node.target, MapTask) and not node.target.legacy
        return None if told_by_items and self._items_apart else task_of(node)

    def _is_leaf(self, path: str) -> bool:
        return path in self.seen and f"{path}/start-node" not in self.seen

    def task_name(self, path: str) -> str:
        """The local name of the task at a node."""
        name = self._tasks[path].name
        many = len(self._places_by_task.get(name, ())) > 1
        return f"{name}@{self._places[path]}" if many else name

    @cached_property
    def _places_by_task(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for path, task in self._tasks.items():
            if path in self.seen:
                found.setdefault(task.name, set()).add(self._places[path])
        return found

    def dataset(self, symbol: Symbol, known: Knowledge = "admin") -> str:
        """The id of a dataset as text: `<platform>:<name>`."""
        if isinstance(symbol, Outside):
            return outside_name(symbol.uri)
        story, path = symbol.story, symbol.path
        artifact = story._tasks[path].artifacts.get(symbol.variable)
        if artifact and story._knows_interface(path, known):
            return f"flyte:{story.workflow.project}.{story.workflow.domain}.{artifact}"
        return f"flyte:{story.pipeline(known)}.{story.task_name(path)}.{symbol.variable}"

    def _knows_interface(self, path: str, known: Knowledge) -> bool:
        """Whether the task's interface is told, which names its artifacts.

        Version 2 of the CloudEvents looks up the task of the node's attempt, so not of
        one that was taken over. Else the graphs of dynamic nodes tell it.
        """
        if known == "admin" or (known == "named" and path not in self._taken_over):
            return True
        return self._graphs[path] in self.told

    # -------------------------------------------------------------------- truth

    def tell(self, phase: str, runs: Iterable[Any], known: Knowledge = "named") -> Truth:
        """The truth; `runs` are the attempts that the execution recorded."""
        told = Truth(
            pipeline=self.pipeline(known),
            execution=self.execution,
            phase=phase,
            tasks=tuple(
                sorted({self.task_name(path) for path in self._tasks if path in self.seen})
            ),
            runs=tuple(self._run(run) for run in runs),
        )
        return self._with_data(told, known) if phase == "SUCCEEDED" else told

    def _run(self, run: Any) -> RunTruth:
        task = self.task_name(run.path)
        return RunTruth(run.node_id, run.number, task, run.phase, run.cached)

    def _with_data(self, told: Truth, known: Knowledge) -> Truth:
        def names(symbols: Iterable[Symbol]) -> tuple[str, ...]:
            return tuple(sorted({self.dataset(symbol, known) for symbol in symbols}))

        def by_task(found: Mapping[str, frozenset[Symbol]]) -> dict[str, tuple[str, ...]]:
            united: dict[str, set[Symbol]] = {}
            for path, symbols in found.items():
                united.setdefault(self.task_name(path), set()).update(symbols)
            return {task: names(symbols) for task, symbols in sorted(united.items()) if symbols}

        return Truth(
            **{
                **vars(told),
                "reads": by_task(self._reads),
                "writes": by_task(self._writes),
                "edges": self._edges(),
                "definition_edges": self._definition_edges(known),
                "inputs": names(_flat(list(self.inputs.values()))),
                "outputs": names(_flat(list(self.outputs.values()))),
            }
        )

    def _edges(self) -> tuple[tuple[str, str], ...]:
        writers: dict[Symbol, set[str]] = {}
        for path, symbols in self._writes.items():
            for symbol in symbols:
                writers.setdefault(symbol, set()).add(self.task_name(path))
        pairs = {
            (writer, self.task_name(path))
            for path, symbols in self._reads.items()
            for symbol in symbols
            for writer in writers.get(symbol, ())
        }
        return tuple(sorted(pair for pair in pairs if pair[0] != pair[1]))

    def _definition_edges(self, known: Knowledge) -> tuple[tuple[str, str], ...]:
        walk = Walk(self.outcomes, None if known == "admin" else self.told)
        pairs = {
            (self.task_name(above), self.task_name(below))
            for above, below in walk.edges_of(self.workflow)
            if above in self.seen and below in self.seen
        }
        return tuple(sorted(pair for pair in pairs if pair[0] != pair[1]))

    # ------------------------------------------------------------------ the walk

    def _graph(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Value],
        path: str = "",
        cut: str = "",
        graph: str = "",
    ) -> dict[str, Value]:
        """Follow a graph; `cut` is the dynamic node around it, where places end.

        Args:
            workflow: The graph.
            inputs: What it is given.
            path: Of the node around it.
            cut: Where the places of tasks end: the outermost dynamic node around it.
            graph: The innermost one, whose event tells of this graph.
        """
        scope = _Known(inputs)
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
            self._tasks[path], self._graphs[path] = task, graph
            self._places[path] = cut or _ATTEMPT.sub("", path)
        outcome = self.outcomes.get(path, Outcome())
        taken = outcome.hit or outcome.recovered
        if taken:
            outputs = self._taken(path, task, inputs, outcome, taken)
        else:
            outputs = self._target(node, inputs, scope, path, cut, graph)
        if not counts or "#" in path:
            self._reads.pop(path, None)
            self._writes.pop(path, None)
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
        self._reads[path] = _flat(list(inputs.values()))
        return self._graph(target.body, inputs, path, place, path)

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
            inline=self._inline,
            items_apart=self._items_apart,
        )
        self.children[path] = story
        return story.outputs

    def _ran(
        self, path: str, inputs: Mapping[str, Value], outputs: dict[str, Value]
    ) -> dict[str, Value]:
        """A leaf: it reads its inputs, and writes what did not come in."""
        self._reads[path] = _flat(list(inputs.values()))
        self._writes[path] = _flat(list(outputs.values())) - self._reads[path]
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
        self._taken_over.add(path)
        found: dict[str, Value] = {name: made.told for name, made in taken.outputs.items()}
        if task is None:
            return found
        # With inline data the only event of a cache hit carries no inputs.
        silent = self._inline and outcome.hit and not task.cache_serialize
        return self._ran(path, {} if silent else inputs, found or self._made(task, path, inputs))

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

    def __init__(self, inputs: Mapping[str, Value]) -> None:
        self.inputs = inputs
        self.results: dict[str, dict[str, Value]] = {}

    def value(self, binding: Binding) -> Value:
        """What a binding gives."""
        if isinstance(binding, Input):
            return self.inputs[binding.name]
        if isinstance(binding, Output):
            return _part(self.results[binding.node][binding.variable], binding.path)
        if isinstance(binding, list):
            return [self.value(item) for item in binding]
        if isinstance(binding, dict):
            return {key: self.value(item) for key, item in binding.items()}
        if isinstance(binding, Written):
            return NOTHING  # no output variable can name it
        return given(binding)


def given(kind: Kind) -> Value:
    """The data in a value that was there before."""
    return _value(kind, None, {})


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


def _flat(value: Value) -> frozenset[Symbol]:
    return frozenset(_symbols(value))


def _symbols(value: Value) -> Iterator[Symbol]:
    if isinstance(value, frozenset):
        yield from value
    else:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _symbols(part)


def outside_name(uri: str) -> str:
    """The id of data with a URI of its own: platform, and what it is called there.

    Slashes at the end and hive partitions (`dt=2026-01-01`) do not belong to the name.
    """
    scheme, _, rest = uri.partition("://")
    name = rest.rstrip("/")
    while (shorter := _PARTITION.sub("", name)) != name:
        name = shorter
    platform = _SCHEMES.get(scheme, scheme)
    return f"{platform}:{name.replace(':', '.') if platform == 'bigquery' else name}"
