"""Workflows as plain objects: what the simulator runs, and what the truth is told from.

A workflow here is what a compiled Flyte workflow is: nodes with a target and bindings.
Outcomes say how a node fares in one execution. Nothing here knows of protobuf, storage or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias, Union

from flytelineage.testing.simulator.kinds import (
    Kind,
    ListOf,
    MapOf,
    Offloaded,
    Primitive,
    Produced,
    Record,
    Same,
)

# ---------------------------------------------------------------------- bindings


@dataclass(frozen=True)
class Output:
    """The output of another node, or a part of it: fields of a record, items of a list."""

    node: str
    variable: str = "o0"
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Input:
    """An input of the enclosing workflow, or a part of it."""

    name: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Written:
    """Data that a dynamic task wrote itself before it made its graph.

    It has no output variable: it stands in the graph as a constant, a literal that
    points below the prefix of the task's own attempt. One name is one piece of data.
    """

    name: str
    kind: Kind


Binding: TypeAlias = Union[  # noqa: UP007 - as above
    Output, Input, Written, Kind, list["Binding"], dict[str, "Binding"]
]
"""What a node's input is bound to; a kind is a constant."""


def outputs_in(binding: Binding) -> Iterator[Output]:
    """Every output of another node that a binding needs."""
    return (leaf for leaf in _leaves(binding) if isinstance(leaf, Output))


def written_in(binding: Binding) -> Iterator[Written]:
    """Everything in a binding that a dynamic task wrote itself."""
    return (leaf for leaf in _leaves(binding) if isinstance(leaf, Written))


def _leaves(binding: Binding) -> Iterator[Binding]:
    if isinstance(binding, (list, dict)):
        for item in binding.values() if isinstance(binding, dict) else binding:
            yield from _leaves(item)
    else:
        yield binding


# ----------------------------------------------------------------------- targets


@dataclass(frozen=True)
class Task:
    """A registered task.

    Attributes:
        outputs: Kind by variable, in the order of the signature.
        cacheable: Whether an attempt that succeeds writes to Flyte's cache.
        sends_outputs: False where nothing writes `outputs.pb`: Athena tasks, shell
            containers. The events name the file all the same.
        synchronous: Its plugin's first answer is the last, so no task event of it is
            ever published.
        cache_serialize: Of equal attempts only one runs; the node says more of the cache.
        deck: Whether it makes a deck, of which propeller tells instead of an error.
        artifacts: Names that the author gave to outputs, by variable.
        docs: What the signature says of inputs and outputs, by variable.
        sql: The statement of a query task.
    """

    name: str
    outputs: Mapping[str, Kind] = field(default_factory=dict)
    version: str = "v1"
    task_type: str = "python-task"
    cacheable: bool = False
    sends_outputs: bool = True
    synchronous: bool = False
    cache_serialize: bool = False
    deck: bool = False
    artifacts: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    docs: Mapping[str, str] = field(default_factory=dict)
    sql: str = ""
    image: str = ""
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Branch:
    """A conditional of which one arm is taken.

    The compiler calls an arm `<branch>-<arm>`, which is its spec node id.

    Attributes:
        taken: The id of the arm that runs, as in `arms`. Empty: none of them, so the
            branch fails.
        or_fails: Whether there is no `else` but an error, of which `taken` makes use.
    """

    arms: tuple[Node, ...]
    taken: str
    or_fails: bool = False

    @property
    def taken_arm(self) -> Node | None:
        """The arm that runs."""
        return next((arm for arm in self.arms if arm.id == self.taken), None)


@dataclass(frozen=True)
class MapTask:
    """A task that runs once per item of its list inputs: an array node.

    Attributes:
        over: The inputs that are lists; all others go to every item whole.
        min_success_ratio: The share of items that is enough; those that fail are nothing.
        legacy: Whether it is what old flytekit made of it: one node of one task.
    """

    task: Task
    over: tuple[str, ...]
    min_success_ratio: float = 1.0
    legacy: bool = False


@dataclass(frozen=True)
class Dynamic:
    """A task that makes a graph while it runs.

    Attributes:
        task: The task itself; what it gives are the outputs of `body`.
        body: The graph; its inputs have the names of the task's. `None`: it made none
            this time, and gave what it had itself, like a plain task.
    """

    task: Task
    body: Workflow | None


@dataclass(frozen=True)
class Gate:
    """A node that waits: for approval of what it hands through, a signal, or time."""

    kind: Literal["approve", "signal", "sleep"]
    signal: Kind = field(default_factory=lambda: Primitive(True))

    @property
    def name(self) -> str:
        """What flytekit calls the node: the id of its signal, which is the user's word."""
        return "sleep-gate" if self.kind == "sleep" else f"wait-for-{self.kind}"


