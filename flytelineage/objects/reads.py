"""Reading, counted: what one execution costs the object store is known and bounded.

Every request and every byte is counted where it is asked for, and in everything that
it is a part of: the reads of a build in those of the process.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flytelineage import parquet
from flytelineage.errors import ReadError
from flytelineage.objects.opener import (
    ATTEMPTS,
    BrokenError,
    Footer,
    Listing,
    Opener,
    Stat,
    Tail,
    about,
)
from flytelineage.objects.places import SCHEMES, Place

if TYPE_CHECKING:
    from flytelineage.objects import ObjectReader

F = TypeVar("F", bound=Callable[..., Any])

TAIL_BYTES = 64 << 10
"""Read from the end of a Parquet file; nearly all footers are shorter."""


class Tally:
    """Requests and bytes, counted as they are sent; shared by threads."""

    def __init__(self, limit: int | None = None, within: Tally | None = None) -> None:
        """A tally of its own, or a part of another one.

        Args:
            limit: Requests that may be sent; `None` is any number.
            within: Counts all of this, too.
        """
        self._limit = limit
        self._within = within
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._results: Counter[str] = Counter()
        self._bytes = 0

    @property
    def results(self) -> dict[str, int]:
        """How what was asked for ended: `value`, or the reason of a `ReadError`."""
        with self._lock:
            return dict(self._results)

    @property
    def requests(self) -> dict[str, int]:
        """Requests by the method that sent them; those of boto3's own retries left out."""
        with self._lock:
            return dict(self._requests)

    @property
    def bytes_read(self) -> int:
        """Bytes of content that came back."""
        return self._bytes

    def request(self, method: str) -> None:
        """Count a request that is about to be sent.

        Raises:
            ReadError: `over budget`; it must not be sent, and is not counted.
        """
        with self._lock:
            if self._limit is not None and self._requests.total() >= self._limit:
                raise ReadError("over budget", f"over budget: {self._limit:,} requests")
            if self._within is not None:
                self._within.request(method)
            self._requests[method] += 1

    def received(self, nbytes: int) -> None:
        """Count content that came back."""
        with self._lock:
            self._bytes += nbytes
        if self._within is not None:
            self._within.received(nbytes)

    def ended(self, result: str) -> None:
        """Count how a read ended, whatever requests it took."""
        with self._lock:
            self._results[result] += 1
        if self._within is not None:
            self._within.ended(result)


def _counted(read: F) -> F:
    """Count how each call ends."""

    @wraps(read)
    def counting(self: Reading, *args: Any, **kwargs: Any) -> Any:
        try:
            found = read(self, *args, **kwargs)
        except ReadError as exc:
            self.tally.ended(exc.reason)
            raise
        self.tally.ended("value")
        return found

    return cast(F, counting)


