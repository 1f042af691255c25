"""Trait types that the configuration is made of: secrets and plugins.

A secret shows itself nowhere; a plugin is named by its entry point or a dotted path
and imported when it is used. Nothing here imports a plugin by itself, so that `--help`
stays quick.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from inspect import cleandoc
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from traitlets import List, TraitError, TraitType, Undefined

from flytelineage.errors import ConfigError

MASK = "********"
"""What is shown in place of a secret."""

# ----------------------------------------------------------------------- secrets

# A shorter one would blot out parts of ordinary words.
_SHORTEST_REDACTED = 5
# From a word's beginning on: looking from each letter takes minutes in a text of one word.
_USER_INFO = re.compile(r"(?P<scheme>(?:\b\w+)?)://(?P<user>[^/@\s'\"]+)@")
_revealed: set[str] = set()


class SecretText:
    """A text that only `reveal` shows: `str`, `repr` and JSON give a mask.

    Given as a value, as `env:NAME` or as `file:/path`; the last two are read each time
    they are used, so that a rotated token is picked up without a restart.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, without surrounding white space; `redact` knows it from now on.

        Raises:
            ConfigError: The variable is not set, or the file cannot be read.
        """
        secret = self._resolved().strip()
        _revealed.update(_parts_to_hide(secret))
        return secret

    def _resolved(self) -> str:
        scheme, _, place = self._text.partition(":")
        if scheme == "env":
            if place not in os.environ:
                raise ConfigError(f"The secret env:{place} is not set: export {place}=...")
            return os.environ[place]
        if scheme == "file":
            try:
                return Path(place).read_text(encoding="utf-8")
            except (OSError, ValueError) as exc:
                why = getattr(exc, "strerror", None) or "it is not text"
                raise ConfigError(f"The secret file:{place} cannot be read: {why}") from exc
        return self._text

    def __str__(self) -> str:
        return MASK

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def _parts_to_hide(secret: str) -> Iterator[str]:
    """The secret; and of a URL the password, since libraries show URLs in pieces."""
    yield secret
    try:
        password = urlsplit(secret).password
    except ValueError:
        password = None
    if password:
        yield password


# Of a file that holds a secret the name may be shown.
_SECRET_VARIABLE = re.compile(
    r"(?!.*_(?:FILE|PATH|DIR|URI|URL)$).*(?:SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|CREDENTIAL).*",
    re.IGNORECASE,
)
# A shorter one may be an ordinary word.
_SHORTEST_IN_VARIABLE = 12


def hide_environment() -> None:
    """Let `redact` know the secrets that libraries find in the environment by themselves.

    Those are AWS's, flytekit's, OpenLineage's and libpq's; which variable holds one is told
    by its name.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_IN_VARIABLE and _SECRET_VARIABLE.fullmatch(name):
            _revealed.add(value)


def redact(text: str) -> str:
    """Foreign text without what was revealed of any secret, and without URLs' user info.

    The net below the masks: libraries put into their messages what they were given.
    """
    for secret in sorted(_revealed, key=len, reverse=True):
        if len(secret) >= _SHORTEST_REDACTED:
            text = text.replace(secret, MASK)
    return _USER_INFO.sub(_without_user, text)


def _without_user(found: re.Match[str]) -> str:
    # In Azure's URIs a container stands where others have a user.
    if found["scheme"] in ("abfs", "abfss", "wasb", "wasbs") and ":" not in found["user"]:
        return found[0]
    return f"{found['scheme']}://{MASK}@"


def escaped(text: str, *, keep: str = "") -> str:
    r"""Foreign text that does nothing to a terminal: `\x1b[2J` instead of a cleared screen.

    Line ends, what turns the direction of writing and halves of characters are spelled
    out, too: a name must not forge a line, nor show as another one, nor stop the output.

    Args:
        text: Whatever came from outside.
        keep: What passes although it is not visible.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


class Secret(TraitType[Any, Any]):
    """A secret: a value, `env:NAME` or `file:/path`; `None` where there is none."""

    default_value = None
    info_text = "a secret: a value, env:NAME or file:/path"

    def validate(self, obj: Any, value: Any) -> SecretText | None:
        """Wrap a text so that it no longer shows."""
        if value is None or isinstance(value, (str, SecretText)):
            return cast("SecretText | None", self.wrapped(value))
        # The message of TraitType.error would show the value.
        raise TraitError(f"{type(obj).__name__}.{self.name} must be {self.info_text}")

    def wrapped(self, value: Any) -> Any:
        """The value with its secrets hidden; other kinds of values as they are."""
        if not isinstance(value, str):
            return value
        return SecretText(value) if value else None

    def from_string(self, s: str) -> Any:
        """Read the command line's spelling."""
        return self.wrapped(s)

    def default_value_repr(self) -> str:
        """Shown by `--help-all`."""
        return "None"


