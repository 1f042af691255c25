"""`explain`: what it prints of an execution and of a URI, as people see it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import execution_pb2, literals_pb2, types_pb2

from flytelineage.store import Store
from flytelineage.testing.simulator import (
    Dynamic,
    FolderStorage,
    Frame,
    Input,
    Node,
    Outcome,
    Output,
    Same,
    Stream,
    Taken,
    Task,
    Workflow,
    simulate,
)
from tests.commands.conftest import KEPT, ROWS, START, WORKFLOW, Write
from tests.conftest import Ended, Run
from tests.factories import node_request, raw_body, task_id, task_request, workflow_request

HEX = "0123456789abcdef0123456789abcdef"

Told = Callable[..., str]
Keep = Callable[..., Ended]
Play = Callable[..., Stream]


@pytest.fixture
def told(run: Run, tmp_path: Path) -> Told:
    """What `explain` prints, without what chance or the clock decided."""

    def told(*words: str) -> str:
        ended = run("explain", *words, *KEPT)
        assert (ended.code, ended.err) == (0, "")
        text = ended.out.replace((tmp_path / "bucket").as_uri(), "s3://bucket")
        for pattern, instead in (
            (r"data/[a-z0-9]{2}/", "data/xx/"),
            (r"\b[0-9a-f]{32}\b", "<random>"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? UTC", "<time>"),
            (r"\d+ events: .*", "<events>"),
        ):
            text = re.sub(pattern, instead, text)
        return text

    return told


@pytest.fixture
def keep(run: Run, write: Write) -> Keep:
    """Replay bodies into the store that stays."""
    return lambda bodies, *words: run("replay", write(bodies), *words, *KEPT)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """An execution of a workflow."""
    storage = FolderStorage(tmp_path / "bucket")
    return lambda workflow, name, **how: simulate(
        workflow, name, storage, start=START, fast=True, **how
    )


BODY = Workflow(
    "app.etl.body",
    (
        Node("dn0", Task("lib.clean", {"o0": ROWS}), {"df": Input("df")}),
        Node("dn1", Task("lib.clean", {"o0": ROWS}), {"df": Output("dn0")}),
    ),
    inputs={"df": ROWS},
    outputs={"o0": Output("dn1")},
)
LAKE = Frame({"id": "int"}, 2, uri="s3://lake/sales/dt=2026-10-01")
ODD = Workflow(
    "app.etl.odd",
    (
        Node("n0", Task("app.etl.load", {"o0": ROWS}, cacheable=True)),
        Node("n1", Task("app.etl.check", {"o0": Same("df")}), {"df": Output("n0")}),
        Node("n2", Dynamic(Task("app.etl.spread", {"o0": ROWS}), BODY), {"df": Output("n1")}),
        Node("n3", Task("lib.clean", {"o0": LAKE}), {"df": Output("n2")}),
        Node("n4", Task("app.etl.notify"), after=("n3",)),
    ),
    outputs={"o0": Output("n3")},
)


@pytest.fixture
def odd(play: Play, keep: Keep) -> None:
    """An execution with a bit of everything, of which one event was lost."""
    outcomes = {
        "n0": Outcome(hit=Taken()),
        "n2": Outcome(retried=(BODY,)),
        "n3": Outcome(failed_attempts=1),
    }
    stream = play(ODD, "odd1", outcomes=outcomes)
    keep(stream.without(lambda event: is_end_of("n4", event)).bodies("v2"))


def is_end_of(node: str, event: Any) -> bool:
    """Whether the event says that the node is over."""
    return hasattr(event, "spec_node_id") and event.id.node_id == node and event.phase == 3


class TestExecution:
    """Each thing that is told of an execution, with what it rests on."""

    def test_two_tasks(self, replayed: Ended, told: Told) -> None:
        """From events alone: a guessed name, and an edge because data was handed on."""
        assert told("flytesnacks/development/a1b2c3") == TWO_TASKS

    def test_a_bit_of_everything(self, odd: None, told: Told) -> None:
        """Cache, dynamic node, retries, data handed through, a lost event; not all is shown."""
        assert told("flytesnacks/development/odd1", "--limit=5") == EVERYTHING

    def test_a_failure_of_a_guessed_pipeline(self, play: Play, keep: Keep, told: Told) -> None:
        """Nothing is told of it yet, and it says what it waits for."""
        stream = play(WORKFLOW, "f1", outcomes={"n1": Outcome("FAILED")})
        keep(stream.bodies())

        assert told("flytesnacks/development/f1") == FAILED

    def test_one_that_runs(self, play: Play, keep: Keep, told: Told) -> None:
        """It was not built, and it says when it will be looked at."""
        keep(play(WORKFLOW, "r1", phase="RUNNING").bodies())

        text = told("flytesnacks/development/r1")

        assert "  phase       RUNNING: no event says that it ended; the last one of" in text
        assert "  time        from <time> on\n" in text
        assert "  built       not yet; to be built at <time>\n" in text
        assert "  open        whether it has ended after all: was not asked\n" in text

    def test_one_task_of_it(self, odd: None, told: Told) -> None:
        """By the last part of its name; the rest is left out."""
        text = told("flytesnacks/development/odd1", "--task=clean")

        titles = re.findall(r"^\S.*", text, re.MULTILINE)
        assert titles == [
            "Execution flytesnacks/development/odd1",
            "Task 1 of 2: lib.clean@n2",
            "Task 2 of 2: lib.clean@n3",
        ]

    def test_a_task_that_is_not_there(self, odd: None, run: Run) -> None:
        """Those that are there are named."""
        ended = run("explain", "flytesnacks/development/odd1", "--task=other", *KEPT)

        assert ended.code == 1
        assert "has no task 'other'. Tasks: app.etl.check, app.etl.load, " in ended.err

    def test_offline(self, odd: None, told: Told) -> None:
        """What was not read is unknown, and is not taken for nothing."""
        text = told("flytesnacks/development/odd1", "--task=n3", "--offline")

        assert "  reads       nothing that is known of\n" in text
        assert "was not read: --offline" in text

    def test_beside_a_daemon(self, replayed: Ended, told: Told) -> None:
        """It holds the SQLite file, and is not disturbed."""
        store = Store(path="kept.sqlite3")
        store.open(exclusive=True)

        try:
            assert told("flytesnacks/development/a1b2c3") == TWO_TASKS
        finally:
            store.close()

    def test_it_was_held(self, stream: Stream, keep: Keep, told: Told) -> None:
        """Each target has its line."""
        keep(stream.bodies(), "--FlyteLineage.emit=False")

        text = told("flytesnacks/development/a1b2c3")

        assert "  file        held: `flytelineage retry --held` tells it\n" in text

    def test_it_is_left_out(self, stream: Stream, keep: Keep, told: Told) -> None:
        """What the operator excludes is explained all the same."""
        leave_out = "--FlyteLineage.exclude=flytesnacks/*/app.*"
        keep(stream.bodies(), leave_out)

        text = told("flytesnacks/development/a1b2c3", leave_out)

        assert "but to no target: FlyteLineage.include and exclude leave it out\n" in text
        assert "  none: no target was to be told\n" in text

    def test_unknown(self, replayed: Ended, run: Run) -> None:
        """The store was asked, and says what else could be meant."""
        ended = run("explain", "shop/production/x", *KEPT)

        assert ended.code == 1
        assert "The store has no event of shop/production/x. For a file type" in ended.err

    def test_without_a_store(self, run: Run, tmp_path: Path) -> None:
        """Nothing is made by looking."""
        ended = run("explain", "shop/production/x")

        assert ended.code == 1
        assert "There is no store at" in ended.err
        assert list(tmp_path.iterdir()) == []


HOSTILE = "\x1b[2Jred\r\n\u202eevil\x07\x9b1m"


def literal(uri: str) -> literals_pb2.Literal:
    """A data frame there."""
    kind = types_pb2.StructuredDatasetType(format="parquet")
    metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=kind)
    dataset = literals_pb2.StructuredDataset(uri=uri, metadata=metadata)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(structured_dataset=dataset))


class TestHostileNames:
    """What others wrote is shown, and does nothing to the terminal."""

    def literals(self) -> literals_pb2.LiteralMap:
        long = f"s3://user:secret@lake/{'x' * 3000}?token=secret"
        return literals_pb2.LiteralMap(
            literals={HOSTILE: literal(long), "o1": literal(f"s3://lake/{HOSTILE}")}
        )

    @pytest.fixture
    def text(self, keep: Keep, run: Run) -> str:
        """An execution in which all free text was written by somebody unkind."""
        error = execution_pb2.ExecutionError(code=HOSTILE, message=f"{HOSTILE}\nsecond line")
        task = task_id()
        keep(
            [
                raw_body(request)
                for request in (
                    node_request("n0", "QUEUED", input_data=literals_pb2.LiteralMap()),
                    node_request(
                        "n0",
                        target_entity=task,
                        output_data=self.literals(),
                    ),
                    task_request("n0", "FAILED", task_id=task, error=error),
                    task_request("n0", "SUCCEEDED", task_id=task, attempt=1),
                    node_request("start-node"),
                    workflow_request("FAILING", at=1, error=error),
                    workflow_request("SUCCEEDED"),
                )
            ]
        )
        ended = run("explain", "shop/production/a1b2", *KEPT)
        assert (ended.code, ended.err) == (0, "")
        return ended.out

    def test_each_line_is_one_line_and_no_command(self, text: str) -> None:
        """Escapes, carriage returns and what turns text around are spelled out."""
        assert [line for line in text.split("\n") if not line.isprintable()] == []
        assert r"\x1b[2Jred\r\n\u202eevil\x07\x9b1m: s3://lake/xxxxxx" in text
        assert "second line" not in text

    def test_nothing_is_endless(self, text: str) -> None:
        """The beginning is enough to know it again."""
        assert max(map(len, text.split("\n"))) < 1200
        assert re.search(r"x\.\.\. \(\d+ characters in all\)", text)

    def test_no_user_and_no_token(self, text: str) -> None:
        """URIs are shown in the spelling that names are made of."""
        assert "s3://lake/" in text
        assert "secret" not in text


class TestUri:
    """Which rule named a dataset, and who wrote it."""

    def test_a_platform(self, run: Run, tmp_path: Path) -> None:
        """Without a store, since none is needed."""
        ended = run("explain", "s3a://key:secret@lake/sales/dt=2026-10-01/part-0.parquet?token=x")

        assert ended == Ended(0, PLATFORM, "")
        assert list(tmp_path.iterdir()) == []

    def test_rules_of_the_operator(self, run: Run, tmp_path: Path) -> None:
        """Each that was tried, and what it said."""
        (tmp_path / "flytelineage_config.py").write_text(RULES)

        assert run("explain", "s3://lake/gold/orders") == Ended(0, RULED, "")

    @pytest.mark.parametrize(
        ("given", "name"),
        [
            ("/data/orders.csv", "file:/data/orders.csv"),
            ("bq://shop:sales.orders", "bigquery:shop.sales.orders"),
            ("arn:aws:glue:eu-west-1:123456789012:table/sales/orders", "glue:sales.orders"),
            ("s3://", "none: this names no dataset"),
        ],
    )
    def test_what_is_taken(self, run: Run, given: str, name: str) -> None:
        """Paths and tables too."""
        ended = run("explain", given)

        assert ended.code == 0
        assert f"\n  name        {name}\n" in ended.out

    @pytest.mark.parametrize(
        "given", ["orders", "sales.orders", "a/b", "a/b/c/d", "x:y", "\x1b[2J"]
    )
    def test_what_is_nothing(self, run: Run, given: str) -> None:
        """It says what to type."""
        ended = run("explain", given)

        assert (ended.code, ended.out) == (1, "")
        assert "is neither data nor an execution: type a URI such as s3://bucket/key" in ended.err
        assert ended.err.strip().isprintable()

    def test_raw_output(self, stream: Stream, replayed: Ended, told: Told) -> None:
        """Who registered it, and as what."""
        uri = stream.output("n0").literal.scalar.structured_dataset.uri

        assert told(f"{uri}/00000") == REGISTERED

    def test_raw_output_that_is_waited_for(self, play: Play, keep: Keep, told: Told) -> None:
        """Why nobody registered it, and who waits."""
        writer = play(WORKFLOW, "w1", phase="RUNNING")
        made = writer.output("n0")
        reads = Node("n0", Task("app.use.read"), {"df": Input("df")})
        reader = play(Workflow("app.use.wf", (reads,), inputs={"df": made}), "u1")
        keep([*writer.bodies(), *reader.bodies()])

        assert told(made.literal.scalar.structured_dataset.uri) == WAITED_FOR
        assert "to be registered by whoever w1-n0-0 is" in told("flytesnacks/development/u1")

    def test_raw_output_of_the_unknown(self, replayed: Ended, told: Told) -> None:
        """A hash names nobody."""
        text = told(f"s3://bucket/data/xy/fabcdef1/{HEX}")

        assert "fabcdef1 is a hash, as of a name that was too long: it says nothing" in text
        assert "no execution is stored that its path may name" in text
        assert "  waiting     nobody waits for it\n" in text

    def test_raw_output_without_a_store(self, run: Run, tmp_path: Path) -> None:
        """It says that the registry was not asked, and how far the path alone goes."""
        ended = run("explain", f"s3://bucket/data/xy/my-run-n0-1/{HEX}")

        assert ended == Ended(0, UNASKED, "")
        assert list(tmp_path.iterdir()) == []


TWO_TASKS = """\
Execution flytesnacks/development/a1b2c3

