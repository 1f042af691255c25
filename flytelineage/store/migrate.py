"""Brings a database to the tables of this release, or says why it cannot be used."""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import Column, Connection, MetaData, String, Table

from flytelineage.errors import ConfigError
from flytelineage.store.database import Database
from flytelineage.store.schema import SCHEMA, metadata

_ADVISORY_LOCK = 0x466C_7974_654C_696E  # any number that is always the same: "FlyteLin"


def behind(database: Database) -> bool:
    """Whether the database lacks a migration.

    Raises:
        ConfigError: A release with another major schema wrote it.
        StoreError: The database does not answer.
    """
    version = database.read(_version)
    if version is not None and _major(version) > _major(SCHEMA):
        raise ConfigError(
            f"The store was written by a newer release of flytelineage (schema {version}, "
            f"this one knows {SCHEMA}): install that release again, or give another Store.url"
        )
    return version is None or _parsed(version) < _parsed(SCHEMA)


def upgrade(database: Database) -> None:
    """Apply what is missing, in one transaction; others wait and then find it done."""
    database.write(_upgrade)


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    if sqlalchemy.inspect(connection).get_table_names():
        migrate(connection)
    else:
        _create(connection)


def _create(connection: Connection) -> None:
    """Make the newest tables at once: a first start need not wait for alembic.

    A test holds them against those that the migrations make.
    """
    versions = MetaData()
    version = Table(
        "alembic_version",
        versions,
        Column("version_num", String(32), primary_key=True),
    )
    version.primary_key.name = "alembic_version_pkc"
    metadata.create_all(connection)
    versions.create_all(connection)
    connection.execute(version.insert(), {"version_num": SCHEMA})


def migrate(connection: Connection, to: str = "head") -> None:
    """Let alembic bring the tables to those of this release, or of an earlier one."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "flytelineage:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _version(connection: Connection) -> str | None:
    """What is written in the database; `None` when it holds no store yet."""
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return None
    version = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def _parsed(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        raise ConfigError(
            f"The database holds tables of another program (alembic version {version}): "
            "give flytelineage a database or a schema of its own in Store.url"
        ) from None


def _major(version: str) -> int:
    return _parsed(version)[0]
