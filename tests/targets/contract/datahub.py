"""DataHub's server as a catalogue, and what its proposals mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import requests
from datahub.metadata.urns import Urn

from flytelineage.targets import Target
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.testing.datahub import Fault, GmsDouble
from flytelineage.testing.patches import patched
from tests.targets.contract.entities import TASKS, dataset_id
from tests.targets.contract.place import SECRET, Place, Refused, Stage, Told, Trouble
from tests.targets.datahub_rules import urns

_TIME = "timestampMillis"
_NO_ENTITIES = {"dataPlatform", "dataPlatformInstance", "corpuser", "corpGroup", "tag"}


class Gms(Place):
    """A server that speaks HTTP."""

    def __init__(self, stage: Stage, gms: GmsDouble, **options: Any) -> None:
        super().__init__(stage, impatient={"timeout_seconds": 0.1}, piecemeal={"batch_size": 15})
        self.gms = gms
        self.options = options
        count_requests(self)

    def make(self, **options: Any) -> Target:
        known = {"server": self.gms.url, "token": SECRET, "run_history": "all"}
        return DataHubTarget(**{**known, **self.options, **options})

    def told(self) -> Told:
        state = self.gms.state
        events = {
            f"{urn} {aspect} {time} {message}": value
            for (urn, aspect), values in state["events"].items()
            for (time, message), value in values.items()
        }
        return {**{" ".join(key): value for key, value in state["aspects"].items()}, **events}

    def together(self, aspect: str) -> Iterable[str]:
        return together(aspect, whole=self.options.get("patches") is False)

    def clear(self) -> None:
        self.gms.aspects.clear()
        self.gms.events.clear()

    def dangling(self) -> set[str]:
        return dangling(self.told())

    def edges(self) -> set[tuple[str, str]]:
        return edges(self.told())

    def trouble(self, trouble: Trouble) -> None:
        self.gms.script(Fault(**asdict(trouble)))

    def lock_out(self) -> None:
        self.gms.token = "another"

    @property
    def secret(self) -> str:
        return SECRET

    def refuse(self) -> Refused:
        id = dataset_id(TASKS[0])
        urn = f"urn:li:dataset:(urn:li:dataPlatform:flyte,{id.name},PROD)"
        self.gms.refuse(urn)
        return Refused(f"dataset:{id}", urn, lambda: self.gms.accept(urn))


@contextmanager
def served(stage: Stage, **options: Any) -> Iterator[Place]:
    """A server for one test."""
    with GmsDouble(token=SECRET) as gms:
        yield Gms(stage, gms, **options)


def count_requests(place: Place) -> None:
    """Steps of what uses `requests`."""
    send = requests.Session.send

    def step(session: requests.Session, request: Any, **options: Any) -> Any:
        place.steps()
        return send(session, request, **options)

    place.stage.patch.setattr(requests.Session, "send", step)


# ------------------------------------------------------------- what proposals mean


def loaded(proposals: Iterable[dict[str, Any]]) -> Told:
    """What DataHub has once it took these, one after the other."""
    held: Told = {}
    for proposal in proposals:
        aspect, value = proposal["aspectName"], proposal["aspect"]["json"]
        moment = [str(value.get(_TIME, "")), value.get("messageId", "")] if _is_event(value) else []
        key = " ".join([proposal["entityUrn"], aspect, *moment])
        if proposal["changeType"] == "PATCH":
            value = patched(aspect, held.get(key), value)
        held[key] = value
    return held


def together(aspect: str, *, whole: bool) -> Iterable[str]:
    """What is told with an aspect of ours.

    Args:
        aspect: Its name.
        whole: Whether aspects of DataHub are written whole: then all that one is made of.
    """
    if whole and aspect == "properties":
        return ("version", "storage", "operation", "profile", "schema")
    return {
        "properties": ("version",),
        "profile": ("schema",),
        "operation": ("profile", "schema"),
    }.get(aspect, ())


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and _TIME in value


def dangling(told: Told) -> set[str]:
    """URNs of entities of which nothing is told."""
    there = {key.partition(" ")[0] for key in told}
    named = {_entity(urn) for value in told.values() for urn in urns(value)}
    return {urn for urn in named - there if Urn.from_string(urn).entity_type not in _NO_ENTITIES}


def _entity(urn: str) -> str:
    """What a column is a column of."""
    is_column = urn.startswith("urn:li:schemaField:")
    return str(Urn.from_string(urn).entity_ids[0]) if is_column else urn


def edges(told: Told) -> set[tuple[str, str]]:
    """From datasets to jobs, from jobs to datasets, and from jobs to jobs."""
    found = set()
    for key, value in told.items():
        job, _, aspect = key.partition(" ")
        gone = told.get(f"{job} status", {}).get("removed")
        if aspect != "dataJobInputOutput" or gone:
            continue
        for side in ("inputDatasetEdges", "inputDatajobEdges"):
            found |= {(edge["destinationUrn"], job) for edge in value.get(side) or ()}
        found |= {(job, edge["destinationUrn"]) for edge in value.get("outputDatasetEdges") or ()}
    return found
