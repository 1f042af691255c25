"""Which targets are told nothing for a while, and why: a note for people.

Each process decides by itself when to pause; it writes it down here, so that `status`
in another one can say so. Where several do, the last word stands.
"""

from __future__ import annotations

from sqlalchemy import Connection, case, delete, select

from flytelineage.store.database import Database, from_us, seconds
from flytelineage.store.keys import scrubbed, short
from flytelineage.store.schema import pause
from flytelineage.store.values import Paused

_PROBE = seconds(60)
"""After its end a pause is still shown: whether the target is back is just being tried."""


class Pauses:
    """Keeps one row for each target that is paused."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, target: str, reason: str, wait_seconds: float) -> None:
        """Write down that a target is paused, or still is."""

        def write(connection: Connection) -> None:
            now = self._database.now(connection)
            insert = self._database.insert(pause)
            goes_on = pause.c.until > now - _PROBE
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["target"],
                    set_={
                        "reason": insert.excluded.reason,
                        "since": case((goes_on, pause.c.since), else_=insert.excluded.since),
                        "until": insert.excluded.until,
                    },
                ),
                {
                    "target": short(target),
                    "reason": scrubbed(reason),
                    "since": now,
                    "until": now + seconds(wait_seconds),
                },
            )

        self._database.write(write)

    def end(self, target: str) -> None:
        """Forget the pause of a target, if there was one."""
        gone = delete(pause).where(pause.c.target == short(target))
        self._database.write(lambda connection: connection.execute(gone))


def present(connection: Connection, now: int) -> dict[str, Paused]:
    """The targets that are paused, by name."""
    query = select(pause).where(pause.c.until > now - _PROBE).order_by(pause.c.target)
    return {
        row.target: Paused(row.reason, from_us(row.since), from_us(row.until))
        for row in connection.execute(query)
    }
