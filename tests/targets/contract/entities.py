"""What the tests tell: an execution of which everything is known, and parts of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    DataType,
    Edge,
    Evidence,
    ExecutionId,
    Field,
    Lineage,
    Logic,
    Operation,
    Owner,
    Ownership,
    Pipeline,
    PipelineId,
    Profile,
    Properties,
    Run,
    RunId,
    Schema,
    Storage,
    Tags,
    Task,
    TaskEdge,
    TaskId,
    Version,
)
from tests.factories import EXECUTION, NOW

PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
TASKS = ("extract", "load")
BUCKET = "flyte"
OTHER_EXECUTION = EXECUTION.model_copy(update={"name": "c3d4"})

VERSION = Version(version="v1", registered_at=NOW - timedelta(days=1))
PEOPLE = {"ownership": Ownership(owners=(Owner(id="ann"),)), "tags": Tags(names=("gold",))}


def task_id(name: str, pipeline: PipelineId = PIPELINE) -> TaskId:
    return TaskId(pipeline=pipeline, name=f"app.{name}")


def dataset_id(task: str, variable: str = "o0") -> DatasetId:
    """The output of a task."""
    return DatasetId(platform="flyte", name=f"{PIPELINE}.app.{task}.{variable}")


def uri(id: DatasetId, version: int = 0) -> str:
    """Where Flyte puts the data: a random folder, another one each time."""
    return f"s3://{BUCKET}/data/ab/a1b2-n{version}-0/{zlib.crc32(id.name.encode()):032x}"


def dataset(id: DatasetId, **aspects: Any) -> Dataset:
    """A dataset of which everything is known."""
    columns = (
        Field(name="id", type=DataType(kind="int", bits=64), nullable=False),
        Field(name="Name", type=DataType(kind="string"), description="Who ordered"),
    )
    task = id.name.split(".")[-2]
    known: dict[str, Any] = {
        "as_of": NOW,
        "properties": Properties(name="orders", description="All orders", custom={"a": "b"}),
        "schema": Schema(fields=columns, source="footer"),
        "storage": Storage(uri=uri(id), format="parquet", files=1, folder=True),
        "profile": Profile(rows=10, bytes=1000),
        "operation": Operation(
            kind="write",
            at=NOW,
            run=RunId(execution=EXECUTION, node=task, attempt=0),
            task=task_id(task),
        ),
        **PEOPLE,
    }
    return Dataset.of(id, **{**known, **aspects})


def edges(ids: Iterable[DatasetId]) -> tuple[Edge, ...]:
    return tuple(Edge(dataset=id, evidence=(Evidence.DATA,), variables=("o0",)) for id in ids)


def task(name: str, reads: Iterable[str] = (), **aspects: Any) -> Task:
    """A task of which everything is known; it reads what the named ones wrote."""
    before = [TaskEdge(task=task_id(each), evidence=(Evidence.DATA,)) for each in reads]
    known: dict[str, Any] = {
        "as_of": NOW,
        "properties": Properties(name=name, description="What it does"),
        "version": VERSION,
        "kind": "python-task",
        "logic": Logic(sql="SELECT 1", image="img:1", entry_point=f"app.{name}"),
        "io": IO(
            inputs=edges(dataset_id(each) for each in reads),
            outputs=edges([dataset_id(name)]),
            upstream=tuple(before),
        ),
        **PEOPLE,
    }
    return Task.of(task_id(name), **{**known, **aspects})


def pipeline() -> Pipeline:
    return Pipeline.of(
        PIPELINE,
        as_of=NOW,
        properties=Properties(name="daily"),
        version=VERSION,
        kind="workflow",
        **PEOPLE,
    )


def run(name: str | None = None, *, execution: ExecutionId = EXECUTION, **fields: Any) -> Run:
    """The run of an execution, or of a task in it."""
    known: dict[str, Any] = {
        "as_of": NOW,
        "execution": execution,
        "phase": "SUCCEEDED",
        "started_at": NOW,
        "ended_at": NOW + timedelta(minutes=1),
    }
    if name is None:
        return Run(**{**known, "pipeline": PIPELINE, **fields})
    known |= {"node": name, "attempt": 0, "task": task_id(name)}
    return Run(**{**known, "parent": RunId(execution=execution), **fields})


def lineage(names: Iterable[str] = TASKS, **fields: Any) -> Lineage:
    """A successful execution: a chain of tasks, each with an output that the next one reads."""
    names = list(names)
    reads = {name: names[:number][-1:] for number, name in enumerate(names)}
    known: dict[str, Any] = {
        "execution": EXECUTION,
        "revision": 1,
        "phase": "SUCCEEDED",
        "started_at": NOW,
        "pipelines": (pipeline(),),
        "tasks": tuple(task(name, reads[name]) for name in names),
        "datasets": tuple(dataset(dataset_id(name)) for name in names),
        "runs": (run(), *(_run(name, reads[name]) for name in names)),
    }
    return Lineage(**{**known, **fields})


def short() -> Lineage:
    """An execution of one task: enough where it is all the same what is told."""
    return lineage(TASKS[:1])


def newer(names: Iterable[str] = TASKS) -> Lineage:
    """A later build of the same execution: the first dataset lies elsewhere."""
    names = list(names)
    first, *others = lineage(names).datasets
    place = Storage(uri=uri(first.id, version=1), format="parquet", files=2, folder=True)
    moved = first.model_copy(update={"storage": place})
    return lineage(names, revision=2, datasets=(moved, *others))


def _run(name: str, reads: Iterable[str]) -> Run:
    before = tuple(RunId(execution=EXECUTION, node=each, attempt=0) for each in reads)
    read = tuple(map(dataset_id, reads))
    return run(name, inputs=read, outputs=(dataset_id(name),), upstream=before)
