"""What arrives: envelopes and encodings, taken apart into an `Event`.

One queue may carry FlyteAdmin's raw protobuf requests and CloudEvents of both
versions, in an SNS envelope or without one. Nothing in an envelope can be trusted to
say which: with raw delivery the subject is gone, and version 1 of the CloudEvents uses
the subject of raw events. So the kind is read off the wire types of the bytes, never
found out by parsing on trial: the bytes of one kind often parse as another.

What FlyteAdmin answers about an execution is kept like an event, of the kind
`execution`. Nobody publishes it: it says who ran what, and nothing of how it went.

`decode` does no I/O, reads no clock, and lets nothing out but `DecodeError`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, Literal

from flytelineage.entities import ExecutionId
from flytelineage.errors import DecodeError, ForeignTopicError

Kind = Literal["workflow", "node", "task", "execution"]
Encoding = Literal["raw", "v1", "v2"]

MAX_BODY_CHARACTERS = 2 * 1024 * 1024
"""SQS carries 1 MiB; files may hold a little more around it."""

TERMINAL_PHASES = frozenset({"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"})
"""Phases that end a workflow execution. Source: flyteadmin pkg/common/executions.go."""

_ANSWER = "flyteAdmin"
"""The key under which a body holds an answer of FlyteAdmin, in base64."""

_EARLIEST = datetime(2015, 1, 1, tzinfo=timezone.utc)
_CLOCK_SKEW = timedelta(days=1)
_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,254}", re.ASCII)
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{0,512}")
_KIND_BY_TYPE: Mapping[str, Kind] = {
    "WorkflowExecution": "workflow",
    "NodeExecution": "node",
    "TaskExecution": "task",
}
_TYPE = re.compile(
    r"(?:com\.flyte\.resource\.)?(?:flyteidl\.admin\.(?P<v1>\w+?)EventRequest|cloudevents\.(?P<v2>\w+))"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: keys for the store, and the bytes as FlyteAdmin made them.

    Attributes:
        payload: The `*EventRequest` protobuf (`raw`), or the JSON data of a CloudEvent.
            Of kind `execution` an `admin.Execution`: FlyteAdmin's answer about it.
        hash: 32 bytes over kind and payload: equal means the same publication.
        phase: The name of the phase in the event's own enum.
        terminal: Whether this ends the execution.
    """

    kind: Kind
    execution: ExecutionId
    payload: bytes
    encoding: Encoding
    hash: bytes
    occurred_at: datetime
    phase: str
    terminal: bool


def decode(
    body: str, *, received_at: datetime, instance: str = "", topics: Collection[str] = ()
) -> Event:
    """Take a message body apart.

    Args:
        body: SNS notification, base64 of protobuf, or JSON of a CloudEvent.
        received_at: Bounds `occurred_at`, which may not lie a day ahead of it.
        instance: Names the Flyte deployment in the execution's id.
        topics: ARNs of the SNS topics whose notifications are taken; empty takes all that
            comes, and also what came without an envelope.

    Raises:
        DecodeError: It is not a Flyte event; the text says at which step.
        ForeignTopicError: It came from another topic, or does not say from which.
    """
    if len(body) > MAX_BODY_CHARACTERS:
        raise DecodeError(f"The body is longer than {MAX_BODY_CHARACTERS} characters")
    kind, encoding, payload = _unwrap(body.strip(), topics)
    return event_of(kind, encoding, payload, received_at=received_at, instance=instance)


def event_of(
    kind: Kind, encoding: Encoding, payload: bytes, *, received_at: datetime, instance: str = ""
) -> Event:
    """The event whose payload this is.

    Raises:
        DecodeError: It is not what it is said to be.
    """
    event = _inner(kind, encoding, payload)
    phase = _phase(event.closure, unset=True) if kind == "execution" else _phase(event)
    return Event(
        kind=kind,
        execution=_execution(kind, event, instance),
        payload=payload,
        encoding=encoding,
        hash=_hash(kind, payload),
        occurred_at=_occurred_at(_when(kind, event), received_at),
        phase=phase,
        terminal=kind == "workflow" and phase in TERMINAL_PHASES,
    )


