"""AWS as a catalogue: tables of Glue, and the data on S3 that they point at."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.httpsession import URLLib3Session

from flytelineage.entities import Dataset
from flytelineage.targets import Target
from flytelineage.targets.glue import GlueCatalogTarget
from flytelineage.targets.glue.history import FORMER, REMOVED
from flytelineage.testing.aws import LocalAws, local_aws
from tests.targets.contract.entities import BUCKET, TASKS, dataset_id, lineage, newer
from tests.targets.contract.place import Place, Refused, Stage, Told, Trouble

OURS = "flytelineage"
"""What the target's clients call themselves, and the test's own do not."""

LAKE = "lake"
DATABASE = "flyte_production_shop"
TIMES = {"CreateTime", "UpdateTime", "CreationTime", "LastAccessTime"}


class Gate:
    """Stands before an AWS, and lets requests of targets go wrong."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.troubles: deque[Trouble] = deque()
        self.locked = False
        self._moved_on = threading.Event()

    def reset(self) -> None:
        """Let everything pass; who hangs may go."""
        self.troubles.clear()
        self.locked = False
        self._moved_on.set()
        self._moved_on = threading.Event()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if OURS not in environ.get("HTTP_USER_AGENT", ""):
            return self._app(environ, start)
        if self.locked:
            return self._refuse(Trouble(400, message="no"), "AccessDeniedException", start)
        if not self.troubles:
            return self._app(environ, start)
        trouble = self.troubles.popleft()
        if trouble.hang:
            self._moved_on.wait()
        if trouble.drop:
            for _ in self._app(environ, lambda *_: lambda _: None):
                pass
        if trouble.hang or trouble.drop:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start("500 -", [])  # which nobody hears; without it the server would complain
            return []
        return self._refuse(trouble, _CODES.get(trouble.status, "InternalServiceException"), start)

    def _refuse(self, trouble: Trouble, code: str, start: Callable[..., Any]) -> Iterable[bytes]:
        headers = [("Content-Type", "application/x-amz-json-1.1")]
        if trouble.retry_after:
            headers.append(("Retry-After", trouble.retry_after))
        start(f"{trouble.status} -", headers)
        return [json.dumps({"__type": code, "message": trouble.message}).encode()]


_CODES = {400: "InvalidInputException", 429: "ThrottlingException"}


@dataclass(frozen=True)
class Aws:
    """An AWS that is running, what stands before it, and who looks at it."""

    local: LocalAws
    gate: Gate
    glue: Any
    s3: Any


@contextmanager
def running() -> Iterator[Aws]:
    """An AWS for all tests, each of which begins with an empty one."""
    gates: list[Gate] = []

    def through(app: Any) -> Gate:
        gates.append(Gate(app))
        return gates[-1]

    with local_aws(through=through) as local, _one_session():
        aws = Aws(local, gates[0], local.client("glue"), local.client("s3"))
        yield aws
        aws.glue.close()
        aws.s3.close()


@contextmanager
def _one_session() -> Iterator[None]:
    """Each session reads megabytes of models, which takes longer than all calls of a test."""
    session = boto3.session.Session()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3.session, "Session", lambda: session)
        yield


