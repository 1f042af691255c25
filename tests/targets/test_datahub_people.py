"""What people write in DataHub survives every delivery, and nothing that is gone does."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from flytelineage.entities import (
    IO,
    ColumnEdge,
    Copies,
    Copy,
    Dataset,
    DatasetId,
    DataType,
    Edge,
    Evidence,
    Field,
    FormerEdges,
    Lineage,
    Operation,
    Owner,
    Ownership,
    Pipeline,
    Properties,
    RunId,
    Schema,
    Storage,
    Tags,
    Task,
    TaskEdge,
    Terms,
    Version,
)
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.testing.datahub import GmsDouble
from flytelineage.testing.patches import PatchRefused, patched
from tests.factories import EXECUTION, NOW
from tests.targets.test_datahub import (
    BUCKET,
    BUCKET_URN,
    FLOW,
    LOAD,
    LOAD_URN,
    ORDERS,
    ORDERS_URN,
    PIPELINE,
    TRAIN,
    TRAIN_URN,
)

DATA = (Evidence.DATA,)
RATES = DatasetId(platform="s3", name="lake/raw/rates")
RATES_URN = "urn:li:dataset:(urn:li:dataPlatform:s3,lake/raw/rates,PROD)"
TABLE = Copy(
    dataset=DatasetId(platform="glue", name="flyte.orders"),
    uri="arn:aws:glue:eu-west-1:123456789012:table/flyte/orders",
    columns=(("id", "id"), ("Total", "total")),
)
TABLE_URN = "urn:li:dataset:(urn:li:dataPlatform:glue,flyte.orders,PROD)"
BY_HAND = "urn:li:dataset:(urn:li:dataPlatform:snowflake,by.hand,PROD)"
JOB_BY_HAND = "urn:li:dataJob:(urn:li:dataFlow:(airflow,by_hand,PROD),t)"


@pytest.fixture
def gms() -> Iterator[GmsDouble]:
    with GmsDouble() as double:
        yield double


@pytest.fixture
def target(gms: GmsDouble) -> Iterator[DataHubTarget]:
    made = DataHubTarget(server=gms.url)
    yield made
    made.close()


def version(number: int, **changes: Any) -> Lineage:
    """What the execution of a version tells: all that can be told of all."""
    at = NOW + timedelta(days=number)
    known: dict[str, Any] = {
        "as_of": at,
        "properties": Properties(description=f"Version {number}", custom={"n": str(number)}),
        "ownership": Ownership(owners=(Owner(id="ada"),)),
        "tags": Tags(names=("daily",)),
        "terms": Terms(names=("Order",)),
        "domain_name": "sales",
        "structured": {"tier": "gold"},
    }
    registered = {"version": Version(version=f"v{number}", registered_at=at)}
    told = Lineage(
        execution=EXECUTION,
        phase="SUCCEEDED",
        started_at=at,
        pipelines=(Pipeline.of(PIPELINE, kind="workflow", **registered, **known),),
        tasks=(
            Task.of(LOAD, kind="python-task", io=reads(BUCKET, RATES), **registered, **known),
            Task.of(TRAIN, kind="python-task", io=READS_ORDERS, **registered, **known),
        ),
        datasets=(
            Dataset.of(
                ORDERS,
                schema=columns("id", "Total"),
                storage=Storage(uri=f"s3://flyte/xy/{number}", files=1),
                operation=Operation(kind="write", at=at, run=RunId(execution=EXECUTION)),
                copies=Copies(known=(TABLE,)),
                **known,
            ),
            Dataset.of(BUCKET, **known),
        ),
    )
    return told.model_copy(update=changes)


def reads(*inputs: DatasetId) -> IO:
    return IO(
        inputs=tuple(Edge(dataset=id, evidence=DATA) for id in inputs),
        outputs=(Edge(dataset=ORDERS, evidence=DATA, variables=("o0",)),),
        columns=tuple(
            ColumnEdge(dataset=ORDERS, column="id", sources=((id, "key"),), evidence=DATA)
            for id in inputs[:1]
        ),
    )


READS_ORDERS = IO(
    inputs=(Edge(dataset=ORDERS, evidence=DATA),),
    upstream=(TaskEdge(task=LOAD, evidence=DATA),),
)


def columns(*names: str) -> Schema:
    return Schema(fields=tuple(Field(name=name, type=DataType(kind="string")) for name in names))


def smaller() -> Lineage:
    """The third version has an edge, a column and a task fewer."""
    third = version(3)
    load, train = third.tasks
    orders, bucket = third.datasets
    left = FormerEdges(inputs=(RATES,), columns=((ORDERS, "id", BUCKET, "key"),))
    gone = FormerEdges(inputs=(ORDERS,), upstream=(LOAD,))
    copies = Copies(known=(TABLE.model_copy(update={"columns": TABLE.columns[:1]}),))
    io = IO(inputs=reads(BUCKET).inputs, outputs=reads(BUCKET).outputs)
    return version(
        3,
        tasks=(
            load.model_copy(update={"io": io, "former": left}),
            Task.of(TRAIN, as_of=train.as_of, removed=True, former=gone),
        ),
        datasets=(orders.model_copy(update={"schema_": columns("id"), "copies": copies}), bucket),
    )


def edit(gms: GmsDouble) -> dict[tuple[str, str], Any]:
    """What a person writes by hand on every page; gives back what is only theirs."""
    for urn in (FLOW, LOAD_URN, TRAIN_URN, ORDERS_URN, BUCKET_URN):
        _put(gms, urn, "ownership", "owners", {"owner": "urn:li:corpuser:eve", "type": "NONE"})
        _put(gms, urn, "globalTags", "tags", {"tag": "urn:li:tag:mine"})
        _put(gms, urn, "glossaryTerms", "terms", {"urn": "urn:li:glossaryTerm:Mine"})
        _put(gms, urn, "domains", "domains", "urn:li:domain:mine")
        _put(gms, urn, "structuredProperties", "properties", _STRUCTURED)
    editable = {
        (FLOW, "editableDataFlowProperties"): {"description": "Mine"},
        (LOAD_URN, "editableDataJobProperties"): {"description": "Mine"},
        (ORDERS_URN, "editableDatasetProperties"): {"description": "Mine"},
        (ORDERS_URN, "editableSchemaMetadata"): {
            "editableSchemaFieldInfo": [{"fieldPath": "id", "description": "Mine"}]
        },
        (ORDERS_URN, "institutionalMemory"): {"elements": [{"url": "https://wiki"}]},
    }
    gms.aspects.update(deepcopy(editable))
    io, lineage = "dataJobInputOutput", "upstreamLineage"
    for field in ("inputDatasetEdges", "outputDatasetEdges"):
        _put(gms, LOAD_URN, io, field, {"destinationUrn": BY_HAND})
    _put(gms, LOAD_URN, io, "inputDatajobEdges", {"destinationUrn": JOB_BY_HAND})
    _put(gms, LOAD_URN, io, "fineGrainedLineages", _column(ORDERS_URN, "Total"))
    for urn in (BUCKET_URN, TABLE_URN):
        _put(gms, urn, lineage, "upstreams", {"dataset": BY_HAND, "type": "TRANSFORMED"})
        _put(gms, urn, lineage, "fineGrainedLineages", _column(urn, "id"))
    properties = gms.aspects[BUCKET_URN, "datasetProperties"]
    properties.update(name="orders", lastModified={"time": 1})
    properties["customProperties"]["theirs"] = "yes"
    return editable


_STRUCTURED = {"propertyUrn": "urn:li:structuredProperty:mine", "values": [{"string": "x"}]}


def _column(urn: str, column: str) -> dict[str, Any]:
    return {
        "upstreamType": "FIELD_SET",
        "upstreams": [f"urn:li:schemaField:({BY_HAND},{column})"],
        "downstreamType": "FIELD",
        "downstreams": [f"urn:li:schemaField:({urn},{column})"],
    }


def _put(gms: GmsDouble, urn: str, aspect: str, field: str, entry: Any) -> None:
    gms.aspects.setdefault((urn, aspect), {}).setdefault(field, []).append(entry)


def found(gms: GmsDouble, urn: str, aspect: str, field: str, key: str | None = None) -> list[Any]:
    """The entries of an array, sorted; of records what they are told apart by."""
    entries = gms.aspects[urn, aspect][field]
    return sorted(entry[key] if key else entry for entry in entries)


@pytest.fixture
def edited(gms: GmsDouble, target: DataHubTarget) -> dict[tuple[str, str], Any]:
    """Told, edited by hand, told again unchanged, and told the third version."""
    assert target.emit(version(1)) == []
    editable = edit(gms)
    assert target.emit(version(1)) == []
    assert target.emit(version(2)) == []
    assert target.emit(smaller()) == []
    return editable


EVERYTHING = [FLOW, LOAD_URN, ORDERS_URN, BUCKET_URN]


@pytest.mark.parametrize("urn", EVERYTHING)
def test_owners_tags_and_terms_stay(gms: GmsDouble, edited: Any, urn: str) -> None:
    """Beside ours, each once."""
    person = ["urn:li:corpuser:ada", "urn:li:corpuser:eve"]
    assert found(gms, urn, "ownership", "owners", "owner") == person
    assert found(gms, urn, "globalTags", "tags", "tag") == ["urn:li:tag:daily", "urn:li:tag:mine"]
    terms = ["urn:li:glossaryTerm:Mine", "urn:li:glossaryTerm:Order"]
    assert found(gms, urn, "glossaryTerms", "terms", "urn") == terms
    assert found(gms, urn, "domains", "domains") == ["urn:li:domain:mine", "urn:li:domain:sales"]
    structured = ["urn:li:structuredProperty:mine", "urn:li:structuredProperty:tier"]
    assert found(gms, urn, "structuredProperties", "properties", "propertyUrn") == structured


def test_descriptions_and_links_stay(gms: GmsDouble, edited: dict[tuple[str, str], Any]) -> None:
    """They are aspects of their own, which nothing of ours is written to."""
    assert {key: gms.aspects[key] for key in edited} == edited
    told = {aspect for request in gms.requests for _, aspect in request.proposals}
    assert not any(aspect.startswith("editable") for aspect in told)


def test_edges_that_people_drew_stay(gms: GmsDouble, edited: Any) -> None:
    """Beside those of ours that still hold."""
    io = (LOAD_URN, "dataJobInputOutput")
    assert found(gms, *io, "inputDatasetEdges", "destinationUrn") == [BUCKET_URN, BY_HAND]
    assert found(gms, *io, "outputDatasetEdges", "destinationUrn") == [ORDERS_URN, BY_HAND]
    assert found(gms, *io, "inputDatajobEdges", "destinationUrn") == [JOB_BY_HAND]


def test_upstreams_that_people_drew_stay(gms: GmsDouble, edited: Any) -> None:
    """Of a dataset elsewhere, and of the table that Flyte's data was copied to."""
    lineage = "upstreamLineage"
    assert found(gms, BUCKET_URN, lineage, "upstreams", "dataset") == [BY_HAND]
    assert found(gms, TABLE_URN, lineage, "upstreams", "dataset") == [ORDERS_URN, BY_HAND]


