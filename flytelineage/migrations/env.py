"""What alembic runs; the connection is that of the store being opened."""

from __future__ import annotations

from alembic import context

from flytelineage.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite as well, as long as nobody commits in between
)
with context.begin_transaction():
    context.run_migrations()
