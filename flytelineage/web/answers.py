"""What is answered at each path; the same answers serve tests without a connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from flytelineage.options import escaped, redact
from flytelineage.web.page import page

if TYPE_CHECKING:
    from flytelineage.web import View


@dataclass(frozen=True)
class Answer:
    """A response of HTTP."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def text(status: int, *lines: str, **headers: str) -> Answer:
    """Lines of plain text."""
    body = "".join(f"{escaped(redact(line))}\n" for line in lines)
    return Answer(status, "text/plain; charset=utf-8", body.encode(), headers)


def livez(view: View) -> Answer:
    """Whether to let it run."""
    health = view.health()
    return text(200, "live") if health.is_live else text(503, *_told("not live", health.live))


def readyz(view: View) -> Answer:
    """Whether it takes messages; a target that is down is told and changes nothing."""
    health = view.health()
    degraded = _told("degraded", health.degraded)
    if health.is_ready:
        return text(200, "ready", *degraded)
    reasons = [*_told("not live", health.live), *_told("not ready", health.ready)]
    return text(503, *reasons, *degraded)


def _told(degree: str, reasons: Sequence[str]) -> list[str]:
    return [f"{degree}: {reason}" for reason in reasons]


def metrics(view: View) -> Answer:
    """For Prometheus."""
    body, content_type = view.metrics.render()
    return Answer(200, content_type, body)


def status(view: View) -> Answer:
    """What the page shows, as JSON."""
    health = view.health()
    shown = {
        "version": view.version,
        "live": health.is_live,
        "ready": health.is_ready,
        "reasons": [*health.live, *health.ready],
        "degraded": health.degraded,
        **view.overview(),
    }
    body = json.dumps(_redacted(shown), indent=2, default=str)
    return Answer(200, "application/json", f"{body}\n".encode())


def _redacted(value: Any) -> Any:
    """Without secrets; done before JSON spells them differently."""
    if isinstance(value, Mapping):
        return {redact(str(key)): _redacted(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(part) for part in value]
    return redact(value) if isinstance(value, str) else value


def start(view: View) -> Answer:
    """The page for people."""
    body = page(view.version, view.health(), view.overview())
    return Answer(200, "text/html; charset=utf-8", body.encode())


def style(view: View) -> Answer:
    """How the page looks."""
    return Answer(200, "text/css; charset=utf-8", _style())


@cache
def _style() -> bytes:
    return files(__package__).joinpath("style.css").read_bytes()


ANSWERS: Mapping[str, Callable[[View], Answer]] = {
    "/": start,
    "/status.json": status,
    "/metrics": metrics,
    "/livez": livez,
    "/readyz": readyz,
    "/style.css": style,
}
"""By path; what follows a `?` is not looked at."""
