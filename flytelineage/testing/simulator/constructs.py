"""Every construct of Flyte 1 in its variants, as streams with their truth.

`CONSTRUCTS` is the checklist of `what FlyteAdmin publishes`, row by row: each entry plays
one construct, together with the executions that it takes over from or that make its
pipeline known. Whoever reads events can be held against all of them in one table test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from flytelineage.testing.simulator.simulate import simulate
from flytelineage.testing.simulator.storage import Storage
from flytelineage.testing.simulator.stream import Stream
from flytelineage.testing.simulator.workflows import (
    Binding,
    Branch,
    Dynamic,
    File,
    Folder,
    Frame,
    Gate,
    Input,
    Kind,
    LaunchPlan,
    ListOf,
    MapOf,
    MapTask,
    Node,
    Offloaded,
    OptionalOf,
    Outcome,
    Output,
    Primitive,
    Record,
    Same,
    Taken,
    Task,
    Workflow,
    Written,
    single_task,
)

START = datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc)


class Play:
    """Simulates the executions of a construct, an hour after each other."""

    def __init__(self, storage: Storage, start: datetime, **how: Any) -> None:
        self.streams: list[Stream] = []
        self._storage, self._start, self._how = storage, start, how

    def __call__(self, workflow: Workflow, name: str, **how: Any) -> Stream:
        """Simulate one execution; `how` are more arguments of `simulate`."""
        start = self._start + timedelta(hours=len(self.streams))
        stream = simulate(workflow, name, self._storage, start=start, **{**self._how, **how})
        self.streams.append(stream)
        return stream


class Construct(Protocol):
    """Plays a construct; give `simulate` the same `storage`, and more if you like."""

    def __call__(self, storage: Storage, *, start: datetime = START, **how: Any) -> list[Stream]:
        """The streams of its executions in the order of time.

        Executions that launch plans started are in `Stream.children`.
        """


CONSTRUCTS: dict[str, Construct] = {}
"""The constructs by name."""


def _construct(play: Callable[[Play], Any]) -> Callable[[Play], Any]:
    def played(storage: Storage, *, start: datetime = START, **how: Any) -> list[Stream]:
        player = Play(storage, start, **{"fast": True, **how})
        play(player)
        return player.streams

    CONSTRUCTS[play.__name__] = played
    return play


# ---------------------------------------------------------------------- the material


def _task(name: str, kind: Kind | None = None, **more: Any) -> Task:
    """A task with one output."""
    return Task(f"app.etl.{name}", {"o0": kind or Frame()}, **more)


LOAD, CLEAN, JOIN, REPORT = _task("load"), _task("clean"), _task("join"), _task("report", File())
COUNT = _task("count", Primitive(3))
SPLIT = _task("split", ListOf(Frame(), 3))
NOTIFY = Task("app.etl.notify")


def _workflow(*nodes: Node, **more: Any) -> Workflow:
    return Workflow(more.pop("name", "app.etl.wf"), nodes, **more)


def _node(id: str, target: Any, *after: str, **inputs: Binding) -> Node:
    return Node(id, target, inputs, after)


def _chain(*tasks: Task, **more: Any) -> Workflow:
    """Each task reads what the one before gave."""
    first, *others = tasks
    nodes = [_node("n0", first)]
    for at, task in enumerate(others):
        nodes.append(_node(f"n{at + 1}", task, x=Output(f"n{at}")))
    return _workflow(*nodes, outputs={"o0": Output(nodes[-1].id)}, **more)


def _around(target: Any, **inputs: Binding) -> Workflow:
    """A task before and a task after something, with data between them."""
    return _workflow(
        _node("n0", LOAD),
        _node("n1", target, **{"x": Output("n0"), **inputs}),
        _node("n2", REPORT, x=Output("n1")),
        outputs={"o0": Output("n2")},
    )


def _graph(name: str, *nodes: Node, **outputs: Binding) -> Workflow:
    """A sub-workflow or a dynamic body with the input `x`."""
    return Workflow(name, nodes, inputs={"x": Frame()}, outputs=outputs)


def _inner(name: str = "app.etl.inner") -> Workflow:
    """Two tasks in a row, the second of which gives what comes out."""
    return _graph(
        name,
        _node("n0", CLEAN, x=Input("x")),
        _node("n1", JOIN, x=Output("n0")),
        o0=Output("n1"),
    )


def _each(*nodes: Node, o0: Binding, name: str = "each", kind: Kind | None = None) -> Dynamic:
    """A dynamic node of these nodes."""
    whole = _task(name, kind, task_type="dynamic-task")
    return Dynamic(whole, _graph(f"app.etl.{name}", *nodes, o0=o0))


def _row(name: str = "each") -> Dynamic:
    """Two tasks in a row inside a dynamic node."""
    return _each(
        _node("dn0", CLEAN, x=Input("x")),
        _node("dn1", JOIN, x=Output("dn0")),
        o0=Output("dn1"),
        name=name,
    )


def _child(name: str = "app.child.wf", **more: Any) -> Workflow:
    """A workflow that launch plans start."""
    first = Task("app.child.render", {"o0": Frame()})
    last = Task("app.child.publish", {"o0": Frame()})
    return Workflow(
        name,
        (_node("n0", first, x=Input("x")), _node("n1", last, x=Output("n0"))),
        inputs={"x": Frame()},
        outputs={"o0": Output("n1")},
        **more,
    )


def _mapped(over: Kind | None = None, **more: Any) -> Workflow:
    """A task that runs once per item of a list."""
    clean = _task("map_clean_6b3bd0353da5de6e84d7982921ead2b3-arraynode")
    splits = _task("split", over) if over else SPLIT
    return _workflow(
        _node("n0", splits),
        _node("n1", MapTask(clean, ("x",), **more), x=Output("n0"), depth=Primitive(3)),
        _node("n2", REPORT, x=Output("n1")),
        outputs={"o0": Output("n2")},
    )


def _known(play: Play, workflow: Workflow, outcomes: Mapping[str, Outcome], **how: Any) -> Stream:
    """An execution that goes wrong, after one that made the pipeline known."""
    play(workflow, "monday", **how)
    return play(workflow, "tuesday", outcomes=outcomes, **how)


# ---------------------------------------------------------------------- plain tasks


@_construct
def chain(play: Play) -> None:
    """Three tasks, one after the other."""
    play(_chain(LOAD, CLEAN, REPORT), "a1")


@_construct
def no_data(play: Play) -> None:
    """Numbers go from task to task, and no data."""
    play(_chain(COUNT, _task("double", Primitive(6)), _task("halve", Primitive(3))), "a1")


@_construct
def diamond(play: Play) -> None:
    """Several outputs with names of their own, a record, and a part of it."""
    split = Task("app.ml.split", {"train": Frame(), "test": Frame(declared=True)})
    judge = Task("app.ml.judge", {"report": Record({"file": File(), "score": Primitive(0.5)})})
    play(
        _workflow(
            _node("n0", split, x=Input("x")),
            _node("n1", Task("app.ml.fit", {"model": File()}), x=Output("n0", "train")),
            _node("n2", Task("app.ml.base", {"model": File()}), x=Output("n0", "train")),
            _node(
                "n3",
                judge,
                m=[Output("n1", "model"), Output("n2", "model")],
                t=Output("n0", "test"),
            ),
            _node("n4", Task("app.ml.show"), f=Output("n3", "report", ("file",))),
            name="app.ml.wf",
            inputs={"x": Frame(uri="s3://lake/table/dt=2026-01-01/")},
            outputs={"model": Output("n1", "model"), "all": {"a": Output("n3", "report")}},
        ),
        "a1",
    )


@_construct
def collections(play: Play) -> None:
    """Lists, dicts, optional values and large ones, whole and in parts."""
    kinds: dict[str, Kind] = {
        "list": ListOf(File()), "map": MapOf(Frame()), "maybe": OptionalOf(Frame()),
        "none": OptionalOf(Frame(), given=False), "large": Offloaded(ListOf(Folder())),
    }  # fmt: skip
    inputs = {name: Output("n0", name) for name in kinds}
    parts = {"x": Output("n0", "map", ("a",)), "y": Output("n0", "list", (1,))}
    play(
        _workflow(
            Node("n0", Task("app.etl.make", kinds)),
            Node("n1", Task("app.etl.use", {"schema": Frame(legacy=True)}), inputs),
            Node("n2", REPORT, parts),
        ),
        "a1",
    )


@_construct
def one_task_at_several_nodes(play: Play) -> None:
    """Each of its places is a task of its own."""
    play(_chain(LOAD, CLEAN, CLEAN, REPORT), "a1")


@_construct
def passed_through(play: Play) -> None:
    """A task that returns what it was given did not make it."""
    check = Task("app.etl.check", {"same": Same("x"), "bad": Frame()})
    play(
        _workflow(
            _node("n0", LOAD),
            _node("n1", check, x=Output("n0")),
            _node("n2", CLEAN, x=Output("n1", "same")),
            _node("n3", REPORT, x=Output("n1", "bad")),
        ),
        "a1",
    )


@_construct
def own_places(play: Play) -> None:
    """Data at a place of its own, which another workflow reads by its name."""
    table = Frame(uri="s3://shop/daily/")
    play(_workflow(_node("n0", LOAD), _node("n1", _task("publish", table), x=Output("n0"))), "a1")
    reads = _node("n0", Task("app.read.show"), x=Input("x"))
    play(_workflow(reads, name="app.read.wf", inputs={"x": table}), "b1")


@_construct
def read_by_another_workflow(play: Play) -> None:
    """What one workflow made under Flyte's own prefix is given to another one."""
    made = play(_chain(LOAD, CLEAN), "a1")
    reads = _node("n0", Task("app.read.show"), x=Input("x"))
    other = _workflow(reads, name="app.read.wf", inputs={"x": Frame(uri="s3://shop/none")})
    play(other, "b1", inputs={"x": made.output("n1")})


