"""Reads the literals of one execution, in rounds, within its bounds.

First every literal map, several at once; then the literals that were stored apart from
them; then what those have stored apart. Fetching is concurrent, and what was fetched is
looked at in a fixed order: where a bound is reached does not depend on who was faster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from flytelineage import literals
from flytelineage.errors import ReadError
from flytelineage.facts import Literals
from flytelineage.flow import Read
from flytelineage.literals import Offloaded, Reference

MISSING_TRIES = 3
"""How often an object must be missing before it counts as never written."""

MAX_ROUNDS = 8
"""How deep literals that were stored apart may refer to others."""


class Reader(Protocol):
    """Opens URIs; see `objects.ObjectReader`."""

    def read(self, uri: str) -> bytes:
        """The content of a small object."""


class Unavailable(Exception):
    """An object store does not answer now; the build can wait a little."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A literal map that must be read; `node` is empty for the workflow's result."""

    node: str
    side: str
    literals: Literals | None
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What reading for one execution may cost; see `Collector`.

    Attributes:
        patient: Whether it may be put off while an object store is away.
        now: Tells how old metadata is.
    """

    max_reads: int
    max_bytes: int
    max_seconds: float
    max_references: int
    concurrency: int
    metadata_age: float
    patient: bool
    now: datetime


@dataclass(slots=True)
class _Found:
    """What a literal map refers to, as far as it was looked at."""

    references: list[Reference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _Apart(NamedTuple):
    """A literal that lies in an object of its own, and the map that it belongs to."""

    found: _Found
    literal: Offloaded


class Rounds:
    """Reads for one execution, once."""

    def __init__(self, bounds: Bounds, reader: Reader) -> None:
        self.bounds = bounds
        self.reader = reader
        self._lock = threading.Lock()
        self._reads = 0
        self._bytes = 0
        self._references = bounds.max_references
        self._deadline = time.monotonic() + bounds.max_seconds

    def read(self, wanted: Sequence[Wanted]) -> dict[Wanted, Read]:
        """What each literal map refers to.

        Raises:
            Unavailable: Only where `patient`.
        """
        found = {one: _Found() for one in wanted}
        workers = min(self.bounds.concurrency, max(1, len(wanted)))
        with ThreadPoolExecutor(workers, thread_name_prefix="collect") as pool:
            apart: list[_Apart] = []
            for asked, data in zip(wanted, pool.map(self._map, wanted), strict=True):
                apart.extend(self._look_at_map(found[asked], data))
            for _ in range(MAX_ROUNDS):
                arrived = zip(apart, pool.map(self._literal, apart), strict=True)
                apart = [more for piece, data in arrived for more in self._look_at(piece, data)]
        for deep in apart:
            deep.found.problems.append(f"{deep.literal.uri} lies too deep")
        return {one: Read(tuple(f.references), tuple(f.problems)) for one, f in found.items()}

    # ------------------------------------------------------------------- looking

    def _look_at_map(self, found: _Found, data: bytes | ReadError) -> Iterable[_Apart]:
        try:
            if isinstance(data, ReadError):
                raise data
            parsed = literals.parse(data)
        except ReadError as exc:
            found.problems.append(str(exc))
            return ()
        return self._keep(found, literals.walk(parsed, max_references=self._left()))

    def _look_at(self, one: _Apart, data: bytes | ReadError) -> Iterable[_Apart]:
        try:
            if isinstance(data, ReadError):
                raise data
            parsed = literals.parse_literal(data)
        except ReadError as exc:
            one.found.problems.append(str(exc))
            return ()
        variable, path = one.literal.variable, one.literal.path
        walked = literals.walk_literal(parsed, variable, path, max_references=self._left())
        return self._keep(one.found, walked)

    def _left(self) -> int:
        return min(self._references, literals.MAX_REFERENCES)

    def _keep(self, found: _Found, walked: literals.Walked) -> Iterable[_Apart]:
        self._references -= len(walked.references) + len(walked.offloaded)
        found.references.extend(walked.references)
        found.problems.extend(walked.problems)
        return [_Apart(found, one) for one in walked.offloaded]

    # ------------------------------------------------------------------ fetching

    def _map(self, wanted: Wanted) -> bytes | ReadError:
        if wanted.literals is None:
            return ReadError("missing", "the events do not say where they are")
        try:
            return self._fetch_map(wanted, wanted.literals)
        except ReadError as exc:
            return exc

    def _literal(self, one: _Apart) -> bytes | ReadError:
        try:
            return self._fetch(one.literal.uri)
        except ReadError as exc:
            return exc

    def _fetch_map(self, wanted: Wanted, found: Literals) -> bytes:
        """The bytes of a literal map; empty when it was surely never written.

        Source: a task without declared outputs has an `output_uri` with nothing there
        (flyteorg/flyte#1409).
        """
        if not found.uri:
            return found.inline
        may_miss = wanted.side != "inputs" and self._young(wanted)
        for _ in range(MISSING_TRIES - 1 if may_miss else 0):
            try:
                return self._fetch(found.uri)
            except ReadError as exc:
                if exc.reason != "missing":
                    raise
        try:
            return self._fetch(found.uri)
        except ReadError as exc:
            if may_miss and exc.reason == "missing":
                return b""
            raise

    def _young(self, wanted: Wanted) -> bool:
        if wanted.written_at is None:
            return False
        age = self.bounds.now - wanted.written_at
        return age <= timedelta(seconds=self.bounds.metadata_age)

    def _fetch(self, uri: str) -> bytes:
        self._spend()
        try:
            data = self.reader.read(uri)
        except ReadError as exc:
            if exc.reason == "unavailable" and self.bounds.patient:
                raise Unavailable(str(exc)) from exc
            raise
        with self._lock:
            self._bytes += len(data)
        return data

    def _spend(self) -> None:
        """Count one more read.

        Raises:
            ReadError: This execution has used up one of its bounds.
        """
        bounds = self.bounds
        with self._lock:
            self._reads += 1
            if self._reads > bounds.max_reads:
                raise ReadError("over budget", f"over budget: {bounds.max_reads} objects")
            if self._bytes > bounds.max_bytes:
                raise ReadError("over budget", f"over budget: {bounds.max_bytes} bytes")
        if time.monotonic() > self._deadline:
            raise ReadError("over budget", f"over budget: {bounds.max_seconds:g} seconds")
