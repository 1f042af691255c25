"""What must be true after any fault, once the queue is drained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.corpus import RUBBISH, Corpus
from tests.end_to_end.deployment import Deployment


def check(deployment: Deployment, messages: Corpus, calm_state: dict[str, Any]) -> None:
    """Every message is stored once, and the catalogues do not show that something happened."""
    assert deployment.drained()
    hashes, bodies = deployment.stored()
    assert Counter(hashes) == Counter(messages.hashes)
    assert sorted(bodies) == sorted(RUBBISH)
    differing = differences(calm_state, deployment.told())
    if differing:
        pytest.fail(f"{len(differing)} differences\n" + "\n".join(differing[:40]), pytrace=False)


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
