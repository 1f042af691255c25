"""Delivery by OpenLineage's client: any of its transports, and its errors as ours.

Hides what the client does by itself and a daemon must not: it mixes in what the
environment and the directory say, tries again on its own, follows redirects to pages that
say yes to anything, and swallows the failure of one of several transports.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from openlineage.client import OpenLineageClient
from openlineage.client.transport import (
    AsyncHttpTransport,
    CompositeTransport,
    ConsoleTransport,
    DatadogTransport,
    FileTransport,
    HttpTransport,
    KafkaTransport,
    NoopTransport,
    TransformTransport,
    Transport,
    get_default_factory,
)

from flytelineage import durable
from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError
from flytelineage.options import redact
from flytelineage.targets.openlineage.events import Event
from flytelineage.targets.openlineage.kafka import NotDelivered, Producer
from flytelineage.targets.openlineage.settings import NOT_CONFIGURED, tells_all, with_defaults

MAX_REASON = 500
"""Characters of the server's reason that are kept."""

_SERVERS = (HttpTransport, AsyncHttpTransport)


class Connection:
    """One transport, spoken to by one thread at a time.

    Args:
        transport: As the client takes it, with our defaults for what it does not say; empty
            takes what the environment and `openlineage.yml` say, as the client does.
        timeout_seconds: How long to wait for what is sent in the background.
    """

    def __init__(self, transport: Mapping[str, Any], *, timeout_seconds: float = 60.0) -> None:
        self._timeout = timeout_seconds
        self._emits: list[Callable[[Event], Any]]
        if transport:
            self._transport = _made(transport)
            self._emits = _ways(self._transport, each=tells_all(transport))
        else:
            client = _client()
            self._transport = client.transport
            self._emits = [client.emit]
        self._each = list(_each(self._transport))
        for one in self._each:
            _prepare(one)
        self._addresses = {_address(one) for one in self._each if isinstance(one, _SERVERS)}
        self._failed = self._count_failed()

    def __str__(self) -> str:
        """What kind of transport it is, e.g. `composite of http and file`."""
        kinds = [str(one.kind) for one in self._each]
        whole = str(self._transport.kind)
        return whole if kinds == [whole] else f"{whole} of {' and '.join(kinds)}"

    def begin(self) -> None:
        """Mend files in which a full disk or a power cut left a part of a line.

        Raises:
            TargetUnavailable: One cannot be written.
        """
        for one in self._each:
            if isinstance(one, FileTransport):
                _mend(one)

    def send(self, event: Event) -> str | None:
        """Deliver one event.

        Returns:
            Why it was refused; `None` when it was accepted.

        Raises:
            TransientTargetError: Perhaps it was accepted.
            TargetUnavailable: Everything is refused until somebody acts.
        """
        refusals = [self._sent(emit, event) for emit in self._emits]
        return "; ".join(filter(None, refusals)) or None

    def _sent(self, emit: Callable[[Event], Any], event: Event) -> str | None:
        try:
            emit(event)
        except Exception as exc:  # whatever a transport raises: there is no class for it
            return self._refusal(exc)
        return None

    def finish(self) -> None:
        """Make durable, or wait for, what was sent.

        Raises:
            TransientTargetError: Something was not delivered.
        """
        for one in self._each:
            if isinstance(one, AsyncHttpTransport):
                self._await(one)
            if isinstance(one, KafkaTransport):
                self._await_brokers(one)
            if isinstance(one, FileTransport):
                _sync(one)

    def check(self) -> None:
        """Reach the servers, or see that files could be written.

        Raises:
            ConfigError: What is wrong and what to do.
        """
        for one in self._each:
            if isinstance(one, _SERVERS):
                self._check_server(one)
            elif isinstance(one, FileTransport):
                _check_file(one)

    def close(self) -> None:
        """Let go; what still waits gets a moment."""
        with suppress(NotDelivered):  # or its delivery would have ended, and counted
            self._transport.close(self._timeout)

    # ----------------------------------------------------------------- failures

    def _refusal(self, exc: Exception) -> str:
        """Why an event was refused; raises if the event is not at fault."""
        cause = _cause(exc)
        if isinstance(cause, requests.RequestException):
            if cause.response is not None:
                return self._answer(exc, cause.response)
        elif isinstance(cause, OSError):
            raise _file_error(cause) from exc
        raise TransientTargetError(self._silent(cause)) from exc

    def _answer(self, exc: Exception | None, response: requests.Response) -> str:
        """Why an event was refused, by the server's answer."""
        status, who = response.status_code, _shown(response.url)
        if status in {408, 425, 429} or status >= 500:
            raise TransientTargetError(
                f"{who} answers {status}", retry_after=_retry_after(response)
            ) from exc
        # A transport may ask another server for a token first.
        if status in {401, 403} or response.url not in self._addresses:
            raise TargetUnavailable(
                f"{who} answers {status}: check the `auth` of OpenLineageTarget.transport"
            ) from exc
        if 300 <= status < 400 or status in {404, 405}:
            raise TargetUnavailable(
                f"{who} answers {status}: `url` and `endpoint` of OpenLineageTarget.transport "
                "must lead to where OpenLineage events are posted"
            ) from exc
        return redact(f"{status}: {' '.join(response.text.split())}")[:MAX_REASON]

    def _silent(self, cause: BaseException) -> str:
        # urllib3 wraps what happened in the news that it will not try again.
        reason = getattr(cause.args[0] if cause.args else None, "reason", cause)
        where = " and ".join(sorted(map(_shown, self._addresses))) or f"the transport {self}"
        if isinstance(cause, requests.RequestException):
            return f"{where} does not answer: {type(reason).__name__}"
        text = redact(" ".join(str(cause).split()))[:MAX_REASON]
        return f"{where} does not take events: {type(cause).__name__}: {text}"

    # -------------------------------------------------------- particular transports

    def _await(self, one: AsyncHttpTransport) -> None:
        done = one.wait_for_completion(self._timeout)
        failed, self._failed = self._count_failed() - self._failed, self._count_failed()
        if failed or not done:
            raise TransientTargetError(
                f"{_shown(one.url)} did not take {failed or 'all'} of the events: its own log "
                "says why; the transport `http` would say it here"
            )

    def _await_brokers(self, one: KafkaTransport) -> None:
        try:
            done = one.wait_for_completion(self._timeout)
        except Exception as exc:  # as when an event is sent
            raise TransientTargetError(self._silent(exc)) from exc
        if not done:
            raise TransientTargetError(f"The transport {self} did not answer to all of the events")

    def _count_failed(self) -> int:
        return sum(
            one.get_stats().get("failed", 0)
            for one in self._each
            if isinstance(one, AsyncHttpTransport)
        )

    def _check_server(self, one: HttpTransport | AsyncHttpTransport) -> None:
        """Ask where events are posted to, which changes nothing; most answer 405 to that."""
        try:
            response = self._asked(one)
            if response.status_code in _CANNOT_BE_IT:
                self._answer(None, response)
        except (TargetUnavailable, TransientTargetError) as exc:
            raise ConfigError(str(exc)) from exc
        if response.status_code == 404:
            _log.warning(
                "%s answers 404: some servers do for anything but events, but make sure that "
                "`url` and `endpoint` of OpenLineageTarget.transport are right",
                _shown(response.url),
            )

    def _asked(self, one: HttpTransport | AsyncHttpTransport) -> requests.Response:
        try:
            bearer = one.config.auth.get_bearer()
            headers = {"Authorization": bearer} if bearer else {}
            return requests.get(
                _address(one),
                headers={**headers, **one.config.custom_headers},
                timeout=one.timeout,
                verify=one.verify,
                cert=getattr(one, "cert", None),
                allow_redirects=False,
            )
        except Exception as exc:  # whatever a provider of tokens raises
            raise TargetUnavailable(self._refusal(exc)) from exc


