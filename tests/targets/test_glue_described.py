"""What a table says of data and lineage: formats, limits, choices, and its other name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.stub import Stubber
from traitlets import TraitError

from flytelineage.entities import (
    IO,
    Copy,
    Dataset,
    DatasetId,
    Edge,
    Evidence,
    Field,
    Owner,
    Ownership,
    PipelineId,
    Properties,
    Run,
    Schema,
    Storage,
    Task,
    TaskId,
)
from flytelineage.errors import PermanentTargetError, TargetUnavailable
from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.testing.aws import LocalAws, local_aws
from tests.factories import EXECUTION
from tests.targets.glue_tables import (
    DATABASE,
    ELSEWHERE,
    FOLDER,
    LOAD,
    ORDERS,
    PARQUET,
    PIPELINE,
    calls_of,
    change_table,
    column,
    dataset,
    lineage,
    make_table,
    schema,
    table,
    tables,
)

ARN = f"arn:aws:glue:us-east-1:123456789012:table/{DATABASE}"


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
        made[-1].log.propagate = True
        return made[-1]

    yield make
    for target in made:
        target.close()


@pytest.fixture
def target(make: Callable[..., GlueCatalogTarget]) -> GlueCatalogTarget:
    return make()


def text(
    format: str, *fields: Field, source: str = "declared", uri: str = FOLDER, **aspects: Any
) -> Dataset:
    """An output in files of text."""
    columns = Schema(fields=fields or (column("Id"), column("day", "date")), source=source)
    storage = Storage(uri=uri, format=format, folder=True)
    return dataset(**{"schema": columns, "storage": storage, **aspects})


def kinds(found: dict[str, Any]) -> dict[str, str]:
    return {c["Name"]: c["Type"] for c in found["StorageDescriptor"]["Columns"]}


def reader(found: dict[str, Any]) -> tuple[str, dict[str, str]]:
    serde = found["StorageDescriptor"]["SerdeInfo"]
    return serde["SerializationLibrary"], serde["Parameters"]


class TestText:
    """Files of text, each read by what reads it rightly."""

    def test_csv(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Quoted values, a line of names, and text in every column."""
        target.emit(lineage(text("csv", column("Id", "string"), source="header")))

        found = table(glue)
        assert kinds(found) == {"id": "string"}
        assert reader(found) == (
            "org.apache.hadoop.hive.serde2.OpenCSVSerde",
            {"separatorChar": ",", "quoteChar": '"', "escapeChar": "\x7f"},
        )
        storage = found["StorageDescriptor"]
        assert storage["InputFormat"] == "org.apache.hadoop.mapred.TextInputFormat"
        assert storage["OutputFormat"].endswith(".HiveIgnoreKeyTextOutputFormat")
        assert storage["Location"] == FOLDER + "/"
        parameters = found["Parameters"]
        assert parameters["classification"] == "csv"
        assert parameters["delimiter"] == ","
        assert parameters["skip.header.line.count"] == "1"
        assert "compressionType" not in parameters

    @pytest.mark.parametrize(
        ("platform", "skipped"),
        [("flyte", "1"), ("s3", None)],
    )
    def test_header_of_a_declared_schema(
        self, target: GlueCatalogTarget, glue: Any, platform: str, skipped: str | None
    ) -> None:
        """A file that flytekit wrote begins with one; of others, nobody knows."""
        told = text("csv").model_copy(update={"platform": platform})
        run = Run(execution=EXECUTION, node="n0", attempt=0, task=LOAD, outputs=(told.id,))

        target.emit(lineage(told, runs=(run, Run(execution=EXECUTION, pipeline=PIPELINE))))

        (name,) = tables(glue)
        assert table(glue, name)["Parameters"].get("skip.header.line.count") == skipped

    def test_compressed_csv(self, target: GlueCatalogTarget, glue: Any) -> None:
        """The name says so."""
        storage = Storage(uri=f"{FOLDER}/orders.csv.gz", format="csv", folder=False)

        target.emit(lineage(text("csv", storage=storage)))

        assert table(glue)["Parameters"]["compressionType"] == "gzip"

    @pytest.mark.parametrize("spelt", ["json", "jsonl", "ndjson"])
    def test_json(self, target: GlueCatalogTarget, glue: Any, spelt: str) -> None:
        """An object on each line; times are text, and keys that columns cannot have are named."""
        fields = (column("Id"), column("at", "timestamp"), column("a:b", "float"))

        target.emit(lineage(text(spelt, *fields)))

        found = table(glue)
        assert kinds(found) == {"id": "bigint", "at": "string", "a_b": "double"}
        assert reader(found) == ("org.openx.data.jsonserde.JsonSerDe", {"mapping.a_b": "a:b"})
        assert found["Parameters"]["classification"] == "json"

    @pytest.mark.parametrize("format", ["csv", "json"])
    def test_no_schema(self, target: GlueCatalogTarget, glue: Any, format: str) -> None:
        """Without columns there is no table."""
        rejections = target.emit(lineage(text(format, schema=None)))

        assert rejections == []
        assert glue.get_databases()["DatabaseList"] == []

    @pytest.mark.parametrize("format", ["csv", "json"])
    def test_second_time(self, target: GlueCatalogTarget, glue: Any, format: str) -> None:
        """Nothing is written again."""
        target.emit(lineage(text(format)))
        calls = calls_of(target)

        target.emit(lineage(text(format)))

        assert calls == ["GetTable"]

    def test_what_people_set_of_the_reader(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A separator that somebody put right stays, even with other columns."""
        target.emit(lineage(text("csv")))

        def edit(ours: dict[str, Any]) -> None:
            ours["StorageDescriptor"]["SerdeInfo"]["Parameters"]["separatorChar"] = ";"
            ours["Parameters"]["delimiter"] = ";"

        change_table(glue, edit)
        target.emit(lineage(text("csv", column("Id"), uri=ELSEWHERE.uri)))

        found = table(glue)
        assert list(kinds(found)) == ["id"]
        assert reader(found)[1]["separatorChar"] == ";"
        assert found["Parameters"]["delimiter"] == ";"

    def test_schema_alone(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Its types are those of the table's format."""
        target.emit(lineage(text("json")))
        new = Schema(fields=(column("at", "timestamp"),), source="declared")

        target.emit(lineage(dataset(schema=new, storage=None)))

        assert kinds(table(glue)) == {"at": "string"}


class TestAnotherFormat:
    """A task that writes another format than before."""

    def test_known_whole(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Columns, reader, place and parameters change together; people's words stay."""
        target.emit(lineage(text("csv", source="header")))
        change_table(glue, lambda ours: ours["Parameters"].update(team="data"))

        target.emit(lineage(dataset(storage=ELSEWHERE)))

        found = table(glue)
        assert kinds(found) == {"id": "bigint"}
        assert reader(found) == (
            "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            {"serialization.format": "1"},
        )
        assert found["StorageDescriptor"]["Location"] == ELSEWHERE.uri + "/"
        parameters = found["Parameters"]
        assert (parameters["classification"], parameters["team"]) == ("parquet", "data")
        assert not {"delimiter", "skip.header.line.count"} & set(parameters)

    @pytest.mark.parametrize("known", ["storage", "schema"])
    def test_known_in_part(self, target: GlueCatalogTarget, glue: Any, known: str) -> None:
        """Until all is known the table stays as it is, and is nobody's copy."""
        target.emit(lineage(dataset()))
        before = table(glue)
        told = text("csv", source="header", uri=ELSEWHERE.uri)
        unknown = {"storage": "schema_", "schema": "storage"}[known]

        target.emit(lineage(told.model_copy(update={unknown: None})))

        assert table(glue) == before
        assert target.copies() == {}

    def test_adopted_table_of_a_crawler(
        self, make: Callable[..., GlueCatalogTarget], glue: Any
    ) -> None:
        """It is read as we know the files; what told its own reader goes."""
        make_table(
            glue,
            StorageDescriptor={
                "Columns": [{"Name": "id", "Type": "bigint"}],
                "SerdeInfo": {
                    "SerializationLibrary": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                    "Parameters": {"field.delim": ","},
                },
            },
            Parameters={"classification": "csv", "areColumnsQuoted": "false"},
        )

        make(adopt_existing=True).emit(lineage(text("csv")))

        found = table(glue)
        assert kinds(found) == {"id": "string", "day": "string"}
        assert "field.delim" not in reader(found)[1]


class TestLineage:
    """What a table says of where its data comes from."""

    def load(self, *read: str, complete: bool = True) -> Task:
        edges = tuple(
            Edge(dataset=DatasetId(platform="s3", name=name), evidence=(Evidence.DATA,))
            for name in read
        )
        return Task.of(LOAD, io=IO(inputs=edges, complete=complete))

    def told(self, *read: str, complete: bool = True) -> Any:
        return lineage(dataset(), tasks=(self.load(*read, complete=complete),))

    def test_named(self, target: GlueCatalogTarget, glue: Any) -> None:
        """The task that wrote it, and what that read."""
        target.emit(self.told("lake/a", "lake/b"))

        parameters = table(glue)["Parameters"]
        assert parameters["lineage.producer"] == "shop.production.app.daily.app.load"
        assert parameters["lineage.upstream"] == "s3:lake/a, s3:lake/b"

    def test_nothing_is_read_any_more(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Then nothing is left of it."""
        target.emit(self.told("lake/a"))

        target.emit(self.told())

        assert "lineage.upstream" not in table(glue)["Parameters"]

    def test_not_known(self, target: GlueCatalogTarget, glue: Any) -> None:
        """What could not be read erases nothing."""
        target.emit(self.told("lake/a"))

        target.emit(self.told(complete=False))

        assert table(glue)["Parameters"]["lineage.upstream"] == "s3:lake/a"

    def test_bounded(self, target: GlueCatalogTarget, glue: Any) -> None:
        """Whole names as far as there is room, and how many there are beside."""
        names = [f"lake/{number:03}/" + "é" * 100 for number in range(200)]

        target.emit(self.told(*names))

        upstream = table(glue)["Parameters"]["lineage.upstream"]
        *kept, more = upstream.split(", ")
        assert len(upstream.encode()) < 16_100
        assert kept == [f"s3:{name}" for name in names[: len(kept)]]
        assert more == f"and {200 - len(kept)} more"


class TestLimits:
    """Glue's limits, none of which its client checks."""

    def emit(
        self, target: GlueCatalogTarget, caplog: pytest.LogCaptureFixture, told: Dataset
    ) -> str:
        with caplog.at_level(logging.WARNING):
            assert target.emit(lineage(told)) == []
        return caplog.text

    def test_texts(
        self, target: GlueCatalogTarget, glue: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """They are cut, each by its own limit, and one warning names them all."""
        told = dataset(
            schema=schema(column("c" * 2000, description="d" * 300)),
            properties=Properties(description="ü" * 2000),
            ownership=Ownership(owners=(Owner(id="o" * 300),)),
        )

        warned = self.emit(target, caplog, told)

        found = table(glue)
        (described,) = found["StorageDescriptor"]["Columns"]
        assert len(described["Name"]) == 1024
        assert len(described["Comment"]) == 255
        assert len(found["Description"].encode()) == 2048
        assert len(found["Owner"]) == 255
        assert len(caplog.records) == 1
        for what in ("the description", "the owner", "the name of column", "the comment of column"):
            assert f"{what}" in warned

    def test_control_characters(
        self, target: GlueCatalogTarget, glue: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """They are taken out; of line breaks nobody is told."""
        told = dataset(properties=Properties(description="All\x00 of\nthem", url="https://x\x07"))

        warned = self.emit(target, caplog, told)

        found = table(glue)
        assert found["Description"] == "All  of them"
        assert found["Parameters"]["flyte.url"] == "https://x"
        assert "the description loses its control characters" in warned
        assert "the parameter flyte.url loses its control characters" in warned

    def test_names(
        self, target: GlueCatalogTarget, glue: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Database and table; the cut name is the same each time."""
        pipeline = PipelineId(project="p" * 300, domain="production", name="app.daily")
        task = TaskId(pipeline=pipeline, name="t" * 300)
        told = dataset().model_copy(update={"name": f"{task}.orders"})
        run = Run(execution=EXECUTION, pipeline=pipeline)

        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert target.emit(lineage(told, runs=(run,))) == []

        (database,) = [found["Name"] for found in glue.get_databases()["DatabaseList"]]
        (name,) = tables(glue, database)
        assert (len(database), len(name)) == (255, 255)
        assert "the name of the database is cut to 255 bytes" in caplog.text
        assert "the name of the table is cut to 255 bytes" in caplog.text
        assert len(caplog.records) == 1

    def test_location(self, target: GlueCatalogTarget, glue: Any) -> None:
        """A cut location would be another place: the dataset is refused, and no other."""
        far = Storage(uri="s3://flyte/" + "d/" * 1100, format="parquet", folder=True)

        rejections = target.emit(lineage(dataset(storage=far), dataset("other")))

        assert [r.entity for r in rejections] == [dataset().urn]
        assert "longer than the 2056 bytes" in rejections[0].reason
        assert list(tables(glue)) == ["daily__load__other"]

    def test_many_columns(
        self, target: GlueCatalogTarget, glue: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A warning names some and counts the rest."""
        told = dataset(schema=schema(column(), *(column(f"u{n}", "union") for n in range(50))))

        warned = self.emit(target, caplog, told)

        assert "u9 and 40 more" in warned

    @pytest.mark.parametrize("name", ["x" * 256, "la\nke"])
    def test_database_of_the_operator(self, name: str) -> None:
        """What cannot be a database is refused at start."""
        with pytest.raises(TraitError, match=r"GlueCatalogTarget\.db_name"):
            GlueCatalogTarget(db_name=name)


class TestInclude:
    """The operator chooses what gets a table."""

    @pytest.mark.parametrize(
        ("globs", "expected"),
        [
            ([], {"orders", "rows"}),
            (["shop"], {"orders", "rows"}),
            (["shop/production/app.daily"], {"orders", "rows"}),
            (["*/*/*/*.load/orders"], {"orders"}),
            (["shop/production/app.*/app.load/r*", "other"], {"rows"}),
            (["shop/staging"], set()),
            (["*/*/*/app.other"], set()),
        ],
    )
    def test_globs(
        self,
        make: Callable[..., GlueCatalogTarget],
        glue: Any,
        globs: list[str],
        expected: set[str],
    ) -> None:
        """Parts at the end may be left out; one glob that fits is enough."""
        target = make(include=globs)

        assert target.emit(lineage(dataset("orders"), dataset("rows"))) == []

        made = tables(glue) if expected else {}
        assert set(made) == {f"daily__load__{name}" for name in expected}

    def test_left_out(
        self, make: Callable[..., GlueCatalogTarget], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log says why there is no table, to those who ask; Glue is not called."""
        target = make(include=["other"])
        target.log.setLevel(logging.DEBUG)
        calls = calls_of(target)

        with caplog.at_level(logging.DEBUG):
            target.emit(lineage(dataset()))

        target.log.setLevel(logging.NOTSET)
        assert "GlueCatalogTarget.include leaves it out" in caplog.text
        assert calls == []

    @pytest.mark.parametrize("glob", ["", "a//b", "/a", "a/b/c/d/e/f"])
    def test_nonsense(self, glob: str) -> None:
        """A glob that cannot fit anything is refused with its form."""
        with pytest.raises(TraitError, match=r"include.*project/domain/workflow/task/variable"):
            GlueCatalogTarget(include=[glob])


class TestCopies:
    """A table is the same data under the name that others have for it."""

    expected = Copy(
        dataset=DatasetId(platform="glue", name=f"{DATABASE}.{ORDERS}"),
        uri=f"{ARN}/{ORDERS}",
        columns=(("id", "id"),),
    )

    def test_new_table(self, target: GlueCatalogTarget) -> None:
        """It is told by the account that Glue says owns it."""
        target.emit(lineage(dataset()))

        assert target.copies() == {dataset().id: self.expected}

    def test_moved_and_unchanged_tables(self, target: GlueCatalogTarget) -> None:
        """They are named each time, and only those of the last time."""
        target.emit(lineage(dataset(), dataset("other")))

        for storage in (ELSEWHERE, ELSEWHERE):
            target.emit(lineage(dataset(storage=storage)))

            assert target.copies() == {dataset().id: self.expected}

    def test_the_next_process(self, target: GlueCatalogTarget, make: Callable[..., Any]) -> None:
        """It needs no call more to know the account."""
        target.emit(lineage(dataset()))
        other = make()
        calls = calls_of(other)

        other.emit(lineage(dataset()))

        assert calls == ["GetTable"]
        assert other.copies() == {dataset().id: self.expected}

    def test_columns(self, target: GlueCatalogTarget) -> None:
        """Each by its name in the data and in Glue, whether they were told this time or not."""
        target.emit(
            lineage(dataset(schema=schema(column("Id"), column("id"), column("u", "union"))))
        )
        told = target.copies()

        target.emit(lineage(dataset(schema=None, storage=ELSEWHERE)))

        assert told == target.copies()
        (copy,) = told.values()
        assert copy.columns == (("Id", "id"), ("id", "id_2"))

    def test_refused_and_missing(self, target: GlueCatalogTarget, glue: Any) -> None:
        """What has no table as we describe it has no other name."""
        make_table(glue)

        target.emit(lineage(dataset(), dataset("raw", schema=None)))

        assert target.copies() == {}

    def test_distinguished_name(self, target: GlueCatalogTarget) -> None:
        """It is told under the name that the table really has."""
        first, second = dataset(), dataset(task="other.load")

        target.emit(lineage(first, second))

        names = {id: copy.dataset.name for id, copy in target.copies().items()}
        assert names[first.id] == f"{DATABASE}.{ORDERS}"
        assert names[second.id].startswith(f"{DATABASE}.{ORDERS}_")

    def test_other_catalogue(self, target: GlueCatalogTarget) -> None:
        """Its account owns the table."""
        target.catalog_id = "999999999999"
        theirs = {"Name": ORDERS, "Parameters": {"flytelineage.managed": "true"}}

        with Stubber(target.client) as stub:
            stub.add_response("get_table", {"Table": {**theirs, "VersionId": "3"}})
            stub.add_response("update_table", {})
            target.emit(lineage(dataset()))

        (copy,) = target.copies().values()
        assert copy.uri == f"{ARN}/{ORDERS}".replace("123456789012", "999999999999")

    def test_unknown_account(self, target: GlueCatalogTarget) -> None:
        """A name with a hole would name nothing."""
        theirs = {"Name": ORDERS, "Parameters": {"flytelineage.managed": "true"}}

        with Stubber(target.client) as stub:
            stub.add_response("get_table", {"Table": theirs})
            stub.add_response("update_table", {})
            target.emit(lineage(dataset()))

        assert target.copies() == {}


DENIED = "Insufficient Lake Formation permission(s)"


class TestLakeFormation:
    """What it denies of one table is no concern of the others."""

    @pytest.fixture
    def stub(self, target: GlueCatalogTarget) -> Iterator[Stubber]:
        with Stubber(target.client) as stub:
            yield stub
            stub.assert_no_pending_responses()

    def deny(self, stub: Stubber, operation: str, message: str) -> None:
        stub.add_client_error(operation, "AccessDeniedException", f"{DENIED}: {message}")

    def test_denied_table(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """That dataset is refused with the grant that is missing; the next one is told."""
        ours = {"Name": "t", "Parameters": {"flytelineage.managed": "true"}, "VersionId": "1"}
        stub.add_response("get_table", {"Table": ours})
        self.deny(stub, "update_table", f"Required Alter on {ORDERS}")
        stub.add_response("get_table", {"Table": ours})
        stub.add_response("update_table", {})

        rejections = target.emit(lineage(dataset(), dataset("other")))

        assert [r.entity for r in rejections] == [dataset().urn]
        assert "grant the role ALTER on the table" in rejections[0].reason
        assert f"Required Alter on {ORDERS}" in rejections[0].reason

    @pytest.mark.parametrize(
        ("db_name", "message", "expected"),
        [
            ("", "Required Create Table on flyte_production_shop", PermanentTargetError),
            ("lake", "Required Create Table on lake", TargetUnavailable),
            ("lake", "Required Data Location on s3://flyte/data", PermanentTargetError),
        ],
    )
    def test_denied_database(
        self,
        target: GlueCatalogTarget,
        stub: Stubber,
        db_name: str,
        message: str,
        expected: type[Exception],
    ) -> None:
        """Of one among many as a table; of the only one nothing can be told."""
        target.db_name = db_name
        for _ in range(2):
            stub.add_client_error("get_table", "EntityNotFoundException")
        stub.add_response("get_database", {"Database": {"Name": "lake"}})
        self.deny(stub, "create_table", message)

        if expected is TargetUnavailable:
            with pytest.raises(TargetUnavailable, match="CREATE_TABLE on the database"):
                target.emit(lineage(dataset()))
        else:
            (rejection,) = target.emit(lineage(dataset()))
            assert "DATA_LOCATION_ACCESS" in rejection.reason

    def test_denied_catalogue(self, target: GlueCatalogTarget, stub: Stubber) -> None:
        """Without the right to make databases everything waits."""
        for _ in range(2):
            stub.add_client_error("get_table", "EntityNotFoundException")
        stub.add_client_error("get_database", "EntityNotFoundException")
        self.deny(stub, "create_database", "Required Create Database on Catalog")

        with pytest.raises(TargetUnavailable, match="CREATE_DATABASE on the catalogue"):
            target.emit(lineage(dataset()))


def test_lost_key_of_the_catalogue(target: GlueCatalogTarget) -> None:
    """All that is encrypted with it waits, and the message says what to allow."""
    with Stubber(target.client) as stub:
        stub.add_client_error("get_table", "GlueEncryptionException", "no key")

        with pytest.raises(TargetUnavailable, match=r"kms:Decrypt.*no key"):
            target.emit(lineage(dataset()))


def test_full_account(target: GlueCatalogTarget) -> None:
    """The refusal says what can be done."""
    theirs = {"Name": ORDERS, "Parameters": {"flytelineage.managed": "true"}}

    with Stubber(target.client) as stub:
        stub.add_response("get_table", {"Table": theirs})
        stub.add_client_error("update_table", "ResourceNumberLimitExceededException")
        (rejection,) = target.emit(lineage(dataset(storage=PARQUET)))

    assert "ask AWS for more" in rejection.reason
