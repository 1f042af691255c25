"""Forgets what is old, one small step at a time, and never silently what was not told.

A pass goes through everything once. Each step of it is one transaction of a bounded
number of rows, so that it stands in nobody's way; most of the looking happens in
transactions that only read. Two processes may clean up at once: a row that another one
has is passed over.

An execution whose events go is archived: what was built of it stays, and it is built no
more, as a part of its events would overwrite what all of them gave. What the catalogue
was told last is needed to keep an older execution from staying on top of it: so the
lineage and the deliveries of who holds a watermark stay, whatever their age.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)

from flytelineage.errors import StoreError
from flytelineage.store import ages
from flytelineage.store.bulk import delete_many
from flytelineage.store.database import Database, seconds
from flytelineage.store.intake import NOT_BEGUN
from flytelineage.store.keys import execution_id
from flytelineage.store.schema import (
    asked,
    delivery,
    event,
    execution,
    lineage,
    location,
    quarantine,
    seen_edge,
    waiting,
)
from flytelineage.store.values import Cleaned, Keep, Unsettled
from flytelineage.store.watermark import Watermark

if TYPE_CHECKING:
    from flytelineage.entities import ExecutionId
    from flytelineage.store.values import DeliveryLease

log = logging.getLogger(__name__)

STEP_ROWS = 500
"""Rows that one transaction removes at most."""

STEP_DELIVERIES = 100
"""Deliveries that one step gives up: each in a transaction of its own."""

PASS_SECONDS = 3600.0
"""Between the beginnings of two passes; most of one is looking at what is kept."""

JUMP_SECONDS = 3600.0
"""A clock that gains more than that at once was set, and perhaps wrongly."""

DOUBT_SECONDS = 86_400.0
"""So long nothing is removed then: time for people, or for what corrects clocks."""

LEASE_SECONDS = 60.0
"""For which a delivery that is given up is held."""


@dataclass(slots=True)
class _Step:
    """What one step did.

    Attributes:
        full: There may be more of the same; the next step begins after `last`.
    """

    removed: dict[str, int] = field(default_factory=dict)
    unsettled: list[Unsettled] = field(default_factory=list)
    full: bool = False
    last: Any = None


class Retention:
    """Goes through the store in passes; one thread at a time may call it.

    What it remembers between two steps only spares work: after a crash it begins anew.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watermark = Watermark(database)
        self._steps: Sequence[Callable[[Keep, int, Any], _Step]] = (
            self._give_up,
            self._events,
            self._lineage,
            self._deliveries,
            self._runs,
            self._quarantine,
            self._edges,
            self._questions,
            self._locations,
        )
        self._at = 0
        self._after: Any = None
        self._under_way = False
        self._next_pass: int | None = None
        self._ahead: int | None = None  # the store's time without what has passed
        self._sure_at = -math.inf

    def clean(self, keep: Keep) -> Cleaned:
        """Do the next step of a pass; between two passes nothing."""
        now = self._database.read(self._database.now)
        if self._is_doubtful(now):
            return Cleaned()
        if not self._under_way and self._rests(now):
            return Cleaned()
        step = self._steps[self._at](keep, now, self._after)
        self._after = step.last if step.full else None
        if not step.full:
            self._at = (self._at + 1) % len(self._steps)
        self._under_way = step.full or self._at > 0
        return Cleaned(
            removed={what: count for what, count in step.removed.items() if count},
            unsettled=tuple(step.unsettled),
            more=self._under_way,
        )

    def _is_doubtful(self, now: int) -> bool:
        """Whether the clock was set forward a while ago: then all would seem to be old."""
        elapsed = self._database.elapsed()
        set_by = now - seconds(elapsed) - (self._ahead or 0)
        if self._ahead is not None and set_by > seconds(JUMP_SECONDS):
            log.warning(
                "The clock of the store was set forward by %.0f hours: nothing is removed for its "
                "age within a day. If the clock is wrong now, set it right",
                set_by / 1_000_000 / 3600,
            )
            self._sure_at = elapsed + DOUBT_SECONDS
        self._ahead = now - seconds(elapsed)
        return elapsed < self._sure_at

    def _rests(self, now: int) -> bool:
        """Whether the last pass began a short while ago; if not, the next one begins."""
        if self._next_pass is not None and now < self._next_pass:
            return True
        self._next_pass = now + seconds(PASS_SECONDS)
        return False

    # ------------------------------------------------------------ what was not told

    def _give_up(self, keep: Keep, now: int, _after: Any) -> _Step:
        """Give up deliveries that nobody took for so long, and say which."""
        which = ages.old_deliveries(keep, now)
        query = select(delivery.c.execution, delivery.c.target).where(which)
        found = self._database.read(
            lambda connection: connection.execute(query.limit(STEP_DELIVERIES)).all()
        )
        if not found:
            return _Step()
        token = uuid.uuid4().hex
        rows = self._database.write(lambda c: _take(c, found, which, now, token))
        given_up: list[Unsettled] = []
        for row in rows:
            why, lease = _why(row, now), _Held(execution_id(row.execution), row.target, token)
            try:
                # Of a lease it asks for no more than this one says.
                if self._watermark.give_up(cast("DeliveryLease", lease), why):
                    given_up.append(Unsettled(lease.execution, lease.target, why))
            except StoreError:
                if not given_up:
                    raise
                break  # somebody has to hear of those before
        return _Step(unsettled=given_up, full=len(rows) == STEP_DELIVERIES)

    # ----------------------------------------------------------------------- events

    def _events(self, keep: Keep, now: int, after: Any) -> _Step:
        """Remove the next events in the order in which they came, if they are settled."""
        before = ages.bound(keep.events, now)
        if before is None:
            return _Step()
        page = self._database.read(lambda c: c.execute(_next_events(after or 0)).all())
        rows = list(takewhile(lambda row: row.received_at < before, page))
        if not rows:
            return _Step()
        keys = sorted({row.execution for row in rows})
        bounds = _Bounds(now, before, ages.bound(keep.runs, now))

        def remove(connection: Connection) -> tuple[int, list[Unsettled]]:
            gone, lost = _archive(connection, keys, bounds)
            ids = [row.id for row in rows if row.execution in gone]
            # Another process may have been faster.
            gone_ids = delete(event).where(event.c.id.in_(ids))
            return connection.execute(gone_ids).rowcount if ids else 0, lost

        count, lost = self._database.write(remove)
        return _Step({"events": count}, lost, full=len(rows) == STEP_ROWS, last=rows[-1].id)

    # --------------------------------------------------------- lineage and deliveries

    def _lineage(self, keep: Keep, now: int, after: Any) -> _Step:
        """Remove lineage that is settled and stands in no catalogue any more."""
        before = ages.bound(keep.lineage, now)
        if before is None:
            return _Step()
        since = (lineage.c.built_at, lineage.c.execution)
        query = (
            select(*since)
            .where(lineage.c.built_at < before, *ages.settled(lineage.c.execution))
            .where(*ages.beyond(since, after))
            .order_by(*since)
            .limit(STEP_ROWS)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())

        def remove(connection: Connection) -> int:
            keys = _lock_executions(connection, [row.execution for row in rows], now)
            _lock_deliveries(connection, delivery.c.execution.in_(keys))
            return connection.execute(
                delete(lineage).where(
                    lineage.c.execution.in_(keys),
                    lineage.c.built_at < before,
                    *ages.settled(lineage.c.execution),
                )
            ).rowcount

        return self._removed("lineage", rows, remove)

    def _deliveries(self, keep: Keep, now: int, after: Any) -> _Step:
        """Remove deliveries that are settled and hold no watermark."""
        before = ages.bound(keep.deliveries, now)
        if before is None:
            return _Step()
        key = (delivery.c.execution, delivery.c.target)
        old = (delivery.c.settled_at < before, ~ages.unsettled(), ~ages.holds(*key))
        query = select(*key).where(*old, *ages.beyond(key, after)).order_by(*key).limit(STEP_ROWS)
        rows = self._database.read(lambda connection: connection.execute(query).all())

        def remove(connection: Connection) -> int:
            these = _these(rows)
            _lock_deliveries(connection, these)
            return connection.execute(delete(delivery).where(these, *old)).rowcount

        return self._removed("deliveries", rows, remove)

    def _runs(self, keep: Keep, now: int, after: Any) -> _Step:
        """Remove executions of which nothing else is left."""
        before = ages.bound(keep.runs, now)
        if before is None:
            return _Step()
        # Of those that only FlyteAdmin spoke of nobody knows when they began.
        began = or_(
            execution.c.started_at < before,
            and_(execution.c.started_at >= NOT_BEGUN, execution.c.archived_at < before),
        )
        key = execution.c.key
        left = [exists().where(table.c.execution == key) for table in (lineage, delivery, event)]
        old = (execution.c.archived_at.is_not(None), began, *(~any_left for any_left in left))
        query = select(key).where(*old, *ages.beyond((key,), after)).order_by(key).limit(STEP_ROWS)
        rows = self._database.read(lambda connection: connection.execute(query).all())

        def remove(connection: Connection) -> int:
            keys = _lock_executions(connection, [row.key for row in rows], now)
            return connection.execute(delete(execution).where(key.in_(keys), *old)).rowcount

        return self._removed("runs", rows, remove)

    # -------------------------------------------------------------------- the others

    def _quarantine(self, keep: Keep, now: int, _after: Any) -> _Step:
        return self._by_age("quarantine", quarantine.c.last_seen, keep.quarantine, now)

    def _edges(self, keep: Keep, now: int, _after: Any) -> _Step:
        return self._by_age("", seen_edge.c.seen_at, keep.runs, now)

    def _questions(self, keep: Keep, now: int, _after: Any) -> _Step:
        return self._by_age("", asked.c.asked_at, keep.events, now)

    def _locations(self, keep: Keep, now: int, _after: Any) -> _Step:
        # That a pipeline is known is no place where data lies.
        places = ~location.c.key.startswith("pipeline:")
        return self._by_age("locations", location.c.registered_at, keep.locations, now, places)

    def _by_age(
        self, what: str, at: ColumnElement[int], days: float, now: int, *which: ColumnElement[bool]
    ) -> _Step:
        """Remove rows of a table by a time that stands in them."""
        before = ages.bound(days, now)
        if before is None:
            return _Step()
        table: Any = at.table
        key = tuple(table.primary_key.columns)
        query = select(*key).where(at < before, *which).order_by(*key).limit(STEP_ROWS)
        rows = self._database.read(lambda connection: connection.execute(query).all())

        def remove(connection: Connection) -> int:
            return delete_many(connection, table, [row._asdict() for row in rows], at < before)

        return self._removed(what, rows, remove)

    def _removed(
        self, what: str, rows: Sequence[Any], remove: Callable[[Connection], int]
    ) -> _Step:
        """Write only if there is something to remove; unnamed rows are not counted."""
        if not rows:
            return _Step()
        count = self._database.write(remove)
        return _Step({what: count} if what else {}, full=len(rows) == STEP_ROWS, last=rows[-1])

    # --------------------------------------------------------------------- a dry run

    def old(self, keep: Keep) -> dict[str, int]:
        """How many rows a pass would remove by their age; it looks at all there are."""

        def look(connection: Connection) -> dict[str, int]:
            now = self._database.now(connection)
            return {
                what: int(connection.scalar(select(func.count()).where(*conditions)) or 0)
                for what, conditions in ages.old(keep, now).items()
            }

        return self._database.read(look)


