"""Files that survive a crash and have one writer: what targets write is on the disk.

Only for local disks; errors of the operating system come through as they are.
"""

from __future__ import annotations

import fcntl
import os
from io import FileIO
from pathlib import Path

from flytelineage.errors import ConfigError


def lock(file: FileIO, option: str, path: Path) -> None:
    """Be the only writer; the kernel lets go of it when the process dies.

    Args:
        file: Whatever is locked, so that nothing is left behind.
        option: The trait that named the path, e.g. `FileTarget.path`.
        path: What is being written.

    Raises:
        ConfigError: Another process writes to it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise ConfigError(
            f"{option}: {path} is being written by another flytelineage; "
            "stop that one, or give each its own path"
        ) from exc


def write(file: FileIO, data: bytes) -> None:
    """Write all of it, down to the disk."""
    rest = memoryview(data)
    while rest:  # a disk that fills up takes a part and says so the next time
        rest = rest[file.write(rest) or 0 :]
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a new file is lost without its name."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def moved(file: FileIO, path: Path) -> bool:
    """Whether the path names another file by now, or none, as after a rotation."""
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return True


def end_of_last_line(file: FileIO, block_bytes: int = 64 * 1024) -> int:
    """Where the next line must begin: a crash may have left a part of one behind."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - block_bytes)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0
