"""The power mode of a Jetson, by name: mode numbers are not the same on every module.

`nvpmodel -q` says it. In a container there is no such tool; there the two files that the tool keeps do, where they are
mounted: /var/lib/nvpmodel/status ("pmode:0002") and /etc/nvpmodel.conf ("< POWER_MODEL ID=2 NAME=MAXN_SUPER >"). The
second also names the mode that the board ships in ("< PM_CONFIG DEFAULT=1 >"), which depends on how it was flashed.
"""

from __future__ import annotations

import re
from pathlib import Path

from .system import ROOT, text, tool


def power_mode(root: Path = ROOT) -> str | None:
    """The name of the power mode; None elsewhere, and on a Jetson that does not tell."""
    told = parse_query(tool("nvpmodel", "-q")) if root == ROOT else None
    return told or parse_files(text(root / "var/lib/nvpmodel/status"), text(root / "etc/nvpmodel.conf"))


def shipped_mode(root: Path = ROOT) -> str | None:
    """The name of the mode that the board ships in; None where its configuration does not tell."""
    return parse_default(text(root / "etc/nvpmodel.conf"))


def parse_query(said: str) -> str | None:
    """`nvpmodel -q` -> "MAXN"; warnings before the line are common."""
    found = re.search(r"^NV Power Mode:[ \t]*(\S+)", said, re.MULTILINE)
    return found.group(1) if found else None


def parse_files(status: str, configuration: str) -> str | None:
    """The name that `configuration` gives to the number in `status`."""
    return _name_of(re.search(r"pmode:(\d{1,9})", status, re.ASCII), configuration)


def parse_default(configuration: str) -> str | None:
    """The name that `configuration` gives to its own default."""
    line = r"^\s*<\s*PM_CONFIG\s+DEFAULT=(\d{1,9})\s*>"
    return _name_of(re.search(line, configuration, re.MULTILINE | re.ASCII), configuration)


def _name_of(number: re.Match[str] | None, configuration: str) -> str | None:
    if number is None:
        return None
    names = dict(re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", configuration, re.MULTILINE | re.ASCII))
    return names.get(str(int(number.group(1))))
