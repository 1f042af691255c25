"""What a daemon does besides its work: it counts, cleans up, and says how it is.

Everything here may fail without harm; it is done again a little later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flytelineage.breaker import Breaker
from flytelineage.errors import ConfigError, SourceError, StoreError
from flytelineage.inhand import InHand
from flytelineage.intake import Intake
from flytelineage.metrics import Metrics
from flytelineage.report import Report
from flytelineage.sources import Source
from flytelineage.store import Store

SUMMARY_SECONDS = 60.0
"""Between two lines that sum up what was done."""

SAMPLE_SECONDS = 15.0
"""Between two looks at how much waits in the store and in the queue."""

SHARE = 20
"""Counting a large store takes a while: at most this part of the time goes into it."""


SHOWN = 10
"""How many of those are named that one step of retention gave up."""


class Upkeep:
    """Keeps numbers, store and log up to date; called by one thread.

    Args:
        source: Asked how much it still holds.
        store: Counted and cleaned.
        intake: Slowed down while the other loops are far behind.
        in_hand: What is received and not stored.
        breakers: By target.
        max_backlog: Executions and deliveries that may wait; 0 is any number.
        report, metrics, log: Where it is told.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        intake: Intake,
        in_hand: InHand,
        *,
        breakers: Mapping[str, Breaker],
        max_backlog: int,
        report: Report,
        metrics: Metrics,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store_failed = ""
        """Why the store could not be counted the last time; empty when it could."""
        self.source_failed = ""
        """Why the source could not be asked the last time; empty when it could."""
        self.status: Mapping[str, Any] = {}
        """`Store.status`, as of the last look."""
        self._may_ask = True
        self._checked = False
        self._source = source
        self._store = store
        self._intake = intake
        self._in_hand = in_hand
        self._breakers = breakers
        self._max_backlog = max_backlog
        self._report = report
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._next_sample = clock()
        self._next_summary = clock() + SUMMARY_SECONDS
        self._summed_up = Totals.of(report)

    def run(self) -> bool:
        """Do what is due; whether there is more to clean up right now.

        Raises:
            StoreError: It does not answer; nothing but looking at it is put off.
        """
        if self._clock() >= self._next_sample:
            self._sample()
        if self._clock() >= self._next_summary:
            self._next_summary = self._clock() + SUMMARY_SECONDS
            self._sum_up()
        return self._clean()

    # -------------------------------------------------------------------- counting

    def _sample(self) -> None:
        self._metrics.in_hand_bytes.set(self._in_hand.nbytes)
        counting = 0.0  # also where it fails: that it works again is to be seen soon
        try:
            self._ask_source()
            counting = self._count()
        finally:
            self._next_sample = self._clock() + max(SAMPLE_SECONDS, counting * SHARE)

    def _count(self) -> float:
        """Show how much waits in the store; how many seconds that took."""
        began = self._clock()
        try:
            status = self._store.status()
            self._metrics.set_counts({**status, **self._store.counts()}, self._store.size())
        except StoreError:
            self.store_failed = "it does not answer"
            raise
        self.status, self.store_failed = status, ""
        self._slow_down(self._behind(status))
        return self._clock() - began

    def _ask_source(self) -> None:
        """How much it still holds; where there is no right to ask, nobody asks again."""
        if not self._may_ask:
            return
        try:
            if not self._checked:
                self._source.check()  # which warns of what will make trouble later
                self._checked = True
            backlog = self._source.backlog()
        except SourceError as exc:
            self.source_failed = str(exc)
            return
        except ConfigError as exc:
            self._may_ask = False
            self._log.warning("How much waits in the queue is not known: %s", exc)
            return
        self.source_failed = ""
        if backlog is not None:
            self._metrics.queue_visible.set(backlog.visible)
            self._metrics.queue_in_flight.set(backlog.in_flight)

    def _behind(self, status: Mapping[str, Any]) -> tuple[str, str]:
        """Which loop is far behind, and in words; a target alone slows nobody down."""
        if not self._max_backlog:
            return "", ""
        due = status["executions"]["due"]
        if due > self._max_backlog:
            return "backlog", f"{due:,} executions are to be built"
        waiting = [
            counts["due"] + counts["later"]
            for name, counts in status["deliveries"].items()
            if name in self._breakers
        ]
        if waiting and min(waiting) > self._max_backlog:
            return "targets", f"all targets have more than {min(waiting):,} deliveries to come"
        return "", ""

    def _slow_down(self, behind: tuple[str, str]) -> None:
        reason, words = behind
        for one in ("backlog", "targets"):
            self._metrics.intake_paused.labels(one).set(one == reason)
        if words and not self._intake.far_behind:
            self._log.warning(
                "Receiving slowly, the queue keeps the rest: %s (Daemon.max_backlog is %d)",
                words,
                self._max_backlog,
                extra={"action": "slow down"},
            )
        self._intake.far_behind = words

    # -------------------------------------------------------------------- cleaning

    def _clean(self) -> bool:
        """Forget a little of what is old."""
        cleaned = self._store.clean()
        for what, count in cleaned.removed.items():
            self._metrics.removed.labels(what).inc(count)
        for one in cleaned.unsettled[:SHOWN]:
            self._log.warning(
                "Gave up %s%s for its age: %s",
                one.execution,
                f" for {one.target}" if one.target else "",
                one.reason,
                extra={
                    "action": "give up",
                    "execution": str(one.execution),
                    "target": one.target,
                },
            )
        if (left := len(cleaned.unsettled) - SHOWN) > 0:
            self._log.warning("Gave up %d more for their age", left, extra={"action": "give up"})
        return cleaned.more

    # ------------------------------------------------------------------ summing up

    def _sum_up(self) -> None:
        """One line for people: what happened since the last one, and what is waiting."""
        totals = Totals.of(self._report)
        done = totals.since(self._summed_up)
        self._summed_up = totals
        self._log.info(
            "In the last minute: %s. Waiting: %s",
            done,
            self._waiting(),
            extra={"action": "summary"},
        )

    def _waiting(self) -> str:
        if not self.status:
            return "not known yet"
        executions, deliveries = self.status["executions"], self.status["deliveries"]
        parts = [f"{executions['collecting']} executions that run or settle"]
        parts += [f"{executions['due']} to be built"] if executions["due"] else []
        for name, counts in deliveries.items():
            if waiting := counts["due"] + counts["later"]:
                parts.append(f"{waiting} to be told to {name}{self._paused(name)}")
        return ", ".join(parts)

    def _paused(self, name: str) -> str:
        breaker = self._breakers.get(name)
        if breaker is None or breaker.state == "closed":
            return ""
        return f" (paused: {breaker.reason})"


class Totals:
    """Numbers since the process began.

    Args:
        numbers: By what was done, in words.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers

    @classmethod
    def of(cls, report: Report) -> Totals:
        """As they are now."""
        delivered = dict(report.delivered)
        return cls(
            {
                "messages received": report.messages,
                "new events": report.events,
                "seen before": report.duplicates,
                "not included": report.ignored,
                "quarantined": report.quarantined,
                "executions built": report.builds,
                **{f"delivered to {name}": delivered[name] for name in sorted(delivered)},
            }
        )

    def since(self, before: Totals) -> str:
        """What was done since then, e.g. `12 messages received, 3 executions built`."""
        done = {
            words: count - before._numbers.get(words, 0) for words, count in self._numbers.items()
        }
        return ", ".join(f"{count} {words}" for words, count in done.items() if count) or "nothing"


def unfit(breakers: Mapping[str, Breaker], stalled: Collection[str]) -> tuple[str, ...]:
    """What waits while the rest goes on."""
    paused = [
        f"{name} is left alone for {breaker.seconds_left:.0f} s: {breaker.reason}"
        for name, breaker in breakers.items()
        if breaker.state != "closed"
    ]
    return (*paused, *(f"{name} takes long" for name in stalled))
