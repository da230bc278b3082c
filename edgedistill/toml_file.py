"""A TOML file of a person: read through the door that every file from outside takes (targets/outside.py)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from .targets.outside import Unfit, check_depth, read_bytes
from .text_file import decoded

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 64 << 10
DEEPEST = 16
MOST_DOTS = 32  # of a name: the reader's time grows with their square

# Between these a dotted name cannot go on; in a text they stand too, so that more is refused than need be, never less.
_ENDS = re.compile(rb"[=,\[\]{}#\n]")


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file of at most 64 KiB. OSError where it cannot be read, Unfit where it is no TOML,
    InputError where it is no text (text_file.py)."""
    text = decoded(read_bytes(path, MOST_BYTES), path)
    check_depth(text.encode(), DEEPEST)
    if any(part.count(b".") > MOST_DOTS for part in _ENDS.split(text.encode())):
        raise Unfit(f"has a name or a sentence with more than {MOST_DOTS} dots")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and an integer of thousands of digits
        raise Unfit(f"is not valid TOML: {error}") from error
