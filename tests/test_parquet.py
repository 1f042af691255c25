"""What a Parquet footer says, and what it cannot do to the process that reads it."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage import parquet
from flytelineage.entities import DataType, Field
from flytelineage.errors import ReadError


def file_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def footer_of(file: bytes) -> bytes:
    return file[-parquet.footer_bytes(file, len(file), limit=1 << 20) :]


GROUP = b"\x35\x02\x18\x01a\x15\x02\x00"  # optional group `a` with one child
LIST = b"\x35\x02\x18\x01a\x15\x02\x15\x06\x00"  # the same, annotated as a list
LEAF = b"\x15\x02\x25\x02\x18\x01x\x00"  # optional int32 `x`
REPEATED = b"\x15\x02\x25\x04\x18\x01x\x00"  # repeated int32 `x`
REPEATED_GROUP = b"\x35\x04\x18\x05array\x15\x02\x00"  # repeated group `array`


def forged(*elements: bytes) -> bytes:
    """A footer of just this schema, in Thrift's compact protocol."""
    schema = [b"\x48\x01s\x15\x02\x00", *elements]
    metadata = b"\x15\x02\x19\xfc" + varint(len(schema)) + b"".join(schema)
    metadata += b"\x16\x00\x19\x0c\x00"
    return metadata + struct.pack("<I", len(metadata)) + parquet.MAGIC


def forged_deep(levels: int) -> bytes:
    """A footer whose only column is nested in this many groups."""
    return forged(*[GROUP] * levels, LEAF)


