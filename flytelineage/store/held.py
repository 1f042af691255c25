"""Which parts of an aspect a catalogue may hold, as a watermark remembers them; pure.

Until a telling is settled nobody knows what of it arrived, so its parts are remembered
besides the earlier ones. What is settled leaves only its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from flytelineage.store.values import Claim

GONE = "gone"
"""The digest of an aspect whose entity ended."""

_ENDED = ""  # stands beside the parts, with the part that took the entity along


def held(row: Any) -> dict[str, str]:
    """The parts that the catalogue may hold, each with the entity that ends with it."""
    parts: dict[str, str] = json.loads(row.parts) if row is not None and row.parts else {}
    parts.pop(_ENDED, None)
    return parts


def ended(row: Any) -> str:
    """The part with which the entity ended, if that was the last thing told; else nothing."""
    return json.loads(row.parts).get(_ENDED, "") if row.parts else ""


def former(row: Any, claim: Claim) -> frozenset[str]:
    """The parts that a claim takes away; of one that is not whole nothing is known."""
    if claim.parts is None or not claim.whole:
        return frozenset()
    return frozenset(held(row).keys() - claim.parts.keys())


def perhaps(row: Any, claim: Claim) -> str | None:
    """What may be held while a claim is told, or after one that nobody waited for."""
    if claim.parts is None:
        return row.parts  # type: ignore[no-any-return]
    mark = {_ENDED: end} if (end := ended(row)) else {}
    return _written({**mark, **held(row), **claim.parts})


def surely(row: Any, claim: Claim) -> str | None:
    """What is held once a claim was accepted."""
    mark = {_ENDED: claim.ends} if claim.ends else {}
    if claim.parts is None and not mark:
        return None
    kept = _without(held(row), claim.former)
    return _written({**mark, **kept, **(claim.parts or {})})


def _without(parts: Mapping[str, str], gone: Iterable[str]) -> dict[str, str]:
    left_out = set(gone)
    return {part: urn for part, urn in parts.items() if part not in left_out}


def _written(parts: Mapping[str, str]) -> str:
    # In ASCII also what no database takes, such as half a character: it must be found again.
    return json.dumps(dict(sorted(parts.items())), separators=(",", ":"))
