"""The lines of an error: what a library or a file says, made fit for one. Both errors.py are made of them."""

from __future__ import annotations

LONGEST = 2000  # characters of a line; a path of 4,096 bytes is cut, what any person would write is not


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
