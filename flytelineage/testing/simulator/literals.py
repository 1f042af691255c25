"""The literals of Flyte, built by hand from flyteidl, with the files they point to.

They equal what flytekit's type engine makes of the same value (`flytekit_literals`),
at a hundredth of the time: for streams of thousands of nodes.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, Protocol

from flyteidl.core import interface_pb2, literals_pb2, types_pb2

from flytelineage.testing.simulator.kinds import (
    ColumnType,
    File,
    Folder,
    Frame,
    Kind,
    ListOf,
    MapOf,
    Offloaded,
    OptionalOf,
    Primitive,
    Produced,
    Record,
    Same,
)
from flytelineage.testing.simulator.storage import Storage

LITERAL_MAP = literals_pb2.LiteralMap
_SIMPLE = {"int": "INTEGER", "float": "FLOAT", "str": "STRING", "bool": "BOOLEAN"}
_SIMPLE |= {"datetime": "DATETIME", "timedelta": "DURATION", "NoneType": "NONE"}
_EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
NOTHING = literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
"""Flyte's Void: what stands for `None`, and for an item that failed."""


class LiteralMaker(Protocol):
    """Turns kinds into literals and writes the files behind them."""

    def make(self, kind: Kind, prefix: str | None) -> Any:
        """The `Literal` of a value.

        Args:
            kind: What to make; not `Same`, `Produced` or `Offloaded`.
            prefix: The raw-output prefix of the attempt that makes it. `None`: it was
                there before, so it has a `uri` and nothing is written.
        """


def seeded(*seed: object) -> random.Random:
    """Numbers that are the same for the same seed, on every machine and Python."""
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - nothing here is secret


class HexNames:
    """Names for what a task writes: 32 hex digits each, by seed."""

    def __init__(self, *seed: object) -> None:
        self._numbers = seeded(*seed)

    def __call__(self) -> str:
        """The next name."""
        return f"{self._numbers.getrandbits(128):032x}"


class FastLiterals:
    """A `LiteralMaker` that builds protobuf messages itself."""

    def __init__(self, storage: Storage, names: HexNames) -> None:
        self._storage = storage
        self._names = names

    def make(self, kind: Kind, prefix: str | None) -> Any:
        """The `Literal` of a value, as flytekit would have made it."""
        if isinstance(kind, Primitive):
            return _primitive(kind)
        if isinstance(kind, ListOf):
            return collection(self.make(kind.item, prefix) for _ in range(kind.size))
        if isinstance(kind, MapOf):
            return mapping({key: self.make(kind.item, prefix) for key in kind.keys})
        if isinstance(kind, OptionalOf):
            return self._union(kind, prefix)
        if isinstance(kind, Record):
            return msgpack_literal(self._fields(kind, prefix))
        if isinstance(kind, (Frame, File, Folder)):
            return _pointer(kind, self._place(kind, prefix), given=prefix is None)
        raise TypeError(f"No literal is made of {kind}")

    def _union(self, kind: OptionalOf, prefix: str | None) -> Any:
        item = kind.item if kind.given else Primitive(None)
        union = literals_pb2.Union(value=self.make(item, prefix), type=_variant(item))
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(union=union))

    def _fields(self, kind: Record, prefix: str | None) -> dict[str, Any]:
        """The dict that flytekit packs a dataclass into."""
        return {name: self._field(field, prefix) for name, field in kind.fields.items()}

    def _field(self, kind: Kind, prefix: str | None) -> Any:
        if isinstance(kind, Primitive):
            return kind.value
        if isinstance(kind, Record):
            return self._fields(kind, prefix)
        if isinstance(kind, ListOf):
            return [self._field(kind.item, prefix) for _ in range(kind.size)]
        if isinstance(kind, MapOf):
            return {key: self._field(kind.item, prefix) for key in kind.keys}
        if isinstance(kind, (Frame, File, Folder)):
            return _pointer_fields(kind, self._place(kind, prefix), given=prefix is None)
        raise TypeError(f"No field of a dataclass is made of {kind}")

    def _place(self, kind: Frame | File | Folder, prefix: str | None) -> str:
        """Write the data, if it is ours to write, and say where it is."""
        uri = kind.uri or self._raw_uri(kind, prefix)
        if prefix is not None and self._storage.holds(uri):
            for name, data in contents(kind):
                self._storage.write(f"{uri.rstrip('/')}/{name}" if name else uri, data)
        return uri

    def _raw_uri(self, kind: Frame | File | Folder, prefix: str | None) -> str:
        if prefix is None:
            raise ValueError(f"{kind} was there before, so it needs a uri")
        uri = f"{prefix}/{self._names()}"
        return f"{uri}/{kind.name}" if isinstance(kind, File) else uri


