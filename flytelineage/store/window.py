"""Edges that executions showed lately, for targets that are told all of a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, func, select

from flytelineage.store import deliveries
from flytelineage.store.database import Database, chunks, seconds, to_us
from flytelineage.store.keys import execution_key, short
from flytelineage.store.schema import delivery, seen_edge, watermark
from flytelineage.store.values import DeliveryLease, SeenEdges


class Window:
    """Unites the edges of the executions of one version of a task."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def widen(
        self, lease: DeliveryLease, seen: Iterable[SeenEdges], *, window_seconds: float
    ) -> dict[str, list[str]]:
        """Add what an execution showed; all edges of each entity within the window.

        A newer execution that told fewer edges than are known by now tells again.
        """
        tasks = sorted(seen, key=lambda one: short(one.entity))

        def unite(connection: Connection) -> dict[str, list[str]]:
            united: dict[str, list[str]] = {}
            late: list[str] = []
            for one in tasks:
                late += [short(one.entity)] if self._add(connection, lease.target, one) else []
                united[one.entity] = _united(connection, lease.target, one, window_seconds)
            _wake_holders(connection, lease, late, self._database.now(connection))
            return united

        return self._database.write(unite) if tasks else {}

    def _add(self, connection: Connection, target: str, one: SeenEdges) -> bool:
        """Store the edges; whether any of them is new."""
        stamp = to_us(one.stamp)
        key = {"target": target, "entity": short(one.entity), "version": short(one.version)}
        rows = [
            {**key, "part": short(part), "body": body, "seen_at": stamp}
            for part, body in sorted(one.edges.items())
        ]
        known = set(connection.scalars(select(seen_edge.c.part).where(*_of(target, one))))
        if rows:
            insert = self._database.insert(seen_edge)
            newer = insert.excluded.seen_at > seen_edge.c.seen_at
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[*key, "part"],
                    set_={
                        name: case((newer, insert.excluded[name]), else_=seen_edge.c[name])
                        for name in ("body", "seen_at")
                    },
                ),
                rows,
            )
        return not known.issuperset(row["part"] for row in rows)


def _united(
    connection: Connection, target: str, one: SeenEdges, window_seconds: float
) -> list[str]:
    """The edges in the window that ends with the newest execution; older ones go."""
    of = _of(target, one)
    newest = connection.scalar(select(func.max(seen_edge.c.seen_at)).where(*of)) or 0
    begin = max(newest, to_us(one.stamp)) - seconds(window_seconds)
    connection.execute(delete(seen_edge).where(*of, seen_edge.c.seen_at < begin))
    return list(connection.scalars(select(seen_edge.c.body).where(*of).order_by(seen_edge.c.part)))


def _of(target: str, one: SeenEdges) -> Sequence[Any]:
    return (
        seen_edge.c.target == target,
        seen_edge.c.entity == short(one.entity),
        seen_edge.c.version == short(one.version),
    )


def _wake_holders(
    connection: Connection, lease: DeliveryLease, entities: Sequence[str], now: int
) -> None:
    """Make those due who told the edges of these entities last, if it was not this one."""
    holders = {
        holder
        for some in chunks(entities)
        for holder in connection.scalars(
            select(watermark.c.holder).where(
                watermark.c.target == lease.target,
                watermark.c.entity.in_(some),
                watermark.c.aspect == "io",
            )
        )
    } - {execution_key(lease.execution), None}
    for some in chunks(sorted(holders)):
        whose = (delivery.c.target == lease.target, delivery.c.execution.in_(some))
        deliveries.wake(connection, now, *whose)
