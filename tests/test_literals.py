"""Which data literals refer to, in every shape and however hostile.

What flytekit itself writes is in `test_flytekit_literals.py`.
"""

from __future__ import annotations

import base64
import math
from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from flyteidl.core import artifact_id_pb2, literals_pb2, types_pb2
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage import flytekit_values, literals
from flytelineage.entities import DataType, Field, Schema
from flytelineage.errors import ReadError
from flytelineage.literals import Offloaded, Reference, Walked

Literal = literals_pb2.Literal
Scalar = literals_pb2.Scalar

URI: bytes = msgpack.packb("s3://x/1")
"""Somewhere in a value, so that it is worth unpacking."""


def blob(uri: str, format: str = "", multipart: bool = False) -> literals_pb2.Literal:
    kind = types_pb2.BlobType(format=format, dimensionality=int(multipart))
    metadata = literals_pb2.BlobMetadata(type=kind)
    return Literal(scalar=Scalar(blob=literals_pb2.Blob(metadata=metadata, uri=uri)))


def packed(value: Any, tag: str = "msgpack") -> literals_pb2.Literal:
    data = value if isinstance(value, bytes) else msgpack.packb(value)
    return Literal(scalar=Scalar(binary=literals_pb2.Binary(value=data, tag=tag)))


def plain(value: dict[str, Any]) -> literals_pb2.Literal:
    struct = json_format.ParseDict(value, struct_pb2.Struct())
    return Literal(scalar=Scalar(generic=struct))


def collection(*items: literals_pb2.Literal) -> literals_pb2.Literal:
    return Literal(collection=literals_pb2.LiteralCollection(literals=items))


def structured_dataset(**columns: types_pb2.LiteralType) -> literals_pb2.Literal:
    columns_ = [
        types_pb2.StructuredDatasetType.DatasetColumn(name=name, literal_type=kind)
        for name, kind in columns.items()
    ]
    kind = types_pb2.StructuredDatasetType(columns=columns_, format="parquet")
    metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=kind)
    dataset = literals_pb2.StructuredDataset(uri="s3://b/sd", metadata=metadata)
    return Literal(scalar=Scalar(structured_dataset=dataset))


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf's wire format, up to 16 KiB."""
    length = [len(content) & 127 | 128, len(content) >> 7]
    return bytes([number << 3 | 2, *length]) + content


def uris(walked: Walked) -> list[str]:
    assert walked.problems == ()
    return [reference.uri for reference in walked.references]


# ------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("written", [packed, plain], ids=["msgpack", "Struct"])
def test_both_encodings_of_a_dataclass_say_the_same(written: Any) -> None:
    """Before 1.14 flytekit wrote a Struct where it now writes msgpack."""
    value = {
        "file": {"path": "s3://x/file", "metadata": {"owner": "sales"}},
        "tables": [{"uri": "s3://x/table", "file_format": "csv"}],
        "schema": {"remote_path": "s3://x/schema"},
        "text": "s3://x/text",
    }

    walked = literals.walk_literal(written(value), "o0")

    assert walked.references == (
        Reference("o0", ("file",), "s3://x/file", "file or folder", metadata={"owner": "sales"}),
        Reference("o0", ("schema",), "s3://x/schema", "schema", "parquet"),
        Reference("o0", ("tables", 0), "s3://x/table", "structured dataset", "csv"),
    )


@pytest.mark.parametrize(
    "value",
    [
        {"path": "/etc/hosts"},
        {"path": 5},
        {"path": "s3://x/1", "size": 3},
        {"uri": "s3://x/1"},
        {"uri": "s3://x/1", "file_format": None},
        {"remote_path": None},
        {"pickle_file": "s3://x/1"},
        {1: {2: "s3://x/1"}},
    ],
    ids=str,
)
def test_other_dictionaries_are_not_taken_for_files(value: Any) -> None:
    """An edge must not be invented from a user's own keys."""
    assert literals.walk_literal(packed(value), "o0") == Walked()


def test_a_legacy_schema_has_columns() -> None:
    """A `FlyteSchema` declares them in its own type."""
    column = types_pb2.SchemaType.SchemaColumn
    kind = types_pb2.SchemaType(columns=[column(name="id", type=0), column(name="at", type=4)])
    schema = literals_pb2.Schema(uri="s3://x/schema", type=kind)

    (reference,) = literals.walk_literal(Literal(scalar=Scalar(schema=schema)), "o0").references

    assert reference.schema == Schema(
        fields=(
            Field(name="id", type=DataType(kind="int", bits=64, native="INTEGER")),
            Field(name="at", type=DataType(kind="timestamp", native="DATETIME")),
        ),
        source="declared",
    )


