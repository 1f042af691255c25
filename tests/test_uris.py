from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytelineage import uris

HEX = "0123456789abcdef0123456789abcdef"
QUERY = "01a9c6b2-0604-1a2b-0000-00012345abcd"

# --------------------------------------------------------------- one spelling

SPELLINGS = {
    "s3://lake/a/b": [
        "s3://lake/a/b/",
        "s3a://lake/a/b",
        "S3N://lake//a/./b",
        "s3://lake/a/c/../b",
        " s3://lake/a/b\n",
        "s3://lake/a/b?versionId=7",
        "s3://AKIA:secret@lake/a/b",
        "s3://AKIA:sec/r/et@lake/a/b",
        "https://lake.s3.amazonaws.com/a/b?X-Amz-Signature=secret",
        "https://lake.s3.eu-west-1.amazonaws.com/a/b",
        "https://s3.eu-west-1.amazonaws.com/lake/a/b",
        "https://lake.s3-eu-west-1.amazonaws.com/a/b",
        "arn:aws:s3:::lake/a/b",
        "s3:lake/a/b",
    ],
    "gs://lake/a b": [
        "gcs://lake/a b",
        "https://storage.googleapis.com/lake/a%20b",
        "https://lake.storage.googleapis.com/a%20b",
    ],
    "abfss://box@acme.dfs.core.windows.net/a": [
        "abfs://Box@acme.dfs.core.windows.net/a",
        "https://acme.blob.core.windows.net/box/a?sv=2022&sig=secret",
        "https://acme.dfs.core.windows.net/box/a",
    ],
    "https://example.com/a~b": [
        "HTTPS://user:secret@Example.com:443/a%7Eb/#top",
        "https://example.com./x/%2E%2E/a%7eb?token=secret",
    ],
    "http://example.com:8080/a%20b": ["http://example.com:8080/a b", "http:example.com:8080/a%20b"],
    "file:///srv/a b.csv": ["/srv/a b.csv", "file:/srv/a b.csv", "FILE://localhost/srv//a b.csv"],
    "dbfs:///mnt/a": ["dbfs:/mnt/a", "dbfs://mnt/a"],
    "hdfs://nn:8020/a": ["hdfs://NN:8020/a/"],
    "postgres://db:5432/shop/public/orders": [
        "postgresql://user:secret@db:5432/shop/public/orders?sslmode=require",
        "postgresql+psycopg2://user:s%40cret@db:5432/shop/public/orders",
        "jdbc:postgresql://db:5432/shop/public/orders;password=secret",
    ],
    "bq://shop:sales.orders": ["bigquery://shop:sales.orders", "bq://shop:sales.orders@-3600000"],
    "glue://sales/orders": ["arn:aws:glue:eu-west-1:123456789012:table/sales/orders"],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_place_has_one_spelling(spelling):
    others = SPELLINGS[spelling]

    assert [uris.normalised(other) for other in others] == [spelling] * len(others)


@pytest.mark.parametrize(
    "text", ["orders", "../orders.csv", "a b", "mailto:x", "[::1", "", "C:\\x"]
)
def test_what_is_no_uri_has_no_place(text):
    assert uris.place_of(text) is None


def test_control_characters_are_escaped():
    """Two keys stay two, and a catalogue takes the name."""
    assert uris.normalised("s3://lake/a\nb\x00\u2028c") == "s3://lake/a%0Ab%00%E2%80%A8c"


@st.composite
def any_uris(draw):
    """Texts that look like URIs closely enough to reach every branch."""
    pieces = st.sampled_from(
        ["s3://", "https://", "snowflake://", "postgres://", "bq://", "abfs://", "file:", "jdbc:",
         "x+y://", "arn:aws:s3:::", "/", "//", ":", "@", "?", "#", "..", ".", "%2F", "%3f", "%", ";",
         "=", "$", "*", '"', "lake", "a.b", "dt=1", "2026", "01", "part-0", "\n", "\x00", "\ud800",
         " ", "ü", ".s3.amazonaws.com", "storage.googleapis.com", "x.blob.core.windows.net"]
    )  # fmt: skip
    return "".join(draw(st.lists(st.one_of(pieces, st.text(max_size=3)), max_size=14)))


@given(any_uris())
def test_the_one_spelling_is_spelled_like_itself(text):
    once = uris.normalised(text)

    assert uris.normalised(once) == once


@given(any_uris())
def test_raw_output_is_the_same_of_its_own_key(text):
    raw = uris.raw_output(text)

    assert raw is None or uris.raw_output(raw.key) == raw


# ----------------------------------------------------------------- raw output


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://b/data/x9/a1b2-n0-0/{HEX}",
        f"s3://b/data/x9/a1b2-n0-0/{HEX}/",
        f"s3a://b/data/x9/a1b2-n0-0/{HEX}/00000",
        f"s3://b//data/x9/a1b2-n0-0/{HEX}/folder/file.csv",
        f"https://b.s3.amazonaws.com/data/x9/a1b2-n0-0/{HEX}/00000?X-Amz-Signature=secret",
    ],
)
def test_raw_output_is_known_by_its_layout(uri):
    """Whatever the prefix; the key ends with the random folder."""
    assert uris.raw_output(uri) == uris.RawOutput(f"s3://b/data/x9/a1b2-n0-0/{HEX}", "a1b2-n0-0")


