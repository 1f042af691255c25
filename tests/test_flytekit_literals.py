"""The table of literals in the notes on Flyte's events, row by row.

Every value is written by the real flytekit, serialised, parsed and walked; what comes out
is compared whole. `RAW` stands for the random folder that flytekit uploads to.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgpack  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from flyteidl.core import literals_pb2
from google.protobuf import json_format, struct_pb2
from pydantic import BaseModel

from flytelineage import literals
from flytelineage.entities import DataType, Field, Schema
from flytelineage.literals import Reference

pytest.importorskip("flytekit", reason="flytekit has no release for this version of Python")
from flytekit import Artifact, HashMethod, StructuredDataset, kwtypes, task
from flytekit.core.context_manager import ExecutionState, FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap, StructuredDatasetMetadata
from flytekit.models.literals import StructuredDataset as StructuredDatasetModel
from flytekit.models.types import LiteralType, SimpleType
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.schema import FlyteSchema
from flytekit.types.structured import structured_dataset
from flytekit.types.structured.structured_dataset import (
    StructuredDatasetEncoder,
    StructuredDatasetTransformerEngine,
)

COLUMN_TYPES = {
    int: LiteralType(simple=SimpleType.INTEGER),
    str: LiteralType(simple=SimpleType.STRING),
}
"""What flytekit says itself, but only where NumPy is installed."""

RAW = "raw/#"
TABLE = pa.table({"id": [1, 2, 3]})
DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)


# --------------------------------------------------------------- what users write


def file(name: str, **metadata: str) -> FlyteFile:
    return FlyteFile(f"s3://x/{name}", metadata=metadata or None)


def folder(name: str) -> FlyteDirectory:
    return FlyteDirectory(f"s3://x/{name}")


def table(name: str, format: str = "parquet") -> StructuredDataset:
    return StructuredDataset(uri=f"s3://x/{name}", file_format=format)


class Level(enum.Enum):
    LOW = "s3://x/not-a-reference"


@dataclasses.dataclass
class Inner:
    file: FlyteFile
    table: StructuredDataset


@dataclasses.dataclass
class Everything:
    file: FlyteFile
    folder: FlyteDirectory
    table: StructuredDataset
    inner: Inner
    files: list[FlyteFile]
    named: dict[str, FlyteFile]
    inners: list[Inner]
    maybe: FlyteFile | None
    number: int
    text: str


EVERYTHING = Everything(
    file=file("file", team="sales"),
    folder=folder("folder"),
    table=table("table"),
    inner=Inner(file("inner"), table("inner-table", "csv")),
    files=[file("f0"), file("f1")],
    named={"a": file("named")},
    inners=[Inner(file("deep"), table("deep-table"))],
    maybe=None,
    number=1,
    text="s3://x/not-a-reference",
)


class Model(BaseModel):
    file: FlyteFile
    folder: FlyteDirectory
    table: StructuredDataset
    files: list[FlyteFile]
    maybe: FlyteFile | None = None
    number: int = 1


class CsvEncoder(StructuredDatasetEncoder):
    """Writes where `PandasToCSVEncodingHandler` does, without pandas."""

    def __init__(self) -> None:
        super().__init__(pa.Table, None, "csv")

    def encode(self, ctx: Any, structured_dataset: Any, structured_dataset_type: Any) -> Any:
        access = ctx.file_access
        uri = access.join(access.raw_output_prefix, access.get_random_string())
        Path(uri).mkdir(parents=True)
        pa.csv.write_csv(structured_dataset.dataframe, f"{uri}/.csv")
        structured_dataset_type.format = "csv"
        metadata = StructuredDatasetMetadata(structured_dataset_type)
        return StructuredDatasetModel(uri=uri, metadata=metadata)


# ---------------------------------------------------------------------- the table


def columns(*named: tuple[str, DataType]) -> Schema:
    return Schema(fields=tuple(Field(name=n, type=t) for n, t in named), source="declared")


INTEGER = DataType(kind="int", bits=64, native="INTEGER")
STRING = DataType(kind="string", native="STRING")


def one(uri: str, kind: Any, *path: str | int, **rest: Any) -> Reference:
    return Reference("o0", path, uri, kind, **rest)


def some_file(folder: Path) -> FlyteFile:
    (folder / "orders.csv").write_text("id\n1\n")
    return FlyteFile(str(folder / "orders.csv"), metadata={"owner": "sales"})


def some_folder(folder: Path) -> FlyteDirectory:
    (folder / "parts").mkdir()
    (folder / "parts" / "one").write_text("1")
    return FlyteDirectory(str(folder / "parts"))


def some_schema(folder: Path) -> FlyteSchema:
    (folder / "schema").mkdir()
    pq.write_table(TABLE, folder / "schema" / "00000")
    return FlyteSchema(local_path=str(folder / "schema"))


def fresh_dataset(_: Path) -> StructuredDataset:
    return StructuredDataset(dataframe=TABLE)  # one that was uploaded before is not again


Value = Callable[[Path], Any]


def given(value: Any) -> Value:
    return lambda _: value


DATACLASS = [
    one("s3://x/file", "file or folder", "file", metadata={"team": "sales"}),
    one("s3://x/f0", "file or folder", "files", 0),
    one("s3://x/f1", "file or folder", "files", 1),
    one("s3://x/folder", "file or folder", "folder"),
    one("s3://x/inner", "file or folder", "inner", "file"),
    one("s3://x/inner-table", "structured dataset", "inner", "table", format="csv"),
    one("s3://x/deep", "file or folder", "inners", 0, "file"),
    one("s3://x/deep-table", "structured dataset", "inners", 0, "table", format="parquet"),
    one("s3://x/named", "file or folder", "named", "a"),
    one("s3://x/table", "structured dataset", "table", format="parquet"),
]

ROWS: dict[str, tuple[Value, Any, list[Reference]]] = {
    "table": (given(TABLE), pa.Table, [one(RAW, "structured dataset", format="parquet")]),
    "table with columns": (
        fresh_dataset,
        Annotated[StructuredDataset, kwtypes(id=int, name=str)],
        [
            one(
                RAW,
                "structured dataset",
                format="parquet",
                schema=columns(("id", INTEGER), ("name", STRING)),
            )
        ],
    ),
    "table with an Arrow schema": (
        given(TABLE),
        Annotated[pa.Table, TABLE.schema],
        [one(RAW, "structured dataset", format="parquet")],
    ),
    "table in a warehouse": (
        given(StructuredDataset(uri="bq://project:dataset.table")),
        StructuredDataset,
        [one("bq://project:dataset.table", "structured dataset")],
    ),
    "table in a warehouse with columns": (
        given(StructuredDataset(uri="snowflake://user:account/warehouse/db/schema/table")),
        Annotated[StructuredDataset, kwtypes(id=int)],
        [
            one(
                "snowflake://user:account/warehouse/db/schema/table",
                "structured dataset",
                schema=columns(("id", INTEGER)),
            )
        ],
    ),
    "table at a path of its own": (
        given(table("own")),
        StructuredDataset,
        [one("s3://x/own", "structured dataset", format="parquet")],
    ),
    "CSV structured dataset": (
        fresh_dataset,
        Annotated[StructuredDataset, "csv"],
        [one(RAW, "structured dataset", format="csv")],
    ),
    "FlyteSchema": (
        some_schema,
        FlyteSchema[kwtypes(i=int, f=float, s=str, b=bool, at=datetime, took=timedelta)],
        [
            one(
                RAW,
                "schema",
                format="parquet",
                schema=columns(
                    ("i", INTEGER),
                    ("f", DataType(kind="float", bits=64, native="FLOAT")),
                    ("s", STRING),
                    ("b", DataType(kind="bool", native="BOOLEAN")),
                    ("at", DataType(kind="timestamp", native="DATETIME")),
                    ("took", DataType(kind="duration", native="DURATION")),
                ),
            )
        ],
    ),
    "file with metadata": (
        some_file,
        FlyteFile["csv"],
        [one(f"{RAW}/orders.csv", "file", format="csv", metadata={"owner": "sales"})],
    ),
    "file of no format": (given(file("f.csv")), FlyteFile, [one("s3://x/f.csv", "file")]),
    "directory": (some_folder, FlyteDirectory, [one(RAW, "folder")]),
    "directory with a format": (
        given(folder("d")),
        FlyteDirectory["csv"],
        [one("s3://x/d", "folder", format="csv")],
    ),
    "pickle": (given(object), object, [one(f"{RAW}/#", "file", format="PythonPickle")]),
    "list": (
        given([file("1"), file("2")]),
        list[FlyteFile],
        [one("s3://x/1", "file", 0), one("s3://x/2", "file", 1)],
    ),
    "iterator": (
        given(iter([file("1")])),
        Iterator[FlyteFile],
        [one("s3://x/1", "file", 0)],
    ),
    "partial map task": (
        given([None, file("1")]),
        list[FlyteFile | None],
        [one("s3://x/1", "file", 1)],
    ),
    "dict": (
        given({"b": [file("2")], "a": [file("1")]}),
        dict[str, list[FlyteFile]],
        [one("s3://x/1", "file", "a", 0), one("s3://x/2", "file", "b", 0)],
    ),
    "dict with numbers as keys": (
        given({1: file("1"), 2: file("2")}),
        dict[int, FlyteFile],
        [one("s3://x/1", "file or folder", "1"), one("s3://x/2", "file or folder", "2")],
    ),
    "plain dict": (
        given({"a": {"path": "s3://x/1"}, "b": "s3://x/text", "c": [1, None]}),
        dict,
        [one("s3://x/1", "file or folder", "a")],
    ),
    "optional": (given(file("1")), FlyteFile | None, [one("s3://x/1", "file")]),
    "optional list": (given([file("1")]), list[FlyteFile] | None, [one("s3://x/1", "file", 0)]),
    "nothing": (given(None), FlyteFile | None, []),
    "union of two kinds of data": (
        given(TABLE),
        FlyteFile | pa.Table,
        [one(RAW, "structured dataset", format="parquet")],
    ),
    "content with a hash": (
        given(TABLE),
        Annotated[pa.Table, HashMethod(lambda _: "abc")],
        [one(RAW, "structured dataset", format="parquet", hash="abc")],
    ),
    "dataclass": (given(EVERYTHING), Everything, DATACLASS),
    "optional dataclass": (given(EVERYTHING), Everything | None, DATACLASS),
    "list of dataclasses": (
        given([EVERYTHING.inner]),
        list[Inner],
        [
            one("s3://x/inner", "file or folder", 0, "file"),
            one("s3://x/inner-table", "structured dataset", 0, "table", format="csv"),
        ],
    ),
    "pydantic model": (
        given(
            Model(
                file=file("file", team="sales"),
                folder=folder("folder"),
                table=table("table"),
                files=[file("f0")],
            )
        ),
        Model,
        [
            one("s3://x/file", "file or folder", "file", metadata={"team": "sales"}),
            one("s3://x/f0", "file or folder", "files", 0),
            one("s3://x/folder", "file or folder", "folder"),
            one("s3://x/table", "structured dataset", "table", format="parquet"),
        ],
    ),
    "integer": (given(1), int, []),
    "float": (given(1.5), float, []),
    "text that looks like a URI": (given("s3://x/text"), str, []),
    "boolean": (given(True), bool, []),
    "datetime": (given(DAY), datetime, []),
    "date": (given(date(2026, 1, 1)), date, []),
    "timedelta": (given(timedelta(1)), timedelta, []),
    "enum": (given(Level.LOW), Level, []),
    "list of texts": (given(["s3://x/text"]), list[str], []),
    "dict of numbers": (given({"a": 1}), dict[str, int], []),
}
"""By the value's name: the value, its type, and what it refers to."""


