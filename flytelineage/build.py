"""The second loop: the events of an execution become its lineage.

    5 claim   6 fold   7 collect   8 build   9 describe   10 finish
    (after 6 and 8, where there is a FlyteAdmin, it is asked what is missing)

What could not be built is put off, ever longer, and delays no other execution.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from flytelineage.builder import LineageBuilder
from flytelineage.collect import Collector, Pinned, Unavailable
from flytelineage.consultant import Consultant, Consulted
from flytelineage.describer import Describer
from flytelineage.entities import Lineage, PipelineId
from flytelineage.errors import AdminUnavailable, RefusedByStoreError, StoreError
from flytelineage.facts import Facts
from flytelineage.fold import fold
from flytelineage.leases import Leases
from flytelineage.metrics import Metrics
from flytelineage.objects import ObjectReader
from flytelineage.objects.reads import Reading
from flytelineage.pace import REPLAY_TRIES, Pace
from flytelineage.report import Report
from flytelineage.scope import Scope
from flytelineage.store import FLYTEADMIN, BuildLease, Built, Store
from flytelineage.structure import missing_events, outcome
from flytelineage.targets import Target

SHORTEST_WAIT_SECONDS = 1.0
"""Between two looks for missing events, where `Store.min_settle` is shorter."""

GIVEN_UP_SECONDS = 3600.0
"""A build that a replay gave up comes after all others, and not again before its end."""

SILENT_TRIES = 12
"""How often an execution that fell silent waits for FlyteAdmin to answer."""

MAX_LOST = 3
"""So many builds in a row of which nobody heard again: this one may end the process."""

LOST_SECONDS = 3600.0
"""How long such an execution is left alone; doubled each time, up to a day."""

DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class BuildLimits:
    """How long a build is tried and waited for; see the options of `Daemon`."""

    lease_seconds: float
    patience: int
    admin_patience: float


class Build:
    """Builds executions that are due; all methods may be called by several threads.

    Args:
        store: Holds the events, and takes the lineage.
        reader: Opens what events refer to.
        collector, builder, describer: The steps in between.
        consultant: Asks FlyteAdmin; `None` where there is none.
        scope: Which pipelines are told.
        targets: Whom finished lineage is made due at, by name.
        limits: How long things may take.
        pace: How long to wait after failures.
        held: Whether deliveries wait until somebody asks for them.
        stopping: Whether a stop was asked for.
        report, metrics, log: Where it is told.
        reached: Called after each step with its name.
    """

    def __init__(
        self,
        store: Store,
        reader: ObjectReader,
        *,
        collector: Collector,
        builder: LineageBuilder,
        describer: Describer,
        consultant: Consultant | None,
        scope: Scope,
        targets: Mapping[str, Target],
        limits: BuildLimits,
        pace: Pace,
        held: bool,
        stopping: Callable[[], bool],
        report: Report,
        metrics: Metrics,
        log: logging.Logger,
        reached: Callable[[str], None],
    ) -> None:
        self._store = store
        self._reader = reader
        self._collector = collector
        self._builder = builder
        self._describer = describer
        self._consultant = consultant
        self._scope = scope
        self._targets = targets
        self._limits = limits
        self._pace = pace
        self._held = held
        self._stopping = stopping
        self._report = report
        self._metrics = metrics
        self._log = log
        self._reached = reached
        self._leases = Leases[BuildLease](
            limits.lease_seconds,
            keep=lambda lease: store.keep_build(lease, lease_seconds=limits.lease_seconds),
            release=lambda lease: store.postpone_build(lease, 0, counted=False),
        )

    def run(self) -> bool:
        """Build one execution that is due; whether there was one."""
        self._leases.let_go()
        leases = self._store.claim_build(1, lease_seconds=self._limits.lease_seconds)  # 5
        for lease in leases:
            self._reached("claimed build")
            with self._leases.holding(lease):
                self._build_or_postpone(lease)
        return bool(leases)

    def keep_leases(self) -> None:
        """Hold what is being built for longer, where that takes long."""
        self._leases.keep()

    def give_back(self) -> None:
        """Let others begin at once with what will not be built here any more."""
        self._leases.let_go()
        for lease in self._leases.in_hand:
            self._store.postpone_build(lease, 0, counted=False)

    def _build_or_postpone(self, lease: BuildLease) -> None:
        """Build, or decide by the class of the error when to try again."""
        reads = self._reader.reads()
        try:
            self._build(lease, reads)
        except RefusedByStoreError as exc:
            self._postpone(lease, "refused", str(exc))
        except StoreError:
            raise
        except Unavailable as exc:
            self._postpone(lease, "object_store", f"an object store does not answer: {exc}")
        except Exception:
            self._log.exception("Building %s failed", lease.execution, extra=_extra(lease))
            self._postpone(lease, "failed", "building it failed; the log has the traceback")
        finally:
            self._count(reads)

    def _build(self, lease: BuildLease, reads: Reading) -> None:
        if self._may_be_lethal(lease):
            return
        began = time.monotonic()
        facts = fold(lease.execution, self._store.events(lease.execution))  # 6
        lost = bool(missing_events(facts))
        consulted = self._consult(lease, facts, lost=lost)
        if self._given_back(lease, facts, consulted) or (lost and self._settling(lease)):
            return
        if self._just_began(lease) and outcome(facts) != "RUNNING":
            # As good as over; but only its last event says how it ended.
            self._store.postpone_build(lease, self._store.idle, counted=False)
            return
        patient = self._pace.patient and lease.attempts <= self._limits.patience
        collected = self._collector.collect(  # 7
            facts,
            self._store,
            reads,
            pinned=_pinned(lease),
            now=_now(),
            patient=patient,
        )
        build = self._builder.build(facts, collected)  # 8
        if build.lineage.partial and (
            self._given_back(lease, facts, self._consult(lease, facts, lost=True))
            or self._settling(lease)
        ):
            return
        lineage = self._describer.describe(build, reads)  # 9
        if patient and reads.tally.results.get("unavailable"):
            raise Unavailable("what was written could not be looked at")
        lineage = lineage.model_copy(update={"revision": lease.revision})
        self._reached("built")
        built = Built(
            lineage=lineage,
            # What still runs has not shown all tasks that its name is guessed from.
            pipeline=collected.pipeline if lineage.phase != "RUNNING" else None,
            locations=build.locations,
            waiting=build.waiting,
            places=build.places,
            retry_in=self._retry_in(lineage, facts, consulted),
        )
        told = self._told(lineage, early=self._just_began(lease))
        if self._store.finish_build(lease, built, told, held=self._held):  # 10
            self._note(lease, built, told, time.monotonic() - began, reads.requests)
            if consulted.unavailable and built.pipeline and lease.pipeline is None:
                self._log_guess(lineage, built.pipeline)
        else:
            self._note_lost(lease)
        self._reached("finished build")

    # ---------------------------------------------------------- reasons to put it off

    def _may_be_lethal(self, lease: BuildLease) -> bool:
        """Put off what may end the process: it would do so at each start, before all others."""
        if lease.lost < MAX_LOST or not self._pace.patient:
            return False
        again = max(0, lease.attempts // MAX_LOST - 1)
        seconds = min(LOST_SECONDS * 2.0 ** min(again, 30), DAY_SECONDS)
        why = (
            f"{lease.lost} builds in a row never came to an end, so that one may end the process "
            "(out of memory?)"
        )
        self._log.error(
            "Leaving %s alone for %.0f h: %s",
            lease.execution,
            seconds / 3600,
            why,
            extra=_extra(lease, "postpone"),
        )
        self._metrics.builds_postponed.labels("lethal").inc()
        self._store.postpone_build(lease, seconds, counted=True, waits_for=why)
        return True

    def _just_began(self, lease: BuildLease) -> bool:
        """Whether it is looked at only because somebody wants to know what still runs."""
        return self._store.running and lease.first and lease.terminal_at is None

    def _consult(self, lease: BuildLease, facts: Facts, *, lost: bool) -> Consulted:
        """Ask FlyteAdmin, where there is one, what the events leave open."""
        if self._consultant is None:
            return Consulted()
        return self._consultant.consult(
            facts, lease.claimed_at, lost=lost, between=self._kept(lease)
        )

    def _kept(self, lease: BuildLease) -> Callable[[], None]:
        """What keeps a lease while FlyteAdmin is asked about thousands of nodes."""
        renewed = time.monotonic()

        def keep() -> None:
            nonlocal renewed
            if time.monotonic() - renewed > self._limits.lease_seconds / 3:
                self._store.keep_build(lease, lease_seconds=self._limits.lease_seconds)
                renewed = time.monotonic()

        return keep

    def _given_back(self, lease: BuildLease, facts: Facts, consulted: Consulted) -> bool:
        """Give the lease back where there is something new to fold, or to wait for."""
        if consulted.again:
            self._store.postpone_build(lease, 0, counted=False)
            return True
        if facts.started_at is None:  # nothing but its identity is known
            self._store.postpone_build(lease, self._store.idle, counted=False)
            return True
        return consulted.unavailable is not None and self._awaits_admin(
            lease, facts, consulted.unavailable
        )

    def _awaits_admin(self, lease: BuildLease, facts: Facts, why: AdminUnavailable) -> bool:
        """Wait for FlyteAdmin: long for the name, which stays, and not long for the rest."""
        if self._stopping():  # we hung up ourselves: no reason to go on without it
            self._store.postpone_build(lease, 0, counted=False)
            return True
        if not self._pace.patient:
            return False
        waits_for, silent = f"{FLYTEADMIN}: {why}", lease.terminal_at is None
        if silent:
            seconds, waits = self._pace.pause(lease.attempts), lease.attempts <= SILENT_TRIES
        else:
            seconds, waits = self._until_asked_again(lease, facts)
        if waits:
            self._metrics.builds_postponed.labels("flyteadmin").inc()
            self._store.postpone_build(lease, seconds, counted=silent, waits_for=waits_for)
        return waits

    def _until_asked_again(self, lease: BuildLease, facts: Facts) -> tuple[float, bool]:
        """Seconds until FlyteAdmin is asked again, and whether that is worth while."""
        waited = (lease.claimed_at - (lease.terminal_at or lease.claimed_at)).total_seconds()
        named = lease.pipeline is not None or facts.answer is not None
        left = (self._store.max_settle if named else self._limits.admin_patience) - waited
        pause = min(max(waited, self._pace.first_seconds), self._pace.longest_seconds)
        return min(left, random.uniform(pause / 2, pause)), left > 0  # noqa: S311

    def _settling(self, lease: BuildLease) -> bool:
        """Wait for events that are missing, while they may still be on their way."""
        if not self._pace.patient or lease.terminal_at is None:
            return False
        waited = (lease.claimed_at - lease.terminal_at).total_seconds()
        left = self._store.max_settle - waited
        if left <= 0:
            return False
        pause = max(2 * self._store.min_settle, SHORTEST_WAIT_SECONDS)
        self._metrics.builds_postponed.labels("events").inc()
        self._store.postpone_build(lease, min(left, pause), counted=False)
        return True

    def _postpone(self, lease: BuildLease, kind: str, why: str) -> None:
        seconds = self._pace.pause(lease.attempts)
        if not self._pace.patient and lease.attempts >= REPLAY_TRIES:
            seconds = GIVEN_UP_SECONDS
            self._report.note_unbuildable(lease.execution)
        if not self._store.postpone_build(lease, seconds, counted=True, waits_for=why):
            self._note_lost(lease)
            return
        self._log.warning(
            "Building %s again in %.0f s: %s",
            lease.execution,
            seconds,
            why,
            extra=_extra(lease, "postpone"),
        )
        self._metrics.builds_postponed.labels(kind).inc()

    def _retry_in(self, lineage: Lineage, facts: Facts, consulted: Consulted) -> float | None:
        """When to look again for what could not be read: ever more seldom, then never."""
        asks = self._consultant is not None or self._store.running
        if asks and facts.ended_at is None:
            return self._store.idle
        open_ends = lineage.incomplete or consulted.unavailable
        if not self._pace.patient or not open_ends or facts.started_at is None:
            return None
        age = (_now() - (facts.ended_at or facts.started_at)).total_seconds()
        return min(max(age, 300.0), DAY_SECONDS) if age < self._collector.metadata_age else None

    def _told(self, lineage: Lineage, *, early: bool) -> list[str]:
        """The targets that hear of this execution; of one that just began only some."""
        if not all(self._scope.emits(pipeline.id) for pipeline in lineage.pipelines):
            return []
        if not any(lineage.entities()):
            return []
        if early and lineage.phase == "RUNNING":
            return [name for name, target in self._targets.items() if target.running]
        return list(self._targets)

    # ------------------------------------------------------------------- telling it

    def _note(
        self, lease: BuildLease, built: Built, told: Sequence[str], seconds: float, reads: int
    ) -> None:
        lineage = built.lineage
        self._report.note_build(lineage, waiting=bool(built.waiting))
        self._metrics.build_seconds.observe(seconds)
        if lease.terminal_at is not None and not lease.ended:
            self._metrics.executions_finished.labels(lineage.phase).inc()
        self._log.info(
            "Built %s (%s): %d tasks, %d datasets%s%s in %.2f s with %d reads%s",
            lineage.execution,
            lineage.phase,
            len(lineage.tasks),
            len(lineage.datasets),
            ", partial" if lineage.partial else "",
            f", {len(lineage.incomplete)} things unknown" if lineage.incomplete else "",
            seconds,
            reads,
            "" if told else "; no target is told",
            extra=_extra(lease, "build") | {"seconds": round(seconds, 3)},
        )

    def _note_lost(self, lease: BuildLease) -> None:
        """Say that somebody else builds it by now, whatever came of it here."""
        self._metrics.leases_lost.labels("build").inc()
        self._log.warning(
            "The lease on %s ran out while it was built", lease.execution, extra=_extra(lease)
        )

    def _count(self, reads: Reading) -> None:
        """Show what was read, also where the build came to nothing."""
        for result, count in reads.tally.results.items():
            self._metrics.objects_read.labels(result.replace(" ", "_")).inc(count)
        self._metrics.object_requests.inc(reads.requests)
        self._metrics.object_bytes.inc(reads.bytes_read)

    def _log_guess(self, lineage: Lineage, pipeline: PipelineId) -> None:
        """Say that a name that nobody could confirm is now there to stay."""
        if lineage.name_source == "guessed":
            self._log.warning(
                "%s keeps the guessed name %s: FlyteAdmin did not answer in time",
                lineage.execution,
                pipeline,
                extra={"action": "build", "execution": str(lineage.execution)},
            )


def _extra(lease: BuildLease, action: str = "build") -> dict[str, object]:
    """What the lines of a log about a build can be searched by."""
    return {"action": action, "execution": str(lease.execution), "attempt": lease.attempts}


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _pinned(lease: BuildLease) -> Pinned | None:
    if lease.pipeline is None or lease.name_source is None:
        return None
    return Pinned(lease.pipeline, lease.name_source)
