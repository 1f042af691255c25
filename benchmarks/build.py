"""How long the lineage of one execution takes to build, and what it costs on the way.

    python benchmarks/build.py [--sizes N ...] [--shapes NAME ...] [--latency SECONDS] [--datahub]

Executions of growing size are built step by step as the daemon does it, from a store with
their events and a folder with their objects, each in a process of its own. What is looked
at are ratios: from one size to the next (ten times the tasks, so about ten), and to two
baselines on the same input in the same process:

- `parse`: read the messages from the store and parse them, nothing else;
- `read`: read the same objects with the same concurrency, nothing else.

Every read is delayed by `--latency`, as an object store would; how many were under way at
once is counted. `crowd` has as many edges, not tasks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
CASES = (
    ("chain", False), ("chain", True), ("fan", False), ("fan", True), ("dynamic", False),
    ("same", False), ("dynamics", False), ("branches", True), ("mapped", False), ("crowd", False),
)  # fmt: skip
"""Shapes, and whether FlyteAdmin told the workflow's definition."""


# ------------------------------------------------------------------ what is counted


class Meter:
    """Seconds of each step; and of reads how many there were, and how many at once."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.seconds: dict[str, float] = {}
        self.reads: dict[str, Counter[str]] = {}
        self.at_once: dict[str, int] = {}
        self.read: list[tuple[Any, Any]] = []
        self._step = ""
        self._lock = threading.Lock()
        self._under_way = 0

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        """Do a step, and note how long it took."""
        self._step, began = name, time.perf_counter()
        done = do()
        self.seconds[name] = time.perf_counter() - began
        return done

    @contextmanager
    def request(self, method: str) -> Iterator[None]:
        """A request to the object store, as slow as one."""
        with self._lock:
            self._under_way += 1
            self.reads.setdefault(self._step, Counter())[method] += 1
            self.at_once[self._step] = max(self.at_once.get(self._step, 0), self._under_way)
        time.sleep(self.latency)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1


class MeteredOpener:
    """Opens what another opener opens, under a meter."""

    def __init__(self, opener: Any, meter: Meter) -> None:
        self._opener = opener
        self._meter = meter

    def get(self, place: Any, part: slice | None, limit: int) -> Any:
        self._meter.read.append((place, part))
        with self._meter.request("get"):
            return self._opener.get(place, part, limit)

    def stat(self, place: Any) -> Any:
        with self._meter.request("stat"):
            return self._opener.stat(place)

    def page(self, place: Any, limit: int, following: str) -> Any:
        with self._meter.request("list"):
            return self._opener.page(place, limit, following)

    def close(self) -> None:
        self._opener.close()


def metered_reader(meter: Meter, folder: Path) -> Any:
    from flytelineage.objects import ObjectReader

    class MeteredReader(ObjectReader):
        def resolve(self, uri: str) -> Any:
            opener, place = super().resolve(uri)
            return MeteredOpener(opener, meter), place

    return MeteredReader(allow=[f"{folder.as_uri()}/*"])


# --------------------------------------------------------------------- the steps


def build(folder: Path, meter: Meter, *, datahub: bool) -> dict[str, Any]:
    """What the daemon does from claiming a build to settling its deliveries."""
    from workloads import open_store

    from flytelineage.builder import LineageBuilder
    from flytelineage.collect import Collector
    from flytelineage.describer import Describer
    from flytelineage.fold import fold
    from flytelineage.store import Built

    store, reader = open_store(folder), metered_reader(meter, folder)
    collector, describer = Collector(max_seconds=3600), Describer(max_seconds=3600)
    (lease,) = store.claim_build(1, lease_seconds=3600)
    began = time.perf_counter()
    facts = meter.step("fold", lambda: fold(lease.execution, store.events(lease.execution)))
    collected = meter.step(
        "collect",
        lambda: collector.collect(
            facts, store, reader, pinned=None, now=datetime.now(timezone.utc), patient=False
        ),
    )
    found = meter.step("build", lambda: LineageBuilder().build(facts, collected))
    lineage = meter.step("describe", lambda: describer.describe(found, reader))
    built = Built(
        lineage=lineage.model_copy(update={"revision": lease.revision}),
        pipeline=collected.pipeline,
        locations=found.locations,
        waiting=found.waiting,
        places=found.places,
    )
    targets = ["file", "datahub"] if datahub else ["file"]
    meter.step("finish", lambda: store.finish_build(lease, built, targets))
    meter.seconds["total"] = time.perf_counter() - began
    peak = peak_megabytes()
    answer = {"peak": peak, **about(lineage)}
    for target in targets:
        deliver(store, target, folder, meter)
    store.close()
    return answer


def deliver(store: Any, name: str, folder: Path, meter: Meter) -> None:
    """Deliver to a target that writes a file; DataHub's needs claims, a journal none."""
    from flytelineage.targets.datahub import DataHubTarget
    from flytelineage.targets.file import FileTarget
    from flytelineage.telling import claims_of, stay

    (lease,) = meter.step("claim", lambda: store.claim_delivery(name, 1, lease_seconds=3600))
    if name == "file":
        target = FileTarget(path=str(folder / "lineage.jsonl"))
        meter.step("file", lambda: target.emit(lease.lineage))
        target.close()
        store.settle(lease, [], [])
        return
    target = DataHubTarget(file=str(folder / "datahub.json"))
    claims = meter.step("claims", lambda: claims_of(lease.lineage))
    tell = meter.step(
        "prepare", lambda: store.prepare(lease, claims, raises=True, refresh_seconds=1)
    )
    lineage = stay(lease.lineage, claims, tell)
    meter.step("datahub", lambda: target.emit(lineage))
    meter.step("settle", lambda: store.settle(lease, claims, []))
    target.close()


