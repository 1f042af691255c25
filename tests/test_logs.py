"""Logs go to stderr, in one format, without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Configurable

from flytelineage import options
from flytelineage.logs import LOGGER, LogLevel, StderrHandler, set_up
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


def test_handler_follows_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """What replaces `sys.stderr` later gets the lines."""
    handler = StderrHandler()

    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "here", (), None))

    assert capsys.readouterr().err == "here\n"
