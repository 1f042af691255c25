"""OpenLineageTarget: its options, and delivery by the transports of OpenLineage's client."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.client import Event
from openlineage.client.transport import Config as TransportConfig
from openlineage.client.transport import Transport, get_default_factory
from traitlets import TraitError
from traitlets.config import Config

from flytelineage import options
from flytelineage.entities import Dataset, DatasetId, Lineage, PipelineId, Run, TaskId
from flytelineage.errors import ConfigError, TargetError, TargetUnavailable, TransientTargetError
from flytelineage.options import MASK
from flytelineage.targets.openlineage import OpenLineageTarget, settings
from flytelineage.testing.openlineage import Fault, OpenLineageDouble
from tests.conftest import Run as RunProgram
from tests.factories import EXECUTION, NOW

CANARY = "canary-4f81d2"
PIPELINE = PipelineId(project="shop", domain="production", name="app.daily")
ORDERS = DatasetId(platform="s3", name="lake/orders")

Opened = Callable[..., OpenLineageTarget]


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a directory configures OpenLineage."""
    import os

    for name in [name for name in os.environ if name.startswith("OPENLINEAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(options, "_revealed", set())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Makes targets, and closes them in the end."""
    made: list[OpenLineageTarget] = []

    def opened(transport: Any, **traits: Any) -> OpenLineageTarget:
        made.append(OpenLineageTarget(transport=transport, **traits))
        return made[-1]

    yield opened
    for target in made:
        target.close()


@pytest.fixture
def backend() -> Iterator[OpenLineageDouble]:
    with OpenLineageDouble() as double:
        yield double


@pytest.fixture
def target(opened: Opened, backend: OpenLineageDouble) -> OpenLineageTarget:
    """A target that posts to the backend."""
    return opened({"type": "http", "url": backend.url})


def lineage(*names: str) -> Lineage:
    """An execution with an attempt at each of these tasks."""
    times = {"phase": "SUCCEEDED", "started_at": NOW, "ended_at": NOW}
    attempts = [
        Run(
            execution=EXECUTION,
            node=name,
            attempt=0,
            task=TaskId(pipeline=PIPELINE, name=name),
            **times,
        )
        for name in names
    ]
    whole = Run(execution=EXECUTION, pipeline=PIPELINE, **times)
    return Lineage(execution=EXECUTION, phase="SUCCEEDED", started_at=NOW, runs=(whole, *attempts))


def summary(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["eventType"], event["job"]["name"]) for event in events]


WHOLE = [("START", "app.daily"), ("COMPLETE", "app.daily")]


# ------------------------------------------------------------------------------- HTTP


class TestHttp:
    """Each event by itself, each failure by its class."""

    def test_events_arrive(self, target: OpenLineageTarget, backend: OpenLineageDouble) -> None:
        """In order, over one connection."""
        refused = target.emit(lineage("a"))

        assert refused == []
        assert summary(backend.events) == [
            ("START", "app.daily"),
            ("START", "app.daily.a"),
            ("COMPLETE", "app.daily.a"),
            ("COMPLETE", "app.daily"),
        ]
        assert backend.connections == 1

    def test_a_second_delivery(self, target: OpenLineageTarget, backend: OpenLineageDouble) -> None:
        """The same events."""
        target.emit(lineage("a"))
        first = list(backend.events)

        target.emit(lineage("a"))

        assert backend.events == first * 2

    def test_what_the_client_adds(
        self, target: OpenLineageTarget, backend: OpenLineageDouble
    ) -> None:
        """Nothing: an event is what flytelineage says."""
        target.emit(lineage())

        assert "tags" not in backend.events[0]["run"]["facets"]

    def test_a_refused_event(self, target: OpenLineageTarget, backend: OpenLineageDouble) -> None:
        """Its entity is rejected once, with the server's words, and the others are told."""
        backend.refuse("app.daily.a")

        (refused,) = target.emit(lineage("a", "b"))

        assert refused.entity == f"run:{EXECUTION}/a/0"
        assert refused.reason.startswith("400: ")
        assert "refused: app.daily.a" in refused.reason
        assert [name for _, name in summary(backend.events)] == [
            "app.daily",
            "app.daily.b",
            "app.daily.b",
            "app.daily",
        ]

    def test_a_run_of_nothing(self, target: OpenLineageTarget) -> None:
        """It is rejected here: no event could say what it is a run of."""
        nameless = Run(execution=EXECUTION, phase="SUCCEEDED", started_at=NOW)

        (refused,) = target.emit([nameless])

        assert refused.entity == nameless.urn

    def test_an_event_that_is_too_large(self, opened: Opened) -> None:
        """It is rejected; trying again would not help."""
        with OpenLineageDouble(max_bytes=10) as backend:
            target = opened({"type": "http", "url": backend.url})

            (refused,) = target.emit([Dataset.of(ORDERS)])

        assert refused.entity == "dataset:s3:lake/orders"
        assert refused.reason.startswith("413")

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault(500), TransientTargetError),
            (Fault(503), TransientTargetError),
            (Fault(429), TransientTargetError),
            (Fault(408), TransientTargetError),
            (Fault(drop=True), TransientTargetError),
            (Fault(401), TargetUnavailable),
            (Fault(403), TargetUnavailable),
            (Fault(404), TargetUnavailable),
            (Fault(405), TargetUnavailable),
            (Fault(302, location="http://127.0.0.1:9/login"), TargetUnavailable),
            (Fault(302), TargetUnavailable),
        ],
        ids=lambda value: str(getattr(value, "status", "")),
    )
    def test_failures(
        self,
        target: OpenLineageTarget,
        backend: OpenLineageDouble,
        fault: Fault,
        error: type[TargetError],
    ) -> None:
        """What may pass is tried again by the daemon, not here; the rest waits for somebody."""
        backend.script(fault)

        with pytest.raises(error) as raised:
            target.emit(lineage())

        assert len(backend.requests) == 1
        assert backend.url in str(raised.value)
        assert target.emit(lineage()) == []

    def test_when_to_come_back(self, target: OpenLineageTarget, backend: OpenLineageDouble) -> None:
        """As the server asks."""
        backend.script(Fault(429, retry_after="7"))

        with pytest.raises(TransientTargetError) as raised:
            target.emit(lineage())

        assert raised.value.retry_after == 7

    def test_a_date_to_come_back(
        self, target: OpenLineageTarget, backend: OpenLineageDouble
    ) -> None:
        """Left to the daemon's own patience."""
        backend.script(Fault(429, retry_after="Fri, 01 May 2026 12:00:00 GMT"))

        with pytest.raises(TransientTargetError) as raised:
            target.emit(lineage())

        assert raised.value.retry_after is None

    def test_silence(self, opened: Opened, backend: OpenLineageDouble) -> None:
        """A server that does not answer in time is tried again."""
        backend.script(Fault(hang=True))

        with pytest.raises(TransientTargetError, match="does not answer: ReadTimeout"):
            opened({"type": "http", "url": backend.url, "timeout": 0.05}).emit(lineage())

    def test_nobody_there(self, opened: Opened) -> None:
        """Nor one that is down."""
        with OpenLineageDouble() as backend:
            url = backend.url

        with pytest.raises(TransientTargetError, match=f"{url}.* does not answer"):
            opened({"type": "http", "url": url}).emit(lineage())

    def test_compressed(self, opened: Opened, backend: OpenLineageDouble) -> None:
        """The client's other options work as its documentation says."""
        opened({"type": "http", "url": backend.url, "compression": "gzip"}).emit(lineage())

        assert summary(backend.events) == WHOLE
        assert all(request.compressed for request in backend.requests)

    def test_in_the_background(self, opened: Opened, backend: OpenLineageDouble) -> None:
        """Nothing counts as told before it has arrived."""
        target = opened({"type": "async_http", "url": backend.url})

        target.emit(lineage())
        assert sorted(summary(backend.events)) == sorted(WHOLE)

        backend.script(Fault(500))
        with pytest.raises(TransientTargetError, match="did not take 1"):
            target.emit([Dataset.of(ORDERS)])


