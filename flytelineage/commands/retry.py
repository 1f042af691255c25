"""`flytelineage retry`: tell targets again, by hand, in bulk, by filter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from traitlets import Bool, List, Unicode

from flytelineage.commands import Command, Program, execution_id, say
from flytelineage.commands.times import moment
from flytelineage.errors import ConfigError


class Retry(Command):
    """Makes deliveries due again that were given up.

    A running daemon takes them within seconds, otherwise the next one does; deliveries
    are safe to repeat. With --since a target that is new is told of executions that were
    built before it appeared. Times are ages such as 90m, 12h and 7d, or ISO 8601, in UTC
    unless they say otherwise.
    """

    examples = """
        flytelineage retry --dry-run
        flytelineage retry --target=datahub
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
        now = datetime.now(timezone.utc)
        execution = execution_id(self.execution, program.instance) if self.execution else None
        with program.opened_store() as store:
            count = store.retry(
                targets=tuple(self.targets),
                execution=execution,
                states=("held",) if self.held else ("given_up",),
                since=moment("since", self.since, now),
                until=moment("until", self.until, now),
                dry_run=self.dry_run,
            )
        noun = "delivery" if count == 1 else "deliveries"
        say(f"{'Would retry' if self.dry_run else 'Due again:'} {count} {noun}")
        return 0

    def _require_targets(self, program: Program) -> None:
        """Refuse a target that no daemon of this configuration would ever tell."""
        known = sorted(program.build_targets())
        for name in self.targets:
            if name not in known:
                raise ConfigError(
                    f"Retry.targets: {name!r} is not one of FlyteLineage.targets: {', '.join(known)}"
                )
