"""How much of this machine's processors other programs took meanwhile.

Of the processors that this process may use, as /proc/stat counts them; time stolen by other guests of a shared host is
among it. A load average would be a minute late, and hold our own work.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time

from .cores import usable_cores

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_IDLE = (3, 4)  # of the columns after the name: user nice system IDLE IOWAIT irq softirq steal; the rest is in user


@dataclass(frozen=True)
class CpuTime:
    """Seconds since some moment: `busy` of the processors, of them `own` this process's, and on the clock."""

    busy: float
    own: float
    clock: float


def read_cpu_time(stat: Path = Path("/proc/stat")) -> CpuTime | None:
    """The seconds so far; None on a system that does not tell."""
    try:
        lines = [line.split() for line in stat.read_text().splitlines()]
    except OSError:
        return None
    usable = {f"cpu{number}" for number in usable_cores()}
    counts = [[int(count) for count in words[1:9]] for words in lines if words and words[0] in usable]
    busy = sum(count for row in counts for column, count in enumerate(row) if column not in _IDLE)
    return CpuTime(busy / _TICKS, process_time(), monotonic()) if counts else None


def others_between(before: CpuTime | None, after: CpuTime | None) -> float | None:
    """How many processors others kept busy, in the mean; None where that is not known."""
    if before is None or after is None:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others / max(after.clock - before.clock, 1e-9))


def room_for_others(threads: int, cpus: int) -> float:
    """How many processors others may keep busy beside so many threads (ours): those left, and a tenth of all."""
    return max(0, cpus - threads) + 0.1 * cpus
