"""Places on S3: where data lies, and where copies of it may; pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from flytelineage.entities import Storage


class Place(NamedTuple):
    """An object, or the folder of all whose keys begin so; a folder's ends in a slash."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def of(cls, uri: str) -> Place:
        """Take apart `s3://bucket/key`."""
        bucket, _, key = uri.partition("://")[2].partition("/")
        return cls(bucket, key)

    @classmethod
    def folder_of(cls, uri: str) -> Place:
        """The folder that `s3://bucket/key` is, with or without a slash at its end."""
        bucket, _, key = uri.partition("://")[2].rstrip("/").partition("/")
        return cls(bucket, f"{key}/" if key else "")

    @property
    def folder(self) -> bool:
        """Whether it stands for all objects below it."""
        return self.key.endswith("/") or not self.key

    def below(self, name: str) -> Place:
        """What a folder holds by this name."""
        return Place(self.bucket, self.key + name)


def source_of(storage: Storage) -> Place | None:
    """What is to be copied: a folder or one object; `None` when that is not known.

    Of a path of which nobody looked whether it is a folder, only the random folder that
    Flyte makes for each output is taken for one: below others there may be more.
    """
    match = _S3.fullmatch(storage.uri)
    if match is None:
        return None
    bucket, path = match[1], match[2].rstrip("/")
    folder = storage.folder or storage.uri.endswith("/")
    if folder or (storage.folder is None and _RANDOM.fullmatch(path.rpartition("/")[2])):
        return Place(bucket, f"{path}/") if path else None
    return Place(bucket, path) if storage.folder is False else None


_S3 = re.compile(r"s3[an]?://([^/]+)/(.*)")
_RANDOM = re.compile(r"[0-9a-f]{32}")


class Conflict(NamedTuple):
    """Why data must not be copied.

    Attributes:
        depends_on_data: Whether other data may be; otherwise the option is wrong.
    """

    text: str
    depends_on_data: bool


def conflict(root: Place, source: Place) -> Conflict | None:
    """Why data must not be copied from here to below there; `None` when it may."""
    if root.bucket != source.bucket:
        return None
    if not root.key:
        return Conflict("the copies would lie between the data: add a folder to it", False)
    if source.key.startswith(root.key):
        return Conflict("the data lies where copies are kept", True)
    if source.folder and root.key.startswith(source.key):
        return Conflict("the copies would lie within the data", True)
    raw = _RAW.fullmatch(source.key)
    if raw and root.key.startswith(raw[1]):
        return Conflict(f"that is within Flyte's raw output, {source.bucket}/{raw[1]}", False)
    return None


_RAW = re.compile(r"(.+/)[a-z0-9]{2}/[^/]+/[0-9a-f]{32}/.*")
"""Source: flyteplugins ioutils/raw_output_path.go; the first group is the prefix."""
