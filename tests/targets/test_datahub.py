"""DataHubTarget: what DataHub is told, nothing invented and nobody's words erased."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from traitlets import TraitError

from flytelineage.entities import (
    IO,
    ColumnEdge,
    Copies,
    Copy,
    Dataset,
    DatasetId,
    DataType,
    Edge,
    Entity,
    Evidence,
    Field,
    FormerEdges,
    Lineage,
    Logic,
    Operation,
    Owner,
    Ownership,
    Partial,
    Pipeline,
    PipelineId,
    Profile,
    Properties,
    Run,
    RunId,
    Schema,
    Storage,
    Tags,
    Task,
    TaskEdge,
    TaskId,
    Terms,
    Version,
)
from flytelineage.errors import ConfigError
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.datahub.urns import FABRICS, Urns, encoded_bytes
from flytelineage.testing.datahub import GmsDouble
from tests.factories import EXECUTION, NOW

PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
LOAD = TaskId(pipeline=PIPELINE, name="app.load")
TRAIN = TaskId(pipeline=PIPELINE, name="app.train")
ORDERS = DatasetId(platform="flyte", name="shop.production.app.daily.app.load.o0")
BUCKET = DatasetId(platform="s3", name="lake/raw/orders")

FLOW = "urn:li:dataFlow:(flyte,shop.production.app.daily,PROD)"
LOAD_URN = f"urn:li:dataJob:({FLOW},app.load)"
TRAIN_URN = f"urn:li:dataJob:({FLOW},app.train)"
ORDERS_URN = f"urn:li:dataset:(urn:li:dataPlatform:flyte,{ORDERS.name},PROD)"
BUCKET_URN = "urn:li:dataset:(urn:li:dataPlatform:s3,lake/raw/orders,PROD)"

DATA = (Evidence.DATA,)
READS_BUCKET = IO(
    inputs=(Edge(dataset=BUCKET, evidence=DATA),),
    outputs=(Edge(dataset=ORDERS, evidence=DATA, variables=("o0",)),),
)
READS_ORDERS = IO(
    inputs=(Edge(dataset=ORDERS, evidence=(Evidence.DATA, Evidence.DEFINITION)),),
    upstream=(TaskEdge(task=LOAD, evidence=DATA),),
)
COLUMNS = Schema(fields=(Field(name="id", type=DataType(kind="int", bits=64)),))
PARQUET = Storage(uri="s3://flyte/xy/0", format="parquet", files=2, bytes=70)
WRITTEN = Operation(kind="write", at=NOW, run=RunId(execution=EXECUTION, node="n0", attempt=0))
OWNERS = Ownership(owners=(Owner(id="ada"), Owner(id="data", kind="group", type="business")))


MILLIS = int(NOW.timestamp() * 1000)


@pytest.fixture
def gms() -> Iterator[GmsDouble]:
    with GmsDouble() as double:
        yield double


def run(**known: Any) -> Run:
    known = {"execution": EXECUTION, "pipeline": PIPELINE, "phase": "SUCCEEDED", **known}
    return Run(**{"started_at": NOW, "ended_at": NOW + timedelta(seconds=3), **known})


def lineage(**changes: Any) -> Lineage:
    """One execution of two tasks, of which everything is known."""
    whole = Lineage(
        execution=EXECUTION,
        phase="SUCCEEDED",
        started_at=NOW,
        pipelines=(
            Pipeline.of(
                PIPELINE,
                as_of=NOW,
                properties=Properties(description="Every day", custom={"name_source": "admin"}),
                version=Version(version="v1"),
                kind="workflow",
                ownership=OWNERS,
                tags=Tags(names=("pii",)),
            ),
        ),
        tasks=(
            Task.of(
                LOAD,
                as_of=NOW,
                properties=Properties(name="load"),
                version=Version(version="v1", source="https://git/etl"),
                kind="python-task",
                io=READS_BUCKET,
                logic=Logic(sql="SELECT 1", image="etl:1"),
            ),
            Task.of(TRAIN, as_of=NOW, properties=Properties(), io=READS_ORDERS),
        ),
        datasets=(
            Dataset.of(
                ORDERS,
                as_of=NOW,
                properties=Properties(name="load.o0", custom={"kind": "blob"}),
                schema=COLUMNS,
                storage=PARQUET,
                profile=Profile(rows=3, bytes=70),
                operation=WRITTEN,
                tags=Tags(names=("gold",)),
            ),
            Dataset.of(BUCKET, as_of=NOW),
        ),
        runs=(
            run(inputs=(BUCKET,), outputs=(ORDERS,)),
            run(node="n0", attempt=0, task=LOAD, parent=RunId(execution=EXECUTION)),
        ),
    )
    return whole.model_copy(update=changes)


def tell(gms: GmsDouble, said: Lineage | list[Entity], **options: Any) -> Any:
    """What the server knows after an emission that it accepted."""
    target = DataHubTarget(server=gms.url, **options)
    try:
        assert target.emit(said) == []
    finally:
        target.close()
    return gms.aspects


def test_all_edges_are_told_with_their_evidence(gms: GmsDouble) -> None:
    """Edges carry what shows them; the plain lists, which cannot be patched, stay empty."""
    known = tell(gms, lineage())

    io = known[TRAIN_URN, "dataJobInputOutput"]
    assert io["inputDatasets"] == io["outputDatasets"] == []
    assert io["inputDatasetEdges"] == [
        {
            "destinationUrn": ORDERS_URN,
            "properties": {
                "evidence": "data,definition",
                "observed_at": "2026-05-01T12:00:00.000+00:00",
            },
        }
    ]
    assert [edge["destinationUrn"] for edge in io["inputDatajobEdges"]] == [LOAD_URN]
    [output] = known[LOAD_URN, "dataJobInputOutput"]["outputDatasetEdges"]
    assert output["properties"]["variables"] == "o0"


def test_what_is_referred_to_comes_first(gms: GmsDouble) -> None:
    """The platform, flows, jobs, datasets, runs: DataHub shows no job without its flow."""
    tell(gms, lineage())

    kinds = [urn.split(":")[2] for request in gms.requests for urn, _ in request.proposals]
    assert list(dict.fromkeys(kinds)) == [
        "dataPlatform", "dataFlow", "dataJob", "dataset", "dataProcessInstance",
    ]  # fmt: skip


def test_a_pipeline_is_described(gms: GmsDouble) -> None:
    """Its name, version, kind and place."""
    known = tell(gms, lineage())

    assert known[FLOW, "dataFlowInfo"] == {
        "name": "app.daily",
        "description": "Every day",
        "customProperties": {"name_source": "admin"},
        "project": "shop",
        "lastModified": {"time": MILLIS, "actor": "urn:li:corpuser:flytelineage"},
        "env": "PROD",
    }
    assert known[FLOW, "versionInfo"]["version"] == "v1"
    assert known[FLOW, "subTypes"] == {"typeNames": ["Workflow"]}
    assert [entry["id"] for entry in known[FLOW, "browsePathsV2"]["path"]] == [
        "shop",
        "production",
    ]


def test_a_version_says_when_it_was_registered(gms: GmsDouble) -> None:
    """Of pipelines and tasks; it stays where later only the properties are told."""
    registered = {"version": Version(version="v1", registered_at=NOW - timedelta(days=2))}
    stamp = {"time": MILLIS - 2 * 86_400_000, "actor": "urn:li:corpuser:flytelineage"}
    flow = Pipeline.of(PIPELINE, as_of=NOW, properties=Properties(), **registered)
    job = Task.of(LOAD, as_of=NOW, properties=Properties(url="https://logs"), **registered)
    known = tell(gms, [flow, job])

    for info in (known[FLOW, "dataFlowInfo"], known[LOAD_URN, "dataJobInfo"]):
        assert info["created"] == info["lastModified"] == stamp

    known = tell(gms, [Task.of(LOAD, as_of=NOW, properties=Properties(description="More"))])
    info = known[LOAD_URN, "dataJobInfo"]
    assert (info["created"], info["lastModified"]["time"]) == (stamp, MILLIS)
    assert "externalUrl" not in info


def test_a_domain_of_flyte_is_an_environment(gms: GmsDouble) -> None:
    """It is shown as one; names have that of the deployment."""
    staging = PipelineId(project="shop", domain="staging", name="w")
    sandbox = staging.model_copy(update={"domain": "sandbox"})
    task = Task.of(TaskId(pipeline=staging, name="t"), properties=Properties())

    flows = [Pipeline.of(each, properties=Properties()) for each in (staging, sandbox)]
    known = tell(gms, [*flows, task], env="CORP")

    flow = "urn:li:dataFlow:(flyte,shop.staging.w,CORP)"
    assert known[flow, "dataFlowInfo"]["env"] == "STG"
    assert known[f"urn:li:dataJob:({flow},t)", "dataJobInfo"]["env"] == "STG"
    assert known[flow.replace("staging", "sandbox"), "dataFlowInfo"]["env"] == "CORP"


def test_a_task_is_described(gms: GmsDouble) -> None:
    """Its flow, kind and what it runs."""
    known = tell(gms, lineage())

    assert known[LOAD_URN, "dataJobInfo"]["name"] == "load"
    assert known[LOAD_URN, "dataJobInfo"]["flowUrn"] == FLOW
    assert known[LOAD_URN, "subTypes"] == {"typeNames": ["Python Task"]}
    texts = [
        each["queryStatement"]["value"]
        for each in known[LOAD_URN, "dataTransformLogic"]["transforms"]
    ]
    assert texts == ["SELECT 1", "image: etl:1"]


def test_a_dataset_is_described(gms: GmsDouble) -> None:
    """Where its data lies is a property and never its name."""
    known = tell(gms, lineage())

    assert known[ORDERS_URN, "datasetProperties"]["name"] == "load.o0"
    assert known[ORDERS_URN, "datasetProperties"]["customProperties"] == {
        "bytes": "70", "files": "2", "format": "parquet", "kind": "blob", "uri": "s3://flyte/xy/0",
    }  # fmt: skip
    assert [field["fieldPath"] for field in known[ORDERS_URN, "schemaMetadata"]["fields"]] == ["id"]
    assert known[ORDERS_URN, "status"] == {"removed": False}
    assert [entry["id"] for entry in known[ORDERS_URN, "browsePathsV2"]["path"]] == [
        "shop", "production", "app.daily.app.load",
    ]  # fmt: skip


def test_counts_and_writes_are_events(gms: GmsDouble) -> None:
    """A profile and an operation, at the times that Flyte told."""
    tell(gms, lineage())

    [profile] = gms.events[ORDERS_URN, "datasetProfile"].values()
    [operation] = gms.events[ORDERS_URN, "operation"].values()
    assert (profile["rowCount"], profile["sizeInBytes"]) == (3, 70)
    assert (operation["operationType"], operation["numAffectedRows"]) == ("INSERT", 3)
    assert operation["timestampMillis"] == NOW.timestamp() * 1000


def test_a_cache_hit_is_no_write(gms: GmsDouble) -> None:
    """Data from the cache is confirmed."""
    confirmed = WRITTEN.model_copy(update={"kind": "confirm"})

    tell(gms, [Dataset.of(ORDERS, as_of=NOW, operation=confirmed)])

    [operation] = gms.events[ORDERS_URN, "operation"].values()
    assert operation["timestampMillis"] == MILLIS
    assert operation["operationType"] == "CUSTOM"
    assert operation["customOperationType"] == "CONFIRM"


def test_a_cache_hit_does_not_look_like_an_update(gms: GmsDouble) -> None:
    """DataHub's pages show the later of two times: they stay at that of the write."""
    later = NOW + timedelta(days=1)
    confirmed = WRITTEN.model_copy(update={"kind": "confirm", "at": later})
    tell(gms, lineage())

    known = tell(gms, [Dataset.of(each, operation=confirmed) for each in (ORDERS, BUCKET)])

    assert known[ORDERS_URN, "datasetProperties"]["lastModified"]["time"] == MILLIS
    *_, newest = gms.events[ORDERS_URN, "operation"].values()
    assert newest["lastUpdatedTimestamp"] == 0
    # It would hide what the platform's own source knows.
    assert (BUCKET_URN, "operation") not in gms.events


