"""Which copies a table had, and which may go; pure.

It stands in the table's own parameters, and so changes together with its location or
not at all. That is what keeps a copy from being deleted by one process while another
lets the table point at it again: Glue takes only one of the two updates.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flytelineage.targets.glue.text import moment

FORMER = "flytelineage.former_copies"
"""Parameter: copies that the table pointed at, and since when it does so no more."""
REMOVED = "flytelineage.removed_copies"
"""Parameter: copies that are being deleted, since when, and shall not be used again."""

_MAX_FORMER = 5000
_UNUSED_FOR = timedelta(hours=1)
"""How long a removed copy's name stays taken: longer than any deletion takes."""


@dataclass(frozen=True)
class History:
    """Former copies of a table, with times."""

    former: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, object]) -> History:
        """What a table's parameters say; what people broke says nothing."""
        return cls(_times(table, FORMER), _times(table, REMOVED))

    def moved(
        self, current: Collection[str], existing: Collection[str], at: datetime, keep: timedelta
    ) -> History:
        """The history once the table points elsewhere.

        A copy is never found to be unused and removed at once: another process may have
        just made it.

        Args:
            current: Copies that are pointed at from now on.
            existing: All copies that there are.
            at: The time.
            keep: How long a copy stays that nothing points at.
        """
        former = {id: since for id, since in self.former.items() if id in existing}
        for id in sorted(set(existing) - former.keys() - self.removed.keys()):
            former[id] = moment(at)
        former = {id: since for id, since in former.items() if id not in current}
        known = sorted(self.former.keys() & former.keys(), key=former.__getitem__)
        surplus = known[:-_MAX_FORMER]
        due = [id for id in known if id in surplus or former[id] <= moment(at - keep)]
        removed = {
            id: since
            for id, since in self.removed.items()
            if id in existing or since > moment(at - _UNUSED_FOR)
        }
        return History(
            {id: since for id, since in former.items() if id not in due},
            removed | dict.fromkeys(due, moment(at)),
        )

    def parameters(self) -> dict[str, str]:
        """What the table says of it; both are there, since an older one must be replaced."""
        return {
            key: json.dumps(dict(sorted(times.items())))
            for key, times in ((FORMER, self.former), (REMOVED, self.removed))
        }


def _times(table: Mapping[str, object], key: str) -> dict[str, str]:
    parameters = table.get("Parameters")
    text = parameters.get(key) if isinstance(parameters, Mapping) else None
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(id): str(since) for id, since in found.items()} if isinstance(found, dict) else {}
