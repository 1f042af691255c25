from __future__ import annotations

import json
from pathlib import Path

import pytest
from flyteidl.core import compiler_pb2, literals_pb2, types_pb2
from google.protobuf import json_format

from flytelineage import dependencies
from flytelineage.definitions import read_closure
from flytelineage.dependencies import Dependencies, Seen, Wait, expanded, task_graph
from tests.compiled import branch, compiled, gate, given, launch, promise, sub, task

CLOSURES = Path(__file__).parent.parent.parent / "shared" / "data" / "flyte-closures"


def graph(*nodes, **more):
    """What each task waits for when all arms count as taken; those that wait for none left out."""
    found = task_graph(read_closure(compiled(*nodes, **more)))
    return {id: sorted(upstream) for id, upstream in found.items() if upstream}


class TestValues:
    def test_value_comes_from_the_task_that_gives_it(self):
        assert graph(task("n0"), task("n1", a=promise("n0"))) == {"n1": ["n0"]}

    def test_input_of_the_workflow_comes_from_nobody(self):
        assert graph(task("n0", a=given())) == {}

    def test_value_goes_into_a_sub_workflow_by_the_input_that_is_used(self):
        """Whoever does not use it does not wait for it."""
        inner = [task("m0", a=given("x")), task("m1", a=given("y")), task("m2")]

        assert graph(
            task("n0"),
            task("n1"),
            sub("n2", "app.inner", x=promise("n0"), y=promise("n1")),
            subs={"app.inner": inner},
        ) == {"n2/m0": ["n0"], "n2/m1": ["n1"]}

    def test_value_comes_out_of_a_sub_workflow_by_the_output_that_is_used(self):
        assert graph(
            sub("n0", "app.inner"),
            task("n1", a=promise("n0", "second")),
            subs={"app.inner": [task("m0"), task("m1")]},
            sub_outputs={"app.inner": {"first": promise("m0"), "second": promise("m1")}},
        ) == {"n1": ["n0/m1"]}

    def test_sub_workflow_may_hand_through_what_it_was_given(self):
        assert graph(
            task("n0"),
            sub("n1", "app.inner", x=promise("n0")),
            task("n2", a=promise("n1", "same")),
            subs={"app.inner": [task("m0")]},
            sub_outputs={"app.inner": {"same": given("x")}},
        ) == {"n2": ["n0"]}

    def test_value_of_a_branch_may_come_from_any_arm(self):
        arms = [task("n1-n0", a=promise("n0")), task("n1-n1")]

        assert graph(task("n0"), branch("n1", arms), task("n2", a=promise("n1"))) == {
            "n1/n1-n0": ["n0"],
            "n2": ["n1/n1-n0", "n1/n1-n1"],
        }

    def test_gate_that_approves_hands_on(self):
        assert graph(
            task("n0"),
            task("n1"),
            gate("n2", "approve", a=promise("n0"), b=promise("n1")),
            task("n3", x=promise("n2", "a")),
        ) == {"n3": ["n0"]}

    @pytest.mark.parametrize("between", [gate("n1", "signal", ["n0"]), launch("n1", ["n0"])])
    def test_what_waits_for_no_task_waits_for_what_that_waited_for(self, between):
        """A signal comes from a person, and a launch plan is another execution."""
        assert graph(task("n0"), between, task("n2", a=promise("n1"))) == {"n2": ["n0"]}


