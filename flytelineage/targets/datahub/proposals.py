"""Metadata change proposals: one for each aspect of an entity; pure.

A proposal remembers what it says in our words, so that a refusal can be told in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache, cached_property
from typing import Any

import datahub.metadata.schema_classes as m
from avro.errors import AvroException
from avrogen.dict_wrapper import DictWrapper
from datahub.emitter.aspect import JSON_PATCH_CONTENT_TYPE
from datahub.emitter.mcp import MetadataChangeProposalWrapper
from datahub.emitter.serialization_helper import pre_json_transform

from flytelineage.entities import Entity
from flytelineage.targets.datahub import urns

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

PatchOperation = dict[str, Any]
"""One change of a JSON patch."""

ArrayKeys = Mapping[str, Sequence[str]]
"""By which fields the entries of arrays are told apart; of texts by no field."""


@dataclass(frozen=True)
class Proposal:
    """A change of one aspect.

    Attributes:
        entity: The `urn` of the entity in our model.
        aspects: Our aspects that it tells; or, where it tells none of them, DataHub's.
        change: What is said; a wrapper for an UPSERT, a bare one for a PATCH.
    """

    entity: str
    aspects: tuple[str, ...]
    change: MetadataChangeProposalWrapper | m.MetadataChangeProposalClass

    @cached_property
    def mcp(self) -> m.MetadataChangeProposalClass:
        """What is sent. Written out once, which is most of what a proposal costs.

        Raises:
            AvroException: The value does not fit DataHub's model.
        """
        if isinstance(self.change, MetadataChangeProposalWrapper):
            return self.change.make_mcp()
        return self.change


@dataclass(frozen=True)
class Refusal:
    """A proposal that will never be accepted, and why."""

    proposal: Proposal
    reason: str


@dataclass(frozen=True)
class Subject:
    """An entity that proposals are about.

    Attributes:
        entity: Its `urn` in our model.
        urn: Its URN in DataHub.
        at: When what is said of it was true. Nothing that is sent comes from the
            clock, so that an emission that is repeated is the same, byte by byte.
    """

    entity: str
    urn: str
    at: datetime

    @classmethod
    def of(cls, entity: Entity, urn: str, otherwise: datetime) -> Subject:
        """The subject that is this entity; `otherwise` is when it does not say when."""
        return cls(entity.urn, urn, entity.as_of or otherwise)

    def upsert(self, value: Any, *aspects: str) -> Proposal:
        """Replace the aspect."""
        change = MetadataChangeProposalWrapper(
            entityUrn=self.urn, aspect=value, systemMetadata=self._system_metadata()
        )
        return Proposal(self.entity, aspects or (_ours(change.aspectName),), change)

    def patch(
        self,
        aspect: str,
        operations: Iterable[PatchOperation],
        *aspects: str,
        keys: ArrayKeys | None = None,
    ) -> Iterator[Proposal]:
        """Change a part of an aspect and leave the rest as it is; nothing if empty.

        Args:
            aspect: What DataHub calls it.
            operations: What is added and removed, in order.
            aspects: Our aspects that this tells.
            keys: For aspects of which DataHub's own keys do not tell all entries apart.
        """
        listed = list(operations)
        if not listed:
            return
        patch = {"arrayPrimaryKeys": keys, "patch": listed} if keys else listed
        change = m.MetadataChangeProposalClass(
            entityUrn=self.urn,
            entityType=self.urn.split(":", 3)[2],
            changeType=m.ChangeTypeClass.PATCH,
            aspectName=aspect,
            aspect=m.GenericAspectClass(
                value=json.dumps(patch).encode(), contentType=JSON_PATCH_CONTENT_TYPE
            ),
            systemMetadata=self._system_metadata(),
        )
        yield Proposal(self.entity, aspects or (_ours(aspect),), change)

    def _system_metadata(self) -> m.SystemMetadataClass:
        """When this was seen; one for each proposal, since the client writes into it."""
        return m.SystemMetadataClass(lastObserved=millis(self.at))


def add(value: Any, *path: str) -> PatchOperation:
    """Put a value there, in the place of what is there."""
    return {"op": "add", "path": _pointer(path), "value": written(value)}


def written(value: Any) -> Any:
    """A value of DataHub's model, or plain JSON, as DataHub's server reads it."""
    return pre_json_transform(value.to_obj()) if isinstance(value, DictWrapper) else value


def take_away(like: Any, *path: str) -> Iterator[PatchOperation]:
    """Leave nothing there.

    DataHub refuses to remove what is not there, and somebody may have done that already:
    so something `like` it is put there first.
    """
    yield add(like, *path)
    yield {"op": "remove", "path": _pointer(path)}


def _pointer(path: Iterable[str]) -> str:
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)


def _ours(aspect: str | None) -> str:
    return _OUR_NAMES.get(str(aspect), str(aspect))


_OUR_NAMES = {
    "domains": "domain_name",
    "globalTags": "tags",
    "glossaryTerms": "terms",
    "structuredProperties": "structured",
}


def millis(moment: datetime) -> int:
    """Milliseconds since 1970, cut off."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def faults(proposals: Iterable[Proposal]) -> list[Refusal]:
    """What DataHub would refuse, found without asking it.

    A batch is refused as a whole, and a server may even say yes to one that it cannot
    read: so nothing unsound may be sent.
    """
    fault_of_urn = cache(urns.fault)  # most entities have many proposals
    checked = ((each, fault_of_urn(each.change.entityUrn) or _fault(each)) for each in proposals)
    return [Refusal(proposal, fault) for proposal, fault in checked if fault]


def _fault(proposal: Proposal) -> str | None:
    change = proposal.change
    if change.aspectName not in _aspects_of(change.entityType):
        return f"a {change.entityType} has no aspect {change.aspectName}"
    try:
        proposal.mcp  # noqa: B018 - it is checked while it is written out
    except AvroException:
        return f"the value does not fit DataHub's model of {change.aspectName}"
    return None


@cache
def _aspects_of(entity_type: str) -> frozenset[str]:
    key = m.KEY_ASPECTS[entity_type]
    return frozenset({*key.ASPECT_INFO["entityAspects"], key.ASPECT_NAME})