@pytest.fixture(autouse=True)
def raw_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where flytekit uploads to: real files in a folder of this test."""
    monkeypatch.setattr(structured_dataset, "get_supported_types", lambda: COLUMN_TYPES)
    TypeEngine._LITERAL_CACHE.clear()  # it would hand out what another test uploaded
    context = FlyteContextManager.current_context()
    access = type(context.file_access)(str(tmp_path / "sandbox"), str(tmp_path / "raw"))
    with FlyteContextManager.with_context(context.with_file_access(access)):
        yield tmp_path / "raw"


@pytest.fixture(scope="module", autouse=True)
def csv_handler() -> Iterator[None]:
    StructuredDatasetTransformerEngine.register(CsvEncoder())
    yield
    StructuredDatasetTransformerEngine.ENCODERS[pa.Table]["fsspec"].pop("csv", None)


def literal_of(value: Any, kind: Any) -> literals_pb2.Literal:
    """What flytekit writes for a value."""
    context = FlyteContextManager.current_context()
    expected = TypeEngine.to_literal_type(kind)
    return TypeEngine.to_literal(context, value, kind, expected).to_flyte_idl()


def walk(literal: literals_pb2.Literal) -> list[Reference]:
    """Walk a literal the way it travels: serialised and parsed."""
    data = literals_pb2.LiteralMap(literals={"o0": literal}).SerializeToString()
    walked = literals.walk(literals.parse(data))
    assert (walked.offloaded, walked.problems) == ((), ())
    return [
        dataclasses.replace(found, uri=re.sub(r"^.*/raw/(.*)", shortened, found.uri))
        for found in walked.references
    ]


def shortened(match: re.Match[str]) -> str:
    return "raw/" + re.sub(r"\b[0-9a-f]{32}\b", "#", match[1])


@pytest.mark.parametrize("row", ROWS)
def test_every_kind_of_value(row: str, tmp_path: Path) -> None:
    """Exactly what it refers to is found, with all that is known of it."""
    value, kind, expected = ROWS[row]

    assert walk(literal_of(value(tmp_path), kind)) == expected


@pytest.mark.parametrize("row", ["dataclass", "pydantic model", "plain dict"])
def test_what_older_releases_wrote(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 1.14 they were a Struct, and refer to the same."""
    monkeypatch.setenv("FLYTE_USE_OLD_DC_FORMAT", "true")
    value, kind, expected = ROWS[row]

    literal = literal_of(value(tmp_path), kind)

    assert literal.scalar.HasField("generic")
    assert walk(literal) == expected


