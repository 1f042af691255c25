"""What is logged, how, and what never is.

Everything goes to stderr: stdout belongs to results. Whatever a library put into a
message, no secret that was used and no password in a URL gets past the formatter.

Events come from strangers, and what they wrote turns up in messages and errors. None of
it can begin a line: a message stays on one, what follows it is indented, and nothing
steers a terminal. None of it is endless.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from copy import copy
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

from traitlets import TraitType

from flytelineage.options import escaped, redact

LOGGER = "flytelineage"
"""Above all of our loggers; those of libraries keep to warnings, even in debugging,
since some of them log what is sent, tokens included."""


EXTRAS = ("execution", "target", "node", "attempt", "seconds", "action", "message_id")
"""What messages may carry besides their text; fields of their own in JSON."""

MAX_FIELD = 500
"""Characters of one part of a message, or of one line of a traceback."""

MAX_MESSAGE = 8000
"""Characters of a message."""

MAX_LINES = 200
"""Lines of a traceback; an error's text may have as many as its sender likes."""


class LogLevel(TraitType[Any, Any]):
    """The name of a level in any case, or its number."""

    info_text = "DEBUG, INFO, WARNING, ERROR, CRITICAL or a number"

    def validate(self, obj: Any, value: Any) -> int:
        """Turn a name into its number."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str):
            level = value.strip().upper()
            if level.isdigit():
                return int(level)
            if isinstance(number := logging.getLevelName(level), int):
                return number
        return self.error(obj, value)

    def from_string(self, s: str) -> str:
        """Leave the command line's spelling to `validate`."""
        return s

    def default_value_repr(self) -> str:
        """Shown by `--help-all`."""
        return repr(logging.getLevelName(self.default_value))


class Formatter(logging.Formatter):
    """A line of text in UTC, and below it, indented, the traceback where there is one."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and what follows it."""
        shown = copy(record)  # other handlers get the record as it was
        shown.msg, shown.args, shown.exc_text = escaped(_message(record)), None, None
        return redact(super().format(shown))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback as lines that cannot be taken for messages."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """The stack, likewise."""
        return _indented(stack_info)


class JsonFormatter(logging.Formatter):
    """One JSON object on one line, in ASCII, with the fields that messages carry."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; fields that a message does not have are left out."""
        at = datetime.fromtimestamp(record.created, timezone.utc)
        fields: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "thread": record.threadName,
        }
        fields |= {name: _field(vars(record)[name]) for name in EXTRAS if name in vars(record)}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = "\n".join(_lines(self.formatException(record.exc_info)))
        return json.dumps(fields, default=str)


def _message(record: logging.LogRecord) -> str:
    """The message without secrets and of bounded length, as are its parts."""
    try:
        # Where all comes in one argument, that is the message and no part of it.
        if record.args and isinstance(record.args, tuple) and record.msg != "%s":
            text = str(record.msg) % tuple(map(_part, record.args))
        else:
            text = record.getMessage()
    except (TypeError, ValueError):
        # What logging prints then holds the arguments as they are.
        text = f"{record.msg} (its arguments do not fit)"
    # Redacted first: half a secret would not be known for one.
    return _cut(redact(text), MAX_MESSAGE)


def _part(value: Any) -> Any:
    """What goes into a message: as it came, so that any format fits, unless it is long."""
    return value if len(str(value)) <= MAX_FIELD else _cut(redact(str(value)), MAX_FIELD)


def _field(value: Any) -> Any:
    """What stands beside a message: numbers as they are, the rest as text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _cut(redact(str(value)), MAX_FIELD)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def _lines(traceback: str) -> list[str]:
    """A traceback's lines, each of bounded length, and of very many the first and last."""
    lines = [_cut(escaped(line), MAX_FIELD) for line in redact(traceback).split("\n")]
    left = len(lines) - MAX_LINES
    if left <= 0:
        return lines
    half = MAX_LINES // 2
    return [*lines[:half], f"... ({left} lines)", *lines[-half:]]


def _indented(traceback: str) -> str:
    return "\n".join(f"    {line}" for line in _lines(traceback))


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # Python 3.10 cannot subscript it


class StderrHandler(_StreamHandler):
    """Writes to whatever `sys.stderr` is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Looked up anew for each line."""
        return sys.stderr


def set_up(level: int, form: str, date_form: str, *, as_json: bool = False) -> None:
    """Log to stderr; called again, it changes level and format.

    Args:
        level: Of our own loggers; others keep to warnings.
        form: The format of a line of text, with the attributes of `LogRecord`.
        date_form: That of its time, as for `time.strftime`.
        as_json: Write objects instead, which have a form of their own.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, StderrHandler):
            root.removeHandler(handler)
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if as_json else Formatter(form, date_form))
    root.addHandler(handler)
    logging.getLogger(LOGGER).setLevel(level)
