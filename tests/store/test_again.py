"""Which deliveries an operator gets with a filter."""

from __future__ import annotations

import pytest

from flytelineage.store import Matching
from flytelineage.targets import Rejection
from tests.store.conftest import TARGET, Clock, Story, claim


@pytest.fixture
def failed(story: Story, clock: Clock) -> Story:
    """Three that were given up, one that waits, one of which something was rejected."""
    errors = {
        "a": "403 Forbidden: request 7f3a-11", "b": "403 Forbidden: request 9c21-40",
        "c": "100%_sure\nsecond line",
    }  # fmt: skip
    for name, error in errors.items():
        story.build(name)
        assert story.store.give_up(story.claim(), error)
    story.build("d")
    story.store.settle_later(story.claim(), 3600, "Timed out after 30 s")
    story.build("e")
    lease = story.claim()
    assert story.store.settle(
        lease, [], [Rejection(entity="task:t", aspect="io", reason="Too Large")]
    )
    return story


@pytest.mark.parametrize(
    ("states", "error", "count"),
    [
        (("given_up",), "", 3),
        (("given_up",), "*403*", 2),
        (("given_up",), "*forbidden*", 2),
        (("given_up",), "403*9c21-??", 1),
        (("given_up",), "403", 0),
        (("given_up",), "100%_sure*", 1),
        (("given_up",), "1%", 0),
        (("given_up",), "????_sure*", 1),
        (("due",), "*timed out*", 1),
        (("delivered",), "too large", 1),
        (("delivered", "due", "given_up"), "", 5),
        (("delivered",), "*'; DROP TABLE delivery; --*", 0),
    ],
)
def test_by_error(failed: Story, states: tuple[str, ...], error: str, count: int) -> None:
    """A pattern must match all of an error, or what was rejected."""
    found = failed.store.retry(states=states, error=error, dry_run=True)
    listed = failed.store.matching(states=states, error=error)

    assert found == count
    assert sum(one.count for one in listed) == count
    assert failed.store.retry(states=states, error=error) == count


def test_kinds_of_errors(failed: Story) -> None:
    """They are counted without the numbers that make each its own."""
    states = ("given_up", "due", "delivered")

    assert failed.store.matching(states=states) == [
        Matching(TARGET, "given_up", "403 Forbidden: request #", 2),
        Matching(TARGET, "delivered", "Too Large", 1),
        Matching(TARGET, "due", "Timed out after 30 s", 1),
        Matching(TARGET, "given_up", "100%_sure", 1),
    ]


def test_what_waits_is_told_at_once(failed: Story) -> None:
    """Its pace begins anew."""
    assert failed.due() == []

    failed.store.retry(states=("due",))

    assert failed.due() == ["d"]
    assert failed.deliver(claim()) == "d"


def test_history_has_no_errors(failed: Story, clock: Clock) -> None:
    """Where an error is asked for, nobody is told for the first time."""
    new = {"targets": ["glue"], "since": clock.now.replace(year=2020)}

    assert failed.store.matching(**new) == [Matching("glue", "never told", "", 5)]
    assert failed.store.retry(**new, error="*") == 0
    assert failed.store.retry(**new) == 5
