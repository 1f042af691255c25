"""The policy that `iam` prints: enough for every call that is made, and nothing beyond."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import boto3
import moto.s3.models
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flytelineage.app import FlyteLineage
from flytelineage.errors import ReadError
from flytelineage.objects import ObjectReader
from flytelineage.targets.glue import copying, s3
from flytelineage.testing.aws import REGION, LocalAws, local_aws
from tests.conftest import Run
from tests.factories import TOPIC
from tests.targets.lake import Lake, dataset, lineage

ACCOUNT = "123456789012"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:flyte-events"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1a2b"
ALIAS = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/lake"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/flyteadmin"


class Needed(NamedTuple):
    """A right that a call needs. Source: AWS service authorization reference."""

    action: str
    resource: str


Call = tuple[str, str, Mapping[str, Any]]


def needed(call: Call) -> Iterator[Needed]:
    """All rights that a call needs; one that nobody knows here fails the test."""
    service, operation, params = call
    yield from {"sqs": of_sqs, "s3": of_s3, "glue": of_glue}[service](operation, params)


def of_sqs(operation: str, params: Mapping[str, Any]) -> Iterator[Needed]:
    name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
    yield Needed(f"sqs:{operation.removesuffix('Batch')}", queue)


def of_s3(operation: str, params: Mapping[str, Any]) -> Iterator[Needed]:
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    key = f"{bucket}/{params.get('Key', '')}"
    source = params.get("CopySource")
    if source:
        yield Needed("s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}")
    if operation == "DeleteObjects":
        for one in params["Delete"]["Objects"]:
            yield Needed("s3:DeleteObject", f"{bucket}/{one['Key']}")
        return
    action, resource = {
        "GetObject": ("GetObject", key),
        "HeadObject": ("GetObject", key),
        "ListObjectsV2": ("ListBucket", bucket),
        "PutObject": ("PutObject", key),
        "CopyObject": ("PutObject", key),
        "CreateMultipartUpload": ("PutObject", key),
        "UploadPartCopy": ("PutObject", key),
        "CompleteMultipartUpload": ("PutObject", key),
        "AbortMultipartUpload": ("AbortMultipartUpload", key),
        "ListMultipartUploads": ("ListBucketMultipartUploads", bucket),
    }[operation]
    yield Needed(f"s3:{action}", resource)
    if params.get("SSEKMSKeyId"):
        yield Needed("kms:GenerateDataKey", params["SSEKMSKeyId"])
        if operation == "CreateMultipartUpload":
            yield Needed("kms:Decrypt", params["SSEKMSKeyId"])


def of_glue(operation: str, params: Mapping[str, Any]) -> Iterator[Needed]:
    within = f"arn:aws:glue:{REGION}:{params.get('CatalogId', ACCOUNT)}"
    about = params.get("TableInput") or {}
    table = params.get("TableName") or (about.get("Name") if about else None)
    if operation == "GetTable":
        table = params["Name"]
    database = params.get("DatabaseName") or params.get("DatabaseInput", params)["Name"]
    yield Needed(f"glue:{operation}", f"{within}:catalog")
    yield Needed(f"glue:{operation}", f"{within}:database/{database}")
    if table:
        yield Needed(f"glue:{operation}", f"{within}:table/{database}/{table}")
    if params.get("Tags"):
        yield Needed("glue:TagResource", f"{within}:database/{database}")


CONTEXT = {"kms:ViaService": {f"s3.{REGION}.amazonaws.com"}, "kms:ResourceAliases": {"alias/lake"}}


def allows(policy: Mapping[str, Any], right: Needed) -> bool:
    """Whether a policy of a role grants it, as far as policies are used here."""
    resource = right.resource.replace(":alias/lake", ":key/1a2b")
    return any(
        right.action in one["Action"]
        and any(fnmatchcase(resource, each) for each in one["Resource"])
        and all(
            CONTEXT[key] & {value, *value}
            for condition in one.get("Condition", {}).values()
            for key, value in condition.items()
        )
        for one in policy["Statement"]
        if one["Effect"] == "Allow"
    )


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every call of every client that is made from now on."""
    made: list[Call] = []
    client = boto3.session.Session.client

    def watched(self: Any, service: str, *words: Any, **options: Any) -> Any:
        found = client(self, service, *words, **options)
        found.meta.events.register(
            f"provide-client-params.{service}",
            lambda params, model, **_: made.append((service, model.name, dict(params))),
        )
        return found

    monkeypatch.setattr(boto3.session.Session, "client", watched)
    return made


