"""What FlytePropeller reports of one execution, as FlyteAdmin publishes it.

Each method makes one request of flyteidl, with exactly the fields that propeller fills,
and adds it to `published`. What Admin never publishes is not made here at all.

Source: flytepropeller pkg/controller/nodes/transformers.go, nodes/task/transformer.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from flyteidl.admin import event_pb2 as admin_pb2
from flyteidl.core import (
    catalog_pb2,
    execution_pb2,
    identifier_pb2,
    literals_pb2,
)
from flyteidl.event import event_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from flytelineage.testing.simulator.workflows import (
    Task,
)

PRODUCER = "propeller"
Error = execution_pb2.ExecutionError


@dataclass
class Place:
    """A node of one execution: its ids, and where its files lie.

    Attributes:
        id: Unique in the execution; `spec_id` is its id in the compiled workflow.
        path: Spec ids from the top, for which nothing but the simulator cares.
        folder: The URI of its data directory.
        target: The `Identifier` of its task or launch plan, where events carry one.
        is_parent, is_dynamic: What its next events say; they change on the way.
        attempt: The one that runs; the last one, once it is over.
        task: What its task events are about, once there may be some.
        started: Whether the attempt had its first event, the unpublished one.
        inputs_at: Where its inputs are, if not in its own folder.
        item: Which item of the array node above it is.
    """

    id: str
    spec_id: str
    path: str
    folder: str
    name: str = ""
    parent: Place | None = None
    target: Any = None
    in_dynamic: bool = False
    is_array: bool = False
    is_parent: bool = False
    is_dynamic: bool = False
    attempt: int = 0
    task: Task | None = None
    started: bool = False
    inputs_at: str = ""
    item: int | None = None

    @property
    def input_uri(self) -> str:
        """Where propeller puts the inputs; `start-node` has none."""
        if self.inputs_at:
            return self.inputs_at
        return "" if self.spec_id == "start-node" else f"{self.folder}/inputs.pb"

    @property
    def output_folder(self) -> str:
        """The folder of this attempt's outputs, and of the nodes inside of it."""
        return f"{self.folder}/{self.attempt}"

    @property
    def output_uri(self) -> str:
        """Where the outputs of this attempt are, or would be."""
        return f"{self.output_folder}/outputs.pb"

    @property
    def deck_uri(self) -> str:
        """Where a task's deck is."""
        return f"{self.output_folder}/deck.html"

    def inside(self, other: Place | None) -> bool:
        """Whether it stands somewhere below another node; everything is below `None`."""
        place = self.parent
        while place is not None and place is not other:
            place = place.parent
        return place is other


@dataclass(frozen=True)
class Data:
    """Outputs: where they are, and what; `None` where no file was written."""

    uri: str
    literals: Mapping[str, Any] | None


def unique_id(*parts: str, limit: int = 20) -> str:
    """An id of at most `limit` characters; a longer one becomes a hash of 8.

    Source: flyteplugins go/tasks/pluginmachinery/encoding/encoder.go.
    """
    text = "-".join(filter(None, parts))
    return text if len(text) <= limit else _hashed(text, 0x811C9DC5, 0x01000193, 4)


def child_name(*parts: str) -> str:
    """The name of an execution that a launch-plan node starts: `f` and 13 characters."""
    return _hashed("-".join(parts), 0xCBF29CE484222325, 0x100000001B3, 8)


def _hashed(text: str, value: int, prime: int, size: int) -> str:
    """FNV-1a in Flyte's own base 32."""
    for byte in text.encode():
        value = (value ^ byte) * prime % (1 << 8 * size)
    usual = base64.b32encode(value.to_bytes(size, "big")).decode().rstrip("=")
    own = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdefghijklmnopqrstuvwxyz123456")
    return "f" + usual.translate(own)


def task_identifier(task: Task, project: str, domain: str) -> Any:
    """The `Identifier` of a registered task."""
    return identifier_pb2.Identifier(
        resource_type="TASK", project=project, domain=domain, name=task.name, version=task.version
    )


