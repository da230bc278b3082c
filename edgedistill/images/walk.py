"""Every folder under one, with what lies in it: links are followed, and no folder is entered twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Listed:
    """A folder, by its name relative to where the walk began ("" for that itself): the names in it, sorted.

    `files`: all that are no folders; `entered_before`: folders that a link leads to once more. Hidden ones are in
    neither. `readable`: whether it could be listed at all.
    """

    name: str
    files: list[str] = field(default_factory=list)
    entered_before: list[str] = field(default_factory=list)
    readable: bool = True


def folders(folder: Path) -> Iterator[Listed]:
    """Depth first, those of one folder in the order of their names.

    By what a listing says of each entry, so that files need not be asked one by one: a million take a second.
    """
    entered = {_identity(folder)}
    waiting = [""]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(folder / here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            yield Listed(here, readable=False)
            continue
        found, below = Listed(here), []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                found.files.append(entry.name)
            elif (identity := _identity(Path(entry.path))) in entered:
                found.entered_before.append(entry.name)
            else:
                entered.add(identity)
                below.append(os.path.join(here, entry.name))
        yield found
        waiting += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int] | str:
    """What two names of one folder share. Some file systems (FUSE, network shares) number every folder 0: there it is
    the path with no link in it."""
    facts = os.stat(folder)
    return (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.realpath(folder)
