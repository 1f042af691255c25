"""What a target is told of an execution, given what it was told before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flytelineage.entities import (
    IO,
    ColumnEdge,
    Copies,
    Copy,
    Dataset,
    DatasetId,
    Edge,
    Evidence,
    FormerEdges,
    Lineage,
    Pipeline,
    PipelineId,
    Profile,
    Properties,
    Run,
    Storage,
    Task,
    TaskEdge,
    TaskId,
    TaskList,
    Version,
)
from flytelineage.store import Claim
from flytelineage.targets import Rejection
from flytelineage.telling import as_claimed, claims_of, seen_edges, stay, widened, with_copies
from tests.factories import EXECUTION, NOW

PIPELINE = PipelineId(project="shop", domain="production", name="app.etl")


def lineage(uri: str = "s3://lake/1/") -> Lineage:
    return Lineage(
        execution=EXECUTION,
        revision=1,
        phase="SUCCEEDED",
        started_at=NOW,
        tasks=(Task(pipeline=PIPELINE, name="load", version=Version(version="v1")),),
        datasets=(
            Dataset(
                platform="s3",
                name="lake",
                properties=Properties(name="lake"),
                storage=Storage(uri=uri),
                profile=Profile(rows=7),
            ),
        ),
    )


def to_tell(claims: Iterable[Claim], *aspects: str) -> dict[tuple[str, str], Claim]:
    return {(one.entity, one.aspect): one for one in claims if one.aspect in aspects}


def digests(of: Lineage) -> dict[str, str]:
    return {claim.aspect: claim.digest for claim in claims_of(of, {"datasets"})}


def test_equal_counts_of_other_data_are_news() -> None:
    """A run that wrote as many rows as the last one, to another place, tells so."""
    before, after = digests(lineage("s3://lake/1/")), digests(lineage("s3://lake/2/"))

    assert before["properties"] == after["properties"]
    assert before["profile"] != after["profile"]


def test_equal_counts_of_the_same_data_are_none() -> None:
    assert digests(lineage()) == digests(lineage())


def test_what_was_told_is_left_out() -> None:
    """An aspect that is not to be told is not known; an entity without any goes."""
    whole = lineage()
    claims = claims_of(whole)

    left = stay(whole, claims, to_tell(claims, "storage"))

    assert left.tasks == ()
    assert [list(dict(one.aspects())) for one in left.datasets] == [["storage"]]


def test_what_a_target_does_not_keep_is_told_whole() -> None:
    """A table says which version of a task wrote it, whoever told of the task before."""
    whole = lineage()
    claims = claims_of(whole, {"datasets"})

    left = stay(whole, claims, {}, {"datasets"})

    assert {claim.entity for claim in claims} == {whole.datasets[0].urn}
    assert left.tasks == whole.tasks
    assert left.datasets == ()


def test_newer_logs_of_a_task_are_no_news() -> None:
    """Its link leads to the logs of the last run; all else would be told again with it."""

    def claim(**properties: Any) -> str:
        one = Task(pipeline=PIPELINE, name="load", properties=Properties(**properties))
        (found,) = claims_of(of_tasks(one))
        return found.digest

    assert claim(name="load", url="https://logs/1") == claim(name="load", url="https://logs/2")
    assert claim(name="load") != claim(name="other")


def test_a_new_version_is_told_with_its_description() -> None:
    """Catalogues show when a description was changed: with the version."""

    def claims(version: str) -> dict[str, str]:
        described = Properties(name="load")
        one = Task(
            pipeline=PIPELINE, name="load", properties=described, version=Version(version=version)
        )
        return {claim.aspect: claim.digest for claim in claims_of(of_tasks(one))}

    assert claims("v1") == claims("v1")
    assert claims("v1")["properties"] != claims("v2")["properties"]


def test_what_transforms_set_is_claimed() -> None:
    """Structured properties in any order are the same."""
    one = Dataset(platform="s3", name="x", structured={"a": "1", "b": "2"}, domain_name="sales")
    two = Dataset(platform="s3", name="x", structured={"b": "2", "a": "1"}, domain_name="sales")

    assert claims_of(of_tasks(datasets=(one,))) == claims_of(of_tasks(datasets=(two,)))


# -------------------------------------------------------- what is there no more

DATA = (Evidence.DATA,)
ORDERS = DatasetId(platform="s3", name="lake/orders")
PRICES = DatasetId(platform="s3", name="lake/prices")


def task(io: IO | None = None, *, name: str = "load", version: str = "v1") -> Task:
    return Task(pipeline=PIPELINE, name=name, version=Version(version=version), io=io)


def reads(*datasets: DatasetId, complete: bool = True) -> IO:
    edges = tuple(Edge(dataset=one, evidence=(Evidence.DATA,)) for one in datasets)
    return IO(inputs=edges, complete=complete)


def of_tasks(*tasks: Task, **fields: Any) -> Lineage:
    return Lineage(execution=EXECUTION, phase="SUCCEEDED", started_at=NOW, tasks=tasks, **fields)


def all_of(claims: Iterable[Claim]) -> dict[tuple[str, str], Claim]:
    return {(one.entity, one.aspect): one for one in claims}


def io_claim(of: Lineage) -> Claim:
    return next(claim for claim in claims_of(of) if claim.aspect == "io")


def test_edges_are_claimed_one_by_one() -> None:
    """What is said of an edge does not make it another one."""
    sql = Edge(dataset=ORDERS, evidence=(Evidence.SQL,), variables=("q",))

    by_data = io_claim(of_tasks(task(reads(ORDERS, PRICES))))
    by_sql = io_claim(of_tasks(task(IO(inputs=(sql,)))))

    assert by_data.parts is not None
    assert by_sql.parts is not None
    assert by_sql.parts.keys() < by_data.parts.keys()
    assert by_data.digest != by_sql.digest


def test_an_incomplete_io_does_not_claim_to_be_whole() -> None:
    whole, part = task(reads(ORDERS)), task(reads(ORDERS, complete=False))

    assert [io_claim(of_tasks(one)).whole for one in (whole, part)] == [True, False]


def test_a_target_gets_the_edges_that_are_there_no_more() -> None:
    """Of all kinds, as the store says them."""
    columns = ColumnEdge(
        dataset=PRICES, column="total", sources=((ORDERS, "a"), (ORDERS, "b")), evidence=DATA
    )
    before = IO(
        inputs=reads(ORDERS).inputs,
        outputs=reads(PRICES).inputs,
        upstream=(TaskEdge(task=TaskId(pipeline=PIPELINE, name="get"), evidence=DATA),),
        columns=(columns,),
    )
    former = io_claim(of_tasks(task(before))).parts
    now = of_tasks(task(IO()))
    claims = [replace(claim, former=frozenset(former or ())) for claim in claims_of(now)]

    (told,) = stay(now, claims, all_of(claims)).tasks

    assert told.former == FormerEdges(
        inputs=(ORDERS,),
        outputs=(PRICES,),
        upstream=(TaskId(pipeline=PIPELINE, name="get"),),
        columns=((PRICES, "total", ORDERS, "a"), (PRICES, "total", ORDERS, "b")),
    )


def test_nothing_that_went_is_nothing_to_tell() -> None:
    now = of_tasks(task(reads(ORDERS)))
    claims = claims_of(now)

    assert [one.former for one in stay(now, claims, all_of(claims)).tasks] == [None]


def test_a_task_that_ended_is_told_with_its_edges() -> None:
    """It is none of the execution's: the definition has it no more."""
    gone = TaskId(pipeline=PIPELINE, name="old", place="n1")
    edges = io_claim(of_tasks(task(reads(ORDERS)))).parts
    ends = gone.model_dump_json()
    claims = [
        Claim(f"task:{gone}", "io", NOW, "gone", former=frozenset(edges or ()), ends=ends),
        Claim(f"task:{gone}", "version", NOW, "gone", ends=ends),
    ]

    (told,) = stay(of_tasks(), [], all_of(claims)).tasks

    assert (told.id, told.removed, told.as_of) == (gone, True, NOW)
    assert told.former == FormerEdges(inputs=(ORDERS,))
    assert dict(told.aspects()) == {}


