from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from flyteidl.admin import workflow_pb2
from flyteidl.core import literals_pb2, types_pb2

from flytelineage.collect import Collector, Pinned, Unavailable
from flytelineage.entities import DatasetId, ExecutionId, PipelineId
from flytelineage.errors import ReadError
from flytelineage.facts import Answer, Facts, Identifier, Literals, NodeFacts, Origin
from flytelineage.flow import Read
from flytelineage.lineage import pipeline_key
from flytelineage.rounds import MISSING_TRIES
from tests.factories import EXECUTION, NOW

HEX = "0123456789abcdef0123456789abcdef"
RAW = f"s3://b/data/x9/a1b2-n0-0/{HEX}"


class Bucket:
    """Objects in memory; a `ReadError` in place of one is raised."""

    def __init__(self, objects):
        self.objects = objects
        self.reads = []

    def read(self, uri):
        self.reads.append(uri)
        found = self.objects.get(uri, ReadError("missing", f"{uri} is missing"))
        if isinstance(found, ReadError):
            raise found
        return found


class Memory:
    """What a store remembers."""

    def __init__(self, locations=None, seen=(), **places):
        self.known = locations or {}
        self.executions = set(seen)
        self.defined = {}
        self.where = SimpleNamespace(
            **{"multiple": frozenset(), "bare": frozenset(), "retired_by": {}, **places}
        )

    def locations(self, keys):
        return {key: self.known[key] for key in keys if key in self.known}

    def seen(self, executions):
        return self.executions.intersection(executions)

    def places(self, pipeline):
        return self.where

    def definitions(self, keys):
        return {key: self.defined[key] for key in keys if key in self.defined}


def literal(uri):
    kind = types_pb2.StructuredDatasetType(format="parquet")
    return literals_pb2.Literal(
        scalar=literals_pb2.Scalar(
            structured_dataset=literals_pb2.StructuredDataset(
                uri=uri,
                metadata=literals_pb2.StructuredDatasetMetadata(structured_dataset_type=kind),
            )
        )
    )


def literal_map(**uris):
    found = literals_pb2.LiteralMap(literals={name: literal(uri) for name, uri in uris.items()})
    return found.SerializeToString()


def node(id="n0", **fields):
    return NodeFacts(
        id=id,
        **{
            "spec_id": id,
            "phase": "SUCCEEDED",
            "ended_at": NOW,
            "task": Identifier("shop", "production", "app.etl.load", "v1"),
            "inputs": Literals(uri=f"s3://b/{id}/inputs.pb"),
            "outputs": Literals(uri=f"s3://b/{id}/outputs.pb"),
            **fields,
        },
    )


def facts(*nodes, **fields):
    return Facts(
        EXECUTION,
        **{
            "phase": "SUCCEEDED",
            "ended_at": NOW,
            "nodes": {one.id: one for one in nodes or (node(),)},
            **fields,
        },
    )


def collect(found, objects, memory=None, *, pinned=None, age=0, patient=False, **traits):
    bucket = objects if isinstance(objects, Bucket) else Bucket(objects)
    collected = Collector(**traits).collect(
        found,
        memory or Memory(),
        bucket,
        pinned=pinned,
        now=NOW + timedelta(seconds=age),
        patient=patient,
    )
    return collected, bucket


INPUTS, OUTPUTS = "s3://b/n0/inputs.pb", "s3://b/n0/outputs.pb"
WHOLE = {INPUTS: literal_map(), OUTPUTS: literal_map(o0=RAW)}


def test_literals_of_both_sides_are_read():
    collected, _ = collect(facts(), WHOLE)

    assert collected.inputs == {"n0": Read()}
    assert [one.uri for one in collected.outputs["n0"].references] == [RAW]


def test_only_succeeded_tasks_are_read():
    _, bucket = collect(facts(node(phase="FAILED")), WHOLE)

    assert bucket.reads == []


def test_inline_literals_need_no_object():
    inline = node(
        inputs=Literals(inline=literal_map(df=RAW)), outputs=Literals(inline=literal_map())
    )

    collected, bucket = collect(facts(inline), {})

    assert collected.inputs["n0"].references[0].uri == RAW
    assert bucket.reads == []


def test_missing_outputs_of_a_young_task_are_none():
    """A task without declared outputs never writes the object that its event names."""
    collected, bucket = collect(facts(), {INPUTS: literal_map()})

    assert collected.outputs["n0"] == Read()
    assert bucket.reads.count(OUTPUTS) == MISSING_TRIES


def test_missing_outputs_of_an_old_task_are_unknown():
    """A lifecycle rule may have removed them."""
    collected, _ = collect(facts(), {INPUTS: literal_map()}, age=8 * 86_400)

    assert collected.outputs["n0"].problems == (f"{OUTPUTS} is missing",)


def test_missing_inputs_are_unknown():
    collected, _ = collect(facts(), {OUTPUTS: literal_map()})

    assert collected.inputs["n0"].problems == (f"{INPUTS} is missing",)


def test_denied_objects_are_unknown():
    denied = ReadError("denied", "s3:GetObject is missing on b")

    collected, _ = collect(facts(), {**WHOLE, OUTPUTS: denied})

    assert collected.outputs["n0"].problems == ("s3:GetObject is missing on b",)


def test_an_object_store_that_is_away_delays_only_the_patient():
    away = {**WHOLE, OUTPUTS: ReadError("unavailable", "time-out")}

    with pytest.raises(Unavailable):
        collect(facts(), away, patient=True)
    collected, _ = collect(facts(), away, patient=False)

    assert collected.outputs["n0"].problems == ("time-out",)


def test_events_that_name_no_inputs_leave_them_unknown():
    collected, _ = collect(facts(node(inputs=None)), WHOLE)

    assert collected.inputs["n0"].problems


