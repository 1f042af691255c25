"""A catalogue as the tests see it, whatever it is.

What a place cannot do is no promise that its target could break: asked for it, it skips the
test and says why.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flytelineage.entities import Dataset, Lineage, digest
from flytelineage.targets import Rejection, Target

Told = dict[str, Any]
"""What a reader of a catalogue finds, by some key."""

SECRET = "s3cr3t-of-the-contract"


class Died(BaseException):
    """The process was killed here; nothing may catch it."""


def die(*_: Any) -> NoReturn:
    raise Died


class Steps:
    """What targets do outside of their process, counted; something may happen at one."""

    def __init__(self) -> None:
        self.taken = self._left = 0
        self._event: Callable[[], Any] = die

    def __call__(self) -> None:
        self.taken += 1
        self._left -= 1
        if self._left == 0:
            self._event()

    def at(self, step: int, event: Callable[[], Any] = die) -> None:
        """Let something happen at the nth step from now on; 0 is never."""
        self._left, self._event = step, event


@dataclass(frozen=True)
class Trouble:
    """How a server takes the next request.

    Attributes:
        status: What it answers.
        retry_after: The header of that name.
        message: Its reason.
        hang: It never answers.
        drop: It does what it is asked, and breaks the connection without an answer.
    """

    status: int = 503
    retry_after: str | None = None
    message: str = "scripted"
    hang: bool = False
    drop: bool = False

    def saying(self, message: str) -> Trouble:
        """The same, for that reason."""
        return replace(self, message=message)


@dataclass(frozen=True)
class Refused:
    """What a catalogue refuses from now on.

    Attributes:
        entity: Its `urn` in our model.
        key: What only the keys of this hold, of all that is told.
        relent: Makes the catalogue accept it again.
    """

    entity: str
    key: str
    relent: Callable[[], None]

    def others(self, told: Told) -> Told:
        """All that was told, without this."""
        return {key: value for key, value in told.items() if self.key not in key}


@dataclass(frozen=True)
class Stage:
    """What a place may be built of.

    Attributes:
        name: Which of all places is built.
        directory: An empty one.
        patch: Undone after the test.
        aws: An AWS without anything in it.
    """

    name: str
    directory: Path
    patch: pytest.MonkeyPatch
    aws: Callable[[], Any]


@dataclass
class Place(ABC):
    """A catalogue, how a target gets there, and how it can be made to misbehave.

    Attributes:
        steps: What targets do to the catalogue.
        impatient: Options with which a target waits for no answer longer than a moment.
        piecemeal: Options with which an emission takes many steps.
    """

    stage: Stage
    steps: Steps = field(default_factory=Steps)
    impatient: Mapping[str, Any] = field(default_factory=dict)
    piecemeal: Mapping[str, Any] = field(default_factory=dict)
    _opened: list[Target] = field(default_factory=list)

    @abstractmethod
    def make(self, **options: Any) -> Target:
        """A target that tells this catalogue."""

    @abstractmethod
    def told(self) -> Told:
        """What a reader finds; times and counters of the catalogue's own are left out."""

    @abstractmethod
    def clear(self) -> None:
        """Forget everything."""

    def lost(self, before: Told) -> Told:
        """What was told before, and is not told like that any more."""
        now = self.told()
        return {key: value for key, value in before.items() if now.get(key) != value}

    def records(self) -> set[str]:
        """All that was ever written, told twice or not."""
        return {json.dumps(item, sort_keys=True) for item in self.told().items()}

    def dangling(self) -> set[str]:
        """What the catalogue refers to and does not have."""
        return set()

    def together(self, aspect: str) -> Iterable[str]:
        """Aspects that this one is only told with: the catalogue keeps all in one value."""
        return ()

    def lay(self, datasets: Iterable[Dataset]) -> None:  # noqa: B027 - few need it
        """Put data where datasets say that it lies, if anybody looks there."""

    # ---------------------------------------------------------------- misbehaving

    def trouble(self, trouble: Trouble) -> None:
        """Let the next request go wrong."""
        pytest.skip("it asks no server")

    def lock_out(self) -> None:
        """Take all rights away."""
        pytest.skip("nobody needs a right")

    def refuse(self) -> Refused:
        """Make the catalogue refuse one entity of `lineage()`."""
        pytest.skip("it takes everything")

    def tear(self) -> None:
        """Leave behind what a power cut does in the middle of a write."""
        pytest.skip("it writes no files")

    @property
    def cure(self) -> str:
        """What somebody must look at who was locked out, as the target says it."""
        return type(self._opened[-1]).__name__

    @property
    def secret(self) -> str:
        """What is sent to be let in."""
        pytest.skip("it sends no secret")

    def edges(self) -> set[tuple[str, str]]:
        """From where to where the catalogue shows edges, in its own words."""
        pytest.skip("it shows no edges")

    # ------------------------------------------------------------------ processes

    def open(self, **options: Any) -> Target:
        """The target of a new process: the one before is gone."""
        self.close()
        self._opened.append(self.make(**options))
        return self._opened[-1]

    def close(self) -> None:
        """End every process."""
        while self._opened:
            self._opened.pop().close()

    def calm(self, *lineages: Lineage) -> Told:
        """What there is to be read when all goes well; found out once for all tests."""
        key = (self.stage.name, *map(digest, lineages))
        if key not in _CALM:
            target = self.open()
            assert [target.emit(each) for each in lineages] == [[] for _ in lineages]
            _CALM[key] = self.told()
            self.close()
            self.clear()
        return _CALM[key]


_CALM: dict[tuple[str, ...], Told] = {}


def dies_at(place: Place, step: int, lineage: Lineage, **options: Any) -> bool:
    """Whether a process that tells this dies at the nth step; or there are not as many."""
    target = place.open(**options)
    place.steps.at(step)
    try:
        assert target.emit(lineage) == []
    except Died:
        return True
    finally:
        place.steps.at(0)
    return False


def named(rejections: Iterable[Rejection]) -> set[str]:
    """The entities that were refused."""
    return {rejection.entity for rejection in rejections}
