"""What brokers of Kafka answer, heard: OpenLineage's client logs a refusal and goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NotDelivered(Exception):
    """Kafka did not take an event."""


class Producer:
    """A producer of `confluent_kafka`, of which `flush` fails when a message was not taken.

    Brokers answer later, while `flush` waits. A message that nobody took within
    `message.timeout.ms` counts as sent there, so without this it would be lost.

    Args:
        producer: Whose messages and answers it passes on.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._refusals: list[str] = []

    def produce(self, *, on_delivery: Callable[[Any, Any], None], **message: Any) -> None:
        """Send a message, in the background."""

        def heard(error: Any, about: Any) -> None:
            if error is not None:
                self._refusals.append(str(error))
            on_delivery(error, about)

        self._producer.produce(**message, on_delivery=heard)

    def flush(self, *, timeout: float) -> int:
        """Wait for the answers; gives how many messages still wait for one.

        Raises:
            NotDelivered: A message was not taken.
        """
        waiting = int(self._producer.flush(timeout=timeout))
        refusals, self._refusals = self._refusals, []
        if refusals:
            raise NotDelivered(refusals[0])
        return waiting
