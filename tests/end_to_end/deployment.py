"""A queue, a store, three catalogues, and daemons in processes that may be killed.

Queue, DataHub, S3 and Glue run in this process; each daemon is forked from a server
that has imported everything, so that a life costs no second.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from flytelineage.store import Store
from flytelineage.store.database import parse_url
from flytelineage.testing import crash
from flytelineage.testing.datahub import Fault, GmsDouble
from flytelineage.testing.sqs import SqsDouble
from tests.end_to_end import worker
from tests.end_to_end.gate import Gate

ROOT = Path(__file__).parent.parent.parent

PATIENCE = 60.0
"""Seconds after which what was waited for does not come any more."""

VISIBILITY, POLL = 30, 20
"""Seconds that a received message is hidden, and that a poll lasts, by the queue's clock."""

MAX_RECEIVES = 30
"""How often a message is handed out before it is a dead letter: more often than tests kill."""

_PENDING = text("""
    SELECT (SELECT count(*) FROM execution WHERE due_at IS NOT NULL)
         + (SELECT count(*) FROM delivery WHERE due_at IS NOT NULL)
""")

_DUE = text("""
    SELECT (SELECT count(*) FROM execution WHERE due_at <= :now)
         + (SELECT count(*) FROM delivery WHERE due_at <= :now)
""")

_LEFT_ALONE = {"delivery": "error", "execution": "waits_for"}
"""Tables with what is put off, and where they say why."""

_UNBUILT = "SELECT key FROM execution WHERE due_at IS NOT NULL"

_END_TRANSACTIONS = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'flytelineage' AND xact_start IS NOT NULL
""")

_EXECUTION = re.compile(rb'"execution\\?": ?\\?"([\w-]+/[\w-]+/[\w-]+)')
"""An execution's key in what DataHub is told of its run."""

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload([worker.__name__])


