"""How much memory and time the events of one execution take, however many there are.

    python benchmarks/events.py [--events N ...] [--nodes N]

The same thousand nodes tell more and more: their attempts say again and again that they
still run. Memory must follow the nodes, not the events. Two ways, and their baseline:

- `parse`: make the messages one by one and parse them, nothing else: the floor;
- `fold`: fold the same stream into facts;
- `store`: record it into SQLite in groups, then read and fold it from there.

Each runs in a process of its own, which says by how much its memory grew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def take(way: str, count: int, nodes: int, folder: Path) -> None:
    """Take in so many events in one way, and print what that took, as JSON."""
    from workloads import event, play

    stream = play("chain", nodes, folder)
    use(way, (event(request) for request in stream.requests), folder / "warm")
    events = (event(request) for request in stream.flooded(count))
    before, began = peak_megabytes(), time.perf_counter()
    use(way, events, folder / "measured")
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "megabytes": peak_megabytes() - before}))


def use(way: str, events: Iterator, folder: Path) -> None:
    from workloads import EXECUTION, open_store, record

    from flytelineage.events import message
    from flytelineage.fold import fold

    if way == "parse":
        for each in events:
            message(each)
    elif way == "fold":
        fold(EXECUTION, events)
    else:
        folder.mkdir()
        store = open_store(folder)
        record(store, events)
        fold(EXECUTION, store.events(EXECUTION))
        store.close()


WAYS = ("parse", "fold", "store")


def measured(way: str, count: int, nodes: int) -> dict[str, float]:
    """One way in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"way": way, "events": count, "nodes": nodes, "folder": folder}
        done = subprocess.run(
            [sys.executable, __file__, *(f"--{name}={value}" for name, value in asked.items())],
            env={**os.environ, "PYTHONPATH": str(HERE)},
            cwd=HERE,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        take(options.way, options.events[0], options.nodes, options.folder)
        return
    print(f"{options.nodes:,} nodes, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'events':>10} {'way':8}{'grew by':>10}{'us/event':>10}{'x parse':>10}")
    for count in options.events:
        found = {way: measured(way, count, options.nodes) for way in WAYS}
        for way, one in found.items():
            each, ratio = one["seconds"] / count * 1e6, one["seconds"] / found["parse"]["seconds"]
            print(f"{count:10,} {way:8}{one['megabytes']:7.1f} MB{each:10.1f}{ratio:10.1f}")


if __name__ == "__main__":
    main()
