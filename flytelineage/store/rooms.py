"""An open store: its database, its lock, and the rooms that work on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, func, select, update

from flytelineage.errors import ConfigError
from flytelineage.store import files, migrate
from flytelineage.store.again import Again
from flytelineage.store.backfills import Backfills
from flytelineage.store.builds import Builds
from flytelineage.store.clock import DAY
from flytelineage.store.compact import Compact
from flytelineage.store.copies import Copies
from flytelineage.store.database import Database, parse_url, sqlite_file
from flytelineage.store.definitions import Definitions
from flytelineage.store.deliveries import Deliveries
from flytelineage.store.disk import Disk
from flytelineage.store.inquiry import Inquiry
from flytelineage.store.intake import Intake
from flytelineage.store.overview import Overview
from flytelineage.store.pauses import Pauses
from flytelineage.store.registry import Registry
from flytelineage.store.retention import Retention
from flytelineage.store.schema import (
    asked,
    delivery,
    event,
    execution,
    lineage,
    location,
    pause,
    quarantine,
    watermark,
)
from flytelineage.store.watermark import Watermark
from flytelineage.store.window import Window


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything that needs a connection; made by `open`."""

    database: Database
    lock: files.ExclusiveLock | None
    intake: Intake
    builds: Builds
    registry: Registry
    definitions: Definitions
    backfills: Backfills
    deliveries: Deliveries
    watermark: Watermark
    window: Window
    copies: Copies
    overview: Overview
    inquiry: Inquiry
    again: Again
    retention: Retention
    compact: Compact
    pauses: Pauses
    disk: Disk

    @classmethod
    def open(
        cls,
        url: str,
        *,
        exclusive: bool,
        clock: Callable[[], datetime] | None,
        pool_size: int,
        warn: Callable[..., None] | None,
    ) -> Rooms:
        """Connect and migrate; on failure nothing is left open."""
        parsed = parse_url(url)
        path = sqlite_file(parsed)
        lock = None
        if path is not None:
            _check_disk(path, warn)
            lock = files.ExclusiveLock(path) if exclusive else None
        database = Database(parsed, clock=clock, pool_size=pool_size)
        try:
            database.check()
            _migrate(database, path, locked=lock is not None)
            if path is not None and clock is None:
                _go_on(database, alone=lock is not None)
            if lock is not None:
                database.write(_end_leases)
        except BaseException:
            database.close()
            if lock is not None:
                lock.release()
            raise
        return cls(
            database=database,
            lock=lock,
            intake=Intake(database),
            builds=Builds(database),
            registry=Registry(database),
            definitions=Definitions(database),
            backfills=Backfills(database),
            deliveries=Deliveries(database),
            watermark=Watermark(database),
            window=Window(database),
            copies=Copies(database),
            overview=Overview(database),
            inquiry=Inquiry(database),
            again=Again(database),
            retention=Retention(database),
            compact=Compact(database),
            pauses=Pauses(database),
            disk=Disk(database, path),
        )

    def close(self) -> None:
        """Close the connections, then let other processes in."""
        self.database.close()
        if self.lock is not None:
            self.lock.release()


def _end_leases(connection: Connection) -> None:
    """Wait for nobody: whoever had the file before is dead, or the lock were not ours."""
    for table in (execution, delivery):
        ended = update(table).where(table.c.lease_until.is_not(None)).values(lease_until=0)
        connection.execute(ended)


def _go_on(database: Database, *, alone: bool) -> None:
    """Set the clock of an SQLite store not behind what was written last."""
    far_ahead = database.steady.catch_up(database.read(_last_written))
    if far_ahead and alone:
        database.write(partial(_bring_back, database))


def _last_written(connection: Connection) -> int:
    latest = (
        connection.scalar(select(event.c.received_at).order_by(event.c.id.desc()).limit(1)),
        connection.scalar(select(func.max(lineage.c.built_at))),
    )
    return max(moment or 0 for moment in latest)


def _bring_back(database: Database, connection: Connection) -> None:
    """Make what a clock that was wrong by years put off for years due now.

    What it wrote down happened no later than now, or it would be the youngest for years.
    """
    now = database.now(connection)
    for column in (*_PUT_OFF, *_WRITTEN):
        far = update(column.table).where(column > now + DAY)
        connection.execute(far.values({column: now}))


_PUT_OFF = (
    execution.c.terminal_at,
    execution.c.due_at,
    delivery.c.wanted_at,
    delivery.c.due_at,
    pause.c.until,
)

_WRITTEN = (
    event.c.received_at,
    execution.c.archived_at,
    lineage.c.built_at,
    delivery.c.settled_at,
    delivery.c.error_at,
    watermark.c.accepted_at,
    location.c.registered_at,
    asked.c.asked_at,
    quarantine.c.first_seen,
    quarantine.c.last_seen,
)


def _check_disk(path: Path, warn: Callable[..., None] | None) -> None:
    if not path.parent.is_dir():
        raise ConfigError(
            f"There is no folder {path.parent} for the store: make it, or set Store.path or "
            "FlyteLineage.state_dir"
        )
    kind = files.file_system(path.parent)
    if kind in files.NETWORK:
        raise ConfigError(
            f"The store {path} lies on a network file system ({kind}), where SQLite loses data: "
            "set Store.path or FlyteLineage.state_dir to a local disk, or Store.url to PostgreSQL"
        )
    if kind in files.THROW_AWAY and warn is not None:
        warn(
            "The store %s lies on a file system that is thrown away (%s): "
            "mount a volume there, or set Store.path or FlyteLineage.state_dir",
            path,
            kind,
        )


def _migrate(database: Database, path: Path | None, *, locked: bool) -> None:
    """Bring the tables up to date; on SQLite never below a process that uses them."""
    if not migrate.behind(database):
        return
    if path is None or locked:
        migrate.upgrade(database)
        return
    guard = files.ExclusiveLock(path)
    try:
        migrate.upgrade(database)
    finally:
        guard.release()
