"""Files whose path is not UTF-8, for libraries that take no other: safetensors, open_clip."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """`path` as it is, or where it is not UTF-8 a link to it under another name, with its suffix, for as long."""
    if is_plain(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"link{path.suffix if is_plain(path.suffix) else ''}"
        link.symlink_to(path.absolute())
        yield link


def is_plain(path: str | Path) -> bool:
    """Whether it is UTF-8."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
