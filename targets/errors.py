"""The one error of the device side: what is wrong and what to do, two lines, exit code 2."""

from __future__ import annotations

LONGEST = 2000  # characters of a line; a path of 4,096 bytes is cut, what any person would write is not


class TargetError(Exception):
    """The bundle, the machine or the command is not usable as it is.

    `wrong` names the value and the place, `todo` the next step, one line each; `str()` is both lines.
    """

    exit_code = 2

    def __init__(self, wrong: str, todo: str) -> None:
        self.wrong, self.todo = one_line(wrong), one_line(todo)
        super().__init__(f"{self.wrong}\n{self.todo}")


def one_line(text: str) -> str:
    """A line of an error: what a library or a file brings along is joined, and cut in its middle where it is long."""
    text = " ".join(text.splitlines())
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 3 // 4]} … {text[3 - LONGEST // 4 :]}"


def first_line(said: BaseException | str, otherwise: str = "") -> str:
    """The first line of a library's message; where it says nothing, `otherwise`, or the kind of error it is."""
    return _lines(said, otherwise)[0]


def last_line(said: BaseException | str, otherwise: str = "") -> str:
    """The last line, which of torch's long messages and of a traceback says what happened; else as `first_line`."""
    return _lines(said, otherwise)[-1]


def _lines(said: BaseException | str, otherwise: str) -> list[str]:
    lines = [line.strip() for line in str(said).strip().splitlines()]
    return lines or [otherwise or ("" if isinstance(said, str) else type(said).__name__)]
