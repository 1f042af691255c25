from __future__ import annotations

import pytest
from flyteidl.admin import launch_plan_pb2, schedule_pb2, workflow_pb2
from flyteidl.core import (
    compiler_pb2,
    identifier_pb2,
    interface_pb2,
    literals_pb2,
    tasks_pb2,
    types_pb2,
)
from flyteidl.core import workflow_pb2 as core

from flytelineage.definitions import (
    Promise,
    descriptions,
    parts,
    read_closure,
    read_schedule,
    read_workflow,
)
from flytelineage.errors import ReadError
from flytelineage.facts import Identifier
from tests.compiled import branch, compiled, gate, node, promise, sub, task


class TestGraphs:
    def test_bindings_of_any_shape_are_values(self):
        """Lists and maps of promises are promises."""
        make = literals_pb2.BindingData
        listed = make(
            collection=literals_pb2.BindingDataCollection(
                bindings=[promise("n0"), make(scalar=literals_pb2.Scalar())]
            )
        )
        mapped = make(map=literals_pb2.BindingDataMap(bindings={"k": promise("n1", "o1")}))

        found = read_closure(compiled(task("n0"), task("n1"), task("n2", a=listed, b=mapped)))

        assert found.primary.nodes["n2"].inputs == {
            "a": (Promise("n0", "o0", at=(0,)),),
            "b": (Promise("n1", "o1", at=("k",)),),
        }

    def test_what_a_binding_names_is_no_chain(self):
        """`upstream_node_ids` repeats the nodes of bindings; what is left was chained."""
        found = read_closure(
            compiled(task("n0"), task("n1"), task("n2", ["n0", "n1"], a=promise("n0")))
        )

        assert found.primary.nodes["n2"].chained == ("n1",)

    def test_connections_tell_chains_too(self):
        """Both places are read: one of them suffices."""
        found = read_closure(
            compiled(task("n0"), task("n1"), upstream={"n1": ["n0", "start-node"]})
        )

        assert found.primary.nodes["n1"].chained == ("n0",)

    def test_what_an_arm_is_given_is_the_arms_alone(self):
        """The branch itself waits for its condition, and for what it was chained after."""
        arms = [task("n2-n0", a=promise("n0")), task("n2-n1", a=promise("n1"))]
        found = read_closure(
            compiled(task("n0"), task("n1"), task("n3"), branch("n2", arms, upstream=["n3"]))
        )

        assert found.primary.nodes["n2"].chained == ("n3",)
        assert found.primary.nodes["n2-n0"].arm_of == "n2"

    def test_array_node_is_the_task_that_it_maps(self):
        message = node("n1", a=promise("n0"))
        message.array_node.node.CopyFrom(task("n1", name="app.mapped"))

        found = read_closure(compiled(task("n0"), message)).primary.nodes["n1"]

        assert (found.kind, found.task.name) == ("task", "app.mapped")

    def test_nodes_come_after_what_they_wait_for(self):
        """Whatever order the closure has them in."""
        found = read_closure(
            compiled(task("a", x=promise("b")), task("b", x=promise("c")), task("c"))
        )

        assert list(found.primary.nodes) == ["c", "b", "a"]

    def test_circle_is_kept_although_nothing_comes_first_in_it(self):
        """Flyte refuses it; reading must end all the same."""
        found = read_closure(compiled(task("a", x=promise("b")), task("b", x=promise("a"))))

        assert set(found.primary.nodes) == {"a", "b"}

    def test_sinks_are_what_nobody_waits_for(self):
        """The failure node waits for nothing that counts."""
        data = compiled(
            task("n0"), task("n1", x=promise("n0")), task("n2", ["n0"]),
            failure=task("fn0", x=promise("n2")),
        )  # fmt: skip

        assert set(read_closure(data).primary.sinks({"n0", "n1", "n2"})) == {"n1", "n2"}

    def test_what_only_an_arm_needs_that_was_not_taken_is_a_sink(self):
        arms = [task("n1-n0", x=promise("n0")), task("n1-n1")]
        graph = read_closure(compiled(task("n0"), branch("n1", arms))).primary

        assert set(graph.sinks({"n0", "n1", "n1-n0"})) == {"n1"}
        assert set(graph.sinks({"n0", "n1", "n1-n1"})) == {"n0", "n1"}

    @pytest.mark.parametrize(
        ("path", "given"),
        [((), "ab"), ((0,), "a"), ((1, "x"), "b"), (("no such",), "ab")],
    )
    def test_part_of_a_list_is_given_by_who_gives_that_part(self, path, given):
        bound = [Promise("a", "o0", at=(0,)), Promise("b", "o0", at=(1,))]

        assert "".join(promise.node for promise in parts(bound, path)) == given

    def test_part_of_a_part_is_asked_of_who_gives_it(self):
        """What is left of the path goes on from there."""
        (found,) = parts([Promise("a", "o0", path=("f",))], ("g", 2))

        assert found.path == ("f", "g", 2)

    def test_task_at_two_nodes_stands_at_several(self):
        """Also where the second one is inside of a sub-workflow, or that stands twice."""
        inner = {"app.inner": [task("n0", name="app.twice"), task("n1", name="app.once")]}
        once = compiled(sub("n0", "app.inner"), task("n1", name="app.twice"), subs=inner)
        twice = compiled(sub("n0", "app.inner"), sub("n1", "app.inner"), subs=inner)

        assert read_closure(once).places == {"app.twice": {"n0/n0", "n1"}, "app.once": {"n0/n1"}}
        assert read_closure(twice).places["app.once"] == {"n0/n1", "n1/n1"}

    def test_sub_workflow_inside_itself_ends(self):
        data = compiled(sub("n0", "app.inner"), subs={"app.inner": [sub("n0", "app.inner")]})

        assert read_closure(data).places == {}


