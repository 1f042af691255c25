"""Lists as FlyteAdmin answers them: filters, an order, and offsets as tokens.

Source: flyteorg/flyte v1.16, flyteadmin pkg/manager/impl/util/filters.go.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

_FILTER = re.compile(r"(.+)\((.+),\s?(.+)\)")
_FUNCTIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_TRIMMED_BYTES = 100

Columns = Mapping[str, Callable[[Any], Any]]
"""Database columns by name, taken from a message."""


class InvalidList(ValueError):
    """What Admin answers as INVALID_ARGUMENT."""


def listed(rows: Iterable[Any], request: Any, columns: Columns) -> tuple[Sequence[Any], str]:
    """The rows that a request asks for, and the token of the next page."""
    if not request.limit:
        raise InvalidList("missing limit")
    found = [row for row in rows if _fits(row, request.filters, columns)]
    if request.HasField("sort_by"):
        key = _column(request.sort_by.key, columns)
        found.sort(key=key, reverse=request.sort_by.direction == request.sort_by.DESCENDING)
    start = int(request.token or 0)
    page = found[start : start + request.limit]
    # Also after the last row, if the page is full: Admin does not look ahead.
    return page, str(start + len(page)) if len(page) == request.limit else ""


def trimmed(row: Any) -> Any:
    """A copy whose error message is cut, as it is in lists."""
    copy = type(row)()
    copy.CopyFrom(row)
    if copy.closure.WhichOneof("output_result") == "error":
        message = copy.closure.error.message.encode()[:_TRIMMED_BYTES]
        copy.closure.error.message = message.decode(errors="ignore")
    return copy


def _fits(row: Any, filters: str, columns: Columns) -> bool:
    return all(_passes(row, one, columns) for one in filters.split("+") if one)


def _passes(row: Any, text: str, columns: Columns) -> bool:
    match = _FILTER.fullmatch(text)
    if match is None or match[1] not in _FUNCTIONS:
        raise InvalidList(f"invalid filter {text!r}")
    value = _column(match[2], columns)(row)
    return _FUNCTIONS[match[1]](value, _like(value, match[3]))


def _column(name: str, columns: Columns) -> Callable[[Any], Any]:
    if name not in columns:
        raise InvalidList(f"invalid column {name!r}")
    return columns[name]


def _like(value: Any, text: str) -> Any:
    if not isinstance(value, datetime):
        return text
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
