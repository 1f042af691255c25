"""Walks literals: which data do the inputs and outputs of a task refer to?

Hides the shapes in which Flyte writes a reference to data: structured datasets,
legacy schemas, blobs, collections, maps, unions, and the dictionaries of flytekit
inside msgpack and Struct. Pure: an offloaded literal is only named, the caller
fetches it and walks on.

Promises: one literal map gives one answer, whatever order protobuf keeps its maps in;
hostile input costs bounded work; values of primitives never leave this module, and
keys of dictionaries, which are values too, only in a `Path`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from flytelineage import flyte_types, flytekit_values
from flytelineage.entities import Schema
from flytelineage.errors import ReadError
from flytelineage.flytekit_values import Kind

if TYPE_CHECKING:
    from flyteidl.core.literals_pb2 import Binary, LiteralMap, LiteralOffloadedMetadata, Scalar
    from flyteidl.core.literals_pb2 import Literal as LiteralMessage
    from google.protobuf.struct_pb2 import Struct

MAX_BYTES = 32 << 20
"""Of a serialised literal map, whoever hands it in: parsed, ten megabytes can take more
than 300. `ObjectReader.max_object_bytes` is the operator's bound, and 4 MiB by default."""

MAX_DEPTH = 100
MAX_REFERENCES = 10_000
MAX_VALUES = 500_000
"""Of all kinds, looked at in one walk: two bytes of protobuf can be one."""
MAX_DECLARED_BYTES = 1 << 20
"""Of different declarations of columns in one walk."""
MAX_PROBLEMS = 100
MAX_URI_CHARACTERS = 4096

_PARTITIONS = "_uap"
"""Source: flytekit core/base_task.py, `DYNAMIC_PARTITIONS`."""

Path = tuple[str | int, ...]
"""Keys and positions from the variable down; empty is the variable's own value."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Data that a variable refers to.

    Attributes:
        uri: As it was written; not yet looked at, so it may be anything printable.
        kind: `file or folder` where a nested value does not say which.
        format: As the literal spells it, e.g. `parquet`; often empty.
        schema: The declared columns; `None` when none are declared.
        hash: The user's own hash of the content; empty without one.
        metadata: Texts that the user noted on the literal.
        partitions: Of the artifact that it is, those that the task itself chose; the
            one in time is called `time_partition`.
    """

    variable: str
    path: Path
    uri: str
    kind: Kind
    format: str = ""
    schema: Schema | None = None
    hash: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    partitions: Mapping[str, str] = field(default_factory=dict, hash=False)

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
        """As problems show it: keys of dictionaries are the user's values."""
        steps = (f"[{step}]" if isinstance(step, int) else ".*" for step in self.path[:20])
        return _printable(self.variable) + "".join(steps)


class _Notes(NamedTuple):
    """What stands on a literal beside its value; a union's stands outside of it."""

    hash: str = ""
    metadata: Mapping[str, str] = {}
    partitions: Mapping[str, str] = {}

    def over(self, literal: LiteralMessage) -> _Notes:
        if not literal.hash and not literal.metadata:
            return self
        metadata = flytekit_values.notes(literal.metadata)
        partitions = _partitions(metadata.pop(_PARTITIONS, ""))
        return _Notes(
            literal.hash or self.hash, {**self.metadata, **metadata}, partitions or self.partitions
        )


def _partitions(encoded: str) -> dict[str, str]:
    """The partitions in a serialised ArtifactID; none if it is not one."""
    from flyteidl.core.artifact_id_pb2 import ArtifactID
    from google.protobuf.message import DecodeError

    try:
        id = ArtifactID.FromString(base64.b64decode(encoded, validate=True))
        found = {key: label.static_value for key, label in id.partitions.value.items()}
        if id.time_partition.HasField("value"):
            found["time_partition"] = id.time_partition.value.time_value.ToJsonString()
    except (ValueError, DecodeError):
        return {}
    return flytekit_values.notes(found)


_NO_NOTES = _Notes()


class _OverBudgetError(Exception):
    """Ends a walk that found more than it may."""


