"""Pipelines, tasks and datasets as aspects of dataFlow, dataJob and dataset; pure.

What nobody else describes is replaced. What people or other programs may have written
besides, in the same aspect, is added to. What is written in DataHub's pages by hand, its
`editable` aspects, is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import datahub.metadata.schema_classes as m

from flytelineage.entities import (
    IO,
    Custom,
    Dataset,
    DatasetId,
    Logic,
    Operation,
    Pipeline,
    PipelineId,
    Profile,
    Properties,
    Storage,
    Task,
    TaskId,
    Version,
)
from flytelineage.targets.datahub.edges import Edges
from flytelineage.targets.datahub.people import ACTOR, People
from flytelineage.targets.datahub.proposals import (
    PatchOperation,
    Proposal,
    Subject,
    add,
    millis,
    take_away,
    written,
)
from flytelineage.targets.datahub.schema import schema_metadata
from flytelineage.targets.datahub.urns import Urns

# The type that orchestrators use which have no types of their own. Ours is told as
# subtype: it is an aspect of its own, so that either may be told without the other.
_JOB_TYPE = "COMMAND"

_DATASET = m.DatasetPropertiesClass.ASPECT_NAME

Folders = list[tuple[str, str | None]]


@dataclass(frozen=True)
class Describer:
    """Says in aspects what is known of an entity.

    Attributes:
        urns: How entities are named.
        people: How that is told which people say, too.
        edges: How edges are told.
        patches: Whether an aspect of which not all is known is added to. Else it is
            replaced, and what is not surely ours is not told.
        foreign_schemas: Whether schemas of other platforms' datasets are told, too.
    """

    urns: Urns
    people: People
    edges: Edges
    patches: bool = True
    foreign_schemas: bool = False

    def pipeline(self, pipeline: Pipeline, now: datetime) -> Iterator[Proposal]:
        """The dataFlow, with what is known of it."""
        about = Subject.of(pipeline, self.urns.flow(pipeline.id), now)
        if _is_new(pipeline):
            yield from self.exists(about, pipeline.id)
            yield about.upsert(_browse_path(self._folders(pipeline.id)))
        if pipeline.properties:
            info = self._flow_info(pipeline, pipeline.properties)
            yield from self._info(about, info, pipeline.version)
        yield from _kind_and_version(about, pipeline)
        yield from self.people.proposals(about, pipeline)

    def task(self, task: Task, now: datetime, *, edges: bool) -> Iterator[Proposal]:
        """The dataJob, with what is known of it; without `edges` they are left alone."""
        about = Subject.of(task, self.urns.job(task.id), now)
        if task.removed:
            yield about.upsert(m.StatusClass(removed=True))
        elif _is_new(task):
            flow = self.urns.flow(task.pipeline)
            yield from self.exists(about, task.id)
            yield about.upsert(_browse_path([*self._folders(task.pipeline), (flow, flow)]))
        if task.properties:
            yield from self._info(about, self._job_info(task, task.properties), task.version)
        yield from _kind_and_version(about, task)
        if task.logic and (transforms := list(_transforms(task.logic))):
            yield about.upsert(m.DataTransformLogicClass(transforms=transforms), "logic")
        if edges:
            ended = task.retired or task.removed
            yield from self.edges.io(about, IO() if ended else task.io, task.former)
        yield from self.people.proposals(about, task)

    def dataset(self, dataset: Dataset, now: datetime, *, mentioned: bool) -> Iterator[Proposal]:
        """The dataset, with what is known of it.

        Args:
            dataset: What to tell.
            now: When it is true, where the dataset does not say.
            mentioned: Whether something that is told refers to it.
        """
        about = Subject.of(dataset, self.urns.dataset(dataset.id), now)
        if mentioned or _is_new(dataset):
            yield from self.exists(about, dataset.id)
        if self.urns.is_ours(dataset.id):
            yield from self._own_dataset(about, dataset)
        else:
            yield from self._foreign_dataset(about, dataset)
        if dataset.profile and (dataset.profile.rows, dataset.profile.bytes) != (None, None):
            yield about.upsert(_profile(dataset, dataset.profile, about.at), "profile")
        for copy in dataset.copies.known if dataset.copies else ():
            # A refusal is one of the dataset: the copy is no entity of ours.
            copied = Subject(dataset.urn, self.urns.dataset(copy.dataset), about.at)
            yield from self.exists(copied, copy.dataset, "copies")
            yield from self.edges.copy(copied, dataset, copy)

    def exists(
        self, about: Subject, id: PipelineId | TaskId | DatasetId, *aspects: str
    ) -> Iterator[Proposal]:
        """That there is such an entity: DataHub draws no edge to what does not exist.

        What is Flyte's is also brought back if it was deleted softly. Of other datasets the
        key is told, which changes nothing of one that exists, not even of a deleted one.
        """
        owner = id.pipeline if isinstance(id, TaskId) else id
        if isinstance(owner, DatasetId) and not self.urns.is_ours(owner):
            yield about.upsert(_key(about.urn), *aspects)
        else:
            yield about.upsert(m.StatusClass(removed=False), *aspects)
        if instance := self.urns.instance_of(owner):
            platform = self.urns.platform_of(owner)
            value = m.DataPlatformInstanceClass(platform=platform, instance=instance)
            yield about.upsert(value, *aspects)

    # -------------------------------------------------------- pipelines and tasks

    def _folders(self, id: PipelineId) -> Folders:
        return [
            *self._instance_folder(id),
            *((name, None) for name in (id.project, id.domain) if name),
        ]

    def _instance_folder(self, id: PipelineId | DatasetId) -> Folders:
        instance = self.urns.instance_of(id)
        return [(instance, instance)] if instance else []

    def _info(
        self,
        about: Subject,
        info: m.DataFlowInfoClass | m.DataJobInfoClass,
        version: Version | None,
    ) -> Iterator[Proposal]:
        """What is known of the properties, and when the version was registered."""
        registered_at = version.registered_at if version else None
        info.created = _stamp(registered_at) if registered_at else None
        info.lastModified = _stamp(registered_at or about.at)
        if version or not self.patches:
            yield about.upsert(info, "properties")
        else:  # DataHub may know when it was registered
            known = written(info)
            fields = {**dict.fromkeys(("description", "externalUrl")), **known}
            operations = [one for field, value in fields.items() for one in _put(value, field)]
            yield from about.patch(str(info.get_aspect_name()), operations, "properties")

    def _flow_info(self, pipeline: Pipeline, properties: Properties) -> m.DataFlowInfoClass:
        return m.DataFlowInfoClass(
            name=properties.name or pipeline.name,
            description=properties.description,
            externalUrl=properties.url,
            customProperties=_sorted(properties.custom),
            project=pipeline.project or None,
            env=self.urns.env_of(pipeline.id),
        )

    def _job_info(self, task: Task, properties: Properties) -> m.DataJobInfoClass:
        return m.DataJobInfoClass(
            name=properties.name or task.id.local,
            type=_JOB_TYPE,
            description=properties.description,
            externalUrl=properties.url,
            customProperties=_sorted(properties.custom),
            flowUrn=self.urns.flow(task.pipeline),
            env=self.urns.env_of(task.pipeline),
        )

    # ------------------------------------------------------------------- datasets

    def _own_dataset(self, about: Subject, dataset: Dataset) -> Iterator[Proposal]:
        if dataset.properties:
            yield about.upsert(_browse_path(self._dataset_folders(dataset.id)))
        yield from self._properties(about, dataset)
        yield from self._schema(about, dataset)
        if dataset.operation:
            yield about.upsert(_operation(dataset, dataset.operation), "operation")
        yield from self.people.proposals(about, dataset)

    def _foreign_dataset(self, about: Subject, dataset: Dataset) -> Iterator[Proposal]:
        """Add what is known; the platform's own source describes the dataset."""
        if self.patches:
            known = _dataset_properties(dataset)
            known.name = None  # it also knows best what the dataset is called
            yield from about.patch(_DATASET, _added(dataset, known), *_told(dataset))
        if self.foreign_schemas:
            yield from self._schema(about, dataset)
        # DataHub shows the newest operation alone, and a confirmation would hide a write.
        if dataset.operation and dataset.operation.kind == "write":
            yield about.upsert(_operation(dataset, dataset.operation), "operation")
        yield from self.people.additions(about, dataset)

    def _properties(self, about: Subject, dataset: Dataset) -> Iterator[Proposal]:
        """Two of our aspects share this one of DataHub's, and either may be told alone."""
        known = _dataset_properties(dataset)
        if dataset.storage:
            known.lastModified = _stamp(about.at)
        if dataset.properties and (dataset.storage or not self.patches):
            yield about.upsert(known, *_told(dataset))
        elif self.patches:  # written whole, a place alone would take the name away
            fields = _fields(dataset, known).items()
            operations = [one for path, value in fields for one in _put(value, *path)]
            yield from about.patch(_DATASET, operations, *_told(dataset))

    def _schema(self, about: Subject, dataset: Dataset) -> Iterator[Proposal]:
        if dataset.schema_ and dataset.schema_.fields:
            platform = self.urns.platform_of(dataset.id)
            value = schema_metadata(dataset.schema_, name=dataset.name, platform=platform)
            yield about.upsert(value, "schema")

    def _dataset_folders(self, id: DatasetId) -> Folders:
        """Project, domain, and the task within its workflow."""
        *above, last = id.name.split(".", 2)
        names = (*above, last.rpartition(".")[0])
        return [*self._instance_folder(id), *((name, None) for name in names if name)]