@_construct
def artifact_names(play: Play) -> None:
    """An author's own name for an output goes before the default one."""
    orders = _task("orders", artifacts={"o0": "raw_orders"}, docs={"o0": "All orders of a day."})
    play(_chain(orders, CLEAN), "a1")
    inside = _each(
        _node("dn0", orders),
        _node("dn1", CLEAN, x=Output("dn0")),
        o0=Output("dn1"),
    )
    play(_workflow(_node("n0", inside, x=Frame(uri="s3://shop/x")), name="app.etl.other"), "b1")


@_construct
def sql_tasks(play: Play) -> None:
    """A query writes no `outputs.pb`, though its events name one."""
    query = Task("app.sql.query", task_type="athena", sends_outputs=False, sql="select 1")
    play(
        _workflow(
            _node("n0", LOAD),
            _node("n1", query, x=Output("n0")),
            _node("n2", REPORT, "n1", x=Output("n0")),
        ),
        "a1",
    )


@_construct
def synchronous_task(play: Play) -> None:
    """The first answer of its plugin is the last, so it has no task event."""
    play(_chain(_task("query", synchronous=True), CLEAN), "a1")


@_construct
def single_task_execution(play: Play) -> None:
    """A task that is run alone gets a workflow of its own."""
    play(single_task(LOAD, {"x": File(uri="s3://lake/raw.csv")}), "a1")


