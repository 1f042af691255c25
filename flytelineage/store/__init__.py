"""The store: events, executions, lineage and deliveries; the only room that knows SQL.

It promises that what `record` returned from is durable, that everything may happen
twice and the second time changes nothing, and that who lost a lease changes nothing.
It owns the clock. Importing this module imports no SQLAlchemy; opening a store does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Callable, Float, Integer, Unicode
from traitlets.config import LoggingConfigurable

from flytelineage.entities import Copy, DatasetId, ExecutionId, PipelineId
from flytelineage.errors import StoreError
from flytelineage.options import Secret
from flytelineage.store.values import (
    FLYTEADMIN,
    PIPELINE_KEY,
    Awaited,
    Backfill,
    BuildLease,
    Built,
    Claim,
    Cleaned,
    DeliveryLease,
    Keep,
    Matching,
    Paused,
    Places,
    Quarantined,
    Refused,
    Registration,
    SeenEdges,
    Size,
    Standing,
    Told,
    Unsettled,
    refusals,
)

if TYPE_CHECKING:
    from flytelineage.events import Event
    from flytelineage.store.room import Bounds
    from flytelineage.store.rooms import Rooms
    from flytelineage.targets import Rejection

__all__ = [
    "FLYTEADMIN",
    "PIPELINE_KEY",
    "Awaited",
    "Backfill",
    "BuildLease",
    "Built",
    "Claim",
    "Cleaned",
    "DeliveryLease",
    "Keep",
    "Matching",
    "Paused",
    "Places",
    "Quarantined",
    "Refused",
    "Registration",
    "SeenEdges",
    "Size",
    "Standing",
    "Store",
    "Told",
    "Unsettled",
    "refusals",
]


class Store(LoggingConfigurable):
    """Keeps everything, in one SQLite file or in a PostgreSQL that replicas share.

    All methods may be called by several threads at once. Any of them raises
    `StoreError` when the database does not answer; then nothing has changed.
    """

    url = Secret(
        help="""
        The database: postgresql://user:password@host/database, or sqlite:////path/to/file.
        Set it to share one PostgreSQL between replicas. A secret: a value, env:NAME or
        file:/path. Empty: an SQLite file at `Store.path`.

        Example: c.Store.url = "env:FLYTELINEAGE_STORE_URL"
        """
    ).tag(config=True)
    path = Unicode(
        help="""
        The SQLite file that is used while `Store.url` is empty, absolute or relative to
        the working directory; on a local disk that outlives the process. Empty:
        `flytelineage.sqlite3` in `FlyteLineage.state_dir`.

        Example: c.Store.path = "/var/lib/flytelineage/flytelineage.sqlite3"
        """,
    ).tag(config=True)
    min_settle = Float(
        10.0,
        min=0,
        help="""
        Seconds to wait after the event that ends an execution, and after each later one,
        before its lineage is built. Raise it when events often arrive late. 0: at once.

        Example: c.Store.min_settle = 30
        """,
    ).tag(config=True)
    max_settle = Float(
        600.0,
        min=0,
        help="""
        Seconds to wait, from the event that ends an execution, for events that are
        missing before its lineage is built without them and marked partial. 0: never wait.

        Example: c.Store.max_settle = 1800
        """,
    ).tag(config=True)
    idle = Float(
        86400.0,
        min=1,
        help="""
        Seconds without any event after which an execution that has not ended is looked at.
        Raise it when single tasks run for longer than a day without an event.

        Example: c.Store.idle = 259200
        """,
    ).tag(config=True)
    pool_size = Integer(
        10,
        min=1,
        max=200,
        help="""
        Connections to the database that are kept open; up to three times as many are
        opened under load. Lower it when many replicas share a small PostgreSQL.

        Example: c.Store.pool_size = 5
        """,
    ).tag(config=True)
    min_free_mb = Integer(
        256,
        min=0,
        help="""
        MiB that the disk of an SQLite store must have left, or 5 % of it where that is less;
        below that nothing is received until there is room. Raise it where others fill the
        same disk. 0 uses the disk up. PostgreSQL looks after its own.

        Example: c.Store.min_free_mb = 1024
        """,
    ).tag(config=True)
    keep_events = Float(
        30.0,
        min=0,
        help="""
        Days for which events are kept. Then those of executions go that were built and
        told; what was built of them stays, and is built no more. A delivery that could not
        be told for so long is given up, with a warning. Lower it to save room; keep it
        longer than the queue keeps its messages. 0: for ever.

        Example: c.Store.keep_events = 14
        """,
    ).tag(config=True)
    keep_lineage = Float(
        90.0,
        min=0,
        help="""
        Days for which the lineage of an execution is kept after it was built; until then
        `retry` can tell it again, also to a new target. What a catalogue was told last of
        anything stays, whatever its age. 0: for ever.

        Example: c.Store.keep_lineage = 30
        """,
    ).tag(config=True)
    keep_deliveries = Float(
        90.0,
        min=0,
        help="""
        Days for which `status` can say when a target was told of an execution, and what it
        refused. Deliveries that are held are given up after so long. 0: for ever.

        Example: c.Store.keep_deliveries = 30
        """,
    ).tag(config=True)
    keep_runs = Float(
        365.0,
        min=0,
        help="""
        Days for which it is remembered that an execution ran, after all else of it is gone,
        so that a late event of it is known to be late. An execution without an end and
        without any event for so long is given up. 0: for ever.

        Example: c.Store.keep_runs = 180
        """,
    ).tag(config=True)
    keep_quarantine = Float(
        30.0,
        min=0,
        help="""
        Days for which a message that could not be read is kept after it came last. Raise
        it when upgrades, after which it may be read, are rare. 0: for ever.

        Example: c.Store.keep_quarantine = 90
        """,
    ).tag(config=True)
    keep_locations = Float(
        0.0,
        min=0,
        help="""
        Days for which it is remembered who wrote a location. Executions that read something
        older, perhaps from the cache, get no edge to it. Set it when the bucket forgets data
        as fast. 0: for ever.

        Example: c.Store.keep_locations = 730
        """,
    ).tag(config=True)
    max_quarantine_mb = Integer(
        256,
        min=1,
        help="""
        Megabytes of messages that could not be read which are kept at most. Where a flood of
        them brings more, the oldest lose their bodies; the reason stays. Lower it on a small
        disk.

        Example: c.Store.max_quarantine_mb = 64
        """,
    ).tag(config=True)
    max_quarantine = Integer(
        100_000,
        min=1,
        help="""
        Messages that could not be read which are kept at most; the oldest go first. Lower it
        on a small disk.

        Example: c.Store.max_quarantine = 10_000
        """,
    ).tag(config=True)

    replaying = Bool(
        False,
        help="""
        Settle and idle count as over: an execution that has ended is due since its start,
        so that the oldest is built first, and one that has not is never due.
        """,
    )
    running = Bool(
        False,
        help="""
        An execution is due soon after its first event, too, and not only once it ended.
        """,
    )
    clock = Callable(
        None,
        allow_none=True,
        help="Tells the time instead of the database (PostgreSQL) or the machine (SQLite).",
    )

    _opened: Rooms | None = None

    # ------------------------------------------------------------- open and close

    def open(self, *, exclusive: bool) -> None:
        """Connect, and bring the tables to this release where they are behind.

        Args:
            exclusive: No other process may use an SQLite file meanwhile. The daemon
                asks for that; a look at the store does not.

        Raises:
            ConfigError: The URL or the file cannot be used, another process holds the
                file, or a newer release wrote the store.
            StoreError: The database does not answer.
        """
        from flytelineage.store.rooms import Rooms

        self._opened = Rooms.open(
            self._url(),
            exclusive=exclusive,
            clock=self.clock,
            pool_size=self.pool_size,
            warn=None if self.replaying or not exclusive else self.log.warning,
        )
        self._opened.intake.room.bounds = self._bounds()

    def close(self) -> None:
        """Let go of the database; a second time does nothing."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def describe(self) -> str:
        """The store in a few words, without its password; for an open one."""
        return self._rooms.database.describe()

    def size(self) -> Size:
        """How much room the store takes, and how much its disk has left."""
        return self._rooms.disk.size()

    def check_room(self) -> None:
        """See that an SQLite store has room for what comes next; to be asked before that.

        Raises:
            StoreError: Its disk has less left than `min_free_mb`; it says what to do.
        """
        self._rooms.disk.check_room(self.min_free_mb)

    def _url(self) -> str:
        if self.url:
            return str(self.url.reveal())
        folder = getattr(self.parent, "state_dir", None) or "."
        path = Path(self.path) if self.path else Path(folder, "flytelineage.sqlite3")
        return f"sqlite:///{path.absolute()}"

    @property
    def _rooms(self) -> Rooms:
        if self._opened is None:
            raise StoreError("The store is not open")
        return self._opened

    # --------------------------------------------------------------------- intake

    def record(self, events: Sequence[Event], refused: Sequence[Refused] = ()) -> int:
        """Store a group of events, and of bodies that could not be read, for good.

        An event that is known vanishes. A new one raises the revision of its execution
        and sets when that is due. An event that the database refuses as data goes to
        quarantine, the others are stored. Safe to repeat.

        Returns:
            How many events were new.

        Raises:
            StoreError: Not all is stored; record the whole group again.
        """
        from flytelineage.store.intake import Waits

        waits = Waits(
            settle=self.min_settle, idle=self.idle, over=self.replaying, running=self.running
        )
        return self._rooms.intake.record(events, refused, waits)

    @property
    def culprits(self) -> int:
        """How many events the database refused as data, since it was opened."""
        return self._rooms.intake.culprits

    def events(self, execution: ExecutionId) -> Iterator[Event]:
        """The events of an execution, as a stream of bounded memory, in any order."""
        return self._rooms.intake.events(execution)

    def export(self, execution: ExecutionId) -> Iterator[Event]:
        """As `events`: `flytelineage.events.body` makes each what `replay` reads."""
        return self.events(execution)

    def seen(self, executions: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Those of which any event is stored."""
        return self._rooms.intake.seen(executions)

    def ended(self, executions: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Those of which the event is stored that ends them."""
        return self._rooms.intake.ended(executions)

    # ---------------------------------------------------------------------- build

    def claim_build(self, limit: int, *, lease_seconds: float) -> list[BuildLease]:
        """Take up to `limit` due executions for this replica, by the store's own clock.

        A claimed execution stays invisible to others until its lease ends.

        Returns:
            Oldest due first; empty when nothing is due.

        Raises:
            StoreError: The database does not answer; nothing was claimed.
        """
        return self._rooms.builds.claim(
            limit, lease_seconds=lease_seconds, ended_only=self.replaying
        )

    def keep_build(self, lease: BuildLease, *, lease_seconds: float) -> bool:
        """Hold a build for so many seconds from now; False when somebody else has it."""
        return self._rooms.builds.keep(lease, lease_seconds=lease_seconds)

    def postpone_build(
        self,
        lease: BuildLease,
        seconds: float,
        *,
        counted: bool,
        waits_for: str | None = None,
    ) -> bool:
        """Give a lease back; the execution is due again later, or when an event comes.

        `counted` says that this was an attempt, not a wait for what is not there yet;
        `waits_for` is what `status` shows people meanwhile.

        Returns:
            False when the lease no longer holds; then nothing changed.
        """
        return self._rooms.builds.postpone(lease, seconds, counted=counted, waits_for=waits_for)

    def finish_build(
        self, lease: BuildLease, built: Built, targets: Sequence[str], *, held: bool = False
    ) -> bool:
        """Store what a build found and make it due at every target.

        A target that was told the very same keeps its peace. If another execution made
        something known meanwhile that this build lacked, it is due again at once.
        Deliveries that are `held` wait until somebody asks for them. Targets go by their
        names in the configuration.

        Returns:
            False when the lease no longer holds; then nothing changed.

        Raises:
            RefusedByStoreError: The lineage can never be stored; nothing changed.
        """
        return self._rooms.builds.finish(lease, built, targets, held=held)

    def rebuild(self, execution: ExecutionId) -> bool:
        """Make an execution due now; False when nothing of it is stored."""
        return self._rooms.builds.rebuild(execution)

    def locations(self, keys: Iterable[str]) -> dict[str, DatasetId | None]:
        """Those of the keys that are registered, with the dataset they lead to."""
        return self._rooms.registry.locations(keys)

    def places(self, pipeline: PipelineId) -> Places:
        """Where the tasks of a pipeline stand, as far as any build has shown."""
        return self._rooms.registry.places(pipeline)

    # ----------------------------------------------------- what FlyteAdmin said

    def definitions(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Those of the definitions that are kept; see `definition_keys`."""
        return self._rooms.definitions.definitions(keys)

    def kept(self, keys: Iterable[str]) -> set[str]:
        """Those of these definitions that are kept, without reading them."""
        return self._rooms.definitions.kept(keys)

    def keep_definition(self, key: str, body: bytes) -> bool:
        """Keep a definition for good; whether it was new. The first writer wins.

        Raises:
            RefusedByStoreError: It is too large; nothing changed.
        """
        return self._rooms.definitions.keep(key, body)

    def asked(self, keys: Iterable[str]) -> dict[str, datetime]:
        """Those of the questions that FlyteAdmin was asked, with the last time."""
        return self._rooms.definitions.asked(keys)

    def note_asked(self, keys: Iterable[str]) -> None:
        """Remember that FlyteAdmin was asked just now, whatever it answered."""
        self._rooms.definitions.note_asked(keys)

    def backfill(self, key: str) -> Backfill | None:
        """How far a backfill has come; `None` when it has not begun."""
        return self._rooms.backfills.find(key)

    def note_backfill(self, state: Backfill) -> None:
        """Write down how far a backfill has come; what it recorded is stored before."""
        self._rooms.backfills.note(state)

    # -------------------------------------------------------------------- deliver

    def claim_delivery(
        self, target: str, limit: int, *, lease_seconds: float, in_order: bool = False
    ) -> list[DeliveryLease]:
        """Take up to `limit` deliveries that are due at a target, the oldest due first.

        Unless they are wanted `in_order`, the newest execution of the same pipeline that is
        due stands in for an older one: the others then have little left to tell.

        Raises:
            StoreError: The database does not answer; nothing was claimed.
        """
        return self._rooms.deliveries.claim(
            target, limit, lease_seconds=lease_seconds, in_order=in_order
        )

    def hold_deliveries(self) -> int:
        """Hold what is due at any target, but not what somebody asked for by `retry`.

        Returns:
            How many are held now that were not.
        """
        return self._rooms.deliveries.hold()

    def prepare(
        self,
        lease: DeliveryLease,
        claims: Sequence[Claim],
        *,
        raises: bool,
        refresh_seconds: float,
    ) -> dict[tuple[str, str], Claim]:
        """Raise the watermark, for good, before anything is told.

        Runs need no claim. Executions that failed raise nothing: they tell only what
        nobody has told, and never stand in the way of others. What is unchanged is told
        again after `refresh_seconds`.

        Returns:
            The claims to tell by entity and aspect: what a newer execution told is left
            out, and what is unchanged. Each says what of its parts is there no more; besides
            the claims that were made there are those of entities that ended with a part.
            Empty when the lease no longer holds.
        """
        return self._rooms.watermark.prepare(
            lease, claims, raises=raises, refresh_seconds=refresh_seconds
        )

    def widen(
        self, lease: DeliveryLease, seen: Iterable[SeenEdges], *, window_seconds: float
    ) -> dict[str, list[str]]:
        """Add the edges that an execution showed to those of the others in a window.

        The window ends with the newest execution of the same version. Whoever told the
        edges last is due again where there are more of them now.

        Returns:
            By entity, all edges in the window, as they were given.
        """
        return self._rooms.window.widen(lease, seen, window_seconds=window_seconds)

    def copies(self, datasets: Iterable[DatasetId], *, besides: str) -> dict[DatasetId, list[Copy]]:
        """Under which names targets `besides` this one have datasets in their catalogues."""
        return self._rooms.copies.of(datasets, besides=besides)

    def settle(
        self,
        lease: DeliveryLease,
        told: Sequence[Claim],
        rejections: Sequence[Rejection],
        *,
        copies: Mapping[DatasetId, Copy] | None = None,
        dropped: bool = False,
    ) -> bool:
        """Settle a delivery that the target took; `told` is what `prepare` let through.

        Whoever holds an entity that was told over tells it again. What was rejected is
        taken back. If a newer build came meanwhile, the delivery stays due. If the target
        made datasets known under names that are new, all other targets are due.
        `dropped` says that the operator's rules left nothing to tell, which people ask for.

        Returns:
            False when the lease no longer holds: then nothing changed, except that the
            holders of all that was told tell it again, and this delivery its runs.
        """
        return self._rooms.watermark.settle(lease, told, rejections, copies or {}, dropped=dropped)

    def keep_delivery(self, lease: DeliveryLease, *, lease_seconds: float) -> bool:
        """Hold a delivery for so many seconds from now; False when somebody else has it."""
        return self._rooms.deliveries.keep(lease, lease_seconds=lease_seconds)

    def settle_later(
        self, lease: DeliveryLease, seconds: float, error: str, *, counted: bool = True
    ) -> bool:
        """Put a delivery off after a failure.

        It is not `counted` where the failure is the target's, not this delivery's.

        Returns:
            False when the lease no longer holds; as nobody knows what was told by
            then, the delivery is made due again.
        """
        return self._rooms.deliveries.settle_later(lease, seconds, error, counted=counted)

    def give_up(self, lease: DeliveryLease, error: str, told: Sequence[Claim] = ()) -> bool:
        """Settle a delivery that the target refuses for good; what it displaced is due.

        Of `told`, what `prepare` let through, the target may have taken some before it
        refused the rest: who told that besides tells it again.

        Returns:
            False when the lease no longer holds, as for `settle_later`.
        """
        return self._rooms.watermark.give_up(lease, error, told)

    def note_pause(self, target: str, reason: str, seconds: float) -> None:
        """Write down for people that a target is told nothing for so many seconds."""
        self._rooms.pauses.note(target, reason, seconds)

    def note_resumed(self, target: str) -> None:
        """Forget that a target was paused, by this process or by another one."""
        self._rooms.pauses.end(target)

    # ------------------------------------------------------- for people, and replay

    def status(self) -> dict[str, Any]:
        """What is stored and what is stuck, in words and numbers that JSON can write.

        Returns:
            `executions`: how many are `collecting`, `due`, `building` or `built`, and of
            the built ones `partial`, `incomplete`, `waiting`, `guessed`, `unnamed`; how
            many of those that are not built wait for FlyteAdmin: `unanswered`.
            `deliveries`, by target: how many are `due`, `later`, `telling`, `held`,
            `delivered` or `given_up`, how many `rejected` something, and
            `oldest_seconds`, the age of the oldest that is not settled, or None.
            `paused`: targets that are told nothing for a while, each with `reason`, `since`
            and `until`.
            `quarantine`: bodies by reason.
            `errors`, the newest first: `execution`, `target`, `state`, `attempts`,
            `error`, `rejections`, the same in words: `refused`, `at`.
            `problems`, the newest first: `execution` and its `reasons`.
            `definitions`: how many versions of workflows and launch plans are kept.
            `backfills` that are not finished: `project`, `domain`, `since`, `until`,
            `reached`, `recorded`, `known`, `gone`.
        """
        return self._rooms.overview.status()

    def counts(self) -> dict[str, Any]:
        """The numbers of `status` alone, for gauges that are read every minute.

        Returns:
            `executions` and `deliveries` as in `status`; of `quarantine` the `rows`, and the
            `bytes` of the bodies that are kept.
        """
        return self._rooms.overview.counts()

    def standing(self, execution: ExecutionId) -> Standing | None:
        """How far the store has come with an execution; `None` when it knows none."""
        return self._rooms.inquiry.standing(execution)

    def registrations(self, keys: Iterable[str]) -> dict[str, Registration]:
        """As `locations`, with who registered them and when."""
        return self._rooms.inquiry.registrations(keys)

    def awaited(self, key: str, limit: int) -> Awaited:
        """Which executions wait for a key, up to `limit` of them."""
        return self._rooms.inquiry.awaited(key, limit)

    def named(self, names: Iterable[str], limit: int) -> list[ExecutionId]:
        """Up to `limit` executions of these names; slow, since it looks at all there are."""
        return self._rooms.inquiry.named(names, limit)

    def unbuilt(self) -> list[ExecutionId]:
        """Executions that were never built, the oldest first."""
        return self._rooms.overview.unbuilt()

    def work_left(self) -> bool:
        """Whether a build is due or under way, or a delivery is not settled yet.

        Deliveries that are held or given up do not count, nor executions due later.
        """
        return self._rooms.overview.work_left(ended_only=self.replaying)

    def next_due_in(self) -> float | None:
        """Seconds until a build or a delivery can be claimed; None when none ever will."""
        return self._rooms.overview.next_due_in(ended_only=self.replaying)

    def retry(
        self,
        *,
        targets: Sequence[str] = (),
        execution: ExecutionId | None = None,
        states: Sequence[str] = ("given_up",),
        since: datetime | None = None,
        until: datetime | None = None,
        error: str = "",
        dry_run: bool = False,
    ) -> int:
        """Make deliveries due again, even if unchanged; how many, also if `dry_run`.

        Every condition restricts, `since` and `until` by the time of the build, `error`
        by a glob over what the last try said. With `targets` and `since`, and without
        `error`, executions that a target was never told of count too.
        """
        from flytelineage.store.again import Wanted

        wanted = Wanted(targets, execution, states, since, until, error)
        return self._rooms.again.retry(wanted, dry_run=dry_run)

    def matching(
        self,
        *,
        targets: Sequence[str] = (),
        execution: ExecutionId | None = None,
        states: Sequence[str] = ("given_up",),
        since: datetime | None = None,
        until: datetime | None = None,
        error: str = "",
    ) -> list[Matching]:
        """What `retry` would make due, by target, state and error, most frequent first."""
        from flytelineage.store.again import Wanted

        wanted = Wanted(targets, execution, states, since, until, error)
        return self._rooms.again.matching(wanted)

    # --------------------------------------------------------------------- retention

    def clean(self) -> Cleaned:
        """Do one small step of forgetting what is old; to be called again and again.

        A step is one short transaction. A pass through the store takes many of them, and
        the next pass begins an hour after the last one did; in between nothing is done.

        Raises:
            StoreError: The database does not answer; nothing was removed.
        """
        cleaned = self._rooms.retention.clean(self._keep())
        gone = self._rooms.intake.room.take_removed()
        return cleaned.also("quarantine", gone) if gone else cleaned

    def old(self) -> dict[str, int]:
        """How many rows a pass would remove by their age, and `undelivered` give up."""
        return self._rooms.retention.old(self._keep())

    def vacuum(self) -> None:
        """Give room that was freed back to the disk; writers wait for it on SQLite.

        Raises:
            StoreError: The database does not answer, or there is no room to do it.
        """
        self._rooms.compact.vacuum()

    def _bounds(self) -> Bounds:
        from flytelineage.store.room import Bounds

        return Bounds(self.max_quarantine_mb << 20, self.max_quarantine)

    def _keep(self) -> Keep:
        return Keep(
            events=self.keep_events,
            lineage=self.keep_lineage,
            deliveries=self.keep_deliveries,
            runs=self.keep_runs,
            quarantine=self.keep_quarantine,
            locations=self.keep_locations,
        )

    def quarantined(self, limit: int) -> list[Quarantined]:
        """The bodies that came last, without the bodies themselves."""
        return self._rooms.intake.quarantined(limit)

    def quarantine_body(self, id: str) -> str:
        """The body as it came.

        Raises:
            StoreError: There is none with this id, or there was no room to keep it.
        """
        body = self._rooms.intake.quarantine_body(id)
        if body is None:
            raise StoreError(f"Nothing in quarantine has the id {id}")
        if not body:
            raise StoreError(
                f"There was no room to keep the body of {id}; see Store.max_quarantine_mb"
            )
        return body

    def quarantine_release(self, ids: Iterable[str]) -> int:
        """Forget bodies that were replayed; how many there were."""
        return self._rooms.intake.quarantine_release(ids)
