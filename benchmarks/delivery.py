"""What telling catalogues costs, beside what their own classes need for the same.

    python benchmarks/delivery.py [--tasks N] [--repetitions N] [--deliveries N]

- Requests: an execution of `--tasks` tasks, each of which reads one dataset and writes one,
  goes through the daemon to DataHub; then the next execution of the same workflow, which
  finds nothing changed but where its data lies. Beside it what DataHub's Airflow plugin
  emits for such a run, with acryl-datahub's own classes.
- CPU: emitting an execution of 10 tasks and 20 datasets of 20 columns, beside building,
  validating and serialising the very same with acryl-datahub's and openlineage-python's
  own classes. Both by turns, in one process; the catalogue is in another.
- Deliveries: how many executions of 10 tasks are claimed, prepared, emitted and settled
  in a second, by one thread.

Look at the ratios; seconds differ from machine to machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import workloads
from by_hand import Kept, builder
from workloads import Frame, Input, Node, Output, Task, Workflow

from flytelineage.daemon import Daemon
from flytelineage.entities import Lineage, Logic, Owner, Ownership, Tags
from flytelineage.objects import ObjectReader
from flytelineage.targets import Target
from flytelineage.testing.datahub import GmsDouble
from flytelineage.testing.doubles import MemorySource, MemoryTarget
from flytelineage.testing.simulator import FolderStorage, simulate
from flytelineage.transforms import Transform

# --------------------------------------------------------------------- executions


def chain(tasks: int, *, outputs: int = 1, columns: int = 3, name: str = "etl") -> Workflow:
    """Each task reads the first of what the one before it wrote; the first a table."""
    frame = Frame({f"column_{number}": "int" for number in range(columns)})
    written = {f"o{number}": frame for number in range(outputs)}
    nodes = [
        Node(
            f"n{number}",
            Task(f"app.{name}.task_{number}", written),
            {"df": Output(f"n{number - 1}") if number else Input("df")},
        )
        for number in range(tasks)
    ]
    orders = Frame(frame.columns, uri="s3://lake/sales/orders")
    return Workflow(f"app.{name}.main", tuple(nodes), inputs={"df": orders})


class Described(Transform):
    """Says of tasks what the simulator does not: owners, tags, and what they run."""

    SAID: ClassVar[dict[str, Any]] = {
        "ownership": Ownership(owners=(Owner(id="ada"), Owner(id="data", kind="group"))),
        "tags": Tags(names=("nightly", "sales")),
        "logic": Logic(image="registry.example.com/etl:1", entry_point="app.etl"),
    }

    def apply(self, lineage: Lineage) -> Lineage:
        tasks = tuple(task.model_copy(update=self.SAID) for task in lineage.tasks)
        return lineage.model_copy(update={"tasks": tasks})


class Flyte:
    """A daemon with a store in a folder, and executions that Flyte runs for it.

    Args:
        folder: For the store, and for the objects that executions write.
        targets: Whom the daemon tells.
    """

    def __init__(self, folder: Path, **targets: Target) -> None:
        self._bucket = FolderStorage(folder / "bucket")
        self._count = 0
        self.daemon = Daemon(
            source=MemorySource(),
            store=workloads.open_store(folder),
            targets=targets,
            transforms=[Described()],
            reader=ObjectReader(allow=[f"{folder.as_uri()}/*"]),
        )

    def run(self, workflow: Workflow) -> None:
        """Let Flyte execute the workflow, and build the lineage of that."""
        self._count += 1
        start = workloads.START + timedelta(minutes=5 * self._count)
        name = f"a{self._count:019}"
        stream = simulate(workflow, name, self._bucket, start=start, seed=self._count, fast=True)
        execution = workloads.EXECUTION.model_copy(update={"name": name})
        store = self.daemon.store
        workloads.record(store, map(workloads.event, stream.requests))
        store.record([workloads.answer(workflow, execution, start)])
        store.keep_definition(*workloads.definition(workflow))
        while self.daemon.build():
            pass

    def deliver(self) -> None:
        """Tell everybody all that was built."""
        for name in self.daemon.targets:
            while self.daemon.deliver(name):
                pass

    def close(self) -> None:
        """Let go of the store and of the targets."""
        for target in self.daemon.targets.values():
            target.close()
        self.daemon.store.close()


def lineage_of(workflow: Workflow) -> Lineage:
    """What targets are told of the first execution of a workflow."""
    with tempfile.TemporaryDirectory() as folder:
        told = MemoryTarget()
        flyte = Flyte(Path(folder), told=told)
        flyte.run(workflow)
        flyte.deliver()
        flyte.close()
    return told.emitted[0]


# ----------------------------------------------------------------------- requests


@dataclass(frozen=True)
class Sent:
    """What arrived at DataHub."""

    requests: int
    proposals: int
    body_bytes: int = 0

    @classmethod
    def to(cls, gms: GmsDouble, since: int = 0) -> Sent:
        """All that arrived, but for so many requests at first."""
        arrived = gms.requests[since:]
        return cls(
            len(arrived),
            sum(len(request.proposals) for request in arrived),
            sum(request.body_bytes for request in arrived),
        )


def our_requests(tasks: int) -> Iterator[Sent]:
    """Of the first execution of a workflow, and of the next, in which nothing changed."""
    from flytelineage.targets.datahub import DataHubTarget

    with tempfile.TemporaryDirectory() as folder, GmsDouble() as gms:
        flyte = Flyte(Path(folder), datahub=DataHubTarget(server=gms.url))
        for _ in range(2):
            before = len(gms.requests)
            flyte.run(chain(tasks))
            flyte.deliver()
            yield Sent.to(gms, before)
        flyte.close()


def plugin_requests(tasks: int) -> Sent:
    """Of every run of a DAG, sent one by one as the Airflow plugin does."""
    import airflow_plugin

    with GmsDouble() as gms:
        emitter = datahub_emitter(gms.url)
        for proposal in airflow_plugin.proposals(tasks):
            emitter.emit(proposal)
        emitter.close()
        return Sent.to(gms)


def plugin_proposals(tasks: int) -> Sent:
    """The same, counted and not sent: that would take a minute."""
    import airflow_plugin

    return Sent(count := sum(1 for _ in airflow_plugin.proposals(tasks)), count)


def show_requests(tasks: int) -> None:
    print(f"{'requests to DataHub':48}{'requests':>10}{'proposals':>11}{'KB':>9}")
    rows = [("Airflow plugin, 10 tasks, each run", plugin_requests(10))]
    rows += [(f"Airflow plugin, {tasks} tasks, each run (not sent)", plugin_proposals(tasks))]
    for size in (10, tasks):
        first, following = our_requests(size)
        rows += [(f"flytelineage, {size} tasks, first execution", first)]
        rows += [(f"flytelineage, {size} tasks, the next, unchanged", following)]
    for name, sent in rows:
        kilobytes = f"{sent.body_bytes / 1000:,.0f}" if sent.body_bytes else "-"
        print(f"{name:48}{sent.requests:>10,}{sent.proposals:>11,}{kilobytes:>9}")


# ---------------------------------------------------------------------------- CPU


@contextmanager
def gms_elsewhere() -> Iterator[str]:
    """The URL of DataHub's double in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate()


