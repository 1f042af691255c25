"""When a target that is down is asked again, and by how many at once."""

from __future__ import annotations

from flytelineage.breaker import FAILURES, Breaker


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, *, max_parallel: int = 1) -> Breaker:
    return Breaker(max_parallel=max_parallel, pause=lambda times: 10.0 * times, clock=clock)


def fail(one: Breaker, times: int = 1, **how: bool | float) -> None:
    for _ in range(times):
        assert one.enter()
        one.failed("503", **{"lasting": False, **how})  # type: ignore[arg-type]


def test_a_single_failure_says_nothing_of_the_target() -> None:
    one = breaker(Clock())

    fail(one, FAILURES - 1)

    assert one.state == "closed"
    assert one.enter()


def test_a_target_that_fails_again_and_again_is_left_alone() -> None:
    one = breaker(Clock())

    fail(one, FAILURES)

    assert (one.state, one.reason, one.opened) == ("open", "503", 1)
    assert not one.enter()


def test_a_success_in_between_begins_anew() -> None:
    one = breaker(Clock())

    fail(one, FAILURES - 1)
    assert one.enter()
    one.worked()
    fail(one, FAILURES - 1)

    assert one.state == "closed"


def test_a_target_without_rights_is_left_alone_at_once() -> None:
    one = breaker(Clock())

    fail(one, lasting=True)

    assert one.state == "open"


def test_a_target_is_left_alone_for_as_long_as_it_asks() -> None:
    clock = Clock()
    one = breaker(clock)

    fail(one, retry_after=120.0)
    clock.now = 119

    assert one.state == "open"
    assert one.seconds_left == 1
    clock.now = 120
    assert one.state == "half open"


def test_one_try_finds_out_whether_a_target_is_back() -> None:
    clock = Clock()
    one = breaker(clock, max_parallel=8)
    fail(one, lasting=True)

    clock.now = 10

    assert one.enter()
    assert not one.enter()


def test_pauses_grow_while_a_target_stays_down() -> None:
    """Of many hours there are only so many tries."""
    clock = Clock()
    one = breaker(clock)
    tries = 0

    fail(one, lasting=True)
    for clock.now in range(0, 1000):
        if one.enter():
            tries += 1
            one.failed("503", lasting=False)

    assert tries == 13  # after 10 + 20 + 30 + ... seconds
    assert one.opened == 1


def test_a_target_that_is_back_is_told_by_more_with_each_success() -> None:
    """What has gathered meanwhile does not fall upon it at once."""
    clock = Clock()
    one = breaker(clock, max_parallel=4)
    fail(one, lasting=True)
    clock.now = 10
    at_once = []

    for _ in range(5):
        entered = sum(one.enter() for _ in range(10))
        at_once.append(entered)
        for _ in range(entered):
            one.worked()

    assert at_once == [1, 1, 2, 4, 4]


def test_fewer_look_for_something_to_tell_while_there_is_nothing() -> None:
    one = breaker(Clock(), max_parallel=4)
    for _ in range(4):
        assert one.enter()
        one.worked()
    assert [one.enter() for _ in range(5)] == [True, True, True, True, False]

    for _ in range(4):
        one.left()

    assert [one.enter() for _ in range(2)] == [True, False]


def test_a_failure_halves_how_many_tell_it() -> None:
    one = breaker(Clock(), max_parallel=4)
    for _ in range(4):
        assert one.enter()
        one.worked()

    fail(one)

    assert [one.enter() for _ in range(3)] == [True, True, False]


def test_a_try_that_began_before_the_pause_does_not_make_it_longer() -> None:
    clock = Clock()
    one = breaker(clock, max_parallel=2)
    assert one.enter()
    one.worked()
    assert one.enter()
    assert one.enter()

    assert one.failed("401", lasting=True)
    clock.now = 1
    assert not one.failed("401", lasting=True)

    assert one.seconds_left == 9


def test_a_try_that_began_before_the_pause_does_not_end_it() -> None:
    """A catalogue that throttles takes some and refuses others: its word holds."""
    clock = Clock()
    one = breaker(clock, max_parallel=2)
    assert one.enter()
    one.worked()
    assert one.enter()
    assert one.enter()

    assert one.failed("429", lasting=False, retry_after=60.0)
    assert not one.worked()

    assert (one.state, one.seconds_left) == ("open", 60)
    clock.now = 60
    assert one.enter()
    assert one.worked()


def test_nothing_to_tell_says_nothing_of_the_target() -> None:
    clock = Clock()
    one = breaker(clock)
    fail(one, lasting=True)
    clock.now = 10

    assert one.enter()
    one.left()

    assert one.state == "half open"
    assert one.enter()


def test_a_target_that_is_back_is_news_once() -> None:
    clock = Clock()
    one = breaker(clock)
    fail(one, lasting=True)
    clock.now = 10

    assert one.enter()
    assert one.worked()
    assert one.reason == ""
    assert one.enter()
    assert not one.worked()
