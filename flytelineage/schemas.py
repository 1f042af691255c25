"""One schema for data that lies in several files: what is true of all of them.

Pure. Columns are united by name; types that differ are widened where every reader
would, and are unknown where readers would disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flytelineage.entities import DataType, Field, Schema


def united(schemas: Iterable[Schema]) -> Schema | None:
    """The columns of all schemas, each where it first appeared; `None` without any.

    A column that a schema lacks may be null. Schemas that name a column twice cannot
    be united by name: then it is the first schema that is told.
    """
    different = list(dict.fromkeys(schemas))
    if len(different) < 2 or any(map(_repeats, different)):
        return different[0] if different else None
    fields = _united([schema.fields for schema in different])
    return Schema(fields=fields, source=different[0].source)


def _repeats(schema: Schema) -> bool:
    return len({field.name for field in schema.fields}) < len(schema.fields)


def _united(parts: Sequence[tuple[Field, ...]]) -> tuple[Field, ...]:
    found: dict[str, list[Field]] = {}
    for fields in parts:
        for field in fields:
            found.setdefault(field.name, []).append(field)
    return tuple(_one(fields, missing=len(fields) < len(parts)) for fields in found.values())


def _one(fields: list[Field], *, missing: bool) -> Field:
    """One column of what is called the same in several schemas."""
    typed = [field for field in fields if field.type.kind != "null"] or fields
    kind = typed[0].type
    for field in typed[1:]:
        kind = _wider(kind, field.type)
    return Field(
        name=fields[0].name,
        type=kind,
        nullable=missing or len(typed) < len(fields) or any(field.nullable for field in fields),
        description=next((f.description for f in fields if f.description is not None), None),
        # Alternatives of a union have no names that could be compared.
        children=()
        if kind.kind in ("unknown", "union")
        else _united([field.children for field in typed]),
    )


def _wider(one: DataType, other: DataType) -> DataType:
    """The type that holds the values of both."""
    alike = other.model_copy(update={"native": one.native})
    if one in (other, alike):
        return one
    if one.kind == other.kind and one == alike.model_copy(update={"bits": one.bits}):
        return max(one, other, key=lambda kind: kind.bits or 0)
    if {one.kind, other.kind} <= {"int", "uint", "float"} and "float" in (one.kind, other.kind):
        return DataType(kind="float", bits=64)
    spelled = (kind.native or kind.kind for kind in (one, other))
    return DataType(kind="unknown", native=" or ".join(dict.fromkeys(spelled)))