Outcome
  phase       SUCCEEDED: its terminal event says so
  time        from <time> to <time>
  rests on    <events>
  told        pipeline, tasks and their edges, datasets, runs
  built       on <time>, from all of its events

Pipeline
  name        flytesnacks.development.app.etl
  named by    a guess: the module that most of the tasks at the top share
                2 x app.etl
  pinned      when it was first built; it keeps that name
  known       yes, by an execution that succeeded

FlyteAdmin
  graph       not known: edges rest on data alone
  open        which workflow ran: was not asked
  endpoint    FlyteAdmin.endpoint is not set

What is missing
  nothing that is known of

Workflow
  given       nothing
  returned    nothing

Task 1 of 2: app.etl.load
  version     v1
  nodes       n0 SUCCEEDED
  place       none in its name: it stands at n0 alone
  reads       nothing
  writes      o0: s3://bucket/data/xx/a1b2c3-n0-0/<random>
                is flyte:flytesnacks.development.app.etl.app.etl.load.o0
                as registered by this execution on <time>
                written by n0: its outputs hold it and its inputs do not
  upstream    nothing that is known of

Task 2 of 2: app.etl.clean
  version     v1
  nodes       n1 SUCCEEDED
  place       none in its name: it stands at n1 alone
  reads       df: s3://bucket/data/xx/a1b2c3-n0-0/<random>
                is flyte:flytesnacks.development.app.etl.app.etl.load.o0
                as registered by this execution on <time>
  writes      o0: s3://bucket/data/xx/a1b2c3-n1-0/<random>
                is flyte:flytesnacks.development.app.etl.app.etl.clean.o0
                as registered by this execution on <time>
                written by n1: its outputs hold it and its inputs do not
  upstream    app.etl.load at n0
                data: its o0 is df here: s3://bucket/data/xx/a1b2c3-n0-0/<random>

