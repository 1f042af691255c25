"""What a process of these tests runs: the command, with more places to die at.

Besides the steps that the daemon itself reports there are places inside of them, reached
by the hooks that libraries offer. `FLYTELINEAGE_CRASH_AT` names either kind.

Everything heavy is imported at the top, so that the fork server does it once for all.
"""

# ruff: noqa: F401

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

import alembic.command
import botocore.handlers
import psycopg
import pyarrow.parquet
import sqlalchemy
from datahub.emitter.rest_emitter import DataHubRestEmitter
from sqlalchemy import Engine

import flytelineage.daemon
import flytelineage.store.rooms
import flytelineage.targets.datahub.gms
import flytelineage.targets.datahub.lineage
import flytelineage.targets.file
import flytelineage.targets.glue.catalog
from flytelineage.app import main
from flytelineage.testing import crash

WRITTEN = {
    "events inserted": re.compile("INSERT INTO event "),
    "build leased": re.compile("UPDATE execution SET .*lease_token"),
    "lineage inserted": re.compile("INSERT INTO lineage "),
    "watermark inserted": re.compile("INSERT INTO watermark "),
    "delivery updated": re.compile("UPDATE delivery SET .*settled_at"),
}
"""Place -> the statement after which, but before the commit, the process may die."""

ANSWERED = {
    "delete answered": "response-received.sqs.DeleteMessageBatch",
    "table created": "response-received.glue.CreateTable",
}
"""Place -> the event of botocore: the service did it, nobody looked at its answer."""

INNER = (*WRITTEN, *ANSWERED, "batch emitted", "half a line written")
"""All places inside of steps."""


END_THREAD = "FLYTELINEAGE_TEST_END_THREAD"
"""Names the receives, counted over all pollers, at which the poller's thread just ends."""

MAX_PAGES = "FLYTELINEAGE_TEST_MAX_PAGES"
"""Names a file that says how many pages the disk has room for; no file is any number."""

CLOCK = "FLYTELINEAGE_TEST_CLOCK"
"""Names a file that says by how many seconds the machine's clock is wrong."""


def run(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
    """Be the command, as if started in this folder; output goes to the log."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    if setting := os.environ.get(crash.VARIABLE):
        _hook(crash.crash_at(setting))
    if passes := os.environ.get(END_THREAD):
        _hook_threads({int(one) for one in passes.split(",")})
    if path := os.environ.get(MAX_PAGES):
        _hook_pages(Path(path))
    if path := os.environ.get(CLOCK):
        _hook_clock(Path(path))
    sys.exit(main(arguments))


def _hook(reached: Callable[[str], None]) -> None:
    _hook_commits(reached)
    _hook_answers(reached)
    _hook_batches(reached)
    _hook_lines(reached)


def _hook_commits(reached: Callable[[str], None]) -> None:
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        places = [place for place, written in WRITTEN.items() if written.match(statement)]
        connection.info.setdefault("places", []).extend(places)

    def commit(connection: Any) -> None:
        for place in connection.info.pop("places", ()):
            reached(place)

    def rollback(connection: Any) -> None:
        if not connection.invalidated:  # else it has no info any more
            connection.info.pop("places", None)

    sqlalchemy.event.listen(Engine, "after_cursor_execute", note)
    sqlalchemy.event.listen(Engine, "commit", commit)
    sqlalchemy.event.listen(Engine, "rollback", rollback)


def _hook_answers(reached: Callable[[str], None]) -> None:
    for place, event in ANSWERED.items():
        hook = (event, lambda place=place, **_: reached(place))
        botocore.handlers.BUILTIN_HANDLERS.append(hook)


def _hook_batches(reached: Callable[[str], None]) -> None:
    emit = DataHubRestEmitter.emit_mcps

    def emit_and_reach(self: DataHubRestEmitter, *args: Any, **kwargs: Any) -> int:
        sent = emit(self, *args, **kwargs)
        reached("batch emitted")
        return sent

    DataHubRestEmitter.emit_mcps = emit_and_reach


def _hook_lines(reached: Callable[[str], None]) -> None:
    class Halves(FileIO):
        """A file that takes half of what it is given, as it may."""

        def write(self, data: Any) -> int:
            written = super().write(data[: (len(data) + 1) // 2])
            reached("half a line written")
            return written

    flytelineage.targets.file.FileIO = Halves


def _hook_threads(ends_at: Collection[int]) -> None:
    """Nothing that is no `Exception` is expected within a thread."""
    receive, numbers = flytelineage.daemon.Daemon.intake, itertools.count(1)

    def receive_or_end(self: flytelineage.daemon.Daemon) -> bool:
        if next(numbers) in ends_at:
            raise SystemExit
        return receive(self)

    flytelineage.daemon.Daemon.intake = receive_or_end


def _hook_pages(path: Path) -> None:
    """Let SQLite itself say that the disk is full."""

    def limit(connection: Any) -> None:
        pages = int(path.read_text()) if path.exists() else 2**31
        connection.connection.execute(f"PRAGMA max_page_count={pages}")

    sqlalchemy.event.listen(Engine, "begin", limit)


def _hook_clock(path: Path) -> None:
    """Shift what modules of the program, botocore's signatures and logs take for now."""
    true_time = time.time

    def wrong_time() -> float:
        return true_time() + float(path.read_text() or 0)

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Wrong(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(wrong_time(), tz)

    time.time = wrong_time
    for name, module in list(sys.modules.items()):
        if name.startswith("flytelineage.") and vars(module).get("datetime") is datetime:
            module.datetime = Wrong
