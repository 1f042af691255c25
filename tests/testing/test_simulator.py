"""The simulator: it publishes what FlyteAdmin would, and knows what is true of it."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec

import pytest
from flyteidl.admin import event_pb2 as admin_pb2
from flyteidl.core import execution_pb2, literals_pb2
from flyteidl.event import cloudevents_pb2
from google.protobuf import json_format

from flytelineage.testing.simulator import (
    DELIVERIES,
    ENCODINGS,
    Branch,
    Dynamic,
    File,
    Folder,
    FolderStorage,
    Frame,
    Gate,
    Input,
    LaunchPlan,
    ListOf,
    MapOf,
    MapTask,
    MemoryStorage,
    Node,
    Offloaded,
    OptionalOf,
    Outcome,
    Output,
    Primitive,
    Record,
    S3Storage,
    Same,
    Stream,
    Taken,
    Task,
    Workflow,
    compile_workflow,
    samples,
    simulate,
    simulate_samples,
    single_task,
)
from flytelineage.testing.simulator.__main__ import main
from flytelineage.testing.simulator.cloudevents import cloud_event_class
from flytelineage.testing.simulator.flytekit_literals import FlytekitLiterals
from flytelineage.testing.simulator.literals import FastLiterals, HexNames, literal_type
from flytelineage.testing.simulator.reports import child_name, unique_id

needs_flytekit = pytest.mark.skipif(
    find_spec("flytekit") is None, reason="flytekit has no release for this version of Python"
)

START = datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc)
RAW_URI = re.compile(rb"s3://my-s3-bucket/data/[a-z0-9]{2}/[\w-]+/[0-9a-f]{32}")

LOAD = Task("app.etl.load", {"o0": Frame()})
CLEAN = Task("app.etl.clean", {"o0": Frame()})
REPORT = Task("app.etl.report", {"o0": File("report.html")})


def run(workflow: Workflow, name: str = "a1b2c3", storage: object = None, **more: object) -> Stream:
    more.setdefault("fast", True)
    return simulate(workflow, name, storage or MemoryStorage(), start=START, **more)


def chain(*tasks: Task, inputs: dict | None = None, **more: object) -> Workflow:
    """Each task reads the first output of the one before."""
    nodes = [Node("n0", tasks[0], {name: Input(name) for name in inputs or {}})]
    for at, task in enumerate(tasks[1:], start=1):
        first = next(iter(tasks[at - 1].outputs))
        nodes.append(Node(f"n{at}", task, {"x": Output(f"n{at - 1}", first)}))
    return Workflow("app.etl.wf", tuple(nodes), inputs=inputs or {}, **more)


def told(stream: Stream, node: str = "") -> list[str]:
    """The phases of a stream in order, `task` events in small letters."""
    return [
        phase(event).lower() if kind(event) == "Task" else phase(event)
        for event in events(stream, node)
    ]


def events(stream: Stream, node: str = "") -> list:
    found = [request.event for request in stream.requests]
    return [event for event in found if not node or node_id(event) == node]


def node_id(event) -> str:
    if kind(event) == "Workflow":
        return ""
    return (event.id if kind(event) == "Node" else event.parent_node_execution_id).node_id


def kind(event) -> str:
    return event.DESCRIPTOR.name.removesuffix("ExecutionEvent")


def phase(event) -> str:
    return event.DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_number[event.phase].name


def node_event(stream: Stream, node: str, wanted: str = "SUCCEEDED"):
    return next(e for e in events(stream, node) if kind(e) == "Node" and phase(e) == wanted)


def literals(storage, uri: str) -> dict:
    return dict(literals_pb2.LiteralMap.FromString(storage.read(uri)).literals)


# -------------------------------------------------------------- the event stream


def test_a_chain_publishes_what_the_table_says() -> None:
    """Three tasks: 3 workflow events, 12 node events, and at least 9 of tasks."""
    stream = run(chain(LOAD, CLEAN, REPORT))

    kinds = [kind(event) for event in events(stream)]
    assert kinds.count("Workflow") == 3
    assert kinds.count("Node") == 12
    assert kinds.count("Task") >= 9


def test_the_first_event_of_an_attempt_is_never_published() -> None:
    """Admin stores it and returns, so nobody ever sees a queued attempt."""
    stream = run(chain(LOAD, CLEAN), outcomes={"n1": Outcome(failed_attempts=2)})

    assert not [e for e in events(stream) if kind(e) == "Task" and phase(e) == "QUEUED"]


def test_a_synchronous_task_has_no_task_event_at_all() -> None:
    """Its only event is its first one."""
    stream = run(chain(Task("app.q.query", {"o0": Frame()}, synchronous=True)))

    assert told(stream, "n0") == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_a_task_succeeds_before_its_node_does() -> None:
    """The node's event is the authority, and comes last."""
    stream = run(chain(LOAD))

    assert told(stream, "n0")[:2] == ["QUEUED", "RUNNING"]
    assert told(stream, "n0")[-2:] == ["succeeded", "SUCCEEDED"]


def test_start_node_and_end_node_say_little() -> None:
    """The start-node gives the inputs, the end-node has no output."""
    stream = run(chain(LOAD, inputs={"path": Primitive("s")}))

    assert told(stream, "start-node") == ["SUCCEEDED"]
    assert told(stream, "end-node") == ["QUEUED", "SUCCEEDED"]
    start, end = node_event(stream, "start-node"), node_event(stream, "end-node")
    assert (start.input_uri, end.output_uri) == ("", "")
    assert start.output_uri.endswith("/start-node/data/0/outputs.pb")


