"""`flytelineage backfill`: executions that ran before, from FlyteAdmin."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from traitlets import Bool, List, Unicode

from flytelineage.commands import Command, Program, outcome, say
from flytelineage.commands.filling import Filling
from flytelineage.commands.times import moment
from flytelineage.entities import ExecutionId
from flytelineage.errors import ConfigError
from flytelineage.scope import Scope
from flytelineage.signals import StopSignals
from flytelineage.sources import Message, Source
from flytelineage.store.values import Backfill as State

if TYPE_CHECKING:
    from flytelineage.daemon import Daemon
    from flytelineage.flyteadmin import FlyteAdmin


class Backfill(Command):
    """Records executions that ran before, from FlyteAdmin.

    Everything that FlyteAdmin keeps of each execution is recorded like events, oldest
    first; a running daemon builds and tells it, otherwise the next one does. What the store
    knows to its end is passed over. When it was stopped, the same command goes on where it
    was. FlyteAdmin.requests_per_second says how fast it goes: reckon with one request for
    each task of an execution. Times are as for `retry`, of the creation of executions.
    """

    usage = "--project=PROJECT --domain=DOMAIN --since=TIME"
    examples = """
        flytelineage backfill --project=shop --domain=production --since=2026-01-01
        flytelineage backfill --project=shop --domain=production --since=90d --until=30d
        flytelineage backfill --project=shop --domain=production --since=7d --build
    """

    projects = List(
        Unicode(),
        help="""
        The projects whose executions are recorded; each with all of `domains`. Needed.

        Example: flytelineage backfill --project=shop --project=search --domain=production
        """,
    ).tag(config=True)

    domains = List(
        Unicode(),
        help="""
        The domains whose executions are recorded. Needed.

        Example: flytelineage backfill --project=shop --domain=staging --domain=production
        """,
    ).tag(config=True)

    since = Unicode(
        "",
        help="""
        Only executions that were created at this time or later. Needed.

        Example: flytelineage backfill --since=2026-01-31T12:00:00+01:00
        """,
    ).tag(config=True)

    until = Unicode(
        "",
        help="""
        Only executions that were created before this time. Empty: those before the
        backfill began.

        Example: flytelineage backfill --since=2026-01-01 --until=2026-02-01
        """,
    ).tag(config=True)

    build = Bool(
        False,
        help="""
        Build and tell what was recorded, then exit, instead of leaving that to the daemon.
        Nothing is waited for, as in a replay. An SQLite store must not be in use by a
        daemon meanwhile: leave it out there.

        Example: flytelineage backfill --since=7d --build
        """,
    ).tag(config=True)

    aliases = {
        "project": ("Backfill.projects", "the project; may be repeated"),
        "domain": ("Backfill.domains", "the domain; may be repeated"),
        "since": ("Backfill.since", "created then or later"),
        "until": ("Backfill.until", "created before then; now by default"),
    }
    flags = {
        "build": ({"Backfill": {"build": True}}, "build and tell here, without the daemon"),
    }

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Record them; 128 + n on signal n, 1 when --build could not tell everything."""
        self.none(arguments)
        wanted = self._wanted(program)
        with StopSignals(self.log) as signals, ExitStack() as parts:
            admin = _admin(program)
            parts.callback(admin.close)
            admin.check()
            targets = program.build_targets() if self.build else {}
            for target in targets.values():
                parts.callback(target.close)
            # A new one is made; one that a daemon holds is written to beside it.
            alone = self.build or program.store_is_new()
            opened = program.opened_store(exclusive=alone, replaying=self.build)
            store, stopping = parts.enter_context(opened), threading.Event()
            signals.on_stop(stopping.set, admin.close)
            filling = [
                Filling(admin, store, stopping, program.instance).fill(one) for one in wanted
            ]
            if self.build:
                daemon = program.build_daemon(Nothing(), store, targets, admin)
                signals.on_stop(daemon.stop, admin.close)
                failed = self._build(program, daemon)
        if signals.received is not None:
            say("Stopped: type the same command again, and it goes on from here", to_stderr=True)
            return 128 + signals.received
        if self.build:
            return 1 if failed else 0
        if any(filling):
            say(_hint(program))
        return 0

    def _wanted(self, program: Program) -> list[State]:
        """What is asked for, one for each project and domain, as if it had not begun."""
        now = datetime.now(timezone.utc)
        since = moment("since", self.since, now)
        given = {"project": any(self.projects), "domain": any(self.domains), "since": since}
        missing = [f"--{name}" for name, value in given.items() if not value]
        if since is None or missing:
            raise ConfigError(
                f"Usage: flytelineage backfill {self.usage} (missing: {', '.join(missing)})"
            )
        until = min(moment("until", self.until, now) or now, now)
        if since >= until:
            raise ConfigError(f"--since={self.since} is not before the end, {until:%Y-%m-%d %H:%M}")
        return [
            State(
                key="/".join((program.instance, project, domain, self.since, self.until)),
                project=project,
                domain=domain,
                since=since,
                until=until,
                reached=since,
            )
            for project in self.projects
            for domain in self.domains
            if _is_included(program, project, domain)
        ]

    def _build(self, program: Program, daemon: Daemon) -> bool:
        """Build and deliver until nothing is due, and print how that ended."""
        store = daemon.store
        unbuilt = store.unbuilt()
        ended = store.ended(unbuilt)
        for execution in unbuilt:  # the oldest first
            if execution in ended:
                store.rebuild(execution)  # what an earlier run recorded may still settle
        report = daemon.replay()
        why = outcome.reasons(store.status())
        paths = {name: getattr(target, "path", "") for name, target in daemon.targets.items()}
        for line in (
            *outcome.told(report, paths, held=not program.emit),
            *outcome.left(report, why),
        ):
            say(line, to_stderr="-" in paths.values())
        return report.failed


class Nothing(Source):
    """A source that has no messages: what is built is in the store."""

    @property
    def exhausted(self) -> bool:
        """Always."""
        return True

    def receive(self) -> Sequence[Message]:
        """None."""
        return ()

    def delete(self, messages: Sequence[Message]) -> None:
        """Nothing came."""


def _admin(program: Program) -> FlyteAdmin:
    admin = program.build_admin()
    if admin is None:
        raise ConfigError(
            "There is no FlyteAdmin to ask: set FlyteAdmin.endpoint, "
            "e.g. --FlyteAdmin.endpoint=dns:///flyte.example.com"
        )
    return admin


def _is_included(program: Program, project: str, domain: str) -> bool:
    scope = Scope(program.include, program.exclude)
    if scope.stores(ExecutionId(project=project, domain=domain, name="any")):
        return True
    say(f"{project}/{domain} is left out: see FlyteLineage.include and FlyteLineage.exclude")
    return False


def _hint(program: Program) -> str:
    held = "" if program.emit else ", and holds it, as FlyteLineage.emit is off"
    return f"The daemon builds and tells what was recorded{held}; `flytelineage status` shows it"