class Daemon:
    """One life of the daemon.

    Attributes:
        peak_bytes: The most memory that was seen in use.
    """

    def __init__(self, process: ForkServerProcess | _Command, log: Path) -> None:
        self.peak_bytes = 0
        self._process = process
        self._log = log

    @property
    def exitcode(self) -> int | None:
        """`None` while it lives; a signal's number, negative, if that ended it."""
        return self._process.exitcode

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def frozen(self) -> bool:
        """Whether SIGSTOP has stopped it."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def weigh(self) -> None:
        """Note how much memory was in use at most so far."""
        with suppress(OSError):  # it is no more
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                self.peak_bytes = max(self.peak_bytes, 1024 * int(found[1]))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def close(self) -> None:
        """Kill it if it lives, and forget it."""
        self._process.kill()
        self._process.join()
        self._process.close()


class _Command:
    """`python -m flytelineage`, with the manners of a `multiprocessing` process."""

    def __init__(
        self,
        launcher: Sequence[str],
        arguments: Sequence[str],
        folder: Path,
        log: Path,
        **how: Any,
    ) -> None:
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*launcher, sys.executable, "-m", "flytelineage", *arguments],
                cwd=folder,
                stdout=output,
                stderr=output,
                **how,
            )
        self.pid = self._popen.pid

    @property
    def exitcode(self) -> int | None:
        return self._popen.poll()

    def kill(self) -> None:
        self._popen.kill()

    def join(self) -> None:
        self._popen.wait()

    def close(self) -> None:
        """Nothing is held."""


def page(url: str) -> tuple[int, str]:
    """Status and text of a page; status 0 where nobody answers."""
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as exc:
        return exc.code, exc.read().decode()
    except OSError:
        return 0, ""


class WatchedGms(GmsDouble):
    """A DataHub that shows each batch to somebody before it answers.

    Attributes:
        bodies: The batches as they came, one for each of `requests`.
    """

    def __init__(self, watch: Callable[[bytes], None]) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self._watch = watch

    def take(self, body: bytes) -> Fault | None:
        """Store a batch; or say how it goes wrong."""
        self.bodies.append(body)
        self._watch(body)
        return super().take(body)


class Deployment:
    """Everything around the daemons; closed by `with`.

    Args:
        folder: For files of the targets and logs.
        store_url: Of a store that nobody else uses.
        glue: A boto3 client.

    Attributes:
        store_url: Of the store.
        dead: The dead-letter queue.
        options: What each daemon is started with besides, or instead; keyed by trait.
        told_too_soon: Executions that DataHub heard of before their events were committed.
    """

    def __init__(self, folder: Path, store_url: str, glue: Any) -> None:
        self.folder = folder
        self.sqs = SqsDouble()
        self.gms = WatchedGms(self._look_whether_committed)
        self.options: dict[str, Any] = {}
        self.told_too_soon: set[str] = set()
        self._gates: dict[str, Gate] = {}
        self.store_url = store_url
        self._glue = glue
        self._daemons: list[Daemon] = []
        self._engine = create_engine(parse_url(store_url), pool_pre_ping=True)

    def __enter__(self) -> Deployment:
        self.sqs.__enter__()
        self.gms.__enter__()
        self.make_queues()
        return self

    def make_queues(self) -> None:
        """The queue and where its dead letters go."""
        self.dead = self.sqs.create_queue("dead")
        redrive = {"deadLetterTargetArn": self.dead.arn, "maxReceiveCount": MAX_RECEIVES}
        self.queue = self.sqs.create_queue(
            "events",
            {"VisibilityTimeout": str(VISIBILITY), "RedrivePolicy": json.dumps(redrive)},
        )

    def gate(self, server: str) -> Gate:
        """A door between the daemons started from now on and `datahub`, `sqs` or `s3`."""
        if server not in self._gates:
            urls = {
                "datahub": self.gms.url,
                "sqs": self.sqs.url,
                "s3": os.environ["AWS_ENDPOINT_URL"],
            }
            self._gates[server] = Gate(urls[server])
        return self._gates[server]

    def _url(self, server: str, direct: str) -> str:
        return self._gates[server].url if server in self._gates else direct

    def __exit__(self, *_: object) -> None:
        for daemon in self._daemons:
            daemon.close()
        for gate in self._gates.values():
            gate.shut()
        self._engine.dispose()
        self.gms.__exit__()
        self.sqs.__exit__()
        for database in self._databases():
            self._glue.delete_database(Name=database)

    # ------------------------------------------------------------------- daemons

    def start(
        self,
        crash_at: str = "",
        *,
        poll_seconds: float = 0.03,
        real: bool = False,
        environment: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> Daemon:
        """Start a daemon.

        Args:
            crash_at: As `flytelineage.testing.crash` reads it.
            poll_seconds: How soon it looks for work again.
            real: Not forked, but `python -m flytelineage`; it dies at no inner place.
            environment: Variables besides.
            launcher: What starts a real one, and its arguments.
        """
        number = len(self._daemons)
        log = self.folder / f"daemon-{number}.log"
        options = {
            **self._options(number),
            "Daemon.poll_seconds": poll_seconds,
            **self.options,
        }
        arguments = [f"--{trait}={value}" for trait, value in options.items()]
        variables = {**self._environment(crash_at), **(environment or {})}
        process: ForkServerProcess | _Command
        if real:
            process = _Command(launcher, arguments, self.folder, log, env=variables)
        else:
            process = _forked.Process(
                target=worker.run, args=(arguments, variables, self.folder, log)
            )
            process.start()
        daemon = Daemon(process, log)
        self._daemons.append(daemon)
        return daemon

    def _options(self, number: int) -> dict[str, Any]:
        """The options of a daemon that hurries; the number keeps their files apart."""
        return {
            "FlyteLineage.http_port": 0,
            "FlyteLineage.sqs_queue": "events",
            "FlyteLineage.targets": "file,datahub,glue",
            "Store.url": self.store_url,
            "Store.min_settle": 0.1,
            "Daemon.lease_seconds": 3,
            "Daemon.pollers": 2,
            "Daemon.retry_seconds": 0.05,
            "Daemon.refresh_hours": 0,
            "SqsSource.wait_seconds": POLL,
            "FileTarget.path": f"{self.folder}/lineage-{number}.jsonl",
            "DataHubTarget.server": self._url("datahub", self.gms.url),
            "DataHubTarget.batch_size": 20,
        }

    def _environment(self, crash_at: str) -> dict[str, str]:
        """Queue and AWS on loopback, nothing of the user's own."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "AWS_ENDPOINT_URL_SQS": self._url("sqs", self.sqs.url),
            "AWS_ENDPOINT_URL_S3": self._url("s3", os.environ["AWS_ENDPOINT_URL"]),
            "DATAHUB_TELEMETRY_ENABLED": "false",
            **({crash.VARIABLE: crash_at} if crash_at else {}),
        }

    def serve(self) -> str:
        """Let the next daemons show themselves over HTTP; where."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.options["FlyteLineage.http_port"] = port
        return f"http://127.0.0.1:{port}"

    def end(self, daemon: Daemon, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask a daemon to stop; its exit status."""
        # Until it says that it starts, the signal ends it as it ends any process.
        self.wait_for(lambda: daemon.log != "" or daemon.exitcode is not None)
        daemon.signal(number)
        self.sqs.advance(POLL)
        return self.wait_for_end(daemon)

    def wait_for_end(self, daemon: Daemon) -> int:
        """Wait until a daemon is no more; its exit status."""
        self.wait_for(lambda: daemon.exitcode is not None, pace=POLL)
        assert daemon.exitcode is not None
        return daemon.exitcode

    def end_transactions(self) -> None:
        """Do what PostgreSQL does when a transaction pauses for too long."""
        with self._engine.connect() as connection:
            connection.execute(_END_TRANSACTIONS)

    def forget_connections(self) -> None:
        """Look at the store anew: another one was put in its place."""
        self._engine.dispose()

    # ------------------------------------------------------------------ progress

    def drained(self) -> bool:
        """Whether nothing is left to do. The queue first: what left it is stored."""
        if self.queue.visible or self.queue.in_flight:
            return False
        self._let_an_hour_pass()
        with self._engine.connect() as connection:
            return connection.execute(_PENDING).scalar_one() == 0

    def rests(self) -> bool:
        """Whether nothing can be done right now: what is left waits for more messages."""
        if self.queue.visible or self.queue.in_flight:
            return False
        self._let_an_hour_pass()
        now = {"now": time.time_ns() // 1000}
        with self._engine.connect() as connection:
            return connection.execute(_DUE, now).scalar_one() == 0

    def _let_an_hour_pass(self) -> None:
        """Try again what was left alone, as several processes died of it or beside it."""
        for table, note in _LEFT_ALONE.items():
            those = f"WHERE due_at > 1 AND {note} LIKE '%never came to an end%'"
            if self.rows(f"SELECT 1 FROM {table} {those}"):  # to look takes no lock
                with self._engine.begin() as connection:
                    connection.execute(text(f"UPDATE {table} SET due_at = 1 {those}"))

    def drain(self, *, patience: float = PATIENCE) -> None:
        """Wait until nothing is left."""
        self.wait_for(lambda: self.drained() or not self.some_live(), patience=patience)
        assert self.some_live(), self._daemons[-1].log

    @property
    def living(self) -> list[Daemon]:
        """The daemons that have not ended."""
        return [one for one in self._daemons if one.exitcode is None]

    def some_live(self) -> bool:
        """Whether any daemon lives."""
        return bool(self.living)

    def wait_for_calls(self, number: int) -> None:
        """Wait until the daemons asked for so many things more, or nothing is left."""
        enough = self._calls() + number
        self.wait_for(lambda: self._calls() >= enough or self.drained())

    def _calls(self) -> int:
        return sum(self.sqs.calls.values()) + len(self.gms.requests)

    def wait_for(
        self, happened: Callable[[], bool], *, pace: int = 1, patience: float = PATIENCE
    ) -> None:
        """Look again and again, but not for ever.

        Args:
            happened: Looks.
            pace: By how many seconds the queue's clock goes on between two looks.
            patience: After so many seconds it does not happen any more.
        """
        ends_at = time.monotonic() + patience
        while not happened():
            if time.monotonic() > ends_at or self._all_failed():
                logs = "\n".join(f"---\n{one.log[-3000:]}" for one in self._daemons)
                raise AssertionError(f"It did not happen within {patience} s\n{logs}")
            for daemon in self._daemons:
                daemon.weigh()
            self.sqs.advance(pace)
            time.sleep(0.02)

    def let_pass(self, seconds: float, *, pace: int = 1) -> None:
        """Let so much time pass, by the machine's clock."""
        ends_at = time.monotonic() + seconds
        self.wait_for(lambda: time.monotonic() > ends_at, pace=pace)

    def _all_failed(self) -> bool:
        """Whether none lives and one ended with an error: then nothing more will happen."""
        ended = [one.exitcode for one in self._daemons]
        return None not in ended and any(status > 0 for status in ended if status)

    # --------------------------------------------------------------------- state

    def stored(self) -> tuple[list[bytes], list[str]]:
        """Hashes of the events, and the bodies in quarantine."""
        store = Store()
        store.url = self.store_url
        store.open(exclusive=False)
        try:
            executions = self._column("SELECT key FROM execution")
            hashes = [bytes(hash) for hash in self._column("SELECT hash FROM event")]
            assert executions
            bodies = [store.quarantine_body(one.id) or "" for one in store.quarantined(1000)]
        finally:
            store.close()
        return hashes, bodies

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the store answers."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def told_all(self, *targets: str) -> bool:
        """Whether the queue is empty and nothing is due at these targets, or to be built."""
        if self.queue.visible or self.queue.in_flight or self._column(_UNBUILT):
            return False
        return not set(self._column("SELECT DISTINCT target FROM delivery WHERE due_at > 0")) & {
            *targets
        }

    def _column(self, query: str) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(query)).scalars())

    @property
    def peak_bytes(self) -> int:
        """The most memory that any of the daemons was seen to use."""
        return max(daemon.peak_bytes for daemon in self._daemons)

    def _look_whether_committed(self, body: bytes) -> None:
        """Called by DataHub with what it is just told."""
        named = {key.decode() for key in _EXECUTION.findall(body)}
        with suppress(SQLAlchemyError):  # the database may be gone: then nobody can say
            known = set(self._column("SELECT key FROM execution WHERE built_revision > 0"))
            self.told_too_soon |= named - known

    def told(self) -> dict[str, Any]:
        """What each catalogue holds in the end, by target."""
        return {
            "file": self._lines(),
            "datahub": self._aspects(),
            "glue": self._tables(),
        }

    def _aspects(self) -> dict[str, Any]:
        """Of a time series the last event: which of the others are told depends on luck."""
        state = self.gms.state
        latest = {key: events[max(events)] for key, events in state["events"].items()}
        return {" ".join(key): value for key, value in (state["aspects"] | latest).items()}

    def _lines(self) -> dict[str, Any]:
        """The last line of each execution; with several files, that of the last revision."""
        lines: dict[str, Any] = {}
        for path in sorted(self.folder.glob("lineage-*.jsonl")):
            for line in map(json.loads, _whole_lines(path)):
                name = line["execution"]["name"]
                if name not in lines or line["revision"] >= lines[name]["revision"]:
                    lines[name] = line
        return {name: _shown(line) for name, line in lines.items()}

    def _tables(self) -> dict[str, Any]:
        return {
            f"{database}.{table['Name']}": _without(table, _GLUES_OWN)
            | {"Parameters": _without(table["Parameters"], _PASSING)}
            for database in self._databases()
            for table in self._pages("get_tables", "TableList", DatabaseName=database)
        }

    def _databases(self) -> list[str]:
        return [one["Name"] for one in self._pages("get_databases", "DatabaseList")]

    def _pages(self, operation: str, key: str, **arguments: Any) -> Iterable[Any]:
        for page in self._glue.get_paginator(operation).paginate(**arguments):
            yield from page[key]


_GLUES_OWN = ("CreateTime", "UpdateTime", "VersionId")

_PASSING = ("flyte.execution",)
"""Parameters that the target writes only together with another change."""


def _whole_lines(path: Path) -> Sequence[str]:
    """The lines of a file that a crash may have torn at its end."""
    return path.read_text().split("\n")[:-1]


def _shown(line: dict[str, Any]) -> dict[str, Any]:
    """What an execution showed; what Glue calls its data is there if Glue was told before."""
    datasets = [_without(dataset, ["copies"]) for dataset in line.get("datasets", ())]
    return {**_without(line, ["revision"]), "datasets": datasets}


def _without(value: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name not in names}
