from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from flyteidl.core import interface_pb2

from flytelineage.console import Console
from flytelineage.definitions import read_closure
from flytelineage.entities import (
    IO,
    DatasetId,
    Edge,
    ErrorInfo,
    Evidence,
    ExecutionId,
    PipelineId,
    RunId,
)
from flytelineage.facts import Answer, AttemptFacts, Closure, Facts, Identifier, NodeFacts, Origin
from flytelineage.flow import Collected, Read
from flytelineage.lineage import Rules, build_lineage, pipeline_key
from flytelineage.literals import Reference
from flytelineage.structure import missing_events, outcome
from tests.compiled import compiled, promise, task
from tests.factories import EXECUTION, NOW

PIPELINE = PipelineId(project="shop", domain="production", name="app.etl")
OTHER = ExecutionId(project="shop", domain="production", name="older")


def at(second):
    return NOW + timedelta(seconds=second)


def node(id, task="", *, phase="SUCCEEDED", end=10, **fields):
    identifier = Identifier("shop", "production", f"app.etl.{task}", "v1") if task else None
    return NodeFacts(
        id=id,
        **{
            "spec_id": id,
            "phase": phase,
            "queued_at": at(end - 5),
            "ended_at": at(end),
            "task": identifier,
            **fields,
        },
    )


def facts(*nodes, phase="SUCCEEDED", **fields):
    every = [node("start-node", end=1), *nodes]
    return Facts(
        EXECUTION,
        **{
            "phase": phase,
            "started_at": at(0),
            "ended_at": at(60),
            "nodes": {one.id: one for one in every},
            **fields,
        },
    )


def raw(owner, number=0, execution="a1b2"):
    return f"s3://bucket/data/x9/{execution}-{owner}-0/{number:032x}"


def holds(**variables):
    return Read(
        tuple(
            Reference(variable=name, path=(), uri=uri, kind="structured dataset")
            for name, uri in variables.items()
        )
    )


def collected(inputs=None, outputs=None, **fields):
    return Collected(
        **{
            "pipeline": PIPELINE,
            "name_source": "guessed",
            "inputs": inputs or {},
            "outputs": outputs or {},
            **fields,
        }
    )


def build(found, inputs=None, outputs=None, *, rules=None, **fields):
    leaves = [id for id in found.nodes if id != "start-node"]
    return build_lineage(
        found,
        collected(
            {**dict.fromkeys(leaves, Read()), **(inputs or {})},
            {**dict.fromkeys(leaves, Read()), **(outputs or {})},
            **fields,
        ),
        rules or Rules(),
    )


def waits(built):
    """What each task waits for, and what says so."""
    return {
        task.id.local.removeprefix("app.etl."): {
            edge.task.local.removeprefix("app.etl."): "+".join(edge.evidence)
            for edge in task.io.upstream
        }
        for task in built.lineage.tasks
        if task.io and task.io.upstream
    }


def definition(*nodes, **more):
    """The compiled workflow whose nodes run tasks of their names."""
    return read_closure(compiled(*nodes, **more))


def io_of(built):
    """What each task reads, writes and waits for, in short."""
    return {
        task.id.local.removeprefix("app.etl."): (
            [str(edge.dataset) for edge in task.io.inputs],
            [str(edge.dataset) for edge in task.io.outputs],
            [edge.task.local.removeprefix("app.etl.") for edge in task.io.upstream],
        )
        if task.io
        else None
        for task in built.lineage.tasks
    }


def flyte(task, variable="o0"):
    return f"flyte:shop.production.app.etl.app.etl.{task}.{variable}"


LOAD_CLEAN = facts(node("n0", "load", end=10), node("n1", "clean", end=20))


def test_the_same_uri_written_and_read_is_an_edge():
    built = build(
        LOAD_CLEAN,
        {"n0": holds(path="s3://lake/sales/"), "n1": holds(df=raw("n0"))},
        {"n0": holds(o0=raw("n0")), "n1": holds(o0=raw("n1"))},
    )

    assert io_of(built) == {
        "load": (["s3:lake/sales"], [flyte("load")], []),
        "clean": ([flyte("load")], [flyte("clean")], ["load"]),
    }
    assert built.lineage.tasks[0].io.inputs[0] == Edge(
        dataset=DatasetId(platform="flyte", name="shop.production.app.etl.app.etl.load.o0"),
        evidence=(Evidence.DATA,),
        variables=("df",),
    )
    assert not built.lineage.partial
    assert built.waiting == frozenset()


def test_what_a_task_was_given_it_did_not_write():
    """A task may return its input: the data stays the first one's."""
    built = build(
        facts(node("n0", "load"), node("n1", "show", end=20), node("n2", "use", end=30)),
        {"n1": holds(df=raw("n0")), "n2": holds(df=raw("n0"))},
        {"n0": holds(o0=raw("n0")), "n1": holds(o0=raw("n0"))},
    )

    assert io_of(built) == {
        "load": ([], [flyte("load")], []),
        "show": ([flyte("load")], [], ["load"]),
        "use": ([flyte("load")], [], ["load"]),
    }


def test_unknown_inputs_leave_the_writer_open():
    """A task whose inputs could not be read wrote only what its own path names."""
    built = build(
        facts(node("n0", "load"), node("n1", "show", end=20)),
        {"n1": Read(problems=("denied",))},
        {"n0": holds(o0=raw("n0")), "n1": holds(o0=raw("n0"), o1=raw("n1", 1))},
    )

    assert io_of(built)["show"] == ([], [flyte("show", "o1")], [])
    assert not next(t for t in built.lineage.tasks if t.name.endswith("show")).io.complete
    assert built.lineage.incomplete == ("inputs of n1: denied",)


