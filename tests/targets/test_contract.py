"""What every target promises, run on each of them."""

from __future__ import annotations

import json
import os
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.awsrequest import AWSResponse

from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    DataType,
    Edge,
    Entity,
    ErrorInfo,
    Evidence,
    ExecutionId,
    Field,
    Lineage,
    Owner,
    Ownership,
    Pipeline,
    PipelineId,
    Profile,
    Properties,
    Run,
    Schema,
    Storage,
    Tags,
    Task,
    TaskEdge,
    TaskId,
    Version,
)
from flytelineage.errors import TargetUnavailable, TransientTargetError
from flytelineage.targets import Target
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.file import FileTarget
from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.testing.aws import LocalAws, local_aws
from flytelineage.testing.datahub import GmsDouble, patched
from tests.factories import EXECUTION, NOW

PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
FLYTE_TASKS = ("extract", "load")


class Died(BaseException):
    """The process was killed here; nothing may catch it."""


@dataclass
class Place:
    """A catalogue, and how it can be made to misbehave.

    Attributes:
        target: Makes a target.
        told: What a reader of the catalogue finds, by some key; times and counters that
            the catalogue adds are left out.
        clear: Forget everything.
        die: Kill the target at its nth step from now on; 0 lets it live.
        refuse: Make the catalogue refuse this dataset; `None` where it refuses nothing.
        lock_out: Take all rights away.
    """

    target: Callable[[], Target]
    told: Callable[[], dict[str, Any]]
    clear: Callable[[], None]
    die: Callable[[int], None]
    refuse: Callable[[Dataset], None] | None = None
    lock_out: Callable[[], None] | None = None
    opened: list[Target] = field(default_factory=list)

    def open(self) -> Target:
        """The target of a new process: the one before is gone."""
        self.close()
        self.opened.append(self.target())
        return self.opened[-1]

    def close(self) -> None:
        """End every process."""
        while self.opened:
            self.opened.pop().close()


class Countdown:
    """Counts steps and kills at the one that was named."""

    def __init__(self) -> None:
        self.left = 0

    def __call__(self, *_: Any, **__: Any) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                raise Died

    def set(self, steps: int) -> None:
        self.left = steps


# ------------------------------------------------------------------------ entities


def dataset_id(task: str, variable: str = "o0") -> DatasetId:
    return DatasetId(platform="flyte", name=f"{PIPELINE}.app.{task}.{variable}")


def whole_dataset(id: DatasetId, **aspects: Any) -> Dataset:
    """A dataset of which everything is known."""
    random = f"{zlib.crc32(id.name.encode()):032x}"
    storage = Storage(
        uri=f"s3://flyte/data/ab/a1b2-n0-0/{random}", format="parquet", files=1, folder=True
    )
    columns = (
        Field(name="id", type=DataType(kind="int", bits=64), nullable=False),
        Field(name="Name", type=DataType(kind="string"), description="Who ordered"),
    )
    known = {
        "as_of": NOW,
        "properties": Properties(name="orders", description="All orders", custom={"a": "b"}),
        "schema": Schema(fields=columns, source="footer"),
        "storage": storage,
        "profile": Profile(rows=10, bytes=1000),
        "ownership": Ownership(owners=(Owner(id="ann"),)),
        "tags": Tags(names=("gold",)),
    }
    return Dataset(platform=id.platform, name=id.name, **{**known, **aspects})


def whole_task(name: str, inputs: Iterable[DatasetId], outputs: Iterable[DatasetId]) -> Task:
    def edges(ids: Iterable[DatasetId]) -> tuple[Edge, ...]:
        return tuple(Edge(dataset=id, evidence=(Evidence.DATA,), variables=("o0",)) for id in ids)

    return Task(
        as_of=NOW,
        pipeline=PIPELINE,
        name=f"app.{name}",
        properties=Properties(name=name),
        version=Version(version="v1"),
        kind="python-task",
        io=IO(
            inputs=edges(inputs),
            outputs=edges(outputs),
            upstream=tuple(
                TaskEdge(
                    task=TaskId(pipeline=PIPELINE, name="app.extract"), evidence=(Evidence.DATA,)
                )
                for _ in list(inputs)[:1]
            ),
        ),
    )


