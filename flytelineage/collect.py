"""Fetches what is needed to understand the facts: literals, definitions, locations.

All I/O of a build up to the lineage itself is here and in `rounds`. Each reference ends
as a value or as a problem in words; number, bytes, concurrency and time are bounded,
and what is over a bound is a problem like any other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from flytelineage import naming
from flytelineage.definition_keys import definition_key
from flytelineage.definitions import Definition, read_schedule, read_workflow
from flytelineage.entities import DatasetId, ExecutionId, PipelineId
from flytelineage.errors import ReadError
from flytelineage.facts import Facts, Literals, NodeFacts
from flytelineage.flow import Collected, Read, writers
from flytelineage.lineage import pipeline_key
from flytelineage.literals import Reference
from flytelineage.rounds import Bounds, Reader, Rounds, Unavailable, Wanted
from flytelineage.structure import Structure, outcome

__all__ = ["Collector", "Pinned", "Reader", "Unavailable"]


class Places(Protocol):
    """What the store knows of the places of a pipeline's tasks."""

    @property
    def multiple(self) -> frozenset[str]:
        """Tasks known to stand at several nodes."""

    @property
    def bare(self) -> frozenset[str]:
        """Tasks that were told under their bare id."""

    @property
    def retired_by(self) -> Mapping[str, ExecutionId]:
        """Which execution tells a bare id once more."""


