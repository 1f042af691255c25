"""Plain tasks: how they end, what the cache says, what a recovery takes over."""

from __future__ import annotations

from flytelineage.testing.simulator.constructs.material import (
    CLEAN,
    COUNT,
    JOIN,
    LOAD,
    NOTIFY,
    REPORT,
    SPLIT,
    Play,
    after_success,
    around,
    at,
    build,
    child,
    construct,
    each_of,
    in_a_row,
    inner_graph,
    make,
    two_inside,
    two_made,
)
from flytelineage.testing.simulator.kinds import (
    File,
    Folder,
    Frame,
    Kind,
    ListOf,
    MapOf,
    Offloaded,
    OptionalOf,
    Primitive,
    Record,
    Same,
)
from flytelineage.testing.simulator.workflows import (
    Dynamic,
    Input,
    LaunchPlan,
    MapTask,
    Node,
    Outcome,
    Output,
    Taken,
    Task,
    Workflow,
    single_task,
)

# ----------------------------------------------------------------- plain tasks


@construct
def chain(play: Play) -> None:
    """Three tasks, one after the other."""
    play(in_a_row(LOAD, CLEAN, REPORT), "a1")


@construct
def no_data(play: Play) -> None:
    """Numbers go from task to task, and no data."""
    play(in_a_row(COUNT, make("double", Primitive(6)), make("halve", Primitive(3))), "a1")


@construct
def diamond(play: Play) -> None:
    """Several outputs with names of their own, a record, and a part of it."""
    split = Task("app.ml.split", {"train": Frame(), "test": Frame(declared=True)})
    judge = Task("app.ml.judge", {"report": Record({"file": File(), "score": Primitive(0.5)})})
    play(
        build(
            at("n0", split, x=Input("x")),
            at("n1", Task("app.ml.fit", {"model": File()}), x=Output("n0", "train")),
            at("n2", Task("app.ml.base", {"model": File()}), x=Output("n0", "train")),
            at(
                "n3",
                judge,
                m=[Output("n1", "model"), Output("n2", "model")],
                t=Output("n0", "test"),
            ),
            at("n4", Task("app.ml.show"), f=Output("n3", "report", ("file",))),
            name="app.ml.wf",
            inputs={"x": Frame(uri="s3://lake/table/dt=2026-01-01/")},
            outputs={"model": Output("n1", "model"), "all": {"a": Output("n3", "report")}},
        ),
        "a1",
    )


@construct
def collections(play: Play) -> None:
    """Lists, dicts, optional values and large ones, whole and in parts."""
    kinds: dict[str, Kind] = {
        "list": ListOf(File()), "map": MapOf(Frame()), "maybe": OptionalOf(Frame()),
        "none": OptionalOf(Frame(), given=False), "large": Offloaded(ListOf(Folder())),
    }  # fmt: skip
    inputs = {name: Output("n0", name) for name in kinds}
    parts = {"x": Output("n0", "map", ("a",)), "y": Output("n0", "list", (1,))}
    play(
        build(
            Node("n0", Task("app.etl.make", kinds)),
            Node("n1", Task("app.etl.use", {"schema": Frame(legacy=True)}), inputs),
            Node("n2", REPORT, parts),
        ),
        "a1",
    )


@construct
def parts_of_inputs(play: Play) -> None:
    """A field of a dataclass and an item of a list, of what the workflow itself is given."""
    record = Record({"file": File(uri="s3://lake/a.csv"), "score": Primitive(0.5)})
    workflow = build(
        at("n0", LOAD, x=Input("record", ("file",))),
        at("n1", CLEAN, x=Input("list", (0,)), y=Output("n0")),
        inputs={"record": record, "list": ListOf(Frame(uri="s3://lake/b"))},
    )
    play(workflow, "a1")


@construct
def one_task_at_several_nodes(play: Play) -> None:
    """Each of its places is a task of its own."""
    play(in_a_row(LOAD, CLEAN, CLEAN, REPORT), "a1")


