"""The manifests are valid, keep to the strictest standard, and agree with the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import psycopg
import pytest
from traitlets.config import Config

import flytelineage
from flytelineage.app import FlyteLineage
from flytelineage.daemon import Daemon
from flytelineage.store import Store
from flytelineage.store.schema import metadata
from tests.conftest import Run
from tests.deploy.conftest import (
    DEPLOY,
    KUBERNETES,
    MONITORING,
    WAYS,
    Manifest,
    applied,
    everything,
    kustomization,
    of_kind,
    pods,
)
from tests.store.conftest import built, event
from tests.test_project import text

OLDEST, NEWEST = "1.30", "1.37"
"""The releases of Kubernetes whose schemas everything must keep to."""

EXTENSIONS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
"""What is not Kubernetes' own; pip brings no schemas of it."""

FIELDS = {
    "ScaledObject": {
        "scaleTargetRef", "pollingInterval", "cooldownPeriod", "initialCooldownPeriod",
        "idleReplicaCount", "minReplicaCount", "maxReplicaCount", "fallback", "advanced", "triggers",
    },
    "TriggerAuthentication": {
        "podIdentity", "secretTargetRef", "env", "hashiCorpVault", "configMapTargetRef",
    },
    "ServiceMonitor": {"selector", "endpoints", "namespaceSelector", "jobLabel", "sampleLimit"},
    "PrometheusRule": {"groups"},
}  # fmt: skip
"""What may stand in the `spec` of an extension, from their documentation."""

TRIGGERS = {
    "aws-sqs-queue": {
        "queueURL", "queueURLFromEnv", "queueLength", "activationQueueLength", "awsRegion",
        "awsEndpoint", "scaleOnInFlight", "scaleOnDelayed",
    },
    "postgresql": {"query", "targetQueryValue", "activationTargetQueryValue"},
}  # fmt: skip

SECRETS = "/etc/flytelineage-secrets"


class TestEveryObject:
    """Whatever is applied."""

    @pytest.mark.parametrize("release", [OLDEST, NEWEST])
    @pytest.mark.parametrize(
        "manifest",
        [
            pytest.param(one, id=name)
            for name, one in everything()
            if one["apiVersion"] not in EXTENSIONS
        ],
    )
    def test_keeps_to_the_schema(self, manifest: Manifest, release: str) -> None:
        """Kubernetes knows each field, with this type."""
        kubernetes_validate.validate(manifest, release, strict=True)

    @pytest.mark.parametrize(
        "manifest",
        [
            pytest.param(one, id=name)
            for name, one in everything()
            if one["apiVersion"] in EXTENSIONS
        ],
    )
    def test_extension_has_known_fields(self, manifest: Manifest) -> None:
        """A word that KEDA or the Prometheus operator does not know would do nothing."""
        assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
        assert set(manifest["spec"]) <= FIELDS[manifest["kind"]]

    @pytest.mark.parametrize("manifest", [pytest.param(one, id=name) for name, one in everything()])
    def test_has_a_place_and_a_label(self, manifest: Manifest) -> None:
        """All of it is found, and deleted, in one namespace by one label."""
        about = manifest["metadata"]

        assert manifest["kind"] == "Namespace" or about["namespace"] == "flytelineage"
        if manifest["kind"] != "Namespace":
            assert about["labels"]["app.kubernetes.io/name"] == "flytelineage"

    def test_no_file_is_left_out(self) -> None:
        """Each file in these directories is applied or names what is."""
        for folder in (KUBERNETES / "base", *(KUBERNETES / way for way in WAYS), MONITORING):
            told = kustomization(folder)
            files = {name for made in told.get("configMapGenerator", ()) for name in made["files"]}
            named = {*told["resources"], *files, "kustomization.yaml"}
            # Rules for those who run Prometheus without the operator; see test_monitoring.
            named |= {"alerts.yaml"} if folder == MONITORING else set()

            there = {one.name for one in folder.iterdir()}

            assert there == {name for name in named if not name.startswith("..")}, folder

    @pytest.mark.parametrize("way", WAYS)
    def test_kubectl_can_put_it_together(self, way: str) -> None:
        """As it stands, and with the monitoring."""
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            pytest.skip("no kubectl")

        made = subprocess.run(
            [kubectl, "kustomize", str(KUBERNETES / way)], capture_output=True, text=True
        )

        assert made.returncode == 0, made.stderr
        kinds = re.findall(r"^kind: (\w+)$", made.stdout, re.MULTILINE)
        wanted = [one["kind"] for one in applied(KUBERNETES / way)]
        assert sorted(kinds) == sorted([*wanted, "ConfigMap"])