def body(event: Event) -> str:
    """The event as a body that `decode` reads: what `export` writes."""
    if event.kind == "execution":
        return json.dumps({_ANSWER: base64.b64encode(event.payload).decode()})
    if event.encoding == "raw":
        return base64.b64encode(event.payload).decode()
    return event.payload.decode()


def message(event: Event) -> tuple[Any, Any | None]:
    """Parse the stored payload.

    Returns:
        The `WorkflowExecutionEvent`, `NodeExecutionEvent` or `TaskExecutionEvent`; and
        the `CloudEvent*` around it, which knows more, for version 2 only. Of the kind
        `execution` the `admin.Execution`.
    """
    outer = _outer(event.kind, event.encoding, event.payload)
    if event.kind == "execution":
        return outer, None
    return (outer.raw_event, outer) if event.encoding == "v2" else (outer.event, None)


def rewritten(event: Event, change: Callable[[Any], None]) -> Event:
    """The event with its message changed in place by `change`, in its own encoding.

    What the encoding holds and the message's class does not know is left out.
    """
    from google.protobuf import json_format

    outer = _outer(event.kind, event.encoding, event.payload)
    change(outer)
    if event.encoding == "raw":
        payload = outer.SerializeToString(deterministic=True)
    else:
        payload = json_format.MessageToJson(outer, indent=None).encode()
    return replace(event, payload=payload, hash=_hash(event.kind, payload))


# --------------------------------------------------------------------- envelopes


def _unwrap(body: str, topics: Collection[str]) -> tuple[Kind, Encoding, bytes]:
    """Peel envelopes off until the kind is known."""
    if not body.startswith("{"):
        _check_topic({}, topics)
        return _from_bytes(_from_base64(body))
    envelope = _from_json(body)
    _check_topic(envelope, topics)
    if "Message" in envelope:
        return _from_sns(envelope)
    return _from_json_event(envelope, body.encode())


def _check_topic(envelope: Mapping[str, Any], topics: Collection[str]) -> None:
    """Look at where it came from before what is in it.

    Source: SNS developer guide, JSON format of notifications: `TopicArn` stands beside
    `Message`. SNS writes it, the publisher cannot.
    """
    if not topics:
        return
    topic = envelope.get("TopicArn") if "Message" in envelope else None
    if not isinstance(topic, str):
        raise ForeignTopicError(
            "It has no SNS envelope, so no topic vouches for it: turn raw delivery off for the "
            "queue's subscription, or empty FlyteLineage.topics"
        )
    if topic not in topics:
        raise ForeignTopicError(f"It came from the topic {_short(topic)}, not in the allow-list")


def _from_sns(envelope: Mapping[str, Any]) -> tuple[Kind, Encoding, bytes]:
    kind = _word(envelope.get("Type", "Notification"))
    if kind != "Notification":
        raise DecodeError(f"An SNS message of type {_short(kind)}, not a notification")
    subject = _word(envelope.get("Subject") or "")
    if subject and not _TYPE.fullmatch(subject):
        raise DecodeError(f"An SNS notification about {_short(subject)}, not about an execution")
    content = envelope["Message"]
    if not isinstance(content, str):
        raise DecodeError("The SNS notification's Message is not text")
    content = content.strip()
    if content.startswith("{"):
        return _from_json_event(_from_json(content), content.encode())
    return _from_bytes(_from_base64(content))


def _from_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise DecodeError(f"Not JSON: {_short(exc)}") from exc
    if not isinstance(value, dict):
        raise DecodeError("The JSON is not an object")
    return value


def _to_json(value: Any) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":")).encode()
    except RecursionError as exc:
        raise DecodeError(f"Nested too deep: {_short(exc)}") from exc


def _word(value: object) -> str:
    """A text; of anything else only what it is: spelling it out may take a deep stack."""
    return value if isinstance(value, str) else type(value).__name__


def _from_base64(text: str) -> bytes:
    try:
        # Without `validate` Python drops characters that are not base64.
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise DecodeError(f"Neither JSON nor base64: {_short(exc)}") from exc


