"""What consumers make of OpenLineage events; pure.

Only what decides about graphs is here: who reads and writes what, under which name, and how
runs end. Facets that are only shown are left out.

Sources: MarquezProject/marquez, api/src/main/java/marquez: db/OpenLineageDao.java,
db/JobVersionDao.java, service/models/NodeId.java and common/Utils.java, as of 0.50;
open-metadata/OpenMetadata, ingestion/src/metadata/ingestion/source/pipeline/openlineage.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, NamedTuple

Event = Mapping[str, Any]
Side = Literal["inputs", "outputs"]

_DONE = {"COMPLETE": "COMPLETED", "ABORT": "ABORTED", "FAIL": "FAILED"}
_NOT_IN_NAMESPACES = re.compile(r"[^a-z:/A-Z0-9\-_.@+]")
_BETWEEN_PARTS = re.compile(r":(?!//|\d+)")
_DELIMITERS = re.compile(r"[:#]")


class Name(NamedTuple):
    """Of a job or a dataset."""

    namespace: str
    name: str


Edges = frozenset[tuple[Name, Name]]


def _named(value: Event) -> Name:
    return Name(value["namespace"], value["name"])


def _datasets(event: Event, side: Side) -> list[Event]:
    return list(event.get(side) or ())


def _symlinks(dataset: Event) -> list[Name]:
    facet = (dataset.get("facets") or {}).get("symlinks") or {}
    return [_named(each) for each in facet.get("identifiers") or ()]


# ------------------------------------------------------------------------- Marquez


@dataclass(frozen=True)
class MarquezGraph:
    """What Marquez has of some events.

    Attributes:
        reads, writes: A dataset and a job that read it, a job and a dataset that it wrote;
            of all versions of the jobs.
        current: What `GET /lineage` draws, from each dataset or job to the next: only what
            is left of the version that the last event of a job spoke of.
        parents: By run, the run that it is a part of.
        names: What the job of each run is called: below the name of its parent's job.
        states: `RUNNING`, `COMPLETED`, `FAILED` or `ABORTED`, by run id.
        lost: Jobs and datasets that a link in its pages does not lead to, as their ids are
            taken apart wrongly.
    """

    reads: Edges
    writes: Edges
    current: Edges
    parents: Mapping[str, str]
    names: Mapping[str, Name]
    states: Mapping[str, str]
    lost: frozenset[Name]


@dataclass
class _Marquez:
    """Its database, as far as it decides about the graph."""

    states: dict[str, str] = field(default_factory=dict)
    names: dict[str, Name] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    seen: dict[tuple[str, Side], set[Name]] = field(default_factory=lambda: defaultdict(set))
    ever: dict[tuple[Name, Side], set[Name]] = field(default_factory=lambda: defaultdict(set))
    now: dict[tuple[Name, Side], set[Name]] = field(default_factory=lambda: defaultdict(set))
    primary: dict[Name, Name] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """One event; those of datasets alone say nothing of edges."""
        if "run" in event:
            self._take_run(event)
        elif "job" in event:
            job = _formatted(_named(event["job"]))
            for side in _SIDES:
                self._show(job, side, self._known(event, side))

    def _take_run(self, event: Event) -> None:
        id, job = event["run"]["runId"], self._job(event)
        state = str(event.get("eventType", "")).upper()
        self.names[id] = job
        self.states[id] = _DONE.get(state, "RUNNING")
        for side in _SIDES:
            told = self._known(event, side)
            self.seen[id, side] |= told
            if not told:
                # An event without datasets on a side takes what the job had there away.
                self.now[job, side] = set()
            if state in _DONE:
                self._show(job, side, self.seen[id, side])

    def _job(self, event: Event) -> Name:
        """The job of a run: its name begins with that of its parent's, or is made to."""
        job = _formatted(_named(event["job"]))
        above = (event["run"].get("facets") or {}).get("parent")
        if above is None:
            return job
        id = above["run"]["runId"]
        self.parents[event["run"]["runId"]] = id
        if id not in self.names:
            # Of a parent that was not told it takes the name up to the last dot.
            told = above["job"]["name"]
            self.names[id] = Name(job.namespace, told.rpartition(".")[0] or told)
            self.states[id] = "RUNNING"
        prefix = f"{self.names[id].name}."
        return Name(job.namespace, prefix + job.name.removeprefix(prefix))

    def _known(self, event: Event, side: Side) -> set[Name]:
        """The datasets on one side of an event, each by the first of its names."""
        found = set()
        for dataset in _datasets(event, side):
            name = _formatted(_named(dataset))
            first = self.primary.setdefault(name, name)
            for other in map(_formatted, _symlinks(dataset)):
                self.primary.setdefault(other, first)
            found.add(first)
        return found

    def _show(self, job: Name, side: Side, datasets: set[Name]) -> None:
        """A version of the job becomes its current one."""
        self.ever[job, side] |= datasets
        if datasets:
            self.now[job, side] = set(datasets)


