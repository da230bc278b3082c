"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from .errors import TargetError
from .printable import json_bytes


def write_bytes(path: Path, data: bytes) -> None:
    """Write to a temporary sibling, flush to disk, rename over `path`. Missing folders are made."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that became read-only lets nothing go, either
            temporary.unlink(missing_ok=True)
        raise TargetError(
            f"cannot write {path}: {error.strerror}", "Free some space, or name another place to write to."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """`value` as UTF-8 JSON; NaN and infinity are refused (ValueError), since JSON has neither.

    Of a file name that is not UTF-8 the odd bytes become \\udcXX, as json reads them back.
    """
    write_bytes(path, json_bytes(value, indent=1) + b"\n")


def check_writable(folder: Path, todo: str) -> None:
    """Raises TargetError unless files can be written to `folder`; missing folders are made. It writes one to see."""
    probe = folder / f".{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise TargetError(f"cannot write to {folder}: {error.strerror}", todo) from error


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