class Registry(Protocol):
    """What was remembered of other executions; see `store.Store`."""

    def locations(self, keys: Iterable[str]) -> dict[str, DatasetId | None]:
        """The keys that are registered, with their datasets."""

    def seen(self, executions: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Those executions of which there are events."""

    def places(self, pipeline: PipelineId) -> Places:
        """Where the pipeline's tasks stand."""

    def definitions(self, keys: Iterable[str]) -> dict[str, bytes]:
        """What FlyteAdmin said of versions, as far as it was asked."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """The name that an execution was given when it was first built."""

    pipeline: PipelineId
    name_source: str


T = TypeVar("T")

MAX_DEFINITIONS = 16
"""Versions that are kept in memory; one can have megabytes."""


class Collector(LoggingConfigurable):
    """Collects for one execution at a time; may be shared by threads."""

    max_reads = Integer(
        50_000,
        min=1,
        help="""
        Objects that may be read to build one execution: `inputs.pb` and `outputs.pb`
        of each task. What is over it stays unknown, and the execution is marked so.

        Example: c.Collector.max_reads = 10_000
        """,
    ).tag(config=True)

    max_bytes = Integer(
        128 * 1024 * 1024,
        min=1,
        help="""
        Bytes that may be read to build one execution, over all its objects.

        Example: c.Collector.max_bytes = 32 * 1024 * 1024
        """,
    ).tag(config=True)

    max_references = Integer(
        100_000,
        min=1,
        help="""
        Pieces of data that the literals of one execution may refer to, over all its tasks.
        What is over it stays unknown, and the execution is marked so.

        Example: c.Collector.max_references = 1_000_000
        """,
    ).tag(config=True)

    max_seconds = Float(
        120.0,
        min=0.1,
        help="""
        Seconds that reading for one execution may take before the build goes on
        without the rest. The whole build must end within `Daemon.lease_seconds`.

        Example: c.Collector.max_seconds = 60
        """,
    ).tag(config=True)

    concurrency = Integer(
        16,
        min=1,
        max=64,
        help="""
        Objects that are read at once. Raise it where the object store is far away;
        ObjectReader.concurrency bounds those of all executions together.

        Example: c.Collector.concurrency = 32
        """,
    ).tag(config=True)

    metadata_age = Float(
        7 * 86_400.0,
        min=0,
        help="""
        Seconds for which Flyte's metadata surely stays in the bucket. Only within them
        does a missing `outputs.pb` mean that the task has no outputs; later it may have
        been expired by a lifecycle rule, so the outputs are unknown.

        Example: c.Collector.metadata_age = 86_400
        """,
    ).tag(config=True)

    def __init__(self, **fields: Any) -> None:
        """As every configurable, with nothing read yet."""
        super().__init__(**fields)
        self._reading = threading.Lock()
        self._read: dict[str, object] = {}

    def collect(
        self,
        facts: Facts,
        registry: Registry,
        reader: Reader,
        *,
        pinned: Pinned | None,
        now: datetime,
        patient: bool,
    ) -> Collected:
        """Fetch all that `build_lineage` needs.

        Args:
            facts: What the events say.
            registry: What is remembered of other executions.
            reader: Opens URIs.
            pinned: The name given at the first build; it stays.
            now: Tells how old metadata is.
            patient: Whether the build can wait for an object store that is away.

        Raises:
            Unavailable: Only when `patient`: build again later.
        """
        definition, schedule = self._defined(facts, registry)
        structure = Structure(facts, definition)
        read = Rounds(self._bounds(now, patient), reader).read(_wanted(structure))
        pipeline, source = _identify(facts, pinned)
        keys = {key for one in read.values() for key in _raw_keys(one.references)}
        if pipeline is not None:
            keys.add(pipeline_key(pipeline))
        locations = registry.locations(sorted(keys))
        places = registry.places(pipeline) if pipeline is not None else None
        origins = {node.origin.execution for node in facts.nodes.values() if node.origin}
        origins.update(_others(facts, read.values()))
        return Collected(
            pipeline=pipeline,
            name_source=source,
            pipeline_known=pipeline is not None and pipeline_key(pipeline) in locations,
            definition=definition,
            schedule=schedule,
            inputs={wanted.node: one for wanted, one in read.items() if wanted.side == "inputs"},
            outputs={wanted.node: one for wanted, one in read.items() if wanted.side == "outputs"},
            workflow_outputs=next((one for w, one in read.items() if w.side == "result"), Read()),
            locations=locations,
            seen=frozenset(registry.seen(sorted(origins, key=str))) if origins else frozenset(),
            multiple=places.multiple if places else frozenset(),
            retire=_to_retire(places, facts.execution) if places else frozenset(),
        )

    def _bounds(self, now: datetime, patient: bool) -> Bounds:
        return Bounds(
            max_reads=self.max_reads,
            max_bytes=self.max_bytes,
            max_seconds=self.max_seconds,
            max_references=self.max_references,
            concurrency=self.concurrency,
            metadata_age=self.metadata_age,
            patient=patient,
            now=now,
        )

    def _defined(self, facts: Facts, registry: Registry) -> tuple[Definition | None, str]:
        """The compiled workflow and when it runs by itself, as far as FlyteAdmin told."""
        instance, workflow, plan = facts.execution.instance, facts.workflow, facts.launch_plan
        definition = workflow and self._known(
            definition_key("workflow", workflow, instance), registry, read_workflow
        )
        schedule = plan and self._known(
            definition_key("launch_plan", plan, instance), registry, read_schedule
        )
        return definition, schedule or ""

    def _known(self, key: str, registry: Registry, read: Callable[[bytes], T]) -> T | None:
        """What FlyteAdmin said of a version: it never changes, so it is read once."""
        with self._reading:
            if key in self._read:
                return cast("T | None", self._read[key])
        kept = registry.definitions([key])
        if key not in kept:
            return None
        found: T | None = None
        try:
            found = read(kept[key])
        except ReadError as exc:
            self.log.warning("What FlyteAdmin said of %s: %s", key, exc)
        with self._reading:
            self._read[key] = found
            while len(self._read) > MAX_DEFINITIONS:
                del self._read[next(iter(self._read))]
        return found


def _wanted(structure: Structure) -> list[Wanted]:
    """Both sides of each task that succeeded and counts, and what went in and out at the top.

    Of wrappers only those that run a task have outputs that nobody else tells.
    """
    wanted, facts, start = [], structure.facts, structure.start
    for node in structure.telling:
        wanted.append(Wanted(node.id, "inputs", node.inputs, node.ended_at))
        wanted.append(Wanted(node.id, "outputs", _outputs(node), node.ended_at))
    if start is not None and start.outputs:
        wanted.append(Wanted(start.id, "outputs", start.outputs, start.ended_at))
    if outcome(facts) == "SUCCEEDED" and facts.outputs:
        wanted.append(Wanted("", "result", facts.outputs, facts.ended_at))
    return wanted


def _outputs(node: NodeFacts) -> Literals:
    """A node that succeeded without naming outputs has none."""
    return node.outputs or Literals()


def _identify(facts: Facts, pinned: Pinned | None) -> tuple[PipelineId | None, str | None]:
    if pinned is not None:
        return pinned.pipeline, pinned.name_source
    named = naming.pipeline_name(facts)
    if named is None:
        return None, None
    name, source = named
    return naming.pipeline_id(facts, name), source


def _raw_keys(references: Iterable[Reference]) -> Iterable[str]:
    for reference in references:
        raw = naming.raw_output(reference.uri)
        if raw is not None:
            yield raw.key


def _others(facts: Facts, reads: Iterable[Read]) -> Iterable[ExecutionId]:
    """Other executions that paths of raw output may name."""
    owners = {
        raw.owner
        for read in reads
        for reference in read.references
        if (raw := naming.raw_output(reference.uri))
        and not naming.written_by(raw.owner, facts.execution.name, nodes=facts.nodes)
    }
    return (execution for owner in owners for execution in writers(facts.execution, owner))


def _to_retire(places: Places, execution: ExecutionId) -> frozenset[str]:
    """Bare ids that nobody else has to tell once more."""
    return frozenset(
        name for name in places.bare if places.retired_by.get(name, execution) == execution
    )