def pipeline() -> Pipeline:
    return Pipeline.of(
        PIPELINE, as_of=NOW, properties=Properties(name="daily"), version=Version(version="v1")
    )


def run(task: str | None = None, *, execution: ExecutionId = EXECUTION, **fields: Any) -> Run:
    known: dict[str, Any] = {
        "as_of": NOW,
        "execution": execution,
        "phase": "SUCCEEDED",
        "started_at": NOW,
        "ended_at": NOW + timedelta(minutes=1),
    }
    if task is None:
        return Run(**{**known, "pipeline": PIPELINE, **fields})
    of_task = TaskId(pipeline=PIPELINE, name=f"app.{task}")
    return Run(**{**known, "node": task, "attempt": 0, "task": of_task, **fields})


def lineage(tasks: Iterable[str] = FLYTE_TASKS, **fields: Any) -> Lineage:
    """A chain of tasks, each with an output that the next one reads."""
    names = list(tasks)
    ids = [dataset_id(name) for name in names]
    known: dict[str, Any] = {
        "execution": EXECUTION,
        "revision": 1,
        "phase": "SUCCEEDED",
        "started_at": NOW,
        "pipelines": (pipeline(),),
        "tasks": tuple(
            whole_task(name, ids[number - 1 : number] if number else [], [ids[number]])
            for number, name in enumerate(names)
        ),
        "datasets": tuple(whole_dataset(id) for id in ids),
        "runs": (
            run(),
            *(run(name, outputs=(id,)) for name, id in zip(names, ids, strict=True)),
        ),
    }
    return Lineage(**{**known, **fields})


# -------------------------------------------------------------------------- places


@pytest.fixture
def file_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    path = tmp_path / "lineage.jsonl"

    def told() -> dict[str, Any]:
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        # The last line of an execution wins; others stand for themselves.
        return {json.dumps(one.get("execution", one)): one for one in found}

    return Place(
        target=lambda: FileTarget(path=str(path)),
        told=told,
        clear=lambda: path.unlink(missing_ok=True),
        die=_dying_at_fsync(monkeypatch),
    )


