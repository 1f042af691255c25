from __future__ import annotations

import base64
import json
import logging
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from unittest.mock import Mock

import pytest
from flyteidl.admin import execution_pb2

from flytelineage import build as build_module
from flytelineage import consultant
from flytelineage.builder import LineageBuilder
from flytelineage.collect import Collector, Unavailable
from flytelineage.daemon import Daemon
from flytelineage.entities import IO, Copy, DatasetId, Edge, Evidence, ExecutionId
from flytelineage.errors import (
    AdminUnavailable,
    ConfigError,
    PermanentTargetError,
    ReadError,
    RefusedByStoreError,
    SourceError,
    StoreError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.events import decode
from flytelineage.objects import ObjectReader
from flytelineage.objects.reads import Reading
from flytelineage.parts import written
from flytelineage.sources.file import FileSource
from flytelineage.store import Store
from flytelineage.targets import Target
from flytelineage.telling import seen_edges
from flytelineage.testing.doubles import MemoryAdmin, MemorySource, MemoryTarget
from flytelineage.testing.simulator import (
    FolderStorage,
    Frame,
    Node,
    Outcome,
    Output,
    Taken,
    Task,
    Workflow,
    simulate,
)
from flytelineage.transforms import Transform

FRAME = Frame({"id": "int"}, 2)
SUCCEEDED_NODE = 3
"""Source: flyteidl core/execution.proto, NodeExecution.Phase."""

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=5)


class Clock:
    """The store's clock, moved by hand."""

    def __init__(self):
        self.now = START + timedelta(hours=4)

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    found = Store(path=str(tmp_path / "store.sqlite3"), clock=clock)
    found.open(exclusive=True)
    yield found
    found.close()


@pytest.fixture
def stream(tmp_path):
    def make(name="a1b2", *, hours=0, tasks=("load", "clean"), **fields):
        nodes = [
            Node(
                f"n{index}",
                Task(f"app.etl.{task}", {"o0": FRAME}),
                {"df": Output(f"n{index - 1}", "o0")} if index else {},
            )
            for index, task in enumerate(tasks)
        ]
        return simulate(
            Workflow("app.etl.main", tuple(nodes)),
            name,
            FolderStorage(tmp_path / "bucket"),
            start=START + timedelta(hours=hours),
            seed=sum(name.encode()),
            fast=True,
            **fields,
        )

    return make


@pytest.fixture
def daemon(store, clock):
    def make(source=None, **fields):
        return Daemon(
            **{
                "source": source or MemorySource(),
                "store": store,
                "targets": {"memory": MemoryTarget()},
                "reader": ObjectReader(allow=["file:///*"]),
                "clock": lambda: clock().timestamp(),
                **fields,
            }
        )

    return make


def drain(daemon, clock, *, rounds=40):
    """Let the loops run until nothing is left, with time passing in between."""
    while daemon.source.visible:
        daemon.intake()
    for _ in range(rounds):
        while daemon.build():
            pass
        for name in daemon.targets:
            while daemon.deliver(name):
                pass
        left = daemon.store.next_due_in()
        if left is None:
            return
        clock.advance(left + 1)


def io_of(target, task):
    return target.aspects[f"task:flytesnacks.development.app.etl.app.etl.{task}", "io"]


def test_the_way_from_a_message_to_a_catalogue(daemon, stream, clock):
    """Nothing is built before the execution has settled; then it is told."""
    running = daemon(MemorySource(stream().bodies()))
    target = running.targets["memory"]

    while running.source.visible:
        running.intake()

    assert running.source.in_flight == {}
    assert not running.build()
    clock.advance(11)
    assert running.build()
    assert running.deliver("memory")
    assert [edge.task.name for edge in io_of(target, "clean").upstream] == ["app.etl.load"]


def test_a_message_that_comes_again_changes_nothing(daemon, stream, clock):
    source = MemorySource(stream().bodies())
    running = daemon(source)
    drain(running, clock)

    source.send(stream().bodies())
    drain(running, clock)

    assert len(running.targets["memory"].emitted) == 1
    assert running.report.duplicates == len(stream().bodies())


def test_a_late_event_leads_to_a_corrected_lineage(daemon, stream, clock):
    found = stream()
    last = [r for r in found.requests if getattr(r.event, "id", None) and r.event.phase == 3]
    late = found.without(lambda event: event == last[-2].event)
    missing = [body for body in found.bodies() if body not in late.bodies()]
    source = MemorySource(late.bodies())
    running = daemon(source)
    drain(running, clock)
    assert running.targets["memory"].emitted[-1].partial

    source.send(found.bodies())
    drain(running, clock)

    assert missing
    assert not running.targets["memory"].emitted[-1].partial


def test_missing_events_are_waited_for(daemon, stream, clock, store):
    """Up to `max_settle`; then what is known is told as partial."""
    lossy = stream().without(lambda event: hasattr(event, "id") and event.id.node_id == "n0")
    running = daemon(MemorySource(lossy.bodies()))
    while running.source.visible:
        running.intake()

    clock.advance(30)
    while running.build():
        pass
    assert not running.deliver("memory")
    clock.advance(store.max_settle)
    while running.build():
        pass

    assert running.deliver("memory")
    assert running.targets["memory"].emitted[0].partial


