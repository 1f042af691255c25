"""`flytelineage demo`: sample workflows become lineage, on this machine alone."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Unicode

from flytelineage.commands import Command, Program
from flytelineage.demo import folder as files
from flytelineage.demo import mermaid, summary, truth
from flytelineage.demo.folder import OutputFolder
from flytelineage.demo.found import Found, LineageFile
from flytelineage.demo.platform import QUEUE, Platform, Played, has_flytekit
from flytelineage.demo.screen import Screen
from flytelineage.entities import Lineage
from flytelineage.errors import ConfigError
from flytelineage.signals import StopSignals

if TYPE_CHECKING:
    from flytelineage.daemon import Daemon
    from flytelineage.store import Store

TARGETS = ("file", "datahub", "glue")

_PORTION = 20
_MOST_WAITING = 60
"""Messages published at once, and those on the queue: moto slows with its length."""

_LONGEST_SECONDS = 50.0
_GRACE_SECONDS = 2.0
"""How long a stop may take before the process ends without more ado."""

_EXTRAS = {
    "moto": "demo", "flask": "demo", "boto3": "daemon", "flyteidl": "daemon",
    "sqlalchemy": "daemon", "alembic": "daemon", "pyarrow": "daemon", "datahub": "datahub",
}  # fmt: skip
"""What the demo imports, and the extra that brings it."""


class Stopped(Exception):
    """Somebody asked the demo to stop."""


class Demo(Command):
    """Shows sample workflows become lineage, with nothing to set up.

    Starts SNS, SQS, S3 and Glue on the loopback, publishes the events of sample
    workflows as FlyteAdmin does, runs the daemon on them, and prints what was found.
    It uses nothing of yours: neither AWS nor the configuration file. The lineage, the
    proposals for DataHub and a graph stay in a folder.

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
        log = self.log.getChild("demo")
        log.setLevel(logging.WARNING)  # the screen says that it stops
        with StopSignals(log) as signals, _no_warnings():
            signals.on_stop(lambda: _stop(signals, screen, stop))
            try:
                return _Show(program, screen, stop, debug=_debugging(self.log)).run(self.folder)
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
        self._told: dict[str, Lineage] = {}
        self._published = 0

    def run(self, path: str) -> int:
        self._screen.show("flytelineage demo: sample workflows become lineage, on this machine alone")
        self._screen.show()
        with ExitStack() as parts:
            folder = parts.enter_context(OutputFolder(Path(path)))
            platform = self._start_platform(parts)
            played = self._run_samples(platform)
            store, daemon = self._start_daemon(parts, folder)
            lines = LineageFile(folder / files.LINEAGE)
            for one in played:
                self._publish(one, platform, daemon, lines)
            complete = self._wait(played, daemon, store, lines)
            tables = platform.glue_tables()
        self._check()
        return self._conclude(folder, played, tables, complete=complete)

    # ----------------------------------------------------------------------- acts

    def _start_platform(self, parts: ExitStack) -> Platform:
        self._step("starting", "a local AWS")
        from flytelineage.testing.aws import local_aws

        aws = parts.enter_context(local_aws())
        platform = Platform(aws)
        platform.create()
        self._step("listening", f"SNS, SQS, S3 and Glue on {aws.endpoint_url}")
        return platform

    def _run_samples(self, platform: Platform) -> list[Played]:
        by = "flytekit" if has_flytekit() else "the simulator"
        self._step("running", f"sample workflows; {by} writes their data to S3")
        return platform.run_samples()

    def _start_daemon(self, parts: ExitStack, folder: OutputFolder) -> tuple[Store, Daemon]:
        self._step("running", f"the daemon: SQS -> store -> {', '.join(TARGETS)}")
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
        self._step(
            "published", f"{len(messages)} events of {played.name} ({played.workflow}) as {played.format}"
        )

    def _let_it_catch_up(self, daemon: Daemon, lines: LineageFile) -> None:
        self._look(lines)
        while self._published - daemon.report.messages > _MOST_WAITING and self._in_time:
            self._look(lines)
            self._stop.wait(0.02)

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
                return True
            self._stop.wait(0.1)
        return False

    def _look(self, lines: LineageFile) -> None:
        """Say what the file target was told since the last look."""
        self._check()
        for lineage in lines.new():
            name = lineage.execution.name if lineage.execution else ""
            again = "once more of" if name in self._told else "of"
            self._told[name] = lineage
            self._step("told", f"the targets {again} {name}: {_content(lineage)}")

    def _conclude(
        self,
        folder: OutputFolder,
        played: Sequence[Played],
        tables: Mapping[str, list[Any]],
        *,
        complete: bool,
    ) -> int:
        truths = [one.truth for one in played]
        wrong = truth.differences(self._told, truths)
        found = Found(self._told.values())
        graph = mermaid.graph(found)
        (folder / files.GRAPH).write_text(graph, encoding="utf-8")
        for line in _report(found, graph, tables, folder.path, self._screen.width):
            self._screen.show(line)
        for line in _verdict(wrong, truth.count(truths), complete=complete):
            self._screen.show(line)
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
            "targets": list(TARGETS),
            "log_level": logging.DEBUG if debug else logging.ERROR,
        },
        "SqsSource": {"wait_seconds": 1},
        "Daemon": {"poll_seconds": 0.1, "shutdown_timeout": 5.0},
        "Store": {"path": str(folder / files.STORE), "min_settle": 0.5},
        "FileTarget": {"path": str(folder / files.LINEAGE)},
        "DataHubTarget": {"file": str(folder / files.PROPOSALS)},
    }


