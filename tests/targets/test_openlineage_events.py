"""A lineage as OpenLineage's events: what is told, when it was, and of whom."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.serde import Serde

from flytelineage import __version__
from flytelineage.entities import (
    IO,
    ColumnEdge,
    Copies,
    Copy,
    Dataset,
    DatasetId,
    DataType,
    Edge,
    ErrorInfo,
    Evidence,
    Field,
    Lineage,
    Link,
    Logic,
    Operation,
    Owner,
    Ownership,
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
from flytelineage.targets.openlineage.events import Conversion
from flytelineage.targets.openlineage.facets import MAX_DOCUMENTATION_BYTES, Facets
from flytelineage.targets.openlineage.graph import MAX_EDGES
from flytelineage.targets.openlineage.names import Names, run_id
from tests.factories import EXECUTION, NOW
from tests.openlineage_spec import findings, needs_spec, official_findings

PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
WHOLE = RunId(execution=EXECUTION)
S3 = DatasetId(platform="s3", name="lake/sales/orders")
LATER = NOW + timedelta(days=1)

Event = dict[str, Any]


# ------------------------------------------------------------------------- factories


def task_id(name: str) -> TaskId:
    return TaskId(pipeline=PIPELINE, name=f"app.{name}")


def output(task: str, variable: str = "o0") -> DatasetId:
    return DatasetId(platform="flyte", name=f"{PIPELINE}.app.{task}.{variable}")


def edges(ids: Iterable[DatasetId], evidence: Evidence = Evidence.DATA) -> tuple[Edge, ...]:
    return tuple(Edge(dataset=id, evidence=(evidence,)) for id in ids)


def task(name: str, reads: Iterable[DatasetId] = (), **fields: Any) -> Task:
    io = IO(inputs=edges(reads), outputs=edges([output(name)]))
    return Task.of(task_id(name), **{"as_of": NOW, "io": io, **fields})


def run(name: str | None = None, attempt: int = 0, **fields: Any) -> Run:
    known: dict[str, Any] = {
        "execution": EXECUTION,
        "phase": "SUCCEEDED",
        "started_at": NOW,
        "ended_at": NOW + timedelta(minutes=1),
    }
    if name is None:
        return Run(**{**known, "pipeline": PIPELINE, **fields})
    known |= {"node": name, "attempt": attempt, "task": task_id(name), "parent": WHOLE}
    return Run(**{**known, **fields})


def told(lineage: Lineage, *, emit_running: bool = False, **options: Any) -> list[Event]:
    """The events as they are sent; each is held against every rule that there is."""
    facets = Facets(Names(), **options)
    messages = Conversion(facets, emit_running).messages(lineage, LATER)
    events: list[Event] = [json.loads(Serde.to_json(event)) for _, event in messages]
    assert findings(events) == []
    return events


def execution(*runs: Run, **fields: Any) -> Lineage:
    """An execution with these runs besides its own."""
    whole = {"execution": EXECUTION, "phase": "SUCCEEDED", "started_at": NOW}
    known = {**whole, **fields}
    return Lineage(**{"runs": (run(phase=known["phase"]), *runs), **known})


def states(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Each run's events in short: its node, and what became of it."""
    return [
        (event["run"]["facets"]["flyte_execution"].get("node", ""), event["eventType"])
        for event in events
    ]


def ends(events: Iterable[Event]) -> dict[str, Event]:
    """The last event of each run, by its node."""
    return {
        event["run"]["facets"]["flyte_execution"].get("node", ""): event
        for event in events
        if event.get("eventType") in ("COMPLETE", "FAIL", "ABORT")
    }


def names(datasets: Iterable[Event]) -> list[str]:
    return [dataset["name"] for dataset in datasets]


def facet(event: Event, holder: str, key: str) -> Event:
    """A facet without what every facet has."""
    found = event[holder]["facets"][key]
    return {name: value for name, value in found.items() if not name.startswith("_")}


