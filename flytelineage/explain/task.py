"""Why a task has its name and its edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flytelineage import naming
from flytelineage.definitions import START
from flytelineage.entities import Evidence, TaskId
from flytelineage.explain.case import Case
from flytelineage.explain.datasets import described
from flytelineage.explain.page import NOT_KNOWN, Line, labelled, moment, some
from flytelineage.facts import NodeFacts
from flytelineage.flow import DataFlow, Read, Use, Why

_WRITTEN = {
    Why.NEW: "its outputs hold it and its inputs do not",
    Why.PATH: "its outputs hold it and the path names the node",
    None: "none of its outputs holds it, but the path names the node, and a node that it made was "
    "given it",
}
_NOT_WRITTEN = {
    Why.GIVEN: "not written here: the task's inputs hold it too",
    Why.INNER: "not written here: a node that this one made wrote it",
    Why.UNSURE: "nobody knows whether it was written here: the task's inputs are not known, and "
    "the path does not name the node",
}


def explain_task(
    case: Case, flow: DataFlow, id: TaskId, nodes: Sequence[NodeFacts]
) -> Iterator[Line]:
    """All that is known of one task: its nodes, its place, its edges, and why."""
    task = naming.task_of(nodes[-1])
    yield Line(task.version if task and task.version else "not known", label="version")
    yield from labelled("nodes", some(([_node(case, node)] for node in nodes), case.limit))
    yield from _place(case, flow, id)
    if not case.build.lineage.tasks:  # nothing is told of any task
        return
    counted = [node for node in nodes if node.id in flow.reads]
    if not counted:
        yield Line("none: no node of it succeeded and counts", label="edges")
        return
    if not case.build.lineage.succeeded:
        # Told of no edge, but what it wrote has a name for those who read it.
        registered = _writes(case, flow, counted)
        yield from labelled("registers", registered, _none(case.collected.outputs, counted))
        return
    yield from labelled("reads", _reads(case, flow, counted), _none(case.collected.inputs, counted))
    yield from labelled(
        "writes", _writes(case, flow, counted), _none(case.collected.outputs, counted)
    )
    if passed := list(_passed_on(case, flow, counted)):
        yield from labelled("hands on", passed)
    yield from labelled("upstream", _upstream(case, flow, counted), NOT_KNOWN)
    if unknown := list(_unknown(case, flow, counted)):
        yield from labelled("unknown", some(([line] for line in unknown), case.limit))
        yield Line("there may be more edges, so what was told before is kept beside these")


def _none(reads: Mapping[str, Read], nodes: Sequence[NodeFacts]) -> str:
    """What is said where there is no data: only what was read can be without any."""
    known = all(node.id in reads and not reads[node.id].problems for node in nodes)
    return "nothing" if known else NOT_KNOWN


# ------------------------------------------------------------------- what ran


def _node(case: Case, node: NodeFacts) -> Line:
    said = [f"{node.id} {node.phase}"]
    if node.cache_status not in ("", "CACHE_DISABLED"):
        said.append(node.cache_status)
    if node.parent:
        said.append(f"inside {node.parent}")
    if node.id in case.structure.abandoned:
        said.append(f"made by attempt {node.retry_group or 0} of it, which was not the last")
    if case.structure.is_element(node):
        said.append("an element of a map task, which is told as a whole")
    said += [
        f"attempt {attempt.number} {attempt.phase}"
        + (f" ({attempt.error.code})" if attempt.error and attempt.error.code else "")
        for attempt in node.attempts
        if len(node.attempts) > 1
    ]
    return Line(", ".join(said))


def _place(case: Case, flow: DataFlow, id: TaskId) -> Iterator[Line]:
    """Why the task is told per place, or is not."""
    structure = case.structure
    here = sorted(structure.paths.get(id.name, ()), key=naming.natural)
    if not flow.is_multiple(id.name):
        where = f"it stands at {here[0]} alone" if here else "it stands once, nobody knows where"
        yield Line(f"none in its name: {where}", label="place")
        return
    yield Line(f"@{id.place}, since it stands at several nodes:", label="place")
    yield from some(([Line(path, depth=1)] for path in here), case.limit)
    defined = structure.definition.places.get(id.name, ()) if structure.definition else ()
    for path in sorted(set(defined) - set(here), key=naming.natural):
        yield Line(f"{path}, as the compiled workflow has it", depth=1)
    if id.name in case.collected.multiple:
        yield Line("the store remembers it of this or another execution", depth=1)


# ------------------------------------------------------------------------- data


def _reads(case: Case, flow: DataFlow, nodes: Sequence[NodeFacts]) -> Iterator[Line]:
    blocks = (
        described(case, flow, use.reference, node=_which(node, nodes))
        for node in nodes
        for use in flow.reads[node.id]
    )
    return some(blocks, case.limit)


def _writes(case: Case, flow: DataFlow, nodes: Sequence[NodeFacts]) -> Iterator[Line]:
    blocks = (
        _write(case, flow, node, use, why.get((use.reference, use.key)), _which(node, nodes))
        for node in nodes
        for why in [{(held.reference, held.key): held.why for held in flow.held(node)}]
        for use in flow.writes[node.id]
    )
    return some(blocks, case.limit)


def _which(node: NodeFacts, nodes: Sequence[NodeFacts]) -> str:
    return node.id if len(nodes) > 1 else ""


def _write(
    case: Case, flow: DataFlow, node: NodeFacts, use: Use, why: Why | None, which: str
) -> Iterator[Line]:
    yield from described(case, flow, use.reference, node=which)
    said = _WRITTEN[why]
    if flow.fetched(node):
        how = "the cache" if flow.cached(node) else "what is recovered"
        said = f"taken over by {node.id} from {how}: {said}; {_origin(case, node)}"
    else:
        said = f"written by {node.id}: {said}"
    yield Line(said, depth=1)


def _origin(case: Case, node: NodeFacts) -> str:
    if node.origin is None:
        return "no event says who wrote it"
    known = node.origin.execution in case.collected.seen
    then = "which the store has" if known else "of which the store has no event"
    return f"it was written by {node.origin.node} of {node.origin.execution}, {then}"


def _passed_on(case: Case, flow: DataFlow, nodes: Sequence[NodeFacts]) -> Iterator[Line]:
    """What the outputs hold although the task did not write it."""
    blocks = (
        (
            Line(f"{held.reference.variable}: {held.key}", whole=True),
            Line(_NOT_WRITTEN[held.why], depth=1),
        )
        for node in nodes
        for held in flow.held(node)
        if held.why in _NOT_WRITTEN
    )
    return some(blocks, case.limit)


def _unknown(case: Case, flow: DataFlow, nodes: Sequence[NodeFacts]) -> Iterator[Line]:
    """Why there may be more edges than these."""
    for node in nodes:
        if flow.complete(node):
            continue
        for side, reads in (("inputs", case.collected.inputs), ("outputs", case.collected.outputs)):
            read = reads.get(node.id)
            for problem in read.problems if read else ():
                yield Line(f"{side} of {node.id}: {problem}")
        for use in (*flow.reads[node.id], *flow.writes[node.id]):
            if use.dataset is None:
                yield Line(f"{use.reference.variable} of {node.id} has no name")
    if flow.too_many:
        yield Line("more tasks wrote and read the same data than can be told")


# --------------------------------------------------------------------- upstream


def _upstream(case: Case, flow: DataFlow, nodes: Sequence[NodeFacts]) -> Iterator[Line]:
    blocks = (
        _awaited(case, flow, node, before, evidence)
        for node in nodes
        for before, evidence in sorted(
            flow.upstream[node.id].items(), key=lambda item: naming.natural(item[0])
        )
    )
    return some(blocks, case.limit)


def _awaited(
    case: Case, flow: DataFlow, node: NodeFacts, before: str, evidence: frozenset[Evidence]
) -> Iterator[Line]:
    other = case.structure.nodes[before]
    task = flow.task_id(other)
    if task == flow.task_id(node):
        yield Line(f"itself at {before}, which is not told")
    else:
        yield Line(f"{task.local} at {before}")
    if Evidence.DATA in evidence:
        yield from some(([line] for line in _by_data(flow, node, other)), case.limit)
    if Evidence.DEFINITION in evidence:
        yield from some(([line] for line in _by_definition(case, node, before)), case.limit)
    if Evidence.ORDER in evidence:
        yield Line(
            f"order: it ended on {moment(other.ended_at, 'milliseconds')}, just before "
            f"{node.id} was queued on {moment(node.queued_at, 'milliseconds')}, and nothing "
            "better is known",
            depth=1,
        )


def _by_data(flow: DataFlow, node: NodeFacts, before: NodeFacts) -> Iterator[Line]:
    """The pieces of data that one wrote and the other read."""
    written = {use.key: use.reference.variable for use in flow.writes[before.id]}
    for use in flow.reads[node.id]:
        if use.key in written:
            what = f"data: its {written[use.key]} is {use.reference.variable} here"
            yield Line(f"{what}: {use.key}", depth=1, whole=True)


def _by_definition(case: Case, node: NodeFacts, before: str) -> Iterator[Line]:
    for wait in case.structure.dependencies.waits(node.id):
        if before not in wait.tasks:
            continue
        if wait.node == START:
            said = (
                f"the input {wait.input} of {node.id} is the input {wait.output} of {node.parent}"
            )
        elif wait.input:
            said = f"the input {wait.input} of {node.id} is {wait.node}.{wait.output}"
        elif wait.node:
            said = f"{node.id} comes after {wait.node}"
        else:
            said = f"what is around {node.id} waits for it"
        yield Line(f"definition: {said}", depth=1)


def matching(flow: DataFlow, wanted: str) -> list[TaskId]:
    """The tasks that somebody means by a name, a part of it behind a dot, or a node's id."""
    return [
        id
        for id, nodes in flow.nodes_by_task.items()
        if wanted in (id.name, id.local, naming.short(id.name))
        or any(wanted in (node.id, node.spec_id) for node in nodes)
    ]
