"""FlyteAdmin's answers are kept, its silences remembered, and its outages waited out."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest
from flyteidl.event import event_pb2

from flytelineage import consultant as room
from flytelineage.consultant import Circuit, Consultant
from flytelineage.entities import ExecutionId
from flytelineage.errors import AdminUnavailable, ConfigError, StoreError, UnknownToAdmin
from flytelineage.events import decode
from flytelineage.facts import Identifier
from flytelineage.fold import fold
from flytelineage.scope import Scope
from flytelineage.store import Store
from flytelineage.testing.doubles import MemoryAdmin
from tests.factories import (
    EXECUTION,
    NOW,
    answer_body,
    execution_answer,
    execution_id,
    node_request,
    raw_body,
    task_id,
    workflow_request,
)

DAY = timedelta(days=1)
WORKFLOW = Identifier("shop", "production", "app.etl.pipeline", "v1")
PLAN = Identifier("shop", "production", "app.etl.nightly", "v1")
LOG = logging.getLogger("flytelineage.test")


def execution(name):
    return ExecutionId(project="shop", domain="production", name=name)


def event(body):
    return decode(body, received_at=NOW + timedelta(hours=1))


def record(name="a1b2", *, ended=True):
    """All that FlyteAdmin knows of an execution."""
    end = [workflow_request(execution=name)] if ended else []
    requests = [workflow_request("RUNNING", at=1, execution=name)]
    requests += [node_request(execution=name), *end]
    answer = execution_answer(execution=name)
    answer.closure.phase = 4 if ended else 2
    return [event(answer_body(answer)), *(event(raw_body(request)) for request in requests)]


def took_over(*names):
    """Nodes that the cache gave outputs of other executions."""
    for number, name in enumerate(names):
        metadata = event_pb2.TaskNodeMetadata(cache_status="CACHE_HIT")
        source = metadata.catalog_key.source_task_execution
        source.task_id.CopyFrom(task_id())
        source.node_execution_id.execution_id.CopyFrom(execution_id(name))
        yield event(raw_body(node_request(f"n{number}", task_node_metadata=metadata)))


@pytest.fixture
def store(tmp_path):
    found = Store(path=str(tmp_path / "store.sqlite3"), clock=lambda: NOW)
    found.open(exclusive=True)
    yield found
    found.close()


@pytest.fixture
def make(store):
    def make(admin, **fields):
        values = {"scope": Scope(), "idle": DAY, "stopping": lambda: False, "log": LOG, **fields}
        return Consultant(admin, store, values.pop("scope"), **values)

    return make


@pytest.fixture
def facts(store):
    """What is stored of an execution."""

    def facts(of=EXECUTION):
        return fold(of, store.events(of))

    return facts


PUBLISHED = [one for one in record() if one.kind != "execution"]


# ------------------------------------------------------------------ what is asked


def test_an_execution_costs_one_call_and_a_new_version_two(store, make, facts) -> None:
    """The next execution of the version costs one."""
    definitions = {WORKFLOW: b"the workflow", PLAN: b"the plan"}
    admin = MemoryAdmin({EXECUTION: record(), execution("b"): record("b")}, definitions=definitions)
    consultant = make(admin)
    for name in ("a1b2", "b"):
        store.record([one for one in record(name) if one.kind != "execution"])
        while consultant.consult(facts(execution(name)), NOW, lost=False).again:
            pass

    assert [name for name, _ in admin.calls] == [
        "execution", "workflow", "launch_plan", "execution",
    ]  # fmt: skip
    assert facts().workflow == WORKFLOW
    assert store.definitions(["workflow:shop/production/app.etl.pipeline/v1"]) == {
        "workflow:shop/production/app.etl.pipeline/v1": b"the workflow"
    }


def test_what_is_recorded_is_to_be_folded(store, make, facts) -> None:
    """A definition is no event: it is read where it is needed."""
    store.record(PUBLISHED)
    consultant = make(MemoryAdmin({EXECUTION: record()}, definitions={WORKFLOW: b"", PLAN: b""}))

    assert consultant.consult(facts(), NOW, lost=False).again
    assert not consultant.consult(facts(), NOW, lost=False).again


def test_what_is_unknown_is_not_asked_at_every_build(store, make, facts) -> None:
    """After a day it is, as the endpoint may have been another one's."""
    store.record(PUBLISHED)
    admin = MemoryAdmin()
    consultant = make(admin)

    for hours in (0, 1, 23, 25):
        consulted = consultant.consult(facts(), NOW + timedelta(hours=hours), lost=False)
        assert consulted == (False, None)

    assert admin.calls == [("execution", EXECUTION)] * 2