class TestCheck:
    """Reaches the backend and tells nothing."""

    def test_in_order(self, target: OpenLineageTarget, backend: OpenLineageDouble) -> None:
        """It is there."""
        target.check()

        assert backend.requests == []

    def test_nobody_there(self, opened: Opened) -> None:
        """One line that says where it looked."""
        with OpenLineageDouble() as backend:
            url = backend.url

        with pytest.raises(ConfigError, match=f"{url}.* does not answer"):
            opened({"type": "http", "url": url}).check()

    def test_no_key(self, opened: Opened) -> None:
        """It says which option to look at."""
        with OpenLineageDouble(token=CANARY) as backend:
            target = opened({"type": "http", "url": backend.url})

            with pytest.raises(ConfigError, match=r"401.*`auth` of OpenLineageTarget.transport"):
                target.check()

    def test_a_doubtful_address(
        self, opened: Opened, backend: OpenLineageDouble, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Some servers answer 404 to whatever is no event: that is only noted."""
        opened({"type": "http", "url": backend.url, "endpoint": "lineage"}).check()

        assert "/lineage answers 404" in caplog.text

    @pytest.mark.parametrize("path", [".", "missing/events.jsonl"])
    def test_a_file_that_cannot_be_written(self, opened: Opened, path: str) -> None:
        """A directory, or one that does not exist."""
        with pytest.raises(ConfigError, match="cannot be written"):
            opened({"type": "file", "log_file_path": path}).check()

    def test_a_file_that_can(self, opened: Opened, tmp_path: Path) -> None:
        """It is not made."""
        opened({"type": "file", "log_file_path": "events.jsonl"}).check()

        assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------- other transports


class TestFile:
    """A line for each event, added to what is there."""

    def test_lines(self, opened: Opened, tmp_path: Path) -> None:
        """Whole ones, of one delivery after the other."""
        target = opened({"type": "file", "log_file_path": "events.jsonl"})

        target.emit(lineage())
        target.emit(lineage())

        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        assert summary([json.loads(line) for line in lines]) == WHOLE * 2

    def test_durable(self, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Told is what is on the disk, the name of the file included."""
        synced: list[str] = []
        monkeypatch.setattr(
            "os.fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        )

        opened({"type": "file", "log_file_path": "events.jsonl"}).emit(lineage())

        assert synced == ["events.jsonl", tmp_path.name]

    def test_no_directory(self, opened: Opened) -> None:
        """Somebody has to make it."""
        target = opened({"type": "file", "log_file_path": "missing/events.jsonl"})

        with pytest.raises(TargetUnavailable, match=r"missing/events.jsonl cannot be written: No"):
            target.emit(lineage())

    def test_a_full_disk(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """That may pass."""
        target = opened({"type": "file", "log_file_path": "/dev/full"})

        with pytest.raises(TransientTargetError, match="No space left"):
            target.emit(lineage())

    @pytest.mark.parametrize(
        ("tail", "kept"),
        [
            ('{"eventTime": "2026-05-01T12:0', []),
            ('{"ev', []),
            ('{"eventTime": "x"}', ['{"eventTime": "x"}']),
            ("notes of somebody", ["notes of somebody"]),
        ],
    )
    def test_after_a_power_cut(
        self, opened: Opened, tmp_path: Path, tail: str, kept: list[str]
    ) -> None:
        """A part of a line of ours is taken away; everything else just ends its line."""
        file = tmp_path / "events.jsonl"
        file.write_text("first\n" + tail)

        opened({"type": "file", "log_file_path": "events.jsonl"}).emit(lineage())

        first, *others = file.read_text().splitlines()
        assert (first, others[: len(kept)]) == ("first", kept)
        assert all(json.loads(line)["producer"] for line in others[len(kept) :])

    def test_a_file_for_each_event(self, opened: Opened, tmp_path: Path) -> None:
        """Where the operator says so."""
        opened({"type": "file", "log_file_path": "event", "append": False}).emit(lineage())

        assert len(list(tmp_path.glob("event-*.json"))) == 2


class TestComposite:
    """Each transport gets every event."""

    def test_all(self, opened: Opened, backend: OpenLineageDouble, tmp_path: Path) -> None:
        """With our defaults for each."""
        target = opened(
            {
                "type": "composite",
                "transports": {
                    "web": {"type": "http", "url": backend.url},
                    "disk": {"type": "file", "log_file_path": "events.jsonl"},
                },
            }
        )

        target.emit(lineage())

        assert summary(backend.events) == WHOLE
        assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2

    def test_one_refuses(self, opened: Opened, backend: OpenLineageDouble, tmp_path: Path) -> None:
        """The others have the event, and the refusal is told."""
        backend.refuse("app.daily.a")
        parts = [
            {"type": "http", "url": backend.url},
            {"type": "file", "log_file_path": "events.jsonl"},
        ]

        refused = opened({"type": "composite", "transports": parts}).emit(lineage("a"))

        assert [each.entity for each in refused] == [f"run:{EXECUTION}/a/0"]
        assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 4

    def test_one_is_down(self, opened: Opened, backend: OpenLineageDouble) -> None:
        """Then the event is not told: the client alone would only log it."""
        parts = [
            {"type": "http", "url": backend.url},
            {"type": "file", "log_file_path": "missing/events.jsonl"},
        ]

        with pytest.raises(TargetUnavailable, match=r"missing/events\.jsonl"):
            opened({"type": "composite", "transports": parts}).emit(lineage())

    def test_as_the_operator_wants(self, opened: Opened, backend: OpenLineageDouble) -> None:
        """Whoever asks for it goes on after a failure."""
        parts = [
            {"type": "file", "log_file_path": "missing/events.jsonl"},
            {"type": "http", "url": backend.url},
        ]
        wish = {"type": "composite", "transports": parts, "continue_on_failure": True}

        assert opened(wish).emit(lineage()) == []

        assert summary(backend.events) == WHOLE

    def test_one_inside_another(self, opened: Opened) -> None:
        """A failure keeps its class however deep it happened."""
        inner = {"type": "file", "log_file_path": "missing/events.jsonl"}
        middle = {"type": "composite", "transports": [inner]}

        with pytest.raises(TargetUnavailable, match="missing"):
            opened({"type": "composite", "transports": [middle]}).emit(lineage())


class Broken(Transport):
    """Somebody's own, which fails in its own way."""

    kind = "broken"
    config_class = TransportConfig

    def __init__(self, config: TransportConfig) -> None:
        pass

    def emit(self, event: Event) -> None:
        raise ValueError(f"no, {CANARY}")


class TestOthers:
    """Whatever else the client can do."""

    def test_console(self, opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
        """Events are in the log, whatever the level of other libraries is."""
        opened({"type": "console"}).emit(lineage())

        found = [r for r in caplog.records if r.name.endswith("transport.console")]
        assert summary([json.loads(record.message) for record in found]) == WHOLE

    def test_noop(self, opened: Opened) -> None:
        """Nothing happens."""
        target = opened({"type": "noop"})

        assert target.emit(lineage()) == []
        target.check()

    def test_datadog(self, opened: Opened, backend: OpenLineageDouble) -> None:
        """It is HTTP below, so that a refused event is one, and not tried again here."""
        backend.refuse("app.daily.a", status=500)
        target = opened({"type": "datadog", "site": backend.url, "apiKey": CANARY})

        with pytest.raises(TransientTargetError, match="answers 500"):
            target.emit(lineage("a"))

        assert summary(backend.events) == [("START", "app.daily")]

    def test_transform(self, opened: Opened, tmp_path: Path) -> None:
        """What is inside of it has our defaults."""
        inner = {"type": "file", "log_file_path": "events.jsonl"}
        names = "openlineage.client.transport.transform.transformers"
        target = opened(
            {
                "type": "transform",
                "transport": inner,
                "transformer_class": f"{names}.job_namespace_replace_transformer"
                ".JobNamespaceReplaceTransformer",
                "transformer_properties": {"new_job_namespace": "elsewhere"},
            }
        )

        target.emit(lineage())

        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        assert [json.loads(line)["job"]["namespace"] for line in lines] == ["elsewhere"] * 2

    def test_of_somebody_else(self, opened: Opened) -> None:
        """By its dotted path; what it raises is tried again."""
        target = opened({"type": f"{__name__}.Broken"})

        with pytest.raises(TransientTargetError, match=r"transport broken.*ValueError: no"):
            target.emit(lineage())

    @pytest.mark.parametrize(
        ("transport", "problem"),
        [
            ({"type": "no.such.Transport"}, "cannot be made: ImportError"),
            ({"type": "http"}, "cannot be made: RuntimeError: `url`"),
            ({"type": "http", "url": "localhost"}, "cannot be made: ValueError"),
            ({"type": "composite", "transports": []}, "cannot be made: ValueError"),
        ],
    )
    def test_that_cannot_be(self, opened: Opened, transport: Any, problem: str) -> None:
        """One line says what is wrong."""
        with pytest.raises(ConfigError, match=problem):
            opened(transport).check()


# ------------------------------------------------------------------------ configuration


class TestEnvironment:
    """What others configured for OpenLineage counts only where nothing is said here."""

    def test_left_alone(
        self,
        opened: Opened,
        backend: OpenLineageDouble,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Neither tags nor filters nor another address leak in."""
        monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("OPENLINEAGE__TAGS", '{"run": {"team": "web"}}')
        (tmp_path / "openlineage.yml").write_text("filters: [{type: regex, regex: .*}]")

        opened({"type": "http", "url": backend.url}).emit(lineage())

        assert summary(backend.events) == WHOLE
        assert "tags" not in backend.events[0]["run"]["facets"]

    def test_switched_off(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """Told to nobody must not count as told."""
        monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")

        with pytest.raises(ConfigError, match="OPENLINEAGE_DISABLED"):
            opened({"type": "http", "url": "http://localhost"}).emit(lineage())

    def test_taken(
        self, backend: OpenLineageDouble, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """All of it, where there is no transport; and the log says so."""
        text = f"transport: {{type: http, url: '{backend.url}'}}\ntags: {{run: {{team: web}}}}"
        (tmp_path / "openlineage.yml").write_text(text)
        caplog.set_level(logging.INFO, "flytelineage")
        target = OpenLineageTarget(log=logging.getLogger("flytelineage.test"))

        target.emit(lineage())
        target.close()

        tags = backend.events[0]["run"]["facets"]["tags"]["tags"]
        assert {"key": "team", "source": "USER", "value": "web"} in tags
        assert "openlineage.yml" in caplog.text
        assert "by http" in caplog.text

    def test_nothing_at_all(self) -> None:
        """An error at once, that says what to type."""
        with pytest.raises(ConfigError, match=r"OpenLineageTarget.transport = \{"):
            OpenLineageTarget()

    def test_no_transport_anywhere(self, tmp_path: Path) -> None:
        """A file that says nothing of one does not make the client print events."""
        (tmp_path / "openlineage.yml").write_text("tags: {run: {team: web}}")

        with pytest.raises(ConfigError, match="needs a transport"):
            OpenLineageTarget().check()


class TestSecrets:
    """Keys and passwords of a transport show nowhere."""

    TRANSPORT = {
        "type": "http",
        "url": "http://localhost:5000",
        "auth": {"type": "api_key", "api_key": CANARY},
        "custom_headers": {"X-Key": CANARY},
        "timeout": 7,
    }

    def test_used(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are read at each emission: a new key needs no restart."""
        with OpenLineageDouble(token="first") as backend:
            auth = {"type": "api_key", "apiKey": "env:OL_KEY"}
            target = opened({"type": "http", "url": backend.url, "auth": auth})

            monkeypatch.setenv("OL_KEY", "first")
            assert target.emit(lineage()) == []
            backend.token = "second"
            with pytest.raises(TargetUnavailable):
                target.emit(lineage())
            monkeypatch.setenv("OL_KEY", "second")
            assert target.emit(lineage()) == []

    def test_not_set(self, opened: Opened) -> None:
        """The error names the variable."""
        target = opened({"type": "http", "url": "env:NO_SUCH_URL"})

        with pytest.raises(ConfigError, match="env:NO_SUCH_URL is not set"):
            target.emit(lineage())

    def test_shown_configuration(self, run: RunProgram, tmp_path: Path) -> None:
        """Dumps have masks where texts might be secrets, and the rest in full."""
        code = f"c.OpenLineageTarget.transport = {self.TRANSPORT!r}"
        (tmp_path / "flytelineage_config.py").write_text(code)

        for word in ("--show-config", "--show-config-json"):
            ended = run(word)
            assert CANARY not in ended.out + ended.err
            assert "http://localhost:5000" in ended.out
            assert MASK in ended.out

    def test_added_piece_by_piece(self, run: RunProgram, tmp_path: Path) -> None:
        """A dictionary that a configuration only adds to hides them as well."""
        code = f"c.OpenLineageTarget.transport.update({self.TRANSPORT!r})"
        (tmp_path / "flytelineage_config.py").write_text(code)

        ended = run("--show-config")

        assert CANARY not in ended.out + ended.err
        assert "http://localhost:5000" in ended.out

    def test_on_the_command_line(self, run: RunProgram) -> None:
        """A JSON object, which is not shown either when it is none."""
        text = json.dumps(self.TRANSPORT)

        good = run("--show-config", f"--OpenLineageTarget.transport={text}")
        bad = run("check", f"--OpenLineageTarget.transport={text}}}")

        assert "http://localhost:5000" in good.out
        assert "must be a dictionary; on the command line a JSON object" in bad.out
        assert CANARY not in "".join((*good[1:], *bad[1:]))

    def test_wrong_kind(self) -> None:
        """The error does not show what was given."""
        with pytest.raises(TraitError, match="must be a dictionary") as raised:
            OpenLineageTarget(transport=CANARY)

        assert CANARY not in str(raised.value)

    def test_in_errors(self, opened: Opened) -> None:
        """What a library puts into its messages is taken out again."""
        target = opened({"type": f"{__name__}.Broken", "key": CANARY})

        with pytest.raises(TransientTargetError) as raised:
            target.emit(lineage())

        assert CANARY not in str(raised.value)

    @pytest.mark.parametrize(
        "url", [f"http://ada:{CANARY}@localhost:5000", f"http://localhost:5000/?key={CANARY}"]
    )
    def test_in_addresses(self, url: str) -> None:
        """A URL with a user or a query is a secret as a whole."""
        target = OpenLineageTarget(transport={"type": "http", "url": url})

        assert CANARY not in str(target.transport)


class TestOptions:
    """What can be said of the target."""

    @pytest.mark.parametrize(
        ("transport", "remote"),
        [
            ({"type": "http"}, True),
            ({"type": "kafka"}, True),
            ({"type": "file", "log_file_path": "x"}, False),
            ({"type": "file", "log_file_path": "file:///x"}, False),
            ({"type": "file", "log_file_path": "s3://lake/x"}, True),
            ({"type": "console"}, False),
            ({"type": "noop"}, False),
            ({"type": "composite", "transports": [{"type": "console"}]}, False),
            ({"type": "composite", "transports": {"a": {"type": "http"}}}, True),
            ({"type": "transform", "transport": {"type": "console"}}, False),
        ],
    )
    def test_remote(self, transport: Any, remote: bool) -> None:
        """A replay tells those that stay on this machine without being asked."""
        assert OpenLineageTarget(transport=transport).remote is remote

    @pytest.mark.parametrize("emit_running", [False, True])
    def test_running(self, emit_running: bool) -> None:
        """The daemon brings what still runs only where it is told."""
        target = OpenLineageTarget(transport={"type": "noop"}, emit_running=emit_running)

        assert (target.running, target.journal) == (emit_running, True)

    @pytest.mark.parametrize(
        ("config", "host"),
        [
            ({}, "flyte"),
            ({"FlyteLineage": {"instance": "emea"}}, "emea"),
            ({"FlyteAdmin": {"endpoint": "dns:///Flyte.example.com:443"}}, "flyte.example.com"),
            ({"FlyteAdmin": {"endpoint": "flyte.example.com"}}, "flyte.example.com"),
            (
                {
                    "FlyteAdmin": {"endpoint": "internal:81"},
                    "OpenLineageTarget": {"admin_host": "flyte.example.com"},
                },
                "flyte.example.com",
            ),
        ],
    )
    def test_admin_host(
        self, config: dict[str, Any], host: str, opened: Opened, tmp_path: Path
    ) -> None:
        """Flyte's host without its port, else the deployment's name."""
        transport = {"type": "file", "log_file_path": "events.jsonl"}
        instance = config.get("FlyteLineage", {}).get("instance", "")
        pipeline = PIPELINE.model_copy(update={"instance": instance})

        target = opened(transport, config=Config(config))
        target.emit(lineage().model_copy(update={"runs": (run_of(pipeline),)}))

        event = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[0])
        assert event["job"]["namespace"] == f"flyte://{host}/shop/production"

    @pytest.mark.parametrize(
        ("transport", "kind"),
        [
            ({"type": "https"}, "'https'"),
            ({"url": "http://localhost"}, "None"),
            ({"type": "composite", "transports": [{"type": "noop"}, {"type": "htp"}]}, "'htp'"),
            ({"type": "composite", "transports": {"a": {"type": "fil"}}}, "'fil'"),
            ({"type": "transform", "transport": {"type": "noob"}}, "'noob'"),
        ],
    )
    def test_a_transport_that_cannot_be(self, transport: Any, kind: str) -> None:
        """A misspelt type is refused at start, wherever it stands."""
        with pytest.raises(TraitError, match=f"its type {kind} is none of http, async_http"):
            OpenLineageTarget(transport=transport)

    def test_transports_of_the_client(self) -> None:
        """Each is known by its name, without the client."""
        assert set(settings.KINDS) == set(get_default_factory().transports)

    @pytest.mark.parametrize(
        ("template", "problem"),
        [
            ("flyte://{host}", "knows no {host}"),
            ("flyte://{project", "expected '}'"),
            ("flyte://{project!r}", "nothing but names"),
            ("", "must not be empty"),
        ],
    )
    def test_a_template_that_cannot_be(self, template: str, problem: str) -> None:
        """Refused at start: names cannot change once they were told."""
        with pytest.raises(TraitError, match=problem):
            OpenLineageTarget(transport={"type": "noop"}, namespace=template)


def run_of(pipeline: PipelineId) -> Run:
    return Run(
        execution=EXECUTION, pipeline=pipeline, phase="SUCCEEDED", started_at=NOW, ended_at=NOW
    )