def test_declared_columns_are_told_in_order() -> None:
    """Nested and optional types included."""
    simple, kind = types_pb2.SimpleType, types_pb2.LiteralType
    optional = types_pb2.UnionType(variants=[kind(simple=simple.STRING), kind(simple=simple.NONE)])

    (reference,) = literals.walk_literal(
        structured_dataset(
            name=kind(union_type=optional),
            scores=kind(collection_type=kind(simple=simple.FLOAT)),
            labels=kind(map_value_type=kind(simple=simple.BOOLEAN)),
            level=kind(enum_type=types_pb2.EnumType(values=["LOW"])),
            person=kind(
                simple=simple.STRUCT,
                structure=types_pb2.TypeStructure(
                    dataclass_type={"name": kind(simple=simple.STRING)}
                ),
            ),
            odd=kind(simple=simple.ERROR),
        ),
        "o0",
    ).references

    assert reference.schema is not None
    assert [
        (column.name, column.type.kind, [child.type.kind for child in column.children])
        for column in reference.schema.fields
    ] == [
        ("name", "string", []),
        ("scores", "list", ["float"]),
        ("labels", "map", ["string", "bool"]),
        ("level", "string", []),
        ("person", "struct", ["string"]),
        ("odd", "unknown", []),
    ]


def test_hash_and_notes_of_a_union_reach_the_reference() -> None:
    """They stand on the literal outside, the URI inside."""
    inner = blob("s3://x/1")
    outer = Literal(scalar=Scalar(union=literals_pb2.Union(value=inner)), hash="abc")
    outer.metadata["team"] = "sales"

    (reference,) = literals.walk_literal(outer, "o0").references

    assert (reference.hash, reference.metadata) == ("abc", {"team": "sales"})


def test_notes_are_told_as_far_as_they_can_be_shown() -> None:
    """They come from outside, and go into catalogues."""
    value = blob("s3://x/1")
    value.metadata.update({f"key {n}": "text" for n in range(1000)})
    value.metadata.update({"a": "two\nlines", "b": "long" * 1000, "c": ""})

    (reference,) = literals.walk_literal(value, "o0").references

    assert len(reference.metadata) <= flytekit_values.MAX_NOTES
    assert {"a", "b"}.isdisjoint(reference.metadata)
    assert reference.metadata["c"] == ""


def artifact(**partitions: str) -> str:
    """What flytekit notes of an artifact."""
    found = {key: artifact_id_pb2.LabelValue(static_value=v) for key, v in partitions.items()}
    id = artifact_id_pb2.ArtifactID(partitions=artifact_id_pb2.Partitions(value=found))
    return base64.b64encode(id.SerializeToString()).decode()


@pytest.mark.parametrize(
    ("noted", "partitions"),
    [
        (artifact(region="emea"), {"region": "emea"}),
        (artifact(), {}),
        ("", {}),
        ("no base64", {}),
        (base64.b64encode(b"\xff" * 9).decode(), {}),
    ],
)
def test_partitions_are_not_the_users_notes(noted: str, partitions: dict[str, str]) -> None:
    """Whatever stands under that key is flytekit's."""
    value = blob("s3://x/1")
    value.metadata.update({"_uap": noted, "team": "sales"})

    (reference,) = literals.walk_literal(value, "o0").references

    assert (reference.partitions, reference.metadata) == (partitions, {"team": "sales"})


def test_a_partition_in_no_real_time_is_left_out() -> None:
    """Protobuf takes any number of seconds."""
    id = artifact_id_pb2.ArtifactID()
    id.time_partition.value.time_value.seconds = 1 << 60
    value = blob("s3://x/1")
    value.metadata["_uap"] = base64.b64encode(id.SerializeToString()).decode()

    (reference,) = literals.walk_literal(value, "o0").references

    assert reference.partitions == {}


def test_elements_share_their_declared_columns() -> None:
    """A map task's pieces declare the same thousands of times."""
    piece = structured_dataset(a=types_pb2.LiteralType(simple=types_pb2.INTEGER))

    first, second = literals.walk_literal(collection(piece, piece), "o0").references

    assert first.schema is not None
    assert first.schema is second.schema


