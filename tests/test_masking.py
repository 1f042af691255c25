"""What a masked message still says, and what nobody can read from it any more."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from itertools import cycle
from pathlib import Path
from typing import Any

import msgpack
import pytest
from flyteidl.admin import event_pb2, execution_pb2, workflow_pb2
from flyteidl.core import artifact_id_pb2, literals_pb2, tasks_pb2, types_pb2
from google.protobuf import json_format

from flytelineage import literals
from flytelineage.events import Event, body, decode, event_of, message
from flytelineage.masking import Masking, uri
from flytelineage.testing.simulator import FolderStorage, simulate_samples
from flytelineage.testing.simulator.constructs import CONSTRUCTS
from tests.found import replay
from tests.test_constructs import START, family

CANARY = "canary-7f3a"
NOW = datetime(2026, 1, 6, tzinfo=timezone.utc)
PAYLOADS = Path(__file__).parent / "payloads"
MASKING = Masking(b"salt")
ENCODINGS = ("raw", "v1", "v2")


def masked_bodies(bodies: list[str]) -> list[str]:
    """What `export` would print of these messages."""
    now = datetime.now(timezone.utc)
    return [body(MASKING.event(decode(each, received_at=now))) for each in bodies]


def differences(masked: Any, plain: Any, where: str = "") -> list[str]:
    """Where two values differ, but for texts that are masked in the first."""
    if isinstance(masked, dict) and isinstance(plain, dict):
        return [
            found
            for key in sorted(masked.keys() | plain.keys())
            for found in differences(masked.get(key), plain.get(key), f"{where}.{key}")
        ]
    if isinstance(masked, list) and isinstance(plain, list) and len(masked) == len(plain):
        pairs = zip(masked, plain, strict=True)
        return [found for one in pairs for found in differences(*one, where)]
    return [] if masked in (plain, "masked") else [f"{where}: {masked!r}, not {plain!r}"]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *(("samples", encoding) for encoding in ENCODINGS),
        *zip(sorted(CONSTRUCTS)[::4], cycle(ENCODINGS), strict=False),
    ],
)
def test_the_lineage_of_masked_messages(name: str, encoding: str, tmp_path: Path) -> None:
    """It is that of the messages themselves, in every encoding."""
    storage = FolderStorage(tmp_path / "bucket")
    make = CONSTRUCTS.get(name, simulate_samples)
    bodies = [
        each for one in family(make(storage, start=START)) for each in one.bodies(encoding, "sns")
    ]

    _, plain = replay(bodies, tmp_path / "plain")
    _, masked = replay(masked_bodies(bodies), tmp_path / "masked")

    found, expected = ([one.model_dump(mode="json") for one in each] for each in (masked, plain))
    assert differences(found, expected) == []


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.stem)
def test_messages_as_they_come(path: Path) -> None:
    """A masked message is an event of the same execution, kind, phase and time."""
    event = decode(path.read_text(), received_at=NOW)

    masked = MASKING.event(event)

    again = decode(body(masked), received_at=NOW)
    assert again == masked
    assert (again.kind, again.execution, again.phase, again.occurred_at, again.encoding) == (
        event.kind, event.execution, event.phase, event.occurred_at, event.encoding,
    )  # fmt: skip


# ---------------------------------------------------------------- single messages


def texts(message: Any, text: str) -> None:
    """Write a text into every text and all bytes of a message, down to some depth."""
    _fill(message, text, 0)


def _fill(found: Any, text: str, depth: int) -> None:
    for field in found.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(found, field, text, depth)
        elif field.message_type is not None:
            if depth < 7 and field.message_type.full_name != "google.protobuf.Any":
                whole = getattr(found, field.name)
                _fill(whole.add() if field.is_repeated else whole, text, depth + 1)
        elif field.type == field.TYPE_STRING:
            if field.is_repeated:
                getattr(found, field.name).append(text)
            else:
                setattr(found, field.name, text)
        elif field.type == field.TYPE_BYTES:
            setattr(found, field.name, text.encode())


def _fill_map(found: Any, field: Any, text: str, depth: int) -> None:
    value = field.message_type.fields_by_name["value"]
    if value.message_type is None:
        getattr(found, field.name)["name"] = text
    elif depth < 7:
        _fill(getattr(found, field.name)["name"], text, depth + 1)


def node_event(**values: Any) -> event_pb2.NodeExecutionEventRequest:
    return json_format.ParseDict(values, event_pb2.NodeExecutionEventRequest())


def masked(found: Any) -> Any:
    """The same message, masked."""
    MASKING.message(found)
    return found


@pytest.mark.parametrize("name", ["literal map", "task template", "execution"])
def test_texts_that_are_no_names(name: str) -> None:
    """Whatever field they stand in, they are gone."""
    found = {
        "literal map": literals_pb2.LiteralMap(),
        "task template": tasks_pb2.TaskTemplate(),
        "execution": execution_pb2.Execution(),
    }[name]
    # Longer than any name, with a blank: what is kept is listed by field, so it shows.
    texts(found, f"{CANARY} text")

    shown = json_format.MessageToDict(masked(found))

    kept = sorted(set(_where(shown, CANARY)))
    assert kept == KEPT[name]


def _where(value: Any, text: str, name: str = "") -> list[str]:
    """The names of the fields in which a text stands."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _where(item, text, key)]
    if isinstance(value, list):
        return [found for item in value for found in _where(item, text, name)]
    return [name] if text in str(value) else []


