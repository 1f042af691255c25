"""What FlyteAdmin said: definitions by version, and what it was asked and when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, select

from flytelineage.errors import RefusedByStoreError
from flytelineage.store.database import Database, chunks, from_us
from flytelineage.store.keys import short
from flytelineage.store.schema import asked, definition

MAX_BODY_BYTES = 64 * 1024 * 1024
"""As much as is received from FlyteAdmin in one answer."""


class Definitions:
    """Keeps what never changes, and remembers questions so that none is asked for ever."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def definitions(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Those that are kept."""
        wanted = {short(key): key for key in keys}

        def look(connection: Connection) -> dict[str, bytes]:
            return {
                wanted[row.key]: bytes(row.body)
                for some in chunks(wanted)
                for row in connection.execute(
                    select(definition.c.key, definition.c.body).where(definition.c.key.in_(some))
                )
            }

        return self._database.read(look) if wanted else {}

    def kept(self, keys: Iterable[str]) -> set[str]:
        """The keys of those that are kept."""
        wanted = {short(key): key for key in keys}

        def look(connection: Connection) -> set[str]:
            return {
                wanted[key]
                for some in chunks(wanted)
                for key in connection.scalars(
                    select(definition.c.key).where(definition.c.key.in_(some))
                )
            }

        return self._database.read(look) if wanted else set()

    def keep(self, key: str, body: bytes) -> bool:
        """Keep one; the first writer wins, and who comes second wrote the same."""
        if len(body) > MAX_BODY_BYTES:
            raise RefusedByStoreError(
                f"The definition {key} has {len(body)} bytes; {MAX_BODY_BYTES} can be kept"
            )
        insert = self._database.insert(definition).on_conflict_do_nothing(index_elements=["key"])
        insert = insert.execution_options(preserve_rowcount=True)

        def write(connection: Connection) -> bool:
            row = {"key": short(key), "body": body, "fetched_at": self._database.now(connection)}
            return connection.execute(insert, row).rowcount > 0

        return self._database.write(write)

    def asked(self, keys: Iterable[str]) -> dict[str, datetime]:
        """Those of the questions that were asked, with the last time."""
        wanted = {short(key): key for key in keys}

        def look(connection: Connection) -> dict[str, datetime]:
            return {
                wanted[row.key]: from_us(row.asked_at)
                for some in chunks(wanted)
                for row in connection.execute(select(asked).where(asked.c.key.in_(some)))
            }

        return self._database.read(look) if wanted else {}

    def note_asked(self, keys: Iterable[str]) -> None:
        """Remember that these were asked just now."""
        names = sorted({short(key) for key in keys})
        insert = self._database.insert(asked)
        upsert = insert.on_conflict_do_update(
            index_elements=["key"], set_={"asked_at": insert.excluded.asked_at}
        )

        def write(connection: Connection) -> None:
            now = self._database.now(connection)
            connection.execute(upsert, [{"key": name, "asked_at": now} for name in names])

        if names:
            self._database.write(write)
