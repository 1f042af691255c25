"""Runs messages through the real daemon and says what came out, in the truth's words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flytelineage.daemon import Daemon
from flytelineage.entities import Evidence, Lineage
from flytelineage.objects import ObjectReader
from flytelineage.report import Report
from flytelineage.sources.file import FileSource
from flytelineage.store import Store
from flytelineage.targets.file import FileTarget
from flytelineage.testing.simulator import RunTruth, Truth
from flytelineage.testing.simulator.__main__ import line


def replay(bodies: Sequence[str], folder: Path, **options: Any) -> tuple[Report, list[Lineage]]:
    """What a replay of these bodies tells a file; the last line of each execution."""
    folder.mkdir(parents=True, exist_ok=True)
    messages = folder / "messages.jsonl"
    messages.write_text("".join(f"{line(body)}\n" for body in bodies), encoding="utf-8")
    source = FileSource(path=str(messages))
    target = FileTarget(path=str(folder / "lineage.jsonl"))
    store = Store(path=str(folder / "replay.sqlite3"))
    store.open(exclusive=True)
    try:
        daemon = Daemon(
            source=source,
            store=store,
            targets={"file": target, **options.pop("targets", {})},
            reader=ObjectReader(allow=["file:///*"]),
            **options,
        )
        report = daemon.replay()
    finally:
        source.close()
        target.close()
        store.close()
    return report, lineages(folder / "lineage.jsonl")


def lineages(path: Path) -> list[Lineage]:
    """The last line of each execution, oldest first."""
    if not path.exists():
        return []
    found = [Lineage.model_validate_json(text) for text in path.read_text().splitlines()]
    last = {str(one.execution): one for one in found}
    return sorted(last.values(), key=lambda one: (str(one.started_at), str(one.execution)))


def told(lineage: Lineage) -> Truth:
    """A lineage in the words of the simulator's truth."""
    tasks = {task.id.local: task for task in lineage.tasks if not task.retired}
    whole = next(run for run in lineage.runs if run.node is None)
    return Truth(
        pipeline=str(lineage.pipelines[0].id) if lineage.pipelines else "",
        execution=lineage.execution.name,
        phase=lineage.phase,
        tasks=tuple(sorted(tasks)),
        reads=_edges(tasks, "inputs"),
        writes=_edges(tasks, "outputs"),
        edges=_upstream(tasks, Evidence.DATA),
        definition_edges=_upstream(tasks, Evidence.DEFINITION),
        inputs=tuple(sorted(map(str, whole.inputs))),
        outputs=tuple(sorted(map(str, whole.outputs))),
        runs=tuple(
            sorted(
                (
                    RunTruth(
                        node=run.node,
                        attempt=run.attempt,
                        task=run.task.local,
                        phase=run.phase,
                        cached=run.cache_status == "CACHE_HIT",
                    )
                    for run in lineage.runs
                    if run.node is not None
                ),
                key=lambda run: (run.node, run.attempt),
            )
        ),
    )


def _edges(tasks: dict[str, Any], side: str) -> dict[str, tuple[str, ...]]:
    found = {
        name: tuple(sorted(str(edge.dataset) for edge in getattr(task.io, side)))
        for name, task in tasks.items()
        if task.io
    }
    return {name: ids for name, ids in found.items() if ids}


def _upstream(tasks: dict[str, Any], evidence: Evidence) -> tuple[tuple[str, str], ...]:
    """Pairs of tasks between which there is this evidence of an edge."""
    found = (
        (edge.task.local, name)
        for name, task in tasks.items()
        for edge in (task.io.upstream if task.io else ())
        if evidence in edge.evidence
    )
    return tuple(sorted(found))


def comparable(truth: Truth, *, definitions: bool = False) -> dict[str, Any]:
    """A truth as plain values in a fixed order, for readable differences.

    Definition edges are a matter of what was known of graphs: asked for where that is
    what the case is about.
    """
    plain = json.loads(json.dumps(truth.as_json()))
    if not definitions:
        del plain["definition_edges"]
    for side in ("reads", "writes"):
        plain[side] = {name: sorted(ids) for name, ids in sorted(plain[side].items()) if ids}
    for name in {"tasks", "edges", "definition_edges", "inputs", "outputs"} & plain.keys():
        plain[name] = sorted(plain[name])
    plain["runs"] = sorted(plain["runs"], key=lambda run: (run["node"], run["attempt"]))
    return plain


def all_bodies(streams: Iterable[Any], encoding: str = "raw", delivery: str = "sns") -> list[str]:
    """The messages of several streams, one stream after the other."""
    return [body for stream in streams for body in stream.bodies(encoding, delivery)]
