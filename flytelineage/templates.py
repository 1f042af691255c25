"""A trait type for texts with keys in braces, checked when they are configured."""

from __future__ import annotations

from collections.abc import Iterable
from string import Formatter
from typing import Any

from traitlets import TraitError, Unicode


class Template(Unicode[str, Any]):
    """A text in which `{key}` stands for something that is known later.

    Args:
        default_value: Must be a valid template itself.
        keys: All that may stand in braces.
        fixed: Whether a text without any key is a template, too; an empty one is none.
        empty: Whether it may be empty, which then means something else.
    """

    def __init__(
        self,
        default_value: str,
        *,
        keys: Iterable[str],
        fixed: bool = True,
        empty: bool = False,
        **kwargs: Any,
    ) -> None:
        self.keys = tuple(keys)
        self._fixed = fixed
        self._empty = empty
        super().__init__(default_value, **kwargs)

    def validate(self, obj: Any, value: Any) -> str:
        """Refuse what cannot be filled in, naming what could be meant."""
        text: str = super().validate(obj, value)
        reason = self._fault(text)
        if reason:
            known = ", ".join(f"{{{key}}}" for key in self.keys)
            raise TraitError(
                f"{type(obj).__name__}.{self.name} {reason}: {text!r}; "
                f"it is made of text and of {known}"
            )
        return text

    def _fault(self, text: str) -> str:
        if not text:
            return "" if self._empty else "must not be empty"
        try:
            fields = [field for field in Formatter().parse(text) if field[1] is not None]
        except ValueError as exc:
            return str(exc)
        named = [str(name) for _, name, _, _ in fields]
        if unknown := sorted(set(named).difference(self.keys)):
            return f"knows no {{{unknown[0]}}}"
        if any(form or conversion for _, _, form, conversion in fields):
            return "takes nothing but names in braces"
        return "" if named or self._fixed else "must hold a name in braces"
