"""Asks FlyteAdmin what events leave open, and has the answers kept.

What it says of an execution is recorded like events, so that a build stays a function of
what is stored; definitions are kept by version. What it does not know is remembered, and
asked again after a day. When it does not answer, nobody asks for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from logging import Logger
from typing import NamedTuple, Protocol

from flytelineage.consult import Question, questions
from flytelineage.entities import ExecutionId
from flytelineage.errors import (
    AdminUnavailable,
    ConfigError,
    RefusedByStoreError,
    UnknownToAdmin,
)
from flytelineage.events import TERMINAL_PHASES, Event
from flytelineage.facts import Facts, Identifier
from flytelineage.scope import Scope

ASK_AGAIN = timedelta(days=1)
"""After this time something that was unknown is asked again: the endpoint may have been wrong."""

MAX_ORIGINS = 20
"""Whole executions that are asked for in one build before others have their turn."""

GROUP = 200
"""Events that are recorded at once."""

SHORTEST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
"""How long nobody asks after FlyteAdmin did not answer; doubled each time."""


class Admin(Protocol):
    """Answers; see `flyteadmin.FlyteAdmin`.

    Any of its methods raises `AdminUnavailable` or `UnknownToAdmin`.
    """

    def execution(self, id: ExecutionId) -> Event:
        """Which workflow ran, and who ran it."""

    def record_of(self, id: ExecutionId) -> Iterable[Event]:
        """Its identity and all that happened in it, the end last; asked for bit by bit."""

    def node_events(self, id: ExecutionId) -> Iterable[Event]:
        """What happened at its nodes; asked for bit by bit."""

    def workflow(self, identifier: Identifier) -> bytes:
        """A serialised admin.Workflow."""

    def launch_plan(self, identifier: Identifier) -> bytes:
        """A serialised admin.LaunchPlan."""

    def dynamic_closure(self, id: ExecutionId, node_id: str) -> Event:
        """The graph that a dynamic node made."""


class Memory(Protocol):
    """Keeps answers; see `store.Store`."""

    def record(self, events: Sequence[Event]) -> int:
        """Store events; how many were new."""

    def seen(self, executions: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Those of which there are events."""

    def kept(self, keys: Iterable[str]) -> set[str]:
        """Those of the definitions that are kept."""

    def keep_definition(self, key: str, body: bytes) -> bool:
        """Keep one for good."""

    def asked(self, keys: Iterable[str]) -> Mapping[str, datetime]:
        """Which questions were asked, and when."""

    def note_asked(self, keys: Iterable[str]) -> None:
        """Remember that they were asked."""


class Consulted(NamedTuple):
    """What came of asking.

    Attributes:
        again: Whether there is something new to fold, or more to ask.
        unavailable: Why not all was answered.
    """

    again: bool = False
    unavailable: AdminUnavailable | None = None


def _nothing() -> None:
    """Do nothing between two answers."""


