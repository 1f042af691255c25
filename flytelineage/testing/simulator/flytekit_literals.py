"""Literals made by flytekit itself, as a real task would make them.

flytekit is given a file access that writes to the simulator's storage, and its type
engine does the rest: uploads, names, formats. It is imported when first asked.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Optional

from flytelineage.testing.simulator.kinds import (
    File,
    Folder,
    Frame,
    Kind,
    ListOf,
    MapOf,
    OptionalOf,
    Primitive,
    Record,
)
from flytelineage.testing.simulator.literals import HexNames, contents, literal_type, table
from flytelineage.testing.simulator.storage import Storage


class FlytekitLiterals:
    """A `LiteralMaker` that asks flytekit's `TypeEngine`."""

    def __init__(self, storage: Storage, names: HexNames) -> None:
        self._storage = storage
        self._names = names

    def make(self, kind: Kind, prefix: str | None) -> Any:
        """The `Literal` of a value, made by `TypeEngine.to_literal`."""
        from flytekit.core.type_engine import TypeEngine
        from flytekit.models.types import LiteralType

        given = prefix is None
        expected = LiteralType.from_flyte_idl(literal_type(kind))
        # Equal values would share one literal, and so one URI, over all tasks of all
        # simulated executions; a real task is a process of its own.
        TypeEngine._LITERAL_CACHE.clear()
        with (
            tempfile.TemporaryDirectory() as scratch,
            self._context(prefix or f"{self._storage.root}/none", scratch) as context,
        ):
            wrap = given or _has_record(kind)
            values = _Values(self._storage, Path(scratch), given=given, wrap=wrap)
            value, type_ = values.value_of(kind), values.type_of(kind)
            return TypeEngine.to_literal(context, value, type_, expected).to_flyte_idl()

    @contextmanager
    def _context(self, prefix: str, scratch: str) -> Iterator[Any]:
        from flytekit.core.context_manager import FlyteContextManager

        access = _file_access()(self._storage, self._names, prefix, scratch)
        builder = FlyteContextManager.current_context().with_file_access(access)
        with _quiet(), FlyteContextManager.with_context(builder) as context:
            yield context


class _Values:
    """Python types and values that a task's author would return for a kind.

    A value that was given only names its data. One whose own URI the storage cannot
    write to does the same, but the author still says that it is Parquet. Only a frame
    that is `wrap`ped in a `StructuredDataset` can have columns or a place, or stand in
    a dataclass.
    """

    def __init__(self, storage: Storage, scratch: Path, *, given: bool, wrap: bool) -> None:
        self._storage = storage
        self._scratch = scratch
        self._given = given
        self._wrap = wrap
        self._count = 0

    def type_of(self, kind: Kind) -> Any:
        if isinstance(kind, Primitive):
            return type(kind.value)
        if isinstance(kind, ListOf):
            return list[self.type_of(kind.item)]  # type: ignore[misc]
        if isinstance(kind, MapOf):
            return dict[str, self.type_of(kind.item)]  # type: ignore[misc]
        if isinstance(kind, OptionalOf):
            return Optional[self.type_of(kind.item)]  # noqa: UP045 - a value, not an annotation
        if isinstance(kind, Record):
            return _dataclass(
                kind.name, tuple((n, self.type_of(f)) for n, f in kind.fields.items())
            )
        return self._pointer_type(kind)

    def value_of(self, kind: Kind) -> Any:
        if isinstance(kind, Primitive):
            return kind.value
        if isinstance(kind, ListOf):
            return [self.value_of(kind.item) for _ in range(kind.size)]
        if isinstance(kind, MapOf):
            return {key: self.value_of(kind.item) for key in kind.keys}
        if isinstance(kind, OptionalOf):
            return self.value_of(kind.item) if kind.given else None
        if isinstance(kind, Record):
            fields = {name: self.value_of(field) for name, field in kind.fields.items()}
            return self.type_of(kind)(**fields)
        return self._pointer(kind)

    def _pointer_type(self, kind: Kind) -> Any:
        import pyarrow as pa
        from flytekit.types.directory import FlyteDirectory
        from flytekit.types.file import FlyteFile
        from flytekit.types.structured import StructuredDataset

        if isinstance(kind, Frame):
            if kind.legacy:
                return _schema_class(tuple(kind.columns.items()))
            return StructuredDataset if self._wrapped(kind) else pa.Table
        plain = FlyteFile if isinstance(kind, File) else FlyteDirectory
        if not isinstance(kind, (File, Folder)):
            raise TypeError(f"No literal is made of {kind}")
        return plain[kind.format] if kind.format else plain

    def _pointer(self, kind: Kind) -> Any:
        if isinstance(kind, Frame):
            return self._schema(kind) if kind.legacy else self._dataset(kind)
        if not isinstance(kind, (File, Folder)):
            raise TypeError(f"No literal is made of {kind}")
        type_ = self._pointer_type(kind)
        if not self._writes(kind):
            return type_(kind.uri)
        path = self._files(kind)
        where = "remote_path" if isinstance(kind, File) else "remote_directory"
        return type_(str(path), **({where: kind.uri} if kind.uri else {}))

    def _dataset(self, kind: Frame) -> Any:
        from flytekit.types.structured import StructuredDataset

        if not self._wrapped(kind):
            return table(kind)
        if self._writes(kind):
            return StructuredDataset(dataframe=table(kind), uri=kind.uri or None)
        return StructuredDataset(uri=kind.uri, file_format="" if self._given else "parquet")

    def _schema(self, kind: Frame) -> Any:
        from flytekit.types.schema.types import SchemaOpenMode

        type_ = self._pointer_type(kind)
        if not self._writes(kind):
            return type_(remote_path=kind.uri, supported_mode=SchemaOpenMode.READ)
        return type_(local_path=str(self._files(kind)), remote_path=kind.uri or None)

    def _wrapped(self, kind: Frame) -> bool:
        return bool(self._wrap or kind.declared or kind.uri)

    def _writes(self, kind: Frame | File | Folder) -> bool:
        return not self._given and (not kind.uri or self._storage.holds(kind.uri))

    def _files(self, kind: Frame | File | Folder) -> Path:
        """Write the value where a task would, on the pod's own disk."""
        self._count += 1
        folder = self._scratch / f"value-{self._count}"
        folder.mkdir()
        place = folder / kind.name if isinstance(kind, File) else folder
        for name, data in contents(kind):
            (place / name if name else place).write_bytes(data)
        return place


