"""A queue on loopback that boto3 finds by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flytelineage.testing.sqs import Queue, SqsDouble


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SqsDouble]:
    """The double, with an environment that leads there and to no account of anyone's."""
    with SqsDouble() as double:
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_SQS"):
            monkeypatch.delenv(name, raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        yield double


@pytest.fixture
def queue(sqs: SqsDouble) -> Queue:
    return sqs.create_queue("events")
