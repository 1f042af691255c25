"""What an operator sees of the store, and whether anything is left to do."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    distinct,
    exists,
    func,
    or_,
    select,
    union,
)

from flytelineage.entities import ExecutionId
from flytelineage.store.database import Database, from_us
from flytelineage.store.keys import execution_id
from flytelineage.store.pauses import present
from flytelineage.store.schema import (
    LACKS,
    backfill,
    definition,
    delivery,
    execution,
    lineage,
    quarantine,
    waiting,
)
from flytelineage.store.values import FLYTEADMIN, PIPELINE_KEY, refusals

MAX_LISTED = 50
"""How many problems, errors and reasons `status` lists; it counts all."""


class Overview:
    """Reads; never in the way of the loops."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def status(self) -> dict[str, Any]:
        """Everything that `Store.status` promises, from one transaction."""

        def look(connection: Connection) -> dict[str, Any]:
            now = self._database.now(connection)
            return {
                "executions": _executions(connection, now),
                "deliveries": _deliveries(connection, now),
                "paused": _paused(connection, now),
                "quarantine": _quarantine(connection),
                "errors": _errors(connection),
                "problems": _problems(connection),
                "definitions": connection.scalar(select(func.count(definition.c.key))),
                "backfills": _backfills(connection),
            }

        return self._database.read(look)

    def counts(self) -> dict[str, Any]:
        """Everything that `Store.counts` promises, from one transaction."""

        def look(connection: Connection) -> dict[str, Any]:
            now = self._database.now(connection)
            return {
                "executions": _executions(connection, now),
                "deliveries": _deliveries(connection, now),
                "quarantine": _in_quarantine(connection),
            }

        return self._database.read(look)

    def unbuilt(self) -> list[ExecutionId]:
        """Executions that were never built, in the order in which they started."""
        query = (
            select(execution.c.key)
            .where(execution.c.built_revision == 0)
            .order_by(execution.c.started_at, execution.c.key)
        )
        keys = self._database.read(lambda connection: connection.scalars(query).all())
        return [execution_id(key) for key in keys]

    def work_left(self, *, ended_only: bool) -> bool:
        """Whether a build is due or under way, or a delivery not settled."""

        def look(connection: Connection) -> bool:
            now = self._database.now(connection)
            build = exists().where(execution.c.due_at <= now, _built_when_due(ended_only))
            undelivered = exists().where(delivery.c.due_at.is_not(None))
            return bool(connection.scalar(select(or_(build, undelivered))))

        return self._database.read(look)

    def next_due_in(self, *, ended_only: bool) -> float | None:
        """Seconds until something can be claimed."""

        def look(connection: Connection) -> float | None:
            now = self._database.now(connection)
            build = select(func.min(_claimable_at(execution))).where(
                execution.c.due_at.is_not(None), _built_when_due(ended_only)
            )
            deliver = select(func.min(_claimable_at(delivery))).where(
                delivery.c.due_at.is_not(None)
            )
            moments = (connection.scalar(build), connection.scalar(deliver))
            known = [moment for moment in moments if moment is not None]
            return max(0.0, (min(known) - now) / 1_000_000) if known else None

        return self._database.read(look)


def _built_when_due(ended_only: bool) -> ColumnElement[bool]:
    return execution.c.terminal_at.is_not(None) if ended_only else execution.c.key.is_not(None)


def _claimable_at(table: Any) -> ColumnElement[int]:
    due_at, until = table.c.due_at, table.c.lease_until
    return case((until > due_at, until), else_=due_at)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _executions(connection: Connection, now: int) -> dict[str, int]:
    """Each execution is in one of the first four; the others may overlap."""
    leased = func.coalesce(execution.c.lease_until, 0) > now
    due = and_(~leased, func.coalesce(execution.c.due_at, now + 1) <= now)
    built = and_(~leased, ~due, execution.c.built_revision > 0)
    query = select(
        _count(and_(~leased, ~due, ~built)).label("collecting"),
        _count(due).label("due"),
        _count(leased).label("building"),
        _count(built).label("built"),
        _count(execution.c.name_source == "guessed").label("guessed"),
        _count(_unnamed()).label("unnamed"),
        _count(_unanswered()).label("unanswered"),
    )
    lacking = select(
        _count(lineage.c.partial).label("partial"),
        _count(lineage.c.incomplete.is_not(None)).label("incomplete"),
    ).where(LACKS)
    waits = select(func.count(distinct(waiting.c.execution)).label("waiting"))
    return {
        name: int(count)
        for part in (query, lacking, waits)
        for name, count in connection.execute(part).one()._mapping.items()
    }


def _unnamed() -> ColumnElement[bool]:
    return and_(execution.c.built_revision > 0, execution.c.pipeline.is_(None))


def _put_off() -> ColumnElement[bool]:
    return and_(
        execution.c.waits_for.is_not(None), execution.c.built_revision < execution.c.revision
    )


def _unanswered() -> ColumnElement[bool]:
    return and_(_put_off(), execution.c.waits_for.startswith(FLYTEADMIN))