KEPT = {
    "literal map": ["tag", "uri"],
    "task template": [
        "description", "discoveryVersion", "domain", "flavor", "format", "name", "org",
        "project", "tag", "type", "var", "version",
    ],
    "execution": [
        "domain", "name", "nodeId", "org", "outputLocationPrefix", "project", "tag", "uri",
        "var", "version",
    ],
}  # fmt: skip
"""By the field's name; a choice between fields keeps the last one that was filled."""


def literal_map(**values: Any) -> literals_pb2.LiteralMap:
    return json_format.ParseDict({"literals": values}, literals_pb2.LiteralMap())


def primitive(**value: Any) -> dict[str, Any]:
    return {"scalar": {"primitive": value}}


class TestValues:
    """Inputs and outputs that stand in the events themselves."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"integer": "42"}, {"integer": "0"}),
            ({"floatValue": 4.2}, {"floatValue": 0.0}),
            ({"stringValue": CANARY}, {"stringValue": "masked"}),
            ({"boolean": True}, {"boolean": False}),
            ({"datetime": "2026-01-02T03:04:05Z"}, {"datetime": "1970-01-01T00:00:00Z"}),
            ({"duration": "7s"}, {"duration": "0s"}),
        ],
    )
    def test_a_primitive(self, value: dict[str, Any], expected: dict[str, Any]) -> None:
        """It keeps its type."""
        found = masked(literal_map(x=primitive(**value)))

        assert json_format.MessageToDict(found) == {"literals": {"x": primitive(**expected)}}

    def test_a_dictionary(self) -> None:
        """A key that is no name is masked, the same one always alike."""
        inner = {"map": {"literals": {"rows": primitive(integer="1"), CANARY: primitive()}}}

        found = masked(literal_map(one=inner, two=inner))

        one, two = (list(found.literals[name].map.literals) for name in ("one", "two"))
        assert one == two
        assert "rows" in one
        assert CANARY not in str(found)

    def test_references(self) -> None:
        """What a walk finds in a value it finds in the masked one."""
        value = {
            "report": {"path": "s3://b/report.csv", "metadata": {"who": CANARY}},
            "frame": {"uri": "s3://b/frame", "file_format": "parquet"},
            "name": CANARY, "age": 42, "raw": b"canary", "list": [{"remote_path": "s3://b/x"}],
            "link": "https://example.com/canary",
        }  # fmt: skip
        found = literals_pb2.LiteralMap()
        found.literals["packed"].scalar.binary.tag = "msgpack"
        found.literals["packed"].scalar.binary.value = msgpack.packb(value)
        plain = {key: item for key, item in value.items() if key != "raw"}
        found.literals["struct"].scalar.generic.update(plain)
        before = literals.walk(found)

        after = literals.walk(masked(found))

        assert [(one.uri, one.kind, one.path) for one in after.references] == [
            (one.uri, one.kind, one.path) for one in before.references
        ]
        assert len(before.references) == 6
        assert b"canary" not in found.SerializeToString()
        assert b"https://example.com" not in found.SerializeToString()

    @pytest.mark.parametrize("value", [b"\xc1", b"s3://b/x \xc1", b"\x91" * 2000])
    def test_a_value_that_cannot_be_read(self, value: bytes) -> None:
        """It cannot be read afterwards either, where that matters."""
        found = literals_pb2.LiteralMap()
        found.literals["x"].scalar.binary.tag = "msgpack"
        found.literals["x"].scalar.binary.value = value
        before = literals.walk(found)

        after = literals.walk(masked(found))

        assert after == before
        assert found.literals["x"].scalar.binary.value != value

    def test_an_artifact(self) -> None:
        """It keeps its name; the values of its partitions go."""
        artifact = artifact_id_pb2.ArtifactID(
            artifact_key=artifact_id_pb2.ArtifactKey(project="p", domain="d", name="report")
        )
        artifact.partitions.value["region"].static_value = CANARY
        found = literals_pb2.LiteralMap()
        found.literals["x"].scalar.structured_dataset.uri = "s3://b/x"
        found.literals["x"].metadata["_uap"] = base64.b64encode(
            artifact.SerializeToString()
        ).decode()
        found.literals["x"].metadata["note"] = CANARY
        found.literals["x"].hash = CANARY

        (reference,) = literals.walk(masked(found)).references

        assert reference.partitions == {"region": "masked"}
        assert reference.metadata == {"note": "masked"}
        assert "report" in str(base64.b64decode(found.literals["x"].metadata["_uap"]))
        assert reference.hash == "masked"

    def test_declared_columns(self) -> None:
        """They are types, and stay."""
        found = literals_pb2.LiteralMap()
        dataset = found.literals["x"].scalar.structured_dataset
        dataset.uri = "s3://b/x"
        column = dataset.metadata.structured_dataset_type.columns.add(name="id")
        column.literal_type.simple = types_pb2.INTEGER

        (reference,) = literals.walk(masked(found)).references

        assert reference.schema is not None
        assert [field.name for field in reference.schema.fields] == ["id"]


class TestPeople:
    """Who ran it, and what they wrote."""

    def test_errors(self) -> None:
        """The code stays, the message goes."""
        request = node_event(
            event={"error": {"code": "USER:ValueError", "message": CANARY, "errorUri": "s3://b/e"}}
        )

        error = masked(request).event.error

        assert (error.code, error.message, error.error_uri) == (
            "USER:ValueError", "masked", "s3://b/e",
        )  # fmt: skip

    def test_fields_that_are_new(self) -> None:
        """Nobody knows what stands in them, so they are left out."""
        unknown = b"\xfa\x3f\x06canary"

        found = masked(event_pb2.NodeExecutionEventRequest.FromString(unknown))

        assert found.SerializeToString() == b""

    def test_labels(self) -> None:
        """Their values go; who started it is somebody."""
        found = execution_pb2.Execution()
        found.spec.labels.values["team"] = CANARY
        found.spec.metadata.principal = CANARY

        masked(found)

        assert dict(found.spec.labels.values) == {"team": "masked"}
        assert found.spec.metadata.principal == "masked"

    def test_an_answer_of_flyteadmin(self) -> None:
        """It is masked like an event and stays one."""
        found = execution_pb2.Execution()
        found.id.project, found.id.domain, found.id.name = "p", "d", "n"
        found.spec.metadata.principal = CANARY
        found.closure.workflow_id.name = "app.main"
        found.closure.created_at.FromDatetime(NOW)
        event = event_of("execution", "raw", found.SerializeToString(), received_at=NOW)

        said, _ = message(MASKING.event(event))

        assert said.closure.workflow_id.name == "app.main"
        assert said.spec.metadata.principal == "masked"


class TestPrograms:
    """What tasks run."""

    def test_a_container(self) -> None:
        """How it is begun stays, what it is given goes."""
        found = workflow_pb2.Workflow()
        template = found.closure.compiled_workflow.tasks.add().template
        template.container.image = "registry.example.com/app:v1"
        template.container.args.extend(
            ["pyflyte-execute", "--inputs", "{{.input}}", "--password=canary", "canary"]
        )
        template.container.env.add(key="TOKEN", value="canary")
        template.config["account"] = "canary"
        template.custom["token"] = "canary"

        masked(found)

        assert list(template.container.args) == [
            "pyflyte-execute", "--inputs", "{{.input}}", "masked", "masked",
        ]  # fmt: skip
        assert template.container.image == "registry.example.com/app:v1"
        assert template.container.env[0].key == "TOKEN"
        assert b"canary" not in found.SerializeToString()

    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            (
                "SELECT a, 'it''s' FROM db.t WHERE id = 42 -- canary",
                "SELECT a, 'masked' FROM db.t WHERE id = 0  ",
            ),
            (
                'SELECT * FROM "My Db"."T 1" WHERE "T 1"."x" = "canary"',
                'SELECT * FROM "My Db"."T 1" WHERE "T 1"."x" = "masked"',
            ),
            ("INSERT INTO `p.d.t_2` SELECT $$canary$$", "INSERT INTO `p.d.t_2` SELECT 'masked'"),
            ("a = 'x\\'canary' /* canary */ b1", "a = 'masked'   b1"),
            ("WHERE d = '{{ .inputs.day }}' AND n > {{ .inputs.n }}", None),
            ("SELECT data #> path FROM t2", "SELECT data #> path FROM t2"),
            ("x = 'never closed", None),
        ],
    )
    def test_a_statement(self, statement: str, expected: str | None) -> None:
        """Literals and comments go, tables stay."""
        found = masked(tasks_pb2.Sql(statement=statement))

        assert "canary" not in found.statement
        assert "42" not in found.statement
        if expected is not None:
            assert found.statement == expected

    def test_a_long_statement(self) -> None:
        """It takes no longer than it is long."""
        statement = "SELECT '" + "''" * 100_000 + '"' * 10_000

        masked(tasks_pb2.Sql(statement=statement))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b.parquet", "s3://bucket/a/b.parquet"),
        ("https://user:canary@host/x", "https://********@host/x"),
        (
            "https://h/x?X-Amz-Signature=canary&part=1#f",
            "https://h/x?X-Amz-Signature=masked&part=1#f",
        ),
        ("abfs://c@a.dfs.core.windows.net/x?sig=canary", "abfs://c@a.dfs.core.windows.net/x?sig=masked"),
    ],
)  # fmt: skip
def test_uris(text: str, expected: str) -> None:
    """They stay, without what lets somebody in."""
    assert uri(text) == expected


def test_a_body_of_json_is_json() -> None:
    """A CloudEvent stays one."""
    event: Event = decode((PAYLOADS / "v2-node.json").read_text(), received_at=NOW)

    assert "rawEvent" in json.loads(body(MASKING.event(event)))
