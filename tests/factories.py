"""Messages with defaults: a test states only what its case is about."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone

from flyteidl.admin import common_pb2
from flyteidl.admin import event_pb2 as admin
from flyteidl.admin import execution_pb2 as admin_execution
from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.event import event_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from flytelineage.entities import ExecutionId
from flytelineage.events import Event, decode

TOPIC = "arn:aws:sns:us-east-1:123456789012:flyte"
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
EXECUTION = ExecutionId(project="shop", domain="production", name="a1b2")

Workflow = execution_pb2.WorkflowExecution
Node = execution_pb2.NodeExecution
TaskPhase = execution_pb2.TaskExecution


def stamp(second: float = 0) -> Timestamp:
    """The protobuf time so many seconds after `NOW`."""
    found = Timestamp()
    found.FromDatetime(NOW + timedelta(seconds=second))
    return found


def execution_id(name: str = "a1b2") -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(
        project="shop", domain="production", name=name
    )


def task_id(name: str = "app.etl.load", version: str = "v1") -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.TASK,
        project="shop",
        domain="production",
        name=name,
        version=version,
    )


def workflow_request(phase: str = "SUCCEEDED", *, at: float = 60, execution="a1b2", **fields):
    event = event_pb2.WorkflowExecutionEvent(
        execution_id=execution_id(execution),
        producer_id="propeller",
        phase=Workflow.Phase.Value(phase),
        occurred_at=stamp(at),
        **fields,
    )
    return admin.WorkflowExecutionEventRequest(event=event)


def node_request(
    node: str = "n0", phase: str = "SUCCEEDED", *, at: float = 30, execution="a1b2", **fields
):
    event = event_pb2.NodeExecutionEvent(
        id=identifier_pb2.NodeExecutionIdentifier(
            node_id=node, execution_id=execution_id(execution)
        ),
        producer_id="propeller",
        phase=Node.Phase.Value(phase),
        occurred_at=stamp(at),
        reported_at=stamp(at),
        event_version=1,
        **{"spec_node_id": node, **fields},
    )
    return admin.NodeExecutionEventRequest(event=event)


def task_request(
    node: str = "n0",
    phase: str = "RUNNING",
    *,
    at: float = 20,
    attempt: int = 0,
    execution="a1b2",
    **fields,
):
    event = event_pb2.TaskExecutionEvent(
        **{"task_id": task_id(), **fields},
        parent_node_execution_id=identifier_pb2.NodeExecutionIdentifier(
            node_id=node, execution_id=execution_id(execution)
        ),
        retry_attempt=attempt,
        phase=TaskPhase.Phase.Value(phase),
        occurred_at=stamp(at),
        reported_at=stamp(at),
        event_version=1,
    )
    return admin.TaskExecutionEventRequest(event=event)


def workflow_id(name: str = "app.etl.pipeline", version: str = "v1") -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.WORKFLOW,
        project="shop",
        domain="production",
        name=name,
        version=version,
    )


def execution_answer(workflow: str = "app.etl.pipeline", *, at: float = 60, execution="a1b2"):
    """What FlyteAdmin says of an execution."""
    return admin_execution.Execution(
        id=execution_id(execution),
        spec=admin_execution.ExecutionSpec(
            launch_plan=workflow_id("app.etl.nightly"),
            labels=common_pb2.Labels(values={"team": "data"}),
            metadata=admin_execution.ExecutionMetadata(
                mode="SCHEDULED", principal="ada", scheduled_at=stamp(-10)
            ),
        ),
        closure=admin_execution.ExecutionClosure(
            workflow_id=workflow_id(workflow),
            phase="SUCCEEDED",
            created_at=stamp(0),
            updated_at=stamp(at),
        ),
    )


def answer_body(answer) -> str:
    """The body under which an answer of FlyteAdmin is kept."""
    return json.dumps({"flyteAdmin": base64.b64encode(answer.SerializeToString()).decode()})


def raw_body(request) -> str:
    """A body as raw delivery gives it."""
    return base64.b64encode(request.SerializeToString()).decode()


def sns_body(message: str, subject: str = "flyteidl.admin.NodeExecutionEventRequest") -> str:
    """A body as SNS makes it without raw delivery."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "8d0a1b1e-0000-4000-8000-000000000000",
            "TopicArn": TOPIC,
            "Subject": subject,
            "Message": message,
            "Timestamp": "2026-05-01T12:00:00.000Z",
            "SignatureVersion": "1",
        }
    )


def decoded(request) -> Event:
    return decode(raw_body(request), received_at=NOW + timedelta(hours=1))
