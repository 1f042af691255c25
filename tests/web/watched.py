"""Something to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flytelineage.health import Health
from flytelineage.metrics import Metrics

OVERVIEW: dict[str, Any] = {
    "executions": {"collecting": 2, "due": 1, "building": 0, "built": 12_345, "partial": 3},
    "deliveries": {
        "datahub": {"due": 0, "delivered": 12_340, "oldest_seconds": None},
        "glue": {"due": 40, "later": 2, "given_up": 1, "delivered": 9, "oldest_seconds": 7300.0},
    },
    "paused": {
        "glue": {
            "reason": "TargetUnavailable: the database lake is missing",
            "since": "2026-05-01T10:00:00+00:00",
            "until": "2026-05-01T10:05:00+00:00",
        }
    },
    "quarantine": {"It is no JSON": 3},
    "errors": [
        {
            "execution": "shop/production/e1",
            "target": "glue",
            "state": "given_up",
            "attempts": 4,
            "error": "the name is too long",
            "rejections": [{"entity": "s3:lake/orders", "aspect": "schema", "reason": "no"}],
            "refused": ["s3:lake/orders (schema): no"],
            "at": "2026-05-01T09:30:00+00:00",
        }
    ],
    "problems": [{"execution": "shop/production/e2", "reasons": ["events are missing"]}],
    "definitions": 0,
    "backfills": [],
}


class Watched:
    """A daemon that says what it is told to say."""

    version = "1.2.3"

    def __init__(
        self, health: Health | None = None, overview: Mapping[str, Any] | None = None
    ) -> None:
        self.metrics = Metrics(targets=["datahub", "glue"])
        self.said = health or Health()
        self.seen = OVERVIEW if overview is None else overview
        self.broken: Exception | None = None

    def health(self) -> Health:
        if self.broken:
            raise self.broken
        return self.said

    def overview(self) -> Mapping[str, Any]:
        return self.seen
