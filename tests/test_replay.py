"""From messages to lineage, against what the simulator knows to be true."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest

from flytelineage.testing.simulator import (
    ENCODINGS,
    File,
    Folder,
    FolderStorage,
    Frame,
    Input,
    ListOf,
    MapOf,
    Node,
    OptionalOf,
    Outcome,
    Output,
    Primitive,
    Same,
    Taken,
    Task,
    Workflow,
    simulate,
    simulate_samples,
    single_task,
)
from tests.found import all_bodies, comparable, replay, told

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=3)
"""Metadata that is young: only then a missing object means that it was never written."""
FRAME = Frame({"id": "int", "name": "str"}, 5)
COLUMNS = Frame({"id": "int", "amount": "float"}, 3, declared=True)

load = Task("app.etl.load", {"o0": FRAME})
clean = Task("app.etl.clean", {"o0": FRAME})
join = Task("app.etl.join", {"o0": COLUMNS})
split = Task("app.etl.split", {"train": FRAME, "test": FRAME, "count": Primitive(5)})
show = Task("app.etl.show", {})
same = Task("app.etl.same", {"o0": Same("df")})
count = Task("app.etl.count", {"o0": Primitive(3)})
OUTSIDE = Frame({"id": "int"}, 2, uri="s3://lake/raw/orders/dt=2026-10-01")


def df(node, variable="o0", name="df"):
    return {name: Output(node, variable)}


WORKFLOWS = {
    "linear": Workflow(
        "app.etl.main",
        (
            Node("n0", load),
            Node("n1", clean, df("n0")),
            Node("n2", show, df("n1")),
        ),
        outputs={"o0": Output("n1", "o0")},
    ),
    "diamond": Workflow(
        "app.etl.main",
        (
            Node("n0", load),
            Node("n1", clean, df("n0")),
            Node("n2", Task("app.etl.filter", {"o0": FRAME}), df("n0")),
            Node("n3", join, {"a": Output("n1", "o0"), "b": Output("n2", "o0")}),
        ),
    ),
    "wide": Workflow(
        "app.etl.main",
        (
            Node("n0", load),
            *(
                Node(f"n{number}", Task(f"app.etl.part{number}", {"o0": FRAME}), df("n0"))
                for number in range(1, 13)
            ),
            Node("n13", join, {f"p{n}": Output(f"n{n}", "o0") for n in range(1, 13)}),
        ),
    ),
    "one task at several nodes": Workflow(
        "app.etl.main",
        (
            Node("n0", load),
            Node("n1", load),
            Node("n2", join, {"a": Output("n0", "o0"), "b": Output("n1", "o0")}),
        ),
    ),
    "several outputs": Workflow(
        "app.etl.main",
        (
            Node("n0", split),
            Node("n1", clean, df("n0", "train")),
            Node("n2", show, df("n0", "test")),
        ),
    ),
    "no outputs, no data": Workflow(
        "app.etl.main", (Node("n0", count), Node("n1", show, {"x": Output("n0", "o0")}))
    ),
    "outputs that are never written": Workflow(
        "app.etl.main", (Node("n0", Task("app.etl.athena", sends_outputs=False)),)
    ),
    "handed through": Workflow(
        "app.etl.main",
        (Node("n0", load), Node("n1", same, df("n0")), Node("n2", clean, df("n1"))),
    ),
    "from outside": Workflow(
        "app.etl.main",
        (Node("n0", clean, {"df": Input("orders")}), Node("n1", show, df("n0"))),
        inputs={"orders": OUTSIDE},
        outputs={"o0": Output("n0", "o0")},
    ),
    "collections, maps and unions": Workflow(
        "app.etl.main",
        (
            Node(
                "n0",
                Task(
                    "app.etl.many",
                    {
                        "files": ListOf(File("csv"), 3),
                        "by_name": MapOf(FRAME, ("a", "b")),
                        "maybe": OptionalOf(Folder()),
                    },
                ),
            ),
            Node("n1", show, {"f": Output("n0", "files"), "m": Output("n0", "by_name")}),
            Node("n2", show, {"o": Output("n0", "maybe")}),
        ),
    ),
    "a task alone": single_task(load),
}


@pytest.fixture
def storage(tmp_path):
    return FolderStorage(tmp_path / "bucket")


def run(workflow, storage, name="a1b2c3", **fields):
    return simulate(workflow, name, storage, **{"start": START, "fast": True, **fields})


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("shape", WORKFLOWS)
def test_every_shape_gives_its_true_lineage(shape, encoding, storage, tmp_path):
    """No edge is missing, none is invented; version 2 of the events knows the real name."""
    stream = run(WORKFLOWS[shape], storage)

    report, (lineage,) = replay(stream.bodies(encoding), tmp_path / "run")

    truth = stream.truth if encoding == "v2" else stream.guessed_truth
    assert comparable(told(lineage)) == comparable(truth)
    assert not report.failed
    assert (report.partial, report.incomplete, report.waiting) == ([], [], [])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", ["diamond", "one task at several nodes"])
def test_any_order_repeats_and_encodings_end_alike(shape, seed, storage, tmp_path):
    """Shuffled, doubled, each message in one or two encodings: the same lineage."""
    stream = run(WORKFLOWS[shape], storage)
    bodies = stream.shuffled(seed).duplicated(seed).mixed(seed)

    _, (lineage,) = replay(bodies, tmp_path / "mixed")
    _, (calm,) = replay([*stream.bodies("raw"), *stream.bodies("v2")], tmp_path / "calm")

    assert comparable(told(lineage))["edges"] == comparable(stream.truth)["edges"]
    assert (
        comparable(told(lineage)) | {"pipeline": ""} == comparable(told(calm)) | {"pipeline": ""}
        or told(lineage).pipeline != told(calm).pipeline
    )


def test_retried_and_failed_attempts(storage, tmp_path):
    stream = run(WORKFLOWS["linear"], storage, outcomes={"n1": Outcome(failed_attempts=2)})

    _, (lineage,) = replay(stream.bodies(), tmp_path / "run")

    assert comparable(told(lineage)) == comparable(stream.guessed_truth)
    assert [run.phase for run in lineage.runs if run.node == "n1"] == [
        "FAILED",
        "FAILED",
        "SUCCEEDED",
    ]


@pytest.mark.parametrize("phase", ["FAILED", "ABORTED"])
def test_an_unsuccessful_execution_is_told_once_its_pipeline_is_known(phase, storage, tmp_path):
    """Its name is a guess: before a success has shown the pipeline, nothing is told."""
    outcome = {"n1": Outcome(phase="FAILED" if phase == "FAILED" else "ABORTED")}
    bad = run(WORKFLOWS["linear"], storage, "bad", phase=phase, outcomes=outcome)
    good = run(WORKFLOWS["linear"], storage, "good")

    report, alone = replay(bad.bodies(), tmp_path / "alone")
    _, both = replay(all_bodies([bad, good]), tmp_path / "both")

    assert alone == []
    assert report.waiting
    assert [comparable(told(one)) for one in both] == [
        comparable(bad.guessed_truth),
        comparable(good.guessed_truth),
    ]


def test_a_cache_hit_keeps_the_edges_of_its_origin(storage, tmp_path):
    """In any order of the two executions."""
    first = run(WORKFLOWS["linear"], storage, "first")
    hit = Outcome(hit=Taken(first.outputs("n0"), first.source("n0")))
    second = run(WORKFLOWS["linear"], storage, "second", outcomes={"n0": hit}, seed=1)

    for order in ([first, second], [second, first]):
        _, found = replay(all_bodies(order), tmp_path / order[0].execution.name)

        by_name = {one.execution.name: one for one in found}
        assert comparable(told(by_name["second"])) == comparable(second.guessed_truth)
        dataset = next(d for d in by_name["second"].datasets if d.name.endswith("load.o0"))
        assert dataset.operation.kind == "confirm"


def test_a_cache_hit_without_a_known_origin_names_the_data(storage, tmp_path):
    hit = Outcome(hit=Taken())
    stream = run(WORKFLOWS["linear"], storage, outcomes={"n0": hit})

    report, (lineage,) = replay(stream.bodies(), tmp_path / "run")

    assert comparable(told(lineage)) == comparable(stream.guessed_truth)
    assert report.waiting == []


def test_data_of_another_workflow_joins_the_two(storage, tmp_path):
    """A consumer names what it reads as its producer did; it waits where it comes first."""
    producer = run(WORKFLOWS["linear"], storage, "producer")
    consumer_workflow = Workflow(
        "app.report.main",
        (Node("n0", Task("app.report.draw", {"o0": File("png")}), {"df": Input("df")}),),
        inputs={"df": FRAME},
    )
    consumer = run(
        consumer_workflow, storage, "consumer", inputs={"df": producer.output("n1")}, seed=5
    )

    for order in ([producer, consumer], [consumer, producer]):
        report, found = replay(all_bodies(order), tmp_path / order[0].execution.name)

        by_name = {one.execution.name: one for one in found}
        assert comparable(told(by_name["consumer"])) == comparable(consumer.guessed_truth)
        assert report.waiting == []
        reads = told(by_name["consumer"]).reads["app.report.draw"]
        assert reads == ("flyte:flytesnacks.development.app.etl.app.etl.clean.o0",)


def test_one_task_in_two_workflows_writes_two_datasets(storage, tmp_path):
    """A utility task's outputs are not one dataset."""
    one = run(Workflow("lib.one.main", (Node("n0", load), Node("n1", show, df("n0")))), storage)
    two = run(
        Workflow("lib.two.main", (Node("n0", load), Node("n1", show, df("n0")))),
        storage,
        "b",
        seed=3,
    )

    _, found = replay(all_bodies([one, two], "v2"), tmp_path / "run")

    assert [comparable(told(lineage)) for lineage in found] == [
        comparable(stream.truth) for stream in sorted((one, two), key=lambda s: s.execution.name)
    ]


