"""One execution: the scripts of all constructs, played in simulated time.

Each construct is a script that says, step by step, what FlytePropeller does: which
events it sends, which files it writes, what it waits for. Failing, aborting and looking
too early are one thing: an interruption of whatever runs at that moment.

Source: flyteorg/flyte v1.16.8, flytepropeller pkg/controller/nodes.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2

from flytelineage.testing.simulator.compiled import (
    compile_workflow,
    launch_plan_identifier,
    named_arm,
    short_name,
    task_of,
    workflow_identifier,
)
from flytelineage.testing.simulator.kernel import Kernel, Process
from flytelineage.testing.simulator.literals import collection, seeded
from flytelineage.testing.simulator.reports import (
    Data,
    Place,
    Reports,
    array_resources,
    cache_metadata,
    child_name,
    error_of,
    task_identifier,
    unique_id,
)
from flytelineage.testing.simulator.values import Literals, Settings, Values
from flytelineage.testing.simulator.workflows import (
    Binding,
    Branch,
    Dynamic,
    Gate,
    Kind,
    LaunchPlan,
    MapTask,
    Node,
    Outcome,
    Primitive,
    Produced,
    Taken,
    Task,
    Workflow,
)

Steps: TypeAlias = "Generator[int | Sequence[Process], None, Literals]"
Phase: TypeAlias = Literal["SUCCEEDED", "FAILED", "ABORTED", "RUNNING"]


@dataclass(frozen=True)
class Attempt:
    """One attempt at a node that runs a task; a node that was taken over has one."""

    path: str
    node_id: str
    number: int
    task: str
    phase: str
    cached: bool = False


@dataclass(frozen=True)
class _Scope:
    """A graph that runs: of the workflow, a sub-workflow, a branch, a dynamic node."""

    workflow: Workflow
    inputs: Literals
    parent: Place | None = None
    dynamic: bool = False
    results: dict[str, Literals] = field(default_factory=dict)


class _Interrupted(Exception):
    """The execution ends, or is looked at, while this node runs."""

    def __init__(self, place: Place, phase: str, error: Any = None) -> None:
        super().__init__(phase)
        self.place, self.phase, self.error = place, phase, error


class Execution:
    """Plays a workflow once; everything it did can be read from it afterwards.

    Attributes:
        phase: How it ended; `RUNNING` when it did not.
        results: Literals by variable, by path of the node.
        places: Every node that was seen, by path.
        attempts: In the order in which they ended.
        interfaces: Node and the workflow it stands in, by node id.
        children: Executions that launch-plan nodes started, by path.
    """

    def __init__(
        self,
        workflow: Workflow,
        name: str,
        settings: Settings,
        *,
        start: datetime,
        inputs: Mapping[str, Kind],
        outcomes: Mapping[str, Outcome],
    ) -> None:
        self.workflow, self.name, self.start = workflow, name, start
        self.settings, self.outcomes = settings, outcomes
        self.phase: Phase = "RUNNING"
        self.results: dict[str, Literals] = {}
        self.places: dict[str, Place] = {}
        self.attempts: list[Attempt] = []
        self.interfaces: dict[str, tuple[Node, Workflow]] = {}
        self.children: dict[str, Execution] = {}
        self.kernel = Kernel()
        self.reports = Reports(
            self._identifier(name), start, lambda: self.kernel.now, inline=settings.inline
        )
        self._active: dict[str, Place] = {}
        self._numbers = seeded(settings.seed, workflow.project, workflow.domain, name)
        self._values = Values(settings, workflow, name)
        self._inputs = {name: self._values.literal(kind) for name, kind in inputs.items()}
        base = f"{workflow.project}-{workflow.domain}-{name}"
        self._folder = f"{settings.storage.root}/metadata/propeller/{base}"

    def run(self) -> Execution:
        """Play it to its end."""
        self.kernel.spawn(self._main())
        try:
            self.kernel.run()
            self.phase = "SUCCEEDED"
        except _Interrupted as interruption:
            self._end(interruption)
        return self

    @property
    def seconds(self) -> float:
        """How long it took, in simulated time."""
        return self.kernel.now / 1000

    # ------------------------------------------------------------------- graphs

    def _main(self) -> Steps:
        self.reports.workflow("RUNNING")
        outputs = yield from self._graph(_Scope(self.workflow, self._inputs))
        self.reports.workflow("SUCCEEDING")
        yield self._wait(10, 60)
        end = f"{self._folder}/end-node/data/0/outputs.pb"
        self.reports.workflow("SUCCEEDED", output=Data(end, outputs))
        return outputs

    def _graph(self, scope: _Scope) -> Steps:
        self._start_node(scope)
        processes: dict[str, Process] = {}
        for node in scope.workflow.nodes:
            upstream = [processes[id] for id in node.upstream()]
            processes[node.id] = self.kernel.spawn(self._after(upstream, scope, node))
        yield list(processes.values())
        outputs = self._resolve(scope.workflow.outputs, scope)
        yield from self._end_node(scope, outputs)
        return outputs

    def _after(self, upstream: Sequence[Process], scope: _Scope, node: Node) -> Steps:
        yield upstream
        yield self._wait(20, 300)
        return (yield from self._node(scope, node))

    def _start_node(self, scope: _Scope) -> None:
        place = self._place(scope, "start-node")
        if not scope.dynamic:  # nobody writes the inputs of a dynamic graph
            self._values.write(place.output_uri, scope.inputs)
        data = Data(place.output_uri, scope.inputs)
        self.reports.node(place, "SUCCEEDED", output=data)

    def _end_node(self, scope: _Scope, outputs: Literals) -> Steps:
        place = self._place(scope, "end-node")
        self._values.write(place.input_uri, outputs)
        self.reports.node(place, "QUEUED", inputs=outputs)
        yield self._wait(10, 60)
        self._values.write(place.output_uri, outputs)
        self.reports.node(place, "SUCCEEDED")
        return outputs

    # -------------------------------------------------------------------- nodes

    def _node(self, scope: _Scope, node: Node) -> Steps:
        place = self._place(scope, node.id, node)
        self.interfaces[place.id] = (node, scope.workflow)
        inputs = self._resolve(node.inputs, scope)
        self._values.write(place.input_uri, inputs)
        outcome = self.outcomes.get(place.path, Outcome())
        if outcome.hit or outcome.recovered:
            outputs = self._take_over(place, node, inputs, outcome)
        else:
            outputs = yield from self._run(scope, place, node, inputs, outcome)
        scope.results[node.id] = self.results[place.path] = outputs
        return outputs

    def _run(
        self, scope: _Scope, place: Place, node: Node, inputs: Literals, outcome: Outcome
    ) -> Steps:
        self._active[place.id] = place
        self.reports.node(place, "QUEUED", inputs=inputs)
        yield self._wait(20, 200)
        outputs = yield from self._script(scope, place, node, inputs, outcome)
        del self._active[place.id]
        return outputs

    def _script(
        self, scope: _Scope, place: Place, node: Node, inputs: Literals, outcome: Outcome
    ) -> Steps:
        """The steps of what stands at a node."""
        target = node.target
        if isinstance(target, Task):
            return self._task(place, target, inputs, outcome)
        if isinstance(target, MapTask):
            return self._map(place, target, inputs, outcome)
        if isinstance(target, Dynamic):
            return self._dynamic(place, target, inputs, outcome)
        if isinstance(target, Workflow):
            return self._sub_workflow(place, target, inputs, outcome)
        if isinstance(target, LaunchPlan):
            return self._launch(place, target, inputs, outcome)
        if isinstance(target, Branch):
            return self._branch(scope, place, named_arm(node, target.taken_arm), outcome)
        return self._gate(place, target, inputs, outcome)

    def _take_over(self, place: Place, node: Node, inputs: Literals, outcome: Outcome) -> Literals:
        """A cache hit or a recovered node: one event, and no attempt."""
        place.task = task_of(node)
        taken = outcome.hit or outcome.recovered or Taken()
        outputs = {name: produced.literal for name, produced in taken.outputs.items()}
        if not outputs and place.task:
            name = f"{self._unseen()}-{place.id}-0"
            outputs = self._make_outputs(place.task, place, inputs, name)
        self._values.write(place.output_uri, outputs)
        status, phase = (
            ("CACHE_HIT", "SUCCEEDED") if outcome.hit else ("CACHE_DISABLED", "RECOVERED")
        )
        source = self._source(place, taken)
        metadata = cache_metadata(status, self.workflow, place, source)
        data = Data(place.output_uri, outputs)
        known = None if outcome.hit else inputs
        self.reports.node(place, phase, inputs=known, output=data, task_node_metadata=metadata)
        self._record(place, phase, cached=True)
        return outputs

    def _task(self, place: Place, task: Task, inputs: Literals, outcome: Outcome) -> Steps:
        place.task = task
        self.reports.node(place, "RUNNING")
        failing = max(outcome.failed_attempts, outcome.phase == "FAILED")
        for attempt in range(failing):
            place.attempt = attempt
            yield from self._attempt(place, task)
            self._fail(place, task)
        if outcome.phase == "FAILED":
            raise _Interrupted(place, "FAILED", _node_error(failing))
        place.attempt = failing
        yield from self._attempt(place, task)
        self._interrupt(place, outcome)
        outputs = self._make_outputs(task, place, inputs)
        yield from self._succeed(place, task, outputs)
        return outputs

    def _attempt(self, place: Place, task: Task) -> Steps:
        """Everything before the attempt's end; its first event is never published."""
        place.started = True
        yield self._wait(50, 400)
        log = self.reports.log(place)
        if not task.synchronous:
            self.reports.task(place, task, "INITIALIZING")
            yield self._wait(300, 2000)
            self.reports.task(place, task, "RUNNING", logs=[log])
        if not task.synchronous and self._numbers.random() < 0.3:
            yield self._wait(200, 900)
            more = self.reports.log(place, "Dashboard")
            self.reports.task(place, task, "RUNNING", version=1, logs=[log, more])
        yield self._wait(1500, 9000)
        return {}

    def _fail(self, place: Place, task: Task) -> None:
        if not place.started:
            return
        error = error_of("USER:Unknown", f"ValueError in attempt {place.attempt}")
        if not task.synchronous:
            self.reports.task(place, task, "FAILED", error=error, **self._logs(place))
        self._record(place, "FAILED")

    def _succeed(self, place: Place, task: Task, outputs: Literals) -> Steps:
        data = Data(place.output_uri, outputs if task.sends_outputs else None)
        if task.sends_outputs:
            self._values.write(place.output_uri, outputs)
        if not task.synchronous:
            self.reports.task(place, task, "SUCCEEDED", output=data, **self._logs(place))
        self._record(place, "SUCCEEDED")
        yield self._wait(20, 200)
        self.reports.node(place, "SUCCEEDED", output=data, **self._cached(place, task))
        return outputs

    def _cached(self, place: Place, task: Task) -> dict[str, Any]:
        if not task.cacheable:
            return {}
        source = self.reports.task_execution_id(place, task)
        found = cache_metadata("CACHE_POPULATED", self.workflow, place, source)
        return {"task_node_metadata": found}

    def _map(self, place: Place, target: MapTask, inputs: Literals, outcome: Outcome) -> Steps:
        task = place.task = target.task
        size = len(inputs[target.over[0]].collection.literals)
        self.reports.node(place, "RUNNING")
        place.started = True
        for version in range(2):
            yield self._wait(500, 4000)
            resources = array_resources(self.reports, place, size, "RUNNING")
            metadata = event_pb2.TaskExecutionMetadata(
                external_resources=resources, plugin_identifier="k8s-array"
            )
            self.reports.task(place, task, "RUNNING", version=version, metadata=metadata)
        self._interrupt(place, outcome)
        items = [self._map_item(place, target, inputs, index) for index in range(size)]
        outputs = {name: collection([item[name] for item in items]) for name in task.outputs}
        yield from self._succeed_map(place, task, outputs, size)
        return outputs

    def _map_item(self, place: Place, target: MapTask, inputs: Literals, index: int) -> Literals:
        own = {name: inputs[name].collection.literals[index] for name in target.over}
        name = self.reports.generated_name(place, f"n{index}")
        return self._make_outputs(target.task, place, {**inputs, **own}, name)

    def _succeed_map(self, place: Place, task: Task, outputs: Literals, size: int) -> Steps:
        self._values.write(place.output_uri, outputs)
        data = Data(place.output_uri, outputs)
        metadata = event_pb2.TaskExecutionMetadata(
            external_resources=array_resources(self.reports, place, size, "SUCCEEDED"),
            plugin_identifier="k8s-array",
        )
        self.reports.task(place, task, "SUCCEEDED", output=data, metadata=metadata)
        self._record(place, "SUCCEEDED")
        yield self._wait(20, 200)
        self.reports.node(place, "SUCCEEDED", output=data)
        return outputs

    def _dynamic(self, place: Place, target: Dynamic, inputs: Literals, outcome: Outcome) -> Steps:
        task = place.task = target.task
        self.reports.node(place, "RUNNING")
        yield from self._attempt(place, task)
        self._interrupt(place, outcome)
        # The file does not exist yet; the event names it all the same.
        self.reports.task(place, task, "SUCCEEDED", output=Data(place.output_uri, None))
        self._record(place, "SUCCEEDED")
        yield self._wait(100, 300)
        self._report_graph(place, target.body)
        scope = _Scope(target.body, inputs, place, dynamic=True)
        outputs = yield from self._graph(scope)
        return self._hand_on(place, outputs)

    def _report_graph(self, place: Place, body: Workflow) -> None:
        """DYNAMIC_RUNNING: the only event that tells a graph, and that it is a parent."""
        found = event_pb2.DynamicWorkflowNodeMetadata(
            id=workflow_identifier(body),
            compiled_workflow=compile_workflow(body),
            dynamic_job_spec_uri=f"{place.output_folder}/futures.pb",
        )
        metadata = event_pb2.TaskNodeMetadata(dynamic_workflow=found)
        place.is_dynamic = place.is_parent = True
        self.reports.node(place, "DYNAMIC_RUNNING", task_node_metadata=metadata)
        place.is_parent = False

    def _sub_workflow(
        self, place: Place, target: Workflow, inputs: Literals, outcome: Outcome
    ) -> Steps:
        self.reports.node(place, "RUNNING")
        self._interrupt(place, outcome)
        outputs = yield from self._graph(_Scope(target, inputs, place))
        return self._hand_on(place, outputs)

    def _launch(
        self, place: Place, target: LaunchPlan, inputs: Literals, outcome: Outcome
    ) -> Steps:
        name = child_name(self.name, place.id, str(place.attempt))
        child_id = event_pb2.WorkflowNodeMetadata(execution_id=self._identifier(name))
        self.reports.node(place, "RUNNING", workflow_node_metadata=child_id)
        self._interrupt(place, outcome)
        child = Execution(
            target.workflow,
            name,
            self.settings,
            start=self.start + timedelta(milliseconds=self.kernel.now),
            inputs={**target.workflow.inputs, **_handed(inputs)},
            outcomes={},
        ).run()
        self.children[place.path] = child
        yield child.kernel.now + self._wait(50, 300)
        return self._hand_on(place, child.outputs, workflow_node_metadata=child_id)

    def _branch(self, scope: _Scope, place: Place, arm: Node, outcome: Outcome) -> Steps:
        self.reports.node(place, "RUNNING")
        self._interrupt(place, outcome)
        yield self._wait(20, 200)
        outputs = yield from self._node(replace(scope, parent=place), arm)
        return self._hand_on(place, outputs)

    def _gate(self, place: Place, gate: Gate, inputs: Literals, outcome: Outcome) -> Steps:
        self.reports.node(place, "RUNNING")
        self._interrupt(place, outcome)
        yield self._wait(2000, 20000)
        if gate.kind == "sleep":
            self.reports.node(place, "SUCCEEDED")
            return {}
        signal = {} if gate.kind == "approve" else {"o0": self._values.literal(gate.signal)}
        return self._hand_on(place, signal or inputs)

    def _hand_on(self, place: Place, outputs: Literals, **more: Any) -> Literals:
        """The end of a wrapper: a copy of what the nodes inside of it gave."""
        self._values.write(place.output_uri, outputs)
        data = Data(place.output_uri, outputs)
        self.reports.node(place, "SUCCEEDED", output=data, **more)
        return outputs

    # ------------------------------------------------------------ interruptions

    def _interrupt(self, place: Place, outcome: Outcome) -> None:
        if outcome.phase != "SUCCEEDED":
            error = error_of("USER:Unknown", "The node failed")
            raise _Interrupted(place, outcome.phase, error if outcome.phase == "FAILED" else None)

    def _end(self, interruption: _Interrupted) -> None:
        if interruption.phase == "RUNNING":
            return
        if interruption.phase == "ABORTED":
            self.phase = "ABORTED"
            self._abort_all("aborted by a user")
            self.reports.workflow("ABORTED")
            return
        self.phase = "FAILED"
        error = interruption.error or error_of("TimeoutExpired", "The node timed out", "SYSTEM")
        self._fail_nodes(interruption, error)
        self.reports.workflow("FAILING", error=error)
        self._abort_all("another node failed")
        self.reports.workflow("FAILED", error=error)

    def _fail_nodes(self, interruption: _Interrupted, error: Any) -> None:
        """The node and everything around it."""
        place: Place | None = interruption.place
        self._end_attempt(interruption)
        self.reports.node(interruption.place, interruption.phase, error=interruption.error)
        while place:
            self._active.pop(place.id, None)
            place = place.parent
            if place:
                self.reports.node(place, "FAILED", error=error)

    def _end_attempt(self, interruption: _Interrupted) -> None:
        place = interruption.place
        if place.task and interruption.phase == "FAILED":
            self._fail(place, place.task)
        elif place.task:
            self._abort_attempt(place, place.task, "the node timed out")

    def _abort_all(self, reason: str) -> None:
        """Inner nodes before those around them."""
        for place in reversed(self._active.values()):
            if place.task:
                self._abort_attempt(place, place.task, reason)
            self.reports.node_aborted(place, reason)

    def _abort_attempt(self, place: Place, task: Task, reason: str) -> None:
        if not place.started:
            return
        if not task.synchronous:
            error = error_of("TaskAborted", reason, "SYSTEM")
            self.reports.task(place, task, "ABORTED", error=error)
        self._record(place, "ABORTED")

    # ----------------------------------------------------------------- identity

    @property
    def outputs(self) -> Literals:
        """The outputs of the workflow; only once it succeeded."""
        return self._values.resolve(self.workflow.outputs, self._inputs, self.results)

    def _resolve(self, bindings: Mapping[str, Binding], scope: _Scope) -> Literals:
        return self._values.resolve(bindings, scope.inputs, scope.results)

    def _make_outputs(
        self, task: Task, place: Place, inputs: Literals, name: str = ""
    ) -> dict[str, Any]:
        """What the task's code returns; data goes below the attempt's own prefix."""
        prefix = self._values.raw_prefix(name or self.reports.generated_name(place))
        return self._values.make(task, inputs, prefix, place.output_folder)

    def _place(self, scope: _Scope, spec_id: str, node: Node | None = None) -> Place:
        parent = scope.parent
        place = Place(
            id=unique_id(parent.id, str(parent.attempt), spec_id) if parent else spec_id,
            spec_id=spec_id,
            path=f"{parent.path}/{spec_id}" if parent else spec_id,
            folder=f"{parent.output_folder}/{spec_id}"
            if parent
            else f"{self._folder}/{spec_id}/data",
            name=short_name(node) if node else "",
            parent=parent,
            target=self._target(node),
            in_dynamic=scope.dynamic or bool(parent and parent.in_dynamic),
            is_array=bool(node and isinstance(node.target, MapTask)),
            is_parent=bool(node and isinstance(node.target, Workflow)),
        )
        self.places[place.path] = place
        return place

    def _target(self, node: Node | None) -> Any:
        """Only nodes of plain tasks and launch plans say what they run."""
        if node is None:
            return None
        if isinstance(node.target, LaunchPlan):
            return launch_plan_identifier(node.target)
        task = task_of(node)
        if task is None or isinstance(node.target, MapTask):
            return None
        return task_identifier(task, self.workflow.project, self.workflow.domain)

    def _identifier(self, name: str) -> Any:
        return identifier_pb2.WorkflowExecutionIdentifier(
            project=self.workflow.project, domain=self.workflow.domain, name=name
        )

    def _source(self, place: Place, taken: Taken) -> Any | None:
        """The attempt that made what is taken over, as the catalogue says it."""
        if place.task is None or (taken.outputs and taken.source is None):
            return None
        name, node_id, attempt = taken.source or (self._unseen(), place.id, 0)
        return identifier_pb2.TaskExecutionIdentifier(
            task_id=task_identifier(place.task, self.workflow.project, self.workflow.domain),
            node_execution_id=identifier_pb2.NodeExecutionIdentifier(
                node_id=node_id, execution_id=self._identifier(name)
            ),
            retry_attempt=attempt,
        )

    def _unseen(self) -> str:
        """The name of an execution whose events nobody published."""
        return child_name("before", self.name)

    def _logs(self, place: Place) -> dict[str, Any]:
        """Links of a pod; the pods of an array node are told one by one."""
        return {} if place.is_array else {"logs": [self.reports.log(place)]}

    def _record(self, place: Place, phase: str, *, cached: bool = False) -> None:
        place.started = False
        if place.task:
            self.attempts.append(
                Attempt(place.path, place.id, place.attempt, place.task.name, phase, cached)
            )

    def _wait(self, least: int, most: int) -> int:
        return self._numbers.randint(least, most)


def _handed(inputs: Literals) -> dict[str, Kind]:
    """Literals as inputs of an execution that is launched; their story is told apart."""
    return {
        name: Produced(literal, told=None, kind=Primitive(None)) for name, literal in inputs.items()
    }


def _node_error(attempts: int) -> Any:
    if attempts == 1:
        return error_of("USER:Unknown", "ValueError in attempt 0")
    message = f"[{attempts}/{attempts}] currentAttempt done. Last Error: USER::ValueError"
    return error_of("RetriesExhausted|USER:Unknown", message)