@dataclass(frozen=True, slots=True)
class _Held:
    """The lease of a delivery that is given up."""

    execution: ExecutionId
    target: str
    token: str


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Times before which something is old.

    Attributes:
        settled: For the events of executions that are settled.
        any: For those of all others; `None` keeps them.
    """

    now: int
    settled: int
    any: int | None


def _days(microseconds: int) -> str:
    days = round(microseconds / 1_000_000 / ages.DAY_SECONDS)
    return "a day" if days == 1 else f"{days} days"


def _these(rows: Sequence[Any]) -> ColumnElement[bool]:
    """Deliveries by key; of a list of pairs alone SQLite would look at all there are."""
    keys = [(row.execution, row.target) for row in rows]
    executions = sorted({execution for execution, _ in keys})
    pairs = tuple_(delivery.c.execution, delivery.c.target).in_(keys)
    return and_(delivery.c.execution.in_(executions), pairs)


def _take(
    connection: Connection,
    found: Sequence[Any],
    which: ColumnElement[bool],
    now: int,
    token: str,
) -> Sequence[Any]:
    """Lease deliveries, as they are found now, so that nobody tells them meanwhile."""
    key = (delivery.c.execution, delivery.c.target)
    rows = connection.execute(
        select(delivery)
        .where(_these(found), which)
        .order_by(*key)
        .with_for_update(skip_locked=True)
    ).all()
    if rows:
        connection.execute(
            update(delivery)
            .where(_these(rows))
            .values(
                lease_token=token,
                lease_until=now + seconds(LEASE_SECONDS),
                claimed=delivery.c.wanted,
            )
        )
    return rows


def _why(row: Any, now: int) -> str:
    """What the error of a delivery says that is given up for its age."""
    how = "it was held" if row.state == "held" else "it could not be told"
    why = f"given up: {how} for {_days(now - row.wanted_at)}"
    return f"{why}; the last error: {row.error}" if row.error else why


# ------------------------------------------------------------------------- events


def _next_events(after: int) -> Any:
    """The next events; their ids grow with the time at which they came.

    A condition on that time would look at all of them where none is old.
    """
    return (
        select(event.c.id, event.c.execution, event.c.received_at)
        .where(event.c.id > after)
        .order_by(event.c.id)
        .limit(STEP_ROWS)
    )


def _archive(
    connection: Connection, keys: Sequence[str], bounds: _Bounds
) -> tuple[set[str], list[Unsettled]]:
    """Archive those of the executions that can be; all that are archived by now."""
    rows = _locked(connection, keys)
    waits = set(
        connection.scalars(
            select(delivery.c.execution).where(delivery.c.execution.in_(keys), ages.unsettled())
        )
    )
    gone, fresh, lost = set(), [], []
    for row in rows:
        if row.archived_at is None and not _may_go(connection, row, bounds, row.key in waits):
            continue
        gone.add(row.key)
        if row.archived_at is None:
            fresh.append(row.key)
            lost += _loss(row)
    if fresh:
        connection.execute(
            update(execution)
            .where(execution.c.key.in_(fresh))
            .values(
                archived_at=bounds.now, due_at=None, lease_token=None, lease_until=None,
                built_revision=execution.c.revision, waits_for=None,
            )
        )  # fmt: skip
        connection.execute(delete(waiting).where(waiting.c.execution.in_(fresh)))
    return gone, lost


def _may_go(connection: Connection, row: Any, bounds: _Bounds, waits: bool) -> bool:
    """Whether the events of an execution are needed no more, or were kept for too long."""
    if waits or (row.lease_until or 0) > bounds.now:
        return False
    settled = row.due_at is None and row.terminal_at is not None
    before = bounds.settled if settled else bounds.any
    last = connection.scalar(
        select(event.c.received_at)
        .where(event.c.execution == row.key)
        .order_by(event.c.id.desc())
        .limit(1)
    )
    return before is not None and (last is None or last < before)


def _loss(row: Any) -> list[Unsettled]:
    """What is lost with the events of an execution that was not settled."""
    if row.started_at >= NOT_BEGUN:  # only FlyteAdmin spoke of it
        return []
    if row.terminal_at is None:
        why = "given up: the event that ends it never came"
    elif not row.built_revision:
        why = "given up: it could not be built"
    else:
        return []
    return [
        Unsettled(execution_id(row.key), "", f"{why}: {row.waits_for}" if row.waits_for else why)
    ]


# ----------------------------------------------------------------------- locking


def _locked(connection: Connection, keys: Sequence[str]) -> Sequence[Any]:
    """Lock executions by key, but none that somebody else has."""
    return connection.execute(
        select(execution)
        .where(execution.c.key.in_(keys))
        .order_by(execution.c.key)
        .with_for_update(skip_locked=True)
    ).all()


def _lock_executions(connection: Connection, keys: Sequence[str], now: int) -> list[str]:
    """Those of the executions that could be locked and that nobody builds."""
    return [row.key for row in _locked(connection, keys) if (row.lease_until or 0) <= now]


def _lock_deliveries(connection: Connection, which: ColumnElement[bool]) -> None:
    """Wait until nobody changes these deliveries any more."""
    connection.execute(
        select(delivery.c.execution)
        .where(which)
        .order_by(delivery.c.execution, delivery.c.target)
        .with_for_update()
    )
