"""Lineage as lines of JSON: a file that only grows, or standard output.

Hides how a line becomes durable, and promises that what was accepted survives a crash
and that a line is whole or not there.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError
from traitlets import Unicode

from flytelineage import durable
from flytelineage.entities import Lineage
from flytelineage.errors import (
    ConfigError,
    TargetError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.targets import Rejection, Target

STANDARD_OUTPUT = "-"

# A repeat comes soon after its first time: when the process died between writing and
# settling. So it is enough to know what was written lately, whatever the file's size.
_LOOK_BACK_BYTES = 16 * 1024 * 1024
_REMEMBERED_EXECUTIONS = 100_000

# How each of our lines begins: fields come in the order of the model.
_BEGINNINGS = (b'{"execution":', b'{"revision":')


class FileTarget(Target):
    """Writes one line of JSON per delivery, for scripts and for keeping.

    A line is a `Lineage`, fields that are not known left out::

        {"execution": {"project": "shop", "domain": "production", "name": "f1a2", "instance": ""},
         "revision": 3, "phase": "SUCCEEDED", "started_at": "2026-01-01T00:00:00Z",
         "name_source": "launch plan", "partial": false, "incomplete": [],
         "pipelines": [..], "tasks": [..], "datasets": [..], "runs": [..]}

    on one line; `Lineage.model_validate_json(line)` reads it back. The last line of an
    execution wins: a late event gives a new line with a higher revision. Entities that
    a library emits alone have no `execution`. What equals the execution's last line is
    not written again.

    The file may be renamed at any time, e.g. by logrotate: the next line begins a new
    one. One process writes to it; a second one is refused.
    """

    remote = False
    journal = True

    path = Unicode(
        "lineage.jsonl",
        help="""The file that lines are added to; `-` is standard output.

        A relative path starts at the working directory, and `~` is the home directory.
        The directory must exist. Change it when several daemons share a directory, since
        each needs a file of its own.

        Example: c.FileTarget.path = "/var/lib/flytelineage/lineage.jsonl"
        """,
    ).tag(config=True)

    _out: _Out | None = None
    _told: OrderedDict[str, str]  # digest of the last line, by execution

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        """Add a line, unless it says what the execution's last one said.

        Raises:
            ConfigError: Another process writes to the file, or it is none of ours.
        """
        execution, digest = str(lineage.execution or ""), lineage.digest()
        with self._translated_errors():
            out = self._open()
            if self._told.get(execution) != digest:
                out.append(lineage.model_dump_json(exclude_none=True).encode() + b"\n")
        self._remember(execution, digest)
        return []

    def check(self) -> None:
        """See that the file could be written, without creating it."""
        if self.path == STANDARD_OUTPUT or self._out is not None:
            return
        try:
            with self._translated_errors():
                _check_writable(self._file)
        except TargetError as exc:
            raise ConfigError(str(exc)) from exc

    def close(self) -> None:
        """Close the file and let others write to it."""
        if self._out is not None:
            self._out.close()
            self._out = None

    @property
    def _file(self) -> Path:
        return Path(self.path).expanduser().absolute()

    def _open(self) -> _Out:
        if self._out is not None and not self._out.moved():
            return self._out
        first = self._out is None
        self.close()
        self._out = _StandardOutput() if self.path == STANDARD_OUTPUT else _Journal(self._file)
        if first:
            self._told = OrderedDict()
            for line in self._out.lines():
                self._recall(line)
        return self._out

    def _recall(self, line: bytes) -> None:
        # A line of another release may not fit our model; then a repeat is written.
        with suppress(ValidationError):
            lineage = Lineage.model_validate_json(line)
            self._remember(str(lineage.execution or ""), lineage.digest())

    def _remember(self, execution: str, digest: str) -> None:
        self._told[execution] = digest
        self._told.move_to_end(execution)
        if len(self._told) > _REMEMBERED_EXECUTIONS:
            self._told.popitem(last=False)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            where = "standard output" if self.path == STANDARD_OUTPUT else self._file
            message = f"FileTarget.path: {where} cannot be written: {exc.strerror or exc}"
            if (cure := _CURES.get(exc.errno or 0)) is None:
                raise TransientTargetError(message) from exc
            cure = cure.format(directory=self._file.parent, uid=os.getuid())
            raise TargetUnavailable(f"{message}; {cure}") from exc


# What somebody must do before writing can work. Everything else, a full disk above
# all, may pass by itself.
_CURES = {
    errno.ENOENT: "create the directory {directory}",
    errno.ENOTDIR: "{directory} must be a directory",
    errno.EISDIR: "name a file in it",
    errno.EACCES: "allow user id {uid} to write there",
    errno.EPERM: "allow user id {uid} to write there",
    errno.EROFS: "choose a path on a volume that can be written",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EPIPE: "whatever read it has gone",
}


class _Out(Protocol):
    """Where lines go; every method may raise `OSError`."""

    def append(self, line: bytes) -> None:
        """Write a line; when this returns it is durable, when it raises it is not there."""

    def lines(self) -> Iterator[bytes]:
        """The lines that were written lately, oldest first."""

    def moved(self) -> bool:
        """Whether the next line belongs elsewhere."""

    def close(self) -> None:
        """Let go."""


class _StandardOutput:
    """Standard output; it belongs to the process, so it is never closed."""

    def append(self, line: bytes) -> None:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()

    def lines(self) -> Iterator[bytes]:
        return iter(())

    def moved(self) -> bool:
        return False

    def close(self) -> None:
        pass


class _Journal:
    """A file of whole lines that only grows, locked while it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = FileIO(path, "a+")
        try:
            durable.lock(self._file, "FileTarget.path", path)
            _refuse_foreign(self._file, path)
            self._file.truncate(durable.end_of_last_line(self._file))
            durable.sync_directory(path.parent)
        except BaseException:
            self._file.close()
            raise

    def append(self, line: bytes) -> None:
        before = os.fstat(self._file.fileno()).st_size
        try:
            durable.write(self._file, line)
        except BaseException:
            with suppress(OSError):
                self._file.truncate(before)
            raise

    def lines(self) -> Iterator[bytes]:
        size = os.fstat(self._file.fileno()).st_size
        with open(self._file.fileno(), "rb", closefd=False) as reader:
            reader.seek(max(0, size - _LOOK_BACK_BYTES))
            if reader.tell() > 0:
                reader.readline()  # very likely the rest of a line
            yield from reader

    def moved(self) -> bool:
        return durable.moved(self._file, self._path)

    def close(self) -> None:
        self._file.close()


def _refuse_foreign(file: FileIO, path: Path) -> None:
    """Refuse what was not written by us, before its end is cut off."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise ConfigError(f"FileTarget.path: {path} is not a file; for standard output use '-'")
    file.seek(0)
    head = file.read(max(map(len, _BEGINNINGS)))
    if not any(known.startswith(head) or head.startswith(known) for known in _BEGINNINGS):
        raise ConfigError(
            f"FileTarget.path: {path} holds something else than lineage; choose another path"
        )


def _check_writable(path: Path) -> None:
    if not path.exists():
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    with FileIO(path, "r+") as file:
        durable.lock(file, "FileTarget.path", path)
        _refuse_foreign(file, path)
