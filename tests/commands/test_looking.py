"""`status`, `quarantine`, `export`, `retry` and `check`: the store for people."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError, Unicode, validate

from flytelineage.errors import AdminUnavailable, ConfigError
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.sources import Source
from flytelineage.store import Backfill, Store
from flytelineage.targets import Rejection, Target
from flytelineage.testing.simulator import Stream
from tests.commands.conftest import KEPT, Write
from tests.conftest import Ended, Run
from tests.factories import TOPIC


class Catalogue(Target):
    """A catalogue that cannot be reached."""

    url = Unicode("", help="Where.").tag(config=True)

    @validate("url")
    def _check_url(self, proposal: Any) -> str:
        if "://" not in proposal["value"]:
            raise TraitError("a URL has a scheme")
        return str(proposal["value"])

    def emit_lineage(self, lineage: Any) -> list[Rejection]:
        return []

    def check(self) -> None:
        raise ConfigError("The catalogue does not answer")


class Broken(Catalogue):
    """A catalogue whose author did not think of errors."""

    def check(self) -> None:
        raise ZeroDivisionError("division by zero")


class Quiet(Source):
    """Somewhere that nothing comes from."""

    def receive(self) -> list[Any]:
        return []

    def delete(self, messages: Any) -> None:
        return None


QUIET = f"--FlyteLineage.source={__name__}.Quiet"


def execution(stream: Stream) -> str:
    project, domain, *_ = str(stream.truth.as_json()["pipeline"]).split(".")
    return f"{project}/{domain}/a1b2c3"


@pytest.mark.parametrize("words", [("status",), ("quarantine",), ("export", "p/d/n"), ("retry",)])
def test_without_a_store(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Looking makes none, since the next thing would be to believe that all is well."""
    ended = run(*words)

    assert ended.code == 1
    assert f"There is no store at {'flytelineage.sqlite3'}" in ended.err
    assert list(tmp_path.iterdir()) == []


class TestStatus:
    """What is stored and what is stuck."""

    def test_flyteadmin(self, run: Run, replayed: Ended, tmp_path: Path) -> None:
        """What it said, what is asked for, and what somebody began and did not end."""
        store = Store(path=str(tmp_path / "kept.sqlite3"))
        store.open(exclusive=True)
        store.keep_definition("workflow:p/d/w/v1", b"")
        since = datetime(2026, 1, 1, tzinfo=timezone.utc)
        store.note_backfill(
            Backfill(
                key="k", project="shop", domain="production", since=since,
                until=since + timedelta(days=9), reached=since + timedelta(days=2), recorded=7,
            )
        )  # fmt: skip
        store.close()

        shown = run("status", *KEPT).out

        assert "FlyteAdmin\n  definitions of workflows and launch plans that are kept: 1\n" in shown
        assert "backfill of shop/production has come to 2026-01-03 00:00 (7 recorded)" in shown

    def test_tables(self, run: Run, replayed: Ended) -> None:
        """Only what is not zero needs attention."""
        ended = run("status", *KEPT)

        assert ended.code == 0
        assert re.search(r"^  built +1$", ended.out, re.MULTILINE)
        assert "name was guessed" in ended.out
        assert re.search(r"^  file +1 ", ended.out, re.MULTILINE)
        assert "Neither JSON nor base64" in ended.out
        assert "partial" not in ended.out

    def test_json(self, run: Run, replayed: Ended) -> None:
        """For scripts: everything, zeros too."""
        status = json.loads(run("status", "--json", *KEPT).out)

        assert status["executions"]["built"] == 1
        assert status["deliveries"]["file"]["delivered"] == 1

    def test_paused_targets(self, run: Run, replayed: Ended, tmp_path: Path) -> None:
        """By a daemon that runs beside it."""
        store = Store(path=str(tmp_path / "kept.sqlite3"))
        store.open(exclusive=False)
        store.note_pause("datahub", "401: expired", 600)
        store.close()

        shown = run("status", *KEPT).out

        assert "Targets that are told nothing for a while\n  datahub: since 20" in shown
        assert shown.count("UTC: 401: expired") == 1

    def test_an_execution(self, run: Run, stream: Stream, replayed: Ended) -> None:
        """How far it has come, and what each target heard of it."""
        ended = run("status", execution(stream), *KEPT)

        assert ended.code == 0
        assert "from all of its events, as SUCCEEDED." in ended.out
        assert "file        It was delivered on 20" in ended.out

    def test_an_execution_as_json(self, run: Run, stream: Stream, replayed: Ended) -> None:
        """For scripts."""
        said = json.loads(run("status", execution(stream), "--json", *KEPT).out)

        assert said["execution"] == execution(stream)
        assert said["targets"]["file"]["state"] == "delivered"

    def test_an_execution_that_is_not_stored(self, run: Run, replayed: Ended) -> None:
        """A script sees it by the exit code."""
        ended = run("status", "shop/production/unheard", *KEPT)

        assert ended.code == 1
        assert "The store knows no event of it" in ended.out

    def test_no_execution(self, run: Run, replayed: Ended) -> None:
        """It says how one is spelled."""
        ended = run("status", "a1b2c3", *KEPT)

        assert ended.code == 1
        assert "type project/domain/name" in ended.err

    def test_held_deliveries(self, run: Run, stream: Stream, write: Write) -> None:
        """It says how to send them."""
        run("replay", write(stream.bodies()), "--FlyteLineage.emit=False", *KEPT)

        assert "`flytelineage retry --held` tells what is held" in run("status", *KEPT).out


