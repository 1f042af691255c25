"""Merges calls that happen at once into few: group commits, batched deletes.

Hides who works for whom: a thread that finds nobody at work does the work of all that
wait, and they wait for it. Nobody waits for company: alone, a call runs at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _Call(Generic[Item]):
    """One caller: what of its items is still to come, and what became of the others."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.pending = len(items)
        self.left: set[int] = set()  # by identity, as the function gave them back
        self.error: BaseException | None = None


class Grouped(Generic[Item]):
    """A function of a list that several threads call together.

    ```python
    commit = Grouped(record)
    commit(events)  # returns once these events were in a list that `record` took
    ```

    Items keep the order in which callers came. A call may be split over two lists, so
    each item must stand for itself.

    Args:
        function: Gets the items of all waiting callers in one list. Returns those it
            could not deal with, as the same objects; `None` or nothing means all is
            done. If it raises, everyone with an item in that list gets the error.
        max_items: The longest list that it is given.
        parallel: Whether a list that is full may be worked on beside another one.
            Waiting could not make it fuller. Otherwise there is one list at a time.
    """

    def __init__(
        self,
        function: Callable[[list[Item]], Collection[Item] | None],
        *,
        max_items: int = 1000,
        parallel: bool = False,
    ) -> None:
        self._function = function
        self._max_items = max_items
        self._parallel = parallel
        self._waiting: deque[tuple[_Call[Item], Item]] = deque()
        self._changed = threading.Condition()
        self._busy = 0

    def __call__(self, items: Iterable[Item]) -> list[Item]:
        """Wait until `function` has had all items.

        Returns:
            Those of `items` that it gave back, in their order; empty when all is done.

        Raises:
            BaseException: What the function raised for a list with one of `items`. All
                of them must then count as not done.
        """
        items = list(items)
        call = _Call(items)
        with self._changed:
            self._waiting.extend((call, item) for item in items)
            while call.pending:
                if self._may_lead():
                    self._lead()
                else:
                    self._changed.wait()
        if call.error is not None:
            raise call.error
        # Two lists that were worked on side by side may end in any order.
        return [item for item in items if id(item) in call.left]

    @property
    def waiting(self) -> int:
        """How many items wait for their turn."""
        return len(self._waiting)

    def _may_lead(self) -> bool:
        if not self._waiting:
            return False
        return not self._busy or (self._parallel and len(self._waiting) >= self._max_items)

    def _lead(self) -> None:
        """Work on one list, with the lock released meanwhile."""
        size = min(self._max_items, len(self._waiting))
        group = [self._waiting.popleft() for _ in range(size)]
        self._busy += 1
        self._changed.release()
        error: BaseException | None = None
        left: Collection[Item] = ()
        try:
            left = self._function([item for _, item in group]) or ()
        except BaseException as exc:
            # Also what only this thread is meant to get: the others must not wait for ever.
            error = exc
        finally:
            self._changed.acquire()
            self._busy -= 1
        self._tell(group, {id(item) for item in left}, error)
        self._changed.notify_all()

    @staticmethod
    def _tell(
        group: Iterable[tuple[_Call[Item], Item]], left: set[int], error: BaseException | None
    ) -> None:
        for call, item in group:
            call.pending -= 1
            if error is not None:
                call.error = error
            elif id(item) in left:
                call.left.add(id(item))
