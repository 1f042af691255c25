"""The only opener of URIs: allow-list, bounded and ranged reads, Parquet footers.

A URI in an event is input from outside. Here it is taken apart strictly, compared
with what the operator allows, and only then opened: S3 through one shared boto3
client, local files where they are listed. No endpoint, region, account or redirect
ever comes from a URI, and every read is bounded in bytes and in time.

All failures are `ReadError`s whose reason says what to do next.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from traitlets import Float, Integer, List, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from flytelineage.errors import ReadError
from flytelineage.objects.files import Files
from flytelineage.objects.opener import Footer, Listing, Opener, Stat, Tail
from flytelineage.objects.places import Place
from flytelineage.objects.reads import Reading, Tally
from flytelineage.objects.s3 import S3
from flytelineage.permissions import Statement, partition

__all__ = ["Footer", "Listing", "ObjectReader", "Reading", "Stat", "Tail", "Tally"]


class ObjectReader(LoggingConfigurable, Reading):
    """Reads the objects that events and literals refer to.

    Constructing a reader connects to nothing. `reads` gives one that counts by itself,
    e.g. for one execution; what it reads is counted here, too.
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
        200,
        min=1,
        max=10_000,
        help="""Up to how many Parquet files of one dataset are opened to count its rows.

        Each costs one ranged request of 64 KiB; 200 is what Spark writes unless it is told
        otherwise. Of a dataset with more files so many are opened, and its profile says that it
        is partial: the number of rows stays unknown.

        Example: c.ObjectReader.max_footers = 1000
        """,
    ).tag(config=True)

    max_listed = Integer(
        10_000,
        min=1,
        max=100_000,
        help="""How many objects of one folder are listed; S3 hands out 1,000 per request.

        Of a folder with more, the number of files, of bytes and of rows stays unknown, and its
        profile says that it is partial. Raise it when such folders are common and their sizes
        matter.

        Example: c.ObjectReader.max_listed = 50_000
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
        32,
        min=1,
        max=256,
        help="""How many requests may be under way at once, over all executions being built.

        Example: c.ObjectReader.concurrency = 64
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
        self.reader = self
        self.tally = Tally()
        self.gate = threading.BoundedSemaphore(self.concurrency)
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

    def permissions(self) -> list[Statement]:
        """The right to read what `allow` lists; empty where that is no S3."""
        places = [place for place in map(Place.pattern, self.allow) if place.bucket]
        part = partition(self.aws_region or getattr(self.parent, "aws_region", ""))
        buckets = {f"arn:{part}:s3:::{_wild(each.bucket)}": None for each in places}
        objects = [
            f"arn:{part}:s3:::{_wild(each.bucket)}/{key}"
            for each in places
            for key in _wild_keys(each.key)
        ]
        if not buckets:
            return []
        return [
            Statement("ReadOutputs", ("s3:GetObject",), tuple(dict.fromkeys(objects))),
            # S3 says that an object is missing only to who may list all of its bucket.
            Statement("ListForFoldersAnd404", ("s3:ListBucket",), tuple(buckets)),
        ]

    def resolve(self, uri: str) -> tuple[Opener, Place]:
        """What opens a URI, and where it leads if that is allowed.

        Raises:
            ReadError: `not allowed`; nothing was opened.
        """
        place = Place.of(uri)
        if not any(Place.pattern(each).covers(place) for each in self.allow):
            raise ReadError("not allowed", f"{place}: ObjectReader.allow does not list it")
        return self._openers[place.scheme], place


def _wild_keys(key: str) -> list[str]:
    """What of a bucket a pattern covers, as policies spell it: itself, and all below it."""
    wild = _wild(key)
    if not wild or wild.endswith("*"):
        return [wild or "*"]
    return [f"{wild}*"] if wild.endswith("/") else [wild, f"{wild}/*"]


def _wild(glob: str) -> str:
    """A glob with the two signs that policies have; a choice of characters becomes any one."""
    return re.sub(r"\[.[^]]*\]", "?", glob).replace("$", "${$}")
