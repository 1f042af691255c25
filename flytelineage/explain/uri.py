"""Why data at a URI has its name, or has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from flytelineage.dataset_names import RAW_OUTPUT, Decision, Names
from flytelineage.entities import DatasetId, ExecutionId
from flytelineage.explain.page import Line, Section, labelled, moment, number, put_off, rendered
from flytelineage.store import Awaited, Registration, Standing
from flytelineage.uris import RawOutput, normalised, possible_writers, raw_output

MAX_WRITERS = 5
"""Ways to read a path that are told."""


NOBODY = Awaited(0, ())


class Writer(NamedTuple):
    """Who a path may name: executions' names hold dashes, and so do nodes'."""

    execution: str
    node: str
    attempt: str


@dataclass(frozen=True, slots=True)
class Registry:
    """What the store knows of a place of raw output.

    Attributes:
        registration: `None` while nobody has registered it.
        awaited: Who waits for that.
        writers: Executions of the store that its path may name.
    """

    registration: Registration | None = None
    awaited: Awaited = NOBODY
    writers: Mapping[ExecutionId, Standing] = field(default_factory=dict)


def explain_uri(uri: str, names: Names, registry: Registry | None, unasked: str) -> list[str]:
    """Which rule named the dataset at a URI, step by step.

    Args:
        uri: A URI, a path or whatever else the operator's own rules can name.
        names: The rules.
        registry: What the store knows of it; asked of raw output alone.
        unasked: Why the store was not asked, where it was not.
    """
    decision, raw = names.decide(uri), raw_output(uri)
    found = registry.registration if registry else None
    dataset = found.dataset if found else decision.dataset
    sections = [Section(normalised(uri)), Section("Steps", _steps(decision))]
    if raw is not None:
        sections.append(Section("Who wrote it", _authorship(raw, registry, unasked)))
    sections.append(Section("Dataset", _named(dataset, decision, registry)))
    return list(rendered(sections))


def writers(owner: str) -> list[Writer]:
    """The ways to read the owner part of a raw-output path; none of a hash."""
    return [_writer(owner, name) for name in possible_writers(owner)[:MAX_WRITERS]]


def _writer(owner: str, execution: str) -> Writer:
    node, _, attempt = owner.removeprefix(f"{execution}-").rpartition("-")
    return Writer(execution, node, attempt)


def _steps(decision: Decision) -> Iterator[Line]:
    for index, step in enumerate(decision.steps, start=1):
        mistake = " (a mistake in LineageBuilder.dataset_rules)" * (step in decision.problems)
        yield Line(step + mistake, label=str(index))


def _named(dataset: DatasetId | None, decision: Decision, registry: Registry | None) -> list[Line]:
    if dataset is not None:
        by = "the registry" if decision.rule == RAW_OUTPUT else decision.rule
        return [Line(str(dataset), label="name", whole=True), Line(by, label="decided by")]
    if decision.rule != RAW_OUTPUT:
        return [Line("none: this names no dataset", label="name")]
    if registry is None:
        return [Line("not known here: only the registry has it", label="name")]
    return [Line("none yet: nobody has registered it", label="name")]


# ------------------------------------------------------------------ raw output


def _authorship(raw: RawOutput, registry: Registry | None, unasked: str) -> Iterator[Line]:
    yield Line(raw.key, label="key", whole=True)
    yield from labelled("path", _path(raw.owner, registry))
    if registry is None:
        yield Line(f"not asked: {unasked}", label="registry")
        return
    found = registry.registration
    if found is not None:
        yield Line(f"registered by {found.execution} on {moment(found.at)}", label="registry")
        if writers(raw.owner) and not _known_writers(writers(raw.owner), registry):
            yield Line("its path names another execution: this one took over what that wrote")
        return
    yield from labelled("registry", _unregistered(registry))
    yield from labelled("waiting", _awaited(registry.awaited), "nobody waits for it")


def _path(owner: str, registry: Registry | None) -> Iterator[Line]:
    if not owner:
        yield Line("says nothing of who asked the query whose result it is")
        return
    read = writers(owner)
    if not read:
        yield Line(f"{owner} is a hash, as of a name that was too long: it says nothing")
        return
    certain = _known_writers(read, registry)
    for one in certain or read:
        yield Line(f"execution {one.execution}, node {one.node}, attempt {one.attempt}")
    if not certain and len(read) > 1:
        yield Line("one of these: names hold dashes, so that the path does not say which")


def _known_writers(read: list[Writer], registry: Registry | None) -> list[Writer]:
    """Those whose execution is known to exist."""
    if registry is None:
        return []
    found = registry.registration
    known = {found.execution.name} if found else {id.name for id in registry.writers}
    return [one for one in read if one.execution in known]


def _unregistered(registry: Registry) -> Iterator[Line]:
    yield Line("nobody has registered it")
    if not registry.writers:
        yield Line("no execution is stored that its path may name: it ran before, or elsewhere")
    for execution, standing in registry.writers.items():
        yield Line(f"{execution} {_progress(standing)}")


def _progress(standing: Standing) -> str:
    """Why an execution that is stored has not registered something."""
    if standing.built_at is None:
        why = f"; {put_off(standing.waits_for)}" if standing.waits_for else ""
        due = f", to be built at {moment(standing.due_at)}" if standing.due_at else ""
        return f"was not built yet{due}{why}"
    then = "" if standing.current else "; events came since"
    return (
        f"was built on {moment(standing.built_at)} and none of its tasks was found to have written "
        f"it{then}: `flytelineage explain EXECUTION` says why"
    )


def _awaited(awaited: Awaited) -> Iterator[Line]:
    for execution in awaited.executions:
        yield Line(str(execution), whole=True)
    left = awaited.count - len(awaited.executions)
    if left > 0:
        yield Line(f"and {number(left, 'execution')} more")
