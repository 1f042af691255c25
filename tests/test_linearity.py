"""What one execution costs grows with its tasks, and no faster: counted, never timed.

Each case is played twice, the second time with ten times the tasks. What is counted then
is ten times as much and hardly more.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from datetime import datetime, timezone

import pytest
import sqlalchemy

from benchmarks.workloads import EXECUTION, SHAPES, event, open_store, play, prepare
from flytelineage.builder import LineageBuilder
from flytelineage.collect import Collector
from flytelineage.describer import Describer
from flytelineage.fold import fold
from flytelineage.objects import ObjectReader
from flytelineage.store import Built
from flytelineage.telling import claims_of

SMALL, LARGE = 20, 200
TEN_TIMES = 10.5

DEFINED = {"branches", "fan"}
"""Shapes that are built with the workflow's definition."""


def lines(do):
    """What came of it, and how many lines of Python ran for it in this thread."""
    count = 0

    def trace(frame, what, argument):
        nonlocal count
        count += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return do(), count
    finally:
        sys.settrace(before)


def peak_bytes(do) -> int:
    """The most memory that it needed at any time."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Statements:
    """Counts what a store asks of its database: statements, and rows that they carry."""

    def __init__(self, store):
        self.count = self.rows = 0
        engine = store._rooms.database.engine
        sqlalchemy.event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, connection, cursor, statement, values, context, many):
        self.count += 1
        self.rows += len(values) if many else 1


def cost(shape: str, size: int, folder) -> Counter:
    """Builds an execution and prepares its delivery; what that took, by what was counted."""
    folder.mkdir()
    prepare(shape, size, folder, defined=shape in DEFINED)
    store, reader = open_store(folder), ObjectReader(allow=[f"{folder.as_uri()}/*"])
    statements, found = Statements(store), Counter()
    (lease,) = store.claim_build(1, lease_seconds=60)
    facts, found["folding"] = lines(lambda: fold(EXECUTION, store.events(EXECUTION)))
    collected, found["collecting"] = lines(
        lambda: Collector().collect(
            facts, store, reader, pinned=None, now=datetime.now(timezone.utc), patient=True
        )
    )
    found["literals"] = reader.requests
    build, found["building"] = lines(lambda: LineageBuilder().build(facts, collected))
    lineage = Describer().describe(build, reader)
    found["looks"] = reader.requests - found["literals"]
    built = Built(
        lineage=lineage,
        pipeline=collected.pipeline,
        locations=build.locations,
        waiting=build.waiting,
        places=build.places,
    )
    assert store.finish_build(lease, built, ["target"])
    (delivery,) = store.claim_delivery("target", 1, lease_seconds=60)
    claims, found["claiming"] = lines(lambda: claims_of(delivery.lineage))
    store.prepare(delivery, claims, raises=True, refresh_seconds=1)
    store.settle(delivery, claims, [])
    store.close()
    found["statements"], found["rows"] = statements.count, statements.rows
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_ten_times_the_tasks_cost_ten_times_as_much(shape, tmp_path):
    """Of crowds it is edges, which is what many writers and many readers are."""
    small = cost(shape, SMALL, tmp_path / "small")
    large = cost(shape, LARGE, tmp_path / "large")

    grown = {what: large[what] / count for what, count in small.items() if count}
    assert {what: times for what, times in grown.items() if times > TEN_TIMES} == {}


def test_an_execution_reads_two_literal_maps_for_each_task(tmp_path):
    """And those of the workflow; each of its datasets then takes a listing and a footer."""
    found = cost("chain", SMALL, tmp_path / "chain")

    assert found["literals"] == 2 * SMALL + 2
    assert found["looks"] == 2 * SMALL


def test_memory_follows_the_nodes_and_not_the_events(tmp_path):
    """Ten times the events of the same nodes need no more at any time."""
    stream = play("chain", SMALL, tmp_path)

    few = peak_bytes(lambda: fold(EXECUTION, map(event, stream.flooded(500))))
    many = peak_bytes(lambda: fold(EXECUTION, map(event, stream.flooded(5_000))))

    assert many < 1.2 * few


def test_memory_follows_the_nodes_where_events_come_from_the_store(tmp_path):
    """They are read page by page."""
    stream = play("chain", SMALL, tmp_path)
    peaks = []
    for count in (500, 5_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        store = open_store(folder)
        store.record([event(request) for request in stream.flooded(count)])
        fold(EXECUTION, store.events(EXECUTION))  # statements are compiled once
        peaks.append(peak_bytes(lambda store=store: fold(EXECUTION, store.events(EXECUTION))))
        store.close()

    assert peaks[1] < 1.2 * peaks[0]
