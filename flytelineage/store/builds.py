"""The queue of executions that are due to be built."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update

from flytelineage.entities import ExecutionId, Lineage, PipelineId
from flytelineage.errors import RefusedByStoreError
from flytelineage.store import deliveries
from flytelineage.store.database import (
    Database,
    chunks,
    from_us,
    maybe_from_us,
    seconds,
    to_us,
)
from flytelineage.store.keys import execution_id, execution_key, id_text, scrubbed
from flytelineage.store.registry import Overtaken, Registry
from flytelineage.store.schema import execution, lineage
from flytelineage.store.values import BuildLease, Built


class Builds:
    """Leases executions and takes what their builds found."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._registry = Registry(database)

    def claim(self, limit: int, *, lease_seconds: float, ended_only: bool) -> list[BuildLease]:
        """Lease the executions that have been due the longest."""

        def take(connection: Connection) -> list[BuildLease]:
            now, token = self._database.now(connection), uuid.uuid4().hex
            rows = connection.execute(_claimable(now, limit, ended_only)).all()
            for some in chunks(row.key for row in rows):
                connection.execute(
                    update(execution)
                    .where(execution.c.key.in_(some))
                    .values(
                        lease_token=token,
                        lease_until=now + seconds(lease_seconds),
                        attempts=execution.c.attempts + 1,
                        lost=deliveries.lost(execution),
                    )
                )
            ended = _ended(connection, [row.key for row in rows if row.built_revision])
            return [_lease(row, token, now, ended=row.key in ended) for row in rows]

        return self._database.write(take)

    def keep(self, lease: BuildLease, *, lease_seconds: float) -> bool:
        """Hold a lease for longer, if it still holds."""

        def prolong(connection: Connection) -> bool:
            if _locked(connection, lease) is None:
                return False
            until = self._database.now(connection) + seconds(lease_seconds)
            connection.execute(
                update(execution)
                .where(execution.c.key == execution_key(lease.execution))
                .values(lease_until=until)
            )
            return True

        return self._database.write(prolong)

    def postpone(
        self,
        lease: BuildLease,
        wait_seconds: float,
        *,
        counted: bool,
        waits_for: str | None = None,
    ) -> bool:
        """Give a lease back; what came meanwhile may be due sooner."""

        def give_back(connection: Connection) -> bool:
            row = _locked(connection, lease)
            if row is None:
                return False
            now = self._database.now(connection)
            due_at = now + seconds(wait_seconds)
            if row.revision > lease.revision:
                due_at = min(due_at, max(now, row.due_at))
            _release(
                connection,
                lease,
                due_at=due_at,
                attempts=row.attempts if counted else max(0, row.attempts - 1),
                waits_for=scrubbed(waits_for) if waits_for else None,
            )
            return True

        return self._database.write(give_back)

    def finish(
        self, lease: BuildLease, built: Built, targets: Sequence[str], *, held: bool
    ) -> bool:
        """Store a build in one transaction, if the lease still holds."""
        stored = _lineage_row(lease, built.lineage)
        try:
            return self._database.write(
                lambda connection: self._finish(connection, lease, built, stored, targets, held)
            )
        except _LeaseLost:
            return False
        except Overtaken:
            return self.postpone(lease, 0, counted=True)

    def rebuild(self, of: ExecutionId) -> bool:
        """Make an execution due although nothing new came."""

        def make_due(connection: Connection) -> bool:
            now = self._database.now(connection)
            return wake(connection, [execution_key(of)], now) > 0

        return self._database.write(make_due)

    def _finish(
        self,
        connection: Connection,
        lease: BuildLease,
        built: Built,
        stored: dict[str, Any],
        targets: Sequence[str],
        held: bool,
    ) -> bool:
        """Store everything; in the order in which every transaction locks tables."""
        key, now = execution_key(lease.execution), self._database.now(connection)
        found = self._registry.register(connection, key, built, now)
        placed = self._registry.note_places(connection, key, built)
        again, wakes = placed.again or found.late, (found.wakes | placed.wakes) - {key}
        row = self._lock_all(connection, lease, wakes)
        wake(connection, wakes, now)
        self._registry.wait(connection, key, found)
        after = _after(row, lease, built, again=again, now=now)
        _release(connection, lease, **after)
        stored["built_at"] = now
        connection.execute(self._upsert_lineage(), stored)
        of = {**stored, "pipeline": after["pipeline"]}
        deliveries.enqueue(self._database, connection, of, targets, held=held, now=now)
        return True

    def _lock_all(self, connection: Connection, lease: BuildLease, others: Iterable[str]) -> Any:
        """Lock the own execution and those to be woken in one sorted pass.

        Raises:
            _LeaseLost: Nothing of this transaction may stay.
        """
        own = execution_key(lease.execution)
        rows = [
            row
            for some in chunks(sorted({own, *others}))
            for row in connection.execute(
                select(execution)
                .where(execution.c.key.in_(some))
                .order_by(execution.c.key)
                .with_for_update()
            )
        ]
        for row in rows:
            if row.key == own and row.lease_token == lease.token:
                return row
        raise _LeaseLost

    def _upsert_lineage(self) -> Any:
        insert = self._database.insert(lineage)
        return insert.on_conflict_do_update(
            index_elements=["execution"],
            set_={
                column.name: insert.excluded[column.name]
                for column in lineage.c
                if not column.primary_key
            },
        )


