"""What AWS means: where a queue is, and what to do about an error.

Pure knowledge, used by `SqsSource`; nothing here talks to AWS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

_NAME = re.compile(r"[\w-]{1,80}(\.fifo)?", re.ASCII)
_REGION = r"[a-z]{2,4}(?:-[a-z]+)+-\d+"
_PUBLIC_HOST = re.compile(
    rf"(?:sqs\.{_REGION}|(?P<legacy>{_REGION})\.queue|queue)\.amazonaws\.(?:com|com\.cn|eu)"
)
_REGION_IN_HOST = re.compile(rf"(?:^|\.)sqs(?:-fips)?\.({_REGION})\.")

_PASSING = frozenset(
    {
        "KMS.Throttling",
        "KmsThrottled",
        "OverLimit",
        "QueueDeletedRecently",
        "RequestExpired",
        "RequestThrottled",
        "RequestTimeTooSkewed",
        "RequestTimeout",
        "Throttling",
        "TooManyRequests",
    }
)
"""Errors below 500 that pass by themselves."""

_NO_QUEUE = (
    "there is no queue {queue} in {region}, or no right to see it: check FlyteLineage.sqs_queue "
    "and FlyteLineage.aws_region (a queue of another account is named by its URL)"
)
_DENIED = "access denied: allow {action} on {resource}"
_KMS_DENIED = "the queue is encrypted: allow kms:Decrypt on the KMS key of {resource}"
_KMS_UNUSABLE = "the KMS key of {resource} cannot be used: enable it, or give the queue another one"
_BAD_CREDENTIALS = (
    "AWS does not know the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "the profile or the role"
)
_EXPIRED = "the AWS credentials are expired: renew them, e.g. with aws sso login"
_NO_CREDENTIALS = (
    "there are no usable AWS credentials: give the process a role, or set AWS_PROFILE, "
    "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)

_ADVICE: Mapping[str, str] = {
    "QueueDoesNotExist": _NO_QUEUE,
    "NonExistentQueue": _NO_QUEUE,
    "AccessDenied": _DENIED,
    "KMS.AccessDenied": _KMS_DENIED,
    "KmsAccessDenied": _KMS_DENIED,
    "KmsDisabled": _KMS_UNUSABLE,
    "KmsInvalidKeyUsage": _KMS_UNUSABLE,
    "KmsInvalidState": _KMS_UNUSABLE,
    "KmsNotFound": _KMS_UNUSABLE,
    "KmsOptInRequired": _KMS_UNUSABLE,
    "AuthFailure": _BAD_CREDENTIALS,
    "IncompleteSignature": _BAD_CREDENTIALS,
    "InvalidAccessKeyId": _BAD_CREDENTIALS,
    "InvalidClientTokenId": _BAD_CREDENTIALS,
    "SignatureDoesNotMatch": _BAD_CREDENTIALS,
    "InvalidSignature": _BAD_CREDENTIALS,
    "MissingAuthenticationToken": _BAD_CREDENTIALS,
    "UnrecognizedClient": _BAD_CREDENTIALS,
    "ExpiredToken": _EXPIRED,
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "ProfileNotFound": _NO_CREDENTIALS,
    "SSOTokenLoadError": _EXPIRED,
    "UnauthorizedSSOTokenError": _EXPIRED,
    "TokenRetrievalError": _EXPIRED,
    "LoginRefreshRequired": _EXPIRED,
}
"""What the operator does about an error that stays, by its name."""


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Where a queue is.

    Attributes:
        url: Its URL; `None` where SQS has to be asked for it.
        account: The number of its account; `*` where only SQS knows.
        endpoint: Where SQS answers, if not at the public address of the region.
    """

    name: str
    region: str
    url: str | None = None
    account: str = "*"
    endpoint: str | None = None

    @property
    def arn(self) -> str:
        """The queue as policies name it."""
        partition = "aws"
        for prefix, other in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc")):
            if self.region.startswith(prefix):
                partition = other
        return f"arn:{partition}:sqs:{self.region}:{self.account}:{self.name}"


