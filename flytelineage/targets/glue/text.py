"""Texts as Glue accepts them. Its client checks neither lengths nor characters."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from datetime import datetime, timezone
from typing import Any

# Line breaks are in here too: most of Glue's texts have a single line.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\ud800-\udfff\ufffe\uffff]")
_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Without line breaks: that they become blanks is nothing to be told of."""


def fitting(text: str, max_bytes: int) -> str:
    """The text without control characters, cut to a length in UTF-8."""
    return _CONTROL.sub(" ", text).encode()[:max_bytes].decode(errors="ignore").strip()


class Fitter:
    """Makes texts fit for Glue.

    Attributes:
        cut: What was changed so that people should know, one phrase each.
    """

    def __init__(self) -> None:
        self.cut: list[str] = []

    def __call__(self, what: str, text: str, max_bytes: int) -> str:
        """The text as Glue takes it; `what` it is stands in the phrase."""
        if len(text.encode(errors="replace")) > max_bytes:
            self.cut.append(f"{what} is cut to {max_bytes} bytes")
        if _ILLEGAL.search(text):
            self.cut.append(f"{what} loses its control characters")
        return fitting(text, max_bytes)


def cleaned(text: str) -> str:
    """A part of a name: `Covid-get` becomes `covid_get`, `Été` becomes `ete`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9_]", "_", plain.lower()) or "_"


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that are the same wherever and whenever the value is."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def moment(at: datetime) -> str:
    """A time as a text; the later of two is the greater."""
    return at.astimezone(timezone.utc).isoformat(timespec="microseconds")
