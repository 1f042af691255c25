"""Trait types that the configuration is made of: secrets and plugins.

A secret shows itself nowhere; a plugin is named by its entry point or a dotted path.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from traitlets import TraitError, TraitType, Type

from flytelineage.errors import ConfigError

MASK = "********"
"""What is shown in place of a secret."""


class SecretText:
    """A text that only `reveal` shows: `str`, `repr` and JSON give a mask.

    Given as a value, as `env:NAME` or as `file:/path`; the last two are read each time
    they are used, so that a rotated token is picked up without a restart.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, without surrounding white space.

        Raises:
            ConfigError: The variable is not set, or the file cannot be read.
        """
        scheme, _, place = self._text.partition(":")
        if scheme == "env":
            if place not in os.environ:
                raise ConfigError(f"The secret env:{place} is not set: export {place}=...")
            return os.environ[place].strip()
        if scheme == "file":
            try:
                return Path(place).read_text(encoding="utf-8").strip()
            except OSError as exc:
                raise ConfigError(
                    f"The secret file:{place} cannot be read: {exc.strerror}"
                ) from exc
        return self._text

    def __str__(self) -> str:
        return MASK

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Secret(TraitType[Any, Any]):
    """A secret: a value, `env:NAME` or `file:/path`; `None` where there is none."""

    default_value = None
    info_text = "a secret: a value, env:NAME or file:/path"

    def validate(self, obj: Any, value: Any) -> SecretText | None:
        """Wrap a text so that it no longer shows."""
        if value is None or isinstance(value, SecretText):
            return value
        if isinstance(value, str):
            return SecretText(value) if value else None
        # The message of TraitType.error would show the value.
        raise TraitError(f"{type(obj).__name__}.{self.name} must be {self.info_text}")

    def from_string(self, s: str) -> SecretText | None:
        """Read the command line's spelling."""
        return SecretText(s) if s else None

    def default_value_repr(self) -> str:
        """Shown by `--help-all`."""
        return "None"


class Plugin(Type):
    """A class named by entry point, by dotted path, or given itself.

    Args:
        group: The entry point group, e.g. `flytelineage.targets`.
        klass: What the class must be a subclass of.
    """

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        self.group = group
        super().__init__(*args, **kwargs)

    def installed(self) -> dict[str, Any]:
        """Installed entry points of the group, by lower-cased name."""
        return {point.name.lower(): point for point in entry_points(group=self.group)}

    def validate(self, obj: Any, value: Any) -> Any:
        """Turn a name into the class it names.

        Raises:
            TraitError: No such plugin; the message lists those that are installed.
        """
        if isinstance(value, str):
            value = self._load(value)
        return super().validate(obj, value)

    def _load(self, name: str) -> Any:
        known = self.installed()
        point = known.get(name.lower())
        try:
            if point is not None:
                return point.load()
            if "." in name:
                return self._resolve_string(name)
        except (ImportError, AttributeError) as exc:
            raise TraitError(f"{self.group}: {name!r} cannot be loaded: {exc}") from exc
        close = get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise TraitError(
            f"{self.group}: there is no {name!r}.{hint} "
            f"Installed: {', '.join(sorted(known)) or 'none'}; or a dotted path to a class."
        )
