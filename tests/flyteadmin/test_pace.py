from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from flytelineage.flyteadmin.pace import Pace


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


def test_the_calls_of_one_second_go_at_once() -> None:
    """A build that needs a few answers does not wait for them."""
    clock = Clock()
    pace = Pace(10, clock=clock, sleep=clock.sleep)

    for _ in range(10):
        pace.wait()

    assert clock.slept == []


def test_more_calls_wait_for_their_turn() -> None:
    """FlyteAdmin never gets more than it was promised, on average."""
    clock = Clock()
    pace = Pace(10, clock=clock, sleep=clock.sleep)

    for _ in range(30):
        pace.wait()

    assert clock.slept == [0.1] * 20
    assert round(clock.now, 6) == 102


def test_a_pause_fills_the_bucket_but_not_more() -> None:
    """A quiet night is not made up for in the morning."""
    clock = Clock()
    pace = Pace(10, clock=clock, sleep=clock.sleep)
    pace.wait()
    clock.now += 3600

    for _ in range(12):
        pace.wait()

    assert clock.slept == [0.1] * 2


def test_less_than_one_call_a_second() -> None:
    """The first call goes at once, the next after the interval."""
    clock = Clock()
    pace = Pace(0.5, clock=clock, sleep=clock.sleep)

    for _ in range(3):
        pace.wait()

    assert clock.slept == [2.0, 2.0]


def test_threads_share_one_rate() -> None:
    """Each gets a turn of its own, whoever comes first."""
    waits: list[float] = []
    pace = Pace(10, clock=lambda: 100.0, sleep=waits.append)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            threads.submit(pace.wait)

    assert sorted(round(wait, 6) for wait in waits) == [round(n / 10, 6) for n in range(1, 11)]
