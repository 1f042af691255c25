"""From our entities to OpenLineage's facets; pure.

A facet replaces the one with the same key as a whole, so one that is not known is left
out. What may be long is cut, since consumers refuse large events.

Source: OpenLineage/OpenLineage, spec/facets; the classes are those of its client.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice

import attr
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    OutputDatasetFacet,
    RunFacet,
    column_lineage_dataset,
    datasource_dataset,
    documentation_dataset,
    documentation_job,
    error_message_run,
    job_dependencies_run,
    job_type_job,
    lifecycle_state_change_dataset,
    lineage,
    nominal_time_run,
    output_statistics_output_dataset,
    ownership_dataset,
    ownership_job,
    parent_run,
    processing_engine_run,
    schema_dataset,
    source_code_location_job,
    sql_job,
    storage_dataset,
    symlinks_dataset,
    tags_dataset,
    tags_job,
)

from flytelineage import __version__
from flytelineage.entities import (
    ColumnEdge,
    Dataset,
    DatasetId,
    ErrorInfo,
    Field,
    Logic,
    Owner,
    Pipeline,
    PipelineId,
    Run,
    RunId,
    Schema,
    Storage,
    Task,
    TaskId,
)
from flytelineage.targets.error_text import ErrorText, told
from flytelineage.targets.openlineage.graph import Edges, Part, Upstream
from flytelineage.targets.openlineage.names import Name, Names, address, location, run_id

HOME = "https://github.com/flytelineage/flytelineage"
PRODUCER = f"{HOME}/tree/{__version__}"
"""What says all of this: the release of flytelineage."""

MAX_DOCUMENTATION_BYTES = 16_000
MAX_SQL_BYTES = 64_000
MAX_LINKS = 20
MAX_DEPENDENCIES = 300
MAX_EDGES = 2_000
"""Edges and their ends in the facet `lineage`."""

# pandas writes its index into Parquet files as columns of this name.
_PANDAS_INDEX = "__index_level_"

_DIALECTS = {"bigquery_query_job_task": "bigquery", "snowflake": "snowflake", "hive": "hive",
             "presto": "presto", "athena": "athena", "spark-sql": "spark"}  # fmt: skip
"""Of Flyte's task types, the SQL that they speak."""

DatasetFacets = dict[str, DatasetFacet]
JobFacets = dict[str, JobFacet]
RunFacets = dict[str, RunFacet]


@attr.define
class FlyteExecutionRunFacet(RunFacet):
    """What Flyte knows of a run and OpenLineage has no words for.

    Its schema is `FlyteExecutionRunFacet.json` beside this module; a change of the fields
    needs a new version of both.
    """

    project: str
    domain: str
    execution: str
    instance: str | None = None
    node: str | None = None
    attempt: int | None = None
    phase: str | None = None
    cache_status: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    task_type: str | None = None
    version: str | None = None
    image: str | None = None
    entry_point: str | None = None
    parent: dict[str, str] | None = None
    links: list[dict[str, str]] | None = None
    properties: dict[str, str] | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{FLYTE_EXECUTION_SCHEMA}#/$defs/FlyteExecutionRunFacet"


FLYTE_EXECUTION_SCHEMA = (
    "https://raw.githubusercontent.com/flytelineage/flytelineage/flyte-execution-1-0-0/"
    "flytelineage/targets/openlineage/FlyteExecutionRunFacet.json"
)
"""Names a tag, which never moves; also the schema's `$id`."""

OVERWRITTEN = lifecycle_state_change_dataset.LifecycleStateChangeDatasetFacet(
    lifecycle_state_change_dataset.LifecycleStateChange.OVERWRITE, producer=PRODUCER
)


