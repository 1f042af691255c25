"""Registers Parquet datasets as tables; decides what to create, update and leave alone."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Enum, Float, Integer, TraitError, Unicode, validate

from flytelineage.entities import Dataset, Lineage
from flytelineage.errors import (
    ConfigError,
    PermanentTargetError,
    TargetError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.targets import Rejection, Target
from flytelineage.targets.glue import names, tables
from flytelineage.targets.glue.tables import Wanted

if TYPE_CHECKING:
    from flytelineage.targets.glue.catalog import Catalog

_ROUNDS = 5
"""How often a table is looked at again when somebody else changed it meanwhile."""


class GlueCatalogTarget(Target):
    """Keeps a table in the AWS Glue Data Catalog for each Parquet dataset of a task.

    A table needs a schema, a folder on S3 and the format `parquet`, told together the
    first time; later each may be told alone. All other entities are of no concern here:
    Glue knows no lineage. Tables are never deleted, and a table that flytelineage did
    not make is refused.
    """

    keeps = frozenset({"datasets"})

    mode = Enum(
        ["register"],
        default_value="register",
        help="""
        How data gets into the catalogue. `register` describes it where the task wrote it
        and copies nothing.

        Example: c.GlueCatalogTarget.mode = "register"
        """,
    ).tag(config=True)

    db_name = Unicode(
        "",
        help="""
        The database of all tables. Set it when projects and domains should share one, or
        when the role may use just one. Empty gives each project and domain its own,
        `flyte_<domain>_<project>`.

        Example: c.GlueCatalogTarget.db_name = "lake"
        """,
    ).tag(config=True)

    create_database = Bool(
        True,
        help="""
        Whether a database that does not exist is created. Turn it off when databases are
        made by other tools; then deliveries wait until somebody made it.

        Example: c.GlueCatalogTarget.create_database = False
        """,
    ).tag(config=True)

    table_name = Unicode(
        "{workflow}__{task}__{variable}",
        help="""
        How tables are named: a template of {project}, {domain} and the last parts of the
        names of {workflow}, {task} and {variable}, in lower case. When two datasets come to
        one name, the later gets a digest behind it. Change it before the first table is
        made: those that exist keep their names and are no longer updated.

        Example: c.GlueCatalogTarget.table_name = "{task}__{variable}"
        """,
    ).tag(config=True)

    versioning = Bool(
        False,
        help="""
        Whether Glue keeps the old version of a table that is updated. Each run moves its
        tables, so this adds a version a run, and Glue allows 100 000 a table.

        Example: c.GlueCatalogTarget.versioning = True
        """,
    ).tag(config=True)

    adopt_existing = Bool(
        False,
        help="""
        Whether tables that flytelineage did not make may be updated. Turn it on to take over
        tables of a crawler; comments, parameters and owners are kept. Views, resource links,
        Iceberg, Delta and Hudi tables are left alone in any case.

        Example: c.GlueCatalogTarget.adopt_existing = True
        """,
    ).tag(config=True)

    aws_region = Unicode(
        "",
        help="""
        The region of the catalogue. Set it when it is not the queue's. Empty takes
        FlyteLineage.aws_region, and in a library what boto3 finds.

        Example: c.GlueCatalogTarget.aws_region = "eu-central-1"
        """,
    ).tag(config=True)

    catalog_id = Unicode(
        "",
        help="""
        The account that owns the catalogue. Set it to write into another account's; empty is
        the account of the credentials.

        Example: c.GlueCatalogTarget.catalog_id = "123456789012"
        """,
    ).tag(config=True)

    database_tags = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""
        AWS tags of databases that are created, e.g. for cost reports. Empty sets none; any
        needs the right to glue:TagResource.

        Example: c.GlueCatalogTarget.database_tags = {"team": "data"}
        """,
    ).tag(config=True)

    timeout_seconds = Float(
        10.0,
        min=0.1,
        help="""
        Seconds to wait for a connection, and for each answer of Glue. Raise it for slow
        networks; a call that takes longer is tried again later.

        Example: c.GlueCatalogTarget.timeout_seconds = 30
        """,
    ).tag(config=True)

    max_attempts = Integer(
        3,
        min=1,
        max=10,
        help="""
        How often one call is tried within a delivery. Few are enough, since deliveries are
        repeated too.

        Example: c.GlueCatalogTarget.max_attempts = 1
        """,
    ).tag(config=True)

    @validate("table_name")
    def _known_keys(self, proposal: Any) -> str:
        template: str = proposal["value"]
        try:
            unknown = names.unknown_keys(template)
        except ValueError as exc:
            raise TraitError(f"GlueCatalogTarget.table_name: {exc}: {template!r}") from exc
        if unknown or "{" not in template:
            known = ", ".join(f"{{{key}}}" for key in names.TEMPLATE_KEYS)
            raise TraitError(f"GlueCatalogTarget.table_name must be made of {known}: {template!r}")
        return template

    @cached_property
    def client(self) -> Any:
        """The boto3 client for Glue, made when it is first needed."""
        from flytelineage.targets.glue.catalog import connect

        region = self.aws_region or getattr(self.parent, "aws_region", "")
        return connect(region, timeout_seconds=self.timeout_seconds, max_attempts=self.max_attempts)

    @cached_property
    def _catalog(self) -> Catalog:
        from flytelineage.targets.glue.catalog import Catalog

        return Catalog(self.client, self.catalog_id)

    # ---------------------------------------------------------------------- contract

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        """Bring the table of each dataset up to date; the rest of the lineage is ignored."""
        origins = names.Origins(lineage)
        rejections = []
        for dataset in lineage.datasets:
            wanted = self._wanted(dataset, origins)
            try:
                if wanted is not None:
                    self._register(wanted)
            except PermanentTargetError as exc:
                rejections.append(Rejection(entity=dataset.urn, reason=str(exc)))
        return rejections

    def check(self) -> None:
        """Ask for the database; where each project has its own, for any."""
        # An answer about a database that does not exist shows the right to ask as well.
        name = self.db_name or "flyte_"
        try:
            found = self._catalog.has_database(name)
        except TargetError as exc:
            raise ConfigError(f"GlueCatalogTarget: {exc}") from exc
        if self.db_name and not found and not self.create_database:
            raise ConfigError(f"GlueCatalogTarget: {_no_database(name)}")

    def close(self) -> None:
        """Let go of the connections; they come back when they are needed."""
        if "client" in self.__dict__:
            self.client.close()
        self.__dict__.pop("client", None)
        self.__dict__.pop("_catalog", None)

    # ------------------------------------------------------------------------ tables

    def _wanted(self, dataset: Dataset, origins: names.Origins) -> Wanted | None:
        """What is known of the dataset's table; `None` when it can have none."""
        if dataset.storage is None and dataset.schema_ is None:
            return None
        origin = origins.of(dataset)
        reason = "no task of this lineage wrote it" if origin is None else _hindrance(dataset)
        if origin is None or reason:
            self.log.debug("%s gets no table: %s", dataset.id, reason)
            return None
        return tables.wanted(
            dataset,
            origin,
            origins.tasks.get(origin.task),
            database=self.db_name.lower() or names.database_name(origin),
            name=names.table_name(self.table_name, origin),
        )

    def _register(self, wanted: Wanted) -> None:
        """Create or update the table, unless it says all this already."""
        for _ in range(_ROUNDS):
            name, theirs = self._find(wanted)
            if theirs is None:
                done = self._create(wanted, name)
            else:
                done = self._update(wanted, name, theirs)
            if done:
                return
        raise TransientTargetError(f"Glue: {wanted.database}.{wanted.name} keeps changing")

    def _find(self, wanted: Wanted) -> tuple[str, dict[str, Any] | None]:
        """The name under which the dataset stands or will stand, and its table there.

        The plain name is taken when it is free, unless the dataset had to give way before:
        then it keeps the name it got, even if the other table is gone by now.
        """
        plain = self._catalog.table(wanted.database, wanted.name)
        if plain is not None and not tables.is_anothers(plain, wanted.dataset):
            return wanted.name, plain
        other = self._catalog.table(wanted.database, wanted.other_name)
        if plain is None and other is None:
            return wanted.name, None
        return wanted.other_name, other

    def _create(self, wanted: Wanted, name: str) -> bool:
        if not wanted.complete:
            self.log.debug("%s gets no table yet: not all is known", wanted.dataset)
            return True
        self._ensure_database(wanted.database)
        table = tables.merged({}, wanted, name)
        self._warn_of_columns(wanted)
        return self._catalog.create_table(wanted.database, table)

    def _update(self, wanted: Wanted, name: str, theirs: dict[str, Any]) -> bool:
        reason = tables.protection(theirs, adopt=self.adopt_existing)
        if reason is not None:
            raise PermanentTargetError(f"Glue: {wanted.database}.{name} is left alone: {reason}")
        table = tables.merged(theirs, wanted, name)
        if not tables.changed(theirs, table):
            return True
        self._warn_of_columns(wanted)
        return self._catalog.update_table(
            wanted.database, table, theirs.get("VersionId"), archive=self.versioning
        )

    def _ensure_database(self, name: str) -> None:
        if self._catalog.has_database(name):
            return
        if not self.create_database:
            raise TargetUnavailable(f"Glue: {_no_database(name)}")
        self._catalog.create_database(name, self.database_tags)

    def _warn_of_columns(self, wanted: Wanted) -> None:
        if wanted.columns and wanted.columns.left_out:
            left_out = ", ".join(wanted.columns.left_out)
            self.log.warning("%s: Athena has no type for %s", wanted.dataset, left_out)


def _hindrance(dataset: Dataset) -> str | None:
    """Why the data cannot be a table where it lies; `None` when it can."""
    storage = dataset.storage
    if storage and storage.format not in ("parquet", None):
        return f"its format is {storage.format}"
    if storage and tables.location(storage) is None:
        return f"{storage.uri} is no folder of its own on S3"
    return None


def _no_database(name: str) -> str:
    return (
        f"the database {name} does not exist: create it, or set "
        "GlueCatalogTarget.create_database = True and allow glue:CreateDatabase"
    )