def test_a_task_at_two_nodes_is_two_entities():
    built = build(
        facts(node("n0", "load"), node("n1", "load", end=20), node("n2", "join", end=30)),
        {"n2": holds(a=raw("n0"), b=raw("n1", 1))},
        {"n0": holds(o0=raw("n0")), "n1": holds(o0=raw("n1", 1))},
    )

    assert io_of(built) == {
        "load@n0": ([], [flyte("load@n0")], []),
        "load@n1": ([], [flyte("load@n1")], []),
        "join": ([flyte("load@n0"), flyte("load@n1")], [], ["load@n0", "load@n1"]),
    }
    assert built.places == {"app.etl.load": True, "app.etl.join": False}


def test_places_are_remembered_and_the_bare_id_is_retired_once():
    """Once a task stood at several nodes its bare id is told empty, then never."""
    built = build(
        facts(node("n0", "load")),
        {},
        {"n0": holds(o0=raw("n0"))},
        multiple=frozenset({"app.etl.load"}),
        retire=frozenset({"app.etl.load"}),
    )

    bare, placed = built.lineage.tasks
    assert (bare.id.local, bare.retired, bare.io) == ("app.etl.load", True, IO())
    assert (placed.id.local, placed.retired) == ("app.etl.load@n0", False)


def test_data_of_others_is_looked_up_or_waited_for():
    """Raw output says by its path that Flyte wrote it, but not under which name."""
    known, unknown = raw("n0", 1, "older"), raw("n1", 2, "older")
    name = DatasetId(platform="flyte", name="shop.production.app.first.app.first.load.o0")

    built = build(
        facts(node("n0", "use")),
        {"n0": holds(a=known, b=unknown)},
        {},
        locations={known: name},
    )

    task = built.lineage.tasks[0]
    assert [edge.dataset for edge in task.io.inputs] == [name]
    assert not task.io.complete
    assert built.waiting == {unknown}
    assert not built.lineage.partial


def test_own_data_without_a_writer_means_that_events_are_missing():
    built = build(facts(node("n1", "use")), {"n1": holds(df=raw("n0"))}, {})

    assert built.lineage.partial
    assert io_of(built) == {"use": ([], [], [])}


def cached(origin=OTHER, **fields):
    return node("n0", "load", cache_status="CACHE_HIT", origin=Origin(origin, "n0"), **fields)


OLD = raw("n0", 7, "older")


def test_a_cache_hit_keeps_its_edges():
    """The data has the name that its origin registered; it is confirmed, not written."""
    name = DatasetId(platform="flyte", name="shop.production.app.etl.app.etl.load.o0")

    built = build(
        facts(cached(), node("n1", "use", end=20)),
        {"n1": holds(df=OLD)},
        {"n0": holds(o0=OLD)},
        locations={OLD: name},
    )

    assert io_of(built) == {
        "load": ([], [flyte("load")], []),
        "use": ([flyte("load")], [], ["load"]),
    }
    dataset = built.lineage.datasets[0]
    assert (dataset.operation.kind, dataset.properties) == ("confirm", None)
    assert built.written == {}


def test_the_run_of_a_cache_hit_says_where_its_outputs_are_from():
    """One that ran itself says nothing of the kind."""
    built = build(
        facts(cached(), node("n1", "use", end=20)), {"n1": holds(df=OLD)}, {"n0": holds(o0=OLD)}
    )

    custom = {run.node: run.custom for run in built.lineage.runs if run.node}
    assert custom == {"n0": {"cached_from": f"{OTHER}/n0"}, "n1": None}


def test_what_was_recovered_is_described():
    """The execution that wrote it failed, and so told nothing of its data."""
    name = DatasetId(platform="flyte", name="shop.production.app.etl.app.etl.load.o0")

    built = build(
        facts(node("n0", "load", phase="RECOVERED")),
        {},
        {"n0": holds(o0=OLD)},
        locations={OLD: name},
    )

    (dataset,) = built.lineage.datasets
    assert (dataset.operation.kind, dataset.properties.name) == ("confirm", "load.o0")
    assert [reference.uri for reference in built.written[name]] == [OLD]


def test_a_cache_hit_waits_for_an_origin_that_was_seen():
    built = build(facts(cached()), {}, {"n0": holds(o0=OLD)}, seen=frozenset({OTHER}))

    assert built.waiting == {OLD}
    assert OLD not in built.locations


def test_a_cache_hit_names_what_nobody_else_can():
    built = build(facts(cached()), {}, {"n0": holds(o0=OLD)})

    assert str(built.locations[OLD]) == flyte("load")
    assert io_of(built) == {"load": ([], [flyte("load")], [])}


def test_a_cache_hit_with_unknown_inputs_has_what_its_origin_wrote():
    """Inline, a hit comes without inputs; what it was given itself it still did not write."""
    given = raw("n5", 8, "older")

    built = build(facts(cached()), {"n0": Read((), ("unknown",))}, {"n0": holds(o0=OLD, o1=given)})

    assert io_of(built) == {"load": ([], [flyte("load")], [])}
    assert not built.lineage.tasks[0].io.complete