def serve() -> None:
    """Be that process, until there is nobody who could ask."""
    with GmsDouble() as gms:
        print(gms.url, flush=True)
        sys.stdin.read()


def datahub_floor(lineage: Lineage, **options: Any) -> Callable[[], list[Any]]:
    """Builds what DataHubTarget tells of the lineage, with acryl-datahub's own classes."""
    from datahub.ingestion.source.file import read_metadata_file

    from flytelineage.targets.datahub import DataHubTarget

    with tempfile.TemporaryDirectory() as folder:
        target = DataHubTarget(file=f"{folder}/", create_platform=False, **options)
        target.emit(lineage)
        target.close()
        (file,) = Path(folder).rglob("*.json")
        return builder(read_metadata_file(file))


def datahub_emitter(url: str) -> Any:
    """acryl-datahub's own; it waits until what it sends is stored, as ours does."""
    from datahub.emitter.rest_emitter import DataHubRestEmitter

    return DataHubRestEmitter(url, openapi_ingestion=False)


def validated_and_serialised(build: Callable[[], list[Any]]) -> None:
    for proposal in build():
        if not proposal.validate():
            raise ValueError(f"not valid: {proposal}")
        json.dumps(proposal.to_obj())


def cpu(*works: Callable[[], object], repetitions: int) -> list[float]:
    """Median seconds of this process for each, done by turns after a first time."""
    taken: list[list[float]] = [[] for _ in works]
    for repetition in range(repetitions + 1):
        for work, seconds in zip(works, taken, strict=True):
            began = time.process_time()
            work()
            if repetition:
                seconds.append(time.process_time() - began)
    return [statistics.median(seconds) for seconds in taken]


