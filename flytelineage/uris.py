"""Where data lies: each place in one spelling, and Flyte's own layout of places; pure.

People, SDKs and drivers spell one place in many ways: `s3a://`, a presigned `https://`, a
doubled slash, a password before the host. What is compared, shown or named goes through
here first. A place has no user, no password, no query and no control characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

# ------------------------------------------------------------------- one spelling


class Place(NamedTuple):
    """A URI, taken apart.

    Attributes:
        scheme: In lower case, one for all that mean the same: `s3a` is `s3`.
        authority: Bucket, `container@account` or `host:port`; empty for local files, and
            where what stands there is no host.
        parts: The path, without empty parts, `.` and `..`.
    """

    scheme: str
    authority: str
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join((self.authority, *self.parts))}"


DATABASES = frozenset(
    {"snowflake", "redshift", "postgres", "mysql", "mariadb", "mssql", "trino", "presto", "hive",
     "databricks", "glue", "athena"}
)  # fmt: skip
"""Schemes whose paths name tables."""

SERVERLESS = frozenset({"snowflake", "glue", "athena"})
"""Those of them whose URIs may name a database where others have a host."""

_AZURE = frozenset({"abfss", "wasbs", "adl", "az"})
_WEB = {"http": "80", "https": "443"}
_BARE = DATABASES | _AZURE | _WEB.keys() | {"s3", "gs", "bq", "file", "dbfs", "hdfs"}
"""Schemes that are known without `//`, as in `dbfs:/mnt` or `s3:bucket/key`."""

_SAME_SCHEME = {
    "s3a": "s3",
    "s3n": "s3",
    "gcs": "gs",
    "abfs": "abfss",
    "abs": "abfss",
    "wasb": "wasbs",
    "adls": "adl",
    "bigquery": "bq",
    "postgresql": "postgres",
    "awsathena": "athena",
    "sqlserver": "mssql",
}

_URI = re.compile(
    r"(?P<jdbc>jdbc:)?(?P<scheme>[a-z][a-z0-9+.\-_]*):(?P<slashes>//)?(?P<rest>.*)", re.I
)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]@]*)(?::[0-9]*)?")
_AUTHORITIES = {
    "s3": re.compile(rf"{_HOST.pattern}|arn:[^@]+"),  # an access point
    **dict.fromkeys(_AZURE, re.compile(r"[^:@]*(?:@[^:@]*)?")),  # container@account
}
_ARNS = (
    (re.compile(r"arn:aws[^:]*:s3:::(?P<rest>.+)"), "s3"),
    (re.compile(r"arn:aws[^:]*:glue:[^:]*:[^:]*:table/(?P<rest>.+)"), "glue"),
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def normalised(uri: str) -> str:
    """The URI in the one spelling by which it is compared; other texts nearly as they are."""
    return str(place_of(uri) or printable(uri))


def canonical_scheme(scheme: str) -> str:
    """The one scheme for all that mean the same; a driver after a `+` is left out."""
    scheme = scheme.lower()
    base = scheme.partition("+")[0]
    if base in _BARE or base in _SAME_SCHEME:
        scheme = base
    return _SAME_SCHEME.get(scheme, scheme)


def place_of(uri: str) -> Place | None:
    """Take a URI apart; an absolute path is a local file.

    Returns:
        `None` for what is no URI, such as a word or a relative path.
    """
    text = printable(uri)
    match = _URI.fullmatch(f"file://{text}" if text.startswith("/") else _from_arn(text))
    if match is None:
        return None
    scheme = canonical_scheme(match["scheme"])
    if not match["slashes"] and scheme not in _BARE:
        return None
    rest = match["rest"].partition("?")[0]
    if match["jdbc"]:
        rest = rest.partition(";")[0]  # options follow, the password among them
    if scheme in DATABASES and not match["slashes"]:
        rest = f"/{rest}"
    return _READERS.get(scheme, _store)(scheme, rest)


def printable(text: str) -> str:
    """A text without white space at its ends; what no catalogue can show is percent-encoded."""
    return _UNPRINTABLE.sub(lambda found: quote(found[0], errors="surrogatepass"), text.strip())


def without_secrets(uri: str) -> str:
    """The URI without user, password, query and fragment: what may be shown to anybody.

    Names of objects in a bucket may hold any character, so there a query is none.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    kind = scheme.lower()
    if kind in _BUCKETS:
        authority, slash, path = rest.partition("/")
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    if "@" in rest and kind not in _CONTAINERS:
        rest = _without_login(rest, _AUTHORITIES.get(kind, _HOST))
    return f"{scheme}://{rest}"


_BUCKETS = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "file", "hdfs", "dbfs"})
_CONTAINERS = frozenset({"abfs", "abfss", "wasb", "wasbs"})
"""Where what stands before the `@` is a container and no user."""


def _from_arn(text: str) -> str:
    for pattern, scheme in _ARNS:
        if match := pattern.fullmatch(text):
            return f"{scheme}://{match['rest']}"
    return text