class Lake(Place):
    """Tables, and the data that they point at where that was copied."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        super().__init__(stage, impatient={"timeout_seconds": 0.1})
        self.aws: Aws = stage.aws()
        self.options = options
        self._count_requests()
        self.clear()

    def _count_requests(self) -> None:
        send = URLLib3Session.send

        def step(session: URLLib3Session, request: Any) -> Any:
            if OURS in str(request.headers["User-Agent"]):
                self.steps()
            return send(session, request)

        self.stage.patch.setattr(URLLib3Session, "send", step)

    def make(self, **options: Any) -> Target:
        # Its client would try again by itself, after a pause.
        return GlueCatalogTarget(**{"max_attempts": 1, **self.options, **options})

    @property
    def copies(self) -> bool:
        return self.options.get("mode") == "copy"

    # --------------------------------------------------------------------- reading

    def told(self) -> Told:
        return {key: _without_history(value) for key, value in self._found().items()}

    def records(self) -> set[str]:
        return {json.dumps(item, sort_keys=True) for item in self._found().items()}

    def _found(self) -> Told:
        found: Told = {}
        for table in self._tables():
            name = f"table {table['DatabaseName']}.{table['Name']} "
            found[name] = _as_made(table)
            found |= self._data(name, table)
            where = {"DatabaseName": table["DatabaseName"], "TableName": table["Name"]}
            for each in self.aws.glue.get_partitions(**where)["Partitions"]:
                partition = f"{name}{'/'.join(each['Values'])} "
                found[partition] = _as_made(each)
                found |= self._data(partition, each)
        return found

    def _tables(self) -> Iterator[dict[str, Any]]:
        for database in self.aws.glue.get_databases()["DatabaseList"]:
            yield from self.aws.glue.get_tables(DatabaseName=database["Name"])["TableList"]

    def _data(self, name: str, holder: dict[str, Any]) -> Told:
        """What a query reads, where it is a copy."""
        location = holder.get("StorageDescriptor", {}).get("Location", "")
        bucket, _, key = location.removeprefix("s3://").partition("/")
        # What is below a table with partitions lies there for many of them.
        if not self.copies or bucket != LAKE or holder.get("PartitionKeys"):
            return {}
        objects = self.aws.s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", ())
        return {
            f"{name}{each['Key']} ": each["ETag"]
            for each in objects
            if "_flytelineage" not in each["Key"]
        }

    # -------------------------------------------------------------------- writing

    def clear(self) -> None:
        self.aws.local.reset()
        if self.copies:
            for bucket in (BUCKET, LAKE):
                self.aws.s3.create_bucket(Bucket=bucket)
            self.lay([*lineage().datasets, newer().datasets[0]])

    def lay(self, datasets: Iterable[Dataset]) -> None:
        for dataset in datasets:
            if self.copies and dataset.storage:
                bucket, _, key = dataset.storage.uri.removeprefix("s3://").partition("/")
                self.aws.s3.put_object(Bucket=bucket, Key=f"{key}/00000", Body=dataset.name)

    def end(self) -> None:
        """Leave the AWS to the next test."""
        self.aws.gate.reset()

    # ---------------------------------------------------------------- misbehaving

    def trouble(self, trouble: Trouble) -> None:
        self.aws.gate.troubles.append(trouble)

    @property
    def cure(self) -> str:
        return "allow glue:"

    def lock_out(self) -> None:
        self.aws.gate.locked = True

    def refuse(self) -> Refused:
        """Somebody has a table of that name already."""
        id = dataset_id(TASKS[0])
        table = f"daily__{TASKS[0]}__o0"
        with suppress(self.aws.glue.exceptions.AlreadyExistsException):
            self.aws.glue.create_database(DatabaseInput={"Name": DATABASE})
        self.aws.glue.create_table(DatabaseName=DATABASE, TableInput={"Name": table})
        return Refused(
            f"dataset:{id}",
            f"{DATABASE}.{table} ",
            lambda: self.aws.glue.delete_table(DatabaseName=DATABASE, Name=table),
        )


def _as_made(holder: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in holder.items() if key not in TIMES}


def _without_history(holder: Any) -> Any:
    """Without what depends on how often something was told."""
    if not isinstance(holder, dict):
        return holder
    parameters = holder.get("Parameters", {})
    kept = {key: value for key, value in parameters.items() if key not in (FORMER, REMOVED)}
    others = {key: value for key, value in holder.items() if key != "VersionId"}
    return {**others, "Parameters": kept}


@contextmanager
def served(stage: Stage, **options: Any) -> Iterator[Place]:
    """Tables as these options make them."""
    lake = Lake(stage, **options)
    yield lake
    lake.end()