def test_an_offloaded_literal_is_named_for_fetching() -> None:
    """The caller fetches it, parses it and walks on from the same place."""
    stored = literals_pb2.LiteralOffloadedMetadata(uri="s3://x/o.pb", size_bytes=9)
    value = collection(blob("s3://x/0"), Literal(offloaded_metadata=stored))

    walked = literals.walk_literal(value, "o0")
    fetched = literals.parse_literal(blob("s3://x/1").SerializeToString())
    further = literals.walk_literal(fetched, "o0", walked.offloaded[0].path)

    assert walked.offloaded == (Offloaded("o0", (1,), "s3://x/o.pb", 9),)
    assert [(one.path, one.uri) for one in further.references] == [((1,), "s3://x/1")]


def test_an_offloaded_literal_of_numbers_is_not_fetched() -> None:
    """Its type already says that it refers to nothing."""
    numbers = types_pb2.LiteralType(simple=types_pb2.INTEGER)
    stored = literals_pb2.LiteralOffloadedMetadata(
        uri="s3://x/o.pb", inferred_type=types_pb2.LiteralType(collection_type=numbers)
    )

    assert literals.walk_literal(Literal(offloaded_metadata=stored), "o0") == Walked()


def test_the_order_of_maps_does_not_matter() -> None:
    """Protobuf keeps maps in any order; the walk sorts them."""
    names = [f"v{n}" for n in range(20)]
    ways = [
        literals_pb2.LiteralMap(literals={name: blob(f"s3://x/{name}") for name in order})
        for order in (names, reversed(names))
    ]

    assert literals.walk(ways[0]) == literals.walk(ways[1])
    assert [one.variable for one in literals.walk(ways[0]).references] == sorted(names)


def test_an_empty_uri_refers_to_nothing() -> None:
    """It stays empty where nothing was written."""
    assert literals.walk_literal(blob(""), "o0") == Walked()


# ----------------------------------------------------------------------- problems


def test_a_kind_of_literal_from_the_future_is_a_problem() -> None:
    """What is not understood is unknown, not absent."""
    unknown = Literal.FromString(b"\xfa\x06\x03abc")

    assert literals.walk_literal(unknown, "o0").problems == (
        "o0 is of a kind that is not known yet",
    )


@pytest.mark.parametrize(
    "literal",
    [
        packed(b"\xc1" + URI),
        packed(b"\x93" + URI),
        packed(b"\xdd\xff\xff\xff\xff" * 50 + URI),
        packed(b"\x91" * 5_000 + URI),
        packed(b"\x82\x91\x81\xa1a\xa1a\x01" + URI + URI),
        packed(b"\x92\xa1\xff" + URI),
        packed({"path": "s3://x/1"}, tag="pickle"),
        packed(URI + b"\x90" * flytekit_values.MAX_PACKED_BYTES),
    ],
    ids=["never used", "cut off", "huge claims", "deep", "list as key", "not UTF-8", "tag", "long"],
)
def test_what_cannot_be_unpacked_is_a_problem(literal: literals_pb2.Literal) -> None:
    """It costs little, and it does not hide the rest."""
    walked = literals.walk_literal(collection(literal, blob("s3://x/1")), "o0")

    assert [reference.uri for reference in walked.references] == ["s3://x/1"]
    assert len(walked.problems) == 1
    assert walked.problems[0].startswith("o0[0] could not be read")


def test_without_msgpack_a_dataclass_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is optional; what it would have read is unknown."""
    value = packed({"path": "s3://x/1"})
    monkeypatch.setitem(__import__("sys").modules, "msgpack", None)

    walked = literals.walk_literal(value, "o0")

    assert walked.problems == ("o0 could not be read: the package msgpack is not installed",)


@pytest.mark.parametrize(
    "uri", ["s3://x/" + "k" * 5_000, "s3://x/\x00", "s3://x/a\nb", "s3://x/\u202e"]
)
def test_a_uri_that_nobody_could_show_is_a_problem(uri: str) -> None:
    """Control characters must reach neither names nor logs."""
    walked = literals.walk_literal(blob(uri), "o0")

    assert walked.references == ()
    assert len(walked.problems) == 1


def test_problems_name_the_place_in_one_line() -> None:
    """Names come from outside, too; keys of dictionaries are the user's values."""
    value = Literal(map=literals_pb2.LiteralMap(literals={"secret": packed(b"\xc1" + URI)}))

    (problem,) = literals.walk_literal(collection(value), "o\n0").problems

    assert problem.startswith("o?0[0].* could not be read")


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x10secret-and-broken",
        literals_pb2.LiteralMap(
            literals={
                "o0": packed({"secret": "://", "a": b"\xff"}, tag="secret"),
                "o1": blob("s3://secret/\n"),
                "o2": packed(b"\xc1secret://"),
                "o3": Literal(map=literals_pb2.LiteralMap(literals={"secret": packed(b"\xc1")})),
            }
        ).SerializeToString(),
    ],
    ids=["no literals", "bad literals"],
)
def test_no_value_is_ever_shown(data: bytes) -> None:
    """Inline literals may hold anything; what is said of them goes into logs."""
    try:
        said = "".join(literals.walk(literals.parse(data)).problems)
    except ReadError as exc:
        said = f"{exc} {exc.__cause__}"

    assert said
    assert "secret" not in said


