"""One schema for several files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage.entities import DataType, Field, Schema
from flytelineage.schemas import united

INT = DataType(kind="int", bits=64, native="int64")
SHORT = DataType(kind="int", bits=32, native="int32")
DOUBLE = DataType(kind="float", bits=64, native="double")
TEXT = DataType(kind="string", native="string")
NULL = DataType(kind="null", native="null")
LIST = DataType(kind="list")
STRUCT = DataType(kind="struct")


def schema(*fields: Field) -> Schema:
    return Schema(fields=fields, source="footer")


def column(name: str, kind: DataType, *children: Field, **rest: Any) -> Field:
    return Field(name=name, type=kind, children=children, **rest)


def both(one: DataType, other: DataType) -> DataType:
    found = united([schema(column("a", one)), schema(column("a", other))])
    assert found is not None
    return found.fields[0].type


def test_no_file_has_no_schema() -> None:
    """Unknown, not empty."""
    assert united([]) is None


def test_files_that_agree() -> None:
    """All of them say the same."""
    one = schema(column("a", INT), column("b", TEXT))

    assert united([one, one, one]) == one


def test_columns_that_were_added_later() -> None:
    """They are told, and may be null: older files lack them."""
    older = schema(column("id", INT, nullable=False), column("gone", TEXT, nullable=False))
    newer = schema(column("id", INT, nullable=False), column("new", TEXT, nullable=False))

    found = united([older, newer])

    assert found is not None
    assert [(one.name, one.nullable) for one in found.fields] == [
        ("id", False),
        ("gone", True),
        ("new", True),
    ]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (NULL, TEXT, TEXT),
        (SHORT, INT, INT),
        (INT, DOUBLE, DataType(kind="float", bits=64)),
        (TEXT, DataType(kind="string", native="large_string"), TEXT),
        (INT, TEXT, DataType(kind="unknown", native="int64 or string")),
        (
            DataType(kind="timestamp", unit="us", zone="UTC", native="utc"),
            DataType(kind="timestamp", unit="us", native="local"),
            DataType(kind="unknown", native="utc or local"),
        ),
        (LIST, STRUCT, DataType(kind="unknown", native="list or struct")),
    ],
    ids=lambda kind: kind.native or kind.kind,
)
def test_types_that_differ(one: DataType, other: DataType, expected: DataType) -> None:
    """Widened where every reader would, unknown where readers would disagree."""
    assert both(one, other) == expected


def test_a_column_that_is_empty_in_one_file_may_be_null() -> None:
    """A column of nothing but nulls has no type in pandas."""
    found = united([schema(column("a", INT, nullable=False)), schema(column("a", NULL))])

    assert found == schema(column("a", INT, nullable=True))


def test_what_is_nested_is_united_too() -> None:
    """Members of structs, wherever they stand."""
    kinds = [
        schema(column("a", LIST, column("item", STRUCT, *members)))
        for members in ([column("x", SHORT)], [column("x", INT), column("y", TEXT)])
    ]

    found = united(kinds)

    assert found == schema(
        column("a", LIST, column("item", STRUCT, column("x", INT), column("y", TEXT)))
    )


def test_names_that_come_twice_cannot_be_united() -> None:
    """Which of them is which, nobody knows."""
    twice = schema(column("a", INT), column("a", TEXT))

    assert united([twice, schema(column("a", INT))]) == twice


kinds = st.sampled_from([INT, SHORT, DOUBLE, TEXT, NULL])
fields = st.recursive(
    st.builds(column, st.sampled_from("abc"), kinds),
    lambda inner: st.lists(inner, max_size=3).flatmap(
        lambda parts: st.builds(lambda name: column(name, STRUCT, *parts), st.sampled_from("abc"))
    ),
    max_leaves=6,
)
schemas = st.lists(fields, max_size=3, unique_by=lambda field: field.name).map(
    lambda found: schema(*found)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(schemas, min_size=1, max_size=4))
def test_no_column_gets_lost(parts: list[Schema]) -> None:
    """Whatever differs, each is told once."""
    found = united(parts)

    assert found is not None
    names = [field.name for field in found.fields]
    assert sorted(names) == sorted({field.name for part in parts for field in part.fields})