class SecretDict(Secret):
    """A dictionary, at any depth of which there may be secrets.

    A text is a secret unless its key is known to hold none: a library's options are many,
    and a new one must not show by mistake. As `env:NAME` or `file:/path` any text may be
    given.

    Args:
        shown: The keys whose texts are no secrets.
    """

    info_text = "a dictionary; on the command line a JSON object"

    def __init__(self, *, shown: Collection[str] = (), **kwargs: Any) -> None:
        self.shown = frozenset(shown)
        super().__init__({}, **kwargs)

    def validate(self, obj: Any, value: Any) -> Any:
        """Wrap the texts that must not show."""
        if isinstance(value, Mapping):
            return self.wrapped(value)
        raise TraitError(f"{type(obj).__name__}.{self.name} must be {self.info_text}")

    def wrapped(self, value: Any, key: str = "") -> Any:
        """The value with its secrets hidden; other kinds of values as they are."""
        if isinstance(value, Mapping):
            return {str(name): self.wrapped(part, str(name)) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.wrapped(part, key) for part in value]
        if not isinstance(value, str) or (key in self.shown and not _may_hide(value)):
            return value
        return SecretText(value)

    def from_string(self, s: str) -> Any:
        """Read the command line's spelling; what is no JSON is refused by `validate`."""
        return json.loads(s)

    def default_value_repr(self) -> str:
        """Shown by `--help-all`."""
        return "{}"


# A reference to a secret, or a URL with a user or a query.
_HIDING = re.compile(r"env:|file:/(?!/)|[a-z]\w*://[^/]*@|[a-z]\w*://.*\?", re.I)


def _may_hide(text: str) -> bool:
    return bool(_HIDING.match(text))


