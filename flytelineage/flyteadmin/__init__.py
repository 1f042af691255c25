"""Asks FlyteAdmin what its events do not say; the only room that speaks to it.

It is optional: without an endpoint nothing here is used. Whatever Admin answers about
an execution comes out as events, to be recorded like those that were published, so
that a build stays a function of what is stored. Definitions come out as bytes.

No method waits longer than its deadlines, none opens a browser, and all fail with one
of two errors: `AdminUnavailable` (ask later) or `UnknownToAdmin` (it never will know).
All methods may be called by several threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Float, Integer, List, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from flytelineage.entities import ExecutionId
from flytelineage.errors import AdminUnavailable, ConfigError, DecodeError, UnknownToAdmin
from flytelineage.events import Event
from flytelineage.facts import Identifier
from flytelineage.flyteadmin import answers
from flytelineage.flyteadmin.loading import connection_module
from flytelineage.flyteadmin.pace import Pace
from flytelineage.flyteadmin.record import Record
from flytelineage.options import Secret, redact

if TYPE_CHECKING:
    from flytelineage.flyteadmin.connection import Connection

_CREATED = "execution_created_at"
_NEEDS_A_PERSON = frozenset({"standard", "pkce", "deviceflow"})


@dataclass(frozen=True, slots=True)
class ListedExecution:
    """An execution in a list.

    Attributes:
        created_at: By FlyteAdmin's clock; lists are sorted by it.
        phase: At the time of asking.
    """

    id: ExecutionId
    created_at: datetime
    phase: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `token` asks for the next part and is empty for the last."""

    executions: tuple[ListedExecution, ...]
    token: str


