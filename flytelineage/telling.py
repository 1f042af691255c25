"""Which aspects of a lineage are to be told to a target; pure.

Each aspect that is known is claimed at the store, which answers which of them no newer
execution has told and no equal one was accepted lately. The rest stays out. What of an
answer is there no more, edges and whole tasks, is put in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from flytelineage import parts
from flytelineage.entities import (
    IO,
    Copies,
    Copy,
    Dataset,
    DatasetId,
    Entity,
    Lineage,
    Pipeline,
    Properties,
    Run,
    Task,
    TaskList,
    Value,
    digest,
)
from flytelineage.store import Claim, SeenEdges
from flytelineage.targets import Rejection

KINDS = ("pipelines", "tasks", "datasets")
"""What can be claimed; runs are told in any case."""

_FOR_GOOD = datetime.max.replace(tzinfo=timezone.utc)
"""The bare id of a task that is told per place is never told again."""

LAST_RUN = "last run"
"""As an aspect of a pipeline: which run the catalogue shows, where it shows one only."""

Tell = Mapping[tuple[str, str], Claim]
"""What is to be told, by entity and aspect."""


def claims_of(
    lineage: Lineage, keeps: Iterable[str] = KINDS, *, last_run_only: bool = False
) -> list[Claim]:
    """One claim for each aspect that is known of what a target keeps.

    Args:
        lineage: What an execution tells.
        keeps: `Target.keeps`.
        last_run_only: `Target.last_run_only`.
    """
    claims = [
        _claim(entity, aspect, value, lineage)
        for kind in KINDS
        if kind in keeps
        for entity in getattr(lineage, kind)
        for aspect, value in entity.aspects()
    ]
    if last_run_only:
        claims += [_of_run(run, lineage) for run in lineage.runs if _is_shown(run)]
    return claims


def _claim(entity: Entity, aspect: str, value: Any, lineage: Lineage) -> Claim:
    claim = Claim(entity.urn, aspect, _stamp(entity, lineage), _digest(entity, aspect, value))
    if isinstance(value, IO):
        return replace(claim, parts=dict.fromkeys(parts.edges(value), ""), whole=value.complete)
    if isinstance(value, TaskList):
        return replace(claim, parts=parts.tasks(value))
    return claim


def _of_run(run: Run, lineage: Lineage) -> Claim:
    return Claim(_shown_as(run), LAST_RUN, _stamp(run, lineage), digest(run), always=True)


def _is_shown(run: Run) -> bool:
    return run.node is None and run.pipeline is not None


def _shown_as(run: Run) -> str:
    return f"pipeline:{run.pipeline}"


def as_claimed(rejections: Iterable[Rejection], lineage: Lineage) -> list[Rejection]:
    """What a target refused, in the words of the claims: last runs are their pipelines'."""
    shown = {run.urn: _shown_as(run) for run in lineage.runs if _is_shown(run)}
    return [
        one.model_copy(update={"entity": shown[one.entity], "aspect": LAST_RUN})
        if one.entity in shown
        else one
        for one in rejections
    ]


def stay(
    lineage: Lineage,
    claims: Sequence[Claim],
    tell: Tell,
    keeps: Iterable[str] = KINDS,
    *,
    last_run_only: bool = False,
) -> Lineage:
    """The lineage with only those aspects that are to be told.

    An entity of which nothing is left goes; one that never had an aspect stays, since
    others refer to it. What the target does not keep is all there, to say more of the rest.
    """
    claimed = {claim.entity for claim in claims}
    told = {entity for entity, _ in tell}

    def kept(entities: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            _told(entity, tell)
            for entity in entities
            if entity.urn in told or entity.urn not in claimed
        )

    update = {kind: kept(getattr(lineage, kind)) for kind in keeps}
    if "tasks" in update:
        update["tasks"] = (*update["tasks"], *_ended(tell))
    if last_run_only:
        update["runs"] = tuple(
            run for run in lineage.runs if _is_shown(run) and (_shown_as(run), LAST_RUN) in tell
        )
    return lineage.model_copy(update=update)


