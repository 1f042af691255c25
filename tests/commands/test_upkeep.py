"""`export`, `retry` by error and `vacuum`: what an operator does now and then."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from flyteidl.admin import launch_plan_pb2, workflow_pb2

from flytelineage.commands import versions
from flytelineage.definition_keys import definition_key
from flytelineage.events import decode, message
from flytelineage.facts import Identifier
from flytelineage.store import Refused, Store
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import Stream
from tests.commands.conftest import KEPT, Write
from tests.commands.test_looking import execution
from tests.conftest import Ended, Run

NOW = datetime(2026, 12, 1, tzinfo=timezone.utc)


@pytest.fixture
def kept_store(tmp_path: Path) -> Store:
    """The store of a replay, to be opened."""
    return Store(path=str(tmp_path / "kept.sqlite3"))


def lines(ended: Ended) -> list[str]:
    return [line for line in ended.out.splitlines() if line]


class TestExport:
    """What is shown to others."""

    def test_masked(self, run: Run, stream: Stream, replayed: Ended) -> None:
        """Unless somebody says otherwise; each line is still a message."""
        exported = run("export", execution(stream), *KEPT)
        plain = run("export", execution(stream), "--unmasked", *KEPT)

        masked = [decode(json.loads(line), received_at=NOW) for line in lines(exported)]
        whole = [decode(json.loads(line), received_at=NOW) for line in lines(plain)]
        assert [one.phase for one in masked] == [one.phase for one in whole]
        producers = {message(one)[0].producer_id for one in masked}
        assert producers == {"masked"}
        assert {message(one)[0].producer_id for one in whole} == {"propeller"}

    def test_unmasked(self, run: Run, stream: Stream, replayed: Ended) -> None:
        """What FlyteAdmin sent, byte for byte."""
        sent = {decode(body, received_at=NOW).payload for body in stream.bodies()}

        plain = run("export", execution(stream), "--unmasked", *KEPT)

        shown = {decode(json.loads(line), received_at=NOW).payload for line in lines(plain)}
        assert shown == sent

    @pytest.mark.parametrize("how", [(), ("--unmasked",)])
    def test_what_flyteadmin_said(
        self, run: Run, stream: Stream, write: Write, tmp_path: Path, how: tuple[str, ...]
    ) -> None:
        """A replay elsewhere needs no FlyteAdmin to find the names and edges."""
        pytest.importorskip("flytekit")
        bodies = write(stream.bodies())
        with FlyteAdminDouble([stream]) as double:
            run(
                "replay", bodies, *KEPT, "--FlyteAdmin.insecure=True",
                f"--FlyteAdmin.endpoint={double.endpoint}",
            )  # fmt: skip
        first = (tmp_path / "lineage.jsonl").read_text()
        (tmp_path / "lineage.jsonl").unlink()

        exported = run("export", execution(stream), *how, *KEPT)
        (tmp_path / "exported.jsonl").write_text(exported.out)
        again = run("replay", "exported.jsonl", KEPT[1])

        assert again.code == 0
        assert '"definition"' in first
        told = json.loads((tmp_path / "lineage.jsonl").read_text())
        assert edges(told) == edges(json.loads(first))
        assert told["name_source"] == "admin"

    def test_gone(self, run: Run, stream: Stream, replayed: Ended, kept_store: Store) -> None:
        """It says why there is nothing, and where that is set."""
        kept_store.keep_events = kept_store.keep_runs = 1e-9
        kept_store.open(exclusive=True)
        while kept_store.clean().more:
            pass
        kept_store.close()

        for command in ("export", "explain"):
            ended = run(command, execution(stream), *KEPT)

            assert ended.code == 1
            assert re.search("are gone since 20.*Store.keep_events", ended.err)


def edges(lineage: dict) -> list:
    """What depends on what, and why."""
    return [(task["name"], task["io"]) for task in lineage["tasks"]]


class TestVersions:
    """Lines of what FlyteAdmin said."""

    @pytest.mark.parametrize("kind", ["workflow", "launch_plan"])
    def test_round_trip(self, kind: versions.Kind) -> None:
        """The key is that of the deployment that reads it."""
        made = {"workflow": workflow_pb2.Workflow, "launch_plan": launch_plan_pb2.LaunchPlan}
        answer = made[kind]()
        answer.id.project, answer.id.domain, answer.id.name, answer.id.version = "p", "d", "n", "v"
        line = versions.written(kind, answer.SerializeToString())

        found = versions.read(line, "eu")

        key = definition_key(kind, Identifier("p", "d", "n", "v"), "eu")
        assert found == (key, answer.SerializeToString())

    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            '"flyteAdminVersion"',
            '{"flyteAdminVersion": "workflow"}',
            '{"flyteAdminVersion": "workflow", "answer": "%"}',
            '{"flyteAdminVersion": "workflow", "answer": 5}',
            '{"flyteAdminVersion": "workflow", "answer": ""}',
            '{"flyteAdminVersion": ["workflow"], "answer": ""}',
            json.dumps({"flyteAdminVersion": "task", "answer": base64.b64encode(b"\xff").decode()}),
        ],
    )
    def test_others(self, text: str) -> None:
        """They are messages, and end in quarantine."""
        assert versions.read(text, "") is None


class TestRetry:
    """What is told again."""

    def test_by_error(self, run: Run, stream: Stream, replayed: Ended, kept_store: Store) -> None:
        """A dry run says how many there are of which error."""
        kept_store.open(exclusive=True)
        kept_store.retry(states=("delivered",))
        (lease,) = kept_store.claim_delivery("file", 1, lease_seconds=60)
        kept_store.give_up(lease, "403 Forbidden")
        kept_store.close()

        dry = run("retry", "--error=*403*", "--dry-run", *KEPT)
        other = run("retry", "--error=*500*", *KEPT)
        done = run("retry", "--error=*403*", *KEPT)

        assert dry.out == "Would retry 1 delivery\n  1  file  given up  403 Forbidden\n"
        assert other.out == "Due again: 0 deliveries\n"
        assert done.out == "Due again: 1 delivery\n"

    def test_by_state(self, run: Run, replayed: Ended) -> None:
        """Also what was delivered, if somebody asks for it."""
        ended = run("retry", "--state=delivered", *KEPT)

        assert ended.out == "Due again: 1 delivery\n"

    def test_an_unknown_state(self, run: Run, replayed: Ended) -> None:
        """The known ones are told."""
        ended = run("retry", "--state=lost", *KEPT)

        assert ended.code == 1
        assert "given_up" in ended.err


class TestQuarantine:
    """Messages of which a flood left only the reason."""

    @pytest.fixture
    def flooded(self, kept_store: Store) -> str:
        """The id of one whose body is gone."""
        kept_store.max_quarantine_mb = 1
        kept_store.open(exclusive=True)
        for number in range(4):
            kept_store.record([], [Refused(str(number) * 600_000, "too long")])
        gone = next(one.id for one in kept_store.quarantined(9) if one.emptied)
        kept_store.close()
        return gone

    def test_list(self, run: Run, flooded: str) -> None:
        """It says which."""
        shown = run("quarantine", "list", *KEPT).out

        assert re.search(
            rf"{flooded[:12]} .* 600000 +too long \(there was no room to keep it\)", shown
        )

    def test_show(self, run: Run, flooded: str) -> None:
        """It says what became of it."""
        ended = run("quarantine", "show", flooded, *KEPT)

        assert (ended.code, "see Store.max_quarantine_mb" in ended.err) == (1, True)

    def test_replay_of_all(self, run: Run, flooded: str) -> None:
        """The others are read again."""
        ended = run("quarantine", "replay", "--all", *KEPT)

        assert re.search(r"Recorded 0 of [12]; ", ended.out)


class TestVacuum:
    """Removes what is old, and makes the files smaller."""

    def test_nothing_old(self, run: Run, replayed: Ended) -> None:
        """It says so."""
        assert run("vacuum", "--dry-run", *KEPT).out == "Nothing is old\n"
        assert run("vacuum", *KEPT).out.startswith("Nothing was old\n")

    def test_old_things(self, run: Run, replayed: Ended, kept_store: Store) -> None:
        """They are counted first, then they go."""
        kept_store.open(exclusive=True)
        kept_store.record([], [Refused("x" * 2_000_000, "too long")])
        kept_store.close()
        old = ("--Store.keep_quarantine=1e-9", "--Store.keep_events=1e-9", *KEPT)

        dry = run("vacuum", "--dry-run", *old)
        done = run("vacuum", *old)
        again = run("vacuum", "--dry-run", *old)

        assert re.search(r"^ +2  messages that could not be read$", dry.out, re.MULTILINE)
        assert done.out.startswith(dry.out)
        assert again.out == "Nothing is old\n"
        before, after = map(float, re.findall(r"([\d.]+) MB", done.out))
        assert before > after + 1.9

    def test_what_was_not_told(self, run: Run, stream: Stream, write: Write) -> None:
        """It is named, and the exit code says so."""
        run("replay", write(stream.bodies()), "--FlyteLineage.emit=False", *KEPT)

        ended = run("vacuum", "--Store.keep_lineage=1e-9", *KEPT)

        assert ended.code == 1
        assert f"{execution(stream)} at file: given up: it was held for 0 days" in ended.out