def varint(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


TABLE = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", None]})

# ------------------------------------------------------------------ what it says


def test_columns_and_rows() -> None:
    """The footer alone tells both."""
    content = parquet.read_content(footer_of(file_of(TABLE)))

    assert content.rows == 3
    assert content.schema.source == "footer"
    assert content.schema.fields == (
        Field(name="id", type=DataType(kind="int", bits=64, native="int64")),
        Field(name="name", type=DataType(kind="string", native="string")),
    )


@pytest.mark.parametrize(
    ("arrow", "expected"),
    [
        (pa.bool_(), {"kind": "bool"}),
        (pa.int8(), {"kind": "int", "bits": 8}),
        (pa.uint32(), {"kind": "uint", "bits": 32}),
        (pa.float16(), {"kind": "float", "bits": 16}),
        (pa.float64(), {"kind": "float", "bits": 64}),
        (pa.decimal128(12, 2), {"kind": "decimal", "bits": 128, "precision": 12, "scale": 2}),
        (pa.large_string(), {"kind": "string"}),
        (pa.binary(), {"kind": "binary"}),
        (pa.binary(16), {"kind": "binary"}),
        (pa.date32(), {"kind": "date", "bits": 32, "unit": "day"}),
        (pa.date64(), {"kind": "date", "bits": 64, "unit": "ms"}),
        (pa.time64("us"), {"kind": "time", "bits": 64, "unit": "us"}),
        (pa.timestamp("ms"), {"kind": "timestamp", "unit": "ms"}),
        (pa.timestamp("us", "UTC"), {"kind": "timestamp", "unit": "us", "zone": "UTC"}),
        (pa.duration("ns"), {"kind": "duration", "unit": "ns"}),
        (pa.month_day_nano_interval(), {"kind": "interval"}),
        (pa.null(), {"kind": "null"}),
        (pa.dictionary(pa.int8(), pa.string()), {"kind": "string"}),
        (pa.uuid(), {"kind": "binary"}),
        (pa.list_(pa.int8()), {"kind": "list"}),
        (pa.map_(pa.string(), pa.int8()), {"kind": "map"}),
        (pa.struct([("a", pa.int8())]), {"kind": "struct"}),
        (pa.dense_union([pa.field("a", pa.int8())]), {"kind": "union"}),
    ],
    ids=str,
)
def test_every_arrow_type_has_its_word(arrow: pa.DataType, expected: dict[str, Any]) -> None:
    """The closed set of kinds covers Arrow, with the parameters that targets need."""
    described = parquet.data_type(arrow)

    assert described.model_dump(exclude_none=True, exclude={"native"}) == expected


def described(field: Field) -> tuple[Any, ...]:
    """A column in short: kind, parameters, parts."""
    known = field.type.model_dump(exclude_none=True, exclude={"kind", "native"})
    return (field.type.kind, known, *((part.name, *described(part)) for part in field.children))


WHOLE = {"bits": 8}
STORED: list[tuple[pa.DataType, tuple[Any, ...]]] = [
    (pa.null(), ("null", {})),
    (pa.uint64(), ("uint", {"bits": 64})),
    (pa.float16(), ("float", {"bits": 16})),
    (pa.decimal128(38, 10), ("decimal", {"bits": 128, "precision": 38, "scale": 10})),
    (pa.decimal256(76, 5), ("decimal", {"bits": 256, "precision": 76, "scale": 5})),
    (pa.large_string(), ("string", {})),
    (pa.binary(16), ("binary", {})),
    (pa.uuid(), ("binary", {})),
    (pa.date32(), ("date", {"bits": 32, "unit": "day"})),
    (pa.time32("ms"), ("time", {"bits": 32, "unit": "ms"})),
    (pa.time64("ns"), ("time", {"bits": 64, "unit": "ns"})),
    (pa.timestamp("s"), ("timestamp", {"unit": "ms"})),  # Parquet has no seconds
    (pa.timestamp("ns"), ("timestamp", {"unit": "ns"})),
    (pa.timestamp("us", "UTC"), ("timestamp", {"unit": "us", "zone": "UTC"})),
    (pa.dictionary(pa.int8(), pa.string()), ("string", {})),
    (pa.list_(pa.int8()), ("list", {}, ("item", "int", WHOLE))),
    (pa.large_list(pa.int8()), ("list", {}, ("item", "int", WHOLE))),
    (pa.list_(pa.int8(), 3), ("list", {}, ("item", "int", WHOLE))),
    (
        pa.map_(pa.string(), pa.decimal128(5, 1)),
        (
            "map",
            {},
            ("key", "string", {}),
            ("value", "decimal", {"bits": 128, "precision": 5, "scale": 1}),
        ),
    ),
    (
        pa.struct([("a", pa.list_(pa.struct([("b", pa.timestamp("us", "UTC"))])))]),
        (
            "struct",
            {},
            (
                "a",
                "list",
                {},
                ("item", "struct", {}, ("b", "timestamp", {"unit": "us", "zone": "UTC"})),
            ),
        ),
    ),
]
"""What was written, and what is stored."""


@pytest.mark.parametrize("store_schema", [True, False], ids=["by pyarrow", "by others"])
@pytest.mark.parametrize(("arrow", "expected"), STORED, ids=[str(kind) for kind, _ in STORED])
def test_what_a_file_stores(
    arrow: pa.DataType, expected: tuple[Any, ...], store_schema: bool
) -> None:
    """Parquet's own types say the same, where no Arrow schema lies beside them."""
    file = file_of(pa.table({"c": pa.array([], arrow)}), store_schema=store_schema)

    (column,) = parquet.read_content(footer_of(file)).schema.fields

    assert (column.name, described(column)) == ("c", expected)


@pytest.mark.parametrize(
    ("stored", "zone"), [(True, "Europe/Vienna"), (False, "UTC")], ids=["by pyarrow", "by others"]
)
def test_a_time_zone_is_known_to_arrow_alone(stored: bool, zone: str) -> None:
    """Parquet itself keeps a point in time."""
    kind = pa.timestamp("us", "Europe/Vienna")
    file = file_of(pa.table({"at": pa.array([], kind)}), store_schema=stored)

    (column,) = parquet.read_content(footer_of(file)).schema.fields

    assert column.type.zone == zone


def test_what_older_writers_called_a_time() -> None:
    """Spark wrote 96 bits, and some still do."""
    table = pa.table({"at": pa.array([], pa.timestamp("ns"))})
    file = file_of(table, use_deprecated_int96_timestamps=True, store_schema=False)

    (column,) = parquet.read_content(footer_of(file)).schema.fields

    assert described(column) == ("timestamp", {"unit": "ns"})


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ([REPEATED], ("list", {}, ("item", "int", {"bits": 32}))),
        ([LIST, REPEATED], ("list", {}, ("item", "int", {"bits": 32}))),
        (
            [LIST, REPEATED_GROUP, LEAF],
            ("list", {}, ("item", "struct", {}, ("x", "int", {"bits": 32}))),
        ),
    ],
    ids=["not annotated", "two levels", "two levels of structs"],
)
def test_lists_of_older_writers(elements: list[bytes], expected: tuple[Any, ...]) -> None:
    """Parquet had several ways to say it."""
    (column,) = parquet.read_content(forged(*elements)).schema.fields

    assert described(column) == expected


@pytest.mark.parametrize(
    "name", ["", "a.b", "größe", "名前", "a\nb", "a\x00b", "\u202e", " a ", "x" * 5000], ids=ascii
)
def test_names_are_told_as_they_are(name: str) -> None:
    """What a catalogue cannot spell is its target's business."""
    kind = pa.struct([(name, pa.int8())])

    (column,) = parquet.read_content(
        footer_of(file_of(pa.table({name: pa.array([], kind)})))
    ).schema.fields

    assert (column.name, column.children[0].name) == (name, name)


