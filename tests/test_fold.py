from __future__ import annotations

import json
from datetime import timedelta

import pytest
from flyteidl.core import catalog_pb2, compiler_pb2, execution_pb2, identifier_pb2, literals_pb2
from flyteidl.event import cloudevents_pb2, event_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from flytelineage.entities import ErrorInfo, ExecutionId, Link
from flytelineage.events import decode
from flytelineage.facts import Identifier, Literals
from flytelineage.fold import MAX_LINKS, fold
from tests.factories import (
    EXECUTION,
    NOW,
    answer_body,
    decoded,
    execution_answer,
    execution_id,
    node_request,
    task_id,
    task_request,
    workflow_request,
)

LATER = NOW + timedelta(hours=1)
TASK = Identifier("shop", "production", "app.etl.load", "v1")


def facts(*requests):
    return fold(EXECUTION, map(decoded, requests))


def log(name, uri):
    return execution_pb2.TaskLog(name=name, uri=uri)


def hit():
    source = identifier_pb2.TaskExecutionIdentifier(
        task_id=task_id(),
        node_execution_id=identifier_pb2.NodeExecutionIdentifier(
            node_id="n3", execution_id=execution_id("older")
        ),
    )
    return event_pb2.TaskNodeMetadata(
        cache_status=catalog_pb2.CACHE_HIT,
        catalog_key=catalog_pb2.CatalogMetadata(source_task_execution=source),
    )


STREAM = [
    workflow_request("RUNNING", at=1),
    node_request("start-node", at=2, output_uri="s3://b/start/inputs.pb"),
    node_request("n0", "QUEUED", at=3, input_uri="s3://b/n0/inputs.pb", target_entity=task_id()),
    node_request("n0", "RUNNING", at=4, input_uri="s3://b/n0/inputs.pb", target_entity=task_id()),
    task_request("n0", "RUNNING", at=5, phase_version=0, task_type="python-task"),
    task_request("n0", "RUNNING", at=6, phase_version=1, logs=[log("a", "http://a")]),
    task_request("n0", "FAILED", at=7, error=execution_pb2.ExecutionError(code="OOM", kind=1)),
    task_request("n0", "RUNNING", at=8, attempt=1, logs=[log("b", "http://b")]),
    task_request("n0", "SUCCEEDED", at=9, attempt=1, output_uri="s3://b/n0/1/outputs.pb"),
    node_request(
        "n0", at=10, output_uri="s3://b/n0/1/outputs.pb", target_entity=task_id(), deck_uri="s3://d"
    ),
    node_request("n1", at=11, task_node_metadata=hit(), target_entity=task_id("app.etl.clean")),
    node_request("end-node", at=12, input_uri="s3://b/end/inputs.pb"),
    workflow_request("SUCCEEDING", at=13),
    workflow_request("SUCCEEDED", at=14, output_uri="s3://b/end/outputs.pb"),
]


def test_an_execution_from_its_events():
    """Phases, times, inputs and outputs come out of the events that say them."""
    found = facts(*STREAM)

    assert (found.phase, found.started_at, found.ended_at) == (
        "SUCCEEDED",
        NOW + timedelta(seconds=1),
        NOW + timedelta(seconds=14),
    )
    assert found.outputs == Literals(uri="s3://b/end/outputs.pb")
    assert list(found.nodes) == ["end-node", "n0", "n1", "start-node"]
    n0 = found.nodes["n0"]
    assert (n0.task, n0.inputs, n0.outputs) == (
        TASK,
        Literals(uri="s3://b/n0/inputs.pb"),
        Literals(uri="s3://b/n0/1/outputs.pb"),
    )
    assert (n0.queued_at, n0.started_at, n0.ended_at) == tuple(
        NOW + timedelta(seconds=second) for second in (3, 4, 10)
    )


def test_attempts_are_kept_apart():
    """A retried task is one node with an attempt for each try."""
    first, second = facts(*STREAM).nodes["n0"].attempts

    assert (first.number, first.phase, first.links) == (
        0,
        "FAILED",
        (Link(name="a", url="http://a"),),
    )
    assert first.error == ErrorInfo(kind="user", code="OOM")
    assert (second.number, second.phase, second.links) == (
        1,
        "SUCCEEDED",
        (Link(name="b", url="http://b"),),
    )


