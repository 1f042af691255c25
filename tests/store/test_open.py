"""Opening a store: tables of the right release, one process per file, clear refusals."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import URL

from flytelineage.errors import ConfigError, RefusedByStoreError, StoreError
from flytelineage.events import Event
from flytelineage.store import Store, files
from flytelineage.store.database import Database, Raced, parse_url, to_us
from flytelineage.store.migrate import migrate, upgrade
from flytelineage.store.schema import SCHEMA, event, metadata
from tests import postgres
from tests.store.conftest import Clock, OpenStore, at_once, execution
from tests.store.conftest import event as an_event

CANARY = "c4nary"
only_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def database(store: Store) -> Database:
    return store._rooms.database


@pytest.fixture
def raw(url: str) -> Iterator[Database]:
    """The same database, without a store around it."""
    opened = Database(parse_url(url))
    yield opened
    opened.close()


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Make stores on one file, closed at the end."""
    stores: list[Store] = []

    def make(**traits: Any) -> Store:
        stores.append(Store(path=str(tmp_path / "store.sqlite3"), **traits))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def set_version(database: Database, version: str) -> None:
    database.write(
        lambda connection: connection.execute(
            sqlalchemy.text("UPDATE alembic_version SET version_num = :version"),
            {"version": version},
        )
    )


# -------------------------------------------------------------------- migrations


def test_migrations_make_exactly_the_tables_of_the_code(raw: Database) -> None:
    """Nothing was forgotten in either."""
    raw.write(migrate)

    differences = raw.read(
        lambda connection: compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
    )

    assert differences == []