def test_waiting_for_missing_events_never_spins(daemon, stream, clock, store):
    """Not even where executions are built as soon as they end."""
    store.min_settle = 0
    lossy = stream().without(lambda event: hasattr(event, "id") and event.id.node_id == "n0")
    running = daemon(MemorySource(lossy.bodies()))
    while running.source.visible:
        running.intake()

    assert running.build()
    assert not running.build()


def test_an_execution_that_falls_silent_is_told_as_running(daemon, stream, clock):
    """Then as it ended, once that is known after all."""
    whole = stream("slow", hours=1)
    silent = whole.without(
        lambda event: hasattr(event, "execution_id") or event.phase == SUCCEEDED_NODE
    )
    source = MemorySource([*stream("known").bodies(), *silent.bodies()])
    running = daemon(source)

    drain(running, clock)
    quiet = running.targets["memory"].emitted[-1]
    source.send(whole.bodies())
    drain(running, clock)
    ended = running.targets["memory"].emitted[-1]

    assert (quiet.execution.name, quiet.phase, quiet.tasks) == ("slow", "RUNNING", ())
    assert (ended.execution.name, ended.phase, ended.partial) == ("slow", "SUCCEEDED", False)


def test_an_unreadable_message_delays_nobody(daemon, stream, clock, store):
    running = daemon(MemorySource(["not an event", *stream().bodies()]))

    drain(running, clock)

    assert len(running.targets["memory"].emitted) == 1
    (quarantined,) = store.quarantined(10)
    assert "base64" in quarantined.reason
    assert store.quarantine_body(quarantined.id) == "not an event"


def test_a_target_that_is_down_delays_no_other(daemon, stream, clock):
    down = MemoryTarget(failures=[TransientTargetError("503")] * 5)
    targets = {"down": down, "up": MemoryTarget()}
    running = daemon(MemorySource(stream().bodies()), targets=targets)
    while running.source.visible:
        running.intake()
    clock.advance(11)
    running.build()

    running.deliver("down")
    running.deliver("up")

    assert len(targets["up"].emitted) == 1
    assert down.emitted == []
    drain(running, clock)
    assert len(down.emitted) == 1


def test_a_target_that_says_when_is_not_asked_before(daemon, stream, clock):
    target = MemoryTarget(failures=[TransientTargetError("429", retry_after=120)])
    running = daemon(MemorySource(stream().bodies()), targets={"memory": target})
    while running.source.visible:
        running.intake()
    clock.advance(11)
    running.build()
    running.deliver("memory")

    clock.advance(100)
    assert not running.deliver("memory")
    clock.advance(30)
    assert running.deliver("memory")


def test_a_target_that_says_never_is_asked_all_the_same(daemon, stream, clock):
    target = MemoryTarget(failures=[TransientTargetError("429", retry_after=1e6)])
    running = daemon(MemorySource(stream().bodies()), targets={"memory": target})
    while running.source.visible:
        running.intake()
    clock.advance(11)
    running.build()
    running.deliver("memory")

    clock.advance(901)
    assert running.deliver("memory")


class Silent(Target):
    """Forgets to say that nothing was refused."""

    def emit_lineage(self, lineage):
        return None


def test_a_target_that_returns_nothing_refused_nothing(daemon, stream, clock):
    running = daemon(MemorySource(stream().bodies()), targets={"silent": Silent()})

    drain(running, clock)

    assert running.report.delivered == {"silent": 1}
    assert running.store.next_due_in() is None


def test_a_target_without_rights_pauses_and_counts_no_try(daemon, stream, clock, store):
    """The operator's fault is not the delivery's: however long it lasts."""
    target = MemoryTarget(failures=[TargetUnavailable("401")] * 30)
    running = daemon(MemorySource(stream().bodies()), targets={"memory": target})
    while running.source.visible:
        running.intake()
    clock.advance(11)
    running.build()

    for _ in range(30):
        running.deliver("memory")
        assert not running.deliver("memory")
        assert "401" in store.status()["paused"]["memory"]["reason"]
        clock.advance(600)

    assert running.deliver("memory")
    assert len(target.emitted) == 1
    assert store.status()["paused"] == {}


def test_what_a_target_refuses_for_good_is_given_up_at_once(daemon, stream, clock, store):
    target = MemoryTarget(failures=[PermanentTargetError("no")])
    running = daemon(MemorySource(stream().bodies()), targets={"memory": target})

    drain(running, clock)
    assert target.emitted == []
    assert store.retry() == 1
    drain(running, clock)

    assert len(target.emitted) == 1


def test_a_plugin_that_raises_is_given_up_in_the_end(daemon, stream, clock, caplog):
    """Not at once, since it may be a passing fault; and not never."""
    target = MemoryTarget(failures=[ZeroDivisionError("oops")] * 100)
    running = daemon(MemorySource(stream().bodies()), targets={"memory": target})
    caplog.set_level(logging.ERROR)

    drain(running, clock, rounds=200)

    assert len(target.failures) == 80
    assert running.store.next_due_in() is None


def test_a_refused_entity_takes_no_other_with_it(daemon, stream, clock):
    load = "task:flytesnacks.development.app.etl.app.etl.load"
    target = MemoryTarget(refuse=[load])
    running = daemon(MemorySource(stream().bodies()), targets={"memory": target})

    drain(running, clock)

    assert (load, "io") not in target.aspects
    assert io_of(target, "clean")


