"""Who told what: keeps an older execution from staying on top of a newer one.

There is one row per target, entity and aspect. Its holder is the newest execution that
told the aspect or is about to. Nothing is locked while a target is told, so tellings
may overlap; then each finisher makes the holder tell again.
`digest` is what the catalogue holds for certain, and NULL from before a telling until
the telling is settled. `parts` are those that it may hold; what of them is there no more is
taken away by the next telling, and an entity that was such a part is told to have ended.

Every transaction locks watermarks first, then deliveries, both by key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, update

from flytelineage.entities import Copy, DatasetId
from flytelineage.store import copies, deliveries
from flytelineage.store.bulk import among, delete_many, update_many
from flytelineage.store.database import Database, chunks, from_us, seconds, to_us
from flytelineage.store.held import GONE, ended, former, held, perhaps, surely
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
        self.updates.append({**_key(row), **columns})

    def raise_to(self, row: Any, claim: Claim, me: str, *, tell: bool) -> None:
        """Take an aspect over; what is to be told is uncertain from now on."""
        taken: dict[str, Any] = {"holder": me, "stamp": to_us(claim.stamp)}
        if row.holder not in (None, me):
            taken |= {"displaced": row.holder, "displaced_stamp": row.stamp}
        if tell:
            taken["digest"] = None
            taken["accepted_at"] = row.accepted_at if row.holder == me else None
            taken["parts"] = perhaps(row, claim)
        elif row.parts is None:  # a release told it that did not remember parts
            taken["parts"] = surely(row, claim)
        self.hold(row, **taken)

    def stand_by(self, row: Any, claim: Claim, me: str) -> None:
        """Be next in line behind a newer telling that is under way and may come to nothing."""
        next_in_line = (row.displaced_stamp, row.displaced)
        mine = (to_us(claim.stamp), me)
        if row.digest is None and (row.displaced is None or next_in_line < mine):
            self.hold(row, displaced=me, displaced_stamp=mine[0])

    def accept(self, row: Any, claim: Claim, now: int) -> None:
        """The catalogue holds it; whom it was taken from need not come back."""
        self.hold(
            row,
            digest=claim.digest,
            accepted_at=now,
            displaced=None,
            displaced_stamp=None,
            parts=surely(row, claim),
        )

    def overwrite(self, row: Any, claim: Claim) -> None:
        """Somebody told this claim over it, or may have: its holder tells it again."""
        self.hold(row, digest=None, parts=perhaps(row, claim))
        self.forced.add(row.holder)

    def take_back(self, row: Any) -> None:
        """Give an aspect back to whom it was taken from, who tells it again.

        Not where the catalogue accepted it from its holder before: that stands there still.
        """
        if row.accepted_at is not None:  # who stood by since is older than that
            self.hold(row, digest=None, displaced=None, displaced_stamp=None)
            return
        if row.displaced is None:
            self.deletes.append(_key(row))
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
        update_many(connection, watermark, self.updates)
        delete_many(connection, watermark, self.deletes)
        deliveries.force(connection, target, self.forced, now)


@dataclass(frozen=True, slots=True)
class _Found:
    """What stands in the way of a telling, and what follows from it.

    Attributes:
        me: The execution's key.
        raises: Whether it succeeded, so that it may tell over others.
        takeover: An earlier claim may have told something and never said what.
        rows: The watermarks of all that it claims, as far as there are any.
        newer: Claims that give way.
        mine: The others, each with the parts that it takes away.
        ending: Watermarks of entities that ended with such a part.
        under_way: Watermarks that it raised at an earlier try and claims no more.
    """

    me: str
    raises: bool
    takeover: bool
    rows: Mapping[Pair, Any]
    newer: Mapping[Pair, Claim]
    mine: Mapping[Pair, Claim]
    ending: Mapping[Pair, tuple[Any, Claim]]
    under_way: Sequence[Any]

    @property
    def concerned(self) -> set[str]:
        """Executions that may be made due."""
        return {self.rows[pair].holder for pair in self.newer} | _concerned(self.dropped)

    @property
    def dropped(self) -> list[Any]:
        """What an earlier build claimed and nobody accepted."""
        return [
            row
            for row in self.under_way
            if (row.entity, row.aspect) not in self.ending and not ended(row)
        ]

    def told(self, since: int) -> dict[Pair, Claim]:
        """The claims that the catalogue does not hold since then."""
        return {
            **{
                pair: claim
                for pair, claim in self.mine.items()
                if claim.former or not _is_same(self.rows.get(pair), claim, since)
            },
            **{pair: claim for pair, (_, claim) in self.ends.items()},
        }

    @property
    def ends(self) -> dict[Pair, tuple[Any, Claim]]:
        """What is told to have ended: now, and what somebody told over since."""
        over = {
            (row.entity, row.aspect): (row, _gone(row, row.entity, row.stamp, ended(row)))
            for row in self.under_way
            if ended(row)
        }
        return {**over, **self.ending}

    def changes(self, told: Mapping[Pair, Claim]) -> _Changes:
        """What is written before anything is told."""
        changes = _Changes()
        if self.takeover:  # the claim that died may have told over them
            for pair, claim in self.newer.items():
                changes.overwrite(self.rows[pair], claim)
        for row in self.dropped:
            changes.take_back(row)
        for pair, claim in self.newer.items() if self.raises else ():
            changes.stand_by(self.rows[pair], claim, self.me)
        for pair in self.mine.keys() & self.rows.keys():
            changes.raise_to(self.rows[pair], self.mine[pair], self.me, tell=pair in told)
        for row, claim in self.ends.values():
            changes.raise_to(row, claim, self.me, tell=True)
        return changes


class _LeaseLost(Exception):
    """Rolls back: somebody else has the lease."""


class Watermark:
    """Decides what is told, and settles what was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prepare(
        self, lease: DeliveryLease, claims: Sequence[Claim], *, raises: bool, refresh_seconds: float
    ) -> dict[Pair, Claim]:
        """Raise the watermark and say what is to be told."""
        wanted = _by_pair(claims)
        if not wanted:
            return {}
        try:
            told = self._database.write(
                lambda connection: self._prepare(connection, lease, wanted, raises, refresh_seconds)
            )
        except _LeaseLost:
            return {}
        return {(claim.entity, claim.aspect): claim for claim in told.values()}

    def settle(
        self,
        lease: DeliveryLease,
        told: Sequence[Claim],
        rejections: Sequence[Rejection],
        named: Mapping[DatasetId, Copy],
        *,
        dropped: bool,
    ) -> bool:
        """Note what was accepted, if the lease still holds."""

        def note(connection: Connection) -> bool:
            if not self._settle(connection, lease, _by_pair(told), rejections, dropped):
                return False
            if named and copies.note(self._database, connection, lease.target, named):
                _wake_others(connection, lease, self._database.now(connection))
            return True

        return self._database.write(note)

    def give_up(self, lease: DeliveryLease, error: str, told: Sequence[Claim] = ()) -> bool:
        """Take back what is under way, if the lease still holds."""
        return self._database.write(
            lambda connection: self._give_up(connection, lease, error, _by_pair(told))
        )

    def _prepare(
        self,
        connection: Connection,
        lease: DeliveryLease,
        wanted: Mapping[Pair, Claim],
        raises: bool,
        refresh_seconds: float,
    ) -> dict[Pair, Claim]:
        now = self._database.now(connection)
        found = self._look(connection, lease, wanted, raises)
        own = _own(connection, lease, found.concerned)
        if own is None:
            raise _LeaseLost
        told = found.told(now if own.forced else now - seconds(refresh_seconds))
        found.changes(told).write(connection, lease.target, now)
        _note_telling(connection, lease, bool(told))
        return told

    def _look(
        self,
        connection: Connection,
        lease: DeliveryLease,
        wanted: Mapping[Pair, Claim],
        raises: bool,
    ) -> _Found:
        """Lock all watermarks concerned, those that are to be raised made first."""
        raised = [pair for pair, claim in wanted.items() if raises or claim.always]
        keys = [{"target": lease.target, "entity": e, "aspect": a} for e, a in raised]
        self._database.lock(connection, watermark, keys)
        me = execution_key(lease.execution)
        rows = _locked(connection, lease.target, wanted)
        # One that failed only tells what nobody has told: the word of a success stands.
        newer = {
            pair
            for pair, row in rows.items()
            if not (raises or wanted[pair].always) or _is_newer(row, wanted[pair], me)
        }
        mine = {
            pair: replace(claim, former=former(rows.get(pair), claim))
            for pair, claim in wanted.items()
            if pair not in newer
        }
        under_way = [
            row
            for row in _under_way(connection, lease.target, me)
            if (row.entity, row.aspect) not in wanted
        ]
        return _Found(
            me=me,
            raises=raises,
            takeover=lease.takeover,
            rows=rows,
            newer={pair: wanted[pair] for pair in newer},
            mine=mine,
            ending=_ending(connection, lease.target, rows, mine, me),
            under_way=under_way,
        )

    def _settle(
        self,
        connection: Connection,
        lease: DeliveryLease,
        told: Mapping[Pair, Claim],
        rejections: Sequence[Rejection],
        dropped: bool,
    ) -> bool:
        now, me = self._database.now(connection), execution_key(lease.execution)
        rows = _locked(connection, lease.target, told)
        own = _own(connection, lease, _concerned(rows.values()))
        changes = _Changes()
        if own is None:
            for pair, row in rows.items():
                changes.overwrite(row, told[pair])
            changes.write(connection, lease.target, now)
            deliveries.doubt(connection, lease, now)  # runs have no holder to tell them again
            return False
        refused = _refused(told, rejections)
        for pair, row in rows.items():
            if row.holder != me:
                if pair not in refused:
                    changes.overwrite(row, told[pair])
            elif pair in refused:
                changes.take_back(row)
            elif own.forced <= own.claimed:  # else somebody told over it meanwhile
                changes.accept(row, told[pair], now)
        changes.write(connection, lease.target, now)
        _write_settled(connection, lease, own, rejections, now, dropped=dropped)
        return True

    def _give_up(
        self, connection: Connection, lease: DeliveryLease, error: str, told: Mapping[Pair, Claim]
    ) -> bool:
        now, me = self._database.now(connection), execution_key(lease.execution)
        known = _locked(connection, lease.target, told)
        others = {pair: row for pair, row in known.items() if row.holder != me}
        rows = _under_way(connection, lease.target, me)
        own = _own(connection, lease, _concerned([*rows, *others.values()]))
        changes = _Changes()
        for pair, row in others.items():  # the target may have taken it before it refused
            changes.overwrite(row, told[pair])
        if own is None:
            changes.write(connection, lease.target, now)
            deliveries.doubt(connection, lease, now)
            return False
        for row in rows:
            changes.take_back(row)
        changes.write(connection, lease.target, now)
        values: dict[str, Any] = {"error": scrubbed(error), "error_at": now, "telling": False}
        if own.wanted == own.claimed:
            values |= {"state": "given_up", "due_at": None, "forced": 0, "settled_at": now}
        deliveries.write(connection, lease, **values)
        return True


