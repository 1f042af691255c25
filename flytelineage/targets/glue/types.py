"""Columns as Athena spells them, from ours; pure, and raises for no schema at all.

A column degrades by itself: what has no type in Athena gets the nearest one that can be
read, or is left out. It never costs the table. The types fit what is physically in the
Parquet file, since data that is registered where it lies is not rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flytelineage.entities import Field, Schema
from flytelineage.targets.glue.text import fingerprint, fitting

Column = dict[str, Any]
"""A column in Glue's own form: Name, Type, Comment, Parameters."""

ORIGINAL_NAME = "flytelineage.name"
"""Column parameter: the name in the file, where Glue's differs."""
OUR_COMMENT = "flytelineage.comment"
"""Column parameter: fingerprint of the comment we wrote, so that people's are kept."""

_NAME_BYTES, _TYPE_BYTES, _COMMENT_BYTES = 1024, 131_072, 255
_MAX_PRECISION = 38


class Columns(NamedTuple):
    """The columns of a table.

    Attributes:
        left_out: Names of columns that no type of Athena can read.
    """

    columns: list[Column]
    left_out: list[str]


def columns(schema: Schema) -> Columns:
    """The columns of a schema in their own order."""
    kept: list[tuple[Field, str]] = []
    left_out: list[str] = []
    for field in schema.fields:
        spelt = athena_type(field)
        if spelt and len(spelt.encode()) <= _TYPE_BYTES:
            kept.append((field, spelt))
        else:
            left_out.append(field.name)
    names = _distinct(_column_name(field.name) for field, _ in kept)
    return Columns(
        [_column(field, name, spelt) for (field, spelt), name in zip(kept, names, strict=True)],
        left_out,
    )


def _column(field: Field, name: str, spelt: str) -> Column:
    column: Column = {"Name": name, "Type": spelt}
    parameters = {}
    comment = field.description
    if name != field.name.lower():
        comment = comment or f"{field.name} in the file"
    if name != field.name:
        parameters[ORIGINAL_NAME] = fitting(field.name, 512_000)
    if comment := fitting(comment or "", _COMMENT_BYTES):
        column["Comment"] = comment
        parameters[OUR_COMMENT] = fingerprint(comment)
    if parameters:
        column["Parameters"] = parameters
    return column


def _column_name(name: str) -> str:
    """The name in the file, in lower case.

    Nothing more is cleaned: Parquet is read by column name without regard to case, so
    a column with any other name would read as NULL. Commas, colons and the like are the
    exception, because they cut the list of names that Hive readers are given.
    """
    return fitting(re.sub(r"[,:;`]", "_", name.lower()), _NAME_BYTES) or "_"


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, with a number behind those that stood before."""
    wanted = list(names)
    taken, distinct = set(wanted), []
    seen: set[str] = set()
    for name in wanted:
        unique, number = name, 1
        while unique in seen or (number > 1 and unique in taken):
            number += 1
            unique = f"{fitting(name, _NAME_BYTES - 8)}_{number}"
        seen.add(unique)
        distinct.append(unique)
    return distinct


# -------------------------------------------------------------------------- types


def athena_type(field: Field) -> str | None:
    """The type that reads what the file holds; `None` when there is none."""
    kind = field.type.kind
    return _SIMPLE.get(kind) or _BUILT[kind](field)


_SIMPLE = {
    "null": "string",
    "bool": "boolean",
    "string": "string",
    "binary": "binary",
    "date": "date",
    "timestamp": "timestamp",
    # Athena has neither; the files hold a number of units.
    "time": "bigint",
    "duration": "bigint",
    # Twelve bytes: months, days and milliseconds.
    "interval": "binary",
    "unknown": "string",
}


def _int(field: Field) -> str:
    bits = field.type.bits or 64
    return next((name for width, name in _INTEGERS if bits <= width), "bigint")


def _uint(field: Field) -> str:
    """The next wider signed type, because the upper half must fit."""
    bits = field.type.bits or 64
    return next((name for width, name in _INTEGERS if bits < width), "decimal(20,0)")


_INTEGERS = ((8, "tinyint"), (16, "smallint"), (32, "int"), (64, "bigint"))


def _float(field: Field) -> str:
    return "float" if (field.type.bits or 64) <= 32 else "double"


def _decimal(field: Field) -> str:
    precision = field.type.precision or _MAX_PRECISION
    scale = field.type.scale or 0
    if scale < 0:  # Arrow's way to leave out zeros at the end.
        precision, scale = precision - scale, 0
    precision = min(max(precision, 1), _MAX_PRECISION)
    return f"decimal({precision},{min(scale, precision)})"


def _list(field: Field) -> str | None:
    item = athena_type(field.children[0]) if field.children else "string"
    return item and f"array<{item}>"


def _map(field: Field) -> str | None:
    """Keys must be simple in Athena; any other map cannot be read."""
    if len(field.children) < 2:
        return "map<string,string>"
    key, value = (athena_type(child) for child in field.children[:2])
    return f"map<{key},{value}>" if key and value and "<" not in key else None


def _struct(field: Field) -> str | None:
    """The members that can be read; a struct of none of them cannot be either."""
    typed = [(child.name, athena_type(child)) for child in field.children]
    readable = [(name, spelt) for name, spelt in typed if spelt]
    names = _distinct(_member_name(name) for name, _ in readable)
    members = (f"{name}:{spelt}" for name, (_, spelt) in zip(names, readable, strict=True))
    return f"struct<{','.join(members)}>" if readable else None


def _member_name(name: str) -> str:
    """Members are not quoted in a type: a foreign character would break all of it."""
    return re.sub(r"\W", "_", name.lower()) or "_"


def _unreadable(field: Field) -> None:
    return None


_BUILT: dict[str, Callable[[Field], str | None]] = {
    "int": _int,
    "uint": _uint,
    "float": _float,
    "decimal": _decimal,
    "list": _list,
    "map": _map,
    "struct": _struct,
    "union": _unreadable,
}
