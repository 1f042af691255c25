"""Why a dataset has its name and an execution its edges, in words; pure.

An explanation decides nothing by itself: it repeats what the rooms decided that name,
structure and follow the data, with the reasons that they give. What they had to be
given comes in, as a `Case` for an execution and a `Registry` for a URI.
"""

from __future__ import annotations

from flytelineage.explain.case import Case
from flytelineage.explain.execution import explain_execution
from flytelineage.explain.uri import MAX_WRITERS, Registry, explain_uri
from flytelineage.explain.whereabouts import Whereabouts, as_json, whereabouts

__all__ = [
    "MAX_WRITERS",
    "Case",
    "Registry",
    "Whereabouts",
    "as_json",
    "explain_execution",
    "explain_uri",
    "whereabouts",
]
