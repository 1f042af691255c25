"""The contract of sources: where messages come from.

A source is an inbox. It hands out raw bodies; nothing behind it depends on a message
once it was deleted. Found by its entry point in the group `flytelineage.sources`, or
by a dotted path.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from traitlets.config import LoggingConfigurable

from flytelineage.permissions import Statement


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came.

    Attributes:
        body: What was sent, undecoded.
        handle: What `delete` needs to know it again.
        id: Names the message in logs; may be empty.
        sent_at: When it was sent, where the source knows.
        receive_count: How often it was handed out, this time included.
    """

    body: str
    handle: str
    id: str = ""
    sent_at: datetime | None = None
    receive_count: int = 1


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much a source still holds, as far as it knows: queues only estimate.

    Attributes:
        visible: Messages that could be received now.
        in_flight: Messages that were received, by anybody, and are not deleted.
    """

    visible: int
    in_flight: int


class Source(LoggingConfigurable):
    """Hands out messages until they are deleted.

    Must implement `receive` and `delete`; may implement `check`, `close`, `exhausted`
    and `backlog`, and where messages are hidden for a time only, `visibility_seconds`
    together with `hide`. All methods may be called by several threads at once.
    Constructing a source must not connect to anything.
    """

    parallel: ClassVar[bool] = False
    """Whether several threads gain from calling `receive` at once."""

    trusted: ClassVar[bool] = False
    """Whether the operator hands in what it holds, so that topics need not vouch for it."""

    @abstractmethod
    def receive(self) -> Sequence[Message]:
        """Wait a little for messages.

        Returns:
            Some messages: up to ten of a queue, hundreds of a file; empty when none
            came in time.

        Raises:
            ConfigError: It can never work as configured: no such queue, no right.
            SourceError: It does not work now; try again later.
        """

    @abstractmethod
    def delete(self, messages: Sequence[Message]) -> None:
        """Forget messages whose content is safe; one not deleted comes again.

        Raises:
            ConfigError: It can never work as configured: no right to delete.
            SourceError: Some or all were not deleted.
        """

    def hide(self, messages: Sequence[Message], seconds: float) -> None:
        """Keep messages that are in hand to ourselves for so long from now on.

        Safe to repeat. 0 gives them back: they come again at once. A source that hides
        nothing has nothing to do.

        Raises:
            ConfigError: There is no right to do so.
            SourceError: Some or all may come again earlier; that loses nothing.
        """

    @property
    def visibility_seconds(self) -> float | None:
        """For how long a received message is hidden; `None`: until it is deleted."""
        return None

    def backlog(self) -> Backlog | None:
        """Ask how much there still is; `None` where nobody knows.

        Raises:
            ConfigError: There is no right to ask.
            SourceError: It does not answer now.
        """
        return None

    @property
    def exhausted(self) -> bool:
        """True once nothing will ever come again; False for a queue."""
        return False

    def describe(self) -> str:
        """The source in a few words, for the line that is logged at start."""
        return type(self).__name__

    def permissions(self) -> Sequence[Statement]:
        """What AWS must allow for all that is asked of it; empty without AWS."""
        return ()

    def check(self) -> None:
        """Reach the source without taking a message.

        Raises:
            ConfigError: What is wrong and what to do, in one line.
            SourceError: It does not answer now.
        """

    def close(self) -> None:
        """Let go of files and connections."""
