from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from importlib.util import find_spec

import pytest
from flyteidl.admin import launch_plan_pb2, workflow_pb2
from traitlets import TraitError

from flytelineage.entities import ExecutionId
from flytelineage.errors import AdminUnavailable, ConfigError, UnknownToAdmin
from flytelineage.events import body as body_of
from flytelineage.events import decode
from flytelineage.facts import Identifier
from flytelineage.flyteadmin import FlyteAdmin, Page
from flytelineage.fold import fold
from flytelineage.testing.flyteadmin import Fault, FlyteAdminDouble
from flytelineage.testing.simulator import (
    MemoryStorage,
    Node,
    Outcome,
    Stream,
    Workflow,
    compile_workflow,
)
from tests.flyteadmin.conftest import Client
from tests.flyteadmin.workflows import START, id_of, play, task

PARTS = 2


def identifier(name: str, version: str = "v1") -> Identifier:
    return Identifier("flytesnacks", "development", name, version)


# ------------------------------------------------------------------- executions


def test_an_execution_says_who_ran_what(double, client: Client, stream: Stream) -> None:
    """The answer is kept as an event of its own kind."""
    event = client(double).execution(id_of(stream, "emea"))

    facts = fold(event.execution, [event])
    assert (event.kind, event.terminal, event.execution.instance) == ("execution", False, "emea")
    assert facts.workflow == identifier("app.etl.everything")
    assert facts.launch_plan == identifier("app.etl.everything")
    assert (facts.principal, facts.labels) == ("ada", {"team": "data"})


def test_the_record_tells_the_end_at_last(double, client: Client, stream: Stream) -> None:
    """Whoever records it one by one never takes a part of it for the whole."""
    events = list(client(double).record_of(id_of(stream)))

    assert events[0].kind == "execution"
    assert (events[1].kind, events[1].phase) == ("workflow", "RUNNING")
    assert (events[-1].kind, events[-1].phase, events[-1].terminal) == (
        "workflow",
        "SUCCEEDED",
        True,
    )
    assert not any(event.terminal for event in events[:-1])


def test_the_record_can_be_replayed(double, client: Client, stream: Stream) -> None:
    """Each event becomes a body that is read back as the same event."""
    events = list(client(double).record_of(id_of(stream)))

    again = [decode(body_of(event), received_at=START + timedelta(days=1)) for event in events]

    assert again == events


def test_the_same_record_gives_the_same_bytes(double, client: Client, stream: Stream) -> None:
    """Asking twice stores nothing twice, whatever the size of the pages."""
    small = client(double, page_size=PARTS)

    first = list(small.record_of(id_of(stream)))

    assert first == list(small.record_of(id_of(stream)))
    assert first == list(client(double).record_of(id_of(stream)))
    assert double.calls["ListNodeExecutions"] > 30


def test_a_record_is_asked_for_while_it_is_taken(double, client: Client, stream: Stream) -> None:
    """An execution of many nodes is never held in memory."""
    events = client(double, page_size=PARTS).record_of(id_of(stream))

    for _ in range(5):
        next(events)

    assert double.calls["ListNodeExecutions"] == 1


def test_the_middle_of_the_record_alone(double, client: Client, stream: Stream) -> None:
    """What is asked for when nodes were never seen."""
    admin = client(double)

    events = list(admin.node_events(id_of(stream)))

    assert events == [e for e in admin.record_of(id_of(stream)) if e.kind in ("node", "task")]
    assert events


def test_an_execution_that_runs_has_no_end(client: Client) -> None:
    """The record says how far it has come."""
    running = play("running", MemoryStorage(), {"n3": Outcome("RUNNING")})
    with FlyteAdminDouble([running]) as double:
        events = list(client(double).record_of(id_of(running)))

    phases = [event.phase for event in events if event.kind == "workflow"]
    assert phases == ["RUNNING"]
    assert fold(id_of(running), events).nodes["n3"].phase == "RUNNING"


def test_the_whole_of_a_long_error_is_told(client: Client) -> None:
    """Lists cut messages; a cut one must not take the place of the published one."""
    long = "x" * 400
    failed = play("failed", MemoryStorage(), {"n1": Outcome("FAILED", failed_attempts=2)})
    with FlyteAdminDouble([failed]) as double:
        kept = double.database.kept(id_of(failed))
        for answer in (kept.nodes["n1"], *kept.tasks("n1")):
            answer.closure.error.message = long
        facts = fold(id_of(failed), client(double).record_of(id_of(failed)))

    assert facts.nodes["n1"].error.message == long
    assert [attempt.error.message for attempt in facts.nodes["n1"].attempts] == [long, long]