# ------------------------------------------------------------------------- bounds


def test_more_references_than_allowed_end_the_walk() -> None:
    """The first ones are kept, and the rest is known to be missing."""
    value = collection(*(blob(f"s3://x/{n}") for n in range(20)))

    walked = literals.walk_literal(value, "o0", max_references=5)

    assert len(walked.references) == 5
    assert walked.problems[0].startswith("over budget")


@pytest.mark.parametrize(
    "value",
    [
        collection(*[Literal()] * (literals.MAX_VALUES + 1)),
        plain({"a": [None] * (literals.MAX_VALUES + 1), "b": "://"}),
    ],
    ids=["collection", "Struct"],
)
def test_more_values_than_allowed_end_the_walk(value: literals_pb2.Literal) -> None:
    """Two bytes of protobuf are a value that takes a microsecond to look at."""
    assert literals.walk_literal(value, "o0").problems[0].startswith("over budget")


def test_what_holds_no_uri_is_not_walked() -> None:
    """A large plain dictionary is no problem: it cannot refer to anything."""
    large = packed(list(range(flytekit_values.MAX_PACKED_BYTES // 2)))
    wide = plain({"a": [None] * (literals.MAX_VALUES + 1)})

    assert literals.walk_literal(collection(large, wide), "o0") == Walked()


def test_a_map_of_many_entries_is_cut_at_the_budget() -> None:
    """The first ones in the order of their names are kept."""
    found = {f"v{n:06}": blob(f"s3://x/{n}") for n in range(100_000)}
    data = literals_pb2.LiteralMap(literals=found).SerializeToString()

    walked = literals.walk(literals.parse(data))

    assert len(walked.references) == literals.MAX_REFERENCES
    assert walked.references[-1].uri == f"s3://x/{literals.MAX_REFERENCES - 1}"
    assert walked.problems == ("over budget: there is more than may be looked at",)


def test_a_literal_map_of_megabytes_is_not_parsed() -> None:
    """Neither are 32 MB, whatever they hold."""
    with pytest.raises(ReadError) as caught:
        literals.parse(bytes(literals.MAX_BYTES + 1))

    assert caught.value.reason == "too large"


@pytest.mark.parametrize(
    "value",
    [
        {"a": msgpack.ExtType(5, b"://" * 9), "f": {"path": "s3://x/1"}},
        {"a": msgpack.Timestamp(1 << 33, 5), "f": {"path": "s3://x/1"}},
        {"a": [math.nan, math.inf, (1 << 64) - 1, -(1 << 63)], "f": {"path": "s3://x/1"}},
        {math.nan: 1, True: None, None: b"\xff", "f": {"path": "s3://x/1"}},
        msgpack.packb({"f": {"path": "s3://x/0"}, "g": {"path": "s3://x/1"}}).replace(b"g", b"f"),
    ],
    ids=["extension", "timestamp", "numbers", "keys", "the same key twice"],
)
def test_odd_values_do_not_hide_the_rest(value: Any) -> None:
    """Whatever msgpack can say besides texts and lists is passed over."""
    assert uris(literals.walk_literal(packed(value), "o0")) == ["s3://x/1"]


@pytest.mark.parametrize(
    "value",
    [b"\xd6\xff\x00\x00\x00", b"\xd7\xff" + b"\xff" * 8, b"\xc9\xff\xff\xff\xff\x01"],
    ids=["cut off", "a time that is none", "a claim of gigabytes"],
)
def test_damaged_extensions_are_a_problem(value: bytes) -> None:
    """The same for msgpack's own types of extension."""
    walked = literals.walk_literal(packed(b"\x92" + URI + value), "o0")

    assert walked.problems == ("o0 could not be read: it is not msgpack",)


def test_a_deep_literal_is_a_problem() -> None:
    """However it was made, the walk does not exhaust the stack."""
    value = Literal()
    inner = value
    for _ in range(300):
        inner = inner.collection.literals.add()
    inner.CopyFrom(blob("s3://x/1"))

    walked = literals.walk_literal(value, "o0")

    assert walked.references == ()
    assert "deeper" in walked.problems[0]


def test_a_deep_struct_is_a_problem() -> None:
    """The same for dictionaries in a Struct."""
    value = Literal()
    inner = value.scalar.generic
    for _ in range(300):
        inner = inner.fields["a"].struct_value
    inner.fields["path"].string_value = "s3://x/1"

    assert "deeper" in literals.walk_literal(value, "o0").problems[0]


def test_a_deep_dictionary_is_a_problem() -> None:
    """The same for those in msgpack, which itself takes a thousand levels."""
    value = packed(b"\x81\xa1a" * 300 + URI)

    assert "deeper" in literals.walk_literal(value, "o0").problems[0]


def test_problems_are_bounded() -> None:
    """A million bad literals do not become a million lines."""
    walked = literals.walk_literal(collection(*[packed(b"\xc1" + URI)] * 500), "o0")

    assert len(walked.problems) == literals.MAX_PROBLEMS


def test_an_absurd_declaration_counts_as_none() -> None:
    """The data is still referred to; its footer may tell the columns."""
    value = structured_dataset(deep=types_pb2.LiteralType())
    declared = value.scalar.structured_dataset.metadata.structured_dataset_type
    inner = declared.columns[0].literal_type
    for _ in range(300):
        inner = inner.collection_type
    inner.simple = types_pb2.INTEGER

    (reference,) = literals.walk_literal(value, "o0").references

    assert reference.schema is None


def test_a_declaration_that_is_wide_by_nesting_counts_as_none() -> None:
    """Parts of columns count like columns."""
    part = types_pb2.LiteralType(simple=types_pb2.INTEGER)
    many = {f"c{n}": part for n in range(2000)}
    wide = types_pb2.LiteralType(
        simple=types_pb2.STRUCT, structure=types_pb2.TypeStructure(dataclass_type=many)
    )

    (narrow,) = literals.walk_literal(structured_dataset(a=wide), "o0").references
    (absurd,) = literals.walk_literal(
        structured_dataset(a=wide, b=wide, c=wide, d=wide, e=wide), "o0"
    ).references

    assert narrow.schema is not None
    assert absurd.schema is None


def test_different_declarations_are_bounded_together() -> None:
    """Each piece may declare other columns; beyond a megabyte none are told."""
    kind = types_pb2.LiteralType(simple=types_pb2.INTEGER)
    pieces = [structured_dataset(**{f"{n}{'x' * 50_000}": kind}) for n in range(30)]

    found = literals.walk_literal(collection(*pieces), "o0").references

    assert sum(piece.schema is not None for piece in found) == 20


# ------------------------------------------------------------------------ parsing


def test_nothing_is_an_empty_map() -> None:
    """A task without outputs writes zero bytes."""
    assert literals.walk(literals.parse(b"")) == Walked()


@pytest.mark.parametrize("data", [b"<html>denied</html>", b"\xff" * 40, b"\xfa\x06\x03abc"])
def test_garbage_is_not_a_map_without_outputs(data: bytes) -> None:
    """Protobuf alone would accept fields that it does not know."""
    with pytest.raises(ReadError) as caught:
        literals.parse(data)

    assert caught.value.reason == "unreadable"


def test_a_map_over_the_limit_is_not_parsed() -> None:
    """Parsed, literals can take thirty times their bytes."""
    with pytest.raises(ReadError) as caught:
        literals.parse(b"\x0a\x00" * 100, limit=100)

    assert caught.value.reason == "too large"


def test_nesting_beyond_what_protobuf_takes_is_unreadable() -> None:
    """Its own limit strikes before ours, on the way in."""
    value = blob("s3://x/1").SerializeToString()
    for _ in range(60):
        value = field(2, field(1, value))  # Literal.collection, LiteralCollection.literals

    with pytest.raises(ReadError) as caught:
        literals.parse_literal(value)

    assert caught.value.reason == "unreadable"


def sample() -> bytes:
    """A map with a literal of every kind."""
    value = {"f": {"path": "s3://x/1"}, "t": {"uri": "s3://x/2", "file_format": "csv"}}
    union = literals_pb2.Union(value=blob("s3://x/3"))
    stored = literals_pb2.LiteralOffloadedMetadata(uri="s3://x/o.pb", size_bytes=9)
    schema = literals_pb2.Schema(uri="s3://x/4")
    column = types_pb2.LiteralType(simple=types_pb2.STRING)
    data: bytes = literals_pb2.LiteralMap(
        literals={
            "packed": packed(value),
            "plain": plain(value),
            "union": Literal(scalar=Scalar(union=union), hash="h"),
            "apart": Literal(offloaded_metadata=stored),
            "schema": Literal(scalar=Scalar(schema=schema)),
            "table": structured_dataset(a=column),
            "many": collection(blob("s3://x/5", "csv"), blob("s3://x/6", multipart=True)),
        }
    ).SerializeToString(deterministic=True)
    return data


SAMPLE = sample()


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(SAMPLE)), st.binary(max_size=4), st.integers(0, 4))
def test_damaged_literals_are_read_errors_at_most(place: int, damage: bytes, lost: int) -> None:
    """Whatever bytes are flipped, lost or added, no other exception leaves."""
    damaged = SAMPLE[:place] + damage + SAMPLE[place + lost :]

    with suppress(ReadError):
        walked = literals.walk(literals.parse(damaged))
        assert all(reference.uri.isprintable() for reference in walked.references)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["path", "uri", "metadata", "remote_path", "x"]), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_any_dictionary_can_be_walked(value: Any) -> None:
    """Users put whatever they like into dataclasses."""
    assert literals.walk_literal(packed(value), "o0").offloaded == ()