class TestQuarantine:
    """Messages that could not be read."""

    def test_list(self, run: Run, replayed: Ended) -> None:
        """With a short id, a count and the reason; it is what one gets without a word."""
        ended = run("quarantine", "list", *KEPT)

        assert re.search(r"^[0-9a-f]{12}  .* 1 +7 +Neither JSON", ended.out, re.MULTILINE)
        assert run("quarantine", *KEPT) == ended

    def test_empty(self, run: Run, stream: Stream, write: Write) -> None:
        """Good news is said."""
        run("replay", write(stream.bodies()), *KEPT)

        assert "Quarantine is empty" in run("quarantine", *KEPT).out

    def test_show(self, run: Run, replayed: Ended) -> None:
        """The body as it came."""
        assert run("quarantine", "show", ids(run)[0][:4], *KEPT).out == "garbage\n"

    def test_replay_of_what_still_cannot_be_read(self, run: Run, replayed: Ended) -> None:
        """It stays, and the exit code says so."""
        ended = run("quarantine", "replay", "--all", *KEPT)

        assert ended.code == 1
        assert "Recorded 0 of 1; 1 can still not be read" in ended.out
        assert len(ids(run)) == 1

    def test_replay_of_what_can_be_read_now(
        self, run: Run, stream: Stream, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is recorded and leaves quarantine."""
        with monkeypatch.context() as older:
            older.setattr("flytelineage.events._CLOCK_SKEW", -(stream_age() * 10))
            run("replay", write(stream.bodies()), *KEPT)

        ended = run("quarantine", "replay", "--all", *KEPT)

        count = len(stream.bodies())
        assert (ended.code, ended.out) == (
            0,
            f"Recorded {count} of {count}; 0 can still not be read\n",
        )
        assert "Quarantine is empty" in run("quarantine", *KEPT).out
        assert json.loads(run("status", "--json", *KEPT).out)["executions"]["collecting"] == 1

    def test_replay_of_what_a_stranger_sent(
        self, run: Run, stream: Stream, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It stays out while its topic is not in the allow-list, whatever is replayed."""
        with monkeypatch.context() as older:
            older.setattr("flytelineage.events._CLOCK_SKEW", -(stream_age() * 10))
            run("replay", write(stream.bodies("raw")), *KEPT)
        count = len(stream.bodies("raw"))

        ended = run("quarantine", "replay", "--all", *KEPT, f"--FlyteLineage.topics={TOPIC}")

        assert ended.code == 1
        assert f"Recorded 0 of {count}" in ended.out
        assert "not in the allow-list" in ended.out

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["show", "zzz"], "Nothing in quarantine has an id that begins with zzz"),
            (["show"], "Usage: flytelineage quarantine list | show ID"),
            (["forget"], "Usage: flytelineage quarantine"),
            (["replay"], "Usage: flytelineage quarantine"),
            (["replay", "x", "--all"], "Usage: flytelineage quarantine"),
        ],
    )
    def test_mistakes(self, run: Run, replayed: Ended, words: list[str], message: str) -> None:
        """One line that says what to type."""
        ended = run("quarantine", *words, *KEPT)

        assert (ended.code, message in ended.err) == (1, True)