def _from_bytes(data: bytes) -> tuple[Kind, Encoding, bytes]:
    """Tell a CloudEvent from a request by the top-level fields.

    Source: CloudEvents spec cloudevents.proto: id 1, source 2, spec_version 3, type 4,
    binary_data 6, text_data 7.
    """
    fields = _fields(data)
    if {1, 2, 3, 4} <= fields.keys():
        content = fields.get(6, fields.get(7))
        if content is None:
            raise DecodeError("A CloudEvent without data")
        return _from_cloud_event(_text(fields[4]), content)
    return _sniff(fields), "raw", data


def _from_json_event(value: Mapping[str, Any], text: bytes) -> tuple[Kind, Encoding, bytes]:
    """A CloudEvent as JSON: whole (structured mode), or its data alone (binary mode)."""
    if isinstance(answer := value.get(_ANSWER), str):
        return "execution", "raw", _from_base64(answer)
    if "specversion" in value:
        if isinstance(value.get("data_base64"), str):
            data = _from_base64(value["data_base64"])
        else:
            data = _to_json(value.get("data"))
        return _from_cloud_event(_word(value.get("type")), data)
    if isinstance(event := value.get("rawEvent"), dict):
        return _sniff_json(event), "v2", text
    if isinstance(event := value.get("event"), dict):
        return _sniff_json(event), "v1", text
    raise DecodeError("A JSON object that is neither an SNS notification nor a CloudEvent")


def _from_cloud_event(type_name: str, data: bytes) -> tuple[Kind, Encoding, bytes]:
    match = _TYPE.fullmatch(type_name)
    kind = _KIND_BY_TYPE.get(match["v1"] or match["v2"]) if match else None
    if match is None or kind is None:
        raise DecodeError(f"A CloudEvent of type {_short(type_name)}, not an execution's event")
    return kind, "v1" if match["v1"] else "v2", data


# ------------------------------------------------------------------- wire format


