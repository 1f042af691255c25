"""Deliveries that an operator asks for by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, update

from flytelineage.entities import ExecutionId
from flytelineage.store import deliveries
from flytelineage.store.database import Database, chunks, to_us
from flytelineage.store.keys import execution_key
from flytelineage.store.schema import delivery, execution, lineage
from flytelineage.store.values import Matching

HISTORY = 1000
"""Deliveries that are made for a new target in one transaction."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries; what is empty does not restrict.

    Attributes:
        since: Built at or after that time. With targets it also takes executions that
            a target was never told of.
        until: Built before that time.
        error: A glob: `*` is anything, `?` one character, capitals count as small letters.
            It must match what the last try said, or something that was rejected.
    """

    targets: Sequence[str] = ()
    execution: ExecutionId | None = None
    states: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    error: str = ""

    @property
    def history(self) -> Sequence[str]:
        """Targets that are told of executions that they were never told of."""
        return self.targets if self.since is not None and not self.error else ()

    def told(self) -> Iterator[ColumnElement[bool]]:
        """Conditions on the delivery."""
        yield delivery.c.state.in_(self.states)
        if self.targets:
            yield delivery.c.target.in_(self.targets)
        if self.error:
            like = _like(self.error)
            yield or_(
                delivery.c.error.ilike(like, escape="\\"),
                # A JSON list: what was rejected stands between other words.
                delivery.c.rejections.ilike(f"%{like}%", escape="\\"),
            )

    def built(self) -> Iterator[ColumnElement[bool]]:
        """Conditions on the lineage."""
        if self.execution is not None:
            yield lineage.c.execution == execution_key(self.execution)
        if self.since is not None:
            yield lineage.c.built_at >= to_us(self.since)
        if self.until is not None:
            yield lineage.c.built_at < to_us(self.until)


class Again:
    """Makes deliveries due again, or for the first time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def retry(self, wanted: Wanted, *, dry_run: bool) -> int:
        """Find them, then make them due in transactions of bounded size."""
        known = self._database.read(lambda connection: _known(connection, wanted))
        count = len(known)
        if not dry_run:
            for target, keys in groupby(known, key=lambda pair: pair[0]):
                for some in chunks(key for _, key in keys):
                    self._make_due(target, some)
        return count + sum(self._tell_history(target, wanted, dry_run) for target in wanted.history)

    def matching(self, wanted: Wanted) -> list[Matching]:
        """What `retry` would make due, by target, state and error, the most frequent first."""
        kind = (delivery.c.target, delivery.c.state, delivery.c.error, delivery.c.rejections)
        query = (
            select(*kind, func.count().label("number"))
            .join_from(delivery, lineage, lineage.c.execution == delivery.c.execution)
            .where(*wanted.told(), *wanted.built())
            .group_by(*kind)
        )

        def look(connection: Connection) -> list[Matching]:
            counts: Counter[tuple[str, str, str]] = Counter()
            for row in connection.execute(query):
                counts[row.target, row.state, _reason(row)] += row.number
            for target in wanted.history:
                counts[target, "never told", ""] += len(_untold(connection, target, wanted))
            ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            return [Matching(*which, number) for which, number in ordered if number]

        return self._database.read(look)

    def _make_due(self, target: str, keys: Sequence[str]) -> None:
        def ask(connection: Connection) -> None:
            deliveries.lock(connection, target, keys)
            connection.execute(
                update(delivery)
                .where(
                    delivery.c.target == target,
                    delivery.c.execution.in_(keys),
                    # Retention may have taken it meanwhile, and nothing could be told.
                    exists().where(lineage.c.execution == delivery.c.execution),
                )
                .values(
                    state="due",
                    wanted=delivery.c.wanted + 1,
                    forced=delivery.c.wanted + 1,
                    wanted_at=(now := self._database.now(connection)),
                    due_at=now,
                    attempts=0,
                )
            )

        self._database.write(ask)

    def _tell_history(self, target: str, wanted: Wanted, dry_run: bool) -> int:
        """Make deliveries of executions that were built before the target appeared."""
        rows = self._database.read(lambda connection: _untold(connection, target, wanted))
        for start in range(0, 0 if dry_run else len(rows), HISTORY):
            self._enqueue(target, rows[start : start + HISTORY])
        return len(rows)

    def _enqueue(self, target: str, rows: Sequence[Any]) -> None:
        def make(connection: Connection) -> None:
            now = self._database.now(connection)
            for row in rows:
                deliveries.enqueue(
                    self._database, connection, row._mapping, [target], held=False, now=now
                )

        self._database.write(make)


def _known(connection: Connection, wanted: Wanted) -> list[tuple[str, str]]:
    """Deliveries as (target, execution), sorted."""
    query = (
        select(delivery.c.target, delivery.c.execution)
        .join_from(delivery, lineage, lineage.c.execution == delivery.c.execution)
        .where(*wanted.told(), *wanted.built())
        .order_by(delivery.c.target, delivery.c.execution)
    )
    return [(row.target, row.execution) for row in connection.execute(query)]


def _untold(connection: Connection, target: str, wanted: Wanted) -> Sequence[Any]:
    """Lineages of which a target has no delivery."""
    told = and_(delivery.c.execution == lineage.c.execution, delivery.c.target == target)
    query = (
        select(
            lineage.c.execution,
            lineage.c.revision,
            lineage.c.digest,
            lineage.c.started_at,
            execution.c.pipeline,
        )
        .outerjoin_from(lineage, delivery, told)
        .outerjoin(execution, execution.c.key == lineage.c.execution)
        .where(delivery.c.execution.is_(None), *wanted.built())
        .order_by(lineage.c.execution)
    )
    return connection.execute(query).all()


def _reason(row: Any) -> str:
    """The last error or the first rejection, without the numbers that make each its own."""
    text = row.error or ""
    if not text and row.rejections:
        text = json.loads(row.rejections)[0]["reason"]
    return _NUMBERS.sub("#", text.strip().partition("\n")[0])


_NUMBERS = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f][0-9a-f-]{3,}\b")
"""Ids and times; short numbers are often the code of an error."""


def _like(glob: str) -> str:
    """A glob as SQL has it."""
    escaped = re.sub(r"[\\%_]", r"\\\g<0>", glob)
    return escaped.replace("*", "%").replace("?", "_")