class TestChains:
    def test_chain_is_a_dependency_without_a_value(self):
        assert graph(task("n0"), task("n1", ["n0"])) == {"n1": ["n0"]}

    def test_chain_into_a_sub_workflow_holds_for_its_first_tasks(self):
        inner = [task("m0"), task("m1", a=given("x")), task("m2", a=promise("m0"))]

        assert graph(task("n0"), sub("n1", "app.inner", ["n0"]), subs={"app.inner": inner}) == {
            "n1/m0": ["n0"],
            "n1/m1": ["n0"],
            "n1/m2": ["n1/m0"],
        }

    def test_chain_after_a_sub_workflow_is_after_its_last_tasks(self):
        inner = [task("m0"), task("m1", a=promise("m0")), task("m2")]

        found = graph(sub("n0", "app.inner"), task("n1", ["n0"]), subs={"app.inner": inner})

        assert found["n1"] == ["n0/m1", "n0/m2"]

    def test_chain_goes_on_behind_a_sub_workflow_that_runs_nothing(self):
        nodes = [task("n0"), sub("n1", "app.inner", ["n0"]), task("n2", ["n1"])]

        assert graph(*nodes, subs={"app.inner": []}) == {"n2": ["n0"]}

    def test_condition_holds_for_every_arm(self):
        arms = [task("n1-n0"), task("n1-n1", a=given())]

        assert graph(task("n0"), branch("n1", arms, ["n0"], **{".a": promise("n0")})) == {
            "n1/n1-n0": ["n0"],
            "n1/n1-n1": ["n0"],
        }

    def test_condition_reaches_the_first_tasks_of_a_sub_workflow_in_an_arm(self):
        arms = [sub("n1-n0", "app.inner"), task("n1-n1")]

        found = graph(
            task("n0"),
            branch("n1", arms, ["n0"], a=promise("n0")),
            subs={"app.inner": [task("m0"), task("m1", ["m0"])]},
        )

        assert found["n1/n1-n0/m0"] == ["n0"]
        assert found["n1/n1-n0/m1"] == ["n1/n1-n0/m0"]

    def test_arms_of_arms_wait_for_both_conditions(self):
        inner = branch("n2-n0", [task("n2-n0-n0"), task("n2-n0-n1")], c=promise("n1"))

        found = graph(task("n0"), task("n1"), branch("n2", [inner, task("n2-n1")], c=promise("n0")))

        assert found["n2/n2-n0/n2-n0-n0"] == ["n0", "n1"]
        assert found["n2/n2-n1"] == ["n0"]

    def test_sleep_is_waited_through(self):
        assert graph(task("n0"), gate("n1", "sleep", ["n0"]), task("n2", ["n1"])) == {"n2": ["n0"]}

    def test_thousand_gates_in_a_row_are_followed(self):
        """One call inside the other would be too deep for Python."""
        gates = [gate(f"g{i}", "sleep", [f"g{i - 1}" if i else "n0"]) for i in range(2000)]

        assert graph(task("n0"), *reversed(gates), task("n1", ["g1999"])) == {"n1": ["n0"]}


class TestReasons:
    ARMS = (sub("n3-n0", "app.inner", x=promise("n1")), task("n3-n1"))
    CLOSURE = compiled(
        task("n0"),
        task("n1", a=given()),
        task("n2", ["n0"], a=promise("n1"), b=promise("n1", "o1")),
        branch("n3", ARMS, ["n1", "n2"], c=promise("n0")),
        subs={"app.inner": [task("m0", a=given("x"))]},
    )

    def told(self, id):
        definition = read_closure(self.CLOSURE)
        found = Dependencies(expanded(definition), definition)
        waits = list(found.waits(id))
        assert frozenset().union(*(wait.tasks for wait in waits)) == found.upstream(id)
        return [wait for wait in waits if wait.tasks]

    def test_each_value_and_each_chain_is_a_reason(self):
        assert self.told("n2") == [
            Wait(frozenset({"n1"}), "n1", "o0", "a"),
            Wait(frozenset({"n1"}), "n1", "o1", "b"),
            Wait(frozenset({"n0"}), "n0"),
        ]

    def test_what_something_around_waits_for_is_one_too(self):
        assert self.told("n3/n3-n0/m0") == [
            Wait(frozenset({"n1"}), "start-node", "x", "a"),
            Wait(frozenset({"n0", "n1", "n2"})),
        ]

    def test_node_that_is_not_known_has_none(self):
        assert self.told("n9") == []

    def test_chain_into_a_branch_holds_for_every_arm(self):
        """Also where one of them is given a value of the same node."""
        arms = [task("n1-n0", a=promise("n0")), task("n1-n1")]

        assert graph(task("n0"), branch("n1", arms, ["n0"])) == {
            "n1/n1-n0": ["n0"],
            "n1/n1-n1": ["n0"],
        }

    def test_chain_into_an_approval_holds_for_what_it_hands_on(self):
        assert graph(
            task("n0"),
            task("n1"),
            gate("n2", "approve", ["n1"], a=promise("n0")),
            task("n3", x=promise("n2", "a")),
        ) == {"n3": ["n0", "n1"]}

    def test_branches_may_stand_before_what_their_arms_are_given(self):
        """The order of a closure says nothing."""
        branches = [
            branch(f"b{i}", [task(f"b{i}-n0", x=promise(f"b{i - 1}")), task(f"b{i}-n1")])
            for i in range(1, 200)
        ]

        found = graph(*reversed(branches), task("b0"))

        assert found["b3/b3-n0"] == ["b2/b2-n0", "b2/b2-n1"]


