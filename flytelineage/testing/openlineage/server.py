"""The HTTP side of an OpenLineage backend: it keeps events and fails on demand.

Source: OpenLineage spec/OpenLineage.yml, `POST /api/v1/lineage`; the answers are those of
Marquez. As Marquez it has no batches, and counts an event that comes twice as two.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flytelineage.testing.openlineage.rules import broken_rules

PATH = "/api/v1/lineage"

MAX_BYTES = 1_000_000
"""What the strictest known backend takes, Microsoft Purview."""


@dataclass(frozen=True)
class Fault:
    """How one event goes wrong.

    Attributes:
        status: What is answered; the event is not kept.
        retry_after: The header of that name.
        message: The server's reason.
        hang: Never answer, and do not keep it.
        drop: Keep it, and close the connection without an answer.
        location: Answer with a redirect to there.
    """

    status: int = 503
    retry_after: str | None = None
    message: str = "scripted"
    hang: bool = False
    drop: bool = False
    location: str | None = None


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


class OpenLineageDouble:
    """A server of its own for each test.

    Args:
        token: What it asks for; `None` lets everybody in.
        max_bytes: Larger events are answered with 413.

    Attributes:
        events: What was accepted, in order of arrival.
        requests: What arrived from whoever was let in, in order.
        connections: How many were opened.
    """

    def __init__(self, *, token: str | None = None, max_bytes: int = MAX_BYTES) -> None:
        self.token = token
        self.max_bytes = max_bytes
        self.events: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.connections = 0
        self._refused: dict[str, int] = {}
        self._faults: deque[Fault] = deque()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, *faults: Fault) -> None:
        """Let the next events fail, one after the other."""
        self._faults.extend(faults)

    def refuse(self, name: str, *, status: int = 400) -> None:
        """Refuse each event that names a job or dataset so."""
        self._refused[name] = status

    def accept(self, name: str) -> None:
        """Refuse it no longer."""
        self._refused.pop(name, None)

    def __enter__(self) -> OpenLineageDouble:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

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

    def wait_until_stopped(self) -> None:
        """Hang."""
        self._stopped.wait()

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


def _handler(backend: OpenLineageDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer waits for 40 ms

        def setup(self) -> None:
            backend.connections += 1
            super().setup()

        def do_GET(self) -> None:
            if self._may_enter():
                self._answer(400, {"message": "query param nodeId must not be null"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self._may_enter():
                self._take(body)

        def _may_enter(self) -> bool:
            sent = (self.headers["Authorization"] or "").removeprefix("Bearer ")
            if backend.token not in (None, sent):
                self._answer(401, {"message": "Unauthorized"})
            elif self.path != PATH:
                self._answer(404, {"message": f"no {self.path}"})
            else:
                return True
            return False

        def _take(self, body: bytes) -> None:
            fault = backend.take(body, compressed=self.headers["Content-Encoding"] == "gzip")
            if fault is None:
                self._answer(201, None)
                return
            self.close_connection = fault.hang or fault.drop
            if fault.hang:
                backend.wait_until_stopped()
            elif not fault.drop:
                headers = {"Retry-After": fault.retry_after, "Location": fault.location}
                content = {"code": fault.status, "message": fault.message}
                self._answer(fault.status, content, headers)

        def _answer(
            self, status: int, content: Any, headers: dict[str, str | None] | None = None
        ) -> None:
            body = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep standard error quiet."""

    return Handler
