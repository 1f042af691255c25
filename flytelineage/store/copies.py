"""Under which names targets made datasets known in their catalogues."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from flytelineage.entities import Copy, DatasetId
from flytelineage.store.database import Database, chunks
from flytelineage.store.keys import id_text, short
from flytelineage.store.schema import copy


class Copies:
    """Remembers the names, for the other targets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, datasets: Iterable[DatasetId], *, besides: str) -> dict[DatasetId, list[Copy]]:
        """The names that targets `besides` this one gave, sorted."""
        wanted = {short(id_text(id)): id for id in datasets}

        def look(connection: Connection) -> dict[DatasetId, list[Copy]]:
            found: dict[DatasetId, list[Copy]] = defaultdict(list)
            for some in chunks(sorted(wanted)):
                named = select(copy).where(copy.c.dataset.in_(some), copy.c.target != besides)
                for row in connection.execute(named.order_by(copy.c.dataset, copy.c.target)):
                    found[wanted[row.dataset]].append(Copy.model_validate_json(row.body))
            return dict(found)

        return self._database.read(look) if wanted else {}


def note(
    database: Database, connection: Connection, target: str, copies: Mapping[DatasetId, Copy]
) -> bool:
    """Remember the names; whether any of them is new."""
    named = {short(id_text(id)): one.model_dump_json() for id, one in copies.items()}
    known = {
        row.dataset: row.body
        for some in chunks(sorted(named))
        for row in connection.execute(
            select(copy).where(copy.c.dataset.in_(some), copy.c.target == target)
        )
    }
    rows = [
        {"dataset": key, "target": target, "body": body}
        for key, body in sorted(named.items())
        if known.get(key) != body
    ]
    if rows:
        insert = database.insert(copy)
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["dataset", "target"], set_={"body": insert.excluded.body}
            ),
            rows,
        )
    return bool(rows)
