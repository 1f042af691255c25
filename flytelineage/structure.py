"""What ran in an execution, and where it stands in the compiled workflow; pure.

Node events are the authority on what ran. A compiled workflow, where one is known, adds
what they do not say: which task stands at a node, who waits for whom, and what must have
run although no event of it arrived.

The words: a *task node* ran a task. A *wrapper* hands on what the nodes inside of it
gave: start, end, sub-workflow, branch, gate, launch plan, and a dynamic node, although
it runs a task as well. The *elements* of a map task are runs of it, no tasks of their own.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from flytelineage import naming
from flytelineage.definitions import Definition, TaskDefinition, read_closure
from flytelineage.dependencies import Dependencies, Seen
from flytelineage.errors import ReadError
from flytelineage.facts import Facts, Identifier, NodeFacts

CACHE_HIT = "CACHE_HIT"


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
    """What must have happened although no event of it was seen; empty when complete.

    This is what events alone show; `Structure.missing` knows more. An end-node tells
    nothing, and its events are lost without a word: flytepropeller nodes/node_exec_context.go.
    """
    lacking = [
        f"node {node.id} has no terminal event"
        for node in facts.nodes.values()
        if not node.terminal and "end-node" not in (node.spec_id, node.id)
    ]
    starts = (node.spec_id or node.id for node in facts.nodes.values() if not node.parent)
    if "start-node" not in starts:
        lacking.append("no event of start-node")
    parents = {node.parent for node in facts.nodes.values() if node.parent}
    lacking.extend(f"no event of node {id}" for id in sorted(parents - facts.nodes.keys()))
    return lacking


class Structure:
    """The nodes of one execution; each property is computed once.

    Args:
        facts: What the events say.
        definition: The workflow's; `None` where only dynamic nodes told theirs.
    """

    def __init__(self, facts: Facts, definition: Definition | None = None) -> None:
        self.facts = facts
        self.definition = definition

    @cached_property
    def nodes(self) -> Mapping[str, NodeFacts]:
        """Every node by id, with its task, where events or definitions name one."""
        found = dict(self.facts.nodes)
        for id, node in self.facts.nodes.items():
            if naming.task_of(node) is None and (task := self._task_at(node)):
                found[id] = replace(node, task=task)
        return found

    def _task_at(self, node: NodeFacts) -> Identifier | None:
        """The task at a node that does not name it itself.

        Array nodes never do, and from the cache they come without a task event.
        """
        if node.launch_plan is not None:
            return None
        defined = self.dependencies.node(node.id)
        if defined is not None:
            return defined.task
        if node.is_array:
            inside = (naming.task_of(self.facts.nodes[id]) for id in self._inside.get(node.id, ()))
            return next((task for task in inside if task), node.catalogued)
        return node.catalogued

    @cached_property
    def _inside(self) -> Mapping[str, list[str]]:
        """Ids of the nodes inside of each node."""
        found: dict[str, list[str]] = defaultdict(list)
        for node in self.facts.nodes.values():
            found[node.parent].append(node.id)
        return dict(found)  # asking for a node without any must not make an entry

    @cached_property
    def task_nodes(self) -> tuple[NodeFacts, ...]:
        """The nodes that ran a task, in node order."""
        found = (
            node
            for node in self.nodes.values()
            if naming.task_of(node) is not None and node.launch_plan is None
        )
        return tuple(sorted(found, key=lambda node: naming.natural(node.id)))

    @cached_property
    def telling(self) -> tuple[NodeFacts, ...]:
        """The task nodes whose inputs and outputs count, in node order.

        Not the elements of a map task: what they read and wrote is told of it as a whole.
        """
        return tuple(
            node
            for node in self.task_nodes
            if node.succeeded and node.id not in self.abandoned and not self.is_element(node)
        )

    def is_element(self, node: NodeFacts) -> bool:
        """Whether the node is one of the runs of a map task."""
        parent = self.nodes.get(node.parent)
        return parent is not None and parent.is_array

    @cached_property
    def wrappers(self) -> frozenset[str]:
        """Ids of the nodes that hand on what others wrote.

        What an attempt made that was given up does not count: a last attempt that made
        no nodes ran a plain task.
        """
        parents = {node.parent for id, node in self.nodes.items() if id not in self.abandoned}
        return frozenset(
            node.id
            for node in self.nodes.values()
            if (node.id in parents or self._is_parent(node)) and not node.is_array
        )

    def _is_parent(self, node: NodeFacts) -> bool:
        made = node.closure
        given_up = made and node.attempt is not None and node.attempt != made.attempt
        return node.is_parent and not given_up

    @cached_property
    def abandoned(self) -> frozenset[str]:
        """Ids of the nodes below an attempt of their parent that was not its last.

        Each attempt makes its children anew, under ids of their own. Source: flyteidl
        event.proto, NodeExecutionEvent.retry_group.
        """
        last = {id: self._last_attempt(id) for id in self._inside if id}
        waiting = [
            node.id
            for node in self.facts.nodes.values()
            if node.parent and _group(node) != last[node.parent]
        ]
        found: set[str] = set()
        while waiting:
            id = waiting.pop()
            if id not in found:
                found.add(id)
                waiting.extend(self._inside.get(id, ()))
        return frozenset(found)

    def _last_attempt(self, parent: str) -> int:
        """The attempt that decided; inline data does not say it, so the greatest seen."""
        node = self.facts.nodes.get(parent)
        if node is not None and node.attempt is not None:
            return node.attempt
        groups = [_group(self.facts.nodes[id]) for id in self._inside[parent]]
        if node is not None:
            groups += [attempt.number for attempt in node.attempts]
        if node is not None and node.closure is not None:
            groups.append(node.closure.attempt)
        return max(groups)

    @cached_property
    def start(self) -> NodeFacts | None:
        """The node whose outputs are the workflow's inputs."""
        for node in self.nodes.values():
            if not node.parent and "start-node" in (node.spec_id, node.id):
                return node
        return None

    # ---------------------------------------------------------------------- places

    def place(self, node: NodeFacts) -> str:
        """Spec node ids from the top; inside a dynamic node or an array it ends at that.

        What runs a task and has nodes inside of it is one of these, whatever its events
        have said so far.
        """
        around = self.nodes.get(node.parent)
        if around is None:
            return node.spec_id or node.id
        path, ends = self._around(around)
        return path if ends else f"{path}/{node.spec_id or node.id}"

    def _around(self, node: NodeFacts) -> tuple[str, bool]:
        """The place of a node for those inside of it, and whether theirs ends at it."""
        known = self._places
        unknown = []
        for current in self._upwards(node):
            if current.id in known:
                break
            unknown.append(current)
        for current in reversed(unknown):
            path, ends = known.get(current.parent, ("", False))
            task = naming.task_of(current) and current.launch_plan is None
            if not ends:
                path = "/".join(filter(None, (path, current.spec_id or current.id)))
                ends = bool(task or current.is_dynamic or current.is_array)
            known[current.id] = path, ends
        return known[node.id]

    @cached_property
    def _places(self) -> dict[str, tuple[str, bool]]:
        return {}

    def is_placed(self, node: NodeFacts) -> bool:
        """Whether it is known where the node stands.

        Task events name a node and nothing around it, nor does the event of a node that
        is aborted. Flyte before event version 1 never says more.
        """
        if not self._has_spec_ids:
            return True
        top = node
        for current in self._upwards(node):
            if not current.spec_id:
                return False
            top = current
        return not top.parent

    def _upwards(self, node: NodeFacts) -> Iterator[NodeFacts]:
        """The node and what is around it, as far as that was seen."""
        seen: set[str] = set()
        current: NodeFacts | None = node
        while current is not None and current.id not in seen:
            seen.add(current.id)
            yield current
            current = self.nodes.get(current.parent)

    @cached_property
    def _has_spec_ids(self) -> bool:
        return any(node.spec_id for node in self.nodes.values())

    @cached_property
    def paths(self) -> Mapping[str, set[str]]:
        """The places of each task that ran in this execution, by its Flyte name.

        As far as they are known: what is told of places cannot be taken back.
        """
        paths: dict[str, set[str]] = defaultdict(set)
        for node in self.task_nodes:
            if (task := naming.task_of(node)) and self.is_placed(node):
                paths[task.name].add(self.place(node))
        return paths

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(task.name for node in self.task_nodes if (task := naming.task_of(node)))

    def is_identified(self, node: NodeFacts, *, multiple: bool) -> bool:
        """Whether it is known as which task the node is told.

        Args:
            node: A task node.
            multiple: Whether its task is told per place.
        """
        task = naming.task_of(node)
        alone = task is not None and self._counts[task.name] == 1 and not multiple
        return alone or self.is_placed(node)

    def is_multiple(self, name: str) -> bool:
        """Whether the task of this Flyte name stands at several nodes.

        A dynamic node may run a task that also stands in the workflow itself.
        """
        return name in self._multiple

    @cached_property
    def _multiple(self) -> frozenset[str]:
        defined = self.definition.places if self.definition else {}
        return frozenset(
            name
            for name in {*defined, *self.paths}
            if len(defined.get(name, frozenset()) | self.paths.get(name, frozenset())) > 1
        )

    # ----------------------------------------------------------------- definitions

    @cached_property
    def closures(self) -> Mapping[str, Definition]:
        """What the last attempt of each dynamic node made, where an event told it."""
        found = {}
        for node in self.facts.nodes.values():
            made = node.closure
            if made is None or (node.attempt is not None and node.attempt != made.attempt):
                continue
            try:
                found[node.id] = read_closure(made.compiled)
            except ReadError:
                continue  # the same as an event that was too large
        return found

    @cached_property
    def dependencies(self) -> Dependencies:
        """Who waits for whom, as far as definitions are known."""
        seen = (
            Seen(
                id=node.id,
                spec_id=node.spec_id or node.id,
                parent=node.parent,
                made=self.closures.get(node.id),
                runs_task=naming.task_of(node) is not None and node.launch_plan is None,
                whole=node.phase == "SUCCEEDED" and node.cache_status != CACHE_HIT,
            )
            for node in self.facts.nodes.values()
            if node.id not in self.abandoned
        )
        return Dependencies(seen, self.definition)

    @cached_property
    def knows_who_waits(self) -> bool:
        """Whether nothing is missing that would say who waits for whom.

        Where FlyteAdmin is not asked, nobody expects the workflow's own graph. Of an
        execution some of whose events were lost, dependencies may be missing too.
        """
        return not (self.unread or self.dependencies.too_many or self.partial)

    @property
    def unread(self) -> bool:
        """Whether FlyteAdmin named the workflow's version, and its graph is not known."""
        return self.facts.workflow is not None and self.definition is None

    @cached_property
    def partial(self) -> bool:
        """Whether anything happened of which no event was seen."""
        return next(self.missing(), None) is not None

    def interface(self, node: NodeFacts) -> bytes:
        """The serialised `TypedInterface` of a node's task; empty where nobody tells it."""
        if node.interface:
            return node.interface
        task = naming.task_of(node)
        template = self.template(task) if task else None
        if template is not None and template.interface:
            return template.interface
        # Where elements of a map task have events of their own, only those tell it.
        inside = self._inside.get(node.id, ()) if node.is_array else ()
        return next((told for id in inside if (told := self.nodes[id].interface)), b"")

    def template(self, task: Identifier) -> TaskDefinition | None:
        """The registered task, from the workflow's definition or a dynamic node's."""
        return self._templates.get(task)

    @cached_property
    def _templates(self) -> Mapping[Identifier, TaskDefinition]:
        """Every registered task; of one that several definitions hold, the first is kept."""
        definitions = [*self.closures.values()]
        if self.definition is not None:
            definitions.insert(0, self.definition)
        found: dict[Identifier, TaskDefinition] = {}
        for definition in reversed(definitions):
            found.update(definition.tasks)
        return found

    def missing(self) -> Iterator[str]:
        """What must have happened although no event of it was seen."""
        yield from missing_events(self.facts)
        if outcome(self.facts) == "SUCCEEDED":
            yield from self.dependencies.missing()


_NUMBER = re.compile(r"[0-9]{1,9}")


def _group(node: NodeFacts) -> int:
    return int(node.retry_group) if _NUMBER.fullmatch(node.retry_group) else 0
