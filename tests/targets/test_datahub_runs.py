"""Run history in DataHub: what ran when, how it ended and why, and how much of it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flytelineage.entities import DatasetId, ErrorInfo, Lineage, Link, Pipeline, PipelineId, RunId
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.targets.datahub.urns import Urns
from flytelineage.testing.datahub import GmsDouble
from tests.factories import EXECUTION, NOW
from tests.targets.test_datahub import (
    BUCKET,
    BUCKET_URN,
    FLOW,
    LOAD,
    LOAD_URN,
    ORDERS,
    ORDERS_URN,
    PIPELINE,
    TRAIN,
    TRAIN_URN,
    lineage,
    run,
    tell,
)

PAGE = Path(__file__).parents[2] / "docs" / "targets" / "datahub.md"
WHOLE = RunId(execution=EXECUTION)
WHOLE_URN = Urns().run(WHOLE)
LAST_URN = Urns().last_run(PIPELINE)
LATER = EXECUTION.model_copy(update={"name": "z9"})


@pytest.fixture
def gms() -> Iterator[GmsDouble]:
    with GmsDouble() as double:
        yield double


def events(gms: GmsDouble, urn: str) -> list[dict[str, Any]]:
    """The run events of an entity, oldest first."""
    found = gms.events.get((urn, "dataProcessInstanceRunEvent"), {})
    return sorted(found.values(), key=lambda event: event["timestampMillis"])


def instances(keys: Iterable[tuple[str, str]]) -> set[str]:
    return {urn for urn, _ in keys if urn.startswith("urn:li:dataProcessInstance:")}


# --------------------------------------------------------------- beginning and end


@pytest.mark.parametrize(
    ("phase", "result"),
    [
        ("SUCCEEDED", "SUCCESS"),
        ("RECOVERED", "SUCCESS"),
        ("FAILED", "FAILURE"),
        ("TIMED_OUT", "FAILURE"),
        ("ABORTED", "SKIPPED"),
        ("SKIPPED", "SKIPPED"),
        ("RETRYABLE_FAILED", "UP_FOR_RETRY"),
    ],
)
def test_a_run_starts_and_ends(gms: GmsDouble, phase: str, result: str) -> None:
    """Two events with their own times; the real phase is kept."""
    tell(gms, [run(phase=phase)])

    started, ended = events(gms, WHOLE_URN)
    assert (started["status"], ended["status"]) == ("STARTED", "COMPLETE")
    assert ended["timestampMillis"] - started["timestampMillis"] == ended["durationMillis"] == 3000
    assert ended["result"] == {"type": result, "nativeResultType": phase}


@pytest.mark.parametrize("seconds", [0, 0.0004, -5])
def test_the_end_comes_after_the_beginning(gms: GmsDouble, seconds: float) -> None:
    """DataHub takes the latest event as the state; clocks of two machines may disagree."""
    tell(gms, [run(ended_at=NOW + timedelta(seconds=seconds))])

    assert [event["status"] for event in events(gms, WHOLE_URN)] == ["STARTED", "COMPLETE"]
    assert events(gms, WHOLE_URN)[1]["durationMillis"] == 0
    assert {event["messageId"] for event in events(gms, WHOLE_URN)} == {"STARTED", "COMPLETE"}


def test_a_run_that_is_told_twice_overwrites_itself(gms: GmsDouble) -> None:
    """Its times are those of the events."""
    tell(gms, lineage(), run_history="all")
    before = gms.state

    tell(gms, lineage(), run_history="all")

    assert gms.state == before


def test_a_running_execution_has_no_end(gms: GmsDouble) -> None:
    """Nothing is made up."""
    tell(gms, [run(phase="RUNNING", ended_at=None)])

    assert [event["status"] for event in events(gms, WHOLE_URN)] == ["STARTED"]


def test_an_end_without_a_beginning(gms: GmsDouble) -> None:
    """Its event was lost: the result is told, a duration is not."""
    tell(gms, [run(started_at=None)])

    (ended,) = events(gms, WHOLE_URN)
    assert ended["result"]["type"] == "SUCCESS"
    assert "durationMillis" not in ended


# --------------------------------------------------------------------- what is told


def test_a_failed_run_says_why(gms: GmsDouble) -> None:
    """In the words that DataHub's other sources use, and with its links."""
    failed = run(
        phase="FAILED",
        node="n0",
        attempt=1,
        task=LOAD,
        error=ErrorInfo(kind="user", code="OOM", message="Too large\nby far"),
        links=(Link(name="Logs", url="https://l"), Link(name="Flyte Console", url="https://c")),
        custom={"principal": "ada"},
    )

    known = tell(gms, [failed], run_history="all")

    told = known[Urns().run(failed.id), "dataProcessInstanceProperties"]
    assert told["externalUrl"] == "https://c"
    assert told["name"] == "a1b2 n0 #2"
    assert told["customProperties"] == {
        "duration_in_ms": "3000",
        "error_code": "OOM",
        "error_kind": "user",
        "error_message": "Too large",
        "execution": "shop/production/a1b2",
        "link.Flyte Console": "https://c",
        "link.Logs": "https://l",
        "node": "n0",
        "phase": "FAILED",
        "principal": "ada",
        "retry_attempt": "1",
    }


