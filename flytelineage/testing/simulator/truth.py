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
from typing import Any, TypeAlias, Union

from flytelineage.testing.simulator.compiled import named_arm, task_of
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
    Task,
    Workflow,
)

_SCHEMES = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gcs", "bq": "bigquery"}
_PARTITION = re.compile(r"/[^/=]+=[^/]*$")


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
        inputs, outputs: Datasets of the workflow itself.
    """

    pipeline: str
    execution: str
    phase: str
    tasks: tuple[str, ...] = ()
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    writes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()
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
        seen: Iterable[str],
        inline: bool = False,
    ) -> None:
        self.workflow, self.execution = workflow, execution
        self.seen = set(seen)
        self.results: dict[str, dict[str, Value]] = {}
        self.children: dict[str, Story] = {}
        self.inputs = dict(inputs)
        self._outcomes = outcomes
        self._inline = inline
        self._tasks: dict[str, Task] = {}
        self._places: dict[str, str] = {}
        self._reads: dict[str, frozenset[Symbol]] = {}
        self._writes: dict[str, frozenset[Symbol]] = {}
        self.outputs = self._graph(workflow, self.inputs)

    # -------------------------------------------------------------------- names

    def pipeline(self, *, guessed: bool = False) -> str:
        """The pipeline's id; guessed is what is known without FlyteAdmin."""
        name = self._guess() if guessed else self.workflow.name
        parts = (self.workflow.project, self.workflow.domain, name)
        return ".".join(parts) if name else ""

    def _guess(self) -> str:
        """The module that most top-level task nodes share, the first of several.

        Without such a node: the same of tasks further down, then of launch plans.
        """
        top = [task_of(node) for node in self.workflow.nodes if node.id in self.seen]
        names = [task.name for task in top if task]
        names = names or [task.name for path, task in self._tasks.items() if path in self.seen]
        names = names or [
            story.workflow.launch_plan or story.workflow.name for story in self.children.values()
        ]
        modules = Counter(name.rpartition(".")[0] or name for name in names)
        return modules.most_common(1)[0][0] if modules else ""

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

    def dataset(self, symbol: Symbol, *, guessed: bool = False) -> str:
        """The id of a dataset as text: `<platform>:<name>`."""
        if isinstance(symbol, Outside):
            return outside_name(symbol.uri)
        story = symbol.story
        task = story.task_name(symbol.path)
        return f"flyte:{story.pipeline(guessed=guessed)}.{task}.{symbol.variable}"

    # -------------------------------------------------------------------- truth

    def tell(self, phase: str, runs: Iterable[Any], *, guessed: bool = False) -> Truth:
        """The truth; `runs` are the attempts that the execution recorded."""
        told = Truth(
            pipeline=self.pipeline(guessed=guessed),
            execution=self.execution,
            phase=phase,
            tasks=tuple(
                sorted({self.task_name(path) for path in self._tasks if path in self.seen})
            ),
            runs=tuple(self._run(run) for run in runs),
        )
        return self._with_data(told, guessed=guessed) if phase == "SUCCEEDED" else told

    def _run(self, run: Any) -> RunTruth:
        task = self.task_name(run.path)
        return RunTruth(run.node_id, run.number, task, run.phase, run.cached)

    def _with_data(self, told: Truth, *, guessed: bool) -> Truth:
        def names(symbols: Iterable[Symbol]) -> tuple[str, ...]:
            return tuple(sorted({self.dataset(symbol, guessed=guessed) for symbol in symbols}))

        def by_task(found: Mapping[str, frozenset[Symbol]]) -> dict[str, tuple[str, ...]]:
            united: dict[str, frozenset[Symbol]] = {}
            for path, symbols in found.items():
                task = self.task_name(path)
                united[task] = united.get(task, NOTHING) | symbols
            return {task: names(symbols) for task, symbols in sorted(united.items()) if symbols}

        return Truth(
            **{
                **vars(told),
                "reads": by_task(self._reads),
                "writes": by_task(self._writes),
                "edges": self._edges(),
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

    # ------------------------------------------------------------------ the walk

    def _graph(
        self, workflow: Workflow, inputs: Mapping[str, Value], path: str = "", cut: str = ""
    ) -> dict[str, Value]:
        """Follow a graph; `cut` is the dynamic node around it, where places end."""
        scope = _Known(inputs)
        for node in workflow.nodes:
            scope.results[node.id] = self._node(node, scope, path, cut)
        return {name: scope.value(binding) for name, binding in workflow.outputs.items()}

    def _node(self, node: Node, scope: _Known, above: str, cut: str) -> dict[str, Value]:
        path = f"{above}/{node.id}" if above else node.id
        inputs = {name: scope.value(binding) for name, binding in node.inputs.items()}
        task = task_of(node)
        if task:
            self._tasks[path], self._places[path] = task, cut or path
        outcome = self._outcomes.get(path, Outcome())
        if task and (outcome.hit or outcome.recovered):
            outputs = self._taken(path, task, inputs, outcome)
        else:
            outputs = self._target(node, inputs, scope, path, cut)
        self.results[path] = outputs
        return outputs

    def _target(
        self, node: Node, inputs: dict[str, Value], scope: _Known, path: str, cut: str
    ) -> dict[str, Value]:
        target = node.target
        if isinstance(target, Task):
            return self._ran(path, inputs, self._made(target, path, inputs))
        if isinstance(target, MapTask):
            return self._ran(path, inputs, self._mapped(target, path, inputs))
        if isinstance(target, Dynamic):
            self._reads[path] = _flat(list(inputs.values()))
            return self._graph(target.body, inputs, path, cut or path)
        if isinstance(target, Workflow):
            return self._graph(target, inputs, path, cut)
        if isinstance(target, LaunchPlan):
            return self._child(target, path, inputs)
        if isinstance(target, Branch):
            arm = named_arm(node, target.taken_arm)
            return self._node(arm, scope, path, cut)
        return self._passed(target, inputs)

    def _passed(self, gate: Gate, inputs: dict[str, Value]) -> dict[str, Value]:
        if gate.kind == "approve":
            return inputs
        return {"o0": given(gate.signal)} if gate.kind == "signal" else {}

    def _child(self, plan: LaunchPlan, path: str, inputs: Mapping[str, Value]) -> dict[str, Value]:
        defaults = {name: given(kind) for name, kind in plan.workflow.inputs.items()}
        story = Story(
            plan.workflow,
            f"{self.execution}/{path}",
            inputs={**defaults, **inputs},
            outcomes={},
            seen=(),
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
        self, path: str, task: Task, inputs: Mapping[str, Value], outcome: Outcome
    ) -> dict[str, Value]:
        """Taken over: under the names of the maker, or its own where nobody knows him."""
        taken = outcome.hit or outcome.recovered
        found = {name: made.told for name, made in taken.outputs.items()} if taken else {}
        # With inline data the only event of a cache hit carries no inputs.
        known = {} if self._inline and outcome.hit else inputs
        return self._ran(path, known, found or self._made(task, path, inputs))

    def _mapped(self, target: MapTask, path: str, inputs: Mapping[str, Value]) -> dict[str, Value]:
        lists = [inputs[name] for name in target.over]
        items = [
            self._made(target.task, path, {**inputs, **dict(zip(target.over, own, strict=True))})
            for own in zip(*lists, strict=True)
        ]
        return {name: [item[name] for item in items] for name in target.task.outputs}

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
