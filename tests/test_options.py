"""Trait types: a secret shows itself nowhere, a plugin is found by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config, LoggingConfigurable

from flytelineage import options
from flytelineage.errors import ConfigError
from flytelineage.options import (
    MASK,
    SOURCES,
    TARGETS,
    Plugin,
    PluginGroup,
    Plugins,
    Secret,
    SecretDict,
    SecretText,
    redact,
    revealed,
)
from flytelineage.targets import Rejection, Target

CANARY = "canary-4f81d2"


class Catalogue(Target):
    """A target of somebody else."""

    token = Secret(help="Who we are.").tag(config=True)

    def emit_lineage(self, lineage: Any) -> list[Rejection]:
        return []


class Service(LoggingConfigurable):
    """Hands options to somebody's library."""

    options = SecretDict(shown={"type"}, help="Which.").tag(config=True)


class Owner(LoggingConfigurable):
    """Holds plugins."""

    one = Plugin(TARGETS, default_value="file", help="One.").tag(config=True)
    many = Plugins(TARGETS, default_value=["file"], help="Many.").tag(config=True)


@pytest.fixture(autouse=True)
def nothing_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test reveals is not hidden in the next."""
    monkeypatch.setattr(options, "_revealed", set())


class TestSecret:
    """A value, `env:NAME` or `file:/path`."""

    def test_text_shows_a_mask_everywhere(self) -> None:
        """Neither str, repr, format nor a log line has the secret."""
        secret = SecretText(CANARY)

        shown = [str(secret), repr(secret), f"{secret}", "%s" % secret, repr([secret])]  # noqa: UP031

        assert all(MASK in text and CANARY not in text for text in shown)

    def test_text_is_revealed_on_demand(self) -> None:
        """`reveal` gives the value."""
        assert SecretText(CANARY).reveal() == CANARY

    def test_variable_is_read_when_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A rotated token needs no restart."""
        secret = SecretText("env:TOKEN_OF_TEST")

        monkeypatch.setenv("TOKEN_OF_TEST", "first")
        first = secret.reveal()
        monkeypatch.setenv("TOKEN_OF_TEST", "second")

        assert (first, secret.reveal()) == ("first", "second")

    def test_variable_that_is_not_set(self) -> None:
        """The error says what to export."""
        with pytest.raises(ConfigError, match="export NO_SUCH_VARIABLE="):
            SecretText("env:NO_SUCH_VARIABLE").reveal()

    def test_file_is_read_when_used(self, tmp_path: Path) -> None:
        """White space around it, such as the last line's end, is no part of it."""
        file = tmp_path / "token"
        file.write_text(f"{CANARY}\n")

        assert SecretText(f"file:{file}").reveal() == CANARY

    def test_file_that_is_missing(self, tmp_path: Path) -> None:
        """The error names the file."""
        with pytest.raises(ConfigError, match="nowhere cannot be read: No such file"):
            SecretText(f"file:{tmp_path}/nowhere").reveal()

    def test_trait_wraps_a_text(self) -> None:
        """From code and configuration alike."""
        catalogue = Catalogue(config=Config({"Catalogue": {"token": CANARY}}))

        assert catalogue.token == SecretText(CANARY)
        assert CANARY not in repr(catalogue.token)

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_trait_without_a_secret(self, nothing: str | None) -> None:
        """An empty text is none."""
        assert Catalogue(token=nothing).token is None

    def test_trait_refuses_other_things_without_showing_them(self) -> None:
        """The message names the trait, not the value."""
        with pytest.raises(TraitError, match=r"Catalogue\.token must be a secret") as caught:
            Catalogue(token=[CANARY])

        assert CANARY not in str(caught.value)


