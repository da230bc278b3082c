"""What a person sees while it runs: a bar with an ETA on a terminal, one line a stage elsewhere, nothing on stdout."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from edgedistill.work.console import Bar, show_log


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