def _has_record(kind: Kind) -> bool:
    if isinstance(kind, (ListOf, MapOf, OptionalOf)):
        return _has_record(kind.item)
    return isinstance(kind, Record)


@cache
def _dataclass(name: str, fields: tuple[tuple[str, Any], ...]) -> Any:
    return dataclasses.make_dataclass(name, fields)


@cache
def _schema_class(columns: tuple[tuple[str, str], ...]) -> Any:
    from datetime import datetime

    from flytekit import kwtypes
    from flytekit.types.schema import FlyteSchema

    types = {"int": int, "float": float, "str": str, "bool": bool, "datetime": datetime}
    return FlyteSchema[kwtypes(**{name: types[type_] for name, type_ in columns})]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without flytekit's word that `FlyteSchema` is deprecated: we know."""
    log = logging.getLogger("flytekit")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@cache
def _file_access() -> Any:
    """The class of flytekit's file access that ends in a `Storage`."""
    from flytekit.core.data_persistence import FileAccessProvider

    class StorageAccess(FileAccessProvider):  # type: ignore[misc]
        def __init__(self, storage: Storage, names: HexNames, prefix: str, scratch: str) -> None:
            super().__init__(local_sandbox_dir=scratch, raw_output_prefix=prefix)
            self._names = names
            self._files = _file_system()(storage)

        def get_random_string(self) -> str:
            return self._names()

        def get_filesystem_for_path(self, path: str = "", *_: Any, **__: Any) -> Any:
            return self._files if self.is_remote(path) else self.get_filesystem("file")

        async def get_async_filesystem_for_path(self, path: str = "", *_: Any, **__: Any) -> Any:
            return self.get_filesystem_for_path(path)

        @property
        def raw_output_fs(self) -> Any:
            return self._files

        @staticmethod
        def is_remote(path: Any) -> bool:
            # flytekit takes file:// for the pod's own disk; here it may be the store.
            return "://" in str(path)

    return StorageAccess


@cache
def _file_system() -> Any:
    """The class of an fsspec file system that only writes, into a `Storage`."""
    import io

    from fsspec import AbstractFileSystem

    class StorageFiles(AbstractFileSystem):  # type: ignore[misc]
        cachable = False  # codespell:ignore cachable
        protocol = ("s3", "file")

        def __init__(self, storage: Storage) -> None:
            super().__init__()
            self._storage = storage
            self._scheme = storage.root.partition("://")[0]

        @classmethod
        def _strip_protocol(cls, path: Any) -> Any:
            return path

        def isdir(self, path: str) -> bool:
            return False

        def makedirs(self, path: str, exist_ok: bool = False) -> None:
            """Object stores have no folders."""

        def open(self, path: str, mode: str = "wb", *_: Any, **__: Any) -> Any:
            # pyarrow is given the path without its scheme.
            uri = path if "://" in path else f"{self._scheme}://{path}"
            storage = self._storage

            class Upload(io.BytesIO):
                def close(self) -> None:
                    if not self.closed:
                        storage.write(uri, self.getvalue())
                    super().close()

            return Upload()

    return StorageFiles
