"""Messages from Amazon SQS.

Hides boto3, and how the deletes of several pollers become full batches. Every failure
leaves here as `ConfigError` or `SourceError`, in one line that says what to grant or
what to type.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from traitlets import Float, Integer, TraitError, Unicode, validate

from flytelineage import __version__
from flytelineage.errors import ConfigError, SourceError
from flytelineage.grouping import Grouped
from flytelineage.permissions import Statement
from flytelineage.sources import Backlog, Message, Source
from flytelineage.sources.aws import (
    RETENTION,
    Failure,
    QueuePlace,
    code_of,
    explain,
    locate,
    warnings,
)

DELETE_RETRIES = 3

_BATCH = 10
_DEFAULT_VISIBILITY_SECONDS = 30
_MAX_VISIBILITY_SECONDS = 43_200
_NOT_HIDDEN = frozenset({"MessageNotInflight", "ReceiptHandleIsInvalid"})
"""Answers to hiding what was deleted, or came to somebody else meanwhile."""

_ACTIONS = (
    "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
)  # fmt: skip

_PREPARING = frozenset({"CreateClient", "GetQueueUrl"})
"""What comes before the first call proper: that it worked does not say that we run."""

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL")


class SqsSource(Source):
    """Receives from a queue with long polls and deletes in full batches.

    One boto3 client is shared by all pollers. `AWS_ENDPOINT_URL` is respected, and
    credentials are found as boto3 finds them.
    """

    parallel = True

    queue = Unicode(
        "",
        help="""
        The queue to receive from: its name, or its URL. A name is looked up in the
        account of the credentials; a queue of another account needs the URL. A URL also
        says the region. Empty is an error when the source is used.

        Example: c.SqsSource.queue = "flyte-events"
        """,
    ).tag(config=True)

    region = Unicode(
        "us-east-1",
        help="""
        The AWS region of the queue. The region in a queue's URL comes before it.

        Example: c.SqsSource.region = "eu-west-1"
        """,
    ).tag(config=True)

    wait_seconds = Integer(
        5,
        min=0,
        max=20,
        help="""
        Seconds that SQS waits for a message before it answers that there is none. Longer
        costs fewer requests while nothing happens; a stop waits as long. 0 asks
        without waiting.

        Example: c.SqsSource.wait_seconds = 20
        """,
    ).tag(config=True)

    batch_size = Integer(
        10,
        min=1,
        max=10,
        help="""
        The most messages that one request receives. Only tests want fewer than ten.

        Example: c.SqsSource.batch_size = 1
        """,
    ).tag(config=True)

    visibility_timeout = Integer(
        None,
        allow_none=True,
        min=0,
        max=43200,
        help="""
        Seconds for which a received message is hidden from other receivers; it must be
        stored within them, or it is handed out twice. None or 0 leaves it to the queue.

        Example: c.SqsSource.visibility_timeout = 120
        """,
    ).tag(config=True)

    connect_timeout = Float(
        5.0,
        min=0.1,
        help="""
        Seconds until a connection to SQS must stand. Raise it behind a slow proxy.

        Example: c.SqsSource.connect_timeout = 15
        """,
    ).tag(config=True)

    read_timeout = Float(
        30.0,
        min=0.1,
        help="""
        Seconds that an answer of SQS may take, `wait_seconds` not counted. When it is
        over the request is repeated; messages that the first answer held come again
        after the visibility timeout.

        Example: c.SqsSource.read_timeout = 60
        """,
    ).tag(config=True)

    max_connections = Integer(
        25,
        min=1,
        help="""
        The most connections to SQS at once: as many as there are pollers, and a few for
        deletes. With fewer, pollers wait for each other.

        Example: c.SqsSource.max_connections = 50
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lock = threading.RLock()
        self._client: Any = None
        self._url: str | None = None
        self._queue_visibility = _DEFAULT_VISIBILITY_SECONDS
        self._worked: set[str] = set()
        self._delete = Grouped(self._delete_group, max_items=_BATCH, parallel=True)

    @validate("queue")
    def _check_queue(self, proposal: Mapping[str, Any]) -> str:
        queue: str = proposal["value"].strip()
        if queue:
            try:
                locate(queue, self.region)
            except ValueError as exc:
                raise TraitError(f"SqsSource.queue: {exc}") from exc
        return queue

    @property
    def place(self) -> QueuePlace:
        """Where the queue is, as far as the configuration says."""
        return locate(self.queue, self.region)

    def receive(self) -> Sequence[Message]:
        """Ask SQS once, for at most `wait_seconds`."""
        options = {"VisibilityTimeout": self.visibility_timeout} if self.visibility_timeout else {}
        client, url = self._connected()
        with self._asking("ReceiveMessage"):
            answer = client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=self.batch_size,
                WaitTimeSeconds=self.wait_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                **options,
            )
        return [_message(one) for one in answer.get("Messages", ())]

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete, in one request with what other threads delete meanwhile.

        Raises:
            ConfigError: There is no right to delete.
            SourceError: Some or all were not deleted and come again.
        """
        failed = self._delete(messages)
        if failed:
            raise SourceError(
                f"SQS did not delete {len(failed)} of {len(messages)} messages; they come again"
            )

    def hide(self, messages: Sequence[Message], seconds: float) -> None:
        """Change their visibility timeout, in tens; SQS allows twelve hours in all."""
        timeout = min(math.ceil(seconds), _MAX_VISIBILITY_SECONDS)
        failed = 0
        for first in range(0, len(messages), _BATCH):
            failures = self._hide_batch(messages[first : first + _BATCH], timeout)
            failed += sum(code not in _NOT_HIDDEN for _, code in failures)
        if failed:
            raise SourceError(
                f"SQS did not change the visibility of {failed} of {len(messages)} messages"
            )

    @property
    def visibility_seconds(self) -> float:
        """As set; else as the queue said when it was last asked, at first SQS's default."""
        return self.visibility_timeout or self._queue_visibility

    def backlog(self) -> Backlog:
        """Ask for the queue's attributes, which lag some seconds behind."""
        attributes = self._attributes(
            "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        )
        return Backlog(
            visible=int(attributes["ApproximateNumberOfMessages"]),
            in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        )

    def describe(self) -> str:
        """The queue's name and region."""
        return f"SQS queue {self.place.name} in {self.place.region}" if self.queue else "no queue"

    def permissions(self) -> Sequence[Statement]:
        """All that is done with the queue; nothing of it sends."""
        found = () if self.place.url else ("sqs:GetQueueUrl",)
        return [Statement("Queue", (*_ACTIONS, *found), (self.place.arn,))]

    def check(self) -> None:
        """Look at the queue, and warn of what will make trouble later.

        Raises:
            ConfigError: What is wrong and what to do, in one line.
            SourceError: SQS does not answer now.
        """
        attributes = self._attributes("RedrivePolicy", "KmsMasterKeyId", RETENTION)
        redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
        kept = self._dead_letter_retention(redrive) if redrive else None
        for warning in warnings(
            attributes, redrive, hidden_seconds=self.visibility_seconds, dead_letter_seconds=kept
        ):
            self.log.warning("%s: %s", self.describe(), warning)

    def close(self) -> None:
        """Close idle connections; a later call opens new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = self._url = None

    def _attributes(self, *names: str) -> Mapping[str, str]:
        """What the queue says of itself; the visibility timeout on the way."""
        client, url = self._connected()
        with self._asking("GetQueueAttributes"):
            answer = client.get_queue_attributes(
                QueueUrl=url, AttributeNames=[*names, "VisibilityTimeout"]
            )
        attributes: Mapping[str, str] = answer.get("Attributes", {})
        self._queue_visibility = int(
            attributes.get("VisibilityTimeout", _DEFAULT_VISIBILITY_SECONDS)
        )
        return attributes

    # ------------------------------------------------------------------ connecting

    def _connected(self) -> tuple[Any, str]:
        """The client and the queue's URL; the first call makes both."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            if self._url is None:
                self._url = self.place.url or self._ask_for_url()
            return self._client, self._url

    def _new_client(self) -> Any:
        if not self.queue:
            raise ConfigError("There is no queue to receive from: set FlyteLineage.sqs_queue")
        try:
            import boto3
            from botocore.config import Config
        except ImportError as exc:
            raise ConfigError("boto3 is missing: pip install 'flytelineage[daemon]'") from exc
        place = self.place
        config = Config(
            connect_timeout=self.connect_timeout,
            read_timeout=self.wait_seconds + self.read_timeout,
            max_pool_connections=self.max_connections,
            # Few: the daemon backs off by itself, and says so.
            retries={"mode": "standard", "total_max_attempts": 3},
            # A tenth of what a request costs is boto3 spelling out its own, each time anew.
            user_agent=f"flytelineage/{__version__}",
        )
        # The environment comes first: inside containers a queue's URL often names a host
        # that only the outside can reach.
        configured = any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)
        with self._asking("CreateClient"):
            try:
                return boto3.session.Session().client(
                    "sqs",
                    region_name=place.region,
                    endpoint_url=None if configured else place.endpoint,
                    config=config,
                )
            except ValueError as exc:
                raise ConfigError(
                    f"{self.describe()}: {exc} Check FlyteLineage.aws_region and AWS_ENDPOINT_URL."
                ) from exc

    def _ask_for_url(self) -> str:
        with self._asking("GetQueueUrl"):
            url: str = self._client.get_queue_url(QueueName=self.place.name)["QueueUrl"]
        return url

    # -------------------------------------------------------------------- deleting

    def _delete_group(self, messages: list[Message]) -> list[Message]:
        """Delete up to ten messages.

        Returns:
            Those that SQS did not delete, asked again and again.
        """
        left = self._delete_batch(messages)
        for _ in range(DELETE_RETRIES):
            if left:
                left = self._delete_batch(left)
        return left

    def _delete_batch(self, messages: list[Message]) -> list[Message]:
        client, url = self._connected()
        with self._asking("DeleteMessageBatch"):
            answer = client.delete_message_batch(QueueUrl=url, Entries=_entries(messages))
        failures = _failures(answer, messages)
        for message, code in failures:
            self.log.debug("SQS did not delete message %s: %s", message.id, code)
        return [message for message, _ in failures]

    def _hide_batch(self, messages: Sequence[Message], timeout: int) -> list[tuple[Message, str]]:
        client, url = self._connected()
        with self._asking("ChangeMessageVisibilityBatch"):
            answer = client.change_message_visibility_batch(
                QueueUrl=url, Entries=_entries(messages, VisibilityTimeout=timeout)
            )
        return _failures(answer, messages)

    # -------------------------------------------------------------------- checking

    def _dead_letter_retention(self, redrive: Mapping[str, Any]) -> int | None:
        """Seconds that dead letters are kept; `None` where we may not know."""
        client, url = self._connected()
        # SQS wants both in one account and region.
        place = replace(self.place, name=redrive["deadLetterTargetArn"].rpartition(":")[2])
        try:
            answer = client.get_queue_attributes(
                QueueUrl=f"{url.rpartition('/')[0]}/{place.name}", AttributeNames=[RETENTION]
            )
        except _errors() as exc:
            text = explain(exc, "GetQueueAttributes", place).text
            self.log.info("Nothing is known of the dead-letter queue %s: %s", place.name, text)
            return None
        return int(answer["Attributes"][RETENTION])

    @contextmanager
    def _asking(self, operation: str) -> Iterator[None]:
        """Translate what a call to AWS raises.

        What worked once can work again: from then on nothing is the configuration's
        fault for certain, so expired credentials or a changed policy only interrupt.
        """
        client = self._client
        try:
            yield
        except _errors() as exc:
            failure = explain(exc, operation, self.place)
            if failure.cause == "credentials":
                self._forget(client)
            lasting = failure.lasting and not self._proven(operation, failure)
            kind = ConfigError if lasting else SourceError
            raise kind(f"{self.describe()}: {failure.text}") from exc
        self._worked.add(operation)

    def _proven(self, operation: str, failure: Failure) -> bool:
        """Whether what fails worked before: this call, or any if it is about all calls."""
        if failure.cause == "call":
            return operation in self._worked
        return bool(self._worked - _PREPARING)

    def _forget(self, client: Any) -> None:
        """Let the next call look for credentials: botocore reads most of them only once."""
        with self._lock:
            if client is not None and client is self._client:
                client.close()
                self._client = None


def _errors() -> tuple[type[Exception], ...]:
    """What boto3 raises where AWS, the network or its own set-up fails."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return BotoCoreError, ClientError, ResponseParserError


def _message(received: Mapping[str, Any]) -> Message:
    attributes = received.get("Attributes", {})
    sent = attributes.get("SentTimestamp")
    return Message(
        body=received["Body"],
        handle=received["ReceiptHandle"],
        id=received["MessageId"],
        sent_at=datetime.fromtimestamp(int(sent) / 1000, timezone.utc) if sent else None,
        receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
    )


def _entries(messages: Sequence[Message], **options: int) -> list[dict[str, Any]]:
    """Messages as a batch names them: by their place in it."""
    return [
        {"Id": str(number), "ReceiptHandle": message.handle, **options}
        for number, message in enumerate(messages)
    ]


def _failures(answer: Mapping[str, Any], messages: Sequence[Message]) -> list[tuple[Message, str]]:
    """What a batch did not do, and what the error is called."""
    return [(messages[int(one["Id"])], code_of(one["Code"])) for one in answer.get("Failed", ())]
