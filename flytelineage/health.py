"""What is wrong with a process right now, in three degrees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Health:
    """Reasons, in sentences for people; where there are none, all is well.

    The degrees are those of an orchestrator: what is not live it restarts, what is not
    ready it waits for, and of what is degraded it need not know.

    Attributes:
        live: Why only a restart would help, e.g. a thread that no longer moves.
        ready: Why no work is done for now, e.g. a database that does not answer.
        degraded: What waits while the rest goes on, e.g. a target that is down.
    """

    live: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether it can go on by itself."""
        return not self.live

    @property
    def is_ready(self) -> bool:
        """Whether it takes messages; a target that is down changes nothing about that."""
        return not (self.live or self.ready)
