"""Who may know what: the rules of the layout, as tables.

A room is a module or a package directly under `flytelineage`; a plug is one module or
package in a room of plugins. Rules for rooms that do not exist hold nothing up.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "flytelineage"

# --------------------------------------------------------------------- the rules

WORDS = {"entities", "errors", "options"}
"""What every room above may speak."""

MIDDLE = {
    "entities", "errors", "events", "facts", "definition_keys", "flyte_types", "literals", "uris",
    "flytekit_values",
    "dataset_names", "naming", "definitions", "dependencies", "structure", "timing", "flow", "runs", "lineage",
    "console",
}  # fmt: skip
"""What an execution becomes, from bytes to lineage."""

MAY_IMPORT = {
    # The words themselves.
    "entities": set(),
    "errors": set(),
    "options": {"errors"},
    "permissions": set(),
    "grouping": set(),
    "logs": WORDS,
    "signals": WORDS,
    "scope": {"entities", "errors"},
    "durable": {"errors"},
    # What watches: it is told by the daemon, and knows none of the rooms it tells of.
    "health": set(),
    "metrics": {"events"},
    "web": WORDS | {"health", "metrics"},
    # What the loops are made of.
    "workers": {"errors"},
    "breaker": set(),
    "pace": set(),
    "inhand": {"sources"},
    "leases": {"errors"},
    "report": {"entities", "metrics"},
    # The pure middle: each knows only what comes before it.
    "events": {"entities", "errors"},
    "suspects": {"errors", "events"},
    "facts": {"entities"},
    "fold": {"entities", "events", "facts"},
    "flyte_types": {"entities", "errors"},
    "flytekit_values": {"errors"},
    "literals": {"entities", "errors", "flyte_types", "flytekit_values"},
    "schemas": {"entities"},
    "sql": {"entities", "errors"},
    "uris": set(),
    "dataset_paths": set(),
    "dataset_names": {"entities", "uris", "dataset_paths"},
    "dataset_rules": WORDS | {"dataset_names", "uris"},
    "naming": {"entities", "errors", "facts", "uris", "dataset_names"},
    "masking": {"events", "flytekit_values", "options"},
    "definition_keys": {"facts"},
    "definitions": {"errors", "facts"},
    "dependencies": {"definitions"},
    "structure": {"definitions", "dependencies", "errors", "facts", "naming"},
    "timing": {"facts"},
    "flow": MIDDLE - {"runs", "lineage"},
    "runs": MIDDLE - {"lineage"},
    "lineage": MIDDLE,
    # The edges: they call a reader or a store that was given to them.
    "rounds": {"errors", "facts", "flow", "literals"},
    "collect": MIDDLE | {"rounds"},
    "builder": MIDDLE | {"dataset_rules", "templates"},
    "parquet": {"entities", "errors"},
    "describe": WORDS | {"uris", "objects", "literals", "schemas"},
    "objects": WORDS | {"parquet", "permissions"},
    "flyteadmin": WORDS | MIDDLE,
    "consult": {"definition_keys", "entities", "facts"},
    "consultant": WORDS | {"consult", "events", "facts", "scope"},
    "store": WORDS | {"events", "migrations", "targets"},
    "parts": {"entities"},
    "console": {"entities"},
    "telling": {"entities", "errors", "parts", "store", "targets"},
    "explain": WORDS | MIDDLE | {"consult", "store"},
    # The plugins: a contract, and each plug on its own.
    "sources": WORDS | {"grouping", "permissions"},
    "transforms": WORDS,
    "targets": WORDS | {"durable", "templates", "permissions"},
    # The parts of the show: its platform is a double, its audience no room of ours.
    "demo": WORDS | {"testing"},
    # Runs inside tasks, where nothing of ours may be installed.
    "capture": set(),
    # Doubles tell what is true by themselves, not by asking the code they test.
    "testing": WORDS | {"sources", "transforms", "targets"},
}
"""Room -> rooms of ours that it may import, anywhere in its modules."""

IMPORTED_ONLY_BY = {
    "app": {"__main__"},
    "commands": {"app"},  # the application's own, one module per command
    "daemon": {"app", "commands"},
    "intake": {"daemon", "upkeep"},
    "build": {"daemon"},
    "deliver": {"daemon"},
    "upkeep": {"daemon"},
}
"""Room -> the only rooms that may import it."""

PLUGIN_ROOMS = {"sources", "transforms", "targets"}
SHARED_BY_PLUGS = {"sources.aws", "targets.connections", "targets.error_text"}
"""Modules in rooms of plugins that are no plugs: knowledge for any of them."""

PURE = {
    "entities", "events", "facts", "fold", "definition_keys", "consult", "flyte_types", "literals", "uris",
    "flytekit_values",
    "permissions", "dataset_paths", "dataset_names", "naming", "definitions", "dependencies", "structure", "timing",
    "flow", "runs", "lineage", "masking", "schemas", "scope", "sql", "console", "parts", "telling",
    "explain",
}  # fmt: skip
"""Rooms without input or output, without a clock, without a log."""

IMPURE_MODULES = {
    "asyncio", "concurrent", "fcntl", "http", "logging", "multiprocessing", "os", "pathlib",
    "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess",
    "sys", "tempfile", "threading", "time",
    "boto3", "botocore", "fsspec", "grpc", "httpx", "requests", "s3fs", "sqlalchemy", "urllib3",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "uuid1", "uuid4", "urlopen"}

OWNERS = {
    "sqlalchemy": {"store", "migrations"},
    "alembic": {"store", "migrations"},
    "psycopg": {"store"},
    "sqlite3": {"store"},
    "boto3": {"sources.sqs", "objects", "targets.glue", "testing"},
    "botocore": {"sources.sqs", "sources.aws", "objects", "targets.glue", "testing"},
    "fsspec": {"objects", "testing"},
    "s3fs": {"objects"},
    "pyarrow": {"parquet", "testing"},
    "datahub": {"targets.datahub"},
    "openlineage": {"targets.openlineage"},
    "flytekit": {"flyteadmin", "objects", "testing"},
    "sqlglot": {"sql"},
    "prometheus_client": {"web", "metrics"},
    "grpc": {"flyteadmin", "testing"},
    "requests": {"flyteadmin", "targets.datahub", "targets.openlineage"},
    "moto": {"testing"},
}
"""Library -> the only rooms and plugs that may import it."""

HEAVY = {
    "alembic", "boto3", "botocore", "datahub", "flyteidl", "flytekit", "google", "grpc", "moto",
    "openlineage", "pandas", "psycopg", "pyarrow", "sqlalchemy", "sqlglot",
}  # fmt: skip
"""What makes `--help` slow; modules that hold traits import it inside functions."""

# ------------------------------------------------------------ what the code does


@dataclass(frozen=True)
class Import:
    """One import: of `name`, by `module`; `top` unless it stands in a function."""

    module: str
    name: str
    line: int
    top: bool

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str:
        return room_of(self.name)

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def room_of(module: str) -> str:
    """`store` for flytelineage.store.schema; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def plug_of(module: str) -> str:
    """`targets.glue` for flytelineage.targets.glue.tables; empty outside of plugins."""
    parts = module.split(".")[1:3]
    return ".".join(parts) if len(parts) == 2 and parts[0] in PLUGIN_ROOMS else ""


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of ours, parsed, by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def walk(node: ast.AST, top: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes with whether they run at import; what only type checkers see is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, top
        yield from walk(child, top and not inside)


@cache
def imports() -> tuple[Import, ...]:
    """Every import of every module of ours."""
    return tuple(
        Import(module, name, node.lineno, top)
        for module, tree in trees().items()
        for node, top in walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node)
    )


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "relative imports hide which room is meant"
    if node.module == "flytelineage":  # `from flytelineage import naming` names a room
        modules = trees()
        names = [f"flytelineage.{alias.name}" for alias in node.names]
        return [name if name in modules else "flytelineage" for name in names]
    return [node.module or ""]


