"""One port for whoever watches: probes, metrics, and a page for people.

Nobody has to sign in, so nothing can be changed here: only GET and HEAD are answered, and
nothing that a request says is looked up, stored or repeated. What is shown comes from
events, catalogues and databases; it is escaped where it is written, without secrets.

    /livez        200, or 503 with the reasons why only a restart helps
    /readyz       200, or 503 with the reasons; what is degraded is told and changes nothing
    /metrics      for Prometheus
    /             for people
    /status.json  the same for programs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from flytelineage.health import Health
from flytelineage.metrics import Metrics
from flytelineage.web.server import WebServer, serve

__all__ = ["View", "WebServer", "serve"]


class View(Protocol):
    """What there is to see; asked by several threads at once, and as often as anybody likes.

    So answers come from what is known, and wait for nothing.
    """

    @property
    def version(self) -> str:
        """Of the program."""

    @property
    def metrics(self) -> Metrics:
        """What is counted and measured."""

    def health(self) -> Health:
        """What is wrong right now."""

    def overview(self) -> Mapping[str, Any]:
        """What `Store.status` said the last time; empty before the first."""
