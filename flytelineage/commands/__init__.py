"""The contract of commands: what `flytelineage NAME` does.

A command is found by its name in `COMMANDS` and imported only when it is asked for.
It asks the program for the parts it needs, and knows nothing of how they are made.
"""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from traitlets.config import LoggingConfigurable

from flytelineage.errors import ConfigError
from flytelineage.options import escaped, redact

if TYPE_CHECKING:
    from datetime import datetime

    from flytelineage.daemon import Daemon
    from flytelineage.entities import ExecutionId
    from flytelineage.flyteadmin import FlyteAdmin
    from flytelineage.sources import Source
    from flytelineage.store import Store
    from flytelineage.targets import Target
    from flytelineage.transforms import Transform


class Entry(NamedTuple):
    """Where a command lies and what it does, in a line of `--help`."""

    path: str
    summary: str


COMMANDS: Mapping[str, Entry] = {
    "demo": Entry(
        "flytelineage.commands.demo:Demo",
        "watch sample workflows become lineage, with nothing to set up",
    ),
    "replay": Entry("flytelineage.commands.replay:Replay", "process recorded messages, then exit"),
    "backfill": Entry(
        "flytelineage.commands.backfill:Backfill",
        "record executions that ran before, from FlyteAdmin",
    ),
    "check": Entry(
        "flytelineage.commands.check:Check", "find every problem of the configuration in one go"
    ),
    "iam": Entry(
        "flytelineage.commands.iam:Iam", "print the policies that AWS needs, and no right more"
    ),
    "status": Entry(
        "flytelineage.commands.status:Status", "show what was built, told, and what is stuck"
    ),
    "explain": Entry(
        "flytelineage.commands.explain:Explain",
        "why a dataset has its name, why an execution has its edges",
    ),
    "retry": Entry("flytelineage.commands.retry:Retry", "tell targets again what was given up"),
    "quarantine": Entry(
        "flytelineage.commands.quarantine:Quarantine",
        "list, show and replay messages that could not be read",
    ),
    "vacuum": Entry(
        "flytelineage.commands.vacuum:Vacuum",
        "remove what is old, and give its room back to the disk",
    ),
    "export": Entry(
        "flytelineage.commands.export:Export", "print the messages of an execution for `replay`"
    ),
}


def load(name: str) -> type[Command]:
    """The command's class.

    Raises:
        ConfigError: It needs an extra that is not installed.
    """
    module, _, found = COMMANDS[name].path.partition(":")
    try:
        command: type[Command] = getattr(import_module(module), found)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(
            f"The command {name} cannot be loaded: {exc}. Type: pip install 'flytelineage[all]'"
        ) from exc
    return command


def classes(log: logging.Logger) -> list[type[Command]]:
    """All commands that can be loaded with the extras that are installed."""
    found = []
    for name in COMMANDS:
        try:
            found.append(load(name))
        except ConfigError as exc:
            log.debug("Passing over a command: %s", exc)
    return found


class Program(Protocol):
    """What a command may ask of the application.

    Attributes:
        problems: What is wrong with the configuration; empty unless the command is
            `lenient`.
    """

    config: Any
    instance: Any
    emit: Any
    include: Any
    exclude: Any
    targets: Any
    topics: Any
    problems: list[str]

    @property
    def warnings(self) -> list[str]:
        """What is in order, but should be known."""

    @property
    def loaded_config_files(self) -> list[str]:
        """The configuration files that were read."""

    def with_options(self, options: Mapping[str, Mapping[str, Any]]) -> Program:
        """Another program that has these options by class, and none of this one's."""

    def build_source(self, plugin: str | type | None = None, **traits: Any) -> Source:
        """The source that is configured, or another one; not connected.

        Raises:
            ConfigError: It cannot be made; for instance no queue is configured.
        """

    def build_target(self, plugin: str | type) -> Target:
        """One of `targets`; not connected.

        Raises:
            ConfigError: There is none of this name, or its options make no sense.
        """

    def build_targets(self) -> dict[str, Target]:
        """The targets by the names under which deliveries are kept; not connected."""

    def build_transforms(self) -> list[Transform]:
        """The transforms in the order in which they are applied."""

    def build_admin(self) -> FlyteAdmin | None:
        """FlyteAdmin's client, not connected; `None` where none is configured."""

    def opened_admin(self) -> AbstractContextManager[FlyteAdmin | None]:
        """The same, to be used in a `with` statement; that it is away stops nobody."""

    def store_is_new(self) -> bool:
        """Whether nothing is stored yet; unknown, so False, for a database server."""

    def opened_store(
        self, *, exclusive: bool = False, **traits: Any
    ) -> AbstractContextManager[Store]:
        """The store, open, to be used in a `with` statement.

        Args:
            exclusive: No other process may use it; it is made if there is none.
            traits: Options of the store that come before those that are configured.
        """

    def build_daemon(
        self,
        source: Source,
        store: Store,
        targets: Mapping[str, Target],
        admin: FlyteAdmin | None = None,
    ) -> Daemon:
        """The three loops over these parts; without `admin` nobody is asked."""