def test_a_dict_that_had_to_be_pickled() -> None:
    """It is a Struct that names the object, and says so beside it."""
    kind = Annotated[dict, OrderedDict(allow_pickle=True)]
    literal = literal_of({"f": object}, kind)
    uploaded = literal.scalar.generic.fields["pickle_file"]
    uploaded.string_value = f"s3://bucket{uploaded.string_value}"

    (reference,) = walk(literal)

    assert (reference.kind, reference.format) == ("file", "pickle")


# -------------------------------------------------------------- where the data lies


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("table", ["00000"]),
        ("CSV structured dataset", [".csv"]),
        ("FlyteSchema", ["00000"]),
        ("directory", ["one"]),
    ],
)
def test_where_the_data_lies(row: str, names: list[str], tmp_path: Path, raw_output: Path) -> None:
    """The URI is a folder, and the files in it are named by flytekit."""
    value, kind, _ = ROWS[row]

    literal_of(value(tmp_path), kind)

    (written,) = raw_output.iterdir()
    assert sorted(file.name for file in written.iterdir()) == names


# --------------------------------------------------------------------- tasks, whole


class Outputs(NamedTuple):
    table: pa.Table
    report: FlyteFile
    count: int


@task
def outputs() -> Outputs:
    """A task with named outputs."""
    return Outputs(TABLE, file("report"), 1)


