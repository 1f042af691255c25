"""Where FlyteConsole shows an execution, a workflow and a task; pure.

Source: flytekit remote/remote.py, FlyteRemote.generate_console_url; flyteconsole
packages/oss-console/src/routes/routes.ts.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from flytelineage.entities import ExecutionId, Link


@dataclass(frozen=True, slots=True)
class Console:
    """FlyteConsole's pages; of workflows and tasks those of all versions.

    Attributes:
        url: Where it is, up to `/console`; empty where there is none.
    """

    url: str = ""

    def execution(self, id: ExecutionId) -> tuple[Link, ...]:
        """The page of an execution."""
        page = self._page(id.project, id.domain, "executions", id.name)
        return (Link(name="console", url=page),) if page else ()

    def workflow(self, project: str, domain: str, name: str) -> str | None:
        """The page of a workflow."""
        return self._page(project, domain, "workflows", name)

    def task(self, project: str, domain: str, name: str) -> str | None:
        """The page of a task."""
        return self._page(project, domain, "tasks", name)

    def _page(self, project: str, domain: str, kind: str, name: str) -> str | None:
        if not self.url:
            return None
        parts = ("projects", project, "domains", domain, kind, name)
        return "/".join((self.url.rstrip("/"), *(quote(part, safe="") for part in parts)))


NO_CONSOLE = Console()
"""Nobody said where FlyteConsole is."""
