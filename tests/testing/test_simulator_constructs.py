"""Every construct: what its stream must keep to, and what is peculiar to it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from flytelineage.testing.simulator import (
    CONSTRUCTS,
    Frame,
    MemoryStorage,
    Node,
    Output,
    Stream,
    Task,
    Workflow,
    Written,
    simulate,
)
from flytelineage.testing.simulator.constructs import START
from tests.testing.test_simulator import events, kind, node_event, node_id, phase, told, uris

TERMINAL = {"SUCCEEDED", "FAILED", "ABORTED", "SKIPPED", "TIMED_OUT", "RECOVERED"}


def play(name: str, storage: MemoryStorage | None = None, **how: object) -> list[Stream]:
    streams = CONSTRUCTS[name](storage or MemoryStorage(), **how)
    return [one for stream in streams for one in stream.family()]


def last(name: str, **how: object) -> Stream:
    """The last of the construct's own executions."""
    return CONSTRUCTS[name](MemoryStorage(), **how)[-1]


# ------------------------------------------------------- what holds for all of them


def test_there_is_something_of_everything() -> None:
    """Every line of the table of constructs, in its variants."""
    assert len(CONSTRUCTS) >= 90


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_admin_would_have_taken_every_event(name: str) -> None:
    """No phase twice in a row, nothing after a terminal one, parents before children."""
    for stream in play(name):
        phases: dict[object, list[object]] = defaultdict(list)
        for event in [request.event for request in _stored(stream)]:
            said = phases[_key(event)]
            assert not said or said[-1] != _state(event)
            assert not said or _name(said[-1]) not in TERMINAL
            said.append(_state(event))
            if kind(event) == "Node" and event.parent_node_metadata.node_id:
                assert ("Node", event.parent_node_metadata.node_id) in phases


def _stored(stream: Stream) -> list:
    """What Admin took in: what was published, and what was too large to be."""
    reports = stream.execution.reports
    both = [*reports.published, *reports.lost]
    return (
        sorted(both, key=lambda request: request.event.occurred_at.ToNanoseconds())
        if (reports.lost)
        else both
    )


def _key(event) -> object:
    if kind(event) != "Task":
        return kind(event), node_id(event)
    return "Task", node_id(event), event.task_id.name, event.retry_attempt


def _state(event) -> object:
    return (phase(event), event.phase_version) if kind(event) == "Task" else phase(event)


def _name(state: object) -> object:
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_every_attempt_was_queued_unseen(name: str) -> None:
    """The first event of an attempt is never published."""
    for stream in play(name):
        assert not [e for e in events(stream) if kind(e) == "Task" and phase(e) == "QUEUED"]


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_what_an_event_names_can_be_read(name: str) -> None:
    """Inputs of what ran; outputs, but for queries and what starts a dynamic graph."""
    storage = MemoryStorage()

    for stream in play(name, storage):
        for event in events(stream):
            if kind(event) == "Node" and event.input_uri and phase(event) != "SKIPPED":
                assert storage.read(event.input_uri) is not None
            unwritten = event.DESCRIPTOR.name == "NodeExecutionEvent" and (
                event.spec_node_id == "start-node" or event.node_name == "query"
            )
            if kind(event) == "Node" and event.output_uri and not unwritten:
                assert storage.read(event.output_uri) is not None


def _is(event, wanted: str) -> bool:
    return kind(event) == "Node" and phase(event) == wanted


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_data_edges_are_those_that_the_files_show(name: str) -> None:
    """Told from workflow objects, they agree with the URIs in the literals."""
    storage = MemoryStorage()

    for stream in play(name, storage):
        if stream.truth.phase == "SUCCEEDED":
            assert set(stream.truth.edges) == set(_edges_in_files(stream, storage))


