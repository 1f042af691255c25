"""The OpenLineage double, and what consumers are known to make of events."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from flytelineage.testing.openlineage import (
    Fault,
    Name,
    OpenLineageDouble,
    broken_rules,
    marquez_graph,
    node_id,
    openmetadata_graph,
    parts_of_node,
)

RUN = "0b1f4f3c-52a4-5d0e-9a53-6a5ac1f2f7e1"
OTHER = "6c4a32f2-6ef0-50b5-afa2-125cf505d620"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACET = {"_producer": "https://example.com/p", "_schemaURL": "https://example.com/s"}


def dataset(name: str, *symlinks: str, namespace: str = "flyte://f/p/d") -> dict[str, Any]:
    identifiers = [{"namespace": "file", "name": each, "type": "LOCATION"} for each in symlinks]
    facets = {"symlinks": {**FACET, "identifiers": identifiers}} if symlinks else {}
    return {"namespace": namespace, "name": name, "facets": facets}


def event(
    state: str = "COMPLETE",
    job: str = "wf",
    *,
    run: str = RUN,
    inputs: Any = (),
    outputs: Any = (),
    parent: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A run's event; datasets by name."""
    return {
        "eventTime": "2026-01-05T06:00:00Z",
        "eventType": state,
        "producer": "https://example.com/p",
        "schemaURL": SCHEMA,
        "run": {"runId": run, "facets": {"parent": {**FACET, **parent}} if parent else {}},
        "job": {"namespace": "flyte://f/p/d", "name": job, "facets": {}},
        "inputs": [dataset(each) if isinstance(each, str) else each for each in inputs],
        "outputs": [dataset(each) if isinstance(each, str) else each for each in outputs],
    }


def child_of(run: str, job: str) -> dict[str, Any]:
    return {"run": {"runId": run}, "job": {"namespace": "flyte://f/p/d", "name": job}}


def named(name: str) -> Name:
    return Name("flyte://f/p/d", name)


# --------------------------------------------------------------------------- rules


def test_good_event_breaks_no_rule() -> None:
    assert broken_rules(event("START", inputs=["a"], outputs=["b"])) == []


def test_jobs_and_datasets_may_be_told_alone() -> None:
    whole = event()
    rest = {key: whole[key] for key in ("eventTime", "producer", "schemaURL")}

    assert broken_rules({**rest, "job": whole["job"]}) == []
    assert broken_rules({**rest, "dataset": dataset("a")}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"eventTime": "2026-01-05T06:00:00"},
        {"eventTime": "2026-01-05"},
        {"eventTime": "2026-13-05T06:00:00Z"},
        {"eventTime": None},
        {"producer": "us"},
        {"schemaURL": None},
        {"eventType": "SUCCEEDED"},
        {"run": {"runId": "a1b2"}},
        {"run": {}},
        {"run": {"runId": RUN, "facets": {"mine": {"a": 1}}}},
        {"job": {"namespace": "a", "name": ""}},
        {"job": None},
        {"inputs": [{"name": "a"}]},
        {"outputs": [dataset("a"), "b"]},
        {"outputs": [{**dataset("a"), "outputFacets": {"outputStatistics": {}}}]},
        {"dataset": dataset("a")},
    ],
)
def test_bad_event_breaks_a_rule(change: dict[str, Any]) -> None:
    assert broken_rules({**event(), **change})


@pytest.mark.parametrize("value", [None, [], [event()], "START"])
def test_what_is_no_object_is_no_event(value: Any) -> None:
    assert broken_rules(value) == ["an event is an object"]


# -------------------------------------------------------------------------- server


@pytest.fixture
def backend() -> Iterator[OpenLineageDouble]:
    with OpenLineageDouble() as double:
        yield double


def post(backend: OpenLineageDouble, body: Any, **options: Any) -> requests.Response:
    path = options.pop("path", "/api/v1/lineage")
    return requests.post(f"{backend.url}{path}", json=body, timeout=5, **options)


def test_good_events_are_kept_in_order(backend: OpenLineageDouble) -> None:
    """Each as often as it comes."""
    told = [event("START"), event(), event()]

    assert [post(backend, each).status_code for each in told] == [201] * 3
    assert backend.events == told