def holds_traits(module: str) -> bool:
    return any(one.module == module and one.library == "traitlets" for one in imports())


def told(violations: list[Import]) -> list[str]:
    return sorted(map(str, violations))


# ------------------------------------------------------------------- the arrows


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    """Knowledge points one way."""
    allowed = MAY_IMPORT[room] | {room, ""}

    assert (
        told(
            [
                one
                for one in imports()
                if room_of(one.module) == room
                and one.library == "flytelineage"
                and one.room not in allowed
            ]
        )
        == []
    )


@pytest.mark.parametrize("room", IMPORTED_ONLY_BY)
def test_what_stands_on_top_is_imported_by_nobody_else(room: str) -> None:
    """Nothing imports the application, and only its own parts import the daemon."""
    allowed = IMPORTED_ONLY_BY[room] | {room}

    assert (
        told(
            [
                one
                for one in imports()
                if one.library == "flytelineage"
                and one.room == room
                and room_of(one.module) not in allowed
            ]
        )
        == []
    )


def test_a_plugin_knows_no_other_plugin() -> None:
    """A target, a source or a transform can be taken out alone."""
    assert (
        told(
            [
                one
                for one in imports()
                if one.library == "flytelineage"
                and plug_of(one.module)
                and plug_of(one.name) not in {"", plug_of(one.module)} | SHARED_BY_PLUGS
            ]
        )
        == []
    )


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_known_where_it_belongs(library: str) -> None:
    """SQL lives in the store, URIs in objects, each catalogue's client in its target."""
    assert (
        told(
            [
                one
                for one in imports()
                if one.library == library
                and not {room_of(one.module), plug_of(one.module)} & OWNERS[library]
            ]
        )
        == []
    )