class TestSecretDict:
    """A dictionary whose texts are secrets unless their keys are known."""

    def test_texts_are_hidden_at_any_depth(self) -> None:
        """What is no text is shown, and so is what is known to be harmless."""
        given = {"type": "http", "auth": {"key": CANARY}, "parts": [{"pass": CANARY}], "n": 1}

        held = Service(options=given).options

        assert str(held) == (
            f"{{'type': 'http', 'auth': {{'key': {MASK}}}, 'parts': [{{'pass': {MASK}}}], 'n': 1}}"
        )
        assert revealed(held) == given

    @pytest.mark.parametrize(
        "text",
        ["env:NAME", "file:/path", f"https://ada:{CANARY}@host", f"https://host/?k={CANARY}"],
    )
    def test_harmless_keys_with_secrets(self, text: str) -> None:
        """A reference, a user and a query are hidden wherever they stand."""
        assert str(Service(options={"type": text}).options) == f"{{'type': {MASK}}}"

    def test_file_url(self) -> None:
        """It is an address like any other."""
        assert Service(options={"type": "file:///x"}).options == {"type": "file:///x"}

    def test_references_are_read_when_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As those of a single secret are."""
        held = Service(options={"key": "env:KEY_OF_TEST"}).options
        monkeypatch.setenv("KEY_OF_TEST", CANARY)

        assert revealed(held) == {"key": CANARY}
        assert redact(f"no, {CANARY}") == f"no, {MASK}"

    def test_another_kind_of_value(self) -> None:
        """The error does not show it."""
        with pytest.raises(TraitError, match="must be a dictionary") as raised:
            Service(options=CANARY)

        assert CANARY not in str(raised.value)

    def test_default(self) -> None:
        """Empty, and nobody's else."""
        first, second = Service(), Service()

        first.options["type"] = "http"

        assert second.options == {}


class TestRedact:
    """The net below the masks: what libraries put into their messages."""

    def test_hides_what_was_revealed(self) -> None:
        """A client's error that quotes the token does not show it."""
        SecretText(CANARY).reveal()

        assert redact(f"bad header 'Bearer {CANARY}'") == f"bad header 'Bearer {MASK}'"

    def test_hides_the_password_of_a_url(self) -> None:
        """Drivers show the parts of a URL one by one."""
        SecretText(f"postgresql://user:{CANARY}@db/x").reveal()

        assert redact(f"password={CANARY}") == f"password={MASK}"

    def test_hides_user_info_of_any_url(self) -> None:
        """Even in options that are no secrets."""
        assert redact("at https://me:pass@host/x") == f"at https://{MASK}@host/x"

    @pytest.mark.parametrize("scheme", ["abfs", "abfss", "wasb", "wasbs"])
    def test_leaves_containers(self, scheme: str) -> None:
        """In Azure's URIs they stand where others have a user; nobody signs in by them."""
        assert redact(f"{scheme}://box@acme/x") == f"{scheme}://box@acme/x"
        assert redact(f"{scheme}://me:pass@acme/x") == f"{scheme}://{MASK}@acme/x"

    @pytest.mark.parametrize(
        "name",
        ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD", "OPENLINEAGE_API_KEY",
         "FLYTE_CREDENTIALS_CLIENT_SECRET", "github_token"],
    )  # fmt: skip
    def test_hides_what_libraries_find_by_themselves(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """A secret in a variable is one, whoever reads it."""
        monkeypatch.setattr(options, "_revealed", set())
        monkeypatch.setenv(name, "canary-4f81d2")

        options.hide_environment()

        assert redact("refused: canary-4f81d2") == f"refused: {MASK}"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1"),
            ("LOGNAME", "somebody-long"),
            ("TOKEN", "production"),
        ],
    )
    def test_leaves_other_variables(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        """Files of secrets, and words that stand everywhere."""
        monkeypatch.setattr(options, "_revealed", set())
        monkeypatch.setenv(name, value)

        options.hide_environment()

        assert redact(f"in {value}") == f"in {value}"

    def test_leaves_short_secrets_in_words(self) -> None:
        """One that is a part of ordinary words would blot out everything."""
        SecretText("a").reveal()

        assert redact("a data lake") == "a data lake"


class EntryPoint:
    """What a distribution declares."""

    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginGroup]:
    """Targets, of which other distributions bring a good and a broken one."""
    points = [EntryPoint("Other", f"{__name__}:Catalogue"), EntryPoint("broken", "no.module:X")]
    monkeypatch.setattr(options, "entry_points", lambda group: points)
    return PluginGroup("target", "x", TARGETS.contract, {"file": TARGETS.own["file"]})


