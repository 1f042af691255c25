"""From our ids to DataHub's URNs; pure, and without DataHub's client.

A URN cannot change once it was emitted, so the rules here are frozen. GMS refuses URNs
whose URL-encoded form is longer than 512 bytes: names that would lead there end in a
digest of the whole name instead.

Source: datahub-project/datahub, docs/what/urn.md and UrnValidationUtil.java.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from flytelineage.entities import DatasetId, ExecutionId, Owner, PipelineId, RunId, TaskId

FABRICS = (
    "PROD", "DEV", "TEST", "QA", "UAT", "EI", "PRE", "STG", "NON_PROD", "CORP", "RVW", "PRD",
    "TST", "SIT", "SBX", "SANDBOX", "CERT",
)  # fmt: skip
"""What DataHub accepts as `env`; written down here so that `--help` needs no client."""

FLYTE = "flyte"
"""The platform and orchestrator that our ids name; `Urns.platform` may rename it."""

MAX_URN_BYTES = 512
# The URN of a job holds that of its flow, so a flow may only take a part.
_MAX_FLOW_URN_BYTES = 320

# U+241F separates the parts of compound keys in patches.
UNIT_SEPARATOR = "␟"
_RESERVED = str.maketrans({",": "%2C", "(": "%28", ")": "%29", UNIT_SEPARATOR: "%E2%90%9F"})

# Bytes of a URL for each byte of a name, at most.
_ESCAPED = 3

Case = Literal["keep", "lower", "upper"]
Id = TypeVar("Id", PipelineId, TaskId, DatasetId)


@dataclass(frozen=True)
class Spelling:
    """How DataHub's own source of a platform names its datasets; empty is as we do.

    Attributes:
        env: The fabric that it was told.
        instance: The platform instance that it was told; goes before an id's own.
        platform: What it calls the platform.
        case: How it writes names.
    """

    env: str = ""
    instance: str = ""
    platform: str = ""
    case: Case = "keep"

    @classmethod
    def of(cls, given: Any) -> Spelling:
        """The spelling that an operator wrote down.

        Raises:
            ValueError: What is wrong, and what could stand there.
        """
        known = list(cls.__dataclass_fields__)
        if not isinstance(given, Mapping) or not set(given) <= set(known):
            raise ValueError(f"{given!r} should be a dictionary with some of {', '.join(known)}")
        for key, value in given.items():
            check_part(key, value)
        spelling = cls(**given)
        if spelling.case not in _CASES:
            raise ValueError(f"case {spelling.case!r} should be one of {', '.join(_CASES)}")
        fabric = fabric_of(spelling.env) if spelling.env else ""
        return cls(fabric, spelling.instance, spelling.platform, spelling.case)

    def spelled(self, name: str) -> str:
        """The name as the platform's source writes it."""
        return _CASES[self.case](name)


_CASES: dict[str, Callable[[str], str]] = {"keep": str, "lower": str.lower, "upper": str.upper}
_AS_WE_DO = Spelling()


def check_part(name: str, value: Any) -> None:
    """See that a text can be a part of URNs.

    Raises:
        ValueError: It cannot.
    """
    if not isinstance(value, str) or set(value) & set(f",(){UNIT_SEPARATOR} "):
        raise ValueError(
            f"{name} {value!r} is a part of URNs and must be a text without commas, "
            "parentheses and spaces"
        )


def fabric_of(env: Any) -> str:
    """DataHub's own spelling of a fabric.

    Raises:
        ValueError: There is no such fabric.
    """
    fabric = str(env).upper()
    if fabric not in FABRICS:
        raise ValueError(f"env {env!r} should be one of {', '.join(FABRICS)}")
    return fabric