def test_writers_of_one_path_are_told_apart_by_time():
    """Of two tasks that wrote one URI, the one that was done is upstream."""
    shared = "s3://lake/out"
    built = build(
        facts(
            node("n0", "first", end=10),
            node("n1", "use", end=20),
            node("n2", "second", end=30),
        ),
        {"n1": holds(df=shared)},
        {"n0": holds(o0=shared), "n2": holds(o0=shared)},
    )

    assert io_of(built)["use"] == (["s3:lake/out"], [], ["first"])
    assert io_of(built)["second"] == ([], ["s3:lake/out"], [])


def test_who_writes_after_a_task_began_is_not_upstream_of_it():
    """A table that is read, and written anew by the task behind: no circle."""
    table = "s3://lake/state"
    built = build(
        facts(node("n0", "read", end=10), node("n1", "update", end=20)),
        {"n0": holds(df=table), "n1": holds(df=raw("n0"))},
        {"n0": holds(o0=raw("n0")), "n1": holds(o0=table)},
    )

    assert io_of(built) == {
        "read": (["s3:lake/state"], [flyte("read")], []),
        "update": ([flyte("read")], ["s3:lake/state"], ["read"]),
    }


ANSWER = Answer(Identifier("shop", "production", "app.wf", "v1"), "MANUAL", None, None, None)
UNREAD = {
    "FlyteAdmin gave no graph": (facts(node("n1", "b"), answer=ANSWER), None),
    "the node before it was not seen": (
        facts(node("n1", "b")),
        definition(task("n0"), task("n1", ["n0"])),
    ),
}


@pytest.mark.parametrize("case", UNREAD)
def test_who_waits_for_whom_is_not_all_where_something_is_missing(case):
    """Told as a whole, it would take away what other executions told."""
    found, defined = UNREAD[case]

    built = build(found, definition=defined)

    assert not any(task.io.complete for task in built.lineage.tasks)


def test_dependencies_too_many_to_be_told_are_not_all(monkeypatch):
    monkeypatch.setattr("flytelineage.dependencies.MAX_DEPENDENCIES", 0)

    built = build(
        facts(node("n0", "a"), node("n1", "b")),
        definition=definition(task("n0"), task("n1", ["n0"])),
    )

    assert not any(task.io.complete for task in built.lineage.tasks)


def test_of_two_that_the_cache_gave_the_same_the_workflow_names_the_one():
    """From events alone both may have handed it on."""
    hit = {"cache_status": "CACHE_HIT", "origin": Origin(OTHER, "n0")}
    piece = raw("n0", execution="older")
    found = facts(node("n0", "a", **hit), node("n1", "b", **hit), node("n2", "c", end=30))
    outputs = dict.fromkeys(("n0", "n1"), holds(o0=piece))
    bound = definition(task("n0"), task("n1"), task("n2", x=promise("n1")))

    alone = build(found, {"n2": holds(x=piece)}, outputs)
    known = build(found, {"n2": holds(x=piece)}, outputs, definition=bound)

    assert waits(alone) == {"c": {"a": "data", "b": "data"}}
    assert waits(known) == {"c": {"b": "data+definition"}}


def test_nobody_waits_for_an_end_node():
    assert missing_events(facts(node("end-node", phase="QUEUED", ended_at=None))) == []


def test_more_edges_than_can_be_told_are_unknown(monkeypatch):
    """Two who wrote a place and two who read it are four edges; of too many none is told."""
    monkeypatch.setattr("flytelineage.flow.MAX_EDGES", 3)
    found = facts(
        *(node(id, id, end=end) for id, end in zip("abcd", (10, 10, 20, 20), strict=True))
    )
    inputs = dict.fromkeys("cd", holds(x="s3://b/k"))
    outputs = dict.fromkeys("ab", holds(o0="s3://b/k"))

    built = build(found, inputs, outputs)

    assert waits(built) == {}
    assert not any(task.io.complete for task in built.lineage.tasks)
    assert built.lineage.incomplete == ("more tasks wrote and read the same data than can be told",)


def test_the_newest_write_of_a_dataset_is_told():
    """Not that of the last node in node order."""
    built = build(
        facts(node("n0", "late", end=30), node("n1", "early", end=20)),
        {},
        {"n0": holds(o0="s3://lake/out"), "n1": holds(o0="s3://lake/out")},
    )

    (dataset,) = built.lineage.datasets
    assert (dataset.operation.at, dataset.operation.run.node) == (at(30), "n0")


def test_data_that_was_returned_twice_is_described_once():
    twice = facts(node("n0", "load"), node("n1", "clean"))
    table, output = "s3://lake/orders", raw("n0")
    outputs = {"n0": holds(o0=output, o1=output, o2=table), "n1": holds(o0=f"{table}/")}

    built = build(twice, {}, outputs)

    assert {
        str(id): [reference.uri for reference in references]
        for id, references in built.written.items()
    } == {flyte("load"): [output], "s3:lake/orders": [table]}


def test_a_uri_that_names_nothing_leaves_the_io_open():
    """The other edges are told; what it may be stays unknown."""
    inputs = {"n0": holds(broken="s3://", table="s3://lake/orders")}

    built = build(facts(node("n0", "load")), inputs, {})

    assert io_of(built) == {"load": (["s3:lake/orders"], [], [])}
    assert not built.lineage.tasks[0].io.complete


