"""How a run through the three loops ended, for people: `replay` and `backfill --build`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flytelineage.report import Report

_SHOWN = 10
"""How many of a kind are named; `status` tells all of a store that is kept."""

_REASONS = 3
"""How many reasons are shown of each."""


def reasons(status: Mapping[str, Any]) -> dict[str, list[str]]:
    """Why something is missing, by execution; or was not told, by `execution to target`."""
    missing = {problem["execution"]: problem["reasons"] for problem in status["problems"]}
    failed = {
        f"{error['execution']} to {error['target']}": [error["error"]]
        for error in status["errors"]
        if error["error"]
    }
    return {**missing, **failed}


def intake(report: Report) -> Iterator[str]:
    """What became of the messages."""
    parts = [number(report.events, "event")]
    parts += [f"{report.duplicates} seen before"] if report.duplicates else []
    parts += [f"{report.ignored} excluded"] if report.ignored else []
    parts += [f"{report.quarantined} not readable"] if report.quarantined else []
    yield f"Read {number(report.messages, 'message')}: {', '.join(parts)}"


def told(report: Report, paths: Mapping[str, str], *, held: bool) -> Iterator[str]:
    """What was built and delivered; `paths` are those of targets that write files."""
    yield f"Built the lineage of {number(report.executions, 'execution')}"
    for target, count in sorted(report.delivered.items()):
        place = f" ({paths[target]})" if paths.get(target) else ""
        yield f"Told {target}{place} of {number(count, 'execution')}"
    if held:
        yield "Told nobody: FlyteLineage.emit is off"


def left(report: Report, why: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What is not in order, and the reasons."""
    for title, noun, items in _lists(report):
        if items:
            yield f"{title} {number(len(items), noun)}"
            yield from _listed(items, why)


def _lists(report: Report) -> Iterator[tuple[str, str, Sequence[str]]]:
    """What a reader may care for: title, noun and list."""
    given_up = report.given_up
    yield "Could not build", "execution", [one for one in given_up if " to " not in one]
    yield "Given up", "delivery", [one for one in given_up if " to " in one]
    yield "Not delivered", "delivery", report.undelivered
    yield "Events are missing of", "execution", report.partial
    yield "Not everything could be read of", "execution", report.incomplete
    yield "Nobody is known to have written what was read by", "execution", report.waiting
    yield "No event says that it ended, so nothing was built of", "execution", report.unbuilt


def _listed(items: Sequence[str], reasons: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for item in items[:_SHOWN]:
        why = reasons.get(item, ())
        yield f"  {item}"
        yield from (f"    {reason}" for reason in why[:_REASONS])
        if len(why) > _REASONS:
            yield f"    and {len(why) - _REASONS} more reasons"
    if len(items) > _SHOWN:
        yield f"  and {len(items) - _SHOWN} more"


def number(count: int, noun: str) -> str:
    """A number and what it counts."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
