"""Graphs in graphs: branches, sub-workflows, launch plans, gates, and mere order."""

from __future__ import annotations

from typing import Any

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
    inner_graph,
    make,
    two_inside,
    two_made,
)
from flytelineage.testing.simulator.kinds import (
    Frame,
    ListOf,
    Primitive,
)
from flytelineage.testing.simulator.workflows import (
    Branch,
    Gate,
    Input,
    LaunchPlan,
    MapTask,
    Node,
    Outcome,
    Output,
    Task,
    Workflow,
    single_task,
)

# -------------------------------------------------------------------- branches


def _branched(*arms: Node, taken: str = "n1", or_fails: bool = False) -> Workflow:
    """Something else for a condition; all arms know `n0`."""
    return build(
        at("n0", LOAD),
        at("n1", COUNT, x=Output("n0")),
        at("n2", Branch(arms, taken, or_fails), c=Output("n1")),
        at("n3", REPORT, x=Output("n2")),
        outputs={"o0": Output("n3")},
    )


def _arms(target: Any) -> tuple[Node, ...]:
    return at("n0", JOIN, x=Output("n0")), at("n1", target, x=Output("n0"))


@construct
def branch(play: Play) -> None:
    """Only the arm that is taken is seen."""
    play(_branched(*_arms(CLEAN)), "a1")
    play(_branched(*_arms(CLEAN), taken="n0"), "a2")


@construct
def branch_on_an_input(play: Play) -> None:
    """The condition is the workflow's own input, and the arms wait for others."""
    workflow = build(
        at("n0", LOAD),
        at("n1", CLEAN),
        at(
            "n2",
            Branch((at("n0", JOIN, x=Output("n0")), at("n1", JOIN, x=Output("n1"))), "n1"),
            c=Input("c"),
        ),
        inputs={"c": Primitive(1)},
        outputs={"o0": Output("n2")},
    )
    play(workflow, "a1")


@construct
def branch_else_fails(play: Play) -> None:
    """No case matches, and `else` is an error."""
    play(_branched(*_arms(CLEAN), or_fails=True), "monday")
    play(_branched(*_arms(CLEAN), or_fails=True, taken=""), "tuesday")


@construct
def branch_nested(play: Play) -> None:
    """An arm is a branch again, with a condition of its own."""
    inner = Branch((at("n0", JOIN, x=Output("n0")), at("n1", CLEAN, x=Output("n0"))), "n1")
    arms = at("n0", REPORT, x=Output("n0")), at("n1", inner, d=Output("n1"))
    play(_branched(*arms), "a1")


@construct
def branch_of_sub_workflow(play: Play) -> None:
    """An arm is a sub-workflow."""
    play(_branched(*_arms(two_inside())), "a1")


@construct
def branch_of_launch_plan(play: Play) -> None:
    """An arm starts an execution."""
    play(_branched(*_arms(LaunchPlan(child()))), "a1")


@construct
def branch_of_dynamic(play: Play) -> None:
    """An arm makes its graph when it runs."""
    play(_branched(*_arms(two_made())), "a1")