def locate(queue: str, region: str) -> QueuePlace:
    """Read off a queue's name or URL where it is.

    The region in the URL of a queue on AWS comes before `region`: SQS knows a queue in
    its own region only, whatever URL it is given.

    Raises:
        ValueError: It is neither a name nor a URL.
    """
    if not queue.startswith(("https://", "http://")):
        if not _NAME.fullmatch(queue):
            raise ValueError(f"{queue!r} is neither the name of a queue nor its URL")
        return QueuePlace(queue, region)
    url = urlsplit(queue)
    host = url.hostname or ""
    account, _, name = url.path.strip("/").rpartition("/")
    if not host or not account or not _NAME.fullmatch(name):
        raise ValueError(f"{queue!r} is not the URL of a queue: https://HOST/ACCOUNT/NAME")
    return QueuePlace(
        name,
        _region_of(host) or region,
        url=queue,
        account=account.rpartition("/")[2],
        endpoint=None if _PUBLIC_HOST.fullmatch(host) else f"{url.scheme}://{url.netloc}",
    )


def _region_of(host: str) -> str | None:
    """The region that a host of AWS, or one that imitates it, names."""
    if found := _REGION_IN_HOST.search(host):
        return found[1]
    if public := _PUBLIC_HOST.fullmatch(host):
        return public["legacy"] or "us-east-1"
    return None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call to AWS failed.

    Attributes:
        lasting: Trying again does not help until somebody acts.
        text: What is wrong and what to do, in one line.
    """

    lasting: bool
    text: str


def explain(exc: Exception, operation: str, place: QueuePlace) -> Failure:
    """Say what an error of boto3 means.

    Args:
        exc: A `ClientError`, which AWS answered, or any other error of botocore.
        operation: What was asked of SQS, e.g. `ReceiveMessage`.
        place: Which queue it was about.
    """
    from botocore.exceptions import (
        ClientError,
        ConnectionError,
        HTTPClientError,
        IncompleteReadError,
    )
    from botocore.parsers import ResponseParserError

    if isinstance(exc, ClientError):
        return _explain_answer(exc, operation, place)
    if isinstance(exc, (ConnectionError, HTTPClientError, IncompleteReadError)):
        return _explain_silence(exc, place)
    if isinstance(exc, ResponseParserError):
        return Failure(False, f"what answers is not SQS ({_one_line(exc)})")
    advice = _ADVICE.get(type(exc).__name__, "boto3 cannot be used as it is set up")
    return Failure(True, f"{advice} ({_one_line(exc)})")


def _explain_answer(exc: Any, operation: str, place: QueuePlace) -> Failure:
    """An error that AWS answered."""
    error = exc.response.get("Error", {})
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    name = _name(exc)
    detail = f"{name}: {_one_line(error.get('Message') or '')}"
    if name in _PASSING or status >= 500 or status == 429:
        return Failure(False, f"{operation} failed for now ({detail})")
    # Credentials are fetched on the way, so it may be STS that answered.
    service = "sts" if exc.operation_name.startswith("AssumeRole") else "sqs"
    action = f"{service}:{exc.operation_name.removesuffix('Batch')}"
    return Failure(True, f"{_advice(name, action, place)} ({detail})")


def _explain_silence(exc: Exception, place: QueuePlace) -> Failure:
    """No connection: the network's fault, unless the region does not exist."""
    from botocore.exceptions import EndpointConnectionError

    detail = _one_line(exc)
    if isinstance(exc, EndpointConnectionError) and place.region in detail:
        known = _regions()
        if place.region not in known:
            close = " or ".join(get_close_matches(place.region, known))
            hint = f"; did you mean {close}?" if close else ""
            return Failure(
                True, f"no such region is known: check FlyteLineage.aws_region{hint} ({detail})"
            )
    return Failure(False, f"no answer ({detail})")


def _regions() -> list[str]:
    """All regions with SQS that this botocore has heard of."""
    import botocore.session

    session = botocore.session.Session()
    partitions = session.get_available_partitions()
    return [name for one in partitions for name in session.get_available_regions("sqs", one)]


def _advice(name: str, action: str, place: QueuePlace) -> str:
    return _ADVICE.get(name, "{action} does not work").format(
        queue=place.name,
        region=place.region,
        resource="the role" if action.startswith("sts:") else place.arn,
        action=action,
    )


def _name(exc: Any) -> str:
    """What the error is called.

    A modelled error has a class of its own, but its code may be an older spelling, e.g.
    `AWS.SimpleQueueService.NonExistentQueue`; an error outside the model has a code
    only, with or without `Exception` at its end.
    """
    name = type(exc).__name__
    if name != "ClientError":
        return name
    code = str(exc.response.get("Error", {}).get("Code", ""))
    return code.removeprefix("AWS.SimpleQueueService.").removesuffix("Exception")


def _one_line(text: object) -> str:
    """A foreign text, short and without line breaks."""
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else line[:297] + "..."