What it waits for
  nothing

Deliveries
  file        delivered on <time>
"""

EVERYTHING = """\
Execution flytesnacks/development/odd1

Outcome
  phase       SUCCEEDED: its terminal event says so
  time        from <time> to <time>
  rests on    <events>
  told        pipeline, tasks and their edges, datasets, runs
  built       on <time>, from all of its events

Pipeline
  name        flytesnacks.development.app.etl.odd
  named by    the launch plan: app.etl.odd, version v1, which has the workflow's name unless
                somebody chose one
  pinned      when it was first built; it keeps that name
  known       yes, by an execution that succeeded

FlyteAdmin
  graph       not of the workflow; what n2 made is known
  open        which workflow ran: was not asked
              the nodes of which events are missing: was not asked
              the launch plan: was not asked
              flytesnacks/development/fi2troqnxu43ls, whose outputs it took over: was not asked
  endpoint    FlyteAdmin.endpoint is not set

What is missing
  events      node n4 has no terminal event
              marked partial: edges whose producer is unknown are left out
  abandoned   attempt 0 at n2 was not the last: 4 nodes of it give no lineage

Workflow
  given       nothing
  returned    o0: s3://lake/sales/dt=2026-10-01
                is s3:lake/sales
                by s3: left out dt=2026-10-01: a hive partition; its name on s3 is lake/sales

