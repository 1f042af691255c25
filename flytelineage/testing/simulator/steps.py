"""What the parts of an execution that is played say to each other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from flytelineage.testing.simulator.kernel import Failure, Process, Watch
from flytelineage.testing.simulator.reports import Place, error_of
from flytelineage.testing.simulator.values import Literals
from flytelineage.testing.simulator.workflows import Node, Outcome, Workflow

Steps: TypeAlias = "Generator[int | Sequence[Process] | Watch, None, Literals]"
Phase: TypeAlias = Literal["SUCCEEDED", "FAILED", "ABORTED", "RUNNING"]


@dataclass(frozen=True)
class Attempt:
    """One attempt at a node that runs a task; a node that was taken over has one.

    Attributes:
        path: The node's; of an item of an array node, that node's.
        phase: How it ended; of a node's last attempt, how the node did.
        cached: Whether the cache answered.
    """

    path: str
    node_id: str
    number: int
    task: str
    phase: str
    cached: bool = False


@dataclass(frozen=True)
class Scope:
    """A graph that runs: of the workflow, a sub-workflow, a branch, a dynamic node.

    Attributes:
        abandoned: Whether the attempt of the parent that it belongs to will fail.
        results, processes: By spec id.
    """

    workflow: Workflow
    inputs: Literals
    parent: Place | None = None
    dynamic: bool = False
    abandoned: bool = False
    results: dict[str, Literals] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A node that is about to run: where it stands, what it is given, how it fares."""

    scope: Scope
    place: Place
    node: Node
    inputs: Literals
    outcome: Outcome


class NodeFailed(Failure):
    """A node failed or timed out; `more` are further fields of its event."""

    def __init__(self, place: Place, phase: str, error: Any = None, **more: Any) -> None:
        super().__init__(phase)
        self.place, self.phase, self.more = place, phase, more
        self.error = error or error_of("TimeoutExpired", "The node timed out", "SYSTEM")
        self.reported = error


class Skipped(Failure):
    """A node did not run, since one upstream of it failed."""


class Ended(Exception):
    """The whole execution ends here, or is looked at while it runs."""

    def __init__(self, phase: Phase) -> None:
        super().__init__(phase)
        self.phase = phase
