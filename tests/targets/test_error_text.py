"""How much of an error catalogues are told."""

from __future__ import annotations

import textwrap
import traceback

import pytest

from flytelineage.entities import ErrorInfo
from flytelineage.targets.error_text import ERROR_TEXTS, MAX_FULL_BYTES, MAX_LINE, told


def message(text: str, how: str = "first_line") -> str:
    found = told(ErrorInfo(kind="user", code="ValueError", message=text), how)
    assert found is not None
    assert (found.kind, found.code) == ("user", "ValueError")
    return found.message


def raised() -> str:
    """A traceback with a cause, as Python prints it."""
    try:
        try:
            raise KeyError("column")
        except KeyError as exc:
            raise ValueError("bad rows\nin 3 files") from exc
    except ValueError as exc:
        return "".join(traceback.format_exception(exc))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n  OOMKilled: the pod\nneeded more\n", "OOMKilled: the pod"),
        ("", ""),
        (" \n\n", ""),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        (raised(), "ValueError: bad rows"),
        (f"[1/1] currentAttempt done. Last Error: USER::{raised()}", "ValueError: bad rows"),
        (
            f"Trace:\n\n{textwrap.indent(raised(), '    ')}\nMessage:\n\n    ValueError: bad rows\n",
            "ValueError: bad rows",
        ),
        (
            "Traceback (most recent call last):\n\n      File a, line 1\n    ValueError: no\n\n"
            "Message:\n\n    ValueError: no\n\nUser error.",
            "ValueError: no",
        ),
    ],
)
def test_the_line_that_says_what_happened(text: str, line: str) -> None:
    """Of a traceback it is not the first one."""
    assert message(text) == line


def test_a_line_is_bounded() -> None:
    """Some programs print everything on one."""
    assert len(message("x" * 100_000)) == MAX_LINE


def test_the_whole_message_is_bounded() -> None:
    """Its beginning and its end are kept, in whole characters."""
    text = "first " + "ü" * 100_000 + " last"

    full = message(text, "full")

    assert len(full.encode()) <= MAX_FULL_BYTES
    assert full.startswith("first ü")
    assert full.endswith("ü last")
    assert "[...]" in full


def test_a_short_message_is_whole() -> None:
    """Line by line."""
    assert message("one\ntwo", "full") == "one\ntwo"


def test_code_alone() -> None:
    """No word of the user's."""
    assert message("secret", "code") == ""


def test_nothing() -> None:
    """Of an error that may not be shown, and of none."""
    error = ErrorInfo(message="no")

    assert told(error, "off") is None
    assert [told(None, how) for how in ERROR_TEXTS] == [None] * 4


@pytest.mark.parametrize("how", ["first_line", "full"])
def test_passwords_are_masked(how: str) -> None:
    """Clients put the URL that they were given into their errors."""
    assert "hunter2" not in message("cannot reach postgresql://ada:hunter2@host/db", how)


@pytest.mark.parametrize("how", ["first_line", "full"])
def test_nul_is_left_out(how: str) -> None:
    """Catalogues refuse it."""
    assert message("a\0b", how) == "ab"
