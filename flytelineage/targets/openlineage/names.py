"""From our ids to OpenLineage's namespaces and names; pure, and without OpenLineage's client.

Names cannot change once they were emitted, so the rules here are frozen. A dataset of
another platform is named as that platform's own integrations name it, or edges end in the
air. Our ids carry no host, many namespaces do: the operator says which.

Source: OpenLineage/OpenLineage, website/docs/spec/naming.md
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from flytelineage.entities import Copy, DatasetId, PipelineId, RunId, TaskId

FLYTE = "flyte"
"""The orchestrator and platform of our own ids; the host where nobody says one."""

NAMESPACE = "flyte://{admin_host}/{project}/{domain}"
"""The default template; without further colons, since Marquez splits at them."""

PLACEHOLDERS = ("admin_host", "project", "domain", "instance")

_RUNS = uuid.UUID("0b1f4f3c-52a4-5d0e-9a53-6a5ac1f2f7e1")
"""The namespace of run ids, which are uuid5: daemon and task compute the same one."""


class Name(NamedTuple):
    """What OpenLineage calls a job or a dataset."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Names:
    """Names entities as one deployment of Flyte is known to OpenLineage's consumers.

    Attributes:
        template: The namespace of Flyte's own jobs and datasets.
        admin_host: What `{admin_host}` stands for; empty is the instance that an id
            carries, else `flyte`.
        namespaces: Of other platforms, by platform or by `platform:instance`;
            `{container}` stands for the bucket, container or host that begins a name.
    """

    template: str = NAMESPACE
    admin_host: str = ""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    # Column lineage names one dataset hundreds of times.
    _known: dict[Any, Name] = field(default_factory=dict, repr=False, compare=False)

    def job(self, id: PipelineId | TaskId) -> Name:
        """The job of a pipeline, or of a task in it."""
        if isinstance(id, TaskId):
            namespace, name = self.job(id.pipeline)
            return Name(namespace, f"{name}.{id.local}")
        known = self._known.get(id)
        if known is None:
            known = self._known[id] = self._pipeline(id)
        return known

    def dataset(self, id: DatasetId) -> Name:
        """The dataset."""
        known = self._known.get(id)
        if known is None:
            known = self._known[id] = self._dataset(id)
        return known

    def _dataset(self, id: DatasetId) -> Name:
        if id.platform == FLYTE:
            return Name(self._flyte(*_owner(id.name), id.instance), id.name)
        mapped = self.namespaces.get(f"{id.platform}:{id.instance}") if id.instance else None
        namespace = mapped or self.namespaces.get(id.platform)
        known = _PATHS.get(id.platform)
        spelled = known.spelled(id.name, namespace) if known else _table(id, namespace)
        if id.instance and not mapped:
            return Name(spelled.namespace, f"{id.instance}.{spelled.name}")
        return spelled

    def copy(self, copy: Copy) -> Name:
        """The name that another catalogue has for a dataset.

        Source: naming.md, AWS Glue: the ARN's beginning is the namespace.
        """
        namespace, separator, table = copy.uri.partition(":table/")
        if separator and namespace.startswith("arn:"):
            return Name(namespace, f"table/{table}")
        return self.dataset(copy.dataset)

    def _pipeline(self, id: PipelineId) -> Name:
        if id.orchestrator != FLYTE:
            whole = ".".join(filter(None, (id.instance, id.project, id.domain, id.name)))
            return Name(self.namespaces.get(id.orchestrator, id.orchestrator), whole)
        # What the template leaves out goes before the name: two workflows never share one.
        left_out = {"project": id.project, "domain": id.domain}
        words = (text for key, text in left_out.items() if f"{{{key}}}" not in self.template)
        namespace = self._flyte(id.project, id.domain, id.instance)
        return Name(namespace, ".".join(filter(None, (*words, id.name))))

    def _flyte(self, project: str, domain: str, instance: str) -> str:
        host = self.admin_host or instance or FLYTE
        namespace = self.template.format(
            admin_host=host, project=project, domain=domain, instance=instance
        )
        return namespace.rstrip("/.:-") or host


def run_id(id: RunId) -> str:
    """The UUID of an execution or of one attempt, the same wherever it is computed."""
    execution = id.execution
    parts = [execution.instance] if execution.instance else []
    parts += [execution.project, execution.domain, execution.name]
    if id.node is not None:
        parts += [id.node, str(id.attempt or 0)]
    return str(uuid.uuid5(_RUNS, ":".join(parts)))


def location(uri: str) -> Name | None:
    """The name of the place at a URI; `None` for what is no URI and no absolute path."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Name("file", uri) if uri.startswith("/") else None
    scheme = _SAME_SCHEME.get(scheme.lower(), scheme.lower())
    authority, _, path = rest.partition("/")
    if scheme == "file":
        return Name("file", f"/{path}".rstrip("/") or "/")
    if scheme not in _BUCKETS:
        path = path.partition("?")[0]
        authority = authority.rpartition("@")[2]
    absolute = "/" if scheme == "hdfs" else ""
    return Name(f"{scheme}://{authority}", absolute + path.strip("/") or "/")


def address(uri: str) -> str:
    """The URI as it may be shown to anybody and as RFC 3986 has it."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme.lower() not in _BUCKETS:
        authority, slash, path = rest.partition("/")
        uri = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
        return quote(uri, safe=_SAFE + "#")
    return quote(uri, safe=_SAFE)


def _owner(name: str) -> tuple[str, str]:
    """Project and domain, with which the names of Flyte's datasets begin."""
    project, domain, *rest = (*name.split(".", 2), "", "")
    return (project, domain) if any(rest) else ("", "")


_SAFE = "/:@!$&'()*+,;=-._~%"

# ------------------------------------------------------------------ other platforms

_SAME_SCHEME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss", "wasb": "wasbs"}
_BUCKETS = frozenset({"s3", "gs", "abfss", "wasbs", "file", "hdfs", "dbfs"} | _SAME_SCHEME.keys())
"""Where `?` may be a part of a name and what stands before an `@` is no user."""


@dataclass(frozen=True)
class _Paths:
    """A platform whose names are a bucket, a container or a host, and a path.

    Attributes:
        namespace: `{container}` stands for what the name begins with.
        absolute: Whether the path keeps its leading slash.
        hostless: The namespace of names that begin with a slash.
    """

    namespace: str
    absolute: bool = False
    hostless: str = ""

    def spelled(self, name: str, namespace: str | None) -> Name:
        """The name, in the operator's namespace where there is one."""
        if name.startswith("/"):
            return Name(namespace or self.hostless or self.namespace, name)
        container, _, path = name.partition("/")
        where = (namespace or self.namespace).replace("{container}", container)
        return Name(where, f"/{path}" if self.absolute or not path else path)


_PATHS: Mapping[str, _Paths] = {
    "s3": _Paths("s3://{container}"),
    "gcs": _Paths("gs://{container}"),
    "abs": _Paths("abfss://{container}"),
    "hdfs": _Paths("hdfs://{container}", absolute=True, hostless="hdfs"),
    "http": _Paths("http://{container}"),
    "file": _Paths("file", hostless="file"),
    "dbfs": _Paths("dbfs://{container}", absolute=True, hostless="dbfs"),
}


def _table(id: DatasetId, namespace: str | None) -> Name:
    """A table; without the operator's word the platform's name stands for its host."""
    match id.platform:
        case "glue":
            return Name(namespace or "glue", f"table/{id.name.replace('.', '/', 1)}")
        case "athena":
            return Name(namespace or "awsathena", f"AwsDataCatalog.{id.name}")
        case platform:
            return Name(namespace or platform, id.name)
