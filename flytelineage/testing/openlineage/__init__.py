"""An OpenLineage backend on loopback, and what consumers make of events.

```python
with OpenLineageDouble() as backend:
    backend.script(Fault(status=503))  # the next event
    backend.refuse("shop.sales.report")  # each event that names this job or dataset
    ...
    graph = marquez_graph(backend.events)
    assert graph.states == {run_id: "COMPLETED"}
```

The views are pure functions over a list of events, so that they can be held against files,
too. Each says which rules of its consumer it follows.
"""

from flytelineage.testing.http import Fault
from flytelineage.testing.openlineage.consumers import (
    MarquezGraph,
    Name,
    OpenMetadataGraph,
    marquez_graph,
    node_id,
    openmetadata_graph,
    parts_of_node,
)
from flytelineage.testing.openlineage.rules import broken_rules
from flytelineage.testing.openlineage.server import OpenLineageDouble, Request

__all__ = [
    "Fault",
    "MarquezGraph",
    "Name",
    "OpenLineageDouble",
    "OpenMetadataGraph",
    "Request",
    "broken_rules",
    "marquez_graph",
    "node_id",
    "openmetadata_graph",
    "parts_of_node",
]
