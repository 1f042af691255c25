from __future__ import annotations

from datetime import timedelta

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
from flytelineage.facts import AttemptFacts, Facts, Identifier, NodeFacts, Origin
from flytelineage.flow import Collected, Read
from flytelineage.lineage import build_lineage, pipeline_key
from flytelineage.literals import Reference
from flytelineage.structure import missing_events, outcome
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


def build(found, inputs, outputs, **fields):
    leaves = [id for id in found.nodes if id != "start-node"]
    return build_lineage(
        found,
        collected(
            {**dict.fromkeys(leaves, Read()), **inputs},
            {**dict.fromkeys(leaves, Read()), **outputs},
            **fields,
        ),
    )


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