class Command(LoggingConfigurable):
    """Does one thing and returns the exit code.

    Must implement `run`. May set `usage`, `aliases`, `flags` and `lenient`. The
    docstring's first paragraph is what `--help` says.
    """

    usage: ClassVar[str] = ""
    """The words that stand behind the command's name."""

    examples: ClassVar[str] = ""
    """Lines for the end of `--help`."""

    aliases: ClassVar[Mapping[str, tuple[str, str]]] = {}
    flags: ClassVar[Mapping[str, tuple[Mapping[str, Any], str]]] = {}

    lenient: ClassVar[bool] = False
    """Whether it runs although the configuration has problems, in order to tell them."""

    @abstractmethod
    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Do it.

        Args:
            program: Makes the parts that are needed.
            arguments: The words that are not options.

        Returns:
            The exit code: 0, or 1 when something needs attention.
        """

    def one(self, arguments: Sequence[str]) -> str:
        """The single word that the command takes.

        Raises:
            ConfigError: There is none, or there are several.
        """
        if len(arguments) != 1:
            raise self.misused(arguments)
        return arguments[0]

    def none(self, arguments: Sequence[str]) -> None:
        """See that there are no words.

        Raises:
            ConfigError: There is one.
        """
        if arguments:
            raise self.misused(arguments)

    def misused(self, arguments: Sequence[str]) -> ConfigError:
        """The error for words that the command does not take."""
        name = type(self).__name__.lower()
        given = " ".join(arguments) or "nothing"
        return ConfigError(f"Usage: {f'flytelineage {name} {self.usage}'.strip()} (given: {given})")


def say(text: str = "", *, to_stderr: bool = False) -> None:
    """Print a line, on stdout unless lineage itself goes there.

    It may hold what a stranger wrote: no terminal obeys it, and it stays one line.
    """
    say_lines(text.replace("\n", "\\n"), to_stderr=to_stderr)


def say_lines(text: str, *, to_stderr: bool = False) -> None:
    """Print what has line ends of our own, such as a table; otherwise as `say` does."""
    shown = escaped(redact(text), keep="\n\t")
    print(shown, file=sys.stderr if to_stderr else sys.stdout, flush=True)


def hand_out(body: str) -> None:
    """Print a message's body as it came; on a terminal, as `say` would."""
    if sys.stdout.isatty():
        say_lines(body)
    else:
        # Halves of characters have no bytes.
        came = redact(body).encode(errors="backslashreplace").decode()
        sys.stdout.write(f"{came}\n")
        sys.stdout.flush()


def events_are_gone(execution: ExecutionId, since: datetime) -> ConfigError:
    """The error for a look at events that retention removed."""
    return ConfigError(
        f"The events of {execution} are gone since {since:%Y-%m-%d}: they are kept for "
        f"Store.keep_events days. Type: flytelineage status {execution}"
    )


def execution_id(text: str, instance: str) -> ExecutionId:
    """Read `project/domain/name`, as everything here prints it.

    Raises:
        ConfigError: It is not of that form.
    """
    from flytelineage.entities import ExecutionId

    parts = text.strip("/").split("/")
    if len(parts) == 4 and parts[0] == instance:
        parts = parts[1:]
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"{text!r} is no execution: type project/domain/name")
    return ExecutionId(instance=instance, project=parts[0], domain=parts[1], name=parts[2])


def table(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> str:
    """Columns as wide as their widest cell; the last one as it is, a line each."""
    if not rows:
        return ""
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        indent
        + "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
        ).rstrip()
        for row in rows
    )
