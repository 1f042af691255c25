"""How fast messages get from the queue into the store, against two baselines.

    python benchmarks/intake.py [--messages N] [--latency SECONDS] [--pollers N]
        [--rounds N] [--postgresql]

Three consumers take the same messages from an SQS double with the latency of a region:

- `one by one`: receive one, decode, commit one, delete one, as naive consumers do;
- `bare boto3`: receive and delete in tens and decode, without any store: the floor;
- `flytelineage`: the daemon's own intake, committed to SQLite with `synchronous=FULL`.

With `--postgresql` also the intake of one process with a PostgreSQL, and of two that share
one. Each process is one of its own, and so is the queue, in the same run of this script;
look at the ratios, since machines differ, and take the median of some `--rounds` where
others are at work on it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


# ------------------------------------------------------------------- the messages


def bodies(count: int) -> list[str]:
    """Node events of many executions in SNS envelopes, all different."""
    import base64

    from flyteidl.admin import event_pb2
    from flyteidl.core import identifier_pb2

    made = []
    for number in range(count):
        request = event_pb2.NodeExecutionEventRequest()
        event = request.event
        event.id.node_id = f"n{number % 24}"
        event.id.execution_id.project = "flytesnacks"
        event.id.execution_id.domain = "development"
        event.id.execution_id.name = f"a{number // 24:019}"
        event.phase = 1 + number % 3
        event.occurred_at.FromDatetime(START + timedelta(seconds=number))
        event.reported_at.FromDatetime(START + timedelta(seconds=number + 1))
        event.input_uri = f"s3://bucket/metadata/propeller/x-{number:030}/n0/data/inputs.pb"
        event.spec_node_id = event.id.node_id
        event.target_entity.resource_type = identifier_pb2.TASK
        event.target_entity.name = "app.workflows.etl.load"
        event.target_entity.version = "0123456789abcdef"
        message = base64.b64encode(request.SerializeToString()).decode()
        envelope = {
            "Type": "Notification",
            "MessageId": f"00000000-0000-4000-8000-{number:012}",
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:flyte-events",
            "Subject": "flyteidl.admin.NodeExecutionEventRequest",
            "Message": message,
            "Timestamp": "2026-01-01T00:00:00.000Z",
            "SignatureVersion": "1",
            "Signature": "x" * 344,
            "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
            "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
        }
        made.append(json.dumps(envelope))
    return made


def client():
    import boto3
    from botocore.config import Config

    return boto3.client("sqs", region_name="us-east-1", config=Config(max_pool_connections=64))


def fill(url: str, count: int) -> None:
    """Send the messages, in tens, from several threads."""
    made, sqs = bodies(count), client()

    def send(start: int) -> None:
        entries = [
            {"Id": str(index), "MessageBody": body}
            for index, body in enumerate(made[start : start + 10])
        ]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(send, range(0, count, 10)))


# ------------------------------------------------------------------ the consumers


def one_by_one(url: str, count: int, pollers: int, store) -> None:
    from flytelineage.events import decode

    sqs = client()
    done = 0
    while done < count:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=1)
        for message in received.get("Messages", ()):
            event = decode(message["Body"], received_at=datetime.now(timezone.utc))
            store.record([event])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            done += 1


def bare(url: str, count: int, pollers: int, store) -> None:
    from flytelineage.events import decode

    sqs, lock = client(), threading.Lock()
    done = 0

    def poll() -> None:
        nonlocal done
        while done < count:
            received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            messages = received.get("Messages", ())
            for message in messages:
                decode(message["Body"], received_at=datetime.now(timezone.utc))
            if messages:
                entries = [
                    {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                    for index, message in enumerate(messages)
                ]
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)
            with lock:
                done += len(messages)

    run(poll, pollers)


def flytelineage(url: str, count: int, pollers: int, store) -> None:
    """The daemon as it runs, until it has taken and deleted all."""
    daemon = made_daemon(url, pollers, store, wait_seconds=1)
    deleted, lock, done = 0, threading.Lock(), threading.Event()
    delete = daemon.source.delete

    def counted(messages) -> None:
        nonlocal deleted
        delete(messages)
        with lock:
            deleted += len(messages)
        if deleted >= count:
            done.set()

    daemon.source.delete = counted
    threading.Thread(target=daemon.run, daemon=True).start()
    done.wait()
    daemon.stop()


def shared(url: str, count: int, pollers: int, store) -> None:
    """The same until the queue is empty, since others take from it, too."""
    daemon = made_daemon(url, pollers, store, wait_seconds=0)
    idle = threading.Event()
    taken = daemon.intake

    def intake() -> bool:
        found = taken()
        if not found:
            idle.set()
        return found

    daemon.intake = intake
    running = threading.Thread(target=daemon.run, daemon=True)
    running.start()
    idle.wait()
    daemon.stop()
    running.join()


def made_daemon(url: str, pollers: int, store, *, wait_seconds: int):
    from flytelineage.daemon import Daemon
    from flytelineage.objects import ObjectReader
    from flytelineage.sources.sqs import SqsSource

    source = SqsSource(queue=url, region="us-east-1", wait_seconds=wait_seconds)
    return Daemon(source=source, store=store, targets={}, reader=ObjectReader(), pollers=pollers)


def warm_up() -> None:
    """Import all that a consumer needs: that is not what is measured."""
    from flytelineage.daemon import Daemon  # noqa: F401
    from flytelineage.events import decode
    from flytelineage.sources.sqs import SqsSource  # noqa: F401

    client()
    for body in bodies(2):
        decode(body, received_at=datetime.now(timezone.utc))


def open_store(folder: str):
    from flytelineage.store import Store

    store = Store(path=str(Path(folder) / "benchmark.sqlite3"), url=os.environ.get(STORE_URL))
    store.open(exclusive=not store.url)
    return store


def run(work, threads: int) -> None:
    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


STORE_URL = "BENCHMARK_STORE_URL"
CONSUMERS = {
    "one by one": one_by_one,
    "bare boto3": bare,
    "flytelineage": flytelineage,
    "PostgreSQL": shared,
    "two processes": shared,
}
WITH_SQLITE = ("one by one", "bare boto3", "flytelineage")


def consume(name: str, url: str, count: int, pollers: int) -> None:
    """Run one consumer once somebody says so, and print what it took, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        warm_up()
        print("ready", flush=True)
        sys.stdin.readline()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        CONSUMERS[name](url, count, pollers, store)
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "count": count}))


