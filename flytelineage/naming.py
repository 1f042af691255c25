"""From what events say to the names under which catalogues know things; pure.

Names cannot change once they were emitted. So each rule stands once:

- a pipeline by FlyteAdmin, else by the launch plan, else by a guess over task names;
- a task by its Flyte name, with its place where it stands at several;
- data under Flyte's raw-output layout by who wrote it: its path is new in each run;
- any other URI by the operator's rules, else by the platform that owns it
  (`dataset_names`), in one spelling (`uris`).
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flytelineage.dataset_names import Decision, Names, dataset_id
from flytelineage.entities import DatasetId, PipelineId
from flytelineage.facts import Facts, Identifier, NodeFacts
from flytelineage.uris import (
    RawOutput,
    normalised,
    possible_writers,
    printable,
    raw_output,
    written_by,
)

__all__ = [
    "FLYTE", "Decision", "Guess", "NameSource", "Names", "RawOutput", "artifact_of", "artifacts",
    "dataset_id", "guess", "guess_workflow", "module", "natural", "normalised", "pipeline_id",
    "pipeline_name", "possible_writers", "raw_output", "short", "task_of", "task_output",
    "written_by",
]  # fmt: skip

FLYTE = "flyte"
"""Platform of data whose only home is a Flyte task's raw output."""

NameSource = str
"""`admin`, `launch plan` or `guessed`."""


# --------------------------------------------------------------------- pipelines


def task_of(node: NodeFacts) -> Identifier | None:
    """The task that a node runs; older Flyte says it in task events only."""
    if node.task is not None:
        return node.task
    return node.attempts[-1].task if node.attempts else None


def pipeline_name(facts: Facts) -> tuple[str, NameSource] | None:
    """The workflow's name and what it rests on; `None` when nothing names it.

    FlyteAdmin knows it. A launch plan is named like its workflow unless somebody named it otherwise.
    """
    if facts.workflow is not None:
        return facts.workflow.name, "admin"
    if facts.launch_plan is not None:
        return facts.launch_plan.name, "launch plan"
    guess = guess_workflow(facts.nodes.values())
    return (guess, "guessed") if guess else None


def pipeline_id(facts: Facts, name: str) -> PipelineId:
    """The id of this execution's pipeline, once its name is known."""
    execution = facts.execution
    return PipelineId(
        instance=execution.instance,
        project=execution.project,
        domain=execution.domain,
        name=name,
    )


def guess_workflow(nodes: Iterable[NodeFacts]) -> str | None:
    """The module that most top-level tasks share; see `guess`."""
    found = guess(nodes)
    return found.name if found else None


class Guess(NamedTuple):
    """A name that stands in for a workflow's.

    Attributes:
        counted: What its name was counted among.
        modules: How often each was met, the guess first.
    """

    name: str
    counted: str
    modules: tuple[tuple[str, int], ...]


def guess(nodes: Iterable[NodeFacts]) -> Guess | None:
    """The module that most top-level tasks share.

    Ties go to the first in node order. Without a task at the top the leaf tasks at any
    depth are asked, then the launch plans that were started.
    """
    ordered = sorted(nodes, key=lambda node: natural(node.id))
    parents = {node.parent for node in ordered}
    for counted, names in (
        ("tasks at the top", _task_names(node for node in ordered if not node.parent)),
        ("leaf tasks", _task_names(node for node in ordered if node.id not in parents)),
        ("launch plans", [node.launch_plan.name for node in ordered if node.launch_plan]),
    ):
        if names:
            # Counter keeps the order in which it met its keys, and so does most_common.
            modules = tuple(Counter(module(name) for name in names).most_common())
            return Guess(modules[0][0], counted, modules)
    return None


def _task_names(nodes: Iterable[NodeFacts]) -> list[str]:
    return [task.name for node in nodes if (task := task_of(node))]


def module(name: str) -> str:
    """The module of a dotted Python path; a name without a dot is its own."""
    return name.rpartition(".")[0] or name


def short(name: str) -> str:
    """The last part of a dotted Python path."""
    return name.rpartition(".")[2]


# Events say what they like, and Python reads no number of more than 4300 digits.
_NUMBER = re.compile(r"([0-9]{1,18})")


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which `n2` comes before `n10`."""
    between = enumerate(_NUMBER.split(text))
    return [(int(part), "") if index % 2 else (-1, part) for index, part in between]


# --------------------------------------------------------------- what tasks wrote


def task_output(pipeline: PipelineId, task: str, variable: str) -> DatasetId:
    """The dataset that a task's output variable is, in every execution.

    The pipeline is part of the name: one utility task serves many workflows, and what
    it wrote for one is not what it wrote for another.

    Args:
        pipeline: Whose task it is.
        task: The task's name inside its pipeline, with its place if it has one.
        variable: The name of the output variable.
    """
    return _ours(pipeline, pipeline.project, pipeline.domain, pipeline.name, task, variable)


def artifacts(interface: bytes, pipeline: PipelineId) -> dict[str, DatasetId]:
    """Output variables that the task's author gave a name of their own.

    Source: flyteidl core/interface.proto, Variable.artifact_partial_id.
    """
    if not interface:
        return {}
    from flyteidl.core import interface_pb2

    found = {}
    for variable, declared in interface_pb2.TypedInterface.FromString(
        interface
    ).outputs.variables.items():
        if dataset := _artifact(declared.artifact_partial_id.artifact_key, pipeline):
            found[variable] = dataset
    return found


def artifact_of(metadata: Mapping[str, str], pipeline: PipelineId) -> DatasetId | None:
    """The dataset that a literal says it is; `None` where it says none that can be read.

    Partitions are no part of the name: all of them are one dataset.

    Source: flytekit base_task.py: `_uap` is a core.ArtifactID in base64, where the task
    chose partitions while it ran.
    """
    text = metadata.get(_ARTIFACT, "")
    if not text or len(text) > _LONGEST_ARTIFACT:
        return None
    from flyteidl.core import artifact_id_pb2
    from google.protobuf.message import DecodeError

    try:
        found = artifact_id_pb2.ArtifactID.FromString(base64.b64decode(text, validate=True))
    except (ValueError, DecodeError):
        return None
    return _artifact(found.artifact_key, pipeline)


_ARTIFACT = "_uap"
_LONGEST_ARTIFACT = 64 * 1024


def _artifact(key: Any, pipeline: PipelineId) -> DatasetId | None:
    """The dataset of a core.ArtifactKey; what it leaves open is the pipeline's."""
    name = printable(key.name)
    if not name:
        return None
    return _ours(pipeline, key.project or pipeline.project, key.domain or pipeline.domain, name)


def _ours(pipeline: PipelineId, *parts: str) -> DatasetId:
    """A dataset of the pipeline's deployment, whose name each target adds in its own way."""
    return DatasetId(platform=FLYTE, instance=pipeline.instance, name=".".join(filter(None, parts)))
