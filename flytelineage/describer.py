"""Adds to a lineage what is known of the data that its execution wrote.

Columns, files, bytes and rows come from declared types, listings, Parquet footers and
header lines. Requests and time for one execution are bounded, and requests of all its
datasets run at once: what was not reached stays unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from flytelineage.describe import Description, Found, Lot, Opened, look, open_file
from flytelineage.entities import Dataset, DatasetId, Lineage, Schema
from flytelineage.errors import ReadError
from flytelineage.lineage import MAX_PROBLEMS, Build
from flytelineage.objects import Reading


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

    max_requests = Integer(
        50_000,
        min=1,
        help="""
        Requests that describing the data of one execution may send to the object store.
        A dataset of one Parquet file takes two; of many files see
        ObjectReader.max_footers. What is over it stays unknown.

        Example: c.Describer.max_requests = 10_000
        """,
    ).tag(config=True)

    max_parts = Integer(
        200,
        min=1,
        help="""
        Pieces of one dataset that are looked at, where a task returned a list or a map
        of them. With more, rows and bytes stay unknown, and the profile says that it is
        partial.

        Example: c.Describer.max_parts = 1000
        """,
    ).tag(config=True)

    concurrency = Integer(
        16,
        min=1,
        max=64,
        help="""
        Requests for one execution that are sent at once; ObjectReader.concurrency bounds
        those of all executions together.

        Example: c.Describer.concurrency = 32
        """,
    ).tag(config=True)

    def describe(self, build: Build, reading: Reading) -> Lineage:
        """The lineage with schema, storage and profile of what was written."""
        if not build.written or self.max_seconds == 0:
            return build.lineage
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="describe") as pool:
            work = _Work(pool, time.monotonic() + self.max_seconds)
            reads = reading.reads(self.max_requests)
            lots = self._looked(build, reads, work)
            found = _opened(lots, reads, work)
        return _described(build.lineage, found)

    def _looked(self, build: Build, reads: Reading, work: _Work) -> dict[DatasetId, Lot]:
        """The files of every dataset that was reached."""
        wanted = [
            (id, reference)
            for id, references in build.written.items()
            for reference in references[: self.max_parts]
        ]
        pieces: dict[DatasetId, list[Found]] = {}
        for (id, _), found in work.run(lambda each: look(reads, each[1]), wanted):
            pieces.setdefault(id, []).append(found)
        return {id: Lot(tuple(build.written[id]), tuple(found)) for id, found in pieces.items()}


T = TypeVar("T")
R = TypeVar("R")


class _Work:
    """Does many small things at once, until the time is over."""

    def __init__(self, pool: Executor, deadline: float) -> None:
        self._pool = pool
        self._deadline = deadline

    def run(self, do: Callable[[T], R], things: Iterable[T]) -> list[tuple[T, R]]:
        """What came of each thing that was reached, in their order."""

        def in_time(thing: T) -> list[tuple[T, R]]:
            return [(thing, do(thing))] if time.monotonic() < self._deadline else []

        return [done for each in self._pool.map(in_time, things) for done in each]


def _opened(
    lots: Mapping[DatasetId, Lot], reads: Reading, work: _Work
) -> dict[DatasetId, Description]:
    """Every dataset, once the files that say something of it were opened."""
    opened: dict[DatasetId, dict[str, Opened | ReadError]] = {id: {} for id in lots}
    limit = reads.reader.max_footers
    schemas: dict[Schema, Schema] = {}

    def open_one(each: tuple[DatasetId, str]) -> Opened | ReadError:
        said = open_file(reads, lots[each[0]].format, each[1])
        if isinstance(said, ReadError) or said.schema is None:
            return said
        # Hundreds of files with thousands of columns mostly say the same.
        return said._replace(schema=schemas.setdefault(said.schema, said.schema))

    while wanted := [
        (id, file) for id, lot in lots.items() for file in lot.wanted(opened[id], limit)
    ]:
        done = work.run(open_one, wanted)
        for (id, file), said in done:
            opened[id][file] = said
        if len(done) < len(wanted):
            break  # the time is over
    return {id: lot.described(opened[id]) for id, lot in lots.items()}


def _described(lineage: Lineage, found: Mapping[DatasetId, Description]) -> Lineage:
    datasets = tuple(
        _with(dataset, found[dataset.id]) if dataset.id in found else dataset
        for dataset in lineage.datasets
    )
    problems = dict.fromkeys(problem for each in found.values() for problem in each.problems)
    return lineage.model_copy(
        update={
            "datasets": datasets,
            "incomplete": (*lineage.incomplete, *problems)[:MAX_PROBLEMS],
        }
    )


def _with(dataset: Dataset, found: Description) -> Dataset:
    return dataset.model_copy(
        update={"schema_": found.schema, "storage": found.storage, "profile": found.profile}
    )
