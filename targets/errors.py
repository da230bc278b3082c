"""The one error of the device side: what is wrong and what to do, two lines, exit code 2."""

from __future__ import annotations


class TargetError(Exception):
    """The bundle, the machine or the command is not usable as it is.

    `wrong` names the value and the place, `todo` the next step; `str()` is both lines.
    """

    exit_code = 2

    def __init__(self, wrong: str, todo: str) -> None:
        super().__init__(f"{wrong}\n{todo}")
        self.wrong = wrong
        self.todo = todo