def datahub_cpu(lineage: Lineage, repetitions: int, **options: Any) -> list[float]:
    """Of the floor, of sending that with acryl-datahub's emitter, and of our target."""
    from flytelineage.targets.datahub import DataHubTarget

    with gms_elsewhere() as url:
        build = datahub_floor(lineage, **options)
        emitter = datahub_emitter(url)
        target = DataHubTarget(server=url, create_platform=False, **options)

        def send() -> None:
            proposals = build()
            if not all(proposal.validate() for proposal in proposals):
                raise ValueError("not valid")
            emitter.emit_mcps(proposals)

        found = cpu(
            lambda: validated_and_serialised(build),
            send,
            lambda: target.emit(lineage),
            repetitions=repetitions,
        )
        target.close()
        emitter.close()
        return found


def openlineage_floor(lineage: Lineage) -> Callable[[], list[Any]]:
    """Builds what OpenLineageTarget tells, with openlineage-python's own classes.

    They are validated while they are built.
    """
    from flytelineage.targets.openlineage import OpenLineageTarget

    Kept.events.clear()
    target = OpenLineageTarget(transport={"type": "by_hand.Kept"})
    target.emit(lineage)
    target.close()
    return builder(Kept.events)


def openlineage_emitter(file: Path) -> Any:
    """openlineage-python's own, which appends lines to a file, as ours does."""
    from openlineage.client.transport.file import FileConfig, FileTransport

    return FileTransport(FileConfig(log_file_path=str(file), append=True))


def openlineage_cpu(lineage: Lineage, repetitions: int) -> list[float]:
    """Of the floor, of writing that with openlineage-python, and of our target."""
    from openlineage.client.serde import Serde

    from flytelineage.targets.openlineage import OpenLineageTarget

    with tempfile.TemporaryDirectory() as folder:
        build = openlineage_floor(lineage)
        emitter = openlineage_emitter(Path(folder, "theirs.jsonl"))
        file = str(Path(folder, "ours.jsonl"))
        target = OpenLineageTarget(transport={"type": "file", "log_file_path": file})
        found = cpu(
            lambda: [Serde.to_json(event) for event in build()],
            lambda: [emitter.emit(event) for event in build()],
            lambda: target.emit(lineage),
            repetitions=repetitions,
        )
        target.close()
        return found


def show_cpu(repetitions: int) -> None:
    lineage = lineage_of(chain(10, outputs=2, columns=20))
    print(f"\n{'CPU of one emission':48}{'ms':>10}{'ratio':>11}")
    for name, options in DATAHUB_WAYS.items():
        print(f"DataHub, {name}, {len(datahub_floor(lineage, **options)())} proposals")
        show_ratios("DataHubTarget", datahub_cpu(lineage, repetitions, **options))
    print(f"OpenLineage, {len(openlineage_floor(lineage)())} events")
    show_ratios("OpenLineageTarget", openlineage_cpu(lineage, repetitions))


def show_ratios(target: str, found: list[float]) -> None:
    ways = ("built, validated, serialised by hand", "that, sent by its own emitter", target)
    for way, seconds in zip(ways, found, strict=True):
        print(f"  {way:46}{seconds * 1000:>10.1f}{seconds / found[0]:>11.2f}")


DATAHUB_WAYS: dict[str, dict[str, Any]] = {
    "added to what is there": {"patches": True},
    "replacing what is there": {"patches": False},
}


# --------------------------------------------------------------------- deliveries


def show_deliveries(count: int) -> None:
    from flytelineage.targets.datahub import DataHubTarget

    print(f"\n{'deliveries of 10 tasks to DataHub':48}{'a second':>10}{'CPU ms':>11}")
    for name, workflows in (
        ("new workflows", [chain(10, name=f"etl_{number}") for number in range(count)]),
        ("unchanged workflows", [chain(10)] * count),
    ):
        with tempfile.TemporaryDirectory() as folder, gms_elsewhere() as url:
            flyte = Flyte(Path(folder), datahub=DataHubTarget(server=url))
            for workflow in (chain(10), *workflows):
                flyte.run(workflow)
            flyte.daemon.deliver("datahub")  # which also imports and connects
            began, cpu_began = time.perf_counter(), time.process_time()
            flyte.deliver()
            rate = count / (time.perf_counter() - began)
            spent = (time.process_time() - cpu_began) / count
            flyte.close()
        print(f"{name:48}{rate:>10.1f}{spent * 1000:>11.1f}")


# ------------------------------------------------------------------------ the run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--deliveries", type=int, default=50)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}\n")
    show_requests(options.tasks)
    show_cpu(options.repetitions)
    show_deliveries(options.deliveries)


if __name__ == "__main__":
    main()