def test_two_columns_may_have_one_name() -> None:
    """Parquet does not mind."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array(["a"])], ["x", "x"])

    content = parquet.read_content(footer_of(file_of(table)))

    assert [(one.name, one.type.kind) for one in content.schema.fields] == [
        ("x", "int"),
        ("x", "string"),
    ]


@pytest.mark.parametrize("columns", [parquet.MAX_COLUMNS, parquet.MAX_COLUMNS + 1])
def test_as_many_columns_as_allowed(columns: int) -> None:
    """Ten thousand are read, and one more is refused."""
    leaves = [LEAF.replace(b"x", b"%x" % (number % 16)) for number in range(columns)]
    root = b"\x48\x01s\x15" + varint(columns << 1) + b"\x00"
    footer = forged(*leaves).replace(b"\x48\x01s\x15\x02\x00", root, 1)[:-8]
    footer += struct.pack("<I", len(footer)) + parquet.MAGIC

    if columns > parquet.MAX_COLUMNS:
        with pytest.raises(ReadError):
            parquet.read_content(footer)
    else:
        assert len(parquet.read_content(footer).schema.fields) == columns


def test_too_long_names_are_refused() -> None:
    """A footer of megabytes must not become a lineage of megabytes."""
    columns = [(f"{n}{'x' * 2000}", pa.int8()) for n in range(600)]

    with pytest.raises(ReadError, match="characters"):
        parquet.schema_of(pa.schema(columns))


def test_nested_columns_keep_their_parts() -> None:
    """Lists, maps and structs are told level by level, under settled names."""
    kind = pa.list_(pa.field("element", pa.struct([("at", pa.map_(pa.string(), pa.int32()))])))
    table = pa.table({"events": pa.array([], kind)})

    (column,) = parquet.read_content(footer_of(file_of(table))).schema.fields

    (item,) = column.children
    (at,) = item.children
    assert [column.type.kind, item.type.kind, at.type.kind] == ["list", "struct", "map"]
    assert [item.name, at.name, *(part.name for part in at.children)] == [
        "item", "at", "key", "value",
    ]  # fmt: skip


def test_a_column_says_whether_it_may_be_null_and_what_it_means() -> None:
    """Both are in the schema that Arrow stores."""
    note = {"description": "The customer's number"}
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False, metadata=note)])

    (column,) = parquet.read_content(footer_of(file_of(schema.empty_table()))).schema.fields

    assert not column.nullable
    assert column.description == "The customer's number"


def test_a_file_without_arrow_schema_is_read_too() -> None:
    """Spark and others write none; Parquet's own types are enough."""
    content = parquet.read_content(footer_of(file_of(TABLE, store_schema=False)))

    assert [column.name for column in content.schema.fields] == ["id", "name"]


# --------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"", "unreadable"),
        (b"PAR1", "unreadable"),
        (b"id,name\n1,a\n", "unreadable"),
        (struct.pack("<I", 100) + b"PARE", "unreadable"),
        (struct.pack("<I", 0x7FFFFFFF) + b"PAR1", "unreadable"),
        (struct.pack("<I", 500_000) + b"PAR1", "too large"),
    ],
    ids=["empty", "magic alone", "csv", "encrypted", "forged length", "over the limit"],
)
def test_a_length_is_only_a_claim(tail: bytes, reason: str) -> None:
    """Nothing is read on the word of a file that cannot be that long."""
    with pytest.raises(ReadError) as caught:
        parquet.footer_bytes(tail, 1_000_000, limit=100_000)

    assert caught.value.reason == reason


@pytest.mark.parametrize("depth", [150, 5_000, 200_000])
def test_a_schema_that_is_nested_too_deep_is_refused(depth: int) -> None:
    """It neither overflows the stack of pyarrow nor ours."""
    with pytest.raises(ReadError) as caught:
        parquet.read_content(forged_deep(depth))

    assert caught.value.reason == "unreadable"


def test_the_forged_schema_is_read_where_it_is_shallow() -> None:
    """The test above fails for its depth, not for its bytes."""
    (column,) = parquet.read_content(forged_deep(1)).schema.fields

    assert (column.name, column.children[0].name) == ("a", "x")


def test_arrow_types_nested_too_deep_are_refused() -> None:
    """The bound does not depend on pyarrow's own."""
    kind = pa.int8()
    for _ in range(parquet.MAX_DEPTH):
        kind = pa.struct([("a", kind)])

    with pytest.raises(ReadError, match="deeper"):
        parquet.schema_of(pa.schema([("deep", kind)]))


def test_too_many_columns_are_refused() -> None:
    """Nested ones count, so that structs are no way around."""
    wide = pa.struct([(f"c{n}", pa.int8()) for n in range(parquet.MAX_COLUMNS)])

    with pytest.raises(ReadError, match="columns"):
        parquet.schema_of(pa.schema([("wide", wide)]))


FOOTER = footer_of(file_of(TABLE))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(FOOTER) - 9), st.binary(min_size=1, max_size=4))
def test_a_damaged_footer_is_a_read_error(place: int, damage: bytes) -> None:
    """Whatever bytes are flipped, no other exception leaves."""
    damaged = FOOTER[:place] + damage + FOOTER[place + len(damage) :]

    with suppress(ReadError):
        parquet.read_content(damaged)
