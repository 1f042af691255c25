"""Walks through what FlyteAdmin keeps of one execution: lists, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flytelineage.entities import ExecutionId
from flytelineage.errors import UnknownToAdmin
from flytelineage.flyteadmin import answers

Ask = Callable[[str, Any, str], Any]
"""Calls a method of AdminService: its name, the request, and what it is about."""


class Record:
    """The record of one execution, as the messages of which events are made.

    Args:
        ask: Speaks to FlyteAdmin; what it raises ends the walk.
        page_size: Of lists.
    """

    def __init__(self, ask: Ask, id: ExecutionId, page_size: int) -> None:
        self._ask, self._id, self._page_size = ask, id, page_size

    def execution(self) -> Any:
        """The `admin.Execution`."""
        from flyteidl.admin import execution_pb2

        request = execution_pb2.WorkflowExecutionGetRequest(id=self._execution_id())
        return self._ask("GetExecution", request, f"the execution {self._id}")

    def nodes(self) -> Iterator[Any]:
        """Requests of all nodes and their attempts, each node before what is inside of it."""
        yield from self._inside("", set())

    def dynamic(self, node_id: str) -> Any:
        """The DYNAMIC_RUNNING request of a dynamic node, with its graph."""
        return self._graph(self._whole_node(self._node_id(node_id)), "")

    def _inside(self, parent: str, seen: set[str]) -> Iterator[Any]:
        from flyteidl.admin import common_pb2, node_execution_pb2

        request = node_execution_pb2.NodeExecutionListRequest(
            workflow_execution_id=self._execution_id(),
            unique_parent_id=parent,
            sort_by=_by("node_id", common_pb2),
        )
        for node in self._pages("ListNodeExecutions", request, "node_executions"):
            # A list that grows while it is read may show a node twice.
            if node.id.node_id not in seen:
                seen.add(node.id.node_id)
                yield from self._node(node, parent, seen)

    def _node(self, node: Any, parent: str, seen: set[str]) -> Iterator[Any]:
        if answers.trimmed(node):
            node = self._whole_node(node.id)
        tasks = list(self._tasks(node)) if answers.may_have_tasks(node) else []
        target = answers.task_of(node, tasks) or self._launch_plan(node)
        yield from answers.node_requests(node, parent=parent, target=target)
        for task in tasks:
            yield from answers.task_requests(task)
        if node.metadata.is_dynamic:
            yield from self._graphs(node, parent)
        if answers.may_have_children(node, tasks):
            yield from self._inside(node.id.node_id, seen)

    def _tasks(self, node: Any) -> Iterator[Any]:
        from flyteidl.admin import common_pb2, task_execution_pb2

        request = task_execution_pb2.TaskExecutionListRequest(
            node_execution_id=node.id, sort_by=_by("retry_attempt", common_pb2)
        )
        for task in self._pages("ListTaskExecutions", request, "task_executions"):
            if not answers.stands_in(task):
                yield self._whole_task(task) if answers.trimmed(task) else task

    def _launch_plan(self, node: Any) -> Any | None:
        """The `Identifier` of the plan that a node launched; only the execution knows it."""
        from flyteidl.admin import execution_pb2

        child = answers.child_of(node)
        if child is None:
            return None
        request = execution_pb2.WorkflowExecutionGetRequest(id=child)
        try:
            launched = self._ask("GetExecution", request, f"the execution {child.name}")
        except UnknownToAdmin:
            return None
        return launched.spec.launch_plan

    def _graphs(self, node: Any, parent: str) -> Iterator[Any]:
        try:
            yield self._graph(node, parent)
        except UnknownToAdmin:  # its storage may have forgotten what its database still has
            return

    def _graph(self, node: Any, parent: str) -> Any:
        from flyteidl.admin import node_execution_pb2

        request = node_execution_pb2.GetDynamicNodeWorkflowRequest(id=node.id)
        about = f"the graph of the node {node.id.node_id} of {self._id}"
        answer = self._ask("GetDynamicNodeWorkflow", request, about)
        return answers.dynamic_request(node, answer.compiled_workflow, parent=parent)

    def _whole_node(self, id: Any) -> Any:
        from flyteidl.admin import node_execution_pb2

        request = node_execution_pb2.NodeExecutionGetRequest(id=id)
        return self._ask("GetNodeExecution", request, f"the node {id.node_id} of {self._id}")

    def _whole_task(self, task: Any) -> Any:
        from flyteidl.admin import task_execution_pb2

        request = task_execution_pb2.TaskExecutionGetRequest(id=task.id)
        about = f"an attempt at the node {task.id.node_execution_id.node_id} of {self._id}"
        return self._ask("GetTaskExecution", request, about)

    def _pages(self, method: str, request: Any, items: str) -> Iterator[Any]:
        """All items of a list. Sorted by a key, or pages might overlap or leave gaps."""
        request.limit = self._page_size
        while True:
            page = self._ask(method, request, f"the execution {self._id}")
            yield from getattr(page, items)
            if not page.token or page.token == request.token:
                return
            request.token = page.token

    def _execution_id(self) -> Any:
        from flyteidl.core import identifier_pb2

        return identifier_pb2.WorkflowExecutionIdentifier(
            project=self._id.project, domain=self._id.domain, name=self._id.name
        )

    def _node_id(self, node_id: str) -> Any:
        from flyteidl.core import identifier_pb2

        return identifier_pb2.NodeExecutionIdentifier(
            node_id=node_id, execution_id=self._execution_id()
        )


def _by(key: str, common_pb2: Any) -> Any:
    return common_pb2.Sort(key=key, direction=common_pb2.Sort.ASCENDING)
