"""What `explain` says: each reason in its own words, and nothing but what was decided."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from flytelineage.builder import LineageBuilder
from flytelineage.collect import Collector
from flytelineage.commands.explain import case_of
from flytelineage.entities import ExecutionId, Lineage, Task
from flytelineage.explain import Case, explain_execution
from flytelineage.explain.page import WIDTH
from flytelineage.objects import ObjectReader
from flytelineage.store import Store
from flytelineage.testing.simulator import FolderStorage, Stream
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.found import replay

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=12)
"""Metadata that is young: only then a missing object means that it was never written."""


def cases(folder: Path, executions: Sequence[ExecutionId]) -> Iterator[Case]:
    """What is known of executions that `replay` left in a folder."""
    store = Store(path=str(folder / "replay.sqlite3"))
    store.open(exclusive=False)
    try:
        for execution in executions:
            yield case_of(
                execution,
                store,
                reader=ObjectReader(allow=["file:///*"]),
                collector=Collector(),
                builder=LineageBuilder(),
            )
    finally:
        store.close()


def sections(lines: Sequence[str]) -> dict[str, list[str]]:
    """The lines below each title."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith(" "):
            below = found[line] = []
        elif line:
            below.append(line)
    return found


def part(lines: Sequence[str], label: str) -> str:
    """The lines that a label stands before, up to the next one."""
    chosen, inside = [], False
    for line in lines:
        if line[2] != " ":
            inside = line.startswith(f"  {label} ")
        if inside:
            chosen.append(line)
    return "\n".join(chosen)


class TestEveryConstruct:
    """Whatever was told is explained, and nothing else is."""

    @pytest.mark.parametrize("name", CONSTRUCTS)
    def test_explanation_and_lineage_agree(self, name: str, tmp_path: Path) -> None:
        """Of each execution of the construct, as it was last told."""
        streams = CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START)
        family = [member for stream in streams for member in stream.family()]
        _, lineages = replay([body for one in family for body in one.bodies("v2")], tmp_path / "a")

        found = cases(tmp_path / "a", [lineage.execution for lineage in lineages])

        for lineage, case in zip(lineages, found, strict=True):
            lines = explain_execution(case)
            assert all(line.isprintable() for line in lines)
            assert explained(lines) == told(lineage)


def told(lineage: Lineage) -> dict[str, dict[str, set[str]]]:
    """The edges of each task in short."""
    return {task.id.local: _edges(task) for task in lineage.tasks if not task.retired}


def _edges(task: Task) -> dict[str, set[str]]:
    if task.io is None:
        return {"reads": set(), "writes": set(), "upstream": set()}
    return {
        "reads": {str(edge.dataset) for edge in task.io.inputs},
        "writes": {str(edge.dataset) for edge in task.io.outputs},
        "upstream": {
            f"{edge.task.local} {evidence.value}"
            for edge in task.io.upstream
            for evidence in edge.evidence
        },
    }


def explained(lines: Sequence[str]) -> dict[str, dict[str, set[str]]]:
    """The same, as the explanation has it."""
    return {
        title.partition(": ")[2]: {
            "reads": set(re.findall(r" is (\S+:\S+)", part(below, "reads"))),
            "writes": set(re.findall(r" is (\S+:\S+)", part(below, "writes"))),
            "upstream": set(_upstream(part(below, "upstream").splitlines())),
        }
        for title, below in sections(lines).items()
        if re.match(r"Task \d+ of \d+: ", title)
    }


def _upstream(lines: Sequence[str]) -> Iterator[str]:
    task = ""
    for line in lines:
        if match := re.fullmatch(r" +(?:upstream)? +(\S+) at \S+(, which is not told)?", line):
            task = "" if match[2] else match[1]
        elif task and (match := re.match(r" +(data|definition|order): ", line)):
            yield f"{task} {match[1]}"
