"""What is known of one execution: the facts that `fold` makes of its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from flytelineage.entities import ErrorInfo, ExecutionId, Link


class Identifier(NamedTuple):
    """A registered task, workflow or launch plan.

    Source: flyteidl core/identifier.proto, Identifier.
    """

    project: str
    domain: str
    name: str
    version: str


class Literals(NamedTuple):
    """Where a literal map is: an object, or the bytes that the event carried."""

    uri: str = ""
    inline: bytes = b""


class Origin(NamedTuple):
    """The attempt whose outputs the cache handed out.

    Source: flyteidl core/catalog.proto, CatalogMetadata.source_task_execution.
    """

    execution: ExecutionId
    node: str


class Closure(NamedTuple):
    """The graph that one attempt of a dynamic node made.

    Attributes:
        compiled: A serialised `CompiledWorkflowClosure`.
    """

    attempt: int
    compiled: bytes


class Answer(NamedTuple):
    """What FlyteAdmin says of an execution: who ran what, and why.

    Source: flyteidl admin/execution.proto, Execution.

    Attributes:
        mode: `MANUAL`, `SCHEDULED`, `RECOVERED`, `CHILD_WORKFLOW`, ...
        parent: The execution and node that launched it.
        reference: The execution that it relaunches or recovers.
    """

    workflow: Identifier | None
    mode: str
    scheduled_at: datetime | None
    parent: Origin | None
    reference: ExecutionId | None


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One attempt at a node, from task events. `number` counts from 0."""

    number: int
    task: Identifier
    phase: str = "UNDEFINED"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: ErrorInfo | None = None
    task_type: str = ""
    links: tuple[Link, ...] = ()
    outputs: Literals | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node, from its own events and those of its attempts.

    Attributes:
        id: Unique in the execution; `spec_id` is its id in the compiled workflow.
        parent: `id` of the enclosing node; empty at the top.
        retry_group: The parent's attempt that made this node; empty at the top.
        task, launch_plan: What it runs; `child` is the execution that it started.
        queued_at: Its earliest event: what it waits for was over by then. `None` where
            nothing was seen of a node that ran but its end.
        attempt: The number of the attempt that wrote its outputs, where they say it.
        closure: The graph that a dynamic node made, of its last attempt that told one.
        catalogued: The task whose outputs the cache handed out.
    """

    id: str
    spec_id: str = ""
    parent: str = ""
    retry_group: str = ""
    name: str = ""
    phase: str = "UNDEFINED"
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: ErrorInfo | None = None
    task: Identifier | None = None
    launch_plan: Identifier | None = None
    child: ExecutionId | None = None
    is_parent: bool = False
    is_dynamic: bool = False
    is_array: bool = False
    attempt: int | None = None
    closure: Closure | None = None
    cache_status: str = ""
    catalogued: Identifier | None = None
    origin: Origin | None = None
    inputs: Literals | None = None
    outputs: Literals | None = None
    interface: bytes = b""
    attempts: tuple[AttemptFacts, ...] = ()

    @property
    def terminal(self) -> bool:
        """Whether the node's own events say that it is over."""
        return self.phase in TERMINAL_NODE_PHASES

    @property
    def succeeded(self) -> bool:
        """Whether its outputs hold: run, taken from the cache, or recovered."""
        return self.phase in ("SUCCEEDED", "RECOVERED")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one execution.

    Attributes:
        phase: The terminal phase once there is one.
        started_at: The earliest `occurred_at` of all events.
        ended_at: When the terminal phase was reached; `None` before.
        nodes: By node id, sorted.
        launch_plan, principal, labels: From CloudEvents of version 2, or FlyteAdmin.
        answer: The rest of what FlyteAdmin said; `None` until it was asked.
    """

    execution: ExecutionId
    phase: str = "UNDEFINED"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: ErrorInfo | None = None
    outputs: Literals | None = None
    launch_plan: Identifier | None = None
    principal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    answer: Answer | None = None
    nodes: Mapping[str, NodeFacts] = field(default_factory=dict)

    @property
    def workflow(self) -> Identifier | None:
        """The workflow that ran; only FlyteAdmin knows it."""
        return self.answer.workflow if self.answer else None


TERMINAL_NODE_PHASES = frozenset(
    {"SUCCEEDED", "FAILED", "ABORTED", "SKIPPED", "TIMED_OUT", "RECOVERED"}
)
"""Source: flyteadmin pkg/common/executions.go."""
