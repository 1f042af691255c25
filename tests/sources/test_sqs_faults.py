"""The SQS source over hours and days: what expires, disappears, breaks, and comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import repeat
from pathlib import Path

import pytest
from botocore.retries.standard import ExponentialBackoff
from botocore.utils import ContainerMetadataFetcher

from flytelineage.errors import ConfigError, FlyteLineageError, SourceError
from flytelineage.pace import Pace
from flytelineage.sources.sqs import SqsSource
from flytelineage.testing.credentials import CredentialsDouble
from flytelineage.testing.http import Fault as HttpFault
from flytelineage.testing.sqs import Fault, Queue, SqsDouble


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 tries again at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)


@pytest.fixture
def source(queue: Queue) -> Iterator[SqsSource]:
    source = SqsSource(queue="events", wait_seconds=0)
    yield source
    source.close()


class TestCredentials:
    @pytest.fixture
    def issuer(
        self, sqs: SqsDouble, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[CredentialsDouble]:
        """Where the process gets its credentials, as a container does."""
        with CredentialsDouble() as double:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.delenv(name)
            for name, value in double.environment.items():
                monkeypatch.setenv(name, value)
            yield double

    def test_credentials_are_renewed_before_they_expire(
        self, sqs: SqsDouble, issuer: CredentialsDouble, source: SqsSource
    ) -> None:
        """Nothing fails meanwhile, and what lasts for hours is not asked for again."""
        issuer.lifetime = timedelta(minutes=5)
        source.receive()
        issuer.lifetime = timedelta(hours=6)
        before = issuer.issued

        for _ in range(3):
            source.receive()

        assert issuer.issued == before + 1
        assert sqs.keys[f"key-{issuer.issued}"] == 3

    def test_what_was_refused_as_expired_is_renewed(
        self, sqs: SqsDouble, issuer: CredentialsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """Whatever they say of themselves: clocks differ, and sessions are revoked."""
        queue.send(["one"])
        source.check()
        sqs.expire("key-1")

        with pytest.raises(SourceError, match="credentials are expired"):
            source.receive()
        messages = source.receive()

        assert [one.body for one in messages] == ["one"]
        assert sqs.keys["key-2"] == 1

    def test_pollers_renew_them_once(
        self, sqs: SqsDouble, issuer: CredentialsDouble, source: SqsSource
    ) -> None:
        """Whoever comes late finds them renewed."""
        source.receive()
        sqs.expire("key-1")

        def poll() -> None:
            with suppress(SourceError):
                source.receive()

        with ThreadPoolExecutor(8) as pool:
            for _ in range(16):
                pool.submit(poll)
        source.receive()

        assert issuer.issued == 2

    def test_a_file_of_credentials_is_read_again(
        self,
        sqs: SqsDouble,
        source: SqsSource,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        """Somebody renews it beside us; boto3 alone would not notice."""
        file = tmp_path / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        entry = "[default]\naws_access_key_id = {}\naws_secret_access_key = double\n"
        file.write_text(entry.format("old"))
        source.receive()
        sqs.expire("old")
        with pytest.raises(SourceError):
            source.receive()

        file.write_text(entry.format("new"))
        with suppress(SourceError):
            source.receive()

        source.receive()
        assert sqs.keys["new"] >= 1

    @pytest.mark.parametrize("call", ["delete", "hide", "backlog"])
    def test_credentials_that_worked_may_expire_at_any_call(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue, call: str
    ) -> None:
        """Also at one that is made for the first time: nothing is wrong with it."""
        queue.send(["one"])
        messages = source.receive()
        sqs.expire("double")
        calls: dict[str, Callable[[], object]] = {
            "delete": lambda: source.delete(messages),
            "hide": lambda: source.hide(messages, 60),
            "backlog": source.backlog,
        }

        with pytest.raises(SourceError, match="credentials are expired"):
            calls[call]()

    def test_an_outage_of_who_issues_them_passes(
        self, sqs: SqsDouble, issuer: CredentialsDouble, source: SqsSource
    ) -> None:
        """It is waited for, and asked again."""
        source.receive()
        sqs.expire("key-1")
        issuer.break_down(HttpFault(status=500))
        for _ in range(2):
            with pytest.raises(SourceError):
                source.receive()

        issuer.mend()

        assert list(source.receive()) == []

    def test_without_any_at_start_the_operator_is_told(
        self, issuer: CredentialsDouble, source: SqsSource
    ) -> None:
        """Nothing worked yet, so it is most likely the configuration."""
        issuer.break_down(HttpFault(status=403))

        with pytest.raises(ConfigError, match="credentials"):
            source.receive()


class TestQueues:
    def test_a_queue_that_was_made_anew_is_used_as_before(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """Its predecessor's messages are gone; the daemon runs on."""
        queue.send(["lost"])
        source.receive()
        sqs.delete_queue("events")
        with pytest.raises(SourceError, match="no queue events"):
            source.receive()

        sqs.create_queue("events").send(["new"])

        assert [one.body for one in source.receive()] == ["new"]

    def test_a_poll_ends_with_its_queue(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """Nobody waits at a queue that is gone."""
        source.receive()
        source.wait_seconds = 20

        with ThreadPoolExecutor() as pool:
            polling = pool.submit(source.receive)
            sqs.delete_queue("events")
            failure = polling.exception(10)

        assert isinstance(failure, SourceError)

    @pytest.mark.parametrize("call", ["delete", "hide", "backlog"])
    def test_a_queue_that_was_there_may_come_back(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue, call: str
    ) -> None:
        """Whichever call meets it missing first."""
        queue.send(["one"])
        messages = source.receive()
        sqs.delete_queue("events")
        calls: dict[str, Callable[[], object]] = {
            "delete": lambda: source.delete(messages),
            "hide": lambda: source.hide(messages, 60),
            "backlog": source.backlog,
        }

        with pytest.raises(SourceError, match="no queue events"):
            calls[call]()

    def test_dead_letters_come_back_as_new_messages(self, sqs: SqsDouble, queue: Queue) -> None:
        """With another id, never received: only the body says that it is the same."""
        dead = sqs.create_queue("dead")
        policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 1}
        live = sqs.create_queue("live", {"RedrivePolicy": json.dumps(policy)})
        source = SqsSource(queue="live", wait_seconds=0)
        live.send(["one"])
        (first,) = source.receive()
        sqs.advance(31)
        assert list(source.receive()) == []

        dead.redrive(live)
        (again,) = source.receive()

        assert (again.body, again.receive_count) == ("one", 1)
        assert again.id != first.id
        assert again.sent_at == first.sent_at
        source.close()