@_construct
def deck(play: Play) -> None:
    """A task that makes a deck; when it fails its node's event does not say why."""
    decked = _task("clean", deck=True)
    _known(play, _chain(LOAD, decked), {"n1": Outcome("FAILED")})


@_construct
def long_ids(play: Play) -> None:
    """Ids of more than 20 characters are hashed."""
    inner = _graph(
        "app.etl.inner",
        _node("a-long-node-name", CLEAN, x=Input("x")),
        o0=Output("a-long-node-name"),
    )
    outer = _graph(
        "app.etl.outer",
        _node("another-long-node", inner, x=Input("x")),
        o0=Output("another-long-node"),
    )
    play(_around(outer), "a1")


# ------------------------------------------------------------------------ bad ends


@_construct
def retried_task(play: Play) -> None:
    """Two attempts fail, the third succeeds."""
    play(_chain(LOAD, CLEAN), "a1", outcomes={"n0": Outcome(failed_attempts=2)})


@_construct
def retries_exhausted(play: Play) -> None:
    """The last attempt fails as well."""
    _known(play, _chain(LOAD, CLEAN), {"n1": Outcome("FAILED", failed_attempts=3)})


@_construct
def failed_beside_others(play: Play) -> None:
    """What runs beside a node that fails is aborted."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", CLEAN, x=Output("n0")),
        _node("n2", JOIN, x=Output("n0")),
        _node("n3", REPORT, x=Output("n1"), y=Output("n2")),
    )
    _known(play, workflow, {"n1": Outcome("FAILED"), "n2": Outcome(failed_attempts=9)})


@_construct
def fails_late(play: Play) -> None:
    """What can still run does, the rest is skipped."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", CLEAN, x=Output("n0")),
        _node("n2", JOIN, x=Output("n0")),
        _node("n3", REPORT, x=Output("n1")),
        _node("n4", NOTIFY, "n3"),
        fails_late=True,
    )
    _known(play, workflow, {"n1": Outcome("FAILED")})


@_construct
def timed_out(play: Play) -> None:
    """The node says no error."""
    _known(play, _chain(LOAD, CLEAN), {"n1": Outcome("TIMED_OUT")})


@_construct
def aborted(play: Play) -> None:
    """A user ends it; the events of the nodes tell next to nothing."""
    _known(play, _around(_inner()), {"n1/n0": Outcome("ABORTED")})


@_construct
def aborted_beside_others(play: Play) -> None:
    """A dynamic node, a map task and a task run when the execution is aborted."""
    workflow = _workflow(
        _node("n0", SPLIT),
        _node("n1", _row(), x=Output("n0", "o0", (0,))),
        _node("n2", MapTask(_task("score"), ("x",)), x=Output("n0")),
        _node("n3", _task("fold"), x=Output("n0")),
    )
    _known(play, workflow, {"n1/dn0": Outcome("ABORTED"), "n3": Outcome(failed_attempts=9)})


