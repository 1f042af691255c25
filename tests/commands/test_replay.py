"""`flytelineage replay`."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from flytelineage.entities import Lineage
from flytelineage.errors import PermanentTargetError
from flytelineage.sources.file import FileSource
from flytelineage.targets import Rejection, Target
from flytelineage.testing.simulator import Stream
from tests.commands.conftest import KEPT, Write
from tests.conftest import Run
from tests.factories import TOPIC


class Refusing(Target):
    """Takes nothing."""

    remote = False

    def emit_lineage(self, lineage: Any) -> list[Rejection]:
        raise PermanentTargetError("not on a Friday")


def lineages(text: str) -> list[Lineage]:
    return [Lineage.model_validate_json(line) for line in text.splitlines()]


def test_report(run: Run, stream: Stream, write: Write, tmp_path: Path) -> None:
    """It says what was read, built and told, and where to find it."""
    bodies = stream.bodies()

    ended = run("replay", write([*bodies, bodies[0]]), "--ObjectReader.allow=file:///*")

    count = len(bodies)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"Read {count + 1} messages: {count} events, 1 seen before",
        "Built the lineage of 1 execution",
        "Told file (lineage.jsonl) of 1 execution",
    ]
    (lineage,) = lineages((tmp_path / "lineage.jsonl").read_text())
    assert lineage.succeeded


def test_topics_are_asked_of_the_queue_alone(run: Run, stream: Stream, write: Write) -> None:
    """What the operator has in a file, such as an export, needs no topic to vouch for it."""
    ended = run("replay", write(stream.bodies(delivery="raw")), f"--FlyteLineage.topics={TOPIC}")

    assert (ended.code, "0 events" in ended.out) == (0, False)


def test_store_is_temporary(run: Run, stream: Stream, write: Write, tmp_path: Path) -> None:
    """Nothing but lineage is left behind."""
    before = {path.name for path in tmp_path.iterdir()}

    run("replay", write(stream.bodies()))

    left = {path.name for path in tmp_path.iterdir()} - before
    assert left == {"messages.jsonl", "lineage.jsonl"}


def test_store_that_is_configured_stays(run: Run, stream: Stream, write: Write) -> None:
    """A second replay finds that it was here before."""
    name = write(stream.bodies())
    run("replay", name, *KEPT)

    again = run("replay", name, *KEPT)

    assert "0 events" in again.out
    assert "Built the lineage of 0 executions" in again.out


def test_standard_input_and_output(
    run: Run, stream: Stream, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lineage goes to stdout, so that a pipe gets nothing else."""
    text = (tmp_path / write(stream.bodies())).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))

    ended = run("replay", "-", "--FileTarget.path=-")

    assert [str(lineage.execution) for lineage in lineages(ended.out)] == [
        f"{stream.truth.as_json()['pipeline'].rpartition('.app')[0].replace('.', '/')}/a1b2c3"
    ]
    assert "Built the lineage of 1 execution" in ended.err


def test_message_that_cannot_be_read(run: Run, stream: Stream, write: Write) -> None:
    """The others are processed, and the exit code tells."""
    ended = run("replay", write(["garbage", *stream.bodies()]), "--ObjectReader.allow=file:///*")

    assert ended.code == 1
    assert "1 not readable" in ended.out
    assert "Told file" in ended.out


def test_execution_without_an_end(run: Run, stream: Stream, write: Write) -> None:
    """It is listed, and no reason to fail."""
    ended = run("replay", write(stream.bodies()[:3]))

    assert ended.code == 0
    assert ended.out.splitlines()[-2].startswith("No event says that it ended")
    assert ended.out.splitlines()[-1].endswith("/a1b2c3")


def test_reasons_are_told(run: Run, stream: Stream, write: Write) -> None:
    """The store that knows them is gone afterwards."""
    ended = run("replay", write(stream.bodies()))

    assert ended.code == 0
    assert "Not everything could be read of 1 execution" in ended.out
    assert "ObjectReader.allow" in ended.out
    assert re.search(r"\n    and \d+ more reasons", ended.out)


def test_target_that_refuses(run: Run, stream: Stream, write: Write) -> None:
    """Whoever reads the report sees why."""
    ended = run(
        "replay",
        write(stream.bodies()),
        f"--targets={__name__}.Refusing",
        "--ObjectReader.allow=file:///*",
    )

    assert ended.code == 1
    assert "not on a Friday" in ended.out


def test_remote_targets_are_refused(run: Run, stream: Stream, write: Write) -> None:
    """They are named, before anything is read."""
    server = "--DataHubTarget.server=http://localhost:8080"
    ended = run("replay", write(stream.bodies()), "--targets=file,datahub,glue", server)

    assert (ended.code, ended.out) == (1, "")
    assert "would change datahub and glue: add --live" in ended.err


def test_emit_off(run: Run, stream: Stream, write: Write) -> None:
    """Nobody is told, and the report says so."""
    ended = run("replay", write(stream.bodies()), "--FlyteLineage.emit=False")

    assert "Told nobody: FlyteLineage.emit is off" in ended.out
    assert not Path("lineage.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Usage: flytelineage replay FILE|- (given: nothing)"),
        (["a", "b"], "Usage: flytelineage replay FILE|- (given: a b)"),
        (["nowhere.jsonl"], "cannot read nowhere.jsonl: No such file or directory"),
    ],
)
def test_mistakes(run: Run, words: list[str], message: str) -> None:
    """One line that says what to type."""
    ended = run("replay", *words)

    assert (ended.code, ended.out) == (1, "")
    assert message in ended.err


def test_signal(run: Run, stream: Stream, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops where it is, and nobody takes that for success."""
    receive = FileSource.receive

    def interrupted(source: FileSource) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return receive(source)

    monkeypatch.setattr(FileSource, "receive", interrupted)

    ended = run("replay", write(stream.bodies()))

    assert ended.code == 128 + signal.SIGTERM
    assert "Stopped before the end" in ended.err


def test_excluded(run: Run, stream: Stream, write: Write) -> None:
    """What is excluded is counted, not stored."""
    project = json.loads(json.dumps(stream.truth.as_json()))["pipeline"].split(".")[0]

    ended = run("replay", write(stream.bodies()), f"--FlyteLineage.exclude={project}")

    assert f"{len(stream.bodies())} excluded" in ended.out
    assert "Built the lineage of 0 executions" in ended.out
