"""`flytelineage retry`: tell targets again, by hand, in bulk, by filter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Enum, List, Unicode

from flytelineage.commands import Command, Program, execution_id, say, say_lines, table
from flytelineage.commands.times import moment
from flytelineage.errors import ConfigError

if TYPE_CHECKING:
    from flytelineage.store import Matching

_STATES = ("given_up", "held", "due", "delivered")

_SHOWN = 20
"""How many kinds of errors a dry run lists."""

_WIDTH = 120
"""Characters of an error that are shown."""


class Retry(Command):
    """Makes deliveries due again, by default those that were given up.

    All filters restrict; --dry-run shows how many there are of which error. A running daemon
    takes them within seconds, otherwise the next one does; deliveries are safe to repeat.
    With --since a target that is new is told of executions that were built before it
    appeared. Times are ages such as 90m, 12h and 7d, or ISO 8601, in UTC unless they say
    otherwise.
    """

    examples = """
        flytelineage retry --dry-run
        flytelineage retry --target=datahub
        flytelineage retry --error='*403*' --since=7d
        flytelineage retry --state=delivered --error='*too large*'
        flytelineage retry --target=glue --since=30d
        flytelineage retry --held
    """

    targets = List(
        Unicode(),
        help="""
        The targets to tell again, by their names in the configuration. Empty is all.

        Example: flytelineage retry --target=datahub --target=glue
        """,
    ).tag(config=True)

    execution = Unicode(
        "",
        help="""
        The execution, as `status` prints it. Empty is all.

        Example: flytelineage retry --execution=shop/production/f1a2b3
        """,
    ).tag(config=True)

    states = List(
        Enum(_STATES),
        default_value=["given_up"],
        help="""
        The states of the deliveries to tell again: given_up, held, due (which waits for its
        next try), or delivered. Empty is all of them.

        Example: flytelineage retry --state=due --target=glue
        """,
    ).tag(config=True)

    error = Unicode(
        "",
        help="""
        Only deliveries of which the last error, or something that was rejected, matches this
        pattern: `*` stands for anything, `?` for one character. Empty is any.

        Example: flytelineage retry --error="*timed out*"
        """,
    ).tag(config=True)

    held = Bool(
        False,
        help="""
        Send what was held while `FlyteLineage.emit` was off, instead of what was given up.

        Example: flytelineage retry --held
        """,
    ).tag(config=True)

    since = Unicode(
        "",
        help="""
        Only executions that were built after this time, and then also those that the target
        was never told of. Empty sets no bound.

        Example: flytelineage retry --target=glue --since=2026-01-31
        """,
    ).tag(config=True)

    until = Unicode(
        "",
        help="""
        Only executions that were built before this time. Empty sets no bound.

        Example: flytelineage retry --since=7d --until=24h
        """,
    ).tag(config=True)

    dry_run = Bool(
        False,
        help="""
        Count what would be told again, and change nothing.

        Example: flytelineage retry --dry-run
        """,
    ).tag(config=True)

    aliases = {
        "target": ("Retry.targets", "only this target; may be repeated"),
        "execution": ("Retry.execution", "only this execution: project/domain/name"),
        "state": ("Retry.states", "given_up (the default), held, due or delivered"),
        "error": ("Retry.error", "only what failed with an error like this: --error='*403*'"),
        "since": ("Retry.since", "built since then; also tells a new target of history"),
        "until": ("Retry.until", "built before then"),
    }
    flags = {
        "held": ({"Retry": {"held": True}}, "what was held while FlyteLineage.emit was off"),
        "dry-run": ({"Retry": {"dry_run": True}}, "only count"),
    }

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Make them due and print how many."""
        self.none(arguments)
        self._require_targets(program)
        filters = self._filters(program)
        with program.opened_store() as store:
            matching = store.matching(**filters) if self.dry_run else []
            count = store.retry(**filters, dry_run=self.dry_run)
        noun = "delivery" if count == 1 else "deliveries"
        say(f"{'Would retry' if self.dry_run else 'Due again:'} {count} {noun}")
        if matching:
            say_lines(table([_row(one) for one in matching[:_SHOWN]]))
        if (left := sum(one.count for one in matching[_SHOWN:])) > 0:
            say(f"  and {left} more with other errors")
        return 0

    def _filters(self, program: Program) -> dict[str, Any]:
        """What restricts the deliveries, as `Store.retry` takes it."""
        now = datetime.now(timezone.utc)
        return {
            "targets": tuple(self.targets),
            "execution": execution_id(self.execution, program.instance) if self.execution else None,
            "states": ("held",) if self.held else tuple(self.states) or _STATES,
            "since": moment("since", self.since, now),
            "until": moment("until", self.until, now),
            "error": self.error,
        }

    def _require_targets(self, program: Program) -> None:
        """Refuse a target that no daemon of this configuration would ever tell."""
        known = sorted(program.build_targets())
        for name in self.targets:
            if name not in known:
                raise ConfigError(
                    f"Retry.targets: {name!r} is not one of FlyteLineage.targets: {', '.join(known)}"
                )


def _row(one: Matching) -> tuple[str, ...]:
    error = one.error if len(one.error) <= _WIDTH else f"{one.error[: _WIDTH - 3]}..."
    return str(one.count), one.target, one.state.replace("_", " "), error or "-"
