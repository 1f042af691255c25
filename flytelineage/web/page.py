"""The status page, for somebody who has never seen it: what it does, what is stuck, what to type.

Foreign text becomes part of the page in `shown` alone, which escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from flytelineage.health import Health
from flytelineage.options import escaped, redact

LISTED = 20
"""How many failures and gaps are shown; `status.json` has more."""

REASONS = 3
"""How many refusals are shown of one delivery."""

LONGEST = 500
"""Characters shown of one text."""

_EXECUTIONS = {
    "collecting": "still running, or waiting for their last events",
    "due": "ended; their lineage is built next",
    "building": "their lineage is being built",
    "built": "their lineage is known",
    "partial": "built, but events never came, so edges may be missing",
    "incomplete": "built, but something could not be read",
    "waiting": "built, but read data of which nobody saw how it was written",
    "guessed": "built, but the name of the workflow is a guess",
    "unnamed": "built, but no name was found, so no catalogue hears of them",
    "unanswered": "not built yet: FlyteAdmin is asked and does not answer",
}
_ALWAYS = ("collecting", "due", "building", "built")

_DELIVERIES = {
    "delivered": "delivered",
    "due": "due",
    "later": "tried again later",
    "telling": "being told",
    "held": "held",
    "given_up": "given up",
    "rejected": "refused in part",
}

_FURTHER = (
    ("flytelineage status EXECUTION", "why one execution is, or is not, in each catalogue"),
    ("flytelineage explain EXECUTION", "why it has these edges; also takes the URI of a dataset"),
    ("flytelineage quarantine list", "the messages that could not be read"),
    ("flytelineage retry --dry-run", "what telling again would tell; without --dry-run it does"),
    ("flytelineage check --connect", "whether queue, store and catalogues can be reached"),
)


def page(version: str, health: Health, overview: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        version: Of the program.
        health: What is wrong.
        overview: What `Store.status` said the last time; empty before the first.
    """
    state, css = _state(health)
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta http-equiv="refresh" content="30">',
            f"<title>flytelineage: {shown(state)}</title>",
            '<link rel="stylesheet" href="/style.css"></head><body><main>',
            f'<h1>flytelineage <span class="{css}">{shown(state)}</span></h1>',
            "<p>Reads the events of Flyte, works out which tasks read and wrote which data, and "
            f"tells data catalogues. Version {shown(version)}; the page renews itself.</p>",
            *_reasons(health),
            *(_sections(overview) if overview else [_nothing("The store was not read yet.")]),
            *_section("To look further", "Type where it runs:", _commands()),
            '<p>For programs: <a href="/status.json">status.json</a>, '
            '<a href="/metrics">metrics</a>, <a href="/readyz">readyz</a>, '
            '<a href="/livez">livez</a>.</p></main></body></html>\n',
        ]
    )


def shown(text: Any) -> str:
    """A text from outside, as a part of the page and nothing else; long ones are cut."""
    plain = escaped(redact(str(text)))
    return escape(plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}...")


# ------------------------------------------------------------------ the parts of it


def _state(health: Health) -> tuple[str, str]:
    """In two words, and their colour."""
    if not health.is_ready:
        return "not working", "bad"
    return ("working, with trouble", "poor") if health.degraded else ("working", "good")


def _reasons(health: Health) -> Iterator[str]:
    reasons = [*health.live, *health.ready]
    if reasons:
        yield _list("bad", reasons)
        yield "<p>Nothing is lost: what was received and not stored comes again. "
        yield "The numbers are those of the last look into the store.</p>"
    if health.degraded:
        yield _list("poor", health.degraded)


