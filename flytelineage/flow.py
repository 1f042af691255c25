"""The way of data and of waiting through an execution: who read, wrote and waited for what.

The producer of a piece of data is the task that succeeded, whose outputs hold it and
whose known inputs do not. Wherever that cannot be told, nobody is. Pure: what had to be
fetched comes in as `Collected`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from flytelineage import naming
from flytelineage.dataset_names import Names
from flytelineage.definitions import Definition
from flytelineage.entities import DatasetId, Evidence, ExecutionId, PipelineId, TaskId
from flytelineage.facts import Facts, NodeFacts
from flytelineage.literals import Reference
from flytelineage.structure import CACHE_HIT, Structure
from flytelineage.timing import Level, Producers

MAX_EDGES = 1_000_000
"""Of one execution, from data: many tasks that write one place multiply those that read it."""

_DATA, _DEFINITION = frozenset({Evidence.DATA}), frozenset({Evidence.DEFINITION})
_ORDER = frozenset({Evidence.ORDER})
_BOTH = _DATA | _DEFINITION  # shared: a set for each edge would be most of its memory


@dataclass(frozen=True, slots=True)
class Read:
    """What a literal map refers to, as far as it could be read.

    Attributes:
        problems: Why there may be more; empty when all is known.
    """

    references: tuple[Reference, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """What had to be fetched to understand the facts of one execution.

    Attributes:
        pipeline: The pipeline's id; `None` when nothing names it.
        pipeline_known: Whether a successful execution has made the pipeline known.
        definition: The compiled workflow, where FlyteAdmin gave it.
        schedule: When the launch plan runs by itself, e.g. `cron: 0 5 * * *`.
        inputs, outputs: By node id, of the nodes whose literals count.
        workflow_outputs: What the workflow returned.
        locations: Raw-output keys that somebody registered, with the dataset.
        seen: Executions of which the store has events.
        multiple: Tasks known to stand at several nodes.
        retire: Tasks whose bare id this execution has to tell once more, empty; or,
            once it shows them at several nodes, would have to.
    """

    pipeline: PipelineId | None = None
    name_source: naming.NameSource | None = None
    pipeline_known: bool = False
    definition: Definition | None = None
    schedule: str = ""
    inputs: Mapping[str, Read] = field(default_factory=dict)
    outputs: Mapping[str, Read] = field(default_factory=dict)
    workflow_outputs: Read = Read()
    locations: Mapping[str, DatasetId | None] = field(default_factory=dict)
    seen: frozenset[ExecutionId] = frozenset()
    multiple: frozenset[str] = frozenset()
    retire: frozenset[str] = frozenset()


class Use(NamedTuple):
    """A piece of data in the hands of a task."""

    reference: Reference
    key: str
    dataset: DatasetId | None


class Why(Enum):
    """Whether a task wrote what its outputs hold: the first two did, the others did not."""

    NEW = "its inputs do not hold it"
    PATH = "its path names the node"
    GIVEN = "its inputs hold it"
    INNER = "a node inside wrote it"
    UNSURE = "its inputs are not known"


class _Piece(NamedTuple):
    """What a URI says of the data at it.

    Attributes:
        key: What two URIs of one piece of data have in common.
        raw: Where Flyte put it, if Flyte did.
    """

    key: str
    raw: naming.RawOutput | None


class Held(NamedTuple):
    """A piece of data in the outputs of a task."""

    reference: Reference
    key: str
    why: Why


class DataFlow:
    """The way of data through one execution; each property is computed once.

    Attributes:
        locations: Raw-output keys that this execution is the first to name.
        waiting: Raw-output keys without a name that were met so far.
        orphans: Those of them that this execution itself must have written.
        mistakes: What is wrong with the operator's own rules, as far as they were asked.
    """

    def __init__(
        self,
        structure: Structure,
        known: Collected,
        pipeline: PipelineId,
        *,
        names: Names,
        infer_order: bool = False,
    ) -> None:
        self.structure = structure
        self.facts: Facts = structure.facts
        self.known = known
        self.pipeline = pipeline
        self.names = names
        self.infer_order = infer_order
        self.locations: dict[str, DatasetId] = {}
        self.waiting: set[str] = set()
        self.orphans: set[str] = set()
        self.mistakes: set[str] = set()
        self._task_ids: dict[str, TaskId] = {}
        self._pieces: dict[str, _Piece] = {}
        self._named: dict[str, DatasetId | None] = {}
        self._adopted: dict[str, list[tuple[Reference, str]]] = defaultdict(list)
        self._register()

    # ------------------------------------------------------------ nodes and tasks

    @cached_property
    def nodes(self) -> tuple[NodeFacts, ...]:
        """The nodes that ran a task, in node order.

        Without those of which it is not known at which of its task's places they stand:
        an id that is told cannot be taken back.
        """
        return tuple(
            node
            for node in self.structure.task_nodes
            if (task := naming.task_of(node))
            and self.structure.is_identified(node, multiple=self.is_multiple(task.name))
        )

    @cached_property
    def telling(self) -> tuple[NodeFacts, ...]:
        """Those of them whose inputs and outputs count."""
        return tuple(node for node in self.structure.telling if node.id in self._node_ids)

    @cached_property
    def _telling_ids(self) -> frozenset[str]:
        return frozenset(node.id for node in self.telling)

    @cached_property
    def _node_ids(self) -> frozenset[str]:
        return frozenset(node.id for node in self.nodes)

    @cached_property
    def nodes_by_task(self) -> dict[TaskId, list[NodeFacts]]:
        """The nodes of each task."""
        found: dict[TaskId, list[NodeFacts]] = defaultdict(list)
        for node in self.nodes:
            found[self.task_id(node)].append(node)
        return found

    @cached_property
    def task_names(self) -> frozenset[str]:
        """Flyte names of the tasks that ran, whether or not it is known where."""
        found = (naming.task_of(node) for node in self.structure.task_nodes)
        return frozenset(task.name for task in found if task)

    def is_multiple(self, name: str) -> bool:
        """Whether the task of this Flyte name is told per place."""
        return name in self.known.multiple or self.structure.is_multiple(name)

    def task_id(self, node: NodeFacts) -> TaskId:
        """The task that a node ran, with its place where it has several."""
        if node.id not in self._task_ids:
            self._task_ids[node.id] = self._task_id(node)
        return self._task_ids[node.id]

    def _task_id(self, node: NodeFacts) -> TaskId:
        task = naming.task_of(node)
        if task is None:
            raise ValueError(f"Node {node.id} runs no task")
        place = self.structure.place(node) if self.is_multiple(task.name) else ""
        return TaskId(pipeline=self.pipeline, name=task.name, place=place)

    # ------------------------------------------------------------------ who wrote

    def _references(self, reads: Mapping[str, Read], node: NodeFacts) -> tuple[Reference, ...]:
        read = reads.get(node.id)
        return read.references if read else ()

    def _known_whole(self, reads: Mapping[str, Read], node: NodeFacts) -> bool:
        read = reads.get(node.id)
        return read is not None and not read.problems

    def _piece(self, uri: str) -> _Piece:
        """What a URI says; each is taken apart once, and every task that meets it asks."""
        if uri not in self._pieces:
            raw = naming.raw_output(uri)
            self._pieces[uri] = _Piece(raw.key if raw else naming.normalised(uri), raw)
        return self._pieces[uri]

    def _key(self, uri: str) -> str:
        return self._piece(uri).key

    def held(self, node: NodeFacts) -> Iterator[Held]:
        """What a succeeded task's outputs hold, and whether the task wrote it.

        A task may return what it was given: that it did not write. While its inputs are
        not known, only a path that names the node shows that it wrote; those of a cache
        hit never are where Flyte sends literals inline. A dynamic node returns what its
        children wrote, so there too the path must name it.
        """
        given = {
            self._key(reference.uri) for reference in self._references(self.known.inputs, node)
        }
        known, wraps = self._known_whole(self.known.inputs, node), self._wraps(node)
        for reference in self._references(self.known.outputs, node):
            key, why = self._key(reference.uri), Why.UNSURE
            if key in given:
                why = Why.GIVEN
            elif known and not wraps:
                why = Why.NEW
            elif self._owns(node, reference.uri):
                why = Why.PATH
            elif wraps:
                why = Why.INNER
            yield Held(reference, key, why)

    def _held(self, node: NodeFacts) -> Iterator[tuple[Reference, str]]:
        """What it wrote, by key."""
        for held in self.held(node):
            if held.why in (Why.NEW, Why.PATH):
                yield held.reference, held.key

    def _owns(self, node: NodeFacts, uri: str) -> bool:
        """Whether the path names the node, or the one whose outputs it took over."""
        raw = self._piece(uri).raw
        execution, id = self.facts.execution, node.id
        if self.fetched(node) and node.origin:
            execution, id = node.origin
        return raw is not None and naming.written_by(raw.owner, execution.name, id)

    def fetched(self, node: NodeFacts) -> bool:
        """Whether the outputs were written by another execution."""
        return self.cached(node) or node.phase == "RECOVERED"

    def cached(self, node: NodeFacts) -> bool:
        """Whether a successful execution described the outputs before.

        What was recovered was not: its origin failed, and told only that it had run.
        """
        return node.cache_status == CACHE_HIT

    def _register(self) -> None:
        """Give a name to all raw output that this execution is the first to have."""
        written: set[str] = set()
        for node in self.telling:
            artifacts = naming.artifacts(self.structure.interface(node), self.pipeline)
            task = self.task_id(node).local
            for reference, key in self._held(node):
                written.add(key)
                raw = self._piece(reference.uri).raw
                if raw is None or key in self.known.locations or self._foreign(node, raw.owner):
                    continue
                named = artifacts.get(reference.variable) or naming.artifact_of(
                    reference.metadata, self.pipeline
                )
                default = naming.task_output(self.pipeline, task, reference.variable)
                self.locations.setdefault(key, named or default)
        self._adopt(written)

    def _foreign(self, node: NodeFacts, owner: str) -> bool:
        """Whether another execution or node will name what this node holds.

        Executions that were never seen will not, nor will an attempt that was given up.
        The cache says where it took a node's outputs from, but not those of single items
        of a map task. Then the path may name the execution that wrote them.
        """
        if self.fetched(node) and node.origin:
            if node.origin.execution == self.facts.execution:
                return node.origin.node in self._telling_ids
            return node.origin.execution in self.known.seen
        return not self._mine(owner) and self._names_another(owner)

    def _mine(self, owner: str) -> bool:
        """Whether a path names a node of this execution."""
        name = self.facts.execution.name
        return naming.written_by(owner, name, nodes=self.facts.nodes)

    def _names_another(self, owner: str) -> bool:
        """Whether a path may name an execution that was seen, other than this one."""
        return any(
            other in self.known.seen and other != self.facts.execution
            for other in writers(self.facts.execution, owner)
        )

    def _adopt(self, written: set[str]) -> None:
        """Name what a dynamic node wrote itself, and handed to nodes that it made.

        No output of it holds that data, but the path says who wrote it. It goes by the
        name of the input that it became, which is registered already where the execution
        was built before.

        Args:
            written: Keys of all data that outputs say who wrote.
        """
        name = self.facts.execution.name
        parents = {f"{name}-{n.id}": n for n in self.telling if self._wraps(n)}
        for node in self.telling if parents else ():
            for reference in self._references(self.known.inputs, node):
                raw = self._piece(reference.uri).raw
                parent = parents.get(raw.owner.rpartition("-")[0]) if raw else None
                if raw is None or parent is None or raw.key in written:
                    continue
                written.add(raw.key)
                self._adopted[parent.id].append((reference, raw.key))
                if raw.key not in self.known.locations:
                    task = self.task_id(parent).local
                    self.locations[raw.key] = naming.task_output(
                        self.pipeline, task, reference.variable
                    )

    def _wraps(self, node: NodeFacts) -> bool:
        return node.id in self.structure.wrappers

    def name(self, uri: str) -> DatasetId | None:
        """The dataset at a URI; `None` while nobody has registered it."""
        if uri not in self._named:
            self._named[uri] = self._name(uri)
        return self._named[uri]

    def _name(self, uri: str) -> DatasetId | None:
        raw = self._piece(uri).raw
        if raw is None:
            decision = self.names.decide(uri)
            self.mistakes.update(decision.problems)
            return decision.dataset
        dataset = self.known.locations.get(raw.key) or self.locations.get(raw.key)
        if dataset is None:
            self.waiting.add(raw.key)
            named = naming.written_by(raw.owner, self.facts.execution.name)
            if self._mine(raw.owner) or (named and not self._names_another(raw.owner)):
                self.orphans.add(raw.key)
        return dataset

    @cached_property
    def reads(self) -> dict[str, tuple[Use, ...]]:
        """What each succeeded task was given, by node id."""
        return {
            node.id: tuple(
                Use(reference, self._key(reference.uri), self.name(reference.uri))
                for reference in self._references(self.known.inputs, node)
            )
            for node in self.telling
        }

    @cached_property
    def writes(self) -> dict[str, tuple[Use, ...]]:
        """What each succeeded task produced or took from the cache, by node id."""
        return {
            node.id: tuple(
                Use(reference, key, self.name(reference.uri))
                for reference, key in (*self._held(node), *self._adopted.get(node.id, ()))
            )
            for node in self.telling
        }

    # ------------------------------------------------------------------ who waited

    @cached_property
    def _producers(self) -> dict[str, Producers]:
        """The nodes that produced each piece of data, by key."""
        producers: dict[str, list[NodeFacts]] = defaultdict(list)
        for node in self.telling:
            for key in {use.key for use in self.writes[node.id]}:
                producers[key].append(node)
        return {key: Producers(nodes) for key, nodes in producers.items()}

    @cached_property
    def upstream(self) -> dict[str, dict[str, frozenset[Evidence]]]:
        """What each succeeded task waited for: node ids, and what says so, by node id."""
        return {node.id: self._upstream(node) for node in self.telling}

    def _upstream(self, node: NodeFacts) -> dict[str, frozenset[Evidence]]:
        found = dict.fromkeys(self._sources(node), _DATA)
        for id in self.structure.dependencies.upstream(node.id) & self._node_ids:
            found[id] = _BOTH if id in found else _DEFINITION
        if self.infer_order and not found and not self.structure.dependencies.knows(node.id):
            found.update(
                (before.id, _ORDER) for before in self._levels[node.parent].just_before(node)
            )
        return found

    def _sources(self, node: NodeFacts) -> Iterator[str]:
        """Ids of the nodes that produced what this one read; none where it is too much."""
        for producers in () if self.too_many else self._produced(node):
            yield from (producer.id for producer in producers if producer.id != node.id)

    def _produced(self, node: NodeFacts) -> Iterator[Sequence[NodeFacts]]:
        """Who produced each piece of data that a node read."""
        for key, uri in {use.key: use.reference.uri for use in self.reads[node.id]}.items():
            if key not in self._producers:
                continue
            done = self._producers[key].before(node)
            # Raw output is written once; any other URI may have been there before, and
            # only who was done when it was read can have written what was read.
            if self._piece(uri).raw is not None:
                done = self._defined(node, done or self._producers[key].nodes)
            yield done

    def _defined(self, node: NodeFacts, held: Sequence[NodeFacts]) -> Sequence[NodeFacts]:
        """Of several nodes that hold one piece, who made it and whom the workflow names.

        The others only took it from the cache, and handed it to somebody else. Where the
        workflow names none, it may have been any of them.
        """
        if len(held) < 2:
            return held
        awaited = self.structure.dependencies.upstream(node.id)
        if not any(one.id in awaited for one in held):
            return held
        return [one for one in held if one.id in awaited or not self.fetched(one)]

    @cached_property
    def too_many(self) -> bool:
        """Whether so many wrote what so many read that none of these edges is told."""
        edges = (len(found) for node in self.telling for found in self._produced(node))
        return sum(edges) > MAX_EDGES

    @cached_property
    def _levels(self) -> dict[str, Level]:
        """The tasks of each graph level, by the id of the node around them."""
        levels: dict[str, list[NodeFacts]] = defaultdict(list)
        for node in self.telling:
            levels[node.parent].append(node)
        return {parent: Level(nodes) for parent, nodes in levels.items()}

    def complete(self, node: NodeFacts) -> bool:
        """Whether all that the node read and wrote is known, and by name."""
        uses = (*self.reads[node.id], *self.writes[node.id])
        return (
            not self.too_many
            and self.structure.knows_who_waits
            and self._known_whole(self.known.inputs, node)
            and (self._wraps(node) or self._known_whole(self.known.outputs, node))
            and all(use.dataset is not None for use in uses)
        )

    def inputs(self) -> tuple[Reference, ...]:
        """What the workflow was given."""
        start = self.structure.start
        return self._references(self.known.outputs, start) if start else ()


def writers(near: ExecutionId, owner: str) -> Iterator[ExecutionId]:
    """The executions of the same project and domain that a path may name."""
    for name in naming.possible_writers(owner):
        yield near.model_copy(update={"name": name})
