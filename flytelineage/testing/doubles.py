"""Small real classes that stand in for a queue, for a catalogue and for FlyteAdmin."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flytelineage.entities import ExecutionId, Lineage
from flytelineage.errors import UnknownToAdmin
from flytelineage.sources import Message, Source
from flytelineage.targets import EdgeKeeper, Rejection

if TYPE_CHECKING:
    from flytelineage.events import Event
    from flytelineage.facts import Identifier


class MemorySource(Source):
    """Hands out bodies from memory; what was not deleted comes again on `again()`.

    Args:
        bodies: The messages, oldest first.
        failures: Raised by the next calls of `receive`, one each.

    Attributes:
        hidden: How many messages were hidden by each call of `hide`, and for how long.
    """

    parallel = True
    visibility_seconds: float | None = None

    def __init__(
        self, bodies: Iterable[str] = (), *, failures: Iterable[Exception] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.failures = list(failures)
        self.hidden: list[tuple[int, float]] = []
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
            self.visible.extend(
                replace(message, receive_count=message.receive_count + 1)
                for message in self.in_flight.values()
            )
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

    def hide(self, messages: Sequence[Message], seconds: float) -> None:
        """Note it."""
        self.hidden.append((len(messages), seconds))

    @property
    def exhausted(self) -> bool:
        """Whether every message was deleted."""
        with self._lock:
            return not self.visible and not self.in_flight


class MemoryTarget(EdgeKeeper):
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


class MemoryAdmin:
    """Knows what it was given, and remembers what it was asked.

    Args:
        records: All events of an execution, its identity first.
        definitions: Serialised workflows and launch plans.
        graphs: What dynamic nodes made, by execution and node.

    Attributes:
        down: What every call raises while it is set.
        calls: Name and first argument of each call.
    """

    def __init__(
        self,
        records: Mapping[ExecutionId, Sequence[Event]] | None = None,
        *,
        definitions: Mapping[Identifier, bytes] | None = None,
        graphs: Mapping[tuple[ExecutionId, str], Event] | None = None,
    ) -> None:
        self.records = dict(records or {})
        self.definitions = dict(definitions or {})
        self.graphs = dict(graphs or {})
        self.down: Exception | None = None
        self.calls: list[tuple[str, Any]] = []

    def execution(self, id: ExecutionId) -> Event:
        """Who ran what."""
        self._called("execution", id)
        for event in self._record(id):
            if event.kind == "execution":
                return event
        raise UnknownToAdmin

    def record_of(self, id: ExecutionId) -> Iterator[Event]:
        """All of it; may fail between any two events."""
        self._called("record_of", id)
        for event in self._record(id):
            self._fail()
            yield event

    def node_events(self, id: ExecutionId) -> Iterator[Event]:
        """What happened at its nodes."""
        self._called("node_events", id)
        yield from (event for event in self._record(id) if event.kind in ("node", "task"))

    def dynamic_closure(self, id: ExecutionId, node_id: str) -> Event:
        """The graph that a dynamic node made."""
        self._called("dynamic_closure", node_id)
        if (id, node_id) not in self.graphs:
            raise UnknownToAdmin
        return self.graphs[id, node_id]

    def workflow(self, identifier: Identifier) -> bytes:
        """A version of a workflow."""
        return self._definition("workflow", identifier)

    def launch_plan(self, identifier: Identifier) -> bytes:
        """A version of a launch plan."""
        return self._definition("launch_plan", identifier)

    def _definition(self, call: str, identifier: Identifier) -> bytes:
        self._called(call, identifier)
        if identifier not in self.definitions:
            raise UnknownToAdmin
        return self.definitions[identifier]

    def _record(self, id: ExecutionId) -> Sequence[Event]:
        if id not in self.records:
            raise UnknownToAdmin
        return self.records[id]

    def _called(self, name: str, argument: Any) -> None:
        self.calls.append((name, argument))
        self._fail()

    def _fail(self) -> None:
        if self.down is not None:
            raise self.down
