"""Walks literals: which data do the inputs and outputs of a task refer to?

Hides the shapes in which Flyte writes a reference to data: structured datasets,
legacy schemas, blobs, collections, maps, unions, and the dictionaries of flytekit
inside msgpack and Struct. Pure: an offloaded literal is only named, the caller
fetches it and walks on.

Promises: one literal map gives one answer, whatever order protobuf keeps its maps in;
hostile input costs bounded work; values of primitives never leave this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from flytelineage.entities import Schema
from flytelineage.errors import ReadError
from flytelineage.flyte_types import legacy_schema, may_refer, schema_of

if TYPE_CHECKING:
    from flyteidl.core.literals_pb2 import Binary, LiteralMap, LiteralOffloadedMetadata, Scalar
    from flyteidl.core.literals_pb2 import Literal as LiteralMessage

MAX_BYTES = 32 << 20
"""Of a serialised literal map, whoever hands it in: parsed, ten megabytes can take more
than 300. `ObjectReader.max_object_bytes` is the operator's bound, and 4 MiB by default."""

MAX_PACKED_BYTES = 1 << 20
"""Of one msgpack value: an empty list takes one byte there and 60 here."""

MAX_DEPTH = 100
MAX_REFERENCES = 10_000
MAX_PROBLEMS = 100
MAX_URI_CHARACTERS = 4096

_MAX_PACKED_ITEMS = 100_000

Path = tuple[str | int, ...]
"""Keys and positions from the variable down; empty is the variable's own value."""

Kind = Literal["structured dataset", "schema", "file", "folder", "file or folder"]


@dataclass(frozen=True, slots=True)
class Reference:
    """Data that a variable refers to.

    Attributes:
        uri: As it was written; not yet looked at, so it may be anything printable.
        kind: `file or folder` where a nested value does not say which.
        format: As the literal spells it, e.g. `parquet`; often empty.
        schema: The declared columns; `None` when none are declared.
        hash: The user's own hash of the content; empty without one.
        metadata: What the user noted on the literal.
    """

    variable: str
    path: Path
    uri: str
    kind: Kind
    format: str = ""
    schema: Schema | None = None
    hash: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def folder(self) -> bool | None:
        """Whether the URI is a prefix; `None` when only a look at it can tell."""
        return {"file": False, "folder": True}.get(self.kind)


@dataclass(frozen=True, slots=True)
class Offloaded:
    """A literal that lies in its own object: fetch it, `parse_literal`, `walk_literal`.

    Attributes:
        bytes: Its size as the event tells it; the object itself may differ.
    """

    variable: str
    path: Path
    uri: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk found, sorted by variable, then in the order of the value.

    Attributes:
        problems: What could not be read, one line each; with any of them there may
            be more references than these.
    """

    references: tuple[Reference, ...] = ()
    offloaded: tuple[Offloaded, ...] = ()
    problems: tuple[str, ...] = ()


# ----------------------------------------------------------------------- parsing

M = TypeVar("M")


def parse(data: bytes, *, limit: int = MAX_BYTES) -> LiteralMap:
    """Read a serialised literal map: the content of `inputs.pb` or `outputs.pb`.

    Raises:
        ReadError: Not a literal map (`unreadable`), or longer than `limit` bytes
            (`too large`).
    """
    from flyteidl.core.literals_pb2 import LiteralMap

    parsed = _parsed(LiteralMap, data, limit)
    # Protobuf takes almost any bytes for fields that it does not know yet.
    if data and not parsed.literals:
        raise ReadError("unreadable", "This is not a literal map: it holds no literal")
    return parsed


def parse_literal(data: bytes, *, limit: int = MAX_BYTES) -> LiteralMessage:
    """Read a serialised literal, as an offloaded one is stored.

    Raises:
        ReadError: As `parse`.
    """
    from flyteidl.core.literals_pb2 import Literal as LiteralMessage

    return _parsed(LiteralMessage, data, limit)


def _parsed(message: type[M], data: bytes, limit: int) -> M:
    from google.protobuf.message import DecodeError

    if len(data) > limit:
        raise ReadError("too large", f"The literals have {len(data):,} bytes, allowed {limit:,}")
    try:
        parsed: M = message.FromString(data)  # type: ignore[attr-defined]
    except DecodeError as exc:
        raise ReadError("unreadable", f"These are not literals: {exc}") from exc
    return parsed


# ----------------------------------------------------------------------- walking


def walk(literals: LiteralMap, *, max_references: int = MAX_REFERENCES) -> Walked:
    """Find all data that a literal map refers to.

    Args:
        literals: Inputs or outputs of a node.
        max_references: How many references and offloaded literals to find at most;
            beyond them the walk ends with a problem `over budget`.
    """
    variables = sorted(literals.literals)
    return _Walk(max_references).over(
        (_Place(variable), literals.literals[variable]) for variable in variables
    )


def walk_literal(
    literal: LiteralMessage,
    variable: str,
    path: Path = (),
    *,
    max_references: int = MAX_REFERENCES,
) -> Walked:
    """Find all data that one literal refers to; it stands at `path` of `variable`."""
    return _Walk(max_references).over([(_Place(variable, path), literal)])


class _Place(NamedTuple):
    variable: str
    path: Path = ()

    def at(self, step: str | int) -> _Place:
        return _Place(self.variable, (*self.path, step))

    def __str__(self) -> str:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return self.variable + "".join(steps)


class _Notes(NamedTuple):
    """What stands on a literal beside its value; a union's stands outside of it."""

    hash: str = ""
    metadata: Mapping[str, str] = {}

    def over(self, literal: LiteralMessage) -> _Notes:
        if not literal.hash and not literal.metadata:
            return self
        return _Notes(literal.hash or self.hash, {**self.metadata, **literal.metadata})


