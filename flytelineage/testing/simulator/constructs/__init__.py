"""Every construct of Flyte 1 in its variants, as streams with their truth.

`CONSTRUCTS` is the checklist of what FlyteAdmin publishes, row by row: each entry plays
one construct, together with the executions that it takes over from or that make its
pipeline known. Whoever reads events can be held against all of them in one table test.
"""

# Each of these modules enters its constructs when it is imported.
from flytelineage.testing.simulator.constructs import graphs, made, tasks
from flytelineage.testing.simulator.constructs.material import CONSTRUCTS, START, Construct, Play

__all__ = ["CONSTRUCTS", "START", "Construct", "Play", "graphs", "made", "tasks"]