def _edges_in_files(stream: Stream, storage: MemoryStorage) -> Iterator[tuple[str, str]]:
    """Who read what whom wrote, by the bytes of the files, of final attempts alone."""
    tasks = {run.node: run.task for run in stream.truth.runs}
    abandoned = {p.id for path, p in stream.execution.places.items() if "#" in path}
    reads, writes = {}, defaultdict(set)
    for event in events(stream):
        id = node_id(event)
        if kind(event) == "Node" and id in tasks and id not in abandoned and event.output_uri:
            reads[id] = _uris(storage, event.input_uri)
            if not event.is_dynamic:
                writes[id] |= _uris(storage, event.output_uri) - reads[id]
    for id in reads:  # what a dynamic task wrote itself names it in its path
        if any(_is(e, "DYNAMIC_RUNNING") for e in events(stream, id)):
            own = f"/{stream.execution.name}-{id}-".encode()
            everything = set().union(*reads.values())
            writes[id] |= {uri for uri in everything if re.search(own + rb"\d+/", uri)}
    for reader, read in reads.items():
        for writer, written in writes.items():
            if read & written and tasks[writer] != tasks[reader]:
                yield tasks[writer], tasks[reader]


def _uris(storage: MemoryStorage, uri: str) -> set[bytes]:
    """Also those that have a name of their own."""
    try:
        content = storage.read(uri)
    except KeyError:
        return set()
    return uris(storage, uri) | set(re.findall(rb"s3://shop/\w+|s3://lake/[\w.]+", content))


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_every_task_that_was_seen_has_a_run(name: str) -> None:
    """And every run is about a task that is told; each attempt once."""
    for stream in play(name):
        runs = [(run.node, run.attempt) for run in stream.truth.runs]
        assert len(runs) == len(set(runs))
        assert {run.task for run in stream.truth.runs} == set(stream.truth.tasks)


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_admin_knows_all_that_events_know(name: str) -> None:
    """Of the graph it knows the rest as well; neither knows of failed executions."""
    for stream in play(name):
        few, all_ = stream.truth.definition_edges, stream.admin_truth.definition_edges
        assert len(few) <= len(all_)
        if stream.truth.phase != "SUCCEEDED":
            assert all_ == ()


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_the_same_seed_gives_the_same_streams(name: str) -> None:
    """Byte for byte."""
    first, second = (
        [body for stream in play(name, seed=4) for body in stream.bodies("raw", "raw")]
        for _ in range(2)
    )

    assert first == second


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_every_construct_can_be_played_with_data_inline(name: str) -> None:
    """And in all encodings."""
    for stream in play(name, inline=True):
        assert not [event for event in events(stream) if kind(event) == "Node" and event.input_uri]
        assert len(stream.bodies("v1")) == len(stream.bodies("v2")) == len(stream.requests)


# ------------------------------------------------------------------- order by graph


def short(pairs) -> set[tuple[str, str]]:
    """Edges without the modules of tasks."""
    return {(above.rpartition(".")[2], below.rpartition(".")[2]) for above, below in pairs}


DEFINED = {
    "chained_tasks": {
        ("load", "notify"), ("load", "clean"), ("notify", "clean"), ("load", "report"),
        ("clean", "report"),
    },
    "chained_sub_workflows": {
        ("load", "clean"), ("load", "start"), ("clean", "join"), ("clean", "check"),
        ("join", "notify"), ("check", "notify"), ("start", "notify"),
    },
    "chained_launch_plans": {("load", "notify")},
    "chained_branches": {("load", "join"), ("count", "join"), ("join", "notify")},
    "chained_maps": {("notify", "clean"), ("split", "clean"), ("clean", "report")},
    "chained_dynamics": {
        ("load", "each"), ("first", "each"), ("each", "report"), ("clean", "join"),
        ("join", "notify"),
    },
    "branch_nested": {("load", "count"), ("load", "clean"), ("count", "clean"), ("clean", "report@n3")},
    "sub_workflow_that_hands_on": {("load", "clean"), ("load", "report"), ("clean", "join")},
    "launch_plan": {("load", "report")},
    "signal_gate": {("load", "clean")},
    "sleep_gate": {("load", "clean"), ("load", "notify")},
    "approve_gate": {("load", "clean")},
    "dynamic": {
        ("load", "each"), ("clean", "join"), ("each", "report"), ("join", "report"),
    },
    "dynamic_nested": {
        ("load", "each"), ("prepare", "inner"), ("clean", "join"), ("inner", "finish"),
        ("join", "finish"), ("each", "report"), ("finish", "report"),
    },
    "cached_dynamic": {("load", "each"), ("each", "report")},
    "recovered_sub_workflow": set(),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINED)