def test_migrations_name_everything_as_the_code_does(
    raw: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Constraints, indexes and collations too: a later migration goes by their names."""
    raw.write(migrate)
    migrated = raw.read(described)
    server: URL | None = None
    if raw.dialect == "postgresql":
        server = request.getfixturevalue("postgres_server")

    assert migrated == (in_schema(server) if server else in_file(tmp_path / "other.sqlite3"))


def in_schema(server: URL) -> dict[str, Any]:
    with postgres.schema(server) as url:
        return created(url)


def in_file(path: Path) -> dict[str, Any]:
    return created(f"sqlite:///{path}")


def created(url: str) -> dict[str, Any]:
    """What a first start makes in an empty database."""
    fresh = Database(parse_url(url))
    try:
        upgrade(fresh)
        return fresh.read(described)
    finally:
        fresh.close()


def described(connection: Connection) -> dict[str, Any]:
    inspector = sqlalchemy.inspect(connection)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], _collation(column))
                for column in inspector.get_columns(table)
            },
            "key": inspector.get_pk_constraint(table),
            "indexes": sorted(map(_index, inspector.get_indexes(table))),
            "unique": sorted(map(str, inspector.get_unique_constraints(table))),
            "checks": sorted(one["name"] or "" for one in inspector.get_check_constraints(table)),
        }
        for table in inspector.get_table_names()
    }


def _index(found: Any) -> str:
    options = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return str({**found, "dialect_options": options})


def _collation(column: Any) -> str | None:
    return getattr(column["type"], "collation", None)


def test_the_last_migration_is_the_schema_of_the_code() -> None:
    """Opening compares the two without asking alembic."""
    import flytelineage.migrations

    script = ScriptDirectory(str(Path(flytelineage.migrations.__file__).parent))

    assert script.get_heads() == [SCHEMA]


def test_what_was_stored_before_survives_a_migration(raw: Database, open_store: OpenStore) -> None:
    """A store of the first release goes on where it was."""
    raw.write(partial(migrate, to="1.0"))
    before = an_event(terminal=True)
    raw.write(lambda connection: insert_as_1_0(connection, before))

    store = open_store(min_settle=0)

    assert list(store.events(execution())) == [before]
    (lease,) = store.claim_build(1, lease_seconds=60)
    assert store.postpone_build(lease, 0, counted=False)
    assert raw.read(version) == SCHEMA


def insert_as_1_0(connection: Connection, one: Event) -> None:
    """What the first release wrote; it knows no newer column."""
    connection.execute(
        sqlalchemy.text(
            "INSERT INTO event (hash, execution, kind, encoding, phase, terminal, occurred_at, "
            "received_at, payload) VALUES (:hash, :key, :kind, :encoding, :phase, true, :at, :at, "
            ":payload)"
        ),
        {
            "hash": one.hash, "key": str(one.execution), "kind": one.kind, "at": to_us(one.occurred_at),
            "encoding": one.encoding, "phase": one.phase, "payload": one.payload,
        },
    )  # fmt: skip
    connection.execute(
        sqlalchemy.text(
            "INSERT INTO execution (key, revision, built_revision, started_at, terminal_at, "
            "due_at, attempts) VALUES (:key, 1, 0, :at, :at, :at, 0)"
        ),
        {"key": str(one.execution), "at": to_us(one.occurred_at)},
    )


def test_the_release_before_goes_on_beside_this_one(store: Store) -> None:
    """It writes rows without the newer columns, and they are worked on all the same."""
    database(store).write(lambda connection: insert_as_1_0(connection, an_event(terminal=True)))

    (lease,) = store.claim_build(1, lease_seconds=60)

    assert lease.execution == execution()


def test_every_constraint_has_a_name() -> None:
    """So that a migration can change it."""
    constraints = [one for table in metadata.tables.values() for one in table.constraints]

    assert [str(one) for one in constraints if one.name is None] == []


def test_a_newer_minor_schema_is_accepted(url: str, store: Store, open_store: OpenStore) -> None:
    """While replicas are replaced one by one, the older ones go on."""
    set_version(database(store), "1.7")

    older = open_store()

    assert older.record([an_event()]) == 1
    assert database(older).read(version) == "1.7"


def version(connection: Connection) -> str:
    return str(connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version")))


@pytest.mark.parametrize(
    ("written", "said"),
    [("2.0", "newer release"), ("10.0", "newer release"), ("a1b2c3", "another program")],
)
def test_a_schema_that_is_not_ours_is_refused(
    store: Store, open_store: OpenStore, written: str, said: str
) -> None:
    """The message says what to do, and nothing is touched."""
    set_version(database(store), written)

    with pytest.raises(ConfigError, match=said):
        open_store()

    assert database(store).read(version) == written


@only_postgresql
def test_replicas_may_open_an_empty_database_at_once(open_store: OpenStore) -> None:
    """One migrates, the others wait and then find it done."""
    stores = at_once(*[open_store] * 4)

    assert [store.record([an_event()]) for store in stores] == [1] * 4


def test_alembic_is_imported_only_when_behind(tmp_path: Path) -> None:
    """No first start and no later one pays for it, nor does importing the store."""
    program = (
        "import sys\n"
        "from flytelineage.store import Store\n"
        "light = 'sqlalchemy' not in sys.modules\n"
        f"store = Store(path={str(tmp_path / 'store.sqlite3')!r})\n"
        "store.open(exclusive=True)\n"
        "store.close()\n"
        "print(light, 'alembic' in sys.modules)\n"
    )

    def told() -> str:
        return subprocess.check_output([sys.executable, "-c", program], text=True)

    assert [told(), told()] == ["True False\n"] * 2
    older = sqlite3.connect(tmp_path / "store.sqlite3")
    for (table,) in older.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        older.execute(
            f"DROP TABLE {table}" if table != "alembic_version" else f"DELETE FROM {table}"
        )
    older.commit()
    older.close()
    assert told() == "True True\n"


# ------------------------------------------------------------------ one process


def test_a_second_daemon_on_one_file_is_refused(tmp_path: Path, file_store: Any) -> None:
    """It exits with a message that names the first."""
    first = file_store()
    first.open(exclusive=True)
    program = (
        "from flytelineage.store import Store\n"
        f"Store(path={str(tmp_path / 'store.sqlite3')!r}).open(exclusive=True)\n"
    )

    second = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert second.returncode == 1
    assert f"in use by process {os.getpid()}" in second.stderr


def test_the_file_is_free_when_the_store_is_closed(file_store: Any) -> None:
    """Also when opening failed half-way."""
    first, second = file_store(), file_store()
    first.open(exclusive=True)
    set_version(database(first), "9.0")
    first.close()
    with pytest.raises(ConfigError, match=r"schema 9\.0"):
        second.open(exclusive=True)

    with pytest.raises(ConfigError, match=r"schema 9\.0"):
        first.open(exclusive=True)


def test_a_daemon_waits_for_no_lease_of_a_dead_one(file_store: Any) -> None:
    """Nobody else can have the file, so what it had in hand is taken up at once."""
    first, second = file_store(min_settle=0), file_store()
    first.open(exclusive=True)
    first.record([an_event(terminal=True)])
    (lost,) = first.claim_build(1, lease_seconds=3600)
    first.close()

    second.open(exclusive=True)

    (lease,) = second.claim_build(1, lease_seconds=3600)
    assert (lease.execution, lease.attempts) == (lost.execution, 2)


def test_a_look_ends_no_lease(file_store: Any) -> None:
    """The one who holds it may be at work."""
    daemon, status = file_store(min_settle=0), file_store()
    daemon.open(exclusive=True)
    daemon.record([an_event(terminal=True)])
    daemon.claim_build(1, lease_seconds=3600)

    status.open(exclusive=False)

    assert daemon.claim_build(1, lease_seconds=3600) == []


def test_others_may_look_while_the_daemon_runs(file_store: Any) -> None:
    """`status` and `retry` work beside it."""
    daemon, look = file_store(), file_store()
    daemon.open(exclusive=True)
    daemon.record([an_event()])

    look.open(exclusive=False)

    assert look.unbuilt() == [execution()]


def test_nobody_migrates_below_a_daemon(file_store: Any) -> None:
    """A newer command does not change the tables under an older daemon."""
    daemon, look = file_store(), file_store()
    daemon.open(exclusive=True)
    set_version(database(daemon), "0.9")

    with pytest.raises(ConfigError, match="in use by process"):
        look.open(exclusive=False)


# ------------------------------------------------------------------- disks, files


MOUNTS = """\
overlay / overlay rw 0 0
tmpfs /run tmpfs rw 0 0
fs-1.efs.eu:/ /mnt/efs nfs4 rw 0 0
/dev/nvme1n1 /mnt/efs/local ext4 rw 0 0
/dev/nvme2n1 /mnt/with\\040space xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/x", "overlay"),
        ("/run/x", "tmpfs"),
        ("/runner", "overlay"),
        ("/mnt/efs/x/y", "nfs4"),
        ("/mnt/efs/local/x", "ext4"),
        ("/mnt/with space/x", "xfs"),
    ],
)
def test_the_deepest_mount_says_which_file_system(path: str, kind: str) -> None:
    """As the kernel's table spells it."""
    assert files.file_system(Path(path), MOUNTS) == kind
    assert files.file_system(Path(path), "") == ""


