"""The operator's rules for names of datasets: checked once at start-up, then pure.

A rule that cannot work stops the program with the entry and what to type. A function that
fails for one URI does not: it has no answer for that one, and says so.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from string import Formatter
from typing import Any

from traitlets import List, TraitError

from flytelineage.dataset_names import Answer, Rule
from flytelineage.entities import DatasetId
from flytelineage.errors import ConfigError
from flytelineage.uris import canonical_scheme, printable

EXAMPLE = (
    r'{"pattern": r"s3://lake/(?P<zone>[^/]+)/(?P<table>[^/]+)/.*", '
    r'"platform": "glue", "name": "{zone}.{table}"}'
)

_KEYS = ("pattern", "platform", "name")
_PLATFORM = re.compile(r"[A-Za-z0-9][\w.\-]*")
_MOST_OF_AN_ERROR = 200


class DatasetRules(List):  # type: ignore[type-arg]
    """A list of rules; patterns are checked when it is set, functions when it is used.

    An entry is a dict, a function or the dotted path of a function. A dict's `pattern` must
    match the whole URI; a slash at its end is of no account. In its `platform` and `name`,
    `{group}` is what the group `(?P<group>...)` matched; a group that is called `platform`
    or `name` can stand for either. A function takes a URI and gives (platform, name), or
    `None` where it has no answer.

    URIs come in the one spelling of `uris`: `s3a` and `s3n` are `s3`, `abfs` is `abfss`;
    without user, password, query and slashes at the end. On the command line an entry is a
    dict or a dotted path, and the option may be given several times.
    """

    info_text = "a list of rules: dicts with a pattern, dotted paths or functions"

    def validate(self, obj: Any, value: Any) -> Any:
        """Refuse what no rule can be; nothing is imported."""
        entries: list[Any] = super().validate(obj, value) or []
        for index, entry in enumerate(entries):
            try:
                if isinstance(entry, Mapping):
                    _pattern_rule(str(index), entry)
                elif not (callable(entry) or _is_dotted(entry)):
                    raise ConfigError(_neither(entry))
            except ConfigError as exc:
                raise TraitError(f"{type(obj).__name__}.{self.name}[{index}]: {exc}") from exc
        return entries

    def from_string_list(self, s_list: list[str]) -> Any:
        """Read dicts, lists of them and dotted paths, the option given any number of times."""
        return [entry for text in s_list for entry in self._read(text.strip())]

    def _read(self, text: str) -> list[Any]:
        if not text.startswith(("[", "{")):
            return [text]
        try:
            found = literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as exc:
            raise TraitError(f"{self.name}: {text!r} is no list and no dict: {exc}") from exc
        return found if isinstance(found, list) else [found]


def rules_of(
    entries: Sequence[object], trait: str = "LineageBuilder.dataset_rules"
) -> tuple[Rule, ...]:
    """The rules that the operator wrote, ready to be asked, in their order.

    Args:
        entries: What the trait holds: dicts, dotted paths and functions.
        trait: The trait's name, for messages.

    Raises:
        ConfigError: An entry can be no rule; the message names it and says what to type.
    """
    rules = []
    for index, entry in enumerate(entries):
        try:
            rules.append(_rule(f"{trait.rpartition('.')[2]}[{index}]", entry))
        except ConfigError as exc:
            raise ConfigError(f"{trait}[{index}]: {exc}") from exc
    return tuple(rules)


def _rule(label: str, entry: object) -> Rule:
    if isinstance(entry, Mapping):
        return _pattern_rule(label, entry)
    if callable(entry):
        return FunctionRule(label, entry)
    if isinstance(entry, str) and _is_dotted(entry):
        return FunctionRule(label, _imported(entry))
    raise ConfigError(_neither(entry))


def _neither(entry: object) -> str:
    return (
        f"{entry!r} is neither a dict nor a function nor the dotted path of one. "
        f"Write {EXAMPLE} or 'my_rules.name_of'"
    )


# --------------------------------------------------------------------- patterns


@dataclass(frozen=True)
class PatternRule:
    """A regular expression that must match the whole URI, and two templates.

    Attributes:
        label: Where the rule stands, e.g. `dataset_rules[0]`.
        platform, name: Templates; `{group}` is what the group of that name matched.
    """

    label: str
    pattern: re.Pattern[str]
    platform: str
    name: str

    def ask(self, uri: str) -> Answer:
        """The dataset where the URI matches, with or without a slash at its end."""
        match = self.pattern.fullmatch(uri) or self.pattern.fullmatch(f"{uri}/")
        if match is None:
            return Answer(None, f"{self.label} does not match")
        groups = {group: text or "" for group, text in match.groupdict().items()}
        return _answer(self.label, self.platform.format(**groups), self.name.format(**groups))


def _pattern_rule(label: str, entry: Mapping[Any, Any]) -> PatternRule:
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} means nothing: a rule has {', '.join(_KEYS)}")
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{key!r} must be a text, not {value!r}. Example: {EXAMPLE}")
    pattern = _compiled(entry.get("pattern"))
    return PatternRule(
        label,
        pattern,
        platform=_template("platform", entry, pattern),
        name=_template("name", entry, pattern),
    )


def _compiled(text: str | None) -> re.Pattern[str]:
    if text is None:
        raise ConfigError(f"there is no 'pattern'. Example: {EXAMPLE}")
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as exc:
        raise ConfigError(f"the pattern {text!r} is no regular expression: {exc}") from exc
    scheme = re.match(r"\^?([A-Za-z][A-Za-z0-9+]*)://", text)
    if scheme and (canonical := canonical_scheme(scheme[1])) != scheme[1]:
        raise ConfigError(
            f"the pattern {text!r} can never match: URIs are brought into one spelling "
            f"before; write {canonical}:// instead of {scheme[1]}://"
        )
    return pattern


def _template(key: str, entry: Mapping[str, str], pattern: re.Pattern[str]) -> str:
    """The template of that key; without one, the group of that name is the whole of it."""
    if key not in entry:
        if key not in pattern.groupindex:
            raise ConfigError(
                f"there is neither {key!r} nor a group (?P<{key}>...) in the pattern. "
                f"Example: {EXAMPLE}"
            )
        return f"{{{key}}}"
    template = entry[key].strip()
    for group in _fields(key, template):
        if group not in pattern.groupindex:
            known = ", ".join(pattern.groupindex) or "none"
            raise ConfigError(
                f"{key!r} uses {{{group}}}, which the pattern does not have. Groups: {known}; "
                f"write (?P<{group or 'table'}>...) in the pattern"
            )
    if key == "platform" and "{" not in template and not _PLATFORM.fullmatch(template):
        raise ConfigError(f"{template!r} is no name of a platform. Write e.g. 'glue'")
    return template


def _fields(key: str, template: str) -> list[str]:
    """The names in braces; formats and attributes are refused."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as exc:
        raise ConfigError(f"{key!r} cannot be read: {exc}: {template!r}") from exc
    for _, group, spec, conversion in parsed:
        if spec or conversion:
            raise ConfigError(f"{key!r} takes {{{group}}} without ':' and '!': {template!r}")
    return [group for _, group, _, _ in parsed if group is not None]


