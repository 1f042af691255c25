"""Everything may happen twice, and any of it may be cut short: the end is always the same."""

from __future__ import annotations

import pytest

from flytelineage.errors import TransientTargetError
from tests.targets.contract.entities import TASKS, lineage, newer, short
from tests.targets.contract.place import Place, Trouble, dies_at


def test_a_repeat_changes_nothing(place: Place) -> None:
    """Neither in the same process nor in the next; and of a journal no line says otherwise."""
    target = place.open()
    first = target.emit(lineage())
    before, records = place.told(), place.records()

    again = target.emit(lineage())
    in_the_next_process = place.open().emit(lineage())

    assert (first, again, in_the_next_process) == ([], [], [])
    assert before
    assert place.told() == before
    assert place.records() == records
    assert place.dangling() == set()


def test_a_death_at_any_step_is_made_good_by_a_repeat(place: Place) -> None:
    """Wherever it dies, and however often: the end is that of a calm run."""
    calm = place.calm(lineage())

    deaths = 0
    while dies_at(place, deaths + 1, lineage(), **place.piecemeal):
        deaths += 1

    assert deaths > 0
    assert place.told() == calm
    assert place.dangling() == set()


def test_a_death_while_something_newer_is_told(place: Place) -> None:
    """What was there before is no obstacle, however much of the newer is there already."""
    older, newest = lineage(TASKS[:1]), newer(TASKS[:1])
    calm = place.calm(older, newest)
    place.open().emit(older)

    deaths = 0
    while dies_at(place, deaths + 1, newest, **place.piecemeal):
        deaths += 1

    assert place.told() == calm


def test_a_newer_revision_replaces_the_older(place: Place) -> None:
    """The end is that of a run which told the newer one only."""
    calm = place.calm(newer())
    target = place.open()

    target.emit(lineage())
    target.emit(newer())

    assert place.told() == calm


def test_an_answer_that_was_lost(place: Place) -> None:
    """The catalogue took it, and nobody knows: to tell it again changes nothing."""
    calm = place.calm(short())
    target = place.open()
    place.trouble(Trouble(drop=True))

    with pytest.raises(TransientTargetError):
        target.emit(short())
    again = target.emit(short())

    assert again == []
    assert place.told() == calm


def test_a_power_cut_in_the_middle_of_a_write(place: Place) -> None:
    """What was torn is made whole, and nothing stays behind that could not be read."""
    place.open().emit(short())
    calm = place.told()
    place.close()
    place.tear()

    again = place.open().emit(short())

    assert again == []
    assert place.told() == calm
