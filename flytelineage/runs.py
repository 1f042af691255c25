"""The runs of an execution: one for the whole, one for each attempt at a task; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property

from flytelineage import naming
from flytelineage.console import NO_CONSOLE, Console
from flytelineage.entities import DatasetId, Run, RunId
from flytelineage.facts import AttemptFacts, Facts, NodeFacts
from flytelineage.flow import DataFlow, Use
from flytelineage.literals import Reference

EAGER_LABEL = "eager-exec"
"""Holds the name of the execution whose eager task launched this one.

Source: flytekit core/constants.py, EAGER_TAG_KEY."""


class Runs:
    """The runs of one execution; each property is computed once.

    Args:
        flow: What the tasks read, wrote and waited for.
        phase: The execution's; only a successful one says what its runs read and wrote.
        console: Where people look at them.
    """

    def __init__(self, flow: DataFlow, phase: str, console: Console = NO_CONSOLE) -> None:
        self.flow = flow
        self.phase = phase
        self.pages = console.execution(flow.facts.execution)
        self.succeeded = phase == "SUCCEEDED"

    def inputs(self) -> tuple[DatasetId, ...]:
        """What the workflow was given."""
        return self._named(self.flow.inputs())

    def outputs(self) -> tuple[DatasetId, ...]:
        """What the workflow returned."""
        return self._named(self.flow.known.workflow_outputs.references)

    def _named(self, references: Iterable[Reference]) -> tuple[DatasetId, ...]:
        ids = {self.flow.name(reference.uri) for reference in references}
        return tuple(sorted((id for id in ids if id is not None), key=str))

    def of_execution(self) -> Run:
        """The run of the execution as a whole."""
        facts = self.flow.facts
        custom = {**_custom(facts), **{f"label.{key}": text for key, text in facts.labels.items()}}
        return Run.model_validate(
            {
                "as_of": facts.started_at,
                "execution": facts.execution,
                "pipeline": self.flow.pipeline,
                "parent": _launched_by(facts),
                "phase": self.phase,
                "scheduled_at": facts.answer.scheduled_at if facts.answer else None,
                "started_at": facts.started_at,
                "ended_at": facts.ended_at or self._last_end(),
                "error": facts.error,
                "links": self.pages,
                "inputs": self.inputs() if self.succeeded else (),
                "outputs": self.outputs() if self.succeeded else (),
                "custom": {name: value for name, value in custom.items() if value} or None,
            }
        )

    def _last_end(self) -> datetime | None:
        if self.phase == "RUNNING":
            return None
        return max((n.ended_at for n in self.flow.facts.nodes.values() if n.ended_at), default=None)

    def of_tasks(self) -> Iterator[Run]:
        """A run for each attempt; a node without task events had one all the same."""
        for node in self.flow.nodes:
            *earlier, final = _attempts(node)
            for attempt in earlier:
                yield self._run(node, attempt)
            yield self._final_run(node, final)

    @cached_property
    def ids(self) -> dict[str, RunId]:
        """The runs of the last attempts, by node id."""
        return {
            node.id: RunId(
                execution=self.flow.facts.execution,
                node=node.id,
                attempt=_attempts(node)[-1].number,
            )
            for node in self.flow.nodes
        }

    @cached_property
    def _texts(self) -> dict[str, str]:
        """By what they are sorted; one run can be upstream of thousands."""
        return {node_id: str(run) for node_id, run in self.ids.items()}

    def _run(self, node: NodeFacts, attempt: AttemptFacts) -> Run:
        return Run.model_validate(
            {
                "as_of": attempt.started_at or node.queued_at,
                "execution": self.flow.facts.execution,
                "node": node.id,
                "attempt": attempt.number,
                "task": self.flow.task_id(node),
                "parent": RunId(execution=self.flow.facts.execution),
                "phase": attempt.phase,
                "started_at": attempt.started_at,
                "ended_at": attempt.ended_at,
                "error": attempt.error,
                "links": (*attempt.links, *self.pages),
            }
        )

    def _final_run(self, node: NodeFacts, attempt: AttemptFacts) -> Run:
        """The attempt that decided: what its node says goes before task events."""
        run = self._run(node, attempt)
        upstream = sorted(self.flow.upstream.get(node.id, ()), key=self._texts.__getitem__)
        started = run.started_at or node.started_at or node.queued_at
        return run.model_copy(
            update={
                "phase": node.phase if node.terminal else run.phase,
                "started_at": started,
                "as_of": run.as_of or started,
                "ended_at": run.ended_at or node.ended_at,
                "error": run.error or node.error,
                "cache_status": node.cache_status or None,
                "custom": _origin(node) if self.flow.fetched(node) else None,
                "upstream": tuple(self.ids[id] for id in upstream) if self.succeeded else (),
                "inputs": _ids(self.flow.reads.get(node.id, ())) if self.succeeded else (),
                "outputs": _ids(self.flow.writes.get(node.id, ())) if self.succeeded else (),
            }
        )


def _custom(facts: Facts) -> dict[str, str]:
    """What is known of why and as what an execution ran."""
    plan, workflow, answer = facts.launch_plan, facts.workflow, facts.answer
    scheduled = answer.scheduled_at if answer else None
    return {
        "principal": facts.principal,
        "launch_plan": plan.name if plan else "",
        "launch_plan_version": plan.version if plan else "",
        "workflow_version": workflow.version if workflow else "",
        "mode": answer.mode if answer else "",
        "scheduled_at": scheduled.isoformat() if scheduled else "",
        "reference_execution": str(answer.reference) if answer and answer.reference else "",
    }


def _origin(node: NodeFacts) -> dict[str, str] | None:
    """Where the outputs of a node are from that did not run itself."""
    if node.origin is None:
        return None
    execution, name = node.origin
    return {"cached_from": f"{execution}/{name}"}


def _launched_by(facts: Facts) -> RunId | None:
    """The execution that launched this one: by a launch-plan node, or an eager task."""
    if facts.answer is not None and facts.answer.parent is not None:
        return RunId(execution=facts.answer.parent.execution)
    if name := facts.labels.get(EAGER_LABEL):
        return RunId(execution=facts.execution.model_copy(update={"name": name}))
    return None


def _attempts(node: NodeFacts) -> tuple[AttemptFacts, ...]:
    """The attempts at a task node, at least one; the last is the one that decided.

    FlyteAdmin never publishes the first event of an attempt, so one that ended with it was
    not seen: a node that succeeded had another attempt after one that failed.
    """
    task, last = naming.task_of(node), node.attempts[-1] if node.attempts else None
    if last is not None and not (node.succeeded and last.phase in ("FAILED", "ABORTED")):
        return node.attempts
    if task is None:
        raise ValueError(f"Node {node.id} runs no task")
    number, began = (last.number + 1, last.ended_at) if last else (0, None)
    return (*node.attempts, AttemptFacts(number=number, task=task, started_at=began))


def _ids(uses: Iterable[Use]) -> tuple[DatasetId, ...]:
    return tuple(sorted({use.dataset for use in uses if use.dataset is not None}, key=str))
