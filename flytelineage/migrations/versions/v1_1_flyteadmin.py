"""What FlyteAdmin says: definitions, what it was asked, how far backfills have come.

Also who told the bare id of a task last, so that it tells the task's places as well.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1.1"
down_revision = "1.0"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables; the release before this one does not look at them."""
    op.add_column("execution", sa.Column("waits_for", sa.Text))
    op.add_column("task_place", sa.Column("bare_by", KEY))
    op.add_column("task_place", sa.Column("bare_stamp", sa.BigInteger))
    op.create_table(
        "definition",
        sa.Column("key", KEY, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("fetched_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_definition"),
    )
    op.create_table(
        "asked",
        sa.Column("key", KEY, nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_asked"),
    )
    op.create_table(
        "backfill",
        sa.Column("key", KEY, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("reached", sa.BigInteger, nullable=False),
        sa.Column("recorded", sa.BigInteger, nullable=False),
        sa.Column("known", sa.BigInteger, nullable=False),
        sa.Column("gone", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_backfill"),
    )