@pytest.mark.parametrize(
    ("error_text", "expected"),
    [
        ("first_line", ("user", "OOM", "Too large")),
        ("full", ("user", "OOM", "Too large\nby far")),
        ("code", ("user", "OOM", None)),
        ("off", (None, None, None)),
    ],
)
def test_how_much_of_an_error_is_told(
    gms: GmsDouble, error_text: str, expected: tuple[str | None, ...]
) -> None:
    """Everybody who sees the run can read it."""
    error = ErrorInfo(kind="user", code="OOM", message="Too large\nby far")

    known = tell(gms, [run(phase="FAILED", error=error)], error_text=error_text)

    told = known[WHOLE_URN, "dataProcessInstanceProperties"]["customProperties"]
    assert tuple(told.get(f"error_{part}") for part in ("kind", "code", "message")) == expected
    assert told["phase"] == "FAILED"


def test_logs_without_a_console(gms: GmsDouble) -> None:
    """The first of them is the page of the run."""
    links = (Link(name="Pod", url="https://pod"), Link(name="Driver", url="https://driver"))

    known = tell(gms, [run(links=links)])

    assert known[WHOLE_URN, "dataProcessInstanceProperties"]["externalUrl"] == "https://pod"


@pytest.mark.parametrize(
    ("known_of_it", "expected"),
    [
        ({"custom": {"mode": "SCHEDULED"}}, "BATCH_SCHEDULED"),
        ({"scheduled_at": NOW}, "BATCH_SCHEDULED"),
        ({"custom": {"mode": "MANUAL"}}, "BATCH_AD_HOC"),
        ({"custom": {"mode": "RELAUNCH"}, "scheduled_at": NOW}, "BATCH_AD_HOC"),
        ({"custom": {"mode": "CHILD_WORKFLOW"}}, None),
        ({}, None),
    ],
)
def test_how_it_was_launched(
    gms: GmsDouble, known_of_it: dict[str, Any], expected: str | None
) -> None:
    """By a schedule or by somebody, its attempts too; not known is not told."""
    attempt = run(node="n0", attempt=0, task=LOAD)

    known = tell(gms, [run(**known_of_it), attempt], run_history="all")

    for urn in (WHOLE_URN, Urns().run(attempt.id)):
        assert known[urn, "dataProcessInstanceProperties"].get("type") == expected


def test_runs_of_tasks_belong_to_the_run_of_the_workflow(gms: GmsDouble) -> None:
    """And to those that they waited for; one that failed before another is up for retry."""
    first = run(node="n0", attempt=0, task=LOAD, parent=WHOLE, phase="FAILED")
    second = run(node="n0", attempt=1, task=LOAD, parent=WHOLE)
    after = run(node="n1", attempt=0, task=TRAIN, parent=WHOLE, upstream=(second.id,))

    known = tell(gms, [run(), first, second, after], run_history="all")

    assert known[Urns().run(first.id), "dataProcessInstanceRelationships"] == {
        "parentTemplate": LOAD_URN,
        "parentInstance": WHOLE_URN,
        "upstreamInstances": [],
    }
    assert known[Urns().run(after.id), "dataProcessInstanceRelationships"] == {
        "parentTemplate": TRAIN_URN,
        "parentInstance": WHOLE_URN,
        "upstreamInstances": [Urns().run(second.id)],
    }
    results = {
        attempt.attempt: events(gms, Urns().run(attempt.id))[1] for attempt in (first, second)
    }
    assert [results[n]["result"]["type"] for n in (0, 1)] == ["UP_FOR_RETRY", "SUCCESS"]
    assert [results[n]["attempt"] for n in (0, 1)] == [1, 2]


