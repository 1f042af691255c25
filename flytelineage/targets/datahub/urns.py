"""From our ids to DataHub's URNs; pure, and without DataHub's client.

A URN cannot change once it was emitted, so the rules here are frozen. GMS refuses URNs
whose URL-encoded form is longer than 512 bytes: names that would lead there end in a
digest of the whole name instead.

Source: datahub-project/datahub, docs/what/urn.md and UrnValidationUtil.java.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from urllib.parse import quote

from flytelineage.entities import DatasetId, ExecutionId, Owner, PipelineId, RunId, TaskId

FLYTE = "flyte"
"""The platform and orchestrator that our ids name; `Urns.platform` may rename it."""

MAX_URN_BYTES = 512
# The URN of a job holds that of its flow, so a flow may only take a part.
_MAX_FLOW_URN_BYTES = 320

# U+241F separates the parts of compound keys in patches.
_RESERVED = str.maketrans({",": "%2C", "(": "%28", ")": "%29", "␟": "%E2%90%9F"})


@dataclass(frozen=True)
class Urns:
    """Names entities as one deployment of DataHub knows them.

    Attributes:
        platform: What DataHub calls Flyte.
        instance: The platform instance of Flyte; goes before the instance that an id
            carries itself, and never in addition to it.
        env: DataHub's fabric, e.g. `PROD`.
    """

    platform: str = FLYTE
    instance: str = ""
    env: str = "PROD"

    def platform_of(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        """The platform's URN."""
        return f"urn:li:dataPlatform:{self._platform(id)}"

    def instance_of(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        """The platform instance's URN; empty where there is none."""
        instance = self._instance(id)
        if not instance:
            return ""
        return f"urn:li:dataPlatformInstance:({self.platform_of(id)},{instance})"

    def flow(self, id: PipelineId) -> str:
        """The dataFlow of a pipeline."""
        name = _dotted(self._instance(id), id.project, id.domain, id.name)
        before, after = f"urn:li:dataFlow:({self._platform(id)},", f",{self.env})"
        return _fitted(before, name, after, _MAX_FLOW_URN_BYTES)

    def job(self, id: TaskId) -> str:
        """The dataJob of a task."""
        return _fitted(f"urn:li:dataJob:({self.flow(id.pipeline)},", id.local, ")")

    def dataset(self, id: DatasetId) -> str:
        """The dataset."""
        name = _dotted(self._instance(id), id.name)
        return _fitted(f"urn:li:dataset:({self.platform_of(id)},", name, f",{self.env})")

    def column(self, id: DatasetId, path: str) -> str:
        """The schemaField of a column; not limited in length."""
        return f"urn:li:schemaField:({self.dataset(id)},{path.translate(_RESERVED)})"

    def run(self, id: RunId) -> str:
        """The dataProcessInstance of a run.

        DataHub's own rule leaves the platform instance out, so that one execution id in
        two deployments would be one run: here the instance is a part of the id.
        Source: datahub/api/entities/dataprocess/dataprocess_instance.py
        """
        execution = id.execution
        parts = (
            self._instance(execution),
            execution.project,
            execution.domain,
            execution.name,
            id.node,
            id.attempt,
        )
        return self._process("/".join(str(part) for part in parts if part not in (None, "")))

    def last_run(self, id: PipelineId) -> str:
        """The one dataProcessInstance of a pipeline, whichever run it stands for."""
        return self._process(self.flow(id))

    def _process(self, name: str) -> str:
        key = {"cluster": self.env, "id": name, "orchestrator": self.platform}
        content = json.dumps(key, separators=(",", ":"), sort_keys=True).encode()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return f"urn:li:dataProcessInstance:{digest}"

    def owner(self, owner: Owner) -> str:
        """The corpuser or corpGroup."""
        return _named("corpuser" if owner.kind == "user" else "corpGroup", owner.id)

    def tag(self, name: str) -> str:
        """The tag."""
        return _named("tag", name)

    def is_ours(self, id: PipelineId | DatasetId | ExecutionId) -> bool:
        """Whether the entity is Flyte's, so that nobody else describes it."""
        return _platform(id) == FLYTE

    def _platform(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        return self.platform if self.is_ours(id) else _platform(id)

    def _instance(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        return (self.instance if self.is_ours(id) else "") or id.instance


def _platform(id: PipelineId | DatasetId | ExecutionId) -> str:
    match id:
        case PipelineId():
            return id.orchestrator
        case DatasetId():
            return id.platform
        case ExecutionId():
            return FLYTE


def encoded_bytes(urn: str) -> int:
    """The length that GMS measures: of the URN as it stands in a URL."""
    return len(quote(urn, safe="*-._"))


def _dotted(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _named(kind: str, name: str) -> str:
    return name if name.startswith("urn:li:") else f"urn:li:{kind}:{name.translate(_RESERVED)}"


def _fitted(before: str, name: str, after: str, limit: int = MAX_URN_BYTES) -> str:
    """A URN with the name, or with as much of it as fits and its digest."""
    urn = before + name.translate(_RESERVED) + after
    if encoded_bytes(urn) <= limit:
        return urn
    digest = "-" + hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return before + _head(name, limit - encoded_bytes(before + digest + after)) + digest + after


def _head(name: str, room: int) -> str:
    """The beginning of the name, escaped, in so many encoded bytes."""
    head = ""
    for character in name.translate(_RESERVED):
        room -= encoded_bytes(character)
        if room < 0:
            break
        head += character
    return head
