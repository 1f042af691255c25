"""What was found against what is true, sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from flytelineage.entities import Lineage, Task

if TYPE_CHECKING:
    from flytelineage.testing.simulator import Truth


def differences(found: Mapping[str, Lineage], truths: Iterable[Truth]) -> list[str]:
    """Where lineage and truth differ, one line each; empty when they are equal.

    Args:
        found: The newest lineage of each execution, by its name.
        truths: What is true of each execution.
    """
    lines = []
    for truth in truths:
        lineage = found.get(truth.execution)
        true, told = set(_true(truth)), set(_told(lineage)) if lineage else set()
        lines += [f"{truth.execution}: not found: {fact}" for fact in sorted(true - told)]
        lines += [f"{truth.execution}: not true: {fact}" for fact in sorted(told - true)]
    return lines


def count(truths: Iterable[Truth]) -> int:
    """How many sentences are compared."""
    return sum(len(set(_true(truth))) for truth in truths)


def _true(truth: Truth) -> Iterator[str]:
    yield f"pipeline {truth.pipeline} {truth.phase}"
    yield from (f"task {task}" for task in truth.tasks)
    yield from (f"{task} reads {data}" for task, ids in truth.reads.items() for data in ids)
    yield from (f"{task} writes {data}" for task, ids in truth.writes.items() for data in ids)
    yield from (f"{later} comes after {earlier}" for earlier, later in truth.edges)
    yield from (f"the workflow takes {data}" for data in truth.inputs)
    yield from (f"the workflow gives {data}" for data in truth.outputs)
    for run in truth.runs:
        yield _run(run.task, run.node, run.attempt, run.phase, cached=run.cached)


def _told(lineage: Lineage) -> Iterator[str]:
    for pipeline in lineage.pipelines:
        yield f"pipeline {pipeline.id} {lineage.phase}"
    for task in lineage.tasks:
        if not task.retired:
            yield f"task {task.id.local}"
            yield from _edges(task)
    for run in lineage.runs:
        if run.node is None:
            yield from (f"the workflow takes {data}" for data in run.inputs)
            yield from (f"the workflow gives {data}" for data in run.outputs)
        else:
            task_name = run.task.local if run.task else ""
            hit = run.cache_status == "CACHE_HIT"
            yield _run(task_name, run.node, run.attempt or 0, run.phase, cached=hit)


def _edges(task: Task) -> Iterator[str]:
    if task.io is None:
        return
    name = task.id.local
    yield from (f"{name} reads {edge.dataset}" for edge in task.io.inputs)
    yield from (f"{name} writes {edge.dataset}" for edge in task.io.outputs)
    yield from (f"{name} comes after {edge.task.local}" for edge in task.io.upstream)


def _run(task: str, node: str, attempt: int, phase: str, *, cached: bool) -> str:
    how = f"{phase}, from the cache" if cached else phase
    return f"attempt {attempt} of {task} at node {node}: {how}"
