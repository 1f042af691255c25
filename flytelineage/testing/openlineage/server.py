"""The HTTP side of an OpenLineage backend: it keeps events and fails on demand.

Source: OpenLineage spec/OpenLineage.yml, `POST /api/v1/lineage`; the answers are those of
Marquez. As Marquez it has no batches, and counts an event that comes twice as two.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

from flytelineage.testing.http import Fault, Handler, HttpDouble
from flytelineage.testing.openlineage.rules import broken_rules

PATH = "/api/v1/lineage"

MAX_BYTES = 1_000_000
"""What the strictest known backend takes, Microsoft Purview."""


@dataclass(frozen=True)
class Request:
    """An event that arrived, whatever became of it.

    Attributes:
        event: As it was sent; `None` where it is no JSON.
        body_bytes: As they were sent, compressed or not.
        compressed: Whether with gzip.
        status: What was answered; `None` where nothing was.
    """

    event: Any
    body_bytes: int
    compressed: bool
    status: int | None


class OpenLineageDouble(HttpDouble):
    """A server of its own for each test; what it can refuse are events of a job or dataset.

    Attributes:
        events: What was accepted, in order of arrival.
        requests: What arrived from whoever was let in, in order.
    """

    def __init__(self, *, token: str | None = None, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(_Handler, token=token, max_bytes=max_bytes)
        self.events: list[dict[str, Any]] = []
        self.requests: list[Request] = []

    # -------------------------------------------------------- what the handler calls

    def take(self, body: bytes, *, compressed: bool) -> Fault | None:
        """Keep an event; or say how it goes wrong."""
        event = _decoded(gzip.decompress(body) if compressed else body)
        with self._lock:
            fault = self._faults.popleft() if self._faults else self._objection(event, body)
            silent = fault is not None and (fault.hang or fault.drop)
            status = None if silent else fault.status if fault else 201
            self.requests.append(Request(event, len(body), compressed, status))
            if fault is None or fault.drop:
                self.events.append(event)
        return fault

    def _objection(self, event: Any, body: bytes) -> Fault | None:
        if len(body) > self.max_bytes:
            return Fault(413, message="Payload too large")
        if broken := broken_rules(event):
            return Fault(400, message="; ".join(broken))
        for name in _names(event):
            if name in self._refused:
                return Fault(self._refused[name], message=f"refused: {name}")
        return None


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _names(event: dict[str, Any]) -> list[str]:
    """The names of the job and the datasets that an event tells."""
    alone = [event[key] for key in ("job", "dataset") if key in event]
    named = [*alone, *(event.get("inputs") or ()), *(event.get("outputs") or ())]
    return [each["name"] for each in named]


class _Handler(Handler):
    """Where events are posted to."""

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """Complain as Marquez does."""
        if self._is_here():
            self.answer(400, {"message": "query param nodeId must not be null"})

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        """Take an event."""
        body = self.body()
        if not self._is_here():
            return
        fault = self.double.take(body, compressed=self.headers["Content-Encoding"] == "gzip")
        if fault is None:
            self.answer(201, None)
        else:
            self.fail(fault, {"code": fault.status, "message": fault.message})

    def _is_here(self) -> bool:
        if not self.may_enter():
            return False
        if self.path != PATH:
            self.answer(404, {"message": f"no {self.path}"})
        return self.path == PATH
