"""The calls that are made to S3 for copies, and what its errors mean.

Data is copied by S3 itself, from object to object: none of it comes here. Each call is
safe to repeat. What is wrong with the data that is copied costs that dataset alone;
what is wrong with the place of the copies holds up all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from flytelineage import __version__
from flytelineage.errors import (
    PermanentTargetError,
    TargetError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.targets.glue.catalog import DENIED, PASSING, UNUSABLE
from flytelineage.targets.glue.crew import Crew
from flytelineage.targets.glue.places import Place

MULTIPART_BYTES = 5 << 30
"""An object larger than this is copied in parts: S3 copies no more in one request."""

PART_BYTES = 512 << 20
MAX_PARTS = 10_000

_READ_SECONDS = 120
"""S3 sends blanks while it copies, and at the end whether that went well."""

_PAGE = 1000


class Changed(Exception):
    """The data is not what it was when it was listed."""


class Object(NamedTuple):
    """An object as S3 lists it; `etag` is without quotes."""

    place: Place
    size: int
    etag: str


class Listing(NamedTuple):
    """What lies in a folder, by the rest of the key, and when S3 said so."""

    objects: dict[str, Object]
    at: datetime


def connect(region: str, *, timeout_seconds: float, max_attempts: int, connections: int) -> Any:
    """A client for S3, which finds a bucket in any region; nothing is sent yet.

    Args:
        region: Empty takes what boto3 finds.
        timeout_seconds: For a connection; answers may take longer.
        max_attempts: How often botocore itself tries a call.
        connections: How many calls run at once.
    """
    config = Config(
        connect_timeout=timeout_seconds,
        read_timeout=max(timeout_seconds, _READ_SECONDS),
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        max_pool_connections=connections,
        # boto3 would spell out its own with each request, which takes a tenth of it.
        user_agent=f"flytelineage/{__version__}",
    )
    with _sent("", None, ours=True):
        return boto3.session.Session().client("s3", region_name=region or None, config=config)


class ObjectStore:
    """Objects of S3, as source and as place of copies.

    Args:
        client: A boto3 client for S3; threads share it.
        kms_key_arn: With which key everything is encrypted that is written; empty is the
            bucket's default.
    """

    def __init__(self, client: Any, kms_key_arn: str = "") -> None:
        self._client = client
        self._encryption = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_arn} if kms_key_arn else {}
        )

    # ------------------------------------------------------------------- looking

    def listed(self, place: Place, *, ours: bool, limit: int = 0) -> Listing:
        """The objects at a place, page by page; markers of folders are none.

        Args:
            place: A folder, or one object.
            ours: Whether it is where copies are kept.
            limit: List no more objects than this; 0 lists all.
        """
        objects: dict[str, Object] = {}
        at, following = datetime.now(timezone.utc), ""
        while True:
            answer = self._page(place, following, ours=ours)
            at = _answered_at(answer) or at
            objects |= dict(_objects(place, answer))
            following = answer.get("NextContinuationToken", "")
            if not following or (limit and len(objects) > limit):
                return Listing(objects, at)

    def _page(self, place: Place, following: str, *, ours: bool) -> Mapping[str, Any]:
        token = {"ContinuationToken": following} if following else {}
        # A key comes before all that begin with it.
        size = _PAGE if place.folder else 1
        with _sent("s3:ListBucket", place, ours=ours):
            answer: Mapping[str, Any] = self._client.list_objects_v2(
                Bucket=place.bucket, Prefix=place.key, MaxKeys=size, **token
            )
        return answer if place.folder else {**answer, "NextContinuationToken": ""}

    def head(self, place: Place, *, ours: bool) -> Mapping[str, Any]:
        """All that S3 knows of an object, its checksum included."""
        with _sent("s3:GetObject, and kms:Decrypt on its key,", place, ours=ours):
            answer: Mapping[str, Any] = self._client.head_object(
                Bucket=place.bucket, Key=place.key, ChecksumMode="ENABLED"
            )
        return answer

    # -------------------------------------------------------------- own small objects

    def read(self, place: Place) -> bytes | None:
        """A small object of ours; `None` when there is none."""
        try:
            with _sent("s3:GetObject", place, ours=True):
                answer = self._client.get_object(Bucket=place.bucket, Key=place.key)
                body: bytes = answer["Body"].read()
        except Changed:
            return None
        return body

    def write(self, place: Place, body: bytes) -> None:
        """Write a small object of ours."""
        with _sent(_WRITING, place, ours=True):
            self._client.put_object(
                Bucket=place.bucket,
                Key=place.key,
                Body=body,
                ContentType="application/json",
                **self._encryption,
            )

    # ------------------------------------------------------------------- copying

    def copy(self, crew: Crew, copies: Mapping[Place, Object]) -> None:
        """Copy objects, each to its place.

        Raises:
            Changed: One is not what was listed any more.
        """
        small = [pair for pair in copies.items() if pair[1].size <= MULTIPART_BYTES]
        large = [pair for pair in copies.items() if pair[1].size > MULTIPART_BYTES]
        crew.each(lambda pair: self._copy_whole(pair[1], pair[0]), small)
        for target, source in large:
            self._copy_parts(crew, source, target)

    def _copy_whole(self, source: Object, target: Place) -> None:
        with self._copying(source.place, target):
            # Tags stay behind: they may steer life cycles and rights of the other bucket.
            self._client.copy_object(
                Bucket=target.bucket,
                Key=target.key,
                MetadataDirective="COPY",
                TaggingDirective="REPLACE",
                **_source(source),
                **self._encryption,
            )

    def _copy_parts(self, crew: Crew, source: Object, target: Place) -> None:
        """Copy a large object; of one that fails nothing stays."""
        about = self.head(source.place, ours=False)
        kept = {key: about[key] for key in _METADATA if key in about}
        where = {"Bucket": target.bucket, "Key": target.key}
        with ExitStack() as undo:
            with self._copying(source.place, target):
                started = self._client.create_multipart_upload(**where, **kept, **self._encryption)
            upload = {**where, "UploadId": started["UploadId"]}
            undo.callback(self._abort, upload)
            parts = crew.each(
                lambda part: self._copy_part(source, target, upload, *part), _parts(source.size)
            )
            with self._copying(source.place, target):
                self._client.complete_multipart_upload(
                    **upload,
                    MultipartUpload={"Parts": sorted(parts, key=lambda part: part["PartNumber"])},
                )
            undo.pop_all()

    def _copy_part(
        self, source: Object, target: Place, upload: Mapping[str, str], number: int, span: str
    ) -> dict[str, Any]:
        with self._copying(source.place, target):
            answer = self._client.upload_part_copy(
                **upload, **_source(source), PartNumber=number, CopySourceRange=span
            )
        copied = answer["CopyPartResult"]
        return {k: v for k, v in copied.items() if k != "LastModified"} | {"PartNumber": number}

    def _abort(self, upload: Mapping[str, str]) -> None:
        # What could not be aborted now is found by the next try, or by a life cycle.
        with suppress(ClientError, BotoCoreError):
            self._client.abort_multipart_upload(**upload)

    def abort_uploads(self, folder: Place, *, begun_before: datetime | None = None) -> None:
        """Abort what was begun in a folder of ours, all or before a time, and never completed."""
        with _sent("s3:ListBucketMultipartUploads", folder, ours=True):
            answer = self._client.list_multipart_uploads(Bucket=folder.bucket, Prefix=folder.key)
        for upload in answer.get("Uploads", ()):
            if begun_before is None or upload["Initiated"] <= begun_before:
                self._abort(
                    {"Bucket": folder.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                )

    @contextmanager
    def _copying(self, source: Place, target: Place) -> Iterator[None]:
        """Find out which side refuses: S3 does not say."""
        try:
            with _sent(_WRITING, target, ours=True):
                yield
        except TargetUnavailable:
            self._probe(source)
            raise

    def _probe(self, place: Place) -> None:
        """Read a byte of the source, which needs all rights that copying it needs."""
        with _sent("s3:GetObject, and kms:Decrypt on its key,", place, ours=False):
            try:
                self._client.get_object(Bucket=place.bucket, Key=place.key, Range="bytes=0-0")[
                    "Body"
                ].close()
            except ClientError as exc:
                if exc.response["Error"]["Code"] != "InvalidRange":  # it is empty
                    raise

    # ------------------------------------------------------------------ removing

    def delete(self, places: Iterable[Place]) -> None:
        """Delete objects of ours, all in one bucket; those that are gone are no error."""
        left = iter(places)
        while some := list(islice(left, _PAGE)):
            bucket = some[0].bucket
            keys = [{"Key": place.key} for place in some]
            with _sent("s3:DeleteObject", some[0], ours=True):
                answer = self._client.delete_objects(
                    Bucket=bucket, Delete={"Objects": keys, "Quiet": True}
                )
            for error in answer.get("Errors", ()):
                raise _meaning(error, 0, "s3:DeleteObject", Place(bucket, error["Key"]), ours=True)


_WRITING = "s3:PutObject, and kms:GenerateDataKey and kms:Decrypt on the key,"

_METADATA = (
    "Metadata", "ContentType", "ContentEncoding", "ContentLanguage", "ContentDisposition",
    "CacheControl", "Expires",
)  # fmt: skip
"""What a copy in one request keeps by itself."""


def _source(source: Object) -> dict[str, Any]:
    """The source of a copy, on condition that it still is what was listed."""
    bucket, key = source.place
    return {"CopySource": {"Bucket": bucket, "Key": key}, "CopySourceIfMatch": f'"{source.etag}"'}


def _parts(size: int) -> list[tuple[int, str]]:
    """Numbers and byte ranges of an object's parts."""
    width = max(PART_BYTES, -(-size // MAX_PARTS))
    starts = range(0, size, width)
    return [
        (number, f"bytes={start}-{min(start + width, size) - 1}")
        for number, start in enumerate(starts, start=1)
    ]


def _objects(place: Place, answer: Mapping[str, Any]) -> Iterator[tuple[str, Object]]:
    for found in answer.get("Contents", ()):
        key = found["Key"]
        name = key[len(place.key) :] if place.folder else key.rpartition("/")[2]
        if not key.endswith("/") if place.folder else key == place.key:
            yield name, Object(Place(place.bucket, key), found["Size"], found["ETag"].strip('"'))


def _answered_at(answer: Mapping[str, Any]) -> datetime | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else None


# ------------------------------------------------------------------------- errors


_CREDENTIALS = DENIED - {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"} | {
    "InvalidToken", "RequestTimeTooSkewed",
}  # fmt: skip
"""Codes after which S3 takes no call at all."""

_PASSING = PASSING | {
    "InternalError", "OperationAborted", "NoSuchUpload", "ConditionalRequestConflict",
    "KMS.ThrottlingException",
}  # fmt: skip

_GONE = frozenset({"NoSuchKey", "404", "PreconditionFailed", "412"})


@contextmanager
def _sent(actions: str, place: Place | None, *, ours: bool) -> Iterator[None]:
    """Translate what botocore raises.

    Args:
        actions: Which rights a call needs.
        place: On what.
        ours: Whether that is where copies are kept.
    """
    try:
        yield
    except ClientError as exc:
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        raise _meaning(exc.response["Error"], status, actions, place, ours=ours) from exc
    except UNUSABLE as exc:
        raise TargetUnavailable(
            f"S3 cannot be called: {exc} Give the process credentials and a region "
            "(AWS_REGION or GlueCatalogTarget.aws_region)."
        ) from exc
    except ParamValidationError as exc:
        raise PermanentTargetError(f"S3's client: {' '.join(str(exc).split())}") from exc
    except (BotoCoreError, OSError) as exc:
        raise TransientTargetError(f"S3 does not answer: {exc}") from exc


def _meaning(
    error: Mapping[str, Any], status: int, actions: str, place: Place | None, *, ours: bool
) -> TargetError | Changed:
    """What an answer of S3 means for the daemon."""
    code = str(error.get("Code", status))
    reason = " ".join(f"{code}: {error.get('Message', '')}".split())
    if code in _PASSING or status == 429 or status >= 500:
        return TransientTargetError(f"S3: {place}: {reason}")
    if code in _CREDENTIALS:
        return TargetUnavailable(f"S3 does not take these credentials ({reason})")
    if code in _GONE:
        return Changed(str(place))
    refused = TargetUnavailable if ours else PermanentTargetError
    if code == "NoSuchBucket":
        return refused(f"S3: {place}: there is no such bucket{_BUCKET_HINT if ours else ''}")
    if code == "InvalidObjectState":
        return PermanentTargetError(f"S3: {place} is archived and must be restored first")
    if status in (401, 403) or "AccessDenied" in code or code.startswith("KMS."):
        return refused(
            f"S3: {place}: the role needs {actions} there; in a bucket of another account its "
            f"policy must allow that, too ({reason})"
        )
    return PermanentTargetError(f"S3: {place}: {reason}")


_BUCKET_HINT = ": create it, or change GlueCatalogTarget.bucket_path"
