"""A Flyte platform that never was: its executions, its files, and its messages on SNS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flytelineage.testing.aws import LocalAws
    from flytelineage.testing.simulator import Stream, Truth
    from flytelineage.testing.simulator.stream import Encoding

TOPIC = "flyte-events"
QUEUE = "flytelineage"
BUCKET = "s3://flyte-data"

_RAW = frozenset({"shop.churn.train_churn_model", "shop.regions.score_regions"})
"""Workflows whose events are raw requests, so that nobody says the workflow's name.

All others come as cloud events. Who reads what another workflow made is on the same
side as that one, so that the simulator can tell the truth about each side alone.
"""

_HISTORY = timedelta(hours=2)
"""How long ago the first sample ran: the last has ended, and its metadata is young."""


@dataclass(frozen=True)
class Played:
    """One execution that took place.

    Attributes:
        stream: What FlyteAdmin publishes about it.
        encoding: How it is encoded.
    """

    stream: Stream
    encoding: Encoding

    @property
    def name(self) -> str:
        """The execution's name."""
        return self.stream.execution.name

    @property
    def workflow(self) -> str:
        """The workflow's true name."""
        return self.stream.execution.workflow.name

    @property
    def format(self) -> str:
        """What its messages are, in words."""
        return "raw protobuf events" if self.encoding == "raw" else "cloud events v2"

    @property
    def truth(self) -> Truth:
        """What is true, under the name that these events allow to be known."""
        return self.stream.guessed_truth if self.encoding == "raw" else self.stream.truth

    def messages(self) -> Iterator[tuple[str, str]]:
        """Subject and text of each message, as FlyteAdmin gives them to SNS."""
        for body in self.stream.bodies(self.encoding, "sns"):
            envelope = json.loads(body)
            yield envelope["Subject"], envelope["Message"]


class Platform:
    """Sample executions, and a topic with a queue that FlyteAdmin tells of them."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self._sns, self._sqs = aws.client("sns"), aws.client("sqs")
        self._topic = ""

    def create(self) -> None:
        """Make topic, queue and subscription."""
        self._topic = self._sns.create_topic(Name=TOPIC)["TopicArn"]
        url = self._sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        asked = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        queue = asked["Attributes"]["QueueArn"]
        self._sns.subscribe(TopicArn=self._topic, Protocol="sqs", Endpoint=queue)

    def run_samples(self) -> list[Played]:
        """Run the sample workflows: their data goes to S3, oldest execution first."""
        from flytelineage.testing.simulator import S3Storage, simulate_samples

        start = datetime.now(timezone.utc).replace(second=0, microsecond=0) - _HISTORY
        storage = S3Storage(self._aws.client("s3"), BUCKET)
        streams = simulate_samples(storage, start=start, fast=not has_flytekit())
        return [Played(stream, _encoding(stream)) for stream in streams]

    def publish(self, subject: str, message: str) -> None:
        """Give a message to SNS; like FlyteAdmin without any attributes."""
        self._sns.publish(TopicArn=self._topic, Subject=subject, Message=message)

    def glue_tables(self) -> dict[str, list[Any]]:
        """The tables that are in the Glue Data Catalog now, by database."""
        glue = self._aws.client("glue")
        names = [found["Name"] for found in glue.get_databases()["DatabaseList"]]
        return {name: glue.get_tables(DatabaseName=name)["TableList"] for name in names}


def has_flytekit() -> bool:
    """Whether literals can be made by flytekit, which is not there for every Python."""
    return find_spec("flytekit") is not None


def _encoding(stream: Stream) -> Encoding:
    return "raw" if stream.execution.workflow.name in _RAW else "v2"