@dataclass(frozen=True)
class Described:
    """A dataset as events name it.

    Attributes:
        weight: About how many bytes the facets take as JSON.
    """

    name: Name
    facets: DatasetFacets
    weight: int


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
        facets: JobFacets = {"jobType": _job_type(id, "WORKFLOW")}
        if known:
            facets.update(_about_job(known))
        return facets

    def task(self, id: TaskId, known: Task | None) -> JobFacets:
        """Facets of a task's job; `known` may be nothing but its id."""
        facets: JobFacets = {"jobType": _job_type(id.pipeline, "TASK")}
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
        """The true edges of an execution; empty where there is none, or too many to tell.

        A part of them would mislead, since it goes before what else consumers read.
        """
        if not edges or len(edges) > MAX_EDGES:
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

    # -------------------------------------------------------------------- datasets

    def dataset(self, dataset: Dataset) -> Described:
        """What is known of a dataset, whoever reads or writes it."""
        name = self.names.dataset(dataset.id)
        facets = {
            "dataSource": _source(name, dataset.storage),
            "schema": _schema(dataset.schema_),
            "storage": _storage(dataset.storage),
            "symlinks": self._symlinks(name, dataset),
            "documentation": _documentation(dataset),
            "ownership": _ownership(dataset),
            "tags": _tags_of_dataset(dataset),
        }
        known = {key: facet for key, facet in facets.items() if facet is not None}
        return Described(name, known, _weight(dataset))

    def _symlinks(self, name: Name, dataset: Dataset) -> DatasetFacet | None:
        """The other names of the same data."""
        found = dict.fromkeys(
            (self.names.copy(copy), "TABLE")
            for copy in (dataset.copies.known if dataset.copies else ())
        )
        # Only Flyte's own names say nothing of the place; others are one.
        if dataset.platform == "flyte" and dataset.storage:
            place = location(dataset.storage.uri)
            found.update({(place, "LOCATION"): None} if place else {})
        found.pop((name, "TABLE"), None)
        if not found:
            return None
        return symlinks_dataset.SymlinksDatasetFacet(
            [symlinks_dataset.Identifier(*other, type) for other, type in found], producer=PRODUCER
        )

    def columns(self, edges: Iterable[ColumnEdge]) -> Mapping[DatasetId, DatasetFacet]:
        """Of each dataset, what its columns are made of."""
        fields: dict[DatasetId, dict[str, column_lineage_dataset.Fields]] = defaultdict(dict)
        for edge in edges:
            sources = [
                column_lineage_dataset.InputField(*self.names.dataset(id), column, None)
                for id, column in edge.sources
            ]
            known = fields[edge.dataset].setdefault(
                edge.column, column_lineage_dataset.Fields(inputFields=[])
            )
            known.inputFields.extend(sources)
        return {
            id: column_lineage_dataset.ColumnLineageDatasetFacet(known, None, producer=PRODUCER)
            for id, known in fields.items()
        }


def weight(columns: DatasetFacet | None) -> int:
    """About how many bytes it takes as JSON to say what columns are made of."""
    if not isinstance(columns, column_lineage_dataset.ColumnLineageDatasetFacet):
        return 0
    return sum(50 + 150 * len(made.inputFields) for made in columns.fields.values())


def statistics(dataset: Dataset) -> dict[str, OutputDatasetFacet]:
    """How much was written; empty where nothing was counted."""
    profile, storage = dataset.profile, dataset.storage
    rows = profile.rows if profile else None
    size = profile.bytes if profile and profile.bytes is not None else None
    size = storage.bytes if size is None and storage else size
    files = storage.files if storage else None
    if (rows, size, files) == (None, None, None):
        return {}
    return {
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rows, size, files, producer=PRODUCER
        )
    }


def nominal_time(at: datetime) -> RunFacet:
    """The time that a schedule started the run for."""
    return nominal_time_run.NominalTimeRunFacet(stamp(at), producer=PRODUCER)


def stamp(at: datetime) -> str:
    """A time as events hold it."""
    return at.isoformat().replace("+00:00", "Z")


# ------------------------------------------------------------------- jobs and runs


def _job_type(pipeline: PipelineId, type: str) -> JobFacet:
    return job_type_job.JobTypeJobFacet(
        "BATCH", pipeline.orchestrator.upper(), type, producer=PRODUCER
    )


def _about_job(known: Pipeline | Task) -> Iterator[tuple[str, JobFacet]]:
    """What people know a job by."""
    if known.properties and (text := known.properties.description):
        yield (
            "documentation",
            documentation_job.DocumentationJobFacet(
                _cut(text, MAX_DOCUMENTATION_BYTES), producer=PRODUCER
            ),
        )
    if known.ownership:
        owners = [ownership_job.Owner(_owner(each), each.type) for each in known.ownership.owners]
        yield "ownership", ownership_job.OwnershipJobFacet(owners, producer=PRODUCER)
    if tags := list(_tags(known)):
        fields = [tags_job.TagsJobFacetFields(key, value, "FLYTE") for key, value in tags]
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
        sql, dialect = _cut(logic.sql, MAX_SQL_BYTES), _DIALECTS.get(task.kind or "")
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


