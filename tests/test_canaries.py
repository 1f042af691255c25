"""A canary in every place where a secret can be given is found nowhere else.

Everybody who is spoken to repeats what was sent, as a debugging proxy would: so whatever
the program shows, keeps or serves of their answers holds the secrets, unless it hides them.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url

from flytelineage.store.database import parse_url
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.sqs import SqsDouble
from tests.conftest import Run
from tests.test_hostile import messages, stream

CANARIES = {
    "datahub": "canary-datahub-5f0c1e",
    "header": "canary-header-77ab02",
    "openlineage": "canary-openlineage-b81f6d",
    "password": "canary-password-09e4c7",
    "flyteadmin": "canary-flyteadmin-3d2e90",
    "store": "canary-store-c4a815",
    "key": "canary-aws-key-e6b7f1a2",
    "session": "canary-aws-session-2c9d50",
}


class Parrot(ThreadingHTTPServer):
    """A server that refuses everything, and says what it was sent.

    Attributes:
        asked: How often, by the first word of the path.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Parroting)
        self.asked: Counter[str] = Counter()
        self.heard = threading.Condition()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def wait_for(self, *paths: str) -> bool:
        """Wait until somebody asked for each of them."""
        with self.heard:
            return self.heard.wait_for(lambda: set(paths) <= set(self.asked), timeout=30)


