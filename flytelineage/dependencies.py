"""Which task waits for which, as the compiled workflow says it; pure.

A compiled graph names nodes; some of them run no task themselves. So a dependency is
followed until it ends at tasks that ran:

- a *value* goes up to the binding of a sub-workflow's input, down to the output of the
  sub-workflow, branch or dynamic node that hands it out, and through a gate that approves;
- a *chain* (`a >> b`, no value) ends at the last tasks of a sub-workflow and at the arm
  that a branch took, and it holds for the first tasks of what it leads to;
- other gates, launch plans and empty sub-workflows run no task of this workflow: what
  waits for them waits for what they waited for.

Nodes that were not seen give nothing: an arm that was not taken is no dependency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from flytelineage.definitions import START, Definition, Graph, Node, Promise, Steps, parts

MAX_DEPENDENCIES = 1_000_000
"""Of one execution. A gate between many and many tasks multiplies them."""

NONE: frozenset[str] = frozenset()


class Seen(NamedTuple):
    """A node as it ran.

    Attributes:
        parent: Id of the node around it; empty at the top.
        made: What a dynamic node made, where that is known.
        runs_task: Whether a task ran at it.
        whole: Whether it ran to its end, so that all nodes inside of it were made.
    """

    id: str
    spec_id: str
    parent: str = ""
    made: Definition | None = None
    runs_task: bool = False
    whole: bool = False


class Wait(NamedTuple):
    """Something that a node waits for.

    Attributes:
        tasks: Ids of the nodes whose tasks that is in the end.
        node: What the graph names; empty where something around the node waits.
        output: The value that comes from there; empty for a chain.
        input: What the value becomes; empty for a chain.
    """

    tasks: frozenset[str]
    node: str = ""
    output: str = ""
    input: str = ""


_Around: TypeAlias = "tuple[Definition, Graph] | None"
"""The graph in which nodes stand, and the definition that it is a part of."""


class _TooManyError(Exception):
    """Ends a search that found more than it may."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A node that ran, and where it stands in a graph that is known.

    Attributes:
        level: Id of the node whose graph this is; a branch has none of its own.
        inner: The graph inside of a sub-workflow or dynamic node, with its definition.
    """

    seen: Seen
    level: str
    node: Node
    inner: _Around = None

    @property
    def runs_task(self) -> bool:
        return self.seen.runs_task or self.node.kind == "task"


class Dependencies:
    """The dependencies of one execution's tasks.

    Args:
        nodes: What ran; of retried parents only the last attempt's children.
        definition: The workflow's own; `None` where only dynamic nodes are known.

    Attributes:
        too_many: Whether there were more than `MAX_DEPENDENCIES`; then none is told.
    """

    def __init__(self, nodes: Iterable[Seen], definition: Definition | None) -> None:
        self._seen = {seen.id: seen for seen in nodes}
        self._definition = definition
        self._children: dict[str, list[str]] = {}
        for seen in self._seen.values():
            self._children.setdefault(seen.parent, []).append(seen.id)
        self._places: dict[str, _Place] = {}
        self._by_spec: dict[tuple[str, str], _Place] = {}
        self._known: dict[object, frozenset[str]] = {}
        self._size = 0
        self.too_many = False
        self._place_all()
        self._follow_all()

    def node(self, id: str) -> Node | None:
        """What the definition says of a node; `None` where its graph is not known."""
        place = self._places.get(id)
        return place.node if place else None

    def knows(self, id: str) -> bool:
        """Whether the graph is known in which a node stands."""
        return id in self._places

    def upstream(self, id: str) -> frozenset[str]:
        """Ids of the nodes whose tasks this node's task waits for."""
        place = self._places.get(id)
        return self._awaited(place) - {id} if place and not self.too_many else NONE

    def waits(self, id: str) -> Iterator[Wait]:
        """What a node waits for, one by one; together this is `upstream`."""
        place = self._places.get(id)
        if place is None or self.too_many:
            return
        for variable, promises in place.node.inputs.items():
            for promise in promises:
                tasks = self._value(place.level, promise) - {id}
                yield Wait(tasks, promise.node, promise.variable, variable)
        for other in place.node.chained:
            yield Wait(self._end(self._by_spec.get((place.level, other))) - {id}, other)
        yield Wait(self._handed_down(place) - {id})

    def missing(self) -> Iterator[str]:
        """What must have run although no event of it was seen, in words."""
        if self._definition is not None:
            yield from self._missing_in("", self._definition.primary)
        for place in self._places.values():
            if not place.seen.whole:
                continue
            if place.inner is not None:
                yield from self._missing_in(place.seen.id, place.inner[1])
            elif place.node.kind == "branch" and not self._children.get(place.seen.id):
                yield f"no event of any arm of branch {place.seen.id}"

    def _missing_in(self, level: str, graph: Graph) -> Iterator[str]:
        for node in graph.always():
            if (level, node.id) not in self._by_spec:
                yield f"no event of node {node.id}" + (f" inside {level}" if level else "")

    # ----------------------------------------------------------------- the places

    def _place_all(self) -> None:
        """Find the graph of each node, from the top down."""
        top = (self._definition, self._definition.primary) if self._definition else None
        waiting = self._inside("", "", top)
        while waiting:
            id, level, around = waiting.pop()
            inner = self._place(self._seen[id], level, around)
            place = self._places.get(id)
            if place is not None and place.node.kind == "branch":
                waiting.extend(self._inside(id, level, around))
            else:
                waiting.extend(self._inside(id, id, inner))

    def _inside(self, parent: str, level: str, around: _Around) -> list[tuple[str, str, _Around]]:
        """The nodes inside of a node, with what is around them, the last one first."""
        found = self._children.get(parent, [])
        if around and len(found) > 1:  # the one arm of a branch needs no look at its graph
            order = {id: number for number, id in enumerate(around[1].nodes)}
            found = sorted(
                found, key=lambda id: order.get(self._seen[id].spec_id, len(order)), reverse=True
            )
        return [(id, level, around) for id in found]

    def _place(self, seen: Seen, level: str, around: _Around) -> _Around:
        """Place one node; returns the graph of its children, where that is known."""
        made = (seen.made, seen.made.primary) if seen.made else None
        node = around[1].nodes.get(seen.spec_id) if around else None
        if around is None or node is None:
            return made
        graph = around[0].sub_workflows.get(node.workflow) if node.workflow else None
        inner = (around[0], graph) if graph else made
        place = _Place(seen, level, node, inner)
        self._places[seen.id] = self._by_spec[level, seen.spec_id] = place
        return inner

    def _follow_all(self) -> None:
        """Follow every dependency once, so that each rests on what was followed before.

        The order keeps a chain of a thousand gates from being a thousand calls deep.
        """
        try:
            for place in self._places.values():
                self._awaited(place)
        except (_TooManyError, RecursionError):
            self.too_many = True

    # --------------------------------------------------------------- what is awaited

    def _once(self, key: object, find: Callable[[], Iterator[frozenset[str]]]) -> frozenset[str]:
        """The union of what is found, computed once; what waits for itself adds nothing."""
        if key not in self._known:
            self._known[key] = NONE
            found = frozenset().union(*find())
            self._size += len(found)
            if self._size > MAX_DEPENDENCIES:
                raise _TooManyError
            self._known[key] = found
        return self._known[key]

    def _awaited(self, place: _Place) -> frozenset[str]:
        """All that a node waits for."""

        def find() -> Iterator[frozenset[str]]:
            for promise in place.node.promises:
                yield self._value(place.level, promise)
            yield from self._chained(place)
            yield self._handed_down(place)

        return self._once(("awaited", place.seen.id), find)

    def _chained(self, place: _Place) -> Iterator[frozenset[str]]:
        for id in place.node.chained:
            yield self._end(self._by_spec.get((place.level, id)))

    def _handed_down(self, place: _Place) -> frozenset[str]:
        """What the node waits for because something around it does."""

        def find() -> Iterator[frozenset[str]]:
            around = self._places.get(place.seen.parent)
            if around is None:
                return
            if around.node.kind == "branch":
                for promise in around.node.promises:  # the condition's
                    yield self._value(around.level, promise)
            elif around.node.kind != "sub-workflow" or not place.node.enters:
                return
            yield from self._chained(around)
            yield self._handed_down(around)

        return self._once(("handed", place.seen.id), find)

    def _value(self, level: str, promise: Promise) -> frozenset[str]:
        """The tasks that give a value."""

        def find() -> Iterator[frozenset[str]]:
            if promise.node != START:
                giver = self._by_spec.get((level, promise.node))
                yield self._output(giver, promise.variable, promise.path)
                return
            around = self._places.get(level)
            if around is not None and around.node.kind == "sub-workflow":
                bound = around.node.inputs.get(promise.variable, ())
                yield from self._values(around.level, parts(bound, promise.path))

        return self._once((level, promise._replace(at=())), find)

    def _values(self, level: str, promises: Iterable[Promise]) -> Iterator[frozenset[str]]:
        return (self._value(level, promise) for promise in promises)

    def _output(self, place: _Place | None, variable: str, path: Steps) -> frozenset[str]:
        """The tasks that give the value of a node's output, or a part of it."""
        if place is None:
            return NONE

        def find(place: _Place = place) -> Iterator[frozenset[str]]:
            if place.runs_task:
                yield frozenset((place.seen.id,))
            if place.inner is not None:
                bound = place.inner[1].outputs.get(variable, ())
                yield from self._values(place.seen.id, parts(bound, path))
            elif place.node.kind == "branch":
                for arm in self._arms(place):
                    yield self._output(arm, variable, path)
            elif place.node.kind == "approval":
                bound = place.node.inputs.get(variable, ())
                yield from self._values(place.level, parts(bound, path))
                yield from self._chained(place)
                yield self._handed_down(place)
            elif not place.runs_task:
                yield self._awaited(place)

        return self._once(("output", place.seen.id, variable, path), find)

    def _end(self, place: _Place | None) -> frozenset[str]:
        """The tasks that are over when a node is."""
        if place is None:
            return NONE

        def find(place: _Place = place) -> Iterator[frozenset[str]]:
            if place.runs_task:
                yield frozenset((place.seen.id,))
            elif place.inner is not None and place.inner[1].nodes:
                for id in place.inner[1].sinks(self._seen_in(place.seen.id)):
                    yield self._end(self._by_spec.get((place.seen.id, id)))
            elif place.node.kind == "branch":
                for arm in self._arms(place):
                    yield self._end(arm)
            else:
                yield self._awaited(place)

        return self._once(("end", place.seen.id), find)

    def _seen_in(self, level: str) -> frozenset[str]:
        """Spec ids of the nodes of a level that were seen, arms of its branches included."""
        found: set[str] = set()
        waiting = [*self._children.get(level, ())]
        while waiting:
            place = self._places.get(waiting.pop())
            if place is not None and place.level == level:
                found.add(place.node.id)
                waiting.extend(self._children.get(place.seen.id, ()))
        return frozenset(found)

    def _arms(self, branch: _Place) -> Iterator[_Place]:
        for id in self._children.get(branch.seen.id, ()):
            if id in self._places:
                yield self._places[id]


# ------------------------------------------------------- a definition by itself


def expanded(definition: Definition, *, limit: int = 100_000) -> Iterator[Seen]:
    """Every node of a definition as if it had run, with all arms; ids are paths.

    Args:
        definition: The compiled workflow.
        limit: Nodes at most: sub-workflows inside each other multiply.
    """
    waiting: list[tuple[str, Graph]] = [("", definition.primary)]
    count = 0
    while waiting:
        parent, graph = waiting.pop()
        paths: dict[str, str] = {}
        for node in graph.nodes.values():
            above = paths.get(node.arm_of, parent)
            paths[node.id] = path = f"{above}/{node.id}" if above else node.id
            yield Seen(path, node.id, above, runs_task=node.kind == "task", whole=True)
            count += 1
            if count >= limit:
                return
            inner = definition.sub_workflows.get(node.workflow) if node.workflow else None
            if inner is not None:
                waiting.append((path, inner))


def task_graph(definition: Definition) -> Mapping[str, frozenset[str]]:
    """What each task node of a definition waits for, by path; all arms count as taken."""
    nodes = list(expanded(definition))
    dependencies = Dependencies(nodes, definition)
    return {node.id: dependencies.upstream(node.id) for node in nodes if node.runs_task}
