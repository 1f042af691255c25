"""DataHubTarget.file: arrays that are complete at every moment and that DataHub loads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flytelineage.entities import Dataset, ExecutionId, Lineage
from flytelineage.errors import ConfigError, TargetUnavailable
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.datahub.files import file_name
from tests.factories import EXECUTION, NOW
from tests.targets.test_datahub import lineage

BEGINNING = '{"entityType":'
"""By this a torn record is known as ours."""


def told(*names: str, execution: ExecutionId | None = EXECUTION) -> Lineage:
    datasets = tuple(Dataset(platform="s3", name=name, as_of=NOW) for name in names)
    return Lineage(execution=execution, started_at=NOW, datasets=datasets)


def emit(path: Path | str, *lineages: Lineage) -> None:
    target = DataHubTarget(file=str(path), create_platform=False)
    try:
        for each in lineages:
            assert target.emit(each) == []
    finally:
        target.close()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def names(path: Path) -> list[str]:
    records: list[dict[str, Any]] = json.loads(path.read_text())
    return [record["entityUrn"].split(",")[1] for record in records]


@pytest.fixture(params=["mcps.json", "mcps/"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One file, and a directory of files."""
    return f"{tmp_path}/{request.param}"


def written(place: str) -> Path:
    return Path(place) / "shop.production.a1b2.json" if place.endswith("/") else Path(place)


# ------------------------------------------------------------------------- content


def test_datahub_loads_what_was_written(place: str) -> None:
    """Its own reader takes every record and finds it valid; no record is a PATCH."""
    from datahub.ingestion.source.file import read_metadata_file

    emit(place, lineage())

    records = list(read_metadata_file(written(place)))
    assert len(records) == len(json.loads(written(place).read_text()))
    assert {record.changeType for record in records} == {"UPSERT"}
    assert all(line[:1] in "[]" or line.startswith(BEGINNING) for line in lines(written(place)))


def test_two_emissions_are_the_same_bytes(tmp_path: Path) -> None:
    """Nothing that is told comes from the clock."""
    paths = [tmp_path / "a.json", tmp_path / "b.json"]

    for path in paths:
        emit(path, lineage())

    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_platform_comes_first(tmp_path: Path) -> None:
    """Once for each start; in a directory it has a file of its own."""
    array, directory = tmp_path / "a.json", tmp_path / "d"
    for file in (str(array), f"{directory}/"):
        target = DataHubTarget(file=file)
        target.emit(told("a"))
        target.emit(told("b"))
        target.close()

    kinds = [record["entityType"] for record in json.loads(array.read_text())]
    assert kinds == ["dataPlatform", "dataset", "dataset"]
    [platform] = json.loads((directory / "platform.json").read_text())
    assert platform["entityType"] == "dataPlatform"


# ------------------------------------------------------------------------ one array


def test_the_array_is_complete_after_each_emission(tmp_path: Path) -> None:
    """While the target is open, and over restarts."""
    path = tmp_path / "new" / "mcps.json"
    target = DataHubTarget(file=str(path), create_platform=False)

    seen = []
    for name in "abc":
        target.emit(told(name))
        seen.append(names(path))
    target.close()
    emit(path, told("d"))

    assert seen == [["a"], ["a", "b"], ["a", "b", "c"]]
    assert names(path) == ["a", "b", "c", "d"]


def test_an_emission_does_not_rewrite_the_file(tmp_path: Path) -> None:
    """Its cost must not grow with the file: what is there is not even touched."""
    path = tmp_path / "mcps.json"
    target = DataHubTarget(file=str(path), create_platform=False)
    target.emit(told("a"))
    with path.open("r+b") as file:
        file.seek(3)
        file.write(b"Z")

    target.emit(told("b"))
    target.close()

    assert path.read_bytes()[3:4] == b"Z"


