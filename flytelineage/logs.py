"""What is logged, how, and what never is.

Everything goes to stderr: stdout belongs to results. Whatever a library put into a
message, no secret that was used and no password in a URL gets past the formatter.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from traitlets import TraitType

from flytelineage.options import redact

LOGGER = "flytelineage"
"""Above all of our loggers; those of libraries keep to warnings, even in debugging,
since some of them log what is sent, tokens included."""


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
    """Formats in UTC, and takes secrets out of the finished text, tracebacks included."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback where there is one."""
        return redact(super().format(record))


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


def set_up(level: int, form: str, date_form: str) -> None:
    """Log to stderr; called again, it changes level and format."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, StderrHandler):
            root.removeHandler(handler)
    handler = StderrHandler()
    handler.setFormatter(Formatter(form, date_form))
    root.addHandler(handler)
    logging.getLogger(LOGGER).setLevel(level)
