"""How far backfills have come, so that the same command goes on where it stopped."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, select

from flytelineage.store.database import Database, from_us, to_us
from flytelineage.store.keys import short
from flytelineage.store.schema import backfill
from flytelineage.store.values import Backfill

_TIMES = ("since", "until", "reached")


class Backfills:
    """Keeps the state of each backfill, one row for each domain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: str) -> Backfill | None:
        """The one with this key; `None` when there never was one."""
        query = select(backfill).where(backfill.c.key == short(key))
        row = self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else of_row(row)

    def note(self, state: Backfill) -> None:
        """Write how far it has come, over what was written before."""
        insert = self._database.insert(backfill)
        others = [column.name for column in backfill.c if not column.primary_key]
        upsert = insert.on_conflict_do_update(
            index_elements=["key"], set_={name: insert.excluded[name] for name in others}
        )

        def write(connection: Connection) -> None:
            connection.execute(
                upsert, {**_row(state), "updated_at": self._database.now(connection)}
            )

        self._database.write(write)


def of_row(row: Any) -> Backfill:
    """The state in a row."""
    values = {one.name: getattr(row, one.name) for one in fields(Backfill)}
    return Backfill(**{**values, **{name: from_us(values[name]) for name in _TIMES}})


def _row(state: Backfill) -> dict[str, Any]:
    values = asdict(state)
    times = {name: to_us(values[name]) for name in _TIMES}
    return {**values, **times, "key": short(state.key)}
