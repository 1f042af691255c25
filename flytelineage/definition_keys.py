"""The keys under which definitions are kept: one for each version of each thing.

A registered version never changes, so what FlyteAdmin once said of it holds for good,
and its answer is looked up instead of being asked for again.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from flytelineage.facts import Identifier

DefinitionKind = Literal["workflow", "launch_plan", "dynamic"]

_PLAIN = "-._~@:+=,!"
"""Characters that stay as they are; a slash in a version must not pass for a border."""


def definition_key(kind: DefinitionKind, identifier: Identifier, instance: str = "") -> str:
    """The key of one version, `<kind>:<instance?>/<project>/<domain>/<name>/<version>`.

    Args:
        kind: `workflow` for a serialised admin.Workflow, `launch_plan` for an
            admin.LaunchPlan, `dynamic` for a core.CompiledWorkflowClosure.
        identifier: What was registered.
        instance: Names the Flyte deployment, as in the ids of its executions.
    """
    parts = (*((instance,) if instance else ()), *identifier)
    return f"{kind}:{'/'.join(quote(part, safe=_PLAIN) for part in parts)}"