class _Parroting(BaseHTTPRequestHandler):
    server: Parrot

    def answer(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))[:2000]
        said = json.dumps({"message": f"{self.path} {dict(self.headers)} {sent!r}"}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        with self.server.heard:
            self.server.asked[self.path.split("/")[1]] += 1
            self.server.heard.notify_all()

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def parrot() -> Iterator[Parrot]:
    server = Parrot()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Place(NamedTuple):
    """Where the program runs, and the options it runs with.

    Attributes:
        told: A file for `replay`.
        store: The URL of a PostgreSQL; its password is a canary.
    """

    folder: Path
    parrot: Parrot
    sqs: SqsDouble
    told: str
    store: str


Give = Callable[[str], str]


@pytest.fixture(params=["value", "env", "file"])
def give(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """Write a secret in one of the ways in which it can be given."""

    def give(name: str, secret: str = "") -> str:
        secret = secret or CANARIES[name]
        if request.param == "env":
            monkeypatch.setenv(f"GIVEN_{name.upper()}", secret)
            return f"env:GIVEN_{name.upper()}"
        if request.param == "file":
            file = tmp_path / "secrets" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{secret}\n")
            return f"file:{file}"
        return secret

    return give


@pytest.fixture
def place(
    run: Run, tmp_path: Path, parrot: Parrot, postgres_url: str, give: Give,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:  # fmt: skip
    """A configuration with a secret wherever there can be one."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    known = stream(tmp_path / "bucket", "app.etl", "e1")
    told = messages(tmp_path / "told.jsonl", known)
    url = make_url(postgres_url).set(password=CANARIES["store"])
    store = url.render_as_string(hide_password=False)
    with (
        SqsDouble() as sqs,
        FlyteAdminDouble([known], client_secret=CANARIES["flyteadmin"]) as admin,
    ):
        for name, value in {**sqs.environment, **_aws(parrot, sqs)}.items():
            monkeypatch.setenv(name, value)
        config = _config(parrot, admin, give, store, folder.parent / "bucket")
        (folder / "flytelineage_config.py").write_text(config)
        yield Place(folder, parrot, sqs, told, store)


def _aws(parrot: Parrot, sqs: SqsDouble) -> Mapping[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://{parrot.host}/aws",
        "AWS_ENDPOINT_URL_SQS": sqs.url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": CANARIES["key"],
        "AWS_SESSION_TOKEN": CANARIES["session"],
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _config(parrot: Parrot, admin: FlyteAdminDouble, give: Give, store: str, bucket: Path) -> str:
    transport = {
        "type": "http",
        "url": f"http://me:{CANARIES['password']}@{parrot.host}",
        "endpoint": "openlineage",
        "auth": {"type": "api_key", "apiKey": give("openlineage")},
        "custom_headers": {"X-Team": give("header")},
    }
    return f"""
c.FlyteLineage.sqs_queue = "events"
c.FlyteLineage.targets = ["datahub", "openlineage", "glue", "file"]
c.FlyteLineage.http_port = 0
c.Store.min_settle = 0
c.ObjectReader.allow = ["file://{bucket}/*", "s3://*"]
c.DataHubTarget.server = "http://{parrot.host}/datahub"
c.DataHubTarget.token = {give("datahub")!r}
c.OpenLineageTarget.transport = {transport!r}
c.FlyteAdmin.endpoint = "dns:///{admin.endpoint.removeprefix("dns:///")}"
c.FlyteAdmin.insecure = True
c.FlyteAdmin.client_id = "flytelineage"
c.FlyteAdmin.client_secret = {give("flyteadmin")!r}
c.Store.url = {give("store", store)!r}
"""


COMMANDS = [
    ["check"],
    ["check", "--connect"],
    ["replay", "TOLD", "--live"],
    ["status"],
    ["status", "--json"],
    ["retry", "--dry-run"],
    ["explain", "flytesnacks/development/e1"],
    ["explain", "s3://bucket/key?X-Amz-Security-Token=canary-aws-session-2c9d50"],
    ["export", "flytesnacks/development/e1"],
    ["quarantine"],
    ["iam"],
    ["backfill", "--dry-run"],
    ["--show-config"],
    ["--show-config-json"],
    ["--help"],
    ["--help-all"],
    ["--generate-config", "--config=-"],
    ["nonsense"],
    ["replay", "TOLD", "--DataHubTarget.nothing=1"],
    ["check", "--connect", "--Store.url=postgresql://me:canary-store-c4a815@127.0.0.1:1/x"],
]  # fmt: skip


@pytest.mark.processes
def test_no_command_shows_a_secret(run: Run, place: Place) -> None:
    """Neither in what it prints nor in what it logs, tracebacks included; nor does a file keep it."""
    shown = {}
    for words in COMMANDS:
        given = [place.told if word == "TOLD" else word for word in words]
        shown[" ".join(words)] = "".join(map(str, run(*given, "--debug")))

    assert {"datahub", "openlineage", "aws"} <= set(place.parrot.asked)
    assert "********" in shown["--show-config"]
    assert found_in(shown) == []
    assert found_in(kept(place)) == []


@pytest.mark.processes
@pytest.mark.parametrize("give", ["value"], indirect=True)
def test_the_daemon_shows_no_secret(run: Run, place: Place) -> None:
    """Neither in its log nor on its pages, while every target refuses it."""
    place.sqs.create_queue("events").send(_bodies(place))
    pages: dict[str, str] = {}
    port = free_port()

    def look() -> None:
        try:
            if place.parrot.wait_for("datahub", "openlineage"):
                for path in ("/", "/status.json", "/metrics", "/livez", "/readyz"):
                    pages[path] = page(f"http://127.0.0.1:{port}{path}")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    looking = threading.Thread(target=look)
    looking.start()
    ended = run("--debug", f"--FlyteLineage.http_port={port}")
    looking.join()

    assert ended.code == 0
    assert len(pages) == 5
    assert found_in({"output": str(ended), **pages}) == []
    assert found_in(kept(place)) == []


def _bodies(place: Place) -> list[str]:
    return [json.loads(line) for line in Path(place.told).read_text().splitlines()]


def free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_port


def page(url: str) -> str:
    try:
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except HTTPError as exc:
        with exc:
            return exc.read().decode()


def kept(place: Place) -> dict[str, str]:
    """All that lies in files and in the store by now, the configuration apart."""
    files = {
        str(path): path.read_bytes().decode(errors="replace")
        for path in place.folder.rglob("*")
        if path.is_file() and path.name != "flytelineage_config.py"
    }
    engine = create_engine(parse_url(place.store))
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        rows = {table: list(connection.execute(text(f"SELECT * FROM {table}"))) for table in tables}
    engine.dispose()
    assert rows["delivery"]
    return {**files, **{table: str(found) for table, found in rows.items()}}


def found_in(texts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Where a canary is, which one, and what stands around it."""
    return [
        (where, name, shown[max(0, shown.index(secret) - 300) : shown.index(secret) + 60])
        for where, shown in texts.items()
        for name, secret in CANARIES.items()
        if secret in shown
    ]
