"""What tasks make while they run: graphs of dynamic nodes, and items of map tasks."""

from __future__ import annotations

from flytelineage.testing.simulator.constructs.material import (
    CLEAN,
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
    mapped,
    two_inside,
    two_made,
)
from flytelineage.testing.simulator.kinds import (
    Frame,
    ListOf,
    Offloaded,
    Same,
)
from flytelineage.testing.simulator.workflows import (
    Branch,
    Dynamic,
    Gate,
    Input,
    LaunchPlan,
    MapTask,
    Outcome,
    Output,
    Taken,
    Task,
    Workflow,
    Written,
)

# --------------------------------------------------------------- dynamic nodes


@construct
def dynamic(play: Play) -> None:
    """A task makes a graph while it runs."""
    play(around(two_made()), "a1")


@construct
def dynamic_loop(play: Play) -> None:
    """One task, many times: inside of a dynamic node all of them are one."""
    nodes = [at("dn0", CLEAN, x=Input("x"))]
    nodes += [at(f"dn{n}", CLEAN, x=Output(f"dn{n - 1}")) for n in range(1, 12)]
    play(around(each_of(*nodes, o0=Output("dn11"))), "a1")


@construct
def dynamic_over_a_list(play: Play) -> None:
    """Each of its nodes is given another item of a list, as a constant."""
    nodes = tuple(at(f"dn{n}", CLEAN, x=Input("x", (n,))) for n in range(3))
    body = Workflow(
        "app.etl.each",
        nodes,
        inputs={"x": ListOf(Frame(), 3)},
        outputs={"o0": [Output(node.id) for node in nodes]},
    )
    whole = make("each", ListOf(Frame(), 3), task_type="dynamic-task")
    workflow = build(
        at("n0", SPLIT),
        at("n1", Dynamic(whole, body), x=Output("n0")),
        at("n2", REPORT, x=Output("n1", "o0", (1,))),
    )
    play(workflow, "a1")


