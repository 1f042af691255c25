"""Bodies that kill whoever decodes them are found by a child that dies of them.

No such body is known, so the child's `decode` is replaced: an interpreter runs
`sitecustomize` from its path before anything else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flytelineage import suspects
from flytelineage.errors import SourceError
from flytelineage.suspects import lethal
from tests.payloads import FOLDER, payload

REPLACED = """
import ctypes, json, os, signal, sys
from pathlib import Path
import flytelineage.events as events

sound = events.decode

def spin():
    while True:
        pass

DEADLY = {
    "crashes": lambda: ctypes.string_at(0),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "leaves": lambda: os._exit(0),
    "eats": lambda: bytearray(1 << 40),
    "spins": spin,
    "raises": lambda: 1 / 0,
}

def decode(body, **options):
    if body == "tells":
        known = {"options": {**options, "received_at": None}, "environment": dict(os.environ)}
        Path(__file__).with_name("known.json").write_text(json.dumps(known))
    DEADLY.get(body, lambda: None)()
    return sound(body, **options)

events.decode = decode
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bodies that say what becomes of a child that decodes them; a folder it writes to."""
    (tmp_path / "sitecustomize.py").write_text(REPLACED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_sound_bodies_and_mere_nonsense_kill_nobody() -> None:
    """Whether it is an event is not asked here."""
    bodies = ["", "nonsense", "{}", '{"Message": 1}', "[" * 100_000, "\ud800", "CgIIAQ=="]

    assert lethal(bodies) == [None] * len(bodies)


def test_nothing_needs_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most messages are received once."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    assert lethal([]) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("crashes", "that kills the process (Segmentation fault)"),
        ("is killed", "that kills the process (Killed)"),
        ("leaves", "that ends the process (exit status 0)"),
        ("eats", "that takes more than 256 MiB of memory"),
        ("raises", None),
    ],
)
def test_the_reason_says_what_it_does(deadly: Path, body: str, reason: str | None) -> None:
    """An error that is raised kills nobody: whoever decodes it deals with it."""
    (found,) = lethal([body])

    assert found == (reason and f"Not decoded, since {reason}")


def test_a_body_that_takes_too_long_is_lethal(
    deadly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold up a poller for ever."""
    monkeypatch.setattr(suspects, "CPU_SECONDS", 0)

    assert lethal(["spins"]) == ["Not decoded, since that takes more than 0 s"]


def test_each_body_is_judged_alone(deadly: Path) -> None:
    """The innocent are found between the guilty, at both ends too."""
    bodies = ["leaves", "fine", "crashes", "crashes", "fine", "fine", "leaves"]

    reasons = lethal(bodies)

    assert [reason is None for reason in reasons] == [body == "fine" for body in bodies]


def test_a_child_that_waits_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was at then is the culprit; the rest is looked at by another child."""
    run = subprocess.run

    def hang_once(*_: Any, timeout: float, **__: Any) -> Any:
        monkeypatch.setattr(subprocess, "run", run)
        raise subprocess.TimeoutExpired("python", timeout, output=b"started\ndecoded\n")

    monkeypatch.setattr(subprocess, "run", hang_once)

    assert lethal(["first", "second", "third"]) == [
        None,
        "Not decoded, since that takes more than 60 s",
        None,
    ]


@pytest.mark.parametrize(
    ("program", "complaint"),
    [("/nowhere/python", "No such file"), ("/bin/false", "exit status 1")],
)
def test_without_a_child_nothing_is_said_of_the_bodies(
    monkeypatch: pytest.MonkeyPatch, program: str, complaint: str
) -> None:
    """They are left in the queue, rather than lost or decoded blindly."""
    monkeypatch.setattr(sys, "executable", program)

    with pytest.raises(SourceError, match=f"they come again .*{complaint}"):
        lethal(["one"])


def test_a_child_that_breaks_before_it_begins_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that it never saw is not to blame."""
    (tmp_path / "pydantic.py").write_text("raise ImportError('no pydantic here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(SourceError, match="no pydantic here"):
        lethal(["one"])


def test_the_child_decodes_as_we_would_and_knows_no_secret(
    deadly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same options, and nothing that a body which takes it over could use."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("DATAHUB_TOKEN", "canary")

    lethal(["tells"], instance="east", topics={"arn:aws:sns:us-east-1:1:events"})

    known = (deadly / "known.json").read_text()
    assert "canary" not in known
    assert json.loads(known)["options"] == {
        "received_at": None,
        "instance": "east",
        "topics": ["arn:aws:sns:us-east-1:1:events"],
    }


def test_real_events_are_safe() -> None:
    """Those that were recorded."""
    bodies = [payload(path.name) for path in FOLDER.glob("*.json")]

    assert set(lethal(bodies)) == {None}
