"""The clock of an SQLite store goes on evenly, whatever the machine's is set to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flytelineage.store import Refused, Store, clock
from flytelineage.store.clock import SteadyClock
from flytelineage.store.database import to_us
from tests.store.conftest import T0, TARGET, built, event, execution

SECOND = 1_000_000
HOUR = 3600 * SECOND
YEAR = 365 * 24 * HOUR
START = to_us(T0)


class Machine:
    """Stands for the module `time`: its clock can be set, and goes on if time passes."""

    def __init__(self) -> None:
        self.wall, self.counted = START, 0

    def pass_by(self, microseconds: int) -> None:
        self.wall += microseconds
        self.counted += microseconds

    def time_ns(self) -> int:
        return self.wall * 1000

    def monotonic_ns(self) -> int:
        return self.counted * 1000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine that all stores of a test are opened on."""
    machine = Machine()
    monkeypatch.setattr(clock, "time", machine)
    return machine


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Start a daemon's store anew, on the same file; the one before is closed."""
    stores: list[Store] = []

    def start() -> Store:
        for store in stores:
            store.close()
        stores.append(Store(path=str(tmp_path / "store.sqlite3"), min_settle=10))
        stores[-1].open(exclusive=True)
        return stores[-1]

    yield start
    for store in stores:
        store.close()


def build_and_deliver(store: Store) -> None:
    """One unit of each kind; both must be due."""
    (lease,) = store.claim_build(1, lease_seconds=60)
    assert store.finish_build(lease, built(lease), [TARGET])
    (delivery,) = store.claim_delivery(TARGET, 1, lease_seconds=60)
    assert store.settle(delivery, [], [])


class TestSteadyClock:
    """Told by a machine whose clock somebody sets."""

    def test_it_tells_the_machines_time(self, machine: Machine) -> None:
        """As long as nobody sets that."""
        steady = SteadyClock()
        machine.pass_by(SECOND)

        assert steady.now() == START + SECOND

    def test_set_back_it_goes_on(self, machine: Machine) -> None:
        """By the time that has passed since; leases end when they should."""
        steady = SteadyClock()
        machine.wall -= HOUR
        machine.pass_by(5 * SECOND)

        assert steady.now() == START + 5 * SECOND

    def test_put_forward_it_goes_along(self, machine: Machine) -> None:
        """The machine may have slept; and what it told once it does not take back."""
        steady = SteadyClock()
        machine.wall += HOUR
        ahead = steady.now()
        machine.wall -= HOUR
        machine.pass_by(SECOND)

        assert (ahead, steady.now()) == (START + HOUR, START + HOUR + SECOND)


class TestStore:
    """A daemon on a machine whose clock jumps."""

    def test_what_is_put_off_is_due_although_the_clock_was_set_back(
        self, machine: Machine, start: Callable[[], Store]
    ) -> None:
        """After the time that it was put off by, and not an hour later."""
        store = start()
        store.record([event(terminal=True)])
        machine.wall -= HOUR
        early = store.claim_build(1, lease_seconds=60)
        machine.pass_by(10 * SECOND)

        assert early == []
        build_and_deliver(store)

    def test_a_start_with_a_clock_that_was_set_back(
        self, machine: Machine, start: Callable[[], Store]
    ) -> None:
        """It goes on where the process before stopped."""
        start().record([event(terminal=True)])
        machine.wall -= HOUR

        store = start()

        machine.pass_by(10 * SECOND)
        build_and_deliver(store)

    def test_a_clock_that_was_years_ahead(
        self, machine: Machine, start: Callable[[], Store]
    ) -> None:
        """What it put off is not waited for: what it wrote was wrong."""
        machine.wall += 70 * YEAR
        start().record([event(terminal=True)])
        machine.wall -= 70 * YEAR

        store = start()

        build_and_deliver(store)
        standing = store.standing(execution())
        assert standing is not None
        assert standing.built_at == T0

    def test_what_was_stored_years_ahead_is_forgotten_in_time(
        self, machine: Machine, start: Callable[[], Store]
    ) -> None:
        """Nor does it keep anything from being forgotten that came after it."""
        machine.wall += 70 * YEAR
        first = start()
        first.record([event(terminal=True)], [Refused("x", "bad")])
        machine.pass_by(10 * SECOND)
        build_and_deliver(first)
        machine.wall -= 70 * YEAR
        store = start()
        store.record([event("b", terminal=True)])
        machine.pass_by(10 * SECOND)
        build_and_deliver(store)

        machine.pass_by(100 * 24 * HOUR)

        removed: Counter[str] = Counter()
        while (cleaned := store.clean()).more:
            removed.update(cleaned.removed)
        assert removed == {"events": 2, "lineage": 2, "deliveries": 2, "quarantine": 1}

    def test_a_look_beside_the_daemon_changes_nothing(
        self, machine: Machine, start: Callable[[], Store], tmp_path: Path
    ) -> None:
        """Whose clock may be the right one."""
        machine.wall += 70 * YEAR
        daemon = start()
        daemon.record([event(terminal=True)])
        machine.wall -= 70 * YEAR
        look = Store(path=str(tmp_path / "store.sqlite3"))

        look.open(exclusive=False)
        look.close()

        assert daemon.claim_build(1, lease_seconds=60) == []
