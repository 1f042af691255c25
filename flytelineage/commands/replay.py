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
    from flytelineage.report import Report
    from flytelineage.store import Store
    from flytelineage.targets import Target

_SHOWN = 10
"""How many of a kind are named; `status` tells all of a store that is kept."""

_REASONS = 3
"""How many reasons are shown of each."""

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
            daemon = program.build_daemon(source, store, targets)
            signals.on_stop(daemon.stop)
            report = daemon.replay()
            # Before the store goes, which alone knows the reasons.
            reasons = _reasons(store.status())
        self._tell(report, program, targets, reasons)
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

    def _tell(
        self,
        report: Report,
        program: Program,
        targets: Mapping[str, Target],
        reasons: Mapping[str, Sequence[str]],
    ) -> None:
        """Print the report where no lineage is printed."""
        paths = {name: getattr(target, "path", "") for name, target in targets.items()}
        lines = [*_intake(report), *_told(report, paths, held=not program.emit)]
        for title, noun, items in _left(report):
            if items:
                lines += [f"{title} {_number(len(items), noun)}", *_listed(items, reasons)]
        for line in lines:
            say(line, to_stderr=_STDOUT in paths.values())


@contextmanager
def _store(program: Program) -> Iterator[Store]:
    """The store that is configured, or else one that goes when the block ends."""
    if any(is_set(program.config, "Store", name) for name in ("url", "path")):
        with program.opened_store(exclusive=True, replaying=True) as store:
            yield store
        return
    with TemporaryDirectory(prefix="flytelineage-") as folder:
        path = str(Path(folder, "replay.sqlite3"))
        with program.opened_store(exclusive=True, replaying=True, path=path) as store:
            yield store


def _reasons(status: Mapping[str, Any]) -> dict[str, list[str]]:
    """Why something is missing, by execution; or was not told, by `execution to target`."""
    missing = {problem["execution"]: problem["reasons"] for problem in status["problems"]}
    failed = {
        f"{error['execution']} to {error['target']}": [error["error"]]
        for error in status["errors"]
        if error["error"]
    }
    return {**missing, **failed}


def _intake(report: Report) -> Iterator[str]:
    parts = [_number(report.events, "event")]
    parts += [f"{report.duplicates} seen before"] if report.duplicates else []
    parts += [f"{report.ignored} excluded"] if report.ignored else []
    parts += [f"{report.quarantined} not readable"] if report.quarantined else []
    yield f"Read {_number(report.messages, 'message')}: {', '.join(parts)}"


def _told(report: Report, paths: Mapping[str, str], *, held: bool) -> Iterator[str]:
    yield f"Built the lineage of {_number(report.executions, 'execution')}"
    for target, count in sorted(report.delivered.items()):
        place = f" ({paths[target]})" if paths.get(target) else ""
        yield f"Told {target}{place} of {_number(count, 'execution')}"
    if held:
        yield "Told nobody: FlyteLineage.emit is off"


def _left(report: Report) -> Iterator[tuple[str, str, Sequence[str]]]:
    """What a reader may care for: title, noun and list."""
    yield "Given up", "delivery", report.given_up
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


def _number(count: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
