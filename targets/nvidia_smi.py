"""What nvidia-smi tells of a discrete GPU: clocks, temperature, power, what slows it down, free memory.

Its errors are sentences on stdout as often as an exit code, and what a GPU does not tell is "[N/A]": only an answer
with exit code 0 counts, and of it only what has the form of the value asked for. A Jetson's nvidia-smi knows next to
nothing and is not asked.
"""

from __future__ import annotations

import math
import re
from typing import Any

from .cudart import Gpu
from .system import run

# NVML's clocks-event reasons that slow a GPU down: hardware slowdown, software and hardware thermal slowdown, power
# brake. The others (idle, a clock set by the user, a display) say nothing against a run.
SLOWED = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
POWER_CAP = 0x4  # how a GPU of 70 W always works under load: it warns
_FIELDS = {
    "pstate": "pstate",
    "temperature.gpu": "temperature_c",
    "clocks.current.sm": "mhz",
    "clocks.max.sm": "max_mhz",
    "power.draw": "power_w",
    "clocks_event_reasons.active": "slowed",
}
_CSV = "--format=csv,noheader,nounits"


def gpu_state(gpu: Gpu) -> dict[str, Any]:
    """Its state as numbers; only what is told. {} of a GPU on the board's own die."""
    if gpu.integrated:
        return {}
    fields = ",".join(_FIELDS)
    for names in (fields, fields.replace("clocks_event_reasons", "clocks_throttle_reasons")):  # drivers before 535
        done = run("nvidia-smi", f"--id={gpu.bus_id}", f"--query-gpu={names}", _CSV)
        if done is not None and done.returncode == 0 and (found := parse_state(done.stdout)):
            return found
    return {}


def gpu_free_mb(gpu: Gpu) -> float | None:
    """Free memory of a GPU in MiB. None where it does not tell: a Jetson, a slice of a GPU (MIG)."""
    done = run("nvidia-smi", f"--id={gpu.bus_id}", "--query-gpu=memory.total,memory.free", _CSV)
    if done is None or done.returncode != 0:
        return None
    return parse_free_mb(done.stdout, gpu.memory_mb)


def parse_state(said: str) -> dict[str, Any]:
    """One line of `--query-gpu` in csv,noheader,nounits. pstate is "P0"; slowed a whole number; all others floats."""
    values = [value.strip() for value in said.strip().split("\n")[0].split(",")]
    if len(values) != len(_FIELDS):
        return {}
    state: dict[str, Any] = {}
    for name, value in zip(_FIELDS.values(), values):
        if name == "pstate":
            if re.fullmatch(r"P\d{1,2}", value, re.ASCII):
                state[name] = value
        elif name == "slowed":
            if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", value):
                state[name] = int(value, 16)
        elif re.fullmatch(r"\d{1,9}(\.\d+)?", value, re.ASCII) and math.isfinite(number := float(value)):
            state[name] = number
    return state


def parse_free_mb(said: str, memory_mb: int) -> float | None:
    """Free MiB from a line "total, free". None without numbers, and where the total is far above the driver's
    `memory_mb`: of a slice of a GPU nvidia-smi tells what the whole GPU has free."""
    found = re.fullmatch(r"(\d+), *(\d+)", said.strip())
    if found is None or int(found.group(1)) > 1.1 * memory_mb:
        return None
    return float(found.group(2))
