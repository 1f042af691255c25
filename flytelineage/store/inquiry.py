"""What people want to know of one execution or one location; nothing here is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, exists, false, func, or_, select

from flytelineage.entities import DatasetId, ExecutionId, PipelineId
from flytelineage.store import pauses
from flytelineage.store.database import Database, chunks, from_us, maybe_from_us
from flytelineage.store.keys import execution_id, execution_key, short
from flytelineage.store.schema import (
    delivery,
    event,
    execution,
    lineage,
    location,
    waiting,
    watermark,
)
from flytelineage.store.values import Awaited, Paused, Registration, Standing, Told, refusals

MAX_AWAITED = 5
"""How many keys of those that an execution waits for are told."""


class Inquiry:
    """Answers the questions of `explain`, and of `status EXECUTION`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, of: ExecutionId) -> Standing | None:
        """How far the store has come with an execution; `None` when it knows none."""
        query = (
            select(
                execution,
                lineage.c.built_at,
                lineage.c.phase,
                lineage.c.partial,
                lineage.c.incomplete,
            )
            .select_from(execution.outerjoin(lineage, lineage.c.execution == execution.c.key))
            .where(execution.c.key == execution_key(of))
        )

        def look(connection: Connection) -> Standing | None:
            row = connection.execute(query).one_or_none()
            now = self._database.now(connection)
            return _standing(connection, row, now) if row is not None else None

        return self._database.read(look)

    def registrations(self, keys: Iterable[str]) -> dict[str, Registration]:
        """Those of the keys that are registered, and by whom."""
        wanted = {short(key): key for key in keys}

        def look(connection: Connection) -> dict[str, Registration]:
            return {
                wanted[row.key]: _registration(row)
                for some in chunks(wanted)
                for row in connection.execute(select(location).where(location.c.key.in_(some)))
                if row.registered
            }

        return self._database.read(look) if wanted else {}

    def awaited(self, key: str, limit: int) -> Awaited:
        """Who waits for a key to be registered."""
        those = waiting.c.key == short(key)
        query = select(waiting.c.execution).where(those).order_by(waiting.c.execution)

        def look(connection: Connection) -> Awaited:
            count = connection.scalar(select(func.count()).select_from(waiting).where(those))
            first = connection.scalars(query.limit(limit)).all()
            return Awaited(int(count or 0), tuple(map(execution_id, first)))

        return self._database.read(look)

    def named(self, names: Iterable[str], limit: int) -> list[ExecutionId]:
        """Executions of these names in any project and domain. Looks at all of them."""
        wanted = frozenset(names)
        ends = [execution.c.key.endswith(f"/{name}", autoescape=True) for name in sorted(wanted)]
        query = select(execution.c.key).where(or_(false(), *ends)).order_by(execution.c.key)
        keys = self._database.read(lambda connection: connection.scalars(query.limit(limit)).all())
        # SQLite takes capitals for small letters here.
        return [id for id in map(execution_id, keys) if id.name in wanted]


def _standing(connection: Connection, row: Any, now: int) -> Standing:
    return Standing(
        at=from_us(now),
        pipeline=PipelineId.model_validate_json(row.pipeline) if row.pipeline else None,
        name_source=row.name_source,
        terminal_at=maybe_from_us(row.terminal_at),
        phase=row.phase or "",
        built_at=maybe_from_us(row.built_at),
        current=row.built_revision >= row.revision or not _went_on(connection, row),
        due_at=maybe_from_us(row.due_at),
        attempts=row.attempts,
        lost=row.lost,
        lease_until=maybe_from_us(row.lease_until),
        archived_at=maybe_from_us(row.archived_at),
        waits_for=row.waits_for or "",
        partial=bool(row.partial),
        incomplete=tuple(json.loads(row.incomplete or "[]")),
        awaits=_awaits(connection, row.key),
        deliveries=tuple(_deliveries(connection, row, now)),
    )


def _went_on(connection: Connection, row: Any) -> bool:
    """Whether an event came since the last build; it may be due for other reasons, too."""
    came = select(event.c.received_at).where(event.c.execution == row.key)
    last = connection.scalar(came.order_by(event.c.id.desc()).limit(1))
    return row.built_at is None or (last is not None and last >= row.built_at)


def _awaits(connection: Connection, key: str) -> tuple[str, ...]:
    query = select(waiting.c.key).where(waiting.c.execution == key).order_by(waiting.c.key)
    return tuple(connection.scalars(query.limit(MAX_AWAITED)))


def _deliveries(connection: Connection, of: Any, now: int) -> Iterator[Told]:
    paused = pauses.present(connection, now)
    query = select(delivery).where(delivery.c.execution == of.key).order_by(delivery.c.target)
    for row in connection.execute(query).all():
        told = _told(row._mapping, paused.get(row.target))
        # Of what was dropped or refused it holds nothing either, and nobody told it instead.
        took = not row.dropped and row.rejections is None
        silent = row.state == "delivered" and of.phase == "SUCCEEDED" and took
        yield replace(told, overtaken=silent and _overtaken(connection, row))


def _told(row: Mapping[Any, Any], paused: Paused | None) -> Told:
    return Told(
        target=row["target"],
        state=row["state"],
        attempts=row["attempts"],
        due_at=maybe_from_us(row["due_at"]),
        settled_at=maybe_from_us(row["settled_at"]),
        error=row["error"] or "",
        error_at=maybe_from_us(row["error_at"]),
        rejections=tuple(refusals(json.loads(row["rejections"] or "[]"))),
        lease_until=maybe_from_us(row["lease_until"]),
        lost=row["lost"],
        dropped=row["dropped"],
        paused=paused,
    )


def _overtaken(connection: Connection, row: Any) -> bool:
    """Whether others hold all that was told; of a target that only writes down nobody holds."""
    here = watermark.c.target == row.target
    mine = exists().where(here, watermark.c.holder == row.execution)
    return bool(connection.scalar(select(and_(exists().where(here), ~mine))))


def _registration(row: Any) -> Registration:
    return Registration(
        dataset=DatasetId.model_validate_json(row.dataset) if row.dataset else None,
        execution=execution_id(row.execution),
        at=from_us(row.registered_at),
    )
