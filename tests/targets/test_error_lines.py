"""What a library says becomes a line of an error."""

from __future__ import annotations

from edgedistill.targets.error_lines import first_line, last_line


def test_the_first_and_the_last_line_that_say_something() -> None:
    long = RuntimeError("\n  first  \nbetween\n last \n\n")
    assert (first_line(long), last_line(long)) == ("first", "last")
    assert first_line(str(long)) == "first"


def test_where_nothing_is_said_there_is_a_word_instead() -> None:
    assert first_line(RuntimeError()) == last_line(RuntimeError("\n")) == "RuntimeError"
    assert last_line("", "exit code 3") == "exit code 3"
    assert first_line(" \n") == ""