class Owned(Transform):
    """Drops what is told to be dropped."""

    def apply(self, lineage):
        return None if lineage.execution.name == "secret" else lineage


class Broken(Transform):
    """Fails always."""

    def apply(self, lineage):
        raise ValueError("broken")


def test_a_transform_may_drop_an_execution(daemon, stream, clock):
    bodies = [*stream("secret").bodies(), *stream("public").bodies()]
    running = daemon(MemorySource(bodies), transforms=[Owned()])

    drain(running, clock)

    names = [lineage.execution.name for lineage in running.targets["memory"].emitted]
    assert names == ["public"]
    assert running.report.delivered == {"memory": 1}


def test_a_transform_that_fails_is_tried_again_and_given_up(daemon, stream, clock):
    running = daemon(MemorySource(stream().bodies()), transforms=[Broken()])

    drain(running, clock, rounds=200)

    assert running.targets["memory"].emitted == []
    assert running.store.next_due_in() is None


def test_what_did_not_change_is_not_told_again(daemon, stream, clock):
    """The next execution of the same workflow tells what is new: its run and its data."""
    bodies = [*stream("first").bodies(), *stream("second", hours=1).bodies()]
    running = daemon(MemorySource(bodies))

    drain(running, clock)

    first, second = running.targets["memory"].emitted
    assert [pipeline.name for pipeline in first.pipelines] == ["app.etl"]
    assert second.pipelines == ()
    assert all(task.io is None for task in second.tasks)
    assert second.runs


@pytest.mark.parametrize("order", ["older first", "newer first"])
def test_an_older_execution_never_stays_on_top(daemon, stream, clock, order):
    """The newer one's edges stand, whichever is delivered first."""
    older = stream("older", tasks=("load", "clean"))
    newer = stream("newer", hours=1, tasks=("read", "clean"))
    streams = [older, newer] if order == "older first" else [newer, older]
    source = MemorySource()
    running = daemon(source)

    for one in streams:
        source.send(one.bodies())
        drain(running, clock)

    upstream = io_of(running.targets["memory"], "clean").upstream
    assert [edge.task.name for edge in upstream] == ["app.etl.read"]


def test_a_bare_id_is_retired_by_a_success(daemon, stream, clock):
    """A failed execution may be the first to show a task at two nodes; it tells no edges."""
    source = MemorySource()
    running = daemon(source)
    bad = {"phase": "FAILED", "outcomes": {"n1": Outcome(phase="FAILED")}}
    for one in (
        stream("one", tasks=("load", "clean")),
        stream("two", hours=1, tasks=("load", "load"), **bad),
        stream("three", hours=2, tasks=("load", "clean")),
    ):
        source.send(one.bodies())
        drain(running, clock)

    assert io_of(running.targets["memory"], "load") == IO()
    assert io_of(running.targets["memory"], "load@n0").outputs


def test_places_that_an_older_execution_shows_are_told_by_the_newer_one(daemon, stream, clock):
    """The newer one told the bare id; only it can take that back, and its edges stand."""
    source = MemorySource()
    running = daemon(source)
    for one in (
        stream("newer", hours=1, tasks=("load", "clean")),
        stream("older", tasks=("load", "load", "load")),
    ):
        source.send(one.bodies())
        drain(running, clock)

    target = running.targets["memory"]
    assert io_of(target, "load") == IO()
    assert [edge.task.place for edge in io_of(target, "clean").upstream] == ["n0"]
    assert io_of(target, "load@n0").upstream == ()
    assert io_of(target, "load@n2").outputs


def test_held_deliveries_are_sent_when_asked_for(daemon, stream, clock, store):
    running = daemon(MemorySource(stream().bodies()), emit=False)
    drain(running, clock)
    assert running.targets["memory"].emitted == []

    store.retry(states=("held",))
    drain(running, clock)

    assert len(running.targets["memory"].emitted) == 1


def test_a_daemon_that_does_not_emit_tells_only_what_was_asked_for(daemon, stream, clock, store):
    """What was due when somebody turned it off is held with the rest."""
    before = daemon(MemorySource([*stream("asked").bodies(), *stream("other").bodies()]))
    while before.source.visible:
        before.intake()
    clock.advance(11)
    while before.build():
        pass
    store.hold_deliveries()
    asked = ExecutionId(project="flytesnacks", domain="development", name="asked")
    assert store.retry(states=("held",), execution=asked) == 1
    running = daemon(emit=False, poll_seconds=0.01)
    target = running.targets["memory"]
    emit = target.emit_lineage

    def emit_and_stop(lineage):
        running.stop()
        return emit(lineage)

    target.emit_lineage = emit_and_stop
    running.run()

    assert [one.execution.name for one in target.emitted] == ["asked"]
    assert store.status()["deliveries"]["memory"]["held"] == 1


def test_the_daemon_ends_when_the_source_can_never_work(daemon):
    running = daemon(MemorySource(failures=[ConfigError("no such queue")] * 9))

    with pytest.raises(ConfigError, match="no such queue"):
        running.run()


