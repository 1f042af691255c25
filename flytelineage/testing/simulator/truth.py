"""The true lineage of an execution, told from the workflow objects alone.

This is what flytelineage must find out from the stream. It is computed a second time,
in another way: a `Story` follows the data, a `Walk` the graph, and here both are put
into names. The rules of naming are those of the design: the output of a task is named by
pipeline, task (with its place, where it stands at several nodes) and variable; data with
a URI of its own by the platform that owns it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from flytelineage.testing.simulator.compiled import named_arm, task_of
from flytelineage.testing.simulator.definition import Walk
from flytelineage.testing.simulator.story import Outside, Story, Symbol, flat
from flytelineage.testing.simulator.workflows import (
    Branch,
    MapTask,
    Node,
    Task,
    Workflow,
)

_SCHEMES = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gcs", "bq": "bigquery"}
_PARTITION = re.compile(r"/[^/=]+=[^/]*$")

Knowledge: TypeAlias = Literal["guessed", "named", "admin"]
"""From where the truth can be known: from events alone; from CloudEvents of version 2, which
name the workflow and tell interfaces of tasks that ran; from FlyteAdmin."""


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


class Teller:
    """Puts the story of one execution into names, as far as something is known."""

    def __init__(self, story: Story, known: Knowledge) -> None:
        self._story, self._known = story, known
        self._others: dict[int, Teller] = {}

    def tell(self, phase: str, runs: Iterable[Any]) -> Truth:
        """The truth; `runs` are the attempts that the execution recorded."""
        story = self._story
        told = Truth(
            pipeline=self.pipeline,
            execution=story.execution,
            phase=phase,
            tasks=tuple(sorted({self.task(path) for path in story.tasks if path in story.seen})),
            runs=tuple(self._run(run) for run in runs),
        )
        return self._with_data(told) if phase == "SUCCEEDED" else told

    def _run(self, run: Any) -> RunTruth:
        return RunTruth(run.node_id, run.number, self.task(run.path), run.phase, run.cached)

    def _with_data(self, told: Truth) -> Truth:
        story = self._story
        found = {
            "reads": self._by_task(story.reads),
            "writes": self._by_task(story.writes),
            "edges": self._edges(),
            "definition_edges": self._definition_edges(),
            "inputs": self._names(flat(list(story.inputs.values()))),
            "outputs": self._names(flat(list(story.outputs.values()))),
        }
        return Truth(**{**vars(told), **found})

    def _names(self, symbols: Iterable[Symbol]) -> tuple[str, ...]:
        return tuple(sorted({self.dataset(symbol) for symbol in symbols}))

    def _by_task(self, found: Mapping[str, frozenset[Symbol]]) -> dict[str, tuple[str, ...]]:
        united: dict[str, set[Symbol]] = {}
        for path, symbols in found.items():
            united.setdefault(self.task(path), set()).update(symbols)
        return {task: self._names(symbols) for task, symbols in sorted(united.items()) if symbols}

    def _edges(self) -> tuple[tuple[str, str], ...]:
        writers: dict[Symbol, set[str]] = {}
        for path, symbols in self._story.writes.items():
            for symbol in symbols:
                writers.setdefault(symbol, set()).add(self.task(path))
        return _pairs(
            (writer, self.task(path))
            for path, symbols in self._story.reads.items()
            for symbol in symbols
            for writer in writers.get(symbol, ())
        )

    def _definition_edges(self) -> tuple[tuple[str, str], ...]:
        story = self._story
        walk = Walk(story.outcomes, None if self._known == "admin" else story.told)
        return _pairs(
            (self.task(above), self.task(below))
            for above, below in walk.edges_of(story.workflow)
            if above in story.seen and below in story.seen
        )

    # -------------------------------------------------------------------- names

    @cached_property
    def pipeline(self) -> str:
        """The pipeline's id; without FlyteAdmin its name may have to be guessed."""
        workflow = self._story.workflow
        name = self._guess() if self._known == "guessed" else workflow.name
        return ".".join((workflow.project, workflow.domain, name)) if name else ""

    def _guess(self) -> str:
        """The module that most top-level task nodes share, the first of several.

        Without such a node: the same of tasks further down, then of launch plans.
        """
        story = self._story
        top = [self._own_task(node) for node in _all_nodes(story.workflow) if node.id in story.seen]
        names = [task.name for task in top if task]
        names = names or [task.name for path, task in story.tasks.items() if self._is_leaf(path)]
        names = names or [
            child.workflow.launch_plan or child.workflow.name for child in story.children.values()
        ]
        modules = Counter(name.rpartition(".")[0] or name for name in names)
        return modules.most_common(1)[0][0] if modules else ""

    def _own_task(self, node: Node) -> Task | None:
        """The task that the node's own events tell; items may speak for themselves."""
        told_by_items = isinstance(node.target, MapTask) and not node.target.legacy
        return None if told_by_items and self._story.items_apart else task_of(node)

    def _is_leaf(self, path: str) -> bool:
        seen = self._story.seen
        return path in seen and f"{path}/start-node" not in seen

    def task(self, path: str) -> str:
        """The local name of the task at a node."""
        name = self._story.tasks[path].name
        many = len(self._places.get(name, ())) > 1
        return f"{name}@{self._story.places[path]}" if many else name

    @cached_property
    def _places(self) -> dict[str, set[str]]:
        """The places of each task: those that were seen, and those that a definition has."""
        story = self._story
        found: dict[str, set[str]] = {}
        for path, task in story.tasks.items():
            if path in story.seen:
                found.setdefault(task.name, set()).add(story.places[path])
        if self._known == "admin":
            for path, task in _defined(story.workflow):
                found.setdefault(task.name, set()).add(path)
        return found

    def dataset(self, symbol: Symbol) -> str:
        """The id of a dataset as text: `<platform>:<name>`."""
        if isinstance(symbol, Outside):
            return outside_name(symbol.uri)
        return self._teller(symbol.story).made(symbol.path, symbol.variable)

    def _teller(self, story: Story) -> Teller:
        """Whoever names what that execution made; found once, for it costs."""
        if story is self._story:
            return self
        return self._others.setdefault(id(story), Teller(story, self._known))

    def made(self, path: str, variable: str) -> str:
        """The id of what one of its own tasks wrote."""
        story = self._story
        artifact = story.tasks[path].artifacts.get(variable)
        if artifact and self._knows_interface(path):
            return f"flyte:{story.workflow.project}.{story.workflow.domain}.{artifact}"
        return f"flyte:{self.pipeline}.{self.task(path)}.{variable}"

    def _knows_interface(self, path: str) -> bool:
        """Whether the task's interface is told, which names its artifacts.

        Version 2 of the CloudEvents looks up the task of the node's attempt, so not of
        one that was taken over. Else the graphs of dynamic nodes tell it.
        """
        story = self._story
        if self._known == "admin" or (self._known == "named" and path not in story.taken_over):
            return True
        return story.graphs[path] in story.told


def _pairs(found: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({pair for pair in found if pair[0] != pair[1]}))


def _all_nodes(workflow: Workflow) -> tuple[Node, ...]:
    return (*workflow.nodes, *filter(None, [workflow.on_failure]))


def _defined(workflow: Workflow, above: str = "") -> Iterator[tuple[str, Task]]:
    """Paths and tasks of a whole definition, arms that nobody takes included."""
    for node in _all_nodes(workflow):
        yield from _defined_at(node, above)


def _defined_at(node: Node, above: str) -> Iterator[tuple[str, Task]]:
    path = f"{above}/{node.id}" if above else node.id
    task, target = task_of(node), node.target
    if task:
        yield path, task
    elif isinstance(target, Workflow):
        yield from _defined(target, path)
    elif isinstance(target, Branch):
        for arm in target.arms:
            yield from _defined_at(named_arm(node, arm), path)


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
