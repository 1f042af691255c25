from __future__ import annotations

import base64
import json
import time
from datetime import timedelta

import pytest
from flyteidl.event import cloudevents_pb2, event_pb2
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage.entities import ExecutionId
from flytelineage.errors import DecodeError, ForeignTopicError
from flytelineage.events import body, decode, message
from tests.factories import (
    EXECUTION,
    NOW,
    TOPIC,
    answer_body,
    decoded,
    execution_answer,
    node_request,
    raw_body,
    sns_body,
    task_request,
    workflow_request,
)

LATER = NOW + timedelta(hours=1)
REQUESTS = {
    "workflow": workflow_request(),
    "node": node_request(),
    "task": task_request(),
}
TYPES = {"workflow": "Workflow", "node": "Node", "task": "Task"}


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def cached(task: str) -> event_pb2.TaskNodeMetadata:
    """What a node says whose outputs the cache handed out."""
    found = event_pb2.TaskNodeMetadata()
    found.catalog_key.source_task_execution.task_id.name = task
    return found


def cloud_event(type_name: str, data: bytes) -> bytes:
    """The bytes of io.cloudevents.v1.CloudEvent."""
    parts = {1: b"id", 2: b"source", 3: b"1.0", 4: type_name.encode(), 6: data}
    return b"".join(field(number, content) for number, content in parts.items())


def data_of(kind: str, version: str) -> bytes:
    request = REQUESTS[kind]
    if version == "v1":
        return json_format.MessageToJson(request, indent=None).encode()
    around = getattr(cloudevents_pb2, f"CloudEvent{TYPES[kind]}Execution")(raw_event=request.event)
    return json_format.MessageToJson(around, indent=None).encode()


def type_of(kind: str, version: str) -> str:
    if version == "v1":
        return f"com.flyte.resource.flyteidl.admin.{TYPES[kind]}ExecutionEventRequest"
    return f"com.flyte.resource.cloudevents.{TYPES[kind]}Execution"


@pytest.mark.parametrize("kind", REQUESTS)
class TestEncodings:
    def test_raw_delivery_is_told_by_its_bytes(self, kind):
        """With raw delivery there is no subject: the bytes alone say the kind."""
        event = decode(raw_body(REQUESTS[kind]), received_at=LATER)

        assert (event.kind, event.encoding, event.execution) == (kind, "raw", EXECUTION)
        assert message(event)[0] == REQUESTS[kind].event

    def test_sns_envelope_gives_the_same_event(self, kind):
        """An envelope adds nothing: same hash as without."""
        bare = decode(raw_body(REQUESTS[kind]), received_at=LATER)

        wrapped = decode(
            sns_body(
                raw_body(REQUESTS[kind]), f"flyteidl.admin.{TYPES[kind]}ExecutionEventRequest"
            ),
            received_at=LATER,
        )

        assert wrapped == bare

    @pytest.mark.parametrize("version", ["v1", "v2"])
    def test_cloud_events_in_protobuf(self, kind, version):
        """On SNS a CloudEvent is protobuf around JSON, under the subject of raw events."""
        data = data_of(kind, version)
        wire = base64.b64encode(cloud_event(type_of(kind, version), data)).decode()
        subject = type_of(kind, version).removeprefix("com.flyte.resource.")

        for text in (wire, sns_body(wire, subject)):
            event = decode(text, received_at=LATER)

            assert (event.kind, event.encoding, event.payload) == (kind, version, data)
            assert message(event)[0] == REQUESTS[kind].event

    @pytest.mark.parametrize("version", ["v1", "v2"])
    def test_cloud_events_in_json(self, kind, version):
        """Structured mode, and the bare data of binary mode, as other transports have."""
        data = data_of(kind, version)
        structured = {
            "specversion": "1.0",
            "type": type_of(kind, version),
            "id": "1",
            "source": "admin",
            "data": json.loads(data),
        }

        for text in (json.dumps(structured), data.decode()):
            event = decode(text, received_at=LATER)

            assert (event.kind, event.encoding) == (kind, version)
            assert message(event)[0] == REQUESTS[kind].event

    def test_body_is_the_inverse(self, kind):
        """What `export` writes decodes to the same event."""
        for text in (raw_body(REQUESTS[kind]), data_of(kind, "v2").decode()):
            event = decode(text, received_at=LATER)

            assert decode(body(event), received_at=LATER) == event


