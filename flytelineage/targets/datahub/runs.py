"""Run history: executions and attempts as dataProcessInstances; pure.

Times are those of the events, so a run that is told again overwrites itself. DataHub never
forgets a run by itself: `RunHistory` says how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import datahub.metadata.schema_classes as m

from flytelineage.entities import DatasetId, ExecutionId, PipelineId, Run
from flytelineage.targets.datahub.proposals import Proposal, Subject, millis
from flytelineage.targets.datahub.urns import Urns
from flytelineage.targets.error_text import ErrorText, told

RunHistory = Literal["executions", "all", "last_only", "off"]

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

# How an execution was launched. One that another execution launched, or the system, is
# neither: who launched the first of them is not known here.
# Source: flyteidl admin/execution.proto, ExecutionMetadata.ExecutionMode.
_TYPES = {
    "SCHEDULED": m.DataProcessTypeClass.BATCH_SCHEDULED,
    "MANUAL": m.DataProcessTypeClass.BATCH_AD_HOC,
    "RELAUNCH": m.DataProcessTypeClass.BATCH_AD_HOC,
    "RECOVERED": m.DataProcessTypeClass.BATCH_AD_HOC,
}


@dataclass(frozen=True)
class History:
    """Says which runs are told, and what of them.

    Attributes:
        urns: How entities are named.
        keep: Runs of `executions`; `all`, also each attempt of each task; `last_only`, one
            entity for each pipeline that is always its newest run; or none.
        error_text: How much is told of errors.
    """

    urns: Urns
    keep: RunHistory = "executions"
    error_text: ErrorText = "first_line"

    def kept(self, runs: Iterable[Run]) -> list[Run]:
        """The runs that are told."""
        if self.keep == "off":
            return []
        if self.keep == "all":
            return list(runs)
        whole = [run for run in runs if run.node is None]
        return [run for run in whole if run.pipeline] if self.keep == "last_only" else whole

    def proposals(self, runs: Iterable[Run], now: datetime) -> Iterator[Proposal]:
        """What is known of these runs, which `kept` gave."""
        runs = list(runs)
        if self.keep == "last_only":
            yield from self._last_runs(runs, now)
            return
        types, last_attempts = _process_types(runs), _last_attempts(runs)
        for run in runs:
            about = Subject.of(run, self.urns.run(run.id), now)
            yield about.upsert(self._properties(run, about.at, types[run.execution]))
            yield about.upsert(self._relationships(run))
            yield from self._identity(run, about)
            yield from self._io(run, about)
            retried = (run.attempt or 0) < last_attempts[run.execution, run.node]
            yield from _events(run, about, retried=retried)

    def _last_runs(self, runs: list[Run], now: datetime) -> Iterator[Proposal]:
        """Each pipeline's newest run, and when each of its runs began and ended."""
        newest: dict[PipelineId, Run] = {}
        for run in sorted(runs, key=lambda run: _age(run, now)):
            if run.pipeline:
                newest[run.pipeline] = run
        for pipeline, run in newest.items():
            about = Subject.of(run, self.urns.last_run(pipeline), now)
            yield about.upsert(self._properties(run, about.at, _process_type(run)))
            # Other runs are no entities here, so none can be named as parent.
            yield about.upsert(_instance_of(self.urns.flow(pipeline)))
            # Garbage collection may have removed it since the run before.
            yield about.upsert(m.StatusClass(removed=False))
            yield from self._identity(run, about)
            # Told even if empty: those of the run before would stay.
            yield about.upsert(self._input(run, about.at))
            yield about.upsert(self._output(run, about.at))
        for run in runs:
            if run.pipeline:
                about = Subject.of(run, self.urns.last_run(run.pipeline), now)
                yield from _events(run, about, retried=False, prefix=f"{run.execution} ")

    def _identity(self, run: Run, about: Subject) -> Iterator[Proposal]:
        """The kind, and the platform, which the URN of a run does not show."""
        kind = "Workflow Execution" if run.node is None else "Task Execution"
        yield about.upsert(m.SubTypesClass(typeNames=[kind]))
        yield about.upsert(
            m.DataPlatformInstanceClass(
                platform=self.urns.platform_of(run.execution),
                instance=self.urns.instance_of(run.execution) or None,
            )
        )

    def _properties(
        self, run: Run, at: datetime, process_type: str | None
    ) -> m.DataProcessInstancePropertiesClass:
        return m.DataProcessInstancePropertiesClass(
            name=_name(run),
            type=process_type,
            created=_stamp(run.started_at or run.ended_at or at),
            externalUrl=_url(run),
            customProperties=self._custom(run),
        )

    def _custom(self, run: Run) -> dict[str, str]:
        """What DataHub has no fields for; named as its Fabric source names it, if it does."""
        known: dict[str, str] = {
            **(run.custom or {}),
            **{f"link.{link.name}": link.url for link in run.links},
            "phase": run.phase,
            "execution": str(run.execution),
            "node": run.node or "",
            "cache_status": run.cache_status or "",
        }
        if run.attempt is not None:
            known["retry_attempt"] = str(run.attempt)
        if (duration := _duration(run)) is not None:
            known["duration_in_ms"] = str(duration)
        if error := told(run.error, self.error_text):
            known["error_kind"] = error.kind
            known["error_code"] = error.code
            known["error_message"] = error.message
        return {name: known[name] for name in sorted(known) if known[name]}

    def _relationships(self, run: Run) -> m.DataProcessInstanceRelationshipsClass:
        template = None
        if run.task:
            template = self.urns.job(run.task)
        elif run.pipeline:
            template = self.urns.flow(run.pipeline)
        return _instance_of(
            template,
            parent=self.urns.run(run.parent) if run.parent else None,
            upstream=[self.urns.run(upstream) for upstream in run.upstream],
        )

    def _io(self, run: Run, about: Subject) -> Iterator[Proposal]:
        if run.inputs:
            yield about.upsert(self._input(run, about.at))
        if run.outputs:
            yield about.upsert(self._output(run, about.at))

    # The lists are what the page of a dataset finds its runs by; the edges are lineage.

    def _input(self, run: Run, at: datetime) -> m.DataProcessInstanceInputClass:
        urns = self._datasets(run.inputs)
        return m.DataProcessInstanceInputClass(inputs=urns, inputEdges=_edges(urns, run, at))

    def _output(self, run: Run, at: datetime) -> m.DataProcessInstanceOutputClass:
        urns = self._datasets(run.outputs)
        return m.DataProcessInstanceOutputClass(outputs=urns, outputEdges=_edges(urns, run, at))

    def _datasets(self, ids: Iterable[DatasetId]) -> list[str]:
        return [self.urns.dataset(id) for id in ids]


