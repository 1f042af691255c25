"""`flytelineage demo`: sample workflows become lineage, on this machine alone."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Unicode

from flytelineage.commands import Command, Program
from flytelineage.demo import folder as files
from flytelineage.demo import mermaid, picture, summary, truth
from flytelineage.demo.folder import OutputFolder
from flytelineage.demo.found import Found, LineageFile, number, short
from flytelineage.demo.platform import QUEUE, TOPIC, Platform, Played, has_flytekit
from flytelineage.demo.screen import Screen
from flytelineage.entities import Lineage
from flytelineage.errors import ConfigError
from flytelineage.signals import StopSignals

if TYPE_CHECKING:
    from flytelineage.daemon import Daemon
    from flytelineage.store import Store

_INTRODUCTION = """\
flytelineage demo: sample workflows become lineage, on this machine alone

  FlyteAdmin (simulated) -> SNS -> SQS -> flytelineage -> file, DataHub, Glue,
                                                     OpenLineage
"""

_PORTION = 20
_MOST_WAITING = 60
"""Messages published at once, and those on the queue: moto slows with its length."""

_LONGEST_SECONDS = 50.0
_GRACE_SECONDS = 2.0
"""How long a stop may take before the process ends without more ado."""

_EXTRAS = {
    "moto": "demo", "flask": "demo", "boto3": "daemon", "flyteidl": "daemon",
    "sqlalchemy": "daemon", "alembic": "daemon", "pyarrow": "daemon", "datahub": "datahub",
    "openlineage": "openlineage",
}  # fmt: skip
"""What the demo imports, and the extra that brings it."""


class Stopped(Exception):
    """Somebody asked the demo to stop."""


class Demo(Command):
    """Shows sample workflows become lineage, with nothing to set up.

    Starts SNS, SQS, S3 and Glue on the loopback, publishes the events of sample
    workflows as FlyteAdmin does, runs the daemon on them, and prints what was found.
    It uses nothing of yours, neither AWS nor the options of the daemon. The lineage,
    the proposals for DataHub, the events of OpenLineage and a picture stay in a folder.

    Exits with 1 when the lineage found is not the true one.
    """

    examples = """
        flytelineage demo
        flytelineage demo --folder=/tmp/flytelineage-demo
    """

    folder = Unicode(
        "flytelineage-demo",
        help="""
        Where the files are left; a relative path starts at the working directory. It is
        made when it is missing, and files of an earlier demo are replaced. Change it when
        the working directory cannot be written to.

        Example: flytelineage demo --folder=/tmp/flytelineage-demo
        """,
    ).tag(config=True)

    aliases = {"folder": ("Demo.folder", "where to leave the files; flytelineage-demo by default")}

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Show it; 1 when the lineage found is not the true one, 128 + n on signal n."""
        self.none(arguments)
        _require_extras()
        screen, stop = Screen(), threading.Event()
        debug = self.log.isEnabledFor(logging.DEBUG)
        log = self.log.getChild("demo")
        log.setLevel(logging.WARNING)  # it is the screen that says when the demo stops
        with StopSignals(log) as signals, _no_warnings():
            signals.on_stop(lambda: _stop(signals, screen, stop))
            try:
                return _Show(program, screen, stop, debug=debug).run(Path(self.folder))
            except Stopped:
                return 128 + (signals.received or 0)


