"""Gives room that was freed back to the disk, beside whoever else uses the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flytelineage.errors import StoreError
from flytelineage.store.database import Database
from flytelineage.store.schema import metadata


class Compact:
    """Rewrites the tables; the only work that runs outside of a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def vacuum(self) -> None:
        """Do it.

        SQLite writes the file anew, for which it needs as much room again, and nobody else
        can write meanwhile. PostgreSQL makes the room usable again and counts anew what
        its planner goes by; nobody waits for it.
        """
        with self._connected() as connection:
            for statement in self._statements():
                connection.execute(statement)

    def _statements(self) -> list[str]:
        if self._database.dialect == "sqlite":
            return ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA optimize"]
        return [f"VACUUM (ANALYZE) {table.name}" for table in metadata.sorted_tables]

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection of the driver that begins no transaction by itself."""
        engine = self._database.engine
        fairy = None
        try:
            fairy = engine.raw_connection()
            connection: Any = fairy.driver_connection
            if self._database.dialect == "postgresql":
                connection.autocommit = True
            yield connection
        except engine.dialect.loaded_dbapi.Error as exc:
            raise StoreError(f"The store could not be compacted: {exc}") from exc
        finally:
            if fairy is not None:
                fairy.invalidate()  # its next user expects transactions
