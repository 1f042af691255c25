"""A world for the whole path: a queue, an object store and catalogues, and who works in it.

The servers are doubles and run in the process that measures; each worker is a process of its
own, a daemon with its store and all targets, told by a line which of its loops to run. So
what a worker took of time and memory is what the program takes, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import workloads

from flytelineage.testing.aws import local_aws
from flytelineage.testing.datahub import GmsDouble
from flytelineage.testing.openlineage import OpenLineageDouble
from flytelineage.testing.simulator import S3Storage, Stream, simulate
from flytelineage.testing.sqs import SqsDouble

HERE = Path(__file__).resolve().parent.parent
QUEUE = "flyte-events"
BUCKET = "flyte-bucket"
TARGETS = ("glue", "file", "datahub", "openlineage")
"""Glue first: it gives datasets names, of which the others then need not be told later."""


class World:
    """Everything around the program.

    Args:
        latency: Seconds that each request to SQS takes.
    """

    def __init__(self, stack: ExitStack, latency: float) -> None:
        self.sqs = stack.enter_context(SqsDouble(latency=latency))
        self.gms = stack.enter_context(GmsDouble())
        self.openlineage = stack.enter_context(OpenLineageDouble())
        self.aws = stack.enter_context(local_aws())
        self.queue = self.sqs.create_queue(QUEUE)
        self._storage = S3Storage(self.aws.client("s3"), f"s3://{BUCKET}")

    @property
    def environment(self) -> dict[str, str]:
        """How a worker finds it all."""
        return {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "AWS_ENDPOINT_URL_SQS": self.sqs.url,
            "BENCHMARK_GMS": self.gms.url,
            "BENCHMARK_OPENLINEAGE": self.openlineage.url,
        }

    def play(self, workflow: Any, number: int) -> Stream:
        """Let an execution run: its objects lie in S3, its messages wait in the stream."""
        start = workloads.START + timedelta(seconds=number)
        name = f"a{number:019}"
        return simulate(workflow, name, self._storage, start=start, seed=number, fast=True)


@contextmanager
def world(latency: float = 0.0) -> Iterator[World]:
    """All servers, until the block ends."""
    with ExitStack() as stack:
        yield World(stack, latency)


# ------------------------------------------------------------------------ workers


class Worker:
    """A process with a daemon.

    Args:
        around: Where it works.
        store_url: Its store; several may share a PostgreSQL.
        folder: For the files that it writes.
    """

    def __init__(self, around: World, store_url: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, __file__, store_url, str(folder)],
            env=around.environment,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask("ready")

    def begin(self, what: str) -> None:
        """Let it do something; `answer` waits for the end of that."""
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What came of what was begun last."""
        return json.loads(self._process.stdout.readline())

    def ask(self, what: str) -> dict[str, Any]:
        """Let it do something, and wait for that."""
        self.begin(what)
        return self.answer()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


def together(workers: Iterable[Worker], what: str) -> list[dict[str, Any]]:
    """Let all do the same at the same time."""
    listed = list(workers)
    for worker in listed:
        worker.begin(what)
    return [worker.answer() for worker in listed]


@contextmanager
def workers(around: World, store_url: str, count: int = 1) -> Iterator[list[Worker]]:
    """So many processes that share a store; an empty URL is an SQLite file."""
    with tempfile.TemporaryDirectory() as name:
        url = store_url or f"sqlite:///{name}/store.sqlite3"
        found = [Worker(around, url, Path(name, str(number))) for number in range(count)]
        try:
            yield found
        finally:
            for worker in found:
                worker.close()


# ------------------------------------------------------------- the worker's process


def made_daemon(store_url: str, folder: Path) -> Any:
    from flytelineage.daemon import Daemon
    from flytelineage.objects import ObjectReader
    from flytelineage.sources.sqs import SqsSource
    from flytelineage.store import Store
    from flytelineage.targets.datahub import DataHubTarget
    from flytelineage.targets.file import FileTarget
    from flytelineage.targets.glue import GlueCatalogTarget
    from flytelineage.targets.openlineage import OpenLineageTarget

    store = Store(url=store_url, min_settle=0)
    store.open(exclusive=store_url.startswith("sqlite"))
    transport = {"type": "http", "url": os.environ["BENCHMARK_OPENLINEAGE"]}
    return Daemon(
        source=SqsSource(queue=QUEUE, region="us-east-1", wait_seconds=0),
        store=store,
        targets={
            "glue": GlueCatalogTarget(aws_region="us-east-1"),
            "file": FileTarget(path=str(folder / "lineage.jsonl")),
            "datahub": DataHubTarget(server=os.environ["BENCHMARK_GMS"]),
            "openlineage": OpenLineageTarget(transport=transport),
        },
        reader=ObjectReader(allow=[f"s3://{BUCKET}/*"]),
    )


def threads_of(daemon: Any, loop: str, target: str) -> int:
    """As many as the daemon itself would start."""
    if loop == "deliver":
        return daemon.deliverers if daemon.targets[target].parallel else 1
    return {"intake": 8, "build": daemon.builders}[loop]


def run(daemon: Any, what: str) -> dict[str, Any]:
    """Repeat one loop until there is nothing left to do, and say what that took."""
    loop, _, target = what.partition(" ")
    work: Callable[[], bool] = {
        "intake": daemon.intake,
        "build": daemon.build,
        "deliver": lambda: daemon.deliver(target),
    }[loop]
    done = [0] * threads_of(daemon, loop, target)

    def repeat(number: int) -> None:
        while work():
            done[number] += 1

    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(len(done))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"count": sum(done), "seconds": seconds, "cpu": cpu}


def sizes(daemon: Any) -> dict[str, Any]:
    """Memory, the store, and requests since the start."""
    status = Path("/proc/self/status").read_text()
    return {
        "rss": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024,
        "peak": int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024,
        "store": daemon.store.size().bytes,
        "events": daemon.report.events,
        "requests": dict(REQUESTS),
    }


REQUESTS: Counter[str] = Counter()
"""Requests of this process by whom they went to."""


def count_requests() -> None:
    """Count what goes through urllib3, which is all that our clients send."""
    from urllib3.connectionpool import HTTPConnectionPool

    send = HTTPConnectionPool.urlopen
    ports = {
        os.environ[name].rstrip("/").rpartition(":")[2]: who
        for name, who in (
            ("AWS_ENDPOINT_URL_SQS", "SQS"),
            ("BENCHMARK_GMS", "DataHub"),
            ("BENCHMARK_OPENLINEAGE", "OpenLineage"),
        )
    }

    def counted(pool: Any, method: str, url: str, *args: Any, **options: Any) -> Any:
        headers = str(options.get("headers") or "")
        aws = "Glue" if "AWSGlue" in headers else f"S3 {method}"
        REQUESTS[ports.get(str(pool.port), aws)] += 1
        return send(pool, method, url, *args, **options)

    HTTPConnectionPool.urlopen = counted


def work(store_url: str, folder: Path) -> None:
    """Do what lines ask for until there are no more."""
    count_requests()
    daemon = made_daemon(store_url, folder)
    for line in sys.stdin:
        what = line.strip()
        if what == "ready":
            answer: dict[str, Any] = {}
        else:
            answer = sizes(daemon) if what == "sizes" else run(daemon, what)
        print(json.dumps(answer), flush=True)
    daemon.store.close()


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
