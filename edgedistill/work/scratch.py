"""Folders for what no later run reads. One that a killed process left is cleared by the next in the same place: its
lock went with its owner.

Where there are no locks (Windows, some network disks) nobody can tell, and it stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

PREFIX = ".edgedistill-scratch-"


@contextlib.contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A new folder in `place`, by its absolute path; gone at the end. Where that cannot be written, it lies in the
    system's place for temporary files. Others may do the same there at once."""
    place = _writable(place.absolute())
    with contextlib.ExitStack() as held:
        with locked(place):  # none is cleared between its making and its lock
            clear(place)
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=place)))
            held.enter_context(locked(folder))
        yield folder


def _writable(place: Path) -> Path:
    with contextlib.suppress(OSError):
        place.mkdir(exist_ok=True)
        if os.access(place, os.W_OK):
            return place
    return Path(tempfile.gettempdir())


def clear(place: Path) -> None:
    """Delete what killed processes left in `place`."""
    for left in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), locked(left, wait=False) as sure:
            if sure:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder; True where it is held for sure. It ends with the process.

    Raises BlockingIOError where another process holds it and this one does not `wait`.
    """
    descriptor = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    try:
        yield descriptor is not None and _lock(descriptor, wait)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a disk without locks
        return False
    return True
