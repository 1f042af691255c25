"""The page about security: each control that it names is held by a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", PAGE)))


def test_every_threat_has_a_test() -> None:
    """Or a command that looks for it."""
    table = PAGE.partition("## Threats and controls")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 10
    assert [row for row in rows if "`tests/" not in row and "`make " not in row] == []


@pytest.mark.parametrize("name", NAMED)
def test_tests_are_there(name: str) -> None:
    """By the names that pytest takes."""
    path, *parts = name.split("::")
    found: list[ast.stmt] = ast.parse((ROOT / path).read_text(encoding="utf-8")).body

    for part in parts:
        (inner,) = [
            one
            for one in found
            if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == part
        ]
        found = inner.body
