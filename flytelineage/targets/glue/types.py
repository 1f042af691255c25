"""Columns as Athena spells them, from ours; pure, and raises for no schema at all.

A column degrades by itself: what has no type in Athena gets the nearest one that can be
read, or is left out. It never costs the table. The types fit what is physically in the
files and what the reader of their format makes of it, since data is never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flytelineage.entities import Field, Schema
from flytelineage.targets.glue.formats import PARQUET, Format
from flytelineage.targets.glue.text import Fitter, fingerprint, fitting

Column = dict[str, Any]
"""A column in Glue's own form: Name, Type, Comment, Parameters."""

ORIGINAL_NAME = "flytelineage.name"
"""Column parameter: the name in the file, where Glue's differs."""
OUR_COMMENT = "flytelineage.comment"
"""Column parameter: fingerprint of the comment we wrote, so that people's are kept."""

_NAME_BYTES, _TYPE_BYTES, _COMMENT_BYTES, _PARAMETER_BYTES = 1024, 131_072, 255, 512_000
_MAX_PRECISION = 38


class Columns(NamedTuple):
    """The columns of a table.

    Attributes:
        left_out: Names of columns that no type of Athena can read.
        cut: What of them Glue does not take, one phrase each.
    """

    columns: list[Column]
    left_out: list[str]
    cut: tuple[str, ...] = ()


def columns(schema: Schema, format: Format = PARQUET) -> Columns:
    """The columns of a schema in their own order."""
    kept: list[tuple[Field, str]] = []
    left_out: list[str] = []
    for field in schema.fields:
        spelt = _type_that_fits(field, format)
        if spelt:
            kept.append((field, spelt))
        else:
            left_out.append(field.name)
    fit = Fitter()
    names = _distinct(_column_name(field.name, fit) for field, _ in kept)
    found = [
        _column(field, name, spelt, fit) for (field, spelt), name in zip(kept, names, strict=True)
    ]
    return Columns(found, left_out, tuple(fit.cut))


def names_in_files(schema: Schema, found: Columns) -> dict[str, str]:
    """Names in the files by column and member; of a schema of which no column was left out."""
    names = {
        column["Name"]: field.name
        for column, field in zip(found.columns, schema.fields, strict=True)
    }
    for field in schema.fields:
        _name_members(field, names)
    return names


def _name_members(field: Field, names: dict[str, str]) -> None:
    for child, name in zip(field.children, _member_names(field.children), strict=True):
        if field.type.kind == "struct":
            names.setdefault(name, child.name)
        _name_members(child, names)


def _type_that_fits(field: Field, format: Format) -> str | None:
    spelt = athena_type(field, format.as_text)
    if spelt and len(spelt.encode()) <= _TYPE_BYTES:
        return spelt
    return "string" if format.any_as_text else None


def _column(field: Field, name: str, spelt: str, fit: Fitter) -> Column:
    column: Column = {"Name": name, "Type": spelt}
    parameters = {}
    if name != field.name:
        parameters[ORIGINAL_NAME] = fitting(field.name, _PARAMETER_BYTES)
    comment = field.description or _remark(field, name, spelt)
    if comment := fit(f"the comment of column {_shown(field.name)}", comment, _COMMENT_BYTES):
        column["Comment"] = comment
        parameters[OUR_COMMENT] = fingerprint(comment)
    if parameters:
        column["Parameters"] = parameters
    return column


def _remark(field: Field, name: str, spelt: str) -> str:
    """How the column differs from what is in the files, where that is not said otherwise."""
    if name != field.name.lower():
        return f"{field.name} in the file"
    if spelt == "string" and field.type.kind not in ("string", "null", "unknown"):
        return f"{field.type.kind}, read as text"
    return ""


def _shown(name: str) -> str:
    """A name that may be of any length, in a message."""
    return repr(name if len(name) <= 80 else f"{name[:80]}...")


def _column_name(name: str, fit: Fitter) -> str:
    """The name in the file, in lower case.

    Nothing more is cleaned: Parquet is read by column name without regard to case, so
    a column with any other name would read as NULL. Commas, colons and the like are the
    exception, because they cut the list of names that Hive readers are given.
    """
    lower = re.sub(r"[,:;`]", "_", name.lower())
    return fit(f"the name of column {_shown(name)}", lower, _NAME_BYTES) or "_"


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


def athena_type(field: Field, as_text: frozenset[str] = PARQUET.as_text) -> str | None:
    """The type that reads what the file holds; `None` when there is none.

    Args:
        field: The column, or a part of one.
        as_text: Kinds that the format's reader gives as text.
    """
    kind = field.type.kind
    if kind in as_text:
        return "string"
    if kind in _NESTED:
        return _NESTED[kind](field, as_text)
    return _SIMPLE.get(kind) or _SIZED[kind](field)


_SIMPLE = {
    "bool": "boolean",
    "binary": "binary",
    "date": "date",
    "timestamp": "timestamp",
    # Athena has neither; the files hold a number of units.
    "time": "bigint",
    "duration": "bigint",
    # Twelve bytes: months, days and milliseconds.
    "interval": "binary",
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


def _list(field: Field, as_text: frozenset[str]) -> str | None:
    item = athena_type(field.children[0], as_text) if field.children else "string"
    return item and f"array<{item}>"


def _map(field: Field, as_text: frozenset[str]) -> str | None:
    """Keys must be simple in Athena; any other map cannot be read."""
    if len(field.children) < 2:
        return "map<string,string>"
    key, value = (athena_type(child, as_text) for child in field.children[:2])
    return f"map<{key},{value}>" if key and value and "<" not in key else None


def _struct(field: Field, as_text: frozenset[str]) -> str | None:
    """The members that can be read; a struct of none of them cannot be either."""
    typed = [(child, athena_type(child, as_text)) for child in field.children]
    readable = [(child, spelt) for child, spelt in typed if spelt]
    names = _member_names(child for child, _ in readable)
    members = (f"{name}:{spelt}" for name, (_, spelt) in zip(names, readable, strict=True))
    return f"struct<{','.join(members)}>" if readable else None


def _member_names(members: Iterable[Field]) -> list[str]:
    """Members are not quoted in a type: a foreign character would break all of it."""
    return _distinct(re.sub(r"\W", "_", member.name.lower()) or "_" for member in members)


def _unreadable(field: Field, as_text: frozenset[str]) -> None:
    return None


_SIZED: dict[str, Callable[[Field], str]] = {
    "int": _int,
    "uint": _uint,
    "float": _float,
    "decimal": _decimal,
}
_NESTED: dict[str, Callable[[Field, frozenset[str]], str | None]] = {
    "list": _list,
    "map": _map,
    "struct": _struct,
    "union": _unreadable,
}