@construct
def passed_through(play: Play) -> None:
    """A task that returns what it was given did not make it."""
    check = Task("app.etl.check", {"same": Same("x"), "bad": Frame()})
    play(
        build(
            at("n0", LOAD),
            at("n1", check, x=Output("n0")),
            at("n2", CLEAN, x=Output("n1", "same")),
            at("n3", REPORT, x=Output("n1", "bad")),
        ),
        "a1",
    )


@construct
def own_places(play: Play) -> None:
    """Data at a place of its own, which another workflow reads by its name."""
    table = Frame(uri="s3://shop/daily/")
    play(build(at("n0", LOAD), at("n1", make("publish", table), x=Output("n0"))), "a1")
    reads = at("n0", Task("app.read.show"), x=Input("x"))
    play(build(reads, name="app.read.wf", inputs={"x": table}), "b1")


@construct
def read_by_another_workflow(play: Play) -> None:
    """What one workflow made under Flyte's own prefix is given to another one."""
    made = play(in_a_row(LOAD, CLEAN), "a1")
    reads = at("n0", Task("app.read.show"), x=Input("x"))
    other = build(reads, name="app.read.wf", inputs={"x": Frame(uri="s3://shop/none")})
    play(other, "b1", inputs={"x": made.output("n1")})


@construct
def artifact_names(play: Play) -> None:
    """An author's own name for an output goes before the default one."""
    orders = make("orders", artifacts={"o0": "raw_orders"}, docs={"o0": "All orders of a day."})
    play(in_a_row(orders, CLEAN), "a1")
    inside = each_of(
        at("dn0", orders),
        at("dn1", CLEAN, x=Output("dn0")),
        o0=Output("dn1"),
    )
    play(build(at("n0", inside, x=Frame(uri="s3://shop/x")), name="app.etl.other"), "b1")


@construct
def sql_tasks(play: Play) -> None:
    """A query writes no `outputs.pb`, though its events name one."""
    query = Task("app.sql.query", task_type="athena", sends_outputs=False, sql="select 1")
    play(
        build(
            at("n0", LOAD),
            at("n1", query, x=Output("n0")),
            at("n2", REPORT, "n1", x=Output("n0")),
        ),
        "a1",
    )


@construct
def synchronous_task(play: Play) -> None:
    """The first answer of its plugin is the last, so it has no task event."""
    play(in_a_row(make("query", synchronous=True), CLEAN), "a1")


@construct
def single_task_execution(play: Play) -> None:
    """A task that is run alone gets a workflow of its own."""
    play(single_task(LOAD, {"x": File(uri="s3://lake/raw.csv")}), "a1")


@construct
def deck(play: Play) -> None:
    """A task that makes a deck; when it fails its node's event does not say why."""
    decked = make("clean", deck=True)
    after_success(play, in_a_row(LOAD, decked), {"n1": Outcome("FAILED")})


@construct
def long_ids(play: Play) -> None:
    """Ids of more than 20 characters are hashed."""
    inner = inner_graph(
        "app.etl.inner",
        at("a-long-node-name", CLEAN, x=Input("x")),
        o0=Output("a-long-node-name"),
    )
    outer = inner_graph(
        "app.etl.outer",
        at("another-long-node", inner, x=Input("x")),
        o0=Output("another-long-node"),
    )
    play(around(outer), "a1")


# -------------------------------------------------------------------- bad ends


@construct
def retried_task(play: Play) -> None:
    """Two attempts fail, the third succeeds."""
    play(in_a_row(LOAD, CLEAN), "a1", outcomes={"n0": Outcome(failed_attempts=2)})


@construct
def retries_exhausted(play: Play) -> None:
    """The last attempt fails as well."""
    after_success(play, in_a_row(LOAD, CLEAN), {"n1": Outcome("FAILED", failed_attempts=3)})


