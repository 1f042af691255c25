"""`flytelineage backfill`, against a FlyteAdmin on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flytelineage.commands import filling
from flytelineage.commands.filling import Progress
from flytelineage.entities import Lineage
from flytelineage.store import Backfill, Store
from flytelineage.testing.flyteadmin import NO_FAULT, Fault, FlyteAdminDouble
from flytelineage.testing.simulator import FolderStorage, Stream, simulate
from tests.commands.conftest import START, WORKFLOW
from tests.conftest import Ended, Run

pytestmark = pytest.mark.skipif(
    not find_spec("flytekit"), reason="flytekit has no release for this version of Python"
)

ROOT = Path(__file__).parent.parent.parent
WHERE = ("--project=flytesnacks", "--domain=development")
SINCE = "--since=2026-09-01"
UNTIL = "--until=2026-10-20"
NAMES = [f"e{number}" for number in range(5)]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's flytekit configuration, no proxy before the loopback, no waiting."""
    for name in list(os.environ):
        if name.startswith("FLYTE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(filling, "PAUSES_SECONDS", (0.0, 0.0))


@pytest.fixture
def streams(tmp_path: Path) -> list[Stream]:
    """Executions of five days."""
    storage = FolderStorage(tmp_path / "bucket")
    return [
        simulate(
            WORKFLOW, name, storage, start=START + timedelta(days=number), seed=number, fast=True
        )
        for number, name in enumerate(NAMES)
    ]


@pytest.fixture
def double(streams: list[Stream]) -> Iterator[FlyteAdminDouble]:
    with FlyteAdminDouble(streams) as double:
        yield double


@pytest.fixture
def options(double: FlyteAdminDouble) -> tuple[str, ...]:
    return (
        f"--FlyteAdmin.endpoint={double.endpoint}",
        "--FlyteAdmin.insecure=True",
        "--FlyteAdmin.requests_per_second=100000",
        "--FlyteAdmin.page_size=2",
        "--ObjectReader.allow=file:///*",
    )


@pytest.fixture
def backfill(run: Run, options: tuple[str, ...]) -> Any:
    def backfill(*words: str, when: tuple[str, ...] = (SINCE, UNTIL)) -> Ended:
        return run("backfill", *WHERE, *when, *words, *options)

    return backfill


@pytest.fixture
def when_recorded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let something happen once so many executions are recorded, and noted."""

    @contextmanager
    def when_recorded(count: int, happens: Callable[[], None]) -> Iterator[None]:
        note = Store.note_backfill

        def noted(store: Store, state: Backfill) -> None:
            before = store.backfill(state.key)
            note(store, state)
            if state.recorded == count and (before is None or before.recorded < count):
                happens()

        with monkeypatch.context() as patched:
            patched.setattr(Store, "note_backfill", noted)
            yield

    return when_recorded


def ended(tmp_path: Path) -> list[str]:
    """Names of the executions that the store knows to their end."""
    store = Store(path=str(tmp_path / "flytelineage.sqlite3"))
    store.open(exclusive=False)
    names = [str(one).rpartition("/")[2] for one in store.ended(store.unbuilt())]
    store.close()
    return sorted(names)


def lineages(tmp_path: Path) -> dict[str, Lineage]:
    lines = (tmp_path / "lineage.jsonl").read_text().splitlines()
    told = [Lineage.model_validate_json(line) for line in lines]
    return {one.execution.name: one for one in told if one.execution}


# ----------------------------------------------------------------- what it records


def test_it_only_records(backfill: Any, tmp_path: Path) -> None:
    """The daemon builds; the last line says so."""
    done = backfill()

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "flytesnacks/development: 5 recorded",
        "The daemon builds and tells what was recorded; `flytelineage status` shows it",
    ]
    assert ended(tmp_path) == NAMES
    assert not (tmp_path / "lineage.jsonl").exists()


def test_it_builds_where_it_is_asked_to(backfill: Any, tmp_path: Path) -> None:
    """As a replay does: at once, oldest first, under true names."""
    done = backfill("--build")

    assert done.code == 0
    assert done.out.splitlines() == [
        "flytesnacks/development: 5 recorded",
        "Built the lineage of 5 executions",
        "Told file (lineage.jsonl) of 5 executions",
    ]
    told = lineages(tmp_path)
    assert list(told) == NAMES
    assert {one.pipelines[0].name for one in told.values()} == {"app.etl.main"}
    assert not any(one.partial for one in told.values())


def test_the_bounds_are_those_of_creation(backfill: Any, tmp_path: Path) -> None:
    """The second one exclusive."""
    backfill(when=("--since=2026-10-02T06:00:00Z", "--until=2026-10-04T08:00+02:00"))

    assert ended(tmp_path) == ["e1", "e2"]


def test_what_is_known_is_passed_over(backfill: Any, double: FlyteAdminDouble) -> None:
    """A second time costs the lists alone."""
    backfill()
    asked = double.calls["GetExecution"]

    again = backfill()

    assert "flytesnacks/development: 0 recorded, 5 known before" in again.out
    assert double.calls["GetExecution"] == asked


def test_what_still_runs_is_recorded_and_not_built(
    backfill: Any, double: FlyteAdminDouble, tmp_path: Path
) -> None:
    """Its end comes as an event, or is asked for after the idle time."""
    storage = FolderStorage(tmp_path / "bucket")
    double.add(
        simulate(WORKFLOW, "running", storage, start=START, seed=9, phase="RUNNING", fast=True)
    )

    done = backfill("--build")

    assert "6 recorded" in done.out
    assert "No event says that it ended, so nothing was built of 1 execution" in done.out
    assert (done.code, "flytesnacks/development/running" in done.out) == (0, True)


def test_several_domains(run: Run, options: tuple[str, ...]) -> None:
    """Each has a line; nothing to be found is a mistake more often than not."""
    done = run("backfill", *WHERE, "--domain=staging", "--project=search", SINCE, UNTIL, *options)

    assert [line.partition(":")[0] for line in done.out.splitlines() if " recorded" in line][
        :-1
    ] == [
        "flytesnacks/development", "flytesnacks/staging", "search/development", "search/staging",
    ]  # fmt: skip
    assert done.out.count("FlyteAdmin knows no execution there that was created from") == 3


def test_excluded(backfill: Any, tmp_path: Path, double: FlyteAdminDouble) -> None:
    """Of an excluded domain nothing is asked for."""
    done = backfill("--FlyteLineage.exclude=*/development")

    assert "flytesnacks/development is left out: see FlyteLineage.include" in done.out
    assert double.calls["ListExecutions"] == 0


def test_beside_a_daemon(backfill: Any, tmp_path: Path) -> None:
    """It holds the store; recording goes on beside it, building does not."""
    daemon = Store(path=str(tmp_path / "flytelineage.sqlite3"))
    daemon.open(exclusive=True)

    recorded, refused = backfill(), backfill("--build")

    daemon.close()
    assert recorded.code == 0
    assert refused.code == 1
    assert f"in use by process {os.getpid()}: stop that one first" in refused.err
    assert ended(tmp_path) == NAMES


# ------------------------------------------------------------------- what goes wrong


def test_an_execution_that_is_gone_stops_no_other(
    backfill: Any, double: FlyteAdminDouble, tmp_path: Path
) -> None:
    """It is counted and named."""
    double.script("GetExecution", [NO_FAULT, Fault("NOT_FOUND")])

    done = backfill()

    assert done.code == 0
    assert done.out.splitlines()[:2] == [
        "flytesnacks/development: 4 recorded, 1 that FlyteAdmin could not tell",
        "  flytesnacks/development/e1: no longer there",
    ]
    assert ended(tmp_path) == ["e0", "e2", "e3", "e4"]


def test_an_execution_that_cannot_be_told_stops_no_other(
    backfill: Any, double: FlyteAdminDouble, tmp_path: Path
) -> None:
    """FlyteAdmin answers, though not about this one."""
    double.script("GetExecution", [NO_FAULT, *[Fault("INTERNAL", "broken row")] * 3])

    done = backfill()

    assert done.code == 0
    assert re.search(r"\n  flytesnacks/development/e1: .*INTERNAL: broken row", done.out)
    assert ended(tmp_path) == ["e0", "e2", "e3", "e4"]


def test_a_passing_fault_is_waited_out(
    backfill: Any, double: FlyteAdminDouble, tmp_path: Path
) -> None:
    """It says what it waits for."""
    double.script("ListExecutions", [Fault("UNAVAILABLE"), Fault("RESOURCE_EXHAUSTED")])
    double.script("ListNodeExecutions", [Fault("DEADLINE_EXCEEDED")])

    done = backfill()

    assert done.code == 0
    assert done.err.count("Asking again in 0 s: FlyteAdmin at 127.0.0.1") == 3
    assert ended(tmp_path) == NAMES


def test_a_slow_answer_is_no_answer(
    backfill: Any, double: FlyteAdminDouble, tmp_path: Path
) -> None:
    """The next one comes in time."""
    double.script("GetExecution", [Fault(delay_seconds=1)])

    done = backfill("--FlyteAdmin.timeout_seconds=0.4")

    assert "did not answer in time" in done.err
    assert ended(tmp_path) == NAMES


def test_who_is_not_known_is_told_so_at_once(backfill: Any, double: FlyteAdminDouble) -> None:
    """Before anything is asked for, and what to set."""
    double.always = Fault("UNAUTHENTICATED")

    done = backfill()

    assert (done.code, done.out) == (1, "")
    assert "FlyteAdmin.client_secret" in done.err
    assert len(done.err.splitlines()) == 1


def test_who_is_known_no_longer_goes_on_later(
    backfill: Any, double: FlyteAdminDouble, tmp_path: Path, when_recorded: Any
) -> None:
    """What was recorded stays; the same command goes on from there."""
    expired = Fault("UNAUTHENTICATED", "the token has expired")

    with when_recorded(3, lambda: setattr(double, "always", expired)):
        stopped = backfill()
    double.always = None
    done = backfill()

    assert stopped.code == 1
    assert "the token has expired" in stopped.err
    assert "What was recorded is kept: type the same command again to go on" in stopped.err
    assert done.out.splitlines()[:2] == [
        "flytesnacks/development: going on from 2026-10-03 06:00",
        "flytesnacks/development: 5 recorded, 1 known before",
    ]
    assert ended(tmp_path) == NAMES


# ------------------------------------------------------------------ stopped and again


def test_a_signal_stops_it_and_it_goes_on(
    backfill: Any, double: FlyteAdminDouble, tmp_path: Path, when_recorded: Any
) -> None:
    """Even in the middle of an answer that takes long."""

    def interrupt() -> None:
        double.script("ListNodeExecutions", [Fault(delay_seconds=60)])
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with when_recorded(2, interrupt):
        stopped = backfill()
    done = backfill()

    assert stopped.code == 128 + signal.SIGINT
    assert "type the same command again, and it goes on from here" in stopped.err
    assert "going on from 2026-10-02 06:00" in done.out
    assert ended(tmp_path) == NAMES


@pytest.mark.processes
def test_a_kill_in_the_middle_loses_nothing(
    backfill: Any, double: FlyteAdminDouble, options: tuple[str, ...], tmp_path: Path
) -> None:
    """What was half recorded is recorded again, and once."""
    double.script("ListTaskExecutions", [*[NO_FAULT] * 5, Fault(delay_seconds=60)])
    words = ("backfill", *WHERE, SINCE, UNTIL, *options, "--FlyteAdmin.timeout_seconds=90")
    process = subprocess.Popen(
        [sys.executable, "-m", "flytelineage", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while double.calls["ListTaskExecutions"] < 6 and process.poll() is None:
        threading.Event().wait(0.02)
    process.kill()
    process.wait()

    before = ended(tmp_path)
    done = backfill("--build")

    assert before == ["e0", "e1"]
    assert "going on from 2026-10-02 06:00" in done.out
    assert "flytesnacks/development: 5 recorded, 1 known before" in done.out
    assert list(lineages(tmp_path)) == NAMES


# ------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--domain=d", "--since=7d"], "--since=TIME (missing: --project)"),
        (["--project=p", "--since=7d"], "--since=TIME (missing: --domain)"),
        (["--project="], "(missing: --project, --domain, --since)"),
        ([*WHERE, "--since=x"], "--since: 'x' is no time: type 2026-01-31"),
        ([*WHERE, "--since=2026-02-01", "--until=2026-01-01"], "is not before the end, 2026-01-01"),
        ([*WHERE, "--since=7d", "now"], "(given: now)"),
        ([*WHERE, "--since=7d"], "set FlyteAdmin.endpoint, e.g. --FlyteAdmin.endpoint=dns:///"),
    ],
)
def test_mistakes(run: Run, tmp_path: Path, words: list[str], message: str) -> None:
    """One line that says what to type; nothing was made."""
    done = run("backfill", *words)

    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------- progress

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
STATE = Backfill(
    key="k",
    project="shop",
    domain="production",
    since=T0,
    until=T0 + timedelta(days=10),
    reached=T0,
)


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("terminal", [False, True])
def test_progress(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where, how much, how fast, how long still; on a terminal in one line."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    seconds = Seconds()
    progress = Progress(STATE, seconds)
    half = Backfill(
        **{**vars_of(STATE), "reached": T0 + timedelta(days=5), "recorded": 1400, "known": 100}
    )

    progress.show(half)
    seconds.now = 50
    progress.show(half)
    progress.end()

    line = (
        "shop/production at 2026-01-06 00:00: 1,400 recorded, 100 known before, 30.0/s, "
        "about 50 s left"
    )
    renewed = f"\r{line}\x1b[K\r\x1b[K"
    assert capsys.readouterr().out == (renewed if terminal else f"{line}\n")


def vars_of(state: Backfill) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__slots__}
