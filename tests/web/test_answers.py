"""Probes, programs and Prometheus are told what is true."""

from __future__ import annotations

import json

import pytest

from flytelineage import options
from flytelineage.health import Health
from flytelineage.options import MASK, SecretText
from flytelineage.web.answers import ANSWERS, Answer
from tests.web.watched import OVERVIEW, Watched

CANARY = 'canary-"4f81d2'


def ask(path: str, view: Watched) -> Answer:
    return ANSWERS[path](view)


class TestProbes:
    """What an orchestrator decides by."""

    def test_well(self) -> None:
        """Both say so."""
        view = Watched()

        assert (ask("/livez", view).status, ask("/livez", view).body) == (200, b"live\n")
        assert (ask("/readyz", view).status, ask("/readyz", view).body) == (200, b"ready\n")

    def test_target_is_down(self) -> None:
        """It is told, and nobody restarts or leaves out the process for it."""
        view = Watched(Health(degraded=("glue is paused: 403",)))

        ready = ask("/readyz", view)

        assert (ready.status, ready.body) == (200, b"ready\ndegraded: glue is paused: 403\n")
        assert ask("/livez", view).status == 200

    def test_store_is_away(self) -> None:
        """It is not ready, and a restart would not help."""
        view = Watched(Health(ready=("store: no answer",), degraded=("glue is paused",)))

        ready = ask("/readyz", view)

        assert (ready.status, ask("/livez", view).status) == (503, 200)
        assert ready.body == b"not ready: store: no answer\ndegraded: glue is paused\n"

    def test_thread_stands_still(self) -> None:
        """Only a restart helps, and until then it is not ready either."""
        view = Watched(Health(live=("intake stands still",)))

        live, ready = ask("/livez", view), ask("/readyz", view)

        assert (live.status, ready.status) == (503, 503)
        assert live.body == ready.body == b"not live: intake stands still\n"

    def test_reasons_of_strangers(self) -> None:
        """A reason is one line, whatever an error said."""
        view = Watched(Health(ready=("no\nready\x1b[2J",)))

        assert ask("/readyz", view).body == b"not ready: no\\nready\\x1b[2J\n"


class TestStatus:
    """What the page shows, for programs."""

    def test_all_of_it(self) -> None:
        """Health, and all that the store says."""
        view = Watched(Health(degraded=("glue is paused",)))

        answer = ask("/status.json", view)

        assert answer.content_type == "application/json"
        assert json.loads(answer.body) == {
            "version": "1.2.3",
            "live": True,
            "ready": True,
            "reasons": [],
            "degraded": ["glue is paused"],
            **OVERVIEW,
        }

    def test_not_ready(self) -> None:
        """Why, and what was seen last."""
        view = Watched(Health(live=("a",), ready=("b",)))

        shown = json.loads(ask("/status.json", view).body)

        assert (shown["live"], shown["ready"], shown["reasons"]) == (False, False, ["a", "b"])
        assert shown["executions"]["built"] == 12_345

    def test_nothing_seen_yet(self) -> None:
        """There are no numbers, rather than wrong ones."""
        assert "executions" not in json.loads(ask("/status.json", Watched(overview={})).body)


def test_metrics() -> None:
    """What the view counts, as Prometheus reads it."""
    view = Watched()
    view.metrics.receives.inc()

    answer = ask("/metrics", view)

    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\nflytelineage_receives_total 1.0\n" in answer.body


@pytest.mark.parametrize("path", ["/", "/status.json", "/readyz", "/livez"])
def test_secrets_are_hidden(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library put one into an error, and JSON and HTML spell it differently."""
    monkeypatch.setattr(options, "_revealed", set())
    SecretText(CANARY).reveal()
    said = f"postgresql://me:{CANARY}@db says no to {CANARY}"
    overview = {
        **OVERVIEW,
        "quarantine": {said: 1},
        "problems": [{"execution": said, "reasons": [said]}],
    }

    body = ask(path, Watched(Health(live=(said,), degraded=(said,)), overview)).body.decode()

    assert "4f81d2" not in body
    assert MASK in body