class TestConnections:
    def test_what_was_handed_to_a_dead_connection_comes_again(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """SQS cannot know that nobody heard it; only time shows it."""
        queue.send(["one"])
        sqs.script("ReceiveMessage", [Fault(drop=True)])

        lost = list(source.receive())
        sqs.advance(31)
        (again,) = source.receive()

        assert lost == []
        assert (again.body, again.receive_count) == ("one", 2)

    def test_an_outage_in_the_middle_of_a_poll_passes(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue
    ) -> None:
        """The poll fails, and the next one finds the queue again."""
        queue.send(["one"])
        sqs.script("ReceiveMessage", repeat(Fault(drop=True), 3))
        with pytest.raises(SourceError):
            source.receive()

        sqs.advance(31)

        assert len(source.receive()) == 1


ERRORS = [
    ("RequestThrottled", 400),
    ("KmsThrottled", 400),
    ("OverLimit", 403),
    ("InternalError", 500),
    ("ServiceUnavailable", 503),
    ("ExpiredToken", 403),
    ("InvalidClientTokenId", 403),
    ("QueueDoesNotExist", 400),
    ("AccessDenied", 403),
    ("KmsDisabled", 400),
]


@pytest.mark.parametrize(("code", "status"), ERRORS)
class TestCallsUnderErrors:
    def test_a_use_asks_three_times_at_most(
        self, sqs: SqsDouble, source: SqsSource, queue: Queue, code: str, status: int
    ) -> None:
        """Whatever is asked for: all further patience is the daemon's."""
        queue.send(["one"])
        messages = source.receive()
        operations = (
            "ReceiveMessage",
            "DeleteMessageBatch",
            "ChangeMessageVisibilityBatch",
            "GetQueueAttributes",
        )
        sqs.calls.clear()
        for operation in operations:
            sqs.script(operation, repeat(Fault(code=code, status=status)))

        uses: list[Callable[[], object]] = [
            source.receive,
            lambda: source.delete(messages),
            lambda: source.hide(messages, 60),
            source.backlog,
        ]
        for use in uses:
            with pytest.raises(FlyteLineageError):
                use()

        assert all(1 <= sqs.calls[operation] <= 3 for operation in operations)
        assert set(sqs.calls) == set(operations)

    def test_errors_that_stay_are_no_storm(
        self, sqs: SqsDouble, source: SqsSource, code: str, status: int
    ) -> None:
        """A poller that pauses as the daemon lets it asks no more than once a second."""
        source.receive()
        sqs.calls.clear()
        sqs.script("ReceiveMessage", repeat(Fault(code=code, status=status)))
        pace = Pace(first_seconds=1, longest_seconds=30)

        passed = 0.0
        for failures in range(1, 21):
            with pytest.raises(SourceError):
                source.receive()
            passed += pace.pause(failures)

        assert sqs.calls.total() <= passed
