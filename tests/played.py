"""The simulator's constructs, each played through the program once for all tests that look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from flytelineage.entities import Lineage
from flytelineage.testing.simulator import FolderStorage, Stream, Truth, simulate_samples
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.found import replay
from tests.test_constructs import START, family


class Played(NamedTuple):
    """What was played, and what the program told of it, both oldest first."""

    streams: Sequence[Stream]
    lineages: Sequence[Lineage]

    @property
    def truths(self) -> list[Truth]:
        """What is true of each execution that ended, in the order in which they are told."""
        known = {stream.execution.name: stream.truth for stream in self.streams}
        return [
            known[one.execution.name]
            for one in self.lineages
            if one.execution and one.phase != "RUNNING"
        ]


@cache
def construct(name: str) -> Played:
    """One of the constructs."""
    with TemporaryDirectory() as folder:
        storage = FolderStorage(Path(folder) / "bucket")
        return _played(family(CONSTRUCTS[name](storage, start=START)), folder)


@cache
def demo() -> Played:
    """The workflows that the demo shows."""
    with TemporaryDirectory() as folder:
        storage = FolderStorage(Path(folder) / "bucket")
        return _played(family(simulate_samples(storage, start=START)), folder)


def _played(streams: Sequence[Stream], folder: str) -> Played:
    bodies = [body for stream in streams for body in stream.bodies("v2")]
    _, lineages = replay(bodies, Path(folder) / "replay")
    return Played(streams, lineages)
