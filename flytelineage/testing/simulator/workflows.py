"""Workflows as plain objects: what the simulator runs, and what the truth is told from.

A workflow here is what a compiled Flyte workflow is: nodes with a target and bindings.
What a task makes is said by *kinds*: a data frame, a file, a list of them. Outcomes say
how a node fares in one execution. Nothing here knows of protobuf, storage or time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, Union

# ------------------------------------------------------------------------- kinds

ColumnType: TypeAlias = Literal["int", "float", "str", "bool", "datetime"]

COLUMNS: Mapping[str, ColumnType] = {"id": "int", "name": "str", "amount": "float"}
"""The columns of a frame about which nothing else is said."""


@dataclass(frozen=True)
class Frame:
    """A data frame: a structured dataset stored as Parquet.

    Attributes:
        declared: Whether the task's signature, and so the literal, names the columns.
        legacy: Whether it is a `FlyteSchema`, the type of old workflows.
        uri: Where the task puts it by itself; empty: where Flyte tells it to.
    """

    columns: Mapping[str, ColumnType] = field(default_factory=lambda: COLUMNS)
    rows: int = 3
    declared: bool = False
    legacy: bool = False
    uri: str = ""


@dataclass(frozen=True)
class File:
    """One object, a `FlyteFile`; `uri` as in `Frame`."""

    name: str = "data.csv"
    format: str = ""
    content: bytes = b"id,name\n1,one\n"
    uri: str = ""


@dataclass(frozen=True)
class Folder:
    """Several objects below one prefix, a `FlyteDirectory`; `uri` as in `Frame`."""

    files: Mapping[str, bytes] = field(default_factory=lambda: {"part-0": b"0", "part-1": b"1"})
    format: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Primitive:
    """A value that is no data: a number, a text, a time; `None` is Flyte's Void."""

    value: int | float | str | bool | datetime | timedelta | None


@dataclass(frozen=True)
class ListOf:
    """`size` values of one kind."""

    item: Kind
    size: int = 2


@dataclass(frozen=True)
class MapOf:
    """Values of one kind by key."""

    item: Kind
    keys: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True)
class OptionalOf:
    """A union with nothing: `given` says which of the two it is this time."""

    item: Kind
    given: bool = True


@dataclass(frozen=True)
class Record:
    """A dataclass, which flytekit sends as msgpack with the URIs inside."""

    fields: Mapping[str, Kind]
    name: str = "Record"


@dataclass(frozen=True)
class Offloaded:
    """A value too big for the literal map: it lies in an object of its own."""

    item: Kind


@dataclass(frozen=True)
class Same:
    """What came in under this name, returned unchanged."""

    input: str


@dataclass(frozen=True)
class Produced:
    """What an earlier execution made; see `Stream.output`.

    Attributes:
        literal: A flyteidl `Literal`.
        told: The truth about it, for `truth` alone.
    """

    literal: Any
    told: Any
    kind: Kind


Kind: TypeAlias = Union[  # noqa: UP007 - Python 3.10 cannot join forward references with |
    Frame, File, Folder, Primitive, ListOf, MapOf, OptionalOf, Record, Offloaded, Same, Produced
]

# ---------------------------------------------------------------------- bindings


@dataclass(frozen=True)
class Output:
    """The output of another node, or a part of it: fields of a record, items of a list."""

    node: str
    variable: str = "o0"
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Input:
    """An input of the enclosing workflow."""

    name: str


Binding: TypeAlias = Union[  # noqa: UP007 - as above
    Output, Input, Kind, list["Binding"], dict[str, "Binding"]
]
"""What a node's input is bound to; a kind is a constant."""


