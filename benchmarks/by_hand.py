"""Programs that build given values with the classes of the libraries that they come from.

What a target tells is turned into the Python that somebody would write who knew it
beforehand: one call of a constructor after the other, with nothing but literals, and no
names to make up and no rules to follow. That is the floor that a target is measured by,
and it tells the very same, whatever the target learns to tell.

The classes may be those of acryl-datahub or of openlineage-python.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, ClassVar

import attr
from avrogen.dict_wrapper import DictWrapper
from openlineage.client.transport import Config, Transport


def builder(values: Iterable[Any]) -> Callable[[], list[Any]]:
    """A function that builds equal values anew each time it is called."""
    classes: dict[str, Any] = {"json": json}
    written = ",\n".join(_written(value, classes) for value in values)
    exec(f"def build():\n return [\n{written}\n]", classes)
    build: Callable[[], list[Any]] = classes["build"]
    return build


def _written(value: Any, classes: dict[str, Any]) -> str:
    """The expression that makes the value; notes the classes that it names."""
    if isinstance(value, Enum):
        return f"{_named(type(value), classes)}.{value.name}"
    if isinstance(value, list):
        return f"[{', '.join(_written(each, classes) for each in value)}]"
    if isinstance(value, dict):
        pairs = (f"{key!r}: {_written(each, classes)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, bytes):  # only patches hold bytes: those of their operations
        return f"json.dumps({json.loads(value)!r}).encode()"
    if isinstance(value, (str, int, float, type(None))):
        return repr(value)
    given = (f"{name}={_written(each, classes)}" for name, each in _given(value))
    return f"{_named(type(value), classes)}({', '.join(given)})"


def _given(value: Any) -> Iterator[tuple[str, Any]]:
    """What its constructor was given; defaults need not be."""
    if isinstance(value, DictWrapper):
        yield from ((name, each) for name, each in value.items() if each is not None)
    elif is_dataclass(value):
        for field in fields(value):
            if (each := getattr(value, field.name)) != field.default:
                yield field.name, each
    else:
        for attribute in attr.fields(type(value)):
            each = getattr(value, attribute.name)
            if attribute.init and each != attribute.default:
                yield attribute.alias, each


def _named(kind: type, classes: dict[str, Any]) -> str:
    """A name for the class, which no other has."""
    name = f"{kind.__module__}.{kind.__qualname__}".replace(".", "_")
    classes[name] = kind
    return name


class Kept(Transport):
    """A transport of OpenLineage's client that keeps events, for all its instances."""

    kind = "kept"
    config_class = Config
    events: ClassVar[list[Any]] = []

    def __init__(self, config: Config) -> None:
        super().__init__()

    def emit(self, event: Any) -> None:
        self.events.append(event)