# ------------------------------------------------------------------ pure middle


@pytest.mark.parametrize("room", sorted(PURE))
def test_the_middle_imports_nothing_that_touches_the_world(room: str) -> None:
    """No files, no network, no clock, no chance, no log."""
    assert (
        told(
            [
                one
                for one in imports()
                if room_of(one.module) == room and one.library in IMPURE_MODULES
            ]
        )
        == []
    )


@pytest.mark.parametrize("room", sorted(PURE))
def test_the_middle_opens_nothing_and_reads_no_clock(room: str) -> None:
    """The same input gives the same lineage, today and tomorrow."""
    calls = [
        f"{module}:{node.lineno} calls {ast.unparse(node.func)}"
        for module, tree in trees().items()
        if room_of(module) == room
        for node, _ in walk(tree)
        if isinstance(node, ast.Call)
        if ast.unparse(node.func).rpartition(".")[2] in IMPURE_CALLS
    ]

    assert calls == []


# ------------------------------------------------------------------ quick start


@pytest.mark.parametrize("module", sorted(filter(holds_traits, trees())))
def test_options_are_shown_without_heavy_libraries(module: str) -> None:
    """A module that holds traits imports heavy libraries inside functions."""
    assert (
        told(
            [one for one in imports() if one.module == module and one.top and one.library in HEAVY]
        )
        == []
    )


def test_the_package_itself_imports_nothing() -> None:
    """Tasks import `flytelineage.capture`, and with it only the version."""
    names = {one.name for one in imports() if one.module == "flytelineage"}

    assert names <= {"__future__"}


def test_capture_needs_only_the_standard_library() -> None:
    """The image of a task holds what its author chose."""
    assert (
        told(
            [
                one
                for one in imports()
                if room_of(one.module) == "capture" and one.library not in sys.stdlib_module_names
            ]
        )
        == []
    )


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(["flytelineage.app"], id="application"),
        pytest.param(["flytelineage.flyteadmin"], id="flyteadmin"),
        pytest.param(sorted(filter(holds_traits, filter(plug_of, trees()))), id="plugins"),
    ],
)
def test_starting_loads_no_heavy_library(wanted: list[str]) -> None:
    """`--help-all` shows the options of all plugins before any client is needed."""
    wanted = [module for module in wanted if module in trees()]
    script = f"import sys, {', '.join(wanted) or 'flytelineage'}; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PACKAGE.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    assert HEAVY & set(loaded) == set()
