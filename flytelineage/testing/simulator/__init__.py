"""A Flyte that never was: event streams of workflows, their files, and the truth.

`simulate` plays a workflow in simulated time. What comes out is what FlyteAdmin would
have published, byte for byte of the same protobuf messages, with real literals in real
objects; and the lineage that is true, told from the workflow objects alone, so that
what flytelineage finds can be held against it.
"""

from flytelineage.testing.simulator.compiled import compile_workflow
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from flytelineage.testing.simulator.execution import Execution
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
    Produced,
    Record,
    Same,
)
from flytelineage.testing.simulator.samples import samples, simulate_samples
from flytelineage.testing.simulator.simulate import simulate
from flytelineage.testing.simulator.steps import Attempt
from flytelineage.testing.simulator.storage import (
    FolderStorage,
    MemoryStorage,
    S3Storage,
    Storage,
)
from flytelineage.testing.simulator.stream import DELIVERIES, ENCODINGS, Stream
from flytelineage.testing.simulator.truth import RunTruth, Truth
from flytelineage.testing.simulator.values import Settings
from flytelineage.testing.simulator.workflows import (
    Binding,
    Branch,
    Dynamic,
    Gate,
    Input,
    LaunchPlan,
    MapTask,
    Node,
    Outcome,
    Output,
    Taken,
    Task,
    Workflow,
    Written,
    single_task,
)

__all__ = [
    "CONSTRUCTS",
    "DELIVERIES",
    "ENCODINGS",
    "Attempt",
    "Binding",
    "Branch",
    "Dynamic",
    "Execution",
    "File",
    "Folder",
    "FolderStorage",
    "Frame",
    "Gate",
    "Input",
    "Kind",
    "LaunchPlan",
    "ListOf",
    "MapOf",
    "MapTask",
    "MemoryStorage",
    "Node",
    "Offloaded",
    "OptionalOf",
    "Outcome",
    "Output",
    "Primitive",
    "Produced",
    "Record",
    "RunTruth",
    "S3Storage",
    "Same",
    "Settings",
    "Storage",
    "Stream",
    "Taken",
    "Task",
    "Truth",
    "Workflow",
    "Written",
    "compile_workflow",
    "samples",
    "simulate",
    "simulate_samples",
    "single_task",
]
