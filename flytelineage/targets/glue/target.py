"""Registers datasets as tables; decides what to create, update and leave alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Enum, Float, Integer, List, TraitError, Unicode, validate

from flytelineage.entities import Copy, Dataset, DatasetId, Lineage, Storage
from flytelineage.errors import (
    ConfigError,
    PermanentTargetError,
    TargetError,
    TargetUnavailable,
    TransientTargetError,
)
from flytelineage.permissions import Statement
from flytelineage.targets import Rejection, Target
from flytelineage.targets.glue import layout, names, rights, tables
from flytelineage.targets.glue.formats import FORMATS
from flytelineage.targets.glue.places import Place, source_of
from flytelineage.targets.glue.selection import Selection
from flytelineage.targets.glue.tables import TableInput, Wanted
from flytelineage.targets.glue.text import Fitter, moment
from flytelineage.templates import Template

if TYPE_CHECKING:
    from flytelineage.targets.glue.catalog import Catalog
    from flytelineage.targets.glue.depot import Depot
    from flytelineage.targets.glue.partitions import Partitions

_ROUNDS = 5
"""How often a table is looked at again when somebody else changed it meanwhile."""


class GlueCatalogTarget(Target):
    """Keeps a table in the AWS Glue Data Catalog for each dataset that a task wrote.

    A table needs a schema, a folder on S3 and one of the formats `parquet`, `csv` and
    `json`, told together the first time; later each may be told alone. All other entities
    only add what is said of tables: Glue knows no lineage. Tables are never deleted, and a
    table that flytelineage did not make is refused.
    """

    keeps = frozenset({"datasets"})

    mode = Enum(
        ["register", "copy"],
        default_value="register",
        help="""
        How data gets into the catalogue. `register` describes it where the task wrote it and
        copies nothing. `copy` has S3 copy it to `bucket_path` first, and lets the table point
        there once the copy is whole. Take it where raw outputs are cleared after some time, or
        where readers shall have no right to Flyte's bucket.

        Example: c.GlueCatalogTarget.mode = "copy"
        """,
    ).tag(config=True)

    bucket_path = Unicode(
        "",
        help="""
        The folder on S3 below which `mode = "copy"` keeps copies, as
        `<bucket_path>/<database>/<table>/`. Take one that nobody else writes to, outside of
        Flyte's raw output. Must be set with that mode; otherwise it has a use only with
        `layout = "per_execution"`: tables point there while their partitions hold the data.

        Example: c.GlueCatalogTarget.bucket_path = "s3://lake/flyte"
        """,
    ).tag(config=True)

    kms_key_arn = Unicode(
        "",
        help="""
        The key with which `mode = "copy"` encrypts copies. Empty is the default of the bucket.
        Data that was copied before keeps its key until it is copied again.

        Example: c.GlueCatalogTarget.kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/a1b2"
        """,
    ).tag(config=True)

    keep_copies_hours = Float(
        24.0,
        min=0,
        help="""
        Hours for which `mode = "copy"` keeps a copy that the table points at no more: who began
        to read it must be able to end. It is deleted when a later run moves the table. Make it
        longer than your longest query, and than copying takes.

        Example: c.GlueCatalogTarget.keep_copies_hours = 72
        """,
    ).tag(config=True)

    copy_limit_bytes = Integer(
        100 << 30,
        min=0,
        help="""
        Bytes of a dataset beyond which `mode = "copy"` refuses it; its table stays as it was.
        Raise it together with Daemon.lease_seconds. 0 is no bound.

        Example: c.GlueCatalogTarget.copy_limit_bytes = 1_000_000_000_000
        """,
    ).tag(config=True)

    copy_limit_objects = Integer(
        10_000,
        min=0,
        help="""
        Objects of a dataset beyond which `mode = "copy"` refuses it. 0 is no bound.

        Example: c.GlueCatalogTarget.copy_limit_objects = 100_000
        """,
    ).tag(config=True)

    copy_concurrency = Integer(
        8,
        min=1,
        max=64,
        help="""
        Objects, and parts of large ones, that S3 copies at once for this target.

        Example: c.GlueCatalogTarget.copy_concurrency = 32
        """,
    ).tag(config=True)

    layout = Enum(
        ["latest", "per_execution"],
        default_value="latest",
        help="""
        What a table holds: the data of the `latest` execution, or, `per_execution`, that of
        all in a partition each, by the key `execution`. Choose before the first table is made:
        one with the other layout is refused.

        Example: c.GlueCatalogTarget.layout = "per_execution"
        """,
    ).tag(config=True)

    keep_partitions = Integer(
        0,
        min=0,
        help="""
        Partitions that a table has at most with `layout = "per_execution"`; the oldest go. In
        `mode = "copy"` their copies go too, after `keep_copies_hours`; other data is never
        deleted. 0 keeps all.

        Example: c.GlueCatalogTarget.keep_partitions = 90
        """,
    ).tag(config=True)

    include = List(
        Unicode(),
        help="""
        Which datasets get a table: globs of `project/domain/workflow/task/variable`, by their
        names in Flyte; a shorter one stands for all that is below. Narrow it where only some
        outputs are worth a table. Empty takes all that a task wrote.

        Example: c.GlueCatalogTarget.include = ["shop/production", "*/*/*/*.publish/orders"]
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

    table_name = Template(
        "{workflow}__{task}__{variable}",
        keys=names.TEMPLATE_KEYS,
        fixed=False,
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

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._of_thread = _OfThread()
        self._making = threading.RLock()
        self._warned: set[str] = set()
        if self.mode == "copy" and not self.bucket_path:
            raise ConfigError(
                'GlueCatalogTarget.mode = "copy" needs a place for the copies: set '
                'GlueCatalogTarget.bucket_path = "s3://bucket/folder"'
            )

    @property
    def parallel(self) -> bool:  # type: ignore[override]
        """True where data stays where it lies: `copy_concurrency` is meant for all copies."""
        return bool(self.mode == "register")

    @property
    def journal(self) -> bool:  # type: ignore[override]
        """True with a partition for each execution, whatever newer ones told."""
        return bool(self.layout == "per_execution")

    @validate("bucket_path")
    def _on_s3(self, proposal: Any) -> str:
        path: str = proposal["value"]
        if path and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[^/]+)*/?", path):
            raise TraitError(f"GlueCatalogTarget.bucket_path must be s3://bucket/folder: {path!r}")
        return path.rstrip("/")

    @validate("kms_key_arn")
    def _is_arn(self, proposal: Any) -> str:
        arn: str = proposal["value"]
        if arn and not re.fullmatch(r"arn:aws[\w-]*:kms:[\w-]+:\d{12}:(key|alias)/.+", arn):
            raise TraitError(f"GlueCatalogTarget.kms_key_arn is no ARN of a key: {arn!r}")
        return arn

    @validate("include")
    def _globs(self, proposal: Any) -> list[str]:
        globs: list[str] = proposal["value"]
        try:
            Selection(globs)
        except ValueError as exc:
            raise TraitError(f"GlueCatalogTarget.include: {exc}") from exc
        return globs

    @validate("db_name")
    def _short_name(self, proposal: Any) -> str:
        name: str = proposal["value"]
        fit = Fitter()
        if name and (fit("it", name, names.NAME_BYTES) != name or fit.cut):
            raise TraitError(
                f"GlueCatalogTarget.db_name is no name for a database: {name[:80]!r}; Glue takes "
                f"{names.NAME_BYTES} bytes without control characters"
            )
        return name

    @cached_property
    def client(self) -> Any:
        """The boto3 client for Glue, made when it is first needed."""
        from flytelineage.targets.glue.catalog import connect

        return connect(
            self._region, timeout_seconds=self.timeout_seconds, max_attempts=self.max_attempts
        )

    @cached_property
    def s3(self) -> Any:
        """The boto3 client for S3 that copies; in `mode = "register"` it is never made."""
        from flytelineage.targets.glue.s3 import connect

        return connect(
            self._region,
            timeout_seconds=self.timeout_seconds,
            max_attempts=self.max_attempts,
            connections=self.copy_concurrency,
        )

    @property
    def _region(self) -> str:
        return self.aws_region or getattr(self.parent, "aws_region", "")

    @cached_property
    def _catalog(self) -> Catalog:
        from flytelineage.targets.glue.catalog import Catalog

        return Catalog(self.client, self.catalog_id, shared=bool(self.db_name))

    @cached_property
    def _depot(self) -> Depot | None:
        """Where data is copied to; `None` where it is registered as it lies."""
        if self.mode != "copy":
            return None
        from flytelineage.targets.glue.copying import Bounds, Copier
        from flytelineage.targets.glue.depot import Depot
        from flytelineage.targets.glue.s3 import ObjectStore

        bounds = Bounds(self.copy_limit_bytes, self.copy_limit_objects, self.copy_concurrency)
        store = ObjectStore(self.s3, self.kms_key_arn)
        root = Place.folder_of(self.bucket_path)
        catalogue = f"{self.client.meta.region_name}:{self.catalog_id}"
        copier = Copier(store, root, bounds, salt=self.kms_key_arn, catalogue=catalogue)
        return Depot(copier, timedelta(hours=self.keep_copies_hours), self.log)

    @cached_property
    def _partitions(self) -> Partitions:
        from flytelineage.targets.glue.partitions import Partitions

        return Partitions(
            self._catalog,
            self._depot,
            self.bucket_path,
            keep=self.keep_partitions,
            archive=self.versioning,
        )

    # ---------------------------------------------------------------------- contract

    def emit_lineage(self, lineage: Lineage) -> list[Rejection]:
        """Bring the table of each dataset up to date; the rest of the lineage is ignored."""
        self._connect()
        self._of_thread.copies = {}
        origins = names.Origins(lineage)
        rejections = []
        for dataset in lineage.datasets:
            try:
                self._tell(dataset, origins, lineage)
            except PermanentTargetError as exc:
                rejections.append(Rejection(entity=dataset.urn, reason=str(exc)))
        return rejections

    def copies(self) -> Mapping[DatasetId, Copy]:
        """The tables that this thread's last `emit` made or found to be right, by dataset.

        A table is named by the account that Glue says owns it; without one it has no name
        that would hold anywhere else, and is not told.
        """
        return dict(self._of_thread.copies)

    def permissions(self) -> Sequence[Statement]:
        """The catalogue's actions with this layout and mode; and where copies are kept."""
        return rights.needed(self, self._region)

    def check(self) -> None:
        """Ask for the database; where each project has its own, for any."""
        # An answer about a database that does not exist shows the right to ask as well.
        name = self.db_name.lower() or names.DATABASE_PREFIX
        try:
            found = self._catalog.has_database(name)
        except TargetError as exc:
            raise ConfigError(f"GlueCatalogTarget: {exc}") from exc
        if self.db_name and not found and not self.create_database:
            raise ConfigError(f"GlueCatalogTarget: {_no_database(name)}")
        if self._depot:
            self._check_depot(self._depot)

    def _check_depot(self, depot: Depot) -> None:
        try:
            depot.check()
        except TargetError as exc:
            raise ConfigError(f"GlueCatalogTarget: {exc}") from exc

    def close(self) -> None:
        """Let go of the connections; they come back when they are needed."""
        for name in ("client", "s3"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
        for name in ("_catalog", "_depot", "_partitions"):
            self.__dict__.pop(name, None)

    def _connect(self) -> None:
        """Make what is made once, by one thread; the clients of boto3 may then be shared."""
        with self._making:
            _ = self._catalog, self._partitions

    # ------------------------------------------------------------------------ tables

    def _tell(self, dataset: Dataset, origins: names.Origins, lineage: Lineage) -> None:
        """Bring the dataset's table up to date, if it can have one."""
        wanted = self._wanted(dataset, origins)
        if wanted is None:
            return
        wanted = self._dated(self._honest(wanted, dataset), dataset, lineage)
        table = self._register(wanted)
        account = self._catalog.account(wanted.database) if table else None
        if table and account:
            self._of_thread.copies[dataset.id] = self._copy(account, wanted.database, table)

    def _copy(self, account: str, database: str, table: TableInput) -> Copy:
        """A table as DataHub and OpenLineage name it. Source: OpenLineage spec/Naming.md."""
        client, name = self.client.meta, table["Name"]
        catalogue = f"arn:{client.partition}:glue:{client.region_name}:{account}"
        return Copy(
            dataset=DatasetId(platform="glue", name=f"{database}.{name}"),
            uri=f"{catalogue}:table/{database}/{name}",
            columns=tables.columns_of(table),
        )

    def _wanted(self, dataset: Dataset, origins: names.Origins) -> Wanted | None:
        """What is known of the dataset's table; `None` when it can have none."""
        if dataset.storage is None and dataset.schema_ is None:
            return None
        origin = origins.of(dataset)
        reason = self._hindrance(dataset, origin)
        if origin is None or reason:
            self.log.debug("%s gets no table: %s", dataset.id, reason)
            return None
        fit = Fitter()
        return tables.wanted(
            dataset,
            origin,
            origins.tasks.get(origin.task),
            database=self.db_name.lower() or names.database_name(origin, fit),
            name=names.table_name(self.table_name, origin, fit),
            fit=fit,
        )

    def _hindrance(self, dataset: Dataset, origin: names.Origin | None) -> str | None:
        """Why the data gets no table; `None` when it may."""
        if origin is None:
            return "no task of this lineage wrote it"
        if origin not in Selection(self.include):
            return "GlueCatalogTarget.include leaves it out"
        return _unfit(dataset, source_of if self.mode == "copy" else tables.location)

    def _honest(self, wanted: Wanted, dataset: Dataset) -> Wanted:
        """With the reason where a query would find no rows without an error."""
        if self.mode == "register" and tables.is_hidden(dataset):
            parameters = {**wanted.parameters, tables.HIDDEN: _HIDDEN}
            return replace(wanted, parameters=parameters, cut=(*wanted.cut, _HIDDEN))
        gone = {tables.HIDDEN} if wanted.location else set()
        return replace(wanted, gone=wanted.gone | gone)

    def _dated(self, wanted: Wanted, dataset: Dataset, lineage: Lineage) -> Wanted:
        """With what copies and partitions are told apart by."""
        if dataset.storage is None or (self.mode, self.layout) == ("register", "latest"):
            return wanted
        dated = dict(wanted.parameters)
        if dataset.as_of:
            dated[tables.AS_OF] = moment(dataset.as_of)
        if self.layout == "per_execution" and lineage.execution:
            # One that recovered the data did not write it, but is the one to describe it.
            dated.setdefault(tables.EXECUTION, lineage.execution.name)
        source = source_of(dataset.storage) if self.mode == "copy" else None
        location = str(source) if source else wanted.location
        return replace(wanted, location=location, parameters=dated)

    def _register(self, wanted: Wanted) -> TableInput | None:
        """Create or update the table, unless it says all this already.

        Returns:
            The table; `None` while too little is known to describe the data.
        """
        for _ in range(_ROUNDS):
            name, theirs = self._find(wanted)
            if theirs is not None:
                self._respect(wanted, name, theirs)
            if missing := tables.unready(theirs, wanted):
                self.log.debug("%s: its table has to wait: %s", wanted.dataset, missing)
                return None
            self._warn(wanted.of(theirs or {}))
            if theirs is None:
                done = self._create(wanted, name)
            else:
                done = self._update(wanted, name, theirs)
            if done:
                newer = theirs is not None and layout.is_older(theirs, wanted)
                return theirs if newer else tables.merged(theirs or self._empty, wanted, name)
        raise TransientTargetError(f"Glue: {wanted.database}.{wanted.name} keeps changing")

    @property
    def _empty(self) -> TableInput:
        """What is there of a new table whatever its data."""
        keys = layout.PARTITION_KEYS if self.layout == "per_execution" else []
        return {"PartitionKeys": keys}

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
        self._ensure_database(wanted.database)
        if self.layout == "per_execution":
            return self._partitions.add(wanted, name, None)
        wanted = self._stocked(wanted, name, {})
        return self._catalog.create_table(wanted.database, tables.merged({}, wanted, name))

    def _respect(self, wanted: Wanted, name: str, theirs: dict[str, Any]) -> None:
        """Leave alone what is not ours to touch.

        Raises:
            PermanentTargetError: The table is another's, or of another kind.
        """
        reason = tables.protection(theirs, adopt=self.adopt_existing)
        reason = reason or layout.refusal(theirs, self.layout)
        if reason is not None:
            raise PermanentTargetError(f"Glue: {wanted.database}.{name} is left alone: {reason}")

    def _update(self, wanted: Wanted, name: str, theirs: dict[str, Any]) -> bool:
        if self.layout == "per_execution":
            return self._partitions.add(wanted, name, theirs)
        if layout.is_older(theirs, wanted):
            return True  # another process was faster with newer data
        wanted = self._stocked(wanted, name, theirs)
        table = tables.merged(theirs, wanted, name)
        if not tables.changed(theirs, table):
            return True
        version = theirs.get("VersionId")
        updated = self._catalog.update_table(
            wanted.database, table, version, archive=self.versioning
        )
        if updated and self._depot:
            self._depot.clear(wanted.database, name, table)
        return updated

    def _stocked(self, wanted: Wanted, name: str, theirs: dict[str, Any]) -> Wanted:
        """The same, of a copy of the data where there is to be one."""
        return self._depot.stocked(wanted, name, theirs, theirs) if self._depot else wanted

    def _ensure_database(self, name: str) -> None:
        if self._catalog.has_database(name):
            return
        if not self.create_database:
            raise TargetUnavailable(f"Glue: {_no_database(name)}")
        self._catalog.create_database(name, self.database_tags)

    def _warn(self, wanted: Wanted) -> None:
        """Say what of the data the table will not say; the same once for each start."""
        columns = wanted.columns
        cut = [*wanted.cut, *(columns.cut if columns else ())]
        if columns and columns.left_out:
            cut.append(f"Athena has no type for {_some(columns.left_out)}")
        text = f"{wanted.database}.{wanted.name}: {_some(cut)}"
        if cut and text not in self._warned:
            self._warned.add(text)
            self.log.warning("%s: not all of it is in the table %s", wanted.dataset, text)


class _OfThread(threading.local):
    """What a thread told last."""

    def __init__(self) -> None:
        self.copies: dict[DatasetId, Copy] = {}


_HIDDEN = (
    "Athena takes flytekit's file .csv for hidden and finds no rows: "
    'set GlueCatalogTarget.mode = "copy", or write Parquet'
)

_MAX_NAMED = 10


def _some(texts: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(texts) - _MAX_NAMED
    return ", ".join(texts[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unfit(dataset: Dataset, place: Callable[[Storage], Any]) -> str | None:
    """Why the data cannot be a table; `None` when it can.

    Args:
        dataset: The data.
        place: Where the table would point, or what would be copied; nothing if it cannot.
    """
    storage = dataset.storage
    if storage and storage.format and storage.format not in FORMATS:
        return f"its format is {storage.format}"
    if storage and place(storage) is None:
        return f"{storage.uri} is no folder of its own on S3"
    return None


def _no_database(name: str) -> str:
    return (
        f"the database {name} does not exist: create it, or set "
        "GlueCatalogTarget.create_database = True and allow glue:CreateDatabase"
    )
