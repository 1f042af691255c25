"""The event stream of an execution, and the message bodies that it becomes.

FlyteAdmin publishes one inner event in three encodings; SNS wraps it or hands it on
bare. A stream can be shuffled, doubled and thinned out, as queues do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timezone
from typing import Any, Literal, TypeAlias

from flyteidl.event import cloudevents_pb2
from google.protobuf import json_format

from flytelineage.testing.simulator.cloudevents import cloud_event
from flytelineage.testing.simulator.compiled import (
    task_interface,
    task_of,
    workflow_identifier,
    workflow_interface,
)
from flytelineage.testing.simulator.execution import Execution
from flytelineage.testing.simulator.kinds import (
    Produced,
)
from flytelineage.testing.simulator.literals import seeded
from flytelineage.testing.simulator.reports import task_identifier
from flytelineage.testing.simulator.story import Story
from flytelineage.testing.simulator.truth import Knowledge, Teller, Truth
from flytelineage.testing.simulator.workflows import (
    Taken,
    output_kinds,
)

Encoding: TypeAlias = Literal["raw", "v1", "v2"]
Delivery: TypeAlias = Literal["sns", "raw"]
ENCODINGS: tuple[Encoding, ...] = ("raw", "v1", "v2")
DELIVERIES: tuple[Delivery, ...] = ("sns", "raw")

TOPIC = "arn:aws:sns:us-east-1:123456789012:flyte-events"
_V1_SOURCE = "https://github.com/flyteorg/flyte/flyteadmin"
_V1_SCHEMA = "https://github.com/flyteorg/flyteidl/blob/v0.24.14/jsonschema/workflow_execution.json"


@dataclass(frozen=True)
class Stream:
    """What FlyteAdmin publishes about one execution, and what is true of it.

    Attributes:
        requests: `*ExecutionEventRequest` messages, in the order of publication.
        principal, labels: What only version 2 of the CloudEvents tells.
        children: Streams of the executions that launch-plan nodes started.
    """

    requests: tuple[Any, ...]
    execution: Execution
    story: Story
    principal: str = "flyte"
    labels: Mapping[str, str] = field(default_factory=dict)
    children: tuple[Stream, ...] = ()

    # -------------------------------------------------------------------- truth

    @property
    def truth(self) -> Truth:
        """What is true, under the workflow's true name, as CloudEvents of version 2 tell it."""
        return self._truth("named")

    @property
    def guessed_truth(self) -> Truth:
        """The same under the name that is guessed where nobody says the true one."""
        return self._truth("guessed")

    @property
    def admin_truth(self) -> Truth:
        """The same with all that FlyteAdmin knows: every interface, and the whole graph."""
        return self._truth("admin")

    def _truth(self, known: Knowledge) -> Truth:
        return Teller(self.story, known).tell(self.execution.phase, self.execution.attempts)

    def family(self) -> Iterator[Stream]:
        """The stream, and those of all executions that it started."""
        yield self
        for child in self.children:
            yield from child.family()

    def output(self, path: str, variable: str = "o0") -> Produced:
        """What a node made, to be an input of a later execution.

        Args:
            path: The node's spec id, with those of the nodes around it: `n4/n0`.
            variable: The output's name.
        """
        node, workflow = self.execution.interfaces[self.execution.places[path].id]
        return Produced(
            literal=self.execution.results[path][variable],
            told=self.story.results[path][variable],
            kind=output_kinds(node, workflow)[variable],
        )

    def outputs(self, path: str) -> dict[str, Produced]:
        """All that a node made, by variable."""
        return {name: self.output(path, name) for name in self.execution.results[path]}

    def source(self, path: str) -> tuple[str, str, int]:
        """Execution, node id and attempt, as the cache remembers who made something."""
        place = self.execution.places[path]
        return self.execution.name, place.id, place.attempt

    def taken(self, path: str) -> Taken:
        """All of a node that another execution may take over."""
        child = self.execution.children.get(path)
        return Taken(self.outputs(path), self.source(path), child.name if child else "")

    # ----------------------------------------------------------------- disorder

    def shuffled(self, seed: int) -> Stream:
        """The same messages in any order."""
        order = list(self.requests)
        seeded("shuffled", seed).shuffle(order)
        return replace(self, requests=tuple(order))

    def duplicated(self, seed: int, *, share: float = 0.5) -> Stream:
        """Some messages twice, the second time at a later place."""
        numbers, end = seeded("duplicated", seed), len(self.requests)
        placed = [(float(at), request) for at, request in enumerate(self.requests)]
        again = [
            (numbers.uniform(at, end), request)
            for at, request in placed
            if numbers.random() < share
        ]
        order = sorted(placed + again, key=lambda entry: entry[0])
        return replace(self, requests=tuple(request for _, request in order))

    def dropped(self, seed: int, *, share: float = 0.2) -> Stream:
        """Without some messages."""
        numbers = seeded("dropped", seed)
        return self.without(lambda _: numbers.random() < share)

    def without(self, lost: Callable[[Any], bool]) -> Stream:
        """Without the messages of which `lost` says yes, by the inner event."""
        kept = (request for request in self.requests if not lost(request.event))
        return replace(self, requests=tuple(kept))

    def flooded(self, events: int) -> Iterator[Any]:
        """The same messages among so many, made one by one, that tell nothing new.

        The others say again and again that an attempt still runs, each with a version of
        its own, so that they are as many different events of as few nodes.

        Args:
            events: How many come out in all; at least as many as there are.
        """
        running = [id(request) for request in self.requests if _is_running(request)]
        more, rest = divmod(max(0, events - len(self.requests)), max(1, len(running)))
        extra = {key: more + (at < rest) for at, key in enumerate(running)}
        for request in self.requests:
            yield request
            yield from _still_running(request, extra.get(id(request), 0))

    # ------------------------------------------------------------------- bodies

    def bodies(self, encoding: Encoding = "raw", delivery: Delivery = "sns") -> list[str]:
        """Bodies of SQS messages, in the order of publication."""
        return list(self.encoded(self.requests, encoding, delivery))

    def encoded(
        self, requests: Iterable[Any], encoding: Encoding = "raw", delivery: Delivery = "sns"
    ) -> Iterator[str]:
        """Bodies of some of its messages, made one by one."""
        for number, request in enumerate(requests):
            yield self._body(request, number, encoding, delivery)

    def mixed(self, seed: int) -> list[str]:
        """Bodies in all encodings and deliveries: each message in one or two of them."""
        numbers = seeded("mixed", seed)
        ways = [(encoding, delivery) for encoding in ENCODINGS for delivery in DELIVERIES]
        return [
            self._body(request, number, *way)
            for number, request in enumerate(self.requests)
            for way in numbers.sample(ways, numbers.randint(1, 2))
        ]

    def _body(self, request: Any, number: int, encoding: Encoding, delivery: Delivery) -> str:
        data = self._encoded(request, encoding)
        message = base64.b64encode(data.SerializeToString(deterministic=True)).decode()
        if delivery == "raw":
            return message
        subject = data.type.removeprefix("com.flyte.resource.") if encoding != "raw" else ""
        subject = subject or request.DESCRIPTOR.full_name
        return self._notification(message, subject, request, number)

    def _encoded(self, request: Any, encoding: Encoding) -> Any:
        if encoding == "raw":
            return request
        return self._first(request) if encoding == "v1" else self._second(request)

    def _notification(self, message: str, subject: str, request: Any, number: int) -> str:
        """The JSON that SNS puts around a message, as AWS writes it."""
        numbers = seeded("sns", self.execution.settings.seed, self.execution.name, number, subject)
        at = request.event.occurred_at.ToDatetime(tzinfo=timezone.utc)
        certificate = f"SimpleNotificationService-{numbers.getrandbits(128):032x}.pem"
        endpoint = "https://sns.us-east-1.amazonaws.com"
        return json.dumps(
            {
                "Type": "Notification",
                "MessageId": _uuid(numbers.getrandbits(128)),
                "TopicArn": TOPIC,
                "Subject": subject,
                "Message": message,
                "Timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
                "SignatureVersion": "1",
                "Signature": base64.b64encode(numbers.randbytes(256)).decode(),
                "SigningCertURL": f"{endpoint}/{certificate}",
                "UnsubscribeURL": f"{endpoint}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:"
                + _uuid(numbers.getrandbits(128)),
            },
            indent=2,
            separators=(",", " : "),
        )

    # -------------------------------------------------------------- CloudEvents

    def _first(self, request: Any) -> Any:
        """Version 1: the request as JSON, and a schema that is wrong for most."""
        attributes = {"datacontenttype": "application/json", "jsonschemaurl": _V1_SCHEMA}
        return cloud_event(
            id=_event_id(request.event),
            source=_V1_SOURCE,
            type=f"com.flyte.resource.{request.DESCRIPTOR.full_name}",
            at=request.event.occurred_at,
            attributes=attributes,
            data=_json(request),
        )

    def _second(self, request: Any) -> Any:
        """Version 2: the event inside a message that knows more of what succeeded."""
        event = request.event
        kind = event.DESCRIPTOR.name.removesuffix("Event")
        outer = getattr(cloudevents_pb2, f"CloudEvent{kind}")(raw_event=event)
        if kind == "TaskExecution":
            outer.labels.update(self.labels)
        elif _phase(event) == "SUCCEEDED":
            self._enrich(outer, kind)
        return cloud_event(
            id=_event_id(event),
            source=_second_source(event, kind),
            type=f"com.flyte.resource.cloudevents.{kind}",
            at=event.occurred_at,
            attributes={"datacontenttype": "application/json", "jsonschemaurl": ""},
            data=_json(outer),
        )

    def _enrich(self, outer: Any, kind: str) -> None:
        """What Admin looks up in its database; never for a start-node."""
        if kind == "NodeExecution":
            if outer.raw_event.spec_node_id == "start-node":
                return
            self._enrich_node(outer)
        else:
            outer.output_interface.CopyFrom(workflow_interface(self.execution.workflow))
        workflow = self.execution.workflow
        plan = workflow_identifier(workflow, "LAUNCH_PLAN", workflow.launch_plan)
        outer.launch_plan_id.CopyFrom(plan)
        outer.principal = self.principal
        outer.labels.update(self.labels)

    def _enrich_node(self, outer: Any) -> None:
        """The latest attempt and its task's interface; a cache hit had no attempt."""
        node_id = outer.raw_event.id.node_id
        attempt = self.execution.last_attempt(node_id)
        # Where the items of an array speak for themselves it has no attempt.
        if (
            attempt is None
            or attempt.cached
            or (outer.raw_event.is_array and outer.raw_event.is_parent)
        ):
            return
        node, workflow = self.execution.interfaces[node_id]
        task = task_of(node)
        found = outer.task_exec_id
        found.task_id.CopyFrom(task_identifier(task, workflow.project, workflow.domain))  # type: ignore[arg-type]
        found.node_execution_id.CopyFrom(outer.raw_event.id)
        found.retry_attempt = attempt.number
        outer.output_interface.CopyFrom(task_interface(node, workflow))