Task 1 of 6: app.etl.load
  version     v1
  nodes       n0 SUCCEEDED, CACHE_HIT
  place       none in its name: it stands at n0 alone
  reads       nothing
  writes      o0: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.app.etl.load.o0
                as registered by this execution on <time>
                taken over by n0 from the cache: its outputs hold it and its inputs do not; it was
                  written by n0 of flytesnacks/development/fi2troqnxu43ls, of which the store has no
                  event
  upstream    nothing that is known of

Task 2 of 6: app.etl.check
  version     v1
  nodes       n1 SUCCEEDED
  place       none in its name: it stands at n1 alone
  reads       df: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.app.etl.load.o0
                as registered by this execution on <time>
  writes      nothing
  hands on    o0: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>
                not written here: the task's inputs hold it too
  upstream    app.etl.load at n0
                data: its o0 is df here: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>

Task 3 of 6: app.etl.spread
  version     v1
  nodes       n2 SUCCEEDED, attempt 0 SUCCEEDED, attempt 1 SUCCEEDED
  place       none in its name: it stands at n2 alone
  reads       df: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.app.etl.load.o0
                as registered by this execution on <time>
  writes      nothing
  hands on    o0: s3://bucket/data/xx/odd1-n2-1-dn1-0/<random>
                not written here: a node that this one made wrote it
  upstream    app.etl.load at n0
                data: its o0 is df here: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>

