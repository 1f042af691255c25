"""A FlyteAdmin that knows one execution of every construct, and clients of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import MemoryStorage, Stream
from tests.flyteadmin.workflows import play

Client = Callable[..., FlyteAdmin]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever needs flytekit waits for its release for this Python."""
    if find_spec("flytekit"):
        return
    reason = "flytekit has no release for this version of Python"
    for item in items:
        ours = item.path.is_relative_to(Path(__file__).parent)
        if ours and "client" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's flytekit configuration, and no proxy before the loopback."""
    for name in list(os.environ):
        if name.startswith("FLYTE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def stream() -> Stream:
    """An execution of every construct, each of which went well."""
    return play("a1b2c3", MemoryStorage())


@pytest.fixture
def double(stream: Stream) -> Iterator[FlyteAdminDouble]:
    """A FlyteAdmin without sign-in."""
    with FlyteAdminDouble([stream]) as double:
        yield double


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Makes clients: `client(double, page_size=2)`; they hang up at the end."""
    made: list[FlyteAdmin] = []

    def client(double: FlyteAdminDouble | None = None, **traits: object) -> FlyteAdmin:
        place = {"endpoint": double.endpoint, "insecure": True} if double else {}
        made.append(FlyteAdmin(**{"requests_per_second": 1e6, **place, **traits}))
        return made[-1]

    yield client
    for admin in made:
        admin.close()
