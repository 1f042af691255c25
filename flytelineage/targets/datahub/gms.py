"""Delivery to DataHub's server, GMS.

A batch is refused as a whole, so one that is refused is halved until the culprits stand
alone: one bad aspect never takes its neighbours down. Of a batch that it accepts GMS does
not say what it left out, so nothing may be sent that it could not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

import requests
from datahub.configuration.common import OperationalError
from datahub.emitter.rest_emitter import DataHubRestEmitter, EmitMode

from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError
from flytelineage.options import redact
from flytelineage.targets.datahub.proposals import Proposal, Refusal

MAX_REASON = 500
"""Characters of the server's reason that are kept."""

Mode = Literal["sync", "sync_wait", "async"]

_MODES = {
    "sync": EmitMode.SYNC_PRIMARY,
    "sync_wait": EmitMode.SYNC_WAIT,
    "async": EmitMode.ASYNC,
}
# The client asks for this only at the OpenAPI endpoint, but GMS heeds it everywhere.
# Source: datahub-project/datahub, Constants.SYNC_INDEX_UPDATE_HEADER_NAME.
_WAIT_FOR_SEARCH = {"X-DataHub-Sync-Index-Update": "true"}

_HINT = "DataHubTarget.server must be GMS (https://host:8080) or the front end's /api/gms"

# What is wrong with a batch; other answers of this kind are about who asks, or where.
_REFUSALS = {400, 409, 412, 413, 422}
_TOO_LARGE = 413
_BUSY = {408, 425, 429}


class Gms:
    """One server, spoken to by one thread at a time.

    Args:
        server: The server's URL.
        token: An access token; `None` takes what the environment gives DataHub's client.
        connect_timeout_seconds: How long to wait for a connection.
        timeout_seconds: How long to wait for an answer.
        batch_size: Proposals in one request.
        mode: What the server does before it says yes: `sync` stores, `sync_wait` also
            indexes, `async` only queues.
    """

    def __init__(
        self,
        server: str,
        token: str | None,
        *,
        connect_timeout_seconds: float,
        timeout_seconds: float,
        batch_size: int,
        mode: Mode = "sync",
    ) -> None:
        self._server = server.rstrip("/")
        self._batch_size = batch_size
        self._mode = mode
        self._emitter = DataHubRestEmitter(
            self._server,
            token=token,
            connect_timeout_sec=connect_timeout_seconds,
            read_timeout_sec=timeout_seconds,
            # The daemon tries again itself, and in the client a server that is down
            # would hold this thread for half a minute.
            retry_max_times=0,
            # Its keep-alive sends a second time after a broken handshake.
            tcp_keepalive=False,
            # One ordered request; the OpenAPI endpoint takes one for each entity type.
            openapi_ingestion=False,
        )
        # A redirect turns POST into GET: a login page would then look like success.
        self._emitter.session.max_redirects = 0
        self._emitter.session.hooks["response"].append(self._check_answer)

    def send(self, name: str, proposals: Sequence[Proposal]) -> list[Refusal]:
        """Deliver in order; when this returns, the server said yes to the rest.

        Raises:
            TransientTargetError: Perhaps a part was stored.
            TargetUnavailable: The token is refused, or this is not GMS.
        """
        size = self._batch_size
        batches = [proposals[start : start + size] for start in range(0, len(proposals), size)]
        return [refusal for batch in batches for refusal in self._send(batch)]

    def check(self) -> None:
        """See that this is GMS and that it accepts the token.

        Raises:
            ConfigError: It does not answer, is something else, or refuses the token.
        """
        try:
            self._meet()
            self._get(f"/entitiesV2/{quote('urn:li:dataPlatform:flyte', safe='')}")
        except (TargetUnavailable, TransientTargetError) as exc:
            raise ConfigError(str(exc)) from exc

    def close(self) -> None:
        """Close the connection."""
        self._emitter.close()

    def _send(self, batch: Sequence[Proposal]) -> list[Refusal]:
        mcps = [each.mcp for each in batch]
        if self._mode == "sync_wait":
            for mcp in mcps:
                mcp.headers = dict(_WAIT_FOR_SEARCH)
        try:
            self._emitter.emit_mcps(mcps, _MODES[self._mode])
        except OperationalError as exc:
            reason = self._refusal(exc)
            if len(batch) == 1:
                return [Refusal(batch[0], reason)]
            middle = len(batch) // 2
            return [*self._send(batch[:middle]), *self._send(batch[middle:])]
        return []

    def _refusal(self, exc: OperationalError) -> str:
        """Why the server refuses what it was given; raises if that is not at fault."""
        response = getattr(exc.__cause__, "response", None)
        if response is None:
            raise TransientTargetError(self._silent(exc.__cause__ or exc)) from exc
        self._raise_unless_refused(response)
        text = str(exc.info.get("message") or exc.message)
        return redact(f"{response.status_code}: {text}")[:MAX_REASON]

    def _raise_unless_refused(self, response: requests.Response) -> None:
        status = response.status_code
        if status in {401, 403}:
            raise TargetUnavailable(
                f"{self} answers {status}: DataHubTarget.token must be a valid access token "
                f"with the privileges to edit entities and lineage{_said(response)}"
            )
        if status in _BUSY or status >= 500:
            raise TransientTargetError(
                f"{self} answers {status}", retry_after=_retry_after(response)
            )
        # GMS says in JSON what it refuses; a page comes from a proxy that understands nothing.
        if status not in _REFUSALS or (status != _TOO_LARGE and _content(response) is None):
            raise TargetUnavailable(f"{self} answers {status}: {_HINT}")

    def _check_answer(self, response: requests.Response, **_: Any) -> None:
        """Take nothing for a yes that GMS did not say: proxies answer 200 with a login page.

        They may also answer 204, or 302 without saying where to, and no client minds those.
        """
        minded = response.status_code >= 400 or response.is_redirect
        if response.request.method != "POST" or minded:
            return
        answer = _content(response) or {}
        if isinstance(status := answer.get("status"), int) and status >= 400:
            response.status_code = status
        elif "value" not in answer:
            raise TargetUnavailable(f"{self} is not DataHub's server: {_HINT}")

    def _meet(self) -> None:
        """Make sure that this is GMS."""
        response = self._get("/config")
        if response.status_code != 200 or (_content(response) or {}).get("noCode") != "true":
            raise TargetUnavailable(f"{self} is not DataHub's server: {_HINT}")

    def _get(self, path: str) -> requests.Response:
        try:
            response = self._emitter.session.get(self._server + path)
        except requests.RequestException as exc:
            if exc.response is None:
                raise TransientTargetError(self._silent(exc)) from exc
            response = exc.response
        if not response.ok and response.status_code != 404:
            self._raise_unless_refused(response)
        return response

    def _silent(self, cause: BaseException) -> str:
        # urllib3 wraps what happened in the news that it will not try again.
        reason = getattr(cause.args[0] if cause.args else None, "reason", cause)
        return f"{self} does not answer: {type(reason).__name__}; see DataHubTarget.server"

    def __str__(self) -> str:
        return redact(self._server)


def _content(response: requests.Response) -> dict[str, Any] | None:
    """The JSON object of an answer; `None` where it is something else."""
    try:
        content = response.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _said(response: requests.Response) -> str:
    """What GMS gives as reason: of a refused privilege, on which entities."""
    message = str((_content(response) or {}).get("message") or "")
    return redact(f"; DataHub says: {message}")[:MAX_REASON] if message else ""


def _retry_after(response: requests.Response) -> float | None:
    """Seconds to wait; servers may also name a date, which we leave to our backoff."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None
