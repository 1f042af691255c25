"""Every construct of Flyte 1, from messages to lineage, against what the simulator knows."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import pytest
from flyteidl.core import execution_pb2
from flyteidl.event import event_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage.daemon import Daemon
from flytelineage.events import TERMINAL_PHASES, decode
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.fold import fold
from flytelineage.objects import ObjectReader
from flytelineage.store import Store
from flytelineage.targets.file import FileTarget
from flytelineage.testing.doubles import MemorySource
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import FolderStorage, MemoryStorage, Stream
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.found import comparable, lineages, replay, told

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=12)
"""Metadata that is young: only then a missing object means that it was never written."""
NOW = START + timedelta(hours=12)


def family(streams: Iterable[Stream]) -> list[Stream]:
    """All executions of a construct, those included that launch plans started."""
    return [member for stream in streams for member in stream.family()]


def true(streams: Sequence[Stream], knowledge: str) -> dict[str, dict]:
    """What is true of each execution; of those that end, since others only run."""
    return {
        stream.execution.name: comparable(getattr(stream, knowledge), definitions=True)
        for stream in streams
        if stream.execution.phase != "RUNNING"
    }


def found(bodies: Sequence[str], folder, **options) -> dict[str, dict]:
    _, lineages = replay(bodies, folder, **options)
    return {
        one.execution.name: comparable(told(one), definitions=True)
        for one in lineages
        if one.phase != "RUNNING"
    }


def is_end(event) -> bool:
    """Whether this event ends the execution."""
    return isinstance(event, event_pb2.WorkflowExecutionEvent) and (
        execution_pb2.WorkflowExecution.Phase.Name(event.phase) in TERMINAL_PHASES
    )


class Clock:
    """The store's clock, moved by hand."""

    def __init__(self):
        self.now = datetime.now(timezone.utc)

    def __call__(self):
        return self.now


@contextmanager
def running(folder):
    """A daemon that waits for nothing but its clock; it tells a file."""
    clock = Clock()
    store = Store(path=str(folder / "store.sqlite3"), clock=clock)
    store.open(exclusive=True)
    target = FileTarget(path=str(folder / "lineage.jsonl"))
    try:
        yield (
            Daemon(
                source=MemorySource(),
                store=store,
                targets={"file": target},
                reader=ObjectReader(allow=["file:///*"]),
            ),
            clock,
        )
    finally:
        target.close()
        store.close()


def drain(daemon, clock):
    """Take everything, and work until nothing is due for longer than anybody waits."""
    while daemon.source.visible:
        daemon.intake()
    for _ in range(4):
        clock.now += timedelta(seconds=daemon.store.max_settle)
        while daemon.build() or daemon.deliver("file"):
            pass


def last_told(folder):
    return {
        one.execution.name: comparable(told(one), definitions=True)
        for one in lineages(folder / "lineage.jsonl")
        if one.phase != "RUNNING"
    }