@construct
def failed_beside_others(play: Play) -> None:
    """What runs beside a node that fails is aborted."""
    workflow = build(
        at("n0", LOAD),
        at("n1", CLEAN, x=Output("n0")),
        at("n2", JOIN, x=Output("n0")),
        at("n3", REPORT, x=Output("n1"), y=Output("n2")),
    )
    after_success(play, workflow, {"n1": Outcome("FAILED"), "n2": Outcome(failed_attempts=9)})


@construct
def fails_late(play: Play) -> None:
    """What can still run does, the rest is skipped."""
    workflow = build(
        at("n0", LOAD),
        at("n1", CLEAN, x=Output("n0")),
        at("n2", JOIN, x=Output("n0")),
        at("n3", REPORT, x=Output("n1")),
        at("n4", NOTIFY, "n3"),
        fails_late=True,
    )
    after_success(play, workflow, {"n1": Outcome("FAILED")})


@construct
def timed_out(play: Play) -> None:
    """The node says no error."""
    after_success(play, in_a_row(LOAD, CLEAN), {"n1": Outcome("TIMED_OUT")})


@construct
def aborted(play: Play) -> None:
    """A user ends it; the events of the nodes tell next to nothing."""
    after_success(play, around(two_inside()), {"n1/n0": Outcome("ABORTED")})


@construct
def aborted_beside_others(play: Play) -> None:
    """A dynamic node, a map task and a task run when the execution is aborted."""
    workflow = build(
        at("n0", SPLIT),
        at("n1", two_made(), x=Output("n0", "o0", (0,))),
        at("n2", MapTask(make("score"), ("x",)), x=Output("n0")),
        at("n3", make("fold"), x=Output("n0")),
    )
    after_success(play, workflow, {"n1/dn0": Outcome("ABORTED"), "n3": Outcome(failed_attempts=9)})


@construct
def failure_node(play: Play) -> None:
    """A node that runs because the workflow fails."""
    clean_up = at("fn0", Task("app.etl.clean_up"), x=Input("x"))
    workflow = build(
        at("n0", LOAD, x=Input("x")),
        at("n1", CLEAN, x=Output("n0")),
        on_failure=clean_up,
        inputs={"x": File(uri="s3://lake/raw.csv")},
    )
    after_success(play, workflow, {"n1": Outcome("FAILED")})


@construct
def failure_node_that_fails(play: Play) -> None:
    """Its error takes the place of the first one."""
    workflow = build(
        at("n0", LOAD),
        at("n1", CLEAN, x=Output("n0")),
        on_failure=at("fn0", Task("app.etl.clean_up")),
    )
    after_success(play, workflow, {"n1": Outcome("FAILED"), "fn0": Outcome("FAILED")})


@construct
def failure_node_in_sub_workflow(play: Play) -> None:
    """It stands inside of the sub-workflow's node."""
    clean_up = at("fn0", Task("app.etl.clean_up"), x=Input("x"))
    inner = Workflow(
        "app.etl.inner",
        (at("n0", CLEAN, x=Input("x")),),
        inputs={"x": Frame()},
        outputs={"o0": Output("n0")},
        on_failure=clean_up,
    )
    after_success(play, around(inner), {"n1/n0": Outcome("FAILED")})


# ----------------------------------------------------------------------- cache


_CACHED = make("clean", cacheable=True)
_SERIAL = make("clean", cacheable=True, cache_serialize=True)


@construct
def cache_hit(play: Play) -> None:
    """The cache hands out what an earlier execution made."""
    first = play(in_a_row(LOAD, _CACHED, REPORT), "a1")
    play(in_a_row(LOAD, _CACHED, REPORT), "a2", outcomes={"n1": Outcome(hit=first.taken("n1"))})


