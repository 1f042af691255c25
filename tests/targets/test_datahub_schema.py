"""Columns as DataHub's own sources write them, so that what people note stays attached."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from flytelineage.entities import DataType, Field, Schema

PLATFORM = "urn:li:dataPlatform:flyte"


def field(name: str, kind: str, *children: Field, **details: Any) -> Field:
    nullable = details.pop("nullable", True)
    return Field(
        name=name,
        type=DataType(kind=kind, **details),
        nullable=nullable,
        children=children,
    )


def fields(*columns: Field) -> list[Any]:
    # DataHub's client costs time to import, so the tests do as the target does.
    from flytelineage.targets.datahub.schema import schema_metadata

    aspect = schema_metadata(Schema(fields=columns), name="x", platform=PLATFORM)
    assert aspect.validate()
    return list(aspect.fields)


def paths(*columns: Field) -> list[str]:
    return [each.fieldPath for each in fields(*columns)]


LONG = field("item", "int", bits=64)
INT = field("value", "int", bits=32)
TEXT = field("key", "string")


@pytest.mark.parametrize(
    ("column", "hive"),
    [
        (field("c", "list", INT), "array<int>"),
        (field("c", "list", field("item", "list", LONG)), "array<array<bigint>>"),
        (
            field(
                "c",
                "list",
                field("item", "struct", field("sku", "string"), field("n", "list", LONG)),
            ),
            "array<struct<sku:string,n:array<bigint>>>",
        ),
        (field("c", "map", TEXT, INT), "map<string,int>"),
        (
            field("c", "map", TEXT, field("value", "struct", field("x", "float", bits=32))),
            "map<string,struct<x:float>>",
        ),
        (
            field("c", "map", TEXT, field("v", "list", field("i", "struct", field("z", "bool")))),
            "map<string,array<struct<z:boolean>>>",
        ),
        (
            field(
                "c",
                "struct",
                field(
                    "geo",
                    "struct",
                    field("lat", "float", bits=64),
                    field("day", "date"),
                    field("sum", "decimal", precision=5, scale=1),
                ),
            ),
            "struct<geo:struct<lat:double,day:date,sum:decimal(5,1)>>",
        ),
    ],
)
def test_nested_columns_have_the_paths_of_the_hive_source(column: Field, hive: str) -> None:
    """DataHub's own converter, which its Glue source uses, comes to the same fields."""
    from datahub.utilities.hive_schema_to_avro import get_schema_fields_for_hive_column

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # avro's, about its own logical types
        theirs = get_schema_fields_for_hive_column("c", hive, default_nullable=True)

    assert _essence(fields(column)) == _essence(theirs)


def _essence(found: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(each.fieldPath, each.type.to_obj()) for each in found]


def test_simple_columns_go_by_their_names() -> None:
    """In their own order."""
    assert paths(field("b", "string"), field("a", "int", bits=8)) == ["b", "a"]


@pytest.mark.parametrize(
    ("kind", "details", "type_", "native"),
    [
        ("bool", {}, "BooleanTypeClass", "bool"),
        ("int", {"bits": 64}, "NumberTypeClass", "int64"),
        ("uint", {"bits": 8}, "NumberTypeClass", "uint8"),
        ("float", {}, "NumberTypeClass", "float"),
        ("decimal", {"precision": 10, "scale": 2}, "NumberTypeClass", "decimal(10, 2)"),
        ("string", {}, "StringTypeClass", "string"),
        ("string", {"native": "VARCHAR(3)"}, "StringTypeClass", "VARCHAR(3)"),
        ("binary", {}, "BytesTypeClass", "binary"),
        ("date", {"bits": 32}, "DateTypeClass", "date"),
        ("time", {"unit": "us"}, "TimeTypeClass", "time[us]"),
        ("timestamp", {"unit": "us", "zone": "UTC"}, "TimeTypeClass", "timestamp[us, tz=UTC]"),
        ("duration", {}, "TimeTypeClass", "duration"),
        ("interval", {}, "TimeTypeClass", "interval"),
        ("null", {}, "NullTypeClass", "null"),
        ("unknown", {"native": "geometry"}, "NullTypeClass", "geometry"),
    ],
)
def test_every_type_has_a_word(kind: str, details: Any, type_: str, native: str) -> None:
    """The native spelling wins over ours."""
    [found] = fields(field("c", kind, **details))

    assert type(found.type.type).__name__ == type_
    assert found.nativeDataType == native


def test_a_nested_type_is_spelled_out() -> None:
    """In one line."""
    column = field("c", "map", TEXT, field("v", "struct", field("x", "list", LONG)))

    assert fields(column)[0].nativeDataType == "map<string, struct<x: list<int64>>>"


def test_what_is_known_of_a_column_is_told() -> None:
    """Whether it may be missing, and what it means."""
    column = Field(name="c", type=DataType(kind="bool"), nullable=False, description="Paid?")

    [found] = fields(column)

    assert (found.nullable, found.description) == (False, "Paid?")


def test_a_union_has_a_branch_for_each_alternative() -> None:
    """Under the column's own name."""
    column = field("c", "union", field("a", "int", bits=32), field("b", "string"))

    root = "[version=2.0].[type=struct].[type=union]"
    assert paths(column) == [f"{root}.c", f"{root}.[type=int].c", f"{root}.[type=string].c"]


def test_a_path_is_told_once() -> None:
    """GMS refuses a schema that names one twice, or none; a Parquet file may do both."""
    columns = [field("a", "string"), field("a", "bool"), field("", "bool")]

    assert paths(*columns, field("__index_level_0__", "int", bits=64)) == ["a"]


def test_a_schema_has_a_stable_hash() -> None:
    """Equal columns, equal hash; and a very wide one is not told in full twice."""
    from flytelineage.targets.datahub.schema import MAX_RAW_SCHEMA, schema_metadata

    wide = Schema(fields=tuple(field(f"column_{number}", "string") for number in range(5000)))
    first, second = (schema_metadata(wide, name="x", platform=PLATFORM) for _ in range(2))

    assert first.hash == second.hash
    assert len(first.platformSchema.rawSchema) == MAX_RAW_SCHEMA
    assert len(first.fields) == 5000