@pytest.mark.parametrize("way", WAYS)
class TestPods:
    """Kubernetes' standard `restricted`, and what it does not ask for."""

    def test_nobody_is_root(self, way: str) -> None:
        """The user is the image's."""
        (pod,) = pods(way)
        user = pod["securityContext"]

        assert user["runAsNonRoot"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in text("Dockerfile")
        assert user["fsGroup"] == user["runAsGroup"]
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}

    def test_containers_can_do_little(self, way: str) -> None:
        """Nothing is written but to volumes, and no right can be won."""
        (pod,) = pods(way)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }

    def test_no_token_of_kubernetes(self, way: str) -> None:
        """It never talks to Kubernetes; IAM's token is another one."""
        (pod,) = pods(way)
        (account,) = of_kind(way, "ServiceAccount")

        assert pod["automountServiceAccountToken"] is False
        assert account["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert re.fullmatch(r"arn:aws:iam::\d{12}:role/[\w-]+", role)

    def test_whatever_is_written_has_a_volume(self, way: str) -> None:
        """The image's volume and /tmp."""
        (pod,) = pods(way)
        claims = [
            claim["metadata"]["name"]
            for one in of_kind(way, "StatefulSet")
            for claim in one["spec"]["volumeClaimTemplates"]
        ]
        volumes = {*claims, *(volume["name"] for volume in pod["volumes"])}
        mounts = pod["containers"][0]["volumeMounts"]
        writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}

        assert {mount["name"] for mount in mounts} == volumes
        assert writable == {"/tmp", *re.findall(r"^VOLUME (.+)$", text("Dockerfile"), re.M)}

    def test_probes(self, way: str) -> None:
        """They ask what the program answers, at the port where it listens in the image."""
        (container,) = pods(way)[0]["containers"]
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        probes = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}

        assert {name: probe["path"] for name, probe in probes.items()} == {
            "startupProbe": "/livez",
            "livenessProbe": "/livez",
            "readinessProbe": "/readyz",
        }
        assert {ports[probe["port"]] for probe in probes.values()} == {FlyteLineage().http_port}
        assert f"EXPOSE {FlyteLineage().http_port}\n" in text("Dockerfile")

    def test_a_stop_has_time(self, way: str) -> None:
        """Nothing is killed that would have stopped by itself."""
        (pod,) = pods(way)

        assert pod["terminationGracePeriodSeconds"] > Daemon.shutdown_timeout.default_value + 10

    def test_resources(self, way: str) -> None:
        """Memory is bounded; a processor that is idle may be used."""
        (container,) = pods(way)[0]["containers"]

        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}

    def test_image_has_a_version(self, way: str) -> None:
        """That of this checkout: what is tested together runs together."""
        (image,) = kustomization(KUBERNETES / way)["images"]
        (container,) = pods(way)[0]["containers"]

        assert container["image"] == image["name"]
        assert image["newTag"] == flytelineage.__version__

    def test_configuration_is_in_order(
        self, way: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is loaded as the container loads it, with the secrets that it names."""
        code = (KUBERNETES / way / "flytelineage_config.py").read_text(encoding="utf-8")
        for name in re.findall(rf"file:{SECRETS}/([\w-]+)", code):
            (tmp_path / name).write_text("postgresql://u:p@db/x" if "url" in name else "a-token")
        (tmp_path / "config.py").write_text(code.replace(SECRETS, str(tmp_path)))
        (argument,) = pods(way)[0]["containers"][0]["args"]
        option, _, file = argument.partition("=")

        ended = run("check", f"{option}={tmp_path}/config.py")

        assert (ended.code, ended.err) == (0, "")
        mounts = pods(way)[0]["containers"][0]["volumeMounts"]
        assert {str(Path(file).parent), SECRETS} <= {mount["mountPath"] for mount in mounts}

    def test_whoever_selects_finds_the_pods(self, way: str) -> None:
        """Services, policies and budgets select by a label that the pods have."""
        (labels,) = [
            one["spec"]["template"]["metadata"]["labels"]
            for one in applied(KUBERNETES / way)
            if one["kind"] in ("Deployment", "StatefulSet")
        ]
        selectors = [
            found.get("matchLabels", found)
            for one in applied(KUBERNETES / way)
            for found in [
                one.get("spec", {}).get("selector"),
                one.get("spec", {}).get("podSelector"),
            ]
            if found
        ]

        assert len(selectors) >= 3
        assert all(selector.items() <= labels.items() for selector in selectors)

    def test_network(self, way: str) -> None:
        """Only Prometheus comes in, and nobody reaches the credentials of the node."""
        policies = of_kind(way, "NetworkPolicy")
        spec = policies[0]["spec"]

        ((rule,),) = [spec["ingress"]]
        assert [port["port"] for port in rule["ports"]] == [FlyteLineage().http_port]
        assert rule["from"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        everywhere = [
            place["ipBlock"]
            for policy in policies
            for rule in policy["spec"]["egress"]
            for place in rule["to"]
            if place.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
        ]
        assert [block["except"] for block in everywhere] == [["169.254.0.0/16"]]


class TestSqlite:
    """One pod and its volume."""

    def test_there_is_one(self) -> None:
        """Whatever happens, two never write one file, and the file stays."""
        (workload,) = of_kind("sqlite", "StatefulSet")
        spec = workload["spec"]

        assert spec["replicas"] == 1
        assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
        assert of_kind("sqlite", "ScaledObject") == []
        (claim,) = spec["volumeClaimTemplates"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
        assert spec["serviceName"] == of_kind("sqlite", "Service")[0]["metadata"]["name"]


class TestPostgresql:
    """Any number of pods."""

    def test_rolls(self) -> None:
        """An upgrade and a drain take one pod after the other."""
        (workload,) = of_kind("postgresql", "Deployment")
        (budget,) = of_kind("postgresql", "PodDisruptionBudget")

        assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert budget["spec"]["maxUnavailable"] == 1
        assert "replicas" not in workload["spec"]

    def test_connections_are_bounded(self) -> None:
        """All pods together, under load, are within the 100 that PostgreSQL allows by itself."""
        code = (KUBERNETES / "postgresql" / "flytelineage_config.py").read_text(encoding="utf-8")
        config = Config()
        exec(code, {"get_config": lambda: config})
        (scaled,) = of_kind("postgresql", "ScaledObject")

        most = Store(config=config).pool_size * 3 * scaled["spec"]["maxReplicaCount"]

        assert most <= 90  # some are reserved, and KEDA has its own


class TestScaling:
    """The numbers that KEDA asks for."""

    def triggers(self) -> dict[str, Manifest]:
        (scaled,) = of_kind("postgresql", "ScaledObject")
        return {one["name"]: one for one in scaled["spec"]["triggers"]}

    def test_triggers(self) -> None:
        """Queue, deliveries and their age; each with options that KEDA knows, as texts."""
        triggers = self.triggers()

        assert {"queue", "deliveries-due", "deliveries-age"} <= set(triggers)
        for one in triggers.values():
            assert set(one["metadata"]) <= TRIGGERS[one["type"]]
            assert all(isinstance(value, str) for value in one["metadata"].values())

    def test_secrets(self) -> None:
        """Each trigger signs in by something that is there."""
        there = {
            one["metadata"]["name"]: one["spec"]
            for one in of_kind("postgresql", "TriggerAuthentication")
        }

        asked = {one["authenticationRef"]["name"] for one in self.triggers().values()}

        assert asked == set(there)
        assert there["flytelineage-store"]["secretTargetRef"][0]["parameter"] == "connection"

    def test_the_queue_is_the_programs(self) -> None:
        """KEDA looks at the queue that is read."""
        asked = self.triggers()["queue"]["metadata"]
        code = (KUBERNETES / "postgresql" / "flytelineage_config.py").read_text(encoding="utf-8")

        assert f'sqs_queue = "{asked["queueURL"].rpartition("/")[2]}"' in code
        assert f'aws_region = "{asked["awsRegion"]}"' in code

    def test_queries_may_be_asked(self) -> None:
        """The user that the README makes may read each table that they name."""
        readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
        granted = set(re.findall(r"GRANT SELECT ON ([\w, ]+) TO", readme)[0].split(", "))
        queries = [one["metadata"].get("query", "") for one in self.triggers().values()]

        read = {name for query in queries for name in re.findall(r"FROM (\w+)", query)}
        read &= set(metadata.tables)

        assert read == granted

    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[Store]:
        """On a PostgreSQL with a clock that runs: KEDA's queries go by it."""
        store = Store(url=postgres_url, min_settle=0)
        store.open(exclusive=False)
        yield store
        store.close()

    def test_nothing_is_due_in_an_empty_store(self, store: Store, postgres_url: str) -> None:
        """Numbers, not NULL, which KEDA could not read."""
        assert self.ask(postgres_url) == {"due": 0, "age": 0, "builds": 0}

    def test_what_is_due_counts(self, store: Store, postgres_url: str) -> None:
        """Executions until they are built, deliveries then, and how long they have waited."""
        store.record([event(name, terminal=True) for name in "abc"])
        before = self.ask(postgres_url)

        _build(store)
        with psycopg.connect(postgres_url) as connection:
            connection.execute("UPDATE delivery SET due_at = due_at - 50 * 1000000")
        after = self.ask(postgres_url)

        assert (before["due"], before["builds"]) == (0, 3)
        assert (after["due"], after["builds"]) == (6, 0)
        assert 50 <= after["age"] < 600

    def test_what_nobody_could_take_does_not_count(self, store: Store, postgres_url: str) -> None:
        """More processes would not help what is in hand, backs off, or has a paused target."""
        store.record([event(name, terminal=True) for name in "abc"])
        _build(store)

        (taken,) = store.claim_delivery("datahub", 1, lease_seconds=600)
        in_hand = self.ask(postgres_url)["due"]
        store.settle_later(taken, 600, "away", counted=True)
        backing_off = self.ask(postgres_url)["due"]
        store.note_pause("glue", "it is down", 60)
        paused = self.ask(postgres_url)["due"]
        store.note_resumed("glue")

        assert (in_hand, backing_off, paused) == (5, 5, 2)
        assert self.ask(postgres_url)["due"] == 5

    def ask(self, url: str) -> dict[str, int]:
        triggers = self.triggers()
        names = {"due": "deliveries-due", "age": "deliveries-age", "builds": "builds-due"}
        with psycopg.connect(url) as connection:
            answers = {
                short: connection.execute(triggers[name]["metadata"]["query"]).fetchall()
                for short, name in names.items()
            }
        assert all(isinstance(value, int) for ((value,),) in answers.values())
        return {short: value for short, ((value,),) in answers.items()}


def _build(store: Store) -> None:
    """Whatever is due, for two targets."""
    for lease in store.claim_build(9, lease_seconds=600):
        store.finish_build(lease, built(lease), ["datahub", "glue"], held=False)
