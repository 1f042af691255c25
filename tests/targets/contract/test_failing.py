"""What goes wrong is told by its class, in words that help and give nothing away."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from flytelineage.errors import (
    ConfigError,
    FlyteLineageError,
    PermanentTargetError,
    TargetUnavailable,
    TransientTargetError,
)
from tests.targets.contract.entities import lineage, short
from tests.targets.contract.place import Place, Trouble, named


def test_a_server_in_trouble(place: Place) -> None:
    """It is asked again later, and then all is well."""
    calm = place.calm(short())
    target = place.open()
    place.trouble(Trouble(503))

    with pytest.raises(TransientTargetError) as failure:
        target.emit(short())
    again = target.emit(short())

    assert failure.value.retry_after is None
    assert str(failure.value)
    assert again == []
    assert place.told() == calm


@pytest.mark.parametrize("status", [429, 503])
def test_throttling(place: Place, status: int) -> None:
    """Who is told when to come again does so then."""
    place.trouble(Trouble(status, retry_after="7"))

    with pytest.raises(TransientTargetError) as failure:
        place.open().emit(short())

    assert failure.value.retry_after == 7


def test_trouble_in_the_middle(place: Place) -> None:
    """What was told until then is no obstacle."""
    calm = place.calm(short())
    target = place.open(**place.piecemeal)
    place.steps.at(3, lambda: place.trouble(Trouble(503)))

    try:
        assert target.emit(short()) == []
    except TransientTargetError:
        assert target.emit(short()) == []

    assert place.told() == calm
    assert place.dangling() == set()


def test_a_server_that_hangs(place: Place) -> None:
    """It is left, within the time that its options say."""
    target = place.open(**place.impatient)
    place.trouble(Trouble(hang=True))
    began = time.monotonic()

    with pytest.raises(TransientTargetError):
        target.emit(short())

    assert time.monotonic() - began < 5


def test_without_the_right(place: Place) -> None:
    """The whole target waits for somebody, and says for what; no execution is to blame."""
    place.lock_out()

    with pytest.raises(TargetUnavailable) as failure:
        place.open().emit(short())

    assert place.cure in str(failure.value)
    assert place.told() == {}


def test_check_without_the_right(place: Place) -> None:
    """It is found before anything has to be told."""
    place.lock_out()

    with pytest.raises(ConfigError) as failure:
        place.open().check()

    assert place.cure in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_refusal_costs_one_entity(place: Place) -> None:
    """It is named with a reason; everything else arrives, and it does when it may."""
    calm = place.calm(lineage())
    refused = place.refuse()
    target = place.open()

    rejections = target.emit(lineage())
    without = place.told()
    refused.relent()
    again = target.emit(lineage())

    assert named(rejections) == {refused.entity}
    assert all(rejection.reason for rejection in rejections)
    assert refused.others(without) == refused.others(calm)
    assert again == []
    assert place.told() == calm


def test_a_refusal_leaves_nothing_hanging(place: Place) -> None:
    """Nothing leads to what is not there, but for what was refused itself."""
    refused = place.refuse()

    place.open().emit(lineage())

    assert all(refused.key.strip() in each for each in place.dangling())


TROUBLES = [
    Trouble(400),
    Trouble(401),
    Trouble(403),
    Trouble(404),
    Trouble(429),
    Trouble(500),
    Trouble(hang=True),
    Trouble(drop=True),
]


def test_no_secret_is_told(place: Place) -> None:
    """Whatever fails, and though servers repeat what they were sent."""
    target = place.open(**place.impatient)
    texts = []
    for trouble in TROUBLES:
        place.trouble(trouble.saying(f"Bearer {place.secret} is odd"))
        texts += said(lambda: target.emit(short()))
    place.lock_out()
    texts += [*said(lambda: target.emit(short())), *said(target.check), repr(target)]

    assert texts
    assert not any(place.secret in text for text in texts)


def said(act: Callable[[], object]) -> list[str]:
    """All that is said of what failed, reasons of rejections included."""
    try:
        return [str(act())]
    except FlyteLineageError as exc:
        return [str(exc), repr(exc)]


def test_every_failure_has_a_class(place: Place) -> None:
    """By that alone the daemon decides what to do next."""
    target = place.open(**place.impatient)

    for trouble in TROUBLES:
        place.trouble(trouble)
        with suppress(TransientTargetError, TargetUnavailable, PermanentTargetError):
            target.emit(short())
