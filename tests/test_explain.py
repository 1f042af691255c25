"""What `explain` says: each reason in its own words, and nothing but what was decided."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from flytelineage.builder import LineageBuilder
from flytelineage.collect import Collector
from flytelineage.commands.explain import case_of
from flytelineage.entities import ExecutionId, Lineage, Task
from flytelineage.explain import Case, explain_execution
from flytelineage.explain.page import Line, Section, labelled, moment, rendered, safe, some
from flytelineage.facts import Answer, Identifier
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.naming import guess
from flytelineage.objects import ObjectReader
from flytelineage.store import Standing, Store, Told
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import FolderStorage, Stream
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from flytelineage.testing.simulator.stream import Encoding
from tests.found import lineages, replay

START = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=12)
FIXED = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
"""Metadata that is young: only then a missing object means that it was never written."""


def cases(folder: Path, executions: Sequence[ExecutionId]) -> Iterator[Case]:
    """What is known of executions that `replay` left in a folder."""
    store = Store(path=str(folder / "replay.sqlite3"))
    store.open(exclusive=False)
    try:
        for execution in executions:
            yield case_of(
                execution,
                store,
                reader=ObjectReader(allow=["file:///*"]),
                collector=Collector(),
                builder=LineageBuilder(),
            )
    finally:
        store.close()


def sections(lines: Sequence[str]) -> dict[str, list[str]]:
    """The lines below each title."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith(" "):
            below = found[line] = []
        elif line:
            below.append(line)
    return found


def part(lines: Sequence[str], label: str) -> str:
    """The lines that a label stands before, up to the next one."""
    chosen, inside = [], False
    for line in lines:
        if line[2] != " ":
            inside = line.startswith(f"  {label} ")
        if inside:
            chosen.append(line)
    return "\n".join(chosen)


def played(name: str, folder: Path, encoding: Encoding = "v2", **how: Any) -> list[Stream]:
    """The executions of a construct, replayed in a folder."""
    streams = CONSTRUCTS[name](FolderStorage(folder / "bucket"), start=START, **how)
    family = [member for stream in streams for member in stream.family()]
    replay([body for one in family for body in one.bodies(encoding)], folder)
    return family


def case(folder: Path, name: str, **options: Any) -> Case:
    """What is known of one execution of it, and built with other options."""
    execution = ExecutionId(project="flytesnacks", domain="development", name=name)
    (found,) = cases(folder, [execution])
    builder = LineageBuilder(**options)
    return replace(found, rules=builder.rules, build=builder.build(found.facts, found.collected))


class TestEveryConstruct:
    """Whatever was told is explained, and nothing else is."""

    @pytest.mark.usefixtures("one_of_four")
    @pytest.mark.parametrize("name", CONSTRUCTS)
    def test_explanation_and_lineage_agree(self, name: str, tmp_path: Path) -> None:
        """Of each execution of the construct, as it was last told."""
        played(name, tmp_path)

        assert_agreement(tmp_path)

    @pytest.mark.parametrize(
        "name",
        ["branch_nested", "sub_workflow_nested", "chained_sub_workflows", "dynamic_of_everything"],
    )
    def test_they_agree_with_flyteadmin(self, name: str, tmp_path: Path) -> None:
        """Definition edges have their reasons too."""
        streams = CONSTRUCTS[name](FolderStorage(tmp_path / "bucket"), start=START)
        family = [member for stream in streams for member in stream.family()]
        bodies = [body for one in family for body in one.bodies("raw")]
        with FlyteAdminDouble(family) as double:
            admin = FlyteAdmin(endpoint=double.endpoint, insecure=True, requests_per_second=10_000)
            replay(bodies, tmp_path, admin=admin)
            admin.close()

        assert_agreement(tmp_path)


def assert_agreement(folder: Path) -> None:
    """See that the lineage that was told is the one that is explained."""
    found = lineages(folder / "lineage.jsonl")
    assert found
    for lineage, one in zip(found, cases(folder, [one.execution for one in found]), strict=True):
        lines = explain_execution(one)
        assert all(line.isprintable() for line in lines)
        assert explained(lines) == told(lineage)


def told(lineage: Lineage) -> dict[str, dict[str, set[str]]]:
    """The edges of each task in short."""
    return {task.id.local: _edges(task) for task in lineage.tasks if not task.retired}


def _edges(task: Task) -> dict[str, set[str]]:
    if task.io is None:
        return {"reads": set(), "writes": set(), "upstream": set()}
    return {
        "reads": {str(edge.dataset) for edge in task.io.inputs},
        "writes": {str(edge.dataset) for edge in task.io.outputs},
        "upstream": {
            f"{edge.task.local} {evidence.value}"
            for edge in task.io.upstream
            for evidence in edge.evidence
        },
    }


def explained(lines: Sequence[str]) -> dict[str, dict[str, set[str]]]:
    """The same, as the explanation has it."""
    return {
        title.partition(": ")[2]: {
            "reads": set(re.findall(r" is (\S+:\S+)", part(below, "reads"))),
            "writes": set(re.findall(r" is (\S+:\S+)", part(below, "writes"))),
            "upstream": set(_upstream(part(below, "upstream").splitlines())),
        }
        for title, below in sections(lines).items()
        if re.match(r"Task \d+ of \d+: ", title)
    }


