"""GlueCatalogTarget's layout per execution: a partition for each, and each stays what it was."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from botocore.stub import Stubber

from flytelineage.entities import Dataset, Field, Profile, Schema
from flytelineage.entities import DataType as Type
from flytelineage.errors import TargetUnavailable
from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.targets.glue.history import History
from tests.factories import NOW
from tests.targets.lake import (
    DATABASE,
    HOME,
    ORDERS,
    Died,
    Lake,
    Make,
    calls_of,
    data,
    dataset,
    die_after,
    folder,
    lineage,
)


@pytest.fixture
def target(make: Make) -> GlueCatalogTarget:
    return make(mode="register", bucket_path="", layout="per_execution")


@pytest.fixture
def copying(make: Make) -> GlueCatalogTarget:
    return make(layout="per_execution", keep_partitions=2, keep_copies_hours=0)


def schema(*names: str) -> Schema:
    fields = tuple(Field(name=name, type=Type(kind="string")) for name in names)
    return Schema(fields=fields, source="footer")


def with_columns(number: int, *names: str) -> Dataset:
    return dataset(number).model_copy(update={"schema_": schema(*names)})


def partitions(lake: Lake) -> dict[str, dict[str, Any]]:
    """All partitions by their executions."""
    found = lake.glue.get_partitions(DatabaseName=DATABASE, TableName=ORDERS)["Partitions"]
    return {one["Values"][0]: one for one in found}


def columns(of: dict[str, Any] | None) -> list[str]:
    assert of is not None
    return [column["Name"] for column in of["StorageDescriptor"]["Columns"]]


def change_partition(lake: Lake, execution: str, **parameters: str) -> None:
    """What people do to a partition."""
    found = partitions(lake)[execution]
    new = {
        "Values": found["Values"],
        "StorageDescriptor": found["StorageDescriptor"],
        "Parameters": {**found["Parameters"], **parameters},
    }
    where = {"DatabaseName": DATABASE, "TableName": ORDERS}
    lake.glue.update_partition(**where, PartitionValueList=[execution], PartitionInput=new)


class TestPartitions:
    """What a table and its partitions say."""

    def test_first_execution(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """The table has the key and no data of its own; the partition says where the data lies."""
        told = dataset(1, files=3).model_copy(update={"profile": Profile(rows=10)})

        rejections = target.emit(lineage(told))

        table = lake.table() or {}
        (partition,) = partitions(lake).values()
        assert rejections == []
        assert [key["Name"] for key in table["PartitionKeys"]] == ["execution"]
        assert lake.location == f"s3://raw/_flytelineage/{DATABASE}/{ORDERS}/"
        assert "recordCount" not in table["Parameters"]
        assert partition["Values"] == ["e1"]
        assert partition["StorageDescriptor"]["Location"] == f"s3://raw/{folder(1)}"
        assert "SerializationLibrary" in partition["StorageDescriptor"]["SerdeInfo"]
        assert partition["Parameters"] == {
            "classification": "parquet",
            "compressionType": "none",
            "flyte.execution": "e1",
            "flytelineage.as_of": "2026-05-01T13:00:00.000000+00:00",
            "flytelineage.dataset": "flyte:shop.production.app.daily.app.load.orders",
            "flytelineage.managed": "true",
            "flytelineage.schema_hash": table["Parameters"]["flytelineage.schema_hash"],
            "objectCount": "3",
            "recordCount": "10",
            "typeOfData": "file",
        }

    def test_each_execution_stays(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """Each adds its own and touches no other."""
        for number in (1, 2, 3):
            target.emit(lineage(dataset(number)))

        found = {
            name: one["StorageDescriptor"]["Location"] for name, one in partitions(lake).items()
        }
        assert found == {f"e{number}": f"s3://raw/{folder(number)}" for number in (1, 2, 3)}

    def test_columns_change(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """The table has the columns of the newest, each partition those of its data."""
        target.emit(lineage(with_columns(1, "id", "old")))
        target.emit(lineage(with_columns(2, "id", "new")))

        found = partitions(lake)
        assert columns(lake.table()) == columns(found["e2"]) == ["id", "new"]
        assert columns(found["e1"]) == ["id", "old"]

    @pytest.mark.parametrize("mode", ["register", "copy"])
    def test_older_execution(self, make: Make, lake: Lake, mode: str) -> None:
        """It adds its partition and leaves the columns of the newest."""
        target = make(mode=mode, layout="per_execution")
        lake.put(1)
        lake.put(2)
        lake.put(3)
        for number, names in ((1, ("a",)), (3, ("a",)), (2, ("b",))):
            target.emit(lineage(with_columns(number, *names)))

        assert set(partitions(lake)) == {"e1", "e2", "e3"}
        assert columns(lake.table()) == ["a"]
        assert columns(partitions(lake)["e2"]) == ["b"]

    def test_column_with_the_name_of_the_key(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """A name must not stand in both lists: the key has it."""
        target.emit(lineage(with_columns(1, "id", "execution")))

        assert columns(lake.table()) == columns(partitions(lake)["e1"]) == ["id"]
        (copy,) = target.copies().values()
        assert copy.columns == (("id", "id"),)

    def test_gets_executions_whole(self, target: GlueCatalogTarget) -> None:
        """What newer ones told must not be left out of older ones."""
        assert target.journal is True
        assert GlueCatalogTarget().journal is False

    def test_recovered_data(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """The execution that describes it is the one it is found by."""
        told = dataset(1)
        assert told.operation
        confirmed = told.operation.model_copy(update={"kind": "confirm"})

        target.emit(lineage(told.model_copy(update={"operation": confirmed})))

        assert set(partitions(lake)) == {"a1b2"}

    def test_no_execution(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """Data of which nobody says who wrote it has no partition."""
        told = dataset(1).model_copy(update={"operation": None})

        (rejection,) = target.emit([told])

        assert "which execution" in rejection.reason
        assert lake.table() is None

    def test_own_folder(self, make: Make, lake: Lake) -> None:
        """Tables point below `bucket_path` where that is set, also without copies."""
        make(mode="register", layout="per_execution").emit(lineage(dataset(1)))

        assert lake.location == f"s3://lake/{HOME}"


class TestRepeating:
    """The second time changes nothing."""

    @pytest.mark.parametrize("mode", ["register", "copy"])
    def test_second_time(self, make: Make, lake: Lake, mode: str) -> None:
        """The same execution again only looks."""
        target = make(mode=mode, layout="per_execution", keep_partitions=3)
        lake.put(1)
        target.emit(lineage(dataset(1)))
        calls = calls_of(target) if mode == "copy" else []

        target.emit(lineage(dataset(1)))

        assert set(partitions(lake)) == {"e1"}
        assert set(calls) <= {
            "GetTable", "GetPartition", "GetPartitions", "ListObjectsV2", "GetObject",
        }  # fmt: skip

    def test_what_people_wrote(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """Parameters of theirs stay; what is built anew is told."""
        target.emit(lineage(dataset(1)))
        change_partition(lake, "e1", checked="yes", **{"flyte.url": "theirs"})

        target.emit(lineage(with_columns(1, "id", "more")))

        found = partitions(lake)["e1"]
        assert found["Parameters"]["checked"] == "yes"
        assert "flyte.url" not in found["Parameters"]
        assert columns(found) == ["id", "more"]

    def test_made_meanwhile(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """Another process was faster: it is looked at again."""
        target.emit(lineage(dataset(0)))
        made: list[bool] = []

        def overtake(**_: Any) -> None:
            if not made:
                made.append(True)
                other = GlueCatalogTarget(layout="per_execution")
                vars(other)["client"] = lake.glue
                other.emit(lineage(dataset(1)))

        target.client.meta.events.register("provide-client-params.glue.CreatePartition", overtake)

        assert target.emit(lineage(dataset(1))) == []
        assert set(partitions(lake)) == {"e0", "e1"}


class TestBounds:
    """`keep_partitions` of them stay."""

    def test_oldest_go(self, make: Make, lake: Lake) -> None:
        """By when the data was written, not by when it was told; the data stays."""
        target = make(mode="register", layout="per_execution", keep_partitions=2)
        for number in (2, 1, 3):
            lake.put(number)
            target.emit(lineage(dataset(number)))

        assert set(partitions(lake)) == {"e2", "e3"}
        assert lake.objects(f"s3://raw/{folder(1)}") == data(1)

    def test_too_old(self, copying: GlueCatalogTarget, lake: Lake) -> None:
        """One that would go at once is not even copied."""
        for number in (2, 3, 1):
            lake.put(number)
            copying.emit(lineage(dataset(number)))

        assert set(partitions(lake)) == {"e2", "e3"}
        assert len(lake.copies()) == 2

    def test_partitions_of_others(self, make: Make, lake: Lake) -> None:
        """They are neither counted nor dropped."""
        target = make(mode="register", layout="per_execution", keep_partitions=1)
        target.emit(lineage(dataset(1)))
        where = {"DatabaseName": DATABASE, "TableName": ORDERS}
        lake.glue.create_partition(**where, PartitionInput={"Values": ["theirs"]})

        target.emit(lineage(dataset(2)))

        assert set(partitions(lake)) == {"theirs", "e2"}

    def test_many_at_once(self, make: Make, lake: Lake) -> None:
        """Glue deletes 25 in a request."""
        keep_all = make(mode="register", layout="per_execution")
        for number in range(30):
            keep_all.emit(lineage(dataset(number)))

        make(mode="register", layout="per_execution", keep_partitions=1).emit(lineage(dataset(99)))

        assert set(partitions(lake)) == {"e99"}


class TestCopies:
    """Each partition points at a copy of its own."""

    def test_each_is_whole(self, copying: GlueCatalogTarget, lake: Lake) -> None:
        """The table points at the folder of them all."""
        for number in (1, 2):
            lake.put(number)
            copying.emit(lineage(dataset(number)))

        assert lake.location == f"s3://lake/{HOME}"
        for number, (name, one) in enumerate(sorted(partitions(lake).items()), start=1):
            assert name == f"e{number}"
            assert lake.objects(one["StorageDescriptor"]["Location"]) == data(number)

    def test_copies_of_dropped_partitions(self, copying: GlueCatalogTarget, lake: Lake) -> None:
        """They go later; those of others never."""
        for number in range(1, 8):
            lake.put(number)
            copying.emit(lineage(dataset(number)))
            for name, one in partitions(lake).items():
                assert lake.objects(one["StorageDescriptor"]["Location"]) == data(int(name[1:]))

        assert set(partitions(lake)) == {"e6", "e7"}
        assert len(lake.copies()) <= 4

    def test_source_is_gone(self, copying: GlueCatalogTarget, lake: Lake) -> None:
        """A partition whose data was copied while it was there stays as it is."""
        lake.put(1)
        copying.emit(lineage(dataset(1)))
        before = partitions(lake)
        for name in data(1):
            lake.s3.delete_object(Bucket="raw", Key=folder(1) + name)

        assert copying.emit(lineage(dataset(1))) == []
        assert partitions(lake) == before

    def test_death_at_every_call(self, make: Make, lake: Lake) -> None:
        """Whatever partition there is, its data is whole."""
        options = {"layout": "per_execution", "keep_partitions": 1, "keep_copies_hours": 0}
        number, died = 1, True
        while died:
            lake.begin()
            for run in (1, 2, 3):
                lake.put(run, data(run, files=2))
                if run < 3:
                    make(**options).emit(lineage(dataset(run)))
            target = make(**options)
            reached = die_after(target, number)

            with suppress(Died):
                target.emit(lineage(dataset(3)))

            self.assert_whole(lake)
            assert make(**options).emit(lineage(dataset(3))) == []
            self.assert_whole(lake)
            assert set(partitions(lake)) == {"e3"}
            died, number = reached(), number + 1
        assert number > 15

    @staticmethod
    def assert_whole(lake: Lake) -> None:
        for name, one in partitions(lake).items():
            written = data(int(name[1:]), files=2)
            assert lake.objects(one["StorageDescriptor"]["Location"]) == written

    def test_copy_that_is_being_removed(self, copying: GlueCatalogTarget, lake: Lake) -> None:
        """An execution that comes back gets a copy that nobody deletes."""
        for number in range(1, 6):
            lake.put(number)
            copying.emit(lineage(dataset(number)))
        removed = set(History.of(lake.table() or {}).removed)
        back = dataset(1).model_copy(update={"as_of": NOW + timedelta(days=1)})

        copying.emit(lineage(back))

        location = partitions(lake)["e1"]["StorageDescriptor"]["Location"]
        assert removed
        assert location.split("/")[-2] not in removed
        assert lake.objects(location) == data(1)


class TestChanges:
    """A table keeps the layout that it was made with."""

    def test_from_latest(self, make: Make, lake: Lake) -> None:
        """Glue changes no partition keys: the reason says what can be done."""
        make(mode="register").emit(lineage(dataset(1)))
        before = lake.table()

        (rejection,) = make(mode="register", layout="per_execution").emit(lineage(dataset(2)))

        assert 'layout = "latest"' in rejection.reason
        assert "GlueCatalogTarget.table_name" in rejection.reason
        assert lake.table() == before

    def test_to_latest(self, make: Make, lake: Lake) -> None:
        """And the other way round."""
        make(mode="register", layout="per_execution").emit(lineage(dataset(1)))
        before = lake.table()

        (rejection,) = make(mode="register").emit(lineage(dataset(2)))

        assert 'layout = "per_execution"' in rejection.reason
        assert lake.table() == before


class TestRequests:
    """What moto does not look at."""

    def test_no_right(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """The message names the right."""
        target.emit(lineage(dataset(1)))
        table = {k: v for k, v in (lake.table() or {}).items() if k != "CreateTime"}

        with Stubber(target.client) as stub:
            stub.add_response("get_table", {"Table": table})
            stub.add_client_error("get_partition", "AccessDeniedException")

            with pytest.raises(TargetUnavailable, match="glue:GetPartition"):
                target.emit(lineage(dataset(2)))

    def test_pages_of_partitions(self, make: Make, lake: Lake) -> None:
        """All are seen, without their columns."""
        target = make(mode="register", layout="per_execution", keep_partitions=1)
        target.emit(lineage(dataset(1)))
        catalog = target._catalog
        where = {"DatabaseName": "d", "TableName": "t", "ExcludeColumnSchema": True}

        with Stubber(target.client) as stub:
            first = {"Partitions": [{"Values": ["a"]}], "NextToken": "more"}
            stub.add_response("get_partitions", first, where)
            stub.add_response(
                "get_partitions",
                {"Partitions": [{"Values": ["b"]}]},
                {**where, "NextToken": "more"},
            )

            found = catalog.partitions("d", "t")

        assert [one["Values"] for one in found] == [["a"], ["b"]]

    def test_partition_that_cannot_be_dropped(self, make: Make, lake: Lake) -> None:
        """Of a batch each may fail by itself; one that is gone is no failure."""
        catalog = make(mode="register", layout="per_execution")._catalog
        gone, denied = (
            {"PartitionValues": ["a"], "ErrorDetail": {"ErrorCode": code, "ErrorMessage": "m"}}
            for code in ("EntityNotFoundException", "AccessDeniedException")
        )

        with Stubber(catalog._client) as stub:
            stub.add_response("batch_delete_partition", {"Errors": [gone]})
            catalog.delete_partitions("d", "t", ["a"])
            stub.add_response("batch_delete_partition", {"Errors": [gone, denied]})
            with pytest.raises(TargetUnavailable, match="glue:BatchDeletePartition"):
                catalog.delete_partitions("d", "t", ["a"])
