"""`simulate`: from a workflow to its event stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from flytelineage.testing.simulator.execution import Execution, ending
from flytelineage.testing.simulator.kinds import (
    Kind,
)
from flytelineage.testing.simulator.steps import Phase
from flytelineage.testing.simulator.storage import Storage
from flytelineage.testing.simulator.story import Story, given
from flytelineage.testing.simulator.stream import Stream
from flytelineage.testing.simulator.values import Settings
from flytelineage.testing.simulator.workflows import (
    Outcome,
    Workflow,
)


def simulate(
    workflow: Workflow,
    execution_name: str,
    storage: Storage,
    *,
    start: datetime,
    seed: int = 0,
    phase: Phase = "SUCCEEDED",
    outcomes: Mapping[str, Outcome] | None = None,
    inputs: Mapping[str, Kind] | None = None,
    fast: bool = False,
    inline: bool = False,
    array_event_version: int = 0,
    principal: str = "flyte",
    labels: Mapping[str, str] | None = None,
) -> Stream:
    """Run a workflow in simulated time: files into `storage`, events into a stream.

    The same arguments give the same bytes.

    Args:
        workflow: What runs.
        execution_name: Unique in the project and domain.
        storage: Where `inputs.pb`, `outputs.pb` and the data of tasks are written.
        start: With a time zone.
        seed: Of names, durations and everything else that Flyte leaves to chance.
        phase: How it ends, at the last node, unless an outcome says which node.
            `RUNNING` is the stream of an execution that is not over.
        outcomes: How nodes fare, by path of spec ids: `n1`, `n4/n0`, `n7/n7-n0`; in an
            earlier attempt at what is around them: `n4#0/n0`.
        inputs: Other values of the workflow's inputs, e.g. `Stream.output(..)`.
        fast: Build literals by hand instead of by flytekit.
        inline: Propeller's `raw-output-policy: inline`: data in events, not URIs.
        array_event_version: Propeller's `array-node-config.event-version`: with 1 the
            items of map tasks have events of their own.
        principal: Who started it.
        labels: Of the execution.
    """
    known = ending(workflow, outcomes or {}, phase)
    kinds = {**workflow.inputs, **(inputs or {})}
    execution = Execution(
        workflow,
        execution_name,
        Settings(storage, seed, fast=fast, inline=inline, array_event_version=array_event_version),
        start=start,
        inputs=kinds,
        outcomes=known,
    ).run()
    story = Story(
        workflow,
        execution_name,
        inputs={name: given(kind) for name, kind in kinds.items()},
        outcomes=known,
        seen=execution.places,
        told=execution.told,
        inline=inline,
        items_apart=array_event_version == 1,
    )
    return _stream(execution, story, principal, labels or {})


def _stream(
    execution: Execution, story: Story, principal: str, labels: Mapping[str, str]
) -> Stream:
    for path, child in execution.children.items():
        story.children[path].seen.update(child.places)
        story.children[path].told.update(child.told)
        story.children[path].execution = child.name
    children = tuple(
        _stream(child, story.children[path], principal, labels)
        for path, child in execution.children.items()
    )
    return Stream(
        requests=tuple(execution.reports.published),
        execution=execution,
        story=story,
        principal=principal,
        labels=labels,
        children=children,
    )
