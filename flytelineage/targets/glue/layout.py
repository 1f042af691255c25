"""A partition for each execution: what it says, and what the table says then; pure.

Each partition keeps the columns that its data has; the table has those of the newest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from flytelineage.targets.glue.formats import DELIMITER, HEADER_LINES
from flytelineage.targets.glue.tables import (
    AS_OF,
    COPIED_FROM,
    DATASET,
    EXECUTION,
    MANAGED,
    SCHEMA_HASH,
    SIZES,
    TableInput,
    Wanted,
)
from flytelineage.targets.glue.text import moment

PartitionInput = dict[str, Any]
"""A partition in the form in which Glue takes it."""

KEY = "execution"
PARTITION_KEYS = [{"Name": KEY, "Type": "string", "Comment": "The execution that wrote it"}]

LAYOUT = "flytelineage.layout"

_OF_PARTITIONS = (*SIZES, EXECUTION, "flyte.url", COPIED_FROM)
_OF_FILES = ("classification", "typeOfData", "compressionType", DELIMITER, HEADER_LINES)
_TOLD = (*_OF_PARTITIONS, *_OF_FILES, MANAGED, DATASET, SCHEMA_HASH, AS_OF)


class Partition(NamedTuple):
    """A partition as Glue lists it."""

    execution: str
    as_of: str
    location: str
    ours: bool

    @classmethod
    def of(cls, partition: Mapping[str, Any]) -> Partition:
        """What is needed of Glue's answer."""
        parameters = partition.get("Parameters") or {}
        created = partition.get("CreationTime")
        known = parameters.get(AS_OF) or (moment(created) if isinstance(created, datetime) else "")
        location = (partition.get("StorageDescriptor") or {}).get("Location") or ""
        values = partition.get("Values") or [""]
        return cls(values[0], known, location, parameters.get(MANAGED) == "true")


def refusal(theirs: Mapping[str, Any], layout: str) -> str | None:
    """Why a table cannot take data in this layout; `None` when it can."""
    keys = [key["Name"] for key in theirs.get("PartitionKeys") or []]
    has = (theirs.get("Parameters") or {}).get(LAYOUT, "latest")
    if layout == "latest" and has == "per_execution":
        return _another(has, layout)
    if layout == "per_execution" and keys != [KEY]:
        return _another(has, layout)
    return None


def _another(has: str, layout: str) -> str:
    return (
        f'it was made with GlueCatalogTarget.layout = "{has}", and Glue changes no partition '
        f'keys: drop the table, or change GlueCatalogTarget.table_name, for "{layout}"'
    )


def is_older(theirs: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether the table was told newer data already."""
    parameters = theirs.get("Parameters") or {}
    return bool(parameters.get(AS_OF, "") > wanted.parameters.get(AS_OF, "9"))


def is_newer(table: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether a table says that it is of newer data than Glue's, if nothing else."""
    ours, known = ((each.get("Parameters") or {}).get(AS_OF, "") for each in (table, theirs))
    return bool(ours > known)


def of_table(wanted: Wanted, theirs: Mapping[str, Any], common: str) -> Wanted:
    """What of the data is said of the table and not of the partition.

    Args:
        wanted: What is known of the execution's data.
        theirs: The table as Glue has it.
        common: The folder that a new table points at.
    """
    kept = {k: v for k, v in wanted.parameters.items() if k not in _OF_PARTITIONS}
    location = (theirs.get("StorageDescriptor") or {}).get("Location") or common
    parameters = {**kept, LAYOUT: "per_execution"}
    return replace(wanted, location=location, parameters=parameters, outdated=True)


def partition(alone: TableInput, table: TableInput) -> PartitionInput:
    """The partition of one execution's data.

    Args:
        alone: The table that this data alone would have.
        table: The table; its columns, and how they are read, serve where those of the data
            are not known.
    """
    parameters = alone["Parameters"]
    return {
        "Values": [parameters[EXECUTION]],
        "StorageDescriptor": {**table["StorageDescriptor"], **alone["StorageDescriptor"]},
        "Parameters": {key: parameters[key] for key in _TOLD if key in parameters},
    }


def merged(theirs: Mapping[str, Any], ours: PartitionInput) -> PartitionInput:
    """The partition as it should be: what others wrote on it stays."""
    kept = {k: v for k, v in (theirs.get("Parameters") or {}).items() if k not in _TOLD}
    storage = {**(theirs.get("StorageDescriptor") or {}), **ours["StorageDescriptor"]}
    return {**ours, "StorageDescriptor": storage, "Parameters": {**kept, **ours["Parameters"]}}


def differs(theirs: Mapping[str, Any], partition: PartitionInput) -> bool:
    """Whether the partition says anything that Glue's does not."""
    return any((theirs.get(key) or {}) != value for key, value in partition.items())


def surplus(partitions: Sequence[Partition], keep: int) -> list[Partition]:
    """Our partitions beyond the newest so many; 0 keeps all."""
    newest = sorted(
        (one for one in partitions if one.ours),
        key=lambda one: (one.as_of, one.execution),
        reverse=True,
    )
    return newest[keep:] if keep else []
