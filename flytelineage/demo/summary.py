"""What was found, as text: pipelines with their edges, datasets, tables, files."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

from flytelineage.demo import folder as files
from flytelineage.demo.found import Found, PipelineFound, by_evidence, io_of, number, short
from flytelineage.demo.screen import columns
from flytelineage.entities import Dataset, Lineage, Task

Tables = Mapping[str, Sequence[Mapping[str, Any]]]
"""Tables of the Glue Data Catalog by database, as Glue answers."""

_NAMED = {
    "admin": "named by FlyteAdmin",
    "launch plan": "named by its launch plan",
    "guessed": "name guessed from the module of its tasks",
}


def report(found: Found, graph: str, tables: Tables, folder: Path, width: int) -> Iterator[str]:
    """The whole summary, line by line."""
    yield from _title("Pipelines: their tasks, and edges with (evidence)")
    for pipeline in found.pipelines.values():
        yield ""
        yield from _pipeline(pipeline, found, width)
    yield from _title("Datasets")
    rows = sorted((found.name(id), *_facts(data)) for id, data in found.datasets.items())
    yield from columns(rows, width=width)
    yield from _title("Tables in Glue")
    yield from _glue(tables, width)
    yield from _title(f"Graph, for any Mermaid viewer ({folder / files.GRAPH})")
    yield graph.rstrip()
    yield from _title("Files")
    places = [(str(folder / name), text) for name, text in _files(found, folder)]
    yield from columns(places, width=width)
    yield from _title("Next")
    yield from _next_steps(folder)


def content(lineage: Lineage) -> str:
    """What one execution tells, counted."""
    sides = [io_of(task) for task in lineage.tasks]
    edges = sum(len(io.inputs) + len(io.outputs) + len(io.upstream) for io in sides)
    return ", ".join(
        (
            number(len(lineage.tasks), "task"),
            number(len(lineage.datasets), "dataset"),
            number(edges, "edge"),
        )
    )


def _title(text: str) -> Iterator[str]:
    yield ""
    yield text
    yield "-" * len(text)


# ------------------------------------------------------------------------- pipelines


def _pipeline(pipeline: PipelineFound, found: Found, width: int) -> Iterator[str]:
    id = pipeline.pipeline.id
    phases = Counter(run.phase.lower() for run in pipeline.runs)
    runs = ", ".join(f"{count} {phase}" for phase, count in phases.items())
    yield f"{id.name}  ({id.project}/{id.domain})"
    yield f"  {_NAMED.get(pipeline.name_source, 'no name known')}; executions: {runs}"
    rows = [row for task in pipeline.in_order() for row in _task(task, found)]
    yield from columns(rows, width=width)


def _task(task: Task, found: Found) -> list[tuple[str, str, str]]:
    """A row for each kind of edge; the task's name stands in the first."""

    def names(edges: Iterable[Any]) -> list[str]:
        return [found.name(edge.dataset, task.pipeline) for edge in edges]

    io, rows = io_of(task), []
    for evidence, after in by_evidence(io.upstream).items():
        rows.append(("after", _listed([short(edge.task.local) for edge in after], evidence)))
    for evidence, read in by_evidence(io.inputs).items():
        rows.append(("reads", _listed(names(read), evidence)))
    for evidence, written in by_evidence(io.outputs).items():
        rows.append(("writes", _listed(names(written), evidence)))
    rows = rows or [("", "no data")]
    return [("" if at else short(task.id.local), *row) for at, row in enumerate(rows)]


def _listed(names: Sequence[str], evidence: str) -> str:
    return f"{', '.join(names)} ({evidence})"


# ------------------------------------------------------------- datasets and catalogues


def _facts(dataset: Dataset) -> tuple[str, str, str]:
    """Format, amount and number of columns, as far as they are known."""
    storage, profile = dataset.storage, dataset.profile
    amount = ""
    if profile and profile.rows is not None:
        amount = number(profile.rows, "row")
    elif storage and storage.files is not None:
        amount = number(storage.files, "file")
    form = (storage.format or "") if storage else ""
    fields = number(len(dataset.schema_.fields), "column") if dataset.schema_ else ""
    return form, amount, fields


def _glue(tables: Tables, width: int) -> Iterator[str]:
    for database, found in tables.items():
        yield f"  {database}"
        rows = [(table["Name"], _columns(table)) for table in found]
        yield from columns(rows, width=width, indent="    ")


def _columns(table: Mapping[str, Any]) -> str:
    described = table["StorageDescriptor"]["Columns"]
    return ", ".join(f"{column['Name']} {column['Type']}" for column in described)


# ---------------------------------------------------------------------- what is left


def _files(found: Found, folder: Path) -> Iterator[tuple[str, str]]:
    runs = sum(len(pipeline.runs) for pipeline in found.pipelines.values())
    yield files.LINEAGE, f"the lineage of {number(runs, 'execution')}, a line of JSON each"
    yield files.PROPOSALS, _proposals(folder / files.PROPOSALS)
    yield files.EVENTS, _events(folder / files.EVENTS)
    yield files.PICTURE, "the picture of it all; open it in a browser"
    yield files.GRAPH, "the graph above"
    yield files.STORE, "the store: events, lineage, deliveries"


def _proposals(path: Path) -> str:
    found = json.loads(path.read_bytes()) if path.exists() else []
    kinds = Counter(proposal["entityType"] for proposal in found)
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return f"{number(len(found), 'proposal')} for DataHub: {counts or 'none'}"


def _events(path: Path) -> str:
    lines = path.read_bytes().splitlines() if path.exists() else []
    kinds = Counter(str(json.loads(line).get("eventType", "others")) for line in lines)
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return f"{number(len(lines), 'event')} of OpenLineage: {counts or 'none'}"


def _next_steps(folder: Path) -> Iterator[str]:
    program = _typed()
    yield f"  {program} status --FlyteLineage.state_dir={folder}"
    yield f"  {program} --generate-config"
    yield f"  {program} check --connect --sqs-queue=NAME_OR_URL"


def _typed() -> str:
    """How the program is called from here."""
    if shutil.which("flytelineage"):
        return "flytelineage"
    called = Path(sys.argv[0])
    return "python -m flytelineage" if called.name == "__main__.py" else relpath(called)
