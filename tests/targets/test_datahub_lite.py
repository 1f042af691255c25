"""What is told of every construct keeps DataHub's rules, and DataHub's own tools load it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from datahub.metadata.urns import Urn

from flytelineage.dataset_names import dataset_id
from flytelineage.entities import Dataset, Lineage
from flytelineage.targets import Rejection
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.testing.simulator import FolderStorage
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.found import replay
from tests.targets.datahub_rules import SPELLINGS, Record, broken, load

# Young metadata: only then a missing object means that it was never written.
START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=12)

LOADED = (
    "branch_nested", "sub_workflow_at_several_nodes", "launch_plan", "dynamic_of_everything",
    "map_task", "diamond", "collections", "artifact_names", "sql_tasks", "long_ids",
    "retried_task", "failed_beside_others", "aborted", "cache_hit", "recovered_dynamic",
)  # fmt: skip
"""Constructs of every kind, for what takes seconds."""


class Told(DataHubTarget):
    """Writes to a file, and keeps apart what each delivery added to it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(file=f"{folder}/mcps.json", run_history="all", **options)
        self.deliveries: list[list[Record]] = []

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        refused = super().emit_lineage(lineage)
        assert refused == []
        path = Path(self.file)
        records = load(path.read_text()) if path.exists() else []
        self.deliveries.append(records[sum(map(len, self.deliveries)) :])
        return refused


def tell(name: str, folder: Path, *targets: DataHubTarget) -> None:
    """Tell targets of the executions of a construct, oldest first."""
    streams = CONSTRUCTS[name](FolderStorage(folder / "bucket"), start=START)
    bodies = [b for stream in streams for one in stream.family() for b in one.bodies("v2")]
    try:
        named = {f"datahub{number}": target for number, target in enumerate(targets)}
        replay(bodies, folder / "replay", targets=named)
    finally:
        for target in targets:
            target.close()


@pytest.mark.usefixtures("one_of_four")
@pytest.mark.parametrize("name", CONSTRUCTS)
def test_no_rule_is_broken(name: str, tmp_path: Path) -> None:
    """URNs that GMS takes, aspects that entities have, names that connect, no edge to nothing."""
    whole, added = Told(tmp_path / "a"), Told(tmp_path / "b", patches=True)

    tell(name, tmp_path, whole, added)

    # `datahub lite` would pass over additions with a warning.
    changes = {one["changeType"] for records in whole.deliveries for one in records}
    assert changes == {"UPSERT"}
    assert broken(whole.deliveries) == []
    assert broken(added.deliveries) == []


@pytest.mark.parametrize("name", LOADED)
def test_each_file_of_a_directory_stands_for_itself(name: str, tmp_path: Path) -> None:
    """Whatever else was loaded before: its edges lead to what it tells."""
    target = DataHubTarget(file=f"{tmp_path}/out/", run_history="all")

    tell(name, tmp_path, target)

    files = [path for path in (tmp_path / "out").glob("*.json") if path.stem != "platform"]
    assert files
    assert {path.name: broken([load(path.read_text())]) for path in files} == {
        path.name: [] for path in files
    }


def test_names_of_uris_connect(tmp_path: Path) -> None:
    """The names of all kinds of data in the README, as the owning platforms spell them."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    uris = re.findall(r"^\| `([^`\s]+://[^`\s]+|arn:[^`\s]+)`", readme, re.MULTILINE)
    datasets = [Dataset.of(id, as_of=START) for id in map(dataset_id, uris) if id]
    target = DataHubTarget(file=f"{tmp_path}/mcps.json", create_platform=False)

    refused = target.emit(datasets)
    target.close()

    records = load((tmp_path / "mcps.json").read_text())
    assert refused == []
    assert broken([records]) == []
    spelled = {Urn.from_string(one["entityUrn"]).platform.split(":")[-1] for one in records}
    assert spelled.issuperset(SPELLINGS)


# --------------------------------------------------------------------- DataHub's tools


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which DataHub's command line finds only what belongs to the test."""
    home = tmp_path_factory.mktemp("home")
    lite = {"type": "sqlite", "config": {"file": f"{home}/lite.sqlite"}}
    (home / ".datahubenv").write_text(
        json.dumps({"gms": {"server": "http://localhost:8080"}, "lite": lite})
    )
    recipe = {
        "source": {"type": "file", "config": {"path": f"{home}/mcps.json"}},
        "sink": {"type": "datahub-lite", "config": lite},
    }
    (home / "recipe.yml").write_text(json.dumps(recipe))
    return home


@pytest.fixture(scope="module")
def records(home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """What was told of many workflows, in one file."""
    found: list[Record] = []
    for name in LOADED:
        folder = tmp_path_factory.mktemp(name)
        target = Told(folder)
        tell(name, folder, target)
        found += [record for delivery in target.deliveries for record in delivery]
    (home / "mcps.json").write_text(json.dumps(found))
    return found


def datahub(home: Path, *words: str) -> str:
    """What DataHub's command line says; it must be satisfied."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "DATAHUB_TELEMETRY_ENABLED": "false",
        # Whoever runs the tests may have a proxy, and nothing here is to use one.
        "NO_PROXY": "*",
    }
    command = [sys.executable, "-m", "datahub", *words]
    ended = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_datahub_finds_the_file_in_order(home: Path, records: list[Record]) -> None:
    """Each proposal is valid by DataHub's own check."""
    assert f"{len(records)} MCEs found - all valid" in datahub(
        home, "check", "metadata-file", "mcps.json"
    )


def test_datahub_lite_loads_the_file(home: Path, records: list[Record]) -> None:
    """All of it, without a warning, and gives back each entity with the values told last."""
    report = datahub(home, "ingest", "-c", "recipe.yml")

    listed = datahub(home, "lite", "list-urns")
    assert f"'total_records_written': {len(records)}" in report
    assert "'warnings': []" in report
    assert {one["entityUrn"] for one in records} <= set(listed.split())
    assert _held(home / "lite.sqlite").items() >= _told_last(records).items()


def _told_last(records: list[Record]) -> dict[tuple[str, str], Any]:
    """The newest value of each aspect; of time series DataHub lite keeps one row."""
    return {
        (one["entityUrn"], one["aspectName"]): one["aspect"]["json"]
        for one in records
        if "timestampMillis" not in one["aspect"]["json"]
    }


def _held(path: Path) -> dict[tuple[str, str], Any]:
    store = sqlite3.connect(path)
    try:
        rows = store.execute(
            "SELECT urn, aspect_name, metadata FROM metadata_aspect_v2 WHERE version = 0"
        )
        return {(urn, aspect): json.loads(text) for urn, aspect, text in rows}
    finally:
        store.close()