@dataclass(frozen=True)
class LaunchPlan:
    """A workflow that runs as an execution of its own."""

    workflow: Workflow
    name: str = ""


Target: TypeAlias = Union[Task, "Workflow", Branch, MapTask, Dynamic, Gate, LaunchPlan]


@dataclass(frozen=True)
class Node:
    """A place in a workflow.

    Attributes:
        after: Nodes that must be over first, without any data between them.
    """

    id: str
    target: Target
    inputs: Mapping[str, Binding] = field(default_factory=dict)
    after: tuple[str, ...] = ()

    def upstream(self) -> tuple[str, ...]:
        """Ids of the nodes that must be over first, each once.

        The arms of a branch wait for theirs by themselves.
        """
        return tuple(dict.fromkeys([*self.bound(), *self.after]))

    def bound(self) -> tuple[str, ...]:
        """Ids of the nodes whose outputs it takes, each once."""
        found = (output.node for item in self.inputs.values() for output in outputs_in(item))
        return tuple(dict.fromkeys(found))

    def with_arms(self) -> Iterator[Node]:
        """The node, and the arms of branches inside of it as they were written."""
        yield self
        if isinstance(self.target, Branch):
            for arm in self.target.arms:
                yield from arm.with_arms()


@dataclass(frozen=True)
class Workflow:
    """A workflow; also the graph of a sub-workflow or a dynamic node.

    Attributes:
        nodes: Each after those that it waits for.
        inputs: Kind by name, with the value it has unless an execution says otherwise.
        outputs: Binding by name.
        launch_plan: Empty: the default one, which has the workflow's name.
        on_failure: The node that runs when it fails, by Flyte's rule called `fn0`.
        fails_late: Whether it first finishes what can still run when a node fails.
        docs: What its docstring says of inputs and outputs, by variable.

    Raises:
        ValueError: A node waits for one that does not stand before it.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: Mapping[str, Kind] = field(default_factory=dict)
    outputs: Mapping[str, Binding] = field(default_factory=dict)
    project: str = "flytesnacks"
    domain: str = "development"
    version: str = "v1"
    launch_plan: str = ""
    on_failure: Node | None = None
    fails_late: bool = False
    description: str = ""
    docs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known: set[str] = set()
        for node in self.nodes:
            needed = {id for part in node.with_arms() for id in part.upstream()}
            if missing := needed - known:
                raise ValueError(f"Node {node.id} of {self.name} waits for {sorted(missing)}")
            known.add(node.id)

    def node(self, id: str) -> Node:
        """The node with this id."""
        return self._by_id[id]

    @cached_property
    def _by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}


def rebound(workflow: Workflow, constant: Callable[[Written], Binding]) -> Workflow:
    """The same graph with something in the place of all `Written`."""

    def bind(binding: Binding) -> Binding:
        if isinstance(binding, list):
            return [bind(item) for item in binding]
        if isinstance(binding, dict):
            return {key: bind(item) for key, item in binding.items()}
        return constant(binding) if isinstance(binding, Written) else binding

    def again(node: Node) -> Node:
        inputs = {name: bind(binding) for name, binding in node.inputs.items()}
        target = node.target
        if isinstance(target, Branch):
            target = replace(target, arms=tuple(map(again, target.arms)))
        return replace(node, target=target, inputs=inputs)

    outputs = {name: bind(binding) for name, binding in workflow.outputs.items()}
    return replace(workflow, nodes=tuple(map(again, workflow.nodes)), outputs=outputs)


def single_task(
    task: Task,
    inputs: Mapping[str, Kind] | None = None,
    *,
    project: str = "flytesnacks",
    domain: str = "development",
) -> Workflow:
    """The workflow that Admin makes of a task that is run alone.

    Source: flyteadmin pkg/manager/impl/util/single_task_execution.go.
    """
    given = dict(inputs or {})
    node = Node(
        "".join(filter(str.isalnum, task.name)), task, {name: Input(name) for name in given}
    )
    return Workflow(
        name=f".flytegen.{task.name}",
        nodes=(node,),
        inputs=given,
        outputs={name: Output(node.id, name) for name in task.outputs},
        project=project,
        domain=domain,
        version=task.version,
    )


# ---------------------------------------------------------------------- outcomes

NodePhase: TypeAlias = Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "RUNNING"]


@dataclass(frozen=True)
class Taken:
    """What a node takes over instead of running.

    Attributes:
        outputs: By variable, from the stream that made them; empty: they stem from an
            execution of which no event was ever published.
        source: Execution name, node id and attempt that made them; `None` where the
            cache does not say.
        child: The execution that a recovered launch-plan node had started.
        own: The path of the node of the same execution that made them, which is over by
            then: `n1`, or `n4#0/n1` of an earlier attempt. Instead of `outputs`.
    """

    outputs: Mapping[str, Produced] = field(default_factory=dict)
    source: tuple[str, str, int] | None = None
    child: str = ""
    own: str = ""


CacheTrouble: TypeAlias = Literal["PUT_FAILURE", "LOOKUP_FAILURE", "SKIPPED"]


@dataclass(frozen=True)
class Outcome:
    """How a node fares in one execution.

    Attributes:
        phase: `ABORTED` and `RUNNING`: the execution ends, or is looked at, while the
            node runs.
        failed_attempts: How many attempts fail before the last one. A sub-workflow
            plays its graph in each of them, a launch plan starts an execution; what
            fares how in there is said under the path `n4#0/n1`.
        retried: Graphs of attempts at a dynamic node that made them and failed after
            all, after those of `failed_attempts`, which never came so far.
        hit: The cache answers, and the node does not run.
        recovered: A recovered execution takes the node over from the one before.
        cache: What goes wrong with the cache of a task that runs.
        closure_lost: The event with the graph of a dynamic node was too large to publish.
        failed_items: Indexes of the items of a map task that fail.
        item_hits: What the cache answers for single items of a map task.
    """

    phase: NodePhase = "SUCCEEDED"
    failed_attempts: int = 0
    retried: tuple[Workflow, ...] = ()
    hit: Taken | None = None
    recovered: Taken | None = None
    cache: CacheTrouble | None = None
    closure_lost: bool = False
    failed_items: tuple[int, ...] = ()
    item_hits: Mapping[int, Taken] = field(default_factory=dict)


def kind_of(binding: Binding, workflow: Workflow) -> Kind:
    """The kind of what a binding gives, as the compiler would infer it."""
    if isinstance(binding, Input):
        return _part(workflow.inputs[binding.name], binding.path)
    if isinstance(binding, Output):
        node = workflow.node(binding.node)
        return _part(output_kinds(node, workflow)[binding.variable], binding.path)
    if isinstance(binding, list):
        item = kind_of(binding[0], workflow) if binding else Primitive(None)
        return ListOf(item, len(binding))
    if isinstance(binding, dict):
        items = [kind_of(item, workflow) for item in binding.values()]
        return MapOf(items[0] if items else Primitive(None), tuple(binding))
    if isinstance(binding, Written):
        return binding.kind
    return binding.kind if isinstance(binding, Produced) else binding


def output_kinds(node: Node, workflow: Workflow) -> dict[str, Kind]:
    """Kind by variable of what a node gives; `workflow` is the one it stands in."""
    target = node.target
    if isinstance(target, Task):
        return {name: _known(kind, node, workflow) for name, kind in target.outputs.items()}
    if isinstance(target, MapTask):
        inner = Node(node.id, target.task, node.inputs)
        return {name: ListOf(kind) for name, kind in output_kinds(inner, workflow).items()}
    if isinstance(target, Branch):
        return output_kinds(target.taken_arm or target.arms[0], workflow)
    if isinstance(target, Gate):
        return _gate_kinds(target, node, workflow)
    if isinstance(target, Dynamic) and target.body is None:
        return output_kinds(Node(node.id, target.task, node.inputs), workflow)
    graph = target.body if isinstance(target, Dynamic) else target
    graph = graph.workflow if isinstance(graph, LaunchPlan) else graph
    return {name: kind_of(item, graph) for name, item in graph.outputs.items()} if graph else {}


def _gate_kinds(gate: Gate, node: Node, workflow: Workflow) -> dict[str, Kind]:
    if gate.kind == "approve":
        return {name: kind_of(binding, workflow) for name, binding in node.inputs.items()}
    return {"o0": gate.signal} if gate.kind == "signal" else {}


def _known(kind: Kind, node: Node, workflow: Workflow) -> Kind:
    return kind_of(node.inputs[kind.input], workflow) if isinstance(kind, Same) else kind


def _part(kind: Kind, path: tuple[str | int, ...]) -> Kind:
    for step in path:
        if isinstance(kind, Offloaded):
            kind = kind.item
        if isinstance(kind, Record):
            kind = kind.fields[str(step)]
        elif isinstance(kind, (ListOf, MapOf)):
            kind = kind.item
        else:
            raise ValueError(f"{kind} has no part {step!r}")
    return kind