@_construct
def failure_node(play: Play) -> None:
    """A node that runs because the workflow fails."""
    clean_up = _node("fn0", Task("app.etl.clean_up"), x=Input("x"))
    workflow = _workflow(
        _node("n0", LOAD, x=Input("x")),
        _node("n1", CLEAN, x=Output("n0")),
        on_failure=clean_up,
        inputs={"x": File(uri="s3://lake/raw.csv")},
    )
    _known(play, workflow, {"n1": Outcome("FAILED")})


@_construct
def failure_node_that_fails(play: Play) -> None:
    """Its error takes the place of the first one."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", CLEAN, x=Output("n0")),
        on_failure=_node("fn0", Task("app.etl.clean_up")),
    )
    _known(play, workflow, {"n1": Outcome("FAILED"), "fn0": Outcome("FAILED")})


@_construct
def failure_node_in_sub_workflow(play: Play) -> None:
    """It stands inside of the sub-workflow's node."""
    clean_up = _node("fn0", Task("app.etl.clean_up"), x=Input("x"))
    inner = Workflow(
        "app.etl.inner",
        (_node("n0", CLEAN, x=Input("x")),),
        inputs={"x": Frame()},
        outputs={"o0": Output("n0")},
        on_failure=clean_up,
    )
    _known(play, _around(inner), {"n1/n0": Outcome("FAILED")})


# ---------------------------------------------------------------------- cache


_CACHED = _task("clean", cacheable=True)
_SERIAL = _task("clean", cacheable=True, cache_serialize=True)


@_construct
def cache_hit(play: Play) -> None:
    """The cache hands out what an earlier execution made."""
    first = play(_chain(LOAD, _CACHED, REPORT), "a1")
    play(_chain(LOAD, _CACHED, REPORT), "a2", outcomes={"n1": Outcome(hit=first.taken("n1"))})


@_construct
def cache_hit_of_another_workflow(play: Play) -> None:
    """It was made in another pipeline, under whose name it stays."""
    first = play(_chain(LOAD, _CACHED, name="app.first.wf"), "a1")
    second = _workflow(
        _node("n0", _CACHED, x=Frame(uri="s3://lake/x")),
        _node("n1", Task("app.second.show"), x=Output("n0")),
        _node("n2", Task("app.second.tell"), x=Output("n0")),
        name="app.second.wf",
    )
    play(second, "b1", outcomes={"n0": Outcome(hit=first.taken("n1"))})


@_construct
def cache_hit_of_the_unseen(play: Play) -> None:
    """Its maker was never seen."""
    play(_chain(LOAD, _CACHED, REPORT), "a1", outcomes={"n1": Outcome(hit=Taken())})


@_construct
def cache_hit_without_source(play: Play) -> None:
    """The catalogue does not say who made it."""
    first = play(_chain(LOAD, _CACHED, REPORT), "a1")
    silent = Taken(first.outputs("n1"))
    play(_chain(LOAD, _CACHED, REPORT), "a2", outcomes={"n1": Outcome(hit=silent)})


@_construct
def cache_serialized(play: Play) -> None:
    """It says MISS on the way; a hit is queued first."""
    first = play(_chain(LOAD, _SERIAL, REPORT), "a1")
    play(_chain(LOAD, _SERIAL, REPORT), "a2", outcomes={"n1": Outcome(hit=first.taken("n1"))})


@_construct
def cache_put_failure(play: Play) -> None:
    """What ran could not be stored."""
    play(_chain(LOAD, _CACHED, REPORT), "a1", outcomes={"n1": Outcome(cache="PUT_FAILURE")})


@_construct
def cache_lookup_failure(play: Play) -> None:
    """The cache could not be asked, so the task ran."""
    play(_chain(LOAD, _SERIAL, REPORT), "a1", outcomes={"n1": Outcome(cache="LOOKUP_FAILURE")})


@_construct
def cache_overwritten(play: Play) -> None:
    """Nobody asked the cache."""
    play(_chain(LOAD, _SERIAL, REPORT), "a1", outcomes={"n1": Outcome(cache="SKIPPED")})


@_construct
def cached_dynamic(play: Play) -> None:
    """Of a dynamic node that the cache answers for nothing inside is seen."""
    each = _row()
    cached = Dynamic(_task("each", task_type="dynamic-task", cacheable=True), each.body)
    first = play(_around(cached), "a1")
    play(_around(cached), "a2", outcomes={"n1": Outcome(hit=first.taken("n1"))})


# ------------------------------------------------------------------ recovered


@_construct
def recovered_task(play: Play) -> None:
    """It takes the node over from the execution that failed."""
    first = play(_chain(LOAD, CLEAN, REPORT), "a1", phase="FAILED")
    outcomes = {id: Outcome(recovered=first.taken(id)) for id in ("n0", "n1")}
    play(_chain(LOAD, CLEAN, REPORT), "a2", outcomes=outcomes)


@_construct
def recovered_sub_workflow(play: Play) -> None:
    """Of what is inside nothing is seen again."""
    _recovered(play, _around(_inner()))


