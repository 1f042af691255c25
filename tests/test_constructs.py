"""Every construct of Flyte 1, from messages to lineage, against what the simulator knows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

import pytest
from flyteidl.core import execution_pb2
from flyteidl.event import event_pb2

from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import FolderStorage, Stream
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.found import comparable, replay, told

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=12)
"""Metadata that is young: only then a missing object means that it was never written."""


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


@pytest.mark.parametrize("name", CONSTRUCTS)
class TestConstructs:
    def test_whole_lineage_is_as_the_workflow_has_it(self, name, tmp_path):
        """With the launch plan's name, as CloudEvents of version 2 tell it."""
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        bodies = [body for stream in streams for body in stream.bodies("v2")]

        assert found(bodies, tmp_path / "a") == true(streams, "truth")

    def test_order_doubles_and_encodings_do_not_matter(self, name, tmp_path):
        """One queue carries all encodings at once, in any order, and some messages twice."""
        numbers = random.Random(name)
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        every = [b for s in streams for encoding in ("raw", "v1", "v2") for b in s.bodies(encoding)]
        bodies = [*every, *numbers.sample(every, len(every) // 4)]
        numbers.shuffle(bodies)

        assert found(bodies, tmp_path / "a") == true(streams, "truth")

    def test_inline_data_gives_the_same(self, name, tmp_path):
        """Propeller may send literals inside of events instead of where they are."""
        storage = FolderStorage(tmp_path / "bucket")
        streams = family(CONSTRUCTS[name](storage, start=START, inline=True))
        bodies = [body for stream in streams for body in stream.bodies("v2")]

        assert found(bodies, tmp_path / "a") == true(streams, "truth")

    def test_name_is_guessed_where_nobody_says_it(self, name, tmp_path):
        """Raw events: all but the name is the same."""
        streams = family(CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START))
        bodies = [body for stream in streams for body in stream.bodies("raw")]

        assert found(bodies, tmp_path / "a") == true(streams, "guessed_truth")


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
    ends = {"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"}

    def lost(event) -> bool:
        ending = isinstance(event, event_pb2.WorkflowExecutionEvent) and (
            execution_pb2.WorkflowExecution.Phase.Name(event.phase) in ends
        )
        return not ending and numbers.random() < 0.5

    return lost
