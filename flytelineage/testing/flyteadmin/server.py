"""The gRPC server of the double: AdminService, AuthMetadataService, and faults."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timezone
from typing import Any

import grpc
from flyteidl.admin import (
    execution_pb2,
    node_execution_pb2,
    project_pb2,
    task_execution_pb2,
    version_pb2,
)
from flyteidl.service import admin_pb2_grpc, auth_pb2, auth_pb2_grpc

from flytelineage.testing.flyteadmin.database import Database, key_of, literals
from flytelineage.testing.flyteadmin.lists import Columns, InvalidList, listed, trimmed
from flytelineage.testing.flyteadmin.tokens import IdentityProvider
from flytelineage.testing.simulator import Stream

HEADER = "flyte-authorization"
"""In which header Admin wants the token; operators may choose."""

_EXECUTION_COLUMNS: Columns = {
    "execution_created_at": lambda row: row.closure.created_at.ToDatetime(tzinfo=timezone.utc),
    "execution_name": lambda row: row.id.name,
    "phase": lambda row: _phase(row),
}
_NODE_COLUMNS: Columns = {
    "node_id": lambda row: row.id.node_id,
    "created_at": lambda row: row.closure.created_at.ToNanoseconds(),
    "phase": lambda row: _phase(row),
}
_TASK_COLUMNS: Columns = {
    "retry_attempt": lambda row: row.id.retry_attempt,
    "created_at": lambda row: row.closure.created_at.ToNanoseconds(),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call.

    Attributes:
        code: The name of a status: answered instead of a result.
        details: The text that comes with it.
        delay_seconds: How much later the call is worked on, in real time.
        dies: The server goes away in the middle of the call; `start` brings it back.
    """

    code: str = ""
    details: str = "as told"
    delay_seconds: float = 0.0
    dies: bool = False


NO_FAULT = Fault()


