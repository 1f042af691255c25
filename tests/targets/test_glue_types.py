"""Columns for Glue: each has a type that Athena reads, and none costs the table."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage.entities import DataType, Field, Schema, TypeKind
from flytelineage.targets.glue.formats import CSV, JSON, PARQUET, Format, serde
from flytelineage.targets.glue.types import Columns, athena_type, columns, names_in_files


def field(kind: str, *children: Field, name: str = "c", **type_: Any) -> Field:
    return Field(name=name, type=DataType(kind=kind, **type_), children=children)


def named(*names: str) -> Columns:
    return columns(Schema(fields=tuple(field("int", name=name) for name in names)))


def names_of(found: Columns) -> list[str]:
    return [column["Name"] for column in found.columns]


STRING, UNION = field("string"), field("union")


@pytest.mark.parametrize(
    ("given_field", "expected"),
    [
        (field("null"), "string"),
        (field("bool"), "boolean"),
        (field("int", bits=8), "tinyint"),
        (field("int", bits=16), "smallint"),
        (field("int", bits=32), "int"),
        (field("int", bits=64), "bigint"),
        (field("int"), "bigint"),
        (field("uint", bits=8), "smallint"),
        (field("uint", bits=16), "int"),
        (field("uint", bits=32), "bigint"),
        (field("uint", bits=64), "decimal(20,0)"),
        (field("float", bits=16), "float"),
        (field("float", bits=32), "float"),
        (field("float", bits=64), "double"),
        (field("decimal", precision=10, scale=2), "decimal(10,2)"),
        (field("decimal", precision=40, scale=2), "decimal(38,2)"),
        (field("decimal", precision=3, scale=-2), "decimal(5,0)"),
        (field("decimal"), "decimal(38,0)"),
        (STRING, "string"),
        (field("binary"), "binary"),
        (field("date", bits=32), "date"),
        (field("time", bits=64, unit="us"), "bigint"),
        (field("timestamp", unit="ns", zone="UTC"), "timestamp"),
        (field("duration", unit="s"), "bigint"),
        (field("interval"), "binary"),
        (field("unknown", native="geometry"), "string"),
        (field("list", STRING), "array<string>"),
        (field("list"), "array<string>"),
        (field("map", STRING, field("float", bits=64)), "map<string,double>"),
        (field("map"), "map<string,string>"),
        (
            field("struct", field("int", name="B c"), field("bool", name="b-c")),
            "struct<b_c:bigint,b_c_2:boolean>",
        ),
        (field("list", field("struct", field("date", name="d"))), "array<struct<d:date>>"),
    ],
)
def test_type(given_field: Field, expected: str) -> None:
    """A type is the one that reads what is physically in the file."""
    assert athena_type(given_field) == expected


@pytest.mark.parametrize(
    "unreadable",
    [
        UNION,
        field("list", UNION),
        field("map", STRING, UNION),
        field("map", field("list", STRING), STRING),
        field("struct", UNION),
        field("struct"),
    ],
)
def test_column_without_a_type_is_left_out_alone(unreadable: Field) -> None:
    """What Athena cannot read at all is named, and costs no other column."""
    schema = Schema(fields=(field("int", name="id"), unreadable.model_copy(update={"name": "u"})))

    found = columns(schema)

    assert found == Columns([{"Name": "id", "Type": "bigint"}], ["u"])


def test_member_without_a_type_is_left_out_alone() -> None:
    """A struct keeps the members that can be read."""
    assert athena_type(field("struct", UNION, field("int", name="id"))) == "struct<id:bigint>"


def test_names_that_differ_in_case_only() -> None:
    """The later gets a number that no other column has; both say the name in the file."""
    found = named("Id", "id", "id_2", "ID")

    assert names_of(found) == ["id", "id_3", "id_2", "id_4"]
    assert found.columns[1]["Comment"] == "id in the file"
    assert [c.get("Parameters", {}).get("flytelineage.name") for c in found.columns] == [
        "Id", "id", None, "ID",
    ]  # fmt: skip


def test_name_keeps_all_but_its_case() -> None:
    """Parquet is read by name, so any other name would read as NULL."""
    assert names_of(named("Größe (cm)", "a.b")) == ["größe (cm)", "a.b"]


def test_name_that_would_break_a_list_of_names() -> None:
    """Separators and control characters are replaced, an empty name is not left empty."""
    assert names_of(named("a,b", "c\nd", "")) == ["a_b", "c d", "_"]


def test_long_texts_are_cut() -> None:
    """Lengths are bytes, no character is cut through, and what was cut is named."""
    long = Field(name="é" * 600, type=DataType(kind="int"), description="ü" * 200)

    found = columns(Schema(fields=(long,)))

    (column,) = found.columns
    assert column["Name"] == "é" * 512
    assert column["Comment"] == "ü" * 127
    assert found.cut == (
        f"the name of column '{'é' * 80}...' is cut to 1024 bytes",
        f"the comment of column '{'é' * 80}...' is cut to 255 bytes",
    )


def test_control_characters_are_named() -> None:
    """Glue takes none; of line breaks nobody has to be told."""
    fields = [
        Field(name="a", type=DataType(kind="int"), description="a bell\a"),
        Field(name="b", type=DataType(kind="int"), description="two\nlines"),
    ]

    found = columns(Schema(fields=tuple(fields)))

    assert [column["Comment"] for column in found.columns] == ["a bell", "two lines"]
    assert found.cut == ("the comment of column 'a' loses its control characters",)


def test_long_names_stay_distinct() -> None:
    """Names that are equal once they are cut get numbers."""
    first, second = names_of(named("x" * 2000, "x" * 2001))

    assert first != second
    assert max(len(first), len(second)) <= 1024


def test_too_long_type_is_left_out() -> None:
    """A struct of thousands of members has no type that Glue takes."""
    members = [field("int", name=f"member_{number}") for number in range(10_000)]

    found = columns(Schema(fields=(STRING, field("struct", *members, name="wide"))))

    assert names_of(found) == ["c"]
    assert found.left_out == ["wide"]


class TestText:
    """Files of text hold other things than their columns' types say."""

    @pytest.mark.parametrize("kind", get_args(TypeKind))
    def test_csv(self, kind: str) -> None:
        """Every column is text, so that none is missing: they are found by their place."""
        found = columns(Schema(fields=(field(kind),)), CSV)

        assert [column["Type"] for column in found.columns] == ["string"]
        assert found.left_out == []

    def test_comment_says_what_the_text_is(self) -> None:
        """Whoever casts it knows to what; people's own words come first."""
        described = Field(name="d", type=DataType(kind="date"), description="Day of the order")

        found = columns(Schema(fields=(field("int", name="n"), STRING, described)), CSV)

        assert [column.get("Comment") for column in found.columns] == [
            "int, read as text", None, "Day of the order",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("given_field", "expected"),
        [
            (field("int", bits=32), "int"),
            (field("float", bits=64), "double"),
            (field("bool"), "boolean"),
            (field("decimal", precision=10, scale=2), "decimal(10,2)"),
            (field("date"), "string"),
            (field("timestamp", unit="ns"), "string"),
            (field("time"), "string"),
            (field("binary"), "string"),
            (field("list", field("timestamp")), "array<string>"),
            (field("map", STRING, field("int", bits=64)), "map<string,bigint>"),
            (field("struct", field("date", name="d")), "struct<d:string>"),
            (UNION, "string"),
            (field("struct"), "string"),
            (field("map", field("list", STRING), STRING), "string"),
        ],
    )
    def test_json(self, given_field: Field, expected: str) -> None:
        """What JSON has no type for is text; nothing is left out."""
        found = columns(Schema(fields=(given_field,)), JSON)

        assert [column["Type"] for column in found.columns] == [expected]
        assert found.left_out == []

    def test_keys_of_json(self) -> None:
        """A key that no column can be named after is looked up for it, in a struct as well."""
        inner = field("struct", field("int", name="b-c"), name="Outer")
        schema = Schema(fields=(field("int", name="a:b"), inner, field("int", name="Id")))

        reader = serde({}, JSON, names_in_files(schema, columns(schema, JSON)))

        assert reader["Parameters"] == {"mapping.a_b": "a:b", "mapping.b_c": "b-c"}

    def test_keys_of_json_that_differ_in_case_only(self) -> None:
        """Case counts then, for all of them."""
        schema = Schema(fields=(field("int", name="id"), field("int", name="ID")))

        reader = serde({}, JSON, names_in_files(schema, columns(schema, JSON)))

        assert reader["Parameters"] == {
            "case.insensitive": "false",
            "mapping.id": "id",
            "mapping.id_2": "ID",
        }


