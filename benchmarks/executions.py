"""What executions of ten tasks cost on their whole way: time, requests, and room.

    python benchmarks/executions.py [--executions N] [--workflows N] [--stores NAME ...]

Executions of a few workflows go from a queue through a store to all targets, loop by loop:
all are taken in, then built, then told to one target after the other. One process with
SQLite, one with PostgreSQL, and two that share a PostgreSQL. Everything else answers from
the process that measures, and on two cores that is half of what there is: compare the CPU.

- Rates: executions in a second, and milliseconds of the workers' CPU for each.
- Sizing: messages, bytes and requests of a thousand executions.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from contextlib import contextmanager
from typing import Any

from delivery import chain
from world import HERE, TARGETS, World, together, workers, world

TASKS = 10
LOOPS = ("intake", "build", *(f"deliver {name}" for name in TARGETS))
CASES = {"sqlite": 1, "postgresql": 1, "two-processes": 2}
"""Stores, and how many processes share one."""


@contextmanager
def url_of(store: str):
    """Empty for SQLite; else that of an empty schema in a PostgreSQL of its own."""
    if store == "sqlite":
        yield ""
        return
    sys.path.insert(0, str(HERE))
    from tests.postgres import running_server, schema

    with running_server() as server, schema(server) as url:
        yield url


def measured(store: str, executions: int, workflows: int) -> tuple[dict, list[dict]]:
    """What each loop took, and what there is in the end, by process."""
    with world() as around, url_of(store) as url, workers(around, url, CASES[store]) as busy:
        warm_up(around, busy)
        before = together(busy, "sizes")
        for number in range(executions):
            workflow = chain(TASKS, name=f"etl_{number % workflows}")
            around.queue.send(around.play(workflow, number).bodies())
        found = {loop: together(busy, loop) for loop in LOOPS}
        return found, difference(before, together(busy, "sizes"))


def warm_up(around: World, busy: list) -> None:
    """Import and connect everything; of a workflow that is not measured."""
    for number in range(4 * len(busy)):
        around.queue.send(around.play(chain(2, name="warm"), 1_000_000 + number).bodies())
    for loop in LOOPS:
        together(busy, loop)


def difference(before: list[dict], after: list[dict]) -> list[dict]:
    return [
        {
            "store": new["store"] - old["store"],
            "peak": new["peak"],
            "events": new["events"] - old["events"],
            "requests": {
                who: count - old["requests"].get(who, 0) for who, count in new["requests"].items()
            },
        }
        for old, new in zip(before, after, strict=True)
    ]


# ------------------------------------------------------------------------- tables


def show_rates(found: dict[str, dict[str, list[dict]]], executions: int) -> None:
    print(f"{'executions of ten tasks':24}" + "".join(f"{name:>24}" for name in found))
    for loop in LOOPS:
        print(f"{loop:24}" + "".join(rate(one[loop], executions) for one in found.values()))
    whole = {name: total(one) for name, one in found.items()}
    print(f"{'all of it':24}" + "".join(rate(one, executions) for one in whole.values()))


def rate(processes: list[dict[str, Any]], executions: int) -> str:
    seconds = max(one["seconds"] for one in processes)
    cpu = sum(one["cpu"] for one in processes) / executions
    return f"{executions / seconds:10.1f}/s {cpu * 1000:7.1f} ms  "


def total(loops: dict[str, list[dict]]) -> list[dict]:
    """As if one process had done all: of each loop the longest, of CPU the sum."""
    return [
        {
            "seconds": sum(max(one["seconds"] for one in each) for each in loops.values()),
            "cpu": sum(one["cpu"] for each in loops.values() for one in each),
        }
    ]


def show_sizes(sizes: list[dict], executions: int) -> None:
    def thousand(number: float) -> float:
        return number * 1000 / executions

    print("\na thousand executions of ten tasks, all targets")
    print(f"  {'messages':28}{thousand(sum(one['events'] for one in sizes)):12,.0f}")
    print(f"  {'store, megabytes':28}{thousand(sizes[0]['store']) / 1e6:12,.1f}")
    requests = sizes[0]["requests"]
    for who in sorted(requests):
        print(f"  {who + ' requests':28}{thousand(sizes[0]['requests'][who]):12,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--executions", type=int, default=300)
    parser.add_argument("--workflows", type=int, default=10)
    parser.add_argument("--stores", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    print(
        f"{options.executions} executions of {options.workflows} workflows, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    rates, sizes = {}, {}
    for store in options.stores:
        rates[store], sizes[store] = measured(store, options.executions, options.workflows)
    show_rates(rates, options.executions)
    print("peak of memory: " + ", ".join(
        f"{name} {max(one['peak'] for one in each):.0f} MB" for name, each in sizes.items()
    ))  # fmt: skip
    show_sizes(sizes[options.stores[0]], options.executions)


if __name__ == "__main__":
    main()
