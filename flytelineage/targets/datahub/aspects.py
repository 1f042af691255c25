"""Pipelines, tasks and datasets as aspects of dataFlow, dataJob and dataset; pure.

What is Flyte's own is replaced, since nobody else describes it. Owners and tags are
added to, since people edit them in DataHub. What belongs to another platform is only
added to: its own source describes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import datahub.metadata.schema_classes as m
from datahub.metadata.urns import DatasetUrn
from datahub.specific.aspect_helpers.ownership import HasOwnershipPatch
from datahub.specific.aspect_helpers.tags import HasTagsPatch
from datahub.specific.datajob import DataJobPatchBuilder
from datahub.specific.dataset import DatasetPatchBuilder

from flytelineage.entities import (
    IO,
    ColumnEdge,
    Custom,
    Dataset,
    DatasetId,
    Edge,
    Logic,
    Operation,
    Owner,
    Ownership,
    Pipeline,
    PipelineId,
    Profile,
    Properties,
    Storage,
    Tags,
    Task,
    TaskEdge,
)
from flytelineage.targets.datahub.proposals import Proposal, Subject, millis
from flytelineage.targets.datahub.schema import schema_metadata
from flytelineage.targets.datahub.urns import Urns

PeopleMode = Literal["patch", "upsert", "off"]

TASK_OUTPUT = "Task Output"

# The type that orchestrators use which have no types of their own. Ours is told as
# subtype: it is an aspect of its own, so that either may be told without the other.
_JOB_TYPE = "COMMAND"


class _PeoplePatch(HasOwnershipPatch, HasTagsPatch):
    """Owners and tags of any entity."""


@dataclass(frozen=True)
class Describer:
    """Says in aspects what is known of an entity.

    Attributes:
        urns: How entities are named.
        owners_and_tags: Whether those are added to, replaced, or left alone.
        foreign_schemas: Whether schemas of other platforms' datasets are told, too.
    """

    urns: Urns
    owners_and_tags: PeopleMode = "patch"
    foreign_schemas: bool = False

    def pipeline(self, pipeline: Pipeline, now: datetime) -> Iterator[Proposal]:
        """The dataFlow, with what is known of it."""
        about = Subject.of(pipeline, self.urns.flow(pipeline.id), now)
        yield from self._identity(about, pipeline.id)
        yield about.upsert(_browse_path(self._folders(pipeline.id)))
        if pipeline.properties:
            yield about.upsert(self._flow_info(pipeline, pipeline.properties), "properties")
        if pipeline.kind:
            yield about.upsert(_sub_type(pipeline.kind), "kind")
        if pipeline.version:
            yield about.upsert(_version(pipeline.version.version), "version")
        yield from self._people(about, pipeline.ownership, pipeline.tags)

    def task(self, task: Task, now: datetime, *, edges: bool) -> Iterator[Proposal]:
        """The dataJob, with what is known of it; without `edges` they are left alone."""
        about = Subject.of(task, self.urns.job(task.id), now)
        flow = self.urns.flow(task.pipeline)
        yield from self._identity(about, task.pipeline)
        yield about.upsert(_browse_path([*self._folders(task.pipeline), (flow, flow)]))
        if task.properties:
            yield about.upsert(self._job_info(task, task.properties), "properties")
        if task.kind:
            yield about.upsert(_sub_type(task.kind), "kind")
        if task.version:
            yield about.upsert(_version(task.version.version), "version")
        if task.logic and (transforms := list(_transforms(task.logic))):
            yield about.upsert(m.DataTransformLogicClass(transforms=transforms), "logic")
        if task.io and edges:
            yield from self._io(about, IO() if task.retired else task.io)
        yield from self._people(about, task.ownership, task.tags)

    def dataset(self, dataset: Dataset, now: datetime) -> Iterator[Proposal]:
        """The dataset, with what is known of it."""
        about = Subject.of(dataset, self.urns.dataset(dataset.id), now)
        if self.urns.is_ours(dataset.id):
            yield from self._own_dataset(about, dataset)
        else:
            yield from self._foreign_dataset(about, dataset)
        if dataset.profile and (dataset.profile.rows, dataset.profile.bytes) != (None, None):
            yield about.upsert(_profile(dataset, dataset.profile, about.at), "profile")
        if dataset.operation:
            yield about.upsert(_operation(dataset, dataset.operation), "operation")

    # -------------------------------------------------------------- every entity

    def _identity(self, about: Subject, id: PipelineId | DatasetId) -> Iterator[Proposal]:
        """What follows from the id alone. Also brings back what was deleted softly."""
        yield about.upsert(m.StatusClass(removed=False))
        if instance := self.urns.instance_of(id):
            platform = self.urns.platform_of(id)
            yield about.upsert(m.DataPlatformInstanceClass(platform=platform, instance=instance))

    def _folders(self, id: PipelineId) -> list[tuple[str, str | None]]:
        instance = self.urns.instance_of(id)
        folders: list[tuple[str, str | None]] = [(instance, instance)] if instance else []
        return [*folders, *((name, None) for name in (id.project, id.domain) if name)]

    def _people(
        self, about: Subject, ownership: Ownership | None, tags: Tags | None, *, add: bool = False
    ) -> Iterator[Proposal]:
        """Owners and tags; `add` never replaces, whatever the mode."""
        if self.owners_and_tags == "off":
            return
        owners = [self._owner(owner) for owner in ownership.owners] if ownership else []
        named = [m.TagAssociationClass(tag=self.urns.tag(name)) for name in _names(tags)]
        if self.owners_and_tags == "upsert" and not add:
            if owners:
                yield about.upsert(m.OwnershipClass(owners=owners), "ownership")
            if named:
                yield about.upsert(m.GlobalTagsClass(tags=named), "tags")
            return
        added = _PeoplePatch(about.urn, system_metadata=about.system_metadata())
        for owner in owners:
            added.add_owner(owner)
        for tag in named:
            added.add_tag(tag)
        yield from about.patch(added)

    def _owner(self, owner: Owner) -> m.OwnerClass:
        urn = self.urns.owner(owner)
        known = owner.type.upper().replace(" ", "_").replace("-", "_").removesuffix("_OWNER")
        if (type_ := _OWNER_TYPES.get(known)) is not None:
            return m.OwnerClass(owner=urn, type=type_)
        prefix = "" if owner.type.startswith("urn:li:") else "urn:li:ownershipType:"
        return m.OwnerClass(
            owner=urn, type=m.OwnershipTypeClass.CUSTOM, typeUrn=prefix + owner.type
        )

    # -------------------------------------------------------- pipelines and tasks

    def _flow_info(self, pipeline: Pipeline, properties: Properties) -> m.DataFlowInfoClass:
        return m.DataFlowInfoClass(
            name=properties.name or pipeline.name,
            description=properties.description,
            externalUrl=properties.url,
            customProperties=_sorted(properties.custom),
            project=pipeline.project or None,
            env=self.urns.env,
        )

    def _job_info(self, task: Task, properties: Properties) -> m.DataJobInfoClass:
        return m.DataJobInfoClass(
            name=properties.name or task.id.local,
            type=_JOB_TYPE,
            description=properties.description,
            externalUrl=properties.url,
            customProperties=_sorted(properties.custom),
            flowUrn=self.urns.flow(task.pipeline),
            env=self.urns.env,
        )

    def _io(self, about: Subject, io: IO) -> Iterator[Proposal]:
        """The edges; those that may not be all are added to what DataHub has."""
        edges = _Edges(
            inputs=[self._edge(edge, about.at) for edge in io.inputs],
            outputs=[self._edge(edge, about.at) for edge in io.outputs],
            upstream=[self._edge(edge, about.at) for edge in io.upstream],
            columns=[self._column(edge) for edge in io.columns],
        )
        if io.complete:
            yield about.upsert(edges.whole(), "io")
        else:
            added = DataJobPatchBuilder(about.urn, system_metadata=about.system_metadata())
            yield from about.patch(edges.add_to(added), "io")

    def _edge(self, edge: Edge | TaskEdge, at: datetime) -> m.EdgeClass:
        # The time is a property and not the edge's own: DataHub hides edges by their
        # time, and that of a workflow that runs once a month would be gone by default.
        properties = {
            "evidence": ",".join(evidence.value for evidence in edge.evidence),
            "observed_at": at.isoformat(timespec="milliseconds"),
        }
        if isinstance(edge, TaskEdge):
            return m.EdgeClass(destinationUrn=self.urns.job(edge.task), properties=properties)
        if edge.variables:
            properties["variables"] = ",".join(edge.variables)
        return m.EdgeClass(destinationUrn=self.urns.dataset(edge.dataset), properties=properties)

    def _column(self, edge: ColumnEdge) -> m.FineGrainedLineageClass:
        # Exactly one downstream each: others cannot be patched.
        return m.FineGrainedLineageClass(
            upstreamType=m.FineGrainedLineageUpstreamTypeClass.FIELD_SET,
            upstreams=[self.urns.column(dataset, path) for dataset, path in edge.sources],
            downstreamType=m.FineGrainedLineageDownstreamTypeClass.FIELD,
            downstreams=[self.urns.column(edge.dataset, edge.column)],
        )

    # ------------------------------------------------------------------- datasets

    def _own_dataset(self, about: Subject, dataset: Dataset) -> Iterator[Proposal]:
        yield from self._identity(about, dataset.id)
        yield about.upsert(m.SubTypesClass(typeNames=[TASK_OUTPUT]))
        yield about.upsert(_browse_path(self._dataset_folders(dataset.id)))
        if dataset.properties and dataset.storage:
            yield about.upsert(
                _dataset_properties(dataset.properties, dataset.storage), "properties", "storage"
            )
        elif dataset.properties or dataset.storage:
            yield from _patched_properties(about, dataset.properties, dataset.storage)
        yield from self._schema(about, dataset)
        yield from self._people(about, dataset.ownership, dataset.tags)

    def _foreign_dataset(self, about: Subject, dataset: Dataset) -> Iterator[Proposal]:
        """Add what is known, and the key: DataHub draws no edge to what does not exist.

        The key changes nothing of a dataset that exists, not even of a deleted one.
        """
        yield about.upsert(DatasetUrn.from_string(about.urn).to_key_aspect())
        # The platform's own source knows best what the dataset is called.
        properties = dataset.properties and dataset.properties.model_copy(update={"name": None})
        yield from _patched_properties(about, properties, dataset.storage)
        if self.foreign_schemas:
            yield from self._schema(about, dataset)
        yield from self._people(about, dataset.ownership, dataset.tags, add=True)

    def _schema(self, about: Subject, dataset: Dataset) -> Iterator[Proposal]:
        if dataset.schema_ and dataset.schema_.fields:
            platform = self.urns.platform_of(dataset.id)
            value = schema_metadata(dataset.schema_, name=dataset.name, platform=platform)
            yield about.upsert(value, "schema")

    def _dataset_folders(self, id: DatasetId) -> list[tuple[str, str | None]]:
        """Project, domain, and the task within its workflow."""
        instance = self.urns.instance_of(id)
        folders: list[tuple[str, str | None]] = [(instance, instance)] if instance else []
        *above, last = id.name.split(".", 2)
        return [*folders, *((name, None) for name in (*above, last.rpartition(".")[0]) if name)]


@dataclass(frozen=True)
class _Edges:
    """The edges of a job in DataHub's words."""

    inputs: list[m.EdgeClass]
    outputs: list[m.EdgeClass]
    upstream: list[m.EdgeClass]
    columns: list[m.FineGrainedLineageClass]

    def whole(self) -> m.DataJobInputOutputClass:
        """These and no others."""
        return m.DataJobInputOutputClass(
            # Required; an entry here could not be patched away later.
            inputDatasets=[],
            outputDatasets=[],
            inputDatasetEdges=self.inputs,
            outputDatasetEdges=self.outputs,
            inputDatajobEdges=self.upstream,
            fineGrainedLineages=self.columns or None,
        )

    def add_to(self, patch: DataJobPatchBuilder) -> DataJobPatchBuilder:
        """These besides those that are there."""
        for edge in self.inputs:
            patch.add_input_dataset(edge)
        for edge in self.outputs:
            patch.add_output_dataset(edge)
        for edge in self.upstream:
            patch.add_input_datajob(edge)
        for column in self.columns:
            patch.add_fine_grained_lineage(column)
        return patch


