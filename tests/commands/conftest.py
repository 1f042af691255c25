"""Messages of sample workflows, and a store that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest

from flytelineage.testing.simulator import (
    FolderStorage,
    Frame,
    Node,
    Output,
    Stream,
    Task,
    Workflow,
    simulate,
)
from flytelineage.testing.simulator.__main__ import line
from tests.conftest import Ended, Run

START = datetime(2026, 10, 1, 6, 0, tzinfo=timezone.utc)
ROWS = Frame({"id": "int"}, 2)
WORKFLOW = Workflow(
    "app.etl.main",
    (
        Node("n0", Task("app.etl.load", {"o0": ROWS})),
        Node("n1", Task("app.etl.clean", {"o0": ROWS}), {"df": Output("n0", "o0")}),
    ),
)
KEPT = ("--Store.path=kept.sqlite3", "--ObjectReader.allow=file:///*")
"""A store that stays, and the folder that stands for a bucket."""


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """What FlyteAdmin publishes of one execution."""
    return simulate(WORKFLOW, "a1b2c3", FolderStorage(tmp_path / "bucket"), start=START, fast=True)


Write = Callable[[Sequence[str]], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write bodies as a file for `replay`; its name."""

    def write(bodies: Sequence[str]) -> str:
        text = "".join(f"{line(body)}\n" for body in bodies)
        (tmp_path / "messages.jsonl").write_text(text)
        return "messages.jsonl"

    return write


@pytest.fixture
def replayed(run: Run, stream: Stream, write: Write) -> Ended:
    """A replay of the execution, and of a body that is none, into a store that stays."""
    return run("replay", write(["garbage", *stream.bodies()]), *KEPT)
