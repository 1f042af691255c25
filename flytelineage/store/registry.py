"""What executions learn from each other: locations, known pipelines, places of tasks.

Two executions may be built at once, one waiting for a location that the other just
registers. Both lock the location's row, made without a dataset if need be. Whoever
comes second sees what the first did: the registrar finds the waiting row, or the one
that waits finds the location registered. So nobody waits for what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from flytelineage.entities import DatasetId, PipelineId
from flytelineage.store.database import Database, chunks, to_us
from flytelineage.store.keys import execution_id, id_text, short
from flytelineage.store.schema import location, task_place, waiting
from flytelineage.store.values import Built, Places


@dataclass(frozen=True, slots=True)
class Placed:
    """What noting places showed.

    Attributes:
        again: The execution must be built again, to retire a bare id that somebody told
            since it looked.
        wakes: Newer executions that told bare ids of tasks that turn out to have places:
            they tell the places, and retire the bare ids that are theirs.
    """

    again: bool = False
    wakes: frozenset[str] = frozenset()


class Overtaken(Exception):
    """The build rests on what is no longer so; it is to be done again."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What registering showed.

    Attributes:
        late: A key was registered meanwhile that was waited for, or for which the build
            has another name.
        open: Keys that are still waited for.
        fresh: Keys that nobody had registered before.
        wakes: Executions that waited for one of them.
    """

    late: bool
    open: frozenset[str]
    fresh: frozenset[str]
    wakes: frozenset[str]


class Registry:
    """Locations and places, shared by all executions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def locations(self, keys: Iterable[str]) -> dict[str, DatasetId | None]:
        """Those of the keys that are registered."""
        wanted = {short(key): key for key in keys}

        def look(connection: Connection) -> dict[str, DatasetId | None]:
            return {
                wanted[row.key]: DatasetId.model_validate_json(row.dataset) if row.dataset else None
                for row in _rows(connection, wanted)
                if row.registered
            }

        return self._database.read(look)

    def places(self, pipeline: PipelineId) -> Places:
        """Where the tasks of a pipeline stand."""
        query = select(task_place).where(task_place.c.pipeline == id_text(pipeline))
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return Places(
            multiple=frozenset(row.task for row in rows if row.multiple),
            bare=frozenset(row.task for row in rows if row.bare),
            retired_by={row.task: execution_id(row.retired_by) for row in rows if row.retired_by},
        )

    def register(self, connection: Connection, key: str, built: Built, now: int) -> Registered:
        """Register what the build found and look who waited for it."""
        offered = {short(name): dataset for name, dataset in built.locations.items()}
        awaited = {short(name) for name in built.waiting} - offered.keys()
        names = sorted({*offered, *awaited})
        self._database.lock(
            connection, location, [{"key": name, "registered": False} for name in names]
        )
        known = {row.key: row.dataset for row in _rows(connection, names) if row.registered}
        fresh = offered.keys() - known.keys()
        renamed = any(known[name] != _text(offered[name]) for name in offered.keys() & known.keys())
        _set_datasets(connection, key, {name: offered[name] for name in fresh}, now)
        return Registered(
            late=renamed or bool(awaited & known.keys()),
            open=frozenset(awaited - known.keys()),
            fresh=frozenset(fresh),
            wakes=frozenset(_waiting_for(connection, fresh) - {key}),
        )

    def wait(self, connection: Connection, key: str, found: Registered) -> None:
        """Replace what the execution waits for; forget who waited for what is there."""
        for some in chunks(sorted(found.fresh)):
            connection.execute(delete(waiting).where(waiting.c.key.in_(some)))
        connection.execute(delete(waiting).where(waiting.c.execution == key))
        if found.open:
            rows = [{"key": name, "execution": key} for name in sorted(found.open)]
            connection.execute(insert(waiting), rows)

    def note_places(self, connection: Connection, key: str, built: Built) -> Placed:
        """Remember where tasks stand.

        Raises:
            Overtaken: It names a task by its bare id that now has places. Telling
                that would bring back what was retired.
        """
        if built.pipeline is None or not built.places:
            return Placed()
        pipeline = id_text(built.pipeline)
        retiring = {task.name for task in built.lineage.tasks if task.retired}
        rows = self._lock_places(connection, pipeline, built.places)
        mine = (to_us(built.lineage.started_at) if built.lineage.started_at else 0, key)
        changes, again, wakes = [], False, set()
        for row in rows:
            if not built.places[row.task]:
                if row.multiple:
                    raise Overtaken
                changes.append(_place(row, bare=mine if built.lineage.succeeded else None))
            elif not row.multiple or (row.bare and row.retired_by is None):
                # Who told it later retires it: what is older cannot take back what is newer.
                newer = row.bare_by is not None and (row.bare_stamp, row.bare_by) > mine
                retires = row.bare and built.lineage.succeeded and not newer
                changes.append(_place(row, multiple=True, retired_by=key if retires else None))
                again = again or (retires and row.task not in retiring)
                wakes.update([row.bare_by] if newer else [])
        if changes:
            connection.execute(_SET_PLACE, changes)
        return Placed(again, frozenset(wakes))

    def _lock_places(
        self, connection: Connection, pipeline: str, tasks: Mapping[str, bool]
    ) -> list[Any]:
        new = {"pipeline": pipeline, "multiple": False, "bare": False}
        self._database.lock(connection, task_place, [{**new, "task": task} for task in tasks])
        return [
            row
            for some in chunks(sorted(tasks))
            for row in connection.execute(
                select(task_place).where(
                    task_place.c.pipeline == pipeline, task_place.c.task.in_(some)
                )
            )
        ]


