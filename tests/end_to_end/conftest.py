"""What all tests with real processes share: AWS, the messages, and how a calm run ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flytelineage.testing import crash
from flytelineage.testing.aws import LocalAws, local_aws
from flytelineage.testing.simulator import S3Storage
from tests.end_to_end.corpus import Corpus, corpus
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.points import Point, pairs, some_long
from tests.end_to_end.worker import INNER, WRITTEN


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with a `seed` for each round, those with a `point` or a `pair` for each.

    Unless places are given some are left to `make faults`: all of them take minutes.
    """
    first = metafunc.config.getoption("--fault-seed")
    seeds = range(first, first + metafunc.config.getoption("--fault-rounds"))
    given = [one for one in metafunc.config.getoption("--fault-points").split(",") if one]
    if "pair" in metafunc.fixturenames:
        shared = given or [*crash.STEPS, *WRITTEN]
        found = [(seed, *pair) for seed in seeds for pair in pairs(shared, seed)]
        ids = [f"{seed}-{one}-{another}" for seed, one, another in found]
        kept = range(0, len(found), 1 if given else 4)
        metafunc.parametrize("pair", some_long(found, kept=kept), ids=ids)
    if "point" in metafunc.fixturenames:
        points = [Point(seed, one) for seed in seeds for one in given or [*crash.STEPS, *INNER]]
        kept = range(0, len(points), 1 if given else 4)
        metafunc.parametrize("point", some_long(points, kept=kept), ids=map(str, points))
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds)


@pytest.fixture(scope="package")
def aws() -> Iterator[LocalAws]:
    with local_aws() as running:
        yield running


@pytest.fixture(scope="package")
def messages(aws: LocalAws) -> Corpus:
    return corpus(S3Storage(aws.client("s3")))


@pytest.fixture(scope="package")
def calm_state(
    aws: LocalAws, messages: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the catalogues hold after a run in which nothing happened."""
    folder = tmp_path_factory.mktemp("calm")
    with Deployment(folder, f"sqlite:///{folder}/store.sqlite3", aws.client("glue")) as calm:
        daemon = calm.start()
        calm.queue.send(messages.calm)
        calm.drain()
        assert calm.end(daemon) == 0
        return calm.told()


@pytest.fixture
def on_sqlite(aws: LocalAws, tmp_path: Path) -> Iterator[Deployment]:
    url = f"sqlite:///{tmp_path}/store.sqlite3"
    with Deployment(tmp_path, url, aws.client("glue")) as deployment:
        yield deployment


@pytest.fixture
def on_postgresql(aws: LocalAws, tmp_path: Path, postgres_url: str) -> Iterator[Deployment]:
    with Deployment(tmp_path, postgres_url, aws.client("glue")) as deployment:
        yield deployment