# ------------------------------------------------------- all kinds, put in and found

Made = tuple[literals_pb2.Literal, list[str]]
"""A literal, and the URIs that were put into it."""


def scalar(**value: Any) -> literals_pb2.Literal:
    return Literal(scalar=Scalar(**value))


def references_in(uri: str) -> st.SearchStrategy[literals_pb2.Literal]:
    """Every way to refer to one URI."""
    dataset = literals_pb2.StructuredDataset(uri=uri)
    noted = {"path": uri, "metadata": {"a": "b"}}
    ways = [
        blob(uri),
        blob(uri, "csv", multipart=True),
        scalar(structured_dataset=dataset),
        scalar(schema=literals_pb2.Schema(uri=uri)),
        *(write(noted) for write in (packed, plain)),
        *(write({"uri": uri, "file_format": ""}) for write in (packed, plain)),
        *(write({"a": [{"remote_path": uri}, 1, {}], "b": "://"}) for write in (packed, plain)),
        Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri=uri)),
    ]
    return st.sampled_from(ways)


paths = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=10)
values: st.SearchStrategy[Made] = st.one_of(
    paths.map(lambda path: f"s3://bucket/{path}").flatmap(
        lambda uri: references_in(uri).map(lambda literal: (literal, [uri]))
    ),
    st.sampled_from(
        [
            Literal(),
            scalar(none_type=literals_pb2.Void()),
            scalar(primitive=literals_pb2.Primitive(string_value="s3://bucket/text")),
            scalar(primitive=literals_pb2.Primitive(integer=1)),
            packed({"a": "s3://bucket/text", "path": ["s3://bucket/text"]}),
            plain({"a": "s3://bucket/text", "path": ["s3://bucket/text"]}),
        ]
    ).map(lambda literal: (literal, [])),
)