def test_the_daemon_goes_on_when_the_source_fails_for_a_while(daemon, stream, store):
    source = MemorySource(stream().bodies(), failures=[SourceError("throttled")] * 3)
    running = daemon(source, pollers=1, retry_seconds=0, poll_seconds=0.01)
    store.clock = None
    store.min_settle = 0

    target = running.targets["memory"]
    emit = target.emit_lineage

    def emit_and_stop(lineage):
        running.stop()
        return emit(lineage)

    target.emit_lineage = emit_and_stop
    running.run()

    assert len(target.emitted) == 1
    assert source.exhausted


class HungSource(MemorySource):
    """Gives messages, and then answers nobody any more."""

    def __init__(self, bodies, let_go):
        super().__init__(bodies)
        self.let_go = let_go

    def receive(self):
        return super().receive() or self.let_go.wait(timeout=30) or []

    def delete(self, messages):
        if not self.visible:
            self.let_go.wait(timeout=30)

    def hide(self, messages, seconds):
        self.let_go.wait(timeout=30)


class HungTarget(MemoryTarget):
    """Answers nobody, and has the daemon stopped."""

    def __init__(self, let_go):
        super().__init__()
        self.let_go = let_go

    def emit_lineage(self, lineage):
        self.stop()
        self.let_go.wait(timeout=30)
        return []


def test_a_stop_waits_no_longer_than_it_may_for_whatever_hangs(daemon, stream, store):
    """And what is left of a delivery does not look like the end of a process."""
    let_go = threading.Event()
    target = HungTarget(let_go)
    running = daemon(
        HungSource(stream().bodies(), let_go),
        targets={"memory": target},
        pollers=1,
        shutdown_timeout=1,
    )
    target.stop = running.stop
    store.clock = None
    store.min_settle = 0

    began = time.monotonic()
    left = running.run()
    seconds = time.monotonic() - began
    counts = store.status()["deliveries"]["memory"]
    let_go.set()

    assert "deliver-memory-0" in left
    assert seconds < 5
    assert (counts["telling"], counts["later"]) == (0, 1)


def test_a_lineage_that_cannot_be_stored_delays_no_other(daemon, stream, clock, store, monkeypatch):
    """It is built again ever more seldom; no worker stops for it."""
    finish = store.finish_build

    def refuse_one(lease, *args, **fields):
        if lease.execution.name == "odd":
            raise RefusedByStoreError("it cannot be written")
        return finish(lease, *args, **fields)

    monkeypatch.setattr(store, "finish_build", refuse_one)
    running = daemon(MemorySource([*stream("odd").bodies(), *stream("fine").bodies()]))
    while running.source.visible:
        running.intake()
    clock.advance(11)

    while running.build():
        pass
    running.deliver("memory")

    assert [one.execution.name for one in running.targets["memory"].emitted] == ["fine"]
    assert 0 < store.next_due_in() < 10


def test_a_replay_gives_up_what_cannot_be_built_and_tells_the_rest(
    daemon, stream, store, monkeypatch
):
    """After three tries, whatever the failure; the exit code says so."""
    build = LineageBuilder.build

    def fail_for_one(builder, facts, collected):
        if facts.execution.name == "odd":
            raise RuntimeError("a bug")
        return build(builder, facts, collected)

    monkeypatch.setattr(LineageBuilder, "build", fail_for_one)
    running = daemon(MemorySource([*stream("odd").bodies(), *stream("fine").bodies()]))

    report = running.replay()

    assert [one.execution.name for one in running.targets["memory"].emitted] == ["fine"]
    assert report.given_up == ["flytesnacks/development/odd"]
    assert report.unbuilt == []
    assert report.failed


class Absurd(Transform):
    """Gives back what is no lineage."""

    def apply(self, lineage):
        return ["nonsense"]


def test_a_transform_that_gives_nonsense_is_given_up(daemon, stream, clock):
    running = daemon(MemorySource(stream().bodies()), transforms=[Absurd()])

    drain(running, clock, rounds=200)

    assert running.targets["memory"].emitted == []
    assert running.store.next_due_in() is None


def test_no_message_is_taken_while_the_store_is_away(daemon, stream, clock, store, monkeypatch):
    """Each time it is handed out brings a message nearer to the dead-letter queue."""
    source = MemorySource(stream().bodies())
    running = daemon(source)
    record, away = store.record, [True]

    def fail(*args):
        if away[0]:
            raise StoreError("no connection")
        return record(*args)

    monkeypatch.setattr(store, "record", fail)
    for _ in range(3):
        with pytest.raises(StoreError):
            running.intake()

    assert len(source.in_flight) == 10
    away[0] = False
    source.again()
    drain(running, clock)
    assert len(running.targets["memory"].emitted) == 1


def test_what_was_written_is_waited_for_where_it_cannot_be_looked_at(
    daemon, stream, clock, monkeypatch
):
    """A build that went on without would tell no columns until it is tried again."""
    failing = True
    get = Reading._get

    def fail_for_footers(self, method, *args):
        if method == "parquet" and failing:
            raise ReadError("unavailable")
        return get(self, method, *args)

    monkeypatch.setattr(Reading, "_get", fail_for_footers)
    running = daemon(MemorySource(stream().bodies()))
    while running.source.visible:
        running.intake()
    clock.advance(11)
    running.build()
    assert not running.deliver("memory")

    failing = False
    drain(running, clock)

    (told,) = running.targets["memory"].emitted
    assert all(dataset.schema_ for dataset in told.datasets)


