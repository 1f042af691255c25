"""What happened in an execution: which node ran which task, and what it read and wrote.

The producer of a piece of data is the task that succeeded, whose outputs hold it and
whose known inputs do not. Wherever that cannot be told, nobody is. Pure: what had to be
fetched comes in as `Collected`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from flytelineage import naming
from flytelineage.entities import DatasetId, ExecutionId, PipelineId, TaskId
from flytelineage.facts import Facts, NodeFacts
from flytelineage.literals import Reference

CACHE_HIT = "CACHE_HIT"


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
    inputs: Mapping[str, Read] = field(default_factory=dict)
    outputs: Mapping[str, Read] = field(default_factory=dict)
    workflow_outputs: Read = Read()
    locations: Mapping[str, DatasetId | None] = field(default_factory=dict)
    seen: frozenset[ExecutionId] = frozenset()
    multiple: frozenset[str] = frozenset()
    retire: frozenset[str] = frozenset()


# --------------------------------------------------------------------- the nodes


def outcome(facts: Facts) -> str:
    """The execution's phase, where its terminal event may have been lost.

    SUCCEEDING, or the success of the end-node at the top, says as much.
    """
    if facts.ended_at is not None:
        return facts.phase
    ended = any(
        node.succeeded and not node.parent and "end-node" in (node.spec_id, node.id)
        for node in facts.nodes.values()
    )
    return "SUCCEEDED" if ended or facts.phase == "SUCCEEDING" else "RUNNING"


def missing_events(facts: Facts) -> list[str]:
    """What must have happened although no event of it was seen; empty when complete."""
    lacking = [
        f"node {node.id} has no terminal event"
        for node in facts.nodes.values()
        if not node.terminal
    ]
    starts = (node.spec_id or node.id for node in facts.nodes.values() if not node.parent)
    if "start-node" not in starts:
        lacking.append("no event of start-node")
    return lacking


def task_nodes(facts: Facts) -> Iterator[NodeFacts]:
    """The nodes that ran a task: only they read data."""
    for node in facts.nodes.values():
        if naming.task_of(node) is not None and node.launch_plan is None:
            yield node


def wrappers(facts: Facts) -> frozenset[str]:
    """Ids of the nodes that hand on what others wrote.

    Start, end, sub-workflow, branch, gate and launch plan run no task; a dynamic node
    runs one, but its outputs are those of its children.
    """
    parents = {node.parent for node in facts.nodes.values()}
    return frozenset(n.id for n in facts.nodes.values() if n.id in parents or n.is_parent)


def abandoned(facts: Facts) -> frozenset[str]:
    """Ids of the nodes below an attempt of their parent that was not its last.

    Each attempt makes its children anew, under ids of their own. Source: flyteidl
    event.proto, NodeExecutionEvent.retry_group.
    """
    last: dict[str, int] = {}
    for node in facts.nodes.values():
        last[node.parent] = max(_group(node), last.get(node.parent, 0))
    found = {node.id for node in facts.nodes.values() if _group(node) < last[node.parent]}
    while below := {n.id for n in facts.nodes.values() if n.parent in found} - found:
        found |= below
    return frozenset(found)


def _group(node: NodeFacts) -> int:
    return int(node.retry_group) if node.retry_group.isdecimal() else 0


def start_node(facts: Facts) -> NodeFacts | None:
    """The node whose outputs are the workflow's inputs."""
    for node in facts.nodes.values():
        if not node.parent and "start-node" in (node.spec_id, node.id):
            return node
    return None


# ------------------------------------------------------------------ what they did


class Use(NamedTuple):
    """A piece of data in the hands of a task."""

    reference: Reference
    key: str
    dataset: DatasetId | None


