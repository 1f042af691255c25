"""How `backfill` walks through the executions of one project and domain."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from flytelineage.commands import say
from flytelineage.commands.times import duration
from flytelineage.entities import ExecutionId
from flytelineage.errors import AdminUnavailable, UnknownToAdmin
from flytelineage.store.values import Backfill as State

if TYPE_CHECKING:
    from flytelineage.flyteadmin import FlyteAdmin, ListedExecution, Page
    from flytelineage.store import Store

T = TypeVar("T")

GROUP = 200
"""Events that are recorded at once."""

PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Before FlyteAdmin is asked once more."""

LINE_SECONDS = 30.0
"""Between two lines about progress where lines are kept; on a terminal one is renewed."""

_SHOWN = 20
"""How many executions are named that could not be recorded."""


class Stopped(Exception):
    """Somebody asked the backfill to stop."""


class Filling:
    """Records the executions of one project and domain.

    Args:
        admin: Has them.
        store: Takes them, and how far this has come.
        stopping: Set when it shall stop; it does so within a request.
        instance: Names the Flyte deployment.
    """

    def __init__(
        self, admin: FlyteAdmin, store: Store, stopping: threading.Event, instance: str
    ) -> None:
        self._admin = admin
        self._store = store
        self._stopping = stopping
        self._instance = instance
        self._skipped: list[str] = []

    def fill(self, wanted: State) -> bool:
        """Begin, or go on where the same command was stopped.

        Returns:
            Whether there was any execution.

        Raises:
            AdminUnavailable: FlyteAdmin does not answer, or not us; says how to go on.
        """
        state = self._begun(wanted)
        progress = Progress(state)
        try:
            for page in self._pages(state):
                state = self._take(page, state, progress)
        except Stopped:
            return True
        except AdminUnavailable as exc:
            raise AdminUnavailable(
                f"{exc}. What was recorded is kept: type the same command again to go on"
            ) from exc
        finally:
            progress.end()
        self._store.note_backfill(replace(state, reached=state.until, finished=True))
        self._tell(state)
        return _looked_at(state) > 0

    def _begun(self, wanted: State) -> State:
        found = self._store.backfill(wanted.key)
        if found is None or found.finished:
            return wanted
        say(f"{_where(found)}: going on from {found.reached:%Y-%m-%d %H:%M}")
        return found

    def _pages(self, state: State) -> Iterator[Sequence[ListedExecution]]:
        """The executions page by page; a token holds for the bounds at the start only."""
        page: Page | None = None
        while page is None or page.token:
            ask = partial(
                self._admin.executions,
                state.project,
                state.domain,
                since=state.reached,
                until=state.until,
                token=page.token if page else "",
                instance=self._instance,
            )
            page = self._patiently(ask)
            yield page.executions

    def _take(self, page: Sequence[ListedExecution], state: State, progress: Progress) -> State:
        """Record what the store does not know to its end; each is noted when it is done."""
        ended = self._store.ended(one.id for one in page)
        for one in page:
            self._go_on()
            if one.id in ended:
                state = replace(state, known=state.known + 1)
            elif self._is_recorded(one.id):
                state = replace(state, recorded=state.recorded + 1)
            else:
                state = replace(state, gone=state.gone + 1)
            state = replace(state, reached=max(state.reached, one.created_at))
            if one.id not in ended:
                self._store.note_backfill(state)
            progress.show(state)
        self._store.note_backfill(state)
        return state

    def _is_recorded(self, id: ExecutionId) -> bool:
        """Record an execution; one of which FlyteAdmin cannot tell stops no other.

        Raises:
            AdminUnavailable: It tells nothing at all.
        """
        try:
            self._patiently(partial(self._record, id))
        except UnknownToAdmin:
            self._skipped.append(f"{id}: no longer there")
        except AdminUnavailable as exc:
            self._go_on()
            self._admin.check()
            self._skipped.append(f"{id}: {exc}")
        else:
            return True
        return False

    def _record(self, id: ExecutionId) -> None:
        events = self._until_stopped(self._admin.record_of(id))
        while group := list(islice(events, GROUP)):
            self._store.record(group)

    def _until_stopped(self, events: Iterable[T]) -> Iterator[T]:
        for event in events:
            self._go_on()
            yield event

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask again for a while when FlyteAdmin does not answer."""
        for pause in PAUSES_SECONDS:
            self._go_on()
            try:
                return ask()
            except AdminUnavailable as exc:
                self._go_on()
                say(f"Asking again in {pause:.0f} s: {exc}", to_stderr=True)
                self._stopping.wait(pause)
        self._go_on()
        return ask()

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _tell(self, state: State) -> None:
        say(f"{_where(state)}: {_counts(state)}")
        if not _looked_at(state):
            say(
                "  FlyteAdmin knows no execution there that was created from "
                f"{state.since:%Y-%m-%d %H:%M} to {state.until:%Y-%m-%d %H:%M}"
            )
        for line in self._skipped[:_SHOWN]:
            say(f"  {line}")
        if len(self._skipped) > _SHOWN:
            say(f"  and {len(self._skipped) - _SHOWN} more")


class Progress:
    """Shows how far a backfill has come: where, how much, how fast, how long still.

    Args:
        begun: The state at the start of this run.
        clock: Seconds that only grow.
    """

    def __init__(self, begun: State, clock: Callable[[], float] = time.monotonic) -> None:
        self._begun = begun
        self._clock = clock
        self._began = self._shown = clock()
        self._terminal = sys.stdout.isatty()
        self._open_line = False

    def show(self, state: State) -> None:
        """Show it if it is time to: each second on a terminal, else ever so often."""
        now = self._clock()
        if now - self._shown < (1.0 if self._terminal else LINE_SECONDS):
            return
        self._shown = now
        if self._terminal:
            sys.stdout.write(f"\r{self._line(state, now)}\x1b[K")
            sys.stdout.flush()
            self._open_line = True
        else:
            say(self._line(state, now))

    def end(self) -> None:
        """Leave a terminal's line clean for what comes."""
        if self._open_line:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            self._open_line = False

    def _line(self, state: State, now: float) -> str:
        seconds = max(now - self._began, 0.001)
        rate = (_looked_at(state) - _looked_at(self._begun)) / seconds
        whole = (state.until - self._begun.reached).total_seconds()
        done = (state.reached - self._begun.reached).total_seconds() / whole if whole else 1.0
        left = f", about {duration(seconds * (1 - done) / done)} left" if done > 0.001 else ""
        at = f"{state.reached:%Y-%m-%d %H:%M}"
        return f"{_where(state)} at {at}: {_counts(state)}, {rate:.1f}/s{left}"


def _where(state: State) -> str:
    return f"{state.project}/{state.domain}"


def _looked_at(state: State) -> int:
    return state.recorded + state.known + state.gone


def _counts(state: State) -> str:
    parts = [f"{state.recorded:,} recorded"]
    parts += [f"{state.known:,} known before"] if state.known else []
    parts += [f"{state.gone:,} that FlyteAdmin could not tell"] if state.gone else []
    return ", ".join(parts)
