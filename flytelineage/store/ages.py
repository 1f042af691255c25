"""What is old enough to go, as conditions of queries.

Nothing here removes anything: see `retention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, tuple_

from flytelineage.store.database import seconds
from flytelineage.store.schema import (
    delivery,
    event,
    execution,
    lineage,
    location,
    quarantine,
    watermark,
)
from flytelineage.store.values import Keep

DAY_SECONDS = 86_400.0


def bound(days: float, now: int) -> int | None:
    """What is older goes; `None` where all is kept."""
    return now - seconds(days * DAY_SECONDS) if days else None


def beyond(columns: Sequence[Any], after: Any) -> list[ColumnElement[bool]]:
    """Only rows behind the last one of the step before."""
    return [] if after is None else [tuple_(*columns) > tuple_(*after)]


def unsettled() -> ColumnElement[bool]:
    """Deliveries that somebody still waits for."""
    return delivery.c.state.in_(("due", "held"))


def holds(of: Any, target: Any) -> ColumnElement[bool]:
    """Whether an execution told a catalogue something last, or is next in line."""
    return or_(
        exists().where(watermark.c.target == target, watermark.c.holder == of),
        exists().where(watermark.c.displaced == of, watermark.c.target == target),
    )


def settled(of: Any) -> tuple[ColumnElement[bool], ...]:
    """Conditions under which nobody needs the lineage of an execution any more."""
    needs = or_(unsettled(), holds(delivery.c.execution, delivery.c.target))
    return (
        ~exists().where(delivery.c.execution == of, needs),
        exists().where(execution.c.key == of, execution.c.due_at.is_(None)),
    )


def old_deliveries(keep: Keep, now: int) -> ColumnElement[bool]:
    """Deliveries that were asked for so long ago that they are given up.

    A delivery is tried for as long as the events are kept, and held for as long as what
    is held is there.
    """
    due = min(filter(None, (keep.events, keep.lineage, keep.deliveries)), default=0)
    held = min(filter(None, (keep.lineage, keep.deliveries)), default=0)
    old = [
        and_(delivery.c.state == state, delivery.c.wanted_at < before)
        for state, days in (("due", due), ("held", held))
        if (before := bound(days, now)) is not None
    ]
    return and_(or_(false(), *old), func.coalesce(delivery.c.lease_until, 0) <= now)


def old(keep: Keep, now: int) -> dict[str, tuple[ColumnElement[bool], ...]]:
    """What a pass would remove by age, as conditions; what it gives up is `undelivered`."""
    found: dict[str, tuple[ColumnElement[bool], ...]] = {
        "undelivered": (old_deliveries(keep, now),)
    }
    if (before := bound(keep.events, now)) is not None:
        needs = exists().where(
            execution.c.key == event.c.execution,
            execution.c.archived_at.is_(None),
            or_(execution.c.due_at.is_not(None), execution.c.terminal_at.is_(None)),
        )
        waits = exists().where(delivery.c.execution == event.c.execution, unsettled())
        found["events"] = (event.c.received_at < before, ~needs, ~waits)
    if (before := bound(keep.lineage, now)) is not None:
        found["lineage"] = (lineage.c.built_at < before, *settled(lineage.c.execution))
    if (before := bound(keep.deliveries, now)) is not None:
        key = (delivery.c.execution, delivery.c.target)
        found["deliveries"] = (delivery.c.settled_at < before, ~unsettled(), ~holds(*key))
    if (before := bound(keep.quarantine, now)) is not None:
        found["quarantine"] = (quarantine.c.last_seen < before,)
    if (before := bound(keep.locations, now)) is not None:
        places = ~location.c.key.startswith("pipeline:")
        found["locations"] = (location.c.registered_at < before, places)
    return found
