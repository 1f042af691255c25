"""Every construct of Flyte 1 as OpenLineage events: what consumers make of them is the truth."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from flytelineage.entities import Lineage, Run
from flytelineage.targets.openlineage import OpenLineageTarget
from flytelineage.testing.openlineage import (
    MarquezGraph,
    Name,
    OpenMetadataGraph,
    marquez_graph,
    openmetadata_graph,
)
from flytelineage.testing.simulator import Truth
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.openlineage_names import dataset, job
from tests.openlineage_spec import findings, needs_spec, official_findings
from tests.played import DEFINED, Played, construct, defined, demo

ENDS = {
    "SUCCEEDED": "COMPLETE",
    "RECOVERED": "COMPLETE",
    "FAILED": "FAIL",
    "TIMED_OUT": "FAIL",
    "ABORTED": "ABORT",
}
MARQUEZ = {"COMPLETE": "COMPLETED", "FAIL": "FAILED", "ABORT": "ABORTED"}

Event = Mapping[str, Any]


def emitted(lineages: Iterable[Lineage]) -> list[str]:
    """The lines that a file gets; nothing is refused."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        target = OpenLineageTarget(transport={"type": "file", "log_file_path": str(path)})
        try:
            assert [rejection for one in lineages for rejection in target.emit(one)] == []
        finally:
            target.close()
        return path.read_text(encoding="utf-8").splitlines()


def emitted_events(lineages: Iterable[Lineage]) -> list[Any]:
    """The same, read."""
    return [json.loads(line) for line in emitted(lineages)]


class Told:
    """What was played, and the events that tell it."""

    def __init__(self, played: Played) -> None:
        self.played = played
        self.lines = emitted(played.lineages)
        self.events: list[Event] = [json.loads(line) for line in self.lines]
        self.marquez: MarquezGraph = marquez_graph(self.events)
        self.openmetadata: OpenMetadataGraph = openmetadata_graph(self.events)

    @property
    def truths(self) -> Sequence[Truth]:
        return self.played.truths

    @property
    def of_runs(self) -> list[Event]:
        return [event for event in self.events if "run" in event]

    @property
    def ends(self) -> list[Event]:
        return [event for event in self.of_runs if event["eventType"] != "START"]

    @property
    def completed(self) -> list[Event]:
        return [event for event in self.ends if event["eventType"] == "COMPLETE"]


DEMO = "the demo"
WITH_ADMIN = ", with FlyteAdmin"
EVERY = (*CONSTRUCTS, DEMO, *(name + WITH_ADMIN for name in DEFINED))


@cache
def told(name: str) -> Told:
    if name.endswith(WITH_ADMIN):
        return Told(defined(name.removesuffix(WITH_ADMIN)))
    return Told(demo() if name == DEMO else construct(name))


def every_construct(check: Callable[[Told], Any]) -> Callable[[], None]:
    """Make of a check, which gives what is wrong with a construct, a test of all of them.

    One test and not a hundred: together those would cost more than what they check.
    """

    def test() -> None:
        wrong = {name: found for name in EVERY if (found := check(told(name)))}
        assert wrong == {}

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test


# ---------------------------------------------------------------- reading events


def run_of(event: Event) -> str:
    return str(event["run"]["runId"])


def job_of(event: Event) -> Name:
    return Name(event["job"]["namespace"], event["job"]["name"])


def facet(event: Event, key: str) -> Any:
    return event["run"]["facets"].get(key)


def flyte(event: Event) -> tuple[str, str | None, int | None]:
    """Execution, node and attempt that a run says it is."""
    own = facet(event, "flyte_execution")
    return own["execution"], own.get("node"), own.get("attempt")


def names(sided: Iterable[Event]) -> list[Name]:
    return [Name(each["namespace"], each["name"]) for each in sided]


def datasets(event: Event) -> list[Name]:
    return names([*event["inputs"], *event["outputs"]])


# ---------------------------------------------------------------- what is true


def true_reads(truths: Iterable[Truth]) -> set[tuple[Name, Name]]:
    """Datasets by the jobs that read them: of tasks, and of the workflows themselves."""
    return {
        (dataset(id), job(truth, task))
        for truth in truths
        for task, ids in {**truth.reads, "": truth.inputs}.items()
        for id in ids
    }


def true_writes(truths: Iterable[Truth]) -> set[tuple[Name, Name]]:
    return {
        (job(truth, task), dataset(id))
        for truth in truths
        for task, ids in {**truth.writes, "": truth.outputs}.items()
        for id in ids
    }