class FlyteAdmin(LoggingConfigurable):
    """A client of FlyteAdmin, with flytekit's channel and authentication.

    Constructing one connects to nothing and imports no client.
    """

    endpoint = Unicode(
        "",
        help="""
        Where FlyteAdmin listens for gRPC. With it lineage gets the true names and
        versions of workflows, exact edges, and whatever was lost between FlyteAdmin and
        the queue. Empty: FlyteAdmin is not asked (unless `config_file` names one), and
        names are guessed from the modules of tasks.

        Example: c.FlyteAdmin.endpoint = "dns:///flyte.example.com"
        """,
    ).tag(config=True)

    insecure = Bool(
        None,
        allow_none=True,
        help="""
        Whether to speak without TLS, as inside of a cluster or to a sandbox. Empty:
        what flytekit's configuration says (`admin.insecure`, FLYTE_PLATFORM_INSECURE),
        else TLS.

        Example: c.FlyteAdmin.insecure = True
        """,
    ).tag(config=True)

    ca_cert_file = Unicode(
        "",
        help="""
        A file of PEM certificates to check FlyteAdmin's with, where a private authority
        signed it. Empty: flytekit's configuration, else the public authorities.

        Example: c.FlyteAdmin.ca_cert_file = "/etc/ssl/private-ca.pem"
        """,
    ).tag(config=True)

    auth_mode = Unicode(
        "",
        help="""
        How to sign in: `ClientSecret` (a machine user: needs `client_id` and
        `client_secret`), `ExternalCommand` (`command` prints a token), `none`, or the
        name of a flytekit authentication plugin. Modes that need a person at a browser
        (Pkce, DeviceFlow) are refused, and where flytekit's configuration says one of
        them, nobody signs in. Empty: `ClientSecret` where `client_secret` is given,
        else flytekit's configuration (`admin.authType`, FLYTE_CREDENTIALS_AUTH_MODE).

        Example: c.FlyteAdmin.auth_mode = "ClientSecret"
        """,
    ).tag(config=True)

    client_id = Unicode(
        "",
        help="""
        The id of the machine user, for `ClientSecret`. Empty: flytekit's configuration
        (`admin.clientId`, FLYTE_CREDENTIALS_CLIENT_ID).

        Example: c.FlyteAdmin.client_id = "flytelineage"
        """,
    ).tag(config=True)

    client_secret = Secret(
        help="""
        The secret of the machine user, for `ClientSecret`; read again at each sign-in,
        so a rotated one is taken without a restart. Empty: flytekit's configuration
        (`admin.clientSecretLocation`, FLYTE_CREDENTIALS_CLIENT_SECRET).

        Example: c.FlyteAdmin.client_secret = "file:/run/secrets/flyte"
        """,
    ).tag(config=True)

    scopes = List(
        Unicode(),
        help="""
        The scopes to ask for at sign-in. Empty: flytekit's configuration
        (`admin.scopes`), else those that FlyteAdmin names.

        Example: c.FlyteAdmin.scopes = ["all"]
        """,
    ).tag(config=True)

    audience = Unicode(
        "",
        help="""
        The audience to ask a token for, where the identity provider wants one. Empty:
        flytekit's configuration (`admin.audience`), else what FlyteAdmin names.

        Example: c.FlyteAdmin.audience = "https://flyte.example.com"
        """,
    ).tag(config=True)

    command = List(
        Unicode(),
        help="""
        For `ExternalCommand`: the words of a command that prints a token, within
        `timeout_seconds`. Empty: flytekit's configuration (`admin.command`).

        Example: c.FlyteAdmin.command = ["fetch-token", "--for", "flyte"]
        """,
    ).tag(config=True)

    config_file = Unicode(
        "",
        help="""
        A flytectl or flytekit configuration file; its endpoint is used where `endpoint`
        is empty. Environment variables of flytekit go before it, options here go before
        both. Empty: the file that flytekit finds by itself (FLYTECTL_CONFIG,
        ~/.flyte/config.yaml), whose endpoint is never used.

        Example: c.FlyteAdmin.config_file = "/etc/flyte/config.yaml"
        """,
    ).tag(config=True)

    timeout_seconds = Float(
        10.0,
        min=0.05,
        max=300.0,
        help="""
        How long one call may take, and each step of signing in, in seconds. Raise it
        where large workflows take longer to be sent.

        Example: c.FlyteAdmin.timeout_seconds = 30
        """,
    ).tag(config=True)

    requests_per_second = Float(
        10.0,
        min=0.1,
        help="""
        How many calls FlyteAdmin gets per second on average, from all threads together;
        those of one second may come at once. Raise it to backfill faster, lower it
        where FlyteAdmin's database is busy.

        Example: c.FlyteAdmin.requests_per_second = 50
        """,
    ).tag(config=True)

    page_size = Integer(
        100,
        min=1,
        max=1000,
        help="""
        How many items of a list FlyteAdmin sends at once. Lower it where answers are too
        large (over 64 MiB).

        Example: c.FlyteAdmin.page_size = 50
        """,
    ).tag(config=True)

    @validate("endpoint")
    def _check_endpoint(self, proposal: Any) -> str:
        endpoint = str(proposal["value"]).strip()
        if "://" in endpoint.removeprefix("dns:///"):
            raise TraitError(
                f"FlyteAdmin.endpoint = {redact(endpoint)!r} is a URL of a web page. Give the host "
                "and port of gRPC: 'flyte.example.com:443' or 'dns:///flyte.example.com'"
            )
        return endpoint

    @validate("auth_mode")
    def _check_auth_mode(self, proposal: Any) -> str:
        mode = str(proposal["value"]).strip()
        if mode.lower() in _NEEDS_A_PERSON:
            raise TraitError(
                f"FlyteAdmin.auth_mode = {mode!r} needs a person at a browser. "
                "Use ClientSecret, ExternalCommand or none"
            )
        return mode

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._closed = threading.Event()
        self._pace = Pace(self.requests_per_second, sleep=self._closed.wait)
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    @property
    def configured(self) -> bool:
        """Whether there is an Admin to ask."""
        return bool(self.endpoint or self.config_file)

    # ------------------------------------------------------------------- executions

    def execution(self, id: ExecutionId) -> Event:
        """Who ran what: an event of the kind `execution`. One call.

        Raises:
            UnknownToAdmin: There is no such execution, or its answer makes no sense.
            AdminUnavailable: Ask later.
        """
        return self._event(id, self._record(id).execution())

    def record_of(self, id: ExecutionId) -> Iterator[Event]:
        """Everything that is known of an execution, as events; asked for while iterating.

        First the `execution`, then how its nodes and tasks fared, and at last how the
        workflow ended, so that whoever records them one by one never takes a part for
        the whole. About one call per task. The same record gives the same bytes.

        Raises:
            UnknownToAdmin: There is no such execution, or its answer makes no sense.
            AdminUnavailable: Ask later; what came so far is true.
        """
        record = self._record(id)
        execution = record.execution()
        yield self._event(id, execution)
        for message in answers.workflow_start(execution):
            yield self._event(id, message)
        for message in record.nodes():
            yield self._event(id, message)
        for message in answers.workflow_end(execution):
            yield self._event(id, message)

    def node_events(self, id: ExecutionId) -> Iterator[Event]:
        """What is known of an execution's nodes and tasks: the middle of `record_of`."""
        for message in self._record(id).nodes():
            yield self._event(id, message)

    def dynamic_closure(self, id: ExecutionId, node_id: str) -> Event:
        """The graph that a dynamic node made: a node event of phase DYNAMIC_RUNNING.

        For events that were too large to be published. Two calls.

        Raises:
            UnknownToAdmin: No such node, or it made no graph.
            AdminUnavailable: Ask later.
        """
        return self._event(id, self._record(id).dynamic(node_id))

    def executions(
        self,
        project: str,
        domain: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        token: str = "",
        instance: str = "",
    ) -> Page:
        """A page of the executions created in `since <= created_at < until`, oldest first.

        Times need a zone; `instance` names the deployment in the ids. A token holds for
        the same arguments only.

        Raises:
            AdminUnavailable: Ask later with the same token.
        """
        from flyteidl.admin import common_pb2

        request = common_pb2.ResourceListRequest(
            id=common_pb2.NamedEntityIdentifier(project=project, domain=domain),
            limit=self.page_size,
            token=token,
            filters="+".join(_created(since, until)),
            sort_by=common_pb2.Sort(key=_CREATED, direction=common_pb2.Sort.ASCENDING),
        )
        page = self._ask("ListExecutions", request, f"the executions of {project}/{domain}")
        listed = tuple(_listed(execution, instance) for execution in page.executions)
        return Page(listed, page.token if page.token != token else "")

    # ------------------------------------------------------------------ definitions

    def workflow(self, identifier: Identifier) -> bytes:
        """A version of a workflow: a serialised `admin.Workflow`. One call.

        Raises:
            UnknownToAdmin: There is no such version.
            AdminUnavailable: Ask later.
        """
        return self._definition("GetWorkflow", "WORKFLOW", identifier)

    def launch_plan(self, identifier: Identifier) -> bytes:
        """A version of a launch plan: a serialised `admin.LaunchPlan`. One call.

        Raises:
            UnknownToAdmin: There is no such version.
            AdminUnavailable: Ask later.
        """
        return self._definition("GetLaunchPlan", "LAUNCH_PLAN", identifier)

    # ------------------------------------------------------------------------ rest

    def check(self) -> None:
        """Sign in and list a project, changing nothing.

        Raises:
            ConfigError: The settings cannot work: what is missing and what to type.
            AdminUnavailable: It does not answer us; the message says what to check.
        """
        from flyteidl.admin import project_pb2

        self._connected()
        self._ask("ListProjects", project_pb2.ProjectListRequest(limit=1), "a list of projects")

    def close(self) -> None:
        """Hang up; calls that wait for their turn fail at once. No call comes after."""
        self._closed.set()
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --------------------------------------------------------------------- speaking

    def _record(self, id: ExecutionId) -> Record:
        return Record(self._ask, id, self.page_size)

    def _event(self, id: ExecutionId, message: Any) -> Event:
        try:
            return answers.event(
                message, received_at=datetime.now(timezone.utc), instance=id.instance
            )
        except DecodeError as exc:
            raise UnknownToAdmin(f"What FlyteAdmin says of {id} makes no sense: {exc}") from exc

    def _definition(self, method: str, kind: str, identifier: Identifier) -> bytes:
        from flyteidl.admin import common_pb2
        from flyteidl.core import identifier_pb2

        id = identifier_pb2.Identifier(resource_type=kind, **identifier._asdict())
        about = f"{kind.lower().replace('_', ' ')} {identifier.name} {identifier.version}"
        answer = self._ask(method, common_pb2.ObjectGetRequest(id=id), f"the {about}")
        found: bytes = answer.SerializeToString(deterministic=True)
        return found

    def _ask(self, method: str, request: Any, about: str) -> Any:
        self._pace.wait()
        self.log.debug("Asking FlyteAdmin for %s (%s)", about, method)
        try:
            connection = self._connected()
        except ConfigError as exc:
            # What was right at start may come back: a secret's file that is being replaced.
            raise AdminUnavailable(str(exc)) from exc
        try:
            return connection.ask(method, request, about)
        except AdminUnavailable:
            self._drop(connection)
            raise

    def _connected(self) -> Connection:
        if not self.configured:
            raise ConfigError("FlyteAdmin is not configured: set FlyteAdmin.endpoint")
        with self._lock:
            if self._closed.is_set():
                raise AdminUnavailable("FlyteAdmin is no longer asked: we are stopping")
            if self._connection is None:
                module = connection_module()
                self._connection = module.Connection(self._settings, self.timeout_seconds)
            return self._connection

    def _drop(self, broken: Connection) -> None:
        """Take a new connection next time; calls of others on this one may go on."""
        with self._lock:
            if self._connection is broken:
                self._connection = None

    def _settings(self) -> Any:
        """The `PlatformConfig` that flytekit finds, with what is set here on top."""
        secret = self.client_secret.reveal() if self.client_secret else ""
        ours = {
            "endpoint": self.endpoint,
            "insecure": self.insecure,
            "ca_cert_file_path": self.ca_cert_file,
            "auth_mode": self.auth_mode or ("ClientSecret" if secret else ""),
            "client_id": self.client_id,
            "client_credentials_secret": secret,
            "scopes": list(self.scopes),
            "audience": self.audience,
            "command": list(self.command),
        }
        given = {name: value for name, value in ours.items() if value not in (None, "", [])}
        return connection_module().settings(self.config_file, given)


def _created(since: datetime | None, until: datetime | None) -> Iterator[str]:
    """FlyteAdmin's filters. Source: flyteadmin pkg/manager/impl/util/filters.go."""
    for function, at in (("gte", since), ("lt", until)):
        if at is not None:
            # No offset: a plus would end the filter.
            text = at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            yield f"{function}({_CREATED},{text})"


def _listed(execution: Any, instance: str) -> ListedExecution:
    id, closure = execution.id, execution.closure
    return ListedExecution(
        id=ExecutionId(project=id.project, domain=id.domain, name=id.name, instance=instance),
        created_at=closure.created_at.ToDatetime(tzinfo=timezone.utc),
        phase=answers.phase_of(closure),
    )
