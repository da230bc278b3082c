"""The errors a person is meant to read: two lines, what is wrong and what to do, and the exit code they end with.

EdgeDistillError        exit 1   a bug of ours, where we know how to name it
└── InputError          exit 2   the user's input or environment
"""

from __future__ import annotations

LONGEST = 2000  # characters of a line; targets/errors.py has the same for the device, and imports nothing of this


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
