"""DataHub's server, GMS, on loopback: it keeps what it is told and fails on demand.

It speaks what `DataHubRestEmitter` speaks to the RestLI endpoint, applies UPSERT and PATCH
as GMS does, and shows its final state, so that two ways of telling it can be compared:

```python
with GmsDouble() as gms:
    gms.script(Fault(status=503))  # the next batch
    gms.refuse("urn:li:dataset:(urn:li:dataPlatform:s3,bucket/bad,PROD)")
    ...
    assert gms.aspects[urn, "status"] == {"removed": False}
```

Left out: search, events, GraphQL, the OpenAPI endpoints, and the model itself: any aspect
of any entity is accepted.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from flytelineage.testing.patches import PatchRefused, patched

MAX_BATCH_BYTES = 16_000_000
MAX_URN_BYTES = 512

Key = tuple[str, str]
"""A URN and the name of an aspect."""

_SYNC_INDEX = {"X-DataHub-Sync-Index-Update": "true"}
_TIMESERIES = {"dataProcessInstanceRunEvent", "datasetProfile", "operation"}


@dataclass(frozen=True)
class Fault:
    """How one batch goes wrong.

    Attributes:
        status: What is answered; nothing is stored.
        retry_after: The header of that name.
        message: The server's reason.
        hang: Never answer, and store nothing.
        drop: Store the batch, and close the connection without an answer.
        location: Answer with a redirect to there.
        text: Answer with this page instead of JSON.
    """

    status: int = 503
    retry_after: str | None = None
    message: str = "scripted"
    hang: bool = False
    drop: bool = False
    location: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Request:
    """A batch that arrived, whatever became of it.

    Attributes:
        asynchronous: Only to be queued.
        waits_for_search: Each proposal asks for the search index to be written, too.
    """

    proposals: tuple[Key, ...]
    body_bytes: int
    asynchronous: bool
    waits_for_search: bool = False


class GmsDouble:
    """A server of its own for each test.

    Args:
        token: What it asks for; `None` lets everybody in.
        max_bytes: Larger bodies are answered with 413.

    Attributes:
        aspects: The latest value of each versioned aspect.
        events: The values of each time series, by time and message id.
        requests: The batches, in order of arrival.
        connections: How many were opened.
    """

    def __init__(self, *, token: str | None = None, max_bytes: int = MAX_BATCH_BYTES) -> None:
        self.token = token
        self.max_bytes = max_bytes
        self.config: dict[str, Any] = {"noCode": "true", "versions": {}}
        self.aspects: dict[Key, dict[str, Any]] = {}
        self.events: dict[Key, dict[tuple[int, str], dict[str, Any]]] = {}
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

    @property
    def state(self) -> dict[str, Any]:
        """All that it keeps, to compare."""
        with self._lock:
            return deepcopy({"aspects": self.aspects, "events": self.events})

    def script(self, *faults: Fault) -> None:
        """Let the next batches fail, one after the other."""
        self._faults.extend(faults)

    def refuse(self, urn: str, *, status: int = 400) -> None:
        """Refuse each batch that holds a proposal about this URN."""
        self._refused[urn] = status

    def accept(self, urn: str) -> None:
        """Refuse it no longer."""
        self._refused.pop(urn, None)

    def __enter__(self) -> GmsDouble:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # -------------------------------------------------------- what the handler calls

    def take(self, body: bytes) -> Fault | None:
        """Store a batch; or say how it goes wrong."""
        batch = json.loads(body)
        proposals: list[dict[str, Any]] = batch["proposals"]
        keys = tuple((each["entityUrn"], each["aspectName"]) for each in proposals)
        with self._lock:
            waits = all(
                _SYNC_INDEX.items() <= (each.get("headers") or {}).items() for each in proposals
            )
            self.requests.append(Request(keys, len(body), batch["async"] == "true", waits))
            fault = self._faults.popleft() if self._faults else self._objection(keys, body)
            if fault is None or fault.drop:
                try:
                    self._store(proposals)
                except PatchRefused as exc:
                    return Fault(500, message=str(exc))
        return fault

    def wait_until_stopped(self) -> None:
        """Hang."""
        self._stopped.wait()

    def _objection(self, keys: Sequence[Key], body: bytes) -> Fault | None:
        if len(body) > self.max_bytes:
            return Fault(413, message="Payload too large")
        for urn, _ in keys:
            if urn in self._refused:
                return Fault(self._refused[urn], message=f"refused: {urn}")
            if len(quote(urn, safe="*-._")) > MAX_URN_BYTES:
                return Fault(400, message=f"URN is longer than {MAX_URN_BYTES} bytes")
        return None

    def _store(self, proposals: Sequence[dict[str, Any]]) -> None:
        """Keep all, or none if a patch does not fit."""
        aspects: dict[Key, dict[str, Any]] = {}
        for proposal in proposals:
            key = (proposal["entityUrn"], proposal["aspectName"])
            value = json.loads(proposal["aspect"]["value"])
            if proposal["changeType"] == "PATCH":
                aspects[key] = patched(key[1], aspects.get(key, self.aspects.get(key)), value)
            elif key[1] in _TIMESERIES:
                event = (value["timestampMillis"], value.get("messageId", ""))
                self.events.setdefault(key, {})[event] = value
            else:
                aspects[key] = value
        self.aspects.update(aspects)


def _as_batch(body: bytes) -> bytes:
    """A request with one proposal as one with a list of them."""
    one = json.loads(body)
    return json.dumps({"proposals": [one["proposal"]], "async": one["async"]}).encode()


def _handler(gms: GmsDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer waits for 40 ms

        def setup(self) -> None:
            gms.connections += 1
            super().setup()

        def do_GET(self) -> None:
            if self.path == "/config":
                self._answer(200, gms.config)
            elif self._may_enter():
                self._answer(200 if self.path.startswith("/entitiesV2/") else 404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not self._may_enter():
                return
            if self.path == "/aspects?action=ingestProposal":
                body = _as_batch(body)
            elif self.path != "/aspects?action=ingestProposalBatch":
                self._answer(404, {"message": f"no {self.path}"})
                return
            fault = gms.take(body)
            if fault is None:
                self._answer(200, {"value": "success"})
            else:
                self._fail(fault)

        def _may_enter(self) -> bool:
            if gms.token in (None, (self.headers["Authorization"] or "").removeprefix("Bearer ")):
                return True
            self._answer(401, {"message": "Unauthorized"})
            return False

        def _fail(self, fault: Fault) -> None:
            self.close_connection = fault.hang or fault.drop
            if fault.hang:
                gms.wait_until_stopped()
            elif not fault.drop:
                headers = {"Retry-After": fault.retry_after, "Location": fault.location}
                content = fault.text or {"message": fault.message, "status": fault.status}
                self._answer(fault.status, content, headers)

        def _answer(
            self, status: int, content: Any, headers: dict[str, str | None] | None = None
        ) -> None:
            is_page = isinstance(content, str)
            body = (content if is_page else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if is_page else "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep standard error quiet."""

    return Handler