def test_a_network_file_system_is_refused(
    monkeypatch: pytest.MonkeyPatch, file_store: Any, tmp_path: Path
) -> None:
    """SQLite would lose data there."""
    monkeypatch.setattr(files, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "mounts").write_text("server:/ / nfs rw 0 0\n")

    with pytest.raises(ConfigError, match=r"network file system \(nfs\)"):
        file_store().open(exclusive=True)


@pytest.mark.parametrize("replaying", [False, True])
def test_a_throw_away_file_system_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
    file_store: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    replaying: bool,
) -> None:
    """The daemon's memory would go with the container; a replay's may."""
    monkeypatch.setattr(files, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "mounts").write_text("overlay / overlay rw 0 0\n")

    file_store(log=logging.getLogger("test"), replaying=replaying).open(exclusive=True)

    assert ("thrown away" in caplog.text) is not replaying


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The message says which trait to set."""
    with pytest.raises(ConfigError, match=r"no folder .*/nowhere .*state_dir"):
        Store(path=str(tmp_path / "nowhere" / "x.sqlite3")).open(exclusive=False)


@pytest.mark.parametrize("damage", ["text", "torn"])
def test_a_damaged_file_is_refused_and_left_alone(
    file_store: Any, tmp_path: Path, damage: str
) -> None:
    """Nothing is deleted by itself."""
    path = tmp_path / "store.sqlite3"
    if damage == "text":
        path.write_text("Not a database. " * 100)
    else:
        store = file_store()
        store.open(exclusive=True)
        store.close()
        path.write_bytes(path.read_bytes()[:5000])
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="damaged or no database"):
        file_store().open(exclusive=True)

    assert path.read_bytes() == before


@only_sqlite
def test_sqlite_writes_through_to_the_disk(store: Store) -> None:
    """A message is deleted from the queue after the commit, so power may fail then."""
    pragmas = database(store).read(
        lambda connection: [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    )

    assert pragmas == ["wal", 2, 30_000]


@only_sqlite
def test_a_full_disk_loses_nothing(store: Store) -> None:
    """What was recorded stays, what could not be is an error, and it goes on by itself."""
    first, large = an_event(), an_event(payload=b"x" * 1_000_000)
    store.record([first])
    limit(store, 60)

    with pytest.raises(StoreError, match="full") as failed:
        store.record([an_event(), large])

    assert not isinstance(failed.value, RefusedByStoreError)
    assert list(store.events(execution())) == [first]
    limit(store, 1_000_000)
    assert store.record([large]) == 1


def limit(store: Store, pages: int) -> None:
    database(store).write(
        lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar()
    )


@only_postgresql
def test_a_postgresql_that_may_forget_is_refused(url: str) -> None:
    """Configuration cannot weaken the promise silently."""
    with pytest.raises(ConfigError, match="synchronous_commit"):
        Store(url=f"{url}%20-csynchronous_commit%3Doff").open(exclusive=True)


# ------------------------------------------------------------------ URLs, errors


@pytest.mark.parametrize(
    "url", ["", "nonsense", f"mysql://me:{CANARY}@host/db", "sqlite://", "sqlite:///:memory:"]
)
def test_only_two_databases_can_be_used(url: str) -> None:
    """The message shows what to type, and not what was typed."""
    with pytest.raises(ConfigError, match=r"postgresql://") as refused:
        parse_url(url)

    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_spelled_in_three_ways(scheme: str) -> None:
    """As libpq, as old tools and as SQLAlchemy spell it."""
    assert parse_url(f"{scheme}://h/d").drivername == "postgresql+psycopg"


def test_a_server_that_does_not_answer_shows_no_password() -> None:
    """Not in the message, not in the traceback."""
    store = Store(url=f"postgresql://me:{CANARY}@127.0.0.1:1/db")

    with pytest.raises(StoreError) as failed:
        store.open(exclusive=True)

    assert "postgresql: " in str(failed.value)
    assert CANARY not in "".join(traceback.format_exception(failed.value))
    assert CANARY not in repr(store.url)


def test_errors_show_no_data(store: Store) -> None:
    """SQLAlchemy would print statements with their parameters."""
    with pytest.raises(StoreError) as failed:
        database(store).write(
            lambda connection: connection.execute(
                sqlalchemy.text("SELECT :secret FROM nowhere"), {"secret": CANARY}
            )
        )

    assert CANARY not in "".join(traceback.format_exception(failed.value))


def test_a_store_describes_itself_without_its_password(store: Store) -> None:
    """For the line that is logged at start."""
    told = store.describe()

    assert told.startswith(("SQLite /", "PostgreSQL "))
    assert "@" not in told


def test_a_store_in_the_state_directory(tmp_path: Path) -> None:
    """Without a URL and a path the application says where."""
    from traitlets import Unicode
    from traitlets.config import Configurable

    class Application(Configurable):
        state_dir = Unicode(str(tmp_path))

    store = Store(parent=Application())
    store.open(exclusive=True)
    store.close()

    assert (tmp_path / "flytelineage.sqlite3").exists()


def test_a_closed_store_says_so() -> None:
    """Closing it again does nothing."""
    store = Store()
    store.close()

    with pytest.raises(StoreError, match="not open"):
        store.record([])


def test_time_is_the_databases_own(url: str) -> None:
    """Replicas' clocks differ; leases must not."""
    store = Store(url=url, min_settle=0)
    store.open(exclusive=False)
    store.record([an_event(terminal=True)])

    (lease,) = store.claim_build(1, lease_seconds=60)

    store.close()
    assert lease.terminal_at is not None
    assert 0 <= (lease.claimed_at - lease.terminal_at).total_seconds() < 60