_SIDES: tuple[Side, Side] = ("inputs", "outputs")


def marquez_graph(events: Iterable[Event]) -> MarquezGraph:
    """What Marquez draws once it took these events, in their order.

    It unites the datasets of all events of a run, and links them to the job when the run is
    done, however it ended. Jobs of runs that have a parent are renamed to begin with the name
    of its job. What was once told as a symlink of a dataset is the same dataset.
    """
    known = _Marquez()
    for event in events:
        known.take(event)
    reads, writes = (_edges(known.ever, side) for side in _SIDES)
    ends = {name for edge in (*reads, *writes) for name in edge}
    return MarquezGraph(
        reads=reads,
        writes=writes,
        current=_edges(known.now, "inputs") | _edges(known.now, "outputs"),
        parents=known.parents,
        names=known.names,
        states=known.states,
        lost=frozenset(name for name in ends if parts_of_node(node_id("job", name)) != name),
    )


def _edges(found: Mapping[tuple[Name, Side], set[Name]], side: Side) -> Edges:
    pairs = ((job, one) for (job, which), ids in found.items() if which == side for one in ids)
    return frozenset((one, job) if side == "inputs" else (job, one) for job, one in pairs)


def _formatted(name: Name) -> Name:
    """The name with the characters that Marquez takes in namespaces.

    Source: OpenLineageDao.formatNamespaceName
    """
    return Name(_NOT_IN_NAMESPACES.sub("_", name.namespace), name.name)


def node_id(kind: Literal["job", "dataset"], name: Name) -> str:
    """How a link names a job or a dataset."""
    return ":".join((kind, *name))


def parts_of_node(id: str) -> Name | None:
    """The name that Marquez reads from a link; `None` where it finds none.

    A colon is no delimiter where `//` or a digit follows; only the first ones count.

    Source: NodeId.parts
    """
    simple = _DELIMITERS.split(id)
    if len(simple) == 3:
        return Name(*simple[1:])
    parts = _BETWEEN_PARTS.split(id, maxsplit=2)
    return Name(*parts[1:]) if len(parts) == 3 else None


# -------------------------------------------------------------------- OpenMetadata


@dataclass(frozen=True)
class OpenMetadataGraph:
    """What OpenMetadata has of some events.

    Attributes:
        edges: What was read, the job that says so, and what was written.
        names: What each dataset is looked up by: its first symlink, else its own name.
        nameless: Datasets whose name is not made of a schema and a table; it skips these.
    """

    edges: frozenset[tuple[Name, Name, Name]]
    names: Mapping[Name, frozenset[str]]
    nameless: frozenset[Name]


def openmetadata_graph(events: Iterable[Event]) -> OpenMetadataGraph:
    """What OpenMetadata draws: each COMPLETE by itself, each output of each input.

    Newer releases take START and RUNNING, too: of ours, those have no datasets.

    Source: metadata.py, `_filter_event_by_types`, `_get_table_details` and
    `yield_pipeline_lineage_details`
    """
    told = [event for event in events if event.get("eventType") == "COMPLETE"]
    edges: set[tuple[Name, Name, Name]] = set()
    names: dict[Name, set[str]] = defaultdict(set)
    for event in told:
        job = _named(event["job"])
        inputs, outputs = _datasets(event, "inputs"), _datasets(event, "outputs")
        edges.update((_named(one), job, _named(other)) for one, other in product(inputs, outputs))
        for dataset in (*inputs, *outputs):
            names[_named(dataset)].add(_looked_up_by(dataset))
    return OpenMetadataGraph(
        edges=frozenset(edges),
        names={dataset: frozenset(found) for dataset, found in names.items()},
        nameless=frozenset(d for d, found in names.items() if any("." not in n for n in found)),
    )


def _looked_up_by(dataset: Event) -> str:
    return next((other.name for other in _symlinks(dataset)), str(dataset["name"]))