# -------------------------------------------------------------------------- the whole


def whole() -> Lineage:
    """An execution of which everything is known that can be told."""
    arn = "arn:aws:glue:eu-west-1:123456789012:table/sales/report"
    columns = (
        Field(name="id", type=DataType(kind="int", bits=64), nullable=False),
        Field(name="total", type=DataType(kind="decimal", precision=10, scale=2), description="€"),
    )
    owners = Ownership(owners=(Owner(id="ada"), Owner(id="data", kind="group", type="business")))
    report = Dataset.of(
        output("report"),
        as_of=NOW,
        properties=Properties(description="One row per day"),
        schema=Schema(fields=columns, source="footer"),
        storage=Storage(uri="s3://flyte/ab/x-n1-0/0f", format="parquet", files=2, folder=True),
        profile=Profile(rows=10, bytes=1000),
        ownership=owners,
        tags=Tags(names=("gold",)),
        terms=Terms(names=("Revenue",)),
        operation=Operation(kind="write", at=NOW, run=run("report", 1).id),
        copies=Copies(
            known=(Copy(dataset=DatasetId(platform="glue", name="sales.report"), uri=arn),)
        ),
    )
    made_of = ColumnEdge(
        dataset=report.id, column="id", sources=((S3, "order_id"),), evidence=(Evidence.SQL,)
    )
    upstream = TaskEdge(task=task_id("load"), evidence=(Evidence.DEFINITION,))
    second = task(
        "report",
        kind="python-task",
        version=Version(version="v7", source="https://git.example.com/shop/report.py#L7"),
        ownership=owners,
        tags=Tags(names=("nightly",)),
        domain_name="Sales",
        structured={"cost-centre": "7"},
        logic=Logic(sql="select 1", image="shop:v7", entry_point="pyflyte-execute"),
        properties=Properties(description="Adds it up"),
        io=IO(
            inputs=edges([S3], Evidence.SQL),
            outputs=edges([report.id]),
            upstream=(upstream,),
            columns=(made_of,),
        ),
    )
    failed = run("report", phase="FAILED", ended_at=NOW + timedelta(seconds=20))
    return Lineage(
        execution=EXECUTION,
        revision=2,
        phase="SUCCEEDED",
        started_at=NOW,
        name_source="admin",
        pipelines=(
            Pipeline.of(
                PIPELINE,
                properties=Properties(description="Every day"),
                version=Version(version="v7"),
                kind="workflow",
            ),
        ),
        tasks=(task("load", kind="container"), second),
        datasets=(report, Dataset.of(output("load")), Dataset.of(S3)),
        runs=(
            run(
                scheduled_at=NOW - timedelta(seconds=10),
                inputs=(S3,),
                outputs=(report.id,),
                custom={"launch_plan": "nightly", "principal": "ada"},
            ),
            run("load", cache_status="CACHE_HIT", custom={"cached_from": "shop/production/old/n0"}),
            failed.model_copy(
                update={"error": ErrorInfo(kind="user", code="USER:Boom", message="boom\nat x")}
            ),
            run(
                "report",
                1,
                started_at=NOW + timedelta(seconds=20),
                upstream=(run("load").id,),
                inputs=(S3,),
                outputs=(report.id,),
                links=(Link(name="Kubernetes Logs", url="https://logs.example.com/1"),),
            ),
        ),
    )


def test_an_execution() -> None:
    """Everything that is told of it, as it stands in a file."""
    events = told(whole(), flyte_version="1.16.0")

    text = json.dumps(events, indent=1, sort_keys=True, ensure_ascii=False)
    expected = Path(__file__).with_name("openlineage_execution.json").read_text("utf-8")
    assert text.replace(f"/tree/{__version__}", "/tree/VERSION") + "\n" == expected


@needs_spec
def test_the_official_schemas() -> None:
    """Every event and every facet keeps to them, formats included."""
    entities = Lineage.of([*whole().datasets, *whole().tasks, *whole().pipelines])

    events = [*told(whole(), flyte_version="1.16.0"), *told(entities)]

    assert official_findings(events) == []


