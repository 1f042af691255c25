"""What names a pipeline, a task, a dataset and a run; and what every value here is.

Ids are frozen values that compare by content. Their texts are keys in stores and files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value: equal by content, hashable, written as JSON by alias."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", serialize_by_alias=True, validate_by_alias=True
    )


def _utc(value: datetime) -> datetime:
    return value.astimezone(timezone.utc)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A datetime with a zone, turned to UTC; a naive one is refused."""

Custom = Mapping[str, str]
"""Free properties: names to texts."""


def digest(value: Value) -> str:
    """A stable hash of a value: 32 hex digits."""
    return hashlib.blake2b(value.model_dump_json().encode(), digest_size=16).hexdigest()


class ExecutionId(Value):
    """One workflow execution, unique in its Flyte deployment.

    Source: flyteidl core/identifier.proto, WorkflowExecutionIdentifier.
    """

    project: str
    domain: str
    name: str
    instance: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.instance, self.project, self.domain, self.name)))


class PipelineId(Value):
    """A workflow by its name, without a version: all of its executions share it.

    `instance` names the Flyte deployment where there are several. For jobs of other
    orchestrators `project` and `domain` may be empty.
    """

    project: str
    domain: str
    name: str
    instance: str = ""
    orchestrator: str = "flyte"

    def __str__(self) -> str:
        return ".".join(filter(None, (self.instance, self.project, self.domain, self.name)))


class TaskId(Value):
    """A task of a pipeline: Flyte's task name, and `@<spec node path>` where needed.

    `place` is the path of spec node ids from the top, joined by `/`. It is empty
    unless the task stands at several nodes of its pipeline.
    """

    pipeline: PipelineId
    name: str
    place: str = ""

    @property
    def local(self) -> str:
        """The task's name inside its pipeline, with its place."""
        return f"{self.name}@{self.place}" if self.place else self.name

    def __str__(self) -> str:
        return f"{self.pipeline}.{self.local}"


class DatasetId(Value):
    """A dataset as its own platform names it; spelled as DataHub's sources spell it."""

    platform: str
    name: str
    instance: str = ""

    def __str__(self) -> str:
        return f"{self.platform}:{'.'.join(filter(None, (self.instance, self.name)))}"


class RunId(Value):
    """An execution, or one attempt at one node of it."""

    execution: ExecutionId
    node: str | None = None
    attempt: int | None = None

    def __str__(self) -> str:
        parts = (str(self.execution), self.node, self.attempt)
        return "/".join(str(part) for part in parts if part is not None)
