"""A Jetson's over-current events: how often its supply could not follow, and clocks were cut for it.

Counters since boot in /sys/class/hwmon/hwmon*/oc{1,2,3}_event_cnt of the device `soctherm_oc`: on Orin and Thor OC1 is
under-voltage, OC2 the average and OC3 the instantaneous current (NVIDIA, Jetson Linux Developer Guide, Platform Power
and Performance). OC3 fires at peaks of microseconds: boards count thousands an hour at even latencies, so it warns
where the others make a run not count.
"""

from __future__ import annotations

import re
from pathlib import Path

from .system import ROOT, text, whole_number

EVENTS = {"oc1": "OC1, under-voltage", "oc2": "OC2, average current", "oc3": "OC3, instantaneous current"}
DECIDES = ("oc1", "oc2")


def over_current_counts(root: Path = ROOT) -> dict[str, int]:
    """ "oc1" -> events since boot; {} where there are no such counters."""
    found: dict[str, int] = {}
    for device in root.glob("sys/class/hwmon/hwmon*"):
        if text(device / "name") != "soctherm_oc":
            continue
        for path in device.glob("oc*_event_cnt"):
            name, count = path.name.partition("_")[0], whole_number(path)
            if re.fullmatch(r"oc\d", name) and count is not None and count >= 0:
                found[name] = count
    return found


def events_between(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Counter -> events meanwhile, those above 0. A counter that was not read before tells nothing."""
    return {name: after[name] - before[name] for name in after if after[name] > before.get(name, after[name])}