class Reports:
    """The reports of one execution, in the order in which Admin publishes them.

    Args:
        execution: A `WorkflowExecutionIdentifier`.
        clock: Says milliseconds since `start`.
        inline: Propeller's `raw-output-policy`: data in the event, not its URI.

    Attributes:
        published: What came out, in order.
        lost: What FlyteAdmin keeps but could not publish.
    """

    def __init__(
        self, execution: Any, start: datetime, clock: Callable[[], int], *, inline: bool
    ) -> None:
        self.execution = execution
        self.published: list[Any] = []
        self.lost: list[Any] = []
        self._start = start
        self._clock = clock
        self._inline = inline

    def workflow(self, phase: str, *, error: Any = None, output: Data | None = None) -> None:
        """Report the execution's phase."""
        event = event_pb2.WorkflowExecutionEvent(
            execution_id=self.execution,
            producer_id=PRODUCER,
            phase=phase,
            occurred_at=self._now(),
            error=error,
        )
        self._put_output(event, output)
        self.published.append(admin_pb2.WorkflowExecutionEventRequest(event=event))

    def node(
        self,
        place: Place,
        phase: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        output: Data | None = None,
        lost: bool = False,
        **more: Any,
    ) -> None:
        """Report a node's phase.

        Args:
            place: The node.
            phase: A `core.NodeExecution.Phase`.
            inputs: Only when queued or recovered: only then the inline policy sends them.
            output: Only when it succeeded.
            lost: Whether the event is too large for the topic.
            more: Other fields of the event, by their names.
        """
        event = event_pb2.NodeExecutionEvent(
            id=self._node_id(place),
            producer_id=PRODUCER,
            phase=phase,
            occurred_at=self._now(),
            reported_at=self._now(milliseconds=7),
            event_version=1,
            spec_node_id=place.spec_id,
            node_name=place.name,
            is_array=place.is_array,
            is_parent=place.is_parent,
            is_dynamic=place.is_dynamic,
            is_in_dynamic_chain=place.in_dynamic,
            target_entity=place.target,
            **more,
        )
        if place.parent:
            event.parent_node_metadata.node_id = place.parent.id
            event.retry_group = str(place.parent.attempt)
        self._put_input(event, place, inputs)
        self._put_output(event, output)
        request = admin_pb2.NodeExecutionEventRequest(event=event)
        (self.lost if lost else self.published).append(request)

    def fake_item(self, array: Place, task: Task, index: int, phase: str) -> None:
        """Report what an array node makes up about one of its items.

        Neither the node nor the task of these events exists. Below the top Admin does not
        know the parent that they name, and refuses them.
        Source: flytepropeller pkg/controller/nodes/array/event_recorder.go, sendEvents.
        """
        if array.parent:
            return
        id = identifier_pb2.NodeExecutionIdentifier(
            node_id=f"{array.spec_id}-n{index}", execution_id=self.execution
        )
        parent = event_pb2.ParentNodeExecutionMetadata(node_id=array.spec_id)
        node = event_pb2.NodeExecutionEvent(
            id=id,
            phase=phase,
            occurred_at=self._now(),
            reported_at=self._now(),
            parent_node_metadata=parent,
        )
        self.published.append(admin_pb2.NodeExecutionEventRequest(event=node))
        if phase == "QUEUED":
            return  # the first task event of an attempt is never published
        made_up = replace(task, name=f"{id.node_id}-{array.attempt}", version="v1")
        attempt = event_pb2.TaskExecutionEvent(
            task_id=task_identifier(made_up, self.execution.project, self.execution.domain),
            parent_node_execution_id=id,
            phase=phase,
            task_type="k8s-array",
            occurred_at=self._now(),
            reported_at=self._now(),
        )
        self.published.append(admin_pb2.TaskExecutionEventRequest(event=attempt))

    def node_aborted(self, place: Place, reason: str) -> None:
        """Report an abort: the only node event without spec id, parent and version."""
        event = event_pb2.NodeExecutionEvent(
            id=self._node_id(place),
            producer_id=PRODUCER,
            phase="ABORTED",
            occurred_at=self._now(),
            reported_at=self._now(milliseconds=7),
            error=Error(code="NodeAborted", message=reason),
        )
        self.published.append(admin_pb2.NodeExecutionEventRequest(event=event))

    def task(
        self,
        place: Place,
        task: Task,
        phase: str,
        *,
        version: int = 0,
        output: Data | None = None,
        **more: Any,
    ) -> None:
        """Report the phase of an attempt.

        Never call it for an attempt's first event: Admin stores that one and returns.
        Source: flyteadmin pkg/manager/impl/task_execution_manager.go.
        """
        event = event_pb2.TaskExecutionEvent(
            task_id=task_identifier(task, self.execution.project, self.execution.domain),
            parent_node_execution_id=self._node_id(place),
            retry_attempt=place.attempt,
            phase=phase,
            phase_version=version,
            producer_id=PRODUCER,
            occurred_at=self._pod_time(),
            reported_at=self._now(milliseconds=3),
            task_type="container_array" if place.is_array else task.task_type,
            event_version=1,
            **more,
        )
        if not place.is_array:  # array nodes tell inputs in the unpublished event only
            event.metadata.generated_name = self.generated_name(place)
            event.metadata.plugin_identifier = "container"
            if not self._inline:
                event.input_uri = place.input_uri
        self._put_output(event, output)
        self.published.append(admin_pb2.TaskExecutionEventRequest(event=event))

    def generated_name(self, place: Place) -> str:
        """The name of the pod, and of its folder in the raw output."""
        return unique_id(self.execution.name, place.id, str(place.attempt), limit=50)

    def task_execution_id(self, place: Place, task: Task) -> Any:
        """The `TaskExecutionIdentifier` of the attempt that runs."""
        return identifier_pb2.TaskExecutionIdentifier(
            task_id=task_identifier(task, self.execution.project, self.execution.domain),
            node_execution_id=self._node_id(place),
            retry_attempt=place.attempt,
        )

    def log(self, place: Place, name: str = "Kubernetes Logs") -> Any:
        """A link to the logs of the pod."""
        pod = self.generated_name(place)
        return execution_pb2.TaskLog(
            uri=f"https://logs.example.com/{pod}", name=name, message_format="JSON"
        )

    def _node_id(self, place: Place) -> Any:
        return identifier_pb2.NodeExecutionIdentifier(node_id=place.id, execution_id=self.execution)

    def _put_input(self, event: Any, place: Place, inputs: Mapping[str, Any] | None) -> None:
        if not self._inline:
            event.input_uri = place.input_uri
        elif inputs is not None:
            event.input_data.CopyFrom(literals_pb2.LiteralMap(literals=dict(inputs)))

    def _put_output(self, event: Any, output: Data | None) -> None:
        if output is None:
            return
        if self._inline and output.literals is not None:
            event.output_data.CopyFrom(literals_pb2.LiteralMap(literals=dict(output.literals)))
        else:
            event.output_uri = output.uri

    def _now(self, *, milliseconds: int = 0) -> Timestamp:
        return _timestamp(self._start + timedelta(milliseconds=self._clock() + milliseconds))

    def _pod_time(self) -> Timestamp:
        """Kubernetes tells whole seconds."""
        return _timestamp(
            (self._start + timedelta(milliseconds=self._clock())).replace(microsecond=0)
        )


