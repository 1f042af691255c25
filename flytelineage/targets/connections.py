"""Connections to a catalogue that several threads use, each by one of them at a time.

Clients of catalogues promise nothing to threads that share one. So each emission borrows
a connection and gives it back: there are never more of them than were needed at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be let go of."""

    def close(self) -> None:
        """Let go."""


Connection = TypeVar("Connection", bound=Closable)


class Connections(Generic[Connection]):
    """Connections that wait for somebody to need them; all methods may be called by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._key: Any = None

    @contextmanager
    def borrowed(self, key: Any, make: Callable[[], Connection]) -> Iterator[Connection]:
        """A connection for the time of the block.

        Args:
            key: What it was made of: with another one, e.g. a new token, those that were
                made before are closed.
            make: Makes one where none is idle.
        """
        connection = self._taken(key, make)
        try:
            yield connection
        finally:
            self._give_back(key, connection)

    def close(self) -> None:
        """Close all that nobody uses; the next one that is needed is made anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _taken(self, key: Any, make: Callable[[], Connection]) -> Connection:
        with self._lock:
            outdated = key != self._key
            self._key = key
            if self._idle and not outdated:
                return self._idle.pop()
        if outdated:
            self.close()
        # One at a time: it may import a client first, and no import likes to be watched.
        with _making:
            return make()

    def _give_back(self, key: Any, connection: Connection) -> None:
        with self._lock:
            if key == self._key:
                self._idle.append(connection)
                return
        connection.close()


_making = threading.Lock()
