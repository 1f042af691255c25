"""What our entities are called in OpenLineage: told from their texts, not by asking the target."""

from __future__ import annotations

from flytelineage.testing.openlineage import Name
from flytelineage.testing.simulator import Truth

_STORES = {"s3": "s3", "gcs": "gs"}


def job(truth: Truth, task: str = "") -> Name:
    """The job of an execution's workflow, or of a task in it."""
    return job_in(truth.pipeline, task)


def job_in(pipeline: str, task: str = "") -> Name:
    """The job of a pipeline, `<project>.<domain>.<workflow>`, or of a task in it."""
    project, domain, workflow = pipeline.split(".", 2)
    return Name(f"flyte://flyte/{project}/{domain}", f"{workflow}.{task}" if task else workflow)


def dataset(id: str) -> Name:
    """The dataset whose id as text is `<platform>:<name>`."""
    platform, _, name = id.partition(":")
    if platform == "flyte":
        project, domain, _ = name.split(".", 2)
        return Name(f"flyte://flyte/{project}/{domain}", name)
    if platform in _STORES:
        bucket, _, key = name.partition("/")
        return Name(f"{_STORES[platform]}://{bucket}", key)
    return Name("file" if platform == "file" else platform, name)
