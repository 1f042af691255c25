"""Which gaps in the events become questions to FlyteAdmin."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from flyteidl.core import compiler_pb2
from flyteidl.event import event_pb2

from flytelineage.consult import Question, questions
from flytelineage.entities import ExecutionId
from flytelineage.events import decode
from flytelineage.facts import Facts, Identifier
from flytelineage.fold import fold
from tests.factories import (
    EXECUTION,
    NOW,
    answer_body,
    execution_answer,
    execution_id,
    node_request,
    raw_body,
    task_id,
    workflow_request,
)

OTHER = ExecutionId(project="shop", domain="production", name="z9")


def facts(*requests, answer=True, ended=True) -> Facts:
    bodies = [raw_body(request) for request in requests]
    bodies += [raw_body(workflow_request())] if ended else []
    bodies += [answer_body(execution_answer())] if answer else []
    return fold(EXECUTION, [decode(body, received_at=NOW + timedelta(hours=1)) for body in bodies])


def asked(found: Facts, *, lost: bool = False) -> dict[str, Question]:
    return {question.key: question for question in questions(found, lost=lost)}


def cached(execution: str = "z9"):
    """A node whose outputs the cache handed out."""
    metadata = event_pb2.TaskNodeMetadata(cache_status="CACHE_HIT")
    source = metadata.catalog_key.source_task_execution
    source.task_id.CopyFrom(task_id())
    source.node_execution_id.node_id = "n0"
    source.node_execution_id.execution_id.CopyFrom(execution_id(execution))
    return node_request(task_node_metadata=metadata)


def dynamic(attempt: int | None, outputs: str = "", **fields):
    """A dynamic node; with the graph that one of its attempts made."""
    metadata = event_pb2.TaskNodeMetadata()
    if attempt is not None:
        graph = metadata.dynamic_workflow
        graph.compiled_workflow.CopyFrom(compiler_pb2.CompiledWorkflowClosure())
        graph.dynamic_job_spec_uri = f"s3://b/data/{attempt}/futures.pb"
    uri = {"output_uri": outputs} if outputs else {}
    return node_request(is_dynamic=True, task_node_metadata=metadata, **uri, **fields)


def test_an_execution_without_a_name_is_asked_for() -> None:
    """What it ran is known only then."""
    assert list(asked(facts(answer=False))) == ["identity:shop/production/a1b2"]


def test_the_versions_that_ran_are_asked_for() -> None:
    """Under keys that all executions of a version share."""
    found = asked(facts())

    assert {key: question.identifier for key, question in found.items()} == {
        "workflow:shop/production/app.etl.pipeline/v1": Identifier(
            "shop", "production", "app.etl.pipeline", "v1"
        ),
        "launch_plan:shop/production/app.etl.nightly/v1": Identifier(
            "shop", "production", "app.etl.nightly", "v1"
        ),
    }


def test_an_instance_has_definitions_of_its_own() -> None:
    """Two deployments may have the same version of other content."""
    here = replace(facts(), execution=EXECUTION.model_copy(update={"instance": "emea"}))

    assert "workflow:emea/shop/production/app.etl.pipeline/v1" in asked(here)


def test_of_what_may_still_run_only_the_end_is_asked() -> None:
    """Everything else may come by itself."""
    assert list(asked(facts(answer=False, ended=False), lost=True)) == ["end:shop/production/a1b2"]


def test_lost_events_are_asked_for() -> None:
    """Of all nodes at once."""
    assert "nodes:shop/production/a1b2" in asked(facts(), lost=True)
    assert "nodes:shop/production/a1b2" not in asked(facts(), lost=False)


def test_a_graph_that_was_never_published_is_asked_for() -> None:
    """Events of large dynamic nodes do not fit into a message."""
    found = asked(facts(dynamic(None)))

    assert found["closure:shop/production/a1b2/n0"].node == "n0"
    assert not any(key.startswith("closure") for key in asked(facts(dynamic(0))))


def test_the_graph_of_an_earlier_attempt_is_not_enough() -> None:
    """The last attempt's may differ, and may have been lost."""
    found = facts(dynamic(0, "s3://b/data/1/outputs.pb"))

    assert "closure:shop/production/a1b2/n0" in asked(found)


def test_a_dynamic_node_that_failed_made_nothing_that_counts() -> None:
    assert not any(key.startswith("closure") for key in asked(facts(dynamic(None, phase="FAILED"))))


def test_the_origin_of_what_was_cached_is_asked_for() -> None:
    """As a whole, so that it names what it wrote by itself."""
    found = asked(facts(cached()))

    assert found["origin:shop/production/z9"].execution == OTHER


def test_a_child_that_was_never_seen_is_asked_for() -> None:
    """It wrote what the launch plan's node gave; of one that failed nothing was taken."""
    metadata = event_pb2.WorkflowNodeMetadata(execution_id=execution_id("z9"))
    done, failed = (
        asked(facts(node_request(phase=phase, workflow_node_metadata=metadata)))
        for phase in ("SUCCEEDED", "FAILED")
    )

    assert done["origin:shop/production/z9"].execution == OTHER
    assert "origin:shop/production/z9" not in failed


def test_nobody_is_their_own_origin() -> None:
    """A node that filled the cache names itself there."""
    assert not any(key.startswith("origin") for key in asked(facts(cached("a1b2"))))
