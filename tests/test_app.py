"""The application: what people type, and what they get to see."""

from __future__ import annotations

import importlib
import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from traitlets import Unicode
from traitlets.config import Configurable

import flytelineage
from flytelineage import options
from flytelineage.app import FlyteLineage
from flytelineage.commands import COMMANDS
from flytelineage.errors import AdminUnavailable, ConfigError
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.options import MASK, SOURCES, TARGETS, Secret
from flytelineage.sources import Message, Source
from flytelineage.targets import Rejection, Target
from tests.conftest import Run

CANARY = "canary-4f81d2"
ROOT = Path(__file__).parent.parent


class Idle(Source):
    """Has no messages, and when it is asked for some, somebody stops the program."""

    queue = Unicode("", help="Which.").tag(config=True)
    region = Unicode("", help="Where.").tag(config=True)
    asked = False

    def receive(self) -> list[Message]:
        if not self.asked:  # a second signal would end more than the program
            self.asked = True
            os.kill(os.getpid(), signal.SIGTERM)
        return []

    def delete(self, messages: Any) -> None:
        raise AssertionError("nothing came")

    def describe(self) -> str:
        return f"queue {self.queue} in {self.region}"


class Catalogue(Target):
    """A catalogue with a password, whose client puts it into its messages."""

    token = Secret(help="Who we are.").tag(config=True)

    def emit_lineage(self, lineage: Any) -> list[Rejection]:
        return []

    def check(self) -> None:
        raise RuntimeError(f"bad header {self.token.reveal()}")


def unavailable(admin: FlyteAdmin) -> None:
    raise AdminUnavailable("it sleeps")


def misconfigured(admin: FlyteAdmin) -> None:
    raise ConfigError("set FlyteAdmin.client_id")


IDLE = f"--FlyteLineage.source={__name__}.Idle"
UNWATCHED = "--FlyteLineage.http_port=0"  # tests run side by side
CATALOGUE = f"--targets={__name__}.Catalogue"


def all_classes() -> list[type[Configurable]]:
    return FlyteLineage().all_classes()


class TestHelp:
    """What the program says of itself."""

    def test_version(self, run: Run) -> None:
        """The number alone, for scripts."""
        assert run("--version") == (0, f"{flytelineage.__version__}\n", "")

    def test_help(self, run: Run) -> None:
        """All commands and the options that matter fit on a screen."""
        ended = run("--help")

        assert ended.code == 0
        assert len(ended.out.splitlines()) < 60
        assert all(f"\n  {name} " in ended.out for name in COMMANDS)
        assert "--sqs-queue" in ended.out

    @pytest.mark.parametrize("name", COMMANDS)
    @pytest.mark.parametrize("words", [("--help",), ("-h",)])
    def test_help_of_a_command(self, run: Run, name: str, words: tuple[str, ...]) -> None:
        """It begins with its usage and leaves out what does not concern it."""
        ended = run(name, *words)

        assert ended.out.startswith(f"Usage: flytelineage {name}")
        assert "--sqs-queue" not in ended.out
        assert run("help", name) == ended

    def test_help_all_shows_every_option(self, run: Run) -> None:
        """Of the application, its parts, and all that is installed."""
        shown = run("--help-all").out

        assert [
            f"{cls.__name__}.{name}"
            for cls in all_classes()
            for name in cls.class_trait_names(config=True)
            if f"--{cls.__name__}.{name}=" not in shown
        ] == []

    @pytest.mark.parametrize("words", [("--help",), ("replay", "--help"), ("--version",)])
    def test_help_imports_next_to_nothing(self, words: tuple[str, ...]) -> None:
        """So that it is there before anybody wonders."""
        script = (
            "import atexit, sys; from flytelineage.app import main;"
            f"atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main({words!r})"
        )

        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
        )

        slow = {"boto3", "sqlalchemy", "google", "pydantic", "pyarrow", "flytelineage.daemon"}
        assert slow & set(ended.stderr.split()) == set()

    def test_help_is_quick(self) -> None:
        """Under 0.6 seconds, the whole process; the best of three on a busy machine."""
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "flytelineage", "--help"],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            seconds.append(time.perf_counter() - began)

        assert min(seconds) < 0.6