def test_told_again() -> None:
    """Each event is the same, byte by byte, whatever the clock says."""
    conversion = Conversion(Facets(Names()))

    first, second = (
        [Serde.to_json(event) for _, event in conversion.messages(whole(), now)]
        for now in (NOW, LATER)
    )

    assert first == second


# ------------------------------------------------------------------------------ runs


class TestRuns:
    """A START and an end each, at the times of Flyte's events."""

    def test_order(self) -> None:
        """Attempts stand between the START and the end of their execution, as they began."""
        early = NOW - timedelta(seconds=1)

        events = told(execution(run("b"), run("a"), run("z", started_at=early)))

        nodes = [node for node, state in states(events) if state == "START"]
        assert nodes == ["", "z", "a", "b"]
        assert states(events)[0] == ("", "START")
        assert states(events)[-1] == ("", "COMPLETE")

    def test_times(self) -> None:
        """They began and ended when Flyte says so."""
        began, ended = told(execution(runs=(run(),)))

        assert began["eventTime"] == "2026-05-01T12:00:00Z"
        assert ended["eventTime"] == "2026-05-01T12:01:00Z"

    @pytest.mark.parametrize(
        ("phase", "state"),
        [
            ("SUCCEEDED", "COMPLETE"),
            ("RECOVERED", "COMPLETE"),
            ("FAILED", "FAIL"),
            ("TIMED_OUT", "FAIL"),
            ("RETRYABLE_FAILED", "FAIL"),
            ("ABORTED", "ABORT"),
        ],
    )
    def test_how_an_attempt_ended(self, phase: str, state: str) -> None:
        """Flyte's own phase is kept beside it."""
        ended = ends(told(execution(run("a", phase=phase))))["a"]

        assert ended["eventType"] == state
        assert facet(ended, "run", "flyte_execution")["phase"] == phase

    def test_skipped(self) -> None:
        """Nothing ran, so nothing is told, not even of the job."""
        events = told(execution(run("a", phase="SKIPPED"), tasks=(task("a", io=None),)))

        assert states(events) == [("", "START"), ("", "COMPLETE")]

    def test_each_attempt_is_a_run(self) -> None:
        """Of one job; the first failed, the second did not."""
        events = told(execution(run("a", phase="FAILED"), run("a", 1)))

        of_task = [event for event in events if event["job"]["name"].endswith(".app.a")]
        assert [event["eventType"] for event in of_task] == ["START", "FAIL", "START", "COMPLETE"]
        assert len({event["run"]["runId"] for event in of_task}) == 2

    def test_an_attempt_whose_end_was_lost(self) -> None:
        """There was another one after it, so it failed."""
        events = told(execution(run("a", phase="RUNNING", ended_at=None), run("a", 1)))

        assert states(events)[1:3] == [("a", "START"), ("a", "FAIL")]

    def test_what_ran_when_its_execution_failed(self) -> None:
        """It is over, too: no run stays open for ever."""
        lost = run("a", phase="RUNNING", ended_at=None)

        ended = ends(told(execution(lost, phase="FAILED")))["a"]

        assert (ended["eventType"], ended["eventTime"]) == ("ABORT", "2026-05-01T12:01:00Z")

    def test_parent_and_root(self) -> None:
        """An attempt is a part of its execution, which is at the top."""
        ended = ends(told(execution(run("a"))))["a"]

        part = {
            "run": {"runId": run_id(WHOLE)},
            "job": {"namespace": "flyte://flyte/shop/production", "name": "app.daily"},
        }
        assert facet(ended, "run", "parent") == {**part, "root": part}

    def test_launched_by_another(self) -> None:
        """Whose workflow is not known: it is no parent by name, but it is told."""
        other = RunId(execution=EXECUTION.model_copy(update={"name": "other"}))

        ended = told(execution(runs=(run(parent=other),)))[-1]

        assert "parent" not in ended["run"]["facets"]
        assert facet(ended, "run", "flyte_execution")["parent"] == {
            "runId": run_id(other),
            "project": "shop",
            "domain": "production",
            "execution": "other",
        }

    def test_launched_by_one_that_is_known(self) -> None:
        """Then it is the parent, and the root of what the other one's tasks did."""
        child = EXECUTION.model_copy(update={"name": "child"})
        inner = run(execution=child, parent=WHOLE)
        attempt = run("a", execution=child, parent=inner.id)

        events = told(execution(inner, attempt))

        roots = {
            event["run"]["runId"]: facet(event, "run", "parent")["root"]["run"]["runId"]
            for event in events
            if "parent" in event["run"]["facets"]
        }
        assert roots == {run_id(inner.id): run_id(WHOLE), run_id(attempt.id): run_id(WHOLE)}

    def test_a_run_of_nothing(self) -> None:
        """No event can name its job: it is refused, the others are told."""
        nameless = Run(execution=EXECUTION, phase="SUCCEEDED")

        refused = Conversion(Facets(Names())).nameless(execution(run("a"), runs=(nameless,)))

        assert [each.entity for each in refused] == [nameless.urn]