def test_an_execution_belongs_to_the_one_that_launched_it(gms: GmsDouble) -> None:
    """Launch plans in workflows are executions of their own."""
    parent = RunId(execution=LATER)

    known = tell(gms, [run(parent=parent)])

    told = known[WHOLE_URN, "dataProcessInstanceRelationships"]
    assert (told["parentTemplate"], told["parentInstance"]) == (FLOW, Urns().run(parent))


def test_a_run_names_its_platform_and_its_data(gms: GmsDouble) -> None:
    """The URN shows neither. The lists find runs of a dataset, the edges are lineage."""
    known = tell(gms, lineage())

    assert known[WHOLE_URN, "dataPlatformInstance"] == {"platform": "urn:li:dataPlatform:flyte"}
    read = known[WHOLE_URN, "dataProcessInstanceInput"]
    written = known[WHOLE_URN, "dataProcessInstanceOutput"]
    assert read["inputs"] == [edge["destinationUrn"] for edge in read["inputEdges"]] == [BUCKET_URN]
    assert written["outputs"] == [ORDERS_URN]
    assert written["outputEdges"][0]["created"]["time"] == NOW.timestamp() * 1000


# ------------------------------------------------------------------ how much is kept


@pytest.mark.parametrize(
    ("history", "runs"), [("executions", 1), ("all", 3), ("last_only", 1), ("off", 0)]
)
def test_run_history_is_a_choice(gms: GmsDouble, history: str, runs: int) -> None:
    """DataHub keeps runs for ever."""
    attempts = tuple(run(node="n0", attempt=number, task=LOAD) for number in (0, 1))

    tell(gms, lineage(runs=(run(), *attempts)), run_history=history)

    assert len(instances(gms.events)) == len(instances(gms.aspects)) == runs


class TestLastOnly:
    """One entity stands for the newest run of a pipeline."""

    def test_executions_share_it(self, gms: GmsDouble) -> None:
        """It says what the newest says, and keeps when each one began and ended."""
        later = run(
            execution=LATER,
            phase="FAILED",
            started_at=NOW + timedelta(hours=1),
            ended_at=NOW + timedelta(hours=2),
            error=ErrorInfo(code="OOM"),
        )
        tell(gms, lineage(), run_history="last_only")

        known = tell(gms, lineage(runs=(later,), phase="FAILED"), run_history="last_only")

        assert instances(known) == {LAST_URN}
        told = known[LAST_URN, "dataProcessInstanceProperties"]
        assert told["name"] == "z9"
        assert told["customProperties"]["error_code"] == "OOM"
        assert [event["status"] for event in events(gms, LAST_URN)] == ["STARTED", "COMPLETE"] * 2

    def test_nothing_of_the_run_before_is_left(self, gms: GmsDouble) -> None:
        """A run without inputs and outputs has none, whatever the one before had."""
        tell(gms, lineage(), run_history="last_only")

        known = tell(gms, [run(execution=LATER)], run_history="last_only")

        assert known[LAST_URN, "dataProcessInstanceInput"] == {"inputs": [], "inputEdges": []}
        assert known[LAST_URN, "dataProcessInstanceOutput"] == {"outputs": [], "outputEdges": []}

    def test_runs_that_began_at_once_are_two(self, gms: GmsDouble) -> None:
        """Events at one millisecond are told apart by the execution."""
        tell(gms, [run(), run(execution=LATER)], run_history="last_only")

        assert len(events(gms, LAST_URN)) == 4

    def test_the_newest_of_several_is_told(self, gms: GmsDouble) -> None:
        """Whatever their order."""
        runs = [run(execution=LATER, started_at=NOW + timedelta(hours=1)), run()]

        known = tell(gms, runs, run_history="last_only")

        assert known[LAST_URN, "dataProcessInstanceProperties"]["name"] == "z9"

    def test_it_names_no_run_that_is_not_there(self, gms: GmsDouble) -> None:
        """Neither a parent nor attempts are entities."""
        launched = run(parent=RunId(execution=LATER))

        known = tell(gms, [launched], run_history="last_only")

        assert known[LAST_URN, "dataProcessInstanceRelationships"] == {
            "parentTemplate": FLOW,
            "upstreamInstances": [],
        }

    def test_it_comes_back_when_it_was_removed(self, gms: GmsDouble) -> None:
        """Garbage collection removes what is older than its days."""
        tell(gms, lineage(), run_history="last_only")
        gms.aspects[LAST_URN, "status"] = {"removed": True}

        assert tell(gms, lineage(), run_history="last_only")[LAST_URN, "status"] == {
            "removed": False
        }

    def test_pipelines_do_not_share_it(self) -> None:
        """Nor do deployments, nor environments, nor an execution of the same name."""
        other = PipelineId(project="shop", domain="production", name="app.weekly")
        urns = {
            Urns().last_run(PIPELINE),
            Urns().last_run(other),
            Urns(instance="eu").last_run(PIPELINE),
            Urns(env="DEV").last_run(PIPELINE),
            WHOLE_URN,
        }

        assert len(urns) == 5

    def test_the_daemon_is_asked_for_the_newest_alone(self) -> None:
        """Otherwise an older run that is told late would be the last one."""
        last = DataHubTarget(server="http://h", run_history="last_only")
        every = DataHubTarget(server="http://h")

        assert (last.last_run_only, every.last_run_only) == (True, False)

    def test_a_run_of_no_known_pipeline(self, gms: GmsDouble) -> None:
        """There is nothing that it could be the last run of."""
        assert not instances(tell(gms, [run(pipeline=None)], run_history="last_only"))


