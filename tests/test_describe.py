"""What is told of data that nobody downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flytelineage import describe
from flytelineage.describe import Description, Opened
from flytelineage.entities import DataType, Field, Partial, Profile, Schema, Storage
from flytelineage.errors import ReadError
from flytelineage.literals import Kind, Reference
from flytelineage.objects import Listing, ObjectReader, Tail

DECLARED = Schema(fields=(Field(name="id", type=DataType(kind="int")),), source="declared")


@pytest.fixture
def reader(tmp_path: Path) -> ObjectReader:
    return ObjectReader(allow=[f"file://{tmp_path}"])


class Unlistable(ObjectReader):
    """A reader whose role lacks s3:ListBucket."""

    def list(self, prefix_uri: str, *, limit: int | None = None) -> Listing:
        raise ReadError("denied", f"{prefix_uri}: the role needs s3:ListBucket")


KINDS: dict[bool | None, Kind] = {True: "folder", False: "file", None: "structured dataset"}


def piece(
    uri: str,
    *,
    format: str | None = "",
    folder: bool | None = None,
    declared: Schema | None = None,
) -> Reference:
    return Reference("o0", (), uri, KINDS[folder], format or "", declared)


def describe_data(reader: ObjectReader, uri: str, **known: Any) -> Description:
    return describe.describe_data(reader, [piece(uri, **known)])


def write(path: Path, rows: int = 1, column: str = "id") -> int:
    """A Parquet file; its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: pa.array(range(rows), pa.int64())}), path)
    return path.stat().st_size


def columns(found: Description) -> list[str]:
    assert found.schema is not None
    return [column.name for column in found.schema.fields]


# ----------------------------------------------------------------------- parquet


def test_a_folder_of_parquet(reader: ObjectReader, tmp_path: Path) -> None:
    """Rows, files and bytes add up; columns come from a footer."""
    size = write(tmp_path / "t" / "00000", rows=2) + write(tmp_path / "t" / "00001", rows=3)
    uri = f"file://{tmp_path}/t"

    found = describe_data(reader, uri, format="parquet")

    assert columns(found) == ["id"]
    assert found.storage == Storage(uri=uri, format="parquet", files=2, bytes=size, folder=True)
    assert found.profile == Profile(rows=5, bytes=size)
    assert found.problems == ()


def test_a_table_without_columns_has_no_schema(reader: ObjectReader, tmp_path: Path) -> None:
    """Empty would erase what a catalogue knows."""
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({}), tmp_path / "t" / "00000")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert found.schema is None
    assert found.profile is not None
    assert (found.profile.rows, found.problems) == (0, ())


def test_bookkeeping_is_not_data(reader: ObjectReader, tmp_path: Path) -> None:
    """Spark leaves marks and checksums; a partition may begin with an underscore."""
    write(tmp_path / "t" / "_day=1" / "part-0.snappy.parquet", rows=2)
    for name in ("_SUCCESS", ".part-0.crc", "_temporary/0/part-1.parquet"):
        write(tmp_path / "t" / name)

    found = describe_data(reader, f"file://{tmp_path}/t")

    assert (found.storage.format, found.storage.files) == ("parquet", 1)
    assert found.profile is not None
    assert found.profile.rows == 2


def test_declared_columns_win(reader: ObjectReader, tmp_path: Path) -> None:
    """The footer still tells the rows."""
    write(tmp_path / "t" / "00000", rows=2, column="other")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet", declared=DECLARED)

    assert found.schema == DECLARED
    assert found.profile is not None
    assert found.profile.rows == 2


@pytest.mark.parametrize("folder", [None, False])
def test_a_single_file(reader: ObjectReader, tmp_path: Path, folder: bool | None) -> None:
    """Whether the literal says so or not."""
    size = write(tmp_path / "orders.parquet", rows=2)

    found = describe_data(reader, f"{tmp_path}/orders.parquet", format="", folder=folder)

    assert found.storage.folder is False
    assert found.storage.format == "parquet"
    assert found.profile == Profile(rows=2, bytes=size)