# ---------------------------------------------------------------------- literals


def collection(items: Iterator[Any] | Sequence[Any]) -> Any:
    """A literal of a list."""
    return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=list(items)))


def mapping(items: Mapping[str, Any]) -> Any:
    """A literal of a dict."""
    return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=dict(items)))


def offloaded(uri: str, literal: Any, kind: Kind) -> Any:
    """The literal that stands for one which lies at `uri`."""
    metadata = literals_pb2.LiteralOffloadedMetadata(
        uri=uri, size_bytes=literal.ByteSize(), inferred_type=literal_type(kind)
    )
    return literals_pb2.Literal(offloaded_metadata=metadata)


def msgpack_literal(value: Any) -> Any:
    """A literal of a dataclass or a part of one."""
    import msgpack  # type: ignore[import-untyped]

    binary = literals_pb2.Binary(value=msgpack.packb(value), tag="msgpack")
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=binary))


def part(literal: Any, path: Sequence[str | int]) -> Any:
    """What propeller hands on when a node asks for a part of an output.

    Source: flytepropeller pkg/controller/nodes/attr_path_resolver.go.
    """
    import msgpack

    for step in path:
        if literal.HasField("collection"):
            literal = literal.collection.literals[int(step)]
        elif literal.HasField("map"):
            literal = literal.map.literals[str(step)]
        else:
            value = msgpack.unpackb(literal.scalar.binary.value, strict_map_key=False)
            literal = msgpack_literal(value[step])
    return literal


def _primitive(kind: Primitive) -> Any:
    value = kind.value
    if value is None:
        return NOTHING
    primitive = literals_pb2.Primitive()
    if isinstance(value, bool):
        primitive.boolean = value
    elif isinstance(value, int):
        primitive.integer = value
    elif isinstance(value, float):
        primitive.float_value = value
    elif isinstance(value, str):
        primitive.string_value = value
    elif isinstance(value, datetime):
        primitive.datetime.FromDatetime(value)
    elif isinstance(value, timedelta):
        primitive.duration.FromTimedelta(value)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))


def _pointer(kind: Frame | File | Folder, uri: str, *, given: bool) -> Any:
    """The literal that points to data; of data that was given the format is unknown."""
    if isinstance(kind, Frame) and kind.legacy:
        schema = literals_pb2.Schema(uri=uri, type=literal_type(kind).schema)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(schema=schema))
    if isinstance(kind, Frame):
        of_dataset = literal_type(kind).structured_dataset_type
        of_dataset.format = "" if given else "parquet"
        dataset = literals_pb2.StructuredDataset(
            uri=uri,
            metadata=literals_pb2.StructuredDatasetMetadata(structured_dataset_type=of_dataset),
        )
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(structured_dataset=dataset))
    metadata = literals_pb2.BlobMetadata(type=literal_type(kind).blob)
    blob = literals_pb2.Blob(uri=uri, metadata=metadata)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=blob))


def _pointer_fields(kind: Frame | File | Folder, uri: str, *, given: bool) -> dict[str, str]:
    """The same inside a dataclass, as flytekit writes it into msgpack."""
    if isinstance(kind, Frame) and kind.legacy:
        return {"remote_path": uri}
    if isinstance(kind, Frame):
        return {"uri": uri, "file_format": "" if given else "parquet"}
    return {"path": uri}


# ------------------------------------------------------------------------- types


def typed_interface(
    inputs: Mapping[str, Kind],
    outputs: Mapping[str, Kind],
    *,
    docs: Mapping[str, str] | None = None,
    artifacts: Mapping[str, str] | None = None,
) -> Any:
    """The `TypedInterface` of a task or workflow.

    Args:
        inputs: Kind by variable.
        outputs: The same.
        docs: What is said of variables; flytekit says their names where nothing is.
        artifacts: Names that the author gave to outputs.
    """
    found = interface_pb2.TypedInterface(
        inputs=_variables(inputs, docs or {}), outputs=_variables(outputs, docs or {})
    )
    for variable, name in (artifacts or {}).items():
        found.outputs.variables[variable].artifact_partial_id.artifact_key.name = name
    return found


def _variables(kinds: Mapping[str, Kind], docs: Mapping[str, str]) -> Any:
    variables = {
        name: interface_pb2.Variable(type=literal_type(kind), description=docs.get(name, name))
        for name, kind in kinds.items()
    }
    return interface_pb2.VariableMap(variables=variables)


