"""How Glue is told to read each format of files, and what that reading can do; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from flytelineage.entities import TypeKind

HEADER_LINES = "skip.header.line.count"
DELIMITER = "delimiter"

_JSON_NAME = "mapping."
_JSON_CASE = "case.insensitive"


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: As crawlers write it into the parameter `classification`.
        serde: The class that reads rows; `options` is what it is told.
        as_text: Kinds of types whose values are read as `string`.
        any_as_text: Whether a value of any kind at all can be read as `string`.
        parameters: Of the table, unless people set others.
    """

    name: str
    input_format: str
    output_format: str
    serde: str
    options: Mapping[str, str]
    as_text: frozenset[str]
    any_as_text: bool = True
    parameters: Mapping[str, str] = field(default_factory=dict)


_PARQUET_PACKAGE = "org.apache.hadoop.hive.ql.io.parquet"
_TEXT_INPUT = "org.apache.hadoop.mapred.TextInputFormat"
_TEXT_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"

PARQUET = Format(
    name="parquet",
    input_format=f"{_PARQUET_PACKAGE}.MapredParquetInputFormat",
    output_format=f"{_PARQUET_PACKAGE}.MapredParquetOutputFormat",
    serde=f"{_PARQUET_PACKAGE}.serde.ParquetHiveSerDe",
    options={"serialization.format": "1"},
    as_text=frozenset({"null", "string", "unknown"}),
    any_as_text=False,
    parameters={"compressionType": "none"},
)

# pandas quotes values with a comma or a quote in them. LazySimpleSerDe, which has types, takes
# quotes for a part of the value and splits at every comma; OpenCSVSerde reads such lines rightly.
# It fails a query over an empty number, though, and knows dates as numbers of days only: so every
# column is a string, and people cast.
CSV = Format(
    name="csv",
    input_format=_TEXT_INPUT,
    output_format=_TEXT_OUTPUT,
    serde="org.apache.hadoop.hive.serde2.OpenCSVSerde",
    options={
        "separatorChar": ",",
        "quoteChar": '"',
        # pandas escapes nothing, but the default `\` would take each backslash out of the data;
        # and a `"` here means `\` to this reader. No text has this character, DEL.
        "escapeChar": "\x7f",
    },
    as_text=frozenset(get_args(TypeKind)),
    parameters={DELIMITER: ","},
)

# JSON has no types for times and bytes. The reader takes a date for days since 1970 or for text,
# a number of less than 13 digits for seconds, and bytes for base64, where pandas writes
# milliseconds and plain text: wrong values, or none, without an error. A string is always right.
JSON = Format(
    name="json",
    input_format=_TEXT_INPUT,
    output_format=_TEXT_OUTPUT,
    serde="org.openx.data.jsonserde.JsonSerDe",
    options={},
    as_text=frozenset({
        "null", "string", "unknown", "binary", "date", "time", "timestamp", "duration", "interval",
        "union",
    }),
)  # fmt: skip

FORMATS = {"parquet": PARQUET, "csv": CSV, "json": JSON, "jsonl": JSON, "ndjson": JSON}
"""By the spellings that entities use; of JSON, each line is an object."""


def format_of(parameters: Mapping[str, str]) -> Format | None:
    """The format that a table says it has."""
    return FORMATS.get(parameters.get("classification", "").lower())


# ------------------------------------------------------------------------- reading


def serde(theirs: Mapping[str, Any], format: Format, names: Mapping[str, str]) -> dict[str, Any]:
    """What reads the rows. What people set of the same reader stays.

    Args:
        theirs: The `SerdeInfo` of the table so far.
        format: The format of the files.
        names: For each column and member whose name is another in the files, that name.
    """
    same = theirs.get("SerializationLibrary") == format.serde
    kept = (theirs.get("Parameters") or {}) if same else {}
    kept = {key: value for key, value in kept.items() if not _tells_names(key)}
    told = _json_names(names) if format is JSON else {}
    return {
        **(theirs if same else {}),
        "SerializationLibrary": format.serde,
        "Parameters": {**format.options, **kept, **told},
    }


def _tells_names(option: str) -> bool:
    return option == _JSON_CASE or option.startswith(_JSON_NAME)


def _json_names(names: Mapping[str, str]) -> dict[str, str]:
    """How keys are found that columns cannot be named after.

    The reader ignores case, unless two keys differ in nothing else.
    """
    lowered = [name.lower() for name in names.values()]
    ambiguous = len(set(lowered)) < len(lowered)
    told = {
        f"{_JSON_NAME}{column}": name
        for column, name in names.items()
        if ambiguous or column != name.lower()
    }
    return {_JSON_CASE: "false", **told} if ambiguous else told
