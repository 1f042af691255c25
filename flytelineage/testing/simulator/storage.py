"""Where the simulated Flyte puts its files: a folder, S3, or memory.

Flyte's own objects (`inputs.pb`, `outputs.pb`) and the data of tasks go through here, so
nothing else of the simulator knows what kind of URI it writes to.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit


class Storage(Protocol):
    """An object store.

    Attributes:
        root: URI without a trailing slash below which Flyte writes.
    """

    root: str

    def holds(self, uri: str) -> bool:
        """Whether this store can write there; data elsewhere is named but not made."""

    def write(self, uri: str, data: bytes) -> None:
        """Put one object, over an older one."""

    def read(self, uri: str) -> bytes:
        """Get one object.

        Raises:
            KeyError: There is none.
        """


class MemoryStorage:
    """Objects in a dict, by URI: for tests that count, and for load."""

    def __init__(self, root: str = "s3://my-s3-bucket") -> None:
        self.root = root
        self.objects: dict[str, bytes] = {}

    def holds(self, uri: str) -> bool:
        """Every URI of the root's scheme."""
        return uri.startswith(self.root.partition("://")[0] + "://")

    def write(self, uri: str, data: bytes) -> None:
        """Keep one object."""
        self.objects[uri] = data

    def read(self, uri: str) -> bytes:
        """Give one object back."""
        return self.objects[uri]


class FolderStorage:
    """A local folder, under `file://` URIs."""

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder).resolve().as_uri()

    def holds(self, uri: str) -> bool:
        """Only what lies below the folder."""
        return uri.startswith(f"{self.root}/") and ".." not in self._path(uri).parts

    def write(self, uri: str, data: bytes) -> None:
        """Write one file, with the folders above it.

        Raises:
            ValueError: The URI lies outside the folder.
        """
        if not self.holds(uri):
            raise ValueError(f"{uri} is not below {self.root}")
        path = self._path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def read(self, uri: str) -> bytes:
        """Read one file."""
        try:
            return self._path(uri).read_bytes()
        except FileNotFoundError as exc:
            raise KeyError(uri) from exc

    @staticmethod
    def _path(uri: str) -> Path:
        return Path(unquote(urlsplit(uri).path))


class S3Storage:
    """S3 through a boto3 client; buckets are made when they are first written to.

    Args:
        client: A boto3 S3 client, e.g. of a moto server.
        root: `s3://bucket`, or with a prefix.
    """

    def __init__(self, client: Any, root: str = "s3://my-s3-bucket") -> None:
        self.root = root
        self._client = client
        self._buckets: set[str] = set()

    def holds(self, uri: str) -> bool:
        """Any S3 URI."""
        return uri.startswith("s3://")

    def write(self, uri: str, data: bytes) -> None:
        """Put one object, and its bucket before it."""
        bucket, key = self._split(uri)
        self._make(bucket)
        self._client.put_object(Bucket=bucket, Key=key, Body=data)

    def read(self, uri: str) -> bytes:
        """Get one object."""
        bucket, key = self._split(uri)
        try:
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey as exc:
            raise KeyError(uri) from exc
        return content

    def _make(self, bucket: str) -> None:
        if bucket in self._buckets:
            return
        region = self._client.meta.region_name
        # us-east-1 is the one region that refuses to be named here.
        place = {} if region == "us-east-1" else {"LocationConstraint": region}
        extra = {"CreateBucketConfiguration": place} if place else {}
        known = (
            self._client.exceptions.BucketAlreadyOwnedByYou,
            self._client.exceptions.BucketAlreadyExists,
        )
        with suppress(*known):
            self._client.create_bucket(Bucket=bucket, **extra)
        self._buckets.add(bucket)

    @staticmethod
    def _split(uri: str) -> tuple[str, str]:
        parts = urlsplit(uri)
        return parts.netloc, unquote(parts.path).lstrip("/")