def test_columns_that_people_drew_stay(gms: GmsDouble, edited: Any) -> None:
    """And of ours only what still holds: of the job none, of the table one."""
    [theirs] = gms.aspects[LOAD_URN, "dataJobInputOutput"]["fineGrainedLineages"]
    assert theirs["upstreams"] == [f"urn:li:schemaField:({BY_HAND},Total)"]
    of_table = gms.aspects[TABLE_URN, "upstreamLineage"]["fineGrainedLineages"]
    assert {(each["upstreams"][0], each["downstreams"][0]) for each in of_table} == {
        (f"urn:li:schemaField:({BY_HAND},id)", f"urn:li:schemaField:({TABLE_URN},id)"),
        (f"urn:li:schemaField:({ORDERS_URN},id)", f"urn:li:schemaField:({TABLE_URN},id)"),
    }


def test_what_others_say_of_their_datasets_stays(gms: GmsDouble, edited: Any) -> None:
    """Its name, its time and its other properties are those that its own source gave."""
    told = gms.aspects[BUCKET_URN, "datasetProperties"]

    assert (told["name"], told["lastModified"]) == ("orders", {"time": 1})
    assert told["customProperties"] == {"n": "3", "theirs": "yes"}


def test_nothing_that_is_gone_is_left(gms: GmsDouble, edited: Any) -> None:
    """Neither the task nor the column nor the edge; what is there is of the third version."""
    known = gms.aspects

    assert known[TRAIN_URN, "status"] == {"removed": True}
    assert known[LOAD_URN, "status"] == {"removed": False}
    train = known[TRAIN_URN, "dataJobInputOutput"]
    assert train["inputDatasetEdges"] == train["inputDatajobEdges"] == []
    fields = known[ORDERS_URN, "schemaMetadata"]["fields"]
    assert [field["fieldPath"] for field in fields] == ["id"]
    for urn, aspect in ((FLOW, "dataFlowInfo"), (LOAD_URN, "dataJobInfo")):
        assert known[urn, aspect]["description"] == "Version 3"
        assert known[urn, "versionInfo"]["version"] == "v3"


