"""The command line, strictly: an option that does not exist is an error that names it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from traitlets.config import Config
from traitlets.config.loader import ArgumentError, KVArgParseConfigLoader, _KVArgParser

from flytelineage.errors import ConfigError
from flytelineage.options import unknown

_OPTION = re.compile(r"(--?)([A-Za-z][\w-]*(?:\.\w+)*)(=.*)?", re.DOTALL)
_OF_EVERY_COMMAND = ("help", "help-all", "version")


def split(words: Sequence[str], commands: Iterable[str]) -> tuple[str | None, list[str]]:
    """Find the command: the first word, or the first one after options with `=`.

    Returns:
        The command, `None` where the first word is none; and all other words.
    """
    words = list(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    for position, word in enumerate(words):
        if word.startswith("-") and word not in ("-", "--"):
            continue
        if word in commands:
            return word, words[:position] + words[position + 1 :]
        break
    return None, words


def asks_for(words: Sequence[str], *options: str) -> bool:
    """Whether one of the options stands before a `--`."""
    before = words[: words.index("--")] if "--" in words else words
    return any(option in before for option in options)


class _Parser(_KVArgParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


class CommandLine(KVArgParseConfigLoader):
    """Reads options into a configuration and keeps the other words in `extra_args`."""

    parser_class = _Parser

    def read(self) -> Config:
        """The options that were given.

        Raises:
            ConfigError: An option does not exist, lacks its value or has several.
        """
        names = {name: None for key in (*self.flags, *self.aliases) for name in _names(key)}
        for word in self.argv:
            if word == "--":
                break
            _require_known(word, {**names, **dict.fromkeys(_OF_EVERY_COMMAND)})
        try:
            config: Config = self.load_config()
        except ArgumentError as exc:
            # Its own text shows the value, which may be a secret.
            raise ConfigError(str(exc.__cause__)) from None
        return config

    def _exec_config_str(self, lhs: str, rhs: Any, trait: Any = None) -> None:
        """Keep the text: it is read when every class is known, with the file's options."""
        *path, name = lhs.split(".")
        section = self.config
        for part in path:
            if not part[:1].isupper():
                raise ConfigError(f"--{lhs}: {part!r} is no class; type --Class.trait=value")
            section = section[part]
        section[name] = rhs


def _names(key: str | tuple[str, ...]) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)


def _require_known(word: str, names: Mapping[str, None]) -> None:
    """Refuse a misspelt alias or flag; `--Class.trait` is looked at later."""
    match = _OPTION.fullmatch(word)
    if match is None or "." in match[2] or match[2] in names:
        return
    options = [f"--{name}" for name in names if len(name) > 1]
    raise ConfigError(unknown(f"option {match[1]}{match[2]}", f"--{match[2]}", options, "known"))
