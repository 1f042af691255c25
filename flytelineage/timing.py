"""Who was over before whom, by the times of node events; pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from flytelineage.facts import NodeFacts

MAX_ORDERED = 100
"""Tasks after which one is told to come by the order of events alone; of more than that,
order says nothing."""


class Producers:
    """The nodes that produced one piece of data."""

    def __init__(self, nodes: Sequence[NodeFacts]) -> None:
        timed = [(node.ended_at, node) for node in nodes if node.ended_at]
        timed.sort(key=lambda item: item[0])
        self.nodes = nodes
        self._done = [node for _, node in timed]
        self._ends = [ended for ended, _ in timed]

    def before(self, node: NodeFacts) -> Sequence[NodeFacts]:
        """Those that were over when a node was queued."""
        if node.queued_at is None:
            return ()
        return self._done[: bisect_right(self._ends, node.queued_at)]


class Level:
    """The tasks of one graph level in the order in which they ended."""

    def __init__(self, nodes: Iterable[NodeFacts]) -> None:
        timed = [(n.ended_at, n.queued_at, n) for n in nodes if n.ended_at and n.queued_at]
        timed.sort(key=lambda item: (item[0], item[2].id))
        self._nodes = [node for _, _, node in timed]
        self._ends = [ended for ended, _, _ in timed]
        self._last_queued = list(accumulate((queued for _, queued, _ in timed), max))

    def just_before(self, node: NodeFacts) -> list[NodeFacts]:
        """Who was over before the node began, and before nobody else who was.

        Whoever ended before another one of them began is before the node through that
        one: what is left is the transitive reduction.
        """
        if node.queued_at is None:
            return []
        over = bisect_left(self._ends, node.queued_at)
        if not over:
            return []
        first = bisect_left(self._ends, self._last_queued[over - 1])
        return self._nodes[first:over] if over - first <= MAX_ORDERED else []
