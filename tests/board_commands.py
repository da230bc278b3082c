"""The commands of a board that the pages show: each parsed as its own program would, or as far as we use it."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Callable

from edgedistill.targets import nvpmodel, system
from edgedistill.targets import run as device

Words = list[str]

PACKAGES = {"nvidia-jetpack", "python3-numpy", "python3-pil", "python3-venv"}
# What a page may tell to look at: files that the device side reads, and the one it takes the release from.
FILES = {"/proc/device-tree/model", "/proc/device-tree/compatible", "/etc/nv_tegra_release", "/etc/nvpmodel.conf"}
HIDDEN = {"/sys/firmware": "/psys/firmware"}  # what Docker hides, and where the device side looks instead
KEPT = {"/var/lib/nvpmodel", "/etc/nvpmodel.conf"}  # by nvpmodel, in the place where the device side looks


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise AssertionError(message)


def apt_get(words: Words) -> None:
    if words != ["update"]:
        assert words[0] == "install"
        assert set(words[1:]) <= PACKAGES


def nvpmodel_command(words: Words) -> None:
    assert words == ["-q"] or (words[0] == "-m" and words[1].isdigit() and len(words) == 2)


def vcgencmd(words: Words) -> None:
    assert words in (["get_throttled"], ["measure_temp"])


def cat(words: Words) -> None:
    assert set(words) <= FILES


def grep(words: Words) -> None:
    pattern, path = words
    assert path in FILES
    assert pattern in "< POWER_MODEL ID=1 NAME=25W >"
    assert nvpmodel.parse_files("pmode:0001", f"< {pattern} ID=1 NAME=25W >") == "25W"


def systemctl(words: Words) -> None:
    assert words[0] == "isolate"
    assert words[1] in ("multi-user.target", "graphical.target")


def ssh(words: Words) -> None:
    host, *there = words
    assert re.fullmatch(r"USER@(BOARD|PI)", host)
    for command in there:
        subprocess.run(["sh", "-n", "-c", command], check=True, capture_output=True)


def uname(words: Words) -> None:
    assert words == ["-m"]


def nothing(words: Words) -> None:
    assert words == []


def docker(words: Words) -> None:
    """`docker run`: mounts lead where the device side looks, and the command inside is one of run.py."""
    assert words[0] == "run"
    parser = _Parser()
    for flag in ("--rm", "-it"):
        parser.add_argument(flag, action="store_true", required=True)
    parser.add_argument("--runtime", choices=["nvidia"])
    parser.add_argument("-v", action="append", default=[])
    parser.add_argument("-w", required=True)
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    found = parser.parse_args(words[1:])
    mounts = {parts[0]: parts[1:] for parts in (mount.split(":") for mount in found.v)}
    for source, target in HIDDEN.items():
        assert mounts.pop(source) == [target, "ro"]
        assert any(f"/{tree}".startswith(target) for tree in system.DEVICE_TREES)
    for source in KEPT & set(mounts):
        assert mounts.pop(source) == [source, "ro"]
    ((_, bundle),) = mounts.items()
    assert bundle == [found.w]
    inside = " ".join(found.command).partition("&& ")[2] or " ".join(found.command)
    python, script, *arguments = inside.split()
    assert python in ("python", "python3")
    assert script == "run.py"
    device.parser().parse_args(arguments)


PROGRAMS: dict[str, Callable[[Words], None]] = {
    "apt-get": apt_get,
    "cat": cat,
    "docker": docker,
    "grep": grep,
    "jetson_clocks": nothing,
    "nvpmodel": nvpmodel_command,
    "ssh": ssh,
    "systemctl": systemctl,
    "uname": uname,
    "vcgencmd": vcgencmd,
}
