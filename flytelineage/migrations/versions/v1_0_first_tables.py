"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1.0"
down_revision = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables of schema 1.0."""
    _arriving()
    _building()
    _naming()
    _delivering()


def _arriving() -> None:
    op.create_table(
        "event",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("execution", KEY, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("encoding", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("terminal", sa.Boolean, nullable=False),
        sa.Column("occurred_at", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.UniqueConstraint("hash", name="uq_event_hash"),
    )
    op.create_index("ix_event_execution_id", "event", ["execution", "id"])
    op.create_table(
        "quarantine",
        sa.Column("id", KEY, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
    )


def _building() -> None:
    op.create_table(
        "execution",
        sa.Column("key", KEY, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("built_revision", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("terminal_at", sa.BigInteger),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("lease_token", sa.Text),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("pipeline", sa.Text),
        sa.Column("name_source", sa.Text),
        sa.PrimaryKeyConstraint("key", name="pk_execution"),
    )
    _index_where_due("ix_execution_due_at", "execution", ["due_at"])
    op.create_table(
        "lineage",
        sa.Column("execution", KEY, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("built_at", sa.BigInteger, nullable=False),
        sa.Column("partial", sa.Boolean, nullable=False),
        sa.Column("incomplete", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("execution", name="pk_lineage"),
    )
    op.create_index("ix_lineage_built_at", "lineage", ["built_at"])


def _naming() -> None:
    op.create_table(
        "location",
        sa.Column("key", KEY, nullable=False),
        sa.Column("registered", sa.Boolean, nullable=False),
        sa.Column("dataset", sa.Text),
        sa.Column("execution", KEY),
        sa.Column("registered_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("key", name="pk_location"),
    )
    op.create_table(
        "waiting",
        sa.Column("key", KEY, nullable=False),
        sa.Column("execution", KEY, nullable=False),
        sa.PrimaryKeyConstraint("key", "execution", name="pk_waiting"),
    )
    op.create_index("ix_waiting_execution", "waiting", ["execution"])
    op.create_table(
        "task_place",
        sa.Column("pipeline", KEY, nullable=False),
        sa.Column("task", KEY, nullable=False),
        sa.Column("multiple", sa.Boolean, nullable=False),
        sa.Column("bare", sa.Boolean, nullable=False),
        sa.Column("retired_by", KEY),
        sa.PrimaryKeyConstraint("pipeline", "task", name="pk_task_place"),
    )


def _delivering() -> None:
    op.create_table(
        "delivery",
        sa.Column("execution", KEY, nullable=False),
        sa.Column("target", KEY, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("wanted", sa.BigInteger, nullable=False),
        sa.Column("claimed", sa.BigInteger, nullable=False),
        sa.Column("wanted_at", sa.BigInteger, nullable=False),
        sa.Column("forced", sa.BigInteger, nullable=False),
        sa.Column("telling", sa.Boolean, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("lease_token", sa.Text),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("error_at", sa.BigInteger),
        sa.Column("rejections", sa.Text),
        sa.Column("settled_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("execution", "target", name="pk_delivery"),
        sa.CheckConstraint(
            "state IN ('due', 'held', 'delivered', 'given_up')", name=op.f("ck_delivery_state")
        ),
    )
    _index_where_due("ix_delivery_target_due_at", "delivery", ["target", "due_at"])
    op.create_table(
        "watermark",
        sa.Column("target", KEY, nullable=False),
        sa.Column("entity", KEY, nullable=False),
        sa.Column("aspect", KEY, nullable=False),
        sa.Column("holder", KEY),
        sa.Column("stamp", sa.BigInteger),
        sa.Column("digest", sa.Text),
        sa.Column("accepted_at", sa.BigInteger),
        sa.Column("displaced", KEY),
        sa.Column("displaced_stamp", sa.BigInteger),
        sa.PrimaryKeyConstraint("target", "entity", "aspect", name="pk_watermark"),
    )
    op.create_index("ix_watermark_target_holder", "watermark", ["target", "holder"])


def _index_where_due(name: str, table: str, columns: list[str]) -> None:
    due = sa.text("due_at IS NOT NULL")
    op.create_index(name, table, columns, sqlite_where=due, postgresql_where=due)
