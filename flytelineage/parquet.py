"""What a Parquet footer says: columns and the number of rows, from its bytes alone.

Hides pyarrow and the traps of footers that strangers wrote: forged lengths, bombs in
the metadata, schemas nested so deep that older releases of pyarrow crash on them.
Pure: bytes in, `Schema` of the entity model out; the only error is `ReadError`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from flytelineage.entities import DataType, Field, Schema
from flytelineage.errors import ReadError

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"
TRAILER_BYTES = 8
"""The end of each file: four bytes with the footer's length, then `MAGIC`."""

MAX_COLUMNS = 10_000
"""Columns of a schema, the nested ones counted too."""

MAX_DEPTH = 100
"""Levels of a nested column."""

MAX_CHARACTERS = 1 << 20
"""Of all names, descriptions and time zones of a schema: it is stored, and told on."""


class Content(NamedTuple):
    """What the footer says of the file that it ends."""

    schema: Schema
    rows: int


def footer_bytes(tail: bytes, file_bytes: int, *, limit: int) -> int:
    """How much of the file's end must be read: footer and trailer together.

    Args:
        tail: The end of the file, at least the last 8 bytes.
        file_bytes: Size of the whole file.
        limit: Most bytes that a footer may take.

    Raises:
        ReadError: Not a Parquet file, its footer encrypted or forged (`unreadable`),
            or beyond `limit` (`too large`).
    """
    trailer = tail[-TRAILER_BYTES:]
    if trailer[-4:] == b"PARE":
        raise ReadError("unreadable", "The Parquet footer is encrypted")
    if len(trailer) < TRAILER_BYTES or trailer[-4:] != MAGIC:
        raise ReadError("unreadable", "This is not a Parquet file: it does not end in PAR1")
    wanted = int(struct.unpack("<I", trailer[:4])[0]) + TRAILER_BYTES
    if wanted + len(MAGIC) > file_bytes:
        raise ReadError("unreadable", "The Parquet footer claims to be longer than its file")
    if wanted > limit:
        raise ReadError("too large", f"The Parquet footer has {wanted:,} bytes, allowed {limit:,}")
    return wanted


def read_content(footer: bytes) -> Content:
    """Columns and rows of a file whose footer and trailer these are.

    Raises:
        ReadError: The footer is damaged, or wider or deeper than allowed (`unreadable`).
    """
    import pyarrow as pa

    try:
        rows, columns = _parsed(footer)
        schema = schema_of(columns)  # names are decoded here, and may not be UTF-8
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise ReadError("unreadable", f"The Parquet footer is damaged: {exc}") from exc
    if rows < 0:
        raise ReadError("unreadable", f"The Parquet footer claims {rows} rows")
    return Content(schema, rows)


def _parsed(footer: bytes) -> tuple[int, pa.Schema]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    # The reader wants a file: the magic in front makes the footer one without data.
    # The limit on containers also bounds how deep a schema can be: older releases of
    # pyarrow build it recursively without a limit of their own, and 20,000 levels
    # overflow the stack of a thread where 10,000 do not.
    with ParquetFile(
        pa.BufferReader(MAGIC + footer),
        pre_buffer=False,
        thrift_string_size_limit=len(footer) + 1,
        thrift_container_size_limit=MAX_COLUMNS + 1,
    ) as file:
        return int(file.metadata.num_rows), file.schema_arrow


def schema_of(columns: pa.Schema) -> Schema:
    """An Arrow schema in the words of the entity model.

    Raises:
        ReadError: More than `MAX_COLUMNS`, `MAX_DEPTH` or `MAX_CHARACTERS` allow.
    """
    builder = _Builder()
    return Schema(fields=tuple(builder.field(column, 1) for column in columns), source="footer")