def revealed(value: Any) -> Any:
    """What a `SecretDict` holds, as it was given; raises as `SecretText.reveal` does."""
    if isinstance(value, Mapping):
        return {key: revealed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [revealed(part) for part in value]
    return value.reveal() if isinstance(value, SecretText) else value


# ----------------------------------------------------------------------- plugins


@dataclass(frozen=True)
class PluginGroup:
    """The plugins of one contract: our own and those that other distributions bring.

    Attributes:
        kind: What one of them is called in messages, e.g. `target`.
        group: The entry point group, e.g. `flytelineage.targets`.
        contract: The class that each one derives from.
        own: Ours, by name. Known without entry points, so that a checkout that was
            never installed works too.
    """

    kind: str
    group: str
    contract: str
    own: Mapping[str, str] = field(hash=False)

    @cached_property
    def installed(self) -> Mapping[str, str]:
        """Where each plugin lies, by lower-cased name; nothing is imported."""
        others = {point.name.lower(): point.value for point in entry_points(group=self.group)}
        return dict(sorted({**others, **self.own}.items()))

    def name_of(self, plugin: str | type) -> str:
        """What the plugin is called in the store and in logs."""
        if isinstance(plugin, type):
            return plugin.__name__
        return plugin.lower() if plugin.lower() in self.installed else plugin

    def load(self, plugin: str | type) -> type[Any]:
        """The class that an entry point's name or a dotted path names, or a class itself.

        Raises:
            ConfigError: There is none, it cannot be imported, or it does not keep the
                contract; the message lists what is installed.
        """
        found = plugin if isinstance(plugin, type) else self._import(plugin)
        contract = _resolve(self.contract)
        if not (isinstance(found, type) and issubclass(found, contract)):
            raise ConfigError(
                f"{plugin!r} is not a {self.kind}: derive it from {self.contract.replace(':', '.')}"
            )
        return found

    def classes(self, log: logging.Logger) -> list[type[Any]]:
        """All that are installed and can be loaded; a broken one is passed over."""
        found = []
        for name in self.installed:
            try:
                found.append(self.load(name))
            except ConfigError as exc:
                log.debug("Passing over a broken plugin: %s", exc)
        return found

    def _import(self, plugin: str) -> Any:
        path = self.installed.get(plugin.lower())
        if path is None and not re.search(r"\w[.:]\w", plugin):
            raise ConfigError(
                unknown(f"{self.kind} {plugin!r}", plugin, self.installed, "installed")
            )
        try:
            return _resolve(path or plugin)
        except Exception as exc:  # whatever a third party's module does while it is imported
            raise ConfigError(
                f"The {self.kind} {plugin!r} cannot be loaded: {type(exc).__name__}: {exc}. "
                f"Installed: {', '.join(self.installed)}"
            ) from exc


SOURCES = PluginGroup(
    "source",
    "flytelineage.sources",
    "flytelineage.sources:Source",
    {
        "sqs": "flytelineage.sources.sqs:SqsSource",
        "file": "flytelineage.sources.file:FileSource",
    },
)
TRANSFORMS = PluginGroup(
    "transform", "flytelineage.transforms", "flytelineage.transforms:Transform", {}
)
TARGETS = PluginGroup(
    "target",
    "flytelineage.targets",
    "flytelineage.targets:Target",
    {
        "datahub": "flytelineage.targets.datahub:DataHubTarget",
        "glue": "flytelineage.targets.glue:GlueCatalogTarget",
        "openlineage": "flytelineage.targets.openlineage:OpenLineageTarget",
        "file": "flytelineage.targets.file:FileTarget",
    },
)


class Plugin(TraitType[Any, Any]):
    """An entry point's name, a dotted path, or a class; kept as given until it is loaded.

    Args:
        group: Whose plugins may be named; its `load` gives the class.
    """

    info_text = "a name or a dotted path of a class, or a class"

    def __init__(self, group: PluginGroup, default_value: Any = Undefined, **kwargs: Any) -> None:
        self.group = group
        # TraitType reads its own help, and that would look for plugins at import.
        text = kwargs.pop("help", "")
        super().__init__(default_value, **kwargs)
        self._help = text

    def validate(self, obj: Any, value: Any) -> Any:
        """Accept a text or a class; whether it names anything is asked when it is loaded."""
        if isinstance(value, type) or (isinstance(value, str) and value.strip()):
            return value.strip() if isinstance(value, str) else value
        return self.error(obj, value)

    @property
    def help(self) -> str:
        """What the trait is for, and what is installed."""
        return _with_installed(self._help, self.group)

    @help.setter
    def help(self, text: str) -> None:
        self._help = text


class Plugins(List):  # type: ignore[type-arg]
    """A list of plugins, each named as in `Plugin`; commas separate on the command line."""

    def __init__(self, group: PluginGroup, **kwargs: Any) -> None:
        self.group = group
        text = kwargs.pop("help", "")
        super().__init__(Plugin(group), **kwargs)
        self._help = text

    def from_string_list(self, s_list: list[str]) -> Any:
        """Read `--targets=datahub,glue` as well as the option given several times."""
        names = [name.strip() for text in s_list for name in text.strip("[]").split(",")]
        return [name.strip("'\"") for name in names if name]

    @property
    def help(self) -> str:
        """What the trait is for, and what is installed."""
        return _with_installed(self._help, self.group)

    @help.setter
    def help(self, text: str) -> None:
        self._help = text


def unknown(what: str, word: str, known: Mapping[str, Any] | list[str], adjective: str) -> str:
    """The message for a name that does not exist: the closest one, and all there are."""
    names = sorted(known)
    lowered = {name.lower(): name for name in names}
    close = get_close_matches(word.lower(), lowered, n=1)
    hint = f" Did you mean {lowered[close[0]]!r}?" if close else ""
    return f"There is no {what}.{hint} {adjective.capitalize()}: {', '.join(names) or 'none'}"


def _with_installed(text: str, group: PluginGroup) -> str:
    if not text:
        return text
    names = ", ".join(group.installed) or "none"
    return f"{cleandoc(text)}\n\nInstalled: {names}; or a dotted path to a class."


def _resolve(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    return getattr(import_module(module), name)