# ------------------------------------------------------------------ nothing erased


def test_unknown_io_leaves_the_edges_alone(gms: GmsDouble) -> None:
    """A task of which no io is known keeps what DataHub has."""
    before = dict(tell(gms, lineage()))[LOAD_URN, "dataJobInputOutput"]

    after = tell(gms, [Task.of(LOAD, properties=Properties(description="new"))])

    assert after[LOAD_URN, "dataJobInputOutput"] == before
    assert after[LOAD_URN, "dataJobInfo"]["description"] == "new"


def test_edges_that_hold_no_longer_go(gms: GmsDouble) -> None:
    """Each by itself, and also if it is there no more."""
    column = ColumnEdge(dataset=ORDERS, column="id", sources=((BUCKET, "key"),), evidence=DATA)
    former = FormerEdges(
        inputs=(BUCKET,),
        outputs=(BUCKET,),
        upstream=(TRAIN,),
        columns=((ORDERS, "id", BUCKET, "key"), (ORDERS, "id", BUCKET, "never told")),
    )
    tell(gms, [Task.of(LOAD, io=READS_BUCKET.model_copy(update={"columns": (column,)}))])

    outputs = IO(outputs=READS_BUCKET.outputs)
    known = tell(gms, [Task.of(LOAD, io=outputs, former=former)])

    io = known[LOAD_URN, "dataJobInputOutput"]
    assert io["inputDatasetEdges"] == io["inputDatajobEdges"] == io["fineGrainedLineages"] == []
    assert [edge["destinationUrn"] for edge in io["outputDatasetEdges"]] == [ORDERS_URN]