PARTITIONED = Artifact(name="daily", partition_keys=["region"], time_partitioned=True)


@task
def artifact() -> Annotated[FlyteFile, PARTITIONED]:
    """A task that chooses the partitions of its artifact."""
    return PARTITIONED.create_from(file("daily"), region="emea", time_partition=DAY)


def dispatched(entity: Any) -> literals_pb2.LiteralMap:
    """What a task writes as `outputs.pb`."""
    context = FlyteContextManager.current_context()
    mode = context.execution_state.with_params(mode=ExecutionState.Mode.TASK_EXECUTION)
    with FlyteContextManager.with_context(
        context.with_execution_state(mode).with_output_metadata_tracker(tracker())
    ) as inside:
        return entity.dispatch_execute(inside, LiteralMap(literals={})).to_flyte_idl()


def tracker() -> Any:
    from flytekit.core.context_manager import OutputMetadataTracker

    return OutputMetadataTracker()


def test_named_outputs() -> None:
    """Variables keep their names, and are walked in their order."""
    walked = literals.walk(literals.parse(dispatched(outputs).SerializeToString()))

    assert [(one.variable, one.kind) for one in walked.references] == [
        ("report", "file"),
        ("table", "structured dataset"),
    ]


def test_partitions_of_an_artifact() -> None:
    """Flytekit hides them in the metadata, where the user's own notes are not hidden."""
    (reference,) = literals.walk(dispatched(artifact)).references

    assert reference.uri == "s3://x/daily"
    assert reference.partitions == {"region": "emea", "time_partition": "2026-01-01T00:00:00Z"}
    assert reference.metadata == {}


