"""How much is received and not stored yet: bounded, and given back."""

from __future__ import annotations

import threading

from flytelineage.inhand import LARGEST_RECEIVE, TIMES, WAITS_SECONDS, InHand
from flytelineage.sources import Message

MB = 1024 * 1024


def message(size: int = 10) -> Message:
    return Message(body="x" * size, handle="h")


def never() -> bool:
    return False


def always() -> bool:
    return True


def bring(in_hand: InHand, *messages: Message) -> None:
    """A receive that brings this, from beginning to end."""
    batch = in_hand.enter(gives_up=never)
    assert batch is not None
    in_hand.hold(batch, messages)
    in_hand.leave(batch)


def test_at_first_a_receive_counts_as_the_most_that_it_can_bring() -> None:
    in_hand = InHand(2 * LARGEST_RECEIVE)

    first, second, third = (in_hand.enter(gives_up=always) for _ in range(3))

    assert first is not None
    assert second is not None
    assert third is None


def test_after_small_ones_many_receive_at_once() -> None:
    """Nearly all are small: nobody should have to wait for room."""
    in_hand = InHand(2 * LARGEST_RECEIVE)
    for _ in range(6):
        bring(in_hand, message())

    entered = [in_hand.enter(gives_up=always) for _ in range(32)]

    assert None not in entered


def test_after_a_large_one_few_receive_at_once() -> None:
    """The next ones may be as large."""
    in_hand = InHand(2 * LARGEST_RECEIVE)
    for _ in range(6):
        bring(in_hand, message())
    bring(in_hand, message(10 * MB))

    entered = [in_hand.enter(gives_up=always) for _ in range(3)]

    assert [one is not None for one in entered] == [True, True, False]


def test_one_receive_is_always_possible() -> None:
    """However little memory there may be."""
    assert InHand(1).enter(gives_up=always) is not None


def test_who_waits_for_room_goes_on_when_there_is_some() -> None:
    in_hand = InHand(LARGEST_RECEIVE)
    entered = threading.Event()
    batch = in_hand.enter(gives_up=never)
    assert batch is not None
    in_hand.hold(batch, [message(10 * MB)])

    waiting = threading.Thread(
        target=lambda: in_hand.enter(gives_up=never) and entered.set()  # type: ignore[func-returns-value]
    )
    waiting.start()
    assert not entered.is_set()
    in_hand.leave(batch)
    waiting.join(timeout=10)

    assert entered.is_set()


def test_who_waits_for_room_comes_back_after_a_while() -> None:
    """Else it would seem to be stuck, where there is room for one and many take turns."""
    now = 0.0
    in_hand = InHand(LARGEST_RECEIVE, clock=lambda: now)
    assert in_hand.enter(gives_up=never) is not None

    def look() -> bool:
        nonlocal now
        now += WAITS_SECONDS / 2
        return now > 10 * WAITS_SECONDS

    assert in_hand.enter(gives_up=look) is None
    assert now <= 2 * WAITS_SECONDS


def test_what_was_deleted_is_not_in_hand() -> None:
    in_hand = InHand(LARGEST_RECEIVE)
    batch = in_hand.enter(gives_up=never)
    assert batch is not None

    in_hand.hold(batch, [message(), message()])
    assert in_hand.nbytes == TIMES * 20
    assert len(in_hand.messages) == 2

    in_hand.leave(batch)
    assert in_hand.nbytes == 0
    assert in_hand.messages == []


def test_old_messages_are_named_once_per_span() -> None:
    """Whoever is told of them hides them anew, for as long again."""
    now = 0.0
    in_hand = InHand(3 * LARGEST_RECEIVE, clock=lambda: now)
    batch = in_hand.enter(gives_up=never)
    assert batch is not None
    in_hand.hold(batch, [message()])

    now = 14.0
    assert in_hand.older_than(15) == []
    now = 15.0
    assert len(in_hand.older_than(15)) == 1
    assert in_hand.older_than(15) == []
    now = 30.0
    assert len(in_hand.older_than(15)) == 1
