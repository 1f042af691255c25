"""Names in OpenLineage: frozen, and such that edges meet those of other integrations."""

from __future__ import annotations

import pytest

from flytelineage.entities import Copy, DatasetId, ExecutionId, PipelineId, RunId, TaskId
from flytelineage.targets.openlineage.names import (
    Name,
    Names,
    address,
    location,
    run_id,
)

PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
LOAD = TaskId(pipeline=PIPELINE, name="app.load")
EXECUTION = ExecutionId(project="shop", domain="production", name="a1b2")
ORDERS = DatasetId(platform="flyte", name="shop.production.app.daily.app.load.o0")


class TestJobs:
    """A namespace by template, and the workflow's name before the task's."""

    def test_by_default(self) -> None:
        """The namespace is Flyte's project and domain, a task's name begins with its workflow's."""
        names = Names(admin_host="flyte.example.com")

        assert names.job(PIPELINE) == ("flyte://flyte.example.com/shop/production", "app.daily")
        assert names.job(LOAD).name == "app.daily.app.load"
        assert names.job(LOAD.model_copy(update={"place": "n0/n1"})).name.endswith("load@n0/n1")

    @pytest.mark.parametrize(("instance", "host"), [("", "flyte"), ("emea", "emea")])
    def test_without_a_host(self, instance: str, host: str) -> None:
        """Two deployments never share a namespace, if their ids say which they are."""
        id = PIPELINE.model_copy(update={"instance": instance})

        assert Names().job(id).namespace == f"flyte://{host}/shop/production"

    @pytest.mark.parametrize(
        ("template", "expected"),
        [
            ("flyte.{project}.{domain}", ("flyte.shop.production", "app.daily")),
            ("{project}", ("shop", "production.app.daily")),
            ("flyte", ("flyte", "shop.production.app.daily")),
        ],
    )
    def test_what_the_template_leaves_out(self, template: str, expected: Name) -> None:
        """It begins the name: workflows of two projects never become one job."""
        assert Names(template).job(PIPELINE) == expected

    def test_another_orchestrator(self) -> None:
        """Its jobs have the namespace that the operator says, else its name."""
        id = PipelineId(project="", domain="", name="dag.task", orchestrator="airflow")

        assert Names().job(id) == ("airflow", "dag.task")
        assert Names(namespaces={"airflow": "prod"}).job(id) == ("prod", "dag.task")


class TestRuns:
    """UUIDs that daemon and task compute alike."""

    @pytest.mark.parametrize(
        ("id", "expected"),
        [
            (RunId(execution=EXECUTION), "4e24b433-8bd4-56b9-b99c-97fef4375cbf"),
            (
                RunId(execution=EXECUTION, node="n0", attempt=0),
                "f2285775-ef03-5ed1-b72c-53602bc63467",
            ),
            (
                RunId(execution=EXECUTION, node="n0", attempt=1),
                "0797b663-99aa-5ad8-8e55-992ff5317da9",
            ),
            (
                RunId(execution=EXECUTION.model_copy(update={"instance": "emea"})),
                "8dab4625-7a05-56a3-9478-7a8e38f31b3b",
            ),
        ],
    )
    def test_ids_never_change(self, id: RunId, expected: str) -> None:
        """Each attempt has its own, and so has each deployment."""
        assert run_id(id) == expected


