"""The double of FlyteAdmin, asked by a bare gRPC stub."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone

import grpc
import pytest
from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    node_execution_pb2,
    project_pb2,
    task_execution_pb2,
    version_pb2,
)
from flyteidl.core import execution_pb2 as core_pb2
from flyteidl.core import identifier_pb2
from flyteidl.service import admin_pb2_grpc, auth_pb2, auth_pb2_grpc

from flytelineage.testing.flyteadmin import Fault, FlyteAdminDouble
from flytelineage.testing.flyteadmin.server import HEADER
from flytelineage.testing.simulator import (
    Dynamic,
    Frame,
    Input,
    LaunchPlan,
    MemoryStorage,
    Node,
    Outcome,
    Output,
    Stream,
    Task,
    Workflow,
    simulate,
)

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SUCCEEDED = core_pb2.NodeExecution.SUCCEEDED


def play(name: str, **more: object) -> Stream:
    """A task, a dynamic task and a launch plan, one after the other."""
    body = Workflow(
        "app.body",
        (Node("dn0", Task("app.inner", {"o0": Frame()}), {"a": Input("a")}),),
        inputs={"a": Frame()},
        outputs={"o0": Output("dn0")},
    )
    workflow = Workflow(
        "app.flow",
        (
            Node("n0", Task("app.load", {"o0": Frame()})),
            Node("n1", Dynamic(Task("app.loop"), body), {"a": Output("n0")}),
            Node("n2", LaunchPlan(body), {"a": Output("n1")}),
        ),
    )
    return simulate(workflow, name, MemoryStorage(), start=START, fast=True, **more)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return play("a1b2", outcomes={"n1": Outcome(closure_lost=True)})


@pytest.fixture
def double(stream: Stream) -> Iterator[FlyteAdminDouble]:
    with FlyteAdminDouble([stream]) as double:
        yield double


@pytest.fixture
def admin(double: FlyteAdminDouble) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    with grpc.insecure_channel(double.endpoint) as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def execution_id(name: str = "a1b2"):
    return identifier_pb2.WorkflowExecutionIdentifier(
        project="flytesnacks", domain="development", name=name
    )


def node_id(node: str, name: str = "a1b2"):
    return identifier_pb2.NodeExecutionIdentifier(node_id=node, execution_id=execution_id(name))


def nodes(admin, **fields):
    return admin.ListNodeExecutions(
        node_execution_pb2.NodeExecutionListRequest(
            **{"workflow_execution_id": execution_id(), "limit": 100, **fields}
        )
    )


def ids(answer) -> list[str]:
    return [node.id.node_id for node in answer.node_executions]


# ------------------------------------------------------------------- what it knows


def test_an_execution_is_as_it_ended(admin) -> None:
    """Admin keeps the last phase, when it began, and how long it took."""
    found = admin.GetExecution(execution_pb2.WorkflowExecutionGetRequest(id=execution_id()))

    assert found.closure.phase == core_pb2.WorkflowExecution.SUCCEEDED
    assert found.closure.workflow_id.name == found.spec.launch_plan.name == "app.flow"
    assert found.closure.duration.ToSeconds() > 0
    assert found.closure.outputs.uri.endswith("/end-node/data/0/outputs.pb")


def test_a_child_names_its_parent(admin, stream: Stream) -> None:
    """What no event says."""
    child = stream.children[0].execution.reports.execution

    found = admin.GetExecution(execution_pb2.WorkflowExecutionGetRequest(id=child))

    assert found.spec.metadata.parent_node_execution == node_id("n2")
    assert found.spec.metadata.mode == execution_pb2.ExecutionMetadata.CHILD_WORKFLOW


def test_a_list_has_one_level(admin) -> None:
    """The top, or what is inside of one node."""
    assert ids(nodes(admin)) == ["start-node", "n0", "n1", "n2", "end-node"]
    assert ids(nodes(admin, unique_parent_id="n1")) == [
        "n1-0-start-node", "n1-0-dn0", "n1-0-end-node",
    ]  # fmt: skip


def test_what_was_not_published_is_known(admin, stream: Stream) -> None:
    """Events get lost on the way to the queue, not on the way to Admin."""
    assert not any("DYNAMIC_RUNNING" in str(request) for request in stream.requests)

    request = node_execution_pb2.GetDynamicNodeWorkflowRequest(id=node_id("n1"))
    answer = admin.GetDynamicNodeWorkflow(request)

    assert [task.template.id.name for task in answer.compiled_workflow.tasks] == ["app.inner"]


def test_a_node_with_its_data(admin) -> None:
    """What went in, what came out, and the graph."""
    request = node_execution_pb2.NodeExecutionGetDataRequest(id=node_id("n1"))

    answer = admin.GetNodeExecutionData(request)

    assert set(answer.full_inputs.literals) == {"a"}
    assert set(answer.full_outputs.literals) == {"o0"}
    assert answer.dynamic_workflow.dynamic_job_spec_uri.endswith("/n1/data/0/futures.pb")


def test_attempts_are_listed(admin) -> None:
    """With phase, links and task type."""
    request = task_execution_pb2.TaskExecutionListRequest(node_execution_id=node_id("n0"), limit=5)

    (found,) = admin.ListTaskExecutions(request).task_executions

    again = admin.GetTaskExecution(task_execution_pb2.TaskExecutionGetRequest(id=found.id))
    assert found == again
    assert (found.id.task_id.name, found.closure.task_type) == ("app.load", "python-task")
    assert found.closure.phase == core_pb2.TaskExecution.SUCCEEDED


@pytest.mark.parametrize(
    ("method", "name"),
    [("GetWorkflow", "app.flow"), ("GetLaunchPlan", "app.body"), ("GetTask", "app.load")],
)
def test_definitions_are_known_by_version(admin, method: str, name: str) -> None:
    """Another version is not known."""
    id = identifier_pb2.Identifier(
        project="flytesnacks", domain="development", name=name, version="v1"
    )
    other = identifier_pb2.Identifier()
    other.CopyFrom(id)
    other.version = "v2"

    assert getattr(admin, method)(common_pb2.ObjectGetRequest(id=id)).id.name == name
    with pytest.raises(grpc.RpcError) as refused:
        getattr(admin, method)(common_pb2.ObjectGetRequest(id=other))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_it_says_what_it_is(admin) -> None:
    """A release, and the projects that it has."""
    version = admin.GetVersion(version_pb2.GetVersionRequest()).control_plane_version
    projects = admin.ListProjects(project_pb2.ProjectListRequest()).projects

    assert (version.Version, [project.id for project in projects]) == ("v1.16.8", ["flytesnacks"])


# --------------------------------------------------------------------------- lists


def test_a_full_page_has_a_token(admin) -> None:
    """Also the last one, if it is full: Admin does not look ahead."""
    by_id = common_pb2.Sort(key="node_id", direction=common_pb2.Sort.DESCENDING)

    first = nodes(admin, limit=3, sort_by=by_id)
    second = nodes(admin, limit=3, sort_by=by_id, token=first.token)
    whole = nodes(admin, limit=5)

    assert (ids(first), first.token) == (["start-node", "n2", "n1"], "3")
    assert (ids(second), second.token) == (["n0", "end-node"], "")
    assert ids(nodes(admin, limit=5, token=whole.token)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"filters": "like(node_id,n0)"},
        {"filters": "eq(colour,red)"},
        {"sort_by": common_pb2.Sort(key="colour")},
    ],
)
def test_a_wrong_list_is_refused(admin, fields: dict[str, object]) -> None:
    """As Admin refuses it, so that a wrong request is noticed here."""
    with pytest.raises(grpc.RpcError) as refused:
        nodes(admin, **fields)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_lists_cut_messages(admin, double: FlyteAdminDouble) -> None:
    """A node alone is told whole."""
    double.database.node(node_id("n0")).closure.error.message = "ä" * 80 + "x"

    listed = nodes(admin, filters="eq(node_id,n0)").node_executions[0]
    alone = admin.GetNodeExecution(node_execution_pb2.NodeExecutionGetRequest(id=node_id("n0")))

    assert listed.closure.error.message == "ä" * 50
    assert alone.closure.error.message == "ä" * 80 + "x"


# -------------------------------------------------------------------------- faults


def code_of(call) -> str:
    try:
        call()
    except grpc.RpcError as exc:
        return exc.code().name
    return "OK"


def test_calls_fare_as_told(admin, double: FlyteAdminDouble) -> None:
    """A script holds for one call each, `always` for all others."""
    double.script("GetExecution", [Fault("UNAVAILABLE"), Fault()])

    def ask() -> str:
        request = execution_pb2.WorkflowExecutionGetRequest(id=execution_id())
        return code_of(lambda: admin.GetExecution(request))

    scripted = [ask(), ask(), ask()]
    double.always = Fault("PERMISSION_DENIED")
    assert [*scripted, ask()] == ["UNAVAILABLE", "OK", "OK", "PERMISSION_DENIED"]
    assert double.calls["GetExecution"] == 4


def test_it_dies_in_a_call_and_starts_again(admin, double: FlyteAdminDouble) -> None:
    """On the same port, with the same rows."""
    double.script("GetVersion", [Fault(dies=True)])

    died = code_of(lambda: admin.GetVersion(version_pb2.GetVersionRequest()))
    double.start()

    with grpc.insecure_channel(double.endpoint) as channel:
        again = admin_pb2_grpc.AdminServiceStub(channel)
        assert died == "UNAVAILABLE"
        assert ids(nodes(again))


def test_a_token_is_wanted(stream: Stream) -> None:
    """AdminService is closed without one; where to get it is said to everybody."""
    with (
        FlyteAdminDouble([stream], client_secret="s3 cret") as double,
        grpc.insecure_channel(double.endpoint) as channel,
    ):
        admin = admin_pb2_grpc.AdminServiceStub(channel)
        metadata = auth_pb2_grpc.AuthMetadataServiceStub(channel)
        said = metadata.GetOAuth2Metadata(auth_pb2.OAuth2MetadataRequest())
        token = fetch(said.token_endpoint, "flytelineage:s3+cret")

        def ask(token: str) -> str:
            headers = [(HEADER, f"Bearer {token}")]
            request = version_pb2.GetVersionRequest()
            return code_of(lambda: admin.GetVersion(request, metadata=headers))

        assert (ask("nonsense"), ask(token)) == ("UNAUTHENTICATED", "OK")
        double.identity.expire()
        assert ask(token) == "UNAUTHENTICATED"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetch(said.token_endpoint, "flytelineage:guessed")


def fetch(url: str, user: str) -> str:
    header = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    request = urllib.request.Request(url, data=b"grant_type=client_credentials", headers=header)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["access_token"]
    except urllib.error.HTTPError as exc:
        exc.close()
        raise