@_construct
def recovered_launch_plan(play: Play) -> None:
    """The node names the child that the first execution had."""
    _recovered(play, _around(LaunchPlan(_child())))


@_construct
def recovered_dynamic(play: Play) -> None:
    """The one event of the node carries the graph."""
    _recovered(play, _around(_row()))


def _recovered(play: Play, workflow: Workflow) -> None:
    first = play(workflow, "a1", phase="FAILED")
    outcomes = {id: Outcome(recovered=first.taken(id)) for id in ("n0", "n1")}
    play(workflow, "a2", outcomes=outcomes)


# -------------------------------------------------------------------- branches


def _branched(*arms: Node, taken: str = "n1", or_fails: bool = False) -> Workflow:
    """Something else for a condition; all arms know `n0`."""
    return _workflow(
        _node("n0", LOAD),
        _node("n1", COUNT, x=Output("n0")),
        _node("n2", Branch(arms, taken, or_fails), c=Output("n1")),
        _node("n3", REPORT, x=Output("n2")),
        outputs={"o0": Output("n3")},
    )


def _arms(target: Any) -> tuple[Node, ...]:
    return _node("n0", JOIN, x=Output("n0")), _node("n1", target, x=Output("n0"))


@_construct
def branch(play: Play) -> None:
    """Only the arm that is taken is seen."""
    play(_branched(*_arms(CLEAN)), "a1")
    play(_branched(*_arms(CLEAN), taken="n0"), "a2")


@_construct
def branch_on_an_input(play: Play) -> None:
    """The condition is the workflow's own input, and the arms wait for others."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", CLEAN),
        _node(
            "n2",
            Branch((_node("n0", JOIN, x=Output("n0")), _node("n1", JOIN, x=Output("n1"))), "n1"),
            c=Input("c"),
        ),
        inputs={"c": Primitive(1)},
        outputs={"o0": Output("n2")},
    )
    play(workflow, "a1")


@_construct
def branch_else_fails(play: Play) -> None:
    """No case matches, and `else` is an error."""
    play(_branched(*_arms(CLEAN), or_fails=True), "monday")
    play(_branched(*_arms(CLEAN), or_fails=True, taken=""), "tuesday")


@_construct
def branch_nested(play: Play) -> None:
    """An arm is a branch again, with a condition of its own."""
    inner = Branch((_node("n0", JOIN, x=Output("n0")), _node("n1", CLEAN, x=Output("n0"))), "n1")
    arms = _node("n0", REPORT, x=Output("n0")), _node("n1", inner, d=Output("n1"))
    play(_branched(*arms), "a1")


@_construct
def branch_of_sub_workflow(play: Play) -> None:
    """An arm is a sub-workflow."""
    play(_branched(*_arms(_inner())), "a1")


@_construct
def branch_of_launch_plan(play: Play) -> None:
    """An arm starts an execution."""
    play(_branched(*_arms(LaunchPlan(_child()))), "a1")


@_construct
def branch_of_dynamic(play: Play) -> None:
    """An arm makes its graph when it runs."""
    play(_branched(*_arms(_row())), "a1")


@_construct
def branch_of_map(play: Play) -> None:
    """An arm is a map task."""
    workflow = _workflow(
        _node("n0", SPLIT),
        _node("n1", COUNT, x=Output("n0")),
        _node(
            "n2",
            Branch(
                (
                    _node("n0", MapTask(CLEAN, ("x",)), x=Output("n0")),
                    _node("n1", _task("all", ListOf(Frame())), x=Output("n0")),
                ),
                "n0",
            ),
            c=Output("n1"),
        ),
        _node("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1")


@_construct
def branch_of_gate(play: Play) -> None:
    """An arm asks for approval of what it hands on."""
    arms = _node("n0", CLEAN, x=Output("n0")), _node("n1", Gate("approve"), o0=Output("n0"))
    play(_branched(*arms), "a1")


# ---------------------------------------------------------------- sub-workflows


@_construct
def sub_workflow(play: Play) -> None:
    """A graph inside of a node."""
    play(_around(_inner()), "a1")


@_construct
def sub_workflow_at_several_nodes(play: Play) -> None:
    """Its tasks have a place below each of them."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", _inner(), x=Output("n0")),
        _node("n2", _inner(), x=Output("n1")),
        _node("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1")


@_construct
def sub_workflow_nested(play: Play) -> None:
    """Three levels; the outer one reads what the innermost gave."""
    middle = _graph(
        "app.etl.middle",
        _node("n0", _inner(), x=Input("x")),
        _node("n1", _task("check"), x=Output("n0"), y=Input("x")),
        o0=Output("n0"),
    )
    outer = _graph("app.etl.outer", _node("n0", middle, x=Input("x")), o0=Output("n0"))
    play(_around(outer), "a1")


