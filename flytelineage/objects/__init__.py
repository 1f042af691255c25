"""The only opener of URIs: allow-list, bounded and ranged reads, Parquet footers.

A URI in an event is input from outside. Here it is taken apart strictly, compared
with what the operator allows, and only then opened: S3 through one shared boto3
client, local files where they are listed. No endpoint, region, account or redirect
ever comes from a URI, and every read is bounded in bytes and in time.

All failures are `ReadError`s whose reason says what to do next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from traitlets import Float, Integer, List, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from flytelineage import parquet
from flytelineage.errors import ReadError
from flytelineage.objects.files import Files
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
from flytelineage.objects.s3 import S3

__all__ = ["Footer", "Listing", "ObjectReader", "Stat", "Tail"]

TAIL_BYTES = 64 << 10
"""Read from the end of a Parquet file; nearly all footers are shorter."""


class ObjectReader(LoggingConfigurable):
    """Reads the objects that events and literals refer to.

    Synchronous; all methods may be called by several threads at once. Constructing
    a reader connects to nothing.
    """

    allow = List(
        Unicode(),
        default_value=["s3://*"],
        help="""What may be opened: prefixes of URIs, with globs (* ? [..]) in bucket and key.

        A prefix ends at a slash: s3://flyte allows the bucket `flyte`, not `flyte-2`. A glob in
        the bucket's place stays there, one in the key's place also matches slashes. s3a and s3n
        are read as s3. Local files are opened only where they are listed here; links are
        followed before the path is compared.
        The default allows every bucket that the role can read and nothing else. Narrow it to
        Flyte's own prefixes, since whoever can put a message on the queue can name a URI; what
        is not allowed is shown without schema, and literals that are not allowed leave their
        edges unknown. An empty list opens nothing.

        Example: c.ObjectReader.allow = ["s3://flyte-bucket/metadata/*", "s3://flyte-bucket/data/*"]
        """,
    ).tag(config=True)

    max_object_bytes = Integer(
        4 << 20,
        min=1,
        max=32 << 20,
        help="""Largest inputs.pb or outputs.pb that is read, in bytes; the default is 4 MiB.

        Raise it when `status` says that literals are too large. Parsing takes up to 33 times
        as much memory. Data is never read whole, however large this is.

        Example: c.ObjectReader.max_object_bytes = 8 * 1024 * 1024
        """,
    ).tag(config=True)

    max_footer_bytes = Integer(
        16 << 20,
        min=1024,
        max=64 << 20,
        help="""Largest footer of a Parquet file that is read, in bytes; the default is 16 MiB.

        Raise it for tables of thousands of columns and row groups. A file whose footer is
        longer is shown without schema and rows.

        Example: c.ObjectReader.max_footer_bytes = 32 * 1024 * 1024
        """,
    ).tag(config=True)

    max_footers = Integer(
        16,
        min=1,
        max=1000,
        help="""Up to how many Parquet files of one folder are opened to count its rows.

        Each costs one ranged request of 64 KiB. Of a folder with more files only one is opened,
        for the schema, and the number of rows stays unknown.

        Example: c.ObjectReader.max_footers = 100
        """,
    ).tag(config=True)

    max_listed = Integer(
        1000,
        min=1,
        max=100_000,
        help="""How many objects of one folder are listed; S3 hands out 1,000 per request.

        Of a folder with more, the number of files, of bytes and of rows stays unknown. Raise it
        when such folders are common and their sizes matter.

        Example: c.ObjectReader.max_listed = 10_000
        """,
    ).tag(config=True)

    connect_seconds = Float(
        5,
        min=0.1,
        help="""How long to wait for a connection to the object store, in seconds.

        Example: c.ObjectReader.connect_seconds = 2
        """,
    ).tag(config=True)

    read_seconds = Float(
        30,
        min=0.1,
        help="""How long to wait for the next bytes of an answer, in seconds.

        Example: c.ObjectReader.read_seconds = 10
        """,
    ).tag(config=True)

    object_seconds = Float(
        60,
        min=0.1,
        help="""How long reading one object may take altogether, in seconds.

        Beyond it the object counts as unavailable and is tried again with the next build.

        Example: c.ObjectReader.object_seconds = 30
        """,
    ).tag(config=True)

    concurrency = Integer(
        8,
        min=1,
        max=256,
        help="""How many requests may be under way at once, over all executions being built.

        Example: c.ObjectReader.concurrency = 16
        """,
    ).tag(config=True)

    aws_region = Unicode(
        "",
        help="""Region of the S3 client; empty is what boto3 finds (AWS_REGION, profile).

        Buckets of other regions are found by themselves. AWS_ENDPOINT_URL is respected.

        Example: c.ObjectReader.aws_region = "eu-central-1"
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.requests = 0
        """Requests that were sent, those of boto3's own retries left out."""
        self.bytes_read = 0
        """Bytes of content that came back."""
        self._counting = threading.Lock()
        self._gate = threading.BoundedSemaphore(self.concurrency)
        self._openers: dict[str, Opener] = {"s3": S3(self), "file": Files()}

    @validate("allow")
    def _check_allow(self, proposal: Any) -> list[str]:
        for pattern in proposal.value:
            if not pattern.startswith(("s3://", "s3a://", "s3n://", "file:///")):
                raise TraitError(
                    f"ObjectReader.allow: {pattern!r} must begin with s3:// or file:///, "
                    'e.g. "s3://flyte-bucket/metadata/*" or "file:///data/*"'
                )
        return list(proposal.value)

    def close(self) -> None:
        """Let go of connections; a later read opens them again."""
        for opener in self._openers.values():
            opener.close()

    # ------------------------------------------------------------------ reading

    def opens(self, uri: str) -> bool:
        """Whether this is a kind of URI that is opened here, allowed or not."""
        return uri.startswith("/") or uri.partition("://")[0] in SCHEMES

    def read(self, uri: str, *, limit: int | None = None) -> bytes:
        """The content of an object of at most `limit` or `max_object_bytes` bytes.

        Raises:
            ReadError: `missing`, `denied`, `not allowed`, `unreadable` and `too large`
                are final; `unavailable` may be better later.
        """
        opener, place = self._resolve(uri)
        return self._get(opener, place, None, limit or self.max_object_bytes).data

    def stat(self, uri: str) -> Stat:
        """Size and time of an object, without reading it.

        Raises:
            ReadError: As `read`; a prefix is not an object and so `missing`.
        """
        opener, place = self._resolve(uri)
        with self._request():
            return opener.stat(place)

    def list(self, prefix_uri: str, *, limit: int | None = None) -> Listing:
        """Objects below a prefix, at most `limit` or `max_listed`; empty when none.

        Raises:
            ReadError: As `read`.
        """
        opener, place = self._resolve(prefix_uri.rstrip("/") + "/")
        wanted = limit or self.max_listed
        objects: list[tuple[str, int]] = []
        following: str | None = ""
        while following is not None and len(objects) < wanted:
            with self._request():
                page, following = opener.page(place, wanted - len(objects), following)
            objects += page
        return Listing(tuple(objects), complete=following is None, prefix=str(place))

    def tail(self, uri: str, nbytes: int) -> Tail:
        """The last bytes of an object: all of it when it is shorter.

        Raises:
            ReadError: As `read`.
        """
        opener, place = self._resolve(uri)
        return self._get(opener, place, slice(-nbytes, None), nbytes)

    def parquet(self, uri: str) -> Footer:
        """Schema and rows of a Parquet file, from its footer alone.

        One request, or two where the footer is longer than `TAIL_BYTES`.

        Raises:
            ReadError: As `read`; `unreadable` also when it is no Parquet file.
        """
        opener, place = self._resolve(uri)
        tail = self._get(opener, place, slice(-TAIL_BYTES, None), TAIL_BYTES)
        with about(place):
            wanted = parquet.footer_bytes(tail.data, tail.size, limit=self.max_footer_bytes)
        data = tail.data[-wanted:]
        if wanted > len(tail.data):
            data = self._rest(opener, place, tail, wanted) + tail.data
        with about(place):
            content = parquet.read_content(data)
        return Footer(content.schema, content.rows, tail.size)

    def _rest(self, opener: Opener, place: Place, tail: Tail, wanted: int) -> bytes:
        """The part of a long footer that stands before the tail."""
        part = slice(tail.size - wanted, tail.size - len(tail.data))
        rest = self._get(opener, place, part, part.stop - part.start)
        if rest.version != tail.version or rest.size != tail.size:
            raise ReadError("unavailable", f"{place}: it changed while it was being read")
        return rest.data

    def _get(self, opener: Opener, place: Place, part: slice | None, limit: int) -> Tail:
        if place.key in ("", "/"):
            raise ReadError("not allowed", f"{place}: this names no object")
        for _ in range(ATTEMPTS):
            with self._request(), suppress(BrokenError):
                found = opener.get(place, part, limit)
                self._count(bytes_read=len(found.data))
                return found
        raise ReadError("unavailable", f"{place}: the answer broke off {ATTEMPTS} times")

    # ----------------------------------------------------------------- counting

    @contextmanager
    def _request(self) -> Iterator[None]:
        """One request: counted, and waiting while `concurrency` others are under way."""
        with self._gate:
            self._count(requests=1)
            yield

    def _count(self, *, requests: int = 0, bytes_read: int = 0) -> None:
        with self._counting:
            self.requests += requests
            self.bytes_read += bytes_read

    # ------------------------------------------------------------------ allowing

    def _resolve(self, uri: str) -> tuple[Opener, Place]:
        """What opens a URI, and where it leads if that is allowed.

        Raises:
            ReadError: `not allowed`; nothing was opened.
        """
        place = Place.of(uri)
        if not any(Place.pattern(each).covers(place) for each in self.allow):
            raise ReadError("not allowed", f"{place}: ObjectReader.allow does not list it")
        return self._openers[place.scheme], place
