"""SQLite has one connection that writes, whatever becomes of what it is used for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from flytelineage.errors import StoreError
from flytelineage.store import writer
from flytelineage.store.database import Database

PATIENCE = 10.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(make_url(f"sqlite:///{tmp_path}/store.sqlite3"))
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE kept (it INTEGER)"))
    yield database
    database.close()


def keep(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO kept VALUES (1)")


def cache(connection: Connection) -> object:
    return connection.exec_driver_sql("PRAGMA cache_size").scalar()


def kept(database: Database) -> object:
    query = "SELECT count(*) FROM kept"
    return database.read(lambda connection: connection.exec_driver_sql(query).scalar())


def test_only_the_writer_has_a_large_cache(database: Database) -> None:
    """Or ten connections would hold ten times as much."""
    writing, reading = database.write(cache), database.read(cache)

    assert writing == -writer.CACHE_KIB
    assert reading == -2000  # SQLite's own


def test_what_fails_is_undone_and_the_next_one_goes_on(database: Database) -> None:
    def fail(connection: Connection) -> None:
        keep(connection)
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StoreError):
        database.write(fail)
    database.write(keep)

    assert kept(database) == 1
    assert database.write(cache) == -writer.CACHE_KIB


def test_threads_write_one_after_the_other(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: database.write(keep), range(40)))

    assert kept(database) == 40


def test_nobody_waits_for_ever_for_somebody_who_is_stuck(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends all the same, and what was not committed is gone with it."""
    monkeypatch.setattr(writer, "CLOSING_SECONDS", 0.01)
    inside, go_on = threading.Event(), threading.Event()

    def hang(connection: Connection) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(database.write, hang)
        assert inside.wait(PATIENCE)
        database.close()
        go_on.set()
        stuck.result(PATIENCE)

    database.close()
