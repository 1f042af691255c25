"""The table of constructs against the plays that stand behind it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flytelineage.testing.simulator.constructs import CONSTRUCTS

PAGE = (Path(__file__).parent.parent / "docs" / "constructs.md").read_text(encoding="utf-8")
ROWS = [
    cells
    for line in PAGE.splitlines()
    if line.startswith("| ") and len(cells := [c.strip() for c in line.strip("|").split("|")]) == 5
    if cells[0] != "construct"
]
PLAYS = [play for row in ROWS for play in re.findall(r"`(\w+)`", row[4])]


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_every_construct_stands_in_one_row(name):
    assert PLAYS.count(name) == 1


def test_every_row_names_plays_that_exist():
    assert all(re.findall(r"`(\w+)`", row[4]) for row in ROWS)
    assert set(PLAYS) <= set(CONSTRUCTS)
