"""The one error of the device side: what is wrong and what to do, two lines, exit code 2."""

from __future__ import annotations


class TargetError(Exception):
    """The bundle, the machine or the command is not usable as it is.

    `wrong` names the value and the place, `todo` the next step, one line each; `str()` is both lines.
    """

    exit_code = 2

    def __init__(self, wrong: str, todo: str) -> None:
        self.wrong, self.todo = (" ".join(text.splitlines()) for text in (wrong, todo))
        super().__init__(f"{self.wrong}\n{self.todo}")


def first_line(said: BaseException | str, otherwise: str = "") -> str:
    """The first line of a library's message; where it says nothing, `otherwise`, or the kind of error it is."""
    return _lines(said, otherwise)[0]


def last_line(said: BaseException | str, otherwise: str = "") -> str:
    """The last line, which of torch's long messages and of a traceback says what happened; else as `first_line`."""
    return _lines(said, otherwise)[-1]


def _lines(said: BaseException | str, otherwise: str) -> list[str]:
    lines = [line.strip() for line in str(said).strip().splitlines()]
    return lines or [otherwise or ("" if isinstance(said, str) else type(said).__name__)]
