"""Where a table stands: the same place each time, whatever the lineage leaves out."""

from __future__ import annotations

import pytest

from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Edge,
    Evidence,
    ExecutionId,
    Lineage,
    Operation,
    Pipeline,
    PipelineId,
    Run,
    RunId,
    Task,
    TaskId,
)
from flytelineage.targets.glue.names import (
    Origin,
    Origins,
    database_name,
    distinguished,
    guessed,
    table_name,
)
from tests.factories import EXECUTION, NOW

DEFAULT = "{workflow}__{task}__{variable}"
PIPELINE = PipelineId(project="shop", domain="production", name="app.flows.daily")
LOAD = TaskId(pipeline=PIPELINE, name="app.etl.load")
ORDERS = Dataset(platform="flyte", name="shop.production.app.flows.daily.app.etl.load.orders")
LAKE = Dataset(platform="s3", name="lake/sales/Orders.parquet")
OPERATION = Operation(kind="write", at=NOW, run=RunId(execution=EXECUTION, node="n0"), task=LOAD)


def lineage(**fields: object) -> Lineage:
    return Lineage(execution=EXECUTION, **fields)


def load_task(*outputs: DatasetId) -> Task:
    edges = tuple(Edge(dataset=id, evidence=(Evidence.DATA,)) for id in outputs)
    return Task.of(LOAD, io=IO(outputs=edges))


def load_run(*outputs: DatasetId) -> Run:
    return Run(execution=EXECUTION, node="n0", attempt=0, task=LOAD, outputs=outputs)


@pytest.mark.parametrize(
    "told",
    [
        lineage(pipelines=(Pipeline.of(PIPELINE),)),
        lineage(tasks=(load_task(),)),
        lineage(runs=(Run(execution=EXECUTION, pipeline=PIPELINE),)),
        lineage(runs=(load_run(),)),
    ],
)
def test_output_of_a_task(told: Lineage) -> None:
    """Anything that names the pipeline is enough to take the dataset's name apart."""
    assert Origins(told).of(ORDERS) == Origin(LOAD, "orders")


def test_output_of_a_task_at_several_places() -> None:
    """The place is part of the task."""
    told = lineage(runs=(Run(execution=EXECUTION, pipeline=PIPELINE),))
    name = "shop.production.app.flows.daily.app.etl.load@n0/dn1.orders"

    origin = Origins(told).of(Dataset(platform="flyte", name=name))

    assert origin == Origin(LOAD.model_copy(update={"place": "n0/dn1"}), "orders")


def test_pipeline_of_an_instance() -> None:
    """The deployment's name in front of a dataset's belongs to the pipeline."""
    pipeline = PIPELINE.model_copy(update={"instance": "eu"})
    told = lineage(runs=(Run(execution=EXECUTION, pipeline=pipeline),))

    origin = Origins(told).of(Dataset(platform="flyte", instance="eu", name=ORDERS.name))

    assert origin is not None
    assert origin.task.pipeline == pipeline


@pytest.mark.parametrize(
    "told",
    [
        lineage(tasks=(load_task(LAKE.id),)),
        lineage(runs=(load_run(LAKE.id),)),
        lineage(datasets=(LAKE.model_copy(update={"operation": OPERATION}),)),
    ],
)
def test_data_outside_flyte(told: Lineage) -> None:
    """A dataset with a name of its own keeps it, below the task that wrote it."""
    assert Origins(told).of(LAKE) == Origin(LOAD, "Orders")


def test_several_writers() -> None:
    """Of several tasks that write one dataset it is always the first by name."""
    other = load_run(LAKE.id).model_copy(
        update={"task": LOAD.model_copy(update={"name": "app.etl.append"})}
    )

    found = {
        Origins(lineage(runs=runs)).of(LAKE)
        for runs in [(load_run(LAKE.id), other), (other, load_run(LAKE.id))]
    }

    assert [origin.task.name for origin in found if origin] == ["app.etl.append"]


@pytest.mark.parametrize("dataset", [ORDERS, LAKE])
def test_data_that_was_only_read(dataset: Dataset) -> None:
    """What nobody here wrote has no table here."""
    other = PIPELINE.model_copy(update={"name": "app.other"})
    reader = Run(execution=EXECUTION, pipeline=other, inputs=(dataset.id,))

    assert Origins(lineage(datasets=(dataset,), runs=(reader,))).of(dataset) is None


@pytest.mark.parametrize(
    ("name", "workflow", "task", "variable"),
    [
        ("shop.production.app.flows.daily.app.etl.load.orders", "app.flows.daily", "app.etl.load", "orders"),
        ("shop.production.daily.load.orders", "daily", "load", "orders"),
        ("shop.production.flows.daily.load.o0", "flows", "daily.load", "o0"),
        ("shop.production.app.daily.app.etl.load@n0/n1.o0", "app.daily", "app.etl.load@n0/n1", "o0"),
    ],
)  # fmt: skip
def test_dataset_alone(name: str, workflow: str, task: str, variable: str) -> None:
    """A library's dataset is split where workflow and task begin alike, else in the middle."""
    origin = Origins(Lineage()).of(Dataset(platform="flyte", name=name))

    assert origin is not None
    assert origin.task.pipeline.name == workflow
    assert origin.task.local == task
    assert origin.variable == variable


@pytest.mark.parametrize("name", ["", "orders", "shop.production.orders", "a.b.c.d"])
def test_name_too_short_to_split(name: str) -> None:
    """A name that cannot be of this form says nothing."""
    assert guessed(name) is None


def test_database_name() -> None:
    """Each project and domain has its own."""
    assert database_name(Origin(LOAD, "o0")) == "flyte_production_shop"


@pytest.mark.parametrize(
    ("task", "place", "template", "expected"),
    [
        ("app.etl.load", "", DEFAULT, "daily__load__orders"),
        ("app.etl.load", "n0/dn1", DEFAULT, "daily__load_n0_dn1__orders"),
        ("app.Covid-get.Été", "", DEFAULT, "daily__ete__orders"),
        ("app.etl.load", "", "Lake-{project}_{task}", "lake_shop_load"),
    ],
)
def test_table_name(task: str, place: str, template: str, expected: str) -> None:
    """Lower case, and nothing but letters, digits and underscores."""
    origin = Origin(TaskId(pipeline=PIPELINE, name=task, place=place), "orders")

    assert table_name(template, origin) == expected


def test_distinguished_name_fits() -> None:
    """Even the longest name has room for the digest."""
    name = table_name("{task}", Origin(LOAD.model_copy(update={"name": "x" * 500}), "o0"))

    assert len(name) == len(distinguished(name, "flyte:a")) == 255
    assert distinguished(name, "flyte:a") != distinguished(name, "flyte:b")


def test_thousands_of_runs() -> None:
    """The work grows with the lineage, not with its square."""
    ids = [DatasetId(platform="flyte", name=f"{LOAD}.o{number}") for number in range(3000)]
    told = Lineage(
        execution=ExecutionId(project="shop", domain="production", name="big"),
        runs=tuple(load_run(id).model_copy(update={"node": f"n{id.name}"}) for id in ids),
    )

    origins = Origins(told)

    assert {origins.of(Dataset.of(id)).variable for id in ids} == {f"o{n}" for n in range(3000)}
