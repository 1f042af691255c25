"""Who told what: keeps an older execution from staying on top of a newer one.

There is one row per target, entity and aspect. Its holder is the newest execution that
told the aspect or is about to. Nothing is locked while a target is told, so tellings
may overlap; then each finisher makes the holder tell again.
`digest` is what the catalogue holds for certain, and NULL from before a telling until
the telling is settled.

Every transaction locks watermarks first, then deliveries, both by key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, delete, select, update

from flytelineage.store import deliveries
from flytelineage.store.database import Database, chunks, seconds, to_us
from flytelineage.store.keys import execution_key, scrubbed, short
from flytelineage.store.schema import delivery, watermark
from flytelineage.store.values import Claim, DeliveryLease

if TYPE_CHECKING:
    from flytelineage.targets import Rejection

Pair = tuple[str, str]
"""Entity and aspect."""


@dataclass(slots=True)
class _Changes:
    """What a transaction found it must write; collected first, written in order."""

    updates: list[dict[str, Any]] = field(default_factory=list)
    deletes: list[dict[str, Any]] = field(default_factory=list)
    forced: set[str] = field(default_factory=set)

    def hold(self, row: Any, **values: Any) -> None:
        """Set columns of a watermark; the others stay."""
        columns = {name: getattr(row, name) for name in _COLUMNS} | values
        self.updates.append({**_where(row), **{f"to_{name}": columns[name] for name in _COLUMNS}})

    def raise_to(self, row: Any, claim: Claim, me: str, *, tell: bool) -> None:
        """Take an aspect over; what is to be told is uncertain from now on."""
        taken: dict[str, Any] = {"holder": me, "stamp": to_us(claim.stamp)}
        if row.holder not in (None, me):
            taken |= {"displaced": row.holder, "displaced_stamp": row.stamp}
        if tell:
            taken["digest"] = None
            taken["accepted_at"] = row.accepted_at if row.holder == me else None
        self.hold(row, **taken)

    def stand_by(self, row: Any, claim: Claim, me: str) -> None:
        """Be next in line behind a newer telling that is under way and may come to nothing."""
        next_in_line = (row.displaced_stamp, row.displaced)
        mine = (to_us(claim.stamp), me)
        if row.digest is None and (row.displaced is None or next_in_line < mine):
            self.hold(row, displaced=me, displaced_stamp=mine[0])

    def accept(self, row: Any, claim: Claim, now: int) -> None:
        """The catalogue holds it; whom it was taken from need not come back."""
        self.hold(row, digest=claim.digest, accepted_at=now, displaced=None, displaced_stamp=None)

    def overwrite(self, rows: Iterable[Any]) -> None:
        """Somebody else told over these: their holders tell them again."""
        for row in rows:
            self.hold(row, digest=None)
            self.forced.add(row.holder)

    def take_back(self, row: Any) -> None:
        """Give an aspect back to whom it was taken from, who tells it again.

        Not where the catalogue accepted it from its holder before: that stands there still.
        """
        if row.displaced is None and row.accepted_at is None:
            self.deletes.append(_where(row))
            return
        if row.displaced is None:
            self.hold(row, digest=None)
            return
        self.hold(
            row,
            holder=row.displaced,
            stamp=row.displaced_stamp,
            digest=None,
            displaced=None,
            displaced_stamp=None,
        )
        self.forced.add(row.displaced)

    def write(self, connection: Connection, target: str, now: int) -> None:
        """Write watermarks and make deliveries due; all of them are locked."""
        if self.updates:
            connection.execute(_SET, self.updates)
        if self.deletes:
            connection.execute(_DELETE, self.deletes)
        deliveries.force(connection, target, self.forced, now)


class _LeaseLost(Exception):
    """Rolls back: somebody else has the lease."""


class Watermark:
    """Decides what is told, and settles what was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prepare(
        self, lease: DeliveryLease, claims: Sequence[Claim], *, raises: bool, refresh_seconds: float
    ) -> set[Pair]:
        """Raise the watermark and say what is to be told."""
        wanted = _by_pair(claims)
        if not wanted:
            return set()
        try:
            told = self._database.write(
                lambda connection: self._prepare(connection, lease, wanted, raises, refresh_seconds)
            )
        except _LeaseLost:
            return set()
        return {(wanted[pair].entity, wanted[pair].aspect) for pair in told}

    def settle(
        self, lease: DeliveryLease, told: Sequence[Claim], rejections: Sequence[Rejection]
    ) -> bool:
        """Note what was accepted, if the lease still holds."""
        return self._database.write(
            lambda connection: self._settle(connection, lease, _by_pair(told), rejections)
        )

    def give_up(self, lease: DeliveryLease, error: str) -> bool:
        """Take back what is under way, if the lease still holds."""
        return self._database.write(lambda connection: self._give_up(connection, lease, error))

    def _prepare(
        self,
        connection: Connection,
        lease: DeliveryLease,
        wanted: Mapping[Pair, Claim],
        raises: bool,
        refresh_seconds: float,
    ) -> set[Pair]:
        now, me = self._database.now(connection), execution_key(lease.execution)
        if raises:
            keys = [{"target": lease.target, "entity": e, "aspect": a} for e, a in wanted]
            self._database.lock(connection, watermark, keys)
        rows = _locked(connection, lease.target, wanted)
        # One that failed only tells what nobody has told: the word of a success stands.
        newer = {
            pair for pair, row in rows.items() if not raises or _is_newer(row, wanted[pair], me)
        }
        dropped = [
            row
            for row in _under_way(connection, lease.target, me)
            if (row.entity, row.aspect) not in wanted
        ]
        own = _own(connection, lease, {rows[p].holder for p in newer} | _concerned(dropped))
        if own is None:
            raise _LeaseLost
        since = now if own.forced else now - seconds(refresh_seconds)
        mine = wanted.keys() - newer
        told = {pair for pair in mine if not _is_same(rows.get(pair), wanted[pair], since)}
        changes = _Changes()
        if lease.takeover:  # the claim that died may have told over them
            changes.overwrite(rows[pair] for pair in newer)
        for row in dropped:  # an earlier build claimed them, and nobody accepted them
            changes.take_back(row)
        for pair in newer if raises else ():
            changes.stand_by(rows[pair], wanted[pair], me)
        for pair in mine & rows.keys():
            changes.raise_to(rows[pair], wanted[pair], me, tell=pair in told)
        changes.write(connection, lease.target, now)
        _note_telling(connection, lease, bool(told))
        return told

    def _settle(
        self,
        connection: Connection,
        lease: DeliveryLease,
        told: Mapping[Pair, Claim],
        rejections: Sequence[Rejection],
    ) -> bool:
        now, me = self._database.now(connection), execution_key(lease.execution)
        rows = _locked(connection, lease.target, told)
        own = _own(connection, lease, _concerned(rows.values()))
        changes = _Changes()
        if own is None:
            changes.overwrite(rows.values())
            changes.write(connection, lease.target, now)
            deliveries.doubt(connection, lease, now)  # runs have no holder to tell them again
            return False
        refused = _refused(told, rejections)
        for pair, row in rows.items():
            if row.holder != me:
                changes.overwrite([] if pair in refused else [row])
            elif pair in refused:
                changes.take_back(row)
            elif own.forced <= own.claimed:  # else somebody told over it meanwhile
                changes.accept(row, told[pair], now)
        changes.write(connection, lease.target, now)
        _write_settled(connection, lease, own, rejections, now)
        return True

    def _give_up(self, connection: Connection, lease: DeliveryLease, error: str) -> bool:
        now, me = self._database.now(connection), execution_key(lease.execution)
        rows = _under_way(connection, lease.target, me)
        own = _own(connection, lease, _concerned(rows))
        if own is None:
            deliveries.doubt(connection, lease, now)
            return False
        changes = _Changes()
        for row in rows:
            changes.take_back(row)
        changes.write(connection, lease.target, now)
        values: dict[str, Any] = {"error": scrubbed(error), "error_at": now, "telling": False}
        if own.wanted == own.claimed:
            values |= {"state": "given_up", "due_at": None, "forced": 0, "settled_at": now}
        deliveries.write(connection, lease, **values)
        return True