class TestDatasets:
    """Names of naming.md."""

    def test_flytes_own(self) -> None:
        """They have the namespace of the jobs that write them, and the name as it is."""
        assert Names().dataset(ORDERS) == ("flyte://flyte/shop/production", ORDERS.name)

    def test_flytes_own_without_an_owner(self) -> None:
        """A library may call a dataset as it likes."""
        assert Names().dataset(DatasetId(platform="flyte", name="orders")) == (
            "flyte://flyte",
            "orders",
        )

    @pytest.mark.parametrize(
        ("platform", "name", "expected"),
        [
            ("s3", "lake/sales/orders", ("s3://lake", "sales/orders")),
            ("s3", "lake", ("s3://lake", "/")),
            ("gcs", "lake/orders", ("gs://lake", "orders")),
            ("abs", "lake/orders", ("abfss://lake", "orders")),
            ("hdfs", "namenode:8020/data", ("hdfs://namenode:8020", "/data")),
            ("hdfs", "/data", ("hdfs", "/data")),
            ("file", "/data/orders.csv", ("file", "/data/orders.csv")),
            ("http", "example.com/orders.csv", ("http://example.com", "orders.csv")),
            ("bigquery", "p.sales.orders", ("bigquery", "p.sales.orders")),
            ("snowflake", "db.sales.orders", ("snowflake", "db.sales.orders")),
            ("glue", "sales.orders", ("glue", "table/sales/orders")),
            ("athena", "sales.orders", ("awsathena", "AwsDataCatalog.sales.orders")),
            ("lakefs", "repo/main/orders", ("lakefs", "repo/main/orders")),
        ],
    )
    def test_of_other_platforms(self, platform: str, name: str, expected: Name) -> None:
        """Object stores say where they are; of databases the platform stands for the host."""
        assert Names().dataset(DatasetId(platform=platform, name=name)) == expected

    @pytest.mark.parametrize(
        ("platform", "name", "namespace", "expected"),
        [
            ("snowflake", "db.a.b", "snowflake://org-acc", ("snowflake://org-acc", "db.a.b")),
            ("glue", "a.b", "arn:aws:glue:eu:1", ("arn:aws:glue:eu:1", "table/a/b")),
            ("dbfs", "/mnt/x", "dbfs://workspace", ("dbfs://workspace", "/mnt/x")),
            (
                "abs",
                "lake/orders",
                "abfss://{container}@acc.dfs.core.windows.net",
                ("abfss://lake@acc.dfs.core.windows.net", "orders"),
            ),
        ],
    )
    def test_where_the_operator_says_the_host(
        self, platform: str, name: str, namespace: str, expected: Name
    ) -> None:
        """Edges meet those that the platform's own integrations tell."""
        names = Names(namespaces={platform: namespace})

        assert names.dataset(DatasetId(platform=platform, name=name)) == expected

    def test_of_several_instances(self) -> None:
        """Each has a namespace of its own, or shows in the name."""
        names = Names(namespaces={"snowflake": "snowflake://a", "snowflake:eu": "snowflake://b"})
        tables = [
            DatasetId(platform="snowflake", name="d.s.t", instance=instance)
            for instance in ("", "eu", "us")
        ]

        assert [names.dataset(table) for table in tables] == [
            ("snowflake://a", "d.s.t"),
            ("snowflake://b", "d.s.t"),
            ("snowflake://a", "us.d.s.t"),
        ]


class TestPlaces:
    """Where data lies, as another name for it."""

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("s3://lake/ab/x/", ("s3://lake", "ab/x")),
            ("s3a://lake/x", ("s3://lake", "x")),
            ("s3://lake/what?", ("s3://lake", "what?")),
            ("abfss://c@acc.dfs.core.windows.net/x", ("abfss://c@acc.dfs.core.windows.net", "x")),
            ("file:///data/x", ("file", "/data/x")),
            ("/data/x", ("file", "/data/x")),
            ("hdfs://n:8020/x", ("hdfs://n:8020", "/x")),
            ("https://ada:secret@example.com/x?token=secret", ("https://example.com", "x")),
            ("orders", None),
        ],
    )
    def test_location(self, uri: str, expected: Name | None) -> None:
        """As the integrations name it, without anybody's password."""
        assert location(uri) == expected

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("s3://lake/a b/ü", "s3://lake/a%20b/%C3%BC"),
            ("s3://lake/a#b", "s3://lake/a%23b"),
            ("https://ada:secret@git.example.com/a.py?t=1", "https://git.example.com/a.py"),
            ("https://git.example.com/a.py#L10", "https://git.example.com/a.py#L10"),
        ],
    )
    def test_address(self, uri: str, expected: str) -> None:
        """A URI that every validator takes, and everybody may see."""
        assert address(uri) == expected

    def test_a_table_of_glue(self) -> None:
        """Its ARN holds both parts of the name."""
        arn = "arn:aws:glue:eu-west-1:123456789012:table/sales/orders"
        copy = Copy(dataset=DatasetId(platform="glue", name="sales.orders"), uri=arn)

        assert Names().copy(copy) == (
            "arn:aws:glue:eu-west-1:123456789012",
            "table/sales/orders",
        )

    def test_a_copy_elsewhere(self) -> None:
        """It is called as any dataset of that catalogue."""
        copy = Copy(dataset=DatasetId(platform="hive", name="sales.orders"), uri="thrift://host")

        assert Names(namespaces={"hive": "hive://h:1"}).copy(copy) == ("hive://h:1", "sales.orders")
