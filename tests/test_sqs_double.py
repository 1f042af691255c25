"""The SQS double answers boto3 as AWS does, and fails as it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from flytelineage.testing.sqs import Fault, Queue, SqsDouble, SqsError

SESSION = boto3.session.Session()  # loads the model of SQS once


def connect(url: str) -> Any:
    return SESSION.client(
        "sqs",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="double",
        aws_secret_access_key="double",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def sqs() -> Iterator[SqsDouble]:
    with SqsDouble() as double:
        yield double


@pytest.fixture
def client(sqs: SqsDouble) -> Iterator[Any]:
    client = connect(sqs.url)
    yield client
    client.close()


@pytest.fixture
def queue(sqs: SqsDouble) -> Queue:
    return sqs.create_queue("events")


def receive(client: Any, url: str, **options: Any) -> list[dict[str, Any]]:
    options = {"MaxNumberOfMessages": 10, **options}
    return client.receive_message(QueueUrl=url, **options).get("Messages", [])


@pytest.fixture
def url(sqs: SqsDouble, queue: Queue) -> str:
    return sqs.queue_url("events")


class TestMessages:
    def test_what_is_sent_is_received(self, client: Any, url: str) -> None:
        """Body, checksum, count and time come as the model says."""
        sent = client.send_message(QueueUrl=url, MessageBody="Grüße")

        (message,) = receive(client, url, MessageSystemAttributeNames=["All"])

        assert message["Body"] == "Grüße"
        assert message["MessageId"] == sent["MessageId"]
        assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
        assert message["MD5OfBody"] == "49c5f675b49037b6044b803ac9d1a6d7"
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
        sent_at = int(message["Attributes"]["SentTimestamp"]) / 1000
        assert abs(sent_at - time.time()) < 60

    def test_a_batch_is_at_most_what_was_asked_for(
        self, client: Any, url: str, queue: Queue
    ) -> None:
        """Messages come in the order in which they were sent, unless told otherwise."""
        queue.send(str(number) for number in range(12))

        batches = [receive(client, url) for _ in range(3)]

        assert [[int(one["Body"]) for one in batch] for batch in batches] == [
            list(range(10)),
            [10, 11],
            [],
        ]

    def test_a_received_message_is_hidden_for_a_while(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """It comes back when the visibility timeout is over, and is counted."""
        queue.send(["one"])
        receive(client, url, VisibilityTimeout=60)
        assert (queue.visible, queue.in_flight) == (0, 1)

        sqs.advance(59)
        assert receive(client, url) == []
        sqs.advance(2)
        (again,) = receive(client, url, AttributeNames=["ApproximateReceiveCount"])

        assert again["Attributes"] == {"ApproximateReceiveCount": "2"}

    def test_a_deleted_message_is_gone(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """It does not come back, and `deleted` counts it once."""
        queue.send(["one"])
        (message,) = receive(client, url)

        for _ in range(2):
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        sqs.advance(3600)

        assert receive(client, url) == []
        assert queue.deleted == 1

    def test_an_outdated_handle_deletes_nothing(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """The request succeeds, as on AWS, and the message stays."""
        queue.send(["one"])
        (first,) = receive(client, url)
        sqs.advance(31)
        receive(client, url)

        client.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])

        assert (queue.in_flight, queue.deleted) == (1, 0)

    def test_a_message_can_be_shown_at_once(self, client: Any, url: str, queue: Queue) -> None:
        """A visibility of 0 gives it back."""
        queue.send(["one", "two"])
        one, two = receive(client, url)

        client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=one["ReceiptHandle"], VisibilityTimeout=0
        )
        client.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[{"Id": "a", "ReceiptHandle": two["ReceiptHandle"], "VisibilityTimeout": 0}],
        )

        assert queue.visible == 2

    def test_a_message_can_be_hidden_for_longer(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """The new time counts from now; the old one no longer does."""
        queue.send(["one"])
        (message,) = receive(client, url)

        sqs.advance(20)
        client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=30
        )
        sqs.advance(20)

        assert (queue.visible, queue.in_flight) == (0, 1)

    def test_what_is_not_in_flight_cannot_be_hidden(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """The error has the class that the model gives it."""
        queue.send(["one"])
        (message,) = receive(client, url)
        sqs.advance(31)

        with pytest.raises(client.exceptions.MessageNotInflight):
            client.change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=30
            )

    def test_a_purge_empties_the_queue(self, client: Any, url: str, queue: Queue) -> None:
        """What is in flight goes too."""
        queue.send(["one", "two"])
        receive(client, url, MaxNumberOfMessages=1)

        client.purge_queue(QueueUrl=url)

        assert queue.bodies == []

    def test_what_is_received_too_often_becomes_a_dead_letter(
        self, sqs: SqsDouble, client: Any
    ) -> None:
        """After `maxReceiveCount` receives it moves, with its id."""
        dead = sqs.create_queue("dead")
        policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2}
        url = client.create_queue(
            QueueName="live", Attributes={"RedrivePolicy": json.dumps(policy)}
        )["QueueUrl"]
        live = sqs.queue("live")
        (sent,) = live.send(["poison"])

        for _ in range(2):
            assert len(receive(client, url)) == 1
            sqs.advance(31)
        assert receive(client, url) == []

        assert (live.visible, live.in_flight) == (0, 0)
        (letter,) = receive(client, sqs.queue_url("dead"))
        assert letter["MessageId"] == sent

    def test_dead_letters_are_moved_back(self, sqs: SqsDouble, client: Any) -> None:
        """To where they came from, as new messages that were sent when they were sent."""
        dead = sqs.create_queue("dead")
        policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 1}
        live = sqs.create_queue("live", {"RedrivePolicy": json.dumps(policy)})
        (sent,) = live.send(["letter"])
        receive(client, sqs.queue_url("live"))
        sqs.advance(31)
        receive(client, sqs.queue_url("live"))

        client.start_message_move_task(SourceArn=dead.arn)

        (again,) = receive(
            client, sqs.queue_url("live"), AttributeNames=["ApproximateReceiveCount"]
        )
        assert (again["Body"], again["Attributes"]) == ("letter", {"ApproximateReceiveCount": "1"})
        assert again["MessageId"] != sent
        assert dead.bodies == []

    def test_a_deleted_queue_is_gone_until_it_is_made_anew(
        self, client: Any, url: str, queue: Queue
    ) -> None:
        """Its messages do not come back with it."""
        queue.send(["one"])
        client.delete_queue(QueueUrl=url)
        with pytest.raises(client.exceptions.QueueDoesNotExist):
            receive(client, url)

        client.create_queue(QueueName="events")

        assert receive(client, url) == []

    def test_each_time_a_message_is_handed_out_counts(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """So a test sees how much came in vain."""
        queue.send(["one", "two"])
        receive(client, url)
        sqs.advance(31)
        receive(client, url, MaxNumberOfMessages=1)

        assert queue.received == 3


class TestLongPolls:
    def test_a_poll_ends_when_a_message_comes(self, client: Any, url: str, queue: Queue) -> None:
        """It does not wait for its end."""
        with ThreadPoolExecutor() as pool:
            poll = pool.submit(receive, client, url, WaitTimeSeconds=20)
            queue.send(["one"])
            messages = poll.result(10)

        assert [one["Body"] for one in messages] == ["one"]

    def test_a_poll_ends_when_its_time_is_over(self, sqs: SqsDouble, client: Any, url: str) -> None:
        """Time that is made to pass counts."""
        with ThreadPoolExecutor() as pool:
            poll = pool.submit(receive, client, url, WaitTimeSeconds=20)
            while not poll.done():
                sqs.advance(5)

        assert poll.result() == []

    def test_a_poll_sees_a_message_come_back(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """A visibility timeout that ends during the poll ends the poll."""
        queue.send(["one"])
        receive(client, url, VisibilityTimeout=10)

        with ThreadPoolExecutor() as pool:
            poll = pool.submit(receive, client, url, WaitTimeSeconds=20)
            while sqs.calls["ReceiveMessage"] != 2:
                threading.Event().wait(0.001)
            sqs.advance(11)
            messages = poll.result(10)

        assert [one["Body"] for one in messages] == ["one"]

    def test_the_end_of_the_double_ends_polls(self) -> None:
        """Nobody hangs on a double that is gone."""
        with ThreadPoolExecutor() as pool:
            with SqsDouble() as sqs:
                sqs.create_queue("events")
                client = connect(sqs.url)
                poll = pool.submit(receive, client, sqs.queue_url("events"), WaitTimeSeconds=20)
                while not sqs.calls["ReceiveMessage"]:
                    threading.Event().wait(0.001)
            assert poll.exception(10) is None or isinstance(poll.exception(), ConnectionClosedError)
        client.close()


class TestRefusals:
    @pytest.mark.parametrize("operation", ["get_queue_url", "receive_message"])
    def test_a_queue_that_is_missing_is_named_as_aws_does(
        self, sqs: SqsDouble, client: Any, operation: str
    ) -> None:
        """The class is the model's, the code the one of the older protocol."""
        names = {"get_queue_url": {"QueueName": "nowhere"}}
        arguments = names.get(operation, {"QueueUrl": sqs.queue_url("nowhere")})

        with pytest.raises(client.exceptions.QueueDoesNotExist) as caught:
            getattr(client, operation)(**arguments)

        error = caught.value.response["Error"]
        assert error["Code"] == "AWS.SimpleQueueService.NonExistentQueue"

    @pytest.mark.parametrize(
        ("ids", "error"),
        [
            ([], "EmptyBatchRequest"),
            (list("abcdefghijk"), "TooManyEntriesInBatchRequest"),
            (["a", "a"], "BatchEntryIdsNotDistinct"),
        ],
    )
    def test_batches_are_checked(self, client: Any, url: str, ids: list[str], error: str) -> None:
        """At least one entry, at most ten, each with an id of its own."""
        entries = [{"Id": name, "ReceiptHandle": "x"} for name in ids]

        with pytest.raises(getattr(client.exceptions, error)):
            client.delete_message_batch(QueueUrl=url, Entries=entries)

    def test_a_batch_has_a_size(self, client: Any, url: str) -> None:
        """1 MiB in all, however it is split."""
        entries = [{"Id": name, "MessageBody": "x" * 600_000} for name in "ab"]

        with pytest.raises(client.exceptions.BatchRequestTooLong):
            client.send_message_batch(QueueUrl=url, Entries=entries)

    def test_an_unknown_handle_is_refused(self, client: Any, url: str) -> None:
        """In a batch it fails alone."""
        answer = client.delete_message_batch(
            QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": "nonsense"}]
        )

        assert answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
        assert answer["Failed"][0]["SenderFault"] is True

    def test_a_body_may_not_be_empty_or_too_long(self, queue: Queue) -> None:
        """Also for who sends in the process."""
        for body in ("", "x" * (1024 * 1024 + 1)):
            with pytest.raises(SqsError):
                queue.send([body])

    def test_too_many_in_flight_is_over_the_limit(
        self, monkeypatch: pytest.MonkeyPatch, client: Any, url: str, queue: Queue
    ) -> None:
        """SQS then wants deletes first."""
        monkeypatch.setattr("flytelineage.testing.sqs.MAX_IN_FLIGHT", 1)
        queue.send(["one", "two"])
        receive(client, url, MaxNumberOfMessages=1)

        with pytest.raises(client.exceptions.OverLimit):
            receive(client, url)

    def test_expired_credentials_are_refused(self, sqs: SqsDouble, client: Any, url: str) -> None:
        """By the access key; calls are counted by it too."""
        receive(client, url)
        sqs.expire("double")

        with pytest.raises(ClientError, match="ExpiredToken"):
            receive(client, url)

        assert sqs.keys == {"double": 2}