_log = logging.getLogger(__name__)

_CANNOT_BE_IT = frozenset({301, 302, 303, 307, 308, 401, 403, 408, 425, 429, 502, 503, 504})


# --------------------------------------------------------------------------- making


def _made(transport: Mapping[str, Any]) -> Transport:
    """The transport itself.

    Raises:
        ConfigError: There is no such transport, or it lacks something.
    """
    known = get_default_factory().transports
    wanted = transport.get("type")
    if not isinstance(wanted, str) or ("." not in wanted and wanted not in known):
        raise ConfigError(
            f"OpenLineageTarget.transport: its type {wanted!r} is none of {', '.join(known)}, "
            "and no dotted path of a class"
        )
    made = _tried(lambda: get_default_factory().create(with_defaults(transport)))
    if isinstance(made, NoopTransport) and wanted != NoopTransport.kind:
        raise ConfigError(
            "OPENLINEAGE_DISABLED is true in the environment, so nothing would be told: take it "
            "out there, or openlineage out of FlyteLineage.targets"
        )
    return made


def _client() -> OpenLineageClient:
    """The client as the environment and `openlineage.yml` configure it."""
    client = _tried(OpenLineageClient)
    named = (client.config.transport or {}).get("type")
    if isinstance(client.transport, ConsoleTransport) and not named:
        client.close(0)
        raise ConfigError(NOT_CONFIGURED)
    return client


_T = TypeVar("_T")