def test_a_pipeline_claims_its_tasks_by_name() -> None:
    """Each ends when it is listed no more."""
    ids = tuple(TaskId(pipeline=PIPELINE, name="load", place=place) for place in ("n0", "n1"))
    one = Pipeline.of(PIPELINE, tasks=TaskList(ids=ids))

    (claim,) = claims_of(of_tasks(pipelines=(one,)))

    assert claim.parts is not None
    assert sorted(claim.parts.values()) == [f"task:{id}" for id in ids]


# -------------------------------------------------------------------- last run only


def test_the_last_run_is_claimed_for_its_pipeline() -> None:
    """Also by a failed execution: it ran, whatever came of it."""
    run = Run(execution=EXECUTION, pipeline=PIPELINE, phase="FAILED", as_of=NOW)
    of_a_node = Run(execution=EXECUTION, node="n0", attempt=0, phase="FAILED")
    told = of_tasks(runs=(run, of_a_node))
    claims = claims_of(told, last_run_only=True)

    assert [(one.entity, one.aspect, one.always) for one in claims] == [
        (f"pipeline:{PIPELINE}", "last run", True)
    ]
    assert stay(told, claims, all_of(claims), last_run_only=True).runs == (run,)
    assert stay(told, claims, {}, last_run_only=True).runs == ()
    assert stay(told, [], {}).runs == (run, of_a_node)