def _parts(path: str) -> tuple[str, ...]:
    """The parts of a path; `..` takes back the part before it and never leaves the root."""
    parts: list[str] = []
    for part in map(str.strip, path.split("/")):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def _without_login(rest: str, host: re.Pattern[str]) -> str:
    """What follows the user and the password.

    A password may hold slashes: then what stands before the first one is no host, and
    everything up to the last `@` goes. Without any `@` the authority alone goes.
    """
    authority, slash, path = rest.partition("/")
    if host.fullmatch(authority):
        return rest
    _, at, behind = authority.rpartition("@")
    if at and host.fullmatch(behind):
        return f"{behind}{slash}{path}"
    return _without_login(path.rpartition("@")[2], host) if "@" in path else f"/{path}"


def _store(scheme: str, rest: str) -> Place:
    """An object store, or whatever else has an authority and a path."""
    rest = _without_login(rest, _AUTHORITIES.get(scheme, _HOST))
    authority, _, path = rest.partition("/")
    if scheme in _AZURE or scheme == "hdfs":
        authority = authority.lower()
    return Place(scheme, authority.strip(), _parts(path))


def _local(scheme: str, rest: str) -> Place:
    """Two slashes where three are due are a slip more often than a host."""
    return Place(scheme, "", _parts(rest.removeprefix("localhost/")))


def _database(scheme: str, rest: str) -> Place:
    """No table's name holds `@` or `;`: before those stand users, after these options."""
    _, login, rest = rest.partition("#")[0].rpartition("@")
    authority, _, path = rest.partition(";")[0].partition("/")
    if not _HOST.fullmatch(authority) or (login and scheme in SERVERLESS):
        authority = ""
    return Place(scheme, authority.strip(), _parts(path))


# A table as it was at a moment: `table@-3600000`.
_SNAPSHOT = re.compile(r"@-?[0-9]+(?:-(?:-?[0-9]+)?)?$")


def _bigquery(scheme: str, rest: str) -> Place:
    authority, _, path = _SNAPSHOT.sub("", rest).rpartition("@")[2].partition("/")
    return Place(scheme, authority.strip(), _parts(path))


# ------------------------------------------------------------------------ the web

_STORES = (
    (re.compile(r"(?P<bucket>.+?)\.s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com(?:\.cn)?"), "s3"),
    (re.compile(r"s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com(?:\.cn)?"), "s3"),
    (re.compile(r"(?P<bucket>.+?)\.storage\.googleapis\.com"), "gs"),
    (re.compile(r"storage\.(?:googleapis|cloud\.google)\.com"), "gs"),
    (re.compile(r"(?P<account>[a-z0-9]+)\.(?:blob|dfs)\.core\.windows\.net"), "abfss"),
)
"""Hosts behind which object stores are; without a group the bucket begins the path."""

_LONGEST_HOST = 260
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# Decoded they would begin a query or a fragment.
_ESCAPED_FOR_GOOD = re.compile(r"%(3f|23)", re.I)


def _web(scheme: str, rest: str) -> Place:
    """A page, or the object that a URL of an object store leads to."""
    host, _, path = _without_login(rest.partition("#")[0], _HOST).partition("/")
    host = host.strip().lower().removesuffix(f":{_WEB[scheme]}").removesuffix(":").rstrip(".")
    if len(host) <= _LONGEST_HOST:
        for pattern, store in _STORES:
            if match := pattern.fullmatch(host):
                return _stored(store, match, path)
    path = quote(_ESCAPE.sub(_unreserved, path), safe="/%!$&'()*+,;=:@~")
    return Place(scheme, host, _parts(path))


def _stored(store: str, host: re.Match[str], path: str) -> Place:
    """The object itself: URLs escape its key, URIs of object stores do not."""
    path = unquote(_ESCAPED_FOR_GOOD.sub(r"%25\1", path))
    if bucket := host.groupdict().get("bucket"):
        path = f"{bucket}/{path}"
    bucket, *parts = _parts(printable(path)) or ("",)
    if account := host.groupdict().get("account"):
        bucket = f"{bucket.lower()}@{account}.dfs.core.windows.net"
    return Place(store, bucket, tuple(parts))


def _unreserved(escape: re.Match[str]) -> str:
    """An escape in its normal form. Source: RFC 3986, 6.2.2."""
    char = chr(int(escape[1], 16))
    return char if char.isascii() and (char.isalnum() or char in "-._~") else escape[0].upper()


_READERS: Mapping[str, Callable[[str, str], Place]] = {
    **dict.fromkeys(DATABASES, _database),
    **dict.fromkeys(_WEB, _web),
    **dict.fromkeys(("file", "dbfs"), _local),
    "bq": _bigquery,
}


# ----------------------------------------------------------- Flyte's raw output


class RawOutput(NamedTuple):
    """Data where Flyte, or the engine it calls, puts what a task returns.

    Attributes:
        key: The URI, cut after the folder that is new in each run: one piece of data.
        owner: `<execution>-<node>-<attempt>`, or a hash where that was too long; empty
            for the result of a query, whose place says nothing about who asked.
    """

    key: str
    owner: str