Task 4 of 6: lib.clean@n2
  version     v1
  nodes       n2-0-dn0 SUCCEEDED, inside n2, made by attempt 0 of it, which was not the last
              n2-0-dn1 SUCCEEDED, inside n2, made by attempt 0 of it, which was not the last
              n2-1-dn0 SUCCEEDED, inside n2
              n2-1-dn1 SUCCEEDED, inside n2
  place       @n2, since it stands at several nodes:
                n2
                n3
                the store remembers it of this or another execution
  reads       df of n2-1-dn0: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.app.etl.load.o0
                as registered by this execution on <time>
              df of n2-1-dn1: s3://bucket/data/xx/odd1-n2-1-dn0-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.lib.clean@n2.o0
                as registered by this execution on <time>
  writes      o0 of n2-1-dn0: s3://bucket/data/xx/odd1-n2-1-dn0-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.lib.clean@n2.o0
                as registered by this execution on <time>
                written by n2-1-dn0: its outputs hold it and its inputs do not
              o0 of n2-1-dn1: s3://bucket/data/xx/odd1-n2-1-dn1-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.lib.clean@n2.o0
                as registered by this execution on <time>
                written by n2-1-dn1: its outputs hold it and its inputs do not
  upstream    app.etl.load at n0
                data: its o0 is df here: s3://bucket/data/xx/fi2troqnxu43ls-n0-0/<random>
              itself at n2-1-dn0, which is not told
                data: its o0 is df here: s3://bucket/data/xx/odd1-n2-1-dn0-0/<random>
                definition: the input df of n2-1-dn1 is dn0.o0

Task 5 of 6: lib.clean@n3
  version     v1
  nodes       n3 SUCCEEDED, attempt 0 FAILED (USER:Unknown), attempt 1 SUCCEEDED
  place       @n3, since it stands at several nodes:
                n2
                n3
                the store remembers it of this or another execution
  reads       df: s3://bucket/data/xx/odd1-n2-1-dn1-0/<random>
                is flyte:flytesnacks.development.app.etl.odd.lib.clean@n2.o0
                as registered by this execution on <time>
  writes      o0: s3://lake/sales/dt=2026-10-01
                is s3:lake/sales
                by s3: left out dt=2026-10-01: a hive partition; its name on s3 is lake/sales
                written by n3: its outputs hold it and its inputs do not
  upstream    lib.clean@n2 at n2-1-dn1
                data: its o0 is df here: s3://bucket/data/xx/odd1-n2-1-dn1-0/<random>

