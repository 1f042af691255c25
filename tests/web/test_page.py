"""Somebody who has never seen the page finds what is stuck, and nobody else's script runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from flytelineage.commands import COMMANDS
from flytelineage.health import Health
from flytelineage.web.page import LISTED, LONGEST, page
from tests.web.watched import OVERVIEW

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&</td>\x00\u202e\ud800"


class Seen(HTMLParser):
    """What a browser makes of a page: its elements, their attributes, its text."""

    EMPTY = frozenset({"meta", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def seen(health: Health | None = None, overview: dict[str, Any] | None = None) -> Seen:
    return Seen(page("1.2.3", health or Health(), OVERVIEW if overview is None else overview))


def hostile() -> dict[str, Any]:
    """An overview in which every text comes from somebody who means harm."""
    error = {name: HOSTILE for name in ("execution", "target", "state", "error", "at")}
    rejection = {"entity": HOSTILE, "aspect": HOSTILE, "reason": HOSTILE}
    return {
        "executions": OVERVIEW["executions"],
        "deliveries": {HOSTILE: OVERVIEW["deliveries"]["glue"]},
        "paused": {HOSTILE: {"reason": HOSTILE, "since": HOSTILE, "until": HOSTILE}},
        "quarantine": {HOSTILE: 1},
        "errors": [{**error, "attempts": 1, "rejections": [rejection], "refused": [HOSTILE]}],
        "problems": [{"execution": HOSTILE, "reasons": [HOSTILE]}],
    }


class TestWhatItTells:
    """In words."""

    @pytest.mark.parametrize(
        ("health", "words"),
        [
            pytest.param(Health(), "working", id="well"),
            pytest.param(
                Health(degraded=("glue is away",)), "working, with trouble", id="degraded"
            ),
            pytest.param(Health(ready=("store: away",)), "not working", id="not ready"),
            pytest.param(Health(live=("intake stands still",)), "not working", id="not live"),
        ],
    )
    def test_state(self, health: Health, words: str) -> None:
        """First of all whether it works, and why not."""
        text = seen(health).text

        assert re.search(rf"flytelineage +{words} ", text)
        for reason in (*health.live, *health.ready, *health.degraded):
            assert reason in text

    def test_numbers(self) -> None:
        """How many executions are where, and what that means."""
        text = seen().text

        assert "built 12,345 their lineage is known" in text
        assert "partial 3 built, but events never came" in text

    def test_no_noise(self) -> None:
        """What nothing is to be said of is left out."""
        assert "guessed" not in seen().text

    def test_paused_target(self) -> None:
        """Which, until when, and why; and how old the oldest is that waits."""
        text = seen().text

        assert (
            "2 hours paused until 2026-05-01 10:05 UTC: "
            "TargetUnavailable: the database lake is missing" in text
        )

    def test_paused_before_anything_was_told(self) -> None:
        """It is listed, though it has no delivery."""
        overview = {**OVERVIEW, "deliveries": {}}

        assert re.search(r"glue (0 )+- paused until", seen(overview=overview).text)

    def test_errors(self) -> None:
        """What a catalogue said, and what of an execution it refused."""
        text = seen().text

        assert "shop/production/e1 glue given up 4 2026-05-01 09:30 UTC" in text
        assert "the name is too long; s3:lake/orders (schema): no" in text

    def test_gaps_and_quarantine(self) -> None:
        """What lineage lacks, and what could not be read."""
        text = seen().text

        assert "shop/production/e2 events are missing" in text
        assert "3 It is no JSON" in text

    def test_nothing_yet(self) -> None:
        """The first minute is no error."""
        text = seen(overview={}).text

        assert "The store was not read yet." in text
        assert "flytelineage status EXECUTION" in text

    def test_empty_store(self) -> None:
        """Each part says that there is nothing."""
        overview = {"executions": {}, "deliveries": {}, "errors": [], "problems": []}

        text = seen(overview=overview).text

        assert "Nothing was built yet." in text
        assert "Empty." in text

    def test_commands_exist(self) -> None:
        """What it tells people to type can be typed."""
        named = re.findall(r"flytelineage (status|explain|quarantine|retry|check)\b", seen().text)

        assert len(named) == 5
        assert set(named) <= set(COMMANDS)

    def test_bounded(self) -> None:
        """However much is wrong, the page loads."""
        long = "x" * 100_000
        error = {**OVERVIEW["errors"][0], "error": long}
        overview = {**OVERVIEW, "errors": [error] * 50, "quarantine": {long: 1}}

        html = page("1", Health(ready=(long,)), overview)

        assert html.count("<td>shop/production/e1</td>") == LISTED
        assert "x" * (LONGEST + 1) not in html


class TestStrangers:
    """All names and errors come from outside."""

    def test_no_markup(self) -> None:
        """They become text: no element and no attribute comes from them."""
        harmless = seen(Health(("a",), ("b",), ("c",)))

        found = Seen(page(HOSTILE, Health((HOSTILE,), (HOSTILE,), (HOSTILE,)), hostile()))

        assert set(found.elements) <= set(harmless.elements)
        assert "script" not in found.elements
        assert set(found.attributes) == set(harmless.attributes)
        assert found.text.count("<script>alert(1)</script>") > 10

    def test_no_control_characters(self) -> None:
        """Nothing turns the direction of writing, and all of it has bytes."""
        html = page("1", Health((HOSTILE,)), hostile())

        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", html)
        html.encode()

    def test_nothing_from_elsewhere(self) -> None:
        """No script, no style in the page, nothing that another server is asked for."""
        found = seen()
        links = [value for name, value in found.attributes if name in ("href", "src")]

        assert not {"script", "style", "img", "iframe", "form"} & set(found.elements)
        assert all(link and link.startswith("/") for link in links)
        assert not [
            name for name, _ in found.attributes if name.startswith("on") or name == "style"
        ]