def true_edges(truths: Iterable[Truth]) -> set[tuple[Name, Name]]:
    """Datasets by those that a task made of them."""
    return {
        (dataset(one), dataset(other))
        for truth in truths
        for task, written in truth.writes.items()
        for one, other in product(truth.reads.get(task, ()), written)
        if one != other
    }


def reached(edges: Iterable[tuple[Name, Name]]) -> Mapping[Name, set[Name]]:
    """From each dataset, all that was made of it over any number of tasks."""
    below: dict[Name, set[Name]] = defaultdict(set)
    for one, other in edges:
        below[one].add(other)
    return {one: set(_downstream(one, below)) for one in list(below)}


def _downstream(one: Name, below: Mapping[Name, set[Name]]) -> Iterator[Name]:
    seen, open_ends = set(), [one]
    while open_ends:
        for other in below.get(open_ends.pop(), set()) - seen:
            seen.add(other)
            open_ends.append(other)
            yield other


def latest_of_single_runs(found: Told) -> dict[Name, Truth]:
    """Jobs whose newest execution succeeded and ran them once, by what is true of that one."""
    latest: dict[Name, Truth] = {}
    for truth in found.truths:
        runs = Counter(run.task for run in truth.runs)
        for task in ("", *runs):
            latest.pop(job(truth, task), None)
            if truth.phase == "SUCCEEDED" and runs[task] <= 1:
                latest[job(truth, task)] = truth
    return latest


# ------------------------------------------------------------------------- events


@needs_spec
@every_construct
def test_official_schemas_accept_every_facet(found: Told) -> list[str]:
    """Formats of times, UUIDs and URIs included."""
    return official_findings(found.events)


@every_construct
def test_rules_of_the_core_and_own_schemas_hold(found: Told) -> list[str]:
    """Also where the official schemas are not at hand."""
    return findings(found.events)


@every_construct
def test_each_run_has_one_start_and_then_one_end(found: Told) -> Any:
    """Whatever happened to it."""
    states: dict[str, list[str]] = defaultdict(list)
    for event in found.of_runs:
        states[run_of(event)].append(event["eventType"])

    return {run: told for run, told in states.items() if not _is_whole(told)}


def _is_whole(states: Sequence[str]) -> bool:
    return len(states) == 2 and states[0] == "START" and states[1] in MARQUEZ


@every_construct
def test_each_run_is_told_as_what_it_is(found: Told) -> Any:
    """Executions, and each attempt with a COMPLETE, FAIL or ABORT of its own; no others."""
    expected = Counter(
        (truth.execution, node, attempt, job(truth, task), ENDS[phase])
        for truth in found.truths
        for node, attempt, task, phase in _runs(truth)
    )
    runs = Counter((*flyte(event), job_of(event), event["eventType"]) for event in found.ends)

    return (runs - expected) | (expected - runs)


def _runs(truth: Truth) -> Iterator[tuple[str | None, int | None, str, str]]:
    """Node, attempt, task and phase of each run of an execution, its own first."""
    yield None, None, "", truth.phase
    for run in truth.runs:
        if run.phase != "SKIPPED":
            yield run.node, run.attempt, run.task, run.phase


@every_construct
def test_times_are_those_of_flytes_events(found: Told) -> Any:
    """Each run begins and ends when Flyte said so, never when it was told."""
    runs = {_key(run): run for one in found.played.lineages for run in one.runs}

    return [event for event in found.of_runs if event["eventTime"] != _time(event, runs)]


def _key(run: Run) -> tuple[str, str | None, int | None]:
    return run.execution.name, run.node, run.attempt


def _time(event: Event, runs: Mapping[Any, Run]) -> str:
    """When Flyte said that it happened; its own word where Flyte said nothing."""
    run = runs[flyte(event)]
    at = run.started_at if event["eventType"] == "START" else run.ended_at
    return at.isoformat().replace("+00:00", "Z") if at else str(event["eventTime"])


@every_construct
def test_no_run_ends_before_it_began(found: Told) -> Any:
    """Not even where Flyte said only one of both."""
    starts = {run_of(e): e["eventTime"] for e in found.of_runs if e["eventType"] == "START"}

    return [event for event in found.ends if event["eventTime"] < starts[run_of(event)]]


@every_construct
def test_second_emission_gives_the_same_lines(found: Told) -> bool:
    """By another target, of what went through a store: ids and times come from Flyte alone."""
    stored = [Lineage.model_validate_json(one.model_dump_json()) for one in found.played.lineages]

    return emitted(stored) != found.lines


