"""Columns of things, one below the other: in which order, and how far down.

Lines between neighbouring columns shall cross seldom and be level. Both are worked out
by the classic means: barycentres for the order, pooled means for the height.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from statistics import fmean

_ORDER_SWEEPS, _LEVEL_SWEEPS = 8, 24

Columns = Sequence[Sequence[Hashable]]


@dataclass(frozen=True)
class Link:
    """A line from a thing to one in the next column.

    Attributes:
        port: Where it begins, below the top of `left`.
        drop: How much further down the top of `right` is when the line is level.
    """

    left: Hashable
    right: Hashable
    port: float
    drop: float


def ordered(columns: Columns, links: Sequence[Link]) -> Columns:
    """The columns, each sorted such that few links cross; equal input gives equal output."""
    best = now = [list(column) for column in columns]
    for sweep in range(_ORDER_SWEEPS):
        forward = sweep % 2 == 0
        now = list(now)
        for at in range(len(now)) if forward else reversed(range(len(now))):
            centres = _barycentres(now, at, links, forward=forward)
            now[at] = sorted(now[at], key=centres.__getitem__)
        if crossings(now, links) < crossings(best, links):
            best = now
    return best


def crossings(columns: Columns, links: Sequence[Link]) -> int:
    """How many pairs of links cross."""
    ranks = _ranks(columns)
    gaps: dict[int, list[tuple[float, float]]] = {}
    for link in links:
        column, rank = ranks[link.left]
        gaps.setdefault(column, []).append((rank + _part(link), ranks[link.right][1]))
    return sum(
        (one[0] - two[0]) * (one[1] - two[1]) < 0
        for ends in gaps.values()
        for one, two in combinations(ends, 2)
    )


def tops(
    columns: Columns, links: Sequence[Link], heights: Mapping[Hashable, float], gap: float
) -> dict[Hashable, float]:
    """The top of each thing, from 0: as level with its neighbours as their heights allow."""
    found: dict[Hashable, float] = {}
    drops = _drops(links)
    for sweep in range(_LEVEL_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = [_wanted(key, drops.get(key, ()), found) for key in column]
            steps = [0, *accumulate(heights[key] + gap for key in column[:-1])]
            rising = _rising([want - step for want, step in zip(wanted, steps, strict=True)])
            found |= {key: top + step for key, top, step in zip(column, rising, steps, strict=True)}
    highest = min(found.values(), default=0)
    return {key: top - highest for key, top in found.items()}


def _barycentres(
    columns: Columns, at: int, links: Sequence[Link], *, forward: bool
) -> dict[Hashable, float]:
    """The mean rank of each thing's neighbours on one side; its own rank without any."""
    ranks = _ranks(columns)
    sides: dict[Hashable, list[float]] = {key: [] for key in columns[at]}
    for link in links:
        if forward and link.right in sides:
            sides[link.right].append(ranks[link.left][1] + _part(link))
        elif not forward and link.left in sides:
            sides[link.left].append(ranks[link.right][1])
    return {key: fmean(found) if found else ranks[key][1] for key, found in sides.items()}


def _ranks(columns: Columns) -> dict[Hashable, tuple[int, int]]:
    return {key: (at, rank) for at, keys in enumerate(columns) for rank, key in enumerate(keys)}


def _part(link: Link) -> float:
    """The port as a part of one rank, so that rows of one card have an order too."""
    return link.port / (link.port + 1000)


def _drops(links: Sequence[Link]) -> dict[Hashable, list[tuple[Hashable, float]]]:
    """The neighbours of each thing, and how much further down than theirs its top shall be."""
    drops: dict[Hashable, list[tuple[Hashable, float]]] = {}
    for link in links:
        drops.setdefault(link.right, []).append((link.left, link.drop))
        drops.setdefault(link.left, []).append((link.right, -link.drop))
    return drops


def _wanted(
    key: Hashable, drops: Iterable[tuple[Hashable, float]], found: Mapping[Hashable, float]
) -> float:
    levels = [found[other] + drop for other, drop in drops if other in found]
    return fmean(levels) if levels else found.get(key, 0)


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest values of which none is below the one before: pooled where they fall."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return [fmean(pool) for pool in pools for _ in pool]
