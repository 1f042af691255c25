"""What commands print: a stranger's text changes neither the terminal nor the picture."""

from __future__ import annotations

import sys

import pytest

from flytelineage.commands import hand_out, say, say_lines, table

HOSTILE = {
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the title": "\x1b]0;owned\x07",
    "types an answer": "\x1bP$q\x1b\\",
    "one byte sequences": "\x9b2J",
    "goes back": "\rFLYTE\b\b",
    "turns the direction": "\u202eevil\u202c",
    "hides": "a\u200bb\u2066c",
    "half a character": "\ud800",
    "ends the line of some readers": "\u2028ok\x85",
    "nothing": "\0",
    "deletes": "\x7f",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
class TestHostileTexts:
    """Names, errors and bodies come from events, and so from whoever may send them."""

    @pytest.mark.parametrize("to_stderr", [False, True])
    def test_is_spelled_out(
        self, capsys: pytest.CaptureFixture[str], text: str, to_stderr: bool
    ) -> None:
        """No terminal obeys it."""
        say(f"before {text} after", to_stderr=to_stderr)

        out = "".join(capsys.readouterr())
        assert out.startswith("before ")
        assert out.endswith(" after\n")
        assert out[:-1].isprintable()

    def test_stays_one_line(self, capsys: pytest.CaptureFixture[str], text: str) -> None:
        """An error of many lines cannot forge one of ours."""
        say(f"{text}\nERROR forged")

        assert capsys.readouterr().out.count("\n") == 1

    def test_keeps_to_its_cell(self, text: str) -> None:
        """Neither a line nor a column of a table can be forged."""
        lines = table([("ID", "REASON"), ("1", f"a\n2  {text}"), ("3", "b")]).split("\n")

        assert len(lines) == 3
        assert all(line.isprintable() for line in lines)

    def test_body_is_harmless_on_a_terminal(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        """Whoever looks at a message sees what is in it."""
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

        hand_out(text)

        assert capsys.readouterr().out[:-1].isprintable()


def test_text_of_several_lines_stays_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Line ends that we made ourselves are ours; words of all languages are fine."""
    say_lines("Größe\tπ\n数据")

    assert capsys.readouterr().out == "Größe\tπ\n数据\n"


@pytest.mark.parametrize(
    ("body", "out"), [("a\x1b[2Jb\r", "a\x1b[2Jb\r\n"), ("\ud800", "\\ud800\n")]
)
def test_body_is_handed_to_programs_as_it_came(
    capsys: pytest.CaptureFixture[str], body: str, out: str
) -> None:
    """Down to what has no bytes, which would stop the output."""
    hand_out(body)

    assert capsys.readouterr().out == out