def test_literals_stored_apart_are_followed():
    apart = literals_pb2.Literal(
        offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri="s3://b/apart.pb")
    )
    outputs = literals_pb2.LiteralMap(literals={"o0": apart}).SerializeToString()

    collected, _ = collect(
        facts(),
        {**WHOLE, OUTPUTS: outputs, "s3://b/apart.pb": literal(RAW).SerializeToString()},
    )

    assert [one.uri for one in collected.outputs["n0"].references] == [RAW]


def test_a_literal_that_refers_to_itself_ends():
    apart = literals_pb2.Literal(
        offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri="s3://b/apart.pb")
    )
    outputs = literals_pb2.LiteralMap(literals={"o0": apart}).SerializeToString()

    collected, _ = collect(
        facts(), {**WHOLE, OUTPUTS: outputs, "s3://b/apart.pb": apart.SerializeToString()}
    )

    assert "too deep" in collected.outputs["n0"].problems[0]


def test_reads_are_bounded_in_number():
    nodes = [node(f"n{number}") for number in range(4)]
    objects = {
        uri: literal_map()
        for one in nodes
        for uri in (f"s3://b/{one.id}/inputs.pb", f"s3://b/{one.id}/outputs.pb")
    }

    collected, bucket = collect(facts(*nodes), objects, max_reads=3)

    reads = [*collected.inputs.values(), *collected.outputs.values()]
    assert len(bucket.reads) == 3
    assert sum("over budget" in str(read.problems) for read in reads) == 5


def test_what_is_remembered_is_looked_up():
    """Locations of raw data, origins of cache hits, and whether the pipeline is known."""
    origin = ExecutionId(project="shop", domain="production", name="older")
    pipeline = PipelineId(project="shop", domain="production", name="app.etl")
    name = DatasetId(platform="flyte", name="x")
    memory = Memory(
        {RAW: name, pipeline_key(pipeline): None},
        seen=[origin],
        multiple=frozenset({"a", "b"}),
        bare=frozenset({"a", "b", "c"}),
        retired_by={"a": EXECUTION, "b": origin},
    )

    collected, _ = collect(facts(node(origin=Origin(origin, "n0"))), WHOLE, memory)

    assert collected.pipeline == pipeline
    assert (collected.name_source, collected.pipeline_known) == ("guessed", True)
    assert collected.locations[RAW] == name
    assert collected.seen == {origin}
    assert collected.multiple == {"a", "b"}
    assert collected.retire == {"a", "c"}


def test_a_pinned_name_stays():
    pinned = Pinned(PipelineId(project="shop", domain="production", name="first"), "guessed")
    found = facts(launch_plan=Identifier("", "", "second", "v1"))

    collected, _ = collect(found, WHOLE, pinned=pinned)

    assert (collected.pipeline, collected.name_source) == (pinned.pipeline, "guessed")


def test_literals_stored_apart_of_all_tasks_are_read_at_once():
    """One map after the other would wait for each of theirs."""
    met = threading.Barrier(2, timeout=10)
    apart = literals_pb2.Literal(
        offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri="s3://b/apart", size_bytes=9)
    )
    holder = literals_pb2.LiteralMap(literals={"o0": apart}).SerializeToString()

    class Meeting(Bucket):
        def read(self, uri):
            if uri == "s3://b/apart":
                met.wait()
            return super().read(uri)

    objects = {"s3://b/apart": literal(RAW).SerializeToString()}
    objects |= {f"s3://b/n{i}/outputs.pb": holder for i in range(2)}
    objects |= {f"s3://b/n{i}/inputs.pb": literal_map(x="s3://lake/a") for i in range(2)}

    found, _ = collect(facts(node("n0"), node("n1")), Meeting(objects))

    assert [r.uri for r in found.outputs["n1"].references] == [RAW]


def test_references_of_one_execution_are_bounded_together():
    """The first tasks keep theirs; what is over is a problem of who comes later."""
    objects = {
        f"s3://b/n{i}/{side}.pb": literal_map(**{f"v{j}": f"s3://lake/{j}" for j in range(4)})
        for i in range(2)
        for side in ("inputs", "outputs")
    }

    found, _ = collect(facts(node("n0"), node("n1")), objects, max_references=9)

    kept = [*found.inputs.values(), *found.outputs.values()]
    assert sum(len(read.references) for read in kept) == 9
    assert found.inputs["n0"].problems == ()
    assert "over budget" in found.outputs["n1"].problems[0]


def test_definition_is_read_once(monkeypatch):
    """Every execution of a version has the same one, and it can have megabytes."""
    workflow = Identifier("shop", "production", "app.etl.flow", "v7")
    memory, asked = Memory(), []
    answer = workflow_pb2.Workflow(short_description="Loads the shop")
    memory.defined = {"workflow:shop/production/app.etl.flow/v7": answer.SerializeToString()}
    definitions = memory.definitions
    monkeypatch.setattr(memory, "definitions", lambda keys: asked.append(keys) or definitions(keys))
    known = facts(node(), answer=Answer(workflow, "", None, None, None))
    collector = Collector()

    for _ in range(3):
        found = collector.collect(known, memory, Bucket(WHOLE), pinned=None, now=NOW, patient=False)

    assert found.definition.description == "Loads the shop"
    assert len(asked) == 1


def test_definition_that_cannot_be_read_is_none(caplog):
    workflow = Identifier("shop", "production", "app.etl.flow", "v7")
    memory = Memory()
    memory.defined = {"workflow:shop/production/app.etl.flow/v7": b"\xff"}

    found, _ = collect(facts(node(), answer=Answer(workflow, "", None, None, None)), WHOLE, memory)

    assert found.definition is None
