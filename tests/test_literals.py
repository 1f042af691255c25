"""Which data literals refer to: as flytekit writes them, and as an attacker would."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage import literals
from flytelineage.entities import DataType, Field, Schema
from flytelineage.errors import ReadError
from flytelineage.literals import Offloaded, Reference, Walked

pytest.importorskip("flytekit", reason="flytekit has no release for this version of Python")
from flytekit import StructuredDataset
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

Literal = literals_pb2.Literal
Scalar = literals_pb2.Scalar


@pytest.fixture(autouse=True)
def raw_output(tmp_path: Path) -> Iterator[Path]:
    """Where flytekit uploads to: real files in a folder of this test."""
    context = FlyteContextManager.current_context()
    access = type(context.file_access)(str(tmp_path / "sandbox"), str(tmp_path / "raw"))
    with FlyteContextManager.with_context(context.with_file_access(access)):
        yield tmp_path / "raw"


def literal_of(value: Any, kind: Any) -> literals_pb2.Literal:
    """What flytekit writes for a value."""
    context = FlyteContextManager.current_context()
    expected = TypeEngine.to_literal_type(kind)
    return TypeEngine.to_literal(context, value, kind, expected).to_flyte_idl()


def walk_value(value: Any, kind: Any) -> Walked:
    """Walk a value the way it travels: written by flytekit, serialised, parsed."""
    written = literals_pb2.LiteralMap(literals={"o0": literal_of(value, kind)})
    return literals.walk(literals.parse(written.SerializeToString()))


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


# ------------------------------------------------------------ as flytekit writes


def test_a_table_is_a_structured_dataset(raw_output: Path) -> None:
    """Its URI is the folder that flytekit wrote Parquet into."""
    (reference,) = walk_value(pa.table({"a": [1]}), pa.Table).references

    assert reference.variable == "o0"
    assert reference.path == ()
    assert (reference.kind, reference.format) == ("structured dataset", "parquet")
    assert reference.schema is None
    assert reference.folder is None
    assert [file.name for file in Path(reference.uri).iterdir()] == ["00000"]


@pytest.mark.parametrize("uri", ["bq://project:dataset.table", "s3://bucket/table"])
def test_a_table_elsewhere_keeps_its_uri(uri: str) -> None:
    """Whatever names a table that flytekit did not write is taken verbatim."""
    assert uris(walk_value(StructuredDataset(uri=uri), StructuredDataset)) == [uri]


def test_a_file_says_its_format(tmp_path: Path) -> None:
    """A blob of one object."""
    (tmp_path / "orders.csv").write_text("id\n1\n")
    value = FlyteFile(str(tmp_path / "orders.csv"), metadata={"owner": "sales"})

    (reference,) = walk_value(value, FlyteFile["csv"]).references

    assert (reference.kind, reference.format, reference.folder) == ("file", "csv", False)
    assert reference.uri.endswith("/orders.csv")
    assert reference.metadata == {"owner": "sales"}


def test_a_directory_is_a_folder(tmp_path: Path) -> None:
    """A blob of many objects."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one").write_text("1")

    (reference,) = walk_value(FlyteDirectory(str(tmp_path / "parts")), FlyteDirectory).references

    assert (reference.kind, reference.folder) == ("folder", True)


def test_a_pickle_is_a_file() -> None:
    """What flytekit has no type for is a blob with a format of its own."""
    (reference,) = walk_value(object(), object).references

    assert (reference.kind, reference.format) == ("file", "PythonPickle")


def test_lists_and_dicts_are_walked_with_their_path() -> None:
    """Every element is a reference; the path says where it stood."""
    files = {"b": [FlyteFile("s3://x/2"), FlyteFile("s3://x/3")], "a": [FlyteFile("s3://x/1")]}

    walked = walk_value(files, dict[str, list[FlyteFile]])

    assert [(one.path, one.uri) for one in walked.references] == [
        (("a", 0), "s3://x/1"),
        (("b", 0), "s3://x/2"),
        (("b", 1), "s3://x/3"),
    ]


def test_an_optional_file_is_unwrapped() -> None:
    """A union is not a level of its own."""
    (reference,) = walk_value(FlyteFile("s3://x/1"), FlyteFile | None).references

    assert (reference.path, reference.uri) == ((), "s3://x/1")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, FlyteFile | None),
        (1, int),
        (1.5, float),
        ("s3://not/a/reference", str),
        (True, bool),
        (datetime(2026, 1, 1, tzinfo=timezone.utc), datetime),
        ([1, 2], list[int]),
        ({"a": 1}, dict[str, int]),
    ],
    ids=str,
)
def test_plain_values_refer_to_nothing(value: Any, kind: Any) -> None:
    """A text that looks like a URI is still a text."""
    assert walk_value(value, kind) == Walked()


