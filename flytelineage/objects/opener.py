"""The contract of openers: each opens the places of one scheme."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple, Protocol

from flytelineage.entities import Schema
from flytelineage.errors import ReadError
from flytelineage.objects.places import Place

ATTEMPTS = 3
"""How often a request is sent before the object counts as unavailable."""


class Stat(NamedTuple):
    """Size and time of an object."""

    bytes: int
    modified: datetime | None


class Listing(NamedTuple):
    """Objects below a prefix, as (URI, bytes), sorted by URI.

    Attributes:
        complete: False when there are more than were asked for.
        prefix: What all these URIs begin with, in the spelling of this reader.
    """

    objects: tuple[tuple[str, int], ...]
    complete: bool
    prefix: str


class Tail(NamedTuple):
    """The end of an object.

    Attributes:
        size: Bytes of the whole object.
        version: Changes when the object is written again.
    """

    data: bytes
    size: int
    version: str


class Footer(NamedTuple):
    """What a Parquet file says of itself; `bytes` is the size of the file."""

    schema: Schema
    rows: int
    bytes: int


class BrokenError(Exception):
    """The connection broke in the middle of a body."""


class Opener(Protocol):
    """Opens the places of one scheme."""

    def get(self, place: Place, part: slice | None, limit: int) -> Tail:
        """Read all or a part of an object; a negative start counts from the end.

        Raises:
            ReadError: Refused, too slow, or longer than `limit` bytes.
            BrokenError: It broke off; trying again may help.
        """

    def stat(self, place: Place) -> Stat:
        """Size and time of an object."""

    def page(
        self, place: Place, limit: int, following: str
    ) -> tuple[list[tuple[str, int]], str | None]:
        """Up to `limit` objects below a place, and what continues: `None` at the end."""

    def close(self) -> None:
        """Let go of connections."""


def check_size(size: int, limit: int) -> None:
    """Refuse to read more than `limit` bytes."""
    if size > limit:
        raise ReadError("too large", f"it has {size:,} bytes, allowed {limit:,}")


@contextmanager
def about(place: Place) -> Iterator[None]:
    """Name the object in an error about its content."""
    try:
        yield
    except ReadError as exc:
        raise ReadError(exc.reason, f"{place}: {exc}") from exc
