"""Logs go to stderr, in one format, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Configurable

from flytelineage import options
from flytelineage.logs import LOGGER, MAX_FIELD, MAX_LINES, LogLevel, StderrHandler, set_up
from flytelineage.options import MASK, SecretText

CANARY = "canary-4f81d2"


class Talkative(Configurable):
    """Has a level."""

    level = LogLevel(logging.INFO, help="Which.").tag(config=True)


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other tests see the handlers they know."""
    monkeypatch.setattr(options, "_revealed", set())
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    handlers, level = list(root.handlers), ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)


class TestLogLevel:
    """Any spelling that people type."""

    @pytest.mark.parametrize("given", ["DEBUG", "debug", " Debug", "10", 10])
    def test_accepts(self, given: Any) -> None:
        """Names in any case, and numbers."""
        assert Talkative(level=given).level == logging.DEBUG

    @pytest.mark.parametrize("given", ["LOUD", None, 1.5, True])
    def test_refuses(self, given: Any) -> None:
        """The error lists the names."""
        with pytest.raises(TraitError, match="DEBUG, INFO, WARNING, ERROR, CRITICAL or a number"):
            Talkative(level=given)


class TestSetUp:
    """What comes out on stderr."""

    def test_format(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Loggers below ours share it, and nothing goes to stdout."""
        set_up(logging.INFO, "%(levelname)s %(message)s", "%Y")

        logging.getLogger("flytelineage.facts").info("one %s", "line")

        assert tuple(capsys.readouterr()) == ("", "INFO one line\n")

    def test_time_is_utc(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Lines of replicas in several zones can be put in order."""
        set_up(logging.INFO, "%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        record = logging.LogRecord("flytelineage", logging.INFO, "", 0, "then", (), None)
        record.created = 0.0

        logging.getLogger(LOGGER).handle(record)

        assert capsys.readouterr().err == "1970-01-01T00:00:00Z then\n"

    def test_level(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Called again it changes, and no line comes twice."""
        set_up(logging.INFO, "%(message)s", "%Y")
        set_up(logging.WARNING, "%(message)s", "%Y")

        logging.getLogger(LOGGER).info("quiet")
        logging.getLogger(LOGGER).warning("loud")

        assert capsys.readouterr().err == "loud\n"

    def test_libraries_keep_to_warnings(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Even in debugging: some of them log what they send."""
        set_up(logging.DEBUG, "%(message)s", "%Y")

        logging.getLogger("botocore").debug("Authorization: ...")
        logging.getLogger("botocore").warning("retrying")

        assert capsys.readouterr().err == "retrying\n"

    def test_secrets_are_hidden(self, capsys: pytest.CaptureFixture[str]) -> None:
        """In messages of libraries and in tracebacks too."""
        set_up(logging.INFO, "%(message)s", "%Y")
        SecretText(CANARY).reveal()

        try:
            raise ValueError(f"bad header {CANARY}")
        except ValueError:
            logging.getLogger("urllib3").exception("sent %s to http://me:you@host", CANARY)

        shown = capsys.readouterr().err
        assert CANARY not in shown
        assert f"sent {MASK} to http://{MASK}@host" in shown
        assert "ValueError" in shown


FORGED = "2026-01-01T00:00:00Z ERROR   all is lost"


class TestStrangers:
    """Nobody who names a task writes our log."""

    @pytest.fixture(autouse=True)
    def plain(self) -> None:
        set_up(logging.INFO, "%(levelname)s %(message)s", "%Y")

    def test_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A message is one line, whatever is in it."""
        logging.getLogger(LOGGER).info("Built %s", f"a\r\n{FORGED}\u2028b\x85c")

        shown = capsys.readouterr().err
        assert shown == f"INFO Built a\\r\\n{FORGED}\\u2028b\\x85c\n"

    def test_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        """No colours, no titles, no cleared screen, no text that runs backwards."""
        logging.getLogger("urllib3").warning("\x1b[2J\x9b1m \x1b]0;title\x07 \u202eevil \ud800")

        shown = capsys.readouterr().err
        assert shown == "WARNING \\x1b[2J\\x9b1m \\x1b]0;title\\x07 \\u202eevil \\ud800\n"

    def test_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        """An error's text stays below the line that tells of it."""
        try:
            raise ValueError(f"no\n{FORGED}\x1b[2J")
        except ValueError:
            logging.getLogger(LOGGER).exception("Failed")

        first, *others = capsys.readouterr().err.splitlines()
        assert first == "ERROR Failed"
        assert all(line.startswith("    ") for line in others)
        assert others[-1] == f"    {FORGED}\\x1b[2J"

    def test_stack(self, capsys: pytest.CaptureFixture[str]) -> None:
        """So do stacks."""
        logging.getLogger(LOGGER).info("Here", stack_info=True)

        first, *others = capsys.readouterr().err.splitlines()
        assert first == "INFO Here"
        assert all(line.startswith("    ") for line in others)

    def test_long_part(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What a stranger made long is cut, and the rest of the line is there."""
        logging.getLogger(LOGGER).info("Built %s in %.1f s", "x" * 10_000, 2)

        shown = capsys.readouterr().err
        assert shown == f"INFO Built {'x' * MAX_FIELD}... (10000 characters) in 2.0 s\n"

    def test_long_message_of_ours(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A message is longer than a part may be."""
        logging.getLogger(LOGGER).info("%s", "x" * (MAX_FIELD + 1))

        assert capsys.readouterr().err == f"INFO {'x' * (MAX_FIELD + 1)}\n"

    def test_endless_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Of very many lines the first and the last are told."""
        try:
            raise ValueError("line\n" * 100_000 + "end")
        except ValueError:
            logging.getLogger(LOGGER).exception("Failed")

        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 + MAX_LINES + 1
        assert lines[-1] == "    end"

    def test_secret_at_the_cut(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Half of a secret is a secret, too."""
        SecretText(CANARY).reveal()

        logging.getLogger(LOGGER).info("Sent %s to %s", "x" * (MAX_FIELD - 6) + CANARY, "it")

        assert CANARY[:6] not in capsys.readouterr().err

    def test_record_stays(self) -> None:
        """Other handlers see what was logged."""
        record = logging.LogRecord("x", logging.INFO, "", 0, "a %s", ("\n",), None)

        StderrHandler().handle(record)

        assert (record.msg, record.args, record.getMessage()) == ("a %s", ("\n",), "a \n")

    def test_arguments_that_do_not_fit(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A mistake in a message shows no argument."""
        (handler,) = [one for one in logging.getLogger().handlers if type(one) is StderrHandler]
        record = logging.LogRecord("x", logging.INFO, "", 0, "%d bytes", (CANARY,), None)

        handler.handle(record)

        assert capsys.readouterr().err == "INFO %d bytes (its arguments do not fit)\n"


class TestJson:
    """Objects for what collects logs."""

    @pytest.fixture
    def logged(self, capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
        set_up(logging.INFO, "ignored", "ignored", as_json=True)
        return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    def test_fields(self, logged: Callable[[], list[dict[str, Any]]]) -> None:
        """What a message carries stands beside it."""
        logging.getLogger("flytelineage.facts").info(
            "Delivered %s",
            "a/b/c",
            extra={"execution": "a/b/c", "target": "glue", "seconds": 0.25, "action": "deliver"},
        )

        (line,) = logged()
        assert line.pop("time").endswith("Z")
        assert line == {
            "level": "INFO",
            "logger": "flytelineage.facts",
            "message": "Delivered a/b/c",
            "thread": "MainThread",
            "execution": "a/b/c",
            "target": "glue",
            "seconds": 0.25,
            "action": "deliver",
        }

    def test_time(self, capsys: pytest.CaptureFixture[str]) -> None:
        """UTC, to the millisecond."""
        set_up(logging.INFO, "", "", as_json=True)
        record = logging.LogRecord("x", logging.INFO, "", 0, "then", (), None)
        record.created = 0.5

        logging.getLogger(LOGGER).handle(record)

        assert json.loads(capsys.readouterr().err)["time"] == "1970-01-01T00:00:00.500Z"

    def test_exception(self, logged: Callable[[], list[dict[str, Any]]]) -> None:
        """One line with all of the traceback, and without the secret in it."""
        SecretText(CANARY).reveal()
        try:
            raise ValueError(f"no\n{FORGED} {CANARY}")
        except ValueError:
            logging.getLogger(LOGGER).exception("Failed")

        (line,) = logged()
        assert line["message"] == "Failed"
        assert line["exception"].splitlines()[-2:] == ["ValueError: no", f"{FORGED} {MASK}"]

    def test_secret_that_json_spells_differently(
        self, logged: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """It is taken out of texts, before they are JSON."""
        SecretText('pass"word\\1').reveal()

        logging.getLogger(LOGGER).info("it is %s", 'pass"word\\1', extra={"node": 'pass"word\\1'})

        (line,) = logged()
        assert (line["message"], line["node"]) == (f"it is {MASK}", MASK)

    def test_strangers(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Whatever they write is one line of ASCII."""
        set_up(logging.INFO, "", "", as_json=True)

        logging.getLogger(LOGGER).info("a\n\x1b\x9b\u2028\u202e\ud800", extra={"node": object})

        (line,) = capsys.readouterr().err.splitlines()
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["node"] == "<class 'object'>"


def test_handler_follows_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """What replaces `sys.stderr` later gets the lines."""
    handler = StderrHandler()

    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "here", (), None))

    assert capsys.readouterr().err == "here\n"