def test_what_a_dataset_is_made_of(storage, tmp_path):
    """Declared columns go before the footer; rows and bytes come from the files."""
    _, (lineage,) = replay(run(WORKFLOWS["diamond"], storage).bodies(), tmp_path / "run")

    by_name = {dataset.name.rpartition("etl.")[2]: dataset for dataset in lineage.datasets}
    joined, loaded = by_name["join.o0"], by_name["load.o0"]
    assert joined.schema_.source == "declared"
    assert [(f.name, f.type.kind) for f in joined.schema_.fields] == [
        ("id", "int"),
        ("amount", "float"),
    ]
    assert loaded.schema_.source == "footer"
    assert loaded.profile.rows == 5
    assert (loaded.storage.format, loaded.storage.files) == ("parquet", 1)


def test_lost_events_make_the_lineage_partial(storage, tmp_path):
    """Without the end of a node its edges are unknown; the execution says so."""
    stream = run(WORKFLOWS["linear"], storage)
    lossy = stream.without(
        lambda event: hasattr(event, "id") and event.id.node_id == "n0" and event.phase == 3
    )

    report, (lineage,) = replay(lossy.bodies(), tmp_path / "run")

    assert lineage.partial
    assert report.partial
    found = told(lineage)
    assert found.edges == (("app.etl.clean", "app.etl.show"),)
    assert "app.etl.load" not in found.writes