_COLUMNS = ("holder", "stamp", "digest", "accepted_at", "displaced", "displaced_stamp")

_THIS = (
    watermark.c.target == bindparam("of_target"),
    watermark.c.entity == bindparam("of_entity"),
    watermark.c.aspect == bindparam("of_aspect"),
)
_SET = update(watermark).where(*_THIS).values({name: bindparam(f"to_{name}") for name in _COLUMNS})
_DELETE = delete(watermark).where(*_THIS)


def _where(row: Any) -> dict[str, Any]:
    return {"of_target": row.target, "of_entity": row.entity, "of_aspect": row.aspect}


def _by_pair(claims: Iterable[Claim]) -> dict[Pair, Claim]:
    return {(short(claim.entity), claim.aspect): claim for claim in claims}


def _locked(connection: Connection, target: str, pairs: Iterable[Pair]) -> dict[Pair, Any]:
    """Lock the watermarks that exist; all aspects of an entity at once."""
    wanted = set(pairs)
    return {
        (row.entity, row.aspect): row
        for some in chunks(sorted({entity for entity, _ in wanted}))
        for row in connection.execute(
            select(watermark)
            .where(watermark.c.target == target, watermark.c.entity.in_(some))
            .order_by(watermark.c.entity, watermark.c.aspect)
            .with_for_update()
        )
        if (row.entity, row.aspect) in wanted
    }