@_construct
def sub_workflow_that_hands_on(play: Play) -> None:
    """It returns its input, and one of its inputs nobody inside reads."""
    inner = Workflow(
        "app.etl.inner",
        (_node("n0", CLEAN, x=Input("x")), _node("n1", NOTIFY)),
        inputs={"x": Frame(), "unused": Primitive(1)},
        outputs={"o0": Input("x"), "o1": Output("n0")},
    )
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", COUNT),
        _node("n2", inner, x=Output("n0"), unused=Output("n1")),
        _node("n3", REPORT, x=Output("n2", "o0")),
        _node("n4", JOIN, x=Output("n2", "o1")),
    )
    play(workflow, "a1")


@_construct
def sub_workflow_retried(play: Play) -> None:
    """Its first attempt failed inside, so everything in there has run twice."""
    outcomes = {"n1": Outcome(failed_attempts=1), "n1#0/n1": Outcome("FAILED")}
    play(_around(_inner()), "a1", outcomes=outcomes)


@_construct
def sub_workflow_failed(play: Play) -> None:
    """A task deep inside fails, and with it everything around it."""
    outer = _graph("app.etl.outer", _node("n0", _inner(), x=Input("x")), o0=Output("n0"))
    _known(play, _around(outer), {"n1/n0/n1": Outcome("FAILED")})


# ----------------------------------------------------------------- launch plans


@_construct
def launch_plan(play: Play) -> None:
    """A node starts another execution and hands on what that gave."""
    play(_around(LaunchPlan(_child())), "a1")


@_construct
def launch_plans_alone(play: Play) -> None:
    """A workflow of launch plans: it has no task that could name it."""
    plans = LaunchPlan(_child("app.child.one")), LaunchPlan(_child("app.child.two"))
    workflow = _workflow(
        _node("n0", plans[0], x=Frame(uri="s3://lake/x")),
        _node("n1", plans[1], x=Output("n0")),
        name="app.child.all",
    )
    play(workflow, "a1")


@_construct
def launch_plan_retried(play: Play) -> None:
    """The first execution failed, the second is another one."""
    play(_around(LaunchPlan(_child())), "a1", outcomes={"n1": Outcome(failed_attempts=1)})


@_construct
def launch_plan_failed(play: Play) -> None:
    """The execution that was started failed."""
    _known(play, _around(LaunchPlan(_child())), {"n1/n1": Outcome("FAILED")})


# ---------------------------------------------------------------- dynamic nodes


@_construct
def dynamic(play: Play) -> None:
    """A task makes a graph while it runs."""
    play(_around(_row()), "a1")


@_construct
def dynamic_loop(play: Play) -> None:
    """One task, many times: inside of a dynamic node all of them are one."""
    nodes = [_node("dn0", CLEAN, x=Input("x"))]
    nodes += [_node(f"dn{at}", CLEAN, x=Output(f"dn{at - 1}")) for at in range(1, 12)]
    play(_around(_each(*nodes, o0=Output("dn11"))), "a1")


@_construct
def dynamic_at_several_nodes(play: Play) -> None:
    """The tasks inside have a place below each of the nodes."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", _row(), x=Output("n0")),
        _node("n2", _row(), x=Output("n1")),
        _node("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1")


@_construct
def dynamic_nested(play: Play) -> None:
    """A dynamic node inside of a dynamic node."""
    inner = _row("inner")
    outer = _each(
        _node("dn0", _task("prepare"), x=Input("x")),
        _node("dn1", inner, x=Output("dn0")),
        _node("dn2", _task("finish"), x=Output("dn1")),
        o0=Output("dn2"),
    )
    play(_around(outer), "a1")


@_construct
def dynamic_without_graph(play: Play) -> None:
    """It made no graph, and so is a plain task."""
    play(_around(Dynamic(_task("each", task_type="dynamic-task"), None)), "a1")


@_construct
def dynamic_too_large(play: Play) -> None:
    """The event with its graph was lost, so nobody but FlyteAdmin knows it."""
    play(_around(_row()), "a1", outcomes={"n1": Outcome(closure_lost=True)})


@_construct
def dynamic_retried_pod(play: Play) -> None:
    """Its code failed once before it made the graph."""
    play(_around(_row()), "a1", outcomes={"n1": Outcome(failed_attempts=1)})


@_construct
def dynamic_retried(play: Play) -> None:
    """The first attempt made its graph and failed in it; the second made it again."""
    body = _row().body
    outcomes = {"n1": Outcome(retried=(body,) if body else ()), "n1#0/dn1": Outcome("TIMED_OUT")}
    play(_around(_row()), "a1", outcomes=outcomes)


@_construct
def dynamic_retried_otherwise(play: Play) -> None:
    """The first attempt's graph had other nodes, and all of them succeeded."""
    other = _graph(
        "app.etl.each",
        _node("dn0", _task("prepare"), x=Input("x")),
        _node("dn1", JOIN, x=Output("dn0")),
        _node("dn2", CLEAN, x=Output("dn1")),
        o0=Output("dn2"),
    )
    play(_around(_row()), "a1", outcomes={"n1": Outcome(retried=(other,))})