def _owner(owner: Owner) -> str:
    """Source: OwnershipJobFacet, which recommends `user:` and `team:`."""
    if ":" in owner.id:
        return owner.id
    return f"{'team' if owner.kind == 'group' else 'user'}:{owner.id}"


def _tags(entity: Pipeline | Task | Dataset) -> Iterator[tuple[str, str]]:
    """Tags, and what else operators said of an entity for which there is no facet."""
    for name in entity.tags.names if entity.tags else ():
        yield name, "true"
    for name in entity.terms.names if entity.terms else ():
        yield "term", name
    if entity.domain_name:
        yield "domain", entity.domain_name
    yield from sorted((entity.structured or {}).items())


def _cut(text: str, limit: int) -> str:
    """As much of a text as fits into so many bytes."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")


# ------------------------------------------------------------------------- datasets


def _source(name: Name, storage: Storage | None) -> DatasetFacet | None:
    """Where the data lies now."""
    place = location(storage.uri) if storage else None
    if storage is None or place is None:
        return None
    return datasource_dataset.DatasourceDatasetFacet(
        place.namespace, address(storage.uri), producer=PRODUCER
    )


def _storage(storage: Storage | None) -> DatasetFacet | None:
    if storage is None or not storage.format:
        return None
    layer = storage.uri.partition("://")[0].lower() if "://" in storage.uri else "file"
    return storage_dataset.StorageDatasetFacet(layer, storage.format, producer=PRODUCER)


def _documentation(dataset: Dataset) -> DatasetFacet | None:
    text = dataset.properties.description if dataset.properties else None
    if not text:
        return None
    return documentation_dataset.DocumentationDatasetFacet(
        _cut(text, MAX_DOCUMENTATION_BYTES), producer=PRODUCER
    )


def _ownership(dataset: Dataset) -> DatasetFacet | None:
    if dataset.ownership is None:
        return None
    owners = [ownership_dataset.Owner(_owner(one), one.type) for one in dataset.ownership.owners]
    return ownership_dataset.OwnershipDatasetFacet(owners, producer=PRODUCER)


def _tags_of_dataset(dataset: Dataset) -> DatasetFacet | None:
    tags = [tags_dataset.TagsDatasetFacetFields(key, text, "FLYTE") for key, text in _tags(dataset)]
    return tags_dataset.TagsDatasetFacet(tags, producer=PRODUCER) if tags else None


def _schema(schema: Schema | None) -> DatasetFacet | None:
    if schema is None:
        return None
    return schema_dataset.SchemaDatasetFacet(
        [_column(field, field.name) for field in schema.fields if _is_column(field)],
        producer=PRODUCER,
    )


def _is_column(field: Field) -> bool:
    return bool(field.name) and not field.name.startswith(_PANDAS_INDEX)


def _column(field: Field, name: str) -> schema_dataset.SchemaDatasetFacetFields:
    """A column; what lies below it is named as OpenLineage's own integrations do."""
    parts = [_column(child, part) for child, part in _parts(field)] if field.children else None
    return schema_dataset.SchemaDatasetFacetFields(
        name, _type(field), field.description, None, parts
    )


def _parts(field: Field) -> Iterator[tuple[Field, str]]:
    for number, child in enumerate(field.children):
        match field.type.kind:
            case "list":
                yield child, "_element"
            case "union":
                yield child, f"_{number}"
            case _:
                yield child, child.name


def _type(field: Field) -> str:
    """As its system spells it, else as Arrow would."""
    kind = field.type
    if kind.native:
        return kind.native
    match kind.kind:
        case "list":
            return "array"
        case "int" | "uint" | "float":
            return f"{kind.kind}{kind.bits or ''}"
        case "decimal":
            return f"decimal({kind.precision or 38}, {kind.scale or 0})"
        case "timestamp" | "time" | "duration" if kind.unit or kind.zone:
            return f"{kind.kind}[{', '.join(filter(None, (kind.unit, kind.zone)))}]"
        case other:
            return other


def _weight(dataset: Dataset) -> int:
    """About how many bytes a dataset's facets take: exactly only JSON would tell."""
    about = dataset.properties.description if dataset.properties else None
    columns = _weight_of(dataset.schema_.fields) if dataset.schema_ else 0
    return 2_000 + min(len(about or ""), MAX_DOCUMENTATION_BYTES) + columns


def _weight_of(fields: Iterable[Field]) -> int:
    return sum(
        60 + len(field.name) + len(field.description or "") + _weight_of(field.children)
        for field in fields
    )
