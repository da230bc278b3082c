"""What a person sees while it runs: a bar with an ETA on a terminal, one line a stage elsewhere, nothing on stdout."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgedistill.work.console import Bar, Terminal, show_log, talk


def run_a_stage(console: Console) -> str:
    bar = Bar(console)
    bar.start("distil", 200)
    for _ in range(4):
        bar.advance(50, note="agreement 0.81")
    bar.done()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_in_a_pipe_a_stage_is_one_line_when_it_ends() -> None:
    said = run_a_stage(Console(file=io.StringIO(), width=100))
    assert said == "  distil                    200 in 0 s  agreement 0.81\n"


def test_on_a_terminal_there_is_a_bar_with_an_eta() -> None:
    said = run_a_stage(Console(file=io.StringIO(), width=100, force_terminal=True))
    assert "eta" in said
    assert "200/200" in said


@pytest.fixture
def package_log() -> Iterator[logging.Logger]:
    """The package's logger, put back as it was: other tests listen to it."""
    log = logging.getLogger("edgedistill")
    handlers, level, propagate = log.handlers, log.level, log.propagate
    yield log
    log.handlers, log.propagate = handlers, propagate
    log.setLevel(level)


def test_choices_and_warnings_are_talk_and_brackets_are_no_markup(
    package_log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    show_log()
    package_log.info("student from [bold]scratch[/bold]")
    package_log.warning("two classes are close")
    logging.getLogger("another.library").info("chatter")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.strip() for line in printed.err.splitlines()] == [
        "student from [bold]scratch[/bold]",
        "warning: two classes are close",
    ]


TALK = """
import io, logging, sys
sys.stderr = io.TextIOWrapper(sys.stderr.buffer, sys.stdout.encoding, "strict", line_buffering=True)
from edgedistill.work.console import Bar, show_log
from edgedistill.targets.streams import encodable
show_log()
logging.getLogger("edgedistill").warning("no photo of %s ✓", "螺栓")
bar = Bar()
bar.start("螺栓", 1)
bar.advance(1, note="✓")
bar.done()
encodable(sys.stdout)
print("螺栓 ✓")
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "iso-8859-1"])
def test_what_a_stream_cannot_encode_is_escaped_and_the_work_goes_on(encoding: str) -> None:
    environment = dict(os.environ, PYTHONIOENCODING=encoding)
    done = subprocess.run([sys.executable, "-c", TALK], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\\u87ba\\u6813 \\u2713\n")
    warning, stage = done.stderr.splitlines()
    assert warning.rstrip() == "warning: no photo of \\u87ba\\u6813 \\u2713"
    assert stage.split() == ["\\u87ba\\u6813", "1", "in", "0", "s", "\\u2713"]


def broken_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("sink", [broken_pipe, lambda: os.open("/dev/full", os.O_WRONLY)], ids=["pipe", "disk"])
def test_talk_that_cannot_be_written_ends_no_build(sink: Callable[[], int]) -> None:
    stages = 0
    with contextlib.suppress(OSError), open(sink(), "w") as stream:  # closing it tries once more
        bar = Bar(type(talk)(file=stream))
        for _ in range(2):
            bar.start("distil", 1)
            bar.done()
            stages += 1
    assert stages == 2


def test_nothing_in_a_text_acts_on_the_terminal_and_colours_still_do() -> None:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=True, color_system="standard", width=60)
    table = Table()
    table.add_row(Text("photo\u202egnp\x1b]0;title\x07"))
    console.print(Text("a\x1b[2Jb", style="green"), "[red]c[/red]")
    console.print(table)
    printed = file.getvalue()
    assert "\x1b[32ma\\x1b[2Jb\x1b[0m [red]c[/red]" in printed
    assert r"photo\u202egnp\x1b]0;title" in printed
    assert not any(mark in printed for mark in ("\x1b[2J", "\x1b]", "\x07", "\u202e"))


def test_a_line_break_in_a_text_feigns_no_line_of_ours() -> None:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=True, color_system="standard", width=60, soft_wrap=True)
    console.print("a board\nPASS  every budget")
    console.print(Text.assemble(("FAIL", "red"), "  a\nPASS \u2028b"), soft_wrap=True)
    plain, styled = file.getvalue().splitlines()
    assert plain == r"a board\x0aPASS  every budget"
    assert styled == "\x1b[31mFAIL\x1b[0m" + r"  a\x0aPASS \u2028b"


def test_a_bar_that_was_not_begun_says_nothing_when_it_ends() -> None:
    file = io.StringIO()
    bar = Bar(Terminal(file=file))
    bar.done()
    bar.start("distil", 1)
    bar.done()
    bar.done()
    assert file.getvalue().count("\n") == 1
