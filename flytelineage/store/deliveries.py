"""The queue of deliveries: one row per execution and target.

`wanted` counts the reasons to tell, `claimed` those that the present claim knew. So a
settled delivery stays due if a newer build or an overwritten entity asked meanwhile.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, and_, bindparam, case, or_, select, update

from flytelineage.entities import Lineage
from flytelineage.store.bulk import among, update_many
from flytelineage.store.database import Database, chunks, from_us, maybe_from_us, seconds
from flytelineage.store.keys import execution_id, execution_key, scrubbed, short
from flytelineage.store.schema import delivery, execution, lineage
from flytelineage.store.values import DeliveryLease

log = logging.getLogger(__name__)

AHEAD = 200
"""Deliveries that are looked at for one that may be told now, where order is kept."""

FREE: Mapping[str, Any] = {"lease_token": None, "lease_until": None}
"""What a row without a lease holds."""


class Deliveries:
    """Leases what is due at a target, and puts off what failed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, target: str, limit: int, *, lease_seconds: float, in_order: bool
    ) -> list[DeliveryLease]:
        """Lease the deliveries that have been due the longest; see `_chosen`."""
        token = uuid.uuid4().hex

        def take(connection: Connection) -> tuple[int, list[tuple[Any, Any]]]:
            now = self._database.now(connection)
            choose = _in_order if in_order else _chosen
            rows = choose(connection, target, now, limit)
            _take(connection, target, rows, token, now + seconds(lease_seconds))
            contents = _contents(connection, [row.execution for row in rows])
            for row in rows:
                if row.execution not in contents:
                    _end(connection, row, "given up: its lineage is gone", now)
            return now, [
                (row, contents[row.execution]) for row in rows if row.execution in contents
            ]

        now, claimed = self._database.write(take)
        # Parsing takes a while, and SQLite lets nobody else write meanwhile.
        leases = [self._lease(row, token, content, now) for row, content in claimed]
        return [lease for lease in leases if lease is not None]

    def hold(self) -> int:
        """Hold what is due and was not asked for."""
        return self._database.write(lambda connection: connection.execute(_HOLD).rowcount)

    def keep(self, lease: DeliveryLease, *, lease_seconds: float) -> bool:
        """Hold a lease for longer, if it still holds."""

        def prolong(connection: Connection) -> bool:
            until = self._database.now(connection) + seconds(lease_seconds)
            own = update(delivery).where(
                delivery.c.execution == execution_key(lease.execution),
                delivery.c.target == lease.target,
                delivery.c.lease_token == lease.token,
            )
            return connection.execute(own.values(lease_until=until)).rowcount > 0

        return self._database.write(prolong)

    def settle_later(
        self, lease: DeliveryLease, wait_seconds: float, error: str, *, counted: bool
    ) -> bool:
        """Give a lease back after a failure."""

        def give_back(connection: Connection) -> bool:
            now = self._database.now(connection)
            own = lock(connection, lease.target, [execution_key(lease.execution)])
            row = own.get(execution_key(lease.execution))
            if row is None or row.lease_token != lease.token:
                doubt(connection, lease, now)
                return False
            write(
                connection,
                lease,
                due_at=None if row.state == "held" else now + seconds(wait_seconds),
                attempts=row.attempts if counted else max(0, row.attempts - 1),
                error=scrubbed(error),
                error_at=now,
            )
            return True

        return self._database.write(give_back)

    def _lease(self, row: Any, token: str, content: Any, now: int) -> DeliveryLease | None:
        """The lease of a claimed row; `None` when its lineage cannot be read."""
        try:
            told = Lineage.model_validate_json(content.body)
        except ValidationError:
            # A newer release wrote it before this one was put back: this one's own
            # build of the execution replaces it.
            log.warning("The lineage of %s cannot be read and is built anew", row.execution)
            self._database.write(lambda connection: _build_anew(self._database, connection, row))
            return None
        ended = content.terminal_at
        return DeliveryLease(
            execution=execution_id(row.execution),
            target=row.target,
            revision=row.revision,
            token=token,
            lineage=told,
            attempts=row.attempts + 1,
            takeover=row.lease_token is not None or row.telling,
            lost=0 if row.lease_token is None else row.lost + 1,
            terminal_at=maybe_from_us(content.terminal_at),
            claimed_at=from_us(now),
            first=row.settled_at is None or (ended is not None and row.settled_at <= ended),
        )


def enqueue(
    database: Database,
    connection: Connection,
    of: Mapping[str, Any],
    targets: Iterable[str],
    *,
    held: bool,
    now: int,
) -> None:
    """Make a delivery of a lineage row due at each target, unless it told just that.

    The row says also of which `pipeline` it is, as an execution's row writes it.
    """
    pipeline = short(of["pipeline"]) if of["pipeline"] else None
    rows = [
        {
            "execution": of["execution"], "target": target, "revision": of["revision"],
            "digest": of["digest"], "state": "held" if held else "due", "wanted": 1,
            "claimed": 0, "wanted_at": now, "forced": 0, "telling": False,
            "due_at": None if held else now, "attempts": 0, "pipeline": pipeline,
            "started_at": of["started_at"],
        }
        for target in sorted(set(targets))
    ]  # fmt: skip
    if rows:
        connection.execute(_upsert(database), rows)