# ----------------------------------------------------------------- attribute access


def resolved(literal: literals_pb2.Literal, *path: str | int) -> literals_pb2.Literal:
    """What a task receives that is given `result.a[0]`: what propeller makes of it.

    Source: flytepropeller pkg/controller/nodes/attr_path_resolver.go.
    """
    rest = list(path)
    while rest and literal.WhichOneof("value") != "scalar":
        step = rest.pop(0)
        literal = (
            literal.map.literals[step]
            if isinstance(step, str)
            else literal.collection.literals[step]
        )
    scalar = literal.scalar
    if scalar.HasField("binary"):
        value = msgpack.unpackb(scalar.binary.value, strict_map_key=False)
        for step in rest:
            value = value[step]
        packed = literals_pb2.Binary(value=msgpack.packb(value), tag=scalar.binary.tag)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(binary=packed))
    value = json_format.MessageToDict(scalar.generic)
    for step in rest:
        value = value[step]
    return plain(value)


def plain(value: Any) -> literals_pb2.Literal:
    """`convertInterfaceToLiteral`, for what can refer to data."""
    if isinstance(value, list):
        items = literals_pb2.LiteralCollection(literals=map(plain, value))
        return literals_pb2.Literal(collection=items)
    struct = json_format.ParseDict(value, struct_pb2.Struct())
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(generic=struct))


@pytest.mark.parametrize("old", [False, True], ids=["msgpack", "Struct"])
@pytest.mark.parametrize(
    "path",
    [
        ("file",),
        ("folder",),
        ("table",),
        ("inner",),
        ("inner", "table"),
        ("files",),
        ("files", 1),
        ("inners", 0, "table"),
        ("named",),
        ("named", "a"),
    ],
    ids=str,
)
def test_a_part_of_a_dataclass(
    path: tuple[str | int, ...], old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is given a part of a value refers to what that part refers to."""
    if old:
        monkeypatch.setenv("FLYTE_USE_OLD_DC_FORMAT", "true")
    whole = literal_of(EVERYTHING, Everything)

    found = walk(resolved(whole, *path))

    assert found == [
        dataclasses.replace(reference, path=reference.path[len(path) :])
        for reference in DATACLASS
        if reference.path[: len(path)] == path
    ]


def test_a_part_of_a_list_of_dataclasses() -> None:
    """The path may begin outside of the dataclass."""
    whole = literal_of([EVERYTHING.inner], list[Inner])

    assert [one.uri for one in walk(resolved(whole, 0, "file"))] == ["s3://x/inner"]


# -------------------------------------------------------------------------- apart


@pytest.mark.parametrize("row", ["list", "dataclass", "table with columns"])
def test_a_literal_that_is_stored_apart(row: str, tmp_path: Path) -> None:
    """Propeller leaves its place and type; walked from there, it says the same."""
    value, kind, expected = ROWS[row]
    literal = literal_of(value(tmp_path), kind)
    apart = literals_pb2.Literal(
        offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(
            uri="s3://meta/o0_offloaded_metadata.pb",
            size_bytes=literal.ByteSize(),
            inferred_type=TypeEngine.to_literal_type(kind).to_flyte_idl(),
        )
    )

    (offloaded,) = literals.walk_literal(apart, "o0").offloaded
    stored = literals.parse_literal(literal.SerializeToString())

    assert offloaded.uri == "s3://meta/o0_offloaded_metadata.pb"
    found = literals.walk_literal(stored, offloaded.variable, offloaded.path).references
    assert [(one.path, one.kind, one.format, one.schema) for one in found] == [
        (one.path, one.kind, one.format, one.schema) for one in expected
    ]


def test_values_stored_apart_are_not_fetched() -> None:
    """Their type already says that they refer to nothing."""
    kind = TypeEngine.to_literal_type(list[int]).to_flyte_idl()
    stored = literals_pb2.LiteralOffloadedMetadata(uri="s3://meta/o0.pb", inferred_type=kind)

    walked = literals.walk_literal(literals_pb2.Literal(offloaded_metadata=stored), "o0")

    assert walked == literals.Walked()
