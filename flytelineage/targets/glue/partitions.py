"""Adds a partition for each execution to a table, and drops the oldest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flytelineage.errors import PermanentTargetError
from flytelineage.targets.glue import layout, tables
from flytelineage.targets.glue.catalog import Catalog
from flytelineage.targets.glue.depot import Depot
from flytelineage.targets.glue.history import FORMER, REMOVED
from flytelineage.targets.glue.layout import Partition
from flytelineage.targets.glue.tables import EXECUTION, TableInput, Wanted


class Partitions:
    """Keeps tables with a partition for each execution.

    Args:
        catalog: The calls to Glue.
        depot: Where data is copied to; `None` leaves it where it lies.
        common: The folder for tables that have no data of their own; empty takes one in
            the bucket of their first data.
        keep: How many partitions a table has at most; 0 keeps all.
        archive: Whether Glue keeps old versions of tables.
    """

    def __init__(
        self, catalog: Catalog, depot: Depot | None, common: str, *, keep: int, archive: bool
    ) -> None:
        self._catalog = catalog
        self._depot = depot
        self._common = common
        self._keep = keep
        self._archive = archive

    def add(self, wanted: Wanted, name: str, theirs: Mapping[str, Any] | None) -> bool:
        """Bring the execution's partition up to date, and the table when nothing is newer.

        Args:
            wanted: What is known of the execution's data.
            name: The table's name.
            theirs: The table as Glue has it.

        Returns:
            False when somebody changed the table since it was read.
        """
        if wanted.location is None:
            return True  # it wrote nothing that could be a partition
        wanted = wanted.of(theirs or {})
        execution = wanted.parameters.get(EXECUTION)
        if not execution:
            raise PermanentTargetError("Glue: nothing says which execution wrote this data")
        old = self._catalog.partition(wanted.database, name, execution) if theirs else None
        every = self._every(wanted.database, name) if theirs else []
        new = Partition(execution, wanted.parameters.get(tables.AS_OF, ""), "", True)
        known = [*(each for each in every if each.execution != execution), new]
        if old is None and new in layout.surplus(known, self._keep):
            return True
        placed = self._placed(wanted, name, theirs or {}, old or {}, every)
        if not self._tell(placed, name, theirs, old):
            return False
        self._drop(wanted.database, name, known)
        return True

    def _every(self, database: str, name: str) -> list[Partition]:
        """All partitions, where anything depends on them."""
        if not self._keep and not self._depot:
            return []
        return [Partition.of(each) for each in self._catalog.partitions(database, name)]

    def _placed(
        self,
        wanted: Wanted,
        name: str,
        theirs: Mapping[str, Any],
        old: Mapping[str, Any],
        every: Sequence[Partition],
    ) -> Wanted:
        if self._depot is None:
            return wanted
        return self._depot.stocked(wanted, name, theirs, old, [each.location for each in every])

    def _tell(
        self,
        wanted: Wanted,
        name: str,
        theirs: Mapping[str, Any] | None,
        old: Mapping[str, Any] | None,
    ) -> bool:
        """First the table, which says that the copy is in use; then what points at it."""
        table = self._table(wanted, name, theirs or {})
        if not self._tell_table(wanted.database, table, theirs):
            return False
        if not self._tell_partition(wanted.database, name, table, wanted, old):
            return False
        if self._depot:
            self._depot.clear(wanted.database, name, table)
        return True

    # --------------------------------------------------------------------- the table

    def _table(self, wanted: Wanted, name: str, theirs: Mapping[str, Any]) -> TableInput:
        """The table with the columns of the newest execution."""
        common = self._common_folder(wanted, name)
        ours = layout.of_table(wanted, theirs, common)
        if layout.is_older(theirs, wanted):
            ours = _history_alone(ours)
        return tables.merged({"PartitionKeys": layout.PARTITION_KEYS, **theirs}, ours, name)

    def _common_folder(self, wanted: Wanted, name: str) -> str:
        """A folder in which nothing lies, since tables must have one."""
        if self._depot:
            return str(self._depot.home(wanted.database, name))
        bucket = "/".join((wanted.location or "").split("/")[:3])
        return f"{self._common or f'{bucket}/_flytelineage'}/{wanted.database}/{name}/"

    def _tell_table(
        self, database: str, table: TableInput, theirs: Mapping[str, Any] | None
    ) -> bool:
        if theirs is None:
            return self._catalog.create_table(database, table)
        if not tables.changed(theirs, table) and not layout.is_newer(table, theirs):
            return True
        version = theirs.get("VersionId")
        return self._catalog.update_table(database, table, version, archive=self._archive)

    # ---------------------------------------------------------------- the partitions

    def _tell_partition(
        self,
        database: str,
        name: str,
        table: TableInput,
        wanted: Wanted,
        old: Mapping[str, Any] | None,
    ) -> bool:
        alone = tables.merged({"PartitionKeys": layout.PARTITION_KEYS}, wanted, name)
        new = layout.merged(old or {}, layout.partition(alone, table))
        if old is None:
            return self._catalog.create_partition(database, name, new)
        if not layout.differs(old, new):
            return True
        return self._catalog.update_partition(database, name, new)

    def _drop(self, database: str, name: str, every: Sequence[Partition]) -> None:
        surplus = layout.surplus(every, self._keep)
        self._catalog.delete_partitions(database, name, [each.execution for each in surplus])


def _history_alone(wanted: Wanted) -> Wanted:
    """What an execution may say of the table that is not the newest: which copies are in use."""
    parameters = {k: v for k, v in wanted.parameters.items() if k in (FORMER, REMOVED)}
    return Wanted(wanted.dataset, wanted.database, wanted.name, parameters=parameters)
