"""How much DataHub is asked for: through the daemon, as in production."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_executions_need_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred tasks at most ten, with all that is known of each; and at most two for
    the next execution, of which only the place of its data is new.
    """
    monkeypatch.syspath_prepend(BENCHMARKS)
    delivery = importlib.import_module("delivery")

    first, following = delivery.our_requests(100)

    assert first.proposals > 1_400
    assert first.requests <= 10
    assert following.requests <= 2
