"""DataHub as a target: its REST API, or files that `datahub ingest` loads.

`urns` names entities, `proposals`, `aspects`, `schema` and `runs` turn a lineage into
metadata change proposals without I/O, `gms` and `files` deliver them, and `target`
holds the options.
"""

from flytelineage.targets.datahub.target import DataHubTarget

__all__ = ["DataHubTarget"]
