"""What the threads of this process hold leases on: kept while they work, and given back.

A lease ends by itself where a process died. Where it lives, work may take longer than that:
another process would begin the same anew, and so would the next one, without end. And what
a lease ends of that nobody gave back seems to end processes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from flytelineage.errors import StoreError

LONGEST_SECONDS = 3600.0
"""So long a lease is kept: whoever works for longer is stuck, and others shall try."""


class _Lease(Protocol):
    """What the store gives out."""

    @property
    def token(self) -> str:
        """Another one with each claim."""


Lease = TypeVar("Lease", bound=_Lease)


class _Held(Generic[Lease]):
    """A lease that somebody works on.

    Attributes:
        since: When it was claimed.
        kept_at: When it was claimed or last kept.
    """

    def __init__(self, lease: Lease, now: float) -> None:
        self.lease = lease
        self.since = self.kept_at = now


class Leases(Generic[Lease]):
    """All leases of one loop; may be used by several threads.

    Args:
        lease_seconds: How long one holds.
        keep: Holds one for as long again.
        release: Gives one back to the store, as never tried.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        lease_seconds: float,
        *,
        keep: Callable[[Lease], object],
        release: Callable[[Lease], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease_seconds = lease_seconds
        self._keep = keep
        self._release = release
        self._clock = clock
        self._held: dict[str, _Held[Lease]] = {}
        self._left: deque[Lease] = deque()

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        """Work on it until the block ends; where the store fails, it is released later."""
        self._held[lease.token] = _Held(lease, self._clock())
        try:
            yield
        except StoreError:
            self._left.append(lease)
            raise
        finally:
            self._held.pop(lease.token, None)

    def keep(self) -> None:
        """Hold those for longer that are worked on for a while.

        Raises:
            StoreError: It does not answer; some may end.
        """
        for held in list(self._held.values()):
            now = self._clock()
            due = now - held.kept_at >= self._lease_seconds / 3
            if due and now - held.since < LONGEST_SECONDS:
                self._keep(held.lease)
                held.kept_at = now

    def let_go(self) -> None:
        """Release those that could not be while the store did not answer.

        Else what they are on would wait until they end, and seem to end processes.

        Raises:
            StoreError: It still does not answer.
        """
        while self._left:
            lease = self._left.popleft()
            try:
                self._release(lease)
            except StoreError:
                self._left.append(lease)
                raise

    @property
    def in_hand(self) -> list[Lease]:
        """Those that are worked on."""
        return [held.lease for held in list(self._held.values())]