def test_without_patches_the_edges_are_replaced(gms: GmsDouble) -> None:
    """What a task no longer reads goes, and what somebody drew goes with it."""
    tell(gms, lineage())

    known = tell(gms, [Task.of(LOAD, io=IO())], patches=False)

    assert known[LOAD_URN, "dataJobInputOutput"]["inputDatasetEdges"] == []


@pytest.mark.parametrize("patches", [True, False])
def test_a_task_that_is_no_more_is_removed(gms: GmsDouble, patches: bool) -> None:
    """With its edges and nothing else, until it is told again."""
    former = FormerEdges(inputs=(BUCKET,), outputs=(ORDERS,))
    before = dict(tell(gms, lineage()))

    known = dict(tell(gms, [Task.of(LOAD, removed=True, former=former)], patches=patches))

    assert known.pop((LOAD_URN, "status")) == {"removed": True}
    io = known.pop((LOAD_URN, "dataJobInputOutput"))
    assert io["inputDatasetEdges"] == io["outputDatasetEdges"] == []
    assert known == {key: value for key, value in before.items() if key in known}
    assert len(gms.requests[-1].proposals) == 3  # the platform's among them

    assert tell(gms, lineage())[LOAD_URN, "status"] == {"removed": False}


def test_incomplete_io_only_adds(gms: GmsDouble) -> None:
    """Edges that may not be all are united with those that DataHub has."""
    other = DatasetId(platform="flyte", name="shop.production.app.daily.app.more.o0")
    column = ColumnEdge(dataset=ORDERS, column="id", sources=((BUCKET, "key"),), evidence=DATA)
    more = IO(
        inputs=(Edge(dataset=other, evidence=DATA),),
        upstream=(TaskEdge(task=TRAIN, evidence=DATA),),
        columns=(column,),
        complete=False,
    )
    tell(gms, lineage())

    io = tell(gms, [Task.of(LOAD, io=more)])[LOAD_URN, "dataJobInputOutput"]

    assert [edge["destinationUrn"] for edge in io["inputDatasetEdges"]] == [
        BUCKET_URN,
        f"urn:li:dataset:(urn:li:dataPlatform:flyte,{other.name},PROD)",
    ]
    assert len(io["outputDatasetEdges"]) == len(io["inputDatajobEdges"]) == 1
    [fine] = io["fineGrainedLineages"]
    assert fine["upstreams"] == [f"urn:li:schemaField:({BUCKET_URN},key)"]
    assert fine["downstreams"] == [f"urn:li:schemaField:({ORDERS_URN},id)"]


