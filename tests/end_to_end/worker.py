"""What a process of these tests runs: the command, with more places to die at.

Besides the steps that the daemon itself reports there are places inside of them, reached
by the hooks that libraries offer. `FLYTELINEAGE_CRASH_AT` names either kind.

Everything heavy is imported at the top, so that the fork server does it once for all.
"""

# ruff: noqa: F401

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
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