class _Builder:
    """Counts what it builds, so that a small footer cannot become a huge schema."""

    def __init__(self) -> None:
        self._built = 0
        self._characters = 0

    def field(self, column: pa.Field, depth: int, name: str | None = None) -> Field:
        """A column with all that is nested in it."""
        self._built += 1
        if self._built > MAX_COLUMNS:
            raise ReadError("unreadable", f"The schema has more than {MAX_COLUMNS:,} columns")
        if depth > MAX_DEPTH:
            raise ReadError("unreadable", f"The schema is nested deeper than {MAX_DEPTH} levels")
        built = Field(
            name=column.name if name is None else name,
            type=data_type(column.type),
            nullable=column.nullable,
            description=_description(column),
        )
        self._characters += len(built.name + (built.type.native or "") + (built.description or ""))
        if self._characters > MAX_CHARACTERS:
            raise ReadError("unreadable", f"The schema has more than {MAX_CHARACTERS:,} characters")
        parts = _children(_stored(column.type))
        children = tuple(self.field(part, depth + 1, called) for part, called in parts)
        return built.model_copy(update={"children": children})


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type of the values, whatever way they are laid out."""
    import pyarrow as pa
    import pyarrow.types as t

    if isinstance(kind, pa.BaseExtensionType):
        return _stored(kind.storage_type)
    if t.is_dictionary(kind) or t.is_run_end_encoded(kind):
        return _stored(kind.value_type)
    return kind


def _children(kind: pa.DataType) -> list[tuple[pa.Field, str | None]]:
    """What is nested in a type, with the name that the entity model gives it."""
    import pyarrow.types as t

    if t.is_map(kind):
        return [(kind.key_field, "key"), (kind.item_field, "value")]
    if t.is_struct(kind) or t.is_union(kind):
        return [(kind.field(position), None) for position in range(kind.num_fields)]
    if t.is_nested(kind):
        return [(kind.value_field, "item")]
    return []


def _description(column: pa.Field) -> str | None:
    notes = column.metadata or {}
    text = notes.get(b"description") or notes.get(b"comment")
    return text.decode("utf-8", "replace") if text else None


def data_type(kind: pa.DataType) -> DataType:
    """An Arrow type in the words of the entity model; `native` is Arrow's spelling."""
    import pyarrow.types as t

    stored = _stored(kind)
    native = None if t.is_nested(stored) else str(kind)
    return DataType(native=native, **_described(stored))


_FIXED: dict[str, dict[str, Any]] = {
    "null": {"kind": "null"},
    "bool": {"kind": "bool"},
    "halffloat": {"kind": "float", "bits": 16},
    "float": {"kind": "float", "bits": 32},
    "double": {"kind": "float", "bits": 64},
    "date32[day]": {"kind": "date", "bits": 32, "unit": "day"},
    "date64[ms]": {"kind": "date", "bits": 64, "unit": "ms"},
    "month_day_nano_interval": {"kind": "interval"},
}
"""Types without parameters, by Arrow's spelling."""


def _described(kind: pa.DataType) -> dict[str, Any]:
    """Kind and parameters of a stored type."""
    import pyarrow.types as t

    if (fixed := _FIXED.get("" if t.is_nested(kind) else str(kind))) is not None:
        return fixed
    if t.is_integer(kind):
        return {"kind": "int" if t.is_signed_integer(kind) else "uint", "bits": kind.bit_width}
    if t.is_decimal(kind):
        return {
            "kind": "decimal",
            "bits": kind.bit_width,
            "precision": kind.precision,
            "scale": kind.scale,
        }
    if t.is_timestamp(kind):
        return {"kind": "timestamp", "unit": kind.unit, "zone": kind.tz}
    if t.is_time(kind):
        return {"kind": "time", "bits": kind.bit_width, "unit": kind.unit}
    if t.is_duration(kind):
        return {"kind": "duration", "unit": kind.unit}
    return {"kind": _family(kind)}


def _family(kind: pa.DataType) -> str:
    """The kind of a type of which nothing else needs to be said."""
    import pyarrow.types as t

    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "string"
    if t.is_map(kind):
        return "map"
    if t.is_struct(kind):
        return "struct"
    if t.is_union(kind):
        return "union"
    if t.is_nested(kind):
        return "list"
    return "binary" if "binary" in str(kind) else "unknown"
