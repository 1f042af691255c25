"""How much of a failed run's error is told to a catalogue; pure.

An error is whatever a user's code said, and everybody who sees the catalogue can read it:
by default one line of it is told.
"""

from __future__ import annotations

from typing import Literal

from flytelineage.entities import ErrorInfo
from flytelineage.options import redact

ErrorText = Literal["first_line", "full", "code", "off"]
ERROR_TEXTS: tuple[ErrorText, ...] = ("first_line", "full", "code", "off")
"""The values of an option `error_text`, the default first."""

MAX_LINE = 500
"""Characters of one line that are told."""

MAX_FULL_BYTES = 4_000
# What ran stands at the beginning of a traceback, what went wrong at its end.
_HEAD_BYTES = 1_000
_LEFT_OUT = b"\n[...]\n"

_TRACEBACK = "Traceback (most recent call last)"


def told(error: ErrorInfo | None, how: ErrorText) -> ErrorInfo | None:
    """The error as it may be shown; `None` where nothing of it may.

    Args:
        error: As Flyte says it.
        how: `first_line` keeps kind, code and the line that says what happened; `full` the
            whole message within 4,000 bytes; `code` no message; `off` nothing.
    """
    if error is None or how == "off":
        return None
    return error.model_copy(update={"message": _message(error.message, how)})


def _message(message: str, how: ErrorText) -> str:
    if how == "code":
        return ""
    # A passing NUL ends texts in some catalogues and is refused by others.
    text = redact(message.replace("\0", "")).strip()
    return _bounded(text) if how == "full" else _gist(text)[:MAX_LINE]


def _gist(text: str) -> str:
    """The first line; of a traceback the one that names the exception.

    flytekit's messages begin with a traceback, whose first line says nothing.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if _TRACEBACK in line]
    if starts:
        return _exception(lines[starts[-1]], lines[starts[-1] + 1 :])
    return lines[0].strip() if lines else ""


def _exception(start: str, after: list[str]) -> str:
    """Of the lines of a traceback the one that stands as far left as its start.

    Source: flytekit bin/entrypoint.py, which repeats it below the line `Message:`.
    """
    at = next((n for n, line in enumerate(after, 1) if line.strip() == "Message:"), None)
    if at is not None and at < len(after):
        return after[at].strip()
    outer = (line for line in after if _indent(line) <= _indent(start))
    return next(outer, (after or [start])[-1]).strip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _bounded(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= MAX_FULL_BYTES:
        return text
    tail = MAX_FULL_BYTES - _HEAD_BYTES - len(_LEFT_OUT)
    return (encoded[:_HEAD_BYTES] + _LEFT_OUT + encoded[-tail:]).decode(errors="ignore")