def test_a_definition_that_is_too_large_is_not_asked_again(store, make, facts, monkeypatch) -> None:
    """It goes on without, like one that is unknown."""
    monkeypatch.setattr("flytelineage.store.definitions.MAX_BODY_BYTES", 3)
    store.record(record())
    admin = MemoryAdmin(definitions={WORKFLOW: b"large", PLAN: b"p"})
    consultant = make(admin)

    for _ in range(2):
        assert consultant.consult(facts(), NOW, lost=False) == (False, None)

    assert [name for name, _ in admin.calls] == ["workflow", "launch_plan"]


def test_lost_events_are_asked_for_once(store, make, facts) -> None:
    """What FlyteAdmin lacks too is missing for good."""
    store.record([one for one in record() if one.kind == "workflow"])
    admin = MemoryAdmin({EXECUTION: record()}, definitions={WORKFLOW: b"", PLAN: b""})
    consultant = make(admin)

    while consultant.consult(facts(), NOW, lost=True).again:
        pass

    assert [name for name, _ in admin.calls].count("node_events") == 1
    assert list(facts().nodes) == ["n0"]


def test_a_graph_is_recorded_like_an_event(store, make, facts) -> None:
    store.record([event(raw_body(node_request(is_dynamic=True))), *record()])
    metadata = event_pb2.TaskNodeMetadata()
    metadata.dynamic_workflow.compiled_workflow.SetInParent()
    graph = event(raw_body(node_request(phase="DYNAMIC_RUNNING", task_node_metadata=metadata)))
    consultant = make(MemoryAdmin(graphs={(EXECUTION, "n0"): graph}))

    assert consultant.consult(facts(), NOW, lost=False).again
    assert facts().nodes["n0"].closure is not None


# --------------------------------------------------------------- other executions


def test_an_origin_is_recorded_as_a_whole(store, make, facts) -> None:
    """Then it is built like any other, and names what it wrote."""
    store.record([*PUBLISHED, *took_over("z9")])
    admin = MemoryAdmin({execution("z9"): record("z9")})
    consultant = make(admin)

    consultant.consult(facts(), NOW, lost=False)
    consultant.consult(facts(), NOW, lost=False)

    assert store.ended([execution("z9")]) == {execution("z9")}
    assert [call for call in admin.calls if call[0] == "record_of"] == [
        ("record_of", execution("z9"))
    ]


def test_an_origin_that_was_seen_is_not_asked_for(store, make, facts) -> None:
    """It tells by itself what it wrote."""
    store.record([*PUBLISHED, *took_over("z9"), *record("z9", ended=False)])
    admin = MemoryAdmin({execution("z9"): record("z9")})

    make(admin).consult(facts(), NOW, lost=False)

    assert ("record_of", execution("z9")) not in admin.calls


def test_a_part_of_an_origin_is_not_recorded(store, make, facts) -> None:
    """Who had seen a part would wait for the rest."""
    store.record([*PUBLISHED, *took_over("z9")])

    class Breaking(MemoryAdmin):
        def record_of(self, id):
            yield from record("z9")[:2]
            raise AdminUnavailable

    consulted = make(Breaking()).consult(facts(), NOW, lost=False)

    assert consulted.unavailable is not None
    assert store.seen([execution("z9")]) == set()


def test_of_an_excluded_project_nothing_is_recorded(store, make, facts) -> None:
    """Not even by a detour."""
    store.record([*PUBLISHED, *took_over("z9")])
    admin = MemoryAdmin({execution("z9"): record("z9")})

    make(admin, scope=Scope(exclude=["shop"])).consult(facts(), NOW, lost=False)

    assert store.seen([execution("z9")]) == set()


def test_many_origins_take_turns_with_other_executions(store, make, facts, monkeypatch) -> None:
    """A build gives its place back after some of them, known or not."""
    monkeypatch.setattr(room, "MAX_ORIGINS", 2)
    names = [f"z{number}" for number in range(5)]
    store.record([*record(), *took_over(*names)])
    admin = MemoryAdmin({execution("z0"): record("z0")}, definitions={WORKFLOW: b"", PLAN: b""})
    consultant = make(admin)

    again = [consultant.consult(facts(), NOW, lost=False).again for _ in range(3)]

    assert again == [True, True, False]
    assert len([1 for name, _ in admin.calls if name == "record_of"]) == 5


# ---------------------------------------------------------------- silent executions


def test_an_execution_that_ended_unnoticed_is_recorded(store, make, facts) -> None:
    """The event that ended it was lost."""
    store.record([one for one in PUBLISHED if not one.terminal])

    assert make(MemoryAdmin({EXECUTION: record()})).consult(facts(), NOW, lost=False).again

    assert facts().ended_at is not None
    assert facts().workflow == WORKFLOW