# ------------------------------------------------------------------------- the run


def measure(name: str, options: argparse.Namespace) -> dict[str, float]:
    """One consumer against a fresh server, all in processes of their own."""
    count = options.messages // 20 if name == "one by one" else options.messages
    with ExitStack() as stack:
        environment = stack.enter_context(queue(options.latency))
        os.environ.update(environment)
        if name not in WITH_SQLITE:
            environment[STORE_URL] = stack.enter_context(postgresql())
        url = client().get_queue_url(QueueName="bench")["QueueUrl"]
        fill(url, count)
        processes = 2 if name == "two processes" else 1
        return consumed(name, url, count, options.pollers, processes, environment)


@contextmanager
def queue(latency: float):
    """An empty queue; gives the environment that leads boto3 there."""
    server = subprocess.Popen(
        [sys.executable, "-m", "flytelineage.testing.sqs", "--queue=bench", f"--latency={latency}"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.search(r"http://[^/\s]+", server.stdout.readline())[0]
        yield {
            **os.environ,
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "PYTHONPATH": str(HERE),
        }
    finally:
        server.terminate()
        server.wait()


@contextmanager
def postgresql():
    """The URL of an empty schema, in a server of its own."""
    sys.path.insert(0, str(HERE))
    from tests.postgres import running_server, schema

    with running_server() as server, schema(server) as url:
        yield url


def consumed(
    name: str, url: str, count: int, pollers: int, processes: int, environment: dict[str, str]
) -> dict[str, float]:
    """Let processes consume it all; they begin together, and the last one ends the time."""
    asked = {"consume": name, "url": url, "messages": count, "pollers": pollers}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *(f"--{key}={value}" for key, value in asked.items())],
            env=environment,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for one in started:
        one.stdout.readline()
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    answers = [json.loads(one.communicate()[0].splitlines()[-1]) for one in started]
    return {
        "rate": count / max(answer["seconds"] for answer in answers),
        "cpu": sum(answer["cpu"] for answer in answers) / count * 1e6,
    }


def show(rounds: list[dict[str, dict[str, float]]]) -> None:
    """The medians of all rounds; ratios are those within a round."""
    print(
        f"{'consumer':14} {'events/s':>10} {'CPU us/event':>14} {'x one by one':>14} {'CPU x bare':>12}"
    )

    def median(name: str, what: str, by: str = "") -> float:
        return statistics.median(
            found[name][what] / (found[by][what] if by else 1) for found in rounds
        )

    for name in rounds[0]:
        print(
            f"{name:14} {median(name, 'rate'):10.0f} {median(name, 'cpu'):14.0f}"
            f" {median(name, 'rate', 'one by one'):14.1f} {median(name, 'cpu', 'bare boto3'):12.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=0.010, help="seconds per request")
    parser.add_argument("--pollers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--consume", choices=CONSUMERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.consume:
        consume(options.consume, options.url, options.messages, options.pollers)
        return
    print(
        f"{options.messages} messages, {options.latency * 1000:g} ms per request, "
        f"{options.pollers} pollers, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    names = CONSUMERS if options.postgresql else WITH_SQLITE
    show([{name: measure(name, options) for name in names} for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
