"""What is not live is restarted, what is not ready is waited for, the rest is told."""

from __future__ import annotations

import pytest

from flytelineage.health import Health


@pytest.mark.parametrize(
    ("health", "live", "ready"),
    [
        pytest.param(Health(), True, True, id="nothing"),
        pytest.param(Health(degraded=("glue is paused",)), True, True, id="a target is down"),
        pytest.param(Health(ready=("no database",)), True, False, id="no database"),
        pytest.param(Health(live=("intake stands still",)), False, False, id="a thread is stuck"),
    ],
)
def test_degrees(health: Health, live: bool, ready: bool) -> None:
    """What needs a restart does no work either; a target that is down stops nothing."""
    assert (health.is_live, health.is_ready) == (live, ready)
