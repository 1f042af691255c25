"""How much room a store takes, and that nothing more is taken in where there is none."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from flytelineage.errors import StoreError
from flytelineage.store import Store, disk
from flytelineage.store.disk import MIB
from tests.store.conftest import OpenStore, event

only_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Usage(NamedTuple):
    """What `shutil.disk_usage` tells."""

    total: int
    used: int
    free: int


Left = Callable[..., None]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Left:
    """Leave so many MiB on a disk of so many."""

    def leave(mib: float, *, of: int = 100_000) -> None:
        usage = Usage(of * MIB, int((of - mib) * MIB), int(mib * MIB))
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage)

    return leave


def test_a_store_grows(store: Store) -> None:
    """By what is put into it."""
    before = store.size().bytes
    store.record([event(payload=random.Random(0).randbytes(1_000_000))])

    assert store.size().bytes >= before + 1_000_000


@only_sqlite
def test_of_a_file_it_is_known_how_much_may_be_added(store: Store, left: Left) -> None:
    """The bytes that are free on its disk."""
    left(1000)

    assert store.size().free_bytes == 1000 * MIB


@only_postgresql
def test_a_server_keeps_its_disk_to_itself(store: Store, left: Left) -> None:
    """Only what our tables take up is known, and nothing is held up."""
    left(0)

    store.check_room()

    assert store.size().free_bytes is None
    assert store.size().bytes > 0


@only_sqlite
def test_a_disk_that_is_nearly_full_takes_nothing_more(store: Store, left: Left) -> None:
    """It says how much is left, and what to do."""
    left(255)

    with pytest.raises(StoreError, match=r"has only 255 MiB left.*make room there.*min_free_mb"):
        store.check_room()


@only_sqlite
def test_it_goes_on_once_there_is_room(store: Store, left: Left) -> None:
    """Without a restart."""
    left(10)
    with pytest.raises(StoreError):
        store.check_room()

    left(300)

    store.check_room()


@only_sqlite
def test_a_small_disk_need_not_be_empty(store: Store, left: Left) -> None:
    """5 % of it are enough."""
    left(60, of=1000)
    store.check_room()

    left(40, of=1000)
    with pytest.raises(StoreError):
        store.check_room()


@only_sqlite
def test_somebody_may_want_the_last_byte(open_store: OpenStore, left: Left) -> None:
    """Then SQLite says that the disk is full, and nothing is lost either."""
    left(0)

    open_store(min_free_mb=0).check_room()


@only_sqlite
def test_a_folder_that_is_gone_is_an_outage_and_no_riddle(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume may be taken away; nothing is received meanwhile."""

    def gone(folder: object) -> Usage:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(disk.shutil, "disk_usage", gone)

    with pytest.raises(StoreError, match="is gone"):
        store.check_room()
    with pytest.raises(StoreError, match="is gone"):
        store.size()
