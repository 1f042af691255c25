"""What tasks make and take, as plain objects: a data frame, a file, a list of them.

Nothing here knows of protobuf or storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, Union

ColumnType: TypeAlias = Literal["int", "float", "str", "bool", "datetime"]

COLUMNS: Mapping[str, ColumnType] = {"id": "int", "name": "str", "amount": "float"}
"""The columns of a frame about which nothing else is said."""


@dataclass(frozen=True)
class Frame:
    """A data frame: a structured dataset stored as Parquet.

    Attributes:
        declared: Whether the task's signature, and so the literal, names the columns.
        legacy: Whether it is a `FlyteSchema`, the type of old workflows.
        uri: Where the task puts it by itself; empty: where Flyte tells it to.
    """

    columns: Mapping[str, ColumnType] = field(default_factory=lambda: COLUMNS)
    rows: int = 3
    declared: bool = False
    legacy: bool = False
    uri: str = ""


@dataclass(frozen=True)
class File:
    """One object, a `FlyteFile`; `uri` as in `Frame`."""

    name: str = "data.csv"
    format: str = ""
    content: bytes = b"id,name\n1,one\n"
    uri: str = ""


@dataclass(frozen=True)
class Folder:
    """Several objects below one prefix, a `FlyteDirectory`; `uri` as in `Frame`."""

    files: Mapping[str, bytes] = field(default_factory=lambda: {"part-0": b"0", "part-1": b"1"})
    format: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Primitive:
    """A value that is no data: a number, a text, a time; `None` is Flyte's Void."""

    value: int | float | str | bool | datetime | timedelta | None


@dataclass(frozen=True)
class ListOf:
    """`size` values of one kind."""

    item: Kind
    size: int = 2


@dataclass(frozen=True)
class MapOf:
    """Values of one kind by key."""

    item: Kind
    keys: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True)
class OptionalOf:
    """A union with nothing: `given` says which of the two it is this time."""

    item: Kind
    given: bool = True


@dataclass(frozen=True)
class Record:
    """A dataclass, which flytekit sends as msgpack with the URIs inside."""

    fields: Mapping[str, Kind]
    name: str = "Record"


@dataclass(frozen=True)
class Offloaded:
    """A value too big for the literal map: it lies in an object of its own."""

    item: Kind


@dataclass(frozen=True)
class Same:
    """What came in under this name, returned unchanged."""

    input: str


@dataclass(frozen=True)
class Produced:
    """What an earlier execution made; see `Stream.output`.

    Attributes:
        literal: A flyteidl `Literal`.
        told: The truth about it, for `truth` alone.
    """

    literal: Any
    told: Any
    kind: Kind


Kind: TypeAlias = Union[  # noqa: UP007 - Python 3.10 cannot join forward references with |
    Frame, File, Folder, Primitive, ListOf, MapOf, OptionalOf, Record, Offloaded, Same, Produced
]