class TestReaders:
    """What reads the files, beside what people set of it."""

    @pytest.mark.parametrize("format", [PARQUET, CSV])
    def test_options_that_people_set(self, format: Format) -> None:
        """Of the same reader they stay."""
        theirs = serde({}, format, {})
        theirs["Parameters"] |= {"separatorChar": ";", "own": "1"}

        again = serde(theirs, format, {})

        assert again == theirs

    def test_another_reader(self) -> None:
        """What was said to another reader means nothing to this one."""
        reader = serde(serde({"Name": "x"}, CSV, {}), PARQUET, {})

        assert reader == serde({}, PARQUET, {})

    def test_keys_of_an_older_schema(self) -> None:
        """They go."""
        theirs = serde({}, JSON, {"a_b": "a:b"})

        assert serde(theirs, JSON, {"a": "a"})["Parameters"] == {}


numbers = st.none() | st.integers(-(10**6), 10**6)
types = st.builds(
    DataType,
    kind=st.sampled_from(get_args(TypeKind)),
    bits=numbers,
    precision=numbers,
    scale=numbers,
    unit=st.sampled_from([None, "s", "ms", "us", "ns", "day"]),
    zone=st.none() | st.text(max_size=5),
)
fields = st.recursive(
    st.builds(Field, name=st.text(max_size=5), type=types),
    lambda children: st.builds(
        Field,
        name=st.text(max_size=5),
        type=types,
        description=st.none() | st.text(max_size=5),
        children=st.lists(children, max_size=3).map(tuple),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(fields, max_size=6))
def test_any_schema_gives_columns(given_fields: list[Field]) -> None:
    """Whatever a schema holds: valid, distinct names, and each column kept or named."""
    schema = Schema(fields=tuple(given_fields))

    found = columns(schema)

    names = names_of(found)
    assert len(set(names)) == len(names)
    assert all(name and not re.search(r"[\x00-\x08\x0a-\x1f,:;`]", name) for name in names)
    assert all(column["Type"].count("<") == column["Type"].count(">") for column in found.columns)
    assert len(names) + len(found.left_out) == len(given_fields)
