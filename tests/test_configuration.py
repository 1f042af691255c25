"""A configuration is read strictly, and shown without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from traitlets import Float, List, TraitError, Unicode, validate
from traitlets.config import Config, LoggingConfigurable

from flytelineage.configuration import as_json, as_text, find, inspect, is_set, load
from flytelineage.errors import ConfigError
from flytelineage.options import MASK, Secret, SecretText
from flytelineage.targets.openlineage import OpenLineageTarget

CANARY = "canary-4f81d2"


class Outlet(LoggingConfigurable):
    """Has options of several kinds."""

    path = Unicode("out", help="Where.").tag(config=True)
    names = List(Unicode(), default_value=["a"], help="Which.").tag(config=True)
    seconds = Float(1, min=0, help="How long.").tag(config=True)
    token = Secret(help="Who.").tag(config=True)

    def __init__(self, needed: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @validate("path")
    def _check_path(self, proposal: Any) -> str:
        if " " in proposal["value"]:
            raise TraitError("a path has no blanks")
        return str(proposal["value"])


def problems_of(config: dict[str, Any]) -> list[str]:
    return inspect(Config(config), [Outlet], "x.py: ")


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


class TestFind:
    """Which files a name stands for."""

    def test_default_may_be_absent(self, tmp_path: Path) -> None:
        """Nobody asked for it."""
        assert find(str(tmp_path / "c.py"), named=False) == []

    @pytest.mark.parametrize("ending", ["py", "json"])
    def test_default_has_either_ending(self, tmp_path: Path, ending: str) -> None:
        """A `.json` file will do as well."""
        path = written(tmp_path, f"c.{ending}", "{}")

        assert find(str(tmp_path / "c.py"), named=False) == [path]

    def test_named_file_must_exist(self, tmp_path: Path) -> None:
        """The error names it, even though its sibling is there."""
        written(tmp_path, "c.json", "{}")

        with pytest.raises(ConfigError, match=r"c\.py does not exist"):
            find(str(tmp_path / "c.py"), named=True)

    def test_name_without_an_ending(self, tmp_path: Path) -> None:
        """Both endings are tried."""
        path = written(tmp_path, "c.json", "{}")

        assert find(str(tmp_path / "c"), named=True) == [path]

    def test_folder_is_no_file(self, tmp_path: Path) -> None:
        """A volume mounted at the wrong place says so."""
        with pytest.raises(ConfigError, match="is not a file"):
            find(str(tmp_path), named=True)

    def test_file_of_another_kind(self, tmp_path: Path) -> None:
        """It is there, so the error says what is wrong with its name."""
        written(tmp_path, "c.yaml", "Outlet: {}")

        with pytest.raises(ConfigError, match=r"c\.yaml must end in \.py or \.json"):
            find(str(tmp_path / "c.yaml"), named=True)


class TestLoad:
    """Files give options, or errors that name the line."""

    def test_python(self, tmp_path: Path) -> None:
        """With `c`, as every traitlets application has it."""
        path = written(tmp_path, "c.py", "c = get_config()\nc.Outlet.path = __file__[-4:]\n")

        assert load(path) == {"Outlet": {"path": "c.py"}}

    def test_json(self, tmp_path: Path) -> None:
        """Sections are objects."""
        path = written(tmp_path, "c.json", '{"version": 1, "Outlet": {"path": "here"}}')

        assert load(path) == {"Outlet": {"path": "here"}}

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("c.py", "x = 1\nc.Outlet.token = 'secret\n", r"c\.py, line 2: unterminated string"),
            ("c.py", "import os\nos.environ['NO_SUCH']\n", r"c\.py, line 2: KeyError: 'NO_SUCH'"),
            ("c.py", "raise SystemExit('no')", r"c\.py, line 1: SystemExit: no"),
            ("c.json", '{\n"Outlet": }', r"c\.json, line 2: Expecting value"),
            ("c.json", "[]", r"c\.json must hold one JSON object"),
            ("c.json", '{"Outlet": 3}', "Outlet is a section and needs an object"),
            ("c.json", b"\xff\xfe{}".decode("latin-1"), r"c\.json"),
        ],
    )
    def test_damaged(self, tmp_path: Path, name: str, text: str, message: str) -> None:
        """The error names file and line, and does not quote the source."""
        path = written(tmp_path, name, text)

        with pytest.raises(ConfigError, match=message) as caught:
            load(path)

        assert "secret" not in str(caught.value)

    def test_include(self, tmp_path: Path) -> None:
        """Its place is relative to the file that includes it."""
        written(tmp_path, "base.py", "c.Outlet.path = 'base'\nc.Outlet.seconds = 5\n")
        path = written(tmp_path, "c.py", "load_subconfig('base.py')\nc.Outlet.path = 'top'\n")

        assert load(path) == {"Outlet": {"path": "top", "seconds": 5}}

    @pytest.mark.parametrize(
        ("base", "message"),
        [(None, "which does not exist"), ("c.Outlet.", r"base\.py, line 1: invalid syntax")],
    )
    def test_damaged_include(self, tmp_path: Path, base: str | None, message: str) -> None:
        """It must exist and load as well, and the error names it."""
        if base:
            written(tmp_path, "base.py", base)
        path = written(tmp_path, "c.py", "load_subconfig('base.py')")

        with pytest.raises(ConfigError, match=message):
            load(path)


class TestInspect:
    """What does not exist or makes no sense is taken out and told."""

    def test_nothing_wrong(self) -> None:
        """Sections may be nested, and hold lists that were appended to."""
        config = Config({"Outlet": {"path": "p", "Outlet": {"seconds": 2}}})
        config.Outlet.names.append("b")

        assert inspect(config, [Outlet], "") == []

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (
                {"Outlte": {"path": "p"}},
                "x.py: Outlte.path: There is no section 'Outlte'. Did you mean 'Outlet'?",
            ),
            (
                {"Outlet": {"pth": "p"}},
                "x.py: Outlet.pth: There is no option 'pth' of Outlet. Did you mean 'path'? "
                "Known: log, names, path, seconds, token",
            ),
            ({"Outlet": {"Outlet": {"pth": 1}}}, "x.py: Outlet.Outlet.pth: There is no option"),
            ({"path": "p"}, "x.py: path: options stand in the section of a class. Did you mean"),
            ({"Outlet": {"seconds": "soon"}}, "x.py: Outlet.seconds: "),
            ({"Outlet": {"seconds": -1}}, "x.py: Outlet.seconds: "),
            ({"Outlet": {"names": [3]}}, "x.py: Outlet.names: "),
            ({"Outlet": {"path": "a b"}}, "x.py: Outlet.path: a path has no blanks"),
        ],
    )
    def test_one_problem(self, config: dict[str, Any], message: str) -> None:
        """Each begins with where it comes from."""
        (problem,) = problems_of(config)

        assert problem.startswith(message.replace("log, ", ""))

    def test_all_problems_at_once(self) -> None:
        """One pass finds every one, and leaves what is right."""
        config = Config({"Outlet": {"pth": 1, "seconds": -1, "path": "p"}, "Nope": {"x": 1}})

        problems = inspect(config, [Outlet], "")

        assert len(problems) == 3
        assert config.Outlet == {"path": "p"}

    def test_options_are_named_once(self) -> None:
        """Also where the message of an option begins with its name."""
        config = Config({"OpenLineageTarget": {"namespace": "{host}"}})

        (problem,) = inspect(config, [OpenLineageTarget], "")

        assert problem.startswith("OpenLineageTarget.namespace knows no {host}")

    def test_reading_an_option_is_no_mistake(self) -> None:
        """Traitlets leaves a trace of what a file only looked at."""
        config = Config()
        _ = config.Outlet.whatever

        assert inspect(config, [Outlet], "") == []

    def test_secrets_are_wrapped(self) -> None:
        """From then on no one can print them by accident."""
        config = Config({"Outlet": {"token": CANARY, "Outlet": {"token": CANARY}}})

        inspect(config, [Outlet], "")

        assert CANARY not in repr(config)
        assert config.Outlet.token == SecretText(CANARY)

    def test_wrong_secret_is_not_shown(self) -> None:
        """Only its name is."""
        (problem,) = problems_of({"Outlet": {"token": [CANARY]}})

        assert "Outlet.token" in problem
        assert CANARY not in problem


class TestShow:
    """What `--show-config` prints."""

    @pytest.fixture
    def config(self) -> Config:
        config = Config({"Outlet": {"path": f"https://me:{CANARY}@host", "token": CANARY}})
        config.Outlet.names = ["a", Outlet]
        config.Nested.Outlet.token = CANARY
        inspect(config, [Outlet, type("Nested", (Outlet,), {})], "")
        config.Outlet.names = ["a", Outlet]
        return config

    def test_text(self, config: Config) -> None:
        """Section by section, sorted."""
        assert as_text(config).splitlines() == [
            "Nested.Outlet",
            f"  .token = '{MASK}'",
            "Outlet",
            f"  .names = ['a', '{__name__}.Outlet']",
            f"  .path = 'https://{MASK}@host'",
            f"  .token = '{MASK}'",
        ]

    def test_json(self, config: Config) -> None:
        """The same, for programs."""
        assert json.loads(as_json(config))["Outlet"] == {
            "names": ["a", f"{__name__}.Outlet"],
            "path": f"https://{MASK}@host",
            "token": MASK,
        }


def test_is_set() -> None:
    """Empty is not set."""
    config = Config({"Outlet": {"path": "p", "token": ""}})

    assert [
        is_set(config, *where.split(".")) for where in ("Outlet.path", "Outlet.token", "No.x")
    ] == [
        True,
        False,
        False,
    ]