def test_wrappers_neither_read_nor_write():
    """A sub-workflow's node holds copies of what its children wrote."""
    found = facts(
        node("n0", is_parent=True, end=20),
        node("n0-0-n0", "load", parent="n0", spec_id="n0"),
        node("n1", "use", end=30),
    )
    data = raw("n0-0-n0")

    built = build(
        found,
        {"n1": holds(df=data)},
        {"n0": holds(o0=data), "n0-0-n0": holds(o0=data)},
    )

    assert io_of(built) == {
        "load": ([], [flyte("load")], []),
        "use": ([flyte("load")], [], ["load"]),
    }


def test_a_retry_group_that_is_no_number_is_that_of_the_first_attempt():
    """It is a text, and Python refuses to read long numbers."""
    child = node("n0-0-dn0", "load", parent="n0", retry_group="1" * 5000)

    built = build(facts(node("n0", "fan", is_dynamic=True, attempt=0), child))

    assert "load" in io_of(built)


def test_children_of_an_earlier_attempt_give_no_edges():
    """A parent that is tried again makes its children anew; the earlier ones only ran."""
    inner = {"parent": "n0", "spec_id": "dn0"}
    found = facts(
        node("n0", is_parent=True, end=40),
        node("n0-0-dn0", "load", retry_group="0", **inner),
        node("n0-0-dn0-0-n0", "deep", parent="n0-0-dn0", retry_group="0", spec_id="n0"),
        node("n0-1-dn0", "fetch", retry_group="1", end=30, **inner),
    )

    built = build(
        found,
        {"n0-0-dn0": holds(x="s3://lake/a"), "n0-0-dn0-0-n0": holds(x="s3://lake/b")},
        {"n0-1-dn0": holds(o0=raw("n0-1-dn0"))},
    )

    assert io_of(built) == {"deep": None, "load": None, "fetch": ([], [flyte("fetch")], [])}
    assert len(built.lineage.runs) == 4


def test_a_failed_execution_tells_runs_but_no_edges():
    built = build(
        facts(node("n0", "load"), node("n1", "clean", phase="FAILED"), phase="FAILED"),
        {},
        {"n0": holds(o0=raw("n0"))},
        pipeline_known=True,
    )

    assert io_of(built) == {"load": None, "clean": None}
    assert built.lineage.datasets == ()
    assert raw("n0") in built.locations
    assert pipeline_key(PIPELINE) not in built.locations
    assert [run.phase for run in built.lineage.runs] == ["FAILED", "SUCCEEDED", "FAILED"]


def test_a_failed_execution_waits_until_its_guessed_pipeline_is_known():
    built = build(facts(node("n0", "load"), phase="FAILED"), {}, {})

    assert list(built.lineage.entities()) == []
    assert built.locations == {}
    assert built.waiting == {pipeline_key(PIPELINE)}


def test_a_successful_execution_makes_its_pipeline_known():
    assert build(facts(node("n0", "load")), {}, {}).locations == {pipeline_key(PIPELINE): None}


def test_an_execution_that_still_runs_tells_only_that():
    """It names nothing: what it has shown so far may not be what names it."""
    found = facts(node("n0", "load"), phase="RUNNING", ended_at=None)

    built = build(found, {}, {"n0": holds(o0=raw("n0"))}, pipeline_known=True)

    assert [run.phase for run in built.lineage.runs] == ["RUNNING"]
    assert (built.lineage.tasks, built.lineage.datasets) == ((), ())
    assert (built.locations, built.places) == ({}, {})


def test_an_execution_without_a_name_tells_nothing():
    built = build_lineage(facts(), Collected())

    assert list(built.lineage.entities()) == []
    assert built.waiting == frozenset()


def test_runs_of_attempts():
    """The node decides how its last attempt ended; an earlier one speaks for itself."""
    task = Identifier("shop", "production", "app.etl.load", "v1")
    attempts = (
        AttemptFacts(0, task, phase="FAILED", started_at=at(3), ended_at=at(4)),
        AttemptFacts(1, task, phase="RUNNING", started_at=at(5)),
    )
    built = build(
        facts(node("n0", "load", attempts=attempts), node("n1", "use", end=20)),
        {"n1": holds(df=raw("n0"))},
        {"n0": holds(o0=raw("n0"))},
    )

    whole, first, second, use = built.lineage.runs
    assert (whole.id, whole.phase) == (RunId(execution=EXECUTION), "SUCCEEDED")
    assert (first.attempt, first.phase, first.ended_at) == (0, "FAILED", at(4))
    assert (second.attempt, second.phase, second.ended_at) == (1, "SUCCEEDED", at(10))
    assert second.parent == whole.id
    assert [str(id) for id in second.outputs] == [flyte("load")]
    assert use.upstream == (second.id,)


def test_a_success_after_a_failure_is_another_attempt():
    """An attempt that ends with its first event is not published; its node still is."""
    task = Identifier("shop", "production", "app.etl.load", "v1")
    failed = AttemptFacts(
        0, task, "FAILED", started_at=at(3), ended_at=at(4), error=ErrorInfo(code="OOM")
    )

    built = build(facts(node("n0", "load", attempts=(failed,))), {}, {"n0": holds(o0=raw("n0"))})

    _, first, second = built.lineage.runs
    assert (first.attempt, first.phase, first.error.code) == (0, "FAILED", "OOM")
    assert (second.attempt, second.phase, second.error) == (1, "SUCCEEDED", None)
    assert (second.started_at, second.ended_at) == (at(4), at(10))
    assert built.lineage.datasets[0].operation.run == second.id