def test_an_execution_that_cannot_be_built_delays_no_other(daemon, stream, clock, monkeypatch):
    """A fault of ours in one execution: the traceback is logged, the rest goes on."""
    build = LineageBuilder.build

    def fail_for_one(builder, facts, collected):
        if facts.execution.name == "odd":
            raise RuntimeError("a bug")
        return build(builder, facts, collected)

    monkeypatch.setattr(LineageBuilder, "build", fail_for_one)
    running = daemon(MemorySource([*stream("odd").bodies(), *stream("fine").bodies()]))
    while running.source.visible:
        running.intake()
    clock.advance(11)

    while running.build():
        pass
    running.deliver("memory")

    assert [one.execution.name for one in running.targets["memory"].emitted] == ["fine"]


# -------------------------------------------------------------------- FlyteAdmin


def record_of(stream, *, phase="SUCCEEDED"):
    """All that FlyteAdmin knows of an execution: its identity, and what it had published."""
    bodies = stream.bodies()
    events = [decode(body, received_at=datetime.now(timezone.utc)) for body in bodies]
    id = events[0].execution
    answer = execution_pb2.Execution(
        id={"project": id.project, "domain": id.domain, "name": id.name},
        closure={
            "workflow_id": {
                "resource_type": 2, "project": id.project, "domain": id.domain,
                "name": "app.etl.main", "version": "v1",
            },
            "phase": phase,
        },
    )  # fmt: skip
    answer.closure.created_at.FromDatetime(START)
    body = json.dumps({"flyteAdmin": base64.b64encode(answer.SerializeToString()).decode()})
    identity = decode(body, received_at=datetime.now(timezone.utc))
    return {id: [identity, *events]}


@pytest.fixture
def asked(monkeypatch):
    """FlyteAdmin is asked as often as builds want it, whatever the machine's clock says."""
    monkeypatch.setattr(consultant, "SHORTEST_PAUSE_SECONDS", 0)


AWAY = AdminUnavailable("flyte.example.com does not answer")
GUESSED, TRUE = "app.etl", "app.etl.main"


def pipelines(target):
    return [one.name for lineage in target.emitted for one in lineage.pipelines]


def built_once(running, clock):
    """Take all messages, let them settle, and build all that is due, once each."""
    while running.source.visible:
        running.intake()
    clock.advance(11)
    while running.build():
        pass


def test_a_pipeline_has_its_true_name(daemon, stream, clock):
    """FlyteAdmin knows it; nobody has to guess."""
    found = stream()
    admin = MemoryAdmin(record_of(found))
    running = daemon(MemorySource(found.bodies()), admin=admin)

    built_once(running, clock)
    while running.deliver("memory"):
        pass

    assert pipelines(running.targets["memory"]) == [TRUE]
    assert [name for name, _ in admin.calls] == ["execution", "workflow"]


def test_a_name_waits_for_flyteadmin(daemon, stream, clock, store, asked):
    """Told wrong once, it would stay wrong; and `status` says what is waited for."""
    found = stream()
    admin = MemoryAdmin(record_of(found))
    admin.down = AWAY
    running = daemon(MemorySource(found.bodies()), admin=admin)

    for _ in range(5):
        built_once(running, clock)
        clock.advance(300)
    waiting = store.status()
    admin.down = None
    drain(running, clock)

    assert waiting["executions"]["unanswered"] == 1
    assert "flyte.example.com does not answer" in waiting["problems"][0]["reasons"][-1]
    assert pipelines(running.targets["memory"]) == [TRUE]
    assert store.status()["executions"]["unanswered"] == 0


def test_waiting_for_flyteadmin_never_spins(daemon, stream, clock, asked):
    """It is asked ever more seldom."""
    admin = MemoryAdmin()
    admin.down = AWAY
    running = daemon(MemorySource(stream().bodies()), admin=admin)
    built_once(running, clock)

    for _ in range(340):
        clock.advance(10)
        running.build()

    assert 5 < len(admin.calls) < 40


def test_a_build_that_nobody_hears_of_says_so(daemon, stream, clock, caplog):
    """Else its line in the log is the last one of it, and reads as if all went well."""
    caplog.set_level(logging.INFO)
    bad = {"phase": "FAILED", "outcomes": {"n1": Outcome(phase="FAILED")}}
    running = daemon(MemorySource(stream(**bad).bodies()))

    drain(running, clock)

    (line,) = [line for line in caplog.messages if line.startswith("Built ")]
    assert line.endswith("; no target is told")


def test_status_says_that_an_object_store_does_not_answer(
    daemon, stream, clock, store, monkeypatch
):
    """Until it is built without, or what it read is there."""
    running = daemon(MemorySource(stream().bodies()))
    away = Unavailable("s3://bucket/inputs.pb: it timed out")
    monkeypatch.setattr(Collector, "collect", Mock(side_effect=away))

    built_once(running, clock)

    standing = store.standing(ExecutionId(project="flytesnacks", domain="development", name="a1b2"))
    assert standing.waits_for == f"an object store does not answer: {away}"
    assert store.status()["executions"]["unanswered"] == 0


