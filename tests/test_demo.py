"""`flytelineage demo`: what a newcomer sees first, and what it must never touch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from flytelineage.demo import mermaid, truth
from flytelineage.demo.folder import MARKER, OutputFolder
from flytelineage.demo.found import Found, LineageFile
from flytelineage.demo.screen import columns
from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Edge,
    Evidence,
    ExecutionId,
    Lineage,
    Pipeline,
    Run,
    Task,
    TaskEdge,
    TaskId,
)
from flytelineage.errors import ConfigError
from flytelineage.testing.simulator import RunTruth, Truth
from tests.conftest import Run as RunProgram

ROOT = Path(__file__).parent.parent
FOREIGN = {
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL_SQS": "https://sqs.example.com",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_REGION": "eu-central-1",
    "HTTP_PROXY": "http://127.0.0.1:1",
}
"""Settings of a user, none of which the demo may follow."""

CONFIG = """
c.FlyteLineage.sqs_queue = "production"
c.FlyteLineage.targets = ["datahub"]
c.FlyteLineage.instance = "emea"
c.DataHubTarget.server = "https://datahub.example.com"
"""


class Shown(NamedTuple):
    """A demo that is over."""

    code: int
    out: str
    err: str
    folder: Path


def command(*words: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "flytelineage", *words]


def environment(**more: str) -> Mapping[str, str]:
    return {**os.environ, **more, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """One showing for all who look at it, where somebody has settings of his own."""
    place = tmp_path_factory.mktemp("demo")
    (place / "flytelineage_config.py").write_text(CONFIG)
    done = subprocess.run(
        command("demo"),
        cwd=place,
        env=environment(**FOREIGN),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Shown(done.returncode, done.stdout, done.stderr, place / "flytelineage-demo")


# ------------------------------------------------------------------- the whole of it


@pytest.mark.processes
def test_the_lineage_found_is_the_true_one(shown: Shown) -> None:
    """It ends by itself, finds nothing false, lacks nothing, and makes no noise."""
    assert (shown.code, shown.err) == (0, "")
    assert "with the simulator's truth: 0 differences" in shown.out


@pytest.mark.processes
def test_it_fits_a_narrow_terminal(shown: Shown) -> None:
    """A pipe is as wide as the narrowest terminal; only ASCII gets through everywhere."""
    assert [line for line in shown.out.splitlines() if len(line) > 80] == []
    assert shown.out.isascii()


@pytest.mark.processes
def test_it_shows_guessed_names_beside_true_ones(shown: Shown) -> None:
    """Raw events leave a workflow's name to be guessed, cloud events bring it."""
    assert "shop.sales.sales_pipeline  (shop/production)" in shown.out
    assert "name guessed from the module of its tasks" in shown.out


@pytest.mark.processes
def test_files_are_left(shown: Shown) -> None:
    """Those that the output names, and a text that says what they are."""
    names = {
        "lineage.jsonl", "datahub.json", "openlineage.jsonl", "lineage.svg", "lineage.mmd",
        "flytelineage.sqlite3",
    }  # fmt: skip

    assert names <= {path.name for path in shown.folder.iterdir()}
    assert all(f"flytelineage-demo/{name}" in shown.out for name in names)
    assert all(name in (shown.folder / MARKER).read_text() for name in names)


@pytest.mark.processes
def test_datahub_can_load_the_proposals(shown: Shown) -> None:
    """DataHub's own reader takes every one of them."""
    from datahub.ingestion.source.file import read_metadata_file

    records = list(read_metadata_file(shown.folder / "datahub.json"))

    assert all(record.validate() for record in records)
    assert f"{len(records)} proposals for DataHub" in shown.out