def test_what_went_into_the_workflow_and_came_out():
    built = build(
        facts(node("n0", "load")),
        {"n0": holds(path="s3://lake/in")},
        {"n0": holds(o0=raw("n0")), "start-node": holds(path="s3://lake/in", other="s3://lake/b")},
        workflow_outputs=holds(o0=raw("n0")),
    )

    run = built.lineage.runs[0]
    assert [str(id) for id in run.inputs] == ["s3:lake/b", "s3:lake/in"]
    assert [str(id) for id in run.outputs] == [flyte("load")]
    assert {str(d.id) for d in built.lineage.datasets} == {
        "s3:lake/b",
        "s3:lake/in",
        flyte("load"),
    }


def test_the_end_of_an_execution_whose_last_event_was_lost():
    running = {"phase": "RUNNING", "ended_at": None}

    assert outcome(facts(node("n0", "load"), **running)) == "RUNNING"
    assert outcome(facts(node("end-node"), **running)) == "SUCCEEDED"
    assert outcome(facts(node("n0-0-end-node", parent="n0", spec_id="end-node"), **running)) == (
        "RUNNING"
    )
    assert outcome(facts(phase="SUCCEEDING", ended_at=None)) == "SUCCEEDED"


def test_events_that_must_be_missing_are_named():
    assert missing_events(LOAD_CLEAN) == []
    assert missing_events(facts(node("n0", "load", phase="RUNNING"))) == [
        "node n0 has no terminal event"
    ]
    assert missing_events(Facts(EXECUTION)) == ["no event of start-node"]


class TestDefinitions:
    def test_edge_carries_all_its_evidence(self):
        """The workflow says so, and the same URI was written and read."""
        built = build(
            LOAD_CLEAN,
            {"n1": holds(df=raw("n0"))},
            {"n0": holds(o0=raw("n0"))},
            definition=definition(task("n0"), task("n1", df=promise("n0"))),
        )

        assert waits(built) == {"clean": {"load": "data+definition"}}

    def test_primitive_or_nothing_handed_on_is_an_edge_too(self):
        """Only the definition knows of it."""
        built = build(LOAD_CLEAN, definition=definition(task("n0"), task("n1", ["n0"])))

        assert waits(built) == {"clean": {"load": "definition"}}

    def test_run_waits_for_runs(self):
        built = build(LOAD_CLEAN, definition=definition(task("n0"), task("n1", ["n0"])))

        run = next(run for run in built.lineage.runs if run.node == "n1")
        assert run.upstream == (RunId(execution=EXECUTION, node="n0", attempt=0),)

    def test_node_of_the_definition_that_nobody_saw_makes_it_partial(self):
        """A workflow succeeds only when all of its nodes did."""
        built = build(LOAD_CLEAN, definition=definition(task("n0"), task("n1"), task("n2")))

        assert built.lineage.partial

    def test_task_at_two_nodes_of_the_definition_has_places(self):
        """Although this execution showed only one of them: the other arm was taken before."""
        both = definition(task("n0", name="app.etl.load"), task("n1", name="app.etl.load"))

        built = build(facts(node("n0", "load")), definition=both)

        assert [task.place for task in built.lineage.tasks] == ["n0"]
        assert built.places == {"app.etl.load": True}

    def test_array_node_from_the_cache_is_known_by_the_definition(self):
        """Its only event names no task."""
        mapped = task("n0", name="app.etl.each")

        built = build(facts(node("n0", is_array=True)), definition=definition(mapped))

        assert [task.name for task in built.lineage.tasks] == ["app.etl.each"]

    def test_dynamic_node_tells_its_own_graph(self):
        closure = compiled(task("d0"), task("d1", x=promise("d0")))
        parent = node("n0", "plan", is_dynamic=True, closure=Closure(0, closure), end=40)
        children = [
            node(f"n0-0-{id}", name, spec_id=id, parent="n0", retry_group="0", end=end)
            for id, name, end in (("d0", "load", 20), ("d1", "clean", 30))
        ]

        assert waits(build(facts(parent, *children))) == {"clean": {"load": "definition"}}

    def test_graph_of_an_attempt_that_did_not_last_counts_for_nothing(self):
        """Its children were made again, and perhaps not the same."""
        closure = compiled(task("d0"), task("d1", x=promise("d0")))
        parent = node("n0", "plan", is_dynamic=True, closure=Closure(0, closure), attempt=1, end=40)
        children = [
            node(f"n0-{n}-{id}", name, spec_id=id, parent="n0", retry_group=str(n))
            for n in (0, 1)
            for id, name in (("d0", "load"), ("d1", "clean"))
        ]

        built = build(facts(parent, *children))

        assert waits(built) == {}
        assert not built.lineage.partial

    def test_unreadable_graph_is_no_graph(self):
        parent = node("n0", "plan", is_dynamic=True, closure=Closure(0, b"\xff\xff"))

        assert waits(build(facts(parent, node("n1", "clean", parent="n0")))) == {}