def about(lineage: Any) -> dict[str, Any]:
    return {
        "tasks": len(lineage.tasks),
        "datasets": len(lineage.datasets),
        "edges": sum(len(task.io.upstream) for task in lineage.tasks if task.io),
        "unknown": len(lineage.incomplete) + lineage.partial,
    }


def baselines(folder: Path, meter: Meter) -> None:
    """The floor: parsing the same messages, reading the same objects."""
    from workloads import EXECUTION, open_store

    from flytelineage.collect import Collector
    from flytelineage.events import message
    from flytelineage.objects.files import Files

    store, opener = open_store(folder), MeteredOpener(Files(), meter)
    events = store.events(EXECUTION)
    meter.step("parse", lambda: [None for event in events if not message(event)])
    store.close()
    asked, limit = list(meter.read), 1 << 30
    with ThreadPoolExecutor(Collector().concurrency) as pool:
        meter.step("read", lambda: [None for _ in pool.map(lambda a: opener.get(*a, limit), asked)])


def peak_megabytes() -> float:
    """The most memory that this process held since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0


def forget_peak() -> None:
    """Begin anew with what is held now; only Linux can do that."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(folder: Path, warm: Path, latency: float, *, datahub: bool) -> None:
    """Build one execution in this process and print what it took, as JSON."""
    build(warm, Meter(0), datahub=datahub)
    forget_peak()
    before, meter = peak_megabytes(), Meter(latency)
    answer = build(folder, meter, datahub=datahub)
    answer["peak"] -= before
    answer |= {"reads": meter.reads, "at_once": meter.at_once}
    baselines(folder, meter)
    print(json.dumps({**answer, "seconds": meter.seconds}))


# ------------------------------------------------------------------------- the run


def measured(shape: str, size: int, options: argparse.Namespace, *, defined: bool) -> dict:
    """Make an execution and build it, in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        warm, folder = Path(name, "warm"), Path(name, "measured")
        for where, tasks in ((warm, 10), (folder, size)):
            where.mkdir()
            prepared = ["--prepare", shape, "--sizes", str(tasks), "--folder", str(where)]
            run([*prepared, "--defined"] if defined else prepared)
        asked = ["--measure", "--folder", name, "--latency", str(options.latency)]
        return json.loads(run([*asked, "--datahub"] if options.datahub else asked))


def run(arguments: list[str]) -> str:
    """Run this script in another process; the last line that it prints."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        cwd=HERE,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return (done.stdout.splitlines() or [""])[-1]


def show(sizes: list[int], found: list[dict]) -> None:
    """A table with a line for each step, and what one size costs more than the one before."""
    print(f"{'':10}" + "".join(f"{size:>12,}{'ratio':>8}" for size in sizes))
    for step in found[0]["seconds"]:
        seconds = [one["seconds"][step] for one in found]
        print(f"{step:10}" + line(seconds, "{:.2f} s"))
    print(f"{'grew by':10}" + line([one["peak"] for one in found], "{:.0f} MB"))
    for step, kind in (("collect", "get"), ("describe", "list"), ("describe", "get")):
        counts = [one["reads"].get(step, {}).get(kind, 0) for one in found]
        if any(counts):
            print(f"{step} {kind}s: {counts}, at once {[one['at_once'][step] for one in found]}")
    last = found[-1]
    floor = last["seconds"]["parse"] + last["seconds"]["read"]
    print(
        f"{last['tasks']} tasks, {last['datasets']} datasets, {last['edges']} edges, "
        f"{last['unknown']} things unknown; total is {last['seconds']['total'] / floor:.1f} times "
        "parsing the same messages and reading the same objects"
    )


def line(values: list[float], form: str) -> str:
    text = ""
    for before, value in zip([None, *values], values, strict=False):
        text += f"{form.format(value):>12}"
        text += f"{value / before:>7.1f}x" if before and before > 0.005 else " " * 8
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--shapes", nargs="+", help="all by default")
    parser.add_argument("--latency", type=float, default=0.002, help="seconds per read")
    parser.add_argument("--datahub", action="store_true", help="deliver to DataHub's file, too")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    parser.add_argument("--defined", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        from workloads import prepare

        prepare(options.prepare, options.sizes[0], options.folder, defined=options.defined)
        return
    if options.measure:
        folder = options.folder
        measure(folder / "measured", folder / "warm", options.latency, datahub=options.datahub)
        return
    print(
        f"{options.latency * 1000:g} ms per read, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}"
    )
    for shape, defined in CASES:
        if options.shapes and shape not in options.shapes:
            continue
        print(f"\n{shape}" + (", its definition known" if defined else ""), flush=True)
        show(
            options.sizes,
            [measured(shape, size, options, defined=defined) for size in options.sizes],
        )


if __name__ == "__main__":
    main()