class TestRunning:
    """What still runs is told on demand only."""

    RUNNING = execution(
        runs=(run(phase="RUNNING", ended_at=None),),
        phase="RUNNING",
        partial=True,
        pipelines=(Pipeline.of(PIPELINE),),
    )

    def test_by_default(self) -> None:
        """Nothing."""
        assert told(self.RUNNING) == []

    def test_on_demand(self) -> None:
        """Its START, the same that is told once it is over."""
        (start,) = told(self.RUNNING, emit_running=True)

        assert start == told(execution(runs=(run(),), pipelines=self.RUNNING.pipelines))[0]


# -------------------------------------------------------------------- failed executions


class TestFailed:
    """Jobs and runs exist, datasets are left as they are."""

    LINEAGE = execution(
        run("a"),
        run(
            "b",
            phase="FAILED",
            error=ErrorInfo(
                kind="user",
                code="USER:ValueError",
                message="Traceback (most recent call last):\n  File x\nValueError: no rows",
            ),
        ),
        phase="FAILED",
        tasks=(task("a", io=None, kind="python-task"), task("b", io=None, kind="python-task")),
    )

    def test_states(self) -> None:
        """What succeeded before did."""
        assert {node: e["eventType"] for node, e in ends(told(self.LINEAGE)).items()} == {
            "": "FAIL",
            "a": "COMPLETE",
            "b": "FAIL",
        }

    def test_no_datasets(self) -> None:
        """It saw only some of its edges, so it tells none, whatever a library user says."""
        lineage = self.LINEAGE.model_copy(
            update={"runs": (run("a", outputs=(output("a"),)),), "tasks": (task("a", [S3]),)}
        )

        assert [(e["inputs"], e["outputs"]) for e in told(lineage)] == [([], [])] * 2

    @pytest.mark.parametrize(
        ("error_text", "message"),
        [
            ("first_line", "ValueError: no rows"),
            ("full", "Traceback (most recent call last):\n  File x\nValueError: no rows"),
            ("code", "USER:ValueError"),
        ],
    )
    def test_error(self, error_text: str, message: str) -> None:
        """As much of it as the operator allows."""
        failed = ends(told(self.LINEAGE, error_text=error_text))["b"]

        assert facet(failed, "run", "errorMessage") == {
            "message": message,
            "programmingLanguage": "PYTHON",
        }
        assert facet(failed, "run", "flyte_execution")["error_kind"] == "user"

    def test_no_error(self) -> None:
        """Nothing of it where nothing is allowed."""
        assert "ValueError" not in json.dumps(told(self.LINEAGE, error_text="off"))


