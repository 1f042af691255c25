"""Proposals as JSON arrays that `datahub ingest` loads: one growing file, or many.

Whatever happens, a file that can be seen is a complete JSON array.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from flytelineage import durable
from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError

if TYPE_CHECKING:
    from flytelineage.targets.datahub.proposals import Proposal, Refusal

_OPEN, _BETWEEN, _CLOSE = b"[\n", b",\n", b"\n]\n"
_BEGINNING = b'{"entityType":'
"""How each of our records begins: fields come in the order of DataHub's model."""

_MAX_NAME = 150

# What passes by itself; everything else needs somebody to act.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EINTR, errno.EAGAIN, errno.ESTALE}


class ArrayFile:
    """One file, one array: each delivery is put before the closing bracket.

    So the cost of a delivery does not grow with the file. What a crash left unfinished
    is cut off when the file is opened next. The file may be renamed at any time: the
    next delivery begins a new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._end = 0  # where the last record ends; 0 is an empty array

    def send(self, name: str, proposals: Sequence[Proposal]) -> list[Refusal]:
        """Add to the array; when this returns it is durable."""
        if proposals:
            with _translated_errors(self._path):
                self._append(_BETWEEN.join(_records(proposals)))
        return []

    def check(self) -> None:
        """See that the file could be written, without creating it."""
        _check_writable(self._path)
        if self._path.is_dir():
            raise ConfigError(
                f"DataHubTarget.file: {self._path} is a directory; write {self._path}/"
            )

    def close(self) -> None:
        """Close the file and let others write to it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, records: bytes) -> None:
        file = self._open()
        data = (_BETWEEN if self._end else _OPEN) + records + _CLOSE
        try:
            file.seek(self._end)
            durable.write(file, data)
        except BaseException:
            with suppress(OSError):
                self._terminate(file)
            raise
        self._end += len(data) - len(_CLOSE)

    def _open(self) -> FileIO:
        if self._file is not None and not durable.moved(self._file, self._path):
            return self._file
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        try:
            durable.lock(file, "DataHubTarget.file", self._path)
            self._end = _end_of_records(file, self._path)
            self._terminate(file)
            durable.sync_directory(self._path.parent)
        except BaseException:
            file.close()
            raise
        self._file = file
        return file

    def _terminate(self, file: FileIO) -> None:
        """Make a whole array of the records that are known to be there."""
        file.seek(self._end)
        durable.write(file, _CLOSE if self._end else b"[]\n")
        file.truncate()


class DirectoryFiles:
    """A directory with one complete array for each execution.

    A file appears at once and whole, and replaces the execution's earlier one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: FileIO | None = None

    def send(self, name: str, proposals: Sequence[Proposal]) -> list[Refusal]:
        """Write `<name>.json`; when this returns it is durable."""
        if proposals:
            with _translated_errors(self._path):
                self._take_over()
                content = _OPEN + _BETWEEN.join(_records(proposals)) + _CLOSE
                self._replace(f"{file_name(name)}.json", content)
        return []

    def check(self) -> None:
        """See that files could be written, without creating any."""
        _check_writable(self._path)
        if self._path.is_file():
            raise ConfigError(
                f"DataHubTarget.file: {self._path} is a file; write it without the slash at "
                "its end, or choose another directory"
            )

    def close(self) -> None:
        """Let others write to the directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_over(self) -> None:
        if self._lock is not None:
            return
        self._path.mkdir(parents=True, exist_ok=True)
        lock = FileIO(self._path / ".lock", "a")
        try:
            durable.lock(lock, "DataHubTarget.file", self._path)
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def _replace(self, name: str, content: bytes) -> None:
        unfinished = self._path / f".{name}.tmp"
        try:
            with FileIO(unfinished, "w") as file:
                durable.write(file, content)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.replace(self._path / name)
        durable.sync_directory(self._path)


def file_name(name: str) -> str:
    """The name in characters that are safe in files; a digest keeps two names apart."""
    parts = name.split("/")
    safe = ".".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts)
    if safe.replace(".", "/") == name and len(safe) <= _MAX_NAME:
        return safe
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{safe[:_MAX_NAME]}-{digest}"


def _records(proposals: Sequence[Proposal]) -> Iterator[bytes]:
    """One line each, in the form of DataHub's own file sink."""
    for proposal in proposals:
        record = dict(proposal.mcp.to_obj())
        # The value is JSON in JSON there; in files it is unfolded.
        record["aspect"] = {"json": json.loads(record["aspect"]["value"])}
        yield json.dumps(record, separators=(",", ":")).encode()


def _end_of_records(file: FileIO, path: Path, tail_bytes: int = 64) -> int:
    """Where the next record goes, the closing bracket and a torn tail left out."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - tail_bytes)
    file.seek(start)
    tail = file.read(size - start)
    if start == 0 and re.fullmatch(rb"\s*(\[\s*\]?\s*)?", tail):
        return 0
    if closed := re.search(rb"\n\]\s*\Z", tail):
        return start + closed.start()
    return _end_of_whole_records(file, path)


def _end_of_whole_records(file: FileIO, path: Path) -> int:
    """Read the whole file, once after a crash; a record is a line."""
    file.seek(0)
    end = position = 0
    with open(file.fileno(), "rb", closefd=False) as lines:
        torn = lines.readline()
        if torn == _OPEN:
            position, torn = len(torn), b""
            for line in lines:
                # Latin-1 keeps a byte a character, so that offsets agree.
                try:
                    _, length = json.JSONDecoder().raw_decode(line.decode("latin-1"))
                except ValueError:
                    torn = line + lines.read()
                    break
                end, position = position + length, position + len(line)
    if not _is_torn_record(torn.strip()):
        raise ConfigError(
            f"DataHubTarget.file: {path} holds something else than an array of "
            "flytelineage; choose another path"
        )
    return end


def _is_torn_record(rest: bytes) -> bool:
    # Nothing else may be cut off: it would be somebody else's, or damage in the middle.
    beginning = rest[: len(_BEGINNING)]
    return _BEGINNING.startswith(beginning) and b"\n" not in rest


def _check_writable(path: Path) -> None:
    there = path
    while not there.exists() and there.parent != there:
        there = there.parent
    if there != path and not there.is_dir():
        raise ConfigError(f"DataHubTarget.file: {there} is no directory; choose another path")
    if not os.access(there, os.W_OK):
        raise ConfigError(
            f"DataHubTarget.file: {there} cannot be written; allow user id {os.getuid()} "
            "to write there, or choose another path"
        )


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        message = f"DataHubTarget.file: {path} cannot be written: {exc.strerror or exc}"
        if exc.errno in _PASSING:
            raise TransientTargetError(message) from exc
        raise TargetUnavailable(f"{message}; allow it, or choose another path") from exc