class TestOptions:
    """Which options there are."""

    def test_every_option_says_what_it_is_for(self) -> None:
        """And shows a line to copy."""
        poor = [
            f"{cls.__name__}.{name}"
            for cls in all_classes()
            if cls.__module__.startswith("flytelineage")
            for name, trait in cls.class_own_traits(config=True).items()
            if len(trait.help) < 40
            or not ("Example" in trait.help or f"c.{cls.__name__}." in trait.help)
        ]

        assert poor == []

    def test_no_class_with_options_is_forgotten(self) -> None:
        """Whatever can be configured is known, so that `--help-all` lists it."""
        known = {parent for cls in all_classes() for parent in cls.mro()}
        forgotten = {
            f"{module.__name__}.{value.__name__}"
            for module in modules()
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Configurable)
            and value.__module__ == module.__name__
            and value.class_trait_names(config=True)
            and value not in known
        }

        assert forgotten == set()

    def test_defaults(self) -> None:
        """It works before any catalogue is configured."""
        app = FlyteLineage()

        assert (app.aws_region, app.targets, app.emit) == ("us-east-1", ["file"], True)
        assert app.log_level == logging.INFO

    def test_http_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Loopback, or what the image says; what is configured goes before both."""
        monkeypatch.delenv("FLYTELINEAGE_HTTP_HOST", raising=False)
        bare = FlyteLineage().http_host
        monkeypatch.setenv("FLYTELINEAGE_HTTP_HOST", "0.0.0.0")

        assert (bare, FlyteLineage().http_host) == ("127.0.0.1", "0.0.0.0")
        assert FlyteLineage(http_host="::1").http_host == "::1"

    def test_log_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Whatever collects logs gets objects, from the first line on."""
        FlyteLineage(log_json=True).log.warning("One of %d", 2)
        FlyteLineage(log_json=False).log.warning("Two of %d", 2)

        first, second = capsys.readouterr().err.splitlines()
        assert json.loads(first)["message"] == "One of 2"
        assert second.endswith("WARNING Two of 2")

    def test_log_json_to_the_end(self, run: Run) -> None:
        """What ends the daemon is an object, too; a command answers people."""
        daemon = run("--FlyteLineage.log_json=True")
        command = run("export", "a/b/c", "--FlyteLineage.log_json=True")

        assert (daemon.code, command.code) == (1, 1)
        last = json.loads(daemon.err.splitlines()[-1])
        assert last["level"] == "CRITICAL"
        assert last["message"].startswith("No queue is configured")
        assert command.err.splitlines()[-1].startswith("flytelineage: error: ")

    def test_file_and_command_line(self, run: Run, tmp_path: Path) -> None:
        """The command line wins, option by option."""
        (tmp_path / "flytelineage_config.py").write_text(
            "c.FlyteLineage.sqs_queue = 'a'\nc.FlyteLineage.instance = 'emea'\n"
        )

        shown = json.loads(run("--show-config-json", "--sqs-queue=b").out)

        assert shown == {"FlyteLineage": {"sqs_queue": "b", "instance": "emea"}}

    def test_json_file(self, run: Run, tmp_path: Path) -> None:
        """Where the `.py` file is missing, its sibling is read."""
        (tmp_path / "flytelineage_config.json").write_text('{"FileTarget": {"path": "x"}}')

        assert "FileTarget\n  .path = 'x'" in run("status", "--show-config").out

    def test_options_before_the_command(self, run: Run) -> None:
        """As some are used to."""
        assert run("--debug", "replay", "--help").out.startswith("Usage: flytelineage replay")

    def test_subclass_has_a_section_of_its_own(self, run: Run, tmp_path: Path) -> None:
        """Two catalogues of one kind."""
        (tmp_path / "c.py").write_text(
            "from flytelineage.targets.file import FileTarget\n"
            "class Stage(FileTarget):\n    '''Another one.'''\n"
            "c.FlyteLineage.targets = ['file', Stage]\n"
            "c.Stage.path = 'stage.jsonl'\n"
        )

        ended = run("check", "--config=c.py", "--sqs-queue=q")

        assert ended.code == 0
        assert "target Stage: Stage" in ended.out

    def test_example_file_loads_clean(self, run: Run) -> None:
        """As it stands, and with every line of it switched on."""
        example = (ROOT / "flytelineage_config.py").read_text()
        lines = example.replace("\n# c.", "\nc.").replace("\n# from", "\nfrom")
        lines = lines.replace("\n# class", "\nclass").replace('\n#     """D', '\n    """D')
        Path("all.py").write_text(lines)
        Path("flytelineage_config.py").write_text(example)

        assert run("--show-config").out.splitlines()[1:] == ["# no option is set"]
        assert run("--show-config", "--config=all.py").err == ""
        assert lines.count("\nc.") > 10


