"""The way from a message to the catalogues: three loops of numbered steps.

    intake     1 receive   2 decode   3 record   4 delete
    build      5 claim     6 fold     7 collect  8 build     9 describe  10 finish
               (after 6 and 8, where there is a FlyteAdmin, it is asked what is missing)
    deliver   11 claim    12 prepare 13 emit    14 settle

What a loop must not lose is in the store before the next step begins, and every step
may happen twice. Rooms do not call each other: they are called from the loops, in
`intake`, `build` and `deliver`, where every decision to try again is made. Here they are
put together, run, watched and stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from flytelineage import __version__
from flytelineage.breaker import Breaker
from flytelineage.build import Build, BuildLimits
from flytelineage.builder import LineageBuilder
from flytelineage.collect import Collector
from flytelineage.consultant import Admin, Consultant
from flytelineage.deliver import Deliver, DeliverLimits
from flytelineage.describer import Describer
from flytelineage.errors import ConfigError, StoreError
from flytelineage.health import Health
from flytelineage.inhand import InHand
from flytelineage.intake import Intake
from flytelineage.metrics import Metrics
from flytelineage.objects import ObjectReader
from flytelineage.pace import Pace
from flytelineage.report import Report
from flytelineage.scope import Scope
from flytelineage.sources import Source
from flytelineage.store import Store
from flytelineage.targets import Target
from flytelineage.transforms import Transform
from flytelineage.upkeep import Upkeep, unfit
from flytelineage.workers import LAST_SECONDS, Fatal, Workers

POLL_LIMIT_SECONDS = 30.0
"""How long the source may take over one receive, waiting for messages not counted."""

LEAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0, 30.0
"""Of a loop whose queue or store does not answer: soon enough for who waits for it to be back."""

KEEP_SECONDS = 1.0
"""Between two looks for messages that take long to store."""

LONG_SECONDS = 900.0
"""A build or a delivery that takes longer is worth knowing of."""


class Daemon(LoggingConfigurable):
    """Runs the three loops, each in threads of its own, until `stop`.

    Attributes:
        metrics: What it counts and measures.
        report: What it did.
        on_step: Called after each step with its name; tests stop the process there.
    """

    version = __version__

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

    max_in_hand_mb = Integer(
        96,
        min=1,
        help="""
        Megabytes of memory for messages that are received and not stored yet. A message
        counts as four times its size, and a receive as the largest of late until it has
        ended; after large ones few go on at once. Lower it where memory is short.

        Example: c.Daemon.max_in_hand_mb = 32
        """,
    ).tag(config=True)

    max_backlog = Integer(
        100_000,
        min=0,
        help="""
        Executions that may wait to be built, or deliveries that may wait at every target.
        With more, messages are received slowly, and the queue keeps the rest: give it a
        retention of 14 days. 0: any number.

        Example: c.Daemon.max_backlog = 1_000_000
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

    deliverers = Integer(
        4,
        min=1,
        max=32,
        help="""
        The most threads that tell one target at once, where it can stand several. There is
        one at first, and one more with each success while there is more to tell. Raise it
        where a catalogue is far away; 1 tells one execution after the other.

        Example: c.Daemon.deliverers = 8
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
        topics: Collection[str] = (),
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        emit: bool = True,
        clock: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.store = store
        self.targets = targets
        self.emit = emit
        self.store.running = any(target.running for target in targets.values())
        self.metrics = Metrics(targets)
        self.report = Report(metrics=self.metrics)
        self.on_step: Callable[[str], None] = _nothing
        self.builder = LineageBuilder(parent=self)
        self._clock = clock
        self._scope = Scope(include, exclude)
        self._pace = Pace(self.retry_seconds, self.max_retry_seconds)
        rests = Pace(
            min(max(self.retry_seconds, LEAST_PAUSE_SECONDS), FIRST_PAUSE_SECONDS),
            min(max(self.max_retry_seconds, LEAST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS),
        )
        self._workers = Workers(
            self.log,
            rest_seconds=self.poll_seconds,
            pause=rests.pause,
            restarted=self._note_restart,
        )
        self._in_hand = InHand(self.max_in_hand_mb * 1024 * 1024)
        self._intake = self._made_intake(instance, topics)
        self._build = self._made_build(reader, admin)
        self._deliver = {
            name: self._made_deliver(name, target, transforms) for name, target in targets.items()
        }
        self._upkeep = self._made_upkeep()

    # ------------------------------------------------------------------- the loops

    def intake(self) -> bool:
        """Take messages from the source into the store; whether there were any."""
        return self._intake.run()

    def build(self) -> bool:
        """Build one execution that is due; whether there was one."""
        return self._build.run()

    def deliver(self, name: str) -> bool:
        """Deliver one execution to one target, if it may be tried; whether there was one."""
        return self._deliver[name].run()

    def upkeep(self) -> bool:
        """Count, clean and sum up; whether there is more to clean up right now."""
        return self._upkeep.run()

    # ---------------------------------------------------------------- run and stop

    def run(self) -> list[str]:
        """Run until `stop` is called, or the source can never work as configured.

        Returns:
            The threads that were still at work when `shutdown_timeout` was over.

        Raises:
            ConfigError: What the source said when it was first asked.
            FlyteLineageError: A thread ended again and again, or stands still.
        """
        limit = self._poll_seconds + POLL_LIMIT_SECONDS
        for number in range(self.pollers if self.source.parallel else 1):
            # Botocore tries three times, and rests in between. Twice that ends the process: a
            # delete may wait for another one, and both may hang.
            self._workers.add(f"intake-{number}", self._intake_or_end, limit=4 * limit)
        for number in range(self.builders):
            self._workers.add(f"build-{number}", self.build)
        if not self.emit and (held := self.store.hold_deliveries()):
            self.log.info("Holding %d deliveries that were due", held)
        # Also where nothing is emitted: what somebody asks for is told.
        for name, target in self.targets.items():
            for number in range(self.deliverers if target.parallel else 1):
                self._workers.add(f"deliver-{name}-{number}", partial(self.deliver, name))
        self._workers.add("keep-hidden", self._keep_hidden, rest_seconds=KEEP_SECONDS)
        self._workers.add("upkeep", self.upkeep)
        rest = min(KEEP_SECONDS, self.lease_seconds / 4)
        self._workers.add("keep-leases", self._keep_leases, rest_seconds=rest)
        try:
            return self._workers.run(shutdown_timeout=self.shutdown_timeout)
        finally:
            self._clear_up()

    def stop(self) -> None:
        """Ask the loops to end once the unit in hand is done; may be called twice."""
        self._workers.stop()

    def replay(self) -> Report:
        """Take all that the source has, build it oldest first, deliver it, and return."""
        self._pace.patient = False
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
            if self._intake.worked:
                raise
            raise Fatal from exc

    def _keep_hidden(self) -> bool:
        self._intake.keep_hidden()
        return False

    def _keep_leases(self) -> bool:
        for loop in self._with_leases:
            loop.keep_leases()
        return False

    def _clear_up(self) -> None:
        """Give back what was left, in the time that a stop still has; what hangs is left, too."""
        until = time.monotonic() + min(LAST_SECONDS, self.shutdown_timeout / 2)
        clearing = [
            threading.Thread(target=one, name="clearing", daemon=True)
            for one in (self._intake.give_back, self._give_leases_back)
        ]
        for thread in clearing:
            thread.start()
        for thread in clearing:
            thread.join(max(0.0, until - time.monotonic()))

    def _give_leases_back(self) -> None:
        for loop in self._with_leases:
            try:
                loop.give_back()
            except StoreError as exc:  # then they end by themselves
                self.log.debug("Leases were not given back: %s", exc)

    # --------------------------------------------------------------------- watching

    def health(self) -> Health:
        """What is wrong right now, in three degrees."""
        stalled = [f"{name} stands still" for name in self._workers.stalled()]
        unready = [f"store: {self._upkeep.store_failed}"] if self._upkeep.store_failed else []
        unready += [f"source: {self._upkeep.source_failed}"] if self._upkeep.source_failed else []
        unready += [f"intake: {words}" for words in self._intake.troubles]
        breakers = {name: loop.breaker for name, loop in self._deliver.items()}
        slow = self._workers.slower_than(LONG_SECONDS)
        return Health(tuple(stalled), tuple(unready), unfit(breakers, slow))

    def overview(self) -> Mapping[str, Any]:
        """`Store.status`, as of the last look at it; empty before the first one."""
        return self._upkeep.status

    def _note_restart(self, name: str) -> None:
        self.metrics.worker_restarts.labels(name.partition("-")[0]).inc()

    # --------------------------------------------------------------------- assembly

    @property
    def _with_leases(self) -> Sequence[Build | Deliver]:
        return [self._build, *self._deliver.values()]

    @property
    def _poll_seconds(self) -> float:
        """How long a receive waits for messages."""
        return float(getattr(self.source, "wait_seconds", 0.0))

    def _reached(self, step: str) -> None:
        self._workers.alive()
        self.on_step(step)

    def _made_intake(self, instance: str, topics: Collection[str]) -> Intake:
        return Intake(
            self.source,
            self.store,
            scope=self._scope,
            instance=instance,
            topics=topics,
            in_hand=self._in_hand,
            wait=self._workers.wait,
            stopping=lambda: self._workers.stopping,
            **self._shared(),
        )

    def _made_build(self, reader: ObjectReader, admin: Admin | None) -> Build:
        return Build(
            self.store,
            reader,
            collector=Collector(parent=self),
            builder=self.builder,
            describer=Describer(parent=self),
            consultant=self._made_consultant(admin) if admin else None,
            scope=self._scope,
            targets=self.targets,
            limits=BuildLimits(self.lease_seconds, self.patience, self.admin_patience),
            pace=self._pace,
            held=not self.emit,
            stopping=lambda: self._workers.stopping,
            **self._shared(),
        )

    def _made_consultant(self, admin: Admin) -> Consultant:
        return Consultant(
            admin,
            self.store,
            self._scope,
            idle=timedelta(seconds=self.store.idle),
            stopping=lambda: self._workers.stopping,
            log=self.log,
        )

    def _made_deliver(self, name: str, target: Target, transforms: Sequence[Transform]) -> Deliver:
        breaker = Breaker(
            max_parallel=self.deliverers if target.parallel else 1,
            pause=self._pace.pause,
            clock=self._clock,
        )
        return Deliver(
            name,
            target,
            self.store,
            transforms=transforms,
            breaker=breaker,
            limits=DeliverLimits(self.lease_seconds, self.refresh_hours * 3600),
            pace=self._pace,
            **self._shared(),
        )

    def _made_upkeep(self) -> Upkeep:
        return Upkeep(
            self.source,
            self.store,
            self._intake,
            self._in_hand,
            breakers={name: loop.breaker for name, loop in self._deliver.items()},
            max_backlog=self.max_backlog,
            report=self.report,
            metrics=self.metrics,
            log=self.log,
            clock=self._clock,
        )

    def _shared(self) -> dict[str, Any]:
        """What every loop tells of itself to."""
        return {
            "report": self.report,
            "metrics": self.metrics,
            "log": self.log,
            "reached": self._reached,
        }


def _names(target: Target) -> bool:
    """Whether it makes datasets known under names of its own."""
    return type(target).copies is not Target.copies


def _nothing(step: str) -> None:
    """Do nothing at a step."""