@pytest.mark.parametrize("prefix", ["gs://b", "abfss://c@a.dfs.core.windows.net/p", "/tmp/flyte"])
def test_raw_output_may_lie_anywhere(prefix):
    raw = uris.raw_output(f"{prefix}/x9/a1b2-n0-0/{HEX}/00000")

    assert raw is not None
    assert raw.owner == "a1b2-n0-0"


@pytest.mark.parametrize("shard_and_owner", [
    "o4/feda4e266c748463a97d-n0-0", "tw/alsqh7dsctc5s6v9w5hz-n1-0-dn15-0",
])  # fmt: skip
def test_raw_output_without_a_random_folder_is_known_by_its_shard(shard_and_owner):
    """Athena's results, and files whose names the author chose; these are Flyte's own paths."""
    raw = uris.raw_output(f"s3://my-s3-bucket/data/{shard_and_owner}/result.csv")

    assert raw == uris.RawOutput(
        f"s3://my-s3-bucket/data/{shard_and_owner}/result.csv", shard_and_owner[3:]
    )


def test_a_folder_that_the_author_named_is_one_piece_of_data():
    folder = "s3://b/o4/feda4e266c748463a97d-n0-0/report"

    assert uris.raw_output(f"{folder}/2026/a.csv") == uris.raw_output(folder)


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://b/data/{HEX}",
        f"s3://b/x9/a/{HEX[:-1]}",
        "s3://b/x9/a/b",
        "s3://lake/eu/orders-of-2026/a.csv",
        "s3://lake/eu/features/a.csv",
        "",
        "s3://",
        HEX,
    ],
)
def test_other_uris_are_not_raw_output(uri):
    assert uris.raw_output(uri) is None


@pytest.mark.parametrize(
    "uri",
    [f"snowflake://ada:acme/WH/DB/PUBLIC/{QUERY}", "bq://shop:_9f3c.anon12ab"],
)
def test_the_result_of_a_query_is_raw_output_of_nobody(uri):
    """Its place is new in each run; the task that asked names it."""
    raw = uris.raw_output(uri)

    assert raw is not None
    assert raw.owner == ""
    assert "ada" not in raw.key
    assert not uris.written_by(raw.owner, "a1b2")


# ------------------------------------------------------------------ who wrote


def test_the_owner_names_execution_and_node():
    assert uris.written_by("a1b2-n0-0", "a1b2", "n0")
    assert uris.written_by("a1b2-n0-0", "a1b2")
    assert not uris.written_by("a1b2-n0-0", "a1b2", "n")
    assert not uris.written_by("a1b2-n0-0-n1-0", "a1b2", "n0")
    assert not uris.written_by("fabcdefg", "a1b2")


def test_an_execution_is_told_from_another_whose_name_begins_like_it():
    """`rep-2` of `n0`, or `rep` of `2-n0`: only the nodes tell."""
    assert not uris.written_by("rep-2-n0-0", "rep", nodes={"n0", "n1"})
    assert uris.written_by("rep-2-n0-0", "rep-2", nodes={"n0", "n1"})
    assert uris.written_by("rep-2-n0-0", "rep", nodes={"2-n0"})


def test_elements_of_an_array_are_its_nodes():
    assert uris.written_by("rep-n0-0-n17-0", "rep", nodes={"n0"})


def test_an_owner_that_was_too_long_is_known_by_its_hash():
    """Source: flyteplugins encoding/encoder_test.go, for the hash itself."""
    execution = "a-name-that-somebody-chose-to-be-quite-long-indeed"

    assert uris._short_id("x" * 24) == "fuaa3aji"
    owner = uris._short_id(f"{execution}-n0-1")
    assert uris.written_by(owner, execution, "n0")
    assert not uris.written_by(owner, execution, "n1")


# --------------------------------------------------------------- hostile input


@pytest.mark.parametrize(
    "text",
    [
        "/" * 10_000,
        "s3://" + "a/" * 5_000,
        "s3://b/" + "x9/a-n0-0/" * 1_000,
        "s3://b/" + "../" * 3_000,
        "https://" + "a.s3." * 2_000 + "/x",
        "https://" + ":" * 10_000,
        "postgres://" + "@" * 10_000,
        "https://h/" + "%2" * 5_000,
        "bq://" + "a.b:" * 2_500,
        "snowflake://h/" + '"' * 10_000,
        "x" * 10_000,
    ],
)
def test_a_hostile_uri_takes_bounded_time(text):
    began = time.process_time()

    uris.raw_output(text)
    uris.normalised(text)

    assert time.process_time() - began < 1


def test_a_hostile_owner_takes_bounded_time():
    began = time.process_time()

    uris.written_by("rep-" * 20_000, "rep", nodes={"n0"})

    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://lake/orders?x#y", "s3://lake/orders?x#y"),
        ("s3://key:secret@lake/orders", "s3://lake/orders"),
        ("https://u:p@host/a?X-Amz-Signature=s#f", "https://host/a"),
        ("https://host/@team/a", "https://host/@team/a"),
        ("snowflake://u:p@account/db/schema/t?role=x", "snowflake://account/db/schema/t"),
        ("postgresql://u:p/w@host:5432/db", "postgresql://host:5432/db"),
        (
            "abfss://box@acme.dfs.core.windows.net/a?sig=s",
            "abfss://box@acme.dfs.core.windows.net/a",
        ),
        ("bq://shop.sales.orders", "bq://shop.sales.orders"),
        ("/data/a?b", "/data/a?b"),
    ],
)
def test_what_is_shown_of_a_uri_holds_no_secret(uri, shown):
    """Objects in a bucket may have any name, so there a query is none."""
    assert uris.without_secrets(uri) == shown
