"""What upkeep needs: leases that were lost, pipelines in backlogs, pauses, what is archived.

And what was dropped, which people ask for.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1.3"
down_revision = "1.2"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
IS_DUE = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    """Add columns that the release before this one leaves at their defaults.

    Deliveries that it makes know no pipeline and are told in the order of old.
    """
    op.add_column("execution", sa.Column("lost", sa.Integer, nullable=False, server_default="0"))
    op.add_column("execution", sa.Column("archived_at", sa.BigInteger))
    op.add_column("delivery", sa.Column("pipeline", KEY))
    op.add_column("delivery", sa.Column("started_at", sa.BigInteger))
    op.add_column("delivery", sa.Column("lost", sa.Integer, nullable=False, server_default="0"))
    op.add_column(
        "delivery", sa.Column("dropped", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_index(
        "ix_delivery_target_pipeline_started_at",
        "delivery",
        ["target", "pipeline", "started_at"],
        sqlite_where=IS_DUE,
        postgresql_where=IS_DUE,
    )
    op.create_table(
        "pause",
        sa.Column("target", KEY, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("target", name="pk_pause"),
    )
    op.add_column("quarantine", sa.Column("size", sa.BigInteger))
    op.create_index(
        "ix_lineage_lacks",
        "lineage",
        ["execution"],
        sqlite_where=sa.text("partial = 1 OR incomplete IS NOT NULL"),
        postgresql_where=sa.text("partial OR incomplete IS NOT NULL"),
    )
    op.create_index(
        "ix_watermark_displaced",
        "watermark",
        ["displaced"],
        sqlite_where=sa.text("displaced IS NOT NULL"),
        postgresql_where=sa.text("displaced IS NOT NULL"),
    )
