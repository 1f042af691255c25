"""The whole way from messages to tables, with S3 and Glue on the loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from flytelineage.daemon import Daemon
from flytelineage.objects import ObjectReader
from flytelineage.store import Store
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.testing.aws import LocalAws, local_aws
from flytelineage.testing.datahub import GmsDouble
from flytelineage.testing.doubles import MemorySource
from flytelineage.testing.simulator import Frame, Node, Task, Workflow, simulate
from flytelineage.testing.simulator.storage import S3Storage

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=5)
DATABASE, TABLE = "flyte_development_flytesnacks", "nightly__load__o0"
COPY = f"urn:li:dataset:(urn:li:dataPlatform:glue,{DATABASE}.{TABLE},PROD)"
DATASET = (
    "urn:li:dataset:(urn:li:dataPlatform:flyte,"
    "flytesnacks.development.app.pipelines.nightly.app.etl.load.o0,PROD)"
)


def workflow(rows: int, execution: str) -> Workflow:
    columns = {"id": "int", f"of_{execution}": "int"}
    return Workflow(
        "app.pipelines.nightly", (Node("n0", Task("app.etl.load", {"o0": Frame(columns, rows)})),)
    )


class Clock:
    now = START + timedelta(hours=4)

    def __call__(self) -> datetime:
        return self.now


class Lake:
    """A daemon, and what its catalogues hold."""

    def __init__(self, aws: LocalAws, gms: GmsDouble, path: Path, options: dict[str, Any]) -> None:
        self.clock, self.gms = Clock(), gms
        self.glue, self.s3 = aws.client("glue"), aws.client("s3")
        self.s3.create_bucket(Bucket="lake")
        self.store = Store(path=str(path / "store.sqlite3"), clock=self.clock)
        self.store.open(exclusive=True)
        self.source = MemorySource()
        self.targets = {
            "glue": GlueCatalogTarget(bucket_path="s3://lake/flyte", **options),
            "datahub": DataHubTarget(server=gms.url),
        }
        self.reader = ObjectReader()
        self.daemon = Daemon(
            source=self.source, store=self.store, targets=self.targets, reader=self.reader
        )

    def close(self) -> None:
        for target in self.targets.values():
            target.close()
        self.store.close()
        self.glue.close()
        self.s3.close()

    def write(self, name: str, hours: int, **how: Any) -> list[str]:
        """An execution writes its data; the messages that tell of it."""
        flow, storage = workflow(hours + 1, name), S3Storage(self.s3)
        start = START + timedelta(hours=hours)
        return simulate(flow, name, storage, start=start, seed=hours, fast=True, **how).bodies("v2")

    def tell(self, bodies: list[str]) -> None:
        """Deliver all that the messages give rise to."""
        self.source.send(bodies)
        while self.source.visible:
            self.daemon.intake()
        self.clock.now += timedelta(seconds=11)
        while self.daemon.build() or any(map(self.daemon.deliver, self.targets)):
            pass

    def table(self) -> dict[str, Any]:
        return self.glue.get_table(DatabaseName=DATABASE, Name=TABLE)["Table"]

    def partitions(self) -> dict[str, dict[str, Any]]:
        found = self.glue.get_partitions(DatabaseName=DATABASE, TableName=TABLE)["Partitions"]
        return {one["Values"][0]: one for one in found}

    def files(self, of: dict[str, Any]) -> list[str]:
        """What a query reads."""
        bucket, _, prefix = of["StorageDescriptor"]["Location"][5:].partition("/")
        found = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", ())]


def columns(of: dict[str, Any]) -> list[str]:
    return [column["Name"] for column in of["StorageDescriptor"]["Columns"]]


Begin = Callable[..., Lake]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Starts a daemon with options of GlueCatalogTarget."""
    monkeypatch.setenv("HOME", str(tmp_path))
    lakes: list[Lake] = []
    with local_aws() as aws, GmsDouble() as gms:

        def begin(**options: Any) -> Lake:
            lakes.append(Lake(aws, gms, tmp_path, options))
            return lakes[0]

        yield begin
        for lake in lakes:
            lake.close()


@pytest.mark.parametrize("mode", ["register", "copy"])
def test_table_follows_the_newest_execution(begin: Begin, mode: str) -> None:
    """One that is told late, or again, does not move the table back."""
    lake = begin(mode=mode)
    first, second, third = (lake.write(f"e{hour}", hour) for hour in range(3))
    lake.tell(first)
    lake.tell(third)
    newest = lake.table()

    for late in (second, first, third):
        lake.tell(late)

    assert lake.files(newest)
    assert columns(newest) == ["id", "of_e2"]
    assert lake.table() == newest
    assert newest["StorageDescriptor"]["Location"].startswith("s3://lake/") is (mode == "copy")


@pytest.mark.parametrize("mode", ["register", "copy"])
def test_each_execution_has_its_partition(begin: Begin, mode: str) -> None:
    """One that is told late adds its own; a repeat adds nothing, a failure neither."""
    lake = begin(mode=mode, layout="per_execution")
    first, second, third = (lake.write(f"e{hour}", hour) for hour in range(3))
    failed = lake.write("e3", 3, phase="FAILED")
    for told in (first, third, second, failed):
        lake.tell(told)
    before = lake.table(), lake.partitions()

    for again in (third, first, failed):
        lake.tell(again)

    assert (lake.table(), lake.partitions()) == before
    assert columns(lake.table()) == ["id", "of_e2"]
    assert {name: columns(one) for name, one in lake.partitions().items()} == {
        name: ["id", f"of_{name}"] for name in ("e0", "e1", "e2")
    }
    assert all(lake.files(one) for one in lake.partitions().values())


@pytest.mark.parametrize("layout", ["latest", "per_execution"])
def test_datahub_is_told_of_the_table_once(begin: Begin, layout: str) -> None:
    """Both are joined within the first execution, and nobody is woken by the same again."""
    lake = begin(mode="copy", layout=layout)
    bodies = lake.write("e0", 0)

    lake.tell(bodies)

    (upstream,) = lake.gms.aspects[COPY, "upstreamLineage"]["upstreams"]
    assert (upstream["dataset"], upstream["type"]) == (DATASET, "COPY")
    lake.gms.requests.clear()
    lake.tell(bodies)
    assert lake.gms.requests == []