@every_construct
def test_last_event_of_a_run_holds_all_of_its_facets(found: Told) -> Any:
    """Consumers that read nothing else miss nothing."""
    starts = {run_of(e): e for e in found.of_runs if e["eventType"] == "START"}

    return [event for event in found.ends if not _holds(event, starts[run_of(event)])]


def _holds(end: Event, start: Event) -> bool:
    of_run = start["run"]["facets"].keys() <= end["run"]["facets"].keys()
    return of_run and start["job"]["facets"].items() <= end["job"]["facets"].items()


@every_construct
def test_what_did_not_complete_carries_no_datasets(found: Told) -> Any:
    """Nor what completed in an execution that failed: it saw only some of its edges."""
    failed = {truth.execution for truth in found.truths if truth.phase != "SUCCEEDED"}
    told = [e for e in found.of_runs if e["eventType"] != "COMPLETE" or flyte(e)[0] in failed]

    return [event for event in told if datasets(event) or "lineage" in event["job"]["facets"]]


@pytest.mark.parametrize("phase", ["FAILED", "ABORTED", "TIMED_OUT"])
def test_execution_that_failed_tells_no_dataset_that_it_is_given(phase: str) -> None:
    """Whatever else tasks and runs say: those who have no store may hand over anything."""
    whole = next(one for one in demo().lineages if one.succeeded)

    events = emitted_events([whole.model_copy(update={"phase": phase})])

    of_runs = [event for event in events if "run" in event]
    assert of_runs
    assert [event for event in events if "job" in event and datasets(event)] == []


# ------------------------------------------------------------------------ parents


@every_construct
def test_parents_and_roots_were_told_before(found: Told) -> Any:
    """With the job that they were told with."""
    jobs: dict[str, Name] = {}
    wrong = []
    for event in found.of_runs:
        wrong += [part for part in _above(event) if jobs.get(run_of(part)) != job_of(part)]
        jobs[run_of(event)] = job_of(event)
    return wrong


@every_construct
def test_roots_are_no_part_of_anything(found: Told) -> Any:
    """Nothing is above what is at the top."""
    roots = {run_of(root) for event in found.of_runs for root in _above(event)[1:]}

    return [event for event in found.of_runs if run_of(event) in roots and _above(event)]


@every_construct
def test_each_attempt_is_a_part_of_its_execution(found: Told) -> Any:
    """And of nothing above it where no other run is known."""
    executions = {flyte(e)[0]: run_of(e) for e in found.of_runs if flyte(e)[1] is None}

    return [
        event
        for event in found.of_runs
        if flyte(event)[1] is not None
        and executions[flyte(event)[0]] not in {run_of(part) for part in _above(event)}
    ]


def _above(event: Event) -> list[Any]:
    """The parent and the root of a run; empty where it is a part of nothing."""
    parent = facet(event, "parent")
    return [parent, parent["root"]] if parent else []


# ------------------------------------------------------------------------ Marquez


@every_construct
def test_marquez_has_the_true_graph(found: Told) -> Any:
    """Which job reads and writes which dataset; all versions of jobs together."""
    reads, writes = true_reads(found.truths), true_writes(found.truths)

    return (found.marquez.reads ^ reads) | (found.marquez.writes ^ writes)


@every_construct
def test_marquez_draws_the_edges_of_the_newest_run(found: Told) -> Any:
    """Of jobs that succeeded at last and ran once; of others it draws the last run only."""
    latest = latest_of_single_runs(found)
    expected = {
        edge
        for one, truth in latest.items()
        for edge in true_reads([truth]) | true_writes([truth])
        if one in edge
    }

    return {edge for edge in found.marquez.current if latest.keys() & set(edge)} ^ expected


@every_construct
def test_marquez_ends_runs_as_they_ended(found: Told) -> Any:
    """None is left running, and none appears that was only named as a parent."""
    states = {run_of(event): MARQUEZ[event["eventType"]] for event in found.ends}

    return found.marquez.states.items() ^ states.items()


@every_construct
def test_marquez_leaves_jobs_their_names(found: Told) -> Any:
    """It would rename a job whose name does not begin with that of its parent's."""
    return found.marquez.names.items() ^ {(run_of(e), job_of(e)) for e in found.of_runs}


@every_construct
def test_marquez_finds_jobs_and_datasets_by_links(found: Told) -> Any:
    """It takes ids apart at colons."""
    return found.marquez.lost


# ------------------------------------------------------------------- OpenMetadata


@every_construct
def test_openmetadata_draws_every_true_edge(found: Told) -> Any:
    """From the COMPLETE events alone."""
    return true_edges(found.truths) - {(one, two) for one, _, two in found.openmetadata.edges}


