"""Thousands of rows take a few statements where each of them is a journey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, select

from flytelineage.store import Store, bulk
from flytelineage.store.database import Database
from flytelineage.store.schema import delivery, location, watermark
from tests.store.conftest import T0, Claim, Story, claim

only_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


@pytest.fixture
def database(store: Store) -> Database:
    return store._rooms.database


@pytest.fixture(autouse=True)
def _short_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has rows for several statements."""
    monkeypatch.setattr(bulk, "ROWS", 2)


def mark(aspect: str, **values: Any) -> dict[str, Any]:
    return {"target": "t", "entity": "e", "aspect": aspect, **values}


def marks(connection: Connection) -> list[tuple[Any, ...]]:
    query = select(watermark.c.aspect, watermark.c.stamp, watermark.c.digest)
    return [tuple(row) for row in connection.execute(query.order_by(watermark.c.aspect))]


def test_rows_are_inserted_changed_and_deleted(database: Database) -> None:
    """The same on both databases; what is not named stays, and NULL is a value."""

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        rows = [mark(aspect, stamp=1, digest="d") for aspect in "abcde"]
        bulk.insert_many(connection, database.insert(watermark), rows)
        bulk.update_many(connection, watermark, [mark(x, stamp=2, digest=None) for x in "abc"])
        bulk.delete_many(connection, watermark, [mark(x) for x in "aez"])
        return marks(connection)

    assert database.write(work) == [("b", 2, None), ("c", 2, None), ("d", 1, "d")]


def test_nothing_is_nothing(database: Database) -> None:
    """Not even a statement."""

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        bulk.insert_many(connection, database.insert(watermark), [])
        bulk.update_many(connection, watermark, [])
        bulk.delete_many(connection, watermark, [])
        return marks(connection)

    assert database.write(work) == []


def test_what_is_there_is_met_as_the_insert_says(database: Database) -> None:
    """One by one, so that a lock that makes missing rows leaves the others alone."""
    first = {"key": "b", "registered": True, "dataset": "d"}

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        bulk.insert_many(connection, database.insert(location), [first])
        rows = [{"key": key, "registered": False} for key in "cab"]
        database.lock(connection, location, rows)
        query = select(location.c.key, location.c.registered).order_by(location.c.key)
        return [tuple(row) for row in connection.execute(query)]

    assert database.write(work) == [("a", False), ("b", True), ("c", False)]


@pytest.mark.parametrize("values", [[], ["a"], ["a", "b%_'\\", "\U0001f40d"]])
def test_keys_are_found_among_others(database: Database, values: list[str]) -> None:
    """However they are spelled."""

    def work(connection: Connection) -> list[str]:
        rows = [{"key": key, "registered": False} for key in (*values, "other")]
        bulk.insert_many(connection, database.insert(location), rows)
        among = bulk.among(connection, location.c.key, values)
        return sorted(connection.scalars(select(location.c.key).where(among)))

    assert database.write(work) == sorted(values)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that a server is sent, each as often as it is."""
    sent: list[str] = []

    def note(_c: Any, _u: Any, statement: str, given: Any, _x: Any, many: bool) -> None:
        sent.extend([statement] * (len(given) if many else 1))

    sqlalchemy.event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    sqlalchemy.event.remove(database.engine, "before_cursor_execute", note)


@only_postgresql
def test_an_execution_of_many_tasks_takes_few_statements(
    story: Story, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To prepare it, to settle it, and to make due whom it was told over."""
    monkeypatch.undo()
    claims = [claim(entity=f"task:{number}") for number in range(3000)]
    story.build("a")
    lease = story.claim()

    with counted(database) as sent:
        told = story.store.prepare(lease, claims, raises=True, refresh_seconds=0)
        assert story.store.settle(lease, [*told.values()], [])

    assert len(told) == 3000
    assert len(sent) < 50


def test_thousands_of_holders_are_made_due_at_once(story: Story, store: Store) -> None:
    """Those whose entities were told over by a claim that came too late."""
    for name in "abc":
        story.build(name)
        story.deliver(claim(entity=f"task:{name}"))
    story.build("late")
    late = story.claim()
    told = [Claim(f"task:{name}", "io", T0, "X") for name in "abc"]
    story.clock.advance(100)
    story.claim()

    assert not store.settle(late, told, [])

    query = select(delivery.c.execution).where(delivery.c.forced > 0)
    forced = store._rooms.database.read(lambda connection: connection.scalars(query).all())
    assert len(forced) == 4
