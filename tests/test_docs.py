"""The documents say what is true of the program: examples run, names and defaults exist."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Application, Config, Configurable

from flytelineage.app import FlyteLineage
from flytelineage.commands import COMMANDS, load
from flytelineage.configuration import inspect
from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    Edge,
    ExecutionId,
    Lineage,
    PipelineId,
    RunId,
    Task,
)
from flytelineage.options import TARGETS
from flytelineage.store import Store
from flytelineage.targets.openlineage import events, facets, graph
from flytelineage.targets.openlineage.names import run_id
from flytelineage.testing.datahub import GmsDouble
from tests.conftest import Run
from tests.store.conftest import event, execution

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {name: ROOT / "docs" / "targets" / f"{name}.md" for name in TARGETS.own}
DOCUMENTS = [
    str(document.relative_to(ROOT))
    for folder in ("", "docs", "docs/targets", "deploy")
    for document in sorted((ROOT / folder).glob("*.md"))
]

CLASSES: dict[str, type[Configurable]] = {cls.__name__: cls for cls in FlyteLineage().all_classes()}
OPTIONS = {
    f"{cls.__name__}.{name}": trait
    for cls in CLASSES.values()
    for name, trait in cls.class_traits(config=True).items()
}


def blocks(language: str, containing: str = "", text: str = README) -> list[str]:
    """The code blocks in a language, of the README or another document."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if containing in block]


def block(language: str, containing: str) -> str:
    (found,) = blocks(language, containing)
    return found