def test_incomplete_io_without_edges_says_nothing(gms: GmsDouble) -> None:
    """Nothing is known of the edges, so nothing is said."""
    known = tell(gms, [Task.of(LOAD, io=IO(complete=False))])

    assert (LOAD_URN, "dataJobInputOutput") not in known


def test_complete_io_tells_columns(gms: GmsDouble) -> None:
    """Each column that was made has an entry of its own: others cannot be patched."""
    column = ColumnEdge(dataset=ORDERS, column="id", sources=((BUCKET, "key"),), evidence=DATA)

    known = tell(gms, [Task.of(LOAD, io=READS_BUCKET.model_copy(update={"columns": (column,)}))])

    [fine] = known[LOAD_URN, "dataJobInputOutput"]["fineGrainedLineages"]
    assert fine["upstreams"] == [f"urn:li:schemaField:({BUCKET_URN},key)"]
    assert fine["downstreams"] == [f"urn:li:schemaField:({ORDERS_URN},id)"]


def test_a_retired_task_loses_its_edges_and_stays(gms: GmsDouble) -> None:
    """A task that is now told per place is emptied, not removed."""
    tell(gms, lineage())

    former = FormerEdges(inputs=(BUCKET,), outputs=(ORDERS,))
    known = tell(gms, [Task.of(LOAD, retired=True, io=READS_BUCKET, former=former)])

    assert known[LOAD_URN, "dataJobInputOutput"]["inputDatasetEdges"] == []
    assert known[LOAD_URN, "dataJobInputOutput"]["outputDatasetEdges"] == []
    assert known[LOAD_URN, "status"] == {"removed": False}


@pytest.mark.parametrize("phase", ["FAILED", "ABORTED", "TIMED_OUT"])
def test_a_failed_execution_leaves_the_edges_alone(gms: GmsDouble, phase: str) -> None:
    """It saw only a part of them; its run is told all the same."""
    before = dict(tell(gms, lineage()))[LOAD_URN, "dataJobInputOutput"]

    failed = (Task.of(LOAD, as_of=NOW, io=IO()),)
    after = tell(gms, lineage(phase=phase, tasks=failed, runs=(run(phase=phase),)))

    assert after[LOAD_URN, "dataJobInputOutput"] == before
    assert (Urns().run(RunId(execution=EXECUTION)), "dataProcessInstanceProperties") in after


def test_owners_and_tags_are_added_to_those_of_people(gms: GmsDouble) -> None:
    """What somebody gave in DataHub's pages stays."""
    gms.aspects[FLOW, "ownership"] = {"owners": [{"owner": "urn:li:corpuser:eve", "type": "NONE"}]}
    gms.aspects[FLOW, "globalTags"] = {"tags": [{"tag": "urn:li:tag:mine"}]}

    known = tell(gms, lineage())
    tell(gms, lineage())

    owners = [(each["owner"], each["type"]) for each in known[FLOW, "ownership"]["owners"]]
    assert owners == [
        ("urn:li:corpuser:eve", "NONE"),
        ("urn:li:corpuser:ada", "TECHNICAL_OWNER"),
        ("urn:li:corpGroup:data", "BUSINESS_OWNER"),
    ]
    tags = [each["tag"] for each in known[FLOW, "globalTags"]["tags"]]
    assert tags == ["urn:li:tag:mine", "urn:li:tag:pii"]


@pytest.mark.parametrize("patches", [True, False])
def test_what_only_operators_know_is_told(gms: GmsDouble, patches: bool) -> None:
    """Terms, a domain of the business, and structured properties; names may be URNs."""
    said = {
        "terms": Terms(names=("Order", "urn:li:glossaryTerm:a(b)")),
        "domain_name": " sales ",
        "structured": {"tier": "gold"},
    }
    urns = {
        FLOW: Pipeline.of(PIPELINE, as_of=NOW, **said),
        LOAD_URN: Task.of(LOAD, as_of=NOW, **said),
    }

    known = tell(gms, [*urns.values(), Dataset.of(ORDERS, as_of=NOW, **said)], patches=patches)

    for urn in (*urns, ORDERS_URN):
        terms = known[urn, "glossaryTerms"]
        assert [each["urn"] for each in terms["terms"]] == [
            "urn:li:glossaryTerm:Order",
            "urn:li:glossaryTerm:a(b)",
        ]
        assert terms["auditStamp"]["time"] == MILLIS
        assert known[urn, "domains"]["domains"] == ["urn:li:domain:sales"]
        assert known[urn, "structuredProperties"]["properties"] == [
            {"propertyUrn": "urn:li:structuredProperty:tier", "values": [{"string": "gold"}]}
        ]


@pytest.mark.parametrize(("mode", "expected"), [("upsert", True), ("off", False)])
def test_owners_and_tags_can_be_replaced_or_left(gms: GmsDouble, mode: str, expected: bool) -> None:
    """The option decides; no proposal is ever a patch then."""
    known = tell(gms, lineage(), owners_and_tags=mode)

    assert ((FLOW, "ownership") in known) is expected
    assert ((FLOW, "globalTags") in known) is expected


