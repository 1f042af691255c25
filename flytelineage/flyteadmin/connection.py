"""One gRPC channel to FlyteAdmin, signed in by flytekit, with a deadline on everything.

flytekit's `RawSynchronousFlyteClient` is made of the same parts, but is not for a
daemon: it repeats refused calls at once, lets a call, a token request and a command
take forever, and opens a browser where nobody said how to sign in. So the parts are
put together here. Imports flytekit, so nothing may import it but `loading`.
"""

from __future__ import annotations

import configparser
import dataclasses
import functools
import ssl
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import requests
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from flytekit.clients.auth.authenticator import (
    Authenticator,
    ClientCredentialsAuthenticator,
    CommandAuthenticator,
    Credentials,
)
from flytekit.clients.auth_helper import (
    RemoteClientConfigStore,
    get_authenticator,
    get_channel,
)
from flytekit.clients.grpc_utils.auth_interceptor import AuthUnaryInterceptor
from flytekit.configuration import PlatformConfig

from flytelineage.errors import AdminError, AdminUnavailable, ConfigError, UnknownToAdmin
from flytelineage.options import redact

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of one message; FlyteAdmin's own limit is 4 MiB unless somebody raised it."""

_SECRET_MODES = frozenset({"clientsecret", "client_credentials", "basic"})
_COMMAND_MODES = frozenset({"externalcommand", "external_process"})
_NOBODY = frozenset({"none", "", "standard", "pkce", "deviceflow"})
_REASON_CHARACTERS = 200

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_metadata_size", 32 * 1024),
    # A load balancer drops idle connections without a word; pings notice.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Else a new channel inherits the backoff of the broken one that it replaces.
    ("grpc.use_local_subchannel_pool", 1),
]

_ADVICE: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: (
        "cannot be reached: check FlyteAdmin.endpoint, FlyteAdmin.insecure and the network"
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        "did not answer in time: check its load, or raise FlyteAdmin.timeout_seconds"
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        "does not know us: check FlyteAdmin.auth_mode, FlyteAdmin.client_id and "
        "FlyteAdmin.client_secret"
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        "does not allow it: check the rights and scopes of FlyteAdmin.client_id"
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        "throttles us or has too much to say: lower FlyteAdmin.requests_per_second or "
        "FlyteAdmin.page_size"
    ),
    grpc.StatusCode.UNIMPLEMENTED: (
        "does not know the call: check that FlyteAdmin.endpoint is FlyteAdmin's gRPC port"
    ),
}

Settings = Callable[[], PlatformConfig]


def settings(config_file: str, ours: Mapping[str, Any]) -> PlatformConfig:
    """What flytekit finds in its environment variables and files, with `ours` on top.

    Raises:
        ConfigError: A file that they name cannot be read.
    """
    try:
        found = PlatformConfig.auto(config_file or None)
    except (OSError, ValueError, configparser.Error) as exc:
        file = f"{config_file}" if config_file else "its own"
        raise ConfigError(f"flytekit cannot read {file} configuration: {_short(exc)}") from exc
    if "endpoint" in ours:
        ours = {**ours, "endpoint": ours["endpoint"].removeprefix("dns:///")}
    return dataclasses.replace(found, **ours)


class Connection:
    """A channel that may break; then it is thrown away and another one made.

    Args:
        settings: Asked at each sign-in, so that a rotated secret is taken.
        timeout_seconds: Of each call, and of each step of signing in.

    Raises:
        ConfigError: The settings cannot work.
    """

    def __init__(self, settings: Settings, timeout_seconds: float) -> None:
        config = settings()
        self._endpoint, self._timeout = config.endpoint, timeout_seconds
        self._mode = _mode(config)
        channel = _open(config, timeout_seconds)
        if config.proxy_command:
            proxy = functools.partial(
                _Command, config.proxy_command, "proxy-authorization", timeout_seconds
            )
            channel = grpc.intercept_channel(channel, AuthUnaryInterceptor(proxy))
        if self._mode not in _NOBODY:
            _require(config, self._mode)
            sign_in = functools.partial(
                _authenticator, settings, self._mode, channel, timeout_seconds
            )
            channel = grpc.intercept_channel(channel, AuthUnaryInterceptor(sign_in))
        self._channel = channel
        self._stub = AdminServiceStub(channel)

    def ask(self, method: str, request: Any, about: str) -> Any:
        """Call a method of AdminService.

        Args:
            method: Its name.
            request: As the method takes it.
            about: What is asked for, in words.

        Raises:
            UnknownToAdmin: It does not know what is asked for.
            AdminUnavailable: Anything else.
        """
        try:
            return getattr(self._stub, method)(request, timeout=self._timeout)
        except grpc.RpcError as exc:
            raise self._refusal(exc, method, about) from exc
        except Exception as exc:  # whatever an identity provider or a plugin comes up with
            raise AdminUnavailable(
                f"Signing in to FlyteAdmin at {self._endpoint} as {self._mode} failed: "
                f"{_short(exc)}. Check FlyteAdmin.auth_mode and what it signs in with"
            ) from exc

    def close(self) -> None:
        """Hang up; calls in flight fail."""
        self._channel.close()

    def _refusal(self, exc: Any, method: str, about: str) -> AdminError:
        code = exc.code()
        # Only newer releases can be asked for graphs alone.
        missing = code is grpc.StatusCode.UNIMPLEMENTED and method == "GetDynamicNodeWorkflow"
        if code is grpc.StatusCode.NOT_FOUND or missing:
            return UnknownToAdmin(f"FlyteAdmin at {self._endpoint} does not know {about}")
        advice = _ADVICE.get(code, "failed")
        if code is grpc.StatusCode.UNAUTHENTICATED and self._mode in _NOBODY:
            advice = (
                "wants us to sign in: set FlyteAdmin.auth_mode = 'ClientSecret', "
                "FlyteAdmin.client_id and FlyteAdmin.client_secret"
            )
        return AdminUnavailable(
            f"FlyteAdmin at {self._endpoint}, asked for {about}, {advice} "
            f"({code.name}: {_short(exc.details() or 'no details')})"
        )


