"""The first loop: messages from the source into the store.

    1 receive   2 decode   3 record   4 delete

A message is deleted only after its event is committed. What is in hand is bounded in bytes,
and where commits take long it stays hidden from other receivers. Nothing is received while
the store does not answer, its disk is full, or the other loops are far behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone

from flytelineage.errors import (
    ConfigError,
    DecodeError,
    ForeignTopicError,
    SourceError,
    StoreError,
)
from flytelineage.events import Event, decode
from flytelineage.grouping import Grouped
from flytelineage.inhand import Batch, InHand
from flytelineage.metrics import Metrics
from flytelineage.report import Report
from flytelineage.scope import Scope
from flytelineage.sources import Message, Source
from flytelineage.store import Refused, Store
from flytelineage.suspects import lethal

SUSPECT_RECEIVES = 3
"""A message that was received more often may be what ends the process each time."""

SILENT_SECONDS = 300.0
"""A source that fails for so long may not come back by itself."""

SLOWED_SECONDS = 10.0
"""Between two receives of a thread while the other loops are far behind."""


class Intake:
    """Takes messages in; all methods may be called by several threads.

    Args:
        source: Where messages come from.
        store: Where events go.
        scope: Which projects and domains are stored.
        instance: Names the Flyte deployment.
        topics: ARNs of the topics that are trusted; empty trusts all.
        in_hand: Bounds what is received and not deleted yet.
        wait: Rests for so many seconds, but not beyond a stop.
        stopping: Whether a stop was asked for.
        report, metrics, log: Where it is told.
        reached: Called after each step with its name.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        *,
        scope: Scope,
        instance: str,
        topics: Collection[str],
        in_hand: InHand,
        wait: Callable[[float], None],
        stopping: Callable[[], bool],
        report: Report,
        metrics: Metrics,
        log: logging.Logger,
        reached: Callable[[str], None],
    ) -> None:
        self.far_behind = ""
        """Why messages are taken slowly; empty while they are not."""
        self.worked = False
        """Whether the source ever answered."""
        self._source = source
        self._store = store
        self._scope = scope
        self._instance = instance
        self._topics = topics
        self._in_hand = in_hand
        self._wait = wait
        self._stopping = stopping
        self._report = report
        self._metrics = metrics
        self._log = log
        self._reached = reached
        self._record = Grouped(self._record_group)
        self._paused: set[str] = set()
        self._pausing = threading.Lock()
        self._source_says = ""
        self._source_failed_at = 0.0  # since when it fails; 0 while it does not

    def run(self) -> bool:
        """Take in what one receive brings; whether there was anything."""
        self._require_store()
        batch = self._in_hand.enter(gives_up=self._stopping)
        if batch is None:
            return False
        try:
            messages = self._take_in(batch)
        finally:
            self._in_hand.leave(batch)
        if self.far_behind:
            self._wait(SLOWED_SECONDS)
        return bool(messages)

    def _take_in(self, batch: Batch) -> Sequence[Message]:
        """The four steps; what one receive brought."""
        messages = self._receive()  # 1
        self._in_hand.hold(batch, messages)
        self._reached("received")
        arrived = self._decoded(messages)  # 2
        self._reached("decoded")
        self._record(arrived)  # 3
        self._note_lag(messages)
        self._reached("recorded")
        if messages:
            self._delete(messages)  # 4
        self._reached("deleted")
        return messages

    @property
    def troubles(self) -> list[str]:
        """Why nothing is received, in words; empty while messages are received."""
        words = {"disk": "the disk is nearly full", "store": "the store does not answer"}
        failing = [words[reason] for reason in words if reason in self._paused]
        if self._source_failed_at and time.monotonic() - self._source_failed_at > SILENT_SECONDS:
            failing.append(f"the source has not answered since: {self._source_says}")
        return failing

    def keep_hidden(self) -> None:
        """Hide what is in hand for longer where it takes long to store it."""
        seconds = self._source.visibility_seconds
        if seconds and (old := self._in_hand.older_than(seconds / 2)):
            self._log.debug("Hiding %d messages that take long to store", len(old))
            self._hide(old, seconds)

    def give_back(self) -> None:
        """Let others receive at once what will not be stored here any more."""
        if left := self._in_hand.messages:
            self._log.info("Giving %d messages back that are not stored", len(left))
            self._hide(left, 0)

    # -------------------------------------------------------------------- the steps

    def _require_store(self) -> None:
        """What is received in vain comes nearer to the dead-letter queue each time.

        Raises:
            StoreError: It does not answer, or has no room.
        """
        with self._paused_while_failing("disk"):
            self._store.check_room()
        if "store" in self._paused:
            with self._paused_while_failing("store"):
                self._store.record([])

    @contextmanager
    def _paused_while_failing(self, reason: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            self._metrics.store_errors.inc()
            self._pause(reason, True)
            raise
        self._pause(reason, False)

    def _pause(self, reason: str, paused: bool) -> None:
        """Show whether nothing is received for this reason."""
        with self._pausing:  # one thread may see a failure while another sees its end
            if paused != (reason in self._paused):
                (self._paused.add if paused else self._paused.discard)(reason)
                self._metrics.intake_paused.labels(reason).set(paused)

    def _receive(self) -> Sequence[Message]:
        try:
            messages = self._source.receive()
        except (SourceError, ConfigError) as exc:
            self._metrics.source_errors.labels("receive").inc()
            self._source_says = str(exc)
            self._source_failed_at = self._source_failed_at or time.monotonic()
            raise
        self.worked = True
        self._source_failed_at = 0.0
        self._metrics.receives.inc()
        self._metrics.last_poll_timestamp_seconds.set_to_current_time()
        self._report.count("messages", len(messages))
        return messages

    def _decoded(self, messages: Sequence[Message]) -> list[Event | Refused]:
        """What they hold, without that of which the operator wants nothing."""
        deadly = self._lethal(messages)
        arrived: list[Event | Refused] = []
        for message in messages:
            if reason := deadly.get(message.handle):
                arrived.append(self._refuse(message, "lethal", reason))
            elif (one := self._decode(message)) is not None:
                arrived.append(one)
        kinds = Counter(one.kind for one in arrived if isinstance(one, Event))
        for kind, count in kinds.items():
            self._metrics.events_decoded.labels(kind).inc(count)
        return arrived

    def _lethal(self, messages: Sequence[Message]) -> dict[str, str]:
        """By handle why a message must not be decoded here, where that is so."""
        suspects = [one for one in messages if one.receive_count > SUSPECT_RECEIVES]
        if not suspects:
            return {}
        bodies = [one.body for one in suspects]
        reasons = lethal(bodies, instance=self._instance, topics=self._topics)
        return {one.handle: reason for one, reason in zip(suspects, reasons, strict=True) if reason}

    def _decode(self, message: Message) -> Event | Refused | None:
        """The event in a message; `None` when the operator wants nothing of it."""
        try:
            event = decode(
                message.body,
                received_at=datetime.now(timezone.utc),
                instance=self._instance,
                topics=self._topics,
            )
        except ForeignTopicError as exc:
            return self._refuse(message, "topic", str(exc))
        except DecodeError as exc:
            return self._refuse(message, "undecodable", str(exc))
        except Exception as exc:
            self._log.exception("Message %s broke the decoder: please report it", message.id)
            return self._refuse(message, "decoder", f"The decoder failed: {exc!r}")
        if not self._scope.stores(event.execution):
            self._report.count("ignored")
            return None
        return event

    def _refuse(self, message: Message, kind: str, reason: str) -> Refused:
        self._report.count("quarantined")
        self._metrics.messages_quarantined.labels(kind).inc()
        self._log.warning(
            "Quarantined message %s: %s",
            message.id,
            reason,
            extra={"action": "quarantine", "message_id": message.id},
        )
        return Refused(
            body=message.body,
            reason=reason,
            message_id=message.id,
            source=self._source.describe(),
        )

    def _record_group(self, arrived: Sequence[Event | Refused]) -> None:
        """Commit what several pollers brought in one transaction."""
        events = [one for one in arrived if isinstance(one, Event)]
        refused = [one for one in arrived if isinstance(one, Refused)]
        began, culprits = time.perf_counter(), self._store.culprits
        try:
            new = self._store.record(events, refused)
        except StoreError:
            self._metrics.store_errors.inc()
            self._pause("store", True)
            raise
        self._metrics.store_commit_seconds.observe(time.perf_counter() - began)
        self._metrics.store_commit_rows.observe(len(arrived))
        self._report.count("events", new)
        culprits = self._store.culprits - culprits
        self._metrics.messages_quarantined.labels("store").inc(culprits)
        self._report.count("quarantined", culprits)
        self._report.count("duplicates", len(events) - new - culprits)

    def _note_lag(self, messages: Sequence[Message]) -> None:
        now = time.time()
        for one in messages:
            if one.sent_at is not None and one.receive_count == 1:
                # Two clocks may differ by more than the way takes.
                lag = max(0.0, now - one.sent_at.timestamp())
                self._metrics.queue_lag_seconds.observe(lag)

    def _delete(self, messages: Sequence[Message]) -> None:
        try:
            self._source.delete(messages)
        except (SourceError, ConfigError):
            self._metrics.source_errors.labels("delete").inc()
            self._metrics.delete_failures.inc()
            raise
        self._metrics.messages_deleted.inc(len(messages))

    def _hide(self, messages: Sequence[Message], seconds: float) -> None:
        try:
            self._source.hide(messages, seconds)
        except (SourceError, ConfigError) as exc:
            # They come again earlier than they need to, and are known by then.
            self._metrics.source_errors.labels("hide").inc()
            self._log.warning("%s", exc)
