"""What describing the data of one execution says, and what it costs."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flytelineage.describer import Describer
from flytelineage.entities import Dataset, DatasetId, Lineage, Partial, Profile
from flytelineage.lineage import Build
from flytelineage.literals import Reference
from flytelineage.objects import Footer, ObjectReader


@pytest.fixture
def reader(tmp_path: Path) -> ObjectReader:
    return ObjectReader(allow=[f"file://{tmp_path}"])


def name(number: int) -> DatasetId:
    return DatasetId(platform="flyte", name=f"d{number}")


def written(folder: Path, datasets: int, pieces: int = 1) -> Build:
    """An execution that wrote so many datasets of so many folders with one row each."""
    found: dict[DatasetId, tuple[Reference, ...]] = {}
    for number in range(datasets):
        uris = [folder / f"{number}-{piece}" for piece in range(pieces)]
        for uri in uris:
            uri.mkdir()
            pq.write_table(pa.table({"id": [1]}), uri / "00000")
        found[name(number)] = tuple(
            Reference("o0", (at,), str(uri), "structured dataset", "parquet")
            for at, uri in enumerate(uris)
        )
    lineage = Lineage(phase="SUCCEEDED", datasets=tuple(map(Dataset.of, found)))
    return Build(lineage, written=found)


def profiles(lineage: Lineage) -> list[Profile | None]:
    return [dataset.profile for dataset in lineage.datasets]


def rows(lineage: Lineage) -> list[int | None]:
    return [profile and profile.rows for profile in profiles(lineage)]


def test_every_dataset_is_described(reader: ObjectReader, tmp_path: Path) -> None:
    """Each by its own pieces; two requests for each."""
    build = written(tmp_path, datasets=3, pieces=2)

    lineage = Describer().describe(build, reader)

    assert rows(lineage) == [2, 2, 2]
    assert all(dataset.schema_ and dataset.storage for dataset in lineage.datasets)
    assert lineage.incomplete == ()
    assert reader.tally.requests == {"list": 6, "parquet": 6}


def test_an_execution_is_counted_by_itself(reader: ObjectReader, tmp_path: Path) -> None:
    """So that somebody can say what one costs."""
    build = written(tmp_path, datasets=2)
    reads = reader.reads()
    reader.list(str(tmp_path))

    Describer().describe(build, reads)

    assert reads.tally.requests == {"list": 2, "parquet": 2}
    assert (reads.requests, reader.requests) == (4, 5)
    assert reads.bytes_read == reader.bytes_read > 0


def test_requests_are_bounded(reader: ObjectReader, tmp_path: Path) -> None:
    """What is over the bound is unknown, and the execution says so, once."""
    build = written(tmp_path, datasets=4)

    lineage = Describer(max_requests=6).describe(build, reader)

    assert reader.requests == 6
    assert sorted(map(str, rows(lineage))) == ["1", "1", "None", "None"]
    assert lineage.incomplete == ("over budget: 6 requests",)


def test_of_many_pieces_some_are_looked_at(reader: ObjectReader, tmp_path: Path) -> None:
    """A map over thousands of items costs no more than one over hundreds."""
    build = written(tmp_path, datasets=1, pieces=5)

    lineage = Describer(max_parts=3).describe(build, reader)

    (dataset,) = lineage.datasets
    assert dataset.profile == Profile(partial=Partial(files=3, rows=3))
    assert dataset.storage is not None
    assert (dataset.storage.uri, dataset.storage.files) == (str(tmp_path), None)
    assert lineage.incomplete == ()
    assert reader.requests == 6


@pytest.mark.parametrize("seconds", [0, 1e-9])
def test_when_the_time_is_over_the_rest_is_unknown(
    reader: ObjectReader, tmp_path: Path, seconds: float
) -> None:
    """The lineage is told all the same."""
    build = written(tmp_path, datasets=2)

    assert Describer(max_seconds=seconds).describe(build, reader) == build.lineage
    assert reader.requests == 0


class Meeting(ObjectReader):
    """A reader that opens a file only once another one is being opened."""

    def __init__(self, allow: str) -> None:
        super().__init__(allow=[allow])
        self.met = threading.Barrier(2, timeout=10)

    def reads(self, max_requests: int | None = None) -> Meeting:
        return self

    def parquet(self, uri: str) -> Footer:
        self.met.wait()
        return super().parquet(uri)


@pytest.mark.parametrize(("datasets", "pieces"), [(2, 1), (1, 2)])
def test_requests_run_at_once(tmp_path: Path, datasets: int, pieces: int) -> None:
    """For several datasets, and for several files of one."""
    build = written(tmp_path, datasets, pieces)

    lineage = Describer(concurrency=2).describe(build, Meeting(f"file://{tmp_path}"))

    assert rows(lineage) == [pieces] * datasets


def test_an_execution_that_wrote_nothing_costs_nothing(reader: ObjectReader) -> None:
    """Not even a thread."""
    lineage = Lineage(phase="SUCCEEDED")

    assert Describer().describe(Build(lineage), reader) is lineage