_COLUMNS = (
    "holder", "stamp", "digest", "accepted_at", "displaced", "displaced_stamp", "parts",
)  # fmt: skip


def _key(row: Any) -> dict[str, Any]:
    return {"target": row.target, "entity": row.entity, "aspect": row.aspect}


def _by_pair(claims: Iterable[Claim]) -> dict[Pair, Claim]:
    return {(short(claim.entity), claim.aspect): claim for claim in claims}


def _locked(connection: Connection, target: str, pairs: Iterable[Pair]) -> dict[Pair, Any]:
    """Lock the watermarks that exist; all aspects of an entity at once."""
    wanted = set(pairs)
    rows = _locked_entities(connection, target, {entity for entity, _ in wanted})
    return {(row.entity, row.aspect): row for row in rows if (row.entity, row.aspect) in wanted}


def _locked_entities(connection: Connection, target: str, entities: Iterable[str]) -> Iterator[Any]:
    """Lock all that is known of some entities, by key."""
    for some in chunks(sorted(entities)):
        yield from connection.execute(
            select(watermark)
            .where(watermark.c.target == target, among(connection, watermark.c.entity, some))
            .order_by(watermark.c.entity, watermark.c.aspect)
            .with_for_update()
        )


def _ending(
    connection: Connection,
    target: str,
    rows: Mapping[Pair, Any],
    mine: Mapping[Pair, Claim],
    me: str,
) -> dict[Pair, tuple[Any, Claim]]:
    """Lock what is known of the entities that end with a part that goes.

    One of which a newer execution told anything is there.
    """
    gone = dict(_going(rows, mine))
    for entity, _ in mine:
        gone.pop(entity, None)  # it is told: so it is there
    found, there = {}, set()
    for row in _locked_entities(connection, target, gone):
        urn, part, claim = gone[row.entity]
        if _is_newer(row, claim, me):
            there.add(row.entity)
        found[row.entity, row.aspect] = (row, _gone(row, urn, to_us(claim.stamp), part))
    return {pair: end for pair, end in found.items() if pair[0] not in there}


