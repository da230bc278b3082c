"""Printing never decides how a program ends: not a character that cannot be encoded, not a reader who went away.

For the programs of this repository (`run.py`, `edgedistill`), once, before anything is printed; a library leaves the
streams of its program alone.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import Any, TextIO


def settle() -> None:
    """Let stdout and stderr write what their encoding lacks as \\uXXXX, and go on when nobody reads them any more."""
    for name in ("stdout", "stderr"):
        encodable(getattr(sys, name))
        setattr(sys, name, _for_a_reader_who_may_go(getattr(sys, name)))


def encodable(stream: TextIO | None) -> None:
    """Let a stream write what its encoding lacks as \\uXXXX where it would raise. One that cannot be told stays as it
    is."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def unread(stream: Any) -> bool:
    """Whether the reader of a stream that `settle` was called for has gone, as `head` does after its lines: what else
    is printed is for nobody."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, _Pipe) and raw.unread


class _Pipe(io.RawIOBase):
    """The writing end of a pipe, which takes everything once there is no reader any more."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.unread = False

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
        return memoryview(data).nbytes


def _for_a_reader_who_may_go(stream: Any) -> Any:
    """`stream`, or where it is a pipe or a socket another on the same descriptor that outlives its reader."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        stream.flush()
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # closed before we began
        return stream
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno())),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,  # python -u
        write_through=stream.write_through,
    )
