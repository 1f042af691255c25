"""From our datasets to OpenLineage's facets; pure.

A facet replaces the one with the same key as a whole, so one that is not known is left
out. Source: OpenLineage/OpenLineage, spec/facets
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from openlineage.client.facet_v2 import (
    DatasetFacet,
    OutputDatasetFacet,
    column_lineage_dataset,
    datasource_dataset,
    documentation_dataset,
    lifecycle_state_change_dataset,
    output_statistics_output_dataset,
    ownership_dataset,
    schema_dataset,
    storage_dataset,
    symlinks_dataset,
    tags_dataset,
)

from flytelineage.entities import ColumnEdge, Dataset, Field, Schema, Storage
from flytelineage.targets.openlineage.facets import MAX_DOCUMENTATION_BYTES, cut, owner_name, tags
from flytelineage.targets.openlineage.flyte_execution import PRODUCER
from flytelineage.targets.openlineage.names import FLYTE, Name, Names, address, location

# pandas writes its index into Parquet files as columns of this name.
_PANDAS_INDEX = "__index_level_"

MAX_DESCRIBED_BYTES = 500_000
"""About how much of an event may describe datasets.

Some consumers refuse more than a megabyte; edges, statements and errors need room as well.
"""

DatasetFacets = dict[str, DatasetFacet]
Columns = Mapping[Name, DatasetFacet]
"""What columns are made of, by the dataset that has them."""

OVERWRITTEN = lifecycle_state_change_dataset.LifecycleStateChangeDatasetFacet(
    lifecycle_state_change_dataset.LifecycleStateChange.OVERWRITE, producer=PRODUCER
)


@dataclass(frozen=True)
class Described:
    """A dataset as events name it.

    Attributes:
        weight: About how many bytes the facets take as JSON.
    """

    dataset: Dataset
    name: Name
    facets: DatasetFacets
    weight: int


@dataclass(frozen=True)
class Describer:
    """Says in facets what is known of a dataset.

    Attributes:
        names: How datasets are named.
    """

    names: Names

    def describe(self, dataset: Dataset) -> Described:
        """What is known of a dataset, whoever reads or writes it.

        Where no event has room for its columns, what people wrote about them is left out.
        """
        weight = _weight(dataset)
        name = self.names.dataset(dataset.id)
        place = location(dataset.storage.uri) if dataset.storage else None
        facets = {
            "dataSource": _source(dataset, name, place),
            "schema": _schema(dataset.schema_, described=weight <= MAX_DESCRIBED_BYTES),
            "storage": _storage(dataset.storage) if dataset.storage else None,
            "symlinks": self._symlinks(dataset, name, place),
            "documentation": _documentation(dataset),
            "ownership": _ownership(dataset),
            "tags": _tags_of_dataset(dataset),
        }
        known = {key: facet for key, facet in facets.items() if facet is not None}
        return Described(dataset, name, known, weight)

    def _symlinks(self, dataset: Dataset, name: Name, place: Name | None) -> DatasetFacet | None:
        """The other names of the same data, behind its own.

        OpenMetadata looks a dataset up by the first of them, and those who read it may not
        know the others. Source: open-metadata/OpenMetadata, openlineage/metadata.py
        """
        copies = dataset.copies.known if dataset.copies else ()
        others = [(self.names.copy(copy), "TABLE") for copy in copies]
        # Only Flyte's own names say nothing of the place; others are one.
        if place and dataset.platform == FLYTE:
            others.append((place, "LOCATION"))
        if not others:
            return None
        identifiers = [
            symlinks_dataset.Identifier(*other, type)
            for other, type in dict.fromkeys([(name, "DATASET"), *others])
        ]
        return symlinks_dataset.SymlinksDatasetFacet(identifiers, producer=PRODUCER)

    def columns(self, edges: Iterable[ColumnEdge]) -> Columns:
        """Of each dataset, what its columns are made of."""
        fields: dict[Name, dict[str, column_lineage_dataset.Fields]] = defaultdict(dict)
        for edge in edges:
            sources = [
                column_lineage_dataset.InputField(*self.names.dataset(id), column, None)
                for id, column in edge.sources
            ]
            known = fields[self.names.dataset(edge.dataset)].setdefault(
                edge.column, column_lineage_dataset.Fields(inputFields=[])
            )
            known.inputFields.extend(sources)
        return {
            name: column_lineage_dataset.ColumnLineageDatasetFacet(known, None, producer=PRODUCER)
            for name, known in fields.items()
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
    size = profile.bytes if profile else None
    size = storage.bytes if size is None and storage else size
    files = storage.files if storage else None
    if (rows, size, files) == (None, None, None):
        return {}
    return {
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rows, size, files, producer=PRODUCER
        )
    }


def _source(dataset: Dataset, name: Name, place: Name | None) -> DatasetFacet | None:
    """Where the data lies now; of other platforms' at least the system that has it."""
    if place and dataset.storage:
        where, uri = place.namespace, address(dataset.storage.uri)
    elif dataset.platform == FLYTE:
        return None
    else:
        where, uri = name.namespace, name.namespace if "://" in name.namespace else ""
    return datasource_dataset.DatasourceDatasetFacet(where, uri or None, producer=PRODUCER)


def _storage(storage: Storage) -> DatasetFacet | None:
    layer = storage.uri.partition("://")[0].lower() if "://" in storage.uri else "file"
    return _stored(layer, storage.format) if storage.format else None


@lru_cache(maxsize=100)  # few for all datasets
def _stored(layer: str, format: str) -> DatasetFacet:
    return storage_dataset.StorageDatasetFacet(layer, format, producer=PRODUCER)


def _documentation(dataset: Dataset) -> DatasetFacet | None:
    text = dataset.properties.description if dataset.properties else None
    if not text:
        return None
    return documentation_dataset.DocumentationDatasetFacet(
        cut(text, MAX_DOCUMENTATION_BYTES), producer=PRODUCER
    )


def _ownership(dataset: Dataset) -> DatasetFacet | None:
    if dataset.ownership is None:
        return None
    owners = [
        ownership_dataset.Owner(owner_name(one), one.type) for one in dataset.ownership.owners
    ]
    return ownership_dataset.OwnershipDatasetFacet(owners, producer=PRODUCER)


def _tags_of_dataset(dataset: Dataset) -> DatasetFacet | None:
    fields = [tags_dataset.TagsDatasetFacetFields(*tag, "FLYTE") for tag in tags(dataset)]
    return tags_dataset.TagsDatasetFacet(fields, producer=PRODUCER) if fields else None


def _schema(schema: Schema | None, *, described: bool) -> DatasetFacet | None:
    if schema is None:
        return None
    columns = [
        _column(field, field.name, described=described)
        for field in schema.fields
        if field.name and not field.name.startswith(_PANDAS_INDEX)
    ]
    return schema_dataset.SchemaDatasetFacet(columns, producer=PRODUCER)


def _column(
    field: Field, name: str, *, described: bool = True
) -> schema_dataset.SchemaDatasetFacetFields:
    """A column; what lies below it is named as OpenLineage's own integrations do."""
    parts = None
    if field.children:
        parts = [_column(child, part, described=described) for child, part in _parts(field)]
    about = field.description if described else None
    return schema_dataset.SchemaDatasetFacetFields(name, _type(field), about, None, parts)


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


def _weight_of(fields: tuple[Field, ...]) -> int:
    total = 80 * len(fields)
    for field in fields:
        if field.description:
            total += len(field.description)
        if field.children:
            total += _weight_of(field.children)
    return total
