"""Masks what messages say of data and people, and leaves what lineage is made of; pure.

Whoever reports a problem has to show messages that hold the values of inputs, errors,
names of users and whole programs. Masked, they still give the same graph: ids, phases,
times, URIs, types and columns stay, and values keep their types. Of texts and bytes
only those stay that are named here, so that what Flyte adds tomorrow is masked too.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flytelineage import flytekit_values
from flytelineage.events import Event, rewritten
from flytelineage.options import redact

if TYPE_CHECKING:
    from google.protobuf.message import Message

MASKED = "masked"
"""Stands for every text that is no name."""

_KEPT: Mapping[str, str] = {
    "core.Alias": "var alias",
    "core.ArrayNode": "bound_inputs",
    "core.ArtifactBindingData": "partition_key",
    "core.ArtifactID": "version",
    "core.ArtifactKey": "project domain name org",
    "core.Binary": "tag",
    "core.Binding": "var",
    "core.BlobType": "format",
    "core.CatalogArtifactTag": "artifact_id name",
    "core.ConnectionSet.IdList": "ids",
    "core.Container": "image",
    "core.EnumType": "values",
    "core.Error": "failed_node_id",
    "core.ExecutionError": "code",
    "core.Identifier": "project domain name version org",
    "core.InputBindingData": "var",
    "core.Node": "id upstream_node_ids",
    "core.NodeExecutionIdentifier": "node_id",
    "core.NodeMetadata": "name cache_version",
    "core.Operand": "var",
    "core.OutputReference": "node_id var",
    "core.RuntimeMetadata": "version flavor",
    "core.SchemaType.SchemaColumn": "name",
    "core.SignalCondition": "output_variable_name",
    "core.StructuredDatasetType": "format",
    "core.StructuredDatasetType.DatasetColumn": "name",
    "core.TaskLog": "name",
    "core.TaskMetadata": "discovery_version",
    "core.TaskTemplate": "type",
    "core.TypeStructure": "tag",
    "core.Variable": "description",
    "core.WorkflowExecutionIdentifier": "project domain name org",
    "admin.CronSchedule": "schedule offset",
    "admin.NodeExecutionEventRequest": "request_id",
    "admin.Schedule": "cron_expression",
    "admin.TaskExecutionEventRequest": "request_id",
    "admin.Workflow": "short_description",
    "admin.WorkflowExecutionEventRequest": "request_id",
    "event.NodeExecutionEvent": "retry_group spec_node_id node_name",
    "event.ParentNodeExecutionMetadata": "node_id",
    "event.TaskExecutionEvent": "task_type",
    "event.TaskExecutionMetadata": "generated_name plugin_identifier",
}
"""Texts that say how things are called and built, by message."""

_URIS: Mapping[str, str] = {
    "core.Blob": "uri",
    "core.ExecutionError": "error_uri",
    "core.LiteralOffloadedMetadata": "uri",
    "core.Schema": "uri",
    "core.StructuredDataset": "uri",
    "core.TaskLog": "uri",
    "admin.LiteralMapBlob": "uri",
    "admin.RawOutputDataConfig": "output_location_prefix",
    "event.DynamicWorkflowNodeMetadata": "dynamic_job_spec_uri",
    "event.NodeExecutionEvent": "input_uri output_uri deck_uri",
    "event.TaskExecutionEvent": "input_uri output_uri",
    "event.TaskNodeMetadata": "checkpoint_uri",
    "event.WorkflowExecutionEvent": "output_uri",
}
"""Where things lie, by message; what lets somebody in is taken out of them."""

_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
"""A key that names a part of a value. Any other is likely to be one itself."""

_ENTRANCE = re.compile(
    r"(?i)([?&;](?:x-amz-[\w-]+|x-goog-[\w-]+|sig|signature|se|st|sv|key|token|"
    r"access_?token|password|credential|awsaccesskeyid)=)[^&#;]*"
)
"""Parts of a signed URL."""

_ARTIFACT = "_uap"
"""Source: flytekit core/base_task.py, `DYNAMIC_PARTITIONS`."""

_PICKLED = {"format": "pickle"}
_NIL = b"\xc0"
_UNREADABLE = b"\xc1://"
"""Where a value could not be read before, so that it cannot be read now either."""


class Masking:
    """Masks the messages of one export, each key of a dictionary always alike.

    Args:
        salt: Up to 64 bytes that nobody can guess, since a key that is masked by a hash
            that everybody can compute can be found by trying.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._special: Mapping[str, Callable[[Any], None]] = {
            "google.protobuf.Any": lambda found: found.Clear(),
            "google.protobuf.Struct": self._struct,
            "flyteidl.core.Binary": self._binary,
            "flyteidl.core.BindingDataMap": self._bindings,
            "flyteidl.core.Container": self._container,
            "flyteidl.core.Literal": self._literal,
            "flyteidl.core.Primitive": _primitive,
            "flyteidl.core.PromiseAttribute": self._attribute,
            "flyteidl.core.Sql": _sql,
        }

    def event(self, event: Event) -> Event:
        """The event in its own encoding, masked."""
        return rewritten(event, self.message)

    def message(self, message: Message) -> None:
        """Mask a message in place."""
        message.DiscardUnknownFields()
        self._mask(message)

    def _mask(self, message: Any) -> None:
        name = message.DESCRIPTOR.full_name
        if special := self._special.get(name):
            special(message)
            return
        for field, value in message.ListFields():
            if field.message_type is not None:
                self._inside(field, value)
            elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                self._text(message, field, value)

    def _inside(self, field: Any, value: Any) -> None:
        """Mask a message, a list or a map; the keys of a map are names."""
        if field.message_type.GetOptions().map_entry:
            of_messages = field.message_type.fields_by_name["value"].message_type is not None
            for key in list(value):
                if of_messages:
                    self._mask(value[key])
                elif isinstance(value[key], str):
                    value[key] = MASKED
        elif _is_repeated(field):
            for item in value:
                self._mask(item)
        else:
            self._mask(value)

    def _text(self, message: Any, field: Any, value: Any) -> None:
        name = message.DESCRIPTOR.full_name.removeprefix("flyteidl.")
        if field.name in _KEPT.get(name, "").split():
            return
        if field.type == field.TYPE_BYTES:
            message.ClearField(field.name)
            return
        is_uri = field.name in _URIS.get(name, "").split()
        mask = uri if is_uri else _masked
        if _is_repeated(field):
            value[:] = [mask(each) for each in value]
        else:
            setattr(message, field.name, mask(value))

    # Values, with the keys of dictionaries.

    def _literal(self, found: Any) -> None:
        if found.hash:
            found.hash = MASKED
        for key in list(found.metadata):  # to write into a map disturbs a walk through it
            found.metadata[key] = self._note(key, found.metadata[key])
        if found.WhichOneof("value") == "map":
            _rename(found.map.literals, self._key)
        chosen = found.WhichOneof("value")
        if chosen:
            self._mask(getattr(found, chosen))

    def _note(self, key: str, text: str) -> str:
        """What is noted on a literal; it may name an artifact, or say what a file is."""
        if key == _ARTIFACT:
            return self._artifact(text)
        return text if key == "format" else MASKED

    def _artifact(self, text: str) -> str:
        from flyteidl.core.artifact_id_pb2 import ArtifactID
        from google.protobuf.message import DecodeError

        try:
            found = ArtifactID.FromString(base64.b64decode(text, validate=True))
        except (ValueError, DecodeError):
            return MASKED
        self.message(found)
        return base64.b64encode(found.SerializeToString(deterministic=True)).decode()

    def _bindings(self, found: Any) -> None:
        for data in list(found.bindings.values()):
            self._mask(data)
        _rename(found.bindings, self._key)

    def _attribute(self, found: Any) -> None:
        if found.WhichOneof("value") == "string_value":
            found.string_value = self._key(found.string_value)

    def _container(self, found: Any) -> None:
        """Keep what shows how the task is begun: options, and Flyte's own templates."""
        for words in (found.command, found.args):
            words[:] = [word if _says_how(word) else MASKED for word in words]
        for each in (*found.env, *found.config):
            each.value = MASKED
        found.ClearField("data_config")

    def _struct(self, found: Any) -> None:
        masked = self._plain(found)
        found.Clear()
        found.update(masked)

    def _binary(self, found: Any) -> None:
        """Mask msgpack in msgpack; what refers to nothing is as good as nothing."""
        try:
            value = flytekit_values.unpacked_whole(found)
            found.value = flytekit_values.packed(self._plain(value))
        except (ValueError, RecursionError):
            found.value = _UNREADABLE if b"://" in found.value else _NIL

    def _plain(self, value: Any) -> Any:
        """A value of Python or of a Struct with the same types and shape."""
        value = flytekit_values.opened(value)
        if isinstance(value, Mapping):
            return self._dictionary(value)
        if isinstance(value, str):
            return MASKED
        if isinstance(value, bytes):
            return b""
        if isinstance(value, bool | int | float):
            return type(value)(0)
        return [self._plain(item) for item in value] if isinstance(value, Iterable) else None

    def _dictionary(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        found = flytekit_values.reference(value, _PICKLED)
        if found is None:
            return {self._key(str(key)): self._plain(item) for key, item in value.items()}
        kept = {found.uri: uri(found.uri), found.format: found.format}
        opened = {str(key): flytekit_values.opened(item) for key, item in value.items()}
        return {
            key: kept[item] if isinstance(item, str) and item in kept else self._plain(item)
            for key, item in opened.items()
        }

    def _key(self, key: str) -> str:
        if _NAME.fullmatch(key):
            return key
        digest = hashlib.blake2b(key.encode("utf-8", "replace"), key=self._salt, digest_size=6)
        return f"key-{digest.hexdigest()}"


def uri(text: str) -> str:
    """A URI without passwords and signatures."""
    return _ENTRANCE.sub(rf"\g<1>{MASKED}", redact(text))


def _masked(_text: str) -> str:
    return MASKED


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated)


