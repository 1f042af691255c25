"""The calls that are made to Glue, and what its errors mean.

Each call is safe to repeat. What somebody else did at the same time is an answer, not
an error: the caller looks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as ConnectionFailed

from flytelineage import __version__
from flytelineage.errors import (
    PermanentTargetError,
    TargetError,
    TargetUnavailable,
    TransientTargetError,
)

DENIED = frozenset({
    "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "OptInRequired",
    "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId",
    "ExpiredTokenException", "ExpiredToken", "RequestExpired", "SignatureDoesNotMatch",
    "InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken",
    "MissingAuthenticationTokenException", "AuthFailure",
})  # fmt: skip
"""Codes after which every other call fails too, until somebody acts."""

PASSING = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled",
    "RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded",
    "SlowDown", "OperationTimeoutException", "RequestTimeout",
    "InternalServiceException", "InternalFailure", "InternalServerError", "ServiceUnavailable",
    "ServiceUnavailableException", "ConcurrentModificationException",
    "ResourceNotReadyException", "FederationSourceRetryableException",
})  # fmt: skip
"""Codes after which the same call may succeed later."""

_DELETED_AT_ONCE = 25
"""Partitions; Glue takes no more."""

UNUSABLE = (
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
"""What botocore raises before it sends anything, and will raise again."""


def connect(region: str, *, timeout_seconds: float, max_attempts: int) -> Any:
    """A client for Glue; nothing is sent yet.

    Args:
        region: Empty takes what boto3 finds.
        timeout_seconds: For a connection, and for each answer.
        max_attempts: How often botocore itself tries a call.

    Raises:
        TargetUnavailable: There is no region, or the profile does not exist.
    """
    config = Config(
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        # boto3 would spell out its own with each request, which takes a tenth of it.
        user_agent=f"flytelineage/{__version__}",
    )
    try:
        return boto3.session.Session().client("glue", region_name=region or None, config=config)
    except BotoCoreError as exc:
        raise _unsent(exc) from exc


class Catalog:
    """Databases and tables of one Glue Data Catalog.

    Args:
        client: A boto3 client for Glue.
        catalog_id: The account whose catalogue it is; empty is the caller's own.
        shared: Whether all tables stand in one database, so that nothing can be told
            while that may not be used.
    """

    def __init__(self, client: Any, catalog_id: str = "", *, shared: bool = False) -> None:
        self._client = client
        self._whose = {"CatalogId": catalog_id} if catalog_id else {}
        self._account = _account(catalog_id)
        self._shared = shared
        self._databases: set[str] = set()

    def table(self, database: str, name: str) -> dict[str, Any] | None:
        """The table as Glue has it; `None` when it, or its database, does not exist."""
        answer = self._call("get_table", DatabaseName=database, Name=name)
        if answer is None:
            return None
        found: dict[str, Any] = answer["Table"]
        self._account = self._account or _account(found.get("CatalogId"))
        return found

    def account(self, database: str) -> str | None:
        """Who owns the catalogue: as it was given, else as Glue says; `None` if it does not."""
        if self._account is None and database in self._databases:
            self._look_at(database)  # it is new, and so are all tables that were looked at
        return self._account

    def create_table(self, database: str, table: Mapping[str, Any]) -> bool:
        """Create a table.

        Returns:
            False when it exists by now, or when its database is gone.
        """
        created = self._call("create_table", DatabaseName=database, TableInput=table)
        if created is None:
            self._databases.discard(database)
        return created is not None

    def update_table(
        self, database: str, table: Mapping[str, Any], version: str | None, *, archive: bool
    ) -> bool:
        """Replace a table's description.

        Args:
            database: The database's name.
            table: The whole description.
            version: The version that was read; the update holds only while it is the
                newest.
            archive: Whether Glue keeps the old version.

        Returns:
            False when somebody changed or removed the table since it was read.
        """
        unchanged = {"VersionId": version} if version else {}
        updated = self._call(
            "update_table",
            DatabaseName=database,
            TableInput=table,
            SkipArchive=not archive,
            **unchanged,
        )
        return updated is not None

    # ---------------------------------------------------------------- partitions

    def partition(self, database: str, table: str, value: str) -> dict[str, Any] | None:
        """The partition of a value as Glue has it; `None` when there is none."""
        where = {"DatabaseName": database, "TableName": table}
        answer = self._call("get_partition", **where, PartitionValues=[value])
        return answer["Partition"] if answer else None

    def partitions(self, database: str, table: str) -> list[dict[str, Any]]:
        """All partitions of a table, without their columns."""
        found: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            answer = self._call(
                "get_partitions",
                DatabaseName=database,
                TableName=table,
                ExcludeColumnSchema=True,
                **more,
            )
            if answer is None:
                return found
            found += answer["Partitions"]
            if not answer.get("NextToken"):
                return found
            more = {"NextToken": answer["NextToken"]}

    def create_partition(self, database: str, table: str, partition: Mapping[str, Any]) -> bool:
        """Create a partition; False when it exists by now, or the table is gone."""
        where = {"DatabaseName": database, "TableName": table}
        return self._call("create_partition", **where, PartitionInput=partition) is not None

    def update_partition(self, database: str, table: str, partition: Mapping[str, Any]) -> bool:
        """Replace a partition's description; False when it is gone."""
        updated = self._call(
            "update_partition",
            DatabaseName=database,
            TableName=table,
            PartitionValueList=partition["Values"],
            PartitionInput=partition,
        )
        return updated is not None

    def delete_partitions(self, database: str, table: str, values: Sequence[str]) -> None:
        """Delete partitions; those that are gone are no error, and their data stays."""
        for start in range(0, len(values), _DELETED_AT_ONCE):
            some = values[start : start + _DELETED_AT_ONCE]
            answer = self._call(
                "batch_delete_partition",
                DatabaseName=database,
                TableName=table,
                PartitionsToDelete=[{"Values": [value]} for value in some],
            )
            for each in (answer or {}).get("Errors", ()):
                code, message = (
                    each["ErrorDetail"]["ErrorCode"],
                    each["ErrorDetail"].get("ErrorMessage", ""),
                )
                if code not in _SURPRISES:
                    exc = ClientError({"Error": {"Code": code, "Message": message}}, "")
                    raise _translated(exc, "batch_delete_partition", shared=self._shared)

    # ----------------------------------------------------------------- databases

    def has_database(self, name: str) -> bool:
        """Whether the database exists; only a yes is remembered."""
        if name not in self._databases and self._look_at(name):
            self._databases.add(name)
        return name in self._databases

    def _look_at(self, database: str) -> bool:
        answer = self._call("get_database", Name=database)
        if answer:
            self._account = self._account or _account(answer["Database"].get("CatalogId"))
        return answer is not None

    def create_database(self, name: str, tags: Mapping[str, str]) -> None:
        """Create a database, unless somebody was faster."""
        self._call(
            "create_database",
            DatabaseInput={"Name": name, "Description": "Datasets of Flyte, by flytelineage"},
            **({"Tags": dict(tags)} if tags else {}),
        )
        self._databases.add(name)

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """Call Glue; `None` when the thing is not as the caller believed."""
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**self._whose, **parameters)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _SURPRISES:
                return None
            raise _translated(exc, operation, shared=self._shared) from exc
        except BotoCoreError as exc:
            raise _unsent(exc) from exc
        return answer


