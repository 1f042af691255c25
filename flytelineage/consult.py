"""What FlyteAdmin is asked about an execution; pure.

Events do not say which workflow ran, some get lost, and the cache hands out what older
executions wrote. Each gap is a `Question`. Its key is what the store remembers it by, so
that a question without an answer is not asked at every build.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from flytelineage.definition_keys import definition_key
from flytelineage.entities import ExecutionId
from flytelineage.facts import Facts, Identifier, NodeFacts

Subject = Literal["identity", "end", "workflow", "launch_plan", "closure", "nodes", "origin"]
"""What a question is about.

`identity`: which workflow ran. `end`: whether it ended after all. `closure`: what a
dynamic node made. `nodes`: all that happened in it. `origin`: all of another execution
that wrote what a node gave: from the cache, before a recovery, or as its child.
"""


class Question(NamedTuple):
    """Something that FlyteAdmin may know.

    Attributes:
        execution: The one that it is about, or in which the definition is needed.
        identifier: Of a workflow or launch plan.
        node: Id of a dynamic node.
    """

    subject: Subject
    key: str
    execution: ExecutionId
    identifier: Identifier | None = None
    node: str = ""


def questions(facts: Facts, *, lost: bool) -> Iterator[Question]:
    """What the events leave open, the most important first.

    Of an execution that has not ended, only whether it did: all else may still come.

    Args:
        facts: What the events say.
        lost: Whether events are missing that must have been sent.
    """
    if facts.ended_at is None:
        yield about("end", facts.execution)
        return
    if facts.answer is None:
        yield about("identity", facts.execution)
    if lost:
        yield about("nodes", facts.execution)
    yield from _definitions(facts)
    yield from _closures(facts)
    yield from _origins(facts)


def about(subject: Subject, execution: ExecutionId) -> Question:
    """The question about an execution as a whole."""
    return Question(subject, f"{subject}:{execution}", execution)


def _definitions(facts: Facts) -> Iterator[Question]:
    """The versions that ran; each is asked for once, whatever ran it."""
    named: tuple[tuple[Literal["workflow", "launch_plan"], Identifier | None], ...] = (
        ("workflow", facts.workflow),
        ("launch_plan", facts.launch_plan),
    )
    for kind, identifier in named:
        if identifier is not None:
            key = definition_key(kind, identifier, facts.execution.instance)
            yield Question(kind, key, facts.execution, identifier)


def _closures(facts: Facts) -> Iterator[Question]:
    """Graphs of dynamic nodes whose events were too large to be published."""
    for node in facts.nodes.values():
        if node.is_dynamic and node.succeeded and _lacks_closure(node):
            key = f"closure:{facts.execution}/{node.id}"
            yield Question("closure", key, facts.execution, node=node.id)


def _lacks_closure(node: NodeFacts) -> bool:
    """Whether the graph is not known that its last attempt made."""
    made = node.closure
    return made is None or (node.attempt is not None and node.attempt != made.attempt)


def _origins(facts: Facts) -> Iterator[Question]:
    """Executions that wrote what its nodes gave; they ended before, or it would not have."""
    done = [node for node in facts.nodes.values() if node.succeeded]
    found = {node.origin.execution for node in done if node.origin}
    found |= {node.child for node in done if node.child}
    for execution in sorted(found - {facts.execution}, key=str):
        yield about("origin", execution)
