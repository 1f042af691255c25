"""Delivery to DataHub's server, GMS.

A batch is refused as a whole, so one that is refused is halved until the culprits stand
alone: one bad aspect never takes its neighbours down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

import requests
from datahub.configuration.common import OperationalError
from datahub.emitter.rest_emitter import DataHubRestEmitter, EmitMode

from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError
from flytelineage.targets.datahub.proposals import Proposal, Refusal

MAX_REASON = 500
"""Characters of the server's reason that are kept."""

_HINT = "DataHubTarget.server must be GMS (https://host:8080) or the front end's /api/gms"


class Gms:
    """One server, spoken to by one thread at a time.

    Args:
        server: The server's URL.
        token: An access token; `None` takes what the environment gives DataHub's client.
        connect_timeout_seconds: How long to wait for a connection.
        timeout_seconds: How long to wait for an answer.
        batch_size: Proposals in one request.
    """

    def __init__(
        self,
        server: str,
        token: str | None,
        *,
        connect_timeout_seconds: float,
        timeout_seconds: float,
        batch_size: int,
    ) -> None:
        self._server = server.rstrip("/")
        self._batch_size = batch_size
        self._known = False
        self._emitter = DataHubRestEmitter(
            self._server,
            token=token,
            connect_timeout_sec=connect_timeout_seconds,
            read_timeout_sec=timeout_seconds,
            # The daemon tries again itself, and in the client a server that is down
            # would hold this thread for half a minute.
            retry_max_times=0,
            # One ordered request; the OpenAPI endpoint takes one for each entity type.
            openapi_ingestion=False,
        )
        # A redirect turns POST into GET: a login page would then look like success.
        self._emitter.session.max_redirects = 0

    def send(self, name: str, proposals: Sequence[Proposal]) -> list[Refusal]:
        """Deliver in order; when this returns, the rest is stored by the server.

        Raises:
            TransientTargetError: Perhaps a part was stored.
            TargetUnavailable: The token is refused, or this is not GMS.
        """
        if not self._known:
            self._meet()
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
        try:
            # Not asynchronously: then "yes" would only mean that it stands in a queue.
            self._emitter.emit_mcps([each.mcp for each in batch], EmitMode.SYNC_PRIMARY)
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
        return _masked(f"{response.status_code}: {text}")[:MAX_REASON]

    def _raise_unless_refused(self, response: requests.Response) -> None:
        status = response.status_code
        if status in {401, 403}:
            raise TargetUnavailable(
                f"{self} answers {status}: DataHubTarget.token must be a valid access token "
                "with the privileges to edit entities and lineage"
            )
        if 300 <= status < 400 or status in {404, 405}:
            raise TargetUnavailable(f"{self} answers {status}: {_HINT}")
        if status in {408, 425, 429} or status >= 500:
            raise TransientTargetError(
                f"{self} answers {status}", retry_after=_retry_after(response)
            )

    def _meet(self) -> None:
        """Make sure that this is GMS, before anything counts as delivered."""
        response = self._get("/config")
        try:
            is_gms = response.status_code == 200 and response.json().get("noCode") == "true"
        except (ValueError, AttributeError):
            is_gms = False
        if not is_gms:
            raise TargetUnavailable(f"{self} is not DataHub's server: {_HINT}")
        self._known = True

    def _get(self, path: str) -> requests.Response:
        try:
            response = self._emitter.session.get(self._server + path)
        except requests.RequestException as exc:
            if exc.response is None:
                raise TransientTargetError(self._silent(exc)) from exc
            response = exc.response
        if response.status_code != 404:
            self._raise_unless_refused(response)
        return response

    def _silent(self, cause: BaseException) -> str:
        # urllib3 wraps what happened in the news that it will not try again.
        reason = getattr(cause.args[0] if cause.args else None, "reason", cause)
        return f"{self} does not answer: {type(reason).__name__}; see DataHubTarget.server"

    def __str__(self) -> str:
        return _masked(self._server)


def _masked(text: str) -> str:
    """The text without user names and passwords of URLs."""
    return re.sub(r"//[^/@\s]+@", "//********@", text)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds to wait; servers may also name a date, which we leave to our backoff."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None