def _upsert(database: Database) -> Any:
    """A row that is leased keeps its lease; one that backs off keeps its pace."""
    insert = database.insert(delivery)
    new, old = insert.excluded, delivery.c
    settled = _is(old.state, "delivered", "given_up")
    told = and_(settled, old.digest == new.digest, old.forced == 0)
    due_at = case(
        (told, None),
        (new.state == "held", None),
        (old.state == "due", old.due_at),
        else_=new.due_at,
    )
    return insert.on_conflict_do_update(
        index_elements=["execution", "target"],
        set_={
            "revision": new.revision,
            "digest": new.digest,
            "state": case((told, old.state), else_=new.state),
            "wanted": case((told, old.wanted), else_=old.wanted + 1),
            "wanted_at": case((and_(settled, ~told), new.wanted_at), else_=old.wanted_at),
            "due_at": due_at,
            "attempts": case((and_(settled, ~told), 0), else_=old.attempts),
            "pipeline": new.pipeline,
            "started_at": new.started_at,
        },
    )


def lock(connection: Connection, target: str, keys: Iterable[str]) -> dict[str, Any]:
    """Lock deliveries of a target, in order, until the end of the transaction."""
    return {
        row.execution: row
        for some in chunks(sorted(set(keys)))
        for row in connection.execute(
            select(delivery)
            .where(delivery.c.target == target, among(connection, delivery.c.execution, some))
            .order_by(delivery.c.execution)
            .with_for_update()
        )
    }


def write(connection: Connection, lease: DeliveryLease, **values: Any) -> None:
    """Let go of a lease and note what became of it."""
    connection.execute(
        update(delivery)
        .where(
            delivery.c.execution == execution_key(lease.execution),
            delivery.c.target == lease.target,
        )
        .values(**FREE, **values)
    )


def force(connection: Connection, target: str, keys: Iterable[str], now: int) -> None:
    """Make deliveries due again even if unchanged: something was told over them."""
    for some in chunks(sorted(set(keys))):
        connection.execute(_FORCE, {"these": some, "at": target, "now": now})


def wake(connection: Connection, now: int, *which: Any) -> None:
    """Make deliveries due that can say more by now; what is unchanged is not told again."""
    told = delivery.c.state == "delivered"
    connection.execute(
        update(delivery)
        .where(delivery.c.state.in_(("due", "delivered")), *which)
        .values(
            wanted=delivery.c.wanted + 1,
            wanted_at=case((told, now), else_=delivery.c.wanted_at),
            due_at=case((told, now), else_=delivery.c.due_at),
            attempts=case((told, 0), else_=delivery.c.attempts),
            state="due",
        )
    )


def doubt(connection: Connection, lease: DeliveryLease, now: int) -> None:
    """Note that a claim that lost its lease may have told something, unknown what.

    The next claim takes it for a takeover and makes the holders of what it wanted to
    tell due again.
    """
    force(connection, lease.target, [execution_key(lease.execution)], now)
    connection.execute(
        update(delivery)
        .where(
            delivery.c.execution == execution_key(lease.execution),
            delivery.c.target == lease.target,
        )
        .values(telling=True)
    )


def _is(state: Any, *states: str) -> Any:
    """One of these states; `IN` cannot be part of a statement with many rows."""
    return or_(*(state == one for one in states))


_HOLD = (
    update(delivery)
    .where(delivery.c.state == "due", delivery.c.forced == 0, delivery.c.lease_token.is_(None))
    .values(state="held", due_at=None)
)


_FORCE = (
    update(delivery)
    .where(
        delivery.c.execution.in_(bindparam("these", expanding=True)),
        delivery.c.target == bindparam("at"),
    )
    .values(
        wanted=delivery.c.wanted + 1,
        forced=delivery.c.wanted + 1,
        wanted_at=case(
            (_is(delivery.c.state, "due", "held"), delivery.c.wanted_at), else_=bindparam("now")
        ),
        due_at=case(
            (_is(delivery.c.state, "due", "held"), delivery.c.due_at), else_=bindparam("now")
        ),
        attempts=case((_is(delivery.c.state, "due", "held"), delivery.c.attempts), else_=0),
        state=case((delivery.c.state == "held", "held"), else_="due"),
    )
)


def _chosen(connection: Connection, target: str, now: int, limit: int) -> list[Any]:
    """Lock the deliveries that are due the longest; of each pipeline its newest instead.

    So a backlog tells only the newest edges of a pipeline: the older executions then find
    that a newer one told them, and tell no more than their runs.
    """
    rows = connection.execute(_oldest(target, now).limit(limit)).all()
    shares = Counter(row.pipeline for row in rows if row.pipeline is not None)
    newest = {
        pipeline: iter(connection.execute(_newest(target, pipeline, now).limit(share)).all())
        for pipeline, share in shares.items()
    }
    # What is locked already is not skipped: there are at least as many of each pipeline.
    chosen = [row if row.pipeline is None else next(newest[row.pipeline]) for row in rows]
    _change_turns(connection, rows, chosen)
    return chosen


