"""Answers requests with few threads, and holds its own against strangers.

A connection is good for one request and lives for seconds. There is a bound to how many
there are at once: what comes on top is closed, so that nobody fills the process with
threads.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flytelineage.errors import ConfigError
from flytelineage.web.answers import ANSWERS, Answer, text

if TYPE_CHECKING:
    from flytelineage.web import View

_log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
"""Probes, a Prometheus or two, and some people; each holds a connection for milliseconds."""

MAX_SECONDS = 10.0
"""How long a connection may live. A time-out of the socket alone begins anew with each byte."""

REST_SECONDS = 0.2
"""After a connection that could not be accepted."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""With each answer. Whatever got past the escaping finds that no script runs here."""


@contextmanager
def serve(host: str, port: int, view: View) -> Iterator[WebServer]:
    """Answer requests in threads of its own until the end of the block.

    Args:
        host: The name or address to listen on.
        port: The port; 0 takes any that is free, see `WebServer.port`.
        view: What is shown.

    Raises:
        ConfigError: Nobody can listen there; the message says what to type.
    """
    server = _listening(host, port, view)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="web", daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listening(host: str, port: int, view: View) -> WebServer:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return WebServer(family, (str(address[0]), port), view)
    except socket.gaierror as exc:
        raise ConfigError(
            f"FlyteLineage.http_host: {host!r} is no address of this machine: {exc.strerror}; "
            "type 127.0.0.1, or 0.0.0.0 for all"
        ) from exc
    except OSError as exc:
        taken = exc.errno == errno.EADDRINUSE
        raise ConfigError(
            f"FlyteLineage.http_port: cannot listen on {host}, port {port}: "
            f"{'something else does' if taken else exc.strerror}; choose another with "
            "--FlyteLineage.http_port=PORT, or none with --FlyteLineage.http_port=0"
        ) from exc


class WebServer(ThreadingHTTPServer):
    """Listens; `serve` gives it a life."""

    daemon_threads = True  # nobody waits for a browser when the daemon stops
    request_queue_size = 64

    def __init__(self, family: int, address: tuple[str, int], view: View) -> None:
        self.address_family = family
        self.view = view
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._began: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ip_address(str(self.server_address[0]).partition("%")[0]).is_loopback

    def server_bind(self) -> None:
        """Bind, without looking for the name of this machine, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def get_request(self) -> Any:
        """Accept a connection; where that fails, not again at once.

        No file is free, most likely: the connection then waits, and the loop would spin.
        """
        try:
            return super().get_request()
        except OSError:
            time.sleep(REST_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, as long as there are few."""
        if not self._free.acquire(blocking=False):
            _log.debug("Too many connections at once; closing one from %s", client_address)
            self.shutdown_request(request)
            return
        with self._lock:
            self._began[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started; the caller closes the connection
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            del self._began[request]
        self._free.release()

    def service_actions(self) -> None:
        """Hang up on whoever takes too long; called a few times in a second."""
        latest = time.monotonic() - MAX_SECONDS
        with self._lock:
            late = [one for one, began in self._began.items() if began < latest]
        for request in late:
            with suppress(OSError):  # it just ended by itself
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: whoever hung up does not want to know."""
        _log.debug("A request from %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: WebServer
    timeout = MAX_SECONDS  # between two bytes
    server_version = "flytelineage"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with what is asked for."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """Answer likewise, without the body."""
        self.do_GET()

    def _answer(self) -> Answer:
        if not self._host_is_ours():
            return text(421, "Ask for 127.0.0.1 or localhost")
        answer = ANSWERS.get(self.path.partition("?")[0])
        if answer is None:
            return text(404, f"There is {', '.join(ANSWERS)}")
        try:
            return answer(self.server.view)
        except Exception:
            _log.exception("%s cannot be answered", self.command)
            return text(500, "It failed; the log says why")

    def _host_is_ours(self) -> bool:
        """Whether the browser believes to speak to this machine, where only it can.

        A page from elsewhere could otherwise read ours: its owner has the name of the
        page lead to 127.0.0.1, and for the browser both then are one site.
        """
        if not self.server.on_loopback:
            return True
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            return host in (None, "localhost") or ip_address(host).is_loopback
        except ValueError:  # a name, or nonsense
            return False

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**HEADERS, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no proper request, without repeating any of it."""
        if code == 501:  # so the library calls a method for which there is no function
            self._send(text(405, "Only GET and HEAD are answered", Allow="GET, HEAD"))
        else:
            self._send(text(code, self.responses.get(code, ("Refused",))[0]))

    def log_message(self, format: str, *args: Any) -> None:
        """Tell of requests only in debugging; probes come every few seconds."""
        _log.debug("%s: %s", self.address_string(), format % args)