class DataFlow:
    """The way of data through one execution; each property is computed once.

    Attributes:
        locations: Raw-output keys that this execution is the first to name.
        waiting: Raw-output keys without a name that were met so far.
        orphans: Those of them that this execution itself must have written.
    """

    def __init__(self, facts: Facts, known: Collected, pipeline: PipelineId) -> None:
        self.facts = facts
        self.known = known
        self.pipeline = pipeline
        self.locations: dict[str, DatasetId] = {}
        self.waiting: set[str] = set()
        self.orphans: set[str] = set()
        self._register()

    # ------------------------------------------------------------ nodes and tasks

    @cached_property
    def nodes(self) -> tuple[NodeFacts, ...]:
        """The nodes that ran a task, in node order."""
        return tuple(sorted(task_nodes(self.facts), key=lambda node: naming.natural(node.id)))

    @cached_property
    def _wrappers(self) -> frozenset[str]:
        return wrappers(self.facts)

    @cached_property
    def _abandoned(self) -> frozenset[str]:
        return abandoned(self.facts)

    @cached_property
    def nodes_by_task(self) -> dict[TaskId, list[NodeFacts]]:
        """The nodes of each task."""
        found: dict[TaskId, list[NodeFacts]] = defaultdict(list)
        for node in self.nodes:
            found[self.task_id(node)].append(node)
        return found

    @cached_property
    def paths(self) -> dict[str, set[str]]:
        """The places of each task in this execution, by its Flyte name."""
        paths: dict[str, set[str]] = defaultdict(set)
        for node in self.facts.nodes.values():
            if task := naming.task_of(node):
                paths[task.name].add(self._path(node))
        return paths

    def _path(self, node: NodeFacts) -> str:
        """Spec node ids from the top; below a dynamic node or an array it ends at that."""
        parts: list[str] = []
        seen: set[str] = set()
        current: NodeFacts | None = node
        while current is not None and current.id not in seen:
            seen.add(current.id)
            if current is not node and (current.is_dynamic or current.is_array):
                parts.clear()
            parts.append(current.spec_id or current.id)
            current = self.facts.nodes.get(current.parent)
        return "/".join(reversed(parts))

    def is_multiple(self, name: str) -> bool:
        """Whether the task of this Flyte name is told per place."""
        return name in self.known.multiple or len(self.paths[name]) > 1

    def task_id(self, node: NodeFacts) -> TaskId:
        """The task that a node ran, with its place where it has several."""
        task = naming.task_of(node)
        if task is None:
            raise ValueError(f"Node {node.id} runs no task")
        place = self._path(node) if self.is_multiple(task.name) else ""
        return TaskId(pipeline=self.pipeline, name=task.name, place=place)

    # ------------------------------------------------------------------ who wrote

    def _references(self, reads: Mapping[str, Read], node: NodeFacts) -> tuple[Reference, ...]:
        read = reads.get(node.id)
        return read.references if read else ()

    def _known_whole(self, reads: Mapping[str, Read], node: NodeFacts) -> bool:
        read = reads.get(node.id)
        return read is not None and not read.problems

    def _held(self, node: NodeFacts) -> Iterator[tuple[Reference, str]]:
        """What a succeeded task's outputs hold and its inputs do not, by key.

        A task may return what it was given: that it did not write. While its inputs are
        not known, only a path that names the node shows that it wrote; those of a cache
        hit never are where Flyte sends literals inline.
        """
        if not node.succeeded or node.id in self._wrappers or node.id in self._abandoned:
            return
        given = {_key(reference.uri) for reference in self._references(self.known.inputs, node)}
        sure = self._known_whole(self.known.inputs, node)
        for reference in self._references(self.known.outputs, node):
            key = _key(reference.uri)
            if key not in given and (sure or self._owns(node, reference.uri)):
                yield reference, key

    def _owns(self, node: NodeFacts, uri: str) -> bool:
        """Whether the path names the node, or the one whose outputs it took over."""
        raw = naming.raw_output(uri)
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
        for node in self.nodes:
            artifacts = naming.artifacts(node.interface, self.pipeline)
            task = self.task_id(node).local
            for reference, key in self._held(node):
                if naming.raw_output(reference.uri) is None or key in self.known.locations:
                    continue
                if self.fetched(node) and node.origin and node.origin.execution in self.known.seen:
                    continue
                default = naming.task_output(self.pipeline, task, reference.variable)
                self.locations.setdefault(key, artifacts.get(reference.variable, default))

    def name(self, uri: str) -> DatasetId | None:
        """The dataset at a URI; `None` while nobody has registered it."""
        raw = naming.raw_output(uri)
        if raw is None:
            return naming.dataset_id(uri)
        dataset = self.known.locations.get(raw.key) or self.locations.get(raw.key)
        if dataset is None:
            self.waiting.add(raw.key)
            if naming.written_by(raw.owner, self.facts.execution.name):
                self.orphans.add(raw.key)
        return dataset

    @cached_property
    def reads(self) -> dict[str, tuple[Use, ...]]:
        """What each succeeded task was given, by node id."""
        return {
            node.id: tuple(
                Use(reference, _key(reference.uri), self.name(reference.uri))
                for reference in self._references(self.known.inputs, node)
            )
            for node in self.nodes
            if node.succeeded and node.id not in self._abandoned
        }

    @cached_property
    def writes(self) -> dict[str, tuple[Use, ...]]:
        """What each succeeded task produced or took from the cache, by node id."""
        return {
            node.id: tuple(
                Use(reference, key, self.name(reference.uri)) for reference, key in self._held(node)
            )
            for node in self.nodes
        }

    @cached_property
    def _producers(self) -> dict[str, list[NodeFacts]]:
        """The nodes that produced each piece of data, by key."""
        producers: dict[str, list[NodeFacts]] = defaultdict(list)
        for node in self.nodes:
            for key in sorted({use.key for use in self.writes[node.id]}):
                producers[key].append(node)
        return producers

    def upstream(self, node: NodeFacts) -> Iterator[NodeFacts]:
        """The nodes that produced what this one read, each once."""
        found = {}
        for use in self.reads.get(node.id, ()):
            producers = self._producers.get(use.key, [])
            done = [producer for producer in producers if _before(producer, node)]
            # Raw output is written once; any other URI may have been there before, and
            # only who was done when it was read can have written what was read.
            if not done and naming.raw_output(use.reference.uri) is not None:
                done = producers
            found.update({producer.id: producer for producer in done})
        found.pop(node.id, None)
        yield from found.values()

    def complete(self, node: NodeFacts) -> bool:
        """Whether all that the node read and wrote is known, and by name."""
        uses = (*self.reads[node.id], *self.writes[node.id])
        return (
            self._known_whole(self.known.inputs, node)
            and (node.id in self._wrappers or self._known_whole(self.known.outputs, node))
            and all(use.dataset is not None for use in uses)
        )

    def inputs(self) -> tuple[Reference, ...]:
        """What the workflow was given."""
        start = start_node(self.facts)
        return self._references(self.known.outputs, start) if start else ()


def _key(uri: str) -> str:
    """What two URIs of one piece of data have in common."""
    raw = naming.raw_output(uri)
    return raw.key if raw else naming.normalised(uri)


def _before(producer: NodeFacts, consumer: NodeFacts) -> bool:
    return (
        producer.ended_at is not None
        and consumer.queued_at is not None
        and producer.ended_at <= consumer.queued_at
    )