def outputs_in(binding: Binding) -> Iterator[Output]:
    """Every output of another node that a binding needs."""
    if isinstance(binding, Output):
        yield binding
    elif isinstance(binding, list):
        for item in binding:
            yield from outputs_in(item)
    elif isinstance(binding, dict):
        for item in binding.values():
            yield from outputs_in(item)


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
    """

    name: str
    outputs: Mapping[str, Kind] = field(default_factory=dict)
    version: str = "v1"
    task_type: str = "python-task"
    cacheable: bool = False
    sends_outputs: bool = True
    synchronous: bool = False


@dataclass(frozen=True)
class Branch:
    """A conditional of which one arm is taken.

    The compiler calls an arm `<branch>-<arm>`, which is its spec node id.

    Attributes:
        taken: The id of the arm that runs, as in `arms`.
    """

    arms: tuple[Node, ...]
    taken: str

    @property
    def taken_arm(self) -> Node:
        """The arm that runs."""
        return next(arm for arm in self.arms if arm.id == self.taken)


@dataclass(frozen=True)
class MapTask:
    """A task that runs once per item of its list inputs: an array node.

    Attributes:
        over: The inputs that are lists; all others go to every item whole.
    """

    task: Task
    over: tuple[str, ...]


@dataclass(frozen=True)
class Dynamic:
    """A task that makes a graph while it runs.

    Attributes:
        task: The task itself; what it gives are the outputs of `body`.
        body: The graph; its inputs have the names of the task's.
    """

    task: Task
    body: Workflow


@dataclass(frozen=True)
class Gate:
    """A node that waits: for approval of what it hands through, a signal, or time."""

    kind: Literal["approve", "signal", "sleep"]
    signal: Kind = field(default_factory=lambda: Primitive(True))


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
        """Ids of the nodes that must be over first, each once."""
        bindings = [*self.inputs.values()]
        if isinstance(self.target, Branch):
            bindings += [value for arm in self.target.arms for value in arm.inputs.values()]
        found = [output.node for binding in bindings for output in outputs_in(binding)]
        return tuple(dict.fromkeys([*found, *self.after]))


@dataclass(frozen=True)
class Workflow:
    """A workflow; also the graph of a sub-workflow or a dynamic node.

    Attributes:
        nodes: Each after those that it waits for.
        inputs: Kind by name, with the value it has unless an execution says otherwise.
        outputs: Binding by name.
        launch_plan: Empty: the default one, which has the workflow's name.

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

    def __post_init__(self) -> None:
        known: set[str] = set()
        for node in self.nodes:
            if missing := set(node.upstream()) - known:
                raise ValueError(f"Node {node.id} of {self.name} waits for {sorted(missing)}")
            known.add(node.id)

    def node(self, id: str) -> Node:
        """The node with this id."""
        return next(node for node in self.nodes if node.id == id)


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
    """

    outputs: Mapping[str, Produced] = field(default_factory=dict)
    source: tuple[str, str, int] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a node fares in one execution.

    Attributes:
        phase: `ABORTED` and `RUNNING`: the execution ends, or is looked at, while the
            node runs.
        failed_attempts: How many attempts fail before the last one.
        hit: The cache answers, and the node does not run.
        recovered: A recovered execution takes the node over from the one before.
    """

    phase: NodePhase = "SUCCEEDED"
    failed_attempts: int = 0
    hit: Taken | None = None
    recovered: Taken | None = None


def kind_of(binding: Binding, workflow: Workflow) -> Kind:
    """The kind of what a binding gives, as the compiler would infer it."""
    if isinstance(binding, Input):
        return workflow.inputs[binding.name]
    if isinstance(binding, Output):
        node = workflow.node(binding.node)
        return _part(output_kinds(node, workflow)[binding.variable], binding.path)
    if isinstance(binding, list):
        item = kind_of(binding[0], workflow) if binding else Primitive(None)
        return ListOf(item, len(binding))
    if isinstance(binding, dict):
        items = [kind_of(item, workflow) for item in binding.values()]
        return MapOf(items[0] if items else Primitive(None), tuple(binding))
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
        return output_kinds(target.taken_arm, workflow)
    if isinstance(target, Gate):
        return _gate_kinds(target, node, workflow)
    graph = target.body if isinstance(target, Dynamic) else target
    graph = graph.workflow if isinstance(graph, LaunchPlan) else graph
    return {name: kind_of(binding, graph) for name, binding in graph.outputs.items()}


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