def _upstream(lines: Sequence[str]) -> Iterator[str]:
    task = ""
    for line in lines:
        if match := re.fullmatch(r" +(?:upstream)? +(\S+) at \S+(, which is not told)?", line):
            task = "" if match[2] else match[1]
        elif task and (match := re.match(r" +(data|definition|order): ", line)):
            yield f"{task} {match[1]}"


# ------------------------------------------------------------------- the reasons


def text(found: Case, *, task: str = "") -> str:
    """The whole explanation, without line breaks in the middle of a sentence."""
    return re.sub(r"\n {14,}(?=\S)", " ", "\n".join(explain_execution(found, task=task)))


class TestEdges:
    """Why a task wrote something, and after whom it came."""

    def test_data_of_the_cache(self, tmp_path: Path) -> None:
        """Inline, a hit comes without inputs: then only the path shows who wrote it."""
        played("cache_hit", tmp_path, inline=True)

        said = text(case(tmp_path, "a2"), task="n1")

        assert "taken over by n1 from the cache: its outputs hold it and the path names the" in said
        assert "it was written by n1 of flytesnacks/development/a1, which the store has" in said
        assert "inputs of n1: the events do not say where they are" in said

    def test_data_that_was_recovered(self, tmp_path: Path) -> None:
        played("recovered_task", tmp_path)

        said = text(case(tmp_path, "a2"), task="n0")

        assert "taken over by n0 from what is recovered: " in said

    def test_data_that_a_dynamic_node_put_into_its_graph(self, tmp_path: Path) -> None:
        played("dynamic_own_data", tmp_path)

        said = text(case(tmp_path, "a1"), task="n1")

        assert "written by n1: none of its outputs holds it, but the path names the node" in said
        assert "not written here: a node that this one made wrote it" in said

    def test_order_of_events(self, tmp_path: Path) -> None:
        """Only where the operator wants it, and with the times that it rests on."""
        played("chained_tasks", tmp_path)

        guessed = text(case(tmp_path, "a1", infer_order=True), task="n1")

        assert re.search(r"order: it ended on .*, just before n1 was queued on .*, and no", guessed)
        assert "order" not in text(case(tmp_path, "a1"), task="n1")

    def test_elements_of_a_map_task(self, tmp_path: Path) -> None:
        """They are runs of it."""
        played("map_task_told_apart", tmp_path, "raw")

        assert "an element of a map task, which is told as a whole" in text(case(tmp_path, "a1"))

    def test_long_lists_are_cut(self, tmp_path: Path) -> None:
        """And it says how many there are."""
        played("map_task", tmp_path)

        said = text(replace(case(tmp_path, "a1"), limit=1))

        assert "and 1 more: --limit=0 shows all" in said
        assert "more tasks: --task=NAME shows one, --limit=0 all" in said


def test_a_node_that_cannot_be_placed(tmp_path: Path) -> None:
    """Its task stands at several nodes, and only its task events came."""
    (stream,) = CONSTRUCTS["one_task_at_several_nodes"](
        FolderStorage(tmp_path / "bucket"), start=START
    )
    partly = stream.without(
        lambda event: hasattr(event, "spec_node_id") and event.id.node_id == "n1"
    )
    replay(partly.bodies(), tmp_path)

    said = text(case(tmp_path, "a1"))

    assert re.search(r"  places      n1 ran app.etl.\w+, but no event says where it stands", said)
    assert "marked partial: edges whose producer is unknown are left out" in said