def _mode(config: PlatformConfig) -> str:
    """How to sign in, in lower case; a client's secret goes before what needs a person."""
    mode = str(getattr(config.auth_mode, "value", config.auth_mode)).lower()
    if mode in _NOBODY - {"none"} and config.client_id and config.client_credentials_secret:
        return "clientsecret"
    return mode


def _require(config: PlatformConfig, mode: str) -> None:
    if mode in _SECRET_MODES and not (config.client_id and config.client_credentials_secret):
        raise ConfigError(
            "Signing in to FlyteAdmin by ClientSecret needs FlyteAdmin.client_id and "
            "FlyteAdmin.client_secret"
        )
    if mode in _COMMAND_MODES and not config.command:
        raise ConfigError("Signing in to FlyteAdmin by ExternalCommand needs FlyteAdmin.command")


def _open(config: PlatformConfig, timeout_seconds: float) -> Any:
    """A channel as flytekit makes it, with a deadline also on calls that it makes itself."""
    more: dict[str, Any] = {}
    try:
        if config.insecure_skip_verify and not config.insecure:
            more["credentials"] = _trust_anyone(config.endpoint, timeout_seconds)
        channel = get_channel(config, options=_OPTIONS, **more)
    except OSError as exc:
        raise ConfigError(
            f"The certificate of FlyteAdmin at {config.endpoint} cannot be read: {_short(exc)}. "
            "Check FlyteAdmin.ca_cert_file"
        ) from exc
    return grpc.intercept_channel(channel, _Deadline(timeout_seconds))


def _trust_anyone(endpoint: str, timeout_seconds: float) -> Any:
    """Take whatever certificate is shown, as `admin.insecureSkipVerify` asks for."""
    host, _, port = endpoint.rpartition(":")
    address = (host, int(port)) if host and port.isdigit() else (endpoint, 443)
    certificate = ssl.get_server_certificate(address, timeout=timeout_seconds)
    return grpc.ssl_channel_credentials(certificate.encode())


class _Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Gives a deadline to calls that have none: those that flytekit makes to sign in."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Pass the call on."""
        return continuation(details if details.timeout else _Timeout(self._seconds), request)


class _Timeout(grpc.ClientCallDetails):  # type: ignore[misc]
    """Changes the timeout of a call; what it does not name stays as it was."""

    def __init__(self, seconds: float) -> None:
        self.timeout = seconds


# --------------------------------------------------------------------- signing in


def _authenticator(
    settings: Settings, mode: str, channel: Any, timeout_seconds: float
) -> Authenticator:
    """Who brings tokens; called at the first call, which waits for it."""
    store = RemoteClientConfigStore(channel)
    if mode in _SECRET_MODES:
        return _ClientSecret(settings, store, timeout_seconds)
    config = settings()
    if mode in _COMMAND_MODES:
        header = store.get_client_config().header_key
        return _Command(config.command, header, timeout_seconds)
    return get_authenticator(config, store)


class _ClientSecret(ClientCredentialsAuthenticator):  # type: ignore[misc]
    """Reads the secret anew for each token, and waits for none longer than its deadline."""

    def __init__(
        self, settings: Settings, store: RemoteClientConfigStore, timeout_seconds: float
    ) -> None:
        config, self._settings = settings(), settings
        super().__init__(
            endpoint=config.endpoint,
            client_id=config.client_id,
            client_secret=config.client_credentials_secret,
            cfg_store=store,
            scopes=config.scopes,
            audience=config.audience,
            http_proxy_url=config.http_proxy_url,
            verify=False if config.insecure_skip_verify else config.ca_cert_file_path,
            session=_session(timeout_seconds),
        )

    def refresh_credentials(self) -> None:
        """Ask the identity provider for a token."""
        self._client_secret = self._settings().client_credentials_secret
        super().refresh_credentials()


class _Command(CommandAuthenticator):  # type: ignore[misc]
    """Runs the command with a deadline, and shows nothing of what it prints."""

    def __init__(self, command: list[str], header: str | None, timeout_seconds: float) -> None:
        super().__init__(command, header)
        self._timeout = timeout_seconds

    def refresh_credentials(self) -> None:
        """Ask the command for a token."""
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command
                self._cmd, capture_output=True, text=True, timeout=self._timeout
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise AdminUnavailable(
                f"The command {self._cmd[0]!r} gives no token: {type(exc).__name__}"
            ) from exc
        if done.returncode:
            raise AdminUnavailable(
                f"The command {self._cmd[0]!r} gives no token: it ends with {done.returncode}"
            )
        self._creds = Credentials(done.stdout.strip())


def _session(timeout_seconds: float) -> Any:
    """A session with a deadline, for a request now and then."""
    session: Any = requests.Session()
    session.request = functools.partial(session.request, timeout=timeout_seconds)
    session.headers["Connection"] = "close"
    # flytekit would log what a refusal says, whatever that is.
    session.hooks["response"].append(lambda response, *_, **__: response.raise_for_status())
    return session


def _short(reason: object) -> str:
    """Foreign text that is safe to show."""
    text = " ".join(redact(str(reason)).split()) or type(reason).__name__
    return text if len(text) <= _REASON_CHARACTERS else text[: _REASON_CHARACTERS - 3] + "..."
