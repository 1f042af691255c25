"""`flytelineage check`: every problem of the configuration in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from traitlets import Bool, TraitError

from flytelineage.commands import Command, Program, say
from flytelineage.errors import FlyteLineageError
from flytelineage.options import redact


class Check(Command):
    """Finds every problem of the configuration in one go.

    Reads the configuration file strictly, makes the source, every transform and every
    target, and with --connect reaches each of them, the store, and FlyteAdmin where one is
    configured, without taking a message or changing a catalogue. Exits with 1 when
    something is wrong.
    """

    examples = """
        flytelineage check --config=production.py
        flytelineage check --connect
    """

    lenient = True

    connect = Bool(
        False,
        help="""
        Reach the source, every target, FlyteAdmin and the store too. No message is taken
        and no catalogue changed; a store that is behind is migrated.

        Example: flytelineage check --connect
        """,
    ).tag(config=True)

    flags = {
        "connect": (
            {"Check": {"connect": True}},
            "reach the source, targets, FlyteAdmin and the store too; changes no catalogue",
        )
    }

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Print what is wrong and what is in order; 1 when something is wrong."""
        self.none(arguments)
        self._problems = list(dict.fromkeys(program.problems))
        self._fine: list[str] = []
        self._look(program)
        for line in self._fine:
            say(f"ok       {line}")
        for warning in program.warnings:
            say(f"note     {warning}")
        for problem in self._problems:
            say(f"problem  {problem}")
        say(self._conclusion(program))
        return 1 if self._problems else 0

    def _look(self, program: Program) -> None:
        with self._collecting("source"):
            source = program.build_source()
            self._probe("source", source, source.describe())
        for plugin in program.targets:
            with self._collecting("targets"):
                target = program.build_target(plugin)
                name = plugin if isinstance(plugin, str) else plugin.__name__
                self._probe(f"target {name}", target, type(target).__name__)
        with self._collecting("targets"):
            program.build_targets()
        with self._collecting("transforms"):
            count = len(program.build_transforms())
            self._fine += [f"transforms: {count}"] if count else []
        with self._collecting("FlyteAdmin"):
            if admin := program.build_admin():
                self._probe("FlyteAdmin", admin, admin.endpoint or admin.config_file)
        self._check_patterns(program)
        self._check_rules(program)
        if self.connect:
            self._check_store(program)

    def _check_patterns(self, program: Program) -> None:
        from flytelineage.scope import Scope

        for trait in ("include", "exclude"):
            with self._collecting(trait):
                Scope(**{trait: getattr(program, trait)})

    def _check_rules(self, program: Program) -> None:
        from flytelineage.builder import LineageBuilder

        with self._collecting("names"):
            LineageBuilder(parent=program).check()

    def _check_store(self, program: Program) -> None:
        if program.store_is_new():
            # Not made here: whoever checks may be another user than the daemon.
            self._fine.append("store: a new SQLite file will be made")
            return
        with self._collecting("store"), program.opened_store() as store:
            self._fine.append(f"store: {store.describe()}")

    def _probe(self, what: str, part: Any, description: str) -> None:
        try:
            if self.connect:
                with self._collecting(what):
                    part.check()
                    self._fine.append(f"{what}: {description} can be reached")
            else:
                self._fine.append(f"{what}: {description}")
        finally:
            part.close()

    @contextmanager
    def _collecting(self, what: str) -> Iterator[None]:
        """Turn a failure into a problem, and go on."""
        try:
            yield
        except Exception as exc:  # whatever a third party's check raises
            self.log.debug("%s", what, exc_info=True)
            name = "" if isinstance(exc, (FlyteLineageError, TraitError)) else type(exc).__name__
            text = ": ".join(filter(None, (name, " ".join(redact(str(exc)).split()))))
            if not any(text in problem for problem in self._problems):
                self._problems.append(f"{what}: {text}")

    def _conclusion(self, program: Program) -> str:
        read = ", ".join(program.loaded_config_files) or "no configuration file was read"
        count = len(self._problems)
        if count:
            return f"{count} problem{'s' if count > 1 else ''} ({read})"
        hint = "" if self.connect else "; --connect also reaches everything"
        return f"The configuration is in order ({read}){hint}"
