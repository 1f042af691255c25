"""DataHub's server, GMS, on loopback: it keeps what it is told and fails on demand.

It speaks what `DataHubRestEmitter` speaks to the RestLI endpoint, applies UPSERT and PATCH
as GMS does, and shows its final state, so that two ways of telling it can be compared:

```python
with GmsDouble() as gms:
    gms.script(Fault(status=503))  # the next batch
    gms.refuse("urn:li:dataset:(urn:li:dataPlatform:s3,bucket/bad,PROD)")
    ...
    assert gms.aspects[urn, "status"] == {"removed": False}
```

Left out: search, events, GraphQL, the OpenAPI endpoints, and the model itself: any aspect
of any entity is accepted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from flytelineage.testing.http import Fault, Handler, HttpDouble
from flytelineage.testing.patches import PatchRefused, patched

__all__ = ["Fault", "GmsDouble", "Key", "Request"]

MAX_BATCH_BYTES = 16_000_000
MAX_URN_BYTES = 512

Key = tuple[str, str]
"""A URN and the name of an aspect."""

_SYNC_INDEX = {"X-DataHub-Sync-Index-Update": "true"}
_TIMESERIES = {"dataProcessInstanceRunEvent", "datasetProfile", "operation"}


@dataclass(frozen=True)
class Request:
    """A batch that arrived, whatever became of it.

    Attributes:
        asynchronous: Only to be queued.
        waits_for_search: Each proposal asks for the search index to be written, too.
        at: When it arrived, as `time.monotonic` tells it.
    """

    proposals: tuple[Key, ...]
    body_bytes: int
    asynchronous: bool
    waits_for_search: bool = False
    at: float = field(default=0.0, compare=False)


class GmsDouble(HttpDouble):
    """A server of its own for each test; what it can refuse are batches about a URN.

    Attributes:
        aspects: The latest value of each versioned aspect.
        events: The values of each time series, by time and message id.
        requests: The batches, in order of arrival.
    """

    def __init__(self, *, token: str | None = None, max_bytes: int = MAX_BATCH_BYTES) -> None:
        super().__init__(_Handler, token=token, max_bytes=max_bytes)
        self.config: dict[str, Any] = {"noCode": "true", "versions": {}}
        self.aspects: dict[Key, dict[str, Any]] = {}
        self.events: dict[Key, dict[tuple[int, str], dict[str, Any]]] = {}
        self.requests: list[Request] = []

    @property
    def state(self) -> dict[str, Any]:
        """All that it keeps, to compare."""
        with self._lock:
            return deepcopy({"aspects": self.aspects, "events": self.events})

    # -------------------------------------------------------- what the handler calls

    def take(self, body: bytes) -> Fault | None:
        """Store a batch; or say how it goes wrong."""
        batch = json.loads(body)
        proposals: list[dict[str, Any]] = batch["proposals"]
        keys = tuple((each["entityUrn"], each["aspectName"]) for each in proposals)
        with self._lock:
            waits = all(
                _SYNC_INDEX.items() <= (each.get("headers") or {}).items() for each in proposals
            )
            asynchronous = batch["async"] == "true"
            self.requests.append(Request(keys, len(body), asynchronous, waits, at=time.monotonic()))
            fault = self.next_fault() or self._objection(keys, body)
            if fault is None or fault.drop:
                try:
                    self._store(proposals)
                except PatchRefused as exc:
                    return Fault(500, message=str(exc))
        return fault

    def _objection(self, keys: Sequence[Key], body: bytes) -> Fault | None:
        if len(body) > self.max_bytes:
            return Fault(413, message="Payload too large")
        for urn, _ in keys:
            if urn in self._refused:
                return Fault(self._refused[urn], message=f"refused: {urn}")
            if len(quote(urn, safe="*-._")) > MAX_URN_BYTES:
                return Fault(400, message=f"URN is longer than {MAX_URN_BYTES} bytes")
        return None

    def _store(self, proposals: Sequence[dict[str, Any]]) -> None:
        """Keep all, or none if a patch does not fit."""
        aspects: dict[Key, dict[str, Any]] = {}
        for proposal in proposals:
            key = (proposal["entityUrn"], proposal["aspectName"])
            value = json.loads(proposal["aspect"]["value"])
            if proposal["changeType"] == "PATCH":
                aspects[key] = patched(key[1], aspects.get(key, self.aspects.get(key)), value)
            elif key[1] in _TIMESERIES:
                event = (value["timestampMillis"], value.get("messageId", ""))
                self.events.setdefault(key, {})[event] = value
            else:
                aspects[key] = value
        self.aspects.update(aspects)


def _as_batch(body: bytes) -> bytes:
    """A request with one proposal as one with a list of them."""
    one = json.loads(body)
    return json.dumps({"proposals": [one["proposal"]], "async": one["async"]}).encode()


class _Handler(Handler):
    """The RestLI endpoint."""

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """Say which server this is, or that an entity may be looked at."""
        if self.path == "/config":
            self.answer(200, self.double.config)
        elif self.may_enter():
            self.answer(200 if self.path.startswith("/entitiesV2/") else 404, {})

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        """Take a batch."""
        body = self.body()
        if not self.may_enter():
            return
        if self.path == "/aspects?action=ingestProposal":
            body = _as_batch(body)
        elif self.path != "/aspects?action=ingestProposalBatch":
            self.answer(404, {"message": f"no {self.path}"})
            return
        fault = self.double.take(body)
        if fault is None:
            self.answer(200, {"value": "success"})
        else:
            self.fail(fault, {"message": fault.message, "status": fault.status})
