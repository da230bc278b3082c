"""Printing never decides how a program ends: not a character that cannot be encoded, not a reader who went away, not a
full disk, not a stream that is closed.

For the programs of this repository (`run.py`, `edgedistill`), once, before anything is printed; a library leaves the
streams of its program alone.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


def settle() -> None:
    """Let stdout and stderr write what their encoding lacks as \\uXXXX, and go on when they take nothing any more: the
    reader went away, or the disk is full. One that is closed is as /dev/null, or the next file to be opened would take
    its number. A width that no terminal has ($COLUMNS) is not heeded."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
            continue
        encodable(getattr(sys, name))
        setattr(sys, name, _for_a_reader_who_may_go(getattr(sys, name)))
    for name in ("COLUMNS", "LINES"):
        number = os.environ.get(name, "")
        if number and not (number.isascii() and number.isdecimal() and len(number) < 5 and int(number)):
            del os.environ[name]


def encodable(stream: TextIO | None) -> None:
    """Let a stream write what its encoding lacks as \\uXXXX where it would raise. One that cannot be told stays as it
    is."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def unread(stream: Any) -> bool:
    """Whether a stream that `settle` was called for takes nothing any more, as when `head` went after its lines: what
    else is printed is for nobody."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, _Sink) and raw.unread


def lost(stream: Any) -> str:
    """Why what was printed on it is not there, "" where it is, or where its reader went away."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Sink) else ""


class _Sink(io.RawIOBase):
    """The writing end of a pipe, or a file, which takes everything once there is no reader any more, or no room."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.unread = False
        self.lost = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int | None:
        if not self.unread:
            try:
                return os.write(self._descriptor, data)
            except BrokenPipeError:
                self.unread = True
            except BlockingIOError:  # a full pipe that does not wait, as io.RawIOBase tells it
                return None
            except OSError as error:  # a full or broken disk
                self.unread, self.lost = True, error.strerror or type(error).__name__
        return memoryview(data).nbytes


def _for_a_reader_who_may_go(stream: Any) -> Any:
    """`stream`, or where it is no terminal another on the same descriptor that outlives its reader, or its disk."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        stream.flush()
        if stream.isatty():
            return stream
        descriptor = stream.fileno()
    except (OSError, ValueError):  # closed before we began
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Sink(descriptor)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,  # python -u
        write_through=stream.write_through,
    )
