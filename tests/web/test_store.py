"""What a store says is what the page and the gauges take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flytelineage.health import Health
from flytelineage.metrics import Metrics
from flytelineage.store import Refused, Store
from flytelineage.targets import Rejection
from flytelineage.web.page import page
from tests.store.conftest import PIPELINE, Clock, Story


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in which something is delivered, refused, put off, missing and in quarantine."""
    clock = Clock()
    store = Store(path=str(tmp_path / "store.sqlite3"), clock=clock)
    store.open(exclusive=False)
    story = Story(store, clock)
    story.build("told", pipeline=PIPELINE, targets=("datahub", "glue"))
    rejection = Rejection(entity="s3:lake/x", aspect="schema", reason="too long")
    store.settle(story.claim("datahub"), [], [rejection])
    store.settle_later(story.claim("glue"), 60, "TargetUnavailable: expired")
    store.note_pause("glue", "expired", 60)
    story.build("unnamed", targets=())
    store.record([], [Refused(body="{", reason="It is no JSON")])
    yield store
    store.close()


def test_page(store: Store) -> None:
    """Each part of it finds what it shows."""
    html = page("1", Health(), store.status())

    for told in (
        "<td>built</td><td>2</td>",
        "<td>glue</td><td>0</td>",
        "<td>paused until 2026-05-01 12:01 UTC: expired</td>",
        "<td>TargetUnavailable: expired</td>",
        "<td>s3:lake/x (schema): too long</td>",
        "<td>shop/production/unnamed</td><td>no name was found",
        "<td>1</td><td>It is no JSON</td>",
    ):
        assert told in html


def test_gauges(store: Store) -> None:
    """Each of them finds what it counts."""
    metrics = Metrics(targets=["datahub", "glue"])

    metrics.set_counts(store.counts(), store.size())

    text = metrics.render()[0].decode()
    for told in (
        'executions{state="built"} 2.0',
        'executions_lacking{what="unnamed"} 1.0',
        'deliveries{state="delivered",target="datahub"} 1.0',
        'deliveries{state="later",target="glue"} 1.0',
        "quarantine_messages 1.0",
        "quarantine_bytes 1.0",
    ):
        assert f"\nflytelineage_{told}\n" in text