def _change_turns(connection: Connection, rows: Sequence[Any], chosen: Sequence[Any]) -> None:
    """Let what was passed over be due since what is told instead was.

    If it stayed the one that waits the longest, all that a busy pipeline brings meanwhile
    would be told in its turn, before what any other pipeline has.
    """
    passed, instead = (
        sorted(
            (row for row in some if row.execution not in {one.execution for one in others}),
            key=lambda row: row.pipeline,
        )
        for some, others in ((rows, chosen), (chosen, rows))
    )
    turns = [
        {"execution": row.execution, "target": row.target, "due_at": other.due_at}
        for pair in zip(passed, instead, strict=True)
        for row, other in (pair, pair[::-1])
    ]
    update_many(connection, delivery, turns)


def _in_order(connection: Connection, target: str, now: int, limit: int) -> Sequence[Any]:
    """Lock the deliveries that are due the longest, of pipelines of which none is being told.

    What is being told was due before what waits for it, so it stands among the first. Only
    those are looked at: a long backlog of one pipeline would have to be read whole.
    """
    columns = (delivery.c.execution, delivery.c.pipeline, delivery.c.lease_until)
    first = _due(select(*columns).where(delivery.c.target == target), now).limit(limit + AHEAD)
    told: set[str] = set()
    free = []
    for row in connection.execute(first):
        if row.lease_until is not None and row.lease_until > now:
            told.add(row.pipeline)
        else:
            free.append(row)
    chosen = [row.execution for row in free if row.pipeline is None or row.pipeline not in told]
    those = _oldest(target, now).where(delivery.c.execution.in_(chosen[:limit]))
    return connection.execute(those).all()


def _oldest(target: str, now: int) -> Any:
    return _due(_claimable(target, now), now)


def _due(rows: Any, now: int) -> Any:
    """Those of the rows that are due, the ones that are due the longest first."""
    due = rows.where(delivery.c.due_at <= now)
    return due.order_by(delivery.c.due_at, delivery.c.execution)


def _newest(target: str, pipeline: str, now: int) -> Any:
    """Those of one pipeline, in the order in which watermarks let them win."""
    due = _claimable(target, now).where(
        delivery.c.pipeline == pipeline,
        # The sum keeps SQLite from the index of due dates, where a backlog is sorted whole.
        delivery.c.due_at.is_not(None),
        delivery.c.due_at + 0 <= now,
    )
    return due.order_by(delivery.c.started_at.desc(), delivery.c.execution.desc())


def _claimable(target: str, now: int) -> Any:
    free = or_(delivery.c.lease_until.is_(None), delivery.c.lease_until <= now)
    return (
        select(delivery).where(delivery.c.target == target, free).with_for_update(skip_locked=True)
    )


def _take(connection: Connection, target: str, rows: Sequence[Any], token: str, until: int) -> None:
    for some in chunks(row.execution for row in rows):
        connection.execute(
            update(delivery)
            .where(delivery.c.target == target, delivery.c.execution.in_(some))
            .values(
                lease_token=token,
                lease_until=until,
                claimed=delivery.c.wanted,
                attempts=delivery.c.attempts + 1,
                lost=lost(delivery),
            )
        )


def lost(table: Any) -> Any:
    """What a claim leaves in `lost`: a lease that is there still never came back."""
    return case((table.c.lease_token.is_not(None), table.c.lost + 1), else_=0)


def _contents(connection: Connection, keys: Sequence[str]) -> dict[str, Any]:
    """The lineages of deliveries that are locked, so of the same revision."""
    content = select(lineage.c.execution, lineage.c.body, execution.c.terminal_at).join_from(
        lineage, execution, execution.c.key == lineage.c.execution, isouter=True
    )
    return {
        row.execution: row
        for some in chunks(keys)
        for row in connection.execute(content.where(lineage.c.execution.in_(some)))
    }


def _build_anew(database: Database, connection: Connection, row: Any) -> None:
    from flytelineage.store.builds import wake

    now = database.now(connection)
    if not wake(connection, [row.execution], now):
        _end(connection, row, "given up: its lineage cannot be read, and its events are gone", now)


def _end(connection: Connection, row: Any, why: str, now: int) -> None:
    """Give up a delivery of which there is nothing to tell, so that nobody claims it again."""
    log.warning("The delivery of %s to %s is %s", row.execution, row.target, why)
    connection.execute(
        update(delivery)
        .where(delivery.c.execution == row.execution, delivery.c.target == row.target)
        .values(
            **FREE, state="given_up", due_at=None, forced=0, error=why, error_at=now,
            settled_at=now,
        )
    )  # fmt: skip
