"""Stores on both databases, a clock that is moved by hand, and values with defaults."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy

from flytelineage.entities import ExecutionId, Lineage, Pipeline, PipelineId
from flytelineage.events import Event, Kind
from flytelineage.store import BuildLease, Built, Claim, DeliveryLease, Store

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
PIPELINE = PipelineId(project="shop", domain="production", name="app.etl")
TARGET = "datahub"
LEASE = 60.0

T = TypeVar("T")
OpenStore = Callable[..., Store]

_numbers = itertools.count()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.sqlite3"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def open_store(url: str, clock: Clock) -> Iterator[OpenStore]:
    """Open a store on the database; each call is like another replica."""
    stores: list[Store] = []

    def open_store(**traits: Any) -> Store:
        store = Store(url=url, clock=clock, **traits)
        store.open(exclusive=False)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()


def execution(name: str = "a") -> ExecutionId:
    return ExecutionId(project="shop", domain="production", name=name)


def event(
    of: str = "a",
    *,
    at: float = 0,
    terminal: bool = False,
    payload: bytes | None = None,
    kind: Kind | None = None,
) -> Event:
    """An event that differs from every other one, unless its payload is given."""
    content = str(next(_numbers)).encode() if payload is None else payload
    return Event(
        kind=kind or ("workflow" if terminal else "task"),
        execution=execution(of),
        payload=content,
        encoding="raw",
        hash=hashlib.blake2b(content, digest_size=32).digest(),
        occurred_at=T0 + timedelta(seconds=at),
        phase="SUCCEEDED",
        terminal=terminal,
    )


def lineage(lease: BuildLease, note: str = "", **values: Any) -> Lineage:
    """What a build found; another note is another content."""
    return Lineage(
        execution=lease.execution,
        revision=lease.revision,
        phase="SUCCEEDED",
        started_at=lease.started_at,
        pipelines=(Pipeline.of(PIPELINE, kind=f"workflow{note}"),),
        **values,
    )


def built(lease: BuildLease, note: str = "", **values: Any) -> Built:
    return Built(lineage=values.pop("lineage", lineage(lease, note)), **values)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Do several things in threads of their own, and say what came of each."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(work) for work in works]]


def deadlocks(stores: Iterable[Store]) -> list[str]:
    """Fills with the deadlocks from now on; the store runs their victims again."""
    found: list[str] = []

    def note(context: sqlalchemy.ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == "40P01":
            found.append(str(context.original_exception))

    for store in stores:
        sqlalchemy.event.listen(store._rooms.database.engine, "handle_error", note)
    return found


class Pause:
    """Stops a transaction of a store before a statement until it is let go."""

    def __init__(self, store: Store, statement: str) -> None:
        self.reached = threading.Event()
        self._go = threading.Event()
        self._statement = statement
        self._engine = store._rooms.database.engine
        sqlalchemy.event.listen(self._engine, "before_cursor_execute", self._stop)

    def _stop(self, _c: Any, _u: Any, statement: str, *_: Any) -> None:
        if statement.startswith(self._statement):
            self.reached.set()
            assert self._go.wait(60)

    def let_go(self) -> None:
        self._go.set()


def overlapping(first: Callable[[], T], pause: Pause, second: Callable[[], T]) -> tuple[T, T]:
    """Begin the second transaction while the first is stopped in its middle."""
    with ThreadPoolExecutor(2) as pool:
        try:
            ahead = pool.submit(first)
            assert pause.reached.wait(60)
            behind = pool.submit(second)
            wait([behind], timeout=0.1)  # it may have to wait for the first
        finally:
            pause.let_go()
        return ahead.result(timeout=60), behind.result(timeout=60)


def in_any_order(
    store: Store,
    clock: Clock,
    seed: int,
    *,
    prepare: Callable[[DeliveryLease], list[Claim]],
    tell: Callable[[list[Claim]], object],
    rounds: int,
) -> None:
    """Prepare, tell, settle, put off and kill deliveries in any order until none is left."""
    chance = random.Random(seed)
    steps: list[Callable[[], object]] = []

    def begin(lease: DeliveryLease) -> None:
        steps.append(partial(emit, lease, prepare(lease)))

    def emit(lease: DeliveryLease, told: list[Claim]) -> None:
        tell(told)
        end = partial(store.settle, lease, told, [])
        fail = partial(store.settle_later, lease, 0, "reset")
        steps.extend([chance.choice([end, end, fail])] if chance.random() < 0.8 else [])

    def claim_some(limit: int) -> None:
        leases = store.claim_delivery(TARGET, limit, lease_seconds=LEASE)
        steps.extend(partial(begin, lease) for lease in leases)

    for _ in range(rounds):
        claim_some(1)
        if steps:
            steps.pop(chance.randrange(len(steps)))()
        if chance.random() < 0.05:
            clock.advance(LEASE)
    while store.work_left() or steps:
        while steps:
            steps.pop(chance.randrange(len(steps)))()
        clock.advance(LEASE)
        claim_some(9)


class Story:
    """Short words for what a daemon does with a store over and over."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    def end(self, *names: str, at: float = 0) -> None:
        """Executions end, and rest until they are due."""
        self.store.record([event(name, at=at, terminal=True) for name in names])
        self.clock.advance(self.store.min_settle)

    def claim_build(self) -> BuildLease:
        (lease,) = self.store.claim_build(1, lease_seconds=LEASE)
        return lease

    def build(
        self, name: str, note: str = "", *, at: float = 0, targets: tuple[str, ...] = (TARGET,),
        held: bool = False, **values: Any,
    ) -> None:  # fmt: skip
        """An execution ends (again) and is built."""
        self.end(name, at=at)
        lease = self.claim_build()
        assert lease.execution == execution(name)
        assert self.store.finish_build(lease, built(lease, note, **values), targets, held=held)

    def claim(self, target: str = TARGET) -> DeliveryLease:
        (lease,) = self.store.claim_delivery(target, 1, lease_seconds=LEASE)
        return lease

    def claim_all(self) -> list[DeliveryLease]:
        """Every delivery that is due."""
        return self.store.claim_delivery(TARGET, 100, lease_seconds=LEASE)

    def prepare(self, lease: DeliveryLease, *claims: Claim, raises: bool = True) -> set[str]:
        """The aspects to tell."""
        told = self.store.prepare(lease, claims, raises=raises, refresh_seconds=3600)
        return {aspect for _, aspect in told}

    def deliver(self, *claims: Claim, target: str = TARGET) -> str:
        """Tell what is due; the name of the execution."""
        lease = self.claim(target)
        told = self.prepare(lease, *claims)
        assert self.store.settle(lease, [one for one in claims if one.aspect in told], [])
        return lease.execution.name

    def due(self, target: str = TARGET) -> list[str]:
        """Names of executions whose delivery could be claimed; looking changes nothing."""
        leases = self.store.claim_delivery(target, 100, lease_seconds=0)
        for lease in leases:
            self.store.settle_later(lease, 0, "", counted=False)
        return [lease.execution.name for lease in leases]


@pytest.fixture
def story(store: Store, clock: Clock) -> Story:
    return Story(store, clock)


def claim(at: float = 0, digest: str = "A", *, aspect: str = "io", entity: str = "task:t") -> Claim:
    return Claim(entity, aspect, T0 + timedelta(seconds=at), digest)