def test_an_execution_that_still_runs_is_left_alone(store, make, facts) -> None:
    """Until it has been idle for as long again."""
    store.record([one for one in PUBLISHED if not one.terminal])
    admin = MemoryAdmin({EXECUTION: record(ended=False)})
    consultant = make(admin)

    for hours in (0, 1, 25):
        at = NOW + timedelta(hours=hours)
        assert consultant.consult(facts(), at, lost=False) == (False, None)

    assert admin.calls == [("execution", EXECUTION)] * 2
    assert facts().answer is None


# ------------------------------------------------------------------------ outages


def test_what_was_answered_before_an_outage_is_kept(store, make, facts) -> None:
    store.record(record())

    class Half(MemoryAdmin):
        def launch_plan(self, identifier):
            raise AdminUnavailable("it is away")

    consulted = make(Half(definitions={WORKFLOW: b"w"})).consult(facts(), NOW, lost=False)

    assert (consulted.again, str(consulted.unavailable)) == (False, "it is away")
    assert len(store.definitions(["workflow:shop/production/app.etl.pipeline/v1"])) == 1


def test_nobody_asks_what_does_not_answer(store, make, facts) -> None:
    """The second build fails at once, with the same words."""
    store.record(PUBLISHED)
    admin = MemoryAdmin()
    admin.down = AdminUnavailable("it is slow")
    consultant = make(admin)

    told = [str(consultant.consult(facts(), NOW, lost=False).unavailable) for _ in range(3)]

    assert told == ["it is slow"] * 3
    assert len(admin.calls) == 1


def test_a_stop_does_not_wait_for_a_long_record(store, make, facts) -> None:
    """And counts for no outage."""
    store.record([one for one in PUBLISHED if not one.terminal])
    stopping = threading.Event()

    class Stopped(MemoryAdmin):
        def record_of(self, id):
            stopping.set()
            yield from super().record_of(id)

    consultant = make(Stopped({EXECUTION: record()}), stopping=stopping.is_set)

    assert consultant.consult(facts(), NOW, lost=False).unavailable is not None
    stopping.clear()
    assert str(consultant.consult(facts(), NOW, lost=False).unavailable).startswith("The daemon")


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


def attempt(circuit, error=None):
    """What a call through the circuit comes to."""
    try:
        with circuit.closed():
            if error:
                raise error
    except AdminUnavailable as exc:
        return str(exc)
    except (UnknownToAdmin, StoreError):
        pass
    return "through"


def test_one_tries_after_the_pause_and_the_others_wait_for_it(seconds) -> None:
    """Many builders would otherwise all hang at once."""
    circuit = Circuit(LOG, seconds)
    attempt(circuit, AdminUnavailable("away"))

    seconds.now = 5
    with circuit.closed():
        assert attempt(circuit) == "away"

    assert attempt(circuit) == "through"


def test_pauses_grow_while_it_is_away(seconds) -> None:
    """Up to a minute."""
    circuit = Circuit(LOG, seconds)
    waits = []
    for _ in range(6):
        assert attempt(circuit, AdminUnavailable("away")) == "away"
        begun = seconds.now
        while attempt(circuit, StoreError("seen from outside")) == "away":
            seconds.now += 1
        waits.append(seconds.now - begun)
        seconds.now += 60

    assert waits == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("answer", [None, UnknownToAdmin()])
def test_any_answer_ends_an_outage(seconds, caplog, answer) -> None:
    """It is told once when it begins, and once when it ends."""
    caplog.set_level(logging.INFO)
    circuit = Circuit(LOG, seconds)
    for _ in range(3):
        attempt(circuit, AdminUnavailable("away"))
        seconds.now += 60

    attempt(circuit, answer)

    assert attempt(circuit) == "through"
    assert [record.message for record in caplog.records] == [
        "FlyteAdmin does not answer, will ask again; executions wait for their names "
        "up to Daemon.admin_patience: away",
        "FlyteAdmin answers again",
    ]


def test_a_wrong_setting_is_an_outage(seconds) -> None:
    """Builds wait for the operator, with what to type."""
    circuit = Circuit(LOG, seconds)

    assert attempt(circuit, ConfigError("set FlyteAdmin.client_id")) == "set FlyteAdmin.client_id"
    assert attempt(circuit) == "set FlyteAdmin.client_id"


def test_something_can_be_done_between_any_two_answers(store, make, facts) -> None:
    """A lease is kept meanwhile: there may be answers about thousands of nodes."""
    admin = MemoryAdmin({EXECUTION: record()}, definitions={WORKFLOW: b"", PLAN: b""})
    store.record(PUBLISHED)
    passed = []

    consulted = make(admin).consult(facts(), NOW, lost=True, between=lambda: passed.append(1))

    assert consulted.again
    assert len(passed) >= len(PUBLISHED)