# -------------------------------------------------------------------------- failures


@pytest.mark.parametrize("history", ["executions", "all", "last_only"])
@pytest.mark.parametrize("phase", ["FAILED", "ABORTED", "TIMED_OUT"])
def test_a_failed_execution_never_dangles(gms: GmsDouble, history: str, phase: str) -> None:
    """Its flow and jobs exist, though nobody told them before; no edge is touched."""
    attempt = run(node="n0", attempt=0, task=LOAD, phase=phase, parent=WHOLE)
    failed = Lineage(
        execution=EXECUTION, phase=phase, started_at=NOW, runs=(run(phase=phase), attempt)
    )

    known = tell(gms, failed, run_history=history)

    assert known[FLOW, "status"] == {"removed": False}
    assert ((LOAD_URN, "status") in known) == (history == "all")
    assert not [urn for urn, aspect in known if aspect == "dataJobInputOutput"]
    templates = {
        value["parentTemplate"]
        for (_, aspect), value in known.items()
        if aspect == "dataProcessInstanceRelationships"
    }
    assert templates <= {urn for urn, aspect in known if aspect == "status"}


def test_a_failed_execution_leaves_what_was_told(gms: GmsDouble) -> None:
    """Of its workflow, by those that succeeded."""
    before = dict(tell(gms, lineage(), run_history="all"))
    attempt = run(execution=LATER, node="n0", attempt=0, task=LOAD, phase="FAILED")
    failed = Lineage(
        execution=LATER,
        phase="FAILED",
        started_at=NOW,
        pipelines=(Pipeline.of(PIPELINE, as_of=NOW),),
        runs=(run(execution=LATER, phase="FAILED"), attempt),
    )

    after = tell(gms, failed, run_history="all")

    assert before.items() <= after.items()


# ------------------------------------------------------------------- row arithmetic


def rows_told(gms: GmsDouble, urn: str) -> tuple[int, int]:
    """Rows of an entity, the one of its key included, and its events."""
    return 1 + sum(found == urn for found, _ in gms.aspects), len(events(gms, urn))


def counts(row: str) -> list[int]:
    """The numbers of a row of the page's table."""
    cells = re.search(rf"^\| `{row}` \|(.+)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert cells, row
    return [int(number) for number in re.findall(r"\d+", cells[1])]


@pytest.mark.parametrize("history", ["executions", "all", "last_only"])
def test_the_page_counts_rows_as_they_are(gms: GmsDouble, history: str) -> None:
    """Of an execution and of an attempt with data, as the table on the page says."""
    read = DatasetId(platform="s3", name="lake/in")
    whole = run(inputs=(BUCKET,), outputs=(ORDERS,))
    attempt = run(node="n0", attempt=0, task=LOAD, inputs=(read,), outputs=(ORDERS,))

    tell(gms, [whole, attempt], run_history=history)

    urns = [LAST_URN] if history == "last_only" else [WHOLE_URN, Urns().run(attempt.id)]
    told = [rows_told(gms, urn) for urn in urns if urn in instances(gms.aspects)]
    assert counts(history) == [number for pair in told for number in pair]
    assert len(instances(gms.aspects)) == len(told)