def _is_running(request: Any) -> bool:
    of_attempt = request.event.DESCRIPTOR.name == "TaskExecutionEvent"
    return of_attempt and _phase(request.event) == "RUNNING"


def _still_running(request: Any, times: int) -> Iterator[Any]:
    """The same word of an attempt, in further versions.

    They start far above those that propeller itself comes to.
    """
    for number in range(times):
        again = type(request)()
        again.CopyFrom(request)
        again.event.phase_version = 1000 + number
        yield again


def _event_id(event: Any) -> str:
    """`<Go text of the id>.<PHASE>`; of a task's event it is the task's id alone."""
    id = event.execution_id if hasattr(event, "execution_id") else None
    id = id or (event.task_id if hasattr(event, "task_id") else event.id)
    return f"{' '.join(str(id).split())}.{_phase(event)}"


def _phase(event: Any) -> str:
    return str(
        event.DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_number[event.phase].name
    )


def _second_source(event: Any, kind: str) -> str:
    if kind == "WorkflowExecution":
        return f"{event.execution_id.name}/end-node"
    node = event.id if kind == "NodeExecution" else event.parent_node_execution_id
    source = f"{node.execution_id.name}/{node.node_id}"
    return source if kind == "NodeExecution" else f"{source}/{event.retry_attempt}"


def _json(message: Any) -> bytes:
    """jsonpb: lowerCamelCase, no blanks, zero values left out."""
    return json.dumps(json_format.MessageToDict(message), separators=(",", ":")).encode()


def _uuid(number: int) -> str:
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