def test_a_body_that_is_none_is_quarantined_and_the_rest_goes_on(storage, tmp_path):
    stream = run(WORKFLOWS["linear"], storage)

    report, (lineage,) = replay(["garbage", *stream.bodies(), "{}"], tmp_path / "run")

    assert report.quarantined == 2
    assert report.failed
    assert comparable(told(lineage)) == comparable(stream.guessed_truth)


def test_an_execution_without_an_end_is_listed_and_not_built(storage, tmp_path):
    stream = run(WORKFLOWS["linear"], storage)
    endless = stream.without(lambda event: hasattr(event, "execution_id"))

    report, found = replay(endless.bodies(), tmp_path / "run")

    assert found == []
    assert report.unbuilt == ["flytesnacks/development/a1b2c3"]
    assert not report.failed


def test_an_instance_is_the_first_part_of_every_id(storage, tmp_path):
    _, (lineage,) = replay(
        run(WORKFLOWS["linear"], storage).bodies(), tmp_path / "run", instance="eu"
    )

    ids = [str(entity.id) for entity in lineage.entities()]
    assert all(id.removeprefix("flyte:").startswith("eu") for id in ids)


def test_scope_of_what_is_stored_and_told(storage, tmp_path):
    """Of an excluded domain nothing is stored; an excluded workflow is only not told."""
    bodies = run(WORKFLOWS["linear"], storage).bodies()

    domain, nothing = replay(bodies, tmp_path / "a", exclude=["flytesnacks/development"])
    workflow, untold = replay(bodies, tmp_path / "b", exclude=["*/*/app.etl"])

    assert (domain.events, nothing) == (0, [])
    assert (workflow.executions, untold) == (1, [])


def test_the_samples_mixed_up(storage, tmp_path):
    """Branches, maps, dynamic nodes, caches, failures and joined pipelines in disorder."""
    streams = simulate_samples(storage, start=START, fast=True)
    bodies = [body for one in streams for body in one.shuffled(3).duplicated(1).bodies("v2")]

    report, found = replay(bodies, tmp_path / "run")

    by_name = {one.execution.name: one for one in found}
    assert not report.failed
    for stream in streams:
        lineage = by_name[stream.execution.name]
        assert comparable(told(lineage)) == comparable(stream.truth)


def test_random_workflows_in_random_order(storage, tmp_path):
    """Graphs nobody drew: every edge right, none invented."""
    numbers = random.Random(7)
    streams = []
    for index in range(8):
        nodes = []
        for position in range(numbers.randint(3, 9)):
            sources = numbers.sample(range(position), min(position, numbers.randint(0, 3)))
            nodes.append(
                Node(
                    f"n{position}",
                    Task(f"app.w{index}.t{numbers.randint(0, 5)}", {"o0": FRAME, "o1": FRAME}),
                    {
                        f"i{source}": Output(f"n{source}", numbers.choice(["o0", "o1"]))
                        for source in sources
                    },
                )
            )
        workflow = Workflow(f"app.w{index}.main", tuple(nodes))
        streams.append(run(workflow, storage, f"e{index}", seed=index))
    bodies = [body for stream in streams for body in stream.shuffled(1).duplicated(2).bodies()]
    numbers.shuffle(bodies)

    report, found = replay(bodies, tmp_path / "run")

    by_name = {one.execution.name: one for one in found}
    assert report.delivered == {"file": 8}
    for stream in streams:
        assert comparable(told(by_name[stream.execution.name])) == comparable(stream.guessed_truth)
