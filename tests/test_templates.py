"""Texts with keys in braces: what cannot be filled in is refused at start."""

from __future__ import annotations

import pytest
from traitlets import TraitError
from traitlets.config import LoggingConfigurable

from flytelineage.templates import Template


class Thing(LoggingConfigurable):
    place = Template("{host}/{name}", keys=("host", "name"))
    named = Template("{name}", keys=("name",), fixed=False)
    perhaps = Template("", keys=("name",), empty=True)


@pytest.mark.parametrize("text", ["{host}", "x{name}y", "fixed", "{{literal}}"])
def test_what_can_be_filled_in_is_taken(text: str) -> None:
    assert Thing(place=text).place == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{hots}", "knows no {hots}"),
        ("{host", "expected '}'"),
        ("}", "Single '}'"),
        ("{}", "knows no {}"),
        ("{name!r}", "nothing but names"),
        ("{name:>9}", "nothing but names"),
        ("", "must not be empty"),
    ],
)
def test_what_cannot_is_refused_with_what_can(text: str, reason: str) -> None:
    """The message names the option and all keys."""
    with pytest.raises(TraitError) as caught:
        Thing(place=text)

    assert str(caught.value).startswith("Thing.place ")
    assert reason in str(caught.value)
    assert "{host}, {name}" in str(caught.value)


def test_a_name_for_all_is_refused_where_each_needs_its_own() -> None:
    with pytest.raises(TraitError, match="must hold a name"):
        Thing(named="fixed")


def test_an_empty_one_may_mean_something_else() -> None:
    assert Thing(perhaps="").perhaps == ""