def test_a_guess_is_pinned_when_patience_is_over(daemon, stream, clock, asked, caplog):
    """What came after it does not change the name, and a line says so once."""
    found = stream()
    admin = MemoryAdmin(record_of(found))
    admin.down = AWAY
    running = daemon(MemorySource(found.bodies()), admin=admin, admin_patience=600)
    built_once(running, clock)
    clock.advance(601)
    built_once(running, clock)
    running.deliver("memory")
    assert pipelines(running.targets["memory"]) == [GUESSED]

    admin.down = None
    drain(running, clock)

    warnings = [line for line in caplog.messages if "keeps the guessed name" in line]
    assert len(warnings) == 1
    assert f"{GUESSED}: FlyteAdmin did not answer in time" in warnings[0]
    assert set(pipelines(running.targets["memory"])) == {GUESSED}
    assert ("execution", next(iter(record_of(found)))) in admin.calls


def test_an_execution_that_flyteadmin_never_knew_is_built_at_once(daemon, stream, clock):
    """It may have been purged: nobody waits for what will not come."""
    running = daemon(MemorySource(stream().bodies()), admin=MemoryAdmin())

    built_once(running, clock)
    running.deliver("memory")

    assert pipelines(running.targets["memory"]) == [GUESSED]


class WithoutDefinitions(MemoryAdmin):
    """Knows who ran what, and cannot say what that is."""

    def workflow(self, identifier):
        self.calls.append(("workflow", identifier))
        raise AWAY


def test_a_definition_is_not_waited_for_as_long_as_a_name(daemon, stream, clock, store, asked):
    """It is asked for again later, and the lineage corrected."""
    found = stream()
    admin = WithoutDefinitions(record_of(found))
    running = daemon(MemorySource(found.bodies()), admin=admin)
    built_once(running, clock)
    assert not running.deliver("memory")

    clock.advance(store.max_settle)
    built_once(running, clock)

    assert running.deliver("memory")
    assert pipelines(running.targets["memory"]) == [TRUE]
    before = len(admin.calls)
    clock.advance(86_400)
    built_once(running, clock)
    assert len(admin.calls) == before + 1


def test_an_outage_delays_no_execution_that_has_its_name(daemon, stream, clock, store, asked):
    """Something new about it is built at once, as it was named."""
    found = stream()
    admin = MemoryAdmin(record_of(found))
    running = daemon(MemorySource(found.bodies()[1:]), admin=admin)
    drain(running, clock)
    clock.advance(2 * 86_400)  # by then it is asked again for the definition that it lacked
    admin.down = AWAY
    before = len(admin.calls)

    running.source.send(found.bodies())
    built_once(running, clock)

    assert len(admin.calls) == before + 1
    assert store.status()["executions"]["built"] == 1


def test_a_slow_flyteadmin_stops_no_builder(daemon, stream, clock):
    """After one failure the others do not even try for a while."""
    streams = [stream(f"e{number}") for number in range(5)]
    admin = MemoryAdmin()
    admin.down = AWAY
    running = daemon(MemorySource([body for one in streams for body in one.bodies()]), admin=admin)

    built_once(running, clock)

    assert len(admin.calls) == 1


def test_lost_events_come_from_flyteadmin(daemon, stream, clock):
    """At once, and not only when waiting for them was in vain."""
    found = stream()
    lossy = found.without(lambda event: hasattr(event, "id") and event.id.node_id == "n0")
    admin = MemoryAdmin(record_of(found))
    running = daemon(MemorySource(lossy.bodies()), admin=admin)

    built_once(running, clock)
    running.deliver("memory")

    (told,) = running.targets["memory"].emitted
    assert not told.partial
    assert [edge.task.name for edge in io_of_true(running, "clean").upstream] == ["app.etl.load"]


def io_of_true(running, task):
    aspects = running.targets["memory"].aspects
    return aspects[f"task:flytesnacks.development.app.etl.main.app.etl.{task}", "io"]


def test_what_flyteadmin_lacks_too_is_waited_for_as_ever(daemon, stream, clock, store):
    """Its answer is no reason to give up events that are still on their way."""
    found = stream()
    lossy = found.without(lambda event: hasattr(event, "id") and event.id.node_id == "n0")
    admin = MemoryAdmin(record_of(lossy))
    running = daemon(MemorySource(lossy.bodies()), admin=admin)

    built_once(running, clock)
    assert not running.deliver("memory")
    clock.advance(store.max_settle)
    built_once(running, clock)

    assert running.deliver("memory")
    assert running.targets["memory"].emitted[0].partial
    assert [name for name, _ in admin.calls].count("node_events") == 1


def test_an_execution_whose_end_was_lost_is_found_after_the_idle_time(daemon, stream, clock):
    found = stream()
    silent = found.without(lambda event: hasattr(event, "execution_id"))
    running = daemon(MemorySource(silent.bodies()), admin=MemoryAdmin(record_of(found)))

    drain(running, clock)

    told = running.targets["memory"].emitted[-1]
    assert (told.phase, told.partial) == ("SUCCEEDED", False)
    assert pipelines(running.targets["memory"])[-1] == TRUE