def _told(entity: Any, tell: Tell) -> Any:
    known = entity.only(aspect for aspect in entity.ASPECTS if (entity.urn, aspect) in tell)
    claim = tell.get((entity.urn, "io"))
    if not isinstance(entity, Task) or claim is None or not claim.former:
        return known
    former = parts.former_edges(claim.former, entity.pipeline)
    return known.model_copy(update={"former": former})


def _ended(tell: Tell) -> Iterator[Task]:
    """Tasks that their pipelines have no more, with the edges that were told of them."""
    ended: dict[str, list[Claim]] = defaultdict(list)
    for claim in tell.values():
        if claim.ends:
            ended[claim.ends].append(claim)
    for end in sorted(ended):
        id, claims = parts.task(end), ended[end]
        edges = {part for claim in claims if claim.aspect == "io" for part in claim.former}
        yield Task.of(
            id,
            as_of=claims[0].stamp,
            removed=True,
            former=parts.former_edges(edges, id.pipeline),
        )


# ------------------------------------------------------- edges of other executions


def seen_edges(lineage: Lineage) -> list[SeenEdges]:
    """The edges that an execution showed, for targets that are told those of a window."""
    return [
        SeenEdges(
            entity=task.urn,
            version=task.version.version if task.version else "",
            stamp=_stamp(task, lineage),
            edges=parts.written(task.io),
        )
        for task in lineage.tasks
        if task.io and not task.retired
    ]


def widened(lineage: Lineage, edges: Mapping[str, Iterable[str]]) -> Lineage:
    """The lineage with the edges that other executions showed, by task."""

    def wide(task: Task) -> Task:
        if task.io is None or task.urn not in edges:
            return task
        return task.model_copy(update={"io": parts.united(task.io, edges[task.urn])})

    return lineage.model_copy(update={"tasks": tuple(map(wide, lineage.tasks))})


# --------------------------------------------------------- names in other catalogues


def with_copies(lineage: Lineage, copies: Mapping[DatasetId, Sequence[Copy]]) -> Lineage:
    """The lineage with the names that other catalogues have for its datasets."""

    def named(dataset: Dataset) -> Dataset:
        known = copies.get(dataset.id)
        if not known:
            return dataset
        return dataset.model_copy(update={"copies": Copies(known=tuple(known))})

    if not copies:
        return lineage
    return lineage.model_copy(update={"datasets": tuple(map(named, lineage.datasets))})


def _stamp(entity: Entity, lineage: Lineage) -> datetime:
    if isinstance(entity, Task) and entity.retired:
        return _FOR_GOOD
    return entity.as_of or lineage.started_at or datetime.min.replace(tzinfo=timezone.utc)


_DESCRIBED = ("properties", "version")
"""Of pipelines and tasks these are one thing: the version says when a description changed."""


def _digest(entity: Entity, aspect: str, value: Any) -> str:
    """A hash of what is said: equal is not told again."""
    told = {aspect: value}
    if isinstance(entity, (Pipeline, Task)) and aspect in _DESCRIBED:
        told = {name: known for name, known in entity.aspects() if name in _DESCRIBED}
    # Counts are those of the data that lies there: of other data they are news.
    if isinstance(entity, Dataset) and aspect == "profile" and entity.storage:
        told["storage"] = entity.storage
    return "".join(_digest_of(entity, told[name]) for name in sorted(told))


def _digest_of(entity: Entity, value: Any) -> str:
    # A task's link leads to its newest logs, so it is another one after each run: no news.
    if isinstance(entity, Task) and isinstance(value, Properties):
        value = value.model_copy(update={"url": None})
    if isinstance(value, Value):
        return digest(value)
    return value if isinstance(value, str) else json.dumps(dict(sorted(value.items())))