class TestPluginGroup:
    """Names become classes."""

    def test_own_plugins_are_known_without_entry_points(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A checkout that was never installed works."""
        monkeypatch.setattr(options, "entry_points", lambda group: [])
        group = PluginGroup("source", SOURCES.group, SOURCES.contract, SOURCES.own)

        assert group.load("file").__name__ == "FileSource"

    @pytest.mark.parametrize("name", ["other", "OTHER", f"{__name__}.Catalogue", Catalogue])
    def test_load(self, group: PluginGroup, name: Any) -> None:
        """By entry point in any case, by dotted path, or the class itself."""
        assert group.load(name).__name__ == "Catalogue"

    def test_unknown_name(self, group: PluginGroup) -> None:
        """The error has the closest name, and all there are."""
        with pytest.raises(ConfigError) as caught:
            group.load("fil")

        assert str(caught.value) == (
            "There is no target 'fil'. Did you mean 'file'? Installed: broken, file, other"
        )

    def test_plugin_that_cannot_be_imported(self, group: PluginGroup) -> None:
        """The error says why."""
        with pytest.raises(ConfigError, match="'broken' cannot be loaded: ModuleNotFoundError"):
            group.load("broken")

    def test_class_of_another_kind(self, group: PluginGroup) -> None:
        """The error says what to derive it from."""
        with pytest.raises(ConfigError, match=r"derive it from flytelineage\.targets\.Target"):
            group.load("collections.OrderedDict")

    def test_classes_pass_over_a_broken_one(
        self, group: PluginGroup, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody else's mistake costs a debug line."""
        with caplog.at_level(logging.DEBUG, logger=__name__):
            found = group.classes(logging.getLogger(__name__))

        assert [cls.__name__ for cls in found] == ["FileTarget", "Catalogue"]
        assert "no.module" in caplog.text or "'broken'" in caplog.text

    @pytest.mark.parametrize(
        ("plugin", "name"), [("File", "file"), ("a.b.Stage", "a.b.Stage"), (Catalogue, "Catalogue")]
    )
    def test_name_under_which_deliveries_are_kept(
        self, group: PluginGroup, plugin: Any, name: str
    ) -> None:
        """It does not depend on the spelling of an entry point."""
        assert group.name_of(plugin) == name


class TestPluginTraits:
    """They take names and classes, and leave loading for later."""

    def test_accepts_names_and_classes(self) -> None:
        """What it is given it keeps."""
        owner = Owner(one=Catalogue, many=["datahub", Catalogue])

        assert (owner.one, owner.many) == (Catalogue, ["datahub", Catalogue])

    @pytest.mark.parametrize("wrong", ["", 3, None])
    def test_refuses_what_names_nothing(self, wrong: Any) -> None:
        """The error names the trait."""
        with pytest.raises(TraitError, match="one"):
            Owner(one=wrong)

    @pytest.mark.parametrize(
        "given", [["datahub,glue"], ["datahub", "glue"], ["['datahub','glue']"]]
    )
    def test_reads_the_command_line(self, given: list[str]) -> None:
        """With commas, or the option repeated."""
        assert Owner.class_traits()["many"].from_string_list(given) == ["datahub", "glue"]

    @pytest.mark.parametrize("name", ["one", "many"])
    def test_help_lists_what_is_installed(self, name: str) -> None:
        """Nobody has to look up names."""
        assert "Installed: datahub, file, glue" in Owner.class_traits()[name].help


def test_secret_in_a_dump() -> None:
    """JSON of a configuration needs `default=str`, and then shows the mask."""
    assert json.dumps({"token": SecretText(CANARY)}, default=str) == f'{{"token": "{MASK}"}}'