def test_metadata_lies_where_propeller_puts_it() -> None:
    """Inputs beside the attempts, outputs inside of them, real literal maps in both."""
    storage = MemoryStorage()
    stream = run(chain(LOAD, CLEAN), "a1", storage)

    folder = "s3://my-s3-bucket/metadata/propeller/flytesnacks-development-a1/n1/data"
    event = node_event(stream, "n1")
    assert event.input_uri == f"{folder}/inputs.pb"
    assert event.output_uri == f"{folder}/0/outputs.pb"
    first = node_event(stream, "n0")
    assert literals(storage, event.input_uri)["x"] == literals(storage, first.output_uri)["o0"]


def test_data_lies_under_the_raw_output_layout() -> None:
    """A shard, execution-node-attempt, and 32 hex digits."""
    storage = MemoryStorage()
    stream = run(chain(LOAD), "a1", storage)

    uri = stream.execution.results["n0"]["o0"].scalar.structured_dataset.uri
    assert re.fullmatch(r"s3://my-s3-bucket/data/[a-z0-9]{2}/a1-n0-0/[0-9a-f]{32}", uri)
    assert storage.read(f"{uri}/00000").startswith(b"PAR1")


def test_only_plain_tasks_say_their_task() -> None:
    """`target_entity` is filled for tasks, and empty for start and end."""
    stream = run(chain(LOAD))

    assert node_event(stream, "n0").target_entity.name == "app.etl.load"
    assert not node_event(stream, "start-node").HasField("target_entity")


