"""A board that is not at hand: its /proc and /sys in a folder, and listings of such files as boards print them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[2] / "shared" / "hardware" / "samples"


def copied(root: Path, files: dict[str, str], memory_mb: int = 64_000) -> Path:
    """A board's /proc and /sys in a folder; NUL is written as |."""
    files = {"proc/meminfo": f"MemTotal:       {memory_mb * 1024} kB\nMemAvailable:   1024000 kB\n", **files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.replace("|", "\0").encode())
    return root


def zones(**celsius: float) -> dict[str, str]:
    """Thermal zones by type ("_" for "-"), in Celsius."""
    folder = "sys/class/thermal/thermal_zone"
    found = {}
    for number, (name, value) in enumerate(celsius.items()):
        found[f"{folder}{number}/type"] = name.replace("_", "-") + "\n"
        found[f"{folder}{number}/temp"] = f"{round(value * 1000)}\n"
    return found


def cooling(**states: int) -> dict[str, str]:
    """Cooling devices by type ("_" for "-")."""
    folder = "sys/class/thermal/cooling_device"
    found = {}
    for number, (name, state) in enumerate(states.items()):
        found[f"{folder}{number}/type"] = name.replace("_", "-") + "\n"
        found[f"{folder}{number}/cur_state"] = f"{state}\n"
    return found


def hwmon(number: int, name: str, **values: object) -> dict[str, str]:
    """One hwmon device."""
    folder = f"sys/class/hwmon/hwmon{number}"
    return {f"{folder}/name": name + "\n", **{f"{folder}/{key}": f"{value}\n" for key, value in values.items()}}


def listing(text: str) -> dict[str, str]:
    """A listing as `grep "" /sys/…/*` prints it, "path:content" a line, as files of a root."""
    found = re.findall(r"^/(\S+?):(.*)$", text, re.MULTILINE)
    return {path: content + "\n" for path, content in found}


def sample(name: str) -> dict[str, str]:
    """The cases of a file of samples that lies beside the checkout; the test is skipped where it does not."""
    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"{SAMPLES} is not there")
    cases: dict[str, str] = {}
    case = ""
    for line in path.read_text().splitlines():
        if line.startswith("%% case: "):
            case = line.removeprefix("%% case: ")
            cases[case] = ""
        elif not line.startswith("%%"):
            cases[case] += line + "\n"
    return cases


def expected(name: str) -> dict[str, Any]:
    """What an independent reader found in those cases."""
    path = SAMPLES / "expected.json"
    if not path.is_file():
        pytest.skip(f"{SAMPLES} is not there")
    return json.loads(path.read_text())["expected"][name]
