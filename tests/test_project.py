"""What a fresh checkout promises: requirements, make, the image, the changelog."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from importlib.metadata import distributions, requires
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from flytelineage.app import FlyteLineage
from flytelineage.health import Health
from flytelineage.web import serve

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """What setup.py tells setuptools, which newer Pythons do not bring along."""
    told: dict[str, Any] = {}
    listener = SimpleNamespace(setup=told.update, find_packages=lambda **_: [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "setuptools", listener)
        spec = importlib.util.spec_from_file_location("setup_of_flytelineage", ROOT / "setup.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return told


def pins(name: str, python: str) -> dict[str, str]:
    """The versions that a requirements file pins for one Python on Linux."""
    lines = [line for line in text(name).splitlines() if line and line[0] not in "#-"]
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    wanted = [Requirement(line) for line in lines]
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in wanted
        if one.marker is None or one.marker.evaluate(environment)
    }


def hashed() -> dict[str, list[str]]:
    """The requirements of the image, each with the hashes of its files."""
    joined = text("requirements.hashes.txt").replace(" \\\n", "")
    found: dict[str, list[str]] = {}
    for line in joined.splitlines():
        if not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            found[requirement.strip()] = [one.strip() for one in hashes]
    return found


class TestRequirements:
    """The extras of setup.py and the pinned files are one set."""

    @pytest.mark.parametrize("python", PYTHONS)
    @pytest.mark.parametrize(
        ("extra", "name"), [("all", "requirements.txt"), ("dev", "requirements-dev.txt")]
    )
    def test_pins_are_within_bounds(
        self, described: dict[str, Any], extra: str, name: str, python: str
    ) -> None:
        """Each requirement of an extra is pinned, to a version that its bounds accept."""
        pinned = pins("requirements.txt", python) | pins(name, python)

        outside = {
            line
            for line in described["extras_require"][extra]
            for wanted in [Requirement(line)]
            if wanted.marker is None or wanted.marker.evaluate({"python_version": python})
            if not wanted.specifier.contains(pinned.get(canonicalize_name(wanted.name), ""))
        }

        assert outside == set()

    @pytest.mark.parametrize("python", PYTHONS)
    def test_files_do_not_contradict_each_other(self, python: str) -> None:
        """A package that both files name has one version."""
        runtime, tools = (pins(f"requirements{end}.txt", python) for end in ("", "-dev"))

        assert {name for name in tools if runtime.get(name, tools[name]) != tools[name]} == set()

    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
    def test_every_line_is_a_pin(self, name: str) -> None:
        """Nothing but exact versions: no addresses, no options, no open ends."""
        lines = [line for line in text(name).splitlines() if not line.startswith(("#", "-r "))]

        assert [line for line in lines if not re.match(r"[a-z0-9-]+==[\w.]+( ; .+)?$", line)] == []

    def test_image_gets_what_is_tested(self) -> None:
        """Its requirements are those of requirements.txt, and setuptools, which builds it."""
        tested = [line for line in text("requirements.txt").splitlines() if line[0] != "#"]

        (builder,) = set(hashed()) - set(tested)

        assert sorted(hashed()) == sorted([*tested, builder])
        assert Requirement(builder).name == "setuptools"

    def test_image_gets_no_file_that_nobody_saw(self) -> None:
        """Each requirement of the image has hashes, and no address."""
        assert all(hashed().values())
        assert all(
            re.fullmatch(r"sha256:[0-9a-f]{64}", one) for some in hashed().values() for one in some
        )
        assert "://" not in text("requirements.hashes.txt")

    @pytest.mark.parametrize("python", PYTHONS)
    def test_pins_accept_the_python_they_are_for(self, python: str) -> None:
        """No release is pinned for a Python that it refuses; resolvers overlook upper bounds."""
        pinned = pins("requirements.txt", python) | pins("requirements-dev.txt", python)

        refused = {
            name
            for one in distributions()
            for name in [canonicalize_name(one.metadata["Name"])]
            if pinned.get(name) == one.version
            if f"{python}.0" not in SpecifierSet(one.metadata.get("Requires-Python", ""))
        }

        assert refused == set()

    def test_distribution_requires_nothing(self, described: dict[str, Any]) -> None:
        """An image of a task installs flytelineage alone."""
        assert described["install_requires"] == []

    def test_extras(self, described: dict[str, Any]) -> None:
        """`all` is what the other extras ask for together; `dev` is not part of it."""
        extras = dict(described["extras_require"])
        everything, development = set(extras.pop("all")), set(extras.pop("dev"))

        assert set(extras) == {"daemon", "datahub", "openlineage", "flyteadmin", "demo"}
        assert everything == {line for lines in extras.values() for line in lines}
        assert not everything & development

    def test_boto3_follows_aiobotocore(self, described: dict[str, Any]) -> None:
        """boto3 is bound to the releases that aiobotocore accepts of botocore."""
        pytest.importorskip("aiobotocore", reason="flytekit brings it, where there is a flytekit")
        accepted = next(
            Requirement(line) for line in requires("aiobotocore") if line.startswith("botocore")
        )
        bounds = {
            str(Requirement(line).specifier)
            for lines in described["extras_require"].values()
            for line in lines
            if line.startswith("boto3>")
        }

        assert bounds == {str(accepted.specifier)}


class TestDistribution:
    """What setup.py describes is what lies in the checkout."""

    def test_version(self, described: dict[str, Any]) -> None:
        """setup.py and the package tell the same version."""
        import flytelineage

        assert described["version"] == flytelineage.__version__

    def test_types_are_shipped(self, described: dict[str, Any]) -> None:
        """Type checkers of users find our annotations."""
        assert (ROOT / "flytelineage" / "py.typed").exists()
        assert "py.typed" in described["package_data"]["flytelineage"]

    def test_entry_points_name_modules_of_ours(self, described: dict[str, Any]) -> None:
        """Each entry point names a module of the package and something in it."""
        points = [line for lines in described["entry_points"].values() for line in lines]

        assert [p for p in points if not re.fullmatch(r"\w+=flytelineage[.\w]*:\w+", p)] == []

    def test_licence_is_named_as_it_is(self, described: dict[str, Any]) -> None:
        """The licence's name and its text agree."""
        assert described["license"] == "Apache-2.0"
        assert "Version 2.0, January 2004" in text("LICENSE")


