"""Fetches what is needed to understand the facts: literals, names, locations.

All I/O of a build up to the lineage itself is here. It goes in rounds, until nothing
new is referred to: literal maps, then literals that were stored apart. Each reference
ends as a value or as a problem in words; number, bytes, concurrency and time are
bounded, and what is over a bound is a problem like any other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from flytelineage import literals, naming
from flytelineage.definition_keys import definition_key
from flytelineage.definitions import Definition, read_schedule, read_workflow
from flytelineage.entities import DatasetId, ExecutionId, PipelineId
from flytelineage.errors import ReadError
from flytelineage.facts import Facts, Literals, NodeFacts
from flytelineage.flow import Collected, Read, writers
from flytelineage.lineage import pipeline_key
from flytelineage.literals import Reference
from flytelineage.structure import Structure, outcome

MISSING_TRIES = 3
"""How often an object must be missing before it counts as never written."""

MAX_ROUNDS = 8
"""How deep literals that were stored apart may refer to others."""


class Reader(Protocol):
    """Opens URIs; see `objects.ObjectReader`."""

    def read(self, uri: str) -> bytes:
        """The content of a small object."""


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


class Unavailable(Exception):
    """An object store does not answer now; the build can wait a little."""


class Collector(LoggingConfigurable):
    """Collects for one execution at a time; may be shared by threads."""

    max_reads = Integer(
        10_000,
        min=1,
        help="""
        Objects that may be read to build one execution: `inputs.pb` and `outputs.pb`
        of each task. What is over it stays unknown, and the execution is marked so.

        Example: c.Collector.max_reads = 50_000
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

    max_seconds = Float(
        60.0,
        min=0.1,
        help="""
        Seconds that reading for one execution may take before the build goes on
        without the rest.

        Example: c.Collector.max_seconds = 300
        """,
    ).tag(config=True)

    concurrency = Integer(
        8,
        min=1,
        max=64,
        help="""
        Objects that are read at once. Raise it where the object store is far away.

        Example: c.Collector.concurrency = 16
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
        read = _Rounds(self, reader, now, patient).read(_wanted(structure))
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

    def _defined(self, facts: Facts, registry: Registry) -> tuple[Definition | None, str]:
        """The compiled workflow and when it runs by itself, as far as FlyteAdmin told."""
        instance = facts.execution.instance
        workflow = facts.workflow and definition_key("workflow", facts.workflow, instance)
        plan = facts.launch_plan and definition_key("launch_plan", facts.launch_plan, instance)
        keys = [key for key in (workflow, plan) if key]
        known = registry.definitions(keys) if keys else {}
        try:
            definition = read_workflow(known[workflow]) if workflow in known else None
            return definition, read_schedule(known[plan]) if plan in known else ""
        except ReadError as exc:
            self.log.warning("What FlyteAdmin said of %s: %s", facts.execution, exc)
            return None, ""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A literal map that must be read; `node` is empty for the workflow's result."""

    node: str
    side: str
    literals: Literals | None
    written_at: datetime | None


def _wanted(structure: Structure) -> list[_Wanted]:
    """Both sides of each task that succeeded and counts, and what went in and out at the top.

    Of wrappers only those that run a task have outputs that nobody else tells.
    """
    wanted, facts, start = [], structure.facts, structure.start
    for node in structure.telling:
        wanted.append(_Wanted(node.id, "inputs", node.inputs, node.ended_at))
        wanted.append(_Wanted(node.id, "outputs", _outputs(node), node.ended_at))
    if start is not None and start.outputs:
        wanted.append(_Wanted(start.id, "outputs", start.outputs, start.ended_at))
    if outcome(facts) == "SUCCEEDED" and facts.outputs:
        wanted.append(_Wanted("", "result", facts.outputs, facts.ended_at))
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


class _Rounds:
    """Reads the literals of one execution within its bounds."""

    def __init__(self, bounds: Collector, reader: Reader, now: datetime, patient: bool) -> None:
        self.bounds = bounds
        self.reader = reader
        self.now = now
        self.patient = patient
        self._lock = threading.Lock()
        self._reads = 0
        self._bytes = 0
        self._deadline = time.monotonic() + bounds.max_seconds

    def read(self, wanted: list[_Wanted]) -> dict[_Wanted, Read]:
        """Read every literal map, several at once."""
        workers = min(self.bounds.concurrency, max(1, len(wanted)))
        with ThreadPoolExecutor(workers, thread_name_prefix="collect") as pool:
            return dict(zip(wanted, pool.map(self._read_one, wanted), strict=True))

    def _read_one(self, wanted: _Wanted) -> Read:
        if wanted.literals is None:
            return Read(problems=("the events do not say where they are",))
        try:
            walked = literals.walk(literals.parse(self._fetch_map(wanted)))
        except ReadError as exc:
            return Read(problems=(str(exc),))
        return self._follow(walked)

    def _fetch_map(self, wanted: _Wanted) -> bytes:
        """The bytes of a literal map; empty when it was surely never written.

        Source: a task without declared outputs has an `output_uri` with nothing there
        (flyteorg/flyte#1409).
        """
        found = wanted.literals or Literals()
        if not found.uri:
            return found.inline
        may_miss = wanted.side != "inputs" and self._young(wanted)
        for _ in range(MISSING_TRIES - 1 if may_miss else 0):
            try:
                return self._fetch(found.uri)
            except ReadError as exc:
                if exc.reason != "missing":
                    raise
        try:
            return self._fetch(found.uri)
        except ReadError as exc:
            if may_miss and exc.reason == "missing":
                return b""
            raise

    def _young(self, wanted: _Wanted) -> bool:
        if wanted.written_at is None:
            return False
        return self.now - wanted.written_at <= timedelta(seconds=self.bounds.metadata_age)

    def _follow(self, walked: literals.Walked) -> Read:
        """Fetch the literals that were stored apart, and those that they refer to."""
        references, problems = list(walked.references), list(walked.problems)
        apart = list(walked.offloaded)
        for _ in range(MAX_ROUNDS):
            further: list[literals.Offloaded] = []
            for one in apart:
                try:
                    literal = literals.parse_literal(self._fetch(one.uri))
                except ReadError as exc:
                    problems.append(str(exc))
                    continue
                found = literals.walk_literal(literal, one.variable, one.path)
                references.extend(found.references)
                problems.extend(found.problems)
                further.extend(found.offloaded)
            apart = further
        problems.extend(f"{one.uri} lies too deep" for one in apart)
        return Read(tuple(references), tuple(problems))

    def _fetch(self, uri: str) -> bytes:
        self._spend()
        try:
            data = self.reader.read(uri)
        except ReadError as exc:
            if exc.reason == "unavailable" and self.patient:
                raise Unavailable(str(exc)) from exc
            raise
        with self._lock:
            self._bytes += len(data)
        return data

    def _spend(self) -> None:
        """Count one more read.

        Raises:
            ReadError: This execution has used up one of its bounds.
        """
        with self._lock:
            self._reads += 1
            if self._reads > self.bounds.max_reads:
                raise ReadError("over budget", f"over budget: {self.bounds.max_reads} objects")
            if self._bytes > self.bounds.max_bytes:
                raise ReadError("over budget", f"over budget: {self.bounds.max_bytes} bytes")
        if time.monotonic() > self._deadline:
            raise ReadError("over budget", f"over budget: {self.bounds.max_seconds:g} seconds")
