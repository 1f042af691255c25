"""Files as catalogues: of JSON lines, of DataHub's proposals, of OpenLineage's events."""

from __future__ import annotations

import errno
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.transport.file import LocalFileHandler

from flytelineage.targets import Target
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.file import FileTarget
from flytelineage.targets.openlineage import OpenLineageTarget
from tests.targets.contract import datahub, openlineage
from tests.targets.contract.place import Place, Stage, Told, Trouble


class OnDisk(Place):
    """One file; its steps are those at which it is made durable."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.path = stage.directory / "told"
        self._count_fsyncs()

    def _count_fsyncs(self) -> None:
        fsync = os.fsync

        def step(descriptor: int) -> None:
            self.steps()
            fsync(descriptor)

        self.stage.patch.setattr(os, "fsync", step)

    @property
    def files(self) -> list[Path]:
        """What a reader reads, oldest first."""
        return [self.path] if self.path.is_file() else []

    def clear(self) -> None:
        for file in self.files:
            file.unlink()

    def records(self) -> set[str]:
        return {json.dumps(one, sort_keys=True) for one in self._entries()}

    @abstractmethod
    def _entries(self) -> Iterator[dict[str, Any]]:
        """All that is written, in order."""

    def trouble(self, trouble: Trouble) -> None:
        """A full disk is what comes nearest to a server in trouble."""
        if trouble.retry_after or trouble.hang or trouble.drop or trouble.status != 503:
            pytest.skip("a disk answers at once, and says just yes or no")

        def full() -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.steps.at(1, full)

    def lock_out(self) -> None:
        self.path.mkdir()

    def tear(self) -> None:
        with self.path.open("r+b") as file:
            file.truncate(self.path.stat().st_size - 20)


class Lines(OnDisk):
    """The lines of `FileTarget`: the last one of an execution wins."""

    def make(self, **options: Any) -> Target:
        return FileTarget(path=str(self.path), **options)

    def _entries(self) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for file in self.files for line in _lines(file))

    def told(self) -> Told:
        return {json.dumps(one.get("execution", one)): one for one in self._entries()}


class Proposals(OnDisk):
    """DataHub's proposals in one array."""

    def make(self, **options: Any) -> Target:
        return DataHubTarget(file=str(self.path), run_history="all", **options)

    def _entries(self) -> Iterator[dict[str, Any]]:
        return (one for file in self.files for one in json.loads(file.read_text("utf-8")))

    def told(self) -> Told:
        return datahub.loaded(self._entries())

    def together(self, aspect: str) -> Iterable[str]:
        return datahub.together(aspect, whole=True)

    def dangling(self) -> set[str]:
        return datahub.dangling(self.told())

    def edges(self) -> set[tuple[str, str]]:
        return datahub.edges(self.told())


class ProposalsByExecution(Proposals):
    """DataHub's proposals in a directory, an array for each execution."""

    @property
    def files(self) -> list[Path]:
        # A reader that lists the directory does not see what begins with a dot.
        return sorted(self.path.glob("[!.]*")) if self.path.is_dir() else []

    def make(self, **options: Any) -> Target:
        return DataHubTarget(file=f"{self.path}/", run_history="all", **options)

    def edges(self) -> set[tuple[str, str]]:
        pytest.skip("each file stands for itself: nobody says what holds no longer")

    def lock_out(self) -> None:
        self.path.write_text("a file")

    def tear(self) -> None:
        """A file appears whole, so what is torn has another name."""
        for file in self.files:
            half = file.read_bytes()[:100]
            file.with_name(f".{file.name}.tmp").write_bytes(half)
            file.unlink()


class Events(OnDisk):
    """OpenLineage's events, a line each."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        opened = LocalFileHandler.open_file

        def step(handler: LocalFileHandler, *where: str) -> Any:
            self.steps()
            return opened(handler, *where)

        stage.patch.setattr(LocalFileHandler, "open_file", step)

    def make(self, **options: Any) -> Target:
        transport = {"type": "file", "log_file_path": str(self.path)}
        return OpenLineageTarget(transport=transport, **options)

    def _entries(self) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for file in self.files for line in _lines(file))

    def told(self) -> Told:
        return openlineage.consumed(self._entries())

    def dangling(self) -> set[str]:
        return openlineage.dangling(self.told())


def _lines(file: Path) -> list[str]:
    # Those of `str.splitlines` are more than those of JSON lines.
    return file.read_text("utf-8").removesuffix("\n").split("\n")
