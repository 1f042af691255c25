"""The contract of targets: where lineage goes.

A target is found by its entry point in the group `flytelineage.targets`, or by a
dotted path. It has no memory and holds no locks on its catalogue: what was told
before, what a newer execution told and what is unchanged is settled by the daemon
before it calls `emit`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from traitlets import Enum, Float
from traitlets.config import LoggingConfigurable

from flytelineage.entities import Copy, DatasetId, Entity, Lineage, Value
from flytelineage.permissions import Statement


class Rejection(Value):
    """An entity that the target refused; all others were accepted.

    Attributes:
        entity: Its `urn` in our model.
        aspect: Which aspect was refused; `None` is the whole entity.
        reason: In the target's words.
    """

    entity: str
    aspect: str | None = None
    reason: str


class Target(LoggingConfigurable):
    """Takes lineage to one catalogue.

    Must implement `emit_lineage`. May implement `copies`, `permissions`, `check` and `close`,
    and set `remote`, `journal`, `keeps`, `last_run_only`, `running` and `parallel`. Constructing a
    target must not connect to anything and must not import its client: that waits for the
    first `emit_lineage` or `check`.
    """

    remote: ClassVar[bool] = True
    """False where the target writes nothing but local files."""

    journal: ClassVar[bool] = False
    """True where each delivery stands for itself, as lines of a log do: it then gets
    executions whole, whatever others told before or after."""

    keeps: ClassVar[frozenset[str]] = frozenset({"pipelines", "tasks", "datasets"})
    """Of which entities the catalogue has entries. Of these a target gets what is new;
    of the others all that is known, to describe those with it."""

    last_run_only: bool = False
    """True where the catalogue has one entry for the last run of a pipeline, and no other
    runs: then it gets the run of an execution only while none is newer."""

    running: bool = False
    """True where executions are told that still run; each of them once."""

    parallel: ClassVar[bool] = False
    """True where several threads may call `emit` at once, each with another execution, and
    `copies` answers each of them for its own last one. Others are called by one at a time."""

    def emit(self, lineage: Lineage | Iterable[Entity]) -> list[Rejection]:
        """Tell the catalogue; a list of entities becomes a lineage without execution.

        Safe to repeat: the second time changes nothing. Aspects that are `None` are
        left as the catalogue has them.

        Returns:
            What was refused, entity by entity; the rest was accepted.

        Raises:
            TransientTargetError: Perhaps a part was accepted; emit again later.
            TargetUnavailable: The target refuses everything until somebody acts.
            PermanentTargetError: This lineage is refused for good.
        """
        if not isinstance(lineage, Lineage):
            lineage = Lineage.of(lineage)
        return self.emit_lineage(lineage) or []  # one that returns nothing refused nothing

    @abstractmethod
    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        """What `emit` promises, for a `Lineage`; by one thread at a time unless `parallel`."""

    def copies(self) -> Mapping[DatasetId, Copy]:
        """Under which names this thread's last `emit` made datasets known in this catalogue.

        Other targets are then told that both are the same data.
        """
        return {}

    def permissions(self) -> Sequence[Statement]:
        """What AWS must allow with these options, reading data apart; empty without AWS."""
        return ()

    def check(self) -> None:
        """Reach the catalogue without changing it.

        Raises:
            ConfigError: What is wrong and what to do, in one line.
        """

    def close(self) -> None:
        """Write what is buffered and let go of files and connections; no `emit` is under way."""


class EdgeKeeper(Target):
    """A target whose catalogue keeps the edges of tasks from run to run."""

    edges = Enum(
        ["latest", "window"],
        default_value="latest",
        help="""
        Which edges of a task are told: those of its `latest` execution, or all that were seen
        within the `window` of `edge_window` days in executions of its present version. Take
        the window for workflows that read other data from run to run.

        Example: c.DataHubTarget.edges = "window"
        """,
    ).tag(config=True)

    edge_window = Float(
        30.0,
        min=0.01,
        help="""
        Days for which an edge stays that no later execution showed; only with
        `edges = "window"`. Make it longer than the rarest schedule.

        Example: c.DataHubTarget.edge_window = 90
        """,
    ).tag(config=True)
