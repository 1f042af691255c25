"""What the doubles of HTTP servers have in common: a life, a script of faults, answers."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


@dataclass(frozen=True)
class Fault:
    """How one request goes wrong.

    Attributes:
        status: What is answered; nothing is kept.
        retry_after: The header of that name.
        message: The server's reason.
        hang: Never answer, and keep nothing.
        drop: Keep what was sent, and close the connection without an answer.
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


S = TypeVar("S", bound="HttpDouble")


class HttpDouble:
    """A server on loopback, of its own for each test.

    Args:
        handler: What answers its requests.
        token: What it asks for; `None` lets everybody in.
        max_bytes: Larger bodies are answered with 413.

    Attributes:
        connections: How many were opened.
    """

    def __init__(self, handler: type[Handler], *, token: str | None, max_bytes: int) -> None:
        self.token = token
        self.max_bytes = max_bytes
        self.connections = 0
        self._refused: dict[str, int] = {}
        self._faults: deque[Fault] = deque()
        self._lasting: Fault | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        bound = type(handler.__name__, (handler,), {"double": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, *faults: Fault) -> None:
        """Let the next requests fail, one after the other."""
        self._faults.extend(faults)

    def break_down(self, fault: Fault) -> None:
        """Let all requests fail like this, once the script is over, until `mend`."""
        self._lasting = fault

    def mend(self) -> None:
        """Answer again."""
        self._faults.clear()
        self._lasting = None

    def next_fault(self) -> Fault | None:
        """How the request that just arrived goes wrong."""
        return self._faults.popleft() if self._faults else self._lasting

    def refuse(self, name: str, *, status: int = 400) -> None:
        """Refuse each request that names this."""
        self._refused[name] = status

    def accept(self, name: str) -> None:
        """Refuse it no longer."""
        self._refused.pop(name, None)

    def wait_until_stopped(self) -> None:
        """Hang."""
        self._stopped.wait()

    def __enter__(self: S) -> S:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers in JSON, or with a page, and as a fault says."""

    double: Any
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for 40 ms

    def setup(self) -> None:
        """Count the connection."""
        self.double.connections += 1
        super().setup()

    def body(self) -> bytes:
        """What was posted."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def may_enter(self) -> bool:
        """Whether the token is right; else it was answered."""
        sent = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if self.double.token in (None, sent):
            return True
        self.answer(401, {"message": "Unauthorized"})
        return False

    def fail(self, fault: Fault, content: Any) -> None:
        """Do what a fault says; `content` goes with its status where it has no page."""
        self.close_connection = fault.hang or fault.drop
        if fault.hang:
            self.double.wait_until_stopped()
        elif not fault.drop:
            headers = {"Retry-After": fault.retry_after, "Location": fault.location}
            self.answer(fault.status, fault.text or content, headers)

    def answer(
        self, status: int, content: Any, headers: dict[str, str | None] | None = None
    ) -> None:
        """Answer with JSON, with a page where the content is a text, or with nothing."""
        is_page = isinstance(content, str)
        text = content if is_page else "" if content is None else json.dumps(content)
        body = text.encode()
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
