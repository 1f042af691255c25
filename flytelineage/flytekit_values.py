"""Values of dataclasses, pydantic models and dictionaries, as flytekit writes them.

Since flytekit 1.14 they are msgpack in a `Binary`, before that a `Struct`; the
dictionaries that stand for files and datasets in them are the same. Pure, and bounded:
what cannot refer to data is dropped while it is unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flytelineage.errors import ReadError

if TYPE_CHECKING:
    from flyteidl.core.literals_pb2 import Binary
    from google.protobuf.struct_pb2 import Struct

MAX_PACKED_BYTES = 2 << 20
"""Of one msgpack value: what Flyte itself reads unless it is told otherwise. Unpacked,
it can take 60 times as much."""

MAX_NOTES = 100
"""Of the texts on one literal."""

MAX_NOTE_CHARACTERS = 1000

_MAX_PACKED_ITEMS = 100_000

_URI = "://"
"""In every URI that counts inside of a value: flytekit uploads what is local before it
writes one, and users have paths of their own."""

Kind = Literal["structured dataset", "schema", "file", "folder", "file or folder"]


class Found(NamedTuple):
    """What a dictionary refers to; the attributes are those of `literals.Reference`."""

    uri: str
    kind: Kind
    format: str = ""
    metadata: Mapping[str, str] = {}


def unpacked(binary: Binary) -> Any:
    """The Python value of a Binary, without the parts that refer to nothing.

    Raises:
        ReadError: Not msgpack, damaged, too large, or msgpack is not installed.
    """
    if binary.tag != "msgpack":
        raise ReadError("unreadable", "its encoding is not known")
    if _URI.encode() not in binary.value:
        return None  # msgpack keeps texts as they are
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
            # What is empty takes one byte there and 60 here, so it must not stay.
            list_hook=lambda items: items if any(map(_leads, items)) else None,
            object_hook=lambda items: items if any(map(_says, items.values())) else None,
        )
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as exc:
        raise ReadError("unreadable", "it is not msgpack") from exc


def unpacked_whole(binary: Binary) -> Any:
    """The Python value of a Binary with all its parts.

    Raises:
        ValueError: Not msgpack, damaged, too large, or msgpack is not installed.
    """
    if binary.tag != "msgpack" or len(binary.value) > MAX_PACKED_BYTES:
        raise ValueError("not msgpack, or too much of it")
    try:
        import msgpack
    except ImportError as exc:
        raise ValueError("the package msgpack is not installed") from exc
    try:
        return msgpack.unpackb(
            binary.value,
            strict_map_key=False,
            max_array_len=_MAX_PACKED_ITEMS,
            max_map_len=_MAX_PACKED_ITEMS,
        )
    except (msgpack.UnpackException, TypeError) as exc:
        raise ValueError("not msgpack") from exc


def packed(value: Any) -> bytes:
    """A plain Python value as msgpack; for what `unpacked_whole` gave."""
    import msgpack

    return bytes(msgpack.packb(value))


def _leads(value: Any) -> bool:
    """Whether something in a list may be, or may hold, a reference."""
    return isinstance(value, dict | list)


def _says(value: Any) -> bool:
    """Whether something in a dictionary may be a part of a reference, or hold one."""
    return isinstance(value, dict | list | str)


def may_refer(struct: Struct) -> bool:
    """Whether a Struct can refer to data; walking it costs far more than this."""
    return _URI.encode() in struct.SerializeToString()


def opened(value: Any) -> Any:
    """One level of a Struct as Python has it; every other value as it is."""
    from google.protobuf.struct_pb2 import Struct, Value

    if isinstance(value, Value):
        kind = value.WhichOneof("kind")
        if kind == "list_value":
            return value.list_value.values
        value = getattr(value, kind) if kind else None
    return value.fields if isinstance(value, Struct) else value


def reference(value: Mapping[Any, Any], noted: Mapping[str, str]) -> Found | None:
    """What flytekit writes for a file, a folder, a structured dataset or a schema.

    Users write dictionaries too, so only exactly these keys with a URI count.

    Args:
        value: A dictionary, or the fields of a Struct.
        noted: The metadata of the literal, if the dictionary is all of it.

    Source: flytekit types/file/file.py, types/directory/types.py,
    types/structured/structured_dataset.py, types/schema/types.py, `_serialize`;
    core/type_engine.py, `DictTransformer`, for the pickle.
    """
    shape = {str(key): opened(item) for key, item in value.items()} if len(value) <= 2 else {}
    match shape:
        case {"path": str(uri), **rest} if not rest.keys() - {"metadata"}:
            found = Found(uri, "file or folder", metadata=notes(rest.get("metadata")))
        case {"uri": str(uri), "file_format": str(format)}:
            found = Found(uri, "structured dataset", format)
        case {"remote_path": str(uri), **rest} if not rest:
            found = Found(uri, "schema", "parquet")
        case {"pickle_file": str(uri), **rest} if not rest and noted.get("format") == "pickle":
            found = Found(uri, "file", "pickle")
        case _:
            return None
    return found if _URI in found.uri else None


def notes(found: Any) -> dict[str, str]:
    """The texts among what was noted on a value, as many and as long as can be shown."""
    items = opened(found)
    return dict(_shown(items.items())) if isinstance(items, Mapping) else {}


def _shown(items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, str]]:
    texts = ((key, opened(value)) for key, value in items)
    known = sorted((k, v) for k, v in texts if isinstance(k, str) and isinstance(v, str))
    for key, text in known[:MAX_NOTES]:
        if len(key) + len(text) <= MAX_NOTE_CHARACTERS and (key + text).isprintable():
            yield key, text