def test_an_execution_that_still_runs_is_looked_at_again(daemon, stream, clock, store):
    """After another idle time, until it has ended."""
    whole = stream()
    silent = whole.without(
        lambda event: hasattr(event, "execution_id") or event.phase == SUCCEEDED_NODE
    )
    admin = MemoryAdmin(record_of(silent, phase="RUNNING"))
    running = daemon(MemorySource(silent.bodies()), admin=admin)
    built_once(running, clock)
    for _ in range(3):
        clock.advance(store.idle + 1)
        built_once(running, clock)
    assert [name for name, _ in admin.calls] == ["execution"] * 3

    admin.records = record_of(whole)
    clock.advance(store.idle + 1)
    drain(running, clock, rounds=3)

    assert running.targets["memory"].emitted[-1].succeeded


def test_a_silent_execution_is_told_as_running_without_flyteadmin_in_the_end(
    daemon, stream, clock, store, asked
):
    """An outage, however long, hides no execution for ever."""
    silent = stream("slow").without(lambda event: hasattr(event, "execution_id"))
    admin = MemoryAdmin()
    admin.down = AWAY
    running = daemon(MemorySource(silent.bodies()), admin=admin)
    built_once(running, clock)
    clock.advance(store.idle)

    for _ in range(build_module.SILENT_TRIES + 1):
        clock.advance(301)
        built_once(running, clock)

    assert store.status()["executions"]["built"] == 1


def test_an_identity_alone_is_nothing_to_tell(daemon, stream, clock, store):
    """Nobody published an event of it; perhaps somebody replayed a part of an export."""
    ((execution, (identity, *_)),) = record_of(stream()).items()
    store.record([identity])
    running = daemon()
    clock.advance(store.idle)

    assert running.build()

    assert store.next_due_in() == store.idle
    assert store.status()["executions"]["built"] == 0
    assert store.seen([execution]) == set()


def test_a_replay_asks_flyteadmin_and_does_not_wait_for_it(daemon, stream, store):
    """Somebody waits for its end."""
    one, two = stream("one"), stream("two", hours=1)
    admin = MemoryAdmin(record_of(one))
    running = daemon(MemorySource([*one.bodies(), *two.bodies()]), admin=admin)

    report = running.replay()
    admin.down = AWAY
    again = daemon(MemorySource(stream("three", hours=2).bodies()), admin=admin).replay()

    assert pipelines(running.targets["memory"]) == [TRUE, GUESSED]
    assert (report.executions, again.executions) == (2, 1)


def test_an_origin_that_was_never_seen_comes_from_flyteadmin(daemon, stream, clock):
    """It names what it wrote, and who took that from the cache reads it by this name."""
    origin = stream("origin", tasks=("load",))
    later = stream(
        "later",
        hours=1,
        outcomes={"n0": Outcome(hit=Taken(origin.outputs("n0"), origin.source("n0")))},
    )
    admin = MemoryAdmin({**record_of(origin), **record_of(later)})
    running = daemon(MemorySource(later.bodies()), admin=admin)

    drain(running, clock)

    told = {one.execution.name: one for one in running.targets["memory"].emitted}
    assert set(told) == {"origin", "later"}
    assert "flyte:flytesnacks.development.app.etl.main.app.etl.load.o0" in {
        str(edge.dataset) for edge in io_of_true(running, "clean").inputs
    }


def test_a_stop_makes_nobody_guess(daemon, stream, clock, store):
    """Who stops hangs up by itself: what is in hand is put back as it was."""
    admin = MemoryAdmin()
    admin.down = AWAY
    running = daemon(MemorySource(stream().bodies()), admin=admin, admin_patience=0)
    while running.source.visible:
        running.intake()
    clock.advance(11)

    running.stop()
    running.build()

    assert store.status()["executions"]["due"] == 1


# ------------------------------------------------------- what catalogues hold


class Naming(MemoryTarget):
    """Knows datasets under names of its own."""

    def copies(self):
        return {
            dataset.id: Copy(
                dataset=DatasetId(platform="glue", name=f"lake.{dataset.name.split('.')[-2]}"),
                uri=f"arn:aws:glue:::table/{dataset.name}",
            )
            for dataset in self.emitted[-1].datasets
        }


def test_what_one_target_calls_a_dataset_the_others_are_told(daemon, stream, clock):
    """Within the first execution; and later ones need not be told twice."""
    targets = {"memory": MemoryTarget(), "naming": Naming()}
    source = MemorySource(stream().bodies())
    running = daemon(source, targets=targets)

    drain(running, clock)
    names = {
        copy.dataset.name
        for (_, aspect), value in targets["memory"].aspects.items()
        if aspect == "copies"
        for copy in value.known
    }
    rounds = [len(target.emitted) for target in targets.values()]
    source.send(stream("next", hours=1).bodies())
    drain(running, clock)

    assert names == {"lake.load", "lake.clean"}
    assert rounds == [2, 1]
    assert [len(target.emitted) for target in targets.values()] == [3, 2]
    assert not any(aspect == "copies" for _, aspect in targets["naming"].aspects)


def test_a_replay_tells_names_first(daemon, stream, tmp_path):
    """So each target is told of an execution once."""
    targets = {"memory": MemoryTarget(), "naming": Naming()}
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f"{json.dumps(body)}\n" for body in stream().bodies()))
    source = FileSource(path=str(path))

    daemon(source, targets=targets).replay()
    source.close()

    assert [len(target.emitted) for target in targets.values()] == [1, 1]
    assert any(aspect == "copies" for _, aspect in targets["memory"].aspects)