def test_rows_are_unknown_when_one_file_is_damaged(reader: ObjectReader, tmp_path: Path) -> None:
    """A sum over a part would be wrong; the columns are still true."""
    size = write(tmp_path / "t" / "00000", rows=2)
    (tmp_path / "t" / "00001").write_bytes(b"not parquet")

    found = describe_data(reader, f"file://{tmp_path}/t", format="parquet")

    assert columns(found) == ["id"]
    assert found.profile == Profile(bytes=size + 11, partial=Partial(files=1, rows=2))
    assert len(found.problems) == 1
    assert "00001" in found.problems[0]


def spark(folder: Path, parts: int, rows: int = 2) -> int:
    """A directory as Spark leaves it; the size of its parts together."""
    first = folder / "part-00000-c000.snappy.parquet"
    size = write(first, rows=rows)
    content = first.read_bytes()
    for number in range(1, parts):
        (folder / f"part-{number:05}-c000.snappy.parquet").write_bytes(content)
    for name in ("_SUCCESS", "_metadata", ".part-00000-c000.snappy.parquet.crc", "x_$folder$"):
        (folder / name).write_bytes(b"")
    return size * parts


@pytest.mark.parametrize("parts", [3, 200])
def test_of_a_spark_directory_all_footers_are_added_up(
    reader: ObjectReader, tmp_path: Path, parts: int
) -> None:
    """Up to as many as Spark writes unless it is told otherwise."""
    size = spark(tmp_path / "t", parts)

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert (found.storage.files, found.storage.bytes) == (parts, size)
    assert found.profile == Profile(rows=2 * parts, bytes=size)
    assert reader.tally.requests == {"list": 1, "parquet": parts}


@pytest.mark.parametrize("parts", [300, 5000])
def test_of_a_larger_one_the_profile_says_that_it_is_partial(
    reader: ObjectReader, tmp_path: Path, parts: int
) -> None:
    """No more files are opened than allowed, and what they hold is not called the whole."""
    size = spark(tmp_path / "t", parts)

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert (found.storage.files, found.storage.bytes) == (parts, size)
    assert found.profile == Profile(bytes=size, partial=Partial(files=200, rows=400))
    assert columns(found) == ["id"]
    assert reader.tally.requests == {"list": 1, "parquet": 200}


def test_the_files_that_are_opened_are_spread(reader: ObjectReader, tmp_path: Path) -> None:
    """Partitions of later days may have columns that the first ones lack."""
    reader.max_footers = 3
    for day in range(1, 10):
        column = "id" if day < 9 else "new"
        write(tmp_path / "t" / f"day={day}" / "part-0.parquet", column=column)

    found = describe_data(reader, f"{tmp_path}/t")

    assert columns(found) == ["id", "new"]
    assert found.profile is not None
    assert found.profile.partial == Partial(files=3, rows=3)


def test_empty_files_hold_no_rows(reader: ObjectReader, tmp_path: Path) -> None:
    """They are objects, but nothing that could be opened."""
    size = write(tmp_path / "t" / "part-0.parquet", rows=2)
    (tmp_path / "t" / "part-1.parquet").write_bytes(b"")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert found.storage.files == 2
    assert (found.profile, found.problems) == (Profile(rows=2, bytes=size), ())


