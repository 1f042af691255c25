"""Keeps quarantine within its bounds while a flood of messages comes in that nobody can read.

Looking how much there is costs as much as there is, so it is done again only once a good
part of what was left is used up, and then more is freed than is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from flytelineage.store.database import chunks
from flytelineage.store.schema import quarantine

log = logging.getLogger(__name__)

SHARE = 16
"""Each look allows for this part of the bound; as much is freed besides."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much quarantine may hold; other processes add to the same, so it is about that."""

    max_bytes: int
    max_rows: int


class QuarantineRoom:
    """Empties the oldest bodies, then removes the oldest rows, in the transaction that adds."""

    def __init__(self) -> None:
        self.bounds: Bounds | None = None
        """`None` keeps everything."""
        self._bytes_left = self._rows_left = 0
        self._removed = 0

    def make(self, connection: Connection, sizes: Sequence[int]) -> None:
        """Make room for bodies of these sizes, which are stored already."""
        bounds = self.bounds
        self._rows_left -= len(sizes)
        self._bytes_left -= sum(sizes)
        if bounds is None or (self._rows_left >= 0 and self._bytes_left >= 0):
            return
        length = func.length(quarantine.c.body)
        rows, size = connection.execute(select(func.count(), func.sum(length))).one()
        if (excess := rows - bounds.max_rows) > 0:
            removed = _remove(connection, excess + bounds.max_rows // SHARE)
            self._removed += removed
            log.warning("Quarantine is full: its %d oldest messages are gone", removed)
        if (excess := int(size or 0) - bounds.max_bytes) > 0:
            emptied = _empty(connection, excess + bounds.max_bytes // SHARE)
            log.warning("Quarantine is full: its %d oldest messages lost their bodies", emptied)
        self._rows_left = bounds.max_rows // SHARE
        self._bytes_left = bounds.max_bytes // SHARE

    def take_removed(self) -> int:
        """How many rows were removed since the last time that this was asked."""
        removed, self._removed = self._removed, 0
        return removed


_AGE = (quarantine.c.last_seen, quarantine.c.id)


def _remove(connection: Connection, count: int) -> int:
    """Remove the rows that were seen the longest ago."""
    ids = connection.scalars(select(quarantine.c.id).order_by(*_AGE).limit(count)).all()
    return sum(
        connection.execute(
            delete(quarantine).where(quarantine.c.id.in_(_locked(connection, some)))
        ).rowcount
        for some in chunks(sorted(ids))
    )


def _empty(connection: Connection, count: int) -> int:
    """Empty the bodies that were seen the longest ago, of so many bytes together; how many."""
    length = func.length(quarantine.c.body)
    upto = func.sum(length).over(order_by=_AGE)
    sizes = select(quarantine.c.id, (upto - length).label("before")).where(length > 0).subquery()
    ids = connection.scalars(select(sizes.c.id).where(sizes.c.before < count)).all()
    for some in chunks(sorted(ids)):
        connection.execute(
            update(quarantine)
            .where(quarantine.c.id.in_(_locked(connection, some)))
            .values(body=b"", size=func.coalesce(quarantine.c.size, length))
        )
    return len(ids)


def _locked(connection: Connection, ids: Sequence[str]) -> Sequence[Any]:
    """Those that nobody else is about to change, so that two floods never wait for each other."""
    return connection.scalars(
        select(quarantine.c.id)
        .where(quarantine.c.id.in_(ids))
        .order_by(quarantine.c.id)
        .with_for_update(skip_locked=True)
    ).all()