@_construct
def dynamic_own_data(play: Play) -> None:
    """The task itself wrote data and put it into its graph as a constant."""
    own = Written("part", Frame())
    each = _each(
        _node("dn0", CLEAN, x=own),
        _node("dn1", JOIN, x=Output("dn0"), y=own, z=Input("x")),
        o0=Output("dn1"),
    )
    play(_around(each), "a1")


@_construct
def dynamic_of_everything(play: Play) -> None:
    """A sub-workflow, a launch plan, a map task, a branch and a gate inside of it."""
    arms = _node("n0", JOIN, x=Output("dn3")), _node("n1", _task("fix"), x=Output("dn3"))
    each = _each(
        _node("dn0", _inner(), x=Input("x")),
        _node("dn1", LaunchPlan(_child()), x=Output("dn0")),
        _node("dn2", MapTask(_task("score"), ("x",)), x=[Output("dn0"), Output("dn1")]),
        _node("dn3", _task("merge"), x=Output("dn2")),
        _node("dn4", Branch(arms, "n1"), c=Output("dn3")),
        _node("dn5", Gate("approve"), o0=Output("dn4")),
        _node("dn6", NOTIFY, "dn5"),
        o0=Output("dn5"),
    )
    play(_around(each), "a1")


@_construct
def dynamic_failed(play: Play) -> None:
    """A task inside fails, so what runs beside it is aborted and the node fails."""
    each = _each(
        _node("dn0", CLEAN, x=Input("x")),
        _node("dn1", JOIN, x=Input("x")),
        o0=Output("dn1"),
    )
    outcomes = {"n1/dn0": Outcome("FAILED"), "n1/dn1": Outcome(failed_attempts=9)}
    _known(play, _around(each), outcomes)


# --------------------------------------------------------------------- map tasks


@_construct
def map_task(play: Play) -> None:
    """An array node speaks for its items."""
    play(_mapped(), "a1")


@_construct
def map_task_told_apart(play: Play) -> None:
    """The items have events of their own, and some are made up."""
    play(_mapped(), "a1", array_event_version=1)


@_construct
def map_task_of_old(play: Play) -> None:
    """A plain node of a task that is an array."""
    play(_mapped(legacy=True), "a1")


@_construct
def map_task_in_part(play: Play) -> None:
    """Enough items succeeded; the others gave nothing."""
    play(_mapped(min_success_ratio=0.5), "a1", outcomes={"n1": Outcome(failed_items=(1,))})


@_construct
def map_task_in_part_told_apart(play: Play) -> None:
    """The same, with an event that says so of the item."""
    outcomes = {"n1": Outcome(failed_items=(1,))}
    play(_mapped(min_success_ratio=0.5), "a1", outcomes=outcomes, array_event_version=1)


@_construct
def map_task_failed(play: Play) -> None:
    """Too few items succeeded."""
    _known(play, _mapped(), {"n1": Outcome(failed_items=(1, 2))})


@_construct
def map_task_failed_told_apart(play: Play) -> None:
    """The same, with events of the items."""
    _known(play, _mapped(), {"n1": Outcome(failed_items=(1, 2))}, array_event_version=1)


@_construct
def map_task_aborted_told_apart(play: Play) -> None:
    """Of the items that ran, events tell of tasks that do not exist."""
    _known(play, _mapped(), {"n1": Outcome("ABORTED")}, array_event_version=1)


@_construct
def map_task_with_cached_items(play: Play) -> None:
    """The cache answers for one of the items."""
    first = play(_chain(LOAD, CLEAN), "a1")
    hit = Outcome(item_hits={0: first.taken("n1")})
    play(_mapped(), "b1", outcomes={"n1": hit})


@_construct
def map_task_over_several_lists(play: Play) -> None:
    """Items of two lists go together, and a whole value goes to all."""
    pair = Task("app.etl.pair", {"left": Same("x"), "o0": Frame()})
    workflow = _workflow(
        _node("n0", SPLIT),
        _node("n1", _task("split_again", Offloaded(ListOf(Frame(), 3))), x=Output("n0")),
        _node("n2", LOAD),
        _node("n3", MapTask(pair, ("x",)), x=Output("n0"), z=Output("n2")),
        _node("n4", REPORT, x=Output("n3"), y=Output("n1")),
        _node("n5", JOIN, x=Output("n3", "left")),
    )
    play(workflow, "a1")


