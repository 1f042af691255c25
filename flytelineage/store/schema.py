"""The tables. A change here needs a migration and a new `SCHEMA`.

Times are integer microseconds since 1970, so that both databases compare and index
them alike. Keys collate by byte, so that PostgreSQL and Python sort them alike: the
order in which rows are locked depends on it.

There are no foreign keys. Their share locks would be taken in an order that no sorted
key governs, and every row is written in one transaction with what it refers to.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    or_,
)

SCHEMA = "1.3"
"""`major.minor`: programs of one major version can share a store."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Key = Text().with_variant(Text(collation="C"), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers only INTEGER by itself

event = Table(
    "event",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("execution", Key, nullable=False),
    Column("kind", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("terminal", Boolean, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index(None, "execution", "id"),
)

execution = Table(
    "execution",
    metadata,
    Column("key", Key, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("built_revision", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("terminal_at", BigInteger),
    Column("due_at", BigInteger),  # NULL when built_revision = revision
    Column("lease_token", Text),
    Column("lease_until", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("pipeline", Text),
    Column("name_source", Text),
    Column("waits_for", Text),  # why it was put off; a note for people
    # How many builds in a row ended without a word: what they all died of, perhaps.
    Column("lost", Integer, nullable=False, server_default="0"),
    Column("archived_at", BigInteger),  # since when its events are gone; it is built no more
)
Index(
    None,
    execution.c.due_at,
    sqlite_where=execution.c.due_at.is_not(None),
    postgresql_where=execution.c.due_at.is_not(None),
)

lineage = Table(
    "lineage",
    metadata,
    Column("execution", Key, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("built_at", BigInteger, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("incomplete", Text),  # a JSON list of lines; NULL when nothing is missing
    Column("body", Text, nullable=False),
    Index(None, "built_at"),
)
LACKS = or_(lineage.c.partial, lineage.c.incomplete.is_not(None))
"""Whether anything is missing from a lineage; to count these, no other one is read."""
Index("ix_lineage_lacks", lineage.c.execution, sqlite_where=LACKS, postgresql_where=LACKS)

delivery = Table(
    "delivery",
    metadata,
    Column("execution", Key, primary_key=True),
    Column("target", Key, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),
    # Counts the reasons to tell; a claim notes how many it knew. A settled delivery
    # for which another reason came meanwhile stays due.
    Column("wanted", BigInteger, nullable=False),
    Column("claimed", BigInteger, nullable=False),
    Column("wanted_at", BigInteger, nullable=False),
    # The last of these reasons that asks even for what is unchanged; 0 when none does.
    Column("forced", BigInteger, nullable=False),
    Column("telling", Boolean, nullable=False),  # a claim may have told and did not settle
    Column("due_at", BigInteger),  # NULL unless the state is `due`
    Column("lease_token", Text),
    Column("lease_until", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Column("error_at", BigInteger),
    Column("rejections", Text),  # a JSON list; NULL when nothing was refused
    Column("settled_at", BigInteger),
    # Of the execution, to take the newest of a pipeline first; NULL where not known.
    Column("pipeline", Key),
    Column("started_at", BigInteger),
    Column("lost", Integer, nullable=False, server_default="0"),  # as of an execution
    # Whether a transform of the operator left nothing to tell the last time.
    Column("dropped", Boolean, nullable=False, server_default=false()),
    CheckConstraint("state IN ('due', 'held', 'delivered', 'given_up')", name="state"),
)
Index(
    None,
    delivery.c.target,
    delivery.c.due_at,
    sqlite_where=delivery.c.due_at.is_not(None),
    postgresql_where=delivery.c.due_at.is_not(None),
)
Index(
    None,
    delivery.c.target,
    delivery.c.pipeline,
    delivery.c.started_at,
    sqlite_where=delivery.c.due_at.is_not(None),
    postgresql_where=delivery.c.due_at.is_not(None),
)

pause = Table(
    "pause",
    metadata,
    Column("target", Key, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
)

location = Table(
    "location",
    metadata,
    Column("key", Key, primary_key=True),
    Column("registered", Boolean, nullable=False),
    Column("dataset", Text),
    Column("execution", Key),
    Column("registered_at", BigInteger),
)

waiting = Table(
    "waiting",
    metadata,
    Column("key", Key, primary_key=True),
    Column("execution", Key, primary_key=True),
    Index(None, "execution"),
)

task_place = Table(
    "task_place",
    metadata,
    Column("pipeline", Key, primary_key=True),
    Column("task", Key, primary_key=True),
    Column("multiple", Boolean, nullable=False),
    Column("bare", Boolean, nullable=False),
    Column("retired_by", Key),
    Column("bare_by", Key),  # the newest execution that named the task by its bare id
    Column("bare_stamp", BigInteger),
)

definition = Table(
    "definition",
    metadata,
    Column("key", Key, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("fetched_at", BigInteger, nullable=False),
)

asked = Table(
    "asked",
    metadata,
    Column("key", Key, primary_key=True),
    Column("asked_at", BigInteger, nullable=False),
)

backfill = Table(
    "backfill",
    metadata,
    Column("key", Key, primary_key=True),
    Column("project", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("reached", BigInteger, nullable=False),
    Column("recorded", BigInteger, nullable=False),
    Column("known", BigInteger, nullable=False),
    Column("gone", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

watermark = Table(
    "watermark",
    metadata,
    Column("target", Key, primary_key=True),
    Column("entity", Key, primary_key=True),
    Column("aspect", Key, primary_key=True),
    Column("holder", Key),  # NULL only inside the transaction that makes the row
    Column("stamp", BigInteger),
    Column("digest", Text),  # NULL while what the catalogue holds is not certain
    Column("accepted_at", BigInteger),
    Column("displaced", Key),
    Column("displaced_stamp", BigInteger),
    # What the catalogue may hold of an aspect that is told in parts; see `held`.
    Column("parts", Text),
    Index(None, "target", "holder"),
)

Index(
    None,
    watermark.c.displaced,
    sqlite_where=watermark.c.displaced.is_not(None),
    postgresql_where=watermark.c.displaced.is_not(None),
)

copy = Table(
    "copy",
    metadata,
    Column("dataset", Key, primary_key=True),
    Column("target", Key, primary_key=True),  # who made the dataset known under that name
    Column("body", Text, nullable=False),
)

seen_edge = Table(
    "seen_edge",
    metadata,
    Column("target", Key, primary_key=True),
    Column("entity", Key, primary_key=True),
    Column("version", Key, primary_key=True),
    Column("part", Key, primary_key=True),
    Column("body", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Key, primary_key=True),
    Column("body", LargeBinary, nullable=False),  # empty where there was no room to keep it
    Column("reason", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("size", BigInteger),  # bytes of the body as it came; NULL where the body tells
)