def literal_type(kind: Kind) -> Any:
    """The `LiteralType` that flytekit declares for a kind."""
    make = types_pb2.LiteralType
    if isinstance(kind, Primitive):
        return make(simple=_SIMPLE[type(kind.value).__name__])
    if isinstance(kind, Frame):
        return _frame_type(kind)
    if isinstance(kind, (File, Folder)):
        dimensionality = "SINGLE" if isinstance(kind, File) else "MULTIPART"
        return make(blob=types_pb2.BlobType(format=kind.format, dimensionality=dimensionality))
    if isinstance(kind, ListOf):
        return make(collection_type=literal_type(kind.item))
    if isinstance(kind, MapOf):
        return make(map_value_type=literal_type(kind.item))
    if isinstance(kind, OptionalOf):
        variants = [_variant(kind.item), _variant(Primitive(None))]
        return make(union_type=types_pb2.UnionType(variants=variants))
    if isinstance(kind, Record):
        return make(simple="STRUCT")
    return literal_type(_inside(kind))


def _inside(kind: Kind) -> Kind:
    if isinstance(kind, Offloaded):
        return kind.item
    if isinstance(kind, Produced):
        return kind.kind
    raise TypeError(f"{kind} has no type of its own")


def _variant(kind: Kind) -> Any:
    """One type of a union, with the tag of the transformer that is in charge of it."""
    found = types_pb2.LiteralType()
    found.CopyFrom(literal_type(kind))
    found.structure.tag = _tag(kind)
    return found


def _tag(kind: Kind) -> str:
    if isinstance(kind, Primitive):
        return "none" if kind.value is None else type(kind.value).__name__
    if isinstance(kind, Frame):
        return "FlyteSchema Transformer" if kind.legacy else "StructuredDataset Transformer"
    tags: dict[type, str] = {
        File: "FlyteFilePath", Folder: "FlyteDirectory", ListOf: "Typed List",
        MapOf: "Typed Dict", Record: "Object-Dataclass-Transformer",
    }  # fmt: skip
    return tags[type(kind)]


def _frame_type(kind: Frame) -> Any:
    if kind.legacy:
        columns = [_schema_column(name, type_) for name, type_ in kind.columns.items()]
        return types_pb2.LiteralType(schema=types_pb2.SchemaType(columns=columns))
    declared = kind.columns if kind.declared else {}
    column = types_pb2.StructuredDatasetType.DatasetColumn
    columns = [
        column(name=name, literal_type=types_pb2.LiteralType(simple=_SIMPLE[type_]))
        for name, type_ in declared.items()
    ]
    of_dataset = types_pb2.StructuredDatasetType(columns=columns)
    return types_pb2.LiteralType(structured_dataset_type=of_dataset)


def _schema_column(name: str, type_: ColumnType) -> Any:
    return types_pb2.SchemaType.SchemaColumn(name=name, type=_SIMPLE[type_])


# ------------------------------------------------------------------------- files


def contents(kind: Frame | File | Folder) -> Iterator[tuple[str, bytes]]:
    """The objects of a value: name below its URI (empty: the URI itself) and bytes."""
    if isinstance(kind, Frame):
        yield "00000", _parquet(tuple(kind.columns.items()), kind.rows)
    elif isinstance(kind, File):
        yield "", kind.content
    else:
        yield from kind.files.items()


def table(kind: Frame) -> Any:
    """The frame as a `pyarrow.Table`; the same kind gives the same rows."""
    import pyarrow as pa

    types = {
        "int": pa.int64(), "float": pa.float64(), "str": pa.string(), "bool": pa.bool_(),
        "datetime": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    schema = pa.schema([(name, types[type_]) for name, type_ in kind.columns.items()])
    values = [[_cell(type_, row) for row in range(kind.rows)] for type_ in kind.columns.values()]
    return pa.table(values, schema=schema)


def _cell(type_: ColumnType, row: int) -> Any:
    return {
        "int": row, "float": row * 1.5, "str": f"name {row}", "bool": row % 2 == 0,
        "datetime": _EPOCH + timedelta(days=row),
    }[type_]  # fmt: skip


@cache
def _parquet(columns: tuple[tuple[str, ColumnType], ...], rows: int) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table(Frame(dict(columns), rows)), sink)
    return sink.getvalue()


def resolve_same(kind: Kind, inputs: Mapping[str, Any]) -> Any | None:
    """The literal that a pass-through hands on; `None` for everything that is made."""
    if isinstance(kind, Same):
        return inputs[kind.input]
    return kind.literal if isinstance(kind, Produced) else None
