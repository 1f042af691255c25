"""The payloads: message bodies in files, as FlyteAdmin and SNS would have sent them."""

from __future__ import annotations

import base64
import json

import pytest
from flyteidl.admin import event_pb2

from flytelineage.testing.simulator.cloudevents import cloud_event_class
from tests.payloads import FOLDER, made, payload

MADE = dict(made())
KINDS = {
    "workflow": event_pb2.WorkflowExecutionEventRequest,
    "node": event_pb2.NodeExecutionEventRequest,
    "task": event_pb2.TaskExecutionEventRequest,
}


def content(name: str) -> bytes:
    body = payload(name)
    return base64.b64decode(json.loads(body)["Message"] if name.endswith(".json") else body)


@pytest.mark.parametrize("name", MADE)
def test_a_payload_is_what_the_simulator_makes(name: str) -> None:
    """Otherwise write them anew: `python -m tests.payloads`."""
    assert payload(name) == MADE[name]


def test_no_payload_is_left_over() -> None:
    """Every file has its maker, and every kind in every encoding its file."""
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".json", ".txt")}

    assert files == set(MADE)
    assert len(files) == 3 * 3 * 2 + 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["json", "txt"])
def test_raw_payloads_are_requests(kind: str, ending: str) -> None:
    """About the same execution."""
    event = KINDS[kind].FromString(content(f"raw-{kind}.{ending}")).event

    holder = {"workflow": event, "node": getattr(event, "id", None)}.get(kind)
    holder = holder or event.parent_node_execution_id
    assert holder.execution_id.name == "a1b2c3"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["json", "txt"])
def test_cloud_events_carry_json(kind: str, ending: str) -> None:
    """Version 1 the request, version 2 the event and what Admin knows of it."""
    first = cloud_event_class().FromString(content(f"v1-{kind}.{ending}"))
    second = cloud_event_class().FromString(content(f"v2-{kind}.{ending}"))

    assert list(json.loads(first.binary_data)) == ["event"]
    outer = json.loads(second.binary_data)
    assert outer["rawEvent"] == json.loads(first.binary_data)["event"]
    assert outer["labels"] == {"team": "etl"}
