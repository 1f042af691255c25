"""Run history: executions and attempts as dataProcessInstances; pure.

Times are those of the events, so a run that is told again overwrites itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal

import datahub.metadata.schema_classes as m

from flytelineage.entities import DatasetId, Run
from flytelineage.targets.datahub.proposals import Proposal, Subject, millis
from flytelineage.targets.datahub.urns import Urns

RunHistory = Literal["executions", "all", "off"]

MAX_MESSAGE = 2_000
"""Characters of an error message that are kept."""

_ACTOR = "urn:li:corpuser:flytelineage"

_RESULTS = {
    "SUCCEEDED": m.RunResultTypeClass.SUCCESS,
    "RECOVERED": m.RunResultTypeClass.SUCCESS,
    "FAILED": m.RunResultTypeClass.FAILURE,
    "TIMED_OUT": m.RunResultTypeClass.FAILURE,
    "ABORTED": m.RunResultTypeClass.SKIPPED,
    "SKIPPED": m.RunResultTypeClass.SKIPPED,
    "RETRYABLE_FAILED": m.RunResultTypeClass.UP_FOR_RETRY,
}


def kept(runs: Iterable[Run], history: RunHistory) -> list[Run]:
    """The runs that are told."""
    if history == "off":
        return []
    return [run for run in runs if history == "all" or run.node is None]


def run_history(runs: Iterable[Run], urns: Urns, now: datetime) -> Iterator[Proposal]:
    """What is known of these runs of one execution."""
    runs = list(runs)
    attempts: dict[str | None, int] = {}
    for run in runs:
        attempts[run.node] = max(attempts.get(run.node, 0), run.attempt or 0)
    for run in runs:
        retried = (run.attempt or 0) < attempts[run.node]
        yield from _run(run, urns, Subject.of(run, urns.run(run.id), now), retried=retried)


def _run(run: Run, urns: Urns, about: Subject, *, retried: bool) -> Iterator[Proposal]:
    yield about.upsert(_properties(run, about.at))
    yield about.upsert(_relationships(run, urns))
    subtype = "Workflow Execution" if run.node is None else "Task Execution"
    yield about.upsert(m.SubTypesClass(typeNames=[subtype]))
    yield about.upsert(_platform(run, urns))
    if run.inputs:
        yield about.upsert(m.DataProcessInstanceInputClass(inputs=_datasets(run.inputs, urns)))
    if run.outputs:
        yield about.upsert(m.DataProcessInstanceOutputClass(outputs=_datasets(run.outputs, urns)))
    yield from _events(run, about, retried=retried)


def _events(run: Run, about: Subject, *, retried: bool) -> Iterator[Proposal]:
    """Started and ended; each with an id, since both may be in the same millisecond."""
    attempt = None if run.attempt is None else run.attempt + 1
    if run.started_at:
        yield about.upsert(
            m.DataProcessInstanceRunEventClass(
                timestampMillis=millis(run.started_at),
                status=m.DataProcessRunStatusClass.STARTED,
                messageId="STARTED",
                attempt=attempt,
            )
        )
    if run.phase in _RESULTS:
        ended = run.ended_at or run.started_at or about.at
        yield about.upsert(
            m.DataProcessInstanceRunEventClass(
                timestampMillis=millis(ended),
                status=m.DataProcessRunStatusClass.COMPLETE,
                messageId="COMPLETE",
                attempt=attempt,
                result=_result(run, retried=retried),
                durationMillis=_duration(run),
            )
        )


def _result(run: Run, *, retried: bool) -> m.DataProcessInstanceRunResultClass:
    type_ = _RESULTS[run.phase]
    if retried and type_ == m.RunResultTypeClass.FAILURE:
        type_ = m.RunResultTypeClass.UP_FOR_RETRY
    return m.DataProcessInstanceRunResultClass(type=type_, nativeResultType=run.phase)


def _duration(run: Run) -> int | None:
    if run.started_at is None or run.ended_at is None:
        return None
    return max(0, millis(run.ended_at) - millis(run.started_at))


def _properties(run: Run, at: datetime) -> m.DataProcessInstancePropertiesClass:
    created = run.started_at or run.ended_at or at
    link = next((each for each in run.links if "console" in each.name.lower()), None)
    link = link or next(iter(run.links), None)
    return m.DataProcessInstancePropertiesClass(
        name=_name(run),
        created=m.AuditStampClass(time=millis(created), actor=_ACTOR),
        externalUrl=link.url if link else None,
        customProperties=_custom(run),
    )


def _name(run: Run) -> str:
    if run.node is None:
        return run.execution.name
    return f"{run.execution.name} {run.node}" + (f" #{run.attempt + 1}" if run.attempt else "")


def _custom(run: Run) -> dict[str, str]:
    known: dict[str, str] = {**(run.custom or {}), "phase": run.phase}
    if run.attempt is not None:
        known["retry_attempt"] = str(run.attempt)
    if run.cache_status:
        known["cache_status"] = run.cache_status
    if run.error:
        known["error_kind"] = run.error.kind
        known["error_code"] = run.error.code
        known["error_message"] = run.error.message[:MAX_MESSAGE]
    known.update({f"link.{link.name}": link.url for link in run.links})
    return {name: known[name] for name in sorted(known) if known[name]}


def _relationships(run: Run, urns: Urns) -> m.DataProcessInstanceRelationshipsClass:
    template = None
    if run.task:
        template = urns.job(run.task)
    elif run.pipeline:
        template = urns.flow(run.pipeline)
    return m.DataProcessInstanceRelationshipsClass(
        parentTemplate=template,
        parentInstance=urns.run(run.parent) if run.parent else None,
        upstreamInstances=[urns.run(upstream) for upstream in run.upstream],
    )


def _platform(run: Run, urns: Urns) -> m.DataPlatformInstanceClass:
    """Always told: the URN of a run does not show its platform."""
    return m.DataPlatformInstanceClass(
        platform=urns.platform_of(run.execution),
        instance=urns.instance_of(run.execution) or None,
    )


def _datasets(ids: Iterable[DatasetId], urns: Urns) -> list[str]:
    return [urns.dataset(id) for id in ids]
