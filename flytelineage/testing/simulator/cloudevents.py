"""`io.cloudevents.v1.CloudEvent`, built without a generated class.

No distribution of that class is worth a dependency, so its descriptor is made here.
Source: CloudEvents specification, cloudevents/formats/cloudevents.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

_PACKAGE = ".io.cloudevents.v1.CloudEvent"
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
_INT32 = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE


@cache
def cloud_event_class() -> Any:
    """The message class, in a pool of its own so that it collides with nobody's."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(_PACKAGE[1:]))


def cloud_event(
    id: str, source: str, type: str, at: Any, attributes: Mapping[str, str], data: bytes
) -> Any:
    """A CloudEvent with JSON data, with the attributes that FlyteAdmin sets.

    Source: flyteadmin pkg/async/cloudevent/implementations/cloudevent_publisher.go.
    """
    event = cloud_event_class()(
        id=id, source=source, spec_version="1.0", type=type, binary_data=data
    )
    for name, text in attributes.items():
        event.attributes[name].ce_string = text
    time = event.attributes["time"].ce_timestamp
    time.seconds, time.nanos = at.seconds, at.nanos
    return event


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="io/cloudevents/v1/cloudevents.proto",
        package="io.cloudevents.v1",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    event = file.message_type.add(name="CloudEvent")
    for number, name in enumerate(("id", "source", "spec_version", "type"), start=1):
        _field(event, name, number, _STRING)
    attributes = _field(event, "attributes", 5, _MESSAGE, f"{_PACKAGE}.AttributesEntry")
    attributes.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    event.oneof_decl.add(name="data")
    _field(event, "binary_data", 6, _BYTES).oneof_index = 0
    _field(event, "text_data", 7, _STRING).oneof_index = 0
    _add_attributes(event)
    return file


def _add_attributes(event: descriptor_pb2.DescriptorProto) -> None:
    entry = event.nested_type.add(name="AttributesEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, _STRING)
    _field(entry, "value", 2, _MESSAGE, f"{_PACKAGE}.CloudEventAttributeValue")
    value = event.nested_type.add(name="CloudEventAttributeValue")
    value.oneof_decl.add(name="attr")
    kinds = {
        "ce_boolean": _BOOL, "ce_integer": _INT32, "ce_string": _STRING, "ce_bytes": _BYTES,
        "ce_uri": _STRING, "ce_uri_ref": _STRING,
    }  # fmt: skip
    for number, (name, kind) in enumerate(kinds.items(), start=1):
        _field(value, name, number, kind).oneof_index = 0
    _field(value, "ce_timestamp", 7, _MESSAGE, ".google.protobuf.Timestamp").oneof_index = 0


def _field(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: descriptor_pb2.FieldDescriptorProto.Type.ValueType,
    type_name: str = "",
) -> descriptor_pb2.FieldDescriptorProto:
    field = message.field.add(name=name, number=number, type=kind)
    field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    if type_name:
        field.type_name = type_name
    return field
