"""From our entities to OpenLineage's facets; pure.

A facet replaces the one with the same key as a whole, so one that is not known is left
out. What may be long is cut, since consumers refuse large events.

Source: OpenLineage/OpenLineage, spec/facets; the classes are those of its client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from itertools import islice

import attr
from openlineage.client.facet_v2 import (
    JobFacet,
    RunFacet,
    documentation_job,
    error_message_run,
    job_dependencies_run,
    job_type_job,
    lineage,
    nominal_time_run,
    ownership_job,
    parent_run,
    processing_engine_run,
    source_code_location_job,
    sql_job,
    tags_job,
)

from flytelineage import __version__
from flytelineage.entities import (
    Dataset,
    DatasetId,
    ErrorInfo,
    Logic,
    Owner,
    Pipeline,
    PipelineId,
    Run,
    RunId,
    Task,
    TaskId,
)
from flytelineage.targets.error_text import ErrorText, told
from flytelineage.targets.openlineage.flyte_execution import PRODUCER, FlyteExecutionRunFacet
from flytelineage.targets.openlineage.graph import Edges, Part, Upstream
from flytelineage.targets.openlineage.names import Name, Names, address, run_id

MAX_DOCUMENTATION_BYTES = 16_000
MAX_SQL_BYTES = 64_000
MAX_LINKS = 20
MAX_DEPENDENCIES = 300

_DIALECTS = {"bigquery_query_job_task": "bigquery", "snowflake": "snowflake", "hive": "hive",
             "presto": "presto", "athena": "athena", "spark-sql": "spark"}  # fmt: skip
"""Of Flyte's task types, the SQL that they speak."""

JobFacets = dict[str, JobFacet]
RunFacets = dict[str, RunFacet]


@dataclass(frozen=True)
class Facets:
    """Says in facets what is known of an entity.

    Attributes:
        names: How entities are named.
        error_text: How much of errors is told.
        flyte_version: The release of Flyte; empty tells none.
    """

    names: Names
    error_text: ErrorText = "first_line"
    flyte_version: str = ""

    # ------------------------------------------------------------------------ jobs

    def pipeline(self, id: PipelineId, known: Pipeline | None) -> JobFacets:
        """Facets of a pipeline's job; `known` may be nothing but its id."""
        facets: JobFacets = {"jobType": _job_type(id.orchestrator, "WORKFLOW")}
        if known:
            facets.update(_about_job(known))
        return facets

    def task(self, id: TaskId, known: Task | None) -> JobFacets:
        """Facets of a task's job; `known` may be nothing but its id."""
        facets: JobFacets = {"jobType": _job_type(id.pipeline.orchestrator, "TASK")}
        if known:
            facets.update(_about_job(known))
            if known.logic:
                facets.update(_logic(known.logic, known))
        return facets

    # ------------------------------------------------------------------------ runs

    @cached_property
    def engine(self) -> RunFacets:
        """What ran it; empty where nobody says Flyte's release."""
        if not self.flyte_version:
            return {}
        return {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                self.flyte_version, "Flyte", __version__, producer=PRODUCER
            )
        }

    def began(self, run: Run, known: Pipeline | Task | None) -> FlyteExecutionRunFacet:
        """What is known of a run once it began."""
        execution, logic = run.execution, known.logic if isinstance(known, Task) else None
        return FlyteExecutionRunFacet(
            project=execution.project,
            domain=execution.domain,
            execution=execution.name,
            instance=execution.instance or None,
            node=run.node,
            attempt=run.attempt,
            task_type=known.kind if isinstance(known, Task) else None,
            version=known.version.version if known and known.version else None,
            image=logic.image if logic else None,
            entry_point=logic.entry_point if logic else None,
            parent=_parent(run.parent) if run.node is None and run.parent else None,
            links=[{"name": link.name, "url": link.url} for link in run.links[-MAX_LINKS:]] or None,
            properties=dict(sorted(run.custom.items())) if run.custom else None,
            producer=PRODUCER,
        )

    def ended(self, run: Run, began: FlyteExecutionRunFacet) -> RunFacets:
        """What is known of a run in addition once it is over."""
        error = told(run.error, self.error_text)
        ended = attr.evolve(
            began,
            phase=run.phase,
            cache_status=run.cache_status,
            error_kind=error.kind if error else None,
            error_code=(error.code or None) if error else None,
        )
        facets: RunFacets = {"flyte_execution": ended}
        if error:
            facets["errorMessage"] = _error(error, began.task_type or "")
        return facets

    def parent(self, parent: Part, root: Part) -> RunFacet:
        """The run that this one is a part of, and the one at the top of all."""
        return parent_run.ParentRunFacet(
            parent_run.Run(run_id(parent.run), facets=None),
            parent_run.Job(*self.names.job(parent.pipeline), facets=None),
            parent_run.Root(
                parent_run.RootRun(run_id(root.run), facets=None),
                parent_run.RootJob(*self.names.job(root.pipeline), facets=None),
            ),
            producer=PRODUCER,
        )

    def dependencies(self, upstream: Iterable[Upstream]) -> RunFacet | None:
        """The tasks that had to run before, with what says so; `None` where there is none."""
        found = [
            _dependency(self.names.job(each.task), each)
            for each in islice(upstream, MAX_DEPENDENCIES)
        ]
        if not found:
            return None
        return job_dependencies_run.JobDependenciesRunFacet(found, None, producer=PRODUCER)

    def true_edges(self, edges: Edges) -> JobFacets:
        """The true edges of an execution; empty where there is none."""
        if not edges:
            return {}
        entries: list[lineage.LineageEntry] = [
            lineage.LineageDatasetEntry(
                *self.names.dataset(id),
                "DATASET",
                [self._made_of(source) for source in sources],
                None,
            )
            for id, sources in edges.datasets.items()
        ]
        entries += [
            lineage.LineageJobEntry(
                "JOB", *self.names.job(id), inputs=[self._promised_by(task) for task in before]
            )
            for id, before in edges.jobs.items()
        ]
        return {"lineage": lineage.LineageJobFacet(entries, producer=PRODUCER)}

    def _made_of(self, id: DatasetId) -> lineage.LineageDatasetInput:
        return lineage.LineageDatasetInput(*self.names.dataset(id), "DATASET", None, None)

    def _promised_by(self, id: TaskId) -> lineage.LineageJobInput:
        return lineage.LineageJobInput("JOB", *self.names.job(id), transformations=None)


