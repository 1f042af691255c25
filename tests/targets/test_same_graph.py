"""What DataHub's file and OpenLineage's file say of the same lineage is the same graph."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flytelineage.entities import (
    ColumnEdge,
    Dataset,
    DatasetId,
    DataType,
    Evidence,
    Field,
    Lineage,
    Schema,
    Task,
)
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.openlineage import OpenLineageTarget
from flytelineage.testing.openlineage import Name
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.factories import NOW
from tests.openlineage_names import dataset, job_in
from tests.played import DEFINED, construct, defined, demo

_DATASET = re.compile(r"urn:li:dataset:\(urn:li:dataPlatform:(\w+),(.*),PROD\)")
_JOB = re.compile(r"urn:li:dataJob:\(urn:li:dataFlow:\(flyte,(.*),PROD\),(.*)\)")
_COLUMN = re.compile(r"urn:li:schemaField:\((.*\)),(.*)\)")
_TYPES = re.compile(r"\[[^]]*\]\.?")


class Graph(NamedTuple):
    """What one file says, in OpenLineage's names.

    Attributes:
        reads, writes: Datasets by the jobs that read them, jobs by datasets they wrote.
        waits: Jobs by those that wait for them.
        columns: Of datasets whose columns are known, name and type of each in order.
        made_of: Dataset and column by the dataset and column that were made of it.
    """

    reads: set[tuple[Name, Name]]
    writes: set[tuple[Name, Name]]
    waits: set[tuple[Name, Name]]
    columns: dict[Name, list[tuple[str, str]]]
    made_of: set[tuple[tuple[Name, str], tuple[Name, str]]]


def empty() -> Graph:
    return Graph(set(), set(), set(), {}, set())


# ------------------------------------------------------------------------- DataHub


def by_datahub(lineage: Lineage, folder: Path) -> Graph:
    path = folder / "datahub.json"
    target = DataHubTarget(file=str(path), create_platform=False, run_history="off")
    _emit(target, lineage)
    told = empty()
    for proposal in json.loads(path.read_text()) if path.exists() else ():
        urn, aspect = proposal["entityUrn"], proposal["aspect"]["json"]
        if proposal["aspectName"] == "dataJobInputOutput":
            _add_job(told, _named_job(urn), aspect)
        elif proposal["aspectName"] == "schemaMetadata":
            told.columns[_named_dataset(urn)] = _columns_of_datahub(aspect["fields"])
    return told


def _add_job(told: Graph, job: Name, io: Mapping[str, Any]) -> None:
    told.reads.update((_named_dataset(urn), job) for urn in _ends(io, "inputDatasetEdges"))
    told.writes.update((job, _named_dataset(urn)) for urn in _ends(io, "outputDatasetEdges"))
    told.waits.update((_named_job(urn), job) for urn in _ends(io, "inputDatajobEdges"))
    told.made_of.update(
        (_named_column(source), _named_column(made))
        for fine in io.get("fineGrainedLineages") or ()
        for source in fine["upstreams"]
        for made in fine["downstreams"]
    )


def _ends(io: Mapping[str, Any], edges: str) -> list[str]:
    return [edge["destinationUrn"] for edge in io.get(edges) or ()]


def _columns_of_datahub(fields: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Those at the top: what lies below them has a dot in its path, and is spelled out above."""
    paths = [(_TYPES.sub("", field["fieldPath"]), field["nativeDataType"]) for field in fields]
    return [(path, _word(type)) for path, type in paths if "." not in path]


def _word(type: str) -> str:
    kind = type.partition("<")[0]
    return "array" if kind == "list" else kind


def _match(pattern: re.Pattern[str], urn: str) -> tuple[str, ...]:
    found = pattern.fullmatch(urn)
    assert found, urn
    return found.groups()


def _named_dataset(urn: str) -> Name:
    return dataset(":".join(_match(_DATASET, urn)))


def _named_job(urn: str) -> Name:
    return job_in(*_match(_JOB, urn))


def _named_column(urn: str) -> tuple[Name, str]:
    urn, column = _match(_COLUMN, urn)
    return _named_dataset(urn), column


# --------------------------------------------------------------------- OpenLineage


def by_openlineage(lineage: Lineage, folder: Path) -> Graph:
    path = folder / "openlineage.jsonl"
    _emit(OpenLineageTarget(transport={"type": "file", "log_file_path": str(path)}), lineage)
    told = empty()
    for line in path.read_text().splitlines() if path.exists() else ():
        _add_event(told, json.loads(line))
    return told


