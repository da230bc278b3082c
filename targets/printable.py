"""Text that leaves this program, made harmless: one function a destination, and the one place that prints.

A class name, a file name or a field of a result may hold anything: escape sequences that move a terminal's cursor or
change its title, characters that turn the order of what follows (Unicode TR 36, "bidirectional text spoofing"), line
breaks that feign a line of ours, bytes that are no UTF-8. Such characters are shown as escapes (\\x1b, \\u202e), and a
byte that is no UTF-8 (as Python's surrogateescape carries it) as \\xNN. Letters of every script stay.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import unicodedata
from typing import Any

# Invisible, but part of how Persian, Indic scripts and emoji are written: zero-width non-joiner and joiner.
_JOINERS = "\u200c\u200d"
_FORMULA = frozenset("=+-@")
_MARKUP = re.compile(r"[\\`*\[\]<>|#~&$]|(?<![^\W_])_|_(?![^\W_])")


def line(value: object, longest: int | None = None) -> str:
    """For a terminal, a log or a message: one line, in which nothing acts; cut to `longest` characters."""
    text = str(value)
    if not (text.isascii() and text.isprintable()):
        text = "".join(_shown(char) for char in text)
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def markdown(value: object) -> str:
    """For a sentence, a list or a cell of a table in Markdown: shown as it stands, never as markup or HTML."""
    return _MARKUP.sub(lambda mark: "\\" + mark[0], line(value)).replace("\\<", "&lt;").replace("\\>", "&gt;")


def spreadsheet(value: object) -> str:
    """For a cell of a CSV file: one line, which no spreadsheet takes for a formula (OWASP, "CSV injection")."""
    text = line(value)
    return f"'{text}" if text[:1] in _FORMULA else text


def json_bytes(value: Any, **layout: Any) -> bytes:
    """For a JSON file: UTF-8, in which a byte that is no UTF-8 is an escape as JSON knows it, and so is read back as
    the same text. NaN and infinity are refused (ValueError), since JSON has neither."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **layout).encode("utf-8", "backslashreplace")


def say(text: object = "", *, error: bool = False) -> None:
    """Print one line on stdout, or on stderr. Nothing where that is closed: print() would take stdout instead."""
    stream = sys.stderr if error else sys.stdout
    if stream is not None:
        print(line(text), file=stream, flush=True)


def say_json(value: Any, **layout: Any) -> None:
    """Print a JSON value on stdout, in ASCII; `layout` as json.dumps takes it. NaN and infinity, which JSON does not
    have, are null."""
    try:
        text = json.dumps(value, allow_nan=False, **layout)
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False, **layout)
    print(text, flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def log_lines(level: int) -> None:
    """Show what is logged on stderr, each message as one line. For a program of our own."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLine())
    logging.basicConfig(level=level, handlers=[handler])


class LogLine(logging.Formatter):
    """The words of a record, as `line` shows them; a warning's begin with `prefix`."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        return (self._prefix if record.levelno >= logging.WARNING else "") + line(record.getMessage())


def _shown(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or char in _JOINERS:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
