"""`flytelineage export`: the messages of one execution, as `replay` reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flytelineage import events
from flytelineage.commands import Command, Program, execution_id, say
from flytelineage.errors import ConfigError


class Export(Command):
    """Prints the messages of an execution, one JSON string per line, for `replay`.

    EXECUTION is project/domain/name as `status` prints it. What is printed is what
    FlyteAdmin sent: it names users, data and code, so look before you share it. Compiled
    workflows that FlyteAdmin was asked for are no messages, and are left out.
    """

    usage = "EXECUTION"
    examples = """
        flytelineage export shop/production/f1a2b3 > events.jsonl
        flytelineage export shop/production/f1a2b3 | flytelineage replay -
    """

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Print them.

        Raises:
            ConfigError: The store has no event of the execution.
        """
        execution = execution_id(self.one(arguments), program.instance)
        count = 0
        with program.opened_store() as store:
            for event in store.events(execution):
                say(json.dumps(events.body(event)))
                count += 1
        if not count:
            raise ConfigError(f"The store has no event of {execution}")
        return 0
