"""A traitlets application that is strict, and never shows a secret.

How options are read, checked, shown and explained. Which options there are, and what
is done with them, is the business of the subclass.
"""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from copy import deepcopy
from inspect import cleandoc
from pathlib import Path
from textwrap import wrap
from typing import Any

from traitlets import default, observe
from traitlets.config import Application, Config, Configurable

from flytelineage import configuration
from flytelineage.command_line import CommandLine, asks_for, split
from flytelineage.errors import ConfigError
from flytelineage.logs import LOGGER, set_up
from flytelineage.options import hide_environment, unknown

Layer = tuple[Config, str]
"""Options, and how messages about them begin: where they come from."""


class StrictApplication(Application):
    """Reads a command line and a configuration file, and refuses what makes no sense.

    Must have the traits `config_file`, `generate_config` and `log_json`. Must implement
    `load_command`, `all_classes` and `used_classes`. Aliases and flags carry their help:
    `name: (Class.trait, help)` and `name: ({Class: {trait: value}}, help)`.

    Attributes:
        command: The class of the command that was asked for, if any.
        problems: What is wrong with the options; those of a `lenient` command may stay.
    """

    config_file: Any
    generate_config: Any
    log_json: Any
    log_level: Any

    def __init__(self, **kwargs: Any) -> None:
        self.command: Any = None
        self.problems: list[str] = []
        super().__init__(**kwargs)

    @abstractmethod
    def load_command(self, name: str) -> Any:
        """The class of a command, with `aliases`, `flags`, `usage`, `examples`, `lenient`."""

    @abstractmethod
    def all_classes(self) -> Sequence[type[Configurable]]:
        """Whatever has options, the application first."""

    @abstractmethod
    def used_classes(self) -> Iterable[type[Configurable]]:
        """Further classes, named by the options just read; adds to `problems`."""

    # --------------------------------------------------------------------- reading

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        """Read the command line and the configuration file, and check both.

        Raises:
            ConfigError: Something in them does not exist or makes no sense.
            SystemExit: Help or the version was asked for, and given.
        """
        hide_environment()
        name, words = split(sys.argv[1:] if argv is None else argv, self.subcommands)
        if name is not None:
            self._choose(name)
        if asks_for(words, "--help", "-h", "--help-all"):
            self._help(in_full=asks_for(words, "--help-all"))
        if asks_for(words, "--version", "-V"):
            self.print_version()
            self.exit(0)
        if asks_for(words, "--debug"):
            self.log_level = logging.DEBUG
        self.classes = list(self.all_classes())
        self._configure(self._given(words))

    def _choose(self, name: str) -> None:
        self.command = self.load_command(name)
        self.aliases = {**self.command.aliases, **self.aliases}
        self.flags = {**self.command.flags, **self.flags}

    def _help(self, *, in_full: bool) -> None:
        if in_full:
            self.classes = list(self.all_classes())
        self.print_help(in_full)
        self.exit(0)

    def _given(self, words: list[str]) -> Config:
        """The options of the command line; other words are the command's arguments."""
        flags, aliases = self.flatten_flags()
        classes = list(self._classes_with_config_traits())
        loader = CommandLine(words, aliases, flags, classes=classes, log=self.log)
        given = loader.read()
        self.extra_args = loader.extra_args
        if self.command is None and self.extra_args:
            word = self.extra_args[0]
            if word in self.subcommands:
                raise ConfigError(f"Write the command first: {self.name} {word} ...")
            raise ConfigError(unknown(f"command {word!r}", word, self.subcommands, "commands"))
        return given

    def _configure(self, given: Config) -> None:
        """Apply the file's options and, over them, the command line's.

        First those of the application alone: they say which file to read, and which
        plugins there are whose options are then known.
        """
        layers: list[Layer] = [(given, "--")]
        self._inspect(layers, only=self.section_names())
        self.config = _merged(layers, self.section_names())
        if not self.generate_config:
            layers = [*self._files(given), *layers]
            self._inspect(layers, only=self.section_names())
            self.config = _merged(layers, self.section_names())
        self.classes = list(dict.fromkeys([*self.classes, *self.used_classes()]))
        self._inspect(layers)
        self.config = _merged(layers)
        if self.problems and not (self.command and self.command.lenient):
            more = len(self.problems) - 1
            hint = f" (and {more} more: {self.name} check lists them)" if more else ""
            raise ConfigError(self.problems[0] + hint)

    def _inspect(self, layers: Sequence[Layer], only: Sequence[str] = ()) -> None:
        for config, origin in layers:
            self.problems += configuration.inspect(config, self.classes, origin, only=only)

    def _files(self, given: Config) -> list[Layer]:
        named = any("config_file" in given.get(name, {}) for name in self.section_names())
        layers = []
        try:
            if self.config_file:
                for path in configuration.find(self.config_file, named=named):
                    layers.append((configuration.load(path), f"{path}: "))
                    self._loaded_config_files.append(str(path))
        except ConfigError as exc:
            self.problems.append(str(exc))
        return layers

    @observe("config")
    def _config_changed(self, change: Any) -> None:
        # As Application does, which also logs all values.
        Configurable._config_changed(self, change)

    # --------------------------------------------------------------------- showing

    def start_show_config(self) -> int:  # type: ignore[override]
        """Print the options that are set; `--show-config` puts it in place of `start`."""
        shown = deepcopy(self.config)
        for name in self.section_names():
            for option in ("show_config", "show_config_json"):
                shown.get(name, {}).pop(option, None)
        if self.show_config_json:
            self._print(configuration.as_json(shown))
            return 0
        for path in self.loaded_config_files:
            self._print(f"# from {path}")
        self._print(configuration.as_text(shown) or "# no option is set")
        return 0

    def write_config(self) -> int:
        """Write a file with every option commented out, or print it where it is `-`.

        Raises:
            ConfigError: The file exists and nobody agreed to lose it, or it could not be
                read again under its name.
        """
        text = self.generate_config_file()
        if self.config_file == "-":
            self._print(text)
            return 0
        path = Path(self.config_file).expanduser()
        if path.suffix != ".py":
            raise ConfigError(f"What is written is Python: give {path} a name that ends in .py")
        if path.exists() and not _agrees(f"{path} exists. Replace it? [y/N] "):
            raise ConfigError(
                f"{path} exists and was kept: name another file with --config=FILE, "
                "or print with --config=-"
            )
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
        self._print(f"Wrote {path}: every option, commented out")
        return 0

    @staticmethod
    def _print(text: str) -> None:
        sys.stdout.write(f"{text}\n")

    # ------------------------------------------------------------ logging and help

    @default("log")
    def _log_default(self) -> logging.Logger:
        return logging.getLogger(LOGGER)

    def _configure_logging(self) -> None:
        set_up(self.log_level, self.log_format, self.log_datefmt, as_json=self.log_json)

    @observe("log_json")
    def _log_json_changed(self, _: Any) -> None:
        self._configure_logging()

    def _classes_with_config_traits(
        self, classes: Sequence[type[Configurable]] | None = None
    ) -> Generator[type[Configurable], None, None]:
        """Leave out base classes: their options are shown where they are used."""
        for cls in self.classes if classes is None else classes:
            if cls.class_trait_names(config=True):
                yield cls

    def emit_description(self) -> Generator[str, None, None]:
        """Yield what the program, or the command, is for."""
        name, usage = "[COMMAND]", ""
        if self.command is not None:
            name, usage = self.command.__name__.lower(), self.command.usage
        yield f"Usage: {' '.join(filter(None, (str(self.name), name, usage, '[OPTIONS]')))}"
        yield ""
        yield cleandoc((self.command or type(self)).__doc__ or "")
        yield ""

    def emit_subcommands_help(self) -> Generator[str, None, None]:
        """Yield the commands, a line each."""
        if self.command is None:
            yield "Commands"
            for name, (_, summary) in self.subcommands.items():
                yield from _entry(name, summary)
            yield ""

    def emit_options_help(self) -> Generator[str, None, None]:
        """Yield flags and aliases, the command's own ones first."""
        yield "Options"
        for name, (config, text) in self.flags.items():
            if self._matters(name):
                ((section, options),) = config.items()
                ((option, _),) = options.items()
                yield from _entry(f"--{name}", f"{text} ({section}.{option})")
        for name, (option, text) in self.aliases.items():
            if self._matters(name):
                yield from _entry(f"--{name}=..", f"{text} ({option})")
        yield from _entry("--Class.trait=..", "any other option; --help-all lists them")
        if self.command is None:
            yield from _entry("--version", "print the version and exit")
        yield ""

    def _matters(self, name: str) -> bool:
        """Whether an option belongs into the help of the command."""
        if self.command is None:
            return True
        own = {*self.command.aliases, *self.command.flags}
        return name in own or name in ("config", "debug")

    def emit_examples(self) -> Generator[str, None, None]:
        """Yield lines to type."""
        text = cleandoc(str((self.command or self).examples))
        if text:
            yield "Examples"
            yield "\n".join(f"  {line}" for line in text.splitlines())
            yield ""

    def emit_help_epilogue(self, classes: bool) -> Generator[str, None, None]:
        """Yield where to read on."""
        if self.command is None and not classes:
            yield f"`{self.name} COMMAND --help` tells more of a command, `--help-all` of all options"


def _merged(layers: Sequence[Layer], only: Sequence[str] = ()) -> Config:
    """Later layers over earlier ones."""
    merged = Config()
    for config, _ in layers:
        merged.merge(deepcopy(config))
    return Config({name: merged[name] for name in only if name in merged}) if only else merged


def _entry(name: str, text: str) -> Iterator[str]:
    """A name and what it means, the text in a column of its own."""
    lines = wrap(text, 66) or [""]
    yield f"  {name:<22}{lines[0]}" if len(name) < 22 else f"  {name}\n{'':<24}{lines[0]}"
    yield from (f"{'':<24}{line}" for line in lines[1:])


def _agrees(question: str) -> bool:
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")
