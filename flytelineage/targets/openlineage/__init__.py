"""OpenLineage as a target: whatever takes its events, by any transport of its client.

`names` names entities, `graph` says what a lineage shows, `facets` and `events` turn that
into events without I/O, `transport` delivers them, and `target` holds the options.
"""

from flytelineage.targets.openlineage.target import OpenLineageTarget

__all__ = ["OpenLineageTarget"]
