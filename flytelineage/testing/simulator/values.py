"""What flows through an execution: literals, and the objects that they lie in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flytelineage.testing.simulator.flytekit_literals import FlytekitLiterals
from flytelineage.testing.simulator.kinds import (
    Kind,
    Offloaded,
    Primitive,
    Produced,
)
from flytelineage.testing.simulator.literals import (
    LITERAL_MAP,
    FastLiterals,
    HexNames,
    LiteralMaker,
    collection,
    mapping,
    offloaded,
    part,
    resolve_same,
    seeded,
)
from flytelineage.testing.simulator.storage import Storage
from flytelineage.testing.simulator.workflows import (
    Binding,
    Input,
    Output,
    Task,
    Workflow,
    Written,
    rebound,
)

Literals: TypeAlias = Mapping[str, Any]
"""flyteidl literals by variable."""

_SHARDS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Settings:
    """What an execution shares with those that it launches.

    Attributes:
        fast: Build literals by hand, not by flytekit.
        inline: Send data in the events, not URIs.
        array_event_version: 1: the items of array nodes have events of their own.
    """

    storage: Storage
    seed: int
    fast: bool = False
    inline: bool = False
    array_event_version: int = 0


class Values:
    """The data plane of one execution.

    Inputs and outputs of nodes are literal maps in objects of their own; what tasks
    write lies below prefixes that Flyte makes up.
    """

    def __init__(self, settings: Settings, workflow: Workflow, execution: str) -> None:
        seed = (settings.seed, workflow.project, workflow.domain, execution)
        names = HexNames(*seed, "names")
        storage = settings.storage
        self._storage = storage
        self._shards = seeded(*seed, "shards")
        self._maker: LiteralMaker
        self._maker = (FastLiterals if settings.fast else FlytekitLiterals)(storage, names)

    def literal(self, kind: Kind) -> Any:
        """The literal of a value that was there before."""
        return kind.literal if isinstance(kind, Produced) else self._maker.make(kind, None)

    def resolve(
        self, bindings: Mapping[str, Binding], inputs: Literals, results: Mapping[str, Literals]
    ) -> dict[str, Any]:
        """What bindings give, from a graph's inputs and the results of its nodes."""
        return {name: self._value(item, inputs, results) for name, item in bindings.items()}

    def _value(self, binding: Binding, inputs: Literals, results: Mapping[str, Literals]) -> Any:
        if isinstance(binding, Output):
            return part(results[binding.node][binding.variable], binding.path)
        if isinstance(binding, Input):
            return part(inputs[binding.name], binding.path)
        if isinstance(binding, list):
            return collection([self._value(item, inputs, results) for item in binding])
        if isinstance(binding, dict):
            return mapping(self.resolve(binding, inputs, results))
        if isinstance(binding, Written):
            raise TypeError(f"{binding} has no place outside of a dynamic node's graph")
        return self.literal(binding)

    def as_kinds(self, literals: Literals) -> dict[str, Kind]:
        """Literals as inputs of an execution that is launched; their story is told apart."""
        return {
            name: Produced(literal, told=None, kind=Primitive(None))
            for name, literal in literals.items()
        }

    def write_own(self, body: Workflow, generated_name: str) -> Workflow:
        """Write the data that a dynamic task made itself, and put it into its graph."""
        made: dict[str, Binding] = {}

        def constant(written: Written) -> Binding:
            if written.name not in made:
                literal = self._maker.make(written.kind, self.raw_prefix(generated_name))
                made[written.name] = Produced(literal, told=None, kind=written.kind)
            return made[written.name]

        return rebound(body, constant)

    def raw_prefix(self, generated_name: str) -> str:
        """Where an attempt writes its data.

        Source: flyteplugins go/tasks/pluginmachinery/ioutils/raw_output_path.go.
        """
        shard = "".join(self._shards.choices(_SHARDS, k=2))
        return f"{self._storage.root}/data/{shard}/{generated_name}"

    def make(self, task: Task, inputs: Literals, prefix: str, folder: str) -> dict[str, Any]:
        """The outputs of a task, with their data; `folder` is for offloaded literals."""
        return {
            name: self._make(kind, inputs, prefix, f"{folder}/{name}_offloaded_metadata.pb")
            for name, kind in task.outputs.items()
        }

    def _make(self, kind: Kind, inputs: Literals, prefix: str, own_uri: str) -> Any:
        if isinstance(kind, Offloaded):
            literal = self._maker.make(kind.item, prefix)
            self._storage.write(own_uri, literal.SerializeToString(deterministic=True))
            return offloaded(own_uri, literal, kind.item)
        same = resolve_same(kind, inputs)
        return self._maker.make(kind, prefix) if same is None else same

    def write(self, uri: str, literals: Literals) -> None:
        """Write a literal map: `inputs.pb` or `outputs.pb`."""
        content = LITERAL_MAP(literals=dict(literals))
        self._storage.write(uri, content.SerializeToString(deterministic=True))