def _fields(data: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a protobuf message, by number.

    Messages that come in several pieces are joined, which is how protobuf merges them.

    Raises:
        DecodeError: The bytes are not a protobuf message.
    """
    fields: dict[int, list[bytes]] = {}
    for number, content in _pieces(data):
        fields.setdefault(number, []).append(content)
    return {number: b"".join(pieces) for number, pieces in fields.items()}


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == 2:
            size, position = _varint(data, position)
            if position + size > end:
                break
            yield tag >> 3, data[position : position + size]
            position += size
        elif wire_type == 0:
            _, position = _varint(data, position)
        elif wire_type in (1, 5):
            position += 8 if wire_type == 1 else 4
        else:
            break
    if position != end:
        raise DecodeError("Not a protobuf message, or a truncated one")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    if position < len(data) and data[position] < 0x80:  # nearly all are one byte long
        return data[position], position + 1
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise DecodeError("Not a protobuf message, or a truncated one")


def _sniff(request: Mapping[int, bytes]) -> Kind:
    """Which request this is, by wire types that differ for certain.

    Source: flyteidl event.proto: `occurred_at` is field 4 of workflow and node events,
    field 7 of task events (whose field 4 is the phase, a varint); field 1 of a workflow
    event is a WorkflowExecutionIdentifier, which has a field 4 (name), field 1 of a
    node event a NodeExecutionIdentifier, which has not.
    """
    if 2 not in request:
        raise DecodeError("A protobuf message without an event")
    event = _fields(request[2])
    if 4 in event:
        return "workflow" if 4 in _fields(event.get(1, b"")) else "node"
    if 7 in event:
        return "task"
    raise DecodeError("A protobuf message that is no workflow, node or task event")


def _sniff_json(event: Mapping[str, Any]) -> Kind:
    if "executionId" in event:
        return "workflow"
    if "parentNodeExecutionId" in event:
        return "task"
    if "id" in event:
        return "node"
    raise DecodeError("A JSON event that is no workflow, node or task event")


# ----------------------------------------------------------------------- content


def _hash(kind: Kind, payload: bytes) -> bytes:
    return hashlib.blake2b(kind.encode() + b"\0" + payload, digest_size=32).digest()


def _outer(kind: Kind, encoding: Encoding, payload: bytes) -> Any:
    """Parse the payload into the protobuf class that FlyteAdmin built it from."""
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError as ProtobufError

    outer = _classes()[kind, encoding == "v2"]()
    try:
        if encoding == "raw":
            outer.ParseFromString(payload)
        else:
            json_format.Parse(payload, outer, ignore_unknown_fields=True, max_recursion_depth=100)
    except (ProtobufError, json_format.Error, ValueError, RecursionError) as exc:
        raise DecodeError(f"A message of kind {kind} that cannot be parsed: {_short(exc)}") from exc
    return outer


@cache
def _classes() -> Mapping[tuple[Kind, bool], Any]:
    """Protobuf classes by kind and whether it is version 2 of the CloudEvents."""
    from flyteidl.admin import event_pb2, execution_pb2
    from flyteidl.event import cloudevents_pb2

    return {
        ("execution", False): execution_pb2.Execution,
        ("workflow", False): event_pb2.WorkflowExecutionEventRequest,
        ("node", False): event_pb2.NodeExecutionEventRequest,
        ("task", False): event_pb2.TaskExecutionEventRequest,
        ("workflow", True): cloudevents_pb2.CloudEventWorkflowExecution,
        ("node", True): cloudevents_pb2.CloudEventNodeExecution,
        ("task", True): cloudevents_pb2.CloudEventTaskExecution,
    }


def _inner(kind: Kind, encoding: Encoding, payload: bytes) -> Any:
    outer = _outer(kind, encoding, payload)
    if kind == "execution":
        return outer
    if encoding == "v2" and kind != "task":
        _check_identifier(outer.launch_plan_id)
    return outer.raw_event if encoding == "v2" else outer.event


def _execution(kind: Kind, event: Any, instance: str) -> ExecutionId:
    """The execution's id, and a look at all other identifiers on the way.

    Parsing proves nothing: most damaged messages still parse. So what becomes a key
    must look like one.
    """
    if kind in ("workflow", "execution"):
        found = event.execution_id if kind == "workflow" else event.id
    else:
        node = event.id if kind == "node" else event.parent_node_execution_id
        _check_name("node id", node.node_id)
        found = node.execution_id
    for field in ("project", "domain", "name"):
        _check_name(f"execution {field}", getattr(found, field))
    if kind == "task":
        _check_identifier(event.task_id)
    elif kind == "node":
        _check_identifier(event.target_entity)
        _check_identifier(event.task_node_metadata.catalog_key.source_task_execution.task_id)
    elif kind == "execution":
        _check_identifier(event.closure.workflow_id)
        _check_identifier(event.spec.launch_plan)
    return ExecutionId(
        instance=instance, project=found.project, domain=found.domain, name=found.name
    )


def _check_name(what: str, text: str) -> None:
    if not _NAME.fullmatch(text):
        raise DecodeError(f"The {what} {_short(text)} is not one")


def _check_identifier(identifier: Any) -> None:
    for text in (identifier.name, identifier.version):
        if not _PRINTABLE.fullmatch(text):
            raise DecodeError(f"The identifier {_short(text)} is not one")


def _phase(event: Any, *, unset: bool = False) -> str:
    names = event.DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_number
    if event.phase not in names or not (event.phase or unset):
        raise DecodeError(f"The phase {event.phase} is not known")
    return str(names[event.phase].name)


def _when(kind: Kind, event: Any) -> Any:
    """The timestamp that says when it occurred; an answer is as old as what it says."""
    if kind != "execution":
        return event.occurred_at
    return (
        event.closure.updated_at
        if event.closure.HasField("updated_at")
        else (event.closure.created_at)
    )


def _occurred_at(when: Any, received_at: datetime) -> datetime:
    try:
        at: datetime = when.ToDatetime(tzinfo=timezone.utc)
    except (ValueError, OverflowError) as exc:
        raise DecodeError(f"The time is not one: {_short(exc)}") from exc
    if not _EARLIEST <= at <= received_at + _CLOCK_SKEW:
        raise DecodeError(f"The time {at.isoformat()} cannot be when it occurred")
    return at


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _short(value: object) -> str:
    """A piece of foreign text that is safe to show."""
    text = repr(str(value))
    return text if len(text) <= 120 else text[:117] + "..."
