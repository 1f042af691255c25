"""What people want to know of one execution or one location; nothing here is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, false, func, or_, select

from flytelineage.entities import DatasetId, ExecutionId, PipelineId
from flytelineage.store.database import Database, chunks, from_us, maybe_from_us
from flytelineage.store.keys import execution_id, execution_key, short
from flytelineage.store.schema import delivery, execution, lineage, location, waiting
from flytelineage.store.values import Awaited, Registration, Standing, Told


class Inquiry:
    """Answers the questions of `explain`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, of: ExecutionId) -> Standing | None:
        """How far the store has come with an execution; `None` when it knows none."""
        key = execution_key(of)
        query = (
            select(execution, lineage.c.built_at)
            .select_from(execution.outerjoin(lineage, lineage.c.execution == execution.c.key))
            .where(execution.c.key == key)
        )

        def look(connection: Connection) -> Standing | None:
            row = connection.execute(query).one_or_none()
            return _standing(connection, key, row) if row is not None else None

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


def _standing(connection: Connection, key: str, row: Any) -> Standing:
    query = select(delivery).where(delivery.c.execution == key).order_by(delivery.c.target)
    return Standing(
        pipeline=PipelineId.model_validate_json(row.pipeline) if row.pipeline else None,
        name_source=row.name_source,
        built_at=maybe_from_us(row.built_at),
        current=row.built_revision >= row.revision,
        due_at=maybe_from_us(row.due_at),
        attempts=row.attempts,
        waits_for=row.waits_for or "",
        deliveries=tuple(_told(found._mapping) for found in connection.execute(query)),
    )


def _told(row: Mapping[Any, Any]) -> Told:
    return Told(
        target=row["target"],
        state=row["state"],
        attempts=row["attempts"],
        due_at=maybe_from_us(row["due_at"]),
        settled_at=maybe_from_us(row["settled_at"]),
        error=row["error"] or "",
        rejections=tuple(
            f"{one['entity']}: {one['reason']}" for one in json.loads(row["rejections"] or "[]")
        ),
    )


def _registration(row: Any) -> Registration:
    return Registration(
        dataset=DatasetId.model_validate_json(row.dataset) if row.dataset else None,
        execution=execution_id(row.execution),
        at=from_us(row.registered_at),
    )
