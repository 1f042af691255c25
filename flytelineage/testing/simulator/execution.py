"""One execution, played in simulated time: its graphs, its nodes, and how it ends.

What happens at a node is told by the scripts of `scripts`. Here is what all nodes have
in common: they wait for others, are queued, fail or succeed, and are aborted when the
graph around them fails.

Source: flyteorg/flyte v1.16.8, flytepropeller pkg/controller/nodes/executor.go and
pkg/controller/workflow/executor.go.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flyteidl.core import identifier_pb2

from flytelineage.testing.simulator.attempts import take_over
from flytelineage.testing.simulator.compiled import (
    launch_plan_identifier,
    short_name,
    task_of,
)
from flytelineage.testing.simulator.kernel import Kernel, Process, Watch
from flytelineage.testing.simulator.kinds import (
    Kind,
)
from flytelineage.testing.simulator.literals import seeded
from flytelineage.testing.simulator.reports import (
    Data,
    Place,
    Reports,
    child_name,
    error_of,
    task_identifier,
    unique_id,
)
from flytelineage.testing.simulator.scripts import script
from flytelineage.testing.simulator.steps import (
    Attempt,
    Ended,
    Job,
    NodeFailed,
    Phase,
    Scope,
    Skipped,
    Steps,
)
from flytelineage.testing.simulator.values import Literals, Settings, Values
from flytelineage.testing.simulator.workflows import (
    Binding,
    LaunchPlan,
    MapTask,
    Node,
    Outcome,
    Task,
    Workflow,
)


def ending(workflow: Workflow, outcomes: Mapping[str, Outcome], phase: Phase) -> dict[str, Outcome]:
    """Outcomes by which the workflow ends that way: at its last node unless they say where."""
    known = dict(outcomes)
    if phase != "SUCCEEDED" and all(outcome.phase == "SUCCEEDED" for outcome in known.values()):
        last = workflow.nodes[-1].id
        known[last] = Outcome(phase, known.get(last, Outcome()).failed_attempts)
    return known


class Execution:
    """Plays a workflow once; everything it did can be read from it afterwards.

    Attributes:
        phase: How it ended; `RUNNING` when it did not.
        results: Literals by variable, by path of the node.
        places: Every node that was seen, by path. What an earlier attempt at its parent
            made has that attempt in its path: `n4#0/n1`.
        interfaces: Node and the workflow it stands in, by node id.
        children: Executions that launch-plan nodes started, by path.
        closures: Graphs of dynamic nodes by node id, those of their last attempts.
        told: Paths of the dynamic nodes whose graphs were published.
        parent: Execution and node that launched it, which its events do not tell.
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
        parent: tuple[str, str] | None = None,
    ) -> None:
        self.workflow, self.name, self.start = workflow, name, start
        self.settings, self.outcomes, self.parent = settings, outcomes, parent
        self.phase: Phase = "RUNNING"
        self.results: dict[str, Literals] = {}
        self.places: dict[str, Place] = {}
        self.interfaces: dict[str, tuple[Node, Workflow]] = {}
        self.children: dict[str, Execution] = {}
        self.closures: dict[str, Any] = {}
        self.told: set[str] = set()
        self.kernel = Kernel()
        self.values = Values(settings, workflow, name)
        self.reports = Reports(
            self.identifier(name), start, lambda: self.kernel.now, inline=settings.inline
        )
        self.inputs = {name: self.values.literal(kind) for name, kind in inputs.items()}
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._last: dict[str, int] = {}
        self._active: dict[str, Place] = {}
        self._numbers = seeded(settings.seed, workflow.project, workflow.domain, name)
        base = f"{workflow.project}-{workflow.domain}-{name}"
        self._folder = f"{settings.storage.root}/metadata/propeller/{base}"

    def run(self) -> Execution:
        """Play it to its end."""
        self.kernel.spawn(self._main())
        try:
            self.kernel.run()
        except Ended as end:
            self._end(end.phase)
        return self

    @property
    def attempts(self) -> list[Attempt]:
        """In the order in which they first ended."""
        return list(self._attempts.values())

    def last_attempt(self, node_id: str) -> Attempt | None:
        """The latest one at a node."""
        return self._attempts.get((node_id, self._last.get(node_id, 0)))

    @property
    def seconds(self) -> float:
        """How long it took, in simulated time."""
        return self.kernel.now / 1000

    @property
    def outputs(self) -> Literals:
        """The outputs of the workflow; only once it succeeded."""
        return self.values.resolve(self.workflow.outputs, self.inputs, self.results)

    # ------------------------------------------------------------------- graphs

    def _main(self) -> Steps:
        self.reports.workflow("RUNNING")
        scope = Scope(self.workflow, self.inputs)
        try:
            outputs = yield from self.graph(scope)
        except NodeFailed as failure:
            return (yield from self._fail(scope, failure))
        self.reports.workflow("SUCCEEDING")
        yield self.wait(10, 60)
        end = f"{self._folder}/end-node/data/0/outputs.pb"
        self.reports.workflow("SUCCEEDED", output=Data(end, outputs))
        self.phase = "SUCCEEDED"
        return outputs

    def graph(self, scope: Scope) -> Steps:
        """Run a graph from its start-node to its end-node.

        Raises:
            NodeFailed: One of its nodes did, and by its policy that is the end.
        """
        self._start_node(scope)
        for node in scope.workflow.nodes:
            scope.processes[node.id] = self.kernel.spawn(self._after(scope, node))
        processes = list(scope.processes.values())
        yield processes if scope.workflow.fails_late else Watch(processes)
        failed = [p.failure for p in processes if isinstance(p.failure, NodeFailed)]
        if failed:
            for process in processes:
                self.kernel.stop(process)
            raise failed[0]
        outputs = self.resolve(scope.workflow.outputs, scope)
        yield from self._end_node(scope, outputs)
        return outputs

    def _after(self, scope: Scope, node: Node) -> Steps:
        """Run a node once those upstream of it are over."""
        upstream = [scope.processes[id] for id in node.upstream()]
        yield upstream
        if any(process.failure for process in upstream):
            self._skip(scope, node)
        yield self.wait(20, 300)
        return (yield from self.node(scope, node))

    def _skip(self, scope: Scope, node: Node) -> None:
        """Only a graph that fails late is there to see the nodes that cannot run any more.

        Source: flytepropeller pkg/controller/nodes/predicate.go.
        """
        if scope.workflow.fails_late:
            place = self.place(scope, node.id, node)
            place.task = task_of(node)
            self.reports.node(place, "SKIPPED")
            self.record(place, "SKIPPED")
        raise Skipped

    def _start_node(self, scope: Scope) -> None:
        place = self.place(scope, "start-node")
        if not scope.dynamic:  # nobody writes the inputs of a dynamic graph
            self.values.write(place.output_uri, scope.inputs)
        data = Data(place.output_uri, scope.inputs)
        self.reports.node(place, "SUCCEEDED", output=data)

    def _end_node(self, scope: Scope, outputs: Literals) -> Steps:
        place = self.place(scope, "end-node")
        self.values.write(place.input_uri, outputs)
        self.reports.node(place, "QUEUED", inputs=outputs)
        yield self.wait(10, 60)
        self.values.write(place.output_uri, outputs)
        self.reports.node(place, "SUCCEEDED")
        return outputs

    # -------------------------------------------------------------------- nodes

    def node(self, scope: Scope, node: Node) -> Steps:
        """Run one node of a graph."""
        place = self.place(scope, node.id, node)
        self.interfaces[place.id] = (node, scope.workflow)
        inputs = self.resolve(node.inputs, scope)
        self.values.write(place.input_uri, inputs)
        outcome = self.outcomes.get(place.path, Outcome())
        job = Job(scope, place, node, inputs, outcome)
        taken = outcome.hit or outcome.recovered
        outputs = take_over(self, job, taken) if taken else (yield from self.play(job))
        scope.results[node.id] = self.results[place.path] = outputs
        return outputs

    def play(self, job: Job) -> Steps:
        """Queue a node, run its script, and say so if it fails."""
        place = job.place
        self._active[place.id] = place
        self.reports.node(place, "QUEUED", inputs=job.inputs)
        yield self.wait(20, 200)
        try:
            outputs = yield from script(self, job)
        except NodeFailed as failure:
            self._node_failed(place, failure)
            raise
        del self._active[place.id]
        return outputs

    def _node_failed(self, place: Place, failure: NodeFailed) -> None:
        """Say that a node failed, by itself or because one inside of it did."""
        del self._active[place.id]
        own = failure.place is place
        phase = failure.phase if own else "FAILED"
        error = failure.reported if own else failure.error
        more = failure.more if own else {}
        if place.task and place.task.deck:  # propeller tells the deck, and so not the error
            error, more = None, {**more, "deck_uri": place.deck_uri}
        self.reports.node(place, phase, error=error, **more)
        self.record(place, phase)

    def interrupt(self, place: Place, outcome: Outcome) -> None:
        """Do to a node that runs what the outcome says.

        Raises:
            Ended: The execution is over, or looked at.
            NodeFailed: The node is over.
        """
        if outcome.phase in ("ABORTED", "RUNNING"):
            raise Ended(outcome.phase)
        if outcome.phase == "TIMED_OUT":
            self.abort_attempt(place, "the node timed out")
            raise NodeFailed(place, "TIMED_OUT")
        if outcome.phase == "FAILED":
            self.fail_attempt(place)
            raise NodeFailed(place, "FAILED", error_of("USER:Unknown", "The node failed"))

    # ----------------------------------------------------------------- attempts

    def attempt(self, place: Place, task: Task, **more: Any) -> Steps:
        """Everything before the attempt's end; its first event is never published."""
        place.started = True
        yield self.wait(50, 400)
        log = self.reports.log(place)
        if not task.synchronous:
            self.reports.task(place, task, "INITIALIZING")
            yield self.wait(300, 2000)
            self.reports.task(place, task, "RUNNING", logs=[log], **more)
        if not task.synchronous and self._numbers.random() < 0.3:
            yield self.wait(200, 900)
            dashboard = self.reports.log(place, "Dashboard")
            self.reports.task(place, task, "RUNNING", version=1, logs=[log, dashboard], **more)
        yield self.wait(1500, 9000)
        return {}

    def fail_attempt(self, place: Place) -> None:
        """End the attempt that runs, if one does, by an error of its own."""
        if not place.started or place.task is None:
            return
        error = error_of("USER:Unknown", f"ValueError in attempt {place.attempt}")
        if not place.task.synchronous:
            self.reports.task(place, place.task, "FAILED", error=error, **self.logs(place))
        self.record(place, "FAILED")

    def abort_attempt(self, place: Place, reason: str) -> None:
        """End the attempt that runs, if one does, from outside."""
        if not place.started or place.task is None:
            return
        if not place.task.synchronous:
            error = error_of("TaskAborted", reason, "SYSTEM")
            self.reports.task(place, place.task, "ABORTED", error=error)
        self.record(place, "ABORTED")

    def record(self, place: Place, phase: str, *, cached: bool = False) -> None:
        """Remember how an attempt ended; of the last one the node's word is final."""
        place.started = False
        if place.task:
            self._last[place.id] = place.attempt
            self._attempts[place.id, place.attempt] = Attempt(
                place.path, place.id, place.attempt, place.task.name, phase, cached
            )

    def logs(self, place: Place) -> dict[str, Any]:
        """Links of a pod; the pods of an array node are told one by one."""
        return {} if place.is_array else {"logs": [self.reports.log(place)]}

    # --------------------------------------------------------------------- ends

    def _end(self, phase: Phase) -> None:
        self.phase = phase
        if phase == "ABORTED":
            self.abort(None, "aborted by a user")
            self.reports.workflow("ABORTED")

    def _fail(self, scope: Scope, failure: NodeFailed) -> Steps:
        self.phase = "FAILED"
        self.reports.workflow("FAILING", error=failure.error)
        failure = yield from self.clean_up(scope, failure)
        self.reports.workflow("FAILED", error=failure.error)
        return {}

    def clean_up(
        self, scope: Scope, failure: NodeFailed
    ) -> Generator[int | Sequence[Process] | Watch, None, NodeFailed]:
        """Abort what still runs in a graph, then run its failure node.

        Returns:
            Why the graph failed; if the failure node did as well, that.
        """
        self.abort(scope.parent, "another node failed")
        if scope.workflow.on_failure is None:
            return failure
        try:
            yield from self.node(scope, scope.workflow.on_failure)
        except NodeFailed as worse:
            return worse
        return failure

    def abort(self, around: Place | None, reason: str) -> None:
        """Abort all that runs inside of a node, what is further inside first."""
        for place in reversed([p for p in self._active.values() if p.inside(around)]):
            del self._active[place.id]
            self.abort_attempt(place, reason)
            self.reports.node_aborted(place, reason)
            if place.item is not None and place.parent and place.task:
                self.reports.fake_item(place.parent, place.task, place.item, "ABORTED")
            self.record(place, "ABORTED")

    # ------------------------------------------------------------------ children

    def launch(self, plan: LaunchPlan, job: Job, path: str, phase: Phase) -> Execution:
        """Start the execution of a launch plan, and play it to its end at once."""
        place, inside = job.place, f"{path}/"
        outcomes = {
            key.removeprefix(inside): outcome
            for key, outcome in self.outcomes.items()
            if key.startswith(inside)
        }
        self.children[path] = Execution(
            plan.workflow,
            child_name(self.name, place.id, str(place.attempt)),
            self.settings,
            start=self.start + timedelta(milliseconds=self.kernel.now),
            inputs={**plan.workflow.inputs, **self.values.as_kinds(job.inputs)},
            outcomes=ending(plan.workflow, outcomes, phase),
            parent=(self.name, place.id),
        ).run()
        return self.children[path]

    # ----------------------------------------------------------------- identity

    def resolve(self, bindings: Mapping[str, Binding], scope: Scope) -> Literals:
        """What bindings give in a graph."""
        return self.values.resolve(bindings, scope.inputs, scope.results)

    def make_outputs(
        self, task: Task, place: Place, inputs: Literals, name: str = ""
    ) -> dict[str, Any]:
        """What the task's code returns; data goes below the attempt's own prefix."""
        prefix = self.values.raw_prefix(name or self.reports.generated_name(place))
        return self.values.make(task, inputs, prefix, place.output_folder)

    def place(self, scope: Scope, spec_id: str, node: Node | None = None) -> Place:
        """The place of a node in a graph that runs."""
        parent = scope.parent
        around = f"{parent.path}#{parent.attempt}" if parent and scope.abandoned else None
        around = around or (parent.path if parent else "")
        place = Place(
            id=unique_id(parent.id, str(parent.attempt), spec_id) if parent else spec_id,
            spec_id=spec_id,
            path=f"{around}/{spec_id}" if around else spec_id,
            folder=f"{parent.output_folder}/{spec_id}"
            if parent
            else f"{self._folder}/{spec_id}/data",
            name=short_name(node) if node else "",
            parent=parent,
            in_dynamic=scope.dynamic or bool(parent and parent.in_dynamic),
            **(self._traits(node) if node else {}),
        )
        self.places[place.path] = place
        return place

    def _traits(self, node: Node) -> dict[str, Any]:
        """What events say of a node's kind."""
        is_array = isinstance(node.target, MapTask) and not node.target.legacy
        told_apart = is_array and self.settings.array_event_version == 1
        return {
            "target": self._target(node),
            "is_array": is_array,
            "is_parent": isinstance(node.target, Workflow) or told_apart,
        }

    def _target(self, node: Node) -> Any:
        """Only nodes of plain tasks and launch plans say what they run."""
        if isinstance(node.target, LaunchPlan):
            return launch_plan_identifier(node.target)
        task = task_of(node)
        if task is None or (isinstance(node.target, MapTask) and not node.target.legacy):
            return None
        return self.task_identifier(task)

    def task_identifier(self, task: Task) -> Any:
        """The `Identifier` of a task of this workflow."""
        return task_identifier(task, self.workflow.project, self.workflow.domain)

    def identifier(self, name: str) -> Any:
        """The identifier of an execution in the same project and domain."""
        return identifier_pb2.WorkflowExecutionIdentifier(
            project=self.workflow.project, domain=self.workflow.domain, name=name
        )

    def wait(self, least: int, most: int) -> int:
        """Some milliseconds."""
        return self._numbers.randint(least, most)
