"""Flyte's types in the words of the entity model: the columns that tasks declare.

Pure. A declaration that is absurdly wide or deep counts as none.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from flytelineage.entities import DataType, Field, Schema

if TYPE_CHECKING:
    from flyteidl.core.types_pb2 import LiteralType, SchemaType, StructuredDatasetType

MAX_COLUMNS = 10_000
"""Columns of a schema, the nested ones counted too."""

MAX_DEPTH = 100

_UNKNOWN = DataType(kind="unknown")

_SIMPLE = {
    1: DataType(kind="int", bits=64, native="INTEGER"),
    2: DataType(kind="float", bits=64, native="FLOAT"),
    3: DataType(kind="string", native="STRING"),
    4: DataType(kind="bool", native="BOOLEAN"),
    5: DataType(kind="timestamp", native="DATETIME"),
    6: DataType(kind="duration", native="DURATION"),
    7: DataType(kind="binary", native="BINARY"),
    9: DataType(kind="struct", native="STRUCT"),
}
"""By number. Source: flyteidl core/types.proto, SimpleType."""

_NONE = 0
_STRUCT = 9
_VALUES = frozenset(range(7))
"""NONE to DURATION: what has them refers to nothing."""


def schema_of(declared: StructuredDatasetType) -> Schema | None:
    """The columns of a structured dataset; `None` when none are declared.

    An Arrow schema that was declared besides is left alone: flytekit writes it as text
    for people, and the footer of the data says the same exactly.
    """
    builder = _Builder()
    columns = islice(declared.columns, MAX_COLUMNS + 1)
    try:
        return _schema([builder.field(each.name, each.literal_type, 0) for each in columns])
    except _AbsurdError:
        return None


def legacy_schema(declared: SchemaType) -> Schema | None:
    """The columns of a `FlyteSchema`; `None` when none are declared."""
    # SchemaColumnType counts from INTEGER = 0, SimpleType from NONE = 0.
    return _schema(
        [
            Field(name=column.name, type=_SIMPLE.get(column.type + 1, _UNKNOWN))
            for column in islice(declared.columns, MAX_COLUMNS + 1)
        ]
    )


def may_refer(kind: LiteralType, depth: int = 0) -> bool:
    """Whether a literal of this type can refer to data; True when in doubt."""
    if depth > MAX_DEPTH:
        return True
    match kind.WhichOneof("type"):
        case "simple":
            return kind.simple not in _VALUES
        case "collection_type":
            return may_refer(kind.collection_type, depth + 1)
        case "map_value_type":
            return may_refer(kind.map_value_type, depth + 1)
        case "enum_type":
            return False
    return True


class _AbsurdError(Exception):
    """A declaration is wider or deeper than any real one."""


def _schema(fields: list[Field]) -> Schema | None:
    usable = 0 < len(fields) <= MAX_COLUMNS
    return Schema(fields=tuple(fields), source="declared") if usable else None


class _Builder:
    """Counts what it builds, so that a small declaration cannot become a huge schema."""

    def __init__(self) -> None:
        self._left = MAX_COLUMNS

    def field(self, name: str, kind: LiteralType, depth: int) -> Field:
        """A column with all that is nested in it."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise _AbsurdError
        described, children = _described(kind)
        return Field(
            name=name,
            type=described,
            children=tuple(self.field(called, child, depth + 1) for called, child in children),
        )


_Described = tuple[DataType, Iterable[tuple[str, "LiteralType"]]]
"""A type, and by name what is nested in it."""


def _described(kind: LiteralType) -> _Described:
    match kind.WhichOneof("type"):
        case "simple" if kind.simple == _STRUCT:
            return _SIMPLE[_STRUCT], sorted(kind.structure.dataclass_type.items())
        case "simple":
            return _SIMPLE.get(kind.simple, _UNKNOWN), ()
        case "collection_type":
            return DataType(kind="list"), [("item", kind.collection_type)]
        case "map_value_type":
            return DataType(kind="map"), [("key", _string()), ("value", kind.map_value_type)]
        case "enum_type":
            return DataType(kind="string", native="ENUM"), ()
        case "union_type":
            return _alternatives(list(kind.union_type.variants))
    return _UNKNOWN, ()


def _alternatives(variants: list[LiteralType]) -> _Described:
    """A union; an optional type is that type, since every column may be null."""
    values = [v for v in variants if v.WhichOneof("type") != "simple" or v.simple != _NONE]
    if len(values) == 1 and values[0].WhichOneof("type") != "union_type":
        return _described(values[0])
    return DataType(kind="union"), [(str(n), variant) for n, variant in enumerate(values)]


def _string() -> LiteralType:
    """Keys of Flyte's maps are always texts."""
    from flyteidl.core.types_pb2 import STRING, LiteralType

    return LiteralType(simple=STRING)
