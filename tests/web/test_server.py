"""The port answers, says little, and cannot be worn out."""

from __future__ import annotations

import errno
import http.client
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from flytelineage.errors import ConfigError
from flytelineage.web import WebServer, serve, server
from flytelineage.web.answers import ANSWERS
from tests.web.watched import Watched


@pytest.fixture(scope="module")
def view() -> Watched:
    return Watched()


@pytest.fixture(scope="module")
def served(view: Watched) -> Iterator[WebServer]:
    with serve("127.0.0.1", 0, view) as running:
        yield running


@contextmanager
def answered(
    served: WebServer, method: str, path: str, **headers: str
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        yield connection.getresponse()
    finally:
        connection.close()


def ipv6_works() -> bool:
    with socket.socket(socket.AF_INET6) as trial, suppress(OSError):
        trial.bind(("::1", 0))
        return True
    return False


def raw(served: WebServer, sent: bytes) -> bytes:
    """All that comes back."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as answer:
            return answer.read()


class TestAnswers:
    """What comes over the wire."""

    @pytest.mark.parametrize("path", sorted(ANSWERS))
    def test_paths(self, served: WebServer, view: Watched, path: str) -> None:
        """Each answers as it would without a connection."""
        with answered(served, "GET", path) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == ANSWERS[path](view).content_type
            assert int(answer.headers["Content-Length"]) == len(answer.read())

    def test_query(self, served: WebServer) -> None:
        """It is not looked at."""
        with answered(served, "GET", "/livez?verbose=<script>") as answer:
            assert (answer.status, answer.read()) == (200, b"live\n")

    def test_head(self, served: WebServer) -> None:
        """The same without the body."""
        with answered(served, "HEAD", "/") as answer:
            assert answer.status == 200
            assert int(answer.headers["Content-Length"]) > 0
            assert answer.read() == b""

    def test_unknown_path(self, served: WebServer) -> None:
        """The answer lists what there is, and repeats nothing."""
        with answered(served, "GET", "/<script>alert(1)</script>") as answer:
            body = answer.read()

        assert answer.status == 404
        assert b"/readyz" in body
        assert b"script" not in body

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
    def test_only_looking(self, served: WebServer, method: str) -> None:
        """Nothing can be changed."""
        with answered(served, method, "/") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")

    @pytest.mark.parametrize("path", ["/", "/metrics", "/nowhere"])
    def test_headers(self, served: WebServer, path: str) -> None:
        """No script, no frame, no cache; and nobody learns which Python this is."""
        with answered(served, "GET", path) as answer:
            headers = answer.headers

        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"].strip() == "flytelineage"

    def test_mistake_of_ours(
        self, served: WebServer, view: Watched, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log has it; whoever asked learns only that."""
        view.broken = ValueError("a detail")

        try:
            with answered(served, "GET", "/livez") as answer:
                body = answer.read()
        finally:
            view.broken = None

        assert (answer.status, body) == (500, b"It failed; the log says why\n")
        assert "a detail" in caplog.text


class TestStrangers:
    """Whoever reaches the port."""

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="version"),
            pytest.param(b"<script> <b> <i> <u>\r\n\r\n", id="nonsense"),
            pytest.param(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", id="long line"),
            pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", id="many headers"),
        ],
    )
    def test_no_request(self, served: WebServer, sent: bytes) -> None:
        """It is refused in a few words, none of them the stranger's."""
        answer = raw(served, sent)

        assert b"script" not in answer
        assert b"Content-Security-Policy" in answer or b"HTTP/" not in answer
        assert len(answer) < 1000

    @pytest.mark.parametrize(
        "host", ["localhost", "localhost:8917", "127.0.0.1:8917", "[::1]:8917", "127.9.9.9"]
    )
    def test_this_machine(self, served: WebServer, host: str) -> None:
        """Tunnels and port forwarding lead here, under its names."""
        with answered(served, "GET", "/", Host=host) as answer:
            assert answer.status == 200

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8917", "10.0.0.1", "[", "[x]"])
    def test_rebound_name(self, served: WebServer, host: str) -> None:
        """A page on the web whose name leads to this machine learns nothing."""
        with answered(served, "GET", "/status.json", Host=host) as answer:
            assert (answer.status, answer.read()) == (421, b"Ask for 127.0.0.1 or localhost\n")

    def test_other_addresses(self, view: Watched) -> None:
        """Where all may come, they come under any name."""
        with (
            serve("0.0.0.0", 0, view) as running,
            answered(running, "GET", "/livez", Host="flytelineage.lineage.svc") as answer,
        ):
            assert answer.status == 200

    def test_who_says_nothing(self, monkeypatch: pytest.MonkeyPatch, view: Watched) -> None:
        """Is hung up on in the end."""
        monkeypatch.setattr(server, "MAX_SECONDS", 0.0)

        with serve("127.0.0.1", 0, view) as running:
            assert raw(running, b"GET / HTTP/1.1\r\nHost: local") == b""

    def test_too_many(self, monkeypatch: pytest.MonkeyPatch, view: Watched) -> None:
        """One on top of the bound is closed; when there is room again, it is answered."""
        monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)

        with serve("127.0.0.1", 0, view) as running:
            with socket.create_connection(("127.0.0.1", running.port), timeout=10) as first:
                first.sendall(b"GET /livez HTTP/1.1\r\n")
                try:
                    crowded = raw(running, b"GET /livez HTTP/1.1\r\n\r\n")
                except ConnectionError:
                    crowded = b""
                first.sendall(b"\r\n")
                with first.makefile("rb") as answer:
                    assert answer.read().endswith(b"live\n")
            assert crowded == b""

    def test_no_thread_is_free(self, monkeypatch: pytest.MonkeyPatch, view: Watched) -> None:
        """The connection is closed, and takes nobody's place."""
        monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)

        def full(*_: Any) -> None:
            raise RuntimeError("can't start new thread")

        with serve("127.0.0.1", 0, view) as running:
            with monkeypatch.context() as patch:
                patch.setattr(server.ThreadingHTTPServer, "process_request", full)
                closed = raw(running, b"")
            with answered(running, "GET", "/livez") as answer:
                assert answer.status == 200
        assert closed == b""

    def test_no_file_is_free(self, monkeypatch: pytest.MonkeyPatch, view: Watched) -> None:
        """It is tried again, and not in a hurry; meanwhile callers wait."""
        rests: list[float] = []
        monkeypatch.setattr(server.time, "sleep", rests.append)
        accept = socket.socket.accept

        def full(listening: socket.socket) -> Any:
            if len(rests) < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return accept(listening)

        monkeypatch.setattr(socket.socket, "accept", full)

        with serve("127.0.0.1", 0, view) as running, answered(running, "GET", "/livez") as answer:
            assert answer.status == 200
        assert rests == [server.REST_SECONDS] * 3

    def test_requests_are_not_logged(
        self, served: WebServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Probes come every few seconds."""
        caplog.set_level(logging.INFO)

        with answered(served, "GET", "/livez"):
            pass

        assert caplog.text == ""


class TestListening:
    """Where it listens, and that it ends."""

    def test_taken(self, served: WebServer, view: Watched) -> None:
        """The message says what to type."""
        with (
            pytest.raises(ConfigError, match=r"something else does.*--FlyteLineage.http_port=0"),
            serve("127.0.0.1", served.port, view),
        ):
            pass

    def test_address_of_somebody_else(self, view: Watched) -> None:
        """So does this one."""
        with (
            pytest.raises(ConfigError, match=r"http_port: cannot listen on 192.0.2.1"),
            serve("192.0.2.1", 0, view),
        ):
            pass

    @pytest.mark.parametrize("host", ["", "no such host"])
    def test_no_address(self, view: Watched, host: str) -> None:
        """The option is named."""
        with pytest.raises(ConfigError, match=r"FlyteLineage\.http_host"), serve(host, 0, view):
            pass

    @pytest.mark.skipif(not ipv6_works(), reason="no IPv6 here")
    def test_ipv6(self, view: Watched) -> None:
        """An address of either kind will do."""
        with serve("::1", 0, view) as running:
            connection = http.client.HTTPConnection("::1", running.port, timeout=10)
            connection.request("GET", "/livez")

            assert connection.getresponse().read() == b"live\n"
            connection.close()

    def test_end(self, view: Watched) -> None:
        """After the block nothing is left: no thread, and the port is free again."""
        before = set(threading.enumerate())

        with serve("127.0.0.1", 0, view) as running:
            port = running.port

        assert set(threading.enumerate()) <= before
        with serve("127.0.0.1", port, view) as again:
            assert again.port == port
