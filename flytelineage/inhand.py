"""What was received and is not deleted yet: bounded in bytes, and known to be given back.

How much a receive brings is not known before: nothing, or ten messages of 1 MiB. So it is
guessed from the ones before; at first the most is expected, and with each that brings less
half of what was expected before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from flytelineage.sources import Message

TIMES = 4
"""How often a body is in memory: in the answer, as text, decoded, and as a row."""

LARGEST_RECEIVE = TIMES * 10 * 1024 * 1024
"""Bytes for ten messages, each as large as SQS carries."""

SMALLEST_RECEIVE = 1024 * 1024
"""Bytes that are expected in any case."""

LOOKS_SECONDS = 0.5
"""How often somebody who waits for room looks whether it is still worth while."""

WAITS_SECONDS = 10.0
"""How long somebody waits for room: whoever takes much longer seems to be stuck."""


class Batch:
    """What one receive brought.

    Attributes:
        messages: Those that are not deleted yet.
        nbytes: What it takes in memory, or is expected to take.
        kept_at: When it was received or last hidden anew.
    """

    def __init__(self, nbytes: int, now: float) -> None:
        self.messages: Sequence[Message] = ()
        self.nbytes = nbytes
        self.kept_at = now


class InHand:
    """All batches; may be used by several threads.

    Args:
        max_bytes: Beyond it nobody receives. One receive is always possible.
        clock: Seconds that only go forward.
    """

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._changed = threading.Condition()
        self._batches: list[Batch] = []
        self._expected = LARGEST_RECEIVE

    @property
    def nbytes(self) -> int:
        """Bytes of memory for what is not deleted yet."""
        with self._changed:
            return sum(batch.nbytes for batch in self._batches if batch.messages)

    @property
    def messages(self) -> list[Message]:
        """Everything that is not deleted yet."""
        with self._changed:
            return [message for batch in self._batches for message in batch.messages]

    def enter(self, *, gives_up: Callable[[], bool]) -> Batch | None:
        """A place for one more batch, until `leave`; waits until there is one.

        Returns:
            `None` where it was not worth while to wait any longer, or took long.
        """
        with self._changed:
            until = self._clock() + WAITS_SECONDS
            while not self._has_room():
                if gives_up() or self._clock() >= until:
                    return None
                self._changed.wait(LOOKS_SECONDS)
            batch = Batch(self._expected, self._clock())
            self._batches.append(batch)
            return batch

    def leave(self, batch: Batch) -> None:
        """Its messages are deleted, or will not be."""
        with self._changed:
            self._batches.remove(batch)
            self._changed.notify_all()

    def hold(self, batch: Batch, messages: Sequence[Message]) -> None:
        """Say what came."""
        with self._changed:
            batch.messages = messages
            batch.nbytes = TIMES * sum(len(message.body) for message in messages)
            self._expected = max(batch.nbytes, self._expected // 2, SMALLEST_RECEIVE)
            batch.kept_at = self._clock()
            self._changed.notify_all()

    def older_than(self, seconds: float) -> list[Message]:
        """Messages that are held for so long; from now on they count as just received."""
        with self._changed:
            now = self._clock()
            old = [batch for batch in self._batches if now - batch.kept_at >= seconds]
            for batch in old:
                batch.kept_at = now
            return [message for batch in old for message in batch.messages]

    def _has_room(self) -> bool:
        held = sum(batch.nbytes for batch in self._batches)
        return not self._batches or held + self._expected <= self._max_bytes
