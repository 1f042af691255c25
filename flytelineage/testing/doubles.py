"""Small real classes that stand in for a queue and for a catalogue."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from flytelineage.entities import Lineage
from flytelineage.sources import Message, Source
from flytelineage.targets import Rejection, Target


class MemorySource(Source):
    """Hands out bodies from memory; what was not deleted comes again on `again()`.

    Args:
        bodies: The messages, oldest first.
        failures: Raised by the next calls of `receive`, one each.
    """

    parallel = True

    def __init__(
        self, bodies: Iterable[str] = (), *, failures: Iterable[Exception] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.failures = list(failures)
        self._lock = threading.Lock()
        self._count = 0
        self.visible: list[Message] = []
        self.in_flight: dict[str, Message] = {}
        self.send(bodies)

    def send(self, bodies: Iterable[str]) -> None:
        """Add messages."""
        with self._lock:
            for body in bodies:
                self._count += 1
                self.visible.append(
                    Message(body=body, handle=str(self._count), id=f"m{self._count}")
                )

    def again(self) -> None:
        """Show what was received and not deleted once more."""
        with self._lock:
            self.visible.extend(self.in_flight.values())
            self.in_flight.clear()

    def receive(self) -> Sequence[Message]:
        """Up to ten messages, at once."""
        with self._lock:
            if self.failures:
                raise self.failures.pop(0)
            taken, self.visible = self.visible[:10], self.visible[10:]
            self.in_flight.update((message.handle, message) for message in taken)
            return taken

    def delete(self, messages: Sequence[Message]) -> None:
        """Forget messages."""
        with self._lock:
            for message in messages:
                self.in_flight.pop(message.handle, None)

    @property
    def exhausted(self) -> bool:
        """Whether every message was deleted."""
        with self._lock:
            return not self.visible and not self.in_flight


class MemoryTarget(Target):
    """Keeps what it was told.

    Args:
        failures: Raised by the next calls of `emit`, one each; `None` lets one pass.
        refuse: Urns of entities to reject.
    """

    remote = False

    def __init__(
        self,
        *,
        failures: Iterable[Exception | None] = (),
        refuse: Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.failures = list(failures)
        self.refuse = set(refuse)
        self.emitted: list[Lineage] = []
        self.aspects: dict[tuple[str, str], Any] = {}

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        """Remember the newest of each aspect."""
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.emitted.append(lineage)
        rejections = []
        for entity in lineage.entities():
            if entity.urn in self.refuse:
                rejections.append(Rejection(entity=entity.urn, reason="refused by script"))
                continue
            self.aspects.update(((entity.urn, name), value) for name, value in entity.aspects())
        return rejections