def ids(run: Run) -> list[str]:
    listed = run("quarantine", "list", *KEPT).out.splitlines()
    return [line.split()[0] for line in listed if re.match("[0-9a-f]{12} ", line)]


def stream_age() -> Any:
    from datetime import timedelta

    return timedelta(days=36_500)


class TestExport:
    """The messages of an execution, for `replay`."""

    def test_round_trip(self, run: Run, stream: Stream, replayed: Ended, tmp_path: Path) -> None:
        """A replay of what was exported gives the same lineage."""
        first = (tmp_path / "lineage.jsonl").read_text()
        (tmp_path / "lineage.jsonl").unlink()

        exported = run("export", execution(stream), *KEPT)
        (tmp_path / "exported.jsonl").write_text(exported.out)
        run("replay", "exported.jsonl", KEPT[1])

        assert exported.code == 0
        assert (tmp_path / "lineage.jsonl").read_text() == first

    def test_unknown_execution(self, run: Run, replayed: Ended) -> None:
        """It is named."""
        assert "has no event of p/d/n" in run("export", "p/d/n", *KEPT).err

    def test_no_execution(self, run: Run, replayed: Ended) -> None:
        """The form is told."""
        assert "type project/domain/name" in run("export", "a1b2c3", *KEPT).err


class TestRetry:
    """Deliveries that are due again."""

    def test_held(self, run: Run, stream: Stream, write: Write) -> None:
        """Counted first, then sent for good."""
        run("replay", write(stream.bodies()), "--FlyteLineage.emit=False", *KEPT)

        dry = run("retry", "--held", "--dry-run", *KEPT)
        done = run("retry", "--held", *KEPT)
        again = run("retry", "--held", *KEPT)

        assert [ended.out for ended in (dry, done, again)] == [
            "Would retry 1 delivery\n  1  file  held  -\n",
            "Due again: 1 delivery\n",
            "Due again: 0 deliveries\n",
        ]
        assert json.loads(run("status", "--json", *KEPT).out)["deliveries"]["file"]["due"] == 1

    def test_new_target(self, run: Run, replayed: Ended) -> None:
        """History is told to those who ask for it."""
        ended = run(
            "retry", "--target=glue", "--since=30d", "--targets=file,glue", "--dry-run", *KEPT
        )

        assert ended.out == "Would retry 1 delivery\n  1  glue  never told  -\n"

    @pytest.mark.parametrize(
        ("option", "count"),
        [
            ("--since=1h", 1),
            ("--since=2020-01-01", 1),
            ("--until=2020-01-01T00:00Z", 0),
            ("--until=0m", 1),
            ("--target=file", 1),
            ("--execution=p/d/n", 0),
        ],
    )
    def test_filters(self, run: Run, stream: Stream, write: Write, option: str, count: int) -> None:
        """Ages and times; each filter narrows."""
        run("replay", write(stream.bodies()), "--FlyteLineage.emit=False", *KEPT)

        ended = run("retry", "--held", "--dry-run", option, *KEPT)

        assert ended.out.startswith(f"Would retry {count} ")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--since=yesterday"], "'yesterday' is no time: type 2026-01-31"),
            (["--target=glue"], "'glue' is not one of FlyteLineage.targets: file"),
            (["--execution=x"], "type project/domain/name"),
            (["now"], "Usage: flytelineage retry"),
        ],
    )
    def test_mistakes(self, run: Run, replayed: Ended, words: list[str], message: str) -> None:
        """One line that says what to type."""
        ended = run("retry", *words, *KEPT)

        assert (ended.code, message in ended.err) == (1, True)


