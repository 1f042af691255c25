"""What catalogues hold in parts: nothing of ours is left behind, whatever overlaps or dies.

A catalogue that adds and takes away, as one does to which people add, stands beside the store.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from sqlalchemy import update

from flytelineage.store import Claim, DeliveryLease, Store
from flytelineage.store.schema import watermark
from flytelineage.targets import Rejection
from tests.store.conftest import LEASE, Clock, Story, claim, in_any_order


def io(*edges: str, at: float = 0, task: str = "t", whole: bool = True) -> Claim:
    """A claim of a task's edges."""
    one = claim(at, digest=f"{sorted(edges)}{whole}", entity=f"task:{task}")
    return replace(one, parts=dict.fromkeys(edges, ""), whole=whole)


def tasks(*names: str, at: float = 0) -> Claim:
    """A claim of a pipeline's tasks."""
    one = claim(at, digest=str(sorted(names)), aspect="tasks", entity="pipeline:p")
    return replace(one, parts={name: f"task:{name}" for name in names})


class Catalogue:
    """Holds what was added to it until it is taken away.

    Attributes:
        edges: By task.
        ended: Tasks that are there no more.
    """

    def __init__(self) -> None:
        self.edges: dict[str, set[str]] = {}
        self.ended: set[str] = set()

    def tell(self, told: Iterable[Claim]) -> None:
        for one in told:
            if one.ends:
                self.ended.add(one.entity)
            elif one.entity.startswith("task:"):
                self.ended.discard(one.entity)
            if one.aspect == "io":
                held = self.edges.setdefault(one.entity, set())
                held.update(one.parts or {})
                held -= one.former

    @property
    def live(self) -> dict[str, set[str]]:
        return {task: edges for task, edges in self.edges.items() if task not in self.ended}


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


def deliver(
    story: Story, catalogue: Catalogue, name: str, *claims: Claim, note: str = ""
) -> dict[tuple[str, str], Claim]:
    """Build an execution, and tell the catalogue of it."""
    story.build(name, note)
    lease = story.claim()
    told = story.store.prepare(lease, claims, raises=True, refresh_seconds=3600)
    catalogue.tell(told.values())
    assert story.store.settle(lease, [*told.values()], [])
    return told


def test_an_edge_that_is_gone_is_taken_away(story: Story, catalogue: Catalogue) -> None:
    """The next execution shows one edge fewer, and another one."""
    deliver(story, catalogue, "a", io("x", "y", at=1))

    told = deliver(story, catalogue, "b", io("y", "z", at=2))

    assert told["task:t", "io"].former == {"x"}
    assert catalogue.edges == {"task:t": {"y", "z"}}


def test_what_was_taken_away_is_not_taken_away_again(story: Story, catalogue: Catalogue) -> None:
    """People may have added the very edge since."""
    deliver(story, catalogue, "a", io("x", "y", at=1))
    deliver(story, catalogue, "b", io("y", at=2))

    told = deliver(story, catalogue, "c", io("y", "z", at=3))

    assert told["task:t", "io"].former == frozenset()


def test_edges_that_may_not_be_all_only_add(story: Story, catalogue: Catalogue) -> None:
    """And the next one that knows all of them takes the others away."""
    deliver(story, catalogue, "a", io("x", at=1))
    deliver(story, catalogue, "b", io("y", at=2, whole=False))
    assert catalogue.edges == {"task:t": {"x", "y"}}

    deliver(story, catalogue, "c", io("z", at=3))

    assert catalogue.edges == {"task:t": {"z"}}


def test_no_edges_at_all_take_all_away(story: Story, catalogue: Catalogue) -> None:
    """That nothing is read or written is known, too."""
    deliver(story, catalogue, "a", io("x", "y", at=1))

    deliver(story, catalogue, "b", io(at=2))

    assert catalogue.edges == {"task:t": set()}


def test_what_a_dead_telling_may_have_added_goes(
    story: Story, store: Store, clock: Clock, catalogue: Catalogue
) -> None:
    """It died after it told and before it was settled; its execution was built anew since."""
    story.build("a")
    lease = story.claim()
    catalogue.tell(store.prepare(lease, [io("x", at=1)], raises=True, refresh_seconds=60).values())
    clock.advance(LEASE)

    deliver(story, catalogue, "a", io("y", at=1), note="late")

    assert catalogue.edges == {"task:t": {"y"}}