def _tried(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except Exception as exc:  # each transport has its own ways to say what it lacks
        text = redact(" ".join(str(exc).split()))[:MAX_REASON]
        raise ConfigError(
            f"OpenLineageTarget.transport cannot be made: {type(exc).__name__}: {text}"
        ) from exc


def _ways(transport: Transport, *, each: bool) -> list[Callable[[Event], Any]]:
    """How an event is sent: once, or to each part of a composite.

    A composite that stops at a failure would keep from the others what one refuses.
    """
    if each and isinstance(transport, CompositeTransport):
        return [one.emit for one in transport.transports]
    return [transport.emit]


def _each(transport: Transport) -> Iterator[Transport]:
    """The transports that events take in the end."""
    if isinstance(transport, CompositeTransport):
        for one in transport.transports:
            yield from _each(one)
    elif isinstance(transport, TransformTransport):
        yield from _each(transport.transport)
    elif isinstance(transport, DatadogTransport):
        yield transport.http  # its other one is for dbt's jobs alone
    else:
        yield transport


def _prepare(transport: Transport) -> None:
    if isinstance(transport, HttpTransport):
        # A redirect turns POST into GET: a login page would then look like success.
        transport.session.max_redirects = 0
        transport.session.hooks["response"].append(_mind_redirects)
    if isinstance(transport, KafkaTransport):
        transport.producer = Producer(transport.producer)
    if isinstance(transport, ConsoleTransport):
        # It logs, at a level that is mostly not shown.
        logging.getLogger("openlineage.client.transport.console").setLevel(logging.INFO)


def _mind_redirects(response: requests.Response, **_: Any) -> None:
    """Refuse an answer that leads nowhere: no client minds a 302 that does not say where to."""
    if 300 <= response.status_code < 400 and not response.is_redirect:
        # What is not read to its end breaks the connection off.
        raise requests.HTTPError(response.text, response=response)


def _address(transport: HttpTransport | AsyncHttpTransport) -> str:
    """Where events go, as answers name it."""
    url = urljoin(transport.url, transport.endpoint)
    return requests.Request("POST", url).prepare().url or url


def _shown(url: str) -> str:
    """A URL without anything that might be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# ------------------------------------------------------------------------- failures


def _cause(exc: BaseException) -> BaseException:
    """What really happened: transports wrap it in errors of their own."""
    found: BaseException | None = exc
    while found is not None:
        if isinstance(found, OSError):  # those of requests are, too
            return found
        found = found.__cause__ or found.__context__
    return exc


def _retry_after(response: requests.Response) -> float | None:
    """Seconds to wait; servers may also name a date, which we leave to our backoff."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None


# ---------------------------------------------------------------------------- files

# Somebody must act on these. Everything else, a full disk above all, may pass by itself.
_FOR_GOOD = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENAMETOOLONG,
}  # fmt: skip


def _file_error(exc: OSError) -> TransientTargetError | TargetUnavailable:
    where = f" {exc.filename}" if exc.filename else ""
    text = f"The file{where} cannot be written: {exc.strerror or exc}"
    if exc.errno in _FOR_GOOD:
        return TargetUnavailable(f"{text}; see `log_file_path` of OpenLineageTarget.transport")
    return TransientTargetError(text)


def _local_path(transport: FileTransport) -> Path | None:
    """The one file that lines are added to; `None` for many files, and for other places."""
    config = transport.config
    if not config.append or config.filesystem:
        return None
    path = config.log_file_path.removeprefix("file://")
    return None if "://" in path else Path(path).absolute()


_BEGINNING = b'{"eventTime": '
"""How each of our lines begins: the client sorts keys."""


def _mend(transport: FileTransport) -> None:
    """Begin a new line; a part of one of ours is taken away, it will come again."""
    path = _local_path(transport)
    if path is None or not path.is_file():
        return
    try:
        with FileIO(path, "r+") as file:
            end = durable.end_of_last_line(file)
            file.seek(end)
            if rest := file.read():
                _end_line(file, end, rest)
    except OSError as exc:
        raise _file_error(exc) from exc


def _end_line(file: FileIO, end: int, rest: bytes) -> None:
    ours = rest.startswith(_BEGINNING) or _BEGINNING.startswith(rest)
    if ours and not _is_json(rest):
        file.truncate(end)
    else:  # somebody else's, or whole but for its end
        file.write(b"\n")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _sync(transport: FileTransport) -> None:
    """Bring what was written down to the disk, the name of a new file included."""
    path = _local_path(transport)
    if path is None or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        durable.sync_directory(path.parent)
    except OSError as exc:
        raise _file_error(exc) from exc


def _check_file(transport: FileTransport) -> None:
    path = _local_path(transport)
    if path is None:
        return
    writable = os.access(path, os.W_OK) if path.exists() else os.access(path.parent, os.W_OK)
    if not writable or path.is_dir():
        raise ConfigError(
            f"The file {path} cannot be written: see `log_file_path` of OpenLineageTarget.transport"
        )