def _key(dataset: str) -> m.DatasetKeyClass:
    """What the URN of a dataset says; commas in its parts are escaped."""
    parts = dataset.removeprefix("urn:li:dataset:(").removesuffix(")").split(",")
    return m.DatasetKeyClass(*parts)


def _is_new(entity: Pipeline | Task | Dataset) -> bool:
    """Whether DataHub may not know it: all is told of what it does not know, or nothing."""
    return entity.properties is not None or not any(True for _ in entity.aspects())


def _kind_and_version(about: Subject, entity: Pipeline | Task) -> Iterator[Proposal]:
    if entity.kind:
        name = entity.kind.replace("-", " ").replace("_", " ").title()
        yield about.upsert(m.SubTypesClass(typeNames=[name]), "kind")
    if entity.version:
        value = m.VersionInfoClass(
            version=entity.version.version, versionType="flyte", externalUrl=entity.version.source
        )
        yield about.upsert(value, "version")


def _stamp(moment: datetime) -> m.TimeStampClass:
    return m.TimeStampClass(time=millis(moment), actor=ACTOR)


def _sorted(custom: Custom | None) -> dict[str, str]:
    return dict(sorted((custom or {}).items()))


def _browse_path(folders: Folders) -> m.BrowsePathsV2Class:
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


