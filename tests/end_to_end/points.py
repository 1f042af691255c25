"""Where processes are killed, as seeds decide."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

MOST_PASSES = 3
"""Later than at this pass of a place nobody is killed, unless the place says so."""


@dataclass(frozen=True)
class Point:
    """A place to be killed at, for one seed.

    Attributes:
        place: A step, or a place inside of one; perhaps with the number of the pass.
    """

    seed: int
    place: str

    @property
    def setting(self) -> str:
        """As `flytelineage.testing.crash` reads it."""
        return self.place if ":" in self.place else f"{self.place}:{self.passes}"

    @property
    def passes(self) -> int:
        """At which pass; always the first for seed 0, as each place is passed once at least."""
        if ":" in self.place:
            return int(self.place.split(":")[1])
        numbers = random.Random(f"{self.seed} {self.place}")
        return numbers.randint(1, MOST_PASSES) if self.seed else 1

    def __str__(self) -> str:
        return f"{self.seed}-{self.place}"


def some_long(values: Sequence[T], *, kept: Sequence[int]) -> list[Any]:
    """All values as parameters; those besides the ones at these positions take long in sum."""
    return [
        value if at in kept else pytest.param(value, marks=pytest.mark.long)
        for at, value in enumerate(values)
    ]


def pairs(places: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """Each place once, with the other one that a second process is killed at."""
    found = list(places)
    if seed:
        random.Random(seed).shuffle(found)
    if len(found) % 2:
        found.append(found[0])
    return list(zip(found[::2], found[1::2], strict=True))