@every_construct
def test_openmetadata_draws_no_false_edge(found: Told) -> Any:
    """Between what a workflow takes and gives there is a way over its tasks."""
    ways = reached(true_edges(found.truths))

    return {
        (one, job, other)
        for one, job, other in found.openmetadata.edges
        if one != other and other not in ways.get(one, set())
    }


@every_construct
def test_openmetadata_finds_each_dataset_by_one_name(found: Told) -> Any:
    """It takes a symlink for the name, so whoever reads must say what the writer said."""
    return {one: other for one, other in found.openmetadata.names.items() if other != {one.name}}


# --------------------------------------------------------------------- true edges


@every_construct
def test_tasks_depend_on_those_that_gave_them_data(found: Told) -> Any:
    """Each dependency says what shows it."""
    return set(_dependencies(found, "data")) ^ task_edges(found, "edges")


@every_construct
def test_tasks_depend_on_those_that_the_definition_names(found: Told) -> Any:
    """Also where no data went along."""
    return set(_dependencies(found, "definition")) ^ task_edges(found, "definition_edges")


@every_construct
def test_dependencies_name_runs_that_were_told(found: Told) -> Any:
    """Of the same execution, with the job that they are runs of."""
    jobs = {run_of(event): (job_of(event), flyte(event)[0]) for event in found.of_runs}

    return [
        (event, upstream)
        for event in found.ends
        for upstream in _upstream(event)
        if "run" in upstream and jobs.get(run_of(upstream)) != (job_of(upstream), flyte(event)[0])
    ]


@every_construct
def test_lineage_facet_shows_attempts_one_by_one(found: Told) -> Any:
    """No product over all that an execution read and wrote."""
    expected = {
        (execution, one, other)
        for event in found.completed
        for execution, node, _ in [flyte(event)]
        for one, other in product(names(event["inputs"]), names(event["outputs"]))
        if node is not None and one != other
    }

    return set(_facet_edges(found)) ^ expected


@every_construct
def test_lineage_facet_tells_the_true_edges(found: Told) -> Any:
    """All of them, and no more."""
    return {(one, other) for _, one, other in _facet_edges(found)} ^ true_edges(found.truths)


@every_construct
def test_lineage_facet_leads_from_job_to_job_without_data(found: Told) -> Any:
    """What the definition says and no dataset shows."""
    expected = {
        (truth.execution, job(truth, one), job(truth, other))
        for truth in found.truths
        for one, other in truth.definition_edges
        if (one, other) not in truth.edges
    }

    return set(_facet_promises(found)) ^ expected


def task_edges(found: Told, kind: str) -> set[tuple[Name, Name]]:
    return {
        (job(truth, one), job(truth, other))
        for truth in found.truths
        for one, other in getattr(truth, kind)
    }


def _upstream(event: Event) -> list[Event]:
    return list((facet(event, "jobDependencies") or {}).get("upstream", ()))


def _dependencies(found: Told, evidence: str) -> Iterator[tuple[Name, Name]]:
    for event in found.ends:
        for upstream in _upstream(event):
            if evidence in upstream.get("flyte_evidence", ()):
                yield job_of(upstream), job_of(event)


def _entries(found: Told, type: str) -> Iterator[tuple[str, Event]]:
    for event in found.events:
        for entry in event.get("job", {}).get("facets", {}).get("lineage", {}).get("entries", ()):
            if entry["type"] == type:
                yield flyte(event)[0], entry


def _facet_edges(found: Told) -> Iterator[tuple[str, Name, Name]]:
    for execution, entry in _entries(found, "DATASET"):
        for one in names(entry.get("inputs") or ()):
            yield execution, one, Name(entry["namespace"], entry["name"])


def _facet_promises(found: Told) -> Iterator[tuple[str, Name, Name]]:
    for execution, entry in _entries(found, "JOB"):
        for one in names(entry.get("inputs") or ()):
            yield execution, one, Name(entry["namespace"], entry["name"])


def test_constructs_show_all_that_is_checked_here() -> None:
    """Checks of what never happens would be worth nothing."""
    every = [told(name) for name in EVERY]
    events = [event for found in every for event in found.of_runs]

    assert {event["eventType"] for event in events} == {"START", *MARQUEZ}
    assert {facet(event, "flyte_execution").get("phase") for event in events} == {None, *ENDS}
    assert [edge for found in every for edge in (*_facet_edges(found), *_facet_promises(found))]
    for kind in ("edges", "definition_edges"):
        assert [edge for found in every for edge in task_edges(found, kind)]
