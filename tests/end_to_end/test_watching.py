"""An operator who knows nothing finds out why executions are not in DataHub."""

from __future__ import annotations

import json

import pytest

from flytelineage.testing.datahub import Fault
from tests.end_to_end.corpus import Corpus
from tests.end_to_end.deployment import Deployment, page

pytestmark = pytest.mark.processes

PAUSED = 'flytelineage_breaker_state{target="datahub"} 2.0'
TOLD = 'flytelineage_breaker_state{target="datahub"} 0.0'


def test_datahub_refuses_the_token(on_sqlite: Deployment, messages: Corpus) -> None:
    """The probe, the metrics, the page and the log all say which target, and what it said."""
    on_sqlite.options |= {
        "FlyteLineage.log_json": True,
        "Daemon.retry_seconds": 0.2,
        "Daemon.max_retry_seconds": 0.5,
    }
    url = on_sqlite.serve()
    on_sqlite.gms.break_down(Fault(401, message="the token ran out"))
    daemon = on_sqlite.start()
    on_sqlite.wait_for(lambda: page(f"{url}/livez")[0] == 200)
    on_sqlite.queue.send(messages.calm)

    began = page(f"{url}/metrics")[1].splitlines()
    on_sqlite.wait_for(lambda: on_sqlite.told_all("file", "glue"))
    on_sqlite.wait_for(lambda: PAUSED in page(f"{url}/metrics")[1])
    on_sqlite.wait_for(lambda: "degraded" in page(f"{url}/readyz")[1])
    live, ready, seen = (page(f"{url}{path}") for path in ("/livez", "/readyz", "/"))
    metrics = page(f"{url}/metrics")[1].splitlines()
    on_sqlite.gms.mend()
    on_sqlite.drain()
    on_sqlite.wait_for(lambda: TOLD in page(f"{url}/metrics")[1])
    healed = page(f"{url}/readyz")

    assert on_sqlite.end(daemon) == 0
    assert (live[0], ready[0]) == (200, 200)
    assert "degraded: datahub" in ready[1]
    assert "401" in ready[1]
    assert "working, with trouble" in seen[1]
    assert "datahub" in seen[1]
    assert value(metrics, 'breaker_opened_total{target="datahub"}') >= 1
    assert value(metrics, 'emits_total{result="delivered",target="glue"}') > 0
    assert value(metrics, 'emits_total{result="delivered",target="datahub"}') == 0
    assert value(metrics, 'settle_seconds_count{target="glue"}') > 0
    assert value(metrics, "messages_received_total") >= len(messages.calm)
    assert healed == (200, "ready\n")
    assert series(metrics) == series(began)
    log = [json.loads(line) for line in daemon.log.splitlines()]
    pauses = [line for line in log if line.get("action") == "pause"]
    assert {line["target"] for line in pauses} == {"datahub"}
    assert "401" in pauses[0]["message"]
    told = [line for line in log if line.get("action") == "deliver"]
    assert {"datahub", "glue", "file"} <= {line["target"] for line in told}
    assert all(line["execution"] and line["seconds"] >= 0 for line in told)


def series(metrics: list[str]) -> set[str]:
    """Their names and labels."""
    return {line.rpartition(" ")[0] for line in metrics if not line.startswith("#")}


def value(metrics: list[str], series: str) -> float:
    """What a series says."""
    (found,) = [
        line.rpartition(" ")[2]
        for line in metrics
        if line.rpartition(" ")[0] == f"flytelineage_{series}"
    ]
    return float(found)