def test_a_cache_hit_names_its_origin():
    n1 = facts(*STREAM).nodes["n1"]

    assert n1.cache_status == "CACHE_HIT"
    assert n1.origin is not None
    assert (n1.origin.node, n1.origin.execution) == (
        "n3",
        ExecutionId(project="shop", domain="production", name="older"),
    )


def test_the_end_of_a_node_outranks_a_later_time():
    """Clocks of the producers differ: how far the phase had come decides, not the time."""
    found = facts(node_request(phase="SUCCEEDED", at=10), node_request(phase="RUNNING", at=99))

    assert found.nodes["n0"].phase == "SUCCEEDED"
    assert found.nodes["n0"].ended_at == NOW + timedelta(seconds=10)


def test_flags_hold_once_they_were_set():
    """`is_parent` of a dynamic node stands on a single event."""
    found = facts(
        node_request(phase="DYNAMIC_RUNNING", is_parent=True, is_dynamic=True), node_request(at=90)
    )

    assert found.nodes["n0"].is_parent
    assert found.nodes["n0"].is_dynamic


def test_a_node_known_only_by_its_task():
    found = facts(task_request("n7"))

    assert not found.nodes["n7"].terminal
    assert found.nodes["n7"].attempts[0].task == TASK


def inline(**variables):
    literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
    return literals_pb2.LiteralMap(literals=dict.fromkeys(variables, literal))


def test_inline_inputs_come_with_the_queued_event():
    """Later events carry an empty map, which says nothing."""
    found = facts(
        node_request(phase="QUEUED", input_data=inline(x=1)),
        node_request(phase="SUCCEEDED", input_data=inline(), output_data=inline(o0=1)),
    )

    n0 = found.nodes["n0"]
    assert n0.inputs == Literals(inline=inline(x=1).SerializeToString())
    assert n0.outputs == Literals(inline=inline(o0=1).SerializeToString())


@pytest.mark.parametrize(
    ("taken", "began"),
    [({}, None), ({"task_node_metadata": hit()}, 9), ({"phase": "RECOVERED"}, 9)],
)
def test_when_a_node_began_of_which_only_the_end_was_seen(taken, began):
    """One that ran began before; what was over by its end may have come after it."""
    found = facts(node_request("n0", at=9, **taken)).nodes["n0"]

    assert found.queued_at == (began and NOW + timedelta(seconds=began))


def test_what_an_event_carried_goes_before_a_place_to_read_it():
    """FlyteAdmin names places of its own, which may be closed to us."""
    carried = literals_pb2.LiteralMap(literals={"x": literals_pb2.Literal(hash="h")})
    found = facts(
        node_request("n0", "QUEUED", at=1, input_data=carried),
        node_request("n0", at=2, output_data=carried),
        node_request("n0", at=3, input_uri="s3://b/in.pb", output_uri="s3://b/n0/1/out.pb"),
    ).nodes["n0"]

    assert found.inputs == found.outputs == Literals(inline=carried.SerializeToString())
    assert found.attempt == 1


def test_an_empty_inline_map_is_known_only_where_it_is_carried():
    """A cache hit goes straight to SUCCEEDED: its inputs stay unknown."""
    queued = facts(node_request(phase="QUEUED", input_data=inline()))
    cached = facts(node_request(phase="SUCCEEDED", input_data=inline()))

    assert queued.nodes["n0"].inputs == Literals()
    assert cached.nodes["n0"].inputs is None


def test_links_are_bounded():
    logs = [log(f"{number:05}", f"http://{number}") for number in range(MAX_LINKS + 50)]

    found = facts(task_request(logs=logs[100:]), task_request(logs=logs[:100], phase_version=1))

    links = found.nodes["n0"].attempts[0].links
    assert [link.name for link in links] == [f"{number:05}" for number in range(MAX_LINKS)]


