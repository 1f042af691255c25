"""The copies that tables point at: made before a table moves, cleared after it moved."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flytelineage.errors import PermanentTargetError, TargetError, TargetUnavailable
from flytelineage.targets.glue.copying import Copier, Missing, id_of
from flytelineage.targets.glue.history import History
from flytelineage.targets.glue.places import Place, conflict
from flytelineage.targets.glue.s3 import Changed
from flytelineage.targets.glue.tables import COPIED_FROM, Wanted

_MAX_CLEARED = 20
"""Copies that one delivery deletes; the next goes on."""


class Depot:
    """Puts the data of tables where copies are kept.

    Args:
        copier: Makes and removes copies.
        keep: How long a copy stays that no table points at.
    """

    def __init__(self, copier: Copier, keep: timedelta, log: logging.Logger | Any) -> None:
        self._copier = copier
        self._keep = keep
        self._log = log

    def stocked(
        self,
        wanted: Wanted,
        name: str,
        table: Mapping[str, Any],
        holder: Mapping[str, Any],
        others: Iterable[str] = (),
    ) -> Wanted:
        """What is wanted, of the copy of its data; on return that is whole.

        Args:
            wanted: What is known; its location is that of the data.
            name: The table's name.
            table: The table as Glue has it.
            holder: What points at the data: the table itself, or a partition of it.
            others: Locations that stay pointed at.

        Raises:
            TargetError: As `Copier.make`; nothing points anywhere else than before.
        """
        if wanted.location is None:
            return wanted
        source, home = Place.of(wanted.location), self.home(wanted.database, name)
        self._permit(source)
        location = self._copied(source, home, table, holder)
        parameters = {**wanted.parameters, COPIED_FROM: str(source)}
        if location != _location(holder):
            parameters |= self._moved(home, table, [location, *others]).parameters()
        return replace(wanted, location=location, parameters=parameters)

    def _copied(
        self, source: Place, home: Place, table: Mapping[str, Any], holder: Mapping[str, Any]
    ) -> str:
        """Where the copy lies; of data that is gone, the copy that was made in time."""
        try:
            copy = self._copier.make(source, home, History.of(table).removed)
        except Missing:
            known = _location(holder)
            if known is None or _parameter(holder, COPIED_FROM) != str(source):
                raise
            return known
        return str(copy.folder)

    def _moved(self, home: Place, table: Mapping[str, Any], locations: Iterable[str]) -> History:
        """The table's history once these are all that is pointed at."""
        current = {id_of(location, home) for location in locations}
        existing, at = self._copier.ids(home)
        return History.of(table).moved({id for id in current if id}, existing, at, self._keep)

    def home(self, database: str, name: str) -> Place:
        """The folder of all copies of a table."""
        return self._copier.home(database, name)

    def check(self) -> None:
        """Look at the folder of all copies.

        Raises:
            TargetError: It cannot be looked at.
        """
        self._copier.check()

    def clear(self, database: str, name: str, table: Mapping[str, Any]) -> None:
        """Delete what the table, as it is by now, says must not be used again.

        What fails here is no failure of the delivery: the next that moves the table
        tries again.
        """
        removed = History.of(table).removed
        if not removed:
            return
        try:
            left = self._cleared(self.home(database, name), removed)
        except (TargetError, Changed) as exc:
            self._log.warning("Old copies of %s.%s are still there: %s", database, name, exc)
            return
        if left:
            self._log.warning("%s is not as it was copied, and stays", ", ".join(left))

    def _cleared(self, home: Place, removed: Iterable[str]) -> list[str]:
        """Delete copies; what is left of them is not ours."""
        existing, _ = self._copier.ids(home)
        due = sorted(existing.intersection(removed))[:_MAX_CLEARED]
        return [place for id in due for place in self._copier.remove(home, id)]

    def _permit(self, source: Place) -> None:
        reason = conflict(self._copier.root, source)
        if reason is None:
            return
        refused = PermanentTargetError if reason.depends_on_data else TargetUnavailable
        raise refused(
            f"{source} is not copied to GlueCatalogTarget.bucket_path = "
            f'"{self._copier.root}": {reason.text}'
        )


def _parameter(thing: Mapping[str, Any], key: str) -> str | None:
    value: str | None = (thing.get("Parameters") or {}).get(key)
    return value


def _location(thing: Mapping[str, Any]) -> str | None:
    value: str | None = (thing.get("StorageDescriptor") or {}).get("Location")
    return value