@dataclasses.dataclass
class Everything:
    file: FlyteFile
    folder: FlyteDirectory
    table: StructuredDataset
    many: list[FlyteFile]
    number: int
    text: str


def test_a_dataclass_is_looked_through() -> None:
    """Files, folders and tables inside msgpack are references like any other."""
    value = Everything(
        FlyteFile("s3://x/file"),
        FlyteDirectory("s3://x/folder"),
        StructuredDataset(uri="s3://x/table", file_format="parquet"),
        [FlyteFile("s3://x/one")],
        1,
        "s3://x/text",
    )

    walked = walk_value(value, Everything)

    assert [(one.path, one.uri, one.kind, one.format) for one in walked.references] == [
        (("file",), "s3://x/file", "file or folder", ""),
        (("folder",), "s3://x/folder", "file or folder", ""),
        (("many", 0), "s3://x/one", "file or folder", ""),
        (("table",), "s3://x/table", "structured dataset", "parquet"),
    ]
    assert walked.problems == ()


# ------------------------------------------------------------------- other shapes


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
        Reference("o0", ("schema",), "s3://x/schema", "schema"),
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
        {1: {2: "s3://x/1"}},
    ],
    ids=str,
)
def test_other_dictionaries_are_not_taken_for_files(value: Any) -> None:
    """An edge must not be invented from a user's own keys."""
    assert literals.walk_literal(packed(value), "o0") == Walked()


def test_a_fragment_of_a_dataclass_is_a_file() -> None:
    """Propeller resolves `result.file` and passes on that part alone."""
    assert uris(literals.walk_literal(packed({"path": "s3://x/1"}), "o0")) == ["s3://x/1"]


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
        ("odd", "unknown", []),
    ]


def test_hash_and_notes_of_a_union_reach_the_reference() -> None:
    """They stand on the literal outside, the URI inside."""
    inner = blob("s3://x/1")
    outer = Literal(scalar=Scalar(union=literals_pb2.Union(value=inner)), hash="abc")
    outer.metadata["team"] = "sales"

    (reference,) = literals.walk_literal(outer, "o0").references

    assert (reference.hash, reference.metadata) == ("abc", {"team": "sales"})


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
        packed(b"\xc1"),
        packed(b"\x92\x01"),
        packed(b"\xdd\xff\xff\xff\xff" * 50),
        packed(b"\x91" * 5_000 + b"\x01"),
        packed(b"\x81\x90\x01"),
        packed(b"\xa1\xff"),
        packed({"path": "s3://x/1"}, tag="pickle"),
        packed(b"\x90" * (literals.MAX_PACKED_BYTES + 1)),
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
    monkeypatch.setitem(__import__("sys").modules, "msgpack", None)

    walked = literals.walk_literal(
        Literal(scalar=Scalar(binary=literals_pb2.Binary(value=b"\x80", tag="msgpack"))), "o0"
    )

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
    """Keys come from outside, too."""
    value = Literal(map=literals_pb2.LiteralMap(literals={"a\nb": packed(b"\xc1")}))

    (problem,) = literals.walk_literal(collection(value), "o0").problems

    assert problem.startswith("o0[0].a?b could not be read")


# ------------------------------------------------------------------------- bounds


def test_more_references_than_allowed_end_the_walk() -> None:
    """The first ones are kept, and the rest is known to be missing."""
    value = collection(*(blob(f"s3://x/{n}") for n in range(20)))

    walked = literals.walk_literal(value, "o0", max_references=5)

    assert len(walked.references) == 5
    assert walked.problems[0].startswith("over budget")


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

    assert "deeper" in literals.walk_literal(value, "o0").problems[0]


def test_a_deep_dictionary_is_a_problem() -> None:
    """The same for those in msgpack, which itself takes a thousand levels."""
    value = packed(b"\x81\xa1a" * 300 + b"\x01")

    assert "deeper" in literals.walk_literal(value, "o0").problems[0]


def test_problems_are_bounded() -> None:
    """A million bad literals do not become a million lines."""
    walked = literals.walk_literal(collection(*[packed(b"\xc1")] * 500), "o0")

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
