"""`DataHubTarget`: its options, and what happens in one emission."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from traitlets import (
    Bool,
    CaselessStrEnum,
    Dict,
    Enum,
    Float,
    Integer,
    TraitError,
    Unicode,
    default,
    validate,
)

from flytelineage.entities import Lineage, digest
from flytelineage.errors import ConfigError, TargetUnavailable
from flytelineage.options import Secret
from flytelineage.targets import EdgeKeeper, Rejection
from flytelineage.targets.connections import Connections
from flytelineage.targets.datahub.urns import (
    FABRICS,
    FLYTE,
    Spelling,
    Urns,
    check_part,
    fabric_of,
)
from flytelineage.targets.error_text import ERROR_TEXTS

if TYPE_CHECKING:
    from flytelineage.targets.datahub.lineage import Conversion
    from flytelineage.targets.datahub.proposals import Proposal, Refusal


class DataHubTarget(EdgeKeeper):
    """Tells DataHub which pipelines, tasks, datasets and runs there are, and their edges.

    Give either `server`, to send everything to DataHub, or `file`, to write what
    `datahub ingest` loads later::

        DataHubTarget(server="http://localhost:8080").emit([Dataset(...), Task(...)])

    What nobody else describes is replaced. What people may have written, too, is added to
    by PATCH proposals: owners, tags, terms, edges; of ours is taken away what holds no
    longer. Datasets of other platforms are only added to. With `patches` off, which files
    are by default, all is replaced instead: `datahub lite` loads no PATCH, and a server
    that is older than the installed acryl-datahub may refuse some.
    """

    server = Unicode(
        "",
        help="""
        The URL of DataHub's server, GMS, or of the front end's /api/gms. Set either this or
        `file`. Certificates of your own go into the environment's REQUESTS_CA_BUNDLE.

        Example: c.DataHubTarget.server = "https://datahub.example.com/api/gms"
        """,
    ).tag(config=True)

    token = Secret(
        help="""
        An access token of DataHub: the token itself, env:NAME or file:/path; the last two are
        read at each emission, so a new token needs no restart. Needed when DataHub checks
        who writes; None sends no token.

        Example: c.DataHubTarget.token = "env:DATAHUB_TOKEN"
        """,
    ).tag(config=True)

    file = Unicode(
        "",
        help="""
        Where to write proposals instead of sending them. Ending in / it is a directory with
        one JSON array for each execution, which suits a daemon; otherwise one file with one
        array, complete after each emission. Empty writes no files.

        Example: c.DataHubTarget.file = "/var/lib/flytelineage/datahub/"
        """,
    ).tag(config=True)

    env = CaselessStrEnum(
        FABRICS,
        default_value="PROD",
        help="""
        DataHub's environment of all pipelines and datasets. It is a part of every URN: set
        it before the first emission, to what DataHub's sources of your warehouse use, since
        edges connect only where it agrees.

        Example: c.DataHubTarget.env = "DEV"
        """,
    ).tag(config=True)

    platform = Unicode(
        FLYTE,
        help="""
        What Flyte is called in DataHub, as orchestrator and as platform of its datasets. It
        is a part of every URN. Change it only to join entities that exist under another name.

        Example: c.DataHubTarget.platform = "flyte"
        """,
    ).tag(config=True)

    platform_instance = Unicode(
        "",
        help="""
        DataHub's platform instance of this Flyte deployment: the first part of the names of
        its pipelines, datasets and runs. Set it where several deployments report to one
        DataHub. It takes the place of FlyteLineage.instance, which it is by default; empty
        takes what each entity carries.

        Example: c.DataHubTarget.platform_instance = "eu"
        """,
    ).tag(config=True)

    platform_map = Dict(
        help="""
        How DataHub's own sources name datasets of other platforms, where they differ from
        us: for a platform some of `env`, `instance`, `platform` and `case` (keep, lower or
        upper). Edges meet what those sources told only where names are the same, letter by
        letter: set it to what their recipes say of `env`, `platform_instance` and
        `convert_urns_to_lowercase`, before the first emission. Empty names every dataset with
        `env`, without an instance.

        Example: c.DataHubTarget.platform_map = {"s3": {"instance": "eu"}, "glue": {"env": "DEV"}}
        """,
    ).tag(config=True)

    domain_envs = Dict(
        default_value={"development": "DEV", "staging": "STG", "production": "PROD"},
        help="""
        In which environment of DataHub the pipelines and tasks of Flyte's domains are shown;
        others in `env`. It is only shown: a part of no URN, and nothing of datasets, since a
        table is the same whoever reads it. Empty shows all in `env`.

        Example: c.DataHubTarget.domain_envs = {"sandbox": "DEV", "live": "PROD"}
        """,
    ).tag(config=True)

    datasets_only = Bool(
        False,
        help="""
        Whether only datasets are told: no pipelines, tasks, runs and edges. Turn it on when
        something else tells DataHub of those.

        Example: c.DataHubTarget.datasets_only = True
        """,
    ).tag(config=True)

    run_history = Enum(
        ["executions", "all", "last_only", "off"],
        default_value="executions",
        help="""
        Which runs are told: those of workflows, also each attempt of each task, only the last
        one of each workflow, or none. DataHub keeps them for ever: up to seven rows for each
        run, and with `last_only` one entity for each workflow, however often it runs.

        Example: c.DataHubTarget.run_history = "all"
        """,
    ).tag(config=True)

    error_text = Enum(
        list(ERROR_TEXTS),
        default_value="first_line",
        help="""
        What is told of the error of a run that failed: the `first_line` of the message, or of
        a traceback the line that names the exception; the `full` message within 4,000 bytes;
        only the `code`, without a word of the user's; or nothing (`off`). Everybody who sees
        the run in DataHub can read it.

        Example: c.DataHubTarget.error_text = "code"
        """,
    ).tag(config=True)

    patches = Bool(
        True,
        help="""
        Whether what others may have written, too, is told as a PATCH: edges of tasks, owners,
        tags, terms, structured properties, and what is known of other platforms' datasets.
        Then ours is added to theirs, and of ours is taken away what holds no longer. Without,
        all is replaced, also what people wrote, and what is not surely ours is not told:
        turn it off for servers that are too old for patches, and for `datahub lite`, which
        loads none. By default it is on with `server` and off with `file`.

        Example: c.DataHubTarget.patches = True
        """,
    ).tag(config=True)

    owners_and_tags = Enum(
        ["patch", "upsert", "off"],
        default_value="patch",
        help="""
        How owners and tags of Flyte's entities are told. `patch` adds them to those that
        people gave in DataHub; `upsert` replaces those; `off` tells none. By default it
        follows `patches`. Take `upsert` for a DataHub that is older than the installed
        acryl-datahub and refuses its patches of owners and tags.

        Example: c.DataHubTarget.owners_and_tags = "upsert"
        """,
    ).tag(config=True)

    foreign_schemas = Bool(
        False,
        help="""
        Whether schemas of datasets of other platforms are told. Turn it on when DataHub has
        no source for those platforms: a schema that such a source wrote is replaced.

        Example: c.DataHubTarget.foreign_schemas = True
        """,
    ).tag(config=True)

    create_platform = Bool(
        True,
        help="""
        Whether the platform `flyte` is told to DataHub, which does not know it by itself,
        once for each start and together with the first execution. Turn it off when the token
        may not edit platforms; a refusal is only logged.

        Example: c.DataHubTarget.create_platform = False
        """,
    ).tag(config=True)

    platform_logo_url = Unicode(
        "",
        help="""
        A picture that browsers load as Flyte's logo. Empty shows none.

        Example: c.DataHubTarget.platform_logo_url = "https://example.com/flyte.png"
        """,
    ).tag(config=True)

    emit_mode = Enum(
        ["sync", "sync_wait", "async"],
        default_value="sync",
        help="""
        What DataHub has done when it says yes. `sync`: it stored everything; search follows
        within seconds. `sync_wait`: its search index has it too, which is slower and for
        tests. `async`: it only queued everything. That is faster, but what it finds wrong
        later nobody is told, and an execution counts as delivered all the same.

        Example: c.DataHubTarget.emit_mode = "async"
        """,
    ).tag(config=True)

    timeout_seconds = Float(
        30.0,
        min=0.01,
        help="""
        Seconds to wait for each answer of the server. Raise it when DataHub is slow; what
        takes longer is tried again later.

        Example: c.DataHubTarget.timeout_seconds = 60
        """,
    ).tag(config=True)

    connect_timeout_seconds = Float(
        3.0,
        min=0.01,
        help="""
        Seconds to wait for a connection to the server. Raise it for slow networks.

        Example: c.DataHubTarget.connect_timeout_seconds = 10
        """,
    ).tag(config=True)

    batch_size = Integer(
        200,
        min=1,
        max=200,
        help="""
        Proposals in one request; most executions need one request. Lower it when the server
        does not finish one within `timeout_seconds`; what a proxy finds too large is
        divided anyhow.

        Example: c.DataHubTarget.batch_size = 50
        """,
    ).tag(config=True)

    # Two threads that begin at once both introduce the platform, which does no harm.
    _introduced = False

    # A destination decides both of these, the contract has one answer for each class.
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not self.server and not self.file:
            raise ConfigError(
                "DataHubTarget needs a destination: set DataHubTarget.server = "
                '"http://host:8080" or DataHubTarget.file = "datahub/"'
            )
        self._destinations: Connections[_Destination] = Connections()

    @property
    def parallel(self) -> bool:  # type: ignore[override]
        """True for a server; a file is written by one thread at a time."""
        return not self.file

    @property
    def remote(self) -> bool:  # type: ignore[override]
        """False where only files are written."""
        return not self.file

    @property
    def journal(self) -> bool:  # type: ignore[override]
        """True for a directory: a file stands for its execution and must be whole."""
        return self.file.endswith("/")

    @property
    def last_run_only(self) -> bool:  # type: ignore[override]
        """True where one entity stands for the last run of a pipeline."""
        return bool(self.run_history == "last_only")

    @validate("server")
    def _check_server(self, proposal: Any) -> Any:
        server = proposal["value"]
        if server and not server.startswith(("http://", "https://")):
            raise TraitError("DataHubTarget.server must begin with http:// or https://")
        self._check_exclusive()
        return server

    @validate("file")
    def _check_file(self, proposal: Any) -> Any:
        self._check_exclusive()
        return proposal["value"]

    @validate("platform", "platform_instance")
    def _check_name(self, proposal: Any) -> Any:
        _explained(proposal["trait"].name, check_part, "it", proposal["value"])
        return proposal["value"]

    @default("patches")
    def _default_patches(self) -> bool:
        return not self.file

    @default("owners_and_tags")
    def _default_owners_and_tags(self) -> str:
        return "patch" if self.patches else "upsert"

    @validate("platform_map")
    def _check_platform_map(self, proposal: Any) -> Any:
        for platform, given in proposal["value"].items():
            if platform == FLYTE:
                raise TraitError(
                    "DataHubTarget.platform_map is about other platforms; of Flyte's own "
                    "datasets set DataHubTarget.platform, platform_instance and env"
                )
            _explained(f"platform_map[{platform!r}]", Spelling.of, given)
        return proposal["value"]

    @validate("domain_envs")
    def _check_domain_envs(self, proposal: Any) -> Any:
        for domain, env in proposal["value"].items():
            _explained(f"domain_envs[{domain!r}]", fabric_of, env)
        return proposal["value"]

    def _check_exclusive(self) -> None:
        if self.server and self.file:
            raise TraitError(
                "Set either DataHubTarget.server or DataHubTarget.file, not both; for both, "
                "configure two targets"
            )

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        """Send or write everything that is known, as few requests as possible.

        Raises:
            ConfigError: Another process writes to the file.
        """
        with self._open() as destination:
            return self._tell(destination, lineage)

    def _tell(self, destination: _Destination, lineage: Lineage) -> list[Rejection]:
        conversion, now = self._conversion(), self._now()
        proposals = conversion.proposals(lineage, now)
        if not proposals:
            return []
        unsound = _faults(proposals)
        refused = {id(each.proposal) for each in unsound}
        sound = [proposal for proposal in proposals if id(proposal) not in refused]
        at = lineage.started_at or now
        platform = self._introduction(conversion.platform(self.platform_logo_url, at))
        refusals = [*unsound, *self._deliver(destination, _name(lineage), platform, sound)]
        return [rejection for refusal in refusals for rejection in _rejections(refusal)]

    def check(self) -> None:
        """Reach the server with the token, or see that files could be written."""
        with self._open() as destination:
            destination.check()

    def close(self) -> None:
        """Close the connections or the file."""
        self._destinations.close()

    def _open(self) -> AbstractContextManager[_Destination]:
        """Where proposals go; opened anew when the token has changed."""
        token = self.token.reveal() if self.token and self.server else None
        key = (self.server, self.file, token)
        return self._destinations.borrowed(key, lambda: self._new_destination(token))

    def _new_destination(self, token: str | None) -> _Destination:
        _import_client()
        if self.file:
            from flytelineage.targets.datahub.files import ArrayFile, DirectoryFiles

            path = Path(self.file).expanduser().absolute()
            return DirectoryFiles(path) if self.journal else ArrayFile(path)
        from flytelineage.targets.datahub.gms import Gms

        return Gms(
            self.server,
            token,
            connect_timeout_seconds=self.connect_timeout_seconds,
            timeout_seconds=self.timeout_seconds,
            batch_size=self.batch_size,
            mode=cast(Any, self.emit_mode),
        )

    def _conversion(self) -> Conversion:
        from flytelineage.targets.datahub.aspects import Describer
        from flytelineage.targets.datahub.edges import Edges
        from flytelineage.targets.datahub.lineage import Conversion
        from flytelineage.targets.datahub.people import People
        from flytelineage.targets.datahub.runs import History

        urns = self._urns()
        # The traits allow nothing else than these literals; their type says only `str`.
        people = People(urns, self.patches, cast(Any, self.owners_and_tags))
        edges = Edges(urns, self.patches)
        describer = Describer(urns, people, edges, self.patches, self.foreign_schemas)
        history = History(urns, cast(Any, self.run_history), cast(Any, self.error_text))
        return Conversion(describer, history, self.datasets_only)

    def _urns(self) -> Urns:
        return Urns(
            platform=self.platform,
            instance=self.platform_instance,
            env=self.env,
            spellings={name: Spelling.of(given) for name, given in self.platform_map.items()},
            domain_envs={domain: fabric_of(env) for domain, env in self.domain_envs.items()},
        )

    def _introduction(self, platform: Proposal) -> list[Proposal]:
        """What the platform is called, unless that was told or is not wanted."""
        # A platform of another name is somebody else's, who described it.
        wanted = self.create_platform and self.platform == FLYTE
        return [platform] if wanted and not self._introduced else []

    def _deliver(
        self,
        destination: _Destination,
        name: str,
        platform: Sequence[Proposal],
        proposals: Sequence[Proposal],
    ) -> list[Refusal]:
        """Send all in order; only the platform may be forbidden without consequence."""
        if self.file:
            destination.send("platform", platform)
            refusals = destination.send(name, proposals)
        else:
            refusals = self._send(destination, name, platform, proposals)
        self._introduced = True
        return refusals

    def _send(
        self,
        destination: _Destination,
        name: str,
        platform: Sequence[Proposal],
        proposals: Sequence[Proposal],
    ) -> list[Refusal]:
        """The platform goes with the first batch, which needs no request more.

        Who may edit pipelines may not always edit platforms, and then the whole batch is
        forbidden: without the platform it shows whether that was all.
        """
        try:
            refusals = destination.send(name, [*platform, *proposals])
        except TargetUnavailable as exc:
            if not platform:
                raise
            refusals = destination.send(name, proposals)
            self._warn_of_platform(str(exc))
        of_platform = [each for each in refusals if each.proposal in platform]
        for refusal in of_platform:
            self._warn_of_platform(refusal.reason)
        return [refusal for refusal in refusals if refusal not in of_platform]

    def _warn_of_platform(self, reason: str) -> None:
        self.log.warning("DataHub was not told of the platform %s: %s", self.platform, reason)

    def _now(self) -> datetime:
        """When what a library user says without a time is true."""
        return datetime.now(timezone.utc)


class _Destination(Protocol):
    """Takes proposals; raises what `Target.emit` may raise."""

    def send(self, name: str, proposals: Sequence[Proposal]) -> list[Refusal]:
        """Deliver all; `name` says what they are about."""

    def check(self) -> None:
        """Reach it without changing it."""

    def close(self) -> None:
        """Let go."""


def _import_client() -> None:
    """Import DataHub's client: slow, so only now, and without its noise.

    Raises:
        ConfigError: It is not installed.
    """
    # Its telemetry would tell others who uses it; somebody may have allowed that.
    os.environ.setdefault("DATAHUB_TELEMETRY_ENABLED", "false")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in ("gms", "lineage"):
                importlib.import_module(f"flytelineage.targets.datahub.{module}")
    except ImportError as exc:
        raise ConfigError(
            f"DataHubTarget needs acryl-datahub ({exc}): pip install 'flytelineage[datahub]'"
        ) from exc


def _explained(name: str, check: Callable[..., Any], *given: Any) -> None:
    """Let a check say what is wrong with an option, and with which."""
    try:
        check(*given)
    except ValueError as exc:
        raise TraitError(f"DataHubTarget.{name}: {exc}") from exc


def _faults(proposals: Sequence[Proposal]) -> list[Refusal]:
    from flytelineage.targets.datahub.proposals import faults

    return faults(proposals)


def _name(lineage: Lineage) -> str:
    """The execution; entities without one are named by what is said of them."""
    return str(lineage.execution or f"entities/{digest(lineage)[:16]}")


def _rejections(refusal: Refusal) -> list[Rejection]:
    return [
        Rejection(entity=refusal.proposal.entity, aspect=aspect, reason=refusal.reason)
        for aspect in refusal.proposal.aspects
    ]
