"""The one connection that writes to an SQLite file.

SQLite lets one writer in at a time, so a second one would be of no use. Its cache is large:
the hashes of events fall anywhere into their index, and a transaction that does not fit is
written twice. Each connection has a cache of its own, and a program many that only read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

CACHE_KIB = 16_000
"""How much of the file the writer keeps in memory."""

CLOSING_SECONDS = 5.0
"""How long a transaction that is under way may hold up the end."""


class Writer:
    """Transactions that write, one after the other.

    Args:
        engine: Makes connections; SQLite's own wait for its lock is unfair and sleeps, so
            threads queue here.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that ends with the block; whatever fails, the next one begins anew."""
        with self._lock:
            connection = self._connection or self._connected()
            self._connection = None
            try:
                with connection.begin():
                    yield connection
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def close(self) -> None:
        """Close the connection, unless somebody is stuck with it."""
        if not self._lock.acquire(timeout=CLOSING_SECONDS):
            return
        try:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        finally:
            self._lock.release()

    def _connected(self) -> Connection:
        connection = self._engine.connect()
        connection.detach()  # or the pool would lend it, with its large cache, to readers
        # The driver's own cursor: SQLAlchemy's would begin a transaction for it.
        connection.connection.cursor().execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return connection
