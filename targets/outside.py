"""The one door for files that come from outside: bounded before they are read, checked before they are used.

Bytes, text and JSON here; arrays.py, safetensors_header.py and onnx_file.py stand on it. What is not as it has to be
raises Unfit, a ValueError whose text is the reason alone ("holds 9,000,000 bytes, at most 8,388,608 are read"): the
caller knows which file it is and what to do, and makes the two lines. A file that is not there or may not be read is
OSError, as ever. Nothing here executes or unpickles what it reads.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Unfit(ValueError):
    """Why a file is not read, in a few words."""


@dataclass(frozen=True)
class Limits:
    """What a file may be at most. `size`: bytes. `depth`: lists and tables inside one another. `values`: entries of all
    of them together, which bounds the memory that the parsed file takes to some hundred bytes a value."""

    size: int
    depth: int = 32
    values: int = 1_000_000


# A record of ours (a manifest of some thousand classes, a bank of prompts, a record of synthetic images).
LARGE = Limits(64 << 20, values=2_000_000)
# A result, a verdict, a sidecar, a card: what one person reads.
SMALL = Limits(8 << 20, values=400_000)

_OPEN, _CLOSED = b"[{", b"]}"
_NO_BRACKETS = bytes(set(range(256)) - set(_OPEN + _CLOSED))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_UNKNOWN_SIZE = 1 << 20  # what files of /proc and /sys hold at most: they say 0


def read_bytes(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file (links are followed), `most` at most.

    Never waits: a pipe or a device is Unfit, and a file that grows while it is read is read no further.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    _check_regular(os.stat(path).st_mode)  # before it is opened: opening a device can already act on it
    with open(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        _check_regular(facts.st_mode)
        expected = max(facts.st_size, _UNKNOWN_SIZE)  # never `most` at once: read() sets that much memory aside
        data = b"" if facts.st_size > most else file.read(min(most, expected) + 1)
    if len(data) > expected <= most:
        raise Unfit("grows while it is read")
    if facts.st_size > most or len(data) > most:
        raise Unfit(f"holds {max(facts.st_size, len(data)):,} bytes, at most {most:,} are read")
    return data


def regular_size(path: str | Path) -> int:
    """How many bytes a regular file holds (links are followed); anything else, which may wait, is Unfit."""
    facts = os.stat(path)
    _check_regular(facts.st_mode)
    return facts.st_size


def read_text(path: str | Path, most: int) -> str:
    """A file of UTF-8, with or without a byte order mark, without the mark."""
    data = read_bytes(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unfit(f"is not UTF-8 (line {line}, byte 0x{data[error.start]:02x})") from error


def read_json(path: str | Path, limits: Limits = SMALL) -> Any:
    """The value in a JSON file."""
    return parse_json(read_bytes(path, limits.size), limits)


def read_object(path: str | Path, limits: Limits = SMALL) -> dict[str, Any]:
    """The object in a JSON file; Unfit for one that holds another kind of value."""
    return as_object(read_json(path, limits))


def as_object(value: Any) -> dict[str, Any]:
    """`value`, which has to be a JSON object."""
    if not isinstance(value, dict):
        raise Unfit(f"holds a JSON {type(value).__name__}, not an object")
    return value


def parse_json(data: bytes, limits: Limits = SMALL) -> Any:
    """The value in JSON (RFC 8259; UTF-8, or UTF-16 and UTF-32 as Windows writes them), looked over before it is made.

    Stricter than Python's reader: NaN, infinities (1e999 is one), half of a character (a lone surrogate that stands for
    no byte) and an object that has a key twice are Unfit: another program may read them otherwise, and no file can have
    such a name.
    """
    if len(data) > limits.size:
        raise Unfit(f"holds {len(data):,} bytes, at most {limits.size:,} are read")
    data = _as_utf8(data)
    values = data.count(b",") + data.count(b":") + data.count(b"[") + data.count(b"{")  # those in texts are few
    if max(values, data.count(b'"') // 4) > limits.values:
        raise Unfit(f"holds some {values:,} values, at most {limits.values:,} are read")
    check_depth(_without_texts(data), limits.depth)
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once_each)
    except Unfit:
        raise
    except ValueError as error:  # bad UTF-8, bad JSON, an integer of thousands of digits
        raise Unfit(f"is not valid JSON: {error}") from error
    if _SURROGATE.search(data):
        _check_texts(value)
    return value


def check_depth(data: bytes, most: int) -> None:
    """Unfit where the brackets in `data` stand more than `most` deep."""
    brackets = data.translate(None, _NO_BRACKETS)
    depth = 0
    for mark in brackets if len(brackets) > most else b"":
        depth = depth + 1 if mark in _OPEN else max(0, depth - 1)
        if depth > most:
            raise Unfit(f"is nested deeper than {most} levels")


def _as_utf8(data: bytes) -> bytes:
    """JSON without a byte order mark, in UTF-8: its first bytes tell what it is in (RFC 4627, section 3)."""
    encoding = json.detect_encoding(data)
    if encoding == "utf-8":
        return data
    try:
        return data.decode(encoding).encode("utf-8", "backslashreplace")
    except UnicodeDecodeError as error:
        raise Unfit(f"is not valid JSON: {error}") from error


def _without_texts(data: bytes) -> bytes:
    """JSON without what stands between quotes; in steps whose time is proportional to its length, whatever it is."""
    return b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise Unfit("is not a file" if not stat.S_ISDIR(mode) else "is a folder, not a file")


def _no_number(name: str) -> None:
    raise Unfit(f"is not valid JSON: {name} is not a number")


def _finite(digits: str) -> float:
    """What Python reads as infinity where it is too large: 1e999."""
    number = float(digits)
    if not math.isfinite(number):
        raise Unfit(f"is not valid JSON: {digits[:40]} is too large for a number")
    return number


def _check_texts(value: Any) -> None:
    """Unfit for a text, or a key, with a surrogate that stands for no byte."""
    if isinstance(value, str):
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise Unfit(f"has half of a character in a text: {value[:40]!r}") from error
    elif isinstance(value, dict):
        for key, held in value.items():
            _check_texts(key)
            _check_texts(held)
    elif isinstance(value, list):
        for held in value:
            _check_texts(held)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Unfit(f"has the key {key[:40]!r} twice")
    return table
