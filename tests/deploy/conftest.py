"""What lies in `deploy/`, read as those read it who apply it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.test_project import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MONITORING = DEPLOY / "monitoring"
WAYS = ("sqlite", "postgresql")
"""The two ways to run it on Kubernetes."""

Manifest = dict[str, Any]


def manifests_in(file: Path) -> list[Manifest]:
    """The objects in a file."""
    return [one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one]


def kustomization(folder: Path) -> Manifest:
    (only,) = manifests_in(folder / "kustomization.yaml")
    return only


def applied(folder: Path) -> Iterator[Manifest]:
    """The objects that `kubectl apply -k` makes of a directory, before it fills in names."""
    for name in kustomization(folder)["resources"]:
        place = folder / name
        yield from applied(place) if place.is_dir() else manifests_in(place)


def everything() -> list[Any]:
    """Each object of both ways and of the monitoring, once."""
    seen: dict[str, Manifest] = {}
    for folder in (*(KUBERNETES / way for way in WAYS), MONITORING):
        for one in applied(folder):
            seen.setdefault(f"{folder.name}-{one['kind']}-{one['metadata']['name']}", one)
    return [(name, one) for name, one in seen.items()]


def pods(way: str) -> list[Manifest]:
    """What its workloads say of their pods."""
    return [
        one["spec"]["template"]["spec"]
        for one in applied(KUBERNETES / way)
        if one["kind"] in ("Deployment", "StatefulSet")
    ]


def of_kind(way: str, kind: str) -> list[Manifest]:
    return [one for one in applied(KUBERNETES / way) if one["kind"] == kind]
