"""The third loop: lineage is told to one target.

    11 claim   12 prepare   13 emit   14 settle

What becomes of a delivery that fails is decided by the class of the error alone. A target
that is down is left alone by all of its threads, and found well by one of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flytelineage.breaker import Breaker
from flytelineage.entities import Copy, DatasetId, Lineage
from flytelineage.errors import (
    ConfigError,
    FlyteLineageError,
    PermanentTargetError,
    RefusedByStoreError,
    StoreError,
    TargetError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.leases import Leases
from flytelineage.metrics import CLOSED, HALF_OPEN, OPEN, Metrics
from flytelineage.pace import REPLAY_TRIES, Pace
from flytelineage.report import Report
from flytelineage.store import Claim, DeliveryLease, Store, refusals
from flytelineage.targets import EdgeKeeper, Rejection, Target
from flytelineage.telling import Tell, as_claimed, claims_of, seen_edges, stay, widened, with_copies
from flytelineage.transforms import Transform

UNEXPLAINED_TRIES = 20
"""After so many failures that no class of ours explains, a delivery is given up."""

LONGEST_RETRY_AFTER_SECONDS = 900.0
"""A target that asks for more patience is asked again all the same."""

MAX_LOST = 3
"""So many tries in a row of which nobody heard again: this one may end the process."""

LOST_SECONDS = 3600.0
"""How long such a delivery is left alone."""

SHOWN = 5
"""How many refusals of one delivery have a line of their own in the log."""

STORE_AWAY = "the store did not answer when it was to be settled"

STOPPED = "the process stopped before the target had answered"

LEFT_SECONDS = 60.0
"""After such a stop: what was sent may be on its way, and must not come after what is newer."""

_STATES = {"closed": CLOSED, "half open": HALF_OPEN, "open": OPEN}


@dataclass(frozen=True)
class DeliverLimits:
    """How long a delivery is held, and what is told anew; see the options of `Daemon`."""

    lease_seconds: float
    refresh_seconds: float


class Deliver:
    """Tells one target; all methods may be called by as many threads as it takes.

    Args:
        name: The target's, in the configuration.
        target: Whom to tell.
        store: Holds the deliveries.
        transforms: The operator's rules.
        breaker: Says when the target may be tried.
        limits: How long things may take.
        pace: How long to wait after failures.
        report, metrics, log: Where it is told.
        reached: Called after each step with its name.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        store: Store,
        *,
        transforms: Sequence[Transform],
        breaker: Breaker,
        limits: DeliverLimits,
        pace: Pace,
        report: Report,
        metrics: Metrics,
        log: logging.Logger,
        reached: Callable[[str], None],
    ) -> None:
        self.breaker = breaker
        self.target = target
        self._name = name
        self._store = store
        self._transforms = transforms
        self._limits = limits
        self._pace = pace
        self._report = report
        self._metrics = metrics
        self._log = log
        self._reached = reached
        self._leases = Leases[DeliveryLease](
            limits.lease_seconds,
            keep=lambda lease: store.keep_delivery(lease, lease_seconds=limits.lease_seconds),
            release=lambda lease: store.settle_later(lease, 0.0, STORE_AWAY, counted=False),
        )
        self._proven = False  # whether it worked since this process began

    def run(self) -> bool:
        """Deliver one execution, if the target may be tried; whether there was one."""
        self._leases.let_go()
        if not self.breaker.enter():
            return False
        self._show_breaker()
        leases: Sequence[DeliveryLease] = ()
        try:
            leases = self._store.claim_delivery(  # 11
                self._name,
                1,
                lease_seconds=self._limits.lease_seconds,
                in_order=self.target.journal,  # its readers take the last line for the newest
            )
        finally:
            if not leases:
                self.breaker.left()
        for lease in leases:
            self._reached("claimed delivery")
            with self._leases.holding(lease):
                self._guarded(lease)
        return bool(leases)

    def keep_leases(self) -> None:
        """Hold what is being told for longer, where that takes long."""
        self._leases.keep()

    def give_back(self) -> None:
        """Let others tell soon what will not be settled here any more."""
        self._leases.let_go()
        seconds = min(LEFT_SECONDS, self._limits.lease_seconds)
        for lease in self._leases.in_hand:
            self._store.settle_later(lease, seconds, STOPPED, counted=False)

    def _guarded(self, lease: DeliveryLease) -> None:
        """Deliver, and tell the breaker how it went, whatever happens."""
        began = time.monotonic()
        error: Exception | None = None
        asked = False
        tell: Tell = {}
        try:
            if self._may_be_lethal(lease):
                return
            lineage, claims, tell = self._claimed(lease)
            if lineage is not None and not self.target.journal:
                lineage = self._news(lineage, claims, tell)
            self._reached("prepared")
            asked = lineage is not None and any(lineage.entities())
            rejections, named = self._emit(lineage)  # 13
            self._settle(lease, lineage, tell, rejections, named, began)  # 14
        except RefusedByStoreError as exc:
            error = exc
        except StoreError:
            raise  # not this delivery's fault
        except Exception as exc:
            error = exc
        finally:
            self._tell_breaker(error, asked=asked)
        if error is not None:
            self._failed(lease, error, tell if asked else {})

    # -------------------------------------------------------------------- the steps

    def _may_be_lethal(self, lease: DeliveryLease) -> bool:
        """Put off what may end the process: it would do so at each start, before all others."""
        if lease.lost < MAX_LOST or not self._pace.patient:
            return False
        why = (
            f"{lease.lost} tries in a row never came to an end, so that one may end the process "
            "(out of memory?)"
        )
        self._log.error(
            "Leaving %s for %s alone for %.0f h: %s",
            lease.execution,
            self._name,
            LOST_SECONDS / 3600,
            why,
            extra=_extra(lease, "postpone"),
        )
        self._metrics.retries.labels(self._name, "lost").inc()
        self._store.settle_later(lease, LOST_SECONDS, why)
        return True

    def _claimed(self, lease: DeliveryLease) -> tuple[Lineage | None, list[Claim], Tell]:
        """What there is to tell, what it claims, and which of the claims are to be told.

        A journal writes down what this execution showed, and claims nothing. Whoever widens
        a window wakes who holds the edges. Those who did so before this claim could not know
        of it: so it is looked once more.
        """
        shown = self._shown(lease)
        if shown is None or self.target.journal:
            return shown, [], {}
        lineage = self._widened(lease, shown)
        claims, tell = self._to_tell(lease, lineage)
        again = self._widened(lease, shown)
        if again != lineage:
            claims, tell = self._to_tell(lease, again)
        return again, claims, tell

    def _shown(self, lease: DeliveryLease) -> Lineage | None:
        """What the operator's rules leave to tell, with what others call its datasets."""
        lineage = self._transformed(lease.lineage)
        if lineage is None:
            return None
        ids = [dataset.id for dataset in lineage.datasets]
        return with_copies(lineage, self._store.copies(ids, besides=lease.target))

    def _transformed(self, lineage: Lineage) -> Lineage | None:
        for transform in self._transforms:
            changed = transform.apply(lineage)
            if changed is None:
                return None
            lineage = changed
        return lineage

    def _widened(self, lease: DeliveryLease, lineage: Lineage) -> Lineage:
        """With the edges of other executions, where the target is told those of a window."""
        target = self.target
        if not isinstance(target, EdgeKeeper) or target.edges != "window":
            return lineage
        if not lease.lineage.succeeded:
            return lineage
        seconds = target.edge_window * 86_400
        edges = self._store.widen(lease, seen_edges(lineage), window_seconds=seconds)
        return widened(lineage, edges)

    def _to_tell(self, lease: DeliveryLease, lineage: Lineage) -> tuple[list[Claim], Tell]:
        claims = claims_of(lineage, self.target.keeps, last_run_only=self.target.last_run_only)
        tell = self._store.prepare(  # 12
            lease,
            claims,
            raises=lease.lineage.succeeded,
            refresh_seconds=self._limits.refresh_seconds,
        )
        return claims, tell

    def _news(self, lineage: Lineage, claims: Sequence[Claim], tell: Tell) -> Lineage:
        """What the catalogue does not hold yet."""
        target = self.target
        return stay(lineage, claims, tell, target.keeps, last_run_only=target.last_run_only)

    def _emit(self, lineage: Lineage | None) -> tuple[list[Rejection], Mapping[DatasetId, Copy]]:
        """Tell the target, unless there is nothing to tell: what it refused, and new names."""
        if lineage is None or not any(lineage.entities()):
            return [], {}
        with self._metrics.emit_seconds.labels(self._name).time():
            rejections = self.target.emit(lineage)
        if self.target.last_run_only:
            rejections = as_claimed(rejections, lineage)
        return rejections, self.target.copies()

    def _settle(
        self,
        lease: DeliveryLease,
        lineage: Lineage | None,
        tell: Tell,
        rejections: Sequence[Rejection],
        named: Mapping[DatasetId, Copy],
        began: float,
    ) -> None:
        self._reached("emitted")
        settled = self._store.settle(
            lease, [*tell.values()], rejections, copies=named, dropped=lineage is None
        )
        self._reached("settled")
        if settled:
            self._note_settled(lease, lineage, rejections, time.monotonic() - began)
        else:
            self._note_lost(lease)

    # ------------------------------------------------------------------ what fails

    def _tell_breaker(self, error: Exception | None, *, asked: bool) -> None:
        """Judge the target, not the delivery."""
        if isinstance(error, (TransientTargetError, TargetUnavailable, ConfigError)):
            self._down(error)
        elif asked and (error is None or isinstance(error, TargetError)):
            self._well()
        else:  # it was not asked, or a plugin broke, which says nothing of the catalogue
            self.breaker.left()
        self._show_breaker()

    def _down(self, error: Exception) -> None:
        lasting = not isinstance(error, TransientTargetError)
        reason = _reason(error)
        news = self.breaker.failed(reason, lasting=lasting, retry_after=self._asked_for(error))
        if self.breaker.state != "open":
            return
        left = self.breaker.seconds_left
        if news:
            self._metrics.breaker_opened.labels(self._name).inc()
        self._log.log(
            logging.WARNING if news else logging.INFO,
            "Leaving %s alone for %.0f s: %s",
            self._name,
            left,
            reason,
            extra={"action": "pause", "target": self._name},
        )
        self._in_store(lambda: self._store.note_pause(self._name, reason, left))

    def _well(self) -> None:
        if self.breaker.worked():
            self._log.info(
                "%s is back", self._name, extra={"action": "resume", "target": self._name}
            )
        elif self._proven:
            return
        self._proven = True  # a process that died may have left a note, too
        self._in_store(lambda: self._store.note_resumed(self._name))

    def _in_store(self, note: Callable[[], None]) -> None:
        """Write what only people read: no work may fail because of that."""
        try:
            note()
        except StoreError as exc:
            self._log.debug("The state of %s is not noted: %s", self._name, exc)

    def _show_breaker(self) -> None:
        self._metrics.breaker_state.labels(self._name).set(_STATES[self.breaker.state])

    def _asked_for(self, exc: Exception) -> float:
        """Seconds for which the target asks to be left alone; nobody waits in a replay."""
        if not isinstance(exc, TransientTargetError) or not self._pace.patient:
            return 0.0
        return min(exc.retry_after or 0.0, LONGEST_RETRY_AFTER_SECONDS)

    def _failed(self, lease: DeliveryLease, exc: Exception, tell: Tell) -> None:
        """Decide by the class of the error what becomes of the delivery."""
        known = isinstance(exc, (TargetError, ConfigError, RefusedByStoreError))
        last = lease.attempts >= (UNEXPLAINED_TRIES if self._pace.patient else REPLAY_TRIES)
        spent = last and not (self._pace.patient and known)
        if isinstance(exc, (PermanentTargetError, RefusedByStoreError)) or spent:
            self._give_up(lease, exc, tell, known=known)
            return
        seconds = max(self._pace.pause(lease.attempts), self._asked_for(exc))
        unavailable = isinstance(exc, (TargetUnavailable, ConfigError)) and self._pace.patient
        if not self._store.settle_later(lease, seconds, _reason(exc), counted=not unavailable):
            self._note_lost(lease)
            return
        self._log.warning(
            "Will deliver %s to %s again in %.0f s: %s",
            lease.execution,
            lease.target,
            seconds,
            _reason(exc),
            exc_info=None if known else exc,
            extra=_extra(lease, "retry"),
        )
        kind = "unavailable" if unavailable else "transient" if known else "unexplained"
        self._metrics.retries.labels(self._name, kind).inc()
        self._note(lease, "later")

    def _give_up(self, lease: DeliveryLease, exc: Exception, tell: Tell, *, known: bool) -> None:
        if not self._store.give_up(lease, _reason(exc), [*tell.values()]):
            self._note_lost(lease)
            return
        self._log.error(
            "Gave up %s for %s: %s",
            lease.execution,
            lease.target,
            _reason(exc),
            exc_info=None if known else exc,
            extra=_extra(lease, "give up"),
        )
        self._note(lease, "given_up")

    # ------------------------------------------------------------------ telling it

    def _note(self, lease: DeliveryLease, result: str) -> None:
        self._metrics.emits.labels(self._name, result).inc()
        outcome = result.replace("_", " ")
        self._report.note_delivery(f"{lease.execution} to {lease.target}", lease.target, outcome)

    def _note_lost(self, lease: DeliveryLease) -> None:
        """Say that somebody else tells it by now, whatever came of it here."""
        self._metrics.leases_lost.labels("delivery").inc()
        self._log.warning(
            "The lease on %s for %s ran out",
            lease.execution,
            lease.target,
            extra=_extra(lease, "deliver"),
        )

    def _note_settled(
        self,
        lease: DeliveryLease,
        lineage: Lineage | None,
        rejections: Sequence[Rejection],
        seconds: float,
    ) -> None:
        if lineage is None:
            self._note(lease, "dropped")
            self._log.info(
                "A transform dropped %s for %s",
                lease.execution,
                lease.target,
                extra=_extra(lease, "drop"),
            )
            return
        self._note(lease, "delivered")
        if lease.first and lease.terminal_at is not None:
            waited = (lease.claimed_at - lease.terminal_at).total_seconds() + seconds
            self._metrics.settle_seconds.labels(self._name).observe(waited)
        self._note_refused(lease, rejections)
        self._log.info(
            "Delivered %s to %s: %d entities in %.2f s",
            lease.execution,
            lease.target,
            sum(1 for _ in lineage.entities()),
            seconds,
            extra=_extra(lease, "deliver") | {"seconds": round(seconds, 3)},
        )

    def _note_refused(self, lease: DeliveryLease, rejections: Sequence[Rejection]) -> None:
        self._metrics.entities_rejected.labels(self._name).inc(len(rejections))
        refused = refusals([one.model_dump() for one in rejections])
        for line in refused[:SHOWN]:
            self._log.warning(
                "%s refused of %s: %s",
                lease.target,
                lease.execution,
                line,
                extra=_extra(lease, "reject"),
            )
        if (left := len(refused) - SHOWN) > 0:
            self._log.warning(
                "%s refused %d more of %s: `flytelineage status %s` tells",
                lease.target,
                left,
                lease.execution,
                lease.execution,
                extra=_extra(lease, "reject"),
            )


def _extra(lease: DeliveryLease, action: str) -> dict[str, object]:
    """What the lines of a log about a delivery can be searched by."""
    return {
        "action": action,
        "execution": str(lease.execution),
        "target": lease.target,
        "attempt": lease.attempts,
    }


def _reason(exc: Exception) -> str:
    """What people read; of an error that is not ours its kind says more than its text."""
    if isinstance(exc, FlyteLineageError):
        return str(exc)
    return f"{type(exc).__name__}: {exc}"
