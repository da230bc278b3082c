"""Temperatures in Celsius, and which of them are the processor's that runs the model.

Thermal zones (/sys/class/thermal), and the hwmon sensors of AMD and Intel processors, which have no zone everywhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from .system import ROOT, text, whole_number

_SENSORS = ("k10temp", "coretemp", "zenpower")  # hwmon: AMD, Intel, AMD by a driver outside the kernel
# Of another part, or of none: NPUs, video and camera units, radios, disks, batteries, the case; acpitz is a firmware's
# own idea of a temperature, on many boards a constant.
_ELSEWHERE = re.compile(r"gpu|npu|vpu|cv\d|iwlwifi|wifi|nvme|bat|pmic|acpitz|pch|tboard|tdiode|ambient|skin", re.I)
_GRAPHICS = re.compile(r"gpu|^tj", re.I)  # tj: the hottest point of a Jetson's die


def temperatures(root: Path = ROOT) -> dict[str, float]:
    """Zone or sensor -> Celsius, the hottest of equal names. Switched-off sensors (-256 C, no answer) are left out."""
    found: dict[str, float] = {}
    places = [(text(zone / "type"), zone / "temp") for zone in root.glob("sys/class/thermal/thermal_zone*")]
    for folder in root.glob("sys/class/hwmon/hwmon*"):
        if (name := text(folder / "name")) in _SENSORS:
            places += [(name, path) for path in folder.glob("temp*_input")]
    for name, path in places:
        millidegrees = whole_number(path)
        if name and millidegrees is not None and -40 < (celsius := millidegrees / 1000) < 200:
            found[name] = max(celsius, found.get(name, celsius))
    return found


def of_processor(found: dict[str, float], *, gpu: bool) -> dict[str, float]:
    """Those of the processor: of a GPU that shares the board's die, or (not `gpu`) of the CPU.

    A CPU's are all that are not known to be of another part; where no zone is left, acpitz is better than nothing.
    """
    if gpu:
        return {name: celsius for name, celsius in found.items() if _GRAPHICS.search(name)}
    own = {name: celsius for name, celsius in found.items() if not _ELSEWHERE.search(name)}
    return own or {name: celsius for name, celsius in found.items() if name == "acpitz"}
