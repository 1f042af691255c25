"""Adds to a lineage what is known of the data that its execution wrote.

Columns, files, bytes and rows come from declared types, listings and Parquet footers.
The time for one execution is bounded: what was not reached stays unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from flytelineage.describe import Description, describe_data
from flytelineage.entities import Dataset, DatasetId, Lineage, Profile, Storage
from flytelineage.lineage import MAX_PROBLEMS, Build
from flytelineage.literals import Reference
from flytelineage.objects import ObjectReader


class Describer(LoggingConfigurable):
    """Describes the datasets of one execution at a time; may be shared by threads."""

    max_seconds = Float(
        60.0,
        min=0,
        help="""
        Seconds that looking at the data of one execution may take. Datasets that were
        not reached are told without columns. 0 looks at nothing.

        Example: c.Describer.max_seconds = 300
        """,
    ).tag(config=True)

    max_parts = Integer(
        16,
        min=1,
        help="""
        Pieces of one dataset that are looked at, where a task returned a list or a map
        of them. With more, rows and bytes stay unknown.

        Example: c.Describer.max_parts = 100
        """,
    ).tag(config=True)

    concurrency = Integer(
        4,
        min=1,
        max=32,
        help="""
        Datasets that are looked at at once.

        Example: c.Describer.concurrency = 8
        """,
    ).tag(config=True)

    def describe(self, build: Build, reader: ObjectReader) -> Lineage:
        """The lineage with schema, storage and profile of what was written."""
        lineage = build.lineage
        if not build.written:
            return lineage
        deadline = time.monotonic() + self.max_seconds

        def look(references: Sequence[Reference]) -> list[Description]:
            return [
                _describe(reader, reference)
                for reference in references[: self.max_parts]
                if time.monotonic() < deadline
            ]

        ids = list(build.written)
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="describe") as pool:
            found = dict(zip(ids, pool.map(look, build.written.values()), strict=True))
        return _described(lineage, build, found)


def _describe(reader: ObjectReader, reference: Reference) -> Description:
    return describe_data(
        reader,
        reference.uri,
        format=reference.format,
        folder=reference.folder,
        declared=reference.schema,
    )


def _described(
    lineage: Lineage, build: Build, found: dict[DatasetId, list[Description]]
) -> Lineage:
    datasets = tuple(
        _with(dataset, found[dataset.id], len(build.written[dataset.id]))
        if found.get(dataset.id)
        else dataset
        for dataset in lineage.datasets
    )
    problems = dict.fromkeys(p for parts in found.values() for part in parts for p in part.problems)
    return lineage.model_copy(
        update={
            "datasets": datasets,
            "incomplete": (*lineage.incomplete, *problems)[:MAX_PROBLEMS],
        }
    )


def _with(dataset: Dataset, parts: Sequence[Description], count: int) -> Dataset:
    """The dataset with what its parts say; sums only when all parts are known."""
    first = parts[0]
    schema = next((part.schema for part in parts if part.schema is not None), None)
    if count == 1:
        storage, profile = first.storage, first.profile
    else:
        whole = len(parts) == count
        storage = Storage(
            uri=_parent(part.storage.uri for part in parts),
            format=first.storage.format if _same(part.storage.format for part in parts) else None,
            files=_sum(part.storage.files for part in parts) if whole else None,
            bytes=_sum(part.storage.bytes for part in parts) if whole else None,
        )
        rows = _sum(_rows(part) for part in parts) if whole else None
        profile = Profile(rows=rows, bytes=storage.bytes) if storage.bytes is not None else None
    return dataset.model_copy(update={"schema_": schema, "storage": storage, "profile": profile})


def _rows(part: Description) -> int | None:
    return part.profile.rows if part.profile else None


def _parent(uris: Iterable[str]) -> str:
    """The longest folder that all URIs lie below."""
    columns = zip(*(uri.rstrip("/").split("/") for uri in uris), strict=False)
    common = []
    for parts in columns:
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common)


def _same(values: Iterable[object]) -> bool:
    return len(set(values)) == 1


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
