"""Two buckets and a catalogue on the loopback, and what happens to them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import copy
from datetime import timedelta
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

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
)
from flytelineage.entities import DataType as Type
from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.targets.glue.history import History
from flytelineage.testing.aws import LocalAws
from tests.factories import EXECUTION, NOW

DATABASE = "flyte_production_shop"
ORDERS = "daily__load__orders"
PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
HOME = f"flyte/{DATABASE}/{ORDERS}/"
Data = dict[str, bytes]


def folder(number: int) -> str:
    """Where an execution's data lies: the random folder that Flyte makes."""
    return f"data/xy/a{number}-n0-0/{number:032x}/"


def data(number: int, files: int = 3) -> Data:
    """What an execution wrote; empty files are part of it."""
    return {f"part-{at}/0000{at}": f"{number}-{at}".encode() * at for at in range(files)}


def dataset(number: int, **storage: Any) -> Dataset:
    told = Storage(**{"uri": f"s3://raw/{folder(number)}", "format": "parquet", **storage})
    schema = Schema(fields=(Field(name="id", type=Type(kind="int", bits=64)),), source="footer")
    by = EXECUTION.model_copy(update={"name": f"e{number}"})
    written = Operation(kind="write", at=NOW, run=RunId(execution=by, node="n0", attempt=0))
    return Dataset(
        platform="flyte",
        name=f"{PIPELINE}.app.load.orders",
        schema=schema,
        storage=told,
        operation=written,
        as_of=NOW + timedelta(hours=number),
    )


def lineage(*datasets: Dataset) -> Lineage:
    run = Run(execution=EXECUTION, pipeline=PIPELINE, phase="SUCCEEDED")
    return Lineage(execution=EXECUTION, phase="SUCCEEDED", datasets=datasets, runs=(run,))


class Died(Exception):
    """The process ended here."""


class Lake:
    """The buckets and the catalogue, as those see them who read them."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self.glue, self.s3 = aws.client("glue"), aws.client("s3")

    def close(self) -> None:
        self.glue.close()
        self.s3.close()

    def begin(self) -> None:
        """Forget everything; two buckets are there."""
        self._aws.reset()
        for bucket in ("raw", "lake"):
            self.s3.create_bucket(Bucket=bucket)

    def put(self, number: int, content: Data | None = None, **fields: Any) -> Data:
        content = data(number) if content is None else content
        for name, body in content.items():
            self.s3.put_object(Bucket="raw", Key=folder(number) + name, Body=body, **fields)
        return content

    def objects(self, place: str) -> Data:
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {
            key[len(prefix) :]: self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            for key in found
        }

    def table(self) -> dict[str, Any] | None:
        try:
            return self.glue.get_table(DatabaseName=DATABASE, Name=ORDERS)["Table"]
        except self.glue.exceptions.EntityNotFoundException:
            return None

    @property
    def location(self) -> str:
        return self.table()["StorageDescriptor"]["Location"]

    def read(self) -> Data | None:
        """What a query reads; `None` without a table."""
        return self.objects(self.location) if self.table() else None

    def copies(self) -> set[str]:
        """The folders in which copied data lies."""
        return {key.split("/")[0] for key in self.objects(f"s3://lake/{HOME}")} - {"_flytelineage"}

    def history(self) -> History:
        return History.of(self.table())


Make = Callable[..., GlueCatalogTarget]


def with_own_events(client: Any) -> Any:
    """The same client, on which a test may put hooks of its own."""
    own = object.__new__(type(client))
    vars(own).update(vars(client))
    own.meta = copy(client.meta)
    own.meta.events = copy(client.meta.events)
    return own


def guard(target: GlueCatalogTarget, lake: Lake) -> None:
    """Refuse updates of other versions than the newest, as Glue does and moto does not."""

    def check(params: dict[str, Any], **_: Any) -> None:
        if params["VersionId"] != lake.table()["VersionId"]:
            code = {"Code": "ConcurrentModificationException", "Message": "changed"}
            raise ClientError({"Error": code}, "UpdateTable")

    target.client.meta.events.register("provide-client-params.glue.UpdateTable", check)


def on_calls(target: GlueCatalogTarget, do: Callable[[str], Any], when: str = "before") -> None:
    """Do something at each call that the target makes."""

    def step(model: Any, **_: Any) -> None:
        do(model.name)

    for client, service in ((target.client, "glue"), (target.s3, "s3")):
        client.meta.events.register(f"{when}-call.{service}", step)


def calls_of(target: GlueCatalogTarget) -> list[str]:
    calls: list[str] = []
    on_calls(target, lambda name: calls.append(name))
    return calls


def die_after(target: GlueCatalogTarget, number: int) -> Callable[[], bool]:
    """End after the call of that number, in all threads; says whether it came to that."""
    lock, calls = threading.Lock(), [0]

    def step(_: str) -> None:
        with lock:
            calls[0] += 1
            over = calls[0] >= number
        if over:
            raise Died

    on_calls(target, step, "after")
    return lambda: calls[0] >= number


def refuse(target: GlueCatalogTarget, operation: str, code: str, status: int = 403) -> None:
    error = {"Error": {"Code": code, "Message": "no\nway"}}
    answer = {**error, "ResponseMetadata": {"HTTPStatusCode": status}}
    target.s3.meta.events.register(
        f"before-call.s3.{operation}", lambda **_: (AWSResponse("", status, {}, None), answer)
    )


def refuse_raw(target: GlueCatalogTarget, operation: str) -> None:
    """Refuse a call on Flyte's bucket alone."""

    def check(params: dict[str, Any], **_: Any) -> None:
        if params["Bucket"] == "raw":
            raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)

    target.s3.meta.events.register(f"provide-client-params.s3.{operation}", check)


def die_before_table(name: str) -> None:
    """A hook for `on_calls`: no table is made and none moves."""
    if name in ("CreateTable", "UpdateTable"):
        raise Died