class TestWhatElseIsRead:
    @pytest.mark.parametrize(
        ("runs", "said"),
        [
            ({"sql": tasks_pb2.Sql(statement="select 1")}, ("select 1", "", "")),
            (
                {"container": tasks_pb2.Container(image="app:1", command=["sh"], args=["-c", "x"])},
                ("", "app:1", "sh -c x"),
            ),
        ],
    )
    def test_task_says_what_it_runs(self, runs, said):
        name = identifier_pb2.Identifier(name="app.load", version="v1")
        template = tasks_pb2.TaskTemplate(id=name, type="some-task", **runs)
        closure = compiler_pb2.CompiledWorkflowClosure(
            tasks=[compiler_pb2.CompiledTask(template=template)]
        )

        found = read_closure(closure.SerializeToString()).tasks[
            Identifier("", "", "app.load", "v1")
        ]

        assert found.type == "some-task"
        assert (found.sql, found.image, found.entry_point) == said

    def test_answer_of_flyteadmin_has_a_description(self):
        answer = workflow_pb2.Workflow(short_description="Loads the shop")
        answer.closure.compiled_workflow.ParseFromString(compiled(task("n0")))

        found = read_workflow(answer.SerializeToString())

        assert (found.description, list(found.primary.nodes)) == ("Loads the shop", ["n0"])

    @pytest.mark.parametrize(
        ("schedule", "text"),
        [
            ({}, ""),
            ({"cron_expression": "0 5 * * ? *"}, "cron: 0 5 * * ? *"),
            ({"cron_schedule": schedule_pb2.CronSchedule(schedule="@daily")}, "cron: @daily"),
            ({"rate": schedule_pb2.FixedRate(value=5, unit="HOUR")}, "every 5 hour"),
        ],
    )
    def test_launch_plan_says_when_it_runs(self, schedule, text):
        plan = launch_plan_pb2.LaunchPlan()
        plan.spec.entity_metadata.schedule.CopyFrom(schedule_pb2.Schedule(**schedule))

        assert read_schedule(plan.SerializeToString()) == text

    def test_outputs_have_descriptions(self):
        """Flytekit repeats the name of what nobody described."""
        of_any = types_pb2.LiteralType()
        variables = {
            name: interface_pb2.Variable(type=of_any, description=text)
            for name, text in {"o0": "All sales", "o1": "o1", "o2": ""}.items()
        }
        interface = interface_pb2.TypedInterface(
            outputs=interface_pb2.VariableMap(variables=variables)
        )

        assert descriptions(interface.SerializeToString()) == {"o0": "All sales"}

    @pytest.mark.parametrize("read", [read_closure, read_workflow, read_schedule])
    def test_what_is_none_is_refused(self, read):
        with pytest.raises(ReadError):
            read(b"\xff\xff\xff")


def test_gate_that_approves_hands_on_and_others_do_not():
    found = read_closure(compiled(gate("n0", "approve"), gate("n1", "sleep"), gate("n2", "signal")))

    assert [one.kind for one in found.primary.nodes.values()] == ["approval", "gate", "gate"]
    assert isinstance(gate("n0", "approve"), core.Node)
