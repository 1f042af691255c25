"""Bodies that nobody can read, of many kinds, as a seed decides."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone

from flytelineage.errors import DecodeError
from flytelineage.events import decode

Mutation = Callable[[random.Random, str], str]


def poison(bodies: Sequence[str], seed: int, number: int) -> list[str]:
    """So many different bodies, each made of a sound one, that are no events."""
    found: dict[str, None] = {}
    numbers = random.Random(seed)
    for mutation in _endlessly(numbers):
        body = mutation(numbers, numbers.choice(bodies))
        if body and _is_poison(body):
            found.setdefault(body)
        if len(found) == number:
            return list(found)
    raise AssertionError("unreachable")


def _is_poison(body: str) -> bool:
    try:
        decode(body, received_at=datetime.now(timezone.utc))
    except DecodeError:
        return True
    return False


def _endlessly(numbers: random.Random) -> Iterator[Mutation]:
    while True:
        yield numbers.choice(MUTATIONS)


def _cut(numbers: random.Random, body: str) -> str:
    return body[: numbers.randrange(1, len(body))]


def _with_strange_characters(numbers: random.Random, body: str) -> str:
    at = numbers.randrange(len(body))
    return body[:at] + numbers.choice("\0\x1b\r\n\u202e\ufffd\U0001f4a5{}[]\"'=<") + body[at + 1 :]


def _deep(numbers: random.Random, body: str) -> str:
    depth = numbers.randrange(50, 100_000)
    return numbers.choice(['{"a":', "["]) * depth + json.dumps(body)[:50]


def _of_another_type(numbers: random.Random, body: str) -> str:
    values = [None, True, numbers.random() * 10 ** numbers.randrange(300), [body[:99]], {}, ""]
    return json.dumps({"Type": "Notification", "Message": numbers.choice(values)})


def _noise(numbers: random.Random, body: str) -> str:
    return base64.b64encode(numbers.randbytes(numbers.randrange(1, 2000))).decode()


def _text(numbers: random.Random, body: str) -> str:
    return "".join(chr(numbers.randrange(1, 0xD800)) for _ in range(numbers.randrange(1, 200)))


def _huge(numbers: random.Random, body: str) -> str:
    return body + numbers.choice("x {") * numbers.randrange(10_000, 100_000)


def _twisted(numbers: random.Random, body: str) -> str:
    """Bits of the protobuf message flipped, its parts repeated or left out."""
    try:
        message = json.loads(body)["Message"]
        content = bytearray(base64.b64decode(message, validate=True))
    except (ValueError, KeyError, TypeError):
        return _cut(numbers, body)
    for _ in range(numbers.randrange(1, 9)):
        at = numbers.randrange(len(content))
        content[at] ^= 1 << numbers.randrange(8)
    start, end = sorted(numbers.randrange(len(content)) for _ in range(2))
    content[start:end] = content[start:end] * numbers.randrange(3)
    return base64.b64encode(content).decode()


MUTATIONS: tuple[Mutation, ...] = (
    _cut,
    _with_strange_characters,
    _deep,
    _of_another_type,
    _noise,
    _text,
    _huge,
    _twisted,
)