class TestParts:
    """A promise may name a part of an output: an item of a list, a field of a record."""

    def lists(self, *path):
        outputs = literals_pb2.BindingData(
            collection=literals_pb2.BindingDataCollection(bindings=[promise("m0"), promise("m1")])
        )
        steps = [types_pb2.PromiseAttribute(int_value=step) for step in path]
        part = promise("n0", "all")
        part.promise.attr_path.extend(steps)
        return graph(
            sub("n0", "app.inner"),
            task("n1", a=part),
            subs={"app.inner": [task("m0"), task("m1")]},
            sub_outputs={"app.inner": {"all": outputs}},
        )

    def test_item_comes_from_who_gives_that_item(self):
        assert self.lists(1) == {"n1": ["n0/m1"]}

    def test_whole_list_comes_from_all(self):
        assert self.lists() == {"n1": ["n0/m0", "n0/m1"]}


class TestWhatRan:
    def test_arm_that_was_not_taken_is_no_dependency(self):
        arms = [task("n0-n0"), task("n0-n1")]
        definition = read_closure(compiled(branch("n0", arms), task("n1", a=promise("n0"))))
        nodes = [
            Seen("n0", "n0", whole=True),
            Seen("n0-0-n0-n1", "n0-n1", "n0", runs_task=True),
            Seen("n1", "n1", runs_task=True),
        ]

        assert Dependencies(nodes, definition).upstream("n1") == {"n0-0-n0-n1"}

    def test_dynamic_node_and_who_gave_its_output_are_both_awaited(self):
        """The node made the graph; the child made the value."""
        definition = read_closure(compiled(task("n0"), task("n1", a=promise("n0"))))
        made = read_closure(
            compiled(task("d0"), task("d1", a=promise("d0")), outputs={"o0": promise("d1")})
        )
        nodes = [
            Seen("n0", "n0", made=made, runs_task=True, whole=True),
            Seen("n0-0-d0", "d0", "n0", runs_task=True),
            Seen("n0-0-d1", "d1", "n0", runs_task=True),
            Seen("n1", "n1", runs_task=True),
        ]

        found = Dependencies(nodes, definition)

        assert found.upstream("n1") == {"n0", "n0-0-d1"}
        assert found.upstream("n0-0-d1") == {"n0-0-d0"}
        assert found.upstream("n0-0-d0") == set()

    def test_graph_of_a_dynamic_node_is_known_without_the_workflow_s(self):
        made = read_closure(compiled(task("d0"), task("d1", ["d0"])))
        nodes = [
            Seen("n0", "n0", made=made, runs_task=True),
            Seen("x", "d0", "n0", runs_task=True),
            Seen("y", "d1", "n0", runs_task=True),
        ]

        found = Dependencies(nodes, None)

        assert found.upstream("y") == {"x"}
        assert (found.knows("y"), found.knows("n0")) == (True, False)

    def test_task_that_only_an_untaken_arm_needs_is_one_of_the_last(self):
        """So what comes after its sub-workflow comes after it."""
        arms = [task("m1-n0", x=promise("m0")), task("m1-n1")]
        definition = read_closure(
            compiled(
                sub("n0", "app.inner"),
                task("n1", ["n0"]),
                subs={"app.inner": [task("m0"), branch("m1", arms)]},
            )
        )
        inside = [("n0-0-m0", "m0", "n0"), ("n0-0-m1", "m1", "n0"), ("x", "m1-n1", "n0-0-m1")]
        nodes = [
            Seen("n0", "n0"),
            *(Seen(id, spec, parent, runs_task=spec != "m1") for id, spec, parent in inside),
            Seen("n1", "n1", runs_task=True),
        ]

        assert Dependencies(nodes, definition).upstream("n1") == {"n0-0-m0", "x"}

    def test_what_must_have_run_is_missed(self):
        arms = [task("n1-n0"), task("n1-n1")]
        inner = {"app.inner": [task("m0"), task("m1")]}
        definition = read_closure(
            compiled(task("n0"), branch("n1", arms), sub("n2", "app.inner"), subs=inner,
                     failure=task("fn0"))
        )  # fmt: skip
        nodes = [
            Seen("n1", "n1", whole=True),
            Seen("n2", "n2", whole=True),
            Seen("n2-0-m0", "m0", "n2", runs_task=True),
        ]

        assert set(Dependencies(nodes, definition).missing()) == {
            "no event of node n0",
            "no event of any arm of branch n1",
            "no event of node m1 inside n2",
        }

    def test_what_was_taken_over_made_no_nodes(self):
        """Children of a recovered sub-workflow emit nothing."""
        definition = read_closure(
            compiled(sub("n0", "app.inner"), subs={"app.inner": [task("m0")]})
        )

        assert list(Dependencies([Seen("n0", "n0", whole=False)], definition).missing()) == []


