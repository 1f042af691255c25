"""`flytelineage status`: what was built, told, and what is stuck."""

from __future__ import annotations

import json
from collections.abc import Sequence

from traitlets import Bool

from flytelineage.commands import Command, Program, say


class Status(Command):
    """Shows what was built, told, and what is stuck.

    Reads the store and changes nothing; a daemon may be running meanwhile.
    """

    examples = """
        flytelineage status
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
        """Print it; 0 even where something is stuck."""
        self.none(arguments)
        with program.opened_store() as store:
            status = store.status()
        say(json.dumps(status, indent=2, default=str))
        return 0
