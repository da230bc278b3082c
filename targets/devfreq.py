"""Clocks of a GPU on the board's own die, in MHz: nvidia-smi says nothing of them on a Jetson.

/sys/class/devfreq/NODE/{cur,min,max}_freq (Hz) and governor; the node is 17000000.gpu from L4T 36 on, 17000000.ga10b
before, gpu-gpc-0 on a Thor. max_freq is what the power mode allows; it equals min_freq after jetson_clocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .system import ROOT, text, whole_number

NODES = ("17000000.gpu", "17000000.ga10b", "gpu-gpc-0")


def gpu_clocks(root: Path = ROOT) -> dict[str, Any]:
    """mhz, min_mhz, max_mhz and governor, as far as the first node that is there tells; {} without one."""
    for node in NODES:
        folder = root / "sys/class/devfreq" / node
        read = {key: whole_number(folder / f"{name}_freq") for key, name in _FREQUENCIES.items()}
        found: dict[str, Any] = {key: hertz // 1_000_000 for key, hertz in read.items() if hertz is not None}
        if found:
            governor = text(folder / "governor")
            return {**found, "governor": governor} if governor else found
    return {}


_FREQUENCIES = {"mhz": "cur", "min_mhz": "min", "max_mhz": "max"}
