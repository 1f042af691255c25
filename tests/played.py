"""The simulator's constructs, each played through the program once for all tests that look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from flytelineage.entities import Lineage
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import FolderStorage, Stream, Truth, simulate_samples
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.found import replay
from tests.test_constructs import START, family

DEFINED = (
    ("branch", "chained_branches", "chained_dynamics", "chained_launch_plans", "chained_tasks")
    if find_spec("flytekit")  # it has no release for every version of Python
    else ()
)
"""Constructs that are worth a second play, where FlyteAdmin knows the definitions."""


class Played(NamedTuple):
    """What was played, and the program told of it, both oldest first.

    Attributes:
        truths: What is true of each execution that ended, in the order of the lineages.
    """

    lineages: Sequence[Lineage]
    truths: Sequence[Truth]


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


@cache
def defined(name: str) -> Played:
    """One of the constructs, where FlyteAdmin can be asked."""
    with TemporaryDirectory() as folder:
        streams = family(CONSTRUCTS[name](FolderStorage(Path(folder) / "bucket"), start=START))
        with FlyteAdminDouble(streams) as double:
            admin = FlyteAdmin(endpoint=double.endpoint, insecure=True, requests_per_second=10_000)
            try:
                return _played(streams, folder, "admin_truth", admin=admin)
            finally:
                admin.close()


def _played(
    streams: Sequence[Stream], folder: str, knowledge: str = "truth", **options: Any
) -> Played:
    bodies = [body for stream in streams for body in stream.bodies("v2")]
    _, lineages = replay(bodies, Path(folder) / "replay", **options)
    truths = {stream.execution.name: getattr(stream, knowledge) for stream in streams}
    ended = (one.execution.name for one in lineages if one.execution and one.phase != "RUNNING")
    return Played(lineages, [truths[name] for name in ended])
