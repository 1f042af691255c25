"""A door before a server: it can be shut, kept waiting at, or slammed in the middle.

Clients are given `url` instead of the server's own. What the server knows of it is that
connections come and go.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

BLOCK_BYTES = 65_536


class Gate:
    """Passes bytes both ways while it is open.

    Args:
        url: Of the server, `http://host:port`.

    Attributes:
        connections: How many were let in.
        hanging: New and old connections stay, and nothing passes.
        answer_bytes: After so many bytes of answers a connection is cut; `None` for never.
        delay_seconds: How much later each block of an answer comes.
    """

    def __init__(self, url: str) -> None:
        self.connections = 0
        self.hanging = False
        self.answer_bytes: int | None = None
        self.delay_seconds = 0.0
        self._server = (urlsplit(url).hostname, urlsplit(url).port)
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._door = self._listen(0)
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"

    def open(self) -> None:
        """Let clients in again, at the same address."""
        self._door = self._listen(urlsplit(self.url).port or 0)

    def shut(self) -> None:
        """Refuse connections, and cut those that there are."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.cut()

    def cut(self) -> None:
        """Cut the connections that there are."""
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            _close(end)

    def _listen(self, port: int) -> socket.socket:
        door = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._let_in, args=(door,), daemon=True).start()
        return door

    def _let_in(self, door: socket.socket) -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                _close(client)
                continue
            self.connections += 1
            with self._lock:
                self._ends |= {client, server}
            for way in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        passed = 0
        with suppress(OSError):
            while block := source.recv(BLOCK_BYTES):
                while self.hanging:
                    time.sleep(0.01)
                limit = self.answer_bytes if is_answer else None
                if is_answer and self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if limit is not None and passed + len(block) > limit:
                    sink.sendall(block[: max(0, limit - passed)])
                    break
                sink.sendall(block)
                passed += len(block)
        with self._lock:
            self._ends -= {source, sink}
        for end in (source, sink):
            _close(end)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
