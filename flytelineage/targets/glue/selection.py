"""Which datasets get a table: the operator's `include`; pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from flytelineage.targets.glue.names import Origin

_PARTS = ("project", "domain", "workflow", "task", "variable")
PATTERN = "/".join(_PARTS)


class Selection:
    """Globs of `project/domain/workflow/task/variable`.

    A shorter glob stands for all that is below; none at all for everything.

    Raises:
        ValueError: A glob has an empty part, or more than five.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        self._globs = [_parts(glob) for glob in globs]

    def __contains__(self, origin: Origin) -> bool:
        pipeline = origin.task.pipeline
        names = (
            pipeline.project,
            pipeline.domain,
            pipeline.name,
            origin.task.name,
            origin.variable,
        )
        return not self._globs or any(_match(names, glob) for glob in self._globs)


def _parts(glob: str) -> tuple[str, ...]:
    parts = tuple(glob.split("/"))
    if not all(parts) or len(parts) > len(_PARTS):
        raise ValueError(f"{glob!r} is no glob of {PATTERN}")
    return parts


def _match(names: tuple[str, ...], glob: tuple[str, ...]) -> bool:
    # What the glob does not reach to is left to chance: it stands for everything there.
    return all(fnmatchcase(name, part) for name, part in zip(names, glob, strict=False))