@pytest.mark.parametrize("name", CONSTRUCTS)
class TestConstructs:
    def test_whole_lineage_is_as_the_workflow_has_it(self, name, tmp_path):
        """With the launch plan's name, as CloudEvents of version 2 tell it."""
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        bodies = [body for stream in streams for body in stream.bodies("v2")]

        assert found(bodies, tmp_path / "a") == true(streams, "truth")
        whole = lineages(tmp_path / "a" / "lineage.jsonl")
        assert [str(one.execution) for one in whole if one.partial or one.incomplete] == []

    @pytest.mark.usefixtures("one_of_four")
    def test_order_doubles_and_encodings_do_not_matter(self, name, tmp_path):
        """One queue carries all encodings at once, in any order, and some messages twice."""
        numbers = random.Random(name)
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        every = [b for s in streams for encoding in ("raw", "v1", "v2") for b in s.bodies(encoding)]
        bodies = [*every, *numbers.sample(every, len(every) // 4)]
        numbers.shuffle(bodies)

        assert found(bodies, tmp_path / "a") == true(streams, "truth")

    @pytest.mark.usefixtures("one_of_four")
    def test_inline_data_gives_the_same(self, name, tmp_path):
        """Propeller may send literals inside of events instead of where they are."""
        storage = FolderStorage(tmp_path / "bucket")
        streams = family(CONSTRUCTS[name](storage, start=START, inline=True))
        bodies = [body for stream in streams for body in stream.bodies("v2")]

        assert found(bodies, tmp_path / "a") == true(streams, "truth")

    @pytest.mark.usefixtures("one_of_four")
    def test_name_is_guessed_where_nobody_says_it(self, name, tmp_path):
        """Raw events: all but the name is the same."""
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        bodies = [body for stream in streams for body in stream.bodies("raw")]

        assert found(bodies, tmp_path / "a") == true(streams, "guessed_truth")

    @pytest.mark.usefixtures("one_of_four")
    def test_what_comes_after_a_delivery_corrects_it(self, name, tmp_path):
        """Half of the messages and the ends come first, and all is told; then the rest.

        Executions that fail end late: how such a one is named is settled when it is built.
        """
        numbers = random.Random(name)
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        early, late = [], []
        for stream in streams:
            ends = stream.execution.phase == "SUCCEEDED"
            for request, body in zip(stream.requests, stream.bodies("v2"), strict=True):
                now = ends if is_end(request.event) else numbers.random() < 0.5
                (early if now else late).append(body)

        with running(tmp_path) as (daemon, clock):
            for bodies in (early, late):
                daemon.source.send(numbers.sample(bodies, len(bodies)))
                drain(daemon, clock)

        assert without_places(last_told(tmp_path)) == without_places(true(streams, "truth"))

    @pytest.mark.usefixtures("one_of_four")
    def test_executions_may_be_built_in_any_order(self, name, tmp_path):
        """The newest first: what it reads of older ones has no name yet, and then gets one."""
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))

        with running(tmp_path) as (daemon, clock):
            for stream in reversed(streams):
                daemon.source.send(list(stream.bodies("v2")))
                while daemon.source.visible:
                    daemon.intake()
                clock.now += timedelta(seconds=1)
            drain(daemon, clock)

        assert without_places(last_told(tmp_path)) == without_places(true(streams, "truth"))

    @pytest.mark.usefixtures("one_of_four")
    def test_facts_are_the_same_in_any_order(self, name):
        """Whatever arrives first, and how often."""
        for stream in family(CONSTRUCTS[name](MemoryStorage(), start=START)):
            fold_in_any_order([decode(b, received_at=NOW) for b in stream.bodies("raw")])


def fold_in_any_order(every):
    whole = fold(every[0].execution, every)

    @settings(max_examples=5, deadline=None, database=None)
    @given(st.permutations(every), st.lists(st.sampled_from(every), max_size=9))
    def permuted(order, again):
        assert fold(whole.execution, [*order, *again]) == whole

    permuted()


def without_places(told):
    """The same, with datasets named without places: what data was named first stays."""
    text = json.dumps(told)
    return json.loads(re.sub(r"@[^.\"]+(?=\.\w+\")", "", text))


@pytest.mark.parametrize("name", CONSTRUCTS)
class TestWithFlyteAdmin:
    @pytest.fixture(autouse=True)
    def asked(self, name, tmp_path):
        """The streams of the construct, and a FlyteAdmin that knows what was played."""
        self.streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        with FlyteAdminDouble(self.streams) as double:
            self.admin = FlyteAdmin(
                endpoint=double.endpoint, insecure=True, requests_per_second=10_000
            )
            yield
            self.admin.close()

    def test_definitions_add_what_events_do_not_say(self, name, tmp_path):
        """Names, the whole graph, and the tasks of every node."""
        bodies = [body for stream in self.streams for body in stream.bodies("raw")]

        assert found(bodies, tmp_path / "a", admin=self.admin) == true(self.streams, "admin_truth")

    @pytest.mark.usefixtures("one_of_four")
    def test_what_was_lost_on_the_way_is_fetched(self, name, tmp_path):
        """FlyteAdmin publishes at most once; half of the messages never came."""
        bodies = [
            body
            for number, stream in enumerate(self.streams)
            for body in stream.without(_lost(number)).bodies("raw")
        ]

        assert found(bodies, tmp_path / "a", admin=self.admin) == true(self.streams, "admin_truth")


def _lost(seed: int):
    """Every other event, but not the one that ends the execution: it makes it due."""
    numbers = random.Random(seed)
    return lambda event: not is_end(event) and numbers.random() < 0.5