And 1 more task: --task=NAME shows one, --limit=0 all

What it waits for
  nothing

Deliveries
  file        delivered on <time>
"""

FAILED = """\
Execution flytesnacks/development/f1

Outcome
  phase       FAILED: its terminal event says so
  error       user USER:Unknown: ValueError in attempt 0
  time        from <time> to <time>
  rests on    <events>
  told        nothing yet: the name of its pipeline is a guess, and it takes an execution that
                succeeded to make a guessed pipeline known
  built       on <time>, from all of its events

Pipeline
  name        flytesnacks.development.app.etl
  named by    a guess: the module that most of the tasks at the top share
                2 x app.etl
  pinned      when it was first built; it keeps that name
  known       not yet

FlyteAdmin
  graph       not known: edges rest on data alone
  open        which workflow ran: was not asked
  endpoint    FlyteAdmin.endpoint is not set

What is missing
  nothing that is known of

Task 1 of 2: app.etl.load
  version     v1
  nodes       n0 SUCCEEDED
  place       none in its name: it stands at n0 alone

Task 2 of 2: app.etl.clean
  version     v1
  nodes       n1 FAILED
  place       none in its name: it stands at n1 alone

What it waits for
  pipeline:flytesnacks.development.app.etl
    an execution of that pipeline that succeeds

Deliveries
  none: no target was to be told
"""

PLATFORM = """\
s3://lake/sales/dt=2026-10-01/part-0.parquet

Steps
  1           read as s3://lake/sales/dt=2026-10-01/part-0.parquet
  2           left out dt=2026-10-01: a hive partition
  3           left out part-0.parquet: a part file
  4           its name on s3 is lake/sales

Dataset
  name        s3:lake/sales
  decided by  s3
"""

RULES = """
def broken(uri):
    raise KeyError(uri)

c = get_config()
c.LineageBuilder.dataset_rules = [
    {"pattern": r"s3://other/(?P<name>.*)", "platform": "glue"},
    broken,
    {"pattern": r"s3://lake/(?P<zone>[^/]+)/(?P<table>[^/]+)/?", "platform": "glue",
     "name": "{zone}.{table}"},
]
"""
RULED = """\
s3://lake/gold/orders

Steps
  1           dataset_rules[0] does not match
  2           dataset_rules[1] failed: KeyError: 's3://lake/gold/orders' (a mistake in
                LineageBuilder.dataset_rules)
  3           dataset_rules[2] names it glue:gold.orders

Dataset
  name        glue:gold.orders
  decided by  dataset_rules[2]
"""

REGISTERED = """\
s3://bucket/data/xx/a1b2c3-n0-0/<random>/00000

Steps
  1           Flyte's raw output of a1b2c3-n0-0: named by the task that wrote it

Who wrote it
  key         s3://bucket/data/xx/a1b2c3-n0-0/<random>
  path        execution a1b2c3, node n0, attempt 0
  registry    registered by flytesnacks/development/a1b2c3 on <time>

Dataset
  name        flyte:flytesnacks.development.app.etl.app.etl.load.o0
  decided by  the registry
"""

WAITED_FOR = """\
s3://bucket/data/xx/w1-n0-0/<random>

Steps
  1           Flyte's raw output of w1-n0-0: named by the task that wrote it

Who wrote it
  key         s3://bucket/data/xx/w1-n0-0/<random>
  path        execution w1, node n0, attempt 0
  registry    nobody has registered it
              flytesnacks/development/w1 was not built yet, to be built at <time>
  waiting     flytesnacks/development/u1

Dataset
  name        none yet: nobody has registered it
"""

UNASKED = f"""\
s3://bucket/data/xy/my-run-n0-1/{HEX}

Steps
  1           Flyte's raw output of my-run-n0-1: named by the task that wrote it

Who wrote it
  key         s3://bucket/data/xy/my-run-n0-1/{HEX}
  path        execution my, node run-n0, attempt 1
              execution my-run, node n0, attempt 1
              one of these: names hold dashes, so that the path does not say which
  registry    not asked: there is no store here; run this where the daemon runs

Dataset
  name        not known here: only the registry has it
"""
