"""The sums of a finished stage's files: taken when it appears, compared once by every build that uses it.

A disk that turns one bit, a copy that stopped half way and an editor's "save" are found alike. What lies in the folder
beside the files that were sealed counts as nothing, for no stage reads it. The cost is one reading of the files; the
data of a teacher store, which are large, bear sums of their own and are left out (teacher/journal.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from ..targets import outside
from . import atomic

INPUTS = "inputs.json"  # what the stage was made from
SUMS = "sums.json"


def seal(folder: Path, apart: Collection[str] = ()) -> None:
    """Write sums.json: name -> SHA-256 of every file below `folder`, but those that are `apart`."""
    sums = {name: _sum(folder / name) for name in _files(folder) if name not in (SUMS, *apart)}
    atomic.write_json(folder / SUMS, sums)


def sums_of(folder: Path) -> dict[str, str]:
    """What `seal` wrote; empty where that is gone or cannot be read."""
    try:
        sums = outside.read_object(folder / SUMS, outside.LARGE)
    except (OSError, ValueError):
        return {}
    return sums if INPUTS in sums else {}


def differing(folder: Path) -> list[str]:
    """The files of `folder` that are not as they were sealed, sorted; sums.json alone where it tells nothing. A pipe or
    a device is never as it should be, whatever its name: who opens it may wait for ever."""
    sums = sums_of(folder)
    if not sums:
        return [SUMS]
    return sorted({*(name for name, found in sums.items() if _sum(folder / name) != found), *_waiting(folder)})


def without_pipes(folder: Path) -> None:
    """Delete what is neither a file nor a folder, before anything below `folder` is opened."""
    for name in _waiting(folder):
        (folder / name).unlink(missing_ok=True)


def _waiting(folder: Path) -> list[str]:
    """The pipes, sockets and devices below `folder`, and links to such."""
    return [name for name in _files(folder) if _is_special(folder / name)]


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # gone, or a link to nowhere
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _files(folder: Path) -> list[str]:
    """Every file and every link below `folder`, relative to it, sorted; links are not followed."""
    found: list[str] = []
    for here, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        found += (os.path.relpath(os.path.join(here, name), folder) for name in (*files, *links))
    return sorted(found)


def _sum(path: Path) -> str:
    """SHA-256 in hex; of a link where it points to; "" for a file that is gone or cannot be read."""
    if _is_special(path):
        return ""
    try:
        return f"-> {os.readlink(path)}" if path.is_symlink() else atomic.sha256_file(path)
    except (OSError, ValueError):  # ValueError: a NUL in a name of a damaged sums.json
        return ""
