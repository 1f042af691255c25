"""Reads configuration, strictly: what is named must exist, and must make sense.

traitlets alone ignores a file that does not exist, passes over sections that nobody
reads and only warns of misspelt options. Here each is an error that names it and
says what there is. No value of a secret leaves here unwrapped.
"""

from __future__ import annotations

import json
import pprint
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from traitlets import Container, Dict, TraitError, TraitType
from traitlets.config import Config, Configurable
from traitlets.config.loader import (
    DeferredConfig,
    DeferredConfigList,
    DeferredConfigString,
    LazyConfigValue,
    PyFileConfigLoader,
)

from flytelineage.errors import ConfigError, FlyteLineageError
from flytelineage.options import Secret, SecretText, redact, unknown

# ------------------------------------------------------------------------- files


def find(name: str, *, named: bool) -> list[Path]:
    """The files that `name` stands for, the last one winning.

    Args:
        name: A `.py` or `.json` file; without an ending either.
        named: Whether somebody asked for it. If not, the other ending will do as well,
            and so will no file at all.

    Raises:
        ConfigError: It was asked for and is not there.
    """
    path = Path(name).expanduser()
    wanted = [path] if path.suffix in (".py", ".json") else []
    if not wanted or not named:
        stem = path.with_suffix("") if wanted else path
        wanted = [Path(f"{stem}.py"), Path(f"{stem}.json")]
    found = [candidate for candidate in wanted if candidate.is_file()]
    if named and not found:
        there = "is not a file" if path.exists() else "does not exist"
        if path.is_file():
            there = "must end in .py or .json"
        raise ConfigError(f"The configuration file {name} {there}")
    return found