def _sections(overview: Mapping[str, Any]) -> Iterator[str]:
    yield from _section(
        "Executions",
        "Each run of a workflow is collected, and built once it has ended.",
        _executions(overview.get("executions", {})),
    )
    yield from _section(
        "Deliveries",
        "Each execution that is built is told to each catalogue.",
        _deliveries(overview.get("deliveries", {}), overview.get("paused", {})),
    )
    yield from _section(
        "What catalogues refused",
        "The newest first. What is given up is not tried again by itself.",
        _errors(overview.get("errors", [])),
    )
    yield from _section(
        "What lineage lacks",
        "The newest first. What can still be found is looked for again.",
        _problems(overview.get("problems", [])),
    )
    yield from _section(
        "Quarantine",
        "Messages that could not be read. They are kept, and hold up nothing.",
        _quarantine(overview.get("quarantine", {})),
    )


def _executions(counts: Mapping[str, int]) -> str:
    rows = [
        (name, _number(counts.get(name, 0)), meaning)
        for name, meaning in _EXECUTIONS.items()
        if name in _ALWAYS or counts.get(name)
    ]
    return _table(("state", "how many", "what that means"), rows)


def _deliveries(
    targets: Mapping[str, Mapping[str, Any]], paused: Mapping[str, Mapping[str, Any]]
) -> str:
    """A row for each target, also for one that was never told anything and is paused."""
    names = sorted({*targets, *paused})
    rows = [
        (
            name,
            *(_number(targets.get(name, {}).get(state, 0)) for state in _DELIVERIES),
            _age(targets.get(name, {}).get("oldest_seconds")),
            _pause(paused.get(name)),
        )
        for name in names
    ]
    head = ("catalogue", *_DELIVERIES.values(), "oldest not delivered", "state")
    return _table(head, rows) if rows else _nothing("Nothing was built yet.")


def _pause(pause: Mapping[str, Any] | None) -> str:
    if pause is None:
        return "in order"
    return f"paused until {_time(pause.get('until'))}: {pause.get('reason')}"


def _errors(errors: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            error["execution"],
            error["target"],
            str(error["state"]).replace("_", " "),
            _number(error["attempts"]),
            _time(error["at"]),
            "; ".join(_why(error)),
        )
        for error in errors[:LISTED]
    ]
    head = ("execution", "catalogue", "state", "tries", "at", "why")
    return _table(head, rows) if rows else _nothing("Nothing.")


def _why(error: Mapping[str, Any]) -> Iterator[str]:
    if error["error"]:
        yield str(error["error"])
    refused = error["refused"]
    yield from refused[:REASONS]
    if len(refused) > REASONS:
        yield f"and {len(refused) - REASONS} more"


def _problems(problems: Sequence[Mapping[str, Any]]) -> str:
    rows = [(one["execution"], "; ".join(one["reasons"])) for one in problems[:LISTED]]
    return _table(("execution", "lacks"), rows) if rows else _nothing("Nothing.")


def _quarantine(reasons: Mapping[str, int]) -> str:
    rows = [(_number(count), reason) for reason, count in reasons.items()]
    return _table(("how many", "why"), rows) if rows else _nothing("Empty.")


def _commands() -> str:
    items = [f"<dt><code>{shown(line)}</code></dt><dd>{shown(why)}</dd>" for line, why in _FURTHER]
    return f"<dl>{''.join(items)}</dl>"


# ------------------------------------------------------------------------- HTML


def _section(title: str, about: str, body: str) -> Iterator[str]:
    yield f"<section><h2>{shown(title)}</h2><p>{shown(about)}</p>{body}</section>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    first = "".join(f'<th scope="col">{shown(cell)}</th>' for cell in head)
    others = "".join(
        f"<tr>{''.join(f'<td>{shown(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{first}</tr></thead><tbody>{others}</tbody></table>"


def _list(css: str, items: Iterable[str]) -> str:
    return f'<ul class="{css}">{"".join(f"<li>{shown(item)}</li>" for item in items)}</ul>'


def _nothing(text: str) -> str:
    return f'<p class="nothing">{shown(text)}</p>'


def _number(count: int) -> str:
    return f"{count:,}"


def _time(moment: Any) -> str:
    """A time of `Store.status`, to the minute."""
    return f"{str(moment)[:16].replace('T', ' ')} UTC"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
