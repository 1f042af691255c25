"""From what events say to the names under which catalogues know things; pure.

Names cannot change once they were emitted. So each rule stands here, once, and in the
order in which it is tried:

- a pipeline by FlyteAdmin, else by the launch plan, else by a guess over task names;
- a task by its Flyte name, with its place where it stands at several;
- data under Flyte's raw-output layout by who wrote it: its path is new in each run;
- any other URI by the platform that owns it, spelled as DataHub's and OpenLineage's own
  sources spell it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from flytelineage.entities import DatasetId, PipelineId
from flytelineage.facts import Facts, Identifier, NodeFacts

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

    A launch plan is named like its workflow unless somebody named it otherwise.
    """
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
    """The module that most top-level tasks share.

    Ties go to the first in node order. Without a task at the top the leaf tasks at any
    depth are asked, then the launch plans that were started.
    """
    ordered = sorted(nodes, key=lambda node: natural(node.id))
    parents = {node.parent for node in ordered}
    for names in (
        [task.name for node in ordered if not node.parent and (task := task_of(node))],
        [task.name for node in ordered if node.id not in parents and (task := task_of(node))],
        [node.launch_plan.name for node in ordered if node.launch_plan],
    ):
        if names:
            # Counter keeps the order in which it met its keys, and so does most_common.
            return Counter(module(name) for name in names).most_common(1)[0][0]
    return None


def module(name: str) -> str:
    """The module of a dotted Python path; a name without a dot is its own."""
    return name.rpartition(".")[0] or name


def short(name: str) -> str:
    """The last part of a dotted Python path."""
    return name.rpartition(".")[2]


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which `n2` comes before `n10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


# ---------------------------------------------------------- Flyte's raw output


class RawOutput(NamedTuple):
    """Data where Flyte puts what a task returns.

    Attributes:
        key: The URI cut after the random folder: names this one piece of data.
        owner: `<execution>-<node>-<attempt>`, or a hash where that was too long.
    """

    key: str
    owner: str


_RAW_OUTPUT = re.compile(
    r"(?P<key>[a-z0-9+]+://.+/[a-z0-9]{2}/(?P<owner>[^/]+)/[0-9a-f]{32})(?:/.*)?"
)
_SAME_SCHEME = {"s3a": "s3", "s3n": "s3", "abfs": "abfss", "wasb": "wasbs"}


def normalised(uri: str) -> str:
    """The URI in the one spelling by which it is compared."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return f"file://{uri}".rstrip("/") if uri.startswith("/") else uri.rstrip("/")
    scheme = scheme.lower()
    return f"{_SAME_SCHEME.get(scheme, scheme)}://{rest.rstrip('/')}"


def raw_output(uri: str) -> RawOutput | None:
    """Recognise Flyte's raw-output layout, whatever its prefix.

    Source: flyteplugins ioutils/raw_output_path.go: `<prefix>/<shard>/<owner>/<32 hex>`.
    """
    match = _RAW_OUTPUT.fullmatch(normalised(uri))
    return RawOutput(match["key"], match["owner"]) if match else None


def written_by(owner: str, execution: str, node: str | None = None) -> bool:
    """Whether the owner part of a raw-output path names this execution or node.

    A long owner is a hash, which names nobody: then the answer is False.
    """
    prefix = f"{execution}-{node}-" if node else f"{execution}-"
    return owner.startswith(prefix) and (node is None or owner[len(prefix) :].isdigit())


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
        key = declared.artifact_partial_id.artifact_key
        if key.name:
            project, domain = key.project or pipeline.project, key.domain or pipeline.domain
            found[variable] = _ours(pipeline, project, domain, key.name)
    return found


def _ours(pipeline: PipelineId, *parts: str) -> DatasetId:
    """A dataset of the pipeline's deployment, whose name each target adds in its own way."""
    return DatasetId(platform=FLYTE, instance=pipeline.instance, name=".".join(filter(None, parts)))


# --------------------------------------------------------------------- other URIs


def dataset_id(uri: str) -> DatasetId | None:
    """The dataset at a URI that is not Flyte's raw output.

    Part files, trailing slashes and hive partitions are cut off: all of them are one
    dataset. An unknown scheme is taken as the platform's name.

    Returns:
        `None` for what names nothing, such as `s3://` or a word.
    """
    scheme, _, rest = normalised(uri).partition("://")
    platform, spell = _PLATFORMS.get(scheme, (scheme, lambda rest: _path(rest) or rest))
    if not _SCHEME.fullmatch(scheme) or not rest.strip("/ "):
        return None
    return DatasetId(platform=platform, name=name) if (name := spell(rest)) else None


_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*")


def _path(rest: str) -> str:
    """A path without what only tells one file of a dataset from another."""
    parts = [part for part in rest.split("/") if part]
    for index, part in enumerate(parts):
        if index and _PARTITION.fullmatch(part):
            parts = parts[:index]
            break
    if len(parts) > 1 and _PART_FILE.fullmatch(parts[-1]):
        parts.pop()
    return "/".join(parts)


_PARTITION = re.compile(r"[A-Za-z_][\w.\-]*=[^=]*")
_PART_FILE = re.compile(r"part-\d+.*|\d{5}|\.csv|_SUCCESS")


def _local(rest: str) -> str:
    return "/" + _path(rest)


def _azure(rest: str) -> str:
    """`container@account.host/path`, of which DataHub's source keeps container and path."""
    authority, _, path = rest.partition("/")
    return _path(f"{authority.partition('@')[0]}/{path}")


def _bigquery(rest: str) -> str:
    return rest.replace(":", ".").replace("/", ".")


def _last(count: int) -> Callable[[str], str]:
    """Names that are the last parts of a path, in lower case, e.g. database.schema.table."""

    def spell(rest: str) -> str:
        parts: Sequence[str] = [part for part in re.split(r"[/.]", rest) if part]
        return ".".join(parts[-count:]).lower()

    return spell


_PLATFORMS: dict[str, tuple[str, Callable[[str], str]]] = {
    "s3": ("s3", _path),
    "gs": ("gcs", _path),
    "abfss": ("abs", _azure),
    "wasbs": ("abs", _azure),
    "file": ("file", _local),
    "hdfs": ("hdfs", _path),
    "bq": ("bigquery", _bigquery),
    "snowflake": ("snowflake", _last(3)),
    "redshift": ("redshift", _last(3)),
    "postgres": ("postgres", _last(3)),
    "postgresql": ("postgres", _last(3)),
    "glue": ("glue", _last(2)),
    "athena": ("athena", _last(2)),
}