def put_together(made: list[Made], keys: list[str]) -> Made:
    inside = [uri for _, uris in made for uri in uris]
    if not keys:
        return collection(*(literal for literal, _ in made)), inside
    entries = dict(zip(keys, (literal for literal, _ in made), strict=True))
    return Literal(map=literals_pb2.LiteralMap(literals=entries)), inside


def in_union(made: Made) -> Made:
    return scalar(union=literals_pb2.Union(value=made[0])), made[1]


made_literals = st.recursive(
    values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(lambda made: put_together(made, [])),
        st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=5).map(
            lambda made: put_together(list(made.values()), list(made))
        ),
        inner.map(in_union),
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5), made_literals, min_size=1, max_size=4))
def test_what_was_put_in_is_found(variables: dict[str, Made]) -> None:
    """Nothing is missing, nothing is invented, in whatever shape it travelled."""
    made = {name: literal for name, (literal, _) in variables.items()}
    data = literals_pb2.LiteralMap(literals=made).SerializeToString()

    walked = literals.walk(literals.parse(data))

    found = [*walked.references, *walked.offloaded]
    assert walked.problems == ()
    assert sorted((one.variable, one.uri) for one in found) == sorted(
        (name, uri) for name, (_, uris) in variables.items() for uri in uris
    )
