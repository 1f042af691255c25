"""The AWS on the loopback: found by boto3, forgetful on demand, silent."""

from __future__ import annotations

import os
import subprocess
import sys

import boto3
import pytest

from flytelineage.testing.aws import LocalAws, local_aws


def buckets(aws: LocalAws) -> list[str]:
    client = aws.client("s3")
    try:
        return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    finally:
        client.close()


def test_clients_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that know nothing of it go there, even where a user's profile is set."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.com")

    with local_aws() as aws:
        client = boto3.session.Session().client("s3")
        client.create_bucket(Bucket="flyte")
        client.close()

        assert buckets(aws) == ["flyte"]
        assert os.environ["AWS_ENDPOINT_URL"] == aws.environment["AWS_ENDPOINT_URL"]


def test_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set is set again, what was not is gone."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    before = dict(os.environ)

    with local_aws(region="us-west-2"):
        assert os.environ["AWS_REGION"] == "us-west-2"

    assert dict(os.environ) == before


def test_reset() -> None:
    """Afterwards there is nothing; a second server starts with nothing too."""
    with local_aws() as aws:
        client = aws.client("s3")
        client.create_bucket(Bucket="flyte")
        aws.reset()
        after_reset = buckets(aws)
        client.create_bucket(Bucket="flyte")
        client.close()
    with local_aws() as aws:
        after_restart = buckets(aws)

    assert (after_reset, after_restart) == ([], [])


def test_silence() -> None:
    """Nothing of it shows on a terminal, neither at work nor at the end."""
    script = (
        "from flytelineage.testing.aws import local_aws\n"
        "with local_aws() as aws:\n"
        "    aws.client('sqs').create_queue(QueueName='events')\n"
    )

    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
