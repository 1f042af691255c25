"""The page of faults names each fault, and tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+|-) \|(.*)\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
FAULTS = 51


def test_each_fault_has_one_row() -> None:
    """Those without a number were found on the way."""
    numbers = [int(number) for number, *_ in ROWS if number != "-"]

    assert sorted(numbers) == list(range(1, FAULTS + 1))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}:{row[1].strip()}" for row in ROWS])
def test_named_tests_exist(row: tuple[str, ...]) -> None:
    """There is at least one, and each is where the page says."""
    named = re.findall(r"`([\w/]+\.py)::([\w:]+)`", row[3])

    assert named
    for file, name in named:
        assert name in _tests(TESTS / file), f"no {name} in {file}"


def _tests(file: Path) -> set[str]:
    """Names of the tests in a file, those of classes with the class."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if hasattr(one, "name")}
    return found
