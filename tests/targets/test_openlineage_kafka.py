"""Delivery to Kafka, where brokers answer after the client went on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from flytelineage.entities import Dataset
from flytelineage.errors import TransientTargetError
from flytelineage.targets.openlineage import OpenLineageTarget

TRANSPORT = {"type": "kafka", "topic": "lineage", "config": {"bootstrap.servers": "kafka:9092"}}
EVENTS = [Dataset(platform="s3", name="lake/orders"), Dataset(platform="s3", name="lake/customers")]


class Broker:
    """Stands for `confluent_kafka.Producer`, which no test may need.

    Args:
        refusal: What the brokers answer; `None` takes everything.
        silent: Whether they do not answer at all.
    """

    def __init__(self, refusal: str | None = None, *, silent: bool = False) -> None:
        self.refusal, self.silent = refusal, silent
        self.taken: list[dict[str, Any]] = []
        self._waiting: list[tuple[dict[str, Any], Callable[[Any, Any], None]]] = []

    def produce(self, *, on_delivery: Callable[[Any, Any], None], **message: Any) -> None:
        self._waiting.append((message, on_delivery))

    def flush(self, *, timeout: float) -> int:
        if self.silent:
            return len(self._waiting)
        for message, answer in self._waiting:
            if self.refusal is None:
                self.taken.append(message)
            answer(self.refusal, message)
        self._waiting = []
        return 0


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OpenLineageTarget]]:
    """Makes targets that speak to a broker."""
    made: list[OpenLineageTarget] = []

    def make(broker: Broker, **options: Any) -> OpenLineageTarget:
        module = ModuleType("confluent_kafka")
        module.Producer = lambda config: broker  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "confluent_kafka", module)
        made.append(OpenLineageTarget(transport={**TRANSPORT, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("flush", [True, False])
def test_taken(target: Callable[..., OpenLineageTarget], flush: bool) -> None:
    """Every event is in the topic before the delivery counts."""
    broker = Broker()

    refused = target(broker, flush=flush).emit(EVENTS)

    assert refused == []
    assert [message["topic"] for message in broker.taken] == ["lineage", "lineage"]


@pytest.mark.parametrize("flush", [True, False])
def test_refused(target: Callable[..., OpenLineageTarget], flush: bool) -> None:
    """What no broker took is told again, though the client goes on."""
    broker = Broker("Local: Message timed out")
    kafka = target(broker, flush=flush)

    with pytest.raises(TransientTargetError, match=r"transport kafka .*Message timed out"):
        kafka.emit(EVENTS)


def test_told_again(target: Callable[..., OpenLineageTarget]) -> None:
    """A refusal does not outlive its delivery."""
    broker = Broker("Local: Message timed out")
    kafka = target(broker)
    with pytest.raises(TransientTargetError):
        kafka.emit(EVENTS)
    broker.refusal = None

    refused = kafka.emit(EVENTS)

    assert (refused, len(broker.taken)) == ([], 2)


def test_no_answer(target: Callable[..., OpenLineageTarget]) -> None:
    """What still waits for an answer is not delivered."""
    kafka = target(Broker(silent=True), flush=False)

    with pytest.raises(TransientTargetError, match="did not answer"):
        kafka.emit(EVENTS)
