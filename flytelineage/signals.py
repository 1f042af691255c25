"""SIGTERM and SIGINT: the first one stops cleanly, the second one at once."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from functools import partial
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Calls something once when the process is asked to stop.

    A context manager, to be entered before anything is built: process 1 of a container
    ignores signals that have no handler. Must be entered in the main thread.

    Attributes:
        received: The signal that came first; `None` while there was none.
    """

    def __init__(self, log: logging.Logger) -> None:
        self.received: signal.Signals | None = None
        self._log = log
        self._came = threading.Event()
        self._stop: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._before: dict[signal.Signals, Any] = {}

    def on_stop(self, *stops: Callable[[], None]) -> None:
        """What to call, in this order; at once when a signal came already."""
        stop = partial(_all, stops)
        with self._lock:
            self._stop = stop
            came = self._came.is_set()
        if came:
            stop()

    def __enter__(self) -> StopSignals:
        self._read_end, self._write_end = os.pipe()
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._watcher.start()
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write_end)
        self._watcher.join()
        os.close(self._read_end)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Python runs this in the main thread, between any two steps, even while that
        # thread holds the lock inside a threading.Event or a log handler. So nothing
        # that takes a lock may be touched here: a byte in a pipe wakes the watcher.
        if self.received is not None:
            os._exit(128 + number)
        self.received = signal.Signals(number)
        os.write(self._write_end, b"!")

    def _watch(self) -> None:
        if not os.read(self._read_end, 1):
            return
        self._log.info("Stopping; what is in hand will be finished. Once more stops at once")
        with self._lock:
            self._came.set()
            stop = self._stop
        if stop is not None:
            stop()


def _all(stops: Iterable[Callable[[], None]]) -> None:
    for stop in stops:
        stop()
