from __future__ import annotations

import pytest

from flytelineage import naming
from flytelineage.entities import DatasetId, PipelineId
from flytelineage.facts import Facts, Identifier, NodeFacts
from tests.factories import EXECUTION

HEX = "0123456789abcdef0123456789abcdef"
PIPELINE = PipelineId(project="shop", domain="production", name="app.etl.main")


def node(id, task="", *, parent="", launch_plan=""):
    def identifier(name):
        return Identifier("shop", "production", name, "v1") if name else None

    return NodeFacts(
        id=id, parent=parent, task=identifier(task), launch_plan=identifier(launch_plan)
    )


GUESSES = {
    "the module most tasks share": (
        [node("n0", "lib.io.read"), node("n1", "app.etl.a"), node("n2", "app.etl.b")],
        "app.etl",
    ),
    "a tie goes to the first node, n2 before n10": (
        [node("n10", "zoo.b"), node("n2", "app.a")],
        "app",
    ),
    "a name without a dot is its own": ([node("n0", "load")], "load"),
    "tasks below the top only when there is none at the top": (
        [node("n0"), node("n0-0-n0", "deep.task", parent="n0")],
        "deep",
    ),
    "below the top a parent does not count": (
        [
            node("n0"),
            node("n0-0-n0", "fan.out", parent="n0"),
            node("n0-0-n0-0-n0", "deep.task", parent="n0-0-n0"),
        ],
        "deep",
    ),
    "launch plans when there is no task": ([node("n0", launch_plan="app.child.wf")], "app.child"),
    "nothing at all": ([node("n0")], None),
}


@pytest.mark.parametrize("case", GUESSES)
def test_a_guess_rests_on_task_names(case):
    nodes, workflow = GUESSES[case]

    assert naming.guess_workflow(nodes) == workflow
    assert naming.guess_workflow(reversed(nodes)) == workflow


def test_the_launch_plan_goes_before_a_guess():
    facts = Facts(
        EXECUTION,
        launch_plan=Identifier("", "", "app.etl.main", "v1"),
        nodes={"n0": node("n0", "lib.load")},
    )

    assert naming.pipeline_name(facts) == ("app.etl.main", "launch plan")


URIS = {
    "s3://lake/sales/orders": ("s3", "lake/sales/orders"),
    "s3a://lake/sales/orders/": ("s3", "lake/sales/orders"),
    "s3n://lake/sales/orders/part-0001.parquet": ("s3", "lake/sales/orders"),
    "s3://lake/sales/orders/00000": ("s3", "lake/sales/orders"),
    "s3://lake/sales/dt=2026-01-01/hour=3/x.parquet": ("s3", "lake/sales"),
    "s3://lake/report.csv": ("s3", "lake/report.csv"),
    "s3://lake": ("s3", "lake"),
    "gs://lake/a/b": ("gcs", "lake/a/b"),
    "abfs://box@acme.dfs.core.windows.net/a/b": ("abs", "box/a/b"),
    "wasbs://box@acme.blob.core.windows.net/a": ("abs", "box/a"),
    "bq://proj:Data.Table": ("bigquery", "proj.Data.Table"),
    "bq://proj.data.table": ("bigquery", "proj.data.table"),
    "snowflake://user:account/WH/DB/PUBLIC/ORDERS": ("snowflake", "db.public.orders"),
    "file:///srv/data/a.csv": ("file", "/srv/data/a.csv"),
    "/srv/data/a.csv": ("file", "/srv/data/a.csv"),
    "mystery://a/b": ("mystery", "a/b"),
}


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_is_named_by_the_platform_that_owns_it(uri):
    platform, name = URIS[uri]

    assert naming.dataset_id(uri) == DatasetId(platform=platform, name=name)


@pytest.mark.parametrize(
    "uri",
    ["s3://", "s3:///", "file://", "/", "bq://", "orders", "../orders.csv", "[::1", "a b://c"],
)
def test_what_names_nothing_is_no_dataset(uri):
    """A catalogue would refuse it, and with it all else that the execution tells."""
    assert naming.dataset_id(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://b/data/x9/a1b2-n0-0/{HEX}",
        f"s3://b/data/x9/a1b2-n0-0/{HEX}/",
        f"s3a://b/data/x9/a1b2-n0-0/{HEX}/00000",
        f"s3://b/data/x9/a1b2-n0-0/{HEX}/folder/file.csv",
    ],
)
def test_raw_output_is_known_by_its_layout(uri):
    """Whatever the prefix; the key ends with the random folder."""
    assert naming.raw_output(uri) == naming.RawOutput(
        f"s3://b/data/x9/a1b2-n0-0/{HEX}", "a1b2-n0-0"
    )


@pytest.mark.parametrize(
    "uri", [f"s3://b/data/{HEX}", f"s3://b/x9/a/{HEX[:-1]}", "s3://b/x9/a/b", "", "s3://", HEX]
)
def test_other_uris_are_not_raw_output(uri):
    assert naming.raw_output(uri) is None


def test_the_owner_names_execution_and_node():
    assert naming.written_by("a1b2-n0-0", "a1b2", "n0")
    assert naming.written_by("a1b2-n0-0", "a1b2")
    assert not naming.written_by("a1b2-n0-0", "a1b2", "n")
    assert not naming.written_by("a1b2-n0-0-n1-0", "a1b2", "n0")
    assert not naming.written_by("fabcdefg", "a1b2")


def test_an_output_is_named_by_pipeline_task_and_variable():
    assert str(naming.task_output(PIPELINE, "app.etl.load@n0", "o0")) == (
        "flyte:shop.production.app.etl.main.app.etl.load@n0.o0"
    )


def test_the_deployment_is_no_part_of_a_datasets_name():
    """A target that puts it in front would do so twice."""
    pipeline = PIPELINE.model_copy(update={"instance": "eu"})

    dataset = naming.task_output(pipeline, "app.etl.load", "o0")

    assert (dataset.instance, dataset.name) == (
        "eu",
        "shop.production.app.etl.main.app.etl.load.o0",
    )
    assert str(dataset) == f"flyte:{pipeline}.app.etl.load.o0"


def test_an_artifact_gives_the_name():
    """`Annotated[.., Artifact(name=..)]` goes before the default."""
    from flyteidl.core import artifact_id_pb2, interface_pb2

    variable = interface_pb2.Variable(
        artifact_partial_id=artifact_id_pb2.ArtifactID(
            artifact_key=artifact_id_pb2.ArtifactKey(name="orders")
        )
    )
    interface = interface_pb2.TypedInterface(
        outputs=interface_pb2.VariableMap(
            variables={"o0": variable, "o1": interface_pb2.Variable()}
        )
    )

    found = naming.artifacts(interface.SerializeToString(), PIPELINE)

    assert found == {"o0": DatasetId(platform="flyte", name="shop.production.orders")}