def _under_way(connection: Connection, target: str, me: str) -> Sequence[Any]:
    """Lock what an execution holds and nobody accepted since it was raised."""
    return connection.execute(
        select(watermark)
        .where(watermark.c.target == target, watermark.c.holder == me, watermark.c.digest.is_(None))
        .order_by(watermark.c.entity, watermark.c.aspect)
        .with_for_update()
    ).all()


def _own(connection: Connection, lease: DeliveryLease, others: Iterable[str]) -> Any:
    """Lock the deliveries concerned; the own one, if its lease still holds."""
    me = execution_key(lease.execution)
    row = deliveries.lock(connection, lease.target, {me, *others}).get(me)
    return row if row is not None and row.lease_token == lease.token else None


def _concerned(rows: Iterable[Any]) -> set[str]:
    """Executions that settling these watermarks may make due again."""
    return {key for row in rows for key in (row.holder, row.displaced) if key is not None}


def _is_newer(row: Any, claim: Claim, me: str) -> bool:
    if row.holder is None or row.holder == me:
        return False
    return bool((row.stamp, row.holder) > (to_us(claim.stamp), me))


def _is_same(row: Any, claim: Claim, since: int) -> bool:
    """Whether the catalogue holds just that, as far as it was told after `since`."""
    return row is not None and row.digest == claim.digest and row.accepted_at > since


def _refused(told: Iterable[Pair], rejections: Iterable[Rejection]) -> set[Pair]:
    named = {(short(one.entity), one.aspect) for one in rejections}
    return {pair for pair in told if pair in named or (pair[0], None) in named}


def _note_telling(connection: Connection, lease: DeliveryLease, telling: bool) -> None:
    connection.execute(
        update(delivery)
        .where(
            delivery.c.execution == execution_key(lease.execution),
            delivery.c.target == lease.target,
        )
        .values(telling=telling)
    )


def _write_settled(
    connection: Connection,
    lease: DeliveryLease,
    own: Any,
    rejections: Sequence[Rejection],
    now: int,
) -> None:
    """Settle the delivery; it stays due when something asked for it meanwhile."""
    refused = [one.model_dump() for one in rejections]
    values: dict[str, Any] = {
        "attempts": 0,
        "error": None,
        "error_at": None,
        "rejections": json.dumps(refused) if refused else None,
        "settled_at": now,
    }
    if own.forced <= own.claimed:
        values |= {"forced": 0, "telling": False}
    if own.wanted == own.claimed:
        values |= {"state": "delivered", "due_at": None}
    deliveries.write(connection, lease, **values)
