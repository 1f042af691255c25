"""What threads hold leases on: kept while they work, and given back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from flytelineage.errors import StoreError
from flytelineage.leases import LONGEST_SECONDS, Leases


@dataclass(frozen=True)
class Lease:
    """As the store gives it out."""

    token: str


class Scene:
    """Leases of 300 s, and a store that may be away."""

    def __init__(self) -> None:
        self.now = 0.0
        self.away = False
        self.kept: list[str] = []
        self.released: list[str] = []
        self.leases = Leases[Lease](
            300, keep=self._keep, release=self._release, clock=lambda: self.now
        )

    def _keep(self, lease: Lease) -> None:
        self.kept.append(lease.token)

    def _release(self, lease: Lease) -> None:
        if self.away:
            raise StoreError
        self.released.append(lease.token)


def test_what_takes_long_is_kept_well_before_it_ends() -> None:
    scene = Scene()

    with scene.leases.holding(Lease("a")):
        for scene.now in (99, 100, 199, 200):
            scene.leases.keep()

    assert scene.kept == ["a", "a"]


def test_what_is_done_is_kept_no_more() -> None:
    scene = Scene()
    with scene.leases.holding(Lease("a")):
        pass

    scene.now = 200
    scene.leases.keep()

    assert scene.kept == []
    assert scene.leases.in_hand == []


def test_what_takes_too_long_is_left_to_others() -> None:
    """A thread that hangs would keep its lease for ever."""
    scene = Scene()

    with scene.leases.holding(Lease("a")):
        scene.now = LONGEST_SECONDS
        scene.leases.keep()

    assert scene.kept == []


def test_what_the_store_could_not_take_back_is_given_back_later() -> None:
    scene = Scene()
    with pytest.raises(StoreError), scene.leases.holding(Lease("a")):
        raise StoreError

    scene.away = True
    with pytest.raises(StoreError):
        scene.leases.let_go()
    scene.away = False
    scene.leases.let_go()
    scene.leases.let_go()

    assert scene.released == ["a"]
