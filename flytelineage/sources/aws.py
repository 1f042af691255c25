"""What AWS means: where a queue is, what will make trouble, what to do about an error.

Pure knowledge, used by `SqsSource`; nothing here talks to AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal
from urllib.parse import urlsplit

from flytelineage.permissions import partition

RETENTION = "MessageRetentionPeriod"
MIN_VISIBILITY_SECONDS = 30
MIN_MAX_RECEIVES = 5
MIN_RETENTION_DAYS = 4
MAX_RETENTION_DAYS = 14
_DAY = 86_400

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


_Cause = Literal["call", "queue", "credentials"]

_CAUSES: Mapping[str, _Cause] = {
    _NO_QUEUE: "queue",
    _BAD_CREDENTIALS: "credentials",
    _EXPIRED: "credentials",
    _NO_CREDENTIALS: "credentials",
}


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
        return f"arn:{partition(self.region)}:sqs:{self.region}:{self.account}:{self.name}"


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


def warnings(
    attributes: Mapping[str, str],
    redrive: Mapping[str, Any],
    *,
    hidden_seconds: float,
    dead_letter_seconds: int | None,
) -> Iterator[str]:
    """What about a queue will make trouble later, and what to do about it.

    Args:
        attributes: As the queue tells them.
        redrive: Its policy for what is received too often; empty without one.
        hidden_seconds: For how long a received message stays hidden.
        dead_letter_seconds: How long dead letters are kept, if that is known.
    """
    yield from _redrive_warnings(redrive)
    yield from _retention_warnings(int(attributes.get(RETENTION, 0)), dead_letter_seconds)
    if hidden_seconds < MIN_VISIBILITY_SECONDS:
        yield (
            f"messages are hidden for {hidden_seconds:.0f} s only: what takes longer to store is "
            f"handed out twice; {MIN_VISIBILITY_SECONDS} s or more is safe"
        )
    if key := attributes.get("KmsMasterKeyId"):
        yield (
            f"it is encrypted with the KMS key {key}: allow kms:Decrypt here, and allow SNS "
            "to use the key, or no message arrives"
        )


def _redrive_warnings(redrive: Mapping[str, Any]) -> Iterator[str]:
    if not redrive:
        yield (
            "it has no RedrivePolicy: a message that cannot be stored comes again until its "
            "retention ends; give the queue a dead-letter queue"
        )
    elif int(redrive["maxReceiveCount"]) < MIN_MAX_RECEIVES:
        yield (
            f"maxReceiveCount is {redrive['maxReceiveCount']}: a few restarts move good "
            f"messages to the dead-letter queue; {MIN_MAX_RECEIVES} or more is safe"
        )


def _retention_warnings(seconds: int, dead_letter_seconds: int | None) -> Iterator[str]:
    """Whether messages last until somebody looks: after a long weekend, say.

    A dead letter counts from when it was first sent, so it needs more time than the
    queue gives; with all that SQS allows there is nothing left to do.
    """
    if 0 < seconds < MIN_RETENTION_DAYS * _DAY:
        yield (
            f"it keeps messages for {_span(seconds)} only: what comes while nothing receives for "
            f"longer is lost; {MAX_RETENTION_DAYS} days are the most"
        )
    most = MAX_RETENTION_DAYS * _DAY
    if dead_letter_seconds is not None and dead_letter_seconds <= min(seconds, most - 1):
        yield (
            f"its dead-letter queue keeps messages for {_span(dead_letter_seconds)}, counted from "
            f"when they were sent, and the queue itself for {_span(seconds)}: they may be gone "
            f"before anybody sees them; let it keep them for {MAX_RETENTION_DAYS} days"
        )


def _span(seconds: int) -> str:
    return f"{seconds / _DAY:.3g} days" if seconds > _DAY else f"{seconds / 3600:.3g} hours"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call to AWS failed.

    Attributes:
        lasting: Trying again does not help until somebody acts.
        text: What is wrong and what to do, in one line.
        cause: What has to be put right; `call` is all that may concern this call alone,
            a missing right, say.
    """

    lasting: bool
    text: str
    cause: _Cause = "call"


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
    return Failure(True, f"{advice} ({_one_line(exc)})", _CAUSES.get(advice, "call"))


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
    cause = _CAUSES.get(_ADVICE.get(name, ""), "call")
    return Failure(True, f"{_advice(name, action, place)} ({detail})", cause)


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
    return code_of(str(exc.response.get("Error", {}).get("Code", "")))


def code_of(code: str) -> str:
    """An error's code in its shortest spelling."""
    return code.removeprefix("AWS.SimpleQueueService.").removesuffix("Exception")


def _one_line(text: object) -> str:
    """A foreign text, short and without line breaks."""
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else line[:297] + "..."