def test_a_retry_fails_an_attempt_and_not_the_node() -> None:
    """The node goes on running; the outputs are those of the second attempt."""
    stream = run(chain(LOAD), outcomes={"n0": Outcome(failed_attempts=1)})

    attempts = [(e.retry_attempt, phase(e)) for e in events(stream, "n0") if kind(e) == "Task"]
    assert (0, "FAILED") in attempts
    assert attempts[-1] == (1, "SUCCEEDED")
    assert [name for name in told(stream, "n0") if name.isupper()] == [
        "QUEUED", "RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    assert node_event(stream, "n0").output_uri.endswith("/n0/data/1/outputs.pb")


def test_exhausted_retries_fail_the_node_and_the_execution() -> None:
    """The code says so, and nothing behind the node ever starts."""
    stream = run(chain(LOAD, CLEAN), outcomes={"n0": Outcome("FAILED", failed_attempts=2)})

    assert node_event(stream, "n0", "FAILED").error.code.startswith("RetriesExhausted")
    assert events(stream, "n1") == []
    assert [phase(e) for e in events(stream) if kind(e) == "Workflow"] == [
        "RUNNING", "FAILING", "FAILED",
    ]  # fmt: skip


def test_a_failure_aborts_what_runs_beside_it() -> None:
    """A sibling that runs is aborted, attempt before node, between FAILING and FAILED."""
    workflow = Workflow("app.etl.wf", (Node("n0", LOAD), Node("n1", CLEAN)))
    busy = Outcome(failed_attempts=9)
    stream = run(workflow, outcomes={"n0": Outcome("FAILED"), "n1": busy})

    last = [phase(event) for event in events(stream)][-5:]
    assert last == ["FAILED", "FAILING", "ABORTED", "ABORTED", "FAILED"]
    assert told(stream, "n1")[-2:] == ["aborted", "ABORTED"]
    assert stream.truth.runs[-1].phase == "ABORTED"


def test_an_abort_ends_node_and_attempt_without_a_cause() -> None:
    """Of the node only id, phase and error are told."""
    stream = run(chain(LOAD, CLEAN), phase="ABORTED")

    event = node_event(stream, "n1", "ABORTED")
    assert told(stream, "n1")[-2:] == ["aborted", "ABORTED"]
    assert (event.spec_node_id, event.event_version, event.error.code) == ("", 0, "NodeAborted")
    assert phase(events(stream)[-1]) == "ABORTED"
    assert not events(stream)[-1].HasField("error")


def test_a_node_that_times_out_says_no_error() -> None:
    """Propeller gives TIMED_OUT none."""
    stream = run(chain(LOAD, CLEAN), outcomes={"n0": Outcome("TIMED_OUT")})

    assert not node_event(stream, "n0", "TIMED_OUT").HasField("error")
    assert stream.truth.phase == "FAILED"


def test_an_execution_that_is_not_over_has_no_end() -> None:
    """The stream of a look too early."""
    stream = run(chain(LOAD, CLEAN), phase="RUNNING")

    assert [phase(e) for e in events(stream) if kind(e) == "Workflow"] == ["RUNNING"]
    assert "SUCCEEDED" not in told(stream, "n1")


def test_a_cache_hit_is_one_event_that_names_its_source() -> None:
    """No attempt; the literals still point to the data of the first execution."""
    first = run(chain(LOAD, CLEAN), "first")
    taken = Taken(first.outputs("n0"), first.source("n0"))
    second = run(chain(LOAD, CLEAN), "second", outcomes={"n0": Outcome(hit=taken)})

    assert told(second, "n0") == ["SUCCEEDED"]
    metadata = node_event(second, "n0").task_node_metadata
    source = metadata.catalog_key.source_task_execution.node_execution_id
    assert metadata.cache_status == 2
    assert (source.execution_id.name, source.node_id) == ("first", "n0")
    assert second.execution.results["n0"] == first.execution.results["n0"]


def test_a_cache_hit_may_name_a_source_that_nobody_saw() -> None:
    """Or none, when the cache does not tell."""
    unseen = run(chain(LOAD), outcomes={"n0": Outcome(hit=Taken())})
    first = run(chain(LOAD), "first")
    silent = Outcome(hit=Taken(first.outputs("n0")))
    untold = run(chain(LOAD), outcomes={"n0": silent})

    def key(stream: Stream):
        return node_event(stream, "n0").task_node_metadata.catalog_key

    source = key(unseen).source_task_execution.node_execution_id.execution_id.name
    uri = unseen.execution.results["n0"]["o0"].scalar.structured_dataset.uri
    assert f"/{source}-n0-0/" in uri
    assert not key(untold).HasField("source_task_execution")


def test_a_task_that_fills_the_cache_names_itself() -> None:
    """Its node succeeds with CACHE_POPULATED."""
    stream = run(chain(Task("app.etl.load", {"o0": Frame()}, cacheable=True)))

    metadata = node_event(stream, "n0").task_node_metadata
    assert metadata.cache_status == 3
    source = metadata.catalog_key.source_task_execution
    assert source.node_execution_id.execution_id.name == "a1b2c3"


def test_a_recovered_node_is_one_event() -> None:
    """RECOVERED, with inputs and outputs."""
    first = run(chain(LOAD, CLEAN), "first", phase="FAILED")
    taken = Taken(first.outputs("n0"), first.source("n0"))
    stream = run(chain(LOAD, CLEAN), outcomes={"n0": Outcome(recovered=taken)})

    assert told(stream, "n0") == ["RECOVERED"]
    assert node_event(stream, "n0", "RECOVERED").output_uri


def test_outputs_may_be_named_that_nobody_wrote() -> None:
    """A task whose plugin writes no outputs.pb names the file all the same."""
    storage = MemoryStorage()
    stream = run(chain(Task("app.sql.athena", sends_outputs=False)), storage=storage)

    with pytest.raises(KeyError):
        storage.read(node_event(stream, "n0").output_uri)


def test_inline_data_takes_the_place_of_uris() -> None:
    """Inputs in QUEUED alone, outputs in SUCCEEDED; never in a cache hit's one event."""
    first = run(chain(LOAD, CLEAN), "first")
    hit = Outcome(hit=Taken(first.outputs("n1"), first.source("n1")))
    stream = run(chain(LOAD, CLEAN), inline=True)
    cached = run(chain(LOAD, CLEAN), inline=True, outcomes={"n1": hit})

    assert node_event(stream, "n1", "QUEUED").input_data.literals
    assert not node_event(stream, "n1", "RUNNING").HasField("input_data")
    assert node_event(stream, "n1").output_data.literals
    assert not node_event(cached, "n1").HasField("input_data")
    assert "app.etl.clean" not in cached.truth.reads
    assert not [event for event in events(stream) if event.output_uri]


def test_a_sub_workflow_is_a_parent_from_the_start() -> None:
    """Its children name it, with their own start and end, in folders below its own."""
    stream = run(nested())

    assert told(stream, "n1") == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert all(event.is_parent for event in events(stream, "n1"))
    child = node_event(stream, "n1-0-n0")
    assert (child.parent_node_metadata.node_id, child.retry_group) == ("n1", "0")
    assert child.spec_node_id == "n0"
    assert child.output_uri.endswith("/n1/data/0/n0/0/outputs.pb")
    assert told(stream, "n1-0-start-node") == ["SUCCEEDED"]
    assert told(stream, "n1-0-end-node") == ["QUEUED", "SUCCEEDED"]


def test_only_the_taken_arm_of_a_branch_is_seen() -> None:
    """Under the name that the compiler gives it; the branch never says it is a parent."""
    stream = run(branched())

    assert told(stream, "n1-0-n1-n1")[-1] == "SUCCEEDED"
    assert not [event for event in events(stream) if "n1-n0" in node_id(event)]
    assert node_event(stream, "n1-0-n1-n1").spec_node_id == "n1-n1"
    assert not any(event.is_parent for event in events(stream, "n1"))
    assert stream.execution.results["n1"] == stream.execution.results["n1/n1-n1"]


def test_a_map_task_tells_its_items_in_external_resources() -> None:
    """Neither inputs nor a pod of its own; the output is a list."""
    stream = run(mapped())

    tasks = [event for event in events(stream, "n1") if kind(event) == "Task"]
    assert [phase(event) for event in tasks] == ["RUNNING", "RUNNING", "SUCCEEDED"]
    assert {event.task_type for event in tasks} == {"container_array"}
    assert {event.input_uri for event in tasks} == {""}
    assert len(tasks[0].metadata.external_resources) == 2
    assert node_event(stream, "n1").is_array
    assert not node_event(stream, "n1").HasField("target_entity")
    assert len(stream.execution.results["n1"]["o0"].collection.literals) == 2


def test_a_dynamic_node_tells_its_graph_once() -> None:
    """DYNAMIC_RUNNING alone says it is a parent, and carries the compiled graph."""
    stream = run(dynamic())

    assert [name for name in told(stream, "n1") if name.isupper()] == [
        "QUEUED", "RUNNING", "DYNAMIC_RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    event = node_event(stream, "n1", "DYNAMIC_RUNNING")
    graph = event.task_node_metadata.dynamic_workflow
    template = graph.compiled_workflow.primary.template
    assert event.is_parent
    assert event.is_dynamic
    assert [node.id for node in template.nodes] == ["start-node", "end-node", "dn0", "dn1"]
    assert graph.dynamic_job_spec_uri.endswith("/n1/data/0/futures.pb")
    assert not node_event(stream, "n1").is_parent
    assert node_event(stream, "n1-0-dn0").is_in_dynamic_chain


def test_nobody_writes_the_inputs_of_a_dynamic_graph() -> None:
    """Its start-node names a file that does not exist."""
    storage = MemoryStorage()
    stream = run(dynamic(), storage=storage)

    with pytest.raises(KeyError):
        storage.read(node_event(stream, "n1-0-start-node").output_uri)


def test_a_launch_plan_starts_an_execution_of_its_own() -> None:
    """The node names the child; the child's events do not name the parent."""
    stream = run(launching())

    event = node_event(stream, "n1")
    (child,) = stream.children
    assert event.workflow_node_metadata.execution_id.name == child.execution.name
    assert re.fullmatch(r"f[a-z0-9]{13}", child.execution.name)
    assert event.target_entity.resource_type == 3
    assert {e.parent_node_metadata.node_id for e in events(child) if kind(e) == "Node"} == {""}
    assert child.truth.reads["app.report.render"] == stream.truth.writes["app.etl.load"]


@pytest.mark.parametrize(
    ("gate", "given"), [("approve", {"x"}), ("signal", {"o0"}), ("sleep", set())]
)
def test_a_gate_hands_on_what_it_waited_for(gate: str, given: set[str]) -> None:
    """Approval passes data through, a signal is a value, sleep gives nothing."""
    workflow = Workflow(
        "app.etl.wf", (Node("n0", LOAD), Node("n1", Gate(gate), {"x": Output("n0")}))
    )
    stream = run(workflow)

    assert told(stream, "n1") == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert set(stream.execution.results["n1"]) == given
    assert bool(node_event(stream, "n1").output_uri) == bool(given)


def test_a_single_task_runs_in_a_generated_workflow() -> None:
    """Its node is named after the task."""
    stream = run(single_task(LOAD))

    assert told(stream, "appetlload")[-1] == "SUCCEEDED"
    assert stream.truth.pipeline == "flytesnacks.development..flytegen.app.etl.load"
    assert stream.guessed_truth.pipeline == "flytesnacks.development.app.etl"


def test_long_ids_become_hashes() -> None:
    """Above 20 characters Flyte shortens them to 8."""
    assert unique_id("n4", "0", "n0") == "n4-0-n0"
    assert re.fullmatch(r"f[a-z1-6]{7}", unique_id("n4", "0", "a-very-long-node-id"))
    assert len(child_name("a1b2c3", "n1", "0")) == 14


def test_time_only_goes_on() -> None:
    """Node and workflow events are published in the order in which they occurred."""
    stream = run(samples()["regions"])

    times = [e.occurred_at.ToNanoseconds() for e in events(stream) if kind(e) != "Task"]
    assert times == sorted(times)


# ----------------------------------------------------------------- the workflows


def nested() -> Workflow:
    inner = Workflow(
        "app.etl.inner",
        (Node("n0", CLEAN, {"x": Input("x")}), Node("n1", REPORT, {"x": Output("n0")})),
        inputs={"x": Frame()},
        outputs={"o0": Output("n0")},
    )
    after = Task("app.etl.after", {"o0": Frame()})
    return Workflow(
        "app.etl.wf",
        (
            Node("n0", LOAD),
            Node("n1", inner, {"x": Output("n0")}),
            Node("n2", after, {"x": Output("n1")}),
        ),
        outputs={"o0": Output("n2")},
    )


def branched() -> Workflow:
    arms = (
        Node("n0", REPORT, {"x": Output("n0")}),
        Node("n1", CLEAN, {"x": Output("n0")}),
    )
    return Workflow(
        "app.etl.wf",
        (Node("n0", LOAD), Node("n1", Branch(arms, "n1")), Node("n2", LOAD, {"x": Output("n1")})),
    )


def mapped() -> Workflow:
    loads = Task("app.etl.load_all", {"o0": ListOf(Frame())})
    return Workflow(
        "app.etl.wf",
        (
            Node("n0", loads),
            Node("n1", MapTask(CLEAN, ("x",)), {"x": Output("n0"), "depth": Primitive(3)}),
            Node("n2", REPORT, {"x": Output("n1")}),
        ),
    )


def dynamic() -> Workflow:
    body = Workflow(
        "app.etl.dyn",
        (Node("dn0", CLEAN, {"x": Input("x")}), Node("dn1", CLEAN, {"x": Output("dn0")})),
        inputs={"x": Frame()},
        outputs={"o0": Output("dn1")},
    )
    whole = Task("app.etl.dyn", {"o0": Frame()}, task_type="dynamic-task")
    return Workflow(
        "app.etl.wf",
        (
            Node("n0", LOAD),
            Node("n1", Dynamic(whole, body), {"x": Output("n0")}),
            Node("n2", REPORT, {"x": Output("n1")}),
        ),
    )


def launching() -> Workflow:
    child = Workflow(
        "app.report.wf",
        (Node("n0", Task("app.report.render", {"o0": File()}), {"x": Input("x")}),),
        inputs={"x": Frame()},
        outputs={"o0": Output("n0")},
    )
    return Workflow(
        "app.etl.wf",
        (
            Node("n0", LOAD),
            Node("n1", LaunchPlan(child), {"x": Output("n0")}),
            Node("n2", CLEAN, {"x": Output("n1")}),
        ),
    )


def diamond() -> Workflow:
    split = Task("app.ml.split", {"train": Frame(), "test": Frame()})
    join = Task("app.ml.join", {"o0": Record({"file": File(), "score": Primitive(0.5)})})
    return Workflow(
        "app.ml.wf",
        (
            Node("n0", split),
            Node("n1", LOAD, {"x": Output("n0", "train")}),
            Node("n2", CLEAN, {"x": Output("n0", "test")}),
            Node("n3", join, {"all": [Output("n1"), Output("n2")], "one": Output("n0", "test")}),
            Node("n4", REPORT, {"x": Output("n3", "o0", ("file",))}),
        ),
    )


def passing() -> Workflow:
    check = Task("app.etl.check", {"same": Same("x"), "extra": Offloaded(ListOf(Frame()))})
    return Workflow(
        "app.etl.wf",
        (
            Node("n0", LOAD),
            Node("n1", check, {"x": Output("n0")}),
            Node("n2", CLEAN, {"x": Output("n1", "same")}),
            Node("n3", REPORT, {"x": Output("n1", "extra")}),
        ),
    )


def collected() -> Workflow:
    kinds = {"list": ListOf(File()), "map": MapOf(Frame()), "maybe": OptionalOf(Frame())}
    made = Task("app.etl.make", {**kinds, "none": OptionalOf(Frame(), given=False)})
    used = Task("app.etl.use", {"folder": Folder(), "schema": Frame(legacy=True)})
    inputs = {name: Output("n0", name) for name in made.outputs}
    one = {"x": Output("n0", "map", ("a",)), "y": Output("n0", "list", (1,))}
    return Workflow(
        "app.etl.wf",
        (Node("n0", made), Node("n1", used, inputs), Node("n2", REPORT, one)),
        outputs={"all": {"a": Output("n1", "folder"), "b": Output("n2")}},
    )


def repeated() -> Workflow:
    return Workflow(
        "app.etl.wf",
        (
            Node("n0", LOAD),
            Node("n1", CLEAN, {"x": Output("n0")}),
            Node("n2", CLEAN, {"x": Output("n1")}),
            Node("n3", REPORT, {"x": Output("n2")}),
        ),
    )


SHAPES = {
    "chain": chain(LOAD, CLEAN, REPORT),
    "diamond": diamond(),
    "repeated": repeated(),
    "passing": passing(),
    "collected": collected(),
    "nested": nested(),
    "branched": branched(),
    "mapped": mapped(),
    "dynamic": dynamic(),
    "sales": samples()["sales"],
    "training": samples()["training"],
    "regions": samples()["regions"],
}


# --------------------------------------------------------------------- the truth


def edges_by_uri(stream: Stream, storage: MemoryStorage) -> set[tuple[str, str]]:
    """Who read what whom wrote, by the bytes of the files alone."""
    attempts = {run.node: run.task for run in stream.truth.runs}
    reads, writes = {}, {}
    for event in events(stream):
        if kind(event) != "Node" or node_id(event) not in attempts or not event.output_uri:
            continue
        reads[node_id(event)] = uris(storage, event.input_uri)
        written = uris(storage, event.output_uri) - reads[node_id(event)]
        if not event.is_dynamic:
            writes[node_id(event)] = written
    return {
        (attempts[writer], attempts[reader])
        for reader, read in reads.items()
        for writer, written in writes.items()
        if read & written and attempts[writer] != attempts[reader]
    }


def uris(storage: MemoryStorage, uri: str) -> set[bytes]:
    content = storage.read(uri)
    offloaded = re.findall(rb"s3://[\w./-]+_offloaded_metadata\.pb", content)
    inside = [storage.read(place.decode()) for place in offloaded]
    return {found for data in (content, *inside) for found in RAW_URI.findall(data)}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_truth_agrees_with_the_files(shape: str) -> None:
    """Told from objects alone, the edges are those that the written URIs show."""
    storage = MemoryStorage()
    stream = run(SHAPES[shape], storage=storage)

    assert set(stream.truth.edges) == edges_by_uri(stream, storage)


def test_the_truth_of_a_chain() -> None:
    """Names of pipeline, tasks and datasets as the design spells them."""
    source = File(uri="s3://lake/raw/orders/dt=2026-01-01/")
    truth = run(chain(LOAD, CLEAN, inputs={"source": source})).truth

    pipeline = "flytesnacks.development.app.etl.wf"
    assert truth.pipeline == pipeline
    assert truth.tasks == ("app.etl.clean", "app.etl.load")
    assert truth.inputs == ("s3:lake/raw/orders",)
    assert truth.reads == {
        "app.etl.load": ("s3:lake/raw/orders",),
        "app.etl.clean": (f"flyte:{pipeline}.app.etl.load.o0",),
    }
    assert truth.writes["app.etl.clean"] == (f"flyte:{pipeline}.app.etl.clean.o0",)
    assert truth.edges == (("app.etl.load", "app.etl.clean"),)


def test_a_guess_takes_the_module_that_most_tasks_share() -> None:
    """It changes the names of datasets, and of nothing else."""
    other = Task("app.tools.notify")
    stream = run(chain(LOAD, CLEAN, REPORT, other))

    assert stream.guessed_truth.pipeline == "flytesnacks.development.app.etl"
    assert stream.guessed_truth.writes["app.etl.load"] == (
        "flyte:flytesnacks.development.app.etl.app.etl.load.o0",
    )
    assert stream.guessed_truth.edges == stream.truth.edges


def test_a_task_at_several_nodes_is_told_apart() -> None:
    """By the path of its node; other tasks keep their bare names."""
    truth = run(repeated()).truth

    assert truth.tasks == (
        "app.etl.clean@n1", "app.etl.clean@n2", "app.etl.load", "app.etl.report",
    )  # fmt: skip
    assert ("app.etl.clean@n1", "app.etl.clean@n2") in truth.edges


def test_what_runs_inside_a_dynamic_node_has_its_place() -> None:
    """One task there is one task, and not its own upstream."""
    truth = run(dynamic()).truth

    assert "app.etl.clean" in truth.tasks
    assert truth.edges == (
        ("app.etl.clean", "app.etl.report"),
        ("app.etl.load", "app.etl.clean"),
        ("app.etl.load", "app.etl.dyn"),
    )


def test_passing_data_through_makes_no_producer() -> None:
    """The edge goes from the maker to the reader."""
    truth = run(passing()).truth

    assert ("app.etl.load", "app.etl.clean") in truth.edges
    assert ("app.etl.check", "app.etl.clean") not in truth.edges
    assert ("app.etl.check", "app.etl.report") in truth.edges


def test_primitives_are_no_data() -> None:
    """They make no edge and no dataset."""
    numbers = Task("app.etl.count", {"o0": Primitive(3)})
    truth = run(chain(numbers, Task("app.etl.print"))).truth

    assert (truth.edges, truth.reads, truth.writes) == ((), {}, {})
    assert len(truth.tasks) == 2


def test_an_own_place_is_named_by_its_platform() -> None:
    """And the data edge is there all the same."""
    publish = Task("app.etl.publish", {"o0": Frame(uri="s3://shop/daily/")})
    storage = MemoryStorage()
    truth = run(chain(publish, CLEAN), storage=storage).truth

    assert truth.writes["app.etl.publish"] == ("s3:shop/daily",)
    assert truth.edges == (("app.etl.publish", "app.etl.clean"),)
    assert storage.read("s3://shop/daily/00000")


def test_a_consumer_reads_what_another_workflow_made() -> None:
    """Under the maker's name, and not its own."""
    first = run(chain(LOAD), "first")
    second = Workflow(
        "app.other.wf",
        (Node("n0", Task("app.other.read"), {"x": Input("x")}),),
        inputs={"x": Frame(uri="s3://unused/there")},
    )
    truth = run(second, "second", inputs={"x": first.output("n0")}).truth

    assert truth.reads == {
        "app.other.read": ("flyte:flytesnacks.development.app.etl.wf.app.etl.load.o0",)
    }
    assert truth.edges == ()


def test_a_hit_without_a_known_maker_is_named_as_its_own() -> None:
    """Nobody else can name it."""
    truth = run(chain(LOAD, CLEAN), outcomes={"n0": Outcome(hit=Taken())}).truth

    name = "flyte:flytesnacks.development.app.etl.wf.app.etl.load.o0"
    assert truth.writes["app.etl.load"] == (name,)
    assert truth.runs[0].cached


@pytest.mark.parametrize("end", ["FAILED", "ABORTED", "RUNNING"])
def test_only_success_tells_edges(end: str) -> None:
    """All other ends leave runs."""
    truth = run(chain(LOAD, CLEAN), phase=end).truth

    assert (truth.reads, truth.writes, truth.edges) == ({}, {}, ())
    assert truth.runs[0].phase == "SUCCEEDED"


# ------------------------------------------------------------------ the encodings


def parsed(body: str, delivery: str) -> bytes:
    message = json.loads(body)["Message"] if delivery == "sns" else body
    return base64.b64decode(message, validate=True)


def test_an_sns_notification_looks_as_aws_sends_it() -> None:
    """Fields, spelling and the subject."""
    stream = run(chain(LOAD))

    envelope = json.loads(stream.bodies("raw", "sns")[0])
    assert list(envelope) == [
        "Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp",
        "SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL",
    ]  # fmt: skip
    assert envelope["Subject"] == "flyteidl.admin.WorkflowExecutionEventRequest"
    assert envelope["Timestamp"] == "2026-01-05T06:00:00.000Z"


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_raw_bodies_are_the_requests(delivery: str) -> None:
    """Protobuf in base64, with and without SNS around it."""
    stream = run(chain(LOAD))

    found = [
        type(request).FromString(parsed(body, delivery))
        for request, body in zip(stream.requests, stream.bodies("raw", delivery), strict=True)
    ]
    assert found == list(stream.requests)


def test_version_1_wraps_the_request_in_json() -> None:
    """Under the subject of raw events, with a schema that is wrong for most."""
    stream = run(chain(LOAD))

    for request, body in zip(stream.requests, stream.bodies("v1"), strict=True):
        event = cloud_event_class().FromString(parsed(body, "sns"))
        assert event.type == f"com.flyte.resource.{request.DESCRIPTOR.full_name}"
        assert json.loads(body)["Subject"] == request.DESCRIPTOR.full_name
        assert event.spec_version == "1.0"
        assert json_format.Parse(event.binary_data, type(request)()) == request
        assert event.attributes["datacontenttype"].ce_string == "application/json"
        assert event.attributes["time"].ce_timestamp.seconds == request.event.occurred_at.seconds


def test_version_2_knows_more_of_what_succeeded() -> None:
    """Launch plan, principal, labels and interface; of nothing else, nor of start-node."""
    stream = run(chain(LOAD, CLEAN), principal="ada", labels={"team": "etl"})

    found = {}
    for request, body in zip(stream.requests, stream.bodies("v2", "raw"), strict=True):
        event = cloud_event_class().FromString(parsed(body, "raw"))
        name = event.type.removeprefix("com.flyte.resource.cloudevents.")
        outer = json_format.Parse(
            event.binary_data, getattr(cloudevents_pb2, f"CloudEvent{name}")()
        )
        assert outer.raw_event == request.event
        found[name, node_id(request.event), phase(request.event)] = outer, event
    node, envelope = found["NodeExecution", "n1", "SUCCEEDED"]
    assert node.launch_plan_id.name == "app.etl.wf"
    assert (node.principal, dict(node.labels)) == ("ada", {"team": "etl"})
    assert list(node.output_interface.outputs.variables) == ["o0"]
    assert node.task_exec_id.task_id.name == "app.etl.clean"
    assert envelope.source == "a1b2c3/n1"
    assert not found["NodeExecution", "n1", "RUNNING"][0].HasField("launch_plan_id")
    assert not found["NodeExecution", "start-node", "SUCCEEDED"][0].HasField("launch_plan_id")
    assert found["WorkflowExecution", "", "SUCCEEDED"][1].source == "a1b2c3/end-node"
    assert found["TaskExecution", "n1", "SUCCEEDED"][1].source == "a1b2c3/n1/0"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_seed_gives_the_same_bytes(encoding: str) -> None:
    """Of messages and of files; another seed gives others."""
    stores = [MemoryStorage() for _ in range(3)]
    runs = [
        run(diamond(), storage=storage, seed=seed).bodies(encoding)
        for storage, seed in zip(stores, (1, 1, 2), strict=True)
    ]

    assert runs[0] == runs[1] != runs[2]
    assert stores[0].objects == stores[1].objects != stores[2].objects


def test_a_stream_can_be_disturbed() -> None:
    """Shuffled, doubled and thinned out, the same way each time."""
    stream = run(chain(LOAD, CLEAN))
    size = len(stream.requests)

    shuffled, doubled = stream.shuffled(1), stream.duplicated(1)
    assert shuffled.requests != stream.requests
    assert shuffled.requests == stream.shuffled(1).requests
    assert sorted(map(str, shuffled.requests)) == sorted(map(str, stream.requests))
    assert size < len(doubled.requests) < 2 * size
    assert {id(request) for request in doubled.requests} == {id(r) for r in stream.requests}
    assert len(stream.dropped(1).requests) < size
    assert not events(stream.without(lambda event: node_id(event) == "n1"), "n1")
    assert size <= len(stream.mixed(1)) <= 2 * size
    assert stream.shuffled(1).truth == stream.truth


def test_thousands_of_nodes_are_quick() -> None:
    """The fast path makes a load test of one workflow."""
    nodes = [Node(f"n{at}", LOAD, {"x": Output("first")}) for at in range(1000)]
    last = Node("last", REPORT, {"all": [Output(node.id) for node in nodes]})
    stream = run(Workflow("app.etl.wide", (Node("first", CLEAN), *nodes, last)))

    assert len(stream.requests) > 6000
    assert len(stream.truth.edges) == 2000


# ---------------------------------------------------------- literals and storage

KINDS = {
    "data frame": Frame(),
    "declared columns": Frame(declared=True),
    "legacy schema": Frame(legacy=True),
    "own place": Frame(uri="s3://lake/table/"),
    "file": File(),
    "file with a format": File("a.csv", format="csv"),
    "file at an own place": File(uri="s3://lake/a.csv"),
    "folder": Folder(),
    "folder at an own place": Folder(uri="s3://lake/folder"),
    "number": Primitive(3),
    "text": Primitive("x"),
    "nothing": Primitive(None),
    "moment": Primitive(START),
    "duration": Primitive(timedelta(seconds=3)),
    "list": ListOf(Frame()),
    "dict": MapOf(File()),
    "optional": OptionalOf(Frame()),
    "optional file": OptionalOf(File()),
    "optional nothing": OptionalOf(Frame(), given=False),
    "dataclass": Record({"f": File(), "d": Folder(), "t": Frame(), "n": Primitive(1)}),
    "dataclass of lists": Record({"l": ListOf(File()), "m": MapOf(Frame())}),
}


@needs_flytekit
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("root", ["s3://my-s3-bucket", "file:///simulated"])
def test_a_fast_literal_equals_that_of_flytekit(name: str, root: str) -> None:
    """And so do the files behind it, byte for byte."""
    made = []
    for maker in (FastLiterals, FlytekitLiterals):
        storage = MemoryStorage(root)
        literal = maker(storage, HexNames(1)).make(KINDS[name], f"{root}/data/ab/a1-n0-0")
        made.append((literal, storage.objects))

    assert made[0] == made[1]


@needs_flytekit
@pytest.mark.parametrize("kind_", [File(uri="s3://lake/a.csv"), Frame(uri="s3://lake/table")])
def test_data_that_was_there_before_is_only_named(kind_: File | Frame) -> None:
    """By flytekit and by hand alike."""
    storage = MemoryStorage()
    fast, slow = (
        maker(storage, HexNames(1)).make(kind_, None) for maker in (FastLiterals, FlytekitLiterals)
    )

    assert fast == slow
    assert storage.objects == {}


def test_data_without_a_place_cannot_have_been_there_before() -> None:
    """A workflow's input needs a uri."""
    with pytest.raises(ValueError, match="needs a uri"):
        run(chain(LOAD, inputs={"x": Frame()}))


@needs_flytekit
def test_declared_types_are_those_that_flytekit_declares() -> None:
    """So the interfaces of version 2 are real."""
    from flytekit.core.type_engine import TypeEngine
    from flytekit.types.directory import FlyteDirectory
    from flytekit.types.file import FlyteFile

    for type_, kind_ in (
        (list[FlyteFile], ListOf(File())),
        (dict[str, FlyteDirectory], MapOf(Folder())),
        (int | None, OptionalOf(Primitive(3))),
    ):
        assert TypeEngine.to_literal_type(type_).to_flyte_idl() == literal_type(kind_)


@needs_flytekit
def test_a_folder_holds_only_what_lies_below_it(tmp_path) -> None:
    """Data elsewhere is named, but not made."""
    storage = FolderStorage(tmp_path / "store")
    outside = Task("app.etl.publish", {"o0": Frame(uri="s3://shop/daily")})
    stream = run(chain(LOAD, outside), storage=storage, fast=False)

    uri = stream.execution.results["n0"]["o0"].scalar.structured_dataset.uri
    assert (tmp_path / "store" / uri.removeprefix(f"{storage.root}/") / "00000").is_file()
    assert literals(storage, node_event(stream, "n1").output_uri)["o0"]
    with pytest.raises(ValueError, match="is not below"):
        storage.write("file:///elsewhere/x", b"")
    with pytest.raises(ValueError, match="is not below"):
        storage.write(f"{storage.root}/../x", b"")


@needs_flytekit
def test_s3_is_written_through_a_client(monkeypatch) -> None:
    """Buckets of other data are made on the way; flytekit writes there as well."""
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        storage = S3Storage(boto3.client("s3", region_name="eu-central-1"))
        publish = Task("app.etl.publish", {"o0": Frame(uri="s3://shop/daily")})
        stream = run(chain(LOAD, publish), storage=storage, fast=False)

        assert storage.read("s3://shop/daily/00000").startswith(b"PAR1")
        assert literals(storage, node_event(stream, "n1").input_uri)
        with pytest.raises(KeyError):
            storage.read("s3://shop/nothing")


# ------------------------------------------------------------ samples and command


def test_the_samples_run_and_hang_together() -> None:
    """The dashboard reads what the sales pipeline made; each name is its own."""
    streams = simulate_samples(MemoryStorage(), start=START, fast=True)

    truths = {stream.truth.execution: stream.truth for stream in streams}
    assert len(truths) == len(streams) == 7
    made = truths["sales-monday"].writes["shop.sales.daily_revenue"]
    assert truths["dashboard-monday"].reads["shop.dashboard.render"] == made
    assert [run_.cached for run_ in truths["sales-tuesday"].runs].count(True) == 1
    assert {truth.phase for truth in truths.values()} == {"SUCCEEDED", "FAILED"}


def test_every_workflow_can_be_compiled() -> None:
    """With its sub-workflows and all tasks; inputs are outputs of the start-node."""
    closure = compile_workflow(samples()["quality"])

    template = closure.primary.template
    assert template.nodes[2].inputs[0].binding.promise.node_id == "start-node"
    assert [part.template.id.name for part in closure.sub_workflows] == [
        "shop.quality.check_and_repair"
    ]
    names = {task.template.id.name for task in closure.tasks}
    assert {"shop.quality.accept", "shop.quality.repair", "shop.quality.profile"} <= names


def test_a_workflow_refuses_nodes_out_of_order() -> None:
    """A node waits only for those before it."""
    with pytest.raises(ValueError, match="waits for"):
        Workflow("app.etl.wf", (Node("n0", CLEAN, {"x": Output("n1")}), Node("n1", LOAD)))


def test_the_command_writes_messages_files_and_truth(tmp_path, capsys) -> None:
    """One JSON value per line; every URI of a message can be read back."""
    assert main(["--out", str(tmp_path), "--seed", "3", "--fast"]) == 0

    lines = (tmp_path / "messages.jsonl").read_text().splitlines()
    request = admin_pb2.NodeExecutionEventRequest()
    request.ParseFromString(base64.b64decode(json.loads(lines[1])["Message"]))
    storage = FolderStorage(tmp_path / "storage")
    assert "source" in literals(storage, request.event.output_uri)
    truths = json.loads((tmp_path / "truth.json").read_text())
    assert truths[0]["guessed"]["pipeline"] == "shop.production.shop.sales"
    assert f"{len(lines)} messages of 7 executions" in capsys.readouterr().out


def test_the_command_can_mix_encodings(tmp_path) -> None:
    """Bare bodies are texts, envelopes are objects."""
    main(["--out", str(tmp_path), "--encoding", "mixed", "--fast"])

    lines = (tmp_path / "messages.jsonl").read_text().splitlines()
    assert {type(json.loads(line)) for line in lines} == {str, dict}
    assert execution_pb2.WorkflowExecution.SUCCEEDED == 4
