"""Printing never decides how a program ends."""

from __future__ import annotations

from typing import TextIO


def encodable(stream: TextIO | None) -> None:
    """Let a stream write what its encoding lacks as \\uXXXX where it would raise: words never end a program.

    For the standard streams, once, before anything is printed. A stream that cannot be told stays as it is.
    """
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
