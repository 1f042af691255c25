"""Metadata change proposals: one for each aspect of an entity; pure.

A proposal remembers what it says in our words, so that a refusal can be told in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import datahub.metadata.schema_classes as m
from datahub.emitter.mcp import MetadataChangeProposalWrapper
from datahub.emitter.mcp_patch_builder import MetadataPatchProposal

from flytelineage.entities import Entity

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Proposal:
    """A change of one aspect.

    Attributes:
        entity: The `urn` of the entity in our model.
        aspects: Our aspects that it tells; or, where it tells none of them, DataHub's.
        mcp: What is sent; a wrapper for an UPSERT, a bare one for a PATCH.
    """

    entity: str
    aspects: tuple[str, ...]
    mcp: MetadataChangeProposalWrapper | m.MetadataChangeProposalClass


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
        mcp = MetadataChangeProposalWrapper(
            entityUrn=self.urn, aspect=value, systemMetadata=self.system_metadata()
        )
        return Proposal(self.entity, aspects or (_ours(mcp.aspectName),), mcp)

    def patch(self, patch: MetadataPatchProposal, *aspects: str) -> Iterator[Proposal]:
        """Change a part of an aspect and leave the rest as it is; nothing if empty."""
        for mcp in patch.build():
            yield Proposal(self.entity, aspects or (_ours(mcp.aspectName),), mcp)

    def system_metadata(self) -> m.SystemMetadataClass:
        """When this was seen; one for each proposal, since the client writes into it."""
        return m.SystemMetadataClass(lastObserved=millis(self.at))


def _ours(aspect: str | None) -> str:
    return {"globalTags": "tags"}.get(str(aspect), str(aspect))


def millis(moment: datetime) -> int:
    """Milliseconds since 1970, cut off."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def faults(proposals: Iterable[Proposal]) -> list[Refusal]:
    """What DataHub would refuse, found without asking it.

    A batch is refused as a whole, and a server may even say yes to one that it cannot
    read: so nothing unsound may be sent.
    """
    checked = ((proposal, _fault(proposal.mcp)) for proposal in proposals)
    return [Refusal(proposal, fault) for proposal, fault in checked if fault]


def _fault(mcp: MetadataChangeProposalWrapper | m.MetadataChangeProposalClass) -> str | None:
    key = m.KEY_ASPECTS[mcp.entityType]
    if mcp.aspectName not in {*key.ASPECT_INFO["entityAspects"], key.ASPECT_NAME}:
        return f"a {mcp.entityType} has no aspect {mcp.aspectName}"
    if not mcp.validate():
        return f"the value does not fit DataHub's model of {mcp.aspectName}"
    return None
