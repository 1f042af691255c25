"""Connections and transactions: the only place that knows which database it is.

Everything else asks a `Database` for a transaction, the time and an insert that can
meet an existing row. SQLite lets one writer in at a time, so a write transaction takes
its lock at the start; PostgreSQL locks rows, always in the order of their keys, and
the rare deadlock that is left is run again.

Lock order of tables, for transactions that touch several: event, location, task_place,
execution, waiting, lineage, seen_edge, watermark, delivery, copy, quarantine; within a
table by key. Deliveries that are woken besides the own one come last, whatever their keys.
The others, of what FlyteAdmin said, are each written in a transaction of their own.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, Table, exc
from sqlalchemy.engine import URL, make_url

from flytelineage.errors import ConfigError, RefusedByStoreError, StoreError
from flytelineage.options import MASK
from flytelineage.store.bulk import insert_many
from flytelineage.store.clock import SteadyClock
from flytelineage.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

T = TypeVar("T")
V = TypeVar("V")

log = logging.getLogger(__name__)

MAX_TRIES = 5
"""How often a transaction that lost to another one is run."""

IN_LIST = 500
"""Values in one IN (...): far below what either database can bind."""

_BUSY_SECONDS = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_LOST = frozenset({"40P01", "40001"})  # deadlock_detected, serialization_failure
_TOO_LARGE = "54000"  # program_limit_exceeded: a key that no index can hold
_PG_NOW = sqlalchemy.text(
    "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
)  # now() would be the time at which the transaction began

_PG_LIMITS = {
    "idle_in_transaction_session_timeout": "1min",  # our transactions never pause
    # psycopg's executemany ends with a Flush, which disarms the one above.
    "transaction_timeout": "10min",  # since PostgreSQL 17
}
_PG_NETWORK = {
    "connect_timeout": 10,  # seconds
    # A server that is gone without a word is noticed in a minute, not in a quarter of an hour.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}

_PG_LIMIT = """
    SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s AND setting = '0'
"""


def to_us(moment: datetime) -> int:
    """Microseconds since 1970; exact, which `timestamp()` is not."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The moment that `to_us` made these of."""
    return _EPOCH + timedelta(microseconds=microseconds)


def maybe_from_us(microseconds: int | None) -> datetime | None:
    """As `from_us`, where there may be none."""
    return None if microseconds is None else from_us(microseconds)


def seconds(number: float) -> int:
    """Seconds as microseconds."""
    return int(number * 1_000_000)


def chunks(values: Iterable[V]) -> Iterator[list[V]]:
    """The values in lists that an IN (...) can take."""
    listed = list(values)
    for start in range(0, len(listed), IN_LIST):
        yield listed[start : start + IN_LIST]


class Raced(StoreError):
    """Another transaction was faster each time.

    Raised by work to be run again from the start, as its view is out of date.
    """


