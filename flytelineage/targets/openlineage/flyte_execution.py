"""Our own facet, and who says all facets; pure."""

from __future__ import annotations

import attr
from openlineage.client.facet_v2 import RunFacet

from flytelineage import __version__

HOME = "https://github.com/flytelineage/flytelineage"
PRODUCER = f"{HOME}/tree/{__version__}"
"""What says all of this: the release of flytelineage."""

SCHEMA = (
    "https://raw.githubusercontent.com/flytelineage/flytelineage/flyte-execution-1-0-0/"
    "flytelineage/targets/openlineage/FlyteExecutionRunFacet.json"
)
"""Names a tag, which never moves; also the schema's `$id`."""


@attr.define
class FlyteExecutionRunFacet(RunFacet):
    """What Flyte knows of a run and OpenLineage has no words for.

    Its schema is `FlyteExecutionRunFacet.json` beside this module; a change of the fields
    needs a new version of both.
    """

    project: str
    domain: str
    execution: str
    instance: str | None = None
    node: str | None = None
    attempt: int | None = None
    phase: str | None = None
    cache_status: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    task_type: str | None = None
    version: str | None = None
    image: str | None = None
    entry_point: str | None = None
    parent: dict[str, str] | None = None
    links: list[dict[str, str]] | None = None
    properties: dict[str, str] | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/FlyteExecutionRunFacet"