class TestCheck:
    """Every problem in one go."""

    def test_in_order(self, run: Run, tmp_path: Path) -> None:
        """It says what it saw, and what a guessed name means."""
        ended = run("check", "--sqs-queue=flyte-events")

        assert ended.code == 0
        assert "source: SQS queue flyte-events in us-east-1" in ended.out
        assert "joins the workflows of one module" in ended.out
        assert "The configuration is in order" in ended.out.splitlines()[-1]
        assert list(tmp_path.iterdir()) == []

    def test_all_problems(self, run: Run, tmp_path: Path) -> None:
        """Of the file, of the command line, of every part."""
        (tmp_path / "c.py").write_text(
            "c.FlyteLineage.targetz = []\nc.Daemon.pollers = 0\nc.Catalogue.url = 'x'\n"
        )

        ended = run(
            "check",
            "--config=c.py",
            f"--targets=datahbu,{__name__}.Catalogue,file,file",
            "--FlyteLineage.include=/x",
            "--Nobody.x=1",
        )

        problems = [line for line in ended.out.splitlines() if line.startswith("problem")]
        assert ended.code == 1
        assert all(
            sum(text in problem for problem in problems) == 1
            for text in (
                "c.py: FlyteLineage.targetz: ",
                "c.py: Daemon.pollers: ",
                "c.py: Catalogue.url: a URL has a scheme",
                "There is no target 'datahbu'",
                "file is listed twice",
                "No queue is configured",
                "FlyteLineage.include",
                "--Nobody.x: There is no section 'Nobody'",
            )
        )
        assert ended.out.splitlines()[-1] == f"{len(problems)} problems (c.py)"

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("Catalogue", "The catalogue does not answer"),
            ("Broken", "ZeroDivisionError: division by zero"),
        ],
    )
    def test_connect(self, run: Run, name: str, problem: str) -> None:
        """Whatever a target's own check raises becomes a line, and the others go on."""
        ended = run("check", "--connect", QUIET, f"--targets={__name__}.{name},file")

        assert ended.code == 1
        assert f"problem  target {__name__}.{name}: {problem}" in ended.out
        assert "ok       target file: FileTarget can be reached" in ended.out
        assert "ok       store: a new SQLite file will be made" in ended.out

    def test_connect_to_a_store(self, run: Run, replayed: Ended, tmp_path: Path) -> None:
        """One that is there is opened."""
        ended = run("check", "--connect", QUIET, *KEPT)

        assert ended.code == 0
        assert f"ok       store: SQLite {tmp_path}/kept.sqlite3" in ended.out

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (None, "ok       FlyteAdmin: flyte.example.com can be reached"),
            (AdminUnavailable("it sleeps"), "problem  FlyteAdmin: it sleeps"),
        ],
    )
    def test_connect_to_flyteadmin(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception | None, line: str
    ) -> None:
        """Where one is configured; then nothing has to be guessed."""

        def check(admin: FlyteAdmin) -> None:
            if error:
                raise error

        monkeypatch.setattr(FlyteAdmin, "check", check)

        ended = run("check", "--connect", QUIET, "--FlyteAdmin.endpoint=flyte.example.com")

        assert (line in ended.out, ended.code) == (True, 1 if error else 0)
        assert "guessed" not in ended.out

    def test_options_of_flyteadmin_that_make_no_sense(self, run: Run, tmp_path: Path) -> None:
        """They are a problem like others, and none that is told twice."""
        (tmp_path / "c.py").write_text("c.FlyteAdmin.endpoint = 'https://flyte.example.com'\n")

        ended = run("check", QUIET, "--config=c.py")

        assert ended.code == 1
        assert ended.out.count("is a URL of a web page") == 1

    @pytest.mark.parametrize("command", ["check", "daemon"])
    def test_rules_that_cannot_be_loaded(self, run: Run, command: str) -> None:
        """Nothing is built under a name that the operator did not mean."""
        words = [command] if command == "check" else []

        ended = run(*words, QUIET, "--LineageBuilder.dataset_rules=no_module.name_of")

        text = ended.out + ended.err
        assert ended.code == 1
        assert "LineageBuilder.dataset_rules[0]: 'no_module.name_of' cannot be loaded" in text
        assert "Traceback" not in text

    def test_named_file_that_is_missing(self, run: Run) -> None:
        """It is a problem like others."""
        assert (
            "problem  The configuration file no.py does not exist"
            in run("check", "--config=no.py").out
        )