class Consultant:
    """Asks for one execution at a time; shared by threads.

    Args:
        admin: Answers.
        memory: Keeps the answers.
        scope: Of executions outside of it nothing is recorded.
        idle: How long an execution is left alone that still runs.
        stopping: Whether to ask nothing more.
        log: Where outages are told.
    """

    def __init__(
        self,
        admin: Admin,
        memory: Memory,
        scope: Scope,
        *,
        idle: timedelta,
        stopping: Callable[[], bool],
        log: Logger,
    ) -> None:
        self.admin = admin
        self.memory = memory
        self.scope = scope
        self.idle = idle
        self.stopping = stopping
        self.log = log
        self._circuit = Circuit(log)
        self._threads = threading.local()
        self._answers: Mapping[str, Callable[[Question], int]] = {
            "identity": self._identity,
            "end": self._end,
            "workflow": self._workflow,
            "launch_plan": self._launch_plan,
            "closure": self._closure,
            "nodes": self._nodes,
            "origin": self._origin,
        }

    def consult(
        self,
        facts: Facts,
        now: datetime,
        *,
        lost: bool,
        between: Callable[[], None] = _nothing,
    ) -> Consulted:
        """Ask what the events leave open, and have the answers kept.

        Args:
            facts: What the events say.
            now: By the store's clock.
            lost: Whether events are missing, so that the nodes are asked for too.
            between: Called between any two answers: there may be thousands of them.
        """
        self._threads.between = between
        wanted = list(questions(facts, lost=lost))
        recorded = origins = 0
        try:
            for question in self._open(wanted, now):
                between()
                origins += question.subject == "origin"
                if origins > MAX_ORIGINS:
                    return Consulted(again=True)
                recorded += self._ask(question)
        except AdminUnavailable as exc:
            return Consulted(again=recorded > 0, unavailable=exc)
        return Consulted(again=recorded > 0)

    def _open(self, wanted: Sequence[Question], now: datetime) -> list[Question]:
        """Those that nobody answered, nor was asked of late."""
        keys = [question.key for question in wanted]
        asked, kept = self.memory.asked(keys), self.memory.kept(keys)
        origins = [one.execution for one in wanted if one.subject == "origin"]
        seen = self.memory.seen(origins) if origins else set()
        return [
            question
            for question in wanted
            if question.key not in kept
            and (question.key not in asked or now - asked[question.key] >= self._rests(question))
            and (question.subject != "origin" or self._is_wanted(question.execution, seen))
        ]

    def _rests(self, question: Question) -> timedelta:
        return self.idle if question.subject == "end" else ASK_AGAIN

    def _is_wanted(self, origin: ExecutionId, seen: set[ExecutionId]) -> bool:
        return origin not in seen and self.scope.stores(origin)

    def _ask(self, question: Question) -> int:
        """Ask one question; how many events that brought.

        It is remembered unless what was stored closes it for good.
        """
        closed = False
        try:
            with self._circuit.closed():
                new = self._answers[question.subject](question)
            closed = question.subject in ("workflow", "launch_plan") or (
                new > 0 and question.subject in ("identity", "origin")
            )
        except (UnknownToAdmin, RefusedByStoreError) as exc:
            self.log.info("No answer to %s: %s", question.key, exc, extra={"action": "consult"})
            new = 0
        if not closed:
            self.memory.note_asked([question.key])
        return new

    # ------------------------------------------------------------------- answers

    def _identity(self, question: Question) -> int:
        return self.memory.record([self.admin.execution(question.execution)])

    def _end(self, question: Question) -> int:
        """Record all of an execution that ended unnoticed; nothing of one that still runs."""
        answer = self.admin.execution(question.execution)
        if answer.phase not in TERMINAL_PHASES:
            return 0
        self.log.info(
            "%s ended unnoticed: recording it from FlyteAdmin",
            question.execution,
            extra={"action": "reconcile"},
        )
        return self._record(self.admin.record_of(question.execution))

    def _nodes(self, question: Question) -> int:
        return self._record(self.admin.node_events(question.execution))

    def _origin(self, question: Question) -> int:
        self.log.info(
            "Recording %s from FlyteAdmin: its outputs were taken over",
            question.execution,
            extra={"action": "reconcile"},
        )
        # All or nothing: who saw a part of it would wait for the rest.
        return self._record(list(self._until_stopped(self.admin.record_of(question.execution))))

    def _closure(self, question: Question) -> int:
        return self._record([self.admin.dynamic_closure(question.execution, question.node)])

    def _workflow(self, question: Question) -> int:
        return self._keep(question, self.admin.workflow)

    def _launch_plan(self, question: Question) -> int:
        return self._keep(question, self.admin.launch_plan)

    def _keep(self, question: Question, fetch: Callable[[Identifier], bytes]) -> int:
        if question.identifier is not None:
            self.memory.keep_definition(question.key, fetch(question.identifier))
        return 0

    def _record(self, events: Iterable[Event]) -> int:
        """Record in groups, so that what was fetched is kept when the rest fails."""
        stream, new = self._until_stopped(events), 0
        while group := list(islice(stream, GROUP)):
            new += self.memory.record(group)
        return new

    def _until_stopped(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events; a stop need not wait for those of thousands of nodes."""
        between = getattr(self._threads, "between", _nothing)
        for event in events:
            if self.stopping():
                raise Stopping
            between()
            yield event


class Stopping(AdminUnavailable):
    """The daemon stops; FlyteAdmin is asked again at the next start."""


class Circuit:
    """Keeps callers from what does not answer: one tries, the others need not wait for it.

    Args:
        log: Where an outage is told, once, and its end.
        clock: Seconds that only grow.
    """

    def __init__(self, log: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._reason = ""
        self._open_until = 0.0

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let a call through.

        Raises:
            AdminUnavailable: It failed a moment ago, or this call did.
        """
        self._enter()
        try:
            yield
        except Stopping:
            raise
        except UnknownToAdmin:
            self._succeeded()
            raise
        except AdminUnavailable as exc:
            self._failed(exc)
            raise
        except ConfigError as exc:  # the operator's fault, to be repaired while we wait
            self._failed(unavailable := AdminUnavailable(str(exc)))
            raise unavailable from exc
        self._succeeded()

    def _enter(self) -> None:
        with self._lock:
            now = self._clock()
            if self._failures and now < self._open_until:
                raise AdminUnavailable(self._reason)
            if self._failures:  # this call tries; the others wait for what comes of it
                self._open_until = now + self._pause()

    def _pause(self) -> float:
        return min(
            LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 10)
        )

    def _failed(self, exc: AdminUnavailable) -> None:
        with self._lock:
            self._failures += 1
            self._reason = str(exc)
            self._open_until = self._clock() + self._pause()
            if self._failures == 1:
                self._log.warning(
                    "FlyteAdmin does not answer, will ask again; executions wait for their names "
                    "up to Daemon.admin_patience: %s",
                    exc,
                )

    def _succeeded(self) -> None:
        with self._lock:
            if self._failures:
                self._log.info("FlyteAdmin answers again")
            self._failures = 0
