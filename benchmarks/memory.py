"""How much memory a process holds after many events, with all targets on.

    python benchmarks/memory.py [--first N] [--events N] [--each N]

Executions of ten tasks go the whole way, from a queue through a store on SQLite to all
targets. Their attempts say again and again that they still run, so that a few hundred
executions have a million events. The resident size after all must be that after the first
fifty thousand, within a tenth, and below 300 MB.

It takes a quarter of an hour; `--each` says how many events an execution has.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

from delivery import chain
from executions import LOOPS
from world import Worker, World, workers, world

PORTION = 20_000
"""Events that wait in the queue at once."""


def feed(around: World, busy: Worker, executions: range, each: int) -> Iterator[dict[str, Any]]:
    """Let executions run and have them told; what the process holds after each portion."""
    portion = max(1, PORTION // each)
    for start in range(executions.start, executions.stop, portion):
        for number in range(start, min(start + portion, executions.stop)):
            stream = around.play(chain(10, name=f"etl_{number % 10}"), number)
            around.queue.send(stream.encoded(stream.flooded(each)))
        for loop in LOOPS:
            busy.ask(loop)
        yield busy.ask("sizes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=50_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=2_000, help="events of each execution")
    options = parser.parse_args()
    print(
        f"{options.events:,} events, {options.each:,} in each execution, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}\n"
    )
    print(f"{'events':>12}{'resident MB':>14}{'peak MB':>12}{'store MB':>12}{'minutes':>10}")
    began, first, shown = time.monotonic(), 0.0, 0
    with world() as around, workers(around, "") as (busy,):
        for found in feed(around, busy, range(options.events // options.each), options.each):
            first = first or (found["rss"] if found["events"] >= options.first else 0.0)
            last = found["rss"]
            if found["events"] >= shown:
                shown += options.events // 20
                show(found, (time.monotonic() - began) / 60)
    print(f"\nthe last of these is {last / first:.2f} times that after {options.first:,} events")


def show(found: dict[str, Any], minutes: float) -> None:
    print(
        f"{found['events']:12,}{found['rss']:14.0f}{found['peak']:12.0f}"
        f"{found['store'] / 1e6:12.0f}{minutes:10.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