def edges_told(daemon, clock, stream, target):
    """What `clean` is told to read after an execution in which it read nothing."""
    source = MemorySource(stream().bodies())
    running = daemon(source, targets={"memory": target})
    drain(running, clock)
    source.send(stream("next", hours=1, tasks=("clean",)).bodies())
    drain(running, clock)
    return target.emitted[-1].tasks


def test_an_edge_that_is_gone_is_told_as_gone(daemon, stream, clock):
    """The next execution shows the task with nothing before it."""
    (clean,) = edges_told(daemon, clock, stream, MemoryTarget())

    assert clean.io.inputs == ()
    assert [dataset.name.split(".")[-2] for dataset in clean.former.inputs] == ["load"]
    assert [task.name for task in clean.former.upstream] == ["app.etl.load"]


def test_a_window_keeps_the_edges_of_the_version(daemon, stream, clock):
    """Workflows that read other data from run to run keep what they read lately."""
    edges_told(daemon, clock, stream, target := MemoryTarget(edges="window", edge_window=1))

    (edge,) = io_of(target, "clean").inputs
    assert edge.dataset.name.split(".")[-2] == "load"
    assert all(task.former is None for one in target.emitted for task in one.tasks)


def test_a_window_ends(daemon, stream, clock):
    """The next execution ran an hour later."""
    (clean,) = edges_told(daemon, clock, stream, MemoryTarget(edges="window", edge_window=0.02))

    assert clean.io.inputs == ()
    assert len(clean.former.inputs) == 1


def test_edges_that_another_replica_shows_meanwhile_are_told(daemon, stream, clock, store):
    """It delivers an older execution: between the look at the window and the claim."""
    target = MemoryTarget(edges="window")
    running = daemon(MemorySource(stream().bodies()), targets={"memory": target})
    table = DatasetId(platform="s3", name="lake/prices")
    prepare, leases = store.prepare, []

    def slow(lease, claims, **options):
        if not leases:
            leases.append(lease)
            edges = written(IO(inputs=(Edge(dataset=table, evidence=(Evidence.DATA,)),)))
            older = [
                replace(seen, stamp=seen.stamp - timedelta(hours=1), edges=edges)
                for seen in seen_edges(lease.lineage)
            ]
            store.widen(lease, older, window_seconds=86_400)
        return prepare(lease, claims, **options)

    store.prepare = slow
    drain(running, clock)

    assert table in {edge.dataset for edge in io_of(target, "clean").inputs}


def measured(running, name, **labels):
    return running.metrics.registry.get_sample_value(f"flytelineage_{name}", labels)


class Watching(MemoryTarget):
    running = True


def test_who_watches_is_told_of_an_execution_that_just_began(daemon, stream, clock):
    """The others hear of it when it is over."""
    whole = stream("slow", hours=1)
    begun = whole.without(
        lambda event: hasattr(event, "execution_id") or event.phase == SUCCEEDED_NODE
    )
    targets = {"memory": MemoryTarget(), "watching": Watching()}
    source = MemorySource(stream("known").bodies())
    running = daemon(source, targets=targets)
    drain(running, clock)

    source.send(begun.bodies())
    while source.visible:
        running.intake()
    clock.advance(11)
    assert running.build()
    assert not running.build()
    while running.deliver("watching") or running.deliver("memory"):
        pass
    early = [target.emitted[-1].phase for target in targets.values()]
    source.send(whole.bodies())
    drain(running, clock)

    assert measured(running, "executions_finished_total", phase="SUCCEEDED") == 2
    assert measured(running, "settle_seconds_count", target="watching") == 2
    assert early == ["SUCCEEDED", "RUNNING"]
    assert [target.emitted[-1].phase for target in targets.values()] == ["SUCCEEDED"] * 2


def test_who_watches_is_not_told_of_an_end_that_may_still_fail(daemon, stream, clock):
    """All nodes are done, and the execution's last event is not there yet."""
    whole = stream("slow", hours=1)
    nearly = whole.without(lambda event: hasattr(event, "execution_id") and event.phase in (4, 5))
    source = MemorySource(stream("known").bodies())
    running = daemon(source, targets={"watching": Watching()})
    drain(running, clock)

    source.send(nearly.bodies())
    while source.visible:
        running.intake()
    clock.advance(11)
    while running.build():
        pass

    assert not running.deliver("watching")
    source.send(whole.bodies())
    drain(running, clock)
    assert running.targets["watching"].emitted[-1].phase == "SUCCEEDED"


class Latest(MemoryTarget):
    last_run_only = True


def test_a_catalogue_of_last_runs_never_goes_back(daemon, stream, clock):
    """The older execution arrives late; its run is not told."""
    target = Latest()
    source = MemorySource(stream("new", hours=2).bodies())
    running = daemon(source, targets={"memory": target})
    drain(running, clock)

    source.send(stream("old", hours=1).bodies())
    drain(running, clock)

    told = [run.execution.name for one in target.emitted for run in one.runs]
    assert told == ["new"]
    assert all(run.node is None for one in target.emitted for run in one.runs)
