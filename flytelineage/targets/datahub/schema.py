"""From our schemas to DataHub's schemaMetadata.

Paths follow the rule of DataHub's own Hive and Glue sources for nested columns, and are
plain names for the others. They are frozen: what people write about a column is kept by
its path. Source: datahub-project/datahub, docs/advanced/field-path-spec-v2.md
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import datahub.metadata.schema_classes as m

from flytelineage.entities import DataType, Field, Schema

MAX_RAW_SCHEMA = 64_000
"""Characters of the schema's own text that are kept next to the fields."""

_ROOT = "[version=2.0].[type=struct]"
_NESTED = {"list", "map", "struct", "union"}
# pandas writes its index into Parquet files as columns of this name.
_PANDAS_INDEX = "__index_level_"

_TOKENS = {
    "null": "null", "bool": "boolean", "decimal": "bytes", "string": "string",
    "binary": "bytes", "date": "int", "timestamp": "long", "duration": "long",
    "interval": "fixed", "list": "array", "map": "map", "struct": "struct",
    "union": "union", "unknown": "null",
}  # fmt: skip

_TYPES: dict[str, Any] = {
    "null": m.NullTypeClass, "bool": m.BooleanTypeClass, "int": m.NumberTypeClass,
    "uint": m.NumberTypeClass, "float": m.NumberTypeClass, "decimal": m.NumberTypeClass,
    "string": m.StringTypeClass, "binary": m.BytesTypeClass, "date": m.DateTypeClass,
    "time": m.TimeTypeClass, "timestamp": m.TimeTypeClass, "duration": m.TimeTypeClass,
    "interval": m.TimeTypeClass, "struct": m.RecordTypeClass, "union": m.UnionTypeClass,
    "unknown": m.NullTypeClass,
}  # fmt: skip


def schema_metadata(schema: Schema, *, name: str, platform: str) -> m.SchemaMetadataClass:
    """The aspect: parents before children, each path once.

    Args:
        schema: What is known of the columns.
        name: The dataset's name.
        platform: The URN of its platform.
    """
    raw = "\n".join(f"{field.name}: {spelled(field)}" for field in schema.fields)
    return m.SchemaMetadataClass(
        schemaName=name,
        platform=platform,
        version=0,
        hash=hashlib.blake2b(raw.encode(), digest_size=16).hexdigest(),
        platformSchema=m.OtherSchemaClass(rawSchema=raw[:MAX_RAW_SCHEMA]),
        fields=_unique(_fields(schema.fields)),
    )


def spelled(field: Field) -> str:
    """The field's type in one line: as its system spells it, else as Arrow would."""
    return field.type.native or _NESTED_SPELLING.get(field.type.kind, _spelled_leaf)(field)


def _spelled_leaf(field: Field) -> str:
    kind = field.type
    match kind.kind:
        case "int" | "uint" | "float":
            return f"{kind.kind}{kind.bits or ''}"
        case "decimal":
            return f"decimal({kind.precision or 38}, {kind.scale or 0})"
        case "timestamp" | "time" | "duration":
            details = ", ".join(filter(None, (kind.unit, kind.zone and f"tz={kind.zone}")))
            return f"{kind.kind}[{details}]" if details else kind.kind
        case other:
            return other


def _spelled_members(field: Field) -> str:
    members = ", ".join(f"{child.name}: {spelled(child)}" for child in field.children)
    return f"{field.type.kind}<{members}>"


def _spelled_parts(field: Field) -> str:
    return f"{field.type.kind}<{', '.join(spelled(child) for child in field.children)}>"


_NESTED_SPELLING = {
    "struct": _spelled_members,
    "union": _spelled_members,
    "list": _spelled_parts,
    "map": _spelled_parts,
}


def _unique(fields: Iterable[m.SchemaFieldClass]) -> list[m.SchemaFieldClass]:
    # GMS refuses a schema that names a path twice; a Parquet file may.
    found: dict[str, m.SchemaFieldClass] = {}
    for field in fields:
        found.setdefault(field.fieldPath, field)
    return list(found.values())


def _fields(columns: Iterable[Field]) -> Iterator[m.SchemaFieldClass]:
    for column in columns:
        if not column.name or column.name.startswith(_PANDAS_INDEX):
            continue
        if column.type.kind in _NESTED:
            yield from _nested(column, _ROOT)
        else:
            yield _field(column, column.name)


def _nested(field: Field, parent: str) -> Iterator[m.SchemaFieldClass]:
    """The field itself, then what lies below it."""
    types = _types(field)
    path = f"{parent}.{_path(types)}.{field.name}"
    yield _field(field, path)
    innermost = types[-1]
    if innermost.type.kind == "struct":
        for child in innermost.children:
            if child.name:
                yield from _nested(child, path)
    elif innermost.type.kind == "union":
        for branch in innermost.children:
            named = branch.model_copy(update={"name": field.name})
            yield from _nested(named, f"{parent}.{_path(types)}")


def _types(field: Field) -> list[Field]:
    """The field, what its lists and maps hold, and so on down to a single value."""
    found = [field]
    while found[-1].type.kind in {"list", "map"} and found[-1].children:
        found.append(found[-1].children[-1])  # of a map the value
    return found


def _path(types: Iterable[Field]) -> str:
    return ".".join(f"[type={_token(each.type)}]" for each in types)


def _token(kind: DataType) -> str:
    match kind.kind:
        case "int" | "uint" | "time":
            return "int" if (kind.bits or 64) <= 32 else "long"
        case "float":
            return "float" if (kind.bits or 64) <= 32 else "double"
        case other:
            return _TOKENS[other]


def _field(field: Field, path: str) -> m.SchemaFieldClass:
    return m.SchemaFieldClass(
        fieldPath=path,
        type=m.SchemaFieldDataTypeClass(type=_type(field)),
        nativeDataType=spelled(field),
        nullable=field.nullable,
        description=field.description,
    )


def _type(field: Field) -> Any:
    held = [_held(child) for child in field.children]
    if field.type.kind == "list":
        return m.ArrayTypeClass(nestedType=held[:1] or None)
    if field.type.kind == "map":
        key, value = held if len(held) == 2 else (None, None)
        return m.MapTypeClass(keyType=key, valueType=value)
    return _TYPES[field.type.kind]()


def _held(child: Field) -> str:
    # DataHub's sources say `record` here and `struct` in paths.
    return "record" if child.type.kind == "struct" else _token(child.type)
