from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets.config import Config

from flytelineage.dataset_names import Decision, Names, dataset_id
from flytelineage.dataset_rules import rules_of
from flytelineage.entities import DatasetId
from tests.test_uris import HEX, QUERY, any_uris

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

NAMES = {
    # Object stores: bucket or container, and path.
    "s3://lake/sales/orders": "s3:lake/sales/orders",
    "s3a://lake/sales/orders/": "s3:lake/sales/orders",
    "s3n://lake/sales/orders/part-0001.parquet": "s3:lake/sales/orders",
    "S3://lake//sales/./orders/00000": "s3:lake/sales/orders",
    "s3://lake/sales/dt=2026-01-01/hour=3/x.parquet": "s3:lake/sales",
    "s3://lake/sales/dt=2026-01-01/orders.csv": "s3:lake/sales/orders.csv",
    "s3://lake/sales/2026/01/31/orders.csv": "s3:lake/sales/2026/01/31/orders.csv",
    "s3://lake/report.csv": "s3:lake/report.csv",
    "s3://lake/Ünï cödé #1.csv": "s3:lake/Ünï cödé #1.csv",
    "s3://lake/a%20b": "s3:lake/a%20b",
    "s3://lake": "s3:lake",
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/sales/orders": (
        "s3:arn:aws:s3:eu-west-1:123456789012:accesspoint/sales/orders"
    ),
    "https://lake.s3.eu-west-1.amazonaws.com/a%20b/c.csv?X-Amz-Signature=1": "s3:lake/a b/c.csv",
    "gs://lake/a/b": "gcs:lake/a/b",
    "gcs://lake/a/b": "gcs:lake/a/b",
    "abfs://box@acme.dfs.core.windows.net/a/b": "abs:box/a/b",
    "abfss://box@acme.dfs.core.windows.net/a/b": "abs:box/a/b",
    "wasb://box@acme.blob.core.windows.net/a": "abs:box/a",
    "wasbs://box@acme.blob.core.windows.net/a": "abs:box/a",
    "abfs://box/a": "abs:box/a",
    "https://acme.blob.core.windows.net/box/a?sig=1": "abs:box/a",
    # File systems and the web.
    "file:///srv/data/a.csv": "file:/srv/data/a.csv",
    "/srv/data/a.csv": "file:/srv/data/a.csv",
    "/srv/data/../data//a.csv/": "file:/srv/data/a.csv",
    "dbfs:/mnt/sales": "dbfs:/mnt/sales",
    "hdfs://NN:8020/sales/part-00000": "hdfs:nn:8020/sales",
    "hdfs:///sales": "hdfs:/sales",
    "https://user:secret@Example.com:443/a/b.csv?token=1#top": "http:example.com/a/b.csv",
    "http://example.com:8080/a%7eb/%c3%bc": "http:example.com:8080/a~b/%C3%BC",
    "http://example.com/ü": "http:example.com/%C3%BC",
    "http://example.com": "http:example.com",
    "http://[::1]:8000/a": "http:[::1]:8000/a",
    # Tables.
    "bq://shop:Sales.Orders": "bigquery:shop.Sales.Orders",
    "bq://shop.sales.orders": "bigquery:shop.sales.orders",
    "bigquery://shop/sales/orders": "bigquery:shop.sales.orders",
    "bq://projects/shop/datasets/sales/tables/orders": "bigquery:shop.sales.orders",
    "bq://example.com:shop:sales.orders": "bigquery:example.com:shop.sales.orders",
    "bq://shop:sales.orders$20260101": "bigquery:shop.sales.orders",
    "bq://shop:sales.orders@-3600000": "bigquery:shop.sales.orders",
    "bq://shop:sales.events_20260101": "bigquery:shop.sales.events",
    "bq://shop:sales.events_*": "bigquery:shop.sales.events",
    "bq://shop:sales.events_2026*": "bigquery:shop.sales.events",
    "bq://shop:sales.20260101": "bigquery:shop.sales.sales",
    "bq://shop:sales.v12320260101": "bigquery:shop.sales.v12320260101",
    "bq://shop:sales.events_20261301": "bigquery:shop.sales.events_20261301",
    "snowflake://user:account/WH/DB/PUBLIC/ORDERS": "snowflake:db.public.orders",
    "snowflake://user/account/WH/DB/PUBLIC/ORDERS": "snowflake:db.public.orders",
    "snowflake://org-account/DB.PUBLIC.ORDERS": "snowflake:db.public.orders",
    'snowflake://org-account/"DB"."PUBLIC"."ORDERS"': "snowflake:db.public.orders",
    "snowflake://DB/PUBLIC/ORDERS": "snowflake:db.public.orders",
    "snowflake:db.public.orders": "snowflake:db.public.orders",
    "redshift://cluster.eu-west-1:5439/dev.public.orders": "redshift:dev.public.orders",
    "redshift://user:secret@host:5439/dev/sales/orders": "redshift:dev.sales.orders",
    "redshift+redshift_connector://u:p@host:5439/dev/orders": "redshift:dev.public.orders",
    "jdbc:redshift://host:5439/dev/sales/orders;UID=u;PWD=p": "redshift:dev.sales.orders",
    "postgres://host:5432/Shop/public/Orders": "postgres:shop.public.orders",
    "postgresql://u:p@host/shop/orders?sslmode=require": "postgres:shop.public.orders",
    "mysql://root:secret@host:3306/Shop/Orders": "mysql:Shop.Orders",
    "mssql+pyodbc://sa:secret@host/Shop/dbo/Orders": "mssql:Shop.dbo.Orders",
    "trino://host:8080/hive/sales/orders": "trino:hive.sales.orders",
    "hive://host:10000/sales/orders": "hive:sales.orders",
    "glue://Sales/Orders": "glue:sales.orders",
    "glue://sales.orders": "glue:sales.orders",
    "arn:aws:glue:eu-west-1:123456789012:table/sales/orders": "glue:sales.orders",
    "athena://sales/orders": "athena:sales.orders",
    "athena://AwsDataCatalog.sales.orders": "athena:sales.orders",
    "awsathena://athena.eu-west-1.amazonaws.com/awsdatacatalog.sales.orders": (
        "athena:sales.orders"
    ),
    "awsathena+rest://key:secret@athena.eu-west-1.amazonaws.com:443/sales/orders?s3_dir=x": (
        "athena:sales.orders"
    ),
    # Anybody else's.
    "mystery://user:secret@a:1/b/": "mystery:a:1/b",
}  # fmt: skip