def _going(
    rows: Mapping[Pair, Any], mine: Mapping[Pair, Claim]
) -> Iterator[tuple[str, tuple[str, str, Claim]]]:
    """The entities that parts take along, by key: their `urn`, the part and its claim."""
    for pair, claim in mine.items():
        parts = held(rows[pair]) if claim.former else {}
        for part in claim.former:
            if urn := parts[part]:
                yield short(urn), (urn, part, claim)


def _gone(row: Any, urn: str, stamp: int, ends: str) -> Claim:
    return Claim(
        urn,
        row.aspect,
        from_us(stamp),
        GONE,
        parts={} if row.parts else None,
        former=frozenset(held(row)),
        ends=ends,
    )


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


def _wake_others(connection: Connection, lease: DeliveryLease, now: int) -> None:
    """Make the other targets due: they can name copies now that they could not before."""
    me = execution_key(lease.execution)
    deliveries.wake(connection, now, delivery.c.execution == me, delivery.c.target != lease.target)


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
    *,
    dropped: bool,
) -> None:
    """Settle the delivery; it stays due when something asked for it meanwhile."""
    refused = [one.model_dump() for one in rejections]
    values: dict[str, Any] = {
        "attempts": 0,
        "error": None,
        "error_at": None,
        "rejections": json.dumps(refused) if refused else None,
        "settled_at": now,
        "dropped": dropped,
    }
    if own.forced <= own.claimed:
        values |= {"forced": 0, "telling": False}
    if own.wanted == own.claimed:
        values |= {"state": "delivered", "due_at": None}
    deliveries.write(connection, lease, **values)
