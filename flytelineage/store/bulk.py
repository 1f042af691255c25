"""Many rows of a table in few statements, also where each statement is a journey.

SQLite lies in this process, and runs a prepared statement fastest row by row. PostgreSQL
is given the rows as one array for each column instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, Text, bindparam, column, delete, func, select, update

ROWS = 1000
"""Rows in one statement: the journey counts for nothing by then, and memory is bounded."""

Row = dict[str, Any]


def among(connection: Connection, of: Any, values: Sequence[str]) -> Any:
    """Whether a column of keys holds one of these values.

    A list of parameters is compared with one by one where the server does not take the
    index, as in a table that it has no statistics of; an array is hashed.
    """
    if connection.dialect.name != "postgresql":
        return of.in_(values)
    from sqlalchemy.dialects.postgresql import ARRAY

    return of.in_(select(func.unnest(bindparam(None, list(values), type_=ARRAY(Text)))))


def insert_many(connection: Connection, insert: Any, rows: Sequence[Row]) -> None:
    """Insert rows, each with the same columns, one after the other in the order given.

    So an insert that locks what it meets locks in that order.
    """
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        connection.execute(insert, rows)
        return
    names = list(rows[0])
    new = _unnested(insert.table, names)
    in_order = select(*(new.c[name] for name in names)).order_by(new.c.position)
    statement = insert.from_select(names, in_order)
    for arrays in _arrays(rows):
        connection.execute(statement, arrays)


def update_many(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Set columns of rows that are there; each names its primary key and the same others."""
    if not rows:
        return
    others = [name for name in rows[0] if name not in table.primary_key]
    given, parameters = _given(connection, table, rows)
    values = {name: given[name] for name in others}
    for some in parameters:
        connection.execute(update(table).where(*_same(table, given)).values(values), some)


def delete_many(connection: Connection, table: Table, rows: Sequence[Row], *which: Any) -> int:
    """Delete the rows of these primary keys, if they are there and so; how many it were."""
    if not rows:
        return 0
    given, parameters = _given(connection, table, rows)
    statement = delete(table).where(*_same(table, given), *which)
    counted = statement.execution_options(preserve_rowcount=True)
    return sum(connection.execute(counted, some).rowcount for some in parameters)


def _given(
    connection: Connection, table: Table, rows: Sequence[Row]
) -> tuple[Mapping[str, Any], Iterator[Any]]:
    """What stands in a statement for the columns of `rows`, and what it is run with."""
    if connection.dialect.name == "postgresql":
        return _unnested(table, list(rows[0])).c, _arrays(rows)
    # A parameter with the name of a column would be taken for a value to set.
    given: dict[str, Any] = {name: bindparam(_parameter(name)) for name in rows[0]}
    named = [{_parameter(name): value for name, value in row.items()} for row in rows]
    return given, iter([named])


def _same(table: Table, given: Mapping[str, Any]) -> Iterator[Any]:
    return (key == given[key.name] for key in table.primary_key)


def _unnested(table: Table, names: Sequence[str]) -> Any:
    """The rows that arrays hold, as a table with their `position`."""
    from sqlalchemy.dialects.postgresql import ARRAY

    types = {name: _plain(table.c[name].type) for name in names}
    arrays = (bindparam(_parameter(name), type_=ARRAY(types[name])) for name in names)
    columns = (column(name, types[name]) for name in names)
    return (
        func.unnest(*arrays)
        .table_valued(*columns, with_ordinality="position")
        .render_derived(name="given")
    )


def _arrays(rows: Sequence[Row]) -> Iterator[dict[str, list[Any]]]:
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        yield {_parameter(name): [row[name] for row in some] for name in rows[0]}


def _parameter(name: str) -> str:
    return f"given_{name}"


def _plain(type_: Any) -> Any:
    """A type as an array can have it: without the collation of its column."""
    return Text() if isinstance(type_, Text) else type_
