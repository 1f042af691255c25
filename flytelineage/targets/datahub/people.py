"""What people say of entities, too: owners, tags, terms, domains, properties; pure.

They say it in DataHub's pages, and a value that is written whole erases theirs. So ours is
added, unless the operator wants it written whole. An empty list is never told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import datahub.metadata.schema_classes as m

from flytelineage.entities import (
    Custom,
    Dataset,
    Owner,
    Ownership,
    Pipeline,
    Tags,
    Task,
    Terms,
)
from flytelineage.targets.datahub.proposals import ArrayKeys, Proposal, Subject, add, millis
from flytelineage.targets.datahub.urns import UNIT_SEPARATOR, Urns

PeopleMode = Literal["patch", "upsert", "off"]

ACTOR = "urn:li:corpuser:flytelineage"
"""Who says so, where DataHub wants to know."""

# An entry of somebody's own says who attributed it; ours says nothing there. Empty parts
# come first in a path: DataHub's server loses those at its end.
_SOURCE = f"attribution{UNIT_SEPARATOR}source"
_OWNER_KEYS: ArrayKeys = {"owners": [_SOURCE, "typeUrn", "type", "owner"]}
_TAG_KEYS: ArrayKeys = {"tags": [_SOURCE, "tag"]}
_TERM_KEYS: ArrayKeys = {"terms": [_SOURCE, "urn"]}
_PROPERTY_KEYS: ArrayKeys = {"properties": [_SOURCE, "propertyUrn"]}
_DOMAIN_KEYS: ArrayKeys = {"domains": []}
_NOBODY = ""

_OWNER_TYPES = {
    "TECHNICAL": m.OwnershipTypeClass.TECHNICAL_OWNER,
    "BUSINESS": m.OwnershipTypeClass.BUSINESS_OWNER,
    "DATA_STEWARD": m.OwnershipTypeClass.DATA_STEWARD,
    "STEWARD": m.OwnershipTypeClass.DATA_STEWARD,
    "NONE": m.OwnershipTypeClass.NONE,
}


@dataclass(frozen=True)
class People:
    """Says what people say as well.

    Attributes:
        urns: How entities are named.
        patches: Whether terms, domains and structured properties are added to those that
            are there; else they are replaced.
        owners_and_tags: Whether those are added to, replaced, or left alone.
    """

    urns: Urns
    patches: bool = True
    owners_and_tags: PeopleMode = "patch"

    def proposals(self, about: Subject, entity: Pipeline | Task | Dataset) -> Iterator[Proposal]:
        """All that is known of it, of what is Flyte's own."""
        mode = self.owners_and_tags
        yield from self._owners_and_tags(about, entity, add_only=mode == "patch")
        yield from self._rest(about, entity, add_only=self.patches)

    def additions(self, about: Subject, entity: Dataset) -> Iterator[Proposal]:
        """The same of what others describe; it is added, or not told."""
        if self.patches:
            yield from self._owners_and_tags(about, entity, add_only=True)
            yield from self._rest(about, entity, add_only=True)

    def _owners_and_tags(
        self, about: Subject, entity: Pipeline | Task | Dataset, *, add_only: bool
    ) -> Iterator[Proposal]:
        if self.owners_and_tags == "off":
            return
        if entity.ownership:
            yield from self._ownership(about, entity.ownership, add_only=add_only)
        if entity.tags:
            yield from self._tags(about, entity.tags, add_only=add_only)

    def _rest(
        self, about: Subject, entity: Pipeline | Task | Dataset, *, add_only: bool
    ) -> Iterator[Proposal]:
        if entity.terms:
            yield from self._terms(about, entity.terms, add_only=add_only)
        if entity.domain_name:
            yield from self._domain(about, entity.domain_name, add_only=add_only)
        if entity.structured:
            yield from self._structured(about, entity.structured, add_only=add_only)

    def _ownership(
        self, about: Subject, ownership: Ownership, *, add_only: bool
    ) -> Iterator[Proposal]:
        owners = [self._owner(owner) for owner in ownership.owners]
        if not add_only:
            yield about.upsert(m.OwnershipClass(owners=owners), "ownership")
            return
        added = (
            add(owner, "owners", _NOBODY, owner.typeUrn or "", str(owner.type), owner.owner)
            for owner in owners
        )
        yield from about.patch("ownership", added, keys=_OWNER_KEYS)

    def _owner(self, owner: Owner) -> m.OwnerClass:
        urn = self.urns.owner(owner)
        known = owner.type.upper().replace(" ", "_").replace("-", "_").removesuffix("_OWNER")
        if (type_ := _OWNER_TYPES.get(known)) is not None:
            return m.OwnerClass(owner=urn, type=type_)
        prefix = "" if owner.type.startswith("urn:li:") else "urn:li:ownershipType:"
        return m.OwnerClass(
            owner=urn, type=m.OwnershipTypeClass.CUSTOM, typeUrn=prefix + owner.type
        )

    def _tags(self, about: Subject, tags: Tags, *, add_only: bool) -> Iterator[Proposal]:
        found = [m.TagAssociationClass(tag=self.urns.tag(name)) for name in tags.names]
        if not add_only:
            yield about.upsert(m.GlobalTagsClass(tags=found))
            return
        added = (add(tag, "tags", _NOBODY, tag.tag) for tag in found)
        yield from about.patch("globalTags", added, keys=_TAG_KEYS)

    def _terms(self, about: Subject, terms: Terms, *, add_only: bool) -> Iterator[Proposal]:
        found = [m.GlossaryTermAssociationClass(urn=self.urns.term(name)) for name in terms.names]
        stamp = m.AuditStampClass(time=millis(about.at), actor=ACTOR)
        if not add_only:
            yield about.upsert(m.GlossaryTermsClass(terms=found, auditStamp=stamp))
            return
        added = [add(term, "terms", _NOBODY, term.urn) for term in found]
        # Required, and missing where these are the first terms.
        added.append(add(stamp, "auditStamp"))
        yield from about.patch("glossaryTerms", added, keys=_TERM_KEYS)

    def _domain(self, about: Subject, name: str, *, add_only: bool) -> Iterator[Proposal]:
        urn = self.urns.domain(name)
        if not add_only:
            yield about.upsert(m.DomainsClass(domains=[urn]))
            return
        yield from about.patch("domains", [add(urn, "domains", urn)], keys=_DOMAIN_KEYS)

    def _structured(self, about: Subject, known: Custom, *, add_only: bool) -> Iterator[Proposal]:
        found = [
            m.StructuredPropertyValueAssignmentClass(
                propertyUrn=self.urns.structured_property(name), values=[value]
            )
            for name, value in sorted(known.items())
        ]
        if not add_only:
            yield about.upsert(m.StructuredPropertiesClass(properties=found))
            return
        added = (add(each, "properties", _NOBODY, each.propertyUrn) for each in found)
        yield from about.patch("structuredProperties", added, keys=_PROPERTY_KEYS)