@construct
def cache_hit_of_another_workflow(play: Play) -> None:
    """It was made in another pipeline, under whose name it stays."""
    first = play(in_a_row(LOAD, _CACHED, name="app.first.wf"), "a1")
    second = build(
        at("n0", _CACHED, x=Frame(uri="s3://lake/x")),
        at("n1", Task("app.second.show"), x=Output("n0")),
        at("n2", Task("app.second.tell"), x=Output("n0")),
        name="app.second.wf",
    )
    play(second, "b1", outcomes={"n0": Outcome(hit=first.taken("n1"))})


@construct
def cache_hit_of_the_unseen(play: Play) -> None:
    """Its maker was never seen."""
    play(in_a_row(LOAD, _CACHED, REPORT), "a1", outcomes={"n1": Outcome(hit=Taken())})


@construct
def cache_hit_without_source(play: Play) -> None:
    """The catalogue does not say who made it."""
    first = play(in_a_row(LOAD, _CACHED, REPORT), "a1")
    silent = Taken(first.outputs("n1"))
    play(in_a_row(LOAD, _CACHED, REPORT), "a2", outcomes={"n1": Outcome(hit=silent)})


@construct
def cache_hit_of_the_same_execution(play: Play) -> None:
    """What one node made the cache hands to another."""
    workflow = build(
        at("n0", LOAD),
        at("n1", _CACHED, x=Output("n0")),
        at("n2", _CACHED, "n1", x=Output("n0")),
        at("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1", outcomes={"n2": Outcome(hit=Taken(own="n1"))})


@construct
def cache_serialized(play: Play) -> None:
    """It says MISS on the way; a hit is queued first."""
    first = play(in_a_row(LOAD, _SERIAL, REPORT), "a1")
    play(in_a_row(LOAD, _SERIAL, REPORT), "a2", outcomes={"n1": Outcome(hit=first.taken("n1"))})


@construct
def cache_put_failure(play: Play) -> None:
    """What ran could not be stored."""
    play(in_a_row(LOAD, _CACHED, REPORT), "a1", outcomes={"n1": Outcome(cache="PUT_FAILURE")})


@construct
def cache_lookup_failure(play: Play) -> None:
    """The cache could not be asked, so the task ran."""
    play(in_a_row(LOAD, _SERIAL, REPORT), "a1", outcomes={"n1": Outcome(cache="LOOKUP_FAILURE")})


@construct
def cache_overwritten(play: Play) -> None:
    """Nobody asked the cache."""
    play(in_a_row(LOAD, _SERIAL, REPORT), "a1", outcomes={"n1": Outcome(cache="SKIPPED")})


@construct
def cached_dynamic(play: Play) -> None:
    """Of a dynamic node that the cache answers for nothing inside is seen."""
    each = two_made()
    cached = Dynamic(make("each", task_type="dynamic-task", cacheable=True), each.body)
    first = play(around(cached), "a1")
    play(around(cached), "a2", outcomes={"n1": Outcome(hit=first.taken("n1"))})


# ------------------------------------------------------------------- recovered


@construct
def recovered_task(play: Play) -> None:
    """It takes the node over from the execution that failed."""
    first = play(in_a_row(LOAD, CLEAN, REPORT), "a1", phase="FAILED")
    outcomes = {id: Outcome(recovered=first.taken(id)) for id in ("n0", "n1")}
    play(in_a_row(LOAD, CLEAN, REPORT), "a2", outcomes=outcomes)


@construct
def recovered_sub_workflow(play: Play) -> None:
    """Of what is inside nothing is seen again."""
    _recovered(play, around(two_inside()))


@construct
def recovered_launch_plan(play: Play) -> None:
    """The node names the child that the first execution had."""
    _recovered(play, around(LaunchPlan(child())))


@construct
def recovered_dynamic(play: Play) -> None:
    """The one event of the node carries the graph."""
    _recovered(play, around(two_made()))


def _recovered(play: Play, workflow: Workflow) -> None:
    first = play(workflow, "a1", phase="FAILED")
    outcomes = {id: Outcome(recovered=first.taken(id)) for id in ("n0", "n1")}
    play(workflow, "a2", outcomes=outcomes)