class TestOrder:
    ORDER = Rules(infer_order=True)

    def test_order_is_told_only_where_it_was_asked_for(self):
        assert waits(build(LOAD_CLEAN)) == {}
        assert waits(build(LOAD_CLEAN, rules=self.ORDER)) == {"clean": {"load": "order"}}

    def test_order_is_reduced_to_who_came_just_before(self):
        """A before b before c says of a and c what is known already."""
        found = facts(node("n0", "a", end=10), node("n1", "b", end=20), node("n2", "c", end=30))

        assert waits(build(found, rules=self.ORDER)) == {"b": {"a": "order"}, "c": {"b": "order"}}

    def test_tasks_at_the_same_time_have_no_order(self):
        found = facts(
            node("n0", "a", end=20),
            node("n1", "b", end=21),
            node("n2", "c", end=30),
        )

        assert waits(build(found, rules=self.ORDER)) == {"c": {"a": "order", "b": "order"}}

    def test_cached_nodes_take_no_time(self):
        """Their one event is both the beginning and the end."""
        hits = [node(f"n{i}", name, end=10 * i, queued_at=at(10 * i)) for i, name in
                ((1, "a"), (2, "b"), (3, "c"))]  # fmt: skip

        assert waits(build(facts(*hits), rules=self.ORDER)) == {
            "b": {"a": "order"},
            "c": {"b": "order"},
        }

    def test_order_never_adds_to_better_evidence(self):
        found = facts(node("n0", "a", end=5), node("n1", "b", end=10), node("n2", "c", end=30))

        built = build(
            found, {"n2": holds(df=raw("n0"))}, {"n0": holds(o0=raw("n0"))}, rules=self.ORDER
        )

        assert waits(built)["c"] == {"a": "data"}

    def test_order_is_no_match_for_a_definition_that_says_nothing(self):
        """Where the graph is known, who waits for nobody waits for nobody."""
        built = build(LOAD_CLEAN, rules=self.ORDER, definition=definition(task("n0"), task("n1")))

        assert waits(built) == {}

    def test_order_stays_on_its_level(self):
        found = facts(
            node("n0", "a", end=10),
            node("n1", end=40, is_parent=True),
            node("n1-0-n0", "b", spec_id="n0", parent="n1", end=20),
            node("n1-0-n1", "c", spec_id="n1", parent="n1", end=30),
        )

        assert waits(build(found, rules=self.ORDER)) == {"c": {"b": "order"}}


class TestAttempts:
    def children(self, *groups):
        return [
            node(f"n0-{n}-d0", f"try{n}", spec_id="d0", parent="n0", retry_group=str(n))
            for n in groups
        ]

    def told(self, parent, *groups):
        built = build(facts(parent, *self.children(*groups)))
        return {t.name.removeprefix("app.etl.") for t in built.lineage.tasks if t.io is not None}

    def test_last_attempt_is_the_one_that_wrote_the_outputs(self):
        """It may have made no nodes at all: then none of an earlier one counts."""
        assert self.told(node("n0", "plan", attempt=2), 0, 1) == {"plan"}
        assert self.told(node("n0", "plan", attempt=1), 0, 1) == {"plan", "try1"}

    def test_without_its_outputs_the_greatest_attempt_seen_is_the_last(self):
        assert self.told(node("n0", "plan"), 0, 1) == {"plan", "try1"}
        closure = Closure(2, compiled(task("d0")))
        assert self.told(node("n0", "plan", closure=closure), 0, 1) == {"plan"}

    def test_what_stands_below_an_abandoned_node_is_abandoned(self):
        deep = node("x", "deep", spec_id="d1", parent="n0-0-d0", retry_group="0")
        built = build(facts(node("n0", "plan", attempt=1), *self.children(0, 1), deep))

        assert {t.name for t in built.lineage.tasks if t.io is not None} == {
            "app.etl.plan",
            "app.etl.try1",
        }

    def test_last_attempt_that_made_no_nodes_ran_a_plain_task(self):
        """So what it wrote outside of raw output is its own."""
        made = Closure(0, compiled(task("d0")))
        parent = node("n0", "plan", attempt=1, is_parent=True, is_dynamic=True, closure=made)

        built = build(facts(parent, *self.children(0)), {}, {"n0": holds(o0="s3://lake/orders")})

        assert io_of(built)["plan"] == ([], ["s3:lake/orders"], [])


class TestMapTasks:
    def mapped(self, **fields):
        array = node("n1", is_array=True, is_parent=True, end=30, **fields)
        elements = [
            node(f"n1-0-n{i}", "each", spec_id=f"n{i}", parent="n1", retry_group="0", end=20)
            for i in range(3)
        ]
        return facts(node("n0", "load"), array, *elements, node("n2", "use", end=50))

    def test_elements_are_runs_of_one_task(self):
        """Event version 1 tells each of them, and never the task of the array itself."""
        built = build(
            self.mapped(),
            {"n1": holds(x=raw("n0")), "n2": holds(df=raw("n1"))},
            {"n0": holds(o0=raw("n0")), "n1": holds(o0=raw("n1"))},
        )

        assert io_of(built) == {
            "load": ([], [flyte("load")], []),
            "each": ([flyte("load")], [flyte("each")], ["load"]),
            "use": ([flyte("each")], [], ["each"]),
        }
        assert {run.node for run in built.lineage.runs if run.task and "each" in run.task.name} == {
            "n1", "n1-0-n0", "n1-0-n1", "n1-0-n2",
        }  # fmt: skip

    def test_artifacts_are_named_where_only_elements_tell_the_interface(self):
        """As they are where the array itself or the definition does."""
        declared = interface_pb2.TypedInterface()
        key = declared.outputs.variables["o0"].artifact_partial_id.artifact_key
        key.name = "parts"
        told = declared.SerializeToString()
        found = self.mapped()
        nodes = {
            id: replace(n, interface=told if "-n" in id else b"") for id, n in found.nodes.items()
        }

        built = build(replace(found, nodes=nodes), {}, {"n1": holds(o0=raw("n1"))})

        assert io_of(built)["each"] == ([], ["flyte:shop.production.parts"], [])