# ----------------------------------------------------------------- inputs and outputs


class TestDatasets:
    """All on the last event of a run, each described once."""

    def test_on_the_last_event_alone(self) -> None:
        """A consumer that reads nothing but COMPLETE has it all."""
        lineage = execution(
            run("a", inputs=(S3,), outputs=(output("a"),)), tasks=(task("a", [S3]),)
        )

        _, began, ended, _ = told(lineage)

        assert (began["inputs"], began["outputs"]) == ([], [])
        assert (names(ended["inputs"]), names(ended["outputs"])) == (
            ["sales/orders"],
            [output("a").name],
        )

    def test_the_workflows_own(self) -> None:
        """What it was given and what it returned."""
        lineage = execution(runs=(run(inputs=(S3,), outputs=(output("a"),)),))

        ended = told(lineage)[-1]

        assert names(ended["inputs"]) == ["sales/orders"]
        assert names(ended["outputs"]) == [output("a").name]

    def test_described_where_written(self) -> None:
        """Who reads it only names it; what nobody wrote is described where it is read first."""
        schema = Schema(fields=(Field(name="id", type=DataType(kind="int")),))
        lineage = execution(
            run("a", inputs=(S3,), outputs=(output("a"),)),
            run("b", inputs=(S3, output("a"))),
            datasets=(Dataset.of(S3, schema=schema), Dataset.of(output("a"), schema=schema)),
        )

        events = ends(told(lineage))

        described = {
            node: [
                each["name"]
                for each in (*event["inputs"], *event["outputs"])
                if "schema" in each["facets"]
            ]
            for node, event in events.items()
        }
        assert described == {"a": ["sales/orders", output("a").name], "b": [], "": []}

    def test_edges_of_a_transform(self) -> None:
        """What it added to a task its runs have too, and what it took away they have not."""
        table = DatasetId(platform="bigquery", name="p.sales.orders")
        io = IO(inputs=edges([table], Evidence.SQL), outputs=edges([output("a")]))
        lineage = execution(
            run("a", inputs=(S3,), outputs=(output("a"),)), tasks=(task("a", io=io),)
        )

        assert names(ends(told(lineage))["a"]["inputs"]) == ["p.sales.orders"]

    def test_items_of_a_map_task(self) -> None:
        """Each run has what it read itself, and not what the task read in all."""
        parts = [DatasetId(platform="s3", name=f"lake/{number}") for number in range(2)]
        runs = [
            run(f"n{number}", task=task_id("a"), inputs=(part,))
            for number, part in enumerate(parts)
        ]

        events = ends(told(execution(*runs, tasks=(task("a", parts),))))

        assert [names(events[f"n{number}"]["inputs"]) for number in range(2)] == [["0"], ["1"]]

    def test_written_anew(self) -> None:
        """Flyte replaces what a variable was; of others' data nobody knows."""
        write = Operation(kind="write", at=NOW, run=run("a").id)
        counted = Profile(rows=5)
        lineage = execution(
            run("a", outputs=(output("a"), S3)),
            datasets=(
                Dataset.of(output("a"), operation=write, profile=counted),
                Dataset.of(S3, operation=write),
            ),
        )

        ours, others = ends(told(lineage))["a"]["outputs"]

        assert ours["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "OVERWRITE"
        assert ours["outputFacets"]["outputStatistics"]["rowCount"] == 5
        assert "lifecycleStateChange" not in others["facets"]

    def test_from_the_cache(self) -> None:
        """Nothing was written: the edges hold, and where the data is from is told."""
        confirm = Operation(kind="confirm", at=NOW, run=run("a").id)
        cached = run(
            "a",
            outputs=(output("a"),),
            cache_status="CACHE_HIT",
            custom={"cached_from": "shop/production/old/n0"},
        )
        known = Dataset.of(output("a"), operation=confirm, profile=Profile(rows=5))

        ended = ends(told(execution(cached, datasets=(known,))))["a"]

        flyte = facet(ended, "run", "flyte_execution")
        assert ended["eventType"] == "COMPLETE"
        assert flyte["cache_status"] == "CACHE_HIT"
        assert flyte["properties"] == {"cached_from": "shop/production/old/n0"}
        assert ended["outputs"][0]["outputFacets"] == {}
        assert ended["outputs"][0]["facets"] == {}

    def test_other_names(self) -> None:
        """Behind its own, by which some consumers find it: its table, and where it lies."""
        arn = "arn:aws:glue:eu-west-1:123456789012:table/sales/orders"
        copy = Copy(dataset=DatasetId(platform="glue", name="sales.orders"), uri=arn)
        storage = Storage(uri="s3://flyte/ab/x-n1-0/0f")
        aspects = {"as_of": NOW, "storage": storage, "copies": Copies(known=(copy,))}
        ours, others = Dataset.of(output("a"), **aspects), Dataset.of(S3, **aspects)

        found = [facet(e, "dataset", "symlinks") for e in told(Lineage.of([ours, others]))]

        table = ("table/sales/orders", "TABLE")
        assert [[(each["name"], each["type"]) for each in one["identifiers"]] for one in found] == [
            [(output("a").name, "DATASET"), table, ("ab/x-n1-0/0f", "LOCATION")],
            [("sales/orders", "DATASET"), table],
        ]

    def test_nested_columns(self) -> None:
        """Their parts are named as other integrations name them."""
        text, number = DataType(kind="string"), DataType(kind="int", bits=32)
        schema = Schema(
            fields=(
                Field(
                    name="tags",
                    type=DataType(kind="list"),
                    children=(Field(name="item", type=text),),
                ),
                Field(
                    name="sizes",
                    type=DataType(kind="map"),
                    children=(Field(name="key", type=text), Field(name="value", type=number)),
                ),
                Field(
                    name="address",
                    type=DataType(kind="struct"),
                    children=(Field(name="city", type=text),),
                ),
                Field(
                    name="either",
                    type=DataType(kind="union"),
                    children=(Field(name="a", type=text), Field(name="b", type=number)),
                ),
                Field(
                    name="at",
                    type=DataType(kind="timestamp", unit="us", zone="UTC"),
                ),
                Field(name="raw", type=DataType(kind="string", native="VARCHAR(7)")),
                Field(name="__index_level_0__", type=number),
            )
        )

        (event,) = told(Lineage.of([Dataset.of(S3, schema=schema, as_of=NOW)]))

        assert facet(event, "dataset", "schema")["fields"] == [
            {
                "name": "tags",
                "type": "array",
                "fields": [{"name": "_element", "type": "string"}],
            },
            {
                "name": "sizes",
                "type": "map",
                "fields": [{"name": "key", "type": "string"}, {"name": "value", "type": "int32"}],
            },
            {
                "name": "address",
                "type": "struct",
                "fields": [{"name": "city", "type": "string"}],
            },
            {
                "name": "either",
                "type": "union",
                "fields": [{"name": "_0", "type": "string"}, {"name": "_1", "type": "int32"}],
            },
            {"name": "at", "type": "timestamp[us, UTC]"},
            {"name": "raw", "type": "VARCHAR(7)"},
        ]


# -------------------------------------------------------------------------- true edges


class TestTrueEdges:
    """Inputs and outputs of a workflow alone would say that all is made of all."""

    def test_of_the_tasks(self) -> None:
        """Each dataset is made of what its own task read."""
        a, b = DatasetId(platform="s3", name="lake/a"), DatasetId(platform="s3", name="lake/b")
        lineage = execution(
            runs=(
                run(inputs=(a, b), outputs=(output("x"), output("y"))),
                run("x", inputs=(a,), outputs=(output("x"),)),
                run("y", inputs=(b,), outputs=(output("y"),)),
            ),
        )

        ended = ends(told(lineage))[""]

        assert made_of(ended) == {output("x").name: ["a"], output("y").name: ["b"]}

    def test_made_of_nothing(self) -> None:
        """Told where all is known that the task read, else left open."""
        runs = (run("x", outputs=(output("x"),)), run("y", outputs=(output("y"),)))
        open_end = IO(outputs=edges([output("y")]), complete=False)
        tasks = (task("x"), task("y", io=open_end))

        ended = ends(told(execution(*runs, tasks=tasks)))[""]

        assert made_of(ended) == {output("x").name: []}

    def test_promises_without_data(self) -> None:
        """One job is made of another where the definition says so and no dataset shows it."""
        promised = TaskEdge(task=task_id("a"), evidence=(Evidence.DEFINITION,))
        shown = TaskEdge(task=task_id("b"), evidence=(Evidence.DATA, Evidence.DEFINITION))
        io = IO(upstream=(promised, shown))
        lineage = execution(run("c"), tasks=(task("c", io=io),))

        ended = ends(told(lineage))[""]

        (entry,) = facet(ended, "job", "lineage")["entries"]
        assert (entry["type"], entry["name"]) == ("JOB", "app.daily.app.c")
        assert names(entry["inputs"]) == ["app.daily.app.a"]

    def test_too_many(self) -> None:
        """Of more than can be told none is: consumers would take a part for all."""
        read = tuple(DatasetId(platform="s3", name=f"lake/{n}") for n in range(MAX_EDGES + 1))

        ended = ends(told(execution(run("a", inputs=read, outputs=(output("a"),)))))[""]

        assert "lineage" not in ended["job"]["facets"]

    def test_what_had_to_run_before(self) -> None:
        """With the run where one shows it, and with what says so."""
        io = IO(
            upstream=(
                TaskEdge(task=task_id("a"), evidence=(Evidence.DATA,)),
                TaskEdge(task=task_id("b"), evidence=(Evidence.DEFINITION,)),
            )
        )
        lineage = execution(run("a"), run("c", upstream=(run("a").id,)), tasks=(task("c", io=io),))

        before = facet(ends(told(lineage))["c"], "run", "jobDependencies")["upstream"]

        assert [
            (each["job"]["name"], each.get("run"), each["flyte_evidence"]) for each in before
        ] == [
            ("app.daily.app.a", {"runId": run_id(run("a").id)}, ["data"]),
            ("app.daily.app.b", None, ["definition"]),
        ]

    def test_columns(self) -> None:
        """What each is made of, at the task that shows it and at the workflow that returns it."""
        columns = (
            ColumnEdge(
                dataset=output("a"), column="id", sources=((S3, "x"),), evidence=(Evidence.SQL,)
            ),
            ColumnEdge(
                dataset=output("a"), column="id", sources=((S3, "y"),), evidence=(Evidence.SQL,)
            ),
        )
        io = IO(inputs=edges([S3]), outputs=edges([output("a")]), columns=columns)
        lineage = execution(
            runs=(
                run(outputs=(output("a"),)),
                run("a", inputs=(S3,), outputs=(output("a"),)),
            ),
            tasks=(task("a", io=io),),
        )

        told_by = ends(told(lineage))

        source = {"namespace": "s3://lake", "name": "sales/orders"}
        for node in ("", "a"):
            found = told_by[node]["outputs"][0]["facets"]["columnLineage"]["fields"]
            assert found == {"id": {"inputFields": [{**source, "field": f} for f in ("x", "y")]}}


def made_of(event: Event) -> dict[str, list[str]]:
    entries = facet(event, "job", "lineage")["entries"]
    return {entry["name"]: names(entry["inputs"]) for entry in entries}


# ------------------------------------------------------------------------------- size


class TestSize:
    """Consumers refuse large events, so nothing long is told whole."""

    def test_documentation(self) -> None:
        """Cut where a character ends."""
        about = Properties(description="ü" * MAX_DOCUMENTATION_BYTES)

        (event,) = told(Lineage.of([Pipeline.of(PIPELINE, as_of=NOW, properties=about)]))

        text = facet(event, "job", "documentation")["description"]
        assert text == "ü" * (MAX_DOCUMENTATION_BYTES // 2)

    def test_large_schemas(self) -> None:
        """They are told in events of their own, and the run only names the datasets."""
        fields = tuple(
            Field(name=f"column_{n}", type=DataType(kind="string"), description="x" * 100)
            for n in range(4_000)
        )
        ids = [output("a", f"o{n}") for n in range(3)]
        schemas = tuple(Dataset.of(id, schema=Schema(fields=fields), as_of=NOW) for id in ids)

        events = told(execution(run("a", outputs=tuple(ids)), datasets=schemas))

        assert max(len(json.dumps(event)) for event in events) < 1_000_000
        alone = {event["dataset"]["name"] for event in events if "dataset" in event}
        described = {
            each["name"]
            for each in ends(event for event in events if "run" in event)["a"]["outputs"]
            if "schema" in each["facets"]
        }
        assert alone | described == {id.name for id in ids}
        assert not alone & described

    def test_long_comments_of_many_columns(self) -> None:
        """A table that no event could hold is told without what people wrote about it."""
        text = DataType(kind="string")
        fields = tuple(
            Field(name=f"column_{n}", type=text, description="x" * 2_000) for n in range(3_000)
        )

        (event,) = told(Lineage.of([Dataset.of(S3, schema=Schema(fields=fields), as_of=NOW)]))

        columns = facet(event, "dataset", "schema")["fields"]
        assert len(json.dumps(event)) < 1_000_000
        assert (len(columns), columns[0].get("description")) == (3_000, None)


# --------------------------------------------------------------------- entities alone


class TestEntitiesAlone:
    """What a library emits becomes events of datasets and jobs."""

    def test_datasets_and_jobs(self) -> None:
        """A job names what it reads and writes, a dataset is described by itself."""
        about = Properties(description="All orders")
        orders = Dataset.of(S3, as_of=NOW, properties=about)

        dataset, pipeline, job = told(
            Lineage.of([orders, Pipeline.of(PIPELINE, as_of=NOW), task("a", [S3])])
        )

        assert facet(dataset, "dataset", "documentation")["description"] == "All orders"
        assert pipeline["job"]["name"] == "app.daily"
        assert (names(job["inputs"]), names(job["outputs"])) == (
            ["sales/orders"],
            [output("a").name],
        )
        assert {event["eventTime"] for event in (dataset, pipeline, job)} == {
            "2026-05-01T12:00:00Z"
        }

    def test_ids_alone(self) -> None:
        """That they exist; of a run nothing, since nothing happened."""
        ids = [
            Dataset.of(S3),
            Pipeline.of(PIPELINE),
            Task.of(task_id("a")),
            Run(execution=EXECUTION),
        ]

        events = told(Lineage.of(ids))

        assert ["dataset" if "dataset" in event else event["job"]["name"] for event in events] == [
            "dataset",
            "app.daily",
            "app.daily.app.a",
        ]
        assert events[0]["eventTime"] == "2026-05-02T12:00:00Z"

    def test_what_no_run_shows(self) -> None:
        """Datasets and tasks of an execution that stand alone are told as well."""
        lineage = execution(
            run("a"),
            tasks=(task("a"), task("idle", io=None)),
            datasets=(Dataset.of(S3),),
        )

        alone = [event for event in told(lineage) if "run" not in event]

        assert [event.get("dataset", event.get("job"))["name"] for event in alone] == [
            "sales/orders",
            "app.daily.app.idle",
        ]

    @pytest.mark.parametrize("over", ["retired", "removed"])
    def test_what_is_over(self, over: str) -> None:
        """OpenLineage takes nothing back: such a task is no longer spoken of."""
        assert told(Lineage.of([task("a", io=IO(), **{over: True})])) == []