def _deliveries(connection: Connection, now: int) -> dict[str, dict[str, Any]]:
    """Each delivery of a target is in one of the first six."""
    state = delivery.c.state
    leased = and_(state == "due", func.coalesce(delivery.c.lease_until, 0) > now)
    query = (
        select(
            delivery.c.target,
            _count(and_(state == "due", ~leased, delivery.c.due_at <= now)).label("due"),
            _count(and_(state == "due", ~leased, delivery.c.due_at > now)).label("later"),
            _count(leased).label("telling"),
            _count(state == "held").label("held"),
            _count(state == "delivered").label("delivered"),
            _count(state == "given_up").label("given_up"),
            _count(delivery.c.rejections.is_not(None)).label("rejected"),
            func.min(case((state == "due", delivery.c.wanted_at))).label("oldest"),
        )
        .group_by(delivery.c.target)
        .order_by(delivery.c.target)
    )
    return {row.target: _of_target(row._mapping, now) for row in connection.execute(query)}


def _of_target(row: Any, now: int) -> dict[str, Any]:
    counts = {name: int(row[name]) for name in row if name not in ("target", "oldest")}
    oldest = row["oldest"]
    return {**counts, "oldest_seconds": None if oldest is None else (now - oldest) / 1_000_000}


def _paused(connection: Connection, now: int) -> dict[str, dict[str, str]]:
    return {
        target: {
            "reason": one.reason,
            "since": one.since.isoformat(),
            "until": one.until.isoformat(),
        }
        for target, one in present(connection, now).items()
    }


def _in_quarantine(connection: Connection) -> dict[str, int]:
    kept = func.coalesce(func.sum(func.length(quarantine.c.body)), 0)
    query = select(func.count(quarantine.c.id).label("rows"), kept.label("bytes"))
    row = connection.execute(query).one()
    return {"rows": int(row.rows), "bytes": int(row.bytes)}


def _quarantine(connection: Connection) -> dict[str, int]:
    """Bodies by reason, the most frequent first."""
    query = (
        select(quarantine.c.reason, func.count())
        .group_by(quarantine.c.reason)
        .order_by(func.count().desc(), quarantine.c.reason)
        .limit(MAX_LISTED)
    )
    return {reason: int(count) for reason, count in connection.execute(query)}


def _errors(connection: Connection) -> list[dict[str, Any]]:
    """The newest failures and rejections of deliveries."""
    at = func.coalesce(delivery.c.error_at, delivery.c.settled_at)
    query = (
        select(delivery, at.label("at"))
        .where(or_(delivery.c.error.is_not(None), delivery.c.rejections.is_not(None)))
        .order_by(at.desc(), delivery.c.execution)
        .limit(MAX_LISTED)
    )
    return [
        {
            "execution": row.execution,
            "target": row.target,
            "state": row.state,
            "attempts": row.attempts,
            "error": row.error,
            "rejections": (rejections := json.loads(row.rejections or "[]")),
            "refused": refusals(rejections),
            "at": from_us(row.at).isoformat(),
        }
        for row in connection.execute(query)
    ]


def _problems(connection: Connection) -> list[dict[str, Any]]:
    """Executions whose lineage lacks something, the newest first, and what."""
    waits = exists().where(waiting.c.execution == execution.c.key)
    query = (
        select(
            execution.c.key,
            execution.c.attempts,
            execution.c.waits_for,
            _put_off().label("put_off"),
            lineage.c.partial,
            lineage.c.incomplete,
            waits.label("waits"),
            _unnamed().label("unnamed"),
        )
        .select_from(execution.outerjoin(lineage, lineage.c.execution == execution.c.key))
        .where(execution.c.key.in_(_lacking()))
        .order_by(execution.c.started_at.desc(), execution.c.key)
        .limit(MAX_LISTED)
    )
    return [
        {"execution": row.key, "reasons": list(_reasons(connection, row))}
        for row in connection.execute(query).all()
    ]


def _lacking() -> Any:
    """The executions that lack something; of lineages, which are large, an index is read."""
    stuck = or_(_unnamed(), _put_off(), execution.c.attempts > 1)
    return union(
        select(lineage.c.execution).where(LACKS),
        select(waiting.c.execution),
        select(execution.c.key).where(stuck),
    )


def _reasons(connection: Connection, row: Any) -> list[str]:
    reasons = json.loads(row.incomplete or "[]")
    if row.partial:
        reasons.append("events are missing")
    if row.unnamed:
        reasons.append("no name was found for the pipeline, so nothing is told of it")
    if row.attempts > 1:
        reasons.append(f"begun to be built {row.attempts} times")
    if row.put_off:
        waits = row.waits_for.startswith(FLYTEADMIN)
        reasons.append(f"{'not built yet: waits for' if waits else 'put off:'} {row.waits_for}")
    if row.waits:
        keys = select(waiting.c.key).where(waiting.c.execution == row.key).order_by(waiting.c.key)
        reasons += map(_awaited, connection.scalars(keys.limit(5)))
    return list(reasons)


def _awaited(key: str) -> str:
    if key.startswith(PIPELINE_KEY):
        name = key.removeprefix(PIPELINE_KEY)
        return f"its name is a guess that waits for a success: {name}"
    return f"waits for {key}"


def _backfills(connection: Connection) -> list[dict[str, Any]]:
    """Those that stopped before their end, or are at work."""
    query = select(backfill).where(~backfill.c.finished).order_by(backfill.c.key)
    return [
        {
            "project": row.project,
            "domain": row.domain,
            **{name: from_us(getattr(row, name)).isoformat() for name in _BOUNDS},
            **{name: int(getattr(row, name)) for name in ("recorded", "known", "gone")},
        }
        for row in connection.execute(query)
    ]


_BOUNDS = ("since", "until", "reached")