class TestCommands:
    """What the documentation tells people to type exists."""

    @pytest.mark.parametrize(
        "target",
        [
            "venv",
            "demo",
            "picture",
            "test",
            "coverage",
            "lint",
            "types",
            "format",
            "check",
            "clean",
        ],
    )
    def test_make_knows(self, target: str) -> None:
        """The target exists, and make's own help lists it."""
        listed = subprocess.run(
            ["make", "--no-print-directory", "help"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )

        assert f"make {target} " in listed.stdout

    @pytest.mark.parametrize("script", [".ci/run", ".ci/pins"])
    def test_scripts_are_strict_and_executable(self, script: str) -> None:
        """A step that fails ends the script."""
        assert (ROOT / script).stat().st_mode & 0o111
        assert "set -euo pipefail" in text(script)

    def test_documented_commands_exist(self) -> None:
        """Each `make ...` in the documents is a target."""
        known = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
        documents = [ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
        told = {
            target
            for document in documents
            if document.exists()
            for target in re.findall(r"`make ([a-z]+)", document.read_text(encoding="utf-8"))
        }

        assert told <= known

    def test_hooks_need_no_network(self) -> None:
        """Every pre-commit hook is local and runs what is already installed."""
        import yaml

        repos = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
        languages = {hook["language"] for repo in repos for hook in repo["hooks"]}

        assert {repo["repo"] for repo in repos} == {"local"}
        assert languages <= {"system", "pygrep"}


class TestImage:
    """What the Dockerfile promises to those who run it."""

    def test_runs_as_a_number_that_is_not_root(self) -> None:
        """Kubernetes can check runAsNonRoot only for a number."""
        users = re.findall(r"^USER (.+)$", text("Dockerfile"), re.MULTILINE)

        assert users
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])

    @pytest.mark.parametrize(
        "line",
        [
            "VOLUME /var/lib/flytelineage",
            "WORKDIR /var/lib/flytelineage",
            "STOPSIGNAL SIGTERM",
            'ENTRYPOINT ["flytelineage"]',
        ],
    )
    def test_states_and_stops_as_documented(self, line: str) -> None:
        """State lies on the volume; signals reach the program itself, not a shell."""
        assert line in text("Dockerfile").splitlines()

    def test_copies_only_what_the_context_holds(self) -> None:
        """Each file that is copied is let through by .dockerignore."""
        allowed = {line[1:] for line in text(".dockerignore").splitlines() if line[:1] == "!"}
        copied = {
            name.removeprefix("./")
            for line in re.findall(r"^COPY (?!--from)(.+)$", text("Dockerfile"), re.MULTILINE)
            for name in line.split()[:-1]
        }

        assert copied <= allowed

    @pytest.mark.parametrize(
        ("health", "code", "told"),
        [(Health(), 0, "live"), (Health(live=("a thread hangs",)), 1, "a thread hangs")],
    )
    def test_health_check_tells_reasons(self, health: Health, code: int, told: str) -> None:
        """`docker inspect` shows what the program says of itself."""
        (listed,) = re.findall(
            r"HEALTHCHECK .*\\\n +CMD (\[.+\])$", text("Dockerfile"), re.MULTILINE
        )
        command = json.loads(listed)
        view = SimpleNamespace(health=lambda: health)

        with serve("127.0.0.1", 0, view) as server:
            command[-1] = command[-1].replace("8917", str(server.port))
            asked = subprocess.run(
                [sys.executable, *command[1:]], capture_output=True, text=True, timeout=30
            )

        assert (asked.returncode, told in asked.stdout) == (code, True)

    def test_listens_where_probes_ask(self) -> None:
        """The address that the image sets is an option's default, and so is the port."""
        lines = text("Dockerfile")

        assert f"EXPOSE {FlyteLineage().http_port}\n" in lines
        assert "    FLYTELINEAGE_HTTP_HOST=0.0.0.0\n" in lines
        assert "'127.0.0.1', 8917" in lines

    def test_installs_nothing_unseen(self) -> None:
        """Every installation is held against hashes, or asks for nothing."""
        installed = re.findall(r"pip install (.+?)(?: \\\n|\n)", text("Dockerfile"))

        assert len(installed) == 2
        assert all("--no-deps" in one for one in installed)
        assert "--require-hashes" in installed[0]
        assert "--no-build-isolation" in installed[1]


def test_changelog_has_an_unreleased_section_on_top() -> None:
    """Whoever changes something finds the place to say so."""
    headings = re.findall(r"^## \[(.+?)\]", text("CHANGELOG.md"), re.MULTILINE)

    assert headings[0] == "Unreleased"
