"""What tests of several modules need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy.engine import URL

from tests import postgres


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
