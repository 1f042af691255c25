"""The application: options, commands, assembly.

It only puts parts together. Nothing imports it, and until parts are needed it imports
none of them, so that `--help` stays quick.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from traitlets import Bool, Integer, List, TraitError, Unicode, default, validate
from traitlets.config import Config, Configurable

from flytelineage import __version__, commands
from flytelineage.commands import COMMANDS, Command
from flytelineage.errors import AdminUnavailable, ConfigError, FlyteLineageError, StuckError
from flytelineage.logs import LogLevel
from flytelineage.options import SOURCES, TARGETS, TRANSFORMS, Plugin, PluginGroup, Plugins
from flytelineage.signals import StopSignals
from flytelineage.strict import StrictApplication

if TYPE_CHECKING:
    from flytelineage.daemon import Daemon
    from flytelineage.flyteadmin import FlyteAdmin
    from flytelineage.sources import Source
    from flytelineage.store import Store
    from flytelineage.targets import Target
    from flytelineage.transforms import Transform

PARTS = (
    "flytelineage.daemon:Daemon",
    "flytelineage.collect:Collector",
    "flytelineage.builder:LineageBuilder",
    "flytelineage.describer:Describer",
    "flytelineage.objects:ObjectReader",
    "flytelineage.flyteadmin:FlyteAdmin",
    "flytelineage.store:Store",
)
"""What has options besides the application, the commands and the plugins."""

GUESSED_NAMES = (
    "FlyteAdmin is not asked for names: a workflow's name comes from the launch plan in "
    "cloud events of version 2, else it is guessed from the module of its tasks, which "
    "joins the workflows of one module. Set FlyteAdmin.endpoint for the true ones"
)


class FlyteLineage(StrictApplication):
    """Turns the events that FlyteAdmin publishes into data lineage.

    Without a command it runs as a daemon: it takes events from a queue and tells data
    catalogues which workflow ran, and which datasets each of its tasks read and wrote.
    """

    name = "flytelineage"
    version = __version__
    examples = """
        flytelineage demo
        flytelineage --generate-config
        flytelineage check --connect
        flytelineage --sqs-queue=flyte-events --targets=datahub,glue
    """

    aws_region = Unicode(
        "us-east-1",
        help="""
        The AWS region of the queue and of the Glue Data Catalog. Change it to where your
        Flyte deployment runs.

        Example: c.FlyteLineage.aws_region = "eu-central-1"
        """,
    ).tag(config=True)

    sqs_queue = Unicode(
        "",
        help="""
        The SQS queue that receives FlyteAdmin's events: its name or its URL. Credentials
        are found as boto3 finds them. Without a queue the daemon does not start.

        Example: c.FlyteLineage.sqs_queue = "flyte-events"
        """,
    ).tag(config=True)

    topics = List(
        Unicode(),
        help="""
        ARNs of the SNS topics whose events are taken. Name FlyteAdmin's topic, so that nothing
        else that reaches the queue becomes lineage: a message of another topic, or without an
        SNS envelope, goes to quarantine. Needs raw delivery to be off. Empty takes all.

        Example: c.FlyteLineage.topics = ["arn:aws:sns:eu-central-1:123456789012:flyte-events"]
        """,
    ).tag(config=True)

    # The name hides a class method of traitlets, which nothing here needs.
    instance = Unicode(  # type: ignore[assignment]
        "",
        help="""
        A name for the Flyte deployment, the first part of every id. Needed where several
        deployments tell one catalogue; choose it before the first run, since ids cannot
        change later. Empty leaves it out. One store serves one deployment.

        Example: c.FlyteLineage.instance = "emea"
        """,
    ).tag(config=True)

    config_file = Unicode(
        "flytelineage_config.py",
        help="""
        The configuration file, `.py` or `.json`; set on the command line only. A file that
        is named must exist; the default one, or its `.json` sibling, is read if it is in
        the working directory. Empty reads none.

        Example: --FlyteLineage.config_file=/etc/flytelineage/config.py
        """,
    ).tag(config=True)

    source = Plugin(
        SOURCES,
        default_value="sqs",
        help="""
        Where events come from. Change it to read recorded messages, or to use a source of
        your own: a subclass of `flytelineage.sources.Source`.

        Example: c.FlyteLineage.source = "my_package.sources.KafkaSource"
        """,
    ).tag(config=True)

    targets = Plugins(
        TARGETS,
        default_value=["file"],
        help="""
        Where lineage goes, all of them at once and independently. The default writes lines
        of JSON, so that it works before any catalogue is configured. Two targets of one
        class: subclass it in the configuration file and list the subclass, which then has
        a section of its own. Empty builds lineage and tells nobody.

        Example: c.FlyteLineage.targets = ["datahub", "glue"]
        """,
    ).tag(config=True)

    transforms = Plugins(
        TRANSFORMS,
        help="""
        What changes lineage before targets are told, in this order. Needed to add owners
        or tags, to rename or to leave out. Empty tells it as it was found.

        Example: c.FlyteLineage.transforms = ["my_package.transforms.AddOwners"]
        """,
    ).tag(config=True)

    include = List(
        Unicode(),
        help="""
        Globs of `project/domain/workflow` that are taken; a shorter one stands for all that
        is below it. Empty takes everything.

        Example: c.FlyteLineage.include = ["shop/production"]
        """,
    ).tag(config=True)

    exclude = List(
        Unicode(),
        help="""
        Globs of `project/domain/workflow` that are left out of what is included. Of an
        excluded project or domain nothing is stored; an excluded workflow is built, so
        that others find what it wrote, and not told. Empty leaves out nothing.

        Example: c.FlyteLineage.exclude = ["*/development", "shop/*/test.*"]
        """,
    ).tag(config=True)

    emit = Bool(
        True,
        help="""
        Whether targets are told. Set it to False to look first at what would be told:
        lineage is built and held, `status` counts it, and the daemon tells just what
        `retry --held` asks for.

        Example: c.FlyteLineage.emit = False
        """,
    ).tag(config=True)

    state_dir = Unicode(
        ".",
        help="""
        The directory of the SQLite store, which must exist, on a local disk that survives a
        restart. Has no effect where `Store.path` or `Store.url` is set.

        Example: c.FlyteLineage.state_dir = "/var/lib/flytelineage"
        """,
    ).tag(config=True)

    log_level = LogLevel(
        logging.INFO,
        help="""
        What is logged: DEBUG, INFO, WARNING, ERROR, CRITICAL or a number. INFO gives a line
        per execution and outcome. Libraries keep to warnings.

        Example: c.FlyteLineage.log_level = "DEBUG"
        """,
    ).tag(config=True)

    log_format = Unicode(
        "%(asctime)s %(levelname)-7s %(message)s",
        help="""
        The format of a log line, with the attributes of Python's LogRecord.

        Example: c.FlyteLineage.log_format = "%(levelname)s %(threadName)s %(message)s"
        """,
    ).tag(config=True)

    log_datefmt = Unicode(
        "%Y-%m-%dT%H:%M:%SZ",
        help="""
        The format of the time in a log line, as for `time.strftime`; the time is UTC.

        Example: c.FlyteLineage.log_datefmt = "%H:%M:%S"
        """,
    ).tag(config=True)

    log_json = Bool(
        False,
        help="""
        Log objects of JSON, one a line, for whatever collects logs: time, level, logger,
        message and thread, and where a message has them execution, target, node, attempt,
        seconds, action, message_id and exception. `log_format` then has no effect.

        Example: c.FlyteLineage.log_json = True
        """,
    ).tag(config=True)

    http_host = Unicode(
        "127.0.0.1",
        help="""
        The address on which probes, metrics and the status page are served. Nobody has to
        sign in, so open it only where strangers cannot reach it: 0.0.0.0 for all addresses,
        :: for those of IPv6 too. Where the environment variable FLYTELINEAGE_HTTP_HOST is
        set, as in the image, that is the default.

        Example: c.FlyteLineage.http_host = "0.0.0.0"
        """,
    ).tag(config=True)

    http_port = Integer(
        8917,
        min=0,
        max=65_535,
        help="""
        The port of probes, metrics and the status page. Change it where several daemons run
        on one machine. 0 serves nothing.

        Example: c.FlyteLineage.http_port = 9100
        """,
    ).tag(config=True)

    generate_config = Bool(
        False,
        help="""
        Write a configuration file that lists every option, commented out, and exit. Its name
        is that of `config_file`; `-` prints it. A file that exists is kept unless you agree.

        Example: --generate-config --config=production.py
        """,
    ).tag(config=True)

    aliases = {
        "sqs-queue": ("FlyteLineage.sqs_queue", "the queue to take events from: name or URL"),
        "aws-region": ("FlyteLineage.aws_region", "where the queue is; us-east-1 by default"),
        "targets": (
            "FlyteLineage.targets",
            "where lineage goes, e.g. datahub,glue; file by default",
        ),
        "config": ("FlyteLineage.config_file", "the configuration file, .py or .json"),
        "log-level": ("FlyteLineage.log_level", "DEBUG, INFO, WARNING or ERROR"),
    }
    flags = {
        "debug": (
            {"FlyteLineage": {"log_level": logging.DEBUG}},
            "log all that is done, and show the traceback of an error",
        ),
        "show-config": (
            {"FlyteLineage": {"show_config": True}},
            "show the options that are set, secrets masked, and exit",
        ),
        "show-config-json": (
            {"FlyteLineage": {"show_config_json": True}},
            "the same as JSON",
        ),
        "generate-config": (
            {"FlyteLineage": {"generate_config": True}},
            "write a configuration file with every option, and exit",
        ),
    }
    subcommands = {name: (entry.path, entry.summary) for name, entry in COMMANDS.items()}

    @default("http_host")
    def _http_host_default(self) -> str:
        return os.environ.get("FLYTELINEAGE_HTTP_HOST") or "127.0.0.1"

    @validate("topics")
    def _check_topics(self, proposal: Mapping[str, Any]) -> list[str]:
        for topic in proposal["value"]:
            if not re.fullmatch(r"arn:aws[\w-]*:sns:[\w-]+:\d{12}:[\w-]{1,256}", topic):
                raise TraitError(f"FlyteLineage.topics: {topic!r} is no ARN of a standard topic")
        return list(proposal["value"])

    @validate("instance")
    def _check_instance(self, proposal: Mapping[str, Any]) -> str:
        # It stands before a dot or a slash in ids, so it may hold neither.
        if proposal["value"] and not re.fullmatch(r"[A-Za-z0-9][\w-]{0,62}", proposal["value"]):
            raise TraitError(
                "it is a part of ids: up to 63 letters, digits, - and _, a letter or digit first"
            )
        return str(proposal["value"])

    # ------------------------------------------------------------- what has options

    def load_command(self, name: str) -> type[Command]:
        """The command's class, imported now."""
        return commands.load(name)

    def all_classes(self) -> list[type[Configurable]]:
        """Parts, installed plugins and commands; what cannot be imported is passed over."""
        parts = [_imported(path) for path in PARTS]
        plugins = [
            cls for group in (SOURCES, TRANSFORMS, TARGETS) for cls in group.classes(self.log)
        ]
        return [type(self), *parts, *plugins, *commands.classes(self.log)]

    def used_classes(self) -> Iterator[type[Configurable]]:
        """The classes of the plugins that are named; one that is none is a problem."""
        named = [
            (SOURCES, "source", [self.source]),
            (TRANSFORMS, "transforms", self.transforms),
            (TARGETS, "targets", self.targets),
        ]
        for group, trait, plugins in named:
            for plugin in plugins:
                try:
                    yield group.load(plugin)
                except ConfigError as exc:
                    self.problems.append(f"FlyteLineage.{trait}: {exc}")

    # ----------------------------------------------------------------- what it does

    def start(self) -> int:  # type: ignore[override]
        """Run the command, or else the daemon; returns the exit code."""
        if self.generate_config:
            return self.write_config()
        if self.command is not None:
            command: Command = self.command(parent=self)
            return command.run(self, self.extra_args)
        return self._run_daemon()

    def _run_daemon(self) -> int:
        with StopSignals(self.log) as signals, ExitStack() as parts:
            signals.on_stop(self._leave)  # while parts are set up nothing is in hand
            source = self.build_source()
            parts.callback(source.close)
            targets = self.build_targets()
            for target in targets.values():
                parts.callback(target.close)
            admin = parts.enter_context(self.opened_admin())
            store = parts.enter_context(self.opened_store(exclusive=True))
            daemon = self.build_daemon(source, store, targets, admin)
            # What waits for FlyteAdmin need not be waited for: it is asked again.
            signals.on_stop(daemon.stop, *([admin.close] if admin else []))
            parts.enter_context(self._watched(daemon))
            self.log.info("%s", self._start_line(source, store, targets))
            try:
                left = daemon.run()
            except StuckError as exc:
                self.log.error("%s", exc)
                self._leave(status=1)
            if left:
                self.log.warning(
                    "Waited no longer for %s; what was in hand is done again", ", ".join(left)
                )
                self._leave()
        self.log.info("Stopped")
        return 0

    @contextmanager
    def _watched(self, daemon: Daemon) -> Iterator[None]:
        """Show the daemon on `http_port` until the block ends; on none if it is 0."""
        if not self.http_port:
            yield
            return
        from flytelineage import web

        with web.serve(self.http_host, self.http_port, daemon) as server:
            self.log.info(
                "Health, metrics and a page for people: port %d of %s", server.port, self.http_host
            )
            yield

    def _leave(self, *, status: int = 0) -> NoReturn:
        """End at once: threads that wait for a server would hold the process.

        Nothing is lost by that: what they had in hand is begun anew by whoever is next.
        """
        self.log.info("Stopped")
        logging.shutdown()
        os._exit(status)

    def _start_line(self, source: Source, store: Store, targets: Mapping[str, Target]) -> str:
        told = ", ".join(targets) or "nobody (no targets)"
        held = "" if self.emit else " (emit is off: held until `retry --held`)"
        return (
            f"flytelineage {self.version}: from {source.describe()} "
            f"through {store.describe()} to {told}{held}. {self._names()}"
        )

    def _names(self) -> str:
        admin = self.build_admin()
        if admin is None:
            return GUESSED_NAMES
        return f"FlyteAdmin at {admin.endpoint or admin.config_file} is asked for names"

    @classmethod
    def launch_instance(cls, argv: Sequence[str] | None = None, **_: Any) -> None:
        """Run the program and exit, as traitlets calls it."""
        sys.exit(main(argv))

    # --------------------------------------------------------------------- assembly

    @property
    def warnings(self) -> list[str]:
        """What is in order, but should be known."""
        silent = [] if self.targets else ["FlyteLineage.targets is empty: nobody is told"]
        guessed = [] if self.build_admin() else [GUESSED_NAMES]
        return [*guessed, *silent]

    def with_options(self, options: Mapping[str, Mapping[str, Any]]) -> FlyteLineage:
        """Another program that has these options by class, and none of this one's."""
        return type(self)(config=Config(options))

    def build_source(self, plugin: str | type | None = None, **traits: Any) -> Source:
        """The source that is configured, or another one; not connected.

        Raises:
            ConfigError: No queue is configured.
        """
        source: Source = self._make(SOURCES, plugin or self.source, "source", **traits)
        _fill(source, region=self.aws_region, queue=self.sqs_queue)
        if source.has_trait("queue") and not source.queue:  # type: ignore[attr-defined]
            raise ConfigError(
                "No queue is configured. Usage: flytelineage --sqs-queue=NAME_OR_URL, or set "
                "c.FlyteLineage.sqs_queue in flytelineage_config.py; to see it work without "
                "one: flytelineage demo; for all that there is: flytelineage --help"
            )
        return source

    def build_targets(self) -> dict[str, Target]:
        """The targets by the names under which deliveries are kept; not connected."""
        names = [TARGETS.name_of(plugin) for plugin in self.targets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"FlyteLineage.targets: {', '.join(twice)} is listed twice")
        return {
            name: self.build_target(plugin)
            for name, plugin in zip(names, self.targets, strict=True)
        }

    def build_target(self, plugin: str | type) -> Target:
        """One of the targets; not connected.

        Raises:
            ConfigError: There is none of this name, or its options make no sense.
        """
        target: Target = self._make(TARGETS, plugin, "targets")
        _fill(target, platform_instance=self.instance, aws_region=self.aws_region)
        return target

    def build_admin(self) -> FlyteAdmin | None:
        """FlyteAdmin's client, not connected; `None` where none is configured."""
        from flytelineage.flyteadmin import FlyteAdmin

        admin = FlyteAdmin(parent=self)
        return admin if admin.configured else None

    @contextmanager
    def opened_admin(self) -> Iterator[FlyteAdmin | None]:
        """FlyteAdmin's client until the block ends; that it is away stops nobody.

        Raises:
            ConfigError: Its options cannot work.
        """
        admin = self.build_admin()
        if admin is None:
            yield None
            return
        try:
            try:
                admin.check()
            except AdminUnavailable as exc:
                self.log.warning(
                    "FlyteAdmin is away, will ask again; executions wait for their names up to "
                    "Daemon.admin_patience: %s",
                    exc,
                )
            yield admin
        finally:
            admin.close()

    def build_transforms(self) -> list[Transform]:
        """The transforms in the order in which they are applied."""
        return [self._make(TRANSFORMS, plugin, "transforms") for plugin in self.transforms]

    def build_store(self, **traits: Any) -> Store:
        """The store, not open; a file in `state_dir` unless it says otherwise."""
        from flytelineage.store import Store

        return Store(parent=self, **traits)

    def store_is_new(self, store: Store | None = None) -> bool:
        """Whether nothing is stored yet; unknown, so False, for a database server."""
        store = store or self.build_store()
        return not store.url and not self._file_of(store).exists()

    def _file_of(self, store: Store) -> Path:
        return Path(store.path or Path(self.state_dir, "flytelineage.sqlite3"))

    @contextmanager
    def opened_store(self, *, exclusive: bool = False, **traits: Any) -> Iterator[Store]:
        """The store, open until the block ends; a new one is made only if `exclusive`.

        Raises:
            ConfigError: It cannot be opened, or there is none to look at.
        """
        store = self.build_store(**traits)
        if not exclusive and self.store_is_new(store):
            raise ConfigError(
                f"There is no store at {self._file_of(store)}: run this where the daemon runs, or set "
                "FlyteLineage.state_dir or Store.url as it is set there"
            )
        store.open(exclusive=exclusive)
        try:
            yield store
        finally:
            store.close()

    def build_daemon(
        self,
        source: Source,
        store: Store,
        targets: Mapping[str, Target],
        admin: FlyteAdmin | None = None,
    ) -> Daemon:
        """The three loops over these parts; without `admin` nobody is asked.

        Raises:
            ConfigError: An option of theirs cannot work.
        """
        from flytelineage.daemon import Daemon
        from flytelineage.objects import ObjectReader
        from flytelineage.testing import crash

        daemon = Daemon(
            parent=self,
            source=source,
            store=store,
            targets=targets,
            transforms=self.build_transforms(),
            reader=ObjectReader(parent=self),
            admin=admin,
            instance=self.instance,
            topics=() if source.trusted else self.topics,
            include=self.include,
            exclude=self.exclude,
            emit=self.emit,
        )
        daemon.builder.check()
        if setting := os.environ.get(crash.VARIABLE):
            daemon.on_step = crash.crash_at(setting)
        return daemon

    def _make(self, group: PluginGroup, plugin: Any, trait: str, **traits: Any) -> Any:
        try:
            return group.load(plugin)(parent=self, **traits)
        except TraitError as exc:
            raise ConfigError(f"FlyteLineage.{trait}: {group.name_of(plugin)}: {exc}") from exc


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _fill(part: Configurable, **values: str) -> None:
    """Give a part the application's values for options that it has and nobody set."""
    given = part._find_my_config(part.config)
    for name, value in values.items():
        if part.has_trait(name) and name not in given:
            setattr(part, name, value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; every failure becomes one line on stderr and exit code 1."""
    app = FlyteLineage()
    try:
        app.initialize(argv)
        return app.start() or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _reader_has_gone()
    except (FlyteLineageError, TraitError) as exc:
        return _failed(app, exc, " ".join(str(exc).split()))
    except ModuleNotFoundError as exc:
        return _failed(app, exc, f"{exc}. Type: pip install 'flytelineage[all]'")
    except Exception as exc:
        text = f"{type(exc).__name__}: {' '.join(str(exc).split())}"
        return _failed(app, exc, f"{text} (this is a mistake in flytelineage; --debug shows more)")


def _failed(app: FlyteLineage, exc: Exception, text: str) -> int:
    debugging = app.log_level <= logging.DEBUG
    if app.log_json and app.command is None:  # the last line is an object like all others
        app.log.critical("%s", text, exc_info=exc if debugging else None)
        return 1
    if debugging:
        commands.say_lines("".join(traceback.format_exception(exc)), to_stderr=True)
    commands.say(f"flytelineage: error: {text}", to_stderr=True)
    return 1


def _reader_has_gone() -> int:
    # What is still buffered cannot be written either, and Python would complain at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