@pytest.fixture
def lake(aws: LocalAws) -> Iterator[Lake]:
    """Two buckets and an empty catalogue, made before anybody watches."""
    lake = Lake(aws)
    lake.begin()
    yield lake
    lake.close()


def printed(run: Run, *words: str) -> dict[str, Any]:
    """What `iam` prints for a configuration."""
    ended = run("iam", f"--account={ACCOUNT}", *words)
    assert ended.code == 0, ended.err
    return dict(json.loads(ended.out))


def actions(policy: Mapping[str, Any]) -> set[str]:
    return {action for one in policy["Statement"] for action in one["Action"]}


def check(policy: Mapping[str, Any], calls: list[Call], *, unused: set[str]) -> None:
    """Each call is allowed; each right is used, but for those that are named."""
    rights = {right for call in calls for right in needed(call)}

    assert calls
    assert sorted(right for right in rights if not allows(policy, right)) == []
    assert actions(policy) - {right.action for right in rights} == unused


READING = {"s3:GetObject", "s3:ListBucket"}
RECEIVING = {
    "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
}  # fmt: skip


class TestCalls:
    """What boto3 is really asked for, against what is granted."""

    @pytest.mark.parametrize("by_url", [False, True])
    def test_intake(self, run: Run, aws: LocalAws, calls: list[Call], by_url: bool) -> None:
        """By the queue's name as by its URL, which needs one right less."""
        aws.reset()
        sqs = aws.client("sqs")
        url = sqs.create_queue(QueueName="flyte-events")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="garbage")
        sqs.close()
        calls.clear()
        queue = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/flyte-events"
        words = (f"--sqs-queue={queue if by_url else 'flyte-events'}", "--targets=file")
        source = app(*words).build_source()

        source.check()
        messages = source.receive()
        source.hide(messages, 5)
        source.backlog()
        source.delete(messages)
        source.close()

        assert messages
        check(printed(run, *words), calls, unused=READING)

    def test_reading(self, run: Run, aws: LocalAws, lake: Lake, calls: list[Call]) -> None:
        """Objects, footers and folders, and finding out that an object is missing."""
        footer = io.BytesIO()
        pq.write_table(pa.table({"id": [1]}), footer)
        for key, body in (("metadata/a/outputs.pb", b"x"), ("data/f/0", footer.getvalue())):
            lake.s3.put_object(Bucket="raw", Key=key, Body=body)
        allow = "--ObjectReader.allow=s3://raw/metadata/*", "--ObjectReader.allow=s3://raw/data"
        words = (f"--sqs-queue=https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/q", *allow)
        reader = ObjectReader(parent=app(*words))

        reader.read("s3://raw/metadata/a/outputs.pb")
        reader.stat("s3://raw/data/f/0")
        reader.parquet("s3://raw/data/f/0")
        reader.list("s3://raw/data/f/")
        with pytest.raises(ReadError, match="no such object"):
            reader.read("s3://raw/metadata/none.pb")
        reader.close()

        check(printed(run, *words, "--targets=file"), calls, unused=RECEIVING)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"db_name": "Lake"},
            {"create_database": "True", "catalog_id": ACCOUNT},
            {"layout": "per_execution"},
            {"layout": "per_execution", "keep_partitions": "1"},
            {"mode": "copy", "bucket_path": "s3://lake/flyte"},
            {"mode": "copy", "bucket_path": "s3://lake", "kms_key_arn": KEY},
            {"mode": "copy", "bucket_path": "s3://lake/flyte", "kms_key_arn": ALIAS},
            {
                "mode": "copy",
                "bucket_path": "s3://lake/flyte",
                "layout": "per_execution",
                "keep_partitions": "1",
            },
        ],
        ids=str,
    )
    def test_glue(
        self,
        run: Run,
        lake: Lake,
        calls: list[Call],
        monkeypatch: pytest.MonkeyPatch,
        options: Mapping[str, str],
    ) -> None:
        """Tables that are made, moved and looked at; copies, large ones and old ones, too."""
        monkeypatch.setattr(s3, "MULTIPART_BYTES", 5)
        monkeypatch.setattr(copying, "MULTIPART_BYTES", 5)
        monkeypatch.setattr(s3, "PART_BYTES", 4)
        monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1)
        for number in (1, 2, 3, 4):
            lake.put(number, {"a/0": b"%d" % number, "a/1": b"01234567%d" % number})
        given = [f"--GlueCatalogTarget.{name}={value}" for name, value in options.items()]
        queue = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/q"
        allow = "--ObjectReader.allow=s3://raw/data/*"
        words = ("--targets=glue", f"--sqs-queue={queue}", allow, *given)
        target = app(*words, "--GlueCatalogTarget.keep_copies_hours=0").build_target("glue")

        target.check()
        for number in (1, 2, 3, 4):
            assert target.emit(lineage(dataset(number))) == []
        for number in (3, 4):  # again, with something new to say
            again = dataset(number, files=7)
            assert target.emit(lineage(again)) == []
        target.close()

        # What goes wrong is not part of it: an upload that is aborted, a region that joins parts.
        copied = {"s3:AbortMultipartUpload"} if "mode" in options else READING
        check(printed(run, *words), calls, unused=RECEIVING | copied)

    def test_tags_of_databases(self, run: Run, lake: Lake, calls: list[Call]) -> None:
        """They are set when the database is made, which needs a right of its own."""
        words = (
            "--targets=glue",
            f"--sqs-queue=https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/q",
            "--ObjectReader.allow=file:///none",
            "--GlueCatalogTarget.database_tags=team=data",
        )
        target = app(*words).build_target("glue")

        target.emit(lineage(dataset(1)))
        target.emit(lineage(dataset(2)))
        target.close()

        check(printed(run, *words), calls, unused=RECEIVING)


