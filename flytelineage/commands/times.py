"""Times as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from flytelineage.errors import ConfigError

_AGE = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def moment(option: str, text: str, now: datetime) -> datetime | None:
    """A time, given as an age or in ISO 8601; without a zone it is UTC.

    Raises:
        ConfigError: It is none.
    """
    if not text:
        return None
    try:
        if age := _AGE.fullmatch(text):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, OverflowError) as exc:
        raise ConfigError(
            f"--{option}: {text!r} is no time: type 2026-01-31, 2026-01-31T12:00 or an age: 12h, 7d"
        ) from exc
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def duration(seconds: float) -> str:
    """A duration in its greatest unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