def test_who_waits_for_whom_by_the_graph(name: str) -> None:
    """Through everything that is no task; only between tasks that were seen."""
    assert short(last(name).admin_truth.definition_edges) == DEFINED[name]


def test_events_alone_know_the_graphs_of_dynamic_nodes() -> None:
    """And not even those, when the one event that tells them was lost."""
    assert short(last("dynamic").truth.definition_edges) == {("clean", "join")}
    assert short(last("dynamic_nested").truth.definition_edges) == {
        ("prepare", "inner"), ("clean", "join"), ("inner", "finish"), ("join", "finish"),
    }  # fmt: skip
    assert last("dynamic_too_large").truth.definition_edges == ()
    assert last("chained_tasks").truth.definition_edges == ()


def test_a_definition_shows_places_that_nobody_saw() -> None:
    """An arm that was not taken is a place of its task."""
    stream = last("branch_on_an_input")

    assert "app.etl.join" in stream.truth.tasks
    assert "app.etl.join@n2/n2-n1" in stream.admin_truth.tasks


# ------------------------------------------------------------------------- failures


def test_what_fails_late_skips_the_rest() -> None:
    """What can still run does; what waits for the failure is skipped, and so on."""
    stream = last("fails_late")

    assert told(stream, "n3") == told(stream, "n4") == ["SKIPPED"]
    assert told(stream, "n2")[-1] == "SUCCEEDED"
    assert [run.phase for run in stream.truth.runs if run.node == "n4"] == ["SKIPPED"]


def test_a_failure_node_runs_between_failing_and_failed() -> None:
    """Under its own id; the workflow fails all the same."""
    stream = last("failure_node")

    ids = [(node_id(e) or "workflow", phase(e)) for e in events(stream) if kind(e) != "Task"]
    failing = ids.index(("workflow", "FAILING"))
    assert ids[failing + 1 :] == [
        ("fn0", "QUEUED"), ("fn0", "RUNNING"), ("fn0", "SUCCEEDED"), ("workflow", "FAILED"),
    ]  # fmt: skip
    assert "app.etl.clean_up" in stream.truth.tasks


def test_a_failure_node_that_fails_masks_the_first_error() -> None:
    """Its own error is that of the workflow."""
    stream = last("failure_node_that_fails")

    first, second = (e.error.message for e in events(stream)[-1:] + _failing(stream))
    assert first == node_event(stream, "fn0", "FAILED").error.message
    assert second == node_event(stream, "n1", "FAILED").error.message


def _failing(stream: Stream) -> list:
    return [e for e in events(stream) if kind(e) == "Workflow" and phase(e) == "FAILING"]


def test_a_sub_workflow_has_a_failure_node_of_its_own() -> None:
    """It stands inside of the node, and ends before that fails."""
    stream = last("failure_node_in_sub_workflow")

    event = node_event(stream, "n1-0-fn0")
    assert event.parent_node_metadata.node_id == "n1"
    names = [(node_id(e), phase(e)) for e in events(stream) if kind(e) == "Node"]
    assert names.index(("n1-0-fn0", "SUCCEEDED")) < names.index(("n1", "FAILED"))


def test_a_deck_hides_the_error_of_a_node() -> None:
    """Only the attempt's event still tells it."""
    stream = last("deck")

    event = node_event(stream, "n1", "FAILED")
    assert event.deck_uri.endswith("/n1/data/0/deck.html")
    assert not event.HasField("error")
    task = next(e for e in events(stream, "n1") if kind(e) == "Task" and phase(e) == "FAILED")
    assert task.error.message


