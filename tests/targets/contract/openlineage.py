"""A backend of OpenLineage as a catalogue, and what its events mean."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from flytelineage.targets import Target
from flytelineage.targets.openlineage import OpenLineageTarget
from flytelineage.testing.openlineage import Fault, OpenLineageDouble
from tests.targets.contract.datahub import count_requests
from tests.targets.contract.entities import PIPELINE, TASKS, lineage, task_id
from tests.targets.contract.place import SECRET, Place, Refused, Stage, Told, Trouble


class Backend(Place):
    """A server that speaks HTTP."""

    def __init__(self, stage: Stage, backend: OpenLineageDouble) -> None:
        self.backend = backend
        self.transport = {
            "type": "http",
            "url": backend.url,
            "auth": {"type": "api_key", "apiKey": SECRET},
        }
        impatient = {"transport": {**self.transport, "timeout": 0.1}}
        super().__init__(stage, impatient=impatient)
        count_requests(self)

    def make(self, **options: Any) -> Target:
        return OpenLineageTarget(**{"transport": self.transport, **options})

    def told(self) -> Told:
        return consumed(self.backend.events)

    def records(self) -> set[str]:
        return {json.dumps(event, sort_keys=True) for event in self.backend.events}

    def clear(self) -> None:
        self.backend.events.clear()

    def dangling(self) -> set[str]:
        return dangling(self.told())

    def trouble(self, trouble: Trouble) -> None:
        self.backend.script(Fault(**asdict(trouble)))

    def lock_out(self) -> None:
        self.backend.token = "another"

    @property
    def secret(self) -> str:
        return SECRET

    def refuse(self) -> Refused:
        """The events of one attempt: those of the execution have the same datasets."""
        job = f"{PIPELINE.name}.{task_id(TASKS[-1]).name}"
        self.backend.refuse(job)
        of_task = (run for run in lineage().runs if run.node == TASKS[-1])
        return Refused(next(of_task).urn, f" {job} ", lambda: self.backend.accept(job))


@contextmanager
def served(stage: Stage) -> Iterator[Place]:
    """A backend for one test."""
    with OpenLineageDouble(token=SECRET) as backend:
        yield Backend(stage, backend)


# ---------------------------------------------------------------- what events mean


def consumed(events: Iterable[dict[str, Any]]) -> Told:
    """What a consumer keeps: the newest event of each state of each run."""
    return {_key(event): event for event in events}


def _key(event: dict[str, Any]) -> str:
    if "run" in event:
        return f"run {event['job']['name']} {event['run']['runId']} {event['eventType']}"
    kind = "job" if "job" in event else "dataset"
    return f"{kind} {event[kind]['namespace']} {event[kind]['name']}"


def dangling(told: Told) -> set[str]:
    """Runs that others are a part of, or waited for, and of which nothing is told."""
    runs = {event["run"]["runId"] for event in told.values() if "run" in event}
    named = {id for event in told.values() if "run" in event for id in _named_runs(event)}
    return named - runs


def _named_runs(event: dict[str, Any]) -> Iterator[str]:
    facets = event["run"]["facets"]
    if parent := facets.get("parent"):
        yield parent["run"]["runId"]
        yield parent.get("root", parent)["run"]["runId"]
    for dependency in facets.get("jobDependencies", {}).get("upstream", ()):
        if "run" in dependency:
            yield dependency["run"]["runId"]
