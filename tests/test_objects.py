"""Opening URIs: what is allowed, what it costs, and how it fails."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traitlets import TraitError

from flytelineage.errors import ReadError
from flytelineage.objects import ObjectReader
from flytelineage.testing.aws import LocalAws, local_aws

MIB = 1 << 20


class S3Double:
    """An S3 of one bucket that counts what it sends and fails by script.

    Attributes:
        objects: Content by key.
        sent: Bytes of content that were sent.
        ranges: The `Range` header of each request for content.
        faults: Answers to give first, in order; each gets the handler.
        etag: Told with each answer.
        connections: How many were made.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.sent = 0
        self.ranges: list[str | None] = []
        self.faults: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.etag: Callable[[], str] = lambda: '"1"'
        self.connections = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.ranges.append(request.headers["Range"])
        if self.faults:
            return self.faults.pop(0)(request)
        content = self.objects.get(request.path.partition("?")[0].removeprefix("/bucket/"))
        if content is None:
            return refuse(404, "NoSuchKey")(request)
        part = part_of(content, request.headers["Range"])
        start = len(content) + part.start if part.start < 0 else part.start
        request.send_response(206 if request.headers["Range"] else 200)
        request.send_header("Content-Length", str(len(content[part])))
        request.send_header("ETag", self.etag())
        if request.headers["Range"]:
            end = start + len(content[part]) - 1
            request.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        request.end_headers()
        if request.command == "GET":
            self.sent += len(content[part])
            request.wfile.write(content[part])
        return None


def part_of(content: bytes, header: str | None) -> slice:
    if header is None:
        return slice(0, None)
    first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", header).groups()  # type: ignore[union-attr]
    if not first:
        return slice(max(0, len(content) - int(last)), None)
    return slice(int(first), int(last) + 1)


def refuse(status: int, code: str, message: str = "no") -> Callable[[Any], None]:
    """An error as S3 writes it."""

    def fault(request: BaseHTTPRequestHandler) -> None:
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    return fault


def break_off(request: BaseHTTPRequestHandler) -> None:
    """Promise a hundred bytes, send three."""
    request.send_response(200)
    request.send_header("Content-Length", "100")
    request.end_headers()
    request.wfile.write(b"abc")
    request.close_connection = True


def ignore_the_range(request: BaseHTTPRequestHandler) -> None:
    """Begin to send all of an object of 50 MB."""
    request.send_response(200)
    request.send_header("Content-Length", str(50 * MIB))
    request.end_headers()
    request.close_connection = True


@contextmanager
def serving(double: S3Double) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            double.connections += 1

        def do_GET(self) -> None:
            double.answer(self)

        def do_HEAD(self) -> None:
            double.answer(self)

        def log_message(self, *args: Any) -> None:
            """Say nothing on the terminal."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            """A client that hangs up early does so on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Double]:
    double = S3Double()
    with serving(double) as url:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", no_delay)
        yield double


def no_delay(*_: Any) -> float:
    return 0.0


@pytest.fixture
def reader() -> Iterator[ObjectReader]:
    reader = ObjectReader(aws_region="us-east-1")
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def bucket(aws: LocalAws) -> Any:
    aws.reset()
    client = aws.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()


def reason_of(read: Callable[[], object]) -> str:
    with pytest.raises(ReadError) as caught:
        read()
    return caught.value.reason


def message_of(read: Callable[[], object]) -> str:
    with pytest.raises(ReadError) as caught:
        read()
    return str(caught.value)


