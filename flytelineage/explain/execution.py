"""Why an execution has its name and its edges, step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from flytelineage import consult, naming
from flytelineage.entities import TaskId
from flytelineage.errors import ConfigError
from flytelineage.explain.case import Case
from flytelineage.explain.datasets import described
from flytelineage.explain.page import (
    NOT_KNOWN,
    Line,
    Section,
    labelled,
    moment,
    number,
    put_off,
    rendered,
    some,
)
from flytelineage.explain.task import explain_task, matching
from flytelineage.facts import Facts, Identifier
from flytelineage.flow import DataFlow, Read
from flytelineage.lineage import pipeline_key
from flytelineage.literals import Reference
from flytelineage.store import Told
from flytelineage.structure import missing_events, outcome

_OPEN = {
    "end": "whether it has ended after all",
    "identity": "which workflow ran",
    "nodes": "the nodes of which events are missing",
    "workflow": "the compiled workflow",
    "launch_plan": "the launch plan",
    "closure": "what a dynamic node made",
    "origin": "an execution whose outputs it took over",
}
"""Questions to FlyteAdmin, in words."""

_MOST_OF_AN_ERROR = 200


def explain_execution(case: Case, *, task: str = "") -> list[str]:
    """All that decided what is told of an execution, line by line.

    Args:
        case: The execution.
        task: Only the tasks of this name; empty for everything.

    Raises:
        ConfigError: The execution has no such task.
    """
    title = Section(f"Execution {case.facts.execution}")
    if task:
        return list(rendered([title, *_tasks(case, _chosen(case, task))]))
    sections = [
        title,
        Section("Outcome", _outcome(case)),
        Section("Pipeline", _pipeline(case)),
        Section("FlyteAdmin", _admin(case)),
        Section("What is missing", list(_missing(case)) or [Line(NOT_KNOWN)]),
        *_around(case),
        *_tasks(case, list(case.flow.nodes_by_task) if case.flow else []),
        Section("What it waits for", list(_waiting(case)) or [Line("nothing")]),
        Section("Deliveries", list(_deliveries(case)) or [Line("none: no target was to be told")]),
    ]
    return list(rendered(sections))


# ---------------------------------------------------------------------- outcome


def _outcome(case: Case) -> Iterator[Line]:
    facts = case.facts
    yield Line(_ended(facts), label="phase")
    if facts.error:
        message = facts.error.message.strip().partition("\n")[0][:_MOST_OF_AN_ERROR]
        yield Line(f"{facts.error.kind} {facts.error.code}: {message}", label="error")
    until = f"to {moment(facts.ended_at)}" if facts.ended_at else "on"
    yield Line(f"from {moment(facts.started_at)} {until}", label="time")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(case.events.items()))
    total = number(sum(case.events.values()), "event")
    yield Line(f"{total}: {kinds}", label="rests on")
    if children := [node for node in facts.nodes.values() if node.child]:
        blocks = ([Line(f"{node.child} at {node.id}")] for node in children)
        yield from labelled("launched", some(blocks, case.limit))
    yield from labelled("told", _told(case))
    yield Line(_built(case), label="built")


def _ended(facts: Facts) -> str:
    """How it ended, and which events say so."""
    phase = outcome(facts)
    if facts.ended_at is not None:
        return f"{phase}: its terminal event says so"
    if phase == "RUNNING":
        return (
            f"RUNNING: no event says that it ended; the last one of the workflow is {facts.phase}"
        )
    if facts.phase == "SUCCEEDING":
        return f"{phase}: its terminal event is missing, but SUCCEEDING says as much"
    return f"{phase}: its terminal event is missing, but its end-node succeeded"


def _told(case: Case) -> Iterator[Line]:
    lineage = case.build.lineage
    if case.collected.pipeline is None:
        yield Line("nothing, since nothing names its pipeline")
    elif not lineage.pipelines:
        yield Line(
            "nothing yet: the name of its pipeline is a guess, and it takes an execution that "
            "succeeded to make a guessed pipeline known"
        )
    elif lineage.phase == "RUNNING":
        yield Line("its run alone, since it has not ended")
    elif lineage.succeeded:
        yield Line("pipeline, tasks and their edges, datasets, runs")
    else:
        yield Line("pipeline, tasks and runs; edges and datasets only where executions succeed")
    if not case.told:
        yield Line("but to no target: FlyteLineage.include and exclude leave it out")


def _built(case: Case) -> str:
    standing = case.standing
    due = f" at {moment(standing.due_at)}" if standing.due_at else ""
    waits = f"; {put_off(standing.waits_for)}" if standing.waits_for and due else ""
    if standing.built_at is None:
        tries = f", begun {number(standing.attempts, 'time')}" if standing.attempts else ""
        return f"not yet{tries}; to be built{due}{waits}" if due else f"not yet{tries}"
    if standing.current:
        again = f", and will be again{due}" if due else ""
        return f"on {moment(standing.built_at)}, from all of its events{again}"
    return f"on {moment(standing.built_at)}; events came since, to be built again{due}{waits}"


# --------------------------------------------------------------------- pipeline


def _pipeline(case: Case) -> Iterator[Line]:
    pipeline, source = case.collected.pipeline, case.collected.name_source
    if pipeline is None:
        yield Line(
            "none: no task, no launch plan and no answer of FlyteAdmin names it", label="name"
        )
        return
    yield Line(str(pipeline), label="name", whole=True)
    yield from labelled("named by", _source(case, source or ""))
    if case.standing.pipeline is not None:
        yield Line("when it was first built; it keeps that name", label="pinned")
        found = naming.pipeline_name(case.facts)
        if found is not None and found[0] != pipeline.name:
            yield Line(f"today it would be {found[0]} ({found[1]})")
    known = "yes, by an execution that succeeded" if case.collected.pipeline_known else "not yet"
    yield Line(known, label="known")


def _source(case: Case, source: str) -> Iterator[Line]:
    facts = case.facts
    if source == "admin":
        yield Line("FlyteAdmin" + (f": {_called(facts.workflow)}" if facts.workflow else ""))
    elif source == "launch plan":
        plan = f": {_called(facts.launch_plan)}" if facts.launch_plan else ""
        yield Line(
            f"the launch plan{plan}, which has the workflow's name unless somebody chose one"
        )
    else:
        yield from _guess(case)


def _guess(case: Case) -> Iterator[Line]:
    found = naming.guess(case.facts.nodes.values())
    if found is None:
        yield Line("a guess")
        return
    yield Line(f"a guess: the module that most of the {found.counted} share")
    blocks = ([Line(f"{count} x {module}", depth=1)] for module, count in found.modules)
    yield from some(blocks, case.limit)


def _called(identifier: Identifier) -> str:
    return f"{identifier.name}, version {identifier.version or 'not known'}"


# ------------------------------------------------------------------- FlyteAdmin


def _admin(case: Case) -> Iterator[Line]:
    answer = case.facts.answer
    if answer is not None:
        named = _called(answer.workflow) if answer.workflow else "a workflow that it does not name"
        mode = f", started as {answer.mode}" if answer.mode else ""
        yield Line(f"it ran {named}{mode}", label="said")
        if answer.parent is not None:
            yield Line(f"it was launched by {answer.parent.node} of {answer.parent.execution}")
    yield Line(_graph(case), label="graph")
    open_ends = list(_questions(case))
    if open_ends:
        yield from labelled("open", some(([line] for line in open_ends), case.limit))
    configured = f"{case.admin} may be asked" if case.admin else "FlyteAdmin.endpoint is not set"
    yield Line(configured, label="endpoint")


def _graph(case: Case) -> str:
    """Where definition edges come from."""
    known = [id for id in case.structure.closures if id not in case.structure.abandoned]
    dynamic = f"what {', '.join(known[:5])} made" if known else ""
    if len(known) > len(known[:5]):
        dynamic += f" and {len(known) - 5} more"
    if case.collected.definition is not None:
        compiled = f"the compiled workflow {_called(case.collected.definition.id)}"
        return f"{compiled}; {dynamic}" if dynamic else compiled
    if dynamic:
        return f"not of the workflow; {dynamic} is known"
    rest = "data and the order of events" if case.rules.infer_order else "data alone"
    return f"not known: edges rest on {rest}"


def _questions(case: Case) -> Iterator[Line]:
    """What it would be asked, and whether it was."""
    lost = bool(missing_events(case.facts))
    for question in consult.questions(case.facts, lost=lost):
        if _settled(case, question):
            continue
        what = _OPEN[question.subject]
        if question.subject == "origin":
            what = f"{question.execution}, whose outputs it took over"
        elif question.node:
            what = f"what {question.node} made"
        at = case.asked.get(question.key)
        silent = "no answer yet" if case.admin else "was not asked"
        yield Line(f"{what}: " + (f"asked on {moment(at)}" if at else silent))


def _settled(case: Case, question: consult.Question) -> bool:
    """Whether what is known already answers it."""
    seen = question.subject == "origin" and question.execution in case.collected.seen
    return seen or question.key in case.kept


# ---------------------------------------------------------------- what is missing


def _missing(case: Case) -> Iterator[Line]:
    if lost := list(case.structure.missing()):
        yield from labelled("events", some(([Line(text)] for text in lost), case.limit))
        yield Line("marked partial: edges whose producer is unknown are left out")
    if abandoned := list(_abandoned(case)):
        yield from labelled("abandoned", some(([line] for line in abandoned), case.limit))
    if unplaced := list(_unplaced(case)):
        yield from labelled("places", some(([line] for line in unplaced), case.limit))
    if unknown := case.build.lineage.incomplete:
        yield from labelled("unknown", some(([Line(text)] for text in unknown), case.limit))


def _abandoned(case: Case) -> Iterator[Line]:
    """Attempts that were not the last, with what they had made."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for id in sorted(case.structure.abandoned, key=naming.natural):
        node = case.facts.nodes[id]
        found[node.parent, node.retry_group or "0"] += 1
    for (parent, attempt), count in found.items():
        below = "below it" if parent in case.structure.abandoned else "of it"
        yield Line(
            f"attempt {attempt} at {parent} was not the last: {number(count, 'node')} {below} "
            "give no lineage"
        )