def test_a_branch_without_a_match_fails() -> None:
    """No arm is seen."""
    stream = last("branch_else_fails")

    assert told(stream, "n2") == ["QUEUED", "RUNNING", "FAILED"]
    assert node_event(stream, "n2", "FAILED").error.code == "UserProvidedError"
    assert not [event for event in events(stream) if node_id(event).startswith("n2-")]


def test_only_running_nodes_are_aborted_those_inside_first() -> None:
    """A sparse event each, and the attempt before the node."""
    stream = last("aborted_beside_others")

    aborted = [
        (node_id(e), kind(e)) for e in events(stream) if phase(e) == "ABORTED" and node_id(e)
    ]
    assert aborted.index(("n1-0-dn0", "Node")) < aborted.index(("n1", "Node"))
    assert ("n1", "Task") not in aborted  # its pod is long gone
    assert aborted.index(("n3", "Task")) < aborted.index(("n3", "Node"))


# ------------------------------------------------------------------------- retries


def test_a_retried_dynamic_node_makes_its_children_again() -> None:
    """Under new ids, with a graph and a folder of each attempt."""
    stream = last("dynamic_retried")

    assert [name for name in told(stream, "n1") if name.isupper()] == [
        "QUEUED", "RUNNING", "DYNAMIC_RUNNING", "RUNNING", "DYNAMIC_RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    graphs = [e for e in events(stream, "n1") if _is(e, "DYNAMIC_RUNNING")]
    uris_ = [e.task_node_metadata.dynamic_workflow.dynamic_job_spec_uri for e in graphs]
    assert [re.search(r"/n1/data/(\d)/futures.pb", uri)[1] for uri in uris_] == ["0", "1"]
    again = node_event(stream, "n1-1-dn0")
    assert again.retry_group == "1"
    assert "/n1/data/1/dn0/" in again.output_uri
    assert told(stream, "n1-0-dn1")[-1] == "TIMED_OUT"
    assert node_event(stream, "n1").output_uri.endswith("/n1/data/1/outputs.pb")


def test_what_an_earlier_attempt_made_gives_runs_and_no_edges() -> None:
    """Its tasks are told, since they ran, but not what they read and wrote."""
    truth = last("dynamic_retried_otherwise").truth

    assert "app.etl.prepare" in truth.tasks
    assert "app.etl.prepare" not in truth.reads
    assert ("app.etl.clean", "app.etl.join") in truth.edges
    assert not [pair for pair in truth.definition_edges if "app.etl.prepare" in pair]


def test_a_retried_sub_workflow_runs_its_graph_again() -> None:
    """The node itself says nothing in between."""
    stream = last("sub_workflow_retried")

    assert told(stream, "n1") == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert told(stream, "n1-0-n1")[-1] == "FAILED"
    assert told(stream, "n1-1-n1")[-1] == "SUCCEEDED"


def test_a_retried_launch_plan_starts_another_execution() -> None:
    """Its last event names the one that counts."""
    stream = last("launch_plan_retried")

    first, second = stream.children
    assert (first.truth.phase, second.truth.phase) == ("FAILED", "SUCCEEDED")
    ids = [e.workflow_node_metadata.execution_id.name for e in events(stream, "n1")]
    assert ids == ["", first.truth.execution, second.truth.execution]


# -------------------------------------------------------------------- dynamic nodes


def graph_of(stream: Stream, node: str = "n1"):
    event = [e for e in events(stream, node) if _is(e, "DYNAMIC_RUNNING")][-1]
    return event.task_node_metadata.dynamic_workflow.compiled_workflow.primary


def test_the_graph_of_a_dynamic_node_holds_values_and_no_promises() -> None:
    """What the task was given are constants; nothing is bound to the start-node."""
    stream = last("dynamic")

    primary = graph_of(stream)
    (binding,) = next(node for node in primary.template.nodes if node.id == "dn0").inputs
    made = stream.execution.results["n0"]["o0"]
    assert binding.binding.scalar == made.scalar
    assert primary.template.id.name == "dynamic_n1"
    assert list(primary.connections.upstream["dn0"].ids) == ["start-node"]
    assert list(primary.connections.upstream["dn1"].ids) == ["dn0"]


def test_a_dynamic_task_may_write_data_itself() -> None:
    """It lies below the prefix of its own attempt, once, for all that read it."""
    stream = last("dynamic_own_data")

    nodes = {node.id: node for node in graph_of(stream).template.nodes}
    first = nodes["dn0"].inputs[0].binding.scalar.structured_dataset.uri
    second = {b.var: b.binding for b in nodes["dn1"].inputs}["y"].scalar.structured_dataset.uri
    assert first == second
    assert "/a1-n1-0/" in first
    assert ("app.etl.each", "app.etl.clean") in stream.truth.edges


def test_own_data_has_no_place_in_a_plain_graph() -> None:
    """Only a task that makes a graph can put it there."""
    node = Node("n0", Task("app.etl.read"), {"x": Written("part", Frame())})

    with pytest.raises(TypeError, match="no place"):
        simulate(Workflow("app.etl.wf", (node,)), "a1", MemoryStorage(), start=START, fast=True)


def test_a_graph_that_is_too_large_is_kept_but_not_published() -> None:
    """Admin has it; nobody else saw that the node has children."""
    stream = last("dynamic_too_large")

    assert not [e for e in events(stream) if _is(e, "DYNAMIC_RUNNING")]
    (lost,) = stream.execution.reports.lost
    assert lost.event.task_node_metadata.HasField("dynamic_workflow")
    assert set(stream.execution.closures) == {"n1"}


def test_a_dynamic_node_without_a_graph_is_a_plain_task() -> None:
    """Nothing says that it could have been more."""
    stream = last("dynamic_without_graph")

    assert [name for name in told(stream, "n1") if name.isupper()] == [
        "QUEUED", "RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    assert not any(e.is_dynamic for e in events(stream, "n1") if kind(e) == "Node")
    assert stream.truth.writes["app.etl.each"]


# ------------------------------------------------------------------------ map tasks


def test_items_that_are_told_apart_have_events_of_their_own() -> None:
    """They name the real task, and all of them the inputs of the array."""
    stream = last("map_task_told_apart")

    array = node_event(stream, "n1")
    assert array.is_parent
    assert {phase(e) for e in events(stream, "n1")} == {"QUEUED", "RUNNING", "SUCCEEDED"}
    assert {kind(e) for e in events(stream, "n1")} == {"Node"}
    items = [node_event(stream, f"n1-0-n{index}") for index in range(3)]
    assert {item.input_uri for item in items} == {array.input_uri}
    assert {item.target_entity.name for item in items} == {
        "app.etl.map_clean_6b3bd0353da5de6e84d7982921ead2b3-arraynode"
    }
    assert [item.output_uri.rpartition("/data/")[2] for item in items] == [
        f"0/{index}/0/outputs.pb" for index in range(3)
    ]


def test_an_array_makes_up_nodes_that_never_end() -> None:
    """A first event each, that tells next to nothing."""
    stream = last("map_task_told_apart")

    made_up = node_event(stream, "n1-n0", "QUEUED")
    assert told(stream, "n1-n0") == ["QUEUED"]
    assert made_up.parent_node_metadata.node_id == "n1"
    assert (made_up.spec_node_id, made_up.event_version, made_up.node_name) == ("", 0, "")


def test_an_aborted_array_makes_up_tasks() -> None:
    """Of a type and a version that no task has; the truth does not know them."""
    stream = last("map_task_aborted_told_apart")

    (task,) = [event for event in events(stream, "n1-n0") if kind(event) == "Task"]
    assert (task.task_id.name, task.task_id.version, task.task_type) == (
        "n1-n0-0", "v1", "k8s-array",
    )  # fmt: skip
    assert phase(task) == "ABORTED"
    assert "n1-n0-0" not in stream.truth.tasks


def test_below_the_top_nothing_made_up_comes_through() -> None:
    """Admin does not know the parent that such events name."""
    stream = last("map_task_in_sub_workflow_told_apart")

    assert not [e for e in events(stream) if kind(e) == "Node" and not e.spec_node_id]


@pytest.mark.parametrize("name", ["map_task_in_part", "map_task_in_part_told_apart"])
def test_an_item_that_failed_gives_nothing(name: str) -> None:
    """Flyte's Void stands in its place."""
    stream = last(name)

    items = stream.execution.results["n1"]["o0"].collection.literals
    assert [item.scalar.HasField("none_type") for item in items] == [False, True, False]


def test_too_few_items_fail_the_array() -> None:
    """Its attempt is aborted, and the node says why."""
    stream = last("map_task_failed")

    assert told(stream, "n1")[-2:] == ["aborted", "FAILED"]
    assert node_event(stream, "n1", "FAILED").error.message == "2 items failed"


def test_an_old_map_task_is_one_node_of_one_task() -> None:
    """No array, but a task whose attempt tells of its items."""
    stream = last("map_task_of_old")

    event = node_event(stream, "n1")
    assert not event.is_array
    assert event.target_entity.name
    running = next(e for e in events(stream, "n1") if kind(e) == "Task" and phase(e) == "RUNNING")
    assert running.task_type == "container_array"
    assert running.input_uri
    assert len(running.metadata.external_resources) == 3


def test_a_cached_item_keeps_the_name_of_its_maker() -> None:
    """The list holds what another execution made."""
    truth = last("map_task_with_cached_items").truth

    names = truth.writes["app.etl.map_clean_6b3bd0353da5de6e84d7982921ead2b3-arraynode"]
    assert any(name.endswith("app.etl.clean.o0") for name in names)


# ------------------------------------------------------------- cache and recovery


def test_the_cache_may_hand_out_what_the_same_execution_made() -> None:
    """Of an earlier attempt at the node around it, even."""
    stream = last("dynamic_retried_from_cache")

    (event,) = events(stream, "n1-1-dn0")
    source = event.task_node_metadata.catalog_key.source_task_execution.node_execution_id
    assert (source.execution_id.name, source.node_id) == ("a1", "n1-0-dn0")
    assert ("app.etl.clean", "app.etl.join") in stream.truth.edges


def test_a_serialized_task_says_more_of_the_cache() -> None:
    """MISS on the way, POPULATED at its end; a hit is queued before it is one."""
    first, second = play("cache_serialized")

    running, done = node_event(first, "n1", "RUNNING"), node_event(first, "n1")
    assert (running.task_node_metadata.cache_status, done.task_node_metadata.cache_status) == (1, 3)
    assert running.task_node_metadata.reservation_status == 1
    assert told(second, "n1") == ["QUEUED", "SUCCEEDED"]
    assert node_event(second, "n1").task_node_metadata.cache_status == 2


@pytest.mark.parametrize(
    ("name", "on_the_way", "at_the_end"),
    [("cache_put_failure", 0, 5), ("cache_lookup_failure", 4, 3), ("cache_overwritten", 6, 3)],
)
def test_the_cache_may_have_trouble(name: str, on_the_way: int, at_the_end: int) -> None:
    """The task ran all the same."""
    stream = last(name)

    statuses = [
        node_event(stream, "n1", p).task_node_metadata.cache_status
        for p in ("RUNNING", "SUCCEEDED")
    ]
    assert statuses == [on_the_way, at_the_end]
    assert not stream.truth.runs[1].cached


def test_a_recovered_wrapper_is_one_event() -> None:
    """Nothing inside of it is seen; a launch plan names the first child, a dynamic its graph."""
    for name in ("recovered_sub_workflow", "recovered_launch_plan", "recovered_dynamic"):
        stream = last(name)
        assert told(stream, "n1") == ["RECOVERED"]
        assert not [e for e in events(stream) if node_id(e).startswith("n1-")]

    _, child, second = play("recovered_launch_plan")
    event = node_event(second, "n1", "RECOVERED")
    assert event.workflow_node_metadata.execution_id.name == child.truth.execution
    event = node_event(last("recovered_dynamic"), "n1", "RECOVERED")
    assert event.task_node_metadata.dynamic_workflow.compiled_workflow.primary.template.nodes


# ------------------------------------------------------------------------ the rest


def test_an_artifact_is_named_where_its_interface_is_told() -> None:
    """By version 2 and FlyteAdmin everywhere; by raw events in dynamic graphs alone."""
    plain, inside = play("artifact_names")

    default = "flyte:flytesnacks.development.app.etl.app.etl.orders.o0"
    artifact = "flyte:flytesnacks.development.raw_orders"
    assert plain.guessed_truth.writes["app.etl.orders"] == (default,)
    assert inside.guessed_truth.writes["app.etl.orders"] == (artifact,)
    for truth in (plain.truth, plain.admin_truth, inside.truth):
        assert truth.writes["app.etl.orders"] == (artifact,)


def test_definitions_tell_what_tasks_are_made_of() -> None:
    """Statements, images, what is said of variables, and names of artifacts."""
    from flytelineage.testing.simulator import compile_workflow

    query = Task("app.q.query", {"o0": Frame()}, sql="select 1", docs={"o0": "All of it."})
    pod = Task("app.q.pod", {"o0": Frame()}, image="app:1", args=("a",), artifacts={"o0": "pods"})
    closure = compile_workflow(Workflow("app.q.wf", (Node("n0", query), Node("n1", pod))))

    templates = {task.template.id.name: task.template for task in closure.tasks}
    assert templates["app.q.query"].sql.statement == "select 1"
    assert templates["app.q.query"].interface.outputs.variables["o0"].description == "All of it."
    assert templates["app.q.pod"].container.image == "app:1"
    variable = templates["app.q.pod"].interface.outputs.variables["o0"]
    assert variable.artifact_partial_id.artifact_key.name == "pods"


def test_an_eager_task_is_known_by_labels_alone() -> None:
    """Its executions are as independent as all others."""
    main, *others = play("eager")

    assert [dict(other.labels)["eager-exec"] for other in others] == ["eager1", "eager1"]
    assert told(main, "appeagermain")[-1] == "SUCCEEDED"
    assert not main.children


def test_what_an_eager_task_returns_another_execution_made() -> None:
    """Under the name of that one."""
    (name,) = last("eager_that_returns").truth.writes["app.eager.main"]

    assert name == "flyte:flytesnacks.development..flytegen.app.etl.load.app.etl.load.o0"


def test_a_flood_has_many_events_of_few_nodes() -> None:
    """All different, made one by one; the truth is that of the stream."""
    stream = last("chain")

    requests = list(stream.flooded(1000))
    assert len(requests) == 1000
    assert len({request.SerializeToString() for request in requests}) == 1000
    assert {node_id(request.event) for request in requests} == {
        node_id(event) for event in events(stream)
    }
    bodies = stream.encoded(stream.flooded(10**9), "raw", "raw")
    assert next(bodies)


def test_ten_thousand_tasks_are_quick() -> None:
    """Nothing grows faster than the number of nodes, neither wide nor long nor inside."""
    load = Task("app.etl.load", {"o0": Frame()})
    nodes = [Node("first", load)]
    nodes += [Node(f"n{at}", load, {"x": Output("first")}) for at in range(5_000)]
    nodes += [
        Node(f"m{at}", load, {"x": Output(f"m{at - 1}" if at else "first")}) for at in range(5_000)
    ]
    stream = simulate(
        Workflow("app.etl.wide", tuple(nodes)), "a1", MemoryStorage(), start=START, fast=True
    )

    assert len(stream.truth.runs) == 10_001
    assert len(stream.admin_truth.definition_edges) == 10_000