class _Walk:
    """One walk: what it found so far and how much more it may find."""

    def __init__(self, max_references: int) -> None:
        self._left = max_references
        self._values_left = MAX_VALUES
        self._declared_left = MAX_DECLARED_BYTES
        self._schemas: dict[bytes, Schema | None] = {}
        self._references: list[Reference] = []
        self._offloaded: list[Offloaded] = []
        self._problems: list[str] = []

    def over(self, literals: Iterable[tuple[_Place, LiteralMessage]]) -> Walked:
        try:
            for place, literal in literals:
                self._literal(literal, place, len(place.path))
        except _OverBudgetError:
            self._problems.insert(0, "over budget: there is more than may be looked at")
        return Walked(tuple(self._references), tuple(self._offloaded), tuple(self._problems))

    def _literal(
        self, literal: LiteralMessage, place: _Place, depth: int, outer: _Notes = _NO_NOTES
    ) -> None:
        if not self._look(place, depth):
            return
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

    def _scalar(self, scalar: Scalar, place: _Place, depth: int, notes: _Notes) -> None:
        match scalar.WhichOneof("value"):
            case "structured_dataset":
                found = scalar.structured_dataset
                kind = found.metadata.structured_dataset_type
                schema = self._schema(kind, flyte_types.schema_of)
                self._refers(place, found.uri, "structured dataset", kind.format, notes, schema)
            case "schema":
                schema = self._schema(scalar.schema.type, flyte_types.legacy_schema)
                # The only format there ever was: flytekit types/schema/types.py.
                self._refers(place, scalar.schema.uri, "schema", "parquet", notes, schema)
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
                self._struct(scalar.generic, place, depth, notes)
            case None if scalar.ByteSize():
                self._problem(place, "is of a kind that is not known yet")

    def _elsewhere(self, offloaded: LiteralOffloadedMetadata, place: _Place) -> None:
        known = flyte_types.may_refer(offloaded.inferred_type)
        if known and self._usable(offloaded.uri, place):
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
            self._references.append(Reference(*place, uri, kind, format, schema, **notes._asdict()))

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

    def _look(self, place: _Place, depth: int) -> bool:
        """Count one more value; whether it may be looked at."""
        self._values_left -= 1
        if self._values_left < 0:
            raise _OverBudgetError
        if depth > MAX_DEPTH:
            self._problem(place, f"is nested deeper than {MAX_DEPTH} levels")
        return depth <= MAX_DEPTH

    def _schema(self, declared: Any, columns_of: Callable[[Any], Schema | None]) -> Schema | None:
        """The declared columns; the elements of a map task share one value."""
        key = declared.SerializeToString(deterministic=True)
        if key not in self._schemas:
            self._declared_left -= len(key)
            self._schemas[key] = columns_of(declared) if self._declared_left >= 0 else None
        return self._schemas[key]

    def _problem(self, place: _Place, what: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(f"{place} {what}")

    # Values of dataclasses, pydantic models and dictionaries.

    def _packed(self, binary: Binary, place: _Place, depth: int, notes: _Notes) -> None:
        try:
            value = flytekit_values.unpacked(binary)
        except ReadError as exc:
            return self._problem(place, f"could not be read: {exc}")
        return self._plain(value, place, depth, notes)

    def _struct(self, struct: Struct, place: _Place, depth: int, notes: _Notes) -> None:
        if flytekit_values.may_refer(struct):
            self._plain(struct, place, depth, notes)

    def _plain(self, value: Any, place: _Place, depth: int, notes: _Notes = _NO_NOTES) -> None:
        if not self._look(place, depth):
            return
        value = flytekit_values.opened(value)
        if isinstance(value, Mapping):
            self._dictionary(value, place, depth, notes)
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            for position, item in enumerate(value):
                self._plain(item, place.at(position), depth + 1)

    def _dictionary(
        self, value: Mapping[Any, Any], place: _Place, depth: int, notes: _Notes
    ) -> None:
        found = flytekit_values.reference(value, notes.metadata)
        if found is not None:
            notes = notes._replace(metadata={**notes.metadata, **found.metadata})
            return self._refers(place, found.uri, found.kind, found.format, notes)
        for key in sorted(value, key=str):
            self._plain(value[key], place.at(str(key)), depth + 1)
        return None


def _printable(text: str) -> str:
    """A text from outside, fit for one line of a log."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])
