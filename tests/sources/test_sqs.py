"""The SQS source against a real boto3: deletes, faults, and errors that help."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.retries.standard import ExponentialBackoff
from traitlets import TraitError
from traitlets.config import Config

from flytelineage.errors import ConfigError, FlyteLineageError, SourceError
from flytelineage.sources import Backlog
from flytelineage.sources.aws import RETENTION, QueuePlace, explain, locate
from flytelineage.sources.sqs import SqsSource
from flytelineage.testing.sqs import Fault, Queue, SqsDouble


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 tries again at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture
def source(queue: Queue) -> Any:
    source = SqsSource(queue="events", wait_seconds=0)
    yield source
    source.close()


def failure(source: SqsSource, call: str = "receive") -> FlyteLineageError:
    """What a call raises; one line, whatever it is."""
    with pytest.raises(FlyteLineageError) as caught:
        getattr(source, call)()
    assert "\n" not in str(caught.value)
    source.close()
    return caught.value


class TestPlaces:
    @pytest.mark.parametrize(
        ("queue", "place"),
        [
            ("events", QueuePlace("events", "eu-west-1")),
            ("events.fifo", QueuePlace("events.fifo", "eu-west-1")),
        ],
    )
    def test_a_name_is_looked_up_in_the_configured_region(
        self, queue: str, place: QueuePlace
    ) -> None:
        """Its account is that of the credentials, which only AWS knows."""
        assert locate(queue, "eu-west-1") == place

    @pytest.mark.parametrize(
        ("host", "region"),
        [
            ("sqs.us-west-2.amazonaws.com", "us-west-2"),
            ("us-west-2.queue.amazonaws.com", "us-west-2"),
            ("queue.amazonaws.com", "us-east-1"),
            ("sqs.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ],
    )
    def test_a_url_of_aws_says_the_region(self, host: str, region: str) -> None:
        """It comes before the configured one, in which the queue is unknown."""
        place = locate(f"https://{host}/123456789012/events", "eu-west-1")

        assert (place.region, place.endpoint, place.account) == (region, None, "123456789012")

    @pytest.mark.parametrize(
        ("host", "region"),
        [
            ("vpce-0a1-b2c.sqs.us-west-2.vpce.amazonaws.com", "us-west-2"),
            ("sqs-fips.us-east-2.amazonaws.com", "us-east-2"),
            ("sqs.ap-south-1.localhost.localstack.cloud:4566", "ap-south-1"),
            ("127.0.0.1:9324", "eu-west-1"),
            ("my-sqs-proxy-1.example", "eu-west-1"),
        ],
    )
    def test_any_other_host_is_asked_itself(self, host: str, region: str) -> None:
        """A private endpoint or an imitation; the region only if the host says it."""
        place = locate(f"https://{host}/123456789012/events", "eu-west-1")

        assert (place.region, place.endpoint) == (region, f"https://{host}")

    @pytest.mark.parametrize(
        ("region", "arn"),
        [
            ("eu-west-1", "arn:aws:sqs:eu-west-1:*:events"),
            ("cn-north-1", "arn:aws-cn:sqs:cn-north-1:*:events"),
            ("us-gov-west-1", "arn:aws-us-gov:sqs:us-gov-west-1:*:events"),
        ],
    )
    def test_policies_name_a_queue_by_arn(self, region: str, arn: str) -> None:
        """In the partition of the region."""
        assert locate("events", region).arn == arn

    @pytest.mark.parametrize(
        "queue",
        [
            "arn:aws:sqs:us-east-1:1:events",
            "two words",
            "https://",
            "https://host/events",
            "a" * 81,
        ],
    )
    def test_what_is_neither_name_nor_url_is_refused(self, queue: str) -> None:
        """At once, and with the trait's name."""
        with pytest.raises(TraitError, match=r"SqsSource\.queue"):
            SqsSource(config=Config(SqsSource={"queue": queue}))

    def test_a_queue_may_be_named_by_its_url(self, sqs: SqsDouble, queue: Queue) -> None:
        """Then nobody has to be asked for it."""
        queue.send(["one"])
        source = SqsSource(queue=sqs.queue_url("events"), wait_seconds=0)

        messages = source.receive()

        assert [one.body for one in messages] == ["one"]
        assert sqs.calls["GetQueueUrl"] == 0
        source.close()

    def test_without_an_endpoint_the_urls_host_is_asked(
        self, sqs: SqsDouble, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A URL says where the queue is."""
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        queue.send(["one"])
        source = SqsSource(queue=sqs.queue_url("events"), wait_seconds=0)

        assert len(source.receive()) == 1

        source.close()

    def test_the_environments_endpoint_comes_first(self, sqs: SqsDouble, queue: Queue) -> None:
        """In containers a queue's URL names a host that only the outside can reach."""
        queue.send(["one"])
        source = SqsSource(queue="http://127.0.0.1:9/000000000000/events", wait_seconds=0)

        assert len(source.receive()) == 1

        source.close()

    def test_the_source_says_name_and_region(self) -> None:
        """Those that are in effect."""
        source = SqsSource(queue="https://sqs.us-west-2.amazonaws.com/123456789012/events")

        assert source.describe() == "SQS queue events in us-west-2"


class TestReceiving:
    def test_a_message_says_when_it_was_sent(self, source: SqsSource, queue: Queue) -> None:
        """With a zone, and how often it was handed out."""
        (sent,) = queue.send(["one"])

        (message,) = source.receive()

        assert message.id == sent
        assert message.receive_count == 1
        assert message.sent_at is not None
        assert abs((datetime.now(timezone.utc) - message.sent_at).total_seconds()) < 60

    def test_a_batch_has_the_size_that_was_set(self, source: SqsSource, queue: Queue) -> None:
        """Ten at most, as SQS allows."""
        queue.send(map(str, range(25)))
        full = len(source.receive())

        source.batch_size = 3
        small = len(source.receive())

        assert (full, small) == (10, 3)

    @pytest.mark.parametrize(("visibility", "back"), [(None, 1), (0, 1), (100, 0)])
    def test_messages_are_hidden_as_long_as_was_set(
        self,
        sqs: SqsDouble,
        source: SqsSource,
        queue: Queue,
        visibility: int | None,
        back: int,
    ) -> None:
        """As long as the queue says, unless told otherwise."""
        source.visibility_timeout = visibility
        queue.send(["one"])
        source.receive()

        sqs.advance(31)

        assert len(source.receive()) == back

    def test_it_waits_for_messages(self, sqs: SqsDouble, source: SqsSource, queue: Queue) -> None:
        """With one request that lasts until something comes."""
        source.wait_seconds = 20

        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(source.receive)
            queue.send(["one"])
            messages = waiting.result(10)

        assert [one.body for one in messages] == ["one"]
        assert sqs.calls["ReceiveMessage"] == 1

    def test_pollers_share_one_client(self, sqs: SqsDouble, source: SqsSource) -> None:
        """Made once, and the queue is looked up once."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: source.receive(), range(16)))

        assert sqs.calls == {"GetQueueUrl": 1, "ReceiveMessage": 16}

    def test_it_can_be_used_after_it_was_closed(self, source: SqsSource, queue: Queue) -> None:
        """A late poller does no harm."""
        queue.send(["one"])
        source.close()

        assert len(source.receive()) == 1


class TestDeleting:
    def test_what_failed_is_tried_again(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """Only that: ids 3 and 7 fail, then one of the two."""
        queue.send(map(str, range(10)))
        messages = source.receive()
        sqs.script("DeleteMessageBatch", [Fault(fail_entries=(3, 7)), Fault(fail_entries=(1,))])

        source.delete(messages)

        assert (queue.deleted, queue.bodies) == (10, [])
        assert sqs.calls["DeleteMessageBatch"] == 3

    def test_what_keeps_failing_comes_again(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """After three more tries the error says how many."""
        queue.send(map(str, range(10)))
        messages = source.receive()
        sqs.script(
            "DeleteMessageBatch",
            [Fault(fail_entries=(3, 7)), *repeat(Fault(fail_entries=(0, 1)), 3)],
        )

        with pytest.raises(SourceError, match="2 of 10 messages"):
            source.delete(messages)

        assert sqs.calls["DeleteMessageBatch"] == 4
        sqs.advance(31)
        assert [one.body for one in source.receive()] == ["3", "7"]

    def test_an_answer_that_is_lost_is_asked_for_again(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """Deleting twice changes nothing."""
        queue.send(["one"])
        messages = source.receive()
        sqs.script("DeleteMessageBatch", [Fault(drop=True)])

        source.delete(messages)

        assert (queue.deleted, queue.bodies) == (1, [])

    def test_many_are_deleted_by_tens(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """Whatever the caller hands in at once."""
        queue.send(map(str, range(25)))
        messages = [*source.receive(), *source.receive(), *source.receive()]

        source.delete(messages)

        assert queue.deleted == 25
        assert sqs.calls["DeleteMessageBatch"] == 3

    def test_threads_share_requests(self, sqs: SqsDouble, source: SqsSource, queue: Queue) -> None:
        """Who comes while a request is under way is in the next one."""
        queue.send(map(str, range(20)))
        messages = [*source.receive(), *source.receive()]
        sqs.latency = 0.02

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda one: source.delete([one]), messages))

        assert queue.deleted == 20
        assert sqs.calls["DeleteMessageBatch"] < 20


class TestHiding:
    def test_what_is_in_hand_can_be_kept_for_longer(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """From now on, whatever the queue says; the right to delete stays."""
        queue.send(map(str, range(25)))
        messages = [*source.receive(), *source.receive(), *source.receive()]
        sqs.advance(29)

        source.hide(messages, 59.5)

        sqs.advance(59)
        assert list(source.receive()) == []
        source.delete(messages)
        assert (queue.deleted, queue.bodies) == (25, [])
        assert sqs.calls["ChangeMessageVisibilityBatch"] == 3

    def test_what_is_given_back_comes_at_once(self, source: SqsSource, queue: Queue) -> None:
        """To anybody, and it counts as one more receive."""
        queue.send(["one", "two"])
        messages = source.receive()

        source.hide(messages, 0)

        assert [one.receive_count for one in source.receive()] == [2, 2]

    def test_what_is_gone_needs_no_hiding(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """Deleted, lapsed, or of a queue that was made anew: nothing went wrong."""
        queue.send(["deleted", "lapsed"])
        messages = source.receive()
        source.delete(messages[:1])
        sqs.advance(31)

        source.hide([*messages, replace(messages[0], handle="of another queue")], 60)

        assert [one.body for one in source.receive()] == ["lapsed"]

    def test_what_may_come_earlier_is_told(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """How many; the others stay hidden."""
        queue.send(["one", "two"])
        messages = source.receive()
        sqs.script("ChangeMessageVisibilityBatch", [Fault(fail_entries=(1,))])

        with pytest.raises(SourceError, match="1 of 2 messages"):
            source.hide(messages, 60)

        sqs.advance(31)
        assert [one.body for one in source.receive()] == ["two"]

    def test_no_more_is_asked_for_than_is_allowed(self, source: SqsSource, queue: Queue) -> None:
        """Twelve hours; more would be refused, and the message be back at once."""
        queue.send(["one"])
        messages = source.receive()

        source.hide(messages, 1e9)

        assert queue.in_flight == 1

    def test_nothing_takes_no_request(self, sqs: SqsDouble, source: SqsSource) -> None:
        """Whoever keeps messages hidden need not look whether there are any."""
        source.hide([], 60)

        assert not sqs.calls

    @pytest.mark.parametrize(
        ("own", "asked", "seconds"),
        [(None, False, 30), (None, True, 45), (0, True, 45), (7, True, 7)],
    )
    def test_it_says_for_how_long_messages_are_hidden(
        self, sqs: SqsDouble, own: int | None, asked: bool, seconds: float
    ) -> None:
        """As set, else as the queue said; before it was asked, as queues usually do."""
        sqs.create_queue("slow", {"VisibilityTimeout": "45"})
        source = SqsSource(queue="slow", visibility_timeout=own)

        if asked:
            source.backlog()

        assert source.visibility_seconds == seconds
        source.close()

    def test_the_right_to_hide_is_named(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """As policies name it."""
        queue.send(["one"])
        messages = source.receive()
        sqs.script("ChangeMessageVisibilityBatch", repeat(Fault(code="AccessDenied", status=403)))

        with pytest.raises(ConfigError, match=r"allow sqs:ChangeMessageVisibility on arn"):
            source.hide(messages, 60)


class TestBacklog:
    def test_it_counts_what_waits_and_what_is_out(self, source: SqsSource, queue: Queue) -> None:
        """What was deleted is neither."""
        queue.send(map(str, range(30)))
        source.delete(source.receive())
        source.receive()

        assert source.backlog() == Backlog(visible=10, in_flight=10)


PASSING = [
    ("RequestThrottled", 400),
    ("ThrottlingException", 400),
    ("KmsThrottled", 400),
    ("OverLimit", 403),
    ("QueueDeletedRecently", 400),
    ("RequestTimeTooSkewed", 403),
    ("InternalError", 500),
    ("ServiceUnavailable", 503),
    ("SomethingNew", 429),
]

LASTING = [
    ("QueueDoesNotExist", 400, "no queue events in us-east-1.*FlyteLineage.sqs_queue"),
    ("AccessDenied", 403, r"allow sqs:ReceiveMessage on arn:aws:sqs:us-east-1:\*:events"),
    ("AccessDeniedException", 400, "allow sqs:ReceiveMessage"),
    ("KmsAccessDenied", 400, "allow kms:Decrypt"),
    ("KmsDisabled", 400, "KMS key .* cannot be used"),
    ("KmsInvalidState", 400, "KMS key .* cannot be used"),
    ("KmsNotFound", 400, "KMS key .* cannot be used"),
    ("KmsOptInRequired", 403, "KMS key .* cannot be used"),
    ("KmsInvalidKeyUsage", 400, "KMS key .* cannot be used"),
    ("InvalidClientTokenId", 403, "does not know the credentials"),
    ("UnrecognizedClientException", 400, "does not know the credentials"),
    ("SignatureDoesNotMatch", 403, "does not know the credentials"),
    ("ExpiredToken", 403, "credentials are expired"),
    ("ExpiredTokenException", 400, "credentials are expired"),
    ("InvalidAddress", 404, "sqs:ReceiveMessage does not work .InvalidAddress"),
    ("SomethingNew", 400, "sqs:ReceiveMessage does not work .SomethingNew"),
]


class TestErrorsOfAws:
    @pytest.mark.parametrize(("code", "status"), PASSING)
    def test_what_passes_by_itself_is_tried_later(
        self, sqs: SqsDouble, source: SqsSource, code: str, status: int
    ) -> None:
        """Throttling, limits and errors of the server."""
        sqs.script("ReceiveMessage", repeat(Fault(code=code, status=status)))

        error = failure(source)

        assert isinstance(error, SourceError)
        assert code.removesuffix("Exception") in str(error)
        assert sqs.calls["ReceiveMessage"] <= 3

    @pytest.mark.parametrize(("code", "status", "advice"), LASTING)
    def test_what_lasts_says_what_to_do(
        self, sqs: SqsDouble, source: SqsSource, code: str, status: int, advice: str
    ) -> None:
        """In one line: what is wrong, what to grant, what to set."""
        sqs.script("ReceiveMessage", repeat(Fault(code=code, status=status)))

        with pytest.raises(ConfigError, match=advice):
            source.receive()

    @pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied", "QueueDoesNotExist"])
    def test_what_worked_once_can_work_again(
        self, sqs: SqsDouble, source: SqsSource, code: str
    ) -> None:
        """So a daemon that runs waits for somebody to repair it."""
        source.receive()
        sqs.script("ReceiveMessage", repeat(Fault(code=code, status=403)))

        assert isinstance(failure(source), SourceError)

    @pytest.mark.parametrize(
        ("operation", "call", "action"),
        [
            ("GetQueueUrl", "receive", "sqs:GetQueueUrl"),
            ("GetQueueUrl", "check", "sqs:GetQueueUrl"),
            ("GetQueueAttributes", "check", "sqs:GetQueueAttributes"),
        ],
    )
    def test_a_right_that_is_missing_is_named(
        self, sqs: SqsDouble, source: SqsSource, operation: str, call: str, action: str
    ) -> None:
        """Each call needs one of its own."""
        sqs.script(operation, repeat(Fault(code="AccessDenied", status=403)))

        error = failure(source, call)

        assert isinstance(error, ConfigError)
        assert f"allow {action} on arn:aws:sqs:us-east-1:*:events" in str(error)

    def test_the_right_to_delete_is_named_as_policies_name_it(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """There is no right to delete in batches."""
        queue.send(["one"])
        messages = source.receive()
        sqs.script("DeleteMessageBatch", repeat(Fault(code="AccessDenied", status=403)))

        with pytest.raises(ConfigError, match=r"allow sqs:DeleteMessage on arn"):
            source.delete(messages)


class TestErrorsOnTheWay:
    @pytest.mark.parametrize("missing", [("ACCESS", "SECRET"), ("SECRET",)])
    def test_without_credentials_it_says_where_they_may_come_from(
        self, source: SqsSource, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
    ) -> None:
        """None at all, or a half of them."""
        names = {"ACCESS": "AWS_ACCESS_KEY_ID", "SECRET": "AWS_SECRET_ACCESS_KEY"}
        for name in missing:
            monkeypatch.delenv(names[name])

        error = failure(source)

        assert isinstance(error, ConfigError)
        assert "no usable AWS credentials" in str(error)

    def test_a_profile_that_is_missing_is_named(
        self, source: SqsSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """boto3 finds that out before it asks anybody."""
        monkeypatch.setenv("AWS_PROFILE", "nobody")

        error = failure(source)

        assert isinstance(error, ConfigError)
        assert "nobody" in str(error)

    @pytest.mark.parametrize("endpoint", ["127.0.0.1", "http://", "nonsense://x y"])
    def test_an_endpoint_that_is_none_is_the_operators_fault(
        self, source: SqsSource, monkeypatch: pytest.MonkeyPatch, endpoint: str
    ) -> None:
        """Its variable is named."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

        error = failure(source)

        assert isinstance(error, ConfigError)
        assert "AWS_ENDPOINT_URL" in str(error)

    def test_a_region_that_is_none_is_the_operators_fault(self, sqs: SqsDouble) -> None:
        """Its option is named."""
        source = SqsSource(queue="events", region="not a region")

        error = failure(source)

        assert isinstance(error, ConfigError)
        assert "FlyteLineage.aws_region" in str(error)

    def test_a_configuration_of_boto3_that_is_broken_is_the_operators_fault(
        self, source: SqsSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The file is named."""
        broken = tmp_path / "config"
        broken.write_text("[default\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(broken))

        error = failure(source)

        assert isinstance(error, ConfigError)
        assert str(broken) in str(error)

    def test_an_endpoint_that_does_not_answer_is_tried_later(
        self, source: SqsSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The network may come back."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

        error = failure(source)

        assert isinstance(error, SourceError)
        assert "127.0.0.1:9" in str(error)

    def test_a_connection_that_breaks_is_tried_later(
        self, sqs: SqsDouble, source: SqsSource
    ) -> None:
        """After boto3 tried again by itself."""
        sqs.script("ReceiveMessage", repeat(Fault(drop=True)))

        assert isinstance(failure(source), SourceError)

    def test_a_late_answer_is_tried_later(self, sqs: SqsDouble, source: SqsSource) -> None:
        """No poller hangs for ever."""
        source.read_timeout = 0.1
        sqs.script("ReceiveMessage", repeat(Fault(delay_seconds=0.2)))

        assert isinstance(failure(source), SourceError)

    def test_a_mistyped_region_gets_a_hint(self) -> None:
        """Its host does not exist, so the network is not to blame."""
        exc = EndpointConnectionError(endpoint_url="https://sqs.us-esat-1.amazonaws.com/")

        found = explain(exc, "GetQueueUrl", locate("events", "us-esat-1"))

        assert found.lasting
        assert "did you mean us-west-1 or us-east-1" in found.text

    @pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1"])
    def test_a_known_region_that_is_out_of_reach_is_tried_later(self, region: str) -> None:
        """In every partition."""
        exc = EndpointConnectionError(endpoint_url=f"https://sqs.{region}.amazonaws.com/")

        assert not explain(exc, "GetQueueUrl", locate("events", region)).lasting


def redrive(sqs: SqsDouble, receives: int = 5, *, kept_days: float) -> dict[str, str]:
    """The attribute of a queue with a dead-letter queue."""
    dead = sqs.create_queue("dead", {RETENTION: str(int(kept_days * 86_400))})
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": receives}
    return {"RedrivePolicy": json.dumps(policy)}


class TestChecking:
    @pytest.mark.parametrize(
        ("attributes", "options", "warning"),
        [
            ({}, {}, "no RedrivePolicy"),
            ({"RedrivePolicy": 4}, {}, "maxReceiveCount is 4"),
            ({"RedrivePolicy": 5}, {}, None),
            ({"RedrivePolicy": 5, "VisibilityTimeout": "29"}, {}, "hidden for 29 s only"),
            ({"RedrivePolicy": 5}, {"visibility_timeout": 10}, "hidden for 10 s only"),
            ({"RedrivePolicy": 5, "VisibilityTimeout": "5"}, {"visibility_timeout": 30}, None),
            ({"RedrivePolicy": 5, "KmsMasterKeyId": "alias/k"}, {}, "KMS key alias/k"),
            ({"RedrivePolicy": 5, RETENTION: "345599"}, {}, "keeps messages for 4 days only"),
            ({"RedrivePolicy": 5, RETENTION: "7200"}, {}, "keeps messages for 2 hours only"),
            ({"RedrivePolicy": 5, RETENTION: "1209600"}, {}, None),
        ],
    )
    def test_it_warns_of_what_will_make_trouble(
        self,
        sqs: SqsDouble,
        caplog: pytest.LogCaptureFixture,
        attributes: dict[str, Any],
        options: dict[str, Any],
        warning: str | None,
    ) -> None:
        """One warning each, and none for a queue that is sound."""
        if receives := attributes.get("RedrivePolicy"):
            attributes = {**attributes, **redrive(sqs, receives, kept_days=14)}
        sqs.create_queue("live", attributes)
        source = SqsSource(queue="live", log=logging.getLogger("test"), **options)

        source.check()

        warnings = [record.getMessage() for record in caplog.records]
        assert len(warnings) == (warning is not None)
        assert warning is None or warning in warnings[0]
        source.close()

    @pytest.mark.parametrize(
        ("own_days", "dead_days", "warned"),
        [(7, 7, True), (7, 4, True), (7, 8, False), (14, 14, False), (14, 13, True)],
    )
    def test_dead_letters_must_be_kept_for_longer_than_messages(
        self,
        sqs: SqsDouble,
        caplog: pytest.LogCaptureFixture,
        own_days: int,
        dead_days: int,
        warned: bool,
    ) -> None:
        """Their time counts from when they were sent; more than SQS allows is not asked for."""
        attributes = {RETENTION: str(own_days * 86_400), **redrive(sqs, kept_days=dead_days)}
        sqs.create_queue("live", attributes)
        source = SqsSource(queue="live", log=logging.getLogger("test"))

        source.check()

        assert ("gone before anybody sees them" in caplog.text) == warned
        source.close()

    def test_dead_letters_that_may_not_be_seen_are_no_reason_to_warn(
        self, sqs: SqsDouble, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The least rights are enough to run; a note says what would be needed to know."""
        sqs.create_queue("live", redrive(sqs, kept_days=1))
        sqs.script("GetQueueAttributes", [None, Fault(code="AccessDenied", status=403)])
        caplog.set_level(logging.INFO, "test")
        source = SqsSource(queue="live", log=logging.getLogger("test"))

        source.check()

        (note,) = caplog.records
        assert note.levelno == logging.INFO
        assert "allow sqs:GetQueueAttributes on arn:aws:sqs:us-east-1:*:dead" in note.getMessage()
        source.close()