def test_a_folder_of_empty_files_has_no_count(reader: ObjectReader, tmp_path: Path) -> None:
    """Whatever they are, they are no Parquet of zero rows."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "00000").write_bytes(b"")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert found.profile == Profile(bytes=0, partial=Partial())
    assert found.schema is None


def test_parts_with_different_columns(reader: ObjectReader, tmp_path: Path) -> None:
    """All columns are told; a type only where the files agree on one."""
    folder = tmp_path / "t"
    folder.mkdir()
    tables = [
        pa.table({"id": pa.array([1], pa.int32()), "a": ["x"]}),
        pa.table({"id": pa.array([1], pa.int64()), "a": [1], "b": [True]}),
    ]
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"part-{number}.parquet")

    found = describe_data(reader, f"{tmp_path}/t")

    assert found.schema is not None
    assert [(one.name, one.type.kind, one.type.bits) for one in found.schema.fields] == [
        ("id", "int", 64),
        ("a", "unknown", None),
        ("b", "bool", None),
    ]


def test_of_a_huge_folder_the_counts_are_unknown(reader: ObjectReader, tmp_path: Path) -> None:
    """What was listed is only a part of it."""
    reader.max_listed = 2
    for number in range(3):
        write(tmp_path / "t" / f"{number:05}")

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert columns(found) == ["id"]
    assert (found.storage.files, found.storage.bytes) == (None, None)
    assert found.profile == Profile(partial=Partial(files=2, rows=2))


@pytest.mark.parametrize(
    ("log", "table"),
    [
        ("_delta_log/0.json", "delta"),
        (".hoodie/hoodie.properties", "hudi"),
        ("metadata/v1.metadata.json", "iceberg"),
    ],
)
def test_a_table_with_a_log_is_not_counted(
    reader: ObjectReader, tmp_path: Path, log: str, table: str
) -> None:
    """Only its log knows which of the files still belong to it."""
    write(tmp_path / "t" / "part-0.parquet")
    write(tmp_path / "t" / log)

    found = describe_data(reader, f"{tmp_path}/t", declared=DECLARED)

    assert found.storage == Storage(uri=f"{tmp_path}/t", format=table, folder=True)
    assert (found.schema, found.profile, found.problems) == (DECLARED, None, ())


# ------------------------------------------------------------------ other formats


def csv_dataset(folder: Path, content: bytes) -> str:
    """A structured dataset as flytekit writes CSV: one file without a name."""
    folder.mkdir()
    (folder / ".csv").write_bytes(content)
    return str(folder)


def test_a_csv_dataset_is_one_hidden_file(reader: ObjectReader, tmp_path: Path) -> None:
    """Its size is known, and of its content only the line of names that flytekit wrote."""
    uri = csv_dataset(tmp_path / "t", b"id,name\n1,x\n")

    found = describe_data(reader, uri, format="csv")

    assert found.schema == Schema(
        fields=(
            Field(name="id", type=DataType(kind="string")),
            Field(name="name", type=DataType(kind="string")),
        ),
        source="header",
    )
    assert (found.storage.format, found.storage.files, found.storage.bytes) == ("csv", 1, 12)
    assert found.profile == Profile(bytes=12)
    assert reader.tally.requests == {"list": 1, "head": 1}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("\ufeffid,name\r\n1,2\r\n".encode(), ["id", "name"]),
        (b'"a,b","c ""d""","e\nf"\n1,2,3\n', ["a,b", 'c "d"', "e\nf"]),
        ("größe,名\n".encode(), ["größe", "名"]),
        (b"id", ["id"]),
        (b"id\n" + "ü".encode() * 100_000, ["id"]),
    ],
    ids=["byte order mark", "quotes", "unicode", "no end of line", "cut inside a character"],
)
def test_the_names_of_csv_columns(
    reader: ObjectReader, tmp_path: Path, content: bytes, names: list[str]
) -> None:
    """As pandas wrote them."""
    uri = csv_dataset(tmp_path / "t", content)

    assert columns(describe_data(reader, uri, format="csv")) == names
    assert reader.bytes_read <= describe.HEADER_BYTES


@pytest.mark.parametrize(
    "content",
    [
        b"\n1\n",
        b'""\n',
        "größe\n".encode("latin-1"),
        b'"id\n1\n',
        b"x" * 200_000,
        b'"a\nb",' + b"c" * 200_000,
        b"\x1f\x8b\x08\x00\x00\x00\x00",
    ],
    ids=["no names", "an empty name", "latin-1", "open quote", "endless", "cut", "compressed"],
)
def test_a_line_that_is_none_of_names(reader: ObjectReader, tmp_path: Path, content: bytes) -> None:
    """Columns stay unknown, and nobody is asked to solve that."""
    uri = csv_dataset(tmp_path / "t", content)

    found = describe_data(reader, uri, format="csv")

    assert found.schema is None
    assert found.profile == Profile(bytes=len(content))
    assert found.problems == ()


