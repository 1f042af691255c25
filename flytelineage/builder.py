"""The options of `build_lineage`: what an operator decides about lineage."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from traitlets import Bool, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from flytelineage.console import Console
from flytelineage.dataset_names import Names
from flytelineage.dataset_rules import DatasetRules, rules_of
from flytelineage.facts import Facts
from flytelineage.flow import Collected
from flytelineage.lineage import SOURCE_KEYS, Build, Rules, build_lineage
from flytelineage.templates import Template


class LineageBuilder(LoggingConfigurable):
    """Builds the lineage of one execution at a time; may be shared by threads."""

    infer_order = Bool(
        False,
        help="""
        Whether a task for which nothing better is known is told to come after those that
        were over just before it began, as the order of node events has it. Such edges are
        marked `order`. Useful where tasks hand on no data and FlyteAdmin is not asked;
        two tasks that only happened to run one after the other look the same.

        Example: c.LineageBuilder.infer_order = True
        """,
    ).tag(config=True)

    trim_dates = Bool(
        False,
        help="""
        Whether folders that are dates (`2026/01/31`, `2026-01-31`, `20260131`) are left out
        of the names of datasets, as hive partitions (`dt=2026-01-31`) always are. Decide
        before the first run: names cannot change later.

        Example: c.LineageBuilder.trim_dates = True
        """,
    ).tag(config=True)

    dataset_rules = DatasetRules(
        help="""
        Your own rules from a URI to the dataset at it, tried in this order before all
        others. Each is a dict with `pattern`, `platform` and `name`, whose named groups
        may be used in both, or the dotted path of a function that takes the URI and
        returns platform and name, or None. Flyte's raw output is never asked for. Decide
        before the first run: names cannot change later.

        Example: c.LineageBuilder.dataset_rules = ["my_rules.name_of"]
        """,
    ).tag(config=True)

    owner_label = Unicode(
        "",
        help="""
        The label of executions that names owners, with commas between several. They own
        the pipeline and its tasks. Labels come with cloud events of version 2 and from
        FlyteAdmin. Empty: no label does.

        Example: c.LineageBuilder.owner_label = "team"
        """,
    ).tag(config=True)

    owner_principal = Bool(
        False,
        help="""
        Whether who started an execution owns its pipeline and tasks. Off by default: it is
        a property of the run, and often the name of a robot.

        Example: c.LineageBuilder.owner_principal = True
        """,
    ).tag(config=True)

    source_url = Template(
        "",
        keys=SOURCE_KEYS,
        empty=True,
        help="""
        Where the source code of a version is: a URL with {version}, {project}, {domain},
        {name} and {module}, the module with slashes. Useful where versions are commits.
        Empty tells no source.

        Example: c.LineageBuilder.source_url = "https://git.example.com/flows/tree/{version}"
        """,
    ).tag(config=True)

    console_url = Unicode(
        "",
        help="""
        FlyteConsole, up to `/console`: runs, pipelines and tasks are then told with links to
        their pages. Empty tells no such links.

        Example: c.LineageBuilder.console_url = "https://flyte.example.com/console"
        """,
    ).tag(config=True)

    @cached_property
    def names(self) -> Names:
        """The names of datasets by their URIs."""
        return Names(rules=rules_of(self.dataset_rules), trim_dates=self.trim_dates)

    @cached_property
    def rules(self) -> Rules:
        """What was decided, for `build_lineage`."""
        return Rules(
            names=self.names,
            infer_order=self.infer_order,
            owner_label=self.owner_label,
            owner_principal=self.owner_principal,
            source_url=self.source_url,
            console=Console(self.console_url),
        )

    @validate("console_url")
    def _check_console(self, proposal: Any) -> Any:
        url = proposal["value"]
        if url and not url.startswith(("http://", "https://")):
            raise TraitError("LineageBuilder.console_url must begin with http:// or https://")
        return url

    def check(self) -> None:
        """Load what the options name, so that a mistake shows before the first build.

        Raises:
            ConfigError: A function of `dataset_rules` cannot be loaded.
        """
        _ = self.rules

    def build(self, facts: Facts, collected: Collected) -> Build:
        """All that one execution tells; see `build_lineage`."""
        return build_lineage(facts, collected, self.rules)