@dataclass(frozen=True)
class Urns:
    """Names entities as one deployment of DataHub knows them.

    Attributes:
        platform: What DataHub calls Flyte.
        instance: The platform instance of Flyte; goes before the instance that an id
            carries itself, and never in addition to it.
        env: DataHub's fabric, e.g. `PROD`.
        spellings: How datasets of other platforms are named, by our name of the platform.
        domain_envs: The fabrics that stand for domains of Flyte; a part of no URN.
    """

    platform: str = FLYTE
    instance: str = ""
    env: str = "PROD"
    spellings: Mapping[str, Spelling] = field(default_factory=dict)
    domain_envs: Mapping[str, str] = field(default_factory=dict)
    # One entity is named many times, and each time costs as much as an edge.
    _made: dict[Any, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def platform_of(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        """The platform's URN."""
        return f"urn:li:dataPlatform:{self._platform(id)}"

    def instance_of(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        """The platform instance's URN; empty where there is none."""
        instance = self._instance(id)
        if not instance:
            return ""
        escaped = instance.translate(_RESERVED)
        return f"urn:li:dataPlatformInstance:({self.platform_of(id)},{escaped})"

    def env_of(self, id: PipelineId) -> str:
        """The fabric that a pipeline and its tasks are shown in."""
        return self.domain_envs.get(id.domain, self.env)

    def flow(self, id: PipelineId) -> str:
        """The dataFlow of a pipeline."""
        return self._once(id, self._flow)

    def job(self, id: TaskId) -> str:
        """The dataJob of a task."""
        return self._once(id, self._job)

    def dataset(self, id: DatasetId) -> str:
        """The dataset, named as the source of its platform names it."""
        return self._once(id, self._dataset)

    def _once(self, id: Id, make: Callable[[Id], str]) -> str:
        urn = self._made.get(id)
        if urn is None:
            urn = self._made[id] = make(id)
        return urn

    def _flow(self, id: PipelineId) -> str:
        name = _dotted(self._instance(id), id.project, id.domain, id.name)
        before, after = f"urn:li:dataFlow:({self._platform(id)},", f",{self.env})"
        return _fitted(before, name, after, _MAX_FLOW_URN_BYTES)

    def _job(self, id: TaskId) -> str:
        return _fitted(f"urn:li:dataJob:({self.flow(id.pipeline)},", id.local, ")")

    def _dataset(self, id: DatasetId) -> str:
        spelling = self._spelling(id)
        name = _dotted(self._instance(id), spelling.spelled(id.name))
        env = spelling.env or self.env
        return _fitted(f"urn:li:dataset:({self.platform_of(id)},", name, f",{env})")

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

    def term(self, name: str) -> str:
        """The glossary term."""
        return _named("glossaryTerm", name)

    def domain(self, name: str) -> str:
        """The domain: DataHub's, which groups by business, not Flyte's."""
        return _named("domain", name)

    def structured_property(self, name: str) -> str:
        """The definition of a structured property."""
        return _named("structuredProperty", name)

    def is_ours(self, id: PipelineId | DatasetId | ExecutionId) -> bool:
        """Whether the entity is Flyte's, so that nobody else describes it."""
        return _platform(id) == FLYTE

    def _platform(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        if self.is_ours(id):
            return self.platform
        return self._spelling(id).platform or _platform(id).translate(_RESERVED)

    def _instance(self, id: PipelineId | DatasetId | ExecutionId) -> str:
        given = self.instance if self.is_ours(id) else self._spelling(id).instance
        return given or id.instance

    def _spelling(self, id: PipelineId | DatasetId | ExecutionId) -> Spelling:
        if not isinstance(id, DatasetId):
            return _AS_WE_DO
        return self.spellings.get(id.platform, _AS_WE_DO)


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


def fault(urn: str) -> str | None:
    """Why GMS refuses a URN. Source: UrnValidationUtil.java."""
    if encoded_bytes(urn) > MAX_URN_BYTES:
        return f"the URN is longer than {MAX_URN_BYTES} bytes"
    # Commas in names are escaped: two in a row have nothing between them.
    if ",," in urn or "urn:li:dataPlatform:," in urn:
        return "the URN has an empty part"
    if urn != urn.strip() or UNIT_SEPARATOR in urn:
        return f"the URN has white space at an end, or a {UNIT_SEPARATOR!r}"
    return None


def _dotted(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _named(kind: str, name: str) -> str:
    name = name.strip()  # GMS refuses white space at the ends
    return name if name.startswith("urn:li:") else _fitted(f"urn:li:{kind}:", name, "")


def _fitted(before: str, name: str, after: str, limit: int = MAX_URN_BYTES) -> str:
    """A URN with the name, or with as much of it as fits and its digest."""
    urn = before + name.translate(_RESERVED) + after
    # Most URNs are that short: what they measure exactly need not be known.
    if _ESCAPED * len(urn.encode()) <= limit or encoded_bytes(urn) <= limit:
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
