"""The way from a message to the catalogues: three loops of numbered steps.

    intake     1 receive   2 decode   3 record   4 delete
    build      5 claim     6 fold     7 collect  8 build     9 describe  10 finish
               (after 6 and 8, where there is a FlyteAdmin, it is asked what is missing)
    deliver   11 claim    12 prepare 13 emit    14 settle

What a loop must not lose is in the store before the next step begins, and every step
may happen twice. Rooms do not call each other: they are called from here, and every
decision to try again is made here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from flytelineage.builder import LineageBuilder
from flytelineage.collect import Collector, Pinned, Unavailable
from flytelineage.consultant import Admin, Consultant, Consulted
from flytelineage.describer import Describer
from flytelineage.entities import Copy, DatasetId, Lineage, PipelineId
from flytelineage.errors import (
    AdminUnavailable,
    ConfigError,
    DecodeError,
    PermanentTargetError,
    RefusedByStoreError,
    StoreError,
    TargetError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.events import Event, decode
from flytelineage.facts import Facts
from flytelineage.fold import fold
from flytelineage.grouping import Grouped
from flytelineage.objects import ObjectReader
from flytelineage.report import Report
from flytelineage.scope import Scope
from flytelineage.sources import Message, Source
from flytelineage.store import BuildLease, Built, Claim, DeliveryLease, Refused, Store
from flytelineage.structure import missing_events, outcome
from flytelineage.targets import EdgeKeeper, Rejection, Target
from flytelineage.telling import Tell, as_claimed, claims_of, seen_edges, stay, widened, with_copies
from flytelineage.transforms import Transform
from flytelineage.workers import Fatal, Workers

UNEXPLAINED_TRIES = 20
"""After so many failures that no class of ours explains, a delivery is given up."""

SHORTEST_WAIT_SECONDS = 1.0
"""Between two looks for missing events, where `Store.min_settle` is shorter."""

LONGEST_RETRY_AFTER_SECONDS = 900.0
"""A target that asks for more patience is asked again all the same."""

GIVEN_UP_SECONDS = 3600.0
"""A build that a replay gave up comes after all others, and not again before its end."""

SILENT_TRIES = 12
"""How often an execution that fell silent waits for FlyteAdmin to answer."""

REPLAY_TRIES = 3
"""In a replay nobody waits: after so many tries a build or a delivery is given up."""


class Daemon(LoggingConfigurable):
    """Runs the three loops, each in threads of its own, until `stop`."""

    pollers = Integer(
        4,
        min=1,
        max=32,
        help="""
        Threads that receive messages at once. Raise it when the queue grows although
        the machine is idle; more than 16 only add latency.

        Example: c.Daemon.pollers = 8
        """,
    ).tag(config=True)

    builders = Integer(
        2,
        min=1,
        max=32,
        help="""
        Threads that build lineage at once. Most of their time they wait for the object
        store.

        Example: c.Daemon.builders = 4
        """,
    ).tag(config=True)

    poll_seconds = Float(
        1.0,
        min=0.01,
        help="""
        Seconds between two looks into the store for executions to build or deliver.

        Example: c.Daemon.poll_seconds = 5
        """,
    ).tag(config=True)

    lease_seconds = Float(
        300.0,
        min=1,
        help="""
        Seconds for which a build or a delivery belongs to the process that took it.
        When that died, another takes it over after this time.

        Example: c.Daemon.lease_seconds = 600
        """,
    ).tag(config=True)

    retry_seconds = Float(
        5.0,
        min=0,
        help="""
        Seconds before a delivery that failed is tried again; doubled with each failure.

        Example: c.Daemon.retry_seconds = 30
        """,
    ).tag(config=True)

    max_retry_seconds = Float(
        300.0,
        min=0,
        help="""
        Upper bound in seconds of the time between two tries of a delivery.

        Example: c.Daemon.max_retry_seconds = 900
        """,
    ).tag(config=True)

    patience = Integer(
        4,
        min=0,
        help="""
        How often a build waits for an object store that does not answer, before it goes
        on without what could not be read. 0 never waits.

        Example: c.Daemon.patience = 10
        """,
    ).tag(config=True)

    admin_patience = Float(
        3600.0,
        min=0,
        help="""
        Seconds that an execution, once it has ended, waits for FlyteAdmin to say which
        workflow it was. Then its name is guessed, and the guess stays. Raise it where
        FlyteAdmin is away for longer at times. 0: never wait. Has no effect without
        `FlyteAdmin.endpoint`.

        Example: c.Daemon.admin_patience = 86_400
        """,
    ).tag(config=True)

    refresh_hours = Float(
        24.0,
        min=0,
        help="""
        Hours for which an aspect that equals the one last accepted is not sent again.
        0 sends all of every execution.

        Example: c.Daemon.refresh_hours = 1
        """,
    ).tag(config=True)

    shutdown_timeout = Float(
        30.0,
        min=0,
        help="""
        Seconds that a stop waits for the units of work in hand.

        Example: c.Daemon.shutdown_timeout = 10
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        source: Source,
        store: Store,
        targets: Mapping[str, Target],
        transforms: Sequence[Transform] = (),
        reader: ObjectReader,
        admin: Admin | None = None,
        instance: str = "",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        emit: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.store = store
        self.targets = targets
        self.transforms = transforms
        self.reader = reader
        self.instance = instance
        self.scope = Scope(include, exclude)
        self.emit = emit
        self.store.running = any(target.running for target in targets.values())
        self.collector = Collector(parent=self)
        self.builder = LineageBuilder(parent=self)
        self.describer = Describer(parent=self)
        self.report = Report()
        self.on_step: Callable[[str], None] = _nothing
        """Called after each step with its name; tests stop the process there."""
        self._workers = Workers(self.log, rest_seconds=self.poll_seconds, pause=self._backoff)
        self._consultant = self._made_consultant(admin) if admin else None
        self._record = Grouped(self._record_group)
        self._received = False
        self._store_failed = False
        self._patient = True

    def _made_consultant(self, admin: Admin) -> Consultant:
        return Consultant(
            admin,
            self.store,
            self.scope,
            idle=timedelta(seconds=self.store.idle),
            stopping=lambda: self._workers.stopping,
            log=self.log,
        )

    # -------------------------------------------------------------------- intake

    def intake(self) -> bool:
        """Take messages from the source into the store; whether there were any."""
        if self._store_failed:
            # What is received in vain comes nearer to the dead-letter queue each time.
            self.store.record([])
            self._store_failed = False
        messages = self.source.receive()  # 1
        self._received = True
        self.on_step("received")
        arrived = [self._decode(message) for message in messages]  # 2
        self.on_step("decoded")
        self._record([one for one in arrived if one is not None])  # 3
        self.on_step("recorded")
        if messages:
            self.source.delete(messages)  # 4
        self.on_step("deleted")
        return bool(messages)

    def _decode(self, message: Message) -> Event | Refused | None:
        """The event in a message; `None` when the operator wants nothing of it."""
        self.report.count("messages")
        try:
            event = decode(message.body, received_at=_now(), instance=self.instance)
        except DecodeError as exc:
            return self._refuse(message, str(exc))
        except Exception as exc:
            self.log.exception("Message %s broke the decoder: please report it", message.id)
            return self._refuse(message, f"The decoder failed: {exc!r}")
        if not self.scope.stores(event.execution):
            self.report.count("ignored")
            return None
        return event

    def _refuse(self, message: Message, reason: str) -> Refused:
        self.report.count("quarantined")
        self.log.warning(
            "Quarantined message %s: %s", message.id, reason, extra={"action": "quarantine"}
        )
        return Refused(body=message.body, reason=reason, message_id=message.id)

    def _record_group(self, arrived: Sequence[Event | Refused]) -> None:
        """Commit what several pollers brought in one transaction."""
        events = [one for one in arrived if isinstance(one, Event)]
        refused = [one for one in arrived if isinstance(one, Refused)]
        try:
            new = self.store.record(events, refused)
        except StoreError:
            self._store_failed = True
            raise
        self.report.count("events", new)
        self.report.count("duplicates", len(events) - new)

    # --------------------------------------------------------------------- build

    def build(self) -> bool:
        """Build one execution that is due; whether there was one."""
        leases = self.store.claim_build(1, lease_seconds=self.lease_seconds)  # 5
        for lease in leases:
            self.on_step("claimed build")
            try:
                self._build(lease)
            except RefusedByStoreError as exc:
                self._postpone(lease, str(exc))
            except StoreError:
                raise
            except Unavailable as exc:
                self._postpone(lease, f"an object store does not answer: {exc}")
            except Exception:
                self.log.exception("Building %s failed", lease.execution)
                self._postpone(lease, "it failed; see the traceback above")
        return bool(leases)

    def _build(self, lease: BuildLease) -> None:
        began = time.monotonic()
        facts = fold(lease.execution, self.store.events(lease.execution))  # 6
        lost = bool(missing_events(facts))
        consulted = self._consult(lease, facts, lost=lost)
        if self._given_back(lease, facts, consulted) or (lost and self._settling(lease)):
            return
        if self._just_began(lease) and outcome(facts) != "RUNNING":
            # As good as over; but only its last event says how it ended.
            self.store.postpone_build(lease, self.store.idle, counted=False)
            return
        reads = self.reader.reads()
        collected = self.collector.collect(  # 7
            facts,
            self.store,
            reads,
            pinned=_pinned(lease),
            now=_now(),
            patient=self._patient and lease.attempts <= self.patience,
        )
        build = self.builder.build(facts, collected)  # 8
        if build.lineage.partial and (
            self._given_back(lease, facts, self._consult(lease, facts, lost=True))
            or self._settling(lease)
        ):
            return
        lineage = self.describer.describe(build, reads)  # 9
        lineage = lineage.model_copy(update={"revision": lease.revision})
        self.on_step("built")
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
        if self.store.finish_build(lease, built, told, held=not self.emit):  # 10
            self.report.note_build(lineage, waiting=bool(build.waiting))
            self._log_build(lineage, time.monotonic() - began, reads.requests)
            if consulted.unavailable and built.pipeline and lease.pipeline is None:
                self._log_guess(lineage, built.pipeline)
        else:
            self.log.warning("The lease on %s ran out while it was built", lease.execution)
        self.on_step("finished build")

    def _just_began(self, lease: BuildLease) -> bool:
        """Whether it is looked at only because somebody wants to know what still runs."""
        return self.store.running and lease.first and lease.terminal_at is None

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
            if time.monotonic() - renewed > self.lease_seconds / 3:
                self.store.keep_build(lease, lease_seconds=self.lease_seconds)
                renewed = time.monotonic()

        return keep

    def _given_back(self, lease: BuildLease, facts: Facts, consulted: Consulted) -> bool:
        """Give the lease back where there is something new to fold, or to wait for."""
        if consulted.again:
            self.store.postpone_build(lease, 0, counted=False)
            return True
        if facts.started_at is None:  # nothing but its identity is known
            self.store.postpone_build(lease, self.store.idle, counted=False)
            return True
        return consulted.unavailable is not None and self._awaits_admin(
            lease, facts, consulted.unavailable
        )

    def _awaits_admin(self, lease: BuildLease, facts: Facts, why: AdminUnavailable) -> bool:
        """Wait for FlyteAdmin: long for the name, which stays, and not long for the rest."""
        if self._workers.stopping:  # we hung up ourselves: no reason to go on without it
            self.store.postpone_build(lease, 0, counted=False)
            return True
        if not self._patient:
            return False
        waits_for, silent = f"FlyteAdmin: {why}", lease.terminal_at is None
        if silent:
            seconds, waits = self._backoff(lease.attempts), lease.attempts <= SILENT_TRIES
        else:
            seconds, waits = self._until_asked_again(lease, facts)
        if waits:
            self.store.postpone_build(lease, seconds, counted=silent, waits_for=waits_for)
        return waits

    def _until_asked_again(self, lease: BuildLease, facts: Facts) -> tuple[float, bool]:
        """Seconds until FlyteAdmin is asked again, and whether that is worth while."""
        waited = (lease.claimed_at - (lease.terminal_at or lease.claimed_at)).total_seconds()
        named = lease.pipeline is not None or facts.answer is not None
        left = (self.store.max_settle if named else self.admin_patience) - waited
        pause = min(max(waited, self.retry_seconds), self.max_retry_seconds)
        return min(left, random.uniform(pause / 2, pause)), left > 0  # noqa: S311

    def _settling(self, lease: BuildLease) -> bool:
        """Wait for events that are missing, while they may still be on their way."""
        if not self._patient or lease.terminal_at is None:
            return False
        waited = (lease.claimed_at - lease.terminal_at).total_seconds()
        left = self.store.max_settle - waited
        if left <= 0:
            return False
        pause = max(2 * self.store.min_settle, SHORTEST_WAIT_SECONDS)
        self.store.postpone_build(lease, min(left, pause), counted=False)
        return True

    def _postpone(self, lease: BuildLease, why: str) -> None:
        seconds = self._backoff(lease.attempts)
        if not self._patient and lease.attempts >= REPLAY_TRIES:
            seconds = GIVEN_UP_SECONDS
            self.report.note_unbuildable(lease.execution)
        self.log.warning("Building %s again in %.0f s: %s", lease.execution, seconds, why)
        self.store.postpone_build(lease, seconds, counted=True)

    def _retry_in(self, lineage: Lineage, facts: Facts, consulted: Consulted) -> float | None:
        """When to look again for what could not be read: ever more seldom, then never."""
        asks = self._consultant is not None or self.store.running
        if asks and facts.ended_at is None:
            return self.store.idle
        open_ends = lineage.incomplete or consulted.unavailable
        if not self._patient or not open_ends or facts.started_at is None:
            return None
        age = (_now() - (facts.ended_at or facts.started_at)).total_seconds()
        return min(max(age, 300.0), 86_400.0) if age < self.collector.metadata_age else None

    def _told(self, lineage: Lineage, *, early: bool) -> list[str]:
        """The targets that hear of this execution; of one that just began only some."""
        if not all(self.scope.emits(pipeline.id) for pipeline in lineage.pipelines):
            return []
        if not any(lineage.entities()):
            return []
        if early and lineage.phase == "RUNNING":
            return [name for name, target in self.targets.items() if target.running]
        return list(self.targets)

    # ------------------------------------------------------------------- deliver

    def deliver(self, name: str) -> bool:
        """Deliver one execution to one target; whether there was one."""
        leases = self.store.claim_delivery(name, 1, lease_seconds=self.lease_seconds)  # 11
        for lease in leases:
            self.on_step("claimed delivery")
            self._deliver(lease, self.targets[name])
        return bool(leases)

    def _deliver(self, lease: DeliveryLease, target: Target) -> None:
        began = time.monotonic()
        try:
            lineage, claims, tell = self._claimed(lease, target)
        except StoreError:
            raise  # not this delivery's fault
        except Exception as exc:
            self._failed(lease, exc)
            return
        if lineage is not None and not target.journal:
            lineage = stay(lineage, claims, tell, target.keeps, last_run_only=target.last_run_only)
        self.on_step("prepared")
        try:
            rejections, named = _emit(target, lineage)  # 13
        except Exception as exc:
            self._failed(lease, exc)
            return
        self.on_step("emitted")
        if lineage is not None and target.last_run_only:
            rejections = as_claimed(rejections, lineage)
        settled = self.store.settle(lease, [*tell.values()], rejections, copies=named)  # 14
        self.on_step("settled")
        if settled:
            self._log_delivery(lease, lineage, rejections, time.monotonic() - began)
        else:
            self.log.warning("The lease on %s for %s ran out", lease.execution, lease.target)

    def _claimed(
        self, lease: DeliveryLease, target: Target
    ) -> tuple[Lineage | None, list[Claim], Tell]:
        """What there is to tell, what it claims, and which of the claims are to be told.

        A journal writes down what this execution showed, and claims nothing. Whoever widens
        a window wakes who holds the edges. Those who did so before this claim could not know
        of it: so it is looked once more.
        """
        shown = self._shown(lease)
        if shown is None or target.journal:
            return shown, [], {}
        lineage = self._widened(lease, target, shown)
        claims, tell = self._to_tell(lease, target, lineage)
        again = self._widened(lease, target, shown)
        if again != lineage:
            claims, tell = self._to_tell(lease, target, again)
        return again, claims, tell

    def _shown(self, lease: DeliveryLease) -> Lineage | None:
        """What the operator's rules leave to tell, with what others call its datasets."""
        lineage = self._transformed(lease.lineage)
        if lineage is None:
            return None
        ids = [dataset.id for dataset in lineage.datasets]
        return with_copies(lineage, self.store.copies(ids, besides=lease.target))

    def _widened(self, lease: DeliveryLease, target: Target, lineage: Lineage) -> Lineage:
        """With the edges of other executions, where the target is told those of a window."""
        if not isinstance(target, EdgeKeeper) or target.edges != "window":
            return lineage
        if not lease.lineage.succeeded:
            return lineage
        seconds = target.edge_window * 86_400
        edges = self.store.widen(lease, seen_edges(lineage), window_seconds=seconds)
        return widened(lineage, edges)

    def _to_tell(
        self, lease: DeliveryLease, target: Target, lineage: Lineage
    ) -> tuple[list[Claim], Tell]:
        claims = claims_of(lineage, target.keeps, last_run_only=target.last_run_only)
        tell = self.store.prepare(  # 12
            lease,
            claims,
            raises=lease.lineage.succeeded,
            refresh_seconds=self.refresh_hours * 3600,
        )
        return claims, tell

    def _transformed(self, lineage: Lineage) -> Lineage | None:
        for transform in self.transforms:
            changed = transform.apply(lineage)
            if changed is None:
                return None
            lineage = changed
        return lineage

    def _failed(self, lease: DeliveryLease, exc: Exception) -> None:
        """Decide by the class of the error what becomes of the delivery."""
        known = isinstance(exc, (TargetError, ConfigError))
        last = lease.attempts >= (UNEXPLAINED_TRIES if self._patient else REPLAY_TRIES)
        spent = last and not (self._patient and known)
        if isinstance(exc, PermanentTargetError) or spent:
            self.log.error(
                "Gave up %s for %s: %s",
                lease.execution,
                lease.target,
                exc,
                exc_info=None if known else exc,
                extra={"action": "give up"},
            )
            self.store.give_up(lease, _reason(exc))
            self._note(lease, "given up")
            return
        seconds = self._backoff(lease.attempts)
        if isinstance(exc, TransientTargetError) and exc.retry_after and self._patient:
            seconds = max(seconds, min(exc.retry_after, LONGEST_RETRY_AFTER_SECONDS))
        self.log.warning(
            "Will deliver %s to %s again in %.0f s: %s",
            lease.execution,
            lease.target,
            seconds,
            exc,
            exc_info=None if known else exc,
            extra={"action": "retry"},
        )
        unavailable = isinstance(exc, (TargetUnavailable, ConfigError)) and self._patient
        self.store.settle_later(lease, seconds, _reason(exc), counted=not unavailable)
        self._note(lease, "later")
        if unavailable:
            raise exc

    def _backoff(self, attempts: int) -> float:
        """Seconds to wait after so many attempts: doubled each time, with jitter."""
        if not self._patient:
            return 0.0
        longest = min(self.max_retry_seconds, self.retry_seconds * 2 ** min(attempts - 1, 30))
        return random.uniform(longest / 2, longest)  # noqa: S311

    # ---------------------------------------------------------------- run and stop

    def run(self) -> None:
        """Run until `stop` is called, or the source can never work as configured.

        Raises:
            ConfigError: What the source said when it was first asked.
            FlyteLineageError: A thread ended that should not.
        """
        for number in range(self.pollers if self.source.parallel else 1):
            self._workers.add(f"intake-{number}", self._intake_or_end)
        for number in range(self.builders):
            self._workers.add(f"build-{number}", self.build)
        if not self.emit and (held := self.store.hold_deliveries()):
            self.log.info("Holding %d deliveries that were due", held)
        # Also where nothing is emitted: what somebody asks for is told.
        for name in self.targets:
            self._workers.add(f"deliver-{name}", partial(self.deliver, name))
        self._workers.run(shutdown_timeout=self.shutdown_timeout)

    def stop(self) -> None:
        """Ask the loops to end once the unit in hand is done; may be called twice."""
        self._workers.stop()

    def replay(self) -> Report:
        """Take all that the source has, build it oldest first, deliver it, and return."""
        self._patient = False
        self.report.listing = True
        self.store.replaying = True
        while not self.source.exhausted and not self._workers.stopping:
            self.intake()
        while self._work_once():
            pass
        self.report.note_unbuilt(self.store.unbuilt())
        return self.report

    def _work_once(self) -> bool:
        if self._workers.stopping:
            return False
        # First those that name datasets: the others then need not be told twice.
        names = sorted(self.targets, key=lambda name: not _names(self.targets[name]))
        return self.build() or any(self.deliver(name) for name in names)

    def _intake_or_end(self) -> bool:
        """Receive; a source that has never worked and says it cannot ends the daemon."""
        try:
            return self.intake()
        except ConfigError as exc:
            if self._received:
                raise
            raise Fatal from exc

    # ----------------------------------------------------------------------- logs

    def _log_build(self, lineage: Lineage, seconds: float, reads: int) -> None:
        self.log.info(
            "Built %s (%s): %d tasks, %d datasets%s%s in %.2f s with %d reads",
            lineage.execution,
            lineage.phase,
            len(lineage.tasks),
            len(lineage.datasets),
            ", partial" if lineage.partial else "",
            f", {len(lineage.incomplete)} things unknown" if lineage.incomplete else "",
            seconds,
            reads,
            extra={"action": "build"},
        )

    def _log_guess(self, lineage: Lineage, pipeline: PipelineId) -> None:
        """Say that a name that nobody could confirm is now there to stay."""
        if lineage.name_source == "guessed":
            self.log.warning(
                "%s keeps the guessed name %s: FlyteAdmin did not answer in time",
                lineage.execution,
                pipeline,
                extra={"action": "build"},
            )

    def _note(self, lease: DeliveryLease, outcome: str) -> None:
        self.report.note_delivery(f"{lease.execution} to {lease.target}", lease.target, outcome)

    def _log_delivery(
        self,
        lease: DeliveryLease,
        lineage: Lineage | None,
        rejections: Sequence[Rejection],
        seconds: float,
    ) -> None:
        if lineage is None:
            self._note(lease, "dropped")
            self.log.info(
                "A transform dropped %s for %s",
                lease.execution,
                lease.target,
                extra={"action": "drop"},
            )
            return
        self._note(lease, "delivered")
        for rejection in rejections:
            self.log.warning("%s refused %s: %s", lease.target, rejection.entity, rejection.reason)
        self.log.info(
            "Delivered %s to %s: %d entities in %.2f s",
            lease.execution,
            lease.target,
            sum(1 for _ in lineage.entities()),
            seconds,
            extra={"action": "deliver"},
        )


def _names(target: Target) -> bool:
    """Whether it makes datasets known under names of its own."""
    return type(target).copies is not Target.copies


def _emit(
    target: Target, lineage: Lineage | None
) -> tuple[list[Rejection], Mapping[DatasetId, Copy]]:
    """Tell a target, unless there is nothing to tell: what it refused, and new names."""
    if lineage is None or not any(lineage.entities()):
        return [], {}
    return target.emit(lineage), target.copies()


def _nothing(step: str) -> None:
    """Do nothing at a step."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _pinned(lease: BuildLease) -> Pinned | None:
    if lease.pipeline is None or lease.name_source is None:
        return None
    return Pinned(lease.pipeline, lease.name_source)


def _reason(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
