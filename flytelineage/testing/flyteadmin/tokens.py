"""An identity provider that gives tokens to a machine user, over HTTP."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote_plus


class IdentityProvider:
    """Serves `/oauth2/token` on a free loopback port.

    Attributes:
        client_id, client_secret: Who gets a token; may be changed while it runs.
        issued: How many tokens were given; `refused`, how often none was.
        delay_seconds: How long each answer takes.
    """

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.client_id, self.client_secret = client_id, client_secret
        self.issued = self.refused = 0
        self.delay_seconds = 0.0
        self._valid: set[str] = set()
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="identity-provider", daemon=True
        )
        self._thread.start()

    @property
    def token_endpoint(self) -> str:
        """Where tokens are asked for."""
        return f"http://127.0.0.1:{self._server.server_port}/oauth2/token"

    def expire(self) -> None:
        """Let no token count that was given so far."""
        self._valid.clear()

    def knows(self, header: str) -> bool:
        """Whether a call's authorization is a token that holds."""
        return header.removeprefix("Bearer ") in self._valid

    def token(self, authorization: str) -> str | None:
        """A new token, for who shows the right secret."""
        self._stopping.wait(self.delay_seconds)
        user = f"{self.client_id}:{quote_plus(self.client_secret)}"
        if authorization != f"Basic {base64.b64encode(user.encode()).decode()}":
            self.refused += 1
            return None
        return self.issue()

    def issue(self) -> str:
        """A new token, for anybody."""
        self.issued += 1
        token = f"token-{self.issued}"
        self._valid.add(token)
        return token

    def close(self) -> None:
        """Stop serving."""
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(provider: IdentityProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = provider.token(self.headers.get("Authorization", ""))
            if token is None:
                self._answer(401, {"error": "invalid_client", "error_description": "who are you"})
            else:
                self._answer(200, {"access_token": token, "expires_in": 3600})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing to the terminal."""

    return Handler