def load(path: Path) -> Config:
    """Read a `.py` or `.json` file.

    Raises:
        ConfigError: It cannot be read, or raises; the message names the line.
    """
    try:
        return _load_json(path) if path.suffix == ".json" else _PythonFile.read(path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc


def _load_json(path: Path) -> Config:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as exc:
        place = f", line {exc.lineno}" if isinstance(exc, json.JSONDecodeError) else ""
        raise ConfigError(f"{path}{place}: {getattr(exc, 'msg', exc)}") from exc
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold one JSON object: sections with their options")
    content.pop("version", None)  # of the format, as traitlets writes it
    for name, section in content.items():
        if name[:1].isupper() and not isinstance(section, dict):
            raise ConfigError(f"{path}: {name} is a section and needs an object")
    return Config(content)


class _PythonFile(PyFileConfigLoader):
    """Runs a Python file; what it includes must exist too."""

    @classmethod
    def read(cls, path: Path) -> Config:
        """The configuration that the file makes.

        Raises:
            ConfigError: It is not Python, or it raised.
        """
        name = str(path.absolute())
        try:
            return cls(name).load_config()
        except (FlyteLineageError, OSError):
            raise
        except SyntaxError as exc:
            place = f"{_shown_path(exc.filename, path)}, line {exc.lineno}"
            # From nothing: a traceback quotes the line, which may hold a secret.
            raise ConfigError(f"{place}: {exc.msg}") from None
        except (Exception, SystemExit) as exc:
            lines = [
                f.lineno for f in traceback.extract_tb(exc.__traceback__) if f.filename == name
            ]
            place = f"{path}, line {lines[-1]}" if lines else str(path)
            raise ConfigError(f"{place}: {type(exc).__name__}: {redact(str(exc))}") from None

    def load_subconfig(self, fname: str, path: str | None = None) -> None:
        """Include another file, whose place is relative to this one."""
        file = Path(path or Path(self.full_filename).parent, fname)
        if not file.is_file():
            raise ConfigError(f"{self.full_filename} includes {file}, which does not exist")
        self.config.merge(self.read(file))


def _shown_path(filename: str | None, path: Path) -> str:
    return str(path) if filename in (None, str(path.absolute())) else str(filename)


# ---------------------------------------------------------------------- checking


def inspect(
    config: Config, classes: Iterable[type[Configurable]], origin: str, *, only: Sequence[str] = ()
) -> list[str]:
    """Take out of a configuration what is wrong, and wrap its secrets.

    Args:
        config: Changed in place: what stays in it can be applied.
        classes: All that may have a section; their parents may too.
        origin: Where the configuration comes from, to begin messages with.
        only: Sections to look at; empty means all.

    Returns:
        One line per problem, without the values of secrets.
    """
    known = _Known(classes)
    problems = []
    for path, name in list(_leaves(config)):
        if only and path[:1] and path[0] not in only:
            continue
        section = _section(config, path)
        try:
            section[name] = _accepted(path, name, section[name], known)
        except _Nothing:
            del section[name]
        except ConfigError as exc:
            del section[name]
            problems.append(f"{origin}{exc}")
    return problems


def _leaves(config: Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, value in config.items():
        if isinstance(value, Config):
            yield from _leaves(value, (*path, name))
        else:
            yield path, name


def _section(config: Config, path: Sequence[str]) -> Config:
    for name in path:
        config = config[name]
    return config


class _Nothing(Exception):
    """Somebody read an option that was never set, and so left a trace of it."""


def _accepted(path: Sequence[str], name: str, value: Any, known: _Known) -> Any:
    """The value as the option will hold it.

    Raises:
        ConfigError: There is no such option, or it does not take the value.
    """
    if isinstance(value, LazyConfigValue) and not value.to_dict():
        raise _Nothing
    option = ".".join((*path, name))
    try:
        cls, trait = known.option(path, name)
        value = _resolved(value, trait)
        _try(cls, trait, value)
    except (TraitError, FlyteLineageError, ValueError, TypeError) as exc:
        text = redact(" ".join(str(exc).split()))
        # Many of our own messages begin with the option, as libraries do not know of sections.
        names_it = re.match(rf"{re.escape(option)}\b", text)
        raise ConfigError(text if names_it else f"{option}: {text}") from exc
    return value


def _try(cls: type[Configurable], trait: TraitType[Any, Any], value: Any) -> None:
    """See whether an instance would take the value."""
    # Without __init__, which may want arguments; traitlets is ready after __new__.
    probe = cls.__new__(cls)
    if isinstance(value, LazyConfigValue):
        value = deepcopy(value).get_value(getattr(probe, str(trait.name)))
    trait._validate(probe, value)  # the one way to validate without notifying observers


class _Known:
    """The sections and options that there are."""

    def __init__(self, classes: Iterable[type[Configurable]]) -> None:
        self._classes = list(classes)
        self._sections = {
            parent.__name__: parent
            for cls in self._classes
            for parent in reversed(cls.mro())
            if issubclass(parent, Configurable)
        }

    def option(
        self, path: Sequence[str], name: str
    ) -> tuple[type[Configurable], TraitType[Any, Any]]:
        """The class of the innermost section, and its option.

        Raises:
            ConfigError: There is none; the message says what there is.
        """
        for section in path:
            if section not in self._sections:
                # Base classes may have sections too, but nobody looks for them.
                names = [cls.__name__ for cls in self._classes]
                raise ConfigError(unknown(f"section {section!r}", section, names, "known"))
        if not path:
            raise ConfigError(f"options stand in the section of a class.{self._hint(name)}")
        cls = self._sections[path[-1]]
        traits = cls.class_traits(config=True)
        if name not in traits:
            raise ConfigError(unknown(f"option {name!r} of {path[-1]}", name, traits, "known"))
        return cls, traits[name]

    def _hint(self, name: str) -> str:
        having = (c.__name__ for c in self._classes if name in c.class_trait_names(config=True))
        found = next(having, None)
        return f" Did you mean {found}.{name}?" if found else ""


def _resolved(value: Any, trait: TraitType[Any, Any]) -> Any:
    """Read the command line's spelling, and wrap a secret."""
    if isinstance(value, DeferredConfig):
        value = _read(value, trait)
    if not isinstance(trait, Secret):
        return value
    if isinstance(value, LazyConfigValue):  # of a dictionary that was only added to
        value = deepcopy(value).get_value({})
    return trait.wrapped(value)


def _read(text: DeferredConfig, trait: TraitType[Any, Any]) -> Any:
    """What the command line means, for this kind of option."""
    texts = list(text) if isinstance(text, DeferredConfigList) else [str(text)]
    if isinstance(trait, (Container, Dict)):
        return DeferredConfigList(texts).get_value(trait)
    if len(texts) > 1:
        raise ValueError(f"takes one value and was given {len(texts)}")
    return DeferredConfigString(texts[0]).get_value(trait)


# ----------------------------------------------------------------------- showing


def is_set(config: Config, section: str, name: str) -> bool:
    """Whether somebody gave the option a value that is not empty."""
    return bool(config.get(section, {}).get(name))


def as_json(config: Config) -> str:
    """The configuration as JSON, secrets masked."""
    return json.dumps(_plain(config), indent=1, sort_keys=True)


def as_text(config: Config) -> str:
    """The configuration as lines, section by section, secrets masked."""
    sections: dict[str, list[str]] = {}
    for path, name in _leaves(config):
        value = _plain(_section(config, path)[name])
        line = f"  .{name} = {pprint.pformat(value, indent=4, compact=True)}"
        sections.setdefault(".".join(path), []).append(line)
    return "\n".join(
        line for title in sorted(sections) for line in (title, *sorted(sections[title]))
    )


def _plain(value: Any) -> Any:
    """A value as JSON can hold it, without secrets."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item != {}}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact(str(value) if isinstance(value, (str, SecretText)) else repr(value))
