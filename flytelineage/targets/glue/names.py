"""Where a dataset comes from, and so which database and table it goes to; pure.

A table's name must come out the same each time, although the daemon leaves out of a
lineage what is unchanged. So it rests on what is always there: the dataset's own name
and the runs. Edges, which come and go, only add to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from flytelineage.entities import Dataset, DatasetId, Lineage, PipelineId, TaskId
from flytelineage.targets.glue.text import Fitter, cleaned, fingerprint, fitting

FLYTE = "flyte"
"""Platform of the datasets that are named after the task that wrote them."""

DATABASE_PREFIX = "flyte_"
"""Of databases that are named after a project and a domain."""

NAME_BYTES = 255


class Origin(NamedTuple):
    """The task that wrote a dataset, and as what.

    Attributes:
        variable: The output variable; of data that somebody named, the last part of
            that name.
    """

    task: TaskId
    variable: str


class Origins:
    """Finds who wrote the datasets of one lineage.

    Attributes:
        tasks: The tasks that the lineage tells of.
    """

    def __init__(self, lineage: Lineage) -> None:
        self.tasks = {task.id: task for task in lineage.tasks}
        self._alone = lineage.execution is None
        self._pipelines = {str(id): id for id in _pipelines(lineage)}
        # Of several writers the first by name, since the later entry replaces the former.
        writes = sorted(_writes(lineage), key=lambda write: str(write[1]), reverse=True)
        self._writers = dict(writes)

    def of(self, dataset: Dataset) -> Origin | None:
        """Who wrote the dataset; `None` when nothing in the lineage says so."""
        name = ".".join(filter(None, (dataset.instance, dataset.name)))
        if dataset.platform == FLYTE and (origin := self._by_pipeline(name)):
            return origin
        if task := self._writers.get(dataset.id):
            return Origin(task, _last_part(dataset.name))
        if dataset.platform == FLYTE and self._alone:
            return guessed(dataset.name)
        return None

    def _by_pipeline(self, name: str) -> Origin | None:
        """Take a known pipeline off the name; what is left is `<task>.<variable>`."""
        end = name.rfind(".")
        while end > 0:
            pipeline = self._pipelines.get(name[:end])
            local, dot, variable = name[end + 1 :].rpartition(".")
            if pipeline and dot:
                return Origin(_task(pipeline, local), variable)
            end = name.rfind(".", 0, end)
        return None


def guessed(name: str) -> Origin | None:
    """Split `<project>.<domain>.<workflow>.<task>.<variable>` where nothing helps.

    Workflow and task have dots of their own. Mostly both stand in one module and so
    begin alike; where they do not, the split is in the middle.
    """
    *parts, variable = name.split(".")
    project, domain, *middle = parts if len(parts) >= 4 else ("", "")
    if len(middle) < 2:
        return None
    at = max(range(1, len(middle)), key=lambda at: (_alike(middle, at), -abs(2 * at - len(middle))))
    pipeline = PipelineId(project=project, domain=domain, name=".".join(middle[:at]))
    return Origin(_task(pipeline, ".".join(middle[at:])), variable)


def _alike(parts: list[str], at: int) -> int:
    """How many parts the two sides of a split have in common at their beginnings."""
    pairs = zip(parts[:at], parts[at:], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _task(pipeline: PipelineId, local: str) -> TaskId:
    name, _, place = local.partition("@")
    return TaskId(pipeline=pipeline, name=name, place=place)


def _pipelines(lineage: Lineage) -> Iterator[PipelineId]:
    """Every pipeline that the lineage speaks of."""
    yield from (pipeline.id for pipeline in lineage.pipelines)
    yield from (task.pipeline for task in lineage.tasks)
    yield from (run.pipeline for run in lineage.runs if run.pipeline)
    yield from (run.task.pipeline for run in lineage.runs if run.task)


def _writes(lineage: Lineage) -> Iterator[tuple[DatasetId, TaskId]]:
    """Who is said to have written what."""
    for run in lineage.runs:
        if run.task:
            yield from ((id, run.task) for id in run.outputs)
    for task in lineage.tasks:
        if task.io:
            yield from ((edge.dataset, task.id) for edge in task.io.outputs)
    for dataset in lineage.datasets:
        written = dataset.operation
        if written and written.kind == "write" and written.task:
            yield dataset.id, written.task


def _last_part(name: str) -> str:
    """The last part of a dotted name, or of a path."""
    separator = "/" if "/" in name else "."
    return name.removesuffix(".parquet").rpartition(separator)[2]


# ----------------------------------------------------------- databases and tables


def database_name(origin: Origin, fit: Fitter | None = None) -> str:
    """The database of a project and domain; `fit` notes if it is cut."""
    pipeline = origin.task.pipeline
    name = cleaned(f"{DATABASE_PREFIX}{pipeline.domain}_{pipeline.project}")
    return (fit or Fitter())("the name of the database", name, NAME_BYTES)


def table_name(template: str, origin: Origin, fit: Fitter | None = None) -> str:
    """The table's name by the operator's template; `fit` notes if it is cut."""
    name = template.format_map({key: cleaned(part) for key, part in _parts(origin).items()})
    return (fit or Fitter())("the name of the table", cleaned(name), NAME_BYTES)


def distinguished(name: str, dataset: str) -> str:
    """The name for the case that another dataset has the plain one."""
    suffix = f"_{fingerprint(dataset)[:8]}"
    return fitting(name, NAME_BYTES - len(suffix)) + suffix


TEMPLATE_KEYS = ("project", "domain", "workflow", "task", "variable")


def _parts(origin: Origin) -> dict[str, str]:
    task, variable = origin
    # A task at several places of a workflow has a dataset for each.
    place = f"_{task.place}" if task.place else ""
    values = (
        task.pipeline.project,
        task.pipeline.domain,
        _last_part(task.pipeline.name),
        _last_part(task.name) + place,
        variable,
    )
    return dict(zip(TEMPLATE_KEYS, values, strict=True))
