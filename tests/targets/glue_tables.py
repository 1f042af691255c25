"""What tests of GlueCatalogTarget tell, and how they look at what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flytelineage.entities import (
    Dataset,
    Field,
    Lineage,
    Operation,
    PipelineId,
    Run,
    RunId,
    Schema,
    Storage,
    TaskId,
)
from flytelineage.entities import DataType as Type
from flytelineage.targets.glue import GlueCatalogTarget
from tests.factories import EXECUTION, NOW

DATABASE = "flyte_production_shop"
ORDERS = "daily__load__orders"
PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
LOAD = TaskId(pipeline=PIPELINE, name="app.load")
FOLDER = "s3://flyte/data/xy/a1b2-n0-0/" + "0" * 32
PARQUET = Storage(uri=FOLDER, format="parquet", files=1, bytes=1000, folder=True)
ELSEWHERE = PARQUET.model_copy(update={"uri": FOLDER.replace("0" * 32, "1" * 32)})


def column(name: str = "id", kind: str = "int", description: str | None = None) -> Field:
    return Field(name=name, type=Type(kind=kind, bits=64), description=description)


def schema(*fields: Field) -> Schema:
    return Schema(fields=fields or (column(),), source="footer")


def dataset(variable: str = "orders", task: str = "app.load", **aspects: Any) -> Dataset:
    """A dataset of which all is known that a table needs."""
    aspects = {"schema": schema(), "storage": PARQUET, **aspects}
    return Dataset(platform="flyte", name=f"{PIPELINE}.{task}.{variable}", **aspects)


def lineage(*datasets: Dataset, **fields: Any) -> Lineage:
    run = Run(execution=EXECUTION, pipeline=PIPELINE, phase="SUCCEEDED")
    return Lineage(
        execution=EXECUTION, phase="SUCCEEDED", datasets=datasets, **{"runs": (run,), **fields}
    )


def operation(kind: str = "write", execution: str = "a1b2") -> Operation:
    by = EXECUTION.model_copy(update={"name": execution})
    return Operation(kind=kind, at=NOW, run=RunId(execution=by, node="n0", attempt=0))


def calls_of(target: GlueCatalogTarget) -> list[str]:
    """The calls that the target makes from now on; the list grows with them."""
    calls: list[str] = []
    target.client.meta.events.register(
        "before-call.glue", lambda model, **_: calls.append(model.name)
    )
    return calls


def table(glue: Any, name: str = ORDERS, database: str = DATABASE) -> dict[str, Any]:
    return glue.get_table(DatabaseName=database, Name=name)["Table"]


def tables(glue: Any, database: str = DATABASE) -> dict[str, str]:
    """The datasets of all tables by the tables' names."""
    found = glue.get_tables(DatabaseName=database)["TableList"]
    return {one["Name"]: one.get("Parameters", {}).get("flytelineage.dataset") for one in found}


def make_table(glue: Any, name: str = ORDERS, **fields: Any) -> None:
    """Somebody else's table."""
    if not glue.get_databases()["DatabaseList"]:
        glue.create_database(DatabaseInput={"Name": DATABASE})
    glue.create_table(DatabaseName=DATABASE, TableInput={"Name": name, **fields})


def change_table(glue: Any, change: Callable[[dict[str, Any]], Any], name: str = ORDERS) -> None:
    """What people do to a table in the console."""
    ours = table(glue, name)
    for key in ("DatabaseName", "CreateTime", "UpdateTime", "VersionId", "CatalogId"):
        ours.pop(key, None)
    change(ours)
    glue.update_table(DatabaseName=DATABASE, TableInput=ours)
