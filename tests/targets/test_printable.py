"""Text that leaves the program acts on nothing: no terminal, no table, no page."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.atomic import write_json
from edgedistill.targets.outside import read_json
from edgedistill.targets.printable import json_bytes, line, markdown, say, say_json, spreadsheet

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ACTS = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(ANY_TEXT)
@settings(max_examples=100, deadline=None)
def test_a_line_is_one_line_in_which_nothing_acts(text: str) -> None:
    shown = line(text)
    assert {unicodedata.category(char) for char in shown if char not in "\u200c\u200d"} & ACTS == set()
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(line(text, 10)) <= 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("one\ntwo\r", r"one\x0atwo\x0d"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), r"caf\xe9.jpg"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
        *[(same, same) for same in ("Größe", "六角ナット　大", "می‌خواهم", "👩‍🔧", r"C:\new")],
    ],
)
def test_what_acts_is_an_escape_and_letters_stay(text: str, shown: str) -> None:
    assert line(text) == shown


def test_a_cell_holds_no_markup_link_or_html() -> None:
    assert markdown("a|b\n| c") == r"a\|b\x0a\| c".replace(r"\x0a", r"\\x0a")
    assert markdown("<img src=x>") == "&lt;img src=x&gt;"
    assert markdown("[here](http://x) `x` *x*") == r"\[here\](http://x) \`x\` \*x\*"
    assert markdown("ball_bearing _x_") == r"ball_bearing \_x\_"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_a_spreadsheet_takes_no_name_for_a_formula(name: str) -> None:
    assert spreadsheet(name) == f"'{name}"
    assert spreadsheet(f"a{name}") == f"a{name}"
    assert spreadsheet("\t=1") == r"\x09=1"  # a spreadsheet would drop the tab


@given(ANY_TEXT)
@settings(max_examples=50, deadline=None)
def test_json_is_utf8_and_read_back_as_the_same_text(text: str) -> None:
    assert json.loads(json_bytes({text: text}).decode("utf-8")) == {text: text}


def test_a_name_that_is_no_utf8_can_be_written(tmp_path: Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    write_json(tmp_path / "x.json", {"name": name})
    assert read_json(tmp_path / "x.json") == {"name": name}


def test_what_is_said_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\n\x1b[31mb")
    say("c", error=True)
    out, err = capsys.readouterr()
    assert (out, err) == ("a\\x0a\\x1b[31mb\n", "c\n")
    assert not re.search(r"\x1b", out)


def test_json_that_is_printed_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"a": [float("nan"), 1.5, (float("-inf"),)], "b": "NaN"})
    assert capsys.readouterr().out == '{"a": [null, 1.5, [null]], "b": "NaN"}\n'
