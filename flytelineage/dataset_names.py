"""From a URI to the dataset at it: ordered rules, each tried once; pure.

Names cannot change once they were told, and a name that differs by one character from the
one that a platform's own source gives is an orphan in the catalogue. The order:

1. Flyte's raw output is named by who wrote it, never by its URI.
2. The operator's rules, in their order.
3. The platform that owns the URI, spelled as DataHub's source for it spells it.
4. A scheme that nobody knows is a platform of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flytelineage.dataset_paths import trimmed
from flytelineage.entities import DatasetId
from flytelineage.uris import SERVERLESS, Place, normalised, place_of, raw_output

RAW_OUTPUT, UNKNOWN_SCHEME, NOTHING = "raw output", "unknown scheme", "nothing"
"""Names of the rules that belong to no platform."""


class Spelled(NamedTuple):
    """A name, and how it came about; without a name the steps say what is missing."""

    platform: str
    name: str | None
    steps: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What an operator's rule says of a URI.

    Attributes:
        dataset: `None` where it says nothing.
        step: What happened, in words.
        failed: Whether the rule itself is at fault.
    """

    dataset: DatasetId | None
    step: str
    failed: bool = False


class Rule(Protocol):
    """One rule of the operator's; `label` says where it stands in the configuration."""

    @property
    def label(self) -> str:
        """Where the rule stands, e.g. `dataset_rules[0]`."""

    def ask(self, uri: str) -> Answer:
        """What the rule says of a URI in its one spelling; never raises."""


