"""Events as they arrive, and the bodies that are not events."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, func, select

from flytelineage.entities import ExecutionId
from flytelineage.errors import RefusedByStoreError
from flytelineage.store.database import Database, Raced, chunks, from_us, seconds, to_us
from flytelineage.store.keys import execution_key, scrubbed
from flytelineage.store.room import QuarantineRoom
from flytelineage.store.schema import event, execution, quarantine
from flytelineage.store.values import Quarantined, Refused

if TYPE_CHECKING:
    from flytelineage.events import Event

log = logging.getLogger(__name__)

PAGE = 100
"""Events read at once, as far as they have no more than `PAGE_BYTES`."""

PAGE_BYTES = 1 << 20
"""Bytes of events read at once, besides one event: PostgreSQL's client holds them thrice."""

NOT_BEGUN = to_us(datetime(9999, 12, 31, tzinfo=timezone.utc))
"""The start of an execution of which FlyteAdmin told who it is, and nobody an event.

Any start that becomes known is earlier.
"""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long an execution rests before it is due.

    Attributes:
        settle: Seconds after an event of an execution that has ended.
        idle: Seconds after an event of one that has not.
        over: Both count as over: an execution that has ended is due since its start.
        running: One that has not ended is due once soon after it began.
    """

    settle: float
    idle: float
    over: bool = False
    running: bool = False


class _SomeAreKnownError(Exception):
    """Not all events of a group are new; nothing of it is stored."""


class Intake:
    """Stores events once each, and marks their executions due."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.culprits = 0
        """Events that the database refused as data."""
        self._looks = False
        self._insert = _insert_events(database)
        self._touch = _upsert_execution(database)
        self._quarantine = _upsert_quarantine(database)
        self.room = QuarantineRoom()

    def record(self, events: Sequence[Event], refused: Sequence[Refused], waits: Waits) -> int:
        """Store a group in one transaction; one that is refused is taken apart."""
        try:
            return self._write(events, refused, waits)
        except RefusedByStoreError as error:
            if len(events) > 1:
                half = len(events) // 2
                return self.record(events[:half], refused, waits) + self.record(
                    events[half:], (), waits
                )
            if not events:
                raise
            log.warning(
                "The store refuses an event of %s, which goes to quarantine: %s",
                scrubbed(str(events[0].execution)),
                scrubbed(str(error)),
            )
            self.culprits += 1
            return self.record((), (*refused, _culprit(events[0], error)), waits)

    def events(self, of: ExecutionId) -> Iterator[Event]:
        """Read page by page, each in a transaction of its own.

        An event that is stored meanwhile may be missed; it raised the revision, so
        that the execution will be built again.
        """
        last, key = 0, execution_key(of)
        while page := self._page(key, last):
            for row in page:
                yield _event(of, row)
            last = page[-1].id

    def seen(self, executions: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Those of which any event is stored; who FlyteAdmin says they are is none."""
        return self._those(executions, execution.c.started_at < NOT_BEGUN)

    def ended(self, executions: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Those of which the terminal event is stored."""
        return self._those(executions, execution.c.terminal_at.is_not(None))

    def _those(
        self, executions: Iterable[ExecutionId], condition: ColumnElement[bool]
    ) -> set[ExecutionId]:
        wanted = {execution_key(one): one for one in executions}

        def look(connection: Connection) -> set[ExecutionId]:
            return {
                wanted[key]
                for some in chunks(wanted)
                for key in connection.scalars(
                    select(execution.c.key).where(execution.c.key.in_(some), condition)
                )
            }

        return self._database.read(look)

    def quarantined(self, limit: int) -> list[Quarantined]:
        """The newest first, without their bodies."""
        query = (
            select(
                *(column for column in quarantine.c if column.name != "body"),
                func.length(quarantine.c.body).label("kept_bytes"),
            )
            .order_by(quarantine.c.last_seen.desc(), quarantine.c.id)
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [_quarantined(row) for row in rows]

    def quarantine_body(self, id: str) -> str | None:
        """The body as it came; `None` when there is none with this id."""
        query = select(quarantine.c.body).where(quarantine.c.id == id)
        body = self._database.read(lambda connection: connection.scalar(query))
        return None if body is None else body.decode("utf-8", "surrogatepass")

    def quarantine_release(self, ids: Iterable[str]) -> int:
        """Forget bodies that were replayed."""

        def forget(connection: Connection) -> int:
            return sum(
                connection.execute(delete(quarantine).where(quarantine.c.id.in_(some))).rowcount
                for some in chunks(sorted(ids))
            )

        return self._database.write(forget)

    def _write(self, events: Sequence[Event], refused: Sequence[Refused], waits: Waits) -> int:
        """Store a group in the hope that all of it is new, which saves a look.

        Duplicates come in swarms: after one, groups are looked at first, until one is new.
        """

        def work(connection: Connection, *, looks: bool) -> int:
            return self._record(connection, events, refused, waits, looks=looks)

        try:
            return self._database.write(partial(work, looks=self._looks))
        except _SomeAreKnownError:
            self._looks = True
            return self._database.write(partial(work, looks=True))

    def _record(
        self,
        connection: Connection,
        events: Sequence[Event],
        refused: Sequence[Refused],
        waits: Waits,
        *,
        looks: bool,
    ) -> int:
        now = self._database.now(connection)
        new = self._store(connection, events, now, looks=looks)
        if new:
            connection.execute(self._touch, _executions(new, now, waits))
        if refused:
            bodies = _bodies(refused, now)
            connection.execute(self._quarantine, bodies)
            self.room.make(connection, [row["size"] for row in bodies])
        return len(new)

    def _store(
        self, connection: Connection, events: Sequence[Event], now: int, *, looks: bool
    ) -> list[dict[str, Any]]:
        """Insert the rows that are new, and say which.

        Raises:
            Raced: Another replica stored one of them in between; now it is known.
            _SomeAreKnownError: The same, or one was known; it only `looks` when it is told to.
        """
        by_hash = {one.hash: one for one in events}
        known = self._known(connection, by_hash) if looks else set()
        new = [_event_row(by_hash[hash], now) for hash in sorted(by_hash) if hash not in known]
        if new:
            inserted = connection.execute(self._insert, new)
            if inserted.rowcount != len(new):
                raise Raced if looks else _SomeAreKnownError
        if looks and not known:
            self._looks = False
        return new

    def _known(self, connection: Connection, hashes: Iterable[bytes]) -> set[bytes]:
        return {
            bytes(hash)
            for some in chunks(hashes)
            for hash in connection.scalars(_KNOWN, {"hashes": some})
        }

    def _page(self, key: str, last: int) -> Sequence[Any]:
        values = {"of": key, "last": last}
        return self._database.read(lambda connection: connection.execute(_PAGE, values).all())


# -------------------------------------------------------------------- statements


_NEXT = (
    select(event.c.id, func.length(event.c.payload).label("size"))  # reads no payload
    .where(event.c.execution == bindparam("of"), event.c.id > bindparam("last"))
    .order_by(event.c.id)
    .limit(PAGE)
    .subquery()
)
_BEFORE = select(
    _NEXT.c.id, (func.sum(_NEXT.c.size).over(order_by=_NEXT.c.id) - _NEXT.c.size).label("bytes")
).subquery()
_PAGE = (
    select(event)
    .join(_BEFORE, _BEFORE.c.id == event.c.id)
    .where(_BEFORE.c.bytes < PAGE_BYTES)
    .order_by(event.c.id)
)

_KNOWN = select(event.c.hash).where(event.c.hash.in_(bindparam("hashes", expanding=True)))


def _insert_events(database: Database) -> Any:
    """Insert what is new, waiting for replicas that insert the same.

    RETURNING would say what was new, but costs half of the throughput.
    """
    insert = database.insert(event).on_conflict_do_nothing(index_elements=["hash"])
    return insert.execution_options(preserve_rowcount=True)


def _upsert_execution(database: Database) -> Any:
    """Raise the revision; only one column, `due_at`, depends on what was known before."""
    insert = database.insert(execution)
    new, old = insert.excluded, execution.c
    started_at = case((new.started_at < old.started_at, new.started_at), else_=old.started_at)
    terminal_at = func.coalesce(old.terminal_at, new.terminal_at)
    since_start = case((started_at < bindparam("now"), started_at), else_=bindparam("now"))
    soon = and_(bindparam("running"), old.built_revision == 0, old.due_at < bindparam("silent"))
    archived = old.archived_at.is_not(None)
    due_at = case(
        # A build would see the late event alone, and take back what all of them said.
        (archived, None),
        (and_(terminal_at.is_(None), soon), old.due_at),
        (terminal_at.is_(None), bindparam("silent")),
        (bindparam("over"), since_start),
        else_=bindparam("settled"),
    )
    return insert.values(
        {column: bindparam(column) for column in _EXECUTION}
    ).on_conflict_do_update(
        index_elements=["key"],
        set_={
            "revision": case((archived, old.revision), else_=old.revision + new.revision),
            "started_at": started_at,
            "terminal_at": terminal_at,
            "due_at": due_at,
        },
    )


_EXECUTION = (
    "key", "revision", "built_revision", "started_at", "terminal_at", "due_at", "attempts",
)  # fmt: skip


def _upsert_quarantine(database: Database) -> Any:
    insert = database.insert(quarantine)
    return insert.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "count": quarantine.c.count + insert.excluded.count,
            "last_seen": insert.excluded.last_seen,
            "reason": insert.excluded.reason,
        },
    )


