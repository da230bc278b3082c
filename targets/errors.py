"""The one error of the device side: what is wrong and what to do, two lines, exit code 2."""

from __future__ import annotations

from .error_lines import one_line


class TargetError(Exception):
    """The bundle, the machine or the command is not usable as it is.

    `wrong` names the value and the place, `todo` the next step, one line each; `str()` is both lines.
    """

    exit_code = 2

    def __init__(self, wrong: str, todo: str) -> None:
        self.wrong, self.todo = one_line(wrong), one_line(todo)
        super().__init__(f"{self.wrong}\n{self.todo}")