_NO_NOTES = _Notes()


class _OverBudgetError(Exception):
    """Ends a walk that found more than it may."""


class _Walk:
    """One walk: what it found so far and how much more it may find."""

    def __init__(self, max_references: int) -> None:
        self._left = max_references
        self._references: list[Reference] = []
        self._offloaded: list[Offloaded] = []
        self._problems: list[str] = []

    def over(self, literals: Iterable[tuple[_Place, LiteralMessage]]) -> Walked:
        try:
            for place, literal in literals:
                self._literal(literal, place, len(place.path))
        except _OverBudgetError:
            self._problems.insert(0, "over budget: there are more references than allowed")
        return Walked(tuple(self._references), tuple(self._offloaded), tuple(self._problems))

    def _literal(
        self, literal: LiteralMessage, place: _Place, depth: int, outer: _Notes = _NO_NOTES
    ) -> None:
        if depth > MAX_DEPTH:
            return self._problem(place, f"is nested deeper than {MAX_DEPTH} levels")
        notes = outer.over(literal)
        match literal.WhichOneof("value"):
            case "scalar":
                self._scalar(literal.scalar, place, depth, notes)
            case "collection":
                for position, item in enumerate(literal.collection.literals):
                    self._literal(item, place.at(position), depth + 1)
            case "map":
                for key in sorted(literal.map.literals):
                    self._literal(literal.map.literals[key], place.at(key), depth + 1)
            case "offloaded_metadata":
                self._elsewhere(literal.offloaded_metadata, place)
            case None if literal.ByteSize():
                self._problem(place, "is of a kind that is not known yet")
        return None

    def _scalar(self, scalar: Scalar, place: _Place, depth: int, notes: _Notes) -> None:
        match scalar.WhichOneof("value"):
            case "structured_dataset":
                found = scalar.structured_dataset
                kind = found.metadata.structured_dataset_type
                self._refers(
                    place, found.uri, "structured dataset", kind.format, notes, schema_of(kind)
                )
            case "schema":
                schema = legacy_schema(scalar.schema.type)
                self._refers(place, scalar.schema.uri, "schema", "", notes, schema)
            case "blob":
                blob = scalar.blob.metadata.type
                folder = blob.dimensionality == blob.MULTIPART
                self._refers(
                    place, scalar.blob.uri, "folder" if folder else "file", blob.format, notes
                )
            case "union":
                self._literal(scalar.union.value, place, depth + 1, notes)
            case "binary":
                self._packed(scalar.binary, place, depth, notes)
            case "generic":
                self._plain(scalar.generic, place, depth, notes)
            case None if scalar.ByteSize():
                self._problem(place, "is of a kind that is not known yet")

    def _elsewhere(self, offloaded: LiteralOffloadedMetadata, place: _Place) -> None:
        if may_refer(offloaded.inferred_type) and self._usable(offloaded.uri, place):
            self._spend()
            self._offloaded.append(
                Offloaded(place.variable, place.path, offloaded.uri, offloaded.size_bytes)
            )

    def _refers(
        self,
        place: _Place,
        uri: str,
        kind: Kind,
        format: str,
        notes: _Notes,
        schema: Schema | None = None,
    ) -> None:
        if self._usable(uri, place):
            self._spend()
            self._references.append(Reference(*place, uri, kind, format, schema, *notes))

    def _usable(self, uri: str, place: _Place) -> bool:
        """Whether the URI may go on; an empty one refers to nothing."""
        if len(uri) > MAX_URI_CHARACTERS or not uri.isprintable():
            self._problem(place, "has a URI that is too long or holds control characters")
            return False
        return bool(uri)

    def _spend(self) -> None:
        if self._left <= 0:
            raise _OverBudgetError
        self._left -= 1

    def _problem(self, place: _Place, what: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(f"{_printable(str(place))} {what}")

    # Values of dataclasses, pydantic models and dictionaries: since flytekit 1.14
    # msgpack in a Binary, before that a Struct. The shapes in them are the same.

    def _packed(self, binary: Binary, place: _Place, depth: int, notes: _Notes) -> None:
        try:
            value = _unpacked(binary)
        except ReadError as exc:
            return self._problem(place, f"could not be read: {exc}")
        return self._plain(value, place, depth, notes)

    def _plain(self, value: Any, place: _Place, depth: int, notes: _Notes = _NO_NOTES) -> None:
        if depth > MAX_DEPTH:
            return self._problem(place, f"is nested deeper than {MAX_DEPTH} levels")
        value = _opened(value)
        if isinstance(value, dict):
            if (found := _flytekit_reference(value)) is not None:
                uri, kind, format, metadata = found
                notes = _Notes(notes.hash, {**notes.metadata, **metadata})
                return self._refers(place, uri, kind, format, notes)
            for key in sorted(value, key=str):
                self._plain(value[key], place.at(str(key)), depth + 1)
        elif isinstance(value, list):
            for position, item in enumerate(value):
                self._plain(item, place.at(position), depth + 1)
        return None


def _unpacked(binary: Binary) -> Any:
    """The Python value of a Binary.

    Raises:
        ReadError: Not msgpack, damaged, too large, or msgpack is not installed.
    """
    if binary.tag != "msgpack":
        raise ReadError("unreadable", "its encoding is not known")
    if len(binary.value) > MAX_PACKED_BYTES:
        raise ReadError("too large", f"msgpack of more than {MAX_PACKED_BYTES:,} bytes")
    try:
        import msgpack  # type: ignore[import-untyped]
    except ImportError as exc:
        raise ReadError("unreadable", "the package msgpack is not installed") from exc
    try:
        # Lengths are only claims: without limits a few nested ones reserve gigabytes.
        return msgpack.unpackb(
            binary.value,
            strict_map_key=False,
            max_array_len=_MAX_PACKED_ITEMS,
            max_map_len=_MAX_PACKED_ITEMS,
        )
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as exc:
        raise ReadError("unreadable", "it is not msgpack") from exc


def _opened(value: Any) -> Any:
    """One level of a Struct as Python has it; every other value as it is."""
    from google.protobuf.struct_pb2 import Struct, Value

    if isinstance(value, Value):
        kind = value.WhichOneof("kind")
        if kind == "list_value":
            return list(value.list_value.values)
        value = getattr(value, kind) if kind else None
    return dict(value.fields) if isinstance(value, Struct) else value


def _flytekit_reference(value: dict[Any, Any]) -> tuple[str, Kind, str, Mapping[str, str]] | None:
    """What flytekit writes for a file, a folder, a structured dataset or a schema.

    Users write dictionaries too, so only exactly these keys with a URI count; a local
    path never does, since flytekit uploads what is local before it writes this.

    Source: flytekit types/file/file.py, types/directory/types.py,
    types/structured/structured_dataset.py, types/schema/types.py, `_serialize`.
    """
    shape = {str(key): _opened(item) for key, item in value.items()} if len(value) <= 2 else {}
    match shape:
        case {"path": str(uri), **rest} if not rest.keys() - {"metadata"}:
            notes = rest.get("metadata")
            kind: Kind = "file or folder"
            format, metadata = "", dict(_texts(notes)) if isinstance(notes, dict) else {}
        case {"uri": str(uri), "file_format": str(format), **rest} if not rest:
            kind, metadata = "structured dataset", {}
        case {"remote_path": str(uri), **rest} if not rest:
            kind, format, metadata = "schema", "", {}
        case _:
            return None
    return (uri, kind, format, metadata) if "://" in uri else None


def _texts(notes: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for key, value in notes.items():
        text = _opened(value)
        if isinstance(key, str) and isinstance(text, str):
            yield key, text


def _printable(text: str) -> str:
    """A text from outside, fit for one line of a log."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])