_SET_DATASET = (
    update(location)
    .where(location.c.key == bindparam("of"))
    .values(
        registered=True,
        dataset=bindparam("named"),
        execution=bindparam("by"),
        registered_at=bindparam("now"),
    )
)

_SET_PLACE = (
    update(task_place)
    .where(
        task_place.c.pipeline == bindparam("of_pipeline"), task_place.c.task == bindparam("of_task")
    )
    .values(
        multiple=or_(task_place.c.multiple, bindparam("is_multiple")),
        bare=or_(task_place.c.bare, bindparam("is_bare")),
        retired_by=bindparam("by"),
        bare_by=bindparam("last_by"),
        bare_stamp=bindparam("last_stamp"),
    )
)


def _rows(connection: Connection, keys: Iterable[str]) -> list[Any]:
    return [
        row
        for some in chunks(keys)
        for row in connection.execute(select(location).where(location.c.key.in_(some)))
    ]


def _set_datasets(
    connection: Connection, key: str, fresh: Mapping[str, DatasetId | None], now: int
) -> None:
    rows = [
        {"of": name, "named": _text(dataset), "by": key, "now": now}
        for name, dataset in sorted(fresh.items(), key=lambda item: item[0])
    ]
    if rows:
        connection.execute(_SET_DATASET, rows)


def _text(dataset: DatasetId | None) -> str | None:
    return id_text(dataset) if dataset else None


def _waiting_for(connection: Connection, keys: Iterable[str]) -> set[str]:
    return {
        execution
        for some in chunks(keys)
        for execution in connection.scalars(
            select(waiting.c.execution).where(waiting.c.key.in_(some))
        )
    }


def _place(
    row: Any,
    *,
    multiple: bool = False,
    bare: tuple[int, str] | None = None,
    retired_by: str | None = None,
) -> dict[str, Any]:
    """The columns of a place as they shall be; `bare` says who names it so, as of when."""
    known = (row.bare_stamp, row.bare_by) if row.bare_by is not None else None
    last = max(filter(None, (known, bare)), default=(None, None))
    return {
        "of_pipeline": row.pipeline,
        "of_task": row.task,
        "is_multiple": multiple,
        "is_bare": not multiple,
        "by": retired_by or row.retired_by,
        "last_stamp": last[0],
        "last_by": last[1],
    }
