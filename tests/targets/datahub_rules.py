"""What DataHub demands of proposals, stricter than its own validation.

That one misses unknown aspects, aspects that an entity may not have, URNs that GMS refuses
for their length, names that no other source spells so, and edges that lead nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any
from urllib.parse import quote

from datahub.metadata.schema_classes import KEY_ASPECTS
from datahub.metadata.urns import DataFlowUrn, DataJobUrn, DatasetUrn, Urn

from flytelineage.targets.datahub.urns import FABRICS

Record = dict[str, Any]
"""A proposal as DataHub's file sink writes it."""

MAX_URN_BYTES = 512


def broken(deliveries: Iterable[list[Record]]) -> list[str]:
    """Every rule that these deliveries break, each in the order in which it is sent."""
    deliveries = list(deliveries)
    every = [record for delivery in deliveries for record in delivery]
    found = [f"{_name(one)}: {problem}" for one in every for problem in _of_record(one)]
    disorder = [problem for delivery in deliveries for problem in _out_of_order(delivery)]
    return [*found, *disorder, *_dangling(deliveries), *_lost_events(every)]


def load(text: str) -> list[Record]:
    """The proposals of a file."""
    records: list[Record] = json.loads(text)
    return records


def _name(record: Record) -> str:
    return f"{record['entityUrn']} {record['aspectName']}"


# ---------------------------------------------------------------------- one proposal


def _of_record(record: Record) -> Iterator[str]:
    urn, kind, aspect = record["entityUrn"], record["entityType"], record["aspectName"]
    if Urn.from_string(urn).entity_type != kind:
        yield f"is no {kind}"
    key = KEY_ASPECTS[kind]
    if aspect not in {*key.ASPECT_INFO["entityAspects"], key.ASPECT_NAME}:
        yield f"a {kind} has no such aspect"
    value = record["aspect"]["json"]
    for named in {urn, *urns(value)}:
        yield from (f"{named} {problem}" for problem in _of_urn(named))
    if record["changeType"] == "UPSERT":
        yield from _of_value(aspect, value)


def _of_value(aspect: str, value: Record) -> Iterator[str]:
    """What a whole value must never say, since people's words would be gone."""
    if aspect == "dataJobInputOutput":
        if value["inputDatasets"] or value["outputDatasets"]:
            yield "tells edges that cannot be patched away"
        columns = value.get("fineGrainedLineages") or []
        if any(len(column["downstreams"]) != 1 for column in columns):
            yield "tells columns that cannot be patched"
    for name in {"ownership": ["owners"], "globalTags": ["tags"]}.get(aspect, []):
        if not value[name]:
            yield f"erases all {name}"


def urns(value: Any) -> Iterator[str]:
    """Every URN inside of a value, in values and keys and in paths of patches."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # Other people's texts may quote anything.
            if name not in {"customProperties", "properties", "description", "arrayPrimaryKeys"}:
                yield from urns(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from urns(inner)
    elif isinstance(value, str) and value.startswith("urn:li:"):
        yield value


# --------------------------------------------------------------------------- one URN


def _of_urn(urn: str) -> Iterator[str]:
    urn = _entity(urn)
    if len(quote(urn, safe="*-._")) > MAX_URN_BYTES:
        yield "is longer than GMS takes"
    if re.search(r"\s", urn) or "␟" in urn:
        yield "holds white space or a separator"
    parsed = Urn.from_string(urn)
    if isinstance(parsed, DatasetUrn):
        platform = parsed.get_data_platform_urn().platform_name
        if parsed.env not in FABRICS:
            yield f"is of an unknown environment {parsed.env}"
        if rule := SPELLINGS.get(platform):
            yield from rule(parsed.name)
    elif isinstance(parsed, DataFlowUrn) and parsed.cluster not in FABRICS:
        yield f"is of an unknown environment {parsed.cluster}"
    elif isinstance(parsed, DataJobUrn):
        yield from _of_urn(parsed.flow)


def _path(name: str) -> Iterator[str]:
    if "://" in name or name.strip("/") != name or "//" in name:
        yield "is no bucket and key"


def _parts(*counts: int, lower: bool = False) -> Callable[[str], Iterator[str]]:
    """A rule: so many parts, none of them empty, perhaps all in lower case."""

    def rule(name: str) -> Iterator[str]:
        if name.count(".") + 1 not in counts or not all(name.split(".")):
            yield f"has not {' or '.join(map(str, counts))} parts"
        if lower and name != name.lower():
            yield "is not in lower case"

    return rule


SPELLINGS: dict[str, Callable[[str], Iterator[str]]] = {
    "s3": _path,
    "gcs": _path,
    "abs": _path,
    "glue": _parts(2, lower=True),
    "athena": _parts(2),
    "snowflake": _parts(3, lower=True),
    "bigquery": _parts(3),
    "redshift": _parts(3),
    "postgres": _parts(3),
}
"""How the platform's own source spells names."""


# -------------------------------------------------------------------- all proposals

_TOLD_ELSEWHERE = {"dataPlatform", "dataPlatformInstance", "corpuser", "corpGroup", "tag"}
_ORDER = ["dataPlatform", "dataFlow", "dataJob", "dataset", "dataProcessInstance"]


def _dangling(deliveries: list[list[Record]]) -> Iterator[str]:
    """Edges that lead to what no delivery said exists, up to this one."""
    told: set[str] = set()
    for records in deliveries:
        told.update(record["entityUrn"] for record in records)
        for record in records:
            for urn in map(_entity, urns(record["aspect"]["json"])):
                elsewhere = Urn.from_string(urn).entity_type in _TOLD_ELSEWHERE
                # The execution that launched this one tells of itself.
                if urn not in told and not elsewhere and not _is_parent(record, urn):
                    yield f"{_name(record)}: {urn} does not exist"


def _entity(urn: str) -> str:
    """What a column is a column of."""
    is_column = urn.startswith("urn:li:schemaField:")
    return str(Urn.from_string(urn).entity_ids[0]) if is_column else urn


def _is_parent(record: Record, urn: str) -> bool:
    value = record["aspect"]["json"]
    return isinstance(value, dict) and value.get("parentInstance") == urn


def _out_of_order(records: list[Record]) -> Iterator[str]:
    """DataHub shows no job without its flow."""
    kinds = [record["entityType"] for record in records]
    runs = [kind for kind, _ in groupby(kinds)]
    if runs != sorted(runs, key=_ORDER.index):
        yield f"the order is {runs}"


def _lost_events(records: list[Record]) -> Iterator[str]:
    """DataHub takes events of one entity, time and message id for the same."""
    seen: dict[tuple[Any, ...], Any] = {}
    for record in records:
        value = record["aspect"]["json"]
        if isinstance(value, dict) and "timestampMillis" in value:
            key = (_name(record), value["timestampMillis"], value.get("messageId"))
            if seen.setdefault(key, value) != value:
                yield f"{key} overwrites another one"