_RANDOM_FOLDER = re.compile(
    r"(?P<key>[a-z0-9+.\-_]+://.+/[a-z0-9]{2}/(?P<owner>[^/]+)/[0-9a-f]{32})(?:/.*)?"
)
_SHARD = re.compile(r"[a-z0-9]{2}")
_OWNER = re.compile(r"[a-z][a-z0-9\-]*-[a-z0-9\-]+-[0-9]{1,2}|f(?=[a-z]*[1-6])[a-z1-6]{7}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_HIDDEN_TABLE = re.compile(r"bq://.+[:./]_[^:./]+[./][^:./]+")


def raw_output(uri: str) -> RawOutput | None:
    """Recognise data whose place is new in each run, whatever its prefix.

    Source: flyteplugins ioutils/raw_output_path.go: `<prefix>/<shard>/<owner>`, to which
    flytekit adds 32 random hex digits. Athena's plugin and files with a name of the
    author's choice lie there without them: then the shard, which follows from the owner,
    proves that Flyte made the path.
    """
    place = place_of(uri)
    if place is None:
        return None
    if match := _RANDOM_FOLDER.fullmatch(str(place)):
        return RawOutput(match["key"], match["owner"])
    return _in_shard(place) or _query_result(place)


def _in_shard(place: Place) -> RawOutput | None:
    for index in range(len(place.parts) - 2, -1, -1):
        shard, owner = place.parts[index : index + 2]
        if _SHARD.fullmatch(shard) and _OWNER.fullmatch(owner) and _shard(owner) == shard:
            return RawOutput(str(place._replace(parts=place.parts[: index + 3])), owner)
    return None


def _query_result(place: Place) -> RawOutput | None:
    """What a query gave, under the query's id or in a hidden table.

    Source: flytekit's Snowflake and BigQuery connectors: they hand on
    `snowflake://<user>:<account>/<warehouse>/<database>/<schema>/<query id>`, and the
    anonymous table that BigQuery made, whose dataset's name begins with `_`.
    """
    found = (
        bool(place.parts and _UUID.fullmatch(place.parts[-1]))
        if place.scheme == "snowflake"
        else _HIDDEN_TABLE.fullmatch(str(place))
    )
    return RawOutput(str(place), "") if found else None


def written_by(
    owner: str, execution: str, node: str | None = None, *, nodes: Collection[str] | None = None
) -> bool:
    """Whether the owner part of a raw-output path names this execution or node.

    Args:
        owner: What `raw_output` said.
        execution: The execution's name.
        node: The id of the node that is asked for; any node without it.
        nodes: Ids of all nodes of the execution, as a set or a mapping. Names may hold
            dashes: only a node that exists tells `rep-2` of node `n0` from `rep` of node
            `2-n0`. Not asked where `node` is given.
    """
    if node is not None:
        prefix = f"{execution}-{node}-"
        return _attempt(owner, prefix) or owner in _hashed(prefix)
    rest = owner.removeprefix(f"{execution}-")
    if rest == owner:
        return False
    return nodes is None or _begins_with(rest, nodes)


def possible_writers(owner: str) -> tuple[str, ...]:
    """Names of the executions that the owner part of a raw-output path may name.

    Names may hold dashes, and so may node ids: each beginning could be one. A hash names
    nobody.
    """
    if len(owner) > _LONGEST_OWNER or not owner.rpartition("-")[2].isdigit():
        return ()
    parts = owner.split("-")[:-1]
    return tuple("-".join(parts[:count]) for count in range(1, len(parts)))


def _attempt(owner: str, prefix: str) -> bool:
    return owner.startswith(prefix) and owner[len(prefix) :].isdigit()


def _begins_with(rest: str, nodes: Collection[str]) -> bool:
    """Whether a known node begins it; elements of arrays have ids below their node's."""
    if len(rest) > _LONGEST_OWNER:
        return False
    ends = [index for index, char in enumerate(rest) if char == "-"]
    return any(rest[:end] in nodes for end in ends)


_LONGEST_OWNER = 50
_MOST_ATTEMPTS = 10
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def _hashed(prefix: str) -> frozenset[str]:
    """What stands for each attempt where its name is too long for Flyte; else nothing.

    Source: flyteplugins encoding/encoder.go: `f` and seven digits to the base of 32.
    """
    if len(prefix) + 1 <= _LONGEST_OWNER:
        return frozenset()
    return frozenset(_short_id(f"{prefix}{attempt}") for attempt in range(_MOST_ATTEMPTS))


def _short_id(text: str) -> str:
    bits = _fnv(text) << 3
    digits = (bits >> shift & 31 for shift in range(30, -1, -5))
    return "f" + "".join("abcdefghijklmnopqrstuvwxyz123456"[digit] for digit in digits)


def _shard(owner: str) -> str:
    """The folder among 1296 that an owner's data goes to.

    Source: flyteplugins ioutils/precomputed_shardselector.go.
    """
    first, second = divmod(_fnv(owner) % len(_CHARACTERS) ** 2, len(_CHARACTERS))
    return _CHARACTERS[first] + _CHARACTERS[second]


def _fnv(text: str) -> int:
    """The 32-bit hash FNV-1a."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
