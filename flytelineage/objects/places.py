"""URIs from outside, taken apart strictly and compared with what is allowed.

Opens nothing; of the file system it only follows links, since a path is compared
where it really leads.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from typing import NamedTuple

from flytelineage.errors import ReadError

MAX_URI_CHARACTERS = 4096

SCHEMES = {"s3": "s3", "s3a": "s3", "s3n": "s3", "file": "file"}
"""What is opened, and the one spelling of each."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
"""Today's and yesterday's names; neither user, port nor ARN, which name endpoints."""

_TRICKS = re.compile(r"[\\?#]|%(?:2[ef]|5c)|(?:^|/)\.\.?(?:/|$)", re.IGNORECASE)
"""What different readers of one URI understand differently."""


class Place(NamedTuple):
    """A URI taken apart. A file has no bucket, and its path without `/` as key."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @classmethod
    def of(cls, uri: str) -> Place:
        """Take apart a URI from outside; an absolute path is a local file.

        Raises:
            ReadError: `not allowed`: another scheme, or a URI that is not plain.
        """
        scheme, _, rest = (f"file://{uri}" if uri.startswith("/") else uri).partition("://")
        if scheme not in SCHEMES:
            raise ReadError("not allowed", f"{_shown(uri)}: only s3:// and file:// are read")
        bucket, _, key = rest.partition("/")
        named = not bucket if scheme == "file" else _BUCKET.fullmatch(bucket)
        plain = len(uri) <= MAX_URI_CHARACTERS and uri.isprintable() and not _TRICKS.search(rest)
        if not named or not plain:
            raise ReadError("not allowed", f"{_shown(uri)}: this is not a plain URI")
        return cls(SCHEMES[scheme], bucket, _followed(key) if scheme == "file" else key)

    @classmethod
    def pattern(cls, allowed: str) -> Place:
        """Take apart an entry of `ObjectReader.allow`."""
        scheme, _, rest = allowed.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme == "file":
            fixed, globs = _fixed_part(key)
            key = "/".join(filter(None, (_followed(fixed), globs)))
        return cls(SCHEMES[scheme], bucket, key)

    def covers(self, place: Place) -> bool:
        """Whether a place lies at this pattern or below it."""
        if place.scheme != self.scheme or not fnmatchcase(place.bucket, self.bucket):
            return False
        below = f"{self.key.rstrip('/')}/*" if self.key else "*"
        return fnmatchcase(place.key, self.key) or fnmatchcase(place.key, below)


def _followed(path: str) -> str:
    """Where a path leads once links are followed; both without the first slash."""
    return os.path.realpath(f"/{path}").lstrip("/") + ("/" if path.endswith("/") else "")


def _fixed_part(path: str) -> tuple[str, str]:
    """A path before and from the first part that holds a glob."""
    parts = path.split("/")
    globs = (at for at, part in enumerate(parts) if set(part) & set("*?["))
    first = next(globs, len(parts))
    return "/".join(parts[:first]), "/".join(parts[first:])


def _shown(uri: str) -> str:
    """A URI from outside, fit for one line of a log."""
    return ascii(uri[:200])[1:-1]