def app(*words: str) -> FlyteLineage:
    """The program with these options."""
    program = FlyteLineage()
    program.initialize(list(words))
    return program


URL = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/flyte-events"
SENDERS = (
    f"--sqs-queue={URL}",
    "--targets=file",
    f"--FlyteLineage.topics={TOPIC}",
    f"--publisher={ROLE}",
    "--queue-policy",
)


class TestPolicies:
    """What is printed, for whom."""

    def test_nothing_is_granted_that_writes_messages_or_data(self, run: Run) -> None:
        """Neither to the queue, nor to the topic, nor to the buckets that are read."""
        words = ("--targets=glue,datahub,file", "--DataHubTarget.file=datahub/")

        policy = printed(run, f"--sqs-queue={URL}", *words)

        granted = actions(policy)
        writing = ("Send", "Purge", "SetQueue", "Put", "DeleteObject", "DeleteT", "Drop")
        assert not [one for one in granted if "*" in one or one.startswith(("sns:", "iam:"))]
        assert not [one for one in granted if any(word in one for word in writing)]

    @pytest.mark.parametrize(
        ("allow", "objects"),
        [
            ("s3://flyte", ["arn:aws:s3:::flyte/*"]),
            ("s3://flyte/metadata/*", ["arn:aws:s3:::flyte/metadata/*"]),
            ("s3a://flyte/a/", ["arn:aws:s3:::flyte/a/*"]),
            ("s3://flyte/a", ["arn:aws:s3:::flyte/a", "arn:aws:s3:::flyte/a/*"]),
            ("s3://flyte-[ab]/x?y", ["arn:aws:s3:::flyte-?/x?y", "arn:aws:s3:::flyte-?/x?y/*"]),
            ("s3://flyte/${aws:username}/*", ["arn:aws:s3:::flyte/${$}{aws:username}/*"]),
        ],
    )
    def test_objects_are_those_that_are_allowed(
        self, run: Run, allow: str, objects: list[str]
    ) -> None:
        """With the signs that policies have; nothing in a path becomes a variable of theirs."""
        policy = printed(
            run, f"--sqs-queue={URL}", "--targets=file", f"--ObjectReader.allow={allow}"
        )

        (reading,) = [one for one in policy["Statement"] if one["Sid"] == "ReadOutputs"]
        assert reading["Resource"] == objects

    def test_files_need_no_right(self, run: Run) -> None:
        """Of local files AWS knows nothing."""
        allow = "--ObjectReader.allow=file:///data/*"

        policy = printed(run, f"--sqs-queue={URL}", "--targets=file", allow)

        assert [one["Sid"] for one in policy["Statement"]] == ["Queue"]

    def test_key_is_used_through_the_services_alone(self, run: Run) -> None:
        """Whoever takes the role's credentials cannot decrypt other things with it."""
        policy = printed(run, f"--sqs-queue={URL}", "--targets=file", f"--kms-key={KEY}")

        (key,) = [one for one in policy["Statement"] if one["Sid"] == "Decrypt"]
        assert (key["Action"], key["Resource"]) == (["kms:Decrypt"], [KEY])
        hosts = [f"s3.{REGION}.amazonaws.com", f"sqs.{REGION}.amazonaws.com"]
        assert key["Condition"] == {"StringEquals": {"kms:ViaService": hosts}}

    def test_two_targets_of_a_kind(self, run: Run, tmp_path: Any) -> None:
        """Each statement has a name of its own, without which AWS takes no policy."""
        (tmp_path / "flytelineage_config.py").write_text(
            "from flytelineage.targets.glue import GlueCatalogTarget\n"
            "class Stage(GlueCatalogTarget):\n    pass\n"
            "c.FlyteLineage.targets = ['glue', Stage]\n"
            "c.Stage.db_name = 'stage'\n"
        )

        policy = printed(run, f"--sqs-queue={URL}")

        assert [one["Sid"] for one in policy["Statement"]][-2:] == ["Glue", "Glue2"]

    def test_queue_takes_from_the_topic_alone(self, run: Run) -> None:
        """Also not from roles of its own account, which need no leave of the queue."""
        allow, deny, clear = printed(run, *SENDERS)["queue"]["Statement"]

        assert (allow["Effect"], allow["Principal"]) == ("Allow", {"Service": "sns.amazonaws.com"})
        assert (allow["Action"], allow["Resource"]) == (["sqs:SendMessage"], [QUEUE])
        assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": TOPIC}}
        assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
        assert deny["Condition"] == {"ArnNotEquals": {"aws:SourceArn": TOPIC}}
        assert (clear["Effect"], clear["Action"]) == ("Deny", ["sqs:*"])

    def test_topic_takes_from_flyteadmin_alone(self, run: Run) -> None:
        """Whoever can publish can write lineage."""
        allow, deny, _ = printed(run, *SENDERS)["topics"][TOPIC]["Statement"]

        assert (allow["Principal"], allow["Action"]) == ({"AWS": ROLE}, ["sns:Publish"])
        assert (deny["Effect"], deny["Action"]) == ("Deny", ["sns:Publish"])
        assert deny["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": ROLE}}

    def test_hints_say_what_is_wider_than_it_must_be(self, run: Run) -> None:
        """On standard error, so that the policy can be piped."""
        ended = run("iam", "--sqs-queue=flyte-events", "--targets=file")

        assert json.loads(ended.out)["Statement"][0]["Resource"] == [
            f"arn:aws:sqs:{REGION}:*:flyte-events"
        ]
        for word in ("ObjectReader.allow", "--account", "--kms-key", "FlyteLineage.topics"):
            assert word in ended.err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--queue-policy"], "needs FlyteLineage.topics, and --publisher="),
            (["--sqs-queue=flyte-events", *SENDERS[2:]], "--account="),
            (["--account=12"], "Iam.account is no account's number: '12'"),
            (["--publisher=root"], "Iam.publisher is no ARN of a role"),
            (["--kms-key=mine"], "Iam.kms_keys: no ARN of a key"),
            (["--FlyteLineage.topics=flyte"], "is no ARN of a standard topic"),
            (["--FlyteLineage.topics=arn:aws:sns:x:123456789012:f.fifo"], "no ARN of a standard"),
            (["me"], "Usage: flytelineage iam"),
        ],
    )
    def test_mistakes(self, run: Run, words: list[str], message: str) -> None:
        """One line that says what to type."""
        first = () if any(word.startswith("--sqs-queue") for word in words) else SENDERS[:1]

        ended = run("iam", *first, *words)

        assert (ended.code, message in ended.err) == (1, True), ended.err
