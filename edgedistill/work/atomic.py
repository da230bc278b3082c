"""Files that are whole or not there: written beside their place, fsynced, renamed; and the hashes that name them.

A crash, a kill or a full disk leaves the old file or none, never half a file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..targets.atomic import sha256_file as sha256_file  # one reader here and on the device
from ..targets.printable import json_bytes


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all. Raises InputError when the disk is full."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that became read-only lets nothing go, either
            temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path, len(data)) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON with sorted keys (same value, same bytes). Refuses NaN and infinity.

    Of a file name that is not UTF-8 the odd bytes become \\udcXX, as json reads them back.
    """
    write_bytes(path, json_bytes(value, indent=1, sort_keys=True) + b"\n")


def disk_full(path: Path, needed_bytes: int) -> InputError:
    """The error for a full disk: how much was needed and how much there is."""
    free = shutil.disk_usage(path.parent).free
    return InputError(
        f"no room for {path}: {needed_bytes / 2**20:.1f} MiB needed, {free / 2**20:.1f} MiB free",
        "Free some space, or point --work and --out at another disk, then run the same command: it goes on from here.",
    )


def check_folder(out: Path) -> None:
    """Raise InputError unless `out` is a folder, or may be made as one where one may write."""
    above = next(place for place in out.absolute().parents if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be made: {above} is no folder that you may write in", "Choose another --out.")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder", "Choose another --out.")


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces), as hex."""
    return hashlib.sha256(json_bytes(value, sort_keys=True, separators=(",", ":"))).hexdigest()


def publish(temporary: Path, final: Path) -> None:
    """Make the finished folder `temporary` appear as `final` by one rename, its contents on disk first.

    Both must be on one file system. `final` must not exist.
    """
    for path in sorted(temporary.rglob("*")):
        _fsync(path)
    _fsync(temporary)
    os.rename(temporary, final)
    _fsync(final.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
