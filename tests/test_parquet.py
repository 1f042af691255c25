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


def forged(schema_elements: int) -> bytes:
    """A footer whose only column is nested in this many groups."""
    group = b"\x35\x02\x18\x01a\x15\x02\x00"  # optional group `a` with one child
    leaf = b"\x15\x02\x25\x02\x18\x01x\x00"  # optional int32 `x`
    elements = [b"\x48\x01s\x15\x02\x00", *[group] * schema_elements, leaf]
    count = varint(len(elements))
    metadata = b"\x15\x02\x19\xfc" + count + b"".join(elements) + b"\x16\x00\x19\x0c\x00"
    return metadata + struct.pack("<I", len(metadata)) + parquet.MAGIC


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
        parquet.read_content(forged(depth))

    assert caught.value.reason == "unreadable"


def test_the_forged_schema_is_read_where_it_is_shallow() -> None:
    """The test above fails for its depth, not for its bytes."""
    (column,) = parquet.read_content(forged(1)).schema.fields

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