def _events(run: Run, about: Subject, *, retried: bool, prefix: str = "") -> Iterator[Proposal]:
    """Started and ended.

    Both may be in one millisecond, and DataHub takes events of one time and one message id
    for the same: so each has an id, and the end is later, since the latest is the state.

    Args:
        run: The run.
        about: The entity that stands for it.
        retried: A later attempt followed.
        prefix: Tells runs apart that are one entity.
    """
    attempt = None if run.attempt is None else run.attempt + 1
    if run.started_at:
        yield about.upsert(
            m.DataProcessInstanceRunEventClass(
                timestampMillis=millis(run.started_at),
                status=m.DataProcessRunStatusClass.STARTED,
                messageId=f"{prefix}STARTED",
                attempt=attempt,
            )
        )
    if run.phase in _RESULTS:
        ended = millis(run.ended_at or run.started_at or about.at)
        if run.started_at:
            ended = max(ended, millis(run.started_at) + 1)
        yield about.upsert(
            m.DataProcessInstanceRunEventClass(
                timestampMillis=ended,
                status=m.DataProcessRunStatusClass.COMPLETE,
                messageId=f"{prefix}COMPLETE",
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


def _last_attempts(runs: Iterable[Run]) -> dict[tuple[ExecutionId, str | None], int]:
    """The number of the last attempt at each node."""
    last: dict[tuple[ExecutionId, str | None], int] = {}
    for run in runs:
        node = (run.execution, run.node)
        last[node] = max(last.get(node, 0), run.attempt or 0)
    return last


def _process_types(runs: Iterable[Run]) -> Mapping[ExecutionId, str | None]:
    """How each execution was launched: its attempts do not know it themselves."""
    types: dict[ExecutionId, str | None] = {}
    for run in runs:
        types[run.execution] = types.get(run.execution) or _process_type(run)
    return types


def _process_type(run: Run) -> str | None:
    """Batch by schedule or ad hoc; `None` where nobody said.

    The mode goes first: a relaunch keeps the time that the first execution was meant for.
    """
    if mode := (run.custom or {}).get("mode"):
        return _TYPES.get(mode)
    return m.DataProcessTypeClass.BATCH_SCHEDULED if run.scheduled_at else None


def _age(run: Run, now: datetime) -> tuple[datetime, str]:
    return (run.started_at or run.as_of or now, str(run.id))


def _duration(run: Run) -> int | None:
    if run.started_at is None or run.ended_at is None:
        return None
    return max(0, millis(run.ended_at) - millis(run.started_at))


def _url(run: Run) -> str | None:
    """The page about the run: the console's, else the first of its logs."""
    console = (link.url for link in run.links if "console" in link.name.lower())
    return next(console, run.links[0].url if run.links else None)


def _name(run: Run) -> str:
    if run.node is None:
        return run.execution.name
    return f"{run.execution.name} {run.node}" + (f" #{run.attempt + 1}" if run.attempt else "")


def _instance_of(
    template: str | None, *, parent: str | None = None, upstream: Iterable[str] = ()
) -> m.DataProcessInstanceRelationshipsClass:
    return m.DataProcessInstanceRelationshipsClass(
        parentTemplate=template, parentInstance=parent, upstreamInstances=list(upstream)
    )


def _edges(urns: Iterable[str], run: Run, at: datetime) -> list[m.EdgeClass]:
    # With their time: DataHub shows lineage of a window of time, so that old runs fade out.
    stamp = _stamp(run.started_at or at)
    return [m.EdgeClass(destinationUrn=urn, created=stamp, lastModified=stamp) for urn in urns]


def _stamp(at: datetime) -> m.AuditStampClass:
    return m.AuditStampClass(time=millis(at), actor=_ACTOR)