# ------------------------------------------------------------------ dynamic nodes


def test_the_graph_of_a_dynamic_node(double, client: Client, stream: Stream) -> None:
    """What was too large to be published is an event like any other."""
    event = client(double).dynamic_closure(id_of(stream), "n5")

    node = fold(event.execution, [event]).nodes["n5"]
    assert event.phase == "DYNAMIC_RUNNING"
    assert (node.is_dynamic, node.closure.attempt) == (True, 0)
    assert node.closure.compiled


def test_a_node_without_a_graph(double, client: Client, stream: Stream) -> None:
    """It will never have one."""
    with pytest.raises(UnknownToAdmin, match="the graph of the node n0"):
        client(double).dynamic_closure(id_of(stream), "n0")


@pytest.mark.parametrize("code", ["NOT_FOUND", "UNIMPLEMENTED"])
def test_a_record_does_without_a_graph(double, client: Client, stream: Stream, code: str) -> None:
    """Storage forgets before the database does, and old releases cannot be asked."""
    double.script("GetDynamicNodeWorkflow", [Fault(code)])

    facts = fold(id_of(stream), client(double).record_of(id_of(stream)))

    assert facts.nodes["n5"].closure is None
    assert facts.nodes["n5"].is_dynamic
    assert [node.id for node in facts.nodes.values() if node.parent == "n5"]


# -------------------------------------------------------------------- definitions


def test_definitions_come_as_they_are(double, client: Client, stream: Stream) -> None:
    """Serialised messages of FlyteAdmin, to be stored by their version."""
    admin = client(double)

    workflow = workflow_pb2.Workflow.FromString(admin.workflow(identifier("app.etl.everything")))
    plan = launch_plan_pb2.LaunchPlan.FromString(admin.launch_plan(identifier("app.etl.child")))

    compiled = compile_workflow(stream.execution.workflow)
    assert workflow.closure.compiled_workflow == compiled
    assert plan.spec.workflow_id.name == "app.etl.child"


def test_what_it_does_not_know_is_named(double, client: Client) -> None:
    """The message says what, and whom we asked."""
    admin = client(double)
    nobody = ExecutionId(project="flytesnacks", domain="development", name="nobody")

    with pytest.raises(
        UnknownToAdmin, match=rf"{double.endpoint} does not know the workflow app\.x"
    ):
        admin.workflow(identifier("app.x", "v7"))
    with pytest.raises(UnknownToAdmin, match=r"the launch plan app\.x v7"):
        admin.launch_plan(identifier("app.x", "v7"))
    with pytest.raises(UnknownToAdmin, match="the execution flytesnacks/development/nobody"):
        admin.execution(nobody)
    with pytest.raises(UnknownToAdmin, match="nobody"):
        list(admin.record_of(nobody))


# -------------------------------------------------------------------------- lists


@pytest.fixture
def days() -> list[Stream]:
    """One execution a day, five of them, the newest first."""
    small = Workflow("app.etl.small", (Node("n0", task("small")),))
    return [
        play(f"day-{day}", MemoryStorage(), workflow=small, start=START + timedelta(days=day))
        for day in reversed(range(5))
    ]


def pages(admin: FlyteAdmin, **bounds: object) -> list[Page]:
    found = [admin.executions("flytesnacks", "development", **bounds)]
    while found[-1].token:
        found.append(
            admin.executions("flytesnacks", "development", token=found[-1].token, **bounds)
        )
    return found


def names(found: list[Page]) -> list[list[str]]:
    return [[one.id.name for one in page.executions] for page in found]


def test_executions_are_listed_oldest_first(client: Client, days: list[Stream]) -> None:
    """Page by page, until the token is empty; the last page may be empty as well."""
    with FlyteAdminDouble(days) as double:
        found = pages(client(double, page_size=PARTS))

    assert names(found) == [["day-0", "day-1"], ["day-2", "day-3"], ["day-4"]]


def test_a_list_has_bounds_in_time(client: Client, days: list[Stream]) -> None:
    """The first moment is part of it, the last one is not."""
    since, until = START + timedelta(days=1), START + timedelta(days=3)
    with FlyteAdminDouble(days) as double:
        found = pages(client(double, page_size=PARTS), since=since, until=until, instance="emea")

    listed = found[0].executions[0]
    assert names(found) == [["day-1", "day-2"], []]
    assert (str(listed.id), listed.created_at, listed.phase) == (
        "emea/flytesnacks/development/day-1",
        since,
        "SUCCEEDED",
    )


