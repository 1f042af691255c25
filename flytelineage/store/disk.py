"""How much room a store takes, and how much is left for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection

from flytelineage.errors import StoreError
from flytelineage.store.database import Database
from flytelineage.store.schema import metadata
from flytelineage.store.values import Size

MIB = 1024 * 1024

_BESIDE = ("", "-wal", "-shm")
"""What SQLite writes beside the file, by the ends of their names."""

_MOST_OF_A_SMALL_DISK = 0.05

_PG_SIZE = sqlalchemy.text(
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
    "WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace "
    "AND c.relname = ANY(:tables)"
)


class Disk:
    """The disk below a store.

    Args:
        path: The file of an SQLite store; `None` for a server, which looks after its own.
    """

    def __init__(self, database: Database, path: Path | None) -> None:
        self._database = database
        self._path = path

    def size(self) -> Size:
        """What the store takes up, and what its disk has left."""
        if self._path is None:
            return Size(self._database.read(_server_bytes))
        files = (self._path.with_name(f"{self._path.name}{end}") for end in _BESIDE)
        return Size(sum(map(_bytes, files)), _usage(self._path.parent).free)

    def check_room(self, min_free_mb: int) -> None:
        """See that what comes next can be stored.

        SQLite loses nothing on a full disk. But what is received then in vain comes nearer
        to the dead-letter queue each time, and others on that disk need room, too.

        Raises:
            StoreError: There is too little room, or the folder is gone.
        """
        if self._path is None:
            return
        usage = _usage(self._path.parent)
        needed = min(min_free_mb * MIB, int(usage.total * _MOST_OF_A_SMALL_DISK))
        if usage.free < needed:
            raise StoreError(
                f"The disk of {self._path.parent} has only {usage.free // MIB} MiB left, below "
                f"{needed // MIB} MiB nothing is received: make room there, type `flytelineage "
                "vacuum`, or lower Store.min_free_mb"
            )


def _usage(folder: Path) -> Any:
    try:
        return shutil.disk_usage(folder)
    except OSError as exc:
        raise StoreError(f"The folder {folder} of the store is gone: {exc.strerror}") from exc


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _server_bytes(connection: Connection) -> int:
    """The tables with their indexes, and not what others keep in the same database."""
    return int(connection.scalar(_PG_SIZE, {"tables": sorted(metadata.tables)}) or 0)