def test_bad_event_is_answered_with_what_is_wrong(backend: OpenLineageDouble) -> None:
    answer = post(backend, {**event(), "eventTime": "today"})

    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "eventTime is no time with a zone",
    )
    assert backend.events == []
    assert [request.status for request in backend.requests] == [400]


def test_compressed_events_are_read(backend: OpenLineageDouble) -> None:
    body = gzip.compress(json.dumps(event()).encode())
    answer = requests.post(
        f"{backend.url}/api/v1/lineage",
        data=body,
        headers={"Content-Encoding": "gzip"},
        timeout=5,
    )

    assert answer.status_code == 201
    assert backend.events == [event()]
    assert [(one.compressed, one.body_bytes) for one in backend.requests] == [(True, len(body))]


def test_scripted_faults_come_one_after_the_other(backend: OpenLineageDouble) -> None:
    backend.script(Fault(status=503, retry_after="7"), Fault(status=302, location="/login"))

    answers = [post(backend, event(), allow_redirects=False) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 302, 201]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[1].headers["Location"] == "/login"


def test_refused_names_are_refused_until_accepted(backend: OpenLineageDouble) -> None:
    """Whether a job or a dataset has the name."""
    backend.refuse("a")
    backend.refuse("wf", status=422)
    told = [event(job="x", outputs=["a"]), event(), event(job="x", outputs=["b"])]

    assert [post(backend, each).status_code for each in told] == [400, 422, 201]
    backend.accept("a")
    assert post(backend, told[0]).status_code == 201


def test_dropped_event_is_kept_without_an_answer(backend: OpenLineageDouble) -> None:
    backend.script(Fault(drop=True))

    with pytest.raises(requests.ConnectionError):
        post(backend, event())

    assert backend.events == [event()]
    assert [request.status for request in backend.requests] == [None]


def test_hanging_server_lets_go_when_it_stops(backend: OpenLineageDouble) -> None:
    backend.script(Fault(hang=True))

    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{backend.url}/api/v1/lineage", json=event(), timeout=0.05)

    assert backend.events == []


def test_who_lacks_the_token_stays_outside() -> None:
    with OpenLineageDouble(token="secret") as backend:
        answers = [
            post(backend, event()),
            post(backend, event(), headers={"Authorization": "Bearer wrong"}),
            post(backend, event(), headers={"Authorization": "Bearer secret"}),
        ]

        assert [answer.status_code for answer in answers] == [401, 401, 201]
        assert len(backend.requests) == 1


def test_event_of_more_bytes_is_too_large() -> None:
    with OpenLineageDouble(max_bytes=100) as backend:
        assert post(backend, event()).status_code == 413


def test_other_paths_do_not_exist(backend: OpenLineageDouble) -> None:
    """Neither does the one for batches: Marquez has none."""
    assert post(backend, event(), path="/api/v1/lineage/batch").status_code == 404
    assert requests.get(f"{backend.url}/api/v1/lineage", timeout=5).status_code == 400


# ------------------------------------------------------------------------- Marquez


def test_events_of_a_run_are_united_when_it_is_done() -> None:
    told = [event("START", inputs=["a"]), event(outputs=["b"])]

    assert marquez_graph(told[:1]).reads == frozenset()
    whole = marquez_graph(told)
    assert whole.reads == {(named("a"), named("wf"))}
    assert whole.writes == {(named("wf"), named("b"))}
    assert whole.current == whole.reads | whole.writes


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("START", "RUNNING"),
        ("OTHER", "RUNNING"),
        ("COMPLETE", "COMPLETED"),
        ("FAIL", "FAILED"),
        ("ABORT", "ABORTED"),
    ],
)
def test_states_are_shown_in_other_words(state: str, shown: str) -> None:
    assert marquez_graph([event(state)]).states == {RUN: shown}


def test_newer_version_of_a_job_is_drawn_alone() -> None:
    whole = marquez_graph([event(outputs=["a"]), event(run=OTHER, outputs=["b"])])

    assert whole.writes == {(named("wf"), named("a")), (named("wf"), named("b"))}
    assert whole.current == {(named("wf"), named("b"))}


