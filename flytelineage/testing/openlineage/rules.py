"""The rules of OpenLineage that hold for every event, whatever facets it has.

Source: OpenLineage spec 2-0-2, OpenLineage.json; that names are not empty is what Marquez
asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

STATES = ("START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER")

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_ZONE = re.compile(r"T.*(Z|[+-]\d\d:\d\d)$")


def broken_rules(event: Any) -> list[str]:
    """What is wrong with an event, one line per fault; empty for a good one."""
    if not isinstance(event, dict):
        return ["an event is an object"]
    return [*_of_event(event), *_of_run(event), *_of_names(event), *_of_facets(event)]


def _of_event(event: dict[str, Any]) -> Iterator[str]:
    if not _is_time(event.get("eventTime")):
        yield "eventTime is no time with a zone"
    for key in ("producer", "schemaURL"):
        if not _is_uri(event.get(key)):
            yield f"{key} is no URI"
    kind = {"run", "job", "dataset"} & event.keys()
    if kind not in ({"run", "job"}, {"job"}, {"dataset"}):
        yield f"neither of a run nor of a job or dataset: {sorted(kind)}"


def _of_run(event: dict[str, Any]) -> Iterator[str]:
    if "run" not in event:
        return
    if event.get("eventType", "OTHER") not in STATES:
        yield f"eventType is none of {', '.join(STATES)}"
    if not _is_uuid(_object(event["run"]).get("runId")):
        yield "runId is no UUID"


def _of_names(event: dict[str, Any]) -> Iterator[str]:
    for path, named in _named(event):
        for key in ("namespace", "name"):
            value = named.get(key)
            if not isinstance(value, str) or not value.strip():
                yield f"{path}.{key} is empty"


def _of_facets(event: dict[str, Any]) -> Iterator[str]:
    for path, holder in (("run", _object(event.get("run"))), *_named(event)):
        for group in ("facets", "inputFacets", "outputFacets"):
            for key, facet in _object(holder.get(group)).items():
                if not all(
                    _is_uri(_object(facet).get(each)) for each in ("_producer", "_schemaURL")
                ):
                    yield f"{path}.{group}.{key} does not say where it comes from"


def _named(event: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The job and the datasets of an event, each with where it stands."""
    found: list[tuple[str, dict[str, Any]]]
    found = [(key, _object(event[key])) for key in ("job", "dataset") if key in event]
    for side in ("inputs", "outputs"):
        found += [(f"{side}[{at}]", _object(one)) for at, one in enumerate(event.get(side) or ())]
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_uri(value: Any) -> bool:
    return isinstance(value, str) and bool(_URI.fullmatch(value))


def _is_uuid(value: Any) -> bool:
    try:
        return str(UUID(value)) == str(value).lower()
    except (AttributeError, TypeError, ValueError):
        return False


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _ZONE.search(value):
        return False
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True
