"""GlueCatalogTarget: tables in place, nobody's words lost, nothing written twice."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from botocore.stub import ANY, Stubber
from traitlets import TraitError, Unicode
from traitlets.config import LoggingConfigurable

from flytelineage.entities import (
    IO,
    Dataset,
    Edge,
    Evidence,
    Owner,
    Ownership,
    Partial,
    Profile,
    Properties,
    Run,
    Schema,
    Storage,
    Tags,
    Task,
    Version,
)
from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError
from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.targets.glue.tables import location
from flytelineage.targets.glue.text import fingerprint
from flytelineage.testing.aws import LocalAws, local_aws
from tests.factories import EXECUTION
from tests.targets.glue_tables import (
    DATABASE,
    ELSEWHERE,
    FOLDER,
    LOAD,
    ORDERS,
    PARQUET,
    calls_of,
    change_table,
    column,
    dataset,
    lineage,
    make_table,
    operation,
    schema,
    table,
    tables,
)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with local_aws() as aws:
        yield aws


@pytest.fixture(scope="module")
def client(aws: LocalAws) -> Iterator[Any]:
    client = aws.client("glue")
    yield client
    client.close()


@pytest.fixture
def glue(aws: LocalAws, client: Any) -> Any:
    """A client for what the target has written; at first there is nothing."""
    aws.reset()
    return client


@pytest.fixture
def make(glue: Any) -> Iterator[Callable[..., GlueCatalogTarget]]:
    made = []

    def make(**options: Any) -> GlueCatalogTarget:
        made.append(GlueCatalogTarget(**options))
        return made[-1]

    yield make
    for target in made:
        target.close()


@pytest.fixture
def target(make: Callable[..., GlueCatalogTarget]) -> GlueCatalogTarget:
    return make()


class TestTables:
    """What a table says."""

    def test_new_table(self, target: GlueCatalogTarget, glue: Any) -> None:
        """All that is known of a dataset, in the form that Athena and crawlers use."""
        read = Edge(dataset=dataset("raw").id, evidence=(Evidence.DATA,), variables=("raw",))
        told = dataset(
            schema=schema(column("Id"), column("name", "string", "Who ordered")),
            properties=Properties(description="All orders", url="https://flyte/orders"),
            profile=Profile(rows=10),
            ownership=Ownership(owners=(Owner(id="ann"), Owner(id="bob"))),
            tags=Tags(names=("gold", "pii")),
            operation=operation(),
        )
        load = Task.of(LOAD, version=Version(version="v7"), io=IO(inputs=(read,)))

        rejections = target.emit(lineage(told, tasks=(load,)))

        found = table(glue)
        for key in ("CatalogId", "CreateTime", "VersionId"):
            found.pop(key)
        hashes = {k: found["Parameters"].pop(k) for k in list(found["Parameters"]) if "hash" in k}
        assert rejections == []
        assert set(hashes) == {"flytelineage.schema_hash"}
        assert found == {
            "DatabaseName": DATABASE,
            "Name": ORDERS,
            "Description": "All orders",
            "Owner": "ann",
            "TableType": "EXTERNAL_TABLE",
            "PartitionKeys": [],
            "StorageDescriptor": {
                "Location": FOLDER + "/",
                "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                "SerdeInfo": {
                    "SerializationLibrary": (
                        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
                    ),
                    "Parameters": {"serialization.format": "1"},
                },
                "Columns": [
                    {"Name": "id", "Type": "bigint", "Parameters": {"flytelineage.name": "Id"}},
                    {
                        "Name": "name",
                        "Type": "string",
                        "Comment": "Who ordered",
                        "Parameters": {"flytelineage.comment": fingerprint("Who ordered")},
                    },
                ],
            },
            "Parameters": {
                "EXTERNAL": "TRUE",
                "classification": "parquet",
                "compressionType": "none",
                "typeOfData": "file",
                "recordCount": "10",
                "objectCount": "1",
                "sizeKey": "1000",
                "averageRecordSize": "100",
                "flyte.project": "shop",
                "flyte.domain": "production",
                "flyte.workflow": "app.daily",
                "flyte.task": "app.load",
                "flyte.variable": "orders",
                "flyte.version": "v7",
                "flyte.execution": "a1b2",
                "flyte.url": "https://flyte/orders",
                "lineage.producer": "shop.production.app.daily.app.load",
                "lineage.upstream": "flyte:shop.production.app.daily.app.load.raw",
                "flytelineage.managed": "true",
                "flytelineage.dataset": "flyte:shop.production.app.daily.app.load.orders",
                "flytelineage.description": fingerprint("All orders"),
                "flytelineage.tags": "gold,pii",
            },
        }

    def test_library_use(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A dataset alone gets the table that its name says."""
        target.emit([dataset()])

        assert tables(glue) == {ORDERS: "flyte:shop.production.app.daily.app.load.orders"}

    @pytest.mark.parametrize(
        "told",
        [
            dataset(schema=None),
            dataset(storage=None),
            dataset(storage=None, schema=None),
            dataset(schema=schema(column(kind="union"))),
            dataset(storage=PARQUET.model_copy(update={"format": "orc"})),
            dataset(storage=PARQUET.model_copy(update={"uri": "gs://flyte/data/orders"})),
            dataset(
                storage=PARQUET.model_copy(update={"format": None}),
                schema=Schema(fields=(column(),), source="declared"),
            ),
            Dataset(platform="s3", name="lake/orders", schema=schema(), storage=PARQUET),
        ],
    )
    def test_no_table(self, target: GlueCatalogTarget, glue: Any, told: Dataset) -> None:
        """Another format or store, no schema, or only read: there is not even a database."""
        rejections = target.emit(lineage(told))

        assert rejections == []
        assert glue.get_databases()["DatabaseList"] == []

    def test_data_outside_flyte(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A dataset with a name of its own gets a table when a task here wrote it."""
        told = Dataset(platform="s3", name="lake/Sales", schema=schema(), storage=PARQUET)
        run = Run(execution=EXECUTION, node="n0", attempt=0, task=LOAD, outputs=(told.id,))

        target.emit(lineage(told, runs=(run,)))

        assert tables(glue) == {"daily__load__sales": "s3:lake/Sales"}

    def test_names_by_options(self, make: Callable[..., GlueCatalogTarget], glue: Any) -> None:
        """The operator decides on database, table, and tags of the database."""
        target = make(
            db_name="Lake", table_name="{project}_{variable}", database_tags={"team": "data"}
        )

        target.emit(lineage(dataset()))

        assert list(tables(glue, "lake")) == ["shop_orders"]
        arn = "arn:aws:glue:us-east-1:123456789012:database/lake"
        assert glue.get_tags(ResourceArn=arn)["Tags"] == {"team": "data"}

    @pytest.mark.parametrize("template", ["{workflw}", "{task", "table", "{}", "{task.name}"])
    def test_template_with_a_mistake(self, template: str) -> None:
        """A template that cannot work is refused with the keys that exist."""
        with pytest.raises(TraitError, match=r"GlueCatalogTarget\.table_name"):
            GlueCatalogTarget(table_name=template)

    def test_left_out_column_is_told(
        self, target: GlueCatalogTarget, glue: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A column without a type costs itself only; table and log name it."""
        told = dataset(schema=schema(column(), column("choice", "union")))
        target.log.propagate = True

        with caplog.at_level(logging.WARNING):
            rejections = target.emit(lineage(told))

        found = table(glue)
        assert rejections == []
        assert [c["Name"] for c in found["StorageDescriptor"]["Columns"]] == ["id"]
        assert found["Parameters"]["flytelineage.columns_left_out"] == "choice"
        assert "choice" in caplog.text


@pytest.mark.parametrize(
    ("uri", "folder", "expected"),
    [
        ("s3://b/lake/orders", True, "s3://b/lake/orders/"),
        ("s3://b/lake/orders/", None, "s3://b/lake/orders/"),
        ("s3a://b/lake/orders", True, "s3://b/lake/orders/"),
        (FOLDER, None, FOLDER + "/"),
        (FOLDER + "/orders.parquet", False, FOLDER + "/"),
        (FOLDER + "/orders.parquet", None, FOLDER + "/"),
        (FOLDER, False, None),
        ("s3://b/lake/orders.parquet", False, None),
        ("s3://b/lake/orders", None, None),
        ("s3://b", True, None),
        ("https://b/lake/orders", True, None),
    ],
)
def test_location(uri: str, folder: bool | None, expected: str | None) -> None:
    """A folder that holds nothing else; a file only where Flyte put it alone."""
    assert location(Storage(uri=uri, folder=folder)) == expected


class TestRepeating:
    """A table is touched when it has something new to say, and only then."""

    def test_second_time(self, target: GlueCatalogTarget, glue: Any) -> None:
        """The same lineage again reads once and writes nothing."""
        told = lineage(dataset(properties=Properties(description="All orders")))
        target.emit(told)
        calls = calls_of(target)

        target.emit(told)

        assert calls == ["GetTable"]

    def test_another_execution_alone(self, target: GlueCatalogTarget) -> None:
        """That another execution wrote the same is no reason for a new version."""
        target.emit(lineage(dataset(operation=operation())))
        calls = calls_of(target)

        target.emit(lineage(dataset(operation=operation(execution="c3d4"))))

        assert calls == ["GetTable"]

    def test_new_run(self, target: GlueCatalogTarget, glue: Any) -> None:
        """The newest run moves the table to its data."""
        target.emit(lineage(dataset(operation=operation())))

        target.emit(lineage(dataset(storage=ELSEWHERE, operation=operation(execution="c3d4"))))

        found = table(glue)
        assert found["StorageDescriptor"]["Location"] == ELSEWHERE.uri + "/"
        assert found["Parameters"]["flyte.execution"] == "c3d4"

    def test_counts_of_old_data(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Counts do not outlive the data that they are of."""
        target.emit(lineage(dataset(profile=Profile(rows=10))))

        target.emit(lineage(dataset(storage=Storage(uri=ELSEWHERE.uri, folder=True))))

        parameters = table(glue)["Parameters"]
        assert not {"recordCount", "objectCount", "sizeKey", "averageRecordSize"} & set(parameters)

    def test_counts_of_a_part(self, target: GlueCatalogTarget, glue: Any) -> None:
        """They are never told for the whole, and the older ones no longer hold."""
        target.emit(lineage(dataset(profile=Profile(rows=10))))

        partial = Profile(bytes=70, partial=Partial(files=2, rows=5))
        storage = PARQUET.model_copy(update={"files": 3, "bytes": 70})
        target.emit(lineage(dataset(storage=storage, profile=partial)))

        parameters = table(glue)["Parameters"]
        assert not {"recordCount", "averageRecordSize"} & set(parameters)
        assert (parameters["objectCount"], parameters["sizeKey"]) == ("3", "70")

    def test_storage_alone(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Without a schema the table moves and keeps its columns."""
        target.emit(lineage(dataset()))
        before = table(glue)

        target.emit(lineage(dataset(schema=None, storage=ELSEWHERE)))

        found = table(glue)
        assert found["StorageDescriptor"]["Location"] == ELSEWHERE.uri + "/"
        assert found["StorageDescriptor"]["Columns"] == before["StorageDescriptor"]["Columns"]
        assert found["Parameters"] == before["Parameters"]

    def test_schema_alone(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Without storage the columns change and the table stays where it is."""
        target.emit(lineage(dataset()))

        target.emit(lineage(dataset(schema=schema(column("name", "string")), storage=None)))

        storage = table(glue)["StorageDescriptor"]
        assert storage["Columns"] == [{"Name": "name", "Type": "string"}]
        assert storage["Location"] == FOLDER + "/"

    def test_other_format(self, target: GlueCatalogTarget, glue: Any) -> None:
        """CSV without its columns does not move a Parquet table there."""
        target.emit(lineage(dataset()))
        csv = ELSEWHERE.model_copy(update={"format": "csv"})

        target.emit(lineage(dataset(schema=None, storage=csv)))

        assert table(glue)["StorageDescriptor"]["Location"] == FOLDER + "/"
        assert target.copies() == {}

    def test_many_tables(self, target: GlueCatalogTarget, glue: Any) -> None:
        """The database is made once, and asked for no more often than that needs."""
        calls = calls_of(target)

        target.emit(lineage(*(dataset(f"o{number}") for number in range(5))))

        assert calls.count("CreateDatabase") == 1
        # Before it was made, and for the account that owns it.
        assert calls.count("GetDatabase") == 2
        assert len(tables(glue)) == 5


class TestMerging:
    """What people and other programs wrote stays."""

    def test_foreign_words(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Parameters, comments, description and owner of others survive an update."""
        told = dataset(
            schema=schema(column(description="Ours")),
            properties=Properties(description="Ours"),
            ownership=Ownership(owners=(Owner(id="ann"),)),
        )
        target.emit(lineage(told))

        def edit(ours: dict[str, Any]) -> None:
            ours.update(Description="Theirs", Owner="zoe", Retention=7)
            ours["Parameters"]["team"] = "data"
            ours["StorageDescriptor"]["Parameters"] = {"crawler": "x"}
            ours["StorageDescriptor"]["Columns"][0]["Comment"] = "Theirs"
            ours["StorageDescriptor"]["Columns"][0]["Parameters"]["pii"] = "no"

        change_table(glue, edit)

        newer = told.model_copy(
            update={"schema_": schema(column(description="Ours"), column("name", "string"))}
        )
        target.emit(lineage(newer))

        found = table(glue)
        first, second = found["StorageDescriptor"]["Columns"]
        assert (found["Description"], found["Owner"], found["Retention"]) == ("Theirs", "zoe", 7)
        assert found["Parameters"]["team"] == "data"
        assert found["StorageDescriptor"]["Parameters"] == {"crawler": "x"}
        assert first["Comment"] == "Theirs"
        assert first["Parameters"] == {"pii": "no"}
        assert second["Name"] == "name"

    def test_our_words(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Texts that we wrote ourselves are replaced by newer ones."""
        for text in ("Old", "New"):
            told = dataset(
                schema=schema(column(description=text)), properties=Properties(description=text)
            )
            target.emit(lineage(told))

        found = table(glue)
        assert found["Description"] == "New"
        assert found["StorageDescriptor"]["Columns"][0]["Comment"] == "New"

    def test_unknown_words(self, target: GlueCatalogTarget, glue: Any) -> None:
        """What is not known this time stays as it was told."""
        target.emit(
            lineage(
                dataset(
                    schema=schema(column(description="Ours")),
                    properties=Properties(description="Ours"),
                    tags=Tags(names=("gold",)),
                )
            )
        )

        target.emit(lineage(dataset(storage=ELSEWHERE)))

        found = table(glue)
        assert found["Description"] == "Ours"
        assert found["StorageDescriptor"]["Columns"][0]["Comment"] == "Ours"
        assert found["Parameters"]["flytelineage.tags"] == "gold"

    def test_repaired_type(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A type that somebody put right stays until the schema itself changes."""
        target.emit(lineage(dataset()))
        change_table(
            glue, lambda ours: ours["StorageDescriptor"]["Columns"][0].update(Type="decimal(20,0)")
        )

        target.emit(lineage(dataset(storage=ELSEWHERE)))

        assert table(glue)["StorageDescriptor"]["Columns"][0]["Type"] == "decimal(20,0)"

    def test_moved_by_hand(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A location that is not the data's is put right."""
        target.emit(lineage(dataset()))
        change_table(glue, lambda ours: ours["StorageDescriptor"].update(Location="s3://b/x/"))

        target.emit(lineage(dataset()))

        assert table(glue)["StorageDescriptor"]["Location"] == FOLDER + "/"


class TestOwnership:
    """Tables of others are left alone."""

    @pytest.mark.parametrize(
        ("theirs", "adopt", "reason"),
        [
            ({}, False, "adopt_existing = True"),
            ({"TargetTable": {"DatabaseName": "d", "Name": "t"}}, True, "resource link"),
            ({"TableType": "VIRTUAL_VIEW"}, True, "a view"),
            ({"ViewOriginalText": "/* Presto View */"}, True, "a view"),
            ({"TableType": "MATERIALIZED_VIEW"}, True, "a view"),
            ({"Parameters": {"table_type": "ICEBERG"}}, True, "iceberg"),
            ({"Parameters": {"classification": "delta"}}, True, "delta"),
            (
                {
                    "StorageDescriptor": {
                        "InputFormat": "org.apache.hudi.hadoop.HoodieParquetInputFormat"
                    }
                },
                True,
                "hudi",
            ),
            ({"Parameters": {"spark.sql.sources.provider": "delta"}}, True, "delta"),
            (
                {"Parameters": {"table_type": "ICEBERG", "flytelineage.managed": "true"}},
                False,
                "iceberg",
            ),
        ],
    )
    def test_protected_table(
        self,
        make: Callable[..., GlueCatalogTarget],
        glue: Any,
        theirs: dict[str, Any],
        adopt: bool,
        reason: str,
    ) -> None:
        """The dataset is refused with the reason, and the next one is not."""
        make_table(glue, **theirs)
        before = table(glue)

        rejections = make(adopt_existing=adopt).emit(lineage(dataset(), dataset("other")))

        assert [r.entity for r in rejections] == [dataset().urn]
        assert reason in rejections[0].reason
        assert table(glue) == before
        assert "daily__load__other" in tables(glue)

    def test_adopted_table(self, make: Callable[..., GlueCatalogTarget], glue: Any) -> None:
        """An operator may let us take over a table; its words and partitions stay."""
        make_table(
            glue,
            Description="Theirs",
            PartitionKeys=[{"Name": "day", "Type": "date"}],
            StorageDescriptor={"Columns": [{"Name": "ID", "Type": "int", "Comment": "Key"}]},
            Parameters={"classification": "csv", "team": "data"},
        )
        told = dataset(schema=schema(column("ID"), column("day", "date")))

        rejections = make(adopt_existing=True).emit(lineage(told))

        found = table(glue)
        assert rejections == []
        assert found["Description"] == "Theirs"
        assert found["PartitionKeys"] == [{"Name": "day", "Type": "date"}]
        assert [c["Name"] for c in found["StorageDescriptor"]["Columns"]] == ["id"]
        assert found["Parameters"]["classification"] == "parquet"
        assert found["Parameters"]["team"] == "data"
        assert found["Parameters"]["flytelineage.managed"] == "true"


class TestCollisions:
    """Two datasets whose tables would have one name."""

    first = dataset(task="app.load")
    second = dataset(task="other.load")

    def test_two_datasets(self, target: GlueCatalogTarget, glue: Any) -> None:
        """The later gets a digest behind the name, and both keep theirs from then on."""
        target.emit(lineage(self.first))
        target.emit(lineage(self.second))
        before = tables(glue)
        calls = calls_of(target)

        target.emit(lineage(self.second, self.first))

        assert tables(glue) == before
        assert sorted(before.values()) == sorted([str(self.first.id), str(self.second.id)])
        assert before[ORDERS] == str(self.first.id)
        assert set(calls) == {"GetTable"}

    def test_plain_name_becomes_free(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A dataset that had to give way does not move, so that queries keep working."""
        target.emit(lineage(self.first, self.second))
        glue.delete_table(DatabaseName=DATABASE, Name=ORDERS)
        before = tables(glue)

        target.emit(lineage(self.second))

        assert tables(glue) == before


class TestConcurrency:
    """Others write at the same time. moto ignores versions, so answers are scripted."""

    theirs = {"Name": ORDERS, "Parameters": {"flytelineage.managed": "true"}}

    @pytest.fixture
    def stub(self, target: GlueCatalogTarget) -> Iterator[Stubber]:
        with Stubber(target.client) as stub:
            yield stub
            stub.assert_no_pending_responses()

    def answers_table(self, stub: Stubber, version: str = "3", **fields: Any) -> None:
        table = {**self.theirs, "VersionId": version, **fields}
        stub.add_response("get_table", {"Table": table})

    def expect_update(self, stub: Stubber, **expected: Any) -> None:
        parameters = {"DatabaseName": DATABASE, "TableInput": ANY, "VersionId": "3"}
        stub.add_response("update_table", {}, {**parameters, "SkipArchive": True, **expected})

    def test_update_names_the_version(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """An update holds only for what was read, and leaves no old version behind."""
        self.answers_table(stub, version="3")
        self.expect_update(stub, VersionId="3", SkipArchive=True)

        assert target.emit(lineage(dataset())) == []

    def test_versioning(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """On demand Glue archives what is replaced."""
        target.versioning = True
        self.answers_table(stub)
        self.expect_update(stub, SkipArchive=False)

        assert target.emit(lineage(dataset())) == []

    def test_other_catalogue(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """Every call names the account that owns the catalogue."""
        target.catalog_id = "999999999999"
        stub.add_response(
            "get_table",
            {"Table": {**self.theirs, "VersionId": "3"}},
            {"CatalogId": "999999999999", "DatabaseName": DATABASE, "Name": ORDERS},
        )
        self.expect_update(stub, CatalogId="999999999999")

        assert target.emit(lineage(dataset())) == []

    def test_what_glue_adds_is_not_sent_back(
        self, target: GlueCatalogTarget, stub: Stubber
    ) -> None:
        """Glue refuses its own fields in an update."""
        self.answers_table(stub, CreatedBy="arn", IsRegisteredWithLakeFormation=False)
        sent: list[dict[str, Any]] = []
        self.expect_update(stub)
        target.client.meta.events.register(
            "provide-client-params.glue.UpdateTable", lambda params, **_: sent.append(params)
        )

        target.emit(lineage(dataset()))

        assert not {"CreatedBy", "VersionId", "IsRegisteredWithLakeFormation"} & set(
            sent[0]["TableInput"]
        )

    @pytest.mark.parametrize(
        "error", ["ConcurrentModificationException", "EntityNotFoundException"]
    )
    def test_changed_meanwhile(self, target: GlueCatalogTarget, stub: Stubber, error: str) -> None:
        """The table is read and merged again."""
        self.answers_table(stub)
        stub.add_client_error("update_table", error)
        self.answers_table(stub, version="4", Parameters={**self.theirs["Parameters"], "new": "1"})
        self.expect_update(stub, VersionId="4")

        assert target.emit(lineage(dataset())) == []

    def test_changes_without_end(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """After a few rounds it is left for later."""
        for _ in range(5):
            self.answers_table(stub)
            stub.add_client_error("update_table", "ConcurrentModificationException")

        with pytest.raises(TransientTargetError, match="keeps changing"):
            target.emit(lineage(dataset()))

    def test_created_meanwhile(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """Somebody created the table between our look and our call: it is updated."""
        for _ in range(2):
            stub.add_client_error("get_table", "EntityNotFoundException")
        stub.add_client_error("get_database", "EntityNotFoundException")
        stub.add_client_error("create_database", "AlreadyExistsException")
        stub.add_client_error("create_table", "AlreadyExistsException")
        self.answers_table(stub)
        self.expect_update(stub)

        assert target.emit(lineage(dataset())) == []

    def test_database_removed_meanwhile(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A database that is remembered but gone is made again."""
        target.emit(lineage(dataset()))
        glue.delete_database(Name=DATABASE)

        rejections = target.emit(lineage(dataset()))

        assert rejections == []
        assert list(tables(glue)) == [ORDERS]


class TestErrors:
    """What failed decides what the daemon does."""

    @pytest.fixture
    def stub(self, target: GlueCatalogTarget) -> Iterator[Stubber]:
        with Stubber(target.client) as stub:
            yield stub

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("AccessDeniedException", 400),
            ("ExpiredTokenException", 400),
            ("UnrecognizedClientException", 400),
            ("SomethingNew", 403),
        ],
    )
    def test_refused(
        self, target: GlueCatalogTarget, stub: Stubber, code: str, status: int
    ) -> None:
        """Without the right everything waits, and the message names the right."""
        stub.add_client_error("get_table", code, "no\nway", http_status_code=status)

        with pytest.raises(TargetUnavailable, match=r"glue:GetTable.*no way"):
            target.emit(lineage(dataset()))

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("ThrottlingException", 400),
            ("OperationTimeoutException", 400),
            ("InternalServiceException", 500),
            ("SomethingNew", 503),
        ],
    )
    def test_busy(self, target: GlueCatalogTarget, stub: Stubber, code: str, status: int) -> None:
        """What may work later is tried later."""
        stub.add_client_error("get_table", code, http_status_code=status)

        with pytest.raises(TransientTargetError, match=code):
            target.emit(lineage(dataset()))

    def test_busy_until(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """A time that Glue asks for is passed on."""
        stub.add_client_error(
            "get_table",
            "ThrottlingException",
            http_status_code=429,
            response_meta={"HTTPHeaders": {"retry-after": "7"}},
        )

        with pytest.raises(TransientTargetError) as caught:
            target.emit(lineage(dataset()))

        assert caught.value.retry_after == 7

    @pytest.mark.parametrize(
        "code", ["InvalidInputException", "ResourceNumberLimitExceededException"]
    )
    def test_one_table_refused(self, target: GlueCatalogTarget, stub: Stubber, code: str) -> None:
        """One dataset that Glue does not take costs no other."""
        managed = {"Name": "t", "Parameters": {"flytelineage.managed": "true"}, "VersionId": "1"}
        for answer in (
            lambda: stub.add_client_error("update_table", code, "bad table"),
            lambda: stub.add_response("update_table", {}),
        ):
            stub.add_response("get_table", {"Table": managed})
            answer()

        rejections = target.emit(lineage(dataset(), dataset("other")))

        assert [r.entity for r in rejections] == [dataset().urn]
        assert "bad table" in rejections[0].reason
        stub.assert_no_pending_responses()

    @pytest.mark.parametrize(
        ("raised", "expected"),
        [
            (NoCredentialsError(), TargetUnavailable),
            (EndpointConnectionError(endpoint_url="https://glue"), TransientTargetError),
            (ReadTimeoutError(endpoint_url="https://glue"), TransientTargetError),
        ],
    )
    def test_no_answer(
        self, target: GlueCatalogTarget, raised: Exception, expected: type[Exception]
    ) -> None:
        """A call that reached nobody is told from one that had no credentials."""

        def fail(**_: Any) -> None:
            raise raised

        target.client.meta.events.register("before-call.glue", fail)

        with pytest.raises(expected):
            target.emit(lineage(dataset()))

    def test_nobody_listens(
        self, make: Callable[..., GlueCatalogTarget], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An endpoint that is down is tried again later."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

        with pytest.raises(TransientTargetError, match="does not answer"):
            make(max_attempts=1).emit(lineage(dataset()))

    def test_no_region(
        self, make: Callable[..., GlueCatalogTarget], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The message says which option is missing."""
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        monkeypatch.delenv("AWS_ENDPOINT_URL")

        with pytest.raises(TargetUnavailable, match=r"GlueCatalogTarget\.aws_region"):
            make().emit(lineage(dataset()))

    def test_missing_database(self, make: Callable[..., GlueCatalogTarget], glue: Any) -> None:
        """When databases are made by others, everything waits for them."""
        target = make(create_database=False)

        with pytest.raises(TargetUnavailable, match=f"{DATABASE}.*glue:CreateDatabase"):
            target.emit(lineage(dataset()))

        assert glue.get_databases()["DatabaseList"] == []


class TestCheck:
    """`check --connect` says what is wrong before anything is consumed."""

    def test_all_well(self, make: Callable[..., GlueCatalogTarget], glue: Any) -> None:
        """An answer is enough; nothing is created."""
        target = make(db_name="lake")
        calls = calls_of(target)

        target.check()

        assert calls == ["GetDatabase"]
        assert glue.get_databases()["DatabaseList"] == []

    def test_missing_database(self, make: Callable[..., GlueCatalogTarget]) -> None:
        """A database that nobody will create."""
        with pytest.raises(ConfigError, match="database lake does not exist"):
            make(db_name="lake", create_database=False).check()

    def test_refused(self, target: GlueCatalogTarget) -> None:
        """A missing right, with its name."""
        with Stubber(target.client) as stub:
            stub.add_client_error("get_database", "AccessDeniedException")

            with pytest.raises(ConfigError, match=r"GlueCatalogTarget: .*glue:GetDatabase"):
                target.check()


class TestClient:
    """How boto3 is used."""

    def test_nothing_heavy_before_the_first_call(self) -> None:
        """Constructing a target neither connects nor imports its client."""
        script = (
            "import sys; from flytelineage.targets.glue import GlueCatalogTarget as T; T();"
            "sys.exit(', '.join({'boto3', 'botocore', 'pyarrow'} & set(sys.modules)) or 0)"
        )

        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

        assert (ran.returncode, ran.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("own", "applications", "expected"),
        [
            ("eu-central-1", "us-west-2", "eu-central-1"),
            ("", "us-west-2", "us-west-2"),
            ("", "", "us-east-1"),
        ],
    )
    def test_region(
        self, make: Callable[..., GlueCatalogTarget], own: str, applications: str, expected: str
    ) -> None:
        """The target's own region, else the application's, else what boto3 finds."""

        class Application(LoggingConfigurable):
            aws_region = Unicode(applications)

        target = make(parent=Application(), aws_region=own)

        assert target.client.meta.region_name == expected

    def test_close(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A closed target connects again when it is needed, and closing twice is no harm."""
        target.emit(lineage(dataset()))
        target.close()
        target.close()

        assert target.emit(lineage(dataset(storage=ELSEWHERE))) == []
        assert table(glue)["StorageDescriptor"]["Location"] == ELSEWHERE.uri + "/"