_OWNER_TYPES = {
    "TECHNICAL": m.OwnershipTypeClass.TECHNICAL_OWNER,
    "BUSINESS": m.OwnershipTypeClass.BUSINESS_OWNER,
    "DATA_STEWARD": m.OwnershipTypeClass.DATA_STEWARD,
    "STEWARD": m.OwnershipTypeClass.DATA_STEWARD,
    "NONE": m.OwnershipTypeClass.NONE,
}


def _names(tags: Tags | None) -> tuple[str, ...]:
    return tags.names if tags else ()


def _sorted(custom: Custom | None) -> dict[str, str]:
    return dict(sorted((custom or {}).items()))


def _sub_type(kind: str) -> m.SubTypesClass:
    return m.SubTypesClass(typeNames=[kind.replace("-", " ").replace("_", " ").title()])


def _version(version: str) -> m.VersionInfoClass:
    return m.VersionInfoClass(version=version, versionType="flyte")


def _browse_path(folders: list[tuple[str, str | None]]) -> m.BrowsePathsV2Class:
    return m.BrowsePathsV2Class(
        path=[m.BrowsePathEntryClass(id=name, urn=urn) for name, urn in folders]
    )


def _transforms(logic: Logic) -> Iterator[m.DataTransformClass]:
    """The statement, and the environment that the task runs in."""
    if logic.sql:
        yield _transform(logic.sql, m.QueryLanguageClass.SQL)
    named = {"image": logic.image, "entry point": logic.entry_point}
    if lines := [f"{name}: {value}" for name, value in named.items() if value]:
        yield _transform("\n".join(lines), m.QueryLanguageClass.UNKNOWN)


