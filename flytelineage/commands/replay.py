"""`flytelineage replay`: recorded messages through the same three loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from traitlets import Bool

from flytelineage.commands import Command, Program, say
from flytelineage.configuration import is_set
from flytelineage.errors import ConfigError
from flytelineage.signals import StopSignals

if TYPE_CHECKING:
    from flytelineage.daemon import Report
    from flytelineage.store import Store
    from flytelineage.targets import Target

_SHOWN = 10
"""How many executions of a kind are named; `status` tells all of a store that is kept."""

_STDOUT = "-"


class Replay(Command):
    """Processes recorded messages, then exits.

    FILE holds one JSON value per line: a string is a message body, an object an envelope
    as SNS or FlyteAdmin made it; `-` is standard input. Everything is read, then built
    oldest first and told to the targets. The store is a temporary one unless Store.url or
    Store.path is set.

    Exits with 1 when a message could not be read or a target was not told; executions
    that lack events are listed.
    """

    usage = "FILE|-"
    examples = """
        flytelineage replay events.jsonl
        zcat events.jsonl.gz | flytelineage replay - --FileTarget.path=-
        flytelineage replay events.jsonl --targets=datahub --live
    """

    live = Bool(
        False,
        help="""
        Tell remote targets too. Without it a replay refuses targets that write to anything
        but files, so that a look at old events cannot change a catalogue.

        Example: flytelineage replay events.jsonl --targets=datahub --live
        """,
    ).tag(config=True)

    flags = {"live": ({"Replay": {"live": True}}, "tell remote targets too, e.g. DataHub and Glue")}

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Replay the file; 1 when something was lost on the way, 128 + n on signal n."""
        path = self.one(arguments)
        with StopSignals(self.log) as signals, ExitStack() as parts:
            source = program.build_source("file", path=path)
            parts.callback(source.close)
            source.check()
            targets = program.build_targets()
            self._require_live(targets)
            for target in targets.values():
                parts.callback(target.close)
            store = parts.enter_context(_store(program))
            store.replaying = True
            daemon = program.build_daemon(source, store, targets)
            signals.on_stop(daemon.stop)
            report = daemon.replay()
        self._tell(report, program, targets)
        if signals.received is not None:
            say("Stopped before the end", to_stderr=True)
            return 128 + signals.received
        return 1 if report.failed else 0

    def _require_live(self, targets: Mapping[str, Target]) -> None:
        remote = [name for name, target in targets.items() if target.remote]
        if remote and not self.live:
            raise ConfigError(
                f"A replay would change {' and '.join(remote)}: add --live if you want that, "
                "or choose where to write with --targets=file"
            )

    def _tell(self, report: Report, program: Program, targets: Mapping[str, Target]) -> None:
        """Print the report where no lineage is printed."""
        busy = any(getattr(target, "path", None) == _STDOUT for target in targets.values())
        for line in _lines(report, held=not program.emit):
            say(line, to_stderr=busy)


@contextmanager
def _store(program: Program) -> Iterator[Store]:
    """The store that is configured, or else one that goes when the block ends."""
    if any(is_set(program.config, "Store", name) for name in ("url", "path")):
        with program.opened_store(exclusive=True) as store:
            yield store
        return
    with TemporaryDirectory(prefix="flytelineage-") as folder:
        path = str(Path(folder, "replay.sqlite3"))
        with program.opened_store(exclusive=True, path=path) as store:
            yield store


def _lines(report: Report, *, held: bool) -> Iterator[str]:
    yield f"Read {_number(report.messages, 'message')}: {_intake(report)}"
    yield f"Built the lineage of {_number(report.executions, 'execution')}"
    for target, count in sorted(report.delivered.items()):
        yield f"Told {target} of {_number(count, 'execution')}"
    if held:
        yield "Told nobody: FlyteLineage.emit is off"
    yield from _listed("Could not tell the targets of", report.given_up)
    yield from _listed("Did not tell all targets of", report.undelivered)
    yield from _listed("Events are missing of", report.partial)
    yield from _listed("Not everything could be read of", report.incomplete)
    yield from _listed("Waiting for other executions to tell what they wrote:", report.waiting)
    yield from _listed("Not built, for lack of a terminal event:", report.unbuilt)


def _intake(report: Report) -> str:
    parts = [_number(report.events, "event")]
    if report.duplicates:
        parts.append(f"{report.duplicates} seen before")
    if report.ignored:
        parts.append(f"{report.ignored} excluded")
    if report.quarantined:
        parts.append(f"{report.quarantined} not readable and put into quarantine")
    return ", ".join(parts)


def _listed(what: str, executions: Sequence[Any]) -> Iterator[str]:
    if not executions:
        return
    yield f"{what} {_number(len(executions), 'execution')}"
    yield from (f"  {execution}" for execution in executions[:_SHOWN])
    if len(executions) > _SHOWN:
        yield f"  and {len(executions) - _SHOWN} more"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
