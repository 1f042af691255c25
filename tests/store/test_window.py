"""Edges of the executions of a window, and names that others should know."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.event import listen

from flytelineage.entities import Copy, DatasetId
from flytelineage.store import DeliveryLease, SeenEdges, Store
from flytelineage.store.schema import seen_edge
from tests.store.conftest import T0, Story, claim

DAY = 86_400.0
ORDERS = DatasetId(platform="flyte", name="shop.production.app.load.o0")
TABLE = Copy(
    dataset=DatasetId(platform="glue", name="lake.orders"),
    uri="arn:aws:glue:eu-west-1:123456789012:table/lake/orders",
)


def seen(*edges: str, day: float = 0, version: str = "v1", task: str = "t") -> SeenEdges:
    return SeenEdges(
        entity=f"task:{task}",
        version=version,
        stamp=T0 + timedelta(days=day),
        edges={edge: f"{edge} on day {day}" for edge in edges},
    )


def widen(store: Store, lease: DeliveryLease, one: SeenEdges, days: float = 30) -> list[str]:
    (united,) = store.widen(lease, [one], window_seconds=days * DAY).values()
    return united


def lease_of(story: Story, name: str) -> DeliveryLease:
    story.build(name)
    return story.claim()


# ------------------------------------------------------------------------- window


def test_edges_of_a_version_are_united(story: Story, store: Store) -> None:
    """What both showed is as the newer one showed it."""
    widen(store, lease_of(story, "a"), seen("x", "y", day=1))

    united = widen(store, lease_of(story, "b"), seen("y", "z", day=2))

    assert united == ["x on day 1", "y on day 2", "z on day 2"]


def test_edges_that_nobody_showed_for_long_go(story: Story, store: Store) -> None:
    """The window ends with the newest execution, whoever is delivered."""
    widen(store, lease_of(story, "a"), seen("x", day=1))
    widen(store, lease_of(story, "b"), seen("y", day=9))

    assert widen(store, lease_of(story, "c"), seen("z", day=12), days=10) == [
        "y on day 9",
        "z on day 12",
    ]


def test_another_version_begins_anew(story: Story, store: Store) -> None:
    """Its code may read something else; so may that of another task."""
    widen(store, lease_of(story, "a"), seen("x", day=1))
    widen(store, lease_of(story, "b"), seen("y", day=1, task="u"))

    assert widen(store, lease_of(story, "c"), seen("z", day=2, version="v2")) == ["z on day 2"]


def test_a_repeat_changes_nothing(story: Story, store: Store) -> None:
    """A delivery may be repeated, also after newer ones."""
    lease = lease_of(story, "a")
    first = widen(store, lease, seen("x", day=1))
    store.settle_later(lease, 0, "reset")

    assert widen(store, story.claim(), seen("x", day=1)) == first


def test_an_execution_that_comes_late_adds_to_what_is_told(story: Story, store: Store) -> None:
    """The newer one told the edges that were known then; it is due again, with all."""
    story.build("new")
    new = story.claim()
    told = claim(at=2 * DAY)
    widen(store, new, seen("y", day=2))
    story.prepare(new, told)
    store.settle(new, [told], [])

    late = lease_of(story, "old")
    widen(store, late, seen("x", day=1))
    assert story.prepare(late, claim(at=DAY, digest="x")) == set()
    store.settle(late, [], [])

    assert story.due() == ["new"]
    assert widen(store, story.claim(), seen("y", day=2)) == ["x on day 1", "y on day 2"]


def test_a_late_execution_with_known_edges_wakes_nobody(story: Story, store: Store) -> None:
    """There is nothing to add."""
    told = claim(at=2 * DAY)
    new = lease_of(story, "new")
    widen(store, new, seen("x", day=2))
    story.prepare(new, told)
    store.settle(new, [told], [])

    late = lease_of(story, "old")
    widen(store, late, seen("x", day=1))
    store.settle(late, [], [])

    assert story.due() == []


def test_edges_of_any_length_are_kept(story: Story, store: Store) -> None:
    """They name data from outside."""
    long = ["x" * 5000 + end for end in "ab"]

    united = widen(store, lease_of(story, "a"), seen(*long))

    assert sorted(united) == [f"{edge} on day 0" for edge in long]


def test_versions_that_run_no_more_are_forgotten(story: Story, store: Store) -> None:
    """Each release of a workflow is another version."""
    for number in range(3):
        lease = lease_of(story, f"e{number}")
        widen(store, lease, seen("x", day=40 * number, version=f"v{number}"))
        store.settle(lease, [], [])

    with store._rooms.database.engine.connect() as connection:
        assert connection.scalars(select(seen_edge.c.version)).all() == ["v2"]


def test_a_version_that_is_put_back_finds_its_edges(story: Story, store: Store) -> None:
    """It ran within the window."""
    for day, version in ((1, "v1"), (2, "v2")):
        lease = lease_of(story, version)
        widen(store, lease, seen(f"x{day}", day=day, version=version))
        store.settle(lease, [], [])

    assert widen(store, lease_of(story, "back"), seen("y", day=3)) == ["x1 on day 1", "y on day 3"]


def test_many_tasks_take_few_statements(story: Story, store: Store) -> None:
    """SQLite lets nobody else write meanwhile."""
    lease, statements = lease_of(story, "a"), []
    engine = store._rooms.database.engine
    listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    store.widen(lease, [seen("x", task=f"t{n}") for n in range(400)], window_seconds=DAY)

    assert len(statements) < 10


# ------------------------------------------------------------------------- copies


def test_a_name_is_told_to_the_others(story: Story, store: Store) -> None:
    """At once, and within the same execution."""
    story.build("a", targets=("datahub", "glue"))
    for target, names in (("datahub", {}), ("glue", {ORDERS: TABLE})):
        store.settle(story.claim(target), [], [], copies=names)

    assert story.due("datahub") == ["a"]
    assert story.due("glue") == []
    assert store.copies([ORDERS], besides="datahub") == {ORDERS: [TABLE]}
    assert store.copies([ORDERS], besides="glue") == {}


def test_a_known_name_wakes_nobody(story: Story, store: Store) -> None:
    """A table is found as it was in each execution."""
    story.build("a", targets=("datahub", "glue"))
    for name in ("a", "b"):
        if name == "b":
            story.build("b", targets=("datahub", "glue"))
        store.settle(story.claim("glue"), [], [], copies={ORDERS: TABLE})
        store.settle(story.claim("datahub"), [], [])

    assert story.due("datahub") == []


def test_a_delivery_under_way_is_due_again(story: Story, store: Store) -> None:
    """It began before the name was known."""
    story.build("a", targets=("datahub", "glue"))
    under_way = story.claim("datahub")
    store.settle(story.claim("glue"), [], [], copies={ORDERS: TABLE})

    assert store.settle(under_way, [], [])

    assert story.due("datahub") == ["a"]


def test_what_is_held_or_given_up_stays_so(story: Story, store: Store) -> None:
    """A name is no reason to try again what was refused, or was not asked for."""
    story.build("a", targets=("datahub", "glue"))
    store.give_up(story.claim("datahub"), "400")

    store.settle(story.claim("glue"), [], [], copies={ORDERS: TABLE})

    assert story.due("datahub") == []


def test_a_late_finisher_names_nothing(story: Story, store: Store) -> None:
    """Somebody else has its lease, and says what stands in the catalogue."""
    story.build("a", targets=("glue",))
    late = story.claim("glue")
    story.clock.advance(1e6)
    story.claim("glue")

    assert not store.settle(late, [], [], copies={ORDERS: TABLE})

    assert store.copies([ORDERS], besides="datahub") == {}