def test_what_was_refused_may_be_there_all_the_same(
    story: Story, store: Store, catalogue: Catalogue
) -> None:
    """A refusal names the aspect, not which part of it arrived."""
    deliver(story, catalogue, "a", io("x", at=1))
    story.build("b")
    lease = story.claim()
    told = store.prepare(lease, [io("y", at=2)], raises=True, refresh_seconds=60)
    catalogue.edges["task:t"].add("y")
    store.settle(lease, [*told.values()], [Rejection(entity="task:t", aspect="io", reason="no")])
    assert story.due() == ["a"]  # which holds the edges again

    deliver(story, catalogue, "a", io("x", at=1), note="again")

    assert catalogue.edges == {"task:t": {"x"}}


# --------------------------------------------------------------- entities that end


def test_a_task_that_is_listed_no_more_ends(story: Story, catalogue: Catalogue) -> None:
    """With all that was told of it, and its edges."""
    deliver(story, catalogue, "a", tasks("t", "u", at=1), io("x", at=1), io("y", at=1, task="u"))

    told = deliver(story, catalogue, "b", tasks("t", at=2), io("x", at=2))

    gone = told["task:u", "io"]
    assert (gone.ends, gone.former) == ("u", {"y"})
    assert catalogue.live == {"task:t": {"x"}}


def test_a_task_that_was_never_listed_stays(story: Story, catalogue: Catalogue) -> None:
    """A dynamic task made it; the definition does not say which there are."""
    deliver(story, catalogue, "a", tasks("t", at=1), io("x", at=1), io("y", at=1, task="made"))

    deliver(story, catalogue, "b", tasks("t", at=2), io("x", at=2))

    assert catalogue.live.keys() == {"task:t", "task:made"}


def test_a_task_that_still_ran_does_not_end(story: Story, catalogue: Catalogue) -> None:
    """It is listed no more because a dynamic task makes it now."""
    deliver(story, catalogue, "a", tasks("t", "u", at=1), io("y", at=1, task="u"))

    told = deliver(story, catalogue, "b", tasks("t", at=2), io("y", at=2, task="u"))

    assert ("task:u", "io") not in told
    assert catalogue.ended == set()


def test_a_task_that_ended_is_told_whole_when_it_is_back(
    story: Story, catalogue: Catalogue
) -> None:
    """The version before is put back: what it tells equals what was told before."""
    before = (tasks("t", "u", at=1), io("x", at=1), io("y", at=1, task="u"))
    deliver(story, catalogue, "a", *before)
    deliver(story, catalogue, "b", tasks("t", at=2), io("x", at=2))

    deliver(story, catalogue, "c", tasks("t", "u", at=3), io("x", at=3), io("y", at=3, task="u"))

    assert catalogue.live == {"task:t": {"x"}, "task:u": {"y"}}


def test_an_older_execution_brings_no_task_back(story: Story, catalogue: Catalogue) -> None:
    """It was built again because of a late event."""
    before = (tasks("t", "u", at=1), io("x", at=1), io("y", at=1, task="u"))
    deliver(story, catalogue, "a", *before)
    deliver(story, catalogue, "b", tasks("t", at=2), io("x", at=2))

    told = deliver(story, catalogue, "a", *before, io("z", at=1, task="u"), note="late")

    assert told == {}
    assert catalogue.live == {"task:t": {"x"}}


def test_a_telling_of_an_end_that_died_is_told_again(
    story: Story, store: Store, clock: Clock, catalogue: Catalogue
) -> None:
    """Nobody knows whether it arrived."""
    deliver(story, catalogue, "a", tasks("t", "u", at=1), io("y", at=1, task="u"))
    story.build("b")
    store.prepare(story.claim(), [tasks("t", at=2)], raises=True, refresh_seconds=60)
    clock.advance(LEASE)
    lease = story.claim()

    told = store.prepare(lease, [tasks("t", at=2)], raises=True, refresh_seconds=60)

    assert told["task:u", "io"].ends == "u"


def test_an_end_that_was_told_over_is_told_again(
    story: Story, store: Store, catalogue: Catalogue
) -> None:
    """An older execution told the task while a newer one told that it ended."""
    deliver(story, catalogue, "z", tasks("t", "u", at=0), io("x", at=0, task="u"))
    story.build("a")
    story.build("b")
    old, new = story.claim(), story.claim()
    late = store.prepare(old, [io("y", at=1, task="u")], raises=True, refresh_seconds=60)
    catalogue.tell(store.prepare(new, [tasks("t", at=2)], raises=True, refresh_seconds=60).values())
    store.settle(new, [tasks("t", at=2)], [])
    catalogue.tell(late.values())
    store.settle(old, [*late.values()], [])

    lease = story.claim()
    told = store.prepare(lease, [tasks("t", at=2)], raises=True, refresh_seconds=60)
    catalogue.tell(told.values())
    store.settle(lease, [*told.values()], [])

    assert lease.execution.name == "b"
    assert (catalogue.live, catalogue.edges) == ({}, {"task:u": set()})
    assert story.due() == []