# -------------------------------------------------------------------- functions


@dataclass(frozen=True)
class FunctionRule:
    """A function of the operator's: a URI to (platform, name), or to `None`."""

    label: str
    function: Callable[..., object] = field(repr=False)

    def ask(self, uri: str) -> Answer:
        """What the function says; an error of its own is no answer."""
        try:
            found = self.function(uri)
        except Exception as exc:  # whatever an operator's code does
            why = f"{type(exc).__name__}: {exc}"[:_MOST_OF_AN_ERROR]
            return Answer(None, f"{self.label} failed: {why}", failed=True)
        if found is None:
            return Answer(None, f"{self.label} has no answer")
        if isinstance(found, tuple | list) and len(found) == 2:
            platform, name = found
            if isinstance(platform, str) and isinstance(name, str):
                return _answer(self.label, platform, name)
        return Answer(
            None,
            f"{self.label} gave {type(found).__name__}, not (platform, name) or None",
            failed=True,
        )


def _answer(label: str, platform: str, name: str) -> Answer:
    platform, name = platform.strip(), printable(name)
    if not _PLATFORM.fullmatch(platform) or not name:
        return Answer(None, f"{label} gave no usable platform and name", failed=True)
    return Answer(DatasetId(platform=platform, name=name), f"{label} names it {platform}:{name}")


def _is_dotted(entry: object) -> bool:
    return isinstance(entry, str) and bool(re.fullmatch(r"\w+(?:\.\w+)*[.:]\w+", entry.strip()))


def _imported(path: str) -> Callable[..., object]:
    module, _, name = path.strip().replace(":", ".").rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as exc:  # whatever an operator's module does while it is imported
        raise ConfigError(
            f"{path!r} cannot be loaded: {type(exc).__name__}: {exc}. "
            f"Is its directory on PYTHONPATH?"
        ) from exc
    if not callable(found):
        raise ConfigError(f"{path!r} is no function: it takes a URI and gives (platform, name)")
    return found  # type: ignore[no-any-return]