class Reading:
    """The ways to read; all may be used by several threads at once.

    Attributes:
        reader: Whose bounds hold and who says what may be opened.
        tally: Counts what is read here.
    """

    reader: ObjectReader
    tally: Tally

    def reads(self, max_requests: int | None = None) -> Reading:
        """The same, counted by itself: for one execution, or a part of its build.

        Args:
            max_requests: Beyond them every read is refused as `over budget`.
        """
        return _Part(self.reader, Tally(max_requests, within=self.tally))

    @property
    def requests(self) -> int:
        """Requests that were sent."""
        return sum(self.tally.requests.values())

    @property
    def bytes_read(self) -> int:
        """Bytes of content that came back."""
        return self.tally.bytes_read

    # ------------------------------------------------------------------ reading

    def opens(self, uri: str) -> bool:
        """Whether this is a kind of URI that is opened here, allowed or not."""
        return uri.startswith("/") or uri.partition("://")[0] in SCHEMES

    @_counted
    def read(self, uri: str, *, limit: int | None = None) -> bytes:
        """The content of an object of at most `limit` or `max_object_bytes` bytes.

        Raises:
            ReadError: `missing`, `denied`, `not allowed`, `unreadable`, `too large` and
                `over budget` are final; `unavailable` may be better later.
        """
        opener, place = self.reader.resolve(uri)
        return self._get("read", opener, place, None, limit or self.reader.max_object_bytes).data

    @_counted
    def stat(self, uri: str) -> Stat:
        """Size and time of an object, without reading it.

        Raises:
            ReadError: As `read`; a prefix is not an object and so `missing`.
        """
        opener, place = self.reader.resolve(uri)
        with self._request("stat"):
            return opener.stat(place)

    @_counted
    def list(self, prefix_uri: str, *, limit: int | None = None) -> Listing:
        """Objects below a prefix, at most `limit` or `max_listed`; empty when none.

        Raises:
            ReadError: As `read`.
        """
        opener, place = self.reader.resolve(prefix_uri.rstrip("/") + "/")
        wanted = limit or self.reader.max_listed
        objects: list[tuple[str, int]] = []
        following: str | None = ""
        while following is not None and len(objects) < wanted:
            with self._request("list"):
                page, following = opener.page(place, wanted - len(objects), following)
            objects += page
        return Listing(tuple(objects), complete=following is None, prefix=str(place))

    @_counted
    def head(self, uri: str, nbytes: int) -> Tail:
        """The first bytes of an object: all of it when it is shorter.

        Raises:
            ReadError: As `read`; `unreadable` also when it is empty.
        """
        opener, place = self.reader.resolve(uri)
        return self._get("head", opener, place, slice(0, nbytes), nbytes)

    @_counted
    def tail(self, uri: str, nbytes: int) -> Tail:
        """The last bytes of an object: all of it when it is shorter.

        Raises:
            ReadError: As `read`; `unreadable` also when it is empty.
        """
        opener, place = self.reader.resolve(uri)
        return self._get("tail", opener, place, slice(-nbytes, None), nbytes)

    @_counted
    def parquet(self, uri: str) -> Footer:
        """Schema and rows of a Parquet file, from its footer alone.

        One request, or two where the footer is longer than `TAIL_BYTES`.

        Raises:
            ReadError: As `read`; `unreadable` also when it is no Parquet file.
        """
        opener, place = self.reader.resolve(uri)
        tail = self._get("parquet", opener, place, slice(-TAIL_BYTES, None), TAIL_BYTES)
        with about(place):
            limit = self.reader.max_footer_bytes
            wanted = parquet.footer_bytes(tail.data, tail.size, limit=limit)
        data = tail.data[-wanted:]
        if wanted > len(tail.data):
            data = self._rest(opener, place, tail, wanted) + tail.data
        with about(place):
            content = parquet.read_content(data)
        return Footer(content.schema, content.rows, tail.size)

    def _rest(self, opener: Opener, place: Place, tail: Tail, wanted: int) -> bytes:
        """The part of a long footer that stands before the tail."""
        part = slice(tail.size - wanted, tail.size - len(tail.data))
        rest = self._get("parquet", opener, place, part, part.stop - part.start)
        if rest.version != tail.version or rest.size != tail.size:
            raise ReadError("unavailable", f"{place}: it changed while it was being read")
        return rest.data

    def _get(
        self, method: str, opener: Opener, place: Place, part: slice | None, limit: int
    ) -> Tail:
        if place.key in ("", "/"):
            raise ReadError("not allowed", f"{place}: this names no object")
        for _ in range(ATTEMPTS):
            with self._request(method), suppress(BrokenError):
                found = opener.get(place, part, limit)
                self.tally.received(len(found.data))
                return found
        raise ReadError("unavailable", f"{place}: the answer broke off {ATTEMPTS} times")

    @contextmanager
    def _request(self, method: str) -> Iterator[None]:
        """One request: counted, and waiting while `concurrency` others are under way."""
        with self.reader.gate:
            self.tally.request(method)
            yield


class _Part(Reading):
    """Reads as its reader does, and counts by itself."""

    def __init__(self, reader: ObjectReader, tally: Tally) -> None:
        self.reader = reader
        self.tally = tally
