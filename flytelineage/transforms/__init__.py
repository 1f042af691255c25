"""The contract of transforms: the operator's rules, applied before each delivery.

Found by entry point in the group `flytelineage.transforms`, or by a dotted path.
"""

from __future__ import annotations

from abc import abstractmethod

from traitlets.config import LoggingConfigurable

from flytelineage.entities import Lineage


class Transform(LoggingConfigurable):
    """Changes what targets are told: add owners and tags, rename, drop.

    Must implement `apply`, without I/O and without a clock.
    """

    @abstractmethod
    def apply(self, lineage: Lineage) -> Lineage | None:
        """The lineage to tell instead; `None` tells nothing of this execution.

        The same input must give the same answer: a delivery may be repeated. Whoever gives
        tasks or pipelines other names gives them in `Pipeline.tasks`, too, or clears that:
        a task that is listed no more is removed from catalogues.
        """