def _timestamp(at: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(at)
    return found


def cache_metadata(
    status: str, workflow: Any, place: Place, source: Any | None
) -> event_pb2.TaskNodeMetadata:
    """What a node event says of the cache; `source` is a `TaskExecutionIdentifier`."""
    key = catalog_pb2.CatalogMetadata(
        dataset_id=identifier_pb2.Identifier(
            resource_type="DATASET",
            project=workflow.project,
            domain=workflow.domain,
            name=f"flyte_task-{place.task.name if place.task else place.spec_id}",
            version="1.0-simulated",
        ),
        artifact_tag=catalog_pb2.CatalogArtifactTag(
            artifact_id=f"artifact-{place.id}", name=f"flyte_cached-{place.id}"
        ),
        source_task_execution=source,
    )
    return event_pb2.TaskNodeMetadata(cache_status=status, catalog_key=key)


def array_resources(
    reports: Reports, items: Sequence[Place], phases: Mapping[str, str]
) -> Sequence[event_pb2.ExternalResourceInfo]:
    """One entry per item of an array node; `phases` by the item's id."""
    return [
        event_pb2.ExternalResourceInfo(
            external_id=reports.generated_name(item),
            index=index,
            retry_attempt=item.attempt,
            phase=phases[item.id],
            logs=[reports.log(item, f"Kubernetes Logs #0-{index}")],
        )
        for index, item in enumerate(items)
    ]


def error_of(code: str, message: str, kind: str = "USER") -> Any:
    """An `ExecutionError`."""
    return Error(code=code, message=message, kind=kind)
