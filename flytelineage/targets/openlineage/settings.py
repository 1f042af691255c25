"""What the options of a transport say, before there is one; without OpenLineage's client."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SHOWN = frozenset(
    {
        "type", "name", "url", "endpoint", "compression", "log_file_path", "topic", "messageKey",
        "filesystem", "protocol", "region", "location", "project_id", "domainId",
        "endpointOverride", "transformer_class", "bootstrap.servers", "security.protocol",
        "sasl.mechanism", "sasl.mechanisms", "tokenEndpoint", "token_endpoint", "caCertPath",
        "clientCertPath", "clientKeyPath", "method", "mode", "site",
    }
)  # fmt: skip
"""Keys whose texts may be shown; those of all others are secrets."""

KINDS = (
    "http", "async_http", "file", "kafka", "msk-iam", "console", "noop", "composite", "transform",
    "amazon_datazone_api", "datadog", "gcplineage",
)  # fmt: skip
"""The transports that the client knows by name; any other is the dotted path of a class."""

NOT_CONFIGURED = (
    "OpenLineageTarget needs a transport: set OpenLineageTarget.transport = "
    '{"type": "http", "url": "http://host:5000"} or {"type": "file", "log_file_path": '
    '"events.jsonl"}; or configure OpenLineage by its environment variables or openlineage.yml'
)

_NO_RETRY = {"total": 0, "connect": 0, "read": 0, "status_forcelist": []}

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # The daemon tries again itself; a client that does holds its thread meanwhile.
    "http": {"retry": _NO_RETRY},
    "async_http": {"retry": _NO_RETRY},
    "datadog": {"retry": _NO_RETRY},
    # The client's own default is a new file for each event, named by the clock.
    "file": {"append": True},
    # Or an event that one of them did not get would count as told.
    "composite": {"continue_on_failure": False},
}
"""By type, what we take where nobody says otherwise."""

# Transports that change nothing but what belongs to this machine.
_LOCAL = frozenset({"file", "console", "noop"})


def kinds(transport: Mapping[str, Any]) -> Iterator[Any]:
    """What a transport and all that is inside of it say as their `type`."""
    yield transport.get("type")
    inner = transport.get("transports") or [transport.get("transport")]
    for each in inner.values() if isinstance(inner, Mapping) else inner:
        if isinstance(each, Mapping):
            yield from kinds(each)


def is_served(transport: Mapping[str, Any]) -> bool:
    """Whether it has no way but requests, each of which is answered before the next one."""
    return set(kinds(transport)) <= {"http", "composite"}


def is_kind(kind: Any) -> bool:
    """Whether there may be such a transport; of secrets and classes only making it tells."""
    return not isinstance(kind, str | None) or kind in KINDS or "." in str(kind)


def with_defaults(transport: Any) -> Any:
    """A copy with our defaults, also for the transports inside of it."""
    if isinstance(transport, list):
        return [with_defaults(each) for each in transport]
    if not isinstance(transport, Mapping):
        return transport
    ours = _DEFAULTS.get(str(transport.get("type")), {})
    return {**ours, **{key: with_defaults(value) for key, value in transport.items()}}


def tells_all(transport: Mapping[str, Any]) -> bool:
    """Whether it is a composite whose transports each get every event.

    One that goes on after a failure, or stops after a success, was asked to do so.
    """
    asked = {"continue_on_failure", "continue_on_success"} & transport.keys()
    return transport.get("type") == "composite" and not asked


def is_local(transport: Mapping[str, Any]) -> bool:
    """Whether it, and all that is inside of it, stays on this machine."""
    match transport.get("type"):
        case "composite":
            inner = transport.get("transports") or ()
            parts = list(inner.values()) if isinstance(inner, Mapping) else list(inner)
            return bool(parts) and all(map(is_local, parts))
        case "transform":
            return is_local(transport.get("transport") or {})
        case "file":
            return "://" not in str(transport.get("log_file_path")).removeprefix("file://")
        case kind:
            return kind in _LOCAL


def is_configured_elsewhere() -> bool:
    """Whether OpenLineage's client may find a configuration of its own."""
    files = [Path("openlineage.yml"), Path("~/.openlineage/openlineage.yml").expanduser()]
    return any(name.startswith("OPENLINEAGE_") for name in os.environ) or any(
        file.is_file() for file in files
    )