def test_unknown_owners_and_tags_are_never_told(gms: GmsDouble) -> None:
    """An empty list would take those away that people gave."""
    known = tell(gms, [Pipeline.of(PIPELINE, properties=Properties())])

    assert {aspect for _, aspect in known} == {
        "dataPlatformInfo", "dataFlowInfo", "status", "browsePathsV2",
    }  # fmt: skip


def test_an_ownership_type_of_ones_own(gms: GmsDouble) -> None:
    """What DataHub has no word for is a custom type."""
    owner = Owner(id="ada", type="auditor")

    known = tell(gms, [Pipeline.of(PIPELINE, ownership=Ownership(owners=(owner,)))])

    assert known[FLOW, "ownership"]["owners"] == [
        {
            "owner": "urn:li:corpuser:ada",
            "type": "CUSTOM",
            "typeUrn": "urn:li:ownershipType:auditor",
        }
    ]


def test_storage_alone_leaves_the_other_properties(gms: GmsDouble) -> None:
    """Two of our aspects share one of DataHub's: either may be told without the other."""
    tell(gms, lineage())

    known = tell(gms, [Dataset.of(ORDERS, storage=Storage(uri="s3://flyte/xy/1"))])

    properties = known[ORDERS_URN, "datasetProperties"]
    assert properties["name"] == "load.o0"
    assert properties["customProperties"]["uri"] == "s3://flyte/xy/1"
    assert properties["customProperties"]["kind"] == "blob"


def test_without_patches_a_place_takes_no_name_away(gms: GmsDouble) -> None:
    """Written whole, the properties would lose what else was known."""
    before = dict(tell(gms, lineage()))[ORDERS_URN, "datasetProperties"]

    known = tell(gms, [Dataset.of(ORDERS, storage=Storage(uri="s3://b/1"))], patches=False)

    assert known[ORDERS_URN, "datasetProperties"] == before


def test_datasets_of_other_platforms_are_only_added_to(gms: GmsDouble) -> None:
    """Their own source describes them; DataHub only learns that they exist."""
    gms.aspects[BUCKET_URN, "datasetProperties"] = {
        "name": "orders",
        "customProperties": {"a": "b"},
    }
    told = Dataset.of(
        BUCKET,
        as_of=NOW,
        properties=Properties(name="ours", custom={"c": "d"}),
        schema=COLUMNS,
        tags=Tags(names=("raw",)),
    )

    known = tell(gms, [told], owners_and_tags="upsert")

    assert {aspect for urn, aspect in known if urn == BUCKET_URN} == {
        "datasetKey", "datasetProperties", "globalTags",
    }  # fmt: skip
    assert known[BUCKET_URN, "datasetProperties"] == {
        "name": "orders",
        "customProperties": {"a": "b", "c": "d"},
    }


def test_without_patches_other_platforms_are_left_alone(gms: GmsDouble) -> None:
    """Whatever is told of them would replace what their own source says."""
    everything = Dataset.of(
        BUCKET,
        properties=Properties(description="ours"),
        storage=PARQUET,
        ownership=OWNERS,
        tags=Tags(names=("raw",)),
        terms=Terms(names=("Order",)),
        operation=WRITTEN,
    )

    known = tell(gms, [everything], patches=False)

    assert {aspect for urn, aspect in known if urn == BUCKET_URN} == {"datasetKey"}
    assert (BUCKET_URN, "operation") in gms.events


def test_schemas_of_other_platforms_on_request(gms: GmsDouble) -> None:
    """Where nothing else describes them."""
    known = tell(gms, [Dataset.of(BUCKET, schema=COLUMNS)], foreign_schemas=True)

    assert known[BUCKET_URN, "schemaMetadata"]["platform"] == "urn:li:dataPlatform:s3"


def test_what_is_only_referred_to_exists(gms: GmsDouble) -> None:
    """Flyte's own, so that the edges are shown; of others nothing is said."""
    known = tell(gms, [Task.of(TRAIN, io=READS_ORDERS), Task.of(LOAD, io=READS_BUCKET)])

    assert known[FLOW, "status"] == {"removed": False}
    assert known[ORDERS_URN, "status"] == {"removed": False}
    assert BUCKET_URN not in {urn for urn, _ in known}


# -------------------------------------------------------------------------- copies

TABLE = DatasetId(platform="glue", name="flyte.orders")
TABLE_URN = "urn:li:dataset:(urn:li:dataPlatform:glue,flyte.orders,PROD)"


@pytest.mark.parametrize("patches", [True, False])
def test_a_copy_comes_from_what_it_is_a_copy_of(gms: GmsDouble, patches: bool) -> None:
    """Under the name that DataHub's source of the other catalogue gives it, and its columns."""
    columns = (("id", "id"), ("Geo", "geo"), ("GEO", "geo"))
    copies = Copies(known=(Copy(dataset=TABLE, uri="arn:aws:glue:table", columns=columns),))

    known = tell(gms, [Dataset.of(ORDERS, copies=copies)], patches=patches)

    assert known[TABLE_URN, "datasetKey"]["name"] == "flyte.orders"
    lineage = known[TABLE_URN, "upstreamLineage"]
    [upstream] = lineage["upstreams"]
    assert (upstream["dataset"], upstream["type"]) == (ORDERS_URN, "COPY")
    assert upstream["properties"] == {"uri": "arn:aws:glue:table"}
    made_of = {
        column["downstreams"][0]: column["upstreams"] for column in lineage["fineGrainedLineages"]
    }
    field = "urn:li:schemaField:"
    assert made_of == {
        f"{field}({TABLE_URN},id)": [f"{field}({ORDERS_URN},id)"],
        f"{field}({TABLE_URN},geo)": [f"{field}({ORDERS_URN},Geo)", f"{field}({ORDERS_URN},GEO)"],
    }