class TestFaults:
    def test_an_error_is_answered_as_often_as_the_script_says(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """`None` lets a call pass; after the script all is well; every call is counted."""
        queue.send(["one", "two"])
        error = Fault(code="RequestThrottled", status=400)
        sqs.script("ReceiveMessage", [error, None, error])

        outcomes = []
        for _ in range(4):
            try:
                outcomes.append(len(receive(client, url, MaxNumberOfMessages=1)))
            except client.exceptions.RequestThrottled:
                outcomes.append(-1)

        assert outcomes == [-1, 1, -1, 1]
        assert sqs.calls["ReceiveMessage"] == 4

    def test_an_answer_can_be_lost(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """What was asked for is done all the same."""
        queue.send(["one"])
        (message,) = receive(client, url)
        sqs.script("DeleteMessage", [Fault(drop=True)])

        with pytest.raises(ConnectionClosedError):
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

        assert queue.deleted == 1

    def test_a_part_of_a_batch_can_fail(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """The others are done."""
        queue.send(["one", "two", "three"])
        entries = [
            {"Id": one["Body"], "ReceiptHandle": one["ReceiptHandle"]}
            for one in receive(client, url)
        ]
        sqs.script("DeleteMessageBatch", [Fault(fail_entries=(0, 2))])

        answer = client.delete_message_batch(QueueUrl=url, Entries=entries)

        assert [one["Id"] for one in answer["Successful"]] == ["two"]
        assert [one["Id"] for one in answer["Failed"]] == ["one", "three"]
        assert queue.bodies == ["one", "three"]

    def test_messages_can_come_twice(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """A standard queue may hand out what another receiver holds."""
        queue.send(["one"])
        sqs.script("ReceiveMessage", [Fault(duplicate=True)])

        bodies = [one["Body"] for _ in range(3) for one in receive(client, url)]

        assert bodies == ["one", "one"]

    def test_messages_can_come_in_any_order(
        self, sqs: SqsDouble, client: Any, url: str, queue: Queue
    ) -> None:
        """None is lost, and the same seed gives the same order."""
        sent = [str(number) for number in range(30)]
        queue.send(sent)
        sqs.script("ReceiveMessage", repeat(Fault(shuffle=True)))

        received = [one["Body"] for _ in range(3) for one in receive(client, url)]

        assert received != sent
        assert sorted(received) == sorted(sent)

    def test_an_answer_can_be_late(self, sqs: SqsDouble, client: Any, url: str) -> None:
        """The delay is real time, which time-outs of clients need."""
        sqs.script("ReceiveMessage", [Fault(delay_seconds=0.02)])
        began = time.monotonic()

        receive(client, url)

        assert time.monotonic() - began >= 0.02


def test_a_clock_may_stand_still() -> None:
    """Then only `advance` makes time pass."""
    with SqsDouble(clock=lambda: 1_700_000_000.0) as sqs:
        queue = sqs.create_queue("events", {"VisibilityTimeout": "5"})
        queue.send(["one"])
        queue.receive(1)

        sqs.advance(4.999)
        hidden = queue.visible
        sqs.advance(0.001)

        assert (hidden, queue.visible) == (0, 1)


def test_attributes_are_told(client: Any, url: str, queue: Queue) -> None:
    """Those that were asked for, with the counts as they are."""
    queue.send(["one", "two"])
    receive(client, url, MaxNumberOfMessages=1)

    some = client.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    all_of_them = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]

    assert some["Attributes"] == {"VisibilityTimeout": "30"}
    assert all_of_them["QueueArn"] == "arn:aws:sqs:us-east-1:000000000000:events"
    assert all_of_them["ApproximateNumberOfMessages"] == "1"
    assert all_of_them["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_threads_that_drain_a_queue_share_it(client: Any, url: str, queue: Queue) -> None:
    """Each message is handed out once, whoever asks."""
    queue.send(str(number) for number in range(500))

    def drain(_: int) -> list[str]:
        bodies = []
        while messages := receive(client, url):
            bodies += [one["Body"] for one in messages]
            client.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": one["MessageId"], "ReceiptHandle": one["ReceiptHandle"]}
                    for one in messages
                ],
            )
        return bodies

    with ThreadPoolExecutor() as pool:
        received = [body for bodies in pool.map(drain, range(4)) for body in bodies]

    assert sorted(map(int, received)) == list(range(500))
    assert (queue.deleted, queue.bodies) == (500, [])


@pytest.mark.processes
def test_it_runs_as_a_process_of_its_own() -> None:
    """It prints its URL, serves, and ends cleanly when told to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flytelineage.testing.sqs", "--queue", "events"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with process:
        url = process.stdout.readline().strip()
        client = connect(url)
        queue_url = client.get_queue_url(QueueName="events")["QueueUrl"]
        client.send_message(QueueUrl=queue_url, MessageBody="one")

        messages = receive(client, queue_url)
        process.send_signal(signal.SIGTERM)
        client.close()

    assert [one["Body"] for one in messages] == ["one"]
    assert process.returncode == 0


def test_an_operation_it_does_not_know_is_refused(client: Any) -> None:
    """Rather than answered wrongly."""
    with pytest.raises(ClientError, match="ListQueues"):
        client.list_queues()
