"""GlueCatalogTarget's copies: a table points at whole data at every moment."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import moto.s3.models
import pytest
from botocore.stub import Stubber
from traitlets import TraitError

from flytelineage.entities import Storage
from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError
from flytelineage.targets.glue import GlueCatalogTarget, copying, s3
from flytelineage.targets.glue.history import FORMER, REMOVED, History
from flytelineage.targets.glue.places import Place, conflict, source_of
from tests.factories import NOW
from tests.targets.lake import (
    DATABASE,
    HOME,
    ORDERS,
    Died,
    Lake,
    Make,
    calls_of,
    data,
    dataset,
    die_after,
    die_before_table,
    folder,
    lineage,
    on_calls,
    refuse,
    refuse_raw,
)

KEY_ARN = "arn:aws:kms:eu-central-1:123456789012:key/a1b2"


class TestCopying:
    """What is copied, and where the table points then."""

    def test_table_points_at_the_copy(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """All objects lie below the table's folder of `bucket_path`; the source stays."""
        written = lake.put(1)

        rejections = target.emit(lineage(dataset(1)))

        assert rejections == []
        assert lake.read() == written
        assert lake.location.startswith(f"s3://lake/{HOME}")
        assert lake.objects(f"s3://raw/{folder(1)}") == written
        parameters = lake.table()["Parameters"]
        assert parameters["flytelineage.copied_from"] == f"s3://raw/{folder(1)}"

    def test_second_time(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """What is there and was compared is not copied again."""
        lake.put(1)
        target.emit(lineage(dataset(1)))
        calls = calls_of(target)

        target.emit(lineage(dataset(1)))

        assert set(calls) == {"GetTable", "ListObjectsV2", "GetObject"}

    def test_metadata(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """What the task said of its files is said of the copies; tags stay behind."""
        lake.put(1, {"0": b"x"}, Metadata={"rows": "1"}, ContentType="a/b", Tagging="expire=soon")

        target.emit(lineage(dataset(1)))

        where = {"Bucket": "lake", "Key": lake.location.removeprefix("s3://lake/") + "0"}
        found = lake.s3.head_object(**where)
        assert (found["Metadata"], found["ContentType"]) == ({"rows": "1"}, "a/b")
        assert lake.s3.get_object_tagging(**where)["TagSet"] == []

    def test_many_objects(
        self, target: GlueCatalogTarget, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder is listed page by page."""
        monkeypatch.setattr(s3, "_PAGE", 3)
        written = lake.put(1, data(1, files=10))

        target.emit(lineage(dataset(1)))

        assert lake.read() == written

    def test_single_file(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """A file between others gets a folder of its own."""
        lake.put(1, {"orders": b"1", "orders.parquet": b"2", "orders/old": b"3"})
        uri = f"s3://raw/{folder(1)}orders"

        target.emit(lineage(dataset(1, uri=uri, folder=False)))

        assert lake.read() == {"orders": b"1"}

    def test_markers_and_hidden_names(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """What consoles make of folders is no data, and a file must not be hidden."""
        lake.put(1, {"": b"", "sub/": b"", "sub/.csv": b"a,b"})

        target.emit(lineage(dataset(1)))

        assert lake.read() == {"sub/data.csv": b"a,b"}

    def test_hidden_name_in_place(
        self, make: Make, lake: Lake, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A table in which Athena finds no rows says so, and what helps; a copy ends that."""
        lake.put(1, {".csv": b"id\n1\n"})
        told = dataset(1, format="csv")
        assert told.schema_
        header = told.schema_.model_copy(update={"source": "header"})
        told = told.model_copy(update={"schema_": header})
        target = make(mode="register")
        target.log.propagate = True

        with caplog.at_level(logging.WARNING):
            target.emit(lineage(told))
        before = lake.table()["Parameters"]
        make().emit(lineage(told))

        assert 'GlueCatalogTarget.mode = "copy"' in before["flytelineage.hidden"]
        assert before["flytelineage.hidden"] in caplog.text
        assert "flytelineage.hidden" not in lake.table()["Parameters"]

    def test_large_objects(
        self, target: GlueCatalogTarget, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What S3 does not copy in one request is copied in parts, metadata included."""
        monkeypatch.setattr(s3, "MULTIPART_BYTES", 10)
        monkeypatch.setattr(copying, "MULTIPART_BYTES", 10)
        monkeypatch.setattr(s3, "PART_BYTES", 4)
        monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1)
        written = lake.put(1, {"0": b"0123456789a", "1": b"x"}, Metadata={"rows": "1"})
        calls = calls_of(target)

        target.emit(lineage(dataset(1)))

        assert lake.read() == written
        assert calls.count("UploadPartCopy") == 3
        key = lake.location.removeprefix("s3://lake/") + "0"
        assert lake.s3.head_object(Bucket="lake", Key=key)["Metadata"] == {"rows": "1"}

    def test_parts_of_the_largest(self) -> None:
        """There are never more parts than S3 takes, nor larger ones."""
        parts = s3._parts(48 << 40)

        assert len(parts) <= s3.MAX_PARTS
        assert parts[-1][1].endswith(str((48 << 40) - 1))
        assert parts[0] == (1, f"bytes=0-{-(-(48 << 40) // s3.MAX_PARTS) - 1}")

    def test_key(self, make: Make, lake: Lake) -> None:
        """Everything that is written is encrypted with the key of the operator."""
        lake.put(1)
        target = make(kms_key_arn=KEY_ARN)
        sent: list[dict[str, Any]] = []
        for operation in ("CopyObject", "PutObject"):
            target.s3.meta.events.register(
                f"provide-client-params.s3.{operation}", lambda params, **_: sent.append(params)
            )

        target.emit(lineage(dataset(1)))

        assert len(sent) == 5  # three objects, and the note twice
        assert {(one["ServerSideEncryption"], one["SSEKMSKeyId"]) for one in sent} == {
            ("aws:kms", KEY_ARN)
        }

    def test_another_key(self, make: Make, lake: Lake) -> None:
        """With another key the data is copied anew."""
        lake.put(1)
        make().emit(lineage(dataset(1)))

        make(kms_key_arn=KEY_ARN).emit(lineage(dataset(1)))

        assert len(lake.copies()) == 2

    def test_schema_alone(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """What is told without storage touches no data."""
        lake.put(1)
        target.emit(lineage(dataset(1)))
        location, calls = lake.location, calls_of(target)

        target.emit(lineage(dataset(1).only(["schema"])))

        assert lake.location == location
        assert calls == ["GetTable"]

    def test_register_needs_no_s3(self, make: Make, lake: Lake) -> None:
        """Without copies there is not even a client."""
        target = make(mode="register", bucket_path="")

        target.emit(lineage(dataset(1)))

        assert lake.location == f"s3://raw/{folder(1)}"
        assert "s3" not in vars(target)


class TestRequests:
    """What moto does not look at: the arguments of copies."""

    @pytest.fixture
    def store(self, target: GlueCatalogTarget) -> Iterator[tuple[s3.ObjectStore, Stubber]]:
        with Stubber(target.s3) as stub:
            yield s3.ObjectStore(target.s3, KEY_ARN), stub

    OBJECT = s3.Object(Place("raw", "data/0"), 9, "abc")
    KEY = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN}
    SOURCE = {"CopySource": {"Bucket": "raw", "Key": "data/0"}, "CopySourceIfMatch": '"abc"'}
    TARGET = {"Bucket": "lake", "Key": "flyte/0"}

    def test_whole(self, store: tuple[s3.ObjectStore, Stubber]) -> None:
        """Only what was listed is copied, with the key."""
        store[1].add_response(
            "copy_object",
            {},
            {
                **self.TARGET,
                **self.SOURCE,
                **self.KEY,
                "MetadataDirective": "COPY",
                "TaggingDirective": "REPLACE",
            },
        )

        with s3.Crew(2) as crew:
            store[0].copy(crew, {Place("lake", "flyte/0"): self.OBJECT})

        store[1].assert_no_pending_responses()

    def test_parts(
        self, store: tuple[s3.ObjectStore, Stubber], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each part is one of what was listed; the key is given once, to all of them."""
        monkeypatch.setattr(s3, "MULTIPART_BYTES", 8)
        monkeypatch.setattr(s3, "PART_BYTES", 5)
        stub, upload = store[1], {**self.TARGET, "UploadId": "u"}
        stub.add_response("head_object", {"ContentType": "a/b", "Metadata": {"k": "v"}}, ANY_HEAD)
        about = {"ContentType": "a/b", "Metadata": {"k": "v"}}
        stub.add_response(
            "create_multipart_upload", {"UploadId": "u"}, {**self.TARGET, **about, **self.KEY}
        )
        for number, span in ((1, "bytes=0-4"), (2, "bytes=5-8")):
            stub.add_response(
                "upload_part_copy",
                {"CopyPartResult": {"ETag": f"e{number}"}},
                {**upload, **self.SOURCE, "PartNumber": number, "CopySourceRange": span},
            )
        parts = [{"ETag": f"e{number}", "PartNumber": number} for number in (1, 2)]
        stub.add_response(
            "complete_multipart_upload", {}, {**upload, "MultipartUpload": {"Parts": parts}}
        )

        with s3.Crew(1) as crew:
            store[0].copy(crew, {Place("lake", "flyte/0"): self.OBJECT})

        stub.assert_no_pending_responses()

    def test_parts_that_fail(
        self, store: tuple[s3.ObjectStore, Stubber], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is left of an upload that did not end."""
        monkeypatch.setattr(s3, "MULTIPART_BYTES", 8)
        stub = store[1]
        stub.add_response("head_object", {}, ANY_HEAD)
        stub.add_response("create_multipart_upload", {"UploadId": "u"})
        stub.add_client_error("upload_part_copy", "SlowDown", http_status_code=503)
        stub.add_response("abort_multipart_upload", {}, {**self.TARGET, "UploadId": "u"})

        with s3.Crew(1) as crew, pytest.raises(TransientTargetError, match="SlowDown"):
            store[0].copy(crew, {Place("lake", "flyte/0"): self.OBJECT})

        stub.assert_no_pending_responses()


class TestComparing:
    """Objects whose ETags differ may be the same all the same."""

    KMS = {"ServerSideEncryption": "aws:kms", "ETag": '"b"'}

    @pytest.mark.parametrize(
        ("there", "source", "same"),
        [
            ({"ETag": '"b"'}, {"ETag": '"a"'}, False),
            (KMS, {"ETag": '"a"'}, True),
            ({"ETag": '"b-2"'}, {"ETag": '"a"'}, True),
            ({"ETag": '"b"'}, {"ETag": '"a"', "SSECustomerAlgorithm": "AES256"}, True),
            ({**KMS, "ChecksumCRC32": "x"}, {"ChecksumCRC32": "x"}, True),
            ({**KMS, "ChecksumCRC32": "x"}, {"ChecksumCRC32": "y"}, False),
            ({**KMS, "ChecksumCRC64NVME": "x"}, {"ChecksumCRC32": "y"}, True),
            ({**KMS, "ChecksumCRC32": "x"}, {"ChecksumCRC32": "y-3"}, True),
        ],
    )
    def test_differing_etags(
        self, target: GlueCatalogTarget, there: Any, source: Any, same: bool
    ) -> None:
        """Whole checksums decide; else ETags where both are digests; else the sizes."""
        bounds = copying.Bounds(0, 0, 1)
        copier = copying.Copier(s3.ObjectStore(target.s3), Place("lake", "flyte/"), bounds)
        with Stubber(target.s3) as stub:
            stub.add_response("head_object", there)
            stub.add_response("head_object", source)

            found = copier._same(
                s3.Object(Place("raw", "0"), 5, "a"), s3.Object(Place("lake", "0"), 5, "b")
            )

        assert found is same

    def test_differing_sizes(self, target: GlueCatalogTarget) -> None:
        """Nothing more is asked."""
        bounds = copying.Bounds(0, 0, 1)
        copier = copying.Copier(s3.ObjectStore(target.s3), Place("lake", "flyte/"), bounds)

        with Stubber(target.s3):
            assert not copier._same(
                s3.Object(Place("raw", "0"), 5, "a"), s3.Object(Place("lake", "0"), 6, "b")
            )


ANY_HEAD = {"Bucket": "raw", "Key": "data/0", "ChecksumMode": "ENABLED"}


class TestFailures:
    """Whatever fails, the table is as it was, and the next try ends the work."""

    @pytest.mark.parametrize("runs", [1, 3])
    def test_death_at_every_call(self, make: Make, lake: Lake, runs: int) -> None:
        """Readers find whole data of the run before, or of this one, and never anything else."""
        number, died = 1, True
        while died:
            lake.begin()
            before = None
            for run in range(1, runs):
                before = lake.put(run)
                make(keep_copies_hours=0).emit(lineage(dataset(run)))
            written = lake.put(runs)
            target = make(keep_copies_hours=0)
            reached = die_after(target, number)

            with suppress(Died):
                target.emit(lineage(dataset(runs)))

            assert lake.read() in (before, written)
            assert make(keep_copies_hours=0).emit(lineage(dataset(runs))) == []
            assert lake.read() == written
            assert len(lake.copies()) <= runs
            died, number = reached(), number + 1
        assert number > 10

    def test_unfinished_copy_is_used(self, make: Make, lake: Lake) -> None:
        """What was copied before the failure is not copied again."""
        lake.put(1)
        target = make(copy_concurrency=1)
        copied = [0]

        def fail(name: str) -> None:
            copied[0] += name == "CopyObject"
            if copied[0] == 3:
                raise Died

        on_calls(target, fail)
        with pytest.raises(Died):
            target.emit(lineage(dataset(1)))
        again = make()
        calls = calls_of(again)

        again.emit(lineage(dataset(1)))

        assert calls.count("CopyObject") == 1
        assert lake.read() == data(1)

    def test_large_objects_begun(
        self, make: Make, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An upload that a dead process left long ago is aborted by the next try."""
        monkeypatch.setattr(s3, "MULTIPART_BYTES", 1)
        monkeypatch.setattr(copying, "MULTIPART_BYTES", 1)
        lake.put(1, {"0": b"0123"})
        target = make()
        gone = {"UploadPartCopy", "AbortMultipartUpload"}

        def fail(name: str) -> None:
            if name in gone:
                raise Died

        on_calls(target, fail)
        with pytest.raises(Died):
            target.emit(lineage(dataset(1)))
        assert len(lake.s3.list_multipart_uploads(Bucket="lake")["Uploads"]) == 1

        make().emit(lineage(dataset(1)))

        assert "Uploads" not in lake.s3.list_multipart_uploads(Bucket="lake")
        assert lake.read() == {"0": b"0123"}

    def test_large_objects_of_another_process(
        self, target: GlueCatalogTarget, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever lost the lease may be at it: two that abort each other would never end."""
        now, old = NOW, NOW - timedelta(hours=7)
        store, folder = s3.ObjectStore(target.s3), Place("lake", "flyte/d/t/c/")
        uploads = [
            {"Key": "flyte/d/t/c/0", "UploadId": name, "Initiated": at}
            for name, at in (("theirs", now), ("left", old))
        ]
        with Stubber(target.s3) as stub:
            stub.add_response("list_multipart_uploads", {"Uploads": uploads})
            stub.add_response(
                "abort_multipart_upload",
                {},
                {"Bucket": "lake", "Key": "flyte/d/t/c/0", "UploadId": "left"},
            )

            store.abort_uploads(folder, begun_before=now - copying._ABANDONED)

            stub.assert_no_pending_responses()

    @pytest.mark.parametrize("operation", ["ListObjectsV2", "CopyObject", "GetObject", "PutObject"])
    @pytest.mark.parametrize(
        ("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("RequestTimeout", 400)]
    )
    def test_busy(
        self, target: GlueCatalogTarget, lake: Lake, operation: str, code: str, status: int
    ) -> None:
        """What may work later is tried later."""
        lake.put(1)
        refuse(target, operation, code, status)

        with pytest.raises(TransientTargetError, match=code):
            target.emit(lineage(dataset(1)))

        assert lake.table() is None

    @pytest.mark.parametrize(
        ("operation", "right"),
        [
            ("PutObject", r"s3:PutObject, and kms:GenerateDataKey and kms:Decrypt"),
            ("CopyObject", r"s3:PutObject, and kms:GenerateDataKey and kms:Decrypt"),
        ],
    )
    @pytest.mark.parametrize("code", ["AccessDenied", "KMS.DisabledException"])
    def test_no_right_to_write(
        self, target: GlueCatalogTarget, lake: Lake, operation: str, right: str, code: str
    ) -> None:
        """All copies wait until somebody granted it; the table stays."""
        lake.put(1)
        target.emit(lineage(dataset(1)))
        lake.put(2)
        refuse(target, operation, code, 400 if "KMS" in code else 403)

        with pytest.raises(TargetUnavailable, match=rf"s3://lake/flyte/.*{right}.*no way"):
            target.emit(lineage(dataset(2)))

        assert lake.read() == data(1)

    def test_no_right_to_read(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """One dataset that may not be read costs no other."""
        lake.put(1)
        refuse_raw(target, "ListObjectsV2")

        (rejection,) = target.emit(lineage(dataset(1)))

        assert rejection.entity == dataset(1).urn
        assert "s3:ListBucket" in rejection.reason
        assert "another account" in rejection.reason

    def test_no_right_to_read_the_objects(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """S3 does not say which side refused a copy; reading a byte does."""
        lake.put(1)
        refuse(target, "CopyObject", "AccessDenied")
        refuse_raw(target, "GetObject")

        (rejection,) = target.emit(lineage(dataset(1)))

        assert "s3://raw/" in rejection.reason
        assert "s3:GetObject, and kms:Decrypt" in rejection.reason

    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "InvalidToken"])
    def test_credentials(self, target: GlueCatalogTarget, lake: Lake, code: str) -> None:
        """Without them nothing works, whatever it was about."""
        lake.put(1)
        refuse(target, "ListObjectsV2", code, 400)

        with pytest.raises(TargetUnavailable, match=code):
            target.emit(lineage(dataset(1)))

    def test_no_bucket_for_copies(self, make: Make, lake: Lake) -> None:
        """The message names the option."""
        lake.put(1)

        with pytest.raises(TargetUnavailable, match=r"no such bucket.*bucket_path"):
            make(bucket_path="s3://nowhere/flyte").emit(lineage(dataset(1)))

    def test_archived(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """What S3 must fetch from an archive first is refused, and its table stays."""
        lake.put(1)
        target.emit(lineage(dataset(1)))
        lake.put(2, StorageClass="GLACIER")

        (rejection,) = target.emit(lineage(dataset(2)))

        assert "archived" in rejection.reason
        assert lake.read() == data(1)

    def test_source_is_gone(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """Data that is not there any more is refused, and the table stays."""
        lake.put(1)
        target.emit(lineage(dataset(1)))

        (rejection,) = target.emit(lineage(dataset(2)))

        assert "nothing lies at" in rejection.reason
        assert lake.read() == data(1)

    def test_source_is_gone_after_it_was_copied(
        self, target: GlueCatalogTarget, lake: Lake
    ) -> None:
        """That is what copies are for."""
        lake.put(1)
        target.emit(lineage(dataset(1)))
        for name in data(1):
            lake.s3.delete_object(Bucket="raw", Key=folder(1) + name)

        assert target.emit(lineage(dataset(1))) == []
        assert lake.read() == data(1)

    def test_source_changes_meanwhile(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """The copy is of one state: of that in which nothing changed any more."""
        lake.put(1)
        changes = [{"part-1/00001": b"new"}, {}]

        def change(name: str) -> None:
            if name == "CopyObject" and changes:
                lake.put(1, changes.pop(0))

        on_calls(target, change)

        assert target.emit(lineage(dataset(1))) == []
        assert lake.read() == {**data(1), "part-1/00001": b"new"}

    def test_source_changes_without_end(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """It is left for later."""
        lake.put(1)
        count = iter(range(10_000))

        def change(name: str) -> None:
            if name == "CopyObject":
                lake.put(1, {"0": str(next(count)).encode()})

        on_calls(target, change)

        with pytest.raises(TransientTargetError, match="changes while it is copied"):
            target.emit(lineage(dataset(1)))

        assert lake.table() is None

    def test_object_is_gone_meanwhile(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """Then the data is listed again."""
        lake.put(1)
        on_calls(
            target,
            lambda name: (
                name == "CopyObject"
                and lake.s3.delete_object(Bucket="raw", Key=folder(1) + "part-1/00001")
            ),
        )

        assert target.emit(lineage(dataset(1))) == []
        assert set(lake.read() or ()) == {"part-0/00000", "part-2/00002"}

    def test_copy_that_differs(self, make: Make, lake: Lake) -> None:
        """What is in the copy's place and is not the same is copied again."""
        lake.put(1, {"0": b"right"})
        make().emit(lineage(dataset(1)))
        copy = lake.location.removeprefix("s3://lake/")
        lake.s3.put_object(Bucket="lake", Key=copy + "0", Body=b"wrong")

        make().emit(lineage(dataset(1)))

        assert lake.read() == {"0": b"right"}

    def test_foreign_object_in_a_copy(self, make: Make, lake: Lake) -> None:
        """A query would read it, so the copy is not used; and nobody deletes it."""
        lake.put(1)
        make().emit(lineage(dataset(1)))
        key = lake.location.removeprefix("s3://lake/") + "more"
        lake.s3.put_object(Bucket="lake", Key=key, Body=b"theirs")

        (rejection,) = make().emit(lineage(dataset(1)))

        assert "is not ours" in rejection.reason
        assert lake.objects(f"s3://lake/{key}") == {"": b"theirs"}


class TestBounds:
    """What is too much is refused before anything is copied."""

    @pytest.mark.parametrize("option", ["copy_limit_bytes", "copy_limit_objects"])
    def test_too_much(self, make: Make, lake: Lake, option: str) -> None:
        """The reason names the option."""
        lake.put(1)
        target = make(**{option: 2})

        (rejection,) = target.emit(lineage(dataset(1)))

        assert f"GlueCatalogTarget.{option}" in rejection.reason
        assert lake.copies() == set()

    def test_no_bound(self, make: Make, lake: Lake) -> None:
        """0 takes everything."""
        lake.put(1)

        assert make(copy_limit_bytes=0, copy_limit_objects=0).emit(lineage(dataset(1))) == []

    def test_concurrency(self, make: Make, lake: Lake) -> None:
        """Never more at once than the operator allows."""
        lake.put(1, data(1, files=12))
        target = make(copy_concurrency=3)
        lock, running, most = threading.Lock(), [0], [0]

        def begin(_: str) -> None:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])

        def end(_: str) -> None:
            with lock:
                running[0] -= 1

        on_calls(target, begin)
        on_calls(target, end, "after")

        target.emit(lineage(dataset(1)))

        assert 1 <= most[0] <= 3


class TestOldCopies:
    """They go when nobody can read them any more, and nothing else goes with them."""

    def test_kept_for_readers(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """A copy that the table just left stays as it is."""
        for run in (1, 2, 3):
            lake.put(run)
            target.emit(lineage(dataset(run)))

        assert len(lake.copies()) == 3
        assert len(lake.history().former) == 2

    def test_removed_later(self, make: Make, lake: Lake) -> None:
        """The run after next removes it, with its note."""
        target = make(keep_copies_hours=0)
        for run in (1, 2, 3, 4):
            lake.put(run)
            target.emit(lineage(dataset(run)))

        notes = lake.objects(f"s3://lake/{HOME}_flytelineage/")
        assert len(lake.copies()) == len(notes) == 2
        assert lake.read() == data(4)
        assert lake.objects("s3://raw/")  # never the data itself

    def test_time_by_the_clock_of_s3(
        self, make: Make, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A day later the copies of yesterday go, and not an hour later."""
        target = make(keep_copies_hours=24)
        now = [datetime(2026, 1, 1, tzinfo=timezone.utc)]
        monkeypatch.setattr(s3, "_answered_at", lambda _: now[0])
        left = []
        for run, hours in ((1, 0), (2, 1), (3, 24.5), (4, 25.5)):
            now[0] = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(hours=hours)
            lake.put(run)
            target.emit(lineage(dataset(run)))
            left.append(len(lake.copies()))

        assert left == [1, 2, 3, 3]

    def test_back_to_an_old_copy(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """The same data again is found where it was, and is no old copy any more."""
        lake.put(1)
        target.emit(lineage(dataset(1)))
        lake.put(2)
        target.emit(lineage(dataset(2)))
        calls = calls_of(target)
        again = dataset(1).model_copy(update={"as_of": NOW + timedelta(days=1)})

        target.emit(lineage(again))

        assert "CopyObject" not in calls
        assert lake.read() == data(1)
        assert len(lake.history().former) == 1

    def test_copy_under_removal_is_not_used(self, make: Make, lake: Lake) -> None:
        """Whoever removes it may be at it: the data gets another folder."""
        target = make(keep_copies_hours=0)
        for run in (1, 2, 3):
            lake.put(run)
            target.emit(lineage(dataset(run)))
        (removed,) = lake.history().removed
        again = dataset(1).model_copy(update={"as_of": NOW + timedelta(days=1)})

        target.emit(lineage(again))

        assert lake.location.endswith(f"/{removed}-2/")
        assert lake.read() == data(1)

    def test_moved_back_while_it_was_to_be_removed(self, make: Make, lake: Lake) -> None:
        """Of two processes, one that removes and one that returns to a copy, one is first."""
        slow, fast = make(keep_copies_hours=0), make(keep_copies_hours=0)
        for run in (1, 2):
            lake.put(run)
            fast.emit(lineage(dataset(run)))
        lake.put(3)
        back = dataset(1).model_copy(update={"as_of": NOW + timedelta(days=1)})
        raced: list[bool] = []

        def race(**_: Any) -> None:
            if not raced:
                raced.append(True)
                fast.emit(lineage(back))

        # Before the guard, which then sees what the faster one did.
        slow.client.meta.events.register_first("provide-client-params.glue.UpdateTable", race)

        slow.emit(lineage(dataset(3)))

        assert lake.read() == data(1)
        assert (
            lake.location.removeprefix(f"s3://lake/{HOME}").strip("/") not in lake.history().removed
        )

    def test_copy_that_never_became_whole(self, make: Make, lake: Lake) -> None:
        """It is found by its note and goes like an old one."""
        lake.put(1)
        target = make()
        on_calls(target, die_before_table)
        with pytest.raises(Died):
            target.emit(lineage(dataset(1)))
        assert len(lake.copies()) == 1

        for run in (2, 3, 4):
            lake.put(run)
            make(keep_copies_hours=0).emit(lineage(dataset(run)))

        assert len(lake.copies()) == 2

    def test_what_others_put_there_stays(
        self, make: Make, lake: Lake, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is deleted that no note names, or that was overwritten since."""
        target = make(keep_copies_hours=0)
        target.log.propagate = True
        lake.put(1)
        target.emit(lineage(dataset(1)))
        first = lake.location.removeprefix("s3://lake/")
        theirs = {f"{first}part-1/00001": b"edited", f"{first}own": b"x", f"{HOME}own": b"y"}
        for key, body in theirs.items():
            lake.s3.put_object(Bucket="lake", Key=key, Body=body)

        with caplog.at_level(logging.WARNING):
            for run in (2, 3):
                lake.put(run)
                target.emit(lineage(dataset(run)))

        found = lake.objects("s3://lake/")
        assert {key: found.get(key) for key in theirs} == theirs
        assert {key for key in found if key.startswith(first)} == {*theirs} - {f"{HOME}own"}
        assert "stays" in caplog.text

    def test_broken_note(self, make: Make, lake: Lake) -> None:
        """Without a note that can be read nothing is deleted."""
        target = make(keep_copies_hours=0)
        lake.put(1)
        target.emit(lineage(dataset(1)))
        (id,) = lake.copies()
        lake.s3.put_object(Bucket="lake", Key=f"{HOME}_flytelineage/{id}.json", Body=b"{")

        for run in (2, 3, 4):
            lake.put(run)
            target.emit(lineage(dataset(run)))

        assert id in lake.copies()

    def test_no_right_to_delete(
        self, make: Make, lake: Lake, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Deliveries go on; the log names the right, and the next run tries again."""
        target = make(keep_copies_hours=0)
        target.log.propagate = True
        refuse(target, "DeleteObjects", "AccessDenied")

        with caplog.at_level(logging.WARNING):
            for run in (1, 2, 3):
                lake.put(run)
                assert target.emit(lineage(dataset(run))) == []
        assert "s3:DeleteObject" in caplog.text
        assert len(lake.copies()) == 3

        lake.put(4)
        make(keep_copies_hours=0).emit(lineage(dataset(4)))
        assert len(lake.copies()) == 2

    def test_from_register(self, make: Make, lake: Lake) -> None:
        """The table leaves Flyte's own data, which nobody touches."""
        lake.put(1)
        make(mode="register").emit(lineage(dataset(1)))

        for run in (2, 3, 4):
            lake.put(run)
            make(keep_copies_hours=0).emit(lineage(dataset(run)))

        assert lake.objects(f"s3://raw/{folder(1)}") == data(1)

    def test_tables_of_another_catalogue(self, make: Make, lake: Lake) -> None:
        """One that stands by the same name in another region keeps the copy it points at."""
        there = make(aws_region="eu-west-1", keep_copies_hours=0)
        del vars(there)["client"]  # it is of the lake's own region
        lake.put(1)
        there.emit(lineage(dataset(1)))
        table = there.client.get_table(DatabaseName=DATABASE, Name=ORDERS)["Table"]
        there.client.close()

        for run in (1, 2, 3, 4):
            lake.put(run)
            make(keep_copies_hours=0).emit(lineage(dataset(run)))

        assert lake.objects(table["StorageDescriptor"]["Location"]) == data(1)
        assert lake.read() == data(4)

    def test_back_to_register(self, make: Make, lake: Lake) -> None:
        """The table does not say that data in place was copied, nor is of an older time."""
        lake.put(1)
        make().emit(lineage(dataset(1)))

        make(mode="register").emit(lineage(dataset(2)))

        parameters = lake.table()["Parameters"]
        assert lake.location == f"s3://raw/{folder(2)}"
        assert not {"flytelineage.copied_from", "flytelineage.as_of"} & parameters.keys()

    def test_table_made_anew(self, make: Make, lake: Lake) -> None:
        """When somebody dropped the table, what was copied for it is found by its notes."""
        lake.put(1)
        make().emit(lineage(dataset(1)))
        lake.glue.delete_table(DatabaseName=DATABASE, Name=ORDERS)

        for run in (2, 3):
            lake.put(run)
            make(keep_copies_hours=0).emit(lineage(dataset(run)))

        assert len(lake.copies()) == 2
        assert lake.read() == data(3)


class TestOrder:
    """An older execution never moves a table back."""

    def test_older_execution(self, target: GlueCatalogTarget, lake: Lake) -> None:
        """It was slower than a newer one: nothing is copied and nothing moves."""
        lake.put(2)
        target.emit(lineage(dataset(2)))
        lake.put(1)
        calls = calls_of(target)

        assert target.emit(lineage(dataset(1))) == []
        assert lake.read() == data(2)
        assert calls == ["GetTable"]

    def test_newer_execution_meanwhile(self, make: Make, lake: Lake) -> None:
        """One that was overtaken while it copied leaves the table alone."""
        slow, fast = make(), make()
        lake.put(0)
        fast.emit(lineage(dataset(0)))
        lake.put(1)
        lake.put(2)
        overtaken: list[bool] = []

        def overtake(name: str) -> None:
            if name == "CopyObject" and not overtaken:
                overtaken.append(True)
                fast.emit(lineage(dataset(2)))

        on_calls(slow, overtake)

        slow.emit(lineage(dataset(1)))

        assert lake.read() == data(2)

    def test_two_at_once(self, make: Make, lake: Lake) -> None:
        """Two that copy the same data do not disturb each other."""
        lake.put(1)
        targets = [make(), make()]
        threads = [
            threading.Thread(target=each.emit, args=(lineage(dataset(1)),)) for each in targets
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert lake.read() == data(1)
        assert len(lake.copies()) == 1


class TestPlaces:
    """Where copies may be, and what may be copied."""

    @pytest.mark.parametrize(
        ("root", "source", "refused"),
        [
            ("s3://lake/flyte", "s3://raw/data/", None),
            ("s3://lake", "s3://raw/data/", None),
            ("s3://raw/copies", f"s3://raw/{folder(1)}", None),
            ("s3://raw", f"s3://raw/{folder(1)}", "add a folder"),
            ("s3://raw/data/copies", f"s3://raw/{folder(1)}", "Flyte's raw output, raw/data/"),
            ("s3://raw/data", f"s3://raw/{folder(1)}", "where copies are kept"),
            ("s3://raw/lake/orders/copies", "s3://raw/lake/orders/", "within the data"),
            ("s3://raw/lake/orders", "s3://raw/lake/orders-old/", None),
            ("s3://raw/lake", "s3://raw/lake/orders/file", "where copies are kept"),
        ],
    )
    def test_conflict(self, root: str, source: str, refused: str | None) -> None:
        """Copies lie neither between the data nor within it."""
        found = conflict(Place.folder_of(root), Place.of(source))

        assert (found is None) == (refused is None)
        assert found is None or (refused or "") in found.text

    @pytest.mark.parametrize(
        ("uri", "folder", "expected"),
        [
            ("s3://b/lake/orders", True, "s3://b/lake/orders/"),
            ("s3a://b/lake/orders/", None, "s3://b/lake/orders/"),
            ("s3://b/lake/orders.parquet", False, "s3://b/lake/orders.parquet"),
            ("s3://b/lake/orders", None, None),
            (f"s3://b/data/{7:032x}", None, f"s3://b/data/{7:032x}/"),
            ("s3://b", True, None),
            ("s3://b/", True, None),
            ("gs://b/lake/orders", True, None),
        ],
    )
    def test_source(self, uri: str, folder: bool | None, expected: str | None) -> None:
        """A folder, or a file; nothing of which it is not known."""
        found = source_of(Storage(uri=uri, folder=folder))

        assert (found and str(found)) == expected

    def test_wrong_place_holds_up_all(self, make: Make, lake: Lake) -> None:
        """It is the operator's to change; nothing is lost meanwhile."""
        lake.put(1)

        with pytest.raises(TargetUnavailable, match=r"GlueCatalogTarget\.bucket_path.*raw output"):
            make(bucket_path="s3://raw/data/copies").emit(lineage(dataset(1)))

    def test_data_that_is_a_copy_itself(self, make: Make, lake: Lake) -> None:
        """One dataset that lies there is refused, others are not."""
        lake.put(1)
        target = make(bucket_path="s3://raw/lake")
        lake.s3.put_object(Bucket="raw", Key="lake/orders/0", Body=b"x")

        (rejection,) = target.emit(lineage(dataset(1, uri="s3://raw/lake/orders", folder=True)))

        assert "where copies are kept" in rejection.reason

    @pytest.mark.parametrize(
        "path", ["lake/flyte", "s3://", "s3://lake//flyte", "gs://lake", "s3://Lake_1/x"]
    )
    def test_no_place(self, path: str) -> None:
        """What is no folder on S3 is refused at start."""
        with pytest.raises(TraitError, match=r"GlueCatalogTarget\.bucket_path"):
            GlueCatalogTarget(mode="copy", bucket_path=path)

    def test_without_a_place(self) -> None:
        """The message says what to type."""
        with pytest.raises(ConfigError, match=r"GlueCatalogTarget\.bucket_path = "):
            GlueCatalogTarget(mode="copy")

    def test_no_key(self) -> None:
        """A key's id alone means nothing in another account."""
        with pytest.raises(TraitError, match=r"GlueCatalogTarget\.kms_key_arn"):
            GlueCatalogTarget(kms_key_arn="a1b2")

    def test_check(self, make: Make, lake: Lake) -> None:
        """`check --connect` looks at the place of copies without writing there."""
        make().check()

        assert lake.objects("s3://lake/") == {}
        with pytest.raises(ConfigError, match="no such bucket"):
            make(bucket_path="s3://nowhere/flyte").check()


class TestHistory:
    """Which copies may go follows from the table alone."""

    AT = datetime(2026, 1, 2, tzinfo=timezone.utc)

    def test_what_people_broke(self) -> None:
        """It is as if nothing were known, and so nothing goes."""
        for text in ("", "{", "[]", "null", "7"):
            assert History.of({"Parameters": {FORMER: text, REMOVED: text}}) == History()

    def test_never_found_and_removed_at_once(self) -> None:
        """A copy that nobody pointed at may be one that somebody just makes."""
        moved = History().moved({"b"}, {"a", "b"}, self.AT, timedelta(0))

        assert (set(moved.former), set(moved.removed)) == ({"a"}, set())

    def test_names_stay_taken(self) -> None:
        """A removed copy is forgotten once it is gone, and not too soon."""
        moved = History({"a": "2026-01-01"}).moved({"b"}, {"a", "b"}, self.AT, timedelta(0))
        soon = moved.moved({"b"}, {"b"}, self.AT + timedelta(minutes=1), timedelta(0))
        there = moved.moved({"b"}, {"a", "b"}, self.AT + timedelta(days=1), timedelta(0))
        gone = moved.moved({"b"}, {"b"}, self.AT + timedelta(days=1), timedelta(0))

        assert [set(each.removed) for each in (moved, soon, there, gone)] == [
            {"a"}, {"a"}, {"a"}, set(),
        ]  # fmt: skip

    def test_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A table that moves all the time does not outgrow Glue's parameters."""
        existing = {f"{number:016x}" for number in range(6000)}
        former = {id: f"2026-01-01T{id}" for id in existing}

        moved = History(former).moved((), existing, self.AT, timedelta(days=30))

        assert len(moved.former) == 5000
        assert max(moved.removed) < min(moved.former)
        assert all(len(text) < 512_000 for text in moved.parameters().values())
        assert json.loads(moved.parameters()[FORMER]) == moved.former