def test_bounds_may_be_in_any_zone(client: Client, days: list[Stream]) -> None:
    """A plus in a filter would end it, so times are sent in UTC."""
    berlin = timezone(timedelta(hours=1))
    with FlyteAdminDouble(days) as double:
        found = pages(client(double), since=(START + timedelta(days=4)).astimezone(berlin))

    assert names(found) == [["day-4"]]


def test_an_empty_list_is_no_error(client: Client) -> None:
    """A project that nobody used has no executions."""
    with FlyteAdminDouble() as double:
        assert pages(client(double)) == [Page((), "")]


# --------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("UNAVAILABLE", "FlyteAdmin.endpoint, FlyteAdmin.insecure and the network"),
        ("UNAUTHENTICATED", "set FlyteAdmin.auth_mode = 'ClientSecret'"),
        ("PERMISSION_DENIED", "check the rights and scopes of FlyteAdmin.client_id"),
        ("RESOURCE_EXHAUSTED", "FlyteAdmin.requests_per_second or FlyteAdmin.page_size"),
        ("DEADLINE_EXCEEDED", "FlyteAdmin.timeout_seconds"),
        ("UNIMPLEMENTED", "check that FlyteAdmin.endpoint is FlyteAdmin's gRPC port"),
        ("INTERNAL", "INTERNAL: as told"),
        ("INVALID_ARGUMENT", "INVALID_ARGUMENT: as told"),
    ],
)
def test_a_refusal_says_what_to_check(
    double, client: Client, stream: Stream, code: str, advice: str
) -> None:
    """Asked once and not again: when to come back is the caller's decision."""
    double.always = Fault(code)

    with pytest.raises(AdminUnavailable) as refused:
        client(double).execution(id_of(stream))

    assert advice in str(refused.value)
    assert f"FlyteAdmin at {double.endpoint}, asked for the execution" in str(refused.value)
    assert double.calls["GetExecution"] == 1


def test_a_slow_answer_is_not_waited_for(double, client: Client, stream: Stream) -> None:
    """Every call has its deadline."""
    double.script("GetExecution", [Fault(delay_seconds=30)])
    began = time.monotonic()

    with pytest.raises(AdminUnavailable, match="did not answer in time"):
        client(double, timeout_seconds=0.1).execution(id_of(stream))

    assert time.monotonic() - began < 5


def test_nobody_listens(client: Client, stream: Stream) -> None:
    """A refused connection is told at once."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        admin = client(endpoint=f"127.0.0.1:{port.getsockname()[1]}", insecure=True)

        with pytest.raises(AdminUnavailable, match="cannot be reached"):
            admin.execution(id_of(stream))


def test_it_dies_and_comes_back(double, client: Client, stream: Stream) -> None:
    """What came before is true, and the next call takes a new connection."""
    admin = client(double, page_size=PARTS)
    double.script("ListTaskExecutions", [Fault(), Fault(dies=True)])
    before = []

    with pytest.raises(AdminUnavailable):
        before.extend(admin.record_of(id_of(stream)))
    double.start()

    whole = list(admin.record_of(id_of(stream)))
    assert whole[:3] == whole[: len(before)][:3]
    assert whole[-1].terminal


def test_an_answer_that_makes_no_sense(double, client: Client, stream: Stream) -> None:
    """Asking again would bring the same."""
    double.database.kept(id_of(stream)).execution.closure.updated_at.seconds = 99_999_999_999

    with pytest.raises(UnknownToAdmin, match="makes no sense"):
        client(double).execution(id_of(stream))


def test_an_answer_that_is_too_large(
    double, client: Client, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, whatever FlyteAdmin sends."""
    from flytelineage.flyteadmin.loading import connection_module

    options = [("grpc.max_receive_message_length", 1000)]
    monkeypatch.setattr(connection_module(), "_OPTIONS", options)

    with pytest.raises(AdminUnavailable, match="has too much to say"):
        client(double).workflow(identifier("app.etl.everything"))


# --------------------------------------------------------------------- the client


def test_threads_share_a_client(double, client: Client, stream: Stream) -> None:
    """Workers ask side by side, and each gets its own answer."""
    admin = client(double, page_size=PARTS)
    expected = list(admin.record_of(id_of(stream)))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: list(admin.record_of(id_of(stream))), range(6)))

    assert found == [expected] * 6


