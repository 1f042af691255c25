"""From the making of a target to its end: what it touches, and when."""

from __future__ import annotations

import json
import subprocess
import sys

from flytelineage.entities import Lineage
from tests.targets.contract.entities import OTHER_EXECUTION, lineage, short
from tests.targets.contract.place import Place, named


def test_making_one_touches_nothing(place: Place) -> None:
    """`--help` and `check` make targets."""
    target = place.open()

    target.close()

    assert place.steps.taken == 0
    assert place.told() == {}


OPTIONS = {
    "file:FileTarget": {"path": "lineage.jsonl"},
    "datahub:DataHubTarget": {"server": "http://127.0.0.1:9", "token": "env:NOT_SET"},
    "glue:GlueCatalogTarget": {"mode": "copy", "bucket_path": "s3://lake/flyte"},
    "openlineage:OpenLineageTarget": {"transport": {"type": "http", "url": "http://127.0.0.1:9"}},
}
CLIENTS = {"boto3", "botocore", "datahub", "openlineage", "requests"}

MAKES_TARGETS = """
import importlib, json, socket, sys

socket.socket = None
for name, options in json.loads(sys.argv[1]).items():
    module, kind = name.split(":")
    getattr(importlib.import_module("flytelineage.targets." + module), kind)(**options).close()
print(json.dumps(sorted(sys.modules)))
"""


def test_making_one_imports_no_client() -> None:
    """They take seconds, and somebody who never uses a target may not have its client."""
    done = subprocess.run(
        [sys.executable, "-c", MAKES_TARGETS, json.dumps(OPTIONS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stderr == ""
    assert CLIENTS.isdisjoint(json.loads(done.stdout))


def test_check_leaves_no_trace(place: Place) -> None:
    """What `check --connect` does can be done in production, at any time."""
    place.open().check()
    nothing, records = place.told(), place.records()
    target = place.open()
    target.emit(short())
    before = place.told()

    target.check()

    assert (nothing, records) == ({}, set())
    assert place.told() == before


def test_closing(place: Place) -> None:
    """A target may be closed at any time, and comes back when it is used."""
    calm = place.calm(short())
    target = place.open()
    target.close()
    first = target.emit(short())
    target.close()
    target.close()

    again = target.emit(short())

    assert (first, again) == ([], [])
    assert place.told() == calm


class TestCopies:
    """Under which names the last emission made datasets known in this catalogue."""

    def test_nothing_was_told(self, place: Place) -> None:
        """There are none before, and none of nothing."""
        target = place.open()
        before = target.copies()
        target.emit(short())

        target.emit(Lineage(execution=OTHER_EXECUTION))

        assert (before, target.copies()) == ({}, {})

    def test_what_was_told_again(self, place: Place) -> None:
        """They are the same, though nothing had to change."""
        target = place.open()
        target.emit(short())
        first = target.copies()

        target.emit(short())

        assert target.copies() == first
        assert first.keys() <= {dataset.id for dataset in short().datasets}

    def test_what_was_refused(self, place: Place) -> None:
        """It is known under no name."""
        whole = place.open()
        whole.emit(lineage())
        accepted = dict(whole.copies())
        whole.close()
        place.clear()
        place.refuse()
        target = place.open()

        rejections = target.emit(lineage())

        refused = {id for id in accepted if f"dataset:{id}" in named(rejections)}
        assert dict(target.copies()) == {
            id: copy for id, copy in accepted.items() if id not in refused
        }