def _add_event(told: Graph, event: Mapping[str, Any]) -> None:
    alone = [event["dataset"]] if "dataset" in event else []
    for each in (*alone, *(event.get("inputs") or ()), *(event.get("outputs") or ())):
        _add_dataset(told, _named(each), each.get("facets") or {})
    if "job" not in event or _is_of_workflow(event):
        return
    job = _named(event["job"])
    told.reads.update((_named(each), job) for each in event.get("inputs") or ())
    told.writes.update((job, _named(each)) for each in event.get("outputs") or ())
    dependencies = event.get("run", {}).get("facets", {}).get("jobDependencies", {})
    told.waits.update(
        # What only came before in time is no edge, and has no evidence.
        (_named(upstream["job"]), job)
        for upstream in dependencies.get("upstream", ())
        if upstream.get("flyte_evidence")
    )


def _is_of_workflow(event: Mapping[str, Any]) -> bool:
    """DataHub knows of no inputs and outputs of a flow: those of its jobs say all."""
    return bool(event["job"]["facets"]["jobType"]["jobType"] == "WORKFLOW")


def _add_dataset(told: Graph, name: Name, facets: Mapping[str, Any]) -> None:
    if "schema" in facets:
        told.columns[name] = [(each["name"], each["type"]) for each in facets["schema"]["fields"]]
    for column, made in facets.get("columnLineage", {}).get("fields", {}).items():
        told.made_of.update(
            ((_named(source), source["field"]), (name, column)) for source in made["inputFields"]
        )


def _named(value: Mapping[str, Any]) -> Name:
    return Name(value["namespace"], value["name"])


# --------------------------------------------------------------------------- tests


def _emit(target: Any, lineage: Lineage) -> None:
    try:
        assert target.emit(lineage) == []
    finally:
        target.close()


def differences(lineages: Iterable[Lineage], folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """Where the two files differ: what DataHub alone says, and what OpenLineage alone says."""
    for number, lineage in enumerate(lineages):
        place = folder / str(number)
        place.mkdir(parents=True)
        here, there = by_datahub(lineage, place), by_openlineage(lineage, place)
        for kind, one, other in zip(Graph._fields, here, there, strict=True):
            if one != other:
                yield f"{lineage.execution} {kind}", one, other


def with_columns(lineage: Lineage) -> Lineage:
    """The same, with the first column of each output made of that of each input."""
    columns = {
        each.id: each.schema_.fields[0].name
        for each in lineage.datasets
        if each.schema_ and each.schema_.fields
    }
    tasks = tuple(_with_columns(task, columns) for task in lineage.tasks)
    return lineage.model_copy(update={"tasks": tasks})


def _with_columns(task: Task, columns: Mapping[DatasetId, str]) -> Task:
    if task.io is None:
        return task
    sources = tuple(
        (edge.dataset, columns[edge.dataset]) for edge in task.io.inputs if edge.dataset in columns
    )
    made = tuple(
        ColumnEdge(
            dataset=edge.dataset,
            column=columns[edge.dataset],
            sources=sources,
            evidence=(Evidence.SQL,),
        )
        for edge in task.io.outputs
        if edge.dataset in columns and sources
    )
    return task.model_copy(update={"io": task.io.model_copy(update={"columns": made})})


def test_every_construct_is_the_same_in_both(tmp_path: Path) -> None:
    """Jobs, datasets, columns, and what lies between them."""
    found = {
        name: wrong
        for name in CONSTRUCTS
        if (wrong := list(differences(construct(name).lineages, tmp_path / name)))
    }

    assert found == {}


@pytest.mark.parametrize("name", DEFINED)
def test_definitions_are_the_same_in_both(name: str, tmp_path: Path) -> None:
    """Also what only FlyteAdmin knows."""
    assert list(differences(defined(name).lineages, tmp_path)) == []


@pytest.mark.parametrize("change", [lambda lineage: lineage, with_columns])
def test_demo_is_the_same_in_both(change: Callable[[Lineage], Lineage], tmp_path: Path) -> None:
    """As it is found, and as it would be with lineage of columns."""
    assert list(differences(map(change, demo().lineages), tmp_path)) == []


def test_both_tell_the_columns_of_the_demo(tmp_path: Path) -> None:
    """Two files that say nothing are the same, too."""
    lineage = next(one for one in demo().lineages if one.phase == "SUCCEEDED")

    assert all(by_openlineage(with_columns(lineage), tmp_path))


def test_nested_columns_are_the_same_in_both(tmp_path: Path) -> None:
    """Only how what lies below is named differs."""
    text, number = DataType(kind="string"), DataType(kind="int", bits=64)
    fields = (
        Field(name="id", type=number, nullable=False),
        Field(
            name="address", type=DataType(kind="struct"), children=(Field(name="city", type=text),)
        ),
        Field(name="tags", type=DataType(kind="list"), children=(Field(name="item", type=text),)),
        Field(
            name="counts",
            type=DataType(kind="map"),
            children=(Field(name="key", type=text), Field(name="value", type=number)),
        ),
    )
    name = "shop.production.app.daily.app.load.o0"
    table = Dataset(platform="flyte", name=name, as_of=NOW, schema=Schema(fields=fields))

    assert list(differences([Lineage(datasets=(table,))], tmp_path)) == []
