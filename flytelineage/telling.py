"""Which aspects of a lineage are to be told to a target; pure.

Each aspect that is known is claimed at the store, which answers which of them no newer
execution has told and no equal one was accepted lately. The rest stays out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from flytelineage.entities import Dataset, Entity, Lineage, Task, digest
from flytelineage.store import Claim

KINDS = ("pipelines", "tasks", "datasets")
"""What can be claimed; runs are told in any case."""

_FOR_GOOD = datetime.max.replace(tzinfo=timezone.utc)
"""The bare id of a task that is told per place is never told again."""


def claims_of(lineage: Lineage, keeps: Iterable[str] = KINDS) -> list[Claim]:
    """One claim for each aspect that is known of what a target keeps.

    Args:
        lineage: What an execution tells.
        keeps: `Target.keeps`.
    """
    return [
        Claim(entity.urn, aspect, _stamp(entity, lineage), _digest(entity, aspect, value))
        for kind in KINDS
        if kind in keeps
        for entity in getattr(lineage, kind)
        for aspect, value in entity.aspects()
    ]


def stay(
    lineage: Lineage,
    claims: Sequence[Claim],
    tell: Collection[tuple[str, str]],
    keeps: Iterable[str] = KINDS,
) -> Lineage:
    """The lineage with only those aspects that are to be told.

    An entity of which nothing is left goes; one that never had an aspect stays, since
    others refer to it. What the target does not keep is all there, to say more of the rest.
    """
    claimed = {claim.entity for claim in claims}
    told = {entity for entity, _ in tell}

    def kept(entities: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            entity.only(aspect for aspect in entity.ASPECTS if (entity.urn, aspect) in tell)
            for entity in entities
            if entity.urn in told or entity.urn not in claimed
        )

    return lineage.model_copy(update={kind: kept(getattr(lineage, kind)) for kind in keeps})


def _stamp(entity: Entity, lineage: Lineage) -> datetime:
    if isinstance(entity, Task) and entity.retired:
        return _FOR_GOOD
    return entity.as_of or lineage.started_at or datetime.min.replace(tzinfo=timezone.utc)


def _digest(entity: Entity, aspect: str, value: Any) -> str:
    text = value if isinstance(value, str) else digest(value)
    # Counts are those of the data that lies there: of other data they are news.
    if isinstance(entity, Dataset) and aspect == "profile" and entity.storage:
        text += digest(entity.storage)
    return text