def test_a_copy_without_known_columns(gms: GmsDouble) -> None:
    """The columns that were told before stay."""
    known, unknown = (
        Copies(known=(Copy(dataset=TABLE, uri="arn:aws:glue:table", columns=columns),))
        for columns in ((("id", "id"),), ())
    )
    tell(gms, [Dataset.of(ORDERS, copies=known)])

    aspects = tell(gms, [Dataset.of(ORDERS, copies=unknown)])

    assert len(aspects[TABLE_URN, "upstreamLineage"]["fineGrainedLineages"]) == 1


# ----------------------------------------------------------------------- proposals


def all_of(number: int) -> tuple[Task, Dataset]:
    """A task and a dataset of which everything is known that Flyte knows."""
    task = lineage().tasks[0]
    dataset = lineage().datasets[0]
    name = dataset.name.replace("load", f"load{number}")
    edge = Edge(dataset=DatasetId(platform="flyte", name=name), evidence=DATA)
    return (
        task.model_copy(
            update={
                "name": f"{task.name}{number}",
                "io": IO(outputs=(edge,)),
                "ownership": OWNERS,
                "tags": Tags(names=("x",)),
            }
        ),
        dataset.model_copy(update={"name": name, "tags": None}),
    )


def test_a_large_execution_needs_few_requests(gms: GmsDouble) -> None:
    """The first time; the official plugin for Airflow needs thousands for as many tasks."""
    tasks, datasets = zip(*map(all_of, range(100)), strict=True)

    tell(gms, lineage(tasks=tasks, datasets=datasets, runs=(run(),)))

    assert len(gms.requests) <= 8


def test_what_is_told_again_is_little(gms: GmsDouble) -> None:
    """Each run writes elsewhere and at another time, and nothing else is news."""
    names = [all_of(number)[1] for number in range(100)]
    news = tuple(each.only(["storage", "operation"]) for each in names)

    tell(gms, lineage(pipelines=(), tasks=(), datasets=news), create_platform=False)

    told = [
        aspect for request in gms.requests for urn, aspect in request.proposals if "set:" in urn
    ]
    assert len(told) == 200 + 1  # and the bucket that the execution read
    assert len(gms.requests) == 2


def test_no_aspect_is_told_twice(gms: GmsDouble) -> None:
    """Of no entity, whatever is known of it."""
    tell(gms, lineage(), run_history="all")

    [request] = gms.requests
    repeated = [each for each in request.proposals if request.proposals.count(each) > 1]
    assert {aspect for _, aspect in repeated} <= {"dataProcessInstanceRunEvent"}


# ----------------------------------------------------------------------------- ids


def test_other_platforms_are_spelled_as_their_sources_spell_them(gms: GmsDouble) -> None:
    """Everywhere: datasets, columns, edges and copies; Flyte's own never."""
    mapped = {
        "s3": {"platform": "minio", "env": "dev", "case": "upper"},
        "glue": {"instance": "main", "env": "TEST"},
    }
    column = ColumnEdge(dataset=ORDERS, column="id", sources=((BUCKET, "key"),), evidence=DATA)
    io = READS_BUCKET.model_copy(update={"columns": (column,)})
    copies = Copies(known=(Copy(dataset=TABLE, uri="arn:aws:glue:table"),))
    orders = Dataset.of(ORDERS, properties=Properties(), copies=copies)

    known = tell(gms, [Task.of(LOAD, io=io), orders, Dataset.of(BUCKET)], platform_map=mapped)

    bucket = "urn:li:dataset:(urn:li:dataPlatform:minio,LAKE/RAW/ORDERS,DEV)"
    table = "urn:li:dataset:(urn:li:dataPlatform:glue,main.flyte.orders,TEST)"
    assert {urn for urn, _ in known if ":dataset:" in urn} == {ORDERS_URN, bucket, table}
    told = known[LOAD_URN, "dataJobInputOutput"]
    assert [edge["destinationUrn"] for edge in told["inputDatasetEdges"]] == [bucket]
    assert told["fineGrainedLineages"][0]["upstreams"] == [f"urn:li:schemaField:({bucket},key)"]
    assert known[table, "dataPlatformInstance"] == {
        "platform": "urn:li:dataPlatform:glue",
        "instance": "urn:li:dataPlatformInstance:(urn:li:dataPlatform:glue,main)",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"s3": {"environ": "DEV"}}, r"platform_map\['s3'\].*env, instance, platform, case"),
        ({"s3": {"env": "LIVE"}}, r"platform_map\['s3'\].*'LIVE'.*PROD, DEV"),
        ({"s3": {"case": "title"}}, r"platform_map\['s3'\].*'title'.*keep, lower, upper"),
        ({"s3": {"instance": "a,b"}}, r"platform_map\['s3'\]: instance 'a,b'.*commas"),
        ({"s3": {"instance": None}}, r"platform_map\['s3'\]: instance None.*text"),
        ({"s3": "DEV"}, r"platform_map\['s3'\].*dictionary"),
        ({"flyte": {"env": "DEV"}}, r"DataHubTarget.platform, platform_instance and env"),
    ],
)
def test_a_wrong_platform_map_says_what_could_stand_there(given: Any, said: str) -> None:
    """When the options are read: names cannot change later."""
    with pytest.raises(TraitError, match=said):
        DataHubTarget(file="x.json", platform_map=given)