def enriched(request):
    """The same fact as a CloudEvent of version 2."""
    kind = type(request.event).__name__.removesuffix("Event").removesuffix("Execution")
    around = getattr(cloudevents_pb2, f"CloudEvent{kind}Execution")(raw_event=request.event)
    if kind == "Workflow" and request.event.phase == 4:
        around.launch_plan_id.CopyFrom(
            identifier_pb2.Identifier(
                resource_type=identifier_pb2.LAUNCH_PLAN, name="app.etl.main", version="v9"
            )
        )
        around.principal = "ada"
        around.labels["team"] = "data"
    return decode(json_format.MessageToJson(around, indent=None), received_at=LATER)


def test_two_encodings_are_one_fact():
    """Raw and enriched events of the same facts add what only one of them says."""
    raw = [decoded(request) for request in STREAM]
    both = [*raw, *map(enriched, STREAM)]

    found, alone = fold(EXECUTION, both), fold(EXECUTION, raw)

    assert found.launch_plan == Identifier("", "", "app.etl.main", "v9")
    assert (found.principal, found.labels) == ("ada", {"team": "data"})
    assert found.nodes == alone.nodes


EVENTS = [*(decoded(request) for request in STREAM), *map(enriched, STREAM)]


@given(st.permutations(EVENTS), st.lists(st.sampled_from(EVENTS), max_size=20))
def test_order_and_repeats_change_nothing(shuffled, repeated):
    """Any permutation of the messages, with any repeats, gives the same facts."""
    assert fold(EXECUTION, [*shuffled, *repeated]) == fold(EXECUTION, EVENTS)


@given(st.lists(st.sampled_from(EVENTS), min_size=1), st.randoms())
def test_part_of_a_stream_folds_alike_in_any_order(some, random):
    shuffled = list(some)
    random.shuffle(shuffled)

    assert fold(EXECUTION, shuffled) == fold(EXECUTION, some)


def test_a_conflict_goes_to_the_later_event():
    """One natural key, two contents: the greater of the times decides, in any order."""
    older = decoded(node_request(at=10, node_name="old"))
    newer = decoded(node_request(at=11, node_name="new"))

    for events in ([older, newer], [newer, older]):
        assert fold(EXECUTION, events).nodes["n0"].name == "new"


@pytest.mark.parametrize("field", ["cache_status", "task", "launch_plan"])
def test_what_no_event_says_is_unknown(field):
    assert not getattr(facts(node_request()).nodes["n0"], field)


def test_json_of_an_unknown_field_is_read():
    """A newer Flyte may add fields to its CloudEvents."""
    data = json.loads(json_format.MessageToJson(node_request()))
    data["event"]["fieldOfTheFuture"] = {"a": 1}

    event = decode(json.dumps(data), received_at=LATER)

    assert fold(EXECUTION, [event]).nodes["n0"].succeeded


def answered(answer):
    return decode(answer_body(answer), received_at=LATER)


class TestAnswers:
    def test_answer_names_the_workflow_and_who_ran_it(self):
        """What events do not say, and only FlyteAdmin knows."""
        found = fold(EXECUTION, [decoded(workflow_request(at=30)), answered(execution_answer())])

        assert found.workflow == Identifier("shop", "production", "app.etl.pipeline", "v1")
        assert (found.launch_plan.name, found.principal) == ("app.etl.nightly", "ada")
        assert (found.labels, found.answer.mode) == ({"team": "data"}, "SCHEDULED")
        assert found.answer.scheduled_at == NOW - timedelta(seconds=10)

    def test_answer_says_nothing_of_times_and_phases(self):
        """Executions would change places if asking moved their start."""
        found = fold(EXECUTION, [decoded(workflow_request(at=30)), answered(execution_answer())])

        assert found.started_at == NOW + timedelta(seconds=30)
        assert fold(EXECUTION, [answered(execution_answer())]).phase == "UNDEFINED"

    def test_newest_answer_holds(self):
        """Labels can change while an execution runs."""
        older, newer = execution_answer(at=10), execution_answer(at=90)
        newer.spec.metadata.principal = "grace"

        for order in ([older, newer], [newer, older]):
            assert fold(EXECUTION, map(answered, order)).principal == "grace"


