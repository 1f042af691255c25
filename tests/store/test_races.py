"""Two replicas in the midst of their transactions: one is stopped, the other goes on.

Each test forces an overlap that chance would bring once in a million times. On SQLite the
second one waits for the first, which is what makes it safe there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy

from flytelineage.store import DeliveryLease, Store
from flytelineage.store.database import Database, parse_url
from flytelineage.store.migrate import migrate
from tests.store.conftest import (
    LEASE,
    TARGET,
    Claim,
    Clock,
    OpenStore,
    Pause,
    Story,
    at_once,
    built,
    claim,
    event,
    overlapping,
)

Work = Callable[[], object]

only_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


# --------------------------------------------------------------------- one holder


def claim_one(store: Store) -> int:
    return len(store.claim_delivery(TARGET, 1, lease_seconds=LEASE))


@pytest.fixture
def frozen(story: Story, clock: Clock) -> DeliveryLease:
    """A delivery of a replica that was stopped for longer than its lease, and resumes."""
    story.build("a")
    lease = story.claim()
    clock.advance(LEASE)
    return lease


ENDS: dict[str, Callable[[Store, DeliveryLease], bool]] = {
    "settle": lambda store, lease: store.settle(lease, [], []),
    "settle_later": lambda store, lease: store.settle_later(lease, 60, "503"),
    "give_up": lambda store, lease: store.give_up(lease, "400"),
}


@pytest.mark.parametrize("end", ENDS)
def test_who_resumes_while_another_claims_it_has_lost(
    frozen: DeliveryLease, open_store: OpenStore, end: str
) -> None:
    """The claim has chosen the delivery already: there is one holder, the new one."""
    resumed, other = open_store(), open_store()
    pause = Pause(other, "UPDATE delivery")

    claimed, ended = overlapping(
        partial(claim_one, other), pause, partial(ENDS[end], resumed, frozen)
    )

    assert (claimed, ended) == (1, False)


@pytest.mark.parametrize("end", ENDS)
def test_who_claims_what_is_just_settled_gets_nothing(
    frozen: DeliveryLease, open_store: OpenStore, end: str
) -> None:
    """The one that resumed was first after all, and nobody had noticed."""
    resumed, other = open_store(), open_store()
    pause = Pause(resumed, "UPDATE delivery")

    ended, claimed = overlapping(
        partial(ENDS[end], resumed, frozen), pause, partial(claim_one, other)
    )

    assert (ended, claimed) == (True, 0)


@pytest.mark.parametrize("claims_first", [True, False])
def test_a_build_has_one_holder_too(
    story: Story, open_store: OpenStore, clock: Clock, claims_first: bool
) -> None:
    """Either its result is stored, or somebody else builds it; never both."""
    story.end("a")
    lease = story.claim_build()
    clock.advance(LEASE)
    resumed, other = open_store(), open_store()
    finish: Work = partial(resumed.finish_build, lease, built(lease), [TARGET])
    take: Work = lambda: len(other.claim_build(1, lease_seconds=LEASE))  # noqa: E731

    if claims_first:
        found = overlapping(take, Pause(other, "UPDATE execution"), finish)
    else:
        found = overlapping(finish, Pause(resumed, "UPDATE execution"), take)[::-1]

    assert found == ((1, False) if claims_first else (0, True))


def test_who_keeps_a_build_that_another_claims_has_lost_it(
    story: Story, open_store: OpenStore, clock: Clock
) -> None:
    """It was too late to ask for more time."""
    story.end("a")
    lease = story.claim_build()
    clock.advance(LEASE)
    slow, other = open_store(), open_store()

    claimed, kept = overlapping(
        lambda: len(other.claim_build(1, lease_seconds=LEASE)),
        Pause(other, "UPDATE execution"),
        partial(slow.keep_build, lease, lease_seconds=LEASE),
    )

    assert (claimed, kept) == (1, False)


# ---------------------------------------------------------------- the newest on top

CLAIMS = {"old": claim(at=1, digest="old"), "new": claim(at=2, digest="new")}


class Teller:
    """One replica that tells one execution, step by step."""

    def __init__(self, store: Store, lease: DeliveryLease, catalogue: dict[str, str]) -> None:
        self._store = store
        self._lease = lease
        self._catalogue = catalogue
        self._told: list[Claim] = []

    def prepare(self) -> None:
        one = CLAIMS[self._lease.execution.name]
        found = self._store.prepare(self._lease, [one], raises=True, refresh_seconds=0)
        self._told = [*found.values()]

    def emit(self) -> None:
        self._catalogue.update({one.entity: one.digest for one in self._told})

    def settle(self) -> None:
        self._store.settle(self._lease, self._told, [])


@pytest.mark.parametrize("statement", ["UPDATE watermark", "UPDATE delivery"])
@pytest.mark.parametrize("first", ["old", "new"])
@pytest.mark.parametrize(
    ("step_of_first", "step_of_second"),
    [("prepare", "prepare"), ("settle", "prepare"), ("prepare", "settle"), ("settle", "settle")],
)
@pytest.mark.parametrize("expired", [False, True])
def test_an_older_execution_never_wins(
    story: Story, open_store: OpenStore, clock: Clock,
    step_of_first: str, step_of_second: str, first: str, statement: str, expired: bool,
) -> None:  # fmt: skip
    """Whatever step meets whatever other one half-way, also of a lease that is over."""
    for name in CLAIMS:
        story.build(name)
    catalogue: dict[str, str] = {}
    stores = {name: open_store() for name in CLAIMS}
    tellers = {
        lease.execution.name: Teller(stores[lease.execution.name], lease, catalogue)
        for lease in story.claim_all()
    }
    second = "new" if first == "old" else "old"
    for name, step in ((first, step_of_first), (second, step_of_second)):
        if step == "settle":
            tellers[name].prepare()
            tellers[name].emit()
    if expired:
        clock.advance(LEASE)
    pause = Pause(stores[first], statement)

    meet(getattr(tellers[first], step_of_first), pause, getattr(tellers[second], step_of_second))

    for name, step in ((first, step_of_first), (second, step_of_second)):
        if step == "prepare":
            tellers[name].emit()
            tellers[name].settle()
    drain(story, catalogue)
    assert catalogue == {"task:t": "new"}


def meet(ahead: Work, pause: Pause, behind: Work) -> None:
    """As `overlapping`; a step that never comes to the statement is simply done first."""
    done = threading.Event()

    def go() -> None:
        try:
            ahead()
        finally:
            done.set()
            pause.reached.set()

    overlapping(go, pause, behind)
    assert done.is_set()


def drain(story: Story, catalogue: dict[str, str]) -> None:
    """Tell what is due until nothing is."""
    for _ in range(9):
        story.clock.advance(LEASE)
        for lease in story.claim_all():
            teller = Teller(story.store, lease, catalogue)
            teller.prepare()
            teller.emit()
            teller.settle()
    assert not story.store.work_left()


# -------------------------------------------------------------- two releases at once


@pytest.fixture
def release_before(url: str) -> Database:
    """A database as the release before this one left it."""
    raw = Database(parse_url(url))
    raw.write(partial(migrate, to="1.2"))
    return raw


def columns(database: Database) -> dict[str, dict[str, Any]]:
    """Of each table, by name."""

    def look(connection: sqlalchemy.Connection) -> dict[str, dict[str, Any]]:
        inspector = sqlalchemy.inspect(connection)
        return {
            table: {column["name"]: column for column in inspector.get_columns(table)}
            for table in inspector.get_table_names()
        }

    return database.read(look)


def test_the_release_before_can_leave_out_every_new_column(release_before: Database) -> None:
    """It goes on inserting rows while replicas are replaced one by one."""
    before = columns(release_before)
    release_before.write(migrate)

    new = {
        f"{table}.{name}": column
        for table, found in columns(release_before).items()
        for name, column in found.items()
        if table in before and name not in before[table]
    }
    release_before.close()

    assert new
    assert [name for name, one in new.items() if not one["nullable"] and not one["default"]] == []


def test_no_column_of_the_release_before_is_gone(release_before: Database) -> None:
    """Nor a table: it reads them."""
    before = columns(release_before)
    release_before.write(migrate)

    after = columns(release_before)
    release_before.close()

    assert {table: found.keys() for table, found in before.items()} == {
        table: found.keys() & before[table].keys()
        for table, found in after.items()
        if table in before
    }


@only_postgresql
def test_replicas_migrate_at_once_below_one_at_work(
    release_before: Database, open_store: OpenStore
) -> None:
    """One of them does, the others wait; what the old one writes meanwhile is stored."""
    row = sqlalchemy.text(
        "INSERT INTO execution (key, revision, built_revision, started_at, attempts) "
        "VALUES (:key, 1, 0, 0, 0)"
    )
    stop = threading.Event()

    def work() -> int:
        written = 0
        while not stop.is_set() or not written:
            key = {"key": f"shop/production/e{written}"}
            release_before.write(lambda connection: connection.execute(row, key))  # noqa: B023
            written += 1
        return written

    def migrate_all() -> list[Store]:
        try:
            return at_once(*[open_store] * 4)
        finally:
            stop.set()

    written, stores = at_once(work, migrate_all)
    release_before.close()

    assert [len(store.unbuilt()) for store in stores] == [written] * 4
    assert [store.record([event("z", payload=b"once")]) for store in stores] == [1, 0, 0, 0]