def test_an_environment_that_datahub_does_not_know() -> None:
    """Is no environment of a domain either."""
    with pytest.raises(TraitError, match=r"domain_envs\['live'\].*'LIVE'.*PROD, DEV"):
        DataHubTarget(file="x.json", domain_envs={"live": "LIVE"})


def test_names_of_people_and_tags_fit(gms: GmsDouble) -> None:
    """However long, and with white space at their ends."""
    names = (" pii ", "x" * 1000)

    known = tell(gms, [Pipeline.of(PIPELINE, tags=Tags(names=names))])

    first, second = (each["tag"] for each in known[FLOW, "globalTags"]["tags"])
    assert first == "urn:li:tag:pii"
    assert encoded_bytes(second) <= 512


def test_the_instance_is_never_doubled(gms: GmsDouble) -> None:
    """An id that carries the instance gets it once, from the option if that is set."""
    carried = Dataset.of(ORDERS.model_copy(update={"instance": "eu"}))

    for option in ("", "eu"):
        known = tell(gms, [carried], platform_instance=option)

    instance = "urn:li:dataPlatformInstance:(urn:li:dataPlatform:flyte,eu)"
    urns = {urn for urn, _ in known if "dataset:" in urn}
    assert urns == {f"urn:li:dataset:(urn:li:dataPlatform:flyte,eu.{ORDERS.name},PROD)"}
    assert known[urns.pop(), "dataPlatformInstance"]["instance"] == instance


def test_the_instance_is_a_part_of_every_name_of_flyte() -> None:
    """But not of what other platforms name."""
    urns = Urns(instance="eu")

    assert urns.flow(PIPELINE) == FLOW.replace("shop.", "eu.shop.")
    assert urns.job(LOAD).startswith(f"urn:li:dataJob:({urns.flow(PIPELINE)},")
    assert urns.dataset(BUCKET) == BUCKET_URN
    assert urns.run(RunId(execution=EXECUTION)) != Urns().run(RunId(execution=EXECUTION))


def test_the_same_execution_of_two_deployments_is_two_runs() -> None:
    """DataHub's own rule would make them one."""
    here, there = (EXECUTION.model_copy(update={"instance": each}) for each in ("eu", "us"))

    assert Urns().run(RunId(execution=here)) != Urns().run(RunId(execution=there))
    assert Urns().run(RunId(execution=here)) == Urns(instance="eu").run(RunId(execution=EXECUTION))


def test_names_are_spelled_as_datahub_spells_them() -> None:
    """Its own builders come to the same URNs."""
    from datahub.api.entities.dataprocess.dataprocess_instance import DataProcessInstance
    from datahub.emitter import mce_builder

    urns = Urns(env="DEV")
    name = "a(b),c"
    pipeline = PIPELINE.model_copy(update={"name": name})
    dataset = DatasetId(platform="s3", name=name)
    parent = urns.dataset(dataset)

    assert urns.flow(pipeline) == mce_builder.make_data_flow_urn(
        "flyte", "shop.production.a%28b%29%2Cc", "DEV"
    )
    assert parent == mce_builder.make_dataset_urn("s3", name, "DEV")
    assert urns.column(dataset, name) == mce_builder.make_schema_field_urn(parent, name)
    assert urns.run(RunId(execution=EXECUTION, node="n0", attempt=1)) == str(
        DataProcessInstance(id="shop/production/a1b2/n0/1", orchestrator="flyte", cluster="DEV").urn
    )


def test_long_names_are_shortened_and_kept_apart() -> None:
    """GMS refuses URNs of more than 512 bytes; a digest tells the rest of the name."""
    urns = Urns()
    long = "ä/{}" * 200
    names = [f"{long}1", f"{long}2"]
    datasets = {urns.dataset(DatasetId(platform="flyte", name=name)) for name in names}
    flows = [PIPELINE.model_copy(update={"name": name}) for name in names]
    jobs = {
        urns.job(TaskId(pipeline=flow, name=name)) for flow in flows for name in ("short", *names)
    }

    assert len(datasets) == 2
    assert len(jobs) == 6
    assert all(encoded_bytes(urn) <= 512 for urn in datasets | jobs)


@pytest.mark.parametrize("urn", ["urn:li:tag:x ", "urn:li:tag:x␟y", "urn:li:tag:" + "ä" * 86])
def test_names_that_the_server_refuses_are_found(urn: str) -> None:
    """Wherever they are from: a transform may say any URN."""
    import datahub.metadata.schema_classes as m

    from flytelineage.targets.datahub.proposals import Subject, faults

    said = Subject("pipeline:x", urn, NOW).upsert(m.StatusClass(removed=False))

    [refusal] = faults([said])

    assert refusal.reason.startswith("the URN ")


def test_the_fabrics_are_those_of_datahub() -> None:
    """They are written down for `--help`, which must not import DataHub's client."""
    from datahub.metadata.schema_classes import FabricTypeClass

    assert set(FABRICS) == {name for name in dir(FabricTypeClass) if name.isupper()}


# ------------------------------------------------------------------- as a library


