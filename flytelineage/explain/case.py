"""An execution, and everything that its explanation rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from flytelineage.facts import Facts
from flytelineage.flow import Collected, DataFlow
from flytelineage.lineage import Build, Rules
from flytelineage.store import Registration, Standing
from flytelineage.structure import Structure


@dataclass(frozen=True)
class Case:
    """What is known of one execution; nothing more is asked for.

    Attributes:
        events: How many of each kind are stored.
        facts, collected, build: As the daemon would have them if it built now.
        rules: What the operator decided.
        standing: How far the store has come with it.
        registrations: Who registered what it names, by raw-output key.
        asked: Questions that FlyteAdmin was asked, with the last time.
        kept: Questions whose answers are kept for good.
        admin: The FlyteAdmin that is configured; empty for none.
        told: Whether `FlyteLineage.include` and `exclude` let targets hear of it.
        limit: How many of a kind are shown; 0 for all.
    """

    facts: Facts
    collected: Collected
    build: Build
    rules: Rules = field(default_factory=Rules)
    events: Mapping[str, int] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    asked: Mapping[str, datetime] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    admin: str = ""
    told: bool = True
    limit: int = 0

    @cached_property
    def structure(self) -> Structure:
        """What ran, and where it stands."""
        return Structure(self.facts, self.collected.definition)

    @cached_property
    def flow(self) -> DataFlow | None:
        """Who read, wrote and waited; `None` where nothing names the pipeline."""
        if self.collected.pipeline is None:
            return None
        return DataFlow(
            self.structure,
            self.collected,
            self.collected.pipeline,
            names=self.rules.names,
            infer_order=self.rules.infer_order,
        )
