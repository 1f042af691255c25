"""`flytelineage replay`: recorded messages through the same three loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from traitlets import Bool

from flytelineage.commands import Command, Program, outcome, say
from flytelineage.commands.versions import WithoutVersions
from flytelineage.configuration import is_set
from flytelineage.errors import ConfigError
from flytelineage.signals import StopSignals

if TYPE_CHECKING:
    from flytelineage.report import Report
    from flytelineage.store import Store
    from flytelineage.targets import Target

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
            admin = parts.enter_context(program.opened_admin())
            store = parts.enter_context(_store(program))
            messages = WithoutVersions(source, program.instance, store.keep_definition)
            daemon = program.build_daemon(messages, store, targets, admin)
            signals.on_stop(daemon.stop, *([admin.close] if admin else []))
            report = daemon.replay()
            # Before the store goes, which alone knows the reasons.
            reasons = outcome.reasons(store.status())
        self._tell(report, program, targets, reasons)
        if signals.received is not None:
            say("Stopped before the end", to_stderr=True)
            return 128 + signals.received
        return 1 if report.failed else 0

    def _require_live(self, targets: Mapping[str, Target]) -> None:
        remote = [name for name, target in targets.items() if target.remote]
        if remote and not self.live:
            *others, last = remote
            names = " and ".join(filter(None, (", ".join(others), last)))
            raise ConfigError(
                f"A replay would change {names}: add --live if you want that, "
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
        for line in (
            *outcome.intake(report),
            *outcome.told(report, paths, held=not program.emit),
            *outcome.left(report, reasons),
        ):
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
