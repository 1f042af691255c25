"""`flytelineage status`: what was built, told, and what is stuck."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from traitlets import Bool

from flytelineage.commands import Command, Program, execution_id, say, say_lines, table
from flytelineage.commands.times import duration
from flytelineage.options import TARGETS
from flytelineage.scope import Scope

if TYPE_CHECKING:
    from flytelineage.entities import ExecutionId
    from flytelineage.explain import Whereabouts
    from flytelineage.store import Store

_SHOWN = 10
"""How many failures and problems are listed as text; `--json` has more."""

_REASONS = 3
"""How many reasons are shown of each problem, and refusals of each delivery."""

_EXECUTIONS = {
    "collecting": "running, or waiting for their last events",
    "due": "to be built",
    "building": "being built",
    "unanswered": "of these: wait for FlyteAdmin to answer",
    "built": "",
    "partial": "of these: events are missing, so edges may be too",
    "incomplete": "of these: something could not be read",
    "waiting": "of these: read what an execution wrote that was not seen yet",
    "guessed": "of these: the workflow's name was guessed from its tasks",
    "unnamed": "of these: no name could be found, so targets hear nothing",
}
_DELIVERIES = ("delivered", "due", "later", "telling", "held", "given_up", "rejected")


class Status(Command):
    """Shows what was built, told, and what is stuck.

    With EXECUTION, as project/domain/name, it says how far that one has come, and why it
    is, or is not, at each target. Reads the store and changes nothing; a daemon may be
    running meanwhile.
    """

    usage = "[EXECUTION]"
    examples = """
        flytelineage status
        flytelineage status shop/production/f1a2b3
        flytelineage status --json | jq .deliveries
    """

    as_json = Bool(
        False,
        help="""
        Print JSON instead of tables, for scripts and alarms.

        Example: flytelineage status --json
        """,
    ).tag(config=True)

    flags = {"json": ({"Status": {"as_json": True}}, "print JSON, for scripts and alarms")}

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Print it; 0 even where something is stuck, 1 where nothing of EXECUTION is stored."""
        if arguments:
            return self._execution(program, execution_id(self.one(arguments), program.instance))
        return self._everything(program)

    def _execution(self, program: Program, execution: ExecutionId) -> int:
        """Say how far one execution has come."""
        from flytelineage.explain import as_json, whereabouts

        with program.opened_store() as store:
            of = whereabouts_of(execution, store, program)
        if self.as_json:
            say_lines(json.dumps(as_json(of), indent=2))
        else:
            for line in whereabouts(of):
                say(line)
        return 0 if of.standing else 1

    def _everything(self, program: Program) -> int:
        with program.opened_store() as store:
            status, place = store.status(), store.describe()
        if self.as_json:
            say_lines(json.dumps(status, indent=2))
            return 0
        say(f"Store: {place}")
        for title, lines in _sections(status):
            say()
            say(title)
            for line in lines:
                say(f"  {line}")
        return 0


def whereabouts_of(execution: ExecutionId, store: Store, program: Program) -> Whereabouts:
    """Ask the store how far an execution has come, and the configuration who may hear of it."""
    from flytelineage.explain import Whereabouts

    standing = store.standing(execution)
    scope = Scope(program.include, program.exclude)
    pipeline = standing.pipeline if standing else None
    return Whereabouts(
        execution=execution,
        standing=standing,
        targets=[TARGETS.name_of(plugin) for plugin in program.targets],
        taken=scope.stores(execution),
        told=pipeline is None or scope.emits(pipeline),
    )


def _sections(status: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "Executions", _executions(status["executions"])
    yield "Deliveries", _deliveries(status["deliveries"])
    if lines := _flyteadmin(status):
        yield "FlyteAdmin", lines
    if status["paused"]:
        yield "Targets that are told nothing for a while", [*map(_paused, status["paused"].items())]
    if status["quarantine"]:
        rows = [(str(count), reason) for reason, count in status["quarantine"].items()]
        hint = "`flytelineage quarantine list` tells more"
        yield "Quarantine: messages that could not be read", [*_rows(rows), hint]
    if status["errors"]:
        yield "What targets refused, the newest first", _listed(status["errors"], _error)
    if status["problems"]:
        hint = "`flytelineage explain EXECUTION` tells more of one"
        yield "What lineage lacks, the newest first", [*_listed(status["problems"], _problem), hint]


def _executions(counts: Mapping[str, int]) -> list[str]:
    rows = [
        (name, str(counts.get(name, 0)), meaning)
        for name, meaning in _EXECUTIONS.items()
        if counts.get(name) or not meaning.startswith("of these")
    ]
    return _rows(rows)


def _flyteadmin(status: Mapping[str, Any]) -> list[str]:
    kept = status["definitions"]
    lines = [f"definitions of workflows and launch plans that are kept: {kept}"] if kept else []
    for one in status["backfills"]:
        where, at = f"{one['project']}/{one['domain']}", one["reached"][:16].replace("T", " ")
        lines.append(
            f"backfill of {where} has come to {at} ({one['recorded']} recorded); where it was "
            "stopped, the same command goes on"
        )
    return lines


def _deliveries(targets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not targets:
        return ["none yet"]
    # A column that is empty for every target only hides the others.
    names = [n for n in _DELIVERIES if n == "delivered" or any(t.get(n) for t in targets.values())]
    rows = [("target", *(name.replace("_", " ") for name in names), "oldest not settled")]
    rows += [
        (target, *(str(counts.get(name, 0)) for name in names), _age(counts.get("oldest_seconds")))
        for target, counts in targets.items()
    ]
    hints = {
        "given_up": "`flytelineage retry` tells again what is given up",
        "held": "`flytelineage retry --held` tells what is held",
    }
    return [*_rows(rows), *(hint for name, hint in hints.items() if name in names)]


def _paused(one: tuple[str, Mapping[str, str]]) -> str:
    target, why = one
    return f"{target}: since {_time(why['since'])}, until {_time(why['until'])}: {why['reason']}"


def _time(written: str) -> str:
    return f"{written[:19].replace('T', ' ')} UTC"


def _rows(rows: Sequence[Sequence[str]]) -> list[str]:
    return table(rows, indent="").splitlines()


def _listed(items: Sequence[Mapping[str, Any]], lines: Any) -> list[str]:
    shown = [line for item in items[:_SHOWN] for line in lines(item)]
    left = len(items) - _SHOWN
    return [*shown, f"and {left} more: --json lists them"] if left > 0 else shown


def _error(error: Mapping[str, Any]) -> Iterator[str]:
    state, tries, refused = error["state"].replace("_", " "), error["attempts"], error["refused"]
    tried = f", tried {tries} time{'s' if tries > 1 else ''}" if tries else ""
    yield f"{error['execution']} at {error['target']}: {state}{tried}"
    if error["error"]:
        yield f"  {error['error']}"
    yield from (f"  refused {one}" for one in refused[:_REASONS])
    if len(refused) > _REASONS:
        yield f"  and {len(refused) - _REASONS} more"


def _problem(problem: Mapping[str, Any]) -> Iterator[str]:
    yield str(problem["execution"])
    reasons = problem["reasons"]
    yield from (f"  {reason}" for reason in reasons[:_REASONS])
    if len(reasons) > _REASONS:
        yield f"  and {len(reasons) - _REASONS} more reasons"


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
