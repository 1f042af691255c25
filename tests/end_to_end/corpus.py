"""The messages of these tests: several workflows, in every encoding, and some rubbish."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from flytelineage.events import decode
from flytelineage.testing.simulator import (
    DELIVERIES,
    ENCODINGS,
    File,
    Frame,
    Node,
    Outcome,
    Output,
    Storage,
    Stream,
    Taken,
    Task,
    Workflow,
    simulate,
)

START = datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc)
RUBBISH = ("no event", '{"Type": "Notification", "Message": "bm8gZXZlbnQ="}', "Z m 9 v")


@dataclass(frozen=True)
class Corpus:
    """What is sent.

    Attributes:
        executions: Bodies by execution, in the order of what happened.
    """

    executions: tuple[tuple[str, ...], ...]

    @property
    def calm(self) -> list[str]:
        """Every body once, in order."""
        return [body for bodies in self.executions for body in bodies] + list(RUBBISH)

    def wild(self, seed: int, *, parts: int, copies: int = 1) -> list[list[str]]:
        """All bodies, some of them once more, in any order, in so many parts.

        Each part brings executions of its own, so that there is work left when it comes.
        With `copies` each body comes so often, and copies stand in any part.
        """
        numbers = random.Random(seed)
        places = [at % parts for at in range(len(self.executions))]
        numbers.shuffle(places)
        found: list[list[str]] = [list(RUBBISH), *([] for _ in range(parts - 1))]
        for place, bodies in zip(places, self.executions, strict=True):
            found[place] += bodies
            found[place] += numbers.sample(bodies, len(bodies) // 5)
            for copy in bodies * (copies - 1):
                numbers.choice(found).append(copy)
        for part in found:
            numbers.shuffle(part)
        return found

    @property
    def hashes(self) -> set[bytes]:
        """What the store knows the events by."""
        return {
            decode(body, received_at=datetime.now(timezone.utc)).hash
            for bodies in self.executions
            for body in bodies
        }


def corpus(storage: Storage) -> Corpus:
    """Play two workflows: files into the storage, events into bodies.

    The first has a task at two nodes. It runs twice, the second time with a cache hit
    and a second attempt, and then fails. The other one reads what it made.
    """
    table, columns = Frame(), {"id": "int", "name": "str"}
    extract = Task("shop.sales.extract", {"o0": table}, cacheable=True)
    clean = Task("shop.sales.clean", {"o0": table})
    publish = Task("shop.sales.publish", {"o0": Frame(columns, uri="s3://shop-lake/daily/")})
    sales = _workflow(
        "shop.sales",
        Node("n0", extract, {"source": File(uri="s3://shop-landing/orders.csv", format="csv")}),
        Node("n1", clean, {"table": Output("n0")}),
        Node("n2", clean, {"table": Output("n1")}),
        Node("n3", publish, {"table": Output("n2")}),
    )
    monday = _run(sales, "monday", storage, day=0)
    cached = Outcome(hit=Taken(monday.outputs("n0"), monday.source("n0")))
    again = Outcome(failed_attempts=1)
    tuesday = _run(sales, "tuesday", storage, day=1, outcomes={"n0": cached, "n2": again})
    broken = _run(sales, "wednesday", storage, day=2, phase="FAILED")
    page = Task("shop.report.render", {"page": File("index.html", "html")})
    report = _workflow("shop.report", Node("n0", page, {"table": monday.output("n2")}))
    read = _run(report, "report", storage, day=1)
    return Corpus(
        tuple(
            tuple(_bodies(stream, seed, named=stream is read))
            for seed, stream in enumerate((monday, tuesday, broken, read))
        )
    )


def backlog(storage: Storage, nights: int) -> Corpus:
    """Play one workflow night after night; each night another table is read."""
    return Corpus(tuple(tuple(_night(storage, night).bodies("raw")) for night in range(nights)))


def _night(storage: Storage, night: int) -> Stream:
    load = Task("shop.nightly.load", {"o0": Frame({"id": "int"}, 2)})
    clean = Task("shop.nightly.clean", {"o0": Frame({"id": "int"}, 2)})
    landing = File(uri=f"s3://shop-landing/night-{night:03}.csv", format="csv")
    nightly = _workflow(
        "shop.nightly",
        Node("n0", load, {"source": landing}),
        Node("n1", clean, {"table": Output("n0")}),
    )
    return _run(nightly, f"night-{night:03}", storage, day=night)


def _workflow(name: str, *nodes: Node) -> Workflow:
    return Workflow(name, nodes, project="shop", domain="production")


def _run(workflow: Workflow, name: str, storage: Storage, *, day: int, **how: Any) -> Stream:
    start = START + timedelta(days=day)
    return simulate(workflow, name, storage, start=start, fast=True, **how)


def _bodies(stream: Stream, seed: int, *, named: bool) -> Iterator[str]:
    """Each message in one or two encodings.

    The first build pins what the workflow is called and where that is known from. So
    it must not depend on which messages come first: either all that can say it do, or
    none of them can.
    """
    numbers, told = random.Random(seed), stream.bodies("v2", "raw")
    ways = {
        (encoding, delivery): stream.bodies(encoding, delivery)
        for encoding in ENCODINGS
        for delivery in DELIVERIES
        if named or encoding != "v2"
    }
    for number, request in enumerate(stream.requests):
        if named and _is_of_workflow(request):
            yield told[number]
            continue
        for way in numbers.sample(sorted(ways), numbers.randint(1, 2)):
            yield ways[way][number]


def _is_of_workflow(request: Any) -> bool:
    return bool(request.event.DESCRIPTOR.name == "WorkflowExecutionEvent")
