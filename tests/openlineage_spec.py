"""Holds OpenLineage events against schemas: the official ones where they are, and our own.

The official schemas are test data that may lie beside the project's folder. Without them the
tests that need them are skipped, and what is left is checked by rules of our own.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

import flytelineage.targets.openlineage
from flytelineage.testing.openlineage import broken_rules

ROOT = Path(__file__).parent.parent
SPEC = ROOT.parent / "shared" / "data" / "openlineage-spec"
OWN = Path(flytelineage.targets.openlineage.__file__).parent

needs_spec = pytest.mark.skipif(
    not SPEC.is_dir(), reason=f"the official schemas of OpenLineage are not at {SPEC}"
)

_CORE = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
_FACET = {
    "type": "object",
    "properties": {
        "_producer": {"type": "string", "format": "uri"},
        "_schemaURL": {"type": "string", "format": "uri"},
    },
    "required": ["_producer", "_schemaURL"],
}
"""What the core schema says of any facet."""

_OFFICIAL = re.compile(
    r"https://openlineage\.io/spec/facets/\d+-\d+-\d+/\w+Facet\.json#/\$defs/\w+Facet"
)

Event = Mapping[str, Any]

FORMATS = FormatChecker()

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:([A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~-]|%[0-9A-Fa-f]{2})+")


@FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    """Without a further package the library checks no URIs. Source: RFC 3986, section 2."""
    return not isinstance(value, str) or bool(_URI.fullmatch(value))


class _Remembering:
    """Looks at what is equal only once: most facets stand in many events."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator
        self._errors: dict[str, list[Any]] = {}

    def iter_errors(self, instance: Any) -> list[Any]:
        text = json.dumps(instance, sort_keys=True)
        if text not in self._errors:
            self._errors[text] = list(self._validator.iter_errors(instance))
        return self._errors[text]


# -------------------------------------------------------------------- the official ones


@cache
def _official() -> Any:
    """The validator that comes with the schemas, with those of our own facets added."""
    spec = importlib.util.spec_from_file_location("openlineage_spec_validate", SPEC / "validate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Validator(module.OpenLineageValidator):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(SPEC)
            self._registry = self._registry.with_resources(_own_resources())

        @cache  # noqa: B019 - there is one of these in a process
        def _validator(self, url: str) -> Any:
            return _Remembering(super()._validator(url).evolve(format_checker=FORMATS))

    return Validator()


def official_findings(events: Iterable[Event]) -> list[str]:
    """Where events break the official schemas, facet by facet, formats included."""
    return [
        f"{event.get('eventType')} {finding}"
        for event in events
        for finding in _official().findings(event)
    ]


# ------------------------------------------------------------------------------ our own


def own_schemas() -> dict[str, Any]:
    """The schemas of our own facets as they are shipped, by file name."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(OWN.glob("*.json"))}


def findings(events: Iterable[Event]) -> list[str]:
    """Where events break the rules of the core or the schemas of our own facets.

    Official facets are only asked which schema they claim to follow.
    """
    return [
        f"{event.get('eventType')} {finding}"
        for event in events
        for finding in (*broken_rules(event), *_of_facets(event))
    ]


def facets(event: Event) -> Iterator[tuple[str, Any]]:
    """Every facet of an event, each with its key."""
    alone = [event[key] for key in ("run", "job", "dataset") if key in event]
    holders = [*alone, *(event.get("inputs") or ()), *(event.get("outputs") or ())]
    for holder in holders:
        for group in ("facets", "inputFacets", "outputFacets"):
            yield from (holder.get(group) or {}).items()


def _of_facets(event: Event) -> Iterator[str]:
    for key, facet in facets(event):
        url = facet["_schemaURL"]
        if url.startswith("https://openlineage.io/"):
            if not _OFFICIAL.fullmatch(url):
                yield f"{key}: {url} names no facet"
        else:
            yield from (f"{key}: {error.message}" for error in _own(url).iter_errors(facet))


@cache
def _own(url: str) -> Draft202012Validator:
    """What a facet of our own is held against.

    Raises:
        KeyError: No shipped schema has the `$id` that the URL begins with.
    """
    ids = {schema["$id"] for schema in own_schemas().values()}
    if url.partition("#")[0] not in ids:
        raise KeyError(f"{url} is none of {sorted(ids)}")
    core = {"$id": _CORE, "$defs": {"RunFacet": _FACET, "JobFacet": _FACET, "DatasetFacet": _FACET}}
    registry = Registry().with_resources(
        [
            (_CORE, Resource.from_contents({"$schema": _DIALECT, **core})),
            *_own_resources(),
        ]
    )
    return Draft202012Validator({"$ref": url}, registry=registry, format_checker=FORMATS)


_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _own_resources() -> list[tuple[str, Any]]:
    return [(each["$id"], Resource.from_contents(each)) for each in own_schemas().values()]