class TestWhatDynamicNodesWrite:
    CHILD = node("n0-0-d0", "clean", spec_id="d0", parent="n0", retry_group="0", end=20)
    PARENT = node("n0", "plan", is_dynamic=True, end=30)

    def test_what_a_child_was_given_by_its_parent_s_code_is_the_parent_s(self):
        """No output holds it; the path says who wrote it."""
        built = build(facts(self.PARENT, self.CHILD), {"n0-0-d0": holds(df=raw("n0"))})

        assert io_of(built) == {
            "plan": ([], [flyte("plan", "df")], []),
            "clean": ([flyte("plan", "df")], [], ["plan"]),
        }
        assert not built.lineage.partial

    def test_what_was_registered_by_the_first_build_is_still_its_own_in_the_next(self):
        """A late event must not take an edge away."""
        found, given = facts(self.PARENT, self.CHILD), {"n0-0-d0": holds(df=raw("n0"))}
        first = build(found, given)

        again = build(found, given, locations=first.locations)

        assert again.lineage == first.lineage
        assert io_of(again)["plan"] == ([], [flyte("plan", "df")], [])

    def test_what_a_parent_returns_of_its_own_goes_by_its_output(self):
        built = build(
            facts(self.PARENT, self.CHILD, node("n1", "use", end=50)),
            {"n1": holds(df=raw("n0"))},
            {"n0": holds(o0=raw("n0"), o1=raw("n0-0-d0")), "n0-0-d0": holds(o0=raw("n0-0-d0"))},
        )

        assert io_of(built)["plan"] == ([], [flyte("plan", "o0")], [])
        assert io_of(built)["use"] == ([flyte("plan", "o0")], [], ["plan"])


class TestWhatFlyteAdminAdds:
    def test_pipeline_has_version_description_and_schedule(self):
        workflow = Identifier("shop", "production", "app.etl.flow", "v7")
        known = facts(node("n0", "load"), answer=Answer(workflow, "SCHEDULED", at(-5), None, None))
        described = replace(definition(task("n0")), description="Loads the shop")

        built = build(known, definition=described, schedule="cron: 0 5 * * *", name_source="admin")

        (pipeline,) = built.lineage.pipelines
        assert pipeline.version.version == "v7"
        assert pipeline.properties.description == "Loads the shop"
        assert pipeline.properties.custom["schedule"] == "cron: 0 5 * * *"
        run = next(run for run in built.lineage.runs if run.node is None)
        assert run.custom["mode"] == "SCHEDULED"
        assert run.custom["workflow_version"] == "v7"

    def test_child_execution_has_a_parent(self):
        answer = Answer(None, "CHILD_WORKFLOW", None, Origin(OTHER, "n3"), None)

        built = build(facts(node("n0", "load"), answer=answer))

        run = next(run for run in built.lineage.runs if run.node is None)
        assert run.parent == RunId(execution=OTHER)

    def test_eager_task_is_the_parent_of_what_it_launched(self):
        """Only a label says so."""
        built = build(facts(node("n0", "load"), labels={"eager-exec": "older"}))

        run = next(run for run in built.lineage.runs if run.node is None)
        assert run.parent == RunId(execution=OTHER)

    def test_owners_are_where_the_operator_says(self):
        """A principal is a property of the run, and no owner by itself."""
        known = facts(node("n0", "load"), labels={"team": "ada, grace"}, principal="robot")

        silent, by_label = build(known), build(known, rules=Rules(owner_label="team"))
        both = build(known, rules=Rules(owner_label="team", owner_principal=True))

        assert silent.lineage.pipelines[0].ownership is None
        assert [o.id for o in by_label.lineage.tasks[0].ownership.owners] == ["ada", "grace"]
        assert [o.id for o in both.lineage.pipelines[0].ownership.owners] == [
            "ada", "grace", "robot",
        ]  # fmt: skip

    def test_source_code_is_where_the_operator_says(self):
        """Each version has its own."""
        rules = Rules(source_url="https://git/{name}/{module}.py#{version}")
        versioned = Identifier("shop", "production", "app.etl.load", "a b")
        known = facts(replace(node("n0", "load"), task=versioned))

        (load,) = build(known, rules=rules).lineage.tasks
        (silent,) = build(known).lineage.tasks

        assert load.version.source == "https://git/app.etl.load/app/etl.py#a%20b"
        assert load.properties.custom["source"] == load.version.source
        assert silent.version.source is None

    def test_pages_are_where_the_console_is(self):
        """Runs lead to the execution; a guessed name has no page of its own."""
        rules = Rules(console=Console("https://flyte/console/"))
        known = facts(node("n0", "load"))

        told = build(known, rules=rules, name_source="admin").lineage

        pages = "https://flyte/console/projects/shop/domains/production"
        assert told.tasks[0].properties.url == f"{pages}/tasks/app.etl.load"
        assert {run.links[-1].url for run in told.runs} == {f"{pages}/executions/a1b2"}
        assert told.pipelines[0].properties.url == f"{pages}/workflows/{told.pipelines[0].name}"
        assert build(known, rules=rules).lineage.pipelines[0].properties.url is None