class FlyteAdminDouble:
    """A server on a free port of loopback, from entering it to leaving it.

    Args:
        streams: What it knows; `add` tells it more.
        client_secret: Not empty: calls need a token, which the machine user
            `flytelineage` gets for this secret from `identity`.
        tls: Key and certificate in PEM, to listen with TLS.

    Attributes:
        database: Its rows, to take some away.
        calls: How often each method of AdminService was called.
        always: The fault of every call for which no script says otherwise.
        identity: The identity provider; `None` where nobody signs in.
    """

    def __init__(
        self,
        streams: Iterable[Stream] = (),
        *,
        client_secret: str = "",
        tls: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.database = Database()
        self.calls: Counter[str] = Counter()
        self.always: Fault | None = None
        self.identity = IdentityProvider("flytelineage", client_secret) if client_secret else None
        self._tls = tls
        self._scripts: dict[str, deque[Fault]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server: Any = None
        self._port = 0
        for stream in streams:
            self.add(stream)

    def __enter__(self) -> FlyteAdminDouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.identity is not None:
            self.identity.close()

    @property
    def endpoint(self) -> str:
        """Where it listens, as `FlyteAdmin.endpoint` takes it; the same after a restart."""
        return f"127.0.0.1:{self._port}"

    def add(self, stream: Stream) -> None:
        """Know another execution, and those that it launched."""
        with self._lock:
            self.database.add(stream)

    def script(self, method: str, faults: Iterable[Fault]) -> None:
        """Let the next calls of a method fare like this, one each."""
        with self._lock:
            self._scripts.setdefault(method, deque()).extend(faults)

    def start(self) -> None:
        """Listen; after a stop on the same port."""
        self._stopping.clear()
        self._server = grpc.server(
            ThreadPoolExecutor(4, thread_name_prefix="flyteadmin-double"),
            interceptors=[_Gate(self)],
            options=[("grpc.so_reuseport", 0)],
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(_Admin(self.database), self._server)
        auth_pb2_grpc.add_AuthMetadataServiceServicer_to_server(_Auth(self), self._server)
        address = f"127.0.0.1:{self._port}"
        if self._tls:
            credentials = grpc.ssl_server_credentials([self._tls])
            self._port = self._server.add_secure_port(address, credentials)
        else:
            self._port = self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        """Go away; calls that are worked on break off."""
        self._stopping.set()
        self._server.stop(None).wait()

    # ---------------------------------------------------------------- for the gate

    def admit(self, method: str, headers: dict[str, str], context: Any) -> None:
        """Count a call, and let it fare as told."""
        with self._lock:
            self.calls[method] += 1
            script = self._scripts.get(method)
            fault = script.popleft() if script else self.always or NO_FAULT
        if fault.delay_seconds:
            self._stopping.wait(fault.delay_seconds)
        if fault.dies:
            self._stopping.set()
            self._server.stop(None)
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        if fault.code:
            context.abort(getattr(grpc.StatusCode, fault.code), fault.details)
        if self.identity is not None and not self.identity.knows(headers.get(HEADER, "")):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "token parse error")


class _Gate(grpc.ServerInterceptor):  # type: ignore[misc]
    """Stands before AdminService, and says in status codes what its methods raise."""

    def __init__(self, double: FlyteAdminDouble) -> None:
        self._double = double

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the method that is called."""
        handler = continuation(details)
        service, _, method = details.method.rpartition("/")
        if handler is None or not service.endswith("AdminService"):
            return handler
        headers = dict(details.invocation_metadata)

        def call(request: Any, context: Any) -> Any:
            self._double.admit(method, headers, context)
            try:
                return handler.unary_unary(request, context)
            except LookupError as exc:
                context.abort(grpc.StatusCode.NOT_FOUND, f"entry not found: {exc}")
            except InvalidList as exc:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))

        return grpc.unary_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )


class _Auth(auth_pb2_grpc.AuthMetadataServiceServicer):  # type: ignore[misc]
    """Tells clients where to sign in; needs no token itself."""

    def __init__(self, double: FlyteAdminDouble) -> None:
        self._double = double

    def GetOAuth2Metadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Where tokens are given."""
        identity = self._double.identity
        endpoint = identity.token_endpoint if identity else ""
        return auth_pb2.OAuth2MetadataResponse(token_endpoint=endpoint)

    def GetPublicClientConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What a client must know besides."""
        return auth_pb2.PublicClientAuthConfigResponse(
            client_id="flytectl", scopes=["all"], authorization_metadata_key=HEADER
        )


class _Admin(admin_pb2_grpc.AdminServiceServicer):  # type: ignore[misc]
    """The calls that read; a `LookupError` becomes NOT_FOUND."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def GetVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Which release it is."""
        version = version_pb2.Version(Build="double", Version="v1.16.8")
        return version_pb2.GetVersionResponse(control_plane_version=version)

    def ListProjects(self, request: Any, context: Any) -> Any:  # noqa: N802
        """All projects."""
        names = sorted({key[0] for key in self._database.executions})
        return project_pb2.Projects(projects=[project_pb2.Project(id=name) for name in names])

    def GetExecution(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One execution."""
        return self._database.kept(request.id).execution

    def ListExecutions(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Executions of a project and domain."""
        home = (request.id.project, request.id.domain)
        rows = [
            kept.execution
            for key, kept in list(self._database.executions.items())
            if key[:2] == home and request.id.name in ("", key[2])
        ]
        page, token = listed(rows, request, _EXECUTION_COLUMNS)
        return execution_pb2.ExecutionList(executions=map(trimmed, page), token=token)

    def GetWorkflow(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One version of a workflow."""
        return self._database.workflows[key_of(request.id)]

    def GetLaunchPlan(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One version of a launch plan."""
        return self._database.launch_plans[key_of(request.id)]

    def GetTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One version of a task."""
        return self._database.tasks[key_of(request.id)]

    def GetNodeExecution(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One node."""
        return self._database.node(request.id)

    def ListNodeExecutions(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The nodes at the top of an execution, or inside of a node."""
        kept = self._database.kept(request.workflow_execution_id)
        if request.unique_parent_id and request.unique_parent_id not in kept.nodes:
            raise LookupError(request.unique_parent_id)
        rows = kept.children(request.unique_parent_id)
        page, token = listed(rows, request, _NODE_COLUMNS)
        return node_execution_pb2.NodeExecutionList(node_executions=map(trimmed, page), token=token)

    def GetNodeExecutionData(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What went in and came out, and the graph of a dynamic node."""
        node = self._database.node(request.id)
        kept = self._database.kept(request.id.execution_id)
        answer = node_execution_pb2.NodeExecutionGetDataResponse(
            full_inputs=literals(kept.storage, node.input_uri),
            full_outputs=literals(kept.storage, node.closure.output_uri),
        )
        if (graph := kept.graphs.get(request.id.node_id)) is not None:
            answer.dynamic_workflow.id.CopyFrom(graph.primary.template.id)
            answer.dynamic_workflow.compiled_workflow.CopyFrom(graph)
            answer.dynamic_workflow.dynamic_job_spec_uri = node.closure.dynamic_job_spec_uri
        return answer

    def GetDynamicNodeWorkflow(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The graph of a dynamic node."""
        graph = self._database.kept(request.id.execution_id).graphs[request.id.node_id]
        return node_execution_pb2.DynamicNodeWorkflowResponse(compiled_workflow=graph)

    def GetTaskExecution(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One attempt."""
        id = request.id
        kept = self._database.kept(id.node_execution_id.execution_id)
        return kept.attempts[id.node_execution_id.node_id, key_of(id.task_id), id.retry_attempt]

    def ListTaskExecutions(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The attempts at a node."""
        id = request.node_execution_id
        rows = self._database.kept(id.execution_id).tasks(id.node_id)
        page, token = listed(rows, request, _TASK_COLUMNS)
        return task_execution_pb2.TaskExecutionList(task_executions=map(trimmed, page), token=token)


def _phase(row: Any) -> str:
    phases = row.closure.DESCRIPTOR.fields_by_name["phase"].enum_type.values_by_number
    return str(phases[row.closure.phase].name)