def _dataset_properties(dataset: Dataset) -> m.DatasetPropertiesClass:
    properties = dataset.properties or Properties()
    storage = {name: fact for name, fact in _storage_facts(dataset.storage).items() if fact}
    return m.DatasetPropertiesClass(
        name=properties.name,
        description=properties.description,
        externalUrl=properties.url,
        customProperties=_sorted({**(properties.custom or {}), **storage}),
    )


def _told(dataset: Dataset) -> list[str]:
    """Our aspects that DataHub's properties tell."""
    told = {"properties": dataset.properties, "storage": dataset.storage}
    return [name for name, value in told.items() if value]


def _fields(dataset: Dataset, known: m.DatasetPropertiesClass) -> dict[tuple[str, ...], Any]:
    """Each field that our aspects say something of, by its path; `None` is none.

    Of custom properties it is not known which others were told before.
    """
    fields: dict[tuple[str, ...], Any] = {}
    if dataset.properties:
        told = ("name", "description", "externalUrl")
        fields = {(field,): getattr(known, field) for field in told}
    custom = {**_storage_facts(dataset.storage), **known.customProperties}
    fields |= {("customProperties", name): value for name, value in custom.items()}
    if known.lastModified:
        fields["lastModified",] = known.lastModified
    return fields


def _added(dataset: Dataset, known: m.DatasetPropertiesClass) -> Iterator[PatchOperation]:
    """What is known; whatever others say stays."""
    fields = _fields(dataset, known).items()
    return (add(value, *path) for path, value in fields if value is not None)


def _put(value: Any, *path: str) -> Iterator[PatchOperation]:
    """The value, or nothing where there is none."""
    if value is None:
        yield from take_away("", *path)
    else:
        yield add(value, *path)


def _storage_facts(storage: Storage | None) -> dict[str, str | None]:
    """All that is said of where the data lies; `None` is not known."""
    if storage is None:
        return {}
    facts: dict[str, Any] = {
        "bytes": storage.bytes,
        "files": storage.files,
        "format": storage.format,
        "uri": storage.uri,
    }
    return {name: None if fact is None else str(fact) for name, fact in facts.items()}


def _profile(dataset: Dataset, profile: Profile, at: datetime) -> m.DatasetProfileClass:
    return m.DatasetProfileClass(
        timestampMillis=millis(at),
        rowCount=profile.rows,
        sizeInBytes=profile.bytes,
        columnCount=len(dataset.schema_.fields) if dataset.schema_ else None,
    )


def _operation(dataset: Dataset, operation: Operation) -> m.OperationClass:
    """The write, or the confirmation that the data is still good."""
    is_write = operation.kind == "write"
    custom = {"execution": str(operation.run.execution), "run": str(operation.run)}
    if operation.task:
        custom["task"] = str(operation.task)
    rows = dataset.profile.rows if dataset.profile and is_write else None
    return m.OperationClass(
        timestampMillis=millis(operation.at),
        # Required. Of a confirmation DataHub's pages would show it as the last update; so
        # they show when, by the properties, the data was modified.
        lastUpdatedTimestamp=millis(operation.at) if is_write else 0,
        # Part of the document's id: two runs may write at the same millisecond.
        messageId=str(operation.run),
        operationType=m.OperationTypeClass.INSERT if is_write else m.OperationTypeClass.CUSTOM,
        customOperationType=None if is_write else "CONFIRM",
        numAffectedRows=rows,
        sourceType=m.OperationSourceTypeClass.DATA_PROCESS,
        customProperties=custom,
    )