class Beginning(ObjectReader):
    """A reader of which only the first bytes of a file matter."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def head(self, uri: str, nbytes: int) -> Tail:
        return Tail(self.data[:nbytes], len(self.data), "")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=50) | st.text('a,"\n\r\x00 ', max_size=50).map(str.encode))
def test_no_beginning_of_a_csv_breaks_the_reader(data: bytes) -> None:
    """It has columns, or it has none."""
    opened = describe.open_file(Beginning(data), "csv", "s3://bucket/.csv")

    assert isinstance(opened, Opened)
    assert opened.schema is None or opened.schema.fields


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (".csv", {"folder": True}),
        ("part-0.csv", {}),
        (".csv", {"declared": DECLARED}),
    ],
    ids=["a folder of the user's", "another writer's", "columns are declared"],
)
def test_whose_first_line_may_be_data_is_not_read(
    reader: ObjectReader, tmp_path: Path, name: str, known: dict[str, Any]
) -> None:
    """Only flytekit is known to begin with names; values are not for catalogues."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / name).write_text("secret\n")

    found = describe_data(reader, f"{tmp_path}/t", format="csv", **known)

    assert found.schema == known.get("declared")
    assert reader.bytes_read == 0


def test_an_empty_csv_is_not_opened(reader: ObjectReader, tmp_path: Path) -> None:
    """There is nothing in it, and that is no problem."""
    uri = csv_dataset(tmp_path / "t", b"")

    found = describe_data(reader, uri, format="csv")

    assert (found.profile, found.problems) == (Profile(bytes=0), ())
    assert reader.tally.requests == {"list": 1}


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("orders.csv.gz", "", "csv"),
        ("model.pt", "PyTorchModule", "pytorchmodule"),
        ("orders.JSONL", None, "jsonl"),
        ("orders", None, None),
        ("v1.2", None, None),
    ],
)
def test_formats_come_from_the_literal_or_the_name(
    reader: ObjectReader, tmp_path: Path, name: str, said: str | None, told: str | None
) -> None:
    """A file of no known format has none, and that is no problem."""
    (tmp_path / name).write_text("content")

    found = describe_data(reader, f"{tmp_path}/{name}", format=said, folder=False)

    assert found.storage.format == told
    assert found.problems == ()


def test_a_parquet_file_is_known_without_a_name(reader: ObjectReader, tmp_path: Path) -> None:
    """Its footer says what it is."""
    write(tmp_path / "t" / "00000", rows=2)

    assert describe_data(reader, f"{tmp_path}/t").storage.format == "parquet"


def test_what_is_no_parquet_costs_one_request(reader: ObjectReader, tmp_path: Path) -> None:
    """Files that say nothing of themselves are not opened one after the other."""
    for number in range(20):
        (tmp_path / f"{number}").write_text("content")

    found = describe_data(reader, str(tmp_path), folder=True)

    assert (found.schema, found.problems, found.storage.files) == (None, (), 20)
    assert reader.tally.requests == {"list": 1, "parquet": 1}


def test_a_folder_of_many_kinds_has_no_format(reader: ObjectReader, tmp_path: Path) -> None:
    """One of its files does not speak for the others."""
    write(tmp_path / "t" / "a.parquet")
    (tmp_path / "t" / "README.md").write_text("text")

    found = describe_data(reader, f"{tmp_path}/t", folder=True)

    assert (found.storage.format, found.storage.files, found.schema) == (None, 2, None)
    assert found.problems == ()


# ----------------------------------------------------------------------- failures


def test_a_table_in_a_warehouse_is_described_by_the_literal(reader: ObjectReader) -> None:
    """There is nothing to open, so nothing went wrong."""
    uri = "bq://project:dataset.table"

    assert describe_data(reader, uri, format="", declared=DECLARED) == Description(
        DECLARED, Storage(uri=uri), None
    )


def test_what_the_operator_keeps_closed_is_no_problem(reader: ObjectReader) -> None:
    """Nobody should be asked to solve it; what the literal says is told."""
    found = describe_data(reader, "s3://bucket/t", declared=DECLARED)

    assert (found.schema, found.problems) == (DECLARED, ())


def test_what_cannot_be_looked_at_is_a_problem(reader: ObjectReader, tmp_path: Path) -> None:
    """What the literal says is told all the same."""
    uri = f"{tmp_path}/nothing"

    found = describe_data(reader, uri, format="Parquet", folder=None, declared=DECLARED)

    assert found.schema == DECLARED
    assert found.storage == Storage(uri=uri, format="parquet")
    assert found.profile is None
    assert len(found.problems) == 1
    assert "none below it" in found.problems[0]