@construct
def branch_of_map(play: Play) -> None:
    """An arm is a map task."""
    workflow = build(
        at("n0", SPLIT),
        at("n1", COUNT, x=Output("n0")),
        at(
            "n2",
            Branch(
                (
                    at("n0", MapTask(CLEAN, ("x",)), x=Output("n0")),
                    at("n1", make("all", ListOf(Frame())), x=Output("n0")),
                ),
                "n0",
            ),
            c=Output("n1"),
        ),
        at("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1")


@construct
def branch_of_gate(play: Play) -> None:
    """An arm asks for approval of what it hands on."""
    arms = at("n0", CLEAN, x=Output("n0")), at("n1", Gate("approve"), o0=Output("n0"))
    play(_branched(*arms), "a1")


# --------------------------------------------------------------- sub-workflows


@construct
def sub_workflow(play: Play) -> None:
    """A graph inside of a node."""
    play(around(two_inside()), "a1")


@construct
def sub_workflow_at_several_nodes(play: Play) -> None:
    """Its tasks have a place below each of them."""
    workflow = build(
        at("n0", LOAD),
        at("n1", two_inside(), x=Output("n0")),
        at("n2", two_inside(), x=Output("n1")),
        at("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1")


@construct
def sub_workflow_nested(play: Play) -> None:
    """Three levels; the outer one reads what the innermost gave."""
    middle = inner_graph(
        "app.etl.middle",
        at("n0", two_inside(), x=Input("x")),
        at("n1", make("check"), x=Output("n0"), y=Input("x")),
        o0=Output("n0"),
    )
    outer = inner_graph("app.etl.outer", at("n0", middle, x=Input("x")), o0=Output("n0"))
    play(around(outer), "a1")


@construct
def sub_workflow_that_hands_on(play: Play) -> None:
    """It returns its input, and one of its inputs nobody inside reads."""
    inner = Workflow(
        "app.etl.inner",
        (at("n0", CLEAN, x=Input("x")), at("n1", NOTIFY)),
        inputs={"x": Frame(), "unused": Primitive(1)},
        outputs={"o0": Input("x"), "o1": Output("n0")},
    )
    workflow = build(
        at("n0", LOAD),
        at("n1", COUNT),
        at("n2", inner, x=Output("n0"), unused=Output("n1")),
        at("n3", REPORT, x=Output("n2", "o0")),
        at("n4", JOIN, x=Output("n2", "o1")),
    )
    play(workflow, "a1")


@construct
def sub_workflow_that_returns_a_list(play: Play) -> None:
    """Whoever reads one item of it reads of one task."""
    inner = Workflow(
        "app.etl.inner",
        (at("n0", CLEAN), at("n1", JOIN)),
        outputs={"o0": [Output("n0"), Output("n1")]},
    )
    workflow = build(at("n0", inner), at("n1", REPORT, x=Output("n0", "o0", (1,))))
    play(workflow, "a1")


@construct
def sub_workflow_retried(play: Play) -> None:
    """Its first attempt failed inside, so everything in there has run twice."""
    outcomes = {"n1": Outcome(failed_attempts=1), "n1#0/n1": Outcome("FAILED")}
    play(around(two_inside()), "a1", outcomes=outcomes)


@construct
def sub_workflow_failed(play: Play) -> None:
    """A task deep inside fails, and with it everything around it."""
    outer = inner_graph("app.etl.outer", at("n0", two_inside(), x=Input("x")), o0=Output("n0"))
    after_success(play, around(outer), {"n1/n0/n1": Outcome("FAILED")})


# ---------------------------------------------------------------- launch plans


@construct
def launch_plan(play: Play) -> None:
    """A node starts another execution and hands on what that gave."""
    play(around(LaunchPlan(child())), "a1")


@construct
def launch_plans_alone(play: Play) -> None:
    """A workflow of launch plans: it has no task that could name it."""
    plans = LaunchPlan(child("app.child.one")), LaunchPlan(child("app.child.two"))
    workflow = build(
        at("n0", plans[0], x=Frame(uri="s3://lake/x")),
        at("n1", plans[1], x=Output("n0")),
        name="app.child.all",
    )
    play(workflow, "a1")


@construct
def launch_plan_retried(play: Play) -> None:
    """The first execution failed, the second is another one."""
    play(around(LaunchPlan(child())), "a1", outcomes={"n1": Outcome(failed_attempts=1)})


@construct
def launch_plan_failed(play: Play) -> None:
    """The execution that was started failed."""
    after_success(play, around(LaunchPlan(child())), {"n1/n1": Outcome("FAILED")})


# ----------------------------------------------------------------------- gates


@construct
def approve_gate(play: Play) -> None:
    """Data goes through once somebody said yes."""
    workflow = build(
        at("n0", LOAD),
        at("n1", Gate("approve"), o0=Output("n0")),
        at("n2", CLEAN, x=Output("n1")),
    )
    play(workflow, "a1")


@construct
def signal_gate(play: Play) -> None:
    """Somebody gave a value, here after a task was over."""
    workflow = build(
        at("n0", LOAD),
        at("n1", Gate("signal", Primitive(3)), "n0"),
        at("n2", CLEAN, x=Output("n1")),
    )
    play(workflow, "a1")


@construct
def sleep_gate(play: Play) -> None:
    """It gives nothing; others come after it."""
    workflow = build(
        at("n0", LOAD),
        at("n1", Gate("sleep"), "n0"),
        at("n2", CLEAN, "n1", x=Output("n0")),
        at("n3", NOTIFY, "n1"),
    )
    play(workflow, "a1")


# ---------------------------------------------------------- order without data


@construct
def chained_tasks(play: Play) -> None:
    """Tasks that come after others without any data."""
    workflow = build(
        at("n0", LOAD),
        at("n1", NOTIFY, "n0"),
        at("n2", CLEAN, "n1", x=Output("n0")),
        at("n3", REPORT, "n0", "n2"),
    )
    play(workflow, "a1")


@construct
def chained_sub_workflows(play: Play) -> None:
    """A task before a sub-workflow, and a task after it."""
    inner = Workflow(
        "app.etl.inner",
        (
            at("n0", CLEAN),
            at("n1", JOIN, x=Output("n0")),
            at("n2", make("check"), x=Output("n0")),
            at("n3", make("start")),
        ),
    )
    outer = Workflow("app.etl.outer", (at("n0", inner),))
    workflow = build(
        at("n0", LOAD),
        at("n1", outer, "n0"),
        at("n2", NOTIFY, "n1"),
    )
    play(workflow, "a1")


@construct
def chained_launch_plans(play: Play) -> None:
    """What no task of this execution does lets through what it waited for."""
    child = Workflow("app.child.wf", (at("n0", Task("app.child.render")),))
    workflow = build(
        at("n0", LOAD),
        at("n1", LaunchPlan(child), "n0"),
        at("n2", LaunchPlan(child), "n1"),
        at("n3", NOTIFY, "n2"),
    )
    play(workflow, "a1")


@construct
def chained_branches(play: Play) -> None:
    """A task before a branch, and a task after it."""
    arms = at("n0", CLEAN), at("n1", Workflow("app.etl.inner", (at("n0", JOIN),)))
    workflow = build(
        at("n0", LOAD),
        at("n1", COUNT),
        at("n2", Branch(arms, "n1"), "n0", c=Output("n1")),
        at("n3", NOTIFY, "n2"),
    )
    play(workflow, "a1")


@construct
def chained_branch_that_reads(play: Play) -> None:
    """One arm is given a value of the task that the branch comes after; the other is taken."""
    arms = at("n0", CLEAN, x=Output("n0")), at("n1", JOIN)
    workflow = build(
        at("n0", LOAD),
        at("n1", COUNT),
        at("n2", Branch(arms, "n1"), "n0", c=Output("n1")),
    )
    play(workflow, "a1")


@construct
def chained_after_an_untaken_arm(play: Play) -> None:
    """What only that arm would have read is one of the last tasks of its sub-workflow."""
    arms = at("n0", CLEAN, x=Output("n0")), at("n1", JOIN)
    inner = Workflow(
        "app.etl.inner",
        (at("n0", LOAD), at("n1", COUNT), at("n2", Branch(arms, "n1"), c=Output("n1"))),
    )
    play(build(at("n0", inner), at("n1", NOTIFY, "n0")), "a1")


@construct
def chained_approval(play: Play) -> None:
    """What is approved goes on, and only after what the gate comes after."""
    workflow = build(
        at("n0", LOAD),
        at("n1", NOTIFY),
        at("n2", Gate("approve"), "n1", o0=Output("n0")),
        at("n3", REPORT, x=Output("n2")),
    )
    play(workflow, "a1")


@construct
def chained_dynamics(play: Play) -> None:
    """Tasks around a dynamic node, and without data inside of it."""
    each = each_of(
        at("dn0", CLEAN, x=Input("x")),
        at("dn1", JOIN, "dn0"),
        at("dn2", Gate("sleep"), "dn1"),
        at("dn3", NOTIFY, "dn2"),
        o0=Output("dn0"),
    )
    workflow = build(
        at("n0", LOAD),
        at("n1", make("first")),
        at("n2", each, "n1", x=Output("n0")),
        at("n3", REPORT, "n2"),
    )
    play(workflow, "a1")


@construct
def chained_maps(play: Play) -> None:
    """A task before a map task and one after it."""
    workflow = build(
        at("n0", SPLIT),
        at("n1", NOTIFY),
        at("n2", MapTask(CLEAN, ("x",)), "n1", x=Output("n0")),
        at("n3", REPORT, "n2"),
    )
    play(workflow, "a1")


# ----------------------------------------------------------------------- eager


@construct
def eager(play: Play) -> None:
    """A plain task whose code starts executions; only labels tell whose they are."""
    eager_task = Task("app.eager.main", {"o0": Primitive(1)})
    workflow = single_task(eager_task)
    play(workflow, "eager1")
    labels = {"eager-exec": "eager1", "eager-root-exec": "eager1"}
    for name in ("ea1", "ea2"):
        play(single_task(LOAD), name, labels=labels)


@construct
def eager_that_returns(play: Play) -> None:
    """It returns what one of its executions made."""
    labels = {"eager-exec": "eager1", "eager-root-exec": "eager1"}
    made = play(single_task(LOAD), "ea1", labels=labels)
    eager_task = Task("app.eager.main", {"o0": made.output("appetlload")})
    play(single_task(eager_task), "eager1")