class _LeaseLost(Exception):
    """Rolls a finished build back: somebody else has the lease."""


def wake(connection: Connection, keys: Iterable[str], now: int) -> int:
    """Make executions due now although no event came; their rows lock in order."""
    rows = [{"of": key, "now": now} for key in sorted(keys)]
    if not rows:
        return 0
    return connection.execute(_WAKE, rows).rowcount


_WAKE = (
    update(execution)
    # Of what is archived the events are gone: a build would find nothing.
    .where(execution.c.key == bindparam("of"), execution.c.archived_at.is_(None))
    .values(revision=execution.c.revision + 1, due_at=bindparam("now"))
)


def _claimable(now: int, limit: int, ended_only: bool) -> Any:
    query = (
        select(execution)
        .where(
            execution.c.due_at <= now,
            or_(execution.c.lease_until.is_(None), execution.c.lease_until <= now),
        )
        .order_by(execution.c.due_at, execution.c.key)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return query.where(execution.c.terminal_at.is_not(None)) if ended_only else query


def _ended(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Those whose last build was of an execution that had ended."""
    ended = select(lineage.c.execution).where(lineage.c.phase != "RUNNING")
    return {
        key
        for some in chunks(keys)
        for key in connection.scalars(ended.where(lineage.c.execution.in_(some)))
    }


def _lease(row: Any, token: str, now: int, *, ended: bool) -> BuildLease:
    return BuildLease(
        execution=execution_id(row.key),
        revision=row.revision,
        token=token,
        pipeline=PipelineId.model_validate_json(row.pipeline) if row.pipeline else None,
        name_source=row.name_source,
        started_at=from_us(row.started_at),
        terminal_at=maybe_from_us(row.terminal_at),
        due_since=from_us(row.due_at),
        claimed_at=from_us(now),
        attempts=row.attempts + 1,
        first=row.built_revision == 0,
        ended=ended,
        lost=0 if row.lease_token is None else row.lost + 1,
    )


def _locked(connection: Connection, lease: BuildLease) -> Any:
    """The execution's row, if the lease still holds."""
    return connection.execute(
        select(execution)
        .where(
            execution.c.key == execution_key(lease.execution),
            execution.c.lease_token == lease.token,
        )
        .with_for_update()
    ).one_or_none()


def _release(connection: Connection, lease: BuildLease, **values: Any) -> None:
    connection.execute(
        update(execution)
        .where(execution.c.key == execution_key(lease.execution))
        .values(lease_token=None, lease_until=None, **values)
    )


def _after(row: Any, lease: BuildLease, built: Built, *, again: bool, now: int) -> dict[str, Any]:
    """What a finished build leaves in the execution's row; the name is pinned once."""
    revision, due_at = row.revision, None
    if again:
        revision, due_at = revision + 1, now
    elif revision > lease.revision:
        due_at = row.due_at
    elif built.retry_in is not None:
        revision, due_at = revision + 1, now + seconds(built.retry_in)
    pinned = row.pipeline is not None or built.pipeline is None
    return {
        "revision": revision,
        "built_revision": lease.revision,
        "due_at": due_at,
        "attempts": 0,
        "pipeline": row.pipeline if pinned else id_text(built.pipeline),  # type: ignore[arg-type]
        "name_source": row.name_source if pinned else built.lineage.name_source,
        "waits_for": None,
    }


def _lineage_row(lease: BuildLease, of: Lineage) -> dict[str, Any]:
    """The row of a lineage; made before the transaction, since it takes a while.

    Raises:
        RefusedByStoreError: It holds text that JSON cannot write.
    """
    try:
        body, digest = of.model_dump_json(), of.digest()
    except ValueError as exc:
        raise RefusedByStoreError(f"The lineage cannot be written: {exc}") from exc
    return {
        "execution": execution_key(lease.execution),
        "revision": lease.revision,
        "digest": digest,
        "phase": of.phase,
        "started_at": to_us(of.started_at or lease.started_at),
        "partial": of.partial,
        "incomplete": json.dumps(of.incomplete) if of.incomplete else None,
        "body": body,
    }