@pytest.mark.parametrize("keep", range(1, 40))
def test_a_torn_tail_is_repaired(tmp_path: Path, keep: int) -> None:
    """Wherever a crash cut an emission off, the records before it survive."""
    path = tmp_path / "mcps.json"
    emit(path, told("a"))
    before = path.stat().st_size
    emit(path, told("b"))
    whole = path.read_bytes()
    path.write_bytes(whole[: before - 3 + (len(whole) - before) * keep // 40])

    emit(path, told("c"))

    assert names(path) in (["a", "c"], ["a", "b", "c"])


@pytest.mark.parametrize(
    "torn", ["", "[", "[\n", '[\n{"ent', '[\n{"entityType":"data', "[]", "[\n]\n", " [ ] \n"]
)
def test_an_array_that_was_hardly_begun(tmp_path: Path, torn: str) -> None:
    """It begins anew."""
    path = tmp_path / "mcps.json"
    path.write_text(torn)

    emit(path, told("a"))

    assert names(path) == ["a"]


def test_an_array_that_datahub_wrote_goes_on(tmp_path: Path) -> None:
    """Whatever its layout."""
    from datahub.emitter.mcp import MetadataChangeProposalWrapper
    from datahub.ingestion.sink.file import write_metadata_file
    from datahub.metadata.schema_classes import StatusClass

    path = tmp_path / "mcps.json"
    urn = "urn:li:dataset:(urn:li:dataPlatform:s3,theirs,PROD)"
    theirs = MetadataChangeProposalWrapper(entityUrn=urn, aspect=StatusClass(removed=False))
    write_metadata_file(path, [theirs, theirs])

    emit(path, told("a"))

    assert names(path) == ["theirs", "theirs", "a"]


@pytest.mark.parametrize("content", ["some notes\n", '{"a": 1}\n', '[\n    {\n  "a": 1'])
def test_other_files_are_never_touched(tmp_path: Path, content: str) -> None:
    """They are not cut off to make room."""
    path = tmp_path / "mcps.json"
    path.write_text(content)

    with pytest.raises(ConfigError, match=r"DataHubTarget\.file.*something else"):
        emit(path, told("a"))

    assert path.read_text() == content


def test_a_full_disk_leaves_the_array_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told before is there, and telling again works once there is room."""
    path = tmp_path / "mcps.json"
    target = DataHubTarget(file=str(path), create_platform=False)
    target.emit(told("a"))
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", _full_once())
        with pytest.raises(Exception, match="No space left") as caught:
            target.emit(told("b"))
    assert type(caught.value).__name__ == "TransientTargetError"
    assert names(path) == ["a"]

    target.emit(told("b"))
    target.close()

    assert names(path) == ["a", "b"]


def _full_once() -> Any:
    calls = iter([OSError(28, os.strerror(28))])

    def fsync(descriptor: int) -> None:
        for error in calls:
            raise error

    return fsync


def test_a_file_that_was_moved_is_begun_anew(tmp_path: Path) -> None:
    """So that somebody may load and remove it while the daemon runs."""
    path = tmp_path / "mcps.json"
    target = DataHubTarget(file=str(path), create_platform=False)
    target.emit(told("a"))

    path.rename(tmp_path / "loaded.json")
    target.emit(told("b"))
    target.close()

    assert names(tmp_path / "loaded.json") == ["a"]
    assert names(path) == ["b"]


# ------------------------------------------------------------------------ directory


def test_an_execution_has_one_file(tmp_path: Path) -> None:
    """Its newest lineage replaces the one before."""
    other = EXECUTION.model_copy(update={"name": "c3d4"})

    emit(f"{tmp_path}/out/", told("a"), told("b"), told("c", execution=other))

    found = {path.name: names(path) for path in (tmp_path / "out").glob("*.json")}
    assert found == {"shop.production.a1b2.json": ["b"], "shop.production.c3d4.json": ["c"]}


def test_entities_without_an_execution_have_files_too(tmp_path: Path) -> None:
    """Named by what is said, so that a repeat is the same file."""
    emit(f"{tmp_path}/", told("a", execution=None), told("b", execution=None))
    emit(f"{tmp_path}/", told("a", execution=None))

    assert sorted(names(path)[0] for path in tmp_path.glob("entities.*.json")) == ["a", "b"]


def test_a_file_appears_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the earlier file and nothing half."""
    emit(f"{tmp_path}/", told("a"))
    monkeypatch.setattr(os, "fsync", _full_once())

    with pytest.raises(Exception, match="No space left"):
        emit(f"{tmp_path}/", told("b"))

    assert names(tmp_path / "shop.production.a1b2.json") == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "shop.production.a1b2.json",
    ]


def test_names_of_files_are_safe_and_differ() -> None:
    """Whatever an execution is called."""
    hostile = ["../../etc/passwd", "a/b.c", "a.b/c", "a/ü", "a/u", "x" * 300, "x" * 301]
    found = [file_name(name) for name in hostile]

    assert len(set(found)) == len(hostile)
    assert all(set(name).isdisjoint("/\0") and name.strip(".") == name for name in found[1:])
    assert all(len(name) < 200 for name in found)
    assert "/" not in found[0]


# ---------------------------------------------------------------------------- locks


def test_a_second_process_is_refused(place: str) -> None:
    """Two writers would overwrite each other; the message says what to do."""
    first = DataHubTarget(file=place)
    first.emit(told("a"))

    with pytest.raises(ConfigError, match="another flytelineage"):
        DataHubTarget(file=place).emit(told("b"))

    first.close()
    emit(place, told("b"))


def test_check_creates_nothing(place: str, tmp_path: Path) -> None:
    """It only looks whether files could be written."""
    DataHubTarget(file=place).check()

    assert list(tmp_path.iterdir()) == []


def test_check_finds_what_cannot_be_written(tmp_path: Path) -> None:
    """A directory that was meant as one needs a slash."""
    (tmp_path / "mcps").mkdir()

    with pytest.raises(ConfigError, match="mcps/"):
        DataHubTarget(file=str(tmp_path / "mcps")).check()


def test_a_place_that_cannot_be_written_pauses_the_target(tmp_path: Path) -> None:
    """Somebody has to act."""
    (tmp_path / "file").write_text("")

    with pytest.raises(TargetUnavailable, match=r"DataHubTarget\.file"):
        emit(tmp_path / "file" / "mcps.json", told("a"))