@pytest.mark.parametrize("uri", NAMES)
def test_a_uri_is_named_by_the_platform_that_owns_it(uri):
    assert str(dataset_id(uri)) == NAMES[uri]


@pytest.mark.parametrize("name", sorted(set(NAMES.values()) - {"mystery:a:1/b"}))
def test_a_name_leads_to_itself(name):
    """What a catalogue shows can be asked for."""
    assert str(dataset_id(name)) == name


@pytest.mark.parametrize(
    "uri",
    [
        "s3://", "s3:///", "s3:///a/b", "file://", "/", "https://", "bq://", "bq://sales.orders",
        "snowflake://user:account/DB", "snowflake://user:secret@account/DB/PUBLIC?warehouse=WH",
        "postgres://user:secret@host:5432/shop", "postgres://db.prod.internal", "glue://sales",
        "athena://athena.eu-west-1.amazonaws.com/sales", "orders", "../orders.csv", "[::1",
        "a b://c", "mailto:ada@example.com", "C:\\data\\x.csv", "flyte://v1/shop/production/a1/n0/o",
        "mystery://",
    ],
)  # fmt: skip
def test_what_names_nothing_is_no_dataset(uri):
    """A catalogue would refuse it, and with it all else that the execution tells."""
    decision = Names().decide(uri)

    assert decision.dataset is None
    assert decision.rule == "nothing"
    assert decision.steps


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://lake/data/x9/a1b2-n0-0/{HEX}/00000",
        f"/tmp/x9/a1b2-n0-0/{HEX}",
        f"snowflake://user:account/WH/DB/PUBLIC/{QUERY}",
    ],
)
def test_raw_output_is_not_named_by_its_uri(uri):
    """Its place is new in each run: nobody's rule may make a dataset of each."""
    names = Names(rules=rules_of([{"pattern": ".*", "platform": "glue", "name": "all"}]))

    assert names.decide(uri).rule == "raw output"
    assert names.dataset_id(uri) is None


def test_dated_folders_are_left_out_where_asked():
    uri = "s3://lake/sales/2026/01/31/orders.csv"

    assert str(Names(trim_dates=True).dataset_id(uri)) == "s3:lake/sales/orders.csv"


# -------------------------------------------------------------------- explaining


def test_a_decision_tells_its_steps():
    rules = rules_of([{"pattern": "gs://.*", "platform": "x", "name": "y"}])

    decision = Names(rules).decide("s3a://KEY:secret@lake/sales/dt=1/part-0?token=secret")

    assert decision == Decision(
        "s3",
        DatasetId(platform="s3", name="lake/sales"),
        (
            "read as s3://lake/sales/dt=1/part-0",
            "dataset_rules[0] does not match",
            "left out dt=1: a hive partition",
            "left out part-0: a part file",
            "its name on s3 is lake/sales",
        ),
    )


