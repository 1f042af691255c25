"""Every way flytelineage can fail.

The daemon decides by class alone, never by the text of a message. Each class says
whose fault it is, whether trying again helps, and what is lost. The first line of
the docstring is the default message, so the two cannot differ.
"""

from __future__ import annotations


class FlyteLineageError(Exception):
    """Something in flytelineage failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class ConfigError(FlyteLineageError):
    """The configuration is wrong.

    The operator's fault: the program stops before it consumes anything. The message
    names the trait and says what to type. Nothing is lost.
    """


class DecodeError(FlyteLineageError):
    """The message is not a Flyte event that can be read.

    The sender's fault, and final: the body goes to quarantine with the reason and the
    next message is taken. Nothing is lost.
    """


class ForeignTopicError(DecodeError):
    """The message did not come from a topic that is allowed.

    Whoever sends it is not trusted, so it is not looked at any further: the body goes to
    quarantine with the reason. A topic that was forgotten is added to the allow-list, and
    the messages are replayed from quarantine.
    """


class SourceError(FlyteLineageError):
    """The source of messages does not answer.

    Try again later; whatever was not deleted comes again.
    """


class StuckError(FlyteLineageError):
    """A thread stands still, and nothing helps but another process.

    Whatever it has in hand is begun anew; nothing is lost.
    """


class StoreError(FlyteLineageError):
    """The store could not be reached, and nothing in it changed.

    Try again later; the message, the build or the delivery comes again.
    """


class RefusedByStoreError(StoreError):
    """The store refuses this value for good.

    Trying again does not help: the group is bisected and the culprit quarantined.
    """


class ReadError(FlyteLineageError):
    """An object in an object store could not be read.

    Attributes:
        reason: `missing`, `denied`, `too large`, `over budget`, `not allowed`,
            `unreadable` (final) or `unavailable` (try again later).
    """

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or f"The object could not be read: {reason}")
        self.reason = reason


class AdminError(FlyteLineageError):
    """FlyteAdmin did not say what it was asked."""


class AdminUnavailable(AdminError):
    """FlyteAdmin cannot be reached, is slow, throttles or refuses us.

    Ask again later. The message names the endpoint and what to check; nothing is lost.
    """


class UnknownToAdmin(AdminError):
    """FlyteAdmin does not know what it was asked for.

    Final: asking again does not help, it goes on without.
    """


class TargetError(FlyteLineageError):
    """A target did not take what it was given."""


class TransientTargetError(TargetError):
    """The target is slow, throttles or answers 5xx.

    Try this delivery again with backoff, not before `retry_after` seconds.
    """

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TargetUnavailable(TargetError):
    """The target refuses everything: 401, 403, expired credentials, no such database.

    The operator's fault: the whole target pauses and no attempt is counted against
    the delivery at hand.
    """


class PermanentTargetError(TargetError):
    """The target refuses this execution for good.

    It is given up for this target at once, shown by `status`, and retried by hand.
    """
