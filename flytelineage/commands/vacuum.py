"""`flytelineage vacuum`: everything old goes now, and its room back to the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from traitlets import Bool

from flytelineage.commands import Command, Program, say, say_lines, table

if TYPE_CHECKING:
    from flytelineage.store import Store, Unsettled

_SHOWN = 20
"""How much of what was given up is listed."""

_WORDS = {
    "undelivered": "deliveries that nobody took, which are given up",
    "events": "events of executions that were built and told",
    "lineage": "lineage that stands in no catalogue any more",
    "deliveries": "notes of what targets were told",
    "runs": "executions of which nothing else is left",
    "quarantine": "messages that could not be read",
    "locations": "places where executions wrote",
}


class Vacuum(Command):
    """Removes what is old, then gives the room back to the disk.

    A daemon forgets by itself what is older than Store.keep_events and its like say, step
    by step; the room is used again, and the files stay as large as they are. This does all
    of it at once and makes them smaller. SQLite needs as much room again for that, and lets
    nobody write meanwhile: stop the daemon before a large one. PostgreSQL goes on.
    """

    examples = """
        flytelineage vacuum --dry-run
        flytelineage vacuum
        flytelineage vacuum --Store.keep_events=7
    """

    dry_run = Bool(
        False,
        help="""
        Count what is old, and change nothing.

        Example: flytelineage vacuum --dry-run
        """,
    ).tag(config=True)

    flags = {"dry-run": ({"Vacuum": {"dry_run": True}}, "only count")}

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Remove and compact; 1 when something was given up that nobody had been told."""
        self.none(arguments)
        with program.opened_store() as store:
            if self.dry_run:
                _say_counts(store.old(), "Nothing is old")
                return 0
            removed, unsettled = _cleaned(store)
            before = store.size().bytes
            store.vacuum()
            after = store.size().bytes
        _say_counts(removed, "Nothing was old")
        _say_given_up(unsettled)
        say(f"{_megabytes(before)} before, {_megabytes(after)} now")
        return 1 if unsettled else 0


def _cleaned(store: Store) -> tuple[Mapping[str, int], Sequence[Unsettled]]:
    """Go through the store once."""
    removed: Counter[str] = Counter()
    unsettled: list[Unsettled] = []
    while True:
        cleaned = store.clean()
        removed.update(cleaned.removed)
        unsettled += cleaned.unsettled
        if not cleaned.more:
            return removed, unsettled


def _say_counts(counts: Mapping[str, int], nothing: str) -> None:
    rows = [(f"{counts[what]:,}", words) for what, words in _WORDS.items() if counts.get(what)]
    say_lines(
        table([(count.rjust(9), words) for count, words in rows], indent="") if rows else nothing
    )


def _say_given_up(unsettled: Sequence[Unsettled]) -> None:
    for one in unsettled[:_SHOWN]:
        at = f" at {one.target}" if one.target else ""
        say(f"{one.execution}{at}: {one.reason}")
    if (left := len(unsettled) - _SHOWN) > 0:
        say(f"and {left} more: `flytelineage status` lists them")


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