def test_an_unknown_scheme_is_told_as_such():
    assert Names().decide("mystery://a/b").rule == "unknown scheme"


def test_raw_output_is_told_with_its_writer():
    steps = Names().decide(f"s3://lake/data/x9/a1b2-n0-0/{HEX}").steps

    assert steps == ("Flyte's raw output of a1b2-n0-0: named by the task that wrote it",)


# --------------------------------------------------------------------- in the README


def test_the_readme_tells_names_that_are_true():
    rows = re.findall(r"^\| `([^`]+)`.* \| `(\w+:[^`]+)` \|$", README, re.MULTILINE)

    assert [(uri, str(dataset_id(uri))) for uri, _ in rows] == rows
    assert len(rows) > 12


def test_the_readmes_rules_work(monkeypatch):
    module = ModuleType("my_rules")
    module.name_of = lambda uri: None
    monkeypatch.setitem(sys.modules, "my_rules", module)
    (code,) = re.findall(r"```python\n(c\.LineageBuilder.*?)```", README, re.DOTALL)
    config = Config()

    exec(code, {"c": config})

    names = Names(rules_of(config.LineageBuilder.dataset_rules))
    assert str(names.dataset_id("s3://lake/gold/orders/part-0")) == "glue:gold.orders"


# ------------------------------------------------------------------- in general


@given(any_uris())
def test_any_text_has_one_name_or_none(text):
    """Nothing raises; a name has no control characters and leads to itself."""
    names = Names()

    decision = names.decide(text)

    assert names.decide(text) == decision
    if decision.dataset is not None:
        name = decision.dataset.name
        assert name
        assert name == name.strip()
        assert not any(char < " " or "\x7f" <= char < "\xa0" for char in name)
        name.encode()


BEGINS_WHAT_IS_CUT = str.maketrans("?#", "__")
BEGINS_THE_NEXT_PART = str.maketrans("/?#", "___")

PASSWORDS = st.text(
    alphabet=st.characters(codec="ascii", exclude_characters="@", categories=["L", "N", "P"]),
    max_size=12,
).map(lambda text: f"SECRET{text}SECRET")


@given(
    st.sampled_from(
        ["s3", "s3a", "https", "http", "postgres", "redshift+x", "snowflake", "mysql", "athena",
         "glue", "bq", "hdfs", "mystery"]
    ),
    PASSWORDS,
)  # fmt: skip
def test_no_password_gets_into_a_name_or_its_reasons(scheme, password):
    for uri in (
        f"{scheme}://user:{password.translate(BEGINS_WHAT_IS_CUT)}@host.org/a/b/c",
        f"{scheme}://user:x@y{password.translate(BEGINS_THE_NEXT_PART)}@host.org/a/b/c",
        f"{scheme}://host.org/a/b/c?password={password}",
    ):
        told = repr(Names().decide(uri))

        assert "SECRET" not in told
        assert "user" not in told


PATHS = st.lists(st.text("ab=.-_1", min_size=1, max_size=6), min_size=1, max_size=5)


@given(PATHS, st.sampled_from(["s3", "s3a", "S3N"]), st.sampled_from(["/", "//", "/./"]))
def test_the_spelling_does_not_change_the_name(parts, scheme, slash):
    plain = Names().decide(f"s3://lake/{'/'.join(parts)}")

    assert Names().dataset_id(f"{scheme}://lake{slash}{slash.join(parts)}/") == plain.dataset


@given(PATHS, st.integers(0, 9))
def test_every_part_of_a_table_is_the_table(parts, number):
    table = f"s3://lake/{'/'.join(parts)}"

    written = dataset_id(f"{table}/part-0000{number}.parquet")

    assert written == dataset_id(table)
    assert dataset_id(f"{table}/dt=2026-01-0{number}") == dataset_id(f"{table}/dt=2026-02-01")


@pytest.mark.parametrize(
    "text",
    [
        "s3://b/" + "a=1/" * 2_500,
        "s3://b/" + "2026/01/" * 1_250,
        "s3://b/" + "00000/" * 1_600,
        "bq://" + "a" * 5_000 + ":b." + "20260101" * 600,
        "bq://" + "projects/" * 1_000,
        "snowflake://" + "a." * 5_000,
        "postgres://h/" + '"a' * 5_000,
        "mystery://" + "@:" * 5_000,
        "s3://b/dt=1/" + "1-" * 5_000 + ".csv",
        "s3://b/dt=1/" + "." * 10_000,
    ],
)
def test_a_hostile_uri_takes_bounded_time(text):
    began = time.process_time()

    Names(trim_dates=True).decide(text)

    assert time.process_time() - began < 1