class TestOutcome:
    """What the end, the name and the deliveries rest on."""

    def test_lost_ends(self, tmp_path: Path) -> None:
        """SUCCEEDING or the end-node says as much as the terminal event."""
        played("chain", tmp_path)
        known = case(tmp_path, "a1")
        succeeding = replace(known.facts, ended_at=None, phase="SUCCEEDING")

        by_phase = text(replace(known, facts=succeeding))
        by_node = text(replace(known, facts=replace(succeeding, phase="RUNNING")))

        assert "SUCCEEDED: its terminal event is missing, but SUCCEEDING says as much" in by_phase
        assert "SUCCEEDED: its terminal event is missing, but its end-node succeeded" in by_node

    def test_a_name_that_was_pinned_before_it_was_known(self, tmp_path: Path) -> None:
        """It stays, and what it would be today is told."""
        played("chain", tmp_path, "raw")
        known = case(tmp_path, "a1")
        workflow = Identifier("flytesnacks", "development", "app.etl.wf", "v7")
        answer = Answer(workflow, "SCHEDULED", None, None, None)

        said = text(replace(known, facts=replace(known.facts, answer=answer)))

        assert "  name        flytesnacks.development.app.etl\n" in said
        assert "today it would be app.etl.wf (admin)" in said
        assert "it ran app.etl.wf, version v7, started as SCHEDULED" in said

    def test_no_name_at_all(self, tmp_path: Path) -> None:
        played("chain", tmp_path)
        known = case(tmp_path, "a1")
        collected = replace(known.collected, pipeline=None, name_source=None)
        build = LineageBuilder().build(known.facts, collected)

        said = text(replace(known, collected=collected, build=build))

        assert "  told        nothing, since nothing names its pipeline\n" in said
        assert "none: no task, no launch plan and no answer of FlyteAdmin names it" in said

    def test_questions(self, tmp_path: Path) -> None:
        """Each with the last time it was asked."""
        played("chain", tmp_path, "raw")
        known = case(tmp_path, "a1")
        key = f"identity:{known.facts.execution}"

        said = text(replace(known, asked={key: FIXED}, admin="dns:///flyte:81"))

        assert f"  open        which workflow ran: asked on {moment(FIXED)}\n" in said
        assert "  endpoint    dns:///flyte:81 may be asked\n" in said

    @pytest.mark.parametrize(
        ("standing", "said"),
        [
            (Standing(), "not yet"),
            (
                Standing(due_at=FIXED, attempts=2, waits_for="FlyteAdmin: it is away"),
                f"not yet, begun 2 times; to be built at {moment(FIXED)}; it waits for "
                "FlyteAdmin: it is away",
            ),
            (
                Standing(built_at=FIXED, due_at=FIXED),
                f"on {moment(FIXED)}; events came since, to be built again at {moment(FIXED)}",
            ),
            (
                Standing(built_at=FIXED, current=True, due_at=FIXED),
                f"on {moment(FIXED)}, from all of its events, and will be again at {moment(FIXED)}",
            ),
        ],
    )
    def test_where_the_store_stands(self, standing: Standing, said: str, tmp_path: Path) -> None:
        played("no_data", tmp_path)

        assert f"  built       {said}\n" in text(replace(case(tmp_path, "a1"), standing=standing))

    @pytest.mark.parametrize(
        ("told", "said"),
        [
            (Told("x", "due", due_at=FIXED), f"due at {moment(FIXED)}"),
            (
                Told("x", "due", attempts=2, due_at=FIXED, error="503: busy"),
                f"due at {moment(FIXED)}, tried 2 times 503: busy",
            ),
            (
                Told("x", "given_up", settled_at=FIXED, error="400: too large"),
                f"given up on {moment(FIXED)}: `flytelineage retry` tells it again 400: too large",
            ),
            (
                Told("x", "delivered", settled_at=FIXED, rejections=("task:t: too long",)),
                f"delivered on {moment(FIXED)} refused task:t: too long",
            ),
        ],
    )
    def test_what_targets_heard(self, told: Told, said: str, tmp_path: Path) -> None:
        played("no_data", tmp_path)
        standing = Standing(deliveries=(told,))

        assert f"  x           {said}" in text(replace(case(tmp_path, "a1"), standing=standing))


def test_a_guess_is_counted(tmp_path: Path) -> None:
    """The modules it was made from, the most frequent first."""
    played("chain", tmp_path)
    facts = case(tmp_path, "a1").facts
    ended = {id: node for id, node in facts.nodes.items() if id != "n0"}
    other = replace(facts.nodes["n0"], task=Identifier("p", "d", "lib.load", "v1"))

    found = guess([*ended.values(), other])

    assert found is not None
    assert (found.name, found.counted) == ("app.etl", "tasks at the top")
    assert found.modules[-1] == ("lib", 1)


# --------------------------------------------------------------------- the page


class TestPage:
    """Labels stand in a column, and nothing is wider than a terminal."""

    def test_long_texts_are_wrapped_below_themselves(self) -> None:
        lines = list(rendered([Section("Title", [Line("word " * 30, label="label")])]))

        assert lines[1].startswith("  label       word word")
        assert lines[2].startswith("                word word")
        assert max(map(len, lines)) <= 100

    def test_what_is_to_be_copied_is_not_wrapped(self) -> None:
        uri = f"s3://bucket/{'a' * 50} {'b' * 50}"

        assert list(rendered([Section("Title", [Line(uri, whole=True)])]))[1] == f"  {uri}"

    def test_empty_texts_are_lines_too(self) -> None:
        assert list(rendered([Section("Title", [Line("", label="label")])])) == ["Title", "  label"]

    @pytest.mark.parametrize(
        ("foreign", "shown"),
        [
            ("été 東京 🙂", "été 東京 🙂"),
            ("\x1b[31m\n\t\x00", r"\x1b[31m\n\t\x00"),
            ("\u202e\u200b\u2028\ud800", r"\u202e\u200b\u2028\ud800"),
            ("x" * 1001, f"{'x' * 1000}... (1001 characters in all)"),
        ],
    )
    def test_what_is_foreign_is_spelled_out(self, foreign: str, shown: str) -> None:
        assert safe(foreign) == shown

    def test_blocks_over_the_limit_are_counted(self) -> None:
        """They are not even made."""
        blocks = ([Line(f"{number}"), Line("more")] for number in range(5))

        assert [line.text for line in some(blocks, 1)] == [
            "0",
            "more",
            "and 4 more: --limit=0 shows all",
        ]

    def test_a_label_without_lines_says_so(self) -> None:
        assert labelled("reads", []) == [Line("nothing", label="reads")]