class TestGeneratedConfig:
    """`--generate-config` writes every option, commented out."""

    def test_it_is_written_and_loads(self, run: Run, tmp_path: Path) -> None:
        """With the sections of all that is installed."""
        ended = run("--generate-config")
        text = (tmp_path / "flytelineage_config.py").read_text()

        assert (ended.code, ended.err) == (0, "")
        assert all(
            f"# c.{cls.__name__}." in text
            for cls in all_classes()
            if cls.class_trait_names(config=True)
        )
        assert run("check", "--sqs-queue=q").code == 0

    def test_existing_file_is_kept(self, run: Run, tmp_path: Path) -> None:
        """Nobody loses a configuration by a key too many."""
        (tmp_path / "mine.py").write_text("# mine")

        ended = run("--generate-config", "--config=mine.py")

        assert ended.code == 1
        assert "mine.py exists and was kept" in ended.err
        assert (tmp_path / "mine.py").read_text() == "# mine"

    def test_existing_file_is_replaced_by_those_who_agree(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At a terminal it asks."""
        (tmp_path / "mine.py").write_text("# mine")
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda question: "y")

        ended = run("--generate-config", "--config=mine.py")

        assert (ended.code, ended.out) == (0, "Wrote mine.py: every option, commented out\n")
        assert "c.FlyteLineage" in (tmp_path / "mine.py").read_text()

    def test_it_is_python(self, run: Run, tmp_path: Path) -> None:
        """Under another name it could not be read again."""
        ended = run("--generate-config", "--config=mine.json")

        assert (ended.code, ended.out) == (1, "")
        assert "give mine.json a name that ends in .py" in ended.err
        assert list(tmp_path.iterdir()) == []

    def test_it_can_be_printed(self, run: Run) -> None:
        """With `-` for a name."""
        assert "# c.FlyteLineage.sqs_queue = ''" in run("--generate-config", "--config=-").out


MISTAKES = {
    "file that was named": ("--config=nowhere.py", "nowhere.py does not exist"),
    "the same, in full": ("--FlyteLineage.config_file=no.py", "no.py does not exist"),
    "alias": (
        "--targetz=file",
        "There is no option --targetz. Did you mean '--targets'? Known: --",
    ),
    "alias of nobody": ("--x=1", "There is no option --x"),
    "option of a class": ("--FileTarget.pth=x", "Did you mean 'path'? Known: path"),
    "class": ("--FileTargt.path=x", "There is no section 'FileTargt'. Did you mean 'FileTarget'?"),
    "no class": ("--file.path=x", "'file' is no class"),
    "target": (
        "--targets=datahbu",
        "Did you mean 'datahub'? Installed: datahub, file, glue, openlineage",
    ),
    "source": ("--FlyteLineage.source=sqss", "Did you mean 'sqs'? Installed: file, sqs"),
    "transform": ("--FlyteLineage.transforms=x", "There is no transform 'x'. Installed:"),
    "dotted path": ("--targets=no.such.Target", "cannot be loaded: ModuleNotFoundError"),
    "class that is no target": ("--targets=pathlib.Path", "is not a target"),
    "value": ("--FlyteLineage.emit=maybe", "--FlyteLineage.emit: "),
    "level": ("--log-level=loud", "DEBUG, INFO, WARNING, ERROR, CRITICAL or a number"),
    "instance": ("--FlyteLineage.instance=a.b", "FlyteLineage.instance: it is a part of ids"),
    "two values": ("--FlyteLineage.instance=a --FlyteLineage.instance=b", "takes one value"),
    "no value": ("--sqs-queue", "expected one argument"),
    "command": (
        "statsu",
        "There is no command 'statsu'. Did you mean 'status'? Commands: backfill, check",
    ),
    "command in the wrong place": ("--sqs-queue q replay", "Write the command first"),
}


class TestMistakes:
    """Each is one line that names it, and exit code 1, before anything is consumed."""

    @pytest.mark.parametrize("case", MISTAKES)
    def test_on_the_command_line(self, run: Run, tmp_path: Path, case: str) -> None:
        """It says what there is."""
        words, message = MISTAKES[case]

        ended = run(*words.split())

        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("flytelineage: error: ")
        assert message in ended.err
        assert len(ended.err.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("c.FlyteLineage.targetz = ['file']", "Did you mean 'targets'?"),
            ("c.FlyteLinage.targets = ['file']", "Did you mean 'FlyteLineage'?"),
            ("c.targets = ['file']", "Did you mean FlyteLineage.targets?"),
            ("c.FlyteLineage.targets = 'file'", "FlyteLineage.targets: "),
            ("c.FlyteLineage.targets.append('fiel')", "Did you mean 'file'?"),
            ("c.Daemon.pollers = 0", "Daemon.pollers: "),
            ("c.Daemon.pollers = ", "line 1: invalid syntax"),
            ("1 / 0", "line 1: ZeroDivisionError"),
            ("load_subconfig('nowhere.py')", "which does not exist"),
        ],
    )
    @pytest.mark.parametrize("name", ["flytelineage_config.py", "other.py"])
    def test_in_the_file(
        self, run: Run, tmp_path: Path, name: str, line: str, message: str
    ) -> None:
        """Whether it was named or found."""
        (tmp_path / name).write_text(line)

        ended = run("--sqs-queue=q", *([] if "config" in name else [f"--config={name}"]))

        assert ended.code == 1
        assert message in ended.err
        assert ended.err.count("\n") == 1

    def test_several_at_once(self, run: Run) -> None:
        """The first is told, and how to see the others."""
        ended = run("--FileTarget.a=1", "--FileTarget.b=2", "--FileTarget.c=3")

        assert "(and 2 more: flytelineage check lists them)" in ended.err

    def test_no_queue(self, run: Run) -> None:
        """The usage, and where to begin."""
        ended = run()

        assert ended.code == 1
        assert "--sqs-queue" in ended.err
        assert "flytelineage demo" in ended.err

    def test_target_twice(self, run: Run) -> None:
        """Its deliveries could not be told apart."""
        assert "file is listed twice" in run("--sqs-queue=q", "--targets=file,FILE").err

    def test_no_target(self, run: Run) -> None:
        """That is allowed, and surely worth a note."""
        ended = run("check", "--sqs-queue=q", "--targets=")

        assert ended.code == 0
        assert "note     FlyteLineage.targets is empty: nobody is told\n" in ended.out

    def test_option_is_named_once(self, run: Run) -> None:
        """Also where the message about its value names it too."""
        ended = run("--sqs-queue=q", "--ObjectReader.allow=/data")

        assert ended.err.count("ObjectReader.allow") == 1

    def test_broken_plugin_of_others(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """One that is installed and not used stops nobody."""

        class Broken:
            name, value = "broken", "no.such:Thing"

        monkeypatch.setattr(options, "entry_points", lambda group: [Broken])
        for group in (SOURCES, TARGETS):
            monkeypatch.delitem(vars(group), "installed", raising=False)

        ended = run("check", "--sqs-queue=q", "--debug")

        for group in (SOURCES, TARGETS):
            monkeypatch.delitem(vars(group), "installed", raising=False)
        assert ended.code == 0
        assert "Passing over a broken plugin" in ended.err

    def test_traceback_only_for_those_who_ask(self, run: Run) -> None:
        """One line for operators, all of it with `--debug`."""
        plain, debug = run("--config=no.py"), run("--config=no.py", "--debug")

        assert "Traceback" not in plain.err
        assert "Traceback" in debug.err
        assert debug.err.splitlines()[-1] == plain.err.splitlines()[-1]


DEMO_RUNS = ((), (f"--Catalogue.token={CANARY}",), ("--log-level=loud",))


class TestSecrets:
    """A token is nowhere to be seen: not in dumps, not in logs, not in errors."""

    @pytest.mark.parametrize("command", [None, *COMMANDS])
    @pytest.mark.parametrize(
        "words",
        [
            ("--show-config",),
            ("--show-config-json",),
            ("--help-all",),
            ("--generate-config", "--config=-"),
            ("--Catalogue.tokn=1",),
            (f"--Catalogue.token={CANARY}",),
            ("--log-level=loud",),
            ("--connect",),
            (),
        ],
    )
    @pytest.mark.parametrize("place", ["file", "command line"])
    def test_canary(
        self, run: Run, tmp_path: Path, command: str | None, words: tuple[str, ...], place: str
    ) -> None:
        """Whatever the command, whatever goes wrong, and wherever it was given."""
        if command == "demo" and words in DEMO_RUNS:
            pytest.skip("it takes its time, and its own tests look")
        given = f"--Catalogue.token={CANARY}"
        if place == "file":
            (tmp_path / "c.py").write_text(f"c.Catalogue.token = '{CANARY}'\n")
            given = "--config=c.py"

        ended = run(*filter(None, [command]), CATALOGUE, given, "--debug", *words)

        assert CANARY not in ended.out + ended.err

    def test_mask_is_shown_in_its_place(self, run: Run) -> None:
        """So that one sees that something is set."""
        ended = run("--show-config", CATALOGUE, f"--Catalogue.token={CANARY}")

        assert f"Catalogue\n  .token = '{MASK}'" in ended.out

    @pytest.mark.parametrize("words", [("--show-config",), ("--show-config-json",), ()])
    def test_nested_section(self, run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
        """A section inside of a section is one too."""
        (tmp_path / "c.py").write_text(f"c.FlyteLineage.Catalogue.token = '{CANARY}'\n")
        given = f"--FlyteLineage.Catalogue.token={CANARY}"

        shown = [run(CATALOGUE, one, "--debug", *words) for one in (given, "--config=c.py")]

        assert [ended for ended in shown if CANARY in ended.out + ended.err] == []

    @pytest.mark.parametrize("line", ["c.Catalogue.token = '{}' + 1", "c.Catalogue.token = '{}"])
    def test_line_of_a_file_that_fails(self, run: Run, tmp_path: Path, line: str) -> None:
        """Python's traceback would quote it."""
        (tmp_path / "c.py").write_text(line.format(CANARY))

        ended = run("--config=c.py", "--debug")

        assert "c.py, line 1: " in ended.err
        assert CANARY not in ended.err

    def test_store_url_is_one(self, run: Run) -> None:
        """It holds a password, which no driver's message gives away."""
        url = f"postgresql://me:{CANARY}@localhost:1/x"

        ended = run("check", "--connect", "--sqs-queue=q", "--debug", f"--Store.url={url}")

        assert ended.code == 1
        assert CANARY not in ended.out + ended.err

    def test_wrong_secret_in_a_file(self, run: Run, tmp_path: Path) -> None:
        """One of the wrong type is not shown either."""
        (tmp_path / "c.py").write_text(f"c.Catalogue.token = ['{CANARY}']\n")

        ended = run("--config=c.py", CATALOGUE, "--debug")

        assert "Catalogue.token" in ended.err
        assert CANARY not in ended.err


class TestDaemon:
    """Without a command it runs until it is told to stop."""

    def test_it_starts_and_stops(self, run: Run, tmp_path: Path) -> None:
        """One line says from where to where; SIGTERM ends it with 0."""
        ended = run(IDLE, UNWATCHED, "--sqs-queue=flyte-events", "--aws-region=eu-west-1")

        assert (ended.code, ended.out) == (0, "")
        (start,) = [line for line in ended.err.splitlines() if " from " in line]
        assert "from queue flyte-events in eu-west-1" in start
        assert f"through SQLite {tmp_path}/flytelineage.sqlite3 to file" in start
        assert "guessed" in start
        assert (tmp_path / "flytelineage.sqlite3").exists()

    def test_with_a_flyteadmin(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is asked for names; that it is away stops nobody, and is said."""
        monkeypatch.setattr(FlyteAdmin, "check", unavailable)

        ended = run(IDLE, UNWATCHED, "--sqs-queue=q", "--FlyteAdmin.endpoint=flyte.example.com")

        assert ended.code == 0
        assert "FlyteAdmin is away, will ask again; executions wait for their" in ended.err
        assert "up to Daemon.admin_patience: it sleeps" in ended.err
        assert "FlyteAdmin at flyte.example.com is asked for names" in ended.err
        assert "guessed" not in ended.err

    def test_a_flyteadmin_that_can_never_work(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Names told meanwhile would be wrong for good, so it does not start."""
        monkeypatch.setattr(FlyteAdmin, "check", misconfigured)

        ended = run(IDLE, UNWATCHED, "--sqs-queue=q", "--FlyteAdmin.endpoint=flyte.example.com")

        assert (ended.code, "set FlyteAdmin.client_id" in ended.err) == (1, True)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("words", [(), ("--FlyteAdmin.endpoint=flyte.example.com",)])
    def test_no_client_is_loaded_before_it_is_needed(self, words: tuple[str, ...]) -> None:
        """Without an endpoint nothing is any different."""
        script = (
            "import sys; from flytelineage.app import FlyteLineage;"
            f"app = FlyteLineage(); app.initialize({list(words)!r});"
            "admin = app.build_admin();"
            "print(admin is not None, {'grpc', 'flytekit'} & set(sys.modules))"
        )

        told = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)

        assert told == f"{bool(words)} set()\n"

    def test_emit_off(self, run: Run) -> None:
        """The start line says that nobody is told, and how to change that."""
        assert (
            "emit is off" in run(IDLE, UNWATCHED, "--sqs-queue=q", "--FlyteLineage.emit=False").err
        )

    def test_state_dir(self, run: Run, tmp_path: Path) -> None:
        """The store lies there."""
        (tmp_path / "state").mkdir()

        run(IDLE, UNWATCHED, "--sqs-queue=q", "--FlyteLineage.state_dir=state")

        assert (tmp_path / "state" / "flytelineage.sqlite3").exists()

    def test_options_of_the_source_come_first(self, run: Run) -> None:
        """Whoever sets them on the source means it."""
        ended = run(
            IDLE, UNWATCHED, "--sqs-queue=q", "--Idle.region=us-west-2", "--Idle.queue=mine"
        )

        assert "queue mine in us-west-2" in ended.err

    @pytest.mark.parametrize("pattern", ["a//b", "/x"])
    def test_pattern_that_is_none(self, run: Run, pattern: str) -> None:
        """A glob with empty parts would match nothing, silently."""
        ended = run(IDLE, UNWATCHED, "--sqs-queue=q", f"--FlyteLineage.include={pattern}")

        assert (ended.code, "FlyteLineage.include" in ended.err) == (1, True)


def test_module_runs() -> None:
    """`python -m flytelineage` is the same program."""
    ended = subprocess.run(
        [sys.executable, "-m", "flytelineage", "--version"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert ended.stdout.strip() == flytelineage.__version__


def test_missing_requirements() -> None:
    """Where flytelineage was installed alone, the command says what to install."""
    script = "import sys; sys.modules['traitlets'] = None; import flytelineage.__main__ as m; sys.exit(m.main())"

    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert ended.returncode == 1
    assert ended.stderr == (
        "flytelineage: error: traitlets is not installed. Type: pip install 'flytelineage[all]'\n"
    )


def modules() -> list[Any]:
    """All modules of ours."""
    found = pkgutil.walk_packages(flytelineage.__path__, "flytelineage.")
    skipped = ("flytelineage.migrations", "flytelineage.testing", "flytelineage.__main__")
    return [importlib.import_module(m.name) for m in found if not m.name.startswith(skipped)]