def parquet_file(columns: int, rows: int = 1, **options: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.table({f"column_{n}": pa.array(range(rows), pa.int64()) for n in range(columns)})
    pq.write_table(table, sink, **options)
    return sink.getvalue()


# ------------------------------------------------------------------------ reading


@pytest.mark.parametrize("scheme", ["s3", "s3a", "s3n"])
def test_an_object_is_read(bucket: Any, reader: ObjectReader, scheme: str) -> None:
    """All spellings of S3 mean the same."""
    bucket.put_object(Bucket="bucket", Key="metadata/inputs.pb", Body=b"content")

    assert reader.read(f"{scheme}://bucket/metadata/inputs.pb") == b"content"
    assert (reader.requests, reader.bytes_read) == (1, 7)


def test_an_object_is_looked_at(bucket: Any, reader: ObjectReader) -> None:
    """Size and time cost one request and no content."""
    bucket.put_object(Bucket="bucket", Key="data/orders.csv", Body=b"id\n1\n")

    found = reader.stat("s3://bucket/data/orders.csv")

    assert found.bytes == 5
    assert found.modified is not None
    assert found.modified.tzinfo is not None
    assert (reader.requests, reader.bytes_read) == (1, 0)


@pytest.mark.parametrize("prefix", ["s3://bucket/data", "s3://bucket/data/"])
def test_a_folder_is_listed(bucket: Any, reader: ObjectReader, prefix: str) -> None:
    """All that lies below it, and nothing that only begins like it."""
    for key in ("data/", "data/00001", "data/00000", "data/dt=1/00000", "data-2/00000"):
        bucket.put_object(Bucket="bucket", Key=key, Body=b"" if key == "data/" else b"abc")

    listing = reader.list(prefix)

    assert listing.objects == (
        ("s3://bucket/data/00000", 3),
        ("s3://bucket/data/00001", 3),
        ("s3://bucket/data/dt=1/00000", 3),
    )
    assert listing.complete
    assert listing.prefix == "s3://bucket/data/"


def test_a_listing_ends_at_its_limit(bucket: Any, reader: ObjectReader) -> None:
    """What is left out is known to be left out."""
    for key in ("data/0", "data/1", "data/2"):
        bucket.put_object(Bucket="bucket", Key=key, Body=b"abc")

    assert len(reader.list("s3://bucket/data", limit=2).objects) == 2
    assert not reader.list("s3://bucket/data", limit=2).complete
    assert reader.list("s3://bucket/data", limit=3).complete
    assert reader.list("s3://bucket/nothing").objects == ()


def test_a_long_listing_is_read_in_pages(
    bucket: Any, reader: ObjectReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 hands out a thousand keys at most."""
    monkeypatch.setattr("flytelineage.objects.s3.PAGE_KEYS", 2)
    for number in range(5):
        bucket.put_object(Bucket="bucket", Key=f"data/{number}", Body=b"")

    listing = reader.list("s3://bucket/data")

    assert len(listing.objects) == 5
    assert listing.complete
    assert reader.requests == 3


def test_the_end_of_an_object_is_read_alone(s3: S3Double, reader: ObjectReader) -> None:
    """With one request that also tells its size."""
    s3.objects["big"] = bytes(MIB) + b"the end"

    tail = reader.tail("s3://bucket/big", 7)

    assert (tail.data, tail.size) == (b"the end", MIB + 7)
    assert s3.sent == 7


# ------------------------------------------------------------------------ parquet


def test_a_large_file_costs_little(s3: S3Double, reader: ObjectReader) -> None:
    """Schema and rows of 50 MB are told for under 1 MB of reads."""
    sink = io.BytesIO()
    table = pa.table({"noise": pa.array([os.urandom(MIB) for _ in range(50)], pa.binary())})
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    s3.objects["big"] = sink.getvalue()

    footer = reader.parquet("s3://bucket/big")

    assert footer.bytes == len(s3.objects["big"]) > 50 * MIB
    assert footer.rows == 50
    assert [column.name for column in footer.schema.fields] == ["noise"]
    assert s3.sent == reader.bytes_read < MIB
    assert reader.requests == 1


def test_a_long_footer_costs_a_second_request(s3: S3Double, reader: ObjectReader) -> None:
    """Only the part that is missing is asked for."""
    s3.objects["wide"] = parquet_file(columns=2_000)
    footer_bytes = struct.unpack("<I", s3.objects["wide"][-8:-4])[0] + 8

    footer = reader.parquet("s3://bucket/wide")

    assert len(footer.schema.fields) == 2_000
    assert s3.sent == footer_bytes > 64 << 10
    assert len(s3.ranges) == 2


def test_a_file_that_changes_in_between_is_read_later(s3: S3Double, reader: ObjectReader) -> None:
    """Two halves of two files are no footer."""
    s3.objects["wide"] = parquet_file(columns=2_000)
    versions = iter(('"1"', '"2"'))
    s3.etag = lambda: next(versions)

    assert reason_of(lambda: reader.parquet("s3://bucket/wide")) == "unavailable"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"id,name\n", "unreadable"),
        (bytes(100) + struct.pack("<I", 0x7FFFFFFF) + b"PAR1", "unreadable"),
        (bytes(9 * MIB) + struct.pack("<I", 8 * MIB) + b"PAR1", "too large"),
    ],
    ids=["csv", "forged", "too long"],
)
def test_a_footer_that_is_none_costs_one_small_read(
    s3: S3Double, reader: ObjectReader, content: bytes, reason: str
) -> None:
    """A claimed length is compared with the file and the limit before it is read."""
    reader.max_footer_bytes = MIB
    s3.objects["odd"] = content

    assert reason_of(lambda: reader.parquet("s3://bucket/odd")) == reason
    assert s3.sent <= 64 << 10


# ------------------------------------------------------------------------ allowed


@pytest.mark.parametrize(
    ("allow", "uri"),
    [
        ("s3://*", "s3://any/key"),
        ("s3://flyte", "s3://flyte/key"),
        ("s3://flyte/", "s3://flyte/key"),
        ("s3a://flyte/*", "s3n://flyte/key"),
        ("s3://flyte/metadata", "s3://flyte/metadata/x/outputs.pb"),
        ("s3://flyte/metadata/*", "s3://flyte/metadata/x/outputs.pb"),
        ("s3://*-prod/metadata/*", "s3://flyte-prod/metadata/x"),
        ("s3://flyte-??/*", "s3://flyte-eu/x"),
    ],
)
def test_what_is_allowed_is_asked_for(
    s3: S3Double, reader: ObjectReader, allow: str, uri: str
) -> None:
    """A prefix, with globs in bucket and key."""
    reader.allow = [allow]
    s3.faults = [refuse(404, "NoSuchKey")]

    assert reason_of(lambda: reader.read(uri)) == "missing"


@pytest.mark.parametrize(
    ("allow", "uri"),
    [
        ([], "s3://flyte/key"),
        (["s3://flyte"], "s3://flyte-2/key"),
        (["s3://flyte"], "s3://FLYTE/key"),
        (["s3://flyte/metadata"], "s3://flyte/metadata-2/key"),
        (["s3://flyte/metadata/*"], "s3://flyte/data/metadata/x"),
        (["s3://*-prod/metadata/*"], "s3://evil/x-prod/metadata/x"),
        (["s3://*"], "file:///etc/hostname"),
        (["s3://*"], "/etc/hostname"),
        (["file:///data/*"], "file:///etc/hostname"),
    ],
)
def test_what_is_not_allowed_is_not_asked_for(
    s3: S3Double, reader: ObjectReader, allow: list[str], uri: str
) -> None:
    """No request leaves, whatever one wants to know of it."""
    reader.allow = allow

    for read in (reader.read, reader.stat, reader.list, reader.parquet):
        assert reason_of(lambda read=read: read(uri)) == "not allowed"  # type: ignore[misc]
    assert s3.ranges == []


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3",
        "s3:bucket/key",
        "s3://",
        "s3:///key",
        "s3://bucket",
        "s3://bucket/",
        "s3://b@evil/key",
        "s3://user:pass@bucket/key",
        "s3://bucket:8080/key",
        "s3://127.0.0.1:80/key",
        "s3://[::1]/key",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/x/key",
        "s3://bucket/../other/key",
        "s3://bucket/a/../../key",
        "s3://bucket/a/..",
        "s3://bucket/./key",
        "s3://bucket/a%2fb",
        "s3://bucket/%2E%2e/b",
        "s3://bucket/a%5Cb",
        "s3://bucket\\@evil/key",
        "s3://bucket/key?versionId=1",
        "s3://bucket?x/key",
        "s3://bucket#@evil/key",
        "s3://bucket/key#part",
        "s3://bucket/key\n",
        "s3://bucket/k\x00ey",
        "s3://bucket/k\u202eey",
        "s3://bücket/key",
        "S3://bucket/key",
        "s3://bucket/" + "k" * 5_000,
        "http://127.0.0.1/key",
        "https://bucket.s3.amazonaws.com/key",
        "gs://bucket/key",
        "file://evil/etc/hostname",
        "//evil/key",
        "../key",
    ],
)
def test_a_uri_that_is_not_plain_is_refused(s3: S3Double, reader: ObjectReader, uri: str) -> None:
    """What two readers could understand differently is understood by nobody."""
    assert reason_of(lambda: reader.read(uri)) == "not allowed"
    assert s3.ranges == []


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text().map("s3://bucket/".__add__), st.text().map("s3://".__add__)))
def test_no_uri_breaks_the_reader(uri: str) -> None:
    """Without anything allowed each is refused, in a line that can be logged."""
    reader = ObjectReader(allow=[])

    assert message_of(lambda: reader.read(uri)).isprintable()


@pytest.mark.parametrize("allow", ["bucket/*", "gs://bucket/*", "*", "file://data/*", "/data/*"])
def test_a_pattern_that_could_never_match_is_refused(allow: str) -> None:
    """The message says how to write it."""
    with pytest.raises(TraitError, match="file:///data"):
        ObjectReader(allow=[allow])


# -------------------------------------------------------------------------- files


@pytest.fixture
def files(tmp_path: Path, reader: ObjectReader) -> Path:
    (tmp_path / "data" / "table").mkdir(parents=True)
    (tmp_path / "data" / "table" / "00000").write_bytes(parquet_file(columns=2, rows=3))
    (tmp_path / "secret").write_text("secret")
    reader.allow = [f"file://{tmp_path}/data/*"]
    return tmp_path


def test_listed_files_are_read(files: Path, reader: ObjectReader) -> None:
    """As a URI or as a bare path, as flytekit writes it in local runs."""
    path = files / "data" / "table" / "00000"

    assert reader.read(f"file://{path}") == reader.read(str(path)) == path.read_bytes()
    assert reader.stat(str(path)).bytes == path.stat().st_size
    assert reader.parquet(str(path)).rows == 3
    assert reader.list(str(path.parent)).objects == ((f"file://{path}", path.stat().st_size),)


def test_a_link_is_followed_before_it_is_compared(files: Path, reader: ObjectReader) -> None:
    """What counts is where the file really lies."""
    (files / "data" / "link").symlink_to(files / "secret")
    (files / "data" / "up").symlink_to(files)
    (files / "outside").symlink_to(files / "data")

    assert reason_of(lambda: reader.read(str(files / "data" / "link"))) == "not allowed"
    assert reason_of(lambda: reader.read(str(files / "data" / "up" / "secret"))) == "not allowed"
    assert reason_of(lambda: reader.read(f"{files}/data/../secret")) == "not allowed"
    assert reader.parquet(str(files / "outside" / "table" / "00000")).rows == 3


def test_a_folder_that_is_allowed_by_a_link_is_allowed(files: Path, reader: ObjectReader) -> None:
    """The operator's own path may be a link, as /tmp is on some systems."""
    (files / "alias").symlink_to(files / "data")
    reader.allow = [f"file://{files}/alias/*"]

    assert reader.parquet(str(files / "alias" / "table" / "00000")).rows == 3


def test_a_listing_shows_no_links(files: Path, reader: ObjectReader) -> None:
    """Neither to files nor to folders outside."""
    (files / "data" / "link").symlink_to(files / "secret")
    (files / "data" / "up").symlink_to(files)

    listing = reader.list(str(files / "data"))

    assert [Path(file).name for file, _ in listing.objects] == ["00000"]


def test_only_regular_files_are_opened(files: Path, reader: ObjectReader) -> None:
    """A pipe would wait for a writer that never comes."""
    os.mkfifo(files / "data" / "pipe")

    assert reason_of(lambda: reader.read(str(files / "data" / "pipe"))) == "unreadable"
    assert reason_of(lambda: reader.read(str(files / "data" / "table"))) == "missing"
    assert reason_of(lambda: reader.read(str(files / "data" / "nothing"))) == "missing"


def test_a_file_over_the_limit_is_not_read(files: Path, reader: ObjectReader) -> None:
    """Its size is known before."""
    path = str(files / "data" / "table" / "00000")

    assert reason_of(lambda: reader.read(path, limit=10)) == "too large"
    assert reader.bytes_read == 0


# ----------------------------------------------------------------------- failures


def test_a_missing_object_and_a_missing_bucket_are_told_apart(
    bucket: Any, reader: ObjectReader
) -> None:
    """Both are missing; the operator's mistake is named."""
    assert "no such object" in message_of(lambda: reader.read("s3://bucket/key"))
    assert "no such bucket" in message_of(lambda: reader.read("s3://other/key"))
    assert reason_of(lambda: reader.read("s3://bucket/key")) == "missing"
    assert reason_of(lambda: reader.stat("s3://bucket/key")) == "missing"


def test_denied_says_which_permission_is_missing(s3: S3Double, reader: ObjectReader) -> None:
    """The line can be copied into a policy."""
    s3.faults = [refuse(403, "AccessDenied")]

    message = message_of(lambda: reader.read("s3://bucket/metadata/x/outputs.pb"))

    assert message == (
        "s3://bucket/metadata/x/outputs.pb: access denied; the role needs s3:GetObject on "
        "arn:aws:s3:::bucket/metadata/*; without s3:ListBucket on arn:aws:s3:::bucket a missing "
        "object is answered so, too"
    )


@pytest.mark.parametrize(
    ("fault", "call", "expected"),
    [
        (
            refuse(403, "AccessDenied"),
            "list",
            "the role needs s3:ListBucket on arn:aws:s3:::bucket",
        ),
        (refuse(403, ""), "stat", "the role needs s3:GetObject"),
        (refuse(403, "AccessDenied", "not allowed: kms:Decrypt"), "read", "needs kms:Decrypt"),
        (refuse(403, "InvalidAccessKeyId"), "read", "does not take these credentials"),
    ],
)
def test_denials_differ(
    s3: S3Double, reader: ObjectReader, fault: Any, call: str, expected: str
) -> None:
    """Each names what helps against it."""
    s3.faults = [fault] * 3

    with pytest.raises(ReadError, match=expected) as caught:
        getattr(reader, call)("s3://bucket/data/key")

    assert caught.value.reason == "denied"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (refuse(503, "SlowDown"), "unavailable"),
        (refuse(500, "InternalError"), "unavailable"),
        (refuse(400, "ExpiredToken"), "unavailable"),
        (refuse(400, "InvalidRequest"), "unreadable"),
        (refuse(403, "InvalidObjectState"), "unreadable"),
        (refuse(416, "InvalidRange"), "unreadable"),
        (break_off, "unavailable"),
    ],
    ids=["throttled", "5xx", "expired", "refused", "archived", "empty", "broken off"],
)
def test_every_failure_has_its_reason(
    s3: S3Double, reader: ObjectReader, fault: Any, reason: str
) -> None:
    """Only what may pass by itself is worth another try."""
    s3.faults = [fault] * 20

    assert reason_of(lambda: reader.read("s3://bucket/key")) == reason


