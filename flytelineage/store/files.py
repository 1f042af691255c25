"""The file of an SQLite store: who may use it, and whether its disk keeps promises."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

from flytelineage.errors import ConfigError

NETWORK = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.mountpoint-s3",
        "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
        "nfs4", "ocfs2", "smb3", "smbfs",
    }
)  # fmt: skip
"""Where locks or the shared memory of the write-ahead log do not work over hosts."""

THROW_AWAY = frozenset({"overlay", "ramfs", "tmpfs"})
"""What is gone with the container or with the power."""

_MOUNTS = Path("/proc/self/mounts")
_ESCAPE = re.compile(r"\\([0-7]{3})")


class ExclusiveLock:
    """The right of one process to a file, held until `release` or the process ends.

    Args:
        path: What is locked; the lock is a file beside it, so that closing any other
            handle of it does not let go of the lock.

    Raises:
        ConfigError: Another process holds it; or the folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.lock")
        try:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ConfigError(
                f"The store {path} cannot be opened: {exc.strerror}. "
                "Set Store.path or FlyteLineage.state_dir to a folder that can be written to"
            ) from exc
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.read(self._handle, 32).decode(errors="replace").strip()
            os.close(self._handle)
            raise ConfigError(
                f"The store {path} is in use by process {holder or '?'}: stop that one first. "
                "Several processes can share a PostgreSQL store (Store.url)"
            ) from exc
        os.ftruncate(self._handle, 0)
        os.write(self._handle, str(os.getpid()).encode())

    def release(self) -> None:
        """Let others in. The file stays: deleting it would open a race."""
        os.close(self._handle)


def file_system(path: Path, mounts: str | None = None) -> str:
    """The kind of file system that a path lies on, e.g. `ext4`; empty if unknown.

    `mounts` is read instead of the kernel's table.
    """
    if mounts is None:
        mounts = _MOUNTS.read_text(errors="replace") if _MOUNTS.exists() else ""
    place, best, kind = path.resolve(), -1, ""
    for line in mounts.splitlines():
        _, mounted, found, *_ = line.split(" ")
        at = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), mounted))
        depth = len(at.parts)
        if depth >= best and (at == place or at in place.parents):  # a later mount hides
            best, kind = depth, found
    return kind