@pytest.mark.processes
def test_openlineage_is_told_of_every_run(shown: Shown) -> None:
    """Each run that began has an end."""
    lines = (shown.folder / "openlineage.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    begun = {each["run"]["runId"] for each in events if each["eventType"] == "START"}
    ended = {each["run"]["runId"] for each in events if each["eventType"] in {"COMPLETE", "FAIL"}}

    assert begun == ended != set()
    assert f"{len(events)} events of OpenLineage" in shown.out


@pytest.mark.processes
def test_the_picture_in_the_docs_is_the_one_of_today(shown: Shown) -> None:
    """The samples, the names and the drawing are the same every time."""
    today = (shown.folder / "lineage.svg").read_bytes()

    assert today == (ROOT / "docs" / "lineage.svg").read_bytes(), "draw it anew: make picture"


@pytest.mark.processes
def test_the_graph_names_all_tasks_and_is_printed(shown: Shown) -> None:
    graph = (shown.folder / "lineage.mmd").read_text()
    tasks = {
        task.id.local
        for lineage in LineageFile(shown.folder / "lineage.jsonl").new()
        for task in lineage.tasks
    }

    assert len(tasks) > 10
    assert [name for name in tasks if f'["{name}"]' not in graph] == []
    assert graph in shown.out


@pytest.mark.processes
def test_what_it_recommends_next_works(shown: Shown) -> None:
    """`status` finds the store that the demo left."""
    (advice,) = [line.split() for line in shown.out.splitlines() if " status --" in line]
    words = advice[advice.index("status") :]

    done = subprocess.run(
        command(*words),
        cwd=shown.folder.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "built       7" in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize("moment", ["starting   a local AWS", "running    sample", "published"])
def test_ctrl_c_ends_it_with_one_line(moment: str, tmp_path: Path) -> None:
    """While libraries load, while samples run, while the daemon works."""
    with subprocess.Popen(
        command("demo"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if moment in line)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, "Stopped before the end\n")


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("moto", "demo"),
        ("datahub", "datahub"),
        ("openlineage", "openlineage"),
        ("sqlalchemy", "daemon"),
    ],
)
def test_a_missing_extra_is_named(
    module: str, extra: str, run: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says what to type, before anything is written."""
    monkeypatch.setitem(sys.modules, module, None)

    ended = run("demo")

    assert ended.code == 1
    assert ended.err == (
        f"flytelineage: error: The demo needs {module}. Type: pip install 'flytelineage[{extra}]'\n"
    )
    assert not Path("flytelineage-demo").exists()


# ------------------------------------------------------------------------ the folder


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder(tmp_path / "out")


def test_files_of_an_earlier_demo_are_replaced(folder: OutputFolder) -> None:
    """Also those of one that was killed; what somebody added stays."""
    with folder:
        for name in ("lineage.jsonl", "flytelineage.sqlite3-wal", "notes.txt"):
            (folder / name).write_text("old")

    with folder:
        left = {path.name for path in folder.path.iterdir()}

    assert left == {MARKER, "notes.txt"}


def test_a_folder_of_somebody_else_is_refused(folder: OutputFolder) -> None:
    """Even where its files are called like ours."""
    folder.path.mkdir()
    (folder / "lineage.jsonl").write_text("precious")

    with pytest.raises(ConfigError, match="holds something that no demo wrote"):
        folder.__enter__()

    assert (folder / "lineage.jsonl").read_text() == "precious"


def test_a_second_demo_in_the_same_folder_is_refused(folder: OutputFolder) -> None:
    """The files of the first are left alone."""
    with folder:
        (folder / "lineage.jsonl").write_text("growing")

        with pytest.raises(ConfigError, match="another demo writes to"):
            OutputFolder(folder.path).__enter__()

        assert (folder / "lineage.jsonl").read_text() == "growing"


@pytest.mark.parametrize(("config", "told"), [(CONFIG, True), ("# c.Store.idle = 5", False)])
def test_options_that_it_does_not_heed_are_told(
    run: RunProgram, tmp_path: Path, config: str, told: bool
) -> None:
    """A file that sets nothing, as the sample does, is not worth a word."""
    (tmp_path / "flytelineage_config.py").write_text(config)

    ended = run("demo", "--folder=flytelineage_config.py/demo")

    assert ended.code == 1
    assert ("flytelineage_config.py has no say" in ended.out) == told


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"Demo\.folder: .*file/out cannot be written to"):
        OutputFolder(tmp_path / "file" / "out").__enter__()


# ------------------------------------------------------------------ found and true

EXECUTION = ExecutionId(project="shop", domain="production", name="a1b2")
PIPELINE = Pipeline(project="shop", domain="production", name="shop.sales")
LAKE = DatasetId(platform="s3", name='lake/"orders"')
ORDERS = DatasetId(platform="flyte", name="shop.production.shop.sales.shop.sales.load.o0")


def task(name: str, **sides: tuple[DatasetId, ...]) -> Task:
    edges = {
        side: tuple(Edge(dataset=id, evidence=(Evidence.DATA,)) for id in ids)
        for side, ids in sides.items()
    }
    return Task.of(TaskId(pipeline=PIPELINE.id, name=name), io=IO(**edges))


def lineage(*tasks: Task) -> Lineage:
    return Lineage(
        execution=EXECUTION,
        phase="SUCCEEDED",
        pipelines=(PIPELINE,),
        tasks=tasks,
        datasets=(Dataset.of(LAKE), Dataset.of(ORDERS)),
        runs=(Run(execution=EXECUTION, node="n0", attempt=0, task=tasks[0].id, phase="SUCCEEDED"),),
    )


LOAD = task("shop.sales.load", inputs=(LAKE,), outputs=(ORDERS,))
TRUTH = Truth(
    pipeline="shop.production.shop.sales",
    execution="a1b2",
    phase="SUCCEEDED",
    tasks=("shop.sales.load",),
    reads={"shop.sales.load": (str(LAKE),)},
    writes={"shop.sales.load": (str(ORDERS),)},
    runs=(RunTruth("n0", 0, "shop.sales.load", "SUCCEEDED"),),
)


def test_the_truth_has_no_differences() -> None:
    assert truth.differences({"a1b2": lineage(LOAD)}, [TRUTH]) == []


def test_what_is_missing_and_what_is_invented_is_named() -> None:
    """Each difference is a sentence of its own."""
    found = lineage(task("shop.sales.load", inputs=(ORDERS,), outputs=(ORDERS,)))

    assert truth.differences({"a1b2": found}, [TRUTH]) == [
        f"a1b2: not found: shop.sales.load reads {LAKE}",
        f"a1b2: not true: shop.sales.load reads {ORDERS}",
    ]


def test_an_execution_that_was_never_told_lacks_everything() -> None:
    assert len(truth.differences({}, [TRUTH])) == truth.count([TRUTH]) == 5


# ------------------------------------------------------------------------ what is drawn


def test_a_dataset_joins_its_tasks_in_the_graph() -> None:
    """Datasets are named after the task that wrote them, others as they are called."""
    graph = mermaid.graph(Found([lineage(LOAD, task("shop.sales.show", inputs=(ORDERS,)))]))

    assert graph == (
        "flowchart LR\n"
        '  subgraph p0["shop.sales"]\n'
        '    t0["shop.sales.load"]\n'
        '    t1["shop.sales.show"]\n'
        '    d1[("load.o0")]\n'
        "  end\n"
        '  d0[("s3:lake/#quot;orders#quot;")]\n'
        "  d0 -->|data| t0\n"
        "  t0 -->|data| d1\n"
        "  d1 -->|data| t1\n"
    )


def test_an_order_without_data_is_dashed() -> None:
    """No dataset joins the two, so the tasks are joined."""
    edge = TaskEdge(task=LOAD.id, evidence=(Evidence.DEFINITION,))
    later = task("shop.sales.notify").model_copy(update={"io": IO(upstream=(edge,))})

    assert "  t0 -.->|definition| t1\n" in mermaid.graph(Found([lineage(later, LOAD)]))


def test_a_long_last_column_is_wrapped_below_itself() -> None:
    rows = [("reads", "one, two, three, four, five, six"), ("writes", "seven")]

    assert columns(rows, width=20) == [
        "  reads   one, two, three, four,",
        "          five, six",
        "  writes  seven",
    ]


def test_a_line_that_is_half_written_comes_later(tmp_path: Path) -> None:
    """The daemon writes while the demo reads."""
    path, line = tmp_path / "lineage.jsonl", lineage(LOAD).model_dump_json(exclude_none=True)
    lines = LineageFile(path)
    before = list(lines.new())
    path.write_text(line[:20])
    half = list(lines.new())
    path.write_text(f"{line}\n")

    assert (before, half, list(lines.new())) == ([], [], [lineage(LOAD)])
