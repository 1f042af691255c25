"""What tests of several modules need."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy.engine import URL

from tests import postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the tests in which processes and servers fail."""
    group = parser.getgroup("faults", "processes and servers that fail")
    group.addoption("--faults", action="store_true", help="also run tests that take long")
    group.addoption(
        "--fault-seed",
        type=int,
        default=0,
        help="decides on orders of messages, moments of faults and the like; 0 by default",
    )
    group.addoption(
        "--fault-rounds",
        type=int,
        default=1,
        help="run each test with so many seeds, one after the other; 1 by default",
    )
    group.addoption(
        "--fault-points",
        default="",
        help="where to be killed, e.g. 'recorded:3,half a line written'; at all places by default",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, and say so."""
    if config.getoption("--faults"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes long: make faults"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no half of a character in a log end the worker that wants to report it."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture
def one_of_four(request: pytest.FixtureRequest, name: str) -> None:
    """Let every construct go a quarter of the ways that take long; all of them take minutes."""
    way = f"{request.function.__name__} {name}".encode()
    if zlib.crc32(way) % 4 and not request.config.getoption("--faults"):
        pytest.skip("takes long: make faults")


class Ended(NamedTuple):
    """How a run of the program ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run the program in this process and in an empty directory: `run("check", "--connect")`."""
    from flytelineage import options
    from flytelineage.app import main
    from flytelineage.logs import LOGGER

    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    handlers, level = list(root.handlers), ours.level
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "_revealed", set())

    def run(*words: str) -> Ended:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as exc:
            code = int(exc.code or 0)
        return Ended(code, *capsys.readouterr())

    yield run
    root.handlers[:] = handlers
    ours.setLevel(level)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """A PostgreSQL that lives as long as the session."""
    with postgres.running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """The URL of an empty schema in it."""
    with postgres.schema(postgres_server) as url:
        yield url