# ---------------------------------------------------------------------- rows


def _event_row(one: Event, now: int) -> dict[str, Any]:
    return {
        "hash": one.hash,
        "execution": execution_key(one.execution),
        "kind": one.kind,
        "encoding": one.encoding,
        "phase": one.phase,
        "terminal": one.terminal,
        "occurred_at": to_us(one.occurred_at),
        "received_at": now,
        "payload": one.payload,
    }


def _event(of: ExecutionId, row: Any) -> Event:
    from flytelineage.events import Event

    return Event(
        kind=row.kind,
        execution=of,
        payload=bytes(row.payload),
        encoding=row.encoding,
        hash=bytes(row.hash),
        occurred_at=from_us(row.occurred_at),
        phase=row.phase,
        terminal=row.terminal,
    )


def _executions(
    events: Iterable[Mapping[str, Any]], now: int, waits: Waits
) -> list[dict[str, Any]]:
    """One row per execution of new events, sorted by key."""
    settled, idle = now + seconds(waits.settle), now + seconds(waits.idle)
    first = settled if waits.running else idle
    rows: dict[str, dict[str, Any]] = {}
    for one in events:
        row = rows.get(one["execution"])
        if row is None:
            row = rows[one["execution"]] = {
                "key": one["execution"], "revision": 0, "built_revision": 0,
                "started_at": NOT_BEGUN, "terminal_at": None, "due_at": first,
                "attempts": 0, "now": now, "settled": settled, "over": waits.over,
                "running": waits.running, "silent": idle,
            }  # fmt: skip
        row["revision"] += 1
        if one["kind"] != "execution":  # what FlyteAdmin says of it did not happen in it
            row["started_at"] = min(row["started_at"], one["occurred_at"])
        if one["terminal"]:
            row["terminal_at"] = now
    for row in rows.values():
        if row["terminal_at"] is not None:
            row["due_at"] = min(row["started_at"], now) if waits.over else settled
    return [rows[key] for key in sorted(rows)]