@construct
def dynamic_at_several_nodes(play: Play) -> None:
    """The tasks inside have a place below each of the nodes."""
    workflow = build(
        at("n0", LOAD),
        at("n1", two_made(), x=Output("n0")),
        at("n2", two_made(), x=Output("n1")),
        at("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1")


@construct
def dynamic_nested(play: Play) -> None:
    """A dynamic node inside of a dynamic node."""
    inner = two_made("inner")
    outer = each_of(
        at("dn0", make("prepare"), x=Input("x")),
        at("dn1", inner, x=Output("dn0")),
        at("dn2", make("finish"), x=Output("dn1")),
        o0=Output("dn2"),
    )
    play(around(outer), "a1")


@construct
def dynamic_without_graph(play: Play) -> None:
    """It made no graph, and so is a plain task."""
    play(around(Dynamic(make("each", task_type="dynamic-task"), None)), "a1")


@construct
def dynamic_too_large(play: Play) -> None:
    """The event with its graph was lost, so nobody but FlyteAdmin knows it."""
    play(around(two_made()), "a1", outcomes={"n1": Outcome(closure_lost=True)})


@construct
def dynamic_retried_pod(play: Play) -> None:
    """Its code failed once before it made the graph."""
    play(around(two_made()), "a1", outcomes={"n1": Outcome(failed_attempts=1)})


@construct
def dynamic_retried(play: Play) -> None:
    """The first attempt made its graph and failed in it; the second made it again."""
    body = two_made().body
    outcomes = {"n1": Outcome(retried=(body,) if body else ()), "n1#0/dn1": Outcome("TIMED_OUT")}
    play(around(two_made()), "a1", outcomes=outcomes)


@construct
def dynamic_retried_otherwise(play: Play) -> None:
    """The first attempt's graph had other nodes, and all of them succeeded."""
    other = inner_graph(
        "app.etl.each",
        at("dn0", make("prepare"), x=Input("x")),
        at("dn1", JOIN, x=Output("dn0")),
        at("dn2", CLEAN, x=Output("dn1")),
        o0=Output("dn2"),
    )
    play(around(two_made()), "a1", outcomes={"n1": Outcome(retried=(other,))})


@construct
def dynamic_retried_from_cache(play: Play) -> None:
    """What the first attempt's tasks made the cache hands to the second's."""
    clean = make("clean", cacheable=True)
    each = each_of(
        at("dn0", clean, x=Input("x")),
        at("dn1", JOIN, x=Output("dn0")),
        o0=Output("dn1"),
    )
    outcomes = {
        "n1": Outcome(retried=(each.body,) if each.body else ()),
        "n1#0/dn1": Outcome("TIMED_OUT"),
        "n1/dn0": Outcome(hit=Taken(own="n1#0/dn0")),
    }
    play(around(each), "a1", outcomes=outcomes)


@construct
def dynamic_own_data(play: Play) -> None:
    """The task itself wrote data and put it into its graph as a constant."""
    own = Written("part", Frame())
    each = each_of(
        at("dn0", CLEAN, x=own),
        at("dn1", JOIN, x=Output("dn0"), y=own, z=Input("x")),
        o0=Output("dn1"),
    )
    play(around(each), "a1")


@construct
def dynamic_of_everything(play: Play) -> None:
    """A sub-workflow, a launch plan, a map task, a branch and a gate inside of it."""
    arms = at("n0", JOIN, x=Output("dn3")), at("n1", make("fix"), x=Output("dn3"))
    each = each_of(
        at("dn0", two_inside(), x=Input("x")),
        at("dn1", LaunchPlan(child()), x=Output("dn0")),
        at("dn2", MapTask(make("score"), ("x",)), x=[Output("dn0"), Output("dn1")]),
        at("dn3", make("merge"), x=Output("dn2")),
        at("dn4", Branch(arms, "n1"), c=Output("dn3")),
        at("dn5", Gate("approve"), o0=Output("dn4")),
        at("dn6", NOTIFY, "dn5"),
        o0=Output("dn5"),
    )
    play(around(each), "a1")


@construct
def dynamic_failed(play: Play) -> None:
    """A task inside fails, so what runs beside it is aborted and the node fails."""
    each = each_of(
        at("dn0", CLEAN, x=Input("x")),
        at("dn1", JOIN, x=Input("x")),
        o0=Output("dn1"),
    )
    outcomes = {"n1/dn0": Outcome("FAILED"), "n1/dn1": Outcome(failed_attempts=9)}
    after_success(play, around(each), outcomes)


# ------------------------------------------------------------------- map tasks


@construct
def map_task(play: Play) -> None:
    """An array node speaks for its items."""
    play(mapped(), "a1")


@construct
def map_task_told_apart(play: Play) -> None:
    """The items have events of their own, and some are made up."""
    play(mapped(), "a1", array_event_version=1)


@construct
def map_task_of_old(play: Play) -> None:
    """A plain node of a task that is an array."""
    play(mapped(legacy=True), "a1")


@construct
def map_task_in_part(play: Play) -> None:
    """Enough items succeeded; the others gave nothing."""
    play(mapped(min_success_ratio=0.5), "a1", outcomes={"n1": Outcome(failed_items=(1,))})


@construct
def map_task_in_part_told_apart(play: Play) -> None:
    """The same, with an event that says so of the item."""
    outcomes = {"n1": Outcome(failed_items=(1,))}
    play(mapped(min_success_ratio=0.5), "a1", outcomes=outcomes, array_event_version=1)


@construct
def map_task_failed(play: Play) -> None:
    """Too few items succeeded."""
    after_success(play, mapped(), {"n1": Outcome(failed_items=(1, 2))})


@construct
def map_task_failed_told_apart(play: Play) -> None:
    """The same, with events of the items."""
    after_success(play, mapped(), {"n1": Outcome(failed_items=(1, 2))}, array_event_version=1)


@construct
def map_task_aborted_told_apart(play: Play) -> None:
    """Of the items that ran, events tell of tasks that do not exist."""
    after_success(play, mapped(), {"n1": Outcome("ABORTED")}, array_event_version=1)


@construct
def map_task_with_cached_items(play: Play) -> None:
    """The cache answers for one of the items."""
    first = play(in_a_row(LOAD, CLEAN, name="app.etl.before"), "a1")
    hit = Outcome(item_hits={0: first.taken("n1")})
    play(mapped(), "b1", outcomes={"n1": hit})


@construct
def map_task_over_several_lists(play: Play) -> None:
    """Items of two lists go together, and a whole value goes to all."""
    pair = Task("app.etl.pair", {"left": Same("x"), "o0": Frame()})
    workflow = build(
        at("n0", SPLIT),
        at("n1", make("split_again", Offloaded(ListOf(Frame(), 3))), x=Output("n0")),
        at("n2", LOAD),
        at("n3", MapTask(pair, ("x",)), x=Output("n0"), z=Output("n2")),
        at("n4", REPORT, x=Output("n3"), y=Output("n1")),
        at("n5", JOIN, x=Output("n3", "left")),
    )
    play(workflow, "a1")


@construct
def map_task_in_sub_workflow_told_apart(play: Play) -> None:
    """Below the top the events that are made up never come through."""
    inner = Workflow(
        "app.etl.inner",
        (at("n0", MapTask(CLEAN, ("x",)), x=Input("x")),),
        inputs={"x": ListOf(Frame())},
        outputs={"o0": Output("n0")},
    )
    workflow = build(
        at("n0", SPLIT),
        at("n1", inner, x=Output("n0")),
        at("n2", REPORT, x=Output("n1")),
    )
    play(workflow, "a1", array_event_version=1)
