"""Cooling devices of the kernel's thermal framework: what slows a processor down because it is hot.

/sys/class/thermal/cooling_device*/{type,cur_state}; state 0 is full speed. `cpufreq-cpu0` (before Linux 5.10
`thermal-cpufreq-0`) and `devfreq-…` cap clocks, ACPI's `Processor` does on PCs, and a Jetson's `cpu-throttle-alert`,
`gpu-throttle-alert`, `soc0-throttle-alert` … tell that its firmware does. Fans slow nothing down and are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from .system import ROOT, text, whole_number

_SLOWS = re.compile(r"cpufreq|devfreq|throttle-alert|^Processor$")
_NOT_THE_CPU = re.compile(r"devfreq|gpu|cv\d|npu")


def cooling_states(root: Path = ROOT) -> dict[str, int]:
    """Device -> its state, the largest of equal names; only those that slow something down."""
    found: dict[str, int] = {}
    for device in root.glob("sys/class/thermal/cooling_device*"):
        name, state = text(device / "type"), whole_number(device / "cur_state")
        if state is not None and state >= 0 and _SLOWS.search(name):
            found[name] = max(state, found.get(name, state))
    return found


def of_processor(states: dict[str, int], *, gpu: bool) -> dict[str, int]:
    """Those that matter to a model on the GPU (all: the CPU feeds it), or, not `gpu`, on the CPU."""
    return {name: state for name, state in states.items() if gpu or not _NOT_THE_CPU.search(name)}
