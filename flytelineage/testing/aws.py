"""AWS on the loopback: SNS, SQS, S3 and Glue by moto, for tests and the demo.

Everything that boto3 makes in this process or its children goes there as long as the
server runs: with made-up credentials, whatever the user's own configuration says.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A server that is running.

    Attributes:
        endpoint_url: Where it listens.
        environment: What boto3 needs to find it; already set in this process.
    """

    endpoint_url: str
    environment: Mapping[str, str]

    def client(self, service: Any) -> Any:
        """A boto3 client of this server, e.g. for `sqs`."""
        import boto3

        return boto3.session.Session().client(service)

    def reset(self) -> None:
        """Forget all queues, buckets, databases and whatever else was made."""
        connection = HTTPConnection(self.endpoint_url.removeprefix("http://"), timeout=10)
        try:
            connection.request("POST", "/moto-api/reset")
            connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def local_aws(
    region: str = REGION, *, through: Callable[[Any], Any] = lambda app: app
) -> Iterator[LocalAws]:
    """Run an AWS on a free port; the environment is restored at the end.

    Args:
        region: Where clients believe to be.
        through: Puts something before the WSGI application, e.g. to let requests fail.
    """
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    # It writes a line to the terminal for each request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = through(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(
        target=server.serve_forever, args=(0.05,), name="local-aws", daemon=True
    )
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    aws = LocalAws(url, _environment(url, region))
    try:
        with _environment_set(aws.environment):
            aws.reset()
            yield aws
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _environment(endpoint_url: str, region: str) -> dict[str, str]:
    proxyless = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1")))
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": proxyless,
        "no_proxy": proxyless,
    }


@contextmanager
def _environment_set(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    # Any of them may lead boto3 to somebody's real account, or past the server.
    for name in [name for name in before if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in {*before, *variables}:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]
