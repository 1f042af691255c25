"""The trial on one machine: what it starts exists, and nobody else can reach it."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flytelineage.demo import platform
from flytelineage.demo.platform import QUEUE
from flytelineage.testing.aws import local_aws
from tests.conftest import Run
from tests.deploy.conftest import DEPLOY, manifests_in
from tests.test_project import text

COMPOSE = DEPLOY / "compose"
(TRIAL,) = manifests_in(COMPOSE / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = TRIAL["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "flytelineage"}


def test_docker_can_read_it() -> None:
    """Compose itself finds nothing wrong with it."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("no docker compose")

    checked = subprocess.run(
        [docker, "compose", "--file", str(COMPOSE / "compose.yaml"), "config", "--quiet"],
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stderr


def test_files_exist() -> None:
    """Whatever is mounted lies in the checkout, and is only read."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, _, place = volume.partition(":")
            if source.startswith("."):
                assert (COMPOSE / source).is_file(), source
                assert place.endswith(":ro")
            else:
                assert source in TRIAL["volumes"]


def test_ports_are_nobody_elses() -> None:
    """They are published on this machine alone."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_our_containers_can_do_little() -> None:
    """As on Kubernetes: nothing is written but to volumes, and no right can be won."""
    for name, service in OURS.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_versions_are_named() -> None:
    """Other people's images have a version: what works today works tomorrow."""
    foreign = [one["image"] for name, one in SERVICES.items() if name not in OURS]

    assert all(re.search(r":v?\d+(\.\d+)*(-alpine)?$", image) for image in foreign)


def test_waits_for_what_it_needs() -> None:
    """Who is waited for is there, and says when it is ready."""
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]


def test_configuration_is_in_order(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies where it is looked for, and names the queue that is made."""
    monkeypatch.setenv("STORE_URL", SERVICES["flytelineage"]["environment"]["STORE_URL"])
    shutil.copy(COMPOSE / "flytelineage_config.py", tmp_path)

    ended = run("check")

    assert (ended.code, ended.err) == (0, "")
    (home,) = re.findall(r"^WORKDIR (/var.+)$", text("Dockerfile"), re.MULTILINE)
    mounts = SERVICES["flytelineage"]["volumes"]
    assert f"./flytelineage_config.py:{home}/flytelineage_config.py:ro" in mounts
    assert f'sqs_queue = "{QUEUE}"' in (tmp_path / "flytelineage_config.py").read_text()


def test_publishes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each message of the samples lies on the queue that the daemon reads."""
    monkeypatch.setattr(platform, "has_flytekit", lambda: False)  # making literals takes seconds

    with local_aws() as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
        runpy.run_path(str(COMPOSE / "publish.py"), run_name="__main__")
        sqs = aws.client("sqs")
        url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]

    (count,) = re.findall(r"published (\d+) messages", capsys.readouterr().out)
    assert int(asked["ApproximateNumberOfMessages"]) == int(count) > 100


def test_prometheus_scrapes_it_and_knows_the_alerts() -> None:
    """At its port, with the rules that are mounted there."""
    (told,) = manifests_in(COMPOSE / "prometheus.yaml")
    mounts = dict(one.split(":")[:2] for one in SERVICES["prometheus"]["volumes"])

    ((scraped,),) = [one["static_configs"][0]["targets"] for one in told["scrape_configs"]]

    host, _, port = scraped.partition(":")
    assert f"EXPOSE {port}\n" in text("Dockerfile")
    assert SERVICES[host]["image"] == "flytelineage"
    assert told["rule_files"] == [mounts["../monitoring/alerts.yaml"]]