def rows(first: str, text: str = README) -> list[list[str]]:
    """The table whose head begins with a word: its cells, without the head."""
    table = re.search(rf"^\| ?{first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, f"no table {first}"
    return [[cell.strip() for cell in row[1:-1].split(" | ")] for row in table[1].splitlines()]


def command_lines() -> Iterator[str]:
    """What the documents tell people to type."""
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        code = "".join(blocks("sh", "", text)).replace("\\\n", " ")
        yield from re.findall(r"`(flytelineage [^`\n]+)`", text)
        yield from (line.partition("#")[0] for line in re.findall(r"^flytelineage .+", code, re.M))


class TestExamples:
    """What the README shows can be typed."""

    def test_configuration(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is in order as it stands."""
        monkeypatch.setenv("DATAHUB_TOKEN", "a-token")
        (tmp_path / "flytelineage_config.py").write_text(block("python", "get_config()"))

        ended = run("check")

        assert (ended.code, ended.err) == (0, "")
        assert "The configuration is in order" in ended.out

    def test_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Entities arrive at DataHub, and an aspect that comes later changes nothing else."""
        monkeypatch.setenv("DATAHUB_TOKEN", "a-token")
        code = block("python", "DataHubTarget(server")

        with GmsDouble(token="a-token") as gms:
            exec(code.replace("http://localhost:8080", gms.url), {})

        orders = "urn:li:dataset:(urn:li:dataPlatform:s3,lake/orders,PROD)"
        ((edges, name),) = [
            (gms.aspects[urn, "dataJobInputOutput"], gms.aspects[urn, "dataJobInfo"]["name"])
            for urn, aspect in gms.aspects
            if aspect == "dataJobInputOutput"
        ]
        assert [edge["destinationUrn"] for edge in edges["inputDatasetEdges"]] == [orders]
        assert name == "Clean the orders"
        about = gms.aspects[orders, "datasetProperties"]
        assert about["description"] == "One row per order"
        assert about["customProperties"] == {"team": "sales"}

    def test_target(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Ten lines, named by a dotted path, are a target."""
        code = block("python", "class PrintTarget")
        (tmp_path / "my_module.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        orders = Dataset(platform="s3", name="lake/orders")
        pipeline = PipelineId(project="shop", domain="production", name="sales")
        io = IO(inputs=(Edge(dataset=orders.id, evidence=("data",)),))

        target = TARGETS.load("my_module.PrintTarget")()
        refused = target.emit([orders, Task(pipeline=pipeline, name="clean", io=io)])

        assert refused == []
        assert capsys.readouterr().out == "s3:lake/orders -> shop.production.sales.clean\n"
        assert len([line for line in code.splitlines() if line.strip()]) <= 10

    def test_target_in_the_configuration(self, run: Run, tmp_path: Path) -> None:
        """The class may stand in the file that lists it."""
        code = block("python", "class PrintTarget")
        code += "\nc.FlyteLineage.targets = [PrintTarget]\n"
        (tmp_path / "flytelineage_config.py").write_text(code)

        ended = run("check", "--sqs-queue=q")

        assert ended.code == 0
        assert "ok       target PrintTarget" in ended.out

    def test_commands(self) -> None:
        """Each command and each of its options exists."""
        lines = list(command_lines())

        for line in lines:
            name = next((word for word in line.split()[1:2] if word in COMMANDS), None)
            word = re.match(r"flytelineage ([a-z]+)", line)
            assert word is None or word[1] == name, line
            known = {"help-all", "help", "version", *FlyteLineage.aliases, *FlyteLineage.flags}
            if name:
                command = load(name)
                known |= {*command.aliases, *command.flags}
            assert set(re.findall(r"--([a-z][a-z-]*)", line)) <= known, line
        assert len(lines) > 15

    def test_queue(self, tmp_path: Path) -> None:
        """What the shell writes for the queue is JSON, policies within it included."""
        topic = "arn:aws:sns:us-east-1:123456789012:flyte-events"
        script = f"aws() {{ echo {topic}; }}\n" + block("sh", "create-topic")

        subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, check=True)

        attributes = json.loads((tmp_path / "queue.json").read_text())
        (statement,) = json.loads(attributes["Policy"])["Statement"]
        queue = "arn:aws:sqs:us-east-1:123456789012:flyte-events"
        assert statement["Resource"] == queue
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
        dead = json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
        assert dead == f"{queue}-dead"

    def test_policies(self) -> None:
        """They are JSON, and grant nothing that lets flytelineage write messages."""
        policy = json.loads(block("json", "Statement"))

        actions = [
            action
            for statement in policy["Statement"]
            for action in (
                [statement["Action"]]
                if isinstance(statement["Action"], str)
                else statement["Action"]
            )
        ]
        assert not [action for action in actions if action.endswith("*")]
        assert "sqs:SendMessage" not in actions

    def test_backup(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The run book copies a SQLite store while a daemon has it open."""
        monkeypatch.chdir(tmp_path)
        operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        (command,) = [code for code in blocks("sh", "VACUUM INTO", operations)]
        path = f"{sys.prefix}/bin:{os.environ['PATH']}"
        store = Store(path="flytelineage.sqlite3")
        store.open(exclusive=True)

        try:
            store.record([event("a", terminal=True)])
            subprocess.run(["bash", "-c", command], check=True, env={**os.environ, "PATH": path})
        finally:
            store.close()

        copied = Store(path="backup.sqlite3")
        copied.open(exclusive=True)
        assert copied.seen([execution("a")]) == {execution("a")}
        copied.close()

    @pytest.mark.parametrize("section", ["cloudEvents", "externalEvents"])
    def test_flyteadmin(self, section: str) -> None:
        """What FlyteAdmin is to be told is YAML with that section alone."""
        (found,) = [
            content
            for content in map(yaml.safe_load, blocks("yaml", f"{section}:\n"))
            if section in content
        ]

        assert list(found) == [section]
        assert found[section]["eventsPublisher"]["eventTypes"]


def test_what_status_says_is_explained() -> None:
    """The run book goes by the sentences that `status EXECUTION` prints."""
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    part = operations.partition("\n## Why is one execution")[2].partition("\n## ")[0]
    explain = ROOT / "flytelineage" / "explain"
    files = [(explain / name).read_text("utf-8") for name in ("whereabouts.py", "page.py")]
    said = " ".join(
        node.value.lower()
        for file in files
        for node in ast.walk(ast.parse(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )

    quoted = [" ".join(one.lower().split()) for one in re.findall(r"\*\*([^*]+)\*\*", part)]

    assert len(quoted) > 15
    assert [one for one in quoted if one.rstrip(".") not in said] == []


class TestNames:
    """What a document names is there."""

    @pytest.mark.parametrize("name", DOCUMENTS)
    def test_defaults(self, name: str) -> None:
        """Each option of a table has the default that is stated."""
        text = (ROOT / name).read_text(encoding="utf-8")
        for names, default, _ in rows("option", text) if "| option |" in text else ():
            for option in re.findall(r"`([\w.]+)`", names):
                stated = ast.literal_eval(default.strip("`"))
                trait = OPTIONS[option]
                value = trait.default()
                if option.endswith(".log_level"):
                    value = trait.default_value_repr().strip("'")
                assert value == stated, option

    def test_every_option_is_in_one_table(self) -> None:
        """And in no other: what is said twice is soon said in two ways."""
        texts = [(ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS]
        told = [
            option
            for text in texts
            if "| option |" in text
            for cells in rows("option", text)
            for option in re.findall(r"`([\w.]+)`", cells[0])
        ]
        commands = {load(name).__name__ for name in COMMANDS}  # their `--help` is short
        usual = {f"FlyteLineage.{name}" for name in Application.class_trait_names(config=True)}

        assert {option for option in told if told.count(option) > 1} == set()
        untold = {one for one in OPTIONS if one.partition(".")[0] not in commands} - set(told)
        assert untold <= usual

    @pytest.mark.parametrize("name", DOCUMENTS)
    def test_options(self, name: str) -> None:
        """Each option that is mentioned exists."""
        text = (ROOT / name).read_text(encoding="utf-8")
        sections = "|".join(CLASSES)

        mentioned = re.findall(rf"\b((?:{sections})\.[a-z]\w*)", text)

        assert [one for one in mentioned if one not in OPTIONS] == []

    def test_every_command_is_in_the_table(self) -> None:
        """And the daemon, which is none."""
        told = [re.findall(r"`flytelineage ?([a-z]*)", cells[0]) for cells in rows("command")]

        assert told == [[""], *([name] for name in COMMANDS)]

    def test_every_target_is_in_the_table(self) -> None:
        """With the name of its class, which is the name of its options' section."""
        told = {cells[0]: cells[1].strip("`") for cells in rows("target")}

        assert told == {
            f"[`{name}`](docs/targets/{name}.md)": TARGETS.load(name).__name__
            for name in TARGETS.own
        }


def anchors(document: Path) -> set[str]:
    """Where a link into a document may lead, as GitHub makes them of its heads."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links(name: str) -> None:
    """Each leads to a file of the checkout, and to a head that is in it."""
    document = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))

    for link in links:
        if not re.match(r"\w+:", link):
            place, _, anchor = link.partition("#")
            led = (document.parent / place).resolve() if place else document
            assert led.exists(), link
            assert not anchor or anchor in anchors(led), link


class TestPages:
    """Each target has a page, which says all of it."""

    @pytest.mark.parametrize("name", PAGES)
    def test_parts(self, name: str) -> None:
        """What is seen and where it comes from, what that needs, and how it compares."""
        heads = re.findall(r"^## (.+)$", PAGES[name].read_text(encoding="utf-8"), re.MULTILINE)

        assert heads[0] == "What you see, and where it comes from"
        for beginning in ("Permissions", "Beside"):
            assert [head for head in heads if head.startswith(beginning)], beginning
        assert [head for head in heads if "ersions" in head]

    @pytest.mark.parametrize("name", PAGES)
    def test_every_option_is_in_a_table(self, name: str) -> None:
        """In the README's, or in that of the page, and not in both."""
        page = PAGES[name].read_text(encoding="utf-8")
        cls = TARGETS.load(name)

        tables = [*rows("option"), *(rows("option", page) if "| option |" in page else ())]
        told = [option for cells in tables for option in re.findall(r"`([\w.]+)`", cells[0])]

        mine = [option for option in told if option.startswith(f"{cls.__name__}.")]
        assert sorted(mine) == sorted(
            f"{cls.__name__}.{trait}" for trait in cls.class_trait_names(config=True)
        )

    @pytest.mark.parametrize("name", PAGES)
    def test_examples_of_options(self, name: str) -> None:
        """They are accepted as they stand."""
        text = PAGES[name].read_text(encoding="utf-8")
        c = Config()

        for code in blocks("python", "c.", text):
            if re.match(r"c\.[A-Z]", code):
                exec(code, {"c": c})

        assert inspect(c, CLASSES.values(), "") == []

    def test_transports(self) -> None:
        """Each of OpenLineage's is one that the target takes, and knows as remote or not."""
        examples = [
            code
            for code in blocks("python", "", PAGES["openlineage"].read_text(encoding="utf-8"))
            if code.startswith("c.OpenLineageTarget.transport")
        ]
        remote = []
        for code in examples:
            c = Config()
            exec(code, {"c": c})
            made = TARGETS.load("openlineage")(config=c)
            remote.append(made.remote)

        assert remote == [True, True, True, True, False, True]

    def test_several_datahubs(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A subclass in the configuration is in order."""
        monkeypatch.setenv("DATAHUB_TOKEN", "a-token")
        monkeypatch.setenv("DATAHUB_STAGE_TOKEN", "a-token")
        (code,) = blocks("python", "get_config()", PAGES["datahub"].read_text(encoding="utf-8"))
        (tmp_path / "flytelineage_config.py").write_text(code)

        ended = run("check", "--sqs-queue=q")

        assert (ended.code, ended.err) == (0, "")
        assert "ok       target Stage" in ended.out

    def test_run_ids(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A task computes the ids that events have."""
        for word, value in (("PROJECT", "shop"), ("DOMAIN", "production"), ("ID", "f1a2")):
            monkeypatch.setenv(f"FLYTE_INTERNAL_EXECUTION_{word}", value)
        (code,) = blocks("python", "RUNS", PAGES["openlineage"].read_text(encoding="utf-8"))
        execution = ExecutionId(project="shop", domain="production", name="f1a2")

        names: dict[str, Any] = {}
        exec(code, names)

        assert names["run_id"]() == run_id(RunId(execution=execution))
        attempt = RunId(execution=execution, node="n0", attempt=1)
        assert names["run_id"]("n0", "1") == run_id(attempt)

    def test_facets(self) -> None:
        """Each facet of a whole execution is in the table, and no word of it is made up."""
        page = PAGES["openlineage"].read_text(encoding="utf-8")
        told = {
            name for cells in rows("facet", page) for name in re.findall(r"`(\w+)`", cells[0])
        } - {"root"}
        whole = json.loads((ROOT / "tests/targets/openlineage_execution.json").read_text())

        code = "".join(
            module.read_text()
            for module in (ROOT / "flytelineage/targets/openlineage").glob("*.py")
        )

        assert set(_facets(whole)) <= told
        assert [name for name in told if f'"{name}"' not in code] == []

    def test_own_facet(self) -> None:
        """Each of its fields is in the table, and no other."""
        page = PAGES["openlineage"].read_text(encoding="utf-8")
        schema = ROOT / "flytelineage/targets/openlineage/FlyteExecutionRunFacet.json"
        facet = json.loads(schema.read_text())["$defs"]["FlyteExecutionRunFacet"]

        told = {name for cells in rows("field", page) for name in re.findall(r"`(\w+)`", cells[0])}

        assert told == set(facet["allOf"][1]["properties"])

    def test_limits(self) -> None:
        """They are those that are in force."""
        page = PAGES["openlineage"].read_text(encoding="utf-8")

        limits = page.partition("## Limits")[2]
        told = {cells[0]: cells[1] for cells in rows("", limits)}

        assert told["documentation"] == f"{facets.MAX_DOCUMENTATION_BYTES:,} bytes"
        assert told["SQL"] == f"{facets.MAX_SQL_BYTES:,} bytes"
        assert told["links"] == str(facets.MAX_LINKS)
        assert told["`jobDependencies`"] == str(facets.MAX_DEPENDENCIES)
        assert told["ends of edges in `lineage`"] == f"{graph.MAX_EDGES:,}"
        about = f"about {events.MAX_DESCRIBED_BYTES // 1000} kB"
        assert told["what describes datasets in one event"] == about

    def test_parameters_of_tables(self) -> None:
        """Whatever is written into one is explained."""
        page = PAGES["glue"].read_text(encoding="utf-8")
        modules = (ROOT / "flytelineage/targets/glue").glob("*.py")
        code = "".join(module.read_text() for module in modules)

        written = set(re.findall(r'"((?:flyte|flytelineage|lineage)\.[a-z_]+)"', code))

        assert len(written) > 15
        assert [name for name in written if f"`{name}`" not in page] == []

    def test_reading_lines(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The last line of an execution is what is read, by Python as by jq."""
        monkeypatch.chdir(tmp_path)
        page = PAGES["file"].read_text(encoding="utf-8")
        target = TARGETS.load("file")()
        target.emit(_lineage("orders", revision=1))
        target.emit(_lineage("customers", revision=2))
        target.close()

        exec(blocks("python", "model_validate_json", page)[0], {})

        assert capsys.readouterr().out == "s3:lake/customers -> shop.production.sales.clean data\n"
        if shutil.which("jq"):
            (script,) = blocks("sh", "jq", page)
            read = subprocess.run(
                ["bash", "-c", script], capture_output=True, text=True, check=True
            )
            assert read.stdout == "s3:lake/customers -> clean\n"


def _facets(value: Any) -> Iterator[str]:
    """The names of all facets, at any depth."""
    if isinstance(value, list):
        for each in value:
            yield from _facets(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key.lower().endswith("facets"):
                yield from each
            yield from _facets(each)


def _lineage(dataset: str, revision: int) -> Lineage:
    edge = Edge(dataset=DatasetId(platform="s3", name=f"lake/{dataset}"), evidence=("data",))
    pipeline = PipelineId(project="shop", domain="production", name="sales")
    return Lineage(
        execution=ExecutionId(project="shop", domain="production", name="f1a2"),
        revision=revision,
        phase="SUCCEEDED",
        tasks=(Task(pipeline=pipeline, name="clean", io=IO(inputs=(edge,))),),
    )


class TestLayout:
    """Newcomers find each module in the table of rooms."""

    def test_every_room_is_there(self) -> None:
        """And no other one."""
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        table = text.partition("| room |")[2].partition("\n\n")[0]

        told = {
            name
            for row in table.splitlines()
            for name in re.findall(r"`([\w./]+)`", row.split("|")[1])
        }
        rooms = {
            path.name + ("/" if path.is_dir() else "")
            for path in (ROOT / "flytelineage").iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert told == {room for room in rooms if not room.startswith("__")}


class TestHelp:
    """Options explain themselves."""

    @pytest.mark.parametrize("option", OPTIONS)
    def test_every_option_has_help(self, option: str) -> None:
        """Ours also show how they are set."""
        trait = OPTIONS[option]

        assert trait.help.strip()
        if trait.this_class.__module__.startswith("flytelineage"):
            assert "\n\nExample: " in cleandoc(trait.help)

    def test_every_example_is_accepted(self) -> None:
        """A line of help can be copied into the configuration."""
        lines = [
            line
            for option in OPTIONS
            for line in re.findall(rf"Example: (c\.{option} = .+)", cleandoc(OPTIONS[option].help))
        ]
        c = Config()

        for line in lines:
            exec(line, {"c": c})

        assert len(lines) > 60
        assert inspect(c, CLASSES.values(), "") == []


class TestSampleConfiguration:
    """`flytelineage_config.py`, which newcomers copy."""

    TEXT = (ROOT / "flytelineage_config.py").read_text(encoding="utf-8")

    def test_as_it_is(self, run: Run, tmp_path: Path) -> None:
        """It sets nothing and is in order."""
        (tmp_path / "flytelineage_config.py").write_text(self.TEXT)

        assert run("check", "--sqs-queue=q").code == 0
        assert run("--show-config").out == "# from flytelineage_config.py\n# no option is set\n"

    def test_every_line_of_it(self, run: Run, tmp_path: Path) -> None:
        """With all comments taken off, too."""
        code = re.sub(r"^# ((?:c\.|from |class | {4}).*)$", r"\1", self.TEXT, flags=re.MULTILINE)
        (tmp_path / "flytelineage_config.py").write_text(code)

        ended = run("check")

        assert (ended.code, ended.err) == (0, "")
        assert "StagingDataHub" in ended.out
