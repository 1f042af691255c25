"""Plugins of an operator, some of which are no good; daemons of these tests load them."""

from __future__ import annotations

from flytelineage.entities import Lineage
from flytelineage.targets import Rejection, Target


class RaisingTarget(Target):
    """Fails in a way that nobody thought of."""

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        raise ZeroDivisionError("a plugin that is no good")
