"""Which aspects of a lineage are to be told to a target; pure.

Each aspect that is known is claimed at the store, which answers which of them no newer
execution has told and no equal one was accepted lately. The rest stays out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from typing import Any

from flytelineage.entities import Entity, Lineage, Task, digest
from flytelineage.store import Claim

_FOR_GOOD = datetime.max.replace(tzinfo=timezone.utc)
"""The bare id of a task that is told per place is never told again."""


def claims_of(lineage: Lineage) -> list[Claim]:
    """One claim for each aspect that is known; runs are told in any case."""
    return [
        Claim(entity.urn, aspect, _stamp(entity, lineage), _digest(value))
        for entity in lineage.entities()
        for aspect, value in entity.aspects()
    ]


def stay(lineage: Lineage, claims: Sequence[Claim], tell: Collection[tuple[str, str]]) -> Lineage:
    """The lineage with only those aspects that are to be told.

    An entity of which nothing is left goes; one that never had an aspect stays, since
    others refer to it.
    """
    claimed = {claim.entity for claim in claims}
    told = {entity for entity, _ in tell}

    def kept(entities: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            entity.only(aspect for aspect in entity.ASPECTS if (entity.urn, aspect) in tell)
            for entity in entities
            if entity.urn in told or entity.urn not in claimed
        )

    return lineage.model_copy(
        update={
            "pipelines": kept(lineage.pipelines),
            "tasks": kept(lineage.tasks),
            "datasets": kept(lineage.datasets),
        }
    )


def _stamp(entity: Entity, lineage: Lineage) -> datetime:
    if isinstance(entity, Task) and entity.retired:
        return _FOR_GOOD
    return entity.as_of or lineage.started_at or datetime.min.replace(tzinfo=timezone.utc)


def _digest(value: Any) -> str:
    return value if isinstance(value, str) else digest(value)