def test_event_without_datasets_takes_drawn_edges_away() -> None:
    """So after a run that failed a job stands alone, until one succeeds."""
    whole = marquez_graph([event(outputs=["a"]), event("FAIL", run=OTHER)])

    assert whole.current == frozenset()
    assert whole.writes == {(named("wf"), named("a"))}


def test_jobs_without_runs_have_edges() -> None:
    known = event(outputs=["a"])
    del known["run"], known["eventType"]

    assert marquez_graph([known]).current == {(named("wf"), named("a"))}


def test_job_is_called_after_its_parents_job() -> None:
    """One whose name begins with it keeps its own."""
    told = [
        event("START"),
        event(job="wf.task", run=OTHER, parent=child_of(RUN, "wf")),
        event(job="else", run="0" * 8 + OTHER[8:], parent=child_of(RUN, "wf")),
    ]

    names = marquez_graph(told).names

    assert [name.name for name in names.values()] == ["wf", "wf.task", "wf.else"]


def test_parent_that_was_not_told_is_made_up() -> None:
    """It runs forever, and its name ends before the last dot."""
    whole = marquez_graph([event(job="app.wf.task", run=OTHER, parent=child_of(RUN, "app.wf"))])

    assert whole.states[RUN] == "RUNNING"
    assert whole.names[RUN].name == "app"
    assert whole.parents == {OTHER: RUN}


def test_symlink_is_another_name_of_the_dataset() -> None:
    told = [
        event(outputs=[dataset("a", "/data/1")]),
        event(job="other", run=OTHER, inputs=[dataset("/data/1", namespace="file")]),
    ]

    assert marquez_graph(told).reads == {(named("a"), named("other"))}


@pytest.mark.parametrize(
    "name",
    [
        Name("s3://bucket", "a/b"),
        Name("postgres://host:5432", "db.schema.table"),
        Name("snowflake://org-account", "db.schema.table"),
        Name("bigquery", "project.dataset.table"),
        Name("flyte://flyte.example.com/shop/production", "app.daily.app.load@n0/n1"),
    ],
)
def test_link_leads_to_what_it_names(name: Name) -> None:
    assert parts_of_node(node_id("dataset", name)) == name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (
            Name("arn:aws:glue:eu-west-1:123", "table/db/t"),
            Name("arn", "aws:glue:eu-west-1:123:table/db/t"),
        ),
        (Name("flyte://shop:production", "a"), Name("flyte://shop", "production:a")),
        (Name("spanner://p:i", "a"), Name("spanner://p", "i:a")),
    ],
)
def test_link_leads_astray_where_namespaces_have_colons(name: Name, found: Name) -> None:
    """All but the `:` of `://` and of ports."""
    assert parts_of_node(node_id("dataset", name)) == found


def test_jobs_and_datasets_that_no_link_leads_to_are_lost() -> None:
    told = [event(outputs=[dataset("t", namespace="arn:aws:glue:eu-west-1:123")])]

    assert marquez_graph(told).lost == {Name("arn:aws:glue:eu-west-1:123", "t")}


# -------------------------------------------------------------------- OpenMetadata


def test_each_complete_event_stands_for_itself() -> None:
    """What was told on other events is not seen, and each output is made of each input."""
    told = [
        event("START", inputs=["p.x"]),
        event(inputs=["p.a", "p.b"], outputs=["p.c"]),
        event("FAIL", run=OTHER, inputs=["p.a"], outputs=["p.d"]),
    ]

    assert openmetadata_graph(told).edges == {
        (named("p.a"), named("wf"), named("p.c")),
        (named("p.b"), named("wf"), named("p.c")),
    }


def test_first_symlink_goes_before_the_name() -> None:
    """And what is not made of a schema and a table is skipped."""
    whole = openmetadata_graph([event(inputs=["p.a"], outputs=[dataset("p.b", "/data", "p.c")])])

    assert whole.names == {named("p.a"): {"p.a"}, named("p.b"): {"/data"}}
    assert whole.nameless == {named("p.b")}