def test_all_that_is_kept_is_whole(gms: GmsDouble, edited: Any) -> None:
    """By DataHub's own model, whatever was patched together."""
    from datahub.emitter.aspect import ASPECT_MAP
    from datahub.emitter.serialization_helper import post_json_transform

    for (_, aspect), value in gms.aspects.items():
        if aspect not in {"institutionalMemory", "editableSchemaMetadata"}:  # theirs, abridged
            assert ASPECT_MAP[aspect].from_obj(post_json_transform(value)).validate(), aspect


def test_all_of_it_can_be_told_again(gms: GmsDouble, target: DataHubTarget, edited: Any) -> None:
    """A second delivery changes nothing, not even the order."""
    before = gms.state

    assert target.emit(smaller()) == []

    assert gms.state == before


# ------------------------------------------------------- what DataHub's server does


def test_a_removal_of_what_is_not_there_is_refused() -> None:
    """Hence something like it is put there first."""
    path = "/inputDatasetEdges/urn:li:dataset:(urn:li:dataPlatform:s3,a~1b,PROD)"
    removal = {"op": "remove", "path": path}
    addition = {"op": "add", "path": path, "value": {"destinationUrn": "x"}}

    with pytest.raises(PatchRefused):
        patched("dataJobInputOutput", None, [removal])

    assert patched("dataJobInputOutput", None, [addition, removal])["inputDatasetEdges"] == []


def test_columns_of_several_downstreams_cannot_be_patched(
    gms: GmsDouble, target: DataHubTarget
) -> None:
    """Not even where others wrote one, so ours have one each."""
    shared = {"downstreams": ["a", "b"], "upstreams": ["c"]}
    with pytest.raises(PatchRefused):
        patched("upstreamLineage", {"upstreams": [], "fineGrainedLineages": [shared]}, [])

    assert target.emit(version(1)) == []

    written = [
        column
        for (_, aspect), value in gms.aspects.items()
        if aspect in {"dataJobInputOutput", "upstreamLineage"}
        for column in value["fineGrainedLineages"]
    ]

    assert written
    assert {len(column["downstreams"]) for column in written} == {1}