class Database:
    """A database that is connected.

    Args:
        url: Parsed; without a driver for PostgreSQL.
        clock: Tells the time instead of the database or the machine.
        pool_size: Connections that are kept open.
    """

    def __init__(
        self, url: URL, *, clock: Callable[[], datetime] | None = None, pool_size: int = 10
    ) -> None:
        self.engine = _engine(url, pool_size)
        self.dialect = self.engine.dialect.name
        self._reader = self.engine.execution_options(reading=True)
        # What fails while a connection is set up reaches us as the driver raised it.
        self._driver_error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        self._clock = clock
        self.steady = SteadyClock()
        self._password = str(url.password or "")
        self._writer = Writer(self.engine) if self.dialect == "sqlite" else self.engine

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do work in one transaction; `work` runs again when it lost to another one.

        Raises:
            RefusedByStoreError: The data can never be stored; nothing changed.
            StoreError: The database does not answer; nothing changed.
        """
        for tried in range(1, MAX_TRIES + 1):
            try:
                with self._translated(), self._writer.begin() as connection:
                    return work(connection)
            except StoreError as error:
                if tried == MAX_TRIES or not _lost(error):
                    raise
                log.debug("A transaction lost to another one and is run again")
                time.sleep(random.uniform(0, 0.02 * 2**tried))  # noqa: S311
        raise AssertionError("unreachable")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Look in one transaction that changes nothing.

        Raises:
            StoreError: The database does not answer.
        """
        with self._translated(), self._reader.begin() as connection:
            return work(connection)

    def now(self, connection: Connection) -> int:
        """The time that leases and due dates go by."""
        if self._clock is not None:
            return to_us(self._clock())
        if self.dialect == "postgresql":
            return int(connection.execute(_PG_NOW).scalar_one())
        return self.steady.now()

    def elapsed(self) -> float:
        """Seconds that have passed since any moment, by a clock that nobody sets."""
        return self._clock().timestamp() if self._clock is not None else time.monotonic()

    def insert(self, table: Table) -> postgresql.Insert:
        """An insert that knows ON CONFLICT."""
        if self.dialect == "sqlite":
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)  # type: ignore[return-value] # the same methods
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def lock(self, connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Lock rows by primary key until the end of the transaction.

        Rows that are missing are made of what is given. A row that another transaction
        is just making is waited for: that is what serialises the two.
        """
        if not rows:
            return
        keys = [column.name for column in table.primary_key]
        insert = self.insert(table)
        # The row is locked although the condition never holds, and not written.
        insert = insert.on_conflict_do_update(
            index_elements=keys, set_={keys[0]: insert.excluded[keys[0]]}, where=sqlalchemy.false()
        )
        in_order = sorted(rows, key=lambda row: [row[key] for key in keys])
        insert_many(connection, insert, in_order)

    def check(self) -> None:
        """Reach the database and see that it keeps what it has committed.

        Raises:
            ConfigError: It does not, or it is no database.
            StoreError: It does not answer.
        """
        try:
            setting = self.read(self._durability)
        except StoreError as error:
            if _is_damaged(error):
                raise ConfigError(
                    f"{self.describe()} is damaged or no database ({error}): restore it, or move "
                    "it away to begin anew. Nothing was changed"
                ) from error
            raise
        if setting == "off":
            raise ConfigError(
                "The PostgreSQL in Store.url may lose what it has committed: type "
                "ALTER ROLE ... SET synchronous_commit = on"
            )

    def describe(self) -> str:
        """Which database it is, without user and password."""
        url = self.engine.url
        if self.dialect == "sqlite":
            return f"SQLite {url.database}"
        port = f":{url.port}" if url.port else ""
        return f"PostgreSQL {url.host or ''}{port}/{url.database or ''}"

    def close(self) -> None:
        """Close every connection."""
        if isinstance(self._writer, Writer):
            self._writer.close()
        self.engine.dispose()

    def _durability(self, connection: Connection) -> str:
        # SQLite proves its own as it connects; the schema is read to see the file's state.
        query = "SELECT name FROM sqlite_master LIMIT 1"
        if self.dialect == "postgresql":
            query = "SHOW synchronous_commit"
        return str(connection.exec_driver_sql(query).scalar())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the errors of SQLAlchemy and of drivers into ours, without secrets."""
        try:
            yield
        except (exc.DataError, exc.IntegrityError, UnicodeError, OverflowError) as error:
            raise RefusedByStoreError(self._told(error)) from error
        except (exc.SQLAlchemyError, self._driver_error) as error:
            kind = RefusedByStoreError if _sqlstate(error) == _TOO_LARGE else StoreError
            raise kind(self._told(error)) from error

    def _told(self, error: Exception) -> str:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        if self._password:
            reason = reason.replace(self._password, MASK)
        return f"{self.dialect}: {reason}"


def parse_url(url: str) -> URL:
    """Parse the URL of a database that a store can live in.

    Raises:
        ConfigError: It is no URL, or one of another kind of database.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername == "sqlite" and parsed.database not in _MEMORY:
        return parsed
    if parsed is not None and parsed.drivername in _POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError(
        "Store.url names no database that can be used: give sqlite:////path/to/file "
        "or postgresql://host/database"
    )


_MEMORY = (None, "", ":memory:")
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite store; `None` for a server."""
    return Path(url.database or "") if url.drivername == "sqlite" else None


def _engine(url: URL, pool_size: int) -> Engine:
    """Make the engine; each option that is not default says why."""
    shared: dict[str, Any] = {
        "hide_parameters": True,  # errors would show the bodies of messages
        "pool_size": pool_size,
        "max_overflow": 2 * pool_size,
    }
    if url.drivername == "sqlite":
        engine = sqlalchemy.create_engine(url, **shared)
        sqlalchemy.event.listen(engine, "connect", _set_up_sqlite)
        sqlalchemy.event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = sqlalchemy.create_engine(
        url,
        isolation_level="READ COMMITTED",  # what the locking counts on; servers may differ
        pool_pre_ping=True,  # after a failover the pool is full of dead connections
        pool_recycle=1800,  # firewalls forget idle connections
        connect_args={"application_name": "flytelineage", **_PG_NETWORK},
        **shared,
    )
    sqlalchemy.event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    """Take the locks from a process that is frozen or cut off; unless somebody set it.

    Without that the server would wait for it, and every other replica with it.
    """
    connection.autocommit = True
    for name, limit in _PG_LIMITS.items():
        connection.execute(_PG_LIMIT, (limit, name))
    connection.autocommit = False


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    """Make commits durable: the message is deleted from the queue after the commit."""
    connection.isolation_level = None  # the driver's own BEGIN would be deferred
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    journal = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    cursor.execute("PRAGMA synchronous=FULL")
    synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    cursor.close()
    if (journal, synchronous) != ("wal", 2):
        raise ConfigError(
            "The file system of the SQLite store cannot keep it safe (no write-ahead log): "
            "set Store.path or FlyteLineage.state_dir to a local disk, or use PostgreSQL"
        )


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes then fails at once when another wrote
    # in between, whatever the busy timeout: so writers say at the start what they are.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _sqlstate(error: BaseException | None) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _is_damaged(error: StoreError) -> bool:
    """Whether SQLite said that the file is malformed or no database at all.

    It uses the bare class for these two only; `sqlite_errorcode` came with Python 3.11.
    """
    cause = error.__cause__
    return type(getattr(cause, "orig", cause)) is sqlite3.DatabaseError


def _lost(error: StoreError) -> bool:
    return isinstance(error, Raced) or _sqlstate(error.__cause__) in _LOST
