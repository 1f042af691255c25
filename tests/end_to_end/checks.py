"""What must be true after any fault, once the queue is drained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.end_to_end.corpus import RUBBISH, Corpus
from tests.end_to_end.deployment import Deployment

MEMORY_BYTES = 300_000_000
"""More than this no daemon may use with all targets on."""


def check(deployment: Deployment, messages: Corpus, calm_state: dict[str, Any], **how: Any) -> None:
    """Every message is stored once, and the catalogues do not show that something happened."""
    check_store(deployment, messages, **how)
    differing = differences(calm_state, deployment.told())
    if differing:
        pytest.fail(f"{len(differing)} differences\n" + "\n".join(differing[:40]), pytrace=False)


def check_store(
    deployment: Deployment,
    messages: Corpus,
    *,
    dead: int = 0,
    rubbish: Iterable[str] = RUBBISH,
    drained: bool = True,
) -> None:
    """The queue is empty, every message is stored once; nothing was told before, no memory lost."""
    assert deployment.drained() or not drained
    assert deployment.dead.visible == dead
    hashes, bodies = deployment.stored()
    assert Counter(hashes) == Counter(messages.hashes)
    assert sorted(bodies) == sorted(rubbish)
    assert deployment.told_too_soon == set()
    assert 0 < deployment.peak_bytes < MEMORY_BYTES


def differences(calm: Any, found: Any) -> list[str]:
    """Where two states differ, one line each."""
    before, after = dict(_leaves(calm)), dict(_leaves(found))
    return [
        f"{path}: {before.get(path, 'nothing')} became {after.get(path, 'nothing')}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path} / {key}")
    elif isinstance(value, list) and value:
        for at, item in enumerate(value):
            yield from _leaves(item, f"{path} [{at}]")
    else:
        yield path, repr(value)