def _unplaced(case: Case) -> Iterator[Line]:
    """Nodes that are told as no task, since it is not known as which."""
    told = {node.id for node in case.flow.nodes} if case.flow else set()
    for node in case.structure.task_nodes if case.flow else ():
        task = naming.task_of(node)
        if task is not None and node.id not in told:
            yield Line(f"{node.id} ran {task.name}, but no event says where it stands: not told")


# ------------------------------------------------------------------------ tasks


def _around(case: Case) -> Iterator[Section]:
    """What the workflow as a whole was given and gave."""
    flow = case.flow
    if flow is None or not case.build.lineage.succeeded:
        return
    start, returned = case.structure.start, case.collected.workflow_outputs
    given = case.collected.outputs.get(start.id, Read()) if start else Read()
    yield Section(
        "Workflow",
        [
            *labelled("given", _all(case, flow, flow.inputs()), _none(given)),
            *labelled("returned", _all(case, flow, returned.references), _none(returned)),
        ],
    )


def _none(read: Read) -> str:
    """What is said where there is no data: only what was read can be without any."""
    return NOT_KNOWN if read.problems else "nothing"


def _all(case: Case, flow: DataFlow, references: Sequence[Reference]) -> Iterator[Line]:
    return some((described(case, flow, reference) for reference in references), case.limit)


