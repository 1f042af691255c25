"""`flytelineage export`: the messages of one execution, as `replay` reads them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from traitlets import Bool

from flytelineage import events
from flytelineage.commands import Command, Program, events_are_gone, execution_id, say, versions
from flytelineage.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from flytelineage.entities import ExecutionId
    from flytelineage.masking import Masking
    from flytelineage.store import Store


class Export(Command):
    """Prints the messages of an execution, one JSON value per line, for `replay`.

    EXECUTION is project/domain/name as `status` prints it. The values of inputs and outputs,
    errors, labels, names of users, arguments of programs and literals of SQL are masked, so
    that it can be shown to others; ids, URIs, times and types stay, and a replay gives the
    same lineage. What FlyteAdmin said of the execution and its workflow is there, too.
    """

    usage = "EXECUTION"
    examples = """
        flytelineage export shop/production/f1a2b3 > events.jsonl
        flytelineage export shop/production/f1a2b3 | flytelineage replay -
    """

    unmasked = Bool(
        False,
        help="""
        Print the messages as they came. They name users, data and code: look before you
        share them.

        Example: flytelineage export shop/production/f1a2b3 --unmasked
        """,
    ).tag(config=True)

    flags = {"unmasked": ({"Export": {"unmasked": True}}, "the messages as they came")}

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Print them.

        Raises:
            ConfigError: The store has no event of the execution.
        """
        execution = execution_id(self.one(arguments), program.instance)
        with program.opened_store() as store:
            for line in self._lines(store, execution):
                say(line)
        return 0

    def _lines(self, store: Store, execution: ExecutionId) -> Iterator[str]:
        from flytelineage.fold import fold
        from flytelineage.masking import Masking

        masking = None if self.unmasked else Masking(secrets.token_bytes(32))
        facts = fold(execution, store.events(execution))
        if not any(True for _ in store.events(execution)):
            raise _missing(store, execution)
        # What is known of a version comes first, so that nothing is built without it.
        for kind, answer in versions.kept(store, facts):
            yield from _version(kind, answer, masking)
        for event in store.events(execution):
            try:
                yield json.dumps(events.body(masking.event(event) if masking else event))
            except DecodeError as exc:  # a release read it that knew more
                self.log.warning("A message is left out that cannot be masked: %s", exc)


def _version(kind: versions.Kind, answer: bytes, masking: Masking | None) -> Iterator[str]:
    if masking is None:
        yield versions.written(kind, answer)
        return
    try:
        message = versions.parsed(kind, answer)
    except ValueError:
        return  # what cannot be read cannot be masked, and is of no use
    masking.message(message)
    yield versions.written(kind, message.SerializeToString(deterministic=True))


def _missing(store: Store, execution: ExecutionId) -> ConfigError:
    standing = store.standing(execution)
    if standing is not None and standing.archived_at is not None:
        return events_are_gone(execution, standing.archived_at)
    return ConfigError(f"The store has no event of {execution}")