def test_phase_and_end_are_read():
    """Only a terminal workflow event ends an execution."""
    assert decoded(workflow_request("SUCCEEDED")).terminal
    assert not decoded(workflow_request("SUCCEEDING")).terminal
    assert not decoded(node_request(phase="SUCCEEDED")).terminal
    assert decoded(task_request(phase="RUNNING")).phase == "RUNNING"


def test_instance_becomes_part_of_the_id():
    event = decode(raw_body(node_request()), received_at=LATER, instance="eu")

    assert event.execution == ExecutionId(
        instance="eu", project="shop", domain="production", name="a1b2"
    )


def test_unknown_fields_are_kept():
    """A newer Flyte may add fields: the bytes stay, and so does the hash."""
    request = node_request().SerializeToString()
    newer = request + field(2, field(999, b"news"))

    event = decode(base64.b64encode(newer).decode(), received_at=LATER)

    assert event.payload == newer
    assert event.kind == "node"


BAD = {
    "empty": ("", "without an event"),
    "not base64": ("hello, world", "Neither JSON nor base64"),
    "dropped characters": (raw_body(node_request())[:-8] + "!!" + "AAAAAA==", "base64"),
    "broken JSON": ("{", "Not JSON"),
    "other JSON": ('{"a": 1}', "neither an SNS notification nor a CloudEvent"),
    "deep JSON": ('{"a":' * 100_000, "Not JSON"),
    "confirmation": ('{"Type": "SubscriptionConfirmation", "Message": ""}', "SubscriptionConfir"),
    "e-mail": (sns_body("Zm9v", "flyteidl.admin.EmailMessage"), "EmailMessage"),
    "message is not text": ('{"Type": "Notification", "Message": 1}', "not text"),
    "truncated": (base64.b64encode(node_request().SerializeToString()[:-5]).decode(), "truncated"),
    "other cloud event": (
        base64.b64encode(cloud_event("com.flyte.resource.cloudevents.ExecutionStart", b"{}")),
        "ExecutionStart",
    ),
    "no project": (raw_body(node_request(execution="A B")), "execution name"),
    "no phase": (raw_body(node_request(phase="UNDEFINED")), "phase"),
    "before Flyte": (raw_body(node_request(at=-20 * 365 * 86_400)), "cannot be when"),
    "tomorrow": (raw_body(node_request(at=3 * 86_400)), "cannot be when"),
    "no node": (raw_body(node_request(node="")), "node id"),
    "no name of a cached task": (
        raw_body(node_request(task_node_metadata=cached("app.etl\0"))),
        "identifier",
    ),
    "no name of a launch plan": (
        '{"rawEvent": {"executionId": {}}, "launchPlanId": {"name": "app.etl\\u0000"}}',
        "identifier",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_event_is_refused_with_the_reason(case):
    text, reason = BAD[case]

    with pytest.raises(DecodeError, match=reason):
        decode(text if isinstance(text, str) else text.decode(), received_at=LATER)


@settings(max_examples=500, deadline=None)
@given(
    kind=st.sampled_from(list(REQUESTS)),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 7)), max_size=4),
    cut=st.integers(0, 40),
)
def test_damaged_messages_never_raise_anything_else(kind, flips, cut):
    """Most damaged messages still parse; none of them gets a key that is not one."""
    data = bytearray(REQUESTS[kind].SerializeToString())
    for position, bit in flips:
        data[position % len(data)] ^= 1 << bit
    text = base64.b64encode(bytes(data[: len(data) - cut])).decode()

    try:
        event = decode(text, received_at=LATER)
    except DecodeError:
        return

    assert event.execution.name
    assert event.execution.name.isprintable()
    message(event)


def test_a_message_in_very_many_pieces_costs_what_its_bytes_cost():
    """Joined one by one they would be copied each time: gigabytes for one message."""
    text = base64.b64encode(field(2, b"\x0a") * 500_000).decode()
    began = time.process_time()

    with pytest.raises(DecodeError):
        decode(text, received_at=LATER)

    assert time.process_time() - began < 2


@given(st.text(max_size=200))
def test_any_text_is_decoded_or_refused(text):
    with pytest.raises(DecodeError):
        decode(text, received_at=LATER)


