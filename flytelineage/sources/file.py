"""Recorded messages from a file: what `replay` and tests read.

One JSON value per line. A string is a body; an object is an envelope whose own text
is the body. A line that is neither is a body as it stands: it ends in quarantine or,
if it is base64, as the event it is. So nothing in the file is passed over.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from traitlets import Unicode

from flytelineage.errors import ConfigError
from flytelineage.sources import Message, Source

BATCH_MESSAGES = 500
BATCH_CHARACTERS = 8 * 1024 * 1024


class FileSource(Source):
    """Hands out the lines of a file, then those again that were not deleted."""

    trusted = True

    path = Unicode(
        "",
        help="""
        The file to read: JSON lines, one message body or envelope per line. A name that
        ends in `.gz` is unpacked; `-` is standard input. Empty is an error when the
        source is used.

        Example: c.FileSource.path = "events.jsonl.gz"
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._lock = threading.Lock()
        self._file: IO[bytes] | gzip.GzipFile | None = None
        self._messages: Iterator[Message] | None = None
        self._in_hand: dict[str, Message] = {}
        self._ended = False
        self._failure: ConfigError | None = None

    def receive(self) -> Sequence[Message]:
        """The next lines; after the last one, what was handed out and not deleted.

        Raises:
            ConfigError: There is no such file, or it is damaged; what could be read
                of it was handed out and deleted before.
        """
        with self._lock:
            batch = self._next_lines() or self._again()
            self._in_hand.update((message.handle, message) for message in batch)
            if not batch and self._failure is not None:
                raise self._failure
            return batch

    def delete(self, messages: Sequence[Message]) -> None:
        """Forget these lines."""
        with self._lock:
            for message in messages:
                self._in_hand.pop(message.handle, None)

    @property
    def exhausted(self) -> bool:
        """True once every line was handed out and deleted."""
        with self._lock:
            return self._ended and not self._in_hand and self._failure is None

    def describe(self) -> str:
        """The file's name."""
        return "standard input" if self.path == "-" else f"file {self.path}"

    def check(self) -> None:
        """See whether the file is there and can be read."""
        if self.path != "-":
            self._open().close()

    def close(self) -> None:
        """Close the file; standard input stays as it is."""
        if self.path == "-":
            return
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _next_lines(self) -> list[Message]:
        if self._messages is None:
            self._file = self._open()
            self._messages = _messages(self._file, Path(self.path).name)
        batch: list[Message] = []
        characters = 0
        while not self._ended and len(batch) < BATCH_MESSAGES and characters < BATCH_CHARACTERS:
            try:
                batch.append(next(self._messages))
                characters += len(batch[-1].body)
            except StopIteration:
                self._ended = True
            except (OSError, EOFError, zlib.error) as exc:
                self._ended = True
                self._failure = ConfigError(f"FileSource.path: {self.path} is damaged: {exc}")
                self._failure.__cause__ = exc
        return batch

    def _again(self) -> list[Message]:
        undeleted = list(self._in_hand.values())[:BATCH_MESSAGES]
        return [replace(message, receive_count=message.receive_count + 1) for message in undeleted]

    def _open(self) -> IO[bytes] | gzip.GzipFile:
        if self.path == "-":
            return sys.stdin.buffer
        if not self.path:
            raise ConfigError("FileSource.path is empty: say which file to read, or - for stdin")
        try:
            if self.path.endswith(".gz"):
                return gzip.open(self.path)
            return open(self.path, "rb")
        except OSError as exc:
            raise ConfigError(f"FileSource.path: cannot read {self.path}: {exc.strerror}") from exc


def _messages(lines: Iterable[bytes], name: str) -> Iterator[Message]:
    for number, line in enumerate(lines, start=1):
        # A byte that is no UTF-8 is shown rather than lost, so that the line can be seen
        # in quarantine.
        text = line.decode("utf-8", "backslashreplace").lstrip("\ufeff").strip()
        if text:
            yield Message(body=_body(text), handle=str(number), id=f"{name}:{number}")


def _body(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text
