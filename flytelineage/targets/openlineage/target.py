"""`OpenLineageTarget`: its options, and what happens in one emission."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from traitlets import Bool, Dict, Enum, TraitError, Unicode, default, validate

from flytelineage.entities import Lineage
from flytelineage.errors import ConfigError
from flytelineage.options import SecretDict, revealed
from flytelineage.targets import Rejection, Target
from flytelineage.targets.connections import Connections
from flytelineage.targets.error_text import ERROR_TEXTS
from flytelineage.targets.openlineage import settings
from flytelineage.targets.openlineage.names import NAMESPACE, PLACEHOLDERS, Names
from flytelineage.templates import Template

if TYPE_CHECKING:
    from flytelineage.targets.openlineage.events import Conversion
    from flytelineage.targets.openlineage.transport import Connection


_BATCH = 100
"""Events that are made before they are sent: by turns takes a tenth more time."""


class OpenLineageTarget(Target):
    """Tells consumers of OpenLineage of runs, jobs and datasets, an event at a time.

    Each execution and each attempt at a task is a run with a START and an end, told when
    the execution is over; a second delivery gives the same events. Entities that a library
    user emits without an execution become events of datasets and jobs::

        OpenLineageTarget(transport={"type": "http", "url": "http://localhost:5000"}).emit(
            [Dataset(...), Task(...)]
        )

    Nothing is taken back: OpenLineage has no words for an edge that is gone, consumers show
    what the last run of a job told.

    Events stay below a megabyte as far as they can: documentation is cut at 16 kB and SQL at
    64 kB, schemas that do not fit are told in events of their own, and the facet `lineage`
    is left out where it would have more than 2,000 ends of edges.
    """

    journal = True

    transport = SecretDict(
        shown=settings.SHOWN,
        help="""
        How events are delivered, as OpenLineage's Python client takes it: `type` is `http`,
        `file`, `kafka`, `composite` or any other of its transports, or the dotted path of a
        class. Texts but those that are known to be harmless are secrets and never shown; any
        may be given as env:NAME or file:/path, read at each emission. Nothing of the client's
        environment variables and openlineage.yml is mixed in, unless this is empty: then
        they say everything. Retries are off, as the daemon tries again; files are added to;
        each part of a `composite` must take an event before the next one is sent, unless it
        says otherwise. Name several targets where one must not wait for another.

        Example: c.OpenLineageTarget.transport = {"type": "http", "url": "http://localhost:5000"}
        """,
    ).tag(config=True)

    namespace = Template(
        NAMESPACE,
        keys=PLACEHOLDERS,
        help="""
        The namespace of Flyte's jobs and datasets: a template of {admin_host}, {project},
        {domain} and {instance}. What of project and domain it leaves out begins the names of
        jobs instead. Set it before the first emission: jobs of another namespace are other
        jobs. Do without further colons for Marquez, and without slashes where dbt older than
        1.52 runs in tasks.

        Example: c.OpenLineageTarget.namespace = "flyte.{project}.{domain}"
        """,
    ).tag(config=True)

    admin_host = Unicode(
        "",
        help="""
        What {admin_host} stands for in `namespace`: the host of FlyteAdmin, without a port.
        Set it where FlyteAdmin has a public name beside its internal one. Empty takes the
        host of FlyteAdmin.endpoint, else FlyteLineage.instance, else `flyte`.

        Example: c.OpenLineageTarget.admin_host = "flyte.example.com"
        """,
    ).tag(config=True)

    namespaces = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""
        The namespaces of datasets of other platforms, by platform. URIs in Flyte mostly name
        no host, while the integrations of a database name one: set it, or edges to their
        tables do not meet. {container} stands for the bucket or container that begins a name.
        A platform that is not named here has its own name, and object stores their buckets.

        Example: c.OpenLineageTarget.namespaces = {"snowflake": "snowflake://org-account"}
        """,
    ).tag(config=True)

    emit_running = Bool(
        False,
        help="""
        Whether the START of an execution is told while it still runs. Turn it on to see it
        soon: each execution then takes one delivery more.

        Example: c.OpenLineageTarget.emit_running = True
        """,
    ).tag(config=True)

    error_text = Enum(
        list(ERROR_TEXTS),
        default_value=ERROR_TEXTS[0],
        help="""
        How much of an error is told: `first_line`, the line that says what happened; `full`,
        the whole message within 4,000 bytes; `code` without any message; `off` nothing.
        Messages are what users' code said, and may hold data.

        Example: c.OpenLineageTarget.error_text = "code"
        """,
    ).tag(config=True)

    flyte_version = Unicode(
        "",
        help="""
        The release of Flyte, told as processing engine. Events do not say it; empty tells
        none.

        Example: c.OpenLineageTarget.flyte_version = "1.16.0"
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not self.transport and not settings.is_configured_elsewhere():
            raise ConfigError(settings.NOT_CONFIGURED)
        self._connections: Connections[Connection] = Connections()

    @property
    def parallel(self) -> bool:  # type: ignore[override]
        """True where all goes to servers by requests that wait for their answers."""
        return bool(self.transport) and settings.is_served(self.transport)

    @property
    def remote(self) -> bool:  # type: ignore[override]
        """False where only files, the log or nothing is written."""
        return not settings.is_local(self.transport)

    @property
    def running(self) -> bool:  # type: ignore[override]
        """True where the START of what still runs is told."""
        return bool(self.emit_running)

    @default("admin_host")
    def _host_of_admin(self) -> str:
        endpoint = str(self._configured("FlyteAdmin", "endpoint"))
        host = endpoint.removeprefix("dns:///").partition("/")[0].rpartition(":")
        return (host[0] or host[2]).lower() or str(self._configured("FlyteLineage", "instance"))

    def _configured(self, section: str, name: str) -> Any:
        """An option of the program that this target is a part of."""
        return self.config[section].get(name, "") if section in self.config else ""

    @validate("transport")
    def _check_transport(self, proposal: Any) -> Any:
        given = proposal["value"]
        for kind in settings.kinds(given) if given else ():
            if not settings.is_kind(kind):
                raise TraitError(
                    f"OpenLineageTarget.transport: its type {kind!r} is none of "
                    f"{', '.join(settings.KINDS)}, and no dotted path of a class"
                )
        return given

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        """Send the events one after the other, in the order of the graph.

        Raises:
            ConfigError: The transport cannot be made.
        """
        with self._open() as connection:
            return self._tell(connection, lineage)

    def _tell(self, connection: Connection, lineage: Lineage) -> list[Rejection]:
        conversion = self._conversion()
        refused = {each.entity: each for each in conversion.nameless(lineage)}
        connection.begin()
        messages = conversion.messages(lineage, self._now())
        while batch := list(islice(messages, _BATCH)):
            for entity, event in batch:
                reason = connection.send(event)
                if reason is not None:
                    refused.setdefault(entity, Rejection(entity=entity, reason=reason))
        connection.finish()
        return list(refused.values())

    def check(self) -> None:
        """Make the transport, and reach its server or see that its file could be written."""
        with self._open() as connection:
            connection.check()

    def close(self) -> None:
        """Close the transports."""
        self._connections.close()

    def _open(self) -> AbstractContextManager[Connection]:
        """The transport; made anew when a secret has changed."""
        given = revealed(self.transport)
        return self._connections.borrowed(given, lambda: self._connected(given))

    def _connected(self, transport: dict[str, Any]) -> Connection:
        _import_client()
        from flytelineage.targets.openlineage.transport import Connection

        connection = Connection(transport)
        if not transport:
            self.log.info(
                "OpenLineageTarget.transport is empty: events go by %s, as OpenLineage's own "
                "environment variables or openlineage.yml say",
                connection,
            )
        return connection

    def _conversion(self) -> Conversion:
        from flytelineage.targets.openlineage.events import Conversion
        from flytelineage.targets.openlineage.facets import Facets

        names = Names(self.namespace, self.admin_host, self.namespaces)
        # The trait allows nothing else than these literals; its type says only `str`.
        facets = Facets(names, cast(Any, self.error_text), self.flyte_version)
        return Conversion(facets, self.emit_running)

    def _now(self) -> datetime:
        """When what a library user says without a time is true."""
        return datetime.now(timezone.utc)


def _import_client() -> None:
    """Import OpenLineage's client: slow, so only now.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        importlib.import_module("flytelineage.targets.openlineage.transport")
    except ImportError as exc:
        raise ConfigError(
            f"OpenLineageTarget needs openlineage-python ({exc}): "
            "pip install 'flytelineage[openlineage]'"
        ) from exc
