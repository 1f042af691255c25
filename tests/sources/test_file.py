"""Recorded messages: every line comes out, in one way or another."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flytelineage.errors import ConfigError
from flytelineage.sources import file as module
from flytelineage.sources.file import FileSource

Write = Callable[[str | bytes], FileSource]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    sources = []

    def write(content: str | bytes, name: str = "events.jsonl") -> FileSource:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        sources.append(FileSource(path=str(tmp_path / name)))
        return sources[-1]

    yield write
    for source in sources:
        source.close()


def bodies(source: FileSource) -> list[str]:
    found = []
    while messages := source.receive():
        source.delete(messages)
        found += [one.body for one in messages]
    return found


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ('"CgIIAQ=="', "CgIIAQ=="),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ('{"Message":  "CgIIAQ==", "n": 1.0}', '{"Message":  "CgIIAQ==", "n": 1.0}'),
        ("CgIIAQ==", "CgIIAQ=="),
        ("[1, 2]", "[1, 2]"),
        ("null", "null"),
        ('{"torn": ', '{"torn":'),
        ("[" * 100_000, "[" * 100_000),
    ],
    ids=["string", "string of JSON", "object", "base64", "list", "null", "torn", "deep"],
)
def test_a_line_becomes_a_body(write: Write, line: str, body: str) -> None:
    """A string is a body, an object its own text, and anything else the line as it is."""
    assert bodies(write(line + "\n")) == [body]


def test_blank_lines_are_no_messages(write: Write) -> None:
    """Nor does a missing line end, a byte order mark or Windows matter."""
    assert bodies(write('\ufeff"a"\r\n\n   \n"b"')) == ["a", "b"]


def test_bytes_that_are_no_text_are_shown(write: Write) -> None:
    """The line can then be looked at in quarantine."""
    assert bodies(write(b"\xff\xfe{\n")) == ["\\xff\\xfe{"]


def test_a_message_is_named_by_its_line(write: Write) -> None:
    """So that the line can be found again."""
    messages = write('"a"\n\n"b"\n').receive()

    assert [one.id for one in messages] == ["events.jsonl:1", "events.jsonl:3"]


def test_a_packed_file_is_unpacked(write: Write) -> None:
    """Told by its suffix."""
    packed = gzip.compress(b'"a"\n"b"\n')

    assert bodies(write(packed, "events.jsonl.gz")) == ["a", "b"]


def test_of_a_damaged_file_all_that_can_be_read_comes_first(write: Write) -> None:
    """Then one line says that the rest is missing, and the source is not exhausted."""
    lines = "".join(f'"{number:>20}"\n' for number in range(5000))
    source = write(gzip.compress(lines.encode())[:-2000], "events.jsonl.gz")
    found = len(source.receive())

    with pytest.raises(ConfigError, match="damaged"):
        bodies(source)

    assert found > 0
    assert not source.exhausted


def test_a_large_file_comes_in_parts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many messages at a time, and so many characters."""
    monkeypatch.setattr(module, "BATCH_MESSAGES", 3)
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 10)
    source = write("".join(f"{json.dumps(text)}\n" for text in ("x" * 20, *"abcde")))
    sizes = []

    while messages := source.receive():
        source.delete(messages)
        sizes.append(len(messages))

    assert sizes == [1, 3, 2]


def test_it_is_exhausted_once_all_is_deleted(write: Write) -> None:
    """Not when it was merely read."""
    source = write('"a"\n')
    messages = source.receive()
    read = source.exhausted

    source.delete(messages)

    assert (read, source.exhausted) == (False, True)


def test_an_empty_file_is_exhausted_after_a_look(write: Write) -> None:
    """Before, nobody knows."""
    source = write("")
    before = source.exhausted

    messages = source.receive()

    assert (before, list(messages), source.exhausted) == (False, [], True)


def test_standard_input_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to somebody else."""
    stdin = io.TextIOWrapper(io.BytesIO(b'"a"\n"b"\n'))
    monkeypatch.setattr(sys, "stdin", stdin)
    source = FileSource(path="-")
    source.check()

    found = bodies(source)

    assert (found, stdin.closed) == (["a", "b"], False)
    assert source.describe() == "standard input"


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    """The operator is told so in one line."""
    with pytest.raises(ConfigError, match=r"FileSource\.path.*directory"):
        FileSource(path=str(tmp_path)).check()