# ---------------------------------------------------------------- lost and again


@only_postgresql
def test_connections_that_died_are_replaced(store: Store, clock: Clock) -> None:
    """After a failover the first call works again."""
    store.record([an_event()])
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    with pytest.raises(StoreError):
        database(store).read(lambda connection: connection.exec_driver_sql(kill).scalar())

    assert store.record([an_event()]) == 1


@only_postgresql
@pytest.mark.parametrize(("own", "lasts"), [("", "1min"), ("5s", "5s")])
def test_locks_of_a_frozen_replica_end(url: str, own: str, lasts: str) -> None:
    """It may stay frozen for hours, and all others would wait for it; the URL may differ."""
    setting = "idle_in_transaction_session_timeout"
    store = Store(url=f"{url}%20-c{setting}%3D{own}" if own else url)
    store.open(exclusive=False)

    limits = database(store).read(
        lambda connection: [
            connection.exec_driver_sql(f"SELECT current_setting('{name}', true)").scalar()
            for name in (setting, "transaction_timeout")
        ]
    )

    store.close()
    assert limits[0] == lasts
    assert limits[1] in ("10min", None)  # PostgreSQL 17 brought it


@only_postgresql
def test_a_deadlock_is_run_again(raw: Database) -> None:
    """Sorted keys avoid them; if one comes about all the same, nobody notices."""
    raw.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (id int, n int)"))
    raw.write(lambda connection: connection.exec_driver_sql("INSERT INTO t VALUES (1, 0), (2, 0)"))
    both = threading.Barrier(2)
    tries: list[int] = []

    def add(order: tuple[int, int], connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL deadlock_timeout = '10ms'")
        tries.append(1)
        for number, row in enumerate(order):
            connection.exec_driver_sql(f"UPDATE t SET n = n + 1 WHERE id = {row}")
            if number == 0 and len(tries) <= 2:
                both.wait(60)

    at_once(partial(raw.write, partial(add, (1, 2))), partial(raw.write, partial(add, (2, 1))))

    totals = raw.read(lambda connection: connection.exec_driver_sql("SELECT n FROM t").all())
    assert [tuple(row) for row in totals] == [(2,), (2,)]
    assert len(tries) > 2


def test_who_always_loses_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on tries: the message comes again later."""
    monkeypatch.setattr("flytelineage.store.database.MAX_TRIES", 2)
    tries = []

    def lose(_: Connection) -> None:
        tries.append(1)
        raise Raced

    with pytest.raises(StoreError):
        database(store).write(lose)

    assert len(tries) == 2


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    """Whatever it did before it failed is undone."""

    def half(connection: Connection) -> None:
        connection.execute(sqlalchemy.delete(event))
        raise ValueError("a bug")

    store.record([an_event()])

    with pytest.raises(ValueError, match="a bug"):
        database(store).write(half)

    assert len(list(store.events(execution()))) == 1