def _tasks(case: Case, chosen: list[TaskId]) -> Iterator[Section]:
    flow = case.flow
    if flow is None or not chosen:
        yield Section("Tasks", [Line("none that a pipeline could be told to have")])
        return
    shown = chosen[: case.limit] if case.limit else chosen
    for number_, id in enumerate(shown, start=1):
        title = f"Task {number_} of {len(chosen)}: {id.local}"
        yield Section(title, explain_task(case, flow, id, flow.nodes_by_task[id]))
    if len(shown) < len(chosen):
        left = number(len(chosen) - len(shown), "more task")
        yield Section(f"And {left}: --task=NAME shows one, --limit=0 all")


def _chosen(case: Case, wanted: str) -> list[TaskId]:
    found = matching(case.flow, wanted) if case.flow else []
    if not found:
        known = sorted({id.name for id in case.flow.nodes_by_task}) if case.flow else []
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        names = ", ".join(known[:10]) or "none"
        raise ConfigError(f"{case.facts.execution} has no task {wanted!r}. Tasks: {names}{more}")
    return found


# ------------------------------------------------------- what is still to happen


def _waiting(case: Case) -> Iterator[Line]:
    blocks = (_awaited(case, key) for key in sorted(case.build.waiting))
    return some(blocks, case.limit)


def _awaited(case: Case, key: str) -> Iterator[Line]:
    yield Line(key, whole=True)
    pipeline, flow = case.collected.pipeline, case.flow
    if pipeline is not None and key == pipeline_key(pipeline):
        yield Line("an execution of that pipeline that succeeds", depth=1)
        return
    raw = naming.raw_output(key)
    if raw is not None and raw.owner:
        ours = flow is not None and key in flow.orphans
        whose = "a task of this execution" if ours else f"whoever {raw.owner} is"
        yield Line(f"to be registered by {whose}, as its path says", depth=1)
    yield from some(([line] for line in _users(case, key)), case.limit)


def _users(case: Case, key: str) -> Iterator[Line]:
    """Which variables hold what is waited for."""
    for id, uses in case.flow.reads.items() if case.flow else ():
        for use in uses:
            if use.key == key:
                yield Line(f"it is {use.reference.variable} of {id}", depth=1)


def _deliveries(case: Case) -> Iterator[Line]:
    for told in case.standing.deliveries:
        yield from labelled(told.target, _delivery(told))


def _delivery(told: Told) -> Iterator[Line]:
    if told.state == "delivered":
        yield Line(f"delivered on {moment(told.settled_at)}")
    elif told.state == "held":
        yield Line("held: `flytelineage retry --held` tells it")
    elif told.state == "given_up":
        yield Line(f"given up on {moment(told.settled_at)}: `flytelineage retry` tells it again")
    else:
        tried = f", tried {number(told.attempts, 'time')}" if told.attempts else ""
        yield Line(f"due at {moment(told.due_at)}{tried}")
    if told.error:
        yield Line(told.error, depth=1)
    for rejection in told.rejections:
        yield Line(f"refused {rejection}", depth=1)