def test_calls_keep_to_the_rate(double, client: Client, stream: Stream) -> None:
    """The eleventh call of a second waits."""
    admin = client(double, requests_per_second=10)
    waits: list[float] = []
    admin._pace._sleep = waits.append

    for _ in range(12):
        admin.execution(id_of(stream))

    assert len(waits) == 2
    assert all(0 < wait <= 0.2 for wait in waits)


def test_closing_frees_who_waits(double, client: Client, stream: Stream) -> None:
    """A stop never waits for somebody's turn."""
    admin = client(double, requests_per_second=0.1)
    admin.execution(id_of(stream))
    errors: list[Exception] = []

    def ask() -> None:
        try:
            admin.execution(id_of(stream))
        except AdminUnavailable as exc:
            errors.append(exc)

    waiting = threading.Thread(target=ask)
    waiting.start()
    admin.close()
    waiting.join(timeout=5)

    assert not waiting.is_alive()
    assert "no longer asked" in str(errors[0])


def test_it_is_optional(client: Client, stream: Stream) -> None:
    """Without an endpoint there is nobody to ask."""
    admin = client()

    assert not admin.configured
    with pytest.raises(AdminUnavailable, match=r"set FlyteAdmin\.endpoint"):
        admin.execution(id_of(stream))
    with pytest.raises(ConfigError, match=r"set FlyteAdmin\.endpoint"):
        admin.check()


def test_checking_asks_for_a_list(double, client: Client) -> None:
    """Something that nobody may see without having signed in."""
    client(double).check()

    assert double.calls == {"ListProjects": 1}


def test_checking_tells_what_is_wrong(double, client: Client) -> None:
    """The same error as later, but before anything depends on it."""
    double.always = Fault("PERMISSION_DENIED")

    with pytest.raises(AdminUnavailable, match="does not allow it"):
        client(double).check()


def test_an_endpoint_as_flytectl_writes_it(double, client: Client, stream: Stream) -> None:
    """What stands in people's configuration files can be copied."""
    admin = client(endpoint=f"dns:///{double.endpoint}", insecure=True)

    assert admin.execution(id_of(stream)).kind == "execution"


def test_an_endpoint_is_no_web_page() -> None:
    """The address of the console is told from that of gRPC."""
    with pytest.raises(TraitError, match="Give the host and port of gRPC"):
        FlyteAdmin(endpoint="https://flyte.example.com/console")


@pytest.mark.parametrize("mode", ["Pkce", "DeviceFlow", "standard"])
def test_a_daemon_has_no_browser(mode: str) -> None:
    """Modes that need a person are refused before anything starts."""
    with pytest.raises(TraitError, match="needs a person at a browser"):
        FlyteAdmin(auth_mode=mode)


# ------------------------------------------------------------------------ imports


def test_constructing_one_imports_no_client() -> None:
    """Options are shown, and events taken in, without flytekit."""
    script = (
        "import sys; from flytelineage.flyteadmin import FlyteAdmin; FlyteAdmin(endpoint='a:1'); "
        "print([m for m in ('grpc', 'flytekit', 'flyteidl', 'google', 'requests') "
        "if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.skipif(find_spec("flytekit") is None, reason="flytekit is not installed")
def test_flytekit_takes_nothing_from_the_process() -> None:
    """Ctrl-C, uncaught exceptions, stdout and stderr stay ours, also in the main thread."""
    script = """
import logging, signal, sys
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.flyteadmin.loading import connection_module
from flytelineage.testing.flyteadmin import FlyteAdminDouble
before = signal.getsignal(signal.SIGINT), sys.excepthook, list(logging.getLogger().handlers)
connection_module()
assert before == (
    signal.getsignal(signal.SIGINT), sys.excepthook, list(logging.getLogger().handlers)
)
with FlyteAdminDouble() as double:
    FlyteAdmin(endpoint=double.endpoint, insecure=True).check()
logging.basicConfig(format="ours: %(message)s")
logging.getLogger("flytekit").warning("careful")
logging.getLogger("flytekit").info("chatter")
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "ours: careful\n")


def test_flytekit_is_missing(client: Client, stream: Stream, monkeypatch) -> None:
    """The message says what to install, and a build goes on without."""
    monkeypatch.delitem(sys.modules, "flytelineage.flyteadmin.connection", raising=False)
    monkeypatch.setitem(sys.modules, "flytekit.clients.auth.authenticator", None)
    admin = client(endpoint="127.0.0.1:1", insecure=True)

    with pytest.raises(ConfigError, match=r"pip install 'flytelineage\[flyteadmin\]'"):
        admin.check()
    with pytest.raises(AdminUnavailable, match="pip install"):
        admin.execution(id_of(stream))