def _transform(text: str, language: str) -> m.DataTransformClass:
    return m.DataTransformClass(queryStatement=m.QueryStatementClass(value=text, language=language))


def _storage_facts(storage: Storage | None) -> dict[str, str]:
    if storage is None:
        return {}
    facts: dict[str, Any] = {
        "bytes": storage.bytes,
        "files": storage.files,
        "format": storage.format,
        "uri": storage.uri,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _dataset_properties(properties: Properties, storage: Storage) -> m.DatasetPropertiesClass:
    return m.DatasetPropertiesClass(
        name=properties.name,
        description=properties.description,
        externalUrl=properties.url,
        customProperties=_sorted({**(properties.custom or {}), **_storage_facts(storage)}),
    )


def _patched_properties(
    about: Subject, properties: Properties | None, storage: Storage | None
) -> Iterator[Proposal]:
    """What is known of the properties; the rest of them stays as DataHub has it.

    Two of our aspects share this one of DataHub's, and either may be told alone.
    """
    known = properties or Properties()
    patch = DatasetPatchBuilder(about.urn, system_metadata=about.system_metadata())
    if known.name:
        patch.set_display_name(known.name)
    if known.description:
        patch.set_description(known.description)
    if known.url:
        patch.set_external_url(known.url)
    for name, value in _sorted({**(known.custom or {}), **_storage_facts(storage)}).items():
        patch.add_custom_property(name, value)
    told = {"properties": properties, "storage": storage}
    yield from about.patch(patch, *(name for name, value in told.items() if value))


def _profile(dataset: Dataset, profile: Profile, at: datetime) -> m.DatasetProfileClass:
    return m.DatasetProfileClass(
        timestampMillis=millis(at),
        rowCount=profile.rows,
        sizeInBytes=profile.bytes,
        columnCount=len(dataset.schema_.fields) if dataset.schema_ else None,
    )


def _operation(dataset: Dataset, operation: Operation) -> m.OperationClass:
    written = operation.kind == "write"
    custom = {"execution": str(operation.run.execution), "run": str(operation.run)}
    if operation.task:
        custom["task"] = str(operation.task)
    rows = dataset.profile.rows if dataset.profile and written else None
    return m.OperationClass(
        timestampMillis=millis(operation.at),
        lastUpdatedTimestamp=millis(operation.at),
        # Part of the document's id: two runs may write at the same millisecond.
        messageId=str(operation.run),
        operationType=m.OperationTypeClass.INSERT if written else m.OperationTypeClass.CUSTOM,
        customOperationType=None if written else "CONFIRM",
        numAffectedRows=rows,
        sourceType=m.OperationSourceTypeClass.DATA_PROCESS,
        customProperties=custom,
    )
