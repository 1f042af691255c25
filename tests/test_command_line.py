"""Words become a command, options and arguments."""

from __future__ import annotations

import pytest

from flytelineage.command_line import CommandLine, asks_for, split
from flytelineage.errors import ConfigError

COMMANDS = {"replay": None, "status": None}


def read(*words: str) -> tuple[dict, list[str]]:
    flags = {"debug": ({"App": {"level": 10}}, "help")}
    loader = CommandLine(list(words), {"queue": "App.queue"}, flags)
    return loader.read(), loader.extra_args


@pytest.mark.parametrize(
    ("line", "command", "rest"),
    [
        ("", None, ""),
        ("replay file", "replay", "file"),
        ("--debug --a=b replay file", "replay", "--debug --a=b file"),
        ("--queue q", None, "--queue q"),
        ("help replay", "replay", "--help"),
        ("help", None, "--help"),
        ("replay status", "replay", "status"),
        ("-- replay", None, "-- replay"),
        ("statsu replay", None, "statsu replay"),
    ],
)
def test_split(line: str, command: str | None, rest: str) -> None:
    """The command is the first word that is no option."""
    assert split(line.split(), COMMANDS) == (command, rest.split())


def test_asks_for() -> None:
    """What stands behind `--` is no option."""
    assert asks_for(["x", "--help"], "--help")
    assert not asks_for(["--", "--help"], "--help")


@pytest.mark.parametrize(
    ("words", "options", "arguments"),
    [
        (["--queue=q", "-"], {"App": {"queue": ["q"]}}, ["-"]),
        (["--queue", "q", "a", "b"], {"App": {"queue": ["q"]}}, ["a", "b"]),
        (["--App.x=1=2", "--debug"], {"App": {"x": ["1=2"], "level": 10}}, []),
        (["--A.B.x=1"], {"A": {"B": {"x": ["1"]}}}, []),
        (["--", "--queue=q"], {}, ["--queue=q"]),
    ],
)
def test_read(words: list[str], options: dict, arguments: list[str]) -> None:
    """Values are kept as text until it is known what they are for."""
    assert read(*words) == (options, arguments)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quue=q"], "There is no option --quue. Did you mean '--queue'?"),
        (["-x"], "There is no option -x"),
        (["--queue"], "expected one argument"),
        (["--app.x=secret"], "--app.x: 'app' is no class"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    """They name the option, and never a value."""
    with pytest.raises(ConfigError) as caught:
        read(*words)

    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
