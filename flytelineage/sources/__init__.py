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


class Source(LoggingConfigurable):
    """Hands out messages until they are deleted.

    Must implement `receive` and `delete`; may implement `check`, `close` and
    `exhausted`. All methods may be called by several threads at once. Constructing a
    source must not connect to anything.
    """

    parallel: ClassVar[bool] = False
    """Whether several threads gain from calling `receive` at once."""

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

    @property
    def exhausted(self) -> bool:
        """True once nothing will ever come again; False for a queue."""
        return False

    def describe(self) -> str:
        """The source in a few words, for the line that is logged at start."""
        return type(self).__name__

    def check(self) -> None:
        """Reach the source without taking a message.

        Raises:
            ConfigError: What is wrong and what to do, in one line.
            SourceError: It does not answer now.
        """

    def close(self) -> None:
        """Let go of files and connections."""