class TestWhoWrote:
    """Items of a map task come from the cache one by one, and no event says from where."""

    def test_data_whose_path_names_another_execution_waits_for_that(self):
        """It holds it as its output, but it did not write it."""
        data = raw("n1", execution="older")

        built = build(facts(node("n0", "each")), {}, {"n0": holds(o0=data)}, seen={OTHER})

        assert io_of(built)["each"] == ([], [], [])
        assert len(built.waiting) == 1
        assert not built.lineage.partial

    def test_who_was_never_seen_will_never_name_it(self):
        data = raw("n1", execution="older")

        built = build(facts(node("n0", "each")), {}, {"n0": holds(o0=data)})

        assert io_of(built)["each"] == ([], [flyte("each")], [])

    def test_execution_whose_name_begins_alike_is_another(self):
        """`a1b2-2-n0-0` may be of node `2-n0`, or of execution `a1b2-2`."""
        data = raw("n0", execution="a1b2-2")
        other = OTHER.model_copy(update={"name": "a1b2-2"})
        found = facts(node("n0", "use"))

        mine = build(found, {"n0": holds(df=data)})
        others = build(found, {"n0": holds(df=data)}, seen={other})

        assert (mine.lineage.partial, others.lineage.partial) == (True, False)
        assert mine.waiting == others.waiting != frozenset()


class TestPlacesThatAreNotKnown:
    """An id that is told cannot be taken back, so it waits until the place is known."""

    def around(self, *children):
        return facts(node("n0", is_parent=True, end=40), *children)

    def test_node_inside_of_one_that_was_never_seen_is_left_out(self):
        """Its task stands at another node as well: which of its places it is, nobody knows."""
        lost = node("n4-0-n1", "load", spec_id="n1", parent="n4")

        built = build(facts(node("n0", "load"), lost))

        assert [task.place for task in built.lineage.tasks] == [""]
        assert built.places == {"app.etl.load": False}
        assert built.lineage.partial

    def test_only_node_of_its_task_needs_no_place(self):
        lost = node("n4-0-n1", "load", spec_id="n1", parent="n4")

        assert [task.name for task in build(facts(lost)).lineage.tasks] == ["app.etl.load"]

    def test_task_events_alone_do_not_place_a_node(self):
        """They name it, and nothing around it."""
        alone = node("n0-0-n1", "load", spec_id="", phase="UNDEFINED", ended_at=None)

        built = build(self.around(node("n0-0-n0", "load", spec_id="n0", parent="n0"), alone))

        assert [str(task.id.local) for task in built.lineage.tasks] == ["app.etl.load"]

    def test_what_runs_a_task_and_has_nodes_inside_is_dynamic(self):
        """Whether or not an event has said so yet."""
        parent = node("n0", "plan", phase="RUNNING")
        children = [node(f"n0-0-d{i}", "load", spec_id=f"d{i}", parent="n0") for i in range(3)]

        built = build(facts(parent, *children))

        assert {task.id.local for task in built.lineage.tasks} == {"app.etl.plan", "app.etl.load"}

    def test_old_flyte_never_says_where_nodes_stand(self):
        """Before event version 1: their ids have to do."""
        found = facts(
            node("start-node", spec_id="", end=1),
            node("n0", "load", spec_id=""),
            node("n1", "load", spec_id=""),
        )

        assert {task.place for task in build(found).lineage.tasks} == {"n0", "n1"}

    def test_nodes_may_stand_deep_inside_each_other(self):
        """Thousands of levels are nobody's workflow, and no reason to stop."""
        deep = [
            node(f"d{i}", is_parent=True, parent=f"d{i - 1}" if i else "", spec_id="d")
            for i in range(3000)
        ]

        built = build(facts(*deep, node("leaf", "load", parent="d2999"), node("n0", "load")))

        places = {task.place.count("/") for task in built.lineage.tasks}
        assert places == {0, 3000}

    def test_old_dynamic_nodes_are_told_by_their_tasks(self):
        """What they hand on is their children's, and all of these are one task."""
        found = facts(
            node("start-node", spec_id="", end=1),
            node("n2", "plan", spec_id="", end=40),
            *(node(f"n2-0-dn{i}", "load", spec_id="", parent="n2") for i in range(2)),
            node("n3", "use", spec_id="", end=50),
        )

        built = build(
            found,
            {"n3": holds(df=raw("n2-0-dn0"))},
            {"n2": holds(o0=raw("n2-0-dn0")), "n2-0-dn0": holds(o0=raw("n2-0-dn0"))},
        )

        assert io_of(built) == {
            "plan": ([], [], []),
            "load": ([], [flyte("load")], []),
            "use": ([flyte("load")], [], ["load"]),
        }


def test_nodes_of_a_task_are_named_up_to_a_bound():
    """A loop inside of a dynamic node runs one task at thousands of them."""
    loop = [
        node(f"n0-0-d{i}", "load", spec_id=f"d{i}", parent="n0", retry_group="0")
        for i in range(1000)
    ]

    built = build(facts(node("n0", "plan", is_dynamic=True), *loop))

    (load,) = [task for task in built.lineage.tasks if task.name == "app.etl.load"]
    assert load.properties.custom["node"].startswith("d0, d1, d2, ")
    assert load.properties.custom["node"].endswith(", d19 and 980 more")
