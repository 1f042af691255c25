"""JSON patches as DataHub's server applies them, without its model.

Arrays of an aspect become maps under the keys that tell their entries apart, the patch is
applied to those, strictly, and the maps become arrays again.

Source: datahub-project/datahub, metadata-models: `ArrayMergingTemplate`, `TemplateUtil`,
`FineGrainedLineageTemplateHelper`, `GenericPatchTemplate` and the templates of aspects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

Json = Any
Record = dict[str, Any]
Keys = Mapping[str, Sequence[str]]

# Which arrays an aspect's own template addresses by keys; of texts by themselves.
_KEYS: Mapping[str, Keys] = {
    "dataFlowInfo": {},
    "dataJobInfo": {},
    "dataJobInputOutput": {
        "inputDatasetEdges": ("destinationUrn",),
        "outputDatasetEdges": ("destinationUrn",),
        "inputDatajobEdges": ("destinationUrn",),
        "inputDatasetFields": (),
        "outputDatasetFields": (),
    },
    "datasetProperties": {},
    "globalTags": {"tags": ("tag",)},
    "glossaryTerms": {"terms": ("urn",)},
    "ownership": {"owners": ("owner", "type")},
    "structuredProperties": {"properties": ("propertyUrn",)},
    "upstreamLineage": {"upstreams": ("dataset",)},
}
_DEFAULTS: Mapping[str, Record] = {
    "dataJobInputOutput": {
        "inputDatasets": [], "outputDatasets": [], "inputDatasetEdges": [],
        "outputDatasetEdges": [], "inputDatajobEdges": [], "fineGrainedLineages": [],
    },
    "glossaryTerms": {"auditStamp": {"time": 0, "actor": "urn:li:corpuser:system"}},
    "upstreamLineage": {"fineGrainedLineages": []},
}  # fmt: skip
# What must be there afterwards; another aspect may be patched where there was nothing.
_REQUIRED: Mapping[str, Sequence[str]] = {
    "dataFlowInfo": ("name",),
    "dataJobInfo": ("name", "type"),
    "dataJobInputOutput": ("inputDatasets", "outputDatasets"),
    "domains": ("domains",),
    "globalTags": ("tags",),
    "glossaryTerms": ("terms", "auditStamp"),
    "ownership": ("owners",),
    "structuredProperties": ("properties",),
    "upstreamLineage": ("upstreams",),
}
_COLUMNS = "fineGrainedLineages"
_WITH_COLUMNS = {"dataJobInputOutput", "upstreamLineage"}


class PatchRefused(ValueError):
    """DataHub's server would not apply the patch."""


def patched(aspect: str, value: Record | None, patch: Json) -> Record:
    """The aspect after a patch: a list of operations, or an envelope that names keys.

    Args:
        aspect: Its name.
        value: What is there; `None` is nothing.
        patch: What arrived.

    Raises:
        PatchRefused: The aspect cannot be patched, the operation not be applied, or the
            result is not whole.
    """
    if isinstance(patch, dict):
        known, keys, columns = deepcopy(value or {}), patch["arrayPrimaryKeys"], False
        operations = patch["patch"]
    elif aspect in _KEYS:
        known = deepcopy(_DEFAULTS.get(aspect, {}) if value is None else value)
        keys, columns, operations = _KEYS[aspect], aspect in _WITH_COLUMNS, patch
    else:
        raise PatchRefused(f"Patch not supported for aspect with name {aspect}")
    for field, names in keys.items():
        known[field] = _as_map(known.get(field, []), names)
    if columns:
        known[_COLUMNS] = _columns_as_map(known.get(_COLUMNS, []))
    for operation in operations:
        _prepare(known, operation)
    for operation in operations:
        _apply(known, operation)
    for field, names in keys.items():
        known[field] = list(_as_list(known[field], len(names) or 1))
    if columns:
        known[_COLUMNS] = list(_columns_as_list(known[_COLUMNS]))
    for field in _REQUIRED.get(aspect, ()):
        if field not in known:
            raise PatchRefused(f"{aspect} without {field}")
    return known


# -------------------------------------------------------------------- operations


def _pointer(operation: Record) -> list[str]:
    parts = operation["path"].split("/")[1:]
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _prepare(known: Record, operation: Record) -> None:
    """Make the maps above what is added.

    Older servers lose empty parts at the end of a path, and make none for a removal.
    """
    path = _pointer(operation)
    while path and not path[-1]:
        path.pop()
    if operation["op"] == "add":
        for part in path[:-1]:
            known = known.setdefault(part, {})


def _apply(known: Record, operation: Record) -> None:
    *above, last = _pointer(operation)
    for part in above:
        if not isinstance(known, dict) or part not in known:
            raise PatchRefused(f"There is nothing above {operation['path']}")
        known = known[part]
    if operation["op"] == "add":
        known[last] = deepcopy(operation["value"])
    elif operation["op"] == "remove" and last in known:
        del known[last]
    else:
        raise PatchRefused(f"Cannot {operation['op']} {operation['path']}")


# ------------------------------------------------------------------------ arrays


def _as_map(entries: list[Json], names: Sequence[str]) -> Record:
    known: Record = {}
    for entry in entries:
        below, keys = known, [_key(entry, name) for name in names] or [entry]
        for key in keys[:-1]:
            below = below.setdefault(key, {})
        below[keys[-1]] = entry
    return known


def _key(entry: Record, name: str) -> str:
    found: Json = entry
    for part in name.split("␟"):
        found = found.get(part) if isinstance(found, dict) else None
    return "" if found is None else str(found)


def _as_list(known: Record, depth: int) -> Iterator[Json]:
    for below in known.values():
        if depth == 1:
            yield below
        else:
            yield from _as_list(below, depth - 1)


# ----------------------------------------------------------------------- columns


def _columns_as_map(columns: list[Record]) -> Record:
    """Operation, downstream, query, upstream: how sure it is."""
    known: Record = {}
    for column in columns:
        if len(column.get("downstreams") or ()) != 1:
            raise PatchRefused("Patching not supported on not exactly one downstream")
        by_downstream = known.setdefault(column.get("transformOperation", "NONE"), {})
        by_query = by_downstream.setdefault(column["downstreams"][0], {})
        upstreams = by_query.setdefault(column.get("query", "NONE"), {})
        score = {"confidenceScore": column.get("confidenceScore", 1.0)}
        upstreams.update(dict.fromkeys(column.get("upstreams") or (), score))
    return known


def _columns_as_list(known: Record) -> Iterator[Record]:
    for operation, by_downstream in known.items():
        for downstream, by_query in by_downstream.items():
            for query, upstreams in by_query.items():
                if upstreams:
                    yield _column(operation, downstream, query, upstreams)


def _column(operation: str, downstream: str, query: str, upstreams: Record) -> Record:
    return {
        "upstreamType": "FIELD_SET",
        "upstreams": list(upstreams),
        "downstreamType": "FIELD",
        "downstreams": [downstream],
        "confidenceScore": min(each["confidenceScore"] for each in upstreams.values()),
        "transformOperation": operation,
        **({} if query == "NONE" else {"query": query}),
    }