def _bodies(refused: Iterable[Refused], now: int) -> list[dict[str, Any]]:
    """One row per body, sorted by id."""
    rows: dict[str, dict[str, Any]] = {}
    for one in refused:
        body = one.body.encode("utf-8", "surrogatepass")
        id = hashlib.blake2b(body, digest_size=16).hexdigest()
        row = rows.setdefault(
            id,
            {
                "id": id, "body": body, "size": len(body), "count": 0, "first_seen": now,
                "last_seen": now,
            },
        )  # fmt: skip
        row["count"] += 1
        row["reason"] = scrubbed(one.reason)
        row["message_id"], row["source"] = scrubbed(one.message_id), scrubbed(one.source)
    return [rows[id] for id in sorted(rows)]


def _culprit(one: Event, error: RefusedByStoreError) -> Refused:
    from flytelineage.events import body

    return Refused(body=body(one), reason=f"The store refuses it: {error}")


def _quarantined(row: Any) -> Quarantined:
    return Quarantined(
        id=row.id,
        reason=row.reason,
        message_id=row.message_id,
        source=row.source,
        count=row.count,
        first_seen=from_us(row.first_seen),
        last_seen=from_us(row.last_seen),
        body_bytes=row.kept_bytes if row.size is None else row.size,
        emptied=bool(row.size) and not row.kept_bytes,
    )