@contextmanager
def _running(daemon: Daemon) -> Iterator[None]:
    """Run the three loops beside the block; their end is waited for."""
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


def _debugging(log: Any) -> bool:
    return bool(log.isEnabledFor(logging.DEBUG))


# ------------------------------------------------------------------------ what it says


def _content(lineage: Lineage) -> str:
    edges = sum(
        len(task.io.inputs) + len(task.io.outputs) + len(task.io.upstream)
        for task in lineage.tasks
        if task.io
    )
    return (
        f"{lineage.phase}, {_number(len(lineage.tasks), 'task')}, "
        f"{_number(len(lineage.datasets), 'dataset')}, {_number(edges, 'edge')}"
    )


def _report(
    found: Found, graph: str, tables: Mapping[str, list[Any]], folder: Path, width: int
) -> Iterator[str]:
    yield from _titled("Pipelines, their tasks, and edges with their evidence")
    yield from summary.pipelines(found, width)
    yield from _titled("Datasets")
    yield from summary.datasets(found, width)
    yield from _titled("Glue: a table for each Parquet dataset that a task wrote")
    yield from summary.glue(tables, width)
    yield from _titled("The graph, for any Mermaid viewer")
    yield graph.rstrip()
    yield from _titled("Files")
    yield from _files(found, folder, width)
    yield from _titled("Next")
    yield from _next_steps(folder)


def _titled(text: str) -> Iterator[str]:
    yield ""
    yield text
    yield "-" * len(text)


def _verdict(wrong: Sequence[str], count: int, *, complete: bool) -> Iterator[str]:
    yield ""
    if not complete:
        yield f"It took longer than {_LONGEST_SECONDS:.0f} s; `flytelineage demo --debug` shows why"
    if wrong:
        yield f"The lineage differs from the truth in {_number(len(wrong), 'point')}:"
        yield from (f"  {line}" for line in wrong)
    else:
        yield f"The lineage found is the true one: all {count} facts agree, none is missing or invented"


def _files(found: Found, folder: Path, width: int) -> Iterator[str]:
    if (folder / files.PROPOSALS).exists():
        total, kinds = summary.proposals(folder / files.PROPOSALS)
    else:
        total, kinds = 0, "none"
    runs = sum(len(pipeline.runs) for pipeline in found.pipelines.values())
    rows = [
        (files.LINEAGE, f"lineage of {runs} executions, a line of JSON each"),
        (files.PROPOSALS, f"{total} proposals for DataHub: {kinds}"),
        (files.GRAPH, "the graph above"),
        (files.STORE, "the daemon's store"),
    ]
    yield from summary.columns([(str(folder / name), text) for name, text in rows], width=width)


def _next_steps(folder: Path) -> Iterator[str]:
    program = _typed()
    yield f"  {program} status --FlyteLineage.state_dir={folder}"
    yield f"  {program} --generate-config"
    yield f"  {program} check --connect --sqs-queue=NAME_OR_URL"


def _typed() -> str:
    """How the program is called from here."""
    if shutil.which("flytelineage"):
        return "flytelineage"
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m flytelineage"
    return os.path.relpath(called)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
