"""A few threads that do many small things."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Crew:
    """Threads for the time of a `with`.

    No more is begun than runs at once, so that neither a failure nor the end of the
    process waits for what had not begun.

    Args:
        size: How many things are done at once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="copy")

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def each(self, do: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """What came of each thing, in no order.

        Raises:
            Exception: The first failure; nothing is under way any more.
        """
        left, results = iter(things), []
        running = {self._pool.submit(do, thing) for thing in islice(left, self._size)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                results += [future.result() for future in done]
                running |= {self._pool.submit(do, thing) for thing in islice(left, len(done))}
        finally:
            wait(running)
        return results