def nominal_time(at: datetime) -> RunFacet:
    """The time that a schedule started the run for."""
    return nominal_time_run.NominalTimeRunFacet(stamp(at), producer=PRODUCER)


def stamp(at: datetime) -> str:
    """A time as events hold it."""
    return at.isoformat().replace("+00:00", "Z")


# ------------------------------------------------------------------- jobs and runs


@cache  # one for all tasks
def _job_type(orchestrator: str, type: str) -> JobFacet:
    return job_type_job.JobTypeJobFacet("BATCH", orchestrator.upper(), type, producer=PRODUCER)


def _about_job(known: Pipeline | Task) -> Iterator[tuple[str, JobFacet]]:
    """What people know a job by."""
    if known.properties and (text := known.properties.description):
        yield (
            "documentation",
            documentation_job.DocumentationJobFacet(
                cut(text, MAX_DOCUMENTATION_BYTES), producer=PRODUCER
            ),
        )
    if known.ownership:
        owners = [
            ownership_job.Owner(owner_name(each), each.type) for each in known.ownership.owners
        ]
        yield "ownership", ownership_job.OwnershipJobFacet(owners, producer=PRODUCER)
    if fields := [tags_job.TagsJobFacetFields(*tag, "FLYTE") for tag in tags(known)]:
        yield "tags", tags_job.TagsJobFacet(fields, producer=PRODUCER)
    if known.version and known.version.source:
        yield (
            "sourceCodeLocation",
            source_code_location_job.SourceCodeLocationJobFacet(
                "git",
                address(known.version.source),
                version=known.version.version,
                producer=PRODUCER,
            ),
        )


def _logic(logic: Logic, task: Task) -> Iterator[tuple[str, JobFacet]]:
    if logic.sql:
        sql, dialect = cut(logic.sql, MAX_SQL_BYTES), _DIALECTS.get(task.kind or "")
        yield "sql", sql_job.SQLJobFacet(sql, dialect, producer=PRODUCER)


def _parent(id: RunId) -> dict[str, str]:
    """The execution that launched this one: its job's name is not known here."""
    execution = id.execution
    return {
        "runId": run_id(id),
        "project": execution.project,
        "domain": execution.domain,
        "execution": execution.name,
    }


def _error(error: ErrorInfo, task_type: str) -> RunFacet:
    text = error.message or error.code or error.kind
    language = "PYTHON" if "python" in task_type else "UNKNOWN"
    return error_message_run.ErrorMessageRunFacet(text, language, producer=PRODUCER)


def _dependency(job: Name, upstream: Upstream) -> job_dependencies_run.JobDependency:
    known = job_dependencies_run.JobDependency(
        job_dependencies_run.JobIdentifier(*job),
        job_dependencies_run.RunIdentifier(run_id(upstream.run)) if upstream.run else None,
        "DIRECT_INVOCATION",
        "FINISH_TO_START",
        "EXECUTE_ON_SUCCESS",
    )
    if not upstream.evidence:
        return known
    evidence = [each.value for each in upstream.evidence]
    return known.with_additional_properties(flyte_evidence=evidence)


# ----------------------------------------------------------------- jobs and datasets


def owner_name(owner: Owner) -> str:
    """Source: OwnershipJobFacet, which recommends `user:` and `team:`."""
    if ":" in owner.id:
        return owner.id
    return f"{'team' if owner.kind == 'group' else 'user'}:{owner.id}"


def tags(entity: Pipeline | Task | Dataset) -> Iterator[tuple[str, str]]:
    """Tags, and what else operators said of an entity for which there is no facet."""
    for name in entity.tags.names if entity.tags else ():
        yield name, "true"
    for name in entity.terms.names if entity.terms else ():
        yield "term", name
    if entity.domain_name:
        yield "domain", entity.domain_name
    yield from sorted((entity.structured or {}).items())


def cut(text: str, limit: int) -> str:
    """As much of a text as fits into so many bytes."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")
