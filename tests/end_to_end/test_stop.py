"""SIGTERM at any moment: the process ends well, and nothing is lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.end_to_end.checks import check
from tests.end_to_end.corpus import Corpus
from tests.end_to_end.deployment import Deployment

pytestmark = pytest.mark.processes

LIVES = 5


def test_every_life_ends_well_and_the_next_goes_on(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Daemons that are stopped again and again do together what one does in peace."""
    numbers = random.Random(0)
    (bodies,) = messages.wild(seed=0, parts=1)
    statuses = []

    for life in range(LIVES):
        on_sqlite.queue.send(bodies[life::LIVES])
        daemon = on_sqlite.start()
        on_sqlite.wait_for_calls(numbers.randint(1, 20))
        statuses.append(on_sqlite.end(daemon))
    last = on_sqlite.start()
    on_sqlite.drain()
    statuses.append(on_sqlite.end(last))

    assert statuses == [0] * (LIVES + 1)
    check(on_sqlite, messages, calm_state)
