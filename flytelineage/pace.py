"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass

REPLAY_TRIES = 3
"""In a replay nobody waits: after so many tries a build or a delivery is given up."""


@dataclass
class Pace:
    """Pauses that double with each failure, up to a bound, and differ from thread to thread.

    Attributes:
        first_seconds: After the first failure.
        longest_seconds: After any number of them.
        patient: False in a replay, where nobody waits for anything.
    """

    first_seconds: float
    longest_seconds: float
    patient: bool = True

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        if not self.patient:
            return 0.0
        # Doubling is stopped long before a float ends.
        doubled = self.first_seconds * 2.0 ** min(failures - 1, 30)
        longest = min(self.longest_seconds, doubled)
        return random.uniform(longest / 2, longest)  # noqa: S311 - no secret depends on it
