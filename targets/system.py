"""Small files of /proc and /sys, and the system's tools, read without ever failing.

What is not there, cannot be read or is not a number is "", None or nothing: a probe that is missing is no error.
`root` is where /proc and /sys are looked up, so that the same code reads a copied board. Tools are asked on the
machine itself alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")
# Where a device tree is: /proc/device-tree is a link into /sys/firmware, which Docker hides; there the second is what
# `-v /sys/firmware:/psys/firmware:ro` brings in.
DEVICE_TREES = ("proc/device-tree", "psys/firmware/devicetree/base")
_TOOL_TIMEOUT_S = 10


def text(path: Path) -> str:
    """A small file, without the blanks around it; "" when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(" \t\r\n\0")
    except OSError:
        return ""


def whole_number(path: Path) -> int | None:
    """The decimal integer that a file holds."""
    found = text(path)
    return int(found) if re.fullmatch(r"-?\d{1,18}", found, re.ASCII) else None


def head(path: Path, count: int) -> bytes:
    """The first `count` bytes of a file, or fewer; b"" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def strings(path: Path) -> list[str]:
    """NUL-separated strings of a device tree file; [] when it cannot be read or holds none."""
    try:
        return [one for one in path.read_bytes().decode("utf-8", "replace").split("\0") if one.strip()]
    except OSError:
        return []


def device_tree(name: str, root: Path = ROOT) -> list[str] | None:
    """The strings of the device tree's file `name`, such as "model"; None where there is none, or it is hidden."""
    return next((found for tree in DEVICE_TREES if (found := strings(root / tree / name))), None)


def tool(*command: str) -> str:
    """What a command prints on stdout; "" when it is not there, hangs or says by its exit code that it failed."""
    done = run(*command)
    return done.stdout if done is not None and done.returncode == 0 else ""


def run(*command: str) -> subprocess.CompletedProcess[str] | None:
    """A command that has ended, None when it is not there or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
