"""What goes into the store and comes out of it: frozen values, free of SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from flytelineage.entities import DatasetId, ExecutionId, Lineage, PipelineId

NameSource = Literal["admin", "launch plan", "guessed"]
DeliveryState = Literal["due", "held", "delivered", "given_up"]

FLYTEADMIN = "FlyteAdmin"
"""How the note begins of why a build was put off, where FlyteAdmin is waited for."""

PIPELINE_KEY = "pipeline:"
"""How the key begins that says that a pipeline is known."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A body that could not be read, and why: what quarantine keeps."""

    body: str
    reason: str
    message_id: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A body in quarantine; `Store.quarantine_body` gives the body itself.

    Attributes:
        id: A hash of the body, so the same body is kept once.
        count: How often it came.
        body_bytes: Of the body as it came.
        emptied: Whether there was no room to keep the body.
    """

    id: str
    reason: str
    message_id: str
    source: str
    count: int
    first_seen: datetime
    last_seen: datetime
    body_bytes: int
    emptied: bool = False


@dataclass(frozen=True, slots=True)
class BuildLease:
    """The right to build one execution until somebody else is given it.

    Attributes:
        revision: What a finished build will have seen; read before its events are.
        token: Tells this lease from every other one of the execution.
        pipeline: Pinned by the first stored build; `None` before.
        name_source: What named the pinned pipeline.
        started_at: The earliest event.
        terminal_at: When the terminal event was recorded, by the store's clock.
        due_since: Since when it has been due.
        claimed_at: Now, by the store's clock.
        attempts: Builds begun since the last finished one, this one included.
        first: It was never built before.
        ended: A build has shown how it ended.
        lost: How many claims in a row ended without a word: their processes died, or took
            longer than their leases.
    """

    execution: ExecutionId
    revision: int
    token: str
    pipeline: PipelineId | None
    name_source: NameSource | None
    started_at: datetime
    terminal_at: datetime | None
    due_since: datetime
    claimed_at: datetime
    attempts: int
    first: bool = False
    ended: bool = False
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Built:
    """What one build found.

    Attributes:
        locations: Keys that this execution registers, the first writer wins. A key is
            a URI cut after its 32 hex digits, or `pipeline:<id>` with `None`, which
            says that this pipeline is known.
        waiting: Keys that nobody has registered yet.
        places: Flyte task names: True where the task stands at several nodes, False
            where it was told under its bare id.
        retry_in: Seconds after which to build again although nothing new came.
    """

    lineage: Lineage
    pipeline: PipelineId | None = None
    locations: Mapping[str, DatasetId | None] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    places: Mapping[str, bool] = field(default_factory=dict)
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tasks of one pipeline stand, as far as any build has shown.

    Attributes:
        multiple: Tasks known at several nodes.
        bare: Tasks once told under their bare id.
        retired_by: Who tells the bare id of a task once more, with empty io.
    """

    multiple: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()
    retired_by: Mapping[str, ExecutionId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backfill:
    """How far a backfill of one domain has come; what is before `reached` is done.

    Attributes:
        key: What somebody typed, so that the same command finds it again.
        since, until: The bounds of creation, the second one exclusive.
        reached: When the last execution that was looked at was created.
        recorded: Executions that were recorded.
        known: Those that the store knew to the end.
        gone: Those that FlyteAdmin had in its list and nowhere else.
    """

    key: str
    project: str
    domain: str
    since: datetime
    until: datetime
    reached: datetime
    recorded: int = 0
    known: int = 0
    gone: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryLease:
    """The right to tell one target of one execution until somebody else is given it.

    Attributes:
        revision: That of `lineage`.
        attempts: Counted claims since the last settled one, this one included.
        takeover: An earlier claim may have told something and never said what.
        claimed_at: Now, by the store's clock.
        terminal_at: When the terminal event was recorded, by the same clock.
        first: It was never settled since the execution ended.
        lost: As for `BuildLease`.
    """

    execution: ExecutionId
    target: str
    revision: int
    token: str
    lineage: Lineage
    attempts: int
    takeover: bool
    claimed_at: datetime
    terminal_at: datetime | None = None
    first: bool = False
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """One aspect of an entity that an execution wants to tell.

    Attributes:
        entity: The entity's `urn`.
        stamp: As of when it is true; the greater one wins.
        digest: Of the content, times left out.
        parts: What the content is made of, each with the `urn` of the entity that ends with
            it, or nothing. `None` for content that is replaced whole.
        whole: Whether these are all parts; else those that were told before stay.
        always: A failed execution may tell it over a success, too.
        former: Parts that the catalogue may hold and that are there no more; the store
            says which.
        ends: The part that the entity ended with; then there is nothing else to tell of it.
            Only the store makes such claims.
    """

    entity: str
    aspect: str
    stamp: datetime
    digest: str
    parts: Mapping[str, str] | None = None
    whole: bool = True
    always: bool = False
    former: frozenset[str] = frozenset()
    ends: str = ""


@dataclass(frozen=True, slots=True)
class SeenEdges:
    """The edges that an execution showed of one version of a task.

    Attributes:
        entity: The task's `urn`.
        stamp: When the execution began.
        edges: By what they join, as `flytelineage.parts.written` says them.
    """

    entity: str
    version: str
    stamp: datetime
    edges: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a store is.

    Attributes:
        free_bytes: What its disk has left; `None` where a server keeps that to itself.
    """

    bytes: int
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Matching:
    """Deliveries that an operator asks for again, of one kind.

    Attributes:
        state: As in `DeliveryState`, or `never told`.
        error: What the last try said, numbers left out; empty where nothing went wrong.
    """

    target: str
    state: str
    error: str
    count: int


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many days what is kept; 0 is for ever."""

    events: float = 0
    lineage: float = 0
    deliveries: float = 0
    runs: float = 0
    quarantine: float = 0
    locations: float = 0


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What retention gave up.

    Attributes:
        target: Who was not told; empty where the execution itself was not built.
        reason: The words that stand at the delivery, too.
    """

    execution: ExecutionId
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What one step of retention did.

    Attributes:
        removed: Rows, by what they were: `events`, `lineage`, `deliveries`, `runs`,
            `quarantine`, `locations`.
        unsettled: What went although somebody wanted it; to be told to people.
        more: Whether the pass through the store has not come to its end.
    """

    removed: Mapping[str, int] = field(default_factory=dict)
    unsettled: tuple[Unsettled, ...] = ()
    more: bool = False

    def also(self, what: str, count: int) -> Cleaned:
        """The same, and so many more rows of a kind."""
        return replace(self, removed={**self.removed, what: self.removed.get(what, 0) + count})


@dataclass(frozen=True, slots=True)
class Registration:
    """Who gave a location its name, and when; of a pipeline's key `dataset` is `None`."""

    dataset: DatasetId | None
    execution: ExecutionId
    at: datetime


@dataclass(frozen=True, slots=True)
class Awaited:
    """How many executions wait for a key, and the first of them."""

    count: int
    executions: tuple[ExecutionId, ...]


def refusals(rejections: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a target refused, in words: a line per entity and reason, with the aspects."""
    aspects: dict[tuple[str, str], list[str]] = {}
    for one in rejections:
        those = aspects.setdefault((one["entity"], one["reason"]), [])
        if (aspect := one.get("aspect")) and aspect not in those:
            those.append(aspect)
    return [
        f"{entity} ({', '.join(those)}): {reason}" if those else f"{entity}: {reason}"
        for (entity, reason), those in aspects.items()
    ]


@dataclass(frozen=True, slots=True)
class Paused:
    """Why a target is told nothing for a while, and until when."""

    reason: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """How far one target has been told of an execution.

    Attributes:
        attempts: Counted tries since it was last settled.
        due_at: When it is tried next; `None` unless the state is `due`.
        error: What the last try said; empty after one that worked.
        error_at: When that was.
        rejections: What the target refused of it, in words; see `refusals`.
        lease_until: Until when a process has it in hand.
        lost: How many processes in a row had it in hand and said nothing any more.
        dropped: Whether the operator's rules left nothing to tell.
        overtaken: Whether all that it told was told by newer executions since.
        paused: Why the target is told nothing at all; `None` where it is not so.
    """

    target: str
    state: DeliveryState
    attempts: int = 0
    due_at: datetime | None = None
    settled_at: datetime | None = None
    error: str = ""
    error_at: datetime | None = None
    rejections: tuple[str, ...] = ()
    lease_until: datetime | None = None
    lost: int = 0
    dropped: bool = False
    overtaken: bool = False
    paused: Paused | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the store has come with an execution.

    Attributes:
        at: Now, by the store's clock.
        pipeline: Pinned by the first stored build; `None` before.
        terminal_at: When the event was stored that ends it; `None` before.
        phase: As of the last build; empty before.
        built_at: When it was last built; `None` before.
        current: Whether no event came since the last build.
        due_at: When it is built next, where that is known.
        attempts: Builds begun since the last finished one.
        lost: How many of these in a row ended without a word.
        lease_until: Until when a process has it in hand.
        archived_at: Since when its events are gone, so that it is built no more.
        waits_for: Why it was put off.
        partial: Whether the last build lacked events.
        incomplete: What the last build could not read.
        awaits: The first keys of what it read and nobody has registered yet.
        deliveries: By target.
    """

    at: datetime | None = None
    pipeline: PipelineId | None = None
    name_source: NameSource | None = None
    terminal_at: datetime | None = None
    phase: str = ""
    built_at: datetime | None = None
    current: bool = False
    due_at: datetime | None = None
    attempts: int = 0
    lost: int = 0
    lease_until: datetime | None = None
    archived_at: datetime | None = None
    waits_for: str = ""
    partial: bool = False
    incomplete: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    deliveries: tuple[Told, ...] = ()