def test_where_listing_is_denied_the_first_file_tells_the_columns(tmp_path: Path) -> None:
    """Tasks name it 00000; how many more there are stays unknown."""
    write(tmp_path / "t" / "00000", rows=2)
    reader = Unlistable(allow=[f"file://{tmp_path}"])

    found = describe_data(reader, f"{tmp_path}/t", format="parquet")

    assert columns(found) == ["id"]
    assert found.storage.files is None
    assert found.profile == Profile(partial=Partial(files=1, rows=2))
    assert found.storage.folder is True
    assert found.problems == (f"{tmp_path}/t: the role needs s3:ListBucket",)


@pytest.mark.parametrize(("folder", "problems"), [(None, 0), (True, 1)])
def test_where_listing_is_denied_a_file_is_still_a_file(
    tmp_path: Path, folder: bool | None, problems: int
) -> None:
    """It needs no listing; what was called a folder is not taken for one."""
    write(tmp_path / "orders.parquet", rows=2)
    reader = Unlistable(allow=[f"file://{tmp_path}"])

    found = describe_data(reader, f"{tmp_path}/orders.parquet", folder=folder)

    assert len(found.problems) == problems


def test_a_store_that_is_away_is_asked_once(
    reader: ObjectReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking elsewhere in it would only wait again."""
    asked = []

    def away(uri: str, **_: Any) -> None:
        asked.append(uri)
        raise ReadError("unavailable", f"{uri}: time-out")

    for name in ("list", "stat"):
        monkeypatch.setattr(reader, name, away)

    assert describe_data(reader, f"{tmp_path}/t").problems == (f"{tmp_path}/t: time-out",)
    assert len(asked) == 1


# -------------------------------------------------------------------- many pieces


def test_pieces_of_one_dataset_add_up(reader: ObjectReader, tmp_path: Path) -> None:
    """A map task returns as many as it had items."""
    size = sum(write(tmp_path / "raw" / f"{n}" / "00000", rows=n) for n in range(1, 4))
    pieces = [piece(f"{tmp_path}/raw/{n}", format="parquet") for n in range(1, 4)]

    found = describe.describe_data(reader, pieces)

    assert columns(found) == ["id"]
    assert found.storage == Storage(uri=f"{tmp_path}/raw", format="parquet", files=3, bytes=size)
    assert found.profile == Profile(rows=6, bytes=size)


def test_of_many_pieces_no_more_files_are_opened(reader: ObjectReader, tmp_path: Path) -> None:
    """The bound is the dataset's, not each piece's."""
    reader.max_footers = 4
    for number in range(10):
        write(tmp_path / "raw" / f"{number}" / "00000")
    pieces = [piece(f"{tmp_path}/raw/{n}", format="parquet") for n in range(10)]

    found = describe.describe_data(reader, pieces)

    assert found.profile is not None
    assert (found.profile.rows, found.profile.partial) == (None, Partial(files=4, rows=4))
    assert reader.tally.requests == {"list": 10, "parquet": 4}


def test_a_piece_that_is_gone_makes_the_rest_partial(reader: ObjectReader, tmp_path: Path) -> None:
    """What is there is a part."""
    write(tmp_path / "raw" / "0" / "00000", rows=2)
    pieces = [piece(f"{tmp_path}/raw/{n}", format="parquet") for n in range(2)]

    found = describe.describe_data(reader, pieces)

    assert found.profile == Profile(partial=Partial(files=1, rows=2))
    assert found.storage.files is None
    assert len(found.problems) == 1


def test_pieces_of_several_formats_have_none(reader: ObjectReader, tmp_path: Path) -> None:
    """What one of them says does not hold for the other."""
    for name in ("a.csv", "b.json"):
        (tmp_path / name).write_text("content")
    pieces = [piece(f"{tmp_path}/{name}", folder=False) for name in ("a.csv", "b.json")]

    found = describe.describe_data(reader, pieces)

    assert (found.storage.format, found.storage.files) == (None, 2)
    assert found.problems == ()