def test_entities_can_be_told_one_aspect_at_a_time(gms: GmsDouble) -> None:
    """They wire up by id; the end is the same as if all was told at once."""
    said = lineage()
    with GmsDouble() as other:
        tell(other, said)
        at_once = other.state

    target = DataHubTarget(server=gms.url)
    for entity in said.entities():
        aspects = [name for name, _ in entity.aspects()]
        for aspect in aspects:
            assert target.emit([entity.only([aspect])]) == []
        if not aspects:
            assert target.emit([entity]) == []
    target.close()

    properties = (ORDERS_URN, "datasetProperties")
    shown = ("name", "customProperties")  # a patch leaves empty fields out
    told, expected = gms.aspects.pop(properties), at_once["aspects"].pop(properties)
    assert [told[field] for field in shown] == [expected[field] for field in shown]
    assert gms.aspects == at_once["aspects"]


def test_what_has_no_time_is_true_now(gms: GmsDouble) -> None:
    """A library user need not say when."""
    tell(gms, [Dataset.of(ORDERS, profile=Profile(rows=1))])

    [(millis, _)] = gms.events[ORDERS_URN, "datasetProfile"]
    assert millis > NOW.timestamp() * 1000


def test_an_empty_profile_says_nothing(gms: GmsDouble) -> None:
    """Absent is unknown."""
    tell(gms, [Dataset.of(ORDERS, profile=Profile())])

    assert not gms.events


def test_counts_of_a_part_are_not_those_of_the_whole(gms: GmsDouble) -> None:
    """What was counted of a part is left out, of the profile and of the write."""
    profile = Profile(bytes=70, partial=Partial(files=2, rows=5))

    tell(gms, [Dataset.of(ORDERS, as_of=NOW, profile=profile, operation=WRITTEN)])

    [told] = gms.events[ORDERS_URN, "datasetProfile"].values()
    [operation] = gms.events[ORDERS_URN, "operation"].values()
    assert told["sizeInBytes"] == 70
    assert "rowCount" not in told
    assert "numAffectedRows" not in operation


def test_datasets_only(gms: GmsDouble) -> None:
    """No pipelines, tasks and runs, where something else tells those."""
    known = tell(gms, lineage(), datasets_only=True)

    kinds = {urn.split(":")[2] for urn, _ in (*known, *gms.events)}
    assert kinds == {"dataPlatform", "dataset"}


def test_a_platform_of_another_name(gms: GmsDouble) -> None:
    """It is somebody else's, who told DataHub what it is called."""
    known = tell(gms, lineage(), platform="flyte_eu", env="dev")

    urns = {urn for urn, _ in known}
    assert "urn:li:dataFlow:(flyte_eu,shop.production.app.daily,DEV)" in urns
    assert not any(urn.startswith("urn:li:dataPlatform:") for urn in urns)


def test_tasks_of_other_orchestrators(gms: GmsDouble) -> None:
    """They keep their own name and never get Flyte's instance."""
    pipeline = PipelineId(project="", domain="", name="nightly", orchestrator="airflow")

    known = tell(gms, [Task.of(TaskId(pipeline=pipeline, name="t"))], platform_instance="eu")

    assert ("urn:li:dataJob:(urn:li:dataFlow:(airflow,nightly,PROD),t)", "status") in known


# ------------------------------------------------------------------ configuration


def test_a_destination_is_needed() -> None:
    """Before anything is consumed; the message says what to type."""
    with pytest.raises(ConfigError, match=r"DataHubTarget\.server = .*DataHubTarget\.file = "):
        DataHubTarget()


def test_there_is_one_destination() -> None:
    """Both at once is a mistake that is found when the options are read."""
    with pytest.raises(TraitError, match="not both"):
        DataHubTarget(server="http://h:8080", file="x.json")


@pytest.mark.parametrize(
    "options", [{"server": "h:8080"}, {"env": "LIVE"}, {"platform_instance": "a,b"}]
)
def test_wrong_options_are_refused(options: dict[str, str]) -> None:
    """Before anything is told under a wrong name."""
    with pytest.raises(TraitError):
        DataHubTarget(**options)


def test_files_are_not_remote() -> None:
    """A server is; and a directory's files each stand for a whole execution."""
    assert DataHubTarget(server="http://h:8080").remote
    assert not DataHubTarget(file="x.json").remote
    assert not DataHubTarget(file="x.json").journal
    assert DataHubTarget(file="x/").journal


def test_the_client_is_imported_when_it_is_needed() -> None:
    """Not before, and then without warnings and with its telemetry turned off."""
    program = """
import os, sys
from flytelineage.targets.datahub import DataHubTarget
target = DataHubTarget(server="http://127.0.0.1:1")
assert "datahub" not in sys.modules
try:
    target.check()
except Exception as exc:
    print(type(exc).__name__)
assert "datahub" in sys.modules
assert os.environ["DATAHUB_TELEMETRY_ENABLED"] == "false"
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "ConfigError\n", "")


def test_the_token_shows_nowhere(gms: GmsDouble, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in messages nor in logs."""
    gms.token = "right"
    target = DataHubTarget(server=gms.url.replace("//", "//ada:pass@"), token="hidden")
    caplog.set_level(logging.DEBUG, "flytelineage")

    with pytest.raises(ConfigError) as caught:
        target.check()
    target.close()

    assert "hidden" not in f"{caught.value}{caplog.text}{target.token!r}{json.dumps(gms.config)}"
    assert "pass@" not in str(caught.value)
