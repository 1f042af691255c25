"""A target with one method, as anybody may write one: what the base class promises alone."""

from __future__ import annotations

from typing import Any

from flytelineage.entities import Lineage
from flytelineage.targets import Rejection, Target
from flytelineage.testing.doubles import MemoryTarget
from tests.targets.contract.entities import TASKS, dataset_id
from tests.targets.contract.place import Place, Refused, Stage, Steps, Told


class Stepping(MemoryTarget):
    """The double, watched."""

    steps: Steps

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        self.steps()
        return super().emit_lineage(lineage)


class Memory(Place):
    """A dictionary that outlives processes."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.aspects: dict[tuple[str, str], Any] = {}
        self.emitted: list[Lineage] = []
        self.refused: set[str] = set()

    def make(self, **options: Any) -> Target:
        target = Stepping(**options)
        target.steps, target.refuse = self.steps, self.refused
        target.aspects, target.emitted = self.aspects, self.emitted
        return target

    def told(self) -> Told:
        runs = {run.urn: run for lineage in self.emitted for run in lineage.runs}
        aspects = {" ".join(key): str(value) for key, value in self.aspects.items()}
        return {**aspects, **{urn: run.model_dump(mode="json") for urn, run in runs.items()}}

    def clear(self) -> None:
        self.aspects.clear()
        self.emitted.clear()

    def refuse(self) -> Refused:
        urn = f"dataset:{dataset_id(TASKS[0])}"
        self.refused.add(urn)
        return Refused(urn, f"{urn} ", lambda: self.refused.discard(urn))