def test_a_task_of_which_a_newer_execution_told_anything_does_not_end(
    story: Story, catalogue: Catalogue
) -> None:
    """It could not say all that was known of it before, nor which tasks there are."""
    logic = claim(1, aspect="logic", entity="task:u")
    deliver(story, catalogue, "a", tasks("t", "u", at=1), io("x", at=1, task="u"), logic)
    deliver(story, catalogue, "c", io("y", at=3, task="u"))

    told = deliver(story, catalogue, "b", tasks("t", at=2))

    assert told.keys() == {("pipeline:p", "tasks")}
    assert catalogue.live == {"task:u": {"y"}}


def test_an_end_with_a_long_name_is_settled(
    story: Story, store: Store, catalogue: Catalogue
) -> None:
    """The store knows the task by a shortened name alone when it is told over."""
    long = "u" * 1000
    deliver(story, catalogue, "z", tasks("t", long, at=0), io("x", at=0, task=long))
    story.build("a")
    old = story.claim()
    late = store.prepare(old, [io("y", at=1, task=long)], raises=True, refresh_seconds=60)
    deliver(story, catalogue, "b", tasks("t", at=2))
    catalogue.tell(late.values())
    store.settle(old, [*late.values()], [])

    lease = story.claim()
    told = store.prepare(lease, [tasks("t", at=2)], raises=True, refresh_seconds=3600)
    store.settle(lease, [*told.values()], [])

    assert [one.ends for one in told.values() if one.ends] == [long]
    assert deliver(story, catalogue, "b", tasks("t", at=2), note="again") == {}


def test_what_an_older_release_told_is_known_once_it_is_shown_again(
    story: Story, store: Store, catalogue: Catalogue
) -> None:
    """It kept no parts; what equals what it told is not told, and yet known in parts."""
    deliver(story, catalogue, "a", io("x", "y", at=1))
    store._rooms.database.write(
        lambda connection: connection.execute(update(watermark).values(parts=None))
    )

    assert deliver(story, catalogue, "b", io("x", "y", at=2)) == {}
    deliver(story, catalogue, "c", io("y", at=3))

    assert catalogue.edges == {"task:t": {"y"}}


def test_a_failed_execution_ends_nothing(story: Story, store: Store, catalogue: Catalogue) -> None:
    """Its definition may be newer, its word is worth less."""
    deliver(story, catalogue, "a", tasks("t", "u", at=1), io("y", at=1, task="u"))
    story.build("b")

    told = store.prepare(story.claim(), [tasks("t", at=2)], raises=False, refresh_seconds=60)

    assert told == {}


# --------------------------------------------------------------------- all at once


@pytest.mark.parametrize("seed", range(16))
def test_any_interleaving_leaves_just_what_the_newest_told(
    story: Story, store: Store, clock: Clock, catalogue: Catalogue, seed: int
) -> None:
    """Deliveries are prepared, told, settled, put off and killed in any order."""
    chance = random.Random(seed)
    claims: dict[str, list[Claim]] = {}
    for at, name in enumerate("abcd"):
        names = sorted(chance.sample("tuv", chance.randint(1, 3)))
        edges = {task: chance.sample("wxyz", chance.randint(0, 3)) for task in names}
        claims[name] = [
            tasks(*names, at=at),
            *(
                io(*edges[task], at=at, task=task, whole=name == "d" or chance.random() < 0.8)
                for task in names
            ),
        ]
        story.build(name)

    def prepare(lease: DeliveryLease) -> list[Claim]:
        mine = claims[lease.execution.name]
        return [*store.prepare(lease, mine, raises=True, refresh_seconds=3600).values()]

    in_any_order(store, clock, seed, prepare=prepare, tell=catalogue.tell, rounds=200)

    newest = {one.entity: set(one.parts or {}) for one in claims["d"][1:]}
    assert catalogue.live == newest
    assert all(not catalogue.edges[task] for task in catalogue.ended)