def _account(catalog_id: str | None) -> str | None:
    """The account of a catalogue; a catalogue in another one has its name behind a colon."""
    return (catalog_id or "").partition(":")[0] or None


_SURPRISES = frozenset(
    {"EntityNotFoundException", "AlreadyExistsException", "ConcurrentModificationException"}
)


_ADVICE = {
    "GlueEncryptionException": "allow kms:Decrypt, kms:Encrypt and kms:GenerateDataKey on the key "
    "that encrypts the Data Catalog to the role, and let the key's policy do so",
    "ResourceNumberLimitExceededException": "the account has as many tables, databases or versions "
    "as AWS allows: remove some, or ask AWS for more; then retry what was refused",
}
"""What helps against what AWS does not explain."""

_GRANTS = {
    "get_table": "DESCRIBE on the table",
    "create_table": "CREATE_TABLE on the database, and DATA_LOCATION_ACCESS where the location of "
    "the data is registered",
    "update_table": "ALTER on the table, and DATA_LOCATION_ACCESS where the location of the data "
    "is registered",
    "get_database": "DESCRIBE on the database",
    "create_database": "CREATE_DATABASE on the catalogue",
}
"""What Lake Formation wants for calls. Source: its permissions reference."""

_ON_DATABASES = frozenset({"get_database", "create_table"})


def _translated(exc: ClientError, operation: str, *, shared: bool) -> TargetError:
    """What an answer of Glue means for the daemon.

    Args:
        exc: The answer.
        operation: The call, as boto3 spells it.
        shared: Whether all tables stand in one database.
    """
    code = exc.response["Error"]["Code"]
    message = exc.response["Error"].get("Message", "")
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    reason = " ".join(f"{code}: {message}".split())
    if code in PASSING or status == 429 or status >= 500:
        return TransientTargetError(f"Glue: {reason}", retry_after=_retry_after(exc))
    if _LAKE_FORMATION in message:
        return _ungranted(operation, reason, shared=shared and "s3://" not in message)
    if code in DENIED or status in (401, 403):
        return TargetUnavailable(
            f"Glue refuses the credentials or the action: allow glue:{_action(operation)} to the "
            f"role, and in Lake Formation where that governs the catalogue ({reason})"
        )
    if code == "GlueEncryptionException":  # of all that is in the catalogue
        return TargetUnavailable(f"Glue: {_ADVICE[code]} ({reason})")
    return PermanentTargetError(
        f"Glue: {reason}" + (f"; {_ADVICE[code]}" if code in _ADVICE else "")
    )


_LAKE_FORMATION = "Lake Formation"
"""In the message of what it denies; the code is that of IAM."""


def _ungranted(operation: str, reason: str, *, shared: bool) -> TargetError:
    """What Lake Formation denies: a table, a place or a database, while others are granted.

    One that is denied must not hold up the others, so it is refused alone; unless every
    other one needs the same grant.
    """
    grant = _GRANTS.get(operation, "what is named here")
    text = f"Lake Formation denies glue:{_action(operation)}: grant the role {grant} ({reason})"
    if operation == "create_database" or (shared and operation in _ON_DATABASES):
        return TargetUnavailable(text)
    return PermanentTargetError(text)


def _action(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


def _unsent(exc: BotoCoreError) -> TargetError:
    """What it means that Glue gave no answer."""
    if isinstance(exc, UNUSABLE):
        return TargetUnavailable(
            f"Glue cannot be called: {str(exc).rstrip('.')}; give the process credentials and a "
            "region (AWS_REGION or GlueCatalogTarget.aws_region)"
        )
    if isinstance(exc, ParamValidationError):
        return PermanentTargetError(f"Glue's client: {' '.join(str(exc).split())}")
    if isinstance(exc, (ConnectionFailed, HTTPClientError)):
        return TransientTargetError(f"Glue does not answer: {exc}")
    return TransientTargetError(f"Glue could not be called: {exc}")


def _retry_after(exc: ClientError) -> float | None:
    headers = exc.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    seconds = str(headers.get("retry-after", ""))
    return float(seconds) if seconds.isdigit() else None