@_construct
def map_task_in_sub_workflow_told_apart(play: Play) -> None:
    """Below the top the events that are made up never come through."""
    inner = Workflow(
        "app.etl.inner",
        (_node("n0", MapTask(CLEAN, ("x",)), x=Input("x")),),
        inputs={"x": ListOf(Frame())},
        outputs={"o0": Output("n0")},
    )
    workflow = _workflow(
        _node("n0", SPLIT),
        _node("n1", inner, x=Output("n0")),
        _node("n2", REPORT, x=Output("n1")),
    )
    play(workflow, "a1", array_event_version=1)


# ------------------------------------------------------------------------- gates


@_construct
def approve_gate(play: Play) -> None:
    """Data goes through once somebody said yes."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", Gate("approve"), o0=Output("n0")),
        _node("n2", CLEAN, x=Output("n1")),
    )
    play(workflow, "a1")


@_construct
def signal_gate(play: Play) -> None:
    """Somebody gave a value, here after a task was over."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", Gate("signal", Primitive(3)), "n0"),
        _node("n2", CLEAN, x=Output("n1")),
    )
    play(workflow, "a1")


@_construct
def sleep_gate(play: Play) -> None:
    """It gives nothing; others come after it."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", Gate("sleep"), "n0"),
        _node("n2", CLEAN, "n1", x=Output("n0")),
        _node("n3", NOTIFY, "n1"),
    )
    play(workflow, "a1")


# ------------------------------------------------------------- order without data


@_construct
def chained_tasks(play: Play) -> None:
    """Tasks that come after others without any data."""
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", NOTIFY, "n0"),
        _node("n2", CLEAN, "n1", x=Output("n0")),
        _node("n3", REPORT, "n0", "n2"),
    )
    play(workflow, "a1")


@_construct
def chained_sub_workflows(play: Play) -> None:
    """A task before a sub-workflow, and a task after it."""
    inner = Workflow(
        "app.etl.inner",
        (
            _node("n0", CLEAN),
            _node("n1", JOIN, x=Output("n0")),
            _node("n2", _task("check"), x=Output("n0")),
            _node("n3", _task("start")),
        ),
    )
    outer = Workflow("app.etl.outer", (_node("n0", inner),))
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", outer, "n0"),
        _node("n2", NOTIFY, "n1"),
    )
    play(workflow, "a1")


@_construct
def chained_launch_plans(play: Play) -> None:
    """What no task of this execution does lets through what it waited for."""
    child = Workflow("app.child.wf", (_node("n0", Task("app.child.render")),))
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", LaunchPlan(child), "n0"),
        _node("n2", LaunchPlan(child), "n1"),
        _node("n3", NOTIFY, "n2"),
    )
    play(workflow, "a1")


@_construct
def chained_branches(play: Play) -> None:
    """A task before a branch, and a task after it."""
    arms = _node("n0", CLEAN), _node("n1", Workflow("app.etl.inner", (_node("n0", JOIN),)))
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", COUNT),
        _node("n2", Branch(arms, "n1"), "n0", c=Output("n1")),
        _node("n3", NOTIFY, "n2"),
    )
    play(workflow, "a1")


@_construct
def chained_dynamics(play: Play) -> None:
    """Tasks around a dynamic node, and without data inside of it."""
    each = _each(
        _node("dn0", CLEAN, x=Input("x")),
        _node("dn1", JOIN, "dn0"),
        _node("dn2", Gate("sleep"), "dn1"),
        _node("dn3", NOTIFY, "dn2"),
        o0=Output("dn0"),
    )
    workflow = _workflow(
        _node("n0", LOAD),
        _node("n1", _task("first")),
        _node("n2", each, "n1", x=Output("n0")),
        _node("n3", REPORT, "n2"),
    )
    play(workflow, "a1")


@_construct
def chained_maps(play: Play) -> None:
    """A task before a map task and one after it."""
    workflow = _workflow(
        _node("n0", SPLIT),
        _node("n1", NOTIFY),
        _node("n2", MapTask(CLEAN, ("x",)), "n1", x=Output("n0")),
        _node("n3", REPORT, "n2"),
    )
    play(workflow, "a1")


# ------------------------------------------------------------------------- eager


@_construct
def eager(play: Play) -> None:
    """A plain task whose code starts executions; only labels tell whose they are."""
    eager_task = Task("app.eager.main", {"o0": Primitive(1)})
    workflow = single_task(eager_task)
    play(workflow, "eager1")
    labels = {"eager-exec": "eager1", "eager-root-exec": "eager1"}
    for name in ("ea1", "ea2"):
        play(single_task(LOAD), name, labels=labels)


@_construct
def eager_that_returns(play: Play) -> None:
    """It returns what one of its executions made."""
    labels = {"eager-exec": "eager1", "eager-root-exec": "eager1"}
    made = play(single_task(LOAD), "ea1", labels=labels)
    eager_task = Task("app.eager.main", {"o0": made.output("appetlload")})
    play(single_task(eager_task), "eager1")