def graph(attempt, name):
    compiled = compiler_pb2.CompiledWorkflowClosure()
    compiled.primary.template.id.name = name
    found = event_pb2.DynamicWorkflowNodeMetadata(
        compiled_workflow=compiled,
        dynamic_job_spec_uri=f"s3://b/meta/n0/data/{attempt}/futures.pb",
    )
    return event_pb2.TaskNodeMetadata(dynamic_workflow=found)


class TestAttemptsOfNodes:
    @pytest.mark.parametrize("order", [(0, 1, 10), (10, 1, 0), (1, 10, 0)])
    def test_graph_of_the_last_attempt_is_kept(self, order):
        """A retried dynamic node makes its graph anew."""
        at = {0: 50, 1: 40, 10: 30}  # clocks do not decide
        events = [
            node_request(
                "n0", "DYNAMIC_RUNNING", at=at[n], task_node_metadata=graph(n, f"graph{n}")
            )
            for n in order
        ]

        found = facts(*events).nodes["n0"]

        assert (found.closure.attempt, found.is_dynamic) == (10, True)
        assert b"graph10" in found.closure.compiled

    @pytest.mark.parametrize(
        ("uri", "attempt"),
        [
            ("s3://b/p-d-x/n0/data/3/outputs.pb", 3),
            ("s3://b/p-d-x/n4/data/0/n0/1/outputs.pb", 1),
            ("s3://b/outputs.pb", None),
        ],
    )
    def test_folder_of_the_outputs_says_which_attempt_wrote_them(self, uri, attempt):
        """Zero is an answer too."""
        assert facts(node_request("n0", output_uri=uri)).nodes["n0"].attempt == attempt


class TestMadeUpElements:
    """Array nodes of event version 1 queue and abort elements under ids that they make up."""

    def test_node_that_stands_for_no_element_is_left_out(self):
        """It never ends, and the element's own events name another id."""
        found = facts(
            node_request("n1", "RUNNING", is_array=True),
            node_request("n1-n0", "QUEUED", spec_node_id=""),
            node_request("n1-0-n0", spec_node_id="n0"),
        )

        assert set(found.nodes) == {"n1", "n1-0-n0"}

    def test_task_that_does_not_exist_is_left_out(self):
        """Its name is the made-up node's with the attempt behind it."""
        made_up = task_id("n1-n0-0")

        found = facts(
            node_request("n1", is_array=True),
            task_request("n1-n0", "ABORTED", task_id=made_up, task_type="k8s-array"),
        )

        assert set(found.nodes) == {"n1"}

    def test_inside_of_a_sub_workflow_they_stand_at_the_top(self):
        """There the array goes by its spec id, whose node at the top is another one."""
        found = facts(
            node_request("n0"),
            node_request("n1-0-n0", "RUNNING", is_array=True, spec_node_id="n0"),
            node_request("n0-n0", "QUEUED", spec_node_id=""),
        )

        assert set(found.nodes) == {"n0", "n1-0-n0"}

    def test_other_nodes_may_have_such_ids(self):
        """Only below an array is one made up."""
        assert set(facts(node_request("n1"), node_request("n1-n0", "QUEUED")).nodes) == {
            "n1", "n1-n0",
        }  # fmt: skip


def test_an_attempt_ran_one_task():
    """Two runs of one attempt would be one run told twice."""
    other = task_request("n0", "RUNNING", task_id=task_id("app.etl.a"), attempt=0)

    found = facts(node_request("n0"), task_request("n0", "RUNNING", attempt=0), other)

    assert [attempt.task.name for attempt in found.nodes["n0"].attempts] == ["app.etl.load"]


def test_old_flyte_names_the_dynamic_node_around_by_its_task():
    """Before event version 1 there is no other word of what is around a node."""
    around = event_pb2.ParentTaskExecutionMetadata(
        id=identifier_pb2.TaskExecutionIdentifier(
            node_execution_id=identifier_pb2.NodeExecutionIdentifier(
                node_id="n2", execution_id=execution_id()
            )
        )
    )

    found = facts(node_request("n2-0-dn0", spec_node_id="", parent_task_metadata=around))

    assert found.nodes["n2-0-dn0"].parent == "n2"
