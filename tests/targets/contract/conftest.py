"""Every target and every mode, each as a place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import pytest

from flytelineage import options
from tests.targets.contract import datahub, files, glue, openlineage, third_party
from tests.targets.contract.place import Place, Stage

Build = Callable[[Stage], AbstractContextManager[Place]]


def local(kind: Callable[[Stage], Place]) -> Build:
    return lambda stage: nullcontext(kind(stage))


_COPY = {"mode": "copy", "bucket_path": f"s3://{glue.LAKE}/{glue.BUCKET}", "copy_concurrency": 1}
_PARTITIONS = {"layout": "per_execution"}

PLACES: Mapping[str, Build] = {
    "file": local(files.Lines),
    "datahub": datahub.served,
    "datahub-upserts": partial(datahub.served, patches=False),
    "datahub-async": partial(datahub.served, emit_mode="async"),
    "datahub-file": local(files.Proposals),
    "datahub-directory": local(files.ProposalsByExecution),
    "glue": glue.served,
    "glue-partitions": partial(glue.served, **_PARTITIONS),
    "glue-copies": partial(glue.served, **_COPY),
    "glue-copies-partitions": partial(glue.served, **_COPY, **_PARTITIONS),
    "openlineage": openlineage.served,
    "openlineage-file": local(files.Events),
    "third-party": local(third_party.Memory),
}


@pytest.fixture(scope="package")
def aws() -> Iterator[glue.Aws]:
    with glue.running() as aws:
        yield aws


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """The catalogue that the test's parameter names; every process that tells it ends."""
    # What one test's secret is must not be masked in the next.
    monkeypatch.setattr(options, "_revealed", set())
    name: str = request.param
    stage = Stage(name, tmp_path, monkeypatch, lambda: request.getfixturevalue("aws"))
    with PLACES[name](stage) as place:
        yield place
        place.steps.at(0)
        place.close()
