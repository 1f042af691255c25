"""Edges that executions showed lately, for targets that are told all of a window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, select

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
            late: set[str] = set()
            for some in chunks(tasks):
                late |= self._add(connection, lease.target, some)
                united |= _united(connection, lease.target, some, seconds(window_seconds))
            _wake_holders(connection, lease, sorted(late), self._database.now(connection))
            return united

        return self._database.write(unite) if tasks else {}

    def _add(self, connection: Connection, target: str, tasks: Sequence[SeenEdges]) -> set[str]:
        """Store the edges; the tasks of which any is new."""
        rows: list[dict[str, Any]] = [
            {"target": target, **_key(one), "part": part, "body": body, "seen_at": to_us(one.stamp)}
            for one in tasks
            for part, body in sorted((short(part), body) for part, body in one.edges.items())
        ]
        edge = (seen_edge.c.entity, seen_edge.c.version, seen_edge.c.part)
        known = {tuple(row) for row in connection.execute(select(*edge).where(*_of(target, tasks)))}
        if rows:
            insert = self._database.insert(seen_edge)
            newer = insert.excluded.seen_at > seen_edge.c.seen_at
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["target", "entity", "version", "part"],
                    set_={
                        name: case((newer, insert.excluded[name]), else_=seen_edge.c[name])
                        for name in ("body", "seen_at")
                    },
                ),
                rows,
            )
        return {
            row["entity"]
            for row in rows
            if (row["entity"], row["version"], row["part"]) not in known
        }


def _united(
    connection: Connection, target: str, tasks: Sequence[SeenEdges], window: int
) -> dict[str, list[str]]:
    """The edges in the window that ends with the newest execution.

    Older ones go, also those of versions that run no more.
    """
    by_task: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(
        select(seen_edge).where(*_of(target, tasks)).order_by(*seen_edge.primary_key.columns)
    ):
        by_task[row.entity].append(row)
    united: dict[str, list[str]] = {}
    old: list[dict[str, Any]] = []
    for one in tasks:
        key, rows = _key(one), by_task[short(one.entity)]
        own = [row for row in rows if row.version == key["version"]]
        begin = max([to_us(one.stamp), *(row.seen_at for row in own)]) - window
        united[one.entity] = [row.body for row in own if row.seen_at >= begin]
        old += [_edge(row) for row in rows if row.seen_at < begin]
    if old:
        connection.execute(_FORGET, old)
    return united


def _key(one: SeenEdges) -> dict[str, str]:
    return {"entity": short(one.entity), "version": short(one.version)}


def _of(target: str, tasks: Iterable[SeenEdges]) -> Sequence[Any]:
    """The edges of some tasks, of all their versions."""
    entities = sorted({short(one.entity) for one in tasks})
    return (seen_edge.c.target == target, seen_edge.c.entity.in_(entities))


def _edge(row: Any) -> dict[str, Any]:
    return {f"of_{name}": getattr(row, name) for name in _EDGE}


_EDGE = ("target", "entity", "version", "part", "seen_at")

# Whoever showed it anew meanwhile has made it younger: then it stays.
_FORGET = delete(seen_edge).where(*(seen_edge.c[name] == bindparam(f"of_{name}") for name in _EDGE))


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