def _dying_at_fsync(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Steps of what writes files: each time it makes something durable."""
    countdown, fsync = Countdown(), os.fsync

    def step(descriptor: int) -> None:
        countdown()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", step)
    return countdown.set


def datahub_files(file: str, files: Callable[[], list[Path]], die: Callable[[int], None]) -> Place:
    def told() -> dict[str, Any]:
        arrays = (json.loads(found.read_text()) for found in files())
        return _as_datahub_has_it(one for array in arrays for one in array)

    def clear() -> None:
        for found in files():
            found.unlink()

    return Place(
        target=lambda: DataHubTarget(file=file),
        told=told,
        clear=clear,
        die=die,
    )


def _as_datahub_has_it(proposals: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What DataHub holds once it took these proposals, one after the other."""
    held: dict[str, Any] = {}
    for proposal in proposals:
        aspect, value = proposal["aspectName"], proposal["aspect"]["json"]
        moment = value.get("timestampMillis", "") if isinstance(value, dict) else ""
        key = f"{proposal['entityUrn']} {aspect} {moment}"
        if proposal["changeType"] == "PATCH":
            value = patched(aspect, held.get(key, {}), value)
        held[key] = value
    return held


@pytest.fixture
def datahub_file_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    path = tmp_path / "datahub.json"
    die = _dying_at_fsync(monkeypatch)
    return datahub_files(str(path), lambda: [path] if path.exists() else [], die)


@pytest.fixture
def datahub_directory_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    path = tmp_path / "datahub"
    die = _dying_at_fsync(monkeypatch)
    return datahub_files(f"{path}/", lambda: sorted(path.glob("*.json")), die)


@pytest.fixture
def datahub_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    countdown, send = Countdown(), requests.Session.send

    def step(self: requests.Session, request: Any, **options: Any) -> Any:
        countdown()
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", step)
    with GmsDouble() as gms:

        def told() -> dict[str, Any]:
            state = gms.state
            return {
                **{" ".join(key): value for key, value in state["aspects"].items()},
                **{
                    f"{key} {event}": value
                    for key, events in state["events"].items()
                    for event, value in events.items()
                },
            }

        def clear() -> None:
            gms.aspects.clear()
            gms.events.clear()

        def refuse(dataset: Dataset) -> None:
            gms.refuse(f"urn:li:dataset:(urn:li:dataPlatform:flyte,{dataset.name},PROD)")

        yield Place(
            target=lambda: DataHubTarget(server=gms.url),
            told=told,
            clear=clear,
            die=countdown.set,
            refuse=refuse,
            lock_out=lambda: setattr(gms, "token", "another"),
        )


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with local_aws() as aws:
        yield aws


@pytest.fixture(scope="module")
def glue(aws: LocalAws) -> Iterator[Any]:
    client = aws.client("glue")
    yield client
    client.close()


@pytest.fixture
def glue_place(aws: LocalAws, glue: Any) -> Place:
    aws.reset()
    countdown = Countdown()
    locked: list[bool] = []

    def step(**_: Any) -> Any:
        countdown()
        if locked:
            denied = {"Code": "AccessDeniedException", "Message": "no"}
            return AWSResponse("", 400, {}, None), {"Error": denied}
        return None

    def target() -> Target:
        made = GlueCatalogTarget()
        made.client.meta.events.register("before-call.glue", step)
        return made

    def told() -> dict[str, Any]:
        return {
            f"{database['Name']}.{table['Name']}": _as_made(table)
            for database in glue.get_databases()["DatabaseList"]
            for table in glue.get_tables(DatabaseName=database["Name"])["TableList"]
        }

    def refuse(dataset: Dataset) -> None:
        """Somebody has a table of that name already."""
        name = f"daily__{dataset.name.split('.')[-2]}__o0"
        database = "flyte_production_shop"
        glue.create_database(DatabaseInput={"Name": database})
        glue.create_table(DatabaseName=database, TableInput={"Name": name})

    return Place(
        target=target,
        told=told,
        clear=aws.reset,
        die=countdown.set,
        refuse=refuse,
        lock_out=lambda: locked.append(True),
    )


def _as_made(table: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in table.items() if k not in ("CreateTime", "UpdateTime")}


def _without_counters(told: dict[str, Any]) -> dict[str, Any]:
    return {key: {**value, "VersionId": "-"} for key, value in told.items()}


FILES = ["file", "datahub_file", "datahub_directory"]
REMOTE = ["datahub", "glue"]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The catalogue that the test's parameter names."""
    place: Place = request.getfixturevalue(f"{request.param}_place")
    yield place
    place.die(0)
    place.close()


every_target = pytest.mark.parametrize("place", FILES + REMOTE, indirect=True)
every_remote_target = pytest.mark.parametrize("place", REMOTE, indirect=True)


# --------------------------------------------------------------------------- tests


@every_target
def test_a_repeat_changes_nothing(place: Place) -> None:
    """Neither in the same process nor in the next."""
    target = place.open()
    first = target.emit(lineage())
    before = place.told()

    again = target.emit(lineage())
    in_the_next_process = place.open().emit(lineage())

    assert (first, again, in_the_next_process) == ([], [], [])
    assert before
    assert place.told() == before


@every_target
def test_a_death_at_any_step_is_made_good_by_a_repeat(place: Place) -> None:
    """Wherever it dies, and however often: the end is that of a calm run."""
    place.open().emit(lineage())
    calm = place.told()
    place.clear()

    deaths = 0
    while True:
        target = place.open()
        place.die(deaths + 1)
        try:
            target.emit(lineage())
        except Died:
            deaths += 1
        else:
            break

    assert deaths > 0
    assert place.told() == calm


@every_target
def test_a_newer_revision_replaces_the_older(place: Place) -> None:
    """The end is that of a run which told the newer one only."""
    moved = (
        lineage()
        .datasets[0]
        .model_copy(
            update={"storage": Storage(uri="s3://flyte/elsewhere", format="parquet", folder=True)}
        )
    )
    newer = lineage(revision=2, datasets=(moved, *lineage().datasets[1:]))
    place.open().emit(newer)
    calm = place.told()
    place.clear()
    target = place.open()

    target.emit(lineage())
    target.emit(newer)

    assert _without_counters(place.told()) == _without_counters(calm)


@every_target
def test_thousands_of_entities(place: Place) -> None:
    """One execution may be large; all of it arrives."""
    names = [f"task{number}" for number in range(1000)]
    ids = [dataset_id(name) for name in names]
    # Few are tables: what is measured is the target, not the catalogue.
    datasets = [whole_dataset(id) for id in ids[:50]] + [Dataset.of(id) for id in ids[50:]]

    rejections = place.open().emit(lineage(names, datasets=tuple(datasets)))

    found = json.dumps(place.told())
    assert rejections == []
    assert all(f"app.task{number}.o0" in found for number in range(50))


@every_target
def test_ids_alone_erase_nothing(place: Place) -> None:
    """An entity of which only the id is known leaves what was told before."""
    target = place.open()
    target.emit(lineage())
    before = place.told()
    known: list[Entity] = [
        *(Pipeline.of(one.id, as_of=NOW) for one in lineage().pipelines),
        *(Task.of(one.id, as_of=NOW) for one in lineage().tasks),
        *(Dataset.of(one.id, as_of=NOW) for one in lineage().datasets),
        Run(execution=EXECUTION.model_copy(update={"name": "other"}), as_of=NOW),
    ]

    rejections = target.emit(known)

    assert rejections == []
    assert before.items() <= place.told().items()


@every_target
def test_a_failed_execution(place: Place) -> None:
    """It tells its runs, and takes nothing away from what a successful one told."""
    target = place.open()
    target.emit(lineage())
    before = place.told()
    failed = EXECUTION.model_copy(update={"name": "c3d4"})
    error = ErrorInfo(kind="user", code="ValueError", message="Grüße\nand \x00 more")

    rejections = target.emit(
        Lineage(
            execution=failed,
            phase="FAILED",
            started_at=NOW,
            pipelines=(pipeline(),),
            runs=(
                run(execution=failed, phase="FAILED", error=error),
                run("load", execution=failed, phase="FAILED", error=error),
            ),
        )
    )

    assert rejections == []
    assert before.items() <= place.told().items()


@every_target
def test_entities_without_an_execution(place: Place) -> None:
    """A library user emits entities; which of them are in one list is all the same."""
    one, other = lineage().datasets
    target = place.open()

    rejections = [target.emit([pipeline()]), target.emit([one, other]), target.emit([])]

    assert rejections == [[], [], []]
    assert all(dataset.name in json.dumps(place.told()) for dataset in (one, other))


@every_target
def test_nothing_to_say(place: Place) -> None:
    """An empty lineage is accepted."""
    assert place.open().emit(Lineage(execution=EXECUTION)) == []


@every_target
def test_check_leaves_no_trace(place: Place) -> None:
    """What `check --connect` does can be done in production."""
    place.open().check()

    assert place.told() == {}


@every_target
def test_closing(place: Place) -> None:
    """A target may be closed at any time, and comes back when it is used."""
    target = place.open()
    target.close()
    target.emit(lineage())
    target.close()
    target.close()

    assert target.emit(lineage()) == []


@every_remote_target
def test_a_refusal_costs_one_dataset(place: Place) -> None:
    """What the catalogue refuses is named with a reason; everything else arrives."""
    refused, accepted = lineage().datasets
    assert place.refuse is not None
    place.refuse(refused)

    rejections = place.open().emit(lineage())

    assert {rejection.entity for rejection in rejections} == {refused.urn}
    assert all(rejection.reason for rejection in rejections)
    assert accepted.name in json.dumps(place.told())


@every_remote_target
def test_without_the_right(place: Place) -> None:
    """The whole target waits for somebody; no execution is to blame."""
    assert place.lock_out is not None
    place.lock_out()

    with pytest.raises(TargetUnavailable):
        place.open().emit(lineage())


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def impatient_glue(aws: LocalAws, silent_server: str, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent_server)
    return GlueCatalogTarget(timeout_seconds=0.1, max_attempts=1)


@pytest.fixture
def impatient_datahub(silent_server: str) -> Target:
    return DataHubTarget(server=silent_server, timeout_seconds=0.1)


@pytest.mark.parametrize("name", ["glue", "datahub"])
def test_time_out(request: pytest.FixtureRequest, name: str) -> None:
    """Who gets no answer in time tries again later."""
    target: Target = request.getfixturevalue(f"impatient_{name}")

    with pytest.raises(TransientTargetError):
        target.emit(lineage())

    target.close()