class _Show:
    """One showing: what is published, what was told so far, and when it is over."""

    def __init__(
        self, program: Program, screen: Screen, stop: threading.Event, *, debug: bool
    ) -> None:
        self._program = program
        self._screen = screen
        self._stop = stop
        self._debug = debug
        self._published = 0
        self._told: dict[str, Lineage] = {}

    def _has_foreign_options(self) -> bool:
        """Whether anything is set that the demo does not heed."""
        return any(options for name, options in self._program.config.items() if name != "Demo")

    def run(self, path: Path) -> int:
        """All of it, in order; the exit code."""
        self._screen.show(_INTRODUCTION)
        for name in self._program.loaded_config_files if self._has_foreign_options() else ():
            self._screen.show(f"  {name} has no say: the demo brings options of its own\n")
        with ExitStack() as parts:
            folder = parts.enter_context(OutputFolder(path))
            platform = self._start_platform(parts)
            played = self._run_samples(platform)
            store, daemon = self._start_daemon(parts, folder)
            lines = LineageFile(folder / files.LINEAGE)
            for one in played:
                self._publish(one, platform, daemon, lines)
            complete = self._wait(played, daemon, store, lines)
            tables = platform.glue_tables()
        found = Found(self._told.values())
        graph = mermaid.graph(found)
        (folder / files.GRAPH).write_text(graph, encoding="utf-8")
        (folder / files.PICTURE).write_text(picture.draw(found), encoding="utf-8")
        self._step("drew", f"a picture: {path / files.PICTURE}")
        wrong = self._compare(played)
        for line in summary.report(found, graph, tables, path, self._screen.width):
            self._screen.show(line)
        return self._conclude(wrong, complete=complete)

    # ----------------------------------------------------------------------- acts

    def _start_platform(self, parts: ExitStack) -> Platform:
        self._step("starting", "a local AWS")
        from flytelineage.testing.aws import local_aws

        aws = parts.enter_context(local_aws())
        platform = Platform(aws)
        platform.create()
        self._step("started", f"SNS, SQS, S3 and Glue on {aws.endpoint_url}")
        self._step("created", f"topic {TOPIC} -> queue {QUEUE}")
        return platform

    def _run_samples(self, platform: Platform) -> list[Played]:
        maker = "flytekit" if has_flytekit() else "the simulator"
        self._step("running", f"sample workflows; {maker} writes their data to S3")
        # Not in the main thread: flytekit, imported there, takes Ctrl-C for itself.
        with ThreadPoolExecutor(1) as worker:
            samples = worker.submit(platform.run_samples)
            while not samples.done():
                self._check()
                self._stop.wait(0.05)
            return samples.result()

    def _start_daemon(self, parts: ExitStack, folder: OutputFolder) -> tuple[Store, Daemon]:
        self._step("starting", "the daemon")
        program = self._program.with_options(_options(folder, debug=self._debug))
        source = program.build_source()
        parts.callback(source.close)
        targets = program.build_targets()
        for target in targets.values():
            parts.callback(target.close)
        store = parts.enter_context(program.opened_store(exclusive=True))
        daemon = program.build_daemon(source, store, targets)
        parts.enter_context(_running(daemon))
        return store, daemon

    def _publish(
        self, played: Played, platform: Platform, daemon: Daemon, lines: LineageFile
    ) -> None:
        messages = list(played.messages())
        for at, (subject, message) in enumerate(messages):
            if at % _PORTION == 0:
                self._let_it_catch_up(daemon, lines)
            platform.publish(subject, message)
            self._published += 1
        what = f"{len(messages)} {played.format}"
        self._step("published", f"{what} of {short(played.workflow)}, {played.name}")

    def _let_it_catch_up(self, daemon: Daemon, lines: LineageFile) -> None:
        self._look(lines)
        while self._published - daemon.report.messages > _MOST_WAITING and self._in_time:
            self._stop.wait(0.02)
            self._look(lines)

    def _wait(
        self, played: Sequence[Played], daemon: Daemon, store: Store, lines: LineageFile
    ) -> bool:
        """Until every execution is told to every target; False when it takes too long."""
        expected = {one.name for one in played}
        while self._in_time:
            self._look(lines)
            received = daemon.report.messages >= self._published
            if received and expected <= self._told.keys() and not store.work_left():
                self._look(lines)
                self._step("told", f"{', '.join(daemon.targets)} of all {len(expected)} executions")
                return True
            self._stop.wait(0.1)
        return False

    def _look(self, lines: LineageFile) -> None:
        """Say what the file target was told since the last look."""
        self._check()
        for lineage in lines.new():
            name = lineage.execution.name if lineage.execution else ""
            self._told[name] = lineage
            self._step("built", f"{name}, {lineage.phase}: {summary.content(lineage)}")

    def _compare(self, played: Sequence[Played]) -> list[str]:
        truths = [one.truth for one in played]
        wrong = truth.differences(self._told, truths)
        facts = f"{truth.count(truths)} facts with the simulator's truth"
        self._step("compared", f"{facts}: {number(len(wrong), 'difference')}")
        return wrong

    def _conclude(self, wrong: Sequence[str], *, complete: bool) -> int:
        if not complete:
            late = f"It was not over after {_LONGEST_SECONDS:.0f} s"
            self._screen.show(f"\n{late}; `flytelineage demo --debug` shows what it did")
        if wrong:
            points = number(len(wrong), "point")
            self._screen.show(f"\nThe lineage found differs from the true one in {points}:")
        for line in wrong:
            self._screen.show(f"  {line}")
        self._check()
        return 1 if wrong or not complete else 0

    # -------------------------------------------------------------------- looking

    @property
    def _in_time(self) -> bool:
        return self._screen.seconds < _LONGEST_SECONDS

    def _step(self, verb: str, text: str) -> None:
        self._check()
        self._screen.step(verb, text)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


def _options(folder: OutputFolder, *, debug: bool) -> dict[str, dict[str, Any]]:
    """All options of the daemon that is shown; the user's own ones have no say."""
    return {
        "FlyteLineage": {
            "sqs_queue": QUEUE,
            "targets": ["file", "datahub", "glue", "openlineage"],
            "log_level": logging.DEBUG if debug else logging.ERROR,
        },
        "SqsSource": {"wait_seconds": 1},
        "Daemon": {"poll_seconds": 0.1, "shutdown_timeout": 5.0},
        "Store": {"path": str(folder / files.STORE), "min_settle": 0.5},
        "FileTarget": {"path": str(folder / files.LINEAGE)},
        "DataHubTarget": {"file": str(folder / files.PROPOSALS)},
        "OpenLineageTarget": {
            "transport": {"type": "file", "log_file_path": str(folder / files.EVENTS)}
        },
    }


@contextmanager
def _running(daemon: Daemon) -> Iterator[None]:
    """Run the three loops beside the block, and wait for their end."""
    thread = threading.Thread(target=daemon.run, name="daemon", daemon=True)
    thread.start()
    try:
        yield
    finally:
        daemon.stop()
        thread.join()


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Libraries warn of what their own next releases change: nothing for a watcher."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _stop(signals: StopSignals, screen: Screen, stop: threading.Event) -> None:
    """Say so and end the show; at once where that takes long, e.g. during an import."""
    screen.close("Stopped before the end")
    stop.set()
    end = threading.Timer(_GRACE_SECONDS, os._exit, (128 + (signals.received or 0),))
    end.daemon = True
    end.start()


def _require_extras() -> None:
    lacking = [name for name in _EXTRAS if find_spec(name) is None]
    if lacking:
        extras = ",".join(dict.fromkeys(_EXTRAS[name] for name in lacking))
        raise ConfigError(
            f"The demo needs {', '.join(lacking)}. Type: pip install 'flytelineage[{extras}]'"
        )