class TestBounds:
    def test_too_many_dependencies_are_none(self, monkeypatch):
        """A gate between many and many multiplies them."""
        monkeypatch.setattr(dependencies, "MAX_DEPENDENCIES", 50)
        before = [task(f"a{i}") for i in range(10)]
        after = [task(f"b{i}", ["g"]) for i in range(10)]
        closure = compiled(*before, gate("g", "sleep", [f"a{i}" for i in range(10)]), *after)
        definition = read_closure(closure)

        found = Dependencies(expanded(definition), definition)

        assert found.too_many
        assert found.upstream("b0") == set()

    def test_circle_ends(self):
        assert graph(task("a", x=promise("b")), task("b", x=promise("a"))) == {
            "a": ["b"],
            "b": ["a"],
        }

    def test_sub_workflows_inside_each_other_are_bounded(self):
        """Each level doubles: twenty of them would be a million nodes."""
        subs = {
            f"w{i}": [sub("l", f"w{i + 1}"), sub("r", f"w{i + 1}")] if i < 20 else [task("t")]
            for i in range(21)
        }

        definition = read_closure(compiled(sub("n0", "w0"), subs=subs))

        assert sum(1 for _ in expanded(definition, limit=500)) == 500
        assert len(definition.places["app.t"]) == 2


# The task graphs of Flyte's own examples, drawn by hand from their source code.
REAL = {
    "raw_container.wf": {"n5": ["n0", "n1", "n2", "n3", "n4"]},
    "chain_tasks_wf": {"n1": ["n0"]},
    "conditions.multiplier": {},
    "conditions.multiplier_3": {"n1": ["n0/n0-n0", "n0/n0-n1"]},
    "bool_input_wf": {},
    "consume_outputs": {
        "n1/n1-n0": ["n0"],
        "n1/n1-n1": ["n0"],
        "n2": ["n1/n1-n0", "n1/n1-n1"],
    },
    "my_map_workflow": {"n1": ["n0"]},
    "my_subwf": {"n1": ["n0"]},
    "custom_task_plugin.my_workflow": {"n1": ["n0"]},
    "basic_workflow.my_wf": {"n1": ["n0"]},
    "decorating_workflows.wf": {"n1": ["n0"], "n2": ["n1"], "n3": ["n2"]},
    "numpy_docstring": {},
    "normalize_csv_file": {},
    "hello_world.my_wf": {},
    "lp.my_wf": {},
    "named_outputs.my_wf": {},
    "cached_dataframe_wf": {"n1": ["n0"], "n2": ["n0", "n1"], "n3": ["n1", "n2"]},
    "positive_wf": {},
    "enum_wf": {"n1": ["n0"]},
    "df_wf": {"n1": ["n0"]},
    "schema_compatibility_wf": {"n1": ["n0"], "n2": ["n1"]},
}


@pytest.mark.skipif(not CLOSURES.is_dir(), reason="Flyte's example workflows are not here")
class TestRealWorkflows:
    def test_every_file_is_covered(self):
        assert len(list(CLOSURES.glob("*.json"))) == len(REAL)

    @pytest.mark.parametrize("name", REAL)
    def test_compiled_workflow_gives_its_exact_task_graph(self, name):
        (path,) = [path for path in CLOSURES.glob("*.json") if f"{name}_2_wf" in path.name]
        closure = json_format.ParseDict(
            json.loads(path.read_text()), compiler_pb2.CompiledWorkflowClosure()
        )

        found = task_graph(read_closure(closure.SerializeToString()))

        assert {id: sorted(above) for id, above in found.items() if above} == REAL[name]