def _rename(entries: Any, rename: Callable[[str], str]) -> None:
    """Give the entries of a map of messages other keys."""
    for key in sorted(entries):
        other = rename(key)
        if other != key:
            entries[other].CopyFrom(entries[key])
            del entries[key]


def _primitive(found: Any) -> None:
    """Keep the type: zero, no, the first moment of all."""
    match found.WhichOneof("value"):
        case "string_value":
            found.string_value = MASKED
        case "datetime" | "duration" as moment:
            getattr(found, moment).Clear()
            getattr(found, moment).SetInParent()
        case str(number):
            setattr(found, number, 0)


# ---------------------------------------------------------------- texts of programs

_TEMPLATE = re.compile(r"-{1,2}[\w-]+|--|\{\{[^}]*\}\}")
_STARTERS = frozenset({"pyflyte-execute", "pyflyte-fast-execute", "pyflyte-map-execute"})


def _says_how(word: str) -> bool:
    return word in _STARTERS or _TEMPLATE.fullmatch(word) is not None


_SQL = re.compile(
    r"""
      (?P<comment> --[^\n]* | \#(?![>-])[^\n]* | /\*.*?\*/ )
    | (?P<dollars> \$(?P<tag>\w*)\$ .*? \$(?P=tag)\$ )
    | (?P<text> '(?:[^'\\]|''|\\.)*' )
    | (?P<named> (?i:\b(?:from|join|into|update|table|view|exists|using)) \s+ (?:[\w$.]*"[^"]*")+ )
    | (?P<part> (?<=\.) "[^"]*" | "[^"]*" (?=\.) )
    | (?P<quoted> "(?:[^"\\]|""|\\.)*" )
    | (?P<template> \{\{.*?\}\} )
    | (?P<word> [^\W\d][\w$]* | `[^`]*` )
    | (?P<number> \d[\w.]* )
    """,
    re.VERBOSE | re.DOTALL,
)
"""The pieces of a statement, whatever the dialect.

Double quotes stand around names or texts: they count as names where a table stands.
"""


def _sql(found: Any) -> None:
    """Keep the shape of a statement and its names; literals and comments go."""
    found.statement = _SQL.sub(_piece, found.statement)


def _piece(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "comment":
            return " "
        case "text" | "dollars":
            return f"'{MASKED}'"
        case "quoted":
            return f'"{MASKED}"'
        case "number":
            return "0"
    return found[0]
