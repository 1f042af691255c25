"""The schemas of our own facets, and that what holds events against schemas finds faults."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flytelineage.entities import Lineage, PipelineId, Run
from tests.factories import EXECUTION, NOW
from tests.openlineage_spec import (
    OWN,
    ROOT,
    facets,
    findings,
    needs_spec,
    official_findings,
    own_schemas,
)
from tests.targets.test_openlineage_graph import emitted_events

PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")


@pytest.fixture
def event() -> dict[str, Any]:
    """The COMPLETE of an execution of which next to nothing is known."""
    run = Run(execution=EXECUTION, pipeline=PIPELINE, phase="SUCCEEDED", started_at=NOW)
    lineage = Lineage(execution=EXECUTION, phase="SUCCEEDED", started_at=NOW, runs=(run,))
    return deepcopy(emitted_events([lineage])[-1])


def test_own_schemas_are_schemas() -> None:
    """Named by their files, each under an address of its own that never changes."""
    schemas = own_schemas()

    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert schema["$id"].endswith(f"/{name}")
        assert re.search(r"\d+-\d+-\d+", schema["$id"])
        assert name.removesuffix(".json") in schema["$defs"]
    assert len({schema["$id"] for schema in schemas.values()}) == len(schemas) > 0


def test_own_schemas_lie_where_their_addresses_say() -> None:
    """The path within the repository is a part of the address."""
    for name, schema in own_schemas().items():
        assert schema["$id"].endswith(f"/{(OWN / name).relative_to(ROOT).as_posix()}")


def test_own_schemas_describe_every_property() -> None:
    """They are what people read who see the facet in a catalogue."""
    for name, schema in own_schemas().items():
        _, own = schema["$defs"][name.removesuffix(".json")]["allOf"]
        assert [key for key, each in own["properties"].items() if not each["description"]] == []


def test_own_facets_are_prefixed(event: dict[str, Any]) -> None:
    """Source: the specification, Custom Facet Naming."""
    urls = {key: facet["_schemaURL"] for key, facet in facets(event)}
    own = {key for key, url in urls.items() if not url.startswith("https://openlineage.io/spec/")}

    assert own == {key for key in urls if key.startswith("flyte_")} == {"flyte_execution"}


FAULTS: list[tuple[str, Any]] = [
    ("eventTime", "2026-01-05"),
    ("producer", "us"),
    ("run.runId", "a1b2"),
    ("run.facets.flyte_execution.attempt", -1),
    ("run.facets.flyte_execution.execution", None),
    ("run.facets.flyte_execution.links", [{"name": "logs"}]),
    ("run.facets.flyte_execution._producer", None),
    ("job.facets.jobType._schemaURL", "https://openlineage.io/spec/JobType.json"),
]


def broken(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *above, last = path.split(".")
    found = event
    for key in above:
        found = found[key]
    found[last] = value
    return event


@pytest.mark.parametrize(("path", "value"), FAULTS)
def test_fault_is_found(event: dict[str, Any], path: str, value: Any) -> None:
    """Or the checks of all other events mean nothing."""
    assert findings([event]) == []

    assert findings([broken(event, path, value)])


@needs_spec
@pytest.mark.parametrize(
    ("path", "value"), [*FAULTS, ("job.facets.jobType.integration", 1), ("job.facets.sql", {})]
)
def test_fault_is_found_by_the_official_schemas(
    event: dict[str, Any], path: str, value: Any
) -> None:
    """Facet by facet, formats included."""
    assert official_findings([event]) == []

    assert official_findings([broken(event, path, value)])
