"""What strangers put into events: names that climb out of folders, bombs, forged files.

Who may send what is the business of policies; here somebody could. Whatever it is, the
program lives, stays small, writes nowhere else, and tells of the others.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from flyteidl.core import execution_pb2
from hypothesis import given
from hypothesis import strategies as st

from flytelineage.entities import Lineage, PipelineId, TaskId
from flytelineage.errors import PermanentTargetError
from flytelineage.targets import Rejection, Target
from flytelineage.targets.datahub.files import file_name
from flytelineage.targets.glue import names
from flytelineage.testing.simulator import (
    FolderStorage,
    Frame,
    Node,
    Stream,
    Task,
    Workflow,
    simulate,
)
from tests.commands.conftest import KEPT
from tests.conftest import Ended, Run
from tests.factories import raw_body, workflow_request
from tests.test_parquet import forged_deep, varint

START = datetime(2026, 10, 1, 6, 0, tzinfo=timezone.utc)
MIB = 1 << 20

CLIMBING = [
    "../../../tmp/climbed",
    "..",
    ".",
    "/etc/climbed",
    "a/../../climbed",
    "..\\..\\climbed",
    "%2e%2e%2fclimbed",
    "~/climbed",
    "C:\\climbed",
    "climbed\u202e/..",
    "${HOME}/climbed",
    "climbed;rm -rf .;#",
    "'; DROP TABLE event; --",
    "<script>alert(1)</script>",
    "{project.__class__}",
    "%(message)s%n",
]


def stream(storage: Path, name: str, execution: str = "e1") -> Stream:
    """What FlyteAdmin publishes of an execution whose names are all like this."""
    workflow = Workflow(name, (Node("n0", Task(name, {name: Frame({"id": "int"}, 2)})),))
    return simulate(workflow, execution, FolderStorage(storage), start=START, fast=True)


def messages(path: Path, *streams: Stream) -> str:
    bodies = [body for one in streams for body in one.bodies()]
    path.write_text("".join(f"{json.dumps(body)}\n" for body in bodies))
    return str(path)


class TestNames:
    """Paths, templates, statements and pages are made of names that others chose."""

    @pytest.mark.parametrize("name", CLIMBING)
    def test_files_stay_where_they_belong(self, run: Run, tmp_path: Path, name: str) -> None:
        """Whatever a workflow, a task and a variable are called, as far as Flyte goes and beyond."""
        bucket, out = tmp_path / "bucket", tmp_path / "out"
        out.mkdir()
        told = messages(tmp_path / "told.jsonl", stream(bucket, name))
        before = {path for path in tmp_path.rglob("*") if bucket not in path.parents}

        ended = run(
            "replay", told, "--targets=file,datahub", "--FileTarget.path=out/lineage.jsonl",
            "--DataHubTarget.file=out/datahub/", "--Store.path=out/kept.sqlite3",
            f"--ObjectReader.allow=file://{bucket}/*",
        )  # fmt: skip

        after = {path for path in tmp_path.rglob("*") if bucket not in path.parents}
        assert ended.code == 0, ended.err
        assert all(path.is_relative_to(out) for path in after - before)
        assert [path.name for path in (out / "datahub").glob("*.json")]
        assert (out / "lineage.jsonl").read_text().count("\n") == 1

    @given(st.text() | st.sampled_from(CLIMBING))
    def test_name_of_a_file_is_one_step(self, name: str) -> None:
        """Neither up, nor further down, nor longer than a file system takes."""
        found = f"{file_name(name)}.json"

        assert re.fullmatch(r"[A-Za-z0-9._-]+", found)
        assert len(found) <= 255

    @given(*[st.text(min_size=1) | st.sampled_from(CLIMBING)] * 3)
    def test_name_of_a_table_is_one_step(self, workflow: str, task: str, variable: str) -> None:
        """Copies lie in folders of these names."""
        pipeline = PipelineId(project=variable, domain=task, name=workflow)
        origin = names.Origin(TaskId(pipeline=pipeline, name=task), variable)

        for found in (
            names.database_name(origin),
            names.table_name("{workflow}__{task}__{variable}", origin),
        ):
            assert re.fullmatch(r"\w+", found)
            assert found == found.lower()


EVIL = "\x1b[2J\x1b]0;owned\x07\r\nERROR forged\u202e\x9b\0"


class Refusing(Target):
    """Answers with whatever a catalogue, or who stands in its place, may answer."""

    remote = False

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        raise PermanentTargetError(f"400 {EVIL}")


class TestTexts:
    """Errors of tasks, answers of catalogues, bodies: all of it is shown to somebody."""

    @pytest.fixture
    def replayed(self, run: Run, tmp_path: Path) -> Ended:
        """An execution that failed with such an error, and one that such a target refuses."""
        error = execution_pb2.ExecutionError(code=EVIL, message=EVIL, error_uri=f"s3://b/{EVIL}")
        failed = workflow_request("FAILED", error=error)
        bodies = [raw_body(workflow_request("RUNNING", at=1)), raw_body(failed), EVIL]
        bodies += stream(tmp_path / "bucket", "app.etl").bodies()
        told = tmp_path / "told.jsonl"
        told.write_text("".join(f"{json.dumps(body)}\n" for body in bodies))
        return run("replay", str(told), *KEPT, REFUSING, "--debug")

    @pytest.mark.parametrize(
        "words",
        [
            ["status"],
            ["status", "--json"],
            ["status", "shop/production/a1b2"],
            ["status", "flytesnacks/development/e1"],
            ["explain", "shop/production/a1b2", "--offline"],
            ["explain", f"s3://bucket/{EVIL}".replace("\0", "")],
            ["export", "shop/production/a1b2"],
            ["quarantine"],
            ["quarantine", "replay", "--all"],
            ["retry", "--dry-run"],
            ["vacuum", "--dry-run"],
        ],
        ids=lambda words: " ".join(words[:2]).replace("\x1b", ""),
    )
    def test_no_command_passes_them_on(self, run: Run, replayed: Ended, words: list[str]) -> None:
        """To a terminal, nor to what reads line by line."""
        ended = run(*words, *KEPT, REFUSING, "--debug")

        shown = f"{replayed.out}{replayed.err}{ended.out}{ended.err}"
        lines = shown.replace("\t", " ").split("\n")
        assert ended.out + ended.err
        assert [line for line in lines if not line.isprintable()] == []
        assert [line for line in lines if line.startswith("ERROR forged")] == []
        assert "400 " in replayed.err


REFUSING = "--targets=tests.test_hostile.Refusing"


def many_empty_literals(outputs: Path) -> None:
    """Two million of them in 4 MiB: parsed, they take thirty times as much."""
    inner = b"\x0a\x00" * (2 * MIB - 100)
    collection = b"\x12" + varint(len(inner)) + inner  # Literal.collection
    entry = b"\x0a\x02o0\x12" + varint(len(collection)) + collection
    outputs.write_bytes(b"\x0a" + varint(len(entry)) + entry)


def too_large(outputs: Path) -> None:
    outputs.write_bytes(b"\x0a\x00" * 32 * MIB)


def no_protobuf(outputs: Path) -> None:
    outputs.write_bytes(b"\xff" * 1000)


def claims_gigabytes(data: Path) -> None:
    data.write_bytes(b"PAR1" + struct.pack("<I", 0x7FFFFFFF) + b"PAR1")


def deep_footer(data: Path) -> None:
    data.write_bytes(b"PAR1" + forged_deep(20_000))


def all_footer(data: Path) -> None:
    footer = b"\x19" * (20 * MIB)
    data.write_bytes(b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1")


def link_to_elsewhere(data: Path) -> None:
    data.unlink()
    data.symlink_to("/etc/passwd")


Harm = Callable[[Path], None]

_MEASURED = r"""
import re, sys
from pathlib import Path
from flytelineage.app import main
code = main(sys.argv[1:])
# Not ru_maxrss: that begins with the memory of the process that started this one.
print(code, int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("pattern", "harm"),
    [
        ("**/outputs.pb", many_empty_literals),
        ("**/outputs.pb", too_large),
        ("**/outputs.pb", no_protobuf),
        ("data/**/00000", claims_gigabytes),
        ("data/**/00000", deep_footer),
        ("data/**/00000", all_footer),
        ("data/**/00000", link_to_elsewhere),
        ("**/outputs.pb", link_to_elsewhere),
    ],
)
def test_bombs_cost_little_and_harm_nobody_else(tmp_path: Path, pattern: str, harm: Harm) -> None:
    """Of what cannot be read the execution says so; the others are told as ever."""
    bucket = tmp_path / "bucket"
    bad = stream(bucket / "bad", "app.bad", "bad1")
    good = stream(bucket / "good", "app.good", "good1")
    harmed = [path for path in (bucket / "bad").glob(pattern) if path.is_file()]
    for path in harmed:
        harm(path)
    told = messages(tmp_path / "told.jsonl", bad, good)

    ended = subprocess.run(
        [sys.executable, "-c", _MEASURED, "replay", told, f"--ObjectReader.allow=file://{bucket}/*"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip

    code, megabytes = map(int, ended.stdout.split("\n")[-2].split())
    lines = (tmp_path / "lineage.jsonl").read_text().splitlines()
    assert harmed
    assert (code, len(lines)) == (0, 2), ended.stderr
    assert "root:" not in "".join(lines)
    assert megabytes < 500