def test_an_answer_that_breaks_off_is_asked_for_again(s3: S3Double, reader: ObjectReader) -> None:
    """A passing fault does not reach the caller, and no half of an object does."""
    s3.objects["key"] = b"content"
    s3.faults = [break_off, refuse(503, "SlowDown")]

    assert reader.read("s3://bucket/key") == b"content"


def test_a_store_that_is_away_is_unavailable(
    reader: ObjectReader, s3: S3Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is no statement about the object."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    assert reason_of(lambda: reader.read("s3://bucket/key")) == "unavailable"


def test_missing_credentials_are_unavailable(
    reader: ObjectReader, s3: S3Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator may still bring them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    assert "credentials" in message_of(lambda: reader.read("s3://bucket/key"))


def test_a_large_object_is_refused_by_its_headers(s3: S3Double, reader: ObjectReader) -> None:
    """Its content is not waited for."""
    s3.faults = [ignore_the_range, ignore_the_range]

    assert reason_of(lambda: reader.read("s3://bucket/key")) == "too large"
    assert reason_of(lambda: reader.parquet("s3://bucket/key")) == "too large"
    assert reader.bytes_read == 0


def test_an_answer_that_takes_too_long_is_given_up(
    s3: S3Double, reader: ObjectReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that trickle in do not hold a thread for ever."""
    s3.objects["key"] = bytes(MIB)
    seconds = iter(range(0, 10_000, 25))
    monkeypatch.setattr("flytelineage.objects.s3.time.monotonic", lambda: next(seconds))

    assert reason_of(lambda: reader.read("s3://bucket/key")) == "unavailable"


# ------------------------------------------------------------------------ threads


def test_threads_share_one_client_and_a_bound(s3: S3Double) -> None:
    """No more requests than `concurrency` are under way at once."""
    reader = ObjectReader(aws_region="us-east-1", concurrency=2)
    s3.objects["key"] = b"content"
    under_way, most, lock = 0, 0, threading.Lock()
    plain = S3Double.answer

    def watched(request: BaseHTTPRequestHandler) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        s3.faults.clear()
        plain(s3, request)
        with lock:
            under_way -= 1

    s3.answer = watched  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(reader.read, ["s3://bucket/key"] * 40))
    reader.close()

    assert results == [b"content"] * 40
    assert (reader.requests, reader.bytes_read) == (40, 280)
    assert most <= 2


@pytest.mark.parametrize("threads", [1, 8])
def test_connections_are_used_again(s3: S3Double, threads: int) -> None:
    """Of hundreds of footers only the first ones wait for a handshake."""
    reader = ObjectReader(aws_region="us-east-1", concurrency=8)
    s3.objects["file"] = parquet_file(columns=2)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(reader.parquet, ["s3://bucket/file"] * 50))
        list(pool.map(reader.stat, ["s3://bucket/file"] * 50))
    reader.close()

    assert s3.connections <= threads


# ----------------------------------------------------------------------- counting


def test_requests_are_counted_by_what_they_are_for(s3: S3Double, reader: ObjectReader) -> None:
    """In the part that asked for them, and in the whole."""
    s3.objects["key"] = b"content"
    s3.objects["file"] = parquet_file(columns=2)
    one, other = reader.reads(), reader.reads()

    one.read("s3://bucket/key")
    one.head("s3://bucket/key", 3)
    one.tail("s3://bucket/key", 2)
    other.stat("s3://bucket/key")
    other.parquet("s3://bucket/file")

    assert one.tally.requests == {"read": 1, "head": 1, "tail": 1}
    assert one.bytes_read == 7 + 3 + 2
    assert other.tally.requests == {"stat": 1, "parquet": 1}
    assert (reader.requests, reader.bytes_read) == (5, one.bytes_read + other.bytes_read)


def test_requests_of_a_part_are_bounded(s3: S3Double, reader: ObjectReader) -> None:
    """What is refused is neither sent nor counted; parts of parts are bounded by both."""
    s3.objects["key"] = b"content"
    part = reader.reads(max_requests=2)
    small = part.reads(max_requests=1)

    small.read("s3://bucket/key")

    assert reason_of(lambda: small.read("s3://bucket/key")) == "over budget"
    part.read("s3://bucket/key")
    large = part.reads(max_requests=9)
    assert reason_of(lambda: large.read("s3://bucket/key")) == "over budget"
    assert [each.requests for each in (small, large, part, reader)] == [1, 0, 2, 2]
    assert len(s3.ranges) == 2


def test_the_beginning_of_an_object_is_read_alone(s3: S3Double, reader: ObjectReader) -> None:
    """All of it where it is shorter."""
    s3.objects["key"] = b"content"

    assert reader.head("s3://bucket/key", 3) == (b"con", 7, '"1"')
    assert reader.head("s3://bucket/key", 100).data == b"content"
    assert s3.ranges[0] == "bytes=0-2"


def test_a_reader_connects_to_nothing_until_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """And can be closed at any time."""
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)

    reader = ObjectReader()
    reader.close()

    assert reader.requests == 0
