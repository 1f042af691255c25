"""Reads S3, and what speaks its protocol, through one shared boto3 client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from flytelineage import __version__
from flytelineage.errors import ReadError
from flytelineage.objects.opener import ATTEMPTS, BrokenError, Stat, Tail, about, check_size
from flytelineage.objects.places import Place

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from flytelineage.objects import ObjectReader

PAGE_KEYS = 1000
"""More S3 does not list at once."""

_CHUNK_BYTES = 16 << 10

_LATER = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestTimeTooSkewed", "SlowDown", "RequestTimeout"}
)
"""Codes of refusals that pass by themselves or with new credentials."""


class S3:
    """Reads S3 and what speaks its protocol."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._client: S3Client | None = None

    def get(self, place: Place, part: slice | None, limit: int) -> Tail:
        """GET, with a range for a part."""
        wanted: Any = {} if part is None else {"Range": _range(part)}
        deadline = time.monotonic() + self._reader.object_seconds
        with self._errors(place):
            answer = self._s3().get_object(Bucket=place.bucket, Key=place.key, **wanted)
        # Not `with answer["Body"]`: that hands out the raw stream, which takes an answer
        # that broke off for a whole one.
        with closing(answer["Body"]) as body, about(place):
            # A server may ignore the range, so only the length of the answer counts.
            check_size(answer.get("ContentLength", 0), limit)
            data = _content(body, limit, deadline)
        total = answer.get("ContentRange", "").rpartition("/")[2]
        return Tail(data, int(total) if total.isdigit() else len(data), answer.get("ETag", ""))

    def stat(self, place: Place) -> Stat:
        """HEAD, whose refusals say no more than their status."""
        with self._errors(place):
            answer = self._s3().head_object(Bucket=place.bucket, Key=place.key)
        return Stat(answer["ContentLength"], answer.get("LastModified"))

    def page(
        self, place: Place, limit: int, following: str
    ) -> tuple[list[tuple[str, int]], str | None]:
        """One request."""
        token: Any = {"ContinuationToken": following} if following else {}
        with self._errors(place, action="s3:ListBucket"):
            answer = self._s3().list_objects_v2(
                Bucket=place.bucket,
                Prefix="" if place.key == "/" else place.key,
                MaxKeys=min(PAGE_KEYS, limit),
                **token,
            )
        # Consoles make an empty object, ending in a slash, that stands for a folder.
        objects = [
            (f"s3://{place.bucket}/{found['Key']}", found["Size"])
            for found in answer.get("Contents", ())
            if not found["Key"].endswith("/")
        ]
        return objects, answer.get("NextContinuationToken")

    def close(self) -> None:
        """Let go of the client and its connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _s3(self) -> S3Client:
        """The client that all threads share; a client per call would leak memory."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> S3Client:
        import boto3
        from botocore.config import Config

        reader = self._reader
        config = Config(
            connect_timeout=reader.connect_seconds,
            read_timeout=reader.read_seconds,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=reader.concurrency,
            # A tenth of what a request costs is boto3 spelling out its own, each time anew.
            user_agent=f"flytelineage/{__version__}",
        )
        session = boto3.Session(region_name=reader.aws_region or None)
        client: S3Client = session.client("s3", config=config)
        return client

    @contextmanager
    def _errors(self, place: Place, *, action: str = "s3:GetObject") -> Iterator[None]:
        """Translate what botocore raises."""
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

        try:
            yield
        except ClientError as exc:
            raise self._refusal(exc.response, place, action) from exc
        except ParamValidationError as exc:
            raise ReadError("unreadable", f"{place}: {exc}") from exc
        except (BotoCoreError, OSError) as exc:
            raise ReadError("unavailable", f"{place}: {exc}") from exc

    def _refusal(self, answer: Any, place: Place, action: str) -> ReadError:
        error = answer.get("Error", {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.get("Code", status))
        if status >= 500 or status == 429 or code in _LATER:
            return ReadError("unavailable", f"{place}: S3 answered {code}, try again later")
        if status in (401, 403) and code != "InvalidObjectState":
            return ReadError("denied", f"{place}: {self._denial(place, action, error)}")
        reason, what = _REFUSALS.get(code) or _REFUSALS.get(str(status)) or ("unreadable", "")
        return ReadError(reason, f"{place}: {what or f'S3 answered {code}'}")

    def _denial(self, place: Place, action: str, error: Any) -> str:
        """What was denied, and the permission that is most likely missing."""
        code = error.get("Code", "AccessDenied")
        if code not in _DENIED:
            return f"S3 does not take these credentials ({code})"
        if "kms:" in error.get("Message", ""):
            return "access denied; the role needs kms:Decrypt on the key of the bucket"
        bucket = f"arn:{self._s3().meta.partition}:s3:::{place.bucket}"
        if action == "s3:ListBucket":
            return f"access denied; the role needs s3:ListBucket on {bucket}"
        folder, slash, _ = place.key.partition("/")
        return (
            f"access denied; the role needs {action} on {bucket}/{folder}{slash}*; "
            f"without s3:ListBucket on {bucket} a missing object is answered so, too"
        )


_DENIED = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403", "401")

_REFUSALS = {
    "NoSuchBucket": ("missing", "there is no such bucket"),
    "404": ("missing", "there is no such object"),
    "InvalidObjectState": ("unreadable", "it is archived and must be restored first"),
    "416": ("unreadable", "it is empty"),
}
"""Final refusals by S3's code or by HTTP status."""


def _range(part: slice) -> str:
    """The HTTP header for a part of an object."""
    return f"bytes={part.start}" if part.stop is None else f"bytes={part.start}-{part.stop - 1}"


def _content(body: Any, limit: int, deadline: float) -> bytes:
    """A body of at most `limit` bytes, read until `deadline`.

    Raises:
        ReadError: It is longer than its headers said, or did not come in time.
        BrokenError: It ended early.
    """
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    data = bytearray()
    try:
        while chunk := body.read(_CHUNK_BYTES):
            data += chunk
            check_size(len(data), limit)
            if time.monotonic() > deadline:
                raise ReadError("unavailable", "the answer took too long")
    except (BotoCoreError, HTTPError, OSError) as exc:
        raise BrokenError from exc
    return bytes(data)
