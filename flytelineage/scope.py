"""Which executions are taken in and told: the operator's `include` and `exclude`."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from flytelineage.entities import ExecutionId, PipelineId
from flytelineage.errors import ConfigError


class Scope:
    """Globs of `project/domain/workflow`; a shorter one stands for all that is below.

    Args:
        include: What is taken; empty means everything.
        exclude: What is left out of that.

    Raises:
        ConfigError: A pattern has more than three parts, or an empty one.
    """

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = [_parts("include", pattern) for pattern in include]
        self._exclude = [_parts("exclude", pattern) for pattern in exclude]

    def stores(self, execution: ExecutionId) -> bool:
        """Whether anything in the execution's project and domain may be told."""
        where = (execution.project, execution.domain)
        if any(_match(where, pattern[:2]) and pattern[2] == "*" for pattern in self._exclude):
            return False
        return not self._include or any(_match(where, pattern[:2]) for pattern in self._include)

    def emits(self, pipeline: PipelineId) -> bool:
        """Whether targets are told of this pipeline."""
        where = (pipeline.project, pipeline.domain, pipeline.name)
        if any(_match(where, pattern) for pattern in self._exclude):
            return False
        return not self._include or any(_match(where, pattern) for pattern in self._include)


def _parts(trait: str, pattern: str) -> tuple[str, ...]:
    parts = pattern.split("/", 2)
    if not all(parts):
        raise ConfigError(
            f"FlyteLineage.{trait}: {pattern!r} is not a glob of project/domain/workflow; "
            "type for example 'flytesnacks/development/*'"
        )
    return (*parts, "*", "*")[:3]


def _match(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    return all(fnmatchcase(name, glob) for name, glob in zip(names, patterns, strict=True))