@pytest.mark.parametrize("depth", [50, 100, 500, 900, 980, 990, 994, 997, 1000, 5000, 500_000])
@pytest.mark.parametrize(
    "text",
    [
        "%s",
        '{"Message":"x","Type":%s}',
        '{"Message":"x","Subject":%s}',
        '{"Message":"x","TopicArn":%s}',
        '{"Message":%s}',
        '{"specversion":"1.0","type":"com.flyte.resource.cloudevents.NodeExecution","data":%s}',
        '{"specversion":"1.0","type":%s}',
        '{"rawEvent":{"id":%s}}',
        '{"event":{"executionId":{"project":%s}}}',
        '{"event":{"id":{"nodeId":"n"},"outputData":{"literals":{"a":%s}}}}',
        '{"flyteAdmin":%s}',
    ],
)
def test_nothing_is_nested_too_deep_to_be_refused(text, depth):
    """Wherever it is nested, and however close it comes to the end of the stack."""
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        nested = f"{opening * depth}1{closing * depth}"

        with pytest.raises(DecodeError):
            decode(text % nested, received_at=LATER, topics=["t"] if "Topic" in text else ())


class TestAnswersOfFlyteAdmin:
    def test_answer_is_an_event_that_ends_nothing(self):
        """It says who ran what; how it went is said by events alone."""
        event = decode(answer_body(execution_answer()), received_at=LATER)

        assert (event.kind, event.execution, event.terminal) == ("execution", EXECUTION, False)
        assert message(event) == (execution_answer(), None)

    def test_answer_survives_an_export(self):
        """`body` writes what `decode` reads."""
        event = decode(answer_body(execution_answer()), received_at=LATER)

        assert decode(body(event), received_at=LATER) == event

    def test_answer_without_a_phase_is_taken(self):
        """FlyteAdmin knows executions that no cluster has taken up yet."""
        answer = execution_answer()
        answer.closure.ClearField("phase")

        assert decode(answer_body(answer), received_at=LATER).phase == "UNDEFINED"

    @pytest.mark.parametrize("content", ["", "AAAA", "no base64!", base64.b64encode(b"x" * 9)])
    def test_what_only_looks_like_an_answer_is_refused(self, content):
        """Whoever can write to the queue can write this."""
        text = content if isinstance(content, str) else content.decode()

        with pytest.raises(DecodeError):
            decode(json.dumps({"flyteAdmin": text}), received_at=LATER)


class TestTopics:
    """With an allow-list only what SNS delivered from these topics is read."""

    def test_notification_of_an_allowed_topic_is_taken(self):
        """The envelope that SNS writes says which topic it came from."""
        text = sns_body(raw_body(REQUESTS["node"]))

        event = decode(text, received_at=LATER, topics={"arn:aws:sns:::other", TOPIC})

        assert event == decode(text, received_at=LATER)

    @pytest.mark.parametrize("topics", [["arn:aws:sns:::other"], {"arn:aws:sns:::other"}])
    def test_notification_of_another_topic_is_refused(self, topics):
        """It may well be an event, but nobody vouches for it."""
        with pytest.raises(ForeignTopicError, match="flyte"):
            decode(sns_body(raw_body(REQUESTS["node"])), received_at=LATER, topics=topics)

    @pytest.mark.parametrize("topic", [None, 7, "", [TOPIC], {"a": TOPIC}, TOPIC + " ", TOPIC[:-1]])
    def test_topic_is_compared_as_a_whole(self, topic):
        """Neither a part of its name nor anything that holds it will do."""
        envelope = json.loads(sns_body(raw_body(REQUESTS["node"]))) | {"TopicArn": topic}

        with pytest.raises(ForeignTopicError):
            decode(json.dumps(envelope), received_at=LATER, topics={TOPIC})

    @pytest.mark.parametrize("topic", [{}, {"TopicArn": TOPIC}])
    def test_event_without_an_envelope_is_refused(self, topic):
        """Raw delivery, or somebody who wrote to the queue: it cannot be told apart."""
        answer = json.loads(answer_body(execution_answer())) | topic
        bodies = [raw_body(REQUESTS["node"]), data_of("node", "v2").decode(), json.dumps(answer)]

        for text in bodies:
            with pytest.raises(ForeignTopicError, match="raw delivery"):
                decode(text, received_at=LATER, topics={TOPIC})

    def test_topic_is_looked_at_before_the_content(self):
        """What is not trusted is not parsed any further."""
        with pytest.raises(ForeignTopicError):
            decode(sns_body("no event at all"), received_at=LATER, topics={"arn:aws:sns:::other"})
