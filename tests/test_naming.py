from __future__ import annotations

import base64

import pytest

from flytelineage import naming
from flytelineage.entities import DatasetId, PipelineId
from flytelineage.facts import Facts, Identifier, NodeFacts
from tests.factories import EXECUTION

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


@pytest.mark.parametrize("strange", ["²", "٣" * 5000, "n" + "1" * 5000])
def test_an_id_that_no_number_can_be_read_from_has_a_place_all_the_same(strange):
    """Spec node ids are texts, and Python refuses to read long numbers."""
    assert sorted(["n10", strange, "n2"], key=naming.natural).index("n10") > 0


def test_the_launch_plan_goes_before_a_guess():
    facts = Facts(
        EXECUTION,
        launch_plan=Identifier("", "", "app.etl.main", "v1"),
        nodes={"n0": node("n0", "lib.load")},
    )

    assert naming.pipeline_name(facts) == ("app.etl.main", "launch plan")


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


def artifact_literal(**key):
    """What flytekit puts into a literal's metadata where partitions were chosen at run time."""
    from flyteidl.core import artifact_id_pb2

    found = artifact_id_pb2.ArtifactID(artifact_key=artifact_id_pb2.ArtifactKey(**key), version="7")
    found.partitions.value["dt"].static_value = "2026-01-01"
    return {"_uap": base64.b64encode(found.SerializeToString()).decode(), "mine": "x"}


def test_a_literal_can_say_which_artifact_it_is():
    """All partitions of an artifact are one dataset, and the interface says the same."""
    assert naming.artifact_of(artifact_literal(name="orders"), PIPELINE) == DatasetId(
        platform="flyte", name="shop.production.orders"
    )


def test_an_artifact_of_another_project_keeps_it():
    literal = artifact_literal(name="orders", project="lake", domain="development")

    dataset = naming.artifact_of(literal, PIPELINE)

    assert str(dataset) == "flyte:lake.development.orders"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"mine": "x"},
        {"_uap": ""},
        {"_uap": "no base64!"},
        {"_uap": "AAAA"},
        {"_uap": "ü"},
        {"_uap": "A" * 100_000},
        artifact_literal(name=""),
        artifact_literal(name=" \n"),
    ],
)
def test_what_names_no_artifact_is_passed_over(metadata):
    """Anybody can write metadata."""
    assert naming.artifact_of(metadata, PIPELINE) is None


def test_what_others_import_stays_here():
    """The rules for URIs live in modules of their own."""
    raw = naming.raw_output("s3://b/x9/a1b2-n0-0/0123456789abcdef0123456789abcdef/00000")

    assert raw is not None
    assert naming.written_by(raw.owner, "a1b2", "n0")
    assert naming.normalised("s3a://b/a/") == "s3://b/a"
    assert naming.dataset_id("s3a://b/a/") == naming.Names().dataset_id("s3://b/a")