class Decision(NamedTuple):
    """The dataset at a URI, and why.

    Attributes:
        rule: The operator's rule by its place, the platform, `raw output`,
            `unknown scheme` or `nothing`.
        dataset: `None` for raw output, which is looked up, and for what names nothing.
        steps: How it was decided, in words, in order. They hold no user, no password and
            no query of the URI.
        problems: Those of the steps that are mistakes in the operator's rules.
    """

    rule: str
    dataset: DatasetId | None
    steps: tuple[str, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """The names of datasets by their URIs, the same in every execution.

    Attributes:
        rules: The operator's, tried first.
        trim_dates: Whether folders that are dates are left out like hive partitions.
    """

    rules: tuple[Rule, ...] = ()
    trim_dates: bool = False

    def dataset_id(self, uri: str) -> DatasetId | None:
        """The dataset at a URI.

        Returns:
            `None` for Flyte's raw output, which is named by who wrote it, and for what
            names nothing, such as `s3://` or a word.
        """
        return self.decide(uri).dataset

    def decide(self, uri: str) -> Decision:
        """The dataset at a URI, with the rule that names it and all that led there."""
        place, spelling = place_of(uri), normalised(uri)
        steps = [f"read as {place}"] if place and str(place) != uri else []
        if raw := raw_output(uri):
            return Decision(RAW_OUTPUT, None, (*steps, _about(raw.owner)))
        problems: list[str] = []
        for rule in self.rules:
            answer = rule.ask(spelling)
            steps.append(answer.step)
            if answer.failed:
                problems.append(answer.step)
            if answer.dataset:
                return Decision(rule.label, answer.dataset, tuple(steps), tuple(problems))
        decision = self._by_platform(place)
        return decision._replace(
            steps=(*steps, *decision.steps), problems=(*problems, *decision.problems)
        )

    def _by_platform(self, place: Place | None) -> Decision:
        if place is None:
            return Decision(NOTHING, None, ("is no URI and no absolute path",))
        known = _PLATFORMS.get(place.scheme)
        spelled = (known or _Paths(place.scheme, hostless=True)).spell(place, self.trim_dates)
        if not spelled.name:
            return Decision(NOTHING, None, spelled.steps)
        return Decision(
            spelled.platform if known else UNKNOWN_SCHEME,
            DatasetId(platform=spelled.platform, name=spelled.name),
            (*spelled.steps, f"its name on {spelled.platform} is {spelled.name}"),
        )


def dataset_id(uri: str) -> DatasetId | None:
    """The dataset at a URI by the default rules; see `Names.dataset_id`."""
    return _DEFAULT.dataset_id(uri)


_DEFAULT = Names()


def _about(owner: str) -> str:
    if owner:
        return f"Flyte's raw output of {owner}: named by the task that wrote it"
    return "the result of a query: named by the task that asked"


# -------------------------------------------------------------------- platforms


class _Platform(Protocol):
    def spell(self, place: Place, dates: bool) -> Spelled: ...


@dataclass(frozen=True)
class _Paths:
    """Names are a bucket, a container or a host, and a path.

    Attributes:
        hostless: Whether there may be no bucket; then names are absolute paths.
    """

    platform: str
    hostless: bool = False

    def spell(self, place: Place, dates: bool) -> Spelled:
        bucket = place.authority.partition("@")[0]
        if not bucket and not (self.hostless and place.parts):
            what = "no file" if self.hostless else "no bucket and no host"
            return Spelled(self.platform, None, (f"names {what}",))
        parts, left_out = trimmed((bucket, *place.parts) if bucket else place.parts, dates=dates)
        return Spelled(self.platform, ("" if bucket else "/") + "/".join(parts), left_out)


_WORD = re.compile(r'"[^"]+"|`[^`]+`|[^./]+')
_AMAZON = re.compile(r"(?:.*\.)?amazonaws\.com(?:\.cn)?(?::[0-9]*)?", re.I)


@dataclass(frozen=True)
class _Tables:
    """Names are the last words of a path, such as database, schema and table.

    Attributes:
        words: What the words of a name are.
        schema: The schema where a path says none; empty where it must say one.
        lower: Whether names are told in lower case.
    """

    platform: str
    words: tuple[str, ...]
    schema: str = ""
    lower: bool = True

    def spell(self, place: Place, dates: bool) -> Spelled:
        words = self._words(place)
        if self.schema and len(words) == len(self.words) - 1:
            words.insert(-1, self.schema)
        if len(words) < len(self.words):
            return Spelled(self.platform, None, (f"names no {', '.join(self.words)}",))
        name = ".".join(words[-len(self.words) :])
        steps = (f"the last words are {', '.join(self.words)}",)
        return Spelled(self.platform, name.lower() if self.lower else name, steps)

    def _words(self, place: Place) -> list[str]:
        path = "/".join(place.parts)
        host = ":" in place.authority or _AMAZON.fullmatch(place.authority)
        if place.scheme in SERVERLESS and not host:
            path = f"{place.authority}/{path}"
        words = (word.strip('"`').strip() for word in _WORD.findall(path))
        return [word for word in words if word]


# A day behind a table's name, and what stands for any: DataHub tells one table of all.
_WILDCARD = re.compile(r"(?:_[0-9]*)?\*$")
_SHARD = re.compile(
    r"(?P<base>.+[^0-9])?[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])", re.DOTALL
)
_TABLE = re.compile(r"(?P<project>.+)[:./](?P<dataset>[^:./]+)[./](?P<table>[^:./]+)")
_RESOURCE = re.compile(r"projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)")


class _BigQuery:
    """Names are project, dataset and table, in their own case."""

    def spell(self, place: Place, dates: bool) -> Spelled:
        path = "/".join(filter(None, (place.authority, *place.parts)))
        match = _TABLE.fullmatch(_RESOURCE.sub(r"\1/\2/\3", path))
        if match is None:
            return Spelled("bigquery", None, ("names no project, dataset and table",))
        table = _WILDCARD.sub("", match["table"]).partition("$")[0]
        if shard := _SHARD.fullmatch(table):
            table = (shard["base"] or "").rstrip("_")
        # A table that is all date is a shard of its dataset.
        table = table or match["dataset"]
        left_out = match["table"].removeprefix(table) if table != match["table"] else ""
        steps = (f"left out {left_out}: a partition or a shard",) if left_out else ()
        project = match["project"].replace("/", ".")
        return Spelled("bigquery", f"{project}.{match['dataset']}.{table}", steps)


class _FlyteLinks:
    """Flyte's own URLs lead into one execution."""

    def spell(self, place: Place, dates: bool) -> Spelled:
        return Spelled("flyte", None, ("leads into one execution of Flyte: no dataset",))


_PLATFORMS: Mapping[str, _Platform] = {
    "s3": _Paths("s3"),
    "gs": _Paths("gcs"),
    "abfss": _Paths("abs"),
    "wasbs": _Paths("abs"),
    "az": _Paths("abs"),
    "adl": _Paths("abs"),
    "hdfs": _Paths("hdfs", hostless=True),
    "http": _Paths("http"),
    "https": _Paths("http"),
    "file": _Paths("file", hostless=True),
    "dbfs": _Paths("dbfs", hostless=True),
    "bq": _BigQuery(),
    "snowflake": _Tables("snowflake", ("database", "schema", "table")),
    "redshift": _Tables("redshift", ("database", "schema", "table"), schema="public"),
    "postgres": _Tables("postgres", ("database", "schema", "table"), schema="public"),
    "mssql": _Tables("mssql", ("database", "schema", "table"), lower=False),
    "mysql": _Tables("mysql", ("database", "table"), lower=False),
    "mariadb": _Tables("mariadb", ("database", "table"), lower=False),
    "trino": _Tables("trino", ("catalog", "schema", "table")),
    "presto": _Tables("presto", ("catalog", "schema", "table")),
    "databricks": _Tables("databricks", ("catalog", "schema", "table")),
    "hive": _Tables("hive", ("database", "table")),
    "glue": _Tables("glue", ("database", "table")),
    "athena": _Tables("athena", ("database", "table")),
    "flyte": _FlyteLinks(),
}
"""By scheme, in the one spelling of `uris`."""
