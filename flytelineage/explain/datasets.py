"""Why a piece of data in an execution has its name, or has none."""

from __future__ import annotations

from collections.abc import Iterator

from flytelineage import naming
from flytelineage.entities import DatasetId
from flytelineage.explain.case import Case
from flytelineage.explain.page import Line, moment
from flytelineage.flow import DataFlow
from flytelineage.literals import Reference


def described(
    case: Case, flow: DataFlow, reference: Reference, *, node: str = ""
) -> Iterator[Line]:
    """A variable, the URI it holds, and the dataset at it with what named that.

    `node` says whose variable it is, where there are several of the name.
    """
    variable = f"{reference.variable} of {node}" if node else reference.variable
    yield Line(f"{variable}: {naming.normalised(reference.uri)}", whole=True)
    raw = naming.raw_output(reference.uri)
    if raw is None:
        decision = flow.names.decide(reference.uri)
        yield _dataset(decision.dataset)
        steps = "; ".join(decision.steps)
        yield Line(f"by {decision.rule}: {steps}" if decision.dataset else steps, depth=1)
    else:
        yield _dataset(flow.name(reference.uri))
        yield Line(_registered(case, flow, raw), depth=1)


def _dataset(dataset: DatasetId | None) -> Line:
    return Line(f"is {dataset}" if dataset else "has no name", depth=1, whole=True)


def _registered(case: Case, flow: DataFlow, raw: naming.RawOutput) -> str:
    """What the registry says of raw output."""
    execution = case.facts.execution
    if raw.key in case.collected.locations:
        found = case.registrations.get(raw.key)
        if found is None:
            return "as registered"
        by = "this execution" if found.execution == execution else str(found.execution)
        return f"as registered by {by} on {moment(found.at)}"
    if raw.key in flow.locations:
        return "which this execution will register when it is built"
    if raw.key in flow.orphans:
        return (
            "nobody registered it: its path names this execution, but the outputs of none of "
            "its tasks are known to hold it"
        )
    owner = f"its path names {raw.owner}" if raw.owner else "its path names nobody"
    return f"nobody registered it yet: {owner}, and this execution waits for that"