def test_a_refused_last_run_is_told_again() -> None:
    """The refusal names the run, the claim its pipeline."""
    run = Run(execution=EXECUTION, pipeline=PIPELINE, phase="FAILED")
    refusals = [Rejection(entity=run.urn, reason="no"), Rejection(entity="task:t", reason="no")]

    found = as_claimed(refusals, of_tasks(runs=(run,)))

    assert [(one.entity, one.aspect) for one in found] == [
        (f"pipeline:{PIPELINE}", "last run"),
        ("task:t", None),
    ]


# ---------------------------------------------------------------------- window, names


def test_a_window_unites_the_edges_of_executions() -> None:
    """Of each edge what this execution says, else what the other said."""
    (mine,) = seen_edges(of_tasks(task(reads(ORDERS))))
    (other,) = seen_edges(of_tasks(task(reads(PRICES, ORDERS))))
    bodies = {**other.edges, **mine.edges}.values()

    (told,) = widened(of_tasks(task(reads(ORDERS))), {mine.entity: bodies}).tasks

    assert (mine.version, mine.stamp) == ("v1", NOW)
    assert told.io == reads(ORDERS, PRICES)


def test_a_window_joins_columns_again() -> None:
    """A column that is made of several is one edge."""

    def made_of(*columns: str) -> IO:
        sources = tuple((ORDERS, column) for column in columns)
        edge = ColumnEdge(dataset=PRICES, column="total", sources=sources, evidence=DATA)
        return IO(columns=(edge,))

    (other,) = seen_edges(of_tasks(task(made_of("b", "c"))))

    (told,) = widened(of_tasks(task(made_of("a", "b"))), {other.entity: other.edges.values()}).tasks

    assert told.io == made_of("a", "b", "c")


def test_names_in_other_catalogues_belong_to_the_dataset() -> None:
    copy = Copy(dataset=DatasetId(platform="glue", name="lake.orders"), uri="arn:aws:glue:::x")
    told = with_copies(lineage(), {DatasetId(platform="s3", name="lake"): [copy]})

    assert told.datasets[0].copies == Copies(known=(copy,))
    assert "copies" in {claim.aspect for claim in claims_of(told)}
