"""What catalogues hold in parts, names of copies, and edges of executions in a window."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1.2"
down_revision = "1.1"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables; the release before this one does not look at them.

    What was told before is not known in parts, so it is taken away by no telling.
    """
    op.add_column("watermark", sa.Column("parts", sa.Text))
    op.create_table(
        "copy",
        sa.Column("dataset", KEY, nullable=False),
        sa.Column("target", KEY, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("dataset", "target", name="pk_copy"),
    )
    op.create_table(
        "seen_edge",
        sa.Column("target", KEY, nullable=False),
        sa.Column("entity", KEY, nullable=False),
        sa.Column("version", KEY, nullable=False),
        sa.Column("part", KEY, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("target", "entity", "version", "part", name="pk_seen_edge"),
    )
