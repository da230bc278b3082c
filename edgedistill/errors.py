"""The errors a person is meant to read: two lines, what is wrong and what to do, and the exit code they end with.

EdgeDistillError        exit 1   a bug of ours, where we know how to name it
└── InputError          exit 2   the user's input or environment
"""

from __future__ import annotations

from .targets.error_lines import one_line


def install_extra(extra: str) -> str:
    """How to install an extra of pyproject.toml: from a checkout, as the package is on no index, where its name may
    be another's."""
    return f'In a checkout of edgedistill: pip install -e ".[{extra}]".'


class EdgeDistillError(Exception):
    """What is wrong, with the value and the place, and what to do about it; the command line prints both lines.

    Each is kept to one line of bearable length, whatever a library's message or a file's value brings along.
    `wrong` begins in lower case, or with the name of what is wrong, and has no full stop; `todo` is a sentence.
    `exit_code` is what the process ends with on the command line.
    """

    exit_code = 1

    def __init__(self, wrong: str, todo: str) -> None:
        self.wrong, self.todo = one_line(wrong), one_line(todo)
        super().__init__(f"{self.wrong}\n{self.todo}")

    def __reduce__(self) -> tuple[type[EdgeDistillError], tuple[str, str]]:
        """So that one raised in another process arrives as it is."""
        return type(self), (self.wrong, self.todo)


class InputError(EdgeDistillError):
    """The input or the environment is not usable as it is: a file, a flag, a missing weight, a full disk."""

    exit_code = 2
