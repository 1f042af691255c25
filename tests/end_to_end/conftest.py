"""What all tests with real processes share: AWS, the messages, and how a calm run ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flytelineage.testing.aws import LocalAws, local_aws
from flytelineage.testing.simulator import S3Storage
from tests.end_to_end.corpus import Corpus, corpus
from tests.end_to_end.deployment import Deployment


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
