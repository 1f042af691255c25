"""The folder that a demo leaves behind: new each time, and never somebody's own."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from types import TracebackType

from flytelineage.errors import ConfigError

LINEAGE = "lineage.jsonl"
PROPOSALS = "datahub.json"
EVENTS = "openlineage.jsonl"
PICTURE = "lineage.svg"
GRAPH = "lineage.mmd"
STORE = "flytelineage.sqlite3"
_OURS = (LINEAGE, PROPOSALS, EVENTS, PICTURE, GRAPH, f"{STORE}*")

MARKER = "README.txt"
_FIRST_LINE = b"Written by `flytelineage demo`; the next demo replaces it.\n"
_TEXT = (
    _FIRST_LINE
    + (
        f"""
{LINEAGE}         what the file target was told: a line of JSON for each execution
{PROPOSALS}          proposals for DataHub, as `datahub ingest` loads them
{EVENTS}     events of OpenLineage, a line of JSON each
{PICTURE}           the picture of it all, for any browser
{GRAPH}           the graph, for any Mermaid viewer
{STORE}  the store of the daemon
"""
    ).encode()
)


class OutputFolder:
    """A folder without files of an earlier demo, locked while the block runs.

    Only what a demo wrote is replaced, and only where its marker says that the folder
    is a demo's.

    Raises:
        ConfigError: On entering: it holds something else, another demo writes to it, or
            it cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts = ExitStack()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __enter__(self) -> OutputFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._own()
        except OSError as exc:
            raise ConfigError(
                f"Demo.folder: {self.path} cannot be written to: {exc.strerror}; "
                "name another one with --folder=PATH"
            ) from exc
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._parts.close()

    def _own(self) -> None:
        """Mark the folder first, so that a demo which is stopped can be replaced too."""
        new = not any(self.path.iterdir())
        if not new and not self._is_ours():
            raise ConfigError(
                f"Demo.folder: {self.path} holds something that no demo wrote; "
                "name another one with --folder=PATH"
            )
        marker = FileIO(self.path / MARKER, "a+")
        self._parts.callback(marker.close)
        self._lock(marker)
        for pattern in _OURS:
            for path in self.path.glob(pattern):
                path.unlink()
        os.ftruncate(marker.fileno(), 0)
        marker.write(_TEXT)

    def _is_ours(self) -> bool:
        marker = self.path / MARKER
        if not marker.is_file():
            return False
        with marker.open("rb") as file:
            return file.readline() == _FIRST_LINE

    def _lock(self, marker: FileIO) -> None:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._parts.close()
            raise ConfigError(
                f"Demo.folder: another demo writes to {self.path}; wait for it, or name "
                "another folder with --folder=PATH"
            ) from exc
