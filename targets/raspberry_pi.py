"""What the firmware of a Raspberry Pi says of its power and heat: bits now, and since boot.

Bits 0 to 3 now, 16 to 19 since boot: under-voltage, clock capped, throttled, soft temperature limit (Raspberry Pi
documentation, `vcgencmd get_throttled`). `vcgencmd` needs /dev/vcio, which containers and other systems than Raspberry
Pi OS lack. Then, in this order:

    get_throttled   of the firmware's node in sysfs (soc:firmware, on a Pi 5 soc@107c000000:firmware): what the kernel
                    was told last. The driver rpi_volt asks every two seconds; without it the value may be as old as
                    the boot, and is not used.
    rpi_volt        in0_lcrit_alarm of that driver: under-voltage alone, in the last two seconds
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .system import ROOT, device_tree, text, tool

BITS = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16  # bits higher
_UNDER_VOLTAGE = 0x1


def is_raspberry_pi(root: Path = ROOT) -> bool:
    """Whether the device tree says so."""
    return "Raspberry Pi" in " ".join(device_tree("model", root) or ())


def firmware_bits(root: Path = ROOT) -> dict[str, Any]:
    """{"bits": ..., "source": "vcgencmd", "get_throttled" or "rpi_volt"}; both None on a Raspberry Pi where nothing
    tells, {} on other machines."""
    bits = parse_vcgencmd(tool("vcgencmd", "get_throttled")) if root == ROOT else None
    if bits is not None:
        return {"bits": bits, "source": "vcgencmd"}
    alarms = [
        text(device / "in0_lcrit_alarm")
        for device in root.glob("sys/class/hwmon/hwmon*")
        if text(device / "name") == "rpi_volt"
    ]
    untold = {"bits": None, "source": None} if is_raspberry_pi(root) else {}
    if not alarms:
        return untold
    for path in sorted(root.glob("sys/devices/platform/soc*/soc*:firmware/get_throttled")):
        if (bits := parse_sysfs(text(path))) is not None:
            return {"bits": bits, "source": "get_throttled"}
    if alarms[0] not in ("0", "1"):
        return untold
    return {"bits": _UNDER_VOLTAGE if alarms[0] == "1" else 0, "source": "rpi_volt"}


def parse_vcgencmd(said: str) -> int | None:
    """`vcgencmd get_throttled` -> the bits."""
    found = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", said)
    return int(found.group(1), 16) if found else None


def parse_sysfs(said: str) -> int | None:
    """The kernel's `get_throttled`, hexadecimal without 0x -> the bits."""
    return int(said, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", said) else None


def events(before: int, samples: list[int]) -> list[str]:
    """What happened: a bit set now in any sample, or one since boot that was not there before.

    A bit since boot that was set before hides new events of its kind: that is what samples during the run are for.
    """
    found = []
    for bit, what in BITS.items():
        now = any(sample >> bit & 1 for sample in (before, *samples))
        new = any((sample & ~before) >> (SINCE_BOOT + bit) & 1 for sample in samples)
        if now or new:
            found.append(what)
    return found
