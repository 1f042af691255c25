"""Why an execution is, or is not, at each target, from the store alone.

Where `explain_execution` follows data and decides anew, this says how far an execution has
come and what it waits for: it needs no events, no object store and no FlyteAdmin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flytelineage.entities import ExecutionId
from flytelineage.explain.page import Line, Section, labelled, moment, number, put_off, rendered
from flytelineage.store import PIPELINE_KEY, Standing, Told

MAX_SHOWN = 5
"""How many of the things are named that could not be read, or that a target refused."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """An execution and how far it has come.

    Attributes:
        standing: What the store says; `None` where it knows no event of it.
        targets: Those that are configured, by their names.
        taken: Whether `FlyteLineage.include` and `exclude` let its events in.
        told: Whether they let targets hear of its pipeline.
    """

    execution: ExecutionId
    standing: Standing | None
    targets: Sequence[str] = ()
    taken: bool = True
    told: bool = True

    @property
    def everyone(self) -> list[str]:
        """The targets that are configured, and those that were once told."""
        heard = [one.target for one in self.standing.deliveries] if self.standing else []
        return [*self.targets, *(name for name in heard if name not in self.targets)]


def whereabouts(of: Whereabouts) -> list[str]:
    """The page for people, line by line."""
    at = [line for name in of.everyone for line in labelled(name, _lines(_at(of, name)))]
    sections = [
        Section(f"Execution {of.execution}"),
        Section("In the store", _lines(_progress(of))),
        Section("At the targets", at or [Line("no target is configured")]),
    ]
    return list(rendered(sections if of.standing else sections[:2]))


def as_json(of: Whereabouts) -> dict[str, Any]:
    """The same for programs: sentences, and the values that they are made of."""
    standing = of.standing
    said: dict[str, Any] = {
        "execution": str(of.execution),
        "stored": standing is not None,
        "why": list(_progress(of)),
    }
    if standing is None:
        return said
    heard = {one.target: one for one in standing.deliveries}
    return {
        **said,
        "pipeline": str(standing.pipeline) if standing.pipeline else None,
        "phase": standing.phase or None,
        "ended": _written(standing.terminal_at),
        "built": _written(standing.built_at),
        "due": _written(standing.due_at),
        "targets": {
            name: {**_values(heard.get(name)), "why": list(_at(of, name))} for name in of.everyone
        },
    }


def _values(told: Told | None) -> dict[str, Any]:
    if told is None:
        return {"state": None}
    return {
        "state": told.state,
        "attempts": told.attempts,
        "due": _written(told.due_at),
        "settled": _written(told.settled_at),
        "error": told.error or None,
        "rejections": list(told.rejections),
    }


def _written(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _lines(sentences: Iterator[str]) -> list[Line]:
    return [Line(sentence) for sentence in sentences]


# ------------------------------------------------------------------- in the store


def _progress(of: Whereabouts) -> Iterator[str]:
    """What became of it before any target could hear of it."""
    standing = of.standing
    if not of.taken:
        yield (
            f"FlyteLineage.include and exclude leave out {of.execution.project}/"
            f"{of.execution.domain}: no event of it is taken in."
        )
    if standing is None:
        if of.taken:
            yield from _NEVER_HEARD_OF
        return
    yield _ended(standing)
    yield from _built(standing)
    if standing.archived_at is not None:
        yield f"Its events were removed on {moment(standing.archived_at)}: it is built no more."
    else:
        yield from _to_be_built(standing)
    yield from _lacks(standing)


_NEVER_HEARD_OF = (
    "The store knows no event of it: none has arrived, or it was removed for its age.",
    "Messages may still wait in the queue, or lie in quarantine: `flytelineage quarantine list`.",
    "FlyteAdmin may not have published any: its metric event_publish_errors counts these.",
    "`flytelineage backfill` records what ran before, from FlyteAdmin.",
)


def _ended(standing: Standing) -> str:
    if standing.terminal_at is None:
        return "No event says yet that it has ended."
    return f"The event that ends it was stored on {moment(standing.terminal_at)}."


def _built(standing: Standing) -> Iterator[str]:
    if standing.built_at is None:
        yield "It was not built yet."
        return
    seen = "from all of its events" if standing.current else "and events came since"
    yield f"It was built on {moment(standing.built_at)}, {seen}, as {standing.phase}."
    if standing.pipeline is None and standing.phase != "RUNNING":
        yield "Nothing names its pipeline, so targets hear nothing of it."
    elif standing.phase not in ("SUCCEEDED", "RUNNING"):
        yield "Edges and datasets are told only of executions that succeed."


def _to_be_built(standing: Standing) -> Iterator[str]:
    """What happens next, and what has come of it so far."""
    at, due = standing.at, standing.due_at
    if _in_hand(standing.lease_until, at):
        yield (
            "It is being built just now; the process that builds it has until "
            f"{moment(standing.lease_until)}."
        )
    elif due is not None and at is not None and due <= at:
        yield (
            f"It is due to be built since {moment(due)}, and no process has come to it yet: is "
            "the daemon running?"
        )
    elif due is not None:
        unless = "" if standing.terminal_at else ", unless an event comes before,"
        again = " again" if standing.built_at else ""
        yield f"It will be built{again}{unless} at {moment(due)}."
    if standing.waits_for and due is not None:
        reason = put_off(standing.waits_for)
        yield f"{reason[0].upper()}{reason[1:]}."
    yield from _tries(standing)


def _tries(standing: Standing) -> Iterator[str]:
    if standing.attempts > 1:
        yield f"Since it was last built it was begun {number(standing.attempts, 'time')}."
    yield from _losses("Building", standing.lost)


def _losses(what: str, lost: int) -> Iterator[str]:
    if lost:
        yield (
            f"{what} it was begun {number(lost, 'time')} in a row by processes that said no more: "
            "they died, perhaps of it, or took too long."
        )


def _lacks(standing: Standing) -> Iterator[str]:
    """Why there may be less of it than somebody expects."""
    if standing.partial:
        yield "Events of it are missing, so edges may be missing, too."
    shown = standing.incomplete[:MAX_SHOWN]
    yield from (f"It is not known in full: {reason}" for reason in shown)
    if left := len(standing.incomplete) - len(shown):
        yield f"And {number(left, 'more thing')} could not be read."
    yield from map(_awaited, standing.awaits)


def _awaited(key: str) -> str:
    if not key.startswith(PIPELINE_KEY):
        return f"Nobody has registered yet what it read: {key}"
    return (
        f"The name of its pipeline, {key.removeprefix(PIPELINE_KEY)}, is a guess: targets hear of "
        "it once an execution of that pipeline has succeeded."
    )


def _in_hand(until: datetime | None, at: datetime | None) -> bool:
    return until is not None and at is not None and until > at


# ------------------------------------------------------------------ at the targets


def _at(of: Whereabouts, target: str) -> Iterator[str]:
    """What one target heard, or why it heard nothing."""
    standing = of.standing
    told = _heard(standing, target)
    if target not in of.targets:
        yield "This target is not configured any more."
    if not of.told:
        yield "FlyteLineage.include and exclude leave out its pipeline: nobody is told of it."
    if told is not None and standing is not None:
        yield from _telling(of.execution, told, standing.at)
    elif standing is not None and of.told:
        yield _untold(of.execution, standing, target)


def _heard(standing: Standing | None, target: str) -> Told | None:
    found = (one for one in standing.deliveries if one.target == target) if standing else iter(())
    return next(found, None)


def _untold(execution: ExecutionId, standing: Standing, target: str) -> str:
    """Why there is no delivery."""
    if standing.built_at is None:
        return "It is told after it is built."
    if standing.deliveries:
        return (
            "It was built before this target was configured: `flytelineage retry "
            f"--target={target} --since={standing.built_at:%Y-%m-%d} --execution={execution}` "
            "tells it."
        )
    return "As it was built there was nothing to tell: `flytelineage explain` says why."


def _telling(execution: ExecutionId, told: Told, at: datetime | None) -> Iterator[str]:
    again = f"flytelineage retry --target={told.target} --execution={execution}"
    if told.state == "delivered":
        yield _delivered(told)
        if told.overtaken:
            yield "Newer executions have told all of it since, except for its runs."
    elif told.state == "held":
        yield f"It is held, as FlyteLineage.emit was off: `{again} --held` sends it."
    elif told.state == "given_up":
        tried = number(told.attempts, "attempt")
        yield f"It was given up on {moment(told.settled_at)}, after {tried}: `{again}` tries anew."
    else:
        yield from _due(told, at)
    if told.error:
        when = f" on {moment(told.error_at)}" if told.error_at else ""
        yield f"The last try{when} said: {told.error}"
    yield from _refused(told, again)


def _delivered(told: Told) -> str:
    if told.dropped:
        return f"One of FlyteLineage.transforms dropped it on {moment(told.settled_at)}."
    return f"It was delivered on {moment(told.settled_at)}{', in part' if told.rejections else ''}."


def _refused(told: Told, again: str) -> Iterator[str]:
    """What the target did not take of it, and what to type once it does."""
    shown = told.rejections[:MAX_SHOWN]
    yield from (f"The target refused {rejection}" for rejection in shown)
    if left := len(told.rejections) - len(shown):
        yield f"And it refused {number(left, 'thing')} more: --json lists all."
    if told.rejections and told.state == "delivered":
        yield f"Once that is repaired, `{again} --state=delivered` tells it again."


def _due(told: Told, at: datetime | None) -> Iterator[str]:
    """What is due waits for its turn, for its next try, or for a target that is paused."""
    if _in_hand(told.lease_until, at):
        yield (
            "It is being told just now; the process that tells it has until "
            f"{moment(told.lease_until)}."
        )
    elif told.due_at is not None and at is not None and told.due_at > at:
        failed = f"failed {number(told.attempts, 'time')}, and " if told.attempts else ""
        yield f"It {failed}is tried next at {moment(told.due_at)}."
    else:
        yield (
            f"It waits for its turn since {moment(told.due_at)}; `flytelineage status` says how "
            "many do."
        )
    if told.paused is not None:
        yield (
            f"The target is paused since {moment(told.paused.since)} and asked again at "
            f"{moment(told.paused.until)}: {told.paused.reason}"
        )
    yield from _losses("Telling", told.lost)
