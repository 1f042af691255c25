"""A lake for the tests of GlueCatalogTarget: an empty one for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.testing.aws import LocalAws, local_aws
from tests.targets.lake import Lake, Make, guard, with_own_events


@pytest.fixture(scope="module")
def lake_aws() -> Iterator[LocalAws]:
    with local_aws() as aws:
        yield aws


@pytest.fixture(scope="module")
def shared_lake(lake_aws: LocalAws) -> Iterator[Lake]:
    lake = Lake(lake_aws)
    yield lake
    lake.close()


@pytest.fixture
def lake(shared_lake: Lake) -> Lake:
    """With two empty buckets, and without tables."""
    shared_lake.begin()
    return shared_lake


@pytest.fixture(scope="module")
def boto(lake_aws: LocalAws) -> Iterator[GlueCatalogTarget]:
    """A target for its clients alone: they take long to make."""
    target = GlueCatalogTarget(max_attempts=1)
    yield target
    for client in (target.client, target.s3):
        client.close()


@pytest.fixture
def make(lake: Lake, boto: GlueCatalogTarget) -> Make:
    """Makes targets that copy, unless told otherwise."""

    def make(**options: Any) -> GlueCatalogTarget:
        target = GlueCatalogTarget(**{"mode": "copy", "bucket_path": "s3://lake/flyte", **options})
        vars(target)["client"] = with_own_events(boto.client)
        if target.mode == "copy":
            vars(target)["s3"] = with_own_events(boto.s3)
        guard(target, lake)
        return target

    return make


@pytest.fixture
def target(make: Make) -> GlueCatalogTarget:
    return make()
